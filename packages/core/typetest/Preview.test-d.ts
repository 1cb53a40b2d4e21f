import * as Adapter from "@effect-dspy/core/Adapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Preview from "@effect-dspy/core/Preview"
import * as TwoStepAdapter from "@effect-dspy/core/TwoStepAdapter"
import { Context, Data, Effect } from "effect"
import { describe, expectTypeOf, it } from "vitest"

class Wiki extends Context.Tag("Wiki")<Wiki, { readonly find: (text: string) => Effect.Effect<string, NotFound> }>() {}

class NotFound extends Data.TaggedError("NotFound")<{}> {}

describe("Preview", () => {
  const answer = Predict.make("question -> answer: int")

  it("needs the model's Layer, takes the input of the module, and fails as that does or because nothing is asked", () => {
    expectTypeOf(Preview.make(answer, { question: "?" })).toEqualTypeOf<
      Effect.Effect<Preview.Preview, Predict.PredictError | Preview.NothingAsked, LanguageModel.LanguageModel>
    >()
    // @ts-expect-error: not its input
    Preview.make(answer, { query: "?" })
  })

  it("needs what comes before the first request, and fails as that does", () => {
    const found = Module.make({ answer }, function*(m, input: { readonly question: string }) {
      const question = yield* Effect.flatMap(Wiki, (wiki) => wiki.find(input.question))
      return yield* m.answer({ question })
    })
    expectTypeOf(Preview.make(found, { question: "?" })).toEqualTypeOf<
      Effect.Effect<
        Preview.Preview,
        Predict.PredictError | NotFound | Preview.NothingAsked,
        LanguageModel.LanguageModel | Wiki
      >
    >()
  })
})

describe("adapters", () => {
  it("a two-step one is given its model, and needs nothing of the program", () => {
    expectTypeOf(TwoStepAdapter.make).parameter(0).toHaveProperty("extraction").toEqualTypeOf<
      Context.Context<LanguageModel.LanguageModel>
    >()
    expectTypeOf(TwoStepAdapter.make).returns.toEqualTypeOf<Adapter.Adapter>()
  })

  it("parts of one's own fit together", () => {
    const messages = Adapter.messages({ structure: () => "", answer: () => "", reminder: () => "" })
    expectTypeOf(messages).returns.toEqualTypeOf<LanguageModel.Request["messages"]>()
    expectTypeOf(Adapter.delimited({ start: (field) => field })).toEqualTypeOf<Adapter.Adapter["parser"]>()
    // @ts-expect-error: an adapter has a parser
    Adapter.make({ name: "x", format: (input) => ({ messages: messages(input) }) })
  })
})
