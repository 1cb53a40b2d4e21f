/**
 * An answer of a language model of `@effect/ai` as deltas of ours.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as AiResponse from "@effect/ai/Response"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as continuation from "../continuation.ts"
import * as fault from "../fault.ts"
import { count, record } from "../wire.ts"
import type { Tools } from "./call.ts"

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

/**
 * Reads the parts of one answer, whole or streamed, into deltas.
 */
export class Reader {
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
