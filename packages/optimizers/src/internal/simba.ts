/**
 * How SIMBA chooses: which programs are run and built on, which examples are
 * learnt from, which demonstrations make room, and who is in the final.
 */
import type { Example } from "@effect-dspy/core/Example"
import type * as Json from "@effect-dspy/core/Json"
import * as Parameters from "@effect-dspy/core/Parameters"
import type * as rng from "./rng.ts"
import * as runs from "./runs.ts"
import type { Contender } from "./search.ts"

// -----------------------------------------------------------------------------
// What is known of programs
// -----------------------------------------------------------------------------

export interface Member {
  readonly contender: Contender
  readonly scores: Array<number>
}

// As many imagined scores as say nothing once a batch was seen, but much before.
const doubt = 8

export const averages = (pool: ReadonlyArray<Member>, classical: boolean): ReadonlyArray<number> => {
  const all = pool.flatMap(({ scores }) => scores)
  const usual = all.length === 0 ? 0 : all.reduce((sum, score) => sum + score, 0) / all.length
  return pool.map(({ scores }) => {
    const sum = scores.reduce((sum, score) => sum + score, 0)
    if (classical) return scores.length === 0 ? 0 : sum / scores.length
    return (sum + doubt * usual) / (scores.length + doubt)
  })
}

// The best ones; the module as given is always among them.
export const best = (averages: ReadonlyArray<number>, count: number): ReadonlyArray<number> => {
  const order = averages.map((_, index) => index).sort((a, b) => averages[b]! - averages[a]! || a - b) // both are places
  const top = order.slice(0, count)
  return top.includes(0) ? top : [...top.slice(0, -1), 0]
}

export const pick = (
  top: ReadonlyArray<number>,
  averages: ReadonlyArray<number>,
  temperature: number,
  random: rng.Rng
): number => {
  const highest = Math.max(...top.map((index) => averages[index]!)) // places of the same list
  return top[random.weighted(top.map((index) => Math.exp((averages[index]! - highest) / temperature)))]! // as well
}

/** Between two of the sorted values where the rank is no whole number. */
export const percentile = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const rank = share * (sorted.length - 1)
  const lower = sorted[Math.floor(rank)] ?? 0
  return lower + (rank % 1) * ((sorted[Math.ceil(rank)] ?? 0) - lower)
}

// -----------------------------------------------------------------------------
// Buckets
// -----------------------------------------------------------------------------

export interface Trajectory {
  readonly run: runs.Run
  readonly score: number
}

/** The runs of one example, best first. */
export interface Bucket {
  readonly example: Example<unknown, unknown>
  readonly better: Trajectory
  readonly worse: Trajectory
  readonly mean: number
}

export const bucketOf = (example: Example<unknown, unknown>, met: ReadonlyArray<runs.Run>): ReadonlyArray<Bucket> => {
  const known = met.flatMap((run): ReadonlyArray<Trajectory> => {
    const score = runs.scoreOf(run)
    return score === undefined ? [] : [{ run, score }]
  }).sort((a, b) => b.score - a.score)
  const [better, worse] = [known[0], known.at(-1)]
  if (better === undefined || worse === undefined) return []
  return [{ example, better, worse, mean: known.reduce((sum, { score }) => sum + score, 0) / known.length }]
}

/** Where results differ most, and of these where the best is best. */
export const inOrder = (a: Bucket, b: Bucket): number =>
  (b.better.score - b.worse.score) - (a.better.score - a.worse.score) ||
  b.better.score - a.better.score ||
  (b.better.score - b.mean) - (a.better.score - a.mean)

// -----------------------------------------------------------------------------
// Demonstrations
// -----------------------------------------------------------------------------

/** How many demonstrations make room: on average their share of what there may be, and one at least when full. */
export const dropped = (count: number, maxDemos: number, random: rng.Rng): number => {
  const room = maxDemos > 0 ? maxDemos : 3
  return Math.min(count, Math.max(poisson(count / room, random), count >= room ? 1 : 0))
}

// Knuth's: how many uniform numbers can be multiplied before the product is below.
const poisson = (mean: number, random: rng.Rng): number => {
  const limit = Math.exp(-mean)
  let product = random.float()
  let count = 0
  while (product > limit) {
    product *= random.float()
    count++
  }
  return count
}

// The same places for all predictors: what was learnt together leaves together.
export const thinned = (
  parameters: Parameters.Parameters,
  maxDemos: number,
  random: rng.Rng
): Parameters.Parameters => {
  const most = Math.max(0, ...Object.values(parameters).map(({ demos }) => demos.length))
  const places = Array.from({ length: most }, (_, place) => place)
  const gone = new Set(random.sample(places, dropped(most, maxDemos, random)))
  return Object.fromEntries(
    Object.entries(parameters).map(([path, entry]) => [
      path,
      { ...entry, demos: entry.demos.filter((_, place) => !gone.has(place)) }
    ])
  )
}

const shortened = (values: Json.JsonRecord, maxlen: number): Json.JsonRecord =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      typeof value === "string" && value.length > maxlen ? `${value.slice(0, maxlen)} [shortened]` : value
    ])
  )

// The last call of each predictor.
export const demosOf = ({ run }: Trajectory, maxlen: number): ReadonlyMap<string, Parameters.Demo> => {
  const trace = run.scored.trace ?? []
  return new Map(
    trace.filter(({ listed }) => listed).map(({ inputs, outputs, path }) => [
      path,
      Parameters.augmented({ ...shortened(inputs, maxlen), ...outputs })
    ])
  )
}

// -----------------------------------------------------------------------------
// The final
// -----------------------------------------------------------------------------

/** Of the winners of steps, the module as given first, so many spread over the whole run. */
export const finalists = <A>(winners: ReadonlyArray<A>, count: number): ReadonlyArray<A> =>
  Array.from(
    new Set(
      Array.from(
        { length: count },
        (_, index) => winners[Math.round((index * (winners.length - 1)) / Math.max(1, count - 1))]! // a place of the list
      )
    )
  )
