import * as Evaluate from "@effect-dspy/core/Evaluate"
import * as Example from "@effect-dspy/core/Example"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Metric from "@effect-dspy/core/Metric"
import * as Policy from "@effect-dspy/core/Policy"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Layer, Option, Stream } from "effect"
import * as Prices from "../src/Prices.ts"

const request: LanguageModel.Request = { messages: [{ role: "user", content: "hi" }] }
const million = { inputTokens: 1_000_000, outputTokens: 1_000_000 }

describe("Prices", () => {
  it("finds a model by its name, its snapshots, without what is before a slash, and by the longest beginning", () => {
    const table: Prices.Table = {
      "gpt-4o": { input: 1, output: 0 },
      "gpt-4o-mini": { input: 2, output: 0 },
      "azure/gpt-4o": { input: 3, output: 0 },
      "ollama/*": { input: 4, output: 0 },
      "ollama/big-*": { input: 5, output: 0 },
      "claude-x": { input: 6, output: 0 }
    }
    const names: ReadonlyArray<readonly [string, number | undefined]> = [
      ["gpt-4o", 1],
      ["gpt-4o-2024-08-06", 1],
      ["gpt-4o-latest", 1],
      ["openai/gpt-4o", 1],
      ["localhost:4000/openai/gpt-4o", 1],
      ["gpt-4o-mini-2024-07-18", 2],
      ["azure/gpt-4o", 3],
      ["azure/gpt-4o-2024-08-06", 3],
      ["ollama/llama3.2:3b", 4],
      ["ollama/big-one", 5],
      ["claude-x-20250929", 6],
      ["claude-x@20250929", 6],
      // A longer name is another model, and the table's prototype none.
      ["gpt-4o-audio", undefined],
      ["gpt-4", undefined],
      ["constructor", undefined],
      ["", undefined]
    ]
    for (const [name, input] of names) {
      assert.strictEqual(Option.getOrUndefined(Prices.priceOf(table, name))?.input, input, name)
    }
  })

  it("the built-in prices tell a model from its smaller ones", () => {
    const cost = (model: string) => Option.getOrUndefined(Prices.cost(Prices.builtIn, model, million))
    assert.strictEqual(cost("openai/gpt-4o-mini"), 0.75)
    assert.strictEqual(cost("openai/gpt-4o"), 12.5)
    assert.strictEqual(cost("anthropic/claude-haiku-4-5-20251001"), 6)
    assert.isUndefined(cost("gpt-5-pro"))
    for (const [model, price] of Object.entries(Prices.builtIn)) {
      assert.isTrue(price.input > 0 && price.output > price.input && (price.cachedInput ?? 0) < price.input, model)
    }
  })

  it("charges what a cache was read and written for at its own price, reports what the provider says, and does not know what it is not told", () => {
    const table = { m: { input: 10, cachedInput: 1, cacheWrite: 20, output: 100 }, plain: { input: 10, output: 100 } }
    const cost = (model: string, usage: LanguageModel.Usage) => Option.getOrUndefined(Prices.cost(table, model, usage))
    assert.strictEqual(cost("m", { ...million, cachedInputTokens: 400_000 }), 6 + 0.4 + 100)
    assert.strictEqual(
      cost("m", { ...million, cachedInputTokens: 400_000, cacheWriteInputTokens: 500_000 }),
      1 + 0.4 + 10 + 100
    )
    assert.strictEqual(
      cost("plain", { ...million, cachedInputTokens: 400_000, cacheWriteInputTokens: 500_000 }),
      110
    )
    assert.strictEqual(cost("m", { inputTokens: 0, outputTokens: 0 }), 0)
    assert.strictEqual(cost("m", { cost: 7 }), 7)
    assert.isUndefined(cost("m", { inputTokens: 10 }))
    assert.isUndefined(cost("m", { outputTokens: 10 }))
    assert.isUndefined(cost("m", {}))
    assert.isUndefined(cost("other", million))
  })

  it.effect("writes the cost into answers and into the last delta, and only where it is known", () =>
    Effect.gen(function*() {
      const { model } = yield* TestLanguageModel.make(
        (_request, n) =>
          TestLanguageModel.text("hello").pipe(
            TestLanguageModel.withUsage([million, million, { inputTokens: 5 }, { ...million, cost: 9 }][n] ?? {})
          ),
        { id: "acme/large" }
      )
      const policed = yield* Prices.policy(model).pipe(
        Effect.provide(Prices.layer({ large: { input: 1, output: 2 } }))
      )
      const completed = Effect.map(
        Stream.runCollect(policed.stream(request)),
        (deltas) => Chunk.toReadonlyArray(deltas).flatMap((delta) => delta._tag === "Completed" ? [delta.usage] : [])
      )
      assert.deepStrictEqual((yield* policed.generate(request)).usage, { ...million, cost: 3 })
      assert.deepStrictEqual(yield* completed, [{ ...million, cost: 3 }])
      assert.deepStrictEqual((yield* policed.generate(request)).usage, { inputTokens: 5 })
      assert.deepStrictEqual(yield* completed, [{ ...million, cost: 9 }])
    }))

  it.effect("looks the model up by the name it answers with where the name it was asked by is not known", () =>
    Effect.gen(function*() {
      const response = yield* LanguageModel.generate(request)
      assert.strictEqual(response.usage.cost, 0.75)
    }).pipe(Effect.provide(
      Layer.succeed(
        LanguageModel.LanguageModel,
        LanguageModel.make({
          id: "proxy/fast",
          // Bytes without a delta, as servers send them to keep a connection alive.
          stream: () =>
            Stream.fromChunks<LanguageModel.Delta>(
              Chunk.empty(),
              Chunk.of({ _tag: "Completed", model: "gpt-4o-mini-2024-07-18", usage: million })
            )
        })
      ).pipe(Policy.apply(Prices.policy))
    )))

  it.effect("evaluations, and with them optimizers, count the money", () =>
    Effect.gen(function*() {
      const report = yield* Evaluate.run(Predict.make("question -> answer"), {
        examples: ["a", "b", "c"].map((question) =>
          Example.make({ inputs: { question }, labels: { answer: question } })
        ),
        metric: Metric.equals("answer")
      })
      assert.strictEqual(report.usage.cost, 9)
    }).pipe(Effect.provide(
      TestLanguageModel.layer(
        () => TestLanguageModel.withUsage(TestLanguageModel.fields({ answer: "a" }), million),
        { id: "acme/large" }
      ).pipe(Policy.apply(Prices.policy), Layer.provide(Prices.layer({ large: { input: 1, output: 2 } })))
    )))
})
