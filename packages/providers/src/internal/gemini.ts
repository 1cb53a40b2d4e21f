/**
 * The generateContent dialect of Google: from requests to bodies, and from the
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

// `gemini-2.5-flash` as 205, `gemini-3-pro-preview` as 300; a name without a number
// (`gemini-flash-latest`) is new, another maker's (`gemma-3-27b-it`) never thinks.
const version = (model: string): number => {
  const name = model.slice(model.lastIndexOf("/") + 1)
  if (!name.startsWith("gemini")) return 0
  const numbers = /^gemini-(\d+)(?:\.(\d+))?/.exec(name)
  return numbers === null ? Infinity : Number(numbers[1]) * 100 + Number(numbers[2] ?? 0)
}

type Effort = NonNullable<LanguageModel.Settings["reasoningEffort"]>

const budgets: { readonly [E in Effort]: number } = { none: 0, minimal: 512, low: 2048, medium: 8192, high: 24_576 }

// `LOW` is the least that all of these models take; none of them stops thinking altogether.
const levels: { readonly [E in Effort]: string } = {
  none: "LOW",
  minimal: "LOW",
  low: "LOW",
  medium: "MEDIUM",
  high: "HIGH"
}

const thinkingConfig = (effort: Effort | undefined, model: number): unknown =>
  effort === undefined || model < 205
    ? undefined
    : model < 300
    ? { thinkingBudget: budgets[effort], includeThoughts: effort === "none" ? undefined : true }
    : { thinkingLevel: levels[effort], includeThoughts: effort === "none" ? undefined : true }

// =============================================================================
// Requests
// =============================================================================

type Part = { readonly [key: string]: unknown }

interface Turn {
  readonly role: "user" | "model"
  readonly parts: Array<Part>
}

// ai.google.dev/gemini-api/docs/image-understanding and audio; those of sound that only Google Cloud names are among them.
const mediaTypes: media.MediaTypes = {
  Image: ["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"],
  Audio: ["wav", "mp3", "mpeg", "aiff", "aac", "ogg", "flac", "mp4", "m4a", "mpga", "opus", "pcm", "webm"].map((type) =>
    `audio/${type}`
  ),
  File: ["application/pdf"]
}

/**
 * What a request asks for that the API would refuse.
 */
export const refusal = ({ messages }: LanguageModel.Request): string | undefined => media.refusal(messages, mediaTypes)

const mediaPart = ({ _tag, url }: Exclude<LanguageModel.Part, { readonly _tag: "Text" }>): Part => {
  const found = inline(url)
  return found === undefined
    ? { fileData: { mimeType: _tag === "File" ? "application/pdf" : undefined, fileUri: url } }
    : { inlineData: { mimeType: found.mediaType, data: found.data } }
}

const parts = (content: LanguageModel.Message["content"]): ReadonlyArray<Part> =>
  typeof content === "string"
    ? content === "" ? [] : [{ text: content }]
    : content.map((part) => part._tag === "Text" ? { text: part.text } : mediaPart(part))

// Ids that were made up here are not the API's: calls without any are told apart by their order.
const madeUp = /^call_\d+$/

const idOf = (id: string | undefined): string | undefined => id === undefined || madeUp.test(id) ? undefined : id

const functionCall = (call: LanguageModel.ToolCall): Part => ({
  id: idOf(call.id),
  name: call.name,
  args: input(call.arguments)
})

// The API wants the name of the function with its result: that of the latest call of this id.
const nameOf = (messages: LanguageModel.Request["messages"], at: number): string => {
  const id = messages[at]?.toolCallId
  for (let i = at - 1; i >= 0; i--) {
    const call = messages[i]?.toolCalls?.find((call) => call.id === id)
    if (call !== undefined) return call.name
  }
  return id ?? ""
}

