import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { FetchHttpClient } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import {
  Console,
  Effect,
  Either,
  FastCheck,
  Fiber,
  Layer,
  Logger,
  Metric,
  Option,
  Redacted,
  Stream,
  TestClock
} from "effect"
import * as esbuild from "esbuild"
import Libsql from "libsql"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as ResponseCache from "../src/ResponseCache.ts"
import { answerTo, counted, requestOf } from "./caching.ts"
import { spanEvents } from "./policing.ts"

// For more of them than there is time for after each change.
const kills = process.env["KILLS"]

const request = requestOf(1)

const cacheOf = (
  store: Effect.Effect<ResponseCache.Store, ResponseCache.ResponseCacheError, never>,
  options?: ResponseCache.Options
) => Effect.flatMap(store, (store) => ResponseCache.make(store, options))

// A counted model under a cache of its own.
const cached = (options?: ResponseCache.Options) =>
  Effect.gen(function*() {
    const cache = yield* cacheOf(ResponseCache.memoryStore(), options)
    const { model: inner, state } = counted()
    return { cache, state, model: yield* cache(inner) }
  })

const ended = (finishReason: LanguageModel.FinishReason, text = "hi"): LanguageModel.Response => ({
  ...LanguageModel.text(text, "test/m"),
  outputs: [{ text, toolCalls: [], finishReason }]
})

