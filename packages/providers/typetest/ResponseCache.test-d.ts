import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import type { Layer } from "effect"
import { Effect } from "effect"
import { describe, expectTypeOf, it } from "vitest"
import * as RedisResponseCache from "../src/RedisResponseCache.ts"
import * as ResponseCache from "../src/ResponseCache.ts"

const model = TestLanguageModel.layer([])

type Provides<L> = L extends Layer.Layer<infer A, infer _E, infer _R> ? A : never

describe("ResponseCache", () => {
  it("in memory cannot fail; a file or a server can, when it is opened", () => {
    const inMemory = model.pipe(Policy.apply(ResponseCache.memory({ maxBytes: 1000, timeToLive: "1 day" })))
    expectTypeOf(inMemory).toEqualTypeOf<Layer.Layer<Provides<typeof model>>>()
    const inFile = model.pipe(Policy.apply(ResponseCache.sqlite({ path: "lm.db" })))
    expectTypeOf(inFile).toEqualTypeOf<Layer.Layer<Provides<typeof model>, ResponseCache.ResponseCacheError>>()
    const inRedis = model.pipe(Policy.apply(RedisResponseCache.make({ url: "redis://localhost" })))
    expectTypeOf(inRedis).toEqualTypeOf<Layer.Layer<Provides<typeof model>, ResponseCache.ResponseCacheError>>()
    expectTypeOf<LanguageModel.LanguageModel>().toExtend<Provides<typeof model>>()
  })

  it("is a policy that tells more", () => {
    const made = Effect.flatMap(ResponseCache.memoryStore(), (store) => ResponseCache.make(store))
    expectTypeOf(made).toEqualTypeOf<Effect.Effect<ResponseCache.ResponseCache>>()
    expectTypeOf<ResponseCache.ResponseCache>().toExtend<Policy.Policy>()
    // @ts-expect-error a file needs a path
    ResponseCache.sqlite({ maxBytes: 1 })
  })
})
