import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Journal from "@effect-dspy/optimizers/Journal"
import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema, Stream } from "effect"
import * as runs from "../src/internal/runs.ts"
import * as search from "../src/internal/search.ts"
import { exact, examples, field, learner, render, shuffled, simulate, sort, textOf } from "./utilities.ts"

const trainset = examples(8, 4)
const valset = examples(12, 4, 100)

const Hints = Schema.Struct({ hints: Schema.String })
const hint = Predict.make("topic -> hints")

// The first examples of the training set as demonstrations.
const shown = (count: number): Parameters.Parameters => ({
  [sort.predictors[0]!.path]: {
    demos: trainset.slice(0, count).map(({ inputs, labels }) => Parameters.demo({ ...inputs, ...labels }))
  }
})

interface Heard {
  readonly measured: Array<ReadonlyArray<number | undefined>>
  readonly hints: Array<string | undefined>
}

// Two candidates race on a third of the examples; the better one is measured on all.
const racing = (
  options:
    & Partial<
      Optimizer.Options<{ readonly item: string }, { readonly box: string }, { readonly box: string }, never, never>
    >
    & {
      readonly promptModel?: Layer.Layer<LanguageModel.LanguageModel> | undefined
      readonly heard?: Heard | undefined
    } = {}
) =>
  search.events({
    optimizer: "Racing",
    module: sort,
    options: { trainset, valset, metric: exact, ...options },
    settings: {},
    check: Effect.void,
    trials: 3,
    attempts: 0,
    prompts: 1,
    promptModel: search.promptModel(options),
    body: (run) =>
      Effect.gen(function*() {
        const given = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
        yield* run.settle([given])
        const asked = yield* run.ask({
          place: "hints",
          purpose: "hints",
          module: hint,
          input: { topic: "boxes" },
          schema: Hints
        })
        options.heard?.hints.push(Option.getOrUndefined(asked.output)?.hints)
        const few = yield* run.enroll({ origin: "few", parameters: shown(1), runs: [asked], parents: [0] })
        const many = yield* run.enroll({ origin: "many", parameters: shown(8), runs: [], parents: [0] })
        assert.strictEqual((yield* run.enroll({ origin: "again", parameters: shown(8), runs: [] })).index, many.index)
        const first = run.selection.slice(0, 4)
        const met = yield* run.measure(
          [few, many].flatMap((contender) => first.map((example) => ({ contender, example })))
        )
        options.heard?.measured.push(met.map(runs.scoreOf))
        const mean = (scores: ReadonlyArray<number | undefined>) => scores.reduce<number>((sum, s) => sum + (s ?? 0), 0)
        const [better, worse] = mean(run.scores(few)) > mean(run.scores(many)) ? [few, many] : [many, few]
        yield* run.retire(worse, "behind")
        yield* run.settle([better])
      })
  })

const artifact = (compiled: Optimizer.Compiled<unknown>) => {
  const { module: _, ...rest } = compiled
  return JSON.stringify(rest)
}

const answering = (request: LanguageModel.Request) =>
  field(textOf(request.messages.at(-1)), "topic") === undefined ? learner(request) : render({ hints: "look closely" })

