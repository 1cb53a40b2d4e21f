/**
 * Means of scores some of which are unknown, with their intervals.
 */
import type { Estimate } from "../Optimizer.ts"
import * as rng from "./rng.ts"

type Scores = ReadonlyArray<number | undefined>

const resamples = 1000

/** By the percentile bootstrap, always with the same generator. */
export const estimate = (scores: Scores): Estimate => {
  const known = scores.filter((score) => score !== undefined)
  const n = known.length
  const unknown = scores.length - n
  if (n === 0) return { mean: 0, interval: { lower: 0, upper: 1 }, n, unknown }
  const generator = rng.at("interval", n)
  const means = Array.from({ length: resamples }, () => {
    let sum = 0
    for (let draw = 0; draw < n; draw++) sum += known[generator.below(n)]! // below n
    return sum / n
  }).sort((a, b) => a - b)
  return {
    mean: mean(known),
    interval: { lower: means[Math.floor(0.025 * resamples)]!, upper: means[Math.ceil(0.975 * resamples) - 1]! },
    n,
    unknown
  }
}

/** Per example; unknown where either is. */
export const differences = (a: Scores, b: Scores): Scores =>
  a.map((score, index) => {
    const other = b[index]
    return score === undefined || other === undefined ? undefined : score - other
  })

/** Whether one is better than the other on the examples known for both. */
export const beats = (a: Scores, b: Scores): boolean => mean(differences(a, b)) > 0

/** Of what is known; 0 if nothing is. */
export const mean = (scores: Scores): number => {
  const known = scores.filter((score) => score !== undefined)
  return known.length === 0 ? 0 : known.reduce((sum, score) => sum + score, 0) / known.length
}
