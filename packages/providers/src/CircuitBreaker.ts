/**
 * Leaves a model alone that fails most of its calls: a policy.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import { CircuitOpen } from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import { failure } from "./internal/failure.ts"
import * as monotonic from "./internal/monotonic.ts"
import { RollingCount } from "./internal/rollingCount.ts"
import { spanEvent } from "./internal/spanEvent.ts"

/**
 * - `Closed`: calls go through.
 * - `Open`: they fail at once, until the given time in milliseconds since the
 *   epoch.
 * - `HalfOpen`: one call goes through to see whether the model is back; all
 *   others fail at once.
 *
 * @since 0.1.0
 * @category models
 */
export type State = Data.TaggedEnum<{
  Closed: {}
  Open: { readonly until: number }
  HalfOpen: {}
}>

/**
 * @since 0.1.0
 * @category constructors
 */
export const State = Data.taggedEnum<State>()

/**
 * What `CircuitBreaker` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The part of failed calls that opens the breaker; default 0.5. */
  readonly ratio?: number | undefined
  /** The number of calls before which it never opens; default 20. */
  readonly minimum?: number | undefined
  /** The time over which calls are counted; default 30 seconds. */
  readonly window?: Duration.DurationInput | undefined
  /**
   * How long it stays open at first; default 5 seconds. Each time the model
   * turns out not to be back, that is doubled.
   */
  readonly open?: Duration.DurationInput | undefined
  /** How long it stays open at most; default 1 minute. */
  readonly maxOpen?: Duration.DurationInput | undefined
  /** Run with every new state and the `id` of the model. */
  readonly onChange?: ((state: State, model: string) => Effect.Effect<void>) | undefined
}

/**
 * The state of each breaker, tagged by `model`: 0 is closed, 1 half open, 2
 * open.
 *
 * @since 0.1.0
 * @category metrics
 */
export const state = Metric.gauge("effect_dspy_circuit_state", {
  description: "0 is closed, 1 half open, 2 open"
})

