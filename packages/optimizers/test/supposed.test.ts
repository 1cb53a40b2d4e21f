import { assert, describe, it } from "@effect/vitest"
import { supposed } from "../src/internal/supposed.ts"

interface Candidate {
  readonly parents: ReadonlyArray<Candidate>
  readonly known: ReadonlyArray<number | undefined>
}

const of = (candidate: Candidate) => candidate

const candidate = (known: Candidate["known"], ...parents: ReadonlyArray<Candidate>): Candidate => ({ parents, known })

const unknown = (count: number): Array<undefined> => Array.from({ length: count }, () => undefined)

describe("what is supposed of a candidate", () => {
  const given = candidate([1, 0, 1, 0])

  it("is what is known of it", () => {
    const all = supposed([given, candidate([0, 1, 1, 1], given)], of, 0)
    assert.deepStrictEqual(Array.from(all.values()), [[1, 0, 1, 0], [0, 1, 1, 1]])
  })

  it("is elsewhere what is known of its parent, moved by what the two differ in", () => {
    const child = candidate([1, 1, undefined, undefined], given)
    // Ahead by 1 on two examples, which count 2 of 2 + 8.
    assert.deepStrictEqual(supposed([given, child], of, 0).get(child), [1, 1, 1.1, 0.1])
    const worse = candidate([0, 0, undefined, undefined], given)
    assert.deepStrictEqual(supposed([given, worse], of, 0).get(worse), [0, 0, 0.9, -0.1])
  })

  it("is a little better than its parent as long as little is known, if so is hoped", () => {
    const long = candidate(Array.from({ length: 100 }, () => 0.5))
    const shift = (known: number) => {
      const child = candidate([...Array.from({ length: known }, () => 0.5), ...unknown(100 - known)], long)
      return supposed([long, child], of, 0.05).get(child)!.at(-1)! - 0.5
    }
    assert.closeTo(shift(0), 0.05, 1e-12)
    assert.closeTo(shift(8), 0.025, 1e-12)
    assert.closeTo(shift(32), 0.01, 1e-12)
  })

  it("goes on from child to child, and from the better of two parents", () => {
    const child = candidate([undefined, 1, undefined, undefined], given)
    const other = candidate([undefined, 0, undefined, undefined], given)
    const cross = candidate(unknown(4), other, child)
    const all = supposed([given, child, other, cross], of, 0)
    assert.deepStrictEqual(all.get(cross), all.get(child))
    const grandchild = candidate([undefined, undefined, undefined, 1], child)
    const [first, second, third] = supposed([given, child, grandchild], of, 0).get(grandchild)!
    assert.isAbove(first!, 1)
    assert.isAbove(second!, 1)
    assert.isAbove(third!, 1)
  })

  it("is the average where the model failed on the program as given", () => {
    assert.deepStrictEqual(supposed([candidate([1, undefined, 0, undefined])], of, 0).values().next().value, [
      1,
      0.5,
      0,
      0.5
    ])
  })
})
