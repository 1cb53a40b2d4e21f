import type * as Json from "@effect-dspy/core/Json"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import * as Subprocess from "@effect-dspy/providers/Subprocess"
import * as Client from "@effect-dspy/streaming/Client"
import * as Protocol from "@effect-dspy/streaming/Protocol"
import * as Server from "@effect-dspy/streaming/Server"
import * as ToolBridge from "@effect-dspy/streaming/ToolBridge"
import { NodeHttpClient, NodeSocket } from "@effect/platform-node"
import * as Socket from "@effect/platform/Socket"
import { assert, describe, it } from "@effect/vitest"
import {
  Chunk,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Logger,
  LogLevel,
  Mailbox,
  Option,
  Schedule,
  Schema,
  Scope,
  Stream,
  TestClock
} from "effect"
import { spawnSync } from "node:child_process"
import * as path from "node:path"
import { start } from "./serving.ts"

const offered = (name: string, properties: Json.JsonRecord = { city: { type: "string" } }) => ({
  name,
  description: `What ${name} does.`,
  parameters: { type: "object", properties, required: Object.keys(properties) }
})

// A session whose other side is this test: what it is told, in order.
const session = (options?: ToolBridge.Options) =>
  Effect.gen(function*() {
    const told = yield* Mailbox.make<ToolBridge.FromServer>()
    const bridge = yield* ToolBridge.make((message) => told.offer(message), options)
    const next = Effect.orDie(told.take)
    const register = (...names: ReadonlyArray<string>) =>
      Effect.zipRight(
        bridge.receive({ type: "register_tools", tools: names.map((name) => offered(name)) }),
        next
      )
    const nextCall = Effect.filterOrDieMessage(
      next,
      (message) => message.type === "tool_call",
      "there should have been a call"
    )
    return { ...bridge, next, nextCall, register, told }
  })

const toolOf = (bridge: ToolBridge.ToolBridge, name: string) =>
  Effect.flatMap(
    bridge.tools,
    (tools) => Effect.fromNullable(tools.find((tool) => tool.name === name)).pipe(Effect.orDie)
  )

const rome = { city: "Rome" }

