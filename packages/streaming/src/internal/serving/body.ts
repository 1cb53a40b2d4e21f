import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as ServingError from "../../ServingError.ts"
import { Gathered } from "../gathered.ts"
import * as input from "./input.ts"

/**
 * What is said of an input that is larger than the server takes, on every way to it.
 */
export const tooLarge = (limit: number): ServingError.ServingError =>
  ServingError.make("TooLarge", `an input may have at most ${limit} bytes`)

/**
 * The body of a request as JSON; no more of it is held than the limit.
 */
export const read = (
  request: HttpServerRequest.HttpServerRequest,
  limit: number
): Effect.Effect<unknown, ServingError.ServingError> =>
  Effect.suspend(() => {
    if (Number(request.headers["content-length"] ?? 0) > limit) return tooLarge(limit)
    const body = new Gathered(limit)
    return Stream.runForEach(request.stream, (part) => {
      body.add(part)
      return body.isTooLarge ? tooLarge(limit) : Effect.void
    }).pipe(
      Effect.mapError((error) =>
        error._tag === "ServingError" ? error : ServingError.make("BadRequest", "the request did not arrive completely")
      ),
      Effect.timeoutFail({
        duration: "30 seconds",
        onTimeout: () => ServingError.make("TooSlow", "the request did not arrive in time", { retryable: true })
      }),
      Effect.flatMap(() => decoded(body.take())),
      Effect.flatMap((text) => input.parse(text))
    )
  })

const decoded = (bytes: Uint8Array): Effect.Effect<string, ServingError.ServingError> =>
  Effect.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () => ServingError.make("BadRequest", "what was sent is not UTF-8")
  })
