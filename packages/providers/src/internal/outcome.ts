/**
 * What can have been spent on a call that is over.
 *
 * @since 0.1.0
 */
import type * as Policy from "@effect-dspy/core/Policy"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"

/**
 * - `answered`: completely, by the model.
 * - `unsent`: a cache answered, an inner policy refused, or somebody else's call was shared.
 * - `refused`: by the provider, before the model began.
 * - `broken`: the answer began, or may have, and did not end well.
 * - `interrupted`: the caller left.
 */
export type Outcome = "answered" | "unsent" | "refused" | "broken" | "interrupted"

export const outcomeOf = ({ exit }: Policy.Ending): Outcome => {
  if (Exit.isSuccess(exit)) return exit.value.cached === true ? "unsent" : "answered"
  if (Cause.isInterruptedOnly(exit.cause)) return "interrupted"
  const failure = Cause.failureOption(exit.cause)
  if (Option.isSome(failure) && failure.value.attempts === 0) return "unsent"
  switch (Option.isSome(failure) ? failure.value.reason._tag : undefined) {
    case "CircuitOpen":
    case "BudgetExceeded":
      return "unsent"
    case "Timeout":
    case "Transport":
    case "MalformedResponse":
    case "ResponseTooLarge":
    case "StreamTruncated":
    case "StreamFailed":
    case undefined:
      return "broken"
    default:
      return "refused"
  }
}
