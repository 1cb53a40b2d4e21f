/**
 * The JSON Schema of an answer, in the part of the language that every strict
 * implementation of structured output takes: `type`, `enum`, `anyOf`,
 * `properties` that are all required and allow no others, `items`, `$ref` for
 * types that contain themselves, and descriptions. What else a schema says is
 * left out, since the answer is decoded by the schema itself.
 */
import * as Either from "effect/Either"
import * as JSONSchema from "effect/JSONSchema"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { JsonRecord } from "../Json.ts"
import * as Json from "../Json.ts"
import type { SchemaLimits } from "../LanguageModel.ts"
import type * as Signature from "../Signature.ts"

interface Derived {
  readonly schema: JsonRecord
  readonly size: Size
}

const schemas = new WeakMap<Signature.Any, Either.Either<Derived, string>>()

/**
 * The schema of the outputs: all keys required, no others allowed, absent
 * values written as null. In words what stands in its way, where that part of
 * the language is not enough, as for records with free keys, or the schema is
 * beyond a limit.
 */
export const of = (signature: Signature.Any, limits: SchemaLimits = {}): Either.Either<JsonRecord, string> => {
  let known = schemas.get(signature)
  if (known === undefined) {
    known = Either.map(derive(signature), (schema) => ({ schema, size: sizeOf(schema) }))
    schemas.set(signature, known)
  }
  return Either.flatMap(known, ({ schema, size }) => {
    const excess = beyond(size, limits)
    return excess === undefined ? Either.right(schema) : Either.left(excess)
  })
}

const derive = (signature: Signature.Any): Either.Either<JsonRecord, string> => {
  let whole: unknown
  try {
    whole = JSONSchema.make(Schema.make(signature.output.ast))
  } catch {
    // Some schemas have no JSON Schema; there is no other way to ask.
    return Either.left("an output has a type that no JSON Schema says")
  }
  if (!Json.isJsonRecord(whole)) return Either.left("the outputs have no JSON Schema")
  const definitions = recordAt(whole, "$defs") ?? {}
  const open = new Set<string>()
  const recursive: { [name: string]: JsonRecord } = {}
  const recursiveNames = new Set<string>()
  let problem: string | undefined

  const refused = (path: string, why: string): undefined => {
    problem ??= `${path === "" ? "the outputs" : `\`${path}\``} ${why}`
    return undefined
  }

  const reference = (name: string, path: string): JsonRecord | undefined => {
    const $ref = `#/$defs/${name}`
    if (open.has(name)) {
      recursiveNames.add(name)
      return { $ref }
    }
    if (Object.hasOwn(recursive, name)) return { $ref }
    open.add(name)
    const schema = strict(definitions[name], path)
    open.delete(name)
    if (schema === undefined || !recursiveNames.has(name)) return schema
    recursive[name] = schema
    return { $ref }
  }

  const strict = (node: unknown, path: string): JsonRecord | undefined => {
    if (!Json.isJsonRecord(node)) return refused(path, "has a type that strict schemas do not have")
    const description = Predicate.isString(node["description"]) ? { description: node["description"] } : {}
    const ref = node["$ref"]
    if (Predicate.isString(ref)) return reference(decodeURIComponent(ref.slice("#/$defs/".length)), path)
    if ("$id" in node) return refused(path, "may be anything")
    if (Array.isArray(node["anyOf"])) {
      const members = all(node["anyOf"], path)
      return members === undefined ? undefined : { ...union(members), ...description }
    }
    const type = node["type"]
    if (Array.isArray(node["enum"])) {
      // Not every provider has an enum of booleans.
      return type === "boolean"
        ? { type, ...description }
        : { type: type ?? "string", enum: node["enum"], ...description }
    }
    switch (type) {
      case "string":
      case "number":
      case "integer":
      case "boolean":
      case "null":
        return { type, ...description }
      case "array": {
        if (Array.isArray(node["items"])) return refused(path, "has items of several types by their place")
        const items = strict(node["items"], `${path}[]`)
        return items === undefined ? undefined : { type: "array", items, ...description }
      }
      case "object": {
        const properties = recordAt(node, "properties")
        if (properties === undefined || node["additionalProperties"] !== false || "patternProperties" in node) {
          return refused(path, "has keys that are not known before")
        }
        const required = Array.isArray(node["required"]) ? node["required"] : []
        const members: { [key: string]: Json.Json } = {}
        for (const [key, property] of Object.entries(properties)) {
          const schema = strict(property, path === "" ? key : `${path}.${key}`)
          if (schema === undefined) return undefined
          members[key] = required.includes(key) ? schema : orNull(schema)
        }
        return {
          type: "object",
          properties: members,
          required: Object.keys(members),
          additionalProperties: false,
          ...description
        }
      }
      default:
        return refused(path, "has a type that strict schemas do not have")
    }
  }

  const all = (nodes: ReadonlyArray<Json.Json>, path: string): ReadonlyArray<JsonRecord> | undefined => {
    const schemas = nodes.map((node) => strict(node, path))
    return schemas.every(Predicate.isNotUndefined) ? schemas : undefined
  }

  const schema = strict(whole, "")
  if (schema === undefined) return Either.left(problem ?? "the outputs have no strict schema")
  return Either.right(Object.keys(recursive).length === 0 ? schema : { ...schema, $defs: recursive })
}

