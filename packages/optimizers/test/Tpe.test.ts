import * as Tpe from "@effect-dspy/optimizers/Tpe"
import { assert, describe, it } from "@effect/vitest"
import { FastCheck, Option } from "effect"

const space = { a: 3, b: 2 }

const trials: ReadonlyArray<Tpe.Trial> = [
  [0, 0, 50],
  [0, 1, 55],
  [1, 0, 60],
  [1, 1, 52],
  [2, 0, 70],
  [2, 1, 66],
  [0, 0, 48],
  [1, 0, 61],
  [2, 0, 70],
  [0, 1, 57],
  [2, 1, 64]
].map(([a, b, value]) => ({ choices: { a: a!, b: b! }, value }))

const suggest = (
  space: Tpe.Space,
  trials: ReadonlyArray<Tpe.Trial>,
  options: Tpe.Options = {},
  ...path: ReadonlyArray<string | number>
) => Option.getOrThrow(Tpe.suggest(space, trials, { ...options, path: [1, ...path] }))

describe("densities", () => {
  it("are those of Optuna, for eleven trials in two dimensions", () => {
    const { above, below } = Tpe.split(trials)
    assert.deepStrictEqual(below, [{ a: 2, b: 0 }, { a: 2, b: 0 }])
    assert.strictEqual(above.length, 9)
    const [l, g] = [Tpe.parzen(space, below), Tpe.parzen(space, above)]
    const expected: ReadonlyArray<readonly [number, number, number, number, number]> = [
      [0, 0, 0.144444, 0.201923, -0.334992],
      [0, 1, 0.077778, 0.208333, -0.985284],
      [1, 0, 0.144444, 0.195513, -0.302731],
      [1, 1, 0.077778, 0.137821, -0.572096],
      [2, 0, 0.411111, 0.060897, 1.909672],
      [2, 1, 0.144444, 0.195513, -0.302731]
    ]
    for (const [a, b, good, bad, ratio] of expected) {
      const [logGood, logBad] = [Tpe.logDensity(l, { a, b }), Tpe.logDensity(g, { a, b })]
      assert.approximately(Math.exp(logGood), good, 1e-6)
      assert.approximately(Math.exp(logBad), bad, 1e-6)
      assert.approximately(logGood - logBad, ratio, 1e-6)
    }
  })

  it("have a kernel for each observation, sharper the more there are, and an even one", () => {
    const one = Tpe.parzen({ three: 3, four: 4 }, [{ three: 0, four: 3 }])
    assert.deepStrictEqual(one.weights, [0.5, 0.5])
    assert.strictEqual(one.kernels.length, 2)
    near(one.kernels[0]!["three"]!, [0.6, 0.2, 0.2])
    near(one.kernels[0]!["four"]!, [1 / 6, 1 / 6, 1 / 6, 0.5])
    near(one.kernels[1]!["three"]!, [1 / 3, 1 / 3, 1 / 3])
    const nine = Tpe.parzen({ three: 3 }, Array.from({ length: 9 }, () => ({ three: 1 })))
    near(nine.kernels[0]!["three"]!, [0.1 / 1.3, 1.1 / 1.3, 0.1 / 1.3])
    near(nine.weights, Array.from({ length: 10 }, () => 0.1))
    const doubtful = Tpe.parzen({ three: 3 }, [{ three: 1 }], { priorWeight: 2 })
    near(doubtful.kernels[0]!["three"]!, [0.25, 0.5, 0.25])
    near(doubtful.weights, [1 / 3, 2 / 3])
  })

  it("are even where nothing was observed, and 1 where there is nothing to choose", () => {
    const none = Tpe.parzen({ a: 4 }, [])
    assert.deepStrictEqual(none.weights, [1])
    near(none.kernels[0]!["a"]!, [0.25, 0.25, 0.25, 0.25])
    assert.approximately(Tpe.logDensity(Tpe.parzen({}, [{}, {}]), {}), 0, 1e-12)
  })

  it("add up to 1", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.tuple(FastCheck.nat(2), FastCheck.nat(1)), { maxLength: 40 }),
        (observations) => {
          const density = Tpe.parzen(space, observations.map(([a, b]) => ({ a, b })))
          let sum = 0
          for (const a of [0, 1, 2]) for (const b of [0, 1]) sum += Math.exp(Tpe.logDensity(density, { a, b }))
          assert.approximately(sum, 1, 1e-9)
        }
      ),
      { seed: 7 }
    )
  })
})

const near = (found: ReadonlyArray<number>, expected: ReadonlyArray<number>) => {
  assert.strictEqual(found.length, expected.length)
  found.forEach((value, index) => assert.approximately(value, expected[index]!, 1e-12))
}

describe("defaults", () => {
  it("take a tenth for good, at most 25", () => {
    assert.deepStrictEqual([1, 10, 11, 20, 21, 250, 300].map(Tpe.gamma), [1, 1, 2, 2, 3, 25, 25])
  })

  it("give the newest 25 trials their full weight", () => {
    assert.deepStrictEqual(Tpe.weights(24), Array.from({ length: 24 }, () => 1))
    assert.deepStrictEqual(Tpe.weights(25), Array.from({ length: 25 }, () => 1))
    near(Tpe.weights(26), [1 / 26, ...Array.from({ length: 25 }, () => 1)])
    const fifty = Tpe.weights(50)
    near(fifty.slice(25), Array.from({ length: 25 }, () => 1))
    near([fifty[0]!, fifty[24]!], [1 / 50, 1])
    near([fifty[1]! - fifty[0]!], [(1 - 1 / 50) / 24])
  })
})

