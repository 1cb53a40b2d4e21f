import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as Policies from "@effect-dspy/providers/Policies"
import type { Layer, Scope } from "effect"
import { describe, expectTypeOf, it } from "vitest"

declare const model: Layer.Layer<LanguageModel.LanguageModel, "a", "A">
declare const budget: Policy.Policy<never, "B">
declare const fallback: Policy.Policy<"c", "C">
declare const cache: Policy.Policy<"d", "D">

describe("Policies", () => {
  it("needs and fails with what the given policies do", () => {
    expectTypeOf(Policies.standard()).toEqualTypeOf<Policy.Policy<never, Scope.Scope>>()
    expectTypeOf(Policies.standard({ budget, fallback, cache, retry: false })).toEqualTypeOf<
      Policy.Policy<"c" | "d", "B" | "C" | "D" | Scope.Scope>
    >()
    expectTypeOf(Policy.apply(model, Policies.standard({ budget }))).toEqualTypeOf<
      Layer.Layer<LanguageModel.LanguageModel, "a", "A" | "B">
    >()
  })

  it("takes no policy for options, and no other way round", () => {
    // @ts-expect-error: options are wanted
    Policies.standard({ retry: budget })
    // @ts-expect-error: a policy is wanted
    Policies.standard({ budget: { calls: 3 } })
  })
})
