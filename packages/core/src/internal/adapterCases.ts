/**
 * Signatures, and values and answers of all kinds, with which adapters are
 * tried: made of what could be mistaken for structure.
 */
import * as Arbitrary from "effect/Arbitrary"
import type * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import type * as Adapter from "../Adapter.ts"
import type { JsonRecord } from "../Json.ts"
import * as Signature from "../Signature.ts"

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

/** Which texts values are made of: of `pieces` beside those that are in any form's way, where `holds` allows them. */
export interface Texts {
  readonly pieces?: ReadonlyArray<string> | undefined
  readonly holds?: ((text: string) => boolean) | undefined
}

/** Text made of what could be mistaken for structure. */
export const texts = ({ holds = () => true, pieces = [] }: Texts = {}): FastCheck.Arbitrary<string> =>
  FastCheck.oneof(
    {
      weight: 3,
      arbitrary: FastCheck.array(FastCheck.constantFrom(...fragments, ...pieces), { maxLength: 8 })
    },
    { weight: 1, arbitrary: FastCheck.array(FastCheck.fullUnicode(), { maxLength: 12 }) }
  ).map((parts) => parts.join("")).filter((text) => !/\p{Surrogate}/u.test(text) && holds(text))

const Numeric = Schema.Number.annotations({
  arbitrary: () => (fc) => fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0)
})

const Whole = Schema.Int.annotations({ arbitrary: () => (fc) => fc.maxSafeInteger() })

const Plan = Schema.Enums({ Free: "free plan", Paid: "paid" } as const)

interface Tree {
  readonly label: string
  readonly branches: ReadonlyArray<Tree>
}

type Field = Schema.Struct.Field & { readonly [Schema.TypeId]: { readonly _R: (_: never) => never } }

const kinds = (texts: FastCheck.Arbitrary<string>): ReadonlyArray<Field> => {
  const Text = Schema.String.annotations({ arbitrary: () => () => texts })
  const Key = Schema.String.annotations({ arbitrary: () => () => texts.filter((key) => key !== "__proto__") })
  const Tree: Schema.Schema<Tree> = Schema.Struct({
    label: Text,
    branches: Schema.Array(Schema.suspend(() => Tree))
  }).annotations({ identifier: "Tree" })
  return [
    Text,
    Text,
    Numeric,
    Whole,
    Schema.Boolean,
    Schema.Literal("billing", "technical", "a \"quoted\" one"),
    Schema.Literal("1", 1, true, null, "null", "\"1\""),
    Schema.Literal("1", 1, "\"1\"", "true", true),
    Plan,
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
        fc.oneof(texts, fc.jsonValue().map((value): unknown => JSON.parse(JSON.stringify(value)))).filter((value) =>
          !JSON.stringify(value).includes("__proto__")
        )
    }),
    Schema.NumberFromString.annotations({ arbitrary: () => (fc) => fc.integer() }),
    Tree
  ]
}

const names = ["a", "ab", "b", "completed", "constructor", "toString", "then", "type", "properties", "été", "B"]

/** A signature, and values for its outputs. */
export interface Case {
  readonly signature: Signature.Any
  readonly value: { readonly [field: string]: unknown }
  readonly encoded: JsonRecord
}

type Outputs = { readonly [field: string]: unknown }

/** Signatures with values for their outputs. */
export const cases = (options?: Texts): FastCheck.Arbitrary<Case> => {
  const kind = FastCheck.constantFrom(...kinds(texts(options)))
  return FastCheck.array(FastCheck.record({ name: FastCheck.constantFrom(...names), kind }), {
    minLength: 1,
    maxLength: 4
  }).chain((fields) => {
    const output = Object.fromEntries(fields.map(({ kind, name }) => [name, kind]))
    const signature = Signature.make({ instructions: "Do it.", input: { q: Schema.String }, output })
    // The fields need no services, so encoding is synchronous and total on generated values.
    const encode = Schema.encodeSync(Schema.make<Outputs, JsonRecord>(signature.output.ast))
    return Arbitrary.make(Schema.make<Outputs>(signature.output.ast)).map((value) => ({
      signature,
      value,
      encoded: encode(value)
    }))
  })
}

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

export const damages = (pieces: ReadonlyArray<string> = []) =>
  FastCheck.array(
    FastCheck.tuple(
      FastCheck.nat(),
      FastCheck.nat({ max: 3 }),
      FastCheck.constantFrom("", ...fragments, ...pieces)
    ),
    { minLength: 1, maxLength: 3 }
  )

/** Cuts a text at these places. */
export const split = (text: string, places: ReadonlyArray<number>): ReadonlyArray<string> => {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].sort((a, b) => a - b)
  return [...cuts, text.length].map((cut, index) => text.slice(cuts[index - 1] ?? 0, cut))
}

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

/** What was told of an answer while it came, and what it is in the end. */
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
