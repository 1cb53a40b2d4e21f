/**
 * `BestOfN` runs a program several times and answers with the best of what it
 * said.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as attempts from "./internal/attempts.ts"
import type * as Metric from "./Metric.ts"
import * as Module from "./Module.ts"

/**
 * How good an output is for an input: a number, the more the better, whether it
 * is good at all, or a `Metric.Score` with feedback; at once or as an Effect. It
 * may fail, which makes the attempt a failed one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reward<in In, in Out, out E = never, out R = never> {
  (input: In, output: Out): Metric.Verdict | Effect.Effect<Metric.Verdict, E, R>
}

/**
 * What `BestOfN` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in In, in Out, out E = never, out R = never> {
  /** How many attempts at most. */
  readonly n: number
  /** How good an output is. */
  readonly reward: Reward<In, Out, E, R>
  /** An output this good ends it; without it all attempts are made. */
  readonly threshold?: number | undefined
  /**
   * How many attempts may fail, `n` by default. One more, or nothing but
   * failures, is a failure of the whole: the latest one.
   */
  readonly failCount?: number | undefined
  /**
   * How many attempts are under way at once, 1 by default. They are judged in
   * their order; those after one that is good enough are interrupted.
   */
  readonly concurrency?: number | undefined
}

/**
 * The best output of up to `n` attempts, the first of equally good ones. The
 * first attempt is the program as it is; further ones are samples of their own
 * (`Module.withRollout`) at temperature 1, so that asked again the same way they
 * come from a cache. Only the calls of the best attempt become part of a trace.
 *
 * Its part is under `module`, as in DSPy.
 *
 * @example
 * ```ts
 * import * as BestOfN from "@effect-dspy/core/BestOfN"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const short = BestOfN.make(Predict.make("question -> answer"), {
 *   n: 3,
 *   reward: (_, { answer }) => -answer.length,
 *   threshold: -2
 * })
 *
 * const program = short({ question: "The capital of France?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ answer: "It is Paris." }),
 *     TestLanguageModel.fields({ answer: "Paris" }),
 *     TestLanguageModel.fields({ answer: "Paris, of course." })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ answer }) => assert.strictEqual(answer, "Paris"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R, E2 = never, R2 = never>(
  module: Module.Module<In, Out, E, R>,
  options: Options<In, Out, E2, R2>
): Module.Module<In, Out, E | E2, R | R2> => {
  const { concurrency = 1, n, reward, threshold } = options
  const failCount = options.failCount ?? n
  attempts.validate("BestOfN", n, failCount)
  return Module.make({ module }, function*(m, input: In) {
    const path = yield* attempts.place
    const made: Array<number> = []
    const standing = yield* Stream.range(1, n).pipe(
      Stream.mapEffect((n) => attempts.run(n, input, attempts.again(m.module, n, path)(input), reward, made), {
        concurrency
      }),
      Stream.scan(attempts.none as attempts.Standing<Out, E | E2>, attempts.judge),
      Stream.takeUntil((standing) => attempts.over(standing, { threshold, failCount })),
      Stream.runFold(attempts.none as attempts.Standing<Out, E | E2>, (_, latest) => latest)
    )
    return yield* attempts.conclude(standing, failCount, made)
  })
}
