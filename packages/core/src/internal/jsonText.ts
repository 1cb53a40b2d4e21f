/**
 * JSON as models write it, read piece by piece, without recursion and in time
 * linear in the text. What has one meaning only is mended and noted: trailing
 * commas, other quotes, unquoted keys, Python's words, comments, raw control
 * characters, other spellings of numbers. Nothing is closed, completed or
 * moved: text that is not complete is not read.
 */
import * as Either from "effect/Either"
import type { Problem } from "../Adapter.ts"
import * as Json from "../Json.ts"

const maxDepth = 128

/**
 * How many places of a text are tried as the beginning of the JSON in it.
 */
export const maxCandidates = 32

/**
 * The key that would change the prototype of the object it is assigned to.
 */
export const forbiddenKey: Problem = { kind: "forbiddenKey", description: "the key \"__proto__\" is not allowed" }

/**
 * The number a text stands for, unless JavaScript has no such number.
 */
export const exactNumber = (text: string): number | undefined => {
  // No number that JavaScript writes is nearly that long.
  if (text.length > 400 || !/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)) return undefined
  const value = Number(text) + 0 // there is no other zero in JSON
  if (!Number.isFinite(value)) return undefined
  if (Number.isSafeInteger(value) || !/^[+-]?\d+$/.test(text)) return value
  const digits = text.replace(/^([+-]?)0*(?=\d)/, (_, sign) => sign === "-" ? "-" : "")
  return String(value) === digits || BigInt(digits) === BigInt(value) ? value : undefined
}

/**
 * Watches the members of the outermost object: strings as they are unescaped,
 * other values as they are written.
 */
export interface Watch {
  readonly start: (key: string) => void
  readonly delta: (text: string) => void
  readonly end: (value: Json.Json) => void
}

interface Level {
  readonly array: Array<Json.Json> | undefined
  readonly object: { [key: string]: Json.Json } | undefined
  key: string
}

const Value = 0
const FirstValue = 1 // or the end of the array
const Key = 2 // or the end of the object, after a comma
const FirstKey = 3 // or the end of the object
const Colon = 4
const After = 5
const InString = 6
const Escape = 7
const Unicode = 8
const InToken = 9
const Slash = 10
const LineComment = 11
const BlockComment = 12
const BlockStar = 13

const words: ReadonlyMap<string, Json.Json> = new Map<string, Json.Json>([
  ["true", true],
  ["false", false],
  ["null", null],
  ["True", true],
  ["False", false],
  ["None", null]
])

