/**
 * Fields that a model gives beside the text of its answer, if it can: its
 * reasoning, what the answer rests on, calls of tools. Where it cannot, they are
 * fields like any other, written in the text.
 */
import * as Either from "effect/Either"
import * as AST from "effect/SchemaAST"
import * as Adapter from "../Adapter.ts"
import type * as Json from "../Json.ts"
import type * as LanguageModel from "../LanguageModel.ts"
import * as Signature from "../Signature.ts"
import { AnnotationId, type Source } from "./nativeName.ts"
import * as prompt from "./prompt.ts"
import * as toolCalls from "./toolCalls.ts"

const sourceOf = (ast: AST.AST): Source | undefined => {
  const own = ast.annotations[AnnotationId] as Source | undefined // nobody else knows the symbol
  if (own !== undefined) return own
  if (AST.isUnion(ast)) return ast.types.map(sourceOf).find((source) => source !== undefined)
  // `Tool[]`
  return AST.isTupleType(ast) && ast.rest[0] !== undefined && sourceOf(ast.rest[0].type) === "tools"
    ? "tools"
    : undefined
}

type Names = { readonly [S in Source]?: string }

const known = new WeakMap<Signature.Any, Names>()

const none: Names = {}

const namesOf = (signature: Signature.Any): Names => {
  let names = known.get(signature)
  if (names === undefined) {
    const { inputs, outputs } = Signature.fields(signature)
    const found = [...inputs, ...outputs].flatMap(({ kind, name, schema }) => {
      const source = sourceOf(schema.ast)
      return source !== undefined && (source === "tools") === (kind === "input") ? [[source, name] as const] : []
    })
    names = found.length === 0 ? none : Object.fromEntries(found)
    known.set(signature, names)
  }
  return names
}

/**
 * The adapter by which a call is asked: the one that was chosen, unless the model
 * gives some of the fields beside the text. Then those are neither asked for nor
 * shown, and read from there.
 */
export const over = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  capabilities: LanguageModel.Capabilities,
  { reasoningEffort = "none" }: LanguageModel.Settings
): Adapter.Adapter => {
  const names = namesOf(signature)
  // A free answer, from which another model takes the fields, has no fields of its own.
  if (names === none || adapter.extraction !== undefined) return adapter
  const { citations, reasoning, toolCalls, tools } = names
  const active: { -readonly [S in Source]?: string } = {}
  if (capabilities.tools && toolCalls !== undefined && tools !== undefined) Object.assign(active, { toolCalls, tools })
  let written = Object.keys(signature.output.fields).length - (active.toolCalls === undefined ? 0 : 1)
  const take = (source: Source, name: string | undefined, can: boolean) => {
    // Something has to be asked for: a field in the text, or calls.
    if (name === undefined || !can || (written === 1 && active.toolCalls === undefined)) return
    active[source] = name
    written--
  }
  take("reasoning", reasoning, capabilities.reasoning && reasoningEffort !== "none")
  take("citations", citations, capabilities.citations)
  if (Object.keys(active).length === 0) return adapter
  return wrapped(adapter, active)
}

const wrapped = (adapter: Adapter.Adapter, active: Names): Adapter.Adapter => ({
  ...Adapter.make({
    name: adapter.name,
    format: (input) => format(adapter, active, input),
    parser: (signature, use) => {
      const rest = without(signature, active)
      return rest === undefined
        ? use(beside(nothing, active))
        : adapter.parser(rest, (parser) => use(beside(parser, active)))
    }
  }),
  recoveries: adapter.recoveries.map((recovery) =>
    recovery._tag === "Fallback" ? { ...recovery, adapter: wrapped(recovery.adapter, active) } : recovery
  )
})

// -----------------------------------------------------------------------------
// Asking
// -----------------------------------------------------------------------------

const reduced = new WeakMap<Signature.Any, Map<string, Signature.Any | undefined>>()

// The signature of what is left to be written in the text; undefined where that is nothing.
const without = (signature: Signature.Any, active: Names): Signature.Any | undefined => {
  const gone = new Set(Object.values(active))
  const key = [...gone].join()
  const made = reduced.get(signature) ?? new Map<string, Signature.Any | undefined>()
  reduced.set(signature, made)
  if (!made.has(key)) {
    // Fields of a signature, so they need no services.
    const left = (fields: object) =>
      Object.fromEntries(Object.entries(fields).filter(([name]) => !gone.has(name))) as Signature.Fields
    const output = left(signature.output.fields)
    made.set(
      key,
      Object.keys(output).length === 0
        ? undefined
        : Signature.make({ instructions: signature.instructions, input: left(signature.input.fields), output })
    )
  }
  return made.get(key)
}

// Where nothing is to be written, calls are all that is asked for.
const calls = prompt.messages({
  structure: () => "Do not write the output fields: answer with calls of the tools.",
  answer: ({ outputs }, values) => prompt.sections(outputs, values),
  reminder: () => "Call the tools that the task needs."
})

