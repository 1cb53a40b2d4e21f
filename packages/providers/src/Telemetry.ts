/**
 * What OpenTelemetry is told of calls to models, beyond the spans that are there
 * anyway: how streams arrive, and, for those who ask for it, what was said. The
 * names are those of its conventions for generative AI.
 *
 * Nothing here exports: that is what `@effect/opentelemetry` is for. Tokens,
 * durations and cost are metrics of `UsageLedger`.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/gen-ai/
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { ofModel } from "./internal/genAi.ts"

// =============================================================================
// Content
// =============================================================================

/**
 * What is to be shown instead of a text.
 *
 * @since 0.1.0
 * @category models
 */
export interface Redact {
  (text: string): string
}

/**
 * Everything as it was said. It ends up wherever spans are sent to, with
 * whatever personal data is in it.
 *
 * @since 0.1.0
 * @category redaction
 */
export const plain: Redact = (text) => text

/**
 * The length of a text and a hash of it, with a key, so that equal texts can be
 * seen to be equal and short ones cannot be guessed.
 *
 * @example
 * ```ts
 * import * as Telemetry from "@effect-dspy/providers/Telemetry"
 * import { Redacted } from "effect"
 *
 * const shown = Telemetry.hashed(Redacted.make("a key of yours"))("My card number is 4111.")
 *
 * assert.match(shown, /^\[23 characters, [0-9a-f]{16}\]$/)
 * ```
 *
 * @since 0.1.0
 * @category redaction
 */
export const hashed = (key: Redacted.Redacted): Redact => (text) =>
  `[${text.length} characters, ${Json.hash([Redacted.value(key), text]).slice(0, 16)}]`

/**
 * Puts what was asked and answered into the span around the call, that of the
 * predictor as a rule: `gen_ai.system_instructions`, `gen_ai.input.messages` and
 * `gen_ai.output.messages`, as JSON text. Without this policy no span has
 * anything of it. Every text goes through `redact`; images, audio and files are
 * named only. Apply it last, so that answers from a cache are shown, too.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Telemetry from "@effect-dspy/providers/Telemetry"
 * import { Effect } from "effect"
 *
 * const model = TestLanguageModel.layer([TestLanguageModel.text("4")]).pipe(
 *   Policy.apply(Telemetry.content(Telemetry.plain))
 * )
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "2 + 2?" }] }).pipe(
 *   Effect.zipRight(Effect.currentSpan),
 *   Effect.withSpan("sum"),
 *   Effect.provide(model)
 * )
 *
 * Effect.runPromise(program).then(({ attributes }) =>
 *   assert.strictEqual(
 *     attributes.get("gen_ai.output.messages"),
 *     '[{"role":"assistant","parts":[{"type":"text","content":"4"}],"finish_reason":"stop"}]'
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 * @category policies
 */
export const content = (redact: Redact): Policy.Policy =>
  Policy.answered(Effect.succeed({
    before: (request) =>
      annotated(() => {
        const [system, messages] = split(request.messages)
        return {
          ...(system.length === 0
            ? undefined
            : { "gen_ai.system_instructions": JSON.stringify(system.flatMap(partsOf(redact))) }),
          "gen_ai.input.messages": JSON.stringify(
            messages.map((message) => ({ role: message.role, parts: partsOf(redact)(message) }))
          )
        }
      }).pipe(Effect.as(Option.none())),
    after: (_, response) =>
      annotated(() => ({
        "gen_ai.output.messages": JSON.stringify(response.outputs.map((output) => ({
          role: "assistant",
          parts: [
            ...(output.reasoning === undefined ? [] : [{ type: "reasoning", content: redact(output.reasoning) }]),
            ...(output.text === "" ? [] : [{ type: "text", content: redact(output.text) }]),
            ...callsOf(redact, output.toolCalls)
          ],
          finish_reason: output.finishReason
        })))
      }))
  }))

// Nothing is written out for nobody.
const annotated = (attributes: () => Record<string, string>): Effect.Effect<void> =>
  Effect.flatMap(
    Effect.option(Effect.currentSpan),
    (span) => Option.isSome(span) && span.value.sampled ? Effect.annotateCurrentSpan(attributes()) : Effect.void
  )

