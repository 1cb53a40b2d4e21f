import * as Budget from "@effect-dspy/core/Budget"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Option, Stream, TestClock } from "effect"
import * as BudgetPolicy from "../src/BudgetPolicy.ts"
import type * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as Fallback from "../src/Fallback.ts"
import * as Policies from "../src/Policies.ts"
import * as FaultServer from "./FaultServer.ts"
import { collected, completed, driven, failureOf, finish, policed, request, served, text, textOf } from "./policing.ts"

const { delayed, deltas, fail, make: scripted, text: says } = TestLanguageModel

// A policy that notes when it is passed.
const noting = (log: Array<string>, name: string) =>
  Policy.around(
    Effect.succeed((attempt) =>
      Effect.zipRight(Effect.map(Clock.currentTimeMillis, (now) => log.push(`${name} ${now}`)), attempt)
    )
  )

// A cache that remembers everything.
const remembering = () => {
  const known = new Map<string, LanguageModel.Response>()
  return Policy.answered(Effect.succeed({
    before: (request) => Effect.sync(() => Option.fromNullable(known.get(JSON.stringify(request)))),
    after: (request, response) => Effect.sync(() => known.set(JSON.stringify(request), response))
  }))
}

const asking = (content: string): LanguageModel.Request => ({ messages: [{ role: "user", content }] })

