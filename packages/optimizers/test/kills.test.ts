/**
 * Runs in processes that are killed at any moment and started again, until they end.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Console, Effect } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { chance } from "./utilities.ts"

// For more of them than there is time for after each change: KILLS=100 npx vitest run packages/optimizers/test/kills.test.ts
const kills = process.env["KILLS"]

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "kills-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true }))
)

/** A process that has begun to compile. */
const begun = (...options: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.async<ChildProcess>((resume) => {
      const child = spawn(
        process.execPath,
        ["--import", "tsx", path.join(import.meta.dirname, "fixtures/compiling.ts"), ...options],
        { stdio: ["ignore", "pipe", "inherit"] }
      )
      child.stdout.once("data", () => resume(Effect.succeed(child)))
      child.once("error", (error) => resume(Effect.die(error)))
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

const ended = (child: ChildProcess) =>
  Effect.async<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
  })

const lines = (file: string): ReadonlyArray<string> => fs.readFileSync(file, "utf8").split("\n").slice(0, -1)

interface Tally {
  kills: number
  /** Runs that were killed and came to their end all the same. */
  runs: number
  /** Answers that were on their way into the journal when their process was killed. */
  lost: number
}

// One run to its end, killed now and then, against the same run left alone.
const run = (optimizer: string, seed: number, most: number, tally: Tally) =>
  Effect.gen(function*() {
    const at = yield* folder
    const [whole, calm, artifact, answered, journal] = ["whole", "calm", "artifact", "answered", "journal"].map((
      name
    ) => path.join(at, name)) as [string, string, string, string, string] // as many as there are names
    const alone = yield* begun(optimizer, String(seed), whole, calm)
    const since = yield* Clock.currentTimeMillis
    yield* ended(alone)
    const takes = (yield* Clock.currentTimeMillis) - since
    let killed = 0
    while (true) {
      const child = yield* begun(optimizer, String(seed), artifact, answered, journal)
      if (killed < most) {
        // Before it has opened its journal, which takes as long as a lock is looked at, and anywhere in the next part.
        yield* Effect.sleep((500 + takes / 4) * chance(seed, `${killed}`))
        if (child.kill("SIGKILL")) killed++
        yield* ended(child)
        // As if it were started again when the lock that was left behind is stale.
        if (fs.existsSync(`${journal}.lock`)) fs.utimesSync(`${journal}.lock`, 1, 1)
      } else {
        yield* ended(child)
      }
      if (fs.existsSync(artifact)) break
    }
    assert.strictEqual(fs.readFileSync(artifact, "utf8"), fs.readFileSync(whole, "utf8"), `seed ${seed}`)
    const records = lines(journal).map((line) =>
      JSON.parse(line) as { readonly key?: string; readonly decision?: string }
    )
    for (const names of [records.flatMap(({ key }) => key ?? []), records.flatMap(({ decision }) => decision ?? [])]) {
      assert.strictEqual(new Set(names).size, names.length, `seed ${seed}`)
    }
    const lost = lines(answered).length - records.filter(({ key }) => key !== undefined).length
    // Never more than was under way.
    assert.isAtMost(lost, killed * 4)
    tally.kills += killed
    tally.runs++
    tally.lost += lost
  }).pipe(Effect.scoped)

describe("killed at random, and started again", () => {
  for (const optimizer of ["MIPROv2", "GEPA"]) {
    it.live(
      `${optimizer} comes to the same end, and pays for nothing twice`,
      () =>
        Effect.gen(function*() {
          const tally: Tally = { kills: 0, runs: 0, lost: 0 }
          const wanted = Number(kills ?? 3)
          for (let seed = 0; tally.kills < wanted; seed++) {
            yield* run(optimizer, seed, Math.min(12, wanted - tally.kills), tally)
          }
          if (kills !== undefined) {
            yield* Console.log(
              `${optimizer}: ${tally.kills} killed in ${tally.runs} runs, 0 artifacts differ, 0 records twice, ${tally.lost} answers lost on their way to the journal`
            )
          }
        }),
      120_000 + Number(kills ?? 0) * 20_000
    )
  }
})
