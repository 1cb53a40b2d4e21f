/**
 * A `Metric` says how good an output is: a score from 0 to 1, and, if it can,
 * feedback in words that an optimizer may show to a model.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Example } from "./Example.ts"
import type { Trace } from "./Trace.ts"

/**
 * `value` is between 0 (wrong) and 1 (right).
 *
 * @since 0.1.0
 * @category models
 */
export const Score = Schema.Struct({
  value: Schema.Number.pipe(Schema.between(0, 1)),
  feedback: Schema.optional(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Score extends Schema.Schema.Type<typeof Score> {}

/**
 * Judges one output of a module against an example. The trace holds the calls
 * of the predictors in canonical order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metric<in In, in Labels, in Out, out E = never, out R = never> {
  (example: Example<In, Labels>, output: Out, trace: Trace): Effect.Effect<Score, E, R>
}
