import * as Embedder from "@effect-dspy/core/Embedder"
import * as Retriever from "@effect-dspy/core/Retriever"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck, Fiber, Option } from "effect"
import Libsql from "libsql"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Embedded from "../src/Embedded.ts"
import * as SqliteRetriever from "../src/SqliteRetriever.ts"

// Texts that are vectors: "1 0 -2.5".
const numbers = (options: { readonly id?: string; readonly log?: Array<ReadonlyArray<string>> } = {}) =>
  Embedder.make({
    id: options.id ?? "test/numbers",
    embed: (texts) =>
      Effect.sync(() => {
        options.log?.push(texts)
        return texts.map((text) => Float32Array.from(text.split(" "), Number))
      })
  })

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-documents-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

const newFile = Effect.map(folder, (folder) => path.join(folder, "new", "documents.db"))

const open = (file: string, embedder: Embedder.Service = numbers()) =>
  Effect.provideService(SqliteRetriever.make({ path: file }), Embedder.Embedder, embedder)

const documentsOf = (texts: ReadonlyArray<string>): ReadonlyArray<Retriever.Document> =>
  texts.map((text, index) => ({ id: `d${index}`, text }))

const ids = (passages: ReadonlyArray<Retriever.Passage>) => passages.map(({ id }) => id)

const corners = documentsOf(["1 0", "0 1", "1 1", "-1 0", "0 0"])

