/**
 * The JSON Schema of an answer, in the part of the language that every strict
 * implementation of structured output takes.
 */
import * as JSONSchema from "effect/JSONSchema"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { JsonRecord } from "../Json.ts"
import * as Json from "../Json.ts"
import type * as Signature from "../Signature.ts"

const schemas = new WeakMap<Signature.Any, { readonly schema: JsonRecord | undefined }>()

/**
 * The schema of the outputs: all keys required, no others allowed, absent
 * values written as null. Undefined where that part of the language is not
 * enough, as for records with free keys.
 */
export const of = (signature: Signature.Any): JsonRecord | undefined => {
  let known = schemas.get(signature)
  if (known === undefined) {
    known = { schema: derive(signature) }
    schemas.set(signature, known)
  }
  return known.schema
}

const derive = (signature: Signature.Any): JsonRecord | undefined => {
  let whole: unknown
  try {
    whole = JSONSchema.make(Schema.make(signature.output.ast))
  } catch {
    // Some schemas have no JSON Schema; there is no other way to ask.
    return undefined
  }
  if (!Json.isJsonRecord(whole)) return undefined
  const definitions = recordAt(whole, "$defs") ?? {}
  const open = new Set<string>()
  const recursive: { [name: string]: JsonRecord } = {}
  const recursiveNames = new Set<string>()

  const reference = (name: string): JsonRecord | undefined => {
    const $ref = `#/$defs/${name}`
    if (open.has(name)) {
      recursiveNames.add(name)
      return { $ref }
    }
    if (Object.hasOwn(recursive, name)) return { $ref }
    open.add(name)
    const schema = strict(definitions[name])
    open.delete(name)
    if (schema === undefined || !recursiveNames.has(name)) return schema
    recursive[name] = schema
    return { $ref }
  }

  const strict = (node: unknown): JsonRecord | undefined => {
    if (!Json.isJsonRecord(node)) return undefined
    const description = Predicate.isString(node["description"]) ? { description: node["description"] } : {}
    const ref = node["$ref"]
    if (Predicate.isString(ref)) return reference(decodeURIComponent(ref.slice("#/$defs/".length)))
    if (Array.isArray(node["anyOf"])) {
      const anyOf = all(node["anyOf"])
      return anyOf === undefined || "$id" in node ? undefined : { anyOf, ...description }
    }
    if (Array.isArray(node["enum"])) return { type: node["type"] ?? "string", enum: node["enum"], ...description }
    switch (node["type"]) {
      case "string":
      case "number":
      case "integer":
      case "boolean":
      case "null":
        return { type: node["type"], ...description }
      case "array": {
        const items = strict(node["items"])
        return items === undefined ? undefined : { type: "array", items, ...description }
      }
      case "object": {
        const properties = recordAt(node, "properties")
        if (properties === undefined || node["additionalProperties"] !== false || "patternProperties" in node) {
          return undefined
        }
        const required = Array.isArray(node["required"]) ? node["required"] : []
        const members: { [key: string]: Json.Json } = {}
        for (const [key, property] of Object.entries(properties)) {
          const schema = strict(property)
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
        return undefined
    }
  }

  const all = (nodes: ReadonlyArray<Json.Json>): ReadonlyArray<JsonRecord> | undefined => {
    const schemas = nodes.map(strict)
    return schemas.every(Predicate.isNotUndefined) ? schemas : undefined
  }

  const schema = strict(whole)
  if (schema === undefined) return undefined
  return Object.keys(recursive).length === 0 ? schema : { ...schema, $defs: recursive }
}

const recordAt = (record: JsonRecord, key: string): JsonRecord | undefined => {
  const value = record[key]
  return Json.isJsonRecord(value) ? value : undefined
}

const orNull = (schema: JsonRecord): JsonRecord => {
  const anyOf = Array.isArray(schema["anyOf"]) ? schema["anyOf"] : [schema]
  return anyOf.some((member) => Predicate.isRecord(member) && member["type"] === "null")
    ? schema
    : { anyOf: [...anyOf, { type: "null" }] }
}
