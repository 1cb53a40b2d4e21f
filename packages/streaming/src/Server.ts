/**
 * Modules served from their signatures: asked for an answer over HTTP, watched
 * while they answer over server-sent events and WebSockets, all on one port. A
 * lost connection can be taken up again without a second call of the model; a
 * client that leaves stops the model, one that reads slowly slows it down.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import type * as Module from "@effect-dspy/core/Module"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as admission from "./internal/serving/admission.ts"
import * as body from "./internal/serving/body.ts"
import * as Connections from "./internal/serving/connections.ts"
import * as guard from "./internal/serving/guard.ts"
import * as Inside from "./internal/serving/inside.ts"
import { newId } from "./internal/serving/newId.ts"
import * as openApi from "./internal/serving/openApi.ts"
import * as Rate from "./internal/serving/rate.ts"
import * as Routes from "./internal/serving/routes.ts"
import * as Runs from "./internal/serving/runs.ts"
import * as Served from "./internal/serving/served.ts"
import type * as session from "./internal/serving/session.ts"
import * as Ticker from "./internal/serving/ticker.ts"
import * as Protocol from "./Protocol.ts"
import * as ServingError from "./ServingError.ts"

// =============================================================================
// What is served
// =============================================================================

/**
 * What a module takes and returns, as both sides of a connection have to know it.
 * A `Signature` is one. Encoded sides are JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Contract<in out In, in out InEncoded, in out Out, in out OutEncoded> {
  readonly instructions?: string | undefined
  readonly input: Schema.Schema<In, InEncoded>
  readonly output: Schema.Schema<Out, OutEncoded>
}

/**
 * @since 0.1.0
 * @category type ids
 */
export const EndpointTypeId = "~@effect-dspy/streaming/Server/Endpoint"

/**
 * @since 0.1.0
 * @category type ids
 */
export type EndpointTypeId = typeof EndpointTypeId

/**
 * A module with its contract.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint<in out In, in out InEncoded, in out Out, in out OutEncoded, out E, out R> {
  readonly [EndpointTypeId]: EndpointTypeId
  readonly contract: Contract<In, InEncoded, Out, OutEncoded>
  readonly module: Module.Module<In, Out, E, R>
}

/**
 * Any endpoint, with its types erased.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyEndpoint {
  readonly [EndpointTypeId]: EndpointTypeId
  readonly contract: { readonly instructions?: string | undefined; readonly input: unknown; readonly output: unknown }
  readonly module: Module.Any
}

/**
 * Modules by the names they are served under. A module that is a predictor, or a
 * `ChainOfThought`, has a signature of its own; others are given theirs with
 * `endpoint`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Modules {
  readonly [name: string]: Module.Any | AnyEndpoint
}

/**
 * What the modules need.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Requirements<M extends Modules> = {
  [N in keyof M]: M[N] extends AnyEndpoint ? Module.Requirements<M[N]["module"]>
    : M[N] extends Module.Any ? Module.Requirements<M[N]>
    : never
}[keyof M]

/**
 * A module and what it takes and returns: a signature, or the schemas of both.
 * What the module returns beyond that is not sent.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Server from "@effect-dspy/streaming/Server"
 * import { Schema } from "effect"
 *
 * const twice = Module.make(
 *   { draft: Predict.make("topic -> draft"), polish: Predict.make("draft -> text") },
 *   function*(m, input: { readonly topic: string }) {
 *     const { draft } = yield* m.draft(input)
 *     const { text } = yield* m.polish({ draft })
 *     return { text, draft, length: text.length }
 *   }
 * )
 *
 * const endpoint = Server.endpoint({
 *   instructions: "Writes a text about a topic.",
 *   input: Schema.Struct({ topic: Schema.String }),
 *   output: Schema.Struct({ text: Schema.String, length: Schema.Int })
 * }, twice)
 *
 * assert.strictEqual(endpoint.module, twice)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const endpoint = <In, InEncoded, Out, OutEncoded, E, R>(
  contract: Contract<In, InEncoded, Out, OutEncoded>,
  module: Module.Module<NoInfer<In>, NoInfer<Out>, E, R>
): Endpoint<In, InEncoded, Out, OutEncoded, E, R> => ({ [EndpointTypeId]: EndpointTypeId, contract, module })

const endpointOf = (name: string, served: Module.Any | AnyEndpoint): AnyEndpoint =>
  Predicate.hasProperty(served, EndpointTypeId)
    ? served
    : { [EndpointTypeId]: EndpointTypeId, contract: Served.ownContract(name, served), module: served }

// =============================================================================
// Options
// =============================================================================

/**
 * Who asks: fails with `Unauthorized`, or says by what name this caller is known.
 * Runs belong to it, and nobody else can follow or cancel them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Authenticate<out R = never> {
  (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string, ServingError.ServingError, R>
}

/**
 * What a server takes on, and how long it waits.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** How many bytes an input may have, or the body of a request; 1 MiB by default. More is refused as `TooLarge`. */
  readonly body?: number | undefined
  /** How many runs may be under way at once; 64 by default. More are refused as `Busy`. */
  readonly concurrency?: number | undefined
  /** How long a run may take; 10 minutes by default. Time in which it waits for a slow reader counts. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * How many WebSockets there may be, 1,000 by default, and
   * `connectionsPerCaller` how many of one caller, 20 by default.
   */
  readonly connections?: number | undefined
  readonly connectionsPerCaller?: number | undefined
  /**
   * How many requests are taken within a second, from all callers together, at
   * once or one after the other: over HTTP, over WebSockets, and to open one;
   * 1,000 by default. More are refused as `Busy`.
   */
  readonly requestsPerSecond?: number | undefined
  /** How many requests of one WebSocket are worked on, 8 by default; 32 more may wait. */
  readonly requestsPerConnection?: number | undefined
  /**
   * How long a client may read nothing of what there is for it, until its
   * connection is closed; 30 seconds by default.
   */
  readonly stall?: Duration.DurationInput | undefined
  /** How long runs may go on when the server stops; 30 seconds by default. */
  readonly drain?: Duration.DurationInput | undefined
}

