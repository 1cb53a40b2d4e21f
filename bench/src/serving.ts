/**
 * A server with 1,000 WebSockets of 8 streams each, which are all open before the first word is written: what they
 * cost while they wait, and how fast they are then. The server is in a process of its own; the clients, in this one,
 * are those of `undici`. `--clients` and `--words` change how many.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import * as Server from "@effect-dspy/streaming/Server"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Effect, Layer, Option, Stream } from "effect"
import assert from "node:assert"
import { fork } from "node:child_process"
import { randomUUID } from "node:crypto"
import * as http from "node:http"
import type * as net from "node:net"
import * as os from "node:os"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { parseArgs } from "node:util"
import { WebSocket } from "undici"
import { table } from "./fixture/measure.ts"

const { values } = parseArgs({
  options: {
    serve: { type: "boolean", default: false },
    clients: { type: "string", default: "1000" },
    words: { type: "string", default: "100" }
  }
})
const clients = Number(values.clients)
const words = Number(values.words)
const streams = 8 * clients

/** What the server tells of itself: when all streams are open, and when they are over. */
interface Told {
  readonly rss: number
  readonly cpu: number
  readonly loop: number
}

// =============================================================================
// The server
// =============================================================================

const turn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

const serve = Effect.gen(function*() {
  const go = yield* Effect.makeLatch()
  const loop = monitorEventLoopDelay({ resolution: 10 })
  loop.enable()
  const told = (): Told => {
    globalThis.gc?.()
    const { system, user } = process.cpuUsage()
    const told = { rss: process.memoryUsage().rss, cpu: (system + user) / 1000, loop: loop.percentile(99) / 1e6 }
    loop.reset()
    return told
  }
  let open = 0
  const text = (text: string): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text })
  const deltas: ReadonlyArray<LanguageModel.Delta> = [
    text("[[ ## answer ## ]]\n"),
    ...Array.from({ length: words }, () => text("word ")),
    text("\n\n[[ ## completed ## ]]"),
    { _tag: "Finish", index: 0, reason: "stop" },
    { _tag: "Completed", usage: {}, model: "bench/writer" }
  ]
  const model = LanguageModel.make({
    id: "bench/writer",
    stream: () =>
      Stream.unwrap(Effect.gen(function*() {
        if (++open === streams) {
          process.send?.(told())
          go.unsafeOpen()
        }
        yield* go.await
        // Each in a turn of the event loop of its own, as what comes from a network. What this costs counts as the server's.
        return Stream.unfoldEffect(0, (n) =>
          Effect.as(turn, Option.map(Option.fromNullable(deltas[n]), (delta) => [delta, n + 1])))
      }))
  })
  const server = http.createServer()
  process.on("message", () => process.send?.(told()))
  process.on("disconnect", () => process.exit())
  const app = Server.serve(Server.routes, { http: server }).pipe(
    Layer.provide(Server.layer({
      modules: { answer: Predict.make("question -> answer") },
      limits: { connections: clients, connectionsPerCaller: clients, concurrency: streams, requestsPerSecond: Infinity }
    })),
    Layer.provide(Layer.succeed(LanguageModel.LanguageModel, model)),
    Layer.provide(NodeHttpServer.layer(() => server, { port: 0, host: "127.0.0.1" })),
    Layer.tap(() => Effect.sync(() => process.send?.([(server.address() as net.AddressInfo).port, told()]))) // it listens
  )
  return yield* Layer.launch(app)
})

if (values.serve) {
  await Effect.runPromise(serve)
  process.exit()
}

// =============================================================================
// The clients
// =============================================================================

const child = fork(import.meta.filename, ["--serve", "--clients", values.clients, "--words", values.words], {
  execArgv: ["--expose-gc", ...process.execArgv]
})
const message = <A>() =>
  new Promise<A>((resolve, reject) => {
    child.once("message", (message) => resolve(message as A)) // it is our own process
    child.once("exit", (code) => reject(new Error(`the server ended with code ${code}`)))
  })

const [port, idle] = await message<readonly [number, Told]>()

let answered = 0
let deltas = 0
let finish: () => void
const over = new Promise<void>((resolve) => {
  finish = resolve
})

interface Message {
  readonly type: "ready" | "events" | "failed"
  readonly id: string
  readonly n: number
  readonly events: ReadonlyArray<{ readonly _tag: string; readonly value?: unknown }>
  readonly error: unknown
}

const expected = { answer: "word ".repeat(words).trim() }

const connect = () =>
  new Promise<void>((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`)
    const read = new Map<string, number>()
    let left = 8
    socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data as string) as Message // a server of ours sends texts
      if (message.type === "ready") {
        for (let n = 0; n < left; n++) {
          socket.send(JSON.stringify({ type: "stream", id: randomUUID(), module: "answer", input: { question: "?" } }))
        }
        return resolve()
      }
      assert.strictEqual(message.type, "events", JSON.stringify(message.error))
      for (const event of message.events) {
        if (event._tag === "FieldDelta") deltas++
        if (event._tag !== "Result") continue
        assert.deepStrictEqual(event.value, expected)
        if (--left === 0) socket.close()
        if (++answered === streams) finish()
      }
      // The window is of 256 events: they are acknowledged as `Client` does, many at once.
      const last = message.n + message.events.length - 1
      if (left > 0 && last - (read.get(message.id) ?? 0) >= 128) {
        read.set(message.id, last)
        socket.send(JSON.stringify({ type: "ack", id: message.id, n: last }))
      }
    })
  })

const opened = message<Told>()
const start = performance.now()
for (let n = 0; n < clients; n += 50) await Promise.all(Array.from({ length: Math.min(50, clients - n) }, connect))
const open = await opened
const begun = performance.now()
await over
const wall = performance.now() - begun
const after = message<Told>()
child.send("told")
const end = await after

console.log(`${clients} WebSockets of 8 streams of ${words} words (load ${os.loadavg()[0]!.toFixed(1)})`) // there are three
table(["", "wall", "CPU of the server", "RSS for each stream", "event loop p99", "deltas/s"], [
  [
    "opening",
    `${((begun - start) / 1000).toFixed(1)} s`,
    `${((open.cpu - idle.cpu) / streams).toFixed(2)} ms a stream`,
    `${((open.rss - idle.rss) / streams / 1024).toFixed(1)} KiB`,
    `${open.loop.toFixed(0)} ms`,
    ""
  ],
  [
    "writing",
    `${(wall / 1000).toFixed(1)} s`,
    `${((end.cpu - open.cpu) / deltas * 1000).toFixed(1)} µs a delta`,
    `${((end.rss - idle.rss) / streams / 1024).toFixed(1)} KiB`,
    `${end.loop.toFixed(0)} ms`,
    (deltas / wall * 1000).toFixed(0)
  ]
])
console.log(`${answered} of ${streams} streams came to their answer\n`)
child.disconnect()