describe("split", () => {
  it("takes the earlier of equal values, and keeps the order", () => {
    const equal = trials.map((trial) => ({ ...trial, value: 1 }))
    assert.deepStrictEqual(Tpe.split(equal).below, [{ a: 0, b: 0 }, { a: 0, b: 1 }])
    assert.deepStrictEqual(
      Tpe.split(trials, { gamma: () => 3 }).below,
      [{ a: 2, b: 0 }, { a: 2, b: 1 }, { a: 2, b: 0 }]
    )
  })

  it("counts running trials as bad ones", () => {
    const running = [...trials, { choices: { a: 2, b: 0 }, value: undefined }]
    assert.deepStrictEqual(Tpe.split(running).below, Tpe.split(trials).below)
    assert.deepStrictEqual(Tpe.split(running).above, [...Tpe.split(trials).above, { a: 2, b: 0 }])
    assert.deepStrictEqual(Tpe.split(running, { constantLiar: false }), Tpe.split(trials))
  })
})

describe("suggestions", () => {
  it("are even until there are enough trials, and then what is good", () => {
    const drawn = (count: number) => {
      const counts: { [choices: string]: number } = {}
      for (let seed = 0; seed < 600; seed++) {
        const { a, b } = suggest(space, trials.slice(0, count), {}, seed)
        counts[`${a}${b}`] = (counts[`${a}${b}`] ?? 0) + 1
      }
      return counts
    }
    const even = drawn(9)
    assert.deepStrictEqual(Object.keys(even).sort(), ["00", "01", "10", "11", "20", "21"])
    // 100 each, with a standard deviation of 9.
    for (const count of Object.values(even)) assert.approximately(count, 100, 40)
    // As Optuna, which proposes it for all of 200 seeds.
    assert.deepStrictEqual(drawn(11), { "20": 600 })
  })

  it("keep trials that run at once apart", () => {
    const batch = (constantLiar: boolean) => {
      const all = [...trials]
      for (let slot = 0; slot < 16; slot++) {
        all.push({ choices: suggest(space, all, { constantLiar }, slot), value: undefined })
      }
      return new Set(all.slice(trials.length).map(({ choices }) => JSON.stringify(choices))).size
    }
    assert.strictEqual(batch(false), 1)
    assert.isAbove(batch(true), 1)
  })

  it("are never what is excluded, as long as there is anything else", () => {
    const tried: Array<Tpe.Choices> = []
    for (let step = 0; step < 6; step++) {
      tried.push(suggest(space, step % 2 === 0 ? trials : [], { exclude: tried }, step))
    }
    assert.strictEqual(new Set(tried.map((choices) => JSON.stringify(choices))).size, 6)
    assert.deepStrictEqual(Tpe.suggest(space, trials, { path: [1], exclude: tried }), Option.none())
    // All but the worst.
    const only = suggest(space, trials, { exclude: tried.filter(({ a, b }) => a !== 0 || b !== 1) })
    assert.deepStrictEqual(only, { a: 0, b: 1 })
  })

  it("leave dimensions with one choice alone", () => {
    const wide = { ...space, only: 1 }
    const all = trials.map(({ choices, value }) => ({ choices: { ...choices, only: 0 }, value }))
    assert.deepStrictEqual(suggest(wide, all), { a: 2, b: 0, only: 0 })
    assert.deepStrictEqual(suggest({ only: 1 }, all), { only: 0 })
    assert.deepStrictEqual(suggest({ only: 1 }, all.slice(0, 3)), { only: 0 })
  })

  it("of an empty space are empty", () => {
    assert.deepStrictEqual(suggest({}, []), {})
    assert.deepStrictEqual(suggest({}, Array.from({ length: 12 }, () => ({ choices: {}, value: 1 }))), {})
  })

  it("depend on the path, not on the order in which the space is written", () => {
    const of = (space: Tpe.Space, path: number) => suggest(space, trials.slice(0, 5), {}, path)
    for (let path = 0; path < 20; path++) assert.deepStrictEqual(of({ a: 3, b: 2 }, path), of({ b: 2, a: 3 }, path))
    assert.isAbove(new Set(Array.from({ length: 20 }, (_, path) => JSON.stringify(of(space, path)))).size, 3)
  })

  it("change with what shapes the densities", () => {
    // Five choices, of which the middle one is good, and little is known of the rest.
    const wide = { x: 5, y: 5 }
    const known = Array.from({ length: 20 }, (_, trial) => {
      const choices = { x: (trial * 3) % 5, y: (trial * 7 + 2) % 5 }
      return { choices, value: -Math.abs(choices.x - 2) - Math.abs(choices.y - 3) }
    })
    const draws = (options: Tpe.Options) =>
      JSON.stringify(Array.from({ length: 30 }, (_, path) => suggest(wide, known, options, path)))
    const usual = draws({})
    assert.notStrictEqual(draws({ priorWeight: 20 }), usual)
    assert.notStrictEqual(draws({ gamma: () => 8 }), usual)
    assert.notStrictEqual(draws({ nEiCandidates: 1 }), usual)
    assert.notStrictEqual(
      draws({ gamma: () => 8, weights: (n) => Array.from({ length: n }, (_, k) => k + 1) }),
      draws({ gamma: () => 8 })
    )
    assert.notStrictEqual(draws({ nStartupTrials: 30 }), usual)
  })
})
