/**
 * What optimizers find in the simulated worlds, and what it costs them: test score against calls, tokens and time, and each
 * optimizer against the classical schedule of the same one, seed by seed, or against those that it is made of.
 *
 *     pnpm bench optimizers --seeds 20 --worlds mixed,rule --optimizers MIPROv2,GEPA
 *
 * - `--worlds`, `--optimizers`: names, or `all`.
 * - `--from`: the first seed, 0 by default. Seeds from 1000 on are held out: nothing may be tuned to them, and they are refused
 *   unless `--held-out` is given, which is for acceptance alone.
 * - `--concurrency`: how many runs of the program may be under way at once, 16 by default.
 * - `--cache`: an answer is asked for once in a run, as DSPy has it; otherwise each time.
 * - `--feedback`: `rich` (the default) or `poor`.
 * - `--reference`: a file of results from dspy_reference.py, shown beside.
 * - `--json`: a file for all results.
 */
import * as Evaluate from "@effect-dspy/core/Evaluate"
import * as fs from "node:fs"
import { parseArgs } from "node:util"
import { table } from "./fixture/measure.ts"
import { classical, optimizers, parts } from "./worlds/registry.ts"
import * as trial from "./worlds/trial.ts"
import * as World from "./worlds/World.ts"

const { values: options } = parseArgs({
  options: {
    seeds: { type: "string", default: "20" },
    from: { type: "string", default: "0" },
    worlds: { type: "string", default: "mixed" },
    optimizers: { type: "string", default: "MIPROv2,GEPA" },
    concurrency: { type: "string", default: "16" },
    cache: { type: "boolean", default: false },
    feedback: { type: "string", default: "rich" },
    reference: { type: "string" },
    json: { type: "string" },
    "held-out": { type: "boolean", default: false }
  }
})

const heldOut = 1000

const fail = (message: string): never => {
  console.error(message)
  process.exit(1)
}

const among = <A>(
  list: string,
  what: string,
  known: ReadonlyArray<readonly [name: string, value: A]>
): ReadonlyArray<readonly [string, A]> =>
  (list === "all" ? known.map(([name]) => name) : list.split(",")).map((name) =>
    known.find(([other]) => other === name) ??
      fail(`no ${what} named ${name}; there are ${known.map(([name]) => name).join(", ")}, and all`)
  )

const chosen = among(options.optimizers, "optimizer", Object.entries(optimizers))
const kinds = among(options.worlds, "world", World.kinds.map((kind) => [kind.name, kind]))
const feedback = options.feedback === "rich" || options.feedback === "poor"
  ? options.feedback
  : fail(`--feedback is rich or poor, not ${options.feedback}`)
const from = Number(options.from)
const seeds = Array.from({ length: Number(options.seeds) }, (_, index) => from + index)
if (!options["held-out"] && seeds.some((seed) => seed >= heldOut)) {
  fail(`seeds from ${heldOut} on are held out for acceptance; give --held-out if this is one`)
}

// -----------------------------------------------------------------------------
// Running
// -----------------------------------------------------------------------------

const names = new Set(chosen.flatMap(([name]) => [name, ...parts[name] ?? []]))
const contenders = Object.entries(optimizers).filter(([name]) => names.has(name)).flatMap(([name, optimizer]) => [
  [name, optimizer] as const,
  ...(classical[name] === undefined ? [] : [[`${name}, classical`, classical[name]] as const])
])

const reference: ReadonlyArray<trial.Result> = options.reference === undefined
  ? []
  : fs.readFileSync(options.reference, "utf8").split("\n").filter((line) => line !== "").map((line) => {
    const result = JSON.parse(line) as trial.Result // written by dspy_reference.py, which gives no area
    return { ...result, optimizer: `DSPy ${result.optimizer}`, area: Number.NaN, wall: Number.NaN }
  })