describe("ResponseCache", () => {
  it.effect("asks once, and replays the answer whole or as a stream at no cost", () =>
    Effect.gen(function*() {
      const { cache, model, state } = yield* cached()
      const first = yield* model.generate(request)
      const second = yield* model.generate({ ...request })
      const third = yield* LanguageModel.fold(model.stream(request), model.id)
      assert.strictEqual(first.cached, undefined)
      assert.deepStrictEqual(second, { ...first, usage: { inputTokens: 0, cost: 0 }, cached: true })
      assert.deepStrictEqual(third, second)
      assert.strictEqual(state.calls, 1)
      const { bytes, ...counts } = yield* cache.statistics
      assert.deepStrictEqual(counts, { hits: 2, misses: 1, writes: 1, entries: 1 })
      assert.isAbove(bytes, answerTo(1).length)
    }))

  it.effect("remembers what was streamed once it is complete", () =>
    Effect.gen(function*() {
      const { model, state } = yield* cached()
      yield* Stream.runHead(model.stream(request))
      yield* LanguageModel.fold(model.stream(request), model.id)
      yield* model.generate(request)
      assert.strictEqual(state.calls, 1) // an answer in one chunk is complete with its head
      const left = yield* cacheOf(ResponseCache.memoryStore())
      const model2 = yield* left(LanguageModel.make({
        id: "test/m",
        stream: () => Stream.rechunk(LanguageModel.unfold(ended("stop")), 1)
      }))
      yield* Stream.runHead(model2.stream(request))
      assert.strictEqual((yield* left.statistics).writes, 0)
      yield* Stream.runDrain(model2.stream(request))
      assert.strictEqual((yield* left.statistics).writes, 1)
    }))

  it.effect("what is done to an answer does not change the next one", () =>
    Effect.gen(function*() {
      const { model } = yield* cached()
      const first = yield* model.generate(request)
      Object.assign(first.outputs[0]!, { text: "spoilt" })
      const second = yield* model.generate(request)
      Object.assign(second.outputs[0]!, { text: "spoilt" })
      assert.strictEqual((yield* model.generate(request)).outputs[0]?.text, answerTo(1))
    }))

  it.effect("a request that differs in anything is another one", () =>
    Effect.sync(() => {
      const model = { id: "test/m", endpoint: "http://localhost/v1#m" }
      const { messages } = request
      const requests: ReadonlyArray<LanguageModel.Request> = [
        { messages },
        { messages: [{ role: "system", content: "question 1" }] },
        { messages: [...messages, { role: "assistant", content: "so" }] },
        { messages: [{ role: "user", content: [{ _tag: "Image", url: "data:image/png;base64,AA==" }] }] },
        ...([
          { temperature: 0 },
          { temperature: 1 },
          { topP: 1 },
          { maxTokens: 1 },
          { stop: ["a"] },
          { seed: 1 },
          { n: 1 },
          { logprobs: 1 },
          { reasoningEffort: "low" },
          { rollout: "1" },
          { rollout: "2" },
          { extensions: { a: 1 } }
        ] as const).map((settings) => ({ messages, settings })),
        { messages, tools: [{ name: "look", parameters: {} }] },
        { messages, tools: [{ name: "look", parameters: {} }], toolChoice: "none" },
        { messages, responseFormat: { _tag: "JsonObject" } },
        { messages, responseFormat: { _tag: "JsonSchema", name: "a", schema: {}, strict: true } }
      ]
      const keys = [
        ...requests.map((request) => ResponseCache.key(model, request)),
        ResponseCache.key({ ...model, id: "test/n" }, { messages }),
        ResponseCache.key({ ...model, endpoint: "http://localhost/v1#n" }, { messages }),
        ResponseCache.key({ id: model.id }, { messages })
      ]
      assert.strictEqual(new Set(keys).size, keys.length)
      for (const key of keys) assert.match(key, /^[0-9a-f]{64}$/)
    }))

  it.effect("servers of one name are told apart by their address and model, never by their credentials", () =>
    Effect.gen(function*() {
      const key = (options: Partial<OpenAiCompatible.Options>) =>
        LanguageModel.LanguageModel.pipe(
          Effect.map((model) => ResponseCache.key(model, request)),
          Effect.provide(
            OpenAiCompatible.layer({ model: "m", id: "mine", baseUrl: "http://a.test/v1", ...options }).pipe(
              Layer.provide(FetchHttpClient.layer)
            )
          )
        )
      const one = yield* key({})
      assert.strictEqual(yield* key({ apiKey: Redacted.make("sk-1"), headers: { "x-org": "o" } }), one)
      assert.strictEqual(yield* key({ baseUrl: "http://user:password@a.test/v1" }), one)
      assert.notStrictEqual(yield* key({ baseUrl: "http://b.test/v1" }), one)
      assert.notStrictEqual(yield* key({ model: "n" }), one)
    }))

  it.effect("answers that the model did not end by itself are asked for again", () =>
    Effect.gen(function*() {
      for (const reason of ["length", "contentFilter", "refusal", "unknown"] as const) {
        const cache = yield* cacheOf(ResponseCache.memoryStore())
        const model = yield* cache(LanguageModel.make({ id: "test/m", generate: () => Effect.succeed(ended(reason)) }))
        yield* model.generate(request)
        yield* Stream.runDrain(model.stream(request))
        const { entries, misses } = yield* cache.statistics
        assert.deepStrictEqual([entries, misses], [0, 2], reason)
      }
      // One of several outputs is enough.
      const cache = yield* cacheOf(ResponseCache.memoryStore())
      const outputs = [...ended("stop").outputs, ...ended("length").outputs]
      const model = yield* cache(
        LanguageModel.make({ id: "test/m", generate: () => Effect.succeed({ ...ended("stop"), outputs }) })
      )
      yield* model.generate(request)
      assert.strictEqual((yield* cache.statistics).writes, 0)
    }))

  it.effect("failures, streams that break off and calls that are interrupted are asked for again", () =>
    Effect.gen(function*() {
      const cache = yield* cacheOf(ResponseCache.memoryStore())
      const failed = LanguageModelError.make({
        reason: new LanguageModelError.Overloaded({ description: "busy" }),
        provider: "test",
        model: "test/m"
      })
      const text: LanguageModel.Delta = { _tag: "TextDelta", index: 0, text: "hi" }
      const failing = yield* cache(LanguageModel.make({
        id: "test/m",
        generate: () => Effect.fail(failed),
        stream: () => Stream.concat(Stream.make(text), Stream.fail(failed))
      }))
      assert.strictEqual(yield* Effect.flip(failing.generate(request)), failed)
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(failing.stream(request))), failed)
      const cut = yield* cache(LanguageModel.make({ id: "test/m", stream: () => Stream.make(text) }))
      yield* Stream.runDrain(cut.stream(request))
      const hanging = yield* cache(LanguageModel.make({ id: "test/m", generate: () => Effect.never }))
      const fiber = yield* Effect.fork(hanging.generate(request))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* cache.statistics).writes, 0)
    }))

  it.effect("an answer lives as long as it was given", () =>
    Effect.gen(function*() {
      const { cache, model, state } = yield* cached({ timeToLive: "1 hour" })
      yield* model.generate(request)
      yield* TestClock.adjust("59 minutes")
      yield* model.generate(request)
      assert.strictEqual(state.calls, 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* model.generate(request)).cached, undefined)
      assert.strictEqual(state.calls, 2)
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual((yield* model.generate(request)).cached, true)
      yield* cache.clear
      assert.strictEqual((yield* model.generate(request)).cached, undefined)
    }))

  it.effect("a store that fails fails no call, and is complained of once", () =>
    Effect.gen(function*() {
      let broken = true
      const inner = yield* ResponseCache.memoryStore()
      const orFail = <A>(self: Effect.Effect<A, ResponseCache.ResponseCacheError>) =>
        Effect.suspend(() =>
          broken
            ? Effect.fail(new ResponseCache.ResponseCacheError({ reason: "Storage", description: "no disk" }))
            : self
        )
      const cache = yield* ResponseCache.make({
        ...inner,
        get: (key) => orFail(inner.get(key)),
        set: (key, value, expires) => orFail(inner.set(key, value, expires))
      })
      const { model: counting } = counted()
      const model = yield* cache(counting)
      const warnings: Array<unknown> = []
      const logger = Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => warnings.push(String(message))))
      yield* Effect.gen(function*() {
        for (let n = 0; n < 3; n++) assert.strictEqual((yield* model.generate(request)).cached, undefined)
        assert.strictEqual(warnings.length, 1)
        assert.match(String(warnings[0]), /no disk/)
        broken = false
        yield* model.generate(request)
        assert.strictEqual((yield* model.generate(request)).cached, true)
        broken = true
        yield* model.generate(request)
        assert.strictEqual(warnings.length, 2)
      }).pipe(Effect.provide(logger))
    }))

  it.effect("hits and misses are counted, and told in the span around the call", () =>
    Effect.gen(function*() {
      const { model } = yield* cached()
      const before = [
        (yield* Metric.value(ResponseCache.hits)).count,
        (yield* Metric.value(ResponseCache.misses)).count
      ]
      const events = yield* spanEvents(Effect.repeatN(model.generate(request), 2))
      assert.deepStrictEqual(
        events.map(({ name }) => name),
        ["response_cache.miss", "response_cache.hit", "response_cache.hit"]
      )
      assert.deepStrictEqual(
        [(yield* Metric.value(ResponseCache.hits)).count, (yield* Metric.value(ResponseCache.misses)).count],
        [before[0]! + 2, before[1]! + 1]
      )
    }))

  it.effect("an entry that was changed, cut or exchanged is a miss, never an answer", () =>
    Effect.gen(function*() {
      const inner = yield* ResponseCache.memoryStore()
      const small = LanguageModel.make({
        id: "test/m",
        generate: (request) => Effect.succeed(LanguageModel.text(String(request.messages[0]?.content), "test/m"))
      })
      let spoil = (value: string): string => value
      const cache = yield* ResponseCache.make({
        ...inner,
        get: (key) => Effect.map(inner.get(key), Option.map((value) => spoil(value)))
      })
      const model = yield* cache(small)
      yield* model.generate(request)
      const value = Option.getOrThrow(yield* inner.get(ResponseCache.key(small, request)))
      const isMiss = Effect.map(model.generate(request), (response) => {
        assert.strictEqual(response.outputs[0]?.text, "question 1")
        assert.strictEqual(response.cached, undefined)
      })
      spoil = () => value
      assert.strictEqual((yield* model.generate(request)).cached, true)
      for (let position = 0; position < value.length; position++) {
        for (const bit of [1, 2, 16, 64]) {
          const flipped = String.fromCharCode(value.charCodeAt(position) ^ bit)
          spoil = () => value.slice(0, position) + flipped + value.slice(position + 1)
          yield* isMiss
        }
        spoil = () => value.slice(0, position)
        yield* isMiss
      }
      const other = requestOf(2)
      spoil = (value) => value
      yield* model.generate(other)
      const exchanged = Option.getOrThrow(yield* inner.get(ResponseCache.key(small, other)))
      spoil = () => exchanged
      yield* isMiss
    }))

  it.effect("keeps out of memory what was used least recently", () =>
    Effect.gen(function*() {
      const size = 64 + answerTo(1).length + 300
      const { model: inner, state } = counted()
      const cache = yield* cacheOf(ResponseCache.memoryStore({ maxBytes: 3 * size }))
      const model = yield* cache(inner)
      const ask = (n: number) => model.generate(requestOf(n))
      for (const n of [1, 2, 3]) yield* ask(n)
      yield* ask(1)
      yield* ask(4) // in the place of 2
      assert.strictEqual((yield* cache.statistics).entries, 3)
      assert.isAtMost((yield* cache.statistics).bytes, 3 * size)
      for (const n of [1, 3, 4]) assert.strictEqual((yield* ask(n)).cached, true)
      assert.strictEqual(state.calls, 4)
      assert.strictEqual((yield* ask(2)).cached, undefined)
    }))

  it.effect("what is larger than the whole cache is not kept, and displaces nothing", () =>
    Effect.gen(function*() {
      const cache = yield* cacheOf(ResponseCache.memoryStore({ maxBytes: 1000 }))
      const model = yield* cache(LanguageModel.make({
        id: "test/m",
        generate: ({ messages }) => Effect.succeed(ended("stop", messages.length === 1 ? "small" : "x".repeat(2000)))
      }))
      yield* model.generate(request)
      yield* model.generate({ messages: [...request.messages, ...request.messages] })
      assert.strictEqual((yield* model.generate(request)).cached, true)
      assert.strictEqual((yield* cache.statistics).entries, 1)
    }))

  it.effect("named policies make a cache for each model", () =>
    Effect.gen(function*() {
      const Model = TestLanguageModel.layer([TestLanguageModel.text("a"), TestLanguageModel.text("b")]).pipe(
        Policy.apply(ResponseCache.memory())
      )
      const answers = yield* Effect.all([LanguageModel.generate(request), LanguageModel.generate(request)]).pipe(
        Effect.provide(Model)
      )
      assert.deepStrictEqual(answers.map((answer) => answer.outputs[0]?.text), ["a", "a"])
    }))
})

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-cache-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

