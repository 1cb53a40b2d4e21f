/**
 * `Scoring` is the one place where a candidate, an example and a rollout become
 * a score. It runs in this process unless another one is provided. Tasks and
 * results are plain data, so that they can cross a wire; the evaluator, which
 * holds functions, is built from the same source on both ends.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Adapter from "./Adapter.ts"
import type { Example } from "./Example.ts"
import * as Json from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as LanguageModelError from "./LanguageModelError.ts"
import * as Metric from "./Metric.ts"
import * as Module from "./Module.ts"
import * as ModuleEvent from "./ModuleEvent.ts"
import * as Parameters from "./Parameters.ts"
import * as Predict from "./Predict.ts"
import * as Trace from "./Trace.ts"

/**
 * What is to be scored: parameters for the evaluator's module, the id of one
 * of its examples, and the rollout, which tells independent samples apart.
 * With `trace` the output and the calls of the predictors come back with the
 * score.
 *
 * @since 0.1.0
 * @category models
 */
export const Task = Schema.Struct({
  candidate: Parameters.Parameters,
  example: Schema.String,
  rollout: Schema.optional(Schema.String),
  trace: Schema.Boolean
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Task extends Schema.Schema.Type<typeof Task> {}

const spent = {
  /** Answers of the model that were paid for. */
  calls: Schema.Finite,
  usage: LanguageModel.Usage
}

/**
 * A score, or a failure, which is never a score. `transient` failures are the
 * model's, the network's or the metric's: the pair of candidate and example
 * stays unknown. So it does when the module or the metric throws, which has the
 * error `Defect`. The others are the candidate's own doing, such as an answer
 * that does not parse. `feedback`, and `predictors` by path, are what the metric
 * said in words; `output` is what JSON can say of the module's output.
 *
 * @since 0.1.0
 * @category models
 */
export const Scored = Schema.Union(
  Schema.TaggedStruct("Scored", {
    score: Schema.Finite,
    feedback: Schema.optional(Schema.String),
    predictors: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.String })),
    output: Schema.optional(Json.Json),
    trace: Schema.optional(Trace.Trace),
    ...spent
  }),
  Schema.TaggedStruct("Failed", {
    transient: Schema.Boolean,
    error: Schema.String,
    message: Schema.String,
    /** The calls that were answered before. */
    trace: Schema.optional(Trace.Trace),
    /** The call that it failed in, with the text of an answer that could not be used. */
    call: Schema.optional(Schema.Struct({
      path: Schema.String,
      listed: Schema.Boolean,
      inputs: Json.JsonRecord,
      answer: Schema.optional(Schema.String)
    })),
    ...spent
  })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Scored = typeof Scored.Type

/**
 * The function behind the tasks. `id` names module, data and metric, so that
 * two evaluators are never mixed up in a journal.
 *
 * @since 0.1.0
 * @category models
 */
export interface Evaluator<out R = never> {
  readonly id: string
  readonly run: (task: Task) => Effect.Effect<Scored, never, R>
}

/**
 * The scorer itself failed, not the candidate: a lost worker, a wire.
 *
 * @since 0.1.0
 * @category errors
 */
