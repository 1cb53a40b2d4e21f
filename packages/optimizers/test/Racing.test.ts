import * as Racing from "@effect-dspy/optimizers/Racing"
import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import * as rng from "../src/internal/rng.ts"

const seed = { seed: 5 }

const score = FastCheck.oneof(
  FastCheck.constantFrom(0, 1),
  FastCheck.float({ min: 0, max: 1, noNaN: true })
)

/** Two candidates on all examples, and what is known of them at some time. */
const race = FastCheck.array(
  FastCheck.tuple(score, score, FastCheck.boolean(), FastCheck.boolean()),
  { minLength: 1, maxLength: 20 }
).map((examples) => ({
  challenger: examples.map(([own]) => own),
  leader: examples.map(([, other]) => other),
  known: {
    challenger: examples.map(([own, , known]) => known ? own : undefined),
    leader: examples.map(([, other, , known]) => known ? other : undefined)
  }
}))

const total = (scores: ReadonlyArray<number>) => scores.reduce((sum, score) => sum + score, 0)

const truth = (challenger: ReadonlyArray<number>, leader: ReadonlyArray<number>) =>
  (total(challenger) - total(leader)) / challenger.length

describe("difference", () => {
  it("is on the examples known for both, and bounded by those that are not", () => {
    assert.deepStrictEqual(Racing.difference([1, undefined, 0], [0, 1, undefined], { total: 4 }), {
      compared: 1,
      mean: 1,
      least: (1 - 1 - 1 - 1) / 4,
      most: (1 + 0 + 0 + 1) / 4
    })
    assert.deepStrictEqual(Racing.difference([], []), { compared: 0, mean: 0, least: 0, most: 0 })
  })

  it("stays within the bounds, whatever comes", () => {
    FastCheck.assert(
      FastCheck.property(race, ({ challenger, known, leader }) => {
        const { least, most } = Racing.difference(known.challenger, known.leader)
        const mean = truth(challenger, leader)
        assert.isTrue(least <= mean + 1e-9 && mean <= most + 1e-9)
        if (Racing.cannotWin(known.challenger, known.leader)) assert.isAtMost(mean, 1e-9)
      }),
      seed
    )
  })

  it("cannot be made up for once it is too large", () => {
    const leader = [1, 1, 1, 0, 0, 0]
    // Three behind, three to go.
    assert.isTrue(Racing.cannotWin([0, 0, 0], leader.slice(0, 3), { total: 6 }))
    assert.isFalse(Racing.cannotWin([0, 0, 0], leader.slice(0, 3), { total: 7 }))
    // Two behind; of what is to come the leader is known to have nothing.
    assert.isFalse(Racing.cannotWin([0, 0, 1], leader))
    // Nothing can be gained on the first three.
    assert.isTrue(Racing.cannotWin([undefined, undefined, undefined, 0, 0, 0], leader))
  })
})

