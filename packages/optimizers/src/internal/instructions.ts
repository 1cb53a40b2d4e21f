/**
 * Instructions of predictors, read and replaced.
 */
import type * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Signature from "@effect-dspy/core/Signature"

/** What the predictor is told under these parameters. */
export const of = (parameters: Parameters.Parameters, { path, signature }: Module.Predictor): string =>
  parameters[path]?.instructions ?? signature.instructions

export const replaced = (
  parameters: Parameters.Parameters,
  { path }: Module.Predictor,
  instructions: string
): Parameters.Parameters => {
  const entry = parameters[path]
  return { ...parameters, [path]: { ...entry, demos: entry?.demos ?? [], instructions } }
}

/** What goes in and what comes out, one field a line. */
export const fieldsOf = ({ signature }: Module.Predictor): string => {
  const { inputs, outputs } = Signature.fields(signature)
  return [...inputs, ...outputs].map(({ description, kind, name, type }) =>
    `${kind} ${name} (${type})${description === undefined ? "" : `: ${description}`}`
  ).join("\n")
}
