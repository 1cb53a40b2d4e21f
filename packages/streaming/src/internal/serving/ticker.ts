import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * Calls whoever has joined once a second: one timer for all connections, however
 * many there are.
 */
export interface Ticker {
  readonly join: (onTick: () => void) => Effect.Effect<void, never, Scope.Scope>
}

export const make: Effect.Effect<Ticker, never, Scope.Scope> = Effect.gen(function*() {
  const members = new Set<() => void>()
  yield* Effect.sleep("1 second").pipe(
    Effect.zipRight(Effect.sync(() => members.forEach((onTick) => onTick()))),
    Effect.forever,
    Effect.forkScoped
  )
  return {
    join: (onTick) =>
      Effect.acquireRelease(Effect.sync(() => members.add(onTick)), () => Effect.sync(() => members.delete(onTick)))
  }
})
