import * as Journal from "@effect-dspy/optimizers/Journal"
import { Error as PlatformError, FileSystem } from "@effect/platform"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Schema } from "effect"

/** A store that can be looked into and opened again. */
const memory = (lines: Array<string> = []) => ({
  lines,
  layer: Layer.effect(
    Journal.Journal,
    Effect.suspend(() =>
      Journal.make({
        lines: Array.from(lines),
        append: (line) =>
          Effect.sync(() => {
            lines.push(line)
          })
      })
    )
  )
})

const counted = () => {
  let runs = 0
  return {
    get runs() {
      return runs
    },
    effect: Effect.sync(() => ++runs)
  }
}

const record = (key: string, value: number, provisional = false) =>
  Effect.flatMap(Journal.Journal, (journal) => journal.record(key, value, provisional))
const decide = (decision: string, value: number, on?: ReadonlyArray<string>) =>
  Effect.flatMap(Journal.Journal, (journal) => journal.decide(decision, value, on))
const begin = (options: { readonly [key: string]: number | string }) =>
  Effect.flatMap(Journal.Journal, (journal) => journal.begin({ options }))

describe("memo", () => {
  it.effect("runs an effect once per journal", () =>
    Effect.gen(function*() {
      const store = memory()
      const work = counted()
      const once = Journal.memo("a", Schema.Number, work.effect).pipe(Effect.provide(store.layer))
      assert.deepStrictEqual([yield* once, yield* once, yield* once], [1, 1, 1])
      assert.strictEqual(work.runs, 1)
      assert.deepStrictEqual(store.lines, [`{"key":"a","value":1}`])
    }))

  it.effect("fails for a value that does not fit its schema, and records nothing", () =>
    Effect.gen(function*() {
      const store = memory()
      const told = Journal.memo("cost", Schema.Finite, Effect.succeed(Number.NaN)).pipe(Effect.provide(store.layer))
      const error = yield* Effect.flip(told)
      assert.strictEqual(error.reason, "Unrecordable")
      assert.match(error.message, /"cost" cannot be recorded.*NaN/s)
      assert.deepStrictEqual(store.lines, [])
    }))

  it.effect("shares nothing between journals in memory", () =>
    Effect.gen(function*() {
      const work = counted()
      const once = Journal.memo("a", Schema.Number, work.effect)
      assert.deepStrictEqual(yield* Effect.provide(Effect.all([once, once]), Journal.layerMemory), [1, 1])
      assert.strictEqual(yield* Effect.provide(once, Journal.layerMemory), 2)
    }))

  it.effect("keeps values in their encoded form", () =>
    Effect.gen(function*() {
      const store = memory()
      const at = Journal.memo("at", Schema.DateFromString, Effect.succeed(new Date(0))).pipe(
        Effect.provide(store.layer)
      )
      yield* at
      assert.deepStrictEqual(store.lines, [`{"key":"at","value":"1970-01-01T00:00:00.000Z"}`])
      assert.deepStrictEqual(yield* at, new Date(0))
    }))

  it.effect("keeps no failure", () =>
    Effect.gen(function*() {
      const store = memory()
      const failed = Journal.memo("a", Schema.Number, Effect.fail("no")).pipe(Effect.provide(store.layer))
      assert.strictEqual(yield* Effect.flip(failed), "no")
      assert.deepStrictEqual(store.lines, [])
    }))

  it.effect("keeps nothing without a layer", () =>
    Effect.gen(function*() {
      const work = counted()
      const once = Journal.memo("a", Schema.Number, work.effect)
      assert.deepStrictEqual([yield* once, yield* once], [1, 2])
    }))

  it.effect("says which record has another form", () =>
    Effect.gen(function*() {
      const store = memory([`{"key":"a","value":"one"}`])
      const error = yield* Effect.flip(
        Journal.memo("a", Schema.Number, Effect.succeed(1)).pipe(Effect.provide(store.layer))
      )
      assert.strictEqual(error.reason, "Corrupt")
      assert.include(error.message, `"a"`)
    }))

  it.effect("loses nothing to an interruption while it writes", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const writing = yield* Deferred.make<void>()
      const interrupting = yield* Deferred.make<void>()
      const layer = Layer.effect(
        Journal.Journal,
        Journal.make({
          lines: [],
          append: (line) =>
            Deferred.succeed(writing, undefined).pipe(
              Effect.zipRight(Deferred.await(interrupting)),
              Effect.zipRight(Effect.yieldNow()),
              Effect.zipRight(Effect.sync(() => {
                lines.push(line)
              }))
            )
        })
      )
      const fiber = yield* Effect.fork(Journal.memo("a", Schema.Number, Effect.succeed(1)).pipe(Effect.provide(layer)))
      yield* Deferred.await(writing)
      yield* Fiber.interruptFork(fiber)
      yield* Deferred.succeed(interrupting, undefined)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(lines, [`{"key":"a","value":1}`])
    }))
})

