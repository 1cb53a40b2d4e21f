/**
 * Claude, through Anthropic's Messages API (`POST /v1/messages`), and servers
 * that speak it.
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
import type * as Redacted from "effect/Redacted"
import type * as Bounds from "./Bounds.ts"
import * as anthropic from "./internal/anthropic.ts"
import * as exchange from "./internal/exchange.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * Which model, and where.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Its name, such as `claude-haiku-4-5`. */
  readonly model: string
  /** The server's address, with or without `/v1` at its end; default `https://api.anthropic.com/v1`. */
  readonly baseUrl?: string | undefined
  /** Sent as `x-api-key`. */
  readonly apiKey?: Redacted.Redacted | undefined
  /** The name users know; default `anthropic/<model>` or `<host>/<model>`. */
  readonly id?: string | undefined
  /** Sent with every request, `anthropic-beta` for one; a value that is `Redacted` stays out of logs and spans. */
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  /** How much of an answer is read before it is refused. */
  readonly bounds?: Bounds.Bounds | undefined
  /**
   * For how long the server is to keep what comes before the last turn (tools,
   * instructions, demonstrations, earlier turns), default `5m`. A call that
   * finds it there pays a tenth for that part, one that puts it there a quarter
   * more (for `1h` twice as much); parts too short to be kept cost as always.
   * `off` for prompts that are used once.
   */
  readonly cache?: "5m" | "1h" | "off" | undefined
  /**
   * What this server does differently. Assumed are streaming, tools, images,
   * files, reasoning, citations and JSON Schema.
   */
  readonly capabilities?: Partial<LanguageModel.Capabilities> | undefined
}

// =============================================================================
// The model
// =============================================================================

/**
 * A model behind the Messages API.
 *
 * It sends one request for each call and reports failures as
 * `LanguageModelError`s that hold neither the prompt nor a key. Interrupting a
 * call closes its connection. A stream is complete with `message_stop`;
 * without it, it fails with `StreamTruncated`.
 *
 * How settings are understood:
 *
 * - `maxTokens` counts reasoning too. The API wants a number: without one it is
 *   16,384, before Claude 4.5 and of other models 4,096, and more when
 *   reasoning is asked for.
 * - `reasoningEffort` is, up to Claude 4.6, a number of tokens to think (1,024
 *   for `minimal`, 2,048, 8,192, 16,384 for `high`), at most half of
 *   `maxTokens`; where that leaves fewer than 1,024, and where a tool is forced
 *   with `toolChoice`, there is no thinking. Later models think adaptively, and
 *   are told how hard.
 * - `temperature` and `topP` are sent as they are; beside thinking, and after
 *   Claude 4.6, the API takes only 1 for either. `seed`, `logprobs` and an `n`
 *   above 1 do not exist there, and fail with `InvalidRequest` before anything
 *   is sent.
 * - `extensions` win over all of these: `{ thinking: { type: "adaptive" } }`,
 *   `{ top_k: 5 }`. `tools` among them, such as those that the server runs
 *   itself, are added to the request's.
 *
 * A JSON Schema holds the answer natively from Claude 4.5 on; before, and of
 * other models, the answer is what a forced tool takes, unless the request has
 * tools of its own. Text parts with a `document` can be cited in answers that
 * are held to no format.
 *
 * An answer with reasoning, or of tools that the server runs, has a
 * `continuation`: send it back with the assistant's turn (see
 * `LanguageModel.toMessage`), as the API demands when tools follow reasoning.
 * A paused turn and one that filled the context window end with `length`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<LanguageModel.Service, never, HttpClient.HttpClient> => {
  const { apiKey, model } = options
  const url = `${exchange.versioned(options.baseUrl ?? "https://api.anthropic.com", "v1")}/messages`
  const host = exchange.hostOf(url)
  return exchange.make({
    id: options.id ?? `${host === "api.anthropic.com" ? "anthropic" : host}/${model}`,
    host,
    model,
    bounds: options.bounds,
    headers: {
      "anthropic-version": "2023-06-01",
      ...(apiKey === undefined ? undefined : { "x-api-key": apiKey }),
      ...options.headers
    },
    capabilities: {
      tools: true,
      images: true,
      files: true,
      reasoning: true,
      citations: true,
      responseFormat: "jsonSchema",
      // platform.claude.com/docs/en/build-with-claude/structured-outputs, "Schema complexity limits". What may be left out is
      // limited too, but nothing is, as strict schemas require all.
      schemaLimits: { recursive: false, unions: 16 },
      ...options.capabilities
    },
    dialect: {
      url: () => url,
      encode: (request, stream) => anthropic.encode(request, { model, stream, cache: options.cache ?? "5m" }),
      reader: (request) => new anthropic.Reader(model, request),
      refusal: anthropic.refusal
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
 * import * as Anthropic from "@effect-dspy/providers/Anthropic"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer, Redacted } from "effect"
 *
 * // Stands for the API, so that this example needs no key.
 * const server = async () =>
 *   Response.json({
 *     type: "message",
 *     model: "claude-haiku-4-5",
 *     content: [{ type: "text", text: "Hello!" }],
 *     stop_reason: "end_turn",
 *     usage: { input_tokens: 3, cache_read_input_tokens: 2000, output_tokens: 2 }
 *   })
 *
 * const Model = Anthropic.layer({ model: "claude-haiku-4-5", apiKey: Redacted.make("sk-ant-...") }).pipe(
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
 *   assert.deepStrictEqual(response.usage, { inputTokens: 2003, cachedInputTokens: 2000, outputTokens: 2 })
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
 * import * as Anthropic from "@effect-dspy/providers/Anthropic"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Config, ConfigProvider, Effect, Layer } from "effect"
 *
 * const Model = Anthropic.layerConfig({
 *   model: Config.string("MODEL"),
 *   apiKey: Config.redacted("ANTHROPIC_API_KEY")
 * }).pipe(
 *   Layer.provide(FetchHttpClient.layer),
 *   Layer.provide(Layer.setConfigProvider(
 *     ConfigProvider.fromMap(new Map([["MODEL", "claude-haiku-4-5"], ["ANTHROPIC_API_KEY", "sk-ant-..."]]))
 *   ))
 * )
 *
 * const id = Effect.runSync(LanguageModel.LanguageModel.pipe(
 *   Effect.map((model) => model.id),
 *   Effect.provide(Model)
 * ))
 *
 * assert.strictEqual(id, "anthropic/claude-haiku-4-5")
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<LanguageModel.LanguageModel, ConfigError, HttpClient.HttpClient> =>
  Layer.effect(LanguageModel.LanguageModel, Effect.flatMap(Config.unwrap(options), make))
