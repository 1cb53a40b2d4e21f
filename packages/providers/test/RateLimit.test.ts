import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Clock, Effect, Exit, FastCheck, Fiber, Metric, Stream, TestClock } from "effect"
import * as RateLimit from "../src/RateLimit.ts"
import * as FaultServer from "./FaultServer.ts"
import {
  breaking,
  completed,
  driven,
  failureOf,
  finish,
  policed,
  request,
  served,
  spanEvents,
  text
} from "./policing.ts"

const { deltas, delayed, fail, text: says, withUsage } = TestLanguageModel

const asking = (content: string, maxTokens?: number): LanguageModel.Request => ({
  messages: [{ role: "user", content }],
  ...(maxTokens === undefined ? undefined : { settings: { maxTokens } })
})

const contentOf = ({ messages }: LanguageModel.Request) => String(messages[0]?.content)

// A model under limits, and when each request reached it.
const limited = (options: RateLimit.Options, step: TestLanguageModel.Responder = () => says("hello")) =>
  Effect.gen(function*() {
    const begun: Array<readonly [at: number, what: string]> = []
    const { model } = yield* policed(
      RateLimit.make(options),
      (request, n, predictor) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          begun.push([now, contentOf(request)])
          const next = step(request, n, predictor)
          return TestLanguageModel.isStep(next) ? Effect.succeed(next) : next
        })
    )
    const ask = (content: string, maxTokens?: number) => model.generate(asking(content, maxTokens))
    return { model, begun, ask }
  })

const all = <A, E, R>(effects: Iterable<Effect.Effect<A, E, R>>) => Effect.all(effects, { concurrency: "unbounded" })

