/** What every module is, whatever it does: the same questions to each of them. */
import * as Assert from "@effect-dspy/core/Assert"
import * as BestOfN from "@effect-dspy/core/BestOfN"
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as CodeAct from "@effect-dspy/core/CodeAct"
import * as Embedder from "@effect-dspy/core/Embedder"
import type * as Json from "@effect-dspy/core/Json"
import * as KNN from "@effect-dspy/core/KNN"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Majority from "@effect-dspy/core/Majority"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as MultiChainComparison from "@effect-dspy/core/MultiChainComparison"
import * as Parallel from "@effect-dspy/core/Parallel"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as ProgramOfThought from "@effect-dspy/core/ProgramOfThought"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as Refine from "@effect-dspy/core/Refine"
import * as Retriever from "@effect-dspy/core/Retriever"
import * as RLM from "@effect-dspy/core/RLM"
import type * as Sandbox from "@effect-dspy/core/Sandbox"
import * as SavedProgram from "@effect-dspy/core/SavedProgram"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Either, Fiber, Layer, Record, Schema } from "effect"
import * as engine from "./engine.ts"

// =============================================================================
// The modules
// =============================================================================

type Surroundings = LanguageModel.LanguageModel | Sandbox.Sandbox | Embedder.Embedder | Retriever.Retriever

interface Question {
  readonly question: string
}

type Answer = Json.JsonRecord | { readonly calls: ReadonlyArray<Json.JsonRecord> }

interface Row {
  readonly name: string
  readonly module: Module.Module<Question, { readonly answer: string }, { readonly _tag: string }, Surroundings>
  /**
   * What each predictor is answered, by its path: the first time it asks about
   * a question, the second time, and so on, all of which a run does. `#` is the
   * number of the question; `calls` are those of tools.
   */
  readonly answers: { readonly [path: string]: ReadonlyArray<Answer> }
  /** Those of its predictors that no program lists. */
  readonly unlisted?: ReadonlyArray<string>
}

const qa = Predict.make("question -> answer")
const thought = ChainOfThought.make("question -> answer")
const said = { answer: "a#" }
const reasoned = { reasoning: "r#", answer: "a#" }

const echo = Tool.make("echo", {
  description: "Says it again.",
  parameters: { text: Schema.String },
  run: ({ text }) => Effect.succeed(text)
})

// Good once it is the second attempt.
const second = (_: Question, { answer }: { readonly answer: string }) => Effect.succeed(answer.startsWith("a") ? 1 : 0)
const complain = (_: Question, { answer }: { readonly answer: string }) =>
  Effect.succeed(answer.startsWith("a") ? [] : ["No."])
const better = { n: 2, reward: second, threshold: 1 }
const twice = [{ answer: "bad #" }, said]

const rounds = { react: [{ next_thought: "t#", next_tool_name: "echo", next_tool_args: { text: "#" } }] }

