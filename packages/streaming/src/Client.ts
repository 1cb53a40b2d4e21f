/**
 * A typed client of a `Server`: modules in another process, called and watched as
 * if they were here. A stream that loses its connection takes it up again where it
 * was, without a second call of the model.
 *
 * @since 0.1.0
 */
import type * as Module from "@effect-dspy/core/Module"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import type * as Tool from "@effect-dspy/core/Tool"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Socket from "@effect/platform/Socket"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Gathered } from "./internal/gathered.ts"
import { tooLarge } from "./internal/serving/body.ts"
import { isModuleName } from "./internal/serving/moduleName.ts"
import { newId } from "./internal/serving/newId.ts"
import * as sse from "./internal/serving/sse.ts"
import * as Protocol from "./Protocol.ts"
import type * as Server from "./Server.ts"
import * as ServingError from "./ServingError.ts"
import * as ToolBridge from "./ToolBridge.ts"

// =============================================================================
// Types
// =============================================================================

/**
 * What a module is called with, and what it answers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call<out In, out Out> {
  readonly input: In
  readonly output: Out
}

/**
 * Calls by the names of the modules.
 *
 * @since 0.1.0
 * @category models
 */
export interface Calls {
  readonly [name: string]: Call<unknown, unknown>
}

/**
 * Contracts by the names of the modules: signatures, or the schemas of both sides.
 *
 * @since 0.1.0
 * @category models
 */
export interface Contracts {
  readonly [name: string]: { readonly input: Schema.Schema.AnyNoContext; readonly output: Schema.Schema.AnyNoContext }
}

/**
 * The calls of the modules that a server serves, from their type alone: what is
 * sent and received is JSON, as the schemas encode it.
 *
 * @since 0.1.0
 * @category utility types
 */
export type FromModules<M extends Server.Modules> = {
  readonly [N in keyof M]: M[N] extends
    Server.Endpoint<infer _In, infer InEncoded, infer _Out, infer OutEncoded, infer _E, infer _R>
    ? Call<InEncoded, OutEncoded>
    : M[N] extends Module.Any ? Call<Module.Input<M[N]>, Module.Output<M[N]>>
    : never
}

/**
 * The calls of contracts, whose schemas encode the inputs and decode the answers.
 *
 * @since 0.1.0
 * @category utility types
 */
export type FromContracts<C extends Contracts> = {
  readonly [N in keyof C]: Call<Schema.Schema.Type<C[N]["input"]>, Schema.Schema.Type<C[N]["output"]>>
}

/**
 * The server could not be reached, or no longer, also after several attempts; or
 * what it sent cannot be read.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConnectionLost extends Schema.TaggedError<ConnectionLost>("@effect-dspy/streaming/Client/ConnectionLost")(
  "ConnectionLost",
  { reason: Schema.Literal("Unreachable", "BrokenOff", "Unreadable"), description: Schema.String }
) {
  override get message(): string {
    return this.description
  }
}

/**
 * What a call fails with: what the server says, or that it says nothing.
 *
 * @since 0.1.0
 * @category errors
 */
export type ClientError = ServingError.ServingError | ConnectionLost

/**
 * @since 0.1.0
 * @category models
 */
export interface Client<in out C extends Calls> {
  /** Runs a module. Whoever stops waiting cancels the run. */
  readonly run: <const N extends keyof C & string>(
    module: N,
    input: C[N]["input"]
  ) => Effect.Effect<C[N]["output"], ClientError>
  /**
   * Runs a module and gives its events, the `Result` last. A lost connection is
   * taken up again, if the server is one that lets runs be resumed. Whoever stops
   * reading cancels the run, unless others follow it. With an `id`, others can.
   */
  readonly stream: <const N extends keyof C & string>(
    module: N,
    input: C[N]["input"],
    options?: { readonly id?: string | undefined }
  ) => Stream.Stream<ModuleEvent.ModuleEvent<C[N]["output"]>, ClientError>
  /** Follows a run of a module that somebody else has begun, after the event `from`. */
  readonly follow: <const N extends keyof C & string>(
    module: N,
    id: string,
    options?: { readonly from?: number | undefined }
  ) => Stream.Stream<ModuleEvent.ModuleEvent<C[N]["output"]>, ClientError>
  /** Ends a run for all who follow it; fails as `NotFound` if there is none. */
  readonly cancel: (id: string) => Effect.Effect<void, ClientError>
}

