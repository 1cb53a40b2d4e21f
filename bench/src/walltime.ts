/**
 * How long optimizers take when the model takes any number of calls at once: the longest chain of calls, against a lower bound from
 * what has to wait for what. `pnpm bench walltime`; `--latency 50` measures real time with so many milliseconds a call instead of
 * virtual time, in which computing takes none.
 */
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as Module from "@effect-dspy/core/Module"
import { Effect, Stream } from "effect"
import { parseArgs } from "node:util"
import { table } from "./fixture/measure.ts"
import * as model from "./worlds/model.ts"
import { classical, optimizers } from "./worlds/registry.ts"
import * as trial from "./worlds/trial.ts"
import * as World from "./worlds/World.ts"

const { values: options } = parseArgs({
  options: {
    seeds: { type: "string", default: "3" },
    optimizers: { type: "string", default: Object.keys(optimizers).join(",") },
    latency: { type: "string" }
  }
})

const names = options.optimizers.split(",")
const seeds = Array.from({ length: Number(options.seeds) }, (_, seed) => seed)
const unlimited = 100_000

/**
 * Lower bounds in calls one after the other. `d` is how many the program makes in a chain, as many as it has predictors. A call of
 * the prompt model counts as one too. Where DSPy measures nothing, ours measures the program as given and the new one: that is
 * one `d` more.
 */
const bounds: Readonly<
  Record<string, (run: { readonly d: number; readonly events: ReadonlyArray<string> }) => number>
> = {
  LabeledFewShot: ({ d }) => d,
  BootstrapFewShot: ({ d }) => 2 * d,
  RandomSearch: ({ d }) => 2 * d,
  COPRO: ({ d }) => 3 * (1 + (d === 1 ? 1 : d * d)),
  InferRules: ({ d }) => d + 1 + d,
  // Two calls for the summary; trials that wait for others, and full measurements, as of DSPy's light schedule.
  MIPROv2: ({ d }) => Math.max(2, d + 2) + 1 + (d === 1 ? 1 + 2 + 2 : 1 + 12 + 4) * d,
  // In batches of 8 of 100 examples: run, reflect, curate.
  ACE: ({ d }) => 13 * (d + 2) + d,
  // The training examples are tried, then programs are measured: neighbours are found without a call.
  KNNFewShot: ({ d }) => 2 * d,
  SIMBA: ({ d }) => 8 * (2 * d + 1) + d,
  // By how many iterations there were, and in how many of them a candidate was measured in full.
  GEPA: ({ d, events }) => {
    const iterations = events.filter((event) => event === "Front").length
    const accepted = events.filter((event) => event === "Promotion").length
    return d + iterations * (2 * d + 1) + accepted * d
  }
}

const mean = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0) / values.length

interface Row {
  readonly calls: number
  readonly wall: number
  readonly bound: number
}

const measure = async (kind: World.Kind, seed: number, name: string, isClassical: boolean): Promise<Row> => {
  const { problem, ...world } = trial.arena(kind, seed, "rich")
  // What cannot be read is not asked for again: the longest chain of a program is of as many calls as it has steps.
  const module = Module.withAdapter(problem.module, ChatAdapter.adapter)
  const arena = { ...world, problem: { ...problem, module } }
  const optimizer = (isClassical ? classical : optimizers)[name]!
  const { events, meter, milliseconds } = await trial.observe(arena, optimizer, { seed, concurrency: unlimited })
  const bound = bounds[name]?.({ d: kind.steps, events }) ?? Number.NaN
  if (options.latency === undefined) return { calls: meter.calls, wall: milliseconds / trial.latency, bound }
  const latency = Number(options.latency)
  const real = model.make(arena.world, { latency })
  const { metric, trainset, valset } = problem
  const start = performance.now()
  await Effect.runPromise(
    optimizer(module, { trainset, valset, metric, seed, concurrency: unlimited }).pipe(
      Stream.runDrain,
      Effect.provide(trial.services(real.service))
    )
  )
  return { calls: real.meter.calls, wall: (performance.now() - start) / latency, bound }
}

console.log(
  `calls one after the other, mean of ${seeds.length} seeds, unlimited concurrency${
    options.latency === undefined ? "" : `, real time at ${options.latency} ms a call`
  }`
)
const rows: Array<ReadonlyArray<string>> = []
for (const name of names) {
  for (const kind of World.kinds.filter(({ name }) => name === "mixed" || name === "mixed-2")) {
    for (const isClassical of classical[name] === undefined ? [false] : [false, true]) {
      const measured: Array<Row> = []
      for (const seed of seeds) measured.push(await measure(kind, seed, name, isClassical))
      const wall = mean(measured.map(({ wall }) => wall))
      const bound = mean(measured.map(({ bound }) => bound))
      rows.push([
        `${name}${isClassical ? ", classical" : ""}`,
        String(kind.steps),
        mean(measured.map(({ calls }) => calls)).toFixed(0),
        wall.toFixed(1),
        ...(Number.isNaN(bound) ? ["", ""] : [bound.toFixed(1), (wall / bound).toFixed(2)])
      ])
    }
  }
}
table(["", "predictors", "calls", "measured", "bound", "ratio"], rows)
