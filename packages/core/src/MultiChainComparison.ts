/**
 * `MultiChainComparison` shows a model several attempts at the same task and
 * lets it find the right answer in view of all of them.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as printed from "./internal/printed.ts"
import { resolve } from "./internal/signatureSource.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Signature from "./Signature.ts"

/**
 * Another number of attempts than the module was made for.
 *
 * @since 0.1.0
 * @category errors
 */
export class WrongNumberOfAttempts
  extends Schema.TaggedError<WrongNumberOfAttempts>("@effect-dspy/core/MultiChainComparison/WrongNumberOfAttempts")(
    "WrongNumberOfAttempts",
    { expected: Schema.Number, given: Schema.Number }
  )
{
  override get message(): string {
    return `${this.given} attempts were given where the module compares ${this.expected}; make it with { m: ${this.given} }, or give ${this.expected}`
  }
}

/**
 * An attempt: some of the output fields, and how they were reasoned, if it says
 * so.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt {
  readonly reasoning?: string | undefined
  readonly rationale?: string | undefined
  readonly [field: string]: unknown
}

type Comparison<S extends Signature.Any> = Module.Module<
  Types.Simplify<Signature.Input<S> & { readonly completions: ReadonlyArray<Attempt> }>,
  Types.Simplify<{ readonly rationale: string } & Signature.Output<S>>,
  Predict.PredictError | WrongNumberOfAttempts,
  LanguageModel.LanguageModel
>

/**
 * A module that takes the inputs of the signature and `m` attempts (3 by default)
 * as `completions`, and answers with a `rationale` and the outputs. Of each attempt
 * the model sees the first line of its reasoning and its last output field.
 *
 * It asks at temperature 0.7, as DSPy does. Its one predictor is under `predict`.
 *
 * @example
 * ```ts
 * import * as MultiChainComparison from "@effect-dspy/core/MultiChainComparison"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const compare = MultiChainComparison.make("question -> answer", { m: 2 })
 *
 * const program = compare({
 *   question: "What is 17 * 3?",
 *   completions: [
 *     { reasoning: "20 * 3 - 8", answer: "52" },
 *     { reasoning: "30 + 21", answer: "51" }
 *   ]
 * }).pipe(Effect.provide(TestLanguageModel.layer([
 *   TestLanguageModel.fields({ rationale: "20 * 3 - 3 * 3 is 51 as well.", answer: "51" })
 * ])))
 *
 * Effect.runPromise(program).then(({ answer }) => assert.strictEqual(answer, "51"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <S extends Signature.Any>(
    signature: S,
    options?: { readonly m?: number | undefined } & Predict.Options
  ): Comparison<S>
  <const S extends string>(
    signature: Signature.Check<S>,
    options?: { readonly m?: number | undefined } & Predict.Options
  ): Comparison<Signature.Parse<S>>
} = (
  source: Signature.Any | string,
  { m: count = 3, ...options }: { readonly m?: number | undefined } & Predict.Options = {}
): Module.Module<
  { readonly completions: ReadonlyArray<Attempt> },
  never,
  Predict.PredictError | WrongNumberOfAttempts,
  LanguageModel.LanguageModel
> => {
  if (!Number.isInteger(count) || count < 1) {
    throw new RangeError(`MultiChainComparison: m must be a whole number of at least 1, not ${count}`)
  }
  const signature = resolve(source)
  const answer = Signature.fields(signature).outputs.at(-1)?.name ?? ""
  const predict: Module.Any = Predict.make(comparing(signature, count), {
    ...options,
    settings: { temperature: 0.7, ...options.settings }
  })
  // The overloads say what goes in and comes out.
  const part = predict as Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel>
  return Module.make({ predict: part }, function*(m, input: { readonly completions: ReadonlyArray<Attempt> }) {
    const { completions, ...inputs } = input
    if (completions.length !== count) {
      return yield* new WrongNumberOfAttempts({ expected: count, given: completions.length })
    }
    return yield* m.predict({
      ...inputs,
      ...Object.fromEntries(completions.map((attempt, index) => [nameOf(index), told(attempt, answer)]))
    })
  })
}

const nameOf = (index: number): string => `reasoning_attempt_${index + 1}`

const told = (attempt: Attempt, field: string): string => {
  const [reasoning] = (attempt.rationale ?? attempt.reasoning ?? "").trim().split("\n")
  const value = attempt[field]
  const answer =
    (typeof value === "string" ? value : value === undefined ? "" : printed.json(value)).trim().split("\n")[0] ?? ""
  return [
    ...(reasoning === undefined || reasoning === "" ? [] : [`It was reasoned: ${reasoning.trim()}`]),
    ...(answer === "" ? [] : [`It was answered: ${answer}`])
  ].join(" ") || "(Nothing was said.)"
}

// The compiler cannot add fields to a signature it knows only by a variable.
const comparing = (signature: Signature.Any, count: number): Signature.Any => {
  let whole: Signature.Any = Signature.prependOutput(
    signature as Signature.Signature<{}, {}>,
    "rationale",
    Schema.String.annotations({ description: "what the attempts get right and wrong, and what follows" })
  )
  for (let index = 0; index < count; index++) {
    whole = Signature.appendInput(
      whole as Signature.Signature<{}, {}>,
      nameOf(index),
      Schema.String.annotations({ description: "how somebody else went about it; it may be wrong" })
    )
  }
  return whole
}
