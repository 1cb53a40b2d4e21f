/**
 * Whatever way a client has to a server, it is told the same: each kind of request
 * that cannot be answered is made over HTTP and over a WebSocket.
 */
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Client from "@effect-dspy/streaming/Client"
import * as Server from "@effect-dspy/streaming/Server"
import * as ServingError from "@effect-dspy/streaming/ServingError"
import { NodeHttpClient, NodeSocket } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted, Schedule, Schema, type Scope, Stream } from "effect"
import { numbered, proxy, start, until, writes } from "./serving.ts"

const answer = Predict.make("question -> answer")
const question = { question: "Who?" }

// Gives back how much it was given.
const length = Server.endpoint(
  { input: Schema.Struct({ value: Schema.Unknown }), output: Schema.Struct({ length: Schema.Int }) },
  Module.make({}, function*(_, { value }: { readonly value: unknown }) {
    return yield* Effect.succeed({ length: JSON.stringify(value).length })
  })
)

const failing = Server.endpoint(
  { input: Schema.Struct({}), output: Schema.Struct({}) },
  Module.make({}, function*(_, _input: {}) {
    return yield* ServingError.make("Failed", "the shop is closed", { retryable: true, retryAfter: 5000 })
  })
)

const modules = { answer, length, failing }

// What is asked of it is not what the types allow, which is what is tested.
type Modules = { readonly [name: string]: Server.Endpoint<any, any, any, any, never, never> }
type Loosely = Client.Client<Client.FromModules<Modules>>

const platform = Layer.merge(NodeHttpClient.layerUndici, NodeSocket.layerWebSocketConstructor)

const ways = {
  http: (options: Client.Options) => Client.make<Modules>(options),
  webSocket: (options: Client.Options) => Client.makeWebSocket<Modules>(options)
}

type Way = (typeof ways)[keyof typeof ways]

interface Place {
  readonly port: number
  readonly url: string
  readonly server: Server.Service
  /** Another client on the same way. */
  readonly client: (options?: Partial<Client.Options>) => Effect.Effect<Loosely, never, Scope.Scope>
  readonly model: ReturnType<typeof writes>
}

interface Kind {
  readonly what: string
  readonly server?: Partial<Server.Options<typeof modules>>
  readonly pace?: (n: number) => Effect.Effect<void>
  /** What fails. */
  readonly ask: (client: Loosely, place: Place) => Effect.Effect<unknown, Client.ClientError, Scope.Scope>
  readonly reason: ServingError.Reason
  readonly retryable?: boolean
}

const drained = (self: Stream.Stream<unknown, Client.ClientError>) => Stream.runDrain(self)
const nested = (depth: number): unknown => JSON.parse("[".repeat(depth) + "]".repeat(depth))
const stopsAt = (at: number) => (n: number) => n === at ? Effect.never : Effect.void

const circular: { self?: unknown } = {}
circular.self = circular

// A run that goes on until its scope closes.
const running = (client: Loosely, { model }: Place, id?: string) =>
  Effect.zipRight(
    Effect.forkScoped(Effect.ignore(drained(client.stream("answer", question, { id })))),
    until(() => model.counts.open > 0 && model.counts.words > 1)
  )

const token = Redacted.make("a-long-secret-of-the-server")

// `run` and `stream` alike.
const both = (
  what: string,
  ask: (call: (module: string, input: unknown) => Effect.Effect<unknown, Client.ClientError>) => Effect.Effect<
    unknown,
    Client.ClientError
  >,
  rest: Omit<Kind, "what" | "ask">
): ReadonlyArray<Kind> => [
  { ...rest, what: `${what}, run`, ask: (client) => ask((module, input) => client.run(module, input)) },
  { ...rest, what: `${what}, stream`, ask: (client) => ask((module, input) => drained(client.stream(module, input))) }
]

