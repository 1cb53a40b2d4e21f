/**
 * The WebSocket of a server, from the first byte: what is said on it, and what
 * becomes of clients that break its rules.
 */
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Protocol from "@effect-dspy/streaming/Protocol"
import * as Server from "@effect-dspy/streaming/Server"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, FastCheck, Schema, Scope, TestClock } from "effect"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import type * as Net from "node:net"
import * as Timers from "node:timers/promises"
import * as Zlib from "node:zlib"
import * as frames from "../src/internal/serving/frames.ts"
import { connect, endless, frame, head, numbered, type Raw, start, until, upgrade, writes } from "./serving.ts"

const answer = Predict.make("question -> answer")

// What a server has sent on an open WebSocket, message by message.
interface Session extends Raw {
  readonly send: (message: Protocol.ClientMessage) => void
  readonly messages: () => ReadonlyArray<Protocol.ServerMessage>
  /** The code the connection was closed with. */
  readonly code: () => number | undefined
}

const decodeMessage = Schema.decodeUnknownSync(Schema.parseJson(Protocol.ServerMessage))

const read = (received: string): { readonly texts: ReadonlyArray<string>; readonly code: number | undefined } => {
  const bytes = Buffer.from(received.slice(received.indexOf("\r\n\r\n") + 4), "latin1")
  const texts: Array<string> = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const opcode = bytes[at]! & 15
    let length = bytes[at + 1]! & 127
    let size = 2
    if (length === 126) {
      length = bytes.readUInt16BE(at + 2)
      size = 4
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(at + 2))
      size = 10
    }
    if (at + size + length > bytes.length) break
    const payload = bytes.subarray(at + size, at + size + length)
    if (opcode === 8) return { texts, code: payload.readUInt16BE(0) }
    if (opcode === 1) texts.push(payload.toString())
    at += size + length
  }
  return { texts, code: undefined }
}

const open = (port: number, headers: Record<string, string> = {}): Effect.Effect<Session, never, Scope.Scope> =>
  Effect.gen(function*() {
    const raw = yield* connect(port)
    raw.write(head("GET /ws", { ...upgrade, ...headers }))
    const session: Session = {
      ...raw,
      send: (message) => raw.write(frame(JSON.stringify(message))),
      messages: () => read(raw.received()).texts.map((text) => decodeMessage(text)),
      code: () => read(raw.received()).code
    }
    yield* until(() => session.messages().length > 0)
    return session
  })

const ask = (id: string): Protocol.ClientMessage => ({ type: "stream", id, module: "answer", input: { question: "?" } })

const served = (options: Omit<Server.Options<{ readonly answer: typeof answer }>, "modules"> = {}) =>
  start({ modules: { answer }, ...options })

describe("frames", () => {
  it("are the same in any pieces", () => {
    const message = FastCheck.record({
      text: FastCheck.string({ unit: "grapheme", maxLength: 300 }),
      cuts: FastCheck.array(FastCheck.nat(300), { maxLength: 4 })
    })
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(message, { maxLength: 5 }),
        FastCheck.infiniteStream(FastCheck.nat(40)),
        (messages, sizes) => {
          const sent = Buffer.concat(messages.flatMap(({ cuts, text }) => {
            const bytes = Buffer.from(text)
            const at = [...cuts.map((cut) => Math.min(cut, bytes.length)).toSorted((a, b) => a - b), bytes.length]
            return at.map((end, i) =>
              frame(bytes.subarray(at[i - 1] ?? 0, end), { opcode: i === 0 ? 1 : 0, fin: i === at.length - 1 })
            )
          }))
          const reader = new frames.Reader(10_000)
          const texts: Array<string> = []
          for (let at = 0; at < sent.length;) {
            const size = 1 + sizes.next().value!
            for (const one of reader.push(sent.subarray(at, at + size))) {
              assert.strictEqual(one._tag, "Text")
              if (one._tag === "Text") texts.push(one.text)
            }
            at += size
          }
          assert.deepStrictEqual(texts, messages.map(({ text }) => text))
        }
      ),
      { numRuns: 300, seed: 6 }
    )
  })

  it("take the room of what has come, also when it comes byte by byte", () => {
    const text = "x".repeat(1_000_000)
    const sent = frame(text)
    const reader = new frames.Reader(sent.length)
    const before = process.memoryUsage().rss
    let early = 0
    for (let at = 0; at < sent.length - 1; at++) early += reader.push(sent.subarray(at, at + 1)).length
    assert.strictEqual(early, 0)
    assert.isBelow(process.memoryUsage().rss - before, 100 * 2 ** 20)
    assert.deepStrictEqual(reader.push(sent.subarray(-1)), [{ _tag: "Text", text }])
  }, 20_000)
})

