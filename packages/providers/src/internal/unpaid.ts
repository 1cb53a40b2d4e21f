/**
 * Answers and failures for which nothing was paid, since they had been given already.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"

/** An answer, or the end of a stream, as it is given again: every count that is known is 0. */
export const unpaid = <A extends LanguageModel.Response | LanguageModel.Completed>(answer: A): A => {
  const usage: { -readonly [K in keyof LanguageModel.Usage]: LanguageModel.Usage[K] } = {}
  // Keys of a Usage are keyof Usage.
  for (const count of Object.keys(answer.usage) as Array<keyof LanguageModel.Usage>) usage[count] = 0
  return { ...answer, usage, cached: true }
}

/** A failure as it is told again: nothing was sent for it. */
export const unsent = (error: LanguageModelError.LanguageModelError): LanguageModelError.LanguageModelError => {
  const { elapsed, model, provider, reason, requestId, shouldRetry } = error
  return LanguageModelError.make({ reason, provider, model, elapsed, requestId, shouldRetry, attempts: 0 })
}