/**
 * What `Server` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<M extends Modules, R = never> {
  /** What is served. */
  readonly modules: M
  /**
   * A token that callers must bring as `Authorization: Bearer …`, or an effect
   * that says who they are. Without it everybody is served who can reach the
   * server, which `serve` allows on loopback only.
   */
  readonly auth?: Redacted.Redacted | Authenticate<R> | undefined
  /** The names the server is reached by, beside those of loopback. Other names are refused. */
  readonly hosts?: ReadonlyArray<string> | undefined
  /**
   * Of which pages requests are taken, such as `https://example.org`, beside
   * those of the server itself. None by default.
   */
  readonly origins?: ReadonlyArray<string> | undefined
  /**
   * A run goes on for `grace`, 60 seconds by default, after the last who
   * followed it has gone, and its newest events are kept (`events`, 1,000 by
   * default), so that a lost connection can be taken up again. Without it the
   * run is cancelled at once.
   */
  readonly resume?: {
    readonly grace?: Duration.DurationInput | undefined
    readonly events?: number | undefined
  } | undefined
  /**
   * Which events leave the server; all by default. Among them are what each
   * predictor was asked and answered. The result always leaves.
   */
  readonly expose?: ((event: ModuleEvent.Emitted) => boolean) | undefined
  /** Of size, time and number. */
  readonly limits?: Limits | undefined
}

// =============================================================================
// The service
// =============================================================================

