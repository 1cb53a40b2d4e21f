import type * as Budget from "@effect-dspy/core/Budget"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as BetterTogether from "@effect-dspy/optimizers/BetterTogether"
import * as BootstrapFewShot from "@effect-dspy/optimizers/BootstrapFewShot"
import * as COPRO from "@effect-dspy/optimizers/COPRO"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { contract } from "./contract.ts"
import { examples, learner, render, simulate, sort, textOf } from "./utilities.ts"

// The box is learnt from demonstrations, shouting from instructions; each is half of the score.
const isAsked = (request: LanguageModel.Request) => textOf(request.messages[0]).includes("proposed_instruction")

const answer = (request: LanguageModel.Request): string => {
  if (isAsked(request)) return render({ proposed_instruction: "Shout." })
  const box = /\[\[ ## box ## \]\]\n([^\n]*)/.exec(learner(request))?.[1] ?? ""
  return render({ box: textOf(request.messages[0]).includes("Shout.") ? `${box}!` : box })
}

const metric: Optimizer.Options<unknown, { readonly box: string }, { readonly box: string }, never, never>["metric"] = (
  { labels },
  { box }
) => Effect.succeed({ value: (box.replace("!", "") === labels.box ? 0.5 : 0) + (box.endsWith("!") ? 0.5 : 0) })

const optimizers = {
  demos: (
    module: typeof sort,
    shared: BetterTogether.Shared<
      { readonly item: string },
      { readonly box: string },
      { readonly box: string },
      never,
      never
    >
  ) => LabeledFewShot.events(module, { ...shared, k: 6 }),
  words: (
    module: typeof sort,
    shared: BetterTogether.Shared<
      { readonly item: string },
      { readonly box: string },
      { readonly box: string },
      never,
      never
    >
  ) => COPRO.events(module, { ...shared, breadth: 2, depth: 1 })
}

const options = { trainset: examples(9, 3), valset: examples(9, 3, 100), metric, optimizers }

describe("BetterTogether", () => {
  it.effect("makes each step of what the one before has made", () =>
    Effect.gen(function*() {
      const { candidates, parameters, score } = yield* BetterTogether.compile(sort, options).pipe(
        Effect.provide(simulate({ answer }).layer)
      )
      assert.strictEqual(score.mean, 1)
      assert.strictEqual(parameters[""]?.instructions, "Shout.")
      assert.strictEqual(parameters[""]?.demos.length, 6)
      assert.deepStrictEqual(candidates.map(({ index, origin, parents }) => [index, origin, parents]), [
        [2, "words", [1]],
        [1, "demos", [0]],
        [0, "as given", []]
      ])
    }))

  it.effect("in the order of the strategy", () =>
    Effect.gen(function*() {
      const events = yield* Stream.runCollect(
        BetterTogether.events(sort, { ...options, strategy: "words -> demos -> words" })
      ).pipe(Effect.provide(simulate({ answer }).layer))
      const steps = Array.from(events).flatMap((event) =>
        event._tag === "Step" && event.event._tag === "Done" ? [`${event.name} ${event.index}`] : []
      )
      assert.deepStrictEqual(steps, ["words 0", "demos 1", "words 2"])
    }))

  it.effect("of optimizers that are there", () =>
    Effect.gen(function*() {
      const error = yield* BetterTogether.compile(sort, { ...options, strategy: "demos -> weights" }).pipe(
        Effect.flip,
        Effect.provide(simulate({ answer }).layer)
      )
      assert.strictEqual(
        error.message,
        `strategy names "weights", which is none of the optimizers: "demos", "words"`
      )
    }))

  it.effect("counts what the steps have cost", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const { spend } = yield* BetterTogether.compile(sort, options).pipe(Effect.provide(model.layer))
      assert.strictEqual(spend.calls, model.requests.length)
    }))

  it.effect("also of steps that did more than was needed, or that the budget ended", () =>
    Effect.gen(function*() {
      const calls = (limits: { readonly budget?: Budget.Limits; readonly concurrency: number }) =>
        Effect.gen(function*() {
          const model = simulate({ answer })
          const events = yield* Stream.runCollect(BetterTogether.events(sort, {
            ...options,
            ...limits,
            optimizers: { demos: (module, shared) => BootstrapFewShot.events(module, shared), words: optimizers.words }
          })).pipe(Effect.provide(model.layer))
          const done = Array.from(events).at(-1)
          if (done?._tag !== "Done") return assert.fail("it did not end")
          return [done.spend.calls + done.discarded.calls, model.requests.length]
        })
      for (
        const limits of [{ concurrency: 64 }, ...[1, 64].map((concurrency) => ({ budget: { cost: 2.5 }, concurrency }))]
      ) {
        const [counted, asked] = yield* calls(limits)
        assert.strictEqual(counted, asked)
        if ("budget" in limits) assert.isAtMost(counted!, 25)
      }
    }))

  it.effect("measures on the test set once, in the end", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const testset = examples(6, 3, 200)
      const { measuredOn, score } = yield* BetterTogether.compile(sort, { ...options, testset }).pipe(
        Effect.provide(model.layer)
      )
      assert.deepStrictEqual([measuredOn, score.known], ["test", 6])
      const tested = model.requests.filter((request) => /kind\d-20\d/.test(textOf(request.messages.at(-1))))
      assert.strictEqual(tested.length, 2 * 6)
    }))
})

contract("BetterTogether", {
  events: (more) => BetterTogether.events(sort, { ...options, ...more }),
  answer,
  budgets: [9, 20, 40],
  seeds: 3,
  stride: 7
})
