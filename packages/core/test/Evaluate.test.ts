import * as Evaluate from "@effect-dspy/core/Evaluate"
import * as Example from "@effect-dspy/core/Example"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Metric from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Scoring from "@effect-dspy/core/Scoring"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { FileSystem } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Clock,
  Deferred,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Logger,
  Ref,
  Schema,
  Stream,
  TestClock
} from "effect"
import { rows } from "../src/internal/csv.ts"

const signature = Signature.make({ input: { n: Schema.Int }, output: { answer: Schema.Int } })
const double = Predict.make(signature)

const dataset = (size: number) =>
  Array.from({ length: size }, (_, n) => Example.make({ id: `e${n}`, inputs: { n }, labels: { answer: 2 * n } }))

const asked = (request: { readonly messages: ReadonlyArray<{ readonly content: unknown }> }) =>
  Number(/\[\[ ## n ## \]\]\n(\d+)/.exec(String(request.messages.at(-1)?.content))?.[1])

// Right for most numbers, wrong for every third, in an order that has nothing to do with that of the examples.
const model = TestLanguageModel.layer((request) => {
  const n = asked(request)
  return TestLanguageModel.fields({ answer: n % 3 === 0 ? -1 : 2 * n }).pipe(
    TestLanguageModel.withUsage({ inputTokens: 10, outputTokens: n }),
    TestLanguageModel.delayed(`${(n * 7919) % 101} millis`)
  )
})

const metric = Metric.equals("answer")

// Runs under the TestClock, moving it whenever all else waits.
const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(self)
    yield* Effect.repeat(TestClock.adjust("1 second"), {
      until: () => Fiber.poll(fiber).pipe(Effect.map((exit) => exit._tag === "Some"))
    })
    return yield* Fiber.join(fiber)
  })

describe("run", () => {
  it.effect("scores every example in its place, and counts what was paid for", () =>
    Effect.gen(function*() {
      const examples = dataset(9)
      const report = yield* timed(Evaluate.run(double, { examples, metric }))
      assert.deepStrictEqual(report.results.map(({ example }) => example), examples)
      assert.deepStrictEqual(report.results.map(({ score }) => score), [0, 1, 1, 0, 1, 1, 0, 1, 1])
      assert.strictEqual(report.score, 6 / 9)
      assert.deepStrictEqual(
        [report.known, report.failed, report.unknown, report.calls, report.usage],
        [9, 0, 0, 9, { inputTokens: 90, outputTokens: 36 }]
      )
      const [first] = report.results
      assert.deepInclude(first?.scored, {
        _tag: "Scored",
        output: { answer: -1 },
        feedback: "answer: expected 0, got -1"
      })
      assert.isTrue(report.interval.lower < report.score && report.score < report.interval.upper)
      assert.strictEqual(report.interval.confidence, 0.95)
    }).pipe(Effect.provide(model)))

  it.effect("is the same at any concurrency", () =>
    Effect.gen(function*() {
      const examples = dataset(40)
      const at = (concurrency: number) => timed(Evaluate.run(double, { examples, metric, concurrency }))
      const one = yield* at(1)
      assert.deepStrictEqual(yield* at(4), one)
      assert.deepStrictEqual(yield* at(64), one)
    }).pipe(Effect.provide(model)))

  it.effect("works on as many examples at once as it may", () =>
    Effect.gen(function*() {
      const running = yield* Ref.make(0)
      const most = yield* Ref.make(0)
      const busy = Module.make({}, function*(_, _input: { readonly n: number }) {
        const now = yield* Ref.updateAndGet(running, (n) => n + 1)
        yield* Ref.update(most, (n) => Math.max(n, now))
        yield* Effect.sleep("1 second")
        yield* Ref.update(running, (n) => n - 1)
        return { answer: 0 }
      })
      yield* timed(Evaluate.run(busy, { examples: dataset(20), metric, concurrency: 5 }))
      assert.strictEqual(yield* Ref.get(most), 5)
      yield* Ref.set(most, 0)
      yield* timed(
        Evaluate.run(busy, { examples: dataset(20), metric }).pipe(
          Effect.provide(TestLanguageModel.layer([], { capabilities: { concurrency: 3 } }))
        )
      )
      assert.strictEqual(yield* Ref.get(most), 6)
    }))

  it.effect("one slow example holds up no other", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const finished = yield* Ref.make(0)
      const slow = Module.make({}, function*(_, input: { readonly n: number }) {
        if (input.n === 0) yield* Deferred.await(gate)
        const done = yield* Ref.updateAndGet(finished, (n) => n + 1)
        if (done === 29) yield* Deferred.succeed(gate, undefined)
        return { answer: 2 * input.n }
      })
      const report = yield* Evaluate.run(slow, { examples: dataset(30), metric, concurrency: 2 })
      assert.strictEqual(report.score, 1)
    }))

  it.effect("of nothing is nothing", () =>
    Effect.gen(function*() {
      const report = yield* Evaluate.run(double, { examples: dataset(0), metric })
      assert.deepStrictEqual([report.score, report.known, report.calls], [0, 0, 0])
      assert.deepStrictEqual(report.interval, { lower: 0, upper: 1, confidence: 0.95 })
      assert.strictEqual(Evaluate.format(report), "score 0.000 [0.000, 1.000] at 95 % on 0 examples, 0 calls")
    }).pipe(Effect.provide(model)))

  it.effect("refuses different examples with one id, and takes one example twice", () =>
    Effect.gen(function*() {
      const [one, two] = dataset(2)
      const error = yield* Effect.flip(Evaluate.run(double, { examples: [one!, { ...two!, id: one!.id }], metric }))
      assert.strictEqual(error._tag, "AmbiguousExample")
      const report = yield* timed(Evaluate.run(double, { examples: [two!, two!], metric }))
      assert.strictEqual(report.known, 2)
    }).pipe(Effect.provide(model)))

  it.effect("measures the parameters that the module has", () =>
    Effect.gen(function*() {
      const tuned = Either.getOrThrow(Module.withParameters(double, { "": { instructions: "Twice!", demos: [] } }))
      const seen = yield* Ref.make<ReadonlyArray<Scoring.Task>>([])
      const scoring = Layer.succeed(Scoring.Scoring, {
        score: (evaluator, task) => Effect.zipRight(Ref.update(seen, (tasks) => [...tasks, task]), evaluator.run(task))
      })
      yield* timed(Evaluate.run(tuned, { examples: dataset(1), metric }).pipe(Effect.provide(scoring)))
      const [request] = yield* TestLanguageModel.requests
      assert.include(JSON.stringify(request), "Twice!")
      assert.deepStrictEqual((yield* Ref.get(seen)).map((task) => task.candidate), [
        { "": { instructions: "Twice!", demos: [] } }
      ])
    }).pipe(Effect.provide(model)))

  it.effect("a scorer that fails is its own error", () =>
    Effect.gen(function*() {
      const lost = Layer.succeed(Scoring.Scoring, {
        score: (evaluator) =>
          Effect.fail(new Scoring.ScoringError({ evaluator: evaluator.id, description: "worker lost" }))
      })
      const error = yield* Evaluate.run(double, { examples: dataset(3), metric, id: "mine" }).pipe(
        Effect.provide(lost),
        Effect.flip
      )
      assert.strictEqual(error.message, "mine: worker lost")
    }).pipe(Effect.provide(model)))
})

