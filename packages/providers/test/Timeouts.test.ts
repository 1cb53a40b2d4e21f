import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Duration, Effect, Fiber, Metric, Ref, Schedule, Stream, TestClock } from "effect"
import * as Timeouts from "../src/Timeouts.ts"
import * as FaultServer from "./FaultServer.ts"
import { completed, finish, policed, realTick, request, served, spanEvents, text } from "./policing.ts"

const { deltas, delayed, text: says } = TestLanguageModel

type Deltas = Stream.Stream<LanguageModel.Delta>

// One delta at a time, each after a wait.
const every = (wait: Duration.DurationInput, each: ReadonlyArray<LanguageModel.Delta>): Deltas =>
  Stream.mapEffect(Stream.rechunk(Stream.fromIterable(each), 1), (delta) => Effect.delay(Effect.succeed(delta), wait))

// Signs of life that say nothing.
const pings = (wait: Duration.DurationInput): Deltas =>
  Stream.repeatEffectChunkOption(Effect.delay(Effect.succeed(Chunk.empty()), wait))

// How a call fails that is given `time`.
const after = (time: Duration.DurationInput, model: LanguageModel.Service, streamed = true) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(
      Effect.flip(streamed ? Stream.runDrain(model.stream(request)) : Effect.asVoid(model.generate(request)))
    )
    yield* TestClock.adjust(Duration.subtract(time, "1 millis"))
    assert.isNull(fiber.unsafePoll())
    yield* TestClock.adjust("1 millis")
    const { elapsed, reason } = yield* Fiber.join(fiber)
    assert.strictEqual(elapsed, Duration.toMillis(time))
    return reason._tag === "Timeout" ? [reason.phase, reason.limit, reason.partial] : reason
  })

