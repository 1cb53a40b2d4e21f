import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import { batches } from "../src/internal/epochs.ts"

const take = (count: number, size: number, epochs: number, seed = 0) => {
  const at = batches({ count, size, seed })
  const perEpoch = Math.ceil(count / Math.min(size, count))
  return Array.from(
    { length: epochs },
    (_, epoch) => Array.from({ length: perEpoch }, (_, index) => at(epoch * perEpoch + index))
  )
}

describe("batches", () => {
  it("hold every example once in each epoch, in an order of its own", () => {
    const [first, second] = take(12, 3, 2)
    for (const epoch of [first!, second!]) {
      assert.deepStrictEqual(epoch.map((batch) => batch.length), [3, 3, 3, 3])
      assert.deepStrictEqual(epoch.flat().toSorted((a, b) => a - b), Array.from({ length: 12 }, (_, place) => place))
    }
    assert.notDeepEqual(first, second)
    assert.notDeepEqual(take(12, 3, 1, 1)[0], first)
  })

  it("are filled up with what has been used least so far", () => {
    const used = new Map<number, number>()
    for (const epoch of take(7, 3, 6)) {
      assert.deepStrictEqual(epoch.map((batch) => batch.length), [3, 3, 3])
      for (const place of epoch.flat()) used.set(place, (used.get(place) ?? 0) + 1)
      const counts = Array.from({ length: 7 }, (_, place) => used.get(place) ?? 0)
      assert.isAtMost(Math.max(...counts) - Math.min(...counts), 1)
    }
  })

  it("never hold an example twice, and do not depend on the order they are asked for", () =>
    FastCheck.assert(
      FastCheck.property(
        FastCheck.integer({ min: 1, max: 20 }),
        FastCheck.integer({ min: 1, max: 8 }),
        FastCheck.integer({ min: 0, max: 30 }),
        (count, size, index) => {
          const batch = batches({ count, size, seed: 5 })(index)
          assert.strictEqual(batch.length, Math.min(size, count))
          assert.strictEqual(new Set(batch).size, batch.length)
          const again = batches({ count, size, seed: 5 })
          for (let before = 0; before < index; before++) again(before)
          assert.deepStrictEqual(again(index), batch)
        }
      ),
      { seed: 3 }
    ))
})
