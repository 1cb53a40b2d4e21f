/**
 * Between the fields of an answer and the values of a signature, compiled once
 * per signature.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type { Decoded, Parsed, Problem, Raw } from "../Adapter.ts"
import * as Json from "../Json.ts"
import * as Signature from "../Signature.ts"
import * as coerce from "./coerce.ts"
import * as content from "./content.ts"
import * as history from "./history.ts"
import { Names } from "./markers.ts"
import * as signatureField from "./signatureField.ts"

export interface Codec {
  readonly inputs: ReadonlyArray<Wire>
  readonly outputs: ReadonlyArray<Wire>
  /** The input that is shown as turns. */
  readonly history: Wire | undefined
  readonly names: Names
  readonly decode: (parsed: Parsed) => Effect.Effect<Decoded, ReadonlyArray<Problem>>
  readonly encodeInputs: (input: unknown) => Effect.Effect<Json.JsonRecord, ReadonlyArray<Problem>>
}

/**
 * A field as it is written and read.
 */
export interface Wire extends Signature.Field {
  /** Whether every text is its own value. */
  readonly isText: boolean
  readonly reader: coerce.Reader
  readonly isNullable: boolean
  /** Whether it is, or has inside, what is shown as parts of a message. */
  readonly hasContent: boolean
}

const codecs = new WeakMap<Signature.Any, Codec>()

export const of = (signature: Signature.Any): Codec => {
  let codec = codecs.get(signature)
  if (codec === undefined) {
    const { inputs, outputs } = Signature.fields(signature)
    const wires = { inputs: inputs.map(wire), outputs: outputs.map(wire) }
    codec = {
      ...wires,
      history: wires.inputs.find((wire) => history.isOne(wire.schema.ast)),
      names: new Names(inputs.map(({ name }) => name), outputs.map(({ name }) => name)),
      decode: decoder(signature, wires.outputs),
      encodeInputs: encoder(signature, wires.inputs)
    }
    codecs.set(signature, codec)
  }
  return codec
}

const wire = (field: Signature.Field): Wire => {
  const ast = withoutUndefined(coerce.written(field.schema.ast))
  const isNullable = coerce.guard(ast)(null)
  // For an optional field the words that mean null elsewhere mean that it is absent.
  const readable = field.optional && !isNullable ? AST.Union.make([ast, AST.null]) : ast
  return {
    ...field,
    isText: coerce.isText(readable),
    reader: coerce.reader(readable),
    isNullable,
    hasContent: content.isIn(field.schema.ast)
  }
}

const withoutUndefined = (ast: AST.AST): AST.AST =>
  AST.isUnion(ast) ? AST.Union.make(ast.types.filter((type) => !AST.isUndefinedKeyword(type))) : ast

/**
 * The text of a value between markers. A string stands as it is unless it
 * would be read as something else; then it stands in quotes.
 */
export const valueText = (wire: Wire, value: Json.Json): string =>
  typeof value !== "string"
    ? JSON.stringify(value)
    : wire.isText || wire.reader.text(value, coerce.notes()) === value
    ? value
    : JSON.stringify(value)

/**
 * A value inside of a JSON object. A string that would be read as something else
 * stands in quotes of its own.
 */
export const jsonValue = (wire: Wire, value: Json.Json): Json.Json =>
  typeof value !== "string" || wire.isText || wire.reader.json(value, coerce.notes()) === value
    ? value
    : JSON.stringify(value)

// -----------------------------------------------------------------------------
// Outputs
// -----------------------------------------------------------------------------

// The AST of a signature's side needs no services: Signature.make demands it.
const schemaOf = (side: Signature.AnyFields): Schema.Schema<{ readonly [field: string]: unknown }, unknown> =>
  Schema.make(side.ast)