/**
 * What `Client` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Where the server is, such as `http://127.0.0.1:3000`. */
  readonly url: string
  /** What it wants to be told. */
  readonly token?: Redacted.Redacted | undefined
  /**
   * How a lost connection is taken up again, also when the server has no room
   * for it at the moment. By default 8 attempts within about 20 seconds; what
   * has arrived in between begins the count anew.
   */
  readonly reconnect?: Schedule.Schedule<unknown, ClientError> | undefined
}

const defaultReconnect: Schedule.Schedule<unknown, ClientError> = Schedule.exponential("100 millis").pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(8))
)

// =============================================================================
// One client for every way to a server
// =============================================================================

interface Request {
  readonly id: string
  readonly from: number
  /** What is to be begun, its input as JSON; without it the run is there. */
  readonly begin: { readonly module: string; readonly input: string } | undefined
}

// One connection at a time: what is lost is taken up again above.
interface Transport {
  readonly query: (module: string, input: string) => Effect.Effect<unknown, ClientError>
  readonly events: (request: Request) => Stream.Stream<Protocol.Numbered, ClientError>
  readonly cancel: (id: string) => Effect.Effect<void, ClientError>
  readonly leave: (id: string) => Effect.Effect<void, ClientError>
}

const lost = (reason: ConnectionLost["reason"], description: string): ConnectionLost =>
  new ConnectionLost({ reason, description })

const unreadable = lost("Unreadable", "what came cannot be read: is there a server of effect-dspy at this address?")
const brokenOff = lost("BrokenOff", "the connection ended before the run did")

const isLast = ({ _tag }: Protocol.Event): boolean => _tag === "Result" || _tag === "Failed"

// A stream over as many connections as it takes. What was received is not received again.
const resumed = (
  transport: Transport,
  request: Request,
  schedule: Schedule.Schedule<unknown, ClientError>
): Stream.Stream<Protocol.Event, ClientError> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const mailbox = yield* Mailbox.make<Protocol.Event, ClientError>({ capacity: 64 })
    const attempts = yield* Schedule.driver(schedule)
    let from = request.from
    let isOver = false
    let wasLost = false

    const received = (chunk: Chunk.Chunk<Protocol.Numbered>): Effect.Effect<unknown> => {
      const fresh = Chunk.toReadonlyArray(chunk).filter(({ n }) => n > from)
      const last = fresh.at(-1)
      if (last === undefined) return Effect.void
      from = last.n
      isOver = isLast(last.event)
      return Effect.zipRight(mailbox.offerAll(fresh.map(({ event }) => event)), attempts.reset)
    }
    const connection: Effect.Effect<void, ClientError> = Effect.suspend(() =>
      Stream.runForEachChunk(transport.events({ ...request, from }), received)
    ).pipe(Effect.flatMap(() => isOver ? Effect.void : brokenOff))
    // Whoever is refused at first is told so; who comes back waits for room.
    const mayComeBack = (error: ClientError): boolean => {
      if (error._tag === "ServingError") return wasLost && error.retryable
      wasLost = true
      return error.reason !== "Unreadable"
    }
    const connections: Effect.Effect<void, ClientError> = Effect.catchAll(
      connection,
      (error): Effect.Effect<void, ClientError> =>
        mayComeBack(error)
          ? Effect.mapError(attempts.next(error), () => error).pipe(
            Effect.zipRight(Effect.sleep(error._tag === "ServingError" ? error.retryAfter ?? 0 : 0)),
            Effect.zipRight(connections)
          )
          : error
    )

    yield* connections.pipe(Mailbox.into(mailbox), Effect.forkScoped)
    // Whoever does not come back says so before the connection ends, for the run would wait. If it cannot be said, it does.
    yield* Effect.addFinalizer(() =>
      isOver || request.begin === undefined
        ? Effect.void
        : Effect.ignore(Effect.timeout(Effect.interruptible(transport.leave(request.id)), "1 second"))
    )
    return Mailbox.toStream(mailbox)
  }))

