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
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as Headers from "@effect/platform/Headers"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import * as chat from "./internal/chatCompletions.ts"
import * as fault from "./internal/fault.ts"
import { retryAfter } from "./internal/retryAfter.ts"

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

const hostOf = (url: string): string => /^[a-z]+:\/\/(?:[^/@]*@)?([^/?#]+)/i.exec(url)?.[1] ?? "the server"

const textsOf = (request: LanguageModel.Request): ReadonlyArray<string> =>
  request.messages.flatMap((message) => [
    ...(typeof message.content === "string"
      ? [message.content]
      : message.content.map((part) => part._tag === "Text" ? part.text : part.url)),
    ...(message.toolCalls?.map((call) => call.arguments) ?? [])
  ])

// =============================================================================
// The model
// =============================================================================

const maxErrorBody = 64 * 1024

// OpenAI and most others, some of them without the prefix, Azure, LiteLLM.
const requestIds = ["x-request-id", "request-id", "apim-request-id", "x-litellm-call-id"]

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
export const make = (options: Options): Effect.Effect<LanguageModel.Service, never, HttpClient.HttpClient> =>
  Effect.map(HttpClient.HttpClient, (httpClient) => {
    const url = endpoint(options.baseUrl ?? openAi)
    const host = hostOf(url)
    const id = options.id ?? `${host === "api.openai.com" ? "openai" : host}/${options.model}`
    const provider = id.split("/")[0] ?? id

    const redacted = Object.entries(options.headers ?? {}).flatMap(([name, value]) =>
      Redacted.isRedacted(value) ? [[name.toLowerCase(), Redacted.value(value)] as const] : []
    )
    const secrets = redacted.map(([, value]) => value)
    if (options.apiKey !== undefined) secrets.push(Redacted.value(options.apiKey))
    const secretNames = redacted.map(([name]) => name)

    const template = HttpClientRequest.post(url, {
      headers: {
        // Not every client decompresses what it receives.
        "accept-encoding": "identity",
        ...(options.apiKey === undefined
          ? undefined
          : { authorization: `Bearer ${Redacted.value(options.apiKey)}` }),
        ...Object.fromEntries(
          Object.entries(options.headers ?? {}).map(([name, value]) =>
            [name, Redacted.isRedacted(value) ? Redacted.value(value) : value] as const
          )
        )
      }
    })

    const client = httpClient.pipe(
      // The call has a span of its own, which knows more and holds no URL.
      HttpClient.withTracerDisabledWhen(() => true),
      secretNames.length === 0
        ? identity
        : HttpClient.transformResponse(
          Effect.locallyWith(Headers.currentRedactedNames, (names) => [...names, ...secretNames])
        ),
      HttpClient.withScope
    )

    const spanName = `chat ${options.model}`
    const spanOptions: Tracer.SpanOptions = {
      kind: "client",
      captureStackTrace: false,
      attributes: {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": options.model
      }
    }

    // Sends the request; an answer that is none of success has become an error. The connection
    // is closed with the scope.
    const send = (
      request: LanguageModel.Request,
      stream: boolean,
      span: Tracer.Span,
      scope: Scope.Scope
    ): Effect.Effect<Call, LanguageModelError.LanguageModelError> =>
      Effect.flatMap(Clock.currentTimeMillis, (started) => {
        const fail = (reason: LanguageModelError.Reason, requestId?: string) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            span.attribute("error.type", reason._tag)
            return Effect.fail(
              LanguageModelError.make({ reason, provider, model: id, elapsed: now - started, requestId })
            )
          })
        const clean = fault.cleaner(secrets, () => textsOf(request))
        const body = chat.encode(request, { model: options.model, stream })
        const sent = Effect.mapInputContext(
          client.execute(HttpClientRequest.bodyText(template, body, "application/json")),
          // `fetch` would carry the key to wherever it is redirected.
          (context: Context.Context<never>) =>
            Context.add(
              Context.add(context, FetchHttpClient.RequestInit, { ...requestInit(context), redirect: "manual" }),
              Scope.Scope,
              scope
            )
        )
        return Effect.matchEffect(sent, {
          onFailure: (error) => fail(reasonOf(error, host)),
          onSuccess: (response) => {
            const headers = response.headers
            const requestId = headers[requestIds.find((name) => headers[name] !== undefined) ?? ""]
            if (response.status < 200 || response.status >= 300) {
              return Effect.zipWith(Clock.currentTimeMillis, readError(response), (now, body) =>
                fault.reasonOf({
                  status: response.status,
                  said: fault.explainedError(body),
                  retryAfter: retryAfter(headers, now),
                  clean
                })).pipe(Effect.flatMap((reason) => fail(reason, requestId)))
            }
            const length = Number(headers["content-length"])
            if (length > chat.maxBody) {
              return fail(new LanguageModelError.ResponseTooLarge({ limit: chat.maxBody }), requestId)
            }
            return Effect.succeed<Call>({
              response,
              // The announced length is that of the encoded body.
              bounded: length <= chat.maxBody && headers["content-encoding"] === undefined,
              answer: new chat.Answer({
                model: options.model,
                outputs: request.settings?.n ?? 1,
                requestId,
                announced: headers["content-type"]?.includes("event-stream") === true,
                clean
              }),
              drained: false,
              host,
              span,
              fail: (reason) => fail(reason, requestId)
            })
          }
        })
      })

    return LanguageModel.make({
      id,
      capabilities: {
        tools: true,
        images: true,
        responseFormat: "jsonSchema",
        multipleOutputs: host === "api.openai.com",
        ...options.capabilities
      },
      generate: (request) =>
        Effect.useSpan(spanName, spanOptions, (span) =>
          Effect.flatMap(Scope.make(), (scope) =>
            Effect.onExit(
              Effect.flatMap(send(request, false, span, scope), (call) => readWhole(call, scope)),
              // After the last byte nothing is left to close, and to abort is dear.
              (exit) => exit._tag === "Success" ? Effect.void : Scope.close(scope, exit)
            ))),
      stream: (request) =>
        Stream.unwrapScopedWith((scope) =>
          Scope.extend(Effect.makeSpanScoped(spanName, spanOptions), scope).pipe(
            Effect.flatMap((span) => send(request, true, span, scope)),
            Effect.flatMap((call) => readStream(call, scope))
          )
        )
    })
  })

