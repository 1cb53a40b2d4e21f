/**
 * Both ways between this library and `@effect/ai`: any of its language models
 * (`@effect/ai-openai`, `-anthropic`, `-google`, `-amazon-bedrock`) as ours, and
 * ours as one of its.
 *
 * `@effect/ai` is an optional peer: install it, and import this module by its
 * own path, `@effect-dspy/providers/EffectAi`, since the package's index is
 * without it. What a provider of `@effect/ai` does not tell cannot be told here
 * either: some skip frames of a stream that they cannot read.
 *
 * @since 0.1.0
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as AiError from "@effect/ai/AiError"
import * as AiLanguageModel from "@effect/ai/LanguageModel"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { callOf, schemaOf, type Tools } from "./internal/effectAi/call.ts"
import { aiError, reasonOf } from "./internal/effectAi/failures.ts"
import { Reader } from "./internal/effectAi/reader.ts"
import { requestOf } from "./internal/effectAi/request.ts"
import { partsOf, Writer } from "./internal/effectAi/writer.ts"

// =============================================================================
// Theirs as ours
// =============================================================================

/**
 * What `EffectAi` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The name users know, such as `openai/gpt-4o-mini`. */
  readonly id: string
  /**
   * What the settings of a call are to the model. `@effect/ai` has no settings
   * that all models share, so this makes the configuration of the model:
   * `(settings) => Context.make(OpenAiLanguageModel.Config, { temperature:
   * settings.temperature })`. Without it a call that has settings fails with
   * `InvalidRequest`.
   */
  readonly settings?: ((settings: LanguageModel.Settings) => Context.Context<never>) | undefined
  /** What this model does differently. Assumed are streaming, tools, images, files and JSON Schema. */
  readonly capabilities?: Partial<LanguageModel.Capabilities> | undefined
}

