/**
 * `pnpm chaos` commits all faults, `pnpm chaos <id> ...` the named ones, each in a process of its own that has to end by
 * itself. `--scale 0.1` does a tenth of it, `--seed` begins with another one.
 */
import { Cause, Effect, Exit, Option } from "effect"
import { type ChildProcess, fork, spawn } from "node:child_process"
import * as os from "node:os"
import { parseArgs } from "node:util"
import { longrun } from "../../streaming/chaos/longrun.ts"
import { serving } from "../../streaming/chaos/serving.ts"
import * as FaultServer from "../test/FaultServer.ts"
import { cancellation } from "./cancellation.ts"
import { connections } from "./connections.ts"
import { http } from "./http.ts"
import { processes } from "./processes.ts"
import { sandbox } from "./sandbox.ts"
import { at, now, numberOf, type Outcome, type Report, type Scenario, type Seen } from "./Scenario.ts"
import { streams } from "./streams.ts"

const scenarios: ReadonlyArray<Scenario> = [
  ...http,
  ...connections,
  ...streams,
  ...cancellation,
  ...processes,
  ...sandbox,
  ...serving,
  ...longrun
]

const named = (id: string): Scenario | undefined => scenarios.find((scenario) => scenario.id === id)

// =============================================================================
// The processes of a scenario
// =============================================================================

const serve = (handler: NonNullable<Scenario["serve"]>) =>
  Effect.gen(function*() {
    const seen: Array<{ -readonly [Key in keyof Seen]: Seen[Key] }> = []
    const recorded: Array<FaultServer.Recorded> = []
    const server = yield* FaultServer.make((request, n) => {
      const one = {
        number: numberOf(request),
        model: /"model":"([^"]*)"/.exec(request.body)?.[1] ?? "",
        arrived: now(),
        closed: undefined as number | undefined, // it is set when the connection is closed
        sent: 0
      }
      seen.push(one)
      recorded.push(request)
      // A handler of requests returns before they are closed.
      // @effect-diagnostics-next-line runEffectInsideEffect:off
      Effect.runFork(Effect.tap(request.closed, () => Effect.sync(() => one.closed = now())))
      return handler(request, n)
    })
    process.on("message", () => {
      for (const [n, request] of recorded.entries()) seen[n]!.sent = request.sent()
      const report: Report = { requests: seen, connections: server.connections(), open: server.open() }
      process.send?.(report)
    })
    process.on("disconnect", () => process.exit())
    process.send?.(server.url)
    return yield* Effect.never
  })

const runHere = (scenario: Scenario, url: string, seed: number, scale: number) =>
  Effect.scoped(
    Effect.suspend(() =>
      scenario.run({ server: at(url), seed, times: (full) => Math.max(1, Math.round(full * scale)) })
    )
  )

const failure = (words: string): Outcome => ({ figure: "", failed: [words] })

// =============================================================================
// All of them
// =============================================================================

const patience = 5000

const own = ["--import", "tsx", "--expose-gc"]

const message = <A>(child: ChildProcess) =>
  new Promise<A>((resolve, reject) => {
    child.once("message", (message) => resolve(message as A)) // it is our own process
    child.once("exit", () => reject(new Error("the server has ended")))
  })

const inItsOwnProcess = async (scenario: Scenario, options: ReadonlyArray<string>): Promise<Outcome> => {
  const server = scenario.serve === undefined
    ? undefined
    : fork(import.meta.filename, ["--serve", scenario.id], { execArgv: own })
  const url = server === undefined ? "" : await message<string>(server)
  const command = [process.execPath, ...own, import.meta.filename, "--run", scenario.id, "--url", url]
  const limited = scenario.files === undefined ? "" : `ulimit -n ${scenario.files} && `
  const child = spawn("/bin/sh", ["-c", `${limited}exec "$@"`, "sh", ...command, ...options], {
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  const result = await new Promise<Outcome>((resolve) => {
    let result: Outcome | undefined
    let late: NodeJS.Timeout | undefined
    child.on("message", (said) => {
      if (said === "report") {
        void message<Report>(server!).then((report) => child.send(report)) // who has a report has a server
        server!.send("report")
        return
      }
      result = said as Outcome // it is our own process
      late = setTimeout(() => {
        result = { ...result!, failed: [...result!.failed, `the process does not end within ${patience} ms`] }
        child.kill("SIGKILL")
      }, patience)
    })
    child.on("exit", (code, signal) => {
      clearTimeout(late)
      resolve(result ?? failure(`the process ended with ${signal ?? code}`))
    })
  })
  server?.disconnect()
  return result
}

const load = () => os.loadavg().map((one) => one.toFixed(1)).join(" ")

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    run: { type: "string" },
    serve: { type: "string" },
    url: { type: "string", default: "" },
    seed: { type: "string", default: "20240917" },
    scale: { type: "string", default: "1" }
  }
})
const seed = Number(values.seed)
const scale = Number(values.scale)

if (values.serve !== undefined) {
  void Effect.runPromise(Effect.scoped(serve(named(values.serve)!.serve!))) // started by `inItsOwnProcess`
} else if (values.run !== undefined) {
  // Node reads the stack of every error that ends a socket. To translate it, as `tsx` has it do, takes longer than the rest
  // of closing one, and is nothing that compiled programs do.
  process.setSourceMapsEnabled(false)
  const unhandled: Array<unknown> = []
  process.on("unhandledRejection", (reason) => unhandled.push(reason))
  const exit = await Effect.runPromiseExit(runHere(named(values.run)!, values.url, seed, scale)) // started by `inItsOwnProcess`
  const found = Exit.isSuccess(exit)
    ? exit.value
    : failure(
      Option.match(Cause.dieOption(exit.cause), { onNone: () => "", onSome: () => "defect: " }) +
        Cause.pretty(exit.cause)
    )
  process.send?.(
    unhandled.length === 0 ? found : { ...found, failed: [...found.failed, `unhandled: ${unhandled.join(", ")}`] }
  )
} else {
  const asked = positionals.length === 0 ? scenarios : positionals.map(named)
  const unknown = positionals.filter((id) => named(id) === undefined)
  if (unknown.length > 0) {
    console.error(`no scenario ${unknown.join(", ")}; there are: ${scenarios.map(({ id }) => id).join(" ")}`)
    process.exit(1)
  }
  console.log(`seed ${seed}, scale ${scale}, node ${process.version}, ${os.cpus().length} CPUs, load ${load()}`)
  const broken: Array<string> = []
  for (const scenario of asked) {
    if (scenario === undefined) continue
    const started = now()
    const { failed, figure } = await inItsOwnProcess(scenario, ["--seed", String(seed), "--scale", String(scale)])
    const seconds = ((now() - started) / 1000).toFixed(1)
    console.log(
      `${failed.length === 0 ? "pass" : "FAIL"}  ${scenario.id.padEnd(4)}${scenario.title}: ${figure} [${seconds} s]`
    )
    if (failed.length > 0) broken.push(scenario.id)
    for (const words of failed.slice(0, 5)) console.log(`      ${words}`)
    if (failed.length > 0) console.log(`      the bar: ${scenario.bar}`)
  }
  console.log(
    `${asked.length - broken.length} of ${asked.length} hold${
      broken.length > 0 ? `; not ${broken.join(" ")}` : ""
    } (load ${load()})`
  )
  if (broken.length > 0) process.exitCode = 1
}
