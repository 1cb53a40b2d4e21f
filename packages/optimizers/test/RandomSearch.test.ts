import type * as Module from "@effect-dspy/core/Module"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Option, Stream, TestClock } from "effect"
import { boxOf, exact, examples, field, learner, render, shown, simulate, sort, textOf } from "./utilities.ts"

const trainset = examples(24, 8)
const valset = examples(16, 8, 100)
const options = { trainset, valset, metric: exact }

const run = <M extends Module.Any, E, R>(events: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>) =>
  Effect.map(Stream.runCollect(events), (events) => {
    const all = Chunk.toReadonlyArray(events)
    return { all, done: all.at(-1)!, compiled: Option.getOrThrow(all.at(-1)!.best) }
  })

const byIndex = (compiled: Optimizer.Compiled<unknown>) => compiled.candidates.toSorted((a, b) => a.index - b.index)

const kinds = (candidate: Optimizer.Candidate): string =>
  candidate.parameters[""]!.demos.map(({ augmented }) => augmented ? "a" : "l").join("")

describe("candidates", () => {
  it.effect("are the module as given, without demonstrations, labelled, bootstrapped, and 16 at random", () =>
    Effect.gen(function*() {
      const model = simulate()
      const { compiled } = yield* run(RandomSearch.events(sort, { ...options, schedule: "classical" })).pipe(
        Effect.provide(model.layer)
      )
      const candidates = byIndex(compiled)
      assert.deepStrictEqual(candidates.map(({ seed }) => seed), [
        undefined,
        ...Array.from({ length: 19 }, (_, index) => index - 3)
      ])
      assert.deepStrictEqual(candidates.slice(0, 5).map(({ origin }) => origin), [
        "as given",
        "no demonstrations",
        "labeled",
        "bootstrapped",
        "bootstrapped at random"
      ])
      const [given, none, labeled, bootstrapped, ...random] = candidates.map(kinds)
      assert.deepStrictEqual([given, none, labeled], ["", "", "l".repeat(16)])
      assert.strictEqual(bootstrapped, "a".repeat(4) + "l".repeat(12))
      const sizes = random.map((marks) => marks.lastIndexOf("a") + 1)
      assert.deepStrictEqual([Math.min(...sizes), Math.max(...sizes)], [1, 4])
      assert.isTrue(random.every((marks) => /^a{1,4}l{12,15}$/.test(marks) && marks.length === 16))
      const sets = candidates.slice(4).map(({ parameters }) => JSON.stringify(parameters))
      assert.isAbove(new Set(sets).size, 14)
    }))

  it.effect("can be restricted to some seeds, which does not change them", () =>
    Effect.gen(function*() {
      const of = (restrict?: ReadonlyArray<number>) =>
        RandomSearch.compile(sort, { ...options, restrict, numCandidatePrograms: 6 }).pipe(
          Effect.provide(simulate().layer)
        )
      const all = byIndex(yield* of())
      const some = byIndex(yield* of([5, -2]))
      assert.deepStrictEqual(some.map(({ seed }) => seed), [undefined, -2, 5])
      for (const { parameters, seed } of some) {
        assert.deepStrictEqual(parameters, all.find((candidate) => candidate.seed === seed)?.parameters)
      }
    }))

  it.effect("may be without bootstrapped demonstrations", () =>
    Effect.gen(function*() {
      const { all, compiled } = yield* run(
        RandomSearch.events(sort, {
          ...options,
          maxBootstrappedDemos: 0,
          maxLabeledDemos: 2,
          numCandidatePrograms: 3,
          schedule: "classical"
        })
      ).pipe(Effect.provide(simulate().layer))
      assert.deepStrictEqual(byIndex(compiled).map(kinds), ["", "", "ll", "ll", "ll", "ll", "ll"])
      assert.isFalse(all.some(({ _tag }) => _tag === "Attempt"))
    }))

  it.effect("have each a teacher that is shown other labels, classically", () =>
    Effect.gen(function*() {
      const taught = (schedule: "racing" | "classical") =>
        Effect.gen(function*() {
          const model = simulate()
          yield* RandomSearch.compile(sort, { ...options, schedule, maxLabeledDemos: 4, numCandidatePrograms: 4 }).pipe(
            Effect.provide(model.layer)
          )
          const asked = new Set(trainset.map(({ inputs }) => inputs.item))
          return new Set(model.requests.flatMap((request) =>
            asked.has(field(textOf(request.messages.at(-1)), "item") ?? "")
              ? [JSON.stringify(request.messages.slice(0, -1))]
              : []
          ))
        })
      // The labels of the example itself are left out, so that there may be more prompts than teachers.
      assert.isBelow((yield* taught("racing")).size, 6)
      assert.isAtLeast((yield* taught("classical")).size, 5)
    }))

  it.effect("take labelled examples from the start if they are not to be sampled", () =>
    Effect.gen(function*() {
      const compiled = yield* RandomSearch.compile(sort, {
        ...options,
        restrict: [-2],
        labeledSample: false,
        maxLabeledDemos: 2
      }).pipe(Effect.provide(simulate().layer))
      assert.deepStrictEqual(
        byIndex(compiled)[1]!.parameters[""]?.demos.map(({ values }) => values["item"]),
        ["kind0-0", "kind1-1"]
      )
    }))
})

