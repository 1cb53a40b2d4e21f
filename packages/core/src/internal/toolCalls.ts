/**
 * Tools the native way: offered beside the messages of a request, called beside
 * the text of its answer.
 */
import * as Either from "effect/Either"
import * as Adapter from "../Adapter.ts"
import * as Json from "../Json.ts"
import type * as LanguageModel from "../LanguageModel.ts"
import type * as Parameters from "../Parameters.ts"
import type * as Signature from "../Signature.ts"
import * as codec from "./codec.ts"
import * as jsonText from "./jsonText.ts"
import * as prompt from "./prompt.ts"

/**
 * What is asked in one round of a conversation.
 */
export interface Round {
  /** The inputs of what is to be found out, and its outputs. */
  readonly task: Signature.Any
  /** The same with the trajectory, as demonstrations have it. */
  readonly choice: Signature.Any
  readonly tools: ReadonlyArray<LanguageModel.ToolDefinition>
  /** The tool that ends the rounds. An answer without a call does so too, as `finish` would. */
  readonly ending: "submit" | "finish"
  /** What was said after the first question. */
  readonly turns: ReadonlyArray<LanguageModel.Message>
}

/**
 * Asks for calls of tools. What is read of the answer is its text as
 * `next_thought`, and its first call.
 */
export const adapter = ({ choice, ending, task, tools, turns }: Round): Adapter.Adapter =>
  Adapter.make({
    name: "tools",
    format: (input) => {
      const [system, ...question] = messages[ending]({ ...input, signature: task, demos: [] })
      return {
        messages: [
          ...(system === undefined ? [] : [system]),
          ...input.demos.flatMap((demo, index) => example(choice, tools, demo, index)),
          ...question,
          ...turns
        ],
        tools
      }
    },
    parser: (_, use) => use(parser)
  })

const asking = (ending: Round["ending"], last: string) =>
  prompt.messages({
    structure: () =>
      `Find out with tools what the output fields need. Say in a sentence what you think, then call a tool, or several at once if none needs what another one says. When nothing is missing, call \`${ending}\`${last}.`,
    answer: ({ outputs }, values) => said(outputs, values), // of earlier turns: demonstrations are calls here
    reminder: () => `Use the tools, then call \`${ending}\`.`
  })

const messages = {
  submit: asking("submit", " with the output fields as its arguments"),
  finish: asking("finish", ": the output fields are asked for after that, not now")
}

/**
 * What was answered once, as a text.
 */
export const said = (outputs: ReadonlyArray<codec.Wire>, values: Json.JsonRecord): string => {
  const lines = outputs.flatMap((wire) =>
    prompt.isGiven(wire, values) ? [`${wire.name}: ${codec.valueText(wire, values[wire.name]!)}`] : [] // isGiven: the key is there
  )
  return lines.join("\n")
}

// -----------------------------------------------------------------------------
// Demonstrations
// -----------------------------------------------------------------------------

// A call must be answered, and what was is not known.
const unanswered = "(not shown in this example)"

const example = (
  choice: Signature.Any,
  tools: Round["tools"],
  { values }: Parameters.Demo,
  index: number
): ReadonlyArray<LanguageModel.Message> => {
  const { next_thought: thought, next_tool_args: args, next_tool_name: name } = values
  if (!Json.isJsonRecord(args) || !tools.some((tool) => tool.name === name) || typeof name !== "string") return []
  const id = `example_${index + 1}`
  return [
    { role: "user", content: prompt.asked(codec.of(choice).inputs, values) },
    {
      role: "assistant",
      content: typeof thought === "string" ? thought : "",
      toolCalls: [{ id, name, arguments: JSON.stringify(args) }]
    },
    { role: "tool", toolCallId: id, content: unanswered }
  ]
}

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

const fields = ["next_thought", "next_tool_name", "next_tool_args"] as const

interface State {
  readonly text: string
  readonly reasoning: string
  readonly name: string | undefined
  readonly args: string
  /** The field that is being written, by its number; -1 before the first one. */
  readonly at: number
}

