import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError, MalformedResponse } from "@effect-dspy/core/LanguageModelError"
import { FetchHttpClient, type HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Deferred, Effect, Either, Exit, Fiber, Layer, Option, Redacted, Stream } from "effect"
import { inspect } from "node:util"
import { gzipSync } from "node:zlib"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "./FaultServer.ts"
import * as promises from "./promises.ts"
import { canary, collect, type Handler, observe, question, textOf } from "./promises.ts"

// =============================================================================
// A model over a scripted server
// =============================================================================

const over = <A, E>(
  handler: Handler,
  use: (model: LanguageModel.Service, server: FaultServer.FaultServer) => Effect.Effect<A, E>,
  options: Partial<OpenAiCompatible.Options> & { readonly client?: Layer.Layer<HttpClient.HttpClient> } = {}
): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    const server = yield* FaultServer.make(typeof handler === "function" ? handler : () => handler)
    const model = yield* OpenAiCompatible.make({
      model: "test-model",
      baseUrl: server.url,
      apiKey: Redacted.make(canary),
      ...options
    })
    return yield* use(model, server)
  }).pipe(Effect.scoped, Effect.provide(options.client ?? NodeHttpClient.layerUndici))

const generateFails = (handler: Handler) => over(handler, (model) => Effect.flip(model.generate(question)))

const streamFails = (handler: Handler) => over(handler, (model) => Effect.flip(Stream.runDrain(model.stream(question))))

// =============================================================================
// Answers of the server
// =============================================================================

const completion = (message: unknown, finish: unknown = "stop", more: object = {}) => ({
  id: "chatcmpl-1",
  object: "chat.completion",
  model: "test-model-2024",
  choices: [{ index: 0, message, finish_reason: finish }],
  usage: { prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 },
  ...more
})

const chunk = (delta: unknown, finish: unknown = null, more: object = {}) => ({
  id: "chatcmpl-1",
  object: "chat.completion.chunk",
  model: "test-model-2024",
  choices: [{ index: 0, delta, finish_reason: finish }],
  ...more
})

const usageChunk = { model: "test-model-2024", choices: [], usage: { prompt_tokens: 12, completion_tokens: 3 } }

const events = (...frames: ReadonlyArray<unknown>): string => frames.map(FaultServer.event).join("")

const done = FaultServer.event("[DONE]")

const paris = events(chunk({ role: "assistant", content: "" }), chunk({ content: "Par" }), chunk({ content: "is" }))

const whole = paris + events(chunk({}, "stop"), usageChunk) + done

const completed: LanguageModel.Delta = {
  _tag: "Completed",
  usage: { inputTokens: 12, outputTokens: 3 },
  model: "test-model-2024",
  requestId: "req-1"
}

// =============================================================================

