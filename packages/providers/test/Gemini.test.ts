import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError, MalformedResponse } from "@effect-dspy/core/LanguageModelError"
import { FetchHttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Either, Layer, Stream } from "effect"
import { inspect } from "node:util"
import * as Gemini from "../src/Gemini.ts"
import * as FaultServer from "./FaultServer.ts"
import * as promises from "./promises.ts"
import { canary, collect, type Handler, observe, question, textOf } from "./promises.ts"

const modelName = "gemini-3-flash"

const over = promises.over(Gemini.make, modelName)

const generateFails = (handler: Handler) => over(handler, (model) => Effect.flip(model.generate(question)))

const streamFails = (handler: Handler) => over(handler, (model) => Effect.flip(Stream.runDrain(model.stream(question))))

// =============================================================================
// Answers of the server
// =============================================================================

const usage = { promptTokenCount: 12, candidatesTokenCount: 3, totalTokenCount: 15 }

const response = (parts: unknown, finishReason: unknown = "STOP", more: object = {}, candidate: object = {}) => ({
  candidates: [{ content: { role: "model", parts }, finishReason, ...candidate }],
  usageMetadata: usage,
  modelVersion: "gemini-3-flash-001",
  responseId: "resp-1",
  ...more
})

const text = (text: string, more: object = {}) => ({ text, ...more })

const call = (name: string, args: unknown, more: object = {}) => ({ functionCall: { name, args, ...more } })

const frame = (...parts: ReadonlyArray<unknown>) => FaultServer.event(response(parts, null))

const last = (finishReason: string, more: object = {}, candidate: object = {}) =>
  FaultServer.event(response([text("")], finishReason, more, candidate))

const paris = frame(text("Par")) + frame(text("is"))

const whole = paris + last("STOP")

const answers = (parts: unknown, finishReason?: unknown, more: object = {}, candidate: object = {}) =>
  over(FaultServer.json(200, response(parts, finishReason, more, candidate)), (model) => model.generate(question))

/** What is sent for a request. */
const sent = (
  request: Partial<LanguageModel.Request>,
  model = modelName
): Effect.Effect<Record<string, any>> =>
  promises.over(Gemini.make, model)(
    FaultServer.json(200, response([text("ok")])),
    (model, server) =>
      Effect.map(Effect.orDie(model.generate({ ...question, ...request })), () => server.requests[0]!.json)
  )

const folded = (content: string, request = question) =>
  over(FaultServer.sse(content), (model) => LanguageModel.fold(model.stream(request), model.id))

// =============================================================================

