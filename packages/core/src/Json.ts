/**
 * Plain JSON values: what demonstrations, traces, journals and saved programs
 * hold, and the canonical form by which they are compared and addressed.
 *
 * @since 0.1.0
 */
import { sha256 } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

/**
 * Any JSON value.
 *
 * @since 0.1.0
 * @category models
 */
export type Json = string | number | boolean | null | ReadonlyArray<Json> | JsonRecord

/**
 * A JSON object.
 *
 * @since 0.1.0
 * @category models
 */
export interface JsonRecord {
  readonly [key: string]: Json
}

/**
 * Whether a value survives `JSON.stringify` unchanged: finite numbers, strings,
 * booleans, `null`, arrays and plain objects of these, at most 1,000 inside of
 * one another. What contains itself is none.
 *
 * @since 0.1.0
 * @category guards
 */
export const isJson = (u: unknown): u is Json => isWithin(u, 1000)

const isWithin = (u: unknown, levels: number): boolean => {
  switch (typeof u) {
    case "string":
    case "boolean":
      return true
    case "number":
      return Number.isFinite(u)
    case "object": {
      if (u === null) return true
      const members = Array.isArray(u) ? u : isPlain(u) ? Object.values(u) : undefined
      return members !== undefined && levels > 0 && members.every((member) => isWithin(member, levels - 1))
    }
    default:
      return false
  }
}

const isPlain = (u: object): boolean => {
  const proto: unknown = Object.getPrototypeOf(u)
  return proto === Object.prototype || proto === null
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isJsonRecord = (u: unknown): u is JsonRecord => Predicate.isRecord(u) && isPlain(u) && isJson(u)

// Generated values as a file would hold them: no -0, no exotic prototypes.
const throughText = <A extends Json>(value: unknown): A => JSON.parse(JSON.stringify(value))

/**
 * A schema for any JSON value.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Json: Schema.Schema<Json> = Schema.declare(isJson, {
  identifier: "Json",
  description: "a JSON value",
  // Any type there is: without one `JSONSchema.make` takes the annotation for none, and refuses.
  jsonSchema: { type: ["string", "number", "boolean", "null", "array", "object"] },
  arbitrary: () => (fc) => fc.jsonValue().map(throughText<Json>)
})

/**
 * A schema for a JSON object.
 *
 * @since 0.1.0
 * @category schemas
 */
export const JsonRecord: Schema.Schema<JsonRecord> = Schema.declare(isJsonRecord, {
  identifier: "JsonRecord",
  description: "a JSON object",
  jsonSchema: { type: "object" },
  arbitrary: () => (fc) => fc.dictionary(fc.string(), fc.jsonValue()).map(throughText<JsonRecord>)
})

/**
 * JSON text with object keys sorted at every level, so that equal values have
 * equal texts. Keys whose value is `undefined` are left out. What is not JSON
 * is written as its own `toJSON` says, as dates are; a bigint as its digits; a
 * set or a map as the list of its members, whatever their order.
 *
 * @example
 * ```ts
 * import * as Json from "@effect-dspy/core/Json"
 *
 * assert.strictEqual(Json.canonical({ b: [1, 2], a: null }), `{"a":null,"b":[1,2]}`)
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const canonical = (value: unknown): string => {
  if (typeof value === "object" && value !== null) {
    if (Array.isArray(value)) return `[${value.map((item) => canonical(item ?? null)).join(",")}]`
    if (value instanceof Map || value instanceof Set) return `[${Array.from(value, canonical).sort().join(",")}]`
    const record = value as { readonly [key: string]: unknown } // any non-null object can be read by key
    if (typeof record["toJSON"] === "function") return canonical(record["toJSON"]())
    const parts: Array<string> = []
    for (const key of Object.keys(record).sort()) {
      const item = record[key]
      if (item !== undefined) parts.push(`${JSON.stringify(key)}:${canonical(item)}`)
    }
    return `{${parts.join(",")}}`
  }
  return typeof value === "bigint" ? String(value) : JSON.stringify(value) ?? "null"
}

/**
 * The SHA-256 of the canonical text, as 64 hexadecimal digits.
 *
 * @example
 * ```ts
 * import * as Json from "@effect-dspy/core/Json"
 *
 * assert.strictEqual(Json.hash({ a: 1, b: 2 }), Json.hash({ b: 2, a: 1 }))
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const hash = (value: unknown): string => bytesToHex(sha256(utf8ToBytes(canonical(value))))