const results: Array<trial.Result> = []
for (const [, kind] of kinds) {
  for (const seed of seeds) {
    const arena = trial.arena(kind, seed, feedback)
    for (const [name, optimizer] of contenders) {
      const start = performance.now()
      try {
        const result = await trial.run(arena, name, optimizer, {
          concurrency: Number(options.concurrency),
          cache: options.cache
        })
        results.push(result)
        console.error(
          `${kind.name}/${seed} ${name}: ${result.before.toFixed(2)} -> ${
            result.after.toFixed(2)
          }, ${result.calls} calls, ${((performance.now() - start) / 1000).toFixed(1)} s`
        )
      } catch (error) {
        // The others may still tell something; the tables say how many seeds they are of.
        console.error(`${kind.name}/${seed} ${name}: ${String(error)}`)
        process.exitCode = 1
      }
    }
  }
}
if (options.json !== undefined) fs.writeFileSync(options.json, JSON.stringify(results, undefined, 1))

// -----------------------------------------------------------------------------
// Telling
// -----------------------------------------------------------------------------

const mean = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0) / values.length

const figure = (value: number, digits: number): string => Number.isNaN(value) ? "" : value.toFixed(digits)

const share = ({ interval, mean }: Evaluate.Estimate): string =>
  `${mean.toFixed(3)} [${interval.lower.toFixed(3)}, ${interval.upper.toFixed(3)}]`

const of = (name: string, kind: string): ReadonlyArray<trial.Result> =>
  [...results, ...reference].filter(({ optimizer, world }) => optimizer === name && world === kind)

/** What two found with the same seeds. */
const paired = (kind: string, one: string, other: string): ReadonlyArray<readonly [trial.Result, trial.Result]> => {
  const others = new Map(of(other, kind).map((result) => [result.seed, result]))
  return of(one, kind).flatMap((result) => {
    const before = others.get(result.seed)
    return before === undefined ? [] : [[result, before] as const]
  })
}

for (const [, { name: kind }] of kinds) {
  const shown = [
    ...contenders.map(([name]) => name),
    ...new Set(reference.filter(({ world }) => world === kind).map(({ optimizer }) => optimizer))
  ]
  console.log(
    `# ${kind} (synthetic): seeds ${seeds[0]} to ${seeds.at(-1)}, ${feedback} feedback, ${
      options.cache ? "each answer asked for once, " : ""
    }as given ${mean(of(contenders[0]![0], kind).map(({ before }) => before)).toFixed(3)}`
  )
  table(
    ["", "seeds", "test score [95 %]", "area", "calls", "tokens in", "tokens out", "wall", "in flight", "at most"],
    shown.map((name) => {
      const own = of(name, kind)
      const average = (pick: (result: trial.Result) => number) => mean(own.map(pick))
      return [
        name,
        String(own.length),
        share(Evaluate.estimate(own.map(({ after }) => after))),
        figure(average(({ area }) => area), 3),
        figure(average(({ calls }) => calls), 0),
        figure(average(({ inputTokens }) => inputTokens), 0),
        figure(average(({ outputTokens }) => outputTokens), 0),
        figure(average(({ wall }) => wall), 1),
        figure(average(({ meanInFlight }) => meanInFlight), 1),
        figure(average(({ mostInFlight }) => mostInFlight), 0)
      ]
    })
  )
  const pairs = chosen.flatMap(([name]) =>
    [`${name}, classical`, `DSPy ${name}`, ...parts[name] ?? []].map((other) => [name, other] as const)
  )
    .map(([one, other]) => ({ one, other, seeds: paired(kind, one, other) }))
    .filter(({ seeds }) => seeds.length > 0)
  if (pairs.length === 0) continue
  table(
    ["", "seeds", "better by [95 %]", "area", "calls", "tokens", "wall"],
    pairs.map(({ one, other, seeds }) => {
      const differences = (pick: (result: trial.Result) => number) => seeds.map(([a, b]) => pick(a) - pick(b))
      const ratio = (pick: (result: trial.Result) => number) => {
        const value = mean(seeds.map(([a]) => pick(a))) / mean(seeds.map(([, b]) => pick(b)))
        return Number.isFinite(value) ? `${(100 * value).toFixed(0)} %` : ""
      }
      return [
        `${one} against ${other}`,
        String(seeds.length),
        share(Evaluate.estimate(differences(({ after }) => after), { range: { lower: -1, upper: 1 } })),
        figure(mean(differences(({ area }) => area)), 3),
        ratio(({ calls }) => calls),
        ratio(({ inputTokens, outputTokens }) => inputTokens + outputTokens),
        ratio(({ wall }) => wall)
      ]
    })
  )
}
