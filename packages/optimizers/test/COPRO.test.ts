import * as Example from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as COPRO from "@effect-dspy/optimizers/COPRO"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { contract } from "./contract.ts"
import { field, render, simulate, textOf } from "./utilities.ts"

// Instructions are levels: at level n the model gets items below 10 n right. Each proposal is a random level, a little
// higher in view of a higher one.
const trainset = (count: number) =>
  Array.from(
    { length: count },
    (_, index) => Example.make({ inputs: { item: `item-${index}` }, labels: { box: `box-${index}` } })
  )

const metric: Optimizer.Options<unknown, { readonly box: string }, { readonly box: string }, never, never>["metric"] = (
  example,
  output
) => Effect.succeed({ value: output.box === example.labels.box ? 1 : 0 })

const levelOf = (text: string): number =>
  Math.max(0, ...Array.from(text.matchAll(/level (\d+)/g), ([, n]) => Number(n)))

const isAsked = (request: LanguageModel.Request): boolean =>
  textOf(request.messages[0]).includes("proposed_instruction")

const answer = (request: LanguageModel.Request): string => {
  const told = textOf(request.messages[0])
  const asked = textOf(request.messages.at(-1))
  if (isAsked(request)) {
    const chance = parseInt(Json.hash(request).slice(0, 4), 16) % 3
    return render({ proposed_instruction: `"Work at level ${levelOf(asked) + chance}."` })
  }
  const number = Number(field(asked, "item")?.split("-")[1])
  return render({ box: number * 2 < 10 * levelOf(told) ? `box-${number}` : "none" })
}

const sort = Predict.make("item -> box")

const tagged = <Tag extends Optimizer.OptimizerEvent<unknown>["_tag"]>(
  events: Iterable<Optimizer.OptimizerEvent<unknown>>,
  tag: Tag
) => Array.from(events).filter((event): event is Extract<typeof event, { _tag: Tag }> => event._tag === tag)

describe("COPRO", () => {
  it.effect("climbs: each round writes in view of the scores of those before", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const compiled = yield* COPRO.compile(sort, { trainset: trainset(40), metric, breadth: 4, depth: 3 }).pipe(
        Effect.provide(model.layer)
      )
      assert.isAtLeast(compiled.score.mean, 0.5)
      assert.match(compiled.parameters[""]?.instructions ?? "", /^Work at level \d\.$/)
      const asked = model.requests.filter(isAsked).map((request) => textOf(request.messages.at(-1)))
      assert.strictEqual(asked.length, 3 + 4 + 4)
      const attempts = field(asked.at(-1)!, "attempts") ?? ""
      assert.include(attempts, "Instruction:")
      const scores = Array.from(asked.at(-1)!.matchAll(/Score: ([\d.]+) of 100/g), ([, score]) => Number(score))
      assert.isAbove(scores.length, 1)
      assert.deepStrictEqual(scores, scores.toSorted((a, b) => a - b))
    }))

  it.effect("by the classical schedule runs every candidate on every example", () =>
    Effect.gen(function*() {
      const model = simulate({
        answer: (request) =>
          isAsked(request)
            ? render({ proposed_instruction: `level 1, ${Json.hash(request).slice(0, 8)}` })
            : answer(request)
      })
      const events = yield* Stream.runCollect(
        COPRO.events(sort, { trainset: trainset(10), metric, schedule: "classical" })
      ).pipe(Effect.provide(model.layer))
      // As given, 9 more in the first round, 10 in each of the other two: DSPy's 3,003 calls with 100 examples.
      assert.strictEqual(model.requests.filter((request) => !isAsked(request)).length, 30 * 10)
      assert.strictEqual(tagged(events, "TrialEnd").length, 30)
      const plan = tagged(events, "Plan")[0]
      assert.strictEqual(plan?.trials, 30)
      assert.strictEqual(plan?.calls, 30 * 10 + 29)
    }))

  it.effect("by default pays less for the same choice", () =>
    Effect.gen(function*() {
      const runs = yield* Effect.forEach(["racing", "classical"] as const, (schedule) =>
        Effect.gen(function*() {
          // Nine instructions of nine levels.
          const model = simulate({
            answer: (request) =>
              isAsked(request)
                ? render({ proposed_instruction: `level ${2 * Number(request.settings?.rollout?.slice(-1))}` })
                : answer(request)
          })
          const compiled = yield* COPRO.compile(sort, { trainset: trainset(100), metric, depth: 1, schedule }).pipe(
            Effect.provide(model.layer)
          )
          return { instructions: compiled.parameters[""]?.instructions, calls: model.requests.length }
        }))
      assert.strictEqual(runs[0]!.instructions, runs[1]!.instructions)
      assert.isBelow(runs[0]!.calls, 0.75 * runs[1]!.calls)
    }))

  it.effect("tunes predictors one after the other, each beside what the others have become", () =>
    Effect.gen(function*() {
      const two = Module.make(
        { first: Predict.make("item -> shelf"), second: Predict.make("item, shelf -> box") },
        function*(m, input: { readonly item: string }) {
          const { shelf } = yield* m.first(input)
          return yield* m.second({ item: input.item, shelf })
        }
      )
      const model = simulate({
        answer: (request) =>
          isAsked(request) || textOf(request.messages.at(-1)).includes("[[ ## shelf ## ]]\n")
            ? answer(request)
            : render({ shelf: `at ${levelOf(textOf(request.messages[0]))}` })
      })
      const events = yield* Stream.runCollect(
        COPRO.events(two, { trainset: trainset(20), metric, breadth: 3, depth: 2, schedule: "classical" })
      ).pipe(Effect.provide(model.layer))
      const proposals = tagged(events, "Proposal")
      // A candidate differs from the one it was made of in one predictor.
      for (const { parameters, parents, trial } of proposals.slice(1)) {
        const parent = proposals.find((proposal) => proposal.trial.index === parents[0])
        const changed = Object.keys(parameters).filter((path) =>
          parameters[path]?.instructions !== parent?.parameters[path]?.instructions
        )
        assert.deepStrictEqual(changed, [trial.origin.replace("instructions of ", "")])
      }
      assert.deepStrictEqual(new Set(proposals.slice(1).map(({ trial }) => trial.origin)).size, 2)
    }))

  it.effect("keeps the module as given when nothing better is written", () =>
    Effect.gen(function*() {
      const compiled = yield* COPRO.compile(sort, { trainset: trainset(8), metric, breadth: 2, depth: 1 }).pipe(
        Effect.provide(
          simulate({
            answer: (request) => isAsked(request) ? render({ proposed_instruction: "Anything." }) : answer(request)
          }).layer
        )
      )
      assert.deepStrictEqual(compiled.parameters, { "": { demos: [] } })
      assert.strictEqual(compiled.difference.mean, 0)
    }))

  it.effect("refuses what makes no sense", () =>
    Effect.gen(function*() {
      const error = yield* COPRO.compile(sort, { trainset: trainset(3), metric, breadth: 1 }).pipe(
        Effect.flip,
        Effect.provide(simulate().layer)
      )
      assert.strictEqual(error.message, "breadth must be a whole number of at least 2, not 1")
    }))
})

contract("COPRO", {
  events: (options) => COPRO.events(sort, { trainset: trainset(16), metric, breadth: 3, depth: 2, ...options }),
  answer,
  budgets: [16, 17, 20, 30, 40],
  stride: 3
})
