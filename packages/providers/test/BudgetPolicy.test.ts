import * as Budget from "@effect-dspy/core/Budget"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FastCheck, Fiber, Layer, Metric, Random, Stream, TestClock } from "effect"
import * as BudgetPolicy from "../src/BudgetPolicy.ts"
import * as Prices from "../src/Prices.ts"
import { spanEvents } from "./policing.ts"

// 8 for the conversation, 8 and one for each byte of the message: 26 tokens at most.
const request: LanguageModel.Request = {
  messages: [{ role: "user", content: "ten bytes!" }],
  settings: { maxTokens: 100 }
}

// A dollar for a million tokens of the prompt, ten for those of the answer.
const table: Prices.Table = { "test/*": { input: 1, cacheWrite: 2, output: 10 } }

const limits = { calls: 100, tokens: 10_000, cost: 1 }

const policed = (
  script: TestLanguageModel.Script,
  options: Budget.Limits & { readonly id?: string } = limits
) =>
  Effect.gen(function*() {
    const budget = yield* Budget.make(options)
    const { calls, model } = yield* TestLanguageModel.make(script, { id: options.id ?? "test/m" })
    return {
      budget,
      sent: Effect.map(calls, (calls) => calls.length),
      model: yield* BudgetPolicy.fromBudget(budget)(model).pipe(Effect.provide(Prices.layer(table)))
    }
  })

const answer = (usage: LanguageModel.Usage) => TestLanguageModel.withUsage(TestLanguageModel.text("four"), usage)

const left = (spent: Budget.Amount) => ({
  calls: limits.calls - (spent.calls ?? 0),
  tokens: limits.tokens - (spent.tokens ?? 0),
  cost: limits.cost - (spent.cost ?? 0)
})

const steps = (n: number) => Effect.repeatN(Effect.yieldNow(), n)

const text = (text: string): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text })

