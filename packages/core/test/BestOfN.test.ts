import * as BestOfN from "@effect-dspy/core/BestOfN"
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"

const guess = Predict.make("question -> n: int")
const largest = (_: unknown, { n }: { readonly n: number }) => Effect.succeed(n)

/** Answers in turn; `null` is a failure of the model. */
const answers = (...values: ReadonlyArray<number | null>) =>
  TestLanguageModel.layer(
    values.map((n) => n === null ? TestLanguageModel.fail("Overloaded") : TestLanguageModel.fields({ n }))
  )

const ask = { question: "?" }

describe("BestOfN", () => {
  it.effect("answers with the best, the first of equally good ones", () =>
    Effect.gen(function*() {
      const best = BestOfN.make(guess, { n: 4, reward: (_, { n }) => Effect.succeed(n % 10) })
      assert.deepStrictEqual(yield* best(ask).pipe(Effect.provide(answers(3, 15, 25, 4))), { n: 15 })
    }))

  it.effect("takes a reward that says at once how good it is, or whether it is good at all", () =>
    Effect.gen(function*() {
      const largest = BestOfN.make(guess, { n: 3, reward: (_, { n }) => n })
      assert.deepStrictEqual(yield* largest(ask).pipe(Effect.provide(answers(3, 5, 4))), { n: 5 })
      const even = BestOfN.make(guess, { n: 3, reward: (_, { n }) => n % 2 === 0, threshold: 1 })
      assert.deepStrictEqual(yield* even(ask).pipe(Effect.provide(answers(3, 4))), { n: 4 })
    }))

  it.effect("asks once when the first is good enough", () =>
    Effect.gen(function*() {
      const judged: Array<unknown> = []
      const best = BestOfN.make(guess, {
        n: 3,
        reward: (input, output) => Effect.sync(() => judged.push([input, output])),
        threshold: 1
      })
      const output = yield* best(ask).pipe(Effect.provide(answers(3)))
      assert.deepStrictEqual(output, { n: 3 })
      assert.deepStrictEqual(judged, [[ask, { n: 3 }]])
    }))

  it.effect("ends with the first that is good enough", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const best = BestOfN.make(guess, { n: 5, reward: largest, threshold: 7 })
      const model = TestLanguageModel.layer((request) => {
        requests.push(request)
        return TestLanguageModel.fields({ n: 6 + requests.length - 1 })
      })
      assert.deepStrictEqual(yield* best(ask).pipe(Effect.provide(model)), { n: 7 })
      assert.strictEqual(requests.length, 2)
    }))

  it.effect("asks as the program is first, then for samples of their own", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const model = TestLanguageModel.layer((request) => {
        requests.push(request)
        return TestLanguageModel.fields({ n: 1 })
      })
      yield* BestOfN.make(guess, { n: 3, reward: largest })(ask).pipe(Effect.provide(model))
      assert.deepStrictEqual(requests.map(({ settings }) => settings), [
        {},
        { temperature: 1, rollout: "attempt 2" },
        { temperature: 1, rollout: "attempt 3" }
      ])
      const nested = BestOfN.make(BestOfN.make(guess, { n: 2, reward: largest }), { n: 2, reward: largest })
      requests.length = 0
      yield* nested(ask).pipe(Effect.provide(model))
      assert.strictEqual(new Set(requests.map(({ settings }) => settings?.rollout)).size, 4)
    }))

  it.effect("lives with as many failures as it may, for each call anew", () =>
    Effect.gen(function*() {
      const two = BestOfN.make(guess, { n: 3, reward: largest, failCount: 1 })
      const model = answers(null, 2, 1, null, 3, 2)
      const both = Effect.all([two(ask), two(ask)])
      assert.deepStrictEqual(yield* both.pipe(Effect.provide(model)), [{ n: 2 }, { n: 3 }])
      const error = yield* Effect.flip(two(ask).pipe(Effect.provide(answers(null, 2, null))))
      assert.strictEqual(error._tag, "LanguageModelError")
    }))

  it.effect("lives with n failures unless told otherwise", () =>
    Effect.gen(function*() {
      const three = BestOfN.make(guess, { n: 3, reward: largest })
      assert.deepStrictEqual(yield* three(ask).pipe(Effect.provide(answers(null, null, 3))), { n: 3 })
    }))

  it.effect("fails as the last attempt did when all fail, and never answers nothing", () =>
    Effect.gen(function*() {
      const model = TestLanguageModel.layer([
        TestLanguageModel.fail("Overloaded"),
        TestLanguageModel.text("no number"),
        TestLanguageModel.text("still none")
      ])
      const error = yield* Effect.flip(BestOfN.make(guess, { n: 2, reward: largest })(ask).pipe(Effect.provide(model)))
      assert.strictEqual(error._tag, "AdapterParseError")
    }))

  it.effect("takes a reward that is no number for the worst there is", () =>
    Effect.gen(function*() {
      const best = BestOfN.make(guess, { n: 3, reward: (_, { n }) => Effect.succeed(n === 7 ? Number.NaN : -n) })
      for (const order of [[7, 1, 2], [1, 7, 2], [2, 1, 7]]) {
        assert.deepStrictEqual(yield* best(ask).pipe(Effect.provide(answers(...order))), { n: 1 })
      }
      assert.deepStrictEqual(yield* best(ask).pipe(Effect.provide(answers(7, 7, 7))), { n: 7 })
    }))

  it.effect("takes a reward that fails for a failed attempt", () =>
    Effect.gen(function*() {
      const picky = BestOfN.make(guess, {
        n: 2,
        reward: (_, { n }) => n === 1 ? Effect.fail("cannot say" as const) : Effect.succeed(n)
      })
      assert.deepStrictEqual(yield* picky(ask).pipe(Effect.provide(answers(1, 2))), { n: 2 })
      assert.strictEqual(yield* Effect.flip(picky(ask).pipe(Effect.provide(answers(1, 1)))), "cannot say")
    }))

  it.effect("runs attempts side by side, and stops those that are no longer needed", () =>
    Effect.gen(function*() {
      let asked = 0
      const model = TestLanguageModel.layer(() => {
        const n = ++asked
        return TestLanguageModel.fields({ n }).pipe(TestLanguageModel.delayed(n === 4 ? "1 hour" : `${10 - n} seconds`))
      })
      const best = BestOfN.make(guess, { n: 4, reward: largest, threshold: 2, concurrency: 4 })
      const fiber = yield* Effect.fork(best(ask).pipe(Effect.provide(model)))
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), { n: 2 })
      assert.strictEqual(asked, 4)
    }))

  it.effect("leaves only the best attempt in a trace", () =>
    Effect.gen(function*() {
      const best = BestOfN.make(guess, { n: 3, reward: largest })
      const [, trace] = yield* Trace.capture(best(ask)).pipe(Effect.provide(answers(1, 3, 2)))
      assert.deepStrictEqual(trace, [{ path: "module", listed: true, inputs: ask, outputs: { n: 3 } }])
      const nested = BestOfN.make(best, { n: 2, reward: (_, { n }) => Effect.succeed(-n) })
      const [, inner] = yield* Trace.capture(nested(ask)).pipe(Effect.provide(answers(1, 3, 2, 9, 8, 7)))
      assert.deepStrictEqual(inner.map(({ outputs }) => outputs["n"]), [3])
    }))

  it.effect("also where attempts were stopped in the middle, or had ended before the best one", () =>
    Effect.gen(function*() {
      const twice = Module.make(
        { first: guess, second: guess },
        function*(m, input: typeof ask) {
          const { n } = yield* m.first(input)
          return yield* m.second({ question: `${n}` })
        }
      )
      // The first attempt takes 4 seconds; by then the second has ended, and the third is half through.
      const model = TestLanguageModel.layer((request) => {
        const rollout = request.settings?.rollout
        const n = rollout === undefined ? 1 : 0
        return TestLanguageModel.fields({ n }).pipe(
          TestLanguageModel.delayed(
            rollout === undefined ? "2 seconds" : rollout.startsWith("attempt 2") ? "1 second" : "3 seconds"
          )
        )
      })
      const best = BestOfN.make(twice, { n: 3, reward: largest, threshold: 1, concurrency: 3 })
      const fiber = yield* Effect.fork(Trace.capture(best(ask)).pipe(Effect.provide(model)))
      yield* TestClock.adjust("10 seconds")
      const [output, trace] = yield* Fiber.join(fiber)
      assert.deepStrictEqual(output, { n: 1 })
      assert.deepStrictEqual(trace.map(({ outputs }) => outputs["n"]), [1, 1])
    }))

  it.effect("tells of every attempt", () =>
    Effect.gen(function*() {
      const events: Array<ModuleEvent.Emitted> = []
      yield* BestOfN.make(guess, { n: 2, reward: largest })(ask).pipe(
        ModuleEvent.listen({ deltas: false, emit: (more) => Effect.sync(() => events.push(...more)) }),
        Effect.provide(answers(1, 2))
      )
      assert.deepStrictEqual(events.flatMap((event) => event._tag === "Attempt" ? [event.n] : []), [1, 2])
      const first = events.find((event) => event._tag === "PredictorEnd")
      const discarded = events.find((event) => event._tag === "Discarded")
      assert.deepStrictEqual(discarded?.calls, [first?.call ?? 0])
    }))

  it("lists its part as DSPy does, and refuses what makes no sense", () => {
    assert.deepStrictEqual(
      BestOfN.make(ChainOfThought.make("question -> n: int"), { n: 2, reward: largest }).predictors.map(({ path }) =>
        path
      ),
      ["module.predict"]
    )
    assert.throws(() => BestOfN.make(guess, { n: 0, reward: largest }), /n must be a whole number of at least 1, not 0/)
    for (const failCount of [-1, Number.NaN]) {
      assert.throws(() => BestOfN.make(guess, { n: 2, failCount, reward: largest }), /failCount must be a number/)
    }
  })
})
