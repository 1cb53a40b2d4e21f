/**
 * `Tpe` is the tree-structured Parzen estimator for choices: after some random
 * trials it models the good ones and the others by a density each, and proposes
 * what is likely under the first and unlikely under the second. All dimensions
 * are modelled together, as Optuna does with `multivariate=True`, whose
 * densities these are.
 *
 * @see Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011)
 * @see Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale" (ICML 2018)
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as rng from "./internal/rng.ts"

/**
 * How many choices each dimension has.
 *
 * @since 0.1.0
 * @category models
 */
export interface Space {
  readonly [dimension: string]: number
}

/**
 * One choice, from 0 on, in each dimension.
 *
 * @since 0.1.0
 * @category models
 */
export interface Choices {
  readonly [dimension: string]: number
}

/**
 * Something that was tried: the larger its `value` the better. A trial that is
 * still running has none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Trial {
  readonly choices: Choices
  readonly value: number | undefined
}

/**
 * What `Tpe` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Up to how many finished trials choices are drawn evenly; 10 by default. */
  readonly nStartupTrials?: number | undefined
  /** How many choices are drawn from the good ones to take the best of; 24 by default. */
  readonly nEiCandidates?: number | undefined
  /** How many of so many trials are good; `gamma` by default. */
  readonly gamma?: ((trials: number) => number) | undefined
  /** What so many trials weigh, oldest first; `weights` by default. */
  readonly weights?: ((trials: number) => ReadonlyArray<number>) | undefined
  /** The weight of the even distribution beside them; 1 by default. */
  readonly priorWeight?: number | undefined
  /**
   * Whether a running trial counts as one that turned out bad, so that trials
   * which run at once keep apart; on by default.
   */
  readonly constantLiar?: boolean | undefined
  /**
   * Choices that are not proposed, such as those about which everything is
   * known; none by default, and then what was tried may be proposed again.
   */
  readonly exclude?: Iterable<Choices> | undefined
}

// =============================================================================
// Defaults
// =============================================================================

/**
 * A tenth of the trials, rounded up, but at most 25.
 *
 * @since 0.1.0
 * @category defaults
 */
export const gamma = (trials: number): number => Math.min(Math.ceil(0.1 * trials), 25)

const recent = 25

/**
 * 1 for the newest 25 trials; the older a trial before them the less, in equal
 * steps down to one part of all trials.
 *
 * @since 0.1.0
 * @category defaults
 */
export const weights = (trials: number): ReadonlyArray<number> => {
  const older = Math.max(0, trials - recent)
  const step = older < 2 ? 0 : (1 - 1 / trials) / (older - 1)
  return Array.from({ length: trials }, (_, trial) => trial < older ? 1 / trials + trial * step : 1)
}

// =============================================================================
// Densities
// =============================================================================

/**
 * A density over choices: a mixture of kernels, one for each observation and an
 * even one. A kernel has a row of probabilities for each dimension.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parzen {
  readonly weights: ReadonlyArray<number>
  readonly kernels: ReadonlyArray<{ readonly [dimension: string]: ReadonlyArray<number> }>
}

/**
 * The density of what was observed, given oldest first. The more there is of it,
 * the less a kernel gives to other choices than its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parzen = (
  space: Space,
  observations: ReadonlyArray<Choices>,
  options: Pick<Options, "weights" | "priorWeight"> = {}
): Parzen => {
  const prior = options.priorWeight ?? 1
  const elsewhere = prior / (observations.length + 1)
  const row = (dimension: string, hit: number | undefined): ReadonlyArray<number> =>
    normalized(Array.from({ length: space[dimension]! }, (_, choice) =>
      // a dimension of the space
      hit === undefined ? 1 : elsewhere + (choice === hit ? 1 : 0)))
  const kernel = (choices: Choices) =>
    Object.fromEntries(dimensions(space).map((dimension) => [dimension, row(dimension, choices[dimension])]))
  return {
    weights: observations.length === 0
      ? [1]
      : normalized([...(options.weights ?? weights)(observations.length), prior]),
    // The last one knows of no choice, and is even.
    kernels: [...observations, {}].map(kernel)
  }
}

/**
 * The probability of choices, as its logarithm.
 *
 * @since 0.1.0
 * @category destructors
 */
export const logDensity = (self: Parzen, choices: Choices): number => {
  const logs = self.kernels.map((kernel, index) =>
    Object.entries(kernel).reduce(
      (sum, [dimension, row]) => sum + Math.log(row[choices[dimension]!]!), // choices of the space
      Math.log(self.weights[index]!) // one for each kernel
    )
  )
  const largest = Math.max(...logs)
  return largest + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - largest), 0))
}

/**
 * The finished trials, the good ones (`below`, after the loss that Optuna
 * minimizes) apart from the others, both in the order given. Equal values are
 * the better the earlier they are. Running ones are among the others if
 * `constantLiar` says so.
 *
 * @since 0.1.0
 * @category destructors
 */
