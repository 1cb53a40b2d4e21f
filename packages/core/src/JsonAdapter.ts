/**
 * The answer as one JSON object, for models that are good at it or can be
 * held to a JSON Schema.
 *
 * Inputs stand between the field markers of `ChatAdapter`, escaped in the same
 * way. The answer is the first JSON object with an output field among its
 * keys; prose and code fences around it, a `<think>` block before it, keys
 * that are no output fields and an echo of the schema are left out. Deltas of
 * a string are its characters, unescaped; those of any other value its JSON.
 *
 * JSON that is not quite valid is read where it has one meaning only: trailing
 * commas, single quotes, unquoted keys, `True` and `None`, comments, raw line
 * breaks in strings, numbers such as `.5` or `+1`. Nothing is guessed: a
 * string that does not end is not an answer, nor is a key with two values.
 *
 * Where the model can be held to it, the request carries a strict JSON Schema
 * of the outputs, or else asks for a JSON object; see `structure`.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Adapter from "./Adapter.ts"
import * as codec from "./internal/codec.ts"
import * as incremental from "./internal/incremental.ts"
import { JsonFields } from "./internal/jsonFields.ts"
import * as prompt from "./internal/prompt.ts"
import * as strictSchema from "./internal/strictSchema.ts"
import type { Json, JsonRecord } from "./Json.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import type * as Signature from "./Signature.ts"

/**
 * Asks for one JSON object.
 *
 * @example
 * ```ts
 * import * as Adapter from "@effect-dspy/core/Adapter"
 * import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import { Effect, Either, Schema } from "effect"
 *
 * const rate = Signature.make({
 *   input: { review: Schema.String },
 *   output: { stars: Schema.Int, summary: Schema.String }
 * })
 *
 * const text = "Here you are:\n```json\n{ \"stars\": 4, 'summary': \"Good, but dear.\", }\n```"
 * const found = JsonAdapter.adapter.parser(rate, (parser) => {
 *   const [state] = parser.step(parser.initial, text)
 *   return Either.getOrThrow(parser.end(state)[1])
 * })
 * const { repairs, value } = Effect.runSync(Adapter.decode(rate, found))
 *
 * assert.deepStrictEqual(value, { stars: 4, summary: "Good, but dear." })
 * assert.strictEqual(repairs.length, 3) // single quotes, a trailing comma, text around the object
 * ```
 *
 * @since 0.1.0
 * @category adapters
 */
export const adapter: Adapter.Adapter = Adapter.make({
  name: "json",
  format: (input) => {
    const format = responseFormat(structure(input.signature, input.capabilities))
    return { messages: messages(input), ...(format === undefined ? undefined : { responseFormat: format }) }
  },
  parser: (signature, use) => use(parser(signature))
})

const messages = prompt.messages({
  structure: ({ outputs }) =>
    [
      "Answer with one JSON object and nothing else, with these keys in this order:",
      "{",
      outputs.map((wire) => `  ${JSON.stringify(wire.name)}: ${prompt.jsonType(wire)}`).join(",\n"),
      "}"
    ].join("\n"),
  answer: ({ outputs }, values) => {
    const answer: { [field: string]: Json } = {}
    for (const wire of outputs) {
      if (prompt.isGiven(wire, values)) answer[wire.name] = codec.jsonValue(wire, values[wire.name]!) // isGiven: the key is there
      else if (!wire.optional) answer[wire.name] = wire.isText ? prompt.notGiven : null
    }
    return JSON.stringify(answer)
  },
  reminder: ({ outputs }) =>
    `Answer with one JSON object with ${outputs.length === 1 ? "the key" : "the keys"} ${
      outputs.map((wire) => JSON.stringify(wire.name) + prompt.typeHint(wire)).join(", then ")
    }.`
})

/**
 * How a model is held to the form of an answer: to a strict JSON Schema, to any
 * JSON object, or by the prompt alone. `reason` says in words why it is not held
 * to a schema.
 *
 * @since 0.1.0
 * @category models
 */
export type Structure =
  | { readonly _tag: "JsonSchema"; readonly schema: JsonRecord }
  | { readonly _tag: "JsonObject"; readonly reason: string }
  | { readonly _tag: "Prompt"; readonly reason: string }

/**
 * How a model with these capabilities is held to the outputs of a signature. It
 * depends on these two alone: a schema if the model takes one, the outputs have
 * one and it is within the model's limits; any JSON object otherwise, if the
 * model can be held to that; the prompt, which names keys and types in all three
 * cases, if not.
 *
 * In a strict schema every key is required, no other is allowed, and what may be
 * left out may be null instead. It has no records with free keys, no tuples and
 * no values of any type; lengths, ranges and patterns stay out of it and are
 * checked when the answer is decoded.
 *
 * @example
 * ```ts
 * import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import { Schema } from "effect"
 *
 * const counted = Signature.make({
 *   input: { text: Schema.String },
 *   output: { counts: Schema.Record({ key: Schema.String, value: Schema.Int }) }
 * })
 *
 * const structure = JsonAdapter.structure(counted, {
 *   ...LanguageModel.defaultCapabilities,
 *   responseFormat: "jsonSchema"
 * })
 *
 * assert.deepStrictEqual(structure, {
 *   _tag: "JsonObject",
 *   reason: "`counts` has keys that are not known before"
 * })
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const structure = (
  signature: Signature.Any,
  { responseFormat, schemaLimits }: LanguageModel.Capabilities
): Structure => {
  if (responseFormat === "none") return { _tag: "Prompt", reason: "the model cannot be held to a form" }
  if (responseFormat === "jsonObject") return { _tag: "JsonObject", reason: "the model takes no JSON Schema" }
  return Either.match(strictSchema.of(signature, schemaLimits), {
    onLeft: (reason) => ({ _tag: "JsonObject" as const, reason }),
    onRight: (schema) => ({ _tag: "JsonSchema" as const, schema })
  })
}

const responseFormat = (structure: Structure): LanguageModel.ResponseFormat | undefined => {
  switch (structure._tag) {
    case "JsonSchema":
      return { _tag: "JsonSchema", name: "answer", schema: structure.schema, strict: true }
    case "JsonObject":
      return { _tag: "JsonObject" }
    case "Prompt":
      return undefined
  }
}

const parsers = new WeakMap<Signature.Any, Adapter.Parser<incremental.State>>()

const parser = (signature: Signature.Any): Adapter.Parser<incremental.State> => {
  let known = parsers.get(signature)
  if (known === undefined) {
    const { names, outputs } = codec.of(signature)
    const wires = new Map(outputs.map((wire) => [wire.name, wire]))
    known = incremental.make(() => new JsonFields(names, wires))
    parsers.set(signature, known)
  }
  return known
}
