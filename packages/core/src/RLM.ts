/**
 * `RLM`, a recursive language model, answers from inputs that are too long to be
 * read: they stay in a sandbox, and the model writes code that looks into them
 * and asks models about parts of them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Adapter from "./Adapter.ts"
import type * as Agent from "./Agent.ts"
import * as Code from "./Code.ts"
import * as agent from "./internal/agent.ts"
import * as coding from "./internal/coding.ts"
import * as frame from "./internal/frame.ts"
import * as globalName from "./internal/globalName.ts"
import { resolve } from "./internal/signatureSource.ts"
import * as submission from "./internal/submission.ts"
import type * as Json from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Sandbox from "./Sandbox.ts"
import * as Signature from "./Signature.ts"
import type * as Tool from "./Tool.ts"

/**
 * What an RLM answers: the outputs of the signature, the last thought, and how it
 * came to know. A step has `failed` also if its code submitted something else than
 * the outputs. It has never `finished`: the only end it can name is to submit.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<S extends Signature.Any> = Agent.Answer<S, Agent.CodeStep>

/**
 * `maxIters` is 20 by default. In `sandbox`, the `memory` is by default enough for
 * the inputs, and `calls` for all prompts and 256 more.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any> = readonly []> extends Agent.CodeOptions<Tools> {
  /** How many prompts the code may have answered in one run of the module, 50 by default. */
  readonly maxQueries?: number | undefined
  /** What answers those prompts; by default the model of the program. A small one is often enough. */
  readonly queryModel?: Context.Context<LanguageModel.LanguageModel> | undefined
}

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
 * and saved as in DSPy. Either way the outputs stream from `extract`. Code that
 * fails is an observation; only a sandbox that cannot be had ends the program.
 * Answers that cannot be read, and a context that is full, are dealt with as in a
 * `ReAct`.
 *
 * Throws a `RangeError` for tools that code could not call, for inputs that could be
 * no variables, such as `class`, and for outputs of names that are needed here.
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
  ): Agent.Coder<S, Tools>
  <const S extends string, const Tools extends ReadonlyArray<Tool.Any> = readonly []>(
    signature: Signature.Check<S>,
    options?: Options<Tools>
  ): Agent.Coder<Signature.Parse<S>, Tools>
} = (
  source: Signature.Any | string,
  {
    maxIters = 20,
    maxOutput = 10_000,
    maxQueries = 50,
    queryModel,
    sandbox = {},
    tools = [],
    ...options
  }: Options<ReadonlyArray<Tool.Any>> = {}
): coding.Erased => {
  const signature = resolve(source)
  const { inputs } = Signature.fields(signature)
  coding.validate("RLM", { maxIters, maxOutput, sandbox, tools }, [...taken, ...inputs.map(({ name }) => name)])
  agent.limits("RLM", { maxQueries })
  for (const { name } of inputs) {
    const problem = taken.includes(name) ? "that is a function" : globalName.problem(name)
    if (problem !== undefined) throw new RangeError(`RLM: no input can be called "${name}"; ${problem}`)
  }
  agent.free("RLM", signature, { inputs: [], outputs: ["variables_info", "repl_history"] })
  const extraction = extracting(signature)
  return Module.make({
    generate_action: coding.ruled(Predict.make(acting(signature), options), rulesFor(signature, tools, maxQueries)),
    extract: Predict.make(extraction, options)
  }, function*(m, input: unknown) {
    const path = yield* Module.path
    const encoded = yield* Effect.mapError(
      Adapter.encodeInputs(signature, input),
      (problems) => new Predict.InvalidInput({ path, problems })
    )
    const model = yield* LanguageModel.LanguageModel
    const telling = yield* submission.telling(signature, extraction, "extract")
    const values = inputs.map((field) => [field, encoded[field.name] ?? null] as const)
    const length = values.reduce((sum, [, value]) => sum + textOf(value).length, 0)
    const known = { variables_info: values.map(([field, value]) => described(field, value)).join("\n\n") }
    const number = coding.numbering()
    const answer = yield* Effect.scoped(Effect.gen(function*() {
      const session = yield* Sandbox.open({
        timeout: sandbox.timeout,
        memory: sandbox.memory ?? memoryFor(length),
        calls: sandbox.calls ?? calls + maxQueries,
        functions: {
          ...coding.functions(tools, number),
          ...asking(number, maxQueries, queryModel ?? Context.make(LanguageModel.LanguageModel, model))
        }
      })
      for (const [{ name }, value] of values) yield* session.set(name, value)
      return yield* agent.work({
        module: "RLM",
        maxIters,
        ask: (rounds: ReadonlyArray<coding.Round>, round) =>
          telling.watched(
            m.generate_action({ ...known, repl_history: history(rounds), iteration: `${round}/${maxIters}` })
          ),
        act: ({ code: text, reasoning: thought }, round) =>
          Effect.gen(function*() {
            const code = text.trim()
            const ran = yield* coding.ran(session, code)
            const step = { round, thought, code }
            const { result } = ran
            const checked = result?.submitted === true ? yield* submission.read(signature, result.value) : undefined
            if (checked === undefined || Either.isLeft(checked)) {
              const { failed, observation } = checked === undefined
                ? ran
                : { failed: true, observation: [result?.logs, `submit: ${checked.left}`].filter(Boolean).join("\n") }
              return { round: coding.round({ ...step, observation: agent.clipped(observation, maxOutput), failed }) }
            }
            yield* telling.taken(checked.right.encoded)
            return {
              round: coding.round({ ...step, observation: agent.clipped(ran.observation, maxOutput), failed: false }),
              end: { outputs: checked.right.value }
            }
          }),
        unread: coding.unread,
        extract: (rounds) => m.extract({ ...known, repl_history: history(rounds) })
      })
    }))
    return answer as never // what the overloads say
  })
}

