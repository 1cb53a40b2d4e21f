/**
 * Everything that can go wrong between a program and a model, as one tagged
 * error with a `reason`. It never holds the prompt, a header or a key.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * The request itself is at fault: a parameter, a schema, a capability the
 * model does not have. Sending it again cannot help.
 *
 * @since 0.1.0
 * @category reasons
 */
export class InvalidRequest
  extends Schema.TaggedClass<InvalidRequest>("@effect-dspy/core/LanguageModelError/InvalidRequest")(
    "InvalidRequest",
    { description: Schema.String }
  )
{}

/**
 * No key, or a key the server does not accept.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Authentication
  extends Schema.TaggedClass<Authentication>("@effect-dspy/core/LanguageModelError/Authentication")(
    "Authentication",
    { description: Schema.String }
  )
{}

/**
 * The key is known but may not do this.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Permission extends Schema.TaggedClass<Permission>("@effect-dspy/core/LanguageModelError/Permission")(
  "Permission",
  { description: Schema.String }
) {}

/**
 * The server has no such model or path.
 *
 * @since 0.1.0
 * @category reasons
 */
export class NotFound extends Schema.TaggedClass<NotFound>("@effect-dspy/core/LanguageModelError/NotFound")(
  "NotFound",
  { description: Schema.String }
) {}

/**
 * The request is larger than the server takes, in bytes.
 *
 * @since 0.1.0
 * @category reasons
 */
export class RequestTooLarge
  extends Schema.TaggedClass<RequestTooLarge>("@effect-dspy/core/LanguageModelError/RequestTooLarge")(
    "RequestTooLarge",
    { description: Schema.String }
  )
{}

/**
 * The prompt, or prompt and answer together, do not fit into the model.
 *
 * @since 0.1.0
 * @category reasons
 */
export class ContextWindowExceeded
  extends Schema.TaggedClass<ContextWindowExceeded>("@effect-dspy/core/LanguageModelError/ContextWindowExceeded")(
    "ContextWindowExceeded",
    { description: Schema.String }
  )
{}

/**
 * Too many requests or tokens a minute. `retryAfter`: milliseconds the server
 * asked to wait, if it said so.
 *
 * @since 0.1.0
 * @category reasons
 */
export class RateLimited extends Schema.TaggedClass<RateLimited>("@effect-dspy/core/LanguageModelError/RateLimited")(
  "RateLimited",
  { description: Schema.String, retryAfter: Schema.optional(Schema.Finite) }
) {}

/**
 * The account has no money or quota left; waiting does not help.
 *
 * @since 0.1.0
 * @category reasons
 */
export class QuotaExhausted
  extends Schema.TaggedClass<QuotaExhausted>("@effect-dspy/core/LanguageModelError/QuotaExhausted")(
    "QuotaExhausted",
    { description: Schema.String }
  )
{}

/**
 * The server is up but has no capacity. `retryAfter` in milliseconds.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Overloaded extends Schema.TaggedClass<Overloaded>("@effect-dspy/core/LanguageModelError/Overloaded")(
  "Overloaded",
  { description: Schema.String, retryAfter: Schema.optional(Schema.Finite) }
) {}

/**
 * The server failed (5xx). `retryAfter` in milliseconds.
 *
 * @since 0.1.0
 * @category reasons
 */
export class ServerError extends Schema.TaggedClass<ServerError>("@effect-dspy/core/LanguageModelError/ServerError")(
  "ServerError",
  { status: Schema.Finite, description: Schema.String, retryAfter: Schema.optional(Schema.Finite) }
) {}

/**
 * The server held a lock (409); the same request may pass later.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Conflict extends Schema.TaggedClass<Conflict>("@effect-dspy/core/LanguageModelError/Conflict")(
  "Conflict",
  { description: Schema.String }
) {}

/**
 * A time limit passed in the named phase. `limit` in milliseconds; `partial` is
 * the text that had arrived of a stream that had begun.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Timeout extends Schema.TaggedClass<Timeout>("@effect-dspy/core/LanguageModelError/Timeout")(
  "Timeout",
  {
    phase: Schema.Literal("connect", "firstByte", "idle", "contentIdle", "total"),
    limit: Schema.optional(Schema.Finite),
    partial: Schema.optional(Schema.String)
  }
) {}

/**
 * The connection failed in the named phase. `code` is the platform's, such as
 * `ECONNREFUSED`.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Transport extends Schema.TaggedClass<Transport>("@effect-dspy/core/LanguageModelError/Transport")(
  "Transport",
  {
    phase: Schema.Literal("dns", "connect", "tls", "request", "headers", "body"),
    code: Schema.optional(Schema.String),
    description: Schema.String
  }
) {}

/**
 * A successful status with a body that is no answer.
 *
 * @since 0.1.0
 * @category reasons
 */
