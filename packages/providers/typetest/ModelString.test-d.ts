import type * as Embedder from "@effect-dspy/core/Embedder"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as ModelString from "@effect-dspy/providers/ModelString"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import type { HttpClient } from "@effect/platform"
import type { ConfigError, Layer } from "effect"
import { describe, expectTypeOf, it } from "vitest"

describe("ModelString", () => {
  it("may fail for the text and for the configuration, and needs a client", () => {
    expectTypeOf(ModelString.layer("openai/m")).toEqualTypeOf<
      Layer.Layer<
        LanguageModel.LanguageModel,
        ModelString.ModelStringError | ConfigError.ConfigError,
        HttpClient.HttpClient
      >
    >()
    expectTypeOf(ModelString.embedderLayer("openai/m")).toEqualTypeOf<
      Layer.Layer<Embedder.Embedder, ModelString.ModelStringError | ConfigError.ConfigError, HttpClient.HttpClient>
    >()
  })
})

describe("OpenAiCompatible", () => {
  it("knows its dialects", () => {
    OpenAiCompatible.layer({ model: "m", dialect: "together_ai" })
    // @ts-expect-error: no such dialect
    OpenAiCompatible.layer({ model: "m", dialect: "together" })
    expectTypeOf(OpenAiCompatible.embedderLayer({ model: "m" })).toEqualTypeOf<
      Layer.Layer<Embedder.Embedder, never, HttpClient.HttpClient>
    >()
  })
})
