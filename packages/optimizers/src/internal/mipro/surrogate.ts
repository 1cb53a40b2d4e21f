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
  const rows = known.map(({ block, combination, scores }) => ({
    at: columns.of(combination, block),
    weight: scores.length / noise,
    value: mean(scores)
  }))
  const center = mean(rows.map(({ value }) => value))
  const solved = spreads.map((spread) => solve(rows, center, columns.variances(spread)))
  const best = solved.reduce((best, next) => next.evidence > best.evidence ? next : best)
  const belief = (effects: ReadonlyArray<number>, unseen: (combination: Combination) => number): Belief => {
    const mains = columns.mains.map((column, dimension) => effects.slice(column, column + space[dimension]!)) // one each
    return {
      effects: mains,
      worth: (combination) => {
        const own = columns.own(combination)
        return combination.reduce((sum, choice, dimension) => sum + mains[dimension]![choice]!, 0) + // of the space
          (own === undefined ? unseen(combination) : effects[own]!) // of the columns
      }
    }
  }
  return {
    mean: belief(best.mean, () => 0),
    draw: (rng) => {
      const effects = best.draw(rng)
      // What is known of no combination is drawn once for each that somebody asks about.
      const drawn = new Map<string, number>()
      return belief(effects, (combination) => {
        const id = key(combination)
        const before = drawn.get(id)
        if (before !== undefined) return before
        const effect = rng.gaussian() * Math.sqrt(best.ownVariance)
        drawn.set(id, effect)
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

// Effects of choices, then of combinations, then of blocks.
const layout = (space: ReadonlyArray<number>, observations: ReadonlyArray<Observation>) => {
  const mains: Array<number> = []
  let count = 0
  for (const choices of space) {
    mains.push(count)
    count += choices
  }
  const owns = new Map<string, number>()
  for (const { combination } of observations) {
    if (!owns.has(key(combination))) owns.set(key(combination), count++)
  }
  const blocks = new Map<number, number>()
  for (const { block } of observations) {
    if (!blocks.has(block)) blocks.set(block, count++)
  }
  return {
    mains,
    own: (combination: Combination) => owns.get(key(combination)),
    of: (combination: Combination, block: number): ReadonlyArray<number> => [
      ...combination.map((choice, dimension) => mains[dimension]! + choice), // one for each dimension
      owns.get(key(combination))!, // listed above
      blocks.get(block)! // as well
    ],
    variances: (spread: number) => {
      const total = spread * spread
      const own = total * interaction * interaction
      return {
        own,
        all: Array.from(
          { length: count },
          (_, column) =>
            column < count - blocks.size - owns.size ? total : column < count - blocks.size ? own : blockVariance
        )
      }
    }
  }
}

// -----------------------------------------------------------------------------
// Regression
// -----------------------------------------------------------------------------

interface Row {
  /** The columns that are 1. */
  readonly at: ReadonlyArray<number>
  readonly weight: number
  readonly value: number
}

interface Solved {
  readonly mean: ReadonlyArray<number>
  readonly draw: (rng: Rng) => ReadonlyArray<number>
  readonly evidence: number
  readonly ownVariance: number
}

const solve = (
  rows: ReadonlyArray<Row>,
  center: number,
  variances: { readonly own: number; readonly all: ReadonlyArray<number> }
): Solved => {
  const size = variances.all.length
  // The precision of all effects, and what the scores say about them.
  const precision = new Float64Array(size * size)
  const said = new Float64Array(size)
  for (const [column, variance] of variances.all.entries()) precision[column * size + column] = 1 / variance
  let surprise = 0
  for (const { at, value, weight } of rows) {
    const off = value - center
    surprise += weight * off * off
    for (const column of at) {
      said[column]! += weight * off
      for (const other of at) precision[column * size + other]! += weight
    }
  }
  const root = cholesky(precision, size)
  const mean = backward(root, forward(root, said, size), size)
  let logDeterminant = 0
  for (let column = 0; column < size; column++) {
    logDeterminant += 2 * Math.log(root[column * size + column]!) + Math.log(variances.all[column]!)
  }
  const explained = mean.reduce((sum, effect, column) => sum + effect * said[column]!, 0)
  return {
    mean: Array.from(mean),
    draw: (rng) => {
      const off = backward(root, Float64Array.from(mean, () => rng.gaussian()), size)
      return Array.from(mean, (effect, column) => effect + off[column]!)
    },
    // The probability of the scores, up to what is the same for all variances.
    evidence: -0.5 * (surprise - explained + logDeterminant),
    ownVariance: variances.own
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
