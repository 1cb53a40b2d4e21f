import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import * as XmlAdapter from "@effect-dspy/core/XmlAdapter"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

const adapters = [ChatAdapter.adapter, JsonAdapter.adapter, XmlAdapter.adapter]

const add = Predict.make("question -> reasoning: Reasoning, answer: int")
const thinking = Module.withSettings(add, { reasoningEffort: "low" })

const texts = Effect.map(
  TestLanguageModel.requests,
  (requests) => requests.map(({ messages }) => messages.map(({ content }) => String(content)).join("\n"))
)

const told = TestLanguageModel.fields({ answer: 4 }).pipe(TestLanguageModel.withReasoning("Two pairs."))
const written = TestLanguageModel.fields({ reasoning: "In words.", answer: 4 })

describe("Reasoning", () => {
  it.effect("is what the model thought, where the call asks for thought and the model tells it", () =>
    Effect.forEach(adapters, (adapter) =>
      Effect.gen(function*() {
        const [output, trace] = yield* Trace.capture(Module.withAdapter(thinking, adapter)({ question: "2 + 2?" }))
        assert.deepStrictEqual(output, { reasoning: "Two pairs.", answer: 4 })
        assert.deepStrictEqual(trace[0]!.outputs, { reasoning: "Two pairs.", answer: 4 })
        const [request] = yield* texts
        // The generated instructions, which name all fields, are the program's own.
        assert.notMatch(request!.replace(/Task:[^\n]*\n.*/, ""), /reasoning/)
      }).pipe(Effect.provide(TestLanguageModel.layer(
        adapter.name === "xml"
          ? [TestLanguageModel.text("<answer>4</answer>").pipe(TestLanguageModel.withReasoning("Two pairs."))]
          : [told]
      )))))

  it.effect("is a field of text where nothing asks for thought, also if the model told some", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* add({ question: "2 + 2?" }), { reasoning: "In words.", answer: 4 })
      assert.include((yield* texts)[0]!, "[[ ## reasoning ## ]]")
      const none = Module.withSettings(add, { reasoningEffort: "none" })
      assert.deepStrictEqual(yield* none({ question: "2 + 2?" }), { reasoning: "In words.", answer: 4 })
    }).pipe(Effect.provide(
      TestLanguageModel.layer(() => written.pipe(TestLanguageModel.withReasoning("Unasked.")))
    )))

  it.effect("is a field of text where the model keeps its thoughts to itself", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* thinking({ question: "2 + 2?" }), { reasoning: "In words.", answer: 4 })
      assert.include((yield* texts)[0]!, "[[ ## reasoning ## ]]")
    }).pipe(Effect.provide(TestLanguageModel.layer([written], { capabilities: { reasoning: false } }))))

  // "default survives provider omission"
  it.effect("is empty when the model told nothing", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* thinking({ question: "2 + 2?" }), { reasoning: "", answer: 4 })
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: 4 })]))))

  it.effect("alone in a signature is asked for as text: something has to be", () =>
    Effect.gen(function*() {
      const think = Predict.make("question -> reasoning: dspy.Reasoning", { settings: { reasoningEffort: "low" } })
      assert.deepStrictEqual(yield* think({ question: "2 + 2?" }), { reasoning: "In words." })
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ reasoning: "In words." })]))))

  it.effect("streams as a field, as it is thought", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      yield* ModuleEvent.listen(thinking({ question: "2 + 2?" }), {
        deltas: true,
        emit: (emitted) =>
          Effect.sync(() => {
            for (const event of emitted) {
              if (event._tag === "FieldDelta") events.push(event.text)
              else if (event._tag === "FieldStart" || event._tag === "FieldEnd") {
                events.push(`${event._tag} ${event.field}`)
              }
            }
          })
      })
      assert.strictEqual(
        events.join("|").replaceAll(/(?<=[^a-z])\|(?=[^F])|(?<=[a-z.])\|(?=[a-z. ])/g, ""),
        "FieldStart reasoning|Two pairs.|FieldEnd reasoning|FieldStart answer|4|FieldEnd answer"
      )
    }).pipe(Effect.provide(TestLanguageModel.layer([told]))))

  it.effect("is shown in demonstrations only where it is asked for", () =>
    Effect.gen(function*() {
      const demo = Parameters.demo({ question: "1 + 1?", reasoning: "One and one.", answer: 2 })
      yield* (yield* Module.withParameters(thinking, { "": { demos: [demo] } }))({ question: "2 + 2?" })
      yield* (yield* Module.withParameters(add, { "": { demos: [demo] } }))({ question: "2 + 2?" })
      const [native, text] = yield* texts
      assert.notInclude(native!, "One and one.")
      assert.include(text!, "One and one.")
    }).pipe(Effect.provide(TestLanguageModel.layer([told, written]))))

  it.effect("stays what the model thought when an answer is asked for again, or by another adapter", () =>
    Effect.gen(function*() {
      const stubborn = ChatAdapter.adapter.pipe(Adapter.reask(), Adapter.orElse(JsonAdapter.adapter))
      assert.deepStrictEqual(
        yield* Module.withAdapter(thinking, stubborn)({ question: "2 + 2?" }),
        { reasoning: "Third.", answer: 4 }
      )
      const [, , json] = yield* texts
      assert.notInclude(json!, "\"reasoning\"")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.text("what?").pipe(TestLanguageModel.withReasoning("First.")),
      TestLanguageModel.text("what?").pipe(TestLanguageModel.withReasoning("Second.")),
      told.pipe(TestLanguageModel.withReasoning("Third."))
    ]))))

  it.effect("a model without the capability refuses nothing and loses nothing: the request is the same", () =>
    Effect.gen(function*() {
      yield* Predict.make("question -> answer", { settings: { reasoningEffort: "low" } })({ question: "?" })
      const [request] = yield* TestLanguageModel.requests
      assert.deepStrictEqual(request!.settings, { reasoningEffort: "low" })
      assert.isUndefined((request satisfies LanguageModel.Request | undefined)?.tools)
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "!" })]))))
})
