/**
 * JSON text from a file nobody vouches for: what is refused is refused before
 * anything is built from it, in linear time, without recursion, and with its
 * line and column.
 */
import * as Either from "effect/Either"
import type { Json } from "../Json.ts"

/** The most that is read, in bytes of a file and in UTF-16 code units of a text. */
export const maxSize = 16 * 1024 * 1024

/** How deeply lists and objects may be nested. */
const maxDepth = 64

export interface Refusal {
  readonly kind: "size" | "syntax" | "depth" | "forbiddenKey"
  readonly description: string
}

export const tooLarge: Refusal = { kind: "size", description: `it is larger than ${maxSize / 1024 / 1024} MiB` }

export const notText: Refusal = { kind: "syntax", description: "the text is not UTF-8" }

export const parse = (text: string): Either.Either<Json, Refusal> => {
  if (text.length > maxSize) return Either.left(tooLarge)
  const refused = scan(text)
  if (refused !== undefined) {
    const before = text.slice(0, refused.at).split("\n")
    const place = `line ${before.length}, column ${before.at(-1)!.length + 1}` // a split gives at least one part
    return Either.left({ kind: refused.kind, description: `${refused.description} at ${place}` })
  }
  return Either.right(JSON.parse(text))
}

type Found = Refusal & { readonly at: number }

const scan = (text: string): Found | undefined => {
  const open: Array<"{" | "["> = []
  let next: "value" | "key" | "colon" | "more" = "value"
  let empty = false // right after an opening bracket
  let at = 0
  const refuse = (kind: Refusal["kind"], description: string): Found => ({ kind, description, at })
  const unexpected = () =>
    refuse("syntax", at === text.length ? "the JSON ends too early" : `it is not JSON: unexpected ${quoted(text, at)}`)
  for (;;) {
    at = after(space, text, at)
    const char = text[at]
    if (char === undefined) return next === "more" && open.length === 0 ? undefined : unexpected()
    if (char === "}" || char === "]") {
      if (!(empty || (next === "more" && open.length > 0)) || open.pop() !== (char === "}" ? "{" : "[")) {
        return unexpected()
      }
      next = "more"
      empty = false
      at++
      continue
    }
    empty = false
    switch (next) {
      case "more":
        if (char !== "," || open.length === 0) return unexpected()
        next = open.at(-1) === "{" ? "key" : "value"
        at++
        break
      case "colon":
        if (char !== ":") return unexpected()
        next = "value"
        at++
        break
      case "key": {
        const end = char === "\"" ? endOfString(text, at) : -1
        if (end === -1) return unexpected()
        if (JSON.parse(text.slice(at, end)) === "__proto__") {
          return refuse("forbiddenKey", "the key __proto__ is refused")
        }
        next = "colon"
        at = end
        break
      }
      case "value": {
        if (char === "{" || char === "[") {
          if (open.push(char) > maxDepth) return refuse("depth", `it is nested more than ${maxDepth} levels deep`)
          next = char === "{" ? "key" : "value"
          empty = true
          at++
          break
        }
        const end = char === "\"" ? endOfString(text, at) : after(scalar, text, at)
        if (end === -1 || end === at) return unexpected()
        next = "more"
        at = end
      }
    }
  }
}

const space = /[ \t\n\r]*/y
const scalar = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)?/y
const escape = /\\(?:["\\/bfnrt]|u[\da-fA-F]{4})/y

// Where the match of a sticky pattern that always matches ends.
const after = (pattern: RegExp, text: string, at: number): number => {
  pattern.lastIndex = at
  pattern.test(text)
  return pattern.lastIndex
}

const endOfString = (text: string, start: number): number => {
  for (let at = start + 1; at < text.length;) {
    const code = text.charCodeAt(at)
    if (code === 0x22) return at + 1
    if (code < 0x20) return -1
    if (code === 0x5c) {
      escape.lastIndex = at
      if (!escape.test(text)) return -1
      at = escape.lastIndex
    } else at++
  }
  return -1
}

const quoted = (text: string, at: number): string => JSON.stringify(text.slice(at, at + 12).split("\n", 1)[0])
