import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as Example from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
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

/** What services check before they train on a line, beyond the form: OpenAI's rules for supervised fine-tuning. */
const assertChat = (chat: BootstrapFinetune.Chat) => {
  Schema.decodeUnknownSync(BootstrapFinetune.Chat)(chat, { onExcessProperty: "error" })
  const { messages, tools = [] } = chat
  assert.strictEqual(messages.at(-1)?.role, "assistant")
  assert.isTrue(messages.slice(1).every(({ role }) => role !== "system"))
  const offered = new Set(tools.map(({ function: { name } }) => name))
  const open = new Set<string>()
  for (const message of messages) {
    if ("tool_call_id" in message) assert.isTrue(open.delete(message.tool_call_id))
    else assert.strictEqual(open.size, 0, "a call that is not answered by the next turns")
    if (!("tool_calls" in message)) continue
    for (const call of message.tool_calls) {
      assert.isTrue(offered.has(call.function.name))
      JSON.parse(call.function.arguments)
      open.add(call.id)
    }
  }
}

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
        assertChat(chat)
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

  const looking = Predict.make("photo: Image, question -> answer")
  const photos = ["a", "b"].map((name) =>
    Example.make({
      inputs: { photo: { url: `https://example.com/${name}.png`, detail: "low" as const }, question: "What is it?" },
      labels: { answer: name }
    })
  )

  it.effect("shows images as parts, where they stood", () =>
    Effect.gen(function*() {
      const { datasets } = yield* BootstrapFinetune.compile(looking, { trainset: photos })
      const [first] = lines(datasets[0]).toSorted((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)
      assertChat(first)
      const [, asked, answered] = first.messages
      assert.deepStrictEqual(asked.content.filter(({ type }: { type: string }) => type === "image_url"), [
        { type: "image_url", image_url: { url: "https://example.com/a.png", detail: "low" } }
      ])
      assert.include(asked.content[0].text, "[[ ## photo ## ]]")
      assert.include(answered.content, "[[ ## answer ## ]]\na cat")
    }).pipe(Effect.provide(
      TestLanguageModel.layer(() => TestLanguageModel.fields({ answer: "a cat" }), { capabilities: { images: true } })
    )))

  /** Chat, and every turn of it changed. */
  const changing = (
    name: string,
    change: (message: LanguageModel.Message) => LanguageModel.Message,
    tools: LanguageModel.Request["tools"] = []
  ) =>
    Adapter.make({
      name,
      format: (input) => ({ tools, messages: ChatAdapter.adapter.format(input).messages.map(change) }),
      parser: ChatAdapter.adapter.parser
    })

  it.effect("keeps tools and calls of them", () =>
    Effect.gen(function*() {
      const call = { id: "1", name: "lookup", arguments: `{"item":"kind0"}` }
      const tool = { name: "lookup", description: "Looks it up.", parameters: { type: "object" } }
      const { datasets } = yield* BootstrapFinetune.compile(sort, {
        trainset,
        metric: exact,
        adapter: changing(
          "calling",
          (message) => message.role === "assistant" ? { ...message, content: "", toolCalls: [call] } : message,
          [tool]
        )
      })
      for (const chat of lines(datasets[0])) {
        assertChat(chat)
        assert.deepStrictEqual(chat.tools, [{ type: "function", function: tool }])
        assert.deepStrictEqual(chat.messages.at(-1), {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "1", type: "function", function: { name: "lookup", arguments: call.arguments } }]
        })
      }
    }).pipe(Effect.provide(simulate({ answer }).layer)))

  it.effect("names the example that has no place in it", () =>
    Effect.gen(function*() {
      const refused = (adapter: Adapter.Adapter) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(BootstrapFinetune.compile(sort, { trainset, metric: exact, adapter }))
          if (error._tag !== "NotInChat") return assert.fail(error._tag)
          assert.isTrue(trainset.some(({ id }) => id === error.example))
          return error.message.replace(error.example, "<id>")
        })
      const turned = (role: string, part: LanguageModel.Part) =>
        refused(changing("parts", (message) => message.role === role ? { ...message, content: [part] } : message))
      const hint =
        "which chat data for fine-tuning cannot hold. Leave the predictor out by Module.freeze, or such examples"
      const on = "On the training example <id> the predictor \"\" is shown"
      assert.strictEqual(
        yield* turned("user", { _tag: "Audio", url: "data:audio/wav;base64,AA==" }),
        `${on} a sound, ${hint}`
      )
      assert.strictEqual(
        yield* turned("user", { _tag: "File", url: "https://example.com/a.pdf" }),
        `${on} a document, ${hint}`
      )
      assert.strictEqual(
        yield* turned("system", { _tag: "Image", url: "https://example.com/a.png" }),
        `${on} an image in a turn of the system, ${hint}`
      )
      assert.strictEqual(
        yield* refused(changing("tool", (message) => message.role === "user" ? { ...message, role: "tool" } : message)),
        `${on} turns of no known form, ${hint}`
      )
    }).pipe(Effect.provide(simulate({ answer }).layer)))

  it.effect("has the rounds of an agent as text, tools that the model called by itself among them", () =>
    Effect.gen(function*() {
      const lookup = Tool.make("lookup", {
        description: "Looks up a box.",
        parameters: { item: Schema.String },
        run: ({ item }) => Effect.succeed(boxOf(item))
      })
      const { datasets } = yield* BootstrapFinetune.compile(ReAct.make("item -> box", { tools: [lookup] }), {
        trainset: examples(1, 1),
        metric: exact
      }).pipe(Effect.provide(TestLanguageModel.layer([
        TestLanguageModel.toolCalls([{ name: "lookup", arguments: { item: "kind0" } }]),
        TestLanguageModel.toolCalls([{ name: "submit", arguments: { box: boxOf("kind0") } }])
      ])))
      const chats = lines(datasets[0])
      chats.forEach(assertChat)
      const asked = chats.map(({ messages }) => messages.at(-2).content).toSorted((a, b) => a.length - b.length)
      assert.strictEqual(asked.length, 2)
      assert.include(asked[1], boxOf("kind0"))
    }))

  it("has lines that its schema reads", () => {
    const chat = Schema.decodeUnknownEither(BootstrapFinetune.Chat)
    assert.isTrue(Either.isRight(chat({ messages: [{ role: "user", content: "a" }] })))
    assert.isTrue(Either.isLeft(chat({ messages: [{ role: "tool", content: "a" }] })))
    assert.isTrue(Either.isLeft(chat({ messages: [] })))
    // Also what is said beside a call.
    const called = {
      messages: [
        { role: "user", content: "a" },
        {
          role: "assistant",
          content: "I look.",
          tool_calls: [{ id: "1", type: "function", function: { name: "lookup", arguments: "{}" } }]
        }
      ]
    }
    assert.deepStrictEqual<unknown>(Either.getOrNull(chat(called)), called)
  })
})
