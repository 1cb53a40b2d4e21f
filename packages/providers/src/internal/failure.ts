/**
 * Failures that a policy finds, not the provider.
 *
 * @since 0.1.0
 */
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"

/** The failure of a call to the model that users know by `id`. */
export const failure = (
  id: string,
  reason: LanguageModelError.Reason,
  more: { readonly attempts?: number; readonly elapsed?: number } = {}
): LanguageModelError.LanguageModelError =>
  LanguageModelError.make({ reason, provider: id.split("/")[0] ?? id, model: id, ...more })
