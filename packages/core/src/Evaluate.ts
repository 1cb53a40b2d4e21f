/**
 * `Evaluate` measures a module on examples: every score in its place, a mean
 * that says how sure it is, and what failed told apart from what is wrong.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Example } from "./Example.ts"
import * as csv from "./internal/csv.ts"
import * as printed from "./internal/printed.ts"
import * as statistics from "./internal/statistics.ts"
import * as Json from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"
import type { Metric } from "./Metric.ts"
import * as Module from "./Module.ts"
import * as Scoring from "./Scoring.ts"
import * as Signature from "./Signature.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId = "~@effect-dspy/core/Evaluate"

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

// =============================================================================
// Reports
// =============================================================================

/**
 * What came of one example. `score` is that of the metric, 0 where the module
 * failed by its own doing (an answer that does not parse), and undefined where
 * the model, the network or the metric failed, which says nothing about the
 * module, or where module or metric threw.
 *
 * @since 0.1.0
 * @category models
 */
export interface Result<out In, out Labels> {
  readonly example: Example<In, Labels>
  readonly score: number | undefined
  readonly scored: Scoring.Scored
}

/**
 * Holds the true value with the given confidence.
 *
 * @since 0.1.0
 * @category models
 */
export interface Interval {
  readonly lower: number
  readonly upper: number
  readonly confidence: number
}

/**
 * A mean of the `known` values, which says how sure it is. `unknown` ones are
 * left out. The mean of nothing is 0, and its interval the whole range.
 *
 * @since 0.1.0
 * @category models
 */
export interface Estimate {
  readonly mean: number
  readonly interval: Interval
  readonly known: number
  readonly unknown: number
}

/**
 * A module, measured. `score` is the unrounded mean of all known scores, 0 if
 * there is none; `results` are in the order of the examples.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report<out In, out Labels> {
  readonly [TypeId]: TypeId
  /** Of the evaluator, as in journals. */
  readonly id: string
  readonly score: number
  readonly interval: Interval
  /** How many examples have a score. */
  readonly known: number
  /** How many of these are 0 because the module failed. */
  readonly failed: number
  /** How many examples have no score and are left out of the mean. */
  readonly unknown: number
  /** How many of these because the module or the metric threw, which is a mistake in one of them. */
  readonly thrown: number
  readonly calls: number
  readonly usage: LanguageModel.Usage
  readonly results: ReadonlyArray<Result<In, Labels>>
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isReport = (u: unknown): u is Report<unknown, unknown> => Predicate.hasProperty(u, TypeId)

// =============================================================================
// Errors
// =============================================================================

/**
 * More examples are without a score than may be: the mean of the rest would
 * say little. `report` holds what there is up to the one too many, in the
 * order of the examples.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyFailures extends Schema.TaggedError<TooManyFailures>("@effect-dspy/core/Evaluate/TooManyFailures")(
  "TooManyFailures",
  {
    unknown: Schema.Number,
    total: Schema.Number,
    maxFailureRate: Schema.Number,
    report: Schema.declare(isReport, { identifier: "Report" })
  }
) {
  override get message(): string {
    return `${this.unknown} of ${this.total} examples could not be scored, more than the share of ${this.maxFailureRate} that is tolerated: ${
      tally(this.report, true)
    }`
  }
}

/**
 * Two different examples have the same id, so that their scores could not be
 * told apart.
 *
 * @since 0.1.0
 * @category errors
 */
export class AmbiguousExample
  extends Schema.TaggedError<AmbiguousExample>("@effect-dspy/core/Evaluate/AmbiguousExample")(
    "AmbiguousExample",
    { id: Schema.String }
  )
{
  override get message(): string {
    return `Two different examples have the id "${this.id}"; give each its own`
  }
}

/**
 * Everything that can go wrong in an evaluation.
 *
 * @since 0.1.0
 * @category errors
 */
export type EvaluateError = TooManyFailures | AmbiguousExample | Scoring.ScoringError

// =============================================================================
// Running
// =============================================================================

