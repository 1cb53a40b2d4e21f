/**
 * A `Signature` declares what one step of a program does: instructions, typed
 * input fields and typed output fields. It is a plain value; every operation
 * returns a new one and keeps the types.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"
import type * as Types from "effect/Types"
import { equals as sameAst } from "./internal/signatureEquals.ts"
import * as signatureField from "./internal/signatureField.ts"
import { isName } from "./internal/signatureName.ts"
import * as signatureParse from "./internal/signatureParse.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId = "~@effect-dspy/core/Signature"

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * @since 0.1.0
 * @category models
 */
export interface Signature<in out I extends Schema.Struct.Fields, in out O extends Schema.Struct.Fields>
  extends Pipeable
{
  readonly [TypeId]: TypeId
  readonly instructions: string
  readonly input: Schema.Struct<I>
  readonly output: Schema.Struct<O>
}

/**
 * One side of a signature with its field types erased.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyFields {
  readonly fields: Schema.Struct.Fields
  readonly ast: AST.AST
}

/**
 * Any signature, with its field types erased.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any extends Pipeable {
  readonly [TypeId]: TypeId
  readonly instructions: string
  readonly input: AnyFields
  readonly output: AnyFields
}

/**
 * The fields of one side: schemas or property signatures that need no services.
 *
 * @since 0.1.0
 * @category models
 */
export type Fields = Schema.Struct.Fields & { readonly [name: PropertyKey]: NoServices }

/**
 * A schema that decodes and encodes without services.
 *
 * @since 0.1.0
 * @category models
 */
export interface NoServices {
  readonly [Schema.TypeId]: { readonly _R: Types.Covariant<never> }
}

/**
 * The fields of one side when they are known only at run time.
 *
 * @since 0.1.0
 * @category models
 */
export type DynamicFields = { readonly [name: PropertyKey]: Schema.Schema<unknown> }

/**
 * What a prompt can say about one field. Types and constraints are those of the
 * encoded side, which is what a model reads and writes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Field {
  readonly name: string
  readonly kind: "input" | "output"
  /** The schema of the value alone; `undefined` stands for an absent key. */
  readonly schema: Schema.Schema.AnyNoContext
  /** Whether the key may be absent from the encoded record. */
  readonly optional: boolean
  /** The encoded type, spelled as in TypeScript: `string`, `integer`, `string[]`, `"a" | "b"`. */
  readonly type: string
  readonly description: string | undefined
  /** Sentence fragments, joined by commas: `at least 1 character, matching the pattern ^[a-z]+$`. */
  readonly constraints: string | undefined
  /** The permitted values, when these are a closed set. */
  readonly literals: ReadonlyArray<string | number | boolean | null> | undefined
  /** Decoded values, from the `examples` annotation. */
  readonly examples: ReadonlyArray<unknown>
}

/**
 * The record a module made from `S` takes.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Input<S extends Any> = S extends Signature<infer I, infer _> ? Types.Simplify<Schema.Struct.Type<I>> : never

/**
 * The record a module made from `S` returns.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Output<S extends Any> = S extends Signature<infer _, infer O> ? Types.Simplify<Schema.Struct.Type<O>>
  : never

/**
 * Fields none of which is called `N`: a constraint for functions that add a field.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Lacks<N extends PropertyKey> =
  & Schema.Struct.Fields
  & {
    readonly [_ in N as {} extends Record<_, unknown> ? never : _]?: "Signature: a field of this name exists already"
  }

type Annotated<F> = F extends Schema.PropertySignature.All ? F
  : F extends Schema.Schema.All ? Schema.propertySignature<F>
  : never

// The condition of data-last functions, which see the name before the signature.
type Has<I, O, N extends string> = N extends keyof I | keyof O ? unknown
  : `Signature: there is no field '${N}'`

/**
 * @since 0.1.0
 * @category guards
 */
export const isSignature = (u: unknown): u is Any => Predicate.hasProperty(u, TypeId)

const Proto = {
  [TypeId]: TypeId,
  toString(this: Any) {
    return format(this)
  },
  pipe() {
    return pipeArguments(this, arguments)
  }
}

/**
 * A signature that cannot be: a bad field name, a bad type expression, no output.
 *
 * @since 0.1.0
 * @category errors
 */
