import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import * as Client from "@effect-dspy/streaming/Client"
import * as Server from "@effect-dspy/streaming/Server"
import * as ToolBridge from "@effect-dspy/streaming/ToolBridge"
import { NodeHttpClient, NodeSocket } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Deferred, Effect, Fiber, Layer, Option, Random, Redacted, Schedule, Schema, Stream } from "effect"
import * as Http from "node:http"
import * as Net from "node:net"
import { numbered, proxy, start, until, writes } from "./serving.ts"

const answer = Predict.make("question -> answer")
const question = { question: "Who?" }

const platform = Layer.merge(NodeHttpClient.layerUndici, NodeSocket.layerWebSocketConstructor)

const ways = [
  ["server-sent events", <M extends Server.Modules>(options: Client.Options) => Client.make<M>(options)],
  ["a WebSocket", <M extends Server.Modules>(options: Client.Options) => Client.makeWebSocket<M>(options)]
] as const

const text = (events: Iterable<{ readonly _tag: string; readonly text?: string }>): string => {
  let text = ""
  for (const event of events) {
    if (event._tag === "Reset") text = ""
    if (event._tag === "FieldDelta") text += event.text
  }
  return text
}

describe.each(ways)("a client over %s", (_, connect) => {
  it.scopedLive("runs modules, and gets their answers and failures as they are", () => {
    const model = writes(["Ada ", "Lovelace"])
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer } })
      const client = yield* connect<{ readonly answer: typeof answer }>({ url })
      assert.deepStrictEqual(yield* client.run("answer", question), { answer: "Ada Lovelace" })
      // @ts-expect-error the question is a text
      const wrong = yield* Effect.flip(client.run("answer", { question: 1 }))
      assert.deepStrictEqual(
        wrong._tag === "ServingError" ? [wrong.reason, wrong.status, wrong.problems] : wrong,
        ["InvalidInput", 422, [{ path: "question", problem: "Expected string" }]]
      )
      // @ts-expect-error there is no such module
      const unknown = yield* Effect.flip(client.run("nothing", question))
      assert.strictEqual(unknown._tag === "ServingError" && unknown.reason, "NotFound")
      assert.strictEqual(model.counts.calls, 1)
    }).pipe(Effect.provide([model.layer, platform]))
  })

  it.scopedLive("streams the events of a run, whose texts are the answer", () => {
    const words = numbered(50)
    const model = writes(words)
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer } })
      const client = yield* connect<{ readonly answer: typeof answer }>({ url })
      const events = Chunk.toReadonlyArray(yield* Stream.runCollect(client.stream("answer", question)))
      assert.deepStrictEqual(events.at(-1), { _tag: "Result", value: { answer: words.join("").trim() } })
      assert.strictEqual(text(events), words.join("").trim())
      assert.deepStrictEqual(events[0], {
        _tag: "PredictorStart",
        path: "",
        call: 1,
        parent: 0,
        inputs: { question: "Who?" }
      })
    }).pipe(Effect.provide([model.layer, platform]))
  })

  it.scopedLive("fails as the module does, without its words", () =>
    Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer } })
      const client = yield* connect<{ readonly answer: typeof answer }>({ url })
      const error = yield* Effect.flip(Stream.runDrain(client.stream("answer", question)))
      assert.deepStrictEqual(
        error._tag === "ServingError" ? [error.reason, error.cause, error.retryable] : error,
        ["ModelFailed", "Overloaded", true]
      )
    }).pipe(Effect.provide([TestLanguageModel.layer([TestLanguageModel.fail("Overloaded")]), platform])))

  it.scopedLive("takes up a connection lost at 100 random moments, with one call of the model each", () => {
    const words = numbered(60)
    const model = writes(words, () => Effect.yieldNow())
    return Effect.gen(function*() {
      const { port } = yield* start({ modules: { answer }, resume: {}, limits: { connectionsPerCaller: 100 } })
      const whole = words.join("").trim()
      const random = Random.make("lost")
      for (let i = 1; i <= 100; i++) {
        const broken = yield* proxy(port)
        // Twice within what the server sends, headers and all; the third connection lasts.
        broken.cuts = [yield* random.nextIntBetween(0, 5000), yield* random.nextIntBetween(0, 5000)]
        const client = yield* connect<{ readonly answer: typeof answer }>({
          url: broken.url,
          reconnect: Schedule.spaced("1 millis")
        })
        const events = Chunk.toReadonlyArray(yield* Stream.runCollect(client.stream("answer", question)))
        assert.strictEqual(text(events), whole)
        assert.deepStrictEqual(events.at(-1), { _tag: "Result", value: { answer: whole } })
        assert.strictEqual(events.filter(({ _tag }) => _tag === "PredictorStart").length, 1)
        assert.strictEqual(model.counts.calls, i)
      }
    }).pipe(Effect.scoped, Effect.provide([model.layer, platform]))
  }, 60_000)

  it.scopedLive("stops the model when the stream is not read on, also where runs can be resumed", () => {
    const model = writes(numbered(1000), (n) => n < 20 ? Effect.void : Effect.never)
    return Effect.gen(function*() {
      const { server, url } = yield* start({ modules: { answer }, resume: { grace: "1 hour" } })
      const client = yield* connect<{ readonly answer: typeof answer }>({ url })
      yield* Stream.runDrain(Stream.take(client.stream("answer", question), 5))
      yield* until(() => model.counts.open === 0)
      assert.strictEqual(model.counts.calls, 1)
      assert.deepStrictEqual((yield* server.active).filter(({ state }) => state === "running"), [])
    }).pipe(Effect.provide([model.layer, platform]))
  })

  it.scopedLive("stops the model when a run is not awaited any more", () => {
    const model = writes(numbered(10), () => Effect.never)
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer } })
      const client = yield* connect<{ readonly answer: typeof answer }>({ url })
      const run = yield* Effect.fork(client.run("answer", question))
      yield* until(() => model.counts.open === 1)
      yield* Fiber.interrupt(run)
      yield* until(() => model.counts.open === 0)
    }).pipe(Effect.provide([model.layer, platform]))
  })

  it.scopedLive("lets others follow a run, and cancel it", () => {
    const gate = Deferred.unsafeMake<void>(Effect.runSync(Effect.fiberId))
    const model = writes(numbered(30), (n) => n === 10 ? Deferred.await(gate) : Effect.void)
    return Effect.gen(function*() {
      const { server, url } = yield* start({ modules: { answer }, resume: {} })
      type Modules = { readonly answer: typeof answer }
      const one = yield* connect<Modules>({ url })
      const other = yield* connect<Modules>({ url })
      const first = yield* Effect.fork(Stream.runCollect(one.stream("answer", question, { id: "shared" })))
      yield* until(() => model.counts.words > 10)
      const second = yield* Effect.fork(Stream.runCollect(other.follow("answer", "shared")))
      const third = yield* Effect.fork(Stream.runCollect(other.follow("answer", "other").pipe(Stream.either)))
      yield* Effect.repeat(Effect.delay(server.active, "2 millis"), { until: ([run]) => run?.followers === 2 })
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* second), Chunk.toReadonlyArray(yield* first))
      assert.strictEqual(model.counts.calls, 1)
      const [missing] = yield* third
      assert.isTrue(
        missing?._tag === "Left" && missing.left._tag === "ServingError" && missing.left.reason === "NotFound"
      )
    }).pipe(Effect.provide([model.layer, platform]))
  })

  it.scopedLive("is told when a run it follows is cancelled", () => {
    const model = writes(numbered(30), (n) => n === 10 ? Effect.never : Effect.void)
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer }, resume: {} })
      const client = yield* connect<{ readonly answer: typeof answer }>({ url })
      const stream = yield* Effect.fork(
        Effect.flip(Stream.runDrain(client.stream("answer", question, { id: "mine" })))
      )
      yield* until(() => model.counts.words > 10)
      yield* client.cancel("mine")
      const error = yield* stream
      assert.strictEqual(error._tag === "ServingError" && error.reason, "Cancelled")
      assert.strictEqual(model.counts.open, 0)
    }).pipe(Effect.provide([model.layer, platform]))
  })

  it.scopedLive("is told of an id and of an input that no server takes", () =>
    Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer } })
      const client = yield* connect<{ readonly answer: typeof answer }>({ url })
      for (const id of ["a b", "../modules", "", "x".repeat(129)]) {
        for (
          const asked of [
            Stream.runDrain(client.stream("answer", question, { id })),
            Stream.runDrain(client.follow("answer", id)),
            client.cancel(id)
          ]
        ) {
          const error = yield* Effect.flip(
            Effect.timeoutFail(asked, { duration: "5 seconds", onTimeout: () => ({ _tag: "none" as const }) })
          )
          assert.isTrue(error._tag === "ServingError" && error.reason === "BadRequest", id)
        }
      }
      const deep = JSON.parse(`{"question":${"[".repeat(100)}${"]".repeat(100)}}`)
      for (const asked of [client.run("answer", deep), Stream.runDrain(client.stream("answer", deep))]) {
        const error = yield* Effect.flip(
          Effect.timeoutFail(asked, { duration: "5 seconds", onTimeout: () => ({ _tag: "none" as const }) })
        )
        assert.isTrue(error._tag === "ServingError" && error.reason === "BadRequest")
      }
    }).pipe(Effect.provide([TestLanguageModel.layer([]), platform])), 60_000)

  it.scopedLive("says when there is no server, after as many attempts as it may make", () =>
    Effect.gen(function*() {
      let attempts = 0
      const client = yield* connect<{ readonly answer: typeof answer }>({
        url: "http://127.0.0.1:1",
        reconnect: Schedule.recurs(3).pipe(Schedule.tapInput(() => Effect.sync(() => attempts++)))
      })
      const error = yield* Effect.flip(Stream.runDrain(client.stream("answer", question)))
      assert.strictEqual(error._tag === "ConnectionLost" && error.reason, "Unreachable")
      assert.strictEqual(attempts, 4)
    }).pipe(Effect.provide(platform)))

  it.scopedLive("brings its token, and is refused without it", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const token = Redacted.make("a-long-secret-of-the-server")
      const { url } = yield* start({ modules: { answer }, auth: token })
      type Modules = { readonly answer: typeof answer }
      const client = yield* connect<Modules>({ url, token })
      assert.deepStrictEqual(yield* client.run("answer", question), { answer: "Ada" })
      for (const wrong of [undefined, Redacted.make("a-long-secret-of-another")]) {
        const stranger = yield* connect<Modules>({ url, token: wrong })
        const error = yield* Effect.flip(stranger.run("answer", question))
        assert.isTrue(error._tag === "ServingError" && error.reason === "Unauthorized")
      }
      assert.strictEqual(model.counts.calls, 1)
    }).pipe(Effect.provide([model.layer, platform]))
  })
})

