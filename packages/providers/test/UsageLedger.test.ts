import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as Policy from "@effect-dspy/core/Policy"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck, Fiber, Metric, Random, Schema, Stream, TestClock, Tracer } from "effect"
import * as Prices from "../src/Prices.ts"
import * as UsageLedger from "../src/UsageLedger.ts"

const request: LanguageModel.Request = { messages: [{ role: "user", content: "hi" }] }

const usage = { inputTokens: 1000, outputTokens: 100, cachedInputTokens: 200, reasoningTokens: 50 }

const answer = TestLanguageModel.withUsage(TestLanguageModel.text("hello"), usage)

const prices = Prices.layer({ "test/m": { input: 1000, output: 10_000 } })

const text = (text: string): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text })

const zero: UsageLedger.Tally = {
  calls: 0,
  answered: 0,
  refused: 0,
  broken: 0,
  interrupted: 0,
  inputTokens: 0,
  outputTokens: 0,
  cachedInputTokens: 0,
  cacheWriteInputTokens: 0,
  reasoningTokens: 0,
  cost: 0,
  unmetered: 0,
  unpriced: 0
}

// A model with a ledger of its own.
const counted = (script: TestLanguageModel.Script, options?: UsageLedger.Options, id = "test/m") =>
  Effect.gen(function*() {
    const ledger = yield* UsageLedger.make(options)
    const { model } = yield* TestLanguageModel.make(script, { id })
    const policed = yield* UsageLedger.policy(model).pipe(
      Effect.provideService(UsageLedger.UsageLedger, ledger),
      Effect.provide(prices)
    )
    return { model: policed, ledger, total: Effect.map(ledger.snapshot, UsageLedger.total) }
  })