export class SignatureError extends Schema.TaggedError<SignatureError>("@effect-dspy/core/Signature/SignatureError")(
  "SignatureError",
  {
    description: Schema.String,
    field: Schema.optional(Schema.String),
    /** Offset into the text that was parsed, in UTF-16 code units. */
    position: Schema.optional(Schema.Number),
    /** What would have been right at that place. */
    expected: Schema.optional(Schema.Array(Schema.String))
  }
) {
  override get message(): string {
    const field = this.field === undefined ? "" : `field '${this.field}': `
    const position = this.position === undefined ? "" : ` at position ${this.position}`
    const expected = this.expected === undefined ? "" : `; expected ${this.expected.join(", ")}`
    return `Signature: ${field}${this.description}${position}${expected}`
  }
}

/**
 * The fields of both sides in order, with what a prompt can say about each.
 * Computed once, also for signatures that differ in their instructions only.
 *
 * @example
 * ```ts
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as Schema from "effect/Schema"
 *
 * const rate = Signature.make({
 *   input: { review: Schema.String.annotations({ description: "as the customer wrote it" }) },
 *   output: { stars: Schema.Int.pipe(Schema.between(1, 5)) }
 * })
 * const { inputs, outputs } = Signature.fields(rate)
 *
 * assert.deepStrictEqual(inputs.map((field) => field.description), ["as the customer wrote it"])
 * assert.deepStrictEqual(outputs.map((field) => [field.type, field.constraints]), [["integer", "between 1 and 5"]])
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const fields = (
  self: Any
): { readonly inputs: ReadonlyArray<Field>; readonly outputs: ReadonlyArray<Field> } => ({
  inputs: described(self.input, "input"),
  outputs: described(self.output, "output")
})

const described = (side: AnyFields, kind: Field["kind"]): ReadonlyArray<Field> => {
  const known = descriptions.get(side)
  if (known !== undefined) return known
  const fresh = Object.entries(side.fields).map(([name, field]) => signatureField.describe(name, kind, field))
  descriptions.set(side, fresh)
  return fresh
}

const descriptions = new WeakMap<AnyFields, ReadonlyArray<Field>>()

const checked = (input: Schema.Struct.Fields, output: Schema.Struct.Fields): void => {
  if (Reflect.ownKeys(output).length === 0) {
    throw new SignatureError({ description: "at least one output field is needed" })
  }
  for (const side of [input, output]) {
    for (const key of Reflect.ownKeys(side)) {
      const field = String(key)
      const fail = (description: string) => {
        throw new SignatureError({ field, description })
      }
      if (!isName(field)) {
        fail("a name is letters, digits and _, does not start with a digit, and is not __proto__")
      }
      if (side === output && Object.hasOwn(input, key)) fail("is both an input and an output")
      const from = signatureField.renamedFrom(side[key]!) // the key comes from `side`
      if (from !== undefined) fail(`is read from '${String(from)}': use that name in the signature`)
    }
  }
}

const list = (fields: Schema.Struct.Fields): string => {
  const names = Object.keys(fields).map((name) => `\`${name}\``)
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`
}

const defaultInstructions = (input: Schema.Struct.Fields, output: Schema.Struct.Fields): string =>
  Object.keys(input).length === 0 ? `Work out ${list(output)}.` : `From ${list(input)}, work out ${list(output)}.`

const makeProto = <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
  instructions: string | undefined,
  input: I,
  output: O
): Signature<I, O> => {
  checked(input, output)
  return Object.assign(Object.create(Proto), {
    instructions: instructions ?? defaultInstructions(input, output),
    input: Schema.Struct(input),
    output: Schema.Struct(output)
  })
}

/**
 * Describes what a call takes and returns, from schemas. Descriptions,
 * constraints and examples are schema annotations.
 *
 * Without instructions one sentence is generated that names the fields; it
 * follows when fields are added or removed. An empty string stays empty. Throws
 * a `SignatureError` when there is no output, or a name is on both sides, or is
 * not made of letters, digits and `_`.
 *
 * @example
 * ```ts
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as Schema from "effect/Schema"
 *
 * const triage = Signature.make({
 *   instructions: "Route a support ticket.",
 *   input: { ticket: Schema.String },
 *   output: { team: Schema.Literal("billing", "technical"), urgent: Schema.Boolean }
 * })
 *
 * assert.strictEqual(Signature.format(triage), `ticket -> team: "billing" | "technical", urgent: boolean`)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const I extends Fields, const O extends Fields & Lacks<keyof I>>(options: {
  readonly instructions?: string | undefined
  readonly input: I
  readonly output: O
}): Signature<I, O> => makeProto(options.instructions, options.input, options.output)

// =============================================================================
// Text
// =============================================================================

/**
 * Schemas for the type names in a text that are not built in.
 *
 * @since 0.1.0
 * @category models
 */
