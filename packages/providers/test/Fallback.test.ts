import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Metric, Option, Schedule, Stream, TestClock } from "effect"
import * as Fallback from "../src/Fallback.ts"
import * as Retry from "../src/Retry.ts"
import * as FaultServer from "./FaultServer.ts"
import {
  breaking,
  broken,
  collected,
  completed,
  driven,
  failureOf,
  finish,
  realTick,
  request,
  served,
  spanEvents,
  text,
  textOf
} from "./policing.ts"

const { deltas, fail, make: scripted, text: says } = TestLanguageModel

type Tag = LanguageModelError.Reason["_tag"]

const capped: LanguageModel.Delta = { _tag: "Finish", index: 0, reason: "contentFilter" }

// A first model that does one thing, and others that answer with their names, or fail too.
const models = (
  first: TestLanguageModel.Step,
  others: { readonly [name: string]: TestLanguageModel.Step | undefined } = {}
) =>
  Effect.gen(function*() {
    const named = (name: string) =>
      Effect.map(
        scripted(() => name === "first" ? first : others[name] ?? says(name), { id: `test/${name}` }),
        ({ model }) => model
      )
    const asked: Array<string> = []
    const recorded = (model: LanguageModel.Service): LanguageModel.Service => ({
      ...model,
      generate: (request) => Effect.zipRight(Effect.sync(() => asked.push(model.id)), model.generate(request)),
      stream: (request) => Stream.concat(Stream.drain(Stream.sync(() => asked.push(model.id))), model.stream(request))
    })
    const [primary, a, b, large, lenient] = yield* Effect.forEach(
      ["first", "a", "b", "large", "lenient"] as const,
      (name) => Effect.map(named(name), recorded)
    )
    return { primary: primary!, a: a!, b: b!, large: large!, lenient: lenient!, asked }
  })

const who = (asked: ReadonlyArray<string>) => asked.map((id) => id.replace("test/", "")).join(" ")

