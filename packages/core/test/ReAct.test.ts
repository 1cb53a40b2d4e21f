import * as Adapter from "@effect-dspy/core/Adapter"
import type * as Agent from "@effect-dspy/core/Agent"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as SavedProgram from "@effect-dspy/core/SavedProgram"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Either, Exit, FastCheck, Fiber, Ref, Schema, TestClock } from "effect"
import { add, ask, asked, broken, calls, contentOf, done, native, recording, text, toldTo } from "./ways.ts"

const observations = (output: { readonly trajectory: ReadonlyArray<Agent.ToolStep> }) =>
  output.trajectory.map(({ observation }) => observation)

const isFull = (error: unknown) =>
  LanguageModelError.isLanguageModelError(error) && error.reason._tag === "ContextWindowExceeded"

describe.each([native, text])("ReAct, $toolCalls", ({ step, toolCalls, unreadable }) => {
  const make = <const Tools extends ReadonlyArray<Tool.Any>>(
    tools: Tools,
    options: Partial<Omit<ReAct.Options<Tools>, "tools">> = {}
  ) => ReAct.make("question -> answer", { tools, toolCalls, ending: "finish", ...options })
  const react = make([add, broken])
  const end = [step("finish", {}, "I know."), done]

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
          { round: 1, thought: "I add.", tool: "add", arguments: { a: 1, b: 2 }, observation: "3", failed: false },
          { round: 2, thought: "hm", tool: "add", arguments: { a: 3, b: 3 }, observation: "6", failed: false },
          { round: 3, thought: "I know.", tool: "finish", arguments: {}, observation: "", failed: false }
        ]
      })
      assert.include(
        asked(requests.at(-1)),
        "Round 1\nThought: I add.\nTool: add {\"a\":1,\"b\":2}\nObservation: 3\n\n" +
          "Round 2\nThought: hm\nTool: add {\"a\":3,\"b\":3}\nObservation: 6\n\n" +
          "Round 3\nThought: I know.\nTool: finish {}"
      )
    }))

  it.effect("offers its tools whatever the instructions are tuned to", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const tuned = Either.getOrThrow(
        Module.withParameters(react, { react: { instructions: "Think hard.", demos: [] } })
      )
      yield* tuned(ask).pipe(Effect.provide(recording(requests, end)))
      const [choosing, extracting] = requests
      assert.include(toldTo(choosing), "Think hard.")
      const offered = toolCalls === "native" ? JSON.stringify(choosing?.tools) : toldTo(choosing)
      for (const piece of ["Adds two numbers.", "the other one", "Never works.", "finish"]) {
        assert.include(offered, piece)
      }
      // Who makes the answer needs no tools.
      assert.isUndefined(extracting?.tools)
      assert.notInclude(toldTo(extracting), "Adds two numbers.")
    }))

  it.effect("tells the model that a tool failed, with its message, and goes on", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const { termination, trajectory } = yield* react(ask).pipe(
        Effect.provide(recording(requests, [step("broken"), ...end]))
      )
      assert.deepInclude(trajectory[0], {
        observation: "It did not work. broken: out of order",
        failed: true
      })
      assert.include(asked(requests[1]), "It did not work. broken: out of order")
      assert.strictEqual(termination, "finished")
    }))

  it.effect("tells the model that there is no such tool, and which there are", () =>
    Effect.gen(function*() {
      for (const name of ["subtract", "constructor", "__proto__"]) {
        const { trajectory } = yield* react(ask).pipe(Effect.provide(recording([], [step(name), ...end])))
        assert.deepInclude(trajectory[0], {
          tool: name,
          observation: `It did not work. ${name}: there is no such tool; there are add, broken, finish`,
          failed: true
        })
      }
    }))

  it.effect("tells the model what is wrong with its arguments, and does nothing", () =>
    Effect.gen(function*() {
      let runs = 0
      const count = Tool.make("count", {
        description: "",
        parameters: { upTo: Schema.Int },
        run: () => Effect.sync(() => ++runs)
      })
      const { trajectory } = yield* make([count])(ask).pipe(
        Effect.provide(recording([], [
          step("count", { upTo: "one" }),
          step("count", {}),
          step("count", { upTo: 1, from: 3 }),
          step("count", { upTo: 1 }),
          ...end
        ]))
      )
      assert.include(trajectory[0]?.observation, "count: these arguments do not fit: upTo: Expected")
      assert.include(trajectory[1]?.observation, "upTo: is missing")
      assert.include(trajectory[2]?.observation, "from: is unexpected")
      assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [true, true, true, false, false])
      assert.strictEqual(runs, 1)
    }))

  it.effect("tells the model of a defect of a tool", () =>
    Effect.gen(function*() {
      const buggy = Tool.make("buggy", { description: "", parameters: {}, run: () => Effect.die(new TypeError("oh")) })
      const { termination, trajectory } = yield* make([buggy])(ask).pipe(
        Effect.provide(recording([], [step("buggy"), ...end]))
      )
      assert.strictEqual(trajectory[0]?.observation, "It did not work. buggy: it is broken: oh")
      assert.strictEqual(termination, "finished")
    }))

  it.effect("tells the model that a tool took too long, or was not allowed", () =>
    Effect.gen(function*() {
      const slow = Tool.make("slow", { description: "", parameters: {}, run: () => Effect.never, timeout: "1 second" })
      const guarded = Tool.withApproval(add, () => Effect.succeed({ denied: "ask me later" }))
      const fiber = yield* Effect.fork(
        make([slow, guarded])(ask).pipe(
          Effect.provide(recording([], [step("slow"), step("add", { a: 1, b: 2 }), ...end]))
        )
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(observations(yield* Fiber.join(fiber)), [
        "It did not work. slow: it took longer than 1s, and was stopped",
        "It did not work. add: ask me later",
        ""
      ])
    }))

  it.effect("decodes arguments by their schemas, also where they are nested", () =>
    Effect.gen(function*() {
      const Point = Schema.Struct({ x: Schema.Number, y: Schema.optionalWith(Schema.Number, { default: () => 0 }) })
      const seen: Array<unknown> = []
      const plot = Tool.make("plot", {
        description: "",
        parameters: { day: Schema.Date, points: Schema.Array(Point), color: Schema.optional(Schema.Literal("red")) },
        run: (input) => Effect.sync(() => void seen.push(input))
      })
      yield* make([plot])(ask).pipe(
        Effect.provide(recording([], [step("plot", { day: "2024-01-01", points: [{ x: 1 }] }), ...end]))
      )
      assert.deepStrictEqual(seen, [{ day: new Date("2024-01-01"), points: [{ x: 1, y: 0 }] }])
    }))

  it.effect("takes JSON for what a tool gives, and says done for nothing", () =>
    Effect.gen(function*() {
      const list = Tool.make("list", { description: "", parameters: {}, run: () => Effect.succeed([{ id: 1 }]) })
      const save = Tool.make("save", { description: "", parameters: {}, run: () => Effect.void })
      const output = yield* make([list, save])(ask).pipe(
        Effect.provide(recording([], [step("list"), step("save"), ...end]))
      )
      assert.deepStrictEqual(observations(output), [`[{"id":1}]`, "done", ""])
    }))

  it.effect("answers with the types of the signature", () =>
    Effect.gen(function*() {
      const typed = ReAct.make("question -> color: 'red' | 'green', sizes: int[], note?: string", {
        tools: [add],
        toolCalls
      })
      const answer = TestLanguageModel.fields({ reasoning: "So.", color: "green", sizes: [1, 2] })
      const output = yield* typed(ask).pipe(Effect.provide(recording([], [end[0]!, answer])))
      assert.deepStrictEqual([output.color, output.sizes, output.note], ["green", [1, 2], undefined])
    }))

  it.effect("goes on with a conversation that is one of its inputs", () =>
    Effect.gen(function*() {
      const chat = ReAct.make("history: History, question -> answer", { tools: [add], toolCalls })
      const requests: Array<LanguageModel.Request> = []
      yield* chat({ history: [{ question: "Who are you?", answer: "A clerk." }], question: "And now?" }).pipe(
        Effect.provide(recording(requests, [step("add", { a: 1, b: 2 }), ...end]))
      )
      for (const { messages } of requests) {
        assert.deepStrictEqual(messages.slice(0, 4).map(({ role }) => role), ["system", "user", "assistant", "user"])
        assert.include(contentOf(messages[1]!), "Who are you?")
        assert.include(contentOf(messages[2]!), "A clerk.")
        assert.include(contentOf(messages[3]!), "And now?")
      }
    }))

  it.effect("shows an image that a tool gives, to the model that goes on and the one that answers", () =>
    Effect.gen(function*() {
      const url = "data:image/png;base64,AA=="
      const look = Tool.make("look", {
        description: "",
        parameters: {},
        run: () => Effect.succeed([{ _tag: "Text", text: "here:" }, { _tag: "Image", url }])
      })
      const images = (request: LanguageModel.Request | undefined) =>
        request?.messages.filter(({ content }) =>
          typeof content !== "string" && content.some((part) => part._tag === "Image" && part.url === url)
        ).map(({ role }) => role)
      const requests: Array<LanguageModel.Request> = []
      const { trajectory } = yield* make([look])(ask).pipe(
        Effect.provide(recording(requests, [step("look"), ...end]))
      )
      assert.strictEqual(trajectory[0]?.observation, "here:\n(an image)")
      assert.deepStrictEqual(requests.map(images), [[], ["user"], ["user"]])
      assert.include(asked(requests[1]), "From `look` in round 1:")
      // To one that sees none, nothing is sent that it would refuse.
      const blind: Array<LanguageModel.Request> = []
      let next = 0
      const output = yield* make([look])(ask).pipe(
        Effect.provide(
          TestLanguageModel.layer((request) => {
            blind.push(request)
            return [step("look"), ...end][next++]!
          }, { capabilities: { images: false } })
        )
      )
      assert.deepStrictEqual(blind.map(images), [[], [], []])
      assert.strictEqual(output.trajectory[0]?.observation, "here:\n(an image) (which this model cannot be shown)")
    }))

  it.effect("tells the model that its answer could not be read, once, and goes on", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const { answer, termination, trajectory } = yield* react(ask).pipe(
        Effect.provide(recording(requests, [...unreadable, step("add", { a: 1, b: 2 }), ...end]))
      )
      assert.deepStrictEqual([answer, termination], ["done", "finished"])
      assert.deepInclude(trajectory[0], { round: 1, tool: "", failed: true })
      assert.include(trajectory[0]?.observation, "Your answer could not be used: ")
      assert.include(asked(requests[unreadable.length]), "Your answer could not be used: ")
      assert.strictEqual(trajectory[1]?.observation, "3")
    }))

  it.effect("ends when answers cannot be read twice in a row, and answers with what is known", () =>
    Effect.gen(function*() {
      const { answer, termination, trajectory } = yield* react(ask).pipe(
        Effect.provide(
          recording([], [step("add", { a: 1, b: 2 }), ...unreadable, ...unreadable, done])
        )
      )
      assert.deepStrictEqual([answer, termination], ["done", "unreadable"])
      assert.deepStrictEqual(trajectory.map(({ failed }) => failed), [false, true, true])
    }))

  it.effect("ends after as many rounds as there may be, and answers all the same", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const short = make([add], { maxIters: 2 })
      const { answer, termination, trajectory } = yield* short(ask).pipe(
        Effect.provide(recording(requests, [step("add", { a: 1, b: 1 }), step("add", { a: 2, b: 2 }), done]))
      )
      assert.deepStrictEqual([answer, termination, trajectory.length, requests.length], ["done", "maxIters", 2, 3])
    }))

  it.effect("takes 20 rounds at most unless told otherwise", () =>
    Effect.gen(function*() {
      let rounds = 0
      const { trajectory } = yield* make([add])(ask).pipe(
        Effect.provide(
          TestLanguageModel.layer((_request, _n, predictor) => {
            if (predictor !== "react") return done
            rounds += 1
            return step("add", { a: 1, b: 1 })
          })
        )
      )
      assert.deepStrictEqual([rounds, trajectory.length], [20, 20])
    }))

  describe("in a model that is too small", () => {
    const roundsIn = (request: LanguageModel.Request) => (asked(request).match(/sum \d+/g) ?? []).map(String)

    const sum = Tool.make("sum", {
      description: "",
      parameters: { of: Schema.Number },
      run: ({ of }) => Effect.succeed(`sum ${of}`)
    })

    // Has room for so many rounds, and takes them one by one.
    const small = (
      requests: Array<ReadonlyArray<string>>,
      room: number | ((predictor: string) => number),
      rounds: number
    ) => {
      let next = 0
      return TestLanguageModel.layer((request, _n, predictor) => {
        const shown = roundsIn(request)
        requests.push(shown)
        if (shown.length > (typeof room === "number" ? room : room(predictor))) {
          return TestLanguageModel.fail("ContextWindowExceeded")
        }
        return predictor !== "react" ? done : ++next > rounds ? end[0]! : step("sum", { of: next })
      })
    }

    it.effect("leaves out the oldest rounds, and does not ask with them again", () =>
      Effect.gen(function*() {
        const requests: Array<ReadonlyArray<string>> = []
        const output = yield* make([sum])(ask).pipe(Effect.provide(small(requests, 2, 4)))
        assert.strictEqual(output.termination, "finished")
        // The answer tells all of them.
        assert.deepStrictEqual(observations(output), ["sum 1", "sum 2", "sum 3", "sum 4", ""])
        assert.deepStrictEqual(requests, [
          [],
          ["sum 1"],
          ["sum 1", "sum 2"],
          ["sum 1", "sum 2", "sum 3"],
          ["sum 2", "sum 3"],
          ["sum 2", "sum 3", "sum 4"],
          ["sum 3", "sum 4"],
          ["sum 3", "sum 4"]
        ])
      }))

    it.effect("tries so three times, then answers with what fits", () =>
      Effect.gen(function*() {
        const requests: Array<ReadonlyArray<string>> = []
        let full = false
        const output = yield* make([sum])(ask).pipe(
          Effect.provide(small(
            requests,
            (predictor) => {
              full ||= requests.at(-1)!.length === 5
              return predictor === "react" && full ? 0 : 9
            },
            9
          ))
        )
        assert.strictEqual(output.termination, "contextWindow")
        assert.deepStrictEqual(requests.map((shown) => shown.length), [0, 1, 2, 3, 4, 5, 4, 3, 2, 2])
        assert.lengthOf(output.trajectory, 5)
      }))

    it.effect("never leaves out the only round, and then ends the rounds", () =>
      Effect.gen(function*() {
        const requests: Array<ReadonlyArray<string>> = []
        const output = yield* make([sum])(ask).pipe(
          Effect.provide(small(requests, (predictor) => predictor === "react" ? 0 : 1, 9))
        )
        assert.deepStrictEqual([output.termination, output.answer], ["contextWindow", "done"])
        assert.deepStrictEqual(requests, [[], ["sum 1"], ["sum 1"]])
      }))

    it.effect("fails when there is no room for the outputs either", () =>
      Effect.gen(function*() {
        const requests: Array<ReadonlyArray<string>> = []
        const error = yield* make([sum])(ask).pipe(
          Effect.provide(small(requests, (predictor) => predictor === "react" ? 9 : 0, 6)),
          Effect.flip
        )
        assert.isTrue(isFull(error))
        // Seven rounds with the last one, which only ends; three are left out, one after the other.
        assert.deepStrictEqual(requests.slice(-4).map((shown) => shown.length), [6, 5, 4, 3])
      }))
  })

  it.effect("fails as the model does otherwise", () =>
    Effect.gen(function*() {
      for (
        const answers of [[TestLanguageModel.fail("Authentication")], [end[0]!, TestLanguageModel.fail("Overloaded")]]
      ) {
        const error = yield* Effect.flip(react(ask).pipe(Effect.provide(recording([], answers))))
        assert.isTrue(LanguageModelError.isLanguageModelError(error))
      }
      const cut = yield* Effect.flip(
        react(ask).pipe(Effect.provide(recording([], [TestLanguageModel.finish(step("add"), "length")])))
      )
      assert.strictEqual(cut._tag, "OutputTruncated")
    }))

  it.effect("ends with the failure of a tool that was made to, and stops there", () =>
    Effect.gen(function*() {
      class Gone extends Schema.TaggedError<Gone>()("Gone", {}) {}
      class Store extends Context.Tag("Store")<Store, { readonly read: Effect.Effect<string, Gone> }>() {}
      const read = Tool.make("read", {
        description: "",
        parameters: {},
        run: () => Effect.flatMap(Store, ({ read }) => read),
        failureMode: "error"
      })
      const requests: Array<LanguageModel.Request> = []
      const ends: Array<string> = []
      const error = yield* make([read])(ask).pipe(
        ModuleEvent.listen({
          deltas: false,
          emit: (more) =>
            Effect.sync(() => {
              for (const event of more) {
                if (event._tag === "ToolEnd") ends.push(`${event.use} ${event.observation} ${event.failed}`)
              }
            })
        }),
        Effect.provide(recording(requests, [step("read"), ...end])),
        Effect.provideService(Store, { read: new Gone() }),
        Effect.flip
      )
      assert.instanceOf(error, Gone)
      assert.lengthOf(requests, 1)
      assert.deepStrictEqual(ends, ["1 Gone true"])
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
            ? [`${event.use} ${event.tool}?`]
            : event._tag === "ToolEnd"
            ? [`${event.use} ${event.tool}: ${event.observation}${event.failed ? "!" : ""}`]
            : []
        ),
        ["1 add?", "1 add: 3", "2 broken?", "2 broken: It did not work. broken: out of order!"]
      )
    }))

  it.effect("streams what it thinks and does, then the outputs", () =>
    Effect.gen(function*() {
      const events: Array<ModuleEvent.Emitted> = []
      yield* react(ask).pipe(
        ModuleEvent.listen({ deltas: true, emit: (more) => Effect.sync(() => events.push(...more)) }),
        Effect.provide(recording([], [step("add", { a: 1, b: 2 }, "I add them."), ...end]))
      )
      const written = new Map<string, string>()
      const order: Array<string> = []
      for (const event of events) {
        if (event._tag === "FieldStart") order.push(`${event.path} ${event.field}`)
        if (event._tag !== "FieldDelta") continue
        const key = `${event.call} ${event.field}`
        written.set(key, (written.get(key) ?? "") + event.text)
      }
      const first = ["react next_thought", "react next_tool_name", "react next_tool_args"]
      assert.deepStrictEqual(order, [...first, ...first, "extract.predict reasoning", "extract.predict answer"])
      assert.deepStrictEqual([...written.values()], [
        "I add them.",
        "add",
        `{"a":1,"b":2}`,
        "I know.",
        "finish",
        "{}",
        "That is it.",
        "done"
      ])
      assert.strictEqual(
        events.filter(({ _tag }) => _tag === "FieldEnd").length,
        order.length
      )
    }))

  it.effect("records what it chose as DSPy does, whichever way it was asked", () =>
    Effect.gen(function*() {
      const [, trace] = yield* Trace.capture(react(ask)).pipe(
        Effect.provide(recording([], [step("add", { a: 1, b: 2 }, "I add."), ...end]))
      )
      assert.deepStrictEqual(trace.map(({ listed, path }) => [path, listed]), [
        ["react", true],
        ["react", true],
        ["extract.predict", true]
      ])
      const [first, second] = trace
      assert.deepStrictEqual(first?.inputs, { question: "?", trajectory: "" })
      assert.deepStrictEqual(first?.outputs, {
        next_thought: "I add.",
        next_tool_name: "add",
        next_tool_args: { a: 1, b: 2 }
      })
      assert.deepStrictEqual(second?.inputs, {
        question: "?",
        trajectory: "Round 1\nThought: I add.\nTool: add {\"a\":1,\"b\":2}\nObservation: 3"
      })
    }))

  it.effect("is shown its demonstrations", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const demo = {
        values: {
          question: "What is 1 + 1?",
          trajectory: "",
          next_thought: "I had better add.",
          next_tool_name: "add",
          next_tool_args: { a: 1, b: 1 }
        },
        augmented: true
      }
      const tuned = Either.getOrThrow(Module.withParameters(react, { react: { demos: [demo] } }))
      yield* tuned(ask).pipe(Effect.provide(recording(requests, end)))
      const [system, question, answer] = requests[0]!.messages
      assert.notInclude(String(system?.content), "What is 1 + 1?")
      assert.include(String(question?.content), "What is 1 + 1?")
      assert.include(String(answer?.content), "I had better add.")
      assert.include(JSON.stringify(answer), "add")
    }))

  it.effect("runs many times at once, and no run knows of another", () =>
    Effect.gen(function*() {
      const wait = (turns: number) => Effect.repeatN(Effect.yieldNow(), turns)
      const echo = Tool.make("echo", {
        description: "",
        parameters: { n: Schema.Int },
        run: ({ n }) => Effect.as(wait((n * 7) % 10), `echo ${n}`)
      })
      const module = make([echo])
      const model = TestLanguageModel.layer((request, _n, predictor) => {
        const n = Number(/number (\d+)/.exec(asked(request))?.[1])
        const seen = asked(request).match(/echo \d+/g) ?? []
        return Effect.as(
          wait((n * 3) % 7),
          predictor !== "react"
            ? TestLanguageModel.fields({ reasoning: "", answer: seen.join() })
            : seen.length === 2
            ? end[0]!
            : step("echo", { n: n + 1000 * seen.length })
        )
      })
      const outputs = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, n) => n),
        (n) => module({ question: `number ${n}` }),
        { concurrency: "unbounded" }
      ).pipe(Effect.provide(model))
      outputs.forEach((output, n) => {
        assert.deepStrictEqual(observations(output), [`echo ${n}`, `echo ${n + 1000}`, ""])
        assert.strictEqual(output.answer, `echo ${n},echo ${n + 1000}`)
      })
    }))

  it.effect("interrupted in the middle of a tool, closes what the tool has opened", () =>
    Effect.gen(function*() {
      const opened = yield* Deferred.make<void>()
      const open = yield* Ref.make(0)
      const hang = Tool.make("hang", {
        description: "",
        parameters: {},
        run: () =>
          Effect.scoped(
            Effect.acquireRelease(
              Effect.zipRight(Ref.update(open, (n) => n + 1), Deferred.succeed(opened, undefined)),
              () => Ref.update(open, (n) => n - 1)
            ).pipe(Effect.zipRight(Effect.never))
          )
      })
      const fiber = yield* Effect.fork(make([hang])(ask).pipe(Effect.provide(recording([], [step("hang")]))))
      yield* Deferred.await(opened)
      assert.strictEqual(yield* Ref.get(open), 1)
      const exit = yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
      assert.strictEqual(yield* Ref.get(open), 0)
    }))

  it.effect("is a part of a program like any other", () =>
    Effect.gen(function*() {
      const module = Module.make({ agents: [react] }, function*(m, input: { readonly question: string }) {
        return yield* m.agents[0](input)
      })
      assert.deepStrictEqual(module.predictors.map(({ path }) => path), [
        "agents[0].react",
        "agents[0].extract.predict"
      ])
      const requests: Array<LanguageModel.Request> = []
      yield* Module.withSettings(module, { temperature: 0.5 })(ask).pipe(Effect.provide(recording(requests, end)))
      assert.deepStrictEqual(requests.map(({ settings }) => settings?.temperature), [0.5, 0.5])
    }))
})

