/**
 * From the bytes of a model to the events of a module: however the bytes come in
 * pieces the events are the same, and where they break off nothing passes for an answer.
 */
import type * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Policy from "@effect-dspy/core/Policy"
import * as Predict from "@effect-dspy/core/Predict"
import * as XmlAdapter from "@effect-dspy/core/XmlAdapter"
import * as Anthropic from "@effect-dspy/providers/Anthropic"
import * as Gemini from "@effect-dspy/providers/Gemini"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import * as Retry from "@effect-dspy/providers/Retry"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Random, Redacted, Schedule, Stream } from "effect"

const value = { title: "Ünter 🙂", points: ["a \"b\"", "c"] }

// =============================================================================
// What models send
// =============================================================================

const texts = {
  chat: `[[ ## title ## ]]\n${value.title}\n\n[[ ## points ## ]]\n${
    JSON.stringify(value.points)
  }\n\n[[ ## completed ## ]]`,
  json: JSON.stringify(value),
  xml: `<title>${value.title}</title>\n<points>${JSON.stringify(value.points)}</points>`
}

// In three pieces, the cuts within a delimiter and within a word.
const pieces = (text: string): ReadonlyArray<string> => [text.slice(0, 8), text.slice(8, 21), text.slice(21)]

const events = (...data: ReadonlyArray<unknown>): string =>
  data.map((one) => `data: ${typeof one === "string" ? one : JSON.stringify(one)}\n\n`).join("")

const given = { model: "m", baseUrl: "http://localhost", apiKey: Redacted.make("none") }

interface Provider {
  readonly layer: Layer.Layer<LanguageModel.LanguageModel, never, HttpClient.HttpClient>
  readonly body: (text: string) => string
}

const providers = {
  openai: {
    layer: OpenAiCompatible.layer(given),
    body: (text) =>
      events(
        ...pieces(text).map((content) => ({ choices: [{ index: 0, delta: { content } }] })),
        { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] },
        "[DONE]"
      )
  },
  anthropic: {
    layer: Anthropic.layer(given),
    body: (text) =>
      events(
        { type: "message_start", message: { model: "m", usage: { input_tokens: 1 } } },
        { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
        ...pieces(text).map((text) => ({
          type: "content_block_delta",
          index: 0,
          delta: { type: "text_delta", text }
        })),
        { type: "content_block_stop", index: 0 },
        { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 2 } },
        { type: "message_stop" }
      )
  },
  gemini: {
    layer: Gemini.layer(given),
    body: (text) =>
      events(
        ...pieces(text).map((text) => ({ candidates: [{ content: { parts: [{ text }] } }] })),
        { candidates: [{ finishReason: "STOP" }], usageMetadata: { promptTokenCount: 1 } }
      )
  }
} satisfies Record<string, Provider>

// =============================================================================
// What arrives
// =============================================================================

/** The pieces of an answer, and whether the connection breaks after them. */
interface Arrival {
  readonly parts: ReadonlyArray<Uint8Array>
  readonly isBroken?: boolean
}

// Answers the first call with the first arrival, and so on.
const clientOf = (arrivals: ReadonlyArray<Arrival>): HttpClient.HttpClient => {
  let calls = 0
  return HttpClient.make((request) =>
    Effect.sync(() => {
      const { isBroken = false, parts } = arrivals[calls++] ?? { parts: [], isBroken: true }
      const left = [...parts]
      const body = new ReadableStream<Uint8Array>({
        pull: (controller) => {
          const next = left.shift()
          if (next !== undefined) return controller.enqueue(next)
          return isBroken ? controller.error(new TypeError("the connection was reset")) : controller.close()
        }
      })
      return HttpClientResponse.fromWeb(
        request,
        new Response(body, { headers: { "content-type": "text/event-stream" } })
      )
    })
  )
}

interface Outcome {
  readonly events: ReadonlyArray<ModuleEvent.ModuleEvent<unknown>>
  /** Of the error that ended it. */
  readonly reason: string | undefined
}

const once = Schedule.recurs(1)

const outline = Predict.make("topic -> title, points: string[]")

const watch = (
  provider: Provider,
  adapter: Adapter.Adapter,
  arrivals: ReadonlyArray<Arrival>,
  options: { readonly restart: boolean } = { restart: false }
): Effect.Effect<Outcome> =>
  Effect.gen(function*() {
    const seen: Array<ModuleEvent.ModuleEvent<unknown>> = []
    const end = yield* ModuleStream.events(Module.withAdapter(outline, adapter), { topic: "x" }).pipe(
      Stream.runForEach((event) => Effect.sync(() => seen.push(event))),
      Effect.either
    )
    return {
      events: seen,
      reason: end._tag === "Right"
        ? undefined
        : end.left._tag === "LanguageModelError"
        ? end.left.reason._tag
        : end.left._tag
    }
  }).pipe(
    options.restart
      ? Effect.provide(
        Policy.apply(
          provider.layer,
          Retry.make({ restart: true, schedules: { StreamFailed: once, StreamTruncated: once, Transport: once } })
        )
      )
      : Effect.provide(provider.layer),
    Effect.provideService(HttpClient.HttpClient, clientOf(arrivals))
  )

