/**
 * Random numbers by place instead of by time: the same path always gives the
 * same generator, whatever else runs.
 */
import * as Json from "@effect-dspy/core/Json"
import { PCGRandom } from "effect/Utils"

export interface Rng {
  /** An integer in [0, bound). */
  readonly below: (bound: number) => number
  /** A number in [0, 1). */
  readonly float: () => number
  /** A number of the standard normal distribution. */
  readonly gaussian: () => number
  /** An index, each as often as its weight says. */
  readonly weighted: (weights: ReadonlyArray<number>) => number
  readonly shuffle: <A>(items: ReadonlyArray<A>) => ReadonlyArray<A>
  /** `count` different items, or all of them, in random order. */
  readonly sample: <A>(items: ReadonlyArray<A>, count: number) => ReadonlyArray<A>
}

export const at = (...path: ReadonlyArray<string | number>): Rng => {
  const digest = Json.hash(path)
  const generator = new PCGRandom(parseInt(digest.slice(0, 8), 16), parseInt(digest.slice(8, 16), 16))
  const below = (bound: number) => generator.integer(bound)
  const float = () => generator.number()
  // Box and Muller; 1 - [0, 1) is never 0, whose logarithm is none.
  const gaussian = () => Math.sqrt(-2 * Math.log(1 - float())) * Math.cos(2 * Math.PI * float())
  const weighted = (weights: ReadonlyArray<number>) => {
    const point = float() * weights.reduce((sum, weight) => sum + weight, 0)
    let sum = 0
    const index = weights.findIndex((weight) => (sum += weight) > point)
    // Rounding may leave the last bit uncovered.
    return index === -1 ? weights.findLastIndex((weight) => weight > 0) : index
  }
  const sample = <A>(items: ReadonlyArray<A>, count: number): ReadonlyArray<A> => {
    const pool = Array.from(items)
    const end = Math.min(count, pool.length)
    for (let index = 0; index < end; index++) {
      const other = index + below(pool.length - index)
      const item = pool[index]! // both are within the pool
      pool[index] = pool[other]!
      pool[other] = item
    }
    return pool.slice(0, end)
  }
  return { below, float, gaussian, weighted, sample, shuffle: (items) => sample(items, items.length) }
}
