/**
 * What is known of each kind of server, one row for each fact: what is sent, to
 * where, and how answers in the forms they write are read.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { FetchHttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Stream } from "effect"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "./FaultServer.ts"

const question: LanguageModel.Request = { messages: [{ role: "user", content: "What is 2+2?" }] }

const ok = { choices: [{ message: { content: "4" }, finish_reason: "stop" }] }

/** The request that a client would send, and the model that sends it. */
const sent = (
  options: OpenAiCompatible.Options,
  request: LanguageModel.Request = question,
  how: "generate" | "stream" = "generate"
) =>
  Effect.gen(function*() {
    const seen: Array<{ readonly url: string; readonly headers: Headers; readonly body: any }> = []
    const model = yield* OpenAiCompatible.make(options)
    yield* Effect.provideService(
      how === "generate" ? model.generate(request) : Stream.runDrain(model.stream(request)),
      FetchHttpClient.Fetch,
      async (url, init) => {
        const body = init?.body
        seen.push({
          url: String(url),
          headers: new Headers(init?.headers),
          body: JSON.parse(body instanceof Uint8Array ? new TextDecoder().decode(body) : String(body))
        })
        return Response.json(ok)
      }
    )
    return { ...seen[0]!, model }
  }).pipe(Effect.provide(FetchHttpClient.layer))

const refused = (options: OpenAiCompatible.Options, request: LanguageModel.Request) =>
  Effect.gen(function*() {
    const server = yield* FaultServer.make(() => FaultServer.json(200, ok))
    const model = yield* OpenAiCompatible.make({ ...options, baseUrl: server.url })
    const whole = yield* Effect.flip(model.generate(request))
    const streamed = yield* Effect.flip(Stream.runDrain(model.stream(request)))
    assert.deepStrictEqual(whole.reason, streamed.reason)
    assert.strictEqual(whole.reason._tag, "InvalidRequest")
    assert.strictEqual(server.requests.length, 0)
    return whole
  }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici))

/** The same answer, whole and streamed. */
const answered = (options: Partial<OpenAiCompatible.Options>, script: FaultServer.Script) =>
  Effect.gen(function*() {
    const server = yield* FaultServer.make(() => script)
    const model = yield* OpenAiCompatible.make({ model: "m", baseUrl: server.url, ...options })
    return yield* LanguageModel.fold(model.stream(question), model.id)
  }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici))

const stream = (...frames: ReadonlyArray<unknown>): FaultServer.Script =>
  FaultServer.sse(...frames.map(FaultServer.event), FaultServer.event("[DONE]"))

const delta = (delta: unknown, finish: string | null = null, more: object = {}) => ({
  model: "m",
  choices: [{ index: 0, delta, finish_reason: finish }],
  ...more
})

const key = Redacted.make("k")

const azure = "https://unit.openai.azure.com"