describe("search", () => {
  it.effect("measures contenders on some examples, and those that are settled on all of them", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: answering })
      const heard: Heard = { measured: [], hints: [] }
      const events = yield* Stream.runCollect(racing({ heard })).pipe(Effect.provide(model.layer))
      const tags = Array.from(events, ({ _tag }) => _tag).filter((tag) => tag !== "Scored")
      assert.deepStrictEqual(tags, [
        "Plan",
        "Proposal",
        "TrialStart",
        "TrialEnd",
        "NewBest",
        "Asked",
        "Proposal",
        "Proposal",
        "TrialStart",
        "TrialStart",
        "Retired",
        "Promotion",
        "TrialEnd",
        "NewBest",
        "Done"
      ])
      const compiled = Option.getOrThrow(yield* Optimizer.best(Stream.fromIterable(events)))
      assert.deepStrictEqual(
        compiled.candidates.map(({ complete, origin, score }) => [origin, complete, score.known]),
        [
          ["many", true, 12],
          ["as given", true, 12],
          ["few", false, 4]
        ]
      )
      assert.strictEqual(compiled.score.mean, 1)
      assert.deepStrictEqual(heard.hints, ["look closely"])
      // 12 as given, 1 asked, 2 × 4 in the race, and the 8 that the winner had not met.
      assert.strictEqual(model.requests.length, 29)
      assert.strictEqual(compiled.spend.calls, 29)
    }))

  it.effect("counts an example once that is listed twice", () =>
    Effect.gen(function*() {
      const once = yield* search.compile(racing()).pipe(Effect.provide(simulate({ answer: answering }).layer))
      const twice = yield* search.compile(racing({ valset: [...valset, ...valset.slice(0, 5)] })).pipe(
        Effect.provide(simulate({ answer: answering }).layer)
      )
      assert.strictEqual(artifact(twice), artifact(once))
    }))

  it.effect("gives the same result whatever runs at once and however long it takes", () =>
    Effect.gen(function*() {
      const artifacts = new Set<string>()
      for (const concurrency of [1, 8, 64]) {
        for (let seed = 0; seed < 5; seed++) {
          const model = simulate({ answer: answering, latency: shuffled(seed) })
          const compiled = yield* search.compile(racing({ concurrency })).pipe(Effect.provide(model.layer))
          artifacts.add(artifact(compiled))
        }
      }
      assert.strictEqual(artifacts.size, 1)
    }))

  it.effect("continues after being stopped at any event, and pays for nothing twice", () =>
    Effect.gen(function*() {
      const whole = yield* search.compile(racing()).pipe(Effect.provide(simulate({ answer: answering }).layer))
      for (let stop = 1; stop < 55; stop += 3) {
        const model = simulate({ answer: answering })
        const resumed = yield* Stream.runDrain(Stream.take(racing({ concurrency: 4 }), stop)).pipe(
          Effect.zipRight(search.compile(racing())),
          Effect.provide(Layer.merge(model.layer, Journal.layerMemory))
        )
        assert.strictEqual(artifact(resumed), artifact(whole))
        // Runs that were under way when it was stopped are lost, and nothing else.
        assert.isAtMost(model.requests.length, 29 + 4)
      }
    }))

  it.effect("ends with the best so far when the budget does, at the same place each time", () =>
    Effect.gen(function*() {
      for (const calls of [12, 13, 15, 20, 25, 28]) {
        const artifacts = new Set<string>()
        for (const concurrency of [1, 8]) {
          const model = simulate({ answer: answering, latency: shuffled(concurrency) })
          const events = yield* Stream.runCollect(racing({ budget: { calls }, concurrency })).pipe(
            Effect.provide(model.layer)
          )
          const last = Array.from(events).at(-1)
          assert.strictEqual(last?._tag === "Done" ? last.reason : undefined, "budget")
          assert.isAtMost(model.requests.length, calls)
          artifacts.add(artifact(Option.getOrThrow(yield* Optimizer.best(Stream.fromIterable(events)))))
        }
        assert.strictEqual(artifacts.size, 1)
      }
    }))

  it.effect("asks the prompt model, and nothing else of it", () =>
    Effect.gen(function*() {
      const task = simulate()
      const writer = simulate({ answer: () => render({ hints: "from the writer" }) })
      const heard: Heard = { measured: [], hints: [] }
      yield* search.compile(racing({ heard, promptModel: writer.layer })).pipe(Effect.provide(task.layer))
      assert.deepStrictEqual(heard.hints, ["from the writer"])
      assert.deepStrictEqual([task.requests.length, writer.requests.length], [28, 1])
    }))

  it.effect("says when the prompt model could not answer, and decides the same when resumed", () =>
    Effect.gen(function*() {
      const heard: Heard = { measured: [], hints: [] }
      let down = true
      const writer = simulate({ answer: () => render({ hints: "too late" }), fails: () => down })
      const run = racing({ heard, promptModel: writer.layer })
      const [first, again] = yield* Effect.gen(function*() {
        const first = yield* Stream.runCollect(run)
        down = false
        return [first, yield* search.compile(run)] as const
      }).pipe(Effect.provide(Layer.merge(simulate().layer, Journal.layerMemory)))
      assert.isTrue(Array.from(first).some((event) => event._tag === "Asked" && event.outcome === "failed"))
      assert.deepStrictEqual(heard.hints, [undefined, undefined])
      assert.strictEqual(writer.requests.length, 1)
      assert.strictEqual(
        artifact(again),
        artifact(Option.getOrThrow(yield* Optimizer.best(Stream.fromIterable(first))))
      )
    }))
})
