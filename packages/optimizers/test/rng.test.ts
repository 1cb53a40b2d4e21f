import { assert, describe, it } from "@effect/vitest"
import * as rng from "../src/internal/rng.ts"

const numbers = (count: number, ...path: ReadonlyArray<string | number>) => {
  const generator = rng.at(...path)
  return Array.from({ length: count }, () => generator.below(1000))
}

describe("rng", () => {
  it("depends on the path alone", () => {
    assert.deepStrictEqual(numbers(5, 0, "a", 1), numbers(5, 0, "a", 1))
    const paths: ReadonlyArray<ReadonlyArray<string | number>> = [[0], [1], [0, "a"], [0, "b"], [0, "a", 1], [
      "0",
      "a",
      1
    ], [0, "a1"]]
    assert.strictEqual(new Set(paths.map((path) => numbers(3, ...path).join())).size, paths.length)
  })

  it("samples without repetition, each item as often as any other", () => {
    const items = [0, 1, 2, 3, 4]
    const counts = items.map(() => 0)
    for (let seed = 0; seed < 2000; seed++) {
      const sample = rng.at(seed).sample(items, 2)
      assert.strictEqual(new Set(sample).size, 2)
      for (const item of sample) counts[item]!++
    }
    // 800 each, with a standard deviation of 22.
    for (const count of counts) assert.approximately(count, 800, 110)
  })

  it("shuffles all items", () => {
    const items = Array.from({ length: 20 }, (_, index) => index)
    assert.sameMembers([...rng.at("x").shuffle(items)], items)
    assert.notDeepEqual(rng.at("x").shuffle(items), items)
    assert.deepStrictEqual(rng.at("x").sample(items, 100).length, 20)
  })

  it("draws numbers from 0 to 1, evenly", () => {
    const generator = rng.at("floats")
    const draws = Array.from({ length: 4000 }, () => generator.float())
    assert.isTrue(draws.every((draw) => draw >= 0 && draw < 1))
    assert.approximately(draws.filter((draw) => draw < 0.25).length, 1000, 110)
  })

  it("draws from the normal distribution", () => {
    const generator = rng.at("gaussian")
    const draws = Array.from({ length: 4000 }, () => generator.gaussian())
    assert.approximately(draws.reduce((sum, draw) => sum + draw, 0) / 4000, 0, 0.06)
    assert.approximately(draws.reduce((sum, draw) => sum + draw * draw, 0) / 4000, 1, 0.1)
    // 68.3 % are within one standard deviation.
    assert.approximately(draws.filter((draw) => Math.abs(draw) < 1).length, 2731, 120)
  })

  it("draws by weight", () => {
    const generator = rng.at("weighted")
    const counts = [0, 0, 0, 0]
    for (let draw = 0; draw < 4000; draw++) counts[generator.weighted([1, 0, 2, 5])]!++
    assert.approximately(counts[0]!, 500, 85)
    assert.strictEqual(counts[1], 0)
    assert.approximately(counts[2]!, 1000, 110)
    assert.approximately(counts[3]!, 2500, 125)
    assert.strictEqual(generator.weighted([0, 3, 0]), 1)
  })
})
