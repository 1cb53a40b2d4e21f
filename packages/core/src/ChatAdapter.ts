/**
 * Fields as text between markers, which any model can write.
 *
 * Every field is a line with its marker, then its value; an answer ends with a
 * marker of its own:
 *
 * ```
 * [[ ## reasoning ## ]]
 * Paris has been the capital since 987.
 *
 * [[ ## answer ## ]]
 * Paris
 *
 * [[ ## completed ## ]]
 * ```
 *
 * Strings stand as they are, all other values as compact JSON on one line. Two
 * things are escaped, so that no value can be taken for structure and every
 * value is read back as it was:
 *
 * - A line that starts like a marker gets a backslash before it:
 *   `\[[ ## answer ## ]]`. One backslash is taken away on reading.
 * - A string that starts or ends with white space, or whose first line is a
 *   single backslash, stands between two lines holding a backslash each.
 *   White space around any other value is not part of it.
 *
 * A string where the field could also be something else (`string | null`,
 * `string | number`, an optional string) is put in quotes if it would be taken
 * for the other: `"null"`.
 *
 * When reading, a marker counts at the start of a line only (after blanks),
 * and only if it names a field: of an output, it opens the field; of an input,
 * or repeated, it opens text that is left out. A marker with another name is
 * text. Text before the first marker and after the end marker is left out, as
 * is a `<think>` block that comes first; the end marker may be missing. Where a
 * field is named `completed`, the end marker is `[[ ## completed_ ## ]]`.
 *
 * @since 0.1.0
 */
import * as Adapter from "./Adapter.ts"
import * as codec from "./internal/codec.ts"
import * as incremental from "./internal/incremental.ts"
import { marker, MarkerMachine } from "./internal/markers.ts"
import * as prompt from "./internal/prompt.ts"
import type * as Signature from "./Signature.ts"

/**
 * Asks for field markers. Modules use it, with `JsonAdapter` for a second try, unless they are given another adapter.
 *
 * @example
 * ```ts
 * import * as Adapter from "@effect-dspy/core/Adapter"
 * import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import { Effect, Either, Schema } from "effect"
 *
 * const rate = Signature.make({
 *   input: { review: Schema.String },
 *   output: { stars: Schema.Int, summary: Schema.String }
 * })
 *
 * const text = "[[ ## stars ## ]]\n4\n\n[[ ## summary ## ]]\nGood, but dear.\n\n[[ ## completed ## ]]"
 * const found = ChatAdapter.adapter.parser(rate, (parser) => {
 *   const [state] = parser.step(parser.initial, text)
 *   return Either.getOrThrow(parser.end(state)[1])
 * })
 *
 * assert.deepStrictEqual(Effect.runSync(Adapter.decode(rate, found)).value, { stars: 4, summary: "Good, but dear." })
 * ```
 *
 * @since 0.1.0
 * @category adapters
 */
export const adapter: Adapter.Adapter = Adapter.make({
  name: "chat",
  format: (input) => ({ messages: messages(input) }),
  parser: (signature, use) => use(parser(signature))
})

const messages = prompt.messages({
  structure: ({ names, outputs }) =>
    [
      "A field is a line with its marker, then its value: strings as they are, anything else as JSON. Answer with the output fields in this order, then the end marker:",
      ...outputs.map(({ name }) => `${marker(name)}\n{${name}}`),
      marker(names.end)
    ].join("\n\n"),
  answer: ({ names, outputs }, values) =>
    `${
      prompt.sections(
        outputs,
        Object.fromEntries(outputs.flatMap((wire) =>
          prompt.isGiven(wire, values)
            ? [[wire.name, values[wire.name]!]] // isGiven: the key is there
            : wire.optional
            ? []
            : [[wire.name, prompt.notGiven]]
        ))
      )
    }\n\n${marker(names.end)}`,
  reminder: ({ names, outputs }) =>
    `Answer with ${outputs.map((wire) => marker(wire.name) + prompt.typeHint(wire)).join(", then ")}, then ${
      marker(names.end)
    }.`
})

const parsers = new WeakMap<Signature.Any, Adapter.Parser<incremental.State>>()

const parser = (signature: Signature.Any): Adapter.Parser<incremental.State> => {
  let known = parsers.get(signature)
  if (known === undefined) {
    const { names } = codec.of(signature)
    known = incremental.make(() => new MarkerMachine(names))
    parsers.set(signature, known)
  }
  return known
}