const initial: State = { text: "", reasoning: "", name: undefined, args: "", at: -1 }

// Fields are written one after the other: more of an earlier one is read, but no longer told.
const written = (state: State, at: number, text: string): readonly [State, ReadonlyArray<Adapter.FieldEvent>] => {
  const field = fields[at]
  if (field === undefined || at < state.at) return [state, []]
  const delta: ReadonlyArray<Adapter.FieldEvent> = text === "" ? [] : [{ _tag: "FieldDelta", field, text }]
  return at === state.at
    ? [state, delta]
    : [{ ...state, at }, [...ended(state), { _tag: "FieldStart", field }, ...delta]]
}

const ended = ({ at }: State): ReadonlyArray<Adapter.FieldEvent> => {
  const field = fields[at]
  return field === undefined ? [] : [{ _tag: "FieldEnd", field }]
}

const parser: Adapter.Parser<State> = {
  initial,
  step: (state, text) => text === "" ? [state, []] : written({ ...state, text: state.text + text }, 0, text),
  beside: (state, delta) => {
    if (delta._tag === "ReasoningDelta") return [{ ...state, reasoning: state.reasoning + delta.text }, []]
    if (delta._tag !== "ToolCallDelta" || delta.call !== 0) return [state, []]
    const { arguments: args, name = "" } = delta
    const [named, first] = written({ ...state, name: (state.name ?? "") + name }, 1, name)
    if (args === "") return [named, first]
    const [next, second] = written({ ...named, args: named.args + args }, 2, args)
    return [next, [...first, ...second]]
  },
  end: (state) => {
    const { args, name, reasoning, text } = state
    const thought = text.trim() === "" ? reasoning.trim() : text.trim()
    return thought === "" && name === undefined
      ? [[], Either.left({ kind: "empty", description: "the answer is empty: there is neither text nor a tool call" })]
      : [
        ended(state),
        Either.right({
          fields: new Map<string, Adapter.Raw>([
            ["next_thought", { _tag: "Text", text: thought }],
            ["next_tool_name", { _tag: "Text", text: name ?? "finish" }],
            ["next_tool_args", { _tag: "Json", value: Either.getOrElse(read(args), () => ({})) }]
          ]),
          repairs: []
        })
      ]
  }
}

const maxLength = 10 * 1024 * 1024

/**
 * The arguments of a call, or what is wrong with them. They are not mended: what
 * a tool does cannot be taken back.
 */
export const parse = (text: string): Either.Either<Json.JsonRecord, Adapter.Problem> => {
  if (text.trim() === "") return Either.right({})
  if (text.length > maxLength) return Either.left({ kind: "size", description: "they are longer than 10 MiB" })
  const reader = new jsonText.Reader()
  const end = reader.read(text, 0)
  reader.end()
  if (reader.status !== "done") return Either.left(reader.problem)
  const [repair] = reader.repairs
  const wrong = (description: string) => Either.left<Adapter.Problem>({ kind: "syntax", description })
  return repair !== undefined
    ? wrong(`the JSON is not valid: ${repair}`)
    : text.slice(end).trim() !== ""
    ? wrong("there is text behind the JSON")
    : Json.isJsonRecord(reader.value)
    ? Either.right(reader.value)
    : wrong("they are not a JSON object")
}

/** The same, with what is wrong as a model is told. */
export const read = (text: string): Either.Either<Json.JsonRecord, string> =>
  Either.mapLeft(parse(text), Adapter.describe)

/**
 * A call as any service takes it back, when a conversation goes on with it: some
 * refuse names that are none, and arguments that are not JSON.
 */
export const repeatable = (call: LanguageModel.ToolCall): LanguageModel.ToolCall => ({
  ...call,
  name: call.name.replaceAll(/[^A-Za-z0-9_-]/g, "_").slice(0, 64) || "unknown",
  arguments: Either.match(parse(call.arguments), {
    onLeft: () => JSON.stringify({ arguments: call.arguments }),
    onRight: () => call.arguments.trim() === "" ? "{}" : call.arguments
  })
})