describe.each(ways)("a client over %s that lost its connection", (_, connect) => {
  it.scopedLive("waits for room, and is told at first when there is none", () => {
    const words = numbered(60)
    const gate = Deferred.unsafeMake<void>(Effect.runSync(Effect.fiberId))
    const model = writes(words, (n) => n === 30 ? Deferred.await(gate) : Effect.void)
    return Effect.gen(function*() {
      const { port, url } = yield* start({ modules: { answer }, resume: {}, limits: { requestsPerSecond: 2 } })
      type Modules = { readonly answer: typeof answer }
      const way = yield* proxy(port)
      const client = yield* connect<Modules>({ url: way.url, reconnect: Schedule.recurs(8) })
      const run = yield* Effect.fork(Stream.runCollect(client.stream("answer", question)))
      yield* until(() => model.counts.words > 30)
      // Another one takes all the room there is.
      const other = yield* connect<Modules>({ url })
      const full = yield* other.cancel("nothing").pipe(
        Effect.flip,
        Effect.repeat({ until: (error) => error._tag === "ServingError" && (error.retryAfter ?? 0) > 250 })
      )
      assert.isTrue(full._tag === "ServingError" && full.reason === "Busy")
      way.cut()
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(text(yield* run), words.join("").trim())
      assert.strictEqual(model.counts.calls, 1)
    }).pipe(Effect.provide([model.layer, platform]))
  }, 20_000)
})