const quiet = Logger.remove(Logger.defaultLogger)

// Runs something with a cached model over a file, and closes the file.
const withFile = <A, E>(
  file: string,
  use: (cached: {
    readonly cache: ResponseCache.ResponseCache
    readonly model: LanguageModel.Service
    readonly state: { readonly calls: number }
  }) => Effect.Effect<A, E>,
  options: { readonly maxBytes?: number } = {}
) =>
  Effect.scoped(Effect.gen(function*() {
    const cache = yield* Effect.flatMap(ResponseCache.sqliteStore({ path: file, ...options }), ResponseCache.make)
    const { model, state } = counted()
    return yield* use({ cache, model: yield* cache(model), state })
  })).pipe(Effect.provide(quiet))

const ask = (file: string, ...numbers: ReadonlyArray<number>) =>
  withFile(file, ({ model }) =>
    Effect.forEach(numbers, (n) =>
      Effect.map(model.generate(requestOf(n)), (response) => {
        assert.strictEqual(response.outputs[0]?.text, answerTo(n))
        return response.cached === true
      })))

const refused = (file: string) => Effect.flip(ask(file, 1))

describe("ResponseCache.sqlite", () => {
  it.scoped("lasts, readable by its owner only, in folders that are made", () =>
    Effect.gen(function*() {
      const home = path.join(yield* folder, "a", "b")
      const file = path.join(home, "lm.db")
      assert.deepStrictEqual(yield* ask(file, 1, 2, 1), [false, false, true])
      for (const name of fs.readdirSync(home)) {
        assert.strictEqual(fs.statSync(path.join(home, name)).mode & 0o777, 0o600, name)
      }
      assert.strictEqual(fs.statSync(home).mode & 0o777, 0o700)
      fs.chmodSync(file, 0o644)
      assert.deepStrictEqual(yield* ask(file, 2, 3), [true, false])
      assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600)
    }))

  it.scoped("counts what it holds, forgets what was used least recently, and all of it when told to", () =>
    Effect.gen(function*() {
      const file = path.join(yield* folder, "lm.db")
      const one = yield* withFile(file, ({ cache, model }) =>
        Effect.gen(function*() {
          yield* model.generate(requestOf(1))
          return (yield* cache.statistics).bytes
        }))
      yield* withFile(file, ({ cache, model }) =>
        Effect.gen(function*() {
          const known = (n: number) => Effect.map(model.generate(requestOf(n)), ({ cached }) => cached === true)
          for (const n of [2, 3]) {
            yield* TestClock.adjust("2 minutes")
            yield* known(n)
          }
          yield* TestClock.adjust("2 minutes")
          assert.isTrue(yield* known(1))
          yield* known(4) // in the place of 2
          const { bytes, entries } = yield* cache.statistics
          assert.deepStrictEqual([entries, bytes], [3, 3 * one])
          assert.deepStrictEqual(yield* Effect.forEach([1, 3, 4, 2], known), [true, true, true, false])
          yield* cache.clear
          const empty = yield* cache.statistics
          assert.deepStrictEqual([empty.entries, empty.bytes], [0, 0])
        }), { maxBytes: 3.5 * one })
      const left = fs.readdirSync(path.dirname(file)).map((name) =>
        fs.readFileSync(path.join(path.dirname(file), name), "latin1")
      )
      assert.notInclude(left.join(), "answer ")
    }))

  it.scoped("forgets what has expired without being asked for it", () =>
    Effect.gen(function*() {
      const store = yield* ResponseCache.sqliteStore({ path: path.join(yield* folder, "lm.db") })
      yield* store.set("a", "1", 1000)
      yield* store.set("b", "2", undefined)
      yield* TestClock.adjust("1 second")
      yield* store.set("c", "3", 5000)
      assert.deepStrictEqual(yield* store.get("a"), Option.none())
      assert.deepStrictEqual((yield* store.size).entries, 2)
    }))

  it.scoped("refuses links, folders that anyone can write to, and files that are something else", () =>
    Effect.gen(function*() {
      const home = yield* folder
      const target = path.join(home, "target.db")
      fs.writeFileSync(target, "")
      for (const name of ["link.db", "wal.db-wal"]) fs.symlinkSync(target, path.join(home, name))
      assert.strictEqual((yield* refused(path.join(home, "link.db"))).reason, "Unsafe")
      assert.strictEqual((yield* refused(path.join(home, "wal.db"))).reason, "Unsafe")
      assert.strictEqual((yield* refused(home)).reason, "Unsafe")
      assert.strictEqual(fs.readFileSync(target, "utf8"), "")

      const open = path.join(home, "open")
      fs.mkdirSync(open)
      fs.chmodSync(open, 0o777)
      assert.strictEqual((yield* refused(path.join(open, "lm.db"))).reason, "Unsafe")
      fs.chmodSync(open, 0o1777)
      assert.deepStrictEqual(yield* ask(path.join(open, "lm.db"), 1), [false])

      const notes = path.join(home, "notes.txt")
      for (const content of ["remember the milk\n".repeat(100), "m"]) {
        fs.writeFileSync(notes, content)
        const foreign = yield* refused(notes)
        assert.strictEqual(foreign.reason, "Foreign")
        assert.include(foreign.message, notes)
        assert.strictEqual(fs.readFileSync(notes, "utf8"), content)
      }

      const database = path.join(home, "orders.db")
      const orders = new Libsql(database)
      orders.exec("CREATE TABLE orders (id INTEGER)")
      orders.close()
      fs.chmodSync(database, 0o644)
      const before = fs.readFileSync(database)
      assert.strictEqual((yield* refused(database)).reason, "Foreign")
      assert.isTrue(before.equals(fs.readFileSync(database)))
      assert.strictEqual(fs.statSync(database).mode & 0o777, 0o644)

      const below = yield* refused(path.join(notes, "lm.db"))
      assert.strictEqual(below.reason, "Storage")
    }))

  it.scoped("a byte that flips anywhere in the file is never a wrong answer", () =>
    Effect.gen(function*() {
      const home = yield* folder
      const file = path.join(home, "lm.db")
      const numbers = Array.from({ length: 20 }, (_, n) => n)
      yield* ask(file, ...numbers)
      checkpoint(file)
      const bytes = fs.readFileSync(file)
      const damaged = path.join(home, "damaged.db")
      const tally = { hits: 0, misses: 0, refused: 0 }
      const positions = [
        ...Array.from({ length: 100 }, (_, n) => n),
        ...FastCheck.sample(FastCheck.integer({ min: 100, max: bytes.length - 1 }), { numRuns: 100, seed: 1 })
      ]
      for (const position of positions) {
        for (const name of fs.readdirSync(home)) {
          if (name.startsWith("damaged")) fs.rmSync(path.join(home, name))
        }
        const copy = Buffer.from(bytes)
        copy[position]! ^= 1 << (position % 8)
        fs.writeFileSync(damaged, copy)
        const answers = yield* Effect.either(ask(damaged, ...numbers)) // asserts that every answer is right
        if (answers._tag === "Left") {
          assert.strictEqual(answers.left._tag, "ResponseCacheError")
          assert.isBelow(position, 100, "only a header may be beyond recognition")
          tally.refused++
        } else {
          const hits = answers.right.filter((hit) => hit).length
          tally.hits += hits
          tally.misses += numbers.length - hits
        }
      }
      assert.isAbove(tally.hits, tally.misses)
      assert.isAbove(tally.misses, 0)
    }), 60_000)

  it.scoped("a file that was cut off is begun anew, or refused when nothing says what it was", () =>
    Effect.gen(function*() {
      const file = path.join(yield* folder, "lm.db")
      const numbers = Array.from({ length: 10 }, (_, n) => n)
      yield* ask(file, ...numbers)
      checkpoint(file)
      const bytes = fs.readFileSync(file)
      for (const length of [0, 1, 15, 50, 100, 4095, 4096, 4097, 20_000, bytes.length - 1]) {
        for (const name of [file, `${file}-wal`, `${file}-shm`]) fs.rmSync(name, { force: true })
        fs.writeFileSync(file, bytes.subarray(0, length))
        const answers = yield* Effect.either(ask(file, ...numbers))
        if (length > 0 && length < 100) {
          assert.strictEqual(Either.isLeft(answers) && answers.left.reason, "Foreign", String(length))
        } else {
          assert.isTrue(Either.isRight(answers), String(length))
          assert.deepStrictEqual(yield* ask(file, ...numbers), numbers.map(() => true), String(length))
        }
      }
    }))

  it.scoped("damage that is noticed in the middle is repaired, once for all who notice", () =>
    Effect.gen(function*() {
      const file = path.join(yield* folder, "lm.db")
      yield* ask(file, ...Array.from({ length: 20 }, (_, n) => n))
      checkpoint(file)
      const rounds = yield* withFile(file, ({ model }) =>
        withFile(file, (other) =>
          Effect.gen(function*() {
            yield* model.generate(requestOf(0))
            // All but the header: what an editor or a failing disk may leave.
            const handle = fs.openSync(file, "r+")
            fs.writeSync(handle, Buffer.alloc(fs.statSync(file).size - 100, 0xff), 0, undefined, 100)
            fs.closeSync(handle)
            const round = Effect.forEach(Array.from({ length: 20 }, (_, n) => n), (n) =>
              Effect.forEach([model, other.model], (model) =>
                Effect.map(model.generate(requestOf(n)), (response) => {
                  assert.strictEqual(response.outputs[0]?.text, answerTo(n))
                  return response.cached === true
                }), { concurrency: 2 }), { concurrency: 10 })
            return [yield* round, yield* round]
          })))
      assert.isTrue(rounds[1]!.flat().every((hit) => hit))
    }))

  it.scopedLive("a lock of another process is waited for, without holding up this one", () =>
    Effect.gen(function*() {
      const file = path.join(yield* folder, "lm.db")
      yield* ask(file, 1)
      const other = new Libsql(file)
      other.exec("BEGIN IMMEDIATE")
      const hits = yield* withFile(file, ({ model, state }) =>
        Effect.gen(function*() {
          const waiting = yield* Effect.fork(model.generate(requestOf(2)))
          while (state.calls === 0) yield* Effect.sleep("5 millis")
          // A hit does not write, so it does not wait.
          const hit = yield* model.generate(requestOf(1))
          assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)))
          other.exec("COMMIT")
          yield* Fiber.join(waiting)
          return [hit.cached, (yield* model.generate(requestOf(2))).cached]
        }))
      assert.deepStrictEqual(hits, [true, true])
    }))

  // For longer: `pnpm chaos K1`.
  it.live(
    "processes that share a file and are killed at random lose nothing that was written",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const file = path.join(yield* folder, "lm.db")
        yield* bundled
        const { killed, wrong, written } = yield* writersUnderFire(file, Number(kills ?? 8))
        assert.strictEqual(wrong, 0)
        assert.isAbove(written.size, 0)
        const known = yield* ask(file, ...written)
        assert.deepStrictEqual(known, known.map(() => true))
        if (kills !== undefined) yield* Console.log(`${killed} killed, ${written.size} answers written, 0 lost`)
      })),
    120_000 + Number(kills ?? 0) * 5000
  )
})

