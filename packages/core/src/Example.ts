/**
 * An `Example` is one labelled case: typed inputs for a module, and labels
 * that a metric compares its output with. Datasets come from JSONL, JSON and
 * CSV, decoded by schemas; a row that does not fit is reported, never left out.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { describe } from "./Adapter.ts"
import { issues } from "./internal/codec.ts"
import * as csv from "./internal/csv.ts"
import * as jsonFile from "./internal/jsonFile.ts"
import { listed } from "./internal/listed.ts"
import * as Json from "./Json.ts"

/**
 * `id` names the example in journals, reports and score caches; equal data has
 * equal ids unless you give your own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Example<out In, out Labels> {
  readonly id: string
  readonly inputs: In
  readonly labels: Labels
}

/**
 * Builds one example. Without `id` it is the first 16 digits of the hash of
 * inputs and labels.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 *
 * const example = Example.make({ inputs: { question: "2 + 2?" }, labels: { answer: 4 } })
 *
 * assert.strictEqual(example.labels.answer, 4)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Labels>(options: {
  readonly id?: string | undefined
  readonly inputs: In
  readonly labels: Labels
}): Example<In, Labels> => ({
  id: options.id ?? idOf(options.inputs, options.labels),
  inputs: options.inputs,
  labels: options.labels
})

const idOf = (inputs: unknown, labels: unknown): string => Json.hash([inputs, labels]).slice(0, 16)

// =============================================================================
// Datasets
// =============================================================================

/**
 * What the rows of a dataset hold. Each row is one flat record; `inputs` and
 * `labels` each take their fields out of it, and fields that neither has are
 * left out. The two sides of a signature, or a part of one
 * (`signature.output.pick("team")`), are such schemas.
 *
 * `id` names the field whose text or number is the id of the example. Without
 * it ids are made from the data, as `make` does.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fields<in out In, in out InEncoded, in out Labels, in out LabelsEncoded> {
  readonly inputs: Schema.Schema<In, InEncoded>
  readonly labels: Schema.Schema<Labels, LabelsEncoded>
  readonly id?: string | undefined
}

/**
 * One thing that is wrong with a dataset. Lines are counted from 1; a row that
 * spans several is named by its first.
 *
 * @since 0.1.0
 * @category errors
 */
export const Problem = Schema.Struct({ line: Schema.optional(Schema.Number), description: Schema.String })

/**
 * @since 0.1.0
 * @category errors
 */
export interface Problem extends Schema.Schema.Type<typeof Problem> {}

/**
 * A dataset that cannot be used as it is. `problems` holds the first 50 of
 * `count`, in the order of the rows.
 *
 * @since 0.1.0
 * @category errors
 */
export class DatasetError extends Schema.TaggedError<DatasetError>("@effect-dspy/core/Example/DatasetError")(
  "DatasetError",
  { source: Schema.String, count: Schema.Number, problems: Schema.Array(Problem) }
) {
  override get message(): string {
    const more = this.count - this.problems.length
    return [
      `${this.source} has ${this.count} problem${this.count === 1 ? "" : "s"}:`,
      ...this.problems.map(({ description, line }) => `  ${line === undefined ? "" : `line ${line}: `}${description}`),
      ...(more === 0 ? [] : [`  and ${more} more`])
    ].join("\n")
  }
}

const kept = 50

const failed = (source: string, problems: ReadonlyArray<Problem>): DatasetError =>
  new DatasetError({ source, count: problems.length, problems: problems.slice(0, kept) })

