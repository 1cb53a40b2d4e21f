/**
 * Shows the model what it did right: a teacher, the program itself unless
 * another one is given, is run on training examples, and every call inside a
 * run that the metric accepts becomes a demonstration of its predictor.
 * Labelled examples fill up the rest.
 *
 * After DSPy's optimizer of the same name (Khattab et al., arXiv 2310.03714).
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
 * What `BootstrapFewShot` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never> extends Optimizer.Options<In, Labels, Out, E, R> {
  /**
   * A program with the same predictors, such as the module with a stronger model
   * (`Module.provideModel`) or one that was compiled before. One without
   * demonstrations is first given labelled ones, never those of the example it
   * is run on.
   */
  readonly teacher?: Module.Module<In, Out, unknown, R2> | undefined
  /** Accepted runs to look for, 4 by default. */
  readonly maxBootstrappedDemos?: number | undefined
  /** Up to how many demonstrations labelled examples are added; 16 by default. */
  readonly maxLabeledDemos?: number | undefined
  /**
   * How often an example is tried, 1 by default. From the second round on with
   * temperature 1 and a rollout of its own.
   */
  readonly maxRounds?: number | undefined
  /** The score from which on a run is accepted; without it, anything above 0. */
  readonly metricThreshold?: number | undefined
  /**
   * `parallel` (the default) runs as many examples at once as demonstrations are
   * still wanted, and more where there is room; `classical` one after the other,
   * as DSPy does, so that no run is in vain. Both find the same.
   */
  readonly schedule?: "parallel" | "classical" | undefined
}

/**
 * The run as a stream of events. Examples that are tried side by side are
 * accepted in their order; what is still under way when there are enough is
 * interrupted.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Stream.Stream<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError, Module.Requirements<M> | R | R2> => {
  const bootstrapping = fewShot.defaults(options)
  const schedule = options.schedule ?? "parallel"
  return search.events({
    optimizer: "BootstrapFewShot",
    module,
    options,
    teacher: options.teacher,
    settings: { ...fewShot.settings(bootstrapping), schedule },
    check: fewShot.check(module, bootstrapping),
    trials: 2,
    attempts: options.trainset.length * bootstrapping.maxRounds,
    body: (run) =>
      run.trials([{
        origin: "bootstrapped",
        propose: fewShot.bootstrapper(run, options.trainset, bootstrapping, schedule).propose({
          order: options.trainset,
          size: bootstrapping.maxBootstrappedDemos,
          place: "bootstrapped"
        })
      }])
  })
}

/**
 * The better of the module as given and the module with bootstrapped
 * demonstrations.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as BootstrapFewShot from "@effect-dspy/optimizers/BootstrapFewShot"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> thought, loud")
 * const words = ["one", "two", "three"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // A model that understands once it has been shown.
 * const model = TestLanguageModel.layer((request) => {
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three/)?.[0] ?? ""
 *   return TestLanguageModel.fields({
 *     thought: "capital letters",
 *     loud: request.messages.length > 2 ? word.toUpperCase() : word
 *   })
 * })
 *
 * const program = BootstrapFewShot.compile(shout, {
 *   trainset: words,
 *   metric: (example, output) => Effect.succeed({ value: output.loud === example.labels.loud ? 1 : 0 }),
 *   maxBootstrappedDemos: 1,
 *   maxLabeledDemos: 2
 * })
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ parameters, score }) => {
 *   assert.strictEqual(score.mean, 1)
 *   assert.deepStrictEqual(parameters[""]?.demos.map(({ augmented }) => augmented), [true, false])
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const compile = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Effect.Effect<Optimizer.Compiled<M>, Optimizer.OptimizerError, Module.Requirements<M> | R | R2> =>
  search.compile(events(module, options))
