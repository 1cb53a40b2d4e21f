/** How a ReAct ends by `submit`, the tool whose arguments are its outputs. */
import * as BestOfN from "@effect-dspy/core/BestOfN"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import type * as Tool from "@effect-dspy/core/Tool"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck, Schema } from "effect"
import { add, ask, asked, broken, calls, contentOf, done, native, recording, text, toldTo } from "./ways.ts"

/** What a run tells, and what it answers. */
const listened = <A, E, R>(self: Effect.Effect<A, E, R>) => {
  const events: Array<ModuleEvent.Emitted> = []
  return Effect.map(
    ModuleEvent.listen(self, { deltas: true, emit: (more) => Effect.sync(() => events.push(...more)) }),
    (output) => ({ events, output })
  )
}

/** What is told of the place where outputs are made. */
const atExtract = (events: ReadonlyArray<ModuleEvent.Emitted>) =>
  events.flatMap((event) => {
    if (event.path !== "extract.predict") return []
    switch (event._tag) {
      case "FieldDelta":
        return [`${event.field}: ${event.text}`]
      case "PredictorEnd":
        return [`${event._tag} ${JSON.stringify(event.outputs)} ${event.listed}`]
      case "PredictorStart":
      case "PredictorFailed":
      case "Reset":
        return [event._tag]
      default:
        return []
    }
  })