const kinds: ReadonlyArray<Kind> = [
  ...both("an unknown module", (call) => call("nothing", {}), { reason: "NotFound" }),
  ...both("no name of a module", (call) => call("../modules?", {}), { reason: "NotFound" }),
  ...both("an empty name", (call) => call("", {}), { reason: "NotFound" }),
  ...both("an input that does not fit", (call) => call("answer", { question: 1, other: 2 }), {
    reason: "InvalidInput"
  }),
  ...both("no input", (call) => call("answer", undefined), { reason: "BadRequest" }),
  ...both("an input that has no JSON", (call) => call("answer", { question: 1n }), { reason: "BadRequest" }),
  ...both("an input without end", (call) => call("answer", circular), { reason: "BadRequest" }),
  ...both("an input with a key __proto__", (call) => call("length", JSON.parse(`{"value":{"__proto__":1}}`)), {
    reason: "BadRequest"
  }),
  ...both("an input nested too deep", (call) => call("length", { value: nested(64) }), { reason: "BadRequest" }),
  ...both("an input a byte above the limit", (call) => call("length", { value: "é".repeat(500) + "x" }), {
    server: { limits: { body: 12 + 1000 } },
    reason: "TooLarge"
  }),
  ...both("an input far above the limit", (call) => call("length", { value: "x".repeat(5_000_000) }), {
    reason: "TooLarge"
  }),
  ...both("a module that fails", (call) => call("failing", {}), { reason: "Failed", retryable: true }),
  ...both("a run that takes too long", (call) => call("answer", question), {
    server: { limits: { timeout: "50 millis" } },
    pace: () => Effect.never,
    reason: "TimedOut",
    retryable: true
  }),
  ...both(
    "more requests than may come in a second",
    (call) => Effect.zipRight(call("length", { value: 1 }), call("length", { value: 1 })),
    {
      server: { limits: { requestsPerSecond: 1 } },
      reason: "Busy",
      retryable: true
    }
  ),
  {
    what: "more runs than may be under way",
    server: { limits: { concurrency: 1 } },
    pace: stopsAt(1),
    ask: (client, place) => Effect.zipRight(running(client, place), client.run("answer", question)),
    reason: "Busy",
    retryable: true
  },
  {
    what: "a run that nobody has begun",
    ask: (client) => drained(client.follow("answer", "nothing")),
    reason: "NotFound"
  },
  {
    what: "the end of a run that nobody has begun",
    ask: (client) => drained(client.follow("answer", "nothing", { from: 7 })),
    reason: "NotFound"
  },
  {
    what: "to cancel a run that nobody has begun",
    ask: (client) => client.cancel("nothing"),
    reason: "NotFound"
  },
  {
    what: "no name of a run",
    ask: (client) => drained(client.follow("answer", "a b")),
    reason: "BadRequest"
  },
  {
    what: "no number of an event",
    ask: (client) => drained(client.follow("answer", "nothing", { from: -1 })),
    reason: "BadRequest"
  },
  {
    what: "events that have not come yet",
    pace: stopsAt(1),
    ask: (client, place) =>
      Effect.zipRight(
        running(client, place, "mine"),
        Effect.flatMap(place.client(), (other) => drained(other.follow("answer", "mine", { from: 999 })))
      ),
    reason: "BadRequest"
  },
  {
    what: "events that are no longer kept",
    server: { resume: { events: 5 } },
    ask: (client) =>
      Effect.zipRight(
        drained(client.stream("answer", question, { id: "mine" })),
        drained(client.follow("answer", "mine"))
      ),
    reason: "Gone"
  },
  {
    what: "another run under the same name",
    pace: stopsAt(1),
    ask: (client, place) =>
      Effect.zipRight(
        running(client, place, "mine"),
        Effect.flatMap(
          place.client(),
          (other) => drained(other.stream("answer", { question: "When?" }, { id: "mine" }))
        )
      ),
    reason: "Conflict"
  },
  {
    what: "a run that is cancelled",
    pace: stopsAt(1),
    ask: (client, place) =>
      Effect.gen(function*() {
        const run = yield* Effect.fork(drained(client.stream("answer", question, { id: "mine" })))
        yield* until(() => place.model.counts.words > 1)
        yield* client.cancel("mine")
        assert.strictEqual(place.model.counts.open, 0)
        return yield* Fiber.join(run)
      }),
    reason: "Cancelled"
  },
  ...(["follow", "cancel"] as const).map((what): Kind => ({
    what: `to ${what} the run of another caller`,
    server: {
      auth: ({ headers }) => Effect.succeed(headers["authorization"] ?? "nobody")
    },
    pace: stopsAt(1),
    ask: (client, place) =>
      Effect.gen(function*() {
        const other = yield* place.client({ token: Redacted.make("another") })
        yield* running(other, place, "theirs")
        return yield* what === "cancel" ? client.cancel("theirs") : drained(client.follow("answer", "theirs"))
      }),
    reason: "NotFound"
  })),
  ...[undefined, Redacted.make("a-long-secret-of-another")].flatMap((other) =>
    ([
      ["run", (client: Loosely) => client.run("answer", question)],
      ["stream", (client: Loosely) => drained(client.stream("answer", question))],
      ["cancel", (client: Loosely) => client.cancel("nothing")]
    ] as const).map(([what, ask]): Kind => ({
      what: `${other === undefined ? "no token" : "a wrong token"}, ${what}`,
      server: { auth: token },
      ask: (_, { client }) => Effect.flatMap(client({ token: other }), ask),
      reason: "Unauthorized"
    }))
  ),
  ...([
    ["a foreign page", { origin: "https://evil.example" }],
    ["a page without a name", { origin: "null" }],
    ["a name that is bound anew", { host: "evil.example" }]
  ] as const).map(([what, headers]): Kind => ({
    what,
    ask: (_, { client, port }) =>
      Effect.gen(function*() {
        const { url } = yield* proxy(port, headers)
        const other = yield* client({ url })
        return yield* other.run("answer", question)
      }),
    reason: "Forbidden"
  })),
  ...([["who is there already", true], ["who comes now", false]] as const).map(([what, isThere]): Kind => ({
    what: `a server that stops, ${what}`,
    pace: stopsAt(1),
    ask: (client, place) =>
      Effect.gen(function*() {
        yield* running(client, place)
        yield* Effect.forkScoped(place.server.drain)
        yield* Effect.sleep("10 millis")
        const other = isThere ? client : yield* place.client()
        return yield* other.run("answer", question)
      }),
    server: { limits: { drain: "500 millis" } },
    reason: "Unavailable",
    retryable: true
  }))
]

