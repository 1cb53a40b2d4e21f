/**
 * The input field that is shown as turns of the conversation.
 */
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import * as Json from "../Json.ts"
import * as typeName from "./typeName.ts"

const AnnotationId = Symbol.for("@effect-dspy/core/History")

/** The schema of a history whose turns have this one. */
export const of = <A, I>(turn: Schema.Schema<A, I>): Schema.Schema<ReadonlyArray<A>, ReadonlyArray<I>> =>
  Schema.Array(turn).annotations({
    [typeName.AnnotationId]: "History",
    [AnnotationId]: true,
    description: "the conversation so far: the turns before the last one"
  })

/** A history whose turns have any fields. */
export const History: Schema.Schema<ReadonlyArray<Json.JsonRecord>> = of(Json.JsonRecord)

/** Whether a field of this type is a history, one that may be absent too. */
export const isOne = (ast: AST.AST): boolean =>
  ast.annotations[AnnotationId] === true || (AST.isUnion(ast) && ast.types.some(isOne))

/** The turns of an encoded history. */
export const turnsOf = (value: Json.Json | undefined): ReadonlyArray<Json.JsonRecord> =>
  Array.isArray(value) ? value.filter(Json.isJsonRecord) : []
