/**
 * `ReAct` answers with the help of tools: the model thinks, uses tools, reads what
 * they say, and so on until it knows enough.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as Adapter from "./Adapter.ts"
import * as ChainOfThought from "./ChainOfThought.ts"
import * as codec from "./internal/codec.ts"
import * as coerce from "./internal/coerce.ts"
import * as frame from "./internal/frame.ts"
import * as observation from "./internal/observation.ts"
import { resolve } from "./internal/signatureSource.ts"
import * as toolCalls from "./internal/toolCalls.ts"
import * as trajectory from "./internal/trajectory.ts"
import * as Json from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Signature from "./Signature.ts"
import * as Tool from "./Tool.ts"

// =============================================================================
// What it answers
// =============================================================================

/**
 * What was thought, what was done, and what came of it. Steps of one `round`,
 * counted from 1, were chosen at once: the thought stands with the first of them.
 *
 * The last step of a `finished` trajectory is `finish`, without an observation.
 * Where an answer could not be read, there is a step without a tool; its thought
 * is that answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly round: number
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
 * was `unreadable` twice in a row. The outputs are made of what is known in all
 * cases.
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
 * - `toolCalls`: whether tools are offered and called the way of the model's API
 *   (`native`) or in the text of the answer (`text`), which an adapter writes and
 *   reads. By default it is `native` if the model's capabilities say that it has
 *   tools.
 * - `concurrency`: how many calls of one round are under way at once, 8 by
 *   default. With 1 each waits for the one before it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any>> extends Predict.Options {
  readonly tools: Tools
  readonly maxIters?: number | undefined
  readonly toolCalls?: "native" | "text" | undefined
  readonly concurrency?: number | undefined
}

type ReAct<S extends Signature.Any, Tools extends ReadonlyArray<Tool.Any>> = Module.Module<
  Signature.Input<S>,
  Answer<S>,
  Predict.PredictError | Tool.Error<Tools[number]>,
  LanguageModel.LanguageModel | Tool.Requirements<Tools[number]>
>

// =============================================================================
// The module
// =============================================================================

const finish = "finish"

/**
 * A module that may use tools before it answers.
 *
 * Its predictors are `react`, which chooses the next tools, and `extract.predict`,
 * which makes the outputs of what happened; both are tuned and saved as in DSPy.
 * The list of tools is told to the model beside its instructions, so that new
 * instructions cannot lose it.
 *
 * A model that has tools is offered them in its own way, and what they say
 * becomes part of one conversation, which providers can cache from its beginning;
 * it may call several at once. An answer without a call is the end, as `finish`
 * is. Any other model is told of them in the prompt, and calls one in each round
 * by fields of its answer. Demonstrations and instructions serve both ways; of an
 * answer with several calls a demonstration keeps the first one.
 *
 * A tool that fails, breaks, is not there or is called wrongly is an observation
 * like any other, unless it was made with `failureMode: "error"`. So is an answer
 * that cannot be read, once. When the context of the model is full, the oldest
 * rounds are left out, up to three times for each question to the model, and the
 * latest one never; if that is not enough for the outputs, it fails with
 * `ContextWindowExceeded`.
 *
 * Throws a `RangeError` for tools that cannot be told apart or are called
 * `finish`, and for a signature with fields of names that are needed here.
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
 * const program = advise({ question: "Do I need an umbrella in Rome or Oslo?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.toolCalls([
 *       { name: "weather", arguments: { city: "Rome" } },
 *       { name: "weather", arguments: { city: "Oslo" } }
 *     ]),
 *     TestLanguageModel.toolCalls([{ name: "finish", arguments: {} }]),
 *     TestLanguageModel.fields({ reasoning: "The sun shines in both.", answer: "No." })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ answer, termination, trajectory }) => {
 *   assert.deepStrictEqual([answer, termination], ["No.", "finished"])
 *   assert.deepStrictEqual(trajectory.map((step) => step.observation), ["sunny in Rome", "sunny in Oslo", ""])
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
  { concurrency = 8, maxIters = 20, toolCalls: way, tools, ...options }: Options<ReadonlyArray<Tool.Any>>
): Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> => {
  const signature = resolve(source)
  whole("maxIters", maxIters)
  whole("concurrency", concurrency)
  const about = questions(signature, tools)
  return Module.make({
    react: Predict.conversing(about.signature, options),
    extract: Module.make(
      { predict: Predict.conversing(about.extraction, options) },
      function*(m, turn: Predict.Turn) {
        return (yield* m.predict(turn)).value
      }
    )
  }, function*(m, input: unknown) {
    const { capabilities } = yield* LanguageModel.LanguageModel
    const choose = way === "native" || (way === undefined && capabilities.tools) ? about.natively : about.inText
    const rounds: Array<Round> = []
    const ask = trajectory.room(rounds)
    let uses = 0
    let unreadable = 0
    let termination: Termination = "maxIters"
    while (rounds.length < maxIters) {
      const chosen = yield* Effect.either(ask((rounds) => m.react(choose.turn(input, rounds))))
      const number = rounds.length + 1
      if (Either.isLeft(chosen)) {
        const error = chosen.left
        if (error._tag === "AdapterParseError") {
          rounds.push(unread(number, error))
          if (++unreadable < 2) continue
          termination = "unreadable"
        } else if (trajectory.isFull(error)) termination = "contextWindow"
        else return yield* error
        yield* Effect.logWarning(`A ReAct chose no further tool: ${error.message}`)
        break
      }
      unreadable = 0
      const decision = choose.decision(chosen.right, rounds)
      const doing = decision.calls.filter((call) => call.name !== finish)
      const seen = yield* use(about.tools, doing, uses, concurrency)
      uses += doing.length
      rounds.push(round(number, decision, seen, capabilities))
      if (doing.length < decision.calls.length) {
        termination = "finished"
        break
      }
    }
    const outputs = yield* ask((rounds) => m.extract(about.extract(input, rounds)))
    // The overloads say what it answers.
    return { ...outputs, trajectory: rounds.flatMap(({ steps }) => steps), termination } as never
  }) as Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> // and what tools need and fail with
}

const whole = (name: string, value: number): void => {
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`ReAct: ${name} must be a whole number of at least 1, not ${value}`)
  }
}

// =============================================================================
// Rounds
// =============================================================================

// What the model wants done; `arguments` that are none are a text that says why.
interface Call {
  readonly id: string
  readonly name: string
  readonly arguments: Either.Either<Json.JsonRecord, string>
}

interface Decision {
  readonly thought: string
  readonly calls: ReadonlyArray<Call>
  /** The turn of the conversation it was made in, if there is one. */
  readonly turn: LanguageModel.Message | undefined
}

