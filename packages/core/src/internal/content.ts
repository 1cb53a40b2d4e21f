/**
 * Values that prompts show as parts of a message, such as images, wherever they
 * are inside of a field.
 */
import * as AST from "effect/SchemaAST"
import type { Json } from "../Json.ts"
import type { Message, Part } from "../LanguageModel.ts"
import * as coerce from "./coerce.ts"
import { withoutMarkers } from "./markers.ts"

/** The annotation of a schema whose values are shown as parts: from encoded value to parts. */
export const AnnotationId = Symbol.for("@effect-dspy/core/Content")

type Show = (encoded: unknown) => ReadonlyArray<Part>

const showOf = (ast: AST.AST): Show | undefined => {
  const own = ast.annotations[AnnotationId] ??
    (AST.isTransformation(ast) ? ast.to.annotations[AnnotationId] : undefined)
  return own as Show | undefined // nobody else knows the symbol
}

/** Whether values of a type are shown as parts themselves. */
export const isOne = (ast: AST.AST): boolean => showOf(ast) !== undefined

/** What a value is shown as, if it is of a type that is shown as parts. */
export const partsOf = (ast: AST.AST, value: Json): ReadonlyArray<Part> | undefined => {
  const show = showOf(ast)
  return show !== undefined && coerce.guard(ast)(value) ? show(value) : undefined
}

/** Whether values of a type are shown as parts, or have some inside. */
export const isIn = (ast: AST.AST, seen: ReadonlySet<AST.AST> = new Set()): boolean => {
  if (showOf(ast) !== undefined) return true
  const nested = (type: AST.AST) => isIn(type, seen)
  switch (ast._tag) {
    case "Refinement":
    case "Transformation":
      return nested(ast.from)
    case "Suspend":
      return !seen.has(ast) && isIn(ast.f(), new Set([...seen, ast]))
    case "Union":
      return ast.types.some(nested)
    case "TupleType":
      return ast.elements.some(({ type }) => nested(type)) || ast.rest.some(({ type }) => nested(type))
    case "TypeLiteral":
      return ast.propertySignatures.some(({ type }) => nested(type)) ||
        ast.indexSignatures.some(({ type }) => nested(type))
    default:
      return false
  }
}

/**
 * The content of a message while it is put together: a text as long as there is
 * nothing else in it.
 */
export class Writer {
  readonly #parts: Array<Part> = []
  #text = ""

  get hasParts(): boolean {
    return this.#parts.length > 0
  }

  text(text: string): void {
    this.#text += text
  }

  add(parts: ReadonlyArray<Part>): void {
    for (const part of parts) {
      this.#flush()
      // What is in a text must not be taken for a field, in a part of its own no more than between others.
      this.#parts.push(part._tag === "Text" ? { ...part, text: withoutMarkers(part.text) } : part)
    }
  }

  append(that: Writer): void {
    for (const part of that.#parts) {
      this.#flush()
      this.#parts.push(part)
    }
    this.#text += that.#text
  }

  get content(): Message["content"] {
    if (this.#parts.length === 0) return this.#text
    this.#flush()
    return joined(this.#parts)
  }

  #flush(): void {
    if (this.#text !== "") this.#parts.push({ _tag: "Text", text: this.#text })
    this.#text = ""
  }
}

/**
 * Writes a value as JSON, with parts where those belong. What is not of its type,
 * as it may be in a demonstration from a file, is JSON too, and never a part.
 */
export const write = (ast: AST.AST | undefined, value: Json, out: Writer): void => {
  if (ast !== undefined && isOne(ast)) {
    const parts = partsOf(ast, value)
    return parts === undefined ? out.text(JSON.stringify(value)) : out.add(parts)
  }
  switch (ast?._tag) {
    case "Refinement":
    case "Transformation":
      return write(ast.from, value, out)
    case "Suspend":
      return write(ast.f(), value, out)
    case "Union":
      return write(ast.types.find((type) => coerce.guard(type)(value)), value, out)
    case "TupleType":
      if (!isList(value)) break
      out.text("[")
      value.forEach((item, index) => {
        if (index > 0) out.text(",")
        write((ast.elements[index] ?? ast.rest[0])?.type, item, out)
      })
      return out.text("]")
    case "TypeLiteral":
      if (!coerce.isRecord(value)) break
      out.text("{")
      Object.entries(value).forEach(([key, item], index) => {
        out.text(`${index > 0 ? "," : ""}${JSON.stringify(key)}:`)
        const property = ast.propertySignatures.find(({ name }) => name === key)
        write((property ?? ast.indexSignatures[0])?.type, item, out)
      })
      return out.text("}")
  }
  out.text(JSON.stringify(value))
}

// `Array.isArray` does not narrow a readonly list.
const isList = (value: Json): value is ReadonlyArray<Json> => Array.isArray(value)

/** Text before a content. */
export const preceded = (text: string, content: Message["content"]): Message["content"] =>
  typeof content === "string" ? text + content : joined([{ _tag: "Text", text }, ...content])

/** Text behind a content. */
export const followed = (content: Message["content"], text: string): Message["content"] =>
  typeof content === "string" ? content + text : joined([...content, { _tag: "Text", text }])

// Neighbouring texts as one, but for documents.
const joined = (parts: ReadonlyArray<Part>): ReadonlyArray<Part> => {
  const out: Array<Part> = []
  for (const part of parts) {
    const last = out.at(-1)
    if (last?._tag === "Text" && part._tag === "Text" && last.document === undefined && part.document === undefined) {
      out[out.length - 1] = { _tag: "Text", text: last.text + part.text }
    } else out.push(part)
  }
  return out
}

/** Whether any text of a content has this in it. */
export const includes = (content: Message["content"], text: string): boolean =>
  typeof content === "string"
    ? content.includes(text)
    : content.some((part) => part._tag === "Text" && part.text.includes(text))
