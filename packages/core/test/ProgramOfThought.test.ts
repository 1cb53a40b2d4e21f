import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as ProgramOfThought from "@effect-dspy/core/ProgramOfThought"
import * as Sandbox from "@effect-dspy/core/Sandbox"
import * as SavedProgram from "@effect-dspy/core/SavedProgram"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Either, Fiber, Layer, Schema } from "effect"
import * as engine from "./engine.ts"

const program = (generated_code: string) => TestLanguageModel.fields({ reasoning: "so", generated_code })
const answered = (answer: number) => TestLanguageModel.fields({ reasoning: "as computed", answer })
const ask = { question: "?" }
const solve = ProgramOfThought.make("question -> answer: int")

/** Answers in turn, and keeps what was asked. */
const recorded = (...steps: ReadonlyArray<TestLanguageModel.Step>) => {
  const requests: Array<LanguageModel.Request> = []
  const ran: Array<string> = []
  const model = TestLanguageModel.layer((request) => {
    requests.push(request)
    return steps[requests.length - 1] ?? TestLanguageModel.text("no more")
  })
  return {
    asked: () => requests.map(({ messages }) => messages.map(({ content }) => String(content)).join("\n")),
    layer: Layer.merge(model, engine.layer(ran)),
    ran
  }
}

/** The programs that were run when the model writes these texts. */
const tried = (...texts: ReadonlyArray<string>) =>
  Effect.map(
    solve(ask).pipe(Effect.provide(recorded(...texts.map(program), answered(1)).layer)),
    ({ trajectory }) => trajectory
  )