describe("BudgetPolicy", () => {
  it.effect("charges what the provider reports, whole and streamed", () =>
    Effect.gen(function*() {
      const { budget, model } = yield* policed([
        answer({ inputTokens: 12, outputTokens: 3 }),
        answer({ inputTokens: 12, outputTokens: 3 }),
        answer({ inputTokens: 12, outputTokens: 3, cost: 0.5 })
      ])
      yield* model.generate(request)
      assert.deepStrictEqual(yield* budget.remaining, left({ calls: 1, tokens: 15, cost: 42e-6 }))
      yield* Stream.runDrain(model.stream(request))
      assert.deepStrictEqual(yield* budget.remaining, left({ calls: 2, tokens: 30, cost: 84e-6 }))
      yield* model.generate(request)
      assert.closeTo((yield* budget.remaining).cost ?? 0, 0.5 - 84e-6, 1e-12)
    }))

  it.effect("holds, while a call is under way, all that it can take", () =>
    Effect.gen(function*() {
      const { budget, model } = yield* policed(() =>
        TestLanguageModel.delayed(answer({ inputTokens: 12, outputTokens: 3 }), "1 second")
      )
      const reserved = (request: LanguageModel.Request) =>
        Effect.gen(function*() {
          const before = yield* budget.remaining
          const fiber = yield* Effect.fork(model.generate(request))
          yield* TestClock.adjust("500 millis")
          const during = yield* budget.remaining
          yield* TestClock.adjust("500 millis")
          yield* Fiber.join(fiber)
          return (before.tokens ?? 0) - (during.tokens ?? 0)
        })
      assert.strictEqual(yield* reserved(request), 26 + 100)
      assert.strictEqual(yield* reserved({ ...request, settings: { maxTokens: 100, n: 3 } }), 26 + 300)
      assert.strictEqual(yield* reserved({ messages: request.messages }), 26 + 4096)
      // Letters of two, three and four bytes.
      assert.strictEqual(
        yield* reserved({ messages: [{ role: "user", content: "é€😀" }], settings: { maxTokens: 0 } }),
        16 + 9
      )
      assert.strictEqual(
        yield* reserved({
          messages: [{
            role: "user",
            content: [{ _tag: "Text", text: "look" }, { _tag: "Image", url: "https://example.org/a.png" }]
          }],
          settings: { maxTokens: 0 }
        }),
        16 + 4 + 5000
      )
    }))

  it.effect("charges as reserved what the provider does not report", () =>
    Effect.gen(function*() {
      const { budget, model } = yield* policed([answer({}), answer({ inputTokens: 12 })])
      yield* model.generate(request)
      assert.deepStrictEqual(yield* budget.remaining, left({ calls: 1, tokens: 126, cost: 1026e-6 }))
      yield* model.generate(request)
      assert.deepStrictEqual(yield* budget.remaining, left({ calls: 2, tokens: 126 + 112, cost: 1026e-6 + 1012e-6 }))
    }))

  it.effect("refuses what does not fit, says which resource is short, and sends nothing", () =>
    Effect.gen(function*() {
      const refused = (limits: Budget.Limits, resource: keyof Budget.Limits) =>
        Effect.gen(function*() {
          const { model, sent } = yield* policed([answer({})], limits)
          const asked = yield* Effect.flip(model.generate(request))
          const streamed = yield* Effect.flip(Stream.runDrain(model.stream(request)))
          for (const error of [asked, streamed]) {
            assert.deepInclude(error.reason, { _tag: "BudgetExceeded", resource })
            assert.include(error.message, resource)
            assert.isFalse(error.retryable)
          }
          assert.strictEqual(yield* sent, 0)
        })
      yield* refused({ calls: 0 }, "calls")
      yield* refused({ tokens: 125 }, "tokens")
      yield* refused({ cost: 0.001 }, "cost")
      // As long as nobody knows whether the prompt goes into a cache, it may.
      yield* refused({ cost: 0.001_03 }, "cost")
      yield* refused({ time: 0 }, "time")
    }))

  it.effect("refusals are events of the span and in a metric", () =>
    Effect.gen(function*() {
      const { model } = yield* policed([answer({})], { calls: 0, id: "test/refused" })
      assert.deepStrictEqual(yield* spanEvents(model.generate(request)), [
        { name: "budget.refused", attributes: { model: "test/refused", resource: "calls" } }
      ])
      const counter = BudgetPolicy.refusals.pipe(
        Metric.tagged("model", "test/refused"),
        Metric.tagged("resource", "calls")
      )
      assert.strictEqual((yield* Metric.value(counter)).count, 1)
    }))

  it.effect("does not take an unknown price for none: where money is limited, the call is refused", () =>
    Effect.gen(function*() {
      const { budget, model, sent } = yield* policed([answer({ inputTokens: 1, outputTokens: 1 })], {
        cost: 1,
        id: "other/m"
      })
      const error = yield* Effect.flip(model.generate(request))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
      assert.include(error.message, "no price is known for other/m")
      assert.strictEqual(yield* sent, 0)
      assert.deepStrictEqual(yield* budget.remaining, { cost: 1 })
      const unlimited = yield* policed([answer({ inputTokens: 1, outputTokens: 1 })], { tokens: 200, id: "other/m" })
      yield* unlimited.model.generate(request)
      assert.deepStrictEqual(yield* unlimited.budget.remaining, { tokens: 198 })
    }))

  it.effect("a failure costs what it can have cost: nothing, a call, or all of it", () =>
    Effect.gen(function*() {
      const call = { calls: 1 }
      const all = { calls: 1, tokens: 126, cost: 1026e-6 }
      const expected: { readonly [Tag in LanguageModelError.Reason["_tag"]]: Budget.Amount } = {
        InvalidRequest: call,
        Authentication: call,
        Permission: call,
        NotFound: call,
        RequestTooLarge: call,
        ContextWindowExceeded: call,
        RateLimited: call,
        QuotaExhausted: call,
        Overloaded: call,
        ServerError: call,
        Conflict: call,
        ContentFiltered: call,
        Timeout: all,
        Transport: all,
        MalformedResponse: all,
        ResponseTooLarge: all,
        StreamTruncated: all,
        StreamFailed: all,
        CircuitOpen: {},
        BudgetExceeded: {}
      }
      for (const [tag, spent] of Object.entries(expected)) {
        const { budget, model } = yield* policed([
          TestLanguageModel.fail(tag as LanguageModelError.Reason["_tag"]) // the keys of the table above
        ])
        yield* Effect.flip(model.generate(request))
        assert.deepStrictEqual(yield* budget.remaining, left(spent), tag)
      }
    }))

  it.effect("a stream that is left or breaks costs the prompt and what arrived; the rest is free at once", () =>
    Effect.gen(function*() {
      const overloaded = LanguageModelError.make({
        reason: new LanguageModelError.StreamFailed({ kind: "connection", partial: "", description: "gone" }),
        provider: "test",
        model: "test/m"
      })
      const begun = Stream.make(text("twelve chars"))
      const { budget, model } = yield* policed([
        TestLanguageModel.deltas(Stream.concat(begun, Stream.never)),
        TestLanguageModel.deltas(Stream.concat(begun, Stream.fail(overloaded))),
        // An answer that ends without its terminal marker.
        TestLanguageModel.deltas(begun)
      ])
      yield* Stream.runHead(model.stream(request))
      assert.strictEqual((yield* budget.remaining).tokens, limits.tokens - 38)
      yield* Effect.flip(Stream.runDrain(model.stream(request)))
      assert.strictEqual((yield* budget.remaining).tokens, limits.tokens - 76)
      yield* Stream.runDrain(model.stream(request))
      const remaining = yield* budget.remaining
      assert.deepInclude(remaining, { calls: limits.calls - 3, tokens: limits.tokens - 3 * 38 })
      assert.closeTo(remaining.cost ?? 0, limits.cost - 3 * 146e-6, 1e-12)
    }))

  it.effect("an interrupted call gives back what was reserved for its answer, at once", () =>
    Effect.gen(function*() {
      const { budget, model } = yield* policed(() => TestLanguageModel.delayed(answer({}), "1 hour"))
      for (const call of [model.generate(request), Stream.runDrain(model.stream(request))]) {
        const before = (yield* budget.remaining).tokens ?? 0
        const fiber = yield* Effect.fork(call)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* budget.remaining).tokens, before - 126)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual((yield* budget.remaining).tokens, before - 26)
      }
    }))

  it.effect("what an answer from a cache costs, it costs no budget", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make(limits)
      const cached = LanguageModel.make({
        id: "test/m",
        generate: () => Effect.succeed({ ...LanguageModel.text("hello", "test/m"), cached: true as const })
      })
      const model = yield* BudgetPolicy.fromBudget(budget)(cached).pipe(Effect.provide(Prices.layer(table)))
      yield* model.generate(request)
      yield* Stream.runDrain(model.stream(request))
      assert.deepStrictEqual(yield* budget.remaining, limits)
    }))

  it.effect("inside of a retry each attempt is paid for, and a refusal ends it", () =>
    Effect.gen(function*() {
      const { budget, model, sent } = yield* policed(() => TestLanguageModel.fail("Overloaded"), { calls: 3 })
      const retried = yield* Policy.around(
        Effect.succeed((attempt) => Effect.retry(attempt, { while: (error) => error.retryable }))
      )(model)
      const error = yield* Effect.flip(retried.generate(request))
      assert.strictEqual(error.reason._tag, "BudgetExceeded")
      assert.strictEqual(yield* sent, 3)
      assert.deepStrictEqual(yield* budget.remaining, { calls: 0 })
    }))

  it.effect("the caller's budget pays, and with it those around it; without one that of the Layer", () =>
    Effect.gen(function*() {
      const account = yield* Budget.Budget
      const optimizer = yield* account.within({ calls: 5 })
      const program = yield* optimizer.within({ calls: 2 })
      const ask = LanguageModel.generate(request)
      yield* ask
      yield* ask.pipe(Effect.provideService(Budget.Budget, optimizer))
      const inside = ask.pipe(Effect.provideService(Budget.Budget, program))
      yield* inside
      yield* inside
      const error = yield* Effect.flip(inside)
      assert.deepInclude(error.reason, { resource: "calls", limit: 2 })
      assert.deepStrictEqual(yield* account.remaining, { calls: 6 })
      assert.deepStrictEqual(yield* optimizer.remaining, { calls: 2 })
    }).pipe(Effect.provide(
      TestLanguageModel.layer(() => answer({ inputTokens: 12, outputTokens: 3 })).pipe(
        Policy.apply(BudgetPolicy.make()),
        Layer.provideMerge(Budget.layer({ calls: 10 }))
      )
    )))

  // 1,000 racers on 100 calls and one dollar; a tenth of the answers come without usage, a tenth of the callers leave.
  it.effect.prop(
    "a thousand racers never overdraw it and leave nothing reserved",
    [FastCheck.integer()],
    ([seed]) =>
      Effect.gen(function*() {
        const limits = { calls: 100, cost: 1 }
        const budget = yield* Budget.make(limits)
        const actual = { calls: 0, cost: 0 }
        const expensive = { "test/*": { input: 100, output: 200 } }
        const pay = (inputTokens: number, outputTokens: number) => {
          actual.cost += (inputTokens * 100 + outputTokens * 200) / 1e6
        }
        const model = LanguageModel.make({
          id: "test/m",
          stream: ({ settings }) =>
            Stream.unwrap(Effect.gen(function*() {
              const inputTokens = yield* Random.nextIntBetween(5, 26)
              const outputTokens = yield* Random.nextIntBetween(1, settings?.maxTokens ?? 1)
              const silent = (yield* Random.next) < 0.1
              actual.calls++
              pay(inputTokens, 0)
              return Stream.range(1, outputTokens).pipe(
                Stream.rechunk(1),
                Stream.mapEffect(() => Effect.as(Effect.yieldNow(), text("x"))),
                Stream.tap(() => Effect.sync(() => pay(0, 1))),
                Stream.concat(Stream.succeed<LanguageModel.Delta>({
                  _tag: "Completed",
                  model: "test/m",
                  usage: silent ? {} : { inputTokens, outputTokens }
                }))
              )
            }))
        })
        const policed = yield* BudgetPolicy.fromBudget(budget)(model).pipe(
          Effect.provide(Prices.layer(expensive))
        )
        const racer = Effect.gen(function*() {
          yield* steps(yield* Random.nextIntBetween(0, 300))
          const settings = { maxTokens: yield* Random.nextIntBetween(2, 60) }
          const call = Stream.runDrain(policed.stream({ ...request, settings }))
          const leaves = (yield* Random.next) < 0.1
          yield* leaves ? Effect.raceFirst(call, steps(yield* Random.nextIntBetween(0, 60))) : call
        })
        const exits = yield* Effect.forEach(
          Array.from({ length: 1000 }),
          () => Effect.ensuring(Effect.exit(racer), Effect.sync(() => assert.isAtMost(actual.cost, limits.cost))),
          { concurrency: "unbounded" }
        )
        assert.isAtMost(actual.calls, limits.calls)
        const remaining = yield* budget.remaining
        // Each call that was sent is charged once, and at least as much as it cost: nothing else is held.
        assert.strictEqual(remaining.calls, limits.calls - actual.calls)
        assert.isAtMost(remaining.cost ?? 0, limits.cost - actual.cost + 1e-9)
        // What is idle at the end is less than the largest reservation.
        assert.isTrue((remaining.calls ?? 0) === 0 || (remaining.cost ?? 0) < (26 * 100 + 60 * 200) / 1e6)
        assert.isTrue(exits.some(Exit.isSuccess))
        assert.isAtLeast(exits.filter(Exit.isFailure).length, 800)
      }).pipe(Effect.withRandom(Random.make(seed))),
    { fastCheck: { seed: 3, numRuns: 2 }, timeout: 120_000 }
  )
})
