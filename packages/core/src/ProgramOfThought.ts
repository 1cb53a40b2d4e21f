/**
 * `ProgramOfThought` answers by a program: the model writes code for the task, a
 * sandbox runs it, and the outputs are made of what it says. What is computed
 * is computed, not guessed.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as Adapter from "./Adapter.ts"
import * as ChainOfThought from "./ChainOfThought.ts"
import * as Code from "./Code.ts"
import * as coding from "./internal/coding.ts"
import * as frame from "./internal/frame.ts"
import { resolve } from "./internal/signatureSource.ts"
import { namesOf } from "./internal/trajectory.ts"
import type * as Json from "./Json.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Sandbox from "./Sandbox.ts"
import * as Signature from "./Signature.ts"
import type * as Tool from "./Tool.ts"

/**
 * One program that was run.
 *
 * @since 0.1.0
 * @category models
 */
export const Step = Schema.Struct({
  code: Schema.String,
  /** What it had to show, or why it did not run to its end. */
  output: Schema.String,
  failed: Schema.Boolean
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Step extends Schema.Schema.Type<typeof Step> {}

/**
 * None of the programs ran to its end with something to show. `trajectory` has
 * all of them, the last one last.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProgramOfThoughtError
  extends Schema.TaggedError<ProgramOfThoughtError>("@effect-dspy/core/ProgramOfThought/ProgramOfThoughtError")(
    "ProgramOfThoughtError",
    { trajectory: Schema.Array(Step) }
  )
{
  override get message(): string {
    return `ProgramOfThought: none of ${this.trajectory.length} programs gave a result; allow more of them with maxIters, or another model. The last one: ${
      this.trajectory.at(-1)?.output ?? ""
    }`
  }
}

/**
 * What a ProgramOfThought answers: the outputs of the signature, the reasoning
 * that led to them, and the programs, of which the last one ran.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<S extends Signature.Any> = Types.Simplify<
  { readonly reasoning: string } & Signature.Output<S> & { readonly trajectory: ReadonlyArray<Step> }
>

/**
 * - `tools`: what the code may call, each with one object; none by default. What
 *   they need and what ends the program appears in the type of the module.
 * - `maxIters`: how many programs are tried, 3 by default.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any> = readonly []> extends Predict.Options {
  readonly tools?: Tools | undefined
  readonly maxIters?: number | undefined
}

type ProgramOfThought<S extends Signature.Any, Tools extends ReadonlyArray<Tool.Any>> = Module.Module<
  Signature.Input<S>,
  Answer<S>,
  Predict.PredictError | Sandbox.SandboxError | ProgramOfThoughtError | Tool.Error<Tools[number]>,
  LanguageModel.LanguageModel | Sandbox.Sandbox | Tool.Requirements<Tools[number]>
>

/**
 * A module that has a program written and run before it answers.
 *
 * The code finds the inputs, as JSON, in the variable `inputs`. Its result is
 * what it submits, or else what it logs and the value of its last statement, be
 * that an expression or a declaration. Code that does not run to its end, or has
 * nothing to show, is written again in view of what went wrong; if that is of no
 * use, the module fails with a {@link ProgramOfThoughtError}. Each program has a
 * session of the `Sandbox` to itself.
 *
 * Its predictors are `code_generate.predict`, `code_regenerate.predict` and
 * `generate_output.predict`; all are tuned and saved as in DSPy. How code is to be
 * written is told beside their instructions, so that new instructions cannot
 * lose it.
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
 * Effect.runPromise(program).then(({ answer, trajectory }) => {
 *   assert.strictEqual(answer, 5050)
 *   assert.deepStrictEqual(trajectory, [{ code: "submit(100 * 101 / 2)", output: "5050", failed: false }])
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
  ): ProgramOfThought<S, Tools>
  <const S extends string, const Tools extends ReadonlyArray<Tool.Any> = readonly []>(
    signature: Signature.Check<S>,
    options?: Options<Tools>
  ): ProgramOfThought<Signature.Parse<S>, Tools>
} = (
  source: Signature.Any | string,
  { maxIters = 3, tools = [], ...options }: Options<ReadonlyArray<Tool.Any>> = {}
): Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> => {
  const signature = resolve(source)
  coding.callable("ProgramOfThought", tools, [variable])
  if (!Number.isInteger(maxIters) || maxIters < 1) {
    throw new RangeError(`ProgramOfThought: maxIters must be a whole number of at least 1, not ${maxIters}`)
  }
  for (const { name } of [...Signature.fields(signature).inputs, ...Signature.fields(signature).outputs]) {
    if (own.has(name)) {
      throw new RangeError(`ProgramOfThought: no field can be called "${name}", which its own predictors have`)
    }
  }
  const rules = rulesFor(tools)
  // What goes in and comes out is known by the field names alone.
  const written = (signature: Signature.Any) =>
    Module.surrounded(
      ChainOfThought.make(signature, options) as unknown as Part<{ readonly generated_code: string }>,
      (current) => Effect.succeed(frame.noted(current, frame.join(current.path, "predict"), rules))
    )
  return Module.make({
    code_generate: written(generating(signature)),
    code_regenerate: written(regenerating(signature)),
    generate_output: ChainOfThought.make(answering(signature), options) as unknown as Part<object>
  }, function*(m, input: unknown) {
    const path = yield* Module.path
    const inputs = input as object // the inputs of a signature
    const encoded = yield* Effect.mapError(
      Adapter.encodeInputs(signature, input),
      (problems) => new Predict.InvalidInput({ path, problems })
    )
    let uses = 0
    const functions = coding.functions(tools, () => ++uses)
    const trajectory: Array<Step> = []
    let { generated_code } = yield* m.code_generate(inputs)
    while (true) {
      const step = yield* Effect.scoped(
        Effect.flatMap(Sandbox.open({ functions }), (session) => run(session, programOf(generated_code), encoded))
      )
      trajectory.push(step)
      if (!step.failed) {
        const outputs = yield* m.generate_output({
          ...inputs,
          final_generated_code: step.code,
          code_output: step.output
        })
        return { ...outputs, trajectory }
      }
      if (trajectory.length === maxIters) return yield* new ProgramOfThoughtError({ trajectory })
      generated_code =
        (yield* m.code_regenerate({ ...inputs, previous_code: step.code, error: step.output })).generated_code
    }
  }) as unknown as Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> // what the overloads say
}

// An output that is called `trajectory` would be lost.
const own = new Set(
  ["generated_code", "previous_code", "error", "final_generated_code", "code_output", "reasoning", "trajectory"]
)

type Part<Out> = Module.Module<unknown, Out, Predict.PredictError, LanguageModel.LanguageModel>

// -----------------------------------------------------------------------------
// Running programs
// -----------------------------------------------------------------------------

const variable = "inputs"

// Of what a program shows, the model reads this many characters.
const maxOutput = 10_000

// Some models go on behind a line that ends the code.
const programOf = (text: string): string => text.split(/^---+[ \t]*$/m, 1)[0]!.trim() // a split has a first piece

const run = <E, R>(
  session: Sandbox.Session<E, R>,
  code: string,
  inputs: Json.JsonRecord
): Effect.Effect<Step, Sandbox.SandboxError | E, R> =>
  Effect.gen(function*() {
    const failure = (output: string): Step => ({ code, output: coding.clipped(output, maxOutput), failed: true })
    yield* session.set(variable, inputs)
    const ran = yield* coding.ran(session, code)
    if (ran.result === undefined) return failure(ran.output)
    let { result } = ran
    const declared = lastDeclared(code)
    // A declaration has no value, and is meant to be one if nothing else is.
    if (isEmpty(result) && declared !== undefined) result = (yield* coding.ran(session, declared)).result ?? result
    return isEmpty(result)
      ? failure(
        `${result.withheld === undefined ? "" : `The last value cannot be shown: it is ${result.withheld}. `}${nothing}`
      )
      : { code, output: coding.clipped(coding.shown(result), maxOutput), failed: false }
  })

const nothing = "The program has no result. End it with submit(value), where the value is JSON."

const isEmpty = ({ logs, value }: Sandbox.Result): boolean => value === undefined && logs === ""

// The name that the last statement declares, if it begins a line; it may be one of a function or a text only.
const lastDeclared = (code: string): string | undefined =>
  Array.from(code.matchAll(/^(?:const|let|var)[ \t]+([A-Za-z_$][\w$]*)[ \t]*=/gm)).at(-1)?.[1]

// -----------------------------------------------------------------------------
// What is asked
// -----------------------------------------------------------------------------

const rulesFor = (tools: ReadonlyArray<Tool.Any>): string =>
  [
    `The code is JavaScript. It runs in a sandbox without network, files or modules, and its top level may use \`await\`. It finds the inputs in the variable \`${variable}\`, by their names. It calls submit(value) once, with a result that is JSON.`,
    ...(tools.length === 0 ? [] : ["It may call these functions:", ...coding.offered(tools)])
  ].join("\n")

const generated_code = Code.make("javascript").annotations({ description: "the whole program, and nothing else" })

const told = (what: string) => Schema.String.annotations({ description: what })

// Of the inputs the compiler knows nothing, which `{}` says.
const inputsOf = (signature: Signature.Any): {} => signature.input.fields

const task = (signature: Signature.Any): string => {
  const { inputs, outputs } = Signature.fields(signature)
  return `${signature.instructions}\n\nThis is not to be answered yet: a program is to find out what ${
    namesOf(outputs)
  } must be, given ${namesOf(inputs)}.`
}

const generating = (signature: Signature.Any): Signature.Any =>
  Signature.make({
    instructions: `${task(signature)} Write that program.`,
    input: inputsOf(signature),
    output: { generated_code }
  })

const regenerating = (signature: Signature.Any): Signature.Any =>
  Signature.make({
    instructions: `${task(signature)} A program was written that does not work. Find out why, and write one that does.`,
    input: {
      ...inputsOf(signature),
      previous_code: told("the program that does not work"),
      error: told("what came of it")
    },
    output: { generated_code }
  })

const answering = (signature: Signature.Any): Signature.Any => {
  const { inputs, outputs } = Signature.fields(signature)
  // The compiler cannot add a field to a signature it knows only by a variable.
  return (signature as Signature.Signature<{}, {}>).pipe(
    Signature.appendInstructions(
      `A program was run to find out about it. Of what it says, and of ${namesOf(inputs)}, make ${namesOf(outputs)}.`
    ),
    Signature.appendInput("final_generated_code", told("the program that was run")),
    Signature.appendInput("code_output", told("what it says"))
  )
}
