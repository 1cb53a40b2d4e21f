/**
 * The service that trains a model further on conversations: started with data,
 * asked now and then, and in the end there is a model with a name.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { JsonRecord } from "./Json.ts"
import type { LanguageModelError } from "./LanguageModelError.ts"

/**
 * What to train: `model` is the one to begin with, `data` and `validation` are
 * JSON lines of chats (`BootstrapFinetune.toJsonl` writes them), `suffix` becomes
 * part of the new model's name, and `hyperparameters` are passed on as they are.
 *
 * @since 0.1.0
 * @category models
 */
export interface Start {
  readonly model: string
  readonly data: string
  readonly validation?: string | undefined
  readonly suffix?: string | undefined
  readonly hyperparameters?: JsonRecord | undefined
}

/**
 * A training and how far it is. `tuned` is the name of the new model, once there
 * is one; `problem` says why there is none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Job {
  readonly id: string
  readonly status: "pending" | "running" | "succeeded" | "failed" | "cancelled"
  readonly tuned?: string | undefined
  readonly problem?: string | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly start: (start: Start) => Effect.Effect<Job, LanguageModelError>
  readonly job: (id: string) => Effect.Effect<Job, LanguageModelError>
  readonly cancel: (id: string) => Effect.Effect<Job, LanguageModelError>
}

/**
 * Where models are trained. Providers are Layers of it.
 *
 * @since 0.1.0
 * @category services
 */
export class Finetuning extends Context.Tag("@effect-dspy/core/Finetuning")<Finetuning, Service>() {}

/**
 * A training that ended without a model.
 *
 * @since 0.1.0
 * @category errors
 */
export class FinetuningFailed
  extends Schema.TaggedError<FinetuningFailed>("@effect-dspy/core/Finetuning/FinetuningFailed")(
    "FinetuningFailed",
    {
      id: Schema.String,
      status: Schema.Literal("failed", "cancelled", "unfinished"),
      problem: Schema.optional(Schema.String)
    }
  )
{
  override get message(): string {
    return this.status === "unfinished"
      ? `The training ${this.id} goes on; ask for it again with Finetuning.wait`
      : `The training ${this.id} was ${this.status === "failed" ? "not successful" : "cancelled"}${
        this.problem === undefined ? "" : `: ${this.problem}`
      }`
  }
}

/**
 * Starts a training.
 *
 * @since 0.1.0
 * @category accessors
 */
export const start = (start: Start): Effect.Effect<Job, LanguageModelError, Finetuning> =>
  Effect.flatMap(Finetuning, (finetuning) => finetuning.start(start))

/**
 * How far a training is.
 *
 * @since 0.1.0
 * @category accessors
 */
export const job = (id: string): Effect.Effect<Job, LanguageModelError, Finetuning> =>
  Effect.flatMap(Finetuning, (finetuning) => finetuning.job(id))

/**
 * Ends a training.
 *
 * @since 0.1.0
 * @category accessors
 */
export const cancel = (id: string): Effect.Effect<Job, LanguageModelError, Finetuning> =>
  Effect.flatMap(Finetuning, (finetuning) => finetuning.cancel(id))

const everyMinute: Schedule.Schedule<unknown, unknown> = Schedule.union(
  Schedule.exponential("5 seconds", 1.5),
  Schedule.spaced("1 minute")
)

/**
 * Waits for the end of a training and returns the name of the new model, to be
 * provided like any other. It is asked for at once, after 5 seconds, then after
 * half as long again each time, up to a minute, or as `poll` says; a `poll` that
 * ends gives the waiting up, with `FinetuningFailed`. Whoever is interrupted, or
 * loses the connection, can wait again: the training goes on.
 *
 * @example
 * ```ts
 * import * as Finetuning from "@effect-dspy/core/Finetuning"
 * import { Effect, Schedule } from "effect"
 *
 * // Stands for a service: the third time it is asked the model is there.
 * let asked = 0
 * const service: Finetuning.Service = {
 *   start: () => Effect.succeed({ id: "job-1", status: "pending" }),
 *   job: (id) =>
 *     Effect.sync(() => ++asked < 3 ? { id, status: "running" } : { id, status: "succeeded", tuned: "my-model" }),
 *   cancel: (id) => Effect.succeed({ id, status: "cancelled" })
 * }
 *
 * const program = Finetuning.start({ model: "small", data: "" }).pipe(
 *   Effect.flatMap(({ id }) => Finetuning.wait(id, { poll: Schedule.spaced("1 millis") })),
 *   Effect.provideService(Finetuning.Finetuning, service)
 * )
 *
 * Effect.runPromise(program).then((model) => assert.strictEqual(model, "my-model"))
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const wait: {
  (options?: { readonly poll?: Schedule.Schedule<unknown, unknown> | undefined }): (
    id: string
  ) => Effect.Effect<string, LanguageModelError | FinetuningFailed, Finetuning>
  (
    id: string,
    options?: { readonly poll?: Schedule.Schedule<unknown, unknown> | undefined }
  ): Effect.Effect<string, LanguageModelError | FinetuningFailed, Finetuning>
} = dual(
  (args) => typeof args[0] === "string",
  (
    id: string,
    options: { readonly poll?: Schedule.Schedule<unknown, unknown> | undefined } = {}
  ): Effect.Effect<string, LanguageModelError | FinetuningFailed, Finetuning> =>
    job(id).pipe(
      Effect.repeat({
        schedule: options.poll ?? everyMinute,
        while: ({ status }) => status === "pending" || status === "running"
      }),
      Effect.zipRight(job(id)),
      Effect.flatMap(({ problem, status, tuned }) =>
        status === "succeeded" && tuned !== undefined
          ? Effect.succeed(tuned)
          : new FinetuningFailed({
            id,
            status: status === "failed" || status === "cancelled"
              ? status
              : status === "succeeded"
              ? "failed"
              : "unfinished",
            problem: status === "succeeded" ? "it has no name for the model" : problem
          })
      )
    )
)
