/**
 * A model of how good combinations of choices are, from scores on blocks of
 * examples: a score is what its block is like, plus an effect of each choice,
 * plus one of the combination itself. Effects are drawn together where little
 * is known of them (Bayesian ridge regression); draws from what is believed
 * (Thompson sampling) say what is worth trying.
 */
import type { Rng } from "../rng.ts"

/** A choice in each dimension. */
export type Combination = ReadonlyArray<number>

/** Scores of a combination on the known examples of a block. */
export interface Observation {
  readonly combination: Combination
  readonly block: number
  readonly scores: ReadonlyArray<number>
}

/** What combinations may be worth: a belief about it, or the mean of all beliefs. */
export interface Belief {
  /** An effect for each choice of each dimension. */
  readonly effects: ReadonlyArray<ReadonlyArray<number>>
  readonly worth: (combination: Combination) => number
}

export interface Posterior {
  readonly mean: Belief
  readonly draw: (rng: Rng) => Belief
}

export const key = (combination: Combination): string => combination.join()

// How far apart effects may be, from hardly at all to what decides everything: the one that explains the scores best.
const spreads = [0.02, 0.05, 0.1, 0.2, 0.4]

// Interactions are taken to be half as large as the effects they modify.
const interaction = 0.5

// Blocks may be anything.
const blockVariance = 1

export const fit = (space: ReadonlyArray<number>, observations: ReadonlyArray<Observation>): Posterior => {
  const known = observations.filter(({ scores }) => scores.length > 0)
  const noise = variance(known)
  const columns = layout(space, known)
  const center = mean(known.map(({ scores }) => mean(scores)))
  const rows = known.map(({ block, combination, scores }): Row => ({
    at: columns.at(combination, block),
    own: columns.own(combination)!, // it is among the known
    weight: scores.length / noise,
    value: mean(scores) - center
  }))
  const best = spreads.map((spread) => solve(rows, columns.count, columns.prior(spread)))
    .reduce((best, next) => next.evidence > best.evidence ? next : best)
  const belief = (effects: Effects, unseen: (combination: Combination) => number): Belief => {
    const mains = columns.mains.map((column, dimension) =>
      Array.from(effects.shared.subarray(column, column + space[dimension]!)) // one column for each choice
    )
    return {
      effects: mains,
      worth: (combination) => {
        const own = columns.own(combination)
        return combination.reduce((sum, choice, dimension) => sum + mains[dimension]![choice]!, 0) + // of the space
          (own === undefined ? unseen(combination) : effects.own[own]!) // of the columns
      }
    }
  }
  return {
    mean: belief(best.mean, () => 0),
    draw: (rng) => {
      const effects = best.draw(rng)
      // The effect of a combination that was not tried is drawn when somebody asks for it, once.
      const drawn = new Map<string, number>()
      return belief(effects, (combination) => {
        const before = drawn.get(key(combination))
        if (before !== undefined) return before
        const effect = rng.gaussian() * Math.sqrt(best.ownVariance)
        drawn.set(key(combination), effect)
        return effect
      })
    }
  }
}

/** Combinations from the one with the largest sum of effects on. */
export function* descending(effects: ReadonlyArray<ReadonlyArray<number>>): Generator<Combination> {
  const sorted = effects.map((row) =>
    row.map((effect, choice) => ({ effect, choice })).sort((a, b) => b.effect - a.effect || a.choice - b.choice)
  )
  const sum = (ranks: ReadonlyArray<number>) =>
    ranks.reduce((sum, rank, dimension) => sum + sorted[dimension]![rank]!.effect, 0) // ranks of the rows
  const start = sorted.map(() => 0)
  const seen = new Set([start.join()])
  const open = [{ ranks: start, sum: sum(start) }]
  while (open.length > 0) {
    const next = open.reduce((best, each, index) => each.sum > open[best]!.sum ? index : best, 0)
    const { ranks } = open.splice(next, 1)[0]! // there is one
    yield ranks.map((rank, dimension) => sorted[dimension]![rank]!.choice)
    for (const [dimension, rank] of ranks.entries()) {
      if (rank + 1 >= sorted[dimension]!.length) continue
      const after = ranks.with(dimension, rank + 1)
      if (seen.has(after.join())) continue
      seen.add(after.join())
      open.push({ ranks: after, sum: sum(after) })
    }
  }
}

// -----------------------------------------------------------------------------
// Columns
// -----------------------------------------------------------------------------

// What combinations share, the effects of choices and then of blocks; and apart from it the effect of each combination.
const layout = (space: ReadonlyArray<number>, observations: ReadonlyArray<Observation>) => {
  const mains: Array<number> = []
  let choices = 0
  for (const count of space) {
    mains.push(choices)
    choices += count
  }
  const owns = new Map<string, number>()
  const blocks = new Map<number, number>()
  for (const { block, combination } of observations) {
    if (!owns.has(key(combination))) owns.set(key(combination), owns.size)
    if (!blocks.has(block)) blocks.set(block, choices + blocks.size)
  }
  return {
    mains,
    count: { shared: choices + blocks.size, own: owns.size },
    own: (combination: Combination) => owns.get(key(combination)),
    at: (combination: Combination, block: number): ReadonlyArray<number> => [
      ...combination.map((choice, dimension) => mains[dimension]! + choice), // one for each dimension
      blocks.get(block)! // listed above
    ],
    prior: (spread: number): Prior => ({
      shared: (column) => column < choices ? spread ** 2 : blockVariance,
      own: (spread * interaction) ** 2
    })
  }
}

