/**
 * How long a program takes whose parts do not wait for each other: as long as the
 * longest of them, while it is watched as well.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Option, Stream, TestClock } from "effect"

const model = TestLanguageModel.layer(() =>
  TestLanguageModel.delayed(TestLanguageModel.fields({ text: "t" }), "50 millis")
)

const step = Module.map(Predict.make("draft -> text"), ({ text }) => ({ draft: text }))
const inTurn = (steps: number): typeof step => steps === 1 ? step : Module.andThen(step, inTurn(steps - 1))

// How many latencies of the model a program takes, and how many calls it makes.
const measured = <Out, E>(module: Module.Module<{ readonly draft: string }, Out, E, LanguageModel.LanguageModel>) =>
  Effect.gen(function*() {
    const running = yield* Effect.fork(Stream.runCollect(ModuleStream.events(module, { draft: "?" })))
    let latencies = 0
    while (Option.isNone(yield* Fiber.poll(running))) {
      latencies++
      // In two steps: nothing happens before the whole of it is over.
      yield* TestClock.adjust("49 millis")
      yield* TestClock.adjust("1 millis")
      yield* Effect.repeatN(Effect.yieldNow(), 100)
    }
    const events = Chunk.toReadonlyArray(yield* Fiber.join(running))
    return { latencies, calls: events.filter(({ _tag }) => _tag === "PredictorEnd").length }
  })

describe("a program of several branches", () => {
  it.effect("takes as long as the longest of them, not as all", () =>
    Effect.gen(function*() {
      const branches = Array.from({ length: 8 }, (_, n) => inTurn(n === 3 ? 3 : 1))
      const parallel = Module.all(branches, () => ({ draft: "all" }))
      assert.deepStrictEqual(yield* measured(parallel), { latencies: 3, calls: 10 })
      assert.deepStrictEqual(yield* measured(Module.andThen(parallel, step)), { latencies: 4, calls: 11 })
      assert.deepStrictEqual(yield* measured(inTurn(10)), { latencies: 10, calls: 10 })
    }).pipe(Effect.provide(model)))

  it.effect("written as a function, too", () =>
    Effect.gen(function*() {
      const program = Module.make(
        { left: inTurn(2), right: step, join: step },
        function*(m, input: { readonly draft: string }) {
          const [left, right] = yield* Effect.all([m.left(input), m.right(input)], { concurrency: "unbounded" })
          return yield* m.join({ draft: left.draft + right.draft })
        }
      )
      assert.deepStrictEqual(yield* measured(program), { latencies: 3, calls: 4 })
    }).pipe(Effect.provide(model)))
})
