/**
 * Policies around the attempt that hold nothing open.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as Effect from "effect/Effect"

/**
 * `Policy.around` for what acquires nothing: a whole answer then has no scope,
 * which takes more memory while it is waited for than the rest of a policy.
 */
export const around = (
  wrap: <A, R>(attempt: Effect.Effect<A, LanguageModelError, R>) => Effect.Effect<A, LanguageModelError, R>
): Policy.Policy =>
(inner) =>
  Effect.map(Policy.around(Effect.succeed(wrap))(inner), (service): LanguageModel.Service => ({
    ...service,
    generate: (request) => wrap(inner.generate(request))
  }))