export interface CustomTypes {
  readonly [name: string]: Schema.Schema.AnyNoContext
}

/**
 * The signature a text stands for.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Parse<S extends string, T extends CustomTypes = {}> = signatureParse.Parsed<S, T> extends
  [infer I extends Schema.Struct.Fields, infer O extends Schema.Struct.Fields]
  ? Signature<{ readonly [K in keyof I]: I[K] }, { readonly [K in keyof O]: O[K] }>
  : never

/**
 * `S` when it is the text of a signature, otherwise a text that says what is
 * wrong with it. As the type of a parameter it makes the compiler report that.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Check<S extends string, T extends CustomTypes = {}> = string extends S
  ? "Signature: expected a signature, as Signature.make makes it, or a literal text; Signature.fromString reads other texts"
  : signatureParse.Parsed<S, T> extends infer Problem extends string ? `Signature: ${Problem}`
  : S

/**
 * Reads a signature from a text whose fields and types the compiler reads too.
 *
 * Fields are separated by commas, inputs and outputs by `->`; `name?` may be
 * absent; without a type a field is a string. Types are written as in TypeScript
 * or as in Python:
 *
 * | | |
 * | --- | --- |
 * | scalars | `string` `str`, `number` `float` (finite), `int`, `boolean` `bool`, `null` `None`, `unknown` `any` `Any` |
 * | literals | `"a" \| 'b' \| 3 \| true`, `Literal["a", 3]` |
 * | lists | `T[]`, `Array<T>`, `list[T]`; `[A, B]`, `tuple[A, B]` |
 * | records | `{ name: T, age?: U }`, `Record<string, T>`, `dict[str, T]` |
 * | unions | `A \| B`, `Union[A, B]`; `A \| null`, `Optional[A]` |
 * | values | `Image`, `Audio`, `Document` `File`, `History`, `Code`, `Code["typescript"]`, `Reasoning`, `Citations`, `Tool`, `ToolCalls`; `dspy.Image` and so on |
 * | other names | schemas of the option `types` |
 *
 * A text that cannot be read is a compile-time error, and throws the same
 * `SignatureError`.
 *
 * @example
 * ```ts
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as Schema from "effect/Schema"
 *
 * class Invoice extends Schema.Class<Invoice>("Invoice")({ total: Schema.Number }) {}
 *
 * const check = Signature.parse("invoices: Invoice[], limit?: number -> verdict: 'ok' | 'late', reason", {
 *   types: { Invoice },
 *   instructions: "Audit the invoices."
 * })
 * const output: Signature.Output<typeof check> = { verdict: "late", reason: "due in May" }
 *
 * assert.deepStrictEqual(Object.keys(check.input.fields), ["invoices", "limit"])
 * assert.deepStrictEqual(Schema.decodeUnknownSync(check.output)(output), output)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = <const S extends string, const T extends CustomTypes = {}>(
  text: Check<S, T>,
  options?: { readonly types?: T | undefined; readonly instructions?: string | undefined }
): Parse<S, T> => {
  const signature = fromText(text, options)
  if (Either.isLeft(signature)) throw signature.left
  return signature.right as Parse<S, T> // the type and the value are read by the same grammar
}

/**
 * Reads a signature from a text that is known only at run time, in the grammar
 * of `parse`. The error tells the field, the position and what was expected.
 *
 * @example
 * ```ts
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as Either from "effect/Either"
 *
 * const error = Either.flip(Signature.fromString("question -> answer: strin")).pipe(Either.getOrThrow)
 *
 * assert.strictEqual(error.field, "answer")
 * assert.match(error.message, /^Signature: field 'answer': unknown type 'strin' at position 20; expected string, /)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromString = (
  text: string,
  options?: { readonly types?: CustomTypes | undefined; readonly instructions?: string | undefined }
): Either.Either<Signature<DynamicFields, DynamicFields>, SignatureError> =>
  // fields of any type are fields of unknown type, as long as nobody knows their names
  fromText(text, options) as Either.Either<Signature<DynamicFields, DynamicFields>, SignatureError>

const fromText = (
  text: string,
  options: { readonly types?: CustomTypes | undefined; readonly instructions?: string | undefined } | undefined
): Either.Either<Any, SignatureError> =>
  Either.mapBoth(signatureParse.parse(text, options?.types ?? {}), {
    onLeft: (problem) => new SignatureError(problem),
    onRight: ({ input, output }) => makeProto(options?.instructions, input, output)
  })

/**
 * The text of a signature: `question, context?: string[] -> answer`. It holds
 * names and encoded types; descriptions, constraints and instructions are not
 * part of it. `parse` and `fromString` read it back, unless it has a type that
 * has no name in their grammar.
 *
 * @since 0.1.0
 * @category destructors
 */
