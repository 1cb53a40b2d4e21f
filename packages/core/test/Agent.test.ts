/** What the modules that work in rounds have in common: the same questions to each of them. */
import type * as Adapter from "@effect-dspy/core/Adapter"
import type * as Agent from "@effect-dspy/core/Agent"
import * as CodeAct from "@effect-dspy/core/CodeAct"
import type * as Json from "@effect-dspy/core/Json"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import type * as Predict from "@effect-dspy/core/Predict"
import * as ProgramOfThought from "@effect-dspy/core/ProgramOfThought"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as RLM from "@effect-dspy/core/RLM"
import * as Sandbox from "@effect-dspy/core/Sandbox"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Schema, Stream } from "effect"
import * as engine from "./engine.ts"
import { asked, contentOf, native, recording, text } from "./ways.ts"

// =============================================================================
// The agents
// =============================================================================

interface Answer {
  readonly answer: number
  readonly trajectory: ReadonlyArray<Agent.ToolStep | Agent.CodeStep>
  readonly termination: Agent.Termination
}

type Asked<Tools extends ReadonlyArray<Tool.Any>> = Module.Module<
  { readonly question: string },
  Answer,
  Predict.PredictError | Sandbox.SandboxError | Tool.Error<Tools[number]>,
  LanguageModel.LanguageModel | Sandbox.Sandbox | Tool.Requirements<Tools[number]>
>

interface Row {
  readonly name: string
  readonly make: <const Tools extends ReadonlyArray<Tool.Any>>(
    options: Agent.CodeOptions<Tools> & { readonly tools: Tools }
  ) => Asked<Tools>
  /** The same for another signature. */
  readonly over: (signature: Signature.Any) => Module.Any
  /** The same with a conversation among its inputs. */
  readonly chat: Module.Module<
    { readonly history: ReadonlyArray<Json.JsonRecord>; readonly question: string },
    Answer,
    Predict.PredictError | Sandbox.SandboxError,
    LanguageModel.LanguageModel | Sandbox.Sandbox
  >
  /** An answer that uses the tool `probe`. */
  readonly probe: TestLanguageModel.Answer
  /** An answer after which the rounds go on. */
  readonly more: TestLanguageModel.Answer
  readonly unreadable: ReadonlyArray<TestLanguageModel.Answer>
  /** Answers that end it with 7. */
  readonly end: ReadonlyArray<TestLanguageModel.Answer>
  readonly ended: Agent.Termination
  readonly done: keyof Agent.ToolStep | keyof Agent.CodeStep
  /** Whether the model is shown all rounds, and not the last one only. */
  readonly isTold: boolean
}

const extracted = TestLanguageModel.fields({ reasoning: "as known", answer: 7 })
const unread = [TestLanguageModel.text("I had better think."), TestLanguageModel.text("I had better think.")]

const conversation = "history: History, question -> answer: int"

const react = ({ step, toolCalls, unreadable }: typeof native): Row => ({
  name: `ReAct, ${toolCalls}`,
  make: ({ sandbox: _, ...options }) => ReAct.make("question -> answer: int", { ...options, toolCalls }),
  over: (signature) => ReAct.make(signature, { tools: [], toolCalls }),
  chat: ReAct.make(conversation, { tools: [], toolCalls }),
  probe: step("probe"),
  more: step("nothing"),
  unreadable,
  end: [step("submit", { answer: 7 })],
  ended: "submitted",
  done: "tool",
  isTold: true
})

const coded = { unreadable: unread, done: "code" } as const

