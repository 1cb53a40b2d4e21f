/**
 * The chat completions dialect of OpenAI: from requests to bodies, and from the
 * frames of an answer, whole or streamed, to deltas.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as answer from "./answer.ts"
import * as continuation from "./continuation.ts"
import type { Dialect, Setting } from "./dialects.ts"
import * as fault from "./fault.ts"
import * as media from "./mediaTypes.ts"
import { type Piece, Splitter } from "./thinkBlock.ts"
import { count, inline, isObject, isText, record } from "./wire.ts"

// =============================================================================
// Requests
// =============================================================================

const content = (content: LanguageModel.Message["content"]): unknown =>
  typeof content === "string" ? content : content.map((part) => {
    switch (part._tag) {
      case "Text":
        return { type: "text", text: part.text }
      case "Image":
        return { type: "image_url", image_url: { url: part.url, detail: part.detail } }
      case "Audio":
        return { type: "input_audio", input_audio: audio(part.url) }
      case "File":
        return { type: "file", file: { filename: part.title ?? "document.pdf", file_data: part.url } }
    }
  })

// The protocol names a format where others name a media type.
const audio = (url: string): unknown => {
  const { data, mediaType } = inline(url) ?? { data: "", mediaType: "" } // an address was refused before
  const format = mediaType.slice("audio/".length)
  return { data, format: format === "mpeg" ? "mp3" : format }
}

const message = ({ continues }: Dialect) => (message: LanguageModel.Message): unknown => ({
  role: message.role,
  // Some servers refuse an empty text beside tool calls, all of them take null there.
  content: message.content === "" && message.toolCalls !== undefined ? null : content(message.content),
  tool_calls: message.toolCalls?.map((call) => ({
    id: call.id,
    type: "function",
    function: { name: call.name, arguments: call.arguments }
  })),
  tool_call_id: message.toolCallId,
  ...(continues === undefined || message.continuation === undefined ? undefined : {
    [continues.field]: continuation.parts(message.continuation, continues.provider)[0]?.[continues.field]
  })
})

const responseFormat = (format: LanguageModel.ResponseFormat): unknown =>
  format._tag === "JsonObject"
    ? { type: "json_object" }
    : {
      type: "json_schema",
      json_schema: {
        name: format.name.replaceAll(/[^a-zA-Z0-9_-]/g, "_").slice(0, 64),
        schema: format.schema,
        strict: format.strict
      }
    }

const settingNames: ReadonlyArray<Setting> = [
  "temperature",
  "topP",
  "maxTokens",
  "stop",
  "seed",
  "n",
  "logprobs",
  "reasoningEffort"
]

/**
 * The model of a server. `thinkBlock`: its text begins with a block of
 * reasoning, or inside one.
 */
export interface Target {
  readonly model: string
  readonly dialect: Dialect
  readonly thinkBlock: "written" | "open" | undefined
}

/**
 * The body of a request, as JSON text. Extensions win over what the settings
 * say, but cannot change the model, the messages, or whether the answer is
 * streamed.
 */
export const encode = (request: LanguageModel.Request, target: Target, stream: boolean): string => {
  const { responseFormat: format, settings, toolChoice, tools } = request
  const { dialect, model } = target
  // Filled field by field: to merge objects costs more than to write the JSON.
  const body: { [field: string]: unknown } = {}
  const set = <S extends Setting>(name: S) => {
    const value = settings?.[name]
    if (value === undefined || dialect.lacks.includes(name)) return
    const fields = dialect.fields[name](value, model)
    for (const field in fields) body[field] = fields[field]
  }
  if (settings !== undefined) settingNames.forEach(set)
  if (tools !== undefined) {
    body["tools"] = tools.map((tool) => ({
      type: "function",
      function: { name: tool.name, description: tool.description, parameters: tool.parameters }
    }))
  }
  if (toolChoice !== undefined) {
    body["tool_choice"] = typeof toolChoice === "string"
      ? toolChoice
      : { type: "function", function: { name: toolChoice.name } }
  }
  if (format !== undefined) body["response_format"] = responseFormat(format)
  if (stream && dialect.streamUsage) body["stream_options"] = { include_usage: true }
  Object.assign(body, settings?.extensions)
  body["model"] = model
  body["messages"] = request.messages.map(message(dialect))
  body["stream"] = stream ? true : undefined
  return JSON.stringify(body)
}

/**
 * What a request asks for that the server would refuse or silently leave out.
 */
