import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Refine from "@effect-dspy/core/Refine"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer } from "effect"

const guess = Predict.make("question -> n: int")
const largest = (_: unknown, { n }: { readonly n: number }) => Effect.succeed(n)

const ask = { question: "?" }

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

  it.effect("lives with as many failures as it may, n of them unless told otherwise, for each call anew", () =>
    Effect.gen(function*() {
      const advice = TestLanguageModel.fields({ discussion: "-", advice: {} })
      const no = TestLanguageModel.fail("Overloaded")
      const n = (n: number) => TestLanguageModel.fields({ n })
      const three = Refine.make(guess, { n: 3, reward: largest })
      const patient = Effect.all([three(ask), three(ask)]).pipe(
        Effect.provide(TestLanguageModel.layer([no, advice, no, advice, n(4), no, advice, no, advice, n(5)]))
      )
      assert.deepStrictEqual(yield* patient, [{ n: 4 }, { n: 5 }])
      // The next failure ends it, without advice on it.
      const strict = Refine.make(guess, { n: 3, reward: largest, failCount: 1 })
      const { asked, error } = yield* Effect.all({
        error: Effect.flip(strict(ask)),
        asked: TestLanguageModel.requests
      }).pipe(Effect.provide(TestLanguageModel.layer([no, advice, no, advice, n(4)])))
      assert.strictEqual(error._tag, "LanguageModelError")
      assert.lengthOf(asked, 3)
    }))

  it("refuses what makes no sense", () => {
    assert.throws(() => Refine.make(guess, { n: 0, reward: largest }), /Refine: n must be a whole number/)
  })

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

  it.effect("shows the adviser what has no form in JSON as well as it can, and no bytes", () =>
    Effect.gen(function*() {
      const itself: { readonly name: string; self?: unknown } = { name: "loop" }
      itself.self = itself
      const photo = { url: `data:image/png;base64,${"A".repeat(1_000_000)}` }
      const questions: Array<string> = []
      const model = TestLanguageModel.layer((request) => {
        if (!isAdviser(request)) return TestLanguageModel.fields({ n: 1 })
        questions.push(asked(request))
        return TestLanguageModel.fields({ discussion: "-", advice: {} })
      })
      const odd = Module.make(
        { look: Predict.make("photo: Image -> n: int") },
        function*(m, input: { readonly photo: typeof photo; readonly more: unknown }) {
          return { ...yield* m.look({ photo: input.photo }), more: input.more }
        }
      )
      const refine = Refine.make(odd, { n: 2, reward: largest })
      for (const more of [{ big: 10n, all: new Set([1, 2]) }, itself]) {
        yield* refine({ photo, more }).pipe(Effect.provide(model))
      }
      assert.include(questions[0], `"more":{"big":"10","all":[1,2]}`)
      assert.include(questions[1], `"name":"loop"`)
      for (const question of questions) {
        assert.include(question, `{"url":"data:image/png;base64,…"}`)
        assert.notInclude(question, "AAAA")
      }
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
