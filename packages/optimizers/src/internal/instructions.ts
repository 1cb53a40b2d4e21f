/**
 * Instructions of predictors: read, replaced, and taken out of what a model
 * wrote around them.
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
): Parameters.Parameters => ({ ...parameters, [path]: { demos: [], ...parameters[path], instructions } })

/** What goes in and what comes out, one field a line. */
export const fieldsOf = ({ signature }: Module.Predictor): string => {
  const { inputs, outputs } = Signature.fields(signature)
  return [...inputs, ...outputs].map(({ description, kind, name, type }) =>
    `${kind} ${name} (${type})${description === undefined ? "" : `: ${description}`}`
  ).join("\n")
}

// A label in front, such as `New instruction:`, that is alone on its line or short.
const label = /^\s*(?:\*\*)?(?:proposed |new |improved )?(?:instructions?|prompt)(?:\*\*)?\s*:(?:\*\*)?\s*/i

/** The text itself, without a fence, quotes or a label around it. */
export const cleaned = (text: string): string => {
  const fenced = /^```[^\n]*\n([\s\S]*?)\n?```$/.exec(text.trim())?.[1] ?? text
  const bare = fenced.trim().replace(label, "").trim()
  const quoted = /^(["'“])([\s\S]*)(["'”])$/.exec(bare)
  const closing = quoted?.[1] === "“" ? "”" : quoted?.[1]
  const inner = quoted?.[2]
  return inner !== undefined && quoted?.[3] === closing && !inner.includes(closing ?? "") ? inner.trim() : bare
}