export const refusal = (
  request: LanguageModel.Request,
  { addresses, lacks, mediaTypes }: Dialect
): string | undefined => {
  const { messages, settings = {}, toolChoice } = request
  for (const name of lacks) {
    if (name === "n") {
      if ((settings.n ?? 1) > 1) return `the server gives one output for each call, \`n\` is ${settings.n}`
    } else if (name === "toolChoice") {
      if (toolChoice !== undefined && toolChoice !== "auto") {
        return "the server lets only the model choose tools; leave out `toolChoice`"
      }
    } else if (settings[name] !== undefined) return `the server has no setting \`${name}\`; leave it out`
  }
  for (const { content } of messages) {
    const distant = typeof content === "string" ?
      undefined :
      content.find((part) => part._tag !== "Text" && !addresses.includes(part._tag) && inline(part.url) === undefined)
    if (distant !== undefined) {
      return `the server takes no address in place of ${media.named[distant._tag]}; fetch it, or give its bytes`
    }
  }
  return media.refusal(messages, mediaTypes)
}

// =============================================================================
// Frames
// =============================================================================

interface Frame {
  readonly model?: unknown
  readonly usage?: unknown
  readonly choices?: unknown
}
interface Choice {
  readonly index?: unknown
  readonly delta?: unknown
  readonly message?: unknown
  readonly logprobs?: unknown
  readonly finish_reason?: unknown
  readonly error?: unknown
}
interface Body {
  readonly content?: unknown
  readonly refusal?: unknown
  readonly reasoning?: unknown
  readonly reasoning_content?: unknown
  readonly reasoning_details?: unknown
  readonly tool_calls?: unknown
}
interface Part {
  readonly type?: unknown
  readonly text?: unknown
  readonly refusal?: unknown
  readonly thinking?: unknown
  readonly summary?: unknown
}
interface WireCall {
  readonly index?: unknown
  readonly id?: unknown
  readonly function?: unknown
}
interface WireFunction {
  readonly name?: unknown
  readonly arguments?: unknown
}
interface WireUsage {
  readonly prompt_tokens?: unknown
  readonly completion_tokens?: unknown
  readonly prompt_tokens_details?: unknown
  readonly completion_tokens_details?: unknown
  readonly total_tokens?: unknown
  readonly prompt_cache_hit_tokens?: unknown
  readonly cost?: unknown
  readonly cost_in_usd_ticks?: unknown
}
interface WireLogprobs {
  readonly content?: unknown
  readonly tokens?: unknown
  readonly token_logprobs?: unknown
}
interface WireLogprob {
  readonly token?: unknown
  readonly logprob?: unknown
  readonly top_logprobs?: unknown
}

const finishReasons: { readonly [reason: string]: LanguageModel.FinishReason } = {
  stop: "stop",
  eos: "stop",
  end_turn: "stop",
  length: "length",
  max_tokens: "length",
  model_length: "length",
  tool_calls: "toolCalls",
  function_call: "toolCalls",
  content_filter: "contentFilter",
  refusal: "refusal"
}

const readUsage = (usage: WireUsage): LanguageModel.Usage => {
  const input: { readonly cached_tokens?: unknown } = isObject(usage.prompt_tokens_details)
    ? usage.prompt_tokens_details
    : {}
  const output: { readonly reasoning_tokens?: unknown } = isObject(usage.completion_tokens_details)
    ? usage.completion_tokens_details
    : {}
  const counts: { -readonly [K in keyof LanguageModel.Usage]: LanguageModel.Usage[K] } = {}
  const set = (key: keyof LanguageModel.Usage, value: number | undefined) => {
    if (value !== undefined) counts[key] = value
  }
  const prompt = count(usage.prompt_tokens)
  const completion = count(usage.completion_tokens)
  const reasoning = count(output.reasoning_tokens)
  // Some count reasoning beside the completion instead of in it; their total tells.
  const apart = prompt !== undefined && completion !== undefined && reasoning !== undefined &&
    usage.total_tokens === prompt + completion + reasoning
  set("inputTokens", prompt)
  set("outputTokens", apart ? completion + reasoning : completion)
  set("cachedInputTokens", count(input.cached_tokens) ?? count(usage.prompt_cache_hit_tokens))
  set("reasoningTokens", reasoning)
  const ticks = count(usage.cost_in_usd_ticks)
  const { cost } = usage
  set(
    "cost",
    typeof cost === "number" && Number.isFinite(cost) && cost >= 0
      ? cost
      : ticks === undefined
      ? undefined
      : ticks / ticksPerDollar
  )
  return counts
}

// What xAI counts money in.
const ticksPerDollar = 1e10

