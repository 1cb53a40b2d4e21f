import * as BestOfN from "@effect-dspy/core/BestOfN"
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Refine from "@effect-dspy/core/Refine"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Fiber, Layer, TestClock } from "effect"

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
  })
})

// -----------------------------------------------------------------------------

const two = Module.make(
  { draft: Predict.make("question -> draft"), answer: Predict.make("draft -> answer") },
  function*(m, input: { readonly question: string }) {
    return yield* m.answer(yield* m.draft(input))
  }
)

const told = (request: LanguageModel.Request) => String(request.messages[0]?.content)
const asked = (request: LanguageModel.Request) => String(request.messages.at(-1)?.content)
const isAdviser = (request: LanguageModel.Request) => told(request).includes("`advice`")

// Drafts and answers are loud once they are told to be.
const loud = (requests: Array<LanguageModel.Request>, advice: { readonly [name: string]: string } | null) =>
  TestLanguageModel.layer((request) => {
    requests.push(request)
    if (isAdviser(request)) {
      return advice === null
        ? TestLanguageModel.fail("Overloaded")
        : TestLanguageModel.fields({ discussion: "Too quiet.", advice })
    }
    const text = told(request).includes("Be loud.") ? "LOUD" : "quiet"
    return TestLanguageModel.fields(asked(request).includes("## draft ## ]]\n") ? { answer: text } : { draft: text })
  })

const loudness = (_: unknown, { answer }: { readonly answer: string }) =>
  Effect.succeed(answer === "LOUD" ? 1 : { value: 0, feedback: "I cannot hear you." })

describe("Refine", () => {
  const refined = Refine.make(two, { n: 3, reward: loudness, threshold: 1 })

  it.effect("gives advice to the predictors that should do better, and to no other", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const output = yield* refined(ask).pipe(Effect.provide(loud(requests, { answer: "Be loud.", nobody: "x" })))
      assert.deepStrictEqual(output, { answer: "LOUD" })
      assert.strictEqual(requests.length, 5)
      assert.deepStrictEqual(requests.map((request) => told(request).includes("Advice for this attempt: Be loud.")), [
        false,
        false,
        false,
        false,
        true
      ])
    }))

  it.effect("tells the adviser what happened and what is wanted", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      // Placed somewhere in a larger program, names stay those of the part.
      const larger = Module.make({ inner: refined }, function*(m, input: { readonly question: string }) {
        return yield* m.inner(input)
      })
      yield* larger(ask).pipe(Effect.provide(loud(requests, { answer: "Be loud." })))
      const question = asked(requests.find(isAdviser)!)
      assert.include(question, `draft: {"question":"?"} -> {"draft":"quiet"}`)
      assert.include(question, `answer: {"draft":"quiet"} -> {"answer":"quiet"}`)
      assert.include(question, "I cannot hear you.")
      assert.include(question, "at least 1")
      assert.include(question, "Module draft, told: ")
      assert.strictEqual(told(requests.at(-1)!).includes("Be loud."), true)
    }))

  it.effect("does not ask for advice it cannot use", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      yield* Refine.make(two, { n: 2, reward: loudness })(ask).pipe(Effect.provide(loud(requests, {})))
      assert.strictEqual(requests.filter(isAdviser).length, 1)
      requests.length = 0
      yield* Refine.make(two, { n: 3, reward: () => Effect.succeed(1), threshold: 1 })(ask).pipe(
        Effect.provide(loud(requests, {}))
      )
      assert.strictEqual(requests.length, 2)
    }))

  it.effect("counts advice that cannot be had as a failure", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      assert.deepStrictEqual(yield* refined(ask).pipe(Effect.provide(loud(requests, null))), { answer: "quiet" })
      const strict = Refine.make(two, { n: 3, reward: loudness, threshold: 1, failCount: 0 })
      const error = yield* Effect.flip(strict(ask).pipe(Effect.provide(loud(requests, null))))
      assert.strictEqual(error._tag, "LanguageModelError")
    }))

  it.effect("learns from failures too", () =>
    Effect.gen(function*() {
      let calls = 0
      const model = TestLanguageModel.layer((request) => {
        if (isAdviser(request)) {
          assert.include(asked(request), "could not be read")
          return TestLanguageModel.fields({ discussion: "No number.", advice: { program: "Write a number." } })
        }
        calls++
        return told(request).includes("Write a number.")
          ? TestLanguageModel.fields({ n: 4 })
          : TestLanguageModel.text("four")
      })
      const output = yield* Refine.make(guess, { n: 2, reward: largest })(ask).pipe(Effect.provide(model))
      assert.deepStrictEqual([output, calls], [{ n: 4 }, 3])
    }))

  it.effect("keeps its predictors tunable, and advice beside what was tuned", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(refined.predictors.map(({ path }) => path), ["module.draft", "module.answer"])
      const tuned = Either.getOrThrow(Module.withParameters(refined, {
        "module.answer": { instructions: "Answer somehow.", demos: [Parameters.demo({ draft: "d", answer: "a" })] }
      }))
      const requests: Array<LanguageModel.Request> = []
      const [, trace] = yield* Trace.capture(tuned(ask)).pipe(Effect.provide(loud(requests, { answer: "Be loud." })))
      assert.include(told(requests.at(-1)!), "Answer somehow.\n\nAdvice for this attempt: Be loud.")
      assert.deepStrictEqual(trace.filter(({ listed }) => listed).map(({ outputs }) => Object.values(outputs)[0]), [
        "quiet",
        "LOUD"
      ])
    }))

  it.effect("1,000 at once do not disturb each other", () =>
    Effect.gen(function*() {
      const model = TestLanguageModel.layer((request) => {
        const number = /q(\d+)/.exec(asked(request))?.[1] ?? ""
        if (isAdviser(request)) {
          return TestLanguageModel.fields({ discussion: "-", advice: { program: `Say ${number}.` } })
        }
        return TestLanguageModel.fields({ n: Number(/Say (\d+)\./.exec(told(request))?.[1] ?? -1) })
      })
      const refine = Refine.make(guess, { n: 2, reward: largest })
      const outputs = yield* Effect.forEach(Array.from({ length: 1000 }, (_, n) => n), (n) =>
        refine({ question: `q${n}` }), {
        concurrency: 100
      }).pipe(Effect.provide(model))
      assert.deepStrictEqual(
        outputs.map(({ n }) =>
          n
        ),
        Array.from({ length: 1000 }, (_, n) => n)
      )
    }).pipe(Effect.provide(Layer.empty)))
})
