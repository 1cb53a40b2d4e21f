/**
 * The Messages dialect of Anthropic: from requests to bodies, and from the
 * frames of an answer, whole or streamed, to deltas.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as answer from "./answer.ts"
import * as continuation from "./continuation.ts"
import type * as fault from "./fault.ts"
import * as media from "./mediaTypes.ts"
import { count, inline, input, isObject, isText, record } from "./wire.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * What a model takes, by its name.
 *
 * - `maxTokens`: how much it writes when the request does not say, since the API
 *   wants a number.
 * - `thinking`: whether it is told how many tokens to think, or how hard.
 * - `format`: whether the API holds it to a JSON Schema, or a tool has to.
 */
interface Traits {
  readonly maxTokens: number
  readonly thinking: "budget" | "adaptive"
  readonly format: "native" | "tool"
}

// From the newest generation to the oldest; `from` is a version, 4.5 as 405.
const generations: ReadonlyArray<Traits & { readonly from: number }> = [
  { from: 407, maxTokens: 16_384, thinking: "adaptive", format: "native" },
  { from: 405, maxTokens: 16_384, thinking: "budget", format: "native" },
  { from: 0, maxTokens: 4096, thinking: "budget", format: "tool" }
]

// `claude-sonnet-4-5-20250929`, `claude-3-5-haiku-latest`, `anthropic.claude-opus-4-6-v1:0`. Other
// makers' models behind this API know what Anthropic's first ones did; a name without a number is new.
const version = (model: string): number => {
  const name = model.slice(model.lastIndexOf("claude"))
  if (!name.startsWith("claude")) return 0
  const numbers = /^claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?/.exec(name)
  return numbers === null ? Infinity : Number(numbers[1]) * 100 + Number(numbers[2] ?? 0)
}

const traitsOf = (model: string): Traits => {
  const known = version(model)
  return generations.find((generation) => known >= generation.from) ?? generations.at(-1)!
}

const budgets: { readonly [E in Effort]: number } = { minimal: 1024, low: 2048, medium: 8192, high: 16_384 }

type Effort = Exclude<NonNullable<LanguageModel.Settings["reasoningEffort"]>, "none">

// The least that the API takes.
const minBudget = 1024

// =============================================================================
// Requests
// =============================================================================

type Block = { readonly [key: string]: unknown }

interface Turn {
  readonly role: "user" | "assistant"
  readonly content: Array<Block>
}

const textBlock = (text: string): ReadonlyArray<Block> => text === "" ? [] : [{ type: "text", text }]

const sourceOf = (url: string): Block => {
  const found = inline(url)
  return found === undefined
    ? { type: "url", url }
    : { type: "base64", media_type: found.mediaType, data: found.data }
}

const blocks = (content: LanguageModel.Message["content"], cite: boolean): ReadonlyArray<Block> => {
  if (typeof content === "string") return textBlock(content)
  const document = (source: Block, title: string | undefined): Block => ({
    type: "document",
    source,
    title,
    citations: cite ? { enabled: true } : undefined
  })
  return content.flatMap((part) => {
    switch (part._tag) {
      case "Text":
        return part.document === undefined
          ? textBlock(part.text)
          : [document({ type: "text", media_type: "text/plain", data: part.text }, part.document.title)]
      case "Image":
        return [{ type: "image", source: sourceOf(part.url) }]
      case "File":
        return [document(sourceOf(part.url), part.title)]
      case "Audio":
        // Refused before, by the model's capabilities: the API has no form for it.
        return []
    }
  })
}

const toolUse = (call: LanguageModel.ToolCall): Block => ({
  type: "tool_use",
  id: call.id,
  name: call.name,
  input: input(call.arguments)
})

