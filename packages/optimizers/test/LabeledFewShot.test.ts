import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as Example from "@effect-dspy/core/Example"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Schema } from "effect"
import { exact, examples, render, simulate, sort } from "./utilities.ts"

const always = () => Effect.succeed({ value: 1 })

/** The demonstrations of a candidate that need not be the winner. */
const demosOf = (compiled: Optimizer.Compiled<unknown>, path: string) =>
  compiled.candidates.find(({ origin }) => origin === "labeled")?.parameters[path]?.demos ?? []

describe("LabeledFewShot", () => {
  const trainset = examples(20, 20)

  it.effect("shows k examples, a random sample unless told otherwise", () =>
    Effect.gen(function*() {
      const items = (options: { readonly k?: number; readonly sample?: boolean; readonly seed?: number }) =>
        LabeledFewShot.compile(sort, { trainset, metric: exact, ...options }).pipe(
          Effect.provide(simulate().layer),
          Effect.map((compiled) => demosOf(compiled, "").map(({ values }) => values["item"]))
        )
      const all = trainset.map(({ inputs }) => inputs.item)
      assert.deepStrictEqual(yield* items({ k: 3, sample: false }), all.slice(0, 3))
      assert.strictEqual((yield* items({})).length, 16)
      assert.sameMembers([...(yield* items({ k: 100 }))], all)
      assert.deepStrictEqual(yield* items({ k: 0 }), [])
      const sampled = yield* items({ k: 5 })
      assert.strictEqual(new Set(sampled).size, 5)
      assert.notDeepEqual(sampled, all.slice(0, 5))
      assert.deepStrictEqual(yield* items({ k: 5 }), sampled)
      assert.notDeepEqual(yield* items({ k: 5, seed: 1 }), sampled)
    }))

  it.effect("gives each predictor a sample of its own, and of each example the fields it has", () =>
    Effect.gen(function*() {
      const program = Module.make(
        { kind: Predict.make("item -> kind"), box: ChainOfThought.make("item, kind -> box") },
        function*(m, input: { readonly item: string }) {
          const { kind } = yield* m.kind(input)
          return yield* m.box({ item: input.item, kind })
        }
      )
      const labeled = trainset.map(({ inputs, labels }) =>
        Example.make({ inputs, labels: { ...labels, kind: inputs.item.split("-")[0]! } })
      )
      const compiled = yield* LabeledFewShot.compile(program, { trainset: labeled, metric: always, k: 4 }).pipe(
        Effect.provide(simulate({ answer: () => render({ kind: "k", reasoning: "r", box: "b" }) }).layer)
      )
      const [kinds, boxes] = ["kind", "box.predict"].map((path) => demosOf(compiled, path))
      assert.deepStrictEqual(Object.keys(kinds![0]!.values).sort(), ["item", "kind"])
      assert.deepStrictEqual(Object.keys(boxes![0]!.values).sort(), ["box", "item", "kind"])
      assert.isTrue([...kinds!, ...boxes!].every(({ augmented }) => !augmented))
      assert.notDeepEqual(kinds!.map(({ values }) => values["item"]), boxes!.map(({ values }) => values["item"]))
    }))

  it.effect("leaves out examples that say nothing about an answer", () =>
    Effect.gen(function*() {
      const program = Module.make(
        { query: Predict.make("item -> query"), box: Predict.make("query -> box") },
        function*(m, input: { readonly item: string }) {
          return yield* m.box(yield* m.query(input))
        }
      )
      const compiled = yield* LabeledFewShot.compile(program, { trainset, metric: exact }).pipe(
        Effect.provide(simulate({ answer: () => render({ query: "q", box: "b" }) }).layer)
      )
      assert.deepStrictEqual(demosOf(compiled, "query"), [])
      assert.deepStrictEqual(demosOf(compiled, "box"), [])
    }))

  it.effect("writes values as their schemas encode them", () =>
    Effect.gen(function*() {
      const when = Predict.make(Signature.make({
        input: { day: Schema.Date },
        output: { tags: Schema.Array(Schema.String), note: Schema.optional(Schema.String) }
      }))
      const trainset = [Example.make({ inputs: { day: new Date(0) }, labels: { tags: ["a"], other: 1 } })]
      const compiled = yield* LabeledFewShot.compile(when, { trainset, metric: always }).pipe(
        Effect.provide(simulate({ answer: () => render({ tags: "[]" }) }).layer)
      )
      assert.deepStrictEqual(demosOf(compiled, "").map(({ values }) => values), [
        { day: "1970-01-01T00:00:00.000Z", tags: ["a"] }
      ])
    }))

  it.effect("keeps instructions and settings", () =>
    Effect.gen(function*() {
      const entry = { instructions: "Sort.", demos: [], settings: { temperature: 0.5 } }
      const instructed = Either.getOrThrow(Module.withParameters(sort, { "": entry }))
      const model = simulate()
      const compiled = yield* LabeledFewShot.compile(instructed, { trainset, metric: exact, k: 1 }).pipe(
        Effect.provide(model.layer)
      )
      const labeled = compiled.candidates.find(({ origin }) => origin === "labeled")?.parameters[""]
      assert.deepInclude(labeled, { instructions: "Sort.", settings: { temperature: 0.5 } })
    }))

  it.effect("asks nothing to make them", () =>
    Effect.gen(function*() {
      const model = simulate()
      yield* LabeledFewShot.compile(sort, { trainset, metric: exact }).pipe(Effect.provide(model.layer))
      assert.strictEqual(model.requests.length, 2 * trainset.length)
    }))
})
