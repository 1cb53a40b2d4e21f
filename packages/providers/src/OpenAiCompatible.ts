/**
 * Any server that speaks OpenAI's chat completions (`POST /v1/chat/completions`):
 * OpenAI itself, Ollama, vLLM, llama.cpp, LiteLLM, OpenRouter, Groq and others.
 *
 * One call is one request. Retries, time limits, caching and budgets are
 * policies, applied to the Layer.
 *
 * @since 0.1.0
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as chat from "./internal/chatCompletions.ts"
import * as exchange from "./internal/exchange.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * Which model, and where.
 *
 * - `model`: the name the server knows it by, such as `gpt-4o-mini`.
 * - `baseUrl`: the server's address, with or without `/v1` at its end; default
 *   `https://api.openai.com/v1`.
 * - `apiKey`: sent as a bearer token. Local servers mostly need none.
 * - `id`: the name users know; default `openai/<model>` or `<host>/<model>`.
 * - `headers`: sent with every request; a value that is `Redacted` stays out of
 *   logs and spans.
 * - `capabilities`: what this server does differently. Assumed are streaming,
 *   tools, images and JSON Schema; several outputs in one call only of OpenAI
 *   itself, since other servers silently return one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly model: string
  readonly baseUrl?: string | undefined
  readonly apiKey?: Redacted.Redacted | undefined
  readonly id?: string | undefined
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  readonly capabilities?: Partial<LanguageModel.Capabilities> | undefined
}

const openAi = "https://api.openai.com/v1"

// A version anywhere in the path means that the address is complete (`/v1`, `/v1beta/openai`).
const endpoint = (baseUrl: string): string => {
  const base = baseUrl.replace(/\/+$/, "")
  return `${/\/v\d+[a-z0-9]*(\/|$)/.test(base) ? base : `${base}/v1`}/chat/completions`
}

// =============================================================================
// The model
// =============================================================================

/**
 * A model behind an OpenAI-compatible server.
 *
 * It sends one request for each call and reports failures as
 * `LanguageModelError`s that hold neither the prompt nor a key. Interrupting a
 * call closes its connection. A stream is complete when the server said why
 * the model stopped, or wrote `[DONE]`; otherwise it fails with
 * `StreamTruncated`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<LanguageModel.Service, never, HttpClient.HttpClient> => {
  const { apiKey, model } = options
  const url = endpoint(options.baseUrl ?? openAi)
  const host = exchange.hostOf(url)
  return exchange.make({
    id: options.id ?? `${host === "api.openai.com" ? "openai" : host}/${model}`,
    host,
    model,
    headers: {
      ...(apiKey === undefined ? undefined : { authorization: Redacted.make(`Bearer ${Redacted.value(apiKey)}`) }),
      ...options.headers
    },
    capabilities: {
      tools: true,
      images: true,
      responseFormat: "jsonSchema",
      multipleOutputs: host === "api.openai.com",
      ...options.capabilities
    },
    dialect: {
      url: () => url,
      encode: (request, stream) => chat.encode(request, { model, stream }),
      reader: (request) => new chat.Reader(model, request.settings?.n ?? 1)
    }
  })
}

// =============================================================================
// Layers
// =============================================================================

/**
 * The model as a Layer. On Node provide `NodeHttpClient.layerUndici` of
 * `@effect/platform-node` as the client; `FetchHttpClient.layer` works
 * everywhere, at a multiple of the cost.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * // Stands for a server, so that this example needs none.
 * const server = async () =>
 *   Response.json({
 *     model: "qwen2.5:3b",
 *     choices: [{ message: { content: "Hello!" }, finish_reason: "stop" }],
 *     usage: { prompt_tokens: 9, completion_tokens: 2 }
 *   })
 *
 * const Model = OpenAiCompatible.layer({ model: "qwen2.5:3b", baseUrl: "http://localhost:11434" }).pipe(
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "Say hello." }] }).pipe(
 *   Effect.provide(Model),
 *   Effect.provideService(FetchHttpClient.Fetch, server)
 * )
 *
 * Effect.runPromise(program).then((response) => {
 *   assert.strictEqual(response.outputs[0]?.text, "Hello!")
 *   assert.deepStrictEqual(response.usage, { inputTokens: 9, outputTokens: 2 })
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<LanguageModel.LanguageModel, never, HttpClient.HttpClient> =>
  Layer.effect(LanguageModel.LanguageModel, make(options))

/**
 * The same, with every option read from the configuration of the program.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Config, ConfigProvider, Effect, Layer } from "effect"
 *
 * const Model = OpenAiCompatible.layerConfig({
 *   model: Config.string("MODEL"),
 *   apiKey: Config.redacted("OPENAI_API_KEY")
 * }).pipe(
 *   Layer.provide(FetchHttpClient.layer),
 *   Layer.provide(Layer.setConfigProvider(
 *     ConfigProvider.fromMap(new Map([["MODEL", "gpt-4o-mini"], ["OPENAI_API_KEY", "sk-..."]]))
 *   ))
 * )
 *
 * const id = Effect.runSync(LanguageModel.LanguageModel.pipe(
 *   Effect.map((model) => model.id),
 *   Effect.provide(Model)
 * ))
 *
 * assert.strictEqual(id, "openai/gpt-4o-mini")
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<LanguageModel.LanguageModel, ConfigError, HttpClient.HttpClient> =>
  Layer.effect(LanguageModel.LanguageModel, Effect.flatMap(Config.unwrap(options), make))