/**
 * How a module is measured.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R> {
  readonly examples: ReadonlyArray<Example<In, Labels>>
  readonly metric: Metric<In, Labels, Out, E, R>
  /** How many examples are worked on at once; `Module.window` by default. */
  readonly concurrency?: number | undefined
  /** The share of the examples that may stay without a score; 0.1 by default. */
  readonly maxFailureRate?: number | undefined
  /** Of the interval; 0.95 by default. */
  readonly confidence?: number | undefined
  /** Of the resampling behind the interval; 0 by default. */
  readonly seed?: number | undefined
  /**
   * Names module, examples and metric where scores are kept or made elsewhere.
   * By default it is made from the signatures of the module and the ids of the
   * examples; give one if metrics or programs differ in anything else.
   */
  readonly id?: string | undefined
}

/**
 * What happens while a module is measured. `Scored` events come in the order of
 * the examples, whatever finishes first; `mean` is that of the scores so far.
 *
 * @since 0.1.0
 * @category models
 */
export type Event<In, Labels> =
  | { readonly _tag: "Started"; readonly total: number }
  | {
    readonly _tag: "Scored"
    readonly index: number
    readonly done: number
    readonly total: number
    readonly mean: number
    readonly failed: number
    readonly unknown: number
    readonly calls: number
    readonly usage: LanguageModel.Usage
    readonly result: Result<In, Labels>
  }
  | { readonly _tag: "Done"; readonly report: Report<In, Labels> }