export class MalformedResponse
  extends Schema.TaggedClass<MalformedResponse>("@effect-dspy/core/LanguageModelError/MalformedResponse")(
    "MalformedResponse",
    { kind: Schema.Literal("empty", "json", "html", "shape"), description: Schema.String }
  )
{}

/**
 * The response passed a size limit. `limit` in bytes.
 *
 * @since 0.1.0
 * @category reasons
 */
export class ResponseTooLarge
  extends Schema.TaggedClass<ResponseTooLarge>("@effect-dspy/core/LanguageModelError/ResponseTooLarge")(
    "ResponseTooLarge",
    { limit: Schema.Finite }
  )
{}

/**
 * The stream ended without saying that it was complete. `partial` is the text
 * that had arrived.
 *
 * @since 0.1.0
 * @category reasons
 */
export class StreamTruncated
  extends Schema.TaggedClass<StreamTruncated>("@effect-dspy/core/LanguageModelError/StreamTruncated")(
    "StreamTruncated",
    { partial: Schema.String }
  )
{}

/**
 * The stream broke or reported an error after it had begun. `partial` is the
 * text that had arrived.
 *
 * @since 0.1.0
 * @category reasons
 */
export class StreamFailed extends Schema.TaggedClass<StreamFailed>("@effect-dspy/core/LanguageModelError/StreamFailed")(
  "StreamFailed",
  {
    kind: Schema.Literal("errorEvent", "malformedFrame", "connection", "loop"),
    partial: Schema.String,
    description: Schema.String
  }
) {}

/**
 * The provider's filter refused the prompt before the model answered.
 *
 * @since 0.1.0
 * @category reasons
 */
export class ContentFiltered
  extends Schema.TaggedClass<ContentFiltered>("@effect-dspy/core/LanguageModelError/ContentFiltered")(
    "ContentFiltered",
    { description: Schema.String }
  )
{}

/**
 * A circuit breaker is open; nothing was sent. `until`: milliseconds since the
 * epoch.
 *
 * @since 0.1.0
 * @category reasons
 */
export class CircuitOpen extends Schema.TaggedClass<CircuitOpen>("@effect-dspy/core/LanguageModelError/CircuitOpen")(
  "CircuitOpen",
  { until: Schema.Finite }
) {}

/**
 * The call does not fit into what is left of a budget; nothing was sent.
 *
 * @since 0.1.0
 * @category reasons
 */
export class BudgetExceeded
  extends Schema.TaggedClass<BudgetExceeded>("@effect-dspy/core/LanguageModelError/BudgetExceeded")(
    "BudgetExceeded",
    {
      resource: Schema.Literal("calls", "tokens", "cost", "time"),
      limit: Schema.Finite,
      remaining: Schema.Finite
    }
  )
{}

/**
 * Why a model call failed.
 *
 * @since 0.1.0
 * @category reasons
 */
export const Reason = Schema.Union(
  InvalidRequest,
  Authentication,
  Permission,
  NotFound,
  RequestTooLarge,
  ContextWindowExceeded,
  RateLimited,
  QuotaExhausted,
  Overloaded,
  ServerError,
  Conflict,
  Timeout,
  Transport,
  MalformedResponse,
  ResponseTooLarge,
  StreamTruncated,
  StreamFailed,
  ContentFiltered,
  CircuitOpen,
  BudgetExceeded
)

/**
 * @since 0.1.0
 * @category reasons
 */
export type Reason = typeof Reason.Type

/**
 * One sentence about a reason, safe to log.
 *
 * @since 0.1.0
 * @category destructors
 */
export const describe = (reason: Reason): string => {
  switch (reason._tag) {
    case "Timeout":
      return `the time for ${reason.phase} is over${reason.limit === undefined ? "" : ` (${reason.limit} ms)`}`
    case "Transport":
      return `connection failed (${reason.phase}${
        reason.code === undefined ? "" : `, ${reason.code}`
      }): ${reason.description}`
    case "MalformedResponse":
      return `the response is no answer (${reason.kind}): ${reason.description}`
    case "ResponseTooLarge":
      return `the response passed the limit of ${reason.limit} bytes`
    case "StreamTruncated":
      return `the stream ended without a terminal marker after ${reason.partial.length} characters`
    case "StreamFailed":
      return `the stream broke after ${reason.partial.length} characters (${reason.kind}): ${reason.description}`
    case "ServerError":
      return `the server answered ${reason.status}: ${reason.description}`
    case "RateLimited":
    case "Overloaded":
      return reason.retryAfter === undefined
        ? reason.description
        : `${reason.description} (retry after ${reason.retryAfter} ms)`
    case "CircuitOpen":
      return "the circuit breaker is open; nothing was sent"
    case "BudgetExceeded":
      return reason.resource === "time"
        ? `the time of the budget, ${reason.limit} ms, is over; nothing was sent`
        : `the budget of ${reason.limit} ${reason.resource} has ${reason.remaining} left; nothing was sent`
    default:
      return reason.description
  }
}

