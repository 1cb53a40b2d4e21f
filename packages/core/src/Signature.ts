/**
 * A `Signature` declares what one step of a program does: instructions, typed
 * input fields and typed output fields. It is a plain value; every operation
 * returns a new one and keeps the types.
 *
 * @since 0.1.0
 */
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"
import type * as Types from "effect/Types"
import * as signatureField from "./internal/signatureField.ts"

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
export type Fields = {
  readonly [x: PropertyKey]: Schema.Struct.Field & {
    readonly [Schema.TypeId]: { readonly _R: Types.Covariant<never> }
  }
}

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
 * @since 0.1.0
 * @category guards
 */
export const isSignature = (u: unknown): u is Any => Predicate.hasProperty(u, TypeId)

const Proto = {
  [TypeId]: TypeId,
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
 * Computed once per signature.
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
): { readonly inputs: ReadonlyArray<Field>; readonly outputs: ReadonlyArray<Field> } => {
  const known = described.get(self)
  if (known !== undefined) return known
  const side = (kind: Field["kind"], fields: Schema.Struct.Fields) =>
    Object.entries(fields).map(([name, field]) => signatureField.describe(name, kind, field))
  const fresh = { inputs: side("input", self.input.fields), outputs: side("output", self.output.fields) }
  described.set(self, fresh)
  return fresh
}

const described = new WeakMap<Any, ReturnType<typeof fields>>()

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
      if (!signatureField.isName(field) || field === "__proto__") {
        fail("a name is letters, digits and _, does not start with a digit, and is not __proto__")
      }
      if (side === output && Object.hasOwn(input, key)) fail("is both an input and an output")
      const from = signatureField.renamedFrom(side[key]!) // the key comes from `side`
      if (from !== undefined) fail(`is read from '${String(from)}': use that name in the signature`)
    }
  }
}

const makeProto = <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
  instructions: string,
  input: I,
  output: O
): Signature<I, O> => {
  checked(input, output)
  return Object.assign(Object.create(Proto), {
    instructions,
    input: Schema.Struct(input),
    output: Schema.Struct(output)
  })
}

/**
 * Describes what a call takes and returns, from schemas.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const I extends Fields, const O extends Fields>(options: {
  readonly instructions?: string | undefined
  readonly input: I
  readonly output: O
}): Signature<I, O> => makeProto(options.instructions ?? "", options.input, options.output)