const table: ReadonlyArray<Row> = [
  react(native),
  react(text),
  {
    ...coded,
    name: "ProgramOfThought",
    make: (options) => ProgramOfThought.make("question -> answer: int", options),
    over: (signature) => ProgramOfThought.make(signature),
    chat: ProgramOfThought.make(conversation),
    probe: TestLanguageModel.fields({ reasoning: "so", generated_code: "return await probe()" }),
    more: TestLanguageModel.fields({ reasoning: "so", generated_code: "nothing" }),
    end: [TestLanguageModel.fields({ reasoning: "so", generated_code: "submit(7)" }), extracted],
    ended: "finished",
    isTold: false
  },
  {
    ...coded,
    name: "CodeAct",
    make: (options) => CodeAct.make("question -> answer: int", options),
    over: (signature) => CodeAct.make(signature),
    chat: CodeAct.make(conversation),
    probe: TestLanguageModel.fields({ generated_code: "return await probe()", finished: false }),
    more: TestLanguageModel.fields({ generated_code: "nothing", finished: false }),
    end: [TestLanguageModel.fields({ generated_code: "7", finished: true }), extracted],
    ended: "finished",
    isTold: true
  },
  {
    ...coded,
    name: "RLM",
    make: (options) => RLM.make("question -> answer: int", options),
    over: (signature) => RLM.make(signature),
    chat: RLM.make(conversation),
    probe: TestLanguageModel.fields({ reasoning: "so", code: "return await probe()" }),
    more: TestLanguageModel.fields({ reasoning: "so", code: "nothing" }),
    end: [TestLanguageModel.fields({ reasoning: "so", code: "submit({ answer: 7 })" })],
    ended: "submitted",
    isTold: true
  }
]

const ask = { question: "?" }

const probing = <A, E>(run: Effect.Effect<A, E>) =>
  Tool.make("probe", { description: "", parameters: {}, run: () => run })

const full = TestLanguageModel.fail("ContextWindowExceeded")

