/**
 * Work that several ask for at once is done once. It stops when the last of
 * them has left, and its result stays for those who ask later.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"

export interface Flights<A, E> {
  readonly landed: ReadonlyMap<string, A>
  readonly join: (key: string, work: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

interface Flight<A, E> {
  readonly result: Deferred.Deferred<A, E>
  passengers: number
  fiber: Fiber.Fiber<unknown> | undefined
}

export const make = <A, E>(): Effect.Effect<Flights<A, E>, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const landed = new Map<string, A>()
    const flights = new Map<string, Flight<A, E>>()
    const board = (key: string, work: Effect.Effect<A, E>): Effect.Effect<Flight<A, E>> =>
      Effect.suspend(() => {
        const known = flights.get(key)
        if (known !== undefined) {
          known.passengers++
          return Effect.succeed(known)
        }
        // Listed before anything can yield, or two would take off.
        const flight: Flight<A, E> = { result: Deferred.unsafeMake(FiberId.none), passengers: 1, fiber: undefined }
        flights.set(key, flight)
        return work.pipe(
          Effect.tap((value) => {
            landed.set(key, value)
          }),
          Effect.ensuring(Effect.sync(() => {
            if (flights.get(key) === flight) flights.delete(key)
          })),
          Effect.intoDeferred(flight.result),
          Effect.interruptible,
          Effect.forkIn(scope),
          Effect.map((fiber) => {
            flight.fiber = fiber
            return flight
          })
        )
      })
    const leave = (key: string, flight: Flight<A, E>): Effect.Effect<void> =>
      Effect.suspend(() => {
        flight.passengers--
        if (flight.passengers > 0 || flights.get(key) !== flight || flight.fiber === undefined) return Effect.void
        // Whoever comes now starts anew instead of joining what is being stopped.
        flights.delete(key)
        return Fiber.interrupt(flight.fiber)
      })
    return {
      landed,
      join: (key, work) =>
        Effect.suspend(() => {
          const value = landed.get(key)
          return value !== undefined ? Effect.succeed(value) : Effect.acquireUseRelease(
            board(key, work),
            (flight) => Deferred.await(flight.result),
            (flight) => leave(key, flight)
          )
        })
    }
  })