describe.each(ways)("a client over %s, of a server behind another one", (_, connect) => {
  it.scopedLive("tries again when that has not found it", () =>
    Effect.gen(function*() {
      let asked = 0
      const gateway = Http.createServer((_, response) => {
        asked++
        response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad Gateway</h1>")
      })
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => {
          gateway.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => gateway.close())
      )
      const address = gateway.address() as Net.AddressInfo // it listens on a port
      const url = `http://127.0.0.1:${address.port}`
      const client = yield* connect<{ readonly answer: typeof answer }>({ url, reconnect: Schedule.recurs(2) })
      const error = yield* Effect.flip(Stream.runDrain(client.stream("answer", question)))
      assert.deepInclude(error, { _tag: "ConnectionLost", reason: "Unreachable" })
      assert.isAtLeast(asked, 3)
    }).pipe(Effect.provide(platform)))
})

describe("a client over one WebSocket", () => {
  it.scopedLive("answers whoever cancels a run, also when another one who does so is gone", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const stubborn = Server.endpoint(
        { input: Schema.Struct({}), output: Schema.Struct({}) },
        Module.make({}, function*(_, _input: {}) {
          yield* Deferred.succeed(begun, undefined)
          yield* Effect.uninterruptible(Deferred.await(gate))
          return {}
        })
      )
      const { url } = yield* start({ modules: { stubborn } })
      yield* Effect.addFinalizer(() => Deferred.succeed(gate, undefined))
      const client = yield* Client.makeWebSocket<{ readonly stubborn: typeof stubborn }>({ url })
      yield* Effect.fork(Stream.runDrain(client.stream("stubborn", {}, { id: "mine" })))
      yield* Deferred.await(begun)
      const impatient = yield* Effect.fork(client.cancel("mine"))
      yield* Effect.sleep("50 millis")
      const patient = yield* Effect.fork(Effect.exit(client.cancel("mine")))
      yield* Effect.sleep("50 millis")
      yield* Fiber.interrupt(impatient)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(patient)
    }).pipe(Effect.provide(platform)))

  it.scopedLive("leaves a connection that nobody waits for any more, and opens another for those who still wait", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { port } = yield* start({ modules: { answer } })
      const first = { asked: false, left: false }
      // Does not get to answering the first one who comes.
      const gateway = Net.createServer((socket) => {
        socket.on("error", () => {})
        if (first.asked) {
          const upstream = Net.connect(port, "127.0.0.1").on("error", () => {})
          socket.pipe(upstream)
          upstream.pipe(socket)
        } else {
          first.asked = true
          socket.resume().on("close", () => first.left = true)
        }
      })
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => {
          gateway.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => gateway.close())
      )
      const address = gateway.address() as Net.AddressInfo // it listens on a port
      const client = yield* Client.makeWebSocket<{ readonly answer: typeof answer }>({
        url: `http://127.0.0.1:${address.port}`
      })
      const [one, other] = [
        yield* Effect.fork(client.run("answer", question)),
        yield* Effect.fork(client.run("answer", question))
      ]
      yield* until(() => first.asked)
      yield* Fiber.interrupt(one)
      assert.deepStrictEqual(yield* Fiber.join(other), { answer: "Ada" })
      yield* until(() => first.left)
    }).pipe(Effect.provide([model.layer, platform]))
  })
})

