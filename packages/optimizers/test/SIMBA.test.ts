import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as SIMBA from "@effect-dspy/optimizers/SIMBA"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Stream } from "effect"
import * as rng from "../src/internal/rng.ts"
import * as simba from "../src/internal/simba.ts"
import { contract } from "./contract.ts"
import { boxOf, exact, examples, field, learner, render, simulate, sort, textOf } from "./utilities.ts"

const trainset = examples(16, 4)
const valset = examples(16, 4, 100)

const isAsked = (request: LanguageModel.Request): boolean => textOf(request.messages[0]).includes("`module_advice`")

// Advises what the better run shows, and heeds advice. Left to itself it is sometimes right.
const answer = (request: LanguageModel.Request): string => {
  const asked = textOf(request.messages.at(-1))
  if (isAsked(request)) {
    const [, kind, box] = /"item":"(kind\d)-\d+"\} -> \{"box":"([^"]+)"/.exec(field(asked, "better_run") ?? "") ?? []
    const advice = kind === undefined ? {} : { program: `${kind} goes to ${box}.` }
    return render({ discussion: "One was better.", module_advice: JSON.stringify(advice) })
  }
  const kind = field(asked, "item")?.split("-")[0]
  const rule = new RegExp(`${kind} goes to ([^.\\n]+)`).exec(textOf(request.messages[0]))
  return rule === null ? learner(request) : render({ box: rule[1] ?? "" })
}

const options = { trainset, valset, metric: exact, bsize: 8, numCandidates: 4, maxSteps: 3 }

const proposals = (events: Iterable<Optimizer.OptimizerEvent<unknown>>) =>
  Array.from(events).filter((event) => event._tag === "Proposal")

describe("SIMBA", () => {
  it.effect("learns from the runs that went well", () =>
    Effect.gen(function*() {
      const { baseline, score } = yield* SIMBA.compile(sort, { ...options, maxSteps: 5 }).pipe(
        Effect.provide(simulate({ answer }).layer)
      )
      assert.isAbove(score.mean, baseline.mean + 0.3)
    }))

  it.effect("writes only rules without demonstrations, and heeds what was advised before", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const { parameters, score } = yield* SIMBA.compile(sort, { ...options, maxDemos: 0, maxSteps: 5 }).pipe(
        Effect.provide(model.layer)
      )
      assert.deepStrictEqual(parameters[""]?.demos, [])
      assert.isAbove(score.mean, 0.5)
      const rules = parameters[""]?.instructions?.split("\n\n").slice(1) ?? []
      assert.isAbove(rules.length, 1)
      assert.strictEqual(new Set(rules).size, rules.length)
      assert.isTrue(model.requests.some(isAsked))
    }))

  it.effect("asks with a better and a worse run of the same example", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      yield* SIMBA.compile(sort, { ...options, maxSteps: 1 }).pipe(Effect.provide(model.layer))
      for (const request of model.requests.filter(isAsked)) {
        const asked = textOf(request.messages.at(-1))
        const item = /"item":"([^"]+)"/.exec(field(asked, "program_inputs") ?? "")?.[1] ?? ""
        assert.include(field(asked, "better_run"), item)
        assert.include(field(asked, "worse_run"), item)
        assert.include(field(asked, "labels"), boxOf(item.split("-")[0] ?? ""))
        assert.strictEqual(field(asked, "better_result"), "score 1")
        assert.strictEqual(field(asked, "worse_result"), "score 0")
      }
    }))

  it.effect("measures nothing that changes nothing", () =>
    Effect.gen(function*() {
      const shares = yield* Effect.forEach(["racing", "classical"] as const, (schedule) =>
        Effect.gen(function*() {
          // All runs are equally bad, so there is nothing to learn.
          const model = simulate({ answer: () => render({ box: "none" }) })
          const events = yield* Stream.runCollect(SIMBA.events(sort, { ...options, schedule })).pipe(
            Effect.provide(model.layer)
          )
          return { proposals: proposals(events).length, calls: model.requests.length }
        }))
      // 3 steps of 8 examples with 4 runs each, and the module as given on the 16 selection examples.
      assert.deepStrictEqual(shares[0], { proposals: 1, calls: 3 * 8 * 4 + 16 })
      // DSPy's schedule runs the unchanged copies as well; equal ones are run once here, on each of the 16 training examples.
      assert.deepStrictEqual(shares[1], { proposals: 1, calls: 3 * 8 * 4 + 16 + 16 })
    }))

  it.effect("has a best program from the first step on, and with a budget before", () =>
    Effect.gen(function*() {
      for (const budget of [undefined, { calls: 500 }]) {
        const best = yield* SIMBA.events(sort, { ...options, budget }).pipe(
          Stream.takeUntil((event) => event._tag === "Proposal" && event.trial.index === 1),
          Optimizer.best,
          Effect.provide(simulate({ answer }).layer)
        )
        assert.deepStrictEqual(Option.map(best, ({ score }) => score.known), Option.some(valset.length))
      }
    }))

  it.effect("asks a model of its own for advice, if there is one", () =>
    Effect.gen(function*() {
      const [task, adviser] = [simulate({ answer }), simulate({ answer })]
      yield* SIMBA.compile(sort, { ...options, promptModel: adviser.layer }).pipe(Effect.provide(task.layer))
      assert.isFalse(task.requests.some(isAsked))
      assert.isTrue(adviser.requests.length > 0 && adviser.requests.every(isAsked))
    }))

  it.effect("runs good programs with rollouts, and measures candidates without", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      yield* SIMBA.compile(sort, { ...options, maxSteps: 1 }).pipe(Effect.provide(model.layer))
      const sampled = model.requests.filter((request) => request.settings?.rollout !== undefined && !isAsked(request))
      assert.strictEqual(sampled.length, 8 * 4)
      assert.isTrue(sampled.every(({ settings }) => settings?.temperature === 1))
      assert.strictEqual(new Set(sampled.map((request) => Json.hash(request))).size, 8 * 4)
    }))
})