describe.each(table)("$name", ({ chat, done, end, ended, isTold, make, more, name, over, probe, unreadable }) => {
  const module = make({ tools: [probing(Effect.succeed("seen"))] })

  const run = (
    answers: ReadonlyArray<TestLanguageModel.Step>,
    self: Asked<ReadonlyArray<Tool.Tool<string, {}, unknown>>> = module,
    sessions = { open: 0 }
  ) => {
    const requests: Array<LanguageModel.Request> = []
    return Effect.map(
      self(ask).pipe(Effect.provide(Layer.merge(recording(requests, answers), engine.layer([], sessions)))),
      (output) => ({ output, requests, ...output })
    )
  }

  it.effect("answers with the outputs, its reasoning, how it came to know, and why it ended", () =>
    Effect.gen(function*() {
      const { output, trajectory } = yield* run([more, ...end])
      assert.sameMembers(Object.keys(output), ["reasoning", "answer", "trajectory", "termination"])
      assert.deepInclude(output, { answer: 7, termination: ended })
      assert.deepStrictEqual(trajectory.map(({ failed, round }) => [round, failed]), [[1, true], [2, false]])
      for (const step of trajectory) {
        const own = done === "tool" ? ["tool", "arguments"] : [done]
        assert.sameMembers(Object.keys(step), ["round", "thought", ...own, "observation", "failed"])
      }
    }))

  it.effect("tells the model that its answer could not be read, once in a row", () =>
    Effect.gen(function*() {
      const { requests, termination, trajectory } = yield* run([
        ...unreadable,
        more,
        ...unreadable,
        ...end
      ], make({ tools: [], maxIters: 9 }))
      assert.strictEqual(termination, ended)
      assert.deepStrictEqual(trajectory.map(({ failed, round }) => [round, failed]), [
        [1, true],
        [2, true],
        [3, true],
        [4, false]
      ])
      const [first] = trajectory
      assert.include(first?.observation, "Your answer could not be used: ")
      assert.include(asked(requests[unreadable.length]), first!.observation)
      const did = first === undefined ? undefined : "code" in first ? first.code : first.tool
      assert.strictEqual(did, "")
    }))

  it.effect("makes the outputs of what is known after two answers in a row that cannot be read", () =>
    Effect.gen(function*() {
      const { output, termination, trajectory } = yield* run([more, ...unreadable, ...unreadable, extracted])
      assert.deepStrictEqual([termination, trajectory.length], ["unreadable", 3])
      assert.deepInclude(output, { answer: 7 })
    }))

  it.effect("makes them of what is known when there is no more room, or there were enough rounds", () =>
    Effect.gen(function*() {
      const noRoom = yield* run([more, full, extracted])
      assert.deepStrictEqual([noRoom.termination, noRoom.trajectory.length, noRoom.requests.length], [
        "contextWindow",
        1,
        3
      ])
      const brief = yield* run([more, more, extracted], make({ tools: [], maxIters: 2 }))
      assert.deepStrictEqual([brief.termination, brief.trajectory.length, brief.requests.length], ["maxIters", 2, 3])
      assert.deepInclude(brief.output, { answer: 7 })
    }))

  it.effect("leaves out the oldest rounds first, and calls the others by their numbers", () =>
    Effect.gen(function*() {
      const { requests, termination } = yield* run([more, more, full, ...(isTold ? end : [extracted])])
      assert.strictEqual(termination, isTold ? ended : "contextWindow")
      if (!isTold || name === "ReAct, native") return
      assert.include(asked(requests[2]), "Round 1")
      assert.notInclude(asked(requests[3]), "Round 1")
      assert.include(asked(requests[3]), "Round 2")
    }))

  it.effect("fails where there is no room for the outputs either", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(run([full, full]))
      assert.isTrue(LanguageModelError.isLanguageModelError(error))
    }))

  it.effect("fails as the model does, whatever it was asked, and for want of a budget", () =>
    Effect.gen(function*() {
      for (const reason of ["Overloaded", "BudgetExceeded"] as const) {
        for (
          const answers of [
            [TestLanguageModel.fail(reason)],
            [more, TestLanguageModel.fail(reason)],
            [more, full, TestLanguageModel.fail(reason)]
          ]
        ) {
          const sessions = { open: 0 }
          const error = yield* Effect.flip(run(answers, module, sessions))
          assert.strictEqual(LanguageModelError.isLanguageModelError(error) ? error.reason._tag : error, reason)
          assert.strictEqual(sessions.open, 0)
        }
      }
      const cut = yield* Effect.flip(run([TestLanguageModel.finish(probe, "length")]))
      assert.strictEqual(cut._tag, "OutputTruncated")
      const refused = yield* Effect.flip(run([TestLanguageModel.finish(probe, "refusal")]))
      assert.strictEqual(refused._tag, "Refused")
    }))

  it.effect("fails with what a tool fails with that was made to end it", () =>
    Effect.gen(function*() {
      for (const failure of ["closed", null, undefined, 0, { _tag: "Closed" }]) {
        const strict = Tool.make("probe", {
          description: "",
          parameters: {},
          failureMode: "error",
          run: () => Effect.fail(failure)
        })
        const sessions = { open: 0 }
        const strictly = make({ tools: [strict] })
        const error = yield* Effect.flip(
          strictly(ask).pipe(Effect.provide(Layer.merge(recording([], [probe]), engine.layer([], sessions))))
        )
        assert.deepStrictEqual([error, sessions.open], [failure, 0])
      }
    }))

  it.effect("fails for an input that does not fit, before anything is asked", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      // @ts-expect-error the question is missing
      const error = yield* Effect.flip(module({})).pipe(
        Effect.provide(Layer.merge(recording(requests, []), engine.layer()))
      )
      assert.strictEqual(error._tag, "InvalidInput")
      assert.lengthOf(requests, 0)
    }))

  it.effect("shows as much of an observation as it may", () =>
    Effect.gen(function*() {
      const long = make({
        tools: [probing(Effect.succeed(`begin ${"x".repeat(1000)} end`))],
        maxOutput: 100
      })
      const { trajectory } = yield* run([
        probe,
        ...(name === "ProgramOfThought" ? [extracted] : end)
      ], long)
      const [{ observation } = { observation: "" }] = trajectory
      assert.match(observation, /^begin x+\n… 910 characters are left out here …\nx+ end$/)
    }))

  it.effect("shows no half of a character", () =>
    Effect.gen(function*() {
      for (const before of ["", "x"]) {
        const long = make({ tools: [probing(Effect.succeed(before + "😀".repeat(100)))], maxOutput: 50 })
        const { trajectory } = yield* run([
          probe,
          ...(name === "ProgramOfThought" ? [extracted] : end)
        ], long)
        const [{ observation } = { observation: "" }] = trajectory
        assert.include(observation, "left out here")
        assert.notMatch(observation, /\p{Surrogate}/u)
      }
    }))

  it.effect("goes on with a conversation, and knows what it answered then", () =>
    Effect.gen(function*() {
      const run = (adapter?: Adapter.Adapter) => {
        const requests: Array<LanguageModel.Request> = []
        const asked = adapter === undefined ? chat : Module.withAdapter(chat, adapter)
        return asked({ history: [{ question: "How many?", answer: 4321 }], question: "And now?" }).pipe(
          Effect.provide(Layer.merge(recording(requests, end), engine.layer())),
          Effect.as(requests)
        )
      }
      for (const adapter of [undefined, JsonAdapter.adapter]) {
        for (const request of yield* run(adapter)) {
          const messages = request.messages.map(contentOf)
          assert.include(messages.join("\n"), "4321")
          assert.include(messages.at(-1), name === "RLM" ? "history" : "And now?")
          if (name === "RLM") continue
          assert.deepStrictEqual(request.messages.map(({ role }) => role).slice(0, 4), [
            "system",
            "user",
            "assistant",
            "user"
          ])
          assert.include(messages[2], "4321")
        }
      }
    }))

  it.effect("tells of its tools", () =>
    Effect.gen(function*() {
      const events: Array<ModuleEvent.Emitted> = []
      yield* run([probe, ...(name === "ProgramOfThought" ? [extracted] : end)]).pipe(
        ModuleEvent.listen({ deltas: false, emit: (more) => Effect.sync(() => events.push(...more)) })
      )
      const told = events.filter(({ _tag }) => _tag === "ToolStart" || _tag === "ToolEnd")
      const source = { path: "", call: 1, use: 1, tool: "probe" }
      assert.deepStrictEqual(told, [
        { _tag: "ToolStart", ...source, arguments: {} },
        { _tag: "ToolEnd", ...source, observation: "seen", failed: false }
      ])
    }))

  it.effect("interrupted while a tool runs, closes what the tool has opened", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const sessions = { open: 0 }
      let open = 0
      const hanging = make({
        tools: [probing(
          Effect.acquireUseRelease(
            Effect.sync(() => open++),
            () => Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never),
            () => Effect.sync(() => open--)
          )
        )]
      })
      const fiber = yield* Effect.fork(run([probe], hanging, sessions))
      yield* Deferred.await(reached)
      assert.strictEqual(open, 1)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual([open, sessions.open], [0, 0])
    }))

  it.effect("interrupted while the model writes, closes its stream", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const sessions = { open: 0 }
      let open = 0
      const hanging = TestLanguageModel.deltas(
        Stream.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--)).pipe(
          Stream.flatMap(() =>
            Stream.concat(
              Stream.make({ _tag: "TextDelta" as const, index: 0, text: "I " }),
              Stream.fromEffect(Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never))
            )
          )
        )
      )
      const fiber = yield* Effect.fork(
        run([more, hanging], module, sessions).pipe(
          ModuleEvent.listen({ deltas: true, emit: () => Effect.void })
        )
      )
      yield* Deferred.await(reached)
      assert.strictEqual(open, 1)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual([open, sessions.open], [0, 0])
    }))

  it("refuses outputs that every answer has beside its own, and limits that are none", () => {
    for (const output of ["reasoning", "trajectory", "termination"]) {
      assert.throws(
        () => over(Signature.make({ input: { question: Schema.String }, output: { [output]: Schema.String } })),
        RangeError,
        `no output can be called "${output}"`
      )
    }
    for (const limit of ["maxIters", "maxOutput"]) {
      for (const value of [0, -1, 1.5, Number.NaN]) {
        assert.throws(
          () => make({ tools: [], [limit]: value }),
          RangeError,
          `${limit} must be a whole number of at least 1, not ${value}`
        )
      }
    }
  })
})

