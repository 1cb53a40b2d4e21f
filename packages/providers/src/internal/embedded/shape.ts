/**
 * What values a field can have, as far as a prompt says it: read from a type
 * spelled as in TypeScript, or from a JSON Schema.
 */
import type { Json } from "@effect-dspy/core/Json"
import * as Predicate from "effect/Predicate"

export type Scalar = string | number | boolean | null

/**
 * `min` and `max` bound the value of a number, the length of a text, the
 * number of items of a list.
 */
export type Shape =
  | { readonly _tag: "Text"; readonly max?: number | undefined }
  | {
    readonly _tag: "Number"
    readonly integer: boolean
    readonly min?: number | undefined
    readonly max?: number | undefined
  }
  | { readonly _tag: "Choice"; readonly values: ReadonlyArray<Scalar> }
  | {
    readonly _tag: "List"
    readonly item: Shape
    readonly min?: number | undefined
    readonly max?: number | undefined
  }
  | { readonly _tag: "Tuple"; readonly items: ReadonlyArray<Shape> }
  | { readonly _tag: "Record"; readonly members: ReadonlyArray<Member> }
  | { readonly _tag: "Nullable"; readonly value: Shape }

export interface Member {
  readonly name: string
  readonly shape: Shape
  readonly optional: boolean
  readonly description: string
}

export const text: Shape = { _tag: "Text" }

// False first: without evidence nothing is claimed.
const boolean: Shape = { _tag: "Choice", values: [false, true] }

const union = (parts: ReadonlyArray<Shape>): Shape => {
  const [first = text, ...others] = parts
  if (others.length === 0) return first
  const values = parts.flatMap((part) => part._tag === "Choice" ? part.values : [])
  const open = parts.filter((part) => part._tag !== "Choice")
  if (open.length === 0) return { _tag: "Choice", values: Array.from(new Set(values)) }
  // Of several open types one is enough: any value of it is a value of the union.
  const [value = text] = open
  return values.includes(null) ? { _tag: "Nullable", value } : value
}

// -----------------------------------------------------------------------------
// Types in words
// -----------------------------------------------------------------------------

const token =
  /\s*(?:("(?:[^"\\]|\\.)*")|(-?\d+(?:\.\d+)?n?)|((?:[\p{L}_$][\p{L}\p{N}_$]*)|\.\.\.|\[\]|[{}()[\]<>|&,;:?]))/uy

const tokens = (source: string): ReadonlyArray<string> | undefined => {
  const found: Array<string> = []
  const end = source.trimEnd().length
  token.lastIndex = 0
  while (token.lastIndex < end) {
    const match = token.exec(source)
    if (match === null) return undefined
    found.push(match[1] ?? match[2] ?? match[3] ?? "")
  }
  return found
}

class TypeReader {
  readonly #tokens: ReadonlyArray<string>
  #at = 0

  constructor(tokens: ReadonlyArray<string>) {
    this.#tokens = tokens
  }

