import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { AiError, LanguageModel as Ai, Prompt, type Response, Tool, Toolkit } from "@effect/ai"
import { OpenAiClient, OpenAiLanguageModel } from "@effect/ai-openai"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Chunk,
  Config as Setting,
  ConfigProvider,
  Context,
  Effect,
  Either,
  Layer,
  Redacted,
  Schema,
  type SchemaAST,
  Stream
} from "effect"
import * as EffectAi from "../src/EffectAi.ts"
import * as FaultServer from "./FaultServer.ts"
import { collect, observe, question } from "./promises.ts"

// =============================================================================
// A model of @effect/ai that answers as told
// =============================================================================

interface Scripted {
  readonly whole?: ReadonlyArray<Response.PartEncoded>
  readonly error?: AiError.AiError
  readonly streamed?: Stream.Stream<Response.StreamPartEncoded, AiError.AiError>
}

const over = <A, E>(
  { error, streamed, whole }: Scripted,
  use: (model: LanguageModel.Service, calls: ReadonlyArray<Ai.ProviderOptions>) => Effect.Effect<A, E>,
  options: Partial<EffectAi.Options> = {}
) =>
  Effect.gen(function*() {
    const calls: Array<Ai.ProviderOptions> = []
    const ai = yield* Ai.make({
      generateText: (options) => {
        calls.push(options)
        return error === undefined ? Effect.succeed([...(whole ?? [])]) : Effect.fail(error)
      },
      streamText: (options) => {
        calls.push(options)
        return streamed ?? Stream.empty
      }
    })
    const model = yield* Effect.provideService(EffectAi.make({ id: "openai/m", ...options }), Ai.LanguageModel, ai)
    return yield* use(model, calls)
  })

const usage = { inputTokens: 9, outputTokens: 4, totalTokens: 13, reasoningTokens: 2, cachedInputTokens: 3 }

const finish = (reason: Response.FinishReason = "stop"): Response.FinishPartEncoded => ({
  type: "finish",
  reason,
  usage
})

const weather: LanguageModel.ToolDefinition = {
  name: "weather",
  description: "Tells it.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
}

const schemaOf = (schema: { readonly ast: SchemaAST.AST }): unknown => Tool.getJsonSchemaFromSchemaAst(schema.ast)

