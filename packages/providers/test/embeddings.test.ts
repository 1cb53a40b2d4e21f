import * as Embedder from "@effect-dspy/core/Embedder"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import { FetchHttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, FastCheck, Fiber, Layer, Redacted, Tracer } from "effect"
import { inspect } from "node:util"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "./FaultServer.ts"

const canary = "sk-canary-0123456789abcdef"

const over = <A, E>(
  handler: (request: FaultServer.Recorded, n: number) => FaultServer.Script,
  use: (embedder: Embedder.Service, server: FaultServer.FaultServer) => Effect.Effect<A, E>,
  options: Partial<OpenAiCompatible.EmbedderOptions> = {}
) =>
  Effect.gen(function*() {
    const server = yield* FaultServer.make(handler)
    const embedder = yield* OpenAiCompatible.makeEmbedder({
      model: "e",
      baseUrl: server.url,
      apiKey: Redacted.make(canary),
      ...options
    })
    return yield* use(embedder, server)
  }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici))

const base64 = (...values: ReadonlyArray<number>) => Buffer.from(Float32Array.from(values).buffer).toString("base64")

/** Each text, a number, is embedded as itself. */
const echo = (request: FaultServer.Recorded) =>
  FaultServer.json(200, {
    object: "list",
    model: "e",
    data: request.json.input.map((text: string, index: number) => ({ index, embedding: [Number(text), 0.5] })),
    usage: { prompt_tokens: request.json.input.length }
  })

const fails = (script: FaultServer.Script): Effect.Effect<LanguageModelError.LanguageModelError, unknown> =>
  over(() => script, (embedder) => Effect.flip(embedder.embed(["a text of some length", "b"])))