describe.each([native, text])("ReAct that submits, $toolCalls", ({ step, toolCalls, unreadable }) => {
  const make = <const Tools extends ReadonlyArray<Tool.Any>>(
    tools: Tools,
    options: Partial<Omit<ReAct.Options<Tools>, "tools">> = {}
  ) => ReAct.make("question -> answer", { tools, toolCalls, ...options })
  const react = make([add, broken])
  const submit = (answer: unknown, thought = "I know.") => step("submit", { answer: answer as string }, thought) // also what is none

  it.effect("answers with what it submits, and makes no further call", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const output = yield* react(ask).pipe(
        Effect.provide(recording(requests, [step("add", { a: 1, b: 2 }, "I add."), submit("3")]))
      )
      assert.deepStrictEqual(output, {
        reasoning: "I know.",
        answer: "3",
        termination: "submitted",
        trajectory: [
          { round: 1, thought: "I add.", tool: "add", arguments: { a: 1, b: 2 }, observation: "3", failed: false },
          { round: 2, thought: "I know.", tool: "submit", arguments: { answer: "3" }, observation: "", failed: false }
        ]
      })
      assert.lengthOf(requests, 2)
    }))

  it.effect("offers it with the outputs as parameters, whatever the instructions are", () =>
    Effect.gen(function*() {
      const typed = ReAct.make(
        Signature.make({
          input: { question: Schema.String },
          output: {
            total: Schema.Number.annotations({ description: "in euros" }),
            rows: Schema.Array(Schema.Struct({ id: Schema.Int })),
            note: Schema.optional(Schema.String)
          }
        }),
        { tools: [], toolCalls }
      )
      const tuned = Either.getOrThrow(Module.withParameters(typed, { react: { instructions: "Be quick.", demos: [] } }))
      const requests: Array<LanguageModel.Request> = []
      const output = yield* tuned(ask).pipe(
        Effect.provide(recording(requests, [step("submit", { total: 1.5, rows: [{ id: 1 }], note: "paid" })]))
      )
      assert.deepStrictEqual([output.total, output.rows, output.note], [1.5, [{ id: 1 }], "paid"])
      const offered = toolCalls === "native"
        ? JSON.stringify(requests[0]?.tools?.find(({ name }) => name === "submit")?.parameters)
        : toldTo(requests[0])
      assert.include(offered, `"total":{"type":"number","description":"in euros"}`)
      assert.include(offered, `"required":["total","rows"]`)
      assert.include(toldTo(requests[0]), "Be quick.")
      assert.include(toldTo(requests[0]), "`submit`")
    }))

  it.effect("decodes it as an answer is decoded", () =>
    Effect.gen(function*() {
      const when = ReAct.make(
        Signature.make({
          input: { question: Schema.String },
          output: {
            day: Schema.Date,
            kind: Schema.Literal("due", "paid"),
            times: Schema.optionalWith(Schema.Int, { default: () => 1 })
          }
        }),
        { tools: [], toolCalls }
      )
      const output = yield* when(ask).pipe(
        Effect.provide(recording([], [step("submit", { day: "2026-02-03T00:00:00Z", kind: "due" })]))
      )
      assert.deepStrictEqual([output.day.toISOString(), output.kind, output.times], [
        "2026-02-03T00:00:00.000Z",
        "due",
        1
      ])
    }))

  it.effect("tells the model what is wrong with it, as often as need be", () =>
    Effect.gen(function*() {
      const count = ReAct.make("question -> n: int, unit: 'm' | 'km'", { tools: [add], toolCalls })
      const requests: Array<LanguageModel.Request> = []
      const { n, termination, trajectory } = yield* count(ask).pipe(
        Effect.provide(recording(requests, [
          step("submit", { n: "many", unit: "m" }),
          step("submit", { n: 3 }),
          step("submit", { n: 3, unit: "m", sure: true }),
          step("submit", {}),
          step("submit", { n: 3, unit: "mile" }),
          step("submit", { n: 3, unit: "km" })
        ]))
      )
      assert.deepStrictEqual([n, termination], [3, "submitted"])
      assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [true, true, true, true, true, false])
      const [first, second, third, fourth, fifth] = trajectory.map(({ observation }) => observation)
      assert.include(first, `It did not work. submit: what was submitted are not the outputs: field "n"`)
      assert.include(second, `field "unit": is missing`)
      assert.strictEqual(
        third,
        `It did not work. submit: it takes "n", "unit", and nothing else: sure is no output`
      )
      assert.include(fourth, `field "n": is missing`)
      assert.include(fifth, `field "unit"`)
      assert.include(asked(requests[1]), first!)
    }))

  it.effect("submitted wrongly in the last round, it makes the outputs of what is known", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const short = make([add], { maxIters: 2 })
      const output = yield* short(ask).pipe(
        Effect.provide(recording(requests, [step("add", { a: 1, b: 2 }), step("submit", { answers: 3 }), done]))
      )
      assert.deepStrictEqual([output.answer, output.reasoning, output.termination], ["done", "That is it.", "maxIters"])
      assert.deepStrictEqual(output.trajectory.map(({ failed }) => failed), [false, true])
      assert.include(asked(requests[2]), `Tool: submit {"answers":3}\nObservation: It did not work. submit:`)
    }))

  it.effect("submitted rightly in the last round, it is the end", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const { termination } = yield* make([add], { maxIters: 1 })(ask).pipe(
        Effect.provide(recording(requests, [submit("3")]))
      )
      assert.deepStrictEqual([termination, requests.length], ["submitted", 1])
    }))

  it.effect("never submitted, the outputs are made of what is known", () =>
    Effect.gen(function*() {
      const output = yield* make([add], { maxIters: 2 })(ask).pipe(
        Effect.provide(recording([], [step("add", { a: 1, b: 2 }), step("add", { a: 1, b: 2 }), done]))
      )
      assert.deepStrictEqual([output.answer, output.termination], ["done", "maxIters"])
      const gaveUp = yield* react(ask).pipe(Effect.provide(recording([], [...unreadable, ...unreadable, done])))
      assert.deepStrictEqual([gaveUp.answer, gaveUp.termination], ["done", "unreadable"])
    }))

  it.effect("understands finish, which state files of DSPy speak of, and asks for the outputs then", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const output = yield* react(ask).pipe(Effect.provide(recording(requests, [step("finish"), done])))
      assert.deepStrictEqual([output.answer, output.termination], ["done", "finished"])
      assert.notInclude(toldTo(requests[0]), "finish")
    }))

  it.effect("that ends by finish knows no submit", () =>
    Effect.gen(function*() {
      const output = yield* make([add], { ending: "finish" })(ask).pipe(
        Effect.provide(recording([], [submit("3"), step("finish"), done]))
      )
      assert.strictEqual(
        output.trajectory[0]?.observation,
        "It did not work. submit: there is no such tool; there are add, finish"
      )
      assert.deepStrictEqual([output.answer, output.termination], ["done", "finished"])
    }))

  it.effect("streams the outputs from extract.predict while they are submitted", () =>
    Effect.gen(function*() {
      const { events, output } = yield* listened(react(ask)).pipe(
        Effect.provide(recording([], [step("add", { a: 1, b: 2 }), submit("It is \"3\".\nSure.")]))
      )
      assert.strictEqual(output.answer, "It is \"3\".\nSure.")
      const told = atExtract(events)
      assert.deepStrictEqual([told[0], told.at(-1)], [
        "PredictorStart",
        `PredictorEnd {"reasoning":"I know.","answer":"It is \\"3\\".\\nSure."} false`
      ])
      const of = (field: string) =>
        events.map((event) =>
          event._tag === "FieldDelta" && event.path === "extract.predict" && event.field === field ? event.text : ""
        ).join("")
      assert.deepStrictEqual([of("answer"), of("reasoning")], ["It is \"3\".\nSure.", "I know."])
      // While they are written, not after that.
      const at = (test: (event: ModuleEvent.Emitted) => boolean) => events.findLastIndex(test)
      assert.isBelow(
        at((event) => event._tag === "FieldDelta" && event.field === "answer"),
        at((event) => event._tag === "PredictorEnd" && event.path === "react")
      )
    }))

  it.effect("what was streamed of a submission that is refused is void", () =>
    Effect.gen(function*() {
      const pair = ReAct.make("question -> a, b: int", { tools: [add], toolCalls, maxIters: 2 })
      const { events, output } = yield* listened(pair(ask)).pipe(
        Effect.provide(recording([], [
          step("submit", { a: "first", b: "none" }),
          step("submit", { a: "second", b: 2 })
        ]))
      )
      assert.deepStrictEqual([output.a, output.b], ["second", 2])
      const told = atExtract(events)
      assert.strictEqual(told.filter((line) => line === "Reset").length, 1)
      const after = told.slice(told.indexOf("Reset") + 1)
      assert.strictEqual(after.filter((line) => line.startsWith("a: ")).join("").replaceAll("a: ", ""), "second")
      assert.strictEqual(
        told.slice(0, told.indexOf("Reset")).filter((line) => line.startsWith("a: ")).join("").replaceAll("a: ", ""),
        "first"
      )
      // One call, from beginning to end.
      const numbers = new Set(events.flatMap(({ call, path }) => path === "extract.predict" ? [call] : []))
      assert.strictEqual(numbers.size, 1)
      // Never taken, it has failed, and what makes the outputs then is another call.
      const never = yield* listened(pair(ask)).pipe(
        Effect.provide(recording([], [
          step("submit", { a: "first", b: "none" }),
          step("submit", { a: "second", b: "none" }),
          TestLanguageModel.fields({ reasoning: "so", a: "third", b: 3 })
        ]))
      )
      const tags = never.events.flatMap(({ _tag, path }) =>
        path === "extract.predict" && (_tag.startsWith("Predictor") || _tag === "Reset") ? [_tag] : []
      )
      assert.deepStrictEqual(tags, [
        "PredictorStart",
        "Reset",
        "Reset",
        "PredictorFailed",
        "PredictorStart",
        "PredictorEnd"
      ])
    }))

  it.effect("what was streamed of a call that only looks like a submission is void", () =>
    Effect.gen(function*() {
      const { events, output } = yield* listened(react(ask)).pipe(
        Effect.provide(recording([], [step("sub-mit", { answer: "first" }), submit("second")]))
      )
      assert.strictEqual(output.answer, "second")
      const told = atExtract(events)
      const after = told.slice(told.indexOf("Reset") + 1).filter((line) => line.startsWith("answer: "))
      assert.strictEqual(after.join("").replaceAll("answer: ", ""), "second")
    }))

  it.effect("what was streamed of a submission has failed where the run does", () =>
    Effect.gen(function*() {
      const { events, output } = yield* listened(Effect.either(react(ask))).pipe(
        Effect.provide(recording([], [submit(["none"]), TestLanguageModel.fail("Overloaded")]))
      )
      assert.isTrue(Either.isLeft(output))
      const tags = atExtract(events).filter((line) => line.startsWith("Predictor"))
      assert.deepStrictEqual(tags, ["PredictorStart", "PredictorFailed"])
    }))

  it.effect("many at once submit and stream what is theirs", () =>
    Effect.gen(function*() {
      const model = TestLanguageModel.layer((request, n) => {
        const number = /number (\d+)/.exec(asked(request))?.[1] ?? "?"
        return Effect.as(
          Effect.repeatN(Effect.yieldNow(), (n * 7) % 11),
          asked(request).includes("It did not work") ? submit(`answer ${number}`) : step("submit", { reply: number })
        )
      })
      const runs = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, n) => n),
        (n) => listened(react({ question: `number ${n}` })),
        { concurrency: "unbounded" }
      ).pipe(Effect.provide(model))
      runs.forEach(({ events, output }, n) => {
        assert.deepStrictEqual([output.answer, output.trajectory.length], [`answer ${n}`, 2])
        const text = events.flatMap((event) =>
          event._tag === "FieldDelta" && event.path === "extract.predict" && event.field === "answer"
            ? [event.text]
            : []
        )
        assert.strictEqual(text.join(""), `answer ${n}`)
      })
    }))

  it.effect.prop(
    "whatever it submits, the outputs are of their types, or it is told why not",
    [FastCheck.jsonValue()],
    ([value]) =>
      Effect.gen(function*() {
        const args = JSON.parse(JSON.stringify({ answer: value, n: value }))
        const pair = ReAct.make("question -> answer, n?: int", { tools: [], toolCalls, maxIters: 1 })
        const { events, output } = yield* listened(pair(ask)).pipe(
          Effect.provide(recording([], [step("submit", args), done]))
        )
        assert.isString(output.answer)
        const [only] = output.trajectory
        if (output.termination === "submitted") {
          assert.isTrue(output.n === undefined || Number.isInteger(output.n))
          assert.strictEqual(only?.observation, "")
        } else assert.include(only?.observation, "It did not work. submit: ")
        const open = new Set<number>()
        for (const event of events) {
          if (event._tag === "PredictorStart") open.add(event.call)
          if (event._tag === "PredictorEnd" || event._tag === "PredictorFailed") open.delete(event.call)
        }
        assert.strictEqual(open.size, 0)
      }),
    { fastCheck: { seed: 6, numRuns: 60 } }
  )

  it.effect("attempts that were in vain discard what they submitted", () =>
    Effect.gen(function*() {
      const best = BestOfN.make(react, {
        n: 2,
        threshold: 1,
        reward: (_input, { answer }) => Effect.succeed(answer === "3" ? 1 : 0)
      })
      const { events } = yield* listened(best(ask)).pipe(Effect.provide(recording([], [submit("4"), submit("3")])))
      const discarded = new Set(events.flatMap((event) => event._tag === "Discarded" ? event.calls : []))
      assert.strictEqual(
        events.flatMap((event) =>
          event._tag === "FieldDelta" && event.field === "answer" && !discarded.has(event.call) ? [event.text] : []
        ).join(""),
        "3"
      )
    }))

  it.effect("records what it submitted as a choice like any other, and lets no demonstration come of the rest", () =>
    Effect.gen(function*() {
      const [, trace] = yield* Trace.capture(react(ask)).pipe(
        Effect.provide(recording([], [step("add", { a: 1, b: 2 }), submit("3")]))
      )
      assert.deepStrictEqual(trace.map(({ listed, path }) => [path, listed]), [
        ["react", true],
        ["react", true],
        ["extract.predict", false]
      ])
      assert.deepStrictEqual(trace[1]?.outputs, {
        next_thought: "I know.",
        next_tool_name: "submit",
        next_tool_args: { answer: "3" }
      })
      assert.deepStrictEqual(trace[2]?.inputs, trace[1]?.inputs)
      assert.deepStrictEqual(trace[2]?.outputs, { reasoning: "I know.", answer: "3" })
    }))

  it.effect("goes on with a conversation, whose answers were submitted as well", () =>
    Effect.gen(function*() {
      const chat = ReAct.make("history: History, question -> answer", { tools: [add], toolCalls })
      const requests: Array<LanguageModel.Request> = []
      yield* chat({ history: [{ question: "Who are you?", answer: "A clerk." }], question: "And now?" }).pipe(
        Effect.provide(recording(requests, [submit("4")]))
      )
      const [, question, answer] = requests[0]!.messages
      assert.include(contentOf(question!), "Who are you?")
      assert.include(contentOf(answer!), "A clerk.")
      if (toolCalls === "text") assert.include(contentOf(answer!), "submit")
    }))

  it.effect("takes outputs that no JSON Schema says, told of in words", () =>
    Effect.gen(function*() {
      const Even = Schema.declare((u): u is number => typeof u === "number" && u % 2 === 0)
      const even = ReAct.make(
        Signature.make({
          input: { question: Schema.String },
          output: { n: Even.annotations({ description: "an even number" }) }
        }),
        { tools: [], toolCalls }
      )
      const requests: Array<LanguageModel.Request> = []
      const { n, trajectory } = yield* even(ask).pipe(
        Effect.provide(recording(requests, [step("submit", { n: 3 }), step("submit", { n: 4 })]))
      )
      assert.deepStrictEqual([n, trajectory.length], [4, 2])
      const offered = toolCalls === "native" ? JSON.stringify(requests[0]?.tools) : toldTo(requests[0])
      assert.include(offered, "an even number")
    }))
})

