/**
 * Several programs for the same task, asked at once, and one answer made of
 * theirs.
 *
 * After DSPy's Ensemble. The members are parts of an ordinary module: they are
 * listed, tuned and saved as `programs[0]`, `programs[1]` and so on.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import * as Majority from "@effect-dspy/core/Majority"
import * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as rng from "./internal/rng.ts"
import type * as Optimizer from "./Optimizer.ts"

/**
 * What `Ensemble` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Out> {
  /**
   * Makes one answer of those of the members that answered, in their order; by
   * default the one most agree on, as `Majority.of` finds it.
   */
  readonly reduce?: ((outputs: readonly [Out, ...Array<Out>]) => Out) | undefined
  /** How many members are asked, a different choice for every input, the same for the same input; all by default. */
  readonly size?: number | undefined
  /** Of that choice, 0 by default. */
  readonly seed?: number | undefined
}

/**
 * A program that asks several and answers with what most of them say. A member
 * that fails is left out; when all fail, so does the ensemble, as the first of
 * them did.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Ensemble from "@effect-dspy/optimizers/Ensemble"
 * import { Effect } from "effect"
 *
 * const judge = Predict.make("claim -> verdict")
 * const jury = Ensemble.make([0, 1, 2].map((n) => judge.pipe(Module.withSettings({ temperature: n / 2 }))))
 *
 * const model = TestLanguageModel.layer((request) =>
 *   TestLanguageModel.fields({ verdict: request.settings?.temperature === 1 ? "guilty" : "innocent" })
 * )
 *
 * Effect.runPromise(Effect.provide(jury({ claim: "I was at home." }), model)).then(({ verdict }) =>
 *   assert.strictEqual(verdict, "innocent")
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R>(
  programs: ReadonlyArray<Module.Module<In, Out, E, R>>,
  options: Options<Out> = {}
): Module.Module<In, Out, E, R> => {
  if (programs.length === 0) throw new RangeError("Ensemble: there must be at least one program")
  const { reduce = Majority.of, seed = 0, size = programs.length } = options
  if (!Number.isInteger(size) || size < 1) {
    throw new RangeError(`Ensemble: size must be a whole number of at least 1, not ${size}`)
  }
  return Module.make({ programs }, function*(m, input: In) {
    const asked = size >= programs.length
      ? m.programs
      : rng.at("ensemble", seed, Json.hash(input)).sample(m.programs, size)
    const answers = yield* Effect.forEach(asked, (program) => Effect.either(program(input)), {
      concurrency: "unbounded"
    })
    const [first, ...rest] = answers.flatMap((answer) => Either.isRight(answer) ? [answer.right] : [])
    // At least one was asked, so without an answer there is a failure.
    return first === undefined && rest.length === 0 ? yield* answers[0]! : reduce([first as Out, ...rest])
  })
}

/**
 * An ensemble of the `count` best candidates of a run (3 by default), of which
 * only those count that were measured on all selection examples. The module is
 * the one that was compiled; parameters for another one are an error.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofBest = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  compiled: Pick<Optimizer.Compiled<unknown>, "candidates">,
  options: Options<Out> & { readonly count?: number | undefined } = {}
): Either.Either<Module.Module<In, Out, E, R>, Parameters.UnknownPath> =>
  Either.map(
    Either.all(
      compiled.candidates.filter(({ complete }) => complete).slice(0, options.count ?? 3).map(({ parameters }) =>
        Module.withParameters(module, parameters)
      )
    ),
    (programs) => make(programs, options)
  )