const functionResponse = (messages: LanguageModel.Request["messages"], at: number): ReadonlyArray<Part> => {
  const message = messages[at]!
  const said = parts(message.content)
  const output = said.flatMap((part) => typeof part["text"] === "string" ? [part["text"]] : []).join("")
  return [
    { functionResponse: { id: idOf(message.toolCallId), name: nameOf(messages, at), response: { output } } },
    ...said.filter((part) => part["text"] === undefined)
  ]
}

// What Google accepts in place of the signature of a call that another model made.
const unsigned = "skip_thought_signature_validator"

// A continuation holds what is neither text nor a call, and the signatures of those that are.
const assistant = (message: LanguageModel.Message, model: number): ReadonlyArray<Part> => {
  const calls = (message.toolCalls ?? []).map(functionCall)
  const text = typeof message.content === "string" ? message.content : undefined
  const layout = continuation.parts(message.continuation, "gemini")
  const out: Array<Part> = []
  let at = 0
  let used = 0
  for (const part of layout) {
    const { call, length, ...rest } = part
    if (typeof length === "number") {
      out.push({ ...rest, text: text?.slice(at, at + length) ?? "" })
      at += length
    } else if (call === true) {
      out.push(...calls.slice(used, used + 1).map((functionCall) => ({ ...rest, functionCall })))
      used++
    } else out.push(part)
  }
  if (layout.length > 0 && at === text?.length && used === calls.length) return out
  // A turn that was changed, or that another model wrote.
  const thoughtSignature = model >= 300 ? unsigned : undefined
  return [
    ...parts(message.content),
    ...calls.map((functionCall, i) => i === 0 ? { functionCall, thoughtSignature } : { functionCall })
  ]
}

const turns = ({ messages }: LanguageModel.Request, model: number): ReadonlyArray<Turn> => {
  const out: Array<Turn> = []
  for (const [at, message] of messages.entries()) {
    if (message.role === "system") continue
    const role = message.role === "assistant" ? "model" : "user"
    const said = message.role === "assistant"
      ? assistant(message, model)
      : message.role === "tool"
      ? functionResponse(messages, at)
      : parts(message.content)
    const last = out.at(-1)
    // All results of one turn belong into one turn.
    if (last?.role === role) last.parts.push(...said)
    else if (said.length > 0) out.push({ role, parts: [...said] })
  }
  return out
}

const callingConfig = (choice: NonNullable<LanguageModel.Request["toolChoice"]>): unknown =>
  typeof choice === "string"
    ? { mode: choice === "required" ? "ANY" : choice.toUpperCase() }
    : { mode: "ANY", allowedFunctionNames: [choice.name] }

/**
 * The body of a request, as JSON text. Extensions win over what the settings
 * say, those inside `generationConfig` too, but cannot change the messages.
 * Their tools are added to those of the request.
 */
export const encode = (request: LanguageModel.Request, options: { readonly model: string }): string => {
  const settings = request.settings ?? {}
  const model = version(options.model)
  const { generationConfig, tools: more, ...extensions } = settings.extensions ?? {}
  const { responseFormat, toolChoice, tools } = request
  const system = request.messages.flatMap((message) => message.role === "system" ? parts(message.content) : [])
  // Before Gemini 3 an answer is held to a form or may call tools, not both.
  const format = model < 300 && tools !== undefined ? undefined : responseFormat
  const declared = [
    ...(tools === undefined ? [] : [{
      functionDeclarations: tools.map((tool) => ({
        name: tool.name,
        description: tool.description,
        parametersJsonSchema: tool.parameters
      }))
    }]),
    ...(Array.isArray(more) ? more : [])
  ]
  const config = {
    temperature: settings.temperature,
    topP: settings.topP,
    maxOutputTokens: settings.maxTokens,
    stopSequences: settings.stop,
    seed: settings.seed,
    candidateCount: settings.n,
    responseLogprobs: settings.logprobs === undefined ? undefined : true,
    logprobs: settings.logprobs === 0 ? undefined : settings.logprobs,
    responseMimeType: format === undefined ? undefined : "application/json",
    responseJsonSchema: format?._tag === "JsonSchema" ? format.schema : undefined,
    thinkingConfig: thinkingConfig(settings.reasoningEffort, model),
    ...(isObject(generationConfig) ? generationConfig : undefined)
  }
  return JSON.stringify({
    tools: declared.length === 0 ? undefined : declared,
    toolConfig: toolChoice === undefined ? undefined : { functionCallingConfig: callingConfig(toolChoice) },
    ...extensions,
    generationConfig: Object.values(config).some((value) => value !== undefined) ? config : undefined,
    systemInstruction: system.length === 0 ? undefined : { parts: system },
    contents: turns(request, model)
  })
}

