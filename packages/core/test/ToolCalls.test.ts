import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import type { Json } from "@effect-dspy/core/Json"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import * as ToolCalls from "@effect-dspy/core/ToolCalls"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Schema } from "effect"
import { decodeFields } from "./adapters.ts"

const weather = Tool.make("weather", {
  description: "Tells the weather of a city.",
  parameters: { city: Schema.String },
  run: ({ city }) => Effect.succeed(`rain in ${city}`)
})

const tools = ToolCalls.offer([weather])
const choose = Predict.make("question, tools: dspy.Tool[] -> calls: ToolCalls, thought?: string")
const only = Predict.make("question, tools: Tool[] -> calls: dspy.ToolCalls")
const input = { question: "A coat in Oslo?", tools }
const oslo = { name: "weather", arguments: { city: "Oslo" } }

const signature = Signature.parse("question -> calls: ToolCalls")
const read = (raw: Adapter.Raw): unknown =>
  Either.match(decodeFields(signature, { calls: raw }), {
    onLeft: () => "refused",
    onRight: ({ value }) => value["calls"]
  })

describe("ToolCalls", () => {
  describe("of a model that calls tools", () => {
    it.effect("are read beside the text, with their ids, and the tools offered beside the messages", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* only(input), {
          calls: [{ id: "call_0", ...oslo }, { id: "call_1", name: "weather", arguments: { city: "Bergen" } }]
        })
        const [request] = yield* TestLanguageModel.requests
        assert.deepStrictEqual(request!.tools, tools)
        assert.isUndefined(request!.responseFormat)
        assert.notInclude(String(request!.messages.at(-1)!.content), "Tells the weather")
        assert.include(String(request!.messages.at(-1)!.content), "A coat in Oslo?")
      }).pipe(Effect.provide(TestLanguageModel.layer([
        TestLanguageModel.toolCalls([oslo, { name: "weather", arguments: { city: "Bergen" } }])
      ]))))

    // "free text beside calls ignored", "structured text beside calls kept"
    it.effect("make of the text beside them what can be made of it", () =>
      Effect.gen(function*() {
        const calls = [{ id: "a", ...oslo }]
        assert.deepStrictEqual(yield* choose(input), { calls })
        assert.deepStrictEqual(yield* choose(input), { calls, thought: "I look." })
        assert.deepStrictEqual(yield* choose(input), { calls: [], thought: "No need." })
      }).pipe(Effect.provide(TestLanguageModel.layer(
        ["I look it up.", "[[ ## thought ## ]]\nI look.", "[[ ## thought ## ]]\nNo need."].map((text, n) =>
          TestLanguageModel.deltas([
            { _tag: "TextDelta", index: 0, text },
            ...(n === 2 ? [] : [
              { _tag: "ToolCallDelta", index: 0, call: 0, id: "a", name: "weather", arguments: "{\"city\":" } as const,
              { _tag: "ToolCallDelta", index: 0, call: 0, arguments: "\"Oslo\"}" } as const
            ]),
            { _tag: "Finish", index: 0, reason: "toolCalls" },
            { _tag: "Completed", usage: {}, model: "test/model" }
          ])
        )
      ))))

    it.effect("with arguments that are no JSON are a typed error, and nothing is guessed", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(only(input))
        assert.strictEqual(error._tag, "AdapterParseError")
        assert.match(error.message, /the arguments of the call of "weather" cannot be read/)
        assert.notInclude(error.message, "s3cret")
        assert.deepInclude(error._tag === "AdapterParseError" ? error.problems[0] : {}, { got: "\"s3cret\"" })
      }).pipe(
        Effect.provide(
          TestLanguageModel.layer(() =>
            TestLanguageModel.toolCalls([{ name: "weather", arguments: "{\"city\": s3cret}" }])
          )
        )
      ))
  })

  it.effect("of a model that does not call tools are written in the text", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* only(input), { calls: [oslo] })
      const [request] = yield* TestLanguageModel.requests
      assert.isUndefined(request!.tools)
      assert.include(String(request!.messages.at(-1)!.content), "Tells the weather of a city.")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ calls: [oslo] })
    ], { capabilities: { tools: false } }))))

  // "vague tool calls: list, single record, broken JSON", "vague shapes incl. arguments, provider nesting, JSON text"
  it("are understood in the forms that models write", () => {
    const forms: ReadonlyArray<Json> = [
      [oslo],
      oslo,
      { tool_calls: [oslo] },
      [{ name: "weather", args: { city: "Oslo" } }],
      { name: "weather", arguments: "{\"city\":\"Oslo\"}" },
      [{ type: "function", function: { name: "weather", arguments: "{\"city\":\"Oslo\"}" } }],
      [{ name: "weather", input: { city: "Oslo" } }]
    ]
    for (const value of forms) {
      assert.deepStrictEqual(read({ _tag: "Json", value }), [oslo], JSON.stringify(value))
      assert.deepStrictEqual(read({ _tag: "Text", text: JSON.stringify(value) }), [oslo], JSON.stringify(value))
    }
    assert.deepStrictEqual(
      read({ _tag: "Text", text: "```json\n{'name': 'weather', 'args': {'city': 'Oslo',},}\n```" }),
      [oslo]
    )
    assert.deepStrictEqual(read({ _tag: "Json", value: [{ id: "7", name: "now" }] }), [{
      id: "7",
      name: "now",
      arguments: {}
    }])
    assert.deepStrictEqual(read({ _tag: "Json", value: [] }), [])
    for (
      const value of ["none", 7, null, { city: "Oslo" }, [{ name: "weather", arguments: "not JSON" }], [{ name: 3 }]]
    ) {
      assert.strictEqual(read({ _tag: "Json", value }), "refused", JSON.stringify(value))
    }
  })

  it.effect("are decoded by the tool they name", () =>
    Effect.gen(function*() {
      const calls = yield* Schema.decodeUnknown(ToolCalls.ToolCalls)([oslo])
      assert.deepStrictEqual(yield* weather.decode(calls[0]!.arguments), { city: "Oslo" })
      assert.strictEqual(Signature.format(only.predictors[0]!.signature), "question, tools: Tool[] -> calls: ToolCalls")
      assert.isTrue(Adapter.isAdapter(ChatAdapter.adapter))
    }))
})
