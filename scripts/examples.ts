/**
 * `pnpm examples`: runs every example without a key, so on the stand-in or a recording, and says of each whether it ended
 * well and how long it took. The output is that of those that did not. An example is a file that runs; the others are
 * parts of some.
 */
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const root = path.dirname(import.meta.dirname)
const folder = path.join(root, "examples")
const limit = 120_000

const examples = fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && fs.readFileSync(path.join(folder, file), "utf8").includes("runMain"))
  .sort()

// What examples read of the environment is which model to ask, and with what key.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) =>
    !/^(EFFECT_DSPY_|CASSETTE$)|_(API_KEY|API_BASE|BASE_URL)$|_ENDPOINT$/.test(name)
  )
)

const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`

/** Resolves to whether it ended well. */
const run = (example: string): Promise<boolean> =>
  new Promise((resolve) => {
    const started = performance.now()
    // A group of its own, so that nothing it has started outlives its time.
    const child = spawn(process.execPath, ["--import", "tsx", path.join(folder, example)], {
      cwd: root,
      detached: true,
      env: environment,
      stdio: ["ignore", "pipe", "pipe"]
    })
    const output: Array<Buffer> = []
    child.stdout.on("data", (bytes) => output.push(bytes))
    child.stderr.on("data", (bytes) => output.push(bytes))
    const timer = setTimeout(() => process.kill(-child.pid!, "SIGKILL"), limit)
    child.on("close", (code, signal) => {
      clearTimeout(timer)
      console.log(
        code === 0
          ? `ok      ${example} (${seconds(started)})`
          : `FAILED  ${example} (${signal ?? `code ${code}`} after ${seconds(started)})\n${Buffer.concat(output)}`
      )
      resolve(code === 0)
    })
  })

const started = performance.now()
const waiting = [...examples]
const results: Array<boolean> = []
const worker = async (): Promise<void> => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) results.push(await run(next))
}
await Promise.all(Array.from({ length: os.availableParallelism() }, worker))

const good = results.filter((ok) => ok).length
console.log(`${good} of ${examples.length} examples end well without a key (${seconds(started)})`)
if (good < examples.length || examples.length === 0) process.exitCode = 1