const readLogprob = (entry: unknown): { readonly token: string; readonly logprob: number } | undefined => {
  if (!isObject(entry)) return undefined
  const { logprob, token }: WireLogprob = entry
  return typeof token === "string" && typeof logprob === "number" ? { token, logprob } : undefined
}

const readLogprobs = (u: unknown): ReadonlyArray<LanguageModel.TokenLogprob> | undefined => {
  if (!isObject(u)) return undefined
  const { content, token_logprobs, tokens: texts }: WireLogprobs = u
  // Together writes two lists instead of one of pairs.
  if (Array.isArray(texts) && Array.isArray(token_logprobs)) {
    const pairs = texts.flatMap((token: unknown, i) => readLogprob({ token, logprob: token_logprobs[i] }) ?? [])
    return pairs.length === 0 ? undefined : pairs
  }
  if (!Array.isArray(content)) return undefined
  const tokens = content.flatMap((entry: unknown) => {
    const token = readLogprob(entry)
    if (token === undefined) return []
    const { top_logprobs }: WireLogprob = entry as object // readLogprob has just read fields of it
    if (!Array.isArray(top_logprobs) || top_logprobs.length === 0) return [token]
    return [{ ...token, top: top_logprobs.flatMap((other: unknown) => readLogprob(other) ?? []) }]
  })
  return tokens.length === 0 ? undefined : tokens
}

// Reasoning as a text, as a part, or as a list of either.
const readReasoning = (u: unknown): string => {
  // Most chunks have none.
  if (u === undefined || u === null) return ""
  if (typeof u === "string") return u
  if (Array.isArray(u)) return u.map((part: unknown) => Array.isArray(part) ? "" : readReasoning(part)).join("")
  const { summary, text, thinking }: Part = isObject(u) ? u : {}
  return [text, thinking, summary].find(isText) ?? ""
}

// The words of a part of reasoning, which come in pieces.
const worded = ["text", "summary", "data"] as const

// Puts together what comes in pieces: a text, or a list of parts.
const keep = (output: OutputState, u: unknown): void => {
  if (typeof u === "string" && typeof output.kept === "string") output.kept += u
  for (const part of Array.isArray(u) ? u : []) {
    const piece = record(part)
    if (piece === undefined) continue
    const parts = typeof output.kept === "string" ? [] : output.kept
    const before = parts.at(-1)
    const goesOn = before !== undefined && before["type"] === piece["type"] && before["index"] === piece["index"]
    if (goesOn && piece["index"] !== undefined) {
      const joined = worded.flatMap((name) => {
        const [start, end] = [before[name], piece[name]]
        return typeof start === "string" && typeof end === "string" ? [[name, start + end] as const] : []
      })
      // What is known of the part may come with any of its pieces.
      const known = Object.entries(piece).filter(([, value]) => value !== null)
      parts[parts.length - 1] = { ...before, ...Object.fromEntries(known), ...Object.fromEntries(joined) }
    } else parts.push(piece)
    output.kept = parts
  }
}

interface Call {
  readonly position: number
  id: string | undefined
  name: string
  hasArguments: boolean
}

interface OutputState {
  readonly calls: Array<Call>
  readonly byId: Map<string, Call>
  readonly byIndex: Map<number, Call>
  readonly thinkBlock: Splitter | undefined
  /** What the server wants to see again. */
  kept: string | Array<Json.JsonRecord>
  refused: boolean
  finished: boolean
}

const maxChoices = 128
const maxCalls = 1024

/**
 * Reads completion objects and chunks, one after the other, into deltas.
 */
export class Reader implements answer.Reader {
  partial = ""
  error: fault.ServerError | undefined
  // The marker is `[DONE]`, which is no frame.
  readonly done = false
  #usage: LanguageModel.Usage = {}
  #model: string
  #finished = 0
  readonly #wanted: number
  readonly #thinkBlock: Target["thinkBlock"]
  readonly #continues: Dialect["continues"]
  readonly #outputs = new Map<number, OutputState>()

  /** `outputs`: how many were asked for. */
  constructor(target: Target, outputs: number) {
    this.#model = target.model
    this.#thinkBlock = target.thinkBlock
    this.#continues = target.dialect.continues
    this.#wanted = outputs
  }

  get started(): boolean {
    return this.#outputs.size > 0
  }

  get finished(): boolean {
    return this.#finished >= this.#wanted
  }