/**
 * Measures a module, event by event. The last one is `Done` with the report.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <In, Out, E, R, Labels, E2, R2>(
  module: Module.Module<In, Out, E, R>,
  options: Options<In, Labels, Out, E2, R2>
): Stream.Stream<Event<In, Labels>, EvaluateError, R | R2> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const { examples } = options
    yield* distinct(examples)
    const context = yield* Effect.context<R | R2>()
    const open = Scoring.evaluator({
      id: options.id ?? idOf(module, examples),
      module,
      examples,
      metric: options.metric
    })
    const evaluator: Scoring.Evaluator = { id: open.id, run: (task) => Effect.provide(open.run(task), context) }
    const candidate = Module.parameters(module)
    const progress = new Progress(evaluator.id, options)
    const concurrency = options.concurrency ?? (yield* Module.window)
    // `Stream.mapEffect` runs a stream for each element, which costs more than all the rest of a run.
    const mailbox = yield* Mailbox.make<Event<In, Labels>, EvaluateError>({ capacity: 16 })
    // What is told next is told before anything after it, whoever else comes in meanwhile.
    const inTurn = (yield* Effect.makeSemaphore(1)).withPermits(1)
    yield* mailbox.offer({ _tag: "Started", total: examples.length })
    yield* Effect.forEach(
      examples,
      (example, index) =>
        Effect.flatMap(
          Scoring.score(evaluator, { candidate, example: example.id, trace: true }),
          (scored) =>
            inTurn(Effect.suspend(() => {
              const { events, failure } = progress.arrived(index, scored)
              return Effect.zipRight(mailbox.offerAll(events), failure ?? Effect.void)
            }))
        ),
      { concurrency, discard: true }
    ).pipe(
      Effect.zipRight(Effect.suspend(() => mailbox.offer({ _tag: "Done", report: progress.report() }))),
      Mailbox.into(mailbox),
      Effect.forkScoped
    )
    return Mailbox.toStream(mailbox)
  }))

/**
 * Measures a module.
 *
 * Fails when too many examples stay without a score, which is when the model,
 * the network or the metric fails, not the module, or when module or metric
 * throw. What the module itself does wrong, such as an answer that cannot be
 * read, counts as 0.
 *
 * The report is the same at any concurrency, as far as the answers are.
 *
 * @example
 * ```ts
 * import * as Evaluate from "@effect-dspy/core/Evaluate"
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const route = Predict.make("ticket -> team")
 *
 * const examples = [
 *   Example.make({ inputs: { ticket: "My invoice is wrong" }, labels: { team: "billing" } }),
 *   Example.make({ inputs: { ticket: "The app crashes" }, labels: { team: "technical" } })
 * ]
 *
 * const program = Evaluate.run(route, { examples, metric: Metric.exactMatch("team") }).pipe(
 *   Effect.provide(TestLanguageModel.layer(() => TestLanguageModel.fields({ team: "billing" })))
 * )
 *
 * Effect.runPromise(program).then((report) => {
 *   assert.strictEqual(report.score, 0.5)
 *   assert.deepStrictEqual(report.results.map((result) => result.score), [1, 0])
 *   assert.ok(Evaluate.format(report).startsWith("score 0.500 ["))
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const run = <In, Out, E, R, Labels, E2, R2>(
  module: Module.Module<In, Out, E, R>,
  options: Options<In, Labels, Out, E2, R2>
): Effect.Effect<Report<In, Labels>, EvaluateError, R | R2> =>
  Effect.flatMap(Stream.runLast(events(module, options)), (last) =>
    Option.isSome(last) && last.value._tag === "Done"
      ? Effect.succeed(last.value.report)
      : Effect.dieMessage("an evaluation ended without a report"))

const distinct = (examples: ReadonlyArray<Example<unknown, unknown>>): Effect.Effect<void, AmbiguousExample> =>
  Effect.suspend(() => {
    const known = new Map<string, Example<unknown, unknown>>()
    for (const example of examples) {
      const other = known.get(example.id)
      if (other === undefined) known.set(example.id, example)
      else if (other !== example && Json.canonical(other) !== Json.canonical(example)) {
        return new AmbiguousExample({ id: example.id })
      }
    }
    return Effect.void
  })

const idOf = (module: Module.Any, examples: ReadonlyArray<Example<unknown, unknown>>): string => {
  const predictors = module.predictors.map(({ path, signature }) => {
    const { inputs, outputs } = Signature.fields(signature)
    return [path, signature.instructions, ...[...inputs, ...outputs].map(({ kind, name, type }) => [kind, name, type])]
  })
  return `evaluate/${Json.hash([predictors, examples.map(({ id }) => id)]).slice(0, 16)}`
}

// Results in the order of the examples, however they come.
class Progress<In, Labels> {
  readonly #results: Array<Result<In, Labels>> = []
  readonly #waiting = new Map<number, Scoring.Scored>()
  readonly #maxFailureRate: number
  #sum = 0
  #known = 0
  #failed = 0
  #thrown = 0
  #calls = 0
  #usage: LanguageModel.Usage = {}
  #isOver = false

  constructor(
    readonly id: string,
    readonly options: Pick<
      Options<In, Labels, never, unknown, unknown>,
      "examples" | "maxFailureRate" | "confidence" | "seed"
    >
  ) {
    this.#maxFailureRate = options.maxFailureRate ?? 0.1
  }

  arrived(
    index: number,
    scored: Scoring.Scored
  ): { readonly events: ReadonlyArray<Event<In, Labels>>; readonly failure: TooManyFailures | undefined } {
    this.#waiting.set(index, scored)
    const events: Array<Event<In, Labels>> = []
    // Others may come in while a slow reader takes what was before the failure.
    if (this.#isOver) return { events, failure: undefined }
    for (;;) {
      const index = this.#results.length
      const scored = this.#waiting.get(index)
      if (scored === undefined) return { events, failure: undefined }
      this.#waiting.delete(index)
      events.push(this.#commit(index, scored))
      if (this.#unknown > this.#maxFailureRate * this.options.examples.length) {
        this.#isOver = true
        const failure = new TooManyFailures({
          unknown: this.#unknown,
          total: this.options.examples.length,
          maxFailureRate: this.#maxFailureRate,
          report: this.report()
        })
        return { events, failure }
      }
    }
  }

  get #unknown(): number {
    return this.#results.length - this.#known
  }

  #commit(index: number, scored: Scoring.Scored): Event<In, Labels> {
    const score = scored._tag === "Scored" ? scored.score : scored.transient ? undefined : 0
    const result = { example: this.options.examples[index]!, score, scored } // there is a result for it
    this.#results.push(result)
    if (score !== undefined) {
      this.#sum += score
      this.#known++
      if (scored._tag === "Failed") this.#failed++
    } else if (scored._tag === "Failed" && scored.error === "Defect") this.#thrown++
    this.#calls += scored.calls
    this.#usage = LanguageModel.addUsage(this.#usage, scored.usage)
    return {
      _tag: "Scored",
      index,
      done: this.#results.length,
      total: this.options.examples.length,
      mean: this.#known === 0 ? 0 : this.#sum / this.#known,
      failed: this.#failed,
      unknown: this.#unknown,
      calls: this.#calls,
      usage: this.#usage,
      result
    }
  }

  report(): Report<In, Labels> {
    const { interval, known, mean, unknown } = estimate(this.#results.map(({ score }) => score), this.options)
    return {
      [TypeId]: TypeId,
      id: this.id,
      score: mean,
      interval,
      known,
      failed: this.#failed,
      unknown,
      thrown: this.#thrown,
      calls: this.#calls,
      usage: this.#usage,
      results: this.#results
    }
  }
}

// =============================================================================
// Comparing
// =============================================================================

/**
 * The mean of scores with its bootstrap interval; undefined stands for one that
 * is unknown. `range` is what a value can be, 0 to 1 by default; `confidence` is
 * 0.95 and `seed`, of the resampling, 0.
 *
 * @see Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13
 *
 * @since 0.1.0
 * @category comparing
 */