// -----------------------------------------------------------------------------
// Asking models from code
// -----------------------------------------------------------------------------

const isTexts = (value: Json.Json | undefined): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.every((item) => typeof item === "string")

/** The functions by which code asks a model; `next` numbers their uses. */
const asking = (
  next: () => number,
  maxQueries: number,
  model: Context.Context<LanguageModel.LanguageModel>
): { readonly [name: string]: Sandbox.HostFunction } => {
  let left = maxQueries
  const ask = (prompts: ReadonlyArray<string>) => {
    if (prompts.length > left) {
      return new Sandbox.Exception({
        message: `${prompts.length} prompts are more than the ${left} of ${maxQueries} that are left`
      })
    }
    left -= prompts.length
    return Effect.forEach(prompts, (prompt) => Effect.either(answered(prompt)), { concurrency: atATime }).pipe(
      Effect.provide(model)
    )
  }
  return {
    [query]: (prompt) =>
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
    [queries]: (prompts) =>
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
}

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
    agent.clipped(text, previewed)
  ].join("\n")
}

const history = (rounds: ReadonlyArray<coding.Round>): string =>
  rounds.length === 0 ? "Nothing has run yet." : agent.told(rounds)

const rulesFor = (
  signature: Signature.Any,
  tools: ReadonlyArray<Tool.Any>,
  maxQueries: number
): ReadonlyArray<string> => [
  `In each round you write one piece of JavaScript. ${coding.where} The inputs are there as variables, and what a piece declares is there for the next one. You are then shown what it logged with console.log, and the value of its last expression. It may call these functions:`,
  `await ${query}(prompt): What a model answers to a text. It knows nothing but the text, so put into it what it has to read.`,
  `await ${queries}(prompts): The same for a list of texts, answered side by side. All in all ${maxQueries} texts may be answered.`,
  ...coding.offered(tools),
  `submit({ ${
    Signature.fields(signature).outputs.map(({ name }) => name).join(", ")
  } }): Ends the rounds with the outputs.`,
  "Look at the inputs before you work on them; they may be longer than what you are shown. Submit only what you have seen to be right."
]

const variables_info = Schema.String.annotations({
  description: "the variables: type, size, and how they begin and end"
})
const repl_history = Schema.String.annotations({ description: "the rounds so far" })

const acting = (signature: Signature.Any) => {
  const { inputs, outputs } = Signature.fields(signature)
  return Signature.make({
    instructions: `${signature.instructions}\n\nThe inputs ${
      agent.namesOf(inputs)
    } are variables of a JavaScript session. Write code, piece by piece, to find out ${
      outputs.map(({ name, type }) => `\`${name}\` (${type})`).join(", ")
    }. In view of the rounds so far, write the next piece.`,
    input: {
      variables_info,
      repl_history,
      iteration: Schema.String.annotations({ description: "which round this is, of how many" })
    },
    output: {
      reasoning: Schema.String.annotations({ description: "what is known, and what to do next" }),
      code: Code.make("javascript").annotations({ description: "the next piece" })
    }
  })
}

const extracting = (signature: Signature.Any) => {
  const output: {} = signature.output.fields // of which the compiler knows nothing
  return Signature.make({
    instructions:
      `${signature.instructions}\n\nThe rounds are over before the outputs were submitted. Give the outputs as well as they can be told from the rounds.`,
    input: { variables_info, repl_history },
    output
  })
}
