/**
 * The JSON Schema of a tool's parameters, as every service takes it: an object
 * at the top, definitions in their places, and nothing that says no more to a
 * model than the rest does.
 */
import * as JSONSchema from "effect/JSONSchema"
import * as Predicate from "effect/Predicate"
import type * as Schema from "effect/Schema"
import * as Json from "../Json.ts"

/**
 * Throws a `RangeError` where a parameter has no JSON Schema.
 */
export const of = (tool: string, parameters: Schema.Schema.AnyNoContext): Json.JsonRecord => {
  const whole = derived(tool, parameters)
  const definitions = recordAt(whole, "$defs")
  const open = new Set<string>()
  const recursive = new Map<string, Json.Json>()

  // In its place, unless it contains itself.
  const reference = (name: string): Json.Json => {
    const $ref = `#/$defs/${name}`
    if (open.has(name)) {
      recursive.set(name, true) // what it is, is known further out
      return { $ref }
    }
    if (recursive.has(name)) return { $ref }
    open.add(name)
    const schema = plain(definitions[decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~")] ?? {})
    open.delete(name)
    if (!recursive.has(name)) return schema
    recursive.set(name, schema)
    return { $ref }
  }

  const plain = (node: Json.Json): Json.Json => {
    if (!Json.isJsonRecord(node)) return node
    const { $comment: _c, $id: _i, $ref, allOf, anyOf, title: _t, ...rest } = node
    if (Predicate.isString($ref)) return over(reference($ref.slice("#/$defs/".length)), rest)
    const out: { [keyword: string]: Json.Json } = {}
    for (const [keyword, value] of Object.entries(rest)) {
      if (keyword === "properties" || keyword === "patternProperties") {
        const properties = Object.entries(recordAt(rest, keyword)).map(([name, property]) => [name, plain(property)])
        if (properties.length > 0) out[keyword] = Object.fromEntries(properties)
      } else if (keyword === "required") {
        if (Array.isArray(value) && value.length > 0) out[keyword] = value
      } else if (keyword === "items") {
        out[keyword] = Array.isArray(value) ? value.map(plain) : plain(value)
      } else if (keyword === "additionalProperties" || keyword === "additionalItems" || keyword === "propertyNames") {
        out[keyword] = plain(value)
      } else out[keyword] = value
    }
    if (Array.isArray(anyOf)) Object.assign(out, oneEnum(anyOf.map(plain)))
    if (Array.isArray(allOf)) {
      // How a description is put beside a definition, or a filter behind another one.
      const [only, ...more] = allOf.map(plain)
      if (only !== undefined && more.length === 0) return over(only, out)
      out["allOf"] = allOf.map(plain)
    }
    return out
  }

  // Parameters that are none are an object all the same.
  const properties = Object.entries(recordAt(whole, "properties")).map(([name, schema]) => [name, plain(schema)])
  const required = whole["required"]
  return {
    type: "object",
    properties: Object.fromEntries(properties),
    ...(Array.isArray(required) && required.length > 0 ? { required } : undefined),
    additionalProperties: false,
    ...(recursive.size === 0 ? undefined : { $defs: Object.fromEntries(recursive) })
  }
}

const derived = (tool: string, parameters: Schema.Schema.AnyNoContext): Json.JsonRecord => {
  try {
    return JSON.parse(JSON.stringify(JSONSchema.make(parameters))) // without what is undefined
  } catch (cause) {
    throw new RangeError(
      `Tool "${tool}": a parameter has no JSON Schema; use a schema that is read from JSON (Schema.Date, not Schema.DateFromSelf), or give it a \`jsonSchema\` annotation`,
      { cause }
    )
  }
}

const recordAt = (record: Json.JsonRecord, key: string): Json.JsonRecord => {
  const value = record[key]
  return Json.isJsonRecord(value) ? value : {}
}

const over = (schema: Json.Json, more: Json.JsonRecord): Json.Json =>
  Object.keys(more).length === 0
    ? schema
    : !Json.isJsonRecord(schema)
    ? more
    // Beside a reference only its annotations are read everywhere.
    : Object.hasOwn(schema, "$ref") && Object.keys(more).some((keyword) => keyword !== "description")
    ? { allOf: [schema], ...more }
    : { ...schema, ...more }

// The members of an enum one by one are the enum.
const oneEnum = (members: ReadonlyArray<Json.Json>): Json.JsonRecord => {
  const values: Array<Json.Json> = []
  const types = new Set<Json.Json>()
  for (const member of members) {
    const keywords = Json.isJsonRecord(member) ? Object.keys(member).sort().join() : ""
    if (!Json.isJsonRecord(member) || keywords !== "enum,type" || !Array.isArray(member["enum"])) {
      return { anyOf: members }
    }
    types.add(member["type"]!) // one of the two keywords
    values.push(...member["enum"])
  }
  const [type] = types
  return type === undefined || types.size > 1 ? { anyOf: members } : { type, enum: values }
}
