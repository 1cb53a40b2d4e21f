/**
 * A `Metric` says how good an output is: a score from 0 to 1, and, if it can,
 * feedback in words that an optimizer may show to a model.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as ChainOfThought from "./ChainOfThought.ts"
import type { Example } from "./Example.ts"
import * as printed from "./internal/printed.ts"
import type { LanguageModel } from "./LanguageModel.ts"
import type * as Module from "./Module.ts"
import type { PredictError } from "./Predict.ts"
import * as Signature from "./Signature.ts"
import type { Trace } from "./Trace.ts"

/**
 * `value` is between 0 (wrong) and 1 (right). `feedback` is about the whole
 * output; `predictors` may say something else about single predictors, by
 * path, such as which step of a chain went wrong.
 *
 * @since 0.1.0
 * @category models
 */
export const Score = Schema.Struct({
  value: Schema.Number.pipe(Schema.between(0, 1)),
  feedback: Schema.optional(Schema.String),
  predictors: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.String }))
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Score extends Schema.Schema.Type<typeof Score> {}

/**
 * Judges one output of a module against an example. The trace holds the calls
 * of the predictors in canonical order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metric<in In, in Labels, in Out, out E = never, out R = never> {
  (example: Example<In, Labels>, output: Out, trace: Trace): Effect.Effect<Score, E, R>
}

/**
 * Any metric, with its types erased.
 *
 * @since 0.1.0
 * @category models
 */
export type Any = Metric<never, never, never, unknown, unknown>

/**
 * What a metric may be written to return: right or wrong, a number from 0 to
 * 1, or a whole score.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = boolean | number | Score

/**
 * A metric gave a value outside of 0 to 1, or none at all (`NaN`). It is a
 * fault of the metric and no score of anything.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidScore extends Schema.TaggedError<InvalidScore>("@effect-dspy/core/Metric/InvalidScore")(
  "InvalidScore",
  { example: Schema.String, value: Schema.Number }
) {
  override get message(): string {
    return `The metric gave ${this.value} for example ${this.example}; a score is a number from 0 to 1`
  }
}

// =============================================================================
// Metrics of one's own
// =============================================================================

/**
 * A metric from a function that may return at once or as an Effect.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import { Effect } from "effect"
 *
 * const closeness = Metric.make((example: Example.Example<unknown, { readonly year: number }>, output: { readonly year: number }) => {
 *   const off = Math.abs(example.labels.year - output.year)
 *   return { value: off > 10 ? 0 : 1 - off / 10, feedback: `${off} years off` }
 * })
 *
 * const example = Example.make({ inputs: { event: "Moon landing" }, labels: { year: 1969 } })
 *
 * assert.deepStrictEqual(Effect.runSync(closeness(example, { year: 1967 }, [])), { value: 0.8, feedback: "2 years off" })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Labels, Out, E = never, R = never>(
  judge: (example: Example<In, Labels>, output: Out, trace: Trace) => Verdict | Effect.Effect<Verdict, E, R>
): Metric<In, Labels, Out, E | InvalidScore, R> =>
(example, output, trace) => {
  const verdict = judge(example, output, trace)
  return Effect.isEffect(verdict)
    ? Effect.flatMap(verdict, (verdict) => checked(example, verdict))
    : checked(example, verdict)
}

const checked = ({ id }: { readonly id: string }, verdict: Verdict): Effect.Effect<Score, InvalidScore> => {
  const score = Predicate.isRecord(verdict)
    ? verdict
    : { value: typeof verdict === "boolean" ? Number(verdict) : verdict }
  // What comes from a model or a file may be no number after all, whatever its type says.
  const value = typeof score.value === "number" ? score.value : NaN
  return value >= 0 && value <= 1 ? Effect.succeed(score) : Effect.fail(new InvalidScore({ example: id, value }))
}

/**
 * The mean of several metrics on the same output, with the feedback of all.
 *
 * @since 0.1.0
 * @category combinators
 */
export const mean = <const M extends readonly [Any, ...ReadonlyArray<Any>]>(...metrics: M): Merged<M> =>
  merged(metrics, (values) => values.reduce((sum, value) => sum + value, 0) / values.length)

/**
 * As good as the worst of several metrics on the same output, with the
 * feedback of all. Where these say right or wrong, all must say right.
 *
 * @since 0.1.0
 * @category combinators
 */
export const all = <const M extends readonly [Any, ...ReadonlyArray<Any>]>(...metrics: M): Merged<M> =>
  merged(metrics, (values) => Math.min(...values))

