import type * as Agent from "@effect-dspy/core/Agent"
import * as CodeAct from "@effect-dspy/core/CodeAct"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import type * as Predict from "@effect-dspy/core/Predict"
import * as ProgramOfThought from "@effect-dspy/core/ProgramOfThought"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as RLM from "@effect-dspy/core/RLM"
import type * as Sandbox from "@effect-dspy/core/Sandbox"
import * as Signature from "@effect-dspy/core/Signature"
import * as Tool from "@effect-dspy/core/Tool"
import { Effect, Schema } from "effect"
import { describe, expectTypeOf, it } from "vitest"

class Store extends Effect.Service<Store>()("Store", { succeed: { open: true } }) {}

const save = Tool.make("save", {
  description: "Saves.",
  parameters: { text: Schema.String },
  failureMode: "error",
  run: () => Effect.flatMap(Store, ({ open }) => open ? Effect.succeed(1) : Effect.fail("closed" as const))
})

/** What every one of them answers for `question -> answer: int`. */
interface Answer<Step extends Agent.Step> {
  readonly reasoning: string
  readonly answer: number
  readonly trajectory: ReadonlyArray<Step>
  readonly termination: Agent.Termination
}

type Asked<Step extends Agent.Step, E = never, R = never> = Module.Module<
  { readonly question: string },
  Answer<Step>,
  Predict.PredictError | E,
  LanguageModel.LanguageModel | R
>

const text = "question -> answer: int"

describe("agents", () => {
  it("answer alike", () => {
    expectTypeOf(ReAct.make(text, { tools: [] })).toEqualTypeOf<Asked<Agent.ToolStep>>()
    type Coded = Asked<Agent.CodeStep, Sandbox.SandboxError, Sandbox.Sandbox>
    expectTypeOf(ProgramOfThought.make(text)).toEqualTypeOf<Coded>()
    expectTypeOf(CodeAct.make(text)).toEqualTypeOf<Coded>()
    expectTypeOf(RLM.make(text)).toEqualTypeOf<Coded>()
  })

  it("show what their tools need and fail with", () => {
    const tools = [save] as const
    expectTypeOf(ReAct.make(text, { tools })).toEqualTypeOf<Asked<Agent.ToolStep, "closed", Store>>()
    type Coded = Asked<Agent.CodeStep, Sandbox.SandboxError | "closed", Sandbox.Sandbox | Store>
    expectTypeOf(ProgramOfThought.make(text, { tools })).toEqualTypeOf<Coded>()
    expectTypeOf(CodeAct.make(text, { tools })).toEqualTypeOf<Coded>()
    expectTypeOf(RLM.make(text, { tools })).toEqualTypeOf<Coded>()
  })

  it("take signatures, and no text that is none", () => {
    const signature = Signature.make({ input: { from: Schema.Date }, output: { days: Schema.Int } })
    expectTypeOf(ReAct.make(signature, { tools: [] })({ from: new Date(0) })).toMatchTypeOf<
      Effect.Effect<{ readonly days: number }, unknown, unknown>
    >()
    for (const { make } of [ProgramOfThought, CodeAct, RLM]) {
      expectTypeOf(make(signature)({ from: new Date(0) })).toMatchTypeOf<
        Effect.Effect<{ readonly days: number }, unknown, unknown>
      >()
      // @ts-expect-error an input is missing
      make(signature)({})
      // @ts-expect-error there is no type of this name
      make("question -> answer: strin")
    }
  })

  it("have the same options, those that run code also the limits of the sandbox", () => {
    const options = { maxIters: 2, maxOutput: 500, settings: { temperature: 0 } }
    ReAct.make(text, { tools: [], ...options })
    const limited = { ...options, sandbox: { timeout: "1 second", memory: 2 ** 24, calls: 8 } } as const
    ProgramOfThought.make(text, limited)
    CodeAct.make(text, limited)
    RLM.make(text, limited)
    // @ts-expect-error it has no sandbox
    ReAct.make(text, { tools: [], sandbox: { timeout: "1 second" } })
    // @ts-expect-error there are two ways to end only
    ReAct.make(text, { tools: [], ending: "stop" })
  })

  it("end for one of five reasons", () => {
    expectTypeOf<Agent.Termination>().toEqualTypeOf<
      "submitted" | "finished" | "maxIters" | "contextWindow" | "unreadable"
    >()
  })
})
