/** Other requests than an adapter would write by itself, in modules that ask a model on the way to the outputs. */
import * as Adapter from "../Adapter.ts"
import * as Json from "../Json.ts"
import type * as LanguageModel from "../LanguageModel.ts"
import type * as Signature from "../Signature.ts"
import * as codec from "./codec.ts"

/** The same adapter, and those it falls back to, with other requests. */
export const changed = (
  self: Adapter.Adapter,
  change: (format: Adapter.Adapter["format"], input: Adapter.FormatInput) => LanguageModel.Request
): Adapter.Adapter =>
  self.recoveries.reduce<Adapter.Adapter>(
    (adapter, recovery) =>
      recovery._tag === "Reask"
        ? Adapter.reask(adapter)
        : Adapter.orElse(adapter, changed(recovery.adapter, change)),
    Adapter.make({ ...self, format: (input) => change(self.format, input) })
  )

/** Whether one of the inputs is a conversation. */
export const hasPast = (signature: Signature.Any): boolean => codec.of(signature).history !== undefined

/** Inputs in which earlier turns of a conversation have ended as this one may, with the outputs of then. */
export const withPast = (
  signature: Signature.Any,
  inputs: Json.JsonRecord,
  ended: (outputs: Json.JsonRecord) => Json.JsonRecord
): Json.JsonRecord => {
  const { history, outputs } = codec.of(signature)
  const turns = history === undefined ? undefined : inputs[history.name]
  if (history === undefined || !Array.isArray(turns)) return inputs
  return {
    ...inputs,
    [history.name]: turns.map((turn) => {
      if (!Json.isJsonRecord(turn)) return turn
      const given = outputs.filter(({ name }) => turn[name] !== undefined)
      return given.length === 0
        ? turn
        : { ...turn, ...ended(Object.fromEntries(given.map(({ name }) => [name, turn[name]!]))) } // what is given
    })
  }
}
