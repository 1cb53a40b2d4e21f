import * as Document from "@effect-dspy/core/Document"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { partsOf } from "./adapters.ts"

const answer = Predict.make("source: Document, question -> answer, citations: dspy.Citations")
const input = { source: Document.fromText("The kettle is blue.", { title: "Inventory" }), question: "Which colour?" }

const citing = (text: string, ...citations: ReadonlyArray<LanguageModel.Citation>) =>
  TestLanguageModel.deltas([
    { _tag: "TextDelta", index: 0, text },
    ...citations.map((citation) => ({ _tag: "CitationDelta", index: 0, citation }) as const),
    { _tag: "Finish", index: 0, reason: "stop" },
    { _tag: "Completed", usage: {}, model: "test/model" }
  ])

const said = "[[ ## answer ## ]]\nIt is blue.\n\n[[ ## completed ## ]]"
const from = {
  start: said.indexOf("It"),
  end: said.indexOf("\n\n[[ ## completed"),
  quote: "The kettle is blue.",
  title: "Inventory"
}

const cites = { capabilities: { citations: true } }

describe("Citations", () => {
  it.effect("are what the provider says, with the words of the answer they are of", () =>
    Effect.gen(function*() {
      const [output, trace] = yield* Trace.capture(answer(input))
      const citations = [
        { text: "It is blue.", quote: "The kettle is blue.", title: "Inventory" },
        { url: "https://example.org", location: { page: 3 } }
      ]
      assert.deepStrictEqual(output, { answer: "It is blue.", citations })
      assert.deepStrictEqual(trace[0]!.outputs, { answer: "It is blue.", citations })
      const [request] = yield* TestLanguageModel.requests
      assert.notInclude(String(request!.messages[0]!.content).split("Task:")[0]!, "citations")
      assert.deepInclude(partsOf(request!.messages[1])[1], {
        _tag: "Text",
        document: { title: "Inventory" }
      })
    }).pipe(Effect.provide(TestLanguageModel.layer([
      citing(said, from, { url: "https://example.org", location: { page: 3 } })
    ], cites))))

  it.effect("are none where nothing is cited", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* answer(input), { answer: "It is blue.", citations: [] })
    }).pipe(Effect.provide(TestLanguageModel.layer([citing(said)], cites))))

  it.effect("keep an answer from being held to a schema, in which nothing could be cited", () =>
    Effect.gen(function*() {
      const output = yield* Module.withAdapter(answer, JsonAdapter.adapter)(input)
      assert.deepStrictEqual(output, { answer: "blue", citations: [{ text: "blue" }] })
      assert.isUndefined((yield* TestLanguageModel.requests)[0]!.responseFormat)
    }).pipe(Effect.provide(TestLanguageModel.layer([citing("{\"answer\":\"blue\"}", { start: 11, end: 15 })], cites))))

  it.effect("are written as a field where the model does not cite by itself", () =>
    Effect.gen(function*() {
      const citations = [{ quote: "The kettle is blue.", title: "Inventory" }]
      assert.deepStrictEqual(yield* answer(input), { answer: "blue", citations })
      assert.include(String((yield* TestLanguageModel.requests)[0]!.messages[0]!.content), "- `citations` (Citations)")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ answer: "blue", citations: [{ quote: "The kettle is blue.", title: "Inventory" }] })
    ]))))
})
