import type { Json, JsonRecord } from "@effect-dspy/core/Json"
import { isJsonRecord } from "@effect-dspy/core/Json"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Signature from "@effect-dspy/core/Signature"
import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck, Schema } from "effect"
import { cases, decode } from "./adapters.ts"

const capable = (schemaLimits?: LanguageModel.SchemaLimits): LanguageModel.Capabilities => ({
  ...LanguageModel.defaultCapabilities,
  responseFormat: "jsonSchema",
  schemaLimits
})

const output = (fields: Signature.Fields): Signature.Any => Signature.make({ input: {}, output: fields })

const schemaOf = (signature: Signature.Any): JsonRecord | undefined => {
  const structure = JsonAdapter.structure(signature, capable())
  return structure._tag === "JsonSchema" ? structure.schema : undefined
}

const reasonOf = (signature: Signature.Any, limits?: LanguageModel.SchemaLimits): string | undefined => {
  const structure = JsonAdapter.structure(signature, capable(limits))
  return structure._tag === "JsonSchema" ? undefined : structure.reason
}

// `Array.isArray` does not narrow a readonly list.
const isList = (value: Json | undefined): value is ReadonlyArray<Json> => Array.isArray(value)

const list = (value: Json | undefined): ReadonlyArray<Json> => isList(value) ? value : []

const record = (value: Json | undefined): JsonRecord => isJsonRecord(value) ? value : {}

// -----------------------------------------------------------------------------
// The part of JSON Schema that every strict implementation documents
// -----------------------------------------------------------------------------

const keywords: { readonly [form: string]: ReadonlyArray<string> } = {
  $ref: ["$ref"],
  anyOf: ["anyOf"],
  object: ["type", "properties", "required", "additionalProperties"],
  array: ["type", "items"],
  string: ["type", "enum"],
  number: ["type", "enum"],
  integer: ["type", "enum"],
  boolean: ["type"],
  null: ["type"]
}

/** Fails unless a schema keeps to the rules. */
const checkRules = (node: Json | undefined, root: JsonRecord): void => {
  assert.isTrue(isJsonRecord(node))
  const schema = record(node)
  const form = "$ref" in schema ? "$ref" : "anyOf" in schema ? "anyOf" : String(schema["type"])
  const allowed = keywords[form]
  assert.isDefined(allowed, JSON.stringify(schema))
  for (const keyword of Object.keys(schema)) {
    if (schema === root && keyword === "$defs") continue
    assert.include(["description", ...allowed!], keyword) // just asserted
  }
  switch (form) {
    case "$ref": {
      const name = String(schema["$ref"]).slice("#/$defs/".length)
      return assert.property(record(root["$defs"]), name)
    }
    case "anyOf": {
      const members = list(schema["anyOf"])
      assert.isAtLeast(members.length, 2)
      return members.forEach((member) => checkRules(member, root))
    }
    case "object": {
      const properties = record(schema["properties"])
      assert.deepStrictEqual(schema["required"], Object.keys(properties))
      assert.strictEqual(schema["additionalProperties"], false)
      return Object.values(properties).forEach((property) => checkRules(property, root))
    }
    case "array":
      return checkRules(schema["items"], root)
    default:
      for (const value of list(schema["enum"])) assert.strictEqual(typeof value, form === "integer" ? "number" : form)
  }
}

/** Whether a value is one that a schema of these rules allows. */
const isValid = (node: Json | undefined, value: Json, root: JsonRecord): boolean => {
  const schema = record(node)
  if (typeof schema["$ref"] === "string") {
    return isValid(record(root["$defs"])[schema["$ref"].slice("#/$defs/".length)], value, root)
  }
  if ("anyOf" in schema) return list(schema["anyOf"]).some((member) => isValid(member, value, root))
  if ("enum" in schema && !list(schema["enum"]).includes(value)) return false
  switch (schema["type"]) {
    case "object": {
      const properties = Object.entries(record(schema["properties"]))
      return isJsonRecord(value) && Object.keys(value).length === properties.length &&
        properties.every(([key, property]) => Object.hasOwn(value, key) && isValid(property, value[key]!, root)) // it has the key
    }
    case "array":
      return isList(value) && value.every((item) => isValid(schema["items"], item, root))
    case "integer":
      return Number.isInteger(value)
    case "null":
      return value === null
    default:
      return typeof value === schema["type"]
  }
}

