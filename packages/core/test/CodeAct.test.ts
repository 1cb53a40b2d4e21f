import * as CodeAct from "@effect-dspy/core/CodeAct"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import * as engine from "./engine.ts"

const piece = (generated_code: string, finished = false) => TestLanguageModel.fields({ generated_code, finished })
const answered = (answer: number) => TestLanguageModel.fields({ reasoning: "as computed", answer })
const ask = { question: "?" }

const model = (...steps: ReadonlyArray<TestLanguageModel.Step>) =>
  Layer.merge(TestLanguageModel.layer(steps), engine.layer())

/** Answers in turn, and keeps what was asked. */
const recorded = (...steps: ReadonlyArray<TestLanguageModel.Step>) => {
  const requests: Array<LanguageModel.Request> = []
  const layer = TestLanguageModel.layer((request) => {
    requests.push(request)
    return steps[requests.length - 1] ?? TestLanguageModel.text("no more")
  })
  return { requests, layer: Layer.merge(layer, engine.layer()), asked: () => requests.map((r) => JSON.stringify(r)) }
}

const solve = CodeAct.make("question -> answer: int")

const lookup = Tool.make("lookup", {
  description: "Looks a number up.",
  parameters: { name: Schema.String },
  run: ({ name }) => name === "nobody" ? Effect.fail("there is no nobody") : Effect.succeed({ number: name.length })
})

