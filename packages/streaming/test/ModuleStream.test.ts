import * as Adapter from "@effect-dspy/core/Adapter"
import * as BestOfN from "@effect-dspy/core/BestOfN"
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import type * as Json from "@effect-dspy/core/Json"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Deferred, Effect, Either, FastCheck, Fiber, Layer, Ref, Schema, Stream } from "effect"

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

// An answer of the model in pieces of its text.
const pieces = (texts: ReadonlyArray<string>) =>
  TestLanguageModel.deltas([
    ...texts.map((text) => ({ _tag: "TextDelta", index: 0, text } as const)),
    { _tag: "Finish", index: 0, reason: "stop" },
    { _tag: "Completed", usage: {}, model: "test" }
  ])

const completed = { _tag: "Completed", usage: {}, model: "test" } as const

describe("text", () => {
  it.effect("is the last field of the predictor listed last", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* Stream.mkString(ModuleStream.text(rag, { question: "?" })),
        "Ada Lovelace, in 1843"
      )
      assert.strictEqual(
        yield* Stream.mkString(ModuleStream.text(ChainOfThought.make("question -> query"), { question: "?" })),
        "first programmer"
      )
    }).pipe(Effect.provide(model)))

  it.effect("of a module without predictors is an error", () =>
    Effect.gen(function*() {
      const none = Module.make({}, function*(_, _input: string) {
        return yield* Effect.succeed(1)
      })
      const error = yield* Effect.flip(Stream.runDrain(ModuleStream.text(none, "?")))
      assert.strictEqual(error._tag, "UnknownField")
    }))
})

describe("fields", () => {
  it.effect("gives the texts of all predictors, told apart", () =>
    Effect.gen(function*() {
      const events = yield* collect(ModuleStream.fields(rag, { question: "?" }))
      const texts = new Map<string, string>()
      for (const event of events) {
        if (event._tag !== "FieldDelta") continue
        const key = `${event.path} ${event.field}`
        texts.set(key, (texts.get(key) ?? "") + event.text)
      }
      assert.deepStrictEqual(Array.from(texts), [
        ["query.predict reasoning", "who first?"],
        ["query.predict query", "first programmer"],
        ["answer answer", "Ada Lovelace, in 1843"]
      ])
    }).pipe(Effect.provide(model)))

  it.effect("gives no more than was chosen, and refuses what does not exist", () =>
    Effect.gen(function*() {
      const events = yield* collect(
        ModuleStream.fields(rag, { question: "?" }, { fields: [{ path: "query.predict", field: "query" }] })
      )
      assert.strictEqual(
        events.map((event) => event._tag === "FieldDelta" ? event.text : "").join(""),
        "first programmer"
      )
      const error = yield* ModuleStream.fields(rag, { question: "?" }, { fields: [{ path: "answer", field: "a" }] })
        .pipe(
          Stream.runDrain,
          Effect.flip
        )
      assert.strictEqual(error._tag, "UnknownField")
    }).pipe(Effect.provide(model)))

  it.effect("says what is void instead of failing", () =>
    Effect.gen(function*() {
      const events = yield* collect(ModuleStream.fields(answer, { question: "?" }))
      const tags = events.map(({ _tag }) => _tag)
      assert.strictEqual(tags.filter((tag) => tag === "Reset").length, 1)
      const text = (part: typeof events) => part.map((event) => event._tag === "FieldDelta" ? event.text : "").join("")
      assert.strictEqual(text(events.slice(0, tags.indexOf("Reset"))), "first try")
      assert.strictEqual(text(events.slice(tags.indexOf("Reset"))), "second try")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.deltas([
        { _tag: "TextDelta", index: 0, text: "[[ ## answer ## ]]\nfirst try" },
        { _tag: "Restarted", cause: "fallback" },
        { _tag: "TextDelta", index: 0, text: "[[ ## answer ## ]]\nsecond try" },
        { _tag: "Finish", index: 0, reason: "stop" },
        completed
      ])
    ]))))
})

