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

const racing = (challengers: ReadonlyArray<Parameters.Parameters>) =>
  search.events({
    optimizer: "Race",
    module: sort,
    options: {
      trainset: valset,
      metric: (example, output: { readonly box: string }) =>
        Effect.succeed({ value: output.box === example.labels.box ? 1 : 0 })
    },
    settings: {},
    check: Effect.void,
    trials: 1 + challengers.length,
    attempts: 0,
    runs: valset.length + race.cost(challengers.length, valset.length),
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

const heard = (challengers: ReadonlyArray<Parameters.Parameters>) =>
  Effect.map(
    Effect.provide(Stream.runCollect(racing(challengers)), model().layer),
    (events) => Array.from<Optimizer.OptimizerEvent<unknown>>(events)
  )

describe("a race", () => {
  it.effect("takes no more runs than it is said to, however many take part", () =>
    Effect.gen(function*() {
      for (const [contenders, total] of [[10, 100], [12, 40], [9, 25]] as const) {
        for (let fewer = 0; fewer <= contenders; fewer++) {
          assert.isAtMost(race.cost(fewer, total), race.cost(contenders, total))
        }
      }
      // Equally good ones are all let into each round, and of ten only eight are different.
      const alike = Array.from({ length: 10 }, (_, index) => knowing(30, `way ${Math.min(index, 7)}:`))
      const events = yield* heard(alike)
      assert.isAtMost(events.at(-1)!.runs.done, events[0]!.runs.planned)
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
