import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as Fallback from "@effect-dspy/providers/Fallback"
import type { Layer, Scope } from "effect"
import { describe, expectTypeOf, it } from "vitest"

declare const service: LanguageModel.Service
declare const first: Layer.Layer<LanguageModel.LanguageModel, "a", "A">
declare const second: Layer.Layer<LanguageModel.LanguageModel, "b", "B">

describe("Fallback", () => {
  it("needs and fails with what building the models does", () => {
    expectTypeOf(Fallback.make({ models: [service] })).toEqualTypeOf<Policy.Policy<never, Scope.Scope>>()
    expectTypeOf(Fallback.make({ models: [service, first], contextWindow: [second] })).toEqualTypeOf<
      Policy.Policy<"a" | "b", "A" | "B" | Scope.Scope>
    >()
    expectTypeOf(Policy.apply(first, Fallback.make({ models: [second] }))).toEqualTypeOf<
      Layer.Layer<LanguageModel.LanguageModel, "a" | "b", "A" | "B">
    >()
  })

  it("takes models only", () => {
    // @ts-expect-error: not a model
    Fallback.make({ models: ["openai/gpt-4o-mini"] })
  })
})