describe("Gemini", () => {
  describe("requests", () => {
    const tools = [{ name: "look", description: "Looks.", parameters: { type: "object", properties: {} } }]

    it.live("carry everything that a request can say", () =>
      over(FaultServer.json(200, response([text("ok")])), (model, server) =>
        Effect.gen(function*() {
          yield* model.generate({
            messages: [
              { role: "system", content: "Be brief." },
              {
                role: "user",
                content: [
                  { _tag: "Text", text: "What is this?", document: { title: "x" } },
                  { _tag: "Image", url: "data:image/png;base64,AA==", detail: "low" },
                  { _tag: "Image", url: "https://example.com/a.png" }
                ]
              },
              {
                role: "assistant",
                content: "I look.",
                toolCalls: [
                  { id: "c1", name: "look", arguments: "{\"at\":1}" },
                  { id: "call_1", name: "listen", arguments: "{\"at\":" }
                ]
              },
              { role: "tool", content: "a cat", toolCallId: "c1" },
              {
                role: "tool",
                content: [{ _tag: "Text", text: "so" }, { _tag: "Image", url: "data:image/png;base64,AA==" }],
                toolCallId: "call_1"
              },
              { role: "user", content: "Well?" }
            ],
            settings: {
              temperature: 0.5,
              topP: 0.9,
              maxTokens: 100,
              stop: ["END"],
              seed: 7,
              n: 2,
              logprobs: 2,
              rollout: "never sent",
              extensions: {
                generationConfig: { topK: 40, temperature: 0.25 },
                tools: [{ googleSearch: {} }],
                safetySettings: [],
                contents: [],
                systemInstruction: "x"
              }
            },
            tools,
            toolChoice: { name: "look" }
          })
          const request = server.requests[0]!
          assert.strictEqual(request.method, "POST")
          assert.strictEqual(request.path, "/v1beta/models/gemini-3-flash:generateContent")
          assert.strictEqual(request.headers["x-goog-api-key"], canary)
          assert.isUndefined(request.headers.authorization)
          assert.strictEqual(request.headers["accept-encoding"], "identity")
          const image = { inlineData: { mimeType: "image/png", data: "AA==" } }
          assert.deepStrictEqual(request.json, {
            systemInstruction: { parts: [{ text: "Be brief." }] },
            contents: [
              {
                role: "user",
                parts: [{ text: "What is this?" }, image, { fileData: { fileUri: "https://example.com/a.png" } }]
              },
              {
                role: "model",
                parts: [
                  { text: "I look." },
                  {
                    functionCall: { id: "c1", name: "look", args: { at: 1 } },
                    thoughtSignature: "skip_thought_signature_validator"
                  },
                  { functionCall: { name: "listen", args: { arguments: "{\"at\":" } } }
                ]
              },
              {
                role: "user",
                parts: [
                  { functionResponse: { id: "c1", name: "look", response: { output: "a cat" } } },
                  { functionResponse: { name: "listen", response: { output: "so" } } },
                  image,
                  { text: "Well?" }
                ]
              }
            ],
            tools: [
              {
                functionDeclarations: [
                  { name: "look", description: "Looks.", parametersJsonSchema: { type: "object", properties: {} } }
                ]
              },
              { googleSearch: {} }
            ],
            toolConfig: { functionCallingConfig: { mode: "ANY", allowedFunctionNames: ["look"] } },
            safetySettings: [],
            generationConfig: {
              temperature: 0.25,
              topP: 0.9,
              topK: 40,
              maxOutputTokens: 100,
              stopSequences: ["END"],
              seed: 7,
              candidateCount: 2,
              responseLogprobs: true,
              logprobs: 2
            }
          })
        })))

    it.live("say nothing that was not asked for, and stream from the right path", () =>
      Effect.gen(function*() {
        const contents = [{ role: "user", parts: [{ text: "What is the capital of France?" }] }]
        assert.deepStrictEqual(yield* sent({}), { contents })
        for (const [choice, mode] of [["auto", "AUTO"], ["none", "NONE"], ["required", "ANY"]] as const) {
          assert.deepStrictEqual((yield* sent({ toolChoice: choice }))["toolConfig"], {
            functionCallingConfig: { mode }
          })
        }
        yield* over(FaultServer.sse(whole), (model, server) =>
          Effect.map(collect(model), () => {
            assert.deepStrictEqual(server.requests[0]!.json, { contents })
            assert.strictEqual(server.requests[0]!.path, "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse")
          }))
      }))

    it.live("go to the right path for every spelling of base URL and model", () =>
      Effect.gen(function*() {
        const server = yield* FaultServer.make(() => FaultServer.json(200, response([text("ok")])))
        const vertex = "/v1/projects/p/locations/l/publishers/google"
        for (
          const [base, model] of [["/", "a"], ["/v1beta/", "models/a"], [vertex, "a"], [
            "/v1",
            "tunedModels/a"
          ]] as const
        ) {
          yield* Effect.flatMap(Gemini.make({ model, baseUrl: server.url + base }), (model) => model.generate(question))
        }
        assert.deepStrictEqual(server.requests.map((request) => request.path), [
          "/v1beta/models/a:generateContent",
          "/v1beta/models/a:generateContent",
          `${vertex}/models/a:generateContent`,
          "/v1/tunedModels/a:generateContent"
        ])
      }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

    it.live("ask for reasoning as the model's generation wants it", () =>
      Effect.gen(function*() {
        type Effort = NonNullable<LanguageModel.Settings["reasoningEffort"]>
        const asked = (model: string, reasoningEffort: Effort) =>
          Effect.map(sent({ settings: { reasoningEffort } }, model), (body) => body["generationConfig"]?.thinkingConfig)
        assert.deepStrictEqual(yield* asked("gemini-2.5-flash", "none"), { thinkingBudget: 0 })
        assert.deepStrictEqual(yield* asked("gemini-2.5-pro", "high"), {
          thinkingBudget: 24_576,
          includeThoughts: true
        })
        for (
          const model of ["gemini-3-pro-preview", "gemini-3.8-flash", "gemini-flash-latest", "models/gemini-3-pro"]
        ) {
          assert.deepStrictEqual(yield* asked(model, "none"), { thinkingLevel: "LOW" })
          assert.deepStrictEqual(yield* asked(model, "medium"), { thinkingLevel: "MEDIUM", includeThoughts: true })
        }
        for (const model of ["gemini-2.0-flash", "gemini-1.5-pro", "gemma-3-27b-it"]) {
          assert.isUndefined(yield* asked(model, "high"))
        }
      }))

    it.live("hold the answer to a schema, or to JSON, beside tools only where that is possible", () =>
      Effect.gen(function*() {
        const schema = { type: "object", properties: { answer: { type: "string" } } }
        const responseFormat = { _tag: "JsonSchema", name: "a", schema, strict: true } as const
        const held = { responseMimeType: "application/json", responseJsonSchema: schema }
        assert.deepStrictEqual((yield* sent({ responseFormat }))["generationConfig"], held)
        assert.deepStrictEqual((yield* sent({ responseFormat, tools }))["generationConfig"], held)
        assert.deepStrictEqual((yield* sent({ responseFormat }, "gemini-2.5-pro"))["generationConfig"], held)
        assert.isUndefined((yield* sent({ responseFormat, tools }, "gemini-2.5-pro"))["generationConfig"])
        assert.deepStrictEqual((yield* sent({ responseFormat: { _tag: "JsonObject" } }))["generationConfig"], {
          responseMimeType: "application/json"
        })
      }))

    it.effect("name the model by its host, and say what it can do", () =>
      Effect.gen(function*() {
        const model = yield* Gemini.make({ model: modelName })
        assert.strictEqual(model.id, "gemini/gemini-3-flash")
        assert.deepStrictEqual(model.capabilities, {
          streaming: true,
          tools: true,
          images: true,
          audio: true,
          files: true,
          reasoning: true,
          citations: false,
          responseFormat: "jsonSchema",
          schemaLimits: { recursive: false },
          multipleOutputs: false
        })
        const proxied = yield* Gemini.make({
          model: "m",
          baseUrl: "http://localhost:4000",
          capabilities: { tools: false }
        })
        assert.strictEqual(proxied.id, "localhost:4000/m")
        assert.isFalse(proxied.capabilities.tools)
        assert.strictEqual(proxied.endpoint, "http://localhost:4000/v1beta/models/m:generateContent#m")
      }).pipe(Effect.provide(FetchHttpClient.layer)))
  })

  describe("whole answers", () => {
    it.live("become a response with usage, model and request id", () =>
      Effect.gen(function*() {
        const answer = yield* answers([text("Par"), text("is")], "STOP", {
          usageMetadata: {
            promptTokenCount: 20,
            candidatesTokenCount: 9,
            thoughtsTokenCount: 30,
            cachedContentTokenCount: 16,
            toolUsePromptTokenCount: 5
          }
        })
        assert.deepStrictEqual(answer, {
          outputs: [{ text: "Paris", toolCalls: [], finishReason: "stop" }],
          usage: { inputTokens: 25, outputTokens: 39, cachedInputTokens: 16, reasoningTokens: 30 },
          model: "gemini-3-flash-001",
          requestId: "resp-1"
        })
      }))

    it.live("say why the model stopped", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [wire: unknown, reason: LanguageModel.FinishReason]> = [
          ["STOP", "stop"],
          ["MAX_TOKENS", "length"],
          ["SAFETY", "contentFilter"],
          ["RECITATION", "contentFilter"],
          ["BLOCKLIST", "contentFilter"],
          ["PROHIBITED_CONTENT", "contentFilter"],
          ["SPII", "contentFilter"],
          ["LANGUAGE", "unknown"],
          ["OTHER", "unknown"],
          ["SOMETHING_NEW", "unknown"],
          [null, "unknown"],
          [7, "unknown"]
        ]
        for (const [wire, reason] of cases) {
          assert.strictEqual((yield* answers([text("x")], wire)).outputs[0]!.finishReason, reason, String(wire))
        }
        const silent = yield* answers(undefined, "SAFETY")
        assert.deepStrictEqual(silent.outputs, [{ text: "", toolCalls: [], finishReason: "contentFilter" }])
        const bare = yield* over(FaultServer.json(200, { candidates: [{ finishReason: "SAFETY" }] }), (model) =>
          model.generate(question))
        assert.deepStrictEqual([bare.outputs[0]!.finishReason, bare.usage, bare.model], [
          "contentFilter",
          {},
          modelName
        ])
      }))

    it.live("keep calls, reasoning, and everything that has to be sent back", () =>
      Effect.gen(function*() {
        const ran = { executableCode: { language: "PYTHON", code: "1+1" } }
        const result = { codeExecutionResult: { outcome: "OUTCOME_OK", output: "2" } }
        const parts = [
          text("Let me see.", { thought: true }),
          text("hidden", { thought: true, thoughtSignature: "c2ln" }),
          text("I "),
          text("ask."),
          ran,
          result,
          text(" Now.", { thoughtSignature: "c2lnMg==" }),
          { ...call("weather", { city: "Oslo" }, { id: "fc-1" }), thoughtSignature: "c2lnMw==" },
          call("weather", { city: "Rome" }),
          call("now", undefined),
          {}
        ]
        const answer = yield* answers(parts)
        const output = answer.outputs[0]!
        assert.strictEqual(output.text, "I ask. Now.")
        assert.strictEqual(output.reasoning, "Let me see.hidden")
        assert.deepStrictEqual(output.toolCalls, [
          { id: "fc-1", name: "weather", arguments: "{\"city\":\"Oslo\"}" },
          { id: "call_1", name: "weather", arguments: "{\"city\":\"Rome\"}" },
          { id: "call_2", name: "now", arguments: "{}" }
        ])
        assert.strictEqual(output.finishReason, "toolCalls")

        const turn = LanguageModel.toMessage(output)
        const results = ["fc-1", "call_1", "call_2"].map((toolCallId) =>
          ({ role: "tool", toolCallId, content: "x" }) as const
        )
        const again = yield* sent({ messages: [...question.messages, turn, ...results] })
        assert.deepStrictEqual(again["contents"][1].parts, [
          parts[1],
          text("I ask."),
          ran,
          result,
          parts[6],
          parts[7],
          parts[8],
          call("now", {})
        ])
        assert.deepStrictEqual(
          again["contents"][2].parts.map((part: any) => [part.functionResponse.id, part.functionResponse.name]),
          [["fc-1", "weather"], [undefined, "weather"], [undefined, "now"]]
        )

        const edited = yield* sent({ messages: [...question.messages, { ...turn, content: "Hm." }, ...results] })
        assert.deepStrictEqual(edited["contents"][1].parts[0], text("Hm."))
        assert.strictEqual(edited["contents"][1].parts[1].thoughtSignature, "skip_thought_signature_validator")
        const older = yield* sent({ messages: [...question.messages, { ...turn, content: "Hm." }] }, "gemini-2.5-pro")
        assert.isUndefined(older["contents"][1].parts[1].thoughtSignature)
        assert.isUndefined((yield* answers([text("plain"), call("f", {})])).outputs[0]!.continuation)
      }))

    it.live("name the function of a result by the latest call of that id", () =>
      Effect.gen(function*() {
        const turn = (name: string) =>
          ({ role: "assistant", content: "", toolCalls: [{ id: "call_0", name, arguments: "{}" }] }) as const
        const result = (toolCallId: string) => ({ role: "tool", toolCallId, content: "x" }) as const
        const body = yield* sent({
          messages: [...question.messages, turn("a"), result("call_0"), turn("b"), result("call_0"), result("lost")]
        })
        const names = body["contents"].flatMap((content: any) => content.parts).flatMap((part: any) =>
          part.functionResponse?.name ?? []
        )
        assert.deepStrictEqual(names, ["a", "b", "lost"])
      }))

    it.live("hold several outputs, and the probabilities of their tokens", () =>
      Effect.gen(function*() {
        const logprobsResult = {
          chosenCandidates: [{ token: "a", logProbability: -0.5 }, { token: 7 }],
          topCandidates: [{ candidates: [{ token: "a", logProbability: -0.5 }, { token: "b", logProbability: -2 }] }]
        }
        const answer = yield* over(
          FaultServer.json(200, {
            candidates: [
              { content: { parts: [text("a")] }, finishReason: "STOP", logprobsResult },
              { index: 1, content: { parts: [text("b")] }, finishReason: "MAX_TOKENS" }
            ]
          }),
          (model) => model.generate({ ...question, settings: { n: 2 } })
        )
        const top = [{ token: "a", logprob: -0.5 }, { token: "b", logprob: -2 }]
        assert.deepStrictEqual(answer.outputs, [
          { text: "a", toolCalls: [], finishReason: "stop", logprobs: [{ token: "a", logprob: -0.5, top }] },
          { text: "b", toolCalls: [], finishReason: "length" }
        ])
      }))

    it.live("carry what they rest on, with its place in the text", () =>
      Effect.gen(function*() {
        const answer = yield* answers([text("Pärs is "), text("grün. 🙂 Ja.")], "STOP", {}, {
          citationMetadata: {
            citationSources: [
              { endIndex: 5, uri: "https://example.com/a", license: "mit" },
              { startIndex: 9, endIndex: 15, uri: "https://example.com/b" },
              { startIndex: 9, endIndex: 1000, uri: "https://example.com/beyond" },
              null
            ]
          },
          groundingMetadata: {
            groundingChunks: [
              { web: { uri: "https://example.com/c", title: "C" } },
              { retrievedContext: { uri: "gs://d", title: "D", text: "the words of D" } }
            ],
            groundingSupports: [
              { segment: { startIndex: 9, endIndex: 15, text: "grün." }, groundingChunkIndices: [0, 1, 9] },
              { segment: { startIndex: 0, endIndex: 3, text: "Ja." }, groundingChunkIndices: [0] },
              { segment: { startIndex: 0, endIndex: 3, text: "nowhere" }, groundingChunkIndices: [1] }
            ]
          }
        })
        const { citations, text: said } = answer.outputs[0]!
        assert.deepStrictEqual(citations, [
          { start: 0, end: 4, url: "https://example.com/a" },
          { start: 8, end: 13, url: "https://example.com/b" },
          { url: "https://example.com/beyond" },
          { start: 8, end: 13, title: "C", url: "https://example.com/c" },
          { start: 8, end: 13, quote: "the words of D", title: "D", url: "gs://d" },
          { start: 17, end: 20, title: "C", url: "https://example.com/c" },
          { quote: "the words of D", title: "D", url: "gs://d" }
        ])
        assert.strictEqual(said.slice(8, 13), "grün.")
        assert.strictEqual(said.slice(17, 20), "Ja.")
      }))

    it.live("survive a usage that makes no sense", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [usage: unknown, read: LanguageModel.Usage]> = [
          [null, {}],
          ["many", {}],
          [{ promptTokenCount: -1, candidatesTokenCount: "3" }, {}],
          [{ promptTokenCount: 4, candidatesTokenCount: 1.5, thoughtsTokenCount: null }, { inputTokens: 4 }]
        ]
        for (const [usageMetadata, read] of cases) {
          assert.deepStrictEqual((yield* answers([text("x")], "STOP", { usageMetadata })).usage, read)
        }
      }))

    it.live("that are none are refused with the reason", () =>
      Effect.gen(function*() {
        const ok = (body: string) => FaultServer.answer(200, "application/json", body)
        const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`
        const dug = (part: object) => ok(JSON.stringify(response([part])).replace("\"DEEP\"", deep))
        const cases: ReadonlyArray<readonly [script: FaultServer.Script, kind: MalformedResponse["kind"]]> = [
          [ok(""), "empty"],
          [FaultServer.html(200), "html"],
          [ok("{\"candidates\": [{\"con"), "json"],
          [ok("[]"), "shape"],
          [ok("{}"), "shape"],
          [ok("{\"candidates\":[]}"), "shape"],
          [ok("{\"candidates\":{}}"), "shape"],
          [ok("{\"candidates\":[7]}"), "shape"],
          [FaultServer.json(200, response({})), "shape"],
          [FaultServer.json(200, response([7])), "shape"],
          [FaultServer.json(200, response([{ text: 7 }])), "shape"],
          [FaultServer.json(200, response([call("", {})])), "shape"],
          [FaultServer.json(200, response([call("f", [])])), "shape"],
          [FaultServer.json(200, response([text("x")], "STOP", {}, { index: 500 })), "shape"],
          [dug(call("f", { x: "DEEP" })), "shape"],
          [dug({ something: "DEEP" }), "shape"]
        ]
        for (const [script, kind] of cases) {
          const { reason, retryable } = yield* generateFails(script)
          assert.strictEqual(reason._tag === "MalformedResponse" && reason.kind, kind, inspect(script).slice(0, 300))
          assert.isFalse(retryable)
        }
      }))

    it.live("to a prompt that was blocked are failures, and so are calls that cannot be read", () =>
      Effect.gen(function*() {
        const blocked = { promptFeedback: { blockReason: "PROHIBITED_CONTENT" }, usageMetadata: usage }
        for (const script of [FaultServer.json(200, blocked), FaultServer.sse(FaultServer.event(blocked))]) {
          for (const failure of [yield* generateFails(script), yield* streamFails(script)]) {
            assert.strictEqual(failure.reason._tag, "ContentFiltered")
            assert.include(failure.message, "PROHIBITED_CONTENT")
            assert.isFalse(failure.retryable)
          }
        }
        const malformed = yield* generateFails(
          FaultServer.json(200, response([], "MALFORMED_FUNCTION_CALL", {}, { finishMessage: "print(weather(" }))
        )
        assert.deepStrictEqual([malformed.reason._tag, malformed.retryable], ["ServerError", true])
        assert.include(malformed.message, "MALFORMED_FUNCTION_CALL")
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
              model: "gemini-3-flash-001",
              requestId: "req-1"
            }
          ])
        })))

    it.live("carry reasoning, calls and signatures, and the last usage", () =>
      Effect.gen(function*() {
        const answer = yield* folded([
          FaultServer.event({ usageMetadata: { promptTokenCount: 12 } }),
          frame(text("Let me ", { thought: true })),
          frame(text("see.", { thought: true })),
          ": keep-alive\n\n",
          "event: something.new\ndata: tick\n\n",
          frame(text("I ")),
          frame(text("ask.", { thoughtSignature: "dGV4dA==" })),
          frame({ ...call("weather", { city: "Oslo" }), thoughtSignature: "c2ln" }),
          frame(call("now", {})),
          FaultServer.event(response([text("", { thoughtSignature: "ZW5k" })], "STOP", {
            usageMetadata: { candidatesTokenCount: 3, thoughtsTokenCount: 7 }
          }))
        ].join(""))
        assert.deepStrictEqual(answer.outputs, [{
          text: "I ask.",
          reasoning: "Let me see.",
          toolCalls: [
            { id: "call_0", name: "weather", arguments: "{\"city\":\"Oslo\"}" },
            { id: "call_1", name: "now", arguments: "{}" }
          ],
          finishReason: "toolCalls",
          continuation: {
            provider: "gemini",
            parts: [
              { length: 2 },
              { length: 4, thoughtSignature: "dGV4dA==" },
              { call: true, thoughtSignature: "c2ln" },
              { call: true },
              { length: 0, thoughtSignature: "ZW5k" }
            ]
          }
        }])
        assert.deepStrictEqual(answer.usage, { inputTokens: 12, outputTokens: 10, reasoningTokens: 7 })
        const again = yield* sent({ messages: [...question.messages, LanguageModel.toMessage(answer.outputs[0]!)] })
        assert.deepStrictEqual(again["contents"][1].parts, [
          text("I "),
          text("ask.", { thoughtSignature: "dGV4dA==" }),
          { ...call("weather", { city: "Oslo" }), thoughtSignature: "c2ln" },
          call("now", {}),
          text("", { thoughtSignature: "ZW5k" })
        ])
      }))

    it.live("are complete with a reason to stop, and with nothing less", () =>
      Effect.gen(function*() {
        const stopping = FaultServer.event(response([text("Par")], "STOP")) +
          FaultServer.event(response([text("is")], "MAX_TOKENS"))
        const complete: ReadonlyArray<readonly [content: string, finish: LanguageModel.FinishReason]> = [
          [whole, "stop"],
          [whole.trimEnd(), "stop"],
          [paris + last("MAX_TOKENS"), "length"],
          [last("FINISH_REASON_UNSPECIFIED") + whole, "stop"],
          [paris + FaultServer.event("[DONE]"), "unknown"],
          [whole + FaultServer.event({ usageMetadata: usage }), "stop"],
          // Some versions of the API say with every frame that it is the last.
          [stopping, "length"]
        ]
        for (const [content, reason] of complete) {
          const answer = yield* folded(content)
          assert.deepStrictEqual([answer.outputs[0]!.text, answer.outputs[0]!.finishReason], ["Paris", reason], content)
        }
        const unspecified = paris + last("FINISH_REASON_UNSPECIFIED")
        for (
          const content of [
            paris,
            unspecified,
            `${paris}data: {"candi`,
            paris + FaultServer.event({ usageMetadata: usage })
          ]
        ) {
          const { deltas, end } = yield* over(FaultServer.sse(content), (model) => observe(model))
          assert.strictEqual(textOf(deltas), "Paris")
          const { reason, retryable } = Either.getOrThrow(Either.flip(end))
          assert.strictEqual(reason._tag === "StreamTruncated" && reason.partial, "Paris", content)
          assert.isTrue(retryable)
        }
        const two = { ...question, settings: { n: 2 } }
        const half = yield* over(FaultServer.sse(whole), (model) => Effect.flip(Stream.runDrain(model.stream(two))))
        assert.strictEqual(half.reason._tag, "StreamTruncated")
      }))

    it.live("that are answered with a document are decoded as one, and documents with a stream", () =>
      Effect.gen(function*() {
        const deltas = yield* over(FaultServer.json(200, response([text("Paris")])), (model) => collect(model))
        assert.deepStrictEqual([textOf(deltas), deltas.at(-1)?._tag], ["Paris", "Completed"])
        const answer = yield* over(FaultServer.sse(whole), (model) => model.generate(question))
        assert.strictEqual(answer.outputs[0]!.text, "Paris")
      }))

    it.live("that report an error are failures, with what was delivered before", () =>
      Effect.gen(function*() {
        const failed = FaultServer.event({ error: { code: 503, message: "no room", status: "UNAVAILABLE" } })
        const before = yield* streamFails(FaultServer.sse(failed))
        assert.strictEqual(before.reason._tag, "Overloaded")
        const misread = FaultServer.event(response([], "MALFORMED_FUNCTION_CALL"))
        for (const [form, tag] of [[failed, "Overloaded"], [misread, "MALFORMED_FUNCTION_CALL"]] as const) {
          const { deltas, end } = yield* over(FaultServer.sse(paris + form), (model) => observe(model))
          assert.strictEqual(textOf(deltas), "Paris")
          const { reason } = Either.getOrThrow(Either.flip(end))
          assert.isTrue(
            reason._tag === "StreamFailed" && reason.kind === "errorEvent" && reason.partial === "Paris" &&
              reason.description.includes(tag),
            inspect(reason)
          )
        }
      }))

    it.live("with a frame that cannot be read fail, and never skip it", () =>
      Effect.gen(function*() {
        const frames = [
          "data: {\"candidates\": oops}\n\n",
          "data: 7\n\n",
          "data: []\n\n",
          FaultServer.event({ candidates: {} }),
          FaultServer.event({ candidates: [null] }),
          FaultServer.event({ candidates: [{ index: -1 }] }),
          FaultServer.event({ candidates: [{ index: "0" }] }),
          FaultServer.event({ candidates: Array.from({ length: 129 }, () => ({})) }),
          FaultServer.event({ candidates: [{ content: { parts: "x" } }] }),
          frame(null),
          frame({ text: {} }),
          frame(call("f", 7))
        ]
        for (const broken of frames) {
          const { deltas, end } = yield* over(FaultServer.sse(paris + broken + last("STOP")), (model) => observe(model))
          assert.strictEqual(textOf(deltas), "Paris", broken)
          const { reason } = Either.getOrThrow(Either.flip(end))
          assert.strictEqual(
            reason._tag === "StreamFailed" && reason.kind === "malformedFrame" && reason.partial,
            "Paris",
            broken.slice(0, 100)
          )
        }
      }))

    // As short as can be: every byte of it is a request.
    const short = (...parts: ReadonlyArray<unknown>) =>
      parts.map((part) => FaultServer.event({ candidates: [{ content: { parts: [part] } }] })).join("") +
      FaultServer.event({ candidates: [{ finishReason: "STOP" }] })
    promises.isNeverSilentlyCut(
      over,
      short(text("Pär"), text("is 🙂")) + FaultServer.event({ responseId: "r".repeat(40) }),
      "Päris 🙂"
    )
    promises.isTheSameInAnyPieces(over, short(text("hm 🙂", { thought: true }), text("Pär"), call("f", { x: "ä" })))
    promises.isClosedWhenInterrupted(over, paris)
  })

  describe("failures of the server", () => {
    const error = (code: number, status: string, message = "told why", details: unknown = undefined) => ({
      error: { code, message, status, details }
    })
    const type = "type.googleapis.com/google.rpc."
    const retryInfo = (retryDelay: unknown) => ({ "@type": `${type}RetryInfo`, retryDelay })
    const quota = (quotaId: string, more: object = {}) => ({
      "@type": `${type}QuotaFailure`,
      violations: [{ quotaMetric: "m", quotaId, ...more }]
    })
    const exhausted = (...details: ReadonlyArray<unknown>) =>
      FaultServer.json(429, error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", details))
    const perMinute = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", { quotaValue: "15" })

    const table: ReadonlyArray<
      readonly [script: FaultServer.Script, tag: LanguageModelError["reason"]["_tag"], retryable: boolean]
    > = [
      [FaultServer.json(400, error(400, "INVALID_ARGUMENT")), "InvalidRequest", false],
      [FaultServer.json(400, error(400, "FAILED_PRECONDITION")), "InvalidRequest", false],
      [
        FaultServer.json(
          400,
          error(400, "INVALID_ARGUMENT", "API key not valid.", [
            { "@type": `${type}ErrorInfo`, reason: "API_KEY_INVALID", domain: "googleapis.com" }
          ])
        ),
        "Authentication",
        false
      ],
      [
        FaultServer.json(
          400,
          error(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8).")
        ),
        "ContextWindowExceeded",
        false
      ],
      [FaultServer.json(401, error(401, "UNAUTHENTICATED")), "Authentication", false],
      [FaultServer.json(403, error(403, "PERMISSION_DENIED")), "Permission", false],
      [FaultServer.json(404, error(404, "NOT_FOUND")), "NotFound", false],
      [exhausted(), "RateLimited", true],
      [exhausted(perMinute, retryInfo("34s")), "RateLimited", true],
      [
        exhausted(quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), retryInfo("34s")),
        "QuotaExhausted",
        false
      ],
      [
        exhausted(quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", { quotaValue: "0" })),
        "QuotaExhausted",
        false
      ],
      [
        FaultServer.json(
          429,
          error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for metric: a.com/b, limit: 0, model: c")
        ),
        "QuotaExhausted",
        false
      ],
      [FaultServer.json(429, [error(429, "RESOURCE_EXHAUSTED")]), "RateLimited", true],
      [FaultServer.json(500, error(500, "INTERNAL")), "ServerError", true],
      [FaultServer.json(503, error(503, "UNAVAILABLE", "The model is overloaded.")), "Overloaded", true],
      [FaultServer.json(504, error(504, "DEADLINE_EXCEEDED")), "ServerError", true],
      [FaultServer.html(502), "ServerError", true],
      [FaultServer.json(200, error(503, "UNAVAILABLE")), "Overloaded", true]
    ]

    it.live("have the reason that their status and body tell", () =>
      Effect.forEach(table, ([script, tag, retryable]) =>
        Effect.gen(function*() {
          for (const failure of [yield* generateFails(script), yield* streamFails(script)]) {
            assert.deepStrictEqual([failure.reason._tag, failure.retryable], [tag, retryable], failure.message)
          }
        }), { discard: true }))

    it.live("carry the time the server asked to wait", () =>
      Effect.gen(function*() {
        const waits = (details: ReadonlyArray<unknown>, headers: Record<string, string> = {}) =>
          Effect.map(
            generateFails(FaultServer.json(429, error(429, "RESOURCE_EXHAUSTED", "Slow down.", details), headers)),
            ({ reason }) => reason._tag === "RateLimited" ? reason.retryAfter : "no"
          )
        assert.strictEqual(yield* waits([perMinute, retryInfo("34s")]), 34_000)
        assert.strictEqual(yield* waits([retryInfo("20.5s")]), 20_500)
        assert.strictEqual(yield* waits([retryInfo("34s")], { "retry-after": "7" }), 7000)
        assert.isUndefined(yield* waits([retryInfo("soon"), retryInfo(7), null, 7]))
        const busy = FaultServer.json(503, error(503, "UNAVAILABLE", "Busy.", [retryInfo("2s")]))
        const { reason } = yield* generateFails(busy)
        assert.strictEqual(reason._tag === "Overloaded" && reason.retryAfter, 2000)
      }))
  })

  promises.keepsSecrets(over, (canary, prompt) => [
    FaultServer.sse(whole),
    FaultServer.sse(paris, FaultServer.event("[DONE]")),
    FaultServer.json(200, response([text("ok")])),
    FaultServer.json(200, { promptFeedback: { blockReason: "OTHER", blockReasonMessage: `${canary} ${prompt}` } }),
    FaultServer.json(200, response([], "MALFORMED_FUNCTION_CALL", {}, { finishMessage: `${prompt} ${canary}` })),
    FaultServer.json(429, { error: { code: 429, message: `${canary}: ${prompt}`, status: canary } })
  ])

  it.live("layerConfig reads every option from the configuration", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() => FaultServer.json(200, response([text("ok")])))
      const Model = Gemini.layerConfig({
        model: Config.string("MODEL"),
        baseUrl: Config.string("BASE_URL"),
        apiKey: Config.redacted("API_KEY"),
        headers: Config.map(Config.string("PROJECT"), (project) => ({ "x-goog-user-project": project }))
      }).pipe(
        Layer.provide(NodeHttpClient.layerUndici),
        Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(
          new Map([["MODEL", "gemini-x"], ["BASE_URL", server.url], ["API_KEY", "secret"], ["PROJECT", "p"]])
        )))
      )
      yield* Effect.provide(LanguageModel.generate(question), Model)
      const { headers, path } = server.requests[0]!
      assert.deepStrictEqual(
        [headers["x-goog-api-key"], headers["x-goog-user-project"], path],
        ["secret", "p", "/v1beta/models/gemini-x:generateContent"]
      )
    }).pipe(Effect.scoped))
})