// =============================================================================
// Frames
// =============================================================================

interface Frame {
  readonly candidates?: unknown
  readonly promptFeedback?: unknown
  readonly usageMetadata?: unknown
  readonly modelVersion?: unknown
  readonly responseId?: unknown
}
interface Candidate {
  readonly index?: unknown
  readonly content?: unknown
  readonly finishReason?: unknown
  readonly finishMessage?: unknown
  readonly citationMetadata?: unknown
  readonly groundingMetadata?: unknown
  readonly logprobsResult?: unknown
}
interface WirePart {
  readonly text?: unknown
  readonly thought?: unknown
  readonly thoughtSignature?: unknown
  readonly functionCall?: unknown
}
interface WireUsage {
  readonly promptTokenCount?: unknown
  readonly cachedContentTokenCount?: unknown
  readonly candidatesTokenCount?: unknown
  readonly thoughtsTokenCount?: unknown
  readonly toolUsePromptTokenCount?: unknown
}

const finishReasons: { readonly [reason: string]: LanguageModel.FinishReason } = {
  STOP: "stop",
  MAX_TOKENS: "length",
  SAFETY: "contentFilter",
  RECITATION: "contentFilter",
  BLOCKLIST: "contentFilter",
  PROHIBITED_CONTENT: "contentFilter",
  SPII: "contentFilter",
  IMAGE_SAFETY: "contentFilter",
  IMAGE_PROHIBITED_CONTENT: "contentFilter",
  IMAGE_RECITATION: "contentFilter"
}

// The model wrote something that the server itself could not use; there is no answer.
const failures: ReadonlySet<string> = new Set([
  "MALFORMED_FUNCTION_CALL",
  "UNEXPECTED_TOOL_CALL",
  "TOO_MANY_TOOL_CALLS"
])

interface OutputState {
  text: string
  calls: number
  finish: string | undefined
  /** What a turn that repeats this output is made of, where text and calls are named only by length and order. */
  readonly layout: Array<Json.JsonRecord>
  readonly citations: Map<string, object>
  grounding: object | undefined
}

const maxCandidates = 128
const maxParts = 65_536

/**
 * Reads responses, one after the other, into deltas.
 */
export class Reader implements answer.Reader {
  error: fault.ServerError | undefined
  // There is no marker but the end of the body, and a reason to stop in it.
  readonly done = false
  #model: string
  #responseId: string | undefined
  #usage: LanguageModel.Usage = {}
  readonly #wanted: number
  readonly #outputs = new Map<number, OutputState>()

  /** `model`: the one asked for; `outputs`: how many of them. */
  constructor(model: string, outputs: number) {
    this.#model = model
    this.#wanted = outputs
  }

  get partial(): string {
    return this.#outputs.get(0)?.text ?? ""
  }

  get started(): boolean {
    return this.#outputs.size > 0
  }