export const split = (
  trials: ReadonlyArray<Trial>,
  options: Pick<Options, "gamma" | "constantLiar"> = {}
): { readonly below: ReadonlyArray<Choices>; readonly above: ReadonlyArray<Choices> } => {
  const finished = trials.flatMap(({ value }, index) => value === undefined ? [] : [{ index, value }])
  const good = new Set(
    finished.toSorted((a, b) => b.value - a.value || a.index - b.index)
      .slice(0, (options.gamma ?? gamma)(finished.length))
      .map(({ index }) => index)
  )
  const among = (belongs: (trial: Trial, index: number) => boolean) =>
    trials.filter(belongs).map(({ choices }) => choices)
  const liar = options.constantLiar ?? true
  return {
    below: among((_, index) => good.has(index)),
    above: among(({ value }, index) => !good.has(index) && (liar || value !== undefined))
  }
}

// =============================================================================
// Proposing
// =============================================================================

/**
 * What to try next, the same for the same arguments: `path` is the place of the
 * proposal in the run, such as the seed and the number of the trial. Nothing if
 * every choice of the space is excluded.
 *
 * @example
 * ```ts
 * import * as Tpe from "@effect-dspy/optimizers/Tpe"
 * import { Option } from "effect"
 *
 * const space = { instruction: 3, demos: 4 }
 * const value = ({ demos, instruction }: Tpe.Choices) => (instruction === 2 ? 0.5 : 0) + demos! / 10
 *
 * const trials: Array<Tpe.Trial> = []
 * for (let trial = 0; trial < 12; trial++) {
 *   const choices = Option.getOrThrow(
 *     Tpe.suggest(space, trials, { path: [9, trial], exclude: trials.map(({ choices }) => choices) })
 *   )
 *   trials.push({ choices, value: value(choices) })
 * }
 *
 * // All that was tried is something else, and the whole space is 12.
 * assert.deepStrictEqual(Tpe.suggest(space, trials, { path: [9, 12], exclude: trials.map(({ choices }) => choices) }), Option.none())
 * assert.ok(trials.some(({ choices }) => choices["instruction"] === 2 && choices["demos"] === 3))
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const suggest = (
  space: Space,
  trials: ReadonlyArray<Trial>,
  options: Options & { readonly path: ReadonlyArray<string | number> }
): Option.Option<Choices> => {
  const { nEiCandidates = 24, nStartupTrials = 10, path } = options
  // One choice is no choice: it says nothing about a trial.
  const open = Object.fromEntries(
    dimensions(space).flatMap((dimension) => space[dimension]! > 1 ? [[dimension, space[dimension]!]] : [])
  )
  const excluded = new Set(Array.from(options.exclude ?? [], (choices) => key(open, choices)))
  const size = Object.values(open).reduce((product, choices) => product * choices, 1)
  if (excluded.size >= size) return Option.none()
  const whole = (choices: Choices): Option.Option<Choices> =>
    Option.some(Object.fromEntries(dimensions(space).map((dimension) => [dimension, choices[dimension] ?? 0])))

  const evenly = (candidate: number): Choices => {
    const generator = rng.at(...path, "even", candidate)
    let choices: Choices = Object.fromEntries(
      Object.entries(open).map(([dimension, count]) => [dimension, generator.below(count)])
    )
    while (excluded.has(key(open, choices))) choices = successor(open, choices)
    return choices
  }
  if (trials.filter(({ value }) => value !== undefined).length < nStartupTrials) return whole(evenly(0))

  const { above, below } = split(trials, options)
  const good = parzen(open, below, options)
  const bad = parzen(open, above, options)
  // A generator for each candidate, so that their number does not change any of them.
  const drawn = Array.from({ length: nEiCandidates }, (_, candidate): Choices => {
    const generator = rng.at(...path, "candidate", candidate)
    const kernel = good.kernels[generator.weighted(good.weights)]! // one for each weight
    return Object.fromEntries(Object.entries(kernel).map(([dimension, row]) => [dimension, generator.weighted(row)]))
  }).filter((choices) => !excluded.has(key(open, choices)))
  const candidates = drawn.length > 0 ? drawn : Array.from({ length: nEiCandidates }, (_, n) => evenly(n))
  const gain = (choices: Choices) => logDensity(good, choices) - logDensity(bad, choices)
  // The first of the best: `reduce` keeps what it has unless the next is better.
  return whole(
    candidates.map((choices) => ({ choices, gain: gain(choices) })).reduce((best, next) =>
      next.gain > best.gain ? next : best
    ).choices
  )
}

// By name, so that the order in which a space was written does not matter.
const dimensions = (space: Space): ReadonlyArray<string> => Object.keys(space).sort()

const key = (space: Space, choices: Choices): string => Object.keys(space).map((name) => choices[name]).join()

// Counts through all choices, and starts anew after the last.
const successor = (space: Space, choices: Choices): Choices => {
  const next: { [dimension: string]: number } = { ...choices }
  for (const [dimension, count] of Object.entries(space)) {
    next[dimension] = (next[dimension]! + 1) % count // has all dimensions of the space
    if (next[dimension] !== 0) break
  }
  return next
}

const normalized = (weights: ReadonlyArray<number>): ReadonlyArray<number> => {
  const sum = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => weight / sum)
}
