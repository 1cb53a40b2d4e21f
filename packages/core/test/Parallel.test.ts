import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as Parallel from "@effect-dspy/core/Parallel"
import * as Predict from "@effect-dspy/core/Predict"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Fiber, Layer, TestClock } from "effect"

const answer = Predict.make("question -> answer")

const overloaded = LanguageModelError.make({
  model: "test/echo",
  provider: "test",
  reason: new LanguageModelError.Overloaded({ description: "busy" })
})

const asked = (question: string) => ({ question })

/** Answers with the question, after the time it names; `fail` fails. Counts the calls under way. */
const echo = () => {
  const seen = { calls: 0, now: 0, most: 0, interrupted: 0 }
  const model = LanguageModel.make({
    id: "test/echo",
    generate: (request) =>
      Effect.suspend(() => {
        const question = /\]\]\n(.*)/.exec(String(request.messages.at(-1)?.content))?.[1] ?? ""
        const again = request.settings?.rollout !== undefined
        const seconds = again ? 1 : Number(/(\d+) seconds/.exec(question)?.[1] ?? 0)
        seen.calls++
        seen.most = Math.max(seen.most, ++seen.now)
        const said = (question.startsWith("fail") && !(again && question.includes("once"))) ||
            (again && question.includes("again fails"))
          ? Effect.fail(overloaded)
          : Effect.succeed(
            LanguageModel.text(`[[ ## answer ## ]]\n${question}${again ? ", again" : ""}`, "test/echo")
          )
        return Effect.delay(said, `${seconds} seconds`)
      }).pipe(
        Effect.onInterrupt(() => Effect.sync(() => seen.interrupted++)),
        Effect.ensuring(Effect.sync(() => seen.now--))
      )
  })
  const layer = Layer.succeed(LanguageModel.LanguageModel, model)
  return { seen, layer }
}

const shown = (results: ReadonlyArray<Either.Either<{ readonly answer: string }, { readonly _tag: string }>>) =>
  results.map(Either.match({ onLeft: ({ _tag }) => _tag, onRight: ({ answer }) => answer }))

describe("Parallel", () => {
  it.effect("keeps what became of each, in the order of the inputs", () =>
    Effect.gen(function*() {
      const { layer } = echo()
      const fiber = yield* Effect.fork(
        Parallel.make(answer)([asked("3 seconds"), asked("fail"), asked("1 seconds")]).pipe(Effect.provide(layer))
      )
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(shown(yield* Fiber.join(fiber)), ["3 seconds", "LanguageModelError", "1 seconds"])
    }))

  it.effect("has nothing to do without inputs", () =>
    Effect.gen(function*() {
      const { layer, seen } = echo()
      assert.deepStrictEqual(yield* Parallel.make(answer)([]).pipe(Effect.provide(layer)), [])
      assert.strictEqual(seen.calls, 0)
    }))

  it.effect("works on as many at once as it may", () =>
    Effect.gen(function*() {
      const { layer, seen } = echo()
      const inputs = Array.from({ length: 9 }, (_, index) => asked(`1 seconds ${index}`))
      const fiber = yield* Effect.fork(
        Parallel.make(answer, { concurrency: 4 })(inputs).pipe(Effect.provide(layer))
      )
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(fiber)
      assert.strictEqual(seen.most, 4)
    }))

  it.effect("ends when more fail than may, with what is known, and stops the others", () =>
    Effect.gen(function*() {
      const { layer, seen } = echo()
      const all = Parallel.make(answer, { maxFailures: 1, concurrency: 2 })
      const fiber = yield* Effect.fork(Effect.flip(
        all([asked("done"), asked("9 seconds"), asked("fail 1"), asked("fail 2"), asked("never begun")]).pipe(
          Effect.provide(layer)
        )
      ))
      yield* TestClock.adjust("1 seconds")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        error.results.map((result) => result === undefined ? undefined : shown([result])[0]),
        ["done", undefined, "LanguageModelError", "LanguageModelError", undefined]
      )
      assert.include(error.message, "2 of 5 inputs failed, more than the 1 that may; 1 had succeeded.")
      assert.deepStrictEqual([seen.calls, seen.interrupted], [4, 1])
    }))

  it.effect("lives with 10 failures unless told otherwise", () =>
    Effect.gen(function*() {
      const { layer } = echo()
      const failing = (count: number) =>
        Parallel.make(answer)(Array.from({ length: count }, () => asked("fail"))).pipe(Effect.provide(layer))
      assert.lengthOf(yield* failing(10), 10)
      assert.strictEqual((yield* Effect.flip(failing(11)))._tag, "TooManyFailures")
    }))

  it.effect("counts the failures of each call anew", () =>
    Effect.gen(function*() {
      const { layer } = echo()
      const all = Parallel.make(answer, { maxFailures: 1 })
      const twice = Effect.all([all([asked("fail")]), all([asked("fail")])])
      assert.strictEqual((yield* twice.pipe(Effect.provide(layer))).length, 2)
    }))

  it.effect("runs different programs, and itself, as parts like others", () =>
    Effect.gen(function*() {
      const { layer } = echo()
      const either = Module.branch(
        { short: answer, long: Predict.make("question -> answer") },
        ({ question }) => question.length < 5 ? "short" : "long"
      )
      const nested = Parallel.make(Parallel.make(either))
      assert.deepStrictEqual(nested.predictors.map(({ path }) => path), [
        "module.module.short",
        "module.module.long"
      ])
      const results = yield* nested([[asked("a"), asked("fail")], [asked("b")]]).pipe(Effect.provide(layer))
      assert.deepStrictEqual(results.map((result) => Either.isRight(result) ? result.right.length : 0), [2, 1])
    }))
})

