/** What an OpenTelemetry collector gets to see of a served program, as it arrives there. */
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as Module from "@effect-dspy/core/Module"
import * as Policy from "@effect-dspy/core/Policy"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import * as Prices from "@effect-dspy/providers/Prices"
import * as Telemetry from "@effect-dspy/providers/Telemetry"
import * as UsageLedger from "@effect-dspy/providers/UsageLedger"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import * as RequestManager from "@effect-dspy/streaming/RequestManager"
import * as Otlp from "@effect/opentelemetry/Otlp"
import { FetchHttpClient } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schema, Stream } from "effect"
import * as http from "node:http"
import type { AddressInfo } from "node:net"

const canary = "canary-4f6d1b7e9a2c4d8f"

const Value = Schema.Struct({
  stringValue: Schema.optional(Schema.String),
  intValue: Schema.optional(Schema.Union(Schema.Number, Schema.String)),
  doubleValue: Schema.optional(Schema.Number),
  boolValue: Schema.optional(Schema.Boolean)
})

const Attributes = Schema.optionalWith(Schema.Array(Schema.Struct({ key: Schema.String, value: Value })), {
  default: () => []
})

const Traces = Schema.Struct({
  resourceSpans: Schema.Array(Schema.Struct({
    scopeSpans: Schema.Array(Schema.Struct({
      spans: Schema.Array(Schema.Struct({
        name: Schema.String,
        spanId: Schema.String,
        parentSpanId: Schema.optional(Schema.String),
        kind: Schema.Number,
        attributes: Attributes
      }))
    }))
  }))
})

const Metrics = Schema.Struct({
  resourceMetrics: Schema.Array(Schema.Struct({
    scopeMetrics: Schema.Array(Schema.Struct({
      metrics: Schema.Array(Schema.Struct({
        name: Schema.String,
        unit: Schema.String,
        histogram: Schema.optional(Schema.Struct({
          dataPoints: Schema.Array(Schema.Struct({ attributes: Attributes, count: Schema.Number, sum: Schema.Number }))
        })),
        sum: Schema.optional(Schema.Struct({
          dataPoints: Schema.Array(Schema.Struct({ attributes: Attributes }))
        })),
        gauge: Schema.optional(Schema.Struct({
          dataPoints: Schema.Array(Schema.Struct({ attributes: Attributes }))
        }))
      }))
    }))
  }))
})

