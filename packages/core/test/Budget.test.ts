import * as Budget from "@effect-dspy/core/Budget"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, FastCheck, Fiber, Ref, Scope, TestClock } from "effect"

const spend = (budget: Budget.Service, amount: Budget.Amount, actual = amount) =>
  Effect.scoped(Effect.flatMap(budget.reserve(amount), (reservation) => reservation.settle(actual)))

describe("Budget", () => {
  it.effect("holds what is reserved, and keeps what was really spent", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ calls: 3, tokens: 100, cost: 1 })
      yield* Effect.scoped(Effect.gen(function*() {
        const reservation = yield* budget.reserve({ calls: 1, tokens: 60, cost: 0.5 })
        assert.deepStrictEqual(yield* budget.remaining, { calls: 2, tokens: 40, cost: 0.5 })
        yield* reservation.settle({ calls: 1, tokens: 20, cost: 0.25 })
        assert.deepStrictEqual(yield* budget.remaining, { calls: 2, tokens: 80, cost: 0.75 })
        yield* reservation.settle({ tokens: 80 })
      }))
      assert.deepStrictEqual(yield* budget.remaining, { calls: 2, tokens: 80, cost: 0.75 })
    }))

  it.effect("is never put out of order by what is no amount", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ calls: 3, tokens: 100, cost: Infinity })
      yield* spend(budget, { calls: 1, tokens: 40, cost: Infinity }, { calls: 1, tokens: NaN, cost: 1 })
      yield* spend(budget, { tokens: 20 }, { tokens: -50 })
      assert.deepStrictEqual(yield* budget.remaining, { calls: 2, tokens: 40 })
      for (const tokens of [-1, NaN]) {
        assert.throws(() => Budget.make({ tokens }), RangeError, `the limit of tokens must be a number of at least 0`)
        assert.throws(() => budget.within({ tokens }), RangeError)
        assert.throws(() => budget.reserve({ tokens }), RangeError, `the amount of tokens must be a number`)
      }
    }))

  it.effect("a reservation that is not settled is given back, however its scope ends", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ calls: 1 })
      yield* Effect.scoped(budget.reserve({ calls: 1 }))
      assert.deepStrictEqual(yield* budget.remaining, { calls: 1 })
      yield* Effect.exit(Effect.scoped(Effect.zipRight(budget.reserve({ calls: 1 }), Effect.fail("boom"))))
      assert.deepStrictEqual(yield* budget.remaining, { calls: 1 })
      const held = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(Effect.scoped(
        budget.reserve({ calls: 1 }).pipe(
          Effect.zipRight(Deferred.succeed(held, undefined)),
          Effect.zipRight(Effect.never)
        )
      ))
      yield* Deferred.await(held)
      assert.deepStrictEqual(yield* budget.remaining, { calls: 0 })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* budget.remaining, { calls: 1 })
    }))

  it.effect("refuses what does not fit, takes nothing of it, and says what was short", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ calls: 5, tokens: 100 })
      const error = yield* Effect.flip(Effect.scoped(budget.reserve({ calls: 1, tokens: 101 })))
      assert.deepInclude(error, { _tag: "BudgetExceeded", resource: "tokens", limit: 100, remaining: 100 })
      assert.deepStrictEqual(yield* budget.remaining, { calls: 5, tokens: 100 })
      yield* spend(budget, { calls: 1, tokens: 100 })
      // Nothing left is nothing left, also for a call whose tokens nobody knows yet.
      const empty = yield* Effect.flip(Effect.scoped(budget.reserve({ calls: 1, tokens: 0 })))
      assert.deepInclude(empty, { resource: "tokens", remaining: 0 })
      // What is not limited, or not asked for, does not matter.
      yield* spend(budget, { calls: 1, cost: 1e9 })
      assert.deepStrictEqual(yield* budget.remaining, { calls: 3, tokens: 0 })
    }))

  it.effect("what cost more than was reserved is counted all the same", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ tokens: 100 })
      yield* spend(budget, { tokens: 10 }, { tokens: 130 })
      assert.deepStrictEqual(yield* budget.remaining, { tokens: 0 })
      const [held] = yield* Effect.scoped(Effect.all([Effect.either(budget.reserve({ tokens: 1 }))]))
      assert.strictEqual(held._tag, "Left")
    }))

  it.effect("time runs from the start, by the Clock", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ time: "1 minute" })
      yield* TestClock.adjust("59 seconds")
      yield* spend(budget, { calls: 1 })
      assert.deepStrictEqual(yield* budget.remaining, { time: 1000 })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* budget.remaining, { time: 0 })
      const error = yield* Effect.flip(spend(budget, { calls: 1 }))
      assert.deepInclude(error, { resource: "time", limit: 60_000, remaining: 0 })
    }))

  it.effect("of a budget inside a budget both must have it, or neither gives", () =>
    Effect.gen(function*() {
      const outer = yield* Budget.make({ calls: 10, tokens: 50 })
      const inner = yield* outer.within({ calls: 3 })
      const deep = yield* inner.within({ cost: 1, time: "1 hour" })
      yield* spend(deep, { calls: 2, tokens: 20, cost: 0.5 })
      assert.deepStrictEqual(yield* outer.remaining, { calls: 8, tokens: 30 })
      assert.deepStrictEqual(yield* inner.remaining, { calls: 1, tokens: 30 })
      assert.deepStrictEqual(yield* deep.remaining, { calls: 1, tokens: 30, cost: 0.5, time: 3_600_000 })
      const error = yield* Effect.flip(spend(deep, { calls: 1, tokens: 31, cost: 0.1 }))
      assert.deepInclude(error, { resource: "tokens", limit: 50, remaining: 30 })
      assert.deepInclude(yield* Effect.flip(spend(inner, { calls: 2 })), { resource: "calls", limit: 3, remaining: 1 })
      assert.deepStrictEqual(yield* deep.remaining, { calls: 1, tokens: 30, cost: 0.5, time: 3_600_000 })
      yield* spend(outer, { calls: 8 })
      assert.deepInclude(yield* Effect.flip(spend(inner, { calls: 1 })), { resource: "calls", limit: 10, remaining: 0 })
    }))

  it.effect("a thousand at once never go over it, and use all of it", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ calls: 100, tokens: 5000 })
      const running = yield* Ref.make(0)
      const spent = yield* Ref.make(0)
      const racer = (index: number) =>
        Effect.scoped(Effect.gen(function*() {
          const reservation = yield* budget.reserve({ calls: 1, tokens: 50 })
          const now = yield* Ref.updateAndGet(running, (n) => n + 1)
          assert.isAtMost(now + (yield* Ref.get(spent)), 100)
          yield* Effect.repeatN(Effect.yieldNow(), index % 7)
          yield* Ref.update(running, (n) => n - 1)
          // Every fourth leaves without having spent anything.
          if (index % 4 === 0) return
          yield* Ref.update(spent, (n) => n + 1)
          yield* reservation.settle({ calls: 1, tokens: 40 })
        })).pipe(
          Effect.tapError(() => Effect.yieldNow()),
          Effect.retry({ while: () => Effect.map(Ref.get(spent), (n) => n < 100) }),
          Effect.exit
        )
      const exits = yield* Effect.forEach(Array.from({ length: 1000 }, (_, n) => n), racer, {
        concurrency: "unbounded"
      })
      assert.strictEqual(yield* Ref.get(spent), 100)
      assert.isTrue(exits.some(Exit.isFailure))
      assert.deepStrictEqual(yield* budget.remaining, { calls: 0, tokens: 1000 })
    }))

  it.effect("is what it was, whatever is reserved, settled and given back", () =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(
          FastCheck.array(FastCheck.record({
            calls: FastCheck.nat(4),
            actual: FastCheck.option(FastCheck.nat(6)),
            inner: FastCheck.boolean()
          })),
          (steps) =>
            Effect.runPromise(Effect.gen(function*() {
              const outer = yield* Budget.make({ calls: 20 })
              const inner = yield* outer.within({ calls: 10 })
              let spentOuter = 0
              let spentInner = 0
              for (const step of steps) {
                const scope = yield* Scope.make()
                const budget = step.inner ? inner : outer
                const left = (yield* budget.remaining).calls ?? 0
                const reserved = yield* Effect.either(Scope.extend(budget.reserve({ calls: step.calls }), scope))
                assert.strictEqual(reserved._tag === "Right", left > 0 && step.calls <= left)
                if (reserved._tag === "Right" && step.actual !== null) {
                  yield* reserved.right.settle({ calls: step.actual })
                  spentOuter += step.actual
                  if (step.inner) spentInner += step.actual
                }
                yield* Scope.close(scope, Exit.void)
                assert.deepStrictEqual(yield* outer.remaining, { calls: Math.max(0, 20 - spentOuter) })
                assert.deepStrictEqual(yield* inner.remaining, {
                  calls: Math.max(0, Math.min(20 - spentOuter, 10 - spentInner))
                })
              }
            }))
        ),
        { seed: 6, numRuns: 100 }
      )
    ))

  it.effect("is a service of the program", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(
        Effect.flatMap(Budget.reserve({ calls: 1 }), (reservation) => reservation.settle({ calls: 1 }))
      )
      assert.deepStrictEqual(yield* Budget.remaining, { calls: 1 })
    }).pipe(Effect.provide(Budget.layer({ calls: 2 }))))
})
