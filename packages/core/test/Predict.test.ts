import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer, Schema, Stream } from "effect"

const sum = Predict.make("question -> answer: int, note?: string")
const ask = sum({ question: "2 + 2?" })

const listened = <A, E, R>(deltas: boolean, self: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const events: Array<ModuleEvent.Emitted> = []
    return self.pipe(
      ModuleEvent.listen({ deltas, emit: (more) => Effect.sync(() => events.push(...more)) }),
      Effect.either,
      Effect.map((exit) => ({ events, exit }))
    )
  })

describe("Predict", () => {
  it.effect("decodes the answer by its schemas", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* ask, { answer: 4 })
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: 4 })]))))

  it.effect("checks and encodes the input before anything is sent", () =>
    Effect.gen(function*() {
      const bounded = Predict.make(Signature.make({
        input: { text: Schema.String.pipe(Schema.maxLength(3)), when: Schema.Date },
        output: { ok: Schema.Boolean }
      }))
      const error = yield* Effect.flip(bounded({ text: "too long", when: new Date(0) }))
      assert.strictEqual(error._tag, "InvalidInput")
      assert.include(error.message, "text")
      assert.deepStrictEqual(yield* TestLanguageModel.requests, [])
      yield* bounded({ text: "ok", when: new Date(0) })
      const [request] = yield* TestLanguageModel.requests
      assert.include(JSON.stringify(request), "1970-01-01T00:00:00.000Z")
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ ok: true })]))))

  it.effect("names every input that is missing or of another type, and ignores those it does not have", () =>
    Effect.gen(function*() {
      const typed = Predict.make(
        "a: int[], b: dict[str, int], c: [int, str], d: 'x' | 'y', e: int | None, f, g?: { h: bool } -> answer"
      )
      const input: unknown = { a: ["1"], b: { x: "1" }, c: [1], d: "z", e: "q", g: { h: 1 }, more: true }
      // As it comes from somewhere without types.
      const error = yield* Effect.flip(typed(input as Module.Input<typeof typed>))
      assert.isTrue(error._tag === "InvalidInput")
      if (error._tag === "InvalidInput") {
        assert.deepStrictEqual(
          error.problems.map(({ description }) => /^field "([^"]+)"/.exec(description)?.[1]),
          ["a[0]", "b.x", "c[1]", "d", "e", "f", "g.h"]
        )
      }
      assert.deepStrictEqual(yield* TestLanguageModel.requests, [])
      const whole = { a: [1], b: { x: 1 }, c: [1, "s"], d: "x", e: null, f: "", more: "unknown" } as const
      yield* typed(whole)
      const [request] = yield* TestLanguageModel.requests
      const asked = String(request?.messages.at(-1)?.content)
      for (const absent of ["unknown", "## g ##"]) assert.notInclude(asked, absent)
      assert.include(asked, "[[ ## e ## ]]\n")
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "a" })]))))

  it.effect("asks without inputs too", () =>
    Effect.gen(function*() {
      const invent = Predict.make(
        Signature.make({ instructions: "Invent a name.", input: {}, output: { name: Schema.String } })
      )
      assert.deepStrictEqual(yield* invent({}), { name: "Ada" })
      const [request] = yield* TestLanguageModel.requests
      assert.include(String(request?.messages[0]?.content), "Invent a name.")
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ name: "Ada" })]))))

  it.effect("reads enumerations by their values, also where one is another's name", () =>
    Effect.gen(function*() {
      enum Size {
        small = "S",
        S = "small",
        Large = "L"
      }
      const sized = Predict.make(Signature.make({ input: {}, output: { size: Schema.Enums(Size) } }))
      for (const [text, size] of [["S", Size.small], ["small", Size.S], ["L", Size.Large]] as const) {
        const output = yield* sized({}).pipe(
          Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ size: text })]))
        )
        assert.strictEqual(output.size, size)
      }
    }))

  it.effect("takes the first of several outputs, streamed or not", () =>
    Effect.gen(function*() {
      const several = Predict.make("question -> answer: int", { settings: { n: 2 } })
      for (const deltas of [true, false]) {
        const model = LanguageModel.make({
          id: "test/several",
          generate: ({ settings }) =>
            Effect.succeed({
              outputs: Array.from({ length: settings?.n ?? 1 }, (_, n) => ({
                text: `[[ ## answer ## ]]\n${n + 4}`,
                toolCalls: [],
                finishReason: "stop" as const
              })),
              usage: {},
              model: "several"
            })
        })
        const { exit } = yield* listened(deltas, several({ question: "?" })).pipe(
          Effect.provideService(LanguageModel.LanguageModel, model)
        )
        assert.deepStrictEqual(exit, Either.right({ answer: 4 }))
      }
    }))

  it.effect("parameters can be taken away again, and what was asked before is asked again", () =>
    Effect.gen(function*() {
      const tuned = Either.getOrThrow(Module.withParameters(sum, {
        "": { instructions: "Add.", demos: [Parameters.demo({ question: "1?", answer: 1 })], settings: { seed: 1 } }
      }))
      const reset = Either.getOrThrow(Module.withParameters(tuned, { "": { demos: [] } }))
      for (const module of [sum, tuned, reset]) yield* module({ question: "?" })
      const [first, second, third] = yield* TestLanguageModel.requests
      assert.deepStrictEqual(third, first)
      assert.notDeepEqual(second, first)
    }).pipe(Effect.provide(TestLanguageModel.layer(() => TestLanguageModel.fields({ answer: 4 })))))

  it.effect("an answer of the wrong type is a typed error that keeps the text", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Module.withAdapter(sum, ChatAdapter.adapter)({ question: "2 + 2?" }))
      assert.strictEqual(error._tag, "AdapterParseError")
      if (error._tag === "AdapterParseError") {
        assert.strictEqual(error.problems[0]?.field, "answer")
        assert.include(error.text, "many")
        assert.deepStrictEqual(error.expected, ["answer", "note"])
      }
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "many" })]))))

  it.effect("a cut-off answer is never decoded", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ask)
      assert.strictEqual(error._tag, "OutputTruncated")
    }).pipe(
      Effect.provide(
        TestLanguageModel.layer([TestLanguageModel.finish(TestLanguageModel.fields({ answer: 4 }), "length")])
      )
    ))

  it.effect("a refusal is a typed error with what the model said", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ask)
      assert.isTrue(error._tag === "Refused" && error.text === "I would rather not." && error.reason === "refusal")
    }).pipe(
      Effect.provide(
        TestLanguageModel.layer([TestLanguageModel.finish(TestLanguageModel.text("I would rather not."), "refusal")])
      )
    ))

  it.effect("a failed model call is not asked again by an adapter", () =>
    Effect.gen(function*() {
      const resilient = Module.withAdapter(
        sum,
        ChatAdapter.adapter.pipe(Adapter.reask(), Adapter.orElse(JsonAdapter.adapter))
      )
      const error = yield* Effect.flip(resilient({ question: "?" }))
      assert.strictEqual(error._tag, "LanguageModelError")
      assert.strictEqual((yield* TestLanguageModel.requests).length, 1)
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fail("Overloaded")]))))
})

