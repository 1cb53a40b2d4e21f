/**
 * Instructions that evolve: the program is run on a few examples, a model reads
 * what happened and what the metric said about it, and writes better
 * instructions for one predictor. Candidates that are best at some example, not
 * only those that are best on average, are what the next ones are made of; and
 * what two of them have learnt about different predictors is merged.
 *
 * After Agrawal et al., "GEPA: Reflective Prompt Evolution Can Outperform
 * Reinforcement Learning" (arXiv 2507.19457). Demonstrations stay what they are.
 *
 * It lives off feedback: a metric that says what is wrong, and which predictor
 * did it, teaches far more than one that gives a number. The metric is called
 * once for each run of the program; its feedback comes with the score.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import * as evolution from "./internal/evolution.ts"
import * as fewShot from "./internal/fewShot.ts"
import * as reflection from "./internal/reflection.ts"
import * as search from "./internal/search.ts"
import * as Optimizer from "./Optimizer.ts"

// =============================================================================
// Reflection
// =============================================================================

/**
 * One call of a predictor and what came of it. `outputs` are the fields it
 * answered with, or the text of an answer that could not be read, or nothing
 * where there was no answer. `score` is that of the whole program, from 0 to 1.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt {
  readonly inputs: Json.JsonRecord
  readonly outputs?: Json.JsonRecord | string | undefined
  readonly feedback?: string | undefined
  readonly score: number
}

/**
 * What a proposer of instructions is asked: the predictor by its path, its
 * fields in words, the instructions it has, and attempts made with them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reflection {
  readonly path: string
  readonly fields: string
  readonly instructions: string
  readonly attempts: ReadonlyArray<Attempt>
}

/**
 * A module that makes better instructions of attempts. It is asked by the prompt
 * model.
 *
 * @since 0.1.0
 * @category models
 */
export type InstructionProposer = Module.Module<
  Reflection,
  { readonly instructions: string },
  unknown,
  LanguageModel.LanguageModel
>

/**
 * The proposer that is used unless another one is given: a prediction with
 * reasoning, at temperature 1. It is a program like any other.
 *
 * @since 0.1.0
 * @category modules
 */
export const instructionProposer: InstructionProposer = reflection.proposer

// =============================================================================
// Options
// =============================================================================

/**
 * How long to search is said by one of `auto`, `maxFullEvals` and
 * `maxMetricCalls`. The search ends before that when nothing new came up in as
 * many iterations as go through the training examples once: the model that
 * reflects repeats itself, or all these examples have the score 1.
 *
 * `promptModel` is the model that reflects; a strong one pays off.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never>
  extends Optimizer.Options<In, Labels, Out, E, R>, Optimizer.Prompted<R2>
{
  /**
   * `light` (the default), `medium` or `heavy`, a number of runs as in DSPy,
   * which grows with the selection examples and the predictors. The racing schedule makes do with
   * four fifths of it.
   */
  readonly auto?: "light" | "medium" | "heavy" | undefined
  /** Runs of the program in units of all training and selection examples. */
  readonly maxFullEvals?: number | undefined
  /**
   * Runs of the program on one example each, at least as many as there are
   * selection examples. It is never exceeded. What measuring on the test set
   * takes comes on top.
   */
  readonly maxMetricCalls?: number | undefined
  /**
   * `racing` (the default) accepts a child that did better on what it was made
   * from and is not behind its parent on a few selection examples, the same ones
   * for all; who leads is measured on more and more of them, and the best in the
   * end on all. The best so far lags behind what was found, so that a `budget`
   * of time is a better end than cutting off the stream. `classical` accepts a
   * child by the sum of its scores on one minibatch, and measures all that are
   * accepted on all selection examples at once.
   */
  readonly schedule?: "racing" | "classical" | undefined
  /** Children made side by side in each iteration, 2 by default and 1 with the classical schedule. */
  readonly proposals?: number | undefined
  /** Training examples that a child is made from, 3 by default. */
  readonly reflectionMinibatchSize?: number | undefined
  /**
   * What children are made of. `pareto` (the default) draws candidates as often
   * as they are best at an example, `currentBest` takes the best on average,
   * `epsilonGreedy` that one or, one time in ten, any.
   */
  readonly candidateSelectionStrategy?: "pareto" | "currentBest" | "epsilonGreedy" | undefined
  /** Whether children change one predictor, each in its turn (`roundRobin`, the default), or `all`. */
  readonly componentSelector?: "roundRobin" | "all" | undefined
  /** Whether nothing is made of examples that all have the score 1; so by default. */
  readonly skipPerfectScore?: boolean | undefined
  /** Whether candidates that changed different predictors are merged; so by default. */
  readonly useMerge?: boolean | undefined
  /** How many merges are accepted, 5 by default. */
  readonly maxMergeInvocations?: number | undefined
  /** What the model that reflects is asked, `instructionProposer` by default. */
  readonly instructionProposer?: InstructionProposer | undefined
  /** Ends the search with a candidate whose mean on all selection examples is at least this. */
  readonly stopAtScore?: number | undefined
  /** Ends the search after so many iterations without a new best. */
  readonly patience?: number | undefined
}

const sizes = { light: 6, medium: 12, heavy: 18 } as const

/**
 * The runs of the program that DSPy's GEPA takes for `auto`, with so many
 * predictors and selection examples.
 *
 * @since 0.1.0
 * @category accessors
 */
