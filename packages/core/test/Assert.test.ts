import * as Assert from "@effect-dspy/core/Assert"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"

const guess = Predict.make("question -> n: int")
const ask = { question: "?" }

/** Answers in turn. */
const answers = (...values: ReadonlyArray<number>) =>
  TestLanguageModel.layer(values.map((n) => TestLanguageModel.fields({ n })))

/** At most `limit`, and even. */
const small = (limit: number) => (_: unknown, { n }: { readonly n: number }) =>
  Effect.succeed([
    ...(n > limit ? [`${n} is more than ${limit}.`] : []),
    ...(n % 2 === 1 ? [`${n} is odd.`] : [])
  ])

const recorded = (...values: ReadonlyArray<number>) => {
  const requests: Array<LanguageModel.Request> = []
  return {
    requests,
    told: () => requests.map(({ messages }) => String(messages[0]?.content)),
    layer: TestLanguageModel.layer((request) => {
      requests.push(request)
      return TestLanguageModel.fields({ n: values[requests.length - 1] ?? 0 })
    })
  }
}

describe("Assert", () => {
  it.effect("asks once when all is well, as the program is", () =>
    Effect.gen(function*() {
      const plain = recorded(2)
      yield* guess(ask).pipe(Effect.provide(plain.layer))
      const checked = recorded(2)
      const program = Assert.make(guess, { check: small(5) })
      assert.deepStrictEqual(yield* program(ask).pipe(Effect.provide(checked.layer)), { n: 2 })
      assert.deepStrictEqual(checked.requests, plain.requests)
    }))

  it.effect("takes a check that says at once what is wrong", () =>
    Effect.gen(function*() {
      const program = Assert.make(guess, { check: (_, { n }) => n > 5 ? ["Too much."] : [] })
      assert.deepStrictEqual(yield* program(ask).pipe(Effect.provide(answers(7, 4))), { n: 4 })
    }))

  it.effect("tells the predictor what it answered and what is wrong with it", () =>
    Effect.gen(function*() {
      const { layer, requests, told } = recorded(7, 9, 4)
      const program = Assert.make(guess, { check: small(5) })
      assert.deepStrictEqual(yield* program(ask).pipe(Effect.provide(layer)), { n: 4 })
      const [first, second, third] = told()
      assert.notInclude(first!, "not accepted")
      assert.include(second!, `What you answered: {"n":7}`)
      assert.include(second!, "- 7 is more than 5.\n- 7 is odd.")
      // The latest attempt only: a prompt does not grow with the attempts.
      assert.include(third!, `What you answered: {"n":9}`)
      assert.notInclude(third!, "7 is more than 5")
      assert.deepStrictEqual(requests.map(({ settings }) => settings?.rollout), [undefined, "attempt 2", "attempt 3"])
    }))

  it.effect("tells each predictor what it said itself, by its own path", () =>
    Effect.gen(function*() {
      const { layer, told } = recorded(1, 8, 1, 2)
      const pair = Module.make({ low: guess, high: guess }, function*(m, input: typeof ask) {
        const low = yield* m.low(input)
        const high = yield* m.high({ question: `more than ${low.n}` })
        return { low: low.n, high: high.n }
      })
      const program = Assert.make(pair, {
        check: (_, { high }) => Effect.succeed(high > 5 ? ["The high one is too high."] : [])
      })
      const whole = Module.make({ program }, function*(m, input: typeof ask) {
        return yield* m.program(input)
      })
      assert.deepStrictEqual(yield* whole(ask).pipe(Effect.provide(layer)), { low: 1, high: 2 })
      assert.include(told()[2]!, `What you answered: {"n":1}`)
      assert.include(told()[3]!, `What you answered: {"n":8}`)
    }))

  it.effect("fails with the best output and what is wrong with it when no attempt stands up", () =>
    Effect.gen(function*() {
      const program = Assert.make(guess, { check: small(5) })
      const error = yield* Effect.flip(program(ask).pipe(Effect.provide(answers(7, 8, 9))))
      assert.ok(error._tag === "CheckFailed")
      assert.deepStrictEqual([error.attempts, error.complaints, error.output], [3, ["8 is more than 5."], { n: 8 }])
      assert.strictEqual(
        error.message,
        "No answer stood up to the check in 3 attempts. What is wrong with the best of them: 8 is more than 5."
      )
    }))

  it.effect("asks as often as it is told to", () =>
    Effect.gen(function*() {
      const { layer, requests } = recorded(7, 7)
      yield* Effect.flip(Assert.make(guess, { check: small(5), retries: 0 })(ask).pipe(Effect.provide(layer)))
      assert.strictEqual(requests.length, 1)
      assert.throws(() => Assert.make(guess, { check: small(5), retries: -1 }), /at least 0, not -1/)
    }))

  it.effect("passes on what the program and the check fail with, and does not try again", () =>
    Effect.gen(function*() {
      const model = TestLanguageModel.layer([TestLanguageModel.fail("Overloaded")])
      const failed = yield* Effect.flip(Assert.make(guess, { check: small(5) })(ask).pipe(Effect.provide(model)))
      assert.strictEqual(failed._tag, "LanguageModelError")
      const unsure = Assert.make(guess, { check: () => Effect.fail("cannot say" as const) })
      assert.strictEqual(yield* Effect.flip(unsure(ask).pipe(Effect.provide(answers(1)))), "cannot say")
    }))

  it.effect("leaves only the attempt that counts in a trace, and says where it is", () =>
    Effect.gen(function*() {
      const program = Assert.make(guess, { check: small(5) })
      const [, trace] = yield* Trace.capture(program(ask)).pipe(Effect.provide(answers(7, 4)))
      assert.deepStrictEqual(trace.map(({ outputs, path }) => [path, outputs["n"]]), [["module", 4]])
      const heard: Array<number> = []
      yield* ModuleEvent.listen(program(ask), {
        deltas: false,
        emit: (events) =>
          Effect.sync(() => {
            for (const event of events) if (event._tag === "Attempt") heard.push(event.n)
          })
      }).pipe(Effect.provide(answers(7, 4)))
      assert.deepStrictEqual(heard, [1, 2])
    }))

  it.effect("does not let two runs at once disturb each other", () =>
    Effect.gen(function*() {
      const model = TestLanguageModel.layer((request) => {
        const limit = Number(/under (\d+)/.exec(String(request.messages.at(-1)?.content))?.[1])
        const told = String(request.messages[0]?.content)
        return TestLanguageModel.fields({ n: told.includes(`more than ${limit}.`) ? limit - 1 : limit + 1 })
      })
      const program = Assert.make(guess, {
        check: ({ question }, { n }) =>
          Effect.succeed(n < Number(question.slice(6)) ? [] : [`It is more than ${question.slice(6)}.`])
      })
      const all = Array.from({ length: 50 }, (_, index) => index * 2)
      const outputs = yield* Effect.forEach(all, (n) => program({ question: `under ${n}` }), { concurrency: 50 }).pipe(
        Effect.provide(model)
      )
      assert.deepStrictEqual(outputs.map(({ n }) => n), all.map((n) => n - 1))
    }))
})

describe("Assert.suggest", () => {
  it.effect("answers with the best one, and warns of what is wrong with it", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.make(({ message }) => {
        logged.push(message)
      })
      const program = Assert.suggest(guess, { check: small(5), retries: 1 })
      const output = yield* program(ask).pipe(
        Effect.provide([answers(7, 8), Logger.replace(Logger.defaultLogger, logger)])
      )
      assert.deepStrictEqual(output, { n: 8 })
      assert.include(String(logged), "8 is more than 5.")
    }))
})
