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
import type * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as AiError from "@effect/ai/AiError"
import * as AiLanguageModel from "@effect/ai/LanguageModel"
import * as Prompt from "@effect/ai/Prompt"
import type * as AiResponse from "@effect/ai/Response"
import * as Tool from "@effect/ai/Tool"
import type * as Toolkit from "@effect/ai/Toolkit"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as continuation from "./internal/continuation.ts"
import * as fault from "./internal/fault.ts"
import { retryAfter } from "./internal/retryAfter.ts"
import { count, input, record } from "./internal/wire.ts"

// =============================================================================
// Theirs as ours
// =============================================================================

/**
 * - `id`: the name users know, such as `openai/gpt-4o-mini`.
 * - `settings`: what the settings of a call are to the model. `@effect/ai` has
 *   no settings that all models share, so this makes the configuration of the
 *   model: `(settings) => Context.make(OpenAiLanguageModel.Config, {
 *   temperature: settings.temperature })`. Without it a call that has settings
 *   fails with `InvalidRequest`.
 * - `capabilities`: what this model does differently. Assumed are streaming,
 *   tools, images and JSON Schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly id: string
  readonly settings?: ((settings: LanguageModel.Settings) => Context.Context<never>) | undefined
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
        const call = callOf(request, options)
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
        const call = callOf(request, options)
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
      capabilities: { tools: true, images: true, responseFormat: "jsonSchema", ...options.capabilities },
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

// -----------------------------------------------------------------------------
// Requests
// -----------------------------------------------------------------------------

type Tools = Record<string, Tool.Any>

// A schema that lets every value pass and is written as the given JSON Schema.
const schemaOf = (schema: Json.JsonRecord): Schema.Schema<{ readonly [key: string]: unknown }> =>
  Schema.Record({ key: Schema.String, value: Schema.Unknown }).annotations({ jsonSchema: schema })

const toolOf = (definition: LanguageModel.ToolDefinition): Tool.Any =>
  Tool.make(definition.name, { description: definition.description }).setParameters(
    // Of the parameters only the schema's tree is read, which this one has too.
    schemaOf(definition.parameters) as unknown as Tool.AnyStructSchema
  )

// Never run: the calls are for the program to answer.
const handle = (name: string) => Effect.dieMessage(`the tool "${name}" is not run by the model`)

// A rollout is for policies only, and one output is what there is.
const refusal = ({ settings = {} }: LanguageModel.Request, { settings: known }: Options): string | undefined => {
  const { n, rollout: _, ...others } = settings
  const names = Object.keys(others).join(", ")
  return (n ?? 1) > 1
    ? `a model of @effect/ai gives one output for each call, \`n\` is ${n}`
    : known === undefined && names !== ""
    ? `the model is not told settings (${names}); give EffectAi the option \`settings\`, which makes its configuration`
    : undefined
}

const callOf = (request: LanguageModel.Request, options: Options) => {
  const description = refusal(request, options)
  const prompt: Either.Either<Prompt.Prompt, Invalid> = description === undefined
    ? promptOf(request.messages)
    : Either.left(new LanguageModelError.InvalidRequest({ description }))
  return Either.map(prompt, (prompt) => {
    const { toolChoice } = request
    const toolkit: Toolkit.WithHandler<Tools> = {
      tools: Object.fromEntries((request.tools ?? []).map((tool) => [tool.name, toolOf(tool)])),
      handle
    }
    return {
      prompt,
      toolkit,
      toolChoice: typeof toolChoice === "object" ? { tool: toolChoice.name } : toolChoice ?? "auto",
      disableToolCallResolution: true
    } as const
  })
}

type Invalid = LanguageModelError.InvalidRequest

const promptOf = (messages: LanguageModel.Request["messages"]): Either.Either<Prompt.Prompt, Invalid> =>
  Either.gen(function*() {
    const names = new Map<string, string>()
    const out: Array<Prompt.Message> = []
    for (const message of messages) {
      for (const call of message.toolCalls ?? []) names.set(call.id, call.name)
      const text = textOf(message.content)
      switch (message.role) {
        case "system":
          out.push(Prompt.makeMessage("system", { content: text }))
          break
        case "user":
          out.push(Prompt.makeMessage("user", { content: yield* userParts(message.content) }))
          break
        case "assistant":
          out.push(Prompt.makeMessage("assistant", { content: assistantParts(message, text) }))
          break
        case "tool": {
          const id = message.toolCallId ?? ""
          const result = Prompt.makePart("tool-result", {
            id,
            name: names.get(id) ?? id,
            isFailure: false,
            result: text,
            providerExecuted: false
          })
          const last = out.at(-1)
          if (last?.role === "tool") {
            out[out.length - 1] = Prompt.makeMessage("tool", { content: [...last.content, result] })
          } else out.push(Prompt.makeMessage("tool", { content: [result] }))
        }
      }
    }
    return Prompt.fromMessages(out)
  })

const textOf = (content: LanguageModel.Message["content"]): string =>
  typeof content === "string" ? content : content.map((part) => part._tag === "Text" ? part.text : "").join("")

const userParts = (
  content: LanguageModel.Message["content"]
): Either.Either<ReadonlyArray<Prompt.UserMessagePart>, Invalid> =>
  Either.all(
    (typeof content === "string" ? [{ _tag: "Text", text: content } as const] : content).map((part) =>
      part._tag === "Text" ? Either.right(Prompt.makePart("text", { text: part.text })) : filePart(part.url)
    )
  )

const filePart = (url: string): Either.Either<Prompt.FilePart, Invalid> => {
  const inline = /^data:([^;,]+);base64,(.*)$/s.exec(url)
  const data: Either.Either<Uint8Array | URL, unknown> = inline === null
    ? Either.try(() => new URL(url))
    : Encoding.decodeBase64(inline[2] ?? "")
  return Either.mapBoth(data, {
    onLeft: () => new LanguageModelError.InvalidRequest({ description: "an image is neither a URL nor a data URI" }),
    onRight: (data) => Prompt.makePart("file", { mediaType: inline?.[1] ?? "image/*", data })
  })
}

// What a provider attached to its parts is kept by provider.
const optionsOf = (options: Json.Json | undefined): { readonly [provider: string]: Json.JsonRecord } =>
  Object.fromEntries(
    Object.entries(record(options) ?? {}).flatMap(([provider, value]) => {
      const known = record(value)
      return known === undefined ? [] : [[provider, known] as const]
    })
  )

const assistantParts = (message: LanguageModel.Message, text: string): ReadonlyArray<Prompt.AssistantMessagePart> => {
  const calls = message.toolCalls ?? []
  const toolCall = (call: LanguageModel.ToolCall, options: Json.Json | undefined) =>
    Prompt.makePart("tool-call", {
      id: call.id,
      name: call.name,
      params: input(call.arguments),
      providerExecuted: false,
      options: optionsOf(options)
    })
  const out: Array<Prompt.AssistantMessagePart> = []
  let at = 0
  let used = 0
  for (const part of continuation.parts(message.continuation, "effect-ai")) {
    const options = optionsOf(part["options"])
    if (part["type"] === "text" && typeof part["length"] === "number") {
      out.push(Prompt.makePart("text", { text: text.slice(at, at + part["length"]), options }))
      at += part["length"]
    } else if (part["type"] === "reasoning" && typeof part["text"] === "string") {
      out.push(Prompt.makePart("reasoning", { text: part["text"], options }))
    } else if (typeof part["call"] === "number") {
      const call = calls[part["call"]]
      if (call !== undefined) out.push(toolCall(call, part["options"]))
      used++
    }
  }
  return out.length > 0 && at === text.length && used === calls.length ? out : [
    ...(text === "" ? [] : [Prompt.makePart("text", { text })]),
    ...calls.map((call) => toolCall(call, undefined))
  ]
}

// -----------------------------------------------------------------------------
// Answers
// -----------------------------------------------------------------------------

type Part = AiResponse.Part<Tools> | AiResponse.StreamPart<Tools>

const finishReasons: { readonly [Reason in AiResponse.FinishReason]: LanguageModel.FinishReason } = {
  stop: "stop",
  length: "length",
  "content-filter": "contentFilter",
  "tool-calls": "toolCalls",
  // A turn that was paused is not the whole answer.
  pause: "length",
  error: "unknown",
  other: "unknown",
  unknown: "unknown"
}

interface Block {
  readonly type: "text" | "reasoning"
  text: string
  options: Json.JsonRecord
}

interface Call {
  readonly call: number
  hasArguments: boolean
  options: Json.JsonRecord
}

// Metadata as JSON: what is undefined in it is left out.
const attached = (metadata: AiResponse.ProviderMetadata): Json.JsonRecord => {
  try {
    return record(JSON.parse(JSON.stringify(metadata))) ?? {}
  } catch {
    return {}
  }
}

// Reads the parts of one answer, whole or streamed, into deltas.
class Reader {
  #partial = ""
  #delivered = false
  #model: string
  #requestId: string | undefined
  #finish: AiResponse.FinishPart | undefined
  readonly #layout: Array<Block | Call> = []
  readonly #blocks = new Map<string, Block>()
  readonly #calls = new Map<string, Call>()

  constructor(model: string) {
    this.#model = model
  }

  read(part: Part, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    switch (part.type) {
      case "text":
      case "reasoning":
        this.#write(this.#open(part.type, undefined, part.metadata), part.text, out)
        return undefined
      case "text-start":
      case "reasoning-start":
        this.#open(part.type === "text-start" ? "text" : "reasoning", part.id, part.metadata)
        return undefined
      case "text-delta":
      case "reasoning-delta":
        this.#write(this.#block(part.type === "text-delta" ? "text" : "reasoning", part.id), part.delta, out)
        return undefined
      case "text-end":
      case "reasoning-end": {
        const block = this.#block(part.type === "text-end" ? "text" : "reasoning", part.id)
        block.options = { ...block.options, ...attached(part.metadata) }
        return undefined
      }
      case "tool-params-start":
        // What the server runs itself is no call to answer.
        if (part.providerExecuted !== true) this.#call(part.id, part.name, out)
        return undefined
      case "tool-params-delta": {
        const call = this.#calls.get(part.id)
        if (call !== undefined) this.#argue(call, part.delta, out)
        return undefined
      }
      case "tool-call": {
        if (part.providerExecuted === true) return undefined
        const call = this.#call(part.id, part.name, out)
        call.options = attached(part.metadata)
        if (!call.hasArguments) this.#argue(call, JSON.stringify(part.params ?? {}), out)
        return undefined
      }
      case "source":
        out.push({
          _tag: "CitationDelta",
          index: 0,
          citation: { title: part.title, ...(part.sourceType === "url" ? { url: part.url.href } : undefined) }
        })
        return undefined
      case "response-metadata":
        this.#model = Option.getOrElse(part.modelId, () => this.#model)
        this.#requestId = Option.getOrUndefined(part.id)
        return undefined
      case "finish":
        this.#finish = part
        return undefined
      case "error":
        return fault.reasonOf({ status: 200, said: fault.explainedError(part.error), clean: identity })
      default:
        // Files that were written, and what other tools said.
        return undefined
    }
  }

  end(out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    const finish = this.#finish
    if (finish === undefined) return new LanguageModelError.StreamTruncated({ partial: this.#partial })
    if (finish.reason === "error") {
      const reason = fault.reasonOf({
        status: 200,
        said: { message: "the model stopped with an error" },
        clean: identity
      })
      return this.interrupted("errorEvent", reason)
    }
    const parts = this.#layout.map((part): Json.JsonRecord =>
      "call" in part
        ? { type: "tool-call", call: part.call, options: part.options }
        : part.type === "text"
        ? { type: "text", length: part.text.length, options: part.options }
        : { type: "reasoning", text: part.text, options: part.options }
    )
    if (this.#layout.some(({ options }) => Object.keys(options).length > 0)) {
      out.push({ _tag: "ContinuationDelta", index: 0, continuation: continuation.make("effect-ai", parts) })
    }
    const reason = finishReasons[finish.reason]
    out.push(
      { _tag: "Finish", index: 0, reason: reason === "stop" && this.#calls.size > 0 ? "toolCalls" : reason },
      {
        _tag: "Completed",
        usage: usageOf(finish.usage),
        model: this.#model,
        ...(this.#requestId === undefined ? undefined : { requestId: this.#requestId })
      }
    )
    return undefined
  }

  // Before the first delta the call has failed, after it the stream.
  interrupted(
    kind: LanguageModelError.StreamFailed["kind"],
    reason: LanguageModelError.Reason
  ): LanguageModelError.Reason {
    return this.#delivered
      ? new LanguageModelError.StreamFailed({
        kind,
        partial: this.#partial,
        description: `${reason._tag}: ${LanguageModelError.describe(reason)}`
      })
      : reason
  }

  #open(type: Block["type"], id: string | undefined, metadata: AiResponse.ProviderMetadata): Block {
    const block: Block = { type, text: "", options: attached(metadata) }
    this.#layout.push(block)
    if (id !== undefined) this.#blocks.set(`${type} ${id}`, block)
    return block
  }

  #block(type: Block["type"], id: string): Block {
    return this.#blocks.get(`${type} ${id}`) ?? this.#open(type, id, {})
  }

  #write(block: Block, text: string, out: Array<LanguageModel.Delta>): void {
    if (text === "") return
    this.#delivered = true
    block.text += text
    if (block.type === "text") this.#partial += text
    out.push({ _tag: block.type === "text" ? "TextDelta" : "ReasoningDelta", index: 0, text })
  }

  #call(id: string, name: string, out: Array<LanguageModel.Delta>): Call {
    let call = this.#calls.get(id)
    if (call === undefined) {
      call = { call: this.#calls.size, hasArguments: false, options: {} }
      this.#calls.set(id, call)
      this.#layout.push(call)
      this.#delivered = true
      out.push({ _tag: "ToolCallDelta", index: 0, call: call.call, id, name, arguments: "" })
    }
    return call
  }

  #argue(call: Call, piece: string, out: Array<LanguageModel.Delta>): void {
    if (piece === "") return
    call.hasArguments = true
    out.push({ _tag: "ToolCallDelta", index: 0, call: call.call, arguments: piece })
  }
}

const usageOf = (usage: AiResponse.Usage): LanguageModel.Usage => {
  const counts = {
    inputTokens: count(usage.inputTokens),
    outputTokens: count(usage.outputTokens),
    cachedInputTokens: count(usage.cachedInputTokens),
    reasoningTokens: count(usage.reasoningTokens)
  }
  return Object.fromEntries(Object.entries(counts).filter(([, value]) => value !== undefined))
}

// -----------------------------------------------------------------------------
// Errors
// -----------------------------------------------------------------------------

const textsOf = (request: LanguageModel.Request): ReadonlyArray<string> =>
  request.messages.map((message) => textOf(message.content))

const reasonOf = (
  error: AiError.AiError,
  request: LanguageModel.Request
): Effect.Effect<LanguageModelError.Reason> =>
  Effect.map(Clock.currentTimeMillis, (now): LanguageModelError.Reason => {
    const clean = fault.cleaner([], () => textsOf(request))
    const said = clean("description" in error ? error.description ?? "" : "")
    switch (error._tag) {
      case "HttpRequestError":
        return error.reason === "Transport"
          ? fault.fromConnection(error.cause, "headers", hostOf(error.request.url))
          : new LanguageModelError.InvalidRequest({ description: said || "the request cannot be written" })
      case "HttpResponseError":
        return error.reason === "StatusCode"
          ? fault.reasonOf({
            status: error.response.status,
            said: fault.explainedError(parsed(error.body)),
            retryAfter: retryAfter(error.response.headers, now),
            clean
          })
          : error.reason === "EmptyBody"
          ? new LanguageModelError.MalformedResponse({ kind: "empty", description: "the body is empty" })
          : fault.fromConnection(undefined, "body", hostOf(error.request.url))
      case "MalformedInput":
        return new LanguageModelError.InvalidRequest({ description: said || "the model does not take this request" })
      case "MalformedOutput":
        return new LanguageModelError.MalformedResponse({
          kind: "shape",
          description: said || "the answer is not what was asked for"
        })
      case "UnknownError":
        return new LanguageModelError.ServerError({ status: 500, description: said || "no explanation" })
    }
  })

const hostOf = (url: string): string =>
  Option.getOrElse(Option.liftThrowable(() => new URL(url).host)(), () => "the server")

const parsed = (text: string | undefined): unknown =>
  Option.getOrUndefined(Option.liftThrowable(JSON.parse)(text ?? ""))

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

const module = "EffectAi"

const aiError = (error: LanguageModelError.LanguageModelError, method: string): AiError.AiError => {
  const fields = { module, method, description: error.message, cause: error }
  switch (error.reason._tag) {
    case "InvalidRequest":
    case "RequestTooLarge":
    case "ContextWindowExceeded":
      return new AiError.MalformedInput(fields)
    case "MalformedResponse":
      return new AiError.MalformedOutput(fields)
    default:
      return new AiError.UnknownError(fields)
  }
}

const refused = (method: string, description: string) => new AiError.MalformedInput({ module, method, description })

const requestOf = (
  options: AiLanguageModel.ProviderOptions,
  model: LanguageModel.Service,
  settings: LanguageModel.Settings | undefined,
  method: string
): Effect.Effect<LanguageModel.Request, AiError.AiError> =>
  Effect.gen(function*() {
    const tools: Array<LanguageModel.ToolDefinition> = []
    for (const tool of options.tools) {
      const parameters = Tool.isProviderDefined(tool)
        ? undefined
        : record(Tool.getJsonSchemaFromSchemaAst(tool.parametersSchema.ast))
      if (parameters === undefined) {
        return yield* refused(
          method,
          `the tool "${tool.name}" is run by another provider; use that provider, or a tool of your own`
        )
      }
      tools.push({
        name: tool.name,
        parameters,
        ...(tool.description === undefined ? undefined : { description: tool.description })
      })
    }
    const { responseFormat, toolChoice } = options
    const schema = responseFormat.type === "json"
      ? record(Tool.getJsonSchemaFromSchemaAst(responseFormat.schema.ast))
      : undefined
    const messages: Array<LanguageModel.Message> = []
    for (const message of options.prompt.content) messages.push(...(yield* messagesOf(message, method)))
    const known = model.capabilities.responseFormat
    if (schema !== undefined && known !== "jsonSchema") {
      messages.unshift({ role: "system", content: instructed(schema) })
    }
    return {
      messages,
      ...(settings === undefined ? undefined : { settings }),
      ...(tools.length === 0 ? undefined : {
        tools,
        toolChoice: typeof toolChoice === "string"
          ? toolChoice
          : "tool" in toolChoice
          ? { name: toolChoice.tool }
          // The tools are only those of `oneOf` by now.
          : toolChoice.mode ?? "auto"
      }),
      ...(schema === undefined || responseFormat.type !== "json" || known === "none" ? undefined : {
        responseFormat: known === "jsonSchema"
          ? { _tag: "JsonSchema" as const, name: responseFormat.objectName, schema, strict: false }
          : { _tag: "JsonObject" as const }
      })
    }
  })

const instructed = (schema: Json.JsonRecord): string =>
  `Answer with one JSON object and nothing around it. It must fit this JSON Schema:\n${JSON.stringify(schema)}`

const messagesOf = (
  message: Prompt.Message,
  method: string
): Effect.Effect<ReadonlyArray<LanguageModel.Message>, AiError.AiError> => {
  switch (message.role) {
    case "system":
      return Effect.succeed([{ role: "system", content: message.content }])
    case "user":
      return Effect.map(
        Effect.forEach(
          message.content,
          (part) =>
            part.type === "text"
              ? Effect.succeed<LanguageModel.Part>({ _tag: "Text", text: part.text })
              : imageOf(part, method)
        ),
        (parts) => {
          const [first] = parts
          return [{ role: "user", content: parts.length === 1 && first?._tag === "Text" ? first.text : parts }]
        }
      )
    case "assistant": {
      const toolCalls = message.content.flatMap((part) =>
        part.type === "tool-call" && !part.providerExecuted
          ? [{ id: part.id, name: part.name, arguments: JSON.stringify(part.params ?? {}) }]
          : []
      )
      const content = message.content.map((part) => part.type === "text" ? part.text : "").join("")
      return Effect.succeed([
        { role: "assistant", content, ...(toolCalls.length === 0 ? undefined : { toolCalls }) }
      ])
    }
    case "tool":
      return Effect.succeed(message.content.map((part) => ({
        role: "tool",
        toolCallId: part.id,
        content: typeof part.result === "string" ? part.result : JSON.stringify(part.result ?? null)
      })))
  }
}

const imageOf = (part: Prompt.FilePart, method: string): Effect.Effect<LanguageModel.Part, AiError.AiError> => {
  const { data, mediaType } = part
  const type = mediaType === "image/*" ? "image/jpeg" : mediaType
  return !mediaType.startsWith("image/")
    ? refused(method, `a file of type ${mediaType} cannot be sent; only images can`)
    : typeof data === "string"
    ? refused(method, "an image is named by a file id, which only its own provider knows; send its bytes or a URL")
    : Effect.succeed({
      _tag: "Image",
      url: data instanceof URL ? data.href : `data:${type};base64,${Encoding.encodeBase64(data)}`
    })
}

// -----------------------------------------------------------------------------
// Answers
// -----------------------------------------------------------------------------

const reasons: { readonly [Reason in LanguageModel.FinishReason]: AiResponse.FinishReason } = {
  stop: "stop",
  length: "length",
  toolCalls: "tool-calls",
  contentFilter: "content-filter",
  refusal: "content-filter",
  unknown: "unknown"
}

const toolCallPart = (
  call: LanguageModel.ToolCall,
  method: string
): Effect.Effect<AiResponse.ToolCallPartEncoded, AiError.AiError> =>
  Effect.try({
    try: () => ({
      type: "tool-call",
      id: call.id,
      name: call.name,
      params: call.arguments === "" ? {} : Tool.unsafeSecureJsonParse(call.arguments)
    }),
    catch: () =>
      new AiError.MalformedOutput({
        module,
        method,
        description: `the model called "${call.name}" with arguments that are not JSON`
      })
  })

const sourcePart = (
  citation: LanguageModel.Citation,
  id: number
): ReadonlyArray<AiResponse.UrlSourcePartEncoded | AiResponse.DocumentSourcePartEncoded> => {
  const { title, url } = citation
  return url !== undefined && Option.isSome(Option.liftThrowable(() => new URL(url))())
    ? [{ type: "source", sourceType: "url", id: `source_${id}`, url, title: title ?? url }]
    : title === undefined
    ? []
    : [{ type: "source", sourceType: "document", id: `source_${id}`, mediaType: "text/plain", title }]
}

const finishPart = (
  finishReason: LanguageModel.FinishReason,
  usage: LanguageModel.Usage
): AiResponse.FinishPartEncoded => {
  const { cachedInputTokens, inputTokens, outputTokens, reasoningTokens } = usage
  return {
    type: "finish",
    reason: reasons[finishReason],
    usage: {
      inputTokens,
      outputTokens,
      totalTokens: inputTokens === undefined || outputTokens === undefined ? undefined : inputTokens + outputTokens,
      ...(reasoningTokens === undefined ? undefined : { reasoningTokens }),
      ...(cachedInputTokens === undefined ? undefined : { cachedInputTokens })
    }
  }
}

const metadataPart = (answer: {
  readonly model: string
  readonly requestId?: string | undefined
}): AiResponse.ResponseMetadataPartEncoded => ({
  type: "response-metadata",
  modelId: answer.model,
  ...(answer.requestId === undefined ? undefined : { id: answer.requestId })
})

const partsOf = (
  response: LanguageModel.Response
): Effect.Effect<Array<AiResponse.PartEncoded>, AiError.AiError> =>
  Effect.gen(function*() {
    const output = response.outputs[0] ?? { text: "", toolCalls: [], finishReason: "unknown" }
    const parts: Array<AiResponse.PartEncoded> = [metadataPart(response)]
    if (output.reasoning !== undefined) parts.push({ type: "reasoning", text: output.reasoning })
    if (output.text !== "") parts.push({ type: "text", text: output.text })
    for (const [id, citation] of (output.citations ?? []).entries()) parts.push(...sourcePart(citation, id))
    for (const call of output.toolCalls) parts.push(yield* toolCallPart(call, "generateText"))
    parts.push(finishPart(output.finishReason, response.usage))
    return parts
  })

// Writes the deltas of one answer as parts, which begin and end.
class Writer {
  #open: { readonly type: "text" | "reasoning"; readonly id: string } | undefined
  #blocks = 0
  #sources = 0
  #finish: LanguageModel.FinishReason = "unknown"
  readonly #calls = new Map<number, { id: string; name: string; arguments: string; begun: boolean }>()

  write(
    deltas: Chunk.Chunk<LanguageModel.Delta>
  ): Effect.Effect<Chunk.Chunk<AiResponse.StreamPartEncoded>, AiError.AiError> {
    return Effect.gen(this, function*() {
      const out: Array<AiResponse.StreamPartEncoded> = []
      for (const delta of deltas) {
        // One answer was asked for.
        if ("index" in delta && delta.index !== 0) continue
        switch (delta._tag) {
          case "TextDelta":
            if (delta.text !== "") out.push({ type: "text-delta", id: this.#block("text", out), delta: delta.text })
            break
          case "ReasoningDelta":
            out.push({ type: "reasoning-delta", id: this.#block("reasoning", out), delta: delta.text })
            break
          case "ToolCallDelta":
            this.#close(out)
            this.#argue(delta, out)
            break
          case "CitationDelta":
            out.push(...sourcePart(delta.citation, this.#sources++))
            break
          case "Finish":
            this.#finish = delta.reason
            break
          case "Completed":
            this.#close(out)
            for (const call of this.#calls.values()) {
              if (call.begun) out.push({ type: "tool-params-end", id: call.id })
              out.push(yield* toolCallPart(call, "streamText"))
            }
            out.push(metadataPart(delta), finishPart(this.#finish, delta.usage))
            break
          case "Restarted":
            return yield* new AiError.UnknownError({
              module,
              method: "streamText",
              description: `the answer began anew (${delta.cause}), which a stream of @effect/ai cannot say`
            })
        }
      }
      return Chunk.unsafeFromArray(out)
    })
  }

  #block(type: "text" | "reasoning", out: Array<AiResponse.StreamPartEncoded>): string {
    if (this.#open?.type === type) return this.#open.id
    this.#close(out)
    const id = `${type}_${this.#blocks++}`
    this.#open = { type, id }
    out.push({ type: `${type}-start`, id })
    return id
  }

  #close(out: Array<AiResponse.StreamPartEncoded>): void {
    if (this.#open !== undefined) out.push({ type: `${this.#open.type}-end`, id: this.#open.id })
    this.#open = undefined
  }

  // A call begins for the reader when its id and name are known, which is mostly at once.
  #argue(
    delta: Extract<LanguageModel.Delta, { readonly _tag: "ToolCallDelta" }>,
    out: Array<AiResponse.StreamPartEncoded>
  ): void {
    let call = this.#calls.get(delta.call)
    if (call === undefined) {
      call = { id: "", name: "", arguments: "", begun: false }
      this.#calls.set(delta.call, call)
    }
    const before = call.arguments
    if (delta.id !== undefined) call.id = delta.id
    if (delta.name !== undefined) call.name += delta.name
    call.arguments += delta.arguments
    if (!call.begun && call.id !== "" && call.name !== "" && call.arguments !== "") {
      call.begun = true
      out.push({ type: "tool-params-start", id: call.id, name: call.name })
      out.push({ type: "tool-params-delta", id: call.id, delta: before + delta.arguments })
    } else if (call.begun && delta.arguments !== "") {
      out.push({ type: "tool-params-delta", id: call.id, delta: delta.arguments })
    }
  }
}
