/**
 * Keeps calls within what a provider allows, by letting them wait: a policy.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { around } from "./internal/around.ts"
import { failure } from "./internal/failure.ts"
import * as monotonic from "./internal/monotonic.ts"
import { outcomeOf } from "./internal/outcome.ts"
import { retryAfter } from "./internal/retryAfter.ts"
import { CurrentSideband, saying } from "./internal/sideband.ts"
import { spanEvent } from "./internal/spanEvent.ts"
import { inputBound } from "./internal/tokens.ts"

/**
 * What is not given is not limited.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many calls may begin within any 60 seconds. */
  readonly requestsPerMinute?: number | undefined
  /**
   * How many tokens these may take, prompts and answers together. They are
   * estimated before a call and corrected by what the provider reports after it.
   */
  readonly tokensPerMinute?: number | undefined
  /** How many calls may be under way at once. A stream is under way until it has ended or was left. */
  readonly concurrency?: number | undefined
  /**
   * The tokens of a request; by default a token for every 4 bytes of the prompt,
   * and `maxTokens` for each output where it is set.
   */
  readonly estimate?: ((request: LanguageModel.Request) => number) | undefined
  /**
   * The longest pause that a server may ask for; default 1 minute. In a longer
   * one calls fail at once, so that another model can be asked.
   */
  readonly maxWait?: Duration.DurationInput | undefined
}

/**
 * How long calls waited for their turn, tagged by `model`. Those that did not
 * wait are not in it.
 *
 * @since 0.1.0
 * @category metrics
 */
export const waits = Metric.timer("effect_dspy_rate_limit_waits", "How long calls waited for their turn")

/**
 * Lets calls begin in the order in which they came, each as soon as all limits
 * allow it; none overtakes another. All fibers share the limits, and whoever is
 * interrupted while waiting leaves the line.
 *
 * What the server says counts as well: when it refuses a call and names a time
 * (`RateLimited`), or reports that a bucket is empty (`x-ratelimit-remaining-*`
 * of 0) and when it will be full again, nobody begins before then.
 *
 * `concurrency` is also told to those who size their batches by it.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as RateLimit from "@effect-dspy/providers/RateLimit"
 * import { Effect, Fiber, TestClock, TestContext } from "effect"
 *
 * const Model = TestLanguageModel.layer(() => TestLanguageModel.text("hello")).pipe(
 *   Policy.apply(RateLimit.make({ requestsPerMinute: 2 }))
 * )
 *
 * const ask = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] })
 * const sent = Effect.map(TestLanguageModel.calls, (calls) => calls.length)
 *
 * const program = Effect.gen(function*() {
 *   const fiber = yield* Effect.fork(Effect.all([ask, ask, ask], { concurrency: "unbounded" }))
 *   yield* TestClock.adjust("59 seconds")
 *   const before = yield* sent
 *   yield* TestClock.adjust("1 second")
 *   yield* Fiber.join(fiber)
 *   return [before, yield* sent]
 * }).pipe(Effect.provide(Model), Effect.provide(TestContext.TestContext))
 *
 * Effect.runPromise(program).then((result) => assert.deepStrictEqual(result, [2, 3]))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Policy.Policy => (inner) =>
  Effect.suspend(() => {
    const gate = new Gate(options)
    const estimate = options.tokensPerMinute === undefined ? () => 0 : options.estimate ?? estimated
    const listening = around((attempt) =>
      Effect.flatMap(CurrentSideband, ({ onHeaders }) =>
        saying(attempt, {
          onHeaders: (headers) =>
            Effect.zipRight(
              Effect.flatMap(Clock.currentTimeMillis, (now) => gate.pause(retryAfter(headers, now))),
              onHeaders?.(headers) ?? Effect.void
            )
        }))
    )
    const waiting = Policy.metered(Effect.succeed((request) =>
      Effect.map(gate.enter(inner.id, estimate(request)), (pass) => (ending) => {
        const { exit } = ending
        const outcome = outcomeOf(ending)
        if (outcome === "unsent") {
          gate.refund(pass)
        } else if (outcome === "refused") {
          gate.settle(pass, 0)
        }
        if (Exit.isSuccess(exit)) {
          const { inputTokens, outputTokens } = exit.value.usage
          // A count that is missing leaves the estimate.
          if (inputTokens !== undefined && outputTokens !== undefined) {
            gate.settle(pass, inputTokens + outputTokens)
          }
          return Effect.void
        }
        const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
        return error?.reason._tag === "RateLimited" ? gate.pause(error.reason.retryAfter) : Effect.void
      })
    ))
    const { concurrency = Infinity } = options
    return Effect.map(Effect.flatMap(listening(inner), waiting), (service): LanguageModel.Service => {
      const known = Math.min(concurrency, inner.capabilities.concurrency ?? Infinity)
      return known === Infinity
        ? service
        : { ...service, capabilities: { ...service.capabilities, concurrency: known } }
    })
  })

const estimated = (request: LanguageModel.Request): number =>
  Math.ceil(inputBound(request) / 4) + (request.settings?.maxTokens ?? 0) * (request.settings?.n ?? 1)

const minute = 60_000

interface Taken {
  readonly at: number
  amount: number
  /** Whether it was within the last minute when that was looked at last. */
  recent: boolean
}

