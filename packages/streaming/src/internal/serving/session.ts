import type * as Json from "@effect-dspy/core/Json"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Protocol from "../../Protocol.ts"
import * as ServingError from "../../ServingError.ts"
import * as ToolBridge from "../../ToolBridge.ts"
import * as input from "./input.ts"
import * as Runs from "./runs.ts"
import type * as Ticker from "./ticker.ts"
import type * as WebSocket from "./webSocket.ts"

/**
 * What a session may ask of the server.
 */
export interface Host {
  readonly query: (
    request: { readonly module: string; readonly input: unknown }
  ) => Effect.Effect<Json.Json, ServingError.ServingError>
  readonly open: (
    request: { readonly id: string; readonly module: string; readonly input: unknown; readonly from: number },
    principal: string,
    onStall: () => void
  ) => Effect.Effect<Runs.Follower, ServingError.ServingError, Scope.Scope>
  readonly join: Runs.Runs["join"]
  readonly cancel: Runs.Runs["cancel"]
  /** Whether one more request is taken now. */
  readonly rate: Effect.Effect<void, ServingError.ServingError>
  readonly leave: Runs.Runs["leave"]
  /** Completes when the server has stopped, and all that ran has been told so. */
  readonly stopped: Effect.Effect<void>
  readonly ticker: Ticker.Ticker
}

export interface Options {
  readonly window: number
  /** How many bytes an input may have. */
  readonly body: number
  /** How many requests of one connection are worked on, and how many more may wait. */
  readonly concurrency: number
  readonly queue: number
}

/**
 * As many bytes of a message as stand around an input, at most.
 */
export const envelope = 512

// As many messages that make no sense are answered.
const patience = 100
const idleSeconds = 300

const decode = Schema.decodeUnknown(Protocol.ClientMessage)

const cancelled = (id: string, error?: ServingError.ServingError): string =>
  JSON.stringify({ type: "cancelled", id, error: error && ServingError.toJson(error) })

const failed = (error: ServingError.ServingError, id?: string): string =>
  JSON.stringify({ type: "failed", id, error: ServingError.toJson(error) })

const isRequest = Schema.is(Schema.Struct({ type: Schema.Literal("query", "stream", "resume"), id: Protocol.RunId }))

// What a request that cannot be read is called, or whoever waits for its answer would wait for ever.
const askedBy = (text: string): string | undefined => {
  try {
    const message: unknown = JSON.parse(text)
    return isRequest(message) ? message.id : undefined
  } catch {
    return undefined
  }
}

const eventsOf = (id: string, entries: ReadonlyArray<Runs.Entry>): string =>
  `{"type":"events","id":"${id}","n":${entries[0]!.n},"events":[${entries.map(({ json }) => json).join(",")}]}` // not empty

/**
 * Serves one connection until it ends; the scope of the connection is that of all
 * it has asked for.
 */
