import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Option, TestClock } from "effect"
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as RedisResponseCache from "../src/RedisResponseCache.ts"
import * as ResponseCache from "../src/ResponseCache.ts"
import { answerTo, counted, requestOf } from "./caching.ts"
import { realTick } from "./policing.ts"

const installed = (() => {
  try {
    execFileSync("redis-server", ["--version"])
    return true
  } catch {
    return false
  }
})()

const quiet = Logger.remove(Logger.defaultLogger)

const freePort = Effect.async<number>((resume) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as net.AddressInfo // of a server on TCP
    server.close(() => resume(Effect.succeed(port)))
  })
})

const start = (port: number) =>
  Effect.acquireRelease(
    Effect.async<ChildProcess>((resume) => {
      const home = fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-redis-"))
      const server = spawn("redis-server", ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", home])
      server.on("exit", () => fs.rmSync(home, { recursive: true, force: true }))
      server.stdout.on("data", (data: Buffer) => {
        if (String(data).includes("Ready to accept connections")) resume(Effect.succeed(server))
      })
    }),
    stop
  )

const stop = (server: ChildProcess) =>
  Effect.async<void>((resume) => {
    if (server.exitCode !== null || server.signalCode !== null) return resume(Effect.void)
    server.on("exit", () => resume(Effect.void))
    server.kill("SIGKILL")
  })

const running = Effect.gen(function*() {
  const port = yield* freePort
  return { port, server: yield* start(port), url: `redis://127.0.0.1:${port}` }
})

const cacheOf = (options: RedisResponseCache.Options & ResponseCache.Options) =>
  Effect.flatMap(RedisResponseCache.store(options), (store) => ResponseCache.make(store, options))

describe("RedisResponseCache", () => {
  it.scopedLive("a server that is not there is told when the store is made", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(RedisResponseCache.store({ url: `redis://127.0.0.1:${yield* freePort}` }))
      assert.strictEqual(error.reason, "Storage")
      assert.match(error.message, /ECONNREFUSED/)
      const wrong = yield* Effect.flip(RedisResponseCache.store({ url: "http://:secret@localhost" }))
      assert.strictEqual(wrong.reason, "Storage")
      assert.notInclude(wrong.message, "secret")
    }))

  describe.skipIf(!installed)("with a real server", () => {
    it.scopedLive("shares answers between caches of one prefix, and with no other", () =>
      Effect.gen(function*() {
        const { url } = yield* running
        const { model, state } = counted()
        const [one, two] = [yield* cacheOf({ url }), yield* cacheOf({ url })]
        const other = yield* cacheOf({ url, prefix: "other[*]:" })
        const first = yield* (yield* one(model)).generate(requestOf(1))
        const second = yield* (yield* two(model)).generate(requestOf(1))
        assert.deepStrictEqual(second.outputs, first.outputs)
        assert.strictEqual(second.cached, true)
        yield* (yield* other(model)).generate(requestOf(1))
        assert.strictEqual(state.calls, 2)

        const { bytes, entries } = yield* two.statistics
        assert.strictEqual(entries, 1)
        assert.isAbove(bytes, answerTo(1).length)
        yield* one.clear
        assert.strictEqual((yield* two.statistics).entries, 0)
        assert.strictEqual((yield* other.statistics).entries, 1)
        assert.strictEqual((yield* (yield* other(model)).generate(requestOf(1))).cached, true)
      }))

    it.scopedLive("lets the server forget what has expired", () =>
      Effect.gen(function*() {
        const { url } = yield* running
        const store = yield* RedisResponseCache.store({ url })
        yield* store.set("a", "1", 1000) // long ago
        yield* store.set("b", "2", undefined)
        assert.deepStrictEqual(yield* store.get("a"), Option.none())
        assert.deepStrictEqual(yield* store.get("b"), Option.some("2"))
        yield* store.remove("b")
        assert.deepStrictEqual(yield* store.get("b"), Option.none())
      }))

    it.scopedLive("calls do without a server that vanishes, and find it again", () =>
      Effect.gen(function*() {
        const { port, server, url } = yield* running
        const { model, state } = counted()
        const cached = yield* Effect.flatMap(cacheOf({ url }), (cache) => cache(model))
        yield* cached.generate(requestOf(1))
        yield* stop(server)
        assert.strictEqual((yield* cached.generate(requestOf(1))).cached, undefined)
        assert.strictEqual(state.calls, 2)
        yield* start(port)
        yield* Effect.repeat(Effect.delay(cached.generate(requestOf(1)), "20 millis"), {
          until: (response) => response.cached === true
        })
      }).pipe(Effect.provide(quiet)))

    it.scoped("calls do without a server that hangs", () =>
      Effect.gen(function*() {
        const { server, url } = yield* running
        const { model } = counted()
        const cached = yield* Effect.flatMap(cacheOf({ url }), (cache) => cache(model))
        server.kill("SIGSTOP")
        const fiber = yield* Effect.fork(cached.generate(requestOf(1)))
        // Once for asking the server, once for telling it.
        while ((yield* fiber.status)._tag !== "Done") yield* Effect.zipRight(realTick, TestClock.adjust("1 second"))
        assert.strictEqual((yield* fiber).cached, undefined)
        server.kill("SIGCONT")
      }).pipe(Effect.provide(quiet)))
  })
})