/**
 * The model of `@effect/ai` in the context as one of ours.
 *
 * Tools are declared to it and never run by it. An answer that is held to a
 * JSON Schema comes at once, as `@effect/ai` streams text only. Its errors are
 * mapped as far as they tell what happened. What the provider attached to an
 * answer is its `continuation`, and given back with the assistant's turn.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<LanguageModel.Service, never, AiLanguageModel.LanguageModel> =>
  Effect.map(AiLanguageModel.LanguageModel, (ai) => {
    const { id } = options
    const provider = id.split("/")[0] ?? id

    const configured = (request: LanguageModel.Request) => {
      const context = options.settings?.(request.settings ?? {})
      return context === undefined ? identity : (services: Context.Context<never>) => Context.merge(services, context)
    }

    const failing = (started: number) => (reason: LanguageModelError.Reason, attempts = 1) =>
      Effect.flatMap(
        Clock.currentTimeMillis,
        (now) => Effect.fail(LanguageModelError.make({ reason, provider, model: id, attempts, elapsed: now - started }))
      )

    const generate: LanguageModel.Service["generate"] = (request) =>
      Effect.flatMap(Clock.currentTimeMillis, (started) => {
        const fail = failing(started)
        const call = callOf(request, options.settings !== undefined)
        if (Either.isLeft(call)) return fail(call.left, 0)
        const format = request.responseFormat
        const answered: Effect.Effect<AiLanguageModel.GenerateTextResponse<Tools>, AiError.AiError> =
          format?._tag === "JsonSchema"
            ? ai.generateObject({ ...call.right, objectName: format.name, schema: schemaOf(format.schema) })
            : ai.generateText(call.right)
        return answered.pipe(
          Effect.mapInputContext(configured(request)),
          Effect.matchEffect({
            onFailure: (error) => Effect.flatMap(reasonOf(error, request), (reason) => fail(reason)),
            onSuccess: (response) => {
              const reader = new Reader(id)
              const deltas: Array<LanguageModel.Delta> = []
              for (const part of response.content) {
                const reason = reader.read(part, deltas)
                if (reason !== undefined) return fail(reason)
              }
              const reason = reader.end(deltas)
              if (reason !== undefined) return fail(reason)
              return LanguageModel.fold(Stream.fromIterable(deltas), id)
            }
          })
        )
      })

    const stream: LanguageModel.Service["stream"] = (request) =>
      Stream.unwrap(Effect.map(Clock.currentTimeMillis, (started) => {
        const fail = failing(started)
        const call = callOf(request, options.settings !== undefined)
        if (Either.isLeft(call)) return Stream.fromEffect(fail(call.left, 0))
        const reader = new Reader(id)
        return ai.streamText(call.right).pipe(
          Stream.mapInputContext(configured(request)),
          Stream.catchAll((error) =>
            Stream.fromEffect(
              Effect.flatMap(reasonOf(error, request), (reason) => fail(reader.interrupted("connection", reason)))
            )
          ),
          Stream.mapChunksEffect((parts) => {
            const deltas: Array<LanguageModel.Delta> = []
            for (const part of parts) {
              const reason = reader.read(part, deltas)
              if (reason !== undefined) return fail(reader.interrupted("errorEvent", reason))
            }
            return Effect.succeed(Chunk.unsafeFromArray(deltas))
          }),
          Stream.concat(Stream.suspend(() => {
            const deltas: Array<LanguageModel.Delta> = []
            const reason = reader.end(deltas)
            return reason === undefined
              ? Stream.fromChunk(Chunk.unsafeFromArray(deltas))
              : Stream.fromEffect(fail(reason))
          }))
        )
      }))

    return LanguageModel.make({
      id,
      capabilities: { tools: true, images: true, files: true, responseFormat: "jsonSchema", ...options.capabilities },
      generate,
      stream: (request) =>
        request.responseFormat?._tag === "JsonSchema"
          ? Stream.unwrap(Effect.map(generate(request), LanguageModel.unfold))
          : stream(request)
    })
  })

/**
 * The same as a Layer.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as EffectAi from "@effect-dspy/providers/EffectAi"
 * import { LanguageModel as AiLanguageModel } from "@effect/ai"
 * import { Effect, Layer, Stream } from "effect"
 *
 * // Stands for `OpenAiLanguageModel.layer({ model: "gpt-4o-mini" })` of `@effect/ai-openai`.
 * const Ai = Layer.effect(
 *   AiLanguageModel.LanguageModel,
 *   AiLanguageModel.make({
 *     generateText: () =>
 *       Effect.succeed([
 *         { type: "text", text: "Hello!" },
 *         { type: "finish", reason: "stop", usage: { inputTokens: 9, outputTokens: 2, totalTokens: 11 } }
 *       ]),
 *     streamText: () => Stream.empty
 *   })
 * )
 *
 * const Model = EffectAi.layer({ id: "openai/gpt-4o-mini" }).pipe(Layer.provide(Ai))
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "Say hello." }] }).pipe(
 *   Effect.provide(Model)
 * )
 *
 * Effect.runPromise(program).then((response) => {
 *   assert.strictEqual(response.outputs[0]?.text, "Hello!")
 *   assert.deepStrictEqual(response.usage, { inputTokens: 9, outputTokens: 2 })
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<LanguageModel.LanguageModel, never, AiLanguageModel.LanguageModel> =>
  Layer.effect(LanguageModel.LanguageModel, make(options))

/**
 * The same, with every option read from the configuration of the program; what
 * cannot be, as `settings`, is a `Config.succeed`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<LanguageModel.LanguageModel, ConfigError, AiLanguageModel.LanguageModel> =>
  Layer.effect(LanguageModel.LanguageModel, Effect.flatMap(Config.unwrap(options), make))

// =============================================================================
// Ours as theirs
// =============================================================================

/**
 * Our model in the context as one of `@effect/ai`: with its tools, objects,
 * chats and streams, under whatever policies ours has.
 *
 * `settings` are those of every call. Errors are `AiError`s whose `cause` is the
 * `LanguageModelError`. A model that cannot be held to a JSON Schema is told the
 * schema of an object in words. A stream that begins anew fails, since
 * `@effect/ai` has no word for it; tools that a server runs itself are refused.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeAi = (
  settings?: LanguageModel.Settings
): Effect.Effect<AiLanguageModel.Service, never, LanguageModel.LanguageModel> =>
  Effect.flatMap(LanguageModel.LanguageModel, (model) =>
    AiLanguageModel.make({
      generateText: (options) =>
        Effect.flatMap(requestOf(options, model, settings, "generateText"), (request) =>
          Effect.flatMap(
            Effect.mapError(model.generate(request), (error) => aiError(error, "generateText")),
            (response) => partsOf(response)
          )),
      streamText: (options) =>
        Stream.unwrap(Effect.map(requestOf(options, model, settings, "streamText"), (request) => {
          const writer = new Writer()
          return Stream.mapChunksEffect(
            Stream.mapError(model.stream(request), (error) => aiError(error, "streamText")),
            (deltas) => writer.write(deltas)
          )
        }))
    }))

/**
 * The same as a Layer.
 *
 * @example
 * ```ts
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as EffectAi from "@effect-dspy/providers/EffectAi"
 * import { LanguageModel as AiLanguageModel } from "@effect/ai"
 * import { Effect, Layer } from "effect"
 *
 * const Ai = EffectAi.layerAi().pipe(
 *   Layer.provide(TestLanguageModel.layer([TestLanguageModel.text("Hello!")]))
 * )
 *
 * const program = AiLanguageModel.generateText({ prompt: "Say hello." }).pipe(Effect.provide(Ai))
 *
 * Effect.runPromise(program).then((response) => assert.strictEqual(response.text, "Hello!"))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAi = (
  settings?: LanguageModel.Settings
): Layer.Layer<AiLanguageModel.LanguageModel, never, LanguageModel.LanguageModel> =>
  Layer.effect(AiLanguageModel.LanguageModel, makeAi(settings))
