/**
 * Shows the model labelled examples as they are. Nothing is asked to make the
 * demonstrations; the runs of the program go into measuring whether they help.
 *
 * After DSPy's optimizer of the same name.
 *
 * @since 0.1.0
 */
import type * as Module from "@effect-dspy/core/Module"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import * as fewShot from "./internal/fewShot.ts"
import * as search from "./internal/search.ts"
import type * as Optimizer from "./Optimizer.ts"

/**
 * What `LabeledFewShot` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R> extends Optimizer.Options<In, Labels, Out, E, R> {
  /** Demonstrations per predictor, 16 by default. */
  readonly k?: number | undefined
  /** Whether each predictor gets a random sample of its own (the default), or the first ones of the training set. */
  readonly sample?: boolean | undefined
}

/**
 * The run as a stream of events.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R>
): Stream.Stream<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError, Module.Requirements<M> | R> => {
  const k = options.k ?? 16
  const sample = options.sample ?? true
  return search.events({
    optimizer: "LabeledFewShot",
    module,
    options,
    settings: { k, sample },
    check: fewShot.count("k", k, 0),
    trials: 2,
    attempts: 0,
    body: (run) => run.trials([fewShot.labeledPlan(run, { trainset: options.trainset, k, sample })])
  })
}

/**
 * The better of the module as given and the module with labelled examples.
 *
 * A predictor is shown those fields of an example that its signature has, and
 * nothing of an example that has none of its outputs.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // A model that understands once it has been shown.
 * const model = TestLanguageModel.layer((request) => {
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three/)?.[0] ?? ""
 *   return TestLanguageModel.fields({ loud: request.messages.length > 2 ? word.toUpperCase() : word })
 * })
 *
 * const program = LabeledFewShot.compile(shout, {
 *   trainset: words,
 *   metric: (example, output) => Effect.succeed({ value: output.loud === example.labels.loud ? 1 : 0 }),
 *   k: 2
 * })
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ baseline, parameters, score }) => {
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 *   assert.strictEqual(parameters[""]?.demos.length, 2)
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const compile = <M extends Module.Any, In, Out, Labels, E = never, R = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R>
): Effect.Effect<Optimizer.Compiled<M>, Optimizer.OptimizerError, Module.Requirements<M> | R> =>
  search.compile(events(module, options))
