/**
 * Gemini, through Google's generateContent API
 * (`POST /v1beta/models/<model>:generateContent`).
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
import * as exchange from "./internal/exchange.ts"
import * as gemini from "./internal/gemini.ts"

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
  /** Its name, such as `gemini-2.5-flash`; one with a path, such as `tunedModels/mine`, is taken as it is. */
  readonly model: string
  /**
   * The server's address, with or without a version at its end; default
   * `https://generativelanguage.googleapis.com/v1beta`. That of a project on
   * Vertex AI ends in `/publishers/google` and wants a bearer token in
   * `headers`.
   */
  readonly baseUrl?: string | undefined
  /** Sent as `x-goog-api-key`, never in the URL. */
  readonly apiKey?: Redacted.Redacted | undefined
  /** The name users know; default `gemini/<model>` or `<host>/<model>`. */
  readonly id?: string | undefined
  /** Sent with every request; a value that is `Redacted` stays out of logs and spans. */
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  /** How much of an answer is read before it is refused. */
  readonly bounds?: Bounds.Bounds | undefined
  /**
   * What this server does differently. Assumed are streaming, tools, images,
   * audio, files, reasoning and JSON Schema; several outputs in one call only
   * some models can.
   */
  readonly capabilities?: Partial<LanguageModel.Capabilities> | undefined
}

// =============================================================================
// The model
// =============================================================================

/**
 * A model behind the generateContent API.
 *
 * It sends one request for each call and reports failures as
 * `LanguageModelError`s that hold neither the prompt nor a key. Interrupting a
 * call closes its connection. A stream is complete when the server said why
 * the model stopped; otherwise it fails with `StreamTruncated`. A prompt that
 * was blocked fails with `ContentFiltered`, a quota of a day that is spent with
 * `QuotaExhausted`.
 *
 * How settings are understood:
 *
 * - `maxTokens` counts reasoning too.
 * - `reasoningEffort` is, for Gemini 2.5, a number of tokens to think (512 for
 *   `minimal`, 2,048, 8,192, 24,576 for `high`), and from Gemini 3 on a level:
 *   `LOW` also for `none` and `minimal`, since these models always think. Older
 *   models and those of other names do not think.
 * - `extensions` win over all of these, also inside `generationConfig`:
 *   `{ generationConfig: { topK: 5 }, safetySettings: [...] }`. `tools` among
 *   them, such as `{ googleSearch: {} }`, are added to the request's.
 *
 * Before Gemini 3 a request that brings tools is held to no response format.
 * Answers that rest on sources have `citations`.
 *
 * An answer that was signed, as all with tool calls are from Gemini 3 on, has a
 * `continuation`: send it back with the assistant's turn (see
 * `LanguageModel.toMessage`). Turns that another model wrote need none.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<LanguageModel.Service, never, HttpClient.HttpClient> => {
  const { apiKey, model } = options
  const base = exchange.versioned(options.baseUrl ?? "https://generativelanguage.googleapis.com", "v1beta")
  const url = `${base}/${model.includes("/") ? model : `models/${model}`}`
  const host = exchange.hostOf(base)
  return exchange.make({
    id: options.id ?? `${host === "generativelanguage.googleapis.com" ? "gemini" : host}/${model}`,
    host,
    model,
    bounds: options.bounds,
    headers: {
      ...(apiKey === undefined ? undefined : { "x-goog-api-key": apiKey }),
      ...options.headers
    },
    capabilities: {
      tools: true,
      images: true,
      audio: true,
      files: true,
      reasoning: true,
      responseFormat: "jsonSchema",
      // ai.google.dev/gemini-api/docs/structured-output: it takes recursion in what need not be there alone, and strict schemas
      // require all.
      schemaLimits: { recursive: false },
      ...options.capabilities
    },
    dialect: {
      url: (stream) => stream ? `${url}:streamGenerateContent?alt=sse` : `${url}:generateContent`,
      encode: (request) => gemini.encode(request, { model }),
      reader: (request) => new gemini.Reader(model, request.settings?.n ?? 1),
      refusal: gemini.refusal
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
 * import * as Gemini from "@effect-dspy/providers/Gemini"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer, Redacted } from "effect"
 *
 * // Stands for the API, so that this example needs no key.
 * const server = async () =>
 *   Response.json({
 *     candidates: [{ content: { role: "model", parts: [{ text: "Hello!" }] }, finishReason: "STOP" }],
 *     usageMetadata: { promptTokenCount: 3, candidatesTokenCount: 2, thoughtsTokenCount: 40 }
 *   })
 *
 * const Model = Gemini.layer({ model: "gemini-2.5-flash", apiKey: Redacted.make("AIza...") }).pipe(
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
 *   assert.deepStrictEqual(response.usage, { inputTokens: 3, outputTokens: 42, reasoningTokens: 40 })
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
 * import * as Gemini from "@effect-dspy/providers/Gemini"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Config, ConfigProvider, Effect, Layer } from "effect"
 *
 * const Model = Gemini.layerConfig({
 *   model: Config.string("MODEL"),
 *   apiKey: Config.redacted("GEMINI_API_KEY")
 * }).pipe(
 *   Layer.provide(FetchHttpClient.layer),
 *   Layer.provide(Layer.setConfigProvider(
 *     ConfigProvider.fromMap(new Map([["MODEL", "gemini-2.5-flash"], ["GEMINI_API_KEY", "AIza..."]]))
 *   ))
 * )
 *
 * const id = Effect.runSync(LanguageModel.LanguageModel.pipe(
 *   Effect.map((model) => model.id),
 *   Effect.provide(Model)
 * ))
 *
 * assert.strictEqual(id, "gemini/gemini-2.5-flash")
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<LanguageModel.LanguageModel, ConfigError, HttpClient.HttpClient> =>
  Layer.effect(LanguageModel.LanguageModel, Effect.flatMap(Config.unwrap(options), make))
