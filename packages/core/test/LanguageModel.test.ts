import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Chunk, Effect, FastCheck, Schema, Stream } from "effect"

const request: LanguageModel.Request = { messages: [{ role: "user", content: "hi" }] }

describe("LanguageModel", () => {
  it.effect("a response folds back from its own deltas", () =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(
          FastCheck.array(
            FastCheck.record({
              text: FastCheck.string(),
              reasoning: FastCheck.string({ minLength: 1 }),
              toolCalls: FastCheck.array(Arbitrary.make(LanguageModel.ToolCall), { maxLength: 3 }),
              finishReason: Arbitrary.make(LanguageModel.FinishReason),
              citations: FastCheck.array(Arbitrary.make(LanguageModel.Citation), { minLength: 1, maxLength: 3 }),
              continuation: Arbitrary.make(Json.Json)
            }, { requiredKeys: ["text", "toolCalls", "finishReason"] }),
            { minLength: 1, maxLength: 3 }
          ),
          async (outputs) => {
            const response: LanguageModel.Response = {
              outputs,
              usage: { inputTokens: 3 },
              model: "m",
              requestId: "r",
              cached: true
            }
            const folded = await Effect.runPromise(LanguageModel.fold(LanguageModel.unfold(response), "m"))
            assert.deepStrictEqual(folded, response)
          }
        ),
        { seed: 1, numRuns: 200 }
      )
    ))

  it.effect("an answer of as many tokens as a model writes folds back", () =>
    Effect.gen(function*() {
      const logprobs = Array.from({ length: 300_000 }, () => ({ token: "x", logprob: -1 }))
      const response: LanguageModel.Response = {
        outputs: [{ text: "x".repeat(300_000), toolCalls: [], finishReason: "stop", logprobs }],
        usage: {},
        model: "m"
      }
      const { outputs } = yield* LanguageModel.fold(LanguageModel.unfold(response), "m")
      assert.strictEqual(outputs[0]?.logprobs?.length, 300_000)
    }))

  it.effect("a stream that ends without Completed is truncated, not an answer", () =>
    Effect.gen(function*() {
      const model = LanguageModel.make({
        id: "test/cut",
        stream: () => Stream.make<Array<LanguageModel.Delta>>({ _tag: "TextDelta", index: 0, text: "half an ans" })
      })
      const error = yield* Effect.flip(model.generate(request))
      assert.deepStrictEqual(
        error.reason,
        new LanguageModelError.StreamTruncated({ partial: "half an ans" })
      )
      assert.isTrue(error.retryable)
    }))

  it.effect("a restart voids what came before it", () =>
    Effect.gen(function*() {
      const response = yield* LanguageModel.fold(
        Stream.make<Array<LanguageModel.Delta>>(
          { _tag: "TextDelta", index: 0, text: "first " },
          { _tag: "Restarted", cause: "fallback" },
          { _tag: "TextDelta", index: 0, text: "second" },
          { _tag: "Finish", index: 0, reason: "stop" },
          { _tag: "Completed", usage: {}, model: "m" }
        ),
        "m"
      )
      assert.strictEqual(response.outputs[0]?.text, "second")
    }))

  it.effect("tool calls are put together from their pieces, by position", () =>
    Effect.gen(function*() {
      const response = yield* LanguageModel.fold(
        Stream.make<Array<LanguageModel.Delta>>(
          { _tag: "ToolCallDelta", index: 0, call: 1, id: "b", name: "sea", arguments: "" },
          { _tag: "ToolCallDelta", index: 0, call: 0, id: "a", name: "add", arguments: "{\"x\"" },
          { _tag: "ToolCallDelta", index: 0, call: 0, arguments: ":1}" },
          { _tag: "ToolCallDelta", index: 0, call: 1, name: "rch", arguments: "{}" },
          { _tag: "Finish", index: 0, reason: "toolCalls" },
          { _tag: "Completed", usage: {}, model: "m" }
        ),
        "m"
      )
      assert.deepStrictEqual(response.outputs[0]?.toolCalls, [
        { id: "a", name: "add", arguments: "{\"x\":1}" },
        { id: "b", name: "search", arguments: "{}" }
      ])
    }))

  it("an output becomes the turn that repeats it, with what its provider wants back", () => {
    assert.deepStrictEqual(
      LanguageModel.toMessage({ text: "Oslo", reasoning: "hm", toolCalls: [], finishReason: "stop" }),
      { role: "assistant", content: "Oslo" }
    )
    const toolCalls = [{ id: "a", name: "add", arguments: "{}" }]
    assert.deepStrictEqual(
      LanguageModel.toMessage({ text: "", toolCalls, finishReason: "toolCalls", continuation: null }),
      { role: "assistant", content: "", toolCalls, continuation: null }
    )
  })

  it.effect("generate alone makes a stream", () =>
    Effect.gen(function*() {
      const model = LanguageModel.make({
        id: "test/whole",
        generate: () => Effect.succeed(LanguageModel.text("hello", "test/whole"))
      })
      assert.isFalse(model.capabilities.streaming)
      const deltas = yield* Stream.runCollect(model.stream(request))
      assert.deepStrictEqual(Chunk.toReadonlyArray(deltas).map((delta) => delta._tag), [
        "TextDelta",
        "Finish",
        "Completed"
      ])
    }))

  it("usage that one side does not report is not zero", () => {
    assert.deepStrictEqual(LanguageModel.addUsage({}, {}), {})
    assert.deepStrictEqual(LanguageModel.addUsage({ cost: 1 })({ cost: 2 }), { cost: 3 })
    assert.deepStrictEqual(
      LanguageModel.addUsage({ inputTokens: 1 }, { inputTokens: 2, outputTokens: 3 }),
      { inputTokens: 3, outputTokens: 3 }
    )
  })

  it("requests, responses and deltas survive JSON", () => {
    for (const schema of [LanguageModel.Request, LanguageModel.Response, LanguageModel.Delta]) {
      FastCheck.assert(
        FastCheck.property(Arbitrary.make(schema as Schema.Schema<unknown>), (value) => {
          const text = JSON.stringify(value)
          assert.deepStrictEqual(
            JSON.parse(JSON.stringify(Schema.decodeUnknownSync(schema as Schema.Schema<unknown>)(JSON.parse(text)))),
            JSON.parse(text)
          )
        }),
        { seed: 2, numRuns: 100 }
      )
    }
  })
})

