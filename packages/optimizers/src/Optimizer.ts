/**
 * What all optimizers have in common. An optimizer searches the `Parameters`
 * of a module: `events` is the run as a stream, each event with the best
 * program so far, and `compile` is that stream run to its end.
 *
 * A run is deterministic: its result depends on the module, the data, the
 * metric, the answers of the model and the seed, not on concurrency or timing.
 * A failed model call is not a score: the pair of candidate and example stays
 * unknown, and candidates are compared on the examples known for both. An
 * answer that cannot be read is the candidate's own failure and counts as 0.
 *
 * The module as given is always a candidate, and is kept unless another one is
 * better.
 *
 * @since 0.1.0
 */
import type * as Budget from "@effect-dspy/core/Budget"
import type * as Evaluate from "@effect-dspy/core/Evaluate"
import type { Example } from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { Metric } from "@effect-dspy/core/Metric"
import type * as Parameters from "@effect-dspy/core/Parameters"
import type { ScoringError } from "@effect-dspy/core/Scoring"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { JournalError } from "./Journal.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * What every optimizer takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R> {
  /** What demonstrations are made of. */
  readonly trainset: ReadonlyArray<Example<In, Labels>>
  /**
   * What candidates are selected on; without it the training set, and then each
   * example is scored without its own demonstrations.
   */
  readonly valset?: ReadonlyArray<Example<In, Labels>> | undefined
  /**
   * What the winner and the module as given are measured on in the end. Without
   * it the score is the one the winner was selected by, which flatters it, and
   * is marked so. Here and in `valset` an example that is listed twice counts
   * once.
   */
  readonly testset?: ReadonlyArray<Example<In, Labels>> | undefined
  /** How good an output is, from 0 to 1. */
  readonly metric: Metric<In, Labels, Out, E, R>
  /** Of all that is drawn, 0 by default. */
  readonly seed?: number | undefined
  /** How many runs of the program are under way at once; `Module.window` by default. */
  readonly concurrency?: number | undefined
  /**
   * What the run may spend, a limit or a budget that is shared with others. Its
   * end is the end of the run, with the best so far. What is needed to measure
   * the winner on the test set is put aside, but for time. Runs are supposed to
   * take what the dearest so far took: only one that takes more can overdraw it.
   * A resumed run counts what it had spent before. The model must not draw on
   * the same budget by a policy, or each call is paid twice.
   */
  readonly budget?: Budget.Limits | Budget.Service | undefined
  /**
   * The share of the latest runs of the program, 10 to 50 of them, that may fail
   * by the model's or the metric's doing, and of the latest questions to the
   * prompt model; 0.5 by default.
   */
  readonly maxFailureRate?: number | undefined
}

/**
 * What optimizers take that ask a model to write. `promptModel` is that model;
 * without it the one of the program writes too. A layer that may fail is made
 * one by `Layer.orDie`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Prompted<R = never> {
  readonly promptModel?: Layer.Layer<LanguageModel.LanguageModel, never, R> | undefined
}

// =============================================================================
// Results
// =============================================================================

/**
 * What a run has cost: answers of the model that were paid for, and their
 * usage.
 *
 * @since 0.1.0
 * @category models
 */
export interface Spend {
  readonly calls: number
  readonly usage: LanguageModel.Usage
}

/**
 * Parameters that were measured. `origin` says how they were made, `seed` with
 * which one, where several were made the same way, and `parents` from which
 * candidates, by index. One that is not `complete` left the race before it was
 * measured on all selection examples.
 *
 * @since 0.1.0
 * @category models
 */
export interface Candidate {
  readonly index: number
  readonly origin: string
  readonly seed: number | undefined
  readonly parents: ReadonlyArray<number>
  readonly parameters: Parameters.Parameters
  readonly score: Evaluate.Estimate
  readonly complete: boolean
}

/**
 * Where a result comes from. Equal hashes mean equal data and options; `model`
 * is the id of the model in the context, if there was one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Provenance {
  readonly optimizer: string
  readonly seed: number
  readonly model: string | undefined
  readonly program: string
  readonly data: string
  readonly options: string
}

/**
 * A better program, and how much better.
 *
 * `score` and `baseline` (of the module as given) are on the same examples:
 * those of the test set if `measuredOn` says so, otherwise those the winner was
 * selected on. `difference` is the mean of the paired differences. Intervals are
 * of 95 %. `candidates` are all that were measured on selection examples, the
 * complete ones first, and best mean first.
 *
 * @since 0.1.0
 * @category models
 */
export interface Compiled<out M> {
  readonly module: M
  readonly parameters: Parameters.Parameters
  readonly measuredOn: "selection" | "test"
  readonly score: Evaluate.Estimate
  readonly baseline: Evaluate.Estimate
  readonly difference: Evaluate.Estimate
  readonly candidates: ReadonlyArray<Candidate>
  readonly provenance: Provenance
  readonly spend: Spend
}

