/**
 * What 10,000 calls cost that one process waits for at the same time, while the server takes 3 seconds for each: failures,
 * memory per call, how long the event loop is held up, and the time until all are answered. Each contender runs in a
 * process of its own, in turn. `--calls`, `--rounds` and `--only <name>` change that.
 */
import { spawnSync } from "node:child_process"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { parseArgs } from "node:util"
import { type Call, contenders as asked } from "./fixture/contenders.ts"
import { median, serve, table } from "./fixture/measure.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    calls: { type: "string", default: "10000" },
    rounds: { type: "string", default: "3" },
    only: { type: "string", multiple: true }
  }
})
const calls = Number(values.calls)
const delay = 3000

const contenders: typeof asked = {
  ...asked,
  "effect-dspy, fetch": async (url) => {
    const Predict = await import("@effect-dspy/core/Predict")
    const OpenAiCompatible = await import("@effect-dspy/providers/OpenAiCompatible")
    const { FetchHttpClient } = await import("@effect/platform")
    const { Layer, ManagedRuntime } = await import("effect")
    const answer = Predict.make("question -> answer")
    const runtime = ManagedRuntime.make(
      OpenAiCompatible.layer({ model: "chat", baseUrl: url }).pipe(Layer.provide(FetchHttpClient.layer))
    )
    return async () => (await runtime.runPromise(answer({ question: "What is the capital of France?" }))).answer
  },
  "effect-dspy, all policies": async (url) => {
    const Policy = await import("@effect-dspy/core/Policy")
    const Predict = await import("@effect-dspy/core/Predict")
    const OpenAiCompatible = await import("@effect-dspy/providers/OpenAiCompatible")
    const Policies = await import("@effect-dspy/providers/Policies")
    const NodeHttpClient = await import("@effect/platform-node/NodeHttpClient")
    const { Layer, ManagedRuntime } = await import("effect")
    const answer = Predict.make("question -> answer")
    const runtime = ManagedRuntime.make(
      OpenAiCompatible.layer({ model: "chat", baseUrl: url }).pipe(
        Layer.provide(NodeHttpClient.layerUndici),
        // Equal calls would be one.
        Policy.apply(Policies.standard({ singleFlight: false }))
      )
    )
    return async () => (await runtime.runPromise(answer({ question: "What is the capital of France?" }))).answer
  }
}

interface Figures {
  readonly failures: number
  readonly rss: number
  readonly heap: number
  readonly loop: number
  readonly wall: number
}

const ask = async (call: Call): Promise<boolean> => {
  try {
    return (await call()) === "Paris"
  } catch {
    return false
  }
}

const measure = async (name: string, url: string): Promise<Figures> => {
  const warm = await contenders[name]!(url) // it is called with a name of the table
  await Promise.all(Array.from({ length: 200 }, () => ask(warm)))
  const call = await contenders[name]!(url.replace(/\/v1$/, `/delay/${delay}/v1`)) // the same
  globalThis.gc?.()
  const before = process.memoryUsage()
  const peak = { rss: 0, heap: 0 }
  const timer = setInterval(() => {
    const { external, heapUsed, rss } = process.memoryUsage()
    peak.rss = Math.max(peak.rss, rss - before.rss)
    peak.heap = Math.max(peak.heap, heapUsed + external - before.heapUsed - before.external)
  }, 50)
  const loop = monitorEventLoopDelay({ resolution: 10 })
  loop.enable()
  const start = performance.now()
  const right = await Promise.all(Array.from({ length: calls }, () => ask(call)))
  const wall = performance.now() - start
  loop.disable()
  clearInterval(timer)
  return {
    failures: right.filter((right) => !right).length,
    rss: peak.rss / calls / 1024,
    heap: peak.heap / calls / 1024,
    loop: loop.percentile(99) / 1e6,
    wall
  }
}

const [name, url] = positionals

if (name !== undefined && url !== undefined) {
  console.log(JSON.stringify(await measure(name, url)))
  process.exit()
}

const server = await serve()
const measured = new Map(
  Object.keys(contenders).filter((name) => values.only?.includes(name) ?? true)
    .map((name) => [name, [] as Array<Figures>])
)
for (let round = 0; round < Number(values.rounds); round++) {
  for (const [name, figures] of measured) {
    const child = spawnSync(
      process.execPath,
      ["--expose-gc", ...process.execArgv, import.meta.filename, name, server.url, "--calls", String(calls)],
      { encoding: "utf8" }
    )
    if (child.status !== 0) throw new Error(`${name}: ${child.stderr.slice(-1000)}`)
    figures.push(JSON.parse(child.stdout.trim().split("\n").at(-1)!)) // it prints its figures last
  }
}
const of = (name: string, figure: keyof Figures) => median(measured.get(name)!.map((figures) => figures[figure]))
const base = measured.has("raw fetch") ? of("raw fetch", "rss") : Number.NaN
console.log(`${calls} calls at a time, ${delay / 1000} s each, median of ${values.rounds} rounds in turn`)
table(
  ["", "failures", "RSS per call", "against raw fetch", "heap per call", "event loop p99", "wall"],
  Array.from(measured.keys(), (name) => [
    name,
    String(Math.max(...measured.get(name)!.map(({ failures }) => failures))),
    `${of(name, "rss").toFixed(1)} KiB`,
    `${(of(name, "rss") / base).toFixed(2)}x`,
    `${of(name, "heap").toFixed(1)} KiB`,
    `${of(name, "loop").toFixed(0)} ms`,
    `${(of(name, "wall") / 1000).toFixed(1)} s`
  ])
)
server.stop()