/**
 * Examples from JSON Lines: one object per line. Empty lines and a byte order
 * mark are no rows; every other line is an example or a problem.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import { Effect } from "effect"
 *
 * const route = Signature.parse("ticket -> team: 'billing' | 'technical'")
 *
 * const load = (text: string) => Example.fromJsonl(text, { inputs: route.input, labels: route.output })
 *
 * const examples = Effect.runSync(load(`{"ticket":"My invoice is wrong","team":"billing"}`))
 * assert.deepStrictEqual(examples[0]?.labels, { team: "billing" })
 *
 * const error = Effect.runSync(Effect.flip(load(`{"ticket":"It crashes","team":"technical"}\n{"team":"sales"}`)))
 * assert.deepStrictEqual(error.problems.map((problem) => problem.line), [2, 2])
 * ```
 *
 * @since 0.1.0
 * @category datasets
 */
export const fromJsonl = <In, InEncoded, Labels, LabelsEncoded>(
  text: string,
  fields: Fields<In, InEncoded, Labels, LabelsEncoded>
): Effect.Effect<ReadonlyArray<Example<In, Labels>>, DatasetError> =>
  decodeAll("the JSONL text", jsonlRows(text), fields)

/**
 * Examples from a JSON array of objects.
 *
 * @since 0.1.0
 * @category datasets
 */
export const fromJson = <In, InEncoded, Labels, LabelsEncoded>(
  text: string,
  fields: Fields<In, InEncoded, Labels, LabelsEncoded>
): Effect.Effect<ReadonlyArray<Example<In, Labels>>, DatasetError> => decodeAll("the JSON text", jsonRows(text), fields)

/**
 * Examples from CSV (RFC 4180, commas, a header line with the field names).
 *
 * A cell is the text of its field where the schema takes text there, otherwise
 * JSON: `3`, `true` (in any case), `["a","b"]`. An empty cell means that the
 * field is absent, where it may be, or null, where it may be that, and
 * otherwise is the empty text.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import { Effect } from "effect"
 *
 * const route = Signature.parse("ticket -> team, urgent: boolean")
 * const text = `ticket,team,urgent\n"It crashes,\nagain",technical,TRUE\n`
 *
 * const [example] = Effect.runSync(Example.fromCsv(text, { inputs: route.input, labels: route.output }))
 *
 * assert.deepStrictEqual(example?.inputs, { ticket: "It crashes,\nagain" })
 * assert.deepStrictEqual(example?.labels, { team: "technical", urgent: true })
 * ```
 *
 * @since 0.1.0
 * @category datasets
 */
export const fromCsv = <In, InEncoded, Labels, LabelsEncoded>(
  text: string,
  fields: Fields<In, InEncoded, Labels, LabelsEncoded>
): Effect.Effect<ReadonlyArray<Example<In, Labels>>, DatasetError> =>
  decodeAll("the CSV text", csvRows(text, fields), fields)

/**
 * Examples from a file, read by its extension: `.jsonl` or `.ndjson`, `.json`,
 * `.csv`. The text must be UTF-8.
 *
 * @since 0.1.0
 * @category datasets
 */
export const load = <In, InEncoded, Labels, LabelsEncoded>(
  path: string,
  fields: Fields<In, InEncoded, Labels, LabelsEncoded>
): Effect.Effect<ReadonlyArray<Example<In, Labels>>, DatasetError | PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const rows = readers[/\.[^./\\]*$/.exec(path)?.[0].toLowerCase() ?? ""]
    if (rows === undefined) {
      return yield* failed(path, [{ description: `the name must end in ${Object.keys(readers).join(", ")}` }])
    }
    const fs = yield* FileSystem.FileSystem
    const bytes = yield* fs.readFile(path)
    const text = yield* Effect.try({
      try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
      catch: () => failed(path, [{ description: jsonFile.notText.description }])
    })
    return yield* decodeAll(path, rows(text, fields), fields)
  })

// -----------------------------------------------------------------------------
// Rows
// -----------------------------------------------------------------------------

interface Row {
  readonly line: number | undefined
  readonly value: Either.Either<Json.Json, string>
}

interface Schemas {
  readonly inputs: { readonly ast: AST.AST }
  readonly labels: { readonly ast: AST.AST }
  readonly id?: string | undefined
}

