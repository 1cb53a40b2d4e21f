/**
 * Sends a failed call again when that may help: a policy.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as Policy from "@effect-dspy/core/Policy"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import * as Stream from "effect/Stream"
import { around } from "./internal/around.ts"
import * as monotonic from "./internal/monotonic.ts"
import { RollingCount } from "./internal/rollingCount.ts"
import { CurrentSideband, saying, sayingInStream } from "./internal/sideband.ts"
import { spanEvent } from "./internal/spanEvent.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * When to try again, how often, and how long to wait.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many times at most, after the first attempt; default 2. */
  readonly times?: number | undefined
  /**
   * A `Schedule` of one's own for failures of some reasons, whose delays and end
   * then decide for these, and which is asked also of reasons that are otherwise
   * not retried. `Schedule.stop` turns a reason off.
   */
  readonly schedules?:
    | {
      readonly [Tag in LanguageModelError.Reason["_tag"]]?:
        | Schedule.Schedule<unknown, LanguageModelError.LanguageModelError>
        | undefined
    }
    | undefined
  /**
   * The longest wait that a server may ask for; default 1 minute. A server that
   * asks for more has its call fail at once, with the wait in the error, so that
   * another model can be asked.
   */
  readonly maxWait?: Duration.DurationInput | undefined
  /**
   * No attempt begins later than this after the first one; default 10 minutes.
   * It does not end an attempt that is running.
   */
  readonly deadline?: Duration.DurationInput | undefined
  /**
   * Of all calls to the model, how many may be repeated; default `ratio` 0.2 of
   * the calls in the last `window` of 10 seconds, but always `minimum` 10 of
   * them. A server that is down gets at most a fifth more calls than usual, not
   * three times as many. A retry at the time that a rate limit named is not
   * counted.
   */
  readonly budget?:
    | {
      readonly ratio?: number | undefined
      readonly minimum?: number | undefined
      readonly window?: Duration.DurationInput | undefined
    }
    | undefined
  /**
   * Whether to try again also when a part of a stream was delivered already; default `false`. The
   * reader is told by a `Restarted` delta that the answer begins anew, and pays
   * for the lost part.
   */
  readonly restart?: boolean | undefined
}

/**
 * The waits between attempts when the server names none: half a second, doubled
 * each time up to 8 seconds, times a random number between 0.5 and 1 so that
 * callers that failed together do not return together.
 *
 * @since 0.1.0
 * @category schedules
 */
export const schedule = (times: number): Schedule.Schedule<unknown> =>
  Schedule.exponential("500 millis").pipe(
    Schedule.union(Schedule.spaced("8 seconds")),
    Schedule.jitteredWith({ min: 0.5, max: 1 }),
    Schedule.intersect(Schedule.recurs(times))
  )