interface Seen extends observation.Observation {
  readonly failed: boolean
}

interface Round {
  readonly steps: ReadonlyArray<Step>
  /** How a conversation goes on with it. */
  readonly turns: ReadonlyArray<LanguageModel.Message>
  /** What was seen that is no text. */
  readonly parts: ReadonlyArray<LanguageModel.Part>
}

const round = (
  number: number,
  { calls, thought, turn }: Decision,
  seen: ReadonlyArray<Seen>,
  capabilities: LanguageModel.Capabilities
): Round => {
  const steps: Array<Step> = []
  const turns: Array<LanguageModel.Message> = turn === undefined ? [] : [turn]
  const parts: Array<LanguageModel.Part> = []
  const ends: Array<Step> = []
  let at = 0
  for (const { arguments: args, id, name } of calls) {
    const step = { round: number, thought: "", tool: name, arguments: Either.getOrElse(args, () => ({})) }
    const used = name === finish ? undefined : seen[at++]
    if (used === undefined) {
      ends.push({ ...step, observation: "", failed: false })
      continue
    }
    const shown = used.parts.filter((part) => isTaken(part, capabilities))
    const observation = shown.length === used.parts.length
      ? used.text
      : `${used.text} (which this model cannot be shown)`
    steps.push({ ...step, observation, failed: used.failed })
    turns.push({ role: "tool", toolCallId: id, content: observation })
    if (shown.length > 0) parts.push({ _tag: "Text", text: `From \`${name}\` in round ${number}:` }, ...shown)
  }
  // Not every service takes more than text as the answer of a tool.
  if (parts.length > 0) turns.push({ role: "user", content: parts })
  const [first, ...more] = [...steps, ...ends.slice(0, 1)]
  return { steps: first === undefined ? [] : [{ ...first, thought }, ...more], turns, parts }
}

