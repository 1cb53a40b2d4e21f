/**
 * `Racing` decides which of two candidates is better before all examples are
 * paid for. Candidates are measured on the same examples in the same order, so
 * that what an example is like does not count, only the difference between two
 * scores on it. Scores are from 0 to 1; one that is not known, because it was not
 * measured or the model failed, is `undefined`.
 *
 * @since 0.1.0
 */

/**
 * Scores by example, in an order that all candidates have in common.
 *
 * @since 0.1.0
 * @category models
 */
export type Scores = ReadonlyArray<number | undefined>

// =============================================================================
// Differences
// =============================================================================

/**
 * What is known of the difference between two candidates: its `mean` on the
 * `compared` examples, which both have a score for (0 if there is none), and the
 * `least` and the `most` that the mean on all examples can still become.
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference {
  readonly compared: number
  readonly mean: number
  readonly least: number
  readonly most: number
}

/**
 * Challenger minus leader. An example that only one of them has been measured
 * on narrows what is possible too: beside a leader that has 1 there, the
 * challenger can gain nothing. `total` is the number of all examples, the longer
 * of the two lists by default.
 *
 * @since 0.1.0
 * @category destructors
 */
export const difference = (
  challenger: Scores,
  leader: Scores,
  options: { readonly total?: number | undefined } = {}
): Difference => {
  const total = options.total ?? Math.max(challenger.length, leader.length)
  let compared = 0
  let sum = 0
  let least = 0
  let most = 0
  for (let index = 0; index < total; index++) {
    const own = challenger[index]
    const other = leader[index]
    if (own !== undefined && other !== undefined) {
      compared++
      sum += own - other
    }
    least += (own ?? 0) - (other ?? 1)
    most += (own ?? 1) - (other ?? 0)
  }
  return {
    compared,
    mean: compared === 0 ? 0 : sum / compared,
    least: total === 0 ? 0 : least / total,
    most: total === 0 ? 0 : most / total
  }
}

/**
 * Whether the challenger cannot become better than the leader even if it gets
 * all that is left. This is arithmetic, and never wrong.
 *
 * @example
 * ```ts
 * import * as Racing from "@effect-dspy/optimizers/Racing"
 *
 * // Two behind, with two to go.
 * assert.ok(Racing.cannotWin([0, 0, 1], [1, 1, 1], { total: 5 }))
 * assert.ok(!Racing.cannotWin([0, 0, 1], [1, 1, 1], { total: 6 }))
 * // The leader has them right already.
 * assert.ok(Racing.cannotWin([1], [1, 1, 1]))
 * ```
 *
 * @since 0.1.0
 * @category decisions
 */
export const cannotWin = (
  challenger: Scores,
  leader: Scores,
  options: { readonly total?: number | undefined } = {}
): boolean => difference(challenger, leader, options).most <= slack

// What sums of fractions may be off.
const slack = 1e-9

// =============================================================================
// Evidence
// =============================================================================

// Shares of the largest stake, one bettor each: a small one sees small differences, a large one soon sees large ones.
const stakes = [1, 2, 3, 4, 5, 6, 7, 8].map((share) => share / 9)

/**
 * How strongly differences from -1 to 1, the first of `total` in random order,
 * speak against a mean of all that is 0 or less: the capital of somebody who
 * began with 1 and kept betting against it on fair terms. If the mean is 0 or
 * less, a capital of `1 / a` is reached, at any time at all, with a probability
 * of at most `a`; so one may look after every example. Infinite where it is
 * certain.
 *
 * @see Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 86, 2024), section 5
 *
 * @since 0.1.0
 * @category decisions
 */
