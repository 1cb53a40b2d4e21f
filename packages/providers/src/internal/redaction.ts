/**
 * Secrets are taken out of what data says, never out of how it is built: a word
 * that a schema gives a meaning (a tag, a role, a finish reason) stays, whatever
 * the patterns hit, so that what is left fits its schema still.
 *
 * @since 0.1.0
 */
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"

// What keys of well-known providers look like. A digit is looked for nearby, or a text of many such beginnings would take
// the square of its length.
const keys = /\b(?:(?:sk|gsk|xai|hf|ghp|github_pat)[-_]|AIza)(?=[-_A-Za-z]{0,256}\d)[-_A-Za-z0-9]{20,}/g

const replacement = "<redacted>"

/** A text, or what texts look like, that must not be kept. */
export type Secret = string | RegExp | Redacted.Redacted

/** Data of the same schema, as it is encoded, without the secrets. */
export type Redact = <A, I>(schema: Schema.Schema<A, I>) => (encoded: I) => I

/**
 * Takes out these secrets, and whatever looks like the key of a provider.
 */
export const make = (secrets: ReadonlyArray<Secret>): Redact => {
  const patterns = [keys, ...secrets.flatMap(patternOf)]
  const text = (text: string): string => {
    const found = readings(text).flatMap(({ places, text }) =>
      patterns.flatMap((pattern) =>
        Array.from(text.matchAll(pattern), ({ 0: hit, index }) => ({
          from: placeIn(places, index),
          to: placeIn(places, index + hit.length)
        }))
      )
    )
    return found.length === 0 ? text : without(text, found)
  }

  // JSON of no known form, where a name may be a secret too.
  const free = (value: unknown): unknown =>
    typeof value === "string"
      ? text(value)
      : Array.isArray(value)
      ? value.map(free)
      : Predicate.isRecord(value)
      ? Object.fromEntries(Object.entries(value).map(([name, item]) => [text(name), free(item)]))
      : value

  const walk = (ast: SchemaAST.AST, value: unknown): unknown => {
    switch (ast._tag) {
      case "StringKeyword":
      case "Declaration":
        return free(value)
      case "Suspend":
        return walk(ast.f(), value)
      case "Union": {
        const member = ast.types.find((member) => ParseResult.is(Schema.make(member))(value))
        return member === undefined ? free(value) : walk(member, value)
      }
      case "TypeLiteral": {
        if (!Predicate.isRecord(value)) return value
        const types = new Map(ast.propertySignatures.map(({ name, type }) => [name, type]))
        return Object.fromEntries(
          Object.entries(value).map(([name, item]) => {
            const type = types.get(name)
            return [name, type === undefined ? free(item) : walk(type, item)]
          })
        )
      }
      case "TupleType": {
        if (!Array.isArray(value)) return value
        const types = [...ast.elements, ...ast.rest].map(({ type }) => type)
        return value.map((item, index) => {
          const type = types[Math.min(index, types.length - 1)]
          return type === undefined ? free(item) : walk(type, item)
        })
      }
      default:
        return value
    }
  }

  return <A, I>(schema: Schema.Schema<A, I>) => {
    const { ast } = Schema.encodedSchema(schema)
    return (encoded: I) => walk(ast, encoded) as I // of the same schema: only free texts change
  }
}

const patternOf = (secret: Secret): ReadonlyArray<RegExp> => {
  if (Predicate.isRegExp(secret)) return [new RegExp(secret.source, `${secret.flags.replace("g", "")}g`)]
  const text = Redacted.isRedacted(secret) ? Redacted.value(secret) : secret
  return text === "" ? [] : [new RegExp(text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "g")]
}

// =============================================================================
// Secrets that are spelled another way
// =============================================================================

// A text as somebody reads it who takes it for JSON, and where its characters stand in what is written.
interface Reading {
  readonly text: string
  readonly places: ReadonlyArray<number> | undefined
}

const placeIn = (places: Reading["places"], index: number): number => places?.[index] ?? index

// Arguments of tools are JSON, and hold answers in JSON that quote others: nobody goes deeper than this.
const deepest = 16

const readings = (text: string): ReadonlyArray<Reading> => {
  const all: Array<Reading> = [{ text, places: undefined }]
  for (let last: Reading | undefined = all[0]; last !== undefined && all.length <= deepest; last = unescaped(last)) {
    if (last.places !== undefined) all.push(last)
  }
  return all
}

const escapes = /\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))/g

const meanings: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" }

const unescaped = ({ places, text }: Reading): Reading | undefined => {
  const read: Array<string> = []
  const written: Array<number> = []
  let at = 0
  const plain = (end: number) => {
    read.push(text.slice(at, end))
    for (; at < end; at++) written.push(placeIn(places, at))
  }
  for (const { 0: escape, 1: code, 2: letter = "", index } of text.matchAll(escapes)) {
    plain(index)
    read.push(code === undefined ? meanings[letter] ?? letter : String.fromCharCode(Number.parseInt(code, 16)))
    written.push(placeIn(places, at))
    at += escape.length
  }
  if (at === 0) return undefined
  plain(text.length)
  written.push(placeIn(places, text.length))
  return { text: read.join(""), places: written }
}

const without = (text: string, found: ReadonlyArray<{ readonly from: number; readonly to: number }>): string => {
  let left = ""
  let end = 0
  for (const { from, to } of found.toSorted((a, b) => a.from - b.from || b.to - a.to)) {
    if (from >= end && to > from) left += text.slice(end, from) + replacement
    end = Math.max(end, to)
  }
  return left + text.slice(end)
}
