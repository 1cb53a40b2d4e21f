/**
 * Processes that are killed, ours and theirs: K1, K4, K5 and X1. They are tests of the suite, with more repetitions.
 */
import { Effect } from "effect"
import { spawn } from "node:child_process"
import * as path from "node:path"
import { outcome, type Scenario } from "./Scenario.ts"

const root = path.join(import.meta.dirname, "../../..")

const repeated = (file: string, name: string, environment: Readonly<Record<string, string>>) =>
  Effect.async<{ readonly code: number | null; readonly output: string }>((resume) => {
    const child = spawn(
      process.execPath,
      [
        "node_modules/vitest/vitest.mjs",
        "run",
        `packages/${file}`,
        "-t",
        name,
        "--typecheck.enabled=false"
      ],
      { cwd: root, env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] }
    )
    let output = ""
    const keep = (data: Buffer) => void (output += String(data))
    child.stdout.on("data", keep)
    child.stderr.on("data", keep)
    child.on("exit", (code) => resume(Effect.succeed({ code, output })))
  })

const tested = (file: string, name: string, environment: Readonly<Record<string, string>>, figure: RegExp) =>
  Effect.map(
    repeated(file, name, environment),
    ({ code, output }) =>
      outcome(figure.exec(output)?.[0] ?? "", [[code === 0 && figure.test(output), output.slice(-2000)]])
  )

export const processes: ReadonlyArray<Scenario> = [
  {
    id: "K1",
    title: "8 processes that share a cache, killed at random",
    bar: "it opens again, with all that was written and nothing wrong",
    run: ({ times }) =>
      tested(
        "providers/test/ResponseCache.test.ts",
        "killed at random",
        { KILLS: String(times(10_000)) },
        /\d+ killed, .* lost/
      )
  },
  ...["MIPROv2", "GEPA"].map((optimizer): Scenario => ({
    id: optimizer === "MIPROv2" ? "K4" : "K5",
    title: `${optimizer} with a journal, killed at random and started again`,
    bar: "the same bytes as of a run left alone, and nothing recorded twice",
    run: ({ times }) =>
      tested("optimizers/test/kills.test.ts", optimizer, { KILLS: String(times(100)) }, /\d+ killed in .* the journal/)
  })),
  {
    id: "X1",
    title: "a command line that ignores TERM, forks, floods, stalls, dies",
    bar: "no process is left",
    run: ({ times }) =>
      tested(
        "providers/test/ClaudeCli.test.ts",
        "many calls at a time",
        { RUNS: String(times(1000)) },
        /\d+ calls, .* orphans/
      )
  }
]
