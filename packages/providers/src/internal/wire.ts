/**
 * JSON from a server: anything may be missing or of any type, so every field is
 * looked at before use.
 *
 * @since 0.1.0
 */

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
