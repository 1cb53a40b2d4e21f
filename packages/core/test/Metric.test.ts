import * as Example from "@effect-dspy/core/Example"
import * as Metric from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Either } from "effect"

const score = <Labels, Out, E>(metric: Metric.Metric<unknown, Labels, Out, E>, labels: Labels, output: Out) =>
  metric(Example.make({ id: "x1", inputs: {}, labels }), output, [])
const value = <Labels, Out, E>(metric: Metric.Metric<unknown, Labels, Out, E>, labels: Labels, output: Out) =>
  Effect.runSync(Effect.map(score(metric, labels, output), (score) => score.value))

describe("make", () => {
  it.effect("takes booleans, numbers, scores and Effects of these", () =>
    Effect.gen(function*() {
      const verdicts: ReadonlyArray<Metric.Verdict> = [true, false, 0.25, { value: 1, feedback: "good" }]
      const expected = [{ value: 1 }, { value: 0 }, { value: 0.25 }, { value: 1, feedback: "good" }]
      for (const [index, verdict] of verdicts.entries()) {
        assert.deepStrictEqual(yield* score(Metric.make(() => verdict), {}, {}), expected[index]!)
        assert.deepStrictEqual(yield* score(Metric.make(() => Effect.succeed(verdict)), {}, {}), expected[index]!)
      }
    }))

  it.effect("a value out of range, or none, is an error that names the example", () =>
    Effect.gen(function*() {
      for (const verdict of [-0.001, 1.001, Number.NaN, Infinity]) {
        for (const judged of [verdict, { value: verdict }, Effect.succeed(verdict)]) {
          const error = yield* Effect.flip(score(Metric.make(() => judged), {}, {}))
          assert.strictEqual(error._tag, "InvalidScore")
          assert.include(error.message, `gave ${verdict} for example x1`)
        }
      }
    }))

  it.effect("what is no number after all is an error, not a score", () =>
    Effect.gen(function*() {
      // As it may come from JSON that nobody has checked.
      for (const text of ["null", "{\"value\":null}", "{\"value\":\"1\"}", "\"1\"", "{}"]) {
        const error = yield* Effect.flip(score(Metric.make((): Metric.Verdict => JSON.parse(text)), {}, {}))
        assert.include(error.message, "gave NaN for example x1")
      }
    }))

  it.effect("keeps the failures of the function, and hands over the trace", () =>
    Effect.gen(function*() {
      class Lost extends Data.TaggedError("Lost")<{ readonly calls: number }> {}
      const metric = Metric.make((_example, _output, trace) => new Lost({ calls: trace.length }))
      const call = { path: "", listed: true, inputs: {}, outputs: {} }
      const error = yield* Effect.flip(metric(Example.make({ inputs: {}, labels: {} }), {}, [call, call]))
      assert.deepStrictEqual(error, new Lost({ calls: 2 }))
    }))
})

describe("mean and all", () => {
  const half = Metric.make(() => ({ value: 0.5, feedback: "half" }))
  const none = Metric.make(() => ({ value: 0, feedback: "none" }))
  const full = Metric.make(() => true)

  it("merge values and feedback", () => {
    assert.deepStrictEqual(Effect.runSync(score(Metric.mean(half, full, none), {}, {})), {
      value: 0.5,
      feedback: "half\nnone"
    })
    assert.deepStrictEqual(Effect.runSync(score(Metric.all(full, half), {}, {})), { value: 0.5, feedback: "half" })
    assert.deepStrictEqual(Effect.runSync(score(Metric.all(full, full), {}, {})), { value: 1 })
  })

  it("merge what is said of single predictors", () => {
    const slow = Metric.make(() => ({ value: 1, predictors: { draft: "slow", answer: "fine" } }))
    const long = Metric.make(() => ({ value: 1, predictors: { draft: "long" } }))
    assert.deepStrictEqual(Effect.runSync(score(Metric.mean(slow, full, long), {}, {})), {
      value: 1,
      predictors: { draft: "slow\nlong", answer: "fine" }
    })
  })
})

