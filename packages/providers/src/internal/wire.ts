/**
 * JSON from a server: anything may be missing or of any type, so every field is
 * looked at before use.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"

/** Whether it is a JSON object: no array, not null. */
export const isObject = (u: unknown): u is object => typeof u === "object" && u !== null && !Array.isArray(u)

/** Whether it is text that says something. */
export const isText = (u: unknown): u is string => typeof u === "string" && u !== ""

/**
 * A number of tokens. One that is none (negative, a string, NaN) is unknown; it
 * never fails the call.
 */
export const count = (u: unknown): number | undefined =>
  typeof u === "number" && Number.isSafeInteger(u) && u >= 0 ? u : undefined

const maxDepth = 64

const isWithin = (u: unknown, depth: number): boolean =>
  typeof u !== "object" || u === null || (depth > 0 && Object.values(u).every((member) => isWithin(member, depth - 1)))

/**
 * A JSON object as data that can be kept and written again; nothing when it is
 * none, or nested so deeply that writing it would exhaust the stack.
 */
export const record = (u: unknown): Json.JsonRecord | undefined =>
  isWithin(u, maxDepth) && Json.isJsonRecord(u) ? u : undefined

/**
 * What a `data:` URI holds, when it is one in base64; its type by the name that
 * services know. Read without an expression: on tens of megabytes one exhausts its
 * stack.
 */
export const inline = (url: string): { readonly mediaType: string; readonly data: string } | undefined => {
  const comma = url.indexOf(",")
  if (!url.startsWith("data:") || comma === -1) return undefined
  const [mediaType = "", ...parameters] = url.slice("data:".length, comma).split(";")
  return parameters.at(-1) === "base64"
    ? {
      mediaType: mediaType === "image/jpg" ? "image/jpeg" : mediaType.replace("/x-", "/"),
      data: url.slice(comma + 1)
    }
    : undefined
}

/**
 * The arguments of a tool call as an object, for those who take no text. Ones
 * that are none are not lost: they are the text under `arguments`.
 */
export const input = (text: string): Json.JsonRecord => {
  try {
    return record(JSON.parse(text === "" ? "{}" : text)) ?? { arguments: text }
  } catch {
    return { arguments: text }
  }
}
