import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Deferred, Effect, Fiber, Ref, Stream } from "effect"

const answer = Predict.make("question -> answer")

const rag = Module.make(
  { query: ChainOfThought.make("question -> query"), answer },
  function*(m, input: { readonly question: string }) {
    const { query } = yield* m.query(input)
    return yield* m.answer({ question: query })
  }
)

const model = TestLanguageModel.layer((_request: LanguageModel.Request, _n: number, predictor: string) =>
  predictor === "answer"
    ? TestLanguageModel.fields({ answer: "Ada Lovelace, in 1843" })
    : TestLanguageModel.fields({ reasoning: "who first?", query: "first programmer" })
)

const collect = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
  Effect.map(Stream.runCollect(stream), Chunk.toReadonlyArray)

describe("events", () => {
  it.effect("tell the whole run, with path and call, and end with the result", () =>
    Effect.gen(function*() {
      const events = yield* collect(ModuleStream.events(rag, { question: "?" }))
      assert.deepStrictEqual(events.at(-1), { _tag: "Result", value: { answer: "Ada Lovelace, in 1843" } })
      assert.deepStrictEqual(
        events.flatMap((event) =>
          event._tag === "Result" || event._tag === "FieldDelta" ? [] : [`${event._tag} ${event.path}`]
        ),
        [
          "ModuleStart ",
          "ModuleStart query",
          "PredictorStart query.predict",
          "FieldStart query.predict",
          "FieldEnd query.predict",
          "FieldStart query.predict",
          "FieldEnd query.predict",
          "UsageReported query.predict",
          "PredictorEnd query.predict",
          "ModuleEnd query",
          "PredictorStart answer",
          "FieldStart answer",
          "FieldEnd answer",
          "UsageReported answer",
          "PredictorEnd answer",
          "ModuleEnd "
        ]
      )
      const calls = new Map<string, Set<number>>()
      for (const event of events) {
        if (event._tag !== "Result") calls.set(event.path, (calls.get(event.path) ?? new Set()).add(event.call))
      }
      assert.deepStrictEqual(Array.from(calls.values(), (set) => set.size), [1, 1, 1, 1])
    }).pipe(Effect.provide(model)))

  it.effect("deltas are suffixes: their concatenation is the value", () =>
    Effect.gen(function*() {
      const events = yield* collect(ModuleStream.events(rag, { question: "?" }))
      const ended = events.filter((event): event is ModuleEvent.PredictorEnd => event._tag === "PredictorEnd")
      for (const end of ended) {
        for (const [field, value] of Object.entries(end.outputs)) {
          const text = events.flatMap((event) =>
            event._tag === "FieldDelta" && event.call === end.call && event.field === field ? [event.text] : []
          ).join("")
          assert.strictEqual(text, value)
        }
      }
      assert.strictEqual(ended.length, 2)
    }).pipe(Effect.provide(model)))

  it.effect("a failure of the module fails the stream, after what had happened", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const error = yield* ModuleStream.events(rag, { question: "?" }).pipe(
        Stream.runForEach((event) => Effect.sync(() => seen.push(event._tag))),
        Effect.flip
      )
      assert.strictEqual(error._tag, "LanguageModelError")
      assert.include(seen, "PredictorFailed")
      assert.notInclude(seen, "Result")
    }).pipe(
      Effect.provide(TestLanguageModel.layer([
        TestLanguageModel.fields({ reasoning: "r", query: "q" }),
        TestLanguageModel.fail("Overloaded")
      ]))
    ))

  it.effect("leaving early interrupts the module", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const interrupted = yield* Ref.make(false)
      const hanging = TestLanguageModel.layer(() =>
        Effect.zipRight(
          Deferred.succeed(asked, undefined),
          Effect.onInterrupt(Effect.never, () => Ref.set(interrupted, true))
        )
      )
      const fiber = yield* Effect.fork(
        Stream.runDrain(ModuleStream.events(answer, { question: "?" })).pipe(
          Effect.provide(hanging)
        )
      )
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* Ref.get(interrupted))
    }))

  it.effect("the module waits for a reader that does not read", () =>
    Effect.gen(function*() {
      const emitted = yield* Ref.make(0)
      const many = TestLanguageModel.layer(() =>
        TestLanguageModel.deltas([
          { _tag: "TextDelta", index: 0, text: "[[ ## answer ## ]]\n" },
          ...Array.from({ length: 1000 }, (_, n) => ({ _tag: "TextDelta", index: 0, text: `word${n} ` } as const)),
          { _tag: "Finish", index: 0, reason: "stop" },
          { _tag: "Completed", usage: {}, model: "test" }
        ])
      )
      const module = Module.make({ answer }, function*(m, input: { readonly question: string }) {
        const output = yield* m.answer(input)
        yield* Ref.set(emitted, 1)
        return output
      })
      const stream = ModuleStream.events(module, { question: "?" }, { bufferSize: 4 })
      // One event is taken; with a thousand to come the module cannot have finished.
      const first = yield* stream.pipe(
        Stream.rechunk(1),
        Stream.tap(() => Effect.repeatN(Effect.yieldNow(), 500)),
        Stream.take(1),
        Stream.runCollect,
        Effect.provide(many)
      )
      assert.strictEqual(Chunk.size(first), 1)
      assert.strictEqual(yield* Ref.get(emitted), 0)
      // Read to the end, nothing is lost.
      const events = yield* collect(stream).pipe(Effect.provide(many))
      const text = events.flatMap((event) => event._tag === "FieldDelta" ? [event.text] : []).join("")
      assert.strictEqual(text, Array.from({ length: 1000 }, (_, n) => `word${n}`).join(" "))
    }))
})

describe("field", () => {
  it.effect("gives the text of one field of one predictor", () =>
    Effect.gen(function*() {
      const pieces = yield* collect(
        ModuleStream.field(rag, { question: "?" }, { path: "query.predict", field: "query" })
      )
      assert.strictEqual(pieces.join(""), "first programmer")
      assert.isAbove(pieces.length, 1)
    }).pipe(Effect.provide(model)))

  it.effect("a field that does not exist is an error that lists those that do", () =>
    Effect.gen(function*() {
      const error = yield* ModuleStream.field(rag, { question: "?" }, { path: "query", field: "query" }).pipe(
        Stream.runDrain,
        Effect.flip
      )
      assert.strictEqual(error._tag, "UnknownField")
      assert.include(error.message, "\"query.predict\" query")
    }).pipe(Effect.provide(model)))

  it.effect("text that turns out void fails the stream instead of being mixed with what follows", () =>
    Effect.gen(function*() {
      const error = yield* ModuleStream.field(answer, { question: "?" }, { path: "", field: "answer" }).pipe(
        Stream.runDrain,
        Effect.flip
      )
      assert.strictEqual(error._tag, "FieldReset")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.deltas([
        { _tag: "TextDelta", index: 0, text: "[[ ## answer ## ]]\nfirst try" },
        { _tag: "Restarted", cause: "fallback" },
        { _tag: "TextDelta", index: 0, text: "[[ ## answer ## ]]\nsecond try" },
        { _tag: "Finish", index: 0, reason: "stop" },
        { _tag: "Completed", usage: {}, model: "test" }
      ])
    ]))))
})