export const estimate = (
  values: ReadonlyArray<number | undefined>,
  options: {
    readonly range?: { readonly lower: number; readonly upper: number } | undefined
    readonly confidence?: number | undefined
    readonly seed?: number | undefined
  } = {}
): Estimate => {
  const { confidence = 0.95, range = { lower: 0, upper: 1 }, seed = 0 } = options
  const known = values.filter((value) => value !== undefined)
  return {
    mean: statistics.mean(known),
    interval: { ...statistics.interval(known, { range, confidence, seed }), confidence },
    known: known.length,
    unknown: values.length - known.length
  }
}

/**
 * How often paired differences at least this far from 0 on average, either way,
 * would come about if luck had decided the sign of each: a two-sided randomization
 * test. `seed`, of the tosses, is 0 by default.
 *
 * @see Yeh, "More accurate tests for the statistical significance of result differences" (COLING 2000)
 *
 * @since 0.1.0
 * @category comparing
 */
export const pValue = (
  differences: ReadonlyArray<number>,
  options: { readonly seed?: number | undefined } = {}
): number => statistics.pValue(differences, options.seed ?? 0)

/**
 * Two reports on the same examples, pair by pair. `difference` is the mean of
 * candidate minus baseline over the `compared` examples that both have a score
 * for; `excluded` are those that only one of them has.
 *
 * `pValue` is how often a difference at least this large, either way, would
 * come about if the two were equally good and luck had decided which of them
 * does better on each example.
 *
 * @since 0.1.0
 * @category models
 */
export interface Comparison {
  readonly baseline: number
  readonly candidate: number
  readonly difference: number
  readonly interval: Interval
  readonly pValue: number
  readonly compared: number
  readonly excluded: number
  /** On how many examples the candidate is better. */
  readonly better: number
  /** On how many examples the candidate is worse. */
  readonly worse: number
}

/**
 * Compares two reports on the examples they have in common, by id: the
 * difference with its bootstrap interval (0.95 by default), and the
 * probability of such a difference by a paired randomization test.
 *
 * @see Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13
 * @see Yeh, "More accurate tests for the statistical significance of result differences" (COLING 2000)
 *
 * @example
 * ```ts
 * import * as Evaluate from "@effect-dspy/core/Evaluate"
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const examples = Array.from({ length: 20 }, (_, n) =>
 *   Example.make({ inputs: { question: `${n} + 1?` }, labels: { answer: String(n + 1) } })
 * )
 * const add = Predict.make("question -> answer")
 * const measured = (answer: (n: number) => string) =>
 *   Evaluate.run(add, { examples, metric: Metric.exactMatch("answer"), concurrency: 1 }).pipe(
 *     Effect.provide(TestLanguageModel.layer((_, n) => TestLanguageModel.fields({ answer: answer(n) })))
 *   )
 *
 * const program = Effect.gen(function*() {
 *   const before = yield* measured((n) => n < 10 ? String(n + 1) : "many")
 *   const after = yield* measured((n) => n < 18 ? String(n + 1) : "many")
 *   return Evaluate.compare(before, after)
 * })
 *
 * Effect.runPromise(program).then((comparison) => {
 *   assert.deepStrictEqual([comparison.better, comparison.worse], [8, 0])
 *   assert.ok(comparison.difference === 0.4 && comparison.interval.lower > 0 && comparison.pValue < 0.05)
 * })
 * ```
 *
 * @since 0.1.0
 * @category comparing
 */
