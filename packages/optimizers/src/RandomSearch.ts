/**
 * Bootstraps many sets of demonstrations and keeps the best: the program
 * without any, with labelled examples, with those bootstrapped from the training
 * set in its order, and with `numCandidatePrograms` bootstrapped from it in
 * random order, of random number.
 *
 * After DSPy's BootstrapFewShotWithRandomSearch. Candidates are made and
 * measured side by side; a training example that several candidates need is run
 * once, since the teacher has the same demonstrations for all of them; and a
 * candidate that will not win is not measured to the end.
 *
 * @since 0.1.0
 */
import type * as Module from "@effect-dspy/core/Module"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type * as BootstrapFewShot from "./BootstrapFewShot.ts"
import * as fewShot from "./internal/fewShot.ts"
import * as race from "./internal/race.ts"
import * as rng from "./internal/rng.ts"
import type { Exhausted } from "./internal/runs.ts"
import * as search from "./internal/search.ts"
import * as Optimizer from "./Optimizer.ts"

/**
 * What `RandomSearch` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never>
  extends Omit<BootstrapFewShot.Options<In, Labels, Out, E, R, R2>, "schedule">
{
  /** How many random candidates, 16 by default. */
  readonly numCandidatePrograms?: number | undefined
  /**
   * Ends the search with the first candidate, in their order, whose mean is at
   * least this; so that there is a first one, each is measured on all selection
   * examples.
   */
  readonly stopAtScore?: number | undefined
  /** Whether labelled examples are sampled (the default) or the first ones of the training set. */
  readonly labeledSample?: boolean | undefined
  /**
   * Only these candidates, by seed: -3 has no demonstrations, -2 labelled ones,
   * -1 is bootstrapped in the given order, 0 and up at random.
   */
  readonly restrict?: ReadonlyArray<number> | undefined
  /**
   * `racing` (the default) measures the random ones on a growing part of the
   * selection examples and lets go of those that will not win: two thirds of the
   * runs. `classical` measures all of them on all examples, and the teacher,
   * shown other labels for each, makes one run after the other, as in DSPy.
   */
  readonly schedule?: "racing" | "classical" | undefined
}