describe("ProgramOfThought", () => {
  it("has the predictors and fields of DSPy", () => {
    assert.deepStrictEqual(
      solve.predictors.map(({ path, signature }) => [
        path,
        Signature.fields(signature).inputs.map(({ name }) => name),
        Signature.fields(signature).outputs.map(({ name }) => name)
      ]),
      [
        ["code_generate.predict", ["question"], ["reasoning", "generated_code"]],
        ["code_regenerate.predict", ["question", "previous_code", "error"], ["reasoning", "generated_code"]],
        ["generate_output.predict", ["question", "final_generated_code", "code_output"], ["reasoning", "answer"]]
      ]
    )
  })

  it.effect("writes a program, runs it, and answers from the code and what it says", () =>
    Effect.gen(function*() {
      const { asked, layer, ran } = recorded(program("console.log('half'); 6 * 7"), answered(42))
      const output = yield* solve(ask).pipe(Effect.provide(layer))
      assert.deepStrictEqual(output, {
        reasoning: "as computed",
        answer: 42,
        termination: "finished",
        trajectory: [
          { round: 1, thought: "so", code: "console.log('half'); 6 * 7", observation: "half\n42", failed: false }
        ]
      })
      assert.deepStrictEqual(ran, ["console.log('half'); 6 * 7"])
      assert.strictEqual(asked().length, 2)
      assert.include(asked()[1]!, "console.log('half'); 6 * 7")
      assert.include(asked()[1]!, "half\n42")
    }))

  it.effect("code that fails is written again in view of the code and its error", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded(program("console.log('here'); missing"), program("submit(7)"), answered(7))
      const { answer, trajectory } = yield* solve(ask).pipe(Effect.provide(layer))
      assert.strictEqual(answer, 7)
      assert.deepStrictEqual(trajectory, [
        {
          round: 1,
          thought: "so",
          code: "console.log('here'); missing",
          observation: "here\nReferenceError: missing is not defined",
          failed: true
        },
        { round: 2, thought: "so", code: "submit(7)", observation: "7", failed: false }
      ])
      assert.include(asked()[1]!, "console.log('here'); missing")
      assert.include(asked()[1]!, "ReferenceError: missing is not defined")
      assert.notInclude(asked()[2]!, "missing")
    }))

  it.effect("three programs are tried by default, then it answers from the last one", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded(program("a"), program("b"), program("c"), answered(1))
      const { answer, termination, trajectory } = yield* solve(ask).pipe(Effect.provide(layer))
      assert.deepStrictEqual([answer, termination], [1, "maxIters"])
      assert.deepStrictEqual(trajectory.map(({ code, failed }) => [code, failed]), [["a", true], ["b", true], [
        "c",
        true
      ]])
      assert.strictEqual(asked().length, 4)
      assert.include(asked()[3]!, "ReferenceError: c is not defined")
      assert.notInclude(asked()[3]!, "b is not defined")
    }))

  it.effect("an answer that cannot be read is told to whoever writes the next program", () =>
    Effect.gen(function*() {
      const text = TestLanguageModel.text("I had better think.")
      const { asked, layer } = recorded(text, text, program("submit(7)"), answered(7))
      const { termination, trajectory } = yield* solve(ask).pipe(Effect.provide(layer))
      assert.deepStrictEqual([termination, trajectory.length], ["finished", 2])
      assert.include(asked()[2]!, "I had better think.")
      assert.include(asked()[2]!, "Your answer could not be used: ")
      // What is not code is not what was run, should there be nothing better.
      const again = recorded(program("a"), text, text, text, text, answered(1))
      const gaveUp = yield* solve(ask).pipe(Effect.provide(again.layer))
      assert.strictEqual(gaveUp.termination, "unreadable")
      assert.include(again.asked()[5]!, "ReferenceError: a is not defined")
    }))

  it.effect("is over when there is no room for another program, and leaves nothing out in vain", () =>
    Effect.gen(function*() {
      const full = TestLanguageModel.fail("ContextWindowExceeded")
      const { asked, layer } = recorded(program("a"), program("b"), full, answered(1))
      const { answer, termination, trajectory } = yield* solve(ask).pipe(Effect.provide(layer))
      assert.deepStrictEqual([answer, termination, trajectory.length, asked().length], [1, "contextWindow", 2, 4])
    }))

  it.effect("code is taken out of fences, closed or not, and out of what is said around them", () =>
    Effect.gen(function*() {
      for (
        const text of [
          "```js\n1 + 1\n```",
          "```javascript\n1 + 1\n```",
          "```\n1 + 1\n```",
          "~~~js\n1 + 1\n~~~",
          "```js\n1 + 1",
          "Here is the program:\n\n```js\n1 + 1\n```\nIt adds.",
          "```python\nprint(1 + 1)\n```\nor rather\n```js\n1 + 1\n```"
        ]
      ) {
        const steps = yield* tried(text)
        assert.deepStrictEqual(steps.map(({ code, observation }) => [code, observation]), [["1 + 1", "2"]], text)
      }
    }))

  it.effect("what follows a line of dashes is not run", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual((yield* tried("1 + 1\n---\nThis adds."))[0]?.code, "1 + 1")
      assert.deepStrictEqual((yield* tried("let x = 3\nx--\nx"))[0]?.observation, "2")
    }))

  it.effect("empty lines are part of the code, as they are in JavaScript", () =>
    Effect.gen(function*() {
      const [step] = yield* tried("const a = 1\n\n\n\nsubmit(a + 1)")
      assert.strictEqual(step?.observation, "2")
    }))

  it.effect("several assignments in a line are code too", () =>
    Effect.gen(function*() {
      const [step] = yield* tried("let a = 1, b = 2; a = b = 3; a + b")
      assert.strictEqual(step?.observation, "6")
    }))

  it.effect("what the last statement declares is the result", () =>
    Effect.gen(function*() {
      const [step] = yield* tried("const base = 6\nconst answer = [\n  base * 7\n]")
      assert.deepStrictEqual(step, {
        round: 1,
        thought: "so",
        code: "const base = 6\nconst answer = [\n  base * 7\n]",
        observation: "[42]",
        failed: false
      })
      const [assigned] = yield* tried("let x\nx = 5")
      assert.strictEqual(assigned?.observation, "5")
    }))

  it.effect("what only a function declares is no result, and no failure either", () =>
    Effect.gen(function*() {
      const trajectory = yield* tried("function half() {\nconst x = 5\nreturn x\n}\nvoid half()", "submit(5)")
      assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [true, false])
      assert.include(trajectory[0]?.observation, "The program has no result.")
    }))

  it.effect("what is logged is the result, and what is declared then is not", () =>
    Effect.gen(function*() {
      const [step] = yield* tried("const answer = 42\nconsole.log('six by seven'); undefined")
      assert.strictEqual(step?.observation, "six by seven")
    }))

  it.effect("no code, and code that shows nothing, are written again", () =>
    Effect.gen(function*() {
      const steps = yield* tried("", "function f() {}", "submit(1)")
      assert.deepStrictEqual(steps.map(({ failed }) => failed), [true, true, false])
      assert.include(steps[0]?.observation, "no code")
      assert.include(steps[1]?.observation, "End it with submit(value)")
    }))

  it.effect("why a result cannot be shown is told", () =>
    Effect.gen(function*() {
      const model = TestLanguageModel.layer([program("new Map()"), program("1"), answered(1)])
      const results: Array<Sandbox.Result> = [
        { submitted: false, withheld: "a Map", logs: "" },
        { submitted: false, value: 1, logs: "" }
      ]
      const sandbox = Sandbox.make(() =>
        Effect.succeed({ run: () => Effect.succeed(results.shift()!), set: () => Effect.void })
      )
      const { trajectory } = yield* solve(ask).pipe(
        Effect.provide(model),
        Effect.provideService(Sandbox.Sandbox, sandbox)
      )
      assert.include(trajectory[0]!.observation, "it is a Map")
    }))

  it.effect("the code finds the inputs, as JSON", () =>
    Effect.gen(function*() {
      const days = ProgramOfThought.make(Signature.make({
        input: { from: Schema.Date, count: Schema.Number },
        output: { answer: Schema.Number }
      }))
      const { layer } = recorded(program("inputs.from + ' ' + (inputs.count + 1)"), answered(1))
      const { trajectory } = yield* days({ from: new Date(0), count: 2 }).pipe(Effect.provide(layer))
      assert.strictEqual(trajectory[0]?.observation, "1970-01-01T00:00:00.000Z 3")
    }))

  it.effect("a program finds nothing of the one before it", () =>
    Effect.gen(function*() {
      const steps = yield* tried("var left = 1; missing", "typeof left")
      assert.strictEqual(steps[1]?.observation, "undefined")
    }))

  it.effect("a session is closed when its program has run, whatever came of it", () =>
    Effect.gen(function*() {
      let open = 0
      let most = 0
      const sandbox = Sandbox.make(() =>
        Effect.as(
          Effect.acquireRelease(
            Effect.sync(() => {
              most = Math.max(most, ++open)
            }),
            () => Effect.sync(() => open--)
          ),
          {
            run: (code: string) =>
              code === "good"
                ? Effect.succeed({ submitted: true, value: open, logs: "" })
                : new Sandbox.SandboxError({ reason: new Sandbox.TimedOut({ limit: 1 }), logs: "" }),
            set: () => Effect.void
          }
        )
      )
      const { trajectory } = yield* solve(ask).pipe(
        Effect.provide(TestLanguageModel.layer([program("bad"), program("bad"), program("good"), answered(1)])),
        Effect.provideService(Sandbox.Sandbox, sandbox)
      )
      assert.include(trajectory[0]!.observation, "computed for more than 1 ms")
      assert.deepStrictEqual([trajectory.length, open, most], [3, 0, 1])
    }))

  it.effect("interrupted, it leaves no session", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const begun = yield* Deferred.make<void>()
      const sandbox = Sandbox.make(() =>
        Effect.as(Effect.addFinalizer(() => Effect.sync(() => events.push("closed"))), {
          run: () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never),
          set: () => Effect.void
        })
      )
      const fiber = yield* Effect.fork(
        solve(ask).pipe(
          Effect.provide(TestLanguageModel.layer([program("1")])),
          Effect.provideService(Sandbox.Sandbox, sandbox)
        )
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(events, ["closed"])
    }))

  it.effect("a sandbox that cannot be had is a failure, and nothing to write code again for", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        solve(ask).pipe(
          Effect.provide([TestLanguageModel.layer([program("1"), program("1")]), engine.missing])
        )
      )
      assert.instanceOf(error, Sandbox.SandboxError)
      assert.strictEqual(error.message, "no engine here")
    }))

  it.effect("of a long output the model reads both ends", () =>
    Effect.gen(function*() {
      const { asked, layer } = recorded(program("'a'.repeat(20000) + 'the end'"), answered(1))
      const { trajectory } = yield* solve(ask).pipe(Effect.provide(layer))
      assert.isBelow(trajectory[0]!.observation.length, 10_100)
      assert.include(asked()[1]!, "aaa\n… 10007 characters are left out here …\naaa")
      assert.include(asked()[1]!, "the end")
    }))

  it.effect("calls tools, of which the model is told whatever its instructions are", () =>
    Effect.gen(function*() {
      const lookup = Tool.make("lookup", {
        description: "Looks a number up.",
        parameters: { name: Schema.String },
        run: ({ name }) => Effect.succeed(name.length)
      })
      const agent = yield* Module.withParameters(
        ProgramOfThought.make("question -> answer: int", { tools: [lookup] }),
        { "code_generate.predict": { instructions: "Write it well.", demos: [] } }
      )
      const { asked, layer } = recorded(program("submit(await lookup({ name: 'four' }))"), answered(4))
      const { trajectory } = yield* agent(ask).pipe(Effect.provide(layer))
      assert.strictEqual(trajectory[0]?.observation, "4")
      assert.include(asked()[0]!, "Write it well.")
      assert.include(asked()[0]!, "await lookup({ name }): Looks a number up.")
      assert.notInclude(asked()[1]!, "Looks a number up.")
    }))

  it.effect("a tool that may end the program does so", () =>
    Effect.gen(function*() {
      const closed = Tool.make("closed", {
        description: "Never open.",
        parameters: {},
        failureMode: "error",
        run: () => Effect.fail("closed" as const)
      })
      const agent = ProgramOfThought.make("question -> answer: int", { tools: [closed] })
      const error = yield* Effect.flip(
        agent(ask).pipe(Effect.provide(recorded(program("await closed({})"), answered(4)).layer))
      )
      assert.strictEqual(error, "closed")
    }))

  it.effect("many at once do not get into each other's way", () =>
    Effect.gen(function*() {
      const model = TestLanguageModel.layer((request) => {
        const asked = request.messages.map(({ content }) => String(content)).join("\n")
        const [, said] = /code_output ## \]\]\n(\d+)/.exec(asked) ?? []
        return said === undefined ? program("var own = inputs.n * 2; submit(own)") : answered(Number(said))
      })
      const double = ProgramOfThought.make("n: int -> answer: int")
      const outputs = yield* Effect.forEach([1, 2, 3, 4, 5], (n) => double({ n }), { concurrency: "unbounded" }).pipe(
        Effect.provide(Layer.merge(model, engine.layer()))
      )
      assert.deepStrictEqual(outputs.map(({ answer }) => answer), [2, 4, 6, 8, 10])
    }))

  it.effect("streams the fields of all of its predictors", () =>
    Effect.gen(function*() {
      const written = new Map<string, string>()
      yield* solve(ask).pipe(
        ModuleEvent.listen({
          deltas: true,
          emit: (events) =>
            Effect.sync(() => {
              for (const event of events) {
                if (event._tag !== "FieldDelta") continue
                const key = `${event.path} ${event.field}`
                written.set(key, (written.get(key) ?? "") + event.text)
              }
            })
        }),
        Effect.provide(recorded(program("missing"), program("submit(7)"), answered(7)).layer)
      )
      assert.deepStrictEqual([...written], [
        ["code_generate.predict reasoning", "so"],
        ["code_generate.predict generated_code", "missing"],
        ["code_regenerate.predict reasoning", "so"],
        ["code_regenerate.predict generated_code", "submit(7)"],
        ["generate_output.predict reasoning", "as computed"],
        ["generate_output.predict answer", "7"]
      ])
    }))

  it.effect("what was tuned is saved under the names of DSPy, and comes back", () =>
    Effect.gen(function*() {
      const { lost, text } = yield* Module.withParameters(solve, {
        "code_regenerate.predict": { instructions: "Find the mistake.", demos: [] }
      }).pipe(Either.flatMap(SavedProgram.toDspy))
      assert.deepStrictEqual(lost, [])
      assert.deepStrictEqual(Object.keys(JSON.parse(text)), [
        "code_generate.predict",
        "code_regenerate.predict",
        "generate_output.predict",
        "metadata"
      ])
      const { module } = yield* SavedProgram.fromDspy(text, solve)
      const { asked, layer } = recorded(program("missing"), program("submit(7)"), answered(7))
      yield* module(ask).pipe(Effect.provide(layer))
      assert.include(asked()[1]!, "Find the mistake.")
    }))

  it("refuses what cannot be", () => {
    for (const maxIters of [0, -1, 1.5, Number.NaN]) {
      assert.throws(() => ProgramOfThought.make("question -> answer", { maxIters }), RangeError, "maxIters")
    }
    const tool = (name: string) => Tool.make(name, { description: "", parameters: {}, run: () => Effect.succeed(1) })
    assert.throws(() => ProgramOfThought.make("a -> b", { tools: [tool("look-up")] }), RangeError, "look-up")
    assert.throws(() => ProgramOfThought.make("a -> b", { tools: [tool("inputs")] }), RangeError, "inputs")
    assert.throws(() => ProgramOfThought.make("error -> b"), RangeError, "error")
  })
})