describe("failures", () => {
  const failing = (reasons: { readonly [n: number]: TestLanguageModel.Step }) =>
    TestLanguageModel.layer((request) =>
      reasons[asked(request)] ?? TestLanguageModel.fields({ answer: 2 * asked(request) })
    )

  it.effect("of the model leave the example out, of the module count as 0", () =>
    Effect.gen(function*() {
      const report = yield* Evaluate.run(double, { examples: dataset(20), metric })
      assert.deepStrictEqual([report.known, report.failed, report.unknown], [18, 1, 2])
      assert.strictEqual(report.score, 17 / 18)
      assert.deepStrictEqual(report.results.map(({ score }) => score).slice(3, 8), [undefined, 1, 0, 1, undefined])
      const table = Evaluate.format(report, { rows: 3 })
      assert.include(table, "1 failure scored as 0: 1 × AdapterParseError (The answer could not be read")
      assert.include(table, "2 examples left out: 1 × Overloaded (")
      assert.include(table, "1 × RateLimited (")
    }).pipe(Effect.provide(failing({
      3: TestLanguageModel.fail("Overloaded"),
      5: TestLanguageModel.text("I would rather not"),
      7: TestLanguageModel.fail("RateLimited")
    }))))

  it.effect("of the metric say nothing about the module", () =>
    Effect.gen(function*() {
      const odd = Metric.make((example: Example.Example<{ readonly n: number }, unknown>) =>
        example.inputs.n === 4 ? Number.NaN : true
      )
      const report = yield* Evaluate.run(double, { examples: dataset(20), metric: odd })
      assert.deepStrictEqual([report.score, report.known, report.unknown], [1, 19, 1])
      // Without Metric.make the value is checked all the same.
      const raw: Metric.Metric<{ readonly n: number }, unknown, unknown> = (example) =>
        Effect.succeed({ value: example.inputs.n === 4 ? 2 : 1 })
      const again = yield* Evaluate.run(double, { examples: dataset(20), metric: raw })
      assert.deepInclude(again.results[4]?.scored, { _tag: "Failed", transient: true, error: "InvalidScore" })
    }).pipe(Effect.provide(failing({}))))

  it.effect("more than tolerated end the run, with what there is up to there", () =>
    Effect.gen(function*() {
      const at = (concurrency: number) =>
        Effect.flip(Evaluate.run(double, { examples: dataset(40), metric, maxFailureRate: 0.05, concurrency }))
      const error = yield* at(1)
      assert.strictEqual(error._tag, "TooManyFailures")
      if (error._tag !== "TooManyFailures") return
      assert.deepStrictEqual([error.unknown, error.total, error.maxFailureRate], [3, 40, 0.05])
      assert.deepStrictEqual(error.report.results.map(({ example }) => example.id), dataset(13).map(({ id }) => id))
      assert.strictEqual(error.report.score, 1)
      assert.include(error.message, "3 of 40 examples could not be scored, more than the share of 0.05")
      assert.include(error.message, "3 × Overloaded (test/model: Overloaded: scripted)")
      assert.deepStrictEqual(yield* at(64), error)
    }).pipe(Effect.provide(failing(Object.fromEntries(
      [2, 9, 12, 13, 14].map((n) => [n, TestLanguageModel.fail("Overloaded")])
    )))))

  it.effect("end the run in the same place when its events are read slowly", () =>
    Effect.gen(function*() {
      const scored = yield* Evaluate.events(double, {
        examples: dataset(60),
        metric,
        maxFailureRate: 0,
        concurrency: 60
      })
        .pipe(
          Stream.tap(() => Effect.sleep("10 seconds")),
          Stream.filter((event) => event._tag === "Scored"),
          Stream.map(({ index }) => index),
          Stream.either,
          Stream.runCollect,
          timed
        )
      const indices = Chunk.toReadonlyArray(scored).flatMap((one) => Either.isRight(one) ? [one.right] : [])
      assert.deepStrictEqual(indices, Array.from({ length: 26 }, (_, n) => n))
      assert.strictEqual(Either.isLeft(Chunk.unsafeLast(scored)), true)
    }).pipe(Effect.provide(TestLanguageModel.layer((request) => {
      const n = asked(request)
      // The first answers when most have, the others after it.
      return n >= 25
        ? TestLanguageModel.delayed(TestLanguageModel.fail("Overloaded"), n < 40 ? "1 second" : "3 seconds")
        : TestLanguageModel.delayed(TestLanguageModel.fields({ answer: 2 * n }), n === 0 ? "2 seconds" : "1 second")
    }))))

  it.effect("of the code, which throws, leave the example out, are counted apart and end no run while they are few", () =>
    Effect.gen(function*() {
      const careless: Metric.Metric<{ readonly n: number }, { readonly answer: number }, { readonly answer: number }> =
        (
          example,
          output
        ) => {
          if (example.inputs.n === 3) throw new TypeError("labels have no such thing")
          return example.inputs.n === 4 ? Effect.die("no text") : metric(example, output, [])
        }
      const fragile = Module.make({ double }, function*(m, input: { readonly n: number }) {
        if (input.n === 7) throw new RangeError("out of paper")
        return yield* m.double(input)
      })
      const logged: Array<string> = []
      const report = yield* Evaluate.run(fragile, { examples: dataset(40), metric: careless }).pipe(
        Effect.provide(Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ cause, message }) => void logged.push(`${String(message)}\n${Cause.pretty(cause)}`))
        ))
      )
      assert.deepStrictEqual([report.known, report.unknown, report.thrown, report.failed], [37, 3, 3, 0])
      const message = (index: number) => {
        const scored = report.results[index]?.scored
        return scored?._tag === "Failed" ? [scored.error, scored.transient, scored.calls, scored.message] : []
      }
      // What the metric could not judge was paid for.
      assert.deepStrictEqual(message(3), ["Defect", true, 1, "the metric threw: labels have no such thing"])
      assert.deepStrictEqual(message(4), ["Defect", true, 1, "the metric threw: no text"])
      assert.deepStrictEqual(message(7), ["Defect", true, 0, "the module threw: out of paper"])
      assert.include(Evaluate.format(report), "3 examples left out: 3 × Defect (the metric threw: labels")
      assert.strictEqual(logged.length, 3)
      // With where it was thrown.
      assert.match(logged[0]!, /example e3: the metric threw: labels have no such thing\n[^]*Evaluate\.test\.ts/)
    }).pipe(Effect.provide(failing({}))))

  it.effect("of the code on every example end the run, as those of a model do", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const error = yield* Evaluate.run(double, {
        examples: dataset(40),
        metric: (): Effect.Effect<Metric.Score> => {
          throw new Error("not yet written")
        }
      }).pipe(
        Effect.flip,
        Effect.provide(Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => void logged.push(message))))
      )
      assert.strictEqual(error._tag, "TooManyFailures")
      assert.include(error.message, "5 × Defect (the metric threw: not yet written)")
      // The same is said once.
      assert.strictEqual(logged.length, 1)
    }).pipe(Effect.provide(failing({}))))

  it.effect("are no interruption, which ends everything", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(
        Evaluate.run(double, { examples: dataset(4), metric: () => Effect.never, maxFailureRate: 1 })
      )
      yield* Effect.yieldNow()
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      const stopping = Scoring.evaluator({
        id: "test",
        module: double,
        examples: dataset(1),
        metric: () => Effect.interrupt
      })
      const exit = yield* Effect.exit(
        stopping.run({ candidate: Module.parameters(double), example: "e0", trace: false })
      )
      assert.isTrue(Exit.isInterrupted(exit))
    }).pipe(Effect.provide(failing({}))))

  it.effect("a dead model is not asked for every example", () =>
    Effect.gen(function*() {
      yield* Effect.flip(Evaluate.run(double, { examples: dataset(500), metric, concurrency: 4 }))
      assert.isBelow((yield* TestLanguageModel.requests).length, 80)
    }).pipe(Effect.provide(TestLanguageModel.layer(() => TestLanguageModel.fail("Transport")))))

  it.effect("exactly the share that is tolerated is tolerated", () =>
    Effect.gen(function*() {
      const report = yield* Evaluate.run(double, { examples: dataset(20), metric, maxFailureRate: 0.1 })
      assert.strictEqual(report.unknown, 2)
    }).pipe(Effect.provide(failing({
      1: TestLanguageModel.fail("Overloaded"),
      2: TestLanguageModel.fail(new LanguageModelError.Timeout({ phase: "idle" }))
    }))))
})

