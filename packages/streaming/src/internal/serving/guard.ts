import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Service } from "../../Server.ts"
import * as ServingError from "../../ServingError.ts"
import * as Inside from "./inside.ts"
import * as webSocket from "./webSocket.ts"

/**
 * What answers a request for which there is somebody.
 */
export interface Handler<out R> {
  (
    principal: string,
    request: HttpServerRequest.HttpServerRequest
  ): Effect.Effect<HttpServerResponse.HttpServerResponse, ServingError.ServingError, R>
}

/**
 * A failure as it is answered.
 */
export const failure = (error: ServingError.ServingError): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(ServingError.toJson(error), {
    status: error.status,
    headers: {
      ...(error.retryAfter === undefined ? {} : { "retry-after": String(Math.ceil(error.retryAfter / 1000)) }),
      // What is still on its way is not waited for, and nothing more is asked of a server that stops.
      ...(error.reason === "TooSlow" || error.reason === "Unavailable" ? { connection: "close" } : {})
    }
  })

/**
 * What every answer says to browsers.
 */
export const withHeaders = (
  request: HttpServerRequest.HttpServerRequest,
  origins: ReadonlyArray<string>
) =>
(response: HttpServerResponse.HttpServerResponse): HttpServerResponse.HttpServerResponse => {
  const { origin } = request.headers
  return HttpServerResponse.setHeaders(response, {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(origin !== undefined && origins.includes(origin)
      ? { "access-control-allow-origin": origin, "vary": "origin" }
      : {})
  })
}

/**
 * Answers a request if the server does so for whoever asks.
 */
export const answer = <R>(
  server: Service,
  request: HttpServerRequest.HttpServerRequest,
  handler: Handler<R>,
  onError: (error: ServingError.ServingError) => HttpServerResponse.HttpServerResponse = failure
): Effect.Effect<HttpServerResponse.HttpServerResponse, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const { connections, origins } = Inside.of(server)
    const socket = webSocket.socketOf(request)
    // Whoever is gone without a word is noticed while there is nothing to be written to it.
    socket?.setKeepAlive(true, 20_000)
    yield* connections.present(socket)
    return yield* server.admit(request).pipe(
      Effect.flatMap((principal) => handler(principal, request)),
      Effect.catchAll((error) => Effect.succeed(onError(error))),
      Effect.map(withHeaders(request, origins))
    )
  })
