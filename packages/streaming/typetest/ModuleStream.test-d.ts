import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import { Stream } from "effect"
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

  it("types the chosen fields, and the values that grow", () => {
    expectTypeOf(
      ModuleStream.fields(answer, { question: "?" }, { fields: [{ path: "", field: "answer" }] })
    ).toEqualTypeOf<
      Stream.Stream<
        | (ModuleEvent.FieldDelta & { readonly path: ""; readonly field: "answer" })
        | ModuleEvent.Reset
        | ModuleEvent.Discarded,
        Predict.PredictError | ModuleStream.UnknownField,
        LanguageModel.LanguageModel
      >
    >()
    const signature = Signature.parse("question -> answer: int, parts: { name: string, size: 'big' | 'small' }[]")
    const partial = ModuleStream.partial(answer, { question: "?" }, { path: "", signature })
    expectTypeOf<Extract<Stream.Stream.Success<typeof partial>, { _tag: "Written" }>["value"]>().toEqualTypeOf<
      Signature.Output<typeof signature>
    >()
    expectTypeOf<Extract<Stream.Stream.Success<typeof partial>, { _tag: "Writing" }>["value"]>().toEqualTypeOf<
      {
        readonly answer?: number
        readonly parts?: ReadonlyArray<{ readonly name?: string; readonly size?: "big" | "small" }>
      }
    >()
  })

  it("keeps errors of the module in the items of a batch, those of the source in the stream", () => {
    expectTypeOf(ModuleStream.batch(answer, [{ question: "?", id: 1 }])).toEqualTypeOf<
      Stream.Stream<
        ModuleStream.BatchItem<{ question: string; id: number }, { readonly answer: number }, Predict.PredictError>,
        never,
        LanguageModel.LanguageModel
      >
    >()
    const source: Stream.Stream<{ readonly question: string }, "lost", "source"> = Stream.fail("lost")
    expectTypeOf(ModuleStream.batch(answer, source)).toEqualTypeOf<
      Stream.Stream<
        ModuleStream.BatchItem<{ readonly question: string }, { readonly answer: number }, Predict.PredictError>,
        "lost",
        LanguageModel.LanguageModel | "source"
      >
    >()
  })

  it("checks the input", () => {
    // @ts-expect-error the module takes a question
    ModuleStream.events(answer, { query: "?" })
  })
})