// A request that was answered with success; the body is still to be read.
interface Call {
  readonly response: HttpClientResponse.HttpClientResponse
  readonly bounded: boolean
  readonly answer: chat.Answer
  /** Whether the body was read to its end, so that the connection is free. */
  drained: boolean
  readonly host: string
  readonly span: Tracer.Span
  readonly fail: (reason: LanguageModelError.Reason) => Effect.Effect<never, LanguageModelError.LanguageModelError>
}

const requestInit = (context: Context.Context<never>): RequestInit | undefined => {
  const init = Context.getOption(context, FetchHttpClient.RequestInit)
  return init._tag === "Some" ? init.value : undefined
}

const reasonOf = (error: HttpClientError.HttpClientError, host: string): LanguageModelError.Reason =>
  error._tag === "RequestError" && error.reason !== "Transport"
    ? new LanguageModelError.InvalidRequest({
      description: error.reason === "InvalidUrl"
        ? "`baseUrl` is not a URL; write it like http://localhost:11434/v1"
        : "the request cannot be encoded"
    })
    : fault.fromConnection(error.cause, error._tag === "RequestError" ? "headers" : "body", host)

// The status is the failure; whatever can be had of the body only explains it.
const readError = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<unknown> =>
  Effect.suspend(() => {
    const decoder = new TextDecoder()
    let size = 0
    let text = ""
    return response.stream.pipe(
      Stream.runForEachWhile((bytes) =>
        Effect.sync(() => {
          text += decoder.decode(bytes.subarray(0, maxErrorBody - size), { stream: true })
          size += bytes.length
          return size < maxErrorBody
        })
      ),
      Effect.ignore,
      Effect.map(() => parse(text))
    )
  })

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

// What is to be said of an answer that is complete.
const conclude = (call: Call, deltas: ReadonlyArray<LanguageModel.Delta>): Effect.Effect<void> => {
  const last = deltas.at(-1)
  if (last?._tag !== "Completed") return Effect.void
  const { inputTokens, outputTokens } = last.usage
  call.span.attribute("gen_ai.response.model", last.model)
  if (inputTokens !== undefined) call.span.attribute("gen_ai.usage.input_tokens", inputTokens)
  if (outputTokens !== undefined) call.span.attribute("gen_ai.usage.output_tokens", outputTokens)
  return call.answer.unexplained ? Effect.logWarning("the server did not say why the model stopped") : Effect.void
}