/**
 * Counts calls that were not sent because a breaker was open, tagged by
 * `model`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const refusals = Metric.counter("effect_dspy_circuit_refusals", {
  description: "Calls that a circuit breaker did not let through",
  incremental: true
})

/**
 * Fails calls with `CircuitOpen`, and sends nothing, while a model is known to
 * be down: callers are told at once and may ask another model, and the server
 * gets time to recover.
 *
 * Failures are 5xx, overload, time limits and broken connections; also of a
 * stream that began, which had counted as a success then. What is wrong with a
 * request or an account, a rate limit or an interruption does not count at all.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as CircuitBreaker from "@effect-dspy/providers/CircuitBreaker"
 * import { Effect } from "effect"
 *
 * const states: Array<string> = []
 * const Model = TestLanguageModel.layer(() => TestLanguageModel.fail("Overloaded")).pipe(
 *   Policy.apply(CircuitBreaker.make({
 *     minimum: 3,
 *     onChange: ({ _tag }, model) => Effect.sync(() => states.push(`${model}: ${_tag}`))
 *   }))
 * )
 *
 * const ask = Effect.flip(LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }))
 *
 * const program = Effect.all([ask, ask, ask, ask]).pipe(Effect.provide(Model))
 *
 * Effect.runPromise(program).then((errors) => {
 *   assert.strictEqual(errors[3].reason._tag, "CircuitOpen")
 *   assert.deepStrictEqual(states, ["test/model: Open"])
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Policy.Policy => (inner) =>
  Effect.suspend(() => {
    const { id } = inner
    const { onChange } = options
    const breaker = new Breaker(options)
    const gauge = Metric.tagged(state, "model", id)
    const refused = Metric.increment(Metric.tagged(refusals, "model", id))

    // Whatever happens to the breaker: `step` says how, and what became of it.
    const after = <A>(step: (now: number) => A): Effect.Effect<A> =>
      Effect.flatMap(monotonic.now, (now) => {
        const before = breaker.state
        const result = step(now)
        const { state } = breaker
        return state === before ? Effect.succeed(result) : Effect.as(
          Effect.all([
            Metric.set(gauge, levels[state._tag]),
            spanEvent(`circuitBreaker.${state._tag}`, { model: id }),
            onChange?.(state, id) ?? Effect.void
          ], { discard: true }),
          result
        )
      })

    const admitted = <A, R>(
      use: (
        admission: Admission,
        restore: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
      ) => Effect.Effect<A, LanguageModelError.LanguageModelError, R>
    ) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          after((now) => breaker.admit(now)),
          (admission) =>
            typeof admission === "number"
              ? Effect.zipRight(
                Effect.zipRight(refused, spanEvent("circuitBreaker.refused", { model: id })),
                Effect.fail(failure(id, new CircuitOpen({ until: Math.round(admission) }), { attempts: 0 }))
              )
              : use(admission, restore)
        )
      )

    // Of a stream failures of all kinds are seen from within, also when it had begun.
    const failing = Policy.metered(Effect.succeed(() =>
      Effect.map(Admitted, (admission) => ({ exit }) =>
        admission !== undefined && Exit.isFailure(exit) && isDown(exit.cause)
          ? after((now) =>
            breaker.down(admission, now)
          )
          : Effect.void)
    ))
    const opening = Policy.around(Effect.succeed((attempt) =>
      admitted((admission, restore) =>
        Effect.onExit(restore(Effect.provideService(attempt, Admitted, admission)), (exit) =>
          Exit.isFailure(exit) && isDown(exit.cause)
            ? Effect.void
            : after((now) =>
              breaker.over(admission, exit, now)
            ))
      )
    ))

    return Effect.map(Effect.flatMap(failing(inner), opening), (service): LanguageModel.Service => ({
      ...service,
      generate: (request) =>
        admitted((admission, restore) =>
          Effect.onExit(restore(inner.generate(request)), (exit) =>
            after((now) =>
              breaker.over(admission, exit, now)
            ))
        )
    }))
  })

const levels: { readonly [Tag in State["_tag"]]: number } = { Closed: 0, HalfOpen: 1, Open: 2 }

// What was not sent says nothing; a shared call is told once.
const isUnsent = (cause: Cause.Cause<LanguageModelError.LanguageModelError>): boolean => {
  const error = Cause.failureOption(cause)
  return error._tag === "Some" && error.value.attempts === 0
}

const isDown = (cause: Cause.Cause<LanguageModelError.LanguageModelError>): boolean => {
  const error = Cause.failureOption(cause)
  if (error._tag === "None" || isUnsent(cause)) return false
  const { reason } = error.value
  switch (reason._tag) {
    case "Overloaded":
    case "Timeout":
    case "Transport":
    case "StreamTruncated":
      return true
    case "ServerError":
      return reason.status < 400 || reason.status >= 500
    case "StreamFailed":
      return reason.kind === "connection"
    default:
      return false
  }
}

// One call that was let through. What it says of the model counts as long as the breaker is as it
// was then.
interface Admission {
  readonly era: number
}

class Admitted extends Context.Reference<Admitted>()("@effect-dspy/providers/CircuitBreaker/Admitted", {
  defaultValue: (): Admission | undefined => undefined
}) {}

// Every change is one step, which no fiber can get between.
class Breaker {
  readonly #ratio: number
  readonly #minimum: number
  readonly #window: number
  readonly #first: number
  readonly #longest: number
  #count: RollingCount<"up" | "down">
  #era = 0
  #open: number
  #probing = false
  state: State = State.Closed()

  constructor({ maxOpen, minimum, open, ratio, window }: Options) {
    this.#ratio = ratio ?? 0.5
    this.#minimum = minimum ?? 20
    this.#window = Duration.toMillis(window ?? "30 seconds")
    this.#first = Duration.toMillis(open ?? "5 seconds")
    this.#longest = Duration.toMillis(maxOpen ?? "1 minute")
    this.#open = this.#first
    this.#count = new RollingCount(this.#window)
  }

  /** An admission, or the time until which there is none. */
  admit(now: number): Admission | number {
    if (this.state._tag === "Open") {
      if (now < this.state.until) return this.state.until
      this.#become(State.HalfOpen())
    }
    if (this.state._tag === "HalfOpen") {
      if (this.#probing) return now
      this.#probing = true
    }
    return { era: this.#era }
  }

  /** What a call says of the model that ended in this way. */
  over(admission: Admission, exit: Exit.Exit<unknown, LanguageModelError.LanguageModelError>, now: number): void {
    if (Exit.isSuccess(exit)) this.up(admission, now)
    else if (isDown(exit.cause)) this.down(admission, now)
    else this.unknown(admission, Cause.isInterrupted(exit.cause) || isUnsent(exit.cause), now)
  }

  up({ era }: Admission, now: number): void {
    if (era !== this.#era) return
    if (this.state._tag === "HalfOpen") this.#close()
    else this.#count.add("up", now)
  }

  down({ era }: Admission, now: number): void {
    if (era !== this.#era) return
    if (this.state._tag === "HalfOpen") {
      this.#open = Math.min(this.#longest, this.#open * 2)
      this.#become(State.Open({ until: now + this.#open }))
      return
    }
    this.#count.add("down", now)
    const down = this.#count.of("down", now)
    const all = down + this.#count.of("up", now)
    if (all >= this.#minimum && down / all >= this.#ratio) this.#become(State.Open({ until: now + this.#open }))
  }

  /** A call that says nothing of failures: the model is there, unless nobody waited for it or it was not asked. */
  unknown(admission: Admission, unanswered: boolean, now: number): void {
    if (admission.era !== this.#era || this.state._tag !== "HalfOpen") return
    if (unanswered) this.#probing = false
    else this.up(admission, now)
  }

  #close(): void {
    this.#open = this.#first
    this.#count = new RollingCount(this.#window)
    this.#become(State.Closed())
  }

  #become(state: State): void {
    this.state = state
    this.#era++
    this.#probing = false
  }
}
