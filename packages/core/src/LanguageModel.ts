/**
 * The one service every model call goes through. Requests, responses and
 * deltas are plain data, so that they can be hashed, cached, recorded and
 * replayed; providers and policies are the only code behind it.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { forEachChunk, openingOf, pulled } from "./internal/pull.ts"
import * as Json from "./Json.ts"
import * as LanguageModelError from "./LanguageModelError.ts"

// =============================================================================
// Requests
// =============================================================================

/**
 * Text inside a message. A `document` is a source, which the answer may cite
 * where the provider can; to all others it is text.
 *
 * @since 0.1.0
 * @category requests
 */
export const TextPart = Schema.TaggedStruct("Text", {
  text: Schema.String,
  document: Schema.optional(Schema.Struct({ title: Schema.optional(Schema.String) }))
})

/**
 * An image inside a message. `url` is an `https:` address or a `data:` URI.
 *
 * @since 0.1.0
 * @category requests
 */
export const ImagePart = Schema.TaggedStruct("Image", {
  url: Schema.String,
  detail: Schema.optional(Schema.Literal("auto", "low", "high"))
})

/**
 * Sound inside a message. `url` is a `data:` URI, or an `https:` address for the
 * few providers that fetch one.
 *
 * @since 0.1.0
 * @category requests
 */
export const AudioPart = Schema.TaggedStruct("Audio", { url: Schema.String })

/**
 * A PDF inside a message, which the answer may cite where the provider can.
 * `url` is a `data:` URI or an `https:` address.
 *
 * @since 0.1.0
 * @category requests
 */
export const FilePart = Schema.TaggedStruct("File", {
  url: Schema.String,
  title: Schema.optional(Schema.String)
})

/**
 * A piece of the content of a message. All but text have a `url`.
 *
 * @since 0.1.0
 * @category requests
 */
export const Part = Schema.Union(TextPart, ImagePart, AudioPart, FilePart)

/**
 * @since 0.1.0
 * @category requests
 */
export type Part = typeof Part.Type

/**
 * A tool call written by a model. `arguments` is the JSON text as the model
 * wrote it, not yet parsed.
 *
 * @since 0.1.0
 * @category requests
 */
export const ToolCall = Schema.Struct({ id: Schema.String, name: Schema.String, arguments: Schema.String })

/**
 * @since 0.1.0
 * @category requests
 */
export interface ToolCall extends Schema.Schema.Type<typeof ToolCall> {}

/**
 * One turn of the conversation. `toolCalls` belong to assistant turns,
 * `toolCallId` to tool turns. `continuation` is what came with the output that
 * an assistant turn repeats: only its provider understands it, all others
 * leave it out.
 *
 * @since 0.1.0
 * @category requests
 */
export const Message = Schema.Struct({
  role: Schema.Literal("system", "user", "assistant", "tool"),
  content: Schema.Union(Schema.String, Schema.Array(Part)),
  toolCalls: Schema.optional(Schema.Array(ToolCall)),
  toolCallId: Schema.optional(Schema.String),
  continuation: Schema.optional(Json.Json)
})

/**
 * @since 0.1.0
 * @category requests
 */
export interface Message extends Schema.Schema.Type<typeof Message> {}

/**
 * A tool the model may call; `parameters` is a JSON Schema.
 *
 * @since 0.1.0
 * @category requests
 */
export const ToolDefinition = Schema.Struct({
  name: Schema.String,
  description: Schema.optional(Schema.String),
  parameters: Json.JsonRecord
})

/**
 * @since 0.1.0
 * @category requests
 */
export interface ToolDefinition extends Schema.Schema.Type<typeof ToolDefinition> {}

/**
 * Sampling settings. Whatever is absent is the model's own default. `rollout`
 * names one independent sample: it is part of every cache key and never sent.
 * `extensions` are passed to the provider as they are.
 *
 * @since 0.1.0
 * @category requests
 */
export const Settings = Schema.Struct({
  temperature: Schema.optional(Schema.Finite),
  topP: Schema.optional(Schema.Finite),
  maxTokens: Schema.optional(Schema.Finite),
  stop: Schema.optional(Schema.Array(Schema.String)),
  seed: Schema.optional(Schema.Finite),
  n: Schema.optional(Schema.Finite),
  logprobs: Schema.optional(Schema.Finite),
  reasoningEffort: Schema.optional(Schema.Literal("none", "minimal", "low", "medium", "high")),
  rollout: Schema.optional(Schema.String),
  extensions: Schema.optional(Json.JsonRecord)
})