const table: ReadonlyArray<Row> = [
  { name: "Predict", module: qa, answers: { "": [said] } },
  { name: "ChainOfThought", module: thought, answers: { predict: [reasoned] } },
  {
    name: "ReAct in text",
    module: ReAct.make("question -> answer", { tools: [echo], toolCalls: "text" }),
    answers: {
      react: [...rounds.react, { next_thought: "t#", next_tool_name: "finish", next_tool_args: {} }],
      "extract.predict": [reasoned]
    }
  },
  {
    name: "ReAct of native calls",
    module: ReAct.make("question -> answer", { tools: [echo], toolCalls: "native" }),
    answers: {
      react: [
        { calls: [{ name: "echo", arguments: { text: "#" } }] },
        { calls: [{ name: "finish", arguments: {} }] }
      ],
      "extract.predict": [reasoned]
    }
  },
  {
    name: "ProgramOfThought",
    module: ProgramOfThought.make("question -> answer", { tools: [echo] }),
    answers: {
      "code_generate.predict": [{ reasoning: "r#", generated_code: "missing" }],
      "code_regenerate.predict": [{ reasoning: "r#", generated_code: "submit(inputs.question)" }],
      "generate_output.predict": [reasoned]
    }
  },
  {
    name: "CodeAct",
    module: CodeAct.make("question -> answer", { tools: [echo] }),
    answers: {
      codeact: [{ generated_code: "var kept = #", finished: false }, { generated_code: "kept", finished: true }],
      "extractor.predict": [reasoned]
    }
  },
  {
    name: "RLM",
    module: RLM.make("question -> answer", { tools: [echo], maxIters: 2 }),
    answers: {
      generate_action: [{ reasoning: "r#", code: "var kept = #" }, { reasoning: "r#", code: "kept" }],
      extract: [said]
    }
  },
  {
    name: "MultiChainComparison",
    module: MultiChainComparison.make("question -> answer", { m: 2 }).pipe(
      Module.mapInput((input: Question) => ({ ...input, completions: [{ answer: "x" }, { answer: "y" }] }))
    ),
    answers: { predict: [{ rationale: "r#", answer: "a#" }] }
  },
  { name: "BestOfN", module: BestOfN.make(qa, better), answers: { module: twice } },
  {
    name: "Refine",
    module: Refine.make(qa, better),
    answers: { module: twice, adviser: [{ discussion: "d#", advice: { program: "Better." } }] },
    unlisted: ["adviser"]
  },
  {
    name: "Majority",
    module: Majority.make(thought, { n: 3 }),
    answers: { "module.predict": [reasoned, { reasoning: "r#", answer: "bad #" }, reasoned] }
  },
  { name: "Assert", module: Assert.make(qa, { check: complain }), answers: { module: twice } },
  { name: "Assert.suggest", module: Assert.suggest(qa, { check: complain }), answers: { module: twice } },
  {
    name: "KNN",
    module: KNN.make(
      Either.getOrThrow(Module.withParameters(thought, {
        predict: { demos: ["p", "q"].map((question) => Parameters.demo({ question, reasoning: "r", answer: "a" })) }
      })),
      { k: 1 }
    ),
    answers: { predict: [reasoned] }
  },
  {
    name: "Parallel",
    module: Parallel.make(qa).pipe(
      Module.mapInput((input: Question) => [input]),
      Module.map(([first]) => Either.getOrThrow(first!))
    ),
    answers: { module: [said] }
  },
  {
    name: "Module.batch",
    module: Module.batch(qa).pipe(Module.mapInput((input: Question) => [input]), Module.map(([first]) => first!)),
    answers: { "": [said] }
  },
  {
    name: "Module.make, with lists, maps and modules of modules",
    module: Module.make(
      {
        writers: [qa, thought],
        tools: { "look up": qa },
        inner: Module.make({ deep: thought }, function*(m, input: Question) {
          return yield* m.deep(input)
        })
      },
      function*(m, input: Question) {
        yield* m.writers[0](input)
        yield* m.writers[1](input)
        yield* m.tools["look up"](input)
        return yield* m.inner(input)
      }
    ),
    answers: {
      "writers[0]": [said],
      "writers[1].predict": [reasoned],
      "tools['look up']": [said],
      "inner.deep.predict": [reasoned]
    }
  },
  {
    name: "Module.andThen",
    module: Predict.make("question -> query").pipe(Module.andThen(Predict.make("query -> answer"))),
    answers: { "steps[0]": [{ query: "question #!" }], "steps[1]": [said] }
  },
  {
    name: "Module.all",
    module: Module.all({ left: qa, right: thought }, ({ left }) => left),
    answers: { left: [said], "right.predict": [reasoned] }
  },
  {
    name: "Module.branch",
    module: Module.branch({ only: thought }, (): "only" => "only"),
    answers: { "only.predict": [reasoned] }
  },
  {
    name: "Retriever, searched in a body",
    module: Module.make(
      { answer: ChainOfThought.make("context: string[], question -> answer") },
      function*(m, { question }: Question) {
        const passages = yield* Retriever.search(question, { k: 1 })
        return yield* m.answer({ context: passages.map(({ text }) => text), question })
      }
    ),
    answers: { "answer.predict": [reasoned] }
  }
]

