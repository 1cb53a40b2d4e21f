import type * as Parameters from "@effect-dspy/core/Parameters"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as race from "../src/internal/race.ts"
import * as search from "../src/internal/search.ts"
import { boxOf, examples, field, render, simulate, sort, textOf } from "./utilities.ts"

const valset = examples(40, 40)

// Programs that get so many of the items right, each told by an instruction.
const knowing = (count: number, words = ""): Parameters.Parameters => ({
  "": { instructions: `${words} know ${count}`, demos: [] }
})

const model = () =>
  simulate({
    answer: (request) => {
      const known = Number(/know (\d+)/.exec(textOf(request.messages[0]))?.[1] ?? 0)
      const number = Number(field(textOf(request.messages.at(-1)), "item")?.split("-")[1])
      return render({ box: number < known ? boxOf(`kind${number}`) : "none" })
    }
  })

const racing = (challengers: ReadonlyArray<Parameters.Parameters>, concurrency = 32) =>
  search.events({
    optimizer: "Race",
    module: sort,
    options: {
      trainset: valset,
      concurrency,
      metric: (example, output: { readonly box: string }) =>
        Effect.succeed({ value: output.box === example.labels.box ? 1 : 0 })
    },
    settings: {},
    check: Effect.void,
    trials: 1 + challengers.length,
    attempts: 0,
    runs: (window) => valset.length + race.cost(challengers.length, valset.length, window),
    body: (run) =>
      Effect.gen(function*() {
        const given = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
        yield* run.settle([given])
        const contenders = yield* Effect.forEach(
          challengers,
          (parameters) => run.enroll({ origin: "told", parameters, runs: [] })
        )
        yield* race.run(run, contenders, given)
      })
  })

const heard = (challengers: ReadonlyArray<Parameters.Parameters>, concurrency?: number) =>
  Effect.map(
    Effect.provide(Stream.runCollect(racing(challengers, concurrency)), model().layer),
    (events) => Array.from<Optimizer.OptimizerEvent<unknown>>(events)
  )

describe("a race", () => {
  it.effect("takes no more runs than it is said to, however many take part", () =>
    Effect.gen(function*() {
      for (const [contenders, total] of [[10, 100], [12, 40], [9, 25]] as const) {
        for (let fewer = 0; fewer <= contenders; fewer++) {
          assert.isAtMost(race.cost(fewer, total, 1), race.cost(contenders, total, 1))
        }
        assert.strictEqual(race.cost(contenders, total, Number.POSITIVE_INFINITY), contenders * total)
      }
      // Equally good ones are all let into each round, and of ten only eight are different.
      const alike = Array.from({ length: 10 }, (_, index) => knowing(30, `way ${Math.min(index, 7)}:`))
      for (const concurrency of [1, 32, 80, 150, 200, 320, Number.POSITIVE_INFINITY]) {
        const events = yield* heard(alike, concurrency)
        assert.isAtMost(events.at(-1)!.runs.done, events[0]!.runs.planned)
      }
    }))

  it.effect("comes out the same with room for all of it at once, in one turn of the model", () =>
    Effect.gen(function*() {
      const challengers = Array.from({ length: 8 }, (_, index) => knowing(5 * index))
      const told = (concurrency: number) =>
        Effect.map(heard(challengers, concurrency), (events) => ({
          events: JSON.stringify(
            events.filter(({ _tag }) => _tag !== "Plan" && _tag !== "Done").map((event) => ({
              ...event,
              runs: 0,
              elapsed: 0
            }))
          ),
          runs: events.at(-1)!.runs.done
        }))
      const [one, few, all] = yield* Effect.forEach([1, 64, Number.POSITIVE_INFINITY], told)
      assert.strictEqual(few!.events, one!.events)
      assert.strictEqual(all!.events, one!.events)
      // What is not waited for is paid for.
      assert.isBelow(one!.runs, all!.runs)
      assert.strictEqual(all!.runs, 9 * valset.length)
    }))

  it.effect("is run by each program once, even if it was written several times", () =>
    Effect.gen(function*() {
      const events = yield* heard([
        ...Array.from({ length: 8 }, () => knowing(30)),
        knowing(10),
        knowing(35)
      ])
      const tagged = (tag: "Retired" | "TrialEnd") =>
        events.flatMap((event) => event._tag === tag && "trial" in event ? [event.trial.index] : [])
      const [retired, ended] = [tagged("Retired"), tagged("TrialEnd")]
      assert.strictEqual(new Set(retired).size, retired.length)
      assert.deepStrictEqual(retired.filter((index) => ended.includes(index)), [])
      // The copies take nobody's place in the last round.
      const last = events.at(-1)
      const best = last?._tag === "Done" && last.best._tag === "Some" ? last.best.value : undefined
      assert.deepStrictEqual(best?.parameters, knowing(35))
    }))
})
