/**
 * Watching a stream: what was seen is shown every now and then while it runs,
 * also when nothing comes, and a last time when it has ended.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

export interface Watcher<in A> {
  readonly see: (value: A) => Effect.Effect<void>
  readonly show: Effect.Effect<void>
  /** However it ended: also when it was interrupted, or nobody wanted more of it. */
  readonly end: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>
}

export const follow = <A, E, R, E2, R2>(
  self: Stream.Stream<A, E, R>,
  every: Duration.DurationInput,
  watcher: Effect.Effect<Watcher<A>, E2, R2>
): Stream.Stream<A, E | E2, R | Exclude<R2, Scope.Scope>> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const { end, see, show } = yield* watcher
    yield* Effect.addFinalizer(end)
    // Ends before the last showing, in the reverse order of what the scope was given.
    yield* Effect.forkScoped(Effect.repeat(show, Schedule.spaced(every)))
    return Stream.tap(self, see)
  }))
