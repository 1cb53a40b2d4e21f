/**
 * How many tokens a request may take, without a tokenizer.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"

// What a chat template writes around a turn, and the largest that providers make of one image, and of a recording
// or a document.
const perMessage = 8
const perImage = 5000
const perFile = 500_000

const media = ({ _tag, url }: Exclude<LanguageModel.Part, { readonly _tag: "Text" }>): number =>
  _tag === "Image"
    ? perImage
    // A second of sound, or a page, is fewer tokens than it takes bytes.
    : url.startsWith("data:")
    ? Math.min(perFile, Math.max(perImage, url.length))
    : perFile

// No tokenizer makes more than one token of a byte.
const bytes = (text: string): number => {
  let size = text.length
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    // Half of a surrogate pair: two of them are four bytes.
    if (code >= 0x80) size += code < 0x800 || (code >= 0xd800 && code < 0xe000) ? 1 : 2
  }
  return size
}

const json = (value: unknown): number => value === undefined ? 0 : bytes(JSON.stringify(value))

/** More tokens than the prompt can have. */
export const inputBound = ({ messages, responseFormat, tools }: LanguageModel.Request): number => {
  let bound = perMessage + json(tools) + json(responseFormat)
  for (const { content, toolCalls } of messages) {
    bound += perMessage + json(toolCalls)
    if (typeof content === "string") bound += bytes(content)
    else for (const part of content) bound += part._tag === "Text" ? bytes(part.text) : media(part)
  }
  return bound
}