const notJson = ServingError.make("BadRequest", "the input cannot be written as JSON")

const writeJson = (value: unknown): Effect.Effect<string, ServingError.ServingError> =>
  Effect.flatMap(
    // What has no JSON is no text, although the type says otherwise.
    Effect.try({ try: (): string | undefined => JSON.stringify(value), catch: () => notJson }),
    (text) => text === undefined ? notJson : Effect.succeed(text)
  )

const isRunId = Schema.is(Protocol.RunId)

// Any other would be part of an address, or of a message that cannot be answered.
const valid = (id: string): Effect.Effect<string, ServingError.ServingError> =>
  isRunId(id)
    ? Effect.succeed(id)
    : ServingError.make("BadRequest", "the id of a run has to be 1 to 128 letters, digits, _ and -")

const assemble = <C extends Calls>(
  transport: Transport,
  options: Options,
  contracts: Contracts | undefined
): Client<C> => {
  const codecs = new Map(
    Object.entries(contracts ?? {}).map(([name, { input, output }]) => [
      name,
      { encode: Schema.encodeUnknown(input), decode: Schema.decodeUnknown(output) }
    ])
  )
  // As JSON, whatever way it goes.
  const encode = (module: string, input: unknown): Effect.Effect<string, ServingError.ServingError> => {
    if (!isModuleName(module)) return ServingError.make("NotFound", "there is no such module")
    const codec = codecs.get(module)
    return Effect.flatMap(
      codec === undefined
        ? Effect.succeed(input)
        : Effect.mapError(codec.encode(input), ServingError.invalidInput),
      writeJson
    )
  }
  const decode = (module: string, output: unknown): Effect.Effect<unknown, ConnectionLost> => {
    const codec = codecs.get(module)
    return codec === undefined ? Effect.succeed(output) : Effect.mapError(
      codec.decode(output),
      () => lost("Unreadable", `the answer is not what the contract of "${module}" says: do both sides have the same?`)
    )
  }
  const schedule = options.reconnect ?? defaultReconnect
  const told = (
    module: string,
    event: Protocol.Event
  ): Effect.Effect<ModuleEvent.ModuleEvent<unknown>, ClientError> => {
    switch (event._tag) {
      case "Failed":
        return event.error
      case "Result":
        return Effect.map(decode(module, event.value), (value) => ({ _tag: "Result", value }))
      default:
        return Effect.succeed(event)
    }
  }
  const events = (module: string, request: Request): Stream.Stream<ModuleEvent.ModuleEvent<unknown>, ClientError> =>
    Stream.mapEffect(resumed(transport, request, schedule), (event) => told(module, event))

  const untyped: Client<{ readonly [name: string]: Call<unknown, unknown> }> = {
    run: (module, input) =>
      encode(module, input).pipe(
        Effect.flatMap((encoded) => transport.query(module, encoded)),
        Effect.flatMap((output) => decode(module, output))
      ),
    stream: (module, input, stream) =>
      Stream.unwrap(Effect.gen(function*() {
        const id = yield* stream?.id === undefined ? newId : valid(stream.id)
        const encoded = yield* encode(module, input)
        return events(module, { id, from: 0, begin: { module, input: encoded } })
      })),
    follow: (module, id, { from = 0 } = {}) =>
      Stream.unwrap(Effect.gen(function*() {
        if (!Number.isSafeInteger(from) || from < 0) {
          return yield* ServingError.make("BadRequest", "events are counted from 1, and `from` is one of them, or 0")
        }
        return events(module, { id: yield* valid(id), from, begin: undefined })
      })),
    cancel: (id) => Effect.flatMap(valid(id), transport.cancel)
  }
  // The codecs decode what the types say, and without them the types say what is sent.
  return untyped as unknown as Client<C>
}