const readers: { readonly [extension: string]: (text: string, fields: Schemas) => ReadonlyArray<Row> } = {
  ".jsonl": (text) => jsonlRows(text),
  ".ndjson": (text) => jsonlRows(text),
  ".json": (text) => jsonRows(text),
  ".csv": (text, fields) => csvRows(text, fields)
}

const withoutMark = (text: string): string => text.startsWith("\uFEFF") ? text.slice(1) : text

const jsonlRows = (text: string): ReadonlyArray<Row> =>
  withoutMark(text).split("\n").flatMap((content, index) =>
    content.trim() === "" ? [] : [{
      line: index + 1,
      // Where in its line the JSON goes wrong.
      value: Either.mapLeft(jsonFile.parse(content), ({ description }) => description.replace("line 1, ", ""))
    }]
  )

const jsonRows = (text: string): ReadonlyArray<Row> =>
  Either.match(jsonFile.parse(withoutMark(text)), {
    onLeft: ({ description }) => [{ line: undefined, value: Either.left(description) }],
    onRight: (value) =>
      Array.isArray(value)
        ? elementLines(text).map((line, index) => ({ line, value: Either.right(value[index]) }))
        : [{ line: undefined, value: Either.left("the JSON is not an array of objects") }]
  })

// The line on which each element of a valid array starts.
const elementLines = (text: string): ReadonlyArray<number> => {
  const lines: Array<number> = []
  let line = 1
  let depth = 0
  let between = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === "\n") line++
    if (char === "," && depth === 1) between = true
    else if (between && char.trim() !== "" && char !== "]") {
      lines.push(line)
      between = false
    }
    if (char === "\"") {
      for (at++; text[at] !== "\""; at++) if (text[at] === "\\") at++
    } else if (char === "[" || char === "{") {
      depth++
      if (depth === 1) between = true
    } else if (char === "]" || char === "}") depth--
  }
  return lines
}

const csvRows = (text: string, fields: Schemas): ReadonlyArray<Row> => {
  const [header, ...records] = csv.rows(withoutMark(text))
  if (header === undefined) return [{ line: 1, value: Either.left("there is no header line") }]
  if (header._tag === "Broken") return [{ line: header.line, value: Either.left(header.description) }]
  const names = header.cells.map((name) => name.trim())
  const columns = new Map([...properties(fields.inputs.ast), ...properties(fields.labels.ast)])
  const problems = headerProblems(names, columns, fields.id)
  if (problems.length > 0) {
    return problems.map((description) => ({ line: header.line, value: Either.left(description) }))
  }
  return records.map((record): Row => {
    if (record._tag === "Broken") return { line: record.line, value: Either.left(record.description) }
    if (record.cells.length !== names.length) {
      const count = `${record.cells.length} cell${record.cells.length === 1 ? "" : "s"}`
      return { line: record.line, value: Either.left(`the row has ${count}, the header ${names.length}`) }
    }
    const value: { [name: string]: Json.Json } = {}
    names.forEach((name, index) => {
      const cell = read(record.cells[index]!, columns.get(name)) // as many cells as names
      if (cell !== undefined) value[name] = cell
    })
    return { line: record.line, value: Either.right(value) }
  })
}

interface Property {
  readonly optional: boolean
  readonly is: (value: unknown) => boolean
}

// What a schema takes from a record, by name; nothing is known of one that is not a struct.
const properties = (ast: AST.AST): ReadonlyArray<readonly [string, Property]> => {
  const encoded = AST.encodedAST(ast)
  return AST.isTypeLiteral(encoded)
    ? encoded.propertySignatures.map(({ isOptional, name, type }) =>
      [String(name), { optional: isOptional, is: ParseResult.is(Schema.make(type)) }] as const
    )
    : []
}

