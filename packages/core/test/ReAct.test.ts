import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, Schema } from "effect"

const add = Tool.make("add", {
  description: "Adds two numbers.",
  parameters: { a: Schema.Number, b: Schema.Number.annotations({ description: "the other one" }) },
  run: ({ a, b }) => Effect.succeed(a + b)
})

const broken = Tool.make("broken", {
  description: "Never works.",
  parameters: {},
  run: () => Effect.fail("out of order")
})

const step = (name: string, args: { readonly [name: string]: unknown } = {}, thought = "hm") =>
  TestLanguageModel.fields({ next_thought: thought, next_tool_name: name, next_tool_args: args as never })

const end = [
  step("finish"),
  TestLanguageModel.fields({ reasoning: "That is it.", answer: "done" })
]

const ask = { question: "?" }

const recording = (requests: Array<LanguageModel.Request>, answers: ReadonlyArray<TestLanguageModel.Step>) => {
  let next = 0
  return TestLanguageModel.layer((request) => {
    requests.push(request)
    return answers[next++] ?? TestLanguageModel.text("no more answers")
  })
}

const toldTo = (request: LanguageModel.Request | undefined) => String(request?.messages[0]?.content)
const asked = (request: LanguageModel.Request | undefined) => String(request?.messages.at(-1)?.content)