/**
 * Counts retries, tagged by `model` and `reason`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retries = Metric.counter("effect_dspy_retries", {
  description: "Calls to a model that were sent again",
  incremental: true
})

// =============================================================================
// The policy
// =============================================================================

/**
 * Retries failures that may pass: connections, time limits, overload, 5xx, 409,
 * 408 and rate limits, not certificates, spent quotas, or faults of the
 * request. What the server says of it (`x-should-retry`) wins over that.
 *
 * A wait that the server names (`retry-after`, or the reset of an empty bucket)
 * is kept to, plus up to a tenth of it; else `schedule` decides. Waits are
 * interruptible. All attempts at one call carry the same `idempotency-key`. The
 * error of the last attempt counts all `attempts` and the time since the first.
 *
 * A stream is retried only as long as nothing of it was delivered, unless
 * `restart` is set.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Retry from "@effect-dspy/providers/Retry"
 * import { Effect, Schedule } from "effect"
 *
 * const Model = TestLanguageModel.layer([TestLanguageModel.fail("Overloaded"), TestLanguageModel.text("hello")]).pipe(
 *   Policy.apply(Retry.make({ schedules: { Overloaded: Schedule.recurs(3) } }))
 * )
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   Effect.provide(Model)
 * )
 *
 * Effect.runPromise(program).then((response) => assert.strictEqual(response.outputs[0]?.text, "hello"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Policy.Policy => {
  const settings = settle(options)
  return (inner) =>
    Effect.suspend(() => {
      const budget = new Budget(settings)
      const begin = Effect.flatMap(CurrentSideband, ({ attempts }) =>
        Effect.zipWith(monotonic.now, Random.nextInt, (now, salt) => {
          budget.request(now)
          return new Call(settings, budget, now, salt, attempts)
        }))
      const retrying = around((attempt) =>
        Effect.flatMap(begin, (call) => {
          const sent = saying(attempt, { idempotencyKey: call.key })
          const loop: typeof attempt = Effect.catchAll(sent, (error) =>
            Effect.flatMap(call.again(error), () =>
              loop))
          return loop
        })
      )(inner)
      return options.restart !== true ? retrying : Effect.map(retrying, (service) => ({
        ...service,
        stream: (request) => Stream.unwrap(Effect.map(begin, (call) => restarting(inner, request, call)))
      }))
    })
}

const restarting = (
  inner: LanguageModel.Service,
  request: LanguageModel.Request,
  call: Call
): Stream.Stream<LanguageModel.Delta, LanguageModelError.LanguageModelError> => {
  let delivered = false
  const sent = Stream.mapChunks(sayingInStream(inner.stream(request), { idempotencyKey: call.key }), (chunk) => {
    delivered ||= Chunk.isNonEmpty(chunk)
    return chunk
  })
  const loop: typeof sent = Stream.catchAll(sent, (error) =>
    Stream.unwrap(Effect.map(call.again(error), () => {
      if (!delivered) return loop
      delivered = false
      return Stream.concat(Stream.succeed({ _tag: "Restarted", cause: error.message } as const), loop)
    })))
  return loop
}

// =============================================================================
// One call
// =============================================================================

interface Settings {
  readonly schedule: Schedule.Schedule<unknown, LanguageModelError.LanguageModelError>
  readonly schedules: NonNullable<Options["schedules"]>
  readonly maxWait: number
  readonly deadline: number
  readonly ratio: number
  readonly minimum: number
  readonly window: number
}

const settle = ({ budget, deadline, maxWait, schedules, times }: Options): Settings => ({
  schedule: schedule(times ?? 2),
  schedules: schedules ?? {},
  maxWait: Duration.toMillis(maxWait ?? "1 minute"),
  deadline: Duration.toMillis(deadline ?? "10 minutes"),
  ratio: budget?.ratio ?? 0.2,
  minimum: budget?.minimum ?? 10,
  window: Duration.toMillis(budget?.window ?? "10 seconds")
})

// How many calls to one model may be repeated.
class Budget {
  readonly #settings: Settings
  readonly #count: RollingCount<"request" | "retry">

  constructor(settings: Settings) {
    this.#settings = settings
    this.#count = new RollingCount(settings.window)
  }

  request(now: number): void {
    this.#count.add("request", now)
  }

  retry(now: number): boolean {
    const { minimum, ratio } = this.#settings
    const allowed = Math.max(minimum, ratio * this.#count.of("request", now))
    if (this.#count.of("retry", now) + 1 > allowed) return false
    this.#count.add("retry", now)
    return true
  }
}

// What has become of one call so far.
class Call {
  readonly key: string
  readonly #settings: Settings
  readonly #budget: Budget
  readonly #started: number
  readonly #limit: number
  // Where each schedule that was asked stands.
  readonly #states = new Map<Schedule.Schedule<unknown, LanguageModelError.LanguageModelError>, unknown>()
  #attempts = 0

  constructor(settings: Settings, budget: Budget, now: number, salt: number, limit: number | undefined) {
    // The time keeps runs apart whose random numbers are the same.
    this.key = `${Math.round(now * 1000).toString(36)}-${Math.abs(salt).toString(36)}`
    this.#settings = settings
    this.#budget = budget
    this.#started = now
    this.#limit = limit ?? Infinity
  }

  /** Waits until it is time for another attempt, or fails if there is to be none. */
  again(error: LanguageModelError.LanguageModelError): Effect.Effect<void, LanguageModelError.LanguageModelError> {
    return Effect.gen(this, function*() {
      const now = yield* monotonic.now
      this.#attempts += error.attempts
      const last = Effect.fail(this.#attempts === error.attempts ? error : this.#whole(error, now))
      const wait = this.#attempts < this.#limit ? yield* this.#wait(error, now) : undefined
      if (wait === undefined) return yield* last
      const { model, reason } = error
      if (!(wait.named && reason._tag === "RateLimited") && !this.#budget.retry(now)) {
        yield* spanEvent("retry.budgetSpent", { "error.type": reason._tag })
        return yield* last
      }
      yield* spanEvent("retry", { "error.type": reason._tag, attempts: this.#attempts, "wait.ms": wait.millis })
      yield* Metric.increment(Metric.tagged(Metric.tagged(retries, "model", model), "reason", reason._tag))
      yield* Effect.sleep(wait.millis)
    })
  }

  #whole(error: LanguageModelError.LanguageModelError, now: number): LanguageModelError.LanguageModelError {
    const { model, provider, reason, requestId, shouldRetry } = error
    return LanguageModelError.make({
      reason,
      provider,
      model,
      requestId,
      shouldRetry,
      attempts: this.#attempts,
      elapsed: Math.round(now - this.#started)
    })
  }

  // Nothing if the call is not to be repeated. `named` is a wait that the server asked for.
  #wait(
    error: LanguageModelError.LanguageModelError,
    now: number
  ): Effect.Effect<{ readonly millis: number; readonly named: boolean } | undefined> {
    return Effect.gen(this, function*() {
      const { deadline, maxWait, schedules } = this.#settings
      const own = schedules[error.reason._tag]
      if (own === undefined ? !error.retryable : error.shouldRetry === false) return undefined
      const delay = yield* this.#step(own ?? this.#settings.schedule, error)
      if (delay === undefined) return undefined
      const left = deadline - (now - this.#started)
      const told = "retryAfter" in error.reason ? error.reason.retryAfter : undefined
      if (told === undefined) return delay > left ? undefined : { millis: delay, named: false }
      if (told > Math.min(maxWait, left)) return undefined
      return { millis: Math.ceil(told * (1 + 0.1 * (yield* Random.next))), named: true }
    })
  }

  #step(
    schedule: Schedule.Schedule<unknown, LanguageModelError.LanguageModelError>,
    error: LanguageModelError.LanguageModelError
  ): Effect.Effect<number | undefined> {
    return Effect.gen(this, function*() {
      const now = yield* Clock.currentTimeMillis
      const state = this.#states.has(schedule) ? this.#states.get(schedule) : schedule.initial
      const [next, , decision] = yield* schedule.step(now, error, state)
      this.#states.set(schedule, next)
      return ScheduleDecision.isContinue(decision)
        ? Math.max(0, Math.ceil(ScheduleIntervals.start(decision.intervals) - now))
        : undefined
    })
  }
}
