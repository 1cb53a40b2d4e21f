/**
 * What a provider wants to see again with an assistant's turn, as the
 * `continuation` of an output: the parts of the turn in their order, where text
 * and tool calls, which the output has already, are only named.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import { isObject, record } from "./wire.ts"

/** Signed, so that no other provider takes it for its own. */
export const make = (provider: string, parts: ReadonlyArray<Json.JsonRecord>): Json.JsonRecord => ({ provider, parts })

/** The parts that this provider has made; none of what is another's or was damaged. */
export const parts = (continuation: unknown, provider: string): ReadonlyArray<Json.JsonRecord> => {
  if (!isObject(continuation)) return []
  const found: { readonly provider?: unknown; readonly parts?: unknown } = continuation
  if (found.provider !== provider || !Array.isArray(found.parts)) return []
  return found.parts.map(record).filter((part) => part !== undefined)
}