describe("events", () => {
  it.effect("come in the order of the examples, wherever the scheduler lets others go on", () =>
    Effect.forEach(Array.from({ length: 20 }, (_, n) => 17 + n), (steps) =>
      Effect.gen(function*() {
        const scored = yield* Evaluate.events(double, { examples: dataset(100), metric, concurrency: 50 }).pipe(
          Stream.filter((event) => event._tag === "Scored"),
          Stream.map(({ index }) => index),
          Stream.runCollect,
          Effect.withMaxOpsBeforeYield(steps)
        )
        assert.deepStrictEqual(Chunk.toReadonlyArray(scored), Array.from({ length: 100 }, (_, n) => n))
      })).pipe(Effect.provide(TestLanguageModel.layer(() => TestLanguageModel.fields({ answer: 1 })))))

  it.effect("come in the order of the examples, with the mean so far", () =>
    Effect.gen(function*() {
      const events = Chunk.toReadonlyArray(
        yield* timed(Stream.runCollect(Evaluate.events(double, { examples: dataset(6), metric })))
      )
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), ["Started", ...Array<string>(6).fill("Scored"), "Done"])
      const scored = events.filter((event) => event._tag === "Scored")
      assert.deepStrictEqual(
        scored.map(({ done, index, total }) => [index, done, total]),
        [0, 1, 2, 3, 4, 5].map((n) => [n, n + 1, 6])
      )
      assert.deepStrictEqual(scored.map(({ mean }) => mean), [0, 1 / 2, 2 / 3, 2 / 4, 3 / 5, 4 / 6])
      assert.deepStrictEqual(scored.map(({ calls }) => calls), [1, 2, 3, 4, 5, 6])
      const last = events.at(-1)
      assert.isTrue(last?._tag === "Done" && last.report.score === 4 / 6)
    }).pipe(Effect.provide(model)))

  it.effect("what was scored before too many failures is still heard of", () =>
    Effect.gen(function*() {
      const heard = yield* Ref.make<ReadonlyArray<number>>([])
      yield* Evaluate.events(double, { examples: dataset(10), metric, maxFailureRate: 0, concurrency: 64 }).pipe(
        Stream.runForEach((event) =>
          event._tag === "Scored" ? Ref.update(heard, (indices) => [...indices, event.index]) : Effect.void
        ),
        Effect.either
      )
      assert.deepStrictEqual(yield* Ref.get(heard), [0, 1, 2, 3])
    }).pipe(Effect.provide(TestLanguageModel.layer((request) =>
      asked(request) === 3 ? TestLanguageModel.fail("Conflict") : TestLanguageModel.fields({ answer: 0 })
    ))))

  it.effect("a reader that leaves stops the calls", () =>
    Effect.gen(function*() {
      yield* timed(
        Evaluate.events(double, { examples: dataset(1000), metric, concurrency: 2 }).pipe(
          Stream.take(4),
          Stream.runDrain
        )
      )
      const before = (yield* TestLanguageModel.requests).length
      assert.isBelow(before, 30)
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(yield* TestLanguageModel.requests, before)
    }).pipe(Effect.provide(model)))
})