describe("dialects", () => {
  describe("are found", () => {
    const cases: ReadonlyArray<readonly [options: Partial<OpenAiCompatible.Options>, url: string, id: string]> = [
      [{}, "https://api.openai.com/v1/chat/completions", "openai/m"],
      [{ baseUrl: "https://eu.api.openai.com" }, "https://eu.api.openai.com/v1/chat/completions", "openai/m"],
      [{ dialect: "ollama" }, "http://localhost:11434/v1/chat/completions", "ollama/m"],
      [{ baseUrl: "http://10.0.0.7:11434" }, "http://10.0.0.7:11434/v1/chat/completions", "ollama/m"],
      [{ dialect: "vllm" }, "http://localhost:8000/v1/chat/completions", "vllm/m"],
      [{ dialect: "llamacpp" }, "http://localhost:8080/v1/chat/completions", "llamacpp/m"],
      [{ dialect: "litellm_proxy" }, "http://localhost:4000/v1/chat/completions", "litellm_proxy/m"],
      [{ dialect: "openrouter" }, "https://openrouter.ai/api/v1/chat/completions", "openrouter/m"],
      [{ dialect: "groq" }, "https://api.groq.com/openai/v1/chat/completions", "groq/m"],
      [{ dialect: "mistral" }, "https://api.mistral.ai/v1/chat/completions", "mistral/m"],
      [{ dialect: "deepseek" }, "https://api.deepseek.com/v1/chat/completions", "deepseek/m"],
      [{ baseUrl: "https://api.deepseek.com" }, "https://api.deepseek.com/v1/chat/completions", "deepseek/m"],
      [{ dialect: "xai" }, "https://api.x.ai/v1/chat/completions", "xai/m"],
      [{ dialect: "together_ai" }, "https://api.together.xyz/v1/chat/completions", "together_ai/m"],
      [{ dialect: "fireworks_ai" }, "https://api.fireworks.ai/inference/v1/chat/completions", "fireworks_ai/m"],
      [{ dialect: "cerebras" }, "https://api.cerebras.ai/v1/chat/completions", "cerebras/m"],
      [{ baseUrl: "http://localhost:9999" }, "http://localhost:9999/v1/chat/completions", "localhost:9999/m"],
      [
        { baseUrl: "https://notgroq.com.evil.org/v1" },
        "https://notgroq.com.evil.org/v1/chat/completions",
        "notgroq.com.evil.org/m"
      ],
      // What is said wins over what could be guessed.
      [{ baseUrl: "http://localhost:11434", dialect: "vllm" }, "http://localhost:11434/v1/chat/completions", "vllm/m"],
      // The address of the endpoint itself is understood too.
      [
        { baseUrl: "https://api.groq.com/openai/v1/chat/completions" },
        "https://api.groq.com/openai/v1/chat/completions",
        "groq/m"
      ],
      // Azure, in its two forms, from whatever the portal shows.
      [{ baseUrl: azure }, `${azure}/openai/v1/chat/completions`, "azure/m"],
      [{ baseUrl: `${azure}/openai/v1/` }, `${azure}/openai/v1/chat/completions`, "azure/m"],
      [
        { baseUrl: `${azure}/?api-version=2024-10-21` },
        `${azure}/openai/deployments/m/chat/completions?api-version=2024-10-21`,
        "azure/m"
      ],
      [
        { baseUrl: `${azure}/openai/deployments/other?api-version=2024-10-21` },
        `${azure}/openai/deployments/other/chat/completions?api-version=2024-10-21`,
        "azure/m"
      ],
      [
        { baseUrl: "https://gateway.example/azure", dialect: "azure" },
        "https://gateway.example/azure/openai/v1/chat/completions",
        "azure/m"
      ]
    ]
    for (const [options, url, id] of cases) {
      it.effect(`${JSON.stringify(options)} is ${url}`, () =>
        Effect.gen(function*() {
          const request = yield* sent({ model: "m", ...options })
          assert.strictEqual(request.url, url)
          assert.strictEqual(request.model.id, id)
        }))
    }

    it.effect("a dialect without an address of its own says that one is missing", () =>
      Effect.gen(function*() {
        const model = yield* OpenAiCompatible.make({ model: "m", dialect: "azure" })
        const error = yield* Effect.flip(model.generate(question))
        assert.include(error.message, "`baseUrl` is not a URL")
      }).pipe(Effect.provide(FetchHttpClient.layer)))
  })

  describe("are sent", () => {
    it.effect("the key where each wants it", () =>
      Effect.gen(function*() {
        const openai = yield* sent({ model: "m", apiKey: key })
        assert.strictEqual(openai.headers.get("authorization"), "Bearer k")
        const azured = yield* sent({ model: "m", baseUrl: azure, apiKey: key })
        assert.strictEqual(azured.headers.get("api-key"), "k")
        assert.isNull(azured.headers.get("authorization"))
      }))

    const settings: ReadonlyArray<
      readonly [
        dialect: OpenAiCompatible.Dialect | undefined,
        settings: LanguageModel.Settings,
        fields: object,
        model?: string
      ]
    > = [
      ["openai", { maxTokens: 5 }, { max_completion_tokens: 5 }],
      ["openai", { reasoningEffort: "minimal" }, { reasoning_effort: "minimal" }],
      ["openai", { n: 3, seed: 1 }, { n: 3, seed: 1 }],
      ["azure", { maxTokens: 5 }, { max_completion_tokens: 5 }],
      ["groq", { maxTokens: 5 }, { max_completion_tokens: 5 }],
      ["groq", { n: 1 }, {}],
      ["xai", { maxTokens: 5 }, { max_completion_tokens: 5 }],
      ["cerebras", { maxTokens: 5, reasoningEffort: "none" }, { max_completion_tokens: 5, reasoning_effort: "none" }],
      ["ollama", { maxTokens: 5, reasoningEffort: "none" }, { max_tokens: 5, reasoning_effort: "none" }],
      ["ollama", { n: 1 }, {}],
      ["ollama", { maxTokens: 5 }, { max_tokens: 5 }, "gpt-5-like"],
      ["llamacpp", { maxTokens: 5, reasoningEffort: "none" }, { max_tokens: 5, reasoning_effort: "none" }],
      ["vllm", { maxTokens: 5, n: 2 }, { max_tokens: 5, n: 2 }],
      [
        "vllm",
        {
          extensions: { chat_template_kwargs: { enable_thinking: false }, structured_outputs: { choice: ["a", "b"] } }
        },
        { chat_template_kwargs: { enable_thinking: false }, structured_outputs: { choice: ["a", "b"] } }
      ],
      ["openrouter", { reasoningEffort: "high", maxTokens: 5 }, { reasoning: { effort: "high" }, max_tokens: 5 }],
      [
        "openrouter",
        {
          reasoningEffort: "high",
          extensions: { provider: { require_parameters: true }, reasoning: { max_tokens: 99 } }
        },
        { provider: { require_parameters: true }, reasoning: { max_tokens: 99 } }
      ],
      ["mistral", { seed: 7, maxTokens: 5, n: 2 }, { random_seed: 7, max_tokens: 5, n: 2 }],
      ["deepseek", { reasoningEffort: "none" }, { thinking: { type: "disabled" } }],
      ["deepseek", { reasoningEffort: "low" }, { thinking: { type: "enabled" }, reasoning_effort: "low" }],
      ["together_ai", { reasoningEffort: "none" }, { reasoning: { enabled: false } }],
      ["together_ai", { reasoningEffort: "low", logprobs: 3, seed: 1 }, {
        reasoning_effort: "low",
        logprobs: 3,
        seed: 1
      }],
      ["together_ai", { logprobs: 0 }, { logprobs: 1 }],
      ["fireworks_ai", { maxTokens: 5, n: 2 }, { max_tokens: 5, n: 2 }],
      ["litellm_proxy", { maxTokens: 5 }, { max_tokens: 5 }, "ours"],
      ["litellm_proxy", { maxTokens: 5 }, { max_completion_tokens: 5 }, "o3"],
      [undefined, { maxTokens: 5, n: 2 }, { max_tokens: 5, n: 2 }]
    ]
    for (const [dialect, set, fields, model = "m"] of settings) {
      it.effect(`${dialect ?? "unknown"}: ${JSON.stringify(set)}`, () =>
        Effect.gen(function*() {
          const { body } = yield* sent({ model, dialect, baseUrl: "http://localhost:9" }, {
            ...question,
            settings: set
          })
          const { messages: _, model: __, ...rest } = body
          assert.deepStrictEqual(rest, fields)
        }))
    }

    it.effect("no question for usage, where it comes unasked and the question is unknown", () =>
      Effect.gen(function*() {
        for (
          const [dialect, asked] of [["openai", true], ["ollama", true], ["groq", false], ["mistral", false]] as const
        ) {
          const { body } = yield* sent({ model: "m", dialect }, question, "stream")
          assert.deepStrictEqual(body.stream_options, asked ? { include_usage: true } : undefined, dialect)
        }
      }))
  })

  describe("refuse", () => {
    const cases: ReadonlyArray<
      readonly [OpenAiCompatible.Dialect, Partial<LanguageModel.Request>, words: string]
    > = [
      ["ollama", { settings: { n: 2 } }, "one output for each call, `n` is 2"],
      ["ollama", { toolChoice: "required" }, "`toolChoice`"],
      ["ollama", { toolChoice: { name: "look" } }, "`toolChoice`"],
      ["groq", { settings: { logprobs: 1 } }, "no setting `logprobs`"],
      ["groq", { settings: { n: 2 } }, "`n` is 2"],
      ["mistral", { settings: { logprobs: 0 } }, "no setting `logprobs`"],
      ["deepseek", { settings: { seed: 1 } }, "no setting `seed`"],
      ["deepseek", { settings: { n: 2 } }, "`n` is 2"],
      ["openrouter", { settings: { n: 2 } }, "`n` is 2"]
    ]
    for (const [dialect, request, words] of cases) {
      it.live(`${dialect}: ${JSON.stringify(request)}`, () =>
        Effect.gen(function*() {
          const error = yield* refused({ model: "m", dialect }, { ...question, ...request })
          assert.include(error.message, words)
          assert.deepStrictEqual([error.provider, error.attempts], [dialect, 0])
        }))
    }
  })

  describe("want to see their reasoning again", () => {
    const call = { id: "c", index: 0, type: "function", function: { name: "look", arguments: "{}" } }
    const turn = (options: OpenAiCompatible.Options, frames: ReadonlyArray<unknown>) =>
      Effect.gen(function*() {
        const { outputs } = yield* answered(options, stream(...frames))
        const messages = [...question.messages, LanguageModel.toMessage(outputs[0]!)]
        const next = yield* sent({ ...options, baseUrl: "http://localhost:9" }, { messages })
        const elsewhere = yield* sent({ model: "m", dialect: "vllm" }, { messages })
        assert.deepStrictEqual(Object.keys(elsewhere.body.messages[1]).sort(), ["content", "role", "tool_calls"])
        return next.body.messages[1]
      })

    it.live("DeepSeek", () =>
      Effect.gen(function*() {
        const message = yield* turn({ model: "m", dialect: "deepseek" }, [
          delta({ role: "assistant", content: null, reasoning_content: "Ea" }),
          delta({ reasoning_content: "sy", content: null }),
          delta({ tool_calls: [call] }, "tool_calls")
        ])
        assert.strictEqual(message.reasoning_content, "Easy")
      }))

    it.live("OpenRouter, part by part, with the signatures", () =>
      Effect.gen(function*() {
        const details = (...reasoning_details: ReadonlyArray<object>) => delta({ content: "", reasoning_details })
        const message = yield* turn({ model: "m", dialect: "openrouter" }, [
          details({ type: "reasoning.text", text: "Ea", index: 0, format: "f", signature: null }),
          details({ type: "reasoning.text", text: "sy", index: 0 }),
          details({ type: "reasoning.text", text: "", signature: "s", index: 0 }),
          details({ type: "reasoning.encrypted", data: "AAAA", index: 1 }),
          // What has no number is whole.
          details({ type: "reasoning.text", text: "a" }, { type: "reasoning.text", text: "b" }),
          delta({ tool_calls: [call] }, "tool_calls")
        ])
        assert.deepStrictEqual(message.reasoning_details, [
          { type: "reasoning.text", text: "Easy", index: 0, format: "f", signature: "s" },
          { type: "reasoning.encrypted", data: "AAAA", index: 1 },
          { type: "reasoning.text", text: "a" },
          { type: "reasoning.text", text: "b" }
        ])
      }))
  })

  it.effect("say what all of their models can do; the options know better", () =>
    Effect.gen(function*() {
      const can = (options: Partial<OpenAiCompatible.Options>) =>
        Effect.map(OpenAiCompatible.make({ model: "m", ...options }), ({ capabilities }) =>
          [capabilities.responseFormat, capabilities.multipleOutputs] as const)
      assert.deepStrictEqual(yield* can({ dialect: "openai" }), ["jsonSchema", true])
      assert.deepStrictEqual(yield* can({ dialect: "ollama" }), ["jsonSchema", false])
      assert.deepStrictEqual(yield* can({ dialect: "vllm" }), ["jsonSchema", true])
      assert.deepStrictEqual(yield* can({ dialect: "deepseek" }), ["jsonObject", false])
      assert.deepStrictEqual(yield* can({ dialect: "groq" }), ["jsonObject", false])
      assert.deepStrictEqual(
        yield* can({ dialect: "groq", capabilities: { responseFormat: "jsonSchema" } }),
        ["jsonSchema", false]
      )
      const limits = (dialect: OpenAiCompatible.Options["dialect"]) =>
        Effect.map(OpenAiCompatible.make({ model: "m", dialect }), ({ capabilities }) =>
          capabilities.schemaLimits)
      assert.strictEqual((yield* limits("openai"))?.properties, 5000)
      assert.deepStrictEqual([(yield* limits("azure"))?.depth, (yield* limits("azure"))?.enumValues], [5, 500])
      assert.deepStrictEqual([(yield* limits("cerebras"))?.recursive, (yield* limits("cerebras"))?.length], [
        false,
        5000
      ])
      assert.isUndefined(yield* limits("llamacpp"))
    }).pipe(Effect.provide(FetchHttpClient.layer)))

  describe("are read", () => {
    it.live("Mistral: content in parts, thinking among them, no index, no tool calls, usage on the last chunk", () =>
      Effect.gen(function*() {
        const thinking = (text: string) => [{ type: "thinking", thinking: [{ type: "text", text }] }]
        const response = yield* answered(
          { dialect: "mistral" },
          stream(
            { model: "m", choices: [{ delta: { role: "assistant", content: thinking("Two and"), tool_calls: null } }] },
            { model: "m", choices: [{ delta: { content: thinking(" two.") }, finish_reason: null }] },
            { model: "m", choices: [{ delta: { content: [{ type: "text", text: "4" }] } }] },
            {
              model: "m",
              choices: [{ delta: { content: "" }, finish_reason: "stop" }],
              usage: { prompt_tokens: 10, completion_tokens: 6, total_tokens: 16 }
            }
          )
        )
        assert.deepStrictEqual(response.outputs, [
          { text: "4", reasoning: "Two and two.", toolCalls: [], finishReason: "stop" }
        ])
        assert.deepStrictEqual(response.usage, { inputTokens: 10, outputTokens: 6 })
      }))

    it.live("DeepSeek, vLLM, llama.cpp: reasoning_content, and what its cache held", () =>
      Effect.gen(function*() {
        const response = yield* answered(
          { dialect: "deepseek" },
          stream(
            delta({ role: "assistant", content: null, reasoning_content: "" }),
            delta({ content: null, reasoning_content: "Easy" }),
            delta({ content: null, reasoning_content: "." }),
            delta({ content: "4", reasoning_content: null }),
            delta({ content: "", reasoning_content: null }, "stop", {
              usage: {
                prompt_tokens: 30,
                completion_tokens: 5,
                total_tokens: 35,
                prompt_cache_hit_tokens: 20,
                prompt_cache_miss_tokens: 10,
                completion_tokens_details: { reasoning_tokens: 3 }
              }
            })
          )
        )
        assert.deepStrictEqual(response.outputs[0], {
          text: "4",
          reasoning: "Easy.",
          toolCalls: [],
          finishReason: "stop",
          continuation: { provider: "deepseek", parts: [{ reasoning_content: "Easy." }] }
        })
        assert.deepStrictEqual(response.usage, {
          inputTokens: 30,
          outputTokens: 5,
          cachedInputTokens: 20,
          reasoningTokens: 3
        })
      }))

    it.live("Ollama, Groq, Cerebras, Together: reasoning", () =>
      Effect.gen(function*() {
        const response = yield* answered(
          { dialect: "groq" },
          stream(
            delta({ role: "assistant", content: "" }, null, { x_groq: { id: "req_1" } }),
            delta({ reasoning: "Ea" }),
            delta({ reasoning: "sy", content: "" }),
            delta({ content: "4" }),
            delta({}, "stop", {
              x_groq: { id: "req_1", usage: { prompt_tokens: 7 } },
              usage: { prompt_tokens: 7, completion_tokens: 4, total_time: 0.5 }
            })
          )
        )
        assert.deepStrictEqual(response.outputs[0], {
          text: "4",
          reasoning: "Easy",
          toolCalls: [],
          finishReason: "stop"
        })
        assert.deepStrictEqual(response.usage, { inputTokens: 7, outputTokens: 4 })
      }))

    it.live("OpenRouter: comments while it waits, reasoning in details alone, the cost", () =>
      Effect.gen(function*() {
        const detail = (detail: object) => delta({ content: "", reasoning: null, reasoning_details: [detail] })
        const response = yield* answered({ dialect: "openrouter" }, [
          ...FaultServer.sse(": OPENROUTER PROCESSING\n\n", ": OPENROUTER PROCESSING\n\n"),
          ...[
            detail({ type: "reasoning.text", text: "Ea", index: 0 }),
            detail({ type: "reasoning.summary", summary: "sy", index: 0 }),
            detail({ type: "reasoning.encrypted", data: "AAAA", index: 0 }),
            delta({ content: "4", reasoning: null }),
            delta({ content: "" }, "stop"),
            { choices: [], usage: { prompt_tokens: 7, completion_tokens: 4, cost: 0.00014 } }
          ].map((frame) => FaultServer.write(FaultServer.event(frame))),
          FaultServer.write(FaultServer.event("[DONE]"))
        ])
        assert.deepInclude(response.outputs[0], {
          text: "4",
          reasoning: "Easy",
          toolCalls: [],
          finishReason: "stop"
        })
        assert.deepStrictEqual(response.usage, { inputTokens: 7, outputTokens: 4, cost: 0.00014 })
      }))

    it.live("xAI: reasoning counted beside the completion, the cost in ticks", () =>
      Effect.gen(function*() {
        const usage = {
          prompt_tokens: 12,
          completion_tokens: 1,
          total_tokens: 303,
          prompt_tokens_details: { cached_tokens: 11 },
          completion_tokens_details: { reasoning_tokens: 290 },
          cost_in_usd_ticks: 1_500_000
        }
        const response = yield* answered(
          { dialect: "xai" },
          stream(delta({ reasoning_content: "Easy" }), delta({ content: "4" }), delta({}, "stop"), {
            choices: [],
            usage
          })
        )
        assert.deepStrictEqual(response.usage, {
          inputTokens: 12,
          outputTokens: 291,
          cachedInputTokens: 11,
          reasoningTokens: 290,
          cost: 0.00015
        })
      }))

    it.live("Azure: a first chunk with the verdict of its filter and no choice", () =>
      Effect.gen(function*() {
        const response = yield* answered(
          { dialect: "azure" },
          stream(
            { model: "", choices: [], prompt_filter_results: [{ prompt_index: 0, content_filter_results: {} }] },
            delta({ content: "4" }, null, { model: "gpt-4o-2024" }),
            delta({}, "stop"),
            { choices: [], usage: { prompt_tokens: 7, completion_tokens: 1 } }
          )
        )
        assert.deepStrictEqual(response.outputs[0]?.text, "4")
        assert.deepStrictEqual(response.usage, { inputTokens: 7, outputTokens: 1 })
      }))

    it.live("Together: probabilities in two lists", () =>
      Effect.gen(function*() {
        const server = FaultServer.json(200, {
          choices: [{
            message: { content: "4!" },
            finish_reason: "eos",
            logprobs: { token_ids: [1, 2, 3], tokens: ["4", "!", null], token_logprobs: [-0.5, -1, null] }
          }]
        })
        const response = yield* answered({ dialect: "together_ai" }, server)
        assert.deepStrictEqual(response.outputs[0], {
          text: "4!",
          toolCalls: [],
          finishReason: "stop",
          logprobs: [{ token: "4", logprob: -0.5 }, { token: "!", logprob: -1 }]
        })
      }))

    it.live("Ollama: a whole tool call in one chunk, its arguments as text, and all numbered alike", () =>
      Effect.gen(function*() {
        const call = (id: string, city: string) => ({
          id,
          index: 0,
          type: "function",
          function: { name: "weather", arguments: JSON.stringify({ city }) }
        })
        const response = yield* answered(
          { dialect: "ollama" },
          stream(
            delta({ role: "assistant", content: "", tool_calls: [call("call_a", "Oslo")] }),
            delta({ role: "assistant", content: "", tool_calls: [call("call_b", "Rome")] }),
            delta({ content: "" }, "tool_calls")
          )
        )
        assert.deepStrictEqual(response.outputs[0]?.toolCalls, [
          { id: "call_a", name: "weather", arguments: "{\"city\":\"Oslo\"}" },
          { id: "call_b", name: "weather", arguments: "{\"city\":\"Rome\"}" }
        ])
      }))

    const failures: ReadonlyArray<
      readonly [dialect: OpenAiCompatible.Dialect, status: number, body: unknown, tag: string]
    > = [
      ["openai", 429, { error: { code: "insufficient_quota", message: "You exceeded your quota" } }, "QuotaExhausted"],
      [
        "azure",
        404,
        { error: { code: "DeploymentNotFound", message: "The API deployment does not exist." } },
        "NotFound"
      ],
      ["ollama", 404, { error: { message: "model 'm' not found", type: "not_found_error" } }, "NotFound"],
      ["vllm", 400, { object: "error", message: "maximum context length is 4096", code: 400 }, "ContextWindowExceeded"],
      ["llamacpp", 503, { error: { code: 503, message: "Loading model", type: "unavailable_error" } }, "Overloaded"],
      [
        "llamacpp",
        400,
        { error: { code: 400, message: "too long", type: "exceed_context_size_error" } },
        "ContextWindowExceeded"
      ],
      [
        "litellm_proxy",
        429,
        { error: { message: "No deployments available", type: "None", code: "429" } },
        "RateLimited"
      ],
      ["openrouter", 402, { error: { code: 402, message: "Insufficient credits" } }, "QuotaExhausted"],
      [
        "groq",
        413,
        { error: { code: "rate_limit_exceeded", type: "tokens", message: "Request too large" } },
        "RequestTooLarge"
      ],
      [
        "mistral",
        422,
        { detail: [{ loc: ["body", "seed"], msg: "Extra inputs are not permitted" }] },
        "InvalidRequest"
      ],
      ["mistral", 401, { message: "Unauthorized", request_id: "1" }, "Authentication"],
      [
        "deepseek",
        402,
        { error: { message: "Insufficient Balance", code: "invalid_request_error" } },
        "QuotaExhausted"
      ],
      [
        "xai",
        400,
        { code: "Client specified an invalid argument", error: "Incorrect API key provided" },
        "Authentication"
      ],
      ["together_ai", 404, { error: { code: "model_not_available", message: "Unable to access model" } }, "NotFound"],
      ["fireworks_ai", 404, { error: { object: "error", code: "NOT_FOUND", message: "Model not found" } }, "NotFound"],
      ["cerebras", 429, {
        message: "Tokens per minute exceeded",
        type: "too_many_tokens_error",
        code: "token_quota_exceeded"
      }, "RateLimited"]
    ]
    for (const [dialect, status, body, tag] of failures) {
      it.live(`${dialect}: ${status} ${JSON.stringify(body)} is ${tag}`, () =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(answered({ dialect }, FaultServer.json(status, body)))
          assert.strictEqual(error.reason._tag, tag)
          assert.strictEqual(error.provider, dialect)
        }))
    }
  })
})