/**
 * @since 0.1.0
 * @category requests
 */
export interface Settings extends Schema.Schema.Type<typeof Settings> {}

/**
 * What form the answer must take: any JSON object, or one that fits a JSON
 * Schema.
 *
 * @since 0.1.0
 * @category requests
 */
export const ResponseFormat = Schema.Union(
  Schema.TaggedStruct("JsonObject", {}),
  Schema.TaggedStruct("JsonSchema", { name: Schema.String, schema: Json.JsonRecord, strict: Schema.Boolean })
)

/**
 * @since 0.1.0
 * @category requests
 */
export type ResponseFormat = typeof ResponseFormat.Type

/**
 * @since 0.1.0
 * @category requests
 */
export const Request = Schema.Struct({
  messages: Schema.Array(Message),
  settings: Schema.optional(Settings),
  tools: Schema.optional(Schema.Array(ToolDefinition)),
  toolChoice: Schema.optional(
    Schema.Union(Schema.Literal("auto", "none", "required"), Schema.Struct({ name: Schema.String }))
  ),
  responseFormat: Schema.optional(ResponseFormat)
})

/**
 * One model call.
 *
 * @since 0.1.0
 * @category requests
 */
export interface Request extends Schema.Schema.Type<typeof Request> {}

// =============================================================================
// Responses
// =============================================================================

/**
 * Tokens of one call. A count the provider did not report is absent, never 0.
 * `cachedInputTokens` (read from the provider's cache) and
 * `cacheWriteInputTokens` (written to it) are parts of `inputTokens`,
 * `reasoningTokens` is a part of `outputTokens`. `cost` is in the currency of the provider's price list.
 *
 * @since 0.1.0
 * @category responses
 */
export const Usage = Schema.Struct({
  inputTokens: Schema.optional(Schema.Finite),
  outputTokens: Schema.optional(Schema.Finite),
  cachedInputTokens: Schema.optional(Schema.Finite),
  cacheWriteInputTokens: Schema.optional(Schema.Finite),
  reasoningTokens: Schema.optional(Schema.Finite),
  cost: Schema.optional(Schema.Finite)
})

/**
 * @since 0.1.0
 * @category responses
 */
export interface Usage extends Schema.Schema.Type<typeof Usage> {}

/**
 * Why a model stopped writing. `unknown` is a value the provider does not
 * explain.
 *
 * @since 0.1.0
 * @category responses
 */
export const FinishReason = Schema.Literal("stop", "length", "toolCalls", "contentFilter", "refusal", "unknown")

/**
 * @since 0.1.0
 * @category responses
 */
export type FinishReason = typeof FinishReason.Type

/**
 * The natural logarithm of the probability of one written token.
 *
 * @since 0.1.0
 * @category responses
 */
export const TokenLogprob = Schema.Struct({
  token: Schema.String,
  logprob: Schema.Finite,
  top: Schema.optional(Schema.Array(Schema.Struct({ token: Schema.String, logprob: Schema.Finite })))
})

/**
 * @since 0.1.0
 * @category responses
 */
export interface TokenLogprob extends Schema.Schema.Type<typeof TokenLogprob> {}

/**
 * What a part of an answer rests on. `start` and `end` bound that part in the
 * output's text, in UTF-16 code units; without them it is the answer as a whole.
 * `quote` is in the words of the source. `location` is the place in the source,
 * in the provider's own form.
 *
 * @since 0.1.0
 * @category responses
 */
export const Citation = Schema.Struct({
  start: Schema.optional(Schema.Finite),
  end: Schema.optional(Schema.Finite),
  quote: Schema.optional(Schema.String),
  title: Schema.optional(Schema.String),
  url: Schema.optional(Schema.String),
  location: Schema.optional(Json.Json)
})

/**
 * @since 0.1.0
 * @category responses
 */
export interface Citation extends Schema.Schema.Type<typeof Citation> {}

/**
 * One completion. A refusal is its text with the finish reason `refusal`.
 * `continuation` is for the provider that wrote it (signatures of reasoning, for
 * one), and belongs to the turn that repeats this output; see `toMessage`.
 *
 * @since 0.1.0
 * @category responses
 */
