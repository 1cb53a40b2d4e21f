/**
 * One question to a server whose answer is one JSON document.
 *
 * @since 0.1.0
 */
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import { notJson } from "./answer.ts"
import type * as exchange from "./exchange.ts"
import * as fault from "./fault.ts"

/**
 * What came, and how to fail because of it.
 */
export interface Document {
  readonly json: unknown
  readonly span: Tracer.Span
  readonly malformed: (description: string) => Effect.Effect<never, LanguageModelError.LanguageModelError>
}

const readText = (sent: exchange.Sent): Effect.Effect<string, LanguageModelError.LanguageModelError> =>
  Effect.suspend(() => {
    const decoder = new TextDecoder()
    const limit = sent.bounds.body
    const pieces: Array<string> = []
    let size = 0
    return sent.response.stream.pipe(
      Stream.runForEachWhile((bytes) =>
        Effect.sync(() => {
          size += bytes.length
          pieces.push(decoder.decode(bytes, { stream: true }))
          return size <= limit
        })
      ),
      Effect.catchAll((error) => error.reason === "EmptyBody" ? Effect.void : sent.fail(sent.broken(error))),
      Effect.flatMap(() =>
        size > limit
          ? sent.fail(new LanguageModelError.ResponseTooLarge({ limit }))
          : Effect.succeed(pieces.join("") + decoder.decode())
      )
    )
  })

const parse = (
  sent: exchange.Sent,
  text: string,
  about: "answer" | "job"
): Effect.Effect<Document, LanguageModelError.LanguageModelError> => {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return sent.fail(
      text.trim() === ""
        ? new LanguageModelError.MalformedResponse({ kind: "empty", description: "the body is empty" })
        : notJson(text)
    )
  }
  const said = about === "job" ? undefined : fault.declaredError(json)
  if (said !== undefined) return sent.fail(fault.reasonOf({ status: 200, said, clean: sent.clean }))
  return Effect.succeed({
    json,
    span: sent.span,
    malformed: (description) =>
      sent.fail(new LanguageModelError.MalformedResponse({ kind: "shape", description: sent.clean(description) }))
  })
}

/**
 * Asks in a span of its own, and reads the document with `use`.
 */
export const ask = <A>(
  connection: exchange.Connection,
  request: HttpClientRequest.HttpClientRequest,
  options: {
    readonly span: string
    readonly attributes: { readonly [name: string]: unknown }
    readonly prompt: () => ReadonlyArray<string>
    /** A document about a `job` may speak of an error that is the job's. */
    readonly about?: "answer" | "job" | undefined
  },
  use: (document: Document) => Effect.Effect<A, LanguageModelError.LanguageModelError>
): Effect.Effect<A, LanguageModelError.LanguageModelError> =>
  Effect.useSpan(
    options.span,
    { kind: "client", captureStackTrace: false, attributes: options.attributes },
    (span) =>
      Effect.flatMap(Scope.make(), (scope) =>
        Effect.onExit(
          connection.send(request, { prompt: options.prompt, span, scope }).pipe(
            Effect.flatMap((sent) =>
              Effect.flatMap(readText(sent), (text) => parse(sent, text, options.about ?? "answer"))
            ),
            Effect.flatMap(use)
          ),
          // After the last byte nothing is left to close, and to abort is dear.
          (exit) => exit._tag === "Success" ? Effect.void : Scope.close(scope, exit)
        ))
  )
