import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import type * as Embedder from "@effect-dspy/core/Embedder"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import type * as Predict from "@effect-dspy/core/Predict"
import * as Retriever from "@effect-dspy/core/Retriever"
import type { Layer } from "effect"
import { expectTypeOf, test } from "vitest"

test("a program that retrieves says so in its type, and how that can fail", () => {
  const rag = Module.make(
    { answer: ChainOfThought.make("context: string[], question -> answer") },
    function*(m, input: { readonly question: string }) {
      const passages = yield* Retriever.search(input.question, { k: 5 })
      return yield* m.answer({ context: passages.map(({ text }) => text), question: input.question })
    }
  )
  expectTypeOf<Module.Error<typeof rag>>().toEqualTypeOf<Predict.PredictError | Retriever.RetrieverError>()
  expectTypeOf<Module.Requirements<typeof rag>>().toEqualTypeOf<LanguageModel.LanguageModel | Retriever.Retriever>()
})

test("only vectors need an embedder", () => {
  expectTypeOf(Retriever.layerCosine([])).toEqualTypeOf<
    Layer.Layer<Retriever.Retriever, Retriever.RetrieverError | LanguageModelError, Embedder.Embedder>
  >()
  expectTypeOf(Retriever.layerBm25([])).toEqualTypeOf<Layer.Layer<Retriever.Retriever, Retriever.RetrieverError>>()
})

test("a search says how many, a document has an id", () => {
  // @ts-expect-error
  Retriever.search("q", {})
  // @ts-expect-error
  Retriever.bm25([{ text: "no id" }])
})