export const Output = Schema.Struct({
  text: Schema.String,
  reasoning: Schema.optional(Schema.String),
  toolCalls: Schema.Array(ToolCall),
  finishReason: FinishReason,
  logprobs: Schema.optional(Schema.Array(TokenLogprob)),
  citations: Schema.optional(Schema.Array(Citation)),
  continuation: Schema.optional(Json.Json)
})

/**
 * @since 0.1.0
 * @category responses
 */
export interface Output extends Schema.Schema.Type<typeof Output> {}

/**
 * @since 0.1.0
 * @category responses
 */
export const Response = Schema.Struct({
  outputs: Schema.Array(Output),
  usage: Usage,
  model: Schema.String,
  requestId: Schema.optional(Schema.String),
  cached: Schema.optional(Schema.Literal(true))
})

/**
 * The whole answer to a request: `settings.n` outputs, one by default. A
 * `cached` one was given before, or to an equal call at the same time: no model
 * was called and nothing was paid for it now, so its usage is 0.
 *
 * @since 0.1.0
 * @category responses
 */
export interface Response extends Schema.Schema.Type<typeof Response> {}

// =============================================================================
// Deltas
// =============================================================================

/**
 * A piece of an answer while it is written. `index` is the output it belongs
 * to, `call` the tool call within the output. A `ContinuationDelta` is whole,
 * and replaces the one before it.
 *
 * `Completed` comes last, once the provider's terminal marker was seen: a
 * stream without it is truncated. `Restarted` says that everything before it
 * is void.
 *
 * @since 0.1.0
 * @category deltas
 */
export const Delta = Schema.Union(
  Schema.TaggedStruct("TextDelta", {
    index: Schema.Finite,
    text: Schema.String,
    logprobs: Schema.optional(Schema.Array(TokenLogprob))
  }),
  Schema.TaggedStruct("ReasoningDelta", { index: Schema.Finite, text: Schema.String }),
  Schema.TaggedStruct("ToolCallDelta", {
    index: Schema.Finite,
    call: Schema.Finite,
    id: Schema.optional(Schema.String),
    name: Schema.optional(Schema.String),
    arguments: Schema.String
  }),
  Schema.TaggedStruct("CitationDelta", { index: Schema.Finite, citation: Citation }),
  Schema.TaggedStruct("ContinuationDelta", { index: Schema.Finite, continuation: Json.Json }),
  Schema.TaggedStruct("Finish", { index: Schema.Finite, reason: FinishReason }),
  Schema.TaggedStruct("Completed", {
    usage: Usage,
    model: Schema.String,
    requestId: Schema.optional(Schema.String),
    cached: Schema.optional(Schema.Literal(true))
  }),
  Schema.TaggedStruct("Restarted", { cause: Schema.String })
)

/**
 * @since 0.1.0
 * @category deltas
 */
export type Delta = typeof Delta.Type

/**
 * @since 0.1.0
 * @category deltas
 */
export type Completed = Extract<Delta, { readonly _tag: "Completed" }>

// =============================================================================
// The service
// =============================================================================

/**
 * What a model can do. `images`, `audio` and `files` are the parts of a message
 * that it takes beside text.
 *
 * @since 0.1.0
 * @category models
 */
export interface Capabilities {
  readonly streaming: boolean
  readonly tools: boolean
  readonly responseFormat: "none" | "jsonObject" | "jsonSchema"
  readonly images: boolean
  readonly audio: boolean
  readonly files: boolean
  /** Whether what it thought before it answered is told apart from the text, when `reasoningEffort` asks for it. */
  readonly reasoning: boolean
  /** Whether it says by itself what an answer rests on when it is given documents. */
  readonly citations: boolean
  readonly multipleOutputs: boolean
  /** How many calls it takes at once, when that is known; batches size their windows by it. */
  readonly concurrency?: number | undefined
  /** Beyond what size it refuses the JSON Schema of an answer. */
  readonly schemaLimits?: SchemaLimits | undefined
}

/**
 * How large the JSON Schema of an answer may be. What is absent is not limited,
 * as far as is known.
 *
 * @since 0.1.0
 * @category models
 */
export interface SchemaLimits {
  /** Whether a type may contain itself. */
  readonly recursive?: boolean | undefined
  /** Levels of objects and arrays, the answer itself being one. */
  readonly depth?: number | undefined
  /** Keys of all objects together. */
  readonly properties?: number | undefined
  /** Permitted values of all enums together. */
  readonly enumValues?: number | undefined
  /** Places where a value may be of several types, and so everything that may be left out. */
  readonly unions?: number | undefined
  /** Of all names and permitted values together. */
  readonly characters?: number | undefined
  /** Characters of the schema itself, as JSON. */
  readonly length?: number | undefined
}