describe("resuming", () => {
  it.effect("another run is refused, and the difference named", () =>
    Effect.gen(function*() {
      const store = memory()
      yield* begin({ k: 16, seed: 1 }).pipe(Effect.provide(store.layer))
      yield* begin({ k: 16, seed: 1 }).pipe(Effect.provide(store.layer))
      assert.strictEqual(store.lines.length, 1)
      const error = yield* Effect.flip(begin({ k: 8, seed: 1, extra: "yes" }).pipe(Effect.provide(store.layer)))
      assert.strictEqual(error.reason, "OtherRun")
      assert.include(error.message, `options.extra was absent and is now "yes"; options.k was 16 and is now 8`)
    }))

  it.effect("a decision that comes out differently is an error", () =>
    Effect.gen(function*() {
      const store = memory()
      yield* decide("trial 0", 0.5).pipe(Effect.provide(store.layer))
      yield* decide("trial 0", 0.5).pipe(Effect.provide(store.layer))
      assert.strictEqual(store.lines.length, 1)
      const error = yield* Effect.flip(decide("trial 0", 0.6).pipe(Effect.provide(store.layer)))
      assert.strictEqual(error.reason, "Diverged")
      assert.include(error.message, `"trial 0"`)
    }))

  it.effect("what is provisional is forgotten, unless something was decided on it", () =>
    Effect.gen(function*() {
      const store = memory()
      yield* Effect.all([record("a", 1, true), record("b", 2, true), record("c", 3), decide("x", 1, ["a"])]).pipe(
        Effect.provide(store.layer)
      )
      const fresh = (key: string) => Journal.memo(key, Schema.Number, Effect.succeed(0))
      const seen = yield* Effect.all([fresh("a"), fresh("b"), fresh("c")]).pipe(Effect.provide(store.layer))
      assert.deepStrictEqual(seen, [1, 0, 3])
    }))

  it.effect("a line that is no record is reported by its number", () =>
    Effect.gen(function*() {
      const store = memory([`{"run":{}}`, `{"key":"a","value":`, `{"key":"b","value":1}`])
      const error = yield* Effect.flip(Effect.provide(begin({}), store.layer))
      assert.strictEqual(error.reason, "Corrupt")
      assert.include(error.message, "line 2")
    }))
})

