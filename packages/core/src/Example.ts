/**
 * An `Example` is one labelled case: typed inputs for a module, and labels
 * that a metric compares its output with.
 *
 * @since 0.1.0
 */
import * as Json from "./Json.ts"

/**
 * `id` names the example in journals, reports and score caches; equal data has
 * equal ids unless you give your own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Example<out In, out Labels> {
  readonly id: string
  readonly inputs: In
  readonly labels: Labels
}

/**
 * Builds one example. Without `id` it is the first 16 digits of the hash of
 * inputs and labels.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 *
 * const example = Example.make({ inputs: { question: "2 + 2?" }, labels: { answer: 4 } })
 *
 * assert.strictEqual(example.labels.answer, 4)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Labels>(options: {
  readonly id?: string | undefined
  readonly inputs: In
  readonly labels: Labels
}): Example<In, Labels> => ({
  id: options.id ?? Json.hash([options.inputs, options.labels]).slice(0, 16),
  inputs: options.inputs,
  labels: options.labels
})
