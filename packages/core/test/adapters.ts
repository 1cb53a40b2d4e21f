/**
 * What the tests of the adapters share: answers split anywhere, signatures and
 * values of all kinds.
 */
import * as Adapter from "@effect-dspy/core/Adapter"
import type { Json } from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Signature from "@effect-dspy/core/Signature"
import { Arbitrary, Effect, Either, FastCheck, Schema } from "effect"

export interface Reading {
  readonly events: ReadonlyArray<Adapter.FieldEvent>
  readonly parsed: Either.Either<Adapter.Parsed, Adapter.Problem>
}

/** Neighbouring deltas of a field as one, as any consumer may see them. */
const merged = (events: ReadonlyArray<Adapter.FieldEvent>): ReadonlyArray<Adapter.FieldEvent> => {
  const out: Array<Adapter.FieldEvent> = []
  for (const event of events) {
    const last = out.at(-1)
    if (event._tag === "FieldDelta" && last?._tag === "FieldDelta" && last.field === event.field) {
      out[out.length - 1] = { ...last, text: last.text + event.text }
    } else out.push(event)
  }
  return out
}

/** Reads an answer that comes in these pieces. */
export const read = (adapter: Adapter.Adapter, signature: Signature.Any, pieces: ReadonlyArray<string>): Reading =>
  adapter.parser(signature, (parser) => {
    let state = parser.initial
    const events: Array<Adapter.FieldEvent> = []
    for (const piece of pieces) {
      const [next, found] = parser.step(state, piece)
      state = next
      for (const event of found) events.push(event)
    }
    const [rest, parsed] = parser.end(state)
    return { events: merged([...events, ...rest]), parsed }
  })

/** What is wrong with a text, if it cannot be parsed. */
export const problemOf =
  (adapter: Adapter.Adapter) => (signature: Signature.Any, text: string): Adapter.Problem | undefined => {
    const { parsed } = read(adapter, signature, [text])
    return Either.isLeft(parsed) ? parsed.left : undefined
  }

/** The smallest signature there is. */
export const qa = Signature.make({
  instructions: "Answer the question.",
  input: { question: Schema.String },
  output: { answer: Schema.String }
})

/** An answer all the way to its values. */
export const decode = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  text: string
): Either.Either<Adapter.Decoded, ReadonlyArray<Adapter.Problem>> =>
  Either.flatMap(
    Either.mapLeft(read(adapter, signature, [text]).parsed, (problem) => [problem]),
    (parsed) => Effect.runSync(Effect.either(Adapter.decode(signature, parsed)))
  )

/** Decodes fields as a parser would hand them over. */
export const decodeFields = (
  signature: Signature.Any,
  fields: { readonly [field: string]: Adapter.Raw }
): Either.Either<Adapter.Decoded, ReadonlyArray<Adapter.Problem>> =>
  Effect.runSync(Effect.either(Adapter.decode(signature, { fields: new Map(Object.entries(fields)), repairs: [] })))

export const format = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  options: {
    readonly inputs?: { readonly [field: string]: Json }
    readonly demos?: ReadonlyArray<{ readonly [field: string]: Json }>
    readonly instructions?: string
    readonly responseFormat?: LanguageModel.Capabilities["responseFormat"]
  }
): LanguageModel.Request =>
  adapter.format({
    signature,
    instructions: options.instructions ?? signature.instructions,
    demos: (options.demos ?? []).map(Parameters.demo),
    inputs: options.inputs ?? {},
    capabilities: { ...LanguageModel.defaultCapabilities, responseFormat: options.responseFormat ?? "none" }
  })

/** The turns as `role: content`. */
export const turns = (request: LanguageModel.Request): ReadonlyArray<string> =>
  request.messages.map(({ content, role }) => `${role}: ${String(content)}`)

/** What a message consists of; a text alone is one part. */
export const partsOf = (message: LanguageModel.Message | undefined): ReadonlyArray<LanguageModel.Part> =>
  message === undefined
    ? []
    : typeof message.content === "string"
    ? [{ _tag: "Text", text: message.content }]
    : message.content

/** The answer an adapter shows for these outputs in a demonstration. */
export const rendered = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  outputs: { readonly [field: string]: Json }
): string => String(format(adapter, signature, { demos: [{ q: "?", ...outputs }] }).messages[2]!.content)

/** Cuts a text at these places. */
export const split = (text: string, places: ReadonlyArray<number>): ReadonlyArray<string> => {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].sort((a, b) => a - b)
  return [...cuts, text.length].map((cut, index) => text.slice(cuts[index - 1] ?? 0, cut))
}

// -----------------------------------------------------------------------------
// Signatures and values of all kinds
// -----------------------------------------------------------------------------