describe("UsageLedger", () => {
  it.effect("counts answers, whole and streamed, with what the provider reports and what it costs", () =>
    Effect.gen(function*() {
      const { model, total } = yield* counted([answer, answer])
      yield* model.generate(request)
      yield* Stream.runDrain(model.stream(request))
      assert.deepStrictEqual(yield* total, {
        ...zero,
        calls: 2,
        answered: 2,
        inputTokens: 2000,
        outputTokens: 200,
        cachedInputTokens: 400,
        reasoningTokens: 100,
        cost: 4
      })
    }))

  it.effect("tells what it does not know: tokens that were not reported, models without a price", () =>
    Effect.gen(function*() {
      const silent = yield* counted([TestLanguageModel.text("hello")])
      yield* silent.model.generate(request)
      assert.deepStrictEqual(yield* silent.total, { ...zero, calls: 1, answered: 1, unmetered: 1, unpriced: 1 })
      const unknown = yield* counted(
        [answer, TestLanguageModel.withUsage(answer, { ...usage, cost: 7 })],
        {},
        "other/m"
      )
      yield* unknown.model.generate(request)
      assert.deepInclude(yield* unknown.total, { calls: 1, inputTokens: 1000, cost: 0, unmetered: 0, unpriced: 1 })
      yield* unknown.model.generate(request)
      assert.deepInclude(yield* unknown.total, { calls: 2, inputTokens: 2000, cost: 7, unmetered: 0, unpriced: 1 })
    }))

  it.effect("counts each attempt of a retry, each abort and each broken stream once, and in full", () =>
    Effect.gen(function*() {
      const broken = LanguageModelError.make({
        reason: new LanguageModelError.StreamFailed({ kind: "connection", partial: "", description: "gone" }),
        provider: "test",
        model: "test/m"
      })
      const { ledger, model, total } = yield* counted([
        TestLanguageModel.fail("Overloaded"),
        TestLanguageModel.fail("Timeout"),
        answer,
        TestLanguageModel.deltas(Stream.concat(Stream.make(text("abc")), Stream.never)),
        TestLanguageModel.deltas(Stream.concat(Stream.make(text("abcd")), Stream.fail(broken))),
        TestLanguageModel.deltas([text("abcde")]),
        TestLanguageModel.delayed(answer, "1 hour"),
        TestLanguageModel.deltas(Stream.dieMessage("a bug"))
      ])
      const retried = yield* Policy.around(Effect.succeed((attempt) => Effect.retry(attempt, { times: 2 })))(model)
      yield* Stream.runDrain(retried.stream(request))
      yield* Stream.runHead(model.stream(request))
      yield* Effect.flip(Stream.runDrain(model.stream(request)))
      yield* Stream.runDrain(model.stream(request))
      const fiber = yield* Effect.fork(model.generate(request))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.interrupt(fiber)
      yield* Effect.exit(Stream.runDrain(model.stream(request)))
      assert.deepStrictEqual(yield* total, {
        ...zero,
        calls: 8,
        answered: 1,
        refused: 1,
        broken: 4,
        interrupted: 2,
        inputTokens: 1000,
        outputTokens: 100,
        cachedInputTokens: 200,
        reasoningTokens: 50,
        cost: 2,
        unmetered: 6,
        unpriced: 6
      })
      const { latest } = yield* ledger.snapshot
      assert.deepStrictEqual(
        latest.map(({ duration, error, outcome, received }) => [outcome, error, received, duration]),
        [
          ["refused", "Overloaded", 0, 0],
          ["broken", "Timeout", 0, 0],
          ["answered", undefined, 5, 0],
          ["interrupted", "Interrupted", 3, 0],
          ["broken", "StreamFailed", 4, 0],
          ["broken", "StreamTruncated", 5, 0],
          ["interrupted", "Interrupted", 0, 3000],
          ["broken", "Defect", 0, 0]
        ]
      )
    }))

  it.effect("does not count what was not sent: refusals of inner policies, answers from a cache", () =>
    Effect.gen(function*() {
      const refused = yield* counted([TestLanguageModel.fail("BudgetExceeded"), TestLanguageModel.fail("CircuitOpen")])
      yield* Effect.flip(refused.model.generate(request))
      yield* Effect.flip(Stream.runDrain(refused.model.stream(request)))
      assert.deepStrictEqual(yield* refused.total, zero)
      const ledger = yield* UsageLedger.make()
      const cached = yield* UsageLedger.policy(LanguageModel.make({
        id: "test/m",
        generate: () => Effect.succeed({ ...LanguageModel.text("hello", "test/m"), cached: true as const })
      })).pipe(Effect.provideService(UsageLedger.UsageLedger, ledger))
      yield* cached.generate(request)
      assert.deepStrictEqual((yield* ledger.snapshot).entries, [])
    }))

  it.effect("tells models and predictors apart", () =>
    Effect.gen(function*() {
      const program = Module.make(
        { draft: Predict.make("question -> draft"), judges: [Predict.make("draft -> answer")] },
        function*(m, input: { readonly question: string }) {
          return yield* m.judges[0]!(yield* m.draft(input))
        }
      )
      const script: TestLanguageModel.Responder = () =>
        TestLanguageModel.withUsage(TestLanguageModel.fields({ draft: "a", answer: "b" }), {
          inputTokens: 10,
          outputTokens: 1
        })
      const ask = (id: string) =>
        program({ question: "?" }).pipe(
          Effect.provide(TestLanguageModel.layer(script, { id }).pipe(Policy.apply(UsageLedger.policy)))
        )
      yield* ask("test/b")
      yield* ask("test/a")
      yield* ask("test/a")
      const snapshot = yield* UsageLedger.snapshot
      assert.deepStrictEqual(
        snapshot.entries.map(({ calls, inputTokens, model, predictor }) => [model, predictor, calls, inputTokens]),
        [
          ["test/a", "draft", 2, 20],
          ["test/a", "judges[0]", 2, 20],
          ["test/b", "draft", 1, 10],
          ["test/b", "judges[0]", 1, 10]
        ]
      )
      const calls = (sums: ReadonlyMap<string, UsageLedger.Tally>) =>
        Array.from(sums, ([name, tally]) => [name, tally.calls])
      assert.deepStrictEqual(calls(UsageLedger.byModel(snapshot)), [["test/a", 4], ["test/b", 2]])
      assert.deepStrictEqual(calls(UsageLedger.byPredictor(snapshot)), [["draft", 3], ["judges[0]", 3]])
    }).pipe(Effect.provide(UsageLedger.layer())))

  it.effect("knows the span of a call", () =>
    Effect.gen(function*() {
      const { ledger, model } = yield* counted([answer, answer, answer])
      const span = Tracer.externalSpan({ traceId: "trace", spanId: "span" })
      yield* Effect.withParentSpan(model.generate(request), span)
      yield* model.generate(request)
      yield* Effect.withParentSpan(model.generate(request), span)
      const snapshot = yield* ledger.snapshot
      assert.deepStrictEqual(snapshot.latest.map(({ spanId, traceId }) => [traceId, spanId]), [
        ["trace", "span"],
        [undefined, undefined],
        ["trace", "span"]
      ])
      const spans = UsageLedger.bySpan(snapshot)
      assert.deepStrictEqual(Array.from(spans.keys()), ["span"])
      assert.deepInclude(spans.get("span"), { calls: 2, inputTokens: 2000, cost: 4 })
    }))

  it.effect("does not grow: it remembers the latest calls, and sums of all", () =>
    Effect.gen(function*() {
      const { ledger, model, total } = yield* counted(() => answer, { latest: 3 })
      for (let n = 0; n < 50; n++) {
        yield* model.generate(request)
        yield* TestClock.adjust(1)
        const { latest } = yield* ledger.snapshot
        assert.deepStrictEqual(latest.map((call) => call.start), [n - 2, n - 1, n].filter((start) => start >= 0))
      }
      assert.strictEqual((yield* total).calls, 50)
      const none = yield* counted(() => answer, { latest: 0 })
      yield* none.model.generate(request)
      assert.deepStrictEqual((yield* none.ledger.snapshot).latest, [])
    }))

  it.effect("is JSON, and read back the same", () =>
    Effect.gen(function*() {
      const { ledger, model } = yield* counted([answer, TestLanguageModel.fail("RateLimited")])
      yield* model.generate(request)
      yield* Effect.flip(model.generate(request))
      const snapshot = yield* ledger.snapshot
      const Text = Schema.parseJson(UsageLedger.Snapshot)
      const json = yield* Schema.encode(Text)(snapshot)
      assert.deepStrictEqual(yield* Schema.decode(Text)(json), snapshot)
      assert.deepStrictEqual(JSON.parse(json).latest[1], {
        model: "test/m",
        predictor: "",
        start: 0,
        duration: 0,
        outcome: "refused",
        error: "RateLimited",
        usage: {},
        received: 0
      })
    }))

  it.effect("feeds the metrics of the conventions", () =>
    Effect.gen(function*() {
      const { model } = yield* counted(
        [
          TestLanguageModel.delayed(TestLanguageModel.withUsage(answer, { ...usage, cost: 2 }), "3 seconds"),
          TestLanguageModel.fail("RateLimited")
        ],
        {},
        "metered/one/two"
      )
      const fiber = yield* Effect.fork(model.generate(request))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(fiber)
      yield* Effect.flip(model.generate(request))
      const labelled = <Type, In, Out>(metric: Metric.Metric<Type, In, Out>, labels: Record<string, string> = {}) =>
        Object.entries({
          "gen_ai.operation.name": "chat",
          "gen_ai.provider.name": "metered",
          "gen_ai.request.model": "one/two",
          ...labels
        }).reduce((metric, [key, value]) => Metric.tagged(metric, key, value), metric)
      const sums = (histogram: Metric.Metric.Histogram<number>, labels?: Record<string, string>) =>
        Effect.map(Metric.value(labelled(histogram, labels)), ({ count, sum }) => [count, sum])
      assert.deepStrictEqual(yield* sums(UsageLedger.tokenUsage, { "gen_ai.token.type": "input" }), [1, 1000])
      assert.deepStrictEqual(yield* sums(UsageLedger.tokenUsage, { "gen_ai.token.type": "output" }), [1, 100])
      assert.deepStrictEqual(yield* sums(UsageLedger.operationDuration), [1, 3])
      assert.deepStrictEqual(yield* sums(UsageLedger.operationDuration, { "error.type": "RateLimited" }), [1, 0])
      assert.strictEqual((yield* Metric.value(labelled(UsageLedger.cost))).count, 2)
    }))

  it.effect.prop(
    "is exact, whatever answers, fails, is retried and leaves at the same time",
    [FastCheck.integer()],
    ([seed]) =>
      Effect.gen(function*() {
        const real = { calls: 0, answered: 0, inputTokens: 0, outputTokens: 0 }
        const steps = (n: number) => Effect.repeatN(Effect.yieldNow(), n)
        const model = LanguageModel.make({
          id: "test/m",
          stream: () =>
            Stream.unwrap(Effect.gen(function*() {
              real.calls++
              const draw = yield* Random.next
              yield* steps(yield* Random.nextIntBetween(0, 5))
              if (draw < 0.2) return yield* failure
              const inputTokens = yield* Random.nextIntBetween(1, 100)
              const outputTokens = yield* Random.nextIntBetween(1, 20)
              const last: LanguageModel.Delta = {
                _tag: "Completed",
                model: "test/m",
                usage: { inputTokens, outputTokens }
              }
              return Stream.range(1, outputTokens).pipe(
                Stream.rechunk(1),
                Stream.mapEffect((n) => Effect.as(Effect.yieldNow(), text(String(n)))),
                Stream.concat(
                  draw < 0.4 ? Stream.fail(broken) : Stream.fromEffect(Effect.sync(() => {
                    real.answered++
                    real.inputTokens += inputTokens
                    real.outputTokens += outputTokens
                    return last
                  }))
                )
              )
            }))
        })
        const policed = yield* Effect.flatMap(
          UsageLedger.policy(model),
          Policy.around(Effect.succeed((attempt) => Effect.retry(attempt, { times: 2 })))
        )
        const caller = Effect.gen(function*() {
          const leaves = yield* Random.nextBoolean
          const call = (yield* Random.nextBoolean)
            ? policed.generate(request)
            : Stream.runDrain(policed.stream(request))
          yield* leaves ? Effect.raceFirst(call, steps(yield* Random.nextIntBetween(0, 30))) : call
        })
        yield* Effect.forEach(Array.from({ length: 100 }), () => Effect.exit(caller), { concurrency: "unbounded" })
        const total = UsageLedger.total(yield* UsageLedger.snapshot)
        assert.deepInclude(total, real)
        assert.strictEqual(total.answered + total.refused + total.broken + total.interrupted, total.calls)
        assert.strictEqual(total.unmetered, total.broken + total.interrupted)
      }).pipe(Effect.withRandom(Random.make(seed)), Effect.provide(UsageLedger.layer())),
    { fastCheck: { seed: 5, numRuns: 5 }, timeout: 120_000 }
  )
})

const failure = Effect.fail(LanguageModelError.make({
  reason: new LanguageModelError.Overloaded({ description: "busy" }),
  provider: "test",
  model: "test/m"
}))

const broken = LanguageModelError.make({
  reason: new LanguageModelError.StreamFailed({ kind: "connection", partial: "", description: "gone" }),
  provider: "test",
  model: "test/m"
})