describe("recovery", () => {
  const script = TestLanguageModel.layer([
    TestLanguageModel.text("I think it is four."),
    TestLanguageModel.text("[[ ## answer ## ]]\nmany"),
    TestLanguageModel.text(`{"answer": 4}`)
  ])
  const resilient = Module.withAdapter(
    sum,
    ChatAdapter.adapter.pipe(Adapter.reask(), Adapter.orElse(JsonAdapter.adapter))
  )

  it.effect("asks once more for JSON, unless another adapter is chosen", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ask)
      assert.isTrue(error._tag === "AdapterParseError")
      if (error._tag === "AdapterParseError") {
        assert.deepStrictEqual([error.previous.map(({ adapter }) => adapter), error.adapter], [["chat"], "json"])
      }
      const [first, second] = yield* TestLanguageModel.requests
      assert.include(String(first?.messages.at(-1)?.content), "[[ ## answer ## ]]")
      assert.include(String(second?.messages.at(-1)?.content), "one JSON object")
      assert.strictEqual(second?.messages.length, first?.messages.length)

      const strict = Module.withAdapter(sum, ChatAdapter.adapter)
      yield* Effect.flip(
        Effect.provide(strict({ question: "?" }), TestLanguageModel.layer([TestLanguageModel.text("4")]))
      )
    }).pipe(Effect.provide(script)))

  it.effect("of an answer that is refused or cut off is none of its business", () =>
    Effect.gen(function*() {
      for (const reason of ["length", "refusal", "contentFilter"] as const) {
        const model = TestLanguageModel.layer([TestLanguageModel.text("I").pipe(TestLanguageModel.finish(reason))])
        const error = yield* Effect.flip(Effect.provide(ask, model))
        assert.strictEqual(error._tag, reason === "length" ? "OutputTruncated" : "Refused")
      }
    }))

  it.effect("an empty answer is one that cannot be read, streamed or not", () =>
    Effect.gen(function*() {
      for (const deltas of [true, false]) {
        const { exit } = yield* Effect.provide(
          listened(deltas, Module.withAdapter(sum, ChatAdapter.adapter)({ question: "?" })),
          TestLanguageModel.layer([TestLanguageModel.text("")])
        )
        assert.isTrue(Either.isLeft(exit) && exit.left._tag === "AdapterParseError")
        if (Either.isLeft(exit) && exit.left._tag === "AdapterParseError") {
          assert.deepStrictEqual(exit.left.problems.map(({ kind }) => kind), ["empty"])
        }
      }
    }))

  it.effect("the second question has the instructions, demonstrations and settings of the first", () =>
    Effect.gen(function*() {
      const tuned = Either.getOrThrow(Module.withParameters(sum, {
        "": {
          instructions: "Add it up.",
          demos: [Parameters.demo({ question: "1 + 1?", answer: 2 })],
          settings: { temperature: 0.5 }
        }
      }))
      assert.deepStrictEqual(yield* Module.withRollout(tuned, "b")({ question: "2 + 2?" }), { answer: 4 })
      const [first, second] = yield* TestLanguageModel.requests
      assert.deepStrictEqual(second?.settings, first?.settings)
      assert.strictEqual(second?.settings?.temperature, 0.5)
      const text = JSON.stringify(second?.messages)
      for (const part of ["Add it up.", "1 + 1?", "2 + 2?"]) assert.include(text, part)
      assert.notInclude(text, "four, I think")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.text("four, I think"),
      TestLanguageModel.fields({ answer: 4 })
    ]))))

  it.effect("a call that failed is not made again, held to a schema or not", () =>
    Effect.gen(function*() {
      for (const adapter of [Predict.defaultAdapter, JsonAdapter.adapter]) {
        const requests = yield* Effect.gen(function*() {
          const error = yield* Effect.flip(Module.withAdapter(sum, adapter)({ question: "?" }))
          assert.strictEqual(error._tag, "LanguageModelError")
          return yield* TestLanguageModel.requests
        }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fail("ContextWindowExceeded")])))
        assert.strictEqual(requests.length, 1)
      }
    }))

  it.effect("re-asks with what was wrong, then falls back", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* resilient({ question: "?" }), { answer: 4 })
      const requests = yield* TestLanguageModel.requests
      assert.strictEqual(requests.length, 3)
      const again = requests[1]!.messages
      assert.strictEqual(again.at(-2)?.role, "assistant")
      assert.strictEqual(again.at(-2)?.content, "I think it is four.")
      assert.strictEqual(again.at(-1)?.role, "user")
      assert.notStrictEqual(requests[2]!.messages[0]?.content, requests[0]!.messages[0]?.content)
    }).pipe(Effect.provide(script)))

  it.effect("keeps every failure when all of it fails", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(resilient({ question: "?" }))
      assert.isTrue(error._tag === "AdapterParseError")
      if (error._tag === "AdapterParseError") {
        assert.deepStrictEqual(error.previous.map((one) => [one.adapter, one.text]), [["chat", "one"], ["chat", "two"]])
        assert.deepStrictEqual([error.adapter, error.text], ["json", "three"])
      }
    }).pipe(
      Effect.provide(TestLanguageModel.layer(["one", "two", "three"].map((text) => TestLanguageModel.text(text))))
    ))

  it.effect("tells a listener to forget what it has seen, and what each answer cost", () =>
    Effect.gen(function*() {
      const { events, exit } = yield* listened(true, resilient({ question: "?" }))
      assert.strictEqual(exit._tag, "Right")
      assert.strictEqual(events.filter((event) => event._tag === "Reset").length, 2)
      assert.strictEqual(events.filter((event) => event._tag === "UsageReported").length, 3)
    }).pipe(Effect.provide(script)))
})

