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
        return TestLanguageModel.fields({ rationale: "both", note: "n", answer: 7 })
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
      }).pipe(Effect.provide(model))
      assert.deepStrictEqual(output, { rationale: "both", note: "n", answer: 7 })
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

  it.effect("shows answers of any type, and attempts without reasoning or answer", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const compare = MultiChainComparison.make(
        Signature.make({ input: { question: Schema.String }, output: { answer: Schema.BigInt } })
      )
      const { answer } = yield* compare({
        ...ask,
        completions: [
          { answer: 12345678901234567890n },
          { reasoning: "\n\n  none \nat all", answer: { list: [1] } },
          {}
        ]
      }).pipe(Effect.provide(TestLanguageModel.layer((request) => {
        requests.push(request)
        return TestLanguageModel.fields({ rationale: "r", answer: "7" })
      })))
      assert.strictEqual(answer, 7n)
      const asked = String(requests[0]?.messages.at(-1)?.content)
      assert.include(asked, `[[ ## reasoning_attempt_1 ## ]]\nIt was answered: "12345678901234567890"`)
      assert.include(asked, `[[ ## reasoning_attempt_2 ## ]]\nIt was reasoned: none It was answered: {"list":[1]}`)
      assert.include(asked, "[[ ## reasoning_attempt_3 ## ]]\n(Nothing was said.)")
    }))

  it.effect("says when there are too many or too few", () =>
    Effect.gen(function*() {
      const compare = MultiChainComparison.make("question -> answer")
      for (const given of [0, 2, 4]) {
        const completions = Array.from({ length: given }, () => ({ answer: "a" }))
        const error = yield* Effect.flip(compare({ ...ask, completions })).pipe(
          Effect.provide(TestLanguageModel.layer([]))
        )
        assert.strictEqual(
          error.message,
          `${given} attempts were given where the module compares 3; make it with { m: ${given} }, or give 3`
        )
      }
    }))

  it("lists one predictor, as DSPy does", () => {
    const compare = MultiChainComparison.make("question -> answer", { m: 2 })
    assert.deepStrictEqual(compare.predictors.map(({ path }) => path), ["predict"])
    assert.strictEqual(
      Signature.format(compare.predictors[0]!.signature),
      "question, reasoning_attempt_1, reasoning_attempt_2 -> rationale, answer"
    )
    assert.isTrue(Module.isModule(compare))
    assert.throws(() => MultiChainComparison.make("question -> answer", { m: 0 }), /m must be a whole number/)
  })
})
