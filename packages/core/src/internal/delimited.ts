/**
 * Fields between delimiters of any kind, for adapters of users.
 */
import * as Either from "effect/Either"
import type { FieldEvent, Problem, Raw } from "../Adapter.ts"
import type { Machine } from "./incremental.ts"
import { Sections } from "./sections.ts"

/**
 * Where fields begin, by their name, and where they end: with the next one if
 * nothing else is said.
 */
export interface Delimiters {
  readonly start: (field: string) => string
  readonly end?: ((field: string) => string) | undefined
}

const step = 256

/**
 * Reads the fields between delimiters. The text counts as if it stood between
 * two line breaks, and a line break at the end of a delimiter may be the one at
 * the start of the next.
 */
export class DelimitedMachine implements Machine {
  readonly repairs = new Set<string>()
  readonly #starts: ReadonlyMap<string, string>
  readonly #end: Delimiters["end"]
  readonly #sections = new Sections()
  // What may be the beginning of a delimiter.
  #tail = "\n"

  // The field being read, also where it is written for the second time and left out.
  #field: string | undefined

  constructor(names: ReadonlyArray<string>, { end, start }: Delimiters) {
    this.#starts = new Map(names.map((name) => [start(name), name]))
    this.#end = end
    // A line break alone would be found again and again: it may belong to two.
    if (this.#starts.size < names.length || this.#starts.has("") || this.#starts.has("\n")) {
      throw new RangeError(
        `Adapter.delimited: every field needs a start of its own that is not empty; given are ${
          names.map((name) => `${JSON.stringify(start(name))} for "${name}"`).join(", ")
        }`
      )
    }
    if (names.some((name) => end?.(name) === "")) throw new RangeError("Adapter.delimited: an end must not be empty")
  }

  push(text: string, events: Array<FieldEvent>): void {
    // Every delimiter is looked for again behind each that was found: in one long text that would be no one pass.
    for (let at = 0; at < text.length; at += step) {
      this.#tail += text.slice(at, at + step)
      this.#read(false, events)
    }
    this.#sections.flush(events)
  }

  end(events: Array<FieldEvent>): Either.Either<ReadonlyMap<string, Raw>, Problem> {
    this.#tail += "\n"
    const close = this.#field === undefined ? undefined : this.#end?.(this.#field)
    // The beginning of an end is no content.
    if (close !== undefined && !this.#tail.includes(close)) this.#tail = ""
    this.#read(true, events)
    if (this.#field !== undefined && this.#end !== undefined) {
      this.repairs.add(`the end of the field "${this.#field}" is missing`)
    }
    this.#close(events)
    const { fields } = this.#sections
    return fields.size > 0 ? Either.right(fields) : Either.left({
      kind: "syntax",
      description: `the answer has none of the fields ${
        Array.from(this.#starts.keys(), (start) => JSON.stringify(start.trim())).join(", ")
      }`
    })
  }

  #read(isLast: boolean, events: Array<FieldEvent>): void {
    while (true) {
      const delimiters = this.#field === undefined || this.#end === undefined
        ? this.#starts.keys()
        : [this.#end(this.#field)]
      const { at, delimiter, open } = find(this.#tail, delimiters)
      // One that begins earlier, or there and is longer, may still come.
      if (delimiter === undefined || (!isLast && open <= at)) {
        this.#content(isLast ? this.#tail : this.#tail.slice(0, open))
        this.#tail = isLast ? "" : this.#tail.slice(open)
        return
      }
      this.#content(this.#tail.slice(0, at))
      this.#tail = this.#tail.slice(at + delimiter.length - (delimiter.endsWith("\n") ? 1 : 0))
      this.#close(events)
      const field = this.#starts.get(delimiter)
      if (field !== undefined) this.#open(field, events)
    }
  }

  #open(field: string, events: Array<FieldEvent>): void {
    this.#field = field
    if (this.#sections.fields.has(field)) this.repairs.add(`the field "${field}" is there again and was left out`)
    else this.#sections.open(field, events)
  }

  #content(text: string): void {
    if (this.#sections.field !== undefined) this.#sections.add(text)
    else if (this.#field === undefined && text.trim() !== "") {
      this.repairs.add("text outside of the fields was left out")
    }
  }

  #close(events: Array<FieldEvent>): void {
    this.#sections.close(events)
    this.#field = undefined
  }
}

interface Found {
  /** Where the first delimiter begins, and which it is: the longest one there. */
  readonly at: number
  readonly delimiter: string | undefined
  /** From where on the text may be the beginning of one. */
  readonly open: number
}

const find = (text: string, delimiters: Iterable<string>): Found => {
  let at = text.length
  let delimiter: string | undefined
  let open = text.length
  for (const candidate of delimiters) {
    const found = text.indexOf(candidate)
    if (found !== -1 && (found < at || (found === at && candidate.length > delimiter!.length))) { // found there before
      at = found
      delimiter = candidate
    }
    for (let from = Math.max(0, text.length - candidate.length + 1); from < open; from++) {
      if (candidate.startsWith(text.slice(from))) open = from
    }
  }
  return { at, delimiter, open }
}