describe("compare", () => {
  const reportOf = (answers: (n: number) => TestLanguageModel.Step, size = 30) =>
    Evaluate.run(double, { examples: dataset(size), metric, maxFailureRate: 1 }).pipe(
      Effect.provide(TestLanguageModel.layer((request) => answers(asked(request))))
    )
  const right = (n: number) => TestLanguageModel.fields({ answer: 2 * n })
  const wrong = TestLanguageModel.fields({ answer: -1 })

  it.effect("is the difference on the examples both know", () =>
    Effect.gen(function*() {
      const before = yield* reportOf((n) => n < 2 ? TestLanguageModel.fail("Overloaded") : n < 20 ? right(n) : wrong)
      const after = yield* reportOf((n) => n === 29 ? TestLanguageModel.fail("Timeout") : n < 5 ? wrong : right(n), 35)
      const comparison = Evaluate.compare(before, after)
      // Both: 2..28. Lost 2, 3, 4; won 20..28.
      assert.deepStrictEqual(
        [comparison.compared, comparison.excluded, comparison.better, comparison.worse],
        [27, 8, 9, 3]
      )
      assert.closeTo(comparison.difference, 6 / 27, 1e-12)
      assert.closeTo(comparison.candidate - comparison.baseline, comparison.difference, 1e-12)
      assert.isTrue(comparison.interval.lower < 6 / 27 && 6 / 27 < comparison.interval.upper)
      const back = Evaluate.compare(after, before)
      assert.closeTo(back.difference, -6 / 27, 1e-12)
      assert.deepStrictEqual([back.better, back.worse], [3, 9])
      assert.deepStrictEqual(Evaluate.compare(before, after), comparison)
    }))

  it.effect("sees a clear difference and doubts one that is none", () =>
    Effect.gen(function*() {
      const before = yield* reportOf((n) => n % 2 === 0 ? right(n) : wrong)
      const better = Evaluate.compare(before, yield* reportOf(right))
      assert.strictEqual(Evaluate.pValue([1, -1]), 1)
      assert.isBelow(Evaluate.pValue(Array.from({ length: 12 }, () => 0.5)), 0.01)
      assert.isTrue(better.interval.lower > 0 && better.pValue < 0.01)
      const same = Evaluate.compare(before, before)
      assert.deepStrictEqual([same.difference, same.pValue], [0, 1])
      assert.isTrue(same.interval.lower < 0 && 0 < same.interval.upper)
      const shifted = Evaluate.compare(before, yield* reportOf((n) => n % 2 === 1 ? right(n) : wrong))
      assert.isTrue(shifted.interval.lower < 0 && 0 < shifted.interval.upper && shifted.pValue > 0.5)
    }))

  it.effect("of reports that have nothing in common knows nothing", () =>
    Effect.gen(function*() {
      const none = yield* reportOf(() => TestLanguageModel.fail("Overloaded"), 3)
      const comparison = Evaluate.compare(none, yield* reportOf(right, 3))
      assert.deepStrictEqual(comparison, {
        baseline: 0,
        candidate: 0,
        difference: 0,
        interval: { lower: -1, upper: 1, confidence: 0.95 },
        pValue: 1,
        compared: 0,
        excluded: 3,
        better: 0,
        worse: 0
      })
    }))
})

