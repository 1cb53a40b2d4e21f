import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Stream } from "effect"
import { exact, examples, shuffled, simulate, sort } from "./utilities.ts"

describe("RandomSearch", () => {
  it.effect("smoke", () =>
    Effect.gen(function*() {
      const model = simulate({ latency: shuffled(1) })
      const events = yield* RandomSearch.events(sort, {
        trainset: examples(20, 8),
        valset: examples(24, 8, 100),
        testset: examples(24, 8, 200),
        metric: exact,
        concurrency: 8,
        numCandidatePrograms: 4
      }).pipe(Stream.runCollect, Effect.provide(model.layer))
      for (const event of events) {
        if (event._tag !== "Scored" && event._tag !== "Attempt") console.log(Optimizer.progress(event))
      }
      const last = Chunk.unsafeLast(events)
      console.log(JSON.stringify(last, null, 1).slice(0, 1500), model.requests.length, model.load)
      assert.strictEqual(last._tag, "Done")
    }))
})