// What to make of a body that broke off.
const lost = (
  call: Call,
  error: HttpClientError.ResponseError,
  deltas: Array<LanguageModel.Delta>
): LanguageModelError.Reason | undefined =>
  error.reason === "EmptyBody" ? call.answer.end(deltas) : call.answer.lost(reasonOf(error, call.host), deltas)

type Pull = Effect.Effect<Chunk.Chunk<LanguageModel.Delta>, Option.Option<LanguageModelError.LanguageModelError>>

// The deltas of a body, one chunk for each chunk of bytes, an empty one for bytes that say
// nothing: whoever watches the pulls still sees that the server is alive.
const pullDeltas = (call: Call, scope: Scope.Scope): Effect.Effect<Pull> =>
  Effect.map(Scope.extend(Stream.toPull(call.response.stream), scope), (pulled) => {
    const { answer } = call
    let end: Pull | undefined
    const last = (deltas: Array<LanguageModel.Delta>, reason: LanguageModelError.Reason | undefined): Pull => {
      end = reason === undefined ? endOfStream : Effect.mapError(call.fail(reason), Option.some)
      return deltas.length === 0 ? end : Effect.as(conclude(call, deltas), Chunk.unsafeFromArray(deltas))
    }
    const read: Pull = Effect.matchEffect(pulled, {
      onSuccess: (chunk) => {
        const deltas: Array<LanguageModel.Delta> = []
        for (const bytes of chunk) {
          const reason = answer.push(bytes, deltas)
          // Nothing behind the terminal marker is waited for: some servers keep the connection open.
          if (reason !== undefined || answer.done) return last(deltas, reason)
        }
        return Effect.succeed(Chunk.unsafeFromArray(deltas))
      },
      onFailure: (error) => {
        const deltas: Array<LanguageModel.Delta> = []
        call.drained = true
        return last(deltas, error._tag === "None" ? answer.end(deltas) : lost(call, error.value, deltas))
      }
    })
    return Effect.suspend(() => end ?? read)
  })

const endOfStream: Pull = Effect.fail(Option.none())

const readStream = (
  call: Call,
  scope: Scope.Scope
): Effect.Effect<Stream.Stream<LanguageModel.Delta, LanguageModelError.LanguageModelError>> =>
  Effect.map(pullDeltas(call, scope), Stream.repeatEffectChunkOption)

// Pulled by hand: running a Stream costs several times what the rest of a call does.
const readWhole = (
  call: Call,
  scope: Scope.CloseableScope
): Effect.Effect<LanguageModel.Response, LanguageModelError.LanguageModelError> => {
  const { answer, response } = call
  const folder = new LanguageModel.Folder()
  const folded = Effect.suspend(() =>
    folder.response === undefined
      ? call.fail(new LanguageModelError.StreamTruncated({ partial: folder.partial }))
      : Effect.succeed(folder.response)
  )

  if (call.bounded) {
    const deltas: Array<LanguageModel.Delta> = []
    const finish = (reason: LanguageModelError.Reason | undefined) => {
      if (reason !== undefined) return call.fail(reason)
      for (const delta of deltas) folder.add(delta)
      return Effect.zipRight(conclude(call, deltas), folded)
    }
    return Effect.matchEffect(response.text, {
      onFailure: (error) => finish(lost(call, error, deltas)),
      onSuccess: (text) => finish(answer.whole(text, deltas))
    })
  }
  return Effect.flatMap(pullDeltas(call, scope), (pull) => {
    const loop: Effect.Effect<LanguageModel.Response, LanguageModelError.LanguageModelError> = Effect.matchEffect(
      pull,
      {
        onFailure: Option.match({
          onNone: () => call.drained ? folded : Effect.zipRight(Scope.close(scope, Exit.void), folded),
          onSome: Effect.fail
        }),
        onSuccess: (chunk) => {
          for (const delta of chunk) folder.add(delta)
          return loop
        }
      }
    )
    return loop
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
