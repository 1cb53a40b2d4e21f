/**
 * Field markers: how values are written between them and read back.
 */
import * as Either from "effect/Either"
import type { FieldEvent, Problem, Raw } from "../Adapter.ts"
import type { Machine } from "./incremental.ts"

/**
 * The name in the marker that ends an answer, unless a field has that name.
 */
export const completed = "completed"

export const marker = (name: string): string => `[[ ## ${name} ## ]]`

const looksLikeMarker = /(^|[\n\v\f\r\u2028\u2029])([ \t]*)(?=\\*\[\[[ \t]*##[ \t]*[^\s#[\]]+[ \t]*##[ \t]*\]\])/g

const loneBackslash = /^\\[ \t]*(?:$|[\n\v\f\r\u2028\u2029])/

/**
 * Text of which no line is a marker: one that starts like it gets a backslash.
 */
export const withoutMarkers = (text: string): string =>
  text.includes("[[") ? text.replace(looksLikeMarker, "$1$2\\") : text

/**
 * Text as the value of a field. A line that starts like a marker gets a
 * backslash before it; text that starts or ends with white space goes between
 * two lines holding a backslash each. Both are undone on reading.
 */
export const guarded = (text: string): string => {
  const escaped = withoutMarkers(text)
  return text.trim() !== text || loneBackslash.test(text) ? `\\\n${escaped}\n\\` : escaped
}

const isBreak = (code: number): boolean => code <= 13 ? code >= 10 : code === 0x2028 || code === 0x2029

const isBlank = (code: number): boolean => code === 32 || code === 9

// The white space of `String.prototype.trim`.
const isSpace = (code: number): boolean =>
  code <= 32
    ? code === 32 || (code >= 9 && code <= 13)
    : code >= 160 && (code === 160 || code === 0x1680 || (code >= 0x2000 && code <= 0x200a) || code === 0x2028 ||
      code === 0x2029 || code === 0x202f || code === 0x205f || code === 0x3000 || code === 0xfeff)

const isName = (code: number): boolean => !isSpace(code) && code !== HASH && code !== OPEN && code !== CLOSE

const runEnd = (text: string, from: number, belongs: (code: number) => boolean): number => {
  let at = from
  while (at < text.length && belongs(text.charCodeAt(at))) at++
  return at
}

const BACKSLASH = 92
const OPEN = 91
const CLOSE = 93
const HASH = 35
const LF = 10
const CR = 13

// Where in a line the machine is. A marker is looked for from the start of a line only.
const Middle = -1
const Start = 0
const Backslashes = 1
const Open = 2
const Opened = 3
const Hash = 4
const BeforeName = 5
const Name = 6
const AfterName = 7
const ClosingHash = 8
const Closing = 9
const Close = 10
const Fence = 11

/**
 * Reads sections between markers. Only a marker at the start of a line that
 * names an output field opens a section; the first one of a name wins. Markers
 * of inputs and repeated ones open a section that is dropped, unknown ones are
 * text.
 */
export class MarkerMachine implements Machine {
  readonly repairs = new Set<string>()
  readonly #names: Names
  readonly #fields = new Map<string, Raw>()
  #seen = false
  #done = false

  // The section being read: its field, or undefined where text is dropped.
  #field: string | undefined
  #text = ""
  #piece = ""
  #started = false
  #fenced = false
  // White space that is content only if more follows, and in a fenced value the lines that may turn out to close it.
  #space = ""
  #fence = -1

  #place = Start
  #prefix = ""
  #name = ""
  #backslashes = 0
  #indented = false
  #afterReturn = false

  constructor(names: Names) {
    this.#names = names
  }

  push(text: string, events: Array<FieldEvent>): void {
    let at = 0
    while (at < text.length && !this.#done) {
      at = this.#place === Middle ? this.#middle(text, at) : this.#start(text, at, events)
    }
    if (this.#done && at < text.length && text.slice(at).trim() !== "") {
      this.repairs.add("text after the end marker was left out")
    }
    this.#flush(events)
  }

  end(events: Array<FieldEvent>): Either.Either<ReadonlyMap<string, Raw>, Problem> {
    if (this.#place === Fence || (this.#place === Backslashes && this.#mayBeFence())) {
      if (this.#fenced) this.#closeFence()
      else this.#segment(this.#prefix)
    } else if (this.#place >= BeforeName && this.#backslashes === 0) {
      this.repairs.add("an unfinished marker at the end was left out")
    } else if (this.#place > Start) this.#segment(this.#prefix)
    this.#endSection(events)
    return this.#seen
      ? Either.right(this.#fields)
      : Either.left({
        kind: "syntax",
        description: `the answer has no field marker; expected ${this.#names.outputs.map(marker).join(", ")}`
      })
  }

  #middle(text: string, from: number): number {
    const at = runEnd(text, from, (code) => !isBreak(code))
    this.#segment(from === 0 && at === text.length ? text : text.slice(from, at))
    return at === text.length ? at : this.#whitespace(text, at)
  }

  // Goes on from the start of a line to the next character that is not white space.
  #whitespace(text: string, from: number): number {
    const at = runEnd(text, from, (code) => isBlank(code) || isBreak(code))
    this.#space += text.slice(from, at)
    this.#place = Start
    this.#indented = isBlank(text.charCodeAt(at - 1))
    return at
  }

  // Part of a line, whose white space at the end may turn out to be the end of the value.
  #segment(text: string): void {
    let end = text.length
    while (end > 0 && isSpace(text.charCodeAt(end - 1))) end--
    if (end === 0) {
      this.#space += text
      return
    }
    if (this.#field === undefined) {
      this.#space = ""
      if (!this.#seen) this.repairs.add("text before the first marker was left out")
      return
    }
    const content = end === text.length ? text : text.slice(0, end)
    this.#piece += this.#started ? this.#space + content : content.trimStart()
    this.#started = true
    this.#fence = -1
    this.#space = end === text.length ? "" : text.slice(end)
  }

  #start(text: string, from: number, events: Array<FieldEvent>): number {
    const code = text.charCodeAt(from)
    const afterReturn = this.#afterReturn
    this.#afterReturn = false
    switch (this.#place) {
      case Start: {
        if (afterReturn && code === LF) return from + 1
        if (isBlank(code) || isBreak(code)) return this.#whitespace(text, from)
        this.#prefix = ""
        this.#name = ""
        this.#backslashes = 0
        if (code === BACKSLASH) {
          this.#backslashes = 1
          return this.#advance(Backslashes, text, from)
        }
        if (code === OPEN) return this.#advance(Open, text, from)
        this.#place = Middle
        return from
      }
      case Backslashes:
        if (code === BACKSLASH) {
          const at = runEnd(text, from, (code) => code === BACKSLASH)
          this.#backslashes += at - from
          return this.#advance(Backslashes, text, from, at)
        }
        if (code === OPEN) return this.#advance(Open, text, from)
        if ((isBlank(code) || isBreak(code)) && this.#mayBeFence()) {
          this.#place = Fence
          return from
        }
        return this.#notMarker(from)
      case Fence:
        if (isBlank(code)) return this.#advance(Fence, text, from)
        if (!isBreak(code)) return this.#notMarker(from)
        if (this.#fenced) {
          this.#closeFence()
          return this.#whitespace(text, from)
        }
        this.#fenced = true
        this.#started = true
        this.#space = ""
        this.#place = Start
        this.#indented = false
        this.#afterReturn = code === CR
        return from + 1
      case Open:
        return code === OPEN ? this.#advance(Opened, text, from) : this.#notMarker(from)
      case Opened:
        if (isBlank(code)) return this.#advance(Opened, text, from)
        return code === HASH ? this.#advance(Hash, text, from) : this.#notMarker(from)
      case Hash:
        return code === HASH ? this.#advance(BeforeName, text, from) : this.#notMarker(from)
      case BeforeName:
        if (isBlank(code)) return this.#advance(BeforeName, text, from)
        return this.#nameOr(text, from)
      case Name:
        if (isBlank(code)) return this.#advance(AfterName, text, from)
        if (code === HASH) return this.#advance(ClosingHash, text, from)
        return this.#nameOr(text, from)
      case AfterName:
        if (isBlank(code)) return this.#advance(AfterName, text, from)
        return code === HASH ? this.#advance(ClosingHash, text, from) : this.#notMarker(from)
      case ClosingHash:
        return code === HASH ? this.#advance(Closing, text, from) : this.#notMarker(from)
      case Closing:
        if (isBlank(code)) return this.#advance(Closing, text, from)
        return code === CLOSE ? this.#advance(Close, text, from) : this.#notMarker(from)
      default:
        if (code !== CLOSE) return this.#notMarker(from)
        this.#advance(Middle, text, from)
        this.#found(events)
        return from + 1
    }
  }

  #advance(place: number, text: string, from: number, to = from + 1): number {
    this.#prefix += text.slice(from, to)
    this.#place = place
    return to
  }

  #nameOr(text: string, from: number): number {
    const at = runEnd(text, from, isName)
    if (at === from) return this.#notMarker(from)
    this.#name += text.slice(from, at)
    return this.#advance(Name, text, from, at)
  }

  #notMarker(at: number): number {
    this.#place = Middle
    this.#segment(this.#prefix)
    return at
  }

  #mayBeFence(): boolean {
    if (this.#backslashes !== 1 || this.#field === undefined) return false
    return this.#fenced ? !this.#indented : !this.#started
  }

  // The line break before the backslash belongs to the fence.
  #closeFence(): void {
    this.#fence = Math.max(0, this.#space.length - 1)
    this.#space += this.#prefix
  }

  #found(events: Array<FieldEvent>): void {
    if (this.#backslashes > 0) return this.#segment(this.#prefix.slice(1))
    const name = this.#names.resolve(this.#name)
    if (name === undefined) {
      if (this.#field !== undefined) this.repairs.add(`the unknown marker ${marker(this.#name)} was read as text`)
      return this.#segment(this.#prefix)
    }
    if (name !== this.#name) this.repairs.add(`the marker ${marker(this.#name)} was read as ${marker(name)}`)
    this.#endSection(events)
    this.#seen = true
    if (this.#names.outputs.includes(name) && !this.#fields.has(name)) {
      this.#field = name
      this.#fields.set(name, { _tag: "Text", text: "" })
      events.push({ _tag: "FieldStart", field: name })
    } else if (name === this.#names.end) this.#done = true
    else this.repairs.add(`the ${this.#fields.has(name) ? "repeated" : "input"} field "${name}" was left out`)
  }

  #endSection(events: Array<FieldEvent>): void {
    const field = this.#field
    if (field !== undefined) {
      if (this.#fence !== -1) this.#piece += this.#space.slice(0, this.#fence)
      this.#flush(events)
      events.push({ _tag: "FieldEnd", field })
      this.#fields.set(field, { _tag: "Text", text: this.#text })
    }
    this.#field = undefined
    this.#text = ""
    this.#started = false
    this.#fenced = false
    this.#space = ""
    this.#fence = -1
  }

  #flush(events: Array<FieldEvent>): void {
    if (this.#piece === "" || this.#field === undefined) return
    events.push({ _tag: "FieldDelta", field: this.#field, text: this.#piece })
    this.#text += this.#piece
    this.#piece = ""
  }
}

/**
 * The names that markers can have. Another spelling of the case is understood
 * where only one name fits.
 */
export class Names {
  readonly outputs: ReadonlyArray<string>
  /** The name in the marker that ends an answer. */
  readonly end: string
  readonly #exact: ReadonlySet<string>
  readonly #folded = new Map<string, string | undefined>()

  constructor(inputs: ReadonlyArray<string>, outputs: ReadonlyArray<string>) {
    this.outputs = outputs
    const fields = [...outputs, ...inputs]
    let end = completed
    while (fields.some((name) => name.toLowerCase() === end)) end += "_"
    this.end = end
    this.#exact = new Set([...fields, end])
    for (const name of this.#exact) {
      const folded = name.toLowerCase()
      this.#folded.set(folded, this.#folded.has(folded) ? undefined : name)
    }
  }

  resolve(name: string): string | undefined {
    return this.#exact.has(name) ? name : this.#folded.get(name.toLowerCase())
  }
}