  get finished(): boolean {
    let finished = 0
    for (const output of this.#outputs.values()) if (output.finish !== undefined) finished++
    return finished >= this.#wanted
  }

  read(frame: Frame, whole: boolean, out: Array<LanguageModel.Delta>): answer.Malformed | undefined {
    if (isText(frame.modelVersion)) this.#model = frame.modelVersion
    if (isText(frame.responseId)) this.#responseId = frame.responseId
    if (isObject(frame.usageMetadata)) this.#count(frame.usageMetadata)
    const { candidates } = frame
    if (candidates === undefined || candidates === null || (Array.isArray(candidates) && candidates.length === 0)) {
      if (isObject(frame.promptFeedback)) {
        const { blockReason, blockReasonMessage }: {
          readonly blockReason?: unknown
          readonly blockReasonMessage?: unknown
        } = frame.promptFeedback
        if (isText(blockReason)) {
          const message = isText(blockReasonMessage) ? `: ${blockReasonMessage}` : ""
          this.error = { code: "content_filter", message: `the prompt was blocked as ${blockReason}${message}` }
        }
      }
      return whole && this.error === undefined ? "it has no `candidates`" : undefined
    }
    if (!Array.isArray(candidates)) return "`candidates` is not an array"
    if (candidates.length > maxCandidates) return `it has more than ${maxCandidates} candidates`
    for (const [position, candidate] of candidates.entries()) {
      if (!isObject(candidate)) return "a candidate is not an object"
      const malformed = this.#candidate(candidate, position, out)
      if (malformed !== undefined || this.error !== undefined) return malformed
    }
    return undefined
  }

  end(requestId: string | undefined, out: Array<LanguageModel.Delta>): boolean {
    const explained = this.finished
    for (const [index, output] of this.#outputs) {
      for (const citation of citations(output)) out.push({ _tag: "CitationDelta", index, citation })
      if (output.layout.some((part) => !isPlain(part))) {
        out.push({ _tag: "ContinuationDelta", index, continuation: continuation.make("gemini", output.layout) })
      }
      const reason = finishReasons[output.finish ?? ""] ?? "unknown"
      out.push({ _tag: "Finish", index, reason: reason === "stop" && output.calls > 0 ? "toolCalls" : reason })
    }
    const id = requestId ?? this.#responseId
    out.push({
      _tag: "Completed",
      usage: this.#usage,
      model: this.#model,
      ...(id === undefined ? undefined : { requestId: id })
    })
    return explained
  }

  // What was thought is not part of `candidatesTokenCount`, nor what tools of the server said of
  // `promptTokenCount`. Each frame has the totals so far.
  #count(usage: WireUsage): void {
    const input = count(usage.promptTokenCount)
    const output = count(usage.candidatesTokenCount)
    const thoughts = count(usage.thoughtsTokenCount)
    const cached = count(usage.cachedContentTokenCount)
    this.#usage = {
      ...this.#usage,
      ...(input === undefined ? undefined : { inputTokens: input + (count(usage.toolUsePromptTokenCount) ?? 0) }),
      ...(output === undefined && thoughts === undefined
        ? undefined
        : { outputTokens: (output ?? 0) + (thoughts ?? 0) }),
      ...(cached === undefined ? undefined : { cachedInputTokens: cached }),
      ...(thoughts === undefined ? undefined : { reasoningTokens: thoughts })
    }
  }

  #output(index: number): OutputState {
    let output = this.#outputs.get(index)
    if (output === undefined) {
      output = { text: "", calls: 0, finish: undefined, layout: [], citations: new Map(), grounding: undefined }
      this.#outputs.set(index, output)
    }
    return output
  }

  #candidate(
    candidate: Candidate,
    position: number,
    out: Array<LanguageModel.Delta>
  ): answer.Malformed | undefined {
    // The first one has no index, as zeros are left out.
    const index = candidate.index ?? position
    if (typeof index !== "number" || !(Number.isInteger(index) && index >= 0 && index < maxCandidates)) {
      return "the index of a candidate is out of range"
    }
    const output = this.#output(index)
    if (isObject(candidate.content)) {
      const { parts }: { readonly parts?: unknown } = candidate.content
      if (parts !== undefined && parts !== null && !Array.isArray(parts)) return "`parts` is not an array"
      for (const part of Array.isArray(parts) ? parts : []) {
        if (!isObject(part)) return "a part is not an object"
        const malformed = this.#part(part, index, output, out)
        if (malformed !== undefined) return malformed
      }
    }
    const logprobs = readLogprobs(candidate.logprobsResult)
    if (logprobs !== undefined) out.push({ _tag: "TextDelta", index, text: "", logprobs })
    if (isObject(candidate.citationMetadata)) {
      const { citations, citationSources }: { readonly citations?: unknown; readonly citationSources?: unknown } =
        candidate.citationMetadata
      for (const source of [citationSources ?? citations].flat()) {
        const known = record(source)
        if (known !== undefined) output.citations.set(JSON.stringify(known), known)
      }
    }
    if (isObject(candidate.groundingMetadata)) output.grounding = candidate.groundingMetadata
    // The first of the enumeration is how some write that there is none yet.
    if (isText(candidate.finishReason) && candidate.finishReason !== "FINISH_REASON_UNSPECIFIED") {
      output.finish = candidate.finishReason
      if (failures.has(candidate.finishReason)) {
        this.error = {
          code: candidate.finishReason,
          message: isText(candidate.finishMessage)
            ? candidate.finishMessage
            : "the model called a tool in a way that cannot be read"
        }
      }
    }
    return undefined
  }

  #part(
    part: WirePart,
    index: number,
    output: OutputState,
    out: Array<LanguageModel.Delta>
  ): answer.Malformed | undefined {
    const { functionCall, text, thoughtSignature } = part
    if (text !== undefined && typeof text !== "string") return "the text of a part is none"
    const signed = isText(thoughtSignature) ? { thoughtSignature } : undefined
    if (part.thought === true && text !== undefined) {
      if (text !== "") out.push({ _tag: "ReasoningDelta", index, text })
      // A summary of thoughts is for the reader; only what is signed is for the model.
      return signed === undefined ? undefined : this.#keep(output, { text, thought: true, ...signed })
    }
    if (text !== undefined) {
      if (text !== "") {
        output.text += text
        out.push({ _tag: "TextDelta", index, text })
      }
      const last = output.layout.at(-1)
      if (signed === undefined && last !== undefined && isPlain(last) && typeof last["length"] === "number") {
        output.layout[output.layout.length - 1] = { length: last["length"] + text.length }
        return undefined
      }
      return text === "" && signed === undefined ? undefined : this.#keep(output, { length: text.length, ...signed })
    }
    if (isObject(functionCall)) {
      const { args, id, name }: { readonly args?: unknown; readonly id?: unknown; readonly name?: unknown } =
        functionCall
      if (!isText(name)) return "a function call has no name"
      const known = record(args ?? {})
      if (known === undefined) return "the arguments of a function call are no object, or nested too deeply"
      const call = output.calls++
      out.push({
        _tag: "ToolCallDelta",
        index,
        call,
        id: isText(id) ? id : `call_${call}`,
        name,
        arguments: JSON.stringify(known)
      })
      return this.#keep(output, { call: true, ...signed })
    }
    // Code that the server ran, images, and what is yet to be invented.
    const other = record(part)
    return other === undefined
      ? "a part is nested too deeply"
      : Object.keys(other).length === 0
      ? undefined
      : this.#keep(output, other)
  }

  #keep(output: OutputState, part: Json.JsonRecord): answer.Malformed | undefined {
    if (output.layout.length >= maxParts) return `it has more than ${maxParts} parts`
    output.layout.push(part)
    return undefined
  }
}

