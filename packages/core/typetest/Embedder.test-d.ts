import * as Embedder from "@effect-dspy/core/Embedder"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import { Effect } from "effect"
import { describe, expectTypeOf, it } from "vitest"

describe("Embedder", () => {
  it("asks for the service and fails like a model", () => {
    expectTypeOf(Embedder.embed(["a"])).toEqualTypeOf<
      Effect.Effect<ReadonlyArray<Float32Array>, LanguageModelError, Embedder.Embedder>
    >()
  })

  it("is built from a function that needs nothing and fails with nothing else", () => {
    expectTypeOf(Embedder.make({ id: "a/b", embed: () => Effect.succeed([]) })).toEqualTypeOf<Embedder.Service>()
    // @ts-expect-error: another error
    Embedder.make({ id: "a/b", embed: () => Effect.fail("no") })
    // @ts-expect-error: a requirement
    Embedder.make({ id: "a/b", embed: () => Effect.as(Embedder.Embedder, []) })
    // @ts-expect-error: arrays of numbers are no vectors
    Embedder.make({ id: "a/b", embed: () => Effect.succeed([[1, 2]]) })
  })
})