describe("Fallback", () => {
  // Which models are asked, without and with lists of their own for long prompts and filtered ones.
  const matrix: ReadonlyArray<readonly [step: Tag | "Truncated", plain: string, separate: string]> = [
    ["RateLimited", "first a", "first a"],
    ["Overloaded", "first a", "first a"],
    ["ServerError", "first a", "first a"],
    ["Timeout", "first a", "first a"],
    ["Transport", "first a", "first a"],
    ["Conflict", "first a", "first a"],
    ["CircuitOpen", "first a", "first a"],
    ["QuotaExhausted", "first a", "first a"],
    ["MalformedResponse", "first a", "first a"],
    ["ResponseTooLarge", "first a", "first a"],
    ["StreamFailed", "first a", "first a"],
    ["StreamTruncated", "first a", "first a"],
    ["Truncated", "first a", "first a"],
    ["ContextWindowExceeded", "first", "first large"],
    ["ContentFiltered", "first", "first lenient"],
    ["InvalidRequest", "first", "first"],
    ["Authentication", "first", "first"],
    ["Permission", "first", "first"],
    ["NotFound", "first", "first"],
    ["RequestTooLarge", "first", "first"],
    ["BudgetExceeded", "first", "first"]
  ]
  for (const [tag, plain, separate] of matrix) {
    for (const streamed of [false, true]) {
      it.scoped(`${tag}, ${streamed ? "streamed" : "whole"}: ${plain}; ${separate}`, () =>
        Effect.gen(function*() {
          const run = (own: boolean) =>
            Effect.gen(function*() {
              // A stream that is only cut has nothing of it delivered, and whole answers are folded from it.
              const step = tag === "Truncated"
                ? deltas(Stream.fail(LanguageModel.truncated("test/first", "")))
                : fail(tag)
              const { a, asked, b, large, lenient, primary } = yield* models(step)
              const model = yield* Fallback.make({
                models: [a, b],
                ...(own ? { contextWindow: [large], contentFilter: [lenient] } : undefined)
              })(primary)
              const answer = streamed
                ? LanguageModel.fold(model.stream(request), model.id)
                : model.generate(request)
              const exit = yield* Effect.exit(answer)
              const last = asked.at(-1)?.replace("test/", "")
              if (last === "first") {
                const error = failureOf(exit)
                assert.deepStrictEqual([error?.reason._tag, error?.model, error?.attempts], [tag, "test/first", 1])
              } else assert.strictEqual(Exit.getOrElse(Exit.map(exit, textOf), () => ""), last)
              return who(asked)
            })
          assert.strictEqual(yield* run(false), plain)
          assert.strictEqual(yield* run(true), separate)
        }))
    }
  }

  it.scoped("asks in order, and the last failure counts all attempts", () =>
    Effect.gen(function*() {
      const { a, asked, b, primary } = yield* models(fail("Overloaded"), {
        a: fail("RateLimited"),
        b: fail("ServerError")
      })
      const model = yield* Fallback.make({ models: [a, b] })(primary)
      const error = yield* Effect.flip(model.generate(request))
      assert.deepStrictEqual([error.reason._tag, error.model, error.attempts], ["ServerError", "test/b", 3])
      assert.strictEqual(who(asked), "first a b")
    }))

  it.scoped("each failure chooses its own list, and nobody is asked twice", () =>
    Effect.gen(function*() {
      const { a, asked, b, large, lenient, primary } = yield* models(fail("Overloaded"), {
        a: fail("ContextWindowExceeded"),
        large: fail("ContentFiltered"),
        lenient: fail("Overloaded")
      })
      const model = yield* Fallback.make({
        models: [a, large, b],
        contextWindow: [large],
        contentFilter: [lenient, large]
      })(primary)
      assert.strictEqual(textOf(yield* model.generate(request)), "b")
      assert.strictEqual(who(asked), "first a large lenient b")
    }))

  it.scoped("a choice of one's own", () =>
    Effect.gen(function*() {
      const { a, primary } = yield* models(fail("NotFound"))
      const model = yield* Fallback.make({
        models: [a],
        when: (error) => Fallback.helps(error) || error.reason._tag === "NotFound"
      })(primary)
      assert.strictEqual(textOf(yield* model.generate(request)), "a")
    }))

  it.scoped("a refusal is an answer", () =>
    Effect.gen(function*() {
      const { a, asked, lenient, primary } = yield* models(TestLanguageModel.finish(says("I will not"), "refusal"))
      const model = yield* Fallback.make({ models: [a], contentFilter: [lenient] })(primary)
      assert.strictEqual(textOf(yield* model.generate(request)), "I will not")
      assert.strictEqual(who(asked), "first")
    }))

  it.scoped("an answer that the filter cut goes to those who are for that, and is the answer if there are none", () =>
    Effect.gen(function*() {
      const run = (step: TestLanguageModel.Step, streamed: boolean, filtered: boolean) =>
        Effect.gen(function*() {
          const { a, lenient, primary } = yield* models(step)
          const model = yield* Fallback.make({ models: [a], contentFilter: filtered ? [lenient] : [] })(primary)
          return textOf(
            yield* streamed ? LanguageModel.fold(model.stream(request), model.id) : model.generate(request)
          )
        })
      const answer = TestLanguageModel.finish(says("cu"), "contentFilter")
      assert.strictEqual(yield* run(answer, false, true), "lenient")
      assert.strictEqual(yield* run(answer, false, false), "cu")
      assert.strictEqual(yield* run(deltas([capped, completed()]), true, true), "lenient")
      // Something was delivered before.
      assert.strictEqual(yield* run(deltas([text("cu"), capped, completed()]), true, true), "cu")
    }))

  it.scoped("one budget of attempts for all models and their retries, of which each keeps one", () =>
    Effect.gen(function*() {
      const run = (attempts: number | undefined) =>
        Effect.gen(function*() {
          const { a, asked, b, primary } = yield* models(fail("Overloaded"), {
            a: fail("Overloaded"),
            b: fail("Overloaded")
          })
          const retry = Retry.make({ schedules: { Overloaded: Schedule.recurs(3) } })
          const model = yield* Effect.flatMap(
            retry(primary),
            Fallback.make({ models: [yield* retry(a), yield* retry(b)], attempts })
          )
          const error = yield* Effect.flip(model.generate(request))
          assert.strictEqual(error.attempts, asked.length)
          return who(asked)
        })
      assert.strictEqual(yield* run(undefined), "first first first first a b")
      assert.strictEqual(yield* run(3), "first a b")
      assert.strictEqual(yield* run(2), "first a")
      assert.strictEqual(yield* run(9), "first first first first a a a a b")
    }))

  describe("in the middle of a stream", () => {
    it.scoped("fails with what there was, by default", () =>
      Effect.gen(function*() {
        const { a, asked, primary } = yield* models(breaking(text("hel")))
        const model = yield* Fallback.make({ models: [a] })(primary)
        const seen: Array<LanguageModel.Delta> = []
        const error = yield* Effect.flip(
          Stream.runForEach(model.stream(request), (delta) => Effect.sync(() => seen.push(delta)))
        )
        assert.strictEqual(error, broken)
        assert.deepStrictEqual(seen, [text("hel")])
        assert.strictEqual(who(asked), "first")
      }))

    it.scoped("with `restart`, says so and gives the other answer only", () =>
      Effect.gen(function*() {
        const { a, b, primary } = yield* models(breaking(text("hel")), {
          a: breaking(),
          b: deltas([text("he"), text("llo"), finish, completed()])
        })
        const model = yield* Fallback.make({ models: [a, b], restart: true })(primary)
        assert.deepStrictEqual(
          (yield* collected(model)).map((delta) => delta._tag === "TextDelta" ? delta.text : delta._tag),
          ["hel", "Restarted", "he", "llo", "Finish", "Completed"]
        )
        assert.strictEqual(textOf(yield* LanguageModel.fold(model.stream(request), model.id)), "hello")
      }))

    it.scoped("with `restart`, an answer that the filter cut goes on elsewhere", () =>
      Effect.gen(function*() {
        const { lenient, primary } = yield* models(deltas([text("cu"), capped, completed()]))
        const model = yield* Fallback.make({ models: [], contentFilter: [lenient], restart: true })(primary)
        assert.strictEqual(textOf(yield* LanguageModel.fold(model.stream(request), model.id)), "lenient")
      }))
  })

  it.scoped("Layers are built once, with what they need, and released with the policy", () =>
    Effect.gen(function*() {
      const state = { built: 0, open: 0 }
      class NoKey extends Error {}
      const Backup = Layer.scoped(
        LanguageModel.LanguageModel,
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => {
              state.built++
              state.open++
            }),
            () => Effect.sync(() => state.open--)
          ),
          () =>
            LanguageModel.make({
              id: "test/backup",
              generate: () => Effect.succeed(LanguageModel.text("hello", "test/backup"))
            })
        )
      )
      const Broken: Layer.Layer<LanguageModel.LanguageModel, NoKey> = Layer.fail(new NoKey())
      const { primary } = yield* models(fail("Overloaded"))
      const First = Layer.succeed(LanguageModel.LanguageModel, primary)
      const model = Policy.apply(First, Fallback.make({ models: [Backup], contextWindow: [Backup] }))
      const ask = Effect.replicateEffect(LanguageModel.generate(request), 3)
      assert.strictEqual((yield* Effect.provide(ask, model)).length, 3)
      assert.deepStrictEqual(state, { built: 1, open: 0 })
      const failed: NoKey | LanguageModelError.LanguageModelError = yield* Effect.flip(
        Effect.provide(ask, Policy.apply(First, Fallback.make({ models: [Backup, Broken] })))
      )
      assert.instanceOf(failed, NoKey)
    }))

  it.scoped("can do what all of them can do", () =>
    Effect.gen(function*() {
      const capable = (capabilities: Partial<LanguageModel.Capabilities>) =>
        LanguageModel.make({ id: "test/m", capabilities, stream: () => Stream.empty })
      const model = yield* Fallback.make({
        models: [capable({ tools: true, images: true, responseFormat: "jsonObject" })],
        contextWindow: [
          capable({ tools: false, images: true, responseFormat: "jsonSchema", schemaLimits: { depth: 10, unions: 16 } })
        ],
        contentFilter: [capable({ tools: true, images: true, schemaLimits: { recursive: false, depth: 5 } })]
      })(capable({ tools: true, images: true, responseFormat: "jsonSchema", multipleOutputs: true, concurrency: 8 }))
      const { schemaLimits = {}, ...capabilities } = model.capabilities
      assert.deepStrictEqual([schemaLimits.recursive, schemaLimits.depth, schemaLimits.unions], [false, 5, 16])
      assert.deepStrictEqual(capabilities, {
        streaming: true,
        tools: false,
        images: true,
        audio: false,
        files: false,
        reasoning: false,
        citations: false,
        multipleOutputs: false,
        responseFormat: "none",
        concurrency: 8
      })
    }))

  it.scoped("is an event of the span and counts in a metric", () =>
    Effect.gen(function*() {
      const { a, primary } = yield* models(fail("QuotaExhausted"))
      const model = yield* Fallback.make({ models: [a] })(primary)
      const counter = Metric.tagged(
        Metric.tagged(Metric.tagged(Fallback.fallbacks, "model", "test/first"), "to", "test/a"),
        "reason",
        "QuotaExhausted"
      )
      const before = (yield* Metric.value(counter)).count
      assert.deepStrictEqual(yield* spanEvents(model.generate(request)), [
        { name: "fallback", attributes: { from: "test/first", to: "test/a", "error.type": "QuotaExhausted" } }
      ])
      assert.strictEqual((yield* Metric.value(counter)).count, before + 1)
    }))
})

