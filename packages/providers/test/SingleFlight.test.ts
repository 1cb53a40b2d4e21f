import * as Budget from "@effect-dspy/core/Budget"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Exit, Fiber, Metric, Option, Scope, Stream, TestClock } from "effect"
import * as BudgetPolicy from "../src/BudgetPolicy.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as SingleFlight from "../src/SingleFlight.ts"
import * as UsageLedger from "../src/UsageLedger.ts"
import * as FaultServer from "./FaultServer.ts"
import {
  breaking,
  broken,
  collected,
  completed,
  failureOf,
  finish,
  policed,
  request,
  served,
  text,
  textOf
} from "./policing.ts"

const { delayed, deltas, fail, text: says } = TestLanguageModel

const thousand = Array.from({ length: 1000 })

// A model that counts how many streams were opened, are open, and how often it was asked for more.
const counted = (each: ReadonlyArray<LanguageModel.Delta>) => {
  const state = { opened: 0, open: 0, pulled: 0 }
  const model = LanguageModel.make({
    id: "test/model",
    stream: () =>
      Stream.unwrapScoped(Effect.as(
        Effect.acquireRelease(
          Effect.sync(() => {
            state.opened++
            state.open++
          }),
          () => Effect.sync(() => state.open--)
        ),
        Stream.mapEffect(Stream.rechunk(Stream.fromIterable(each), 1), (delta) => {
          state.pulled++
          return Effect.delay(Effect.succeed(delta), "1 second")
        })
      ))
  })
  return { model, state }
}

const hello = [text("he"), text("llo"), finish, completed()]

// The same for those who have not paid for it.
const again = [...hello.slice(0, -1), { ...completed(), cached: true as const }]