// Texts of a field that came in several pieces are one.
const joined = ({ events }: Outcome): ReadonlyArray<unknown> => {
  const all: Array<ModuleEvent.ModuleEvent<unknown>> = []
  for (const event of events) {
    const last = all.at(-1)
    if (event._tag === "FieldDelta" && last?._tag === "FieldDelta" && last.field === event.field) {
      all[all.length - 1] = { ...last, text: last.text + event.text }
    } else all.push(event)
  }
  return all
}

const resultOf = ({ events }: Outcome): unknown => {
  const last = events.at(-1)
  return last?._tag === "Result" ? last.value : undefined
}

// What a reader has who appends texts, and drops them when they are void.
const folded = ({ events }: Outcome): unknown => {
  let fields: Record<string, string> = {}
  for (const event of events) {
    if (event._tag === "Reset") fields = {}
    if (event._tag === "FieldDelta") fields = { ...fields, [event.field]: (fields[event.field] ?? "") + event.text }
  }
  return fields
}

const cases = [
  ["openai", "chat", providers.openai, ChatAdapter.adapter],
  ["openai", "json", providers.openai, JsonAdapter.adapter],
  ["openai", "xml", providers.openai, XmlAdapter.adapter],
  ["anthropic", "chat", providers.anthropic, ChatAdapter.adapter],
  ["gemini", "json", providers.gemini, JsonAdapter.adapter]
] as const

describe.each(cases)("%s, %s", (_, form, provider, adapter) => {
  const bytes = new TextEncoder().encode(provider.body(texts[form]))
  const offsets = Array.from({ length: bytes.length + 1 }, (_, offset) => offset)

  it.live("the events are the same however the bytes are split", () =>
    Effect.gen(function*() {
      const whole = yield* watch(provider, adapter, [{ parts: [bytes] }])
      assert.deepStrictEqual(resultOf(whole), value)
      const same = (parts: ReadonlyArray<Uint8Array>) =>
        Effect.map(watch(provider, adapter, [{ parts }]), (outcome) =>
          assert.deepStrictEqual(joined(outcome), joined(whole)))
      yield* same(Array.from(bytes, (byte) =>
        Uint8Array.of(byte)))
      for (const at of offsets) yield* same([bytes.subarray(0, at), bytes.subarray(at)])
      for (let n = 0; n < 50; n++) {
        const ends = yield* Effect.replicateEffect(Random.nextIntBetween(0, bytes.length), 1 + n % 20)
        yield* same([
          ...ends.toSorted((a, b) => a - b),
          bytes.length
        ].map((end, i, all) => bytes.subarray(all[i - 1] ?? 0, end)))
      }
    }).pipe(Effect.withRandom(Random.make("splits"))), 60_000)

  it.live("cut at any byte there is one typed error, or all of the answer", () =>
    Effect.gen(function*() {
      let answered = 0
      for (const isBroken of [false, true]) {
        for (const at of offsets) {
          const outcome = yield* watch(provider, adapter, [{ parts: [bytes.subarray(0, at)], isBroken }])
          const result = resultOf(outcome)
          if (result === undefined) {
            assert.include(["StreamTruncated", "StreamFailed", "Transport"], outcome.reason, `at ${at}`)
            assert.strictEqual(outcome.events.filter(({ _tag }) => _tag === "PredictorFailed").length, 1)
          } else {
            assert.deepStrictEqual(result, value, `at ${at}`)
            answered++
          }
        }
      }
      // Only where the last event was there.
      assert.isBelow(answered, 2 * 24)
    }), 60_000)

  it.live(
    "cut anywhere and restarted, what was said is taken back, and the rest is the answer",
    () =>
      Effect.gen(function*() {
        const whole = yield* watch(provider, adapter, [{ parts: [bytes] }])
        for (const at of offsets.filter((at) => at % 3 === 0)) {
          const outcome = yield* watch(provider, adapter, [
            { parts: [bytes.subarray(0, at)], isBroken: at % 2 === 0 },
            { parts: [bytes] }
          ], { restart: true })
          assert.deepStrictEqual(resultOf(outcome), value, `at ${at}: ${outcome.reason}`)
          assert.deepStrictEqual(folded(outcome), folded(whole), `at ${at}`)
        }
      }),
    60_000
  )
})
