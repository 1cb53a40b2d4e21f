import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import * as flights from "../src/internal/flights.ts"

const setup = Effect.gen(function*() {
  const shared = yield* flights.make<number, string>()
  const gate = yield* Deferred.make<void>()
  const seen = { started: 0, stopped: 0 }
  const work = Effect.suspend(() => {
    const value = ++seen.started
    return Effect.as(Deferred.await(gate), value)
  }).pipe(Effect.onInterrupt(() => Effect.sync(() => seen.stopped++)))
  return { shared, gate, seen, join: shared.join("a", work) }
})

describe("flights", () => {
  it.scoped("do what several ask for once", () =>
    Effect.gen(function*() {
      const { gate, join, seen } = yield* setup
      const all = yield* Effect.fork(Effect.all(Array.from({ length: 100 }, () => join), { concurrency: "unbounded" }))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(new Set(yield* Fiber.join(all)), new Set([1]))
      assert.strictEqual(yield* join, 1)
      assert.strictEqual(seen.started, 1)
    }))

  it.scoped("go on when the one who asked first leaves, and stop when the last one does", () =>
    Effect.gen(function*() {
      const { gate, join, seen } = yield* setup
      const [first, second] = [yield* Effect.fork(join), yield* Effect.fork(join)]
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(first!)
      assert.strictEqual(seen.stopped, 0)
      yield* Fiber.interrupt(second!)
      assert.deepStrictEqual(seen, { started: 1, stopped: 1 })

      const again = yield* Effect.fork(join)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(again), 2)
    }))

  it.scoped("are tried again after a failure", () =>
    Effect.gen(function*() {
      const shared = yield* flights.make<number, string>()
      assert.deepStrictEqual(yield* Effect.exit(shared.join("a", Effect.fail("no"))), Exit.fail("no"))
      assert.strictEqual(yield* shared.join("a", Effect.succeed(1)), 1)
    }))
})
