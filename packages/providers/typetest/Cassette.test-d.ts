import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import type { FileSystem } from "@effect/platform"
import type { Layer } from "effect"
import { describe, expectTypeOf, it } from "vitest"
import * as Cassette from "../src/Cassette.ts"

describe("Cassette", () => {
  it("asks for files, keeps its scope to itself, and says what can go wrong", () => {
    const model = TestLanguageModel.layer([]).pipe(Policy.apply(Cassette.make({ path: "a.jsonl" })))
    expectTypeOf(model).toEqualTypeOf<
      Layer.Layer<
        LanguageModel.LanguageModel | TestLanguageModel.TestLanguageModel,
        Cassette.CassetteError,
        FileSystem.FileSystem
      >
    >()
  })

  it("knows three modes", () => {
    // @ts-expect-error
    Cassette.make({ path: "a.jsonl", mode: "rewind" })
  })
})
