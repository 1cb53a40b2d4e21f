/**
 * `ReAct` answers with the help of tools: the model thinks, uses tools, reads what
 * they say, and so on until it knows enough.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type * as Adapter from "./Adapter.ts"
import type * as Agent from "./Agent.ts"
import * as ChainOfThought from "./ChainOfThought.ts"
import * as agent from "./internal/agent.ts"
import * as asking from "./internal/asking.ts"
import * as codec from "./internal/codec.ts"
import * as coerce from "./internal/coerce.ts"
import * as observation from "./internal/observation.ts"
import { resolve } from "./internal/signatureSource.ts"
import * as submission from "./internal/submission.ts"
import * as toolCalls from "./internal/toolCalls.ts"
import * as toolUse from "./internal/toolUse.ts"
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
 * What a ReAct answers: the outputs of the signature, the reasoning that led to
 * them, and how it came to know. A step has `failed` if its tool was not there, not
 * called rightly, or failed, and if what it submitted are not the outputs.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<S extends Signature.Any> = Agent.Answer<S, Agent.ToolStep>

/**
 * `maxIters` is 20 by default. `maxOutput` has no default: a tool says what it was
 * made to say, and knows best how to say less.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any>> extends Agent.Options<Tools> {
  /** What may be used. What they need and what ends the program appears in the type of the module. */
  readonly tools: Tools
  /**
   * How the model ends the rounds. With `submit`, the default, it gives the
   * outputs as the arguments of a tool of that name. With `finish` it only says
   * that it knows enough, and is asked for the outputs after that, as by DSPy's
   * `ReAct`: one call more, in which it may reason about them, and which is
   * tuned by itself.
   */
  readonly ending?: "submit" | "finish" | undefined
  /**
   * Whether tools are offered and called the way of the model's API (`native`)
   * or in the text of the answer (`text`), which an adapter writes and reads. By
   * default it is `native` if the model's capabilities say that it has tools.
   */
  readonly toolCalls?: "native" | "text" | undefined
  /** How many calls of one round are under way at once, 8 by default. With 1 each waits for the one before it. */
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

/**
 * A module that may use tools before it answers.
 *
 * It ends with the tool `submit`, whose arguments are the outputs of the signature,
 * read as any answer is; with arguments that are not the outputs, the model is told
 * what is wrong and may submit again. Other tools called beside it are used first,
 * and if one of them fails, the outputs are not taken: the model had not seen that
 * when it wrote them. Where nothing is submitted, since there were `maxIters` or
 * the model just stopped using tools, the outputs are asked for after the rounds.
 *
 * Its predictors are `react`, which chooses the next tools, and `extract.predict`,
 * which makes the outputs of what happened; both are tuned and saved as in DSPy.
 * State files of DSPy's, whose models call `finish`, work: `finish` is understood
 * whatever the `ending`. The list of tools is told to the model beside its
 * instructions, so that new instructions cannot lose it. The outputs stream from
 * `extract.predict`, also while they are written as arguments of `submit`.
 *
 * A model that has tools is offered them in its own way, and what they say
 * becomes part of one conversation, which providers can cache from its beginning;
 * it may call several at once. Any other model is told of them in the prompt, and
 * calls one in each round by fields of its answer. Demonstrations and instructions
 * serve both ways; of an answer with several calls a demonstration keeps the first
 * one.
 *
 * A tool that fails, breaks, is not there or is called wrongly is an observation
 * like any other, unless it was made with `failureMode: "error"`. So is an answer
 * that cannot be read, once. When the context of the model is full, the oldest
 * rounds are left out, up to three times for each question to the model, and the
 * latest one never; if that is not enough for the outputs, it fails with
 * `ContextWindowExceeded`. Other failures of the model, a budget that is used up
 * among them, are those of the module.
 *
 * Throws a `RangeError` for tools that cannot be told apart or are called `submit`
 * or `finish`, and for a signature with fields of names that are needed here.
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
 *     TestLanguageModel.toolCalls([{ name: "submit", arguments: { answer: "No." } }], "The sun shines in both.")
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ answer, reasoning, termination, trajectory }) => {
 *   assert.deepStrictEqual([answer, reasoning, termination], ["No.", "The sun shines in both.", "submitted"])
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
  { concurrency = 8, ending = "submit", maxIters = 20, maxOutput, toolCalls: way, tools, ...options }: Options<
    ReadonlyArray<Tool.Any>
  >
): Module.Module<unknown, never, Predict.PredictError, LanguageModel.LanguageModel> => {
  const signature = resolve(source)
  agent.limits("ReAct", { concurrency, maxIters, ...(maxOutput === undefined ? undefined : { maxOutput }) })
  const about = questions(signature, tools, ending)
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
    const telling = yield* ending === "submit"
      ? submission.telling(signature, about.extraction, "extract.predict")
      : Effect.succeed(submission.silent)
    let uses = 0
    const answer = yield* agent.work({
      module: "ReAct",
      maxIters,
      ask: (rounds: ReadonlyArray<Round>) =>
        Effect.map(
          telling.watched(m.react(choose.turn(input, rounds))),
          (answered) => choose.decision(answered, rounds)
        ),
      act: (decision, number) =>
        Effect.gen(function*() {
          const { calls } = decision
          const used = yield* use(about, calls, { before: uses, concurrency, maxOutput })
          uses += used.size
          const made = (seen: ReadonlyMap<Call, Seen>) => round(number, decision, seen, capabilities)
          const verdict = yield* submitted(about, calls, used)
          if (verdict === undefined) {
            // What was told may have been a name that only looks like that of a submission.
            yield* telling.refused("nothing was submitted")
            return { round: made(used), end: calls.some(({ name }) => name === finish) ? "finished" : undefined }
          }
          if (Either.isLeft(verdict)) {
            yield* telling.refused(verdict.left)
            return { round: made(new Map([...used, ...refused(about, calls, verdict.left)])) }
          }
          const { encoded, value: outputs } = verdict.right
          yield* telling.taken({ reasoning: decision.thought, ...encoded })
          return { round: made(used), end: { outputs } }
        }),
      unread,
      extract: (rounds) => Effect.zipRight(telling.missed, m.extract(about.extract(input, rounds)))
    }).pipe(Effect.tapError(() => telling.missed))
    return answer as never // what the overloads say
  })
}

// =============================================================================
// Rounds
// =============================================================================

const { finish, submit } = agent

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

interface Round extends agent.Round<Agent.ToolStep> {
  /** How a conversation goes on with it. */
  readonly turns: ReadonlyArray<LanguageModel.Message>
  /** What was seen that is no text. */
  readonly parts: ReadonlyArray<LanguageModel.Part>
}