describe("OpenAiCompatible", () => {
  describe("requests", () => {
    it.live("carry everything that a request can say", () =>
      over(FaultServer.json(200, completion({ content: "ok" })), (model, server) =>
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
              { role: "assistant", content: "", toolCalls: [{ id: "c1", name: "look", arguments: "{\"at\":1}" }] },
              { role: "tool", content: "a cat", toolCallId: "c1" }
            ],
            settings: {
              temperature: 0.5,
              topP: 0.9,
              maxTokens: 100,
              stop: ["END"],
              seed: 7,
              n: 1,
              logprobs: 2,
              reasoningEffort: "low",
              rollout: "never sent",
              extensions: { top_k: 40, temperature: 0.25, model: "another", stream: true }
            },
            tools: [{ name: "look", description: "Looks.", parameters: { type: "object", properties: {} } }],
            toolChoice: { name: "look" },
            responseFormat: { _tag: "JsonSchema", name: "my answer!", schema: { type: "object" }, strict: true }
          })
          const request = server.requests[0]!
          assert.strictEqual(request.method, "POST")
          assert.strictEqual(request.path, "/v1/chat/completions")
          assert.strictEqual(request.headers.authorization, `Bearer ${canary}`)
          assert.strictEqual(request.headers["content-type"], "application/json")
          assert.strictEqual(request.headers["accept-encoding"], "identity")
          assert.deepStrictEqual(request.json, {
            model: "test-model",
            messages: [
              { role: "system", content: "Be brief." },
              {
                role: "user",
                content: [
                  { type: "text", text: "What is this?" },
                  { type: "image_url", image_url: { url: "data:image/png;base64,AA==", detail: "low" } },
                  { type: "image_url", image_url: { url: "https://example.com/a.png" } }
                ]
              },
              {
                role: "assistant",
                content: null,
                tool_calls: [{ id: "c1", type: "function", function: { name: "look", arguments: "{\"at\":1}" } }]
              },
              { role: "tool", content: "a cat", tool_call_id: "c1" }
            ],
            temperature: 0.25,
            top_k: 40,
            top_p: 0.9,
            max_tokens: 100,
            stop: ["END"],
            seed: 7,
            n: 1,
            logprobs: true,
            top_logprobs: 2,
            reasoning_effort: "low",
            tools: [{
              type: "function",
              function: { name: "look", description: "Looks.", parameters: { type: "object", properties: {} } }
            }],
            tool_choice: { type: "function", function: { name: "look" } },
            response_format: {
              type: "json_schema",
              json_schema: { name: "my_answer_", schema: { type: "object" }, strict: true }
            }
          })
        })))

    it.live("say nothing that was not asked for, and ask for usage when streamed", () =>
      over(
        (_, n) => n === 0 ? FaultServer.json(200, completion({ content: "ok" })) : FaultServer.sse(whole),
        (model, server) =>
          Effect.gen(function*() {
            yield* model.generate(question)
            yield* collect(model, { ...question, toolChoice: "required", responseFormat: { _tag: "JsonObject" } })
            assert.deepStrictEqual(server.requests[0]!.json, { model: "test-model", messages: question.messages })
            assert.deepStrictEqual(server.requests[1]!.json, {
              model: "test-model",
              messages: question.messages,
              tool_choice: "required",
              response_format: { type: "json_object" },
              stream: true,
              stream_options: { include_usage: true }
            })
          })
      ))

    it.live("count the tokens of reasoning models as OpenAI wants it", () =>
      Effect.forEach(
        [
          ["gpt-4o-mini", "max_tokens"],
          ["o3-mini", "max_completion_tokens"],
          ["openai/gpt-5-nano", "max_completion_tokens"],
          ["llama3.2", "max_tokens"]
        ] as const,
        ([name, key]) =>
          over(FaultServer.json(200, completion({ content: "ok" })), (model, server) =>
            Effect.gen(function*() {
              yield* model.generate({ ...question, settings: { maxTokens: 5, logprobs: 0 } })
              assert.deepStrictEqual(server.requests[0]!.json, {
                model: name,
                messages: question.messages,
                [key]: 5,
                logprobs: true
              })
            }), { model: name })
      ))

    it.live("go to the right path for every spelling of the base URL", () =>
      Effect.gen(function*() {
        const server = yield* FaultServer.make(() => FaultServer.json(200, completion({ content: "ok" })))
        const spellings = ["", "/", "/v1", "/v1/", "/openai/v1", "/api", "/v1beta/openai/", "/api/paas/v4"]
        for (const spelling of spellings) {
          const model = yield* OpenAiCompatible.make({ model: "m", baseUrl: `${server.url}${spelling}` })
          yield* model.generate(question)
        }
        assert.deepStrictEqual(server.requests.map((request) => request.path), [
          "/v1/chat/completions",
          "/v1/chat/completions",
          "/v1/chat/completions",
          "/v1/chat/completions",
          "/openai/v1/chat/completions",
          "/api/v1/chat/completions",
          "/v1beta/openai/chat/completions",
          "/api/paas/v4/chat/completions"
        ])
        assert.isUndefined(server.requests[0]!.headers.authorization)
      }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

    it.live("carry the headers of the options, redacted or not", () =>
      over(FaultServer.json(200, completion({ content: "ok" })), (model, server) =>
        Effect.gen(function*() {
          yield* model.generate(question)
          assert.strictEqual(server.requests[0]!.headers["x-plain"], "plain")
          assert.strictEqual(server.requests[0]!.headers["api-key"], "secret")
        }), { headers: { "x-plain": "plain", "Api-Key": Redacted.make("secret") } }))

    it.effect("name the model by its host, and say what it can do", () =>
      Effect.gen(function*() {
        const openAi = yield* OpenAiCompatible.make({ model: "gpt-4o-mini" })
        assert.strictEqual(openAi.id, "openai/gpt-4o-mini")
        assert.deepStrictEqual(openAi.capabilities, {
          streaming: true,
          tools: true,
          images: true,
          audio: true,
          files: true,
          reasoning: false,
          citations: false,
          responseFormat: "jsonSchema",
          multipleOutputs: true,
          schemaLimits: { depth: 10, properties: 5000, enumValues: 1000, characters: 120_000 }
        })
        const local = yield* OpenAiCompatible.make({
          model: "qwen2.5:3b",
          baseUrl: "http://user:pass@localhost:8080/v1",
          capabilities: { responseFormat: "jsonObject", concurrency: 4 }
        })
        assert.strictEqual(local.id, "localhost:8080/qwen2.5:3b")
        assert.strictEqual(local.capabilities.responseFormat, "jsonObject")
        assert.strictEqual(local.capabilities.concurrency, 4)
        assert.isFalse(local.capabilities.multipleOutputs)
        const named = yield* OpenAiCompatible.make({ model: "m", id: "ollama/m" })
        assert.strictEqual(named.id, "ollama/m")
      }).pipe(Effect.provide(FetchHttpClient.layer)))
  })

  describe("whole answers", () => {
    const answers = (body: unknown, headers: Record<string, string> = {}) =>
      over(FaultServer.json(200, body, headers), (model) => model.generate(question))

    const outputOf = (message: unknown, finish?: unknown) =>
      Effect.map(answers(completion(message, finish)), (response) => response.outputs[0]!)

    it.live("become a response with usage, model and request id", () =>
      Effect.gen(function*() {
        const response = yield* answers(
          completion({ content: "Paris" }, "stop", {
            usage: {
              prompt_tokens: 20,
              completion_tokens: 9,
              prompt_tokens_details: { cached_tokens: 16 },
              completion_tokens_details: { reasoning_tokens: 4 },
              cost: 0.002
            }
          }),
          { "x-request-id": "req-7" }
        )
        assert.deepStrictEqual(response, {
          outputs: [{ text: "Paris", toolCalls: [], finishReason: "stop" }],
          usage: { inputTokens: 20, outputTokens: 9, cachedInputTokens: 16, reasoningTokens: 4, cost: 0.002 },
          model: "test-model-2024",
          requestId: "req-7"
        })
      }))

    it.live("are read in every form that content takes", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [message: unknown, text: string, reasoning?: string]> = [
          [{ content: null }, ""],
          [{}, ""],
          [{ content: "" }, ""],
          [{ content: [{ type: "text", text: "a" }, { type: "text", text: "b" }, "c"] }, "abc"],
          [{ content: { type: "text", text: "alone" } }, "alone"],
          [
            { content: [{ type: "thinking", thinking: [{ type: "text", text: "hm" }] }, { type: "text", text: "x" }] },
            "x",
            "hm"
          ],
          [{ content: [{ type: "thinking", thinking: "hm" }] }, "", "hm"],
          [{ content: [{ type: "reference", reference_ids: [1] }, { type: "text", text: "x" }, null, 7] }, "x"],
          [{ content: "x", reasoning_content: "because" }, "x", "because"],
          [{ content: "x", reasoning: "because" }, "x", "because"],
          [{ content: "x", reasoning: "because", reasoning_content: "because" }, "x", "because"],
          [{ content: "x", reasoning_content: null, reasoning: null, tool_calls: null, refusal: null }, "x"]
        ]
        for (const [message, text, reasoning] of cases) {
          const output = yield* outputOf(message)
          assert.strictEqual(output.text, text, JSON.stringify(message))
          assert.strictEqual(output.reasoning, reasoning, JSON.stringify(message))
        }
      }))

    it.live("say why the model stopped", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [wire: unknown, reason: LanguageModel.FinishReason]> = [
          ["stop", "stop"],
          ["length", "length"],
          ["max_tokens", "length"],
          ["tool_calls", "toolCalls"],
          ["function_call", "toolCalls"],
          ["content_filter", "contentFilter"],
          ["something_new", "unknown"],
          ["", "unknown"],
          [null, "unknown"],
          [7, "unknown"]
        ]
        for (const [wire, reason] of cases) {
          const output = yield* outputOf({ content: "x" }, wire)
          assert.strictEqual(output.finishReason, reason, String(wire))
        }
        const refused = yield* outputOf({ content: null, refusal: "I cannot." })
        assert.deepStrictEqual([refused.text, refused.finishReason], ["I cannot.", "refusal"])
      }))

    it.live("keep tool calls, whatever is missing from them", () =>
      Effect.gen(function*() {
        const call = (id: unknown, name: string, args: unknown, more = {}) => ({
          id,
          type: "function",
          function: { name, arguments: args },
          ...more
        })
        const output = yield* outputOf({
          content: null,
          tool_calls: [
            call("a", "one", "{\"x\":1}"),
            call("b", "two", { y: [1, 2] }),
            call(null, "three", null),
            call("", "three", "{}", { index: 0 })
          ]
        }, "tool_calls")
        assert.deepStrictEqual(output.toolCalls, [
          { id: "a", name: "one", arguments: "{\"x\":1}" },
          { id: "b", name: "two", arguments: "{\"y\":[1,2]}" },
          { id: "call_2", name: "three", arguments: "" },
          { id: "call_3", name: "three", arguments: "{}" }
        ])
        assert.strictEqual(output.finishReason, "toolCalls")
      }))

    it.live("hold several outputs, and the probabilities of their tokens", () =>
      Effect.gen(function*() {
        const response = yield* answers({
          choices: [
            {
              message: { content: "a" },
              finish_reason: "stop",
              logprobs: {
                content: [
                  {
                    token: "a",
                    logprob: -0.5,
                    top_logprobs: [{ token: "a", logprob: -0.5 }, { token: "b", logprob: -2 }]
                  },
                  { token: "?" },
                  null
                ]
              }
            },
            { index: 0, message: { content: "b" }, finish_reason: "length", logprobs: null }
          ]
        })
        assert.deepStrictEqual(response.outputs, [
          {
            text: "a",
            toolCalls: [],
            finishReason: "stop",
            logprobs: [{
              token: "a",
              logprob: -0.5,
              top: [{ token: "a", logprob: -0.5 }, { token: "b", logprob: -2 }]
            }]
          },
          { text: "b", toolCalls: [], finishReason: "length" }
        ])
        assert.deepStrictEqual(response.usage, {})
        assert.strictEqual(response.model, "test-model")
      }))

    it.live("survive a usage that makes no sense", () =>
      Effect.gen(function*() {
        const cases: ReadonlyArray<readonly [usage: unknown, read: LanguageModel.Usage]> = [
          [null, {}],
          ["many", {}],
          [[], {}],
          [{ prompt_tokens: -1, completion_tokens: "3" }, {}],
          [{ prompt_tokens: 1.5, completion_tokens: 2 ** 60, cost: -1 }, {}],
          [{ prompt_tokens: 4, completion_tokens: null, prompt_tokens_details: 7 }, { inputTokens: 4 }],
          [{ prompt_tokens: 4, prompt_cache_hit_tokens: 2 }, { inputTokens: 4, cachedInputTokens: 2 }]
        ]
        for (const [usage, read] of cases) {
          const response = yield* answers(completion({ content: "x" }, "stop", { usage }))
          assert.deepStrictEqual(response.usage, read, JSON.stringify(usage))
          assert.strictEqual(response.outputs[0]!.text, "x")
        }
      }))

    it.live("are told by their content, whatever the headers say", () =>
      Effect.gen(function*() {
        const body = JSON.stringify(completion({ content: "Paris" }))
        const scripts = [
          FaultServer.answer(200, "text/plain", body),
          FaultServer.answer(200, "text/html", `\uFEFF \n${body}`),
          FaultServer.answer(200, "text/event-stream", body),
          FaultServer.answer(200, "application/json", whole),
          [FaultServer.head(200), ...FaultServer.split(body, [1, 10, 100])],
          [...FaultServer.sse(whole), FaultServer.stall]
        ]
        for (const script of scripts) {
          const response = yield* over(script, (model) => model.generate(question))
          assert.strictEqual(response.outputs[0]!.text, "Paris")
        }
      }))

    it.live("that are none are refused with the reason", () =>
      Effect.gen(function*() {
        const ok = (type: string, body: string) => FaultServer.answer(200, type, body)
        const cases: ReadonlyArray<readonly [script: FaultServer.Script, kind: MalformedResponse["kind"]]> = [
          [ok("application/json", ""), "empty"],
          [ok("application/json", " \n "), "empty"],
          [[FaultServer.head(204)], "empty"],
          [FaultServer.html(200), "html"],
          [ok("application/json", "{\"choices\": [{\"mess"), "json"],
          [ok("text/plain", "Service temporarily unavailable"), "json"],
          [ok("text/plain", "error: out of cheese"), "json"],
          [ok("application/json", "[]"), "shape"],
          [ok("application/json", "null"), "shape"],
          [ok("application/json", "\"Paris\""), "shape"],
          [ok("application/json", "42"), "shape"],
          [ok("application/json", "{}"), "shape"],
          [ok("application/json", "{\"choices\":[]}"), "shape"],
          [ok("application/json", "{\"choices\":null}"), "shape"],
          [ok("application/json", "{\"choices\":{}}"), "shape"],
          [ok("application/json", "{\"choices\":[7]}"), "shape"],
          [ok("application/json", "{\"choices\":[{\"finish_reason\":\"stop\"}]}"), "shape"],
          [ok("application/json", JSON.stringify(completion({ content: 7 }))), "shape"],
          [ok("application/json", JSON.stringify(completion({ content: "x", tool_calls: 7 }))), "shape"],
          [ok("application/json", JSON.stringify(completion({ content: "x", tool_calls: [7] }))), "shape"]
        ]
        for (const [script, kind] of cases) {
          const { reason, retryable } = yield* generateFails(script)
          assert.strictEqual(reason._tag, "MalformedResponse", inspect(script))
          assert.strictEqual(reason._tag === "MalformedResponse" && reason.kind, kind, inspect(script))
          assert.isFalse(retryable)
        }
      }))

    it.live("refuse nesting that would exhaust the stack as a typed failure", () =>
      Effect.gen(function*() {
        const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`
        const body = JSON.stringify(completion({ tool_calls: [{ function: { name: "f", arguments: "DEEP" } }] }))
        const error = yield* generateFails(FaultServer.answer(200, "application/json", body.replace("\"DEEP\"", deep)))
        assert.strictEqual(error.reason._tag, "MalformedResponse")
        assert.isFalse("polluted" in {})
      }))

    it.live("that are compressed unasked are decoded within bounds, or refused", () =>
      Effect.gen(function*() {
        const zipped = (body: string) => {
          const bytes = gzipSync(body)
          return [
            FaultServer.head(200, { "content-encoding": "gzip", "content-length": String(bytes.length) }),
            FaultServer.write(bytes)
          ]
        }
        const small = zipped(JSON.stringify(completion({ content: "Paris" })))
        const response = yield* over(small, (model) => model.generate(question), { client: FetchHttpClient.layer })
        assert.strictEqual(response.outputs[0]!.text, "Paris")
        const refused = yield* generateFails(small)
        assert.isTrue(refused.reason._tag === "MalformedResponse" && refused.message.includes("compressed"))
        const bomb = zipped(`{"choices":${" ".repeat(70 * 1024 * 1024)}`)
        const bounded = yield* over(bomb, (model) => Effect.flip(model.generate(question)), {
          client: FetchHttpClient.layer
        })
        assert.strictEqual(bounded.reason._tag, "ResponseTooLarge")
        const twice = gzipSync(gzipSync(JSON.stringify(completion({ content: "Paris" }))))
        for (const client of [NodeHttpClient.layerUndici, FetchHttpClient.layer]) {
          const layered = yield* over(
            [FaultServer.head(200, { "content-encoding": "gzip, gzip" }), FaultServer.write(twice)],
            (model) => Effect.flip(model.generate(question)),
            { client }
          )
          assert.isTrue(layered.reason._tag === "MalformedResponse" && layered.message.includes("several times"))
        }
      }), 20_000)

    it.live("that are too large are refused before and while they are read", () =>
      Effect.gen(function*() {
        const announced = yield* generateFails([
          FaultServer.head(200, { "content-length": String(65 * 1024 * 1024) }),
          FaultServer.write("{\"choices\":[")
        ])
        assert.strictEqual(announced.reason._tag, "ResponseTooLarge")
        const piece = FaultServer.write(" ".repeat(1024 * 1024))
        const [unannounced, closed] = yield* over(
          [FaultServer.head(200), FaultServer.write("{\"choices\":"), ...Array.from({ length: 80 }, () => piece)],
          (model, server) =>
            Effect.gen(function*() {
              const error = yield* Effect.flip(model.generate(question))
              return [error, yield* Effect.timeoutOption(server.requests[0]!.closed, "5 seconds")] as const
            })
        )
        assert.strictEqual(unannounced.reason._tag, "ResponseTooLarge")
        assert.isTrue(Option.isSome(closed))
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
            completed
          ])
        })))

    it.live("are the same for whole, split and trickled bodies, and under fetch", () =>
      Effect.gen(function*() {
        const text = FaultServer.bytes(`\uFEFF${whole.replaceAll("\n", "\r\n").replace("Par", "Pär 🙂")}`)
        const everyByte = Array.from(text, (_, offset) => offset)
        for (const at of [[], [1], [2], [4], everyByte]) {
          for (const client of [NodeHttpClient.layerUndici, FetchHttpClient.layer]) {
            const deltas = yield* over(
              [
                FaultServer.head(200, { "content-type": "text/event-stream", "x-request-id": "req-1" }),
                ...FaultServer.split(text, at)
              ],
              (model) => collect(model),
              { client }
            )
            assert.strictEqual(textOf(deltas), "Pär 🙂is")
            assert.deepStrictEqual(deltas.at(-1), completed)
          }
        }
      }), 20_000)

    it.live("carry reasoning, several outputs, probabilities and refusals", () =>
      over(
        FaultServer.sse(
          events(
            chunk({ reasoning_content: "let me see", reasoning: "let me see" }),
            { choices: [{ index: 1, delta: { content: "b" } }, { index: 0, delta: { content: "a" } }] },
            { choices: [{ index: 0, delta: { content: "!" }, logprobs: { content: [{ token: "!", logprob: -1 }] } }] },
            { choices: [{ index: 1, delta: { refusal: "no" } }] },
            { choices: [{ index: 0, finish_reason: "length" }, { index: 1, delta: null, finish_reason: "stop" }] }
          ),
          done
        ),
        (model) =>
          Effect.gen(function*() {
            const response = yield* LanguageModel.fold(model.stream({ ...question, settings: { n: 2 } }), model.id)
            assert.deepStrictEqual(response.outputs, [
              {
                text: "a!",
                reasoning: "let me see",
                toolCalls: [],
                finishReason: "length",
                logprobs: [{ token: "!", logprob: -1 }]
              },
              { text: "bno", toolCalls: [], finishReason: "refusal" }
            ])
          })
      ))

    it.live("assemble tool calls from pieces in any form", () =>
      Effect.gen(function*() {
        const piece = (index: unknown, id: unknown, name: unknown, args: unknown) => ({
          index,
          id,
          function: { name, arguments: args }
        })
        const one = { name: "add", arguments: "{\"a\":1}" }
        const two = { name: "mul", arguments: "{\"b\":2}" }
        const cases: ReadonlyArray<
          readonly [
            name: string,
            frames: ReadonlyArray<ReadonlyArray<unknown>>,
            calls: ReadonlyArray<LanguageModel.ToolCall>
          ]
        > = [
          ["split by index", [
            [piece(0, "x", "add", "")],
            [piece(0, null, null, "{\"a\""), piece(1, "y", "mul", "{\"b\":")],
            [piece(1, "", "", "2}"), piece(0, undefined, undefined, ":1}")]
          ], [{ id: "x", ...one }, { id: "y", ...two }]],
          ["index missing", [
            [piece(undefined, "x", "add", "{\"a\":1}")],
            [piece(null, "y", "mul", "{\"b\":")],
            [piece(null, null, null, "2}")]
          ], [{ id: "x", ...one }, { id: "y", ...two }]],
          ["all at index 0 with own ids", [
            [piece(0, "x", "add", "{\"a\":1}")],
            [piece(0, "y", "mul", "{\"b\":2}")]
          ], [{ id: "x", ...one }, { id: "y", ...two }]],
          ["all at index 0 without ids", [
            [piece(0, "", "add", "{\"a\":1}")],
            [piece(0, "", "mul", "{\"b\":2}")]
          ], [{ id: "call_0", ...one }, { id: "call_1", ...two }]],
          ["id later than name", [
            [piece(0, null, "add", "")],
            [piece(0, "x", null, "{\"a\":1}")]
          ], [{ id: "x", ...one }]],
          ["id repeated, name repeated", [
            [piece(0, "x", "add", "{\"a\"")],
            [piece(0, "x", "add", ":1}")]
          ], [{ id: "x", ...one }]],
          ["name split", [
            [piece(0, "x", "a", "")],
            [piece(0, null, "dd", "")],
            [piece(0, null, null, "{\"a\":1}")]
          ], [{ id: "x", ...one }]],
          ["odd indices out of order, arguments as an object", [
            [piece(-3, "y", "add", { a: 1 })],
            [piece(9_999_999, "x", "mul", { b: 2 })]
          ], [{ id: "y", ...one }, { id: "x", ...two }]],
          ["neither id nor index", [
            [piece(undefined, undefined, "add", "{\"a\":1}"), piece(undefined, undefined, "mul", "{\"b\":2}")]
          ], [{ id: "call_0", ...one }, { id: "call_1", ...two }]],
          ["no function at all", [[{ index: 0, id: "x" }], [piece(0, null, "add", "{\"a\":1}")]], [{ id: "x", ...one }]]
        ]
        for (const [name, frames, calls] of cases) {
          const response = yield* over(
            FaultServer.sse(
              events(...frames.map((tool_calls) => chunk({ tool_calls })), chunk({}, "tool_calls")),
              done
            ),
            (model) => LanguageModel.fold(model.stream(question), model.id)
          )
          assert.deepStrictEqual(response.outputs[0]!.toolCalls, calls, name)
          assert.strictEqual(response.outputs[0]!.finishReason, "toolCalls")
        }
      }))

    it.live("ignore what is no content: comments, pings, unknown events, empty data", () =>
      over(
        FaultServer.sse(
          ": OPENROUTER PROCESSING\n\n",
          "event: ping\ndata: {\"type\":\"ping\"}\n\n",
          "event: heartbeat\ndata: tick\n\n",
          "data:\n\n",
          "id: 3\nretry: 100000\n\n",
          events({ choices: [], prompt_filter_results: [] }, { choices: null }, { object: "unknown" }),
          paris,
          "event: something.new\ndata: {\"x\":1}\n\n",
          events(chunk({}, ""), chunk({}, "stop"), chunk({}, "stop")),
          done
        ),
        (model) =>
          Effect.gen(function*() {
            const deltas = yield* collect(model)
            assert.strictEqual(textOf(deltas), "Paris")
            assert.strictEqual(deltas.filter((delta) => delta._tag === "Finish").length, 1)
            assert.strictEqual(deltas.at(-1)!._tag, "Completed")
          })
      ))

    it.live("are complete with a finish reason or [DONE], and with nothing less", () =>
      Effect.gen(function*() {
        const finish = events(chunk({}, "stop"))
        const unended = "data: [DONE]"
        const complete: ReadonlyArray<readonly [content: string, finish: LanguageModel.FinishReason]> = [
          [paris + finish + done, "stop"],
          [paris + finish, "stop"],
          [paris + finish + events(usageChunk), "stop"],
          [paris + done, "unknown"],
          [paris + finish + unended, "stop"],
          [paris + unended, "unknown"],
          [paris + finish.trimEnd(), "stop"],
          [paris + finish + done + done + events(chunk({ content: "late" })), "stop"],
          [`${paris}${finish}data: {"half`, "stop"]
        ]
        for (const [content, reason] of complete) {
          const response = yield* over(FaultServer.sse(content), (model) =>
            LanguageModel.fold(model.stream(question), model.id))
          assert.strictEqual(response.outputs[0]!.text, "Paris", content)
          assert.strictEqual(response.outputs[0]!.finishReason, reason, content)
        }
        const truncated = [
          paris,
          `${paris}: bye\n\n`,
          `${paris}data: [DON`,
          `${paris}data: {"half`,
          paris + events({ choices: [] })
        ]
        for (const content of truncated) {
          const { deltas, end } = yield* over(FaultServer.sse(content), (model) =>
            observe(model))
          assert.strictEqual(textOf(deltas), "Paris")
          assert.isTrue(Either.isLeft(end), content)
          const error = Either.getOrThrow(Either.flip(end))
          assert.deepStrictEqual(
            [error.reason._tag, error.reason._tag === "StreamTruncated" && error.reason.partial],
            ["StreamTruncated", "Paris"]
          )
          assert.isTrue(error.retryable)
        }
      }))

    it.live("with two outputs are not complete when one has finished", () =>
      Effect.gen(function*() {
        const content = events({ choices: [{ index: 0, delta: { content: "a" }, finish_reason: "stop" }] })
        const error = yield* over(FaultServer.sse(content), (model) =>
          Effect.flip(Stream.runDrain(model.stream({ ...question, settings: { n: 2 } }))))
        assert.strictEqual(error.reason._tag, "StreamTruncated")
      }))

    it.live("end at [DONE] and close the connection, though the server keeps it open", () =>
      Effect.gen(function*() {
        for (const client of [NodeHttpClient.layerUndici, FetchHttpClient.layer]) {
          yield* over([...FaultServer.sse(whole), FaultServer.stall], (model, server) =>
            Effect.gen(function*() {
              assert.strictEqual(textOf(yield* collect(model)), "Paris")
              yield* server.requests[0]!.closed
            }), { client })
        }
      }), 10_000)

    it.live("leave the connection usable when the end of the body follows [DONE] at once", () => {
      const script = FaultServer.sseChunked(whole)
      return over([...script, FaultServer.stall], (model, server) =>
        Effect.gen(function*() {
          for (let i = 0; i < 20; i++) assert.strictEqual(textOf(yield* collect(model)), "Paris")
          assert.strictEqual(server.requests.length, 20)
          // The client may open a second one while the first is being handed back.
          assert.isAtMost(server.connections(), 3)
        }))
    })

    it.live("that are answered with a document are decoded as one", () =>
      Effect.gen(function*() {
        const deltas = yield* over(FaultServer.json(200, completion({ content: "Paris" })), (model) => collect(model))
        assert.deepStrictEqual(deltas, [
          { _tag: "TextDelta", index: 0, text: "Paris" },
          { _tag: "Finish", index: 0, reason: "stop" },
          { _tag: "Completed", usage: { inputTokens: 12, outputTokens: 3 }, model: "test-model-2024" }
        ])
        const cut = yield* streamFails(FaultServer.answer(200, "application/json", "{\"choices\":[{\"message\""))
        assert.strictEqual(cut.reason._tag, "MalformedResponse")
        const page = yield* streamFails(FaultServer.html(200))
        assert.isTrue(page.reason._tag === "MalformedResponse" && page.reason.kind === "html")
        const nothing = yield* streamFails(FaultServer.answer(200, "application/json", ""))
        assert.isTrue(nothing.reason._tag === "MalformedResponse" && nothing.reason.kind === "empty")
        const empty = yield* streamFails(FaultServer.sse(done))
        assert.isTrue(empty.reason._tag === "MalformedResponse" && empty.reason.kind === "empty")
        const silent = yield* streamFails(FaultServer.sse())
        assert.deepStrictEqual(silent.reason._tag, "StreamTruncated")
      }))

    it.live("that report an error are failures, with what was delivered before", () =>
      Effect.gen(function*() {
        const forms = [
          events({ error: { message: "no room", code: 503 } }),
          `event: error\n${events({ error: { message: "no room", code: "503" } })}`,
          events({ type: "error", error: { type: "overloaded_error", message: "no room" } }),
          events({ object: "error", message: "no room", code: 503 }),
          events({
            choices: [{ index: 0, delta: {}, error: { message: "no room", code: 503 }, finish_reason: "error" }]
          })
        ]
        for (const form of forms) {
          const before = yield* streamFails(FaultServer.sse(form + done))
          assert.deepStrictEqual(
            [
              before.reason._tag,
              before.reason._tag === "Overloaded" && before.reason.description.startsWith("no room")
            ],
            ["Overloaded", true],
            form
          )
          const { deltas, end } = yield* over(FaultServer.sse(paris + form + done), (model) => observe(model))
          assert.strictEqual(textOf(deltas), "Paris")
          const after = Either.getOrThrow(Either.flip(end))
          assert.isTrue(
            after.reason._tag === "StreamFailed" && after.reason.kind === "errorEvent" &&
              after.reason.partial === "Paris"
              && after.reason.description.includes("Overloaded") && after.reason.description.includes("no room"),
            form
          )
        }
        const plain = yield* streamFails(FaultServer.sse("event: error\ndata: out of memory\n\n"))
        assert.isTrue(plain.reason._tag === "ServerError" && plain.reason.description === "out of memory")
        const unexplained = yield* streamFails(FaultServer.sse(events(chunk({}, "error"))))
        assert.strictEqual(unexplained.reason._tag, "ServerError")
      }))

    it.live("with a frame that cannot be read fail, and never skip it", () =>
      Effect.gen(function*() {
        const frames = [
          "data: {\"choices\": oops}\n\n",
          "data: 7\n\n",
          "data: []\n\n",
          events({ choices: {} }),
          events({ choices: [null] }),
          events({ choices: [{ index: 500, delta: { content: "x" } }] }),
          events({ choices: [{ index: -1, delta: { content: "x" } }] }),
          events({ choices: [{ index: "0", delta: { content: "x" } }] }),
          events(chunk({ content: 7 })),
          events(chunk({ tool_calls: Array.from({ length: 1025 }, (_, i) => ({ index: i, function: { name: "f" } })) }))
        ]
        for (const frame of frames) {
          const { deltas, end } = yield* over(FaultServer.sse(paris + frame + whole), (model) => observe(model))
          assert.strictEqual(textOf(deltas), "Paris", frame)
          const { reason } = Either.getOrThrow(Either.flip(end))
          assert.isTrue(
            reason._tag === "StreamFailed" && reason.kind === "malformedFrame" && reason.partial === "Paris",
            `${reason._tag} for ${frame.slice(0, 100)}`
          )
        }
      }))

    it.live("keep what the server says of a model that stopped in the middle out of the prototype", () =>
      over(
        FaultServer.sse(
          "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\",\"__proto__\":{\"polluted\":1},\"constructor\":{\"prototype\":{\"polluted\":1}}}}]}\n\n",
          done
        ),
        (model) =>
          Effect.gen(function*() {
            assert.strictEqual(textOf(yield* collect(model)), "x")
            assert.isFalse("polluted" in {})
          })
      ))

    it.live("stop reading an event that passes its limit", () =>
      Effect.gen(function*() {
        const piece = FaultServer.write("x".repeat(1024 * 1024))
        const error = yield* streamFails(FaultServer.sse("data: ", ...Array.from({ length: 20 }, () => piece)))
        assert.isTrue(error.reason._tag === "ResponseTooLarge" && error.reason.limit === 16 * 1024 * 1024)
      }))
  })

  describe("failures of the server", () => {
    const error = (code: unknown, message = "told why", type: unknown = null) => ({ error: { code, message, type } })

    const table: ReadonlyArray<
      readonly [script: FaultServer.Script, tag: LanguageModelError["reason"]["_tag"], retryable: boolean]
    > = [
      [FaultServer.json(400, error("invalid_value")), "InvalidRequest", false],
      [FaultServer.json(400, error("context_length_exceeded")), "ContextWindowExceeded", false],
      [
        FaultServer.json(400, { error: { code: 400, type: "exceed_context_size_error", message: "n_prompt" } }),
        "ContextWindowExceeded",
        false
      ],
      [
        FaultServer.json(400, error(null, "This model's maximum context length is 4096 tokens.")),
        "ContextWindowExceeded",
        false
      ],
      [FaultServer.json(400, error(null, "prompt is too long: 210000 tokens")), "ContextWindowExceeded", false],
      [FaultServer.json(400, error(null, "the max_tokens limit of a token budget is 5")), "InvalidRequest", false],
      [FaultServer.json(400, error("content_filter")), "ContentFiltered", false],
      [FaultServer.json(400, error(null, "Your credit balance is too low")), "QuotaExhausted", false],
      [FaultServer.json(400, error("API_KEY_INVALID")), "Authentication", false],
      [FaultServer.json(401, error("invalid_api_key")), "Authentication", false],
      [FaultServer.html(401), "Authentication", false],
      [FaultServer.json(402, error(null)), "QuotaExhausted", false],
      [FaultServer.json(403, error(null)), "Permission", false],
      [FaultServer.html(403), "Permission", false],
      [FaultServer.json(403, error("model_not_found")), "NotFound", false],
      [FaultServer.json(404, { error: "model \"x\" not found, try pulling it first" }), "NotFound", false],
      [FaultServer.answer(404, "text/plain", "404 page not found"), "NotFound", false],
      [FaultServer.json(405, {}), "InvalidRequest", false],
      [FaultServer.json(408, {}), "ServerError", true],
      [FaultServer.json(409, error(null)), "Conflict", true],
      [FaultServer.html(413), "RequestTooLarge", false],
      [FaultServer.json(422, { detail: [{ loc: ["body", "n"], msg: "not an integer" }] }), "InvalidRequest", false],
      [FaultServer.json(425, {}), "ServerError", true],
      [FaultServer.json(429, error("rate_limit_exceeded")), "RateLimited", true],
      [
        FaultServer.json(429, [{ error: { code: 429, status: "RESOURCE_EXHAUSTED", message: "slow" } }]),
        "RateLimited",
        true
      ],
      [FaultServer.json(429, error("insufficient_quota")), "QuotaExhausted", false],
      [
        FaultServer.json(429, { error: { code: "insufficient_quota", details: { reason: "other" } } }),
        "QuotaExhausted",
        false
      ],
      [FaultServer.json(429, error("billing_hard_limit_reached")), "QuotaExhausted", false],
      [FaultServer.json(429, error(null, "x", "enforced_spend_limit_reached")), "QuotaExhausted", false],
      [FaultServer.json(500, error(null)), "ServerError", true],
      [FaultServer.answer(500, "text/plain", ""), "ServerError", true],
      [FaultServer.html(502), "ServerError", true],
      [FaultServer.json(503, { object: "error", message: "engine dead", code: 503 }), "Overloaded", true],
      [FaultServer.html(504), "ServerError", true],
      [FaultServer.json(529, error(null, "x", "overloaded_error")), "Overloaded", true],
      [FaultServer.json(200, error("insufficient_quota")), "QuotaExhausted", false],
      [FaultServer.json(200, error("429")), "RateLimited", true],
      [FaultServer.json(200, error(null, "x", "invalid_request_error")), "InvalidRequest", false],
      [FaultServer.json(200, { error: "CUDA out of memory" }), "ServerError", true],
      [FaultServer.json(200, completion({ content: "x" }, "error")), "ServerError", true],
      [FaultServer.answer(302, "text/html", "", { location: "/login" }), "InvalidRequest", false],
      [FaultServer.answer(307, "text/html", "", { location: "https://example.com/" }), "InvalidRequest", false]
    ]

    for (const [name, client] of [["undici", NodeHttpClient.layerUndici], ["fetch", FetchHttpClient.layer]] as const) {
      it.live(`have the reason that their status and body tell, ${name}`, () =>
        Effect.gen(function*() {
          for (const [script, tag, retryable] of table) {
            for (
              const ask of [
                (model: LanguageModel.Service) => Effect.asVoid(model.generate(question)),
                (model: LanguageModel.Service) => Stream.runDrain(model.stream(question))
              ]
            ) {
              const { attempts, failure } = yield* over(
                script,
                (model, server) =>
                  Effect.map(Effect.flip(ask(model)), (failure) => ({ failure, attempts: server.requests.length })),
                { client }
              )
              const label = `${inspect(script[0])}: ${failure.message}`
              assert.strictEqual(failure.reason._tag, tag, label)
              assert.strictEqual(failure.retryable, retryable, label)
              assert.strictEqual(attempts, 1, label)
            }
          }
        }), 30_000)
    }

    it.live("keep the server's words, its request id, and the names of provider and model", () =>
      Effect.gen(function*() {
        const failure = yield* generateFails(
          FaultServer.json(404, { error: "model \"x\" not found, try pulling it first" }, { "x-request-id": "req-9" })
        )
        assert.include(failure.message, "try pulling it first")
        assert.strictEqual(failure.requestId, "req-9")
        assert.strictEqual(failure.attempts, 1)
        assert.match(failure.model, /^127\.0\.0\.1:\d+\/test-model$/)
        assert.match(failure.provider, /^127\.0\.0\.1:\d+$/)
        const invalid = yield* generateFails(
          FaultServer.json(422, { detail: [{ loc: ["body", "n"], msg: "not an integer", input: "the whole prompt" }] })
        )
        assert.include(invalid.message, "body.n: not an integer")
        assert.notInclude(invalid.message, "the whole prompt")
      }))

    it.live("do not repeat the prompt or the key, though the server does", () =>
      Effect.gen(function*() {
        const prompt = "My password is correct horse battery staple, and my cat is called Schrödinger. ".repeat(3)
        const echoes = [
          `Incorrect API key provided: ${canary}. See our site.`,
          `Cannot parse: ${prompt}`,
          `Cannot parse "${prompt.slice(0, 90)}"`,
          `Cannot parse: hello secret world`
        ]
        for (const echo of echoes) {
          const failure = yield* over(FaultServer.json(400, error("invalid_value", echo)), (model) =>
            Effect.flip(model.generate({
              messages: [{ role: "user", content: "hello secret world" }, { role: "user", content: prompt }]
            })))
          assert.strictEqual(failure.reason._tag, echo.includes("API key") ? "Authentication" : "InvalidRequest")
          assert.notInclude(failure.message, canary)
          assert.notInclude(failure.message, "correct horse battery")
          assert.notInclude(failure.message, "hello secret world")
        }
      }))

    it.live("carry the time the server asked to wait", () =>
      Effect.gen(function*() {
        const limited = yield* generateFails(FaultServer.json(429, {}, { "retry-after": "7" }))
        assert.isTrue(limited.reason._tag === "RateLimited" && limited.reason.retryAfter === 7000)
        const overloaded = yield* generateFails(
          FaultServer.json(503, {}, { "retry-after-ms": "250", "retry-after": "7" })
        )
        assert.isTrue(overloaded.reason._tag === "Overloaded" && overloaded.reason.retryAfter === 250)
        const failed = yield* generateFails(FaultServer.json(500, {}, { "retry-after": "2" }))
        assert.isTrue(failed.reason._tag === "ServerError" && failed.reason.retryAfter === 2000)
      }))

    it.live("are read up to a bound", () =>
      Effect.gen(function*() {
        const failure = yield* generateFails([
          FaultServer.head(500),
          FaultServer.write("{\"error\":{\"message\":\""),
          ...Array.from({ length: 64 }, () => FaultServer.write("x".repeat(65536))),
          FaultServer.stall
        ])
        assert.strictEqual(failure.reason._tag, "ServerError")
        assert.isBelow(failure.message.length, 500)
      }))
  })

  describe("connections", () => {
    it.live("that cannot be made are named with phase and code", () =>
      Effect.gen(function*() {
        const closedPort = yield* Effect.scoped(Effect.map(FaultServer.make(() => []), (server) => server.url))
        for (const client of [NodeHttpClient.layerUndici, FetchHttpClient.layer]) {
          const at = (baseUrl: string) =>
            OpenAiCompatible.make({ model: "m", baseUrl, apiKey: Redacted.make(canary) }).pipe(
              Effect.flatMap((model) => Effect.flip(model.generate(question))),
              Effect.provide(client)
            )
          const refused = yield* at(closedPort)
          assert.deepInclude(refused.reason, { _tag: "Transport", phase: "connect", code: "ECONNREFUSED" })
          assert.include(refused.message, closedPort.replace("http://", ""))
          assert.isTrue(refused.retryable)
          const unknown = yield* at("http://no-such-host.invalid:1234")
          assert.deepInclude(unknown.reason, { _tag: "Transport", phase: "dns" })
          const notTls = yield* Effect.scoped(
            Effect.flatMap(FaultServer.make(() => []), (server) => at(server.url.replace("http:", "https:")))
          )
          assert.deepInclude(notTls.reason, { _tag: "Transport", phase: "tls" })
          assert.isFalse(notTls.retryable)
          const invalid = yield* at("not a url")
          assert.strictEqual(invalid.reason._tag, "InvalidRequest")
        }
      }))

    it.live("of a client that is closed already are told apart from a server that is down", () =>
      Effect.gen(function*() {
        const model = yield* OpenAiCompatible.make({ model: "m", baseUrl: "http://127.0.0.1:9" }).pipe(
          Effect.provide(NodeHttpClient.layerUndici)
        )
        const error = yield* Effect.flip(model.generate(question))
        assert.deepInclude(error.reason, { _tag: "Transport", phase: "request" })
        assert.include(error.message, "HTTP client is closed")
      }))

    it.live("reset before, inside and after the headers, whole and streamed", () =>
      Effect.gen(function*() {
        const body = JSON.stringify(completion({ content: "Paris" }))
        const announced = [
          FaultServer.head(200, { "content-length": String(body.length) }),
          FaultServer.write(body.slice(0, 20))
        ]
        for (const client of [NodeHttpClient.layerUndici, FetchHttpClient.layer]) {
          for (const end of [FaultServer.fin, FaultServer.rst]) {
            const before = yield* over([end], (model) => Effect.flip(model.generate(question)), { client })
            assert.deepInclude(before.reason, { _tag: "Transport", phase: "headers" })
            const inside = yield* over([FaultServer.write("HTTP/1.1 200 OK\r\ncont"), end], (model) =>
              Effect.flip(model.generate(question)), { client })
            assert.strictEqual(inside.reason._tag, "Transport")
            const short = yield* over([...announced, FaultServer.delay(5), end], (model) =>
              Effect.flip(model.generate(question)), { client })
            assert.deepInclude(short.reason, { _tag: "Transport", phase: "body" })
            assert.isTrue(before.retryable && inside.retryable && short.retryable)
          }
        }
      }))

    const recorded = events(
      { model: "m", choices: [{ delta: { role: "assistant", content: "" } }] },
      { choices: [{ index: 0, delta: { content: "Pär" } }] },
      { choices: [{ index: 0, delta: { content: "is 🙂" }, finish_reason: "" }] },
      { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] },
      { choices: [], usage: { prompt_tokens: 1 } }
    ) + done
    promises.isNeverSilentlyCut(over, recorded, "Päris 🙂")
    promises.isTheSameInAnyPieces(over, recorded)

    for (const [name, client] of [["undici", NodeHttpClient.layerUndici], ["fetch", FetchHttpClient.layer]] as const) {
      it.live(`are closed when a call is interrupted, at any point, ${name}`, () =>
        Effect.gen(function*() {
          const body = JSON.stringify(completion({ content: "Paris" }))
          const scripts = [
            [FaultServer.stall],
            [FaultServer.write("HTTP/1.1 200"), FaultServer.stall],
            [
              FaultServer.head(200, { "content-length": String(body.length) }),
              FaultServer.write(body.slice(0, 20)),
              FaultServer.stall
            ],
            [FaultServer.head(200), FaultServer.write(body.slice(0, 20)), FaultServer.stall],
            [FaultServer.head(500), FaultServer.stall],
            [...FaultServer.sse(paris), FaultServer.stall]
          ]
          for (const script of scripts) {
            for (
              const ask of [
                (model: LanguageModel.Service) => Effect.asVoid(model.generate(question)),
                (model: LanguageModel.Service) => Stream.runDrain(model.stream(question))
              ]
            ) {
              yield* over(script, (model, server) =>
                Effect.gen(function*() {
                  const fiber = yield* Effect.fork(ask(model))
                  const request = yield* server.next
                  yield* Effect.sleep(20)
                  const exit = yield* Fiber.interrupt(fiber)
                  assert.isTrue(Exit.isInterrupted(exit))
                  yield* request.closed
                }), { client })
            }
          }
        }), 20_000)
    }

    it.live("are closed when the reader of a stream has enough", () =>
      over([...FaultServer.sse(paris), FaultServer.stall], (model, server) =>
        Effect.gen(function*() {
          const first = yield* Stream.runHead(model.stream(question))
          assert.isTrue(Option.isSome(first))
          yield* server.requests[0]!.closed
        })))

    it.live("are read no faster than the reader of the stream reads", () =>
      Effect.gen(function*() {
        const piece = FaultServer.write(FaultServer.event(chunk({ content: "x".repeat(1000) })).repeat(64))
        let written = 0
        const pieces = Array.from({ length: 2000 }, () => piece)
        const counted = new Proxy([...FaultServer.sse(), ...pieces], {
          get: (target, key, receiver) => {
            if (typeof key === "string" && Number(key) > written) written = Number(key)
            return Reflect.get(target, key, receiver)
          }
        })
        yield* over(counted, (model) =>
          Effect.gen(function*() {
            const gate = yield* Deferred.make<void>()
            const fiber = yield* Effect.fork(Stream.runForEach(model.stream(question), () => Deferred.await(gate)))
            yield* Effect.sleep(300)
            // 128 MB are ready to be sent; what the sockets and one chunk hold is far less.
            assert.isBelow(written, 1000)
            yield* Fiber.interrupt(fiber)
          }))
      }))
  })

  describe("secrets and telemetry", () => {
    promises.keepsSecrets(over, (canary, prompt) => [
      FaultServer.sse(whole),
      FaultServer.sse(paris + done),
      FaultServer.sse(paris),
      FaultServer.json(200, completion({ content: "ok" })),
      FaultServer.sse(`${paris}event: error\ndata: ${canary} ${prompt}\n\n`)
    ])

    it.live("layerConfig reads every option from the configuration", () =>
      Effect.gen(function*() {
        const server = yield* FaultServer.make(() => FaultServer.json(200, completion({ content: "ok" })))
        const Model = OpenAiCompatible.layerConfig({
          model: Config.string("MODEL"),
          baseUrl: Config.string("BASE_URL"),
          apiKey: Config.redacted("API_KEY"),
          id: Config.withDefault(Config.string("ID"), undefined),
          headers: Config.map(Config.string("TENANT"), (tenant) => ({ "x-tenant": tenant }))
        }).pipe(Layer.provide(NodeHttpClient.layerUndici))
        const ask = Effect.flatMap(
          LanguageModel.LanguageModel,
          (model) => Effect.as(model.generate(question), model.id)
        )
        const id = yield* ask.pipe(
          Effect.provide(Model),
          Effect.withConfigProvider(ConfigProvider.fromMap(
            new Map([["MODEL", "from-config"], ["BASE_URL", server.url], ["API_KEY", canary], ["TENANT", "t1"]])
          ))
        )
        assert.match(id, /\/from-config$/)
        assert.strictEqual(server.requests[0]!.json.model, "from-config")
        assert.strictEqual(server.requests[0]!.headers.authorization, `Bearer ${canary}`)
        assert.strictEqual(server.requests[0]!.headers["x-tenant"], "t1")
        const missing = yield* ask.pipe(
          Effect.provide(Model),
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["MODEL", "m"]]))),
          Effect.flip
        )
        assert.include(String(missing), "BASE_URL")
      }).pipe(Effect.scoped))
  })
})
