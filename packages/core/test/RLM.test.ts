import * as BestOfN from "@effect-dspy/core/BestOfN"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as RLM from "@effect-dspy/core/RLM"
import * as Sandbox from "@effect-dspy/core/Sandbox"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import * as engine from "./engine.ts"

const piece = (code: string, reasoning = "look") => TestLanguageModel.fields({ reasoning, code })
const input = { log: ["ok", "error", "error"], question: "How many errors?" }
const count = RLM.make("log: string[], question -> errors: int")

/** Answers predictors in turn, prompts of code by `answer`, and keeps what was asked. */
const recorded = (
  steps: ReadonlyArray<TestLanguageModel.Step>,
  answer: (prompt: string) => TestLanguageModel.Step = (prompt) => TestLanguageModel.text(`read: ${prompt}`)
) => {
  const requests: Array<LanguageModel.Request> = []
  const prompts: Array<LanguageModel.Request> = []
  const model = TestLanguageModel.layer((request) => {
    const [first] = request.messages
    if (request.messages.length === 1 && first?.role === "user") {
      prompts.push(request)
      return answer(String(first.content))
    }
    requests.push(request)
    return steps[requests.length - 1] ?? TestLanguageModel.text("no more")
  })
  return {
    prompts,
    asked: () => requests.map(({ messages }) => JSON.stringify(messages)),
    layer: Layer.merge(model, engine.layer())
  }
}

