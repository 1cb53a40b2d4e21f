/**
 * Induces rules from the training examples and adds them to the instructions:
 * several sets of rules are written, and the best is kept.
 *
 * After DSPy's InferRules. The program is bootstrapped first; the sets are
 * written and measured side by side.
 *
 * @since 0.1.0
 */
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import type { Example } from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type * as BootstrapFewShot from "./BootstrapFewShot.ts"
import * as fewShot from "./internal/fewShot.ts"
import * as instructions from "./internal/instructions.ts"
import * as race from "./internal/race.ts"
import type { Exhausted, Paid } from "./internal/runs.ts"
import * as search from "./internal/search.ts"
import type * as Optimizer from "./Optimizer.ts"

/**
 * What `BootstrapFewShot` takes, and how rules are looked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never>
  extends Omit<BootstrapFewShot.Options<In, Labels, Out, E, R, R2>, "schedule">, Optimizer.Prompted<R2>
{
  /** How many sets of rules are tried, 10 by default. */
  readonly numCandidates?: number | undefined
  /** How many rules a set should have, 10 by default. */
  readonly numRules?: number | undefined
  /**
   * `racing` (the default) measures sets on a growing part of the selection
   * examples and lets go of those that will not win; `classical` measures all of
   * them on all examples, as DSPy does.
   */
  readonly schedule?: "racing" | "classical" | undefined
}

const Written = Schema.Struct({ rules: Schema.String })

const writer = ChainOfThought.make(Signature.make({
  instructions:
    "Below are solved examples of a task. Find the rules by which they were solved: concrete enough that somebody who has never seen an example solves new cases the same way, and general enough to hold for cases that are not listed. Write one rule a line.",
  input: {
    task: Schema.String.annotations({ description: "the fields that are given and those to be written" }),
    examples: Schema.String.annotations({ description: "solved examples, one JSON object a line" }),
    count: Schema.Int.annotations({ description: "how many rules to write" })
  },
  output: { rules: Schema.String.annotations({ description: "the rules, one a line" }) }
}))

const tooLong = new Set<string>(
  ["ContextWindowExceeded", "RequestTooLarge"] satisfies ReadonlyArray<LanguageModelError.Reason["_tag"]>
)

// Halving three times leaves an eighth: what does not fit then is not a matter of length.
const halvings = 3