export const compare = (
  baseline: Report<unknown, unknown>,
  candidate: Report<unknown, unknown>,
  options: { readonly confidence?: number | undefined; readonly seed?: number | undefined } = {}
): Comparison => {
  const before = scoresOf(baseline)
  const after = scoresOf(candidate)
  const pairs = Array.from(before).flatMap(([id, score]) => {
    const other = after.get(id)
    return other === undefined ? [] : [{ before: score, after: other }]
  })
  const differences = pairs.map(({ after, before }) => after - before)
  const { interval, mean } = estimate(differences, { ...options, range: { lower: -1, upper: 1 } })
  return {
    baseline: statistics.mean(pairs.map(({ before }) => before)),
    candidate: statistics.mean(pairs.map(({ after }) => after)),
    difference: mean,
    interval,
    pValue: pValue(differences, options),
    compared: pairs.length,
    excluded: new Set([...ids(baseline), ...ids(candidate)]).size - pairs.length,
    better: differences.filter((difference) => difference > 0).length,
    worse: differences.filter((difference) => difference < 0).length
  }
}

const ids = ({ results }: Report<unknown, unknown>): ReadonlyArray<string> => results.map(({ example }) => example.id)

const scoresOf = ({ results }: Report<unknown, unknown>): ReadonlyMap<string, number> =>
  new Map(results.flatMap(({ example, score }) => score === undefined ? [] : [[example.id, score] as const]))

// =============================================================================
// Printing and saving
// =============================================================================

/**
 * A report as text: the figures, then a table of examples. `rows` of them are
 * shown (10 by default), the `worst` first or as `given`; those without a score
 * count as worst. Cells are cut off after `width` characters (32 by default).
 *
 * @since 0.1.0
 * @category printing
 */