// A continuation holds what is neither text nor a call, and where those stood between it.
const assistant = (message: LanguageModel.Message): ReadonlyArray<Block> => {
  const calls = (message.toolCalls ?? []).map(toolUse)
  const written = [...blocks(message.content, false), ...calls]
  const layout = continuation.parts(message.continuation, "anthropic")
  const text = typeof message.content === "string" ? message.content : undefined
  const out: Array<Block> = []
  let at = 0
  let used = 0
  for (const block of layout) {
    if (block["type"] === "text" && typeof block["length"] === "number") {
      out.push(...textBlock(text?.slice(at, at + block["length"]) ?? ""))
      at += block["length"]
    } else if (block["type"] === "tool_use") {
      out.push(...calls.slice(used, used + 1))
      used++
    } else out.push(block)
  }
  // A turn that was changed keeps what must not be changed, before the rest.
  return at === text?.length && used === calls.length
    ? out
    : [...layout.filter((block) => block["type"] !== "text" && block["type"] !== "tool_use"), ...written]
}

const turns = (request: LanguageModel.Request, cite: boolean): ReadonlyArray<Turn> => {
  const out: Array<Turn> = []
  for (const message of request.messages) {
    if (message.role === "system") continue
    const role = message.role === "assistant" ? "assistant" : "user"
    const content = message.role === "assistant"
      ? assistant(message)
      : message.role === "tool"
      ? [{ type: "tool_result", tool_use_id: message.toolCallId, content: blocks(message.content, cite) }]
      : blocks(message.content, cite)
    const last = out.at(-1)
    // All results of one turn belong into one turn.
    if (last?.role === role) last.content.push(...content)
    else if (content.length > 0) out.push({ role, content: [...content] })
  }
  return out
}

// Thinking cannot be a place to cache up to.
const mark = (content: Array<Block> | undefined, ttl: "5m" | "1h"): boolean => {
  const last = content?.at(-1)
  if (content === undefined || last === undefined || /thinking/.test(String(last["type"]))) return false
  content[content.length - 1] = {
    ...last,
    cache_control: ttl === "5m" ? { type: "ephemeral" } : { type: "ephemeral", ttl }
  }
  return true
}

/**
 * The tool whose arguments are the answer, where only a tool can hold the model
 * to a schema and the request brings none of its own.
 */
const answerTool = (request: LanguageModel.Request, traits: Traits): Block | undefined =>
  request.responseFormat?._tag === "JsonSchema" && traits.format === "tool" && request.tools === undefined &&
    request.responseFormat.schema["type"] === "object"
    ? {
      name: request.responseFormat.name.replaceAll(/[^a-zA-Z0-9_-]/g, "_").slice(0, 64),
      description: "Takes the answer.",
      input_schema: request.responseFormat.schema
    }
    : undefined

const toolChoice = (choice: LanguageModel.Request["toolChoice"]): unknown =>
  choice === undefined
    ? undefined
    : typeof choice === "string"
    ? { type: choice === "required" ? "any" : choice }
    : { type: "tool", name: choice.name }

// How much a model may write, and how it is to think before.
const allowance = (request: LanguageModel.Request, traits: Traits, forced: boolean) => {
  const { maxTokens, reasoningEffort } = request.settings ?? {}
  if (reasoningEffort === undefined || reasoningEffort === "none") {
    return {
      max_tokens: maxTokens ?? traits.maxTokens,
      thinking: reasoningEffort === "none" && traits.thinking === "adaptive" ? { type: "disabled" } : undefined,
      effort: undefined
    }
  }
  const wanted = budgets[reasoningEffort]
  const max_tokens = maxTokens ?? traits.maxTokens + wanted
  // The API refuses a forced tool after thinking.
  if (traits.thinking === "adaptive") {
    return {
      max_tokens,
      thinking: forced ? undefined : { type: "adaptive", display: "summarized" },
      effort: reasoningEffort === "minimal" ? "low" : reasoningEffort
    }
  }
  const budget_tokens = maxTokens === undefined ? wanted : Math.min(wanted, Math.floor(maxTokens / 2))
  const thinks = budget_tokens >= minBudget && !forced
  return { max_tokens, thinking: thinks ? { type: "enabled", budget_tokens } : undefined, effort: undefined }
}

/**
 * What a request asks for that the API cannot do.
 */
