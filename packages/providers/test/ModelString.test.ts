import * as Embedder from "@effect-dspy/core/Embedder"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { FetchHttpClient } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Redacted } from "effect"
import * as ModelString from "../src/ModelString.ts"

const environment = (variables: Record<string, string>) =>
  Layer.setConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))

interface Call {
  readonly url: string
  readonly headers: Headers
  readonly model: unknown
}

/** Asks the model, and says where the request went. */
const asked = (text: string, variables: Record<string, string> = {}, options?: ModelString.Options) =>
  Effect.gen(function*() {
    const calls: Array<Call> = []
    const { id } = yield* LanguageModel.LanguageModel
    yield* Effect.provideService(
      Effect.exit(LanguageModel.generate({ messages: [{ role: "user", content: "?" }] })),
      FetchHttpClient.Fetch,
      async (url, init) => {
        const body = init?.body
        const json = JSON.parse(body instanceof Uint8Array ? new TextDecoder().decode(body) : String(body))
        calls.push({ url: String(url), headers: new Headers(init?.headers), model: json.model })
        return Response.json({})
      }
    )
    return { id, ...calls[0]! }
  }).pipe(
    Effect.provide(
      ModelString.layer(text, options).pipe(Layer.provide([FetchHttpClient.layer, environment(variables)]))
    )
  )

const fails = (text: string, variables: Record<string, string> = {}) =>
  Effect.map(Effect.flip(asked(text, variables)), String)