describe("Policies.standard", () => {
  it.scoped("waiting for a turn is not timed", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(
        Policies.standard({ timeouts: { total: "1 second" }, rateLimit: { requestsPerMinute: 1 } }),
        () => says("hello")
      )
      yield* model.generate(asking("1"))
      const second = yield* Effect.fork(model.generate(asking("2")))
      const third = yield* Effect.fork(Stream.runDrain(model.stream(asking("3"))))
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.join(Fiber.zip(second, third))
      assert.strictEqual(yield* sent, 3)
    }))

  it.scoped("the breaker sees what took too long, attempt by attempt", () =>
    Effect.gen(function*() {
      const states: Array<CircuitBreaker.State["_tag"]> = []
      const { model, sent } = yield* policed(
        Policies.standard({
          timeouts: { total: "1 second" },
          circuitBreaker: { minimum: 2, onChange: ({ _tag }) => Effect.sync(() => states.push(_tag)) }
        }),
        () => delayed(says("hello"), "1 hour")
      )
      const { exit } = yield* driven(model.generate(request))
      const error = failureOf(exit)
      assert.deepStrictEqual([error?.reason._tag, error?.attempts, yield* sent], ["CircuitOpen", 2, 2])
      assert.deepStrictEqual(states, ["Open"])
    }))

  it.scoped("each attempt takes its turn and is paid for, and the money is there before the turn", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const inner = yield* scripted(() => fail("Overloaded"))
      const seen = yield* noting(log, "sent")(inner.model)
      const model = yield* Policies.standard({
        rateLimit: { requestsPerMinute: 1 },
        budget: noting(log, "paid"),
        retry: { times: 1 }
      })(seen)
      yield* driven(model.generate(request))
      const [paid, sent, again, last] = log
      assert.deepStrictEqual([paid, sent, last], ["paid 0", "sent 0", "sent 60000"])
      assert.match(again ?? "", /^paid \d{3}$/)
    }))

  it.scoped("a budget pays for every attempt, and for nothing that is known", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(
        Policies.standard({ budget: BudgetPolicy.make(), cache: remembering() }),
        [fail("Overloaded"), fail("Overloaded"), says("hello"), fail("Overloaded")]
      )
      yield* driven(model.generate(request))
      assert.deepStrictEqual(yield* Budget.remaining, { calls: 1 })
      yield* model.generate(request)
      assert.deepStrictEqual(yield* Budget.remaining, { calls: 1 })
      const { exit } = yield* driven(model.generate(asking("other")))
      assert.deepStrictEqual([failureOf(exit)?.reason._tag, yield* sent], ["BudgetExceeded", 4])
    }).pipe(Effect.provide(Budget.layer({ calls: 4 }))))

  it.scoped("another model is asked when retries did not help, and none when they did", () =>
    Effect.gen(function*() {
      const backup = yield* scripted(() => says("backup"))
      const { model, sent } = yield* policed(
        Policies.standard({ fallback: Fallback.make({ models: [backup.model] }) }),
        [fail("Overloaded"), says("first"), fail("Overloaded"), fail("Overloaded"), fail("Overloaded")]
      )
      const ask = Effect.map(driven(model.generate(request)), ({ exit }) =>
        Exit.getOrElse(Exit.map(exit, textOf), () => ""))
      assert.strictEqual(yield* ask, "first")
      assert.strictEqual(yield* ask, "backup")
      assert.deepStrictEqual([yield* sent, (yield* backup.calls).length], [5, 1])
    }))

  it.scoped("equal calls share what came of retries and other models; later ones find it in the cache", () =>
    Effect.gen(function*() {
      const backup = yield* scripted(() => delayed(says("backup"), "1 second"))
      const { model, sent } = yield* policed(
        Policies.standard({
          retry: { times: 1 },
          fallback: Fallback.make({ models: [backup.model] }),
          cache: remembering(),
          rateLimit: { requestsPerMinute: 2 }
        }),
        () => fail("Overloaded")
      )
      const three = Effect.replicateEffect(model.generate(request), 3, { concurrency: "unbounded" })
      const { exit } = yield* driven(three)
      assert.deepStrictEqual(Exit.getOrElse(Exit.map(exit, (all) => all.map(textOf)), () => []), [
        "backup",
        "backup",
        "backup"
      ])
      // No turn is left, and none is needed.
      assert.deepStrictEqual((yield* three).map(textOf), ["backup", "backup", "backup"])
      assert.strictEqual(textOf(yield* LanguageModel.fold(model.stream(request), model.id)), "backup")
      assert.deepStrictEqual([yield* sent, (yield* backup.calls).length], [2, 1])
    }))

  it.scoped("budget, other models and cache are where they belong", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const { model } = yield* policed(
        Policies.standard({
          budget: noting(log, "budget"),
          fallback: noting(log, "fallback"),
          cache: noting(log, "cache")
        }),
        () => delayed(says("hello"), "1 second")
      )
      // The cache is asked by everybody, the rest by those who share one call.
      const fiber = yield* Effect.fork(
        Effect.replicateEffect(model.generate(request), 3, { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(log.filter((entry) => entry !== "cache 0"), ["fallback 0", "budget 0"])
      assert.strictEqual(log.length, 5)
    }))

  it.scoped("what is not wanted is left out", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(
        Policies.standard({
          timeouts: false,
          circuitBreaker: false,
          retry: false,
          singleFlight: false
        }),
        (_, n) => n < 40 ? fail("Overloaded") : delayed(says("hello"), "1 hour")
      )
      yield* Effect.replicateEffect(Effect.flip(model.generate(request)), 40)
      const fiber = yield* Effect.fork(
        Effect.all([model.generate(request), model.generate(request)], { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(fiber)
      assert.strictEqual(yield* sent, 42)
    }))

  it.scoped("streams pass unchanged", () =>
    Effect.gen(function*() {
      const all = [text("he"), text("llo"), finish, completed({ inputTokens: 3, outputTokens: 2 })]
      const { model } = yield* policed(
        Policies.standard({ rateLimit: { concurrency: 1, tokensPerMinute: 1000 }, cache: remembering() }),
        [deltas(all)]
      )
      assert.deepStrictEqual(yield* collected(model), all)
      assert.strictEqual(textOf(yield* LanguageModel.fold(model.stream(request), model.id)), "hello")
    }))

  it.scoped(
    "a thousand callers of a server that is down hardly reach it, and each is told",
    () =>
      Effect.gen(function*() {
        const server = yield* FaultServer.make(() => FaultServer.json(503, { error: { message: "down" } }))
        // Time passes by the Clock of the test, on the wire by the real one.
        const model = yield* Policies.standard({ timeouts: false })(yield* served(server.url))
        const { exit } = yield* driven(Effect.forEach(
          Array.from({ length: 1000 }),
          (_, n) => Effect.flip(model.generate(asking(`${n}`))),
          { concurrency: 16 }
        ))
        const tags = new Set(Exit.getOrElse(exit, () => []).map(({ reason }) => reason._tag))
        assert.includeMembers(["CircuitOpen", "Overloaded"], [...tags])
        // 20 to open the breaker, as many as were under way, and a probe now and then.
        assert.isAtMost(server.requests.length, 60)
      }),
    30_000
  )

  it.scoped("interrupting a caller leaves nothing behind, wherever it waits", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(
        Policies.standard({ rateLimit: { concurrency: 1 }, singleFlight: false }),
        (request, n) =>
          request.messages[0]?.content === "hang"
            ? deltas(Stream.never)
            : n % 2 === 0
            ? fail("Overloaded")
            : says("hello")
      )
      for (const content of ["hang", "retry"]) {
        const fiber = yield* Effect.fork(Stream.runDrain(model.stream(asking(content))))
        const waiting = yield* Effect.fork(model.generate(asking("queue")))
        yield* TestClock.adjust("100 millis")
        yield* Fiber.interrupt(fiber)
        yield* Fiber.interrupt(waiting)
      }
      const before = yield* sent
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* sent, before)
      const { exit } = yield* driven(model.generate(asking("now")))
      assert.isTrue(Exit.isSuccess(exit))
    }))
})