describe("tools of a client", () => {
  it.scopedLive("that say more than the server takes have failed, and the connection stays", () => {
    const asking = Server.endpoint(
      { input: Schema.Struct({}), output: Schema.Struct({ said: Schema.String }) },
      Module.make({}, function*(_, _input: {}) {
        const [tool] = yield* ToolBridge.tools
        return { said: yield* Effect.merge(Effect.mapError(Tool.call(tool!, {}), ({ message }) => message)) } // it has one
      })
    )
    const long = Tool.make("long", {
      description: "Says a lot.",
      parameters: {},
      run: () => Effect.succeed("x".repeat(5000))
    })
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { asking }, limits: { body: 1000 } })
      const client = yield* Client.makeWebSocket<{ readonly asking: typeof asking }>({ url, tools: [long] })
      const { said } = yield* client.run("asking", {})
      assert.include(said, "more than 1000 bytes")
    }).pipe(Effect.provide([TestLanguageModel.layer([]), platform]))
  })
})

describe("what is no server of this kind", () => {
  /** Answers whatever is asked with this status and 64 KiB of a text at a time, as long as somebody takes it. */
  const talkative = (status: number) =>
    Effect.gen(function*() {
      const said = { bytes: 0 }
      const server = Http.createServer((_, response) => {
        response.on("error", () => {})
        response.writeHead(status, { "content-type": "application/json" })
        const part = Buffer.alloc(65_536, "a")
        const talk = (): void => {
          while (!response.destroyed) {
            said.bytes += part.length
            if (!response.write(part)) return void response.once("drain", talk)
          }
        }
        talk()
      })
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => {
          server.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => server.closeAllConnections()).pipe(Effect.zipRight(Effect.sync(() => server.close())))
      )
      const address = server.address() as Net.AddressInfo // it listens on a port
      return { said, url: `http://127.0.0.1:${address.port}` }
    })

  it.scopedLive(
    "is not listened to without end, neither to its failure nor to its answer",
    () =>
      Effect.gen(function*() {
        for (const [status, most] of [[500, 1], [200, 16]] as const) {
          const { said, url } = yield* talkative(status)
          const client = yield* Client.make<{ readonly answer: typeof answer }>({ url })
          const error = yield* Effect.flip(client.run("answer", question))
          assert.deepInclude(error, { _tag: "ConnectionLost", reason: "Unreadable" })
          // And what is in the buffers of the network.
          assert.isBelow(said.bytes, (most + 12) * 2 ** 20)
        }
      }).pipe(Effect.provide(platform)),
    20_000
  )
})

describe("contracts", () => {
  const Report = Signature.make({
    input: { since: Schema.Date },
    output: { due: Schema.Date, lines: Schema.Array(Schema.Int) }
  })
  const report = Module.map(
    Predict.make("question -> answer"),
    ({ answer }) => ({ due: new Date(0), lines: [answer.length], secret: "kept inside" })
  ).pipe(Module.mapInput(({ since }: { readonly since: Date }) => ({ question: since.toISOString() })))

  it.scopedLive("encode what is sent and decode what comes", () => {
    const model = writes(["four"])
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { report: Server.endpoint(Report, report) } })
      const client = yield* Client.make({ url, contracts: { report: Report } })
      assert.deepStrictEqual(yield* client.run("report", { since: new Date(5) }), { due: new Date(0), lines: [4] })
      const last = yield* Stream.runLast(client.stream("report", { since: new Date(5) }))
      assert.deepStrictEqual(Option.getOrThrow(last), {
        _tag: "Result",
        value: { due: new Date(0), lines: [4] }
      })
    }).pipe(Effect.provide([model.layer, platform]))
  })
})
