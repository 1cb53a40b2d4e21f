import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as Json from "@effect-dspy/core/Json"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as BootstrapFinetune from "@effect-dspy/optimizers/BootstrapFinetune"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Schema, Stream } from "effect"
import { store } from "./contract.ts"
import { boxOf, exact, examples, field, render, simulate, sort, textOf } from "./utilities.ts"

const trainset = examples(12, 4)

// Knows the first three kinds.
const answer = (request: LanguageModel.Request) => {
  const kind = field(textOf(request.messages.at(-1)), "item")?.split("-")[0] ?? ""
  return render({ box: kind === "kind3" ? "none" : boxOf(kind) })
}

const lines = (dataset: BootstrapFinetune.Dataset | undefined) =>
  BootstrapFinetune.toJsonl(dataset!).trimEnd().split("\n").map((line) => JSON.parse(line))

describe("BootstrapFinetune", () => {
  it.effect("writes what the program sends, and the answer that was right", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const { datasets, done, passed, reason, spend } = yield* BootstrapFinetune.compile(sort, {
        trainset,
        metric: exact
      })
        .pipe(Effect.provide(model.layer))
      assert.deepStrictEqual([passed, done, reason, spend.calls], [9, 12, "completed", 12])
      const chats = lines(datasets[0])
      assert.strictEqual(chats.length, 9)
      const sent = new Set(model.requests.map(({ messages }) => Json.canonical(messages)))
      for (const chat of chats) {
        assert.deepStrictEqual(Object.keys(chat), ["messages"])
        assert.isTrue(chat.messages.every((message: object) => Object.keys(message).join() === "role,content"))
        const answered = chat.messages.at(-1)
        assert.strictEqual(answered.role, "assistant")
        assert.isTrue(sent.has(Json.canonical(chat.messages.slice(0, -1))))
        const item = field(chat.messages.at(-2).content, "item") ?? ""
        assert.strictEqual(field(answered.content, "box"), boxOf(item.split("-")[0] ?? ""))
      }
    }))

  it.effect("in the form of the adapter that will be used", () =>
    Effect.gen(function*() {
      const { datasets } = yield* BootstrapFinetune.compile(sort, {
        trainset,
        metric: exact,
        adapter: JsonAdapter.adapter
      }).pipe(Effect.provide(simulate({ answer }).layer))
      assert.match(lines(datasets[0])[0].messages.at(-1).content, /^\{"box":"box \w+"\}$/)
    }))

  it.effect("with the demonstrations of the program, or without", () =>
    Effect.gen(function*() {
      const shown = Either.getOrThrow(
        Module.withParameters(sort, { "": { demos: [Parameters.demo({ item: "kind0-1", box: boxOf("kind0") })] } })
      )
      const [full, bare] = yield* Effect.forEach([false, true], (excludeDemos) =>
        BootstrapFinetune.compile(shown, { trainset, metric: exact, excludeDemos })).pipe(
          Effect.provide(simulate({ answer }).layer)
        )
      assert.strictEqual(lines(full!.datasets[0])[0].messages.length, 5)
      assert.strictEqual(lines(bare!.datasets[0])[0].messages.length, 3)
    }))

  const twice = Module.make(
    { first: Predict.make("item -> note"), second: Predict.make("note -> box") },
    function*(m, input: { readonly item: string }) {
      const a = yield* m.first(input)
      const b = yield* m.first({ item: `${input.item} again` })
      return yield* m.second({ note: `${a.note}, ${b.note}` })
    }
  )

  const noting = (request: LanguageModel.Request) => {
    const asked = textOf(request.messages.at(-1))
    const note = field(asked, "note")
    return note === undefined
      ? render({ note: `saw ${field(asked, "item")}` })
      : render({ box: boxOf(/kind\d/.exec(note)?.[0] ?? "") })
  }

  it.effect("of every call, told apart by predictor, also where one is called twice", () =>
    Effect.gen(function*() {
      const options = { trainset, metric: exact, multitask: false }
      const { datasets } = yield* BootstrapFinetune.compile(twice, options).pipe(
        Effect.provide(simulate({ answer: noting }).layer)
      )
      assert.deepStrictEqual(datasets.map(({ chats, predictor }) => [predictor, chats.length]), [
        ["first", 24],
        ["second", 12]
      ])
      const all = yield* BootstrapFinetune.compile(twice, { ...options, multitask: true }).pipe(
        Effect.provide(simulate({ answer: noting }).layer)
      )
      assert.deepStrictEqual(all.datasets.map(({ chats, predictor }) => [predictor, chats.length]), [[undefined, 36]])
    }))

  it.effect("by several teachers, each with a model of its own", () =>
    Effect.gen(function*() {
      const [one, two] = [simulate({ answer }), simulate({ answer })]
      const teachers = yield* Effect.forEach([one, two], ({ layer }) =>
        Effect.map(Effect.context<LanguageModel.LanguageModel>().pipe(Effect.provide(layer)), (context) =>
          sort.pipe(Module.provideModel(context))))
      const { done, passed } = yield* BootstrapFinetune.compile(sort, { trainset, metric: exact, teachers }).pipe(
        Effect.provide(
          simulate({
            answer: () =>
              "never asked"
          }).layer
        )
      )
      assert.deepStrictEqual([done, passed, one.requests.length, two.requests.length], [24, 18, 12, 12])
    }))

  it.effect("accepts every answer without a metric, and only good ones above a threshold", () =>
    Effect.gen(function*() {
      const all = yield* BootstrapFinetune.compile(sort, { trainset })
      assert.strictEqual(all.passed, 12)
      const graded = yield* BootstrapFinetune.compile(sort, {
        trainset,
        metric: ({ inputs }) => Effect.succeed({ value: Number((inputs as { item: string }).item.split("-")[1]) / 12 }),
        metricThreshold: 0.5
      })
      assert.strictEqual(graded.passed, 6)
    }).pipe(Effect.provide(simulate({ answer }).layer)))

  it.effect("the same at any concurrency, and after being cut off, paying for nothing twice", () =>
    Effect.gen(function*() {
      const run = (concurrency: number) => BootstrapFinetune.events(sort, { trainset, metric: exact, concurrency })
      const names = yield* Effect.forEach([1, 8], (concurrency) =>
        BootstrapFinetune.compile(sort, {
          trainset,
          metric: exact,
          concurrency
        })).pipe(Effect.provide(simulate({ answer }).layer))
      assert.deepStrictEqual(names[0]!.datasets, names[1]!.datasets)
      const journal: Array<string> = []
      const first = simulate({ answer })
      yield* Stream.runDrain(Stream.take(run(1), 5)).pipe(Effect.provide([first.layer, store(journal)]))
      const second = simulate({ answer })
      const last = yield* Stream.runLast(run(1)).pipe(Effect.provide([second.layer, store(journal)]))
      assert.deepStrictEqual(
        last.pipe((o) => o._tag === "Some" && o.value._tag === "Collected" ? o.value.datasets : []),
        names[0]!.datasets
      )
      assert.isAtMost(first.requests.length + second.requests.length, 13)
    }))

  it.effect("makes of what the budget allows what there is", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const { datasets, done, reason } = yield* BootstrapFinetune.compile(sort, {
        trainset,
        metric: exact,
        budget: { calls: 5 }
      }).pipe(Effect.provide(model.layer))
      assert.deepStrictEqual([done, reason, model.requests.length], [5, "budget", 5])
      assert.isAbove(datasets[0]!.chats.length, 0)
    }))

  it.effect("leaves out what failed, and gives up when everything does", () =>
    Effect.gen(function*() {
      const some = yield* BootstrapFinetune.compile(sort, { trainset }).pipe(
        Effect.provide(
          simulate({ answer, fails: (_, request) => textOf(request.messages.at(-1)).includes("kind1") }).layer
        )
      )
      assert.deepStrictEqual([some.passed, some.done], [9, 12])
      const error = yield* Effect.flip(
        BootstrapFinetune.compile(sort, { trainset }).pipe(
          Effect.provide(simulate({ answer, fails: () => true }).layer)
        )
      )
      assert.strictEqual(error._tag, "TooManyFailures")
    }))

  it.effect("refuses to make nothing of it", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(BootstrapFinetune.compile(sort, { trainset, concurrency: 0 }))
      assert.strictEqual(error.message, "concurrency must be at least 1")
    }).pipe(Effect.provide(simulate({ answer }).layer)))

  it.effect("says that a picture has no place in it", () =>
    Effect.gen(function*() {
      const pictures = Adapter.make({
        name: "pictures",
        format: (input) => {
          const { messages } = ChatAdapter.adapter.format(input)
          return {
            messages: messages.map((message) =>
              message.role === "user"
                ? { ...message, content: [{ _tag: "Image" as const, url: "https://example.com/a.png" }] }
                : message
            )
          }
        },
        parser: ChatAdapter.adapter.parser
      })
      const error = yield* Effect.flip(BootstrapFinetune.compile(sort, { trainset, adapter: pictures }))
      assert.strictEqual(error._tag, "NotText")
      assert.include(error.message, "Module.freeze")
    }).pipe(Effect.provide(simulate({ answer }).layer)))

  it("has lines that its schema reads", () => {
    const chat = Schema.decodeUnknownEither(BootstrapFinetune.Chat)
    assert.isTrue(Either.isRight(chat({ messages: [{ role: "user", content: "a" }] })))
    assert.isTrue(Either.isLeft(chat({ messages: [{ role: "tool", content: "a" }] })))
    assert.isTrue(Either.isLeft(chat({ messages: [] })))
  })
})
