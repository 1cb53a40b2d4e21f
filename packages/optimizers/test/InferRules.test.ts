import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as InferRules from "@effect-dspy/optimizers/InferRules"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { contract } from "./contract.ts"
import {
  boxOf,
  exact,
  examples,
  field,
  learner,
  render,
  shown as demonstrated,
  simulate,
  sort,
  textOf
} from "./utilities.ts"

const trainset = examples(12, 4)
const valset = examples(16, 4, 100)

const isAsked = (request: LanguageModel.Request): boolean => textOf(request.messages[0]).includes("`rules`")

// States the rules of the kinds that the last characters of the rollout pick, and nothing that it was not shown.
const answer = (request: LanguageModel.Request): string => {
  const asked = textOf(request.messages.at(-1))
  if (isAsked(request)) {
    const shown = Array.from(asked.matchAll(/"item":"(kind\d)-\d+","box":"([^"]+)"/g), ([, kind, box]) => [kind, box])
    const candidate = Number(/rules (\d+)/.exec(request.settings?.rollout ?? "")?.[1])
    const stated = shown.filter(([kind]) => Number(kind?.slice(-1)) <= candidate)
    return render({
      reasoning: "I looked.",
      rules: Array.from(new Set(stated.map(([kind, box]) => `${kind} goes to ${box}`))).join("; ") || "none"
    })
  }
  const kind = field(asked, "item")?.split("-")[0]
  const rule = new RegExp(`${kind} goes to ([^;\\n]+)`).exec(textOf(request.messages[0]))
  if (rule !== null) return render({ box: rule[1] ?? "" })
  // The first kind it knows by itself.
  return demonstrated(request).length > 0 ? learner(request) : render({ box: kind === "kind0" ? boxOf(kind) : "none" })
}

const options = { trainset, valset, metric: exact, maxBootstrappedDemos: 1, maxLabeledDemos: 0, numCandidates: 4 }

describe("InferRules", () => {
  it.effect("keeps the set of rules that holds on examples it was not made of", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const { candidates, parameters, score } = yield* InferRules.compile(sort, {
        ...options,
        maxBootstrappedDemos: 0
      }).pipe(Effect.provide(model.layer))
      assert.strictEqual(score.mean, 1)
      assert.include(parameters[""]?.instructions, `kind3 goes to ${boxOf("kind3")}`)
      // What the author of the module said stays, in front.
      assert.match(parameters[""]?.instructions ?? "", /^From `item`, work out `box`\.\n\nKeep to these rules:\n/)
      assert.deepStrictEqual(
        candidates.map(({ origin }) => origin).sort(),
        ["as given", "rules", "rules", "rules", "rules"]
      )
      assert.strictEqual(model.requests.filter(isAsked).length, 4)
    }))

  it.effect("by the classical schedule measures every set on every example", () =>
    Effect.gen(function*() {
      const { candidates } = yield* InferRules.compile(sort, { ...options, schedule: "classical" }).pipe(
        Effect.provide(simulate({ answer }).layer)
      )
      assert.strictEqual(candidates.length, 6)
      assert.isTrue(candidates.every(({ complete, score }) => complete && score.known === 16))
    }))

  it.effect("asks with half of the examples where all of them do not fit", () =>
    Effect.gen(function*() {
      const lengths: Array<number> = []
      const inner = yield* LanguageModel.LanguageModel.pipe(Effect.provide(simulate({ answer }).layer))
      const narrow = LanguageModel.make({
        id: "test/narrow",
        generate: (request) => {
          if (!isAsked(request)) return inner.generate(request)
          const count = textOf(request.messages.at(-1)).split(`{"item"`).length - 1
          lengths.push(count)
          return count <= 6 ? inner.generate(request) : Effect.fail(LanguageModelError.make({
            reason: new LanguageModelError.ContextWindowExceeded({ description: "too long" }),
            provider: "test",
            model: "test/narrow"
          }))
        }
      })
      const { score } = yield* InferRules.compile(sort, { ...options, numCandidates: 1, concurrency: 1 }).pipe(
        Effect.provide(Layer.succeed(LanguageModel.LanguageModel, narrow))
      )
      assert.deepStrictEqual(lengths, [12, 6])
      assert.isAbove(score.known, 0)
    }))

  it.effect("makes no rules for a predictor nothing is known of", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: (request) => isAsked(request) ? answer(request) : render({ guess: "wrong" }) })
      const part = Predict.make("item -> guess")
      const compiled = yield* InferRules.compile(Module.map(part, ({ guess }) => ({ box: guess })), options).pipe(
        Effect.provide(model.layer)
      )
      assert.strictEqual(model.requests.filter(isAsked).length, 0)
      assert.strictEqual(compiled.candidates.length, 1)
    }))
})

contract("InferRules", {
  events: (more) =>
    InferRules.events(sort, { ...options, trainset: examples(6, 3), valset: examples(9, 3, 100), ...more }),
  answer,
  budgets: [10, 14, 20, 30],
  stride: 3
})
