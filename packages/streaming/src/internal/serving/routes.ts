import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Service } from "../../Server.ts"
import * as ServingError from "../../ServingError.ts"
import * as guard from "./guard.ts"
import * as input from "./input.ts"
import * as Inside from "./inside.ts"
import { newId } from "./newId.ts"
import * as Runs from "./runs.ts"
import * as sse from "./sse.ts"
import { upgrade } from "./upgrade.ts"
import * as webSocket from "./webSocket.ts"

const runIdOf = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string, ServingError.ServingError> => {
  const id = request.headers["idempotency-key"]
  if (id === undefined) return newId
  return /^[A-Za-z0-9_-]{1,128}$/.test(id)
    ? Effect.succeed(id)
    : ServingError.make("BadRequest", "the idempotency-key has to be 1 to 128 letters, digits, _ and -")
}

const lastEventOf = (
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<{ readonly run: string; readonly n: number } | undefined, ServingError.ServingError> => {
  const id = request.headers["last-event-id"]
  if (id === undefined || id === "") return Effect.succeed(undefined)
  const read = sse.readId(id)
  return read === undefined
    ? ServingError.make("BadRequest", "the last-event-id is not one that was given out here")
    : Effect.succeed(read)
}

const encoder = new TextEncoder()

// The scope of the request is that of the stream: a client that leaves closes it.
const eventStream = (
  request: HttpServerRequest.HttpServerRequest,
  run: string,
  open: (onStall: () => void) => Effect.Effect<Runs.Follower, ServingError.ServingError, Scope.Scope>
): Effect.Effect<HttpServerResponse.HttpServerResponse, ServingError.ServingError, Scope.Scope> =>
  Effect.gen(function*() {
    const socket = webSocket.socketOf(request)
    const follower = yield* open(() => socket?.destroy())
    // Everything was received before: a browser that asks again is told to stop.
    if (follower.isOver()) return HttpServerResponse.empty({ status: 204 })
    return HttpServerResponse.stream(
      Stream.map(Runs.entries(follower), (entries) => encoder.encode(sse.write(run, entries))),
      {
        contentType: "text/event-stream",
        headers: { "x-run-id": run, "x-accel-buffering": "no" }
      }
    )
  })

const param = (name: string): Effect.Effect<string, never, HttpLayerRouter.RouteContext> =>
  Effect.map(HttpLayerRouter.params, (params) => params[name] ?? "")

const streamed = (
  { open }: Inside.Inside,
  module: string,
  given: Effect.Effect<unknown, ServingError.ServingError>,
  principal: string,
  request: HttpServerRequest.HttpServerRequest
) =>
  Effect.gen(function*() {
    const last = yield* lastEventOf(request)
    const id = last?.run ?? (yield* runIdOf(request))
    const task = { id, module, input: yield* given, from: last?.n ?? 0 }
    return yield* eventStream(request, id, (onStall) => open(task, principal, onStall))
  })

const preflighted = ["/run/:module", "/stream/:module", "/runs/:id", "/modules", "/openapi.json", "/ws"] as const

// What a browser asks before it lets a page of another origin do what it wants.
const preflight = (
  { checkPlace, origins }: Inside.Inside,
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  checkPlace(request).pipe(
    Effect.as(HttpServerResponse.empty({
      status: 204,
      headers: {
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": "authorization, content-type, idempotency-key, last-event-id",
        "access-control-max-age": "600"
      }
    })),
    Effect.catchAll((error) => Effect.succeed(guard.failure(error))),
    Effect.map(guard.withHeaders(request, origins))
  )

/**
 * Puts the routes of a server on a router.
 */
export const add = (router: HttpLayerRouter.HttpRouter, server: Service): Effect.Effect<void> =>
  Effect.gen(function*() {
    const inside = Inside.of(server)
    const route = (
      method: "GET" | "POST" | "DELETE",
      path: HttpLayerRouter.PathInput,
      handler: guard.Handler<HttpLayerRouter.Provided>
    ) => router.add(method, path, (request) => guard.answer(server, request, handler))

    yield* route("POST", "/run/:module", (_, request) =>
      Effect.gen(function*() {
        const answer = yield* server.run({ module: yield* param("module"), input: yield* server.body(request) })
        return HttpServerResponse.unsafeJson(answer)
      }))
    yield* route(
      "POST",
      "/stream/:module",
      (principal, request) =>
        Effect.flatMap(param("module"), (module) => streamed(inside, module, server.body(request), principal, request))
    )
    yield* route("GET", "/stream/:module", (principal, request) =>
      Effect.gen(function*() {
        const { input: given } = yield* HttpServerRequest.ParsedSearchParams
        return yield* streamed(
          inside,
          yield* param("module"),
          typeof given === "string"
            ? input.parse(given)
            : ServingError.make("BadRequest", "the input is missing: ?input=… as JSON"),
          principal,
          request
        )
      }))
    yield* route("GET", "/runs/:id", (principal, request) =>
      Effect.gen(function*() {
        const id = yield* param("id")
        const last = yield* lastEventOf(request)
        const { from } = yield* HttpServerRequest.ParsedSearchParams
        const after = last?.n ?? (typeof from === "string" && /^\d{1,15}$/.test(from) ? Number(from) : 0)
        return yield* eventStream(request, id, (onStall) => inside.join(id, principal, after, onStall))
      }))
    yield* route("DELETE", "/runs/:id", (principal) =>
      Effect.gen(function*() {
        const { unless } = yield* HttpServerRequest.ParsedSearchParams
        const end = unless === "shared" ? inside.leave : inside.cancel
        const isKnown = yield* end(yield* param("id"), principal)
        return isKnown
          ? HttpServerResponse.empty({ status: 204 })
          : yield* Runs.unknown
      }))
    yield* route("GET", "/modules", () =>
      Effect.succeed(HttpServerResponse.unsafeJson(
        server.modules.map(({ description, input, name, output }) => ({ name, description, input, output }))
      )))
    yield* route("GET", "/openapi.json", () => Effect.succeed(HttpServerResponse.unsafeJson(server.openApi)))
    yield* router.add(
      "GET",
      "/ws",
      (request) =>
        Effect.catchAll(
          upgrade(server, inside, request),
          (error) => Effect.succeed(guard.withHeaders(request, inside.origins)(guard.failure(error)))
        )
    )
    for (const path of inside.origins.length === 0 ? [] : preflighted) {
      yield* router.add("OPTIONS", path, (request) => preflight(inside, request))
    }
  })