/**
 * What a provider can be assumed to do when it says nothing: text in, text
 * out, streamed.
 *
 * @since 0.1.0
 * @category models
 */
export const defaultCapabilities: Capabilities = {
  streaming: true,
  tools: false,
  responseFormat: "none",
  images: false,
  audio: false,
  files: false,
  reasoning: false,
  citations: false,
  multipleOutputs: false
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The name users know, such as `ollama/llama3.2`. */
  readonly id: string
  /**
   * Where calls go, and what the model is called there, without credentials:
   * what keeps models of one `id` apart in a cache.
   */
  readonly endpoint?: string | undefined
  readonly capabilities: Capabilities
  readonly generate: (request: Request) => Effect.Effect<Response, LanguageModelError.LanguageModelError>
  readonly stream: (request: Request) => Stream.Stream<Delta, LanguageModelError.LanguageModelError>
}

/**
 * The model of the program. Providers are Layers of it; tests provide another.
 *
 * @since 0.1.0
 * @category services
 */
export class LanguageModel extends Context.Tag("@effect-dspy/core/LanguageModel")<LanguageModel, Service>() {}

/**
 * Builds a model from whichever of `generate` and `stream` a provider has; the
 * missing one is derived: a stream that is folded, an answer that comes as one
 * chunk. Capabilities that are not given are the default ones, and `streaming`
 * is whether there is a `stream`. A request with a part that the model does not
 * take fails with `InvalidRequest`; neither function sees it.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import { Chunk, Effect, Stream } from "effect"
 *
 * const echo = LanguageModel.make({
 *   id: "test/echo",
 *   generate: (request) => Effect.succeed(LanguageModel.text(String(request.messages.at(-1)?.content), "test/echo"))
 * })
 *
 * const deltas = Effect.runSync(
 *   Stream.runCollect(echo.stream({ messages: [{ role: "user", content: "hello" }] }))
 * )
 *
 * assert.deepStrictEqual(Chunk.toReadonlyArray(deltas).map((delta) => delta._tag), ["TextDelta", "Finish", "Completed"])
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options:
    & {
      readonly id: string
      readonly endpoint?: string | undefined
      readonly capabilities?: Partial<Capabilities> | undefined
    }
    & (
      | { readonly generate: Service["generate"]; readonly stream?: Service["stream"] | undefined }
      | { readonly generate?: Service["generate"] | undefined; readonly stream: Service["stream"] }
    )
): Service => {
  const { id } = options
  const capabilities: Capabilities = {
    ...defaultCapabilities,
    streaming: options.stream !== undefined,
    ...options.capabilities
  }
  const generate = options.generate ?? ((request) => fold(options.stream!(request), id)) // one of both is there
  const stream = options.stream ?? ((request) => Stream.unwrap(Effect.map(options.generate!(request), unfold)))
  const opening = openingOf(stream)
  return {
    id,
    endpoint: options.endpoint,
    capabilities,
    generate: (request) => {
      const refused = refusal(request, id, capabilities)
      return refused === undefined ? generate(request) : Effect.fail(refused)
    },
    stream: opening === undefined
      ? (request) => {
        const refused = refusal(request, id, capabilities)
        return refused === undefined ? stream(request) : Stream.fail(refused)
      }
      : pulled((request) => {
        const refused = refusal(request, id, capabilities)
        return refused === undefined ? opening(request) : Effect.fail(refused)
      })
  }
}

const capabilityOf = { Image: "images", Audio: "audio", File: "files" } as const

const refusal = (
  { messages }: Request,
  model: string,
  capabilities: Capabilities
): LanguageModelError.LanguageModelError | undefined => {
  for (const { content } of messages) {
    if (typeof content === "string") continue
    for (const { _tag } of content) {
      if (_tag === "Text" || capabilities[capabilityOf[_tag]]) continue
      const name = capabilityOf[_tag]
      return LanguageModelError.make({
        reason: new LanguageModelError.InvalidRequest({
          description:
            `the model takes no ${name}; ask one that does, or set \`${name}\` in its capabilities if it does`
        }),
        provider: model.split("/")[0] ?? model,
        model,
        attempts: 0
      })
    }
  }
  return undefined
}

/**
 * @since 0.1.0
 * @category accessors
 */
