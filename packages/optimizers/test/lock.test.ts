/**
 * Journals that several processes want: real ones, one of which is killed.
 */
import * as Journal from "@effect-dspy/optimizers/Journal"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Layer } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const journal = Effect.acquireRelease(
  Effect.sync(() => path.join(fs.mkdtempSync(path.join(os.tmpdir(), "journal-")), "run.jsonl")),
  (file) => Effect.sync(() => fs.rmSync(path.dirname(file), { recursive: true }))
)

/** Opens the journal in a process of its own, which writes a record, or one every so many milliseconds, and holds on to it. */
const holder = (file: string, every?: number) =>
  Effect.acquireRelease(
    Effect.async<ChildProcess>((resume) => {
      const child = spawn(process.execPath, [
        "--import",
        "tsx",
        "--input-type=module",
        "--eval",
        `import * as Journal from "@effect-dspy/optimizers/Journal"
import { NodeFileSystem } from "@effect/platform-node"
import { Effect, Layer } from "effect"
const write = Effect.flatMap(Journal.Journal, (journal) => journal.record("theirs", 1, false))
Effect.runFork(
  write.pipe(
    Effect.zipRight(Effect.sync(() => console.log("held"))),
    Effect.zipRight(process.env.EVERY ? Effect.forever(Effect.delay(write, Number(process.env.EVERY))) : Effect.never),
    Effect.catchAll((error) => Effect.sync(() => process.exit(error.reason === "Locked" ? 7 : 1))),
    Effect.provide(Layer.provide(Journal.layerFile(process.env.FILE), NodeFileSystem.layer))
  )
)`
      ], {
        env: { ...process.env, FILE: file, EVERY: every === undefined ? "" : String(every) },
        stdio: ["ignore", "pipe", "inherit"]
      })
      child.stdout.once("data", () => resume(Effect.succeed(child)))
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

const ended = (child: ChildProcess) =>
  Effect.async<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
  })

const layer = (file: string) => Layer.provide(Journal.layerFile(file), NodeFileSystem.layer)

const record = (file: string) =>
  Effect.provide(Effect.flatMap(Journal.Journal, (journal) => journal.record("ours", 2, false)), layer(file))

const written = (file: string) =>
  fs.readFileSync(file, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line).key)

describe("a journal that another process writes", { timeout: 60_000 }, () => {
  it.scopedLive("is refused while that is alive, and taken over soon after it was killed", () =>
    Effect.gen(function*() {
      const file = yield* journal
      const child = yield* holder(file)
      const error = yield* Effect.flip(record(file))
      assert.strictEqual(error.reason, "Locked")
      assert.include(error.message, `another process is writing ${file}`)
      assert.deepStrictEqual(written(file), ["theirs"])

      child.kill("SIGKILL")
      yield* ended(child)
      assert.isTrue(fs.existsSync(`${file}.lock`))
      const begun = yield* Clock.currentTimeMillis
      yield* record(file)
      assert.isBelow((yield* Clock.currentTimeMillis) - begun, 15_000)
      assert.deepStrictEqual(written(file), ["theirs", "ours"])
      assert.deepStrictEqual(fs.readdirSync(path.dirname(file)), ["run.jsonl"])
    }))

  it.scopedLive("is free at once when that has ended, or was interrupted", () =>
    Effect.gen(function*() {
      const file = yield* journal
      const held = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        Effect.provide(Effect.zipRight(Deferred.succeed(held, undefined), Effect.never), layer(file))
      )
      yield* Deferred.await(held)
      assert.strictEqual((yield* Effect.flip(record(file))).reason, "Locked")
      yield* Fiber.interrupt(fiber)
      const begun = yield* Clock.currentTimeMillis
      yield* record(file)
      assert.isBelow((yield* Clock.currentTimeMillis) - begun, 900)
    }))

  it.scopedLive("goes to one of many that find its lock left behind", () =>
    Effect.gen(function*() {
      const file = yield* journal
      fs.writeFileSync(`${file}.lock`, "killed long ago")
      fs.utimesSync(`${file}.lock`, 1, 1)
      const exits = yield* Effect.forEach(
        [1, 2, 3, 4, 5],
        () => Effect.exit(Effect.scoped(Effect.zipRight(Layer.build(layer(file)), Effect.sleep("3 seconds")))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
    }))

  it.scopedLive("is never written by two, though its holder is only slow", () =>
    Effect.gen(function*() {
      const file = yield* journal
      const child = yield* holder(file, 5)
      // As if it had missed its beats, and comes back in the moment when it is found out. It may be too soon with the next one.
      yield* record(file).pipe(
        (record) => Effect.suspend(() => (fs.utimesSync(`${file}.lock`, 1, 1), record)),
        Effect.retry({ times: 20 })
      )
      yield* ended(child)
      assert.strictEqual(child.exitCode, 7)
      const keys = written(file)
      assert.isAbove(keys.length, 2)
      assert.strictEqual(keys.indexOf("ours"), keys.length - 1)
    }))

  it.scopedLive("is not written on by a process that was stopped and continues", () =>
    Effect.gen(function*() {
      const file = yield* journal
      const child = yield* holder(file, 250)
      child.kill("SIGSTOP")
      yield* record(file)
      child.kill("SIGCONT")
      yield* ended(child)
      assert.strictEqual(child.exitCode, 7)
      assert.strictEqual(written(file).at(-1), "ours")
    }))

  it.scopedLive("is written no more by a process that was suspended meanwhile", () =>
    Effect.gen(function*() {
      const file = yield* journal
      const error = yield* Effect.gen(function*() {
        const journal = yield* Journal.Journal
        yield* journal.record("ours", 1, false)
        // As if it had slept for long: somebody has found the lock stale.
        fs.writeFileSync(`${file}.lock`, "somebody else")
        yield* Effect.sleep("2 seconds")
        return yield* Effect.flip(journal.record("ours too", 2, false))
      }).pipe(Effect.provide(layer(file)))
      assert.strictEqual(error.reason, "Locked")
      assert.deepStrictEqual(written(file), ["ours"])
      assert.strictEqual(fs.readFileSync(`${file}.lock`, "utf8"), "somebody else")
    }))
})
