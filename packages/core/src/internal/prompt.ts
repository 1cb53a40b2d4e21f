/**
 * What the prompts of the adapters have in common.
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import type { FormatInput } from "../Adapter.ts"
import * as Json from "../Json.ts"
import type { Message } from "../LanguageModel.ts"
import type { Demo } from "../Parameters.ts"
import type * as Signature from "../Signature.ts"
import * as codec from "./codec.ts"
import * as content from "./content.ts"
import * as history from "./history.ts"
import { guarded, marker } from "./markers.ts"

/**
 * How an adapter words its side of the conversation.
 */
export interface Wording {
  /** How the answer is written, for the system message. */
  readonly structure: (codec: codec.Codec) => string
  /** The answer of a demonstration; a missing output is undefined. */
  readonly answer: (codec: codec.Codec, values: Json.JsonRecord) => string
  /** What the last turn asks for. */
  readonly reminder: (codec: codec.Codec) => string
  /** How an input is written; between markers if nothing else is said. */
  readonly input?: Label | undefined
}

/**
 * How a field is written: what stands before its text, and the text so that it
 * is not taken for something else.
 */
export interface Label {
  readonly before: (name: string) => string
  readonly text: (text: string) => string
}

const marked: Label = { before: (name) => `${marker(name)}\n`, text: guarded }

/**
 * Stands for an output that a demonstration does not have.
 */
export const notGiven = "(not given in this example)"

const partial = "This example does not give all fields."

const escapes = "A line that starts with a backslash before a marker is text, not a field."

/**
 * The messages of a request: system, incomplete demonstrations, complete ones,
 * earlier turns, input. The system message and the demonstrations are rendered
 * once per signature and demonstrations.
 */
export const messages = (wording: Wording): (input: FormatInput) => ReadonlyArray<Message> => {
  const heads = new WeakMap<Signature.Any, string>()
  const tails = new WeakMap<Signature.Any, string>()
  const examples = new WeakMap<ReadonlyArray<Demo>, Examples>()
  return ({ demos, inputs, instructions, signature }) => {
    const wires = codec.of(signature)
    let head = heads.get(signature)
    if (head === undefined) {
      head = `${fieldLists(wires)}\n\n${wording.structure(wires)}`
      heads.set(signature, head)
    }
    let tail = tails.get(signature)
    if (tail === undefined) {
      tail = wording.reminder(wires)
      tails.set(signature, tail)
    }
    let shown = examples.get(demos)
    if (shown?.of !== signature) {
      shown = { of: signature, ...turns(wording, wires, demos) }
      examples.set(demos, shown)
    }
    const before = wires.history === undefined ? nothing : past(wording, wires, wires.history, inputs)
    const question = asked(wires.history === undefined ? wires.inputs : current(wires), inputs, wording.input)
    const escaped = wording.input === undefined &&
      (content.includes(question, escape) || shown.escaped || before.some(isEscaped))
    return [
      { role: "system", content: instructions.trim() === "" ? head : `${head}\n\nTask:\n${instructions}` },
      ...shown.turns,
      ...before,
      {
        role: "user",
        content: content.followed(question, `${question === "" ? "" : "\n\n"}${tail}${escaped ? ` ${escapes}` : ""}`)
      }
    ]
  }
}

interface Examples {
  readonly of: Signature.Any
  readonly turns: ReadonlyArray<Message>
  readonly escaped: boolean
}

const nothing: ReadonlyArray<Message> = []

const escape = "\\[["

const isEscaped = (message: Message): boolean => content.includes(message.content, escape)

/**
 * Fields between markers, as a person asks: with images and the like in their
 * places. Absent ones are left out.
 */
export const asked = (
  wires: ReadonlyArray<codec.Wire>,
  values: Json.JsonRecord,
  label: Label = marked
): Message["content"] => {
  if (!wires.some((wire) => wire.hasContent)) return sections(wires, values, label)
  const out = new content.Writer()
  let first = true
  for (const wire of wires) {
    const value = Object.hasOwn(values, wire.name) ? values[wire.name] : undefined
    if (value === undefined) continue
    out.text(`${first ? "" : "\n\n"}${label.before(wire.name)}`)
    first = false
    const shown = new content.Writer()
    if (wire.hasContent) content.write(wire.schema.ast, value, shown)
    if (shown.hasParts) out.append(shown)
    else out.text(label.text(codec.valueText(wire, value)))
  }
  return out.content
}

/**
 * Fields between markers; absent ones are left out.
 */
export const sections = (
  wires: ReadonlyArray<codec.Wire>,
  values: Json.JsonRecord,
  { before, text: written }: Label = marked
): string => {
  let text = ""
  for (const wire of wires) {
    const value = Object.hasOwn(values, wire.name) ? values[wire.name] : undefined
    if (value === undefined) continue
    if (text !== "") text += "\n\n"
    text += `${before(wire.name)}${written(codec.valueText(wire, value))}`
  }
  return text
}

