/**
 * Field tags: how values are written between them and read back.
 */
import * as Either from "effect/Either"
import type { FieldEvent, Problem, Raw } from "../Adapter.ts"
import type { Machine } from "./incremental.ts"
import type { Names } from "./markers.ts"
import { Sections } from "./sections.ts"

const references: { readonly [name: string]: string } = { lt: "<", gt: ">", amp: "&", quot: "\"", apos: "'" }

/**
 * Text as the content of an element. What could be taken for markup is written as
 * a reference, and so is white space at either end, which is no content otherwise.
 */
export const escaped = (text: string): string => {
  const safe = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")
  const edge = (space: string) => Array.from(space, (char) => `&#${char.codePointAt(0)};`).join("")
  const start = safe.length - safe.trimStart().length
  const end = safe.trimEnd().length
  return start >= end
    ? edge(safe)
    : `${edge(safe.slice(0, start))}${safe.slice(start, end)}${edge(safe.slice(end))}`
}

// The longest reference that means anything: `&#1114111;`.
const maxReference = 10

// What a reference stands for; undefined if it is none.
const referred = (name: string): string | undefined => {
  if (Object.hasOwn(references, name)) return references[name]
  const digits = /^#(?:(\d+)|x([0-9a-f]+))$/i.exec(name)
  if (digits === null) return undefined
  const code = digits[1] === undefined ? parseInt(digits[2] ?? "", 16) : Number(digits[1])
  return code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : undefined
}

// `<name>`, `< name >`, `<name/>` and `<name a="b">`, none of them longer than this.
const maxTag = 256

const tag = /^<\s*(?:(\/)\s*)?([^\s/<>]+)(\s[^<>]*|\/\s*)?>$/

const LESS = 60
const AND = 38

/**
 * Reads the elements that are named after output fields. Everything else outside
 * of them is left out; inside, only the end tag of the field itself and
 * references are markup, so that code and HTML need no escaping.
 */
export class TagMachine implements Machine {
  readonly repairs = new Set<string>()
  readonly #names: Names
  readonly #sections = new Sections()
  #seen = false
  // The tag of the element being read, as it was written.
  #tag = ""
  // What may turn out to be a tag or a reference.
  #held = ""

  constructor(names: Names) {
    this.#names = names
  }

  push(text: string, events: Array<FieldEvent>): void {
    let at = 0
    while (at < text.length) {
      if (this.#held === "") {
        const next = this.#next(text, at)
        this.#content(text.slice(at, next))
        if (next < text.length) this.#held = text[next]! // within
        at = next + 1
        continue
      }
      const char = text[at]! // within
      if (char === "<" || (char === "&" && this.#sections.field !== undefined)) {
        // What was held is text after all.
        this.#release()
        this.#held = char
        at++
        continue
      }
      this.#held += char
      at++
      if (this.#held.startsWith("&")) this.#reference(char)
      else if (char === ">") this.#markup(events)
      else if (this.#held.length > maxTag) this.#release()
    }
    this.#sections.flush(events)
  }

  end(events: Array<FieldEvent>): Either.Either<ReadonlyMap<string, Raw>, Problem> {
    const { field, fields } = this.#sections
    if (field !== undefined) {
      // The beginning of the end tag is no content.
      if (this.#held.startsWith("<") && `</${this.#tag}>`.startsWith(this.#held)) this.#held = ""
      this.#release()
      this.repairs.add(`the end tag </${field}> is missing`)
      this.#sections.close(events)
    }
    return this.#seen || fields.size > 0
      ? Either.right(fields)
      : Either.left({
        kind: "syntax",
        description: `the answer has none of the elements ${this.#names.outputs.map((name) => `<${name}>`).join(", ")}`
      })
  }

  // Where the next tag or reference may begin.
  #next(text: string, from: number): number {
    let at = from
    while (at < text.length) {
      const code = text.charCodeAt(at)
      if (code === LESS || (code === AND && this.#sections.field !== undefined)) return at
      at++
    }
    return at
  }

  #release(): void {
    this.#content(this.#held)
    this.#held = ""
  }

  #reference(char: string): void {
    if (char !== ";") {
      if (this.#held.length >= maxReference || !/^&(?:#x?[0-9a-f]*|[a-z]*)$/i.test(this.#held)) this.#release()
      return
    }
    const found = referred(this.#held.slice(1, -1))
    if (found === undefined) return this.#release()
    this.#held = ""
    // White space that was written as a reference is content.
    this.#sections.addExactly(found)
  }

  #markup(events: Array<FieldEvent>): void {
    const [, closing, written = "", rest = ""] = tag.exec(this.#held) ?? []
    const name = written === "" ? undefined : this.#names.resolve(written)
    const { field, fields } = this.#sections
    if (field !== undefined) {
      if (closing !== "/" || name !== field) return this.#release()
      this.#held = ""
      return this.#sections.close(events)
    }
    this.#held = ""
    if (name === this.#names.end) this.#seen = true
    if (name === undefined || closing === "/" || !this.#names.outputs.includes(name)) return
    if (fields.has(name)) {
      this.repairs.add(`the repeated element <${name}> was left out`)
      return
    }
    if (name !== written) this.repairs.add(`<${written}> was read as <${name}>`)
    this.#tag = written
    this.#sections.open(name, events)
    if (rest.trimEnd().endsWith("/")) this.#sections.close(events)
  }

  #content(text: string): void {
    if (text === "") return
    if (this.#sections.field !== undefined) this.#sections.add(text)
    else if (text.trim() !== "") this.repairs.add("text outside of the elements was left out")
  }
}