describe("ToolBridge", () => {
  it.scoped("calls a tool of the client, and gives what it answers", () =>
    Effect.gen(function*() {
      const client = yield* session()
      assert.deepStrictEqual(yield* client.tools, [])
      assert.deepStrictEqual(yield* client.register("weather", "time"), {
        type: "tools_registered",
        tools: ["weather", "time"]
      })
      const calling = yield* Effect.fork(Tool.call(yield* toolOf(client, "weather"), rome))
      const call = yield* client.nextCall
      assert.deepStrictEqual([call.tool, call.arguments], ["weather", rome])
      yield* client.receive({ type: "tool_result", call: call.call, value: { sky: "clear" } })
      assert.strictEqual(yield* Fiber.join(calling), `{"sky":"clear"}`)
    }))

  it.scoped("sends nothing unless the arguments fit the schema that came with the tool", () =>
    Effect.gen(function*() {
      const client = yield* session()
      yield* client.register("weather")
      const weather = yield* toolOf(client, "weather")
      for (const args of [{}, { city: 1 }, { city: "Rome", more: true }]) {
        const error = yield* Effect.flip(Tool.call(weather, args))
        assert.strictEqual(error.reason, "InvalidArguments")
      }
      assert.deepStrictEqual(yield* client.told.size, Option.some(0))
    }))

  it.scoped("an answer may come in pieces, which are told while it grows", () =>
    Effect.gen(function*() {
      const client = yield* session()
      yield* client.register("weather")
      const heard: Array<string> = []
      const saw = yield* Mailbox.make<string>()
      const calling = yield* Tool.call(yield* toolOf(client, "weather"), rome).pipe(
        ModuleEvent.listen({
          deltas: false,
          emit: (events) =>
            Effect.forEach(events, (event) =>
              Effect.suspend(() => {
                if (event._tag === "Status") heard.push(event.message)
                return saw.offer("")
              }))
        }),
        Effect.fork
      )
      const { call } = yield* client.nextCall
      yield* client.receive({ type: "tool_partial", call, text: "sun" })
      yield* saw.take
      yield* client.receive({ type: "tool_partial", call, text: "ny" })
      yield* client.receive({ type: "tool_partial", call, text: "!" })
      yield* client.receive({ type: "tool_result", call })
      assert.strictEqual(yield* Fiber.join(calling), "sunny!")
      assert.deepStrictEqual(heard, ["weather: sun", "weather: ny!"])
    }))

  it.scoped("what fails there is a failure of the tool, which an agent reads", () =>
    Effect.gen(function*() {
      const client = yield* session()
      yield* client.register("weather")
      const answering = Effect.flatMap(client.nextCall, ({ call }) =>
        client.receive({ type: "tool_failed", call, message: "no such city" }))
      const advise = ReAct.make("question -> answer", { tools: yield* client.tools })
      const [{ answer, trajectory }] = yield* Effect.all([advise({ question: "Rome?" }), answering], {
        concurrency: 2
      })
      assert.strictEqual(answer, "unknown")
      assert.isTrue(trajectory[0]?.failed)
      assert.include(trajectory[0]?.observation, "no such city")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.toolCalls([{ name: "weather", arguments: rome }]),
      TestLanguageModel.toolCalls([{ name: "finish", arguments: {} }]),
      TestLanguageModel.fields({ reasoning: "It failed.", answer: "unknown" })
    ]))))

  it.scoped("a call that takes too long, or that nobody waits for, is cancelled there", () =>
    Effect.gen(function*() {
      const client = yield* session({ timeout: "5 seconds" })
      yield* client.register("weather")
      const weather = yield* toolOf(client, "weather")
      const slow = yield* Effect.fork(Effect.flip(Tool.call(weather, rome)))
      const first = yield* client.nextCall
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(slow)).reason, "TimedOut")
      assert.deepStrictEqual(yield* client.next, { type: "tool_cancel", call: first.call })

      const left = yield* Effect.fork(Tool.call(weather, rome))
      const second = yield* client.nextCall
      yield* Fiber.interrupt(left)
      assert.deepStrictEqual(yield* client.next, { type: "tool_cancel", call: second.call })
    }))

  it.scoped("a result that is late, comes twice or is of no call changes nothing, and is logged", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => logged.push(String(message)))
      const client = yield* session({ timeout: "1 second" })
      yield* client.register("weather")
      const weather = yield* toolOf(client, "weather")
      const hear = (message: ToolBridge.FromClient) =>
        client.receive(message).pipe(
          Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
          Logger.withMinimumLogLevel(LogLevel.Debug)
        )

      const slow = yield* Effect.fork(Effect.flip(Tool.call(weather, rome)))
      const first = yield* client.nextCall
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(slow)
      yield* client.next
      yield* hear({ type: "tool_result", call: first.call, value: "late" })

      const calling = yield* Effect.fork(Tool.call(weather, rome))
      const { call } = yield* client.nextCall
      yield* hear({ type: "tool_result", call: "of another session", value: "not mine" })
      yield* hear({ type: "tool_result", call, value: "once" })
      yield* hear({ type: "tool_failed", call, message: "twice" })
      assert.strictEqual(yield* Fiber.join(calling), "once")
      assert.lengthOf(logged, 3)
      assert.include(logged[0], `Nobody waits for this tool_result of call "${first.call}"`)
    }))

  it.scoped("when the client leaves, its calls come to nothing, and others go on", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const leaving = yield* Scope.extend(session(), scope)
      const staying = yield* session()
      yield* leaving.register("weather")
      yield* staying.register("weather")
      const weather = yield* toolOf(leaving, "weather")
      const lost = yield* Effect.fork(Effect.flip(Tool.call(weather, rome)))
      const kept = yield* Effect.fork(Tool.call(yield* toolOf(staying, "weather"), rome))
      yield* leaving.nextCall
      const { call } = yield* staying.nextCall
      // Calls of different sessions may have the same name; nobody answers for another.
      yield* leaving.receive({ type: "tool_partial", call, text: "not theirs" })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(
        (yield* Fiber.join(lost)).description,
        "who offers it is not connected any more (the session is over)"
      )
      assert.strictEqual((yield* Effect.flip(Tool.call(weather, rome))).reason, "Failed")
      assert.deepStrictEqual(yield* leaving.tools, [])
      yield* staying.receive({ type: "tool_result", call, value: "sunny" })
      assert.strictEqual(yield* Fiber.join(kept), "sunny")
    }))

  it.scoped("what is no message is answered, and the session goes on", () =>
    Effect.gen(function*() {
      const client = yield* session()
      const deep = JSON.parse("[".repeat(100_000) + "]".repeat(100_000))
      for (
        const bad of [null, 1, "x", [], {}, { type: "nothing" }, { type: "tool_result" }, {
          type: "tool_partial",
          call: 1
        }, {
          type: "tool_result",
          call: "1",
          value: deep
        }, JSON.parse(`{"__proto__": {"type": "register_tools", "tools": []}}`)]
      ) {
        yield* client.receive(bad)
        const answer = yield* client.next
        assert.deepInclude(answer, { type: "bridge_error", reason: "Malformed" })
      }
      yield* client.receive({ type: "tool_result", call: 1 })
      assert.deepStrictEqual(yield* client.next, {
        type: "bridge_error",
        reason: "Malformed",
        message: "this is no tool_result: call: Expected string, actual 1"
      })
      yield* client.register("weather")
      assert.lengthOf(yield* client.tools, 1)
    }))

  it.scoped("tools that cannot be registered are refused, all of them, with the reason", () =>
    Effect.gen(function*() {
      const client = yield* session({ reserved: ["search"] })
      yield* client.register("weather")
      const refused = (...tools: ReadonlyArray<ReturnType<typeof offered>>) =>
        Effect.gen(function*() {
          yield* client.receive({ type: "register_tools", tools })
          const answer = yield* client.next
          return answer.type === "bridge_error" ? [answer.reason, answer.message] : [answer.type]
        })
      assert.deepStrictEqual(yield* refused(offered("good"), offered("not good")), [
        "InvalidTool",
        `"not good" is no name for a tool; use letters, digits, "_" and "-", at most 64 of them`
      ])
      assert.deepStrictEqual(yield* refused(offered("search")), [
        "InvalidTool",
        `"search" is taken; give the tool another name`
      ])
      assert.deepInclude(yield* refused(offered("finish")), "InvalidTool")
      assert.deepInclude(yield* refused(offered("a"), offered("a")), "InvalidTool")
      assert.deepInclude(yield* refused({ ...offered("a"), parameters: { type: "string" } as never }), "InvalidTool")
      assert.deepInclude(yield* refused(...Array.from({ length: 129 }, (_, n) => offered(`t${n}`))), "InvalidTool")
      assert.deepStrictEqual((yield* client.tools).map(({ name }) => name), ["weather"])
    }))

  it.scoped("what is registered later takes the place of what was; a tool that is gone says so", () =>
    Effect.gen(function*() {
      const client = yield* session()
      yield* client.register("weather")
      const weather = yield* toolOf(client, "weather")
      yield* client.register("time")
      assert.deepStrictEqual((yield* client.tools).map(({ name }) => name), ["time"])
      const error = yield* Effect.flip(Tool.call(weather, rome))
      assert.strictEqual(error.description, "who offered it does so no more")
    }))

  it.scoped("a client has so many calls open, and says so much, and no more", () =>
    Effect.gen(function*() {
      const client = yield* session()
      yield* client.register("weather")
      const weather = yield* toolOf(client, "weather")
      const all = yield* Effect.fork(Effect.forEach(Array.from({ length: 64 }), () => Tool.call(weather, rome), {
        concurrency: "unbounded"
      }))
      const calls = yield* Effect.replicateEffect(client.nextCall, 64)
      const error = yield* Effect.flip(Tool.call(weather, rome))
      assert.include(error.description, "64 calls of this client are open")

      yield* Effect.forEach(calls.slice(1), ({ call }) => client.receive({ type: "tool_result", call, value: 1 }))
      const { call } = calls[0]!
      yield* client.receive({ type: "tool_partial", call, text: "x".repeat(1024 * 1024) })
      yield* client.receive({ type: "tool_partial", call, text: "x" })
      assert.deepStrictEqual(yield* client.next, { type: "tool_cancel", call })
      assert.include(String(yield* Effect.flip(Fiber.join(all))), "it said more than")
    }))

  it.scoped("who cannot be written to, or does not read that a call is cancelled, is gone", () =>
    Effect.gen(function*() {
      const deaf = yield* ToolBridge.make((message) =>
        message.type === "tools_registered" ? Effect.void : Effect.fail("broken pipe")
      )
      yield* deaf.receive({ type: "register_tools", tools: [offered("weather")] })
      const error = yield* Effect.flip(Tool.call(yield* toolOf(deaf, "weather"), rome))
      assert.strictEqual(
        error.description,
        "who offers it is not connected any more (it cannot be written to: broken pipe)"
      )

      const stuck = yield* ToolBridge.make(
        (message) => message.type === "tool_cancel" ? Effect.never : Effect.void,
        { timeout: "1 second" }
      )
      yield* stuck.receive({ type: "register_tools", tools: [offered("weather")] })
      const calling = yield* Effect.fork(Effect.flip(Tool.call(yield* toolOf(stuck, "weather"), rome)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(calling)
      assert.lengthOf(yield* stuck.tools, 1)
      yield* TestClock.adjust("10 seconds")
      assert.lengthOf(yield* stuck.tools, 0)
    }))
})

