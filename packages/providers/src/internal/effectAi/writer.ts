/**
 * An answer of ours as parts of `@effect/ai`, whole or streamed.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as AiError from "@effect/ai/AiError"
import type * as AiResponse from "@effect/ai/Response"
import * as Tool from "@effect/ai/Tool"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { module } from "./failures.ts"

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

/** A whole answer. */
export const partsOf = (
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

/**
 * Writes the deltas of one answer as parts, which begin and end.
 */
export class Writer {
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
