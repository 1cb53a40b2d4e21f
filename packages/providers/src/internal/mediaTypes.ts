/**
 * The media types that an API takes in a request.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { inline } from "./wire.ts"

/**
 * By the kind of part. Where nothing is said, it is for the server to say.
 */
export type MediaTypes = { readonly [Tag in Exclude<LanguageModel.Part["_tag"], "Text">]?: ReadonlyArray<string> }

/** The names that parts of a message have in errors. */
export const named = { Text: "a text", Image: "an image", Audio: "sound", File: "a document" }

/**
 * Why the parts of some messages are not sent, and what to do.
 */
export const refusal = (
  messages: ReadonlyArray<LanguageModel.Message>,
  accepted: MediaTypes
): string | undefined => {
  for (const { content } of messages) {
    for (const part of typeof content === "string" ? [] : content) {
      if (part._tag === "Text") continue
      const types = accepted[part._tag]
      const mediaType = inline(part.url)?.mediaType
      if (types !== undefined && mediaType !== undefined && !types.includes(mediaType)) {
        return `the API takes no ${mediaType.slice(0, 40)} as ${named[part._tag]}; convert it to ${types.join(" or ")}`
      }
    }
  }
  return undefined
}