  read(frame: Frame, whole: boolean, out: Array<LanguageModel.Delta>): answer.Malformed | undefined {
    if (isText(frame.model)) this.#model = frame.model
    if (isObject(frame.usage)) this.#usage = readUsage(frame.usage)
    const { choices } = frame
    if (choices === undefined || choices === null) return whole ? "it has no `choices`" : undefined
    if (!Array.isArray(choices)) return "`choices` is not an array"
    if (whole && choices.length === 0) return "`choices` is empty"
    if (choices.length > maxChoices) return `it has more than ${maxChoices} choices`
    for (let position = 0; position < choices.length; position++) {
      const choice: unknown = choices[position]
      if (!isObject(choice)) return "a choice is not an object"
      const malformed = this.#choice(choice, position, whole, out)
      if (malformed !== undefined) return malformed
    }
    return undefined
  }

  end(requestId: string | undefined, out: Array<LanguageModel.Delta>): boolean {
    const explained = this.#finished === this.#outputs.size
    for (const [index, output] of this.#outputs) {
      if (!output.finished) this.#finish(index, output, "unknown", out)
    }
    out.push({
      _tag: "Completed",
      usage: this.#usage,
      model: this.#model,
      ...(requestId === undefined ? undefined : { requestId })
    })
    return explained
  }