describe("layerFile", () => {
  const onDisk = <A, E>(
    body: (path: string, fs: FileSystem.FileSystem) => Effect.Effect<A, E, FileSystem.FileSystem>
  ) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      return yield* body(`${yield* fs.makeTempDirectoryScoped()}/run.jsonl`, fs)
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))

  it.effect("appends, and continues where it stopped", () =>
    onDisk((path, fs) =>
      Effect.gen(function*() {
        const work = counted()
        const once = (key: string) =>
          Journal.memo(key, Schema.Number, work.effect).pipe(Effect.provide(Journal.layerFile(path)))
        assert.deepStrictEqual([yield* once("a"), yield* once("a"), yield* once("b")], [1, 1, 2])
        assert.strictEqual(yield* fs.readFileString(path), `{"key":"a","value":1}\n{"key":"b","value":2}\n`)
      })
    ))

  it.live("says so where its lock can be neither made nor looked at", () =>
    onDisk((path, fs) =>
      Effect.gen(function*() {
        yield* fs.symlink(`${path}.nowhere`, `${path}.lock`)
        const error = yield* decide("a", 1).pipe(
          Effect.provide(Journal.layerFile(path)),
          Effect.timeout("5 seconds"),
          Effect.flip
        )
        assert.isTrue(error._tag === "JournalError" && error.reason === "Storage")
        assert.include(error.message, "run.jsonl.lock")
      })
    ))

  it.effect("cuts off what a killed process left unfinished", () =>
    onDisk((path, fs) =>
      Effect.gen(function*() {
        yield* fs.writeFileString(path, `{"key":"ü","value":1}\n{"key":"b","val`)
        const layer = Journal.layerFile(path)
        const once = (key: string) => Journal.memo(key, Schema.Number, Effect.succeed(2)).pipe(Effect.provide(layer))
        assert.deepStrictEqual([yield* once("ü"), yield* once("b")], [1, 2])
        assert.strictEqual(yield* fs.readFileString(path), `{"key":"ü","value":1}\n{"key":"b","value":2}\n`)
      })
    ))

  it.effect("writes whole lines however many write at once", () =>
    onDisk((path, fs) =>
      Effect.gen(function*() {
        yield* Effect.forEach(Array.from({ length: 200 }, (_, index) => index), (index) =>
          record(`key ${index}`, index), { concurrency: "unbounded" }).pipe(Effect.provide(Journal.layerFile(path)))
        const lines = (yield* fs.readFileString(path)).split("\n").slice(0, -1)
        assert.strictEqual(lines.length, 200)
        assert.strictEqual(
          new Set(lines.map((line) =>
            JSON.parse(line).key
          )).size,
          200
        )
      })
    ))

  it.effect("writes nothing more after a line that it could write but half", () =>
    onDisk((path, fs) =>
      Effect.gen(function*() {
        let writes = 0
        // A disk that is full for a moment.
        const full = FileSystem.FileSystem.of({
          ...fs,
          open: (...args) =>
            Effect.map(fs.open(...args), (file) => ({
              ...file,
              writeAll: (bytes) =>
                ++writes !== 2 ? file.writeAll(bytes) : Effect.zipRight(
                  file.writeAll(bytes.subarray(0, 5)),
                  new PlatformError.SystemError({ reason: "WriteZero", module: "FileSystem", method: "writeAll" })
                )
            }))
        })
        const exits = yield* Effect.forEach(["a", "b", "c"], (key) => Effect.exit(record(key, 1))).pipe(
          Effect.provide(Layer.provide(Journal.layerFile(path), Layer.succeed(FileSystem.FileSystem, full)))
        )
        assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, false])
        const again = yield* Effect.all([record("b", 2), record("c", 3)]).pipe(
          Effect.zipRight(fs.readFileString(path)),
          Effect.provide(Journal.layerFile(path))
        )
        assert.strictEqual(again, `{"key":"a","value":1}\n{"key":"b","value":2}\n{"key":"c","value":3}\n`)
      })
    ))

  it.effect("says that the directory is missing", () =>
    onDisk((path) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.provide(record("a", 1), Journal.layerFile(`${path}/no/run.jsonl`)))
        assert.strictEqual(error.reason, "Storage")
        assert.include(error.message, "run.jsonl")
      })
    ))
})

it.effect("layerMemory keeps records for a second run in the same process", () =>
  Effect.gen(function*() {
    const work = counted()
    const once = Journal.memo("a", Schema.Number, work.effect)
    assert.deepStrictEqual(yield* Effect.all([once, once]).pipe(Effect.provide(Journal.layerMemory)), [1, 1])
  }))