describe("a session", () => {
  it.scopedLive("opens as RFC 6455 says, and answers several requests at once", () => {
    const model = writes(["Ada ", "Love", "lace"])
    return Effect.gen(function*() {
      const { port } = yield* served()
      const session = yield* open(port, { "sec-websocket-protocol": "other, effect-dspy" })
      assert.include(session.received(), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
      assert.include(session.received(), "Sec-WebSocket-Protocol: effect-dspy\r\n")
      assert.deepStrictEqual(session.messages()[0], { type: "ready", window: 256, body: 1024 * 1024 })
      for (const id of ["a", "b", "c"]) session.send(ask(id))
      session.send({ type: "query", id: "d", module: "answer", input: { question: "?" } })
      session.send({ type: "query", id: "e", module: "none", input: {} })
      session.send({ type: "ping" })
      yield* until(() => session.messages().filter((one) => JSON.stringify(one).includes("Result")).length === 3)
      yield* until(() => session.messages().length >= 7)
      for (const id of ["a", "b", "c"]) {
        const events = session.messages().flatMap((message) =>
          message.type === "events" && message.id === id ? message.events.map((event, i) => [message.n + i, event]) : []
        )
        assert.deepStrictEqual(events.map(([n]) => n), events.map((_, i) => i + 1))
        assert.deepStrictEqual(events.at(-1)?.[1], { _tag: "Result", value: { answer: "Ada Lovelace" } })
      }
      const others = session.messages().filter(({ type }) => type === "result" || type === "pong")
      assert.deepStrictEqual(others.toSorted((one, other) => one.type < other.type ? -1 : 1), [
        { type: "pong" },
        { type: "result", id: "d", value: { answer: "Ada Lovelace" } }
      ])
      const missing = session.messages().find((message) => message.type === "failed")
      assert.isTrue(missing?.type === "failed" && missing.id === "e" && missing.error.reason === "NotFound")
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("answers what makes no sense with an error, and goes on", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { port } = yield* served()
      const session = yield* open(port)
      const senseless = [
        "",
        "{",
        "null",
        "[]",
        `{"type":"none"}`,
        `{"type":"stream","id":"a b","module":"answer","input":{}}`,
        `{"type":"ack","id":"a","n":-1}`,
        `{"type":"stream","id":"a","module":"answer","__proto__":{},"input":{}}`,
        "[".repeat(1000)
      ]
      for (const text of senseless) session.write(frame(text))
      session.send({ type: "stream", id: "x", module: "answer", input: { question: 1 } })
      session.send({ type: "cancel", id: "nothing" })
      session.send({ type: "ack", id: "nothing", n: 5 })
      session.send(ask("a"))
      session.send(ask("a"))
      yield* until(() => JSON.stringify(session.messages()).includes("Result"))
      const reasons = session.messages().flatMap((message) => message.type === "failed" ? [message.error.reason] : [])
      assert.deepStrictEqual(
        reasons.toSorted(),
        [...senseless.map(() => "BadRequest"), "InvalidInput", "Conflict"].toSorted()
      )
      const cancelled = session.messages().find((message) => message.type === "cancelled")
      assert.isTrue(cancelled?.type === "cancelled" && cancelled.error?.reason === "NotFound")
      assert.strictEqual(model.counts.calls, 1)
      for (let i = 0; i < 200; i++) session.write(frame("nonsense"))
      yield* until(() => session.closed())
      assert.strictEqual(session.code(), 1008)
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("has so many requests at once, and so many that wait; more are refused", () => {
    const model = writes(["Ada"], () => Effect.never)
    return Effect.gen(function*() {
      const { port } = yield* served({ limits: { requestsPerConnection: 2 } })
      const session = yield* open(port)
      for (let i = 0; i < 40; i++) session.send(ask(`r${i}`))
      yield* until(() => session.messages().filter(({ type }) => type === "failed").length === 6)
      assert.strictEqual(model.counts.open, 2)
      session.send({ type: "leave", id: "r0" })
      session.send({ type: "cancel", id: "r1" })
      yield* until(() => model.counts.calls === 4)
      session.socket.resetAndDestroy()
      yield* until(() => model.counts.open === 0)
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("goes on for all others while what was cancelled does not end", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const state = { begun: 0 }
      const stubborn = Server.endpoint(
        { input: Schema.Struct({}), output: Schema.Struct({}) },
        Module.make({}, function*(_, _input: {}) {
          state.begun++
          yield* Effect.uninterruptible(Deferred.await(gate))
          return {}
        })
      )
      const { port } = yield* start({ modules: { stubborn } })
      yield* Effect.addFinalizer(() => Deferred.succeed(gate, undefined))
      const session = yield* open(port)
      const count = (type: string) => session.messages().filter((message) => message.type === type).length
      for (const type of ["query", "stream", "query"] as const) {
        session.send({ type, id: `r${state.begun}`, module: "stubborn", input: {} })
        const begun = state.begun
        yield* until(() => state.begun > begun)
      }
      session.send({ type: "cancel", id: "r0" })
      session.send({ type: "cancel", id: "r1" })
      session.send({ type: "leave", id: "r2" })
      session.send({ type: "ping" })
      yield* until(() => count("pong") === 1)
      assert.strictEqual(count("cancelled"), 0)
      yield* Deferred.succeed(gate, undefined)
      yield* until(() => count("cancelled") === 2)
    }))

  it.scopedLive("gives no more than the window of what has not been read, and goes on when it has", () => {
    const model = writes(numbered(1000))
    return Effect.gen(function*() {
      const { port } = yield* served({ limits: { stall: "1 hour" } })
      const session = yield* open(port)
      session.send(ask("a"))
      const received = () =>
        session.messages().reduce((n, message) => message.type === "events" ? n + message.events.length : n, 0)
      yield* until(() => received() === 256)
      // The rest of the pipe is filled, then the model is not asked for more.
      yield* until(() => model.counts.words > 250)
      yield* Effect.sleep("100 millis")
      assert.strictEqual(received(), 256)
      assert.isBelow(model.counts.words, 600)
      const isOver = () => session.received().includes("Result")
      for (let n = 256; !isOver(); n = received()) {
        session.send({ type: "ack", id: "a", n })
        yield* until(() => isOver() || received() > n)
      }
      yield* until(() => received() > 1000)
      assert.strictEqual(model.counts.calls, 1)
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("is closed when it is not read, with nothing left of it", () => {
    const model = writes(endless("on and on ".repeat(100)))
    return Effect.gen(function*() {
      const { port, server } = yield* served({ limits: { stall: "2 seconds" } })
      const session = yield* open(port)
      for (let i = 0; i < 8; i++) session.send(ask(`r${i}`))
      session.socket.pause()
      yield* until(() => model.counts.open === 8)
      yield* until(() => model.counts.open === 0)
      // 8 runs of 512 Ki characters at most, and what was in the pipe.
      assert.isBelow(model.counts.words * 1000, 16 * 1024 * 1024)
      session.socket.resume()
      yield* until(() => session.closed())
      assert.deepStrictEqual(yield* server.active, [])
    }).pipe(Effect.provide(model.layer))
  }, 20_000)

  it.scopedLive("ends with its client, at once", () => {
    const model = writes(["Ada"], () => Effect.never)
    return Effect.gen(function*() {
      const { port } = yield* served()
      const ends: ReadonlyArray<(session: Session) => void> = [
        ({ socket }) => socket.resetAndDestroy(),
        ({ socket }) => socket.end(),
        ({ write }) => write(frame(new Uint8Array([3, 232]), { opcode: 8 }))
      ]
      for (const end of ends) {
        const session = yield* open(port)
        session.send(ask("a"))
        session.send({ type: "query", id: "b", module: "answer", input: { question: "?" } })
        yield* until(() => model.counts.open === 2)
        end(session)
        yield* until(() => model.counts.open === 0)
      }
    }).pipe(Effect.provide(model.layer))
  })
})

describe("a client that is gone without a word", () => {
  // The clock of the server is the test's, the network is not.
  const live = (holds: () => boolean): Effect.Effect<void> =>
    Effect.promise(async () => {
      while (!holds()) await Timers.setTimeout(2)
    })

  // Of events that are not read it would be left for another reason.
  const query = JSON.stringify({ type: "query", id: "a", module: "answer", input: { question: "?" } })

  it.scoped("is left after 45 seconds of silence; one that answers the pings of the server stays", () => {
    const model = writes(["Ada"], () => Effect.never)
    return Effect.gen(function*() {
      const { http, port } = yield* served()
      const sockets: Array<Net.Socket> = []
      http.on("connection", (socket) => sockets.push(socket))
      const opened = Effect.gen(function*() {
        const raw = yield* connect(port)
        raw.write(head("GET /ws", upgrade))
        yield* live(() => raw.received().includes("ready"))
        return raw
      })
      const mute = yield* opened
      // It reads nothing from now on, and says nothing; its end of the connection stays open.
      mute.socket.pause()
      mute.write(frame(query))
      const lively = yield* opened
      lively.write(frame(query))
      yield* live(() => model.counts.open === 2)
      const isPing = (received: string): boolean => received.endsWith("\u0089\u0000")
      for (let at = 20; at <= 40; at += 20) {
        const heard = sockets[1]!.bytesRead // the second one to connect
        yield* TestClock.adjust("20 seconds")
        yield* live(() => isPing(lively.received()))
        lively.write(frame("", { opcode: 10 }))
        yield* live(() => sockets[1]!.bytesRead > heard)
      }
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual([model.counts.open, sockets[0]?.destroyed], [2, false])
      yield* TestClock.adjust("2 seconds")
      yield* live(() => model.counts.open === 1 && sockets[0]?.destroyed === true)
      assert.isFalse(mute.closed() || sockets[1]?.destroyed)
      yield* TestClock.adjust("40 seconds")
      yield* live(() => model.counts.open === 0)
    }).pipe(Effect.provide(model.layer))
  }, 20_000)

  const connections = "/proc/net/tcp"
  const listed = it.scopedLive.skipIf(!Fs.existsSync(connections))

  listed(
    `is looked for by TCP while an answer is waited for${Fs.existsSync(connections) ? "" : ` (no ${connections})`}`,
    () => {
      const model = writes(["Ada"], () => Effect.never)
      return Effect.gen(function*() {
        const { port } = yield* served()
        const client = yield* connect(port)
        const body = JSON.stringify({ question: "?" })
        client.write(head("POST /run/answer", { host: "localhost", "content-length": String(body.length) }) + body)
        yield* until(() => model.counts.open === 1)
        const { localPort } = client.socket
        const hex = (n: number) => n.toString(16).toUpperCase().padStart(4, "0")
        // Of the end of the server: which of the timers of TCP runs, 2 being that of keep-alive.
        const timer = Fs.readFileSync(connections, "utf8").split("\n").map((line) => line.trim().split(/\s+/)).find(
          ([, local, remote]) => local?.endsWith(`:${hex(port)}`) && remote?.endsWith(`:${hex(localPort!)}`) // it is connected
        )?.[5]
        assert.match(timer ?? "", /^02:/)
      }).pipe(Effect.provide(model.layer))
    }
  )
})

describe("hostile clients", () => {
  const mask = new Uint8Array(65_536).fill(97)
  const bomb = Zlib.deflateRawSync(Buffer.alloc(8 * 1024 * 1024))

  const attacks: ReadonlyArray<readonly [what: string, bytes: ReadonlyArray<Uint8Array>, code: number]> = [
    ["a frame of 90 MiB", [frame(mask, { length: 90 * 1024 * 1024 })], 1009],
    [
      "a frame of 2^63 bytes",
      [Buffer.concat([Buffer.from([129, 255, 128, 0, 0, 0, 0, 0, 0, 0]), Buffer.alloc(4)])],
      1009
    ],
    [
      "2 MiB in parts",
      Array.from({ length: 32 }, (_, i) => frame(mask, { opcode: i === 0 ? 1 : 0, fin: i === 31 })),
      1009
    ],
    [
      "more parts than anybody sends",
      [Buffer.concat(Array.from({ length: 5000 }, (_, i) => frame("", { opcode: i === 0 ? 1 : 0, fin: false })))],
      1009
    ],
    ["a compressed bomb", [frame(bomb, { rsv: 64 })], 1002],
    ["bytes that are no UTF-8", [frame(new Uint8Array([0xc3, 0x28]))], 1007],
    ["half a character at the end", [frame(new Uint8Array([0xe2, 0x82]))], 1007],
    ["a surrogate", [frame(new Uint8Array([0xed, 0xa0, 0x80]))], 1007],
    ["no mask", [frame("{}", { masked: false })], 1002],
    ["reserved bits", [frame("{}", { rsv: 32 })], 1002],
    ["an unknown frame", [frame("{}", { opcode: 3 })], 1002],
    ["bytes instead of text", [frame("{}", { opcode: 2 })], 1003],
    ["a continuation of nothing", [frame("{}", { opcode: 0 })], 1002],
    ["a message within a message", [frame("{", { fin: false }), frame("{}")], 1002],
    ["a long ping", [frame("a".repeat(126), { opcode: 9 })], 1002],
    ["a ping in parts", [frame("a", { opcode: 9, fin: false })], 1002]
  ]

  it.scopedLive("are told why, and are gone; others do not notice", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { port } = yield* served({ limits: { connectionsPerCaller: 100 } })
      const other = yield* open(port)
      for (const [what, bytes, code] of attacks) {
        const session = yield* open(port)
        for (const part of bytes) session.write(part)
        yield* until(() => session.closed())
        assert.strictEqual(session.code(), code, what)
      }
      other.send(ask("a"))
      yield* until(() => JSON.stringify(other.messages()).includes("Result"))
    }).pipe(Effect.provide(model.layer))
  }, 20_000)

  it.scopedLive("can send 200,000 tiny frames, which cost time but no memory", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { port } = yield* served()
      const session = yield* open(port)
      const pings = Buffer.concat(Array.from({ length: 10_000 }, () => frame("", { opcode: 9 })))
      const before = process.memoryUsage().rss
      let peak = before
      for (let i = 0; i < 20; i++) {
        if (!session.socket.write(pings)) {
          yield* Effect.async<void>((resume) => {
            session.socket.once("drain", () => resume(Effect.void))
          })
        }
        peak = Math.max(peak, process.memoryUsage().rss)
      }
      session.send(ask("a"))
      yield* until(() => session.received().includes("Result"))
      assert.isBelow(peak - before, 256 * 1024 * 1024)
    }).pipe(Effect.provide(model.layer))
  }, 30_000)

  it.scopedLive("who say half of what they must do not keep others from being served", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { port } = yield* served()
      for (let i = 0; i < 300; i++) {
        const raw = yield* connect(port)
        raw.write(head("GET /ws", upgrade).slice(0, 20 + (i % 100)))
      }
      const wrong: ReadonlyArray<Record<string, string>> = [
        { "sec-websocket-version": "12" },
        { "sec-websocket-key": "short" },
        { upgrade: "other" }
      ]
      for (const headers of wrong) {
        const raw = yield* connect(port)
        raw.write(head("GET /ws", { ...upgrade, ...headers }))
        yield* until(() => raw.received().includes("400 Bad Request"))
      }
      const session = yield* open(port)
      session.send(ask("a"))
      yield* until(() => JSON.stringify(session.messages()).includes("Result"))
    }).pipe(Effect.provide(model.layer))
  }, 20_000)

  it.scopedLive("have no more connections than they may", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { port } = yield* served({ limits: { connections: 3, connectionsPerCaller: 3 } })
      const sessions = yield* Effect.replicateEffect(open(port), 3)
      const refused = yield* connect(port)
      refused.write(head("GET /ws", upgrade))
      yield* until(() => refused.received().includes("503 Service Unavailable"))
      sessions[0]!.socket.resetAndDestroy()
      yield* Effect.sleep("20 millis")
      yield* open(port)
    }).pipe(Effect.provide(model.layer))
  })
})