const format = (
  adapter: Adapter.Adapter,
  active: Names,
  { inputs, ...input }: Adapter.FormatInput
): LanguageModel.Request => {
  const { tools, ...rest } = active
  const values = Object.fromEntries(Object.entries(inputs).filter(([name]) => name !== tools))
  const left = without(input.signature, active)
  const { responseFormat, ...request }: LanguageModel.Request = left === undefined
    ? { messages: calls({ ...input, inputs: values }) }
    : adapter.format({ ...input, signature: left, inputs: values })
  const offered = tools === undefined ? undefined : inputs[tools]
  return {
    ...request,
    // Providers cite, and call tools, in free text only; the prompt asks for the form in words as well.
    ...(responseFormat === undefined || "citations" in rest || "toolCalls" in rest ? undefined : { responseFormat }),
    // Encoded by the schema of tools.
    ...(offered === undefined
      ? undefined
      : { tools: offered as unknown as ReadonlyArray<LanguageModel.ToolDefinition> })
  }
}

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

interface State<S> {
  readonly inner: S
  readonly text: string
  readonly reasoning: string
  /** Whether the reasoning is told of as a field: not yet, now, or no longer. */
  readonly told: "before" | "now" | "after"
  readonly citations: ReadonlyArray<LanguageModel.Citation>
  readonly calls: ReadonlyMap<number, { readonly id: string; readonly name: string; readonly arguments: string }>
}

const empty: Either.Either<Adapter.Parsed> = Either.right({ fields: new Map(), repairs: [] })

const nothing: Adapter.Parser<null> = {
  initial: null,
  step: (state) => [state, []],
  end: () => [[], empty]
}

const beside = <S>(parser: Adapter.Parser<S>, active: Names): Adapter.Parser<State<S>> => {
  const { citations, reasoning, toolCalls } = active
  const closed = (state: State<S>): readonly [State<S>, ReadonlyArray<Adapter.FieldEvent>] =>
    state.told !== "now" || reasoning === undefined
      ? [state, []]
      : [{ ...state, told: "after" }, [{ _tag: "FieldEnd", field: reasoning }]]
  return {
    initial: {
      inner: parser.initial,
      text: "",
      reasoning: "",
      told: "before",
      citations: [],
      calls: new Map()
    },
    step: (state, text) => {
      if (text === "") return [state, []]
      const [next, before] = closed(state)
      const [inner, events] = parser.step(next.inner, text)
      // Only citations have to know the text that they are of.
      return [
        { ...next, inner, text: citations === undefined ? "" : next.text + text },
        before.length === 0 ? events : [...before, ...events]
      ]
    },
    beside: (state, delta) => {
      switch (delta._tag) {
        case "ReasoningDelta": {
          if (reasoning === undefined) return [state, []]
          const next: State<S> = { ...state, reasoning: state.reasoning + delta.text }
          if (state.told === "after") return [next, []]
          const piece = { _tag: "FieldDelta", field: reasoning, text: delta.text } as const
          return [
            { ...next, told: "now" },
            state.told === "now" ? [piece] : [{ _tag: "FieldStart", field: reasoning }, piece]
          ]
        }
        case "CitationDelta":
          return [citations === undefined ? state : { ...state, citations: [...state.citations, delta.citation] }, []]
        case "ToolCallDelta": {
          if (toolCalls === undefined) return [state, []]
          const call = state.calls.get(delta.call) ?? { id: "", name: "", arguments: "" }
          const more = {
            id: delta.id ?? call.id,
            name: call.name + (delta.name ?? ""),
            arguments: call.arguments + delta.arguments
          }
          return [{ ...state, calls: new Map([...state.calls, [delta.call, more]]) }, []]
        }
      }
    },
    end: (state) => {
      const [{ calls, text, ...found }, before] = closed(state)
      const [events, parsed] = parser.end(found.inner)
      const read = Either.all(Array.from(calls.values(), callOf))
      if (Either.isLeft(read)) return [[...before, ...events], Either.left(read.left)]
      // Text beside calls counts if it can be read, and is no answer without them.
      const rest = Either.isLeft(parsed) && calls.size > 0 ? empty : parsed
      return [
        [...before, ...events],
        Either.map(rest, ({ fields, repairs }) => {
          const whole = new Map<string, Adapter.Raw>(fields)
          if (reasoning !== undefined) whole.set(reasoning, { _tag: "Text", text: found.reasoning })
          if (toolCalls !== undefined) whole.set(toolCalls, { _tag: "Json", value: read.right })
          if (citations !== undefined) {
            whole.set(citations, { _tag: "Json", value: found.citations.map((citation) => cited(citation, text)) })
          }
          return { fields: whole, repairs }
        })
      ]
    }
  }
}

const callOf = (
  call: LanguageModel.ToolCall
): Either.Either<Json.JsonRecord, Adapter.Problem> =>
  Either.mapBoth(toolCalls.parse(call.arguments), {
    onLeft: (problem): Adapter.Problem => ({
      ...problem,
      description: `the arguments of the call of "${call.name}" cannot be read: ${problem.description}`
    }),
    onRight: (args) => ({ ...(call.id === "" ? undefined : { id: call.id }), name: call.name, arguments: args })
  })

// Places in the text of the answer mean nothing to who sees fields: the words there do.
const cited = ({ end, start, ...citation }: LanguageModel.Citation, text: string): Json.JsonRecord => {
  const said = start === undefined || end === undefined ? "" : text.slice(start, end).trim()
  const record: { [key: string]: Json.Json } = said === "" ? {} : { text: said }
  for (const [key, value] of Object.entries(citation)) if (value !== undefined) record[key] = value
  return record
}
