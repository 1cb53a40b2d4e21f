import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import { FetchHttpClient, KeyValueStore } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, Stream } from "effect"
import { gzipSync } from "node:zlib"
import * as Anthropic from "../src/Anthropic.ts"
import * as Batch from "../src/Batch.ts"
import * as Bounds from "../src/Bounds.ts"
import * as Gemini from "../src/Gemini.ts"
import * as ModelString from "../src/ModelString.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "./FaultServer.ts"

const question: LanguageModel.Request = { messages: [{ role: "user", content: "hi" }] }

type Given = { readonly model: string; readonly baseUrl: string; readonly bounds?: Bounds.Bounds }

const openAi = {
  whole: (text: string): object => ({ choices: [{ message: { content: text }, finish_reason: "stop" }] }),
  stream: (text: string): ReadonlyArray<object> => [{ choices: [{ delta: { content: text }, finish_reason: "stop" }] }]
}

const providers = {
  OpenAiCompatible: { ...openAi, make: (given: Given) => OpenAiCompatible.make(given) },
  ModelString: {
    ...openAi,
    make: ({ model, ...given }: Given) => Effect.orDie(ModelString.make(`openai/${model}`, given))
  },
  Anthropic: {
    make: (given: Given) => Anthropic.make(given),
    whole: (text: string) => ({ content: [{ type: "text", text }], stop_reason: "end_turn" }),
    stream: (text: string) => [
      { type: "message_start", message: {} },
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
      { type: "content_block_delta", index: 0, delta: { type: "text_delta", text } },
      { type: "message_delta", delta: { stop_reason: "end_turn" } },
      { type: "message_stop" }
    ]
  },
  Gemini: {
    make: (given: Given) => Gemini.make(given),
    whole: (text: string) => ({ candidates: [{ content: { parts: [{ text }] }, finishReason: "STOP" }] }),
    stream: (text: string) => [{ candidates: [{ content: { parts: [{ text }] }, finishReason: "STOP" }] }]
  }
}

const limitOf = (error: LanguageModelError) =>
  error.reason._tag === "ResponseTooLarge" ? error.reason.limit : error.message