describe("what SIMBA decides by", () => {
  it("percentiles, between two values where the rank is no whole number", () => {
    assert.strictEqual(simba.percentile([3, 1, 2], 0.5), 2)
    assert.closeTo(simba.percentile([0, 1], 0.1), 0.1, 1e-12)
    assert.closeTo(simba.percentile([4, 3, 2, 1, 0], 0.9), 3.6, 1e-12)
    assert.strictEqual(simba.percentile([7], 0.9), 7)
  })

  it("demonstrations that make room: none of none, one at least when full, all predictors at the same places", () => {
    const random = (seed: number) => rng.at("test", seed)
    const seeds = Array.from({ length: 400 }, (_, seed) => seed)
    assert.isTrue(seeds.every((seed) => simba.dropped(0, 4, random(seed)) === 0))
    assert.isTrue(seeds.every((seed) => simba.dropped(4, 4, random(seed)) >= 1))
    assert.isTrue(seeds.every((seed) => simba.dropped(2, 4, random(seed)) <= 2))
    const mean = seeds.reduce((sum, seed) => sum + simba.dropped(20, 40, random(seed)), 0) / seeds.length
    assert.closeTo(mean, 0.5, 0.1)
    const demo = (index: number) => Parameters.demo({ index })
    const demos = Array.from({ length: 4 }, (_, index) => demo(index))
    const thin = simba.thinned({ a: { demos }, b: { demos } }, 4, random(1))
    assert.deepStrictEqual(thin["a"], thin["b"])
    assert.isBelow(thin["a"]!.demos.length, 4)
  })

  it("finalists spread over the run", () => {
    const winners = (steps: number) => Array.from({ length: steps + 1 }, (_, index) => index)
    assert.deepStrictEqual(simba.finalists(winners(0), 7), [0])
    assert.deepStrictEqual(simba.finalists(winners(1), 7), [0, 1])
    assert.deepStrictEqual(simba.finalists(winners(2), 7), [0, 1, 2])
    assert.deepStrictEqual(simba.finalists(winners(8), 7), [0, 1, 3, 4, 5, 7, 8])
    assert.deepStrictEqual(simba.finalists(winners(20), 7), [0, 3, 7, 10, 13, 17, 20])
  })

  it("the best programs, the one as given among them", () => {
    assert.deepStrictEqual(simba.best([0.1, 0.5, 0.9, 0.7], 2), [2, 0])
    assert.deepStrictEqual(simba.best([0.8, 0.5, 0.9, 0.7], 2), [2, 0])
    assert.deepStrictEqual(simba.best([0.8], 6), [0])
  })

  it("programs preferred by their average, more so at a lower temperature", () => {
    const share = (temperature: number) =>
      Array.from({ length: 2000 }, (_, seed) => simba.pick([0, 1], [0.5, 0.7], temperature, rng.at("pick", seed)))
        .filter((index) => index === 1).length / 2000
    // e to 1.
    assert.closeTo(share(0.2), Math.E / (1 + Math.E), 0.03)
    assert.isAbove(share(0.02), 0.99)
  })
})

contract("SIMBA", {
  events: (more) =>
    SIMBA.events(sort, {
      ...options,
      trainset: examples(8, 4),
      valset: examples(10, 4, 100),
      bsize: 4,
      numCandidates: 2,
      maxSteps: 2,
      ...more
    }),
  answer,
  budgets: [10, 14, 25, 35],
  stride: 3
})
