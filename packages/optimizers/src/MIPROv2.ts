/**
 * Searches instructions and demonstrations together: a prompt model writes
 * instructions in view of the data, the program and worked examples, a teacher
 * makes sets of demonstrations, and the combination of both that does best is
 * found without measuring each of them in full.
 *
 * After DSPy's MIPROv2 (Opsahl-Ong et al., arXiv 2406.11695). By default it
 * searches in another way and for fewer calls: all combinations meet the same
 * examples, nothing is measured twice, a model of what each choice contributes
 * says what to measure next, and the most promising race until it is clear who
 * wins. DSPy's own schedule is there as `classical`.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import * as fewShot from "./internal/fewShot.ts"
import * as classical from "./internal/mipro/classical.ts"
import * as combinations from "./internal/mipro/combinations.ts"
import * as racing from "./internal/mipro/racing.ts"
import * as rng from "./internal/rng.ts"
import type { Exhausted, Paid } from "./internal/runs.ts"
import * as search from "./internal/search.ts"
import * as Optimizer from "./Optimizer.ts"
import * as Proposer from "./Proposer.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * How much is tried: `light`, `medium` or `heavy`.
 *
 * @since 0.1.0
 * @category models
 */
export type Auto = "light" | "medium" | "heavy"

/**
 * What is tuned: instructions and demonstrations, or one of them; `labels` are
 * demonstrations from labelled examples alone, which cost nothing to make.
 *
 * @since 0.1.0
 * @category models
 */
export type Mode = "joint" | "instructions" | "demonstrations" | "labels"

/**
 * How combinations are searched.
 *
 * @since 0.1.0
 * @category models
 */
export type Schedule = "racing" | "classical"

/**
 * How much is tried, and how. What is said of instructions is as in
 * `Proposer.Options`; `minibatch` and what follows it are of the classical
 * schedule.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /**
   * `light` unless `numCandidates` and `numTrials` are given. It also says how
   * many examples are selected on at most, a random sample: 100, 300 or 1000.
   */
  readonly auto?: Auto | undefined
  /** Instructions and sets of demonstrations for each predictor; with `numTrials` in place of `auto`. */
  readonly numCandidates?: number | undefined
  /** How many combinations the classical schedule tries, from which follows what the other one may spend. */
  readonly numTrials?: number | undefined
  /** What is tuned, `joint` by default. With both maxima of demonstrations 0 that is `instructions`. */
  readonly mode?: Mode | undefined
  /**
   * `racing` (the default), which takes at most four fifths of the runs that the
   * `classical` one can be expected to take, and chooses among twice as many
   * instructions.
   */
  readonly schedule?: Schedule | undefined
  /** Runs of the teacher among the demonstrations of a predictor, 4 by default. */
  readonly maxBootstrappedDemos?: number | undefined
  /** Labelled examples among them, 4 by default. */
  readonly maxLabeledDemos?: number | undefined
  /** The score from which on a run of the teacher is accepted; without it, anything above 0. */
  readonly metricThreshold?: number | undefined
  readonly programAwareProposer?: boolean | undefined
  readonly dataAwareProposer?: boolean | undefined
  readonly tipAwareProposer?: boolean | undefined
  readonly fewshotAwareProposer?: boolean | undefined
  readonly programDescription?: string | undefined
  /** 10 by default. */
  readonly viewDataBatchSize?: number | undefined
  /** 1 by default. */
  readonly initTemperature?: number | undefined
  /** The modules that are asked. */
  readonly proposer?: Partial<Proposer.Modules> | undefined
  /**
   * Whether a trial is of a random part of the selection examples. By default
   * with `auto` if there are more than 50 of them, otherwise always.
   */
  readonly minibatch?: boolean | undefined
  /** How many examples that part has, 35 by default. */
  readonly minibatchSize?: number | undefined
  /** After how many trials the best is measured in full; 5 by default. */
  readonly minibatchFullEvalSteps?: number | undefined
}

/**
 * What MIPROv2 takes. `teacher` is as in `BootstrapFewShot`; every training
 * example is run once at most, for all sets of demonstrations. `seed` is 9 by
 * default, as in DSPy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never, R3 = never>
  extends Optimizer.Options<In, Labels, Out, E, R>, Optimizer.Prompted<R3>, Settings
{
  readonly teacher?: Module.Module<In, Out, unknown, R2> | undefined
}

/**
 * How many of what are tried: `instructions` for each predictor, the original
 * among them, sets of demonstrations for each, `trials` of combinations, on
 * `valset` examples at most.
 *
 * @since 0.1.0
 * @category models
 */