// =============================================================================
// HTTP
// =============================================================================

// The server says something every 15 seconds.
const silence = "45 seconds"
// In bytes; more than that no server of ours says in one piece.
const maxAnswer = 16 * 1024 * 1024
const maxFailure = 1024 * 1024

const parseJson = Schema.decodeUnknown(Schema.parseJson())
const decodeEvent = Schema.decodeUnknown(Schema.parseJson(Protocol.Event))

// The body as JSON; no more of it is held than the limit.
const jsonOf = (
  response: HttpClientResponse.HttpClientResponse,
  limit: number
): Effect.Effect<unknown, ConnectionLost> =>
  Effect.suspend(() => {
    const body = new Gathered(limit)
    return Stream.runForEach(Stream.mapError(response.stream, () => brokenOff), (part) => {
      body.add(part)
      return body.isTooLarge ? unreadable : Effect.void
    }).pipe(Effect.flatMap(() => Effect.mapError(parseJson(new TextDecoder().decode(body.take())), () => unreadable)))
  })

const failureOf = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<never, ClientError> =>
  jsonOf(response, maxFailure).pipe(
    Effect.timeoutFail({ duration: silence, onTimeout: () => brokenOff }),
    Effect.flatMap((json) => Effect.mapError(ServingError.fromJson(json), () => unreadable)),
    // What stands before the server has not found it, which may be there again soon.
    Effect.mapError((error) =>
      error.reason === "Unreadable" && response.status >= 502 && response.status <= 504
        ? lost("Unreachable", `there is no server behind ${response.request.url}: ${response.status}`)
        : error
    ),
    Effect.flatMap(Effect.fail)
  )

const baseOf = (url: string): string => url.replace(/\/$/, "")