/**
 * A module that is served. `input` and `output` are JSON Schemas (2020-12) of what
 * is sent and received; `contract` has the schemas themselves.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServedModule {
  readonly name: string
  readonly description: string
  readonly input: Json.JsonRecord
  readonly output: Json.JsonRecord
  readonly contract: {
    readonly input: Schema.Schema.AnyNoContext
    readonly output: Schema.Schema.AnyNoContext
  }
  readonly predictors: ReadonlyArray<Module.Predictor>
}

/**
 * Which run is asked for. Without an `id` it is given one that nobody can guess.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamRequest {
  readonly module: string
  readonly input: unknown
  readonly id?: string | undefined
  readonly from?: number | undefined
}

/**
 * A run that has not been forgotten; `events` is the number of its last event,
 * `followers` how many follow it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Active {
  readonly id: string
  readonly module: string
  readonly principal: string
  readonly state: "running" | "ended"
  readonly events: number
  readonly followers: number
}

/**
 * What the routes are made of, for routes of your own. Inputs and outputs are
 * JSON; a `principal` is who asks, as `admit` has said.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly modules: ReadonlyArray<ServedModule>
  readonly openApi: Json.JsonRecord
  /** Checks the name and the page a request was sent to and from, takes no more than may come, and says who asks. */
  readonly admit: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<string, ServingError.ServingError>
  /** The body of a request as JSON, within the limits. */
  readonly body: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<unknown, ServingError.ServingError>
  readonly run: (
    request: { readonly module: string; readonly input: unknown }
  ) => Effect.Effect<Json.Json, ServingError.ServingError>
  /** Begins a run, or joins the one of this id. The last event is a `Result` or `Failed`. */
  readonly stream: (
    request: StreamRequest,
    principal: string
  ) => Stream.Stream<Protocol.Numbered, ServingError.ServingError>
  /** Ends a run for all who follow it, and says whether there was one. */
  readonly cancel: (id: string, principal: string) => Effect.Effect<boolean>
  readonly active: Effect.Effect<ReadonlyArray<Active>>
  /** Takes no more requests, waits for those there are, and interrupts them when the time is over. */
  readonly drain: Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category services
 */
export class Server extends Context.Tag("@effect-dspy/streaming/Server")<Server, Service>() {}

type Numeric = { readonly [N in keyof Limits]-?: Limits[N] extends number | undefined ? N : never }[keyof Limits]

const seconds = (duration: Duration.DurationInput): number => Math.max(1, Math.round(Duration.toSeconds(duration)))

