/**
 * Shows a program, for every input anew, the demonstrations nearest to it.
 *
 * After DSPy's KNNFewShot, which bootstraps on the neighbours at every call: up
 * to `k` calls of a teacher for each answer. Here every training example is tried
 * once, while compiling; what was learnt are ordinary demonstrations, which are
 * saved and loaded like all others, and a call costs one embedding.
 *
 * @since 0.1.0
 */
import type { Embedder } from "@effect-dspy/core/Embedder"
import * as KNN from "@effect-dspy/core/KNN"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import type * as Module from "@effect-dspy/core/Module"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type * as BootstrapFewShot from "./BootstrapFewShot.ts"
import * as fewShot from "./internal/fewShot.ts"
import * as search from "./internal/search.ts"
import type * as Optimizer from "./Optimizer.ts"

/**
 * What `KNNFewShot` takes; `teacher`, `maxRounds` and `metricThreshold` as of
 * `BootstrapFewShot`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never>
  extends
    Optimizer.Options<In, Labels, Out, E, R>,
    Pick<BootstrapFewShot.Options<In, Labels, Out, E, R, R2>, "teacher" | "maxRounds" | "metricThreshold">
{
  /** How many demonstrations a predictor is shown, 3 by default. */
  readonly k?: number | undefined
}

/**
 * The program that is compiled: the module itself, shown `k` of its
 * demonstrations. A saved result is loaded into one made by `KNN.make(module, {
 * k })`.
 *
 * @since 0.1.0
 * @category models
 */
export type Compiled<M extends Module.Any> = Module.Module<
  Module.Input<M>,
  Module.Output<M>,
  Module.Error<M> | LanguageModelError,
  Module.Requirements<M> | Embedder
>

/**
 * The run as a stream of events. Three programs are measured: the module as
 * given, with the labels of all training examples to choose from, and with what a
 * teacher did right on them (and the labels of the others).
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Stream.Stream<
  Optimizer.OptimizerEvent<Compiled<M>>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | Embedder | R | R2
> => {
  const k = options.k ?? 3
  const all = options.trainset.length
  const bootstrapping = { ...fewShot.defaults(options), maxBootstrappedDemos: all, maxLabeledDemos: all }
  // The module as its type M says; the intersection only lets the compiler infer what goes in and out.
  const near = KNN.make<Module.Input<M>, Module.Output<M>, Module.Error<M>, Module.Requirements<M>>(
    module as unknown as Module.Module<Module.Input<M>, Module.Output<M>, Module.Error<M>, Module.Requirements<M>>,
    { k: Number.isInteger(k) && k >= 1 ? k : 1 } // what is no number of neighbours is refused by the check
  )
  return search.events<Compiled<M>, In, Out, Labels, E, R, R2>({
    optimizer: "KNNFewShot",
    module: near as Compiled<M> & Module.Module<In, Out, unknown, unknown>, // what goes in and out of M are In and Out
    options,
    teacher: options.teacher,
    settings: {
      k,
      maxRounds: bootstrapping.maxRounds,
      metricThreshold: bootstrapping.metricThreshold ?? null
    },
    check: Effect.zipRight(fewShot.count("k", k, 1), fewShot.check(near, bootstrapping)),
    trials: 3,
    attempts: all * bootstrapping.maxRounds,
    body: (run) =>
      run.trials([
        fewShot.labeledPlan(run, { trainset: options.trainset, k: all, sample: false }),
        {
          origin: "bootstrapped",
          propose: fewShot.bootstrapper(run, options.trainset, bootstrapping).propose({
            order: options.trainset,
            size: all,
            place: "bootstrapped"
          })
        }
      ])
  })
}

/**
 * The module that is shown the nearest demonstrations, or the module as given if
 * that is not better.
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as KNNFewShot from "@effect-dspy/optimizers/KNNFewShot"
 * import { Effect, Layer } from "effect"
 *
 * const sort = Predict.make("item -> shelf")
 * const items = ["apple 1", "apple 2", "brush 1", "brush 2"].map((item) =>
 *   Example.make({ inputs: { item }, labels: { shelf: item.startsWith("apple") ? "A" : "B" } })
 * )
 *
 * // Stands for an embedding model: what begins alike is alike.
 * const embedder = Layer.succeed(
 *   Embedder.Embedder,
 *   Embedder.make({
 *     id: "test/initial",
 *     embed: (texts) => Effect.succeed(texts.map((text) => Float32Array.of(text.includes("apple") ? 1 : 0, 1)))
 *   })
 * )
 *
 * // A model that does what the one demonstration it gets does.
 * const model = TestLanguageModel.layer((request) =>
 *   TestLanguageModel.fields({ shelf: /\n([AB])/.exec(String(request.messages[2]?.content))?.[1] ?? "?" })
 * )
 *
 * const program = KNNFewShot.compile(sort, {
 *   trainset: items,
 *   metric: (example, output) => Effect.succeed({ value: output.shelf === example.labels.shelf ? 1 : 0 }),
 *   k: 1
 * })
 *
 * Effect.runPromise(Effect.provide(program, [model, embedder])).then(({ baseline, score }) =>
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 * )
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const compile = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Effect.Effect<
  Optimizer.Compiled<Compiled<M>>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | Embedder | R | R2
> => search.compile(events(module, options))