const Report = Signature.make({
  input: { topic: Schema.String },
  output: {
    title: Schema.String,
    grade: Schema.Literal("good", "bad"),
    count: Schema.Int,
    subtitle: Schema.NullOr(Schema.String),
    parts: Schema.Array(Schema.Struct({
      name: Schema.String,
      tags: Schema.Array(Schema.String),
      weight: Schema.NullOr(Schema.Number),
      day: Schema.optional(Schema.DateFromString)
    })),
    notes: Schema.Record({ key: Schema.String, value: Schema.String })
  }
})

const report = Predict.make(Report)

const text = FastCheck.oneof(
  FastCheck.string({ maxLength: 12, unit: "grapheme" }),
  FastCheck.constantFrom("null", "None", "3", "{", "[1]", "\"quoted\"", "back\\slash", "a\nb", "😀", "\u0007", "```")
).map((text) => text.trim()).filter((text) => !text.includes("[[") && !/\p{Surrogate}/u.test(text) && text !== "\\")

const reports = FastCheck.record({
  title: text,
  grade: FastCheck.constantFrom("good", "bad"),
  count: FastCheck.integer({ min: -1000, max: 1000 }),
  subtitle: FastCheck.option(text.filter((text) => text.length > 6)),
  parts: FastCheck.array(
    FastCheck.record({
      name: text,
      tags: FastCheck.array(text, { maxLength: 3 }),
      weight: FastCheck.option(FastCheck.double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 })),
      day: FastCheck.constantFrom("2024-05-01T00:00:00.000Z", "1999-12-31T00:00:00.000Z")
    }, { requiredKeys: ["name", "tags", "weight"] }),
    { maxLength: 3 }
  ),
  notes: FastCheck.dictionary(FastCheck.stringMatching(/^[a-z]{1,5}$/), text, { maxKeys: 3 })
})

// Texts, lists and records only get longer, nothing else changes.
const grows = (before: unknown, after: unknown): boolean => {
  if (before === undefined) return true
  if (typeof before === "string") return typeof after === "string" && after.startsWith(before)
  if (Array.isArray(before)) return Array.isArray(after) && before.every((one, n) => grows(one, after[n]))
  if (typeof before === "object" && before !== null && typeof after === "object" && after !== null) {
    return Object.entries(before).every(([key, one]) => grows(one, (after as Record<string, unknown>)[key])) // an object
  }
  return Object.is(before, after)
}