const isTaken = (part: LanguageModel.Part, { audio, files, images }: LanguageModel.Capabilities): boolean => {
  switch (part._tag) {
    case "Text":
      return true
    case "Image":
      return images
    case "Audio":
      return audio
    case "File":
      return files
  }
}

const unread = (number: number, { problems, text }: Adapter.AdapterParseError): Round => {
  const observation = `Your answer could not be used: ${problems.map(({ description }) => description).join("; ")}`
  return {
    steps: [{ round: number, thought: text, tool: "", arguments: {}, observation, failed: true }],
    turns: [{ role: "user", content: observation }],
    parts: []
  }
}

const told = (rounds: ReadonlyArray<Round>): string =>
  rounds.map(({ steps }) =>
    steps.flatMap(({ arguments: args, observation, round, thought, tool }, index) => [
      ...(index === 0 ? [`Round ${round}`] : []),
      ...(thought === "" ? [] : [`Thought: ${thought}`]),
      ...(tool === "" ? [] : [`Tool: ${tool} ${JSON.stringify(args)}`]),
      ...(tool === finish ? [] : [`Observation: ${observation}`])
    ]).join("\n")
  ).join("\n\n")

// =============================================================================
// Using tools
// =============================================================================

const use = (
  known: ReadonlyMap<string, Tool.Any>,
  calls: ReadonlyArray<Call>,
  before: number,
  concurrency: number
): Effect.Effect<ReadonlyArray<Seen>> => {
  // All are read before anything is done.
  const read = Effect.forEach(
    calls,
    (call, index) => Effect.map(Effect.either(prepared(known, call)), (doing) => heard(call, before + index + 1, doing))
  )
  return Effect.flatMap(read, (uses) => Effect.all(uses, { concurrency }))
}

const prepared = (known: ReadonlyMap<string, Tool.Any>, { arguments: args, name }: Call) => {
  const tool = known.get(name)
  if (tool === undefined) {
    return new Tool.ToolError({
      tool: name,
      reason: "UnknownTool",
      description: `there is no such tool; there are ${[...known.keys(), finish].join(", ")}`
    })
  }
  if (Either.isLeft(args)) {
    return new Tool.ToolError({
      tool: name,
      reason: "InvalidArguments",
      description: `these arguments do not fit: ${args.left}`
    })
  }
  // It is run with what itself has read. What it fails with and needs is what the overloads of `make` say.
  return Effect.map(
    Tool.prepare(tool as Tool.Tool<string, unknown, unknown>, args.right),
    Effect.map(observation.of)
  )
}

const heard = (
  { arguments: args, name }: Call,
  number: number,
  doing: Either.Either<Effect.Effect<observation.Observation, Tool.ToolError>, Tool.ToolError>
): Effect.Effect<Seen> =>
  frame.with_(({ call, listener, path }) => {
    const source = { path, call, use: number, tool: name }
    const done: Effect.Effect<Seen> = Effect.flatten(doing).pipe(
      Effect.map((observation) => ({ ...observation, failed: false })),
      Effect.catchTag("ToolError", (error) =>
        Effect.succeed({ text: `It did not work. ${error.message}`, parts: [], failed: true }))
    )
    if (listener === undefined) {
      return done
    }
    const ended = (observation: string, failed: boolean) =>
      listener.emit([{ _tag: "ToolEnd", ...source, observation, failed }])
    return listener.emit([{ _tag: "ToolStart", ...source, arguments: Either.getOrElse(args, () => ({})) }]).pipe(
      Effect.zipRight(done),
      Effect.tap(({ failed, text }) =>
        ended(text, failed)
      ),
      // What ends the program its type has forgotten.
      Effect.tapErrorCause((cause) =>
        Option.match(Cause.failureOption(cause), {
          onNone: () => Effect.void,
          onSome: (error) => ended(observation.failure(error), true)
        })
      )
    )
  })