export const serve = (
  connection: WebSocket.Connection,
  principal: string,
  host: Host,
  options: Options
): Effect.Effect<void> =>
  Effect.scoped(Effect.gen(function*() {
    const requests = yield* FiberMap.make<string, void, never>()
    const endings = yield* FiberMap.make<string, void, never>()
    const followers = new Map<string, Runs.Follower>()
    const permits = yield* Effect.makeSemaphore(options.concurrency)
    const bridge = yield* ToolBridge.make((message) => connection.send(JSON.stringify(message)))
    /** Why the connection is to be closed. */
    const over = yield* Deferred.make<readonly [code: number, reason: string]>()
    const end = (code: number, reason: string) => Effect.asVoid(Deferred.succeed(over, [code, reason]))
    let idle = 0
    let senseless = 0

    const refuse = (error: ServingError.ServingError, id?: string): Effect.Effect<void> =>
      connection.send(failed(error, id))

    const answer = (
      id: string,
      work: Effect.Effect<void, ServingError.ServingError, Scope.Scope>
    ): Effect.Effect<void> => {
      if (FiberMap.unsafeHas(requests, id)) {
        return refuse(ServingError.make("Conflict", "this id is in use on this connection; choose another one"), id)
      }
      return Effect.zipRight(host.rate, FiberMap.size(requests)).pipe(
        Effect.flatMap((size) =>
          size >= options.concurrency + options.queue
            ? ServingError.make(
              "Busy",
              `${size} requests of this connection are not answered yet, which is the limit`,
              {
                retryable: true,
                retryAfter: 1000
              }
            )
            : FiberMap.run(
              requests,
              id,
              Effect.catchAll(permits.withPermits(1)(Effect.scoped(work)), (error) => refuse(error, id))
            )
        ),
        Effect.catchAll((error) => refuse(error, id)),
        Effect.asVoid
      )
    }

    // A query, or what waits for its turn, has no other name than the one it has on this connection. Whoever waits for it
    // no longer is heard in any case.
    const cancel = (id: string): Effect.Effect<void, ServingError.ServingError> =>
      !followers.has(id) && FiberMap.unsafeHas(requests, id)
        ? Effect.zipRight(
          FiberMap.remove(requests, id),
          refuse(ServingError.make("Cancelled", "the run was cancelled"), id)
        )
        : Effect.flatMap(
          Effect.zipRight(host.rate, host.cancel(id, principal)),
          (isKnown) => isKnown ? Effect.void : Runs.unknown
        )

    // What follows is read when it has ended, unless it does not end: others on this connection must not wait for that.
    const ending = (id: string, end: Effect.Effect<void>): Effect.Effect<void> =>
      FiberMap.run(endings, id, end, { onlyIfMissing: true }).pipe(
        Effect.flatMap(Fiber.await),
        Effect.timeoutOption("1 second"),
        Effect.asVoid
      )

    const follow = (
      id: string,
      open: (onStall: () => void) => Effect.Effect<Runs.Follower, ServingError.ServingError, Scope.Scope>
    ) =>
      answer(
        id,
        Effect.gen(function*() {
          const follower = yield* open(() => Deferred.unsafeDone(over, Effect.succeed([4008, "too slow to read"])))
          yield* Effect.acquireRelease(
            Effect.sync(() => followers.set(id, follower)),
            () => Effect.sync(() => followers.delete(id))
          )
          for (;;) {
            const entries = yield* follower.next
            if (entries === undefined) return
            if (entries.length > 0) yield* connection.send(eventsOf(id, entries))
          }
        })
      )

    const take = (message: Protocol.ClientMessage): Effect.Effect<void> => {
      switch (message.type) {
        case "ack":
          return Effect.sync(() => followers.get(message.id)?.read(message.n))
        case "query":
          return answer(
            message.id,
            Effect.flatMap(
              ToolBridge.withBridge(host.query(message), bridge),
              (value) => connection.send(JSON.stringify({ type: "result", id: message.id, value }))
            )
          )
        case "stream":
          return follow(
            message.id,
            (onStall) =>
              ToolBridge.withBridge(host.open({ ...message, from: message.from ?? 0 }, principal, onStall), bridge)
          )
        case "resume":
          return follow(message.id, (onStall) => host.join(message.id, principal, message.from, onStall))
        case "cancel":
          return ending(
            message.id,
            cancel(message.id).pipe(
              Effect.match({ onFailure: (error) => error, onSuccess: () => undefined }),
              Effect.flatMap((error) => connection.send(cancelled(message.id, error)))
            )
          )
        case "leave":
          return ending(
            message.id,
            Effect.zipRight(
              followers.has(message.id) ? host.leave(message.id, principal) : Effect.void,
              FiberMap.remove(requests, message.id)
            )
          )
        case "ping":
          return connection.send(`{"type":"pong"}`)
      }
    }

    const read = (text: string): Effect.Effect<Effect.Effect<void>, ServingError.ServingError> =>
      Effect.flatMap(input.parse(text, 1), (message) =>
        ToolBridge.isMessage(message)
          ? Effect.succeed(bridge.receive(message))
          : Effect.mapBoth(decode(message), {
            onFailure: () => ServingError.make("BadRequest", "there is no such message"),
            onSuccess: take
          }))

    yield* host.ticker.join(() => {
      idle = requests[Symbol.iterator]().next().done === true ? idle + 1 : 0
      if (idle === idleSeconds) {
        Deferred.unsafeDone(over, Effect.succeed([1000, "nothing was asked for a long time"]))
      }
    })

    const reading = Effect.gen(function*() {
      yield* connection.send(JSON.stringify({ type: "ready", window: options.window, body: options.body }))
      for (;;) {
        const text = yield* connection.receive
        if (text === undefined) {
          return
        }
        idle = 0
        const message = yield* Effect.either(read(text))
        if (message._tag === "Right") {
          yield* message.right
          continue
        }
        if (++senseless > patience) {
          return yield* end(1008, "too many messages that make no sense")
        }
        yield* refuse(message.left, askedBy(text))
      }
    })

    // What has been told to end is still to be said.
    const stopping = Effect.zipRight(host.stopped, Effect.timeoutOption(FiberMap.awaitEmpty(requests), "2 seconds"))

    yield* Effect.raceAll([
      reading,
      Effect.zipRight(stopping, end(1001, "the server stops")),
      Effect.asVoid(Deferred.await(over))
    ])
    const reason = yield* Deferred.poll(over)
    if (reason._tag === "Some") {
      const [code, words] = yield* reason.value
      yield* connection.close(code, words)
    }
  }))