export const generate = (
  request: Request
): Effect.Effect<Response, LanguageModelError.LanguageModelError, LanguageModel> =>
  Effect.flatMap(LanguageModel, (model) => model.generate(request))

/**
 * @since 0.1.0
 * @category accessors
 */
export const stream = (
  request: Request
): Stream.Stream<Delta, LanguageModelError.LanguageModelError, LanguageModel> =>
  Stream.unwrap(Effect.map(LanguageModel, (model) => model.stream(request)))

// =============================================================================
// Between responses and deltas
// =============================================================================

/**
 * A response of one finished text, for scripted and simulated models.
 *
 * @since 0.1.0
 * @category constructors
 */
export const text = (text: string, model: string, usage: Usage = {}): Response => ({
  outputs: [{ text, toolCalls: [], finishReason: "stop" }],
  usage,
  model
})

/**
 * The assistant turn that repeats an output in the next request, with all that
 * its provider wants to see again.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 *
 * const output: LanguageModel.Output = {
 *   text: "",
 *   toolCalls: [{ id: "call_0", name: "weather", arguments: `{"city":"Oslo"}` }],
 *   finishReason: "toolCalls"
 * }
 *
 * const next: LanguageModel.Request = {
 *   messages: [
 *     { role: "user", content: "Will it rain in Oslo?" },
 *     LanguageModel.toMessage(output),
 *     { role: "tool", toolCallId: "call_0", content: "Rain until noon." }
 *   ]
 * }
 *
 * assert.deepStrictEqual(next.messages[1], { role: "assistant", content: "", toolCalls: output.toolCalls })
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const toMessage = (output: Output): Message => ({
  role: "assistant",
  content: output.text,
  ...(output.toolCalls.length === 0 ? undefined : { toolCalls: output.toolCalls }),
  ...(output.continuation === undefined ? undefined : { continuation: output.continuation })
})

interface OutputState {
  text: string
  reasoning: string
  readonly calls: Map<number, { id: string; name: string; arguments: string }>
  logprobs: Array<TokenLogprob> | undefined
  citations: Array<Citation> | undefined
  continuation: Json.Json | undefined
  finishReason: FinishReason | undefined
}

/**
 * Collects deltas into a response, mutably: one instance for one stream. For
 * code that has to look at a stream while passing it on; otherwise use `fold`.
 *
 * @since 0.1.0
 * @category constructors
 */
export class Folder {
  /** @internal */
  #outputs = new Map<number, OutputState>()
  /** @internal */
  #completed: Completed | undefined

  /** The text of the first output so far. */
  get partial(): string {
    return this.#outputs.get(0)?.text ?? ""
  }

  /** The response, once `Completed` has been added. */
  get response(): Response | undefined {
    const completed = this.#completed
    if (completed === undefined) return undefined
    return {
      outputs: Array.from(this.#outputs.entries()).sort(([a], [b]) => a - b).map(([, state]) => ({
        text: state.text,
        ...(state.reasoning === "" ? undefined : { reasoning: state.reasoning }),
        toolCalls: Array.from(state.calls.entries()).sort(([a], [b]) => a - b).map(([, call]) => call),
        finishReason: state.finishReason ?? "unknown",
        ...(state.logprobs === undefined ? undefined : { logprobs: state.logprobs }),
        ...(state.citations === undefined ? undefined : { citations: state.citations }),
        ...(state.continuation === undefined ? undefined : { continuation: state.continuation })
      })),
      usage: completed.usage,
      model: completed.model,
      ...(completed.requestId === undefined ? undefined : { requestId: completed.requestId }),
      ...(completed.cached === undefined ? undefined : { cached: completed.cached })
    }
  }

  /**
   * Takes the next delta.
   *
   * @since 0.1.0
   */
  add(delta: Delta): void {
    switch (delta._tag) {
      case "TextDelta": {
        const output = this.#output(delta.index)
        output.text += delta.text
        // One by one: there may be more than a call takes arguments.
        for (const token of delta.logprobs ?? []) (output.logprobs ??= []).push(token)
        return
      }
      case "ReasoningDelta":
        this.#output(delta.index).reasoning += delta.text
        return
      case "ToolCallDelta": {
        const calls = this.#output(delta.index).calls
        let call = calls.get(delta.call)
        if (call === undefined) {
          call = { id: "", name: "", arguments: "" }
          calls.set(delta.call, call)
        }
        if (delta.id !== undefined) call.id = delta.id
        if (delta.name !== undefined) call.name += delta.name
        call.arguments += delta.arguments
        return
      }
      case "CitationDelta":
        ;(this.#output(delta.index).citations ??= []).push(delta.citation)
        return
      case "ContinuationDelta":
        this.#output(delta.index).continuation = delta.continuation
        return
      case "Finish":
        this.#output(delta.index).finishReason = delta.reason
        return
      case "Completed":
        // A stream of no deltas is still one empty output, not none.
        this.#output(0)
        this.#completed = delta
        return
      case "Restarted":
        this.#outputs.clear()
        this.#completed = undefined
    }
  }

  /** @internal */
  #output(index: number): OutputState {
    let output = this.#outputs.get(index)
    if (output === undefined) {
      output = {
        text: "",
        reasoning: "",
        calls: new Map(),
        logprobs: undefined,
        citations: undefined,
        continuation: undefined,
        finishReason: undefined
      }
      this.#outputs.set(index, output)
    }
    return output
  }
}

