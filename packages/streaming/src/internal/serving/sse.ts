import { Gathered } from "../gathered.ts"
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

const lf = 0x0a
const cr = 0x0d

/**
 * Reads events from bytes in any pieces. Lines end with LF, CR or both, and an
 * event with an empty line; a comment is an event without data.
 */
export class Reader {
  readonly #limit: number
  readonly #decoder = new TextDecoder()
  readonly #begun: Gathered
  #id = ""
  #data: Array<string> = []
  #size = 0
  #isTooLarge = false
  #afterReturn = false

  constructor(limit: number) {
    this.#limit = limit
    this.#begun = new Gathered(limit)
  }

  /** The events that are complete now, or `undefined` where one is larger than the limit, in bytes. */
  push(bytes: Uint8Array): ReadonlyArray<Message> | undefined {
    const messages: Array<Message> = []
    let start = 0
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]
      if (byte === lf && this.#afterReturn) start = at + 1
      else if (byte === lf || byte === cr) {
        this.#take(this.#line(bytes.subarray(start, at)), messages)
        start = at + 1
      }
      this.#afterReturn = byte === cr
    }
    if (start < bytes.length) this.#begun.add(bytes.subarray(start))
    return this.#isTooLarge || this.#size + this.#begun.size > this.#limit ? undefined : messages
  }

  #line(last: Uint8Array): string {
    if (this.#begun.size === 0) return this.#decoder.decode(last)
    this.#begun.add(last)
    this.#isTooLarge ||= this.#begun.isTooLarge
    return this.#decoder.decode(this.#begun.take())
  }

  #take(line: string, messages: Array<Message>): void {
    if (line === "") {
      if (this.#data.length > 0) messages.push({ id: this.#id, data: this.#data.join("\n") })
      this.#data = []
      this.#size = 0
      return
    }
    const colon = line.indexOf(":")
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1)
    if (name === "id") this.#id = value
    if (name === "data") {
      this.#data.push(value)
      // An empty line of data takes room, too.
      this.#size += line.length
      this.#isTooLarge ||= this.#size > this.#limit
    }
  }
}