const headerProblems = (
  names: ReadonlyArray<string>,
  columns: ReadonlyMap<string, Property>,
  id: string | undefined
): ReadonlyArray<string> => {
  const has = `the header has ${list(names)}`
  const needed = new Set(Array.from(columns).flatMap(([name, { optional }]) => optional ? [] : [name]))
  if (id !== undefined) needed.add(id)
  const missing = Array.from(needed).filter((name) => !names.includes(name))
  const seen = new Set<string>()
  const repeated = new Set(names.filter((name) => seen.size === seen.add(name).size))
  return [
    ...(missing.length === 0 ? [] : [`no column ${list(missing)}; ${has}`]),
    ...(repeated.size === 0 ? [] : [`more than one column ${list(repeated)}; ${has}`]),
    ...(names.includes("__proto__") ? ["the name __proto__ is refused"] : [])
  ]
}

const list = (names: Iterable<string>): string => listed(Array.from(names), (name) => JSON.stringify(name)).join(", ")

const read = (cell: string, property: Property | undefined): Json.Json | undefined => {
  if (property === undefined) return cell
  if (cell === "" && property.optional) return undefined
  if (cell === "" && property.is(null)) return null
  if (property.is(cell)) return cell
  const parsed = jsonFile.parse(/^(?:true|false)$/i.test(cell.trim()) ? cell.toLowerCase() : cell)
  return Either.getOrElse(parsed, () => cell)
}

// -----------------------------------------------------------------------------
// Decoding
// -----------------------------------------------------------------------------

const decodeAll = <In, InEncoded, Labels, LabelsEncoded>(
  source: string,
  rows: ReadonlyArray<Row>,
  fields: Fields<In, InEncoded, Labels, LabelsEncoded>
): Effect.Effect<ReadonlyArray<Example<In, Labels>>, DatasetError> =>
  Effect.gen(function*() {
    const decodeInputs = side(fields.inputs)
    const decodeLabels = side(fields.labels)
    const examples: Array<Example<In, Labels>> = []
    const problems: Array<Problem> = []
    const seen = new Map<string, number | undefined>()
    for (const { line, value } of rows) {
      const report = (descriptions: ReadonlyArray<string>) => {
        for (const description of descriptions) problems.push({ description, ...(line === undefined ? {} : { line }) })
      }
      if (Either.isLeft(value)) {
        report([value.left])
        continue
      }
      const row = value.right
      if (!Json.isJsonRecord(row)) {
        report([Json.isJson(row) ? "the row is not an object" : "a number is too large"])
        continue
      }
      const inputs = yield* Effect.either(decodeInputs(row))
      const labels = yield* Effect.either(decodeLabels(row))
      const given = fields.id === undefined ? undefined : own(row, fields.id)
      const noId = fields.id !== undefined &&
        !((typeof given === "string" && given !== "") || typeof given === "number")
      const wrong = [
        ...(Either.isLeft(inputs) ? inputs.left : []),
        ...(Either.isLeft(labels) ? labels.left : []),
        ...(noId ? [`field "${fields.id}": expected a text or a number as id, got ${JSON.stringify(given)}`] : [])
      ]
      if (Either.isLeft(inputs) || Either.isLeft(labels) || noId) {
        report(Array.from(new Set(wrong)))
        continue
      }
      const id = given === undefined ? idOf(inputs.right.encoded, labels.right.encoded) : String(given)
      if (seen.has(id)) {
        const first = seen.get(id)
        const where = first === undefined ? "an earlier row" : `line ${first}`
        report([
          given === undefined
            ? `the same example as ${where}; remove one of them, or name a field that tells them apart as id`
            : `the id ${JSON.stringify(id)} is that of ${where}`
        ])
        continue
      }
      seen.set(id, line)
      examples.push({ id, inputs: inputs.right.value, labels: labels.right.value })
    }
    return problems.length === 0 ? examples : yield* failed(source, problems)
  })

const own = (row: Json.JsonRecord, key: string): Json.Json | undefined => Object.hasOwn(row, key) ? row[key] : undefined

interface Side<A> {
  readonly value: A
  readonly encoded: unknown
}