const sender = (client: HttpClient.HttpClient, { token, url }: Options) =>
(
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientResponse.HttpClientResponse, ClientError, Scope.Scope> =>
  client.execute(
    token === undefined ? request : HttpClientRequest.bearerToken(request, Redacted.value(token))
  ).pipe(
    Effect.mapError(() => lost("Unreachable", `there is no answer from ${baseOf(url)}`)),
    Effect.flatMap((response) => response.status < 400 ? Effect.succeed(response) : failureOf(response))
  )

const overHttp = (client: HttpClient.HttpClient, options: Options): Transport => {
  const base = baseOf(options.url)
  const send = sender(client, options)
  const posted = (path: string, input: string): HttpClientRequest.HttpClientRequest =>
    HttpClientRequest.bodyText(HttpClientRequest.post(`${base}${path}`), input, "application/json")
  const asked = ({ begin, from, id }: Request): HttpClientRequest.HttpClientRequest => {
    const request = begin === undefined
      ? HttpClientRequest.get(`${base}/runs/${id}`)
      : HttpClientRequest.setHeader(posted(`/stream/${begin.module}`, begin.input), "idempotency-key", id)
    return from === 0 ? request : HttpClientRequest.setHeader(request, "last-event-id", `${id}/${from}`)
  }

  const numbered = ({ data, id }: sse.Message): Effect.Effect<Protocol.Numbered, ConnectionLost> => {
    const n = sse.readId(id)?.n
    return n === undefined ? unreadable : Effect.mapBoth(decodeEvent(data), {
      onFailure: () => unreadable,
      onSuccess: (event) => ({ n, event })
    })
  }

  return {
    query: (module, input) =>
      Effect.scoped(Effect.flatMap(
        send(posted(`/run/${module}`, input)),
        (response) => jsonOf(response, maxAnswer)
      )),
    events: (request) =>
      Stream.unwrapScoped(Effect.map(send(asked(request)), (response) => {
        const reader = new sse.Reader(maxAnswer)
        return response.stream.pipe(
          Stream.mapError(() => brokenOff),
          Stream.timeoutFail(() => brokenOff, silence),
          Stream.mapChunksEffect((chunk) => {
            const messages: Array<sse.Message> = []
            for (const bytes of chunk) {
              const read = reader.push(bytes)
              if (read === undefined) return unreadable
              messages.push(...read)
            }
            return Effect.map(Effect.forEach(messages, numbered), Chunk.unsafeFromArray)
          })
        )
      })),
    cancel: (id) => Effect.scoped(Effect.asVoid(send(HttpClientRequest.del(`${base}/runs/${id}`)))),
    leave: (id) => Effect.scoped(Effect.asVoid(send(HttpClientRequest.del(`${base}/runs/${id}?unless=shared`))))
  }
}

/**
 * A client over HTTP: one request for each call, and server-sent events.
 *
 * With the `contracts` of the modules their schemas encode what is sent and decode
 * what comes. From the type of what is served alone, `make<typeof modules>`, with
 * nothing of the server imported, what is sent and received is JSON.
 *
 * @example
 * ```ts
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as Client from "@effect-dspy/streaming/Client"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect } from "effect"
 *
 * const contracts = { add: Signature.parse("a: int, b: int -> sum: int") }
 *
 * const program = Effect.gen(function*() {
 *   const client = yield* Client.make({ url: "http://127.0.0.1:1", contracts })
 *   return yield* Effect.flip(client.run("add", { a: 1, b: 2.5 }))
 * }).pipe(Effect.provide(FetchHttpClient.layer))
 *
 * Effect.runPromise(program).then((error) =>
 *   assert.strictEqual(error.message, "the input does not fit the schema of the module: b: Expected an integer")
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <const C extends Contracts>(
    options: Options & { readonly contracts: C }
  ): Effect.Effect<Client<FromContracts<C>>, never, HttpClient.HttpClient>
  <M extends Server.Modules>(options: Options): Effect.Effect<Client<FromModules<M>>, never, HttpClient.HttpClient>
} = <C extends Calls>(
  options: Options & { readonly contracts?: Contracts | undefined }
): Effect.Effect<Client<C>, never, HttpClient.HttpClient> =>
  Effect.map(HttpClient.HttpClient, (client) => assemble<C>(overHttp(client, options), options, options.contracts))

// =============================================================================
// WebSocket
// =============================================================================

const decodeMessage = Schema.decodeUnknown(
  Schema.parseJson(Schema.Union(Protocol.ServerMessage, ToolBridge.FromServer))
)

/**
 * A tool whose needs are met.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnTool extends Tool.Any {
  readonly run: (input: never) => Effect.Effect<unknown, unknown>
}

/**
 * What `makeWebSocket` takes beside what `make` does.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebSocketOptions extends Options {
  /**
   * What the modules of the server may use of this client, where they look for
   * it (`ToolBridge.tools`): registered on every connection before anything is
   * asked.
   */
  readonly tools?: ReadonlyArray<OwnTool> | undefined
}

interface Live {
  /** After so many events the server is told that they have been read. */
  readonly ackEvery: number
  /** How many bytes an input may have. */
  readonly body: number
  readonly write: (text: string) => Effect.Effect<void, ConnectionLost>
  /** What has been asked over this connection, and fails with it. */
  readonly requests: Set<Mailbox.Mailbox<Protocol.ServerMessage, ClientError>>
}

const encoder = new TextEncoder()

const isWithin = (text: string, limit: number): boolean =>
  3 * text.length <= limit || (text.length <= limit && encoder.encode(text).length <= limit)

// A message with an input, which is JSON already.
const asking = (
  message: { readonly type: "query" | "stream"; readonly id: string; readonly module: string; readonly from?: number },
  input: string
): string => `${JSON.stringify(message).slice(0, -1)},"input":${input}}`

