import * as Finetuning from "@effect-dspy/core/Finetuning"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, TestClock } from "effect"

/** A training that is over after so many seconds, and when it was asked for. */
const training = (end: number, last: Finetuning.Job) => {
  const asked: Array<number> = []
  const service: Finetuning.Service = {
    start: () => Effect.succeed({ id: "job", status: "pending" }),
    job: (id) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        asked.push(now / 1000)
        return now / 1000 < end ? { id, status: "running" } : last
      }),
    cancel: (id) => Effect.succeed({ id, status: "cancelled" })
  }
  return { asked, service }
}

describe("wait", () => {
  it.effect("asks less and less often, but every minute", () =>
    Effect.gen(function*() {
      const { asked, service } = training(600, { id: "job", status: "succeeded", tuned: "mine" })
      const fiber = yield* Finetuning.wait("job").pipe(
        Effect.provideService(Finetuning.Finetuning, service),
        Effect.fork
      )
      yield* TestClock.adjust("11 minutes")
      assert.strictEqual(yield* Fiber.join(fiber), "mine")
      assert.deepStrictEqual(asked.slice(0, 4), [0, 5, 12.5, 23.75])
      const pauses = asked.slice(1).map((at, index) => at - asked[index]!) // one before each
      assert.strictEqual(Math.max(...pauses), 60)
    }))

  it.effect("says why there is no model", () =>
    Effect.gen(function*() {
      const outcome = (job: Finetuning.Job) =>
        Effect.flip(Finetuning.wait("job")).pipe(
          Effect.map(({ message }) => message),
          Effect.provideService(Finetuning.Finetuning, training(0, job).service)
        )
      assert.deepStrictEqual(
        yield* Effect.all([
          outcome({ id: "job", status: "failed", problem: "too few examples" }),
          outcome({ id: "job", status: "cancelled" }),
          outcome({ id: "job", status: "succeeded" })
        ]),
        [
          "The training job was not successful: too few examples",
          "The training job was cancelled",
          "The training job was not successful: it has no name for the model"
        ]
      )
    }))
})
