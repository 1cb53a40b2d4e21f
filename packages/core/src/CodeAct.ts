/**
 * `CodeAct` answers with the help of code: the model writes a piece of
 * JavaScript that may call tools, reads what it says, and so on until it knows
 * enough.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as ChainOfThought from "./ChainOfThought.ts"
import * as Code from "./Code.ts"
import * as coding from "./internal/coding.ts"
import * as frame from "./internal/frame.ts"
import { resolve } from "./internal/signatureSource.ts"
import * as trajectory from "./internal/trajectory.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Sandbox from "./Sandbox.ts"
import * as Signature from "./Signature.ts"
import type * as Tool from "./Tool.ts"

/**
 * One round: a piece of code, and what it had to show.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly code: string
  readonly output: string
  /** Whether the code did not run to its end. */
  readonly failed: boolean
}

/**
 * Why there were no more rounds: the model said that it is `finished`, there were
 * `maxIters`, what happened no longer fits into the model's context, or its
 * answer was `unreadable`. The outputs are made of what is known in all cases.
 *
 * @since 0.1.0
 * @category models
 */
export type Termination = "finished" | "maxIters" | "contextWindow" | "unreadable"

/**
 * What a CodeAct answers: the outputs of the signature, the reasoning that led to
 * them, and how it came to know.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<S extends Signature.Any> = Types.Simplify<
  { readonly reasoning: string } & Signature.Output<S> & {
    readonly trajectory: ReadonlyArray<Step>
    readonly termination: Termination
  }
>

/**
 * - `tools`: what the code may call, each with one object; none by default. What
 *   they need and what ends the program appears in the type of the module.
 * - `maxIters`: how many rounds at most, 5 by default.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any> = readonly []> extends Predict.Options {
  readonly tools?: Tools | undefined
  readonly maxIters?: number | undefined
}

type CodeAct<S extends Signature.Any, Tools extends ReadonlyArray<Tool.Any>> = Module.Module<
  Signature.Input<S>,
  Answer<S>,
  Predict.PredictError | Sandbox.SandboxError | Tool.Error<Tools[number]>,
  LanguageModel.LanguageModel | Sandbox.Sandbox | Tool.Requirements<Tools[number]>
>

// Of what one piece of code shows, the model reads this many characters.
const maxOutput = 10_000

/**
 * A module that may run code, and use tools in it, before it answers.
 *
 * Each call has a session of the `Sandbox` to itself: what a piece of code
 * declares the next one finds. Code that fails is an observation like any other;
 * only a sandbox that cannot be had ends the program. A tool that fails throws in
 * the code, unless it was made with `failureMode: "error"`.
 *
 * Its predictors are `codeact`, which writes the next piece, and
 * `extractor.predict`, which makes the outputs of what happened; both are tuned
 * and saved as in DSPy. When the context of the model is full, the oldest rounds
 * are left out, up to three times.
 *
 * Throws a `RangeError` for tools that code could not call, and for outputs called
 * `trajectory` or `termination`.
 *
 * @see Wang et al., "Executable Code Actions Elicit Better LLM Agents" (arXiv 2402.01030)
 *
 * @example
 * ```ts
 * import * as CodeAct from "@effect-dspy/core/CodeAct"
 * import * as Sandbox from "@effect-dspy/core/Sandbox"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * // Stands in for an engine, such as QuickJsSandbox of the providers.
 * const sandbox = Sandbox.make(() =>
 *   Effect.succeed({ run: () => Effect.succeed({ value: 5050, submitted: false, logs: "" }), set: () => Effect.void })
 * )
 *
 * const sum = CodeAct.make("question -> answer: int")
 *
 * const program = sum({ question: "What is 1 + 2 + … + 100?" }).pipe(
 *   Effect.provideService(Sandbox.Sandbox, sandbox),
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ generated_code: "100 * 101 / 2", finished: true }),
 *     TestLanguageModel.fields({ reasoning: "The code says so.", answer: 5050 })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ answer, termination, trajectory }) => {
 *   assert.deepStrictEqual([answer, termination], [5050, "finished"])
 *   assert.deepStrictEqual(trajectory, [{ code: "100 * 101 / 2", output: "5050", failed: false }])
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <S extends Signature.Any, const Tools extends ReadonlyArray<Tool.Any> = readonly []>(
    signature: S,
    options?: Options<Tools>
  ): CodeAct<S, Tools>
  <const S extends string, const Tools extends ReadonlyArray<Tool.Any> = readonly []>(
    signature: Signature.Check<S>,
    options?: Options<Tools>
  ): CodeAct<Signature.Parse<S>, Tools>
} = (
  source: Signature.Any | string,
  { maxIters = 5, tools = [], ...options }: Options<ReadonlyArray<Tool.Any>> = {}
): Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> => {
  const signature = resolve(source)
  coding.callable("CodeAct", tools)
  coding.answerable("CodeAct", Signature.fields(signature))
  if (!Number.isInteger(maxIters) || maxIters < 1) {
    throw new RangeError(`CodeAct: maxIters must be a whole number of at least 1, not ${maxIters}`)
  }
  const rules = rulesFor(tools)
  const codeact = Predict.make(writing(signature), options)
  const extractor = ChainOfThought.make(trajectory.extracting(signature), options)
  const parts = {
    // What goes in and comes out is known by the field names alone.
    codeact: codeact as unknown as Module.Module<unknown, Piece, Predict.PredictError, LanguageModel.LanguageModel>,
    extractor: extractor as unknown as Module.Module<unknown, object, Predict.PredictError, LanguageModel.LanguageModel>
  }
  const rounds = (m: typeof parts, input: unknown, session: Sandbox.Session<unknown, unknown>) =>
    Effect.gen(function*() {
      const inputs = input as object // the inputs of a signature
      const steps: Array<Step> = []
      const withRoom = trajectory.room(steps)
      const write = Module.surrounded(
        m.codeact,
        (current) => Effect.succeed(frame.noted(current, frame.join(current.path, "codeact"), rules))
      )
      const ask = <A, E, R>(module: Module.Module<unknown, A, E, R>) =>
        withRoom((steps) => module({ ...inputs, trajectory: told(steps) }))
      let termination: Termination = "maxIters"
      while (steps.length < maxIters) {
        const written = yield* Effect.either(ask(write))
        if (Either.isLeft(written)) {
          termination = yield* trajectory.ending("CodeAct", written.left)
          break
        }
        const { finished, generated_code } = written.right
        const code = generated_code.trim()
        if (code !== "" || !finished) {
          const { failed, output } = yield* coding.ran(session, code)
          steps.push({ code, output: coding.clipped(output, maxOutput), failed })
        }
        if (finished) {
          termination = "finished"
          break
        }
      }
      return { ...yield* ask(m.extractor), trajectory: steps, termination }
    })
  return Module.make(parts, function*(m, input: unknown) {
    let uses = 0
    const functions = coding.functions(tools, () => ++uses)
    return yield* Effect.scoped(Effect.flatMap(Sandbox.open({ functions }), (session) => rounds(m, input, session)))
  }) as unknown as Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> // what the overloads say
}

interface Piece {
  readonly generated_code: string
  readonly finished: boolean
}

const told = (steps: ReadonlyArray<Step>): string =>
  steps.map(({ code, output }, index) => `Round ${index + 1}\nCode:\n${code}\nOutput:\n${output}`).join("\n\n")

const rulesFor = (tools: ReadonlyArray<Tool.Any>): string =>
  [
    "In each round you write one piece of JavaScript. It runs in a sandbox without network, files or modules, and its top level may use `await`. What it declares is there for the next piece. You are then shown what it logged with console.log, and the value of its last expression.",
    ...(tools.length === 0 ? [] : ["It may call these functions:", ...coding.offered(tools)])
  ].join("\n")

const writing = (signature: Signature.Any): Signature.Any => {
  const { inputs, outputs } = Signature.fields(signature)
  return Signature.make({
    instructions: `${signature.instructions}\n\nYou are given ${
      trajectory.namesOf(inputs)
    } and write code, piece by piece, to find out what is needed for ${
      trajectory.namesOf(outputs)
    }. In view of the trajectory so far, write the next piece, and say whether with it all is known.`,
    // Of the inputs the compiler knows nothing, which `{}` says.
    input: { ...signature.input.fields as {}, trajectory: trajectory.field },
    output: {
      generated_code: Code.make("javascript").annotations({ description: "the next piece" }),
      finished: Schema.Boolean.annotations({ description: "whether no further piece is needed after this one" })
    }
  })
}
