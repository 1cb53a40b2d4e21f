import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import * as crossover from "../src/internal/crossover.ts"
import * as rng from "../src/internal/rng.ts"

const candidate = (
  index: number,
  texts: { readonly [path: string]: string },
  scores: ReadonlyArray<number | undefined>,
  parents: ReadonlyArray<number> = index === 0 ? [] : [0]
): crossover.Relative => ({
  index,
  parents,
  scores,
  parameters: Object.fromEntries(
    Object.entries(texts).map(([path, instructions]) => [path, { demos: [], instructions }])
  )
})

const some = [0, 1, 0, 1, 0, 1]
const other = [1, 0, 1, 0, 1, 0]

const texts = (cross: crossover.Cross | undefined) =>
  cross && Object.values(cross.parameters).map(({ instructions }) => instructions).join(" ")

const propose = (
  all: ReadonlyArray<crossover.Relative>,
  best: ReadonlyArray<number>,
  seed = 0,
  tried = new crossover.Tried()
) => crossover.propose(all, best, tried, rng.at(seed))

describe("crosses", () => {
  const given = candidate(0, { p: "p", q: "q", r: "r" }, [0, 0, 0, 0, 0, 0])

  it("take each predictor from whoever changed it", () => {
    const cross = propose([
      given,
      candidate(1, { p: "P1", q: "q", r: "r" }, some),
      candidate(2, { p: "p", q: "Q2", r: "r" }, other)
    ], [2, 1])
    assert.deepInclude(cross, { parents: [1, 2], ancestor: 0 })
    assert.strictEqual(texts(cross), "P1 Q2 r")
  })

  it("take what both changed from the better one, and toss a coin between equals", () => {
    const better = candidate(2, { p: "P2", q: "Q2", r: "r" }, [1, 1, 1, 1, 0, 0])
    assert.strictEqual(
      texts(propose([given, candidate(1, { p: "P1", q: "q", r: "r" }, some), better], [1, 2])),
      "P2 Q2 r"
    )
    const equal = candidate(2, { p: "P2", q: "Q2", r: "r" }, other)
    const tossed = Array.from(
      { length: 20 },
      (_, seed) => texts(propose([given, candidate(1, { p: "P1", q: "q", r: "r" }, some), equal], [1, 2], seed))
    )
    assert.deepStrictEqual(new Set(tossed), new Set(["P1 Q2 r", "P2 Q2 r"]))
  })

  it("need a common ancestor, and nobody is crossed with its own", () => {
    assert.isUndefined(propose([
      given,
      candidate(1, { p: "P1", q: "q", r: "r" }, some),
      candidate(2, { p: "P1", q: "Q2", r: "r" }, other, [1])
    ], [1, 2]))
    assert.isUndefined(propose([
      candidate(0, { p: "p", q: "q" }, [0, 0, 0, 0, 0, 0]),
      candidate(1, { p: "P1", q: "q" }, some, []),
      candidate(2, { p: "p", q: "Q2" }, other, [])
    ], [1, 2]))
    assert.isUndefined(propose([given, candidate(1, { p: "P1", q: "q", r: "r" }, some)], [0, 1]))
  })

  it("need somebody who left alone what the other changed: with one predictor there is none", () => {
    assert.isUndefined(propose([
      candidate(0, { p: "p" }, [0, 0, 0, 0, 0, 0]),
      candidate(1, { p: "P1" }, some),
      candidate(2, { p: "P2" }, other)
    ], [1, 2]))
  })

  it("are not made of an ancestor that was better", () => {
    const better = { ...given, scores: [1, 1, 1, 1, 1, 0] }
    assert.isUndefined(propose([
      better,
      candidate(1, { p: "P1", q: "q", r: "r" }, some),
      candidate(2, { p: "p", q: "Q2", r: "r" }, other)
    ], [1, 2]))
  })

  it("need five examples that both have a score for, or all there are", () => {
    const unknown = [1, undefined, 1, undefined, 1, 0]
    assert.isUndefined(propose([
      given,
      candidate(1, { p: "P1", q: "q", r: "r" }, some),
      candidate(2, { p: "p", q: "Q2", r: "r" }, unknown)
    ], [1, 2]))
    assert.isDefined(propose([
      candidate(0, { p: "p", q: "q" }, [0, 0]),
      candidate(1, { p: "P1", q: "q" }, [0, 1]),
      candidate(2, { p: "p", q: "Q2" }, [1, 0])
    ], [1, 2]))
  })

  it("are made once", () => {
    const tried = new crossover.Tried()
    const all = [
      given,
      candidate(1, { p: "P1", q: "q", r: "r" }, some),
      candidate(2, { p: "p", q: "Q2", r: "r" }, other),
      candidate(3, { p: "p", q: "q", r: "R3" }, [0, 0, 1, 1, 1, 0])
    ]
    const made = Array.from({ length: 4 }, (_, seed) => texts(propose(all, [1, 2, 3], seed, tried)))
    assert.deepStrictEqual(new Set(made), new Set(["P1 Q2 r", "P1 q R3", "p Q2 R3", undefined]))
    assert.isUndefined(made.at(-1))
  })
})

describe("the examples a cross is tested on", () => {
  it("are two on which one is better, two on which the other is, and one on which neither is", () => {
    const a = [1, 1, 1, 0, 0, 0, 1, 0, 1, 1]
    const b = [0, 0, 0, 1, 1, 1, 1, 0, 1, 1]
    for (let seed = 0; seed < 20; seed++) {
      const sample = crossover.sample(a, b, rng.at(seed))
      const leads = sample.map((place) => Math.sign(a[place]! - b[place]!)).toSorted((x, y) => x - y)
      assert.deepStrictEqual(leads, [-1, -1, 0, 1, 1])
    }
  })

  it("are filled up where there are not enough of a kind, each taken once", () =>
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(
          FastCheck.tuple(
            FastCheck.constantFrom(0, 1, undefined),
            FastCheck.constantFrom(0, 1, undefined)
          ),
          { maxLength: 12 }
        ),
        (pairs) => {
          const [a, b] = [pairs.map(([a]) => a), pairs.map(([, b]) => b)]
          const both = pairs.filter(([a, b]) => a !== undefined && b !== undefined).length
          const sample = crossover.sample(a, b, rng.at(1))
          assert.strictEqual(sample.length, Math.min(5, both))
          assert.strictEqual(new Set(sample).size, sample.length)
          assert.isTrue(sample.every((place) => a[place] !== undefined && b[place] !== undefined))
        }
      ),
      { seed: 4 }
    ))
})
