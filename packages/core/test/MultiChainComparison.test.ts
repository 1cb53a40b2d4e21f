import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as MultiChainComparison from "@effect-dspy/core/MultiChainComparison"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"

const ask = { question: "?" }

describe("MultiChainComparison", () => {
  it.effect("shows the first line of every reasoning and the last field", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const model = TestLanguageModel.layer((request) => {
        requests.push(request)
        return TestLanguageModel.fields({ rationale: "both", answer: 7 })
      })
      const compare = MultiChainComparison.make(
        Signature.make({ input: { question: Schema.String }, output: { note: Schema.String, answer: Schema.Int } }),
        { m: 2 }
      )
      const output = yield* compare({
        question: "3 + 4?",
        completions: [
          { reasoning: "first line\nsecond line", note: "n", answer: 8 },
          { rationale: "counted", answer: 7 }
        ]
      }).pipe(Effect.provide(model), Effect.flip)
      assert.strictEqual(output._tag, "AdapterParseError")
      const asked = String(requests[0]?.messages.at(-1)?.content)
      assert.include(asked, "It was reasoned: first line It was answered: 8")
      assert.include(asked, "It was reasoned: counted It was answered: 7")
      assert.notInclude(asked, "second line")
      assert.strictEqual(requests[0]?.settings?.temperature, 0.7)
    }))

  it.effect("answers with a rationale and the outputs", () =>
    Effect.gen(function*() {
      const compare = MultiChainComparison.make("question -> answer", { m: 1, settings: { temperature: 0 } })
      const output = yield* compare({ ...ask, completions: [{ answer: "a" }] }).pipe(
        Effect.provide(TestLanguageModel.layer((request) =>
          TestLanguageModel.fields({ rationale: String(request.settings?.temperature), answer: "b" })
        ))
      )
      assert.deepStrictEqual(output, { rationale: "0", answer: "b" })
    }))

  it.effect("says when there are too many or too few", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        MultiChainComparison.make("question -> answer")({ ...ask, completions: [] })
      ).pipe(Effect.provide(TestLanguageModel.layer([])))
      assert.strictEqual(
        error.message,
        "0 attempts were given where the module compares 3; make it with { m: 0 }, or give 3"
      )
    }))

  it("lists one predictor, as DSPy does", () => {
    const compare = MultiChainComparison.make("question -> answer", { m: 2 })
    assert.deepStrictEqual(compare.predictors.map(({ path }) => path), ["predict"])
    assert.deepStrictEqual(
      Signature.fields(compare.predictors[0]!.signature).inputs.map(({ name }) => name),
      ["question", "reasoning_attempt_1", "reasoning_attempt_2"]
    )
    assert.isTrue(Module.isModule(compare))
    assert.throws(() => MultiChainComparison.make("question -> answer", { m: 0 }), /m must be a whole number/)
  })
})
