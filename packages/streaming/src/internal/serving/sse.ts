import type * as Runs from "./runs.ts"

/**
 * Server-sent events, as they are written and read. The id of an event holds that
 * of its run, so that a browser, which sends back the last one it has seen, takes
 * up the right run by itself.
 */
export const write = (run: string, entries: ReadonlyArray<Runs.Entry>): string => {
  if (entries.length === 0) return ": still here\n\n"
  let text = ""
  for (const { json, n } of entries) text += `id: ${run}/${n}\ndata: ${json}\n\n`
  return text
}

/**
 * The run and the number in the id of an event.
 */
export const readId = (id: string): { readonly run: string; readonly n: number } | undefined => {
  const match = /^([A-Za-z0-9_-]{1,128})\/(\d{1,15})$/.exec(id)
  return match === null ? undefined : { run: match[1]!, n: Number(match[2]) } // both groups are part of every match
}

/**
 * One event as it is read.
 */
export interface Message {
  readonly id: string
  readonly data: string
}

/**
 * Reads events from text in any pieces. Lines end with LF, CR or both, and an
 * event with an empty line; a comment is an event without data.
 */
export class Reader {
  #line = ""
  #id = ""
  #data: Array<string> = []
  #characters = 0
  #afterReturn = false
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  /** The events that are complete now, or `undefined` where one is larger than the limit. */
  push(text: string): ReadonlyArray<Message> | undefined {
    const messages: Array<Message> = []
    let start = this.#afterReturn && text.startsWith("\n") ? 1 : 0
    if (text !== "") this.#afterReturn = text.endsWith("\r")
    const end = /\r\n|\n|\r/g
    end.lastIndex = start
    for (let match = end.exec(text); match !== null; match = end.exec(text)) {
      this.#take(this.#line + text.slice(start, match.index), messages)
      this.#line = ""
      start = end.lastIndex
    }
    this.#line += text.slice(start)
    return this.#characters + this.#line.length > this.#limit ? undefined : messages
  }

  #take(line: string, messages: Array<Message>): void {
    if (line === "") {
      if (this.#data.length > 0) messages.push({ id: this.#id, data: this.#data.join("\n") })
      this.#data = []
      this.#characters = 0
      return
    }
    const colon = line.indexOf(":")
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1)
    if (name === "id") this.#id = value
    if (name === "data") {
      this.#data.push(value)
      this.#characters += value.length
    }
  }
}
