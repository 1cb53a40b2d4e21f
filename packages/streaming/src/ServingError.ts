/**
 * What a caller from outside is told when a request cannot be answered: a few
 * reasons with fixed words. What a module fails with stays inside: no prompt, no
 * answer of a model, no key and no stack trace is ever part of it.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * The reasons, and the HTTP status of each:
 *
 * | | | |
 * | --- | --- | --- |
 * | `BadRequest` | 400 | what was sent cannot be read: no JSON, an unknown message, a number that is none |
 * | `Unauthorized` | 401 | no token, or a wrong one |
 * | `Forbidden` | 403 | the page (`Origin`) or the address (`Host`) is not one that is served |
 * | `NotFound` | 404 | no such module, or no such run: it may have ended long ago |
 * | `TooSlow` | 408 | the request did not arrive in time |
 * | `Conflict` | 409 | a run of this id exists, and is another one |
 * | `Gone` | 410 | the events that were asked for are no longer kept |
 * | `TooLarge` | 413 | the request is larger than the limit |
 * | `InvalidInput` | 422 | the input does not fit the schema; `problems` says where |
 * | `Refused` | 422 | the model, or a filter, declined to answer |
 * | `Busy` | 429 | as many runs as are allowed are under way, or as many requests came within a second; `retryAfter` says when to ask again |
 * | `Cancelled` | 499 | somebody cancelled the run |
 * | `Failed` | 500 | the module failed; `cause` is the name of its error |
 * | `ModelFailed` | 502 | the model could not be called; `cause` is the name of the reason |
 * | `NoAnswer` | 502 | what the model answered is cut off, or is no answer |
 * | `Unavailable` | 503 | the server is about to stop, or has as many connections as are allowed |
 * | `TimedOut` | 504 | the run took too long, and was interrupted |
 *
 * @since 0.1.0
 * @category models
 */
export const Reason = Schema.Literal(
  "BadRequest",
  "Unauthorized",
  "Forbidden",
  "NotFound",
  "TooSlow",
  "Conflict",
  "Gone",
  "TooLarge",
  "InvalidInput",
  "Refused",
  "Busy",
  "Cancelled",
  "Failed",
  "ModelFailed",
  "NoAnswer",
  "Unavailable",
  "TimedOut"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

const statuses: { readonly [R in Reason]: number } = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  TooSlow: 408,
  Conflict: 409,
  Gone: 410,
  TooLarge: 413,
  InvalidInput: 422,
  Refused: 422,
  Busy: 429,
  Cancelled: 499,
  Failed: 500,
  ModelFailed: 502,
  NoAnswer: 502,
  Unavailable: 503,
  TimedOut: 504
}

/**
 * `retryable` is whether the same request may succeed later, `retryAfter` after
 * how many milliseconds, where that is known. `cause` is the name of the error
 * behind it, never its text.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServingError extends Schema.TaggedError<ServingError>("@effect-dspy/streaming/ServingError")(
  "ServingError",
  {
    reason: Reason,
    description: Schema.String,
    retryable: Schema.Boolean,
    retryAfter: Schema.optional(Schema.Finite),
    cause: Schema.optional(Schema.String),
    problems: Schema.optional(Schema.Array(Schema.Struct({ path: Schema.String, problem: Schema.String })))
  }
) {
  override get message(): string {
    const problems = this.problems?.map(({ path, problem }) => path === "" ? problem : `${path}: ${problem}`)
    return problems === undefined ? this.description : `${this.description}: ${problems.join("; ")}`
  }

  /** The HTTP status. */
  get status(): number {
    return statuses[this.reason]
  }
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  reason: Reason,
  description: string,
  options?: {
    readonly retryable?: boolean | undefined
    readonly retryAfter?: number | undefined
    readonly cause?: string | undefined
    readonly problems?: ReadonlyArray<{ readonly path: string; readonly problem: string }> | undefined
  }
): ServingError => new ServingError({ reason, description, ...options, retryable: options?.retryable ?? false })

