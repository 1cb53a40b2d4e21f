/**
 * `ProgramOfThought` answers by a program: the model writes code for the task, a
 * sandbox runs it, and the outputs are made of what it says. What is computed
 * is computed, not guessed.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Adapter from "./Adapter.ts"
import type * as Agent from "./Agent.ts"
import * as ChainOfThought from "./ChainOfThought.ts"
import * as Code from "./Code.ts"
import * as agent from "./internal/agent.ts"
import * as coding from "./internal/coding.ts"
import { resolve } from "./internal/signatureSource.ts"
import type * as Json from "./Json.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Sandbox from "./Sandbox.ts"
import * as Signature from "./Signature.ts"
import type * as Tool from "./Tool.ts"

/**
 * What a ProgramOfThought answers: the outputs of the signature, the reasoning
 * that led to them, and the programs. It has `finished` if the last one gave a
 * result, and is never `submitted`: what a program submits is its result, of which
 * the outputs are made.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<S extends Signature.Any> = Agent.Answer<S, Agent.CodeStep>

/**
 * `maxIters`, how many programs are tried, is 3 by default.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any> = readonly []> extends Agent.CodeOptions<Tools> {}

/**
 * A module that has a program written and run before it answers.
 *
 * The code finds the inputs, as JSON, in the variable `inputs`. Its result is
 * what it submits, or else what it logs and the value of its last statement, be
 * that an expression or a declaration. Code that does not run to its end, or has
 * nothing to show, is written again in view of what went wrong. Each program has a
 * session of the `Sandbox` to itself, since it is to stand by itself.
 *
 * If none of the programs gives a result, the outputs are made of what is known
 * then, where DSPy's module raises an error: `termination` says so, and whoever
 * wants no outputs that were not computed filters by it.
 *
 * Answers that cannot be read are dealt with as in a `ReAct`. Of earlier programs
 * the model sees the last one only, so that nothing is left out when its context
 * is full: then the rounds are over.
 *
 * Its predictors are `code_generate.predict`, `code_regenerate.predict` and
 * `generate_output.predict`; all are tuned and saved as in DSPy. How code is to be
 * written is told beside their instructions, so that new instructions cannot
 * lose it.
 *
 * Throws a `RangeError` for tools that code could not call, and for fields of names
 * that are needed here.
 *
 * @see Chen et al., "Program of Thoughts Prompting" (arXiv 2211.12588)
 *
 * @example
 * ```ts
 * import * as ProgramOfThought from "@effect-dspy/core/ProgramOfThought"
 * import * as Sandbox from "@effect-dspy/core/Sandbox"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * // Stands in for an engine, such as QuickJsSandbox of the providers.
 * const sandbox = Sandbox.make(() =>
 *   Effect.succeed({ run: () => Effect.succeed({ value: 5050, submitted: true, logs: "" }), set: () => Effect.void })
 * )
 *
 * const sum = ProgramOfThought.make("question -> answer: int")
 *
 * const program = sum({ question: "What is 1 + 2 + … + 100?" }).pipe(
 *   Effect.provideService(Sandbox.Sandbox, sandbox),
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ reasoning: "There is a formula.", generated_code: "submit(100 * 101 / 2)" }),
 *     TestLanguageModel.fields({ reasoning: "The program says so.", answer: 5050 })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ answer, termination, trajectory }) => {
 *   assert.deepStrictEqual([answer, termination], [5050, "finished"])
 *   assert.deepStrictEqual(trajectory, [{
 *     round: 1,
 *     thought: "There is a formula.",
 *     code: "submit(100 * 101 / 2)",
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
  { maxIters = 3, maxOutput = 10_000, sandbox = {}, tools = [], ...options }: Options<ReadonlyArray<Tool.Any>> = {}
): coding.Erased => {
  const signature = resolve(source)
  coding.validate("ProgramOfThought", { maxIters, maxOutput, sandbox, tools }, [variable])
  agent.free("ProgramOfThought", signature, own)
  const rules = rulesFor(tools)
  const writing = <S extends Signature.Any>(to: S) =>
    coding.ruled(
      coding.remembering(
        signature,
        options,
        (outputs) => ({ generated_code: `submit(${outputs})` }),
        (options) => ChainOfThought.make(to, options)
      ),
      rules,
      "predict"
    )
  return Module.make({
    code_generate: writing(generating(signature)),
    code_regenerate: writing(regenerating(signature)),
    generate_output: ChainOfThought.make(answering(signature), options)
  }, function*(m, input: unknown) {
    const path = yield* Module.path
    const inputs = input as object // the inputs of a signature
    const encoded = yield* Effect.mapError(
      Adapter.encodeInputs(signature, input),
      (problems) => new Predict.InvalidInput({ path, problems })
    )
    const functions = coding.functions(tools, coding.numbering())
    const answer = yield* agent.work({
      module: "ProgramOfThought",
      maxIters,
      cuts: 0,
      ask: (rounds: ReadonlyArray<coding.Round>) => {
        const last = rounds.at(-1)?.steps[0]
        return last === undefined
          ? m.code_generate(inputs)
          : m.code_regenerate({ ...inputs, previous_code: last.code || last.thought, error: last.observation })
      },
      act: ({ generated_code, reasoning: thought }, round) => {
        const code = programOf(generated_code)
        return Effect.map(
          Effect.scoped(Effect.flatMap(
            Sandbox.open({ ...sandbox, functions }),
            (session) => run(session, code, encoded)
          )),
          ({ failed, observation }) => ({
            round: coding.round({ round, thought, code, observation: agent.clipped(observation, maxOutput), failed }),
            end: failed ? undefined : "finished"
          })
        )
      },
      unread: coding.unread,
      extract: (rounds) => {
        const last = rounds.findLast(({ steps: [step] }) => step?.code !== "") ?? rounds.at(-1)
        const { code = "", observation = "" } = last?.steps[0] ?? {}
        return m.generate_output({ ...inputs, final_generated_code: code, code_output: observation })
      }
    })
    return answer as never // what the overloads say
  })
}

const own = {
  inputs: ["generated_code", "previous_code", "error", "final_generated_code", "code_output", "reasoning"],
  outputs: ["final_generated_code", "code_output"]
}

// -----------------------------------------------------------------------------
// Running programs
// -----------------------------------------------------------------------------

const variable = "inputs"

// Some models go on behind a line that ends the code.
const programOf = (text: string): string => text.split(/^---+[ \t]*$/m, 1)[0]!.trim() // a split has a first piece

const run = (session: Sandbox.Session, code: string, inputs: Json.JsonRecord) =>
  Effect.gen(function*() {
    yield* session.set(variable, inputs)
    const ran = yield* coding.ran(session, code)
    if (ran.result === undefined) return ran
    let { result } = ran
    const declared = lastDeclared(code)
    // A declaration has no value, and is meant to be one if nothing else is.
    if (isEmpty(result) && declared !== undefined) result = (yield* coding.ran(session, declared)).result ?? result
    return isEmpty(result)
      ? {
        observation: `${
          result.withheld === undefined ? "" : `The last value cannot be shown: it is ${result.withheld}. `
        }${nothing}`,
        failed: true
      }
      : { observation: coding.shown(result), failed: false }
  })

const nothing = "The program has no result. End it with submit(value), where the value is JSON."

const isEmpty = ({ logs, value }: Sandbox.Result): boolean => value === undefined && logs === ""

// The name that the last statement declares, if it begins a line; it may be one of a function or a text only.
const lastDeclared = (code: string): string | undefined =>
  Array.from(code.matchAll(/^(?:const|let|var)[ \t]+([A-Za-z_$][\w$]*)[ \t]*=/gm)).at(-1)?.[1]

// -----------------------------------------------------------------------------
// What is asked
// -----------------------------------------------------------------------------

const rulesFor = (tools: ReadonlyArray<Tool.Any>): ReadonlyArray<string> => [
  `The code is JavaScript. ${coding.where} It finds the inputs in the variable \`${variable}\`, by their names. It calls submit(value) once, with a result that is JSON.`,
  ...(tools.length === 0 ? [] : ["It may call these functions:", ...coding.offered(tools)])
]

const generated_code = Code.make("javascript").annotations({ description: "the whole program, and nothing else" })

const told = (what: string) => Schema.String.annotations({ description: what })

const task = (signature: Signature.Any): string => {
  const { inputs, outputs } = Signature.fields(signature)
  return `${signature.instructions}\n\nThis is not to be answered yet: a program is to find out what ${
    agent.namesOf(outputs)
  } must be, given ${agent.namesOf(inputs)}.`
}

const generating = (signature: Signature.Any) =>
  Signature.make({
    instructions: `${task(signature)} Write that program.`,
    input: agent.inputsOf(signature),
    output: { generated_code }
  })

const regenerating = (signature: Signature.Any) =>
  Signature.make({
    instructions: `${task(signature)} A program was written that does not work. Find out why, and write one that does.`,
    input: {
      ...agent.inputsOf(signature),
      previous_code: told("the program that does not work"),
      error: told("what came of it")
    },
    output: { generated_code }
  })

const answering = (signature: Signature.Any) => {
  const { inputs, outputs } = Signature.fields(signature)
  return agent.changeable(signature).pipe(
    Signature.appendInstructions(
      `A program was run to find out about it. Of what it says, and of ${agent.namesOf(inputs)}, make ${
        agent.namesOf(outputs)
      }.`
    ),
    Signature.appendInput("final_generated_code", told("the program that was run")),
    Signature.appendInput("code_output", told("what it says"))
  )
}
