/**
 * One model call over HTTP, whatever the dialect: sending, failures, reading
 * the answer, and the span around it all.
 *
 * @since 0.1.0
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as Headers from "@effect/platform/Headers"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import * as Bounds from "../Bounds.ts"
import * as answer from "./answer.ts"
import * as fault from "./fault.ts"
import * as genAi from "./genAi.ts"
import { retryAfter } from "./retryAfter.ts"
import { CurrentSideband } from "./sideband.ts"

// =============================================================================
// A server
// =============================================================================

/**
 * A server as it is reached for one model. `id` is the name users know the
 * model by. A header that is `Redacted` stays out of logs, spans and errors.
 */
export interface Server {
  readonly id: string
  readonly host: string
  readonly headers: { readonly [name: string]: string | Redacted.Redacted }
  readonly bounds: Bounds.Bounds | undefined
}

/** How much of an answer is read. */
export type Limits = ReturnType<typeof Bounds.make>

/**
 * The part of a URL that names the server.
 */
export const hostOf = (url: string): string => /^[a-z]+:\/\/(?:[^/@]*@)?([^/?#]+)/i.exec(url)?.[1] ?? "the server"

const withoutCredentials = (url: string): string => url.replace(/^([a-z]+:\/\/)[^/@]*@/i, "$1").replace(/[?#].*$/s, "")

/**
 * The address of an API, with `version` at its end unless there is one anywhere
 * in its path (`/v1`, `/v1beta/openai`).
 */
export const versioned = (baseUrl: string, version: string): string => {
  const base = baseUrl.replace(/\/+$/, "")
  return /\/v\d+[a-z0-9]*(\/|$)/.test(base) ? base : `${base}/${version}`
}

/**
 * How to reach a server: `headers` belong to every request.
 */
export interface Connection {
  readonly headers: Headers.Headers
  /**
   * Sends a request; an answer that is none of success has become an error. The
   * connection is closed with the scope. `prompt` is what the server's words
   * must not repeat; `bound` which one holds for the body, by default `body`.
   */
  readonly send: (
    request: HttpClientRequest.HttpClientRequest,
    options: {
      readonly prompt: () => ReadonlyArray<string>
      readonly span: Tracer.Span
      readonly scope: Scope.Scope
      readonly bound?: "body" | "stream" | undefined
    }
  ) => Effect.Effect<Sent, LanguageModelError.LanguageModelError>
}

/**
 * A request that was answered with success; the body is still to be read.
 */
export interface Sent {
  readonly response: HttpClientResponse.HttpClientResponse
  readonly requestId: string | undefined
  readonly bounds: Limits
  /** Whether the body is known to keep within them. */
  readonly bounded: boolean
  readonly span: Tracer.Span
  /** Removes what must not be repeated from the server's own words. */
  readonly clean: (words: string) => string
  readonly fail: (reason: LanguageModelError.Reason) => Effect.Effect<never, LanguageModelError.LanguageModelError>
  /** The reason for a body that broke off. */
  readonly broken: (error: HttpClientError.ResponseError) => LanguageModelError.Reason
}

const maxErrorBody = 64 * 1024

// OpenAI and most others, Anthropic, Azure, LiteLLM.
const requestIds = ["x-request-id", "request-id", "apim-request-id", "x-litellm-call-id"]

const credentialHeaders = ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key"]

// Every client keeps these out of what it prints.
const knownSecret = new Set(["authorization", "x-api-key"])

/**
 * Prepares what all requests to a server share; nothing is sent yet.
 */
export const connect = (server: Server): Effect.Effect<Connection, never, HttpClient.HttpClient> =>
  Effect.map(HttpClient.HttpClient, (httpClient) => {
    const { host, id } = server
    const provider = providerOf(id)
    const bounds = Bounds.make(server.bounds)
    const headers: { [name: string]: string } = {
      // Not every client decompresses what it receives.
      "accept-encoding": "identity"
    }
    const secrets: Array<string> = []
    const secretNames: Array<string> = []
    for (const [key, value] of Object.entries(server.headers)) {
      const name = key.toLowerCase()
      headers[name] = Redacted.isRedacted(value) ? Redacted.value(value) : value
      if (Redacted.isRedacted(value)) {
        // Who repeats a token may leave out its scheme.
        secrets.push(headers[name].replace(/^Bearer +/i, ""))
        if (!knownSecret.has(name)) secretNames.push(name)
      }
    }

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

    const send: Connection["send"] = (request, { bound = "body", prompt, scope, span }) =>
      Effect.contextWithEffect((context: Context.Context<never>) =>
        Effect.flatMap(Clock.currentTimeMillis, (started) => {
          const { idempotencyKey, onHeaders } = Context.get(context, CurrentSideband)
          const fail = (reason: LanguageModelError.Reason, response?: HttpClientResponse.HttpClientResponse) =>
            Effect.flatMap(Clock.currentTimeMillis, (now) => {
              span.attribute("error.type", reason._tag)
              return Effect.fail(LanguageModelError.make({
                reason,
                provider,
                model: id,
                elapsed: now - started,
                requestId: response === undefined ? undefined : requestIdOf(response),
                shouldRetry: advice[response?.headers["x-should-retry"] ?? ""]
              }))
            })
          const received = (
            response: HttpClientResponse.HttpClientResponse
          ): Effect.Effect<Sent, LanguageModelError.LanguageModelError> => {
            const { headers } = response
            const clean = fault.cleaner([...secrets, ...credentialsOf(response.request)], prompt)
            if (response.status < 200 || response.status >= 300) {
              return Effect.zipWith(Clock.currentTimeMillis, readError(response), (now, body) =>
                fault.reasonOf({
                  status: response.status,
                  said: fault.explainedError(body),
                  retryAfter: retryAfter(headers, now),
                  clean
                })).pipe(Effect.flatMap((reason) => fail(reason, response)))
            }
            // A `fetch` that fails to undo several encodings never says so, or ends the process.
            if (headers["content-encoding"]?.includes(",")) {
              return fail(
                new LanguageModelError.MalformedResponse({
                  kind: "shape",
                  description:
                    "the body is compressed several times, which was not asked for; look for a proxy that does that"
                }),
                response
              )
            }
            const length = Number(headers["content-length"])
            if (length > bounds[bound]) {
              return fail(new LanguageModelError.ResponseTooLarge({ limit: bounds[bound] }), response)
            }
            return Effect.succeed({
              response,
              requestId: requestIdOf(response),
              bounds,
              // The announced length is that of the encoded body.
              bounded: length <= bounds.body && headers["content-encoding"] === undefined,
              span,
              clean,
              fail: (reason) => fail(reason, response),
              broken: (error) => reasonOf(error, host)
            })
          }
          const sent = Effect.mapInputContext(
            client.execute(
              idempotencyKey === undefined
                ? request
                : HttpClientRequest.setHeader(request, "idempotency-key", idempotencyKey)
            ),
            // `fetch` would carry the key to wherever it is redirected.
            (_: Context.Context<never>) =>
              Context.add(
                Context.add(context, FetchHttpClient.RequestInit, { ...requestInit(context), redirect: "manual" }),
                Scope.Scope,
                scope
              )
          )
          return Effect.matchEffect(sent, {
            onFailure: (error) => fail(reasonOf(error, host)),
            onSuccess: (response) =>
              onHeaders === undefined
                ? received(response)
                : Effect.zipRight(onHeaders(response.headers), received(response))
          })
        })
      )

    return { headers: Headers.fromInput(headers), send }
  })

// What the client has added by itself, such as a token that it renews.
const credentialsOf = ({ headers }: HttpClientRequest.HttpClientRequest): ReadonlyArray<string> =>
  credentialHeaders.flatMap((name) => headers[name]?.replace(/^(?:Bearer|Basic) +/i, "") ?? [])

const requestIdOf = ({ headers }: HttpClientResponse.HttpClientResponse): string | undefined =>
  headers[requestIds.find((name) => headers[name] !== undefined) ?? ""]

// What a server says of trying again, which wins over what its status lets expect.
const advice: { readonly [said: string]: boolean | undefined } = { true: true, false: false }

const providerOf = (id: string): string => id.split("/")[0] ?? id

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

// =============================================================================
// A model
// =============================================================================

/**
 * How a kind of server wants requests written and answers read. `url` is where
 * a request goes; `encode` its body, as JSON text. `refusal` is what a request
 * asks for that the server cannot do: nothing is sent then.
 */
export interface Dialect {
  readonly url: (stream: boolean) => string
  readonly encode: (request: LanguageModel.Request, stream: boolean) => string
  readonly reader: (request: LanguageModel.Request) => answer.Reader
  readonly refusal?: ((request: LanguageModel.Request) => string | undefined) | undefined
}

/**
 * A model behind a server. `model` is the name that the server knows it by.
 */
export const make = (
  server: Server & {
    readonly model: string
    readonly capabilities: Partial<LanguageModel.Capabilities>
    readonly dialect: Dialect
  }
): Effect.Effect<LanguageModel.Service, never, HttpClient.HttpClient> =>
  Effect.map(connect(server), ({ headers, send }) => {
    const { dialect, id, model } = server
    const spanName = `chat ${model}`
    const spanOptions: Tracer.SpanOptions = {
      kind: "client",
      captureStackTrace: false,
      attributes: {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": providerOf(id),
        "gen_ai.request.model": model,
        ...genAi.server(dialect.url(false))
      }
    }
    const whole = HttpClientRequest.post(dialect.url(false), { headers })
    const streamed = HttpClientRequest.post(dialect.url(true), { headers })

    const call = (
      request: LanguageModel.Request,
      stream: boolean,
      span: Tracer.Span,
      scope: Scope.Scope
    ): Effect.Effect<Call, LanguageModelError.LanguageModelError> =>
      Effect.suspend(() => {
        genAi.request(span, request.settings)
        const description = dialect.refusal?.(request)
        if (description !== undefined) {
          const reason = new LanguageModelError.InvalidRequest({ description })
          span.attribute("error.type", reason._tag)
          return Effect.fail(LanguageModelError.make({ reason, provider: providerOf(id), model: id, attempts: 0 }))
        }
        return Effect.map(
          send(
            HttpClientRequest.bodyText(stream ? streamed : whole, dialect.encode(request, stream), "application/json"),
            { prompt: () => textsOf(request), span, scope }
          ),
          (sent) => ({
            sent,
            answer: new answer.Answer({
              reader: dialect.reader(request),
              requestId: sent.requestId,
              bounds: sent.bounds,
              announced: sent.response.headers["content-type"]?.includes("event-stream") === true,
              clean: sent.clean
            }),
            drained: false
          })
        )
      })

    return LanguageModel.make({
      id,
      endpoint: `${withoutCredentials(dialect.url(false))}#${model}`,
      capabilities: server.capabilities,
      generate: (request) =>
        Effect.useSpan(spanName, spanOptions, (span) =>
          Effect.flatMap(Scope.make(), (scope) =>
            Effect.onExit(
              Effect.flatMap(call(request, false, span, scope), (call) => readWhole(call, scope)),
              // After the last byte nothing is left to close, and to abort is dear.
              (exit) => exit._tag === "Success" ? Effect.void : Scope.close(scope, exit)
            ))),
      stream: Policy.pulled((request) =>
        Effect.flatMap(Effect.scope, (scope) =>
          Effect.makeSpanScoped(spanName, spanOptions).pipe(
            Effect.flatMap((span) => call(request, true, span, scope)),
            Effect.flatMap((call) => pullDeltas(call, scope))
          ))
      )
    })
  })

/**
 * What a server's words must not repeat of a request.
 */
export const textsOf = (request: LanguageModel.Request): ReadonlyArray<string> =>
  request.messages.flatMap((message) => [
    ...(typeof message.content === "string"
      ? [message.content]
      : message.content.map((part) => part._tag === "Text" ? part.text : part.url)),
    ...(message.toolCalls?.map((call) => call.arguments) ?? [])
  ])

interface Call {
  readonly sent: Sent
  readonly answer: answer.Answer
  /** Whether the body was read to its end, so that the connection is free. */
  drained: boolean
}

// What is to be said of an answer that is complete.
const conclude = (call: Call, deltas: ReadonlyArray<LanguageModel.Delta>): Effect.Effect<void> => {
  const last = deltas.at(-1)
  if (last?._tag !== "Completed") return Effect.void
  genAi.response(call.sent.span, last, deltas)
  return call.answer.unexplained ? Effect.logWarning("the server did not say why the model stopped") : Effect.void
}

// What to make of a body that broke off.
const lost = (
  call: Call,
  error: HttpClientError.ResponseError,
  deltas: Array<LanguageModel.Delta>
): LanguageModelError.Reason | undefined =>
  error.reason === "EmptyBody" ? call.answer.end(deltas) : call.answer.lost(call.sent.broken(error), deltas)

// The deltas of a body, one chunk for each chunk of bytes, an empty one for bytes that say
// nothing: whoever watches the pulls still sees that the server is alive.
const pullDeltas = (call: Call, scope: Scope.Scope): Effect.Effect<Policy.Pull> =>
  Effect.map(Scope.extend(Stream.toPull(call.sent.response.stream), scope), (pulled) => {
    const { answer } = call
    let end: Policy.Pull | undefined
    const last = (deltas: Array<LanguageModel.Delta>, reason: LanguageModelError.Reason | undefined): Policy.Pull => {
      end = reason === undefined ? endOfStream : Effect.mapError(call.sent.fail(reason), Option.some)
      return deltas.length === 0 ? end : Effect.as(conclude(call, deltas), Chunk.unsafeFromArray(deltas))
    }
    const read: Policy.Pull = Effect.matchEffect(pulled, {
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

const endOfStream: Policy.Pull = Effect.fail(Option.none())

// Pulled by hand: running a Stream costs several times what the rest of a call does.
const readWhole = (
  call: Call,
  scope: Scope.CloseableScope
): Effect.Effect<LanguageModel.Response, LanguageModelError.LanguageModelError> => {
  const { answer, sent } = call
  const folder = new LanguageModel.Folder()
  const folded = Effect.suspend(() =>
    folder.response === undefined
      ? call.sent.fail(new LanguageModelError.StreamTruncated({ partial: folder.partial }))
      : Effect.succeed(folder.response)
  )

  if (sent.bounded) {
    const deltas: Array<LanguageModel.Delta> = []
    const finish = (reason: LanguageModelError.Reason | undefined) => {
      if (reason !== undefined) return call.sent.fail(reason)
      for (const delta of deltas) folder.add(delta)
      return Effect.zipRight(conclude(call, deltas), folded)
    }
    return Effect.matchEffect(sent.response.text, {
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