// =============================================================================
// On the wire
// =============================================================================

const chat = (content: string) =>
  FaultServer.json(200, { model: "m", choices: [{ message: { content }, finish_reason: "stop" }] })

describe("Fallback on the wire", () => {
  for (const code of ["insufficient_quota", "enforced_spend_limit_reached", "billing_hard_limit_reached"]) {
    it.scoped(`${code}: one attempt, then the other model`, () =>
      Effect.gen(function*() {
        const spent = yield* FaultServer.make(() => FaultServer.json(429, { error: { message: "no", code } }))
        const other = yield* FaultServer.make(() => chat("hello"))
        const model = yield* Effect.flatMap(
          Retry.make()(yield* served(spent.url)),
          Fallback.make({ models: [yield* Retry.make()(yield* served(other.url))] })
        )
        const { exit, waits } = yield* driven(model.generate(request))
        assert.strictEqual(Exit.getOrElse(Exit.map(exit, textOf), () => ""), "hello")
        assert.deepStrictEqual([spent.requests.length, other.requests.length, waits.length], [1, 1, 0])
        assert.notStrictEqual(
          other.requests[0]?.headers["idempotency-key"],
          spent.requests[0]?.headers["idempotency-key"]
        )
      }))
  }

  it.scoped("an error inside of a 200, whole or streamed, goes to the other model", () =>
    Effect.gen(function*() {
      const inside = { error: { message: "overloaded", type: "overloaded_error" } }
      const failing = yield* FaultServer.make((_, n) =>
        n === 0 ? FaultServer.json(200, inside) : FaultServer.sse(FaultServer.event(inside))
      )
      const { a } = yield* models(fail("Overloaded"))
      const model = yield* Fallback.make({ models: [a] })(yield* served(failing.url))
      assert.strictEqual(textOf(yield* model.generate(request)), "a")
      assert.strictEqual(textOf(yield* LanguageModel.fold(model.stream(request), model.id)), "a")
      assert.strictEqual(failing.requests.length, 2)
    }))

  it.scoped("the connection of a stream that broke off is closed before the other model is read", () =>
    Effect.gen(function*() {
      const first = yield* FaultServer.make(() =>
        FaultServer.sse(
          FaultServer.event({ choices: [{ index: 0, delta: { content: "hel" } }] }),
          FaultServer.event({ error: { message: "overloaded", type: "overloaded_error" } }),
          FaultServer.stall
        )
      )
      const primary = yield* served(first.url)
      const backup = LanguageModel.make({
        id: "test/backup",
        stream: () =>
          Stream.unwrap(Effect.gen(function*() {
            const { closed } = yield* first.next
            yield* closed
            return LanguageModel.unfold(LanguageModel.text("hello", "test/backup"))
          }))
      })
      const model = yield* Fallback.make({ models: [backup], restart: true })(primary)
      assert.strictEqual(textOf(yield* LanguageModel.fold(model.stream(request), model.id)), "hello")
    }))

  it.scoped("of two streams that race, the connection of the one that lost is closed", () =>
    Effect.gen(function*() {
      const slow = yield* FaultServer.make(() => FaultServer.sse(FaultServer.stall))
      const fast = yield* FaultServer.make(() =>
        FaultServer.sse(FaultServer.event({ choices: [{ index: 0, delta: { content: "hi" }, finish_reason: "stop" }] }))
      )
      const [a, b] = [yield* served(slow.url), yield* served(fast.url)]
      yield* Effect.race(
        LanguageModel.fold(a.stream(request), a.id),
        Effect.zipRight(
          Effect.repeat(realTick, { until: () => slow.requests.length === 1 }),
          LanguageModel.fold(b.stream(request), b.id)
        )
      )
      yield* slow.requests[0]!.closed
    }))

  it.scoped("interrupting a call interrupts whoever is being asked", () =>
    Effect.gen(function*() {
      const { a, asked, primary } = yield* models(fail("Overloaded"), { a: deltas(Stream.never) })
      const model = yield* Fallback.make({ models: [a] })(primary)
      const fiber = yield* Effect.fork(Stream.runHead(model.stream(request)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(who(asked), "first a")
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Option.isSome(yield* Effect.map(Fiber.poll(fiber), Option.filter(Exit.isInterrupted))))
    }))
})
