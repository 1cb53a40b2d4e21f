import * as Budget from "@effect-dspy/core/Budget"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { Layer } from "effect"
import { describe, expectTypeOf, it } from "vitest"
import * as BudgetPolicy from "../src/BudgetPolicy.ts"
import * as UsageLedger from "../src/UsageLedger.ts"

type Model = LanguageModel.LanguageModel | TestLanguageModel.TestLanguageModel

const model = TestLanguageModel.layer([])

declare const budget: Budget.Service

describe("BudgetPolicy", () => {
  it("asks for a budget unless it is given one", () => {
    expectTypeOf(model.pipe(Policy.apply(BudgetPolicy.make()))).toEqualTypeOf<
      Layer.Layer<Model, never, Budget.Budget>
    >()
    expectTypeOf(model.pipe(Policy.apply(BudgetPolicy.fromBudget(budget)))).toEqualTypeOf<Layer.Layer<Model>>()
  })

  it("and a ledger leave nothing open once both are provided", () => {
    const counted = model.pipe(
      Policy.apply(BudgetPolicy.make({ maxTokens: 100 })),
      Policy.apply(UsageLedger.policy),
      Layer.provideMerge(Layer.merge(Budget.layer({ calls: 1 }), UsageLedger.layer()))
    )
    expectTypeOf(counted).toEqualTypeOf<Layer.Layer<Model | Budget.Budget | UsageLedger.UsageLedger>>()
  })
})
