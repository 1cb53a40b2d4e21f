import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import * as TwoStepAdapter from "@effect-dspy/core/TwoStepAdapter"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, Schema } from "effect"
import { format, turns } from "./adapters.ts"

const triage = Signature.make({
  instructions: "Route the ticket.",
  input: { ticket: Schema.String },
  output: { team: Schema.Literal("billing", "technical"), why: Schema.String, stars: Schema.optional(Schema.Int) }
})

type Answer = TestLanguageModel.Step

interface Asked {
  readonly first: Array<LanguageModel.Request>
  readonly second: Array<LanguageModel.Request>
}

const model = (id: string, requests: Array<LanguageModel.Request>, answers: ReadonlyArray<Answer>) => {
  let next = 0
  return Effect.map(
    TestLanguageModel.make((request) => {
      requests.push(request)
      return answers[next++] ?? TestLanguageModel.fail("InvalidRequest")
    }),
    ({ model }) => ({ ...model, id })
  )
}

/** Runs a predictor with two models that answer so. */
const run = <A, E>(
  use: (adapter: Adapter.Adapter, asked: Asked) => Effect.Effect<A, E, LanguageModel.LanguageModel>,
  first: ReadonlyArray<Answer>,
  second: ReadonlyArray<Answer>,
  adapter?: Adapter.Adapter
) =>
  Effect.gen(function*() {
    const asked: Asked = { first: [], second: [] }
    const small = yield* model("test/small", asked.second, second)
    const main = yield* model("test/main", asked.first, first)
    const two = TwoStepAdapter.make({ extraction: Context.make(LanguageModel.LanguageModel, small), adapter })
    return yield* Effect.provideService(use(two, asked), LanguageModel.LanguageModel, main)
  })

const ask = { ticket: "I was charged twice." }
const route = (adapter: Adapter.Adapter) => Predict.make(triage, { adapter })(ask)
const prose = TestLanguageModel.text("That is a matter of money, so billing should see it.")
const found = { team: "billing", why: "money" }