// =============================================================================
// What is asked
// =============================================================================

interface Way {
  readonly turn: (input: unknown, rounds: ReadonlyArray<Round>) => Predict.Turn
  readonly decision: (answered: Predict.Answered, before: ReadonlyArray<Round>) => Decision
}

interface Questions {
  readonly tools: ReadonlyMap<string, Tool.Any>
  readonly signature: Signature.Any
  readonly extraction: Signature.Any
  readonly natively: Way
  readonly inText: Way
  readonly extract: (input: unknown, rounds: ReadonlyArray<Round>) => Predict.Turn
}

const questions = (signature: Signature.Any, list: ReadonlyArray<Tool.Any>): Questions => {
  const tools = new Map(list.map((tool) => [tool.name, tool]))
  if (tools.has(finish)) throw new RangeError(`ReAct: no tool can be called "${finish}"; that is how the model ends`)
  if (tools.size < list.length) throw new RangeError("ReAct: two tools have the same name")
  free(signature)

  const choice = choosing(signature, {
    next_thought: Schema.String,
    next_tool_name: Schema.Literal(...tools.keys(), finish),
    next_tool_args: Json.JsonRecord
  })
  // What is read may name any tool, and the model learns that it is not there; `finish` needs no arguments.
  const lenient = choosing(signature, {
    next_thought: Schema.optionalWith(Schema.String, { default: () => "" }),
    next_tool_name: Schema.String,
    next_tool_args: Schema.optionalWith(Schema.Record({ key: Schema.String, value: Json.Json }), {
      default: () => ({})
    })
  })
  const extraction = ChainOfThought.withReasoning(trajectory.extracting(signature))
  const definitions = [...list.map(({ definition }) => definition), ending]
  const offer = offered(definitions)
  const name = codec.of(choice).outputs.find((wire) => wire.name === "next_tool_name")

  const asked = (input: unknown, rounds: ReadonlyArray<Round>) => ({
    ...input as object, // the inputs of a signature
    trajectory: told(rounds)
  })

  return {
    tools,
    signature: choice,
    extraction,
    natively: {
      turn: (input, rounds) => ({
        signature: lenient,
        input: asked(input, rounds),
        adapter: () =>
          toolCalls.adapter({
            task: signature,
            choice,
            tools: definitions,
            finish,
            turns: rounds.flatMap(({ turns }) => turns)
          })
      }),
      decision: ({ output, value }, before) => {
        const thought = String(value["next_thought"])
        if (output.toolCalls.length === 0) {
          return { thought, calls: [{ id: "", name: finish, arguments: Either.right({}) }], turn: undefined }
        }
        const called = withIds(output.toolCalls, before)
        return {
          thought,
          calls: called.map((call) => ({ ...call, arguments: toolCalls.read(call.arguments) })),
          turn: LanguageModel.toMessage({ ...output, toolCalls: called.map(toolCalls.repeatable) })
        }
      }
    },
    inText: {
      turn: (input, rounds) => ({
        signature: lenient,
        input: asked(input, rounds),
        adapter: (chosen) =>
          changed(chosen, (format, input) =>
            withParts(
              format({
                ...input,
                signature: choice,
                instructions: `${input.instructions}\n\n${offer}`,
                inputs: withPast(signature, input.inputs)
              }),
              rounds
            ))
      }),
      decision: ({ value: { next_thought, next_tool_args, next_tool_name } }) => ({
        thought: String(next_thought),
        calls: [{
          id: "",
          name: String(name?.reader.text(String(next_tool_name), coerce.notes()) ?? next_tool_name),
          arguments: Json.isJsonRecord(next_tool_args)
            ? Either.right(next_tool_args)
            : Either.left("they are not a JSON object")
        }],
        turn: undefined
      })
    },
    extract: (input, rounds) => ({
      signature: extraction,
      input: asked(input, rounds),
      adapter: (chosen) => changed(chosen, (format, input) => withParts(format(input), rounds))
    })
  }
}

