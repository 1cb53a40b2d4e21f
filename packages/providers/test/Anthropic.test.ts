import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError, MalformedResponse } from "@effect-dspy/core/LanguageModelError"
import { FetchHttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Either, Layer, Stream } from "effect"
import { inspect } from "node:util"
import * as Anthropic from "../src/Anthropic.ts"
import * as FaultServer from "./FaultServer.ts"
import * as promises from "./promises.ts"
import { canary, collect, type Handler, observe, question, textOf } from "./promises.ts"

const modelName = "claude-haiku-4-5"

const over = promises.over(Anthropic.make, modelName)

const generateFails = (handler: Handler) => over(handler, (model) => Effect.flip(model.generate(question)))

const streamFails = (handler: Handler) => over(handler, (model) => Effect.flip(Stream.runDrain(model.stream(question))))

// =============================================================================
// Answers of the server
// =============================================================================

const message = (content: unknown, more: object = {}) => ({
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-haiku-4-5-20251001",
  content,
  stop_reason: "end_turn",
  stop_sequence: null,
  usage: { input_tokens: 12, output_tokens: 3 },
  ...more
})

const text = (text: string, more: object = {}) => ({ type: "text", text, ...more })

const named = (frame: { readonly type: string; readonly [key: string]: unknown }): string =>
  `event: ${frame.type}\n${FaultServer.event(frame)}`

const start = named({
  type: "message_start",
  message: message([], { stop_reason: null, usage: { input_tokens: 12, output_tokens: 1 } })
})

const open = (index: number, content_block: object) => named({ type: "content_block_start", index, content_block })

const piece = (index: number, delta: object) => named({ type: "content_block_delta", index, delta })

const shut = (index: number) => named({ type: "content_block_stop", index })

const delta = (stop_reason: unknown, usage: unknown = { output_tokens: 3 }, more: object = {}) =>
  named({ type: "message_delta", delta: { stop_reason, stop_sequence: null, ...more }, usage })

const stop = named({ type: "message_stop" })

const textDelta = (text: string) => ({ type: "text_delta", text })

const paris = start + open(0, text("")) + named({ type: "ping" }) + piece(0, textDelta("Par")) +
  piece(0, textDelta("is"))

const whole = paris + shut(0) + delta("end_turn") + stop

const answers = (content: unknown, more: object = {}, headers: Record<string, string> = {}) =>
  over(FaultServer.json(200, message(content, more), headers), (model) => model.generate(question))

/** What is sent for a request. */
const sent = (
  request: Partial<LanguageModel.Request>,
  options: Partial<Anthropic.Options> = {}
): Effect.Effect<Record<string, any>> =>
  promises.over((given) => Anthropic.make({ ...given, ...options }), modelName)(
    FaultServer.json(200, message([text("ok")])),
    (model, server) =>
      Effect.map(Effect.orDie(model.generate({ ...question, ...request })), () => server.requests[0]!.json)
  )

const folded = (content: string, request = question) =>
  over(FaultServer.sse(content), (model) => LanguageModel.fold(model.stream(request), model.id))

// =============================================================================