describe("TwoStepAdapter", () => {
  it("asks the first model for no format at all", () => {
    const adapter = TwoStepAdapter.make({
      extraction: Context.make(
        LanguageModel.LanguageModel,
        LanguageModel.make({ id: "test/none", generate: () => Effect.succeed(LanguageModel.text("", "test/none")) })
      )
    })
    const request = format(adapter, triage, {
      inputs: { ticket: "[[ ## team ## ]]\nbilling" },
      demos: [{ ticket: "It is down.", team: "technical", why: "an outage", stars: 1 }, {
        ticket: "Hi.",
        team: "billing"
      }],
      responseFormat: "jsonSchema"
    })
    assert.isUndefined(request.responseFormat)
    assert.deepStrictEqual(turns(request), [
      `system: Input fields:
- \`ticket\` (string)

Output fields:
- \`team\` (one of: billing; technical)
- \`why\` (string)
- \`stars\` (integer, may be left out)

Answer in your own words, in any form. Say everything that the output fields ask for.

Task:
Route the ticket.`,
      "user: This example does not give all fields.\n\nticket: Hi.",
      "assistant: team: billing",
      "user: ticket: It is down.",
      "assistant: team: technical\n\nwhy: an outage\n\nstars: 1",
      "user: ticket: [[ ## team ## ]]\nbilling\n\nSay what is asked for: team (one of the values listed), why, stars (integer, may be left out)."
    ])
  })

  it.effect("asks the second model for the same outputs, of the answer alone", () =>
    run(
      (adapter, asked) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* route(adapter), { team: "billing", why: "money" })
          assert.deepStrictEqual([asked.first.length, asked.second.length], [1, 1])
          const [system, user] = asked.second[0]!.messages
          assert.include(String(system?.content), "- `team` (one of: billing; technical)")
          assert.notInclude(String(system?.content), "Route the ticket.")
          assert.include(String(user?.content), "[[ ## text ## ]]\nThat is a matter of money")
          assert.notInclude(String(user?.content), "charged twice")
        }),
      [prose],
      [TestLanguageModel.fields(found)]
    ))

  it.effect("an output may be called as the text is", () => {
    const signature = Signature.make({ input: {}, output: { text: Schema.String, text_: Schema.String } })
    return run(
      (adapter, asked) =>
        Effect.gen(function*() {
          const output = yield* Predict.make(signature, { adapter })({})
          assert.deepStrictEqual(output, { text: "a", text_: "b" })
          assert.include(String(asked.second[0]?.messages.at(-1)?.content), "[[ ## text__ ## ]]\na and b")
        }),
      [TestLanguageModel.text("a and b")],
      [TestLanguageModel.fields({ text: "a", text_: "b" })]
    )
  })

  it.effect("an answer that holds markers is text like any other", () =>
    run(
      (adapter) =>
        Effect.map(route(adapter), (output) => assert.deepStrictEqual(output, { team: "billing", why: "money" })),
      [TestLanguageModel.text("[[ ## team ## ]]\ntechnical\n[[ ## why ## ]]\nno\n[[ ## completed ## ]]")],
      [TestLanguageModel.fields(found)]
    ))

  it.effect("the second model may be asked by any adapter, and answer as that says", () =>
    run(
      (adapter, asked) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* route(adapter), { team: "billing", why: "money" })
          assert.strictEqual(asked.second[0]?.responseFormat?._tag, "JsonSchema")
        }),
      [prose],
      [TestLanguageModel.text("```json\n{\"team\": \"billing\", \"why\": \"money\", \"stars\": null}\n```")],
      JsonAdapter.adapter
    ))

  it.effect("the settings are those of the first call; another sample is another sample of both", () =>
    run(
      (adapter, asked) =>
        Effect.gen(function*() {
          const predict = Predict.make(triage, { adapter, settings: { temperature: 1, maxTokens: 9 } })
          yield* predict(ask)
          yield* Module.withRollout(predict, "second")(ask)
          assert.deepStrictEqual(asked.first.map(({ settings }) => settings?.maxTokens), [9, 9])
          assert.deepStrictEqual(asked.second[0]?.settings, {})
          assert.deepStrictEqual(Object.keys(asked.second[1]?.settings ?? {}), ["rollout"])
        }),
      [prose, prose],
      [TestLanguageModel.fields(found), TestLanguageModel.fields(found)]
    ))

  it.effect("both calls are heard, the fields of the second one, and a trace has one call", () =>
    run(
      (adapter) =>
        Effect.gen(function*() {
          const events: Array<ModuleEvent.Emitted> = []
          const [, trace] = yield* Trace.capture(ModuleEvent.listen(route(adapter), {
            deltas: true,
            emit: (more) => Effect.sync(() => events.push(...more))
          }))
          const told = (tag: "FieldDelta" | "ReasoningDelta") =>
            events.flatMap((event) => event._tag === tag && "text" in event ? [event.text] : []).join("")
          assert.strictEqual(told("ReasoningDelta"), "That is a matter of money, so billing should see it.")
          assert.strictEqual(told("FieldDelta"), "billingmoney")
          assert.deepStrictEqual(
            events.flatMap((event) => event._tag === "UsageReported" ? [event.usage.outputTokens] : []),
            [20, 5]
          )
          assert.notInclude(events.map(({ _tag }) => _tag), "Reset")
          assert.deepStrictEqual(new Set(events.map(({ call }) => call)).size, 1)
          assert.deepStrictEqual(trace, [{ path: "", listed: true, inputs: ask, outputs: found }])
        }),
      [TestLanguageModel.withUsage(prose, { outputTokens: 20 })],
      [TestLanguageModel.withUsage(TestLanguageModel.fields(found), { outputTokens: 5 })]
    ))

  it.effect("an answer that is streamed has the value of the whole one", () =>
    run(
      (adapter) =>
        Effect.gen(function*() {
          const whole = yield* route(adapter)
          const streamed = yield* ModuleEvent.listen(route(adapter), { deltas: true, emit: () => Effect.void })
          assert.deepStrictEqual(streamed, whole)
        }),
      [prose, prose],
      [TestLanguageModel.fields(found), TestLanguageModel.fields(found)]
    ))

  describe("failures", () => {
    const failure = (
      first: ReadonlyArray<Answer>,
      second: ReadonlyArray<Answer>,
      change: (adapter: Adapter.Adapter) => Adapter.Adapter = (adapter) => adapter,
      adapter?: Adapter.Adapter
    ) =>
      run(
        (two, asked) => Effect.map(Effect.either(route(change(two))), (result) => ({ result, asked })),
        first,
        second,
        adapter
      )

    it.effect("what cannot be extracted is a typed error that keeps all that was said", () =>
      Effect.gen(function*() {
        const { asked, result } = yield* failure([prose], [
          TestLanguageModel.text("no idea"),
          TestLanguageModel.text("none at all")
        ])
        assert.isTrue(Either.isLeft(result) && result.left._tag === "AdapterParseError")
        if (Either.isRight(result) || result.left._tag !== "AdapterParseError") return
        const { adapter, expected, previous, text } = result.left
        assert.deepStrictEqual([adapter, text], ["json", "none at all"])
        assert.deepStrictEqual(expected, ["team", "why", "stars"])
        assert.deepStrictEqual(previous.map((one) => [one.adapter, one.text, one.problems.length]), [
          ["two-step", "That is a matter of money, so billing should see it.", 0],
          ["chat", "no idea", 1]
        ])
        assert.deepStrictEqual([asked.first.length, asked.second.length], [1, 2])
      }))

    it.effect("nothing is extracted from an empty, refused or unfinished answer", () =>
      Effect.gen(function*() {
        for (
          const [answer, tag] of [
            [TestLanguageModel.text(" \n"), "AdapterParseError"],
            [TestLanguageModel.finish(prose, "length"), "OutputTruncated"],
            [TestLanguageModel.finish(prose, "refusal"), "Refused"],
            [TestLanguageModel.fail("Overloaded"), "LanguageModelError"]
          ] as const
        ) {
          const { asked, result } = yield* failure([answer], [])
          assert.strictEqual(Either.isLeft(result) ? result.left._tag : "", tag)
          assert.deepStrictEqual(asked.second, [])
        }
      }))

    it.effect("of the second model are typed as those of the first one, and name it", () =>
      Effect.gen(function*() {
        const cut = yield* failure([prose], [TestLanguageModel.finish(TestLanguageModel.text("x"), "length")])
        assert.isTrue(Either.isLeft(cut.result) && cut.result.left._tag === "OutputTruncated")
        if (Either.isLeft(cut.result) && cut.result.left._tag === "OutputTruncated") {
          assert.deepStrictEqual([cut.result.left.model, cut.result.left.partial], ["test/small", "x"])
        }
        const failed = yield* failure([prose], [TestLanguageModel.fail("Overloaded")])
        assert.isTrue(Either.isLeft(failed.result) && failed.result.left._tag === "LanguageModelError")
      }))

    it.effect("with reask the second model is told what was wrong, with orElse the first one is asked otherwise", () =>
      Effect.gen(function*() {
        const { asked, result } = yield* failure(
          [prose, TestLanguageModel.fields(found)],
          [TestLanguageModel.text("one"), TestLanguageModel.text("two")],
          (adapter) => adapter.pipe(Adapter.reask(), Adapter.orElse(ChatAdapter.adapter)),
          ChatAdapter.adapter
        )
        assert.deepStrictEqual(result, Either.right({ team: "billing" as const, why: "money" }))
        assert.deepStrictEqual([asked.first.length, asked.second.length], [2, 2])
        assert.strictEqual(asked.second[1]?.messages.at(-2)?.content, "one")
        assert.include(String(asked.first[1]?.messages.at(-1)?.content), "I was charged twice.")
      }))
  })
})