describe("SingleFlight", () => {
  it.scoped("a thousand equal calls are one, and all get its answer", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(SingleFlight.make(), () => delayed(says("hello"), "1 second"))
      const fibers = yield* Effect.forEach(thousand, () => Effect.fork(model.generate(request)))
      yield* TestClock.adjust("1 second")
      const responses = yield* Effect.forEach(fibers, Fiber.join)
      assert.isTrue(responses.every((response) => textOf(response) === "hello"))
      assert.strictEqual(yield* sent, 1)
      // It is over: the next one is a call of its own.
      const again = yield* Effect.fork(model.generate(request))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(again)
      assert.strictEqual(yield* sent, 2)
    }))

  it.scoped("999 of a thousand leave, the first one among them: still one call and one answer", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(SingleFlight.make(), () => delayed(says("hello"), "1 second"))
      const fibers = yield* Effect.forEach(thousand, () => Effect.fork(model.generate(request)))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interruptAll(fibers.slice(0, -1))
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(textOf(yield* Fiber.join(fibers.at(-1)!)), "hello")
      assert.strictEqual(yield* sent, 1)
    }))

  it.scoped("the same of streams", () =>
    Effect.gen(function*() {
      const { model, state } = counted(hello)
      const policed = yield* SingleFlight.make()(model)
      const fibers = yield* Effect.forEach(thousand.slice(0, 200), () => Effect.fork(collected(policed)))
      yield* TestClock.adjust("1500 millis")
      yield* Fiber.interruptAll(fibers.slice(0, -2))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fibers.at(-1)!), again)
      assert.deepStrictEqual(yield* Fiber.join(fibers.at(-2)!), hello)
      assert.deepStrictEqual(state, { opened: 1, open: 0, pulled: 4 })
    }))

  it.scoped("the call is interrupted when the last one leaves, and not before", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() => FaultServer.sse(FaultServer.stall))
      const model = yield* SingleFlight.make()(yield* served(server.url))
      for (
        const use of [Effect.asVoid(model.generate(request)), Stream.runDrain(model.stream(request))]
      ) {
        const [a, b] = [yield* Effect.fork(use), yield* Effect.fork(use)]
        const { closed } = yield* server.next
        yield* Fiber.interrupt(a)
        const still = yield* Effect.fork(closed)
        yield* TestClock.adjust("1 second")
        assert.isNull(still.unsafePoll())
        yield* Fiber.interrupt(b)
        yield* closed
      }
      assert.strictEqual(server.requests.length, 2)
    }))

  it.scoped("one who comes when the last one has left begins anew", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(
        SingleFlight.make(),
        (_, n) => n === 0 ? delayed(says("old"), "1 hour") : says("new")
      )
      const fiber = yield* Effect.fork(model.generate(request))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(textOf(yield* model.generate(request)), "new")
      assert.strictEqual(yield* sent, 2)
    }))

  it.scoped("one pays, the others get the answer for nothing; who has left does not pay", () =>
    Effect.gen(function*() {
      const usage = { inputTokens: 5, outputTokens: 2, cost: 0.5 }
      const { model } = yield* policed(
        SingleFlight.make(),
        () => delayed(TestLanguageModel.withUsage(says("hello"), usage), "1 second")
      )
      const shared = (ask: Effect.Effect<LanguageModel.Response, LanguageModelError.LanguageModelError>) =>
        Effect.gen(function*() {
          const fibers = yield* Effect.forEach([1, 2, 3, 4], () => Effect.fork(ask))
          yield* TestClock.adjust("500 millis")
          yield* Fiber.interrupt(fibers[0]!)
          yield* TestClock.adjust("500 millis")
          return yield* Effect.forEach(fibers.slice(1), Fiber.join)
        })
      const free = { inputTokens: 0, outputTokens: 0, cost: 0 }
      const expected: ReadonlyArray<Pick<LanguageModel.Response, "usage" | "cached">> = [{ usage, cached: undefined }, {
        usage: free,
        cached: true
      }, { usage: free, cached: true }]
      const whole = yield* shared(model.generate(request))
      assert.deepStrictEqual(whole.map(({ cached, usage }) => ({ usage, cached })), expected)
      const streamed = yield* shared(LanguageModel.fold(model.stream(request), "test/model"))
      assert.deepStrictEqual(streamed.map(({ cached, usage }) => ({ usage, cached })), expected)
      assert.isTrue([...whole, ...streamed].every((response) => textOf(response) === "hello"))
    }))

  it.scoped("budgets and ledgers further out count the call once", () =>
    Effect.gen(function*() {
      const usage = { inputTokens: 5, outputTokens: 2 }
      const { model } = yield* policed(
        SingleFlight.make(),
        () => delayed(TestLanguageModel.withUsage(says("hello"), usage), "1 second")
      )
      const budget = yield* Budget.make({ calls: 100, tokens: 1_000_000 })
      const ledger = yield* UsageLedger.make()
      const metered = yield* UsageLedger.policy(yield* BudgetPolicy.fromBudget(budget)(model)).pipe(
        Effect.provideService(UsageLedger.UsageLedger, ledger)
      )
      const calls = yield* Effect.fork(Effect.all([
        Effect.replicateEffect(metered.generate(request), 10, { concurrency: "unbounded" }),
        Effect.replicateEffect(collected(metered), 10, { concurrency: "unbounded" })
      ], { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(calls)
      // Whole and streamed answers are shared apart.
      assert.deepStrictEqual(yield* budget.remaining, { calls: 98, tokens: 1_000_000 - 14 })
      const total = UsageLedger.total(yield* ledger.snapshot)
      assert.deepStrictEqual([total.calls, total.inputTokens, total.outputTokens], [2, 10, 4])
    }))

  it.scoped("requests that differ, be it by the rollout, are not shared", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(SingleFlight.make(), () => delayed(says("hello"), "1 second"))
      const fiber = yield* Effect.fork(Effect.all([
        model.generate(request),
        model.generate({ ...request, settings: { rollout: "1" } }),
        model.generate({ ...request, settings: { rollout: "2" } }),
        model.generate({ settings: { rollout: "2" }, messages: [{ content: "hi", role: "user" }] })
      ], { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      assert.strictEqual(yield* sent, 3)
    }))

  it.scoped("a failure is shared, and forgotten", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(SingleFlight.make(), (_, n) =>
        n === 0 ? delayed(fail("Overloaded"), "1 second") : n === 1 ? breaking(text("hel")) : says("hello"))
      const fiber = yield* Effect.fork(
        Effect.forEach([1, 2, 3], () =>
          Effect.flip(model.generate(request)), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* Fiber.join(fiber)).map(({ reason }) => reason._tag), [
        "Overloaded",
        "Overloaded",
        "Overloaded"
      ])
      const exits = yield* Effect.replicateEffect(Effect.exit(collected(model)), 2, { concurrency: "unbounded" })
      assert.deepStrictEqual(exits.map((exit) => failureOf(exit)), [broken, broken])
      assert.strictEqual(textOf(yield* model.generate(request)), "hello")
      assert.strictEqual(yield* sent, 3)
    }))

  it.scoped("a failure that is shared counts once: in a ledger, a budget and a breaker further out", () =>
    Effect.gen(function*() {
      for (const streamed of [false, true]) {
        const { model, sent } = yield* policed(
          SingleFlight.make(),
          () => streamed ? delayed(breaking(text("hel")), "1 second") : delayed(fail("Overloaded"), "1 second")
        )
        const ledger = yield* UsageLedger.make()
        const budget = yield* Budget.make({ calls: 10 })
        const states: Array<string> = []
        const breaker = CircuitBreaker.make({
          minimum: 2,
          onChange: ({ _tag }) => Effect.sync(() => states.push(_tag))
        })
        const metered = yield* UsageLedger.policy(model).pipe(
          Effect.provideService(UsageLedger.UsageLedger, ledger),
          Effect.flatMap(BudgetPolicy.fromBudget(budget)),
          Effect.flatMap(breaker)
        )
        const ask = streamed ? Stream.runDrain(metered.stream(request)) : Effect.asVoid(metered.generate(request))
        const fiber = yield* Effect.fork(Effect.replicateEffect(Effect.flip(ask), 5, { concurrency: "unbounded" }))
        yield* TestClock.adjust("1 second")
        const errors = yield* Fiber.join(fiber)
        assert.deepStrictEqual(errors.map(({ attempts }) => attempts).sort(), [0, 0, 0, 0, 1])
        assert.strictEqual(new Set(errors.map(({ reason }) => reason._tag)).size, 1)
        assert.strictEqual(yield* sent, 1)
        assert.strictEqual(UsageLedger.total(yield* ledger.snapshot).calls, 1)
        assert.strictEqual((yield* budget.remaining).calls, 9)
        assert.lengthOf(states, 0)
      }
    }))

  it.scoped("who comes late gets all of a stream, however slow the first reader is", () =>
    Effect.gen(function*() {
      const { model, state } = counted(hello)
      const policed = yield* SingleFlight.make()(model)
      const slow = yield* Effect.fork(
        Stream.runCollect(Stream.tap(policed.stream(request), () => Effect.sleep("1 hour")))
      )
      yield* TestClock.adjust("10 seconds")
      const late = yield* Effect.fork(collected(policed))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(Option.getOrThrow(yield* Fiber.poll(late)), Exit.succeed(hello))
      assert.strictEqual(state.opened, 1)
      yield* TestClock.adjust("5 hours")
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Fiber.join(slow)), again)
    }))

  it.scoped("the model is not asked for more than the fastest reader wants", () =>
    Effect.gen(function*() {
      const { model, state } = counted(hello)
      const policed = yield* SingleFlight.make()(model)
      const fiber = yield* Effect.fork(Stream.runForEach(policed.stream(request), () => Effect.never))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(state.pulled, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(state.open, 0)
    }))

  it.effect("closing the policy ends what is under way", () =>
    Effect.gen(function*() {
      const { model, state } = counted(hello)
      const scope = yield* Scope.make()
      const policed = yield* Scope.extend(SingleFlight.make()(model), scope)
      const fiber = yield* Effect.fork(Stream.runDrain(policed.stream(request)))
      yield* TestClock.adjust("1500 millis")
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
      assert.strictEqual(state.open, 0)
    }))

  it.scoped("who joins counts in a metric", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(SingleFlight.make(), () => deltas(hello))
      const counter = Metric.tagged(SingleFlight.joined, "model", "test/model")
      const before = (yield* Metric.value(counter)).count
      yield* Effect.replicateEffect(collected(model), 3, { concurrency: "unbounded" })
      assert.strictEqual((yield* Metric.value(counter)).count, before + 2)
    }))
})