/**
 * The run as a stream of events.
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
  const bootstrapping = fewShot.defaults(options)
  const numCandidates = options.numCandidates ?? 10
  const numRules = options.numRules ?? 10
  const schedule = options.schedule ?? "racing"
  const total = (options.valset ?? options.trainset).length
  return search.events({
    optimizer: "InferRules",
    module,
    options,
    teacher: options.teacher,
    settings: { ...fewShot.settings(bootstrapping), numCandidates, numRules, schedule },
    check: Effect.gen(function*() {
      yield* fewShot.check(module, bootstrapping)
      yield* fewShot.count("numCandidates", numCandidates, 1)
      yield* fewShot.count("numRules", numRules, 1)
    }),
    trials: numCandidates + 2,
    attempts: options.trainset.length * bootstrapping.maxRounds,
    runs: (window) =>
      (schedule === "racing" ? race.cost(numCandidates, total, window) : numCandidates * total) + 2 * total,
    prompts: numCandidates * module.predictors.length,
    promptModel: search.promptModel(options),
    body: (run) =>
      Effect.gen(function*() {
        const given = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
        // Beside the bootstrapping, or before it where every call counts.
        if (run.side === 1) yield* run.settle([given])
        yield* run.ahead(run.selection.map((example) => ({ contender: given, example })))
        const proposed = yield* fewShot.bootstrapper(run, options.trainset, bootstrapping).propose({
          order: options.trainset,
          size: bootstrapping.maxBootstrappedDemos,
          place: "bootstrapped"
        })
        const base = yield* run.enroll({ origin: "bootstrapped", parents: [0], ...proposed })
        const learnt = module.predictors.map((predictor) => ({
          predictor,
          solved: solvedBy(run, options.trainset, base.parameters, predictor)
        })).filter(({ solved }) => solved.length > 0)

        // A set of rules for every predictor of which there are solved examples. They do not depend on scores.
        const writing = Effect.forEach(
          Array.from({ length: numCandidates }, (_, candidate) => candidate),
          (candidate) =>
            Effect.forEach(
              learnt,
              ({ predictor, solved }) =>
                induced(run, predictor, solved, `rules ${candidate} of ${predictor.path}`, numRules),
              { concurrency: run.side }
            ),
          { concurrency: run.side }
        )
        const [leader, written] = yield* Effect.all([race.all(run, [given, base], given), writing], {
          concurrency: run.side
        })
        const contenders: Array<search.Contender> = []
        for (const sets of written) {
          const runs = sets.flatMap(({ paid }) => paid)
          const parameters = sets.reduce(
            (parameters, { predictor, rules }) =>
              rules === undefined
                ? parameters
                : instructions.replaced(
                  parameters,
                  predictor,
                  `${instructions.of(base.parameters, predictor)}\n\nKeep to these rules:\n${rules}`
                ),
            base.parameters
          )
          if (parameters === base.parameters) yield* run.spend(runs)
          else contenders.push(yield* run.enroll({ origin: "rules", parameters, runs, parents: [base.index] }))
        }
        yield* (schedule === "racing" ? race.run : race.all)(run, contenders, leader)
      })
  })
}

// What is known of a predictor's work: its demonstrations, and what the labels of training examples say.
const solvedBy = <In, Out, R>(
  run: search.Search<In, Out, R>,
  trainset: ReadonlyArray<Example<unknown, unknown>>,
  parameters: Parameters.Parameters,
  { path }: Module.Predictor
): ReadonlyArray<string> =>
  Array.from(
    new Set(
      [...parameters[path]?.demos ?? [], ...trainset.flatMap((example) => run.sources.labeled(example, path) ?? [])]
        .map(({ values }) => JSON.stringify(values))
    )
  )

interface Induced {
  readonly predictor: Module.Predictor
  readonly rules: string | undefined
  readonly paid: ReadonlyArray<Paid>
}

// Examples that do not fit into the model's context are asked about by half.
const induced = <In, Out, R>(
  run: search.Search<In, Out, R>,
  predictor: Module.Predictor,
  solved: ReadonlyArray<string>,
  place: string,
  numRules: number
): Effect.Effect<Induced, Optimizer.OptimizerError | Exhausted> =>
  Effect.gen(function*() {
    const paid: Array<Paid> = []
    for (let halving = 0; halving <= halvings; halving++) {
      const examples = solved.slice(0, Math.ceil(solved.length / 2 ** halving))
      const asked = yield* run.ask({
        place: `${place}, ${halving}`,
        purpose: `rules for ${predictor.path}`,
        module: writer.pipe(Module.withSettings({ temperature: 1 }), Module.withRollout(`${run.seed}, ${place}`)),
        input: { task: instructions.fieldsOf(predictor), examples: examples.join("\n"), count: numRules },
        schema: Written
      })
      paid.push(asked)
      const rules = Option.match(asked.output, { onNone: () => "", onSome: ({ rules }) => rules.trim() })
      if (rules !== "") return { predictor, rules, paid }
      if (!tooLong.has(asked.error ?? "")) break
    }
    return { predictor, rules: undefined, paid }
  })

/**
 * The best set of rules found, or the bootstrapped program, or the module as
 * given. It costs an answer of the prompt model for each set and predictor.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as InferRules from "@effect-dspy/optimizers/InferRules"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three", "four"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // A model that does what it is told, and sees what examples have in common.
 * const model = TestLanguageModel.layer((request) => {
 *   const [system, ...turns] = request.messages.map(({ content }) => String(content))
 *   if (system?.includes("rules")) {
 *     const induces = system.includes("solved examples")
 *     if (induces) return TestLanguageModel.fields({ reasoning: "They are loud.", rules: "Write capital letters." })
 *   }
 *   const word = turns.at(-1)?.match(/one|two|three|four/)?.[0] ?? ""
 *   return TestLanguageModel.fields({ loud: system?.includes("capital") ? word.toUpperCase() : word })
 * })
 *
 * const program = InferRules.compile(shout, {
 *   trainset: words,
 *   metric: (example, output) => Effect.succeed({ value: output.loud === example.labels.loud ? 1 : 0 }),
 *   numCandidates: 2
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
  options: Options<In, Labels, Out, E, R, R2>
): Effect.Effect<
  Optimizer.Compiled<M>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | LanguageModel.LanguageModel | R | R2
> => search.compile(events(module, options))
