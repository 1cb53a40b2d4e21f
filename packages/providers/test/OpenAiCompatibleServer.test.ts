/**
 * Runs against a real server when `OPENAI_COMPATIBLE_BASE_URL` is set: any
 * server for the first group, LiteLLM with `fixtures/litellm.yaml` for the
 * second (it is skipped where the server has no model `mock-limited`).
 */
import * as Embedder from "@effect-dspy/core/Embedder"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { FetchHttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Layer, Redacted, Stream } from "effect"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"

const baseUrl = process.env["OPENAI_COMPATIBLE_BASE_URL"]
const apiKey = Redacted.make(process.env["OPENAI_COMPATIBLE_API_KEY"] ?? "none")
const model = process.env["OPENAI_COMPATIBLE_MODEL"] ?? "mock"

const request: LanguageModel.Request = {
  messages: [{ role: "user", content: "What is the capital of France? Answer in one sentence." }],
  settings: { maxTokens: 64, temperature: 0 }
}

const clients = { undici: NodeHttpClient.layerUndici, fetch: FetchHttpClient.layer }

describe.skipIf(baseUrl === undefined)("OpenAiCompatible with a real server", () => {
  for (const [name, client] of Object.entries(clients)) {
    const using = (model: string) =>
      Effect.provide(OpenAiCompatible.layer({ model, baseUrl, apiKey }).pipe(Layer.provide(client)))

    it.live(`answers, ${name}`, () =>
      Effect.gen(function*() {
        const response = yield* LanguageModel.generate(request)
        assert.strictEqual(response.outputs.length, 1)
        assert.notStrictEqual(response.outputs[0]!.text, "")
        assert.include(["stop", "length"], response.outputs[0]!.finishReason)
        assert.isAbove(response.usage.inputTokens ?? 0, 0)
        assert.isAbove(response.usage.outputTokens ?? 0, 0)
      }).pipe(using(model)), 60_000)

    it.live(`streams, ${name}`, () =>
      Effect.gen(function*() {
        const deltas = Chunk.toReadonlyArray(yield* Stream.runCollect(LanguageModel.stream(request)))
        assert.isAbove(deltas.filter((delta) => delta._tag === "TextDelta").length, 1)
        assert.deepStrictEqual(deltas.slice(-2).map((delta) => delta._tag), ["Finish", "Completed"])
        const completed = deltas.at(-1)
        assert.isTrue(completed?._tag === "Completed" && (completed.usage.outputTokens ?? 0) > 0)
      }).pipe(using(model)), 60_000)

    it.live(`says that a model is unknown, ${name}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(LanguageModel.generate(request))
        assert.include(["NotFound", "InvalidRequest"], error.reason._tag)
        assert.include(error.message, "no-such-model")
        assert.isFalse(error.retryable)
      }).pipe(using("no-such-model")), 60_000)
  }
})

const limited = baseUrl !== undefined && await fetch(`${baseUrl.replace(/\/(v1\/?)?$/, "")}/v1/models`, {
  headers: { authorization: `Bearer ${Redacted.value(apiKey)}` }
}).then((response) => response.text()).then((text) => text.includes("mock-limited"))

describe.skipIf(!limited)("OpenAiCompatible with LiteLLM", () => {
  const using = (model: string) =>
    Effect.provide(OpenAiCompatible.layer({ model, baseUrl, apiKey }).pipe(Layer.provide(NodeHttpClient.layerUndici)))

  it.live("keeps tool calls", () =>
    Effect.gen(function*() {
      const response = yield* LanguageModel.generate(request)
      assert.deepStrictEqual(response.outputs[0]!.toolCalls, [
        { id: "call_abc", name: "get_weather", arguments: "{\"city\":\"Paris\"}" }
      ])
    }).pipe(using("mock-tools")))

  it.live("gives several outputs", () =>
    Effect.gen(function*() {
      const response = yield* LanguageModel.generate({ ...request, settings: { n: 2 } })
      assert.strictEqual(response.outputs.length, 2)
    }).pipe(using("mock")))

  it.live("is checked: its models and the path", () =>
    Effect.gen(function*() {
      const server = { baseUrl, apiKey, dialect: "litellm_proxy" } as const
      const says = (options: Partial<OpenAiCompatible.Options>) =>
        Effect.map(
          Effect.flip(OpenAiCompatible.check({ ...server, model: "mock", ...options })),
          (error) => error.message
        )
      assert.include(yield* OpenAiCompatible.models(server), "mock-limited")
      yield* OpenAiCompatible.check({ ...server, model: "mock" })
      assert.match(
        yield* says({ model: "mokc-limited" }),
        /NotFound: the server has no model mokc-limited among its \d; did you mean mock-limited/
      )
      assert.include(yield* says({ baseUrl: `${baseUrl}/nowhere/v1` }), "nothing is at /nowhere/v1/chat/completions of")
    }).pipe(Effect.provide(NodeHttpClient.layerUndici)), 30_000)

  it.live("embeds", () =>
    Effect.gen(function*() {
      // Its stand-in gives one vector for each request.
      const vectors = yield* Embedder.embed(["a", "b"]).pipe(
        Effect.provide(
          OpenAiCompatible.embedderLayer({ model: "mock-embeddings", baseUrl, apiKey, maxBatchSize: 1 }).pipe(
            Layer.provide(NodeHttpClient.layerUndici)
          )
        )
      )
      assert.deepStrictEqual(vectors, [Float32Array.of(0.25, -0.5, 1), Float32Array.of(0.25, -0.5, 1)])
    }))

  it.live("maps its errors, whole and streamed", () =>
    Effect.gen(function*() {
      const expected = {
        "mock-limited": "RateLimited",
        "mock-too-long": "ContextWindowExceeded",
        "mock-broken": "ServerError"
      }
      for (const [name, tag] of Object.entries(expected)) {
        const whole = yield* LanguageModel.generate(request).pipe(using(name), Effect.flip)
        assert.strictEqual(whole.reason._tag, tag)
        assert.isString(whole.requestId)
        const streamed = yield* Stream.runDrain(LanguageModel.stream(request)).pipe(using(name), Effect.flip)
        assert.strictEqual(streamed.reason._tag, tag)
      }
    }), 30_000)
})