// =============================================================================
// What is around them
// =============================================================================

const ask = (n: number): Question => ({ question: `What is question ${n}!` })

const around = Layer.mergeAll(
  Layer.succeed(
    Embedder.Embedder,
    Embedder.make({ id: "test/flat", embed: (texts) => Effect.succeed(texts.map(() => Float32Array.of(1, 0))) })
  ),
  Layer.succeed(
    Retriever.Retriever,
    Retriever.make(() => Effect.succeed([{ id: "1", text: "A passage.", score: 1 }]))
  )
)

const textOf = ({ messages }: LanguageModel.Request): string => JSON.stringify(messages.map(({ content }) => content))

/** Answers each predictor as its row says. `before` runs first, with the number of the call among all of them. */
const answering = ({ answers }: Row, before: (call: number) => Effect.Effect<void> = () => Effect.void) => {
  const rounds = new Map<string, number>()
  const model = TestLanguageModel.layer((request, call, path) => {
    const number = /question (\d+)!/.exec(textOf(request))?.[1] ?? "?"
    const round = rounds.get(`${path} ${number}`) ?? 0
    rounds.set(`${path} ${number}`, round + 1)
    const answer = JSON.parse(JSON.stringify(answers[path]?.[round] ?? {}).replaceAll("#", number))
    return Effect.as(
      before(call),
      "calls" in answer ? TestLanguageModel.toolCalls(answer.calls) : TestLanguageModel.fields(answer)
    )
  })
  const sessions = { open: 0 }
  return { layer: Layer.mergeAll(model, around, engine.layer([], sessions)), sessions }
}

const heard = <A, E, R>(self: Effect.Effect<A, E, R>) => {
  const events: Array<ModuleEvent.Emitted> = []
  return Effect.map(
    ModuleEvent.listen(self, { deltas: true, emit: (more) => Effect.sync(() => events.push(...more)) }),
    (output) => ({ events, output })
  )
}

