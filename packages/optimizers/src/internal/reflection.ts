/**
 * Reflection: what went right and wrong when a program was run, and a model
 * that makes better instructions of it.
 */
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import type * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Signature from "@effect-dspy/core/Signature"
import * as Schema from "effect/Schema"
import type * as GEPA from "../GEPA.ts"
import * as instructions from "./instructions.ts"
import * as rng from "./rng.ts"
import type { Run } from "./runs.ts"

// -----------------------------------------------------------------------------
// What happened
// -----------------------------------------------------------------------------

/**
 * What a run shows of one predictor: one of its calls, the failed one if there
 * is one. Undefined if it was not asked, or if the failure was not its doing.
 */
export const attempt = (run: Run, predictor: Module.Predictor): GEPA.Attempt | undefined => {
  const { scored } = run
  const { path, signature } = predictor
  if (scored._tag === "Failed" && scored.transient) return undefined
  if (scored._tag === "Failed" && scored.call?.listed === true && scored.call.path === path) {
    const { answer, inputs } = scored.call
    const fields = Signature.fields(signature).outputs.map(({ name, type }) => `${name} (${type})`).join(", ")
    return {
      inputs,
      ...(answer === undefined ? undefined : { outputs: answer }),
      feedback: `${scored.message}\nExpected are the fields ${fields}, in the form that was asked for.`,
      score: 0
    }
  }
  const calls = (scored.trace ?? []).filter((call) => call.listed && call.path === path)
  const call = calls[rng.at("attempt", run.key).below(Math.max(1, calls.length))]
  if (call === undefined) return undefined
  const { inputs, outputs } = call
  return scored._tag === "Failed"
    ? { inputs, outputs, feedback: `The program failed after this. ${scored.message}`, score: 0 }
    : { inputs, outputs, feedback: scored.predictors?.[path] ?? scored.feedback, score: scored.score }
}

// -----------------------------------------------------------------------------
// What to make of it
// -----------------------------------------------------------------------------

/** How the journal keeps what a proposer answers. */
export const Written = Schema.Struct({ instructions: Schema.String })

const reflect = ChainOfThought.make(Signature.make({
  instructions: [
    "A language model does one step of a task. It is told what to do by instructions, and you write better ones. You see " +
    "the instructions it has now, and attempts it made with them: what it was given, what it answered, and what was said " +
    "about the result.",
    "First find out why attempts went wrong: look for what those with the same fault have in common, and for what sets " +
    "them apart from those that went well. Feedback may hold facts and rules of the task which nobody can guess.",
    "Then write the instructions anew, complete, since the model will see nothing but them and the fields it is given:",
    "- Keep what works, and every rule in the present instructions that the attempts do not contradict.",
    "- State what the attempts teach as rules, with the exact names and values to use, so that they help with inputs not " +
    "seen here. Do not list the attempts themselves.",
    "- Where an answer could not be read, say how it must be written.",
    "- Leave out what is of no use: every sentence must earn its place."
  ].join("\n"),
  input: {
    fields: Schema.String.annotations({ description: "what the model is given and what it has to write" }),
    currentInstructions: Schema.String,
    attempts: Schema.String
  },
  output: {
    instructions: Schema.String.annotations({ description: "the new instructions alone, ready to be used" })
  }
}))

/** Asks the prompt model once, with its thoughts before the instructions. */
export const proposer: Module.Module<
  GEPA.Reflection,
  { readonly instructions: string },
  unknown,
  LanguageModel.LanguageModel
> = reflect.pipe(
  Module.mapInput(({ attempts, fields, instructions }: GEPA.Reflection) => ({
    fields,
    currentInstructions: instructions,
    attempts: attempts.map(attemptText).join("\n\n")
  })),
  Module.withSettings({ temperature: 1 })
)

/** The question a proposer is asked. */
export const question = (
  parameters: Parameters.Parameters,
  predictor: Module.Predictor,
  attempts: ReadonlyArray<GEPA.Attempt>
): GEPA.Reflection => ({
  path: predictor.path,
  fields: instructions.fieldsOf(predictor),
  instructions: instructions.of(parameters, predictor),
  attempts
})

const attemptText = ({ feedback, inputs, outputs, score }: GEPA.Attempt, index: number): string =>
  [
    `Attempt ${index + 1}`,
    "Given:",
    fieldsText(inputs),
    ...(outputs === undefined ? [] : ["Answered:", typeof outputs === "string" ? outputs : fieldsText(outputs)]),
    `Score: ${Number(score.toFixed(2))} of 1`,
    ...(feedback === undefined ? [] : ["Feedback:", feedback])
  ].join("\n")

// A long document says what it is like by its beginning, and a dozen of them would not fit.
const longest = 4000

const valueText = (value: Json.Json): string => {
  const text = typeof value === "string" ? value : JSON.stringify(value)
  return text.length > longest ? `${text.slice(0, longest)} …` : text
}

/** Values by name, one a line. */
export const fieldsText = (values: Json.JsonRecord): string =>
  Object.entries(values).map(([name, value]) => `${name}: ${valueText(value)}`).join("\n")