/**
 * Runs a stream of deltas to its response. A stream that ends without
 * `Completed` fails with `StreamTruncated`; it is never an answer.
 *
 * @since 0.1.0
 * @category destructors
 */
export const fold = <R>(
  deltas: Stream.Stream<Delta, LanguageModelError.LanguageModelError, R>,
  model: string
): Effect.Effect<Response, LanguageModelError.LanguageModelError, R> =>
  Effect.suspend(() => {
    const folder = new Folder()
    return Effect.flatMap(
      forEachChunk(Stream.toPull(deltas), (chunk) => {
        for (const delta of chunk) folder.add(delta)
        return Effect.void
      }),
      () => {
        const response = folder.response
        return response === undefined ? Effect.fail(truncated(model, folder.partial)) : Effect.succeed(response)
      }
    )
  })

/**
 * The error of a stream that ended without `Completed`.
 *
 * @since 0.1.0
 * @category errors
 */
export const truncated = (model: string, partial: string): LanguageModelError.LanguageModelError =>
  LanguageModelError.make({
    reason: new LanguageModelError.StreamTruncated({ partial }),
    provider: model.split("/")[0] ?? model,
    model
  })

/**
 * A finished output as the deltas that fold back to it.
 *
 * @internal
 */
export const deltasOf = (output: Output, index: number): Array<Delta> => {
  const deltas: Array<Delta> = []
  if (output.reasoning !== undefined) deltas.push({ _tag: "ReasoningDelta", index, text: output.reasoning })
  if (output.text !== "" || output.logprobs !== undefined) {
    deltas.push({
      _tag: "TextDelta",
      index,
      text: output.text,
      ...(output.logprobs === undefined ? undefined : { logprobs: output.logprobs })
    })
  }
  output.toolCalls.forEach((call, position) => {
    deltas.push({
      _tag: "ToolCallDelta",
      index,
      call: position,
      id: call.id,
      name: call.name,
      arguments: call.arguments
    })
  })
  output.citations?.forEach((citation) => deltas.push({ _tag: "CitationDelta", index, citation }))
  if (output.continuation !== undefined) {
    deltas.push({ _tag: "ContinuationDelta", index, continuation: output.continuation })
  }
  deltas.push({ _tag: "Finish", index, reason: output.finishReason })
  return deltas
}

/**
 * A whole response as the deltas that fold back to it, in one chunk.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unfold = (response: Response): Stream.Stream<Delta> => {
  const deltas = response.outputs.flatMap(deltasOf)
  deltas.push({
    _tag: "Completed",
    usage: response.usage,
    model: response.model,
    ...(response.requestId === undefined ? undefined : { requestId: response.requestId }),
    ...(response.cached === undefined ? undefined : { cached: response.cached })
  })
  return Stream.fromChunk(Chunk.unsafeFromArray(deltas))
}

/**
 * Adds two usages; a count that either side reports is reported.
 *
 * @since 0.1.0
 * @category combinators
 */
export const addUsage: {
  (that: Usage): (self: Usage) => Usage
  (self: Usage, that: Usage): Usage
} = dual(2, (self: Usage, that: Usage): Usage => {
  const sum: { -readonly [K in keyof Usage]: Usage[K] } = { ...self }
  for (const key of Object.keys(that) as Array<keyof Usage>) { // keys of a Usage are keyof Usage
    const value = that[key]
    if (value !== undefined) sum[key] = (self[key] ?? 0) + value
  }
  return sum
})
