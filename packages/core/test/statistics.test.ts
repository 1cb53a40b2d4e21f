import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import { PCGRandom } from "effect/Utils"
import { interval, mean, pValue } from "../src/internal/statistics.ts"

const unit = { range: { lower: 0, upper: 1 }, confidence: 0.95 }

const draws = (random: PCGRandom, n: number, p: number) => Array.from({ length: n }, () => random.number() < p ? 1 : 0)

describe("interval", () => {
  it("holds the true mean about as often as it says", () => {
    const random = new PCGRandom(5)
    for (const [n, p] of [[20, 0.5], [50, 0.8], [100, 0.9]] as const) {
      let held = 0
      for (let trial = 0; trial < 150; trial++) {
        const { lower, upper } = interval(draws(random, n, p), { ...unit, seed: trial })
        if (lower <= p + 1e-9 && p <= upper + 1e-9) held++
      }
      // 95 % of 150 is 142.5, with a standard deviation of 2.7.
      assert.isAtLeast(held, 134, `${n} draws of ${p}`)
    }
  })

  it("is as wide as theory has it", () => {
    // 40 % of 400: the normal approximation is 0.4 ± 1.96 · √(0.4 · 0.6 / 400) = 0.4 ± 0.048.
    const values = Array.from({ length: 400 }, (_, index) => index % 5 < 2 ? 1 : 0)
    const { lower, upper } = interval(values, { ...unit, seed: 1 })
    assert.closeTo(lower, 0.352, 0.006)
    assert.closeTo(upper, 0.448, 0.006)
    const narrow = interval(values, { ...unit, confidence: 0.5, seed: 1 })
    assert.closeTo(narrow.upper - narrow.lower, 2 * 0.6745 * Math.sqrt(0.24 / 400), 0.006)
  })

  it("of values all the same is that of what may have gone unseen", () => {
    assert.deepStrictEqual(interval([], { ...unit, seed: 1 }), { lower: 0, upper: 1 })
    // The exact (Clopper-Pearson) bound for n successes of n is (α/2)^(1/n).
    for (const n of [1, 10, 100]) {
      const { lower, upper } = interval(Array<number>(n).fill(1), { ...unit, seed: 1 })
      assert.closeTo(lower, 0.025 ** (1 / n), 1e-12)
      assert.strictEqual(upper, 1)
    }
    const differences = interval([0, 0, 0, 0], { range: { lower: -1, upper: 1 }, confidence: 0.95, seed: 1 })
    assert.closeTo(differences.lower, -differences.upper, 1e-12)
    assert.isAbove(differences.upper, 0.5)
  })

  it("contains the mean, stays in range, and depends on values and seed only", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.constantFrom(0, 0.1, 0.25, 0.5, 1), { minLength: 1, maxLength: 30 }),
        FastCheck.nat(),
        (values, seed) => {
          const { lower, upper } = interval(values, { ...unit, seed })
          assert.isTrue(
            -1e-12 <= lower && lower <= mean(values) + 1e-12 && mean(values) <= upper + 1e-12 && upper <= 1 + 1e-12
          )
          assert.deepStrictEqual(interval(values, { ...unit, seed }), { lower, upper })
        }
      ),
      { seed: 3, numRuns: 60 }
    )
  })
})

describe("pValue", () => {
  // All ways to toss the signs, counted out.
  const exact = (differences: ReadonlyArray<number>) => {
    const observed = Math.abs(differences.reduce((sum, d) => sum + d, 0)) - 1e-9
    let asFar = 0
    for (let signs = 0; signs < 2 ** differences.length; signs++) {
      const sum = differences.reduce((sum, d, index) => sum + ((signs >> index) & 1 ? d : -d), 0)
      if (Math.abs(sum) >= observed) asFar++
    }
    return asFar / 2 ** differences.length
  }

  it("is that of all sign changes", () => {
    for (const differences of [[1, 1, 1, 1, 1], [1, 1, 1, -1, 1, 1, 1], [0.1, 0.2, 0.3, -0.4], [0.5, -0.5], [1]]) {
      assert.closeTo(pValue(differences, 7), exact(differences), 0.035)
    }
  })

  it("takes no side", () => {
    assert.strictEqual(pValue([0.3, -0.1, 0.2], 1), pValue([-0.3, 0.1, -0.2], 1))
    assert.strictEqual(pValue([0.3, 0, -0.1, 0, 0.2], 1), pValue([0.3, -0.1, 0.2], 1))
    assert.strictEqual(pValue([], 1), 1)
    assert.strictEqual(pValue([0, 0, 0], 1), 1)
  })

  it("is small as often as chance has it when there is no difference", () => {
    const random = new PCGRandom(8)
    let small = 0
    for (let trial = 0; trial < 200; trial++) {
      if (pValue(Array.from({ length: 25 }, () => random.number() - 0.5), trial) <= 0.1) small++
    }
    // 10 % of 200 is 20, with a standard deviation of 4.2.
    assert.isTrue(small >= 8 && small <= 33, String(small))
  })

  it("is never 0", () => {
    assert.isTrue(pValue(Array<number>(200).fill(1), 1) > 0)
  })
})
