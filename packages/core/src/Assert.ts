/**
 * `Assert` checks what a program answers, and asks again with what was wrong.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as attempts from "./internal/attempts.ts"
import * as frame from "./internal/frame.ts"
import * as Module from "./Module.ts"
import * as Trace from "./Trace.ts"

/**
 * What is wrong with an output, in words that a model can act on, at once or as
 * an Effect; nothing when all is well.
 *
 * @since 0.1.0
 * @category models
 */
export interface Check<in In, in Out, out E = never, out R = never> {
  (input: In, output: Out): ReadonlyArray<string> | Effect.Effect<ReadonlyArray<string>, E, R>
}

/**
 * What `Assert` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in In, in Out, out E = never, out R = never> {
  /** What is wrong with an output. */
  readonly check: Check<In, Out, E, R>
  /** How often the program is asked again, 2 by default. */
  readonly retries?: number | undefined
}

/**
 * No attempt stood up to the check. `output` is the one with the fewest
 * `complaints`, and these are about it.
 *
 * @since 0.1.0
 * @category errors
 */
export class CheckFailed extends Schema.TaggedError<CheckFailed>("@effect-dspy/core/Assert/CheckFailed")(
  "CheckFailed",
  {
    attempts: Schema.Number,
    complaints: Schema.Array(Schema.String),
    output: Schema.Unknown
  }
) {
  override get message(): string {
    return `No answer stood up to the check in ${this.attempts} attempts. What is wrong with the best of them: ${
      this.complaints.join("; ")
    }`
  }
}

interface Checked<Out> {
  readonly output: Out
  readonly complaints: ReadonlyArray<string>
  readonly attempts: number
}

const validRetries = (retries = 2): number => {
  if (!Number.isInteger(retries) || retries < 0) {
    throw new RangeError(`Assert: retries must be a whole number of at least 0, not ${retries}`)
  }
  return retries
}

/** The output with the fewest complaints, the first of equally good ones. */
const checked = <In, Out, E, R, E2, R2>(
  module: Module.Module<In, Out, E, R>,
  input: In,
  check: Check<In, Out, E2, R2>,
  retries: number
): Effect.Effect<Checked<Out>, E | E2, R | R2> =>
  Effect.gen(function*() {
    const path = yield* attempts.place
    const made: Array<number> = []
    let complaints: ReadonlyArray<string> = []
    let fewest: ReadonlyArray<string> = []
    const reward = (input: In, output: Out) =>
      Effect.map(attempts.settled(check(input, output)), (wrong) => {
        complaints = wrong
        return -wrong.length
      })
    let program = module
    let standing: attempts.Standing<Out, E | E2> = attempts.none
    for (let attempt = 1;; attempt++) {
      const [judged, trace] = yield* Trace.capture(attempts.run(attempt, input, program(input), reward, made))
      const { best } = standing
      standing = attempts.judge(standing, judged)
      if (standing.best !== best) fewest = complaints
      if (attempt > retries || attempts.over(standing, { threshold: 0, failCount: 0 })) {
        const output = yield* attempts.conclude(standing, 0, made)
        return { output, complaints: fewest, attempts: attempt }
      }
      program = told(attempts.anew(module, attempt + 1, path), path, trace, complaints)
    }
  })

// Each predictor is told what it said itself, and all of them what came of it.
const told = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  path: string,
  trace: Trace.Trace,
  complaints: ReadonlyArray<string>
): Module.Module<In, Out, E, R> =>
  Module.surrounded(module, (current) => {
    let frame_ = current
    for (const predictor of module.predictors) {
      const there = frame.join(path, predictor.path)
      const call = trace.findLast((call) => call.path === there)
      const note = [
        "An earlier attempt at this was not accepted.",
        ...(call === undefined ? [] : [`What you answered: ${JSON.stringify(call.outputs)}`]),
        "What is wrong with its result:",
        ...complaints.map((complaint) => `- ${complaint}`),
        "Answer so that nothing of this is wrong any more."
      ]
      frame_ = frame.noted(frame_, there, note.join("\n"))
    }
    return Effect.succeed(frame_)
  })

/**
 * A program whose outputs stand up to a check. One that does not is answered
 * with what is wrong: the program runs again, and each of its predictors is told
 * what it said, and what was wrong with the result. When no attempt stands up,
 * it fails with `CheckFailed`. What the program itself fails with is not tried
 * again here.
 *
 * Only the calls of the attempt that counts become part of a trace. The part is
 * under `module`.
 *
 * @see Singhvi et al., "DSPy Assertions: Computational Constraints for Self-Refining Language Model Pipelines" (arXiv 2312.13382)
 *
 * @example
 * ```ts
 * import * as Assert from "@effect-dspy/core/Assert"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const cited = Assert.make(Predict.make("question -> answer, sources: string[]"), {
 *   check: (_, { sources }) => sources.length === 0 ? ["Name at least one source."] : []
 * })
 *
 * // A model that names its sources when it is told to.
 * const model = TestLanguageModel.layer((request) =>
 *   TestLanguageModel.fields({
 *     answer: "Paris",
 *     sources: String(request.messages[0]?.content).includes("Name at least one source.") ? ["Atlas"] : []
 *   })
 * )
 *
 * Effect.runPromise(Effect.provide(cited({ question: "The capital of France?" }), model)).then(({ sources }) =>
 *   assert.deepStrictEqual(sources, ["Atlas"])
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R, E2 = never, R2 = never>(
  module: Module.Module<In, Out, E, R>,
  options: Options<In, Out, E2, R2>
): Module.Module<In, Out, E | E2 | CheckFailed, R | R2> => {
  const retries = validRetries(options.retries)
  return Module.make({ module }, function*(m, input: In) {
    const { attempts, complaints, output } = yield* checked(m.module, input, options.check, retries)
    return complaints.length === 0 ? output : yield* new CheckFailed({ attempts, complaints, output })
  })
}

/**
 * Like `make`, but when no attempt stands up to the check, the one with the
 * fewest complaints is the answer, and a warning says what is wrong with it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const suggest = <In, Out, E, R, E2 = never, R2 = never>(
  module: Module.Module<In, Out, E, R>,
  options: Options<In, Out, E2, R2>
): Module.Module<In, Out, E | E2, R | R2> => {
  const retries = validRetries(options.retries)
  return Module.make({ module }, function*(m, input: In) {
    const { attempts, complaints, output } = yield* checked(m.module, input, options.check, retries)
    if (complaints.length > 0) {
      yield* Effect.logWarning(
        `No answer stood up to the check in ${attempts} attempts; the best one is used. What is wrong with it: ${
          complaints.join("; ")
        }`
      )
    }
    return output
  })
}