export const format = (self: Any): string => {
  const side = (fields: ReadonlyArray<Field>) =>
    fields.map(({ name, optional, type }) => `${name}${optional ? "?" : ""}${type === "string" ? "" : `: ${type}`}`)
      .join(", ")
  const { inputs, outputs } = fields(self)
  return `${side(inputs)} -> ${side(outputs)}`.trimStart()
}

// =============================================================================
// Operations
// =============================================================================

/**
 * Whether two signatures have the same instructions and the same fields in the
 * same order, with the same types, descriptions, constraints and examples.
 *
 * Filters and transformations that are not Effect's own count as the same only
 * when they are the same function.
 *
 * @since 0.1.0
 * @category predicates
 */
export const equals: {
  (that: Any): (self: Any) => boolean
  (self: Any, that: Any): boolean
} = dual(
  2,
  (self: Any, that: Any): boolean =>
    self.instructions === that.instructions && sameAst(self.input.ast, that.input.ast) &&
    sameAst(self.output.ast, that.output.ast)
)

/**
 * Replaces the instructions.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withInstructions: {
  (
    instructions: string
  ): <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(self: Signature<I, O>) => Signature<I, O>
  <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
    self: Signature<I, O>,
    instructions: string
  ): Signature<I, O>
} = dual(
  2,
  <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
    self: Signature<I, O>,
    instructions: string
  ): Signature<I, O> => Object.assign(Object.create(Proto), { ...self, instructions })
)

/**
 * Adds a paragraph to the instructions, which may be the generated ones.
 *
 * @since 0.1.0
 * @category combinators
 */
export const appendInstructions: {
  (
    paragraph: string
  ): <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(self: Signature<I, O>) => Signature<I, O>
  <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
    self: Signature<I, O>,
    paragraph: string
  ): Signature<I, O>
} = dual(
  2,
  <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
    self: Signature<I, O>,
    paragraph: string
  ): Signature<I, O> =>
    withInstructions(self, self.instructions === "" ? paragraph : `${self.instructions}\n\n${paragraph}`)
)

// Every operation on fields ends here. The caller's type says what the new fields are.
const withFields = (self: Any, input: Schema.Struct.Fields, output: Schema.Struct.Fields) => {
  const generated = self.instructions === defaultInstructions(self.input.fields, self.output.fields)
  return makeProto<never, never>(generated ? undefined : self.instructions, input as never, output as never)
}

const inserted = (
  fields: Schema.Struct.Fields,
  index: number,
  name: string,
  field: Schema.Struct.Field
): Schema.Struct.Fields => {
  const entries: Array<[string, Schema.Struct.Field]> = Object.entries(fields)
  const place = index < 0 ? index + entries.length + 1 : index
  if (!Number.isInteger(place) || place < 0 || place > entries.length) {
    throw new SignatureError({
      field: name,
      description: `cannot be inserted at ${index}: there are ${entries.length} fields on its side`
    })
  }
  if (Object.hasOwn(fields, name)) throw new SignatureError({ field: name, description: "is declared twice" })
  return Object.fromEntries(entries.toSpliced(place, 0, [name, field]))
}

/**
 * Adds an input field before the others.
 *
 * @since 0.1.0
 * @category combinators
 */
export const prependInput: {
  <N extends string, F extends Fields[string]>(name: N, schema: F): <I extends Lacks<N>, O extends Lacks<N>>(
    self: Signature<I, O>
  ) => Signature<{ readonly [K in keyof I | N]: K extends keyof I ? I[K] : F }, O>
  <I extends Lacks<N>, O extends Lacks<N>, N extends string, F extends Fields[string]>(
    self: Signature<I, O>,
    name: N,
    schema: F
  ): Signature<{ readonly [K in keyof I | N]: K extends keyof I ? I[K] : F }, O>
} = dual(
  3,
  (self: Any, name: string, schema: Schema.Struct.Field) =>
    withFields(self, inserted(self.input.fields, 0, name, schema), self.output.fields)
)

