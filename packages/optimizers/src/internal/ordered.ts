/**
 * Work done side by side and decided one after the other: tasks start in index
 * order, finish whenever they do, and are committed in index order again, so
 * that no decision depends on timing.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Queue from "effect/Queue"

/**
 * How it ended: all tasks were committed, a commit said to stop, or a task
 * could not be afforded. In the last two cases tasks that had been started
 * ahead are interrupted.
 */
export type End = "finished" | "stopped" | "refused"

export const run = <A, E, R, E2, R2>(options: {
  readonly count: number
  /** How many tasks are under way at most. */
  readonly window: number
  /** Whether one more task is wanted, with this many under way. */
  readonly wanted?: ((running: number) => boolean) | undefined
  /** Whether one more task can be afforded; asked again when others have finished. */
  readonly afford: Effect.Effect<boolean>
  readonly task: (index: number) => Effect.Effect<A, E, R>
  /** Whether to go on. */
  readonly commit: (value: A, index: number) => Effect.Effect<boolean, E2, R2>
}): Effect.Effect<End, E | E2, R | R2> =>
  Effect.scoped(Effect.gen(function*() {
    const fibers = yield* FiberSet.make<boolean>()
    const arrivals = yield* Queue.unbounded<readonly [index: number, exit: Exit.Exit<A, E>]>()
    const waiting = new Map<number, A>()
    let started = 0
    let running = 0
    let committed = 0
    while (true) {
      while (started < options.count && running < options.window && (options.wanted?.(running) ?? true)) {
        if (!(yield* options.afford)) {
          if (running === 0) return "refused"
          break
        }
        const index = started++
        running++
        yield* FiberSet.run(
          fibers,
          Effect.flatMap(Effect.exit(options.task(index)), (exit) => Queue.offer(arrivals, [index, exit]))
        )
      }
      if (running === 0) return "finished"
      const [index, exit] = yield* Queue.take(arrivals)
      running--
      waiting.set(index, yield* exit)
      while (waiting.has(committed)) {
        const index = committed++
        const value = waiting.get(index)! // has just been found
        waiting.delete(index)
        if (!(yield* options.commit(value, index))) return "stopped"
      }
    }
  }))