export const autoMetricCalls = (
  auto: keyof typeof sizes,
  data: { readonly predictors: number; readonly examples: number }
): number => {
  const { examples, predictors } = data
  const size = sizes[auto]
  const trials = Math.floor(Math.max(4 * predictors * Math.log2(size), 1.5 * size))
  const full = Math.floor((trials + 1) / 5) + 1 + (trials < 5 ? 1 : 0)
  return examples + 5 * size + 35 * trials + examples * full
}

// =============================================================================
// Running
// =============================================================================

/**
 * The run as a stream of events. `Proposal` tells the parents of a candidate,
 * `Front` after each iteration who is worth building on.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Stream.Stream<
  Optimizer.OptimizerEvent<M>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | LanguageModel.LanguageModel | R | R2
> => {
  const { auto, maxFullEvals, maxMetricCalls, schedule = "racing" } = options
  const selection = (options.valset ?? options.trainset).length
  const predictors = module.predictors.length
  const metricCalls = maxMetricCalls ??
    (maxFullEvals !== undefined
      ? maxFullEvals * (options.trainset.length + selection)
      : Math.floor(
        (schedule === "racing" ? 0.8 : 1) * autoMetricCalls(auto ?? "light", { predictors, examples: selection })
      ))
  const settings: evolution.Settings = {
    schedule,
    metricCalls,
    minibatch: options.reflectionMinibatchSize ?? 3,
    strategy: options.candidateSelectionStrategy ?? "pareto",
    component: options.componentSelector ?? "roundRobin",
    skipPerfectScore: options.skipPerfectScore ?? true,
    merges: options.useMerge === false ? 0 : options.maxMergeInvocations ?? 5,
    proposals: options.proposals ?? (schedule === "racing" ? 2 : 1),
    proposer: options.instructionProposer ?? instructionProposer,
    stopAtScore: options.stopAtScore,
    patience: options.patience
  }
  // Every child is run on the examples that it was made from.
  const children = Math.floor(Math.max(0, metricCalls - selection) / Math.max(1, settings.minibatch))
  const { patience, proposer, stopAtScore, ...plain } = settings
  return search.events({
    optimizer: "GEPA",
    module,
    options,
    settings: {
      ...plain,
      instructionProposer: proposer === instructionProposer ? "own" : "custom",
      stopAtScore: stopAtScore ?? null,
      patience: patience ?? null
    },
    check: check(options, settings, selection),
    trials: 1 + children,
    attempts: 0,
    runs: () => metricCalls,
    prompts: children * (settings.component === "all" ? predictors : 1),
    promptModel: search.promptModel(options),
    body: (run) => evolution.run(run, module.predictors, settings)
  })
}

const check = (
  options: Pick<Options<never, never, never, never, never>, "auto" | "maxFullEvals" | "maxMetricCalls">,
  settings: evolution.Settings,
  selection: number
): Effect.Effect<void, Optimizer.InvalidOptions> =>
  Effect.gen(function*() {
    const { auto, maxFullEvals, maxMetricCalls } = options
    const given = [auto, maxFullEvals, maxMetricCalls].filter((value) => value !== undefined).length
    if (given > 1) {
      return yield* new Optimizer.InvalidOptions({
        option: "auto, maxFullEvals, maxMetricCalls",
        description: `say how long to search, each in its way: give one of them, not ${given}`
      })
    }
    if (maxFullEvals !== undefined) yield* fewShot.count("maxFullEvals", maxFullEvals, 1)
    if (maxMetricCalls !== undefined) yield* fewShot.count("maxMetricCalls", maxMetricCalls, Math.max(1, selection))
    yield* fewShot.count("reflectionMinibatchSize", settings.minibatch, 1)
    yield* fewShot.count("maxMergeInvocations", settings.merges, 0)
    yield* fewShot.count("proposals", settings.proposals, 1)
    if (settings.patience !== undefined) yield* fewShot.count("patience", settings.patience, 1)
  })

/**
 * The best instructions found, or the module as given.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as GEPA from "@effect-dspy/optimizers/GEPA"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three", "four"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // One that does what it is told, and one that sees what is wrong.
 * const task = TestLanguageModel.layer((request) => {
 *   const told = String(request.messages[0]?.content).includes("capital")
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three|four/)?.[0] ?? ""
 *   return TestLanguageModel.fields({ loud: told ? word.toUpperCase() : word })
 * })
 * const writer = TestLanguageModel.layer((request) =>
 *   TestLanguageModel.fields({
 *     reasoning: "It should shout.",
 *     instructions: String(request.messages.at(-1)?.content).includes("expected \"ONE\"")
 *       ? "Write the word in capital letters."
 *       : "Write the word."
 *   })
 * )
 *
 * const program = GEPA.compile(shout, {
 *   trainset: words,
 *   metric: Metric.equals("loud"),
 *   promptModel: writer,
 *   maxMetricCalls: 40
 * })
 *
 * Effect.runPromise(Effect.provide(program, task)).then(({ baseline, parameters, score }) => {
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 *   assert.strictEqual(parameters[""]?.instructions, "Write the word in capital letters.")
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const compile = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Effect.Effect<
  Optimizer.Compiled<M>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | LanguageModel.LanguageModel | R | R2
> => search.compile(events(module, options))