describe("Anthropic", () => {
  describe("requests", () => {
    it.live("carry everything that a request can say", () =>
      over(FaultServer.json(200, message([text("ok")])), (model, server) =>
        Effect.gen(function*() {
          yield* model.generate({
            messages: [
              { role: "system", content: "Be brief." },
              {
                role: "user",
                content: [
                  { _tag: "Text", text: "What is this?" },
                  { _tag: "Image", url: "data:image/png;base64,AA==", detail: "low" },
                  { _tag: "Image", url: "https://example.com/a.png" }
                ]
              },
              {
                role: "assistant",
                content: "I look.",
                toolCalls: [
                  { id: "c1", name: "look", arguments: "{\"at\":1}" },
                  { id: "c2", name: "look", arguments: "{\"at\":" },
                  { id: "c3", name: "look", arguments: "" }
                ]
              },
              { role: "tool", content: "a cat", toolCallId: "c1" },
              { role: "tool", content: [{ _tag: "Image", url: "data:image/png;base64,AA==" }], toolCallId: "c2" },
              { role: "user", content: "Well?" }
            ],
            settings: {
              temperature: 0.5,
              topP: 0.9,
              maxTokens: 100,
              stop: ["END"],
              n: 1,
              rollout: "never sent",
              extensions: { top_k: 40, temperature: 0.25, model: "another", stream: true, messages: [], system: "x" }
            },
            tools: [{ name: "look", description: "Looks.", parameters: { type: "object", properties: {} } }],
            toolChoice: { name: "look" }
          })
          const request = server.requests[0]!
          assert.strictEqual(request.method, "POST")
          assert.strictEqual(request.path, "/v1/messages")
          assert.strictEqual(request.headers["x-api-key"], canary)
          assert.strictEqual(request.headers["anthropic-version"], "2023-06-01")
          assert.isUndefined(request.headers.authorization)
          assert.strictEqual(request.headers["content-type"], "application/json")
          assert.strictEqual(request.headers["accept-encoding"], "identity")
          const image = { type: "image", source: { type: "base64", media_type: "image/png", data: "AA==" } }
          assert.deepStrictEqual(request.json, {
            model: modelName,
            max_tokens: 100,
            system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }],
            messages: [
              {
                role: "user",
                content: [
                  { type: "text", text: "What is this?" },
                  image,
                  { type: "image", source: { type: "url", url: "https://example.com/a.png" } }
                ]
              },
              {
                role: "assistant",
                content: [
                  { type: "text", text: "I look." },
                  { type: "tool_use", id: "c1", name: "look", input: { at: 1 } },
                  { type: "tool_use", id: "c2", name: "look", input: { arguments: "{\"at\":" } },
                  { type: "tool_use", id: "c3", name: "look", input: {}, cache_control: { type: "ephemeral" } }
                ]
              },
              {
                role: "user",
                content: [
                  { type: "tool_result", tool_use_id: "c1", content: [{ type: "text", text: "a cat" }] },
                  { type: "tool_result", tool_use_id: "c2", content: [image] },
                  { type: "text", text: "Well?" }
                ]
              }
            ],
            temperature: 0.25,
            top_k: 40,
            top_p: 0.9,
            stop_sequences: ["END"],
            tools: [{ name: "look", description: "Looks.", input_schema: { type: "object", properties: {} } }],
            tool_choice: { type: "tool", name: "look" }
          })
        })))

    it.live("say nothing that was not asked for but how much to write", () =>
      Effect.gen(function*() {
        const messages = [{ role: "user", content: [{ type: "text", text: "What is the capital of France?" }] }]
        assert.deepStrictEqual(yield* sent({}), { model: modelName, max_tokens: 16_384, messages })
        for (const [choice, type] of [["auto", "auto"], ["none", "none"], ["required", "any"]] as const) {
          assert.deepStrictEqual((yield* sent({ toolChoice: choice }))["tool_choice"], { type })
        }
        yield* over(FaultServer.sse(whole), (model, server) =>
          Effect.map(collect(model), () =>
            assert.deepStrictEqual(server.requests[0]!.json, {
              model: modelName,
              max_tokens: 16_384,
              messages,
              stream: true
            })))
      }))

    it.live("ask for reasoning as the model's generation wants it", () =>
      Effect.gen(function*() {
        const asked = (model: string, settings: LanguageModel.Settings, request: Partial<LanguageModel.Request> = {}) =>
          Effect.map(
            sent({ ...request, settings }, { model }),
            ({ max_tokens, output_config, thinking }) => ({ max_tokens, output_config, thinking })
          )
        const none = { output_config: undefined, thinking: undefined }
        const budget = (budget_tokens: number) => ({ ...none, thinking: { type: "enabled", budget_tokens } })
        assert.deepStrictEqual(yield* asked("claude-sonnet-4-5-20250929", { reasoningEffort: "low" }), {
          ...budget(2048),
          max_tokens: 18_432
        })
        assert.deepStrictEqual(yield* asked("claude-3-7-sonnet-latest", { reasoningEffort: "high" }), {
          ...budget(16_384),
          max_tokens: 20_480
        })
        assert.deepStrictEqual(yield* asked("claude-opus-4-6", { reasoningEffort: "high", maxTokens: 4000 }), {
          ...budget(2000),
          max_tokens: 4000
        })
        assert.deepStrictEqual(yield* asked("claude-opus-4-6", { reasoningEffort: "high", maxTokens: 500 }), {
          ...none,
          max_tokens: 500
        })
        assert.deepStrictEqual(
          yield* asked("claude-opus-4-6", { reasoningEffort: "low" }, { toolChoice: "required" }),
          { ...none, max_tokens: 18_432 }
        )
        assert.deepStrictEqual(yield* asked("claude-haiku-4-5", { reasoningEffort: "none" }), {
          ...none,
          max_tokens: 16_384
        })
        for (const model of ["claude-opus-4-8", "claude-sonnet-5-5", "claude-mythos-preview"]) {
          assert.deepStrictEqual(yield* asked(model, { reasoningEffort: "minimal" }), {
            max_tokens: 17_408,
            output_config: { effort: "low" },
            thinking: { type: "adaptive", display: "summarized" }
          })
          const forced = yield* asked(model, { reasoningEffort: "high" }, { toolChoice: { name: "look" } })
          assert.deepStrictEqual([forced.thinking, forced.output_config], [undefined, { effort: "high" }])
          assert.deepStrictEqual(yield* asked(model, { reasoningEffort: "none" }), {
            ...none,
            max_tokens: 16_384,
            thinking: { type: "disabled" }
          })
        }
        const told = { thinking: { type: "adaptive" }, output_config: { effort: "max" } }
        assert.deepStrictEqual(yield* asked("claude-opus-4-6", { extensions: told }), { ...told, max_tokens: 16_384 })
        assert.strictEqual((yield* asked("deepseek-chat", {})).max_tokens, 4096)
        assert.strictEqual((yield* asked("anthropic.claude-3-haiku-20240307-v1:0", {})).max_tokens, 4096)
      }))

    it.live("that the API cannot meet are refused before anything is sent", () =>
      over(FaultServer.json(200, message([text("ok")])), (model, server) =>
        Effect.gen(function*() {
          for (const settings of [{ n: 2 }, { seed: 7 }, { logprobs: 0 }]) {
            const [name] = Object.keys(settings)
            const request = { ...question, settings }
            for (
              const failure of [
                yield* Effect.flip(model.generate(request)),
                yield* Effect.flip(Stream.runDrain(model.stream(request)))
              ]
            ) {
              assert.deepStrictEqual([failure.reason._tag, failure.attempts], ["InvalidRequest", 0])
              assert.include(failure.message, `\`${name}\``)
            }
          }
          assert.strictEqual(server.requests.length, 0)
        })))

    const schema = { type: "object", properties: { answer: { type: "string" } }, required: ["answer"] }
    const responseFormat = { _tag: "JsonSchema", name: "my answer!", schema, strict: true } as const

    it.live("hold the answer to a schema, natively", () =>
      Effect.gen(function*() {
        const format = { type: "json_schema", schema }
        const body = yield* sent({ responseFormat, settings: { extensions: { output_config: { effort: "low" } } } })
        assert.deepStrictEqual(body["output_config"], { format, effort: "low" })
        assert.isUndefined(body["tools"])
        const free = yield* sent({ responseFormat: { _tag: "JsonObject" } })
        assert.isUndefined(free["output_config"])
      }))

    it.live("or by a tool that takes the answer, whose arguments are the text", () =>
      Effect.gen(function*() {
        const old = promises.over((options) => Anthropic.make({ ...options, model: "claude-3-5-haiku-latest" }), "")
        const use = (input: unknown) => ({ type: "tool_use", id: "t1", name: "my_answer_", input })
        const body = message([use({ answer: "Paris" })], { stop_reason: "tool_use" })
        const stream = start + open(0, use({})) + piece(0, { type: "input_json_delta", partial_json: "" }) +
          piece(0, { type: "input_json_delta", partial_json: "{\"answer\":" }) +
          piece(0, { type: "input_json_delta", partial_json: "\"Paris\"}" }) + shut(0) + delta("tool_use") + stop
        for (
          const [script, streamed] of [[FaultServer.json(200, body), false], [FaultServer.sse(stream), true]] as const
        ) {
          yield* old(script, (model, server) =>
            Effect.gen(function*() {
              const request = { ...question, responseFormat }
              const response = streamed
                ? yield* LanguageModel.fold(model.stream(request), model.id)
                : yield* model.generate(request)
              const { tool_choice, tools } = server.requests[0]!.json
              assert.deepStrictEqual(tool_choice, { type: "tool", name: "my_answer_" })
              assert.deepStrictEqual(tools.map((tool: any) => [tool.name, tool.input_schema]), [["my_answer_", schema]])
              assert.deepStrictEqual(response.outputs, [
                { text: "{\"answer\":\"Paris\"}", toolCalls: [], finishReason: "stop" }
              ])
            }))
        }
        const own = { name: "look", parameters: { type: "object" } }
        const busy = yield* sent({ responseFormat, tools: [own] }, { model: "claude-3-5-haiku-latest" })
        assert.deepStrictEqual(busy["tools"].map((tool: any) => tool.name), ["look"])
        assert.isUndefined(busy["tool_choice"])
      }))

    it.live("mark what the server is to keep: all that comes before the last turn", () =>
      Effect.gen(function*() {
        const marks = (body: unknown): number => JSON.stringify(body).split("cache_control").length - 1
        const tools = [{ name: "look", parameters: { type: "object" } }]
        const user = { role: "user", content: "a" } as const
        const assistant = { role: "assistant", content: "b" } as const
        const system = { role: "system", content: "c" } as const
        const demonstrated = yield* sent({ messages: [system, user, assistant, user] })
        assert.isDefined(demonstrated["system"][0].cache_control)
        assert.isDefined(demonstrated["messages"][1].content[0].cache_control)
        assert.strictEqual(marks(demonstrated), 2)
        const toolsOnly = yield* sent({ messages: [user], tools })
        assert.isDefined(toolsOnly["tools"][0].cache_control)
        assert.strictEqual(marks(toolsOnly), 1)
        assert.strictEqual(marks(yield* sent({ messages: [system, user], tools })), 1)
        assert.strictEqual(marks(yield* sent({ messages: [user] })), 0)
        assert.strictEqual(
          marks(yield* sent({ messages: [system, user, assistant, user], tools }, { cache: "off" })),
          0
        )
        const search = { type: "web_search_20250305", name: "web_search" }
        const both = yield* sent({ messages: [user], tools, settings: { extensions: { tools: [search] } } })
        assert.deepStrictEqual(both["tools"].map((tool: any) => tool.name), ["look", "web_search"])
        const thought = {
          ...assistant,
          continuation: {
            provider: "anthropic",
            parts: [
              { type: "text", length: 1 },
              { type: "redacted_thinking", data: "b3BhcXVl" }
            ]
          }
        }
        assert.strictEqual(marks(yield* sent({ messages: [user, thought, user] })), 0)
        const long = yield* sent({ messages: [system, user] }, { cache: "1h" })
        assert.deepStrictEqual(long["system"][0].cache_control, { type: "ephemeral", ttl: "1h" })
      }))

    it.live("offer documents to be cited, where citations are possible", () =>
      Effect.gen(function*() {
        const messages: LanguageModel.Request["messages"] = [{
          role: "user",
          content: [
            { _tag: "Text", text: "Grass is green.", document: { title: "Botany" } },
            { _tag: "Text", text: "What is grass?" }
          ]
        }]
        const document = {
          type: "document",
          source: { type: "text", media_type: "text/plain", data: "Grass is green." },
          title: "Botany"
        }
        const asked = { type: "text", text: "What is grass?" }
        assert.deepStrictEqual((yield* sent({ messages }))["messages"][0].content, [
          { ...document, citations: { enabled: true } },
          asked
        ])
        assert.deepStrictEqual((yield* sent({ messages, responseFormat }))["messages"][0].content, [document, asked])
      }))

    it.effect("name the model by its host, and say what it can do", () =>
      Effect.gen(function*() {
        const model = yield* Anthropic.make({ model: modelName })
        assert.strictEqual(model.id, "anthropic/claude-haiku-4-5")
        assert.deepStrictEqual(model.capabilities, {
          streaming: true,
          tools: true,
          images: true,
          audio: false,
          files: true,
          reasoning: true,
          citations: true,
          responseFormat: "jsonSchema",
          schemaLimits: { recursive: false, unions: 16 },
          multipleOutputs: false
        })
        const proxied = yield* Anthropic.make({
          model: "m",
          baseUrl: "http://localhost:4000/anthropic/v1/",
          capabilities: { images: false }
        })
        assert.strictEqual(proxied.id, "localhost:4000/m")
        assert.isFalse(proxied.capabilities.images)
        assert.strictEqual(proxied.endpoint, "http://localhost:4000/anthropic/v1/messages#m")
      }).pipe(Effect.provide(FetchHttpClient.layer)))
  })

  describe("whole answers", () => {
    it.live("become a response with usage, model and request id", () =>
      Effect.gen(function*() {
        const response = yield* answers([text("Par"), text("is")], {
          usage: {
            input_tokens: 20,
            output_tokens: 9,
            cache_read_input_tokens: 1600,
            cache_creation_input_tokens: 300,
            output_tokens_details: { thinking_tokens: 4 }
          }
        }, { "request-id": "req-7" })
        assert.deepStrictEqual(response, {
          outputs: [{ text: "Paris", toolCalls: [], finishReason: "stop" }],
          usage: {
            inputTokens: 1920,
            outputTokens: 9,
            cachedInputTokens: 1600,
            cacheWriteInputTokens: 300,
            reasoningTokens: 4
          },
          model: "claude-haiku-4-5-20251001",
          requestId: "req-7"
        })
      }))

    it.live("say why the model stopped", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [wire: unknown, reason: LanguageModel.FinishReason]> = [
          ["end_turn", "stop"],
          ["stop_sequence", "stop"],
          ["max_tokens", "length"],
          ["model_context_window_exceeded", "length"],
          ["pause_turn", "length"],
          ["refusal", "refusal"],
          ["something_new", "unknown"],
          [null, "unknown"],
          [7, "unknown"]
        ]
        for (const [stop_reason, reason] of cases) {
          const response = yield* answers([text("x")], { stop_reason })
          assert.deepStrictEqual([response.outputs[0]!.text, response.outputs[0]!.finishReason], ["x", reason])
        }
        const refused = yield* answers([], {
          stop_reason: "refusal",
          stop_details: { type: "refusal", category: "cyber", explanation: "This is about an exploit." }
        })
        assert.deepStrictEqual(
          [refused.outputs[0]!.text, refused.outputs[0]!.finishReason],
          ["This is about an exploit.", "refusal"]
        )
      }))

    it.live("keep tool calls, reasoning and everything else that has to be sent back", () =>
      Effect.gen(function*() {
        const thinking = { type: "thinking", thinking: "Let me see.", signature: "c2ln" }
        const redacted = { type: "redacted_thinking", data: "b3BhcXVl" }
        const search = { type: "server_tool_use", id: "s1", name: "web_search", input: { query: "weather" } }
        const found = { type: "web_search_tool_result", tool_use_id: "s1", content: [{ url: "https://example.com" }] }
        const use = { type: "tool_use", id: "t1", name: "weather", input: { city: "Oslo" } }
        const content = [thinking, redacted, text("I ask."), search, found, text(" Now."), use]
        const response = yield* answers(content, { stop_reason: "tool_use" })
        const output = response.outputs[0]!
        assert.strictEqual(output.text, "I ask. Now.")
        assert.strictEqual(output.reasoning, "Let me see.")
        assert.deepStrictEqual(output.toolCalls, [{ id: "t1", name: "weather", arguments: "{\"city\":\"Oslo\"}" }])
        assert.strictEqual(output.finishReason, "toolCalls")

        const turn = LanguageModel.toMessage(output)
        const result = { role: "tool", toolCallId: "t1", content: "rain" } as const
        const again = yield* sent({ messages: [...question.messages, turn, result] }, { cache: "off" })
        assert.deepStrictEqual(again["messages"][1].content, content)
        const kept = yield* sent({ messages: [...question.messages, turn, result] })
        assert.deepStrictEqual(kept["messages"][1].content.at(-1), { ...use, cache_control: { type: "ephemeral" } })

        const edited = yield* sent({ messages: [...question.messages, { ...turn, content: "Hm." }, result] }, {
          cache: "off"
        })
        assert.deepStrictEqual(edited["messages"][1].content, [thinking, redacted, search, found, text("Hm."), use])
        const foreign = { ...turn, continuation: { provider: "gemini", parts: [thinking] } }
        const ignored = yield* sent({ messages: [...question.messages, foreign, result] }, { cache: "off" })
        assert.deepStrictEqual(ignored["messages"][1].content, [text("I ask. Now."), use])
      }))

    it.live("carry what they rest on, with its place in the text", () =>
      Effect.gen(function*() {
        const place = {
          type: "char_location",
          document_index: 0,
          start_char_index: 0,
          end_char_index: 15
        }
        const response = yield* answers([
          text("It is "),
          text("green", { citations: [{ ...place, cited_text: "Grass is green.", document_title: "Botany" }, 7] }),
          text("!", {
            citations: [{
              type: "web_search_result_location",
              cited_text: "so it is",
              title: "Lawns",
              url: "https://example.com/lawns"
            }]
          })
        ])
        assert.strictEqual(response.outputs[0]!.text, "It is green!")
        assert.deepStrictEqual(response.outputs[0]!.citations, [
          { start: 6, end: 11, quote: "Grass is green.", title: "Botany", location: place },
          {
            start: 11,
            end: 12,
            quote: "so it is",
            title: "Lawns",
            url: "https://example.com/lawns",
            location: { type: "web_search_result_location" }
          }
        ])
      }))

    it.live("survive a usage that makes no sense", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [usage: unknown, read: LanguageModel.Usage]> = [
          [null, {}],
          ["many", {}],
          [[], {}],
          [{ input_tokens: -1, output_tokens: "3" }, {}],
          [{ input_tokens: 1.5, output_tokens: 2 ** 60, output_tokens_details: 7 }, {}],
          [{ input_tokens: 4, output_tokens: null, cache_read_input_tokens: null }, { inputTokens: 4 }],
          [{ cache_read_input_tokens: 4 }, { cachedInputTokens: 4 }]
        ]
        for (const [usage, read] of cases) {
          const response = yield* answers([text("x")], { usage })
          assert.deepStrictEqual(response.usage, read, JSON.stringify(usage))
        }
      }))

    it.live("that are none are refused with the reason", () =>
      Effect.gen(function*() {
        const ok = (type: string, body: string) => FaultServer.answer(200, type, body)
        const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`
        const cases: ReadonlyArray<readonly [script: FaultServer.Script, kind: MalformedResponse["kind"]]> = [
          [ok("application/json", ""), "empty"],
          [FaultServer.html(200), "html"],
          [ok("application/json", "{\"content\": [{\"ty"), "json"],
          [ok("application/json", "[]"), "shape"],
          [ok("application/json", "{}"), "shape"],
          [FaultServer.json(200, message(null)), "shape"],
          [FaultServer.json(200, message([null])), "shape"],
          [FaultServer.json(200, message([{ type: "tool_use", id: "a", input: {} }])), "shape"],
          [FaultServer.json(200, message([{ type: "tool_use", id: "a", name: "f", input: 7 }])), "shape"],
          [
            ok(
              "application/json",
              JSON.stringify(message([{ type: "tool_use", name: "f", input: "DEEP" }])).replace(
                "\"DEEP\"",
                `{"x":${deep}}`
              )
            ),
            "shape"
          ],
          [
            ok("application/json", JSON.stringify(message([{ type: "new", x: "DEEP" }])).replace("\"DEEP\"", deep)),
            "shape"
          ]
        ]
        for (const [script, kind] of cases) {
          const { reason, retryable } = yield* generateFails(script)
          assert.strictEqual(reason._tag === "MalformedResponse" && reason.kind, kind, inspect(script).slice(0, 300))
          assert.isFalse(retryable)
        }
      }))
  })

  describe("streams", () => {
    it.live("pass every delta on, then say that the answer is complete", () =>
      over(FaultServer.sse(whole), (model) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* collect(model), [
            { _tag: "TextDelta", index: 0, text: "Par" },
            { _tag: "TextDelta", index: 0, text: "is" },
            { _tag: "Finish", index: 0, reason: "stop" },
            {
              _tag: "Completed",
              usage: { inputTokens: 12, outputTokens: 3 },
              model: "claude-haiku-4-5-20251001",
              requestId: "req-1"
            }
          ])
        })))

    it.live("are told by the type of the data, named or not; what is unknown is ignored", () =>
      Effect.gen(function*() {
        const unnamed = whole.replaceAll(/^event: .*\n/gm, "")
        assert.notInclude(unnamed, "event:")
        const noise = [
          ": keep-alive\n\n",
          "event: ping\ndata: {\"type\":\"ping\"}\n\n",
          "event: ping\ndata: not JSON\n\n",
          named({ type: "content_block_forecast", index: 0 }),
          piece(0, { type: "delta_of_tomorrow", x: 1 }),
          open(7, { type: "block_of_tomorrow" }),
          piece(7, { type: "input_json_delta", partial_json: "{}" }),
          shut(7),
          shut(99)
        ].join("")
        const reference = yield* folded(whole)
        assert.deepStrictEqual(yield* folded(unnamed), reference)
        const noisy = yield* folded(whole.replace(shut(0), noise + shut(0)))
        assert.deepStrictEqual(
          { ...noisy, outputs: noisy.outputs.map(({ continuation: _, ...output }) => output) },
          reference
        )
      }))

    it.live("carry reasoning, calls and citations, and all that has to be sent back", () =>
      Effect.gen(function*() {
        const response = yield* folded([
          start,
          open(0, { type: "thinking", thinking: "", signature: "" }),
          piece(0, { type: "thinking_delta", thinking: "Let me " }),
          piece(0, { type: "thinking_delta", thinking: "see." }),
          piece(0, { type: "signature_delta", signature: "c2ln" }),
          shut(0),
          open(1, { type: "redacted_thinking", data: "b3BhcXVl" }),
          shut(1),
          open(2, text("")),
          piece(2, textDelta("It is ")),
          shut(2),
          open(3, text("", { citations: [] })),
          piece(3, {
            type: "citations_delta",
            citation: { type: "char_location", cited_text: "rain", document_title: "Log" }
          }),
          piece(3, textDelta("rain")),
          shut(3),
          open(4, { type: "server_tool_use", id: "s1", name: "web_search", input: {} }),
          piece(4, { type: "input_json_delta", partial_json: "{\"query\"" }),
          piece(4, { type: "input_json_delta", partial_json: ":\"x\"}" }),
          shut(4),
          open(5, { type: "tool_use", id: "t1", name: "weather", input: {} }),
          piece(5, { type: "input_json_delta", partial_json: "" }),
          piece(5, { type: "input_json_delta", partial_json: "{\"city\":" }),
          piece(5, { type: "input_json_delta", partial_json: "\"Oslo\"}" }),
          shut(5),
          open(6, { type: "tool_use", id: "t2", name: "now", input: {} }),
          shut(6),
          delta("tool_use", { input_tokens: 12, output_tokens: 30, cache_read_input_tokens: 5 }),
          stop
        ].join(""))
        assert.deepStrictEqual(response.outputs, [{
          text: "It is rain",
          reasoning: "Let me see.",
          toolCalls: [
            { id: "t1", name: "weather", arguments: "{\"city\":\"Oslo\"}" },
            { id: "t2", name: "now", arguments: "{}" }
          ],
          finishReason: "toolCalls",
          citations: [{ start: 6, end: 10, quote: "rain", title: "Log", location: { type: "char_location" } }],
          continuation: {
            provider: "anthropic",
            parts: [
              { type: "thinking", thinking: "Let me see.", signature: "c2ln" },
              { type: "redacted_thinking", data: "b3BhcXVl" },
              { type: "text", length: 6 },
              { type: "text", length: 4 },
              { type: "server_tool_use", id: "s1", name: "web_search", input: { query: "x" } },
              { type: "tool_use" },
              { type: "tool_use" }
            ]
          }
        }])
        assert.deepStrictEqual(response.usage, { inputTokens: 17, outputTokens: 30, cachedInputTokens: 5 })
      }))

    it.live("are complete with message_stop, and with nothing less", () =>
      Effect.gen(function*() {
        const complete: ReadonlyArray<readonly [content: string, finish: LanguageModel.FinishReason]> = [
          [whole, "stop"],
          [whole.trimEnd(), "stop"],
          [whole + paris, "stop"],
          [paris + delta("max_tokens") + stop, "length"],
          [paris + shut(0) + stop, "unknown"]
        ]
        for (const [content, reason] of complete) {
          const response = yield* folded(content)
          assert.deepStrictEqual([response.outputs[0]!.text, response.outputs[0]!.finishReason], ["Paris", reason])
        }
        for (const content of [paris, paris + shut(0), paris + shut(0) + delta("end_turn"), `${paris}data: {"ty`]) {
          const { deltas, end } = yield* over(FaultServer.sse(content), (model) => observe(model))
          assert.strictEqual(textOf(deltas), "Paris")
          const { reason, retryable } = Either.getOrThrow(Either.flip(end))
          assert.strictEqual(reason._tag === "StreamTruncated" && reason.partial, "Paris", content)
          assert.isTrue(retryable)
        }
        const nothing = yield* streamFails(FaultServer.sse(stop))
        assert.strictEqual(nothing.reason._tag, "MalformedResponse")
      }))

    it.live(
      "end at message_stop and close the connection, though the server keeps it open",
      () =>
        over([...FaultServer.sse(whole), FaultServer.stall], (model, server) =>
          Effect.gen(function*() {
            assert.strictEqual(textOf(yield* collect(model)), "Paris")
            yield* server.requests[0]!.closed
          })),
      10_000
    )

    it.live("that are answered with a document are decoded as one, and documents with a stream", () =>
      Effect.gen(function*() {
        const deltas = yield* over(FaultServer.json(200, message([text("Paris")])), (model) => collect(model))
        assert.deepStrictEqual([textOf(deltas), deltas.at(-1)?._tag], ["Paris", "Completed"])
        const response = yield* over(FaultServer.sse(whole), (model) => model.generate(question))
        assert.strictEqual(response.outputs[0]!.text, "Paris")
      }))

    it.live("that report an error are failures, with what was delivered before", () =>
      Effect.gen(function*() {
        const table: ReadonlyArray<readonly [type: string, tag: LanguageModelError["reason"]["_tag"]]> = [
          ["overloaded_error", "Overloaded"],
          ["rate_limit_error", "RateLimited"],
          ["api_error", "ServerError"],
          ["timeout_error", "ServerError"],
          ["invalid_request_error", "InvalidRequest"],
          ["authentication_error", "Authentication"],
          ["permission_error", "Permission"],
          ["not_found_error", "NotFound"],
          ["request_too_large", "RequestTooLarge"],
          ["billing_error", "QuotaExhausted"]
        ]
        for (const [type, tag] of table) {
          const failed = named({ type: "error", error: { type, message: "no room" }, request_id: "r" })
          for (const form of [failed, failed.replace(/^event: .*\n/, "")]) {
            const before = yield* streamFails(FaultServer.sse(form))
            assert.strictEqual(before.reason._tag, tag, type)
            const { deltas, end } = yield* over(FaultServer.sse(paris + form + stop), (model) => observe(model))
            assert.strictEqual(textOf(deltas), "Paris")
            const { reason } = Either.getOrThrow(Either.flip(end))
            assert.isTrue(
              reason._tag === "StreamFailed" && reason.kind === "errorEvent" && reason.partial === "Paris" &&
                reason.description.includes(tag) && reason.description.includes("no room"),
              type
            )
          }
        }
      }))

    it.live("with a frame that cannot be read fail, and never skip it", () =>
      Effect.gen(function*() {
        const frames = [
          "event: content_block_delta\ndata: {\"type\": oops}\n\n",
          "data: {\"type\": oops}\n\n",
          "data: 7\n\n",
          "data: {}\n\n",
          piece(5, textDelta("x")),
          piece(0, { type: "text_delta", text: 7 }),
          piece(0, { type: "thinking_delta", thinking: "x" }),
          piece(0, { type: "input_json_delta" }),
          named({ type: "content_block_delta", index: 0, delta: null }),
          named({ type: "content_block_start", index: 1, content_block: null }),
          open(0, text("")),
          open(-1, text("")),
          open(1.5, text("")),
          open(1_000_000, text("")),
          open(1, { type: "tool_use", id: "t", input: {} })
        ]
        for (const frame of frames) {
          const { deltas, end } = yield* over(FaultServer.sse(whole.replace(shut(0), frame + shut(0))), (model) =>
            observe(model))
          assert.strictEqual(textOf(deltas), "Paris", frame)
          const { reason } = Either.getOrThrow(Either.flip(end))
          assert.strictEqual(
            reason._tag === "StreamFailed" && reason.kind === "malformedFrame" && reason.partial,
            "Paris",
            frame
          )
        }
      }))

    // As short as can be: every byte of it is a request.
    const short = (...blocks: ReadonlyArray<string>) =>
      [FaultServer.event({ type: "message_start", message: {} }), ...blocks, delta("end_turn", null), stop].join("")
    const frames = short(open(0, text("")), piece(0, textDelta("Pär")), piece(0, textDelta("is 🙂")))
    const thought = open(0, { type: "thinking" }) + piece(0, { type: "thinking_delta", thinking: "hm 🙂" }) + shut(0)
    promises.isNeverSilentlyCut(over, frames, "Päris 🙂")
    promises.isTheSameInAnyPieces(over, short(thought, open(1, text("")), piece(1, textDelta("Pär"))))
    promises.isClosedWhenInterrupted(over, paris)
  })

  describe("failures of the server", () => {
    const error = (type: string, message = "told why", more: object = {}) => ({
      type: "error",
      error: { type, message, ...more },
      request_id: "req_1"
    })

    const table: ReadonlyArray<
      readonly [script: FaultServer.Script, tag: LanguageModelError["reason"]["_tag"], retryable: boolean]
    > = [
      [FaultServer.json(400, error("invalid_request_error")), "InvalidRequest", false],
      [
        FaultServer.json(400, error("invalid_request_error", "prompt is too long: 210000 tokens")),
        "ContextWindowExceeded",
        false
      ],
      [
        FaultServer.json(
          400,
          error("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2")
        ),
        "ContextWindowExceeded",
        false
      ],
      [
        FaultServer.json(400, error("invalid_request_error", "Your credit balance is too low to go on.")),
        "QuotaExhausted",
        false
      ],
      [
        FaultServer.json(400, error("invalid_request_error", "You have reached your specified API usage limits.")),
        "QuotaExhausted",
        false
      ],
      [FaultServer.json(401, error("authentication_error")), "Authentication", false],
      [FaultServer.json(402, error("billing_error")), "QuotaExhausted", false],
      [FaultServer.json(403, error("permission_error")), "Permission", false],
      [FaultServer.json(404, error("not_found_error")), "NotFound", false],
      [FaultServer.json(413, error("request_too_large")), "RequestTooLarge", false],
      [FaultServer.html(413), "RequestTooLarge", false],
      [FaultServer.json(429, error("rate_limit_error")), "RateLimited", true],
      [
        FaultServer.json(
          429,
          error("rate_limit_error", "Spent.", { details: { error_code: "enforced_spend_limit_reached" } })
        ),
        "QuotaExhausted",
        false
      ],
      [
        FaultServer.json(
          429,
          error("rate_limit_error", "This would exceed your account's monthly spend limit.", { details: null })
        ),
        "QuotaExhausted",
        false
      ],
      [FaultServer.json(500, error("api_error")), "ServerError", true],
      [FaultServer.json(504, error("timeout_error")), "ServerError", true],
      [FaultServer.json(529, error("overloaded_error")), "Overloaded", true],
      [FaultServer.html(529), "Overloaded", true],
      [FaultServer.json(200, error("overloaded_error")), "Overloaded", true]
    ]

    it.live("have the reason that their status and body tell", () =>
      Effect.forEach(table, ([script, tag, retryable]) =>
        Effect.gen(function*() {
          for (const failure of [yield* generateFails(script), yield* streamFails(script)]) {
            assert.deepStrictEqual([failure.reason._tag, failure.retryable], [tag, retryable], failure.message)
            assert.strictEqual(failure.model, `${failure.provider}/${modelName}`)
          }
        }), { discard: true }))

    it.live("carry the request id and the time the server asked to wait", () =>
      Effect.gen(function*() {
        const limited = error("rate_limit_error")
        const waits = (headers: Record<string, string>) =>
          Effect.map(
            generateFails(FaultServer.json(429, limited, { "request-id": "req_7", ...headers })),
            ({ reason, requestId }) => {
              assert.strictEqual(requestId, "req_7")
              return reason._tag === "RateLimited" ? reason.retryAfter : "no"
            }
          )
        assert.strictEqual(yield* waits({ "retry-after": "86400" }), 86_400_000)
        const date = "Wed, 21 Oct 2026 07:28:00 GMT"
        assert.strictEqual(
          yield* waits({
            date,
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2026-10-21T07:28:09Z",
            "anthropic-ratelimit-tokens-remaining": "4000",
            "anthropic-ratelimit-tokens-reset": "2026-10-21T07:29:00Z"
          }),
          9000
        )
        assert.isUndefined(yield* waits({}))
      }))
  })

  promises.keepsSecrets(over, (canary, prompt) => [
    FaultServer.sse(whole),
    FaultServer.sse(paris + stop),
    FaultServer.json(200, message([text("ok")])),
    FaultServer.json(429, { type: "error", error: { type: "rate_limit_error", message: `${canary}: ${prompt}` } }),
    FaultServer.sse(
      paris + named({ type: "error", error: { type: "api_error", message: `${prompt} ${canary}` } })
    )
  ])

  it.live("layerConfig reads every option from the configuration", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() => FaultServer.json(200, message([text("ok")])))
      const Model = Anthropic.layerConfig({
        model: Config.string("MODEL"),
        baseUrl: Config.string("BASE_URL"),
        apiKey: Config.redacted("API_KEY"),
        cache: Config.literal("5m", "1h", "off")("CACHE"),
        headers: Config.map(Config.string("BETA"), (beta) => ({ "anthropic-beta": beta }))
      }).pipe(
        Layer.provide(NodeHttpClient.layerUndici),
        Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(
          new Map([
            ["MODEL", "claude-x"],
            ["BASE_URL", server.url],
            ["API_KEY", "secret"],
            ["CACHE", "1h"],
            ["BETA", "something-2026"]
          ])
        )))
      )
      yield* Effect.provide(
        LanguageModel.generate({ messages: [{ role: "system", content: "Hi." }, ...question.messages] }),
        Model
      )
      const { headers, json } = server.requests[0]!
      assert.deepStrictEqual([headers["x-api-key"], headers["anthropic-beta"]], ["secret", "something-2026"])
      assert.strictEqual(json.system[0].cache_control.ttl, "1h")
    }).pipe(Effect.scoped))
})