/**
 * Adds an input field after the others.
 *
 * @since 0.1.0
 * @category combinators
 */
export const appendInput: {
  <N extends string, F extends Fields[string]>(name: N, schema: F): <I extends Lacks<N>, O extends Lacks<N>>(
    self: Signature<I, O>
  ) => Signature<{ readonly [K in keyof I | N]: K extends keyof I ? I[K] : F }, O>
  <I extends Lacks<N>, O extends Lacks<N>, N extends string, F extends Fields[string]>(
    self: Signature<I, O>,
    name: N,
    schema: F
  ): Signature<{ readonly [K in keyof I | N]: K extends keyof I ? I[K] : F }, O>
} = dual(
  3,
  (self: Any, name: string, schema: Schema.Struct.Field) =>
    withFields(self, inserted(self.input.fields, -1, name, schema), self.output.fields)
)

/**
 * Adds an input field at a place among the inputs. A negative index counts from the
 * end: -1 puts it last. Throws a `SignatureError` when out of range.
 *
 * @since 0.1.0
 * @category combinators
 */
export const insertInput: {
  <N extends string, F extends Fields[string]>(
    index: number,
    name: N,
    schema: F
  ): <I extends Lacks<N>, O extends Lacks<N>>(
    self: Signature<I, O>
  ) => Signature<{ readonly [K in keyof I | N]: K extends keyof I ? I[K] : F }, O>
  <I extends Lacks<N>, O extends Lacks<N>, N extends string, F extends Fields[string]>(
    self: Signature<I, O>,
    index: number,
    name: N,
    schema: F
  ): Signature<{ readonly [K in keyof I | N]: K extends keyof I ? I[K] : F }, O>
} = dual(
  4,
  (self: Any, index: number, name: string, schema: Schema.Struct.Field) =>
    withFields(self, inserted(self.input.fields, index, name, schema), self.output.fields)
)

/**
 * Adds an output field before the others.
 *
 * @example
 * ```ts
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as Schema from "effect/Schema"
 *
 * const qa = Signature.parse("question -> answer").pipe(
 *   Signature.prependOutput("reasoning", Schema.String),
 *   Signature.appendOutput("confidence", Schema.Number.pipe(Schema.between(0, 1)))
 * )
 *
 * assert.strictEqual(Signature.format(qa), "question -> reasoning, answer, confidence: number")
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const prependOutput: {
  <N extends string, F extends Fields[string]>(name: N, schema: F): <I extends Lacks<N>, O extends Lacks<N>>(
    self: Signature<I, O>
  ) => Signature<I, { readonly [K in keyof O | N]: K extends keyof O ? O[K] : F }>
  <I extends Lacks<N>, O extends Lacks<N>, N extends string, F extends Fields[string]>(
    self: Signature<I, O>,
    name: N,
    schema: F
  ): Signature<I, { readonly [K in keyof O | N]: K extends keyof O ? O[K] : F }>
} = dual(
  3,
  (self: Any, name: string, schema: Schema.Struct.Field) =>
    withFields(self, self.input.fields, inserted(self.output.fields, 0, name, schema))
)

/**
 * Adds an output field after the others.
 *
 * @since 0.1.0
 * @category combinators
 */
export const appendOutput: {
  <N extends string, F extends Fields[string]>(name: N, schema: F): <I extends Lacks<N>, O extends Lacks<N>>(
    self: Signature<I, O>
  ) => Signature<I, { readonly [K in keyof O | N]: K extends keyof O ? O[K] : F }>
  <I extends Lacks<N>, O extends Lacks<N>, N extends string, F extends Fields[string]>(
    self: Signature<I, O>,
    name: N,
    schema: F
  ): Signature<I, { readonly [K in keyof O | N]: K extends keyof O ? O[K] : F }>
} = dual(
  3,
  (self: Any, name: string, schema: Schema.Struct.Field) =>
    withFields(self, self.input.fields, inserted(self.output.fields, -1, name, schema))
)

/**
 * Adds an output field at a place among the outputs. A negative index counts from the
 * end: -1 puts it last. Throws a `SignatureError` when out of range.
 *
 * @since 0.1.0
 * @category combinators
 */