// Text and calls without a signature are in the output as they are.
const isPlain = (part: Json.JsonRecord): boolean =>
  !("thoughtSignature" in part) && (typeof part["length"] === "number" || part["call"] === true)

const readLogprob = (u: unknown): { readonly token: string; readonly logprob: number } | undefined => {
  if (!isObject(u)) return undefined
  const { logProbability, token }: { readonly logProbability?: unknown; readonly token?: unknown } = u
  return typeof token === "string" && typeof logProbability === "number"
    ? { token, logprob: logProbability }
    : undefined
}

const readLogprobs = (u: unknown): ReadonlyArray<LanguageModel.TokenLogprob> | undefined => {
  if (!isObject(u)) return undefined
  const { chosenCandidates, topCandidates }: { readonly chosenCandidates?: unknown; readonly topCandidates?: unknown } =
    u
  if (!Array.isArray(chosenCandidates)) return undefined
  const tokens = chosenCandidates.flatMap((chosen: unknown, at) => {
    const token = readLogprob(chosen)
    if (token === undefined) return []
    const others: { readonly candidates?: unknown } = Array.isArray(topCandidates) && isObject(topCandidates[at])
      ? topCandidates[at]
      : {}
    return Array.isArray(others.candidates) && others.candidates.length > 0
      ? [{ ...token, top: others.candidates.flatMap((other: unknown) => readLogprob(other) ?? []) }]
      : [token]
  })
  return tokens.length === 0 ? undefined : tokens
}