describe("ReAct that submits by native calls", () => {
  const react = ReAct.make("question -> answer", { tools: [add, broken] })
  const submission = { name: "submit", arguments: { answer: "3" } }
  const sum = { name: "add", arguments: { a: 1, b: 2 } }

  it.effect("uses what is called beside it first, and tells of the submission last", () =>
    Effect.gen(function*() {
      for (const round of [[submission, sum], [sum, submission]]) {
        const requests: Array<LanguageModel.Request> = []
        const { output, events } = yield* listened(react(ask)).pipe(
          Effect.provide(recording(requests, [calls(round, "Both.")]))
        )
        assert.deepStrictEqual([output.answer, output.termination, requests.length], ["3", "submitted", 1])
        assert.deepStrictEqual(output.trajectory, [
          { round: 1, thought: "Both.", tool: "add", arguments: { a: 1, b: 2 }, observation: "3", failed: false },
          { round: 1, thought: "", tool: "submit", arguments: { answer: "3" }, observation: "", failed: false }
        ])
        // Also where it is not the first call, of which alone the fields are streamed.
        assert.include(atExtract(events), "answer: 3")
        assert.strictEqual(output.reasoning, "Both.")
      }
    }))

  it.effect("is not taken when what is called beside it fails, and every call is answered", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const { events, output } = yield* listened(react(ask)).pipe(
        Effect.provide(recording(requests, [
          calls([submission, { name: "broken" }, sum]),
          calls([{ name: "submit", arguments: { answer: "nothing" } }])
        ]))
      )
      assert.strictEqual(output.answer, "nothing")
      const [refused, failed] = output.trajectory
      assert.deepInclude(refused, {
        tool: "submit",
        observation: "It did not work. submit: what was called beside it failed; see what it says, and submit again",
        failed: true
      })
      assert.strictEqual(failed?.observation, "It did not work. broken: out of order")
      const turns = requests[1]!.messages.slice(2)
      assert.deepStrictEqual(
        turns.flatMap(({ toolCallId }) => toolCallId ?? []),
        turns.flatMap(({ toolCalls }) => toolCalls?.map(({ id }) => id) ?? [])
      )
      assert.include(atExtract(events), "Reset")
    }))

  it.effect("is called once: several submissions are none", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const { answer, trajectory } = yield* react(ask).pipe(
        Effect.provide(recording(requests, [
          calls([submission, { name: "finish" }, { name: "submit", arguments: { answer: "4" } }]),
          calls([submission])
        ]))
      )
      assert.strictEqual(answer, "3")
      assert.deepStrictEqual(trajectory.slice(0, 3).map(({ observation, tool }) => [tool, observation]), [
        ["submit", "It did not work. submit: call it once, with all outputs"],
        ["finish", "It did not work. finish: call it once, with all outputs"],
        ["submit", "It did not work. submit: call it once, with all outputs"]
      ])
      assert.lengthOf(requests[1]!.messages.filter(({ role }) => role === "tool"), 3)
    }))

  it.effect("beside finish it is what counts", () =>
    Effect.gen(function*() {
      const { answer, termination, trajectory } = yield* react(ask).pipe(
        Effect.provide(recording([], [calls([{ name: "finish" }, submission])]))
      )
      assert.deepStrictEqual([answer, termination], ["3", "submitted"])
      assert.deepStrictEqual(trajectory.map(({ tool }) => tool), ["submit"])
    }))

  it.effect("with arguments that are no JSON it is refused", () =>
    Effect.gen(function*() {
      const { answer, trajectory } = yield* react(ask).pipe(
        Effect.provide(recording([], [
          calls([{ name: "submit", arguments: `{"answer":"3"` }]),
          calls([{ name: "submit", arguments: `["3"]` }]),
          calls([submission])
        ]))
      )
      assert.strictEqual(answer, "3")
      assert.deepStrictEqual(trajectory.map(({ observation }) => observation), [
        "It did not work. submit: these arguments do not fit: the JSON is not complete",
        "It did not work. submit: these arguments do not fit: they are not a JSON object",
        ""
      ])
    }))

  it.effect("an answer without a call is the end, and the outputs are asked for", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const { answer, termination } = yield* react(ask).pipe(
        Effect.provide(recording(requests, [TestLanguageModel.text("It is 3."), done]))
      )
      assert.deepStrictEqual([answer, termination, requests.length], ["done", "finished", 2])
      assert.include(asked(requests[1]), "It is 3.")
    }))

  it.effect("what it reasons apart from its text is the reasoning, where it says nothing else", () =>
    Effect.gen(function*() {
      const { reasoning } = yield* react(ask).pipe(
        Effect.provide(recording([], [TestLanguageModel.withReasoning(calls([submission], ""), "one and two")]))
      )
      assert.strictEqual(reasoning, "one and two")
    }))

  it.effect("a stream that is begun again leaves nothing of what it submitted before", () =>
    Effect.gen(function*() {
      const answer = TestLanguageModel.deltas([
        { _tag: "ToolCallDelta", index: 0, call: 0, id: "x", name: "submit", arguments: `{"answer":"wr` },
        { _tag: "Restarted", cause: "lost" },
        { _tag: "ToolCallDelta", index: 0, call: 0, id: "y", name: "submit", arguments: `{"answer":` },
        { _tag: "ToolCallDelta", index: 0, call: 0, arguments: `"right"}` },
        { _tag: "Finish", index: 0, reason: "toolCalls" },
        { _tag: "Completed", usage: {}, model: "test" }
      ])
      const { events, output } = yield* listened(react(ask)).pipe(Effect.provide(recording([], [answer])))
      assert.strictEqual(output.answer, "right")
      assert.deepStrictEqual(atExtract(events), [
        "PredictorStart",
        "answer: wr",
        "Reset",
        "answer: right",
        `PredictorEnd {"reasoning":"","answer":"right"} false`
      ])
    }))

  it.effect("demonstrations of submissions are shown as calls", () =>
    Effect.gen(function*() {
      const demo = {
        values: {
          question: "1 + 1?",
          trajectory: "",
          next_thought: "Easy.",
          next_tool_name: "submit",
          next_tool_args: { answer: "2" }
        },
        augmented: true
      }
      const requests: Array<LanguageModel.Request> = []
      yield* Either.getOrThrow(Module.withParameters(react, { react: { demos: [demo] } }))(ask).pipe(
        Effect.provide(recording(requests, [calls([submission])]))
      )
      assert.deepStrictEqual(requests[0]?.messages[2]?.toolCalls, [
        { id: "example_1", name: "submit", arguments: `{"answer":"2"}` }
      ])
    }))
})