  #output(index: number): OutputState {
    let output = this.#outputs.get(index)
    if (output === undefined) {
      const thinkBlock = this.#thinkBlock === undefined ? undefined : new Splitter(this.#thinkBlock === "open")
      output = { calls: [], byId: new Map(), byIndex: new Map(), thinkBlock, kept: "", refused: false, finished: false }
      this.#outputs.set(index, output)
    }
    return output
  }

  #choice(
    choice: Choice,
    position: number,
    whole: boolean,
    out: Array<LanguageModel.Delta>
  ): answer.Malformed | undefined {
    // The position in a whole answer is beyond doubt; some servers number every choice 0.
    const index = whole || choice.index === undefined || choice.index === null ? position : choice.index
    if (typeof index !== "number" || !(Number.isInteger(index) && index >= 0 && index < maxChoices)) {
      return "the index of a choice is out of range"
    }
    const output = this.#output(index)
    const body = choice.delta ?? choice.message
    if (isObject(body)) {
      const malformed = this.#body(body, index, output, readLogprobs(choice.logprobs), out)
      if (malformed !== undefined) return malformed
    } else if (whole) return "a choice has no `message`"
    if (isObject(choice.error) || choice.finish_reason === "error") {
      this.error = fault.declaredError(choice) ?? { message: "the model stopped with an error" }
      return undefined
    }
    // "" is what some servers write on every chunk before the last.
    if (isText(choice.finish_reason) && !output.finished) {
      this.#finish(index, output, finishReasons[choice.finish_reason] ?? "unknown", out)
    }
    return undefined
  }

  #finish(
    index: number,
    output: OutputState,
    reason: LanguageModel.FinishReason,
    out: Array<LanguageModel.Delta>
  ): void {
    output.finished = true
    this.#finished++
    for (const piece of output.thinkBlock?.end() ?? []) this.#piece(piece, index, out)
    for (const call of output.calls) {
      // A tool result must be able to name the call it answers.
      if (call.id === undefined) {
        call.id = `call_${call.position}`
        out.push({ _tag: "ToolCallDelta", index, call: call.position, id: call.id, arguments: "" })
      }
    }
    if (this.#continues !== undefined && output.kept.length > 0) {
      const { field, provider } = this.#continues
      const kept = continuation.make(provider, [{ [field]: output.kept }])
      out.push({ _tag: "ContinuationDelta", index, continuation: kept })
    }
    out.push({ _tag: "Finish", index, reason: output.refused ? "refusal" : reason })
  }

  #body(
    body: Body,
    index: number,
    output: OutputState,
    logprobs: ReadonlyArray<LanguageModel.TokenLogprob> | undefined,
    out: Array<LanguageModel.Delta>
  ): answer.Malformed | undefined {
    // Servers that write several spellings write the same text in each.
    const reasoning = readReasoning(body.reasoning_content) || readReasoning(body.reasoning) ||
      readReasoning(body.reasoning_details)
    if (reasoning !== "") out.push({ _tag: "ReasoningDelta", index, text: reasoning })
    if (this.#continues !== undefined) keep(output, Reflect.get(body, this.#continues.field))
    const { content } = body
    if (typeof content === "string") {
      if (content !== "" || logprobs !== undefined) this.#text(content, index, output, logprobs, out)
    } else if (content !== undefined && content !== null) {
      if (typeof content !== "object") return "`content` is neither text nor a list of parts"
      for (const part of Array.isArray(content) ? content : [content]) this.#part(part, index, output, out)
    }
    if (isText(body.refusal)) {
      output.refused = true
      this.#text(body.refusal, index, output, undefined, out)
    }
    const { tool_calls } = body
    if (tool_calls === undefined || tool_calls === null) return undefined
    if (!Array.isArray(tool_calls)) return "`tool_calls` is not an array"
    for (const call of tool_calls) {
      if (!isObject(call)) return "a tool call is not an object"
      const malformed = this.#toolCall(call, index, output, out)
      if (malformed !== undefined) return malformed
    }
    return undefined
  }

  #text(
    text: string,
    index: number,
    output: OutputState,
    logprobs: ReadonlyArray<LanguageModel.TokenLogprob> | undefined,
    out: Array<LanguageModel.Delta>
  ): void {
    const { thinkBlock } = output
    if (thinkBlock === undefined) return this.#piece({ reasoning: false, text, logprobs }, index, out)
    for (const piece of thinkBlock.push(text, logprobs)) this.#piece(piece, index, out)
  }

  #piece({ logprobs, reasoning, text }: Piece, index: number, out: Array<LanguageModel.Delta>): void {
    if (reasoning) {
      out.push({ _tag: "ReasoningDelta", index, text })
      return
    }
    if (index === 0) this.partial += text
    out.push(logprobs === undefined ? { _tag: "TextDelta", index, text } : { _tag: "TextDelta", index, text, logprobs })
  }

  // Content as a list of parts, as Mistral writes it. Parts of other kinds (references,
  // audio) are no text.
  #part(part: unknown, index: number, output: OutputState, out: Array<LanguageModel.Delta>): void {
    if (isText(part)) return this.#text(part, index, output, undefined, out)
    if (!isObject(part)) return
    const { refusal, text, thinking }: Part = part
    const reasoning = readReasoning(thinking)
    if (reasoning !== "") out.push({ _tag: "ReasoningDelta", index, text: reasoning })
    if (isText(text)) this.#text(text, index, output, undefined, out)
    if (isText(refusal)) {
      output.refused = true
      this.#text(refusal, index, output, undefined, out)
    }
  }

  #toolCall(
    wire: WireCall,
    index: number,
    output: OutputState,
    out: Array<LanguageModel.Delta>
  ): answer.Malformed | undefined {
    const fn: WireFunction = isObject(wire.function) ? wire.function : {}
    const id = isText(wire.id) ? wire.id : undefined
    const name = isText(fn.name) ? fn.name : undefined
    let args = ""
    if (typeof fn.arguments === "string") args = fn.arguments
    else if (fn.arguments !== undefined && fn.arguments !== null) {
      try {
        args = JSON.stringify(fn.arguments)
      } catch {
        return "the arguments of a tool call are nested too deeply"
      }
    }
    const place = typeof wire.index === "number" ? wire.index : undefined
    let call = this.#known(output, id, place, name)
    const isNew = call === undefined
    if (call === undefined) {
      if (output.calls.length >= maxCalls) return `it has more than ${maxCalls} tool calls`
      call = { position: output.calls.length, id: undefined, name: "", hasArguments: false }
      output.calls.push(call)
    }
    const lateId = id !== undefined && call.id === undefined
    if (lateId) {
      call.id = id
      output.byId.set(id, call)
    }
    if (place !== undefined) output.byIndex.set(place, call)
    // A name comes whole, in pieces, or whole again on every chunk.
    const moreName = name !== undefined && name !== call.name
    if (moreName) call.name += name
    if (args !== "") call.hasArguments = true
    if (isNew || lateId || moreName || args !== "") {
      out.push({
        _tag: "ToolCallDelta",
        index,
        call: call.position,
        ...(lateId ? { id } : undefined),
        ...(moreName ? { name } : undefined),
        arguments: args
      })
    }
    return undefined
  }

  // Which call a piece belongs to: by id, then by index; a piece with neither starts a call
  // when it brings a name. At one index a new id, or a name after arguments, starts the next.
  #known(
    output: OutputState,
    id: string | undefined,
    place: number | undefined,
    name: string | undefined
  ): Call | undefined {
    const byId = id === undefined ? undefined : output.byId.get(id)
    if (byId !== undefined) return byId
    const before = place === undefined ? output.calls.at(-1) : output.byIndex.get(place)
    if (before === undefined) return undefined
    if (id !== undefined) return place !== undefined && before.id === undefined ? before : undefined
    if (name === undefined) return before
    return place === undefined || (before.hasArguments && name !== before.name) ? undefined : before
  }
}
