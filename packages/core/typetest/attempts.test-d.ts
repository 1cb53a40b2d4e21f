import * as Assert from "@effect-dspy/core/Assert"
import * as BestOfN from "@effect-dspy/core/BestOfN"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import * as Parallel from "@effect-dspy/core/Parallel"
import * as Predict from "@effect-dspy/core/Predict"
import * as Refine from "@effect-dspy/core/Refine"
import { Effect } from "effect"
import type { Context, Either } from "effect"
import { describe, expectTypeOf, it } from "vitest"

const answer = Predict.make("question -> answer, sources: string[]")

interface In {
  readonly question: string
}

interface Out {
  readonly answer: string
  readonly sources: ReadonlyArray<string>
}

describe("Assert", () => {
  it("shows the check's failures and requirements, and that it may not stand up", () => {
    class Library extends Effect.Service<Library>()("Library", { succeed: { has: (_: string) => true } }) {}
    const cited = Assert.make(answer, {
      check: (input, output) => {
        expectTypeOf(input).toEqualTypeOf<In>()
        expectTypeOf(output).toEqualTypeOf<Out>()
        return Effect.flatMap(
          Library,
          (library) => output.sources.every(library.has) ? Effect.succeed([]) : Effect.fail("closed" as const)
        )
      }
    })
    expectTypeOf(cited).toEqualTypeOf<
      Module.Module<
        In,
        Out,
        Predict.PredictError | "closed" | Assert.CheckFailed,
        LanguageModel.LanguageModel | Library
      >
    >()
  })

  it("takes a check that says at once what is wrong", () => {
    const cited = Assert.make(answer, { check: (_, { sources }) => sources.length === 0 ? ["Name a source."] : [] })
    expectTypeOf(cited).toEqualTypeOf<
      Module.Module<In, Out, Predict.PredictError | Assert.CheckFailed, LanguageModel.LanguageModel>
    >()
    // @ts-expect-error a list of complaints, not whether all is well
    void Assert.make(answer, { check: (_, { sources }) => sources.length > 0 })
  })

  it("suggested, it always stands up", () => {
    const cited = Assert.suggest(answer, { check: () => Effect.succeed([]) })
    expectTypeOf(cited).toEqualTypeOf<Module.Module<In, Out, Predict.PredictError, LanguageModel.LanguageModel>>()
  })
})

describe("BestOfN and Refine", () => {
  it("take a reward that says at once how good it is", () => {
    const best = BestOfN.make(answer, {
      n: 3,
      reward: (input, output) => {
        expectTypeOf(input).toEqualTypeOf<In>()
        expectTypeOf(output).toEqualTypeOf<Out>()
        return output.sources.length
      }
    })
    expectTypeOf(best).toEqualTypeOf<Module.Module<In, Out, Predict.PredictError, LanguageModel.LanguageModel>>()
    const refined = Refine.make(answer, { n: 3, reward: (_, { sources }) => sources.length > 0, threshold: 1 })
    expectTypeOf(refined).toEqualTypeOf<Module.Module<In, Out, Predict.PredictError, LanguageModel.LanguageModel>>()
    // @ts-expect-error a text is no reward
    void BestOfN.make(answer, { n: 3, reward: (_, { answer }) => answer })
  })
})

describe("Parallel", () => {
  it("has the failures of its part as values", () => {
    const all = Parallel.make(answer)
    expectTypeOf(all).toEqualTypeOf<
      Module.Module<
        Iterable<In>,
        Array<Either.Either<Out, Predict.PredictError>>,
        Parallel.TooManyFailures<Out, Predict.PredictError>,
        Context.Tag.Identifier<typeof LanguageModel.LanguageModel>
      >
    >()
    // @ts-expect-error: an input of another type
    all([{ query: "?" }])
  })
})