describe("ReAct of native calls", () => {
  const react = ReAct.make("question -> answer", { tools: [add, broken], ending: "finish" })
  const finish = native.step("finish")

  it.effect("is what a model with tools gets, and text what another one gets", () =>
    Effect.gen(function*() {
      const offered = (tools: boolean, way?: "native" | "text") => {
        const requests: Array<LanguageModel.Request> = []
        let next = 0
        return ReAct.make("question -> answer", { tools: [add], toolCalls: way })(ask).pipe(
          Effect.provide(TestLanguageModel.layer((request) => {
            requests.push(request)
            return next++ > 0 ? done : request.tools === undefined ? text.step("finish") : finish
          }, { capabilities: { tools } })),
          Effect.map(() => requests[0]?.tools?.map(({ name }) => name))
        )
      }
      assert.deepStrictEqual(yield* offered(true), ["add", "submit"])
      assert.isUndefined(yield* offered(false))
      assert.isUndefined(yield* offered(true, "text"))
      assert.deepStrictEqual(yield* offered(false, "native"), ["add", "submit"])
    }))

  it.effect("sends the JSON Schemas of the parameters, and no trajectory but the conversation", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      yield* react(ask).pipe(
        Effect.provide(recording(requests, [native.step("add", { a: 1, b: 2 }, "I add."), finish, done]))
      )
      assert.deepStrictEqual(requests[0]?.tools, [
        add.definition,
        broken.definition,
        {
          name: "finish",
          description: "Ends the rounds, once all that is needed is known.",
          parameters: { type: "object", properties: {}, additionalProperties: false }
        }
      ])
      const [, question] = requests[0]!.messages
      assert.notInclude(asked(requests[0]), "trajectory")
      // Each request begins with the one before it, and every call is answered.
      assert.deepStrictEqual(requests[1]?.messages, [
        ...requests[0]!.messages,
        {
          role: "assistant",
          content: "I add.",
          toolCalls: [{ id: "call_0", name: "add", arguments: `{"a":1,"b":2}` }]
        },
        { role: "tool", toolCallId: "call_0", content: "3" }
      ])
      assert.include(String(question?.content), "?")
    }))

  it.effect("runs several calls of one answer at once, and answers them in their order", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const wait = Tool.make("wait", {
        description: "",
        parameters: { seconds: Schema.Int },
        run: ({ seconds }) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++running)
            }),
            () => Effect.as(Effect.sleep(`${seconds} seconds`), `waited ${seconds}`),
            () => Effect.sync(() => void running--)
          )
      })
      const requests: Array<LanguageModel.Request> = []
      const run = (concurrency?: number) =>
        ReAct.make("question -> answer", { tools: [wait], concurrency })(ask).pipe(
          Effect.provide(recording(requests, [
            calls([5, 3, 4, 1].map((seconds) => ({ name: "wait", arguments: { seconds } })), "All at once."),
            finish,
            done
          ]))
        )
      const fiber = yield* Effect.fork(run())
      yield* TestClock.adjust("5 seconds")
      const output = yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        output.trajectory.map(({ observation, round, thought }) => [round, thought, observation]),
        [
          [1, "All at once.", "waited 5"],
          [1, "", "waited 3"],
          [1, "", "waited 4"],
          [1, "", "waited 1"],
          [2, "hm", ""]
        ]
      )
      assert.deepStrictEqual(
        requests[1]?.messages.slice(-4).map(({ content, role, toolCallId }) => [role, toolCallId, content]),
        [
          ["tool", "call_0", "waited 5"],
          ["tool", "call_1", "waited 3"],
          ["tool", "call_2", "waited 4"],
          ["tool", "call_3", "waited 1"]
        ]
      )
      assert.strictEqual(most, 4)
      // As many as may be; one after the other.
      most = 0
      const bounded = yield* Effect.fork(run(2))
      yield* TestClock.adjust("8 seconds")
      yield* Fiber.join(bounded)
      assert.strictEqual(most, 2)
      most = 0
      const alone = yield* Effect.fork(run(1))
      yield* TestClock.adjust("13 seconds")
      yield* Fiber.join(alone)
      assert.strictEqual(most, 1)
    }))

  it.effect("runs 8 calls at once unless told otherwise", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const wait = Tool.make("wait", {
        description: "",
        parameters: {},
        run: () =>
          Effect.sync(() => {
            most = Math.max(most, ++running)
          }).pipe(Effect.zipRight(Effect.sleep("1 second")), Effect.ensuring(Effect.sync(() => void running--)))
      })
      const fiber = yield* Effect.fork(
        ReAct.make("question -> answer", { tools: [wait] })(ask).pipe(
          Effect.provide(recording([], [calls(Array.from({ length: 20 }, () => ({ name: "wait" }))), finish, done]))
        )
      )
      yield* TestClock.adjust("3 seconds")
      assert.lengthOf((yield* Fiber.join(fiber)).trajectory, 21)
      assert.strictEqual(most, 8)
    }))

  it.effect("tells calls that run at once apart by their number", () =>
    Effect.gen(function*() {
      const wait = Tool.make("wait", {
        description: "",
        parameters: { seconds: Schema.Int },
        run: ({ seconds }) => Effect.sleep(`${seconds} seconds`)
      })
      const events: Array<ModuleEvent.Emitted> = []
      const fiber = yield* Effect.fork(
        ReAct.make("question -> answer", { tools: [wait] })(ask).pipe(
          ModuleEvent.listen({ deltas: false, emit: (more) => Effect.sync(() => events.push(...more)) }),
          Effect.provide(recording([], [
            calls([2, 1].map((seconds) => ({ name: "wait", arguments: { seconds } }))),
            finish,
            done
          ]))
        )
      )
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        events.flatMap((event) =>
          event._tag === "ToolStart" || event._tag === "ToolEnd" ? [[event._tag, event.use]] : []
        ),
        [["ToolStart", 1], ["ToolStart", 2], ["ToolEnd", 2], ["ToolEnd", 1]]
      )
    }))

  it.effect("one call that is wrong keeps no other from being done", () =>
    Effect.gen(function*() {
      const output = yield* react(ask).pipe(
        Effect.provide(recording([], [
          calls([
            { name: "add", arguments: { a: 1 } },
            { name: "nothing" },
            { name: "add", arguments: { a: 1, b: 2 } },
            { name: "broken" }
          ]),
          finish,
          done
        ]))
      )
      assert.deepStrictEqual(output.trajectory.map(({ failed }) => failed), [true, true, false, true, false])
      assert.strictEqual(output.trajectory[2]?.observation, "3")
    }))

  it.effect("a tool that ends the program stops what runs beside it", () =>
    Effect.gen(function*() {
      const stopped = yield* Ref.make(false)
      const fails = Tool.make("fails", {
        description: "",
        parameters: {},
        run: () => Effect.delay(Effect.fail("gone"), "1 second"),
        failureMode: "error"
      })
      const hangs = Tool.make("hangs", {
        description: "",
        parameters: {},
        run: () => Effect.onInterrupt(Effect.never, () => Ref.set(stopped, true))
      })
      const fiber = yield* Effect.fork(
        ReAct.make("question -> answer", { tools: [fails, hangs] })(ask).pipe(
          Effect.provide(recording([], [calls([{ name: "hangs" }, { name: "fails" }])])),
          Effect.flip
        )
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), "gone")
      assert.isTrue(yield* Ref.get(stopped))
    }))

  it.effect("refuses arguments that are not JSON, or not quite, and does nothing", () =>
    Effect.gen(function*() {
      const wrong: ReadonlyArray<readonly [string, string]> = [
        [`{"a":1,"b":`, "the JSON is not complete"],
        [`{"a":1,"b":2,}`, "the JSON is not valid: a trailing comma"],
        [`{'a':1,"b":2}`, "the JSON is not valid: single quotes"],
        [`{"a":1,"b":2} and so on`, "there is text behind the JSON"],
        [`[1,2]`, "they are not a JSON object"],
        [`{"a":1,"a":2,"b":2}`, "stands twice"],
        [`{"a":1e400,"b":2}`, "a number out of range"],
        [`{"__proto__":{"b":1},"a":1,"b":2}`, "the key \"__proto__\" is not allowed"],
        [`{"a":${"[".repeat(200)}`, "nested more than 128 levels deep"]
      ]
      for (const [args, why] of wrong) {
        const { trajectory } = yield* react(ask).pipe(
          Effect.provide(recording([], [calls([{ name: "add", arguments: args }]), finish, done]))
        )
        assert.include(trajectory[0]?.observation, "It did not work. add: these arguments do not fit: ")
        assert.include(trajectory[0]?.observation, why)
        assert.deepStrictEqual(trajectory[0]?.arguments, {})
      }
    }))

  const argumentsText = FastCheck.oneof(
    FastCheck.json(),
    FastCheck.string(),
    FastCheck.record({ a: FastCheck.double(), b: FastCheck.integer() }).map((args) => JSON.stringify(args)),
    FastCheck.constantFrom("", "{", "{\"__proto__\":{}}", "{\"a\":1,\"b\":2}")
  )

  it.effect.prop(
    "whatever is called with whatever, every call is answered once and in its place",
    [
      FastCheck.array(
        FastCheck.array(
          FastCheck.record({
            name: FastCheck.oneof(FastCheck.constantFrom("add", "broken", "constructor", ""), FastCheck.string()),
            arguments: argumentsText
          }),
          { minLength: 1, maxLength: 4 }
        ),
        { maxLength: 4 }
      )
    ],
    ([rounds]) =>
      Effect.gen(function*() {
        const requests: Array<LanguageModel.Request> = []
        const made = rounds.map((round) => round.filter(({ name }) => name !== "finish")).filter((round) =>
          round.length > 0
        )
        const { termination, trajectory } = yield* react(ask).pipe(
          Effect.provide(recording(requests, [...made.map((round) => calls(round)), finish, done]))
        )
        assert.strictEqual(termination, "finished")
        assert.deepStrictEqual(
          trajectory.slice(0, -1).map(({ round, tool }) => [round, tool]),
          made.flatMap((round, index) => round.map(({ name }) => [index + 1, name]))
        )
        const turns = requests[made.length]!.messages.slice(2)
        const ids = turns.flatMap(({ toolCalls }) => toolCalls?.map(({ id }) => id) ?? [])
        assert.deepStrictEqual(turns.flatMap(({ toolCallId }) => toolCallId ?? []), ids)
        assert.strictEqual(new Set(ids).size, ids.length)
        assert.deepStrictEqual(
          turns.flatMap(({ content, role }) => role === "tool" ? [content] : []),
          observations({ trajectory: trajectory.slice(0, -1) })
        )
        for (const call of turns.flatMap(({ toolCalls = [] }) => toolCalls)) {
          assert.match(call.name, /^[A-Za-z0-9_-]{1,64}$/)
          assert.isObject(JSON.parse(call.arguments))
        }
        for (const { failed, observation, tool } of trajectory) {
          assert.strictEqual(failed, observation.startsWith("It did not work. "))
          if (tool === "add" && !failed) assert.isTrue(Number.isFinite(Number(observation)))
        }
      }),
    { fastCheck: { seed: 4, numRuns: 50 } }
  )

  it.effect("repeats calls as every service takes them: names and arguments that are none are made some", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      yield* react(ask).pipe(
        Effect.provide(recording(requests, [
          calls([
            { name: "functions.add", arguments: "{\"a\":1" },
            { name: "", arguments: "" },
            { name: "add", arguments: " {\"a\": 1, \"b\": 2}" }
          ]),
          finish,
          done
        ]))
      )
      assert.deepStrictEqual(requests[1]!.messages[2]?.toolCalls, [
        { id: "call_0", name: "functions_add", arguments: "{\"arguments\":\"{\\\"a\\\":1\"}" },
        { id: "call_1", name: "unknown", arguments: "{}" },
        { id: "call_2", name: "add", arguments: " {\"a\": 1, \"b\": 2}" }
      ])
    }))

  it.effect("takes no arguments for an empty text", () =>
    Effect.gen(function*() {
      const output = yield* react(ask).pipe(
        Effect.provide(recording([], [
          calls([{ name: "broken", arguments: "" }]),
          calls([{ name: "finish", arguments: " " }]),
          done
        ]))
      )
      assert.deepStrictEqual(observations(output), ["It did not work. broken: out of order", ""])
      assert.strictEqual(output.termination, "finished")
    }))

  it.effect("an answer without a call is the end, and what it says is known", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const output = yield* react(ask).pipe(
        Effect.provide(recording(requests, [
          native.step("add", { a: 1, b: 2 }),
          TestLanguageModel.text("  It is 3, of course.\n"),
          done
        ]))
      )
      assert.strictEqual(output.termination, "finished")
      assert.deepInclude(output.trajectory[1], { thought: "It is 3, of course.", tool: "finish" })
      assert.include(asked(requests[2]), "It is 3, of course.")
    }))

  it.effect("finish beside other calls comes after them", () =>
    Effect.gen(function*() {
      const output = yield* react(ask).pipe(
        Effect.provide(recording([], [
          calls([
            { name: "finish", arguments: { answer: "3" } },
            { name: "add", arguments: { a: 1, b: 2 } },
            { name: "finish" }
          ], "Both."),
          done
        ]))
      )
      assert.strictEqual(output.termination, "finished")
      assert.deepStrictEqual(output.trajectory, [
        { round: 1, thought: "Both.", tool: "add", arguments: { a: 1, b: 2 }, observation: "3", failed: false },
        { round: 1, thought: "", tool: "finish", arguments: { answer: "3" }, observation: "", failed: false }
      ])
    }))

  it.effect("what the model reasons apart from its text stands for a thought it does not write", () =>
    Effect.gen(function*() {
      const output = yield* react(ask).pipe(
        Effect.provide(recording([], [
          TestLanguageModel.withReasoning(native.step("add", { a: 1, b: 2 }, ""), "two numbers"),
          TestLanguageModel.withReasoning(native.step("finish", {}, "That was it."), "enough"),
          done
        ]))
      )
      assert.deepStrictEqual(output.trajectory.map(({ thought }) => thought), ["two numbers", "That was it."])
    }))

  it.effect("gives back what only the provider understands, and ids of its own to calls without", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const continuation = { provider: "test", signature: "xyz" }
      const answer = TestLanguageModel.deltas([
        { _tag: "ToolCallDelta", index: 0, call: 0, name: "add", arguments: `{"a":1,"b":2}` },
        { _tag: "ToolCallDelta", index: 0, call: 1, name: "add", arguments: `{"a":1,"b":3}` },
        { _tag: "ContinuationDelta", index: 0, continuation },
        { _tag: "Finish", index: 0, reason: "toolCalls" },
        { _tag: "Completed", usage: {}, model: "test" }
      ])
      yield* react(ask).pipe(Effect.provide(recording(requests, [answer, answer, finish, done])))
      const turns = requests[2]!.messages.slice(-6)
      assert.deepStrictEqual(turns.map(({ role }) => role), ["assistant", "tool", "tool", "assistant", "tool", "tool"])
      assert.deepStrictEqual([turns[0]?.continuation, turns[3]?.continuation], [continuation, continuation])
      const ids = turns.flatMap(({ toolCalls }) => toolCalls?.map(({ id }) => id) ?? [])
      assert.deepStrictEqual(ids, turns.flatMap(({ toolCallId }) => toolCallId ?? []))
      assert.strictEqual(new Set(ids).size, 4)
    }))

  it.effect("gives calls of different rounds different ids, though a service counts anew each time", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const both = calls([{ name: "add", arguments: { a: 1, b: 2 } }, { name: "broken" }])
      yield* react(ask).pipe(Effect.provide(recording(requests, [both, both, both, finish, done])))
      const turns = requests[3]!.messages.slice(2)
      const ids = turns.flatMap(({ toolCalls }) => toolCalls?.map(({ id }) => id) ?? [])
      assert.deepStrictEqual(ids.slice(0, 2), ["call_0", "call_1"])
      assert.deepStrictEqual(turns.flatMap(({ toolCallId }) => toolCallId ?? []), ids)
      assert.strictEqual(new Set(ids).size, 6)
    }))

  it.effect("a stream that is begun again leaves nothing of what it said before", () =>
    Effect.gen(function*() {
      const answer = TestLanguageModel.deltas([
        { _tag: "TextDelta", index: 0, text: "I will" },
        { _tag: "ToolCallDelta", index: 0, call: 0, id: "x", name: "bro", arguments: `{"a` },
        { _tag: "Restarted", cause: "lost" },
        { _tag: "TextDelta", index: 0, text: "Adding." },
        { _tag: "ToolCallDelta", index: 0, call: 0, id: "y", name: "add", arguments: "" },
        { _tag: "ToolCallDelta", index: 0, call: 0, arguments: `{"a":1,` },
        { _tag: "ToolCallDelta", index: 0, call: 0, arguments: `"b":2}` },
        { _tag: "Finish", index: 0, reason: "toolCalls" },
        { _tag: "Completed", usage: {}, model: "test" }
      ])
      const output = yield* react(ask).pipe(
        ModuleEvent.listen({ deltas: true, emit: () => Effect.void }),
        Effect.provide(recording([], [answer, finish, done]))
      )
      assert.deepInclude(output.trajectory[0], { thought: "Adding.", arguments: { a: 1, b: 2 }, observation: "3" })
    }))

  it.effect("what is left out of the conversation is left out whole: a call with its answers", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const both = calls([{ name: "add", arguments: { a: 1, b: 2 } }, { name: "broken" }])
      const answers = [both, both, TestLanguageModel.fail("ContextWindowExceeded"), finish, done]
      yield* react(ask).pipe(Effect.provide(recording(requests, answers)))
      const roles = requests.map(({ messages }) => messages.slice(2).map(({ role }) => role).join(" "))
      assert.deepStrictEqual(roles.slice(1, 4), [
        "assistant tool tool",
        "assistant tool tool assistant tool tool",
        "assistant tool tool"
      ])
    }))

  it.effect("demonstrations are calls with an answer; those of tools that are gone are not shown", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const demo = (name: string) => ({
        values: {
          question: "1 + 1?",
          trajectory: "Round 1\nThought: hm",
          next_thought: "I add.",
          next_tool_name: name,
          next_tool_args: { a: 1, b: 1 }
        },
        augmented: true
      })
      const tuned = Either.getOrThrow(
        Module.withParameters(react, {
          react: {
            demos: [demo("gone"), demo("add"), { values: { question: "1 + 2?", answer: "3" }, augmented: false }]
          }
        })
      )
      yield* tuned(ask).pipe(Effect.provide(recording(requests, [finish, done])))
      const [, question, answer, result, ...rest] = requests[0]!.messages
      assert.include(String(question?.content), "[[ ## trajectory ## ]]\nRound 1")
      assert.deepStrictEqual(answer, {
        role: "assistant",
        content: "I add.",
        toolCalls: [{ id: "example_2", name: "add", arguments: `{"a":1,"b":1}` }]
      })
      assert.deepInclude(result, { role: "tool", toolCallId: "example_2" })
      assert.lengthOf(rest, 1)
    }))
})