// ---- Connections

interface Side {
  readonly channel: ToolBridge.Channel
  readonly close: Effect.Effect<unknown>
}

const pair: Effect.Effect<readonly [Side, Side]> = Effect.gen(function*() {
  const there = yield* Mailbox.make<string>()
  const back = yield* Mailbox.make<string>()
  const side = (incoming: Mailbox.Mailbox<string>, outgoing: Mailbox.Mailbox<string>): Side => ({
    channel: { incoming: Mailbox.toStream(incoming), send: (text) => outgoing.offer(text) },
    close: outgoing.end
  })
  return [side(there, back), side(back, there)]
})

describe("ToolBridge.connect and offer", () => {
  const upper = Tool.make("upper", {
    description: "In capitals.",
    parameters: { text: Schema.String },
    run: ({ text }) =>
      text === ""
        ? Effect.fail("there is no text")
        : Effect.as(ToolBridge.partial("..."), text.toUpperCase())
  })

  it.scoped("tools of this library are offered, used and fail as such", () =>
    Effect.gen(function*() {
      const [server, client] = yield* pair
      yield* Effect.fork(ToolBridge.offer(client.channel, [upper]))
      const bridge = yield* ToolBridge.connect(server.channel)
      const [tool] = yield* bridge.registered
      assert.deepStrictEqual(tool!.definition.parameters, upper.definition.parameters)
      const heard: Array<string> = []
      const answer = yield* Tool.call(tool!, { text: "a" }).pipe(ModuleEvent.listen({
        deltas: false,
        emit: (events) =>
          Effect.sync(() => {
            for (const event of events) if (event._tag === "Status") heard.push(event.message)
          })
      }))
      assert.deepStrictEqual([answer, heard], ["A", ["upper: ..."]])
      const error = yield* Effect.flip(Tool.call(tool!, { text: "" }))
      assert.strictEqual(error.description, "upper: there is no text")
    }))

  it.scoped("a call that is cancelled is interrupted there", () =>
    Effect.gen(function*() {
      const [server, client] = yield* pair
      const started = yield* Deferred.make<void>()
      const stopped = yield* Deferred.make<void>()
      const endless = Tool.make("endless", {
        description: "Never ends.",
        parameters: {},
        run: () =>
          Deferred.succeed(started, undefined).pipe(
            Effect.zipRight(Effect.never),
            Effect.onInterrupt(() => Deferred.succeed(stopped, undefined))
          )
      })
      yield* Effect.fork(ToolBridge.offer(client.channel, [endless]))
      const bridge = yield* ToolBridge.connect(server.channel)
      const [tool] = yield* bridge.registered
      const calling = yield* Effect.fork(Tool.call(tool!, {}))
      yield* Deferred.await(started)
      yield* Fiber.interrupt(calling)
      yield* Deferred.await(stopped)
    }))

  it.scoped("a connection that ends without tools is an error, one with tools ends its calls", () =>
    Effect.gen(function*() {
      const [server, client] = yield* pair
      const bridge = yield* ToolBridge.connect(server.channel)
      yield* client.close
      const error = yield* Effect.flip(bridge.registered)
      assert.include(error.message, "ended before any tool was registered (it was closed)")

      const [server2, client2] = yield* pair
      const second = yield* ToolBridge.connect(server2.channel)
      yield* client2.channel.send(JSON.stringify({ type: "register_tools", tools: [offered("weather")] }))
      const [weather] = yield* second.registered
      const calling = yield* Effect.fork(Effect.flip(Tool.call(weather!, rome)))
      yield* Effect.yieldNow()
      yield* client2.close
      assert.include((yield* Fiber.join(calling)).description, "(it was closed)")
    }))

  it.scoped("tools that the server refuses are an error of who offers them", () =>
    Effect.gen(function*() {
      const [server, client] = yield* pair
      yield* ToolBridge.connect(server.channel, { reserved: ["upper"] })
      const error = yield* Effect.flip(ToolBridge.offer(client.channel, [upper]))
      assert.strictEqual(
        error.message,
        `the server has refused these tools: "upper" is taken; give the tool another name`
      )
    }))
})

