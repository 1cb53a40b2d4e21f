/**
 * Several optimizers one after the other, each on what the one before has made
 * of the program.
 *
 * After DSPy's BetterTogether (Soylu et al., "Fine-Tuning and Prompt
 * Optimization: Two Great Steps that Work Better Together", arXiv 2407.10930),
 * for optimizers of parameters. A model that was fine-tuned between two of them
 * is another Layer: provide it to a second run.
 *
 * @since 0.1.0
 */
import * as Budget from "@effect-dspy/core/Budget"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as rng from "./internal/rng.ts"
import { Exhausted, type Paid } from "./internal/runs.ts"
import * as search from "./internal/search.ts"
import * as Journal from "./Journal.ts"
import * as Optimizer from "./Optimizer.ts"

/**
 * What a step gets: the options of the whole run, with the training set in an
 * order of its own, and a seed of its own. Spread it into the options of an
 * optimizer.
 *
 * @since 0.1.0
 * @category models
 */
export type Shared<In, Labels, Out, E, R> = Omit<Optimizer.Options<In, Labels, Out, E, R>, "testset">

/**
 * What `BetterTogether` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<M, In, Labels, Out, E, R, R2> extends Optimizer.Options<In, Labels, Out, E, R> {
  /** By name, the optimizers that take part. */
  readonly optimizers: {
    readonly [name: string]: (
      module: M,
      shared: Shared<In, Labels, Out, E, R>
    ) => Stream.Stream<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError, R2>
  }
  /** Their names in the order in which they run, with ` -> ` between them; by default each of them once. */
  readonly strategy?: string | undefined
}

const arrow = "->"

/**
 * The run as a stream of events: for each optimizer those of its own run, as
 * `Step`s, and then the measuring of its result. Only the whole run is measured
 * on the test set. Its `Plan` is of this measuring alone: what a step will do is
 * in the `Plan` that it begins with. While a step goes on, the best so far is that
 * of the steps before it; what the step itself has so far is in its own events.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<M, In, Labels, Out, E, R, R2>
): Stream.Stream<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError, Module.Requirements<M> | R | R2> => {
  const known = Object.keys(options.optimizers)
  const names = (options.strategy ?? known.join(arrow)).split(arrow).map((name) => name.trim())
  return Stream.unwrap(
    Effect.map(
      Effect.all([shared(options.budget), Effect.context<R2>()]),
      ([budget, context]) =>
        search.events<M, In, Out, Labels, E, R, R2>({
          optimizer: "BetterTogether",
          module,
          options: { ...options, budget },
          settings: { strategy: names },
          check: Effect.suspend(() => {
            const unknown = names.find((name) => !Object.hasOwn(options.optimizers, name))
            return unknown === undefined ? Effect.void : new Optimizer.InvalidOptions({
              option: "strategy",
              description: `names "${unknown}", which is none of the optimizers: ${
                known.map((name) => `"${name}"`).join(", ") || "there are none"
              }`
            })
          }),
          trials: names.length + 1,
          attempts: 0,
          body: (run) =>
            Effect.gen(function*() {
              const journal = yield* Journal.Journal
              let current = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
              yield* run.settle([current])
              for (const [index, name] of names.entries()) {
                const { metric, optimizers, testset: _, ...rest } = options
                // The paths are those of the module itself.
                const program = Either.getOrThrow(Module.withParameters<M>(module, current.parameters))
                const step = optimizers[name]!(program, { // has been checked
                  ...rest,
                  metric,
                  budget,
                  trainset: rng.at(run.seed, "step", index).shuffle(options.trainset),
                  valset: options.valset ?? options.trainset,
                  seed: run.seed + index
                })
                let spend = nothing
                const paid = (): Paid => ({ key: `step ${index}`, ...spend, failure: undefined, replayed: false })
                const last = yield* step.pipe(
                  Stream.tap((event) => {
                    spend = event.spend
                    return run.emit({ _tag: "Step", name, index, total: names.length, event })
                  }),
                  Stream.runLast,
                  // What is left does not do for this step, so it is the end of the run, which has a program.
                  Effect.catchTag("BudgetTooSmall", () => Effect.zipRight(run.spend([paid()]), new Exhausted())),
                  Effect.mapInputContext((_: Context.Context<never>) =>
                    Context.add(context, Journal.Journal, Journal.within(journal, `step ${index}`))
                  )
                )
                const result = Option.flatMap(last, ({ best }) => best)
                if (Option.isNone(result)) continue
                const { parameters } = result.value
                const before = current
                current = yield* run.enroll({
                  origin: name,
                  parameters,
                  runs: [paid()],
                  parents: [before.index]
                })
                yield* run.settle([current])
              }
            })
        })
    )
  ).pipe(Stream.mapAccum(nothing, (discarded, event): readonly [Optimizer.Spend, Optimizer.OptimizerEvent<M>] => {
    if (event._tag === "Done") return [discarded, { ...event, discarded: plus(discarded, event.discarded) }]
    return [
      event._tag === "Step" && event.event._tag === "Done" ? plus(discarded, event.event.discarded) : discarded,
      event
    ]
  }))
}

const nothing: Optimizer.Spend = { calls: 0, usage: {} }

const plus = (a: Optimizer.Spend, b: Optimizer.Spend): Optimizer.Spend => ({
  calls: a.calls + b.calls,
  usage: LanguageModel.addUsage(a.usage, b.usage)
})

// Steps draw on the same budget as the run around them.
const shared = (
  budget: Budget.Limits | Budget.Service | undefined
): Effect.Effect<Budget.Service | undefined> =>
  budget === undefined || Predicate.hasProperty(budget, "reserve")
    // What can reserve is a service.
    ? Effect.succeed(budget as Budget.Service | undefined)
    : Budget.make(budget as Budget.Limits)

/**
 * The best program any of the steps has made, or the module as given.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as BetterTogether from "@effect-dspy/optimizers/BetterTogether"
 * import * as COPRO from "@effect-dspy/optimizers/COPRO"
 * import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three", "four"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: `${word.toUpperCase()}!` } })
 * )
 *
 * // A model that learns capitals from examples, and the exclamation mark from being told.
 * const model = TestLanguageModel.layer((request) => {
 *   const told = String(request.messages[0]?.content)
 *   if (told.includes("proposed_instruction")) {
 *     return TestLanguageModel.fields({ proposed_instruction: "Exclaim the word." })
 *   }
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three|four/)?.[0] ?? ""
 *   const loud = request.messages.length > 2 ? word.toUpperCase() : word
 *   return TestLanguageModel.fields({ loud: told.includes("Exclaim") ? `${loud}!` : loud })
 * })
 *
 * const program = BetterTogether.compile(shout, {
 *   trainset: words,
 *   metric: (_, { loud }) =>
 *     Effect.succeed({ value: (loud.toUpperCase() === loud ? 0.5 : 0) + (loud.endsWith("!") ? 0.5 : 0) }),
 *   optimizers: {
 *     demos: (module, shared) => LabeledFewShot.events(module, shared),
 *     instructions: (module, shared) => COPRO.events(module, { ...shared, breadth: 2, depth: 1 })
 *   },
 *   strategy: "demos -> instructions"
 * })
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ baseline, score }) =>
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 * )
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const compile = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<M, In, Labels, Out, E, R, R2>
): Effect.Effect<Optimizer.Compiled<M>, Optimizer.OptimizerError, Module.Requirements<M> | R | R2> =>
  search.compile(events(module, options))
