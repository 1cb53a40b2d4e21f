import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, Random, Schedule, Stream, TestClock } from "effect"
import * as Retry from "../src/Retry.ts"
import * as FaultServer from "./FaultServer.ts"
import {
  breaking,
  collected,
  completed,
  driven,
  failure,
  failureOf,
  finish,
  policed,
  request,
  served,
  spanEvents,
  text,
  textOf
} from "./policing.ts"

const { fail, make: scripted, text: says } = TestLanguageModel

const within = (value: number | undefined, low: number, high: number) => {
  assert.isDefined(value)
  assert.isAtLeast(value, low)
  assert.isAtMost(value, high)
}

const certificate = new LanguageModelError.Transport({ phase: "tls", code: "CERT_HAS_EXPIRED", description: "expired" })
const reset = new LanguageModelError.Transport({ phase: "tls", code: "ECONNRESET", description: "reset" })

describe("Retry", () => {
  it.effect("tries twice more, after waits that grow and differ", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(Retry.make(), () => fail("ServerError"))
      const { exit, waits } = yield* driven(model.generate(request))
      const error = failureOf(exit)
      assert.strictEqual(yield* sent, 3)
      assert.strictEqual(waits.length, 2)
      within(waits[0], 250, 500)
      within(waits[1], 500, 1000)
      assert.strictEqual(error?.attempts, 3)
      assert.strictEqual(error?.elapsed, Math.round(waits[0]! + waits[1]!))
      assert.strictEqual(error?.reason._tag, "ServerError")
    }))

  it.effect("waits never pass 8 seconds", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(Retry.make({ times: 8 }), () => fail("ServerError"))
      const { waits } = yield* driven(model.generate(request))
      waits.forEach((wait, n) => within(wait, Math.min(250 * 2 ** n, 4000), Math.min(500 * 2 ** n, 8000)))
      assert.strictEqual(waits.length, 8)
    }))

  it.effect("waits are random numbers of the Random service", () =>
    Effect.gen(function*() {
      const waits = (seed: number) =>
        Effect.flatMap(
          policed(Retry.make(), () => fail("ServerError")),
          ({ model }) => Effect.map(driven(model.generate(request)), ({ waits }) => waits)
        ).pipe(Effect.withRandom(Random.make(seed)))
      assert.deepStrictEqual(yield* waits(1), yield* waits(1))
      assert.notDeepEqual(yield* waits(1), yield* waits(2))
    }))

  const once: ReadonlyArray<LanguageModelError.Reason | LanguageModelError.Reason["_tag"]> = [
    "InvalidRequest",
    "Authentication",
    "Permission",
    "NotFound",
    "RequestTooLarge",
    "ContextWindowExceeded",
    "QuotaExhausted",
    "MalformedResponse",
    "ResponseTooLarge",
    "ContentFiltered",
    "CircuitOpen",
    "BudgetExceeded",
    certificate
  ]
  for (const reason of once) {
    it.effect(`${typeof reason === "string" ? reason : "a certificate"} is not retried`, () =>
      Effect.gen(function*() {
        const { model, sent } = yield* policed(Retry.make(), [fail(reason), says("hello")])
        const { exit, waits } = yield* driven(model.generate(request))
        assert.deepStrictEqual([yield* sent, waits.length, failureOf(exit)?.attempts], [1, 0, 1])
      }))
  }

  for (
    const reason of ["RateLimited", "Overloaded", "ServerError", "Conflict", "Timeout", "Transport", reset] as const
  ) {
    it.effect(`${typeof reason === "string" ? reason : "a handshake that was reset"} is retried`, () =>
      Effect.gen(function*() {
        const { model, sent } = yield* policed(Retry.make(), [fail(reason), says("hello")])
        const { exit } = yield* driven(model.generate(request))
        assert.isTrue(Exit.isSuccess(exit))
        assert.strictEqual(yield* sent, 2)
      }))
  }

  it.effect("a wait that is longer than `maxWait` fails at once, with the wait in the error", () =>
    Effect.gen(function*() {
      const limited = new LanguageModelError.RateLimited({ description: "slow down", retryAfter: 86_400_000 })
      const { model, sent } = yield* policed(Retry.make(), () => fail(limited))
      const { exit, waits } = yield* driven(model.generate(request))
      assert.deepStrictEqual(failureOf(exit)?.reason, limited)
      assert.deepStrictEqual([yield* sent, waits.length], [1, 0])
    }))

  it.effect("a wait that the server names is not cut by the deadline: the call fails instead", () =>
    Effect.gen(function*() {
      const limited = new LanguageModelError.RateLimited({ description: "slow down", retryAfter: 20_000 })
      const { model, sent } = yield* policed(Retry.make({ times: 9, deadline: "50 seconds" }), () => fail(limited))
      const { exit } = yield* driven(model.generate(request))
      assert.strictEqual(failureOf(exit)?.attempts, 3)
      assert.strictEqual(yield* sent, 3)
    }))

  it.effect("no attempt begins after the deadline", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(
        Retry.make({ times: 9, deadline: "1 minute" }),
        () => TestLanguageModel.delayed(fail("ServerError"), "50 seconds")
      )
      const { exit } = yield* driven(model.generate(request))
      assert.strictEqual(yield* sent, 2)
      assert.strictEqual(failureOf(exit)?.attempts, 2)
    }))

  it.effect("a Schedule of one's own decides for its reason, also for one that is not retried", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(
        Retry.make({ schedules: { MalformedResponse: Schedule.spaced("3 seconds"), Overloaded: Schedule.stop } }),
        [fail("MalformedResponse"), fail("MalformedResponse"), fail("ServerError"), fail("Overloaded"), says("hello")]
      )
      const { exit, waits } = yield* driven(model.generate(request))
      assert.deepStrictEqual(waits.slice(0, 2), [3000, 3000])
      assert.strictEqual(failureOf(exit)?.reason._tag, "Overloaded")
      assert.strictEqual(yield* sent, 4)
    }))

  it.effect("what the server says of trying again wins over the reason", () =>
    Effect.gen(function*() {
      const run = (reason: LanguageModelError.Reason, shouldRetry: boolean) =>
        Effect.gen(function*() {
          const { model, sent } = yield* policed(
            Retry.make({ schedules: { ServerError: Schedule.recurs(5) } }),
            () => Effect.fail(failure(reason, { shouldRetry }))
          )
          yield* driven(model.generate(request))
          return yield* sent
        })
      assert.strictEqual(yield* run(new LanguageModelError.InvalidRequest({ description: "" }), true), 3)
      assert.strictEqual(yield* run(new LanguageModelError.Overloaded({ description: "" }), false), 1)
      assert.strictEqual(yield* run(new LanguageModelError.ServerError({ status: 500, description: "" }), false), 1)
    }))

  it.effect("a wait is interrupted at once, and nothing is sent after it", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(Retry.make(), () => fail("Overloaded"))
      const fiber = yield* Effect.fork(model.generate(request))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* sent, 1)
    }))

  it.effect("a server that is down gets at most a fifth more calls", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(Retry.make({ schedules: { Overloaded: Schedule.recurs(2) } }), () =>
        fail("Overloaded"))
      yield* Effect.forEach(Array.from({ length: 1000 }), () =>
        Effect.exit(model.generate(request)), {
        concurrency: "unbounded",
        discard: true
      })
      within(yield* sent, 1100, 1200)
    }))

  it.effect("the budget renews itself, and leaves a few retries however few calls there are", () =>
    Effect.gen(function*() {
      const { model, sent } = yield* policed(
        Retry.make({ times: 1, budget: { minimum: 3 }, schedules: { Overloaded: Schedule.recurs(1) } }),
        () => fail("Overloaded")
      )
      const five = Effect.replicateEffect(Effect.exit(model.generate(request)), 5)
      yield* five
      assert.strictEqual(yield* sent, 8)
      yield* TestClock.adjust("11 seconds")
      yield* five
      assert.strictEqual(yield* sent, 16)
    }))

  it.effect("waits that a rate limit named are not charged to the budget", () =>
    Effect.gen(function*() {
      const limited = new LanguageModelError.RateLimited({ description: "slow down", retryAfter: 1000 })
      const { model, sent } = yield* policed(
        Retry.make({ times: 1, budget: { minimum: 1 } }),
        (_, n) => n < 10 ? fail(limited) : says("hello")
      )
      const fiber = yield* Effect.fork(
        Effect.forEach(Array.from({ length: 10 }), () => model.generate(request), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("2 seconds")
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(yield* sent, 20)
    }))

  it.effect("each retry is an event of the span and counts in a metric", () =>
    Effect.gen(function*() {
      const { model } = yield* policed(Retry.make(), [fail("Conflict"), says("hello")])
      const counter = Metric.tagged(Metric.tagged(Retry.retries, "model", "test/model"), "reason", "Conflict")
      const before = (yield* Metric.value(counter)).count
      const events = yield* Effect.map(driven(spanEvents(model.generate(request))), ({ exit }) =>
        Exit.getOrElse(exit, () => []))
      assert.deepStrictEqual(
        events.map(({ name }) =>
          name
        ),
        ["retry"]
      )
      assert.deepInclude(events[0]?.attributes, { "error.type": "Conflict", attempts: 1 })
      assert.strictEqual((yield* Metric.value(counter)).count, before + 1)
    }))

  describe("of streams", () => {
    it.effect("retries as long as nothing was delivered", () =>
      Effect.gen(function*() {
        const { model, sent } = yield* policed(Retry.make(), [fail("Overloaded"), breaking(), says("hello")])
        const { exit } = yield* driven(collected(model))
        assert.strictEqual(
          Exit.getOrElse(exit, () => []).map((delta) => delta._tag === "TextDelta" ? delta.text : "").join(""),
          "hello"
        )
        assert.strictEqual(yield* sent, 3)
      }))

    it.effect("delivers what there was and fails, when it breaks later", () =>
      Effect.gen(function*() {
        const { model, sent } = yield* policed(Retry.make(), [breaking(text("hel")), says("hello")])
        const seen: Array<LanguageModel.Delta> = []
        const { exit } = yield* driven(
          Stream.runForEach(model.stream(request), (delta) => Effect.sync(() => seen.push(delta)))
        )
        assert.strictEqual(failureOf(exit)?.reason._tag, "StreamFailed")
        assert.deepStrictEqual(seen, [text("hel")])
        assert.strictEqual(yield* sent, 1)
      }))

    it.effect("begins anew with `restart`, and says so once", () =>
      Effect.gen(function*() {
        const { model, sent } = yield* policed(Retry.make({ restart: true, times: 3 }), [
          fail("Overloaded"),
          breaking(text("hel")),
          breaking(),
          TestLanguageModel.deltas([text("he"), text("llo"), finish, completed()])
        ])
        const { exit, waits } = yield* driven(collected(model))
        const deltas = Exit.getOrElse(exit, () => [])
        assert.deepStrictEqual(deltas.map((delta) => delta._tag === "TextDelta" ? delta.text : delta._tag), [
          "hel",
          "Restarted",
          "he",
          "llo",
          "Finish",
          "Completed"
        ])
        assert.strictEqual(yield* sent, 4)
        // One call: the waits go on growing.
        within(waits[2], 1000, 2000)
      }))

    it.effect("the fold of an answer that began anew is the new answer", () =>
      Effect.gen(function*() {
        const inner = yield* scripted([breaking(text("old")), says("new")])
        const model = yield* Retry.make({ restart: true })(inner.model)
        const { exit } = yield* driven(LanguageModel.fold(model.stream(request), model.id))
        assert.strictEqual(Exit.getOrElse(Exit.map(exit, textOf), () => ""), "new")
      }))

    it.effect("with `restart` the last failure counts all attempts, and the waits can be interrupted", () =>
      Effect.gen(function*() {
        const { model, sent } = yield* policed(Retry.make({ restart: true }), () => breaking(text("hel")))
        const { exit } = yield* driven(Stream.runDrain(model.stream(request)))
        assert.strictEqual(failureOf(exit)?.attempts, 3)
        const fiber = yield* Effect.fork(Stream.runDrain(model.stream(request)))
        yield* TestClock.adjust("1 millis")
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* sent, 4)
      }))
  })

  it.effect("two policies of retries multiply, and their attempts add up", () =>
    Effect.gen(function*() {
      const inner = yield* scripted(() => fail("Overloaded"))
      const model = yield* Effect.flatMap(Retry.make()(inner.model), Retry.make({ times: 1 }))
      const { exit } = yield* driven(model.generate(request))
      assert.strictEqual(failureOf(exit)?.attempts, 6)
    }))
})