  union(): Shape {
    this.#skip("|")
    const parts = [this.#intersection()]
    while (this.#skip("|")) parts.push(this.#intersection())
    return union(parts)
  }

  #intersection(): Shape {
    const parts = [this.#postfix()]
    while (this.#skip("&")) parts.push(this.#postfix())
    const members = parts.flatMap((part) => part._tag === "Record" ? part.members : [])
    return parts.length > 1 && members.length > 0 ? { _tag: "Record", members } : parts[0] ?? text
  }

  #postfix(): Shape {
    let shape = this.#primary()
    while (this.#skip("[]")) shape = { _tag: "List", item: shape }
    return shape
  }

  #primary(): Shape {
    const token = this.#tokens[this.#at++] ?? ""
    if (token === "(") {
      const inner = this.union()
      this.#skip(")")
      return inner
    }
    if (token === "{") return { _tag: "Record", members: this.#members() }
    if (token === "[") return this.#tuple()
    if (token.startsWith("\"")) return { _tag: "Choice", values: [String(JSON.parse(token))] }
    if (/^-?\d/.test(token)) return { _tag: "Choice", values: [Number.parseFloat(token)] }
    const argument = this.#skip("<") ? this.#arguments() : []
    switch (token) {
      case "boolean":
        return boolean
      case "true":
      case "false":
        return { _tag: "Choice", values: [token === "true"] }
      case "null":
      case "undefined":
        return { _tag: "Choice", values: [null] }
      case "number":
        return { _tag: "Number", integer: false }
      case "integer":
      case "bigint":
        return { _tag: "Number", integer: true }
      case "Array":
      case "ReadonlyArray":
        return { _tag: "List", item: argument[0] ?? text }
      case "object":
      case "Record":
        return { _tag: "Record", members: [] }
      default:
        return text
    }
  }

  #arguments(): ReadonlyArray<Shape> {
    const found: Array<Shape> = []
    while (this.#at < this.#tokens.length && !this.#skip(">")) {
      found.push(this.union())
      this.#skip(",")
    }
    return found
  }

  #tuple(): Shape {
    const items: Array<Shape> = []
    let rest: Shape | undefined
    while (this.#at < this.#tokens.length && !this.#skip("]")) {
      if (this.#skip("...")) rest = this.union()
      else items.push(this.union())
      this.#skip("?")
      this.#skip(",")
    }
    return rest === undefined || items.length > 0 ? { _tag: "Tuple", items } : rest
  }

  #members(): ReadonlyArray<Member> {
    const members: Array<Member> = []
    while (this.#at < this.#tokens.length && !this.#skip("}")) {
      const key = this.#tokens[this.#at++] ?? ""
      const optional = this.#skip("?")
      this.#skip(":")
      const shape = this.union()
      members.push({ name: key.startsWith("\"") ? String(JSON.parse(key)) : key, shape, optional, description: "" })
      if (!this.#skip(",")) this.#skip(";")
    }
    return members
  }

  #skip(token: string): boolean {
    if (this.#tokens[this.#at] !== token) return false
    this.#at++
    return true
  }
}

/**
 * `"a" | "b"`, `integer`, `{ name: string, tags: string[] }`. What is not
 * understood is text.
 */
export const fromType = (source: string): Shape => {
  const found = tokens(source)
  return found === undefined || found.length === 0 ? text : new TypeReader(found).union()
}

/**
 * Bounds that the prompt states in words beside a type.
 */
export const bounded = (shape: Shape, constraints: string): Shape => {
  if (constraints === "") return shape
  const amount = (pattern: RegExp): number | undefined => {
    const found = pattern.exec(constraints)?.[1]
    return found === undefined ? undefined : Number(found)
  }
  const n = "(-?\\d+(?:\\.\\d+)?)"
  switch (shape._tag) {
    case "Number":
      return {
        ...shape,
        min: amount(new RegExp(`(?:between|at least|greater than) ${n}`)),
        max: amount(new RegExp(`(?:between ${n.replace("(", "(?:")} and|at most|less than) ${n}`))
      }
    case "Text":
      return { ...shape, max: amount(/(?:at most|exactly|\d+ to) (\d+) characters?/) }
    case "List":
      return {
        ...shape,
        min: amount(/(?:at least|exactly) (\d+) items?/) ?? amount(/(\d+) to \d+ items/),
        max: amount(/(?:at most|exactly|\d+ to) (\d+) items?/)
      }
    case "Nullable":
      return { ...shape, value: bounded(shape.value, constraints) }
    default:
      return shape
  }
}

// -----------------------------------------------------------------------------
// JSON Schema
// -----------------------------------------------------------------------------

type Schema = { readonly [key: string]: unknown }

// Enough for real nesting, and an end for schemas that contain themselves.
const maxDepth = 8

const fromJsonSchema = (schema: Schema): Shape => readSchema(schema, schema, 0)

/**
 * The properties of an object schema, or `undefined` for any other.
 */
export const membersOf = (schema: Schema): ReadonlyArray<Member> | undefined => {
  const shape = fromJsonSchema(schema)
  return shape._tag === "Record" && shape.members.length > 0 ? shape.members : undefined
}

const readSchema = (schema: unknown, root: Schema, depth: number): Shape => {
  if (!Predicate.isRecord(schema) || depth > maxDepth) return text
  const nested = (inner: unknown) => readSchema(inner, root, depth + 1)
  const number = (key: string) => typeof schema[key] === "number" ? schema[key] : undefined
  const reference = schema["$ref"]
  if (typeof reference === "string") return nested(resolve(reference, root))
  if (Array.isArray(schema["enum"])) return { _tag: "Choice", values: schema["enum"].filter(isScalar) }
  if (isScalar(schema["const"])) return { _tag: "Choice", values: [schema["const"]] }
  const alternatives = schema["anyOf"] ?? schema["oneOf"]
  if (Array.isArray(alternatives)) return union(alternatives.map(nested))
  if (Array.isArray(schema["allOf"])) return nested(schema["allOf"][0])
  const type = schema["type"]
  if (Array.isArray(type)) return union(type.map((type) => nested({ ...schema, type })))
  switch (type) {
    case "boolean":
      return boolean
    case "null":
      return { _tag: "Choice", values: [null] }
    case "number":
    case "integer":
      return {
        _tag: "Number",
        integer: type === "integer",
        min: number("minimum") ?? number("exclusiveMinimum"),
        max: number("maximum") ?? number("exclusiveMaximum")
      }
    case "array":
      return Array.isArray(schema["prefixItems"])
        ? { _tag: "Tuple", items: schema["prefixItems"].map(nested) }
        : Array.isArray(schema["items"])
        ? { _tag: "Tuple", items: schema["items"].map(nested) }
        : { _tag: "List", item: nested(schema["items"]), min: number("minItems"), max: number("maxItems") }
    case "object": {
      const properties = Predicate.isRecord(schema["properties"]) ? schema["properties"] : {}
      const required = Array.isArray(schema["required"]) ? schema["required"] : []
      return {
        _tag: "Record",
        members: Object.entries(properties).map(([name, property]) => ({
          name,
          shape: nested(property),
          optional: !required.includes(name),
          description: Predicate.isRecord(property) && typeof property["description"] === "string"
            ? property["description"]
            : ""
        }))
      }
    }
    default:
      return { _tag: "Text", max: number("maxLength") }
  }
}

const isScalar = (u: unknown): u is Scalar =>
  u === null || typeof u === "string" || typeof u === "number" || typeof u === "boolean"

const resolve = (reference: string, root: Schema): unknown =>
  reference.replace(/^#\/?/, "").split("/").reduce<unknown>(
    (at, key) =>
      key === "" ? at : Predicate.isRecord(at) ? at[key.replaceAll("~1", "/").replaceAll("~0", "~")] : undefined,
    root
  )

/**
 * Reads a value as the prompt writes it: texts as they are, the rest as JSON.
 */
export const read = (shape: Shape, written: string): Json => {
  if (shape._tag === "Text") return written
  if (shape._tag === "Choice") {
    return shape.values.find((value) => String(value) === written.trim()) ?? written.trim()
  }
  return parsed(written) ?? written
}

/**
 * The JSON value of a text, or `undefined` when it is none.
 */
export const parsed = (text: string): Json | undefined => {
  try {
    return JSON.parse(text) as Json // the result of parsing is JSON
  } catch {
    return undefined
  }
}

/**
 * All texts in a JSON value, numbers and booleans spelled out.
 */
export const textsIn = (value: Json): ReadonlyArray<string> => {
  if (value === null) return []
  if (typeof value !== "object") return [String(value)]
  return (Array.isArray(value) ? value : Object.values(value)).flatMap((item: Json) => textsIn(item))
}
