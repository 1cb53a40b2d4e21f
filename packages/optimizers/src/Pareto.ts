/**
 * `Pareto` keeps those candidates that are best at something. A candidate that
 * is worse on average may be the only one to get some examples right, and what
 * it knows is worth building on.
 *
 * After Agrawal et al., "GEPA: Reflective Prompt Evolution Can Outperform
 * Reinforcement Learning" (arXiv 2507.19457).
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import { mean } from "./internal/scores.ts"
import type { Scores } from "./Racing.ts"

/**
 * A candidate, by its place, and how many fronts it is in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Member {
  readonly candidate: number
  readonly fronts: number
}

/**
 * For every example the candidates that score best on it, by their places: all
 * of them where several are equal, none where no score is known. Candidates that
 * have no score there have no part in it.
 *
 * @example
 * ```ts
 * import * as Pareto from "@effect-dspy/optimizers/Pareto"
 *
 * assert.deepStrictEqual(Pareto.fronts([[1, 0, 0.5], [1, 1]]), [[0, 1], [1], [0]])
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const fronts = (candidates: ReadonlyArray<Scores>): ReadonlyArray<ReadonlyArray<number>> => {
  const examples = candidates.reduce((most, scores) => Math.max(most, scores.length), 0)
  return Array.from({ length: examples }, (_, example) => {
    let best = Number.NEGATIVE_INFINITY
    let front: Array<number> = []
    for (const [candidate, scores] of candidates.entries()) {
      const score = scores[example]
      if (score === undefined || score < best) continue
      if (score > best) front = []
      best = score
      front.push(candidate)
    }
    return front
  })
}

/**
 * The candidates without which some front would be empty, in their order. From
 * the worst mean upwards, and from the last of equals, a candidate goes if every
 * front it is in has somebody else left.
 *
 * @example
 * ```ts
 * import * as Pareto from "@effect-dspy/optimizers/Pareto"
 *
 * // The second is never alone at the top.
 * assert.deepStrictEqual(Pareto.members([[1, 0, 1], [1, 0, 0], [0, 1, 0]]), [
 *   { candidate: 0, fronts: 2 },
 *   { candidate: 2, fronts: 1 }
 * ])
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const members = (candidates: ReadonlyArray<Scores>): ReadonlyArray<Member> => {
  const all = fronts(candidates)
  const left = all.map((front) => front.length)
  const within = candidates.map((): Array<number> => [])
  for (const [example, front] of all.entries()) for (const candidate of front) within[candidate]!.push(example) // a place of one
  const means = candidates.map(mean)
  const gone = new Set<number>()
  // Once a candidate must stay it stays: nobody comes back into its fronts.
  const upwards = candidates.map((_, candidate) => candidate).sort((a, b) => means[a]! - means[b]! || b - a)
  for (const candidate of upwards) {
    const own = within[candidate]!
    if (own.some((example) => left[example] === 1)) continue
    gone.add(candidate)
    for (const example of own) left[example]!--
  }
  return within.flatMap((own, candidate) => gone.has(candidate) ? [] : [{ candidate, fronts: own.length }])
}

/**
 * One of the `members`, each as likely as it is in many fronts: `at`, from 0 up
 * to but not including 1, is the place on a line that they share. The place of
 * the candidate; undefined if no score is known at all.
 *
 * @since 0.1.0
 * @category destructors
 */
export const select: {
  (at: number): (candidates: ReadonlyArray<Scores>) => number | undefined
  (candidates: ReadonlyArray<Scores>, at: number): number | undefined
} = dual(2, (candidates: ReadonlyArray<Scores>, at: number): number | undefined => {
  const all = members(candidates)
  let rest = Math.floor(at * all.reduce((sum, { fronts }) => sum + fronts, 0))
  return all.find(({ fronts }) => (rest -= fronts) < 0)?.candidate
})