describe("partial", () => {
  for (const [name, adapter] of [["json", JsonAdapter.adapter], ["chat", undefined]] as const) {
    const module = adapter === undefined ? report : Predict.make(Report, { adapter })
    it.effect.prop(
      `values only grow, whatever the split, up to the decoded one (${name})`,
      [reports, FastCheck.array(FastCheck.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 20 })],
      ([value, sizes]) =>
        Effect.gen(function*() {
          const whole = adapter === undefined
            ? Object.entries(value).map(([key, one]) =>
              `[[ ## ${key} ## ]]\n${
                typeof one === "string" && key !== "subtitle" ? `\\\n${one}\n\\` : JSON.stringify(one)
              }\n\n`
            ).join("") + "[[ ## completed ## ]]"
            : JSON.stringify(value)
          const split: Array<string> = []
          for (let at = 0, n = 0; at < whole.length; n++) {
            const size = sizes[n % sizes.length]!
            split.push(whole.slice(at, at + size))
            at += size
          }
          const decoded = yield* Effect.provide(module({ topic: "?" }), TestLanguageModel.layer([pieces([whole])]))
          const snapshots = yield* ModuleStream.partial(module, { topic: "?" }, {
            path: "",
            signature: Report,
            bufferSize: 1
          }).pipe(collect, Effect.provide(TestLanguageModel.layer([pieces(split)])))
          assert.deepStrictEqual(snapshots.at(-1), { _tag: "Written", restarts: 0, value: decoded })
          let before: unknown
          for (const { value } of snapshots) {
            assert.isTrue(grows(before, value), JSON.stringify([before, value]))
            before = value
          }
        }),
      { fastCheck: { seed: 6, numRuns: 50 } }
    )
  }

  it.effect("escapes and halves of characters are shown when they are whole, wherever they are cut", () =>
    Effect.gen(function*() {
      const signature = Signature.parse("topic -> points: string[]")
      const module = Predict.make(signature, { adapter: JsonAdapter.adapter })
      const whole = String.raw`{ "points" : [ "a\n\u00e9", "\ud83d\ude00 😀\"", "\\" ,"" ] }`
      const points = ["a\né", "😀 😀\"", "\\", ""]
      for (let at = 1; at < whole.length; at++) {
        const snapshots = yield* ModuleStream.partial(module, { topic: "?" }, { path: "", signature, bufferSize: 1 })
          .pipe(
            collect,
            Effect.provide(TestLanguageModel.layer([pieces([whole.slice(0, at), whole.slice(at)])]))
          )
        assert.deepStrictEqual(snapshots.at(-1), { _tag: "Written", restarts: 0, value: { points } })
        for (const { value } of snapshots) {
          assert.isTrue(grows(value, { points }), JSON.stringify(value))
          assert.notMatch(JSON.stringify(value), /\\ud83d/)
        }
      }
    }))

  it.effect("texts and lists are there before they end", () =>
    Effect.gen(function*() {
      const snapshots = yield* collect(
        ModuleStream.partial(report, { topic: "?" }, { path: "", signature: Report, bufferSize: 1 })
      )
      const written = snapshots.flatMap(({ _tag, value }) => _tag === "Writing" ? [value] : [])
      const has = (expected: (typeof written)[number]) =>
        assert.isTrue(
          written.some((value) => JSON.stringify(value) === JSON.stringify(expected)),
          `${JSON.stringify(expected)} is not in\n${written.map((value) => JSON.stringify(value)).join("\n")}`
        )
      has({ title: "On" })
      has({ title: "On tea" })
      has({ title: "On tea", grade: "good" })
      // The subtitle is held back: `null` could be the beginning of a text.
      has({ title: "On tea", grade: "good", count: 2, parts: [{ name: "Le" }] })
      has({ title: "On tea", grade: "good", count: 2, parts: [{ name: "Leaf", tags: ["gr"] }] })
    }).pipe(Effect.provide(TestLanguageModel.layer([pieces([
      "[[ ## title ## ]]\nOn",
      " tea\n[[ ## grade ## ]]\ngo",
      "od\n\n[[ ## count ## ]]\n2\n[[ ## subtitle ## ]]\nnu",
      "ll\n[[ ## parts ## ]]\n[{\"name\": \"Le",
      "af\", \"tags\": [\"gr",
      "een\"], \"weight\": 1}]\n[[ ## notes ## ]]\n{}\n[[ ## completed ## ]]"
    ])]))))

  it.effect("starts anew when the model is asked again, and counts it", () =>
    Effect.gen(function*() {
      const signature = Signature.parse("topic -> points: string[]")
      const module = Predict.make(signature)
      const snapshots = yield* ModuleStream.partial(module, { topic: "?" }, { path: "", signature, bufferSize: 1 })
        .pipe(
          collect,
          Effect.provide(TestLanguageModel.layer([
            TestLanguageModel.deltas([
              { _tag: "TextDelta", index: 0, text: "[[ ## points ## ]]\n[\"wrong\", \"" },
              { _tag: "Restarted", cause: "fallback" },
              { _tag: "TextDelta", index: 0, text: "[[ ## points ## ]]\n[\"right\"]" },
              { _tag: "Finish", index: 0, reason: "stop" },
              completed
            ])
          ]))
        )
      const values = snapshots.map(({ _tag, restarts, value }) => [_tag, restarts, value])
      assert.deepInclude(values, ["Writing", 0, { points: ["wrong", ""] }])
      assert.deepInclude(values, ["Writing", 1, {}])
      assert.deepStrictEqual(values.at(-1), ["Written", 1, { points: ["right"] }])
    }))

  it.effect("the word for nothing is no text", () =>
    Effect.gen(function*() {
      const signature = Signature.make({
        input: { topic: Schema.String },
        output: { note: Schema.NullOr(Schema.String) }
      })
      const module = Predict.make(signature, { adapter: JsonAdapter.adapter })
      const snapshots = yield* ModuleStream.partial(module, { topic: "?" }, { path: "", signature, bufferSize: 1 })
        .pipe(
          collect,
          Effect.provide(TestLanguageModel.layer([pieces(["{\"note\": nu", "ll}"])]))
        )
      assert.deepStrictEqual(snapshots.map(({ value }) => value), [{}, { note: null }])
    }))

  it.effect("a value that is not what was shown of it counts as a restart", () =>
    Effect.gen(function*() {
      // An adapter that shows what is written, and answers with something else.
      const adapter = Adapter.make({
        name: "upper",
        format: JsonAdapter.adapter.format,
        parser: (signature, use) =>
          JsonAdapter.adapter.parser(signature, (parser) =>
            use({
              ...parser,
              end: (state) => {
                const [events, parsed] = parser.end(state)
                return [
                  events,
                  Either.map(parsed, ({ repairs }) => ({
                    repairs,
                    fields: new Map([["note", { _tag: "Text", text: "LOUD" } as const]])
                  }))
                ]
              }
            }))
      })
      const signature = Signature.parse("topic -> note")
      const snapshots = yield* ModuleStream.partial(Predict.make(signature, { adapter }), { topic: "?" }, {
        path: "",
        signature
      }).pipe(collect, Effect.provide(TestLanguageModel.layer([pieces(["{\"note\": \"loud\"}"])])))
      assert.deepInclude(snapshots, { _tag: "Writing", restarts: 0, value: { note: "loud" } })
      assert.deepStrictEqual(snapshots.at(-1), { _tag: "Written", restarts: 1, value: { note: "LOUD" } })
    }))

  it.effect("a signature that is not that of the predictor is refused before the model is asked", () =>
    Effect.gen(function*() {
      const signature = Signature.parse("question -> answer: int")
      const error = yield* ModuleStream.partial(rag, { question: "?" }, { path: "answer", signature }).pipe(
        Stream.runDrain,
        Effect.flip
      )
      assert.strictEqual(error._tag, "UnknownField")
      assert.include(error.message, "\"answer\" answer: string")
      assert.strictEqual((yield* TestLanguageModel.calls).length, 0)
      // Some of the fields will do: the reasoning is not asked for.
      const query = Signature.parse("question -> query")
      const last = yield* Stream.runLast(
        ModuleStream.partial(rag, { question: "?" }, { path: "query.predict", signature: query })
      )
      assert.deepStrictEqual(yield* last, { _tag: "Written", restarts: 0, value: { query: "first programmer" } })
    }).pipe(Effect.provide(model)))
})

