/**
 * Ends calls that take too long: a policy.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import { identity } from "effect/Function"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { failure } from "./internal/failure.ts"
import { add, type Sideband } from "./internal/sideband.ts"
import { spanEvent } from "./internal/spanEvent.ts"
import { type Deadline, Watch } from "./internal/watch.ts"

/**
 * How long to wait for what; `Duration.infinity` is no limit.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * For a connection, with its handshakes; default 10 seconds. Only
   * `UndiciClient` says when it has one, so that this holds with no other
   * client: `fetch` and undici by themselves have a limit of 10 seconds.
   */
  readonly connect?: Duration.DurationInput | undefined
  /**
   * For the first bytes of a stream, whether they say something or not; default
   * 2 minutes. The time to connect is part of it.
   */
  readonly firstByte?: Duration.DurationInput | undefined
  /** For further bytes of it; default 1 minute. */
  readonly idle?: Duration.DurationInput | undefined
  /**
   * For further deltas of it, since comments and pings keep a connection alive
   * that brings no answer; default 5 minutes.
   */
  readonly contentIdle?: Duration.DurationInput | undefined
  /** For the whole answer; default 10 minutes. */
  readonly total?: Duration.DurationInput | undefined
  /** The same for a streamed one; default `total`. */
  readonly streamTotal?: Duration.DurationInput | undefined
}