describe("ReAct in text", () => {
  const react = ReAct.make("question -> answer", { tools: [add, broken], toolCalls: "text" })

  it.effect("reads names and arguments as models write them", () =>
    Effect.gen(function*() {
      const written = (name: string, args: string) =>
        TestLanguageModel.text(
          `[[ ## next_thought ## ]]\nhm\n\n[[ ## next_tool_name ## ]]\n${name}\n\n[[ ## next_tool_args ## ]]\n${args}\n\n[[ ## completed ## ]]`
        )
      const output = yield* react(ask).pipe(
        Effect.provide(recording([], [
          written("`Add`", "```json\n{\"a\": 1, \"b\": 2}\n```"),
          written("\"add\".", "{'a': 1, 'b': 3}"),
          TestLanguageModel.text("[[ ## next_tool_name ## ]]\nfinish\n\n[[ ## completed ## ]]"),
          done
        ]))
      )
      assert.deepStrictEqual(output.trajectory.map(({ observation, tool }) => [tool, observation]), [
        ["add", "3"],
        ["add", "4"],
        ["finish", ""]
      ])
    }))

  it.effect("uses the adapter that was chosen, and those it falls back to", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const json = Module.withAdapter(react, JsonAdapter.adapter)
      yield* json(ask).pipe(Effect.provide(recording(requests, [text.step("finish"), done])))
      assert.isTrue(requests.every(({ responseFormat }) => responseFormat !== undefined))
      assert.include(toldTo(requests[0]), "1. add: Adds two numbers.")
      // The fallback offers the tools too, and so does a question asked again.
      const again: Array<LanguageModel.Request> = []
      const careful = Module.withAdapter(
        react,
        ChatAdapter.adapter.pipe(Adapter.reask(), Adapter.orElse(JsonAdapter.adapter))
      )
      const nonsense = TestLanguageModel.text("nonsense")
      yield* careful(ask).pipe(Effect.provide(recording(again, [nonsense, nonsense, text.step("finish"), done])))
      assert.deepStrictEqual(again.map(({ messages }) => messages.length), [2, 4, 2, 2])
      for (const request of again.slice(0, 3)) assert.include(toldTo(request), "1. add: Adds two numbers.")
    }))
})

