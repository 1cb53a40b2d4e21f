/**
 * Reasoning that a model writes into its text, as `<think>…</think>` in front of
 * the answer, told from it while both are streamed.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"

const opening = "<think>"
const closing = "</think>"

/**
 * A stretch of reasoning or of the answer.
 */
export interface Piece {
  readonly reasoning: boolean
  readonly text: string
  readonly logprobs?: ReadonlyArray<LanguageModel.TokenLogprob> | undefined
}

type Logprobs = ReadonlyArray<LanguageModel.TokenLogprob> | undefined

// How much of the end of a text may be the beginning of the tag.
const begun = (text: string, tag: string): number => {
  for (let length = Math.min(text.length, tag.length - 1); length > 0; length--) {
    if (text.endsWith(tag.slice(0, length))) return length
  }
  return 0
}

/**
 * Splits one output. What it gives depends on the text only, not on how that
 * was cut; white space around the tags belongs to neither side.
 *
 * `open`: the prompt has opened the block, so the text begins inside it.
 */
export class Splitter {
  readonly #open: boolean
  #phase: "start" | "inside" | "after" | "answer" = "start"
  #reasoned = false
  // Held back until it is known where it belongs: white space, what may become a tag, and the
  // probabilities of both.
  #space = ""
  #tag = ""
  #logprobs: Array<LanguageModel.TokenLogprob> = []

  constructor(open: boolean) {
    this.#open = open
  }

  push(text: string, logprobs?: Logprobs): ReadonlyArray<Piece> {
    if (this.#phase === "answer") return [{ reasoning: false, text, logprobs }]
    const out: Array<Piece> = []
    // Where a text ends inside a chunk, its probabilities are those of its own tokens.
    if (logprobs !== undefined && logprobs.map(({ token }) => token).join("") === text) {
      for (const logprob of logprobs) this.#push(logprob.token, [logprob], out)
    } else this.#push(text, logprobs, out)
    return out
  }

  /** The text has ended. */
  end(): ReadonlyArray<Piece> {
    const out: Array<Piece> = []
    if (this.#phase === "start" && !this.#open) this.#emit(false, this.#space + this.#tag, this.#logprobs, out)
    else if (this.#tag !== "") this.#reasoning(this.#tag, out)
    this.#phase = "answer"
    return out
  }

  #emit(reasoning: boolean, text: string, logprobs: Logprobs, out: Array<Piece>): void {
    this.#space = ""
    this.#tag = ""
    this.#logprobs = []
    if (text !== "") {
      out.push(logprobs === undefined || logprobs.length === 0 ? { reasoning, text } : { reasoning, text, logprobs })
    }
  }

  #push(text: string, logprobs: Logprobs, out: Array<Piece>): void {
    switch (this.#phase) {
      case "start": {
        const all = this.#tag + text
        const rest = all.trimStart()
        this.#space += all.slice(0, all.length - rest.length)
        this.#logprobs.push(...(logprobs ?? []))
        if (opening.startsWith(rest) && rest !== opening) this.#tag = rest
        else if (rest.startsWith(opening)) this.#inside(rest.slice(opening.length), logprobs, out)
        else if (this.#open) this.#inside(rest, logprobs, out)
        else {
          this.#phase = "answer"
          this.#emit(false, this.#space + rest, this.#logprobs, out)
        }
        return
      }
      case "inside":
        return this.#reason(this.#tag + text, logprobs, out)
      case "after": {
        const rest = text.trimStart()
        if (rest === "") return
        this.#phase = "answer"
        return this.#emit(false, rest, logprobs, out)
      }
      case "answer":
        return this.#emit(false, text, logprobs, out)
    }
  }

  #inside(text: string, logprobs: Logprobs, out: Array<Piece>): void {
    this.#phase = "inside"
    this.#space = ""
    this.#tag = ""
    this.#reason(text, logprobs, out)
  }

  #reasoning(words: string, out: Array<Piece>): void {
    this.#emit(true, this.#reasoned ? this.#space + words : words.trimStart(), undefined, out)
    this.#reasoned = true
  }

  #reason(text: string, logprobs: Logprobs, out: Array<Piece>): void {
    const close = text.indexOf(closing)
    const tag = close === -1 ? begun(text, closing) : 0
    const said = close === -1 ? text.slice(0, text.length - tag) : text.slice(0, close)
    const words = said.trimEnd()
    if (words !== "") this.#reasoning(words, out)
    this.#space += said.slice(words.length)
    this.#tag = text.slice(text.length - tag)
    if (close !== -1) {
      this.#phase = "after"
      this.#push(text.slice(close + closing.length), logprobs, out)
    }
  }
}
