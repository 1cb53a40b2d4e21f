/** What happened so far, round by round, in modules that go on until they know enough. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as LanguageModelError from "../LanguageModelError.ts"
import type * as Predict from "../Predict.ts"
import * as Signature from "../Signature.ts"

/** Whether there was no room for what was asked. */
export const isFull = (error: unknown): boolean =>
  LanguageModelError.isLanguageModelError(error) && error.reason._tag === "ContextWindowExceeded"

const cuts = 3

/**
 * Asks about the steps that there is room for, in one run of a module: leaves out
 * the oldest one while there is none, up to three times for each question. The
 * last one must stay, and what had no room once stays out.
 */
export const room = <Step>(steps: ReadonlyArray<Step>) => {
  let from = 0
  const ask = <A, E, R>(
    question: (steps: ReadonlyArray<Step>) => Effect.Effect<A, E, R>,
    left = cuts
  ): Effect.Effect<A, E, R> =>
    Effect.catchIf(
      Effect.suspend(() => question(steps.slice(from))),
      (error) => isFull(error) && left > 0 && steps.length - from > 1,
      () => {
        from += 1
        return ask(question, left - 1)
      }
    )
  return ask
}

/** Why a model that could not say how to go on ends the rounds; what is no reason for that is a failure still. */
export const ending = (
  module: string,
  error: Predict.PredictError
): Effect.Effect<"unreadable" | "contextWindow", Predict.PredictError> =>
  error._tag === "AdapterParseError" || isFull(error)
    ? Effect.as(
      Effect.logWarning(`A ${module} did not go on: ${error.message}`),
      isFull(error) ? "contextWindow" : "unreadable"
    )
    : Effect.fail(error)

export const field = Schema.String.annotations({ description: "what was thought, done and seen so far" })

/** The signature with what happened as a further input. */
export const extracting = (signature: Signature.Any): Signature.Any =>
  // The compiler cannot add a field to a signature it knows only by a variable.
  Signature.appendInput(signature as Signature.Signature<{}, {}>, "trajectory", field)

export const namesOf = (fields: ReadonlyArray<Signature.Field>): string =>
  fields.map(({ name }) => `\`${name}\``).join(", ")