const escapes: ReadonlyMap<string, string> = new Map([
  ["\"", "\""],
  ["\\", "\\"],
  ["/", "/"],
  ["b", "\b"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"]
])

const isSpace = (code: number): boolean =>
  code === 32 || (code >= 9 && code <= 13) || code === 0xfeff || code === 0xa0 || code === 0x2028 || code === 0x2029

const isHex = (code: number): boolean =>
  (code >= 48 && code <= 57) || (code >= 65 && code <= 70) || (code >= 97 && code <= 102)

// Characters of numbers, words and unquoted keys.
const isToken = (code: number): boolean =>
  (code >= 97 && code <= 122) || (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || code === 95 ||
  code === 36 || code === 43 || code === 45 || code === 46 || (code > 0xa0 && code !== 0xfeff)

/**
 * Reads one JSON value.
 */
export class Reader {
  readonly repairs = new Set<string>()
  status: "reading" | "done" | "failed" = "reading"
  value: Json.Json = null
  problem: Problem = { kind: "syntax", description: "the JSON is not complete" }

  readonly #watch: Watch | undefined
  readonly #stack: Array<Level> = []
  #state = Value
  #quote = 0
  #isKey = false
  #token = ""
  #string = ""
  // A first half of a character, written as an escape, that waits for the second.
  #high = 0
  #hex = ""
  #afterComment = Value
  // Where in the current piece of text the watched raw value goes on, or -1.
  #raw = -1

  constructor(watch?: Watch) {
    this.#watch = watch
  }

  /**
   * Reads on from a place and returns the first one that does not belong to
   * the value, or the one where reading failed.
   */
  read(text: string, from: number): number {
    let at = from
    if (this.#raw !== -1) this.#raw = from
    while (at < text.length && this.status === "reading") at = this.#step(text, at)
    if (this.#raw !== -1 && at > this.#raw) this.#watch?.delta(text.slice(this.#raw, at))
    return at
  }

  /**
   * The text has come to its end. A number or word may end there too.
   */
  end(): void {
    if (this.status === "reading" && this.#state === InToken && this.#stack.length === 0) this.#endToken()
    if (this.status === "reading") this.status = "failed"
  }

  /**
   * Whether the outermost object could end here: nothing in it is half read.
   */
  get isBetweenMembers(): boolean {
    return this.#stack.length === 1 && (this.#state === After || this.#state === Key)
  }

  #step(text: string, at: number): number {
    const code = text.charCodeAt(at)
    switch (this.#state) {
      case InString:
        return this.#inString(text, at)
      case Escape:
        return this.#escape(text[at]!, at)
      case Unicode:
        return this.#unicode(text[at]!, at)
      case InToken: {
        let end = at
        while (end < text.length && isToken(text.charCodeAt(end))) end++
        this.#token += text.slice(at, end)
        if (end < text.length) this.#endToken(text, end)
        return end
      }
      case Slash:
        if (code !== 47 && code !== 42) return this.#fail("a stray /", at)
        this.#state = code === 47 ? LineComment : BlockComment
        return at + 1
      case LineComment:
        if (code === 10 || code === 13) this.#state = this.#afterComment
        return at + 1
      case BlockComment:
        if (code === 42) this.#state = BlockStar
        return at + 1
      case BlockStar:
        this.#state = code === 47 ? this.#afterComment : code === 42 ? BlockStar : BlockComment
        return at + 1
    }
    if (isSpace(code)) {
      let end = at + 1
      while (end < text.length && isSpace(text.charCodeAt(end))) end++
      return end
    }
    if (code === 47 || code === 35) {
      this.repairs.add("comments")
      this.#afterComment = this.#state
      this.#state = code === 47 ? Slash : LineComment
      return at + 1
    }
    switch (this.#state) {
      case FirstValue:
      case Value:
        if (code === 93 && this.#top?.array !== undefined) {
          if (this.#state === Value) this.repairs.add("a trailing comma")
          return this.#close(text, at)
        }
        return this.#beginValue(text, at, code)
      case FirstKey:
      case Key:
        if (code === 125) {
          if (this.#state === Key) this.repairs.add("a trailing comma")
          return this.#close(text, at)
        }
        this.#isKey = true
        if (code === 34 || code === 39) return this.#beginString(code, at)
        if (isToken(code)) {
          this.#token = ""
          this.#state = InToken
          return at
        }
        return this.#unexpected(text, at)
      case Colon:
        if (code !== 58) return this.#unexpected(text, at)
        this.#state = Value
        return at + 1
      default: {
        const top = this.#top
        if (code === 44) {
          this.#state = top?.array === undefined ? Key : Value
          return at + 1
        }
        return code === (top?.array === undefined ? 125 : 93) ? this.#close(text, at) : this.#unexpected(text, at)
      }
    }
  }

  get #top(): Level | undefined {
    return this.#stack[this.#stack.length - 1]
  }

  #fail(what: string, at: number, got?: string): number {
    this.status = "failed"
    this.problem = {
      kind: "syntax",
      description: `the JSON is not valid: ${what}`,
      ...(got === undefined ? undefined : { got })
    }
    return at
  }

  #unexpected(text: string, at: number): number {
    return this.#fail("something unexpected", at, JSON.stringify(String.fromCodePoint(text.codePointAt(at)!)))
  }

  // ---------------------------------------------------------------------------
  // Containers
  // ---------------------------------------------------------------------------

  #beginValue(text: string, at: number, code: number): number {
    const member = this.#stack.length === 1 && this.#top?.object !== undefined
    this.#isKey = false
    if (code === 34 || code === 39) {
      if (member) this.#watch?.start(this.#top.key)
      return this.#beginString(code, at)
    }
    if (code === 123 || code === 91 || isToken(code)) {
      if (member && this.#watch !== undefined) {
        this.#watch.start(this.#top.key)
        this.#raw = at
      }
    } else return this.#unexpected(text, at)
    if (code !== 123 && code !== 91) {
      this.#token = ""
      this.#state = InToken
      return at
    }
    if (this.#stack.length === maxDepth) {
      this.status = "failed"
      this.problem = { kind: "depth", description: `the JSON is nested more than ${maxDepth} levels deep` }
      return at
    }
    this.#stack.push(
      code === 91 ? { array: [], object: undefined, key: "" } : { array: undefined, object: {}, key: "" }
    )
    this.#state = code === 91 ? FirstValue : FirstKey
    return at + 1
  }

  #close(text: string, at: number): number {
    const level = this.#stack.pop()!
    this.#endValue((level.array ?? level.object)!, text, at + 1)
    return at + 1
  }

  #endValue(value: Json.Json, text = "", end = 0): void {
    const level = this.#top
    if (level === undefined) {
      this.value = value
      this.status = "done"
      return
    }
    this.#state = After
    if (level.array !== undefined) {
      level.array.push(value)
      return
    }
    const object = level.object!
    if (Object.hasOwn(object, level.key)) {
      if (Json.canonical(object[level.key]) !== Json.canonical(value)) {
        this.#fail("a key stands twice, with different values", end, shortened(level.key))
        return
      }
      this.repairs.add("a repeated key")
    } else object[level.key] = value
    if (this.#stack.length === 1 && this.#watch !== undefined) {
      if (this.#raw !== -1) {
        if (end > this.#raw) this.#watch.delta(text.slice(this.#raw, end))
        this.#raw = -1
      }
      this.#watch.end(value)
    }
  }

  #endKey(key: string, at: number): number {
    if (key === "__proto__") {
      this.status = "failed"
      this.problem = forbiddenKey
      return at
    }
    this.#top!.key = key
    this.#state = Colon
    return at
  }

  // ---------------------------------------------------------------------------
  // Strings
  // ---------------------------------------------------------------------------

  #beginString(quote: number, at: number): number {
    if (quote === 39) this.repairs.add("single quotes")
    this.#quote = quote
    this.#string = ""
    this.#state = InString
    return at + 1
  }

  #append(text: string): void {
    this.#string += text
    if (!this.#isKey && this.#stack.length === 1 && this.#top!.object !== undefined) this.#watch?.delta(text)
  }

  #inString(text: string, from: number): number {
    let read = ""
    let start = from
    let at = from
    let code = 0
    while (at < text.length) {
      code = text.charCodeAt(at)
      if (code === this.#quote) break
      if (code === 92) {
        const meant = at + 1 < text.length ? escapes.get(text[at + 1]!) : undefined
        if (meant === undefined) break
        read += text.slice(start, at) + meant
        at += 2
        start = at
        continue
      }
      if (code < 32) this.repairs.add("raw control characters in a string")
      at++
    }
    read += text.slice(start, at)
    if (read !== "") {
      this.#endHigh()
      this.#append(read)
    }
    if (at === text.length) return at
    if (code === 92) {
      this.#state = Escape
      return at + 1
    }
    this.#endHigh()
    if (this.#isKey) return this.#endKey(this.#string, at + 1)
    this.#endValue(this.#string)
    return at + 1
  }

  #endHigh(): void {
    if (this.#high === 0) return
    this.#high = 0
    this.#replaced()
  }

  #replaced(): void {
    this.repairs.add("half a character (a lone surrogate)")
    this.#append("\uFFFD")
  }

  #escape(char: string, at: number): number {
    this.#state = InString
    if (char === "u") {
      this.#hex = ""
      this.#state = Unicode
      return at + 1
    }
    this.#endHigh()
    const meant = escapes.get(char)
    if (meant !== undefined) {
      this.#append(meant)
      return at + 1
    }
    this.repairs.add("an unknown escape in a string")
    // A backslash that escapes nothing is itself, as in `\alpha`; the character after it is read again.
    if (char !== "'") this.#append("\\")
    else this.#append(char)
    return char === "'" ? at + 1 : at
  }

  #unicode(char: string, at: number): number {
    if (!isHex(char.charCodeAt(0))) {
      this.#endHigh()
      this.repairs.add("an unknown escape in a string")
      this.#append(`\\u${this.#hex}`)
      this.#state = InString
      return at
    }
    this.#hex += char
    if (this.#hex.length < 4) return at + 1
    this.#state = InString
    const code = Number.parseInt(this.#hex, 16)
    if (code >= 0xdc00 && code <= 0xdfff) {
      if (this.#high === 0) this.#replaced()
      else {
        this.#append(String.fromCharCode(this.#high, code))
        this.#high = 0
      }
      return at + 1
    }
    this.#endHigh()
    if (code >= 0xd800 && code <= 0xdbff) this.#high = code
    else this.#append(String.fromCharCode(code))
    return at + 1
  }

  // ---------------------------------------------------------------------------
  // Words and numbers
  // ---------------------------------------------------------------------------

  #endToken(text = "", end = 0): void {
    const token = this.#token
    if (this.#isKey) {
      if (!/^(?:[\p{L}_$][\p{L}\p{N}_$-]*|\d+)$/u.test(token)) {
        this.#fail("something unexpected", end, shortened(token))
        return
      }
      this.repairs.add("unquoted keys")
      this.#endKey(token, end)
      return
    }
    const value = this.#scalar(token)
    if (value === undefined) this.#fail("something unexpected", end, shortened(token))
    else this.#endValue(value, text, end)
  }

  #scalar(token: string): Json.Json | undefined {
    const word = words.get(token)
    if (word !== undefined) {
      if (token.charCodeAt(0) < 97) this.repairs.add("Python words")
      return word
    }
    if (/^-?(?:NaN|Infinity)$/.test(token)) {
      this.repairs.add(`${token}, kept as text`)
      return token
    }
    const plain = token.length > 400 ? token : token.replace(/(\d)_(?=\d)/g, "$1")
    const number = exactNumber(plain)
    if (number !== undefined) {
      if (!/^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(token)) this.repairs.add("the spelling of a number")
      return number
    }
    if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(plain)) return undefined
    // JavaScript has no such number: whoever wants text gets it whole, and a number field refuses it.
    this.repairs.add("a number out of range, kept as text")
    return token
  }
}