describe("ModelString", () => {
  describe("goes where the text says, with the key that is configured", () => {
    const cases: ReadonlyArray<
      readonly [text: string, variables: Record<string, string>, url: string, model: string, key: string | null]
    > = [
      [
        "openai/gpt-4o-mini",
        { OPENAI_API_KEY: "k" },
        "https://api.openai.com/v1/chat/completions",
        "gpt-4o-mini",
        "Bearer k"
      ],
      [
        "openai/nvidia/nemotron-3-8b-instruct",
        { OPENAI_BASE_URL: "http://gpu:8000/v1" },
        "http://gpu:8000/v1/chat/completions",
        "nvidia/nemotron-3-8b-instruct",
        null
      ],
      ["openai/m", { OPENAI_API_BASE: "http://gpu" }, "http://gpu/v1/chat/completions", "m", null],
      // An empty variable is none.
      [
        "openai/m",
        { OPENAI_BASE_URL: "", OPENAI_API_BASE: "http://gpu", OPENAI_API_KEY: "" },
        "http://gpu/v1/chat/completions",
        "m",
        null
      ],
      ["ollama/llama3.2", {}, "http://localhost:11434/v1/chat/completions", "llama3.2", null],
      ["ollama_chat/llama3.2:1b", {}, "http://localhost:11434/v1/chat/completions", "llama3.2:1b", null],
      [
        "ollama/llama3.2",
        { OLLAMA_API_BASE: "http://gpu:11434" },
        "http://gpu:11434/v1/chat/completions",
        "llama3.2",
        null
      ],
      ["vllm/Qwen/Qwen3-8B", {}, "http://localhost:8000/v1/chat/completions", "Qwen/Qwen3-8B", null],
      [
        "hosted_vllm/Qwen/Qwen3-8B",
        { HOSTED_VLLM_API_BASE: "http://gpu/v1", HOSTED_VLLM_API_KEY: "k" },
        "http://gpu/v1/chat/completions",
        "Qwen/Qwen3-8B",
        "Bearer k"
      ],
      ["llamacpp/any", {}, "http://localhost:8080/v1/chat/completions", "any", null],
      ["llama_cpp/any", {}, "http://localhost:8080/v1/chat/completions", "any", null],
      [
        "litellm_proxy/ours",
        { LITELLM_PROXY_API_BASE: "http://proxy", LITELLM_PROXY_API_KEY: "k" },
        "http://proxy/v1/chat/completions",
        "ours",
        "Bearer k"
      ],
      [
        "openrouter/openai/gpt-4o",
        { OPENROUTER_API_KEY: "k" },
        "https://openrouter.ai/api/v1/chat/completions",
        "openai/gpt-4o",
        "Bearer k"
      ],
      [
        "groq/llama-3.3-70b-versatile",
        { GROQ_API_KEY: "k" },
        "https://api.groq.com/openai/v1/chat/completions",
        "llama-3.3-70b-versatile",
        "Bearer k"
      ],
      [
        "mistral/mistral-small-latest",
        { MISTRAL_API_KEY: "k" },
        "https://api.mistral.ai/v1/chat/completions",
        "mistral-small-latest",
        "Bearer k"
      ],
      [
        "deepseek/deepseek-chat",
        { DEEPSEEK_API_KEY: "k" },
        "https://api.deepseek.com/v1/chat/completions",
        "deepseek-chat",
        "Bearer k"
      ],
      ["xai/grok-4", { XAI_API_KEY: "k" }, "https://api.x.ai/v1/chat/completions", "grok-4", "Bearer k"],
      [
        "together_ai/a/b",
        { TOGETHERAI_API_KEY: "k" },
        "https://api.together.xyz/v1/chat/completions",
        "a/b",
        "Bearer k"
      ],
      ["together_ai/a/b", { TOGETHER_API_KEY: "k" }, "https://api.together.xyz/v1/chat/completions", "a/b", "Bearer k"],
      [
        "fireworks_ai/accounts/a/models/b",
        { FIREWORKS_API_KEY: "k" },
        "https://api.fireworks.ai/inference/v1/chat/completions",
        "accounts/a/models/b",
        "Bearer k"
      ],
      [
        "cerebras/gpt-oss-120b",
        { CEREBRAS_API_KEY: "k" },
        "https://api.cerebras.ai/v1/chat/completions",
        "gpt-oss-120b",
        "Bearer k"
      ]
    ]
    for (const [text, variables, url, model, key] of cases) {
      it.effect(`${text} ${JSON.stringify(variables)}`, () =>
        Effect.gen(function*() {
          const call = yield* asked(text, variables)
          assert.deepStrictEqual([call.id, call.url, call.model], [text, url, model])
          assert.strictEqual(call.headers.get("authorization"), key)
        }))
    }

    it.effect("azure: address, version and key of LiteLLM, or of OpenAI's own clients", () =>
      Effect.gen(function*() {
        const old = yield* asked("azure/chat", {
          AZURE_API_BASE: "https://x.openai.azure.com/",
          AZURE_API_VERSION: "2024-10-21",
          AZURE_API_KEY: "k"
        })
        assert.strictEqual(
          old.url,
          "https://x.openai.azure.com/openai/deployments/chat/chat/completions?api-version=2024-10-21"
        )
        assert.strictEqual(old.headers.get("api-key"), "k")
        const recent = yield* asked("azure/chat", {
          AZURE_OPENAI_ENDPOINT: "https://x.openai.azure.com",
          AZURE_OPENAI_API_KEY: "k",
          OPENAI_API_VERSION: "preview"
        })
        assert.strictEqual(recent.url, "https://x.openai.azure.com/openai/v1/chat/completions?api-version=preview")
        const plain = yield* asked("azure/chat", { AZURE_API_BASE: "https://x.openai.azure.com", AZURE_API_KEY: "k" })
        assert.strictEqual(plain.url, "https://x.openai.azure.com/openai/v1/chat/completions")
      }))

    it.effect("anthropic", () =>
      Effect.gen(function*() {
        const call = yield* asked("anthropic/claude-haiku-4-5", { ANTHROPIC_API_KEY: "k" })
        assert.strictEqual(call.url, "https://api.anthropic.com/v1/messages")
        assert.strictEqual(call.headers.get("x-api-key"), "k")
        assert.deepStrictEqual([call.id, call.model], ["anthropic/claude-haiku-4-5", "claude-haiku-4-5"])
      }))

    it.effect("gemini", () =>
      Effect.gen(function*() {
        const call = yield* asked("gemini/gemini-2.5-flash", { GOOGLE_API_KEY: "k" })
        assert.strictEqual(
          call.url,
          "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
        )
        assert.strictEqual(call.headers.get("x-goog-api-key"), "k")
        assert.strictEqual(call.id, "gemini/gemini-2.5-flash")
      }))
  })

  it.effect("options win over the configuration", () =>
    Effect.gen(function*() {
      const call = yield* asked("groq/m", { GROQ_API_KEY: "k", GROQ_API_BASE: "http://wrong" }, {
        baseUrl: "http://mine/v1",
        apiKey: Redacted.make("mine"),
        headers: { "x-team": "a" },
        capabilities: { responseFormat: "jsonSchema" }
      })
      assert.strictEqual(call.url, "http://mine/v1/chat/completions")
      assert.strictEqual(call.headers.get("authorization"), "Bearer mine")
      assert.strictEqual(call.headers.get("x-team"), "a")
    }))

  it.effect("says what is wrong with a text", () =>
    Effect.gen(function*() {
      const known = `known are ${ModelString.providers.join(", ")}`
      assert.include(known, "anthropic, azure, cerebras, claude-cli, deepseek")
      const cases: ReadonlyArray<readonly [text: string, words: string]> = [
        [
          "gpt-4o",
          `"gpt-4o" names no model: it has no provider; write <provider>/gpt-4o, such as openai/gpt-4o; ${known}`
        ],
        ["opanai/gpt-4o", `unknown provider opanai, did you mean openai?; ${known}`],
        ["together/a", "unknown provider together, did you mean together_ai?"],
        ["zzzz/a", `unknown provider zzzz; ${known}`],
        ["/a", "unknown provider"],
        ["openai", "it has a provider only; write openai/<model>"],
        ["openai/", "it has a provider only; write openai/<model>"]
      ]
      for (const [text, words] of cases) {
        const error = yield* Effect.flip(asked(text))
        assert.strictEqual("_tag" in error ? error._tag : "", "ModelStringError")
        assert.include(String(error), words)
      }
    }))

  it.effect("names the variable that is missing", () =>
    Effect.gen(function*() {
      assert.include(yield* fails("openai/m"), "OPENAI_API_KEY")
      assert.include(yield* fails("groq/m", { GROQ_API_KEY: "" }), "set GROQ_API_KEY, or pass `apiKey`")
      assert.include(yield* fails("fireworks_ai/m"), "set FIREWORKS_AI_API_KEY or FIREWORKS_API_KEY")
      assert.include(yield* fails("anthropic/m"), "ANTHROPIC_API_KEY")
      assert.include(yield* fails("azure/m", { AZURE_API_KEY: "k" }), "AZURE_API_BASE")
      const AZURE_API_BASE = "https://x.openai.azure.com"
      assert.include(yield* fails("azure/m", { AZURE_API_BASE }), "set AZURE_API_KEY or AZURE_OPENAI_API_KEY")
      const signedIn = yield* asked("azure/m", { AZURE_API_BASE }, { headers: { authorization: "Bearer token" } })
      assert.strictEqual(signedIn.headers.get("authorization"), "Bearer token")
    }))

  it.effect("embedders", () =>
    Effect.gen(function*() {
      const id = (text: string) =>
        Embedder.Embedder.pipe(
          Effect.map((embedder) => embedder.id),
          Effect.provide(
            ModelString.embedderLayer(text).pipe(
              Layer.provide([FetchHttpClient.layer, environment({ ANTHROPIC_API_KEY: "k" })])
            )
          )
        )
      assert.strictEqual(yield* id("ollama/nomic-embed-text"), "ollama/nomic-embed-text")
      assert.include(String(yield* Effect.flip(id("anthropic/m"))), "the provider has no embeddings")
      assert.include(String(yield* Effect.flip(id("opanai/m"))), "did you mean openai")
    }))

  describe("claude-cli", () => {
    const claude = (text: string, options?: ModelString.Options, variables: Record<string, string> = {}) =>
      Effect.map(LanguageModel.LanguageModel, ({ id }) => id).pipe(
        Effect.provide(
          ModelString.layer(text, options).pipe(Layer.provide([FetchHttpClient.layer, environment(variables)]))
        )
      )

    it.effect("works in the folder that it is given, and in no other", () =>
      Effect.gen(function*() {
        const directory = import.meta.dirname
        assert.strictEqual(yield* claude("claude-cli/sonnet", { directory }), "claude-cli/sonnet")
        const configured = yield* claude("claude-cli/sonnet", {}, { CLAUDE_CLI_DIRECTORY: directory })
        assert.strictEqual(configured, "claude-cli/sonnet")
        const missing = String(yield* Effect.flip(claude("claude-cli/sonnet")))
        assert.include(missing, "set CLAUDE_CLI_DIRECTORY, or pass `directory`")
      }))

    it.effect("refuses what it would have to ignore, and what looks like an option", () =>
      Effect.gen(function*() {
        const directory = import.meta.dirname
        const refused = (text: string, options: ModelString.Options) =>
          Effect.map(Effect.flip(claude(text, options, { OPENAI_API_KEY: "k" })), String)
        assert.include(
          yield* refused("claude-cli/sonnet", { directory, baseUrl: "http://localhost" }),
          "takes no `baseUrl`"
        )
        assert.include(yield* refused("claude-cli/--dangerous", { directory }), "must not be empty or begin with")
        assert.include(yield* refused("openai/m", { directory }), "has no `directory`")
      }))
  })
})