describe("the winner", () => {
  // Scores a candidate by how many demonstrations it has.
  const byDemos = (score: (demos: number) => number) => {
    const model = simulate({ answer: (request) => render({ box: String(score(shown(request).length)) }) })
    return RandomSearch.events(sort, {
      ...options,
      metric: (example, output) =>
        Effect.succeed({
          value: example.inputs.item.startsWith("kind7") ? 0 : Number(output.box)
        }),
      maxBootstrappedDemos: 3,
      maxLabeledDemos: 0,
      concurrency: 1,
      metricThreshold: 0,
      numCandidatePrograms: 8,
      stopAtScore: 0.7
    }).pipe(run, Effect.provide(model.layer), Effect.map((result) => ({ ...result, model })))
  }

  it.effect("is the first of equals", () =>
    Effect.gen(function*() {
      const { compiled } = yield* byDemos(() => 0.5)
      assert.strictEqual(compiled.candidates[0]?.origin, "as given")
      assert.deepStrictEqual(compiled.parameters, compiled.candidates[0]?.parameters)
    }))

  it.effect("ends the search when its score is what was asked for", () =>
    Effect.gen(function*() {
      // 14 of 16 examples count, so that 0.8 becomes 0.7: as good as asked for, not better.
      const { compiled, done, model } = yield* byDemos((demos) => demos === 3 ? 0.8 : 0.1)
      assert.isTrue(done._tag === "Done" && done.reason === "stopAtScore")
      assert.deepStrictEqual(byIndex(compiled).map(({ origin }) => origin), [
        "as given",
        "no demonstrations",
        "labeled",
        "bootstrapped"
      ])
      assert.closeTo(compiled.score.mean, 0.7, 1e-12)
      // Nothing was started that the end made useless, apart from the search for demonstrations.
      assert.isBelow(model.requests.length, 2 * valset.length + trainset.length + 2)
    }))

  it.effect("does better where demonstrations help", () =>
    Effect.gen(function*() {
      const compiled = yield* RandomSearch.compile(sort, { ...options, testset: examples(40, 8, 500) }).pipe(
        Effect.provide(simulate().layer)
      )
      assert.isAbove(compiled.difference.interval.lower, 0.2)
    }))
})

// Hundreds of runs at once, which take their time on a busy machine.
describe("cost", { timeout: 120_000 }, () => {
  const search = { trainset: examples(40, 16), valset: examples(30, 16, 1000), metric: exact }

  it.effect("is twice the latency of the program, whatever the number of candidates", () =>
    Effect.gen(function*() {
      const model = simulate({ latency: () => Effect.sleep("1 second") })
      const fiber = yield* run(
        RandomSearch.events(sort, { ...search, concurrency: Number.POSITIVE_INFINITY })
      ).pipe(Effect.provide(model.layer), Effect.fork)
      yield* Effect.repeatN(TestClock.adjust("1 second"), 2)
      const { done } = yield* fiber
      assert.strictEqual(done.elapsed, 2000)
    }))

  it.effect("counts each run of the program once, and each training example once for all candidates", () =>
    Effect.gen(function*() {
      const model = simulate()
      const { all, compiled, done } = yield* run(
        RandomSearch.events(sort, { ...search, concurrency: 24 })
      ).pipe(Effect.provide(model.layer))
      const attempts = new Set(all.flatMap((event) => event._tag === "Attempt" ? [event.example] : []))
      assert.isBelow(attempts.size, 40)
      const measured = compiled.candidates.reduce((sum, { score }) => sum + score.known, 0)
      assert.strictEqual(model.requests.length, measured + attempts.size)
      assert.strictEqual(compiled.spend.calls, model.requests.length)
      assert.deepInclude(done, { discarded: { calls: 0, usage: {} } })
    }))

  it.effect("is two thirds of what it takes to measure every candidate on every example", () =>
    Effect.gen(function*() {
      const [racing, classical] = yield* Effect.forEach(["racing", "classical"] as const, (schedule) =>
        Effect.gen(function*() {
          const model = simulate()
          const result = yield* run(RandomSearch.events(sort, { ...search, schedule, concurrency: 8 })).pipe(
            Effect.provide(model.layer)
          )
          return { ...result, requests: model.requests }
        }))
      assert.isBelow(racing!.requests.length, 0.75 * classical!.requests.length)
      assert.isTrue(racing!.all.some(({ _tag }) =>
        _tag === "Retired"
      ))
      // Those that are not drawn at random are measured in full.
      for (const { complete, seed } of racing!.compiled.candidates) if ((seed ?? -1) < 0) assert.isTrue(complete)
      assert.isTrue(classical!.compiled.candidates.every(({ complete }) => complete))
      // The program as given has no demonstrations, so that it is not measured twice.
      assert.isAtLeast(classical!.requests.length, 19 * 30)
    }))

  it.effect("of runs that turn out not to be needed is told", () =>
    Effect.gen(function*() {
      const model = simulate({
        answer: (request) => {
          const item = field(textOf(request.messages.at(-1)), "item") ?? ""
          return shown(request).length > 0 ? learner(request) : render({ box: boxOf(item.split("-")[0] ?? "") })
        }
      })
      const { compiled, done } = yield* run(
        RandomSearch.events(sort, { ...options, concurrency: 16, stopAtScore: 0.5 })
      ).pipe(Effect.provide(model.layer))
      assert.isTrue(done._tag === "Done" && done.discarded.calls > 0)
      assert.isTrue(done._tag === "Done" && compiled.spend.calls + done.discarded.calls <= model.requests.length)
      assert.strictEqual(compiled.spend.calls, valset.length)
    }))
})
