import * as Adapter from "@effect-dspy/core/Adapter"
import * as BestOfN from "@effect-dspy/core/BestOfN"
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Preview from "@effect-dspy/core/Preview"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as TwoStepAdapter from "@effect-dspy/core/TwoStepAdapter"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either } from "effect"

const answer = Predict.make("question -> answer: int", { settings: { temperature: 0.5 } })
const ask = { question: "What is 2 + 2?" }

/** Any call of it is a defect. */
const untouchable = LanguageModel.make({
  id: "test/untouchable",
  capabilities: { responseFormat: "jsonSchema" },
  generate: () => Effect.dieMessage("a model was called"),
  stream: () => {
    throw new Error("a model was called")
  }
})

const unasked = Effect.provideService(LanguageModel.LanguageModel, untouchable)

describe("Preview", () => {
  it.effect("is the request that is sent", () =>
    Effect.gen(function*() {
      const tuned = Either.getOrThrow(Module.withParameters(answer, {
        "": {
          instructions: "Add.",
          demos: [Parameters.demo({ question: "1 + 1?", answer: 2 })],
          settings: { maxTokens: 10 }
        }
      })).pipe(Module.withAdapter(JsonAdapter.adapter), Module.withRollout("a"), Module.withSettings({ topP: 0.5 }))
      const previewed = yield* Preview.make(tuned, ask)
      yield* tuned(ask)
      assert.deepStrictEqual(yield* TestLanguageModel.requests, [previewed.request])
      assert.deepStrictEqual([previewed.path, previewed.model], ["", "test/model"])
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: 4 })]))))

  it.effect("has what holds further out, where it is asked for", () =>
    Effect.gen(function*() {
      const inner = Module.make(
        { ask: answer },
        function*(m, input: { readonly question: string }) {
          return yield* Preview.make(m.ask, input)
        }
      )
      const tuned = Either.getOrThrow(Module.withParameters(inner, { ask: { instructions: "Outer.", demos: [] } }))
      const { path, request } = yield* tuned(ask)
      assert.strictEqual(path, "ask")
      assert.include(String(request.messages[0]?.content), "Outer.")
    }).pipe(unasked))

  it.effect("of a module with several parts is the first request, with its path", () =>
    Effect.gen(function*() {
      let done = 0
      const both = Module.make(
        { query: ChainOfThought.make("question -> query"), answer },
        function*(m, input: { readonly question: string }) {
          done++
          const { query } = yield* m.query(input)
          return yield* m.answer({ question: query })
        }
      )
      const { path, request } = yield* Preview.make(both, ask)
      assert.strictEqual(path, "query.predict")
      assert.include(String(request.messages.at(-1)?.content), "2 + 2?")
      assert.strictEqual(done, 1)
    }).pipe(unasked))

  it.effect("calls no model that a part was given, nor one that a body asks itself, nor a second time", () =>
    Effect.gen(function*() {
      const given = Module.provideModel(answer, Context.make(LanguageModel.LanguageModel, untouchable))
      assert.strictEqual((yield* Preview.make(given, ask)).model, "test/untouchable")

      const request: LanguageModel.Request = { messages: [{ role: "user", content: "Hi" }] }
      const own = Module.make({}, function*(_, _input: typeof ask) {
        return yield* LanguageModel.generate(request)
      })
      assert.deepStrictEqual((yield* Preview.make(own, ask)).request, request)

      const best = BestOfN.make(answer, { n: 3, reward: () => Effect.succeed(1) })
      assert.include(String((yield* Preview.make(best, ask)).request.messages.at(-1)?.content), "2 + 2?")
    }).pipe(unasked))

  it.effect("is of the first of two steps", () =>
    Effect.gen(function*() {
      const adapter = TwoStepAdapter.make({ extraction: Context.make(LanguageModel.LanguageModel, untouchable) })
      const { request } = yield* Preview.make(Module.withAdapter(answer, adapter), ask)
      assert.include(String(request.messages[0]?.content), "in your own words")
    }).pipe(unasked))

  it.effect("nobody hears of it", () =>
    Effect.gen(function*() {
      const events: Array<ModuleEvent.Emitted> = []
      yield* ModuleEvent.listen(Preview.make(answer, ask), {
        deltas: true,
        emit: (more) => Effect.sync(() => events.push(...more))
      })
      assert.deepStrictEqual(events, [])
    }).pipe(unasked))

  it.effect("fails as the module would before it asks", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Preview.make(Predict.make("n: int -> answer"), { n: 1.5 }))
      assert.strictEqual(error._tag, "InvalidInput")
    }).pipe(unasked))

  it.effect("of a module that asks nothing is a typed error", () =>
    Effect.gen(function*() {
      const silent = Module.make({}, function*(_, input: number) {
        return yield* Effect.succeed(input)
      })
      const error = yield* Effect.flip(Preview.make(silent, 1))
      assert.strictEqual(error._tag, "NothingAsked")
    }))

  it.effect("works for an adapter of one's own", () =>
    Effect.gen(function*() {
      const loud = Adapter.make({
        name: "loud",
        format: ({ inputs }) => ({ messages: [{ role: "user", content: JSON.stringify(inputs).toUpperCase() }] }),
        parser: ChatAdapter.adapter.parser
      })
      const { request } = yield* Preview.make(Module.withAdapter(answer, loud), ask)
      assert.strictEqual(request.messages[0]?.content, "{\"QUESTION\":\"WHAT IS 2 + 2?\"}")
    }).pipe(unasked))
})