describe("Timeouts", () => {
  it.scoped("a whole answer has 10 minutes", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(Timeouts.make(), [delayed(says("hello"), "1 hour")])
      assert.deepStrictEqual(yield* after("10 minutes", model, false), ["total", 600_000, undefined])
    }))

  it.scoped("a stream has 2 minutes for its first bytes", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(Timeouts.make(), [deltas(Stream.never)])
      assert.deepStrictEqual(yield* after("2 minutes", model), ["firstByte", 120_000, undefined])
    }))

  it.scoped("a minute for further bytes; the error has what had arrived", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(Timeouts.make(), [
        deltas(Stream.concat(every("30 seconds", [text("he"), text("llo")]), Stream.never))
      ])
      assert.deepStrictEqual(yield* after("2 minutes", model), ["idle", 60_000, "hello"])
    }))

  it.scoped("5 minutes for further deltas, however often it pings", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(Timeouts.make(), [
        deltas(Stream.concat(every("30 seconds", [text("he")]), pings("40 seconds")))
      ])
      assert.deepStrictEqual(yield* after("330 seconds", model), ["contentIdle", 300_000, "he"])
    }))

  it.scoped("10 minutes in all, however steadily it drips", () =>
    Effect.gen(function*() {
      const drip = every("35 seconds", [text("a")]).pipe(Stream.repeat(Schedule.forever))
      const { model } = yield* policed(Timeouts.make(), [deltas(drip)])
      assert.deepStrictEqual(yield* after("10 minutes", model), ["total", 600_000, "a".repeat(17)])
    }))

  it.scoped("each limit can be set, and switched off", () =>
    Effect.gen(function*() {
      const slow = deltas(Stream.concat(every("3 minutes", [text("he")]), Stream.never))
      const off = { firstByte: Duration.infinity, idle: Duration.infinity, contentIdle: "7 minutes" } as const
      const { model } = yield* policed(Timeouts.make({ ...off, total: "1 minute", streamTotal: "1 hour" }), () => slow)
      assert.deepStrictEqual(yield* after("10 minutes", model), ["contentIdle", 420_000, "he"])
      assert.deepStrictEqual(yield* after("1 minute", model, false), ["total", 60_000, undefined])
    }))

  it.scoped("an answer that is not streamed has as long as a whole one", () =>
    Effect.gen(function*() {
      const { model } = yield* TestLanguageModel.make([delayed(says("hello"), "1 hour")], {
        capabilities: { streaming: false }
      })
      assert.deepStrictEqual(yield* after("10 minutes", yield* Timeouts.make()(model)), ["total", 600_000, undefined])
    }))

  it.scoped("the time a reader keeps a stream does not count", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(Timeouts.make(), [
        deltas(every("1 second", [text("a"), text("b"), text("c"), finish, completed()]))
      ])
      const seen = yield* Ref.make(0)
      const fiber = yield* Effect.fork(
        Stream.runForEach(model.stream(request), () => Effect.delay(Ref.update(seen, (n) => n + 1), "1 hour"))
      )
      yield* TestClock.adjust("6 hours")
      yield* Fiber.join(fiber)
      assert.strictEqual(yield* Ref.get(seen), 5)
    }))

  it.scoped("what is cut is an event of the span and counts in a metric", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(Timeouts.make(), [delayed(says("hello"), "1 hour")])
      const counter = Metric.tagged(Metric.tagged(Timeouts.timeouts, "model", "test/model"), "phase", "total")
      const before = (yield* Metric.value(counter)).count
      const fiber = yield* Effect.fork(spanEvents(model.generate(request)))
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [
        { name: "timeout", attributes: { phase: "total", "limit.ms": 600_000 } }
      ])
      assert.strictEqual((yield* Metric.value(counter)).count, before + 1)
    }))

  const words = ["Paris ", "is ", "the ", "capital ", "of ", "France."]
  const events = words.map((content) => FaultServer.event({ choices: [{ index: 0, delta: { content } }] }))
  for (let boundary = 0; boundary <= events.length; boundary++) {
    it.scoped(`a server that falls silent after ${boundary} events is left`, () =>
      Effect.gen(function*() {
        const server = yield* FaultServer.make(() => FaultServer.sse(...events.slice(0, boundary), FaultServer.stall))
        const model = yield* Timeouts.make()(yield* served(server.url))
        const seen: Array<LanguageModel.Delta> = []
        const fiber = yield* Effect.fork(Effect.flip(
          Stream.runForEach(model.stream(request), (delta) => Effect.sync(() => seen.push(delta)))
        ))
        const { closed } = yield* server.next
        while (seen.length < boundary) yield* realTick
        yield* TestClock.adjust(boundary === 0 ? "2 minutes" : "1 minute")
        const { reason } = yield* Fiber.join(fiber)
        assert.deepInclude(
          reason,
          boundary === 0 ? { phase: "firstByte" } : { phase: "idle", partial: words.slice(0, boundary).join("") }
        )
        yield* closed
      }))
  }

  it.scoped("comments of a server keep a stream from being idle", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() => FaultServer.sse(": ping\n\n", FaultServer.stall))
      const model = yield* Timeouts.make({ idle: "1 second" })(yield* served(server.url))
      const fiber = yield* Effect.fork(Effect.flip(Stream.runDrain(model.stream(request))))
      yield* server.next
      yield* Effect.repeatN(realTick, 20)
      yield* TestClock.adjust("1 second")
      const { reason } = yield* Fiber.join(fiber)
      assert.deepInclude(reason, { phase: "idle", partial: "" })
    }))

  it.scoped("a server that accepts and says nothing is left", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() => [FaultServer.stall])
      const model = yield* Timeouts.make()(yield* served(server.url))
      const fiber = yield* Effect.fork(Effect.flip(model.generate(request)))
      const { closed } = yield* server.next
      yield* TestClock.adjust("10 minutes")
      assert.deepInclude((yield* Fiber.join(fiber)).reason, { phase: "total" })
      yield* closed
    }))
})
