import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import type * as Predict from "@effect-dspy/core/Predict"
import * as ProgramOfThought from "@effect-dspy/core/ProgramOfThought"
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

describe("ProgramOfThought", () => {
  it("needs a model and a sandbox, and may fail for want of a program", () => {
    expectTypeOf(ProgramOfThought.make("question -> answer: int")).toEqualTypeOf<
      Module.Module<
        { readonly question: string },
        {
          readonly reasoning: string
          readonly answer: number
          readonly trajectory: ReadonlyArray<ProgramOfThought.Step>
        },
        Predict.PredictError | Sandbox.SandboxError | ProgramOfThought.ProgramOfThoughtError,
        LanguageModel.LanguageModel | Sandbox.Sandbox
      >
    >()
  })

  it("takes signatures, and shows what its tools need and fail with", () => {
    const solve = ProgramOfThought.make(
      Signature.make({ input: { from: Schema.Date }, output: { days: Schema.Int } }),
      { tools: [save], maxIters: 2 }
    )
    expectTypeOf(solve({ from: new Date(0) })).toEqualTypeOf<
      Effect.Effect<
        {
          readonly reasoning: string
          readonly days: number
          readonly trajectory: ReadonlyArray<ProgramOfThought.Step>
        },
        Predict.PredictError | Sandbox.SandboxError | ProgramOfThought.ProgramOfThoughtError | "closed",
        LanguageModel.LanguageModel | Sandbox.Sandbox | Store
      >
    >()
    // @ts-expect-error an input is missing
    solve({})
  })

  it("refuses signatures that are none", () => {
    // @ts-expect-error there is no type of this name
    ProgramOfThought.make("question -> answer: strin")
  })
})