// =============================================================================
// Events
// =============================================================================

/**
 * Which candidate is measured, and on what.
 *
 * @since 0.1.0
 * @category events
 */
export interface Trial {
  readonly index: number
  readonly total: number
  readonly origin: string
  readonly seed: number | undefined
  readonly on: "training" | "selection" | "test"
}

/**
 * What every event carries. `spend` is what the results so far rest on; `runs`
 * counts runs of the program, `planned` being an upper bound, and `replayed`
 * those taken from the journal, and `thrown` those in which the module or the
 * metric threw; `elapsed` is in milliseconds.
 *
 * @since 0.1.0
 * @category events
 */
export interface Progress<out M> {
  readonly best: Option.Option<Compiled<M>>
  readonly spend: Spend
  readonly runs: {
    readonly done: number
    readonly replayed: number
    readonly thrown: number
    readonly planned: number
  }
  readonly elapsed: number
}

/**
 * What the run will do at most, which is more with room for more runs at once:
 * `calls` supposes one call per predictor and run, and knows nothing of frozen
 * predictors.
 * `examples` are the ids of the selection examples, `tests` those of the test
 * examples, both in the order of the scores of a `TrialEnd`.
 *
 * @since 0.1.0
 * @category events
 */
export interface Plan<out M> extends Progress<M> {
  readonly _tag: "Plan"
  readonly trials: number
  readonly calls: number
  readonly examples: ReadonlyArray<string>
  readonly tests: ReadonlyArray<string>
}

/**
 * The program was run on a training example to make demonstrations. Attempts
 * of several candidates may come in any order.
 *
 * @since 0.1.0
 * @category events
 */
export interface Attempt<out M> extends Progress<M> {
  readonly _tag: "Attempt"
  readonly example: string
  readonly round: number
  readonly outcome: "passed" | "rejected" | "failed"
}

/**
 * The prompt model was asked for something, or could not answer. Answers that
 * do not depend on each other may come in any order.
 *
 * @since 0.1.0
 * @category events
 */
export interface Asked<out M> extends Progress<M> {
  readonly _tag: "Asked"
  readonly purpose: string
  readonly outcome: "answered" | "failed"
}

/**
 * A candidate was made, of the candidates `parents`.
 *
 * @since 0.1.0
 * @category events
 */
export interface Proposal<out M> extends Progress<M> {
  readonly _tag: "Proposal"
  readonly trial: Trial
  readonly parameters: Parameters.Parameters
  readonly parents: ReadonlyArray<number>
}

/**
 * The measuring of a candidate begins.
 *
 * @since 0.1.0
 * @category events
 */
export interface TrialStart<out M> extends Progress<M> {
  readonly _tag: "TrialStart"
  readonly trial: Trial
}

/**
 * One more example was scored, of the `total` that the candidate is measured on
 * now; `mean` is that of the `done` ones which are known.
 *
 * @since 0.1.0
 * @category events
 */
export interface Scored<out M> extends Progress<M> {
  readonly _tag: "Scored"
  readonly trial: Trial
  readonly done: number
  readonly total: number
  readonly mean: number
}

/**
 * What is known of a candidate is good enough to measure it on all selection
 * examples.
 *
 * @since 0.1.0
 * @category events
 */
export interface Promotion<out M> extends Progress<M> {
  readonly _tag: "Promotion"
  readonly trial: Trial
  readonly known: number
  readonly mean: number
}

/**
 * A candidate is out of the race before it was measured on all selection
 * examples; `score` is of those it was.
 *
 * @since 0.1.0
 * @category events
 */
export interface Retired<out M> extends Progress<M> {
  readonly _tag: "Retired"
  readonly trial: Trial
  readonly score: Evaluate.Estimate
  readonly why: string
}

/**
 * A candidate was measured on all examples; `scores` are one for each of them,
 * nothing where model or metric failed.
 *
 * @since 0.1.0
 * @category events
 */
export interface TrialEnd<out M> extends Progress<M> {
  readonly _tag: "TrialEnd"
  readonly trial: Trial
  readonly score: Evaluate.Estimate
  readonly scores: ReadonlyArray<number | undefined>
}

/**
 * After a round of a search that builds on candidates that are best at
 * something: who they are, by index.
 *
 * @since 0.1.0
 * @category events
 */
export interface Front<out M> extends Progress<M> {
  readonly _tag: "Front"
  readonly iteration: number
  readonly candidates: ReadonlyArray<number>
}

/**
 * The candidate just measured is better than all before it.
 *
 * @since 0.1.0
 * @category events
 */
export interface NewBest<out M> extends Progress<M> {
  readonly _tag: "NewBest"
  readonly trial: Trial
  readonly score: Evaluate.Estimate
}

