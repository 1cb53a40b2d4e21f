import type * as Example from "@effect-dspy/core/Example"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as GEPA from "@effect-dspy/optimizers/GEPA"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import type { Stream } from "effect"

class Settings extends Context.Tag("Settings")<Settings, { readonly key: string }>() {}

interface Labels {
  readonly answer: string
}

const qa = Predict.make("question -> answer")

declare const trainset: ReadonlyArray<Example.Example<{ readonly question: string }, Labels>>
declare const exact: Metric<unknown, Labels, Labels>
declare const service: LanguageModel.Service

describe("GEPA", () => {
  it("keeps the type of the module", () => {
    const compiled = GEPA.compile(qa, { trainset, metric: exact, auto: "light" })
    expectTypeOf<Effect.Effect.Success<typeof compiled>["module"]>().toEqualTypeOf<typeof qa>()
    expectTypeOf<Effect.Effect.Error<typeof compiled>>().toEqualTypeOf<Optimizer.OptimizerError>()
    const events = GEPA.events(qa, { trainset, metric: exact, auto: "light" })
    expectTypeOf<Stream.Stream.Success<typeof events>>().toEqualTypeOf<Optimizer.OptimizerEvent<typeof qa>>()
  })

  it("needs a model, and what the model that reflects is made of", () => {
    const own = GEPA.compile(qa, { trainset, metric: exact, auto: "light" })
    expectTypeOf<Effect.Effect.Context<typeof own>>().toEqualTypeOf<LanguageModel.LanguageModel>()
    const promptModel = Layer.effect(LanguageModel.LanguageModel, Effect.as(Settings, service))
    const other = GEPA.compile(qa, { trainset, metric: exact, auto: "light", promptModel })
    expectTypeOf<Effect.Effect.Context<typeof other>>().toEqualTypeOf<LanguageModel.LanguageModel | Settings>()
  })

  it("types a metric where it is written, with words for predictors", () => {
    GEPA.compile(qa, {
      trainset,
      auto: "light",
      metric: (example, output) => {
        expectTypeOf(example.labels).toEqualTypeOf<Labels>()
        return Effect.succeed({ value: output.answer === "yes" ? 1 : 0, predictors: { "": "say yes" } })
      }
    })
  })

  it("takes a proposer of one's own", () => {
    const terse: GEPA.InstructionProposer = Module.map(
      Module.mapInput(
        Predict.make("instructions, failures: string[] -> better"),
        ({ attempts, instructions }: GEPA.Reflection) => ({
          instructions,
          failures: attempts.filter(({ score }) => score < 1).map(({ feedback }) => feedback ?? "wrong")
        })
      ),
      ({ better }) => ({ instructions: better })
    )
    GEPA.compile(qa, { trainset, metric: exact, auto: "light", instructionProposer: terse })
    GEPA.compile(qa, {
      trainset,
      metric: exact,
      auto: "light",
      // @ts-expect-error answers with something else
      instructionProposer: Predict.make("path -> answer")
    })
  })

  it("refuses what it does not know", () => {
    // @ts-expect-error no such size
    GEPA.compile(qa, { trainset, metric: exact, auto: "huge" })
    // @ts-expect-error no such option
    GEPA.compile(qa, { trainset, metric: exact, auto: "light", breadth: 3 })
  })
})