describe("printing", () => {
  const texts = Predict.make("question, tone -> answer, note?: string")
  const examples = [
    Example.make({ id: "a", inputs: { question: "One?", tone: "dry" }, labels: { answer: "1" } }),
    Example.make({
      id: "b",
      inputs: { question: "Say \"two\",\nplease" + "!".repeat(60), tone: "🙂" },
      labels: { answer: "2" }
    }),
    Example.make({ id: "c", inputs: { question: "Three?", tone: "" }, labels: { answer: "3" } })
  ]
  const report = Evaluate.run(texts, {
    examples,
    metric: Metric.exactMatch("answer"),
    maxFailureRate: 1,
    concurrency: 1
  }).pipe(
    Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.withUsage(TestLanguageModel.fields({ answer: "1", note: "sure" }), {
        inputTokens: 5,
        cost: 0.5
      }),
      TestLanguageModel.fields({ answer: "two" }),
      TestLanguageModel.fail("ServerError")
    ]))
  )

  it.effect("a table, worst first, in aligned columns", () =>
    Effect.gen(function*() {
      const text = Evaluate.format(yield* report, { width: 24 })
      assert.deepStrictEqual(text.split("\n"), [
        "score 0.500 [0.000, 1.000] at 95 % on 2 examples, 2 calls, 5 tokens in, ? out, cost 0.5",
        "1 example left out: 1 × ServerError (test/model: ServerError: the server answered 500: scripted)",
        "",
        "score  inputs                    labels  output                 feedback",
        "?      question: Three?, tone:   3                              ServerError: test/model…",
        "0.000  question: Say \"two\", pl…  2       two                    answer: expected \"2\", g…",
        "1.000  question: One?, tone: d…  1       answer: 1, note: sure"
      ])
      const given = Evaluate.format(yield* report, { order: "given", rows: 1 })
      assert.isTrue(given.endsWith("and 2 more"))
      assert.include(given, "\n1.000  ")
      assert.notInclude(given, "\n0.000  ")
    }))

  it.effect("what has no form in JSON as well as can be", () =>
    Effect.gen(function*() {
      const report = yield* Evaluate.run(double, {
        examples: [Example.make({ id: "a", inputs: { n: 1, big: 10n }, labels: { seen: new Set([2]) } })],
        metric: () => Effect.succeed({ value: 1 })
      })
      assert.include(Evaluate.format(report), `n: 1, big: "10"`)
      assert.deepInclude(JSON.parse(Evaluate.toJsonl(report)), { inputs: { n: 1, big: "10" }, labels: { seen: [2] } })
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: 2 })]))))

  it.effect("JSON Lines", () =>
    Effect.gen(function*() {
      const lines = Evaluate.toJsonl(yield* report).trimEnd().split("\n").map((line) => JSON.parse(line))
      assert.deepStrictEqual(lines[0], {
        id: "a",
        inputs: examples[0]!.inputs,
        labels: { answer: "1" },
        output: { answer: "1", note: "sure" },
        score: 1,
        calls: 1,
        usage: { inputTokens: 5, cost: 0.5 }
      })
      assert.deepInclude(lines[2], { id: "c", score: null, error: "ServerError", transient: true, calls: 0 })
    }))

  it.effect("CSV that reads back", () =>
    Effect.gen(function*() {
      const [header, ...records] = rows(Evaluate.toCsv(yield* report)).map((row) =>
        row._tag === "Cells" ? row.cells : []
      )
      assert.deepStrictEqual(header, [
        "id",
        "score",
        "inputs.question",
        "inputs.tone",
        "labels.answer",
        "output.answer",
        "output.note",
        "feedback",
        "error",
        "message",
        "calls"
      ])
      assert.deepStrictEqual(records[0], ["a", "1", "One?", "dry", "1", "1", "sure", "", "", "", "1"])
      assert.strictEqual(records[1]?.[2], examples[1]!.inputs.question)
      assert.deepStrictEqual(records[2]?.slice(0, 3), ["c", "", "Three?"])
      assert.strictEqual(records[2]?.[8], "ServerError")
    }))

  it.effect("files by their names", () =>
    Effect.gen(function*() {
      const written = yield* Ref.make<Record<string, string>>({})
      const done = yield* report
      yield* Effect.all([Evaluate.save(done, "out/r.CSV"), Evaluate.save(done, "r.jsonl")]).pipe(
        Effect.provide(FileSystem.layerNoop({
          writeFileString: (path, text) => Ref.update(written, (files) => ({ ...files, [path]: text }))
        }))
      )
      assert.deepStrictEqual(yield* Ref.get(written), {
        "out/r.CSV": Evaluate.toCsv(done),
        "r.jsonl": Evaluate.toJsonl(done)
      })
    }))

  it.effect("an output that JSON cannot hold is shown as far as it can", () =>
    Effect.gen(function*() {
      const outputs: ReadonlyArray<unknown> = [{ at: new Date(0), none: undefined }, { big: 1n }, undefined, "text"]
      const module = Module.make({}, function*(_, { n }: { readonly n: number }) {
        yield* Clock.currentTimeMillis
        return outputs[n]
      })
      const report = yield* Evaluate.run(module, { examples: dataset(4), metric: Metric.make(() => 1) })
      assert.deepStrictEqual(
        report.results.map(({ scored }) => scored._tag === "Scored" ? scored.output : "failed"),
        [{ at: "1970-01-01T00:00:00.000Z" }, undefined, undefined, "text"]
      )
    }))
})