describe.each(table)("$name", (row) => {
  const { answers, module, unlisted = [] } = row
  const listed = Object.keys(answers).filter((path) => !unlisted.includes(path))
  const tuned = Record.fromIterableWith(listed, (path) => [path, { instructions: `tuned: ${path}.`, demos: [] }])

  it("lists its predictors, by their names in DSPy", () => {
    assert.deepStrictEqual(module.predictors.map(({ path }) => path), listed)
  })

  it.effect("is saved and loaded, in both formats, and then runs with what was tuned", () =>
    Effect.gen(function*() {
      const program = yield* Module.withParameters(module, tuned)
      const ours = yield* SavedProgram.decode(yield* SavedProgram.encode(program), module)
      const { lost, text } = yield* SavedProgram.toDspy(program)
      assert.deepStrictEqual(lost, [])
      const state = JSON.parse(text)
      for (const path of listed) {
        const predictor = path === "" ? state : state[path]
        const keys = Object.keys(predictor).filter((key) => key !== "metadata")
        assert.deepStrictEqual(keys, ["traces", "train", "demos", "signature", "lm"])
      }
      if (!listed.includes("")) assert.deepStrictEqual(Object.keys(state), [...listed, "metadata"])
      const { module: dspys } = yield* SavedProgram.fromDspy(text, module)
      for (const loaded of [ours, dspys]) {
        assert.deepStrictEqual(Module.parameters(loaded), tuned)
        const asked = yield* Effect.zipRight(loaded(ask(1)), TestLanguageModel.calls).pipe(
          Effect.provide(answering(row).layer)
        )
        assert.sameMembers([...new Set(asked.map(({ predictor }) => predictor))], Object.keys(answers))
        for (const { predictor, request } of asked) {
          const instructions = tuned[predictor]?.instructions
          if (instructions !== undefined) assert.include(textOf(request), instructions)
        }
      }
    }))

  it.effect("streams the fields of every predictor, and its value is the same", () =>
    Effect.gen(function*() {
      const { events, output } = yield* heard(module(ask(1))).pipe(Effect.provide(answering(row).layer))
      assert.strictEqual(output.answer, "a1")
      assert.deepStrictEqual(output, yield* module(ask(1)).pipe(Effect.provide(answering(row).layer)))
      const written = new Map<string, string>()
      const open: Array<number> = []
      const seen = new Set<string>()
      for (const event of events) {
        switch (event._tag) {
          case "FieldDelta": {
            const place = `${event.call} ${event.field}`
            written.set(place, (written.get(place) ?? "") + event.text)
            break
          }
          case "ModuleStart":
          case "PredictorStart":
            assert.isTrue(event.parent === 0 || open.includes(event.parent))
            open.push(event.call)
            break
          case "ModuleEnd":
            open.splice(open.indexOf(event.call), 1)
            break
          case "PredictorEnd": {
            open.splice(open.indexOf(event.call), 1)
            seen.add(event.path)
            assert.strictEqual(event.listed, !unlisted.includes(event.path))
            for (const [field, value] of Object.entries(event.outputs)) {
              if (typeof value === "string" && value !== "") {
                assert.strictEqual(written.get(`${event.call} ${field}`), value, `${event.path} ${field}`)
              }
            }
            break
          }
          case "Untuned":
            assert.fail(`${event.path} cannot be tuned`)
        }
      }
      assert.sameMembers([...seen], Object.keys(answers))
      assert.deepStrictEqual(open, [])
    }))

  it.effect("interrupted at any of its calls, closes it, and leaves no sandbox", () =>
    Effect.gen(function*() {
      const calls = yield* Effect.zipRight(module(ask(1)), TestLanguageModel.calls).pipe(
        Effect.provide(answering(row).layer)
      )
      const runs: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }, Surroundings>> = [
        module(ask(1)),
        heard(module(ask(1)))
      ]
      for (const run of runs) {
        for (const place of calls.keys()) {
          const reached = yield* Deferred.make<void>()
          let open = 0
          const { layer, sessions } = answering(row, (call) =>
            call < place ? Effect.void : Deferred.succeed(reached, undefined).pipe(
              Effect.zipRight(Effect.sync(() =>
                open++
              )),
              Effect.zipRight(Effect.never),
              Effect.ensuring(Effect.sync(() => open--))
            ))
          const fiber = yield* Effect.fork(Effect.provide(run, layer))
          yield* Deferred.await(reached)
          yield* Effect.yieldNow()
          assert.isAtLeast(open, 1)
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual([open, sessions.open], [0, 0])
        }
      }
    }))

  it.effect("100 at once are asked and answered as each would be alone", () =>
    Effect.gen(function*() {
      const asked = (calls: ReadonlyArray<TestLanguageModel.Call>, n: number) =>
        calls.filter(({ request }) => textOf(request).includes(`question ${n}!`)).map(({ predictor, request }) => [
          predictor,
          request
        ])
      const numbers = Array.from({ length: 100 }, (_, n) => n)
      // Calls overtake each other.
      const { layer, sessions } = answering(row, (call) => Effect.repeatN(Effect.yieldNow(), (call * 7) % 11))
      const [outputs, calls] = yield* Effect.zip(
        Effect.forEach(numbers, (n) => module(ask(n)), { concurrency: "unbounded" }),
        TestLanguageModel.calls
      ).pipe(Effect.provide(layer))
      assert.deepStrictEqual(outputs.map(({ answer }) => answer), numbers.map((n) => `a${n}`))
      assert.strictEqual(sessions.open, 0)
      for (const n of numbers.slice(0, 10)) {
        const [output, own] = yield* Effect.zip(module(ask(n)), TestLanguageModel.calls).pipe(
          Effect.provide(answering(row).layer)
        )
        assert.deepStrictEqual(outputs[n], output)
        assert.deepStrictEqual(asked(calls, n), asked(own, n))
        assert.lengthOf(asked(own, n), Object.values(answers).flat().length)
      }
    }))
})
