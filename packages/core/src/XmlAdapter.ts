/**
 * Answers as one XML element for each field, for models that are best at that.
 *
 * Inputs stand between the field markers of `ChatAdapter`, escaped in the same
 * way. The content of an element is the text itself, or JSON for everything else.
 * When reading, only the start tag of an output field outside of an element, its
 * own end tag inside, and references such as `&lt;` are markup: code and HTML
 * inside an element may be written as they are. Text outside is left out, as is a
 * `<think>` block that comes first.
 *
 * @since 0.1.0
 */
import * as Adapter from "./Adapter.ts"
import * as codec from "./internal/codec.ts"
import * as incremental from "./internal/incremental.ts"
import * as prompt from "./internal/prompt.ts"
import { escaped, TagMachine } from "./internal/tags.ts"
import type * as Signature from "./Signature.ts"

/**
 * Asks for an element for each output field.
 *
 * @example
 * ```ts
 * import * as Adapter from "@effect-dspy/core/Adapter"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as XmlAdapter from "@effect-dspy/core/XmlAdapter"
 * import { Effect, Either, Schema } from "effect"
 *
 * const write = Signature.make({
 *   input: { task: Schema.String },
 *   output: { code: Schema.String, tests: Schema.Array(Schema.String) }
 * })
 *
 * const text = "<code>\nif (a < b && c) return\n</code>\n<tests>[\"a\", \"b\"]</tests>"
 * const found = XmlAdapter.adapter.parser(write, (parser) => {
 *   const [state] = parser.step(parser.initial, text)
 *   return Either.getOrThrow(parser.end(state)[1])
 * })
 *
 * assert.deepStrictEqual(Effect.runSync(Adapter.decode(write, found)).value, {
 *   code: "if (a < b && c) return",
 *   tests: ["a", "b"]
 * })
 * ```
 *
 * @since 0.1.0
 * @category adapters
 */
export const adapter: Adapter.Adapter = Adapter.make({
  name: "xml",
  format: (input) => ({ messages: messages(input) }),
  parser: (signature, use) => use(parser(signature))
})

const element = (name: string, content: string): string => `<${name}>\n${content}\n</${name}>`

const messages = prompt.messages({
  structure: ({ outputs }) =>
    [
      "Answer with these elements in this order, their content being strings as they are, anything else as JSON:",
      ...outputs.map(({ name }) => element(name, `{${name}}`))
    ].join("\n\n"),
  answer: ({ names, outputs }, values) =>
    outputs.flatMap((wire) =>
      prompt.isGiven(wire, values)
        ? [element(wire.name, escaped(codec.valueText(wire, values[wire.name]!)))] // isGiven: the key is there
        : wire.optional
        ? []
        : [element(wire.name, prompt.notGiven)]
    ).join("\n\n") || `<${names.end}/>`, // where all of them may be left out, and are
  reminder: ({ outputs }) =>
    `Answer with ${outputs.map((wire) => `<${wire.name}>${prompt.typeHint(wire)}`).join(", then ")}.`
})

const parsers = new WeakMap<Signature.Any, Adapter.Parser<incremental.State>>()

const parser = (signature: Signature.Any): Adapter.Parser<incremental.State> => {
  let known = parsers.get(signature)
  if (known === undefined) {
    const { names } = codec.of(signature)
    known = incremental.make(() => new TagMachine(names))
    parsers.set(signature, known)
  }
  return known
}