describe("RLM", () => {
  it("has the predictors of DSPy", () => {
    assert.deepStrictEqual(count.predictors.map(({ path }) => path), ["generate_action", "extract"])
    const [action, extract] = count.predictors
    assert.deepStrictEqual(Object.keys(action!.signature.input.fields), ["variables_info", "repl_history", "iteration"])
    assert.deepStrictEqual(Object.keys(action!.signature.output.fields), ["reasoning", "code"])
    assert.deepStrictEqual(Object.keys(extract!.signature.input.fields), ["variables_info", "repl_history"])
    assert.deepStrictEqual(Object.keys(extract!.signature.output.fields), ["errors"])
  })

  it.effect("inputs are variables; what is declared stays; outputs are submitted", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded([
        piece("var found = log.filter((line) => line === 'error'); found"),
        piece("submit({ errors: found.length })", "done")
      ])
      const output = yield* count(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual(output, {
        reasoning: "done",
        errors: 2,
        trajectory: [
          {
            round: 1,
            thought: "look",
            code: "var found = log.filter((line) => line === 'error'); found",
            observation: `["error","error"]`,
            failed: false
          },
          {
            round: 2,
            thought: "done",
            code: "submit({ errors: found.length })",
            observation: `{"errors":2}`,
            failed: false
          }
        ],
        termination: "submitted"
      })
      assert.include(asked()[0]!, "log: string[], 3 items, 22 characters as JSON")
      assert.include(asked()[0]!, "Nothing has run yet.")
      assert.include(asked()[0]!, "1/20")
      assert.include(asked()[1]!, "2/20")
      assert.include(asked()[1]!, "Thought: look")
    }))

  it.effect("the model sees the beginning and the end of a long input, the code all of it", () =>
    Effect.gen(function*() {
      const read = RLM.make("text, question -> answer: int")
      const { asked, layer } = recorded([piece("submit({ answer: text.length })")])
      const text = `first ${"x".repeat(3_000_000)} last`
      const output = yield* read({ text, question: "?" }).pipe(Effect.provide(layer))
      assert.strictEqual(output.answer, text.length)
      assert.include(asked()[0]!, "3000011 characters")
      assert.include(asked()[0]!, "first xxx")
      assert.include(asked()[0]!, "xxx last")
      assert.include(asked()[0]!, "2999011 characters are left out here")
      assert.isBelow(asked()[0]!.length, 10_000)
    }))

  it.effect("code asks a model about parts, one by one and side by side", () =>
    Effect.gen(function*() {
      const { layer, prompts } = recorded([
        piece("return await llmQuery('one')"),
        piece("return await llmQueryBatched(['two', 'three'])"),
        piece("submit({ errors: 1 })")
      ])
      const { trajectory } = yield* count(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual(trajectory.slice(0, 2).map(({ observation }) => observation), [
        "read: one",
        `["read: two","read: three"]`
      ])
      assert.strictEqual(prompts.length, 3)
    }))

  it.effect("a model that fails throws in the code, and is an item of a list", () =>
    Effect.gen(function*() {
      const { layer } = recorded([
        piece("try { await llmQuery('bad') } catch (error) { return error.name + ': ' + error.message }"),
        piece("return await llmQueryBatched(['good', 'bad'])"),
        piece("return await llmQuery('bad')"),
        piece("submit({ errors: 1 })")
      ], (prompt) => prompt === "bad" ? TestLanguageModel.fail("Overloaded") : TestLanguageModel.text("fine"))
      const { trajectory } = yield* count(input).pipe(Effect.provide(layer))
      assert.match(trajectory[0]!.observation, /^ModelError: .*Overloaded/)
      assert.match(trajectory[1]!.observation, /^\["fine","\[ERROR\] .*Overloaded.*"\]$/)
      assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [false, false, true, false])
    }))

  it.effect("answers no more prompts than it may, and asks for none of a list that is too long", () =>
    Effect.gen(function*() {
      const few = RLM.make("log: string[], question -> errors: int", { maxQueries: 2 })
      const { layer, prompts } = recorded([
        piece("return await llmQueryBatched(['1', '2', '3'])"),
        piece("return await llmQuery('1')"),
        piece("return await llmQueryBatched(['2', '3'])"),
        piece("submit({ errors: 0 })")
      ])
      const { trajectory } = yield* few(input).pipe(Effect.provide(layer))
      assert.include(trajectory[0]!.observation, "3 prompts are more than the 2 of 2 that are left")
      assert.include(trajectory[2]!.observation, "2 prompts are more than the 1 of 2 that are left")
      assert.strictEqual(prompts.length, 1)
      // For each run anew.
      const again = recorded([piece("return await llmQuery('1')"), piece("submit({ errors: 0 })")])
      yield* few(input).pipe(Effect.provide(again.layer))
      assert.strictEqual(again.prompts.length, 1)
    }))

  it.effect("counts prompts that are asked at the same time one by one", () =>
    Effect.gen(function*() {
      const few = RLM.make("log: string[], question -> errors: int", { maxQueries: 2 })
      const { layer, prompts } = recorded([
        piece(`
          const asked = await Promise.allSettled(["1", "2", "3", "4"].map((prompt) => llmQuery(prompt)))
          return asked.map(({ status }) => status)
        `),
        piece("submit({ errors: 0 })")
      ])
      const { trajectory } = yield* few(input).pipe(Effect.provide(layer))
      assert.strictEqual(trajectory[0]!.observation, `["fulfilled","fulfilled","rejected","rejected"]`)
      assert.strictEqual(prompts.length, 2)
    }))

  it.effect("prompts belong to the program: they have its settings and are of its sample", () =>
    Effect.gen(function*() {
      const answers = [piece("return await llmQuery('?')"), piece("submit({ errors: 1 })")]
      const { layer, prompts } = recorded([...answers, ...answers])
      const best = BestOfN.make(Module.withSettings(count, { seed: 7 }), {
        n: 2,
        reward: (_, { errors }) => Effect.succeed(errors)
      })
      yield* best(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual(prompts.map(({ settings }) => settings), [
        { seed: 7 },
        { seed: 7, temperature: 1, rollout: "attempt 2" }
      ])
    }))

  it.effect("functions say what they take, and the next piece may do better", () =>
    Effect.gen(function*() {
      const { layer, prompts } = recorded([
        piece("return await llmQuery(1)"),
        piece("return await llmQuery()"),
        piece("return await llmQueryBatched('one')"),
        piece("return await llmQueryBatched(['one', 2])"),
        piece("return await llmQueryBatched([])"),
        piece("submit({ errors: 0 })")
      ])
      const { trajectory } = yield* count(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual(
        trajectory.map(({ failed, observation }) => failed ? observation : JSON.parse(observation)),
        [
          "TypeError: llmQuery takes a text",
          "TypeError: llmQuery takes a text",
          "TypeError: llmQueryBatched takes a list of texts",
          "TypeError: llmQueryBatched takes a list of texts",
          [],
          { errors: 0 }
        ]
      )
      assert.lengthOf(prompts, 0)
    }))

  it.effect("tools give lists, records, texts and nothing, and take one object", () =>
    Effect.gen(function*() {
      const tool = <A>(name: string, result: A) =>
        Tool.make(name, {
          description: "",
          parameters: { n: Schema.optional(Schema.Int) },
          run: () => Effect.succeed(result)
        })
      const agent = RLM.make("log: string[], question -> errors: int", {
        tools: [
          tool("list", [1, "b", null]),
          tool("record", { a: { b: [true] } }),
          tool("text", "t"),
          tool("none", null)
        ]
      })
      const { layer } = recorded([
        piece("const [one] = await list({ n: 1 }); return one"),
        piece("return (await record()).a.b[0]"),
        piece("return (await text({})).length"),
        piece("return [await none({})]"),
        piece("return await list(1)"),
        piece("return await list({}, {})"),
        piece("submit({ errors: 0 })")
      ])
      const { trajectory } = yield* agent(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual(trajectory.slice(0, 4).map(({ observation }) => observation), ["1", "true", "1", "[null]"])
      for (const { failed, observation } of trajectory.slice(4, 6)) {
        assert.isTrue(failed)
        assert.include(observation, "list takes one object with its arguments: await list({ n })")
      }
    }))

  it.effect("takes code between fences", () =>
    Effect.gen(function*() {
      const { layer } = recorded([
        piece("I look first.\n```javascript\nlog.length\n```"),
        piece("```\nsubmit({ errors: 2 })\n```")
      ])
      const { errors, trajectory } = yield* count(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual([errors, ...trajectory.map(({ code }) => code)], [
        2,
        "log.length",
        "submit({ errors: 2 })"
      ])
    }))

  it.effect("code in another language is an observation", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded([
        piece("```python\nprint(len(log))\n```"),
        piece("```python\nfor line in log: print(line)\n```"),
        piece("submit({ errors: 2 })")
      ])
      const { errors, trajectory } = yield* count(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual([errors, ...trajectory.map(({ failed }) => failed)], [2, true, true, false])
      assert.include(trajectory[1]!.observation, "SyntaxError")
      assert.include(asked()[1]!, "print is not defined")
    }))

  it.effect("prompts may be answered by another model", () =>
    Effect.gen(function*() {
      const small = yield* Layer.build(TestLanguageModel.layer([TestLanguageModel.text("from the small one")]))
      const cheap = RLM.make("log: string[], question -> errors: int", { queryModel: small })
      const { layer, prompts } = recorded([piece("return await llmQuery('?')"), piece("submit({ errors: 0 })")])
      const { trajectory } = yield* cheap(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual([trajectory[0]!.observation, prompts.length], ["from the small one", 0])
    }).pipe(Effect.scoped))

  it.effect("what does not fit the outputs is told, and may be submitted again", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded([
        piece("console.log('two?'); submit({ errors: 'many' })"),
        piece("submit({})"),
        piece("submit({ errors: 1, warnings: 2 })"),
        piece("submit(2)"),
        piece("submit({ errors: 2 })")
      ])
      const { errors, trajectory } = yield* count(input).pipe(Effect.provide(layer))
      assert.strictEqual(errors, 2)
      assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [true, true, true, true, false])
      assert.include(trajectory[0]!.observation, `two?\nsubmit: what was submitted are not the outputs: field "errors"`)
      assert.include(trajectory[1]!.observation, "errors")
      assert.include(trajectory[2]!.observation, "warnings is no output")
      assert.include(trajectory[3]!.observation, `submit: it takes one object, with "errors"`)
      assert.include(asked()[1]!, "are not the outputs")
    }))

  it.effect("decodes what is submitted as an answer is decoded", () =>
    Effect.gen(function*() {
      const when = RLM.make(Signature.make({
        input: { text: Schema.String },
        output: { day: Schema.Date, kind: Schema.Literal("due", "paid") }
      }))
      const { layer } = recorded([piece(`submit({ day: "2026-02-03T00:00:00Z", kind: "due" })`)])
      const { day, kind } = yield* when({ text: "…" }).pipe(Effect.provide(layer))
      assert.deepStrictEqual([day.toISOString(), kind], ["2026-02-03T00:00:00.000Z", "due"])
    }))

  it.effect("code that fails is an observation", () =>
    Effect.gen(function*() {
      const { layer } = recorded([piece("console.log('so far'); nothing.here"), piece("submit({ errors: 0 })")])
      const { trajectory } = yield* count(input).pipe(Effect.provide(layer))
      assert.include(trajectory[0]!.observation, "so far\nReferenceError: nothing is not defined")
      assert.isTrue(trajectory[0]!.failed)
    }))

  it.effect("takes 20 rounds, 50 prompts and 10,000 characters at most unless told otherwise", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded([
        piece("return await llmQueryBatched(Array.from({ length: 51 }, () => '?'))"),
        piece("'x'.repeat(10_001)"),
        ...Array.from({ length: 18 }, () => piece("0")),
        TestLanguageModel.fields({ errors: 1 })
      ])
      const { termination, trajectory } = yield* count(input).pipe(Effect.provide(layer))
      assert.include(trajectory[0]!.observation, "51 prompts are more than the 50 of 50 that are left")
      assert.include(trajectory[1]!.observation, "1 characters are left out here")
      assert.deepStrictEqual([termination, trajectory.length, asked().length], ["maxIters", 20, 21])
    }))

  it.effect("makes the outputs of what is known when the rounds are over", () =>
    Effect.gen(function*() {
      const brief = RLM.make("log: string[], question -> errors: int", { maxIters: 2 })
      const { asked, layer } = recorded([piece("1"), piece("2"), TestLanguageModel.fields({ errors: 5 })])
      const output = yield* brief(input).pipe(Effect.provide(layer))
      assert.deepStrictEqual([output.errors, output.termination, output.trajectory.length], [5, "maxIters", 2])
      assert.include(asked()[2]!, "Round 2")
    }))

  it.effect("cuts what is too long to be read", () =>
    Effect.gen(function*() {
      const short = RLM.make("log: string[], question -> errors: int", { maxOutput: 100 })
      const { layer } = recorded([piece("'x'.repeat(1000)"), piece("submit({ errors: 0 })")])
      const { trajectory } = yield* short(input).pipe(Effect.provide(layer))
      assert.include(trajectory[0]!.observation, "900 characters are left out here")
    }))

  it.effect("tells of prompts and tools, and of what they cost", () =>
    Effect.gen(function*() {
      const shout = Tool.make("shout", {
        description: "Shouts.",
        parameters: { text: Schema.String },
        run: ({ text }) => Effect.succeed(text.toUpperCase())
      })
      const agent = RLM.make("log: string[], question -> errors: int", { tools: [shout] })
      const { layer } = recorded([
        piece("return await shout({ text: await llmQuery('a') })"),
        piece("submit({ errors: 0 })")
      ], () => TestLanguageModel.withUsage(TestLanguageModel.text("b"), { inputTokens: 7 }))
      const heard: Array<string> = []
      const { trajectory } = yield* ModuleEvent.listen(agent(input), {
        deltas: false,
        emit: (events) =>
          Effect.sync(() => {
            for (const event of events) {
              if (event._tag === "ToolStart") heard.push(event.tool)
              if (event._tag === "UsageReported" && event.usage.inputTokens === 7) heard.push("7 tokens")
            }
          })
      }).pipe(Effect.provide(layer))
      assert.strictEqual(trajectory[0]!.observation, "B")
      assert.deepStrictEqual(heard, ["llmQuery", "7 tokens", "shout"])
    }))

  it.effect("fails for inputs that do not fit, before anything is asked, and when there is no sandbox", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded([])
      // @ts-expect-error: the log is missing
      const error = yield* Effect.flip(count({ question: "?" })).pipe(Effect.provide(layer))
      assert.deepStrictEqual([error._tag, asked().length], ["InvalidInput", 0])
      const missing = yield* Effect.flip(count(input)).pipe(
        Effect.provide(Layer.merge(TestLanguageModel.layer([]), engine.missing))
      )
      assert.strictEqual(missing._tag, "SandboxError")
    }))

  it.effect("inputs and prompts have room in the sandbox, however many there are", () =>
    Effect.gen(function*() {
      const given: Array<Sandbox.Limits> = []
      const sandbox = Sandbox.make((_, limits) => {
        given.push(limits)
        return Effect.succeed({
          run: () => Effect.succeed({ value: { answer: "a" }, submitted: true, logs: "" }),
          set: () => Effect.void
        })
      })
      const ask = RLM.make("text -> answer", { maxQueries: 1000 })
      for (const length of [0, 4_000_000, 20_000_000]) {
        yield* ask({ text: "x".repeat(length) }).pipe(
          Effect.provideService(Sandbox.Sandbox, sandbox),
          Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ reasoning: "r", code: "submit(…)" })]))
        )
      }
      assert.deepStrictEqual(given.map(({ memory }) => memory), [2 ** 26, 2 ** 26, 2 ** 29])
      assert.isTrue(given.every(({ calls }) => calls >= 1000))
    }))

  it("refuses names that have a meaning of their own, and numbers that are none", () => {
    assert.throws(() => RLM.make("submit -> answer"), /no input can be called "submit"/)
    assert.throws(() => RLM.make("llmQuery -> answer"), /no input can be called "llmQuery"/)
    assert.throws(() => RLM.make("class -> answer"), /no input can be called "class"/)
    assert.throws(() => RLM.make("question -> trajectory"), /no output can be called "trajectory"/)
    const tool = Tool.make("question", { description: "", parameters: {}, run: () => Effect.void })
    assert.throws(() => RLM.make("question -> answer", { tools: [tool] }), /"question" is the name of another/)
    for (const name of ["llmQuery", "llmQueryBatched", "submit", "console", "await", "look-up"]) {
      const tool = Tool.make(name, { description: "", parameters: {}, run: () => Effect.void })
      assert.throws(() => RLM.make("question -> answer", { tools: [tool] }), RangeError, `"${name}"`)
    }
    assert.throws(() => RLM.make("question -> termination"), /no output can be called "termination"/)
    for (const bound of ["maxQueries", "maxIters", "maxOutput"]) {
      for (const value of [0, -1, 1.5, Number.NaN]) {
        assert.throws(() => RLM.make("question -> answer", { [bound]: value }), `${bound} must be a whole number`)
      }
    }
  })
})