// =============================================================================
// Citations
// =============================================================================

interface Grounding {
  readonly groundingChunks?: unknown
  readonly groundingSupports?: unknown
}
interface Support {
  readonly segment?: unknown
  readonly groundingChunkIndices?: unknown
}
interface Segment {
  readonly startIndex?: unknown
  readonly endIndex?: unknown
  readonly text?: unknown
}
interface Chunk {
  readonly web?: unknown
  readonly retrievedContext?: unknown
  readonly maps?: unknown
}
interface Source {
  readonly uri?: unknown
  readonly title?: unknown
  readonly text?: unknown
}

const citations = (output: OutputState): ReadonlyArray<LanguageModel.Citation> => {
  if (output.citations.size === 0 && output.grounding === undefined) return []
  const place = placer(output.text)
  const quoted = Array.from(output.citations.values(), (source: Segment & Source) => ({
    ...place(source),
    ...sourceOf({ uri: source.uri, title: source.title })
  }))
  const { groundingChunks, groundingSupports }: Grounding = output.grounding ?? {}
  const chunks: ReadonlyArray<unknown> = Array.isArray(groundingChunks) ? groundingChunks : []
  const supports: ReadonlyArray<unknown> = Array.isArray(groundingSupports) ? groundingSupports : []
  const grounded = supports.flatMap((support) => {
    if (!isObject(support)) return []
    const { groundingChunkIndices, segment }: Support = support
    return [groundingChunkIndices ?? []].flat().flatMap((at) => {
      const chunk = typeof at === "number" ? chunks[at] : undefined
      if (!isObject(chunk)) return []
      const { maps, retrievedContext, web }: Chunk = chunk
      const source = web ?? retrievedContext ?? maps
      return isObject(source) ? [{ ...(isObject(segment) ? place(segment) : undefined), ...sourceOf(source) }] : []
    })
  })
  return [...quoted, ...grounded]
}

const sourceOf = (source: Source): LanguageModel.Citation => ({
  ...(isText(source.text) ? { quote: source.text } : undefined),
  ...(isText(source.title) ? { title: source.title } : undefined),
  ...(isText(source.uri) ? { url: source.uri } : undefined)
})

// The places of citations are counted in bytes, from 0, which is left out. Where the segment's own
// words stand elsewhere, they are believed.
const placer = (text: string) => {
  const bytes = new TextEncoder().encode(text)
  const decoder = new TextDecoder()
  const units = (offset: number) => decoder.decode(bytes.subarray(0, offset)).length
  return (segment: Segment): Pick<LanguageModel.Citation, "start" | "end"> | undefined => {
    const from = count(segment.startIndex ?? 0)
    const to = count(segment.endIndex)
    const start = from === undefined ? undefined : units(from)
    const end = to === undefined || to > bytes.length ? undefined : units(to)
    if (
      start !== undefined && end !== undefined && (!isText(segment.text) || text.slice(start, end) === segment.text)
    ) {
      return { start, end }
    }
    const found = isText(segment.text) ? text.indexOf(segment.text) : -1
    return isText(segment.text) && found >= 0 ? { start: found, end: found + segment.text.length } : undefined
  }
}