describe("batch", () => {
  const numbers = Predict.make("n: int -> double: int")
  const doubling = (options: { readonly slow?: number } = {}) =>
    TestLanguageModel.layer((request: LanguageModel.Request) => {
      const n = Number(/\[\[ ## n ## \]\]\n(\d+)/.exec(JSON.stringify(request.messages).replaceAll("\\n", "\n"))?.[1])
      if (n === 3) return Effect.succeed(TestLanguageModel.fail("Overloaded"))
      const step = TestLanguageModel.fields({ double: n * 2 })
      return n === options.slow ? Effect.as(Effect.repeatN(Effect.yieldNow(), 200), step) : Effect.succeed(step)
    })
  const inputs = Array.from({ length: 6 }, (_, n) => ({ n }))

  it.effect("gives each result or error in order, with the progress", () =>
    Effect.gen(function*() {
      const items = yield* collect(ModuleStream.batch(numbers, inputs, { concurrency: 3 }))
      assert.deepStrictEqual(items.map(({ index }) => index), [0, 1, 2, 3, 4, 5])
      assert.deepStrictEqual(items.map(({ done, total }) => `${done}/${total}`), inputs.map((_, n) => `${n + 1}/6`))
      assert.deepStrictEqual(
        items.map(({ input, result }) => [
          input.n,
          Either.match(result, { onLeft: (e) => e._tag, onRight: (o) => o.double })
        ]),
        [[0, 0], [1, 2], [2, 4], [3, "LanguageModelError"], [4, 8], [5, 10]]
      )
    }).pipe(Effect.provide(doubling())))

  it.effect("gives what is ready first where the order does not matter", () =>
    Effect.gen(function*() {
      const items = yield* collect(
        ModuleStream.batch(numbers, Stream.fromIterable(inputs), { concurrency: 2, ordered: false })
      )
      assert.strictEqual(items.at(-1)?.index, 0)
      assert.deepStrictEqual(items.map(({ index }) => index).toSorted(), [0, 1, 2, 3, 4, 5])
      assert.deepStrictEqual(items.map(({ done, total }) => [done, total]), inputs.map((_, n) => [n + 1, undefined]))
    }).pipe(Effect.provide(doubling({ slow: 0 }))))

  it.effect("does not run far ahead of its reader, and stops with it", () =>
    Effect.gen(function*() {
      const taken = yield* Ref.make(0)
      const source = Stream.iterate(10, (n) => n + 1).pipe(
        Stream.rechunk(1),
        Stream.tap(() => Ref.update(taken, (n) => n + 1)),
        Stream.map((n) => ({ n }))
      )
      yield* ModuleStream.batch(numbers, source, { concurrency: 2 }).pipe(
        Stream.tap(() => Effect.repeatN(Effect.yieldNow(), 500)),
        Stream.take(2),
        Stream.runDrain
      )
      assert.isBelow(yield* Ref.get(taken), 40)
    }).pipe(Effect.provide(doubling())))
})

describe("any module", () => {
  it.effect("a cached answer of a model that does not stream comes as a stream", () =>
    Effect.gen(function*() {
      const events = yield* collect(ModuleStream.events(answer, { question: "?" }))
      assert.strictEqual(
        events.map((event) => event._tag === "FieldDelta" ? event.text : "").join(""),
        "from the cache"
      )
      assert.deepInclude(events.find((event) => event._tag === "UsageReported"), { cached: true })
    }).pipe(Effect.provide(Layer.succeed(
      LanguageModel.LanguageModel,
      LanguageModel.make({
        id: "cache",
        generate: () =>
          Effect.succeed({ ...LanguageModel.text("[[ ## answer ## ]]\nfrom the cache", "cache"), cached: true })
      })
    ))))

  it.effect("the use of tools, and attempts that were in vain, are told", () =>
    Effect.gen(function*() {
      const add = Tool.make("add", {
        description: "Adds two numbers.",
        parameters: { a: Schema.Number, b: Schema.Number },
        run: ({ a, b }) => Effect.succeed(a + b)
      })
      const react = ReAct.make("question -> answer", { tools: [add] })
      const module = BestOfN.make(react, {
        n: 2,
        threshold: 1,
        reward: (_input, { answer }) => Effect.succeed(answer === "3" ? 1 : 0)
      })
      const step = (name: string, args: Json.JsonRecord) =>
        TestLanguageModel.toolCalls([{ name, arguments: args }], "hm")
      const run = (answer: string) => [
        step("add", { a: 1, b: 2 }),
        step("finish", {}),
        TestLanguageModel.fields({ reasoning: "so", answer })
      ]
      const events = yield* ModuleStream.events(module, { question: "1 + 2?" }).pipe(
        collect,
        Effect.provide(TestLanguageModel.layer([...run("4"), ...run("3")]))
      )
      const told = events.flatMap((event) => {
        switch (event._tag) {
          case "Attempt":
            return [`attempt ${event.n}`]
          case "ToolStart":
            return [`${event.tool} ${JSON.stringify(event.arguments)}`]
          case "ToolEnd":
            return [event.observation]
          case "Discarded":
            return [`discarded ${event.calls.length}`]
          default:
            return []
        }
      })
      const tool = [`add {"a":1,"b":2}`, "3"]
      assert.deepStrictEqual(told, ["attempt 1", ...tool, "attempt 2", ...tool, "discarded 3"])
      const chosen = yield* ModuleStream.fields(module, { question: "1 + 2?" }).pipe(
        collect,
        Effect.provide(TestLanguageModel.layer([...run("4"), ...run("3")]))
      )
      const discarded = new Set(chosen.flatMap((event) => event._tag === "Discarded" ? event.calls : []))
      assert.strictEqual(
        chosen.flatMap((event) =>
          event._tag === "FieldDelta" && event.field === "answer" && !discarded.has(event.call) ? [event.text] : []
        ).join(""),
        "3"
      )
    }))

  it.effect("what an agent submits is its text, and its value that grows, like any answer", () =>
    Effect.gen(function*() {
      const signature = Signature.parse("question -> sum: int, answer")
      const react = ReAct.make(signature, { tools: [] })
      const submit = (args: Json.JsonRecord) => TestLanguageModel.toolCalls([{ name: "submit", arguments: args }], "hm")
      const run = [submit({ sum: 3, answer: "It is three." })]
      const text = yield* ModuleStream.text(react, { question: "1 + 2?" }).pipe(
        Stream.mkString,
        Effect.provide(TestLanguageModel.layer(run))
      )
      assert.strictEqual(text, "It is three.")
      const snapshots = yield* ModuleStream.partial(react, { question: "1 + 2?" }, {
        path: "extract.predict",
        signature
      }).pipe(collect, Effect.provide(TestLanguageModel.layer(run)))
      assert.isAtLeast(snapshots.length, 2)
      assert.deepStrictEqual(snapshots.at(-1), {
        _tag: "Written",
        restarts: 0,
        value: { sum: 3, answer: "It is three." }
      })
      // What was shown of a submission that is refused is taken back.
      const mended = yield* ModuleStream.partial(react, { question: "1 + 2?" }, {
        path: "extract.predict",
        signature
      }).pipe(
        collect,
        Effect.provide(TestLanguageModel.layer([submit({ answer: "It is three.", sum: "many" }), ...run]))
      )
      assert.deepInclude(mended.at(-1), { _tag: "Written", value: { sum: 3, answer: "It is three." } })
      assert.isTrue(mended.every(({ restarts, value }) => restarts > 0 || !("sum" in value) || value.sum === 3))
    }))

  it.effect("status messages come where they are sent", () =>
    Effect.gen(function*() {
      const module = Module.make({ answer }, function*(m, input: { readonly question: string }) {
        yield* ModuleEvent.status("searching")
        return yield* m.answer(input)
      })
      const events = yield* collect(ModuleStream.events(module, { question: "?" }))
      const tags = events.map((event) => event._tag === "Status" ? event.message : event._tag)
      assert.deepStrictEqual(tags.slice(0, 3), ["ModuleStart", "searching", "PredictorStart"])
    }).pipe(Effect.provide(model)))

  it.effect("a slow reader holds up the stream of the model, and closes it when it leaves", () =>
    Effect.gen(function*() {
      const open = yield* Ref.make(0)
      const written = yield* Ref.make(0)
      const endless = LanguageModel.make({
        id: "endless",
        stream: () =>
          Stream.unwrapScoped(Effect.as(
            Effect.acquireRelease(Ref.update(open, (n) => n + 1), () => Ref.update(open, (n) => n - 1)),
            Stream.concat(
              Stream.make({ _tag: "TextDelta", index: 0, text: "[[ ## answer ## ]]\n" } as const),
              Stream.repeatValue({ _tag: "TextDelta", index: 0, text: "word " } as const).pipe(
                Stream.rechunk(1),
                Stream.tap(() => Ref.update(written, (n) => n + 1)),
                Stream.tap(() => Effect.yieldNow())
              )
            )
          ))
      })
      const words = yield* ModuleStream.text(answer, { question: "?" }, { bufferSize: 2 }).pipe(
        Stream.tap(() => Effect.repeatN(Effect.yieldNow(), 200)),
        Stream.tap(() => Effect.map(Ref.get(open), (n) => assert.strictEqual(n, 1))),
        Stream.take(3),
        collect,
        Effect.provideService(LanguageModel.LanguageModel, endless)
      )
      assert.strictEqual(words.length, 3)
      assert.strictEqual(yield* Ref.get(open), 0)
      assert.isBelow(yield* Ref.get(written), 20)
    }))
})
