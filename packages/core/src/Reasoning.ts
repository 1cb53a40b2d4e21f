/**
 * The reasoning of a model as a field: what it thought before it answered, told
 * by the provider where that is so, and otherwise written like any field.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as native from "./internal/nativeName.ts"
import * as typeName from "./internal/typeName.ts"

/**
 * The schema of an output field for reasoning; a value is a string. Written
 * `Reasoning` or `dspy.Reasoning` in the text of a signature.
 *
 * With a model that tells its reasoning (`capabilities.reasoning`), and where the
 * call asks for some (`settings.reasoningEffort`), the field is not asked for: it
 * is what the model thought, `""` if it told nothing. It streams as a field all
 * the same.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const add = Predict.make("question -> reasoning: Reasoning, answer: int", { settings: { reasoningEffort: "low" } })
 *
 * const program = add({ question: "What is 2 + 2?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ answer: 4 }).pipe(TestLanguageModel.withReasoning("Two pairs."))
 *   ]))
 * )
 *
 * Effect.runPromise(program).then((output) => assert.deepStrictEqual(output, { reasoning: "Two pairs.", answer: 4 }))
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const Reasoning: Schema.Schema<string> = Schema.String.annotations({
  description: "the thinking that leads to the other fields, step by step",
  [typeName.AnnotationId]: "Reasoning",
  [native.AnnotationId]: "reasoning"
})
