/**
 * Incremental parsers as values over mutable machines, and what every parser
 * of model text owes: size limit, no lone surrogates, no byte order mark, no
 * leading block of thoughts.
 */
import * as Either from "effect/Either"
import type { FieldEvent, Parsed, Parser, Problem, Raw } from "../Adapter.ts"

/**
 * Reads text piece by piece. `push` and `end` append events; `end` is called
 * once and last.
 */
export interface Machine {
  readonly repairs: Set<string>
  readonly push: (text: string, events: Array<FieldEvent>) => void
  readonly end: (events: Array<FieldEvent>) => Either.Either<ReadonlyMap<string, Raw>, Problem>
}

/**
 * A place in one run of a machine: what was read is `run.text` up to `length`.
 */
export interface State {
  readonly run: Run | undefined
  readonly length: number
}

/**
 * The most text that is read, in UTF-16 code units.
 */
const maxLength = 10 * 1024 * 1024

const nothing: ReadonlyArray<FieldEvent> = []

/**
 * A state that is no longer the newest of its run is read again from the text,
 * so states are values although the usual way, forward, changes one machine.
 */
export const make = (machine: () => Machine): Parser<State> => {
  const current = (state: State): Run => {
    if (state.run?.isAt(state.length) === true) return state.run
    const run = new Run(machine())
    if (state.run !== undefined && state.length > 0) run.push(state.run.text.slice(0, state.length), [])
    return run
  }
  return {
    initial: { run: undefined, length: 0 },
    step: (state, text) => {
      if (text === "") return [state, nothing]
      const run = current(state)
      const events: Array<FieldEvent> = []
      run.push(text, events)
      return [{ run, length: run.text.length }, events]
    },
    end: (state) => {
      const events: Array<FieldEvent> = []
      const parsed = current(state).end(events)
      return Either.isLeft(parsed) ? [nothing, parsed] : [events, parsed]
    }
  }
}

const thoughts: ReadonlyArray<readonly [open: string, close: string]> = [
  ["<think>", "</think>"],
  ["<thinking>", "</thinking>"]
]

class Run {
  readonly #machine: Machine
  text = ""
  #ended = false
  #tooLong = false
  #blank = true
  #surrogate = ""
  // Thoughts come first or not at all: "before" until the first text decides.
  #phase: "before" | "thinking" | "answer" = "before"
  #held = ""
  #close = ""

  constructor(machine: Machine) {
    this.#machine = machine
  }

  isAt(length: number): boolean {
    return this.text.length === length && !this.#ended
  }

  push(text: string, events: Array<FieldEvent>): void {
    this.text += text
    if (this.text.length > maxLength) this.#tooLong = true
    if (this.#tooLong) return
    this.#wellFormed(text, events)
  }

  end(events: Array<FieldEvent>): Either.Either<Parsed, Problem> {
    this.#ended = true
    if (this.#tooLong) {
      return Either.left({ kind: "size", description: `the answer is longer than ${maxLength} characters` })
    }
    if (this.#surrogate !== "") this.#visible(this.#replaced(this.#surrogate), events)
    if (this.#blank) return Either.left({ kind: "empty", description: "the answer is empty" })
    if (this.#phase === "thinking") {
      return Either.left({ kind: "syntax", description: `the answer ends before ${this.#close}` })
    }
    if (this.#held !== "") this.#machine.push(this.#held, events)
    return Either.map(this.#machine.end(events), (fields) => ({
      fields,
      repairs: Array.from(this.#machine.repairs)
    }))
  }

  #wellFormed(text: string, events: Array<FieldEvent>): void {
    let clean = this.#surrogate === "" ? text : this.#surrogate + text
    this.#surrogate = ""
    const last = clean.charCodeAt(clean.length - 1)
    if (last >= 0xd800 && last <= 0xdbff) {
      this.#surrogate = clean.slice(-1)
      clean = clean.slice(0, -1)
    }
    if (clean !== "") this.#visible(/\p{Surrogate}/u.test(clean) ? this.#replaced(clean) : clean, events)
  }

  #replaced(text: string): string {
    this.#machine.repairs.add("half a character (a lone surrogate) was replaced by U+FFFD")
    return text.replace(/\p{Surrogate}/gu, "\uFFFD")
  }

  #visible(text: string, events: Array<FieldEvent>): void {
    if (this.#blank) {
      // The byte order mark counts as white space here.
      text = text.trimStart()
      if (text === "") return
      this.#blank = false
    }
    switch (this.#phase) {
      case "answer":
        return this.#machine.push(text, events)
      case "before": {
        const held = this.#held + text
        if (thoughts.some(([open]) => held.length < open.length && open.startsWith(held))) {
          this.#held = held
          return
        }
        this.#held = ""
        const found = thoughts.find(([open]) => held.startsWith(open))
        if (found === undefined) {
          this.#phase = "answer"
          return this.#machine.push(held, events)
        }
        this.#phase = "thinking"
        this.#close = found[1]
        return this.#think(held.slice(found[0].length), events)
      }
      case "thinking":
        return this.#think(text, events)
    }
  }

  #think(text: string, events: Array<FieldEvent>): void {
    const held = this.#held + text
    const at = held.indexOf(this.#close)
    if (at === -1) {
      this.#held = held.slice(1 - this.#close.length)
      return
    }
    this.#phase = "answer"
    this.#held = ""
    const rest = held.slice(at + this.#close.length)
    if (rest !== "") this.#machine.push(rest, events)
  }
}
