/**
 * Names for types that a prompt, and the text of a signature, call by name.
 */
import type * as AST from "effect/SchemaAST"

/** The annotation of a schema that is called by a name, as it is written in the text of a signature. */
export const AnnotationId = Symbol.for("@effect-dspy/core/TypeName")

export const nameOf = (ast: AST.AST): string | undefined => {
  const name = ast.annotations[AnnotationId]
  return typeof name === "string" ? name : undefined
}