const decoder = (signature: Signature.Any, outputs: ReadonlyArray<Wire>): Codec["decode"] => {
  const schema = schemaOf(signature.output)
  // Exactly the keys that are there: not undefined for an absent one, nor what every object inherits (`constructor`).
  const decodeRecord = ParseResult.decodeUnknown(schema, { errors: "all", exact: true })
  const encodeRecord = ParseResult.encodeUnknown(schema, { errors: "all" })
  const asTexts = outputs.every((wire) => wire.schema.ast._tag === "StringKeyword" && !wire.optional)
  return (parsed) => {
    const repairs = parsed.repairs.slice()
    const problems: Array<Problem> = []
    const encoded: { [field: string]: Json.Json } = {}
    let complete = true
    for (const wire of outputs) {
      const raw = parsed.fields.get(wire.name)
      const value = raw === undefined ? undefined : read(wire, raw, repairs, problems)
      if (value !== undefined) encoded[wire.name] = value
      else {
        complete = false
        if (wire.isNullable && !wire.optional && raw === undefined) {
          encoded[wire.name] = null
          repairs.push(`field "${wire.name}": is missing and was read as null`)
        }
      }
    }
    if (
      asTexts && complete && problems.length === 0 && outputs.every((wire) => typeof encoded[wire.name] === "string")
    ) {
      return Effect.succeed({ value: { ...encoded }, encoded, repairs })
    }
    const finish = (result: Result<{ readonly [field: string]: unknown }>) => {
      if (Either.isLeft(result)) {
        const unreadable = new Set(problems.map((problem) => problem.field))
        for (const problem of issues(result.left, outputs)) {
          if (!unreadable.has(problem.field)) problems.push(problem)
        }
      }
      if (Either.isLeft(result) || problems.length > 0) return Effect.fail(problems)
      const value = result.right
      if (complete) return Effect.succeed({ value, encoded, repairs })
      // Values that a default supplied belong into demonstrations as well, where the schema can write them.
      return Effect.matchEffect(encodeRecord(value), {
        onFailure: () => Effect.succeed({ value, encoded, repairs }),
        onSuccess: (whole) => Effect.succeed({ value, encoded: Json.isJsonRecord(whole) ? whole : encoded, repairs })
      })
    }
    return settled(decodeRecord(encoded), finish)
  }
}

type Result<A> = Either.Either<A, ParseResult.ParseIssue>

// A synchronous schema answers with an Either: no fiber has to look at it.
const isSettled = <A>(
  result: Effect.Effect<A, ParseResult.ParseIssue>
): result is Effect.Effect<A, ParseResult.ParseIssue> & Result<A> => Either.isEither(result)

const settled = <A, B, E>(
  result: Effect.Effect<A, ParseResult.ParseIssue>,
  finish: (result: Result<A>) => Effect.Effect<B, E>
): Effect.Effect<B, E> => isSettled(result) ? finish(result) : Effect.flatMap(Effect.either(result), finish)

const read = (
  wire: Wire,
  raw: Raw,
  repairs: Array<string>,
  problems: Array<Problem>
): Json.Json | undefined => {
  if (wire.isText && (raw._tag === "Text" || typeof raw.value === "string")) {
    return raw._tag === "Text" ? raw.text : raw.value
  }
  const notes = coerce.notes()
  const value = raw._tag === "Text" ? wire.reader.text(raw.text, notes) : wire.reader.json(raw.value, notes)
  for (const repair of notes.repairs) repairs.push(`field "${wire.name}": ${repair}`)
  for (const problem of notes.problems) {
    problems.push({ ...problem, field: wire.name, description: `field "${wire.name}": ${problem.description}` })
  }
  return value === null && wire.optional && !wire.isNullable ? undefined : value
}

// -----------------------------------------------------------------------------
// Inputs
// -----------------------------------------------------------------------------

const encoder = (signature: Signature.Any, inputs: ReadonlyArray<Wire>): Codec["encodeInputs"] => {
  const encodeRecord = ParseResult.encodeUnknown(schemaOf(signature.input), { errors: "all" })
  const asTexts = inputs.every((wire) => wire.schema.ast._tag === "StringKeyword" && !wire.optional)
  const finish = (result: Result<unknown>): Effect.Effect<Json.JsonRecord, ReadonlyArray<Problem>> => {
    if (Either.isLeft(result)) return Effect.fail(issues(result.left, inputs))
    const record = result.right as { readonly [field: string]: unknown } // a struct encodes to a record
    const encoded: { [field: string]: Json.Json } = {}
    const problems: Array<Problem> = []
    for (const { name } of inputs) {
      const value = record[name]
      if (value === undefined) continue
      if (Json.isJson(value)) encoded[name] = value
      else {
        problems.push({
          kind: "type",
          field: name,
          description:
            `field "${name}": the value cannot be written as JSON: give the field a schema whose encoded side is JSON`,
          got: got(value)
        })
      }
    }
    return problems.length > 0 ? Effect.fail(problems) : Effect.succeed(encoded)
  }
  return (input) => {
    if (asTexts && Predicate.isRecord(input)) {
      const encoded: { [field: string]: Json.Json } = {}
      let valid = true
      for (const { name } of inputs) {
        const value = input[name]
        if (typeof value === "string") encoded[name] = value
        else valid = false
      }
      if (valid) return Effect.succeed(encoded)
    }
    return settled(encodeRecord(input), finish)
  }
}