describe("OpenAiCompatible.embedder", () => {
  it.live("asks for vectors in the words of each dialect", () =>
    Effect.gen(function*() {
      const asked = (options: Partial<OpenAiCompatible.EmbedderOptions>) =>
        over(echo, (embedder, server) =>
          Effect.gen(function*() {
            yield* embedder.embed(["1"])
            const { headers, json, method, path } = server.requests[0]!
            assert.deepStrictEqual([method, headers.authorization], ["POST", `Bearer ${canary}`])
            return [path, json] as const
          }), options)
      assert.deepStrictEqual(yield* asked({}), [
        "/v1/embeddings",
        { model: "e", input: ["1"], encoding_format: "float" }
      ])
      assert.deepStrictEqual(yield* asked({ dialect: "openai", dimensions: 2 }), [
        "/v1/embeddings",
        { model: "e", input: ["1"], encoding_format: "base64", dimensions: 2 }
      ])
      assert.deepStrictEqual(yield* asked({ dialect: "mistral", dimensions: 2 }), [
        "/v1/embeddings",
        { model: "e", input: ["1"], encoding_format: "float", output_dimension: 2 }
      ])
    }))

  it.live("goes to an Azure deployment", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(echo)
      const embedder = yield* OpenAiCompatible.makeEmbedder({
        model: "my embeddings",
        dialect: "azure",
        baseUrl: `${server.url}?api-version=2024-10-21`,
        apiKey: Redacted.make("k")
      })
      yield* embedder.embed(["1"])
      const { headers, path } = server.requests[0]!
      assert.strictEqual(path, "/openai/deployments/my%20embeddings/embeddings?api-version=2024-10-21")
      assert.strictEqual(headers["api-key"], "k")
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

  it.live("reads both encodings, whichever was asked for, and puts vectors where their index says", () =>
    Effect.gen(function*() {
      const vectors = yield* over(
        () =>
          FaultServer.json(200, {
            data: [
              { index: 1, embedding: [0.25, -1] },
              { index: 0, embedding: base64(1.5, 3) },
              { index: 2, embedding: [1e-3, 2] }
            ]
          }),
        (embedder) => embedder.embed(["a", "b", "c"])
      )
      assert.deepStrictEqual(vectors, [Float32Array.of(1.5, 3), Float32Array.of(0.25, -1), Float32Array.of(1e-3, 2)])
      const unnumbered = yield* over(
        () => FaultServer.json(200, { data: [{ embedding: [1] }, { index: null, embedding: [2] }] }),
        (embedder) => embedder.embed(["a", "b"])
      )
      assert.deepStrictEqual(unnumbered, [Float32Array.of(1), Float32Array.of(2)])
    }))

  it.live("any vectors come back bit by bit as they were written", () =>
    Effect.gen(function*() {
      const sample = FastCheck.sample(
        FastCheck.array(FastCheck.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 40 }),
        { seed: 5, numRuns: 50 }
      )
      const vectors = yield* over(
        (request) =>
          FaultServer.json(200, {
            data: request.json.input.map((i: string) => ({
              index: Number(i) % 1,
              embedding: base64(...sample[Number(i)]!)
            }))
          }),
        (embedder) => Effect.forEach(sample, (_, i) => embedder.embed([String(i)])),
        { dialect: "openai" }
      )
      assert.deepStrictEqual(vectors.flat(), sample.map((values) => Float32Array.from(values)))
    }))

  it.live("splits many texts into batches", () =>
    Effect.gen(function*() {
      const texts = Array.from({ length: 130 }, (_, i) => String(i))
      const sizes = (options: Partial<OpenAiCompatible.EmbedderOptions>) =>
        over(echo, (embedder, server) =>
          Effect.gen(function*() {
            const vectors = yield* embedder.embed(texts)
            assert.deepStrictEqual(vectors.map((vector) => vector[0]), texts.map(Number))
            return server.requests.map((request) => request.json.input.length).sort((a, b) => b - a)
          }), options)
      assert.deepStrictEqual(yield* sizes({}), [128, 2])
      assert.deepStrictEqual(yield* sizes({ dialect: "mistral" }), [32, 32, 32, 32, 2])
      assert.deepStrictEqual(yield* sizes({ maxBatchSize: 100, concurrency: 1 }), [100, 30])
      assert.deepStrictEqual(
        yield* over(
          echo,
          (embedder, server) => Effect.map(embedder.embed([]), (vectors) => [vectors, server.requests.length])
        ),
        [[], 0]
      )
    }))

  it.live("fails as a model call does", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [FaultServer.Script, tag: string, words: string]> = [
        [FaultServer.json(401, { error: { message: `bad key ${canary}` } }), "Authentication", "<redacted>"],
        [FaultServer.json(404, { error: { message: "model \"e\" not found" } }), "NotFound", "not found"],
        [FaultServer.json(429, {}, { "retry-after": "2" }), "RateLimited", "2000 ms"],
        [FaultServer.json(500, { error: { message: "boom" } }), "ServerError", "boom"],
        [FaultServer.json(200, { error: { code: 400, message: "no" } }), "InvalidRequest", "no"],
        [
          FaultServer.json(400, { error: { message: "no room for: a text of some length" } }),
          "InvalidRequest",
          "<prompt>"
        ],
        [
          FaultServer.json(200, { data: [{ embedding: [1] }] }),
          "MalformedResponse",
          "2 texts were embedded, 1 vectors"
        ],
        [
          FaultServer.json(200, { data: [{ embedding: [1] }, { embedding: [null] }] }),
          "MalformedResponse",
          "embedding 1"
        ],
        [
          FaultServer.json(200, { data: [{ embedding: [1] }, { embedding: "AAA=" }] }),
          "MalformedResponse",
          "embedding 1"
        ],
        [FaultServer.json(200, { data: [{ embedding: [1] }, { embedding: [] }] }), "MalformedResponse", "embedding 1"],
        [
          FaultServer.json(200, { data: [{ embedding: [1] }, { embedding: base64(NaN) }] }),
          "MalformedResponse",
          "finite numbers"
        ],
        [
          FaultServer.json(200, { data: [{ index: 0, embedding: [1] }, { index: 0, embedding: [2] }] }),
          "MalformedResponse",
          "index that is taken"
        ],
        [FaultServer.json(200, [1]), "MalformedResponse", "no list `data`"],
        [FaultServer.answer(200, "application/json", ""), "MalformedResponse", "empty"],
        [FaultServer.answer(200, "application/json", "{\"data\":"), "MalformedResponse", "not JSON"],
        [FaultServer.html(200), "MalformedResponse", "HTML"],
        [
          FaultServer.cutAt(FaultServer.json(200, { data: Array(99).fill(1) }), 150, FaultServer.rst),
          "Transport",
          "body"
        ],
        [
          [FaultServer.head(200, { "content-length": String(65 * 1024 * 1024) }), FaultServer.stall],
          "ResponseTooLarge",
          "limit"
        ]
      ]
      for (const [script, tag, words] of cases) {
        const error = yield* fails(script)
        assert.strictEqual(error.reason._tag, tag, error.message)
        assert.include(error.message, words)
        assert.notInclude(inspect(error, { depth: 9 }), canary)
      }
    }))

  it.live("an interrupted call closes its connections", () =>
    over(() => [FaultServer.stall], (embedder, server) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.fork(embedder.embed(["1", "2"]))
        const [first, second] = [yield* server.next, yield* server.next]
        yield* Fiber.interrupt(fiber)
        yield* Effect.timeout(Effect.all([first.closed, second.closed]), "5 seconds")
      }), { maxBatchSize: 1 }))

  it.live("calls one after the other use connections again", () =>
    over(
      () => {
        const body = JSON.stringify({ data: [{ embedding: [1] }] })
        return [
          FaultServer.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`),
          FaultServer.stall
        ]
      },
      (embedder, server) =>
        Effect.gen(function*() {
          for (let i = 0; i < 20; i++) yield* embedder.embed(["a"])
          // The first may not be free yet when the second call begins.
          assert.isAtMost(server.connections(), 2)
        })
    ))

  it.live("has a span for each request, with what was used", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (name, parent, context, links, startTime, kind) => {
          const attributes = new Map<string, unknown>()
          const span: Tracer.Span = {
            _tag: "Span",
            spanId: "1",
            traceId: "1",
            sampled: true,
            name,
            parent,
            context,
            links,
            kind,
            attributes,
            status: { _tag: "Started", startTime },
            end: () => {},
            event: () => {},
            addLinks: () => {},
            attribute: (key, value) => attributes.set(key, value)
          }
          spans.push(span)
          return span
        },
        context: (f) => f()
      })
      yield* over(echo, (embedder) => Effect.withTracer(embedder.embed(["1", "2"]), tracer), { dialect: "vllm" })
      assert.deepStrictEqual(spans.map(({ attributes, name }) => [name, Object.fromEntries(attributes)]), [
        ["embeddings e", {
          "gen_ai.operation.name": "embeddings",
          "gen_ai.provider.name": "vllm",
          "gen_ai.request.model": "e",
          "gen_ai.usage.input_tokens": 2
        }]
      ])
    }))

  it.effect("is a Layer, from options or from the configuration", () =>
    Effect.gen(function*() {
      const id = (layer: Layer.Layer<Embedder.Embedder, unknown>) =>
        Effect.provide(Effect.map(Embedder.Embedder, (embedder) => embedder.id), layer)
      assert.strictEqual(
        yield* id(OpenAiCompatible.embedderLayer({ model: "e" }).pipe(Layer.provide(FetchHttpClient.layer))),
        "openai/e"
      )
      assert.strictEqual(
        yield* id(
          OpenAiCompatible.embedderLayerConfig({ model: Config.string("MODEL") }).pipe(
            Layer.provide(FetchHttpClient.layer),
            Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["MODEL", "f"]]))))
          )
        ),
        "openai/f"
      )
    }))
})
