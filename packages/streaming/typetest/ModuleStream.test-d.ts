import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import type { Stream } from "effect"
import { describe, expectTypeOf, it } from "vitest"

const answer = Predict.make("question -> answer: int")

describe("ModuleStream", () => {
  it("keeps result, error and requirement of the module", () => {
    expectTypeOf(ModuleStream.events(answer, { question: "?" })).toEqualTypeOf<
      Stream.Stream<
        ModuleEvent.ModuleEvent<{ readonly answer: number }>,
        Predict.PredictError,
        LanguageModel.LanguageModel
      >
    >()
    expectTypeOf(ModuleStream.field(answer, { question: "?" }, { path: "", field: "answer" })).toEqualTypeOf<
      Stream.Stream<
        string,
        Predict.PredictError | ModuleStream.UnknownField | ModuleStream.FieldReset,
        LanguageModel.LanguageModel
      >
    >()
  })

  it("checks the input", () => {
    // @ts-expect-error the module takes a question
    ModuleStream.events(answer, { query: "?" })
  })
})
