/**
 * The fields of an answer while they are read one after the other, and what is
 * told of them. White space around a value is no part of it.
 */
import type { FieldEvent, Raw } from "../Adapter.ts"

export class Sections {
  readonly fields = new Map<string, Raw>()

  // The field being read.
  #field: string | undefined
  #text = ""
  #piece = ""
  #started = false
  // White space that is content only if more follows.
  #space = ""

  get field(): string | undefined {
    return this.#field
  }

  open(field: string, events: Array<FieldEvent>): void {
    this.#field = field
    this.fields.set(field, { _tag: "Text", text: "" })
    events.push({ _tag: "FieldStart", field })
  }

  /** More of the value. */
  add(text: string): void {
    const content = text.trimEnd()
    if (content === "") {
      this.#space += text
      return
    }
    this.#piece += this.#started ? this.#space + content : content.trimStart()
    this.#space = text.slice(content.length)
    this.#started = true
  }

  /** More of the value, of which white space is a part wherever it stands. */
  addExactly(text: string): void {
    this.#piece += (this.#started ? this.#space : "") + text
    this.#space = ""
    this.#started = true
  }

  /** Tells what is known of the value by now. */
  flush(events: Array<FieldEvent>): void {
    if (this.#piece === "" || this.#field === undefined) return
    events.push({ _tag: "FieldDelta", field: this.#field, text: this.#piece })
    this.#text += this.#piece
    this.#piece = ""
  }

  close(events: Array<FieldEvent>): void {
    const field = this.#field
    if (field === undefined) return
    this.flush(events)
    events.push({ _tag: "FieldEnd", field })
    this.fields.set(field, { _tag: "Text", text: this.#text })
    this.#field = undefined
    this.#text = ""
    this.#started = false
    this.#space = ""
  }
}
