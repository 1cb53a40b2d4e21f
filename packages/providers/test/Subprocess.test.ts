import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Exit, Scope, Stream } from "effect"
import * as fs from "node:fs"
import * as Subprocess from "../src/Subprocess.ts"

const shell = (script: string, options: Partial<Subprocess.Options> = {}) =>
  Subprocess.start({ executable: "/bin/sh", arguments: ["-c", script], ...options })

const text = ({ output }: Subprocess.Subprocess) => output.pipe(Stream.decodeText(), Stream.mkString)

// Linux keeps what nobody has waited for as a zombie, which runs no more.
const alive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(fs.readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

describe("Subprocess", () => {
  it.scopedLive("is written to and read while it runs", () =>
    Effect.gen(function*() {
      const child = yield* shell("while read -r line; do echo \"<$line>\"; done")
      yield* child.write("one\n")
      const lines = child.output.pipe(Stream.decodeText(), Stream.splitLines, Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* lines), ["<one>"])
    }))

  it.scopedLive("says how it ended, and what it complained of", () =>
    Effect.gen(function*() {
      const child = yield* shell("echo out; echo wrong >&2; exit 3")
      assert.strictEqual(yield* text(child), "out\n")
      assert.deepStrictEqual(yield* child.ended, { code: 3, signal: null })
      assert.strictEqual(yield* child.complaints, "wrong\n")
      const error = yield* Effect.flip(child.write("too late"))
      assert.strictEqual(error.reason, "Ended")
      assert.include(error.message, "wrong")
    }))

  it.scopedLive("that is not there is an error that says what to look at", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Subprocess.start({ executable: "/nowhere/at-all" }))
      assert.deepStrictEqual([error.reason, error.message], [
        "NotStarted",
        "/nowhere/at-all: could not be started (ENOENT); see that it is installed, that it may be run, and where"
      ])
      assert.strictEqual((yield* Effect.flip(Subprocess.start({ executable: "a\0b" }))).reason, "NotStarted")
    }))

  it.scopedLive("gets its own environment and little of ours", () =>
    Effect.gen(function*() {
      const child = yield* shell("env", { environment: { MINE: "1" } })
      const names = (yield* text(child)).split("\n").map((line) => line.split("=")[0])
      assert.include(names, "MINE")
      assert.include(names, "PATH")
      assert.notInclude(names, "VITEST")
    }))

  it.live(
    "may end by itself when its scope closes, and is made to with all it has started",
    () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const polite = yield* Scope.extend(shell("cat >/dev/null; exit 7"), scope)
        const stubborn = yield* Scope.extend(shell("trap '' TERM; sleep 60 & echo $! $$; wait; sleep 60"), scope)
        const pids =
          (yield* stubborn.output.pipe(Stream.decodeText(), Stream.splitLines, Stream.take(1), Stream.mkString))
            .split(" ").map(Number)
        assert.deepStrictEqual(pids.map(alive), [true, true])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* polite.ended, { code: 7, signal: null })
        assert.deepStrictEqual((yield* stubborn.ended).signal, "SIGKILL")
        yield* Effect.sleep("50 millis")
        assert.deepStrictEqual(pids.map(alive), [false, false])
      }),
    10_000
  )
})