describe("equals", () => {
  const metric = Metric.equals("a", "b")

  it("compares by value", () => {
    assert.strictEqual(value(metric, { a: 1, b: ["x", { y: null }] }, { a: 1, b: ["x", { y: null }] }), 1)
    assert.strictEqual(value(metric, { a: new Date(5), b: { c: 1, d: 2 } }, { a: new Date(5), b: { d: 2, c: 1 } }), 1)
    assert.strictEqual(value(metric, { a: new Date(5), b: 0 }, { a: new Date(6), b: 0 }), 0)
    assert.strictEqual(value(metric, { a: [{ at: new Date(5) }], b: 0 }, { a: [{ at: new Date(6) }], b: 0 }), 0)
    assert.strictEqual(value(metric, { a: [1, 2], b: 0 }, { a: [2, 1], b: 0 }), 0)
    assert.strictEqual(value(metric, { a: "1", b: 0 }, { a: 1, b: 0 }), 0)
    assert.strictEqual(value(metric, { a: {}, b: 0 }, { a: [], b: 0 }), 0)
    assert.strictEqual(value(metric, { a: { x: 1 }, b: 0 }, { a: { y: 1 }, b: 0 }), 0)
  })

  it("says which fields are wrong", () => {
    assert.deepStrictEqual(Effect.runSync(score(metric, { a: "billing", b: true }, { a: "other", b: false })), {
      value: 0,
      feedback: "a: expected \"billing\", got \"other\"; b: expected true, got false"
    })
  })

  it("compares a field that may be absent", () => {
    const metric = Metric.equals("team", "note?")
    assert.strictEqual(value(metric, { team: 1 }, { team: 1 }), 1)
    assert.strictEqual(value(metric, { team: 1, note: "x" }, { team: 1, note: "x" }), 1)
    assert.deepStrictEqual(Effect.runSync(score(metric, { team: 1, note: "x" }, { team: 1 })), {
      value: 0,
      feedback: `note: expected "x", got nothing`
    })
    assert.deepStrictEqual(Effect.runSync(score(metric, { team: 1 }, { team: 1, note: "x" })), {
      value: 0,
      feedback: `note: expected nothing, got "x"`
    })
  })
})

describe("values without a form in JSON", () => {
  it("are shown as well as can be", () => {
    const exact = Metric.equals("sum")
    const { feedback } = Effect.runSync(score(exact, { sum: 10n }, { sum: 11n }))
    assert.strictEqual(feedback, `sum: expected "10", got "11"`)
    const example = Example.make({ inputs: { n: 1n }, labels: { seen: new Set([1]) } })
    assert.deepStrictEqual(Metric.question(example, undefined), {
      inputs: `{\n  "n": "1"\n}`,
      expected: `{\n  "seen": [\n    1\n  ]\n}`,
      actual: "null"
    })
  })
})

describe("texts", () => {
  it("are normalized as in the SQuAD evaluation", () => {
    assert.strictEqual(Metric.normalize("  The  Quick, (brown) fox's\ta-n! "), "quick brown foxs")
    assert.strictEqual(Metric.normalize("Theatre another than an a THE"), "theatre another than")
    // Accents are taken apart and stay.
    assert.strictEqual(Metric.normalize("Café"), "cafe\u0301")
    assert.notStrictEqual(Metric.normalize("café"), Metric.normalize("cafe"))
    // A letter that ASCII does not know makes one word with its neighbours.
    assert.strictEqual(Metric.normalize("aß ßa"), "aß ßa")
    // Only ASCII punctuation goes.
    assert.strictEqual(Metric.normalize("a–b «c»"), "–b «c»")
  })

  it("match exactly one of the answers", () => {
    const metric = Metric.exactMatch("answer")
    assert.strictEqual(value(metric, { answer: "The Eiffel Tower" }, { answer: "eiffel tower." }), 1)
    assert.strictEqual(value(metric, { answer: ["no", "Eiffel Tower"] }, { answer: "the eiffel tower" }), 1)
    assert.strictEqual(value(metric, { answer: [] }, { answer: "" }), 0)
    assert.deepStrictEqual(Effect.runSync(score(metric, { answer: ["x", "y"] }, { answer: "z" })), {
      value: 0,
      feedback: `answer: expected "x" or "y", got "z"`
    })
    const selected = Metric.exactMatch({
      expected: ({ labels }: Example.Example<unknown, { readonly city: string }>) => labels.city,
      actual: (output: { readonly reply: string }) => output.reply
    })
    assert.strictEqual(value(selected, { city: "Paris" }, { reply: "Paris!" }), 1)
  })

  it("share words (F1)", () => {
    const metric = Metric.f1("answer")
    const f1 = (expected: Metric.Answers, actual: string) => value(metric, { answer: expected }, { answer: actual })
    // 2PR/(P+R) by hand: P = 2/3, R = 2/2.
    assert.closeTo(f1("Albert Einstein", "Albert Einstein physicist"), 0.8, 1e-12)
    assert.strictEqual(f1("the cat", "A cat!"), 1)
    // Words count as often as they occur: two of three, two of two.
    assert.closeTo(f1("no no no", "no no"), 0.8, 1e-12)
    assert.strictEqual(f1("no", "yes"), 0)
    assert.strictEqual(f1("", ""), 0)
    assert.strictEqual(f1("the", "a"), 0)
    assert.strictEqual(f1(["x", "big red fox"], "red fox"), 0.8)
    assert.strictEqual(f1([], "x"), 0)
    // Keys that every object inherits are words like others.
    assert.strictEqual(f1("constructor", "constructor constructor"), 2 / 3)
  })

  it("stand in a passage as whole words", () => {
    const metric = Metric.passageMatch({ passages: "context", answers: "answer" })
    const found = (answer: Metric.Answers, ...context: ReadonlyArray<string>) => value(metric, { answer }, { context })
    assert.strictEqual(found("New York", "Flights to new york."), 1)
    assert.strictEqual(found("New York", "Flights to new yorkshire."), 0)
    assert.strictEqual(found("New York", "York, new and old"), 0)
    assert.strictEqual(found("New York", "a new, york"), 0)
    assert.strictEqual(found(["x", "U.S."], "nothing", "in the u.s. of"), 1)
    assert.strictEqual(found("café", "un cafe\u0301 noir"), 1)
    assert.strictEqual(found("", "anything"), 0)
    assert.strictEqual(found("x"), 0)
  })
})

