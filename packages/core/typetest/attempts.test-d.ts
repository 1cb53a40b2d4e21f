import * as Assert from "@effect-dspy/core/Assert"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import * as Parallel from "@effect-dspy/core/Parallel"
import * as Predict from "@effect-dspy/core/Predict"
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

  it("suggested, it always stands up", () => {
    const cited = Assert.suggest(answer, { check: () => Effect.succeed([]) })
    expectTypeOf(cited).toEqualTypeOf<Module.Module<In, Out, Predict.PredictError, LanguageModel.LanguageModel>>()
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
