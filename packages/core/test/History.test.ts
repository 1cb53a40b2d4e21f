import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as History from "@effect-dspy/core/History"
import type * as Image from "@effect-dspy/core/Image"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as XmlAdapter from "@effect-dspy/core/XmlAdapter"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck, Schema } from "effect"
import { format, partsOf, qa, turns } from "./adapters.ts"

const chat = Signature.make({
  instructions: "Answer the question.",
  input: { question: Schema.String, mood: Schema.optional(Schema.String) },
  output: { answer: Schema.String, sure: Schema.Boolean }
}).pipe(History.prepend)

const history = [
  { question: "Who was first?", answer: "Lovelace", sure: true },
  { question: "When?", mood: "curious", answer: "In 1843", sure: false }
]

/** An image as JSON has it. */
const json = ({ url }: Image.Image) => ({ url })

const rolesOf = (request: LanguageModel.Request) => request.messages.map(({ role }) => role).join(" ")

describe("History", () => {
  // §4.2: system, demonstrations, history, final user turn.
  it("is turns between the demonstrations and the current input, as the adapter writes them", () => {
    const asked = {
      inputs: { history, question: "Where?" },
      demos: [{ question: "1 + 1?", answer: "2", sure: true }]
    }
    assert.deepStrictEqual(turns(format(ChatAdapter.adapter, chat, asked)).slice(1), [
      "user: [[ ## question ## ]]\n1 + 1?",
      "assistant: [[ ## answer ## ]]\n2\n\n[[ ## sure ## ]]\ntrue\n\n[[ ## completed ## ]]",
      "user: [[ ## question ## ]]\nWho was first?",
      "assistant: [[ ## answer ## ]]\nLovelace\n\n[[ ## sure ## ]]\ntrue\n\n[[ ## completed ## ]]",
      "user: [[ ## question ## ]]\nWhen?\n\n[[ ## mood ## ]]\ncurious",
      "assistant: [[ ## answer ## ]]\nIn 1843\n\n[[ ## sure ## ]]\nfalse\n\n[[ ## completed ## ]]",
      "user: [[ ## question ## ]]\nWhere?\n\nAnswer with [[ ## answer ## ]], then [[ ## sure ## ]] (boolean), then [[ ## completed ## ]]."
    ])
    assert.deepStrictEqual(turns(format(JsonAdapter.adapter, chat, asked)).slice(3, 5), [
      "user: [[ ## question ## ]]\nWho was first?",
      "assistant: {\"answer\":\"Lovelace\",\"sure\":true}"
    ])
    assert.deepStrictEqual(turns(format(XmlAdapter.adapter, chat, asked)).slice(3, 5), [
      "user: [[ ## question ## ]]\nWho was first?",
      "assistant: <answer>\nLovelace\n</answer>\n\n<sure>\ntrue\n</sure>"
    ])
  })

  it("is named among the inputs, and left out of the last turn", () => {
    const request = format(ChatAdapter.adapter, chat, { inputs: { history, question: "Where?" } })
    assert.include(String(request.messages[0]!.content), "- `history` (History): the conversation so far")
    assert.notInclude(String(request.messages.at(-1)!.content), "history")
  })

  it("that is empty, or absent, adds nothing", () => {
    const without = turns(format(ChatAdapter.adapter, chat, { inputs: { question: "Where?" } }))
    assert.deepStrictEqual(
      turns(format(ChatAdapter.adapter, chat, { inputs: { history: [], question: "Where?" } })),
      without
    )
    assert.strictEqual(without.length, 2)
    const optional = Signature.parse("past?: History, question -> answer")
    assert.strictEqual(
      rolesOf(
        format(ChatAdapter.adapter, optional, { inputs: { past: [{ question: "?", answer: "!" }], question: "?" } })
      ),
      "system user assistant user"
    )
  })

  // "Empty user turns skipped."
  it("a side of a turn of which there is nothing is left out, as are fields of others", () => {
    const request = format(ChatAdapter.adapter, chat, {
      inputs: {
        history: [{ answer: "Hello!", sure: true }, { question: "Hm?" }, {}, { other: "x" }, {
          question: "So?",
          answer: "So."
        }],
        question: "?"
      }
    })
    assert.deepStrictEqual(turns(request).slice(1, -1), [
      "assistant: [[ ## answer ## ]]\nHello!\n\n[[ ## sure ## ]]\ntrue\n\n[[ ## completed ## ]]",
      "user: [[ ## question ## ]]\nHm?",
      "user: [[ ## question ## ]]\nSo?",
      "assistant: [[ ## answer ## ]]\nSo.\n\n[[ ## completed ## ]]"
    ])
  })

  it("what was said cannot be taken for a field", () => {
    const request = format(ChatAdapter.adapter, chat, {
      inputs: { history: [{ question: "[[ ## answer ## ]]", answer: "ok", sure: true }], question: "?" }
    })
    assert.strictEqual(request.messages[1]!.content, "[[ ## question ## ]]\n\\[[ ## answer ## ]]")
    assert.include(String(request.messages.at(-1)!.content), "A line that starts with a backslash")
  })

  // DSPy takes one for incomplete; what a conversation began with says nothing of that here.
  it("a demonstration without one is whole", () => {
    const demos = [{ question: "1?", answer: "1", sure: true }]
    const request = format(ChatAdapter.adapter, chat, { inputs: { history, question: "?" }, demos })
    assert.notInclude(String(request.messages[1]!.content), "does not give all fields")
    const told = format(ChatAdapter.adapter, chat, {
      inputs: { question: "?" },
      demos: [{ history: [history[0]!], ...demos[0] }]
    })
    assert.include(String(told.messages[1]!.content), "[[ ## history ## ]]\n[{\"question\":\"Who was first?\"")
  })

  it("turns show images in their places", () => {
    const look = Signature.parse("photo?: Image, question -> answer").pipe(History.prepend)
    const photo: Image.Image = { url: "https://example.org/a.png" }
    const request = format(ChatAdapter.adapter, look, {
      inputs: { history: [{ photo: json(photo), question: "Who?", answer: "A cat." }], question: "Which colour?" }
    })
    assert.deepStrictEqual(partsOf(request.messages[1])[1], { _tag: "Image", ...photo })
    assert.isString(request.messages.at(-1)!.content)
  })

  it.effect("is checked by the schemas of the signature, and encoded by them", () =>
    Effect.gen(function*() {
      const plan = Signature.make({
        input: { day: Schema.Date, wish: Schema.String },
        output: { plan: Schema.String }
      })
      const talk = Predict.make(History.prepend(plan))
      const day = new Date(0)
      const output = yield* talk({ history: [{ day, wish: "Swim", plan: "At noon" }], day, wish: "Eat" })
      assert.deepStrictEqual(output, { plan: "Later" })
      assert.strictEqual(
        (yield* TestLanguageModel.requests)[0]!.messages[1]!.content,
        "[[ ## day ## ]]\n1970-01-01T00:00:00.000Z\n\n[[ ## wish ## ]]\nSwim"
      )
      // What the compiler refuses is refused at run time too.
      const wrong = { history: [{ day, wish: "Swim" }], day, wish: "Eat" } as unknown as Parameters<typeof talk>[0]
      const error = yield* Effect.flip(talk(wrong))
      assert.strictEqual(error._tag, "InvalidInput")
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ plan: "Later" })]))))

  it.effect("of a signature serves modules that add outputs to it", () =>
    Effect.gen(function*() {
      const think = ChainOfThought.make(History.prepend(qa))
      yield* think({ history: [{ question: "1?", answer: "1" }], question: "2?" })
      assert.strictEqual(
        (yield* TestLanguageModel.requests)[0]!.messages[2]!.content,
        "[[ ## answer ## ]]\n1\n\n[[ ## completed ## ]]"
      )
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ reasoning: "so", answer: "2" })]))))

  describe("newest", () => {
    const Turn = Schema.Struct({ n: Schema.Int, text: Schema.String })

    it.effect.prop("keeps whole turns at the end, as many as fit and no more", [
      FastCheck.array(FastCheck.record({ n: FastCheck.nat(), text: FastCheck.string({ maxLength: 100 }) }), {
        maxLength: 12
      }),
      FastCheck.nat({ max: 200 }),
      FastCheck.nat({ max: 14 })
    ], ([all, tokens, most]) =>
      Effect.gen(function*() {
        const costs = all.map((turn) => Math.ceil(JSON.stringify(turn).length / 4))
        const sum = (from: number) => costs.slice(from).reduce((a, b) => a + b, 0)
        const kept = yield* History.newest(all, Turn, { tokens, turns: most })
        const from = all.length - kept.length
        assert.deepStrictEqual(kept, all.slice(from))
        assert.isAtMost(kept.length, most)
        assert.isAtMost(sum(from), tokens)
        if (from > 0 && kept.length < most) assert.isAbove(sum(from - 1), tokens)
      }), { fastCheck: { seed: 5, numRuns: 60 } })

    it.effect("keeps all without limits, none without room, and counts an image like a page, not like its bytes", () =>
      Effect.gen(function*() {
        const turns = [{ n: 1, text: "a" }, { n: 2, text: `data:image/png;base64,${"A".repeat(400_000)}` }]
        assert.deepStrictEqual(yield* History.newest(turns, Turn, {}), turns)
        assert.deepStrictEqual(yield* History.newest(turns, Turn, { tokens: 0 }), [])
        assert.deepStrictEqual(yield* History.newest(turns, Turn, { turns: 0 }), [])
        assert.deepStrictEqual(yield* History.newest(turns, Turn, { tokens: 1100 }), turns)
        assert.deepStrictEqual(yield* History.newest(turns, Turn, { tokens: 900 }), [])
      }))
  })
})
