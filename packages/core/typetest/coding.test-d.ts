import * as CodeAct from "@effect-dspy/core/CodeAct"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import type * as Predict from "@effect-dspy/core/Predict"
import * as RLM from "@effect-dspy/core/RLM"
import type * as Sandbox from "@effect-dspy/core/Sandbox"
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

describe("CodeAct", () => {
  it("shows what its tools need and fail with", () => {
    expectTypeOf(CodeAct.make("question -> answer: int", { tools: [save] })).toEqualTypeOf<
      Module.Module<
        { readonly question: string },
        {
          readonly reasoning: string
          readonly answer: number
          readonly trajectory: ReadonlyArray<CodeAct.Step>
          readonly termination: CodeAct.Termination
        },
        Predict.PredictError | Sandbox.SandboxError | "closed",
        LanguageModel.LanguageModel | Sandbox.Sandbox | Store
      >
    >()
  })
})

describe("RLM", () => {
  it("shows what its tools need and fail with; without tools only what it needs itself", () => {
    expectTypeOf(RLM.make("log: string[], question -> errors: int")).toEqualTypeOf<
      Module.Module<
        { readonly log: ReadonlyArray<string>; readonly question: string },
        {
          readonly errors: number
          readonly trajectory: ReadonlyArray<RLM.Step>
          readonly termination: RLM.Termination
        },
        Predict.PredictError | Sandbox.SandboxError,
        LanguageModel.LanguageModel | Sandbox.Sandbox
      >
    >()
    expectTypeOf(RLM.make("log -> errors: int", { tools: [save] })({ log: "" })).toMatchTypeOf<
      Effect.Effect<
        { readonly errors: number },
        Predict.PredictError | Sandbox.SandboxError | "closed",
        LanguageModel.LanguageModel | Sandbox.Sandbox | Store
      >
    >()
  })
})