/**
 * A metric for what several metrics can judge together.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Merged<M extends ReadonlyArray<Any>> = M[number] extends
  Metric<infer In, infer Labels, infer Out, infer E, infer R> ? Metric<In, Labels, Out, E, R> : never

const merged = <M extends ReadonlyArray<Any>>(
  metrics: M,
  merge: (values: ReadonlyArray<number>) => number
): Merged<M> => {
  const metric: Any = (example, output, trace) =>
    Effect.map(
      Effect.forEach(metrics, (metric) => metric(example, output, trace), { concurrency: "unbounded" }),
      (scores) => {
        const feedback = scores.flatMap((score) => score.feedback ?? [])
        const predictors = new Map<string, ReadonlyArray<string>>()
        for (const [path, text] of scores.flatMap((score) => Object.entries(score.predictors ?? {}))) {
          predictors.set(path, [...predictors.get(path) ?? [], text])
        }
        return {
          value: merge(scores.map((score) => score.value)),
          ...(feedback.length === 0 ? undefined : { feedback: feedback.join("\n") }),
          ...(predictors.size === 0 ? undefined : {
            predictors: Object.fromEntries(Array.from(predictors, ([path, texts]) => [path, texts.join("\n")]))
          })
        }
      }
    )
  return metric as Merged<M> // it takes what each of the metrics takes
}

// =============================================================================
// Equality
// =============================================================================

/**
 * Right if all the named fields of the output equal the labels of these names:
 * literals, numbers, lists and records by what they hold. The feedback names
 * the fields that are wrong. For a share of the fields take the `mean` of one
 * metric for each.
 *
 * A field that may be absent is written as in a signature, `note?`: it is right
 * where both have it and it is equal, or neither has it.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import { Effect } from "effect"
 *
 * const example = Example.make({ inputs: { ticket: "…" }, labels: { team: "billing", urgent: true } })
 * const output = { team: "billing", urgent: false }
 *
 * const both = Metric.equals("team", "urgent")
 * assert.deepStrictEqual(Effect.runSync(both(example, output, [])), { value: 0, feedback: "urgent: expected true, got false" })
 *
 * const share = Metric.mean(Metric.equals("team"), Metric.equals("urgent"))
 * assert.strictEqual(Effect.runSync(share(example, output, [])).value, 0.5)
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const equals = <const Field extends string>(
  ...fields: readonly [Field, ...ReadonlyArray<Field>]
): Metric<unknown, Compared<Field>, Compared<Field>> => {
  const names = fields.map((field) => field.replace(/\?$/, ""))
  return ({ labels }, output) => {
    const wrong = names.flatMap((name) => {
      const [expected, actual] = [valueOf(labels, name), valueOf(output, name)]
      return same(expected, actual) ? [] : [missed(name, shown(expected), shown(actual))]
    })
    return Effect.succeed(wrong.length === 0 ? { value: 1 } : { value: 0, feedback: wrong.join("; ") })
  }
}

/**
 * A record with the fields that `equals` was given, of any type.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Compared<Field extends string> = Types.Simplify<
  & { readonly [F in Field as F extends `${string}?` ? never : F]: unknown }
  & { readonly [F in Field as F extends `${infer Name}?` ? Name : never]?: unknown }
>

// The types promise that the field is there, or may be absent.
const valueOf = (record: unknown, name: string): unknown =>
  Predicate.hasProperty(record, name) ? record[name] : undefined

const shown = (value: unknown): string => value === undefined ? "nothing" : printed.json(value)

const same = (a: unknown, b: unknown): boolean =>
  Equal.equals(a, b) ||
  (Array.isArray(a) && Array.isArray(b)
    ? a.length === b.length && a.every((item, index) => same(item, b[index]))
    : isPlain(a) && isPlain(b) && Object.keys(a).length === Object.keys(b).length &&
      Object.keys(a).every((key) => Object.hasOwn(b, key) && same(a[key], b[key])))

const isPlain = (u: unknown): u is { readonly [key: string]: unknown } =>
  Predicate.isRecord(u) && [Object.prototype, null].includes(Object.getPrototypeOf(u))

const missed = (field: string, expected: string, actual: string): string =>
  `${field}: expected ${expected}, got ${actual}`

// =============================================================================
// Texts
// =============================================================================

/**
 * One text, or several that are all right.
 *
 * @since 0.1.0
 * @category models
 */
export type Answers = string | ReadonlyArray<string>

/**
 * Where a metric finds what it compares, if not in fields of one name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Selected<in In, in Labels, in Out> {
  readonly expected: (example: Example<In, Labels>) => Answers
  readonly actual: (output: Out) => string
}

/**
 * A text as answers are compared: canonical decomposition (NFD), lower case,
 * without ASCII punctuation, without the words `a`, `an` and `the`, and with
 * single spaces.
 *
 * @see Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (arXiv 1606.05250), the
 * evaluation script
 *
 * @since 0.1.0
 * @category destructors
 */