const told = (kind: Kind, connect: Way) => {
  const model = writes(numbered(20), kind.pace)
  return Effect.gen(function*() {
    const context = yield* Layer.build(platform)
    const { port, server, url } = yield* start({ modules, ...kind.server })
    const client: Place["client"] = (options) =>
      Effect.provide(connect({ url, token, reconnect: Schedule.recurs(0), ...options }), context)
    const place: Place = { port, url, server, client, model }
    const error = yield* Effect.flip(kind.ask(yield* client(), place))
    assert.deepInclude(error, { _tag: "ServingError", reason: kind.reason, retryable: kind.retryable ?? false })
    return error
  }).pipe(Effect.scoped, Effect.provide(model.layer), Effect.timeout("10 seconds"))
}

describe("over HTTP and over a WebSocket alike", () => {
  it.live.each(kinds)("refused: $what", (kind) =>
    Effect.gen(function*() {
      const [http, webSocket] = yield* Effect.all([told(kind, ways.http), told(kind, ways.webSocket)])
      const plain = (error: Client.ClientError) => {
        if (!ServingError.isServingError(error)) return assert.fail(error.message)
        // When there will be room depends on when it was asked.
        return { ...ServingError.toJson(error), retryAfter: error.retryAfter !== undefined }
      }
      assert.deepStrictEqual(plain(webSocket), plain(http))
    }), 30_000)

  it.scopedLive("taken: an input as large, and as deep, as it may be", () =>
    Effect.gen(function*() {
      const { url } = yield* start({ modules, limits: { body: 12 + 1000 } })
      for (const connect of [ways.http, ways.webSocket]) {
        const client = yield* connect({ url })
        assert.deepStrictEqual(yield* client.run("length", { value: "é".repeat(500) }), { length: 502 })
        assert.deepStrictEqual(yield* client.run("length", { value: nested(63) }), { length: 126 })
      }
    }).pipe(Effect.provide([writes([]).layer, platform])))
})