export const refusal = ({ messages, settings }: LanguageModel.Request): string | undefined =>
  (settings?.n ?? 1) > 1
    ? `the API gives one output for each call, \`n\` is ${settings?.n}`
    : settings?.seed !== undefined
    ? "the API has no setting `seed`; leave it out"
    : settings?.logprobs !== undefined
    ? "the API has no setting `logprobs`; leave it out"
    : media.refusal(messages, mediaTypes)

// platform.claude.com/docs/en/build-with-claude/vision and pdf-support.
const mediaTypes: media.MediaTypes = {
  Image: ["image/png", "image/jpeg", "image/gif", "image/webp"],
  File: ["application/pdf"]
}

/**
 * The body of a request, as JSON text. Extensions win over what the settings
 * say, but cannot change the model, the messages, or whether the answer is
 * streamed. Their tools are added to those of the request.
 */
export const encode = (
  request: LanguageModel.Request,
  options: { readonly model: string; readonly stream: boolean; readonly cache: "5m" | "1h" | "off" }
): string => {
  const settings = request.settings ?? {}
  const traits = traitsOf(options.model)
  const answers = answerTool(request, traits)
  const forced = answers !== undefined || request.toolChoice === "required" || typeof request.toolChoice === "object"
  const { effort, max_tokens, thinking } = allowance(request, traits, forced)
  const format = request.responseFormat?._tag === "JsonSchema" && traits.format === "native"
    ? { type: "json_schema", schema: request.responseFormat.schema }
    : undefined

  const system = request.messages.flatMap((message) => message.role === "system" ? blocks(message.content, false) : [])
  const tools: Array<Block> | undefined = answers === undefined
    ? request.tools?.map((tool) => ({
      name: tool.name,
      description: tool.description,
      input_schema: tool.parameters
    }))
    : [answers]
  // The API refuses citations in an answer that is held to a schema.
  const messages = turns(request, request.responseFormat === undefined)
  if (options.cache !== "off") {
    // What comes before the last turn: the same for every call of a program, or of a conversation.
    if (!mark(system, options.cache)) mark(tools, options.cache)
    mark(messages.at(-2)?.content, options.cache)
  }

  const { output_config, tools: more, ...extensions } = settings.extensions ?? {}
  const output = { effort, format, ...(isObject(output_config) ? output_config : undefined) }
  return JSON.stringify({
    max_tokens,
    temperature: settings.temperature,
    top_p: settings.topP,
    stop_sequences: settings.stop,
    thinking,
    tools: Array.isArray(more) ? [...(tools ?? []), ...more] : tools,
    tool_choice: answers === undefined ? toolChoice(request.toolChoice) : { type: "tool", name: answers["name"] },
    output_config: Object.values(output).some((value) => value !== undefined) ? output : undefined,
    ...extensions,
    model: options.model,
    system: system.length === 0 ? undefined : system,
    messages,
    stream: options.stream ? true : undefined
  })
}

// =============================================================================
// Frames
// =============================================================================

interface Frame {
  readonly type?: unknown
  readonly message?: unknown
  readonly index?: unknown
  readonly content_block?: unknown
  readonly delta?: unknown
  readonly usage?: unknown
}
interface Message {
  readonly model?: unknown
  readonly content?: unknown
  readonly usage?: unknown
  readonly stop_reason?: unknown
  readonly stop_details?: unknown
}
interface WireBlock {
  readonly type?: unknown
  readonly text?: unknown
  readonly thinking?: unknown
  readonly signature?: unknown
  readonly id?: unknown
  readonly name?: unknown
  readonly input?: unknown
  readonly citations?: unknown
  readonly partial_json?: unknown
  readonly citation?: unknown
}
interface WireUsage {
  readonly input_tokens?: unknown
  readonly output_tokens?: unknown
  readonly cache_read_input_tokens?: unknown
  readonly cache_creation_input_tokens?: unknown
  readonly output_tokens_details?: unknown
}