describe("verdict", () => {
  it("is what the full comparison says once everything is known", () => {
    FastCheck.assert(
      FastCheck.property(race, ({ challenger, leader }) => {
        const verdict = Racing.verdict(challenger, leader)
        assert.strictEqual(verdict, truth(challenger, leader) > 1e-9 ? "wins" : "loses")
      }),
      seed
    )
  })

  it("never has both win", () => {
    FastCheck.assert(
      FastCheck.property(race, ({ known: { challenger, leader } }) => {
        assert.isFalse(
          Racing.verdict(challenger, leader) === "wins" && Racing.verdict(leader, challenger) === "wins"
        )
      }),
      seed
    )
  })

  it("waits for more where little is known", () => {
    assert.strictEqual(Racing.verdict([], [], { total: 100 }), "open")
    assert.strictEqual(Racing.verdict([1, 1, 1], [0, 0, 0], { total: 100 }), "open")
    assert.strictEqual(Racing.verdict([1, 1, 1], [0, 0, 0], { total: 100, confidence: 0.5 }), "wins")
  })

  // Differences that add up to nothing, in random order: whoever wins or loses at 95 % does so by luck.
  const populations: ReadonlyArray<readonly [string, ReadonlyArray<number>]> = [
    ["large ones", Array.from({ length: 60 }, (_, index) => index % 2 === 0 ? 1 : -1)],
    ["rare ones", Array.from({ length: 60 }, (_, index) => index < 4 ? 1 : index < 8 ? -1 : 0)],
    ["one-sided ones", Array.from({ length: 60 }, (_, index) => index < 10 ? 1 : -0.2)],
    ["small ones", Array.from({ length: 60 }, (_, index) => index % 2 === 0 ? 0.05 : -0.05)]
  ]

  for (const [name, population] of populations) {
    it(`is wrong in at most 5 of 100 races between equals, looking after every example: ${name}`, () => {
      let early = 0
      const races = 1000
      for (let race = 0; race < races; race++) {
        const order = rng.at(name, race).shuffle(population)
        // At the very end it is certain; before that nothing is.
        if (Racing.evidence(order.slice(0, -1), order.length) >= 20) early++
      }
      assert.isAtMost(early / races, 0.05)
    })
  }

  it("comes early where the difference is clear", () => {
    const decided = (better: number, worse: number): number => {
      const lengths = Array.from({ length: 50 }, (_, race) => {
        const differences = rng.at("clear", race).shuffle(
          Array.from({ length: 100 }, (_, index) => index < better ? 1 : index < better + worse ? -1 : 0)
        )
        const challenger = differences.map((difference) => difference > 0 ? 1 : 0)
        const leader = differences.map((difference) => difference < 0 ? 1 : 0)
        for (let known = 1; known < 100; known++) {
          const verdict = Racing.verdict(challenger.slice(0, known), leader.slice(0, known), { total: 100 })
          if (verdict !== "open") return verdict === "wins" ? known : 1000
        }
        return 100
      })
      return lengths.toSorted((a, b) => a - b)[25]!
    }
    assert.isBelow(decided(60, 5), 20)
    assert.isBelow(decided(40, 10), 40)
    assert.isBelow(decided(30, 10), 75)
  })

  it("is not swayed by sums that are no sums of halves", () => {
    const tenths = Array.from({ length: 10 }, () => 0.1)
    assert.strictEqual(Racing.verdict([...tenths, 0], [...tenths.map(() => 0), 1]), "loses")
    assert.strictEqual(Racing.verdict([...tenths.map(() => 0), 1], [...tenths, 0]), "loses")
  })
})

describe("halving", () => {
  it("has all rounds cost about the same, and two finish", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.integer({ min: 1, max: 64 }),
        FastCheck.integer({ min: 64, max: 1000 }),
        (contenders, total) => {
          const rounds = Racing.halving({ contenders, total })
          assert.strictEqual(rounds[0]?.contenders, contenders)
          assert.deepStrictEqual(rounds.at(-1), { contenders: Math.min(2, contenders), examples: total })
          for (const [index, round] of rounds.slice(1).entries()) {
            assert.strictEqual(round.contenders, Math.ceil(rounds[index]!.contenders / 2))
            assert.approximately(round.examples, 2 * rounds[index]!.examples, 2)
          }
        }
      ),
      seed
    )
  })

  it("measures whole blocks, and no more than there is", () => {
    assert.deepStrictEqual(Racing.halving({ contenders: 8, total: 50, block: 8 }), [
      { contenders: 8, examples: 16 },
      { contenders: 4, examples: 32 },
      { contenders: 2, examples: 50 }
    ])
    assert.deepStrictEqual(Racing.halving({ contenders: 1, total: 3, block: 8 }), [{ contenders: 1, examples: 3 }])
    assert.deepStrictEqual(Racing.halving({ contenders: 0, total: 3 }), [])
  })
})
