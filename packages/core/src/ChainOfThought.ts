/**
 * `ChainOfThought` lets the model reason in words before it answers: the
 * signature with an output field `reasoning` in front.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import { resolve } from "./internal/signatureSource.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Signature from "./Signature.ts"

/**
 * @since 0.1.0
 * @category models
 */
export type ChainOfThought<S extends Signature.Any> = Module.Module<
  Signature.Input<S>,
  Reasoned<S>,
  Predict.PredictError,
  LanguageModel.LanguageModel
>

type Reasoned<S extends Signature.Any> = Types.Simplify<{ readonly reasoning: string } & Signature.Output<S>>

/**
 * A module that asks for `reasoning` before the fields of the signature. Its
 * one predictor is under `predict`.
 *
 * @see Wei et al., "Chain-of-Thought Prompting Elicits Reasoning in Large Language Models" (arXiv 2201.11903)
 *
 * @example
 * ```ts
 * import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const add = ChainOfThought.make("question -> answer: int")
 *
 * const program = add({ question: "What is 2 + 2?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ reasoning: "Two pairs.", answer: 4 })]))
 * )
 *
 * Effect.runPromise(program).then((output) => assert.deepStrictEqual(output, { reasoning: "Two pairs.", answer: 4 }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <S extends Signature.Any>(
    signature: S,
    options?: Predict.Options
  ): Module.Module<Signature.Input<S>, Reasoned<S>, Predict.PredictError, LanguageModel.LanguageModel>
  <const S extends string>(
    signature: Signature.Check<S>,
    options?: Predict.Options
  ): Module.Module<
    Signature.Input<Signature.Parse<S>>,
    Reasoned<Signature.Parse<S>>,
    Predict.PredictError,
    LanguageModel.LanguageModel
  >
} = (
  source: Signature.Any | string,
  options?: Predict.Options
): Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> => {
  const predict: Module.Any = Predict.make(withReasoning(resolve(source)), options)
  // The overloads say what goes in and comes out.
  const part = predict as Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel>
  return Module.make({ predict: part }, function*(m, input: unknown) {
    return yield* m.predict(input)
  })
}

/**
 * The signature with the field that comes first.
 *
 * @internal
 */
export const withReasoning = (signature: Signature.Any): Signature.Any =>
  // The compiler cannot add a field to a signature it knows only by a variable.
  Signature.prependOutput(
    signature as Signature.Signature<{}, {}>,
    "reasoning",
    Schema.String.annotations({ description: "the thinking that leads to the other fields, step by step" })
  )
