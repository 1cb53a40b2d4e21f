/**
 * A `Signature` declares what one step of a program does: instructions, typed
 * input fields and typed output fields. It is a plain value; every operation
 * returns a new one and keeps the types.
 *
 * @since 0.1.0
 */
import type * as AST from "effect/SchemaAST"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"

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
 * Describes what a call takes and returns, from schemas.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const I extends Schema.Struct.Fields, const O extends Schema.Struct.Fields>(options: {
  readonly instructions?: string | undefined
  readonly input: I
  readonly output: O
}): Signature<I, O> =>
  Object.assign(Object.create(Proto), {
    instructions: options.instructions ?? "",
    input: Schema.Struct(options.input),
    output: Schema.Struct(options.output)
  })
