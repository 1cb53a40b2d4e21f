/**
 * Values read while they are written. What is shown of a value nothing that
 * follows can take back: texts get longer, lists get more elements, records
 * more members; anything else appears once it is whole. Where the writing is
 * not plain JSON, nothing more is shown, and the decoded value brings the rest.
 */
import type * as Signature from "@effect-dspy/core/Signature"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"

// =============================================================================
// What may be shown of a type
// =============================================================================

interface Shape {
  readonly kind: "text" | "list" | "record" | "whole"
  /** Whether a text, number, boolean or null is a value of the type as it stands. */
  readonly accepts: (value: unknown) => boolean
  readonly element: (index: number) => Shape
  readonly member: (name: string) => Shape
}

const shape = (fields: Partial<Shape>): Shape => ({
  kind: "whole",
  accepts: () => false,
  element: () => later,
  member: () => later,
  ...fields
})

// A part that is decoded into something else, or could be one of several things: its value is known in the end.
const later: Shape = shape({})

const shapes = new WeakMap<AST.AST, Shape>()

const shapeOf = (ast: AST.AST): Shape => {
  let known = shapes.get(ast)
  if (known === undefined) {
    known = build(ast)
    shapes.set(ast, known)
  }
  return known
}

const isNull = (ast: AST.AST): boolean => ast._tag === "Literal" && ast.literal === null

const build = (ast: AST.AST): Shape => {
  switch (ast._tag) {
    case "StringKeyword":
      return shape({ kind: "text", accepts: Predicate.isString })
    case "TemplateLiteral":
    case "Literal":
    case "Enums":
    case "NumberKeyword":
    case "BooleanKeyword":
      return shape({ accepts: ParseResult.is(Schema.make(ast)) })
    case "Refinement": {
      const from = shapeOf(ast.from)
      if (from.kind !== "whole") return from // a text may get its form, a list its length, with what is still to come
      const accepts = ParseResult.is(Schema.make(ast))
      return shape({ accepts: (value) => from.accepts(value) && accepts(value) })
    }
    case "TupleType": {
      const [rest, ...trailing] = ast.rest
      if (trailing.length > 0) return later
      return shape({
        kind: "list",
        element: (index) => {
          const type = ast.elements[index]?.type ?? rest?.type
          return type === undefined ? later : shapeOf(type)
        }
      })
    }
    case "TypeLiteral": {
      const members = new Map(ast.propertySignatures.map(({ name, type }) => [name, type]))
      const others = ast.indexSignatures.find(({ parameter }) => parameter._tag === "StringKeyword")?.type
      return shape({
        kind: "record",
        member: (name) => {
          const type = members.get(name) ?? others
          return type === undefined ? later : shapeOf(type)
        }
      })
    }
    case "Union": {
      const types = ast.types.filter((type) => type._tag !== "UndefinedKeyword" && !isNull(type))
      const nullable = ast.types.some(isNull)
      const [first, ...more] = types.map(shapeOf)
      if (first === undefined || (more.length > 0 && [first, ...more].some(({ kind }) => kind !== "whole"))) {
        return later
      }
      return {
        ...first,
        accepts: (value) => (nullable && value === null) || [first, ...more].some((one) => one.accepts(value))
      }
    }
    case "Suspend":
      return shapeOf(ast.f())
    default:
      return later
  }
}

// =============================================================================
// JSON
// =============================================================================

interface Level {
  readonly list: Array<unknown> | undefined
  readonly record: { [name: string]: unknown } | undefined
  readonly shape: Shape
  /** Nothing in it is shown. */
  readonly hidden: boolean
  /** An element was passed over, so none after it can have its place. */
  full: boolean
  key: string
}

type Place = "Before" | "Value" | "FirstValue" | "Key" | "FirstKey" | "Colon" | "After" | "Text" | "Token" | "Stopped"