describe("Parallel, stragglers", () => {
  const late = { after: "10 seconds", remaining: 1 } as const

  it.effect("runs the last ones again when they take too long, and the first to succeed counts", () =>
    Effect.gen(function*() {
      const { layer, seen } = echo()
      const all = Parallel.make(answer, { stragglers: late })
      const fiber = yield* Effect.fork(
        Trace.capture(all([asked("2 seconds"), asked("99 seconds")])).pipe(Effect.provide(layer))
      )
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(seen.calls, 3)
      yield* TestClock.adjust("1 seconds")
      const [results, trace] = yield* Fiber.join(fiber)
      assert.deepStrictEqual(shown(results), ["2 seconds", "99 seconds, again"])
      assert.deepStrictEqual(trace.map(({ outputs }) => outputs["answer"]), ["2 seconds", "99 seconds, again"])
      assert.strictEqual(seen.interrupted, 1)
    }))

  it.effect("not while others are still under way, and not again", () =>
    Effect.gen(function*() {
      const { layer, seen } = echo()
      const all = Parallel.make(answer, { stragglers: late })
      const fiber = yield* Effect.fork(
        all([asked("30 seconds"), asked("40 seconds again fails")]).pipe(Effect.provide(layer))
      )
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(seen.calls, 2)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(seen.calls, 3)
      yield* TestClock.adjust("6 seconds")
      // The second run failed: the first one still counts.
      assert.deepStrictEqual(shown(yield* Fiber.join(fiber)), ["30 seconds", "40 seconds again fails"])
    }))

  it.effect("a failure before it lags behind is a failure", () =>
    Effect.gen(function*() {
      const { layer, seen } = echo()
      const all = Parallel.make(answer, { stragglers: late })
      const results = yield* all([asked("fail")]).pipe(Effect.provide(layer))
      assert.deepStrictEqual(shown(results), ["LanguageModelError"])
      assert.strictEqual(seen.calls, 1)
    }))

  it.effect("a straggler that fails leaves it to the second run", () =>
    Effect.gen(function*() {
      const { layer } = echo()
      const all = Parallel.make(answer, { stragglers: { after: "4500 millis" } })
      const fiber = yield* Effect.fork(all([asked("fail once after 5 seconds")]).pipe(Effect.provide(layer)))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(fiber.unsafePoll(), null)
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(shown(yield* Fiber.join(fiber)), ["fail once after 5 seconds, again"])
    }))

  it.effect("interrupts both runs with the program", () =>
    Effect.gen(function*() {
      const { layer, seen } = echo()
      const slow = Parallel.make(answer, { stragglers: { after: "0 seconds" } })
      const fiber = yield* Effect.fork(slow([asked("99 seconds")]).pipe(Effect.provide(layer)))
      yield* TestClock.adjust("0 seconds")
      assert.strictEqual(seen.calls, 2)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual([seen.now, seen.interrupted], [0, 2])
    }))

  it("refuses numbers that are none", () => {
    for (const maxFailures of [-1, Number.NaN]) {
      assert.throws(() => Parallel.make(answer, { maxFailures }), /maxFailures must be/)
    }
    for (const concurrency of [0, 1.5]) {
      assert.throws(() => Parallel.make(answer, { concurrency }), /concurrency must be/)
    }
    for (const remaining of [-1, 1.5, Number.NaN]) {
      assert.throws(() => Parallel.make(answer, { stragglers: { after: "1 second", remaining } }), /remaining must be/)
    }
    Parallel.make(answer, { maxFailures: Infinity })
  })
})