describe("tokens", () => {
  it("of texts of several kinds, about", () => {
    assert.strictEqual(Preview.tokensOfText(""), 0)
    assert.strictEqual(Preview.tokensOfText("What is the capital of France?"), 7)
    assert.strictEqual(Preview.tokensOfText("12345678"), 3)
    assert.strictEqual(Preview.tokensOfText("internationalisation"), 2)
    assert.strictEqual(Preview.tokensOfText("a\n\nb"), 3)
    assert.strictEqual(Preview.tokensOfText("人工知能"), 4)
    assert.strictEqual(Preview.tokensOfText("мир"), 2)
  })

  it("of a request count every turn, tools and the response format, and no image", () => {
    const turn = (content: LanguageModel.Message["content"]): LanguageModel.Request => ({
      messages: [{ role: "user", content }]
    })
    const alone = Preview.tokensOf(turn("word"))
    assert.strictEqual(alone, 8)
    assert.strictEqual(
      Preview.tokensOf(turn([{ _tag: "Text", text: "word" }, { _tag: "Image", url: "data:image/png;base64,AAAA" }])),
      alone
    )
    assert.isAbove(
      Preview.tokensOf({ ...turn("word"), tools: [{ name: "search", parameters: { type: "object" } }] }),
      alone
    )
    assert.isAbove(
      Preview.tokensOf({
        ...turn("word"),
        responseFormat: { _tag: "JsonSchema", name: "answer", schema: { type: "object" }, strict: true }
      }),
      alone
    )
  })

  it("takes one pass for a text of any length", () => {
    assert.strictEqual(Preview.tokensOfText("a".repeat(1_000_000)), 100_000)
    assert.strictEqual(Preview.tokensOfText("{".repeat(1_000_000)), 500_000)
  })
})

describe("format", () => {
  it.effect("shows a request as text", () =>
    Effect.gen(function*() {
      const previewed = yield* Preview.make(Module.withAdapter(answer, JsonAdapter.adapter), ask)
      assert.strictEqual(
        Preview.format(previewed),
        `test/untouchable, about ${previewed.tokens} tokens
temperature 0.5
answer: JSON, strictly by the schema {"type":"object","properties":{"answer":{"type":"integer","description":"an integer"}},"required":["answer"],"additionalProperties":false}

── system ──
Input fields:
- \`question\` (string)

Output fields:
- \`answer\` (integer)

Answer with one JSON object and nothing else, with these keys in this order:
{
  "answer": integer
}

Task:
${Signature.parse("question -> answer: int").instructions}

── user ──
[[ ## question ## ]]
What is 2 + 2?

Answer with one JSON object with the key "answer" (integer).`
      )
    }).pipe(unasked))

  it("shows parts, tools and calls of tools", () => {
    const text = Preview.format({
      path: "a.b",
      model: "test/model",
      tokens: 1,
      request: {
        messages: [
          {
            role: "user",
            content: [{ _tag: "Text", text: "See:" }, { _tag: "Image", url: `data:${"A".repeat(100)}` }]
          },
          { role: "assistant", content: "", toolCalls: [{ id: "1", name: "search", arguments: "{\"q\":1}" }] },
          { role: "tool", toolCallId: "1", content: "nothing" }
        ],
        tools: [{ name: "search", description: "Finds.", parameters: { type: "object" } }],
        toolChoice: { name: "search" },
        responseFormat: { _tag: "JsonObject" }
      }
    })
    for (
      const part of [
        "a.b → test/model, about 1 tokens",
        "answer: any JSON object",
        "tool search: Finds. {\"type\":\"object\"}",
        "tool choice: {\"name\":\"search\"}",
        "See:\n[image data:AAA",
        "… of 105 characters]",
        "── assistant ──\n\n[calls search({\"q\":1})]",
        "── tool (1) ──\nnothing"
      ]
    ) assert.include(text, part)
  })
})