// =============================================================================
// Those that run code
// =============================================================================

describe.each(table.filter(({ done }) => done === "code"))("$name in a sandbox", ({ make, more, name }) => {
  const code = (run: Sandbox.Machine["run"], given: Array<Sandbox.Limits> = [], sessions = { open: 0 }) =>
    Layer.succeed(
      Sandbox.Sandbox,
      Sandbox.make((_, limits) => {
        given.push(limits)
        return Effect.as(
          Effect.acquireRelease(Effect.sync(() => sessions.open++), () => Effect.sync(() => sessions.open--)),
          { run, set: () => Effect.void }
        )
      })
    )

  it.effect("has the limits that were chosen", () =>
    Effect.gen(function*() {
      const given: Array<Sandbox.Limits> = []
      const submitted = code(() => Effect.succeed({ value: { answer: 7 }, submitted: true, logs: "" }), given)
      const answers = [more, ...(name === "RLM" ? [] : [extracted])]
      const sandbox = { timeout: "2 seconds", memory: 2 ** 24, calls: 3 } as const
      for (const limits of [{ sandbox }, {}]) {
        yield* make({ tools: [], maxIters: 1, ...limits })(ask).pipe(
          Effect.provide([recording([], answers), submitted])
        )
      }
      assert.deepStrictEqual(given, [
        { timeout: 2000, memory: 2 ** 24, calls: 3 },
        { timeout: 5000, memory: 2 ** 26, calls: name === "RLM" ? 306 : 256 }
      ])
    }))

  it("refuses limits that are none", () => {
    for (const sandbox of [{ memory: 0 }, { memory: 1.5 }, { calls: 0 }, { timeout: 0 }]) {
      assert.throws(() => make({ tools: [], sandbox }), RangeError, "Sandbox: ")
    }
  })

  it.effect("interrupted while code runs, closes its session", () =>
    Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const sessions = { open: 0 }
      const hanging = code(() => Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never), [], sessions)
      const fiber = yield* Effect.fork(
        make({ tools: [] })(ask).pipe(Effect.provide([recording([], [more]), hanging]))
      )
      yield* Deferred.await(reached)
      assert.strictEqual(sessions.open, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(sessions.open, 0)
    }))

  it.effect("fails when there is no sandbox, and goes on when code is stopped", () =>
    Effect.gen(function*() {
      const missing = yield* Effect.flip(
        make({ tools: [] })(ask).pipe(
          Effect.provide([recording([], [more]), engine.missing])
        )
      )
      assert.strictEqual(missing.message, "no engine here")
      const stopped = code(() =>
        new Sandbox.SandboxError({ reason: new Sandbox.TimedOut({ limit: 5000 }), logs: "so far" })
      )
      const { termination, trajectory } = yield* make({ tools: [], maxIters: 1 })(ask).pipe(
        Effect.provide([recording([], [more, extracted]), stopped])
      )
      assert.strictEqual(termination, "maxIters")
      assert.match(trajectory[0]!.observation, /^so far\nThe code computed for more than 5000 ms/)
    }))

  it.effect("offers its tools beside its instructions, and refuses those that code could not call", () =>
    Effect.gen(function*() {
      const lookup = Tool.make("lookup", {
        description: "Looks it up.",
        parameters: { word: Schema.String },
        run: () => Effect.succeed(1)
      })
      const requests: Array<LanguageModel.Request> = []
      yield* make({ tools: [lookup], maxIters: 1 })(ask).pipe(
        Effect.provide([recording(requests, [more, extracted]), engine.layer()])
      )
      assert.include(JSON.stringify(requests[0]), "await lookup({ word }): Looks it up.")
      assert.notInclude(JSON.stringify(requests[1]), "Looks it up.")
      const called = (name: string) => Tool.make(name, { description: "", parameters: {}, run: () => Effect.void })
      for (const tools of [[called("look-up")], [called("delete")], [called("submit")], [lookup, lookup]]) {
        assert.throws(() => make({ tools }), RangeError)
      }
    }))
})