describe("many clients", () => {
  it.scopedLive("of 8 streams each are told how each of them ends when the server stops", () => {
    const model = writes(numbered(20), (n) => n % 2 === 0 ? Effect.sleep("50 millis") : Effect.void)
    return Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port } = yield* Scope.extend(
        served({ limits: { connectionsPerCaller: 50, concurrency: 1000, drain: "100 millis" } }),
        scope
      )
      const sessions: Array<Session> = []
      for (let i = 0; i < 20; i++) {
        const session = yield* open(port)
        sessions.push(session)
        for (let j = 0; j < 8; j++) session.send(ask(Crypto.randomUUID()))
      }
      yield* until(() => model.counts.calls > 150 && model.counts.open > 0)
      yield* Scope.close(scope, Exit.void)
      yield* until(() => sessions.every((session) => session.closed()))
      const told = sessions.map((session) => {
        const begun = new Set<string>()
        const ended = new Set<string>()
        for (const message of session.messages()) {
          if (message.type === "failed" && message.id !== undefined) ended.add(message.id)
          if (message.type !== "events") continue
          begun.add(message.id)
          if (message.events.some(({ _tag }) => _tag === "Result" || _tag === "Failed")) ended.add(message.id)
        }
        return {
          begun: begun.size,
          lost: Array.from(begun).filter((id) => !ended.has(id)).length,
          code: session.code()
        }
      })
      assert.deepStrictEqual(told.filter(({ lost }) => lost > 0), [])
      assert.isTrue(told.every(({ code }) => code === 1001))
      assert.strictEqual(model.counts.open, 0)
    }).pipe(Effect.provide(model.layer))
  }, 30_000)
})