describe("CodeAct", () => {
  it("has the predictors of DSPy", () => {
    assert.deepStrictEqual(solve.predictors.map(({ path }) => path), ["codeact", "extractor.predict"])
    assert.deepStrictEqual(Object.keys(solve.predictors[0]!.signature.output.fields), ["generated_code", "finished"])
    assert.deepStrictEqual(Object.keys(solve.predictors[0]!.signature.input.fields), ["question", "trajectory"])
  })

  it.effect("runs code until it is finished, and shows the model what came of it", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded(
        piece("var a = 20; a"),
        piece("console.log('twice'); a * 2 + 2", true),
        answered(42)
      )
      const output = yield* solve(ask).pipe(Effect.provide(layer))
      assert.deepStrictEqual(output, {
        reasoning: "as computed",
        answer: 42,
        trajectory: [
          { round: 1, thought: "", code: "var a = 20; a", observation: "20", failed: false },
          { round: 2, thought: "", code: "console.log('twice'); a * 2 + 2", observation: "twice\n42", failed: false }
        ],
        termination: "finished"
      })
      assert.notInclude(asked()[0]!, "Round 1")
      assert.include(asked()[1]!, "Round 1\\nCode:\\nvar a = 20; a\\nObservation: 20")
      assert.include(asked()[2]!, "twice\\n42")
    }))

  it.effect("takes code between fences", () =>
    Effect.gen(function*() {
      const output = yield* solve(ask).pipe(
        Effect.provide(model(piece("Here it is:\n```js\n1 + 1\n```", true), answered(2)))
      )
      assert.strictEqual(output.trajectory[0]?.code, "1 + 1")
    }))

  it.effect("code that fails is an observation, and the next piece may do better", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded(piece("nothing.here"), piece("7", true), answered(7))
      const { trajectory } = yield* solve(ask).pipe(Effect.provide(layer))
      assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [true, false])
      assert.include(trajectory[0]!.observation, "ReferenceError: nothing is not defined")
      assert.include(asked()[1]!, "ReferenceError")
    }))

  it.effect("an answer without code is told so, and one that is finished needs none", () =>
    Effect.gen(function*() {
      const output = yield* solve(ask).pipe(Effect.provide(model(piece(""), piece("", true), answered(1))))
      assert.deepStrictEqual(output.trajectory, [
        { round: 1, thought: "", code: "", observation: "There was no code to run.", failed: true },
        { round: 2, thought: "", code: "", observation: "", failed: false }
      ])
      assert.strictEqual(output.termination, "finished")
    }))

  it.effect("calls tools with one object; what they fail with is thrown in the code", () =>
    Effect.gen(function*() {
      const agent = CodeAct.make("question -> answer: int", { tools: [lookup] })
      const { asked, layer } = recorded(
        piece("const { number } = await lookup({ name: 'four' }); return number"),
        piece("try { await lookup({ name: 'nobody' }) } catch (error) { return error.message }"),
        piece("return await lookup('four')"),
        piece("return await lookup({ nam: 'four' })", true),
        answered(4)
      )
      const { trajectory } = yield* agent(ask).pipe(Effect.provide(layer))
      assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [false, false, true, true])
      assert.strictEqual(trajectory[0]?.observation, "4")
      assert.include(trajectory[1]?.observation, "there is no nobody")
      assert.include(trajectory[2]?.observation, "lookup takes one object with its arguments: await lookup({ name })")
      assert.include(trajectory[3]?.observation, "ToolError: lookup: these arguments do not fit")
      assert.include(asked()[0]!, "await lookup({ name }): Looks a number up.")
    }))

  it.effect("a result that is no JSON is told to the code, whoever listens", () =>
    Effect.gen(function*() {
      const count = Tool.make("count", { description: "", parameters: {}, run: () => Effect.succeed(1n) })
      const agent = CodeAct.make("question -> answer: int", { tools: [count] })
      for (const listened of [true, false]) {
        const layer = model(piece("await count({})"), piece("1", true), answered(1))
        const asked = listened ? ModuleEvent.listen(agent(ask), { deltas: false, emit: () => Effect.void }) : agent(ask)
        const { trajectory } = yield* Effect.provide(asked, layer)
        assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [true, false])
        assert.include(trajectory[0]?.observation, "count returned what is no JSON")
      }
    }))

  it.effect("a tool has a span of its own, as in a ReAct", () =>
    Effect.gen(function*() {
      let name = ""
      const spanned = Tool.make("spanned", {
        description: "",
        parameters: {},
        run: () => Effect.map(Effect.orDie(Effect.currentSpan), (span) => void (name = span.name))
      })
      const agent = CodeAct.make("question -> answer: int", { tools: [spanned] })
      yield* agent(ask).pipe(Effect.provide(model(piece("await spanned({})", true), answered(1))))
      assert.strictEqual(name, "execute_tool spanned")
    }))

  it.effect("tells of tools as ReAct does", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const agent = CodeAct.make("question -> answer: int", { tools: [lookup] })
      yield* ModuleEvent.listen(agent(ask), {
        deltas: false,
        emit: (events) =>
          Effect.sync(() => {
            for (const event of events) {
              if (event._tag === "ToolStart") {
                heard.push(`${event.use} ${event.tool} ${JSON.stringify(event.arguments)}`)
              }
              if (event._tag === "ToolEnd") heard.push(`${event.use} ${event.observation} ${event.failed}`)
            }
          })
      }).pipe(Effect.provide(model(
        piece("await lookup({ name: 'a' }); try { await lookup({ name: 'nobody' }) } catch {}", true),
        answered(1)
      )))
      assert.deepStrictEqual(heard, [
        `1 lookup {"name":"a"}`,
        `1 {"number":1} false`,
        `2 lookup {"name":"nobody"}`,
        "2 lookup: there is no nobody true"
      ])
    }))

  it.effect("a tool that may end the program does so, and is in its type", () =>
    Effect.gen(function*() {
      class Store extends Context.Tag("Store")<Store, { readonly open: boolean }>() {}
      const strict = Tool.make("store", {
        description: "Stores.",
        parameters: {},
        failureMode: "error",
        run: () => Effect.flatMap(Store, ({ open }) => open ? Effect.succeed("stored") : Effect.fail("closed" as const))
      })
      const agent = CodeAct.make("question -> answer: int", { tools: [strict] })
      const error = yield* Effect.flip(agent(ask)).pipe(
        Effect.provideService(Store, { open: false }),
        Effect.provide(model(piece("await store({})")))
      )
      assert.strictEqual(error, "closed")
    }))

  it.effect("answers from what is known after the last round", () =>
    Effect.gen(function*() {
      const brief = CodeAct.make("question -> answer: int", { maxIters: 2 })
      const output = yield* brief(ask).pipe(Effect.provide(model(piece("1"), piece("2"), answered(3))))
      assert.deepStrictEqual([output.termination, output.trajectory.length, output.answer], ["maxIters", 2, 3])
    }))

  it.effect("takes 5 rounds at most unless told otherwise", () =>
    Effect.gen(function*() {
      const { layer, requests } = recorded(...Array.from({ length: 5 }, (_, n) => piece(`${n}`)), answered(3))
      const output = yield* solve(ask).pipe(Effect.provide(layer))
      assert.deepStrictEqual([output.termination, output.trajectory.length, requests.length], ["maxIters", 5, 6])
    }))

  it.effect("leaves out the oldest rounds when there is no room for all", () =>
    Effect.gen(function*() {
      const full = TestLanguageModel.fail("ContextWindowExceeded")
      const { asked, layer } = recorded(piece("1"), piece("2"), full, piece("3", true), answered(3))
      const { trajectory } = yield* solve(ask).pipe(Effect.provide(layer))
      assert.strictEqual(trajectory.length, 3)
      assert.include(asked()[2]!, "Code:\\n1\\n")
      assert.notInclude(asked()[3]!, "Code:\\n1\\n")
      assert.include(asked()[3]!, "Code:\\n2\\n")
    }))

  it.effect("cuts what is too long to be read, and says how much", () =>
    Effect.gen(function*() {
      const { trajectory } = yield* solve(ask).pipe(
        Effect.provide(model(piece("'x'.repeat(30000)", true), answered(1)))
      )
      assert.isBelow(trajectory[0]!.observation.length, 10_100)
      assert.include(trajectory[0]!.observation, "20000 characters are left out here")
    }))

  it.effect("fails when there is no sandbox", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(solve(ask)).pipe(
        Effect.provide(Layer.merge(TestLanguageModel.layer([piece("1")]), engine.missing))
      )
      assert.strictEqual(error.message, "no engine here")
    }))

  it.effect("gives each call a session of its own", () =>
    Effect.gen(function*() {
      const layer = TestLanguageModel.layer((request) => {
        const text = JSON.stringify(request.messages)
        return text.includes("`finished`")
          ? piece("globalThis.n = (globalThis.n ?? 0) + 1; n", text.includes("Round 1"))
          : answered(text.includes("Observation: 3") ? 3 : 2)
      })
      const outputs = yield* Effect.all(Array.from({ length: 20 }, () => solve(ask)), { concurrency: 20 }).pipe(
        Effect.provide(Layer.merge(layer, engine.layer()))
      )
      for (const { trajectory } of outputs) {
        assert.deepStrictEqual(trajectory.map(({ observation }) => observation), ["1", "2"])
      }
    }))

  it("refuses tools that code could not call, and numbers that are none", () => {
    const dashed = Tool.make("look-up", { description: "", parameters: {}, run: () => Effect.void })
    assert.throws(() => CodeAct.make("question -> answer", { tools: [dashed] }), /cannot call a tool named "look-up"/)
    const reserved = Tool.make("delete", { description: "", parameters: {}, run: () => Effect.void })
    assert.throws(() => CodeAct.make("question -> answer", { tools: [reserved] }), /cannot call a tool named "delete"/)
    assert.throws(() => CodeAct.make("question -> answer", { tools: [lookup, lookup] }), /"lookup" is the name of/)
    assert.throws(() => CodeAct.make("question -> answer", { maxIters: 0 }), /at least 1, not 0/)
    assert.throws(() => CodeAct.make("question -> termination"), /no output can be called "termination"/)
  })
})
