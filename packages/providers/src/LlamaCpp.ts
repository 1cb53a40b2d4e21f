/**
 * A model in a GGUF file, run inside of this process by llama.cpp: no server, no
 * key, no network.
 *
 * It needs the package `node-llama-cpp` and its binary for the machine, which
 * are loaded when the first model is made. Nothing is downloaded or compiled:
 * where there is no binary, that is an error.
 *
 * It takes text and gives text, or JSON that a grammar keeps to its schema. For
 * tools and images run llama.cpp's server, and `OpenAiCompatible` with the
 * dialect `llamacpp`.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as LlamaModule from "node-llama-cpp"
import * as genAi from "./internal/genAi.ts"
import * as native from "./internal/llama.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * What `LlamaCpp` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The GGUF file, or the first one of a model in several. */
  readonly file: string
  /**
   * Tokens of a prompt and its answer together; default is what the model was
   * trained for, or less where memory is short.
   */
  readonly contextSize?: number | undefined
  /** How many calls run at once, each with a context of its own in memory; others wait for their turn. Default 1. */
  readonly sequences?: number | undefined
  /**
   * How many run the model; default is one for each core that is good at it.
   * More than are idle make it much slower.
   */
  readonly threads?: number | undefined
  /** Whether a graphics card is used if there is one; default `true`. */
  readonly gpu?: boolean | undefined
  /** The name users know; default `llama-cpp/<name of the file>`. */
  readonly id?: string | undefined
}

// The most that llama.cpp runs in one context.
const maxSequences = 256

const isCount = (n: number | undefined, most = Number.MAX_SAFE_INTEGER): boolean =>
  n === undefined || (Number.isInteger(n) && n >= 1 && n <= most)

const problem = ({ contextSize, file, sequences, threads }: Options): string | undefined =>
  file === ""
    ? "`file` must not be empty"
    : !isCount(contextSize)
    ? `\`contextSize\` must be a number of tokens, not ${contextSize}`
    : !isCount(sequences, maxSequences)
    ? `\`sequences\` must be from 1 to ${maxSequences}, not ${sequences}`
    : !isCount(threads)
    ? `\`threads\` must be 1 or more, not ${threads}`
    : undefined

// =============================================================================
// Requests
// =============================================================================

// Of the sampling that llama.cpp knows beyond the settings of all models.
const extensions = ["minP", "topK"]

// What a request asks for that the model would not do, if anything.
const refusal = ({ messages, settings = {}, tools = [] }: LanguageModel.Request): string | undefined => {
  const server = "run llama.cpp's server and OpenAiCompatible with the dialect llamacpp for that"
  if (tools.length > 0 || messages.some(({ role, toolCalls = [] }) => role === "tool" || toolCalls.length > 0)) {
    return `a model in this process takes no tools; ${server}`
  }
  if ((settings.n ?? 1) > 1) return "a model in this process gives one answer; ask again with another rollout"
  if (settings.logprobs !== undefined) return `a model in this process tells no \`logprobs\`; ${server}`
  if (settings.reasoningEffort !== undefined) return "a model in this process knows no `reasoningEffort`"
  if (!isCount(settings.maxTokens)) return `\`maxTokens\` must be 1 or more, not ${settings.maxTokens}`
  const unknown = Object.entries(settings.extensions ?? {}).find(([name, value]) =>
    !extensions.includes(name) || typeof value !== "number"
  )
  return unknown === undefined
    ? undefined
    : `of \`extensions\` a model in this process knows numbers for ${extensions.join(" and ")}, not ${unknown[0]}`
}

const textOf = ({ content }: LanguageModel.Message): string =>
  typeof content === "string" ? content : content.map((part) => part._tag === "Text" ? part.text : "").join("")

const historyOf = ({ messages }: LanguageModel.Request): Array<LlamaModule.ChatHistoryItem> =>
  messages.map((message) => {
    const text = textOf(message)
    switch (message.role) {
      case "system":
        return { type: "system", text }
      case "assistant":
        return { type: "model", response: [text] }
      default:
        return { type: "user", text }
    }
  })

