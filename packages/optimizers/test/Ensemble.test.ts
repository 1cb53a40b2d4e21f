import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Ensemble from "@effect-dspy/optimizers/Ensemble"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either } from "effect"
import { exact, examples, simulate, sort } from "./utilities.ts"

const member = (n: number) => Predict.make("question -> answer").pipe(Module.withSettings({ seed: n }))

// Member n says the nth of these; a number instead is a failure.
const saying = (...answers: ReadonlyArray<string | null>) =>
  TestLanguageModel.layer((request) => {
    const answer = answers[request.settings?.seed ?? 0]
    return typeof answer === "string" ? TestLanguageModel.fields({ answer }) : TestLanguageModel.fail("Overloaded")
  })

const ask = Ensemble.make([0, 1, 2, 3].map(member))({ question: "?" })

describe("Ensemble", () => {
  it.effect("answers with what most say, the earliest of equally many", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Effect.provide(ask, saying("a", "b", "b", "c")), { answer: "b" })
      assert.deepStrictEqual(yield* Effect.provide(ask, saying("a", "b", "b", "a")), { answer: "a" })
    }))

  it.effect("leaves out who fails, and fails when all do", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Effect.provide(ask, saying(null, "b", null, null)), { answer: "b" })
      const error = yield* Effect.flip(Effect.provide(ask, saying(null, null, null, null)))
      assert.isTrue(LanguageModelError.isLanguageModelError(error))
    }))

  it.effect("makes of the answers whatever it is told to", () =>
    Effect.gen(function*() {
      const longest = Ensemble.make([0, 1].map(member), {
        reduce: (outputs) => outputs.reduce((a, b) => b.answer.length > a.answer.length ? b : a)
      })
      assert.deepStrictEqual(yield* Effect.provide(longest({ question: "?" }), saying("a", "long")), { answer: "long" })
    }))

  it.effect("asks some of them, the same for the same input", () =>
    Effect.gen(function*() {
      const two = Ensemble.make([0, 1, 2, 3].map(member), {
        size: 2,
        reduce: (outputs) => ({
          answer: outputs.map(({ answer }) => answer).sort().join("")
        })
      })
      const model = saying("a", "b", "c", "d")
      const answers = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => `${n}`),
        (question) => Effect.all([two({ question }), two({ question })])
      ).pipe(Effect.provide(model))
      assert.isTrue(answers.every(([a, b]) => a.answer === b.answer && a.answer.length === 2))
      assert.isAbove(new Set(answers.map(([a]) => a.answer)).size, 3)
    }))

  it("lists its members, so that they are tuned and saved", () => {
    assert.deepStrictEqual(Ensemble.make([0, 1].map(member)).predictors.map(({ path }) => path), [
      "programs[0]",
      "programs[1]"
    ])
  })

  it.effect("of the best candidates of a run", () =>
    Effect.gen(function*() {
      const compiled = yield* RandomSearch.compile(sort, {
        trainset: examples(12, 4),
        valset: examples(8, 4, 100),
        metric: exact,
        numCandidatePrograms: 3
      })
      const ensemble = Either.getOrThrow(Ensemble.ofBest(sort, compiled, { count: 2 }))
      assert.deepStrictEqual(
        ensemble.predictors.map(({ parameters }) => parameters),
        compiled.candidates.slice(0, 2).map(({ parameters }) => parameters[""])
      )
      assert.isTrue(Either.isLeft(Ensemble.ofBest(Module.all({ a: sort }), compiled)))
    }).pipe(Effect.provide(simulate().layer)))

  it("says what is wrong with what it is made of", () => {
    assert.throws(() => Ensemble.make([]), /at least one program/)
    assert.throws(() => Ensemble.make([member(0)], { size: 0 }), /size must be a whole number/)
  })
})
