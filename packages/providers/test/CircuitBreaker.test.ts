import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Metric, Stream, TestClock } from "effect"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as Retry from "../src/Retry.ts"
import { breaking, policed, request, spanEvents, text } from "./policing.ts"

const { deltas, delayed, fail, make: scripted, text: says } = TestLanguageModel

const times = (n: number) => Array.from({ length: n })

// A model under a breaker that follows what `step` says now, and the states of the breaker.
const breaker = (options: CircuitBreaker.Options = {}) =>
  Effect.gen(function*() {
    const now = { step: says("hello") as TestLanguageModel.Step }
    const states: Array<CircuitBreaker.State> = []
    const { model, sent } = yield* policed(
      CircuitBreaker.make({ onChange: (state) => Effect.sync(() => states.push(state)), ...options }),
      () => now.step
    )
    const ask = Effect.exit(model.generate(request))
    const answer = (step: TestLanguageModel.Step, n: number) =>
      Effect.suspend(() => {
        now.step = step
        return Effect.forEach(times(n), () => ask, { discard: true })
      })
    return { model, sent, states, ask, answer }
  })

const refused = (error: LanguageModelError.LanguageModelError) => error.reason._tag === "CircuitOpen"

describe("CircuitBreaker", () => {
  it.effect("opens when half of at least 20 calls failed, and then sends nothing", () =>
    Effect.gen(function*() {
      const { answer, model, sent, states } = yield* breaker()
      yield* answer(says("hello"), 10)
      yield* answer(fail("Overloaded"), 9)
      assert.deepStrictEqual(states, [])
      yield* answer(fail("Overloaded"), 1)
      assert.deepStrictEqual(states, [CircuitBreaker.State.Open({ until: 5000 })])
      yield* TestClock.adjust("4999 millis")
      const error = yield* Effect.flip(model.generate(request))
      assert.deepStrictEqual([error.reason, error.attempts], [new LanguageModelError.CircuitOpen({ until: 5000 }), 0])
      assert.isTrue(refused(yield* Effect.flip(Stream.runDrain(model.stream(request)))))
      assert.strictEqual(yield* sent, 20)
    }))

  it.effect("never opens on few calls, or on failures that are spread over a long time", () =>
    Effect.gen(function*() {
      const { answer, sent, states } = yield* breaker()
      yield* answer(fail("ServerError"), 19)
      yield* TestClock.adjust("31 seconds")
      yield* answer(fail("ServerError"), 19)
      assert.deepStrictEqual(states, [])
      assert.strictEqual(yield* sent, 38)
    }))

  const counted: ReadonlyArray<readonly [LanguageModelError.Reason | LanguageModelError.Reason["_tag"], boolean]> = [
    ["ServerError", true],
    ["Overloaded", true],
    ["Timeout", true],
    ["Transport", true],
    ["StreamTruncated", true],
    ["StreamFailed", true],
    [new LanguageModelError.ServerError({ status: 408, description: "" }), false],
    ["InvalidRequest", false],
    ["Authentication", false],
    ["Permission", false],
    ["NotFound", false],
    ["RequestTooLarge", false],
    ["ContextWindowExceeded", false],
    ["RateLimited", false],
    ["QuotaExhausted", false],
    ["Conflict", false],
    ["MalformedResponse", false],
    ["ContentFiltered", false],
    ["BudgetExceeded", false]
  ]
  for (const [reason, counts] of counted) {
    it.effect(`${typeof reason === "string" ? reason : "408"} ${counts ? "counts" : "does not count"}`, () =>
      Effect.gen(function*() {
        const { answer, states } = yield* breaker()
        yield* answer(fail(reason), 30)
        assert.strictEqual(states.length, counts ? 1 : 0)
      }))
  }

  it.effect("an interruption does not count", () =>
    Effect.gen(function*() {
      const { model, states } = yield* breaker()
      const slow = yield* CircuitBreaker.make()({ ...model, generate: () => Effect.never })
      for (const _ of times(30)) yield* Effect.flatMap(Effect.fork(slow.generate(request)), Fiber.interrupt)
      assert.deepStrictEqual(states, [])
    }))

  it.effect("lets one call through when it is time, while the others fail at once; closes when that is answered", () =>
    Effect.gen(function*() {
      const { answer, model, sent, states } = yield* breaker()
      yield* answer(fail("Overloaded"), 20)
      yield* TestClock.adjust("5 seconds")
      yield* answer(delayed(says("hello"), "1 second"), 0)
      const probe = yield* Effect.fork(model.generate(request))
      yield* TestClock.adjust("500 millis")
      const errors = yield* Effect.forEach(times(50), () => Effect.flip(model.generate(request)))
      assert.isTrue(errors.every(refused))
      assert.strictEqual(yield* sent, 21)
      yield* TestClock.adjust("500 millis")
      yield* Fiber.join(probe)
      assert.deepStrictEqual(states.map(({ _tag }) => _tag), ["Open", "HalfOpen", "Closed"])
      yield* answer(says("hello"), 5)
      assert.strictEqual(yield* sent, 26)
    }))

  it.effect("stays open twice as long each time, up to a minute, and begins anew when it was closed", () =>
    Effect.gen(function*() {
      const { answer, states } = yield* breaker()
      yield* answer(fail("Overloaded"), 20)
      for (const seconds of [5, 10, 20, 40, 60, 60]) {
        yield* TestClock.adjust(`${seconds} seconds`)
        yield* answer(fail("Overloaded"), 1)
      }
      const opened = states.flatMap((state) => state._tag === "Open" ? [state.until] : [])
      assert.deepStrictEqual(opened, [5, 15, 35, 75, 135, 195, 255].map((seconds) => seconds * 1000))
      yield* TestClock.adjust("1 minute")
      yield* answer(says("hello"), 1)
      yield* answer(fail("Overloaded"), 20)
      assert.deepStrictEqual(states.at(-1), CircuitBreaker.State.Open({ until: 260_000 }))
    }))

  it.effect("a probe that is interrupted makes room for another", () =>
    Effect.gen(function*() {
      const { answer, ask, model, sent, states } = yield* breaker()
      yield* answer(fail("Overloaded"), 20)
      yield* TestClock.adjust("5 seconds")
      yield* answer(delayed(says("hello"), "1 hour"), 0)
      const probe = yield* Effect.fork(model.generate(request))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(probe)
      yield* answer(says("hello"), 0)
      yield* ask
      assert.strictEqual(yield* sent, 22)
      assert.deepStrictEqual(states.map(({ _tag }) => _tag), ["Open", "HalfOpen", "Closed"])
    }))

  it.effect("a probe that was not sent says nothing, and makes room for another", () =>
    Effect.gen(function*() {
      const failure = (attempts: number) =>
        LanguageModelError.make({
          provider: "test",
          model: "test/model",
          reason: new LanguageModelError.Overloaded({ description: "" }),
          attempts
        })
      const now = { error: failure(1) }
      const states: Array<string> = []
      const model = yield* CircuitBreaker.make({
        minimum: 1,
        onChange: ({ _tag }) => Effect.sync(() => states.push(_tag))
      })(LanguageModel.make({
        id: "test/model",
        generate: () => Effect.suspend(() => Effect.fail(now.error)),
        stream: () => Stream.suspend(() => Stream.fail(now.error))
      }))
      const calls = [model.generate(request), Stream.runDrain(model.stream(request))]
      yield* Effect.flip(calls[0]!) // there are two
      yield* TestClock.adjust("5 seconds")
      now.error = failure(0)
      for (const call of calls) assert.isFalse(refused(yield* Effect.flip(call)))
      assert.deepStrictEqual(states, ["Open", "HalfOpen"])
    }))

  it.effect("a probe that the server refuses shows that it is there", () =>
    Effect.gen(function*() {
      const { answer, states } = yield* breaker()
      yield* answer(fail("Overloaded"), 20)
      yield* TestClock.adjust("5 seconds")
      yield* answer(fail("InvalidRequest"), 1)
      assert.strictEqual(states.at(-1)?._tag, "Closed")
    }))

  it.effect("streams that begin and break count too", () =>
    Effect.gen(function*() {
      const { answer, model, states } = yield* breaker()
      yield* answer(breaking(text("a")), 0)
      yield* Effect.forEach(times(10), () => Effect.exit(Stream.runDrain(model.stream(request))))
      assert.deepStrictEqual(states.map(({ _tag }) => _tag), ["Open"])
    }))

  it.effect("a streamed probe is answered by its first delta; a stream that goes on is left alone", () =>
    Effect.gen(function*() {
      const { answer, model, states } = yield* breaker()
      yield* answer(fail("Overloaded"), 20)
      yield* TestClock.adjust("5 seconds")
      yield* answer(deltas(Stream.concat(Stream.make(text("a")), Stream.never)), 0)
      const probe = yield* Effect.fork(Stream.runDrain(model.stream(request)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(states.at(-1)?._tag, "Closed")
      yield* answer(fail("Overloaded"), 20)
      assert.strictEqual(states.at(-1)?._tag, "Open")
      assert.isNull(probe.unsafePoll())
      yield* Fiber.interrupt(probe)
    }))

  it.effect("calls that were under way when it opened change nothing any more", () =>
    Effect.gen(function*() {
      const { answer, model, states } = yield* breaker()
      yield* answer(delayed(fail("Overloaded"), "5 seconds"), 0)
      const late = yield* Effect.fork(Effect.forEach(times(30), () => Effect.exit(model.generate(request)), {
        concurrency: "unbounded"
      }))
      yield* TestClock.adjust("1 second")
      yield* answer(fail("Overloaded"), 20)
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(late)
      assert.deepStrictEqual(states, [CircuitBreaker.State.Open({ until: 6000 })])
    }))

  it.effect(
    "under retries, a thousand callers of a server that is down are at most 1,200 calls",
    () =>
      Effect.gen(function*() {
        const run = (concurrency: number | "unbounded") =>
          Effect.gen(function*() {
            const { calls, model } = yield* scripted(() => fail("Overloaded"))
            const states: Array<CircuitBreaker.State> = []
            const policed = yield* Effect.flatMap(
              CircuitBreaker.make({ onChange: (state) => Effect.sync(() => states.push(state)) })(model),
              Retry.make()
            )
            const fiber = yield* Effect.fork(
              Effect.forEach(times(1000), () => Effect.exit(policed.generate(request)), { concurrency, discard: true })
            )
            yield* TestClock.adjust("3 seconds")
            yield* Fiber.join(fiber)
            return [(yield* calls).length, states.map(({ _tag }) => _tag)] as const
          })
        assert.deepStrictEqual(yield* run("unbounded"), [20, ["Open"]])
        const [arrived] = yield* run(64)
        assert.isAtMost(arrived, 1200)
      }),
    30_000
  )

  it.effect("a server that is down for two minutes gets one probe in each interval, and no herd when it is back", () =>
    Effect.gen(function*() {
      const { answer, ask, sent, states } = yield* breaker()
      yield* answer(fail("Overloaded"), 20)
      const herd = Effect.forEach(times(20), () => ask, { concurrency: "unbounded", discard: true })
      for (const _ of times(120)) {
        yield* TestClock.adjust("1 second")
        yield* herd
      }
      // At 5, 15, 35 and 75 seconds; the next would be at 135.
      assert.strictEqual(yield* sent, 24)
      yield* answer(delayed(says("hello"), "1 second"), 0)
      yield* TestClock.adjust("15 seconds")
      const back = yield* Effect.fork(herd)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(back)
      assert.strictEqual(yield* sent, 25)
      assert.strictEqual(states.at(-1)?._tag, "Closed")
    }))

  it.effect("changes and refusals are events of the span and in metrics", () =>
    Effect.gen(function*() {
      const { answer, model } = yield* breaker({ minimum: 1 })
      const gauge = Metric.tagged(CircuitBreaker.state, "model", "test/model")
      const counter = Metric.tagged(CircuitBreaker.refusals, "model", "test/model")
      const before = (yield* Metric.value(counter)).count
      yield* answer(fail("Overloaded"), 0)
      const attributes = { model: "test/model" }
      assert.deepStrictEqual(yield* spanEvents(model.generate(request)), [{ name: "circuitBreaker.Open", attributes }])
      assert.strictEqual((yield* Metric.value(gauge)).value, 2)
      assert.deepStrictEqual(yield* spanEvents(model.generate(request)), [
        { name: "circuitBreaker.refused", attributes }
      ])
      assert.strictEqual((yield* Metric.value(counter)).count, before + 1)
    }))
})
