/**
 * Work done side by side and decided one after the other: tasks start in index
 * order, finish whenever they do, and are committed in index order again, so
 * that no decision depends on timing.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"

/**
 * How it ended: all tasks were committed, a commit said to stop, or there was
 * no budget for more. Tasks that had been started ahead are interrupted.
 */
export type End = "finished" | "stopped" | "refused"

export const run = <A, E, R, R2, E3, R3>(options: {
  readonly count: number
  /** How many tasks are under way at most. */
  readonly window: number
  /** Whether one more task is wanted, with this many under way. */
  readonly wanted?: ((running: number) => boolean) | undefined
  /** The task, which releases what it holds however it ends; none if it cannot be had until others have finished. */
  readonly task: (index: number) => Effect.Effect<Option.Option<Effect.Effect<A, E, R>>, never, R2>
  /** The end, if this is it. */
  readonly commit: (value: A, index: number) => Effect.Effect<End | undefined, E3, R3>
}): Effect.Effect<End, E | E3, R | R2 | R3> =>
  Effect.scoped(Effect.gen(function*() {
    const fibers = yield* FiberSet.make<boolean>()
    const arrivals = yield* Queue.unbounded<readonly [index: number, exit: Exit.Exit<A, E>]>()
    const waiting = new Map<number, A>()
    let started = 0
    let running = 0
    let committed = 0
    // Nothing comes between what a task holds and the fiber that releases it.
    const start = Effect.uninterruptible(Effect.flatMap(
      Effect.suspend(() => options.task(started)),
      Option.match({
        onNone: () => Effect.succeed(false),
        onSome: (task) => {
          const index = started++
          running++
          return Effect.as(
            FiberSet.run(fibers, Effect.flatMap(Effect.exit(task), (exit) => Queue.offer(arrivals, [index, exit]))),
            true
          )
        }
      })
    ))
    const more = () => started < options.count && running < options.window && (options.wanted?.(running) ?? true)
    while (true) {
      while (more()) {
        if (!(yield* start)) break
      }
      if (running === 0) return more() ? "refused" : "finished"
      const [index, exit] = yield* Queue.take(arrivals)
      running--
      waiting.set(index, yield* exit)
      while (waiting.has(committed)) {
        const index = committed++
        const value = waiting.get(index)! // has just been found
        waiting.delete(index)
        const end = yield* options.commit(value, index)
        if (end !== undefined) return end
      }
    }
  }))