/** An encoded value as a model that is held to the schema has to write it: what is absent is null. */
const complete = (node: Json | undefined, value: Json, root: JsonRecord): Json => {
  const schema = record(node)
  if (typeof schema["$ref"] === "string") {
    return complete(record(root["$defs"])[schema["$ref"].slice("#/$defs/".length)], value, root)
  }
  if ("anyOf" in schema) {
    for (const member of list(schema["anyOf"])) {
      const candidate = complete(member, value, root)
      if (isValid(member, candidate, root)) return candidate
    }
    return value
  }
  if (schema["type"] === "array" && isList(value)) return value.map((item) => complete(schema["items"], item, root))
  if (schema["type"] !== "object" || !isJsonRecord(value)) return value
  return Object.fromEntries(
    Object.entries(record(schema["properties"])).map(([key, property]) => [
      key,
      Object.hasOwn(value, key) ? complete(property, value[key]!, root) : null // it has the key
    ])
  )
}

/** A value without what is null: a strict schema cannot tell null from absent where both are possible. */
const withoutNull = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(withoutNull)
    : isJsonRecord(value)
    ? Object.fromEntries(
      Object.entries(value).flatMap(([key, item]) => item === null ? [] : [[key, withoutNull(item)]])
    )
    : value

describe("strict schemas", () => {
  it("keep to the rules, allow every value, and what is written by them decodes to it", () => {
    let tried = 0
    FastCheck.assert(
      FastCheck.property(cases, ({ encoded, signature, value }) => {
        const schema = schemaOf(signature)
        FastCheck.pre(schema !== undefined)
        const root = record(schema)
        checkRules(root, root)
        const written = complete(root, encoded, root)
        assert.isTrue(isValid(root, written, root), `${JSON.stringify(root)}\n${JSON.stringify(written)}`)
        const decoded = Either.getOrThrow(decode(JsonAdapter.adapter, signature, JSON.stringify(written)))
        assert.deepStrictEqual(withoutNull(decoded.value), withoutNull(value))
        assert.deepStrictEqual(decoded.repairs, [])
        tried++
      }),
      { seed: 31, numRuns: 500 }
    )
    assert.strictEqual(tried, 500)
  })

  it("are derived or refused for a reason, for every signature, and always the same", () => {
    FastCheck.assert(
      FastCheck.property(cases, ({ signature }) => {
        const structure = JsonAdapter.structure(signature, capable())
        assert.deepStrictEqual(JsonAdapter.structure(signature, capable()), structure)
        if (structure._tag === "JsonSchema") return
        assert.strictEqual(structure._tag, "JsonObject")
        assert.isNotEmpty(structure.reason)
      }),
      { seed: 32, numRuns: 300 }
    )
  })

  it("choices among values of one type are one enum", () => {
    enum Plan {
      Free = "free plan",
      Paid = "paid"
    }
    const schema = schemaOf(output({
      plan: Schema.Enums(Plan),
      mixed: Schema.Literal("a", 1, "b", 2, null),
      yes: Schema.Literal(true),
      maybe: Schema.optional(Schema.Literal("x", "y"))
    }))
    assert.deepStrictEqual(schema?.["properties"], {
      plan: { type: "string", enum: ["free plan", "paid"] },
      mixed: { anyOf: [{ type: "string", enum: ["a", "b"] }, { type: "number", enum: [1, 2] }, { type: "null" }] },
      yes: { type: "boolean" },
      maybe: { anyOf: [{ type: "string", enum: ["x", "y"] }, { type: "null" }] }
    })
  })

  describe("say why there is none", () => {
    const reasons: ReadonlyArray<readonly [name: string, field: Signature.Fields[string], reason: string]> = [
      ["a record", Schema.Record({ key: Schema.String, value: Schema.Int }), "`x` has keys that are not known before"],
      ["anything", Schema.Unknown, "`x` may be anything"],
      ["a tuple", Schema.Tuple(Schema.String, Schema.Int), "`x` has items of several types by their place"],
      [
        "a record further down",
        Schema.Struct({ a: Schema.Array(Schema.Record({ key: Schema.String, value: Schema.Int })) }),
        "`x.a[]` has keys that are not known before"
      ],
      ["one of several", Schema.Union(Schema.String, Schema.Unknown), "`x` may be anything"]
    ]
    for (const [name, field, reason] of reasons) {
      it(name, () => {
        assert.deepStrictEqual(JsonAdapter.structure(output({ x: field }), capable()), { _tag: "JsonObject", reason })
      })
    }

    it("a model that takes none, or no form at all", () => {
      const signature = output({ x: Schema.String })
      assert.deepStrictEqual(
        JsonAdapter.structure(signature, { ...LanguageModel.defaultCapabilities, responseFormat: "jsonObject" }),
        { _tag: "JsonObject", reason: "the model takes no JSON Schema" }
      )
      assert.deepStrictEqual(JsonAdapter.structure(signature, LanguageModel.defaultCapabilities), {
        _tag: "Prompt",
        reason: "the model cannot be held to a form"
      })
    })
  })

  describe("keep within a model's limits", () => {
    interface Tree {
      readonly label: string
      readonly branches: ReadonlyArray<Tree>
    }
    const Tree: Schema.Schema<Tree> = Schema.Struct({
      label: Schema.String,
      branches: Schema.Array(Schema.suspend(() => Tree))
    }).annotations({ identifier: "Tree" })
    const deep = output({ a: Schema.Struct({ b: Schema.Array(Schema.Struct({ c: Schema.String })) }) })
    const chosen = output({ kind: Schema.Literal("one", "two", "three"), size: Schema.Literal(1, 2) })
    const optional = output({ a: Schema.optional(Schema.Int), b: Schema.NullOr(Schema.Int), c: Schema.Int })

    const limits: ReadonlyArray<
      readonly [
        signature: Signature.Any,
        at: LanguageModel.SchemaLimits,
        below: LanguageModel.SchemaLimits,
        reason: string
      ]
    > = [
      [
        output({ tree: Tree }),
        { recursive: true },
        { recursive: false },
        "the outputs contain themselves, which the model's schemas cannot say"
      ],
      [
        deep,
        { depth: 4 },
        { depth: 3 },
        "the outputs have 4 levels of objects and arrays, the model's schemas at most 3"
      ],
      [deep, { properties: 3 }, { properties: 2 }, "the outputs have 3 keys, the model's schemas at most 2"],
      [
        chosen,
        { enumValues: 5 },
        { enumValues: 4 },
        "the outputs have 5 permitted values, the model's schemas at most 4"
      ],
      [
        chosen,
        { characters: 21 },
        { characters: 20 },
        "the outputs have 21 characters in names and permitted values, the model's schemas at most 20"
      ],
      [
        output({ a: Schema.Int }),
        { length: 128 },
        { length: 127 },
        "the outputs have 128 characters in their schema, the model's schemas at most 127"
      ],
      [
        optional,
        { unions: 2 },
        { unions: 1 },
        "the outputs have 2 places for several types, among them what may be left out, the model's schemas at most 1"
      ]
    ]
    for (const [signature, at, below, reason] of limits) {
      it(Object.keys(at).join(), () => {
        assert.isUndefined(reasonOf(signature))
        assert.isUndefined(reasonOf(signature, at))
        assert.strictEqual(reasonOf(signature, below), reason)
      })
    }
  })
})