// What may stand before a value between markers.
const preamble = /^\s*(?:```\w*\s*)?$/

/**
 * Reads one list or record, split anywhere.
 */
class JsonReader {
  readonly #root: Shape
  readonly #levels: Array<Level> = []
  #place: Place = "Before"
  #before = ""
  #token = ""
  // The text being read, and of an escape in it what is there.
  #text = ""
  #isKey = false
  #escape = ""
  #high = ""
  #value: unknown

  constructor(root: Shape) {
    this.#root = root
  }

  push(text: string): void {
    let at = 0
    while (at < text.length && this.#place !== "Stopped") {
      if (this.#place === "Text" && this.#escape === "" && this.#high === "") {
        const end = plainEnd(text, at)
        this.#text += text.slice(at, end)
        at = end
        if (at === text.length) return
      }
      this.#read(text[at++]!) // below its length
    }
  }

  /** What is there, apart from all that changes later. */
  get value(): unknown {
    if (this.#value !== undefined) return this.#value
    let value: unknown = this.#place === "Text" && !this.#isKey && this.#next.kind === "text" ? this.#text : undefined
    for (let depth = this.#levels.length - 1; depth >= 0; depth--) {
      const { full, hidden, key, list, record } = this.#levels[depth]! // below its length
      if (hidden) value = undefined
      else if (list !== undefined) value = value === undefined || full ? list.slice() : [...list, value]
      else value = value === undefined ? { ...record } : { ...record, [key]: value }
    }
    return value
  }

  get #top(): Level | undefined {
    return this.#levels[this.#levels.length - 1]
  }

  /** The shape of the value that begins here. */
  get #next(): Shape {
    const level = this.#top
    if (level === undefined) return this.#root
    if (level.hidden || level.full) return later
    return level.list === undefined ? level.shape.member(level.key) : level.shape.element(level.list.length)
  }

  #read(char: string): void {
    switch (this.#place) {
      case "Before":
        if (char === "{" || char === "[") return preamble.test(this.#before) ? this.#open(char) : this.#stop()
        this.#before += char
        return
      case "Text":
        return this.#inText(char)
      case "Token":
        if (/[\w.+-]/.test(char)) {
          this.#token += char
          return
        }
        this.#endToken()
        return this.#read(char)
    }
    if (char === " " || char === "\n" || char === "\r" || char === "\t") return
    switch (this.#place) {
      case "FirstKey":
      case "Key":
        if (char === "\"") return this.#beginText(true)
        return char === "}" && this.#place === "FirstKey" ? this.#close() : this.#stop()
      case "Colon":
        this.#place = "Value"
        return char === ":" ? undefined : this.#stop()
      case "FirstValue":
      case "Value":
        if (char === "\"") return this.#beginText(false)
        if (char === "{" || char === "[") return this.#open(char)
        if (char === "]" && this.#place === "FirstValue") return this.#close()
        this.#token = char
        this.#place = "Token"
        return
      case "After": {
        const isList = this.#top?.list !== undefined
        if (char === ",") {
          this.#place = isList ? "Value" : "Key"
          return
        }
        return char === (isList ? "]" : "}") ? this.#close() : this.#stop()
      }
    }
  }

  #stop(): void {
    // What is shown stays shown.
    this.#value = this.value
    this.#place = "Stopped"
  }

  #open(char: string): void {
    const next = this.#next
    const isList = char === "["
    this.#levels.push({
      list: isList ? [] : undefined,
      record: isList ? undefined : {},
      shape: next,
      hidden: next.kind !== (isList ? "list" : "record"),
      full: false,
      key: ""
    })
    this.#place = isList ? "FirstValue" : "FirstKey"
  }

  #close(): void {
    const level = this.#levels.pop()
    if (level === undefined) return this.#stop()
    const value = level.list ?? level.record
    if (this.#top === undefined) {
      this.#value = level.hidden ? undefined : value
      this.#place = "Stopped"
      return
    }
    this.#put(value, !level.hidden)
  }

  #put(value: unknown, shown: boolean): void {
    const level = this.#top!
    this.#place = "After"
    if (level.record !== undefined) {
      if (shown) level.record[level.key] = value
    } else if (shown) level.list!.push(value) // a level is a list or a record
    else level.full = true
  }

  #beginText(isKey: boolean): void {
    this.#isKey = isKey
    this.#text = ""
    this.#place = "Text"
  }

  #inText(char: string): void {
    if (this.#escape !== "") {
      this.#escape += char
      return this.#inEscape()
    }
    if (char === "\\") {
      this.#escape = char
      return
    }
    // All other characters of a text have been read in one go.
    if (this.#high !== "" || char !== "\"") return this.#stop()
    if (!this.#isKey) {
      const next = this.#next
      return this.#put(this.#text, next.accepts(this.#text))
    }
    const level = this.#top!
    if (this.#text === "__proto__" || Object.hasOwn(level.record!, this.#text)) return this.#stop()
    level.key = this.#text
    this.#place = "Colon"
  }

  #inEscape(): void {
    if (this.#escape[1] === "u" && this.#escape.length < 6) return
    let meant: string
    try {
      meant = JSON.parse(`"${this.#escape}"`)
    } catch {
      return this.#stop()
    }
    this.#escape = ""
    if (/^[\uD800-\uDBFF]$/.test(meant) && this.#high === "") {
      this.#high = meant // half a character, which must not be shown
      return
    }
    const whole = this.#high + meant
    this.#high = ""
    if (/\p{Surrogate}/u.test(whole)) return this.#stop()
    this.#text += whole
  }

  #endToken(): void {
    const value = scalar(this.#token)
    if (value === undefined) return this.#stop()
    this.#put(value, this.#next.accepts(value))
  }
}

// The end of what stands for itself in a text.
const plainEnd = (text: string, from: number): number => {
  let at = from
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code < 32 || code === 34 || code === 92) break
    at++
  }
  return at
}

const scalar = (text: string): unknown => {
  if (!/^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(text)) return undefined
  return JSON.parse(text)
}

// =============================================================================
// Fields
// =============================================================================

// No word for "nothing" is that long.
const nothingLength = 16

class Field {
  readonly name: string
  readonly #shape: Shape
  /** Whether text may turn out to say that there is no value. */
  readonly #mayBeNothing: boolean
  readonly #json: JsonReader | undefined
  #text = ""
  #whole: unknown

  constructor(field: Signature.Field) {
    this.name = field.name
    this.#shape = shapeOf(field.schema.ast)
    this.#mayBeNothing = field.optional || this.#shape.accepts(null)
    this.#json = this.#shape.kind === "list" || this.#shape.kind === "record" ? new JsonReader(this.#shape) : undefined
  }

  push(text: string): void {
    if (this.#json === undefined) this.#text += text
    else this.#json.push(text)
  }

  end(): void {
    if (this.#shape.kind !== "whole") return
    const read = scalar(this.#text.trim())
    const found = [this.#text, read].filter((value) => value !== undefined && this.#shape.accepts(value))
    if (found.length === 1) this.#whole = found[0]
  }

  get value(): unknown {
    switch (this.#shape.kind) {
      case "list":
      case "record":
        return this.#json?.value
      case "whole":
        return this.#whole
      case "text":
        return this.#mayBeNothing && (this.#text.length <= nothingLength || /^["'`]/.test(this.#text))
          ? undefined
          : this.#text
    }
  }
}