// A turn that was paused or did not fit is not the whole answer.
const finishReasons: { readonly [reason: string]: LanguageModel.FinishReason } = {
  end_turn: "stop",
  stop_sequence: "stop",
  max_tokens: "length",
  model_context_window_exceeded: "length",
  pause_turn: "length",
  tool_use: "toolCalls",
  refusal: "refusal"
}

type BlockState =
  | { readonly _tag: "Text"; readonly start: number; length: number; readonly citations: Array<Json.JsonRecord> }
  // `asText`: the arguments are the answer.
  | {
    readonly _tag: "Call"
    readonly position: number
    readonly input: unknown
    readonly asText: boolean
    hasArguments: boolean
  }
  | { readonly _tag: "Thinking"; text: string; signature: string }
  // Whatever else there is; `input` is that of a tool that the server runs itself.
  | { readonly _tag: "Other"; readonly block: Json.JsonRecord; input: string }

interface Counts {
  readonly input?: number | undefined
  readonly output?: number | undefined
  readonly read?: number | undefined
  readonly written?: number | undefined
  readonly thinking?: number | undefined
}

const maxBlocks = 4096

const events: ReadonlySet<string> = new Set([
  "message_start",
  "content_block_start",
  "content_block_delta",
  "content_block_stop",
  "message_delta",
  "message_stop"
])

/**
 * Reads messages and the events of streamed ones, one after the other, into
 * deltas.
 */
export class Reader implements answer.Reader {
  readonly events = events
  partial = ""
  error: fault.ServerError | undefined
  started = false
  done = false
  // A message that did not stop is not complete.
  readonly finished = false
  #model: string
  #finish: LanguageModel.FinishReason | undefined
  #explanation: string | undefined
  #calls = 0
  readonly #answers: string | undefined
  readonly #blocks = new Map<number, BlockState>()
  #usage: Counts = {}

  constructor(model: string, request: LanguageModel.Request) {
    this.#model = model
    const answers = answerTool(request, traitsOf(model))
    this.#answers = answers === undefined ? undefined : String(answers["name"])
  }

  read(frame: Frame, whole: boolean, out: Array<LanguageModel.Delta>): answer.Malformed | undefined {
    if (whole) return this.#whole(frame, out)
    switch (frame.type) {
      case "message_start":
        this.started = true
        if (isObject(frame.message)) this.#message(frame.message)
        return undefined
      case "content_block_start":
        return isObject(frame.content_block)
          ? this.#start(frame.index, frame.content_block, out)
          : "a content block is not an object"
      case "content_block_delta":
        return isObject(frame.delta) ? this.#delta(frame.index, frame.delta, out) : "a delta is not an object"
      case "content_block_stop":
        return this.#stop(frame.index, out)
      case "message_delta":
        this.started = true
        if (isObject(frame.delta)) this.#message(frame.delta)
        if (isObject(frame.usage)) this.#count(frame.usage)
        return undefined
      case "message_stop":
        this.done = true
        return undefined
      default:
        // `ping`, and events that are yet to be invented.
        return typeof frame.type === "string" ? undefined : "it has no `type`"
    }
  }

  end(requestId: string | undefined, out: Array<LanguageModel.Delta>): boolean {
    const explained = this.#finish !== undefined
    if (this.#finish === "refusal" && this.partial === "" && this.#explanation !== undefined) {
      this.#text(this.#explanation, out)
    }
    const parts = this.#parts()
    if (parts !== undefined) {
      out.push({ _tag: "ContinuationDelta", index: 0, continuation: continuation.make("anthropic", parts) })
    }
    // A tool that takes the answer is none that the caller knows.
    const reason = this.#finish === "toolCalls" && this.#calls === 0 ? "stop" : this.#finish
    out.push({ _tag: "Finish", index: 0, reason: reason ?? "unknown" }, {
      _tag: "Completed",
      usage: this.#total(),
      model: this.#model,
      ...(requestId === undefined ? undefined : { requestId })
    })
    return explained
  }