const shortened = (text: string): string => JSON.stringify(text.length > 40 ? `${text.slice(0, 39)}…` : text)

// -----------------------------------------------------------------------------
// Whole texts
// -----------------------------------------------------------------------------

export interface Found {
  readonly value: Json.Json
  readonly repairs: ReadonlyArray<string>
}

const found = (reader: Reader, around: boolean): Found => ({
  value: reader.value,
  repairs: [
    ...Array.from(reader.repairs, (repair) => `the JSON was mended: ${repair}`),
    ...(around ? ["text around the JSON was left out"] : [])
  ]
})

const isFatal = (problem: Problem): boolean => problem.kind !== "syntax"

/**
 * The value of a text that is JSON as it stands.
 */
export const strict = (text: string): Json.Json | undefined => {
  const reader = new Reader()
  const end = reader.read(text, 0)
  reader.end()
  return reader.status === "done" && reader.repairs.size === 0 && text.slice(end).trim() === ""
    ? reader.value
    : undefined
}

/**
 * The JSON that a text is, or the one object or array in it that is accepted.
 */
export const find = (text: string, accept: (value: Json.Json) => boolean): Either.Either<Found, Problem> => {
  const whole = new Reader()
  const end = whole.read(text, 0)
  whole.end()
  if (whole.status === "done" && text.slice(end).trim() === "") return Either.right(found(whole, false))
  if (whole.status === "failed" && isFatal(whole.problem)) return Either.left(whole.problem)
  let best: Found | undefined
  let problem = whole.status === "failed" ? whole.problem : undefined
  const bracket = /[[{]/g
  for (let candidates = 0; candidates < maxCandidates; candidates++) {
    const start = bracket.exec(text)?.index
    if (start === undefined) break
    const reader = new Reader()
    bracket.lastIndex = Math.max(start + 1, reader.read(text, start))
    if (reader.status === "done" && accept(reader.value)) {
      const candidate = found(reader, text.replace(/```\w*/g, "").trim().length > bracket.lastIndex - start)
      if (best !== undefined && Json.canonical(best.value) !== Json.canonical(candidate.value)) {
        return Either.left({ kind: "syntax", description: "there is more than one JSON value that would do" })
      }
      best ??= candidate
    } else if (reader.status === "failed") {
      if (isFatal(reader.problem)) return Either.left(reader.problem)
      problem ??= reader.problem
    }
  }
  return best === undefined
    ? Either.left(problem ?? { kind: "syntax", description: "there is no JSON of the type wanted" })
    : Either.right(best)
}
