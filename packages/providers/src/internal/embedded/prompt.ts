/**
 * The task that a request poses, read from its messages alone: which fields to
 * write, what the instructions say, what the demonstrations show, what is
 * asked. Understands the prompts of the chat and JSON adapters, and any
 * conversation that asks for an object of a JSON Schema.
 */
import type { Json, JsonRecord } from "@effect-dspy/core/Json"
import type { Message, Request } from "@effect-dspy/core/LanguageModel"
import * as Predicate from "effect/Predicate"
import type { Facts } from "./choose.ts"
import * as shape from "./shape.ts"
import { remember } from "./words.ts"

export interface Field extends shape.Member {
  /** The type as the prompt spells it. */
  readonly type: string
}

export interface Demonstration {
  readonly inputs: Facts
  readonly outputs: ReadonlyMap<string, Json>
}

/**
 * What is the same for all questions asked with one set of instructions and
 * demonstrations.
 */
export interface Lesson {
  readonly form: "markers" | "json"
  readonly inputs: ReadonlyArray<Field>
  readonly outputs: ReadonlyArray<Field>
  readonly instructions: string
  readonly demonstrations: ReadonlyArray<Demonstration>
}

export interface Task {
  readonly lesson: Lesson
  readonly question: Facts
}

/**
 * Reads requests, remembering the lessons read last.
 */
export type Reader = (request: Request) => Task | undefined

export const makeReader = (): Reader => {
  const heads = remember<{ readonly head: Head | undefined }>(64)
  const lessons = remember<Lesson>(64)
  return (request) => {
    const turns = request.messages.map(turn)
    const system = turns.filter(({ role }) => role === "system").map(({ text }) => text).join("\n\n")
    const spoken = turns.filter(({ role }) => role === "user" || role === "assistant")
    const schema = request.responseFormat?._tag === "JsonSchema" ? request.responseFormat.schema : undefined
    const { head } = heads(system, () => ({ head: readHead(system) }))
    if (head === undefined) return schema === undefined ? undefined : plain(system, spoken, schema)
    const inputs = new Set(head.inputs.map(({ name }) => name))
    const asked = spoken.findLastIndex(({ role, text }) =>
      role === "user" && (inputs.size === 0 ? !isComplaint(text) : marked(text, inputs).length > 0)
    )
    const question = spoken[asked]
    if (question === undefined) return undefined
    const shown = spoken.slice(0, asked)
    const complaints = spoken.slice(asked + 1).flatMap(({ role, text }) => role === "user" ? [text] : [])
    const key = [system, ...shown.map(({ text }) => text), "", ...complaints, JSON.stringify(schema)].join("\0")
    const lesson = lessons(key, () => readLesson(head, shown, complaints, schema))
    return { lesson, question: marked(withoutReminder(question.text, lesson.outputs), inputs) }
  }
}

interface Turn {
  readonly role: Message["role"]
  readonly text: string
}

const turn = ({ content, role }: Message): Turn => ({
  role,
  text: typeof content === "string"
    ? content
    : content.flatMap((part) => part._tag === "Text" ? [part.text] : []).join("\n")
})

// -----------------------------------------------------------------------------
// The system message
// -----------------------------------------------------------------------------

type Head = Pick<Lesson, "form" | "inputs" | "outputs" | "instructions">

const readHead = (system: string): Head | undefined => {
  const lines = system.split("\n")
  const inputs: Array<Field> = []
  const outputs: Array<Field> = []
  let side: Array<Field> | undefined
  let at = 0
  for (; at < lines.length; at++) {
    const line = lines[at]!.trim() // at < lines.length
    const heading = /^\W*(?:your |the )?(input|output)s?(?: fields?)?(?: are)?\W*$/i.exec(line)
    if (heading !== null) side = heading[1]!.toLowerCase() === "input" ? inputs : outputs // the group is not optional
    else if (line !== "") {
      const field = side === undefined ? undefined : readField(line)
      if (field !== undefined) side?.push(field)
      else if (outputs.length > 0) break
    }
  }
  const [first] = outputs
  if (first === undefined) return undefined
  const rest = lines.slice(at)
  const task = rest.findIndex((line) => /^\W*(?:task|instructions?|objective)\s*:\s*$/i.test(line))
  return {
    form: rest.slice(0, task === -1 ? rest.length : task).some((line) => markerOf(line) === first.name)
      ? "markers"
      : "json",
    inputs,
    outputs,
    instructions: rest.slice(task + 1).join("\n").trim()
  }
}

