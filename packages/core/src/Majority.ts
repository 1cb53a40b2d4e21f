/**
 * `Majority` takes the answer that is given most often.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as attempts from "./internal/attempts.ts"
import * as Json from "./Json.ts"
import * as Metric from "./Metric.ts"
import * as Module from "./Module.ts"

/**
 * What answers are compared by: the last field of the output by default, texts
 * normalized as `Metric.normalize` does. An answer for which it is `null`,
 * `undefined` or an empty text has no vote.
 *
 * @since 0.1.0
 * @category models
 */
export interface By<in Out> {
  (output: Out): unknown
}

const lastField = (output: unknown): unknown => {
  const values = Predicate.isRecord(output) ? Object.values(output) : []
  return values.length === 0 ? output : values.at(-1) // dates and sets are objects without fields
}

const normalized = (value: unknown): string | undefined => {
  if (value === null || value === undefined) return undefined
  if (typeof value !== "string") return Json.hash(value)
  // Of an answer such as "A" nothing would be left.
  const text = Metric.normalize(value) || value.trim().toLowerCase()
  return text === "" ? undefined : text
}

/**
 * The first of the outputs that agree with most others, the earliest of equally
 * frequent ones; the first of all if none has a vote.
 *
 * @example
 * ```ts
 * import * as Majority from "@effect-dspy/core/Majority"
 *
 * const answer = Majority.of([{ why: "a", city: "Lyon" }, { why: "b", city: "Paris" }, { why: "c", city: "paris." }])
 *
 * assert.deepStrictEqual(answer, { why: "b", city: "Paris" })
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const of = <Out>(outputs: readonly [Out, ...Array<Out>], by: By<Out> = lastField): Out => {
  const votes = new Map<string, { readonly output: Out; count: number }>()
  for (const output of outputs) {
    const key = normalized(by(output))
    if (key === undefined) continue
    const vote = votes.get(key)
    if (vote === undefined) votes.set(key, { output, count: 1 })
    else vote.count++
  }
  let best: { readonly output: Out; readonly count: number } = { output: outputs[0], count: 0 }
  for (const vote of votes.values()) if (vote.count > best.count) best = vote
  return best.output
}

/**
 * Runs a program `n` times side by side, each run a sample of its own at
 * temperature 1, and answers with what most of them say ("self-consistency").
 * Runs that fail have no vote; when all fail, so does the module, as the first
 * of them did. Only the calls of the run whose output is taken become part of a
 * trace. Its part is under `module`.
 *
 * @see Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models" (arXiv 2203.11171)
 *
 * @example
 * ```ts
 * import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
 * import * as Majority from "@effect-dspy/core/Majority"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const sure = Majority.make(ChainOfThought.make("question -> answer: int"), { n: 3 })
 *
 * const program = sure({ question: "What is 17 * 3?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ reasoning: "17 and 17 and 17", answer: 51 }),
 *     TestLanguageModel.fields({ reasoning: "20 * 3 - 8", answer: 52 }),
 *     TestLanguageModel.fields({ reasoning: "30 + 21", answer: 51 })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ answer }) => assert.strictEqual(answer, 51))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  options: { readonly n: number; readonly by?: By<Out> | undefined }
): Module.Module<In, Out, E, R> => {
  const { by, n } = options
  if (!Number.isInteger(n) || n < 1) throw new RangeError(`Majority: n must be a whole number of at least 1, not ${n}`)
  return Module.make({ module }, function*(m, input: In) {
    const path = yield* attempts.place
    const runs = yield* Effect.forEach(
      Array.from({ length: n }, (_, index) => index + 1),
      (n) => attempts.numbered(Effect.either(attempts.sample(m.module, n, path)(input))),
      { concurrency: "unbounded" }
    )
    const [first, ...rest] = runs.flatMap(({ calls, exit }) =>
      Either.isRight(exit) ? [{ output: exit.right, calls }] : []
    )
    // At least one was made, so without an answer there is a failure.
    if (first === undefined) return yield* runs[0]!.exit
    const chosen = of([first, ...rest], ({ output }) => (by ?? lastField)(output))
    yield* attempts.discard(runs.flatMap(({ calls }) => calls === chosen.calls ? [] : calls))
    return chosen.output
  })
}