export interface Numbers {
  readonly instructions: number
  readonly demoSets: number
  readonly trials: number
  readonly valset: number
}

const sizes: { readonly [A in Auto]: { readonly candidates: number; readonly valset: number } } = {
  light: { candidates: 6, valset: 100 },
  medium: { candidates: 12, valset: 300 },
  heavy: { candidates: 18, valset: 1000 }
}

/**
 * What `auto` stands for, for a program of so many predictors. Beside
 * demonstrations the classical schedule, after DSPy, tries half as many
 * instructions as sets of these.
 *
 * @example
 * ```ts
 * import * as MIPROv2 from "@effect-dspy/optimizers/MIPROv2"
 *
 * assert.deepStrictEqual(MIPROv2.numbers({ auto: "light", predictors: 2, mode: "joint", schedule: "racing" }), {
 *   instructions: 6,
 *   demoSets: 6,
 *   trials: 20,
 *   valset: 100
 * })
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const numbers = (options: {
  readonly auto: Auto
  readonly predictors: number
  readonly mode: Mode
  readonly schedule: Schedule
}): Numbers => {
  const { mode, predictors, schedule } = options
  const { candidates, valset } = sizes[options.auto]
  const choices = mode === "joint" ? 2 * predictors : predictors
  return {
    instructions: withoutInstructions(mode)
      ? 1
      : mode === "joint" && schedule === "classical"
      ? Math.floor(candidates / 2)
      : candidates,
    demoSets: mode === "instructions" ? 0 : candidates,
    trials: Math.floor(Math.max(2 * choices * Math.log2(candidates), 1.5 * candidates)),
    valset
  }
}

const withoutInstructions = (mode: Mode): boolean => mode === "demonstrations" || mode === "labels"

// =============================================================================
// Running
// =============================================================================

/**
 * The run as a stream of events.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never, R3 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2, R3>
): Stream.Stream<
  Optimizer.OptimizerEvent<M>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | LanguageModel.LanguageModel | R | R2 | R3
> => {
  const seed = options.seed ?? 9
  const mode = modeOf(options)
  const kind = options.schedule ?? "racing"
  const { auto, numbers } = numbersOf(options, mode, kind, module.predictors.length)
  const candidates = options.valset ?? options.trainset
  const valset = auto !== undefined && candidates.length > numbers.valset
    ? rng.at(seed, "valset").sample(candidates, numbers.valset)
    : options.valset
  const selection = (valset ?? options.trainset).length
  const minibatch = options.minibatch ?? (auto === undefined || selection > 50)
  const minibatchSize = options.minibatchSize ?? 35
  const combined = ({ demoSets, instructions }: Numbers): number => {
    // Those that a module has already are one more.
    const own = demoSets > 0 && module.predictors.some(({ parameters }) => (parameters?.demos.length ?? 0) > 0) ? 1 : 0
    return (instructions * Math.max(1, demoSets + own)) ** module.predictors.length
  }
  const schedule: classical.Schedule = {
    trials: numbers.trials,
    combinations: combined(numbersOf(options, mode, "classical", module.predictors.length).numbers),
    minibatchSize: minibatch ? minibatchSize : undefined,
    fullEvalSteps: options.minibatchFullEvalSteps ?? 5
  }
  const bootstrapping: fewShot.Bootstrapping<In, Out, R2> = {
    teacher: options.teacher,
    // Without demonstrations to choose from, some are made to write instructions by.
    maxBootstrappedDemos: mode === "labels" ? 0 : mode === "instructions" ? 3 : options.maxBootstrappedDemos ?? 4,
    maxLabeledDemos: mode === "instructions" ? 0 : options.maxLabeledDemos ?? 4,
    maxRounds: 1,
    metricThreshold: options.metricThreshold
  }
  const proposing: Proposer.Options = {
    dataAwareProposer: options.dataAwareProposer,
    programAwareProposer: options.programAwareProposer,
    fewshotAwareProposer: options.fewshotAwareProposer,
    tipAwareProposer: options.tipAwareProposer,
    programDescription: options.programDescription,
    viewDataBatchSize: options.viewDataBatchSize,
    initTemperature: options.initTemperature,
    modules: options.proposer,
    seed
  }
  // Sets of demonstrations that are chosen from, or that instructions are written by.
  const sets = mode !== "instructions"
    ? numbers.demoSets
    : options.fewshotAwareProposer === false
    ? 0
    : numbers.instructions
  return search.events<M, In, Out, Labels, E, R, LanguageModel.LanguageModel | R2 | R3>({
    optimizer: "MIPROv2",
    module,
    options: { ...options, seed, valset },
    teacher: options.teacher,
    settings: {
      ...fewShot.settings(bootstrapping),
      mode,
      schedule: kind,
      instructions: numbers.instructions,
      demoSets: numbers.demoSets,
      trials: schedule.trials,
      minibatchSize: schedule.minibatchSize ?? null,
      minibatchFullEvalSteps: schedule.fullEvalSteps,
      ...settingsOf(proposing)
    },
    check: Effect.zipRight(
      check(options, { minibatchSize: schedule.minibatchSize, selection }),
      fewShot.check(module, bootstrapping)
    ),
    trials: kind === "classical"
      ? Math.min(1 + schedule.trials, schedule.combinations)
      : racing.candidates(schedule, selection, combined(numbers)),
    attempts: bootstrapping.maxBootstrappedDemos > 0 && sets > 0 ? options.trainset.length : 0,
    runs: () => kind === "classical" ? classical.runs(schedule, selection) : racing.runs(schedule, selection),
    prompts: withoutInstructions(mode)
      ? 0
      : Proposer.calls(module, options.trainset, numbers.instructions, proposing),
    promptModel: search.promptModel(options),
    body: (run) =>
      Effect.gen(function*() {
        const asGiven = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
        const [, [demos, instructions]] = yield* Effect.all([
          run.settle([asGiven]),
          prepare(run, module, { bootstrapping, instructions: numbers.instructions, proposing, sets })
        ], { concurrency: run.side })
        yield* run.spend([...demos.runs, ...instructions.paid])
        const choices = combinations.make(
          run.given,
          instructions.texts,
          mode === "instructions" ? {} : demos.byPath
        )
        yield* (kind === "classical" ? classical.run : racing.run)(run, choices, asGiven, {
          ...schedule,
          // There are fewer where something came to nothing.
          combinations: Math.min(schedule.combinations, choices.size)
        })
      })
  })
}

const modeOf = ({ maxBootstrappedDemos, maxLabeledDemos, mode = "joint" }: Settings): Mode =>
  mode === "joint" && maxBootstrappedDemos === 0 && maxLabeledDemos === 0 ? "instructions" : mode

const numbersOf = (
  { auto, numCandidates, numTrials }: Settings,
  mode: Mode,
  schedule: Schedule,
  predictors: number
): { readonly auto: Auto | undefined; readonly numbers: Numbers } => {
  if (numCandidates === undefined && numTrials === undefined) {
    return { auto: auto ?? "light", numbers: numbers({ auto: auto ?? "light", predictors, mode, schedule }) }
  }
  return {
    auto: undefined,
    numbers: {
      instructions: withoutInstructions(mode) ? 1 : numCandidates ?? 1,
      demoSets: mode === "instructions" ? 0 : numCandidates ?? 1,
      trials: numTrials ?? 1,
      valset: Number.POSITIVE_INFINITY
    }
  }
}

const settingsOf = (options: Proposer.Options) => ({
  dataAwareProposer: options.dataAwareProposer ?? true,
  programAwareProposer: options.programAwareProposer ?? true,
  fewshotAwareProposer: options.fewshotAwareProposer ?? true,
  tipAwareProposer: options.tipAwareProposer ?? true,
  programDescription: options.programDescription ?? null,
  viewDataBatchSize: options.viewDataBatchSize ?? 10,
  initTemperature: options.initTemperature ?? 1,
  // Other modules give other answers, even to the same questions.
  proposer: Json.hash(
    Object.entries({ ...Proposer.modules, ...options.modules }).map(([name, module]: [string, Module.Any]) => [
      name,
      module.predictors.map(({ parameters, path, signature }) => [
        path,
        Signature.format(signature),
        signature.instructions,
        parameters ?? null
      ])
    ])
  ).slice(0, 16)
})

const check = (
  options: Settings,
  { minibatchSize, selection }: { readonly minibatchSize: number | undefined; readonly selection: number }
): Effect.Effect<void, Optimizer.InvalidOptions> =>
  Effect.gen(function*() {
    const invalid = (option: string, description: string) => new Optimizer.InvalidOptions({ option, description })
    const { auto, initTemperature, maxBootstrappedDemos, maxLabeledDemos, numCandidates, numTrials } = options
    if (auto !== undefined && (numCandidates !== undefined || numTrials !== undefined)) {
      return yield* invalid("auto", "already says how much is tried; leave out numCandidates and numTrials, or auto")
    }
    if ((numCandidates === undefined) !== (numTrials === undefined)) {
      const [given, missing] = numTrials === undefined ? ["numCandidates", "numTrials"] : ["numTrials", "numCandidates"]
      return yield* invalid(given!, `needs ${missing} beside it; give both, or auto`) // two names
    }
    if (numCandidates !== undefined) yield* fewShot.count("numCandidates", numCandidates, 1)
    if (numTrials !== undefined) yield* fewShot.count("numTrials", numTrials, 1)
    if (maxBootstrappedDemos !== undefined) yield* fewShot.count("maxBootstrappedDemos", maxBootstrappedDemos, 0)
    if (maxLabeledDemos !== undefined) yield* fewShot.count("maxLabeledDemos", maxLabeledDemos, 0)
    yield* fewShot.count("viewDataBatchSize", options.viewDataBatchSize ?? 10, 1)
    yield* fewShot.count("minibatchSize", options.minibatchSize ?? 35, 1)
    yield* fewShot.count("minibatchFullEvalSteps", options.minibatchFullEvalSteps ?? 5, 1)
    if (initTemperature !== undefined && !(initTemperature >= 0)) {
      return yield* invalid("initTemperature", `must be a number of at least 0, not ${initTemperature}`)
    }
    const mode = modeOf(options)
    if (mode === "labels" && maxLabeledDemos === 0) {
      return yield* invalid("maxLabeledDemos", "must not be 0 where labelled examples are all there is to choose from")
    }
    if (mode === "demonstrations" && maxLabeledDemos === 0 && maxBootstrappedDemos === 0) {
      return yield* invalid(
        "maxBootstrappedDemos",
        "must not be 0, with maxLabeledDemos 0, where demonstrations are tuned"
      )
    }
    // Without examples something else is wrong.
    if (minibatchSize !== undefined && selection > 0 && minibatchSize > selection) {
      return yield* invalid(
        "minibatchSize",
        `must be at most the number of selection examples, which is ${selection}, not ${minibatchSize}; or set minibatch to false`
      )
    }
  })

// =============================================================================
// What there is to choose from
// =============================================================================

type Work<A> = Effect.Effect<A, Optimizer.OptimizerError | Exhausted>

interface DemoSets {
  readonly byPath: { readonly [path: string]: ReadonlyArray<ReadonlyArray<Parameters.Demo>> }
  readonly runs: ReadonlyArray<Paid>
}

interface Instructions {
  readonly texts: { readonly [path: string]: ReadonlyArray<string> }
  readonly paid: ReadonlyArray<Paid>
}

// Demonstrations are made while data and program are looked at; instructions are written in view of both.
const prepare = <In, Out, R, R2>(
  run: search.Search<In, Out, R | R2>,
  module: Module.Any,
  options: {
    readonly bootstrapping: fewShot.Bootstrapping<In, Out, R2>
    readonly instructions: number
    readonly proposing: Proposer.Options
    readonly sets: number
  }
): Work<readonly [DemoSets, Instructions]> =>
  Effect.gen(function*() {
    const paid = new Map<string, Paid>()
    const ask: Proposer.Ask<Optimizer.OptimizerError | Exhausted> = (question) =>
      Effect.map(run.ask(question), (asked) => {
        paid.set(question.place, asked)
        return asked.output
      })
    const proposing = { ...options.proposing, concurrency: run.side }
    const writes = options.instructions > 1
    const [demos, grounds] = yield* Effect.all([
      demoSets(run, options.bootstrapping, options.sets),
      writes ? Proposer.ground(module, run.trainset, ask, proposing) : Effect.void
    ], { concurrency: run.side })
    const texts = grounds === undefined ? {} : yield* Proposer.instructions(
      module,
      {
        grounds,
        candidates: options.instructions,
        demos: (path, candidate) => shown(demos.byPath[path] ?? [], candidate)
      },
      ask,
      proposing
    )
    return [demos, {
      texts,
      // By place, since answers come in any order.
      paid: Array.from(paid).sort(([a], [b]) => a < b ? -1 : 1).map(([, asked]) => asked)
    }]
  })

// In DSPy's order: none, labelled ones, those bootstrapped in the given order, and others in random order and number.
const demoSets = <In, Out, R, R2>(
  run: search.Search<In, Out, R | R2>,
  bootstrapping: fewShot.Bootstrapping<In, Out, R2>,
  count: number
): Work<DemoSets> => {
  const { maxBootstrappedDemos, maxLabeledDemos } = bootstrapping
  const bootstrap = fewShot.bootstrapper(run, run.trainset, bootstrapping)
  const labeled = (place: string, k: number): Work<search.Proposed> =>
    Effect.sync(() => ({
      runs: [],
      parameters: fewShot.labeled(run, { parameters: run.given, trainset: run.trainset, k, sample: true, place })
    }))
  const make = (number: number): Work<search.Proposed> => {
    if (number === 0) return Effect.sync(() => ({ runs: [], parameters: fewShot.bare(run.given) }))
    if (number === 1 && maxLabeledDemos > 0) return labeled("labeled", maxLabeledDemos)
    const place = `demonstrations ${number}`
    const size = (most: number) => 1 + rng.at(run.seed, place, "size").below(most)
    if (maxBootstrappedDemos === 0) return labeled(place, size(maxLabeledDemos))
    return number === 2
      ? bootstrap.propose({ order: run.trainset, size: maxBootstrappedDemos, place })
      : bootstrap.propose({
        order: rng.at(run.seed, place, "order").shuffle(run.trainset),
        size: size(maxBootstrappedDemos),
        place
      })
  }
  return Effect.map(
    Effect.forEach(Array.from({ length: count }, (_, number) => number), make, { concurrency: run.side }),
    (sets) => ({
      byPath: Object.fromEntries(
        Object.keys(run.given).map((path) => [path, sets.map(({ parameters }) => parameters[path]?.demos ?? [])])
      ),
      runs: sets.flatMap(({ runs }) => runs)
    })
  )
}

// What a predictor did right, or else what it should do: from one set, and from the next ones if that has few.
const shown = (
  sets: ReadonlyArray<ReadonlyArray<Parameters.Demo>>,
  candidate: number
): ReadonlyArray<Parameters.Demo> => {
  const demos = sets.flatMap((_, ahead) => sets[(candidate + ahead) % sets.length]!) // within, by the remainder
  const recorded = demos.filter(({ augmented }) => augmented)
  return Array.from(
    new Map((recorded.length > 0 ? recorded : demos).map((demo) => [Json.hash(demo.values), demo])).values()
  ).slice(0, 3)
}

/**
 * The best combination of instructions and demonstrations, or the module as
 * given if nothing is better.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as MIPROv2 from "@effect-dspy/optimizers/MIPROv2"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three", "four"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // A model that does as it is told, and a writer that finds out what to tell it.
 * const model = TestLanguageModel.layer((request) => {
 *   const told = String(request.messages[0]?.content)
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three|four/)?.[0] ?? ""
 *   return TestLanguageModel.fields({ loud: told.includes("capital letters") ? word.toUpperCase() : word })
 * })
 * const writer = TestLanguageModel.layer(() =>
 *   TestLanguageModel.fields({
 *     notes: ["What is expected is the word in capital letters."],
 *     description: "It shouts.",
 *     instructions: "Give the word in capital letters."
 *   })
 * )
 *
 * const program = MIPROv2.compile(shout, {
 *   trainset: words,
 *   metric: (example, output) => Effect.succeed({ value: output.loud === example.labels.loud ? 1 : 0 }),
 *   promptModel: writer,
 *   mode: "instructions"
 * })
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ baseline, parameters, score }) => {
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 *   assert.strictEqual(parameters[""]?.instructions, "Give the word in capital letters.")
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const compile = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never, R3 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2, R3>
): Effect.Effect<
  Optimizer.Compiled<M>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | LanguageModel.LanguageModel | R | R2 | R3
> => search.compile(events(module, options))
