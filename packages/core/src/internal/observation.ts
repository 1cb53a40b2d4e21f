/**
 * What a tool gives, as a model is told.
 */
import * as Schema from "effect/Schema"
import * as LanguageModel from "../LanguageModel.ts"
import * as printed from "./printed.ts"

export interface Observation {
  readonly text: string
  /** What is no text: images and the like, which `text` names. */
  readonly parts: ReadonlyArray<LanguageModel.Part>
}

/**
 * A text as it is, parts of a message as such, anything else as JSON.
 */
export const of = (value: unknown): Observation => {
  const parts = partsOf(value)
  return parts === undefined ? { text: text(value), parts: [] } : {
    text: parts.map((part) => part._tag === "Text" ? part.text : `(${nouns[part._tag]})`).join("\n"),
    parts: parts.filter((part) => part._tag !== "Text")
  }
}

const nouns = { Image: "an image", Audio: "a sound", File: "a document" }

const isPart = Schema.is(LanguageModel.Part)

const partsOf = (value: unknown): ReadonlyArray<LanguageModel.Part> | undefined =>
  isPart(value)
    ? [value]
    : Array.isArray(value) && value.length > 0 && value.every(isPart)
    ? value
    : undefined

const text = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined ? "done" : printed.json(value)

// What errors with a schema and no fields have for a message.
const noFields = "{  }"

/**
 * A failure in words.
 */
export const failure = (error: unknown): string =>
  !(error instanceof Error)
    ? text(error)
    : error.message === noFields
    ? error.name
    : error.message !== ""
    ? error.message
    : Object.keys(error).length > 0
    ? text({ ...error })
    : error.name
