import * as Pareto from "@effect-dspy/optimizers/Pareto"
import type { Scores } from "@effect-dspy/optimizers/Racing"
import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"

const score = FastCheck.option(FastCheck.constantFrom(0, 0.25, 0.5, 1), { nil: undefined, freq: 5 })

const candidates = FastCheck.integer({ min: 1, max: 12 }).chain((examples) =>
  FastCheck.array(FastCheck.array(score, { minLength: examples, maxLength: examples }), { minLength: 1, maxLength: 10 })
)

const check = (property: (candidates: ReadonlyArray<Scores>) => void) =>
  FastCheck.assert(FastCheck.property(candidates, property), { seed: 1, numRuns: 500 })

const meanOf = (scores: Scores) => {
  const known = scores.filter((score) => score !== undefined)
  return known.reduce((sum, score) => sum + score, 0) / Math.max(1, known.length)
}

describe("fronts", () => {
  it("hold all that are best at an example", () => {
    assert.deepStrictEqual(
      Pareto.fronts([[1, 0.5, 0, undefined], [1, 0.75, 0, undefined], [0, 0.75, undefined, undefined]]),
      [[0, 1], [1, 2], [0, 1], []]
    )
    assert.deepStrictEqual(Pareto.fronts([]), [])
  })

  it("are never empty where a score is known", () =>
    check((candidates) => {
      for (const [example, front] of Pareto.fronts(candidates).entries()) {
        assert.strictEqual(front.length === 0, candidates.every((scores) => scores[example] === undefined))
      }
    }))
})

describe("members", () => {
  it("are those that somebody would miss", () => {
    // 0 has equals everywhere; 2 is alone at the second example.
    assert.deepStrictEqual(Pareto.members([[1, 0, 1], [1, 0, 1], [0, 1, 0]]), [
      { candidate: 0, fronts: 2 },
      { candidate: 2, fronts: 1 }
    ])
  })

  it("lose the worse of two that are best at the same", () => {
    assert.deepStrictEqual(Pareto.members([[1, 0, 0.5], [1, 0.5, 1]]), [{ candidate: 1, fronts: 3 }])
    assert.deepStrictEqual(Pareto.members([[1, 0.5, 1], [1, 0, 0.5]]), [{ candidate: 0, fronts: 3 }])
  })

  it("go one by one: of two that cover for each other one stays", () => {
    assert.deepStrictEqual(Pareto.members([[1, 0.5], [1, 0.75], [0.5, 0.75]]), [{ candidate: 1, fronts: 2 }])
    assert.deepStrictEqual(
      Pareto.members([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]).map(({ candidate }) => candidate),
      [
        0,
        2
      ]
    )
  })

  it("leave no front empty, and none of them can go", () =>
    check((candidates) => {
      const members = Pareto.members(candidates)
      const left = new Set(members.map(({ candidate }) => candidate))
      const fronts = Pareto.fronts(candidates).filter((front) => front.length > 0)
      assert.isTrue(fronts.every((front) => front.some((candidate) => left.has(candidate))))
      for (const { candidate, fronts: count } of members) {
        const own = fronts.filter((front) => front.includes(candidate))
        assert.strictEqual(own.length, count)
        assert.isTrue(own.some((front) => front.every((other) => other === candidate || !left.has(other))))
      }
    }))

  it("do not depend on the order of the examples", () =>
    check((candidates) => {
      const turned = candidates.map((scores) => scores.toReversed())
      assert.deepStrictEqual(Pareto.members(turned), Pareto.members(candidates))
    }))

  it("do not depend on the order of the candidates but among equals", () =>
    check((candidates) => {
      const different = candidates.filter((scores, index) =>
        candidates.findIndex((other) => meanOf(other) === meanOf(scores)) === index
      )
      const scoresOf = (candidates: ReadonlyArray<Scores>) =>
        Pareto.members(candidates).map(({ candidate, fronts }) => JSON.stringify([candidates[candidate], fronts]))
          .sort()
      assert.deepStrictEqual(scoresOf(different.toReversed()), scoresOf(different))
    }))
})

describe("select", () => {
  it("takes each as often as it is in fronts", () => {
    const candidates = [[1, 1, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]]
    const picks = Array.from({ length: 100 }, (_, index) => Pareto.select(candidates, index / 100))
    assert.strictEqual(picks.filter((pick) => pick === 0).length, 75)
    assert.strictEqual(picks.filter((pick) => pick === 1).length, 25)
  })

  it("takes a member wherever it looks", () =>
    FastCheck.assert(
      FastCheck.property(
        candidates,
        FastCheck.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (candidates, at) => {
          const members = Pareto.members(candidates).map(({ candidate }) => candidate)
          const picked = Pareto.select(candidates, at)
          assert.isTrue(picked === undefined ? members.length === 0 : members.includes(picked))
          assert.strictEqual(Pareto.select(at)(candidates), picked)
        }
      ),
      { seed: 2, numRuns: 500 }
    ))

  it("takes nobody where nothing is known", () => {
    assert.strictEqual(Pareto.select([[undefined], []], 0.5), undefined)
  })
})
