import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import * as surrogate from "../src/internal/mipro/surrogate.ts"
import * as rng from "../src/internal/rng.ts"

const space = [4, 5]

// What each choice adds to one half; blocks differ by more than choices do.
const effects = [[0, 0.15, -0.1, 0.05], [0, -0.1, 0.3, 0.05, -0.05]]

const observe = (
  combinations: ReadonlyArray<surrogate.Combination>,
  own: (combination: surrogate.Combination) => number
) =>
  combinations.map((combination, index): surrogate.Observation => {
    const block = Math.floor(index / 4)
    const chance = 0.5 + own(combination) +
      combination.reduce((sum, choice, dimension) => sum + effects[dimension]![choice]!, 0) +
      (block % 2 === 0 ? 0.1 : -0.1)
    const generator = rng.at("scores", index)
    return { combination, block, scores: Array.from({ length: 8 }, () => generator.float() < chance ? 1 : 0) }
  })

const all = space[0]! * space[1]!
const every = Array.from({ length: all }, (_, index) => [index % 4, Math.floor(index / 4)])

describe("surrogate", () => {
  it("pools what is known of a choice over all combinations", () => {
    // Three blocks each, too few to tell one combination from another, enough for choices.
    const tried = Array.from({ length: 60 }, (_, index) => every[(index * 7) % all]!)
    const { mean } = surrogate.fit(space, observe(tried, () => 0))
    assert.strictEqual(mean.effects[0]!.indexOf(Math.max(...mean.effects[0]!)), 1)
    assert.strictEqual(mean.effects[1]!.indexOf(Math.max(...mean.effects[1]!)), 2)
    // Beliefs are drawn together, never apart.
    for (const [dimension, row] of mean.effects.entries()) {
      for (const effect of row) {
        assert.isBelow(Math.abs(effect), 1.2 * Math.max(...effects[dimension]!.map(Math.abs)) + 0.05)
      }
    }
  })

  it("sees a combination that is better than its parts", () => {
    const tried = Array.from({ length: 80 }, (_, index) => every[(index * 7) % all]!)
    const odd = (combination: surrogate.Combination) => combination[0] === 2 && combination[1] === 1 ? 0.6 : 0
    const worth = (own: typeof odd) => surrogate.fit(space, observe(tried, own)).mean.worth([2, 1])
    assert.isAbove(worth(odd), worth(() => 0) + 0.1)
  })

  it("draws from what may be, which is the less the more is known", () => {
    const spread = (rounds: number) => {
      const tried = Array.from({ length: rounds * all }, (_, index) => every[(index * 7) % all]!)
      const posterior = surrogate.fit(space, observe(tried, () => 0))
      // Only differences of effects are ever known.
      const worths = Array.from({ length: 200 }, (_, draw) => {
        const [first, second] = posterior.draw(rng.at("draw", draw)).effects[0]!
        return second! - first!
      })
      const center = worths.reduce((sum, worth) => sum + worth, 0) / worths.length
      return Math.sqrt(worths.reduce((sum, worth) => sum + (worth - center) ** 2, 0) / worths.length)
    }
    assert.isBelow(spread(24), 0.75 * spread(3))
    const posterior = surrogate.fit(space, observe(every, () => 0))
    assert.deepStrictEqual(posterior.draw(rng.at("draw")).effects, posterior.draw(rng.at("draw")).effects)
    // Asked twice, a belief says the same.
    const belief = surrogate.fit(space, observe(every.slice(0, 4), () => 0)).draw(rng.at("draw"))
    assert.strictEqual(belief.worth([3, 4]), belief.worth([3, 4]))
  })

  it("knows nothing where nothing is known", () => {
    const { mean } = surrogate.fit(space, [{ combination: [0, 0], block: 0, scores: [] }])
    assert.deepStrictEqual(mean.effects, space.map((choices) => Array.from({ length: choices }, () => 0)))
    assert.strictEqual(mean.worth([3, 4]), 0)
  })

  it("counts down all combinations by what their effects add up to", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(
          FastCheck.array(FastCheck.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 4 }),
          { minLength: 1, maxLength: 3 }
        ),
        (effects) => {
          const combinations = Array.from(surrogate.descending(effects))
          const sum = (combination: surrogate.Combination) =>
            combination.reduce((sum, choice, dimension) => sum + effects[dimension]![choice]!, 0)
          assert.strictEqual(combinations.length, effects.reduce((product, row) => product * row.length, 1))
          assert.strictEqual(new Set(combinations.map(surrogate.key)).size, combinations.length)
          const sums = combinations.map(sum)
          assert.deepStrictEqual(sums, sums.toSorted((a, b) => b - a))
        }
      ),
      { seed: 3 }
    )
  })
})
