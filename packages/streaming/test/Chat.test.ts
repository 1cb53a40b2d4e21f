import * as History from "@effect-dspy/core/History"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Chat from "@effect-dspy/streaming/Chat"
import { KeyValueStore } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Layer, Ref, Schema, Stream } from "effect"

const Turn = Schema.Struct({ question: Schema.String, answer: Schema.String, at: Schema.DateFromString })

const reply = Predict.make(Signature.make({
  input: { history: Schema.Array(Turn), question: Schema.String },
  output: { answer: Schema.String }
}))

const make = (window?: History.Window) =>
  Chat.make(reply, {
    turn: Turn,
    remember: ({ question }, { answer }) => ({ question, answer, at: new Date(0) }),
    window
  })

const questionOf = (request: LanguageModel.Request): string =>
  /\[\[ ## question ## \]\]\n(.*)/.exec(String(request.messages.at(-1)?.content))?.[1] ?? ""

// Answers a question with itself in capitals; one that begins with "never" it does not answer.
const model = TestLanguageModel.layer((request) => {
  const question = questionOf(request)
  if (question.startsWith("never")) return Effect.never
  return question.startsWith("fail")
    ? TestLanguageModel.fail("Overloaded")
    : TestLanguageModel.fields({ answer: question.toUpperCase() })
})

const test = Layer.merge(KeyValueStore.layerMemory, model)

const said = (turns: ReadonlyArray<typeof Turn.Type>) => turns.map(({ answer }) => answer)

const settle = Effect.repeatN(Effect.yieldNow(), 50)

describe("Chat", () => {
  it.scoped("shows the module what was said before, and keeps sessions apart", () =>
    Effect.gen(function*() {
      const chat = yield* make()
      assert.deepStrictEqual(yield* chat.send("a", { question: "one" }), { answer: "ONE" })
      yield* chat.send("b", { question: "other" })
      yield* chat.send("a", { question: "two" })
      const requests = yield* TestLanguageModel.requests
      const last = String(requests.at(-1)?.messages.at(-1)?.content)
      assert.include(last, "ONE")
      assert.notInclude(last, "OTHER")
      assert.deepStrictEqual(yield* chat.history("a"), [
        { question: "one", answer: "ONE", at: new Date(0) },
        { question: "two", answer: "TWO", at: new Date(0) }
      ])
      assert.deepStrictEqual(yield* chat.history("c"), [])
    }).pipe(Effect.provide(test)))

  it.scoped("shows the newest turns that fit, and keeps all", () =>
    Effect.gen(function*() {
      const shownWith = (window: History.Window) =>
        Effect.gen(function*() {
          const chat = yield* make(window)
          yield* chat.remove("a")
          for (const question of ["one", "two", "six", "ten"]) yield* chat.send("a", { question })
          const request = (yield* TestLanguageModel.requests).at(-1)
          assert.deepStrictEqual(said(yield* chat.history("a")), ["ONE", "TWO", "SIX", "TEN"])
          return ["ONE", "TWO", "SIX"].filter((answer) => String(request?.messages.at(-1)?.content).includes(answer))
        })
      // A turn is `{"question":"one","answer":"ONE","at":"1970-01-01T00:00:00.000Z"}`: 66 characters, 17 tokens.
      assert.deepStrictEqual(yield* shownWith({}), ["ONE", "TWO", "SIX"])
      assert.deepStrictEqual(yield* shownWith({ turns: 2 }), ["TWO", "SIX"])
      assert.deepStrictEqual(yield* shownWith({ turns: 0 }), [])
      assert.deepStrictEqual(yield* shownWith({ tokens: 34 }), ["TWO", "SIX"])
      assert.deepStrictEqual(yield* shownWith({ tokens: 33 }), ["SIX"])
      assert.deepStrictEqual(yield* shownWith({ turns: 1, tokens: 1000 }), ["SIX"])
      assert.deepStrictEqual(yield* shownWith({ tokens: 16 }), [])
    }).pipe(Effect.provide(test)))

  it.scoped("what was said before are turns, where the signature has a history", () =>
    Effect.gen(function*() {
      const qa = Signature.parse("question -> answer")
      const chat = yield* Chat.make(Predict.make(History.prepend(qa)), {
        turn: Schema.Struct({ question: Schema.String, answer: Schema.String }),
        remember: ({ question }, { answer }) => ({ question, answer }),
        window: { turns: 2 }
      })
      for (const question of ["one", "two", "three", "four"]) yield* chat.send("a", { question })
      const request = (yield* TestLanguageModel.requests).at(-1)
      assert.deepStrictEqual(
        request?.messages.slice(1, -1).map(({ content }) => /\]\]\n(.*)/.exec(String(content))?.[1]),
        [
          "two",
          "TWO",
          "three",
          "THREE"
        ]
      )
    }).pipe(Effect.provide(test)))

  it.effect("a session goes on where it has stopped, with the same store", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(Effect.flatMap(make(), (chat) => chat.send("a", { question: "one" })))
      const turns = yield* Effect.scoped(Effect.gen(function*() {
        const chat = yield* make()
        yield* chat.send("a", { question: "two" })
        return yield* chat.history("a")
      }))
      assert.deepStrictEqual(said(turns), ["ONE", "TWO"])
      const store = yield* KeyValueStore.KeyValueStore
      assert.strictEqual(yield* store.size, 1)
    }).pipe(Effect.provide(test)))

  it.scoped("a session that cannot be read fails before the model is asked", () =>
    Effect.gen(function*() {
      const chat = yield* make()
      yield* chat.send("a", { question: "one" })
      const store = yield* KeyValueStore.KeyValueStore
      const other = yield* Chat.make(
        Predict.make(Signature.make({
          input: { history: Schema.Array(Schema.Struct({ text: Schema.String })), question: Schema.String },
          output: { answer: Schema.String }
        })),
        { turn: Schema.Struct({ text: Schema.String }), remember: ({ question }) => ({ text: question }) }
      )
      assert.strictEqual((yield* Effect.flip(other.send("a", { question: "two" })))._tag, "ParseError")
      assert.strictEqual((yield* TestLanguageModel.calls).length, 1)
      assert.strictEqual(yield* store.size, 1)
    }).pipe(Effect.provide(test)))

  it.scoped("turns of a session follow each other, those of another do not wait", () =>
    Effect.gen(function*() {
      const chat = yield* make()
      const stuck = yield* Effect.fork(chat.send("a", { question: "never" }))
      yield* settle
      const waiting = yield* Effect.fork(chat.send("a", { question: "two" }))
      const leaving = yield* Effect.fork(chat.send("a", { question: "three" }))
      assert.deepStrictEqual(yield* chat.send("b", { question: "one" }), { answer: "ONE" })
      yield* settle
      assert.strictEqual((yield* TestLanguageModel.calls).length, 2)
      // Who stops waiting lets nobody in.
      yield* Fiber.interrupt(leaving)
      yield* settle
      assert.isNull(waiting.unsafePoll())
      yield* Fiber.interrupt(stuck)
      assert.deepStrictEqual(yield* Fiber.join(waiting), { answer: "TWO" })
      assert.deepStrictEqual(said(yield* chat.history("a")), ["TWO"])
    }).pipe(Effect.provide(test)))

  it.scoped("many at once lose no turn", () =>
    Effect.gen(function*() {
      const chat = yield* make()
      yield* Effect.forEach(
        Array.from({ length: 40 }, (_, n) => n),
        (n) => chat.send(`session ${n % 4}`, { question: `q${n}` }),
        { concurrency: "unbounded", discard: true }
      )
      for (let session = 0; session < 4; session++) {
        assert.deepStrictEqual(
          said(yield* chat.history(`session ${session}`)),
          Array.from({ length: 10 }, (_, n) => `Q${4 * n + session}`)
        )
      }
    }).pipe(Effect.provide(test)))

  it.scoped("a turn that fails is not remembered", () =>
    Effect.gen(function*() {
      const chat = yield* make()
      assert.strictEqual((yield* Effect.flip(chat.send("a", { question: "fail" })))._tag, "LanguageModelError")
      assert.deepStrictEqual(yield* chat.history("a"), [])
      yield* chat.send("a", { question: "one" })
      assert.deepStrictEqual(said(yield* chat.history("a")), ["ONE"])
    }).pipe(Effect.provide(test)))

  it.scoped("a turn is watched as it happens, and remembered when its result is given", () =>
    Effect.gen(function*() {
      const chat = yield* make()
      const remembered = yield* Ref.make<ReadonlyArray<string>>([])
      const events = yield* chat.stream("a", { question: "one" }).pipe(
        Stream.tap((event) =>
          event._tag === "Result"
            ? Effect.flatMap(chat.history("a"), (turns) => Ref.set(remembered, said(turns)))
            : Effect.void
        ),
        Stream.runCollect
      )
      assert.strictEqual(
        Chunk.toReadonlyArray(events).map((event) => event._tag === "FieldDelta" ? event.text : "").join(""),
        "ONE"
      )
      assert.deepStrictEqual(yield* Ref.get(remembered), ["ONE"])
      // Who leaves before has not been answered.
      yield* Stream.runDrain(Stream.take(chat.stream("a", { question: "two" }), 1))
      assert.deepStrictEqual(said(yield* chat.history("a")), ["ONE"])
      yield* chat.remove("a")
      assert.deepStrictEqual(yield* chat.history("a"), [])
    }).pipe(Effect.provide(test)))
})
