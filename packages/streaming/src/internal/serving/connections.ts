import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ServingError from "../../ServingError.ts"

/**
 * Who is connected.
 */
export interface Connections {
  /** Is among them until the scope closes; whoever is can be left when the server stops. */
  readonly present: (
    socket: { readonly destroy: () => unknown } | undefined
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Takes one of the places for WebSockets. */
  readonly place: (caller: string) => Effect.Effect<void, ServingError.ServingError, Scope.Scope>
  /** Waits for a moment that all are gone, and leaves those who are not. */
  readonly end: Effect.Effect<void>
}

export const make = (
  limits: { readonly connections: number; readonly connectionsPerCaller: number }
): Connections => {
  const present = new Set<() => void>()
  const places = new Map<string, number>()
  return {
    present: (socket) => {
      const leave = (): void => void socket?.destroy()
      return Effect.acquireRelease(
        Effect.sync(() => present.add(leave)),
        () => Effect.sync(() => present.delete(leave))
      )
    },
    place: (caller) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          const own = places.get(caller) ?? 0
          let all = 0
          for (const count of places.values()) all += count
          if (all >= limits.connections || own >= limits.connectionsPerCaller) {
            return ServingError.make("Unavailable", "there are as many connections as are allowed", {
              retryable: true,
              retryAfter: 1000
            })
          }
          places.set(caller, own + 1)
          return Effect.void
        }),
        () =>
          Effect.sync(() => {
            const left = (places.get(caller) ?? 1) - 1
            if (left === 0) places.delete(caller)
            else places.set(caller, left)
          })
      ),
    end: Effect.iterate(0, {
      while: (waited) => present.size > 0 && waited < 60,
      body: (waited) => Effect.as(Effect.sleep("50 millis"), waited + 1)
    }).pipe(Effect.zipRight(Effect.sync(() => present.forEach((leave) => leave()))))
  }
}