/**
 * Counts time limits that passed, tagged by `model` and `phase`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const timeouts = Metric.counter("effect_dspy_timeouts", {
  description: "Calls to a model that took too long",
  incremental: true
})

/**
 * Fails a call with `Timeout` and the phase it was in, when the model keeps it
 * waiting too long; its connection is closed. Of a stream the error has the
 * text that had arrived.
 *
 * Only time in which the model is waited for counts: not that in which a reader
 * keeps a stream, and, applied to the model before all other policies, not that
 * of their queues.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Timeouts from "@effect-dspy/providers/Timeouts"
 * import { Effect } from "effect"
 *
 * const Slow = TestLanguageModel.layer([TestLanguageModel.text("hello").pipe(TestLanguageModel.delayed("1 minute"))])
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   LanguageModelError.catchReason("Timeout", ({ limit, phase }) => Effect.succeed(`${phase}: ${limit} ms`)),
 *   Effect.provide(Policy.apply(Slow, Timeouts.make({ total: "10 millis" })))
 * )
 *
 * Effect.runPromise(program).then((result) => assert.strictEqual(result, "total: 10 ms"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Policy.Policy<never, Scope.Scope> => {
  const connect = Duration.toMillis(options.connect ?? "10 seconds")
  const total = Duration.toMillis(options.total ?? "10 minutes")
  const whole: Limits = { connect, firstByte: Infinity, idle: Infinity, contentIdle: Infinity, total }
  const streamed: Limits = {
    connect,
    firstByte: Duration.toMillis(options.firstByte ?? "2 minutes"),
    idle: Duration.toMillis(options.idle ?? "1 minute"),
    contentIdle: Duration.toMillis(options.contentIdle ?? "5 minutes"),
    total: Duration.toMillis(options.streamTotal ?? total)
  }
  return (inner) =>
    Effect.map(Watch.make, (watch) => {
      const open = Policy.open(inner)
      // An answer that is not really streamed comes whole: its first byte is its last.
      const own = inner.capabilities.streaming ? streamed : { ...streamed, firstByte: Infinity }
      return {
        ...inner,
        generate: (request) =>
          Effect.flatMap(Effect.runtime<never>(), (runtime) => {
            const call = new Call(inner.id, whole, watch, runtime)
            return call.timed(inner.generate(request), identity, () => {})
          }),
        stream: Policy.pulled((request) =>
          Effect.flatMap(Effect.runtime<Scope.Scope>(), (runtime) => {
            const call = new Call(inner.id, own, watch, runtime)
            return Effect.map(
              call.timed(open(request), identity, () => {}),
              (pull): Policy.Pull => call.timed(pull, Option.some, (chunk) => call.received(chunk))
            )
          })
        )
      }
    })
}

interface Limits {
  readonly connect: number
  readonly firstByte: number
  readonly idle: number
  readonly contentIdle: number
  readonly total: number
}

type Phase = keyof Limits

// One call: the time in which its model is waited for. That which runs meanwhile has a fiber of its own, which alone is
// interrupted; the timer is one for all calls, since one for each would cost more than all the rest.
class Call<R> implements Deadline {
  readonly #id: string
  readonly #limits: Limits
  readonly #watch: Watch
  readonly #run: <A, E>(effect: Effect.Effect<A, E, R>) => Fiber.RuntimeFiber<A, E>

  // Milliseconds in which the model was waited for until now: in all, and since the last delta.
  #waited = 0
  #empty = 0
  #begun = false
  #partial = ""
  #connecting: number | undefined
  #since = 0
  #waiting: Fiber.RuntimeFiber<unknown, unknown> | undefined
  #passed: Phase | undefined
  until = Infinity

  // What a client that can tell says of its connection.
  readonly #told: Sideband = {
    onConnecting: () => {
      const since = this.#watch.now()
      this.#connecting = since
      this.#aim()
      return () => {
        if (this.#connecting !== since) return
        this.#connecting = undefined
        this.#aim()
      }
    }
  }

  constructor(id: string, limits: Limits, watch: Watch, runtime: Runtime.Runtime<R>) {
    this.#id = id
    this.#limits = limits
    this.#watch = watch
    this.#run = Runtime.runFork(Runtime.updateContext(runtime, add(this.#told)))
  }

  timed<A, E>(
    self: Effect.Effect<A, E, R>,
    failed: (error: LanguageModelError.LanguageModelError) => E,
    received: (value: A) => void
  ): Effect.Effect<A, E> {
    return Effect.async<A, E>((resume) => {
      this.#since = this.#watch.now()
      this.#passed = undefined
      // Whatever it is part of: a time limit that waits for it is none.
      const fiber = this.#run(Effect.interruptible(self))
      this.#waiting = fiber
      fiber.addObserver((exit) => {
        this.#over()
        const passed = this.#passed
        if (passed !== undefined && exit._tag === "Failure") return resume(Effect.mapError(this.#fail(passed), failed))
        if (exit._tag === "Success") received(exit.value)
        resume(exit)
      })
      if (this.#waiting === undefined) return
      this.#aim()
      return Effect.suspend(() => {
        this.#over()
        return Fiber.interrupt(fiber)
      })
    })
  }

  received(chunk: Chunk.Chunk<LanguageModel.Delta>): void {
    this.#begun = true
    if (Chunk.isNonEmpty(chunk)) this.#empty = 0
    for (const delta of chunk) {
      if (delta._tag === "TextDelta" && delta.index === 0) this.#partial += delta.text
      else if (delta._tag === "Restarted") this.#partial = ""
    }
  }

  expire(): void {
    this.#passed = this.#nearest()[0]
    this.#waiting?.unsafeInterruptAsFork(FiberId.none)
  }

  // Whatever has changed, the watch knows until when there is time.
  #aim(): void {
    if (this.#waiting === undefined) return
    this.until = this.#nearest()[1]
    this.#watch.add(this)
  }

  #over(): void {
    if (this.#waiting === undefined) return
    this.#waiting = undefined
    this.#watch.delete(this)
    const waited = this.#watch.now() - this.#since
    this.#waited += waited
    this.#empty += waited
  }

  #nearest(): readonly [phase: Phase, until: number] {
    const { connect, contentIdle, firstByte, idle, total } = this.#limits
    const ends: Array<readonly [Phase, number]> = this.#begun
      ? [["idle", this.#since + idle], ["contentIdle", this.#since + contentIdle - this.#empty]]
      : [["firstByte", this.#since + firstByte - this.#waited]]
    if (this.#connecting !== undefined) ends.push(["connect", this.#connecting + connect])
    ends.push(["total", this.#since + total - this.#waited])
    return ends.reduce((nearest, next) => next[1] < nearest[1] ? next : nearest)
  }

  #fail(phase: Phase): Effect.Effect<never, LanguageModelError.LanguageModelError> {
    const limit = this.#limits[phase]
    const reason = new LanguageModelError.Timeout({
      phase,
      limit,
      ...(this.#begun ? { partial: this.#partial } : undefined)
    })
    return Metric.increment(Metric.tagged(Metric.tagged(timeouts, "model", this.#id), "phase", phase)).pipe(
      Effect.zipRight(spanEvent("timeout", { phase, "limit.ms": limit })),
      Effect.zipRight(Effect.fail(failure(this.#id, reason, { elapsed: Math.round(this.#waited) })))
    )
  }
}