describe("events", () => {
  const model = TestLanguageModel.layer(() => TestLanguageModel.fields({ answer: 4, note: "as always" }))

  it.effect("with deltas: the fields as they are written; without: whole answers only", () =>
    Effect.gen(function*() {
      const { events } = yield* listened(true, ask)
      const fold = (field: string) =>
        events.flatMap((event) => event._tag === "FieldDelta" && event.field === field ? [event.text] : []).join("")
      assert.strictEqual(fold("answer"), "4")
      assert.strictEqual(fold("note"), "as always")
      assert.isAbove(events.filter((event) => event._tag === "FieldDelta").length, 2)
      assert.strictEqual(events[0]?._tag, "PredictorStart")
      assert.strictEqual(events.at(-1)?._tag, "PredictorEnd")
      const whole = yield* listened(false, ask)
      assert.deepStrictEqual(whole.events.map((event) => event._tag), [
        "PredictorStart",
        "UsageReported",
        "PredictorEnd"
      ])
    }).pipe(Effect.provide(model)))

  it.effect("streamed and whole answers decode to the same value", () =>
    Effect.gen(function*() {
      const { exit } = yield* listened(true, ask)
      assert.deepStrictEqual(exit, yield* Effect.either(ask))
    }).pipe(Effect.provide(model)))

  it.effect("a stream cut short is an error, never a short answer", () =>
    Effect.gen(function*() {
      const { exit } = yield* listened(true, ask)
      assert.isTrue(exit._tag === "Left" && exit.left._tag === "LanguageModelError")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.deltas([{
        _tag: "TextDelta",
        index: 0,
        text: "[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]"
      }])
    ]))))

  it.effect("a restarted stream resets its fields", () =>
    Effect.gen(function*() {
      const { events, exit } = yield* listened(true, ask)
      assert.deepStrictEqual(exit._tag === "Right" ? exit.right : exit.left, { answer: 4 })
      const reset = events.findIndex((event) => event._tag === "Reset")
      const after = events.slice(reset).flatMap((event) => event._tag === "FieldDelta" ? [event.text] : [])
      assert.strictEqual(after.join(""), "4")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.deltas([
        { _tag: "TextDelta", index: 0, text: "[[ ## answer ## ]]\n1" },
        { _tag: "Restarted", cause: "fallback" },
        { _tag: "TextDelta", index: 0, text: "[[ ## answer ## ]]\n4" },
        { _tag: "Finish", index: 0, reason: "stop" },
        { _tag: "Completed", usage: {}, model: "test" }
      ])
    ]))))

  it.effect("listeners nest: the inner and the outer one hear the same", () =>
    Effect.gen(function*() {
      const inner = Trace.capture(ask)
      const [[, innerTrace], outerTrace] = yield* Trace.capture(inner)
      assert.deepStrictEqual(innerTrace, outerTrace)
      assert.strictEqual(innerTrace.length, 1)
    }).pipe(Effect.provide(model)))

  it.effect("a listener without deltas hears none because another one wants them", () =>
    Effect.gen(function*() {
      for (const [outer, inner] of [[true, false], [false, true]] as const) {
        const { events, exit } = yield* listened(outer, listened(inner, ask))
        const nested = exit._tag === "Right" ? exit.right.events : []
        const [some, none] = outer ? [events, nested] : [nested, events]
        assert.isTrue(some.some((event) => event._tag === "FieldDelta"))
        assert.deepStrictEqual(none.map((event) => event._tag), ["PredictorStart", "UsageReported", "PredictorEnd"])
      }
    }).pipe(Effect.provide(model)))

  it.effect("a model that cannot stream is asked to generate, and its answer comes in one piece", () =>
    Effect.gen(function*() {
      const inner = yield* TestLanguageModel.make(() => TestLanguageModel.fields({ answer: 4 }))
      const whole = Layer.succeed(LanguageModel.LanguageModel, {
        ...inner.model,
        capabilities: { ...inner.model.capabilities, streaming: false },
        stream: () => Stream.dieMessage("asked to stream")
      })
      const { events, exit } = yield* listened(true, ask).pipe(Effect.provide(whole))
      assert.deepStrictEqual(exit, Either.right({ answer: 4 }))
      assert.strictEqual(
        events.flatMap((event) => event._tag === "FieldDelta" && event.field === "answer" ? [event.text] : []).join(""),
        "4"
      )
    }))

  it.effect("without a listener the model is asked to generate, with one for deltas to stream", () =>
    Effect.gen(function*() {
      const used: Array<string> = []
      const inner = yield* TestLanguageModel.make(() => TestLanguageModel.fields({ answer: 4 }))
      const spy = Layer.succeed(LanguageModel.LanguageModel, {
        ...inner.model,
        generate: (request) => Effect.zipRight(Effect.sync(() => used.push("generate")), inner.model.generate(request)),
        stream: (request) => Stream.unwrap(Effect.sync(() => (used.push("stream"), inner.model.stream(request))))
      })
      yield* ask.pipe(Effect.provide(spy))
      yield* Trace.capture(ask).pipe(Effect.provide(spy))
      yield* listened(true, ask).pipe(Effect.provide(spy))
      assert.deepStrictEqual(used, ["generate", "generate", "stream"])
    }))
})

