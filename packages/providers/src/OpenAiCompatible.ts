/**
 * Any server that speaks OpenAI's chat completions (`POST /v1/chat/completions`):
 * OpenAI itself, Azure, Ollama, vLLM, llama.cpp, LiteLLM, OpenRouter, Groq,
 * Mistral, DeepSeek, xAI, Together, Fireworks, Cerebras and others; and the
 * embeddings of those that have them.
 *
 * One call is one request. Retries, time limits, caching and budgets are
 * policies, applied to the Layer.
 *
 * @since 0.1.0
 */
import * as Embedder from "@effect-dspy/core/Embedder"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Bounds from "./Bounds.ts"
import * as chat from "./internal/chatCompletions.ts"
import * as dialects from "./internal/dialects.ts"
import * as document from "./internal/document.ts"
import * as embeddings from "./internal/embeddings.ts"
import * as exchange from "./internal/exchange.ts"
import { nearest } from "./internal/nearest.ts"
import { count, isObject, isText } from "./internal/wire.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * The servers whose peculiarities are known: where they are, how they take a
 * key, what they call a setting, what they do not take.
 *
 * @since 0.1.0
 * @category models
 */
export type Dialect = dialects.Name

/**
 * Which server.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerOptions {
  /**
   * The server's address, with or without `/v1` at its end; default is that of
   * the dialect, or `https://api.openai.com/v1`. Azure's is
   * `https://<resource>.openai.azure.com`, for a dated version of its API with
   * `?api-version=<date>` behind it.
   */
  readonly baseUrl?: string | undefined
  /**
   * Default by the address, where that is known, else none: all that is then
   * assumed is what most servers understand.
   */
  readonly dialect?: Dialect | undefined
  /** Sent as a bearer token, or as the dialect wants it. Local servers mostly need none. */
  readonly apiKey?: Redacted.Redacted | undefined
  /**
   * Sent with every request, such as OpenRouter's `HTTP-Referer` and `X-Title`;
   * a value that is `Redacted` stays out of logs and spans.
   */
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  /** How much of an answer is read before it is refused. */
  readonly bounds?: Bounds.Bounds | undefined
}

/**
 * Which model, and where.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends ServerOptions {
  /** The name the server knows it by, such as `gpt-4o-mini`; on Azure the deployment. */
  readonly model: string
  /** The name users know; default `<dialect>/<model>` or `<host>/<model>`. */
  readonly id?: string | undefined
  /**
   * What this model does differently. Assumed are streaming, tools, images, and
   * what all models of the dialect take as response format; audio, files and
   * several outputs in one call only where they are known to be taken and given,
   * since other servers refuse them or silently return one.
   */
  readonly capabilities?: Partial<LanguageModel.Capabilities> | undefined
  /**
   * The model writes its reasoning into its text, as `<think>…</think>` in front
   * of the answer (`written`), or its prompt template has opened the block
   * already, so that it writes only the end (`open`). It is then told from the
   * answer. By default text is text: most servers take reasoning out themselves.
   */
  readonly thinkBlock?: "written" | "open" | undefined
}

/**
 * Which embedding model, and where.
 *
 * @since 0.1.0
 * @category models
 */
export interface EmbedderOptions extends ServerOptions {
  readonly model: string
  readonly id?: string | undefined
  /** Asks for shorter vectors, of models that can give them. */
  readonly dimensions?: number | undefined
  /** Texts in one request; default 128, or what the dialect allows. */
  readonly maxBatchSize?: number | undefined
  /** Requests under way at once for one call; default 4. */
  readonly concurrency?: number | undefined
}

/**
 * A server, as its options tell.
 *
 * @internal
 */
export interface Place {
  /** What stands before the model in its id. */
  readonly name: string
  readonly dialect: dialects.Dialect
  readonly host: string
  readonly headers: exchange.Server["headers"]
  readonly bounds: Bounds.Bounds | undefined
  readonly url: (model: string, path: string) => string
}