export const insertOutput: {
  <N extends string, F extends Fields[string]>(
    index: number,
    name: N,
    schema: F
  ): <I extends Lacks<N>, O extends Lacks<N>>(
    self: Signature<I, O>
  ) => Signature<I, { readonly [K in keyof O | N]: K extends keyof O ? O[K] : F }>
  <I extends Lacks<N>, O extends Lacks<N>, N extends string, F extends Fields[string]>(
    self: Signature<I, O>,
    index: number,
    name: N,
    schema: F
  ): Signature<I, { readonly [K in keyof O | N]: K extends keyof O ? O[K] : F }>
} = dual(
  4,
  (self: Any, index: number, name: string, schema: Schema.Struct.Field) =>
    withFields(self, self.input.fields, inserted(self.output.fields, index, name, schema))
)

const known = (self: Any, name: string): void => {
  if (!Object.hasOwn(self.input.fields, name) && !Object.hasOwn(self.output.fields, name)) {
    throw new SignatureError({ field: name, description: `does not exist in ${format(self)}` })
  }
}

const replaced = (fields: Schema.Struct.Fields, name: string, f: (field: Schema.Struct.Field) => Schema.Struct.Field) =>
  Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, key === name ? f(field) : field]))

const updated = (self: Any, name: string, f: (field: Schema.Struct.Field) => Schema.Struct.Field) => {
  known(self, name)
  return withFields(self, replaced(self.input.fields, name, f), replaced(self.output.fields, name, f))
}

/**
 * Replaces the schema of a field, which keeps its place.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withField: {
  <N extends string, F extends Fields[string]>(
    name: N,
    schema: F
  ): <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
    self: Signature<I, O> & Has<I, O, N>
  ) => Signature<
    { readonly [K in keyof I]: K extends N ? F : I[K] },
    { readonly [K in keyof O]: K extends N ? F : O[K] }
  >
  <
    I extends Schema.Struct.Fields,
    O extends Schema.Struct.Fields,
    N extends string & (keyof I | keyof O),
    F extends Fields[string]
  >(
    self: Signature<I, O>,
    name: N,
    schema: F
  ): Signature<{ readonly [K in keyof I]: K extends N ? F : I[K] }, { readonly [K in keyof O]: K extends N ? F : O[K] }>
} = dual(3, (self: Any, name: string, schema: Schema.Struct.Field) => updated(self, name, () => schema))

/**
 * Sets what a prompt says about a field, whatever its schema says.
 *
 * @example
 * ```ts
 * import * as Signature from "@effect-dspy/core/Signature"
 *
 * const qa = Signature.parse("question -> answer").pipe(Signature.withDescription("answer", "at most five words"))
 *
 * assert.strictEqual(Signature.fields(qa).outputs[0]?.description, "at most five words")
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const withDescription: {
  <N extends string>(name: N, description: string): <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
    self: Signature<I, O> & Has<I, O, N>
  ) => Signature<
    { readonly [K in keyof I]: K extends N ? Annotated<I[K]> : I[K] },
    { readonly [K in keyof O]: K extends N ? Annotated<O[K]> : O[K] }
  >
  <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields, N extends string & (keyof I | keyof O)>(
    self: Signature<I, O>,
    name: N,
    description: string
  ): Signature<
    { readonly [K in keyof I]: K extends N ? Annotated<I[K]> : I[K] },
    { readonly [K in keyof O]: K extends N ? Annotated<O[K]> : O[K] }
  >
} = dual(
  3,
  (self: Any, name: string, description: string) =>
    updated(
      self,
      name,
      (field) =>
        (Schema.isPropertySignature(field) ? field : Schema.propertySignature(field)).annotations({ description })
    )
)

/**
 * Removes a field. The last output cannot be removed.
 *
 * @since 0.1.0
 * @category combinators
 */
export const remove: {
  <N extends string>(name: N): <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
    self: Signature<I, O> & Has<I, O, N>
  ) => Signature<{ readonly [K in keyof I as Exclude<K, N>]: I[K] }, { readonly [K in keyof O as Exclude<K, N>]: O[K] }>
  <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields, N extends string & (keyof I | keyof O)>(
    self: Signature<I, O>,
    name: N
  ): Signature<{ readonly [K in keyof I as Exclude<K, N>]: I[K] }, { readonly [K in keyof O as Exclude<K, N>]: O[K] }>
} = dual(2, (self: Any, name: string) => {
  known(self, name)
  const rest = (fields: Schema.Struct.Fields) =>
    Object.fromEntries(Object.entries(fields).filter(([key]) => key !== name))
  return withFields(self, rest(self.input.fields), rest(self.output.fields))
})