// -----------------------------------------------------------------------------
// Regression
// -----------------------------------------------------------------------------

interface Row {
  /** The shared columns that are 1. */
  readonly at: ReadonlyArray<number>
  readonly own: number
  readonly weight: number
  readonly value: number
}

/** Variances before anything is known. */
interface Prior {
  readonly shared: (column: number) => number
  readonly own: number
}

interface Effects {
  readonly shared: Float64Array
  readonly own: Float64Array
}

interface Solved {
  readonly mean: Effects
  readonly draw: (rng: Rng) => Effects
  /** The probability of the scores as a logarithm, up to what is the same for all priors. */
  readonly evidence: number
  readonly ownVariance: number
}

// The effects of combinations do not meet each other in any row, so that they are eliminated one by one, and what
// remains to be solved does not grow with their number.
const solve = (
  rows: ReadonlyArray<Row>,
  count: { readonly shared: number; readonly own: number },
  prior: Prior
): Solved => {
  const size = count.shared
  // How precisely effects are known, and what the scores say about them.
  const precision = new Float64Array(size * size)
  const said = new Float64Array(size)
  const ownPrecision = new Float64Array(count.own).fill(1 / prior.own)
  const ownSaid = new Float64Array(count.own)
  // How much each own effect has to do with the shared ones.
  const ties = Array.from({ length: count.own }, () => new Map<number, number>())
  let surprise = 0
  for (const { at, own, value, weight } of rows) {
    surprise += weight * value * value
    ownPrecision[own]! += weight
    ownSaid[own]! += weight * value
    const tie = ties[own]! // one for each
    for (const column of at) {
      said[column]! += weight * value
      tie.set(column, (tie.get(column) ?? 0) + weight)
      for (const other of at) precision[column * size + other]! += weight
    }
  }
  let explained = 0
  let volume = count.own * Math.log(prior.own)
  for (let column = 0; column < size; column++) {
    precision[column * size + column]! += 1 / prior.shared(column)
    volume += Math.log(prior.shared(column))
  }
  for (const [own, tie] of ties.entries()) {
    const certain = ownPrecision[own]! // one for each
    const about = ownSaid[own]! // as well
    explained += about * about / certain
    volume += Math.log(certain)
    for (const [column, weight] of tie) {
      said[column]! -= weight * about / certain
      for (const [other, more] of tie) precision[column * size + other]! -= weight * more / certain
    }
  }
  const root = cholesky(precision, size)
  const mean = backward(root, forward(root, said, size), size)
  for (let column = 0; column < size; column++) {
    explained += mean[column]! * said[column]!
    volume += 2 * Math.log(root[column * size + column]!)
  }
  const own = (shared: Float64Array, off: () => number) =>
    Float64Array.from(ties, (tie, index) => {
      let about = ownSaid[index]! // one for each
      for (const [column, weight] of tie) about -= weight * shared[column]!
      return about / ownPrecision[index]! + off() / Math.sqrt(ownPrecision[index]!)
    })
  return {
    mean: { shared: mean, own: own(mean, () => 0) },
    draw: (rng) => {
      const off = backward(root, Float64Array.from(mean, () => rng.gaussian()), size)
      const shared = mean.map((effect, column) => effect + off[column]!)
      return { shared, own: own(shared, () => rng.gaussian()) }
    },
    evidence: -0.5 * (surprise - explained + volume),
    ownVariance: prior.own
  }
}

// Lower triangle, row by row.
const cholesky = (matrix: Float64Array, size: number): Float64Array => {
  const root = new Float64Array(size * size)
  for (let row = 0; row < size; row++) {
    for (let column = 0; column <= row; column++) {
      let sum = matrix[row * size + column]!
      for (let k = 0; k < column; k++) sum -= root[row * size + k]! * root[column * size + k]!
      root[row * size + column] = row === column ? Math.sqrt(sum) : sum / root[column * size + column]!
    }
  }
  return root
}

const forward = (root: Float64Array, values: Float64Array, size: number): Float64Array => {
  const solved = new Float64Array(size)
  for (let row = 0; row < size; row++) {
    let sum = values[row]!
    for (let k = 0; k < row; k++) sum -= root[row * size + k]! * solved[k]!
    solved[row] = sum / root[row * size + row]!
  }
  return solved
}

const backward = (root: Float64Array, values: Float64Array, size: number): Float64Array => {
  const solved = new Float64Array(size)
  for (let row = size - 1; row >= 0; row--) {
    let sum = values[row]!
    for (let k = row + 1; k < size; k++) sum -= root[k * size + row]! * solved[k]!
    solved[row] = sum / root[row * size + row]!
  }
  return solved
}

// -----------------------------------------------------------------------------
// Statistics
// -----------------------------------------------------------------------------

const mean = (values: ReadonlyArray<number>): number =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length

// Of single scores within a block. Where all are equal, there may still be others.
const least = 0.01

const variance = (observations: ReadonlyArray<Observation>): number => {
  let squares = 0
  let freedom = 0
  for (const { scores } of observations) {
    const center = mean(scores)
    squares += scores.reduce((sum, score) => sum + (score - center) ** 2, 0)
    freedom += scores.length - 1
  }
  return freedom === 0 ? 0.25 : Math.max(least, squares / freedom)
}
