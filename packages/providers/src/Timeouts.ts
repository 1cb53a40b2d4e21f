/**
 * Ends calls that take too long: a policy.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as Policy from "@effect-dspy/core/Policy"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { failure } from "./internal/failure.ts"
import { spanEvent } from "./internal/spanEvent.ts"

/**
 * How long to wait for what; `Duration.infinity` is no limit.
 *
 * - `firstByte`: for the first bytes of a stream, whether they say something or
 *   not; default 2 minutes.
 * - `idle`: for further bytes of it; default 1 minute.
 * - `contentIdle`: for further deltas of it, since comments and pings keep a
 *   connection alive that brings no answer; default 5 minutes.
 * - `total`: for the whole answer; default 10 minutes.
 * - `streamTotal`: the same for a streamed one; default `total`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly firstByte?: Duration.DurationInput | undefined
  readonly idle?: Duration.DurationInput | undefined
  readonly contentIdle?: Duration.DurationInput | undefined
  readonly total?: Duration.DurationInput | undefined
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
 * How long connecting may take is for the HTTP client to say, which alone sees
 * it: 10 seconds with `fetch` and undici, unless undici's dispatcher is given
 * another limit (docs/providers.md shows how). That is a `Timeout` too, of the
 * phase `connect`. To `firstByte` and `total` the time to connect counts.
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
export const make = (options: Options = {}): Policy.Policy => {
  const total = Duration.toMillis(options.total ?? "10 minutes")
  const limits: Limits = {
    firstByte: Duration.toMillis(options.firstByte ?? "2 minutes"),
    idle: Duration.toMillis(options.idle ?? "1 minute"),
    contentIdle: Duration.toMillis(options.contentIdle ?? "5 minutes"),
    total: Duration.toMillis(options.streamTotal ?? total)
  }
  return (inner) => {
    // An answer that is not really streamed comes whole: its first byte is its last.
    const own = inner.capabilities.streaming ? limits : { ...limits, firstByte: Infinity }
    return Effect.succeed({
      ...inner,
      generate: (request) =>
        within(inner.generate(request), total, () => passed(inner.id, { phase: "total", limit: total }, total)),
      stream: (request) =>
        Stream.unwrapScoped(Effect.map(
          Effect.flatMap(Stream.toPull(inner.stream(request)), (pull) => timed(inner.id, pull, own)),
          Stream.repeatEffectChunkOption
        ))
    })
  }
}

const within = <A, E>(
  self: Effect.Effect<A, E>,
  limit: number,
  otherwise: () => Effect.Effect<never, E>
): Effect.Effect<A, E> =>
  limit === Infinity
    ? self
    : Effect.flatten(Effect.timeoutTo(self, { duration: limit, onSuccess: Effect.succeed, onTimeout: otherwise }))

type Phase = keyof Limits

interface Limits {
  readonly firstByte: number
  readonly idle: number
  readonly contentIdle: number
  readonly total: number
}

type Pull = Effect.Effect<Chunk.Chunk<LanguageModel.Delta>, Option.Option<LanguageModelError.LanguageModelError>>

// Each pull runs in a fiber of its own, which alone is interrupted. A timer for each of them would
// cost more than all the rest, so that one fiber looks at the time for the whole stream.
const timed = (id: string, pull: Pull, limits: Limits): Effect.Effect<Pull, never, Scope.Scope> =>
  Effect.gen(function*() {
    const run = Runtime.runFork(yield* Effect.runtime<never>())
    const clock = yield* Effect.clock
    const now = () => Number(clock.unsafeCurrentTimeNanos()) / 1e6

    // Milliseconds in which the model was waited for: in all, and since the last delta.
    let waited = 0
    let empty = 0
    let begun = false
    let partial = ""

    const nearest = (): readonly [phase: Phase, left: number] => {
      const left: ReadonlyArray<readonly [Phase, number]> = begun
        ? [["idle", limits.idle], ["contentIdle", limits.contentIdle - empty], ["total", limits.total - waited]]
        : [["firstByte", limits.firstByte], ["total", limits.total]]
      return left.reduce((nearest, next) => next[1] < nearest[1] ? next : nearest)
    }

    const received = (chunk: Chunk.Chunk<LanguageModel.Delta>, millis: number): void => {
      waited += millis
      empty = Chunk.isEmpty(chunk) ? empty + millis : 0
      begun = true
      for (const delta of chunk) {
        if (delta._tag === "TextDelta" && delta.index === 0) partial += delta.text
        else if (delta._tag === "Restarted") partial = ""
      }
    }

    // The pull under way, and when the time will be looked at next.
    let waiting: { readonly until: number; readonly expire: Effect.Effect<void> } | undefined
    let nextLook = Infinity
    const sooner = Effect.unsafeMakeLatch(false)

    const look: Effect.Effect<void> = Effect.suspend(() => {
      sooner.unsafeClose()
      nextLook = waiting?.until ?? Infinity
      const left = nextLook - now()
      if (waiting !== undefined && left <= 0) return waiting.expire
      const looked = left === Infinity ? sooner.await : Effect.raceFirst(sooner.await, Effect.sleep(Math.ceil(left)))
      return Effect.zipRight(looked, look)
    })
    yield* Effect.forkScoped(Effect.interruptible(look))

    return Effect.async<Chunk.Chunk<LanguageModel.Delta>, Option.Option<LanguageModelError.LanguageModelError>>(
      (resume) => {
        const started = now()
        const [phase, left] = nearest()
        const fiber = run(Effect.interruptible(pull))
        const stop = Effect.suspend(() => {
          waiting = undefined
          return Fiber.interrupt(fiber)
        })
        const failed = Effect.suspend(() =>
          passed(id, { phase, limit: limits[phase], ...(begun ? { partial } : undefined) }, waited + now() - started)
        )
        const current = {
          until: started + left,
          expire: Effect.zipRight(stop, Effect.sync(() => resume(Effect.mapError(failed, Option.some))))
        }
        waiting = current
        fiber.addObserver((exit) => {
          if (waiting !== current) return
          waiting = undefined
          if (exit._tag === "Success") received(exit.value, now() - started)
          resume(exit)
        })
        if (waiting !== undefined && current.until < nextLook) sooner.unsafeOpen()
        return stop
      }
    )
  })

const passed = (
  id: string,
  fields: { readonly phase: Phase; readonly limit: number; readonly partial?: string },
  waited: number
): Effect.Effect<never, LanguageModelError.LanguageModelError> =>
  Metric.increment(Metric.tagged(Metric.tagged(timeouts, "model", id), "phase", fields.phase)).pipe(
    Effect.zipRight(spanEvent("timeout", { phase: fields.phase, "limit.ms": fields.limit })),
    Effect.zipRight(
      Effect.fail(failure(id, new LanguageModelError.Timeout(fields), { elapsed: Math.round(waited) }))
    )
  )