/**
 * An event of the run of another optimizer that is a step of this one.
 *
 * @since 0.1.0
 * @category events
 */
export interface Step<out M> extends Progress<M> {
  readonly _tag: "Step"
  readonly name: string
  readonly index: number
  readonly total: number
  readonly event: OptimizerEvent<M>
}

/**
 * The end. `discarded` was paid for runs that were finished but not needed,
 * because they had been started ahead; it is not part of `spend`.
 *
 * @since 0.1.0
 * @category events
 */
export interface Done<out M> extends Progress<M> {
  readonly _tag: "Done"
  readonly reason: "completed" | "stopAtScore" | "budget"
  readonly discarded: Spend
}

/**
 * What happens in a run of an optimizer.
 *
 * @since 0.1.0
 * @category events
 */
export type OptimizerEvent<M> =
  | Plan<M>
  | Attempt<M>
  | Asked<M>
  | Proposal<M>
  | TrialStart<M>
  | Scored<M>
  | Promotion<M>
  | Retired<M>
  | TrialEnd<M>
  | Front<M>
  | NewBest<M>
  | Step<M>
  | Done<M>

// =============================================================================
// Errors
// =============================================================================

/**
 * A data set without examples.
 *
 * @since 0.1.0
 * @category errors
 */
export class EmptyDataset extends Schema.TaggedError<EmptyDataset>("@effect-dspy/optimizers/Optimizer/EmptyDataset")(
  "EmptyDataset",
  { dataset: Schema.Literal("trainset", "valset", "testset") }
) {
  override get message(): string {
    return `The ${this.dataset} has no examples${
      this.dataset === "trainset" ? "" : `; leave the option out to do without`
    }`
  }
}

/**
 * A module that lists no predictor.
 *
 * @since 0.1.0
 * @category errors
 */
export class NothingToTune
  extends Schema.TaggedError<NothingToTune>("@effect-dspy/optimizers/Optimizer/NothingToTune")("NothingToTune", {})
{
  override get message(): string {
    return "The module lists no predictor. Pass its parts to Module.make, and do not freeze all of them"
  }
}

/**
 * Options that make no sense, alone or together.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOptions
  extends Schema.TaggedError<InvalidOptions>("@effect-dspy/optimizers/Optimizer/InvalidOptions")(
    "InvalidOptions",
    { option: Schema.String, description: Schema.String }
  )
{
  override get message(): string {
    return `${this.option} ${this.description}`
  }
}

/**
 * The model, or the metric, fails too often for scores to mean anything: more
 * often than allowed, or in every run of the module as given. What was paid for is
 * in the journal, if there is one: run again when the model is back.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyFailures
  extends Schema.TaggedError<TooManyFailures>("@effect-dspy/optimizers/Optimizer/TooManyFailures")("TooManyFailures", {
    what: Schema.Literal("runs of the program", "questions to the prompt model"),
    failed: Schema.Number,
    of: Schema.Number,
    maxFailureRate: Schema.Number,
    /** The latest failure, in words. */
    latest: Schema.String
  })
{
  override get message(): string {
    const { failed, latest, maxFailureRate, of, what } = this
    const allowed = failed > maxFailureRate * of ? `, more than the allowed share of ${maxFailureRate}` : ""
    return `${failed} of the last ${of} ${what} failed${allowed}. The latest: ${latest}`
  }
}

/**
 * The budget ended before the module as given was measured, so there is
 * nothing to return.
 *
 * @since 0.1.0
 * @category errors
 */
export class BudgetTooSmall
  extends Schema.TaggedError<BudgetTooSmall>("@effect-dspy/optimizers/Optimizer/BudgetTooSmall")(
    "BudgetTooSmall",
    { runs: Schema.Number, calls: Schema.Number }
  )
{
  override get message(): string {
    return `The budget ended before the program as given was measured once, which takes ${this.runs} runs of it and about ${this.calls} calls`
  }
}

/**
 * Everything an optimizer can fail with.
 *
 * @since 0.1.0
 * @category errors
 */
export type OptimizerError =
  | EmptyDataset
  | Evaluate.AmbiguousExample
  | NothingToTune
  | InvalidOptions
  | TooManyFailures
  | BudgetTooSmall
  | JournalError
  | ScoringError

// =============================================================================
// Running
// =============================================================================

/**
 * The best program of a run, also of one that is cut short: `None` if it ended
 * before the first candidate was measured.
 *
 * @since 0.1.0
 * @category destructors
 */
export const best = <M, E, R>(
  events: Stream.Stream<OptimizerEvent<M>, E, R>
): Effect.Effect<Option.Option<Compiled<M>>, E, R> =>
  Effect.map(
    Stream.runLast(events),
    Option.flatMap(({ best, spend }) => Option.map(best, (compiled) => ({ ...compiled, spend })))
  )