export const normalize = (text: string): string =>
  text.normalize("NFD").toLowerCase().replace(punctuation, "").replace(articles, " ").trim().split(/\s+/).join(" ")

const punctuation = /[!-/:-@[-`{-~]/g
const articles = /(?<![\p{L}\p{N}_])(?:an?|the)(?![\p{L}\p{N}_])/gu

/**
 * Right if a text equals one of the answers, both normalized.
 *
 * The answers are the label, the text the output of the same name; or both are
 * what the two functions select.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import { Effect } from "effect"
 *
 * const metric = Metric.exactMatch("answer")
 * const example = Example.make({ inputs: {}, labels: { answer: ["Eiffel Tower", "La tour Eiffel"] } })
 *
 * assert.deepStrictEqual(Effect.runSync(metric(example, { answer: "the Eiffel tower." }, [])), { value: 1 })
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const exactMatch: {
  <const Field extends string>(
    field: Field
  ): Metric<unknown, { readonly [F in Field]: Answers }, { readonly [F in Field]: string }>
  <In, Labels, Out>(select: Selected<In, Labels, Out>): Metric<In, Labels, Out>
} = <In, Labels, Out>(by: string | Selected<In, Labels, Out>): Metric<In, Labels, Out> =>
  comparing(by, (expected, actual) => normalize(expected) === normalize(actual) ? 1 : 0)

/**
 * How many of the words of a text and of an answer are the same: the harmonic
 * mean of precision and recall over normalized words, each counted as often as
 * it occurs; the best of several answers. 0 when no word is shared, also when
 * both are empty.
 *
 * @see Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (arXiv 1606.05250), section 6.1
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import { Effect } from "effect"
 *
 * const metric = Metric.f1("answer")
 * const example = Example.make({ inputs: {}, labels: { answer: "the big red fox" } })
 *
 * assert.strictEqual(Effect.runSync(metric(example, { answer: "A red fox" }, [])).value, 0.8)
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const f1: {
  <const Field extends string>(
    field: Field
  ): Metric<unknown, { readonly [F in Field]: Answers }, { readonly [F in Field]: string }>
  <In, Labels, Out>(select: Selected<In, Labels, Out>): Metric<In, Labels, Out>
} = <In, Labels, Out>(by: string | Selected<In, Labels, Out>): Metric<In, Labels, Out> =>
  comparing(by, (expected, actual) => overlap(words(expected), words(actual)))

const words = (text: string): ReadonlyArray<string> => normalize(text).split(" ").filter((word) => word !== "")

const overlap = (expected: ReadonlyArray<string>, actual: ReadonlyArray<string>): number => {
  const left = new Map<string, number>()
  for (const word of expected) left.set(word, (left.get(word) ?? 0) + 1)
  let shared = 0
  for (const word of actual) {
    const count = left.get(word) ?? 0
    if (count === 0) continue
    left.set(word, count - 1)
    shared++
  }
  return shared === 0 ? 0 : 2 * shared / (expected.length + actual.length)
}

const comparing = <In, Labels, Out>(
  by: string | Selected<In, Labels, Out>,
  compare: (expected: string, actual: string) => number
): Metric<In, Labels, Out> => {
  const name = typeof by === "string" ? by : "answer"
  const { actual, expected } = typeof by === "string" ? fieldOf(by) : by
  return (example, output) => {
    const answers = listOf(expected(example))
    const text = actual(output)
    const value = answers.reduce((best, answer) => Math.max(best, compare(answer, text)), 0)
    return Effect.succeed(
      value === 1
        ? { value }
        : {
          value,
          feedback: missed(name, answers.map((answer) => printed.json(answer)).join(" or "), printed.json(text))
        }
    )
  }
}

const fieldOf = (field: string): Selected<unknown, unknown, unknown> => ({
  // The overloads promise that the field is there and what it holds.
  expected: ({ labels }) => (labels as { readonly [name: string]: Answers })[field]!,
  actual: (output) => (output as { readonly [name: string]: string })[field]!
})

const listOf = (answers: Answers): ReadonlyArray<string> => typeof answers === "string" ? [answers] : answers

/**
 * Right if one of the passages contains one of the answers as a run of whole
 * words, in any case. `passages` names a field of the output, `answers` a
 * label.
 *
 * @see Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering" (arXiv 2004.04906)
 *
 * @since 0.1.0
 * @category metrics
 */
export const passageMatch = <const Passages extends string, const Labels extends string>(fields: {
  readonly passages: Passages
  readonly answers: Labels
}): Metric<unknown, { readonly [F in Labels]: Answers }, { readonly [F in Passages]: ReadonlyArray<string> }> =>
({ labels }, output) => {
  // Between and around the tokens stands a character that no token has.
  const run = (text: string) => `\n${tokens(text).join("\n")}\n`
  const passages = output[fields.passages].map(run)
  const answers = listOf(labels[fields.answers])
  const found = answers.some((answer) =>
    tokens(answer).length > 0 && passages.some((passage) => passage.includes(run(answer)))
  )
  return Effect.succeed(
    found
      ? { value: 1 }
      : {
        value: 0,
        feedback: `${fields.passages}: no passage contains ${
          answers.map((answer) => printed.json(answer)).join(" or ")
        }`
      }
  )
}

// Words with their accents, and every other visible character on its own.
const tokens = (text: string): ReadonlyArray<string> =>
  text.normalize("NFD").toLowerCase().match(/[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]/gu) ?? []

// =============================================================================
// Judged by a model
// =============================================================================

/**
 * What a judge is asked: an example and an output, each as JSON text.
 *
 * @since 0.1.0
 * @category models
 */
export interface Question {
  readonly inputs: string
  readonly expected: string
  readonly actual: string
}

/**
 * Shows a judge everything there is: the inputs, the labels and the output.
 *
 * @since 0.1.0
 * @category constructors
 */
export const question = (example: Example<unknown, unknown>, output: unknown): Question => ({
  inputs: text(example.inputs),
  expected: text(example.labels),
  actual: text(output)
})

const text = (value: unknown): string => value === undefined ? "null" : printed.json(value, 2)

/**
 * A module that rates an output by a criterion, thinking before it does. It is
 * a program like any other: give it a model of its own with
 * `Module.provideModel`, or let an optimizer tune it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const judge = (criterion: string): Module.Module<
  Question,
  { readonly reasoning: string; readonly score: number; readonly feedback: string },
  PredictError,
  LanguageModel
> =>
  ChainOfThought.make(Signature.make({
    instructions:
      `Rate the actual output of a program by this criterion and nothing else.\n\n${criterion}\n\nA score of 1 means that the criterion is fully met, 0 that it is not met at all. Different wording is no fault unless the criterion says so.`,
    input: {
      inputs: Schema.String.annotations({ description: "what the program was given" }),
      expected: Schema.String.annotations({ description: "what is known to be right about its output" }),
      actual: Schema.String.annotations({ description: "the output to be rated" })
    },
    output: {
      score: Schema.Number.pipe(Schema.between(0, 1)),
      feedback: Schema.String.annotations({
        description: "what is wrong with the output and how to do better, briefly"
      })
    }
  }))

/**
 * A metric that asks a module. `ask` makes its input; without it the module is
 * asked a `Question`. A judge that fails leaves the output without a score.
 *
 * @see Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena" (arXiv 2306.05685), on the biases of judges
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const polite = Metric.judged(Metric.judge("The reply is polite."))
 *
 * const example = Example.make({ inputs: { ticket: "Where is my money?" }, labels: {} })
 * const program = polite(example, { reply: "Go away." }, []).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ reasoning: "It is rude.", score: 0.1, feedback: "Do not send customers away." })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then((score) =>
 *   assert.deepStrictEqual(score, { value: 0.1, feedback: "Do not send customers away." })
 * )
 * ```
 *
 * @since 0.1.0
 * @category metrics
 */
export const judged: {
  <E, R>(judge: Module.Module<Question, Judgement, E, R>): Metric<unknown, unknown, unknown, E | InvalidScore, R>
  <Input, E, R, In, Labels, Out>(
    judge: Module.Module<Input, Judgement, E, R>,
    ask: (example: Example<In, Labels>, output: Out) => Input
  ): Metric<In, Labels, Out, E | InvalidScore, R>
} = <E, R>(
  judge: Module.Module<Question, Judgement, E, R>,
  ask: (example: Example<unknown, unknown>, output: unknown) => Question = question
): Metric<unknown, unknown, unknown, E | InvalidScore, R> =>
  make((example, output) =>
    Effect.map(judge(ask(example, output)), ({ feedback, score }): Score => ({
      value: Number(score),
      ...(feedback === undefined ? undefined : { feedback })
    }))
  )

/**
 * What a judge must say at least.
 *
 * @since 0.1.0
 * @category models
 */
export interface Judgement {
  readonly score: number | boolean
  readonly feedback?: string | undefined
}