export const format = (
  report: Report<unknown, unknown>,
  options: {
    readonly rows?: number | undefined
    readonly order?: "worst" | "given" | undefined
    readonly width?: number | undefined
  } = {}
): string => {
  const { order = "worst", rows = 10, width = 32 } = options
  const { lower, upper } = report.interval
  const results = order === "given"
    ? report.results
    : report.results.map((result, index) => ({ result, index })).sort((a, b) =>
      (a.result.score ?? -1) - (b.result.score ?? -1) || a.index - b.index
    ).map(({ result }) => result)
  const shown = results.slice(0, rows)
  return [
    `score ${report.score.toFixed(3)} [${lower.toFixed(3)}, ${upper.toFixed(3)}] at ${
      Number((report.interval.confidence * 100).toFixed(3))
    } % on ${count(report.known, "example")}, ${count(report.calls, "call")}${tokens(report.usage)}`,
    ...(report.failed === 0 ? [] : [`${count(report.failed, "failure")} scored as 0: ${tally(report, false)}`]),
    ...(report.unknown === 0 ? [] : [`${count(report.unknown, "example")} left out: ${tally(report, true)}`]),
    ...(shown.length === 0 ? [] : [
      "",
      ...table(
        [
          ["score", "inputs", "labels", "output", "feedback"],
          ...shown.map(({ example, score, scored }) => [
            score === undefined ? "?" : score.toFixed(3),
            brief(example.inputs),
            brief(example.labels),
            scored._tag === "Scored" && scored.output !== undefined ? brief(scored.output) : "",
            scored._tag === "Scored" ? scored.feedback ?? "" : `${scored.error}: ${scored.message}`
          ])
        ],
        width
      )
    ]),
    ...(shown.length === results.length ? [] : [`and ${results.length - shown.length} more`])
  ].join("\n")
}

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`

const tokens = ({ cost, inputTokens, outputTokens }: LanguageModel.Usage): string =>
  (inputTokens === undefined && outputTokens === undefined
    ? ""
    : `, ${inputTokens ?? "?"} tokens in, ${outputTokens ?? "?"} out`) + (cost === undefined ? "" : `, cost ${cost}`)

// What failed, the most frequent first, each kind with the message of its first.
const tally = ({ results }: Report<unknown, unknown>, transient: boolean): string => {
  const kinds = new Map<string, { count: number; readonly message: string }>()
  for (const { scored } of results) {
    if (scored._tag !== "Failed" || scored.transient !== transient) continue
    const kind = kinds.get(scored.error)
    if (kind === undefined) kinds.set(scored.error, { count: 1, message: scored.message })
    else kind.count++
  }
  return Array.from(kinds).sort(([, a], [, b]) => b.count - a.count)
    .map(([error, { count, message }]) => `${count} × ${error} (${cut(oneLine(message), 160)})`).join(", ")
}

// A record by its fields, or by its value where it has just one.
const brief = (value: unknown): string => {
  if (!Predicate.isRecord(value)) return cell(value)
  const entries = Object.entries(value)
  const [only] = entries
  return only !== undefined && entries.length === 1
    ? cell(only[1])
    : entries.map(([name, value]) => `${name}: ${cell(value)}`).join(", ")
}

const cell = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined ? "" : printed.json(value)

const oneLine = (text: string): string => text.replace(/\s+/g, " ").trim()

const cut = (text: string, width: number): string => {
  const characters = Array.from(text)
  return characters.length <= width ? text : `${characters.slice(0, width - 1).join("")}…`
}

const table = (rows: ReadonlyArray<ReadonlyArray<string>>, width: number): ReadonlyArray<string> => {
  const cells = rows.map((row) => row.map((text) => cut(oneLine(text), width)))
  const length = (text: string) => Array.from(text).length
  const widths = rows[0]!.map((_, column) => Math.max(...cells.map((row) => length(row[column]!)))) // the header is a row
  return cells.map((row) =>
    row.map((text, column) => text + " ".repeat(widths[column]! - length(text))).join("  ").trimEnd()
  )
}

/**
 * One line of JSON for each example: `id`, `inputs`, `labels`, `output`,
 * `score` (null where there is none), `feedback`, `calls`, `usage`, and for a
 * failure `error`, `message` and `transient`.
 *
 * @since 0.1.0
 * @category printing
 */
export const toJsonl = (report: Report<unknown, unknown>): string =>
  report.results.map(({ example, score, scored }) => {
    const { calls, usage } = scored
    return `${
      printed.json({
        id: example.id,
        inputs: example.inputs,
        labels: example.labels,
        ...(scored._tag === "Scored"
          ? { output: scored.output, score, feedback: scored.feedback }
          : { score: score ?? null, error: scored.error, message: scored.message, transient: scored.transient }),
        calls,
        usage
      })
    }\n`
  }).join("")

/**
 * A table of the examples as CSV, with a header line. Fields of inputs, labels
 * and output have a column each, such as `inputs.question`; what is no text is
 * JSON.
 *
 * @since 0.1.0
 * @category printing
 */
export const toCsv = (report: Report<unknown, unknown>): string => {
  const rows = report.results.map(({ example, score, scored }) =>
    new Map<string, string>([
      ["id", example.id],
      ["score", score === undefined ? "" : String(score)],
      ...columns("inputs", example.inputs),
      ...columns("labels", example.labels),
      ...(scored._tag === "Scored"
        ? [...columns("output", scored.output), ["feedback", scored.feedback ?? ""] as const]
        : [["error", scored.error] as const, ["message", scored.message] as const]),
      ["calls", String(scored.calls)]
    ])
  )
  const order = ["id", "score", "inputs", "labels", "output", "feedback", "error", "message", "calls"]
  const names = Array.from(new Set(rows.flatMap((row) => Array.from(row.keys()))))
    .map((name, index) => ({ name, index, place: order.indexOf(name.split(".", 1)[0]!) })) // a split gives one part
    .sort((a, b) => a.place - b.place || a.index - b.index)
    .map(({ name }) => name)
  return csv.print([names, ...rows.map((row) => names.map((name) => row.get(name) ?? ""))])
}

const columns = (name: string, value: unknown): ReadonlyArray<readonly [string, string]> =>
  value === undefined
    ? []
    : Predicate.isRecord(value)
    ? Object.entries(value).map(([key, value]) => [`${name}.${key}`, cell(value)] as const)
    : [[name, cell(value)]]

/**
 * Writes a report to a file: CSV if its name ends in `.csv`, JSON Lines
 * otherwise.
 *
 * @since 0.1.0
 * @category printing
 */
export const save = (
  report: Report<unknown, unknown>,
  path: string
): Effect.Effect<void, PlatformError, FileSystem.FileSystem> =>
  Effect.flatMap(
    FileSystem.FileSystem,
    (fs) => fs.writeFileString(path, /\.csv$/i.test(path) ? toCsv(report) : toJsonl(report))
  )
