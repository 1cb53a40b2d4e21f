import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Reasoning from "@effect-dspy/core/Reasoning"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Schema } from "effect"

const add = ChainOfThought.make("question -> answer: int")
const ask = { question: "2 + 2?" }
const told = TestLanguageModel.fields({ reasoning: "Two pairs.", answer: 4 })
const model = TestLanguageModel.layer(() => told)

const signatureOf = (module: Module.Any) => module.predictors[0]!.signature

describe("ChainOfThought", () => {
  it.effect("reasons, then answers with the types of the signature", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* add(ask), { reasoning: "Two pairs.", answer: 4 })
      const [request] = yield* TestLanguageModel.requests
      const asked = String(request?.messages.at(-1)?.content)
      assert.isBelow(asked.indexOf("[[ ## reasoning ## ]]"), asked.indexOf("[[ ## answer ## ]]"))
      assert.include(asked, "[[ ## reasoning ## ]]")
    }).pipe(Effect.provide(model)))

  it("puts one described text before the outputs, and changes nothing else", () => {
    const signature = Signature.make({
      instructions: "Count.",
      input: { text: Schema.String },
      output: { words: Schema.Int.annotations({ description: "how many" }), sure: Schema.Boolean }
    })
    const reasoned = signatureOf(ChainOfThought.make(signature))
    assert.strictEqual(Signature.format(reasoned), "text -> reasoning, words: integer, sure: boolean")
    assert.strictEqual(reasoned.instructions, "Count.")
    const [reasoning, words] = Signature.fields(reasoned).outputs
    assert.isString(reasoning?.description)
    assert.strictEqual(words?.description, "how many")
    // What is generated for want of instructions names it.
    assert.strictEqual(signatureOf(add).instructions, "From `question`, work out `reasoning` and `answer`.")
  })

  it("refuses a signature that has the field already", () => {
    assert.throws(() => ChainOfThought.make("question -> reasoning, answer"), /'reasoning': is declared twice/)
    assert.throws(() => ChainOfThought.make("reasoning -> answer"), /'reasoning': is both an input and an output/)
  })

  it.effect("an answer without reasoning cannot be read", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Module.withAdapter(add, JsonAdapter.adapter)(ask))
      assert.strictEqual(error._tag, "AdapterParseError")
      assert.include(error.message, "reasoning")
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: 4 })]))))

  it.effect("takes the settings and the adapter of its predictor", () =>
    Effect.gen(function*() {
      const own = ChainOfThought.make("question -> answer: int", {
        settings: { temperature: 0 },
        adapter: JsonAdapter.adapter
      })
      yield* own(ask)
      const [request] = yield* TestLanguageModel.requests
      assert.deepStrictEqual(request?.settings, { temperature: 0 })
      assert.isDefined(request?.responseFormat)
    }).pipe(Effect.provide(model)))

  it.effect("shows the reasoning of demonstrations, and those without it too", () =>
    Effect.gen(function*() {
      const tuned = Either.getOrThrow(Module.withParameters(add, {
        predict: {
          demos: [
            Parameters.augmented({ question: "1 + 1?", reasoning: "One pair.", answer: 2 }),
            Parameters.demo({ question: "3 + 3?", answer: 6 })
          ]
        }
      }))
      yield* tuned(ask)
      const [request] = yield* TestLanguageModel.requests
      const shown = request?.messages.filter(({ role }) => role === "assistant").map(({ content }) => String(content))
      assert.lengthOf(shown ?? [], 2)
      assert.isTrue(shown?.some((text) => text.includes("One pair.")))
      assert.isTrue(shown?.some((text) => text.includes("\n6")))
    }).pipe(Effect.provide(model)))

  it.effect("streams the reasoning before the answer", () =>
    Effect.gen(function*() {
      const started: Array<string> = []
      yield* ModuleEvent.listen(add(ask), {
        deltas: true,
        emit: (events) =>
          Effect.sync(() => {
            for (const event of events) if (event._tag === "FieldStart") started.push(`${event.path} ${event.field}`)
          })
      })
      assert.deepStrictEqual(started, ["predict reasoning", "predict answer"])
    }).pipe(Effect.provide(model)))

  it.effect("another field of thought is one of the signature: what the model thinks by itself fills it", () =>
    Effect.gen(function*() {
      const other = Predict.make(
        Signature.prependOutput(Signature.parse("question -> answer: int"), "rationale", Reasoning.Reasoning),
        { settings: { reasoningEffort: "low" } }
      )
      assert.deepStrictEqual(yield* other(ask), { rationale: "By itself.", answer: 4 })
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ answer: 4 }).pipe(TestLanguageModel.withReasoning("By itself."))
    ]))))
})