export const evidence = (differences: ReadonlyArray<number>, total: number): number => {
  const capitals = stakes.map(() => 1)
  let largest = 1
  let sum = 0
  for (const [index, difference] of differences.entries()) {
    // What the rest would be on average, were the mean of all 0. Drawing without replacement, it moves.
    const expected = -sum / (total - index)
    if (expected < -1) return Number.POSITIVE_INFINITY
    // With 1 as the mean of the rest there is nothing left to bet on.
    if (expected >= 1) return largest
    for (const [bettor, share] of stakes.entries()) {
      // The largest stake that cannot be lost more than once over is 1 / (expected + 1).
      capitals[bettor]! *= 1 + (share * (difference - expected)) / (expected + 1 + slack)
    }
    largest = Math.max(largest, capitals.reduce((all, capital) => all + capital, 0) / capitals.length)
    sum += difference
  }
  return sum > total - differences.length + slack ? Number.POSITIVE_INFINITY : largest
}

/**
 * Whether the challenger will be better than the leader on all `total`
 * examples. `wins` and `loses` are certain by arithmetic, or else wrong with a
 * probability of at most `1 - confidence` (0.95 by default), however often one
 * asks while scores come in. Not to be better is to lose.
 *
 * That holds if the order of the examples is random and was not chosen by what
 * is known of the scores.
 *
 * @example
 * ```ts
 * import * as Racing from "@effect-dspy/optimizers/Racing"
 *
 * const leader = Array.from({ length: 24 }, () => 1)
 * const challenger = leader.map((_, index) => index % 3 === 0 ? 1 : 0)
 *
 * assert.strictEqual(Racing.verdict(challenger.slice(0, 8), leader.slice(0, 8), { total: 100 }), "open")
 * assert.strictEqual(Racing.verdict(challenger, leader, { total: 100 }), "loses")
 * assert.strictEqual(Racing.verdict(leader, challenger, { total: 100 }), "wins")
 * ```
 *
 * @since 0.1.0
 * @category decisions
 */
export const verdict = (
  challenger: Scores,
  leader: Scores,
  options: { readonly total?: number | undefined; readonly confidence?: number | undefined } = {}
): "wins" | "loses" | "open" => {
  const total = options.total ?? Math.max(challenger.length, leader.length)
  const { least, most } = difference(challenger, leader, { total })
  if (most <= slack) return "loses"
  if (least > slack) return "wins"
  const enough = 1 / (1 - (options.confidence ?? 0.95))
  const differences: Array<number> = []
  for (let index = 0; index < total; index++) {
    const own = challenger[index]
    const other = leader[index]
    if (own !== undefined && other !== undefined) differences.push(own - other)
  }
  if (evidence(differences, total) >= enough) return "wins"
  return evidence(differences.map((difference) => -difference), total) >= enough ? "loses" : "open"
}

// =============================================================================
// Halving
// =============================================================================

/**
 * One round of a race: so many contenders, each on the first so many examples.
 *
 * @since 0.1.0
 * @category models
 */
export interface Round {
  readonly contenders: number
  readonly examples: number
}

/**
 * The rounds of a race in which the worse half leaves after each, and those that
 * stay see twice as many examples, so that all rounds cost about the same. The
 * last one is of two contenders on all `total` examples, or of one if there is
 * but one. Examples come in whole blocks, of 1 by default.
 *
 * @see Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits" (ICML 2013)
 *
 * @example
 * ```ts
 * import * as Racing from "@effect-dspy/optimizers/Racing"
 *
 * assert.deepStrictEqual(Racing.halving({ contenders: 7, total: 100, block: 8 }), [
 *   { contenders: 7, examples: 32 },
 *   { contenders: 4, examples: 56 },
 *   { contenders: 2, examples: 100 }
 * ])
 * ```
 *
 * @since 0.1.0
 * @category decisions
 */
export const halving = (options: {
  readonly contenders: number
  readonly total: number
  readonly block?: number | undefined
}): ReadonlyArray<Round> => {
  const { block = 1, contenders, total } = options
  if (contenders < 1 || total < 1) return []
  const fields = [contenders]
  while (fields.at(-1)! > 2) fields.push(Math.ceil(fields.at(-1)! / 2)) // never empty
  return fields.map((contenders, round) => ({
    contenders,
    examples: Math.min(total, block * Math.ceil(total / 2 ** (fields.length - 1 - round) / block))
  }))
}