const readField = (line: string): Field | undefined => {
  const start = /^(?:[-*•]|\d+[.)])\s+[`"*]*([\p{L}_$][\p{L}\p{N}_$]*)[`"*]*\s*/u.exec(line)
  if (start === null) return undefined
  const name = start[1]! // the group is not optional
  const rest = line.slice(start[0].length)
  const end = rest.startsWith("(") ? closing(rest) : 0
  const description = rest.slice(end).replace(/^\s*[:–—-]?\s*/, "")
  const details = end === 0 ? "" : rest.slice(1, end - 1)
  const optional = details.endsWith(", may be left out")
  const bare = optional ? details.slice(0, -", may be left out".length) : details
  const values = /^one of:\s*(.*)$/s.exec(bare)?.[1]
  if (values !== undefined) {
    return {
      name,
      optional,
      description,
      type: bare,
      shape: { _tag: "Choice", values: values.split("; ").map(scalar) }
    }
  }
  const comma = topLevelComma(bare)
  const type = bare.slice(0, comma)
  return { name, optional, description, type, shape: shape.bounded(shape.fromType(type), bare.slice(comma)) }
}

const scalar = (written: string): shape.Scalar => {
  const value = shape.parsed(written)
  return value === undefined || (typeof value === "object" && value !== null) ? written : value
}

// Where the bracket that opens a text is closed again. Brackets inside quotes do not count.
const closing = (text: string): number => {
  let depth = 0
  for (const { index, 0: found } of text.matchAll(/"(?:[^"\\]|\\.)*"|[()]/g)) {
    if (found === "(") depth++
    if (found === ")" && --depth === 0) return index + 1
  }
  return text.length
}

const topLevelComma = (text: string): number => {
  let depth = 0
  for (const { index, 0: found } of text.matchAll(/"(?:[^"\\]|\\.)*"|[()[\]{}<>,]/g)) {
    if (found === "," && depth === 0) return index
    if ("([{<".includes(found)) depth++
    if (")]}>".includes(found)) depth--
  }
  return text.length
}

// -----------------------------------------------------------------------------
// Values between markers
// -----------------------------------------------------------------------------