const split = (messages: ReadonlyArray<LanguageModel.Message>) => {
  const first = messages.findIndex(({ role }) => role !== "system")
  return first < 0 ? [messages, []] as const : [messages.slice(0, first), messages.slice(first)] as const
}

const partsOf = (redact: Redact) => (message: LanguageModel.Message): ReadonlyArray<Json.JsonRecord> => {
  const said = typeof message.content === "string"
    ? [{ type: "text", content: redact(message.content) }]
    : message.content.map((part) =>
      part._tag === "Text"
        ? { type: "text", content: redact(part.text) }
        : { type: "uri", modality: part._tag.toLowerCase(), uri: placeOf(part.url) }
    )
  return message.role === "tool"
    ? [{
      type: "tool_call_response",
      id: message.toolCallId ?? "",
      response: said
    }]
    : [...said, ...callsOf(redact, message.toolCalls ?? [])]
}

const callsOf = (redact: Redact, calls: ReadonlyArray<LanguageModel.ToolCall>) =>
  calls.map((call) => ({ type: "tool_call", id: call.id, name: call.name, arguments: redact(call.arguments) }))

// Neither the data itself nor what a signed address lets anybody read.
const placeOf = (url: string): string =>
  url.startsWith("data:") ? `${url.slice(0, url.indexOf(",") + 1)}…` : url.replace(/[?#].*$/s, "")

// =============================================================================
// Streams
// =============================================================================

const seconds = MetricBoundaries.exponential({ start: 0.001, factor: 2, count: 17 })

/**
 * `gen_ai.client.operation.time_to_first_chunk`: seconds from the request to the
 * first delta of a streamed answer, by provider and model.
 *
 * @since 0.1.0
 * @category metrics
 */
export const timeToFirstChunk: Metric.Metric.Histogram<number> = Metric.histogram(
  "gen_ai.client.operation.time_to_first_chunk",
  seconds,
  "Seconds until the first chunk of a streamed answer"
).pipe(Metric.tagged("unit", "s"))

/**
 * `gen_ai.client.operation.time_per_output_chunk`: seconds between two deltas of
 * a streamed answer that arrived whole, on average, by provider and model.
 *
 * @since 0.1.0
 * @category metrics
 */
export const timePerOutputChunk: Metric.Metric.Histogram<number> = Metric.histogram(
  "gen_ai.client.operation.time_per_output_chunk",
  seconds,
  "Seconds from one chunk of a streamed answer to the next, on average"
).pipe(Metric.tagged("unit", "s"))

/**
 * Measures how streamed answers arrive. Apply it to the model before other
 * policies, so that the wait in their queues does not count.
 *
 * @since 0.1.0
 * @category policies
 */
export const streams: Policy.Policy = (inner) => {
  const tagged = ofModel(inner.id)
  const toFirst = tagged(timeToFirstChunk)
  const perChunk = tagged(timePerOutputChunk)
  return Effect.succeed<LanguageModel.Service>({
    ...inner,
    stream: (request) =>
      Stream.unwrap(Effect.map(Clock.currentTimeNanos, (start) => {
        let first: bigint | undefined
        let chunks = 0
        return Stream.mapChunksEffect(inner.stream(request), (deltas) => {
          let completed = false
          let said = 0
          for (const delta of deltas) {
            if (delta._tag === "Completed") completed = true
            else if (delta._tag === "TextDelta" || delta._tag === "ReasoningDelta" || delta._tag === "ToolCallDelta") {
              said++
            }
          }
          if (said === 0 && !completed) return Effect.succeed(deltas)
          return Effect.flatMap(Clock.currentTimeNanos, (now) => {
            const opening = first === undefined && said > 0
            first ??= now
            chunks += said
            return Effect.as(
              Effect.zipRight(
                opening ? Metric.update(toFirst, Number(now - start) / 1e9) : Effect.void,
                completed && chunks > 1
                  ? Metric.update(perChunk, Number(now - first) / 1e9 / (chunks - 1))
                  : Effect.void
              ),
              deltas
            )
          })
        })
      }))
  })
}
