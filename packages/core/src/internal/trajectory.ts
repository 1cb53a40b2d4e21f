/** What happened so far, round by round, in modules that go on until they know enough. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as LanguageModelError from "../LanguageModelError.ts"
import type * as Predict from "../Predict.ts"
import * as Signature from "../Signature.ts"

const isFull = (error: unknown): boolean =>
  LanguageModelError.isLanguageModelError(error) && error.reason._tag === "ContextWindowExceeded"

const cuts = 3

/** Leaves out the oldest step while there is no room for all; the last one must stay. */
export const withRoom = <Step, A, E, R>(
  steps: ReadonlyArray<Step>,
  ask: (steps: ReadonlyArray<Step>) => Effect.Effect<A, E, R>,
  cut = 0
): Effect.Effect<A, E, R> =>
  Effect.catchIf(
    ask(steps.slice(cut)),
    (error) => isFull(error) && cut < cuts && steps.length - cut > 1,
    () => withRoom(steps, ask, cut + 1)
  )

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