const listening = (handler: http.RequestListener) =>
  Effect.acquireRelease(
    Effect.async<http.Server>((resume) => {
      const server = http.createServer(handler)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`)) // it listens on TCP

const collector = Effect.gen(function*() {
  const received: Array<{ readonly path: string; readonly body: string }> = []
  const url = yield* listening((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (text) => body += text).on("end", () => {
      received.push({ path: request.url ?? "", body })
      response.writeHead(200, { "content-type": "application/json" }).end("{}")
    })
  })
  const of = <A, I>(path: string, schema: Schema.Schema<A, I>) =>
    Effect.suspend(() =>
      Effect.forEach(
        received.filter((one) => one.path === path),
        ({ body }) => Schema.decode(Schema.parseJson(schema))(body)
      )
    )
  return {
    url,
    everything: () => received.map(({ body }) => body).join("\n"),
    spans: Effect.map(
      of("/v1/traces", Traces),
      (all) =>
        all.flatMap(({ resourceSpans }) =>
          resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
        )
    ),
    metrics: Effect.map(
      of("/v1/metrics", Metrics),
      (all) =>
        all.flatMap(({ resourceMetrics }) =>
          resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
        )
    )
  }
})

/** A server that streams what a chat model says, piece by piece. */
const model = (texts: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    let n = 0
    const url = yield* listening((request, response) => {
      request.resume().on("end", () => {
        const text = texts[n++] ?? ""
        response.writeHead(200, { "content-type": "text/event-stream", "x-request-id": "req-1" })
        const event = (choice: object, rest: object = {}) =>
          response.write(
            `data: ${JSON.stringify({ id: "chatcmpl-7", model: "tiny-2026", choices: [choice], ...rest })}\n\n`
          )
        for (const piece of text.match(/.{1,12}/gs) ?? []) event({ index: 0, delta: { content: piece } })
        event({ index: 0, delta: {}, finish_reason: "stop" }, {
          usage: { prompt_tokens: 31, completion_tokens: 17 }
        })
        response.end("data: [DONE]\n\n")
      })
    })
    return OpenAiCompatible.layer({ model: "tiny", baseUrl: `${url}/v1`, apiKey: Redacted.make("sk-canary-key") }).pipe(
      Policy.apply(Telemetry.streams),
      Policy.apply(UsageLedger.policy),
      Layer.provide(Prices.layer({ "*": { input: 1, output: 2 } })),
      Layer.provideMerge(UsageLedger.layer()),
      Layer.provide(FetchHttpClient.layer)
    )
  })

const exporting = (url: string) =>
  Otlp.layerJson({ baseUrl: url, resource: { serviceName: "triage" } }).pipe(Layer.provide(FetchHttpClient.layer))

const program = Module.make(
  { answer: ChainOfThought.make("question -> answer") },
  function*(m, input: { readonly question: string }) {
    return yield* m.answer(input)
  }
)

const valuesOf = (attributes: ReadonlyArray<{ readonly key: string; readonly value: typeof Value.Type }>) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

const good = `[[ ## reasoning ## ]]\n${canary}\n\n[[ ## answer ## ]]\n${canary} is it\n\n[[ ## completed ## ]]`

describe("what a collector receives", () => {
  it.scopedLive("one span for each module, predictor and model call, by the conventions, without content", () =>
    Effect.gen(function*() {
      const to = yield* collector
      const layer = yield* model([good])
      const warm = Module.withSettings(program, { temperature: 0.5 })
      yield* ModuleStream.events(warm, { question: `What about ${canary}?` }).pipe(
        Stream.runDrain,
        Effect.withSpan("request"),
        Effect.provide(Layer.merge(layer, exporting(to.url)))
      )
      const spans = yield* to.spans
      const byName = new Map(spans.map((span) => [span.name, span]))
      const parentOf = (name: string) => spans.find(({ spanId }) => spanId === byName.get(name)?.parentSpanId)?.name
      assert.strictEqual(parentOf("Module"), "request")
      assert.strictEqual(parentOf("Module answer"), "Module")
      assert.strictEqual(parentOf("Predict answer.predict"), "Module answer")
      assert.strictEqual(parentOf("chat tiny"), "Predict answer.predict")
      assert.strictEqual(byName.get("chat tiny")?.kind, 3) // a client's
      assert.deepInclude(valuesOf(byName.get("chat tiny")?.attributes ?? []), {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny-2026",
        "server.address": "127.0.0.1",
        "gen_ai.usage.input_tokens": 31,
        "gen_ai.usage.output_tokens": 17
      })
      assert.include(
        to.everything(),
        `"key":"gen_ai.response.finish_reasons","value":{"arrayValue":{"values":[{"stringValue":"stop"}]}}`
      )
      assert.include(to.everything(), `"key":"gen_ai.request.temperature","value":{"doubleValue":0.5}`)
      assert.notInclude(to.everything(), "canary")
    }))

  it.scopedLive("tokens, durations, cost, times to the first chunk and field, and the queue", () =>
    Effect.gen(function*() {
      const to = yield* collector
      const layer = yield* model([good, good])
      yield* Effect.gen(function*() {
        const manager = yield* RequestManager.make(program)
        yield* manager.run({ question: "?" })
        yield* Stream.runDrain(ModuleStream.events(program, { question: "?" }))
      }).pipe(Effect.scoped, Effect.provide(Layer.merge(layer, exporting(to.url))))
      const metrics = yield* to.metrics
      const named = (name: string) => metrics.filter((metric) => metric.name === name)
      for (
        const [name, unit] of [
          ["gen_ai.client.token.usage", "{token}"],
          ["gen_ai.client.operation.duration", "s"],
          ["gen_ai.client.operation.time_to_first_chunk", "s"],
          ["gen_ai.client.operation.time_per_output_chunk", "s"],
          ["effect_dspy_time_to_first_field", "s"],
          ["effect_dspy_cost", "1"],
          ["effect_dspy_requests_queued", "1"],
          ["effect_dspy_requests_running", "1"]
        ] as const
      ) assert.strictEqual(named(name)[0]?.unit, unit, name)
      const usage = named("gen_ai.client.token.usage").flatMap((metric) => metric.histogram?.dataPoints ?? []).map(
        ({ attributes, sum }) => [valuesOf(attributes)["gen_ai.token.type"], sum]
      )
      assert.deepInclude(usage, ["input", 31])
      assert.deepInclude(usage, ["output", 17])
    }))

  it.scopedLive.each([
    `{"answer": ${canary}`,
    `{"reasoning": "r", "answer": ${canary}}`,
    `[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\n${canary}\n\n[[ ## completed ## ]]`,
    `{"${canary}": 1}`
  ])("of a failure its kind, and nothing of an answer that cannot be read: %s", (text) =>
    Effect.gen(function*() {
      const to = yield* collector
      const layer = yield* model([text, text, text])
      const count = Module.make({ count: ChainOfThought.make("question -> answer: int") }, function*(m, input: {
        readonly question: string
      }) {
        return yield* m.count(input)
      })
      const error = yield* count({ question: canary }).pipe(
        Effect.tapErrorCause((cause) => Effect.logError("failed", cause)),
        Effect.flip,
        Effect.provide(Layer.merge(layer, exporting(to.url)))
      )
      assert.strictEqual(error._tag, "AdapterParseError")
      assert.notInclude(error.message, canary)
      assert.isAbove((yield* to.spans).length, 2)
      assert.notInclude(to.everything(), "canary")
    }))

  it.scopedLive("what was asked and answered only when it is asked for, in the span of the predictor", () =>
    Effect.gen(function*() {
      const to = yield* collector
      const layer = Policy.apply(yield* model([good]), Telemetry.content(Telemetry.plain))
      yield* program({ question: "Where?" }).pipe(Effect.provide(Layer.merge(layer, exporting(to.url))))
      const predict = (yield* to.spans).find(({ name }) => name === "Predict answer.predict")
      const attributes = valuesOf(predict?.attributes ?? [])
      const Messages = Schema.parseJson(Schema.Array(Schema.Struct({
        role: Schema.String,
        parts: Schema.Array(Schema.Struct({ type: Schema.String, content: Schema.String }))
      })))
      const [asked] = yield* Schema.decodeUnknown(Messages)(attributes["gen_ai.input.messages"])
      assert.strictEqual(asked?.role, "user")
      assert.include(asked?.parts[0]?.content, "Where?")
      const [said] = yield* Schema.decodeUnknown(Messages)(attributes["gen_ai.output.messages"])
      assert.strictEqual(said?.parts[0]?.content, good)
      assert.include(String(attributes["gen_ai.system_instructions"]), "question")
    }))

  it.scopedLive("hashed content has nothing of the text", () =>
    Effect.gen(function*() {
      const to = yield* collector
      const layer = Policy.apply(yield* model([good]), Telemetry.content(Telemetry.hashed(Redacted.make("key"))))
      yield* program({ question: canary }).pipe(Effect.provide(Layer.merge(layer, exporting(to.url))))
      assert.include(to.everything(), "characters, ")
      assert.notInclude(to.everything(), "canary")
    }))

  it.scopedLive("one span for each use of a tool", () =>
    Effect.gen(function*() {
      const to = yield* collector
      const agent = ReAct.make("question -> answer", {
        tools: [
          Tool.make("search", {
            description: "Searches.",
            parameters: { topic: Schema.String },
            run: () => Effect.succeed("found")
          })
        ]
      })
      const answers = TestLanguageModel.layer([
        TestLanguageModel.toolCalls([{ name: "search", arguments: { topic: canary } }]),
        TestLanguageModel.toolCalls([{ name: "finish", arguments: {} }]),
        TestLanguageModel.fields({ reasoning: "r", answer: "a" })
      ])
      yield* agent({ question: "?" }).pipe(Effect.provide(Layer.merge(answers, exporting(to.url))))
      const tool = (yield* to.spans).find(({ name }) => name === "execute_tool search")
      assert.deepInclude(valuesOf(tool?.attributes ?? []), {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search"
      })
      assert.notInclude(to.everything(), canary)
    }))
})
