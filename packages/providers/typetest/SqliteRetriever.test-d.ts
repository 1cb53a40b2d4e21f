import type * as Embedder from "@effect-dspy/core/Embedder"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import type * as Retriever from "@effect-dspy/core/Retriever"
import * as SqliteRetriever from "@effect-dspy/providers/SqliteRetriever"
import type { Effect, Layer, Scope } from "effect"
import { expectTypeOf, test } from "vitest"

test("a file of documents is a retriever that needs an embedder", () => {
  expectTypeOf(SqliteRetriever.layer({ path: "documents.db" })).toEqualTypeOf<
    Layer.Layer<Retriever.Retriever, Retriever.RetrieverError, Embedder.Embedder>
  >()
  expectTypeOf(SqliteRetriever.make({ path: "documents.db" })).toEqualTypeOf<
    Effect.Effect<SqliteRetriever.SqliteRetriever, Retriever.RetrieverError, Embedder.Embedder | Scope.Scope>
  >()
  expectTypeOf<SqliteRetriever.SqliteRetriever>().toExtend<Retriever.Service>()
})

test("only what embeds can fail as a model does", () => {
  expectTypeOf<ReturnType<SqliteRetriever.SqliteRetriever["upsert"]>>().toEqualTypeOf<
    Effect.Effect<void, Retriever.RetrieverError | LanguageModelError>
  >()
  expectTypeOf<ReturnType<SqliteRetriever.SqliteRetriever["remove"]>>().toEqualTypeOf<
    Effect.Effect<void, Retriever.RetrieverError>
  >()
})
