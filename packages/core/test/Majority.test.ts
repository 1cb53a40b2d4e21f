import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Majority from "@effect-dspy/core/Majority"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"

const guess = Predict.make("question -> answer")
const ask = { question: "?" }

describe("Majority.of", () => {
  it("finds what most say, however they write it", () => {
    assert.strictEqual(Majority.of(["Paris", "London", "the paris."]), "Paris")
    assert.strictEqual(Majority.of([1, 2, 2, 1]), 1)
    assert.deepStrictEqual(Majority.of([{ a: 1, b: [1] }, { a: 2, b: [2] }, { a: 3, b: [2] }]), { a: 2, b: [2] })
    assert.deepStrictEqual(Majority.of([{ a: 1, b: 1 }, { a: 2, b: 2 }, { a: 2, b: 3 }], ({ a }) => a), { a: 2, b: 2 })
  })

  it("compares what has no form in JSON too", () => {
    const map = (value: number) => ({ a: new Map([["x", value], ["y", 0]]) })
    assert.deepStrictEqual(Majority.of([map(1), map(2), { a: new Map([["y", 0], ["x", 2]]) }]), map(2))
    assert.deepStrictEqual(Majority.of([new Set([1]), new Set([2, 3]), new Set([3, 2])]), new Set([2, 3]))
    assert.strictEqual(Majority.of([1n, 2n, 2n]), 2n)
    assert.deepStrictEqual(Majority.of([new Date(1), new Date(2), new Date(2)]), new Date(2))
  })

  it("counts an answer of which normalizing leaves nothing", () => {
    assert.strictEqual(Majority.of(["B", "A", "a"]), "A")
    assert.strictEqual(Majority.of(["?", "the", "The"]), "the")
  })

  it("leaves out who says nothing", () => {
    assert.strictEqual(Majority.of<string | null>([null, null, "a"]), "a")
    assert.strictEqual(Majority.of(["", "  ", "a"]), "a")
    assert.strictEqual(Majority.of<string | undefined>([undefined, undefined]), undefined)
  })

  it.prop("is one of those that most agree with", [FastCheck.array(FastCheck.nat(3), { minLength: 1 })], ([votes]) => {
    const count = (value: number) => votes.filter((vote) => vote === value).length
    const winner = Majority.of(votes as [number, ...Array<number>])
    assert.isTrue(votes.every((vote) => count(vote) <= count(winner)))
    assert.strictEqual(winner, votes.find((vote) => count(vote) === count(winner)))
  }, { fastCheck: { seed: 1 } })
})

describe("Majority", () => {
  it.effect("asks for samples of their own, and keeps the calls of the one it takes", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const model = TestLanguageModel.layer((request) => {
        requests.push(request)
        return TestLanguageModel.fields({
          answer: ["a", "b", "b"][Number(request.settings?.rollout?.slice(-1)) - 1] ?? ""
        })
      })
      const [output, trace] = yield* Trace.capture(Majority.make(guess, { n: 3 })(ask)).pipe(Effect.provide(model))
      assert.deepStrictEqual(output, { answer: "b" })
      assert.strictEqual(new Set(requests.map(({ settings }) => settings?.rollout)).size, 3)
      assert.isTrue(requests.every(({ settings }) => settings?.temperature === 1))
      assert.deepStrictEqual(trace.map(({ outputs, path }) => [path, outputs]), [["module", { answer: "b" }]])
    }))

  it.effect("leaves out who fails, and fails when all do", () =>
    Effect.gen(function*() {
      const model = (...answers: ReadonlyArray<string | null>) =>
        TestLanguageModel.layer(answers.map((answer) =>
          answer === null ? TestLanguageModel.fail("Overloaded") : TestLanguageModel.fields({ answer })
        ))
      const two = Majority.make(guess, { n: 2 })
      assert.deepStrictEqual(yield* two(ask).pipe(Effect.provide(model(null, "a"))), { answer: "a" })
      assert.strictEqual(
        (yield* Effect.flip(two(ask).pipe(Effect.provide(model(null, null)))))._tag,
        "LanguageModelError"
      )
    }))

  it("refuses what makes no sense", () => {
    assert.throws(() => Majority.make(guess, { n: 0 }), /n must be a whole number/)
  })
})
