/**
 * The forms in which models write calls of tools, as the one that we read.
 */
import * as Predicate from "effect/Predicate"
import * as Json from "../Json.ts"
import * as jsonText from "./jsonText.ts"

/** The annotation of a schema of tool calls. */
export const AnnotationId = Symbol.for("@effect-dspy/core/ToolCalls")

const first = (record: Json.JsonRecord, keys: ReadonlyArray<string>): Json.Json | undefined => {
  const key = keys.find((key) => Object.hasOwn(record, key))
  return key === undefined ? undefined : record[key]
}

const call = (value: Json.Json): Json.Json => {
  if (!Json.isJsonRecord(value)) return value
  // OpenAI's form: what is called stands inside of the call.
  const inner = value["function"]
  const named = Json.isJsonRecord(inner) ? inner : value
  const { name } = named
  if (!Predicate.isString(name)) return value
  const written = first(named, ["arguments", "args", "input", "parameters"]) ?? {}
  const args = Predicate.isString(written) ? jsonText.strict(written.trim() === "" ? "{}" : written) : written
  if (args === undefined) return value
  const id = first(value, ["id", "call_id"])
  return { ...(Predicate.isString(id) ? { id } : undefined), name, arguments: args }
}

/** A list of calls, where a value is one in any form. */
export const shaped = (value: Json.Json): Json.Json => {
  const inner = Json.isJsonRecord(value) ? first(value, ["tool_calls", "calls"]) : undefined
  const calls = inner ?? value
  if (Array.isArray(calls)) return calls.map(call)
  const single = call(calls)
  return single === calls && !(Json.isJsonRecord(calls) && Predicate.isString(calls["name"])) ? value : [single]
}