const fragments = [
  "[[ ## a ## ]]",
  "[[ ## completed ## ]]",
  "[[ ## q ## ]]",
  "[[## B ##]]",
  "[[ ## ",
  "[[",
  "]]",
  "\\",
  "\\\\",
  "\n",
  "\n\n",
  "\r\n",
  "\u2028",
  " ",
  "\t",
  "\u00a0",
  "\"",
  "'",
  "`",
  "```json\n",
  "```",
  "{",
  "}",
  "[",
  "]",
  ":",
  ",",
  "null",
  "None",
  "true",
  "3",
  "1e400",
  "<think>",
  "</think>",
  "\u0000",
  "\u001b",
  "😀",
  "é",
  "word",
  "Literal[a]",
  "//",
  "\\u0041"
]

/** Text made of what could be mistaken for structure. */
export const nasty: FastCheck.Arbitrary<string> = FastCheck.oneof(
  { weight: 3, arbitrary: FastCheck.array(FastCheck.constantFrom(...fragments), { maxLength: 8 }) },
  { weight: 1, arbitrary: FastCheck.array(FastCheck.fullUnicode(), { maxLength: 12 }) }
).map((parts) => parts.join("")).filter((text) => !/\p{Surrogate}/u.test(text))

const Text = Schema.String.annotations({ arbitrary: () => () => nasty })

const Numeric = Schema.Number.annotations({
  arbitrary: () => (fc) => fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0)
})

const Whole = Schema.Int.annotations({ arbitrary: () => (fc) => fc.maxSafeInteger() })

const Key = Schema.String.annotations({ arbitrary: () => () => nasty.filter((key) => key !== "__proto__") })

enum Plan {
  Free = "free plan",
  Paid = "paid"
}

interface Tree {
  readonly label: string
  readonly branches: ReadonlyArray<Tree>
}

const Tree: Schema.Schema<Tree> = Schema.Struct({
  label: Text,
  branches: Schema.Array(Schema.suspend(() => Tree))
}).annotations({ identifier: "Tree" })

const kinds: ReadonlyArray<Schema.Struct.Field & { readonly [Schema.TypeId]: { readonly _R: (_: never) => never } }> = [
  Text,
  Text,
  Numeric,
  Whole,
  Schema.Boolean,
  Schema.Literal("billing", "technical", "a \"quoted\" one"),
  Schema.Literal("1", 1, true, null, "null", "\"1\""),
  Schema.Literal("1", 1, "\"1\"", "true", true),
  Schema.Enums(Plan),
  Schema.NullOr(Text),
  Schema.NullOr(Numeric),
  Schema.Union(Text, Numeric, Schema.Null),
  Schema.Union(Text, Schema.Array(Text)),
  Schema.Union(Schema.Struct({ kind: Schema.Literal("a"), x: Text }), Schema.Struct({ kind: Schema.Literal("b") })),
  Schema.Array(Text),
  Schema.Array(Schema.Literal("x", "y")),
  Schema.Array(Schema.Array(Numeric)),
  Schema.Struct({ name: Text, count: Schema.optionalWith(Whole, { exact: true }), constructor: Text }),
  Schema.Record({ key: Key, value: Schema.NullOr(Text) }),
  Schema.Tuple(Text, Numeric),
  Schema.optionalWith(Text, { exact: true }),
  Schema.optionalWith(Numeric, { exact: true }),
  Schema.optionalWith(Schema.NullOr(Text), { exact: true }),
  Schema.Unknown.annotations({
    arbitrary: () => (fc) =>
      fc.oneof(nasty, fc.jsonValue().map((value): unknown => JSON.parse(JSON.stringify(value)))).filter((value) =>
        !JSON.stringify(value).includes("__proto__")
      )
  }),
  Schema.NumberFromString.annotations({ arbitrary: () => (fc) => fc.integer() }),
  Tree
]

const names = ["a", "b", "completed", "constructor", "toString", "then", "type", "properties", "été", "B"]

/** A signature with values for its outputs. */
export const cases = FastCheck.array(
  FastCheck.record({ name: FastCheck.constantFrom(...names), kind: FastCheck.constantFrom(...kinds) }),
  { minLength: 1, maxLength: 4 }
).chain((fields) => {
  const output = Object.fromEntries(fields.map(({ kind, name }) => [name, kind]))
  const signature = Signature.make({ instructions: "Do it.", input: { q: Schema.String }, output })
  return Arbitrary.make(Schema.make<{ readonly [field: string]: unknown }>(signature.output.ast)).map((value) => ({
    signature,
    value,
    // The fields need no services, so encoding is synchronous and total on generated values.
    encoded: Schema.encodeSync(Schema.make<{ readonly [field: string]: unknown }, { readonly [field: string]: Json }>(
      signature.output.ast
    ))(value)
  }))
})

/** Changes a text here and there: characters go, come or stand twice. */
export const damaged = (
  text: string,
  damages: ReadonlyArray<readonly [place: number, kind: number, piece: string]>
): string =>
  damages.reduce((text, [place, kind, piece]) => {
    const at = place % (text.length + 1)
    const end = kind === 0 ? at : Math.min(text.length, at + kind)
    return text.slice(0, at) + piece + text.slice(end)
  }, text)

export const damages = FastCheck.array(
  FastCheck.tuple(FastCheck.nat(), FastCheck.nat({ max: 3 }), FastCheck.constantFrom("", ...fragments)),
  { minLength: 1, maxLength: 3 }
)