describe("ToolBridge.lines", () => {
  const read = (chunks: ReadonlyArray<Uint8Array>, maxLine?: number) =>
    ToolBridge.lines({ output: Stream.fromIterable(chunks), write: () => Effect.void }, { maxLine }).incoming.pipe(
      Stream.runCollect,
      Effect.map(Chunk.toReadonlyArray)
    )
  const bytes = new TextEncoder().encode(`{"a":"é👍"}\r\n\n{"b":1}\n{"cut`)

  it.effect("finds the same lines wherever they are split", () =>
    Effect.gen(function*() {
      for (let at = 0; at <= bytes.length; at++) {
        assert.deepStrictEqual(yield* read([bytes.slice(0, at), bytes.slice(at)]), [`{"a":"é👍"}`, `{"b":1}`])
      }
      assert.deepStrictEqual(yield* read(Array.from(bytes, (byte) => Uint8Array.of(byte))), [`{"a":"é👍"}`, `{"b":1}`])
    }))

  it.effect("puts a long line together from small pieces, and the next one too", () =>
    Effect.gen(function*() {
      const text = Array.from({ length: 20_000 }, (_, n) => String(n)).join()
      const long = new TextEncoder().encode(`${text}\n${text.slice(0, 9000)}\nok\n`)
      const pieces = Array.from({ length: Math.ceil(long.length / 7) }, (_, n) => long.slice(7 * n, 7 * n + 7))
      assert.deepStrictEqual(yield* read(pieces), [text, text.slice(0, 9000), "ok"])
    }))

  it.effect("skips what is too long or no text, and says so", () =>
    Effect.gen(function*() {
      const long = new TextEncoder().encode(`${"x".repeat(20)}\nok\n`)
      for (const chunks of [[long], Array.from(long, (byte) => Uint8Array.of(byte))]) {
        assert.deepStrictEqual(yield* read(chunks, 10), [{ unreadable: "a line of 20 bytes is longer than 10" }, "ok"])
      }
      assert.deepStrictEqual(yield* read([Uint8Array.of(0xff, 0x0a, 0x31, 0x0a)]), [{
        unreadable: "a line is not UTF-8"
      }, "1"])
    }))

  it.scoped("a line that is no message is answered", () =>
    Effect.gen(function*() {
      const told = yield* Mailbox.make<string>()
      yield* ToolBridge.connect(ToolBridge.lines({
        output: Stream.concat(Stream.make(new TextEncoder().encode("nonsense\n")), Stream.never),
        write: (text) => told.offer(text)
      }))
      assert.strictEqual(
        yield* told.take,
        `{"type":"bridge_error","reason":"Malformed","message":"this is no JSON"}\n`
      )
    }))
})

