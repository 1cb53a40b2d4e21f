import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Telemetry from "@effect-dspy/providers/Telemetry"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Metric, Redacted, Schema, Stream, TestClock } from "effect"

const model = (answer: TestLanguageModel.Step, redact: Telemetry.Redact = Telemetry.plain) =>
  TestLanguageModel.layer([answer]).pipe(Policy.apply(Telemetry.content(redact)))

const request = (messages: ReadonlyArray<LanguageModel.Message>): LanguageModel.Request => ({ messages })

const Parsed = Schema.parseJson(Schema.Unknown)

/** What the span around a call has of it. */
const seen = (
  call: Effect.Effect<unknown, unknown, LanguageModel.LanguageModel>,
  layer: Layer.Layer<LanguageModel.LanguageModel>
) =>
  Effect.gen(function*() {
    yield* Effect.ignore(call)
    const { attributes } = yield* Effect.currentSpan
    const of = (name: string) => Schema.decodeUnknown(Parsed)(attributes.get(name) ?? "null")
    return {
      system: yield* of("gen_ai.system_instructions"),
      input: yield* of("gen_ai.input.messages"),
      output: yield* of("gen_ai.output.messages")
    }
  }).pipe(Effect.withSpan("around"), Effect.provide(layer))

describe("content", () => {
  it.effect("tells instructions, messages, tool calls and their results apart", () =>
    Effect.gen(function*() {
      const asked = request([
        { role: "system", content: "Be brief." },
        { role: "user", content: "Where?" },
        { role: "assistant", content: "", toolCalls: [{ id: "1", name: "find", arguments: `{"q":"x"}` }] },
        { role: "tool", content: "there", toolCallId: "1" }
      ])
      const answer = TestLanguageModel.withReasoning(TestLanguageModel.text("There."), "found")
      assert.deepStrictEqual(yield* seen(LanguageModel.generate(asked), model(answer)), {
        system: [{ type: "text", content: "Be brief." }],
        input: [
          { role: "user", parts: [{ type: "text", content: "Where?" }] },
          {
            role: "assistant",
            parts: [{ type: "text", content: "" }, {
              type: "tool_call",
              id: "1",
              name: "find",
              arguments: `{"q":"x"}`
            }]
          },
          {
            role: "tool",
            parts: [{ type: "tool_call_response", id: "1", response: [{ type: "text", content: "there" }] }]
          }
        ],
        output: [{
          role: "assistant",
          parts: [{ type: "reasoning", content: "found" }, { type: "text", content: "There." }],
          finish_reason: "stop"
        }]
      })
    }))

  it.effect("names images, without their data and without what a signed address lets anybody read", () =>
    Effect.gen(function*() {
      const asked = request([{
        role: "user",
        content: [
          { _tag: "Image", url: "data:image/png;base64,c2VjcmV0" },
          { _tag: "Image", url: "https://example.com/cat.png?signature=secret#top" }
        ]
      }])
      const { input } = yield* seen(LanguageModel.generate(asked), model(TestLanguageModel.text("A cat.")))
      assert.deepStrictEqual(input, [{
        role: "user",
        parts: [
          { type: "uri", modality: "image", uri: "data:image/png;base64,…" },
          { type: "uri", modality: "image", uri: "https://example.com/cat.png" }
        ]
      }])
    }))

  it.effect("of a stream the whole answer, when it is there; of a failure nothing", () =>
    Effect.gen(function*() {
      const asked = request([{ role: "user", content: "?" }])
      const streamed = Stream.runDrain(LanguageModel.stream(asked))
      const { output } = yield* seen(streamed, model(TestLanguageModel.text("All of it.")))
      assert.deepStrictEqual(output, [{
        role: "assistant",
        parts: [{ type: "text", content: "All of it." }],
        finish_reason: "stop"
      }])
      const failed = yield* seen(streamed, model(TestLanguageModel.fail("Overloaded")))
      assert.strictEqual(failed.output, null)
      assert.notStrictEqual(failed.input, null)
    }))

  it.effect("redacts every text, equal ones alike", () =>
    Effect.gen(function*() {
      const asked = request([{ role: "system", content: "secret" }, { role: "user", content: "secret" }])
      const redact = Telemetry.hashed(Redacted.make("key"))
      const shown = yield* seen(
        LanguageModel.generate(asked),
        model(TestLanguageModel.toolCalls([{ name: "tell", arguments: { secret: "secret" } }]), redact)
      )
      assert.notInclude(JSON.stringify(shown), "secret")
      assert.strictEqual(redact("secret"), redact("secret"))
      assert.notStrictEqual(redact("secret"), Telemetry.hashed(Redacted.make("other"))("secret"))
    }))
})

describe("streams", () => {
  it.effect("measures the time to the first chunk, and from one to the next", () =>
    Effect.gen(function*() {
      const tagged = <Type, In, Out>(metric: Metric.Metric<Type, In, Out>) =>
        metric.pipe(
          Metric.tagged("gen_ai.operation.name", "chat"),
          Metric.tagged("gen_ai.provider.name", "test"),
          Metric.tagged("gen_ai.request.model", "slow")
        )
      const slow = LanguageModel.make({
        id: "test/slow",
        stream: () =>
          Stream.fromIterable<LanguageModel.Delta>([
            { _tag: "TextDelta", index: 0, text: "a" },
            { _tag: "TextDelta", index: 0, text: "b" },
            { _tag: "TextDelta", index: 0, text: "c" },
            { _tag: "Finish", index: 0, reason: "stop" },
            { _tag: "Completed", usage: {}, model: "slow" }
          ]).pipe(
            Stream.mapEffect((delta): Effect.Effect<LanguageModel.Delta> =>
              delta._tag === "TextDelta" ? Effect.delay(Effect.succeed(delta), "2 seconds") : Effect.succeed(delta)
            )
          )
      })
      const layer = Layer.succeed(LanguageModel.LanguageModel, slow).pipe(Policy.apply(Telemetry.streams))
      const fiber = yield* Effect.fork(
        Stream.runDrain(LanguageModel.stream(request([]))).pipe(Effect.provide(layer))
      )
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(fiber)
      const first = yield* Metric.value(tagged(Telemetry.timeToFirstChunk))
      const each = yield* Metric.value(tagged(Telemetry.timePerOutputChunk))
      assert.deepStrictEqual([first.count, first.sum, each.count, each.sum], [1, 2, 1, 2])
    }))
})