describe("Bounds", () => {
  for (const [name, { make, stream, whole }] of Object.entries(providers)) {
    const over = <A, E>(
      script: FaultServer.Script,
      bounds: Bounds.Bounds,
      use: (model: LanguageModel.Service, server: FaultServer.FaultServer) => Effect.Effect<A, E>
    ) =>
      Effect.flatMap(FaultServer.make(() => script), (server) =>
        Effect.flatMap(
          make({ model: "m", baseUrl: `${server.url}/v1`, bounds }),
          (model) => use(model, server)
        )).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici))

    const text = "x".repeat(10_000)
    const streamed = FaultServer.sse(...stream(text).map(FaultServer.event))

    it.live(`${name}: an answer within a bound passes, one beyond it is refused`, () =>
      Effect.gen(function*() {
        for (
          const script of [
            FaultServer.json(200, whole(text)),
            // Not announced.
            [FaultServer.head(200), FaultServer.write(JSON.stringify(whole(text)))]
          ]
        ) {
          const passed = yield* over(script, { body: 11_000 }, (model) => model.generate(question))
          assert.strictEqual(passed.outputs[0]?.text, text)
          const refused = yield* over(script, { body: 9_000 }, (model) => Effect.flip(model.generate(question)))
          assert.strictEqual(limitOf(refused), 9_000)
        }
        for (const bounds of [{ event: 9_000 }, { stream: 9_000 }]) {
          const refused = yield* over(streamed, bounds, (model, server) =>
            Effect.zipLeft(
              Effect.flip(Stream.runDrain(model.stream(question))),
              Effect.flatMap(server.next, ({ closed }) => closed)
            ))
          assert.strictEqual(limitOf(refused), 9_000)
        }
        const passed = yield* over(streamed, { body: 9_000, event: 11_000, stream: 11_000 }, (model) =>
          LanguageModel.fold(model.stream(question), model.id))
        assert.strictEqual(passed.outputs[0]?.text, text)
      }))
  }

  it.live("an image of 28 MiB in one event passes where that is allowed", () =>
    Effect.gen(function*() {
      const image = "x".repeat(28 * 1024 * 1024)
      const server = yield* FaultServer.make(() => FaultServer.sse(...openAi.stream(image).map(FaultServer.event)))
      const ask = (bounds: Bounds.Bounds) =>
        Effect.flatMap(
          OpenAiCompatible.make({ model: "m", baseUrl: server.url, bounds }),
          (model) => LanguageModel.fold(model.stream(question), model.id)
        )
      const whole = yield* ask({ event: 32 * 1024 * 1024 })
      assert.isTrue(whole.outputs[0]?.text === image)
      assert.strictEqual(limitOf(yield* Effect.flip(ask({}))), Bounds.defaults.event)
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)), 20_000)

  it.live("what is compressed counts as what it becomes", () =>
    Effect.gen(function*() {
      const zipped = gzipSync(JSON.stringify(openAi.whole("x".repeat(100_000))))
      assert.isBelow(zipped.length, 1_000)
      const server = yield* FaultServer.make(() => [
        FaultServer.head(200, { "content-encoding": "gzip", "content-length": String(zipped.length) }),
        FaultServer.write(zipped)
      ])
      const model = yield* OpenAiCompatible.make({ model: "m", baseUrl: server.url, bounds: { body: 50_000 } })
      assert.strictEqual(limitOf(yield* Effect.flip(model.generate(question))), 50_000)
    }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer)))

  it.live("vectors and lists of models are bodies, too", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(({ path }) =>
        FaultServer.json(200, {
          data: path.includes("models") ? [{ id: "x".repeat(2_000) }] : [{ index: 0, embedding: Array(1_000).fill(0) }]
        })
      )
      const options = { model: "m", baseUrl: server.url, bounds: { body: 1_000 } }
      const embedder = yield* OpenAiCompatible.makeEmbedder(options)
      assert.strictEqual(limitOf(yield* Effect.flip(embedder.embed(["hi"]))), 1_000)
      assert.strictEqual(limitOf(yield* Effect.flip(OpenAiCompatible.models(options))), 1_000)
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

  it.live("the results of a batch are a stream of lines", () =>
    Effect.gen(function*() {
      let call = ""
      const server = yield* FaultServer.make(({ body, method, path }) => {
        if (path === "/v1/files") {
          call = /"custom_id":"([^"]+)"/.exec(body)?.[1] ?? ""
          return FaultServer.json(200, { id: "file" })
        }
        if (path.startsWith("/v1/batches")) {
          return FaultServer.json(200, { id: "batch", status: "completed", output_file_id: "out", data: [] })
        }
        assert.strictEqual(method, "GET")
        const body200 = openAi.whole("x".repeat(10_000))
        return FaultServer.answer(
          200,
          "application/jsonl",
          JSON.stringify({ custom_id: call, response: { status_code: 200, body: body200 } })
        )
      })
      const ask = (bounds: Bounds.Bounds) =>
        Effect.scoped(
          Effect.flatMap(
            Effect.orDie(Batch.make({
              model: "m",
              baseUrl: server.url,
              window: "1 millis",
              poll: Schedule.spaced("1 millis"),
              bounds
            })),
            (model) => model.generate(question)
          )
        ).pipe(Effect.provide(KeyValueStore.layerMemory))
      assert.strictEqual((yield* ask({ body: 1_000 })).outputs[0]?.text.length, 10_000)
      assert.strictEqual(limitOf(yield* Effect.flip(ask({ stream: 1_000 }))), 1_000)
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

  it("what has to fit into a string is bounded by that", () => {
    const { body, event, stream } = Bounds.make({ body: Infinity, event: Infinity, stream: Infinity })
    assert.isBelow(body, 2 ** 29)
    assert.isBelow(event, 2 ** 29)
    assert.strictEqual(stream, Infinity)
  })
})
