/**
 * Names for what a model may give beside the text of its answer.
 */

/** The annotation of a schema of such a field: what of an answer fills it. `tools` are those that may be called. */
export const AnnotationId = Symbol.for("@effect-dspy/core/Native")

export type Source = "reasoning" | "citations" | "toolCalls" | "tools"