// What began within the last minute.
class Minute {
  readonly #limit: number
  #taken: Array<Taken> = []
  // How many of these are older, and not yet cleared away.
  #passed = 0
  #sum = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** How long until `amount` fits. What is larger than the limit itself fits when there is nothing else. */
  delay(now: number, amount: number): number {
    for (let oldest = this.#taken[this.#passed]; oldest !== undefined && oldest.at + minute <= now;) {
      this.#sum -= oldest.amount
      oldest.recent = false
      oldest = this.#taken[++this.#passed]
    }
    if (this.#passed > this.#taken.length / 2) {
      this.#taken = this.#taken.slice(this.#passed)
      this.#passed = 0
    }
    let over = this.#sum + Math.min(amount, this.#limit) - this.#limit
    for (let i = this.#passed; over > 0 && i < this.#taken.length; i++) {
      const { amount, at } = this.#taken[i]!
      over -= amount
      if (over <= 0) return at + minute - now
    }
    return 0
  }

  take(now: number, amount: number): Taken {
    const taken = { at: now, amount, recent: this.#limit < Infinity }
    if (taken.recent) {
      this.#taken.push(taken)
      this.#sum += amount
    }
    return taken
  }

  settle(taken: Taken, amount: number): void {
    if (taken.recent) this.#sum += amount - taken.amount
    taken.amount = amount
  }
}

// A caller, from its arrival until its call is over.
class Pass {
  readonly tokens: number
  readonly woken = Effect.unsafeMakeLatch(false)
  taken: { readonly requests: Taken; readonly tokens: Taken } | undefined

  constructor(tokens: number) {
    this.tokens = tokens
  }
}

// Only the first in line looks at the limits; whatever changes them wakes it.
class Gate {
  readonly #requests: Minute
  readonly #tokens: Minute
  readonly #concurrency: number
  readonly #maxWait: number
  readonly #line = new Set<Pass>()
  #running = 0
  #pausedUntil = 0

  constructor({ concurrency, maxWait, requestsPerMinute, tokensPerMinute }: Options) {
    this.#requests = new Minute(requestsPerMinute ?? Infinity)
    this.#tokens = new Minute(tokensPerMinute ?? Infinity)
    this.#concurrency = concurrency ?? Infinity
    this.#maxWait = Duration.toMillis(maxWait ?? "1 minute")
  }

  /** Waits for a turn, which is over when the scope closes. */
  enter(model: string, tokens: number): Effect.Effect<Pass, LanguageModelError.LanguageModelError, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const pass = new Pass(tokens)
        this.#line.add(pass)
        return Effect.addFinalizer(() => Effect.sync(() => this.#leave(pass))).pipe(
          Effect.zipRight(
            Effect.flatMap(monotonic.now, (arrived) => restore(this.#wait(model, pass, arrived, arrived)))
          ),
          Effect.as(pass)
        )
      })
    )
  }

  /** Nobody begins for so many milliseconds. */
  pause(millis: number | undefined): Effect.Effect<void> {
    return millis === undefined
      ? Effect.void
      : Effect.map(monotonic.now, (now) => {
        this.#pausedUntil = Math.max(this.#pausedUntil, now + millis)
        this.#wake()
      })
  }

  /** Corrects the tokens that a call has taken. */
  settle({ taken }: Pass, tokens: number): void {
    if (taken !== undefined) this.#tokens.settle(taken.tokens, tokens)
    this.#wake()
  }

  /** Undoes what a call has taken that was not sent after all. */
  refund(pass: Pass): void {
    if (pass.taken !== undefined) this.#requests.settle(pass.taken.requests, 0)
    this.settle(pass, 0)
  }

  #wait(
    model: string,
    pass: Pass,
    arrived: number,
    now: number
  ): Effect.Effect<void, LanguageModelError.LanguageModelError> {
    const [first] = this.#line
    const paused = this.#pausedUntil - now
    if (first === pass && paused > this.#maxWait) {
      const description = "the server asked everybody to wait; nothing was sent"
      const reason = new LanguageModelError.RateLimited({ description, retryAfter: Math.ceil(paused) })
      return Effect.fail(failure(model, reason, { attempts: 0, elapsed: Math.round(now - arrived) }))
    }
    const delay = first === pass ? Math.max(paused, this.#delay(pass, now)) : Infinity
    if (delay <= 0) {
      this.#line.delete(pass)
      this.#running++
      pass.taken = { requests: this.#requests.take(now, 1), tokens: this.#tokens.take(now, pass.tokens) }
      this.#wake()
      return now > arrived ? waited(model, now - arrived) : Effect.void
    }
    pass.woken.unsafeClose()
    return Effect.zipRight(
      delay === Infinity ? pass.woken.await : Effect.raceFirst(pass.woken.await, Effect.sleep(Math.ceil(delay))),
      Effect.flatMap(monotonic.now, (now) => this.#wait(model, pass, arrived, now))
    )
  }

  #delay({ tokens }: Pass, now: number): number {
    return this.#running >= this.#concurrency
      ? Infinity
      : Math.max(this.#requests.delay(now, 1), this.#tokens.delay(now, tokens))
  }

  #leave(pass: Pass): void {
    if (!this.#line.delete(pass)) this.#running--
    this.#wake()
  }

  #wake(): void {
    const [first] = this.#line
    first?.woken.unsafeOpen()
  }
}

const waited = (model: string, millis: number): Effect.Effect<void> =>
  Effect.zipRight(
    Metric.update(Metric.tagged(waits, "model", model), Duration.millis(millis)),
    spanEvent("rateLimit.waited", { "wait.ms": Math.round(millis) })
  )