describe("ReAct", () => {
  const react = ReAct.make("question -> answer", { tools: [add, broken] })

  it.effect("uses tools until it knows enough, and shows what they said", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const output = yield* react(ask).pipe(
        Effect.provide(
          recording(requests, [step("add", { a: 1, b: 2 }, "I add."), step("add", { a: 3, b: 3 }), ...end])
        )
      )
      assert.deepStrictEqual(output, {
        reasoning: "That is it.",
        answer: "done",
        termination: "finished",
        trajectory: [
          { thought: "I add.", tool: "add", arguments: { a: 1, b: 2 }, observation: "3", failed: false },
          { thought: "hm", tool: "add", arguments: { a: 3, b: 3 }, observation: "6", failed: false }
        ]
      })
      assert.include(
        asked(requests[1]),
        "Round 1\nThought: I add.\nTool: add {\"a\":1,\"b\":2}\nObservation: 3"
      )
      assert.include(asked(requests.at(-1)), "Round 2\nThought: hm\nTool: add {\"a\":3,\"b\":3}\nObservation: 6")
    }))

  it.effect("offers its tools whatever the instructions are tuned to", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const tuned = Either.getOrThrow(
        Module.withParameters(react, { react: { instructions: "Think hard.", demos: [] } })
      )
      yield* tuned(ask).pipe(Effect.provide(recording(requests, end)))
      assert.include(toldTo(requests[0]), "Think hard.")
      assert.include(toldTo(requests[0]), "1. add: Adds two numbers. Arguments: {")
      assert.include(toldTo(requests[0]), "the other one")
      assert.include(toldTo(requests[0]), "3. finish:")
      // Who makes the answer needs no tools.
      assert.notInclude(toldTo(requests[1]), "add: Adds")
    }))

  it.effect("tells the model what did not work, and goes on", () =>
    Effect.gen(function*() {
      const { trajectory } = yield* react(ask).pipe(
        Effect.provide(recording([], [
          step("broken"),
          step("add", { a: "one", b: 2 }),
          step("add", { a: 1, b: 2, c: 3 }),
          ...end
        ]))
      )
      assert.isTrue(trajectory.every(({ failed }) => failed))
      assert.strictEqual(trajectory[0]?.observation, "It did not work. broken: out of order")
      assert.include(trajectory[1]?.observation, "these arguments do not fit: a: ")
      assert.include(trajectory[2]?.observation, "c: ")
    }))

  it.effect("ends the loop when an answer cannot be read, and answers with what is known", () =>
    Effect.gen(function*() {
      const { answer, termination, trajectory } = yield* react(ask).pipe(
        Effect.provide(recording([], [step("add", { a: 1, b: 2 }), step("nonsense"), step("nonsense"), end[1]!]))
      )
      assert.deepStrictEqual([answer, termination, trajectory.length], ["done", "unreadable", 1])
    }))

  it.effect("ends after as many rounds as there may be", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const short = ReAct.make("question -> answer", { tools: [add], maxIters: 2 })
      const { termination, trajectory } = yield* short(ask).pipe(
        Effect.provide(recording(requests, [step("add", { a: 1, b: 1 }), step("add", { a: 2, b: 2 }), end[1]!]))
      )
      assert.deepStrictEqual([termination, trajectory.length, requests.length], ["maxIters", 2, 3])
    }))

  describe("in a model that is too small", () => {
    // Takes so many rounds, the third one at most.
    const small = (
      requests: Array<LanguageModel.Request>,
      room: number,
      answers: ReadonlyArray<TestLanguageModel.Step>
    ) => {
      let next = 0
      return TestLanguageModel.layer((request) => {
        requests.push(request)
        const rounds = asked(request).split("Thought: ").length - 1
        return rounds > room ? TestLanguageModel.fail("ContextWindowExceeded") : answers[next++] ?? end[1]!
      })
    }

    it.effect("leaves out the oldest rounds", () =>
      Effect.gen(function*() {
        const requests: Array<LanguageModel.Request> = []
        const adds = [1, 2, 3, 4].map((n) => step("add", { a: n, b: 0 }))
        const { termination, trajectory } = yield* react(ask).pipe(
          Effect.provide(small(requests, 2, [...adds, ...end]))
        )
        assert.strictEqual(termination, "finished")
        // The answer tells all of them.
        assert.deepStrictEqual(trajectory.map(({ observation }) => observation), ["1", "2", "3", "4"])
        assert.include(asked(requests.at(-1)), "Round 1\nThought: hm\nTool: add {\"a\":3,\"b\":0}")
      }))

    it.effect("tries so three times, then answers with what fits", () =>
      Effect.gen(function*() {
        const requests: Array<LanguageModel.Request> = []
        const adds = [1, 2, 3, 4, 5].map((n) => step("add", { a: n, b: 0 }))
        let full = false
        const model = TestLanguageModel.layer((request) => {
          requests.push(request)
          const rounds = asked(request).split("Thought: ").length - 1
          if (rounds === 5) full = true
          const chooses = toldTo(request).includes("`next_tool_name`")
          if (full && chooses) return TestLanguageModel.fail("ContextWindowExceeded")
          return chooses ? adds[rounds]! : end[1]! // of fewer rounds than there are
        })
        const { termination } = yield* react(ask).pipe(Effect.provide(model))
        assert.strictEqual(termination, "contextWindow")
        // All five rounds, then without one, two and three of them; the answer is made of all again.
        const rounds = requests.map((request) => asked(request).split("Thought: ").length - 1)
        assert.deepStrictEqual(rounds, [0, 1, 2, 3, 4, 5, 4, 3, 2, 5])
      }))

    it.effect("fails when there is no room for a single one", () =>
      Effect.gen(function*() {
        const error = yield* react(ask).pipe(
          Effect.provide(small([], 0, [step("add", { a: 1, b: 1 }), end[1]!])),
          Effect.flip
        )
        assert.isTrue(LanguageModelError.isLanguageModelError(error) && error.reason._tag === "ContextWindowExceeded")
      }))
  })

  it.effect("fails as the model does otherwise", () =>
    Effect.gen(function*() {
      const error = yield* react(ask).pipe(
        Effect.provide(recording([], [TestLanguageModel.fail("Authentication")])),
        Effect.flip
      )
      assert.isTrue(LanguageModelError.isLanguageModelError(error))
    }))

  it.effect("tells of its tools, in the order of what happens", () =>
    Effect.gen(function*() {
      const events: Array<ModuleEvent.Emitted> = []
      yield* react(ask).pipe(
        ModuleEvent.listen({ deltas: false, emit: (more) => Effect.sync(() => events.push(...more)) }),
        Effect.provide(recording([], [step("add", { a: 1, b: 2 }), step("broken"), ...end]))
      )
      assert.deepStrictEqual(
        events.flatMap((event) =>
          event._tag === "ToolStart"
            ? [`${event.tool}?`]
            : event._tag === "ToolEnd"
            ? [`${event.tool}: ${event.observation}${event.failed ? "!" : ""}`]
            : []
        ),
        ["add?", "add: 3", "broken?", "broken: It did not work. broken: out of order!"]
      )
    }))

  it.effect("has the predictors of DSPy, which become demonstrations", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(react.predictors.map(({ path }) => path), ["react", "extract.predict"])
      assert.deepStrictEqual(react.predictors.map(({ signature }) => Signature.format(signature)), [
        "question, trajectory -> next_thought, next_tool_name: \"add\" | \"broken\" | \"finish\", next_tool_args: JsonRecord",
        "question, trajectory -> reasoning, answer"
      ])
      const [, trace] = yield* Trace.capture(react(ask)).pipe(
        Effect.provide(recording([], [step("add", { a: 1, b: 2 }), ...end]))
      )
      assert.deepStrictEqual(trace.map(({ listed, path }) => [path, listed]), [
        ["react", true],
        ["react", true],
        ["extract.predict", true]
      ])
    }))

  it("refuses tools that cannot be told apart", () => {
    assert.throws(() => ReAct.make("question -> answer", { tools: [add, add] }), /two tools have the same name/)
    const finish = Tool.make("finish", { description: "", parameters: {}, run: () => Effect.void })
    assert.throws(() => ReAct.make("question -> answer", { tools: [finish] }), /no tool can be called "finish"/)
    assert.throws(() => ReAct.make("question -> answer", { tools: [], maxIters: 0 }), /maxIters/)
  })
})

describe("Tool", () => {
  it.effect("ends the program only if it was made to", () =>
    Effect.gen(function*() {
      class Gone extends Schema.TaggedError<Gone>()("Gone", {}) {}
      class Store extends Context.Tag("Store")<Store, { readonly read: Effect.Effect<string, Gone> }>() {}
      const read = Tool.make("read", {
        description: "",
        parameters: {},
        run: () => Effect.flatMap(Store, ({ read }) => read),
        failureMode: "error"
      })
      const react = ReAct.make("question -> answer", { tools: [read] })
      const run = react(ask).pipe(
        Effect.provide(recording([], [step("read"), ...end])),
        Effect.provideService(Store, { read: new Gone() }),
        Effect.flip
      )
      assert.instanceOf(yield* run, Gone)
    }))
})