const overWebSocket = (
  client: HttpClient.HttpClient,
  options: WebSocketOptions
): Effect.Effect<Transport, never, Scope.Scope | Socket.WebSocketConstructor> =>
  Effect.gen(function*() {
    const { token, tools = [], url } = options
    const scope = yield* Effect.scope
    const address = `${baseOf(url).replace(/^http/, "ws")}/ws`
    const protocols = [
      Protocol.subprotocol,
      ...(token === undefined ? [] : [`bearer.${Encoding.encodeBase64Url(Redacted.value(token))}`])
    ]
    const waiting = new Map<string, Mailbox.Mailbox<Protocol.ServerMessage, ClientError>>()
    const cancelling = new Set<{ readonly id: string; readonly answer: Deferred.Deferred<void, ClientError> }>()
    const one = yield* Effect.makeSemaphore(1)
    // Their needs are met; what they take they decode themselves.
    const own = tools as unknown as ReadonlyArray<Tool.Tool<string, unknown, unknown>>
    const unreachable = lost("Unreachable", `there is no answer from ${address}`)
    let live: Live | undefined

    // Of a WebSocket that is not opened nobody is told why: the same request without one is.
    const refused = Effect.scoped(sender(client, options)(HttpClientRequest.get(`${baseOf(url)}/ws`))).pipe(
      Effect.timeoutFail({ duration: "10 seconds", onTimeout: () => unreachable }),
      Effect.flatMap(() => unreachable),
      Effect.catchIf(
        (error) => error._tag === "ConnectionLost" || error.reason === "BadRequest",
        () => unreachable
      )
    )

    const gone = (requests: Live["requests"], error: ClientError): Effect.Effect<void> =>
      Effect.suspend(() => {
        live = undefined
        const cancels = Array.from(cancelling, ({ answer }) => Deferred.fail(answer, error))
        const answers = Array.from(requests, (mailbox) => mailbox.fail(error))
        return Effect.all([...cancels, ...answers], { discard: true })
      })

    const open = Effect.gen(function*() {
      const socket = yield* Socket.makeWebSocket(address, { protocols, closeCodeIsError: () => true })
      const opened = yield* Deferred.make<Live, ClientError>()
      const send = yield* Scope.extend(socket.writer, scope)
      let heard = true
      let isClosed = false
      // On a socket that was closed a writer waits until it is opened again.
      const write = (text: string): Effect.Effect<void, ConnectionLost> =>
        Effect.suspend(() => isClosed ? brokenOff : Effect.mapError(send(text), () => brokenOff))
      const ready = yield* Effect.makeLatch()
      const calls = yield* Mailbox.make<ToolBridge.FromServer>()
      let ackEvery = 1
      let body = 0
      const requests: Live["requests"] = new Set()
      const usable = Effect.suspend(() => {
        live = { ackEvery, body, write, requests }
        return Deferred.succeed(opened, live)
      })
      const offer = (message: ToolBridge.FromClient): Effect.Effect<void, ClientError> =>
        Effect.suspend(() => {
          const text = JSON.stringify(message)
          if (isWithin(text, body)) return write(text)
          return "call" in message
            ? offer({ type: "tool_failed", call: message.call, message: `what it says has more than ${body} bytes` })
            : tooLarge(body)
        })
      const take = (message: Protocol.ServerMessage | ToolBridge.FromServer): Effect.Effect<unknown> => {
        heard = true
        switch (message.type) {
          case "ready":
            ackEvery = Math.max(1, Math.floor(message.window / 4))
            body = message.body
            return tools.length === 0 ? usable : ready.open
          case "tools_registered":
            return usable
          case "tool_call":
          case "tool_cancel":
          case "bridge_error":
            return calls.offer(message)
          case "pong":
            return Effect.void
          case "cancelled": {
            const { error, id } = message
            const answers = Array.from(cancelling).filter((one) => one.id === id)
            return Effect.forEach(
              answers,
              ({ answer }) => error === undefined ? Deferred.succeed(answer, undefined) : Deferred.fail(answer, error),
              { discard: true }
            )
          }
          default:
            return message.id === undefined
              ? Effect.void
              : waiting.get(message.id)?.offer(message) ?? Effect.void
        }
      }
      // One after the other, in their order: decoding does not wait for anything.
      const messages = yield* Mailbox.make<string | Uint8Array>()
      const reading = messages.take.pipe(
        Effect.flatMap(decodeMessage),
        Effect.mapError(() => unreadable),
        Effect.flatMap(take),
        Effect.forever
      )
      // The tools of a connection end with it.
      const offering = Effect.scoped(Effect.gen(function*() {
        const { failed, hear, register } = yield* ToolBridge.answering(offer, own)
        yield* ready.await
        yield* register
        const hearing = Effect.forever(Effect.flatMap(calls.take, hear))
        yield* Effect.raceFirst(hearing, failed)
      })).pipe(
        Effect.catchTag("NoSuchElementException", () => brokenOff),
        Effect.catchTag("Refused", ({ description }) => ServingError.make("BadRequest", description))
      )
      // A server that says nothing is not there any more.
      const watching = Effect.suspend(() => {
        if (!heard) return brokenOff
        heard = false
        return live === undefined ? Effect.void : write(`{"type":"ping"}`)
      }).pipe(Effect.zipRight(Effect.sleep("20 seconds")), Effect.forever)
      const connection = Effect.all([
        socket.runRaw((text) => void messages.unsafeOffer(text)).pipe(
          Effect.ensuring(Effect.sync(() => {
            isClosed = true
          })),
          Effect.catchAll(() => live === undefined ? refused : brokenOff),
          Effect.zipRight(brokenOff)
        ),
        reading,
        watching,
        tools.length === 0 ? Effect.void : offering
      ], { concurrency: "unbounded", discard: true }).pipe(
        Effect.catchAllCause((cause) => {
          const error = Cause.failureOption(cause).pipe((failure) =>
            failure._tag === "Some" ? failure.value : brokenOff
          )
          return Effect.zipRight(Deferred.fail(opened, error), gone(requests, error))
        }),
        Effect.onInterrupt(() => gone(requests, brokenOff))
      )
      // Whoever comes after one who did not wait for it opens another: there is one at a time.
      return yield* Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          Effect.forkIn(Effect.interruptible(connection), scope),
          (fiber) => Effect.onInterrupt(restore(Deferred.await(opened)), () => Fiber.interrupt(fiber))
        )
      )
    })

    const connected: Effect.Effect<Live, ClientError, Socket.WebSocketConstructor> = one.withPermits(1)(
      Effect.suspend(() => live === undefined ? open : Effect.succeed(live))
    )
    const context = yield* Effect.context<Socket.WebSocketConstructor>()

    const asked = (
      id: string,
      message: string,
      input = ""
    ): Effect.Effect<
      readonly [Mailbox.Mailbox<Protocol.ServerMessage, ClientError>, Live],
      ClientError,
      Scope.Scope
    > =>
      Effect.gen(function*() {
        const mailbox = yield* Mailbox.make<Protocol.ServerMessage, ClientError>()
        // Before it is connected: another one may ask for the same run meanwhile.
        yield* Effect.acquireRelease(
          Effect.suspend(() =>
            waiting.has(id)
              ? ServingError.make("Conflict", "this client follows the run already; use another client")
              : Effect.sync(() => waiting.set(id, mailbox))
          ),
          () => Effect.sync(() => waiting.delete(id))
        )
        const connection = yield* Effect.provide(connected, context)
        if (!isWithin(input, connection.body)) return yield* tooLarge(connection.body)
        yield* Effect.acquireRelease(
          Effect.sync(() => connection.requests.add(mailbox)),
          () => Effect.sync(() => connection.requests.delete(mailbox))
        )
        yield* connection.write(message)
        return [mailbox, connection] as const
      })

    return {
      query: (module, input) =>
        Effect.scoped(Effect.gen(function*() {
          const id = yield* newId
          const [mailbox, connection] = yield* asked(id, asking({ type: "query", id, module }, input), input)
          const answer = yield* mailbox.take.pipe(
            Effect.catchTag("NoSuchElementException", () => brokenOff),
            Effect.onInterrupt(() => Effect.ignore(connection.write(JSON.stringify({ type: "cancel", id }))))
          )
          switch (answer.type) {
            case "result":
              return answer.value
            case "failed":
              return yield* answer.error
            default:
              return yield* unreadable
          }
        })),
      events: ({ begin, from, id }) =>
        Stream.unwrapScoped(Effect.gen(function*() {
          const [mailbox, connection] = yield* asked(
            id,
            begin === undefined
              ? JSON.stringify({ type: "resume", id, from })
              : asking({ type: "stream", id, module: begin.module, from }, begin.input),
            begin?.input
          )
          let given = from
          let acknowledged = from
          let isOver = false
          // Asked for more, what was given before has been read.
          const read = Effect.suspend(() => {
            if (isOver) return Effect.fail(Option.none())
            if (given - acknowledged < connection.ackEvery) return Effect.void
            acknowledged = given
            return Effect.mapError(connection.write(JSON.stringify({ type: "ack", id, n: given })), Option.some)
          })
          const numbered = (
            message: Protocol.ServerMessage
          ): Effect.Effect<Chunk.Chunk<Protocol.Numbered>, ClientError> => {
            if (message.type === "failed") return message.error
            if (message.type !== "events") return unreadable
            const events = message.events.map((event, i) => ({ n: message.n + i, event }))
            given = events.at(-1)?.n ?? given
            isOver = events.some(({ event }) => isLast(event))
            return Effect.succeed(Chunk.unsafeFromArray(events))
          }
          return Stream.repeatEffectChunkOption(Effect.zipRight(
            read,
            mailbox.take.pipe(
              Effect.catchTag("NoSuchElementException", () => brokenOff),
              Effect.flatMap(numbered),
              Effect.mapError(Option.some)
            )
          ))
        })),
      cancel: (id) =>
        Effect.scoped(Effect.gen(function*() {
          const connection = yield* Effect.provide(connected, context)
          const answer = yield* Deferred.make<void, ClientError>()
          const asked = { id, answer }
          yield* Effect.acquireRelease(
            Effect.sync(() => cancelling.add(asked)),
            () => Effect.sync(() => cancelling.delete(asked))
          )
          yield* connection.write(JSON.stringify({ type: "cancel", id }))
          return yield* Deferred.await(answer)
        })),
      leave: (id) =>
        Effect.suspend(() => live === undefined ? Effect.void : live.write(JSON.stringify({ type: "leave", id })))
    }
  })

/**
 * A client over one WebSocket, which is opened when it is needed and again when it
 * was lost, for any number of calls at once. What a stream has not read, the server
 * does not send: a slow reader slows down its own run and no other.
 *
 * Of a WebSocket that is refused nobody is told why, so the server is asked again
 * without one: what it says is the failure.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeWebSocket: {
  <const C extends Contracts>(
    options: WebSocketOptions & { readonly contracts: C }
  ): Effect.Effect<Client<FromContracts<C>>, never, HttpClient.HttpClient | Scope.Scope | Socket.WebSocketConstructor>
  <M extends Server.Modules>(
    options: WebSocketOptions
  ): Effect.Effect<Client<FromModules<M>>, never, HttpClient.HttpClient | Scope.Scope | Socket.WebSocketConstructor>
} = <C extends Calls>(
  options: WebSocketOptions & { readonly contracts?: Contracts | undefined }
): Effect.Effect<Client<C>, never, HttpClient.HttpClient | Scope.Scope | Socket.WebSocketConstructor> =>
  Effect.flatMap(
    HttpClient.HttpClient,
    (client) =>
      Effect.map(overWebSocket(client, options), (transport) => assemble<C>(transport, options, options.contracts))
  )