// Moves what is in the log of a closed file to the file itself.
const checkpoint = (file: string): void => {
  const db = new Libsql(file)
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
  db.close()
}

// In one file it starts in an eighth of the time that it takes as sources.
const writer = path.join(import.meta.dirname, "../node_modules/.cache/cacheWriter.mjs")
const bundled = Effect.promise(() =>
  esbuild.build({
    entryPoints: [path.join(import.meta.dirname, "fixtures/cacheWriter.ts")],
    outfile: writer,
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["libsql"]
  })
)

// Eight processes at a time write to one file; each is killed at some moment and followed by another.
const writersUnderFire = (file: string, kills: number) =>
  Effect.acquireUseRelease(
    Effect.sync(() => new Set<ChildProcess>()),
    (children) =>
      Effect.async<{ readonly killed: number; readonly wrong: number; readonly written: ReadonlySet<number> }>(
        (resume) => {
          const delays = FastCheck.sample(FastCheck.integer({ min: 0, max: 300 }), { numRuns: kills, seed: 3 })
          const written = new Set<number>()
          let killed = 0
          let wrong = 0
          const start = (first: number) => {
            const child = spawn(process.execPath, [writer, file, String(first)], {
              stdio: ["ignore", "pipe", "inherit"]
            })
            children.add(child)
            let delay = delays.pop()
            let rest = ""
            child.stdout.on("data", (data: Buffer) => {
              const lines = (rest + String(data)).split("\n")
              rest = lines.pop() ?? ""
              for (const line of lines) {
                if (line === "wrong") wrong++
                else written.add(Number(line))
              }
              if (delay !== undefined) setTimeout(() => child.kill("SIGKILL"), delay)
              delay = undefined
            })
            child.on("exit", () => {
              children.delete(child)
              killed++
              if (delays.length > 0) start((killed * 61) % 500)
              else if (children.size === 0) resume(Effect.succeed({ killed, wrong, written }))
            })
          }
          for (let n = 0; n < Math.min(8, kills); n++) start(n * 61)
        }
      ),
    (children) => Effect.sync(() => children.forEach((child) => child.kill("SIGKILL")))
  )
