/**
 * How long a call of a tool takes that is not here: over a socket on loopback, whose other end is in this process too, and
 * over the standard input and output of a Python program. Beside each the same lines through the same pipe with nothing
 * around them, in turn, and what this machine makes of computing that takes as long as a call: on one that is busy the
 * slowest are those that were interrupted. The goal is a p50 of at most 1 ms and a p99 of at most 10 ms.
 */
import * as Tool from "@effect-dspy/core/Tool"
import * as Subprocess from "@effect-dspy/providers/Subprocess"
import * as ToolBridge from "@effect-dspy/streaming/ToolBridge"
import * as NodeStream from "@effect/platform-node/NodeStream"
import { Console, Effect, Schema } from "effect"
import assert from "node:assert"
import { spawn } from "node:child_process"
import * as net from "node:net"
import * as path from "node:path"
import * as readline from "node:readline"
import type { Readable, Writable } from "node:stream"
import { median, table } from "./fixture/measure.ts"

const rounds = 5
const calls = 1000

const listen = (onConnection: (socket: net.Socket) => void) =>
  Effect.acquireRelease(
    Effect.async<net.Server>((resume) => {
      const server = net.createServer({ noDelay: true }, onConnection).listen(0, "127.0.0.1", () =>
        resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() =>
        server.close()
      )
  )

const dial = (server: net.Server) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const { port } = server.address() as net.AddressInfo // of a server on TCP
      return net.connect({ port, host: "127.0.0.1", noDelay: true })
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

const channelOf = (socket: net.Socket) =>
  ToolBridge.lines({
    output: NodeStream.fromReadable<"lost", Uint8Array>(() => socket, () => "lost"),
    write: (text) =>
      Effect.async<void, "lost">((resume) => {
        socket.write(text, (error) => resume(error ? Effect.fail("lost") : Effect.void))
      })
  })

// A line, and the next one that comes.
const ping = (output: Writable, input: Readable): () => Promise<void> => {
  const lines = readline.createInterface({ input })
  const line = `${
    JSON.stringify({ type: "tool_call", call: "1", tool: "describe", arguments: { numbers: [1, 2, 3] } })
  }\n`
  return () =>
    new Promise((resolve) => {
      lines.once("line", () => resolve())
      output.write(line)
    })
}

// Through a socket: a tool of ours at the other end, and an echo.
const bySocket = Effect.gen(function*() {
  const describe = Tool.make("describe", {
    description: "The mean of some numbers.",
    parameters: { numbers: Schema.Array(Schema.Number) },
    run: ({ numbers }) => Effect.succeed({ mean: numbers.reduce((a, b) => a + b, 0) / numbers.length })
  })
  const accepted = yield* Effect.makeLatch()
  let other: net.Socket | undefined
  const server = yield* listen((socket) => {
    other = socket
    accepted.unsafeOpen()
  })
  const socket = yield* dial(server)
  yield* accepted.await
  const bridge = yield* ToolBridge.connect(channelOf(socket))
  yield* Effect.forkScoped(ToolBridge.offer(channelOf(other!), [describe])) // it was accepted
  const [tool] = yield* bridge.registered
  const echo = yield* listen((socket) => socket.pipe(socket))
  const plain = yield* dial(echo)
  return { tool: tool!, plain: ping(plain, plain) } // one was offered
})

// Through the standard input and output of a program.
const byStdio = Effect.gen(function*() {
  const script = path.join(import.meta.dirname, "../../examples/bridge/tool.py")
  const child = yield* Subprocess.start({ executable: "python3", arguments: ["-u", script] })
  const bridge = yield* ToolBridge.connect(ToolBridge.lines(child))
  const tools = yield* bridge.registered
  const program = "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()"
  const echo = yield* Effect.acquireRelease(
    Effect.sync(() => spawn("python3", ["-u", "-c", program], { stdio: ["pipe", "pipe", "ignore"] })),
    (echo) => Effect.sync(() => echo.kill())
  )
  return { tool: tools.find(({ name }) => name === "describe")!, plain: ping(echo.stdin, echo.stdout) } // it is there
})

const timed = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.map(
    Effect.all([Effect.sync(() => performance.now()), call, Effect.sync(() => performance.now())]),
    ([start, , end]) => end - start
  )

const quantiles = (values: Array<number>): ReadonlyArray<string> => {
  values.sort((a, b) => a - b)
  return [0.5, 0.9, 0.99].map((q) => values[Math.floor(q * (values.length - 1))]!.toFixed(3)) // of all
}

const measure = ({ plain, tool }: Effect.Effect.Success<typeof bySocket>) =>
  Effect.gen(function*() {
    const call = Tool.call(tool, { numbers: [1, 2, 3] })
    assert.match(yield* call, /"mean":2/)
    const ways = {
      "one at a time": Effect.replicateEffect(timed(call), calls),
      "16 at a time": Effect.forEach(Array.from({ length: calls }), () => timed(call), { concurrency: 16 }),
      "only the lines, one at a time": Effect.replicateEffect(timed(Effect.promise(plain)), calls)
    }
    const results = Object.entries(ways).map(([name, way]) => ({ name, way, times: [] as Array<number>, cpu: 0 }))
    for (let round = -1; round < rounds; round++) {
      for (const result of results) {
        const before = process.cpuUsage()
        const times = yield* result.way
        const { system, user } = process.cpuUsage(before)
        if (round < 0) continue
        result.times.push(...times)
        result.cpu += (user + system) / 1000
      }
    }
    const [one] = results
    const middle = median(one!.times) // there are some
    const alone = Array.from({ length: rounds * calls }, () => {
      const start = performance.now()
      while (performance.now() - start < middle);
      return performance.now() - start
    })
    results.push({ name: "computing for as long", way: Effect.succeed([]), times: alone, cpu: middle * alone.length })
    return results.map(({ cpu, name, times }) => [name, ...quantiles(times), (cpu / times.length).toFixed(3)])
  })

const report = (title: string, rows: ReadonlyArray<ReadonlyArray<string>>) =>
  Effect.zipRight(
    Console.log(`${title}, ${rounds * calls} calls, ms each`),
    Effect.sync(() => table(["", "p50", "p90", "p99", "CPU here"], rows))
  )

await Effect.flatMap(bySocket, measure).pipe(
  Effect.flatMap((rows) => report("a socket on loopback", rows)),
  Effect.zipRight(
    Effect.flatMap(byStdio, measure).pipe(
      Effect.flatMap((rows) => report("a Python program", rows)),
      Effect.catchTag("SubprocessError", ({ message }) => Console.log(`no Python: ${message}`))
    )
  ),
  Effect.scoped,
  Effect.runPromise
)