/**
 * What serves the modules, without the routes.
 *
 * Dies with a `RangeError` for a name that cannot be part of an address, for a
 * module that has no signature of its own and is given none, and for a limit that
 * is no number of 1 or more.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Server from "@effect-dspy/streaming/Server"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* Server.make({ modules: { qa: Predict.make("question -> answer: int") } })
 *   const answer = yield* server.run({ module: "qa", input: { question: "2 + 2?" } })
 *   const error = yield* Effect.flip(server.run({ module: "qa", input: {} }))
 *   return [answer, error.message] as const
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: 4 })]))
 * )
 *
 * Effect.runPromise(program).then(([answer, error]) => {
 *   assert.deepStrictEqual(answer, { answer: 4 })
 *   assert.strictEqual(error, "the input does not fit the schema of the module: question: is missing")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const M extends Modules, R = never>(
  options: Options<M, R>
): Effect.Effect<Service, never, Requirements<M> | R | Scope.Scope> =>
  Effect.gen(function*() {
    const { auth, hosts = [], limits = {}, modules, origins = [], resume } = options
    const limit = (name: Numeric, byDefault: number): number => {
      const value = limits[name] ?? byDefault
      if (value >= 1) return value
      throw new RangeError(`Server: limits.${name} has to be a number of 1 or more, and is ${value}`)
    }
    const context = yield* Effect.context<Requirements<M> | R>()
    const ticker = yield* Ticker.make
    const stall = seconds(limits.stall ?? "30 seconds")
    const window = Math.min(256, resume?.events ?? 1000)
    const runs = yield* Runs.make({
      concurrency: limit("concurrency", 64),
      timeout: Duration.decode(limits.timeout ?? "10 minutes"),
      grace: resume === undefined ? undefined : Duration.decode(resume.grace ?? "60 seconds"),
      events: resume === undefined ? 256 : resume.events ?? 1000,
      // What waits for its reader may be less than what is kept for one who comes back.
      characters: (resume === undefined ? 128 : 512) * 1024,
      window,
      stall,
      heartbeat: 15,
      expose: options.expose ?? (() => true)
    }, ticker)
    // What a module needs was asked for by the type, and is in the context.
    const entries = new Map(
      Object.entries<Module.Any | AnyEndpoint>(modules).map(([name, one]) => [
        name,
        Served.make(name, endpointOf(name, one), context as Context.Context<never>)
      ])
    )

    const prepare = (name: string, given: unknown): ReturnType<Served.Served["prepare"]> =>
      entries.get(name)?.prepare(given) ??
        ServingError.make("NotFound", `there is no such module; there are: ${Array.from(entries.keys()).join(", ")}`)

    const open: session.Host["open"] = (request, principal, onStall) =>
      Effect.flatMap(prepare(request.module, request.input), (program) =>
        runs.open(
          {
            id: request.id,
            module: request.module,
            principal,
            digest: Json.hash([request.module, request.input]),
            program
          },
          request.from,
          onStall
        ))

    const unauthorized = ServingError.make("Unauthorized", "a token is needed: `Authorization: Bearer …`")
    const authenticate = (
      request: HttpServerRequest.HttpServerRequest
    ): Effect.Effect<string, ServingError.ServingError> => {
      if (auth === undefined) return Effect.succeed("anyone")
      if (!Redacted.isRedacted(auth)) return Effect.provide(auth(request), context)
      const token = admission.bearerOf(request)
      return token !== undefined && admission.isSame(token, Redacted.value(auth))
        ? Effect.succeed("bearer")
        : unauthorized
    }
    const checkPlace = (request: HttpServerRequest.HttpServerRequest) =>
      admission.checkPlace(request, { hosts, origins })

    const run: Service["run"] = ({ input, module }) => Effect.flatMap(prepare(module, input), runs.run)

    const connections = Connections.make({
      connections: limit("connections", 1000),
      connectionsPerCaller: limit("connectionsPerCaller", 20)
    })
    const bodySize = Math.min(limit("body", 1024 * 1024), Number.MAX_SAFE_INTEGER)
    const rate = Rate.make(limit("requestsPerSecond", 1000))
    const served = Array.from(entries.values(), ({ prepare: _, ...module }) => module)
    const drainTime = Duration.decode(limits.drain ?? "30 seconds")

    const service: Service = {
      modules: served,
      openApi: openApi.document(
        served.map(({ contract, description, name }) => ({ name, description, ...contract })),
        { title: "effect-dspy", version: "0.1.0", isGuarded: auth !== undefined }
      ),
      admit: (request) => checkPlace(request).pipe(Effect.zipRight(rate), Effect.zipRight(authenticate(request))),
      body: (request) => body.read(request, bodySize),
      run,
      stream: ({ from = 0, id, input, module }, principal) =>
        Stream.unwrapScoped(Effect.gen(function*() {
          const request = { id: id ?? (yield* newId), module, input, from }
          const follower = yield* open(request, principal, () => {})
          return Stream.mapEffect(Stream.flattenIterables(Runs.entries(follower)), numbered)
        })),
      cancel: runs.cancel,
      active: runs.active,
      // What has been told to end is still to be written; who does not read it is left.
      drain: Effect.zipRight(runs.drain(drainTime), connections.end)
    }
    Inside.set(service, {
      open,
      join: runs.join,
      query: run,
      cancel: runs.cancel,
      leave: runs.leave,
      stopped: runs.stopped,
      ticker,
      checkPlace,
      connections,
      rate,
      session: { window, body: bodySize, concurrency: limit("requestsPerConnection", 8), queue: 32 },
      stall,
      origins,
      isOpen: auth === undefined && hosts.length === 0,
      isDraining: runs.isDraining
    })
    return service
  })

const decodeEvent = Schema.decode(Schema.parseJson(Protocol.Event))

// Written by the schema it is read with.
const numbered = ({ json, n }: Runs.Entry): Effect.Effect<Protocol.Numbered> =>
  Effect.map(Effect.orDie(decodeEvent(json)), (event) => ({ n, event }))

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = <const M extends Modules, R = never>(
  options: Options<M, R>
): Layer.Layer<Server, never, Exclude<Requirements<M> | R, Scope.Scope>> => Layer.scoped(Server, make(options))

// =============================================================================
// Routes
// =============================================================================

/**
 * A handler for a route of your own, under the rules of the server: it is called
 * with who asks, for requests that come in by a name and from a page that are
 * allowed and with the token; its failures are answered as those of the other
 * routes, or as `onError` says.
 *
 * @since 0.1.0
 * @category routes
 */
export const guarded = <R>(
  handler: (
    principal: string,
    request: HttpServerRequest.HttpServerRequest
  ) => Effect.Effect<HttpServerResponse.HttpServerResponse, ServingError.ServingError, R>,
  onError?: (error: ServingError.ServingError) => HttpServerResponse.HttpServerResponse
): Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  R | Server | HttpServerRequest.HttpServerRequest | Scope.Scope
> =>
  Effect.gen(function*() {
    return yield* guard.answer(yield* Server, yield* HttpServerRequest.HttpServerRequest, handler, onError)
  })