describe("EffectAi", () => {
  describe("theirs as ours", () => {
    it.effect("is configured by the program's configuration", () =>
      Effect.gen(function*() {
        const { capabilities, id } = yield* LanguageModel.LanguageModel.pipe(
          Effect.provide(EffectAi.layerConfig({
            id: Setting.string("MODEL"),
            capabilities: { images: Setting.boolean("IMAGES") }
          })),
          Effect.provideServiceEffect(
            Ai.LanguageModel,
            Ai.make({ generateText: () => Effect.succeed([]), streamText: () => Stream.empty })
          ),
          Effect.withConfigProvider(ConfigProvider.fromMap(
            new Map([["MODEL", "openai/gpt-4o-mini"], ["IMAGES", "false"]])
          ))
        )
        assert.strictEqual(id, "openai/gpt-4o-mini")
        assert.isFalse(capabilities.images)
      }))

    it.effect("sends what a request says", () =>
      over({ whole: [finish()] }, (model, calls) =>
        Effect.gen(function*() {
          yield* model.generate({
            messages: [
              { role: "system", content: "Be brief." },
              {
                role: "user",
                content: [
                  { _tag: "Text", text: "What is this?" },
                  { _tag: "Image", url: "data:image/png;base64,AAEC" },
                  { _tag: "Image", url: "https://example.com/a.png" }
                ]
              },
              {
                role: "assistant",
                content: "I look.",
                toolCalls: [
                  { id: "a", name: "weather", arguments: "{\"city\":\"Oslo\"}" },
                  { id: "b", name: "weather", arguments: "{\"ci" }
                ]
              },
              { role: "tool", toolCallId: "a", content: "rain" },
              { role: "tool", toolCallId: "b", content: "sun" }
            ],
            tools: [weather],
            toolChoice: { name: "weather" }
          })
          const { prompt, responseFormat, toolChoice, tools } = calls[0]!
          const call = (id: string, params: unknown) => ({
            type: "tool-call",
            id,
            name: "weather",
            params,
            providerExecuted: false,
            options: {}
          })
          const result = (id: string, result: string) => ({
            type: "tool-result",
            id,
            name: "weather",
            isFailure: false,
            result,
            providerExecuted: false,
            options: {}
          })
          const plain = prompt.content.map(({ content, role }) => ({
            role,
            content: typeof content === "string"
              ? content
              : content.map((part) => Object.fromEntries(Object.entries(part).filter(([key]) => !key.startsWith("~"))))
          }))
          assert.deepStrictEqual(plain, [
            { role: "system", content: "Be brief." },
            {
              role: "user",
              content: [
                { type: "text", text: "What is this?", options: {} },
                { type: "file", mediaType: "image/png", data: Uint8Array.of(0, 1, 2), options: {} },
                { type: "file", mediaType: "image/*", data: new URL("https://example.com/a.png"), options: {} }
              ]
            },
            {
              role: "assistant",
              content: [
                { type: "text", text: "I look.", options: {} },
                call("a", { city: "Oslo" }),
                call("b", { arguments: "{\"ci" })
              ]
            },
            { role: "tool", content: [result("a", "rain"), result("b", "sun")] }
          ])
          assert.deepStrictEqual(toolChoice, { tool: "weather" })
          assert.deepStrictEqual(
            tools.map((tool) => [tool.name, tool.description, schemaOf(tool.parametersSchema)]),
            [["weather", "Tells it.", weather.parameters]]
          )
          assert.deepStrictEqual(responseFormat, { type: "text" })
          const invalid = yield* Effect.flip(
            model.generate({ messages: [{ role: "user", content: [{ _tag: "Image", url: "no url" }] }] })
          )
          assert.strictEqual(invalid.reason._tag, "InvalidRequest")
          assert.strictEqual(calls.length, 1)
        })))

    class Config extends Context.Tag("test/Config")<Config, { readonly temperature: number | undefined }>() {}

    it.effect("gives the settings to the model as its own configuration", () =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        const look = Effect.map(Effect.serviceOption(Config), (config) =>
          seen.push(config._tag === "Some" && config.value))
        const ai = yield* Ai.make({
          generateText: () =>
            Effect.as(look, [finish()]),
          streamText: () => Stream.fromEffect(Effect.as(look, finish()))
        })
        const model = yield* Effect.provideService(
          EffectAi.make({
            id: "m",
            settings: ({ temperature }) => Context.make(Config, { temperature })
          }),
          Ai.LanguageModel,
          ai
        )
        yield* model.generate({ ...question, settings: { temperature: 0.5 } })
        yield* collect(model, { ...question, settings: { temperature: 0.7 } })
        assert.deepStrictEqual(seen, [{ temperature: 0.5 }, { temperature: 0.7 }])
      }))

    it.effect("refuses what the model would not be told", () =>
      over({ whole: [finish()] }, (model, calls) =>
        Effect.gen(function*() {
          const fails = (settings: LanguageModel.Settings) =>
            Effect.map(Effect.flip(model.generate({ ...question, settings })), (error) => error.message)
          assert.include(yield* fails({ temperature: 1 }), "(temperature)")
          assert.include(yield* fails({ n: 2 }), "`n` is 2")
          const streamed = yield* observe(model, { ...question, settings: { seed: 1 } })
          assert.isTrue(Either.isLeft(streamed.end))
          assert.strictEqual(calls.length, 0)
          yield* model.generate({ ...question, settings: { rollout: "7", n: 1 } })
          assert.strictEqual(calls.length, 1)
        })))

    it.effect("reads whole answers", () =>
      over({
        whole: [
          { type: "response-metadata", id: "r1", modelId: "m-2026" },
          { type: "reasoning", text: "Hm." },
          { type: "text", text: "Par" },
          { type: "text", text: "is" },
          { type: "source", sourceType: "url", id: "s", url: "https://example.com/", title: "Example" },
          { type: "tool-call", id: "a", name: "weather", params: { city: "Oslo" } },
          finish()
        ]
      }, (model) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* model.generate({ ...question, tools: [weather] }), {
            outputs: [{
              text: "Paris",
              reasoning: "Hm.",
              toolCalls: [{ id: "a", name: "weather", arguments: "{\"city\":\"Oslo\"}" }],
              finishReason: "toolCalls",
              citations: [{ title: "Example", url: "https://example.com/" }]
            }],
            usage: { inputTokens: 9, outputTokens: 4, cachedInputTokens: 3, reasoningTokens: 2 },
            model: "m-2026",
            requestId: "r1"
          })
        })))

    it.effect("says why the model stopped", () =>
      Effect.gen(function*() {
        const cases = [
          ["stop", "stop"],
          ["length", "length"],
          ["content-filter", "contentFilter"],
          ["tool-calls", "toolCalls"],
          ["pause", "length"],
          ["other", "unknown"],
          ["unknown", "unknown"]
        ] as const
        for (const [theirs, ours] of cases) {
          const response = yield* over({ whole: [finish(theirs)] }, (model) => model.generate(question))
          assert.strictEqual(response.outputs[0]!.finishReason, ours)
        }
        const failed = yield* over({ whole: [finish("error")] }, (model) => Effect.flip(model.generate(question)))
        assert.strictEqual(failed.reason._tag, "ServerError")
        const none = yield* over({ whole: [{ type: "text", text: "half" }] }, (model) =>
          Effect.flip(model.generate(question)))
        assert.strictEqual(none.reason._tag === "StreamTruncated" && none.reason.partial, "half")
      }))

    it.effect("holds an answer to a schema, whole and streamed", () =>
      over({ whole: [{ type: "text", text: "{\"answer\":1}" }, finish()] }, (model, calls) =>
        Effect.gen(function*() {
          const schema = { type: "object", properties: { answer: { type: "number" } } }
          const request = {
            ...question,
            responseFormat: { _tag: "JsonSchema", name: "a", schema, strict: true }
          } as const
          assert.strictEqual((yield* model.generate(request)).outputs[0]!.text, "{\"answer\":1}")
          const { deltas } = yield* observe(model, request)
          assert.deepStrictEqual(deltas.map((delta) => delta._tag), ["TextDelta", "Finish", "Completed"])
          const format = calls[1]!.responseFormat
          assert.deepStrictEqual(
            format.type === "json" && [format.objectName, schemaOf(format.schema)],
            ["a", schema]
          )
        })))

    it.effect("streams text, reasoning and calls as they are written", () =>
      over({
        streamed: Stream.make<Array<Response.StreamPartEncoded>>(
          { type: "response-metadata", id: "r1", modelId: "m-2026" },
          { type: "reasoning-start", id: "0" },
          { type: "reasoning-delta", id: "0", delta: "Hm." },
          { type: "reasoning-end", id: "0" },
          { type: "text-start", id: "0" },
          { type: "text-delta", id: "0", delta: "Par" },
          { type: "text-delta", id: "0", delta: "is" },
          { type: "text-end", id: "0" },
          { type: "tool-params-start", id: "a", name: "weather" },
          { type: "tool-params-delta", id: "a", delta: "{\"city\":" },
          { type: "tool-params-delta", id: "a", delta: "\"Oslo\"}" },
          { type: "tool-params-end", id: "a" },
          { type: "tool-call", id: "a", name: "weather", params: { city: "Oslo" } },
          { type: "tool-call", id: "b", name: "weather", params: { city: "Rome" } },
          { type: "tool-params-start", id: "x", name: "weather", providerExecuted: true },
          finish("tool-calls")
        )
      }, (model) =>
        Effect.gen(function*() {
          const call = (call: number, piece: object) => ({
            _tag: "ToolCallDelta",
            index: 0,
            call,
            arguments: "",
            ...piece
          })
          assert.deepStrictEqual(yield* collect(model, { ...question, tools: [weather] }), [
            { _tag: "ReasoningDelta", index: 0, text: "Hm." },
            { _tag: "TextDelta", index: 0, text: "Par" },
            { _tag: "TextDelta", index: 0, text: "is" },
            call(0, { id: "a", name: "weather" }),
            call(0, { arguments: "{\"city\":" }),
            call(0, { arguments: "\"Oslo\"}" }),
            call(1, { id: "b", name: "weather" }),
            call(1, { arguments: "{\"city\":\"Rome\"}" }),
            { _tag: "Finish", index: 0, reason: "toolCalls" },
            {
              _tag: "Completed",
              usage: { inputTokens: 9, outputTokens: 4, cachedInputTokens: 3, reasoningTokens: 2 },
              model: "m-2026",
              requestId: "r1"
            }
          ] as ReadonlyArray<unknown>)
        })))

    it.effect("never takes a stream for whole that is not, and keeps what had arrived", () =>
      Effect.gen(function*() {
        const begun = Stream.make<Array<Response.StreamPartEncoded>>({ type: "text-start", id: "0" }, {
          type: "text-delta",
          id: "0",
          delta: "Par"
        })
        const unknown = new AiError.UnknownError({ module: "m", method: "m", description: "broke" })
        const error: Response.StreamPartEncoded = {
          type: "error",
          error: { type: "overloaded_error", message: "busy" }
        }
        const ends: ReadonlyArray<readonly [Stream.Stream<Response.StreamPartEncoded, AiError.AiError>, string]> = [
          [begun, "StreamTruncated"],
          [Stream.concat(begun, Stream.fail(unknown)), "StreamFailed"],
          [Stream.concat(begun, Stream.make(error)), "StreamFailed"],
          [Stream.concat(begun, Stream.make(finish("error"))), "StreamFailed"]
        ]
        for (const [streamed, tag] of ends) {
          const { deltas, end } = yield* over({ streamed }, (model) => observe(model))
          assert.deepStrictEqual(deltas, [{ _tag: "TextDelta", index: 0, text: "Par" }])
          const { reason } = Either.getOrThrow(Either.flip(end))
          assert.deepStrictEqual(
            [reason._tag, "partial" in reason && reason.partial],
            [tag, "Par"]
          )
        }
        const before = yield* over({ streamed: Stream.make(error) }, (model) => observe(model))
        assert.strictEqual(Either.getOrThrow(Either.flip(before.end)).reason._tag, "Overloaded")
      }))

    it.effect("gives back what a provider attached to its parts", () =>
      Effect.gen(function*() {
        const signed = { anthropic: { signature: "c2ln" } }
        const item = { openai: { itemId: "i1" } }
        const whole: ReadonlyArray<Response.PartEncoded> = [
          { type: "reasoning", text: "Hm.", metadata: { ...signed, other: { missing: undefined } } },
          { type: "text", text: "I ask." },
          { type: "tool-call", id: "a", name: "weather", params: { city: "Oslo" }, metadata: item },
          finish("tool-calls")
        ]
        const streamed = Stream.make<Array<Response.StreamPartEncoded>>(
          { type: "reasoning-start", id: "0" },
          { type: "reasoning-delta", id: "0", delta: "Hm." },
          { type: "reasoning-end", id: "0", metadata: { ...signed, other: { missing: undefined } } },
          { type: "text-start", id: "0" },
          { type: "text-delta", id: "0", delta: "I ask." },
          { type: "text-end", id: "0" },
          { type: "tool-call", id: "a", name: "weather", params: { city: "Oslo" }, metadata: item },
          finish("tool-calls")
        )
        yield* over({ whole, streamed }, (model, calls) =>
          Effect.gen(function*() {
            const request = { ...question, tools: [weather] }
            const { outputs } = yield* model.generate(request)
            const output = outputs[0]!
            const again = yield* LanguageModel.fold(model.stream(request), model.id)
            assert.deepStrictEqual(again.outputs, outputs)
            const turn = LanguageModel.toMessage(output)
            const parts = (call: Ai.ProviderOptions) =>
              call.prompt.content.flatMap((message) => message.role === "assistant" ? message.content : [])
                .map((part) => [part.type, part.options])
            yield* model.generate({ ...request, messages: [...question.messages, turn] })
            assert.deepStrictEqual(parts(calls.at(-1)!), [
              ["reasoning", { ...signed, other: {} }],
              ["text", {}],
              ["tool-call", item]
            ])
            yield* model.generate({ ...request, messages: [...question.messages, { ...turn, content: "Changed." }] })
            assert.deepStrictEqual(parts(calls.at(-1)!), [["text", {}], ["tool-call", {}]])
          }))
      }))

    it.effect("maps errors as far as they tell what happened", () =>
      Effect.gen(function*() {
        const request = {
          method: "POST",
          url: "https://example.com/v1",
          urlParams: [],
          hash: { _id: "Option", _tag: "None" } as never,
          headers: {}
        } as const
        const at = { module: "m", method: "m", request }
        const status = (status: number, body: unknown, headers: Record<string, string> = {}) =>
          new AiError.HttpResponseError({
            ...at,
            reason: "StatusCode",
            response: { status, headers },
            body: JSON.stringify(body)
          }, { disableValidation: true })
        const cases: ReadonlyArray<readonly [AiError.AiError, LanguageModelError["reason"]["_tag"]]> = [
          [
            new AiError.HttpRequestError({ ...at, reason: "Transport", cause: { code: "ECONNREFUSED" } }, {
              disableValidation: true
            }),
            "Transport"
          ],
          [
            new AiError.HttpRequestError({ ...at, reason: "InvalidUrl" }, { disableValidation: true }),
            "InvalidRequest"
          ],
          [status(429, { error: { code: "insufficient_quota" } }), "QuotaExhausted"],
          [status(401, {}), "Authentication"],
          [status(503, "down"), "Overloaded"],
          [
            new AiError.HttpResponseError({ ...at, reason: "EmptyBody", response: { status: 200, headers: {} } }, {
              disableValidation: true
            }),
            "MalformedResponse"
          ],
          [
            new AiError.HttpResponseError({ ...at, reason: "Decode", response: { status: 200, headers: {} } }, {
              disableValidation: true
            }),
            "Transport"
          ],
          [new AiError.MalformedInput({ module: "m", method: "m" }), "InvalidRequest"],
          [new AiError.MalformedOutput({ module: "m", method: "m" }), "MalformedResponse"],
          [new AiError.UnknownError({ module: "m", method: "m" }), "ServerError"]
        ]
        for (const [failure, tag] of cases) {
          const error = yield* over({ error: failure }, (model) => Effect.flip(model.generate(question)))
          assert.strictEqual(error.reason._tag, tag, failure.message)
          assert.deepStrictEqual([error.provider, error.model], ["openai", "openai/m"])
        }
        const limited = yield* over({ error: status(429, {}, { "retry-after": "7" }) }, (model) =>
          Effect.flip(model.generate(question)))
        assert.strictEqual(limited.reason._tag === "RateLimited" && limited.reason.retryAfter, 7000)
        const leak = new AiError.UnknownError({
          module: "m",
          method: "m",
          description: String(question.messages[0]!.content)
        })
        const clean = yield* over({ error: leak }, (model) =>
          Effect.flip(model.generate(question)))
        assert.notInclude(clean.message, "capital of France")
      }))
  })

  describe("ours as theirs", () => {
    const under = (steps: Parameters<typeof TestLanguageModel.layer>[0]) =>
      EffectAi.layerAi().pipe(
        Layer.provide(TestLanguageModel.layer(steps))
      )

    /** Ours as theirs, and what it is asked. */
    const recorded = (
      capabilities: Partial<LanguageModel.Capabilities> = { tools: true, images: true, responseFormat: "jsonSchema" }
    ) =>
      Effect.gen(function*() {
        const requests: Array<LanguageModel.Request> = []
        const model = LanguageModel.make({
          id: "test/m",
          capabilities,
          generate: (request) => {
            requests.push(request)
            return Effect.succeed(LanguageModel.text("{\"city\":\"Oslo\"}", "m"))
          }
        })
        const ai = yield* Effect.provideService(
          EffectAi.makeAi({ temperature: 0.5 }),
          LanguageModel.LanguageModel,
          model
        )
        return { ai, requests }
      })

    const City = Schema.Struct({ city: Schema.String })
    const Weather = Tool.make("weather", {
      description: "Tells it.",
      parameters: { city: Schema.String },
      success: Schema.Struct({ sky: Schema.String })
    })
    const toolkit = Toolkit.make(Weather)
    const handlers = toolkit.toLayer({ weather: ({ city }) => Effect.succeed({ sky: `rain in ${city}` }) })
    const handled = (steps: Parameters<typeof under>[0]) => Layer.merge(handlers, under(steps))

    it.effect("sends what a prompt says", () =>
      Effect.gen(function*() {
        const { ai, requests } = yield* recorded()
        yield* ai.generateText({
          prompt: [
            { role: "system", content: "Be brief." },
            {
              role: "user",
              content: [
                { type: "text", text: "What is this?" },
                { type: "file", mediaType: "image/png", data: Uint8Array.of(0, 1, 2) },
                { type: "file", mediaType: "image/*", data: new URL("https://example.com/a.png") }
              ]
            },
            {
              role: "assistant",
              content: [
                { type: "reasoning", text: "Hm." },
                { type: "text", text: "I look." },
                { type: "tool-call", id: "a", name: "weather", params: { city: "Oslo" } }
              ]
            },
            {
              role: "tool",
              content: [
                {
                  type: "tool-result",
                  id: "a",
                  name: "weather",
                  isFailure: false,
                  result: { sky: "x" },
                  providerExecuted: false
                },
                {
                  type: "tool-result",
                  id: "b",
                  name: "weather",
                  isFailure: true,
                  result: "no",
                  providerExecuted: false
                }
              ]
            },
            { role: "user", content: "Well?" }
          ],
          toolkit: yield* Effect.provide(toolkit, handlers),
          toolChoice: { tool: "weather" }
        })
        assert.deepStrictEqual(requests, [{
          messages: [
            { role: "system", content: "Be brief." },
            {
              role: "user",
              content: [
                { _tag: "Text", text: "What is this?" },
                { _tag: "Image", url: "data:image/png;base64,AAEC" },
                { _tag: "Image", url: "https://example.com/a.png" }
              ]
            },
            {
              role: "assistant",
              content: "I look.",
              toolCalls: [{ id: "a", name: "weather", arguments: "{\"city\":\"Oslo\"}" }]
            },
            { role: "tool", toolCallId: "a", content: "{\"sky\":\"x\"}" },
            { role: "tool", toolCallId: "b", content: "no" },
            { role: "user", content: "Well?" }
          ],
          settings: { temperature: 0.5 },
          tools: [{
            name: "weather",
            description: "Tells it.",
            parameters: {
              type: "object",
              properties: { city: { type: "string" } },
              required: ["city"],
              additionalProperties: false
            }
          }],
          toolChoice: { name: "weather" }
        }])
        for (
          const data of [
            { mediaType: "text/csv", data: Uint8Array.of(1) },
            { mediaType: "image/png", data: "file-123" }
          ]
        ) {
          const refused = yield* Effect.flip(
            ai.generateText({ prompt: [{ role: "user", content: [{ type: "file", ...data }] }] })
          )
          assert.strictEqual(refused._tag, "MalformedInput")
        }
      }))

    it.effect("makes objects, by schema or in words", () =>
      Effect.gen(function*() {
        const held = yield* recorded()
        const { value } = yield* held.ai.generateObject({ prompt: "Where?", schema: City, objectName: "city" })
        assert.deepStrictEqual(value, { city: "Oslo" })
        const format = held.requests[0]!.responseFormat
        assert.deepInclude(format, { _tag: "JsonSchema", name: "city", strict: false })
        const told = yield* recorded({ responseFormat: "jsonObject" })
        assert.deepStrictEqual((yield* told.ai.generateObject({ prompt: "Where?", schema: City })).value, {
          city: "Oslo"
        })
        const [system] = told.requests[0]!.messages
        assert.strictEqual(system?.role, "system")
        assert.include(String(system?.content), "\"city\":{\"type\":\"string\"}")
        assert.deepStrictEqual(told.requests[0]!.responseFormat, { _tag: "JsonObject" })
        const free = yield* recorded({ responseFormat: "none" })
        assert.deepStrictEqual(
          (yield* free.ai.generateObject({ prompt: "Where?", schema: City })).value,
          { city: "Oslo" }
        )
        assert.isUndefined(free.requests[0]!.responseFormat)
      }))

    it.effect("answers, with the tools that it calls run by @effect/ai", () =>
      Effect.gen(function*() {
        const response = yield* Ai.generateText({ prompt: "Will it rain?", toolkit })
        assert.deepStrictEqual(response.toolResults.map(({ result }) => result), [{ sky: "rain in Oslo" }])
        assert.strictEqual(response.finishReason, "tool-calls")
      }).pipe(
        Effect.provide(handled([TestLanguageModel.toolCalls([{ name: "weather", arguments: { city: "Oslo" } }])]))
      ))

    it.effect("streams parts that begin and end, and runs the tools", () =>
      Effect.gen(function*() {
        const parts = Chunk.toReadonlyArray(
          yield* Stream.runCollect(Ai.streamText({ prompt: "Will it rain?", toolkit }))
        )
        assert.deepStrictEqual(parts.map((part) => part.type), [
          "reasoning-start",
          "reasoning-delta",
          "reasoning-end",
          "text-start",
          "text-delta",
          "text-delta",
          "text-end",
          "source",
          "tool-params-start",
          "tool-params-delta",
          "tool-params-delta",
          "tool-params-start",
          "tool-params-delta",
          "tool-params-end",
          "tool-call",
          "tool-params-end",
          "tool-call",
          "response-metadata",
          "finish",
          "tool-result",
          "tool-result"
        ])
        const results = parts.flatMap((part) => part.type === "tool-result" ? [part.result] : [])
        assert.deepStrictEqual(results, [{ sky: "rain in Oslo" }, { sky: "rain in Rome" }])
        const last = parts.find((part) => part.type === "finish")
        assert.strictEqual(last?.usage.totalTokens, 7)
        const prompt = Prompt.fromResponseParts(parts)
        assert.deepStrictEqual(prompt.content.map((message) => message.role), ["assistant", "tool"])
      }).pipe(
        Effect.provide(handled([TestLanguageModel.deltas([
          { _tag: "ReasoningDelta", index: 0, text: "Hm." },
          { _tag: "TextDelta", index: 0, text: "I " },
          { _tag: "TextDelta", index: 1, text: "another" },
          { _tag: "TextDelta", index: 0, text: "ask." },
          { _tag: "ToolCallDelta", index: 0, call: 0, id: "a", name: "weather", arguments: "" },
          { _tag: "CitationDelta", index: 0, citation: { url: "https://example.com/", title: "Example" } },
          { _tag: "ToolCallDelta", index: 0, call: 0, arguments: "{\"city\":" },
          { _tag: "ToolCallDelta", index: 0, call: 0, arguments: "\"Oslo\"}" },
          { _tag: "ToolCallDelta", index: 0, call: 1, name: "weather", arguments: "{\"city\":\"Rome\"}" },
          { _tag: "ToolCallDelta", index: 0, call: 1, id: "b", arguments: "" },
          { _tag: "Finish", index: 0, reason: "toolCalls" },
          { _tag: "Completed", usage: { inputTokens: 4, outputTokens: 3 }, model: "m" }
        ])]))
      ))

    it.effect("fails with the error of the model as its cause", () =>
      Effect.gen(function*() {
        const tags = [
          ["ContextWindowExceeded", "MalformedInput"],
          ["MalformedResponse", "MalformedOutput"],
          ["RateLimited", "UnknownError"]
        ] as const
        for (const [ours, theirs] of tags) {
          const error = yield* Ai.generateText({ prompt: "x" }).pipe(
            Effect.flip,
            Effect.provide(under([TestLanguageModel.fail(ours)]))
          )
          assert.strictEqual(error._tag, theirs)
          assert.strictEqual(("cause" in error ? error.cause as LanguageModelError : undefined)?.reason._tag, ours)
        }
        const streamFails = (deltas: ReadonlyArray<LanguageModel.Delta>) =>
          Stream.runDrain(Ai.streamText({ prompt: "x", toolkit })).pipe(
            Effect.flip,
            Effect.provide(handled([TestLanguageModel.deltas(deltas)]))
          )
        const completed: LanguageModel.Delta = { _tag: "Completed", usage: {}, model: "m" }
        const broken = yield* streamFails([
          { _tag: "ToolCallDelta", index: 0, call: 0, id: "a", name: "weather", arguments: "{\"ci" },
          completed
        ])
        assert.strictEqual(broken._tag, "MalformedOutput")
        const anew = yield* streamFails([{ _tag: "Restarted", cause: "fallback" }, completed])
        assert.include(anew.message, "began anew")
      }))
  })

  describe("with @effect/ai-openai", () => {
    const response = (status: string, output: ReadonlyArray<unknown>) => ({
      id: "resp_1",
      object: "response",
      status,
      created_at: 1,
      error: null,
      incomplete_details: null,
      instructions: null,
      metadata: {},
      model: "gpt-4o-mini",
      output,
      parallel_tool_calls: true,
      temperature: 1,
      tool_choice: "auto",
      tools: [],
      top_p: 1,
      usage: {
        input_tokens: 9,
        input_tokens_details: { cached_tokens: 3 },
        output_tokens: 4,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: 13
      }
    })
    const said = {
      type: "message",
      id: "msg_1",
      status: "completed",
      role: "assistant",
      content: [{ type: "output_text", text: "Paris", annotations: [], logprobs: [] }]
    }
    const called = {
      type: "function_call",
      id: "fc_1",
      call_id: "call_9",
      name: "weather",
      arguments: "{\"city\":\"Oslo\"}",
      status: "completed"
    }

    const real = <A, E>(
      script: FaultServer.Script,
      use: (model: LanguageModel.Service, server: FaultServer.FaultServer) => Effect.Effect<A, E>
    ) =>
      Effect.gen(function*() {
        const server = yield* FaultServer.make(() => script)
        const client = OpenAiClient.layer({ apiUrl: `${server.url}/v1`, apiKey: Redacted.make("key") }).pipe(
          Layer.provide(NodeHttpClient.layerUndici)
        )
        const model = EffectAi.layer({
          id: "openai/gpt-4o-mini",
          settings: ({ temperature }) =>
            Context.make(OpenAiLanguageModel.Config, temperature === undefined ? {} : { temperature })
        }).pipe(
          Layer.provide(OpenAiLanguageModel.layer({ model: "gpt-4o-mini", config: { strict: false } })),
          Layer.provide(client)
        )
        return yield* Effect.flatMap(LanguageModel.LanguageModel, (model) => use(model, server)).pipe(
          Effect.provide(model)
        )
      }).pipe(Effect.scoped)

    it.live("generates, with tools and settings", () =>
      real(FaultServer.json(200, response("completed", [said, called])), (model, server) =>
        Effect.gen(function*() {
          const { outputs, usage } = yield* model.generate({
            ...question,
            settings: { temperature: 0.25 },
            tools: [weather],
            toolChoice: "required"
          })
          assert.strictEqual(outputs[0]!.text, "Paris")
          assert.deepStrictEqual(outputs[0]!.toolCalls, [
            { id: "call_9", name: "weather", arguments: "{\"city\":\"Oslo\"}" }
          ])
          assert.deepInclude(usage, { inputTokens: 9, outputTokens: 4, cachedInputTokens: 3 })
          const { json, path } = server.requests[0]!
          assert.strictEqual(path, "/v1/responses")
          assert.strictEqual(json.temperature, 0.25)
          assert.deepInclude(json.tools[0], { name: "weather", parameters: weather.parameters })
          assert.strictEqual(json.tool_choice, "required")
        })))

    it.live("streams, and tells a stream that was cut", () =>
      Effect.gen(function*() {
        let sequence_number = 0
        const event = (type: string, more: object) =>
          `event: ${type}\n${FaultServer.event({ type, sequence_number: sequence_number++, ...more })}`
        const item = { ...said, status: "in_progress", content: [] }
        const piece = (delta: string) =>
          event("response.output_text.delta", {
            output_index: 0,
            content_index: 0,
            item_id: "msg_1",
            delta,
            logprobs: []
          })
        const begun = event("response.created", { response: response("in_progress", []) }) +
          event("response.output_item.added", { output_index: 0, item }) + piece("Par") + piece("is")
        const whole = begun + event("response.output_item.done", { output_index: 0, item: said }) +
          event("response.completed", { response: response("completed", [said]) })
        const answer = yield* real(FaultServer.sse(whole), (model) =>
          LanguageModel.fold(model.stream(question), model.id))
        assert.deepStrictEqual(
          [answer.outputs[0]!.text, answer.outputs[0]!.finishReason, answer.model],
          ["Paris", "stop", "gpt-4o-mini"]
        )
        for (const end of [FaultServer.fin, FaultServer.rst]) {
          const cut = yield* real([...FaultServer.sse(begun), FaultServer.delay(10), end], (model) =>
            observe(model))
          const { reason } = Either.getOrThrow(Either.flip(cut.end))
          assert.include(["StreamTruncated", "StreamFailed"], reason._tag)
          assert.strictEqual("partial" in reason && reason.partial, "Paris")
        }
      }))

    it.live("fails with the reason of the server", () =>
      Effect.gen(function*() {
        const fails = (script: FaultServer.Script) => real(script, (model) => Effect.flip(model.generate(question)))
        const quota = yield* fails(FaultServer.json(429, { error: { code: "insufficient_quota", message: "spent" } }))
        assert.strictEqual(quota.reason._tag, "QuotaExhausted")
        const busy = yield* fails(FaultServer.json(503, {}, { "retry-after": "7" }))
        assert.strictEqual(busy.reason._tag === "Overloaded" && busy.reason.retryAfter, 7000)
        const reset = yield* fails([FaultServer.rst])
        assert.strictEqual(reset.reason._tag, "Transport")
      }))
  })
})
