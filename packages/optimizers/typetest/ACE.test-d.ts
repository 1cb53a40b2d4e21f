import type * as Example from "@effect-dspy/core/Example"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Predict from "@effect-dspy/core/Predict"
import * as ACE from "@effect-dspy/optimizers/ACE"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"

class Settings extends Context.Tag("Settings")<Settings, { readonly key: string }>() {}

interface Labels {
  readonly answer: string
}

const qa = Predict.make("question -> answer")

declare const trainset: ReadonlyArray<Example.Example<{ readonly question: string }, Labels>>
declare const exact: Metric<unknown, Labels, Labels>
declare const service: LanguageModel.Service

describe("ACE", () => {
  it("keeps the type of the module, and needs what the prompt model is made of", () => {
    const promptModel = Layer.effect(LanguageModel.LanguageModel, Effect.as(Settings, service))
    const compiled = ACE.compile(qa, { trainset, metric: exact, promptModel })
    expectTypeOf<Effect.Effect.Success<typeof compiled>["module"]>().toEqualTypeOf<typeof qa>()
    expectTypeOf<Effect.Effect.Error<typeof compiled>>().toEqualTypeOf<Optimizer.OptimizerError>()
    expectTypeOf<Effect.Effect.Context<typeof compiled>>().toEqualTypeOf<LanguageModel.LanguageModel | Settings>()
  })

  it("takes modules of one's own that fit", () => {
    ACE.compile(qa, { trainset, metric: exact, modules: { curate: Predict.make(ACE.Curate, { settings: {} }) } })
    // @ts-expect-error a reflection is no curation
    ACE.compile(qa, { trainset, metric: exact, modules: { curate: Predict.make(ACE.Reflect) } })
  })
})
