/**
 * An `Adapter` turns a signature, demonstrations and input into a request, and
 * the text of the answer back into fields. It knows nothing of HTTP. Parsing
 * is incremental, so every adapter streams its fields; decoding against the
 * signature's schemas happens once, here, for all of them.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as codec from "./internal/codec.ts"
import { DelimitedMachine } from "./internal/delimited.ts"
import * as incremental from "./internal/incremental.ts"
import { listed } from "./internal/listed.ts"
import * as prompt from "./internal/prompt.ts"
import type { Json, JsonRecord } from "./Json.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import type * as Parameters from "./Parameters.ts"
import * as Signature from "./Signature.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId = "~@effect-dspy/core/Adapter"

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

// =============================================================================
// What an adapter is
// =============================================================================

/**
 * What is to be rendered. `inputs` and demonstrations are encoded JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface FormatInput {
  readonly signature: Signature.Any
  readonly instructions: string
  readonly demos: ReadonlyArray<Parameters.Demo>
  readonly inputs: JsonRecord
  readonly capabilities: LanguageModel.Capabilities
}

/**
 * A step in the writing of one output field. Deltas are suffixes: their
 * concatenation is the text of the field.
 *
 * @since 0.1.0
 * @category models
 */
export type FieldEvent =
  | { readonly _tag: "FieldStart"; readonly field: string }
  | { readonly _tag: "FieldDelta"; readonly field: string; readonly text: string }
  | { readonly _tag: "FieldEnd"; readonly field: string }

/**
 * The value of a field before its schema has seen it: the text between two
 * markers, or a JSON value.
 *
 * @since 0.1.0
 * @category models
 */
export type Raw =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Json"; readonly value: Json }

/**
 * The fields found in an answer. `repairs` says in words what had to be mended
 * to read them; it is empty for a clean answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parsed {
  readonly fields: ReadonlyMap<string, Raw>
  readonly repairs: ReadonlyArray<string>
}

/**
 * One thing that is wrong with an answer. `description` has nothing of what was
 * said, so that it can go into logs and spans, unless the `message` that a schema
 * is annotated with has; `got` is what stood there, cut off where it is long, and
 * in brackets what the schema says of it.
 *
 * @since 0.1.0
 * @category errors
 */
export const Problem = Schema.Struct({
  kind: Schema.Literal("empty", "size", "depth", "syntax", "forbiddenKey", "missing", "type"),
  field: Schema.optional(Schema.String),
  description: Schema.String,
  got: Schema.optional(Schema.String)
})

/**
 * @since 0.1.0
 * @category errors
 */
export interface Problem extends Schema.Schema.Type<typeof Problem> {}

/**
 * What a model writes beside the text of its answer.
 *
 * @since 0.1.0
 * @category models
 */
export type Beside = Extract<
  LanguageModel.Delta,
  { readonly _tag: "ToolCallDelta" | "ReasoningDelta" | "CitationDelta" }
>

/**
 * An incremental parser. `step` takes the next piece of text, split anywhere,
 * `beside` what comes beside it, if the parser reads that too;
 * `end` gives the events of what had to be held back until then (the rest of
 * an open field and its `FieldEnd`) and says what was found. States are
 * values: `step` must not change one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parser<S> {
  readonly initial: S
  readonly step: (state: S, text: string) => readonly [S, ReadonlyArray<FieldEvent>]
  readonly beside?: ((state: S, delta: Beside) => readonly [S, ReadonlyArray<FieldEvent>]) | undefined
  readonly end: (state: S) => readonly [ReadonlyArray<FieldEvent>, Either.Either<Parsed, Problem>]
}

/**
 * A second question, to another model, that turns a free answer into fields.
 *
 * @since 0.1.0
 * @category models
 */
export interface Extraction {
  readonly model: LanguageModel.Service
  /** How that model is asked, and its answer read. */
  readonly adapter: Adapter
  /** What it is asked: a signature with the same outputs, and the inputs that hold the free answer. */
  readonly question: (
    signature: Signature.Any,
    answer: string
  ) => { readonly signature: Signature.Any; readonly inputs: JsonRecord }
}

/**
 * What to do after an answer could not be parsed.
 *
 * @since 0.1.0
 * @category models
 */
export type Recovery =
  | { readonly _tag: "Reask" }
  | { readonly _tag: "Fallback"; readonly adapter: Adapter }

/**
 * A way of asking and of reading what is answered: `format` writes the request,
 * `parser` gives its use the parser for a signature, whatever its state is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Adapter extends Pipeable {
  readonly [TypeId]: TypeId
  readonly name: string
  readonly format: (input: FormatInput) => LanguageModel.Request
  readonly parser: <R>(signature: Signature.Any, use: <S>(parser: Parser<S>) => R) => R
  /** Tried in order, each after the one before it failed to parse. */
  readonly recoveries: ReadonlyArray<Recovery>
  /** Where it is given, `parser` reads the answer to this second question; the first one is free text. */
  readonly extraction: Extraction | undefined
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isAdapter = (u: unknown): u is Adapter => Predicate.hasProperty(u, TypeId)