// What an object of any form must fit.
const anyObject: Json.JsonRecord = { type: "object", additionalProperties: true }

const finishReasons: {
  readonly [Reason in LlamaModule.LlamaChatResponse["metadata"]["stopReason"]]: LanguageModel.FinishReason
} = {
  eogToken: "stop",
  stopGenerationTrigger: "stop",
  customStopTrigger: "stop",
  maxTokens: "length",
  functionCalls: "unknown",
  abort: "unknown"
}

// What a chat may write of its own around a turn.
const margin = 16

// =============================================================================
// The model
// =============================================================================

/**
 * Loads the model, which is freed when the scope closes.
 *
 * A request without `temperature` is answered with the likeliest tokens.
 * `settings.extensions` may have `minP` and `topK`. What the model cannot do is
 * refused, never left out. A prompt that does not fit the context fails with
 * `ContextWindowExceeded`; an answer that reaches its end finishes with
 * `length`. A grammar holds an answer to a response format as far as grammars
 * can: ranges and patterns are for the reader to check.
 *
 * What a sequence has read of a prompt is not read again by the next call that
 * begins alike, and counted as `cachedInputTokens`. An interrupted call stops at
 * the next token.
 *
 * A file that is missing fails with `NotFound`, one that is no model with
 * `InvalidRequest`, too little memory with `Overloaded`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<LanguageModel.Service, LanguageModelError.LanguageModelError, Scope.Scope> =>
  Effect.gen(function*() {
    const { file, sequences = 1 } = options
    const name = file.replace(/^.*[\\/]/, "").replace(/\.gguf$/i, "")
    const id = options.id ?? `llama-cpp/${name}`
    const provider = id.split("/")[0] ?? id

    const wrong = problem(options)
    const { chats, contextSize, endpoint, llama } = yield* Effect.mapError(
      wrong === undefined ? native.open(options) : Effect.fail(native.invalid(wrong)),
      (reason) => LanguageModelError.make({ reason, provider, model: id, attempts: 0 })
    )

    // The schema is whatever the request says; what it cannot make a grammar of it refuses.
    const grammarOf = (schema: Json.JsonRecord) =>
      Effect.tryPromise({
        try: () => llama.createGrammarForJsonSchema(schema as { readonly type: "object" }),
        catch: (cause) => native.invalid(`no grammar can be made of the JSON Schema: ${native.said(cause)}`)
      })

    const answer = (request: LanguageModel.Request) =>
      Effect.gen(function*() {
        const span = yield* Effect.makeSpanScoped(`chat ${name}`, {
          kind: "client",
          captureStackTrace: false,
          attributes: {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": name
          }
        })
        const started = yield* Clock.currentTimeMillis
        const fail = (reason: LanguageModelError.Reason, attempts = 1) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            span.attribute("error.type", reason._tag)
            return Effect.fail(
              LanguageModelError.make({ reason, provider, model: id, attempts, elapsed: now - started })
            )
          })

        const { responseFormat, settings = {} } = request
        const asked = refusal(request)
        if (asked !== undefined) return yield* fail(native.invalid(asked), 0)
        const grammar = responseFormat === undefined
          ? undefined
          : yield* Effect.catchAll(
            grammarOf(responseFormat._tag === "JsonSchema" ? responseFormat.schema : anyObject),
            (reason) => fail(reason, 0)
          )
        // Its own default is the time in seconds, which makes one sample of calls at the same time.
        const seed = settings.seed ?? (yield* Random.nextIntBetween(0, 2 ** 31))
        const history = historyOf(request)
        const { chat, prompt } = yield* Effect.catchAll(chats.borrow(history), (reason) => fail(reason, 0))
        // Beyond this it would forget the beginning.
        const room = contextSize - prompt - margin
        if (room < 1) {
          return yield* fail(
            new LanguageModelError.ContextWindowExceeded({
              description:
                `the prompt has ${prompt} tokens, and with an answer at most ${contextSize} fit; shorten it or set \`contextSize\``
            }),
            0
          )
        }

        const meter = chat.sequence.tokenMeter.getState()
        let partial = ""
        return Stream.asyncPush<LanguageModel.Delta, LanguageModelError.Reason>((emit) =>
          Effect.acquireRelease(
            Effect.sync(() => {
              const controller = new AbortController()
              const over = chat.generateResponse(history, {
                signal: controller.signal,
                seed,
                maxTokens: Math.min(settings.maxTokens ?? room, room),
                // Formats of answers repeat words on purpose.
                repeatPenalty: false,
                ...settings.extensions,
                ...(settings.temperature === undefined ? undefined : { temperature: settings.temperature }),
                ...(settings.topP === undefined ? undefined : { topP: settings.topP }),
                ...(settings.stop === undefined ? undefined : { customStopTriggers: settings.stop }),
                ...(grammar === undefined ? undefined : { grammar }),
                onResponseChunk: ({ text, type }) => {
                  if (text === "") return
                  if (type === undefined) partial += text
                  emit.single({ _tag: type === undefined ? "TextDelta" : "ReasoningDelta", index: 0, text })
                }
              }).then(
                ({ metadata }) => {
                  const { usedInputTokens, usedOutputTokens } = chat.sequence.tokenMeter.diff(meter)
                  const usage = {
                    inputTokens: prompt,
                    outputTokens: usedOutputTokens,
                    // The last token of a prompt is read each time, and counts there as one of the answer.
                    cachedInputTokens: Math.max(0, prompt - usedInputTokens - 1)
                  }
                  const deltas = [
                    { _tag: "Finish", index: 0, reason: finishReasons[metadata.stopReason] },
                    { _tag: "Completed", usage, model: name }
                  ] as const
                  genAi.response(span, deltas[1], deltas)
                  emit.array(deltas)
                  emit.end()
                },
                (cause) =>
                  emit.fail(
                    new LanguageModelError.StreamFailed({
                      kind: "errorEvent",
                      partial,
                      description: native.said(cause)
                    })
                  )
              )
              return { controller, over }
            }),
            ({ controller, over }) =>
              Effect.promise(() => {
                controller.abort()
                return over
              })
          ), { bufferSize: "unbounded" }).pipe(
            Stream.catchAll((reason) => Stream.fromEffect(fail(reason)))
          )
      })

    return LanguageModel.make({
      id,
      endpoint,
      capabilities: { responseFormat: "jsonSchema", concurrency: sequences },
      stream: (request) => Stream.unwrapScoped(answer(request))
    })
  })

/**
 * The model as a Layer: loaded when it is built, freed when its scope closes.
 *
 * @example
 * ```ts
 * import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
 * import * as LlamaCpp from "@effect-dspy/providers/LlamaCpp"
 * import { Effect } from "effect"
 *
 * const Model = LlamaCpp.layer({ file: "models/missing.gguf", contextSize: 8192, sequences: 4 })
 *
 * const program = ChainOfThought.make("question -> answer")({ question: "What is the capital of France?" }).pipe(
 *   Effect.provide(Model),
 *   Effect.flip
 * )
 *
 * Effect.runPromise(program).then((error) =>
 *   assert.strictEqual(
 *     error.message,
 *     "llama-cpp/missing: NotFound: there is no file models/missing.gguf; set `file`"
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<LanguageModel.LanguageModel, LanguageModelError.LanguageModelError> =>
  Layer.scoped(LanguageModel.LanguageModel, make(options))

/**
 * The same, with every option read from the configuration of the program.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<LanguageModel.LanguageModel, LanguageModelError.LanguageModelError | ConfigError> =>
  Layer.scoped(LanguageModel.LanguageModel, Effect.flatMap(Config.unwrap(options), make))
