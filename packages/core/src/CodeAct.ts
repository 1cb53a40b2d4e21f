/**
 * `CodeAct` answers with the help of code: the model writes a piece of
 * JavaScript that may call tools, reads what it says, and so on until it knows
 * enough.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Agent from "./Agent.ts"
import * as ChainOfThought from "./ChainOfThought.ts"
import * as Code from "./Code.ts"
import * as agent from "./internal/agent.ts"
import * as coding from "./internal/coding.ts"
import { resolve } from "./internal/signatureSource.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Sandbox from "./Sandbox.ts"
import * as Signature from "./Signature.ts"
import type * as Tool from "./Tool.ts"

/**
 * What a CodeAct answers: the outputs of the signature, the reasoning that led to
 * them, and how it came to know. It is never `submitted`: in DSPy's CodeAct the
 * model says that it has `finished`, and the outputs are made after that.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<S extends Signature.Any> = Agent.Answer<S, Agent.CodeStep>

/**
 * `maxIters` is 5 by default.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any> = readonly []> extends Agent.CodeOptions<Tools> {}

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
 * and saved as in DSPy. Answers that cannot be read, and a context that is full,
 * are dealt with as in a `ReAct`.
 *
 * Throws a `RangeError` for tools that code could not call, and for fields of names
 * that are needed here.
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
 *   assert.deepStrictEqual(trajectory, [{
 *     round: 1,
 *     thought: "",
 *     code: "100 * 101 / 2",
 *     observation: "5050",
 *     failed: false
 *   }])
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
  ): Agent.Coder<S, Tools>
  <const S extends string, const Tools extends ReadonlyArray<Tool.Any> = readonly []>(
    signature: Signature.Check<S>,
    options?: Options<Tools>
  ): Agent.Coder<Signature.Parse<S>, Tools>
} = (
  source: Signature.Any | string,
  { maxIters = 5, maxOutput = 10_000, sandbox = {}, tools = [], ...options }: Options<ReadonlyArray<Tool.Any>> = {}
): coding.Erased => {
  const signature = resolve(source)
  coding.validate("CodeAct", { maxIters, maxOutput, sandbox, tools })
  agent.free("CodeAct", signature, { inputs: ["trajectory", "generated_code", "finished"] })
  return Module.make({
    codeact: coding.ruled(
      coding.remembering(
        signature,
        options,
        (outputs) => ({ generated_code: `(${outputs})`, finished: true }),
        (options) => Predict.make(writing(signature), options)
      ),
      rulesFor(tools)
    ),
    extractor: ChainOfThought.make(agent.extracting(signature), options)
  }, function*(m, input: unknown) {
    const inputs = input as object // the inputs of a signature
    const asked = (rounds: ReadonlyArray<coding.Round>) => ({ ...inputs, trajectory: agent.told(rounds) })
    const functions = coding.functions(tools, coding.numbering())
    const answer = yield* Effect.scoped(
      Effect.flatMap(Sandbox.open({ ...sandbox, functions }), (session) =>
        agent.work({
          module: "CodeAct",
          maxIters,
          ask: (rounds: ReadonlyArray<coding.Round>) => m.codeact(asked(rounds)),
          act: ({ finished, generated_code }, round) => {
            const code = generated_code.trim()
            const step = { round, thought: "", code }
            const end = finished ? "finished" : undefined
            return code === "" && finished
              ? Effect.succeed({ round: coding.round({ ...step, observation: "", failed: false }), end })
              : Effect.map(coding.ran(session, code), ({ failed, observation }) => ({
                round: coding.round({ ...step, observation: agent.clipped(observation, maxOutput), failed }),
                end
              }))
          },
          unread: coding.unread,
          extract: (rounds) => m.extractor(asked(rounds))
        }))
    )
    return answer as never // what the overloads say
  })
}

const rulesFor = (tools: ReadonlyArray<Tool.Any>): ReadonlyArray<string> => [
  `In each round you write one piece of JavaScript. ${coding.where} What it declares is there for the next piece. You are then shown what it logged with console.log, and the value of its last expression.`,
  ...(tools.length === 0 ? [] : ["It may call these functions:", ...coding.offered(tools)])
]

const writing = (signature: Signature.Any) => {
  const { inputs, outputs } = Signature.fields(signature)
  return Signature.make({
    instructions: `${signature.instructions}\n\nYou are given ${
      agent.namesOf(inputs)
    } and write code, piece by piece, to find out what is needed for ${
      agent.namesOf(outputs)
    }. In view of the trajectory so far, write the next piece, and say whether with it all is known.`,
    input: { ...agent.inputsOf(signature), trajectory: agent.field },
    output: {
      generated_code: Code.make("javascript").annotations({ description: "the next piece" }),
      finished: Schema.Boolean.annotations({ description: "whether no further piece is needed after this one" })
    }
  })
}