const markerLine = /^[ \t]*\[\[[ \t]*##[ \t]*([^\s#[\]]+)[ \t]*##[ \t]*\]\]/
const markerLines = new RegExp(markerLine.source, "gm")

const markerOf = (line: string): string | undefined => markerLine.exec(line)?.[1]

const marker = (name: string): string => `[[ ## ${name} ## ]]`

const end = "completed"

// A marker inside a value has a backslash before it; a value that begins or ends with space is fenced by two of them.
const written = (value: string): string => {
  const fenced = /^\\[ \t]*\n([^]*)\n\\[ \t]*$/.exec(value)?.[1] ?? value
  return fenced.replace(/^([ \t]*)\\(?=\\*\[\[[ \t]*##)/gm, "$1")
}

const guarded = (value: string): string => {
  const escaped = value.replace(/^([ \t]*)(?=\\*\[\[[ \t]*##[ \t]*[^\s#[\]]+[ \t]*##[ \t]*\]\])/gm, "$1\\")
  return escaped.trim() !== escaped || /^\\[ \t]*(?:\n|$)/.test(escaped) ? `\\\n${escaped}\n\\` : escaped
}

const marked = (text: string, names: ReadonlySet<string>): Facts => {
  const found = Array.from(text.matchAll(markerLines)).filter((match) => names.has(match[1]!) || match[1] === end // the group is not optional
  )
  return found.flatMap((match, i) =>
    match[1] === end
      ? []
      : [[match[1]!, written(text.slice(match.index + match[0].length, found[i + 1]?.index).trim())] as const]
  )
}

// -----------------------------------------------------------------------------
// The conversation
// -----------------------------------------------------------------------------

const isComplaint = (text: string): boolean => text.startsWith("Your answer could not be used")

const notGiven = "(not given in this example)"

const readLesson = (
  head: Head,
  shown: ReadonlyArray<Turn>,
  complaints: ReadonlyArray<string>,
  schema: JsonRecord | undefined
): Lesson => {
  const inputs = new Set(head.inputs.map(({ name }) => name))
  const demonstrations: Array<Demonstration> = []
  shown.forEach((turn, i) => {
    const answer = shown[i + 1]
    if (turn.role !== "user" || answer?.role !== "assistant") return
    demonstrations.push({ inputs: marked(turn.text, inputs), outputs: readAnswer(head, answer.text) })
  })
  const described = schema === undefined ? undefined : shape.membersOf(schema)
  return {
    ...head,
    outputs: head.outputs.map((field) => {
      const exact = described?.find(({ name }) => name === field.name)
      return exact === undefined || field.shape._tag === "Choice"
        ? field
        : { ...field, shape: exact.shape, optional: exact.optional }
    }),
    instructions: [head.instructions, ...complaints].join("\n"),
    demonstrations
  }
}

const readAnswer = (head: Head, text: string): ReadonlyMap<string, Json> => {
  const outputs = new Map<string, Json>()
  if (head.form === "json") {
    const record = shape.parsed(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1))
    if (!Predicate.isRecord(record)) return outputs
    for (const { name } of head.outputs) {
      const value = (record as JsonRecord)[name] // what was parsed is JSON
      if (value !== undefined && value !== null && value !== notGiven) outputs.set(name, value)
    }
    return outputs
  }
  const shapes = new Map(head.outputs.map((field) => [field.name, field.shape]))
  for (const [name, value] of marked(text, new Set(shapes.keys()))) {
    if (value !== notGiven) outputs.set(name, shape.read(shapes.get(name) ?? shape.text, value))
  }
  return outputs
}

// The last paragraph of a question says how to answer; it is no part of the last value.
const withoutReminder = (text: string, outputs: ReadonlyArray<Field>): string => {
  const at = text.lastIndexOf("\n\n")
  return at !== -1 && outputs.every(({ name }) => text.includes(name, at)) ? text.slice(0, at) : text
}

// A conversation without fields, about which an object of a known form is wanted.
const plain = (system: string, spoken: ReadonlyArray<Turn>, schema: JsonRecord): Task | undefined => {
  const members = shape.membersOf(schema)
  const asked = spoken.findLastIndex(({ role }) => role === "user")
  const question = spoken[asked]
  if (members === undefined || question === undefined) return undefined
  const field = (name: string, shape: shape.Shape): Field => ({
    name,
    shape,
    optional: false,
    description: "",
    type: ""
  })
  const head: Head = {
    form: "json",
    inputs: [field("message", shape.text)],
    outputs: members.map((member) => ({ ...member, type: "" })),
    instructions: system
  }
  return {
    lesson: {
      ...head,
      demonstrations: spoken.slice(0, asked).flatMap((turn, i) => {
        const answer = spoken[i + 1]
        return turn.role === "user" && answer?.role === "assistant"
          ? [{ inputs: [["message", turn.text] as const], outputs: readAnswer(head, answer.text) }]
          : []
      })
    },
    question: [["message", question.text]]
  }
}

// -----------------------------------------------------------------------------
// The answer
// -----------------------------------------------------------------------------

/**
 * Writes values in the form the prompt asks for.
 */
export const write = (lesson: Lesson, values: ReadonlyMap<string, Json>): string => {
  if (lesson.form === "json") return JSON.stringify(Object.fromEntries(values), null, 2)
  const sections = lesson.outputs.flatMap(({ name, shape }) => {
    const value = values.get(name)
    return value === undefined ? [] : [`${marker(name)}\n${guarded(spelled(shape, value))}`]
  })
  return [...sections, marker(end)].join("\n\n")
}

// A text stands as it is, unless its field can also hold something it would be mistaken for.
const spelled = (of: shape.Shape, value: Json): string =>
  typeof value !== "string" || (of._tag !== "Text" && shape.parsed(value) !== undefined) ? JSON.stringify(value) : value