describe("LanguageModelError", () => {
  const failure = LanguageModelError.make({
    reason: new LanguageModelError.RateLimited({ description: "slow down", retryAfter: 10 }),
    provider: "test",
    model: "test/m"
  })

  it.effect("catchReason takes one reason and lets the others pass", () =>
    Effect.gen(function*() {
      const limited = Effect.fail(failure)
      assert.strictEqual(
        yield* LanguageModelError.catchReason(limited, "RateLimited", (reason) => Effect.succeed(reason.retryAfter)),
        10
      )
      const passed = yield* limited.pipe(
        LanguageModelError.catchReason("Overloaded", () => Effect.succeed("caught")),
        Effect.flip
      )
      assert.strictEqual(passed, failure)
    }))

  it("says what happened and whether to try again", () => {
    assert.strictEqual(failure.message, "test/m: RateLimited: slow down (retry after 10 ms)")
    const of = (reason: LanguageModelError.Reason) => LanguageModelError.isRetryable(reason)
    assert.isTrue(of(new LanguageModelError.ServerError({ status: 502, description: "" })))
    assert.isFalse(of(new LanguageModelError.QuotaExhausted({ description: "" })))
    assert.isFalse(of(new LanguageModelError.Transport({ phase: "tls", code: "CERT_HAS_EXPIRED", description: "" })))
    assert.isTrue(of(new LanguageModelError.Transport({ phase: "tls", code: "ECONNRESET", description: "" })))
  })

  it.effect("crosses a wire", () =>
    Effect.gen(function*() {
      const json = yield* Schema.encode(LanguageModelError.LanguageModelError)(failure)
      const back = yield* Schema.decodeUnknown(LanguageModelError.LanguageModelError)(JSON.parse(JSON.stringify(json)))
      assert.deepStrictEqual(back.reason, failure.reason)
    }))
})
