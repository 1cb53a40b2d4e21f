import * as Example from "@effect-dspy/core/Example"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as Scoring from "@effect-dspy/core/Scoring"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

const draftThenAnswer = Module.make(
  { draft: Predict.make("question -> draft"), answer: Predict.make("draft -> answer") },
  function*(m, input: { readonly question: string }) {
    return yield* m.answer(yield* m.draft(input))
  }
)

const examples = [Example.make({ id: "1", inputs: { question: "2 + 2?" }, labels: { answer: "4" } })]

const evaluator = Scoring.evaluator({
  id: "test",
  module: draftThenAnswer,
  examples,
  metric: (example, output) => Effect.succeed({ value: output.answer === example.labels.answer ? 1 : 0 })
})

const task: Scoring.Task = { candidate: Module.parameters(draftThenAnswer), example: "1", trace: true }

const usage = { inputTokens: 10, outputTokens: 1 }

const costing = (values: { readonly [name: string]: string }) =>
  TestLanguageModel.fields(values).pipe(TestLanguageModel.withUsage(usage))

describe("Scoring.evaluator", () => {
  it.effect("returns the calls of a run that was scored, and its cost", () =>
    Effect.gen(function*() {
      const scored = yield* evaluator.run(task)
      if (scored._tag === "Failed") return assert.fail(scored.message)
      assert.strictEqual(scored.score, 1)
      assert.deepStrictEqual(scored.trace?.map(({ path }) => path), ["draft", "answer"])
      assert.deepStrictEqual([scored.calls, scored.usage], [2, { inputTokens: 20, outputTokens: 2 }])
    }).pipe(Effect.provide(TestLanguageModel.layer([
      costing({ draft: "four" }),
      costing({ answer: "4" })
    ]))))

  it.effect("returns the calls that were answered before a run failed, and their cost", () =>
    Effect.gen(function*() {
      const scored = yield* evaluator.run(task)
      if (scored._tag === "Scored") return assert.fail("scored")
      assert.deepStrictEqual([scored.error, scored.transient], ["Overloaded", true])
      assert.deepStrictEqual(scored.trace, [
        { path: "draft", listed: true, inputs: { question: "2 + 2?" }, outputs: { draft: "four" } }
      ])
      assert.deepStrictEqual([scored.calls, scored.usage], [1, usage])
    }).pipe(Effect.provide(TestLanguageModel.layer([
      costing({ draft: "four" }),
      TestLanguageModel.fail("Overloaded")
    ]))))

  it.effect("tells the call that a run failed in, with the answer that could not be read", () =>
    Effect.gen(function*() {
      const scored = yield* evaluator.run(task)
      if (scored._tag === "Scored") return assert.fail("scored")
      assert.deepStrictEqual([scored.error, scored.transient], ["AdapterParseError", false])
      assert.deepStrictEqual(scored.trace?.map(({ path }) => path), ["draft"])
      assert.deepStrictEqual(scored.call, {
        path: "answer",
        listed: true,
        inputs: { draft: "four" },
        answer: "It is 4."
      })
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ draft: "four" }),
      TestLanguageModel.text("It is four."),
      TestLanguageModel.text("It is 4.")
    ]))))

  it.effect("does not take a call that the program got over for the one it failed in", () =>
    Effect.gen(function*() {
      const stubborn = Module.make(
        { draft: Predict.make("question -> draft") },
        function*(m, input: { readonly question: string }) {
          yield* Effect.either(m.draft(input))
          return yield* Effect.fail("no draft")
        }
      )
      const scored = yield* Scoring.evaluator({
        id: "test",
        module: stubborn,
        examples,
        metric: () => Effect.succeed({ value: 1 })
      })
        .run({ candidate: {}, example: "1", trace: true })
      if (scored._tag === "Scored") return assert.fail("scored")
      assert.deepStrictEqual([scored.message, scored.call], ["no draft", undefined])
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.text("It is 4.")]))))

  it.effect("passes on what the metric says, of the whole and of single predictors", () =>
    Effect.gen(function*() {
      const words = { feedback: "wrong", predictors: { draft: "too long" } }
      const critical = Scoring.evaluator({
        id: "test",
        module: draftThenAnswer,
        examples,
        metric: () => Effect.succeed({ value: 0, ...words })
      })
      assert.deepInclude(yield* critical.run({ ...task, trace: false }), { _tag: "Scored", score: 0, ...words })
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ draft: "four" }),
      TestLanguageModel.fields({ answer: "4" })
    ]))))

  it.effect("keeps no calls unless asked to", () =>
    Effect.gen(function*() {
      const scored = yield* evaluator.run({ ...task, trace: false })
      assert.strictEqual(scored.trace, undefined)
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ draft: "four" }),
      TestLanguageModel.fields({ answer: "4" })
    ]))))
})

describe("ModuleEvent.metered", () => {
  it.effect("an answer that was replayed costs nothing, asked for or streamed", () =>
    Effect.gen(function*() {
      const replay = LanguageModel.make({
        id: "test/replay",
        generate: () =>
          Effect.succeed({ ...LanguageModel.text("[[ ## draft ## ]]\nfour", "test/replay"), cached: true as const })
      })
      const heard: Array<boolean> = []
      for (const deltas of [true, false]) {
        const { calls } = yield* Predict.make("question -> draft")({ question: "2 + 2?" }).pipe(
          ModuleEvent.listen({
            deltas,
            emit: (events) =>
              Effect.sync(() => {
                for (const event of events) if (event._tag === "UsageReported") heard.push(event.cached)
              })
          }),
          ModuleEvent.metered,
          Effect.provideService(LanguageModel.LanguageModel, replay)
        )
        assert.strictEqual(calls, 0)
      }
      assert.deepStrictEqual(heard, [true, true])
    }))

  it.effect("counts what a failure has cost", () =>
    Effect.gen(function*() {
      const metered = yield* ModuleEvent.metered(Effect.either(draftThenAnswer({ question: "2 + 2?" })))
      assert.strictEqual(metered.value._tag, "Left")
      assert.deepStrictEqual([metered.calls, metered.usage], [1, usage])
    }).pipe(Effect.provide(TestLanguageModel.layer([
      costing({ draft: "four" }),
      TestLanguageModel.fail("Overloaded")
    ]))))
})