describe("judged", () => {
  const example = Example.make({ inputs: { ticket: "Where is it?" }, labels: { reply: "It is on its way." } })
  const verdict = TestLanguageModel.fields({ reasoning: "…", score: 0.75, feedback: "Say when." })

  it.effect("asks a model by the criterion, with all there is to know", () =>
    Effect.gen(function*() {
      const metric = Metric.judged(Metric.judge("The reply is as friendly as can be."))
      assert.deepStrictEqual(yield* metric(example, { reply: "Soon." }, []), { value: 0.75, feedback: "Say when." })
      const [request] = yield* TestLanguageModel.requests
      const prompt = JSON.stringify(request?.messages)
      for (const part of ["as friendly as can be", "Where is it?", "on its way", "Soon."]) assert.include(prompt, part)
    }).pipe(Effect.provide(TestLanguageModel.layer([verdict]))))

  it.effect("a rating out of range is an answer that does not parse", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Metric.judged(Metric.judge("x"))(example, {}, []))
      assert.strictEqual(error._tag, "AdapterParseError")
    }).pipe(
      Effect.provide(
        TestLanguageModel.layer(() => TestLanguageModel.fields({ reasoning: "…", score: 7, feedback: "" }))
      )
    ))

  it.effect("the judge is a program whose parameters can be set", () =>
    Effect.gen(function*() {
      const judge = Metric.judge("x")
      assert.deepStrictEqual(judge.predictors.map(({ path }) => path), ["predict"])
      const tuned = Either.getOrThrow(
        Module.withParameters(judge, {
          predict: { instructions: "Be strict.", demos: [Parameters.demo({ actual: "A", score: 0 })] }
        })
      )
      yield* Metric.judged(tuned)(example, {}, [])
      const [request] = yield* TestLanguageModel.requests
      assert.include(JSON.stringify(request?.messages), "Be strict.")
    }).pipe(Effect.provide(TestLanguageModel.layer([verdict]))))

  it.effect("a judge of one's own may say yes or no, or give a score that is none", () =>
    Effect.gen(function*() {
      const ask = (_: Example.Example<unknown, unknown>, output: { readonly text: string }) => ({ text: output.text })
      const boolean = Metric.judged(Predict.make("text -> score: boolean"), ask)
      assert.deepStrictEqual(yield* boolean(example, { text: "a" }, []), { value: 1 })
      const error = yield* Effect.flip(
        Metric.judged(Predict.make("text -> score: number"), ask)(example, { text: "b" }, [])
      )
      assert.strictEqual(error._tag, "InvalidScore")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ score: true }),
      TestLanguageModel.fields({ score: 7 })
    ]))))
})