describe("Trace", () => {
  it.effect("canonical order does not depend on who finished first", () =>
    Effect.gen(function*() {
      const module = Module.all({ b: Predict.make("q -> a"), a: Predict.make("q -> a") })
      const run = (slow: string) =>
        Trace.capture(module({ q: "1" })).pipe(
          Effect.map(([, trace]) => ({
            raw: trace.map((call) => call.path),
            canonical: Trace.canonical(trace, module)
          })),
          Effect.provide(TestLanguageModel.layer((_, __, predictor) =>
            Effect.as(
              Effect.repeatN(Effect.yieldNow(), predictor === slow ? 50 : 0),
              TestLanguageModel.fields({ a: predictor })
            )
          ))
        )
      const one = yield* run("a")
      const two = yield* run("b")
      assert.notDeepEqual(one.raw, two.raw)
      assert.deepStrictEqual(one.canonical, two.canonical)
      assert.deepStrictEqual(one.canonical.map((call) => call.path), ["b", "a"])
    }))

  it.effect("canonical order of many calls of one predictor is that of what was asked and answered", () =>
    Effect.gen(function*() {
      const predict = Predict.make("q -> a")
      const inputs = Array.from({ length: 20 }, (_, n) => ({ q: `${n % 10}` }))
      const [, trace] = yield* Trace.capture(Effect.forEach(inputs, predict))
      const canonical = Trace.canonical(trace, predict)
      assert.deepStrictEqual(Trace.canonical(predict)([...trace].reverse()), canonical)
      assert.notDeepEqual(canonical, trace)
      assert.sameDeepMembers([...canonical], [...trace])
    }).pipe(Effect.provide(TestLanguageModel.layer((_, n) => TestLanguageModel.fields({ a: `${n}` })))))
})

describe("a listener", () => {
  it.effect("may be given first or last", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const listener: ModuleEvent.Listener = {
        deltas: false,
        emit: (events) => Effect.sync(() => events.forEach((event) => seen.push(event._tag)))
      }
      yield* ModuleEvent.listen(ModuleEvent.status("one"), listener)
      yield* ModuleEvent.status("two").pipe(ModuleEvent.listen(listener))
      assert.deepStrictEqual(seen, ["Status", "Status"])
    }))
})