/**
 * The run as a stream of events.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Stream.Stream<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError, Module.Requirements<M> | R | R2> => {
  const bootstrapping = fewShot.defaults(options)
  const { maxBootstrappedDemos, maxLabeledDemos } = bootstrapping
  const numCandidatePrograms = options.numCandidatePrograms ?? 16
  const labeledSample = options.labeledSample ?? true
  const schedule = options.schedule ?? "racing"
  const seeds = Array.from({ length: Math.max(0, numCandidatePrograms) + 3 }, (_, index) => index - 3)
    .filter((seed) => options.restrict?.includes(seed) ?? true)
  // Which one is the first to reach a score is only known of those that were measured.
  const races = schedule === "racing" && options.stopAtScore === undefined
  const listed = seeds.filter((seed) => seed < 0)
  const random = seeds.filter((seed) => seed >= 0)
  const total = (options.valset ?? options.trainset).length
  return search.events({
    optimizer: "RandomSearch",
    module,
    options,
    teacher: options.teacher,
    settings: {
      ...fewShot.settings(bootstrapping),
      numCandidatePrograms,
      stopAtScore: options.stopAtScore ?? null,
      labeledSample,
      restrict: options.restrict ?? null,
      schedule
    },
    check: Effect.gen(function*() {
      yield* fewShot.check(module, bootstrapping)
      yield* fewShot.count("numCandidatePrograms", numCandidatePrograms, 0)
      if (seeds.length === 0) {
        return yield* new Optimizer.InvalidOptions({
          option: "restrict",
          description: `must name at least one seed from -3 to ${numCandidatePrograms - 1}`
        })
      }
    }),
    trials: seeds.length + 1,
    attempts: options.trainset.length * bootstrapping.maxRounds,
    ...(races
      ? { runs: (window) => (1 + listed.length) * total + race.cost(random.length, total, window) }
      : undefined),
    body: (run) => {
      const bootstrap = fewShot.bootstrapper(
        run,
        options.trainset,
        bootstrapping,
        schedule === "classical" ? "classical" : "parallel"
      )
      const plan = (seed: number): search.Plan => {
        switch (seed) {
          case -3:
            return {
              origin: "no demonstrations",
              seed,
              propose: Effect.sync(() => ({ runs: [], parameters: fewShot.bare(run.given) }))
            }
          case -2:
            return {
              seed,
              ...fewShot.labeledPlan(run, { trainset: options.trainset, k: maxLabeledDemos, sample: labeledSample })
            }
          case -1:
            return {
              origin: "bootstrapped",
              seed,
              propose: bootstrap.propose({ order: options.trainset, size: maxBootstrappedDemos, place: "bootstrapped" })
            }
          default: {
            const place = `bootstrapped ${seed}`
            return {
              origin: "bootstrapped at random",
              seed,
              propose: bootstrap.propose({
                order: rng.at(run.seed, place, "order").shuffle(options.trainset),
                size: maxBootstrappedDemos === 0
                  ? 0
                  : 1 + rng.at(run.seed, place, "size").below(maxBootstrappedDemos),
                place,
                teacher: schedule === "classical" ? `teacher, ${place}` : undefined
              })
            }
          }
        }
      }
      return races
        ? raced(run, listed.map(plan), random.map(plan))
        : run.trials(seeds.map(plan), options.stopAtScore)
    }
  })
}

// The few that are listed are measured in full, so that a run that ends early has them; the random ones race with the best of them.
const raced = <In, Out, R>(
  run: search.Search<In, Out, R>,
  listed: ReadonlyArray<search.Plan>,
  random: ReadonlyArray<search.Plan>
): Effect.Effect<void, Optimizer.OptimizerError | Exhausted> =>
  Effect.gen(function*() {
    const made = (plans: ReadonlyArray<search.Plan>) =>
      Effect.forEach(plans, ({ origin, propose, seed }) =>
        Effect.map(propose, (proposed) => ({ origin, seed, ...proposed })), { concurrency: run.side })
    const given = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
    if (run.side === 1) {
      yield* run.settle([given])
    }
    yield* run.ahead(run.selection.map((example) => ({ contender: given, example })))
    const [measured, others] = yield* Effect.all([
      Effect.gen(function*() {
        const contenders = [given, ...yield* Effect.forEach(yield* made(listed), run.enroll)]
        if (run.side === 1) {
          yield* run.settle(contenders)
        }
        return contenders
      }),
      made(random)
    ], { concurrency: run.side })
    const racers = yield* Effect.forEach(others, run.enroll)
    yield* race.ahead(run, racers, measured.length * run.selection.length)
    yield* race.run(run, racers, yield* race.all(run, measured, given))
  })

/**
 * The best of all candidates, the module as given among them.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
 * import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
 * import { Effect, Option, Stream } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three", "four"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // A model that understands once it has been shown.
 * const model = TestLanguageModel.layer((request) => {
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three|four/)?.[0] ?? ""
 *   return TestLanguageModel.fields({ loud: request.messages.length > 2 ? word.toUpperCase() : word })
 * })
 *
 * // The first ten minutes of it, and what was best by then.
 * const program = RandomSearch.events(shout, {
 *   trainset: words,
 *   metric: (example, output) => Effect.succeed({ value: output.loud === example.labels.loud ? 1 : 0 }),
 *   numCandidatePrograms: 4
 * }).pipe(
 *   Stream.interruptAfter("10 minutes"),
 *   Optimizer.best,
 *   Effect.map(Option.getOrThrow)
 * )
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ baseline, candidates, score }) => {
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 *   // The program as given has no demonstrations, so that this one is not measured twice.
 *   assert.strictEqual(candidates.length, 7)
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