// -----------------------------------------------------------------------------
// Problems in words
// -----------------------------------------------------------------------------

/** What a schema found wrong with a record; `wires` say what was expected of its fields. */
export const issues = (issue: ParseResult.ParseIssue, wires: ReadonlyArray<Wire>): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  const add = (kind: Problem["kind"], path: ReadonlyArray<PropertyKey>, text: string, got?: string) => {
    const [field] = path
    problems.push({
      kind,
      ...(field === undefined ? undefined : { field: String(field) }),
      description: field === undefined ? text : `field "${pathText(path)}": ${text}`,
      ...(got === undefined ? undefined : { got })
    })
  }
  const visit = (issue: ParseResult.ParseIssue, path: ReadonlyArray<PropertyKey>): void => {
    switch (issue._tag) {
      case "Pointer":
        return visit(issue.issue, path.concat(issue.path))
      case "Composite": {
        const parts = Array.isArray(issue.issues) ? issue.issues : [issue.issues]
        if (!AST.isUnion(issue.ast)) return parts.forEach((part) => visit(part, path))
        const [only, ...more] = parts.filter((part) => !("ast" in part) || !AST.isUndefinedKeyword(part.ast))
        return only !== undefined && more.length === 0 ? visit(only, path) : mismatch(issue, path)
      }
      case "Refinement":
        // A filter may say what is wrong in words, or at which place.
        return issue.kind === "From" || issue.issue._tag !== "Type"
          ? visit(issue.issue, path)
          : mismatch(issue, path, issue.issue.message)
      case "Transformation":
        return issue.kind === "Transformation" && issue.issue._tag === "Type"
          ? mismatch(issue, path, issue.issue.message)
          : visit(issue.issue, path)
      case "Missing":
        return add("missing", path, `is missing${expectation(issue.ast.type, path, ", expected ")}`)
      case "Unexpected":
        return add("type", path, "is not expected")
      case "Forbidden":
        return add("type", path, issue.message ?? "cannot be read")
      case "Type":
        return AST.isRefinement(issue.ast)
          ? add("type", path, "is refused by a check of its schema", saying(issue.actual, issue.message))
          : mismatch(issue, path, issue.message)
    }
  }
  const mismatch = (
    issue: ParseResult.Composite | ParseResult.Refinement | ParseResult.Transformation | ParseResult.Type,
    path: ReadonlyArray<PropertyKey>,
    said?: string
  ): void => {
    const custom = Option.getOrUndefined(AST.getMessageAnnotation(issue.ast))?.(issue)
    const expected = typeof custom === "string"
      ? custom
      : expectation(issue.ast, path, "expected ") + (AST.isTransformation(issue.ast) ? decodable(issue.ast) : "")
    add("type", path, expected, saying(issue.actual, said))
  }
  const expectation = (ast: AST.AST, path: ReadonlyArray<PropertyKey>, lead: string): string => {
    const wire = path.length === 1 ? wires.find(({ name }) => name === path[0]) : undefined
    const text = wire === undefined ? signatureField.typeText(ast) : wire.type
    const more = wire === undefined && AST.isRefinement(ast)
      ? Option.getOrUndefined(AST.getDescriptionAnnotation(ast))
      : wire?.constraints
    return `${lead}${text}${more === undefined ? "" : ` (${more})`}`
  }
  visit(issue, [])
  return problems
}

const decodable = (ast: AST.Transformation): string =>
  ` that can be decoded${
    Option.match(AST.getIdentifierAnnotation(ast), { onNone: () => "", onSome: (id) => ` as ${id}` })
  }`

// What a schema says of a value may quote it, so it stands with it.
const saying = (value: unknown, said: string | undefined): string =>
  said === undefined ? got(value) : `${got(value)} (${said})`

const pathText = (path: ReadonlyArray<PropertyKey>): string =>
  path.reduce<string>(
    (text, key) => text === "" ? String(key) : typeof key === "number" ? `${text}[${key}]` : `${text}.${String(key)}`,
    ""
  )

const got = (value: unknown): string => {
  const text = textOf(value)
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}

const textOf = (value: unknown): string => {
  if (Json.isJson(value)) return JSON.stringify(value)
  try {
    return String(value)
  } catch {
    return typeof value // an object may be made so that it has no text
  }
}
