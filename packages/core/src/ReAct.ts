/**
 * `ReAct` answers with the help of tools: the model thinks, uses a tool, reads
 * what it says, and so on until it knows enough.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as ChainOfThought from "./ChainOfThought.ts"
import * as frame from "./internal/frame.ts"
import { resolve } from "./internal/signatureSource.ts"
import * as Json from "./Json.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import * as LanguageModelError from "./LanguageModelError.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Signature from "./Signature.ts"
import * as Tool from "./Tool.ts"

/**
 * One round: what was thought, what was done, and what came of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly thought: string
  readonly tool: string
  readonly arguments: Json.JsonRecord
  readonly observation: string
  /** Whether the tool was not there, not called rightly, or failed. */
  readonly failed: boolean
}

/**
 * Why there were no more rounds: the model said that it is `finished`, there were
 * `maxIters`, what happened no longer fits into the model's context, or its answer
 * was `unreadable`. The outputs are made of what is known in all cases.
 *
 * @since 0.1.0
 * @category models
 */
export type Termination = "finished" | "maxIters" | "contextWindow" | "unreadable"

/**
 * What a ReAct answers: the outputs of the signature, the reasoning that led to
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
 * - `tools`: what may be used. What they need and what ends the program appears
 *   in the type of the module.
 * - `maxIters`: how many rounds at most, 20 by default.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any>> extends Predict.Options {
  readonly tools: Tools
  readonly maxIters?: number | undefined
}

type ReAct<S extends Signature.Any, Tools extends ReadonlyArray<Tool.Any>> = Module.Module<
  Signature.Input<S>,
  Answer<S>,
  Predict.PredictError | Tool.Error<Tools[number]>,
  LanguageModel.LanguageModel | Tool.Requirements<Tools[number]>
>

const finish = "finish"

/**
 * A module that may use tools before it answers.
 *
 * Its predictors are `react`, which chooses the next tool, and `extract.predict`,
 * which makes the outputs of what happened; both are tuned and saved as in DSPy.
 * The list of tools is told to the model beside its instructions, so that new
 * instructions cannot lose it.
 *
 * A tool that fails, is not there or is called wrongly is an observation like any
 * other, unless it was made with `failureMode: "error"`. When the context of the
 * model is full, the oldest rounds are left out, up to three times. Works with
 * every model: tools are called in the text of the answer.
 *
 * @see Yao et al., "ReAct: Synergizing Reasoning and Acting in Language Models" (arXiv 2210.03629)
 *
 * @example
 * ```ts
 * import * as ReAct from "@effect-dspy/core/ReAct"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Tool from "@effect-dspy/core/Tool"
 * import { Effect, Schema } from "effect"
 *
 * const weather = Tool.make("weather", {
 *   description: "The weather in a city.",
 *   parameters: { city: Schema.String },
 *   run: ({ city }) => Effect.succeed(`sunny in ${city}`)
 * })
 *
 * const advise = ReAct.make("question -> answer", { tools: [weather] })
 *
 * const program = advise({ question: "Do I need an umbrella in Rome?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({
 *       next_thought: "Look at the weather.",
 *       next_tool_name: "weather",
 *       next_tool_args: { city: "Rome" }
 *     }),
 *     TestLanguageModel.fields({ next_thought: "It is sunny.", next_tool_name: "finish", next_tool_args: {} }),
 *     TestLanguageModel.fields({ reasoning: "The sun shines.", answer: "No." })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ answer, termination, trajectory }) => {
 *   assert.deepStrictEqual([answer, termination], ["No.", "finished"])
 *   assert.strictEqual(trajectory[0]?.observation, "sunny in Rome")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <S extends Signature.Any, const Tools extends ReadonlyArray<Tool.Any>>(
    signature: S,
    options: Options<Tools>
  ): ReAct<S, Tools>
  <const S extends string, const Tools extends ReadonlyArray<Tool.Any>>(
    signature: Signature.Check<S>,
    options: Options<Tools>
  ): ReAct<Signature.Parse<S>, Tools>
} = (
  source: Signature.Any | string,
  { maxIters = 20, tools, ...options }: Options<ReadonlyArray<Tool.Any>>
): Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> => {
  const signature = resolve(source)
  const known = new Map(tools.map((tool) => [tool.name, tool]))
  if (known.has(finish)) throw new RangeError(`ReAct: no tool can be called "${finish}"; that is how the model ends`)
  if (known.size < tools.length) throw new RangeError("ReAct: two tools have the same name")
  if (!Number.isInteger(maxIters) || maxIters < 1) {
    throw new RangeError(`ReAct: maxIters must be a whole number of at least 1, not ${maxIters}`)
  }
  const offer = offered(tools)
  const react = Predict.make(choosing(signature, [...known.keys(), finish]), options)
  const extract = ChainOfThought.make(extracting(signature), options)
  return Module.make({
    // What goes in and comes out is known by the field names alone.
    react: react as unknown as Module.Module<unknown, Choice, Predict.PredictError, LanguageModel.LanguageModel>,
    extract: extract as unknown as Module.Module<unknown, object, Predict.PredictError, LanguageModel.LanguageModel>
  }, function*(m, input: unknown) {
    const steps: Array<Step> = []
    const inputs = input as object // the inputs of a signature
    const choose = Module.surrounded(
      m.react,
      (current) => Effect.succeed(frame.noted(current, frame.join(current.path, "react"), offer))
    )
    const ask = <A, E, R>(module: Module.Module<unknown, A, E, R>) =>
      withRoom(steps, (steps) => module({ ...inputs, trajectory: told(steps) }))
    let termination: Termination = "maxIters"
    while (steps.length < maxIters) {
      const chosen = yield* Effect.either(ask(choose))
      if (Either.isLeft(chosen)) {
        const error = chosen.left
        if (error._tag === "AdapterParseError") termination = "unreadable"
        else if (isFull(error)) termination = "contextWindow"
        else return yield* error
        yield* Effect.logWarning(`A ReAct chose no further tool: ${error.message}`)
        break
      }
      const { next_thought, next_tool_args, next_tool_name } = chosen.right
      if (next_tool_name === finish) {
        termination = "finished"
        break
      }
      const used = yield* use(known, next_tool_name, next_tool_args)
      steps.push({ thought: next_thought, tool: next_tool_name, arguments: next_tool_args, ...used })
    }
    const outputs = yield* ask(m.extract)
    // The overloads say what it answers.
    return { ...outputs, trajectory: steps, termination } as never
  }) as Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> // and what it needs
}

interface Choice {
  readonly next_thought: string
  readonly next_tool_name: string
  readonly next_tool_args: Json.JsonRecord
}

// -----------------------------------------------------------------------------
// Using tools
// -----------------------------------------------------------------------------

const use = (known: ReadonlyMap<string, Tool.Any>, name: string, args: Json.JsonRecord) =>
  frame.with_(({ call, listener, path }) => {
    const tool = known.get(name)
    const source = { path, call, tool: name }
    const called = tool === undefined
      ? new Tool.ToolError({
        tool: name,
        reason: "UnknownTool",
        description: `there is no such tool; there are ${[...known.keys(), finish].join(", ")}`
      })
      // What it fails with and needs is what the overloads of `make` say.
      : Tool.call(tool as Tool.Tool<string, unknown, unknown>, args)
    return (listener?.emit([{ _tag: "ToolStart", ...source, arguments: args }]) ?? Effect.void).pipe(
      Effect.zipRight(called),
      Effect.map((observation) => ({ observation, failed: false })),
      Effect.catchIf(
        (error) => error instanceof Tool.ToolError,
        (error) => Effect.succeed({ observation: `It did not work. ${error.message}`, failed: true })
      ),
      Effect.tap((used) => listener?.emit([{ _tag: "ToolEnd", ...source, ...used }]) ?? Effect.void)
    )
  })

// -----------------------------------------------------------------------------
// What is known so far
// -----------------------------------------------------------------------------

const told = (steps: ReadonlyArray<Step>): string =>
  steps.map((step, index) =>
    [
      `Round ${index + 1}`,
      `Thought: ${step.thought}`,
      `Tool: ${step.tool} ${JSON.stringify(step.arguments)}`,
      `Observation: ${step.observation}`
    ].join("\n")
  ).join("\n\n")

const isFull = (error: unknown): boolean =>
  LanguageModelError.isLanguageModelError(error) && error.reason._tag === "ContextWindowExceeded"

const cuts = 3

// Leaves out the oldest step while there is no room for all; the last one must stay.
const withRoom = <A, E, R>(
  steps: ReadonlyArray<Step>,
  ask: (steps: ReadonlyArray<Step>) => Effect.Effect<A, E, R>,
  cut = 0
): Effect.Effect<A, E, R> =>
  Effect.catchIf(
    ask(steps.slice(cut)),
    (error) => isFull(error) && cut < cuts && steps.length - cut > 1,
    () => withRoom(steps, ask, cut + 1)
  )

// -----------------------------------------------------------------------------
// What is asked
// -----------------------------------------------------------------------------

const offered = (tools: ReadonlyArray<Tool.Any>): string =>
  [
    "In each round you think, and name one of these tools with its arguments as a JSON object. You are then shown what it says:",
    ...tools.map(({ definition: { description, name, parameters } }, index) =>
      `${index + 1}. ${name}: ${description} Arguments: ${JSON.stringify(parameters)}`
    ),
    `${tools.length + 1}. ${finish}: Ends the rounds, once all that is needed is known. Arguments: {}`
  ].join("\n")

const namesOf = (fields: ReadonlyArray<Signature.Field>): string => fields.map(({ name }) => `\`${name}\``).join(", ")

const trajectory = Schema.String.annotations({ description: "what was thought, done and seen so far" })

const choosing = (signature: Signature.Any, names: ReadonlyArray<string>): Signature.Any => {
  const { inputs, outputs } = Signature.fields(signature)
  return Signature.make({
    instructions: `${signature.instructions}\n\nYou are given ${
      namesOf(inputs)
    } and can use tools to find out what is needed for ${
      namesOf(outputs)
    }. In view of the trajectory so far, decide what to do next.`,
    // Of the inputs the compiler knows nothing, which `{}` says.
    input: { ...signature.input.fields as {}, trajectory },
    output: { next_thought: Schema.String, next_tool_name: Schema.Literal(...names), next_tool_args: Json.JsonRecord }
  })
}

// The compiler cannot add a field to a signature it knows only by a variable.
const extracting = (signature: Signature.Any): Signature.Any =>
  Signature.appendInput(signature as Signature.Signature<{}, {}>, "trajectory", trajectory)
