import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type { Service } from "../../Server.ts"
import type * as ServingError from "../../ServingError.ts"
import * as admission from "./admission.ts"
import type { Inside } from "./inside.ts"
import * as Runs from "./runs.ts"
import * as session from "./session.ts"
import * as webSocket from "./webSocket.ts"

/**
 * Makes a WebSocket of a request, and serves it until it ends. Whoever is refused
 * is so before it is opened.
 */
export const upgrade = (
  server: Service,
  inside: Inside,
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<HttpServerResponse.HttpServerResponse, ServingError.ServingError> =>
  Effect.scoped(Effect.gen(function*() {
    const { connections, isDraining, stall, ticker } = inside
    const caller = yield* server.admit(admission.withBearer(request))
    if (isDraining()) return yield* Runs.stopping
    yield* connections.place(caller)
    yield* connections.present(webSocket.socketOf(request))
    const connection = yield* webSocket.accept(request, {
      message: inside.session.body + session.envelope,
      stall,
      ticker
    })
    yield* session.serve(connection, caller, inside, inside.session)
  })).pipe(
    // The connection is closed: nobody gets this.
    Effect.as(HttpServerResponse.empty())
  )