describe("ReAct", () => {
  const react = ReAct.make("question -> answer", { tools: [add, broken] })

  it("has the predictors of DSPy, however it ends", () => {
    for (const ending of ["submit", "finish"] as const) {
      const { predictors } = ReAct.make("question -> answer", { tools: [add, broken], ending })
      assert.deepStrictEqual(predictors.map(({ path }) => path), ["react", "extract.predict"])
      assert.deepStrictEqual(predictors.map(({ signature }) => Signature.format(signature)), [
        `question, trajectory -> next_thought, next_tool_name: "add" | "broken" | "${ending}", next_tool_args: JsonRecord`,
        "question, trajectory -> reasoning, answer"
      ])
    }
  })

  it("is saved under the keys of DSPy, and read back", () => {
    const parameters = {
      react: {
        instructions: "Think.",
        demos: [{
          values: {
            question: "1 + 1?",
            trajectory: "",
            next_thought: "I add.",
            next_tool_name: "add",
            next_tool_args: { a: 1, b: 1 }
          },
          augmented: true
        }]
      },
      "extract.predict": { instructions: "Answer.", demos: [] }
    }
    const { lost, text } = Module.withParameters(react, parameters).pipe(
      Either.flatMap(SavedProgram.toDspy),
      Either.getOrThrow
    )
    const state: { readonly [path: string]: { readonly signature: { readonly fields: ReadonlyArray<unknown> } } } = JSON
      .parse(text)
    assert.deepStrictEqual(lost, [])
    assert.deepStrictEqual(Object.keys(state), ["react", "extract.predict", "metadata"])
    assert.deepStrictEqual(
      [state["react"]?.signature.fields.length, state["extract.predict"]?.signature.fields.length],
      [
        5,
        4
      ]
    )
    const { module } = Either.getOrThrow(SavedProgram.fromDspy(text, react))
    assert.deepStrictEqual(Module.parameters(module), parameters)
  })

  it("refuses tools that cannot be told apart, and limits that are none", () => {
    assert.throws(() => ReAct.make("question -> answer", { tools: [add, add] }), /two tools have the same name/)
    for (const name of ["finish", "submit"]) {
      const tool = Tool.make(name, { description: "", parameters: {}, run: () => Effect.void })
      for (const ending of ["submit", "finish"] as const) {
        assert.throws(
          () => ReAct.make("question -> answer", { tools: [tool], ending }),
          RangeError,
          `no tool can be called "${name}"`
        )
      }
    }
    for (const limit of [0, 1.5, -1]) {
      for (const name of ["maxIters", "maxOutput", "concurrency"]) {
        assert.throws(() => ReAct.make("question -> answer", { tools: [], [name]: limit }), RangeError, name)
      }
    }
  })

  it("refuses a signature with names it needs itself", () => {
    assert.throws(() => ReAct.make("next_thought -> answer", { tools: [] }), /no input can be called "next_thought"/)
  })
})