  #whole(message: Message, out: Array<LanguageModel.Delta>): answer.Malformed | undefined {
    this.started = true
    this.#message(message)
    if (!Array.isArray(message.content)) return "it has no `content`"
    if (message.content.length > maxBlocks) return `it has more than ${maxBlocks} content blocks`
    for (const [index, block] of message.content.entries()) {
      if (!isObject(block)) return "a content block is not an object"
      const malformed = this.#start(index, block, out) ?? this.#stop(index, out)
      if (malformed !== undefined) return malformed
    }
    return undefined
  }

  // A message, or what is known of it only at its end.
  #message(message: Message): void {
    if (isText(message.model)) this.#model = message.model
    if (isObject(message.usage)) this.#count(message.usage)
    if (isText(message.stop_reason)) this.#finish = finishReasons[message.stop_reason] ?? "unknown"
    if (isObject(message.stop_details)) {
      const { explanation }: { readonly explanation?: unknown } = message.stop_details
      if (isText(explanation)) this.#explanation = explanation
    }
  }

  // Each count is the total so far; what a later frame leaves out is as it was.
  #count(usage: WireUsage): void {
    const details: { readonly thinking_tokens?: unknown } = isObject(usage.output_tokens_details)
      ? usage.output_tokens_details
      : {}
    this.#usage = {
      input: count(usage.input_tokens) ?? this.#usage.input,
      output: count(usage.output_tokens) ?? this.#usage.output,
      read: count(usage.cache_read_input_tokens) ?? this.#usage.read,
      written: count(usage.cache_creation_input_tokens) ?? this.#usage.written,
      thinking: count(details.thinking_tokens) ?? this.#usage.thinking
    }
  }

  // What was read from the cache or written to it is not part of `input_tokens`.
  #total(): LanguageModel.Usage {
    const { input, output, read, thinking, written } = this.#usage
    return {
      ...(input === undefined ? undefined : { inputTokens: input + (read ?? 0) + (written ?? 0) }),
      ...(output === undefined ? undefined : { outputTokens: output }),
      ...(read === undefined ? undefined : { cachedInputTokens: read }),
      ...(written === undefined ? undefined : { cacheWriteInputTokens: written }),
      ...(thinking === undefined ? undefined : { reasoningTokens: thinking })
    }
  }

  #text(text: string, out: Array<LanguageModel.Delta>): void {
    if (text === "") return
    this.partial += text
    out.push({ _tag: "TextDelta", index: 0, text })
  }

  #start(index: unknown, block: WireBlock, out: Array<LanguageModel.Delta>): answer.Malformed | undefined {
    this.started = true
    if (typeof index !== "number" || !(Number.isInteger(index) && index >= 0 && index < maxBlocks)) {
      return "the index of a content block is out of range"
    }
    if (this.#blocks.has(index)) return "a content block begins twice"
    switch (block.type) {
      case "text": {
        const state: BlockState = { _tag: "Text", start: this.partial.length, length: 0, citations: [] }
        this.#blocks.set(index, state)
        for (const citation of Array.isArray(block.citations) ? block.citations : []) {
          state.citations.push(...this.#citation(citation))
        }
        return isText(block.text) ? this.#delta(index, { type: "text_delta", text: block.text }, out) : undefined
      }
      case "thinking": {
        this.#blocks.set(index, {
          _tag: "Thinking",
          text: "",
          signature: isText(block.signature) ? block.signature : ""
        })
        return isText(block.thinking)
          ? this.#delta(index, { type: "thinking_delta", thinking: block.thinking }, out)
          : undefined
      }
      case "tool_use": {
        if (!isText(block.name)) return "a tool call has no name"
        const asText = block.name === this.#answers
        const position = asText ? -1 : this.#calls++
        this.#blocks.set(index, { _tag: "Call", position, input: block.input, asText, hasArguments: false })
        if (!asText) {
          const id = isText(block.id) ? block.id : `call_${position}`
          out.push({ _tag: "ToolCallDelta", index: 0, call: position, id, name: block.name, arguments: "" })
        }
        return undefined
      }
      default: {
        const other = record(block)
        if (other === undefined) return "a content block is nested too deeply"
        this.#blocks.set(index, { _tag: "Other", block: other, input: "" })
        return undefined
      }
    }
  }

  #delta(index: unknown, delta: WireBlock, out: Array<LanguageModel.Delta>): answer.Malformed | undefined {
    const state = typeof index === "number" ? this.#blocks.get(index) : undefined
    if (state === undefined) return "a delta belongs to no content block"
    switch (delta.type) {
      case "text_delta":
        if (state._tag !== "Text" || typeof delta.text !== "string") return "a text delta is none"
        state.length += delta.text.length
        this.#text(delta.text, out)
        return undefined
      case "thinking_delta":
        if (state._tag !== "Thinking" || typeof delta.thinking !== "string") return "a thinking delta is none"
        state.text += delta.thinking
        if (delta.thinking !== "") out.push({ _tag: "ReasoningDelta", index: 0, text: delta.thinking })
        return undefined
      case "signature_delta":
        if (state._tag !== "Thinking" || typeof delta.signature !== "string") return "a signature is none"
        state.signature += delta.signature
        return undefined
      case "citations_delta":
        if (state._tag === "Text") state.citations.push(...this.#citation(delta.citation))
        return undefined
      case "input_json_delta":
        if (typeof delta.partial_json !== "string") return "the arguments of a tool call are not text"
        if (state._tag === "Call") {
          if (delta.partial_json !== "") state.hasArguments = true
          this.#arguments(state.asText, state.position, delta.partial_json, out)
        } else if (state._tag === "Other") state.input += delta.partial_json
        return undefined
      default:
        return undefined
    }
  }

  #arguments(asText: boolean, position: number, piece: string, out: Array<LanguageModel.Delta>): void {
    if (asText) this.#text(piece, out)
    else if (piece !== "") out.push({ _tag: "ToolCallDelta", index: 0, call: position, arguments: piece })
  }

  #stop(index: unknown, out: Array<LanguageModel.Delta>): answer.Malformed | undefined {
    const state = typeof index === "number" ? this.#blocks.get(index) : undefined
    if (state?._tag === "Call" && !state.hasArguments) {
      const input = record(state.input ?? {})
      if (input === undefined) return "the arguments of a tool call are no object, or nested too deeply"
      state.hasArguments = true
      this.#arguments(state.asText, state.position, JSON.stringify(input), out)
    } else if (state?._tag === "Text") {
      for (const wire of state.citations.splice(0)) {
        const { cited_text, document_title, title, url, ...location } = wire
        const name = isText(document_title) ? document_title : title
        out.push({
          _tag: "CitationDelta",
          index: 0,
          citation: {
            start: state.start,
            end: state.start + state.length,
            ...(isText(cited_text) ? { quote: cited_text } : undefined),
            ...(isText(name) ? { title: name } : undefined),
            ...(isText(url) ? { url } : undefined),
            location
          }
        })
      }
    }
    return undefined
  }

  // A citation that cannot be read says nothing about the text.
  #citation(citation: unknown): ReadonlyArray<Json.JsonRecord> {
    const known = record(citation)
    return known === undefined ? [] : [known]
  }

  // Where there is nothing but text and calls, the output says all.
  #parts(): ReadonlyArray<Json.JsonRecord> | undefined {
    const states = Array.from(this.#blocks.entries()).sort(([a], [b]) => a - b).map(([, state]) => state)
    if (states.every((state) => state._tag === "Text" || state._tag === "Call")) return undefined
    return states.flatMap((state): ReadonlyArray<Json.JsonRecord> => {
      switch (state._tag) {
        case "Text":
          return state.length === 0 ? [] : [{ type: "text", length: state.length }]
        case "Call":
          return state.asText ? [] : [{ type: "tool_use" }]
        case "Thinking":
          return [{ type: "thinking", thinking: state.text, signature: state.signature }]
        case "Other":
          return [state.input === "" ? state.block : { ...state.block, input: inputOf(state.input) }]
      }
    })
  }
}

const inputOf = (text: string): Json.Json => {
  try {
    return record(JSON.parse(text)) ?? {}
  } catch {
    return {}
  }
}
