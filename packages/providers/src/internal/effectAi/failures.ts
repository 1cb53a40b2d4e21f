/**
 * Failures of `@effect/ai` as ours, and ours as those of `@effect/ai`.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as AiError from "@effect/ai/AiError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as fault from "../fault.ts"
import { retryAfter } from "../retryAfter.ts"
import { textOf } from "./call.ts"

const textsOf = (request: LanguageModel.Request): ReadonlyArray<string> =>
  request.messages.map((message) => textOf(message.content))

/** Why a model of `@effect/ai` failed. */
export const reasonOf = (
  error: AiError.AiError,
  request: LanguageModel.Request
): Effect.Effect<LanguageModelError.Reason> =>
  Effect.map(Clock.currentTimeMillis, (now): LanguageModelError.Reason => {
    const clean = fault.cleaner([], () => textsOf(request))
    const said = clean("description" in error ? error.description ?? "" : "")
    switch (error._tag) {
      case "HttpRequestError":
        return error.reason === "Transport"
          ? fault.fromConnection(error.cause, "headers", hostOf(error.request.url))
          : new LanguageModelError.InvalidRequest({ description: said || "the request cannot be written" })
      case "HttpResponseError":
        return error.reason === "StatusCode"
          ? fault.reasonOf({
            status: error.response.status,
            said: fault.explainedError(parsed(error.body)),
            retryAfter: retryAfter(error.response.headers, now),
            clean
          })
          : error.reason === "EmptyBody"
          ? new LanguageModelError.MalformedResponse({ kind: "empty", description: "the body is empty" })
          : fault.fromConnection(undefined, "body", hostOf(error.request.url))
      case "MalformedInput":
        return new LanguageModelError.InvalidRequest({ description: said || "the model does not take this request" })
      case "MalformedOutput":
        return new LanguageModelError.MalformedResponse({
          kind: "shape",
          description: said || "the answer is not what was asked for"
        })
      case "UnknownError":
        return new LanguageModelError.ServerError({ status: 500, description: said || "no explanation" })
    }
  })

const hostOf = (url: string): string =>
  Option.getOrElse(Option.liftThrowable(() => new URL(url).host)(), () => "the server")

const parsed = (text: string | undefined): unknown =>
  Option.getOrUndefined(Option.liftThrowable(JSON.parse)(text ?? ""))

/** Who fails, as `@effect/ai` names it. */
export const module = "EffectAi"

/** Our failure, which is the cause of theirs. */
export const aiError = (error: LanguageModelError.LanguageModelError, method: string): AiError.AiError => {
  const fields = { module, method, description: error.message, cause: error }
  switch (error.reason._tag) {
    case "InvalidRequest":
    case "RequestTooLarge":
    case "ContextWindowExceeded":
      return new AiError.MalformedInput(fields)
    case "MalformedResponse":
      return new AiError.MalformedOutput(fields)
    default:
      return new AiError.UnknownError(fields)
  }
}

/** A call that our models cannot be asked. */
export const refused = (method: string, description: string) =>
  new AiError.MalformedInput({ module, method, description })