// Some services leave ids out, or count anew in each answer; in a conversation each call needs one of its own.
const withIds = (
  calls: ReadonlyArray<LanguageModel.ToolCall>,
  before: ReadonlyArray<Round>
): ReadonlyArray<LanguageModel.ToolCall> => {
  const taken = new Set(["", ...before.flatMap(({ turns }) => turns.flatMap(({ toolCallId = "" }) => toolCallId))])
  return calls.map((call) => {
    let { id } = call
    for (let n = taken.size; taken.has(id); n++) id = `call_${n}`
    taken.add(id)
    return { ...call, id }
  })
}

const ending: LanguageModel.ToolDefinition = {
  name: finish,
  description: "Ends the rounds, once all that is needed is known.",
  parameters: { type: "object", properties: {}, additionalProperties: false }
}

// Names that this module gives to fields of its own.
const inputNames = new Set(["trajectory", "next_thought", "next_tool_name", "next_tool_args"])
const outputNames = new Set(["reasoning", "trajectory", "termination"])

const free = (signature: Signature.Any): void => {
  const { inputs, outputs } = Signature.fields(signature)
  const taken = inputs.find(({ name }) => inputNames.has(name)) ??
    outputs.find(({ name }) => outputNames.has(name))
  if (taken !== undefined) {
    throw new RangeError(`ReAct: no ${taken.kind} field can be called "${taken.name}"; give it another name`)
  }
}

const offered = (tools: ReadonlyArray<LanguageModel.ToolDefinition>): string =>
  [
    "In each round you think, and name one of these tools with its arguments as a JSON object. You are then shown what it says:",
    ...tools.map(({ description, name, parameters }, index) =>
      `${index + 1}. ${name}: ${description} Arguments: ${JSON.stringify(parameters)}`
    )
  ].join("\n")

const choosing = (signature: Signature.Any, output: Signature.Fields): Signature.Any => {
  const { inputs, outputs } = Signature.fields(signature)
  return Signature.make({
    instructions: `${signature.instructions}\n\nYou are given ${
      trajectory.namesOf(inputs)
    } and can use tools to find out what is needed for ${
      trajectory.namesOf(outputs)
    }. In view of the trajectory so far, decide what to do next.`,
    // Of the inputs the compiler knows nothing, which `{}` says.
    input: { ...signature.input.fields as {}, trajectory: trajectory.field },
    output
  })
}

// The same adapter, and those it falls back to, with other requests.
const changed = (
  self: Adapter.Adapter,
  change: (format: Adapter.Adapter["format"], input: Adapter.FormatInput) => LanguageModel.Request
): Adapter.Adapter =>
  self.recoveries.reduce<Adapter.Adapter>(
    (adapter, recovery) =>
      recovery._tag === "Reask"
        ? Adapter.reask(adapter)
        : Adapter.orElse(adapter, changed(recovery.adapter, change)),
    Adapter.make({ ...self, format: (input) => change(self.format, input) })
  )

// Earlier turns of a conversation end as rounds do, with what was answered then for a thought.
const withPast = (signature: Signature.Any, inputs: Json.JsonRecord): Json.JsonRecord => {
  const { history, outputs } = codec.of(signature)
  const turns = history === undefined ? undefined : inputs[history.name]
  if (history === undefined || !Array.isArray(turns)) return inputs
  return {
    ...inputs,
    [history.name]: turns.map((turn) => ({
      ...turn,
      next_thought: toolCalls.said(outputs, turn),
      next_tool_name: finish,
      next_tool_args: {}
    }))
  }
}

// What was seen that is no text stands behind the question.
const withParts = (request: LanguageModel.Request, rounds: ReadonlyArray<Round>): LanguageModel.Request => {
  const parts = rounds.flatMap((round) => round.parts)
  const question = request.messages.at(-1)
  if (parts.length === 0 || question === undefined) return request
  const { content } = question
  return {
    ...request,
    messages: [
      ...request.messages.slice(0, -1),
      {
        ...question,
        content: [
          ...(typeof content === "string" ? [{ _tag: "Text" as const, text: content }] : content),
          ...parts
        ]
      }
    ]
  }
}
