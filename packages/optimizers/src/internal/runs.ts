/**
 * What is paid for: runs of programs that are scored, through `Scoring`, and
 * answers of the prompt model. Each is bought once, and recorded in the journal
 * before anything is made of it.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Scoring from "@effect-dspy/core/Scoring"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { memoized } from "../Journal.ts"
import type { OptimizerError } from "../Optimizer.ts"
import { Failures } from "./failures.ts"
import * as flights from "./flights.ts"

/** Something that was paid for. */
export interface Paid {
  readonly key: string
  readonly calls: number
  readonly usage: LanguageModel.Usage
  /** Why nothing is known, where the model or the metric failed. */
  readonly failure: string | undefined
  /** Taken from the journal. */
  readonly replayed: boolean
}

/** A run of the program. */
export interface Run extends Paid {
  readonly scored: Scoring.Scored
}

/** An answer of the prompt model, if it gave one that can be read. */
export interface Asked<A> extends Paid {
  readonly output: Option.Option<A>
  /** What kept it from answering: the name of the model's failure, or `Error`. */
  readonly error: string | undefined
}

/** The score; nothing where model or metric failed, 0 where the program did. */
export const scoreOf = ({ scored }: Run): number | undefined =>
  scored._tag === "Scored" ? scored.score : scored.transient ? undefined : 0

// How the journal keeps an answer of the prompt model.
const Answer = <A, I>(output: Schema.Schema<A, I>) =>
  Schema.Union(
    Schema.TaggedStruct("Answered", { output, calls: Schema.Finite, usage: LanguageModel.Usage }),
    Schema.TaggedStruct("Failed", {
      transient: Schema.Boolean,
      error: Schema.String,
      message: Schema.String,
      calls: Schema.Finite,
      usage: LanguageModel.Usage
    })
  )

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
  readonly ask: <A, I>(
    key: string,
    schema: Schema.Schema<A, I>,
    answer: Effect.Effect<A, unknown>
  ) => Effect.Effect<Asked<A>, OptimizerError | Exhausted>
  readonly all: () => Iterable<Paid>
  readonly count: () => { readonly done: number; readonly replayed: number; readonly thrown: number }
}

export const make = (options: {
  readonly window: number
  readonly maxFailureRate: number
}): Effect.Effect<Runs, never, Scope.Scope> =>
  Effect.gen(function*() {
    // Until it is in the journal: what a killed process loses is never more than was under way.
    const counted = (yield* Effect.makeSemaphore(options.window)).withPermits(1)
    const shared = yield* flights.make<Run, OptimizerError | Exhausted>()
    const asked = new Map<string, Paid>()
    const failures = new Failures("runs of the program", options.maxFailureRate)
    // The prompt model may be another one, and dead while that of the program is alive.
    const unanswered = new Failures("questions to the prompt model", options.maxFailureRate)
    let done = 0
    let replayed = 0
    let thrown = 0
    // A policy of the model keeps a budget too, and its end is the end of the run.
    const unlessSpent = <A extends { readonly _tag: string; readonly error?: string }>(outcome: A) =>
      outcome._tag === "Failed" && outcome.error === "BudgetExceeded" ? new Exhausted() : Effect.succeed(outcome)
    return {
      all: () => [...shared.landed.values(), ...asked.values()],
      count: () => ({ done, replayed, thrown }),
      run: (evaluator, task, candidate) => {
        const key = [
          evaluator.id,
          candidate,
          task.example,
          ...(task.rollout === undefined ? [] : [task.rollout]),
          ...(task.trace ? ["traced"] : [])
        ].join(" ")
        return shared.join(
          key,
          memoized({
            key,
            schema: Scoring.Scored,
            effect: Effect.zipRight(failures.check, Effect.flatMap(Scoring.score(evaluator, task), unlessSpent)),
            provisional: (scored) => scored._tag === "Failed" && scored.transient
          }).pipe(
            counted,
            Effect.flatMap((memo) => {
              done++
              if (memo.replayed) replayed++
              if (memo.value._tag === "Failed" && memo.value.error === "Defect") thrown++
              const { calls, usage } = memo.value
              const run: Run = {
                key,
                scored: memo.value,
                calls,
                usage,
                failure: memo.value._tag === "Failed" && memo.value.transient ? memo.value.message : undefined,
                replayed: memo.replayed
              }
              return Effect.as(failures.see(run), run)
            })
          )
        )
      },
      ask: (key, schema, answer) =>
        memoized({
          key,
          schema: Answer(schema),
          effect: Effect.zipRight(
            unanswered.check,
            ModuleEvent.metered(Effect.either(sandboxed(answer))).pipe(
              Effect.map(({ calls, usage, value }) =>
                Either.match(value, {
                  onLeft: (failed) => ({ _tag: "Failed" as const, ...failed, calls, usage }),
                  onRight: (output) => ({ _tag: "Answered" as const, output, calls, usage })
                })
              ),
              Effect.flatMap(unlessSpent)
            )
          ),
          provisional: (answer) => answer._tag === "Failed" && answer.transient
        }).pipe(
          counted,
          Effect.flatMap(({ replayed, value }) => {
            const paid: Paid = {
              key,
              calls: value.calls,
              usage: value.usage,
              failure: value._tag === "Failed" && value.transient ? value.message : undefined,
              replayed
            }
            asked.set(key, paid)
            const answered = value._tag === "Failed"
              ? { output: Option.none(), error: value.error }
              : { output: Option.some(value.output), error: undefined }
            return Effect.as(unanswered.see(paid), { ...paid, ...answered })
          })
        )
    }
  })

interface Failed {
  readonly transient: boolean
  readonly error: string
  readonly message: string
}

// A module that writes may be the user's own, and what it throws is a mistake in it.
const sandboxed = <A>(answer: Effect.Effect<A, unknown>): Effect.Effect<A, Failed> =>
  answer.pipe(
    Effect.mapError(reasonOf),
    Effect.catchAllDefect((defect) => {
      const message = `it threw: ${messageOf(defect)}`
      return Effect.zipRight(
        Effect.logWarning(message, Cause.die(defect)),
        Effect.fail({ transient: true, error: "Defect", message })
      )
    })
  )

const reasonOf = (error: unknown): Failed => ({
  // The same question will be too long again.
  transient: LanguageModelError.isLanguageModelError(error) && error.reason._tag !== "ContextWindowExceeded" &&
    error.reason._tag !== "RequestTooLarge",
  error: LanguageModelError.isLanguageModelError(error) ? error.reason._tag : "Error",
  message: messageOf(error)
})

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)