const recordAt = (record: JsonRecord, key: string): JsonRecord | undefined => {
  const value = record[key]
  return Json.isJsonRecord(value) ? value : undefined
}

// Values of one type are one choice: some providers count how often there are several types.
const union = (members: ReadonlyArray<JsonRecord>): JsonRecord => {
  const merged: Array<JsonRecord> = []
  for (const member of members) {
    const same = merged.findIndex((other) =>
      Array.isArray(other["enum"]) && Array.isArray(member["enum"]) && other["type"] === member["type"]
    )
    const other = merged[same]
    if (other === undefined) merged.push(member)
    else merged[same] = { type: other["type"]!, enum: [...values(other), ...values(member)] } // both are enums
  }
  const [only, ...more] = merged
  return only !== undefined && more.length === 0 ? only : { anyOf: merged }
}

const values = (schema: JsonRecord): ReadonlyArray<Json.Json> => {
  const values = schema["enum"]
  return Array.isArray(values) ? values : []
}

const orNull = (schema: JsonRecord): JsonRecord => {
  const anyOf = Array.isArray(schema["anyOf"]) ? schema["anyOf"] : [schema]
  return anyOf.some((member) => Predicate.isRecord(member) && member["type"] === "null")
    ? schema
    : { anyOf: [...anyOf, { type: "null" }] }
}

// -----------------------------------------------------------------------------
// Limits
// -----------------------------------------------------------------------------

type Size = { readonly [Limit in keyof SchemaLimits]-?: number }

const sizeOf = (schema: JsonRecord): Size => {
  const { length } = JSON.stringify(schema)
  const size = { recursive: 0, depth: 0, properties: 0, enumValues: 0, unions: 0, characters: 0, length }
  const definitions = recordAt(schema, "$defs") ?? {}
  const visit = (node: unknown, depth: number): void => {
    if (!Json.isJsonRecord(node)) return
    if (Array.isArray(node["anyOf"])) {
      size.unions++
      node["anyOf"].forEach((member) => visit(member, depth))
    }
    for (const value of values(node)) {
      size.enumValues++
      size.characters += String(value).length
    }
    const properties = recordAt(node, "properties")
    if (properties !== undefined || node["type"] === "array") size.depth = Math.max(size.depth, depth + 1)
    for (const [key, property] of Object.entries(properties ?? {})) {
      size.properties++
      size.characters += key.length
      visit(property, depth + 1)
    }
    visit(node["items"], depth + 1)
  }
  visit(schema, 0)
  for (const [name, definition] of Object.entries(definitions)) {
    size.recursive = 1
    size.characters += name.length
    visit(definition, 0)
  }
  return size
}

const words: { readonly [Limit in Exclude<keyof SchemaLimits, "recursive">]-?: string } = {
  depth: "levels of objects and arrays",
  properties: "keys",
  enumValues: "permitted values",
  unions: "places for several types, among them what may be left out",
  characters: "characters in names and permitted values",
  length: "characters in their schema"
}

const beyond = (size: Size, limits: SchemaLimits): string | undefined => {
  if (limits.recursive === false && size.recursive > 0) {
    return "the outputs contain themselves, which the model's schemas cannot say"
  }
  // Keys of `words` are limits.
  for (const limit of Object.keys(words) as ReadonlyArray<keyof typeof words>) {
    const most = limits[limit]
    if (most !== undefined && size[limit] > most) {
      return `the outputs have ${size[limit]} ${words[limit]}, the model's schemas at most ${most}`
    }
  }
  return undefined
}