// Ids are made from the encoded form, in which every value can be told from every other.
const side = <A, I>(schema: Schema.Schema<A, I>) => {
  const decode = ParseResult.decodeUnknown(schema, { errors: "all" })
  const encode = ParseResult.encode(schema)
  return (row: Json.JsonRecord): Effect.Effect<Side<A>, ReadonlyArray<string>> =>
    // Without a prototype, so that no inherited property is taken for a field.
    decode(Object.assign(Object.create(null), row)).pipe(
      Effect.flatMap((value) => Effect.map(encode(value), (encoded) => ({ value, encoded }))),
      Effect.mapError((issue) => issues(issue, []).map(describe))
    )
}

// =============================================================================
// Splits
// =============================================================================

/**
 * Splits examples into named parts: every example is in exactly one. `parts`
 * are shares, relative to their sum. With `by` each group, such as the examples
 * of one label, is shared out in the same proportions, as far as whole examples
 * allow.
 *
 * Which part an example falls into, and its place there, follow from the seed
 * and the ids of all examples, not from the order they come in; so sorted data
 * needs no shuffling.
 *
 * Throws a `RangeError` when a share is negative or not finite, or all are 0.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 *
 * const examples = Array.from({ length: 100 }, (_, n) => Example.make({ inputs: { n }, labels: { even: n % 2 === 0 } }))
 *
 * const { test, train, validation } = Example.split(examples, { train: 0.5, validation: 0.25, test: 0.25 }, {
 *   seed: 1,
 *   by: (example) => String(example.labels.even)
 * })
 *
 * assert.deepStrictEqual([train.length, validation.length, test.length], [50, 25, 25])
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const split: {
  <E extends Example<unknown, unknown>, const Parts extends { readonly [name: string]: number }>(
    parts: Parts,
    options: { readonly seed: number; readonly by?: ((example: E) => string) | undefined }
  ): (examples: Iterable<E>) => { readonly [Name in keyof Parts]: ReadonlyArray<E> }
  <E extends Example<unknown, unknown>, const Parts extends { readonly [name: string]: number }>(
    examples: Iterable<E>,
    parts: Parts,
    options: { readonly seed: number; readonly by?: ((example: E) => string) | undefined }
  ): { readonly [Name in keyof Parts]: ReadonlyArray<E> }
} = dual(
  3,
  <E extends Example<unknown, unknown>, const Parts extends { readonly [name: string]: number }>(
    examples: Iterable<E>,
    parts: Parts,
    options: { readonly seed: number; readonly by?: ((example: E) => string) | undefined }
  ): { readonly [Name in keyof Parts]: ReadonlyArray<E> } => {
    const shares = Object.entries(parts)
    const total = shares.reduce((sum, [, share]) => sum + share, 0)
    if (!shares.every(([, share]) => share >= 0) || !(total > 0 && total < Infinity)) {
      throw new RangeError(`Example.split: the shares must be positive numbers, got ${JSON.stringify(parts)}`)
    }
    const { by, seed } = options
    const cards = Array.from(examples, (example) => ({
      example,
      group: by === undefined ? "" : by(example),
      key: Json.hash([seed, example.id])
    }))
    const dealt = shares.map(([name, share]) => ({ name, share: share / total, cards: [] as typeof cards }))
    // One group after the other, each card to the part that is furthest behind its share.
    cards.sort((a, b) => ascending(a.group, b.group) || ascending(a.key, b.key)).forEach((card, index) => {
      const behind = dealt.map(({ cards, share }) => share * (index + 1) - cards.length)
      dealt[behind.indexOf(Math.max(...behind))]!.cards.push(card) // the index of one of them
    })
    // One list for each name in `parts`.
    return Object.fromEntries(dealt.map(({ cards, name }) => [
      name,
      cards.sort((a, b) => ascending(a.key, b.key)).map(({ example }) => example)
    ])) as { [Name in keyof Parts]: Array<E> }
  }
)

const ascending = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0