const Proto = {
  [TypeId]: TypeId,
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/**
 * An adapter that has no recoveries yet. `name` tells it apart in errors. `format`
 * is called for each question, and `parser` for each answer, so what is costly is
 * made once outside of them; `messages` and `delimited` do so.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly name: string
  readonly format: Adapter["format"]
  readonly parser: Adapter["parser"]
  readonly extraction?: Extraction | undefined
}): Adapter => withRecoveries(options, [])

const withRecoveries = (
  { extraction, format, name, parser }:
    & Pick<Adapter, "name" | "format" | "parser">
    & { readonly extraction?: Extraction | undefined },
  recoveries: ReadonlyArray<Recovery>
): Adapter => Object.assign(Object.create(Proto), { name, format, parser, extraction, recoveries })

// =============================================================================
// What adapters are made of
// =============================================================================

/**
 * A field as it stands in an answer: its value as text, a string as it is unless
 * it would be read as something else, anything else as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Written {
  readonly field: Signature.Field
  readonly text: string
}

/**
 * How an adapter words its side of a conversation.
 *
 * @since 0.1.0
 * @category models
 */
export interface Wording {
  /** In what form an answer is to be written, for the system message. */
  readonly structure: (outputs: ReadonlyArray<Signature.Field>) => string
  /** An answer in that form, for demonstrations and earlier turns; outputs that may be left out may be missing. */
  readonly answer: (outputs: ReadonlyArray<Written>) => string
  /** What the last turn asks for, behind the inputs. */
  readonly reminder: (outputs: ReadonlyArray<Signature.Field>) => string
}

/**
 * The messages of a request, as the adapters of this package write them: the
 * fields, the form and the task as system message, demonstrations as turns,
 * incomplete ones first and marked, earlier turns of a `History`, then the
 * inputs. Inputs stand between the markers of `ChatAdapter`, escaped, so that
 * none can pass for another; images and the like are parts.
 *
 * Apply it once for an adapter, outside of `format`: what does not change from
 * call to call is rendered once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const messages = (wording: Wording): (input: FormatInput) => ReadonlyArray<LanguageModel.Message> =>
  prompt.messages({
    structure: ({ outputs }) => wording.structure(outputs),
    answer: ({ outputs }, values) =>
      wording.answer(outputs.flatMap((field) =>
        prompt.isGiven(field, values)
          ? [{ field, text: codec.valueText(field, values[field.name]!) }] // isGiven: the key is there
          : field.optional
          ? []
          : [{ field, text: prompt.notGiven }]
      )),
    reminder: ({ outputs }) => wording.reminder(outputs)
  })

/**
 * A parser for answers in which every field begins with a delimiter of its own,
 * and ends with another one or where the next begins. It finds them wherever the
 * text is cut, and streams what stands between them.
 *
 * Delimiters count exactly as they are. To have one count at the start of a line
 * only, let it begin with a line break: the text is read as if one stood before
 * and behind it. White space around a value is no part of it; text outside of
 * fields and a repeated field are left out and noted in `repairs`; a `<think>`
 * block that comes first, half characters and answers of more than 10 MiB are
 * treated as by all other adapters. A value that holds a delimiter ends there:
 * choose what values do not hold. Starts that are empty, or alike for two fields,
 * are a defect.
 *
 * @example
 * ```ts
 * import * as Adapter from "@effect-dspy/core/Adapter"
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const messages = Adapter.messages({
 *   structure: (outputs) => `Answer in Markdown, with these headings:\n${outputs.map(({ name }) => `## ${name}`).join("\n")}`,
 *   answer: (outputs) => outputs.map(({ field, text }) => `## ${field.name}\n${text}`).join("\n\n"),
 *   reminder: () => "Answer with the headings."
 * })
 *
 * const markdown = Adapter.make({
 *   name: "markdown",
 *   format: (input) => ({ messages: messages(input) }),
 *   parser: Adapter.delimited({ start: (field) => `\n## ${field}\n` })
 * })
 *
 * const add = Module.withAdapter(Predict.make("question -> why, answer: int"), markdown)
 *
 * const program = add({ question: "2 + 2?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.text("## why\nTwo and two.\n\n## answer\n4")]))
 * )
 *
 * Effect.runPromise(program).then((output) => assert.deepStrictEqual(output, { why: "Two and two.", answer: 4 }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const delimited = (delimiters: {
  readonly start: (field: string) => string
  readonly end?: ((field: string) => string) | undefined
}): Adapter["parser"] => {
  const parsers = new WeakMap<Signature.Any, Parser<incremental.State>>()
  return (signature, use) => {
    let parser = parsers.get(signature)
    if (parser === undefined) {
      const { outputs } = codec.of(signature).names
      parser = incremental.make(() => new DelimitedMachine(outputs, delimiters))
      parsers.set(signature, parser)
    }
    return use(parser)
  }
}

// =============================================================================
// Recovery from answers that do not parse
// =============================================================================

const recover = (self: Adapter, recovery: ReadonlyArray<Recovery>): Adapter =>
  withRecoveries(self, [...self.recoveries, ...recovery])

/**
 * When an answer does not parse, asks again with another adapter. Only parse
 * errors do this; a failed model call is the policies' business.
 *
 * @since 0.1.0
 * @category combinators
 */
export const orElse: {
  (that: Adapter): (self: Adapter) => Adapter
  (self: Adapter, that: Adapter): Adapter
} = dual(
  2,
  (self: Adapter, that: Adapter): Adapter =>
    recover(self, [{ _tag: "Fallback", adapter: make(that) }, ...that.recoveries])
)

/**
 * When an answer does not parse, shows it to the model together with what is
 * wrong and asks again, up to `times` times (1 by default).
 *
 * @since 0.1.0
 * @category combinators
 */
export const reask: {
  (times?: number): (self: Adapter) => Adapter
  (self: Adapter, times?: number): Adapter
} = dual(
  (args) => isAdapter(args[0]),
  (self: Adapter, times = 1): Adapter => recover(self, Array.from({ length: times }, () => ({ _tag: "Reask" })))
)

// =============================================================================
// Values
// =============================================================================

/**
 * An answer that fits the signature. `value` holds what a program works with,
 * `encoded` the same as JSON, for demonstrations and traces; `repairs` says in
 * words what had to be mended to read it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decoded {
  readonly value: { readonly [field: string]: unknown }
  readonly encoded: JsonRecord
  readonly repairs: ReadonlyArray<string>
}

/**
 * Reads the fields that a parser found with the schemas of the outputs. What
 * was written in another form but has one meaning only is mended and noted in
 * `repairs`: `"3"` for a number, `Billing.` for the literal `billing`, `None`
 * for `null`. A field that is absent takes the default of its schema, stays
 * absent where it is optional, and is `null` where it may be. All problems are
 * reported, not just the first.
 *
 * @since 0.1.0
 * @category destructors
 */
export const decode = (
  signature: Signature.Any,
  parsed: Parsed
): Effect.Effect<Decoded, ReadonlyArray<Problem>> => codec.of(signature).decode(parsed)

/**
 * Checks the input of a call and writes it as JSON.
 *
 * @since 0.1.0
 * @category destructors
 */
export const encodeInputs = (
  signature: Signature.Any,
  input: unknown
): Effect.Effect<JsonRecord, ReadonlyArray<Problem>> => codec.of(signature).encodeInputs(input)

/**
 * A problem with what stood there: `field "stars": expected integer, got "many"`.
 *
 * @since 0.1.0
 * @category destructors
 */
export const describe = ({ description, got }: Problem): string =>
  got === undefined ? description : `${description}, got ${got}`

/**
 * What to say to a model whose answer could not be used, so that it can do
 * better. Of many problems it names the first 20 and how many more there are.
 *
 * @since 0.1.0
 * @category destructors
 */
export const feedback = (signature: Signature.Any, problems: ReadonlyArray<Problem>): string =>
  [
    "Your answer could not be used:",
    ...listed(problems, describe).map((text) => `- ${text}`),
    "",
    `Answer again in the same format, with ${
      Signature.fields(signature).outputs.map((field) => `\`${field.name}\` (${field.type})`).join(", ")
    }.`
  ].join("\n")

// =============================================================================
// Errors
// =============================================================================

/**
 * An answer that is not what the signature asks for. The message has nothing of
 * what was said, and of many problems the first 20; `text` is the answer as it
 * came, `found` the fields that could be told apart; `previous` holds the
 * failures before a fallback or a repeated question, oldest first. A free answer
 * from which fields were to be extracted stands among them without problems.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdapterParseError
  extends Schema.TaggedError<AdapterParseError>("@effect-dspy/core/Adapter/AdapterParseError")(
    "AdapterParseError",
    {
      adapter: Schema.String,
      path: Schema.String,
      problems: Schema.Array(Problem),
      expected: Schema.Array(Schema.String),
      found: Schema.Array(Schema.String),
      text: Schema.String,
      previous: Schema.Array(
        Schema.Struct({ adapter: Schema.String, problems: Schema.Array(Problem), text: Schema.String })
      )
    }
  )
{
  override get message(): string {
    return `The answer${
      this.path === "" ? "" : ` at "${this.path}"`
    } could not be read by the ${this.adapter} adapter: ${
      listed(this.problems, ({ description }) => description).join("; ")
    }. Expected fields: ${this.expected.join(", ")}; found: ${this.found.length === 0 ? "none" : this.found.join(", ")}`
  }
}