/**
 * @since 0.1.0
 * @category guards
 */
export const isServingError = (u: unknown): u is ServingError => u instanceof ServingError

// Nobody reads more, and what is answered must not be far larger than what was asked.
const maxProblems = 20
const maxPath = 200

/**
 * An input that its schema does not allow: where, and what is expected there, 20
 * times at most. What was there instead is not repeated.
 *
 * @since 0.1.0
 * @category constructors
 */
export const invalidInput = (error: ParseResult.ParseError): ServingError =>
  make("InvalidInput", "the input does not fit the schema of the module", {
    problems: ParseResult.ArrayFormatter.formatErrorSync(error).slice(0, maxProblems).map(({ message, path }) => ({
      path: path.map(String).join(".").slice(0, maxPath),
      problem: message.replace(/, actual [\s\S]*$/, "")
    }))
  })

const modelFailed = ({ reason, retryable }: LanguageModelError.LanguageModelError): ServingError => {
  const cause = reason._tag
  switch (reason._tag) {
    case "ContentFiltered":
      return make("Refused", "the request was declined by the filter of the model's provider", { cause })
    case "ContextWindowExceeded":
    case "RequestTooLarge":
      return make("TooLarge", "the input is longer than the model can read", { cause })
    case "RateLimited":
    case "Overloaded":
      return make("ModelFailed", "the model has no capacity at the moment; try again later", {
        cause,
        retryable: true,
        retryAfter: reason.retryAfter
      })
    default:
      return make("ModelFailed", "the model could not be called", { cause, retryable })
  }
}

/**
 * What is said outside about the failure of a module. A `ServingError` is taken
 * as it is, so that a module can say itself what its callers should know.
 *
 * @example
 * ```ts
 * import * as ServingError from "@effect-dspy/streaming/ServingError"
 * import { Data } from "effect"
 *
 * class NoSuchCustomer extends Data.TaggedError("NoSuchCustomer")<{ readonly name: string }> {}
 *
 * const error = ServingError.fromFailure(new NoSuchCustomer({ name: "Ada" }))
 *
 * assert.deepStrictEqual([error.reason, error.status, error.cause], ["Failed", 500, "NoSuchCustomer"])
 * assert.strictEqual(error.message.includes("Ada"), false)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromFailure = (error: unknown): ServingError => {
  if (isServingError(error)) return error
  if (LanguageModelError.isLanguageModelError(error)) return modelFailed(error)
  const cause = nameOf(error)
  switch (cause) {
    case "AdapterParseError":
      return make("NoAnswer", "the answer of the model could not be read", { cause, retryable: true })
    case "OutputTruncated":
      return make("NoAnswer", "the answer of the model was cut off by its token limit", { cause })
    case "Refused":
      return make("Refused", "the model declined to answer", { cause })
    default:
      return make("Failed", "the module failed", { cause })
  }
}

// A tag or the name of a class is written by a programmer; any other text may have come from anywhere.
const nameOf = (error: unknown): string | undefined => {
  const name = Predicate.hasProperty(error, "_tag") ? error._tag : error instanceof Error ? error.name : undefined
  return typeof name === "string" && /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/.test(name) ? name : undefined
}

const encoded = Schema.encodeSync(ServingError)

/**
 * As it is sent: `{ "_tag": "ServingError", "reason": "Busy", … }`.
 *
 * @since 0.1.0
 * @category destructors
 */
export const toJson = (self: ServingError): Json.JsonRecord =>
  // Texts, numbers, booleans and lists of these, by the schema above.
  encoded(self) as unknown as Json.JsonRecord

/**
 * @since 0.1.0
 * @category constructors
 */
export const fromJson: (json: unknown) => Effect.Effect<ServingError, ParseResult.ParseError> = Schema.decodeUnknown(
  ServingError
)