const round = (
  number: number,
  { calls, thought, turn }: Decision,
  seen: ReadonlyMap<Call, Seen>,
  capabilities: LanguageModel.Capabilities
): Round => {
  const steps: Array<Agent.ToolStep> = []
  const turns: Array<LanguageModel.Message> = turn === undefined ? [] : [turn]
  const parts: Array<LanguageModel.Part> = []
  // Of what says that this is the end, outputs say it best.
  let end: Agent.ToolStep | undefined
  for (const call of calls) {
    const { arguments: args, id, name } = call
    const step = { round: number, thought: "", tool: name, arguments: Either.getOrElse(args, () => ({})) }
    const used = seen.get(call)
    if (used === undefined) {
      if (end === undefined || name === submit) end = { ...step, observation: "", failed: false }
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
  const [first, ...more] = end === undefined ? steps : [...steps, end]
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

const unread = (step: Agent.Step): Round => ({
  steps: [{ ...step, tool: "", arguments: {} }],
  turns: [{ role: "user", content: step.observation }],
  parts: []
})

// =============================================================================
// Using tools
// =============================================================================

const use = (
  about: Questions,
  calls: ReadonlyArray<Call>,
  { before, concurrency, maxOutput = Infinity }: {
    readonly before: number
    readonly concurrency: number
    readonly maxOutput: number | undefined
  }
): Effect.Effect<ReadonlyMap<Call, Seen>> => {
  const used = (
    call: Call,
    number: number,
    ready: Either.Either<Effect.Effect<unknown, Tool.ToolError>, Tool.ToolError>
  ) =>
    toolUse.heard(
      { use: number, tool: call.name, arguments: Either.getOrElse(call.arguments, () => ({})) },
      Effect.flatten(ready).pipe(
        Effect.map((result): Seen => ({ ...observation.of(result), failed: false })),
        Effect.catchTag("ToolError", (error) => Effect.succeed(failure(error.message))),
        Effect.map((seen) => ({ ...seen, text: agent.clipped(seen.text, maxOutput) }))
      ),
      (seen) => seen
    )
  // All are read before anything is done.
  const ready = Effect.forEach(
    calls.filter(({ name }) => !about.ends.has(name)),
    (call, index) =>
      Effect.map(
        Effect.either(prepared(about, call)),
        (ready) => Effect.map(used(call, before + index + 1, ready), (seen) => [call, seen] as const)
      )
  )
  return Effect.map(Effect.flatMap(ready, (uses) => Effect.all(uses, { concurrency })), (seen) => new Map(seen))
}

const failure = (description: string): Seen => ({ text: `It did not work. ${description}`, parts: [], failed: true })

const prepared = ({ ending, tools }: Questions, { arguments: args, name }: Call) => {
  const tool = tools.get(name)
  if (tool === undefined) {
    return new Tool.ToolError({
      tool: name,
      reason: "UnknownTool",
      description: `there is no such tool; there are ${[...tools.keys(), ending].join(", ")}`
    })
  }
  return Either.isRight(args) ? toolUse.prepared(tool, args.right) : new Tool.ToolError({
    tool: name,
    reason: "InvalidArguments",
    description: `these arguments do not fit: ${args.left}`
  })
}

// What was submitted, if something was: the outputs, or why they are none.
const submitted = (
  { ends, task }: Questions,
  calls: ReadonlyArray<Call>,
  used: ReadonlyMap<Call, Seen>
): Effect.Effect<Either.Either<Adapter.Decoded, string> | undefined> => {
  const [first, ...more] = calls.filter(({ name }) => name === submit && ends.has(name))
  if (first === undefined) return Effect.succeed(undefined)
  const problem = more.length > 0
    ? "call it once, with all outputs"
    : Array.from(used.values()).some(({ failed }) => failed)
    ? "what was called beside it failed; see what it says, and submit again"
    : Either.isLeft(first.arguments)
    ? `these arguments do not fit: ${first.arguments.left}`
    : undefined
  return problem === undefined
    ? submission.read(task, Either.getOrElse(first.arguments, () => ({})))
    : Effect.succeed(Either.left(problem))
}

// The rounds go on, and every call has an answer.
const refused = ({ ends }: Questions, calls: ReadonlyArray<Call>, problem: string) =>
  calls.filter(({ name }) => ends.has(name)).map((call) => [call, failure(`${call.name}: ${problem}`)] as const)

// =============================================================================
// What is asked
// =============================================================================

interface Way {
  readonly turn: (input: unknown, rounds: ReadonlyArray<Round>) => Predict.Turn
  readonly decision: (answered: Predict.Answered, before: ReadonlyArray<Round>) => Decision
}

type Ending = "submit" | "finish"

interface Questions {
  readonly task: Signature.Any
  readonly tools: ReadonlyMap<string, Tool.Any>
  readonly ending: Ending
  /** What calls nothing, but says that this is the end. */
  readonly ends: ReadonlySet<string>
  readonly signature: Signature.Any
  readonly extraction: Signature.Any
  readonly natively: Way
  readonly inText: Way
  readonly extract: (input: unknown, rounds: ReadonlyArray<Round>) => Predict.Turn
}

const questions = (signature: Signature.Any, list: ReadonlyArray<Tool.Any>, ending: Ending): Questions => {
  const tools = new Map(list.map((tool) => [tool.name, tool]))
  for (const name of [submit, finish]) {
    if (tools.has(name)) throw new RangeError(`ReAct: no tool can be called "${name}"; that is how the model ends`)
  }
  if (tools.size < list.length) throw new RangeError("ReAct: two tools have the same name")
  agent.free("ReAct", signature, { inputs: ["trajectory", "next_thought", "next_tool_name", "next_tool_args"] })

  const choice = choosing(signature, {
    next_thought: Schema.String,
    next_tool_name: Schema.Literal(...tools.keys(), ending),
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
  const extraction = ChainOfThought.withReasoning(agent.extracting(signature))
  const definitions = [
    ...list.map(({ definition }) => definition),
    ending === "submit" ? submission.definition(signature) : finishing
  ]
  const offer = offered(definitions, ending)
  const name = codec.of(choice).outputs.find((wire) => wire.name === "next_tool_name")

  const asked = (input: unknown, rounds: ReadonlyArray<Round>) => ({
    ...input as object, // the inputs of a signature
    trajectory: agent.told(rounds)
  })

  return {
    task: signature,
    tools,
    ending,
    ends: new Set([ending, finish]),
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
            ending,
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
          asking.changed(chosen, (format, input) =>
            withParts(
              format({
                ...input,
                signature: choice,
                instructions: `${input.instructions}\n\n${offer}`,
                inputs: asking.withPast(signature, input.inputs, ended(signature, ending))
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
      adapter: (chosen) => asking.changed(chosen, (format, input) => withParts(format(input), rounds))
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

const finishing: LanguageModel.ToolDefinition = {
  name: finish,
  description: "Ends the rounds, once all that is needed is known.",
  parameters: { type: "object", properties: {}, additionalProperties: false }
}

const offered = (tools: ReadonlyArray<LanguageModel.ToolDefinition>, ending: Ending): string =>
  [
    `In each round you think, and name one of these tools with its arguments as a JSON object. You are then shown what it says. When nothing is missing, ${
      ending === "submit" ? "name `submit`, with the outputs as its arguments" : "name `finish`"
    }:`,
    ...tools.map(({ description, name, parameters }, index) =>
      `${index + 1}. ${name}: ${description} Arguments: ${JSON.stringify(parameters)}`
    )
  ].join("\n")

const choosing = (signature: Signature.Any, output: Signature.Fields): Signature.Any => {
  const { inputs, outputs } = Signature.fields(signature)
  return Signature.make({
    instructions: `${signature.instructions}\n\nYou are given ${
      agent.namesOf(inputs)
    } and can use tools to find out what is needed for ${
      agent.namesOf(outputs)
    }. In view of the trajectory so far, decide what to do next.`,
    input: { ...agent.inputsOf(signature), trajectory: agent.field },
    output
  })
}

// How an earlier turn of a conversation has ended.
const ended = (signature: Signature.Any, ending: Ending) => (outputs: Json.JsonRecord): Json.JsonRecord =>
  ending === "submit"
    ? { next_thought: "", next_tool_name: submit, next_tool_args: outputs }
    : { next_thought: toolCalls.said(codec.of(signature).outputs, outputs), next_tool_name: finish, next_tool_args: {} }

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