/**
 * The routes of a server:
 *
 * | | |
 * | --- | --- |
 * | `POST /run/:module` | input in, answer out, as JSON |
 * | `POST /stream/:module` | the events of a run, as server-sent events |
 * | `GET /stream/:module?input=…` | the same, for an `EventSource` |
 * | `GET /runs/:id` | follows a run that somebody has begun |
 * | `DELETE /runs/:id` | cancels it; with `?unless=shared`, unless others follow it too |
 * | `GET /ws` | all of it over a WebSocket, any number of runs at once: see `Protocol` |
 * | `GET /modules` | which modules there are, with JSON Schemas |
 * | `GET /openapi.json` | an OpenAPI 3.1 document |
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Server from "@effect-dspy/streaming/Server"
 * import { HttpLayerRouter, HttpServer } from "@effect/platform"
 * import { Layer } from "effect"
 *
 * const app = Server.routes.pipe(
 *   Layer.provide(Server.layer({ modules: { qa: Predict.make("question -> answer") } })),
 *   Layer.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "Ada" })])),
 *   Layer.provide(HttpServer.layerContext)
 * )
 *
 * const { dispose, handler } = HttpLayerRouter.toWebHandler(app, { disableLogger: true })
 * const request = new Request("http://localhost/run/qa", {
 *   method: "POST",
 *   headers: { host: "localhost" },
 *   body: JSON.stringify({ question: "Who was first?" })
 * })
 *
 * handler(request).then((response) => response.json()).then((answer) => {
 *   assert.deepStrictEqual(answer, { answer: "Ada" })
 *   return dispose()
 * })
 * ```
 *
 * @since 0.1.0
 * @category routes
 */
export const routes: Layer.Layer<never, never, Server | HttpLayerRouter.HttpRouter> = HttpLayerRouter.use((router) =>
  Effect.flatMap(Server, (server) => Routes.add(router, server))
)

const isLoopback = (hostname: string): boolean =>
  hostname === "localhost" || hostname === "::1" || hostname.startsWith("127.")

/**
 * Serves routes on the HTTP server: these, and others that go with them. When the
 * scope closes, no more requests are taken, those there are may end, and what has
 * not ended in time is interrupted and told so. After that `http`, Node's server,
 * is told to close what connections there are: it would wait for a client that has
 * connected and says nothing.
 *
 * A server that others can reach over the network must have `auth`, or say under
 * which `hosts` it is to be reached; otherwise this dies with a `RangeError`.
 *
 * @since 0.1.0
 * @category layers
 */
export const serve = <E = never, R = never>(
  app: Layer.Layer<never, E, R | HttpLayerRouter.HttpRouter>,
  options?: { readonly http?: { readonly closeAllConnections: () => void } | undefined }
): Layer.Layer<never, E, Server | HttpServer.HttpServer | Exclude<R, HttpLayerRouter.HttpRouter>> =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const server = yield* Server
    yield* Effect.addFinalizer(() =>
      Effect.zipRight(server.drain, Effect.sync(() => options?.http?.closeAllConnections()))
    )
  })).pipe(
    // Built after the routes are served, so that it ends before they do. What a route needs of each request is not among
    // `R`: routes with such needs are given them where they are made.
    Layer.provide(
      HttpLayerRouter.serve(app, { disableLogger: true, disableListenLog: true }) as unknown as Layer.Layer<
        never,
        E,
        HttpServer.HttpServer | Exclude<R, HttpLayerRouter.HttpRouter>
      >
    ),
    Layer.provide(Layer.effectDiscard(Effect.gen(function*() {
      const { address } = yield* HttpServer.HttpServer
      const { isOpen } = Inside.of(yield* Server)
      if (isOpen && address._tag === "TcpAddress" && !isLoopback(address.hostname)) {
        return yield* Effect.die(
          new RangeError(
            `Server: on ${address.hostname} everybody can ask; listen on 127.0.0.1, or give \`auth\`, or \`hosts\``
          )
        )
      }
    })))
  )
