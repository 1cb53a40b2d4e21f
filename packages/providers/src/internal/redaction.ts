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

// What keys of well-known providers look like.
const keys = /\b(?:(?:sk|gsk|xai|hf|ghp|github_pat)[-_]|AIza)(?=[-_A-Za-z]*\d)[-_A-Za-z0-9]{20,}/g

const replacement = "<redacted>"

/** A text, or what texts look like, that must not be kept. */
export type Secret = string | RegExp | Redacted.Redacted

/** Data of the same schema, as it is encoded, without the secrets. */
export type Redact = <A, I>(schema: Schema.Schema<A, I>) => (encoded: I) => I

/**
 * Takes out these secrets, and whatever looks like the key of a provider.
 */
export const make = (secrets: ReadonlyArray<Secret>): Redact => {
  const patterns = [keys, ...secrets.flatMap(patternsOf)].filter((pattern) => pattern !== "")
  const text = (text: string): string => {
    for (const pattern of patterns) text = text.replaceAll(pattern, replacement)
    return text
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

const patternsOf = (secret: Secret): ReadonlyArray<string | RegExp> =>
  Predicate.isRegExp(secret)
    ? [new RegExp(secret.source, `${secret.flags.replace("g", "")}g`)]
    : spellings(Redacted.isRedacted(secret) ? Redacted.value(secret) : secret)

// As it is, and as it stands in JSON and in JSON within that, which arguments of tools and answers in JSON are.
const spellings = (secret: string): ReadonlyArray<string> => {
  const inJson = escaped(secret)
  return [...new Set([secret, inJson, escaped(inJson)])]
}

const escaped = (text: string): string => JSON.stringify(text).slice(1, -1)
