/**
 * `Refine` runs a program several times, and tells it before each new attempt
 * what to do better.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type * as BestOfN from "./BestOfN.ts"
import * as attempts from "./internal/attempts.ts"
import * as frame from "./internal/frame.ts"
import * as observation from "./internal/observation.ts"
import * as printed from "./internal/printed.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Signature from "./Signature.ts"
import * as Trace from "./Trace.ts"

/**
 * Those of `BestOfN`, without `concurrency`: an attempt learns from the one
 * before. What the reward says as feedback reaches the adviser.
 *
 * @since 0.1.0
 * @category models
 */
export type Options<In, Out, E = never, R = never> = Omit<BestOfN.Options<In, Out, E, R>, "concurrency">

const adviser = Predict.make(Signature.make({
  instructions:
    "A program of one or more modules was run, and its result is not as good as it has to be. Find out what each module did to bring the result about, and write advice for those that should act differently in the next attempt at the same input: concrete, and such that the module can follow it with what it is given. Leave out modules that need no advice.",
  input: {
    program: Schema.String.annotations({ description: "the modules, what they are told, and their fields" }),
    program_inputs: Schema.String,
    trajectory: Schema.String.annotations({ description: "what each module was given and what it answered" }),
    program_outputs: Schema.String,
    reward: Schema.String.annotations({ description: "how good that was, and what was said about it" }),
    target: Schema.String.annotations({ description: "how good it has to be" })
  },
  output: {
    discussion: Schema.String.annotations({ description: "what went wrong, and which module is to blame" }),
    advice: Schema.Record({ key: Schema.String, value: Schema.String }).annotations({
      description: "advice by the name of the module"
    })
  }
}))

/**
 * The best output of up to `n` attempts, each but the first made with advice for
 * the predictors that should do better: a model reads what every one of them was
 * given and answered, and what the reward says. The advice follows the
 * instructions of a predictor; the predictors themselves stay as they are.
 *
 * Otherwise like `BestOfN`. An advice that cannot be had counts as a failure, and
 * the next attempt is made without new advice. The adviser is not tuned and not
 * saved, so that saved programs are those of DSPy.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Refine from "@effect-dspy/core/Refine"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const short = Refine.make(Predict.make("question -> answer"), {
 *   n: 2,
 *   reward: (_, { answer }) => ({ value: answer.includes(" ") ? 0 : 1, feedback: "One word only." }),
 *   threshold: 1
 * })
 *
 * // A model that follows advice.
 * const model = TestLanguageModel.layer((request) => {
 *   const told = String(request.messages[0]?.content)
 *   return told.includes("`advice`")
 *     ? TestLanguageModel.fields({ discussion: "Too long.", advice: { program: "Answer in one word." } })
 *     : TestLanguageModel.fields({ answer: told.includes("Answer in one word.") ? "Paris" : "It is Paris." })
 * })
 *
 * Effect.runPromise(Effect.provide(short({ question: "The capital of France?" }), model)).then(({ answer }) =>
 *   assert.strictEqual(answer, "Paris")
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R, E2 = never, R2 = never>(
  module: Module.Module<In, Out, E, R>,
  options: Options<In, Out, E2, R2>
): Module.Module<In, Out, E | E2 | Predict.PredictError, R | R2 | LanguageModel.LanguageModel> => {
  const { n, reward, threshold } = options
  const failCount = options.failCount ?? n
  attempts.validate("Refine", n, failCount)
  const described = module.predictors.map(describe).join("\n\n")
  return Module.make({ module, adviser: Module.freeze(adviser) }, function*(m, input: In) {
    // Calls are told by the path they have in the whole program; advice is by the one they have in this part of it.
    const path = yield* attempts.place
    const names = new Map(
      m.module.predictors.map((placed, index) => [frame.join(path, placed.path), module.predictors[index]?.path])
    )
    let standing: attempts.Standing<Out, E | E2 | Predict.PredictError> = attempts.none
    let advice: { readonly [name: string]: string } = {}
    const made: Array<number> = []
    for (let attempt = 1; attempt <= n; attempt++) {
      const program = advised(attempts.again(m.module, attempt, path), module, advice)
      const [judged, trace] = yield* Trace.capture(attempts.run(attempt, input, program(input), reward, made))
      standing = attempts.judge(standing, judged)
      if (attempt === n || attempts.over(standing, { threshold, failCount })) break
      const asked = yield* Effect.either(m.adviser({
        program: described,
        program_inputs: text(input),
        trajectory: Trace.canonical(trace.map((call) => ({ ...call, path: names.get(call.path) ?? call.path })), module)
          .map(({ inputs, outputs, path }) => `${nameOf(path)}: ${text(inputs)} -> ${text(outputs)}`).join("\n"),
        ...Either.match(judged.exit, {
          onLeft: (error) => ({
            program_outputs: "(none: the program failed)",
            reward: observation.failure(error)
          }),
          onRight: ({ output, score }) => ({
            program_outputs: text(output),
            reward: score.feedback === undefined ? String(score.value) : `${score.value}\n${score.feedback}`
          })
        }),
        target: threshold === undefined ? "as high as possible" : `at least ${threshold}`
      }))
      if (Either.isRight(asked)) advice = asked.right.advice
      else standing = { ...standing, error: asked.left, failures: standing.failures + 1 }
    }
    return yield* attempts.conclude(standing, failCount, made)
  })
}

const describe = (predictor: Module.Predictor): string => {
  const { parameters, path, signature } = predictor
  const { inputs, outputs } = Signature.fields(signature)
  const fields = [...inputs, ...outputs].map(({ description, kind, name, type }) =>
    `${kind} ${name} (${type})${description === undefined ? "" : `: ${description}`}`
  )
  return [`Module ${nameOf(path)}, told: ${parameters?.instructions ?? signature.instructions}`, ...fields].join("\n")
}

// A program that is a single predictor has no name for it.
const nameOf = (path: string): string => path === "" ? "program" : path

// The bytes of an image tell an adviser nothing, in millions of characters.
const text = (value: unknown): string =>
  printed.json(value).replaceAll(/"(data:[\w.+-]+\/[\w.+-]+;base64,)[^"]*"/g, `"$1…"`)

// By the paths that the predictors have where the program runs.
const advised = <In, Out, E, R>(
  placed: Module.Module<In, Out, E, R>,
  { predictors }: Module.Any,
  advice: { readonly [name: string]: string }
): Module.Module<In, Out, E, R> =>
  Module.surrounded(placed, (current) => {
    let frame_ = current
    for (const [index, { path }] of predictors.entries()) {
      const told = Object.hasOwn(advice, nameOf(path)) ? advice[nameOf(path)] : undefined
      if (told === undefined || told.trim() === "") continue
      const there = frame.join(current.path, placed.predictors[index]!.path) // the same predictors, in their order
      frame_ = frame.noted(frame_, there, `Advice for this attempt: ${told}`)
    }
    return Effect.succeed(frame_)
  })