// ---- Beside what else a server has to say

describe("ToolBridge over a Server", () => {
  // What its caller's tool says.
  const asking = Server.endpoint(
    { input: Schema.Struct({}), output: Schema.Struct({ said: Schema.String }) },
    Module.make({}, function*(_, _input: {}) {
      const [tool] = yield* ToolBridge.tools
      return { said: tool === undefined ? "no tool" : yield* Effect.orElseSucceed(Tool.call(tool, {}), () => "failed") }
    })
  )

  type Modules = { readonly asking: typeof asking }

  const client = (port: number) =>
    Effect.gen(function*() {
      const socket = yield* Socket.makeWebSocket(`ws://127.0.0.1:${port}/ws`, { protocols: Protocol.subprotocol })
      const write = yield* socket.writer
      const told = yield* Mailbox.make<string>()
      const answers = yield* Mailbox.make<unknown>()
      yield* socket.runRaw((data) => {
        const text = String(data)
        const { type, value } = JSON.parse(text)
        if (type === "result") answers.unsafeOffer(value)
        else told.unsafeOffer(text)
      }).pipe(Effect.ignore, Effect.forkScoped)
      const send = (message: object) => Effect.orDie(write(JSON.stringify(message)))
      const channel: ToolBridge.Channel = {
        // Of the rest, who offers tools has no use.
        incoming: Stream.filter(Mailbox.toStream(told), (text) => /"(tool|tools|bridge)_/.test(text)),
        send: (text) => Effect.orDie(write(text))
      }
      const query = (id: string) =>
        Effect.zipRight(send({ type: "query", id, module: "asking", input: {} }), Effect.orDie(answers.take))
      return { channel, query, send }
    }).pipe(Effect.provide(NodeSocket.layerWebSocketConstructor))

  const saying = (text: string) =>
    Tool.make("say", { description: "Says it.", parameters: {}, run: () => Effect.succeed(text) })

  it.scopedLive("each client has its own tools, and nobody else's", () =>
    Effect.gen(function*() {
      const { port } = yield* start({ modules: { asking } })
      const [ada, bob, eve] = yield* Effect.all([client(port), client(port), client(port)])
      yield* Effect.forkScoped(ToolBridge.offer(ada.channel, [saying("Ada")]))
      yield* Effect.forkScoped(ToolBridge.offer(bob.channel, [saying("Bob")]))
      const ready = (who: typeof ada, id: string, expected: string): Effect.Effect<void> =>
        Effect.flatMap(who.query(id), (value) =>
          JSON.stringify(value).includes(expected) ? Effect.void : ready(who, `${id}x`, expected))
      yield* Effect.all([ready(ada, "a", "Ada"), ready(bob, "b", "Bob")], { concurrency: 2 })
      assert.deepStrictEqual(
        yield* Effect.all([ada.query("1"), bob.query("1"), eve.query("1")], { concurrency: 3 }),
        [{ said: "Ada" }, { said: "Bob" }, { said: "no tool" }]
      )
      // One that says nonsense is answered, and goes on.
      yield* bob.send({ type: "tool_result", call: 1 })
      assert.deepStrictEqual(yield* bob.query("2"), { said: "Bob" })
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))

  it.scopedLive("a Client brings its tools along, again after a lost connection", () =>
    Effect.gen(function*() {
      const { http, url } = yield* start({ modules: { asking } })
      const ada = yield* Client.makeWebSocket<Modules>({ url, tools: [saying("Ada")] })
      assert.deepStrictEqual(yield* ada.run("asking", {}), { said: "Ada" })
      const events = yield* Stream.runCollect(ada.stream("asking", {}))
      assert.deepStrictEqual(Chunk.last(events), Option.some({ _tag: "Result" as const, value: { said: "Ada" } }))
      const plain = yield* Client.makeWebSocket<Modules>({ url })
      assert.deepStrictEqual(yield* plain.run("asking", {}), { said: "no tool" })

      http.closeAllConnections()
      yield* Effect.retry(ada.run("asking", {}), { times: 5, schedule: Schedule.spaced("50 millis") })
      assert.deepStrictEqual(yield* ada.run("asking", {}), { said: "Ada" })
    }).pipe(Effect.provide([NodeHttpClient.layerUndici, NodeSocket.layerWebSocketConstructor])))

  it.scopedLive("a Client whose tools are refused is told so", () =>
    Effect.gen(function*() {
      const { url } = yield* start({ modules: { asking } })
      const tool = Tool.make("finish", { description: "Ends.", parameters: {}, run: () => Effect.void })
      const client = yield* Client.makeWebSocket<Modules>({ url, tools: [tool] })
      const error = yield* Effect.flip(client.run("asking", {}))
      assert.include(error.message, `"finish" is taken`)
    }).pipe(Effect.provide([NodeHttpClient.layerUndici, NodeSocket.layerWebSocketConstructor])))

  it.scopedLive("a client that leaves takes its calls with it, and no others", () =>
    Effect.gen(function*() {
      const { port } = yield* start({ modules: { asking } })
      const staying = yield* client(port)
      const stopped = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      const leaving = yield* Scope.extend(client(port), scope)
      const waiting = Tool.make("say", {
        description: "Waits.",
        parameters: {},
        run: () =>
          Effect.onInterrupt(
            Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never),
            () => Deferred.succeed(stopped, undefined)
          )
      })
      yield* Effect.forkIn(ToolBridge.offer(leaving.channel, [waiting]), scope)
      yield* Effect.forkIn(
        Effect.iterate(1, { while: () => true, body: (n) => Effect.as(leaving.query(String(n)), n + 1) }),
        scope
      )
      yield* Deferred.await(begun)
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.await(stopped)
      assert.deepStrictEqual(yield* staying.query("1"), { said: "no tool" })
    }))
})

// ---- A tool in another language

const python = spawnSync("python3", ["--version"]).status === 0
const script = path.join(import.meta.dirname, "../../../examples/bridge/tool.py")

describe.skipIf(!python)("a tool in Python", () => {
  const tools = Effect.gen(function*() {
    const child = yield* Subprocess.start({ executable: "python3", arguments: ["-u", script] })
    const bridge = yield* ToolBridge.connect(ToolBridge.lines(child))
    const [describe, factors] = yield* bridge.registered
    return { child, describe: describe!, factors: factors! }
  })

  it.scopedLive("answers, fails and streams", () =>
    Effect.gen(function*() {
      const { describe, factors } = yield* tools
      assert.strictEqual(
        yield* Tool.call(describe, { numbers: [1, 2, 3] }),
        `{"mean":2,"median":2,"deviation":1}`
      )
      assert.strictEqual(
        (yield* Effect.flip(Tool.call(describe, { numbers: [1] }))).description,
        "at least 2 numbers are needed"
      )
      assert.strictEqual((yield* Effect.flip(Tool.call(factors, { number: 1 }))).reason, "InvalidArguments")
      assert.strictEqual(yield* Tool.call(factors, { number: 60 }), "2 2 3 5")
    }))

  it.scopedLive("that dies takes its calls with it", () =>
    Effect.gen(function*() {
      const child = yield* Subprocess.start({
        executable: "python3",
        arguments: [
          "-c",
          `
import sys
print('{"type":"register_tools","tools":[{"name":"die","description":"Dies.","parameters":{"type":"object"}}]}', flush=True)
for line in sys.stdin:
    if "tool_call" in line: sys.exit(1)
`
        ]
      })
      const bridge = yield* ToolBridge.connect(ToolBridge.lines(child))
      const [die] = yield* bridge.registered
      const error = yield* Effect.flip(Tool.call(die!, {}))
      assert.include(error.description, "not connected any more")
    }))
})
