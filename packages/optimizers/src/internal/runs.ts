/**
 * Runs of programs that are scored: through `Scoring`, each paid for once,
 * recorded in the journal before anything is made of it.
 */
import * as Scoring from "@effect-dspy/core/Scoring"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { memoized } from "../Journal.ts"
import type { OptimizerError } from "../Optimizer.ts"
import { Failures } from "./failures.ts"
import * as flights from "./flights.ts"

export interface Run {
  readonly key: string
  readonly scored: Scoring.Scored
  /** Taken from the journal. */
  readonly replayed: boolean
}

/** The score; nothing where model or metric failed, 0 where the program did. */
export const scoreOf = ({ scored }: Run): number | undefined =>
  scored._tag === "Scored" ? scored.score : scored.transient ? undefined : 0

/** There is no budget for this run. */
export class Exhausted extends Data.TaggedError("Exhausted") {}

export const unlessExhausted = <A>(
  effect: Effect.Effect<A, OptimizerError | Exhausted>
): Effect.Effect<Option.Option<A>, OptimizerError> =>
  effect.pipe(
    Effect.map((value) => Option.some(value)),
    Effect.catchTag("Exhausted", () => Effect.succeed(Option.none<A>()))
  )

export interface Runs {
  /** `candidate` is the hash that stands for the parameters of the task. */
  readonly run: (
    evaluator: Scoring.Evaluator,
    task: Scoring.Task,
    candidate: string
  ) => Effect.Effect<Run, OptimizerError | Exhausted>
  readonly all: () => Iterable<Run>
  readonly count: () => { readonly done: number; readonly replayed: number }
}

export const make = (options: {
  readonly window: number
  readonly maxFailureRate: number
}): Effect.Effect<Runs, never, Scope.Scope> =>
  Effect.gen(function*() {
    const permits = yield* Effect.makeSemaphore(options.window)
    const shared = yield* flights.make<Run, OptimizerError | Exhausted>()
    const failures = new Failures(options.maxFailureRate)
    let done = 0
    let replayed = 0
    const score = (evaluator: Scoring.Evaluator, task: Scoring.Task) =>
      Effect.filterOrFail(
        Scoring.score(evaluator, task),
        // A policy of the model keeps a budget too, and its end is the end of the run.
        (scored) => scored._tag === "Scored" || scored.error !== "BudgetExceeded",
        () => new Exhausted()
      )
    return {
      all: () => shared.landed.values(),
      count: () => ({ done, replayed }),
      run: (evaluator, task, candidate) => {
        const key = [evaluator.id, candidate, task.example, ...(task.rollout === undefined ? [] : [task.rollout])].join(
          " "
        )
        return shared.join(
          key,
          memoized({
            key,
            schema: Scoring.Scored,
            effect: permits.withPermits(1)(Effect.zipRight(failures.check, score(evaluator, task))),
            provisional: (scored) => scored._tag === "Failed" && scored.transient
          }).pipe(Effect.flatMap((memo) => {
            done++
            if (memo.replayed) replayed++
            const run: Run = { key, scored: memo.value, replayed: memo.replayed }
            return Effect.as(failures.see(run), run)
          }))
        )
      }
    }
  })