describe("SqliteRetriever", () => {
  it.scoped("finds what is nearest, also after the file was closed and opened again", () =>
    Effect.gen(function*() {
      const file = yield* newFile
      yield* Effect.scoped(Effect.gen(function*() {
        const documents = yield* open(file)
        assert.deepStrictEqual(yield* documents.search("1 0", { k: 1 }), [])
        yield* documents.upsert([...corners, {
          id: "m",
          text: "9 1",
          metadata: { "page": 3, "tags": ["a", "\u0000"] }
        }])
        assert.deepStrictEqual(ids(yield* documents.search("2 0", { k: 3 })), ["d0", "m", "d2"])
      }))
      const found = yield* Retriever.search("2 0", { k: 9 }).pipe(
        Effect.provide(SqliteRetriever.layer({ path: file })),
        Effect.provideService(Embedder.Embedder, numbers())
      )
      assert.deepStrictEqual(ids(found), ["d0", "m", "d2", "d1", "d4", "d3"])
      const scores = [1, 9 / Math.sqrt(82), Math.SQRT1_2, 0, 0, -1]
      for (const [rank, { score }] of found.entries()) assert.closeTo(score, scores[rank]!, 1e-6)
      assert.deepStrictEqual(found[1]!.metadata, { page: 3, tags: ["a", "\u0000"] })
      assert.notProperty(found[0], "metadata")
    }))

  it.scoped("finds what a retriever in memory finds, whatever ids and texts are made of", () =>
    Effect.gen(function*() {
      const root = yield* folder
      let files = 0
      const vector = FastCheck.array(FastCheck.integer({ min: -4, max: 4 }), { minLength: 3, maxLength: 3 })
      const document = FastCheck.record({
        id: FastCheck.string({ unit: "grapheme-composite" }),
        text: FastCheck.tuple(vector, FastCheck.string({ unit: "grapheme-composite" })).map(([vector, rest]) =>
          `${vector.join(" ")} |${rest}`
        )
      })
      // What is behind the bar is no part of the vector.
      const embedder = Embedder.make({
        id: "test/numbers",
        embed: (texts) => Effect.succeed(texts.map((text) => Float32Array.from(text.split(" ").slice(0, 3), Number)))
      })
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            FastCheck.uniqueArray(document, { selector: ({ id }) => id, maxLength: 30 }),
            vector,
            FastCheck.integer({ min: 1, max: 31 }),
            (documents, query, k) =>
              // @effect-diagnostics-next-line runEffectInsideEffect:off
              Effect.runPromise(Effect.scoped(Effect.gen(function*() {
                const stored = yield* open(path.join(root, `${files++}.db`), embedder)
                yield* stored.upsert(documents)
                const memory = yield* Effect.provideService(Retriever.cosine(documents), Embedder.Embedder, embedder)
                const found = yield* stored.search(`${query.join(" ")} |`, { k })
                const all = yield* memory.search(`${query.join(" ")} |`, { k: Math.max(1, documents.length) })
                assert.strictEqual(found.length, Math.min(k, documents.length))
                for (const [rank, passage] of found.entries()) {
                  assert.closeTo(passage.score, all[rank]!.score, 1e-6)
                  const { score, ...same } = all.find(({ id }) => id === passage.id)!
                  assert.deepStrictEqual({ ...passage, score }, { ...same, score })
                }
              })))
          ),
          { seed: 4, numRuns: 25 }
        )
      )
    }))

  it.scoped("a document takes the place of the one with its id; known texts are not embedded again", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const documents = yield* open(yield* newFile, numbers({ log }))
      yield* documents.upsert(corners)
      yield* documents.upsert([{ id: "d0", text: "0 -1" }, { id: "d1", text: "0 1", metadata: { page: 1 } }])
      assert.deepStrictEqual(log, [corners.map(({ text }) => text), ["0 -1"]])
      assert.strictEqual(yield* documents.size, 5)
      assert.deepStrictEqual(ids(yield* documents.search("0 -3", { k: 1 })), ["d0"])
      assert.deepStrictEqual((yield* documents.search("0 3", { k: 1 }))[0]?.metadata, { page: 1 })
      yield* documents.upsert([{ id: "d1", text: "0 1" }, { id: "d1", text: "0 2" }])
      assert.strictEqual((yield* documents.search("0 3", { k: 1 }))[0]?.text, "0 2")

      yield* documents.remove(["d1", "nobody"])
      assert.strictEqual(yield* documents.size, 4)
      assert.deepStrictEqual(ids(yield* documents.search("0 3", { k: 1 })), ["d2"])
      yield* documents.remove(corners.map(({ id }) => id))
      assert.deepStrictEqual(yield* documents.search("0 3", { k: 1 }), [])
      yield* documents.upsert([])
    }))

  it.scoped("more documents than are written and compared at a time; of equal ones the first ones", () =>
    Effect.gen(function*() {
      const documents = yield* open(yield* newFile)
      const rest = " 0".repeat(2046)
      // 512 rows of 2048 dimensions are compared at a time.
      yield* documents.upsert(
        documentsOf(Array.from({ length: 700 }, (_, n) => `${n % 100 === 99 ? "1 0" : "0 1"}${rest}`))
      )
      const nearest = [99, 199, 299, 399, 499, 599, 699, 0, 1]
      assert.deepStrictEqual(ids(yield* documents.search(`1 0${rest}`, { k: 9 })), nearest.map((n) => `d${n}`))
    }))

  it.scoped("refuses the vectors of another embedder, and of other dimensions", () =>
    Effect.gen(function*() {
      const file = yield* newFile
      const documents = yield* open(file)
      // Opened while there was nothing in it yet.
      const late = yield* open(file, numbers({ id: "test/late" }))
      yield* documents.upsert(corners)

      const other = yield* Effect.flip(Effect.scoped(open(file, numbers({ id: "test/other" }))))
      assert.strictEqual(other.reason, "WrongVectors")
      assert.include(other.message, "test/numbers")
      assert.include(other.message, "test/other")
      assert.propertyVal(yield* Effect.flip(late.upsert([{ id: "x", text: "1 2" }])), "reason", "WrongVectors")
      assert.propertyVal(yield* Effect.flip(late.search("1 2", { k: 1 })), "reason", "WrongVectors")

      for (const text of ["1", "1 2 3", "1 NaN"]) {
        assert.propertyVal(yield* Effect.flip(documents.search(text, { k: 1 })), "reason", "WrongVectors")
        assert.propertyVal(yield* Effect.flip(documents.upsert([{ id: "x", text }])), "reason", "WrongVectors")
      }
      assert.propertyVal(yield* Effect.flip(documents.search("1 2", { k: 0 })), "reason", "InvalidQuery")
      assert.strictEqual(yield* documents.size, 5)
    }))

  it.scoped("of two embedders that write to an empty file at once one loses", () =>
    Effect.gen(function*() {
      const file = yield* newFile
      const meanwhile = yield* Effect.makeLatch()
      const slow = Embedder.make({
        id: "test/slow",
        embed: (texts) => Effect.as(meanwhile.await, texts.map(() => Float32Array.of(1)))
      })
      const losing = yield* open(file, slow)
      const writing = yield* Effect.fork(losing.upsert([{ id: "x", text: "x" }]))
      yield* Effect.yieldNow()
      const winning = yield* open(file)
      yield* winning.upsert(corners)
      yield* meanwhile.open
      assert.propertyVal(yield* Effect.flip(Fiber.join(writing)), "reason", "WrongVectors")
      assert.strictEqual(yield* winning.size, 5)
    }))

  it.scoped("leaves files alone that are something else, and says when one is damaged", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const text = path.join(root, "notes.txt")
      fs.writeFileSync(text, "notes")
      const foreign = yield* Effect.flip(open(text))
      assert.strictEqual(foreign.reason, "Unavailable")
      assert.match(foreign.message, /no index of documents/)
      assert.strictEqual(fs.readFileSync(text, "utf8"), "notes")

      const database = path.join(root, "other.db")
      const db = new Libsql(database)
      db.exec("CREATE TABLE t (a)")
      db.close()
      assert.match((yield* Effect.flip(open(database))).message, /no index of documents/)

      const file = path.join(root, "documents.db")
      yield* Effect.scoped(Effect.flatMap(open(file), (documents) => documents.upsert(corners)))
      const damage = new Libsql(file)
      damage.exec("UPDATE documents SET metadata = '{' WHERE id = 'd0'")
      damage.close()
      const documents = yield* open(file)
      const error = yield* Effect.flip(documents.search("1 0", { k: 1 }))
      assert.propertyVal(error, "reason", "Unavailable")
      assert.match(error.message, /damaged/)
      if (os.platform() !== "win32") assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600)
    }))

  it.scopedLive("processes that write at once lose nothing", () =>
    Effect.gen(function*() {
      const file = yield* newFile
      const count = 40
      const writer = path.join(import.meta.dirname, "fixtures", "documentWriter.ts")
      const run = (name: string) =>
        Effect.async<number | null>((resume) => {
          const child = spawn(process.execPath, ["--import", "tsx", writer, file, name, String(count)], {
            stdio: ["ignore", "ignore", "inherit"]
          })
          child.on("exit", (code) => resume(Effect.succeed(code)))
          return Effect.sync(() => child.kill("SIGKILL"))
        })
      assert.deepStrictEqual(yield* Effect.all([run("one"), run("two")], { concurrency: 2 }), [0, 0])
      const documents = yield* open(file, Embedded.embedder)
      assert.strictEqual(yield* documents.size, 2 * count + 1)
      const found = yield* documents.search("two 17", { k: 1 })
      assert.deepStrictEqual(found.map(({ text }) => text), ["two 17"])
    }))

  it.scopedLive("waits for the lock of another connection", () =>
    Effect.gen(function*() {
      const file = yield* newFile
      const documents = yield* open(file)
      yield* documents.upsert(corners)
      const other = new Libsql(file)
      other.exec("BEGIN IMMEDIATE")
      const removing = yield* Effect.fork(documents.remove(["d0"]))
      yield* Effect.sleep("50 millis")
      assert.deepStrictEqual(yield* Fiber.poll(removing), Option.none())
      other.exec("ROLLBACK")
      other.close()
      yield* Fiber.join(removing)
      assert.strictEqual(yield* documents.size, 4)
    }))
})