/**
 * The output fields of one answer.
 */
export class Growing {
  readonly #declared: ReadonlyMap<string, Signature.Field>
  readonly #fields = new Map<string, Field>()

  constructor(outputs: ReadonlyArray<Signature.Field>) {
    this.#declared = new Map(outputs.map((field) => [field.name, field]))
  }

  /** Whether the value may have changed. */
  push(name: string, text: string): boolean {
    const field = this.#field(name)
    field?.push(text)
    return field !== undefined
  }

  end(name: string): boolean {
    const field = this.#field(name)
    field?.end()
    return field !== undefined
  }

  get value(): { readonly [field: string]: unknown } {
    const value: { [field: string]: unknown } = {}
    for (const field of this.#fields.values()) {
      const own = field.value
      if (own !== undefined) value[field.name] = own
    }
    return value
  }

  #field(name: string): Field | undefined {
    let field = this.#fields.get(name)
    if (field === undefined) {
      const declared = this.#declared.get(name)
      if (declared === undefined) return undefined
      field = new Field(declared)
      this.#fields.set(name, field)
    }
    return field
  }
}

/**
 * Whether a value only adds to an earlier one.
 */
export const continues = (after: unknown, before: unknown): boolean => {
  if (before === undefined || Object.is(after, before)) return true
  if (typeof before === "string") return typeof after === "string" && after.startsWith(before)
  if (Array.isArray(before)) {
    return Array.isArray(after) && before.length <= after.length && before.every((one, n) => continues(after[n], one))
  }
  return Predicate.isRecord(before) && Predicate.isRecord(after) &&
    Object.entries(before).every(([name, one]) => Object.hasOwn(after, name) && continues(after[name], one))
}