// =============================================================================
// On the wire
// =============================================================================

const chat = (content: string) =>
  FaultServer.json(200, { model: "m", choices: [{ message: { content }, finish_reason: "stop" }] })

const error = (fields: object) => ({ error: { message: "no", ...fields } })

describe("Retry on the wire", () => {
  // Status, what the body says, the reason, and the number of attempts.
  const table: ReadonlyArray<readonly [status: number, body: object, tag: string, attempts: number]> = [
    [400, {}, "InvalidRequest", 1],
    [400, { code: "context_length_exceeded" }, "ContextWindowExceeded", 1],
    [400, { code: "content_filter" }, "ContentFiltered", 1],
    [401, {}, "Authentication", 1],
    [402, {}, "QuotaExhausted", 1],
    [403, {}, "Permission", 1],
    [404, {}, "NotFound", 1],
    [408, {}, "ServerError", 3],
    [409, {}, "Conflict", 3],
    [413, {}, "RequestTooLarge", 1],
    [422, {}, "InvalidRequest", 1],
    [425, {}, "ServerError", 3],
    [429, {}, "RateLimited", 3],
    [429, { code: "insufficient_quota" }, "QuotaExhausted", 1],
    [429, { code: "enforced_spend_limit_reached" }, "QuotaExhausted", 1],
    [429, { code: "billing_hard_limit_reached" }, "QuotaExhausted", 1],
    [500, {}, "ServerError", 3],
    [502, {}, "ServerError", 3],
    [503, {}, "Overloaded", 3],
    [504, {}, "ServerError", 3],
    [529, {}, "Overloaded", 3]
  ]
  const advices = [undefined, "true", "false"] as const

  for (const [status, body, tag, attempts] of table) {
    for (const advice of advices) {
      const expected = advice === undefined ? attempts : advice === "true" ? 3 : 1
      it.scoped(`${status} ${JSON.stringify(body)}, x-should-retry ${advice ?? "absent"}: ${tag}, ${expected}`, () =>
        Effect.gen(function*() {
          const headers = advice === undefined ? {} : { "x-should-retry": advice }
          const server = yield* FaultServer.make(() => FaultServer.json(status, error(body), headers))
          const model = yield* Retry.make()(yield* served(server.url))
          const { exit, waits } = yield* driven(model.generate(request))
          const { reason, ...failure } = failureOf(exit)!
          assert.deepStrictEqual(
            [reason._tag, failure.attempts, server.requests.length, waits.length],
            [tag, expected, expected, expected - 1]
          )
          waits.forEach((wait, n) => within(wait, 250 * 2 ** n, 500 * 2 ** n))
          const keys = server.requests.map(({ headers }) => headers["idempotency-key"])
          assert.isDefined(keys[0])
          assert.strictEqual(new Set(keys).size, 1)
        }))

      if (expected > 1) {
        it.scoped(`${status} ${JSON.stringify(body)}, x-should-retry ${advice ?? "absent"}, once`, () =>
          Effect.gen(function*() {
            const headers = advice === undefined ? {} : { "x-should-retry": advice }
            const server = yield* FaultServer.make((_, n) =>
              n === 0 ? FaultServer.json(status, error(body), headers) : chat("hello")
            )
            const model = yield* Retry.make()(yield* served(server.url))
            const { exit } = yield* driven(model.generate(request))
            assert.strictEqual(Exit.getOrElse(Exit.map(exit, textOf), () => ""), "hello")
            assert.strictEqual(server.requests.length, 2)
          }))
      }
    }
  }

  // The server's clock is an hour ahead; the Clock of the tests stands at 0.
  const http = (seconds: number) => new Date(seconds * 1000).toUTCString()
  const forms: ReadonlyArray<
    readonly [name: string, headers: Record<string, string>, told: number | undefined | "fails"]
  > = [
    ["seconds", { "retry-after": "7" }, 7000],
    ["a fraction", { "retry-after": "0.25" }, 250],
    ["a date", { "retry-after": http(20) }, 20_000],
    ["a date that has passed", { "retry-after": http(-20) }, undefined],
    ["milliseconds", { "retry-after-ms": "300" }, 300],
    ["zero", { "retry-after": "0" }, 0],
    ["negative", { "retry-after": "-5" }, undefined],
    ["junk", { "retry-after": "soon" }, undefined],
    ["huge", { "retry-after": "86400" }, "fails"],
    ["both", { "retry-after-ms": "1500", "retry-after": "9" }, 1500],
    [
      "the reset of an empty bucket",
      { "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s" },
      2000
    ],
    ["a date by a clock that is ahead", { "retry-after": http(3605), date: http(3600) }, 5000]
  ]
  for (const [name, headers, told] of forms) {
    it.scoped(`429 with ${name}`, () =>
      Effect.gen(function*() {
        const server = yield* FaultServer.make((_, n) =>
          n === 0 ? FaultServer.json(429, error({}), headers) : chat("hello")
        )
        const model = yield* Retry.make()(yield* served(server.url))
        const { exit, waits } = yield* driven(model.generate(request))
        if (told === "fails") {
          const reason = failureOf(exit)?.reason
          assert.strictEqual(reason?._tag === "RateLimited" && reason.retryAfter, 86_400_000)
          assert.deepStrictEqual([server.requests.length, waits.length], [1, 0])
          return
        }
        assert.isTrue(Exit.isSuccess(exit))
        if (told === 0) assert.deepStrictEqual(waits.filter((wait) => wait > 0), [])
        else within(waits[0], told ?? 250, told === undefined ? 500 : told * 1.1)
      }))
  }

  it.scoped("every call has a key of its own", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() => chat("hello"))
      const model = yield* Retry.make()(yield* served(server.url))
      yield* Effect.replicateEffect(model.generate(request), 3)
      yield* Stream.runDrain(model.stream(request))
      const keys = server.requests.map(({ headers }) => headers["idempotency-key"])
      assert.notInclude(keys, undefined)
      assert.strictEqual(new Set(keys).size, 4)
    }))
})