/**
 * Whether the same request may succeed later: connection faults, time limits,
 * overload, 5xx, 409 and rate limits. Faults of the request, the account or
 * the answer are not retryable.
 *
 * @since 0.1.0
 * @category guards
 */
export const isRetryable = (reason: Reason): boolean => {
  switch (reason._tag) {
    case "RateLimited":
    case "Overloaded":
    case "ServerError":
    case "Conflict":
    case "Timeout":
      return true
    case "Transport":
      // A certificate does not get better by asking again.
      return reason.phase !== "tls" || reason.code === "ECONNRESET"
    case "StreamTruncated":
    case "StreamFailed":
      return true
    default:
      return false
  }
}

/**
 * A failed model call. `attempts` counts what was sent, `elapsed` is
 * milliseconds, `requestId` the provider's own id when it gave one.
 * `shouldRetry` is whether the server itself said that sending it again may
 * help (`x-should-retry`).
 *
 * @since 0.1.0
 * @category errors
 */
export class LanguageModelError extends Schema.TaggedError<LanguageModelError>("@effect-dspy/core/LanguageModelError")(
  "LanguageModelError",
  {
    reason: Reason,
    provider: Schema.String,
    model: Schema.String,
    attempts: Schema.Finite,
    elapsed: Schema.optional(Schema.Finite),
    requestId: Schema.optional(Schema.String),
    shouldRetry: Schema.optional(Schema.Boolean)
  }
) {
  override get message(): string {
    return `${this.model}: ${this.reason._tag}: ${describe(this.reason)}`
  }

  /**
   * Whether the same request may succeed later: what the server said, or what
   * the reason lets expect.
   */
  get retryable(): boolean {
    return this.shouldRetry ?? isRetryable(this.reason)
  }
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isLanguageModelError = (u: unknown): u is LanguageModelError => Predicate.isTagged(u, "LanguageModelError")

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly reason: Reason
  readonly provider: string
  readonly model: string
  readonly attempts?: number | undefined
  readonly elapsed?: number | undefined
  readonly requestId?: string | undefined
  readonly shouldRetry?: boolean | undefined
}): LanguageModelError =>
  new LanguageModelError({
    reason: options.reason,
    provider: options.provider,
    model: options.model,
    attempts: options.attempts ?? 1,
    elapsed: options.elapsed,
    requestId: options.requestId,
    shouldRetry: options.shouldRetry
  }, { disableValidation: true })

/**
 * Recovers from model failures of one reason and lets all others pass.
 *
 * @example
 * ```ts
 * import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
 * import { Effect } from "effect"
 *
 * const limited = Effect.fail(LanguageModelError.make({
 *   reason: new LanguageModelError.RateLimited({ description: "slow down", retryAfter: 2000 }),
 *   provider: "test",
 *   model: "test/model"
 * }))
 *
 * const waited = limited.pipe(
 *   LanguageModelError.catchReason("RateLimited", (reason) => Effect.succeed(reason.retryAfter))
 * )
 *
 * assert.strictEqual(Effect.runSync(waited), 2000)
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const catchReason: {
  <Tag extends Reason["_tag"], A2, E2, R2>(
    tag: Tag,
    f: (reason: Extract<Reason, { readonly _tag: Tag }>, error: LanguageModelError) => Effect.Effect<A2, E2, R2>
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A | A2, E | E2, R | R2>
  <A, E, R, Tag extends Reason["_tag"], A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    tag: Tag,
    f: (reason: Extract<Reason, { readonly _tag: Tag }>, error: LanguageModelError) => Effect.Effect<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2>
} = dual(
  3,
  <A, E, R, Tag extends Reason["_tag"], A2, E2, R2>(
    self: Effect.Effect<A, E, R>,
    tag: Tag,
    f: (reason: Extract<Reason, { readonly _tag: Tag }>, error: LanguageModelError) => Effect.Effect<A2, E2, R2>
  ): Effect.Effect<A | A2, E | E2, R | R2> =>
    Effect.catchAll(
      self,
      (error): Effect.Effect<A2, E | E2, R2> =>
        isLanguageModelError(error) && error.reason._tag === tag
          // The tag has just been compared, which the compiler cannot follow through the generic.
          ? f(error.reason as Extract<Reason, { readonly _tag: Tag }>, error)
          : Effect.fail(error)
    )
)