/** @internal */
export const placeOf = ({ apiKey, baseUrl, bounds, headers, ...options }: ServerOptions): Place => {
  const address = baseUrl ?? dialects.known[options.dialect ?? "openai"].baseUrl ?? ""
  const host = exchange.hostOf(address)
  const name = options.dialect ?? dialects.at(host)
  const dialect = name === undefined ? dialects.unknown : dialects.known[name]
  const { header, scheme } = dialect.credential
  return {
    name: name ?? host,
    dialect,
    host,
    headers: {
      ...(apiKey === undefined ? undefined : { [header]: Redacted.make(`${scheme}${Redacted.value(apiKey)}`) }),
      ...headers
    },
    bounds,
    url: (model, path) => dialects.urlOf(dialect, address, model, path)
  }
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
 * `StreamTruncated`. A setting that the server is known to refuse or to ignore
 * fails with `InvalidRequest`, before anything is sent: it is never dropped.
 * Where a server wants to see its reasoning again when the conversation goes
 * on, as DeepSeek and OpenRouter do, an output has a `continuation`: send it
 * back with the assistant's turn (see `LanguageModel.toMessage`).
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<LanguageModel.Service, never, HttpClient.HttpClient> => {
  const { model, thinkBlock } = options
  const { bounds, dialect, headers, host, name, url } = placeOf(options)
  const id = options.id ?? `${name}/${model}`
  const target: chat.Target = { model, dialect, thinkBlock }
  return exchange.make({
    id,
    host,
    model,
    headers,
    bounds,
    capabilities: { tools: true, images: true, ...dialect.capabilities, ...options.capabilities },
    dialect: {
      url: () => url(model, "chat/completions"),
      encode: (request, stream) => chat.encode(request, target, stream),
      reader: (request) => new chat.Reader(target, request.settings?.n ?? 1),
      refusal: (request) => chat.refusal(request, dialect)
    }
  })
}

// =============================================================================
// Embeddings
// =============================================================================

/**
 * An embedding model behind an OpenAI-compatible server
 * (`POST /v1/embeddings`).
 *
 * Texts go in batches of `maxBatchSize`, each one request; failures are those
 * of a model call. Vectors come as base64 where the server can write it, which
 * is less than half of the bytes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeEmbedder = (
  options: EmbedderOptions
): Effect.Effect<Embedder.Service, never, HttpClient.HttpClient> => {
  const { concurrency, dimensions, model } = options
  const { bounds, dialect: { embeddings: wanted }, headers, host, name, url } = placeOf(options)
  const id = options.id ?? `${name}/${model}`
  return Effect.map(exchange.connect({ id, host, headers, bounds }), (connection) => {
    const template = HttpClientRequest.post(url(model, "embeddings"), { headers: connection.headers })
    return Embedder.make({
      id,
      dimensions,
      concurrency,
      maxBatchSize: options.maxBatchSize ?? wanted.maxBatchSize,
      embed: (texts) =>
        document.ask(
          connection,
          HttpClientRequest.bodyText(
            template,
            JSON.stringify({
              model,
              input: texts,
              encoding_format: wanted.encoding,
              [wanted.dimensions]: dimensions
            }),
            "application/json"
          ),
          {
            span: `embeddings ${model}`,
            attributes: {
              "gen_ai.operation.name": "embeddings",
              "gen_ai.provider.name": name,
              "gen_ai.request.model": model
            },
            prompt: () => texts
          },
          ({ json, malformed, span }) => {
            const tokens = inputTokens(json)
            if (tokens !== undefined) span.attribute("gen_ai.usage.input_tokens", tokens)
            return Either.match(embeddings.read(json), { onLeft: malformed, onRight: Effect.succeed })
          }
        )
    })
  })
}

const inputTokens = (answer: unknown): number | undefined => {
  const { usage }: { readonly usage?: unknown } = isObject(answer) ? answer : {}
  const { prompt_tokens }: { readonly prompt_tokens?: unknown } = isObject(usage) ? usage : {}
  return count(prompt_tokens)
}

// =============================================================================
// What the server has
// =============================================================================

// What may be shown to somebody in one line.
const isName = /^[^\p{Cc}]{1,200}$/u

const listModels = (
  place: Place,
  id: string,
  model: string
): Effect.Effect<ReadonlyArray<string>, LanguageModelError.LanguageModelError, HttpClient.HttpClient> =>
  Effect.flatMap(exchange.connect({ ...place, id }), (connection) =>
    document.ask(
      connection,
      HttpClientRequest.get(place.url(model, "models"), { headers: connection.headers }),
      { span: "models", attributes: { "gen_ai.provider.name": place.name }, prompt: () => [] },
      ({ json, malformed }) => {
        const { data }: { readonly data?: unknown } = isObject(json) ? json : { data: json }
        return Array.isArray(data)
          ? Effect.succeed(data.flatMap((entry: unknown) => {
            const { id }: { readonly id?: unknown } = isObject(entry) ? entry : {}
            return isText(id) && isName.test(id) ? [id] : []
          }))
          : malformed("it has no list of models; check `baseUrl`")
      }
    ))

/**
 * The names of the models that a server has (`GET /v1/models`), in its order.
 *
 * @since 0.1.0
 * @category accessors
 */
export const models = (
  options: ServerOptions
): Effect.Effect<ReadonlyArray<string>, LanguageModelError.LanguageModelError, HttpClient.HttpClient> => {
  const place = placeOf(options)
  return listModels(place, place.name, "")
}

// A tag may be left out, as may the path before a name; `*` stands for any name.
const answersTo = (listed: string, model: string): boolean =>
  listed === model || listed === `${model}:latest` || listed.endsWith(`/${model}`) ||
  (listed.endsWith("*") && model.startsWith(listed.slice(0, -1)))

const shown = 3

/**
 * Whether a model can be called: succeeds if the server is reached, takes the
 * key and has the model, and fails with an error whose message says in one line
 * what is wrong. No token is spent.
 *
 * What cannot be known passes: a server without a list of models is only asked
 * whether it has chat completions, and a name on Azure is that of a deployment,
 * which no list holds.
 *
 * @example
 * ```ts
 * import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect } from "effect"
 *
 * // Stands for a server, so that this example needs none.
 * const server = async () => Response.json({ data: [{ id: "llama3.2:latest" }, { id: "qwen2.5:3b" }] })
 *
 * const program = OpenAiCompatible.check({ dialect: "ollama", model: "lama3.2" }).pipe(
 *   Effect.flip,
 *   Effect.map((error) => error.message),
 *   Effect.provide(FetchHttpClient.layer),
 *   Effect.provideService(FetchHttpClient.Fetch, server)
 * )
 *
 * Effect.runPromise(program).then((message) =>
 *   assert.strictEqual(
 *     message,
 *     "ollama/lama3.2: NotFound: the server has no model lama3.2 among its 2; did you mean llama3.2:latest?"
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const check = (
  options: Options
): Effect.Effect<void, LanguageModelError.LanguageModelError, HttpClient.HttpClient> => {
  const { apiKey, model } = options
  const place = placeOf(options)
  const id = options.id ?? `${place.name}/${model}`
  const fail = (reason: LanguageModelError.Reason) =>
    Effect.fail(LanguageModelError.make({ reason, provider: id.split("/")[0] ?? id, model: id }))
  const explained = (error: LanguageModelError.LanguageModelError) =>
    error.reason._tag === "Authentication" && apiKey === undefined
      ? fail(new LanguageModelError.Authentication({ description: "the server wants a key; set `apiKey`" }))
      : Effect.fail(error)
  return Effect.matchEffect(listModels(place, id, model), {
    onSuccess: (names) => {
      if (place.dialect.anyModel || names.some((name) => answersTo(name, model))) return Effect.void
      const near = nearest(model, names, shown)
      const others = names.length > shown ? ` and ${names.length - shown} more` : ""
      return fail(
        new LanguageModelError.NotFound({
          description: names.length === 0
            ? `the server has no model ${model}, nor any other`
            : near.length > 0
            ? `the server has no model ${model} among its ${names.length}; did you mean ${near.join(" or ")}?`
            : `the server has no model ${model}; it has ${names.slice(0, shown).join(", ")}${others}`
        })
      )
    },
    onFailure: (error) =>
      error.reason._tag === "NotFound"
        ? Effect.catchAll(hasCompletions(place, id, model), explained)
        : explained(error)
  })
}

// An empty request is refused for what it lacks where the path is right, and as unknown elsewhere.
const hasCompletions = (
  place: Place,
  id: string,
  model: string
): Effect.Effect<void, LanguageModelError.LanguageModelError, HttpClient.HttpClient> =>
  Effect.flatMap(exchange.connect({ ...place, id }), (connection) => {
    const url = place.url(model, "chat/completions")
    return document.ask(
      connection,
      HttpClientRequest.bodyText(
        HttpClientRequest.post(url, { headers: connection.headers }),
        "{}",
        "application/json"
      ),
      { span: "check", attributes: { "gen_ai.provider.name": place.name }, prompt: () => [] },
      () => Effect.void
    ).pipe(
      LanguageModelError.catchReason("InvalidRequest", () => Effect.void),
      LanguageModelError.catchReason("NotFound", ({ description }, error) =>
        Effect.fail(LanguageModelError.make({
          reason: new LanguageModelError.NotFound({
            description: `nothing is at ${new URL(url).pathname} of ${place.host}; check \`baseUrl\` (${description})`
          }),
          provider: error.provider,
          model: id,
          requestId: error.requestId
        })))
    )
  })

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

/**
 * The embedding model as a Layer.
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * // Stands for a server, so that this example needs none.
 * const server = async () =>
 *   Response.json({ data: [{ index: 1, embedding: [0, 1] }, { index: 0, embedding: [1, 0] }] })
 *
 * const Embeddings = OpenAiCompatible.embedderLayer({ dialect: "ollama", model: "nomic-embed-text" }).pipe(
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const program = Embedder.embed(["a cat", "a dog"]).pipe(
 *   Effect.provide(Embeddings),
 *   Effect.provideService(FetchHttpClient.Fetch, server)
 * )
 *
 * Effect.runPromise(program).then((vectors) =>
 *   assert.deepStrictEqual(vectors, [Float32Array.of(1, 0), Float32Array.of(0, 1)])
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const embedderLayer = (
  options: EmbedderOptions
): Layer.Layer<Embedder.Embedder, never, HttpClient.HttpClient> =>
  Layer.effect(Embedder.Embedder, makeEmbedder(options))

/**
 * The same, with every option read from the configuration of the program.
 *
 * @since 0.1.0
 * @category layers
 */
export const embedderLayerConfig = (
  options: Config.Config.Wrap<EmbedderOptions>
): Layer.Layer<Embedder.Embedder, ConfigError, HttpClient.HttpClient> =>
  Layer.effect(Embedder.Embedder, Effect.flatMap(Config.unwrap(options), makeEmbedder))