export class ScoringError extends Schema.TaggedError<ScoringError>("@effect-dspy/core/Scoring/ScoringError")(
  "ScoringError",
  { evaluator: Schema.String, description: Schema.String }
) {
  override get message(): string {
    return `${this.evaluator}: ${this.description}`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly score: (evaluator: Evaluator, task: Task) => Effect.Effect<Scored, ScoringError>
}

/**
 * Scores in this process unless something else is provided.
 *
 * @since 0.1.0
 * @category services
 */
export class Scoring extends Context.Reference<Scoring>()("@effect-dspy/core/Scoring", {
  defaultValue: (): Service => ({ score: (evaluator, task) => evaluator.run(task) })
}) {}

/**
 * @since 0.1.0
 * @category accessors
 */
export const score = (evaluator: Evaluator, task: Task): Effect.Effect<Scored, ScoringError> =>
  Effect.flatMap(Scoring, (scoring) => scoring.score(evaluator, task))

/**
 * The evaluator of a module on examples under a metric. What the metric needs
 * and the module needs is what the evaluator needs. A task for an unknown
 * example, or parameters for another module, is a defect: tasks are made from
 * the same data.
 *
 * What the module or the metric throws, or dies of, ends the run of that
 * example and no more. It is logged as a warning with its cause, the same
 * message once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const evaluator = <In, Out, E, R, Labels, E2, R2>(options: {
  readonly id: string
  readonly module: Module.Module<In, Out, E, R>
  readonly examples: Iterable<Example<In, Labels>>
  readonly metric: Metric.Metric<In, Labels, Out, E2, R2>
}): Evaluator<R | R2> => {
  const examples = new Map<string, Example<In, Labels>>()
  for (const example of options.examples) examples.set(example.id, example)
  // However the metric was made, its scores are scores.
  const metric = Metric.make(options.metric)
  const warned = new Set<string>()
  // A mistake in code that is not ours, on one example of many.
  const guarded = <A, E, R>(
    what: "module" | "metric",
    example: string,
    run: () => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | Thrown, R> =>
    Effect.catchAllCause(Effect.suspend(run), (cause): Effect.Effect<never, E | Thrown> => {
      const defect = Cause.dieOption(cause)
      if (Option.isNone(defect) || Option.isSome(Cause.failureOption(cause))) return Effect.failCause(cause)
      const thrown = new Thrown({ message: `the ${what} threw: ${messageOf(defect.value)}` })
      if (warned.has(thrown.message)) return thrown
      warned.add(thrown.message)
      return Effect.zipRight(
        Effect.logWarning(`${options.id}, example ${example}: ${thrown.message}`, Cause.die(defect.value)),
        thrown
      )
    })
  return {
    id: options.id,
    run: (task) =>
      Effect.suspend(() => {
        const example = examples.get(task.example)
        if (example === undefined) return Effect.dieMessage(`${options.id} has no example ${task.example}`)
        const candidate = Module.withParameters(options.module, task.candidate)
        if (Either.isLeft(candidate)) return Effect.die(candidate.left)
        const module = task.rollout === undefined
          ? candidate.right
          : Module.withRollout(candidate.right, task.rollout)
        const watch = new Watch()
        return Effect.either(guarded("module", example.id, () => module(example.inputs))).pipe(
          Effect.flatMap((ran) => {
            watch.isOver = true
            const trace = Trace.canonical(watch.recorder.trace, options.module)
            return Either.match(ran, {
              onLeft: (error) => {
                const call = watch.callOf(error)
                return Effect.succeed({
                  ...failure(error),
                  ...(task.trace && call !== undefined ? { call } : undefined),
                  trace
                })
              },
              onRight: (output) =>
                Effect.match(guarded("metric", example.id, () => metric(example, output, trace)), {
                  // Nobody could say how good the answer is.
                  onFailure: (error) => ({ ...failure(error), transient: true, trace }),
                  onSuccess: ({ feedback, predictors, value }) => ({
                    _tag: "Scored" as const,
                    score: value,
                    ...(feedback === undefined ? undefined : { feedback }),
                    ...(predictors === undefined ? undefined : { predictors }),
                    ...(task.trace ? json(output) : undefined),
                    trace
                  })
                })
            })
          }),
          ModuleEvent.listen({ deltas: false, emit: (events) => Effect.sync(() => watch.add(events)) }),
          Effect.map(({ trace, ...scored }): Scored => ({
            ...scored,
            ...(task.trace ? { trace } : undefined),
            ...watch.meter.spent
          }))
        )
      })
  }
}

class Thrown extends Data.TaggedError("Defect")<{ readonly message: string }> {}

type FailedCall = NonNullable<Extract<Scored, { readonly _tag: "Failed" }>["call"]>

// All that is to be known of one run, by one listener: each costs about as much as a prediction without its model.
class Watch {
  readonly meter = new ModuleEvent.Meter()
  readonly recorder = new Trace.Recorder()
  readonly #failed: Array<ModuleEvent.PredictorFailed> = []
  // What a metric asks is paid for, too, but no part of the program.
  isOver = false

  add(events: ReadonlyArray<ModuleEvent.Emitted>): void {
    this.meter.add(events)
    if (this.isOver) return
    this.recorder.add(events)
    for (const event of events) if (event._tag === "PredictorFailed") this.#failed.push(event)
  }

  // The call a failure came from; what the program made of a failed call is not the failure of that call.
  callOf(error: unknown): FailedCall | undefined {
    const event = this.#failed.find(({ cause }) => error instanceof Error && error.message === cause)
    const answer = answerOf(error)
    return event && {
      path: event.path,
      listed: event.listed,
      inputs: event.inputs,
      ...(answer === undefined ? undefined : { answer })
    }
  }
}

const answerOf = (error: unknown): string | undefined =>
  error instanceof Adapter.AdapterParseError || error instanceof Predict.Refused
    ? error.text
    : error instanceof Predict.OutputTruncated
    ? error.partial
    : undefined

// A date is its text, and what has no form in JSON is left out.
const json = (output: unknown): { readonly output?: Json.Json } => {
  if (Json.isJson(output)) return { output }
  try {
    const text = JSON.stringify(output)
    return text === undefined ? {} : { output: JSON.parse(text) }
  } catch {
    return {}
  }
}

// A request that the model cannot take is what the candidate's prompt made it.
const ofCandidate = new Set<LanguageModelError.Reason["_tag"]>([
  "InvalidRequest",
  "RequestTooLarge",
  "ContextWindowExceeded",
  "ContentFiltered"
])

type Failure = { readonly _tag: "Failed"; transient: boolean; error: string; message: string }

const failure = (error: unknown): Failure => ({
  _tag: "Failed",
  transient: error instanceof Thrown ||
    LanguageModelError.isLanguageModelError(error) && !ofCandidate.has(error.reason._tag),
  error: LanguageModelError.isLanguageModelError(error)
    ? error.reason._tag
    : typeof error === "object" && error !== null && "_tag" in error
    ? String(error._tag)
    : "Error",
  message: messageOf(error)
})

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)