describe("RateLimit", () => {
  it.effect("so many requests begin within any minute, in order", () =>
    Effect.gen(function*() {
      const { ask, begun } = yield* limited({ requestsPerMinute: 3 })
      const fiber = yield* Effect.fork(all(Array.from({ length: 8 }, (_, n) => Effect.delay(ask(`${n}`), n * 10))))
      yield* TestClock.adjust("3 minutes")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(begun, [
        [0, "0"],
        [10, "1"],
        [20, "2"],
        [60_000, "3"],
        [60_010, "4"],
        [60_020, "5"],
        [120_000, "6"],
        [120_010, "7"]
      ])
    }))

  it.effect.prop(
    "whenever requests come and however large they are, no minute has too many and none overtakes",
    {
      arrivals: FastCheck.array(
        FastCheck.record({
          at: FastCheck.integer({ min: 0, max: 150_000 }),
          tokens: FastCheck.integer({ min: 1, max: 40 })
        }),
        { minLength: 1, maxLength: 12 }
      )
    },
    ({ arrivals }) =>
      Effect.gen(function*() {
        const { begun, model } = yield* limited({
          requestsPerMinute: 3,
          tokensPerMinute: 60,
          estimate: ({ settings }) => settings?.maxTokens ?? 0
        })
        const origin = yield* Clock.currentTimeMillis
        const sorted = arrivals.toSorted((a, b) => a.at - b.at)
        yield* driven(all(sorted.map(({ at, tokens }, n) => Effect.delay(model.generate(asking(`${n}`, tokens)), at))))
        assert.deepStrictEqual(begun.map(([, what]) => what), sorted.map((_, n) => `${n}`))
        begun.forEach(([at], n) => {
          assert.isAtLeast(at - origin, sorted[n]!.at)
          const minute = begun.filter(([other], m) => m <= n && other > at - 60_000)
          assert.isAtMost(minute.length, 3)
          assert.isAtMost(minute.reduce((sum, [, what]) => sum + sorted[Number(what)]!.tokens, 0), 60)
        })
      }),
    { fastCheck: { numRuns: 10, seed: 7 } }
  )

  it.effect("tokens are estimated before and corrected after", () =>
    Effect.gen(function*() {
      const usage = { inputTokens: 5, outputTokens: 5 }
      const { ask, begun } = yield* limited(
        { tokensPerMinute: 1000 },
        () => delayed(withUsage(says("hello"), usage), "1 second")
      )
      const fiber = yield* Effect.fork(all([ask("a", 900), ask("b", 900), ask("c", 2000), ask("d", 900)]))
      yield* TestClock.adjust("10 minutes")
      yield* Fiber.join(fiber)
      // Each frees what it did not use when it ends; one that can never fit goes when nothing else counts.
      assert.deepStrictEqual(begun, [[0, "a"], [1000, "b"], [61_000, "c"], [62_000, "d"]])
    }))

  it.effect("what a provider does not report is charged as estimated, what it refused is not", () =>
    Effect.gen(function*() {
      const { ask, begun } = yield* limited(
        { tokensPerMinute: 1000 },
        (request) => contentOf(request) === "refused" ? fail("ServerError") : says("hello")
      )
      const fiber = yield* Effect.fork(all([
        Effect.ignore(ask("refused", 900)),
        ask("b", 900),
        ask("c", 900)
      ]))
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(begun, [[0, "refused"], [0, "b"], [60_000, "c"]])
    }))

  it.effect("what an open breaker or a budget refuses takes no turn", () =>
    Effect.gen(function*() {
      const { ask, begun } = yield* limited(
        { requestsPerMinute: 1, tokensPerMinute: 1000 },
        (request) => contentOf(request) === "sent" ? says("hello") : fail("CircuitOpen")
      )
      yield* all(Array.from({ length: 50 }, () => Effect.ignore(ask("refused", 900))))
      yield* ask("sent", 900)
      assert.strictEqual(begun.length, 51)
    }))

  it.effect("a small request does not overtake a large one", () =>
    Effect.gen(function*() {
      const { ask, begun } = yield* limited({ tokensPerMinute: 1000 })
      const fiber = yield* Effect.fork(all([ask("a", 800), ask("large", 800), ask("small", 1)]))
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(begun, [[0, "a"], [60_000, "large"], [60_000, "small"]])
    }))

  it.effect("so many calls are under way at once, and those who size batches are told", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const model = yield* RateLimit.make({ concurrency: 4 })({
        ...(yield* TestLanguageModel.make([])).model,
        generate: () =>
          Effect.acquireUseRelease(
            Effect.sync(() => most = Math.max(most, ++running)),
            () => Effect.as(Effect.sleep("1 second"), { outputs: [], usage: {}, model: "test/model" }),
            () => Effect.sync(() => running--)
          )
      })
      assert.strictEqual(model.capabilities.concurrency, 4)
      const fiber = yield* Effect.fork(all(Array.from({ length: 10 }, () => model.generate(request))))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual([most, running], [4, 0])
    }))

  const endings: ReadonlyArray<
    readonly [name: string, use: (model: LanguageModel.Service) => Effect.Effect<unknown, unknown>]
  > = [
    ["ended", (model) => Stream.runDrain(model.stream(asking("whole")))],
    ["was left", (model) => Stream.runHead(model.stream(asking("endless")))],
    ["broke", (model) => Effect.flip(Stream.runDrain(model.stream(asking("broken"))))],
    ["failed", (model) => Effect.flip(model.generate(asking("refused")))],
    ["was interrupted", (model) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.fork(Stream.runDrain(model.stream(asking("endless"))))
        yield* TestClock.adjust("1 millis")
        yield* Fiber.interrupt(fiber)
      })]
  ]
  for (const [name, use] of endings) {
    it.effect(`a call that ${name} makes room`, () =>
      Effect.gen(function*() {
        const { model } = yield* limited({ concurrency: 1 }, (request) => {
          switch (contentOf(request)) {
            case "endless":
              return deltas(Stream.concat(Stream.make(text("a")), Stream.never))
            case "broken":
              return breaking(text("a"))
            case "refused":
              return fail("ServerError")
            default:
              return deltas([text("a"), finish, completed()])
          }
        })
        yield* use(model)
        const fiber = yield* Effect.fork(model.generate(request))
        yield* TestClock.adjust("1 millis")
        assert.isNotNull(fiber.unsafePoll())
      }))
  }

  it.effect("a stream keeps its place while it is read", () =>
    Effect.gen(function*() {
      const { begun, model } = yield* limited({ concurrency: 1 })
      const fiber = yield* Effect.fork(
        Stream.runForEachChunk(model.stream(asking("first")), () => Effect.sleep("1 second"))
      )
      yield* TestClock.adjust("1 millis")
      const second = yield* Effect.fork(model.generate(asking("second")))
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(begun.length, 1)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(Fiber.zip(fiber, second))
      assert.strictEqual(begun.length, 2)
    }))

  it.effect("who is interrupted leaves the line, wherever it stands", () =>
    Effect.gen(function*() {
      const { ask, begun } = yield* limited({ requestsPerMinute: 1 })
      yield* ask("0")
      const fibers = yield* Effect.forEach([1, 2, 3, 4], (n) => Effect.fork(ask(`${n}`)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fibers[0]!)
      yield* Fiber.interrupt(fibers[2]!)
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.join(Fiber.zip(fibers[1]!, fibers[3]!))
      assert.deepStrictEqual(begun, [[0, "0"], [60_000, "2"], [120_000, "4"]])
    }))

  it.effect(
    "a thousand callers, half of whom leave: nobody is forgotten and no place is lost",
    () =>
      Effect.gen(function*() {
        const { begun, ask } = yield* limited({ concurrency: 50 }, () => delayed(says("hello"), "1 second"))
        const fibers = yield* Effect.forEach(Array.from({ length: 1000 }), (_, n) => Effect.fork(ask(`${n}`)))
        yield* Effect.yieldNow()
        yield* Effect.forEach(fibers, (fiber, n) => n % 2 === 0 ? Fiber.interruptFork(fiber) : Effect.void)
        yield* Effect.iterate(0, {
          while: () => fibers.some((fiber) => fiber.unsafePoll() === null),
          body: (n) => Effect.as(TestClock.setTime((n + 1) * 1000), n + 1)
        })
        const answered = (yield* Fiber.awaitAll(fibers)).filter(Exit.isSuccess).length
        assert.isAtLeast(answered, 500)
        assert.isAtLeast(begun.length, answered)
        const again = yield* Effect.fork(all(Array.from({ length: 50 }, (_, n) => ask(`again ${n}`))))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(again)
      }),
    30_000
  )

  it.effect("a server that refuses and names a time has everybody wait", () =>
    Effect.gen(function*() {
      const told = new LanguageModelError.RateLimited({ description: "slow down", retryAfter: 7000 })
      const { ask, begun } = yield* limited({}, (_, n) => n === 0 ? fail(told) : says("hello"))
      yield* Effect.flip(ask("0"))
      const fiber = yield* Effect.fork(all([ask("1"), ask("2")]))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(begun, [[0, "0"], [7000, "1"], [7000, "2"]])
    }))

  it.effect("but not for longer than `maxWait`: then calls fail at once, with the wait", () =>
    Effect.gen(function*() {
      const told = new LanguageModelError.RateLimited({ description: "slow down", retryAfter: 3_600_000 })
      const { ask, begun } = yield* limited({}, (_, n) => n === 0 ? fail(told) : says("hello"))
      yield* Effect.flip(ask("0"))
      yield* TestClock.adjust("1 second")
      const error = yield* Effect.flip(ask("1"))
      assert.deepStrictEqual([error.reason._tag === "RateLimited" && error.reason.retryAfter, error.attempts], [
        3_599_000,
        0
      ])
      yield* TestClock.adjust("1 hour")
      yield* ask("2")
      assert.deepStrictEqual(begun.map(([, what]) => what), ["0", "2"])
    }))

  it.scoped("headers tell that a bucket is empty, on good answers too", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() =>
        FaultServer.json(200, { model: "m", choices: [{ message: { content: "hi" }, finish_reason: "stop" }] }, {
          "x-ratelimit-remaining-requests": "0",
          "x-ratelimit-reset-requests": "7s"
        })
      )
      const model = yield* RateLimit.make({})(yield* served(server.url))
      const { waits } = yield* driven(Effect.replicateEffect(model.generate(request), 3))
      assert.deepStrictEqual(waits, [7000, 7000])
      assert.strictEqual(server.requests.length, 3)
    }))

  it.effect("waits are events of the span and in a metric; who does not wait is in neither", () =>
    Effect.gen(function*() {
      const { model } = yield* limited({ requestsPerMinute: 1 })
      const timer = Metric.tagged(RateLimit.waits, "model", "test/model")
      assert.deepStrictEqual(yield* spanEvents(model.generate(request)), [])
      const before = (yield* Metric.value(timer)).count
      const fiber = yield* Effect.fork(spanEvents(model.generate(request)))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [
        { name: "rateLimit.waited", attributes: { "wait.ms": 60_000 } }
      ])
      assert.strictEqual((yield* Metric.value(timer)).count, before + 1)
    }))

  it.effect("answers come as they were", () =>
    Effect.gen(function*() {
      const { model } = yield* limited({ concurrency: 1, requestsPerMinute: 9, tokensPerMinute: 9999 }, () =>
        deltas([text("a"), finish, completed()]))
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Stream.runCollect(model.stream(request))), [
        text("a"),
        finish,
        completed()
      ])
      assert.isUndefined(failureOf(yield* Effect.exit(model.generate(request))))
    }))
})
