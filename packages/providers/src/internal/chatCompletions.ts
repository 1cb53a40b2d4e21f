/**
 * The chat completions dialect of OpenAI: from requests to bodies, and from the
 * frames of an answer, whole or streamed, to deltas.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as answer from "./answer.ts"
import * as fault from "./fault.ts"
import { count, isObject, isText } from "./wire.ts"

// =============================================================================
// Requests
// =============================================================================

const content = (content: LanguageModel.Message["content"]): unknown =>
  typeof content === "string" ? content : content.map((part) =>
    part._tag === "Text"
      ? { type: "text", text: part.text }
      : { type: "image_url", image_url: { url: part.url, detail: part.detail } }
  )

const message = (message: LanguageModel.Message): unknown => ({
  role: message.role,
  // Some servers refuse an empty text beside tool calls, all of them take null there.
  content: message.content === "" && message.toolCalls !== undefined ? null : content(message.content),
  tool_calls: message.toolCalls?.map((call) => ({
    id: call.id,
    type: "function",
    function: { name: call.name, arguments: call.arguments }
  })),
  tool_call_id: message.toolCallId
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

// OpenAI's reasoning models refuse `max_tokens`; most other servers know nothing else.
const countsReasoning = /(^|\/)(o[1-9]|gpt-5)/

/**
 * The body of a request, as JSON text. Extensions win over what the settings
 * say, but cannot change the model, the messages, or whether the answer is
 * streamed.
 */
export const encode = (
  request: LanguageModel.Request,
  options: { readonly model: string; readonly stream: boolean }
): string => {
  const settings = request.settings ?? {}
  const { toolChoice } = request
  return JSON.stringify({
    temperature: settings.temperature,
    top_p: settings.topP,
    [countsReasoning.test(options.model) ? "max_completion_tokens" : "max_tokens"]: settings.maxTokens,
    stop: settings.stop,
    seed: settings.seed,
    n: settings.n,
    logprobs: settings.logprobs === undefined ? undefined : true,
    top_logprobs: settings.logprobs === 0 ? undefined : settings.logprobs,
    reasoning_effort: settings.reasoningEffort,
    tools: request.tools?.map((tool) => ({
      type: "function",
      function: { name: tool.name, description: tool.description, parameters: tool.parameters }
    })),
    tool_choice: toolChoice === undefined || typeof toolChoice === "string"
      ? toolChoice
      : { type: "function", function: { name: toolChoice.name } },
    response_format: request.responseFormat === undefined ? undefined : responseFormat(request.responseFormat),
    stream_options: options.stream ? { include_usage: true } : undefined,
    ...settings.extensions,
    model: options.model,
    messages: request.messages.map(message),
    stream: options.stream ? true : undefined
  })
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
  readonly tool_calls?: unknown
}
interface Part {
  readonly type?: unknown
  readonly text?: unknown
  readonly refusal?: unknown
  readonly thinking?: unknown
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
  readonly prompt_cache_hit_tokens?: unknown
  readonly cost?: unknown
}
interface WireLogprobs {
  readonly content?: unknown
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
  const { cost } = usage
  const counts: { -readonly [K in keyof LanguageModel.Usage]: LanguageModel.Usage[K] } = {}
  const set = (key: keyof LanguageModel.Usage, value: number | undefined) => {
    if (value !== undefined) counts[key] = value
  }
  set("inputTokens", count(usage.prompt_tokens))
  set("outputTokens", count(usage.completion_tokens))
  set("cachedInputTokens", count(input.cached_tokens) ?? count(usage.prompt_cache_hit_tokens))
  set("reasoningTokens", count(output.reasoning_tokens))
  set("cost", typeof cost === "number" && Number.isFinite(cost) && cost >= 0 ? cost : undefined)
  return counts
}

const readLogprob = (entry: unknown): { readonly token: string; readonly logprob: number } | undefined => {
  if (!isObject(entry)) return undefined
  const { logprob, token }: WireLogprob = entry
  return typeof token === "string" && typeof logprob === "number" ? { token, logprob } : undefined
}

const readLogprobs = (u: unknown): ReadonlyArray<LanguageModel.TokenLogprob> | undefined => {
  if (!isObject(u)) return undefined
  const { content }: WireLogprobs = u
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
  readonly #outputs = new Map<number, OutputState>()

  /** `model`: the one asked for; `outputs`: how many of them. */
  constructor(model: string, outputs: number) {
    this.#model = model
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
      output = { calls: [], byId: new Map(), byIndex: new Map(), refused: false, finished: false }
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
    for (const call of output.calls) {
      // A tool result must be able to name the call it answers.
      if (call.id === undefined) {
        call.id = `call_${call.position}`
        out.push({ _tag: "ToolCallDelta", index, call: call.position, id: call.id, arguments: "" })
      }
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
    // Servers that write both spellings write the same text in both.
    const reasoning = isText(body.reasoning_content) ? body.reasoning_content : body.reasoning
    if (isText(reasoning)) out.push({ _tag: "ReasoningDelta", index, text: reasoning })
    const { content } = body
    if (typeof content === "string") {
      if (content !== "" || logprobs !== undefined) this.#text(content, index, logprobs, out)
    } else if (content !== undefined && content !== null) {
      if (typeof content !== "object") return "`content` is neither text nor a list of parts"
      for (const part of Array.isArray(content) ? content : [content]) this.#part(part, index, output, out)
    }
    if (isText(body.refusal)) {
      output.refused = true
      this.#text(body.refusal, index, undefined, out)
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
    logprobs: ReadonlyArray<LanguageModel.TokenLogprob> | undefined,
    out: Array<LanguageModel.Delta>
  ): void {
    if (index === 0) this.partial += text
    out.push(logprobs === undefined ? { _tag: "TextDelta", index, text } : { _tag: "TextDelta", index, text, logprobs })
  }

  // Content as a list of parts, as Mistral writes it. Parts of other kinds (references,
  // audio) are no text.
  #part(part: unknown, index: number, output: OutputState, out: Array<LanguageModel.Delta>): void {
    if (isText(part)) return this.#text(part, index, undefined, out)
    if (!isObject(part)) return
    const { refusal, text, thinking }: Part = part
    for (const thought of Array.isArray(thinking) ? thinking : [{ text: thinking }]) {
      const { text: words }: Part = isObject(thought) ? thought : {}
      if (isText(words)) out.push({ _tag: "ReasoningDelta", index, text: words })
    }
    if (isText(text)) this.#text(text, index, undefined, out)
    if (isText(refusal)) {
      output.refused = true
      this.#text(refusal, index, undefined, out)
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
