/**
 * `RLM`, a recursive language model, answers from inputs that are too long to be
 * read: they stay in a sandbox, and the model writes code that looks into them
 * and asks models about parts of them.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as Adapter from "./Adapter.ts"
import * as Code from "./Code.ts"
import * as coding from "./internal/coding.ts"
import * as frame from "./internal/frame.ts"
import * as globalName from "./internal/globalName.ts"
import { resolve } from "./internal/signatureSource.ts"
import * as trajectory from "./internal/trajectory.ts"
import * as Json from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Sandbox from "./Sandbox.ts"
import * as Signature from "./Signature.ts"
import type * as Tool from "./Tool.ts"

/**
 * One round: what was thought, the code, and what it had to show.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly reasoning: string
  readonly code: string
  readonly output: string
  /** Whether the code did not run to its end, or submitted something else than the outputs. */
  readonly failed: boolean
}

/**
 * Why there were no more rounds: the code `submitted` the outputs, there were
 * `maxIters`, what happened no longer fits into the model's context, or its
 * answer was `unreadable`. Unless they were submitted, the outputs are made of
 * what is known.
 *
 * @since 0.1.0
 * @category models
 */
export type Termination = "submitted" | "maxIters" | "contextWindow" | "unreadable"

/**
 * What an RLM answers: the outputs of the signature, and how it came to know.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<S extends Signature.Any> = Types.Simplify<
  Signature.Output<S> & {
    readonly trajectory: ReadonlyArray<Step>
    readonly termination: Termination
  }
>

/**
 * - `tools`: what the code may call beside `llmQuery`, each with one object; none
 *   by default.
 * - `maxIters`: how many rounds at most, 20 by default.
 * - `maxQueries`: how many prompts the code may have answered in one run of the
 *   module, 50 by default.
 * - `maxOutput`: how many characters of what a piece of code shows the model
 *   reads, 10,000 by default; the middle is left out.
 * - `queryModel`: what answers those prompts; by default the model of the
 *   program. A small one is often enough.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any> = readonly []> extends Predict.Options {
  readonly tools?: Tools | undefined
  readonly maxIters?: number | undefined
  readonly maxQueries?: number | undefined
  readonly maxOutput?: number | undefined
  readonly queryModel?: Context.Context<LanguageModel.LanguageModel> | undefined
}

type RLM<S extends Signature.Any, Tools extends ReadonlyArray<Tool.Any>> = Module.Module<
  Signature.Input<S>,
  Answer<S>,
  Predict.PredictError | Sandbox.SandboxError | Tool.Error<Tools[number]>,
  LanguageModel.LanguageModel | Sandbox.Sandbox | Tool.Requirements<Tools[number]>
>

const query = "llmQuery"
const queries = "llmQueryBatched"
const taken = [query, queries, "submit", "console"]

// Of an input the model is shown this many characters.
const previewed = 1000

// What code may hold, in bytes: at least as much as in any session, and enough for inputs of so many characters, which are
// there twice while they are handed over. A power of two: engines are made for a few limits only.
const memoryFor = (length: number): number => 2 ** Math.min(31, Math.max(26, Math.ceil(Math.log2(16 * length))))

// A piece of code may as well ask all prompts one by one.
const calls = 256

// Prompts of one list that are answered at a time.
const atATime = 8

/**
 * A module over inputs of any length. They are variables of a `Sandbox` session;
 * the model sees of each its type, its size and 1,000 characters. It writes
 * JavaScript, piece by piece, which may call
 *
 * - `await llmQuery(prompt)`: what a model answers, a text. A failure of the
 *   model throws.
 * - `await llmQueryBatched(prompts)`: the same for a list, side by side; a
 *   failure is the text `[ERROR] …` in its place.
 * - the tools, each with one object.
 * - `submit({ … })`: ends it with the outputs of the signature. What does not fit
 *   them is told to the model, which may try again.
 *
 * Its predictors are `generate_action`, which writes the next piece, and
 * `extract`, which makes the outputs when nothing was submitted; both are tuned
 * and saved as in DSPy. Code that fails is an observation; only a sandbox that
 * cannot be had ends the program.
 *
 * Throws a `RangeError` for tools that code could not call, for inputs that could be
 * no variables, such as `class`, and for outputs called `trajectory` or `termination`.
 *
 * @see Zhang and Khattab, "Recursive Language Models" (arXiv 2512.24601)
 *
 * @example
 * ```ts
 * import * as RLM from "@effect-dspy/core/RLM"
 * import * as Sandbox from "@effect-dspy/core/Sandbox"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * // Stands in for an engine, such as QuickJsSandbox of the providers.
 * const sandbox = Sandbox.make(() =>
 *   Effect.succeed({
 *     run: () => Effect.succeed({ value: { errors: 2 }, submitted: true, logs: "" }),
 *     set: () => Effect.void
 *   })
 * )
 *
 * const count = RLM.make("log: string[], question -> errors: int")
 *
 * const program = count({ log: ["ok", "error", "error"], question: "How many errors are there?" }).pipe(
 *   Effect.provideService(Sandbox.Sandbox, sandbox),
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({
 *       reasoning: "Count them.",
 *       code: "submit({ errors: log.filter((line) => line === 'error').length })"
 *     })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ errors, termination }) =>
 *   assert.deepStrictEqual([errors, termination], [2, "submitted"])
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <S extends Signature.Any, const Tools extends ReadonlyArray<Tool.Any> = readonly []>(
    signature: S,
    options?: Options<Tools>
  ): RLM<S, Tools>
  <const S extends string, const Tools extends ReadonlyArray<Tool.Any> = readonly []>(
    signature: Signature.Check<S>,
    options?: Options<Tools>
  ): RLM<Signature.Parse<S>, Tools>
} = (
  source: Signature.Any | string,
  { maxIters = 20, maxOutput = 10_000, maxQueries = 50, queryModel, tools = [], ...options }: Options<
    ReadonlyArray<Tool.Any>
  > = {}
): Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> => {
  const signature = resolve(source)
  const { inputs, outputs } = Signature.fields(signature)
  for (const [name, value] of Object.entries({ maxIters, maxOutput, maxQueries })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`RLM: ${name} must be a whole number of at least 1, not ${value}`)
    }
  }
  coding.callable("RLM", tools, [...taken, ...inputs.map(({ name }) => name)])
  for (const { name } of inputs) {
    const problem = taken.includes(name) ? "that is a function" : globalName.problem(name)
    if (problem !== undefined) throw new RangeError(`RLM: no input can be called "${name}"; ${problem}`)
  }
  coding.answerable("RLM", { inputs, outputs })
  const rules = rulesFor(signature, tools, maxQueries)
  const parts = {
    // What goes in and comes out is known by the field names alone.
    generate_action: Predict.make(acting(signature), options) as unknown as Module.Module<
      unknown,
      Piece,
      Predict.PredictError,
      LanguageModel.LanguageModel
    >,
    extract: Predict.make(extracting(signature), options) as unknown as Module.Module<
      unknown,
      object,
      Predict.PredictError,
      LanguageModel.LanguageModel
    >
  }
  const rounds = (m: typeof parts, variables_info: string, session: Sandbox.Session<unknown, unknown>) =>
    Effect.gen(function*() {
      const steps: Array<Step> = []
      const withRoom = trajectory.room(steps)
      const act = Module.surrounded(
        m.generate_action,
        (current) => Effect.succeed(frame.noted(current, frame.join(current.path, "generate_action"), rules))
      )
      const ask = <A, E, R>(module: Module.Module<unknown, A, E, R>, more: object) =>
        withRoom((steps) => module({ variables_info, repl_history: told(steps), ...more }))
      while (steps.length < maxIters) {
        const acted = yield* Effect.either(ask(act, { iteration: `${steps.length + 1}/${maxIters}` }))
        if (Either.isLeft(acted)) {
          const termination: Termination = yield* trajectory.ending("RLM", acted.left)
          return { ...yield* ask(m.extract, {}), trajectory: steps, termination }
        }
        const { reasoning } = acted.right
        const code = acted.right.code.trim()
        const ran = yield* coding.ran(session, code)
        const checked = ran.result?.submitted === true
          ? yield* submitted(signature, ran.result.value)
          : Either.left(undefined)
        const output = Either.isLeft(checked) && checked.left !== undefined ? checked.left : ran.output
        const failed = ran.failed || (Either.isLeft(checked) && checked.left !== undefined)
        steps.push({ reasoning, code, output: coding.clipped(output, maxOutput), failed })
        if (Either.isRight(checked)) {
          return { ...checked.right, trajectory: steps, termination: "submitted" as const }
        }
      }
      return { ...yield* ask(m.extract, {}), trajectory: steps, termination: "maxIters" as const }
    })
  return Module.make(parts, function*(m, input: unknown) {
    const path = yield* Module.path
    const encoded = yield* Effect.mapError(
      Adapter.encodeInputs(signature, input),
      (problems) => new Predict.InvalidInput({ path, problems })
    )
    const model = yield* LanguageModel.LanguageModel
    return yield* Effect.scoped(Effect.gen(function*() {
      let uses = 0
      let left = maxQueries
      const next = () => ++uses
      const ask = (prompts: ReadonlyArray<string>) => {
        if (prompts.length > left) {
          return new Sandbox.Exception({
            message: `${prompts.length} prompts are more than the ${left} of ${maxQueries} that are left`
          })
        }
        left -= prompts.length
        return Effect.forEach(prompts, (prompt) => Effect.either(answered(prompt)), { concurrency: atATime }).pipe(
          queryModel === undefined
            ? Effect.provideService(LanguageModel.LanguageModel, model)
            : Effect.provide(queryModel)
        )
      }
      const values = inputs.map((field) => [field, encoded[field.name] ?? null] as const)
      const length = values.reduce((sum, [, value]) => sum + textOf(value).length, 0)
      const session = yield* Sandbox.open({
        memory: memoryFor(length),
        calls: calls + maxQueries,
        functions: {
          ...coding.functions(tools, next),
          [query]: (prompt?: Json.Json) =>
            typeof prompt !== "string"
              ? new Sandbox.Exception({ name: "TypeError", message: `${query} takes a text` })
              : coding.heard(
                next(),
                query,
                { prompt },
                Effect.flatMap(ask([prompt]), ([answer]) =>
                  answer === undefined || Either.isLeft(answer)
                    ? new Sandbox.Exception({ name: "ModelError", message: answer?.left.message ?? "" })
                    : Effect.succeed(answer.right))
              ),
          [queries]: (prompts?: Json.Json) =>
            !isTexts(prompts)
              ? new Sandbox.Exception({ name: "TypeError", message: `${queries} takes a list of texts` })
              : coding.heard(
                next(),
                queries,
                { prompts },
                Effect.map(ask(prompts), (answers) =>
                  answers.map(Either.match({
                    onLeft: (error) => `[ERROR] ${error.message}`,
                    onRight: (text) => text
                  })))
              )
        }
      })
      for (const [{ name }, value] of values) yield* session.set(name, value)
      return yield* rounds(m, values.map(([field, value]) => described(field, value)).join("\n\n"), session)
    }))
  }) as unknown as Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> // what the overloads say
}

interface Piece {
  readonly reasoning: string
  readonly code: string
}

const isTexts = (value: Json.Json | undefined): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.every((item) => typeof item === "string")

// As the model is asked by the predictors, and in the same sample.
const answered = (prompt: string) =>
  frame.with_(({ call, listener, path, rollout, settings }) =>
    LanguageModel.generate({
      messages: [{ role: "user", content: prompt }],
      settings: rollout === undefined ? settings : { ...settings, rollout }
    }).pipe(
      Effect.tap(({ cached, model, usage }) =>
        listener?.emit([{ _tag: "UsageReported", path, call, model, usage, cached: cached === true }]) ?? Effect.void
      ),
      Effect.map(({ outputs: [output] }) => output?.text ?? "")
    )
  )

// The outputs, or what is wrong with what was submitted.
const submitted = (signature: Signature.Any, value: Json.Json | undefined) => {
  const names = Signature.fields(signature).outputs.map(({ name }) => name)
  if (!Json.isJsonRecord(value)) {
    return Effect.succeed(Either.left(`submit takes one object with ${names.map((name) => `"${name}"`).join(", ")}.`))
  }
  const unknown = Object.keys(value).filter((name) => !names.includes(name))
  if (unknown.length > 0) {
    return Effect.succeed(Either.left(`submit was given what is no output: ${unknown.join(", ")}.`))
  }
  const fields = new Map(Object.entries(value).map(([name, value]) => [name, { _tag: "Json" as const, value }]))
  return Adapter.decode(signature, { fields, repairs: [] }).pipe(
    Effect.map(({ value }) => value),
    Effect.mapError((problems) =>
      `What was submitted are not the outputs: ${problems.map(Adapter.describe).join("; ")}.`
    ),
    Effect.either
  )
}

// -----------------------------------------------------------------------------
// What is asked
// -----------------------------------------------------------------------------

const textOf = (value: Json.Json): string => typeof value === "string" ? value : JSON.stringify(value)

const described = ({ description, name, type }: Signature.Field, value: Json.Json): string => {
  const text = textOf(value)
  const size = typeof value === "string"
    ? `${value.length} characters`
    : Array.isArray(value)
    ? `${value.length} items, ${text.length} characters as JSON`
    : `${text.length} characters as JSON`
  return [
    `${name}: ${type}, ${size}${description === undefined ? "" : `: ${description}`}`,
    coding.clipped(text, previewed)
  ].join("\n")
}

const told = (steps: ReadonlyArray<Step>): string =>
  steps.length === 0
    ? "Nothing has run yet."
    : steps.map(({ code, output, reasoning }, index) =>
      `Round ${index + 1}\nThought: ${reasoning}\nCode:\n${code}\nOutput:\n${output}`
    ).join("\n\n")

const rulesFor = (signature: Signature.Any, tools: ReadonlyArray<Tool.Any>, maxQueries: number): string =>
  [
    "In each round you write one piece of JavaScript. It runs in a sandbox without network, files or modules, and its top level may use `await`. The inputs are there as variables, and what a piece declares is there for the next one. You are then shown what it logged with console.log, and the value of its last expression. It may call these functions:",
    `await ${query}(prompt): What a model answers to a text. It knows nothing but the text, so put into it what it has to read.`,
    `await ${queries}(prompts): The same for a list of texts, answered side by side. All in all ${maxQueries} texts may be answered.`,
    ...coding.offered(tools),
    `submit({ ${
      Signature.fields(signature).outputs.map(({ name }) => name).join(", ")
    } }): Ends the rounds with the outputs.`,
    "Look at the inputs before you work on them; they may be longer than what you are shown. Submit only what you have seen to be right."
  ].join("\n")

const variables = Schema.String.annotations({ description: "the variables: type, size, and how they begin and end" })
const history = Schema.String.annotations({ description: "the rounds so far" })

const acting = (signature: Signature.Any): Signature.Any => {
  const { inputs, outputs } = Signature.fields(signature)
  return Signature.make({
    instructions: `${signature.instructions}\n\nThe inputs ${
      trajectory.namesOf(inputs)
    } are variables of a JavaScript session. Write code, piece by piece, to find out ${
      outputs.map(({ name, type }) => `\`${name}\` (${type})`).join(", ")
    }. In view of the rounds so far, write the next piece.`,
    input: {
      variables_info: variables,
      repl_history: history,
      iteration: Schema.String.annotations({ description: "which round this is, of how many" })
    },
    output: {
      reasoning: Schema.String.annotations({ description: "what is known, and what to do next" }),
      code: Code.make("javascript").annotations({ description: "the next piece" })
    }
  })
}

const extracting = (signature: Signature.Any): Signature.Any =>
  Signature.make({
    instructions:
      `${signature.instructions}\n\nThe rounds are over before the outputs were submitted. Give the outputs as well as they can be told from the rounds.`,
    input: { variables_info: variables, repl_history: history },
    // Of the outputs the compiler knows nothing, which `{}` says.
    output: signature.output.fields as {}
  })