// -----------------------------------------------------------------------------
// Field lists
// -----------------------------------------------------------------------------

const fieldLists = ({ inputs, outputs }: codec.Codec): string =>
  (inputs.length === 0 ? "" : `Input fields:\n${inputs.map(line).join("\n")}\n\n`) +
  `Output fields:\n${outputs.map(line).join("\n")}`

const line = (wire: codec.Wire): string => {
  const details = [typeOf(wire)]
  if (wire.constraints !== undefined) details.push(wire.constraints)
  if (wire.optional) details.push("may be left out")
  const notes = [
    ...(wire.description === undefined ? [] : [wire.description.trim().replace(/\s+/g, " ")]),
    ...examplesOf(wire)
  ]
  return `- \`${wire.name}\` (${details.join(", ")})${notes.length === 0 ? "" : `: ${notes.join("; ")}`}`
}

// As JSON, so that each is one piece on one line. One that its own schema does not allow is left out.
const examplesOf = (wire: codec.Wire): ReadonlyArray<string> => {
  const texts = wire.examples.flatMap((example) => {
    const encoded = ParseResult.encodeUnknownEither(wire.schema)(example)
    return Either.isRight(encoded) && Json.isJson(encoded.right) ? [JSON.stringify(encoded.right)] : []
  })
  return texts.length === 0 ? [] : [`for example ${texts.join(", ")}`]
}

const typeOf = (wire: codec.Wire): string =>
  wire.literals === undefined
    ? wire.type
    : `one of: ${
      wire.literals.map((value) => {
        const text = codec.valueText(wire, value)
        return /[;\n]/.test(text) ? JSON.stringify(value) : text
      }).join("; ")
    }`

/**
 * What to add to the name of a field where its marker is asked for.
 */
export const typeHint = (wire: codec.Wire): string => {
  if (wire.isText) return ""
  const type = wire.literals !== undefined ? "one of the values listed" : wire.type.length > 60 ? "JSON" : wire.type
  return ` (${type}${wire.optional ? ", may be left out" : ""})`
}

/**
 * The type of a field where a JSON object is sketched.
 */
export const jsonType = (wire: codec.Wire): string => {
  const type = wire.literals !== undefined && wire.type.length > 200 ? "one of the values listed" : wire.type
  return wire.optional ? `${type} | null` : type
}

// -----------------------------------------------------------------------------
// Demonstrations
// -----------------------------------------------------------------------------

const turns = (wording: Wording, wires: codec.Codec, demos: ReadonlyArray<Demo>): Omit<Examples, "of"> => {
  const incomplete: Array<Message> = []
  const complete: Array<Message> = []
  for (const { values } of demos) {
    const has = (wire: codec.Wire) => isGiven(wire, values)
    // What a conversation began with says nothing of whether an example is whole.
    const isComplete = [...wires.inputs, ...wires.outputs].every((wire) =>
      wire.optional || wire === wires.history || has(wire)
    )
    if (!isComplete && !(wires.inputs.some(has) && wires.outputs.some(has))) continue
    const question = asked(wires.inputs.filter(has), values, wording.input)
    const into = isComplete ? complete : incomplete
    into.push(
      { role: "user", content: isComplete ? question : content.preceded(`${partial}\n\n`, question) },
      { role: "assistant", content: wording.answer(wires, values) }
    )
  }
  const turns = [...incomplete, ...complete]
  return { turns, escaped: turns.some(isEscaped) }
}

// -----------------------------------------------------------------------------
// Earlier turns
// -----------------------------------------------------------------------------

const current = ({ history, inputs }: codec.Codec): ReadonlyArray<codec.Wire> =>
  inputs.filter((wire) => wire !== history)

// A turn shows what it has: a side of which it has nothing is left out.
const past = (
  wording: Wording,
  wires: codec.Codec,
  { name }: codec.Wire,
  inputs: Json.JsonRecord
): ReadonlyArray<Message> =>
  history.turnsOf(Object.hasOwn(inputs, name) ? inputs[name] : undefined).flatMap((turn) => {
    const has = (wire: codec.Wire) => isGiven(wire, turn)
    const question = asked(current(wires).filter(has), turn, wording.input)
    const outputs = wires.outputs.filter(has)
    const messages: Array<Message> = []
    if (question !== "") messages.push({ role: "user", content: question })
    if (outputs.length > 0) messages.push({ role: "assistant", content: wording.answer({ ...wires, outputs }, turn) })
    return messages
  })

/**
 * Whether a demonstration has a value for a field.
 */
export const isGiven = (wire: codec.Wire, values: Json.JsonRecord): boolean =>
  Object.hasOwn(values, wire.name) && (values[wire.name] !== null || wire.isNullable)
