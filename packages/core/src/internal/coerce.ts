/**
 * From what a model wrote to the encoded side of a schema. A reader mends what
 * has one meaning only and notes it; anything else it returns unchanged, so
 * that the schema refuses it.
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type { Problem } from "../Adapter.ts"
import * as Json from "../Json.ts"
import * as code from "./code.ts"
import * as jsonText from "./jsonText.ts"
import * as toolCallShapes from "./toolCallShapes.ts"

/**
 * What was mended while reading, and what stood in the way.
 */
export interface Notes {
  readonly repairs: Array<string>
  readonly problems: Array<Omit<Problem, "field">>
}

export interface Reader {
  /** What a text between markers stands for. */
  readonly text: (text: string, notes: Notes) => Json.Json
  /** What a JSON value stands for. */
  readonly json: (value: Json.Json, notes: Notes) => Json.Json
}

export const notes = (): Notes => ({ repairs: [], problems: [] })

// One by one: there may be more than a call takes arguments.
const append = (notes: Notes, { problems = [], repairs }: {
  readonly repairs: ReadonlyArray<string>
  readonly problems?: Notes["problems"]
}): void => {
  for (const repair of repairs) notes.repairs.push(repair)
  for (const problem of problems) notes.problems.push(problem)
}

/**
 * The reader of the encoded side of a type. It goes by the type as it was
 * declared, in which what is recursive comes back to itself: Effect's encoded
 * side of it is another one at every level.
 */
export const reader = (ast: AST.AST): Reader => {
  let known = readers.get(ast)
  if (known === undefined) {
    known = build(ast)
    readers.set(ast, known)
  }
  return known
}

const readers = new WeakMap<AST.AST, Reader>()

/**
 * The type that is written for a type: where its transformations begin.
 */
export const written = (ast: AST.AST): AST.AST => {
  switch (ast._tag) {
    case "Transformation":
      return written(ast.from)
    case "Refinement": {
      const from = written(ast.from)
      return from === ast.from ? ast : from
    }
    default:
      return ast
  }
}

const build = (ast: AST.AST): Reader => {
  switch (ast._tag) {
    case "StringKeyword": {
      const language = code.languageOf(ast)
      return language === undefined ? string : codeIn(language)
    }
    case "TemplateLiteral":
      return string
    case "NumberKeyword":
      return number
    case "BooleanKeyword":
      return boolean
    case "Literal":
    case "Enums":
    case "Union":
      return union(alternatives(ast))
    case "TupleType":
      return toolCallShapes.AnnotationId in ast.annotations ? calls(ast) : array(ast)
    case "TypeLiteral":
      return record(ast)
    case "Refinement":
    case "Transformation":
      return reader(ast.from)
    case "Suspend":
      return {
        text: (text, notes) => reader(ast.f()).text(text, notes),
        json: (value, notes) => reader(ast.f()).json(value, notes)
      }
    default:
      return anything
  }
}

/**
 * Whether every text is its own value.
 */
export const isText = (ast: AST.AST): boolean => reader(ast) === string

const same = <A>(value: A): A => value

const shown = (value: Json.Json): string => {
  const text = typeof value === "string" ? value : JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 40)}…` : text
}

// -----------------------------------------------------------------------------
// Scalars
// -----------------------------------------------------------------------------

const string: Reader = {
  text: same,
  json: (value, notes) => {
    if (typeof value !== "number" && typeof value !== "boolean") return value
    notes.repairs.push(`the ${typeof value} ${value} was read as text`)
    return String(value)
  }
}

// Code that would itself be stripped stands in quotes, as a JSON string.
const codeIn = (language: string): Reader => {
  const meant = (text: string): string => {
    const stripped = code.strip(text, language)
    if (stripped !== text) return stripped
    const quoted = text.startsWith("\"") ? jsonText.strict(text.trimEnd()) : undefined
    return typeof quoted === "string" && meant(quoted) !== quoted ? quoted : text
  }
  const text = (text: string, notes: Notes): string => {
    if (code.strip(text, language) !== text) notes.repairs.push("what is around the code was left out")
    return meant(text)
  }
  return {
    text,
    json: (value, notes) => typeof value === "string" ? text(value, notes) : string.json(value, notes)
  }
}

const anything: Reader = {
  text: (text) => {
    const value = jsonText.strict(text)
    if (value === undefined) return text
    return typeof value === "string" && jsonText.strict(value) === undefined ? text : value
  },
  json: same
}

const number: Reader = {
  text: (text, notes) => {
    const trimmed = text.trim()
    if (trimmed.length > 400) return text
    const value = jsonText.exactNumber(unquoted(trimmed).replace(/(\d)_(?=\d)/g, "$1"))
    if (value === undefined) return text
    if (String(value) !== trimmed && !/^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(trimmed)) {
      notes.repairs.push(`"${shown(text)}" was read as the number ${value}`)
    }
    return value
  },
  json: (value, notes) => {
    if (typeof value !== "string") return value
    const read = number.text(value, { ...notes, repairs: [] })
    if (read !== value) notes.repairs.push(`the text "${shown(value)}" was read as the number ${read}`)
    return read
  }
}

const truths = new Map([["true", true], ["yes", true], ["false", false], ["no", false]])

const boolean: Reader = {
  text: (text, notes) => {
    const bare = text.trim()
    const value = truths.get(unquoted(bare).replace(/[.!]$/, "").toLowerCase())
    if (value === undefined) return text
    if (!/^(?:true|false|True|False)$/.test(bare)) notes.repairs.push(`"${shown(text)}" was read as ${value}`)
    return value
  },
  json: (value, notes) => {
    if (typeof value !== "string") return value
    const read = boolean.text(value, { ...notes, repairs: [] })
    if (read !== value) notes.repairs.push(`the text "${shown(value)}" was read as ${read}`)
    return read
  }
}

const quotes: ReadonlyArray<readonly [open: string, close: string]> = [
  ["\"", "\""],
  ["'", "'"],
  ["`", "`"],
  ["“", "”"],
  ["**", "**"]
]

const unquoted = (text: string): string => {
  for (const [open, close] of quotes) {
    if (text.length > open.length + close.length && text.startsWith(open) && text.endsWith(close)) {
      return text.slice(open.length, -close.length)
    }
  }
  return text
}

// -----------------------------------------------------------------------------
// Literals and enums
// -----------------------------------------------------------------------------

type Scalar = string | number | boolean | null

interface Member {
  readonly value: Scalar
  /** The name of an enum's member. */
  readonly name: string | undefined
}

// Stands for a spelling that two members share, and thus means neither.
const ambiguous = Symbol()

type Spellings = ReadonlyMap<string, Scalar | typeof ambiguous>

const spellings = (
  members: ReadonlyArray<Member>,
  spelling: (text: string) => string,
  withNames: boolean
): Spellings => {
  const found = new Map<string, Scalar | typeof ambiguous>()
  for (const { name, value } of members) {
    for (const text of withNames && name !== undefined ? [String(value), name] : [String(value)]) {
      const key = spelling(text)
      found.set(key, found.has(key) && found.get(key) !== value ? ambiguous : value)
    }
  }
  return found
}

const choice = (members: ReadonlyArray<Member>): Reader => {
  const values = spellings(members, same, false)
  const names = spellings(members, same, true)
  const loose = spellings(members, folded, true)
  // From the strictest spelling to the loosest: the first with a match decides.
  const attempts: ReadonlyArray<readonly [spelling: (text: string) => string, among: Spellings]> = [
    [same, values],
    [bare, values],
    [same, names],
    [bare, names],
    [folded, loose],
    [(text) => folded(withoutPunctuation(bare(text))), loose]
  ]
  const pick = (text: string): Scalar | undefined => {
    for (const [spelling, among] of attempts) {
      const found = among.get(spelling(text))
      if (found !== undefined) return found === ambiguous ? undefined : found
    }
    return undefined
  }
  const known = new Set<Json.Json>(members.map((member) => member.value))
  const read = (text: string, notes: Notes): Json.Json => {
    const value = pick(text)
    if (value === undefined) return text
    if (value !== text) notes.repairs.push(`"${shown(text)}" was read as ${JSON.stringify(value)}`)
    return value
  }
  return {
    text: (text, notes) => {
      const trimmed = text.trim()
      // As JSON first: of `1` and `"1"` the text needs its quotes.
      const value = jsonText.strict(trimmed)
      if (value !== undefined && known.has(value)) return value
      if (known.has(trimmed)) return trimmed
      const found = read(trimmed, notes)
      return found === trimmed ? text : found
    },
    json: (value, notes) => {
      if (known.has(value) || typeof value === "object") return value
      if (typeof value === "string") return read(value, notes)
      const found = pick(String(value))
      if (found === undefined) return value
      notes.repairs.push(`${value} was read as ${JSON.stringify(found)}`)
      return found
    }
  }
}

const wrapped = /^(?:Literal|str)\[(.*)\]$/s

const bare = (text: string): string => {
  const trimmed = text.trim()
  return unquoted(wrapped.exec(trimmed)?.[1]?.trim() ?? trimmed).trim()
}

const folded = (text: string): string => bare(text).toLowerCase()

const withoutPunctuation = (text: string): string => {
  let end = text.length
  while (end > 0 && ".!,;:".includes(text[end - 1]!)) end--
  return unquoted(text.slice(0, end))
}

const nothing: Reader = {
  text: (text, notes) => {
    const bare = text.trim()
    if (bare === "null" || bare === "None") return null
    if (bare !== "" && bare.toLowerCase() !== "null" && bare.toLowerCase() !== "none") return text
    notes.repairs.push(`"${bare}" was read as null`)
    return null
  },
  json: (value, notes) => {
    if (value !== "null" && value !== "None") return value
    notes.repairs.push(`the text "${value}" was read as null`)
    return null
  }
}

// -----------------------------------------------------------------------------
// Unions
// -----------------------------------------------------------------------------

interface Alternative extends Reader {
  readonly is: (value: unknown) => boolean
}

const alternatives = (ast: AST.AST): ReadonlyArray<Alternative> => {
  const members: Array<Member> = []
  const others: Array<Alternative> = []
  const visit = (type: AST.AST): void => {
    const ast = written(type)
    switch (ast._tag) {
      case "Union":
        return ast.types.forEach(visit)
      case "Literal":
        if (ast.literal === null) others.push({ ...nothing, is: Predicate.isNull })
        else if (typeof ast.literal !== "bigint") members.push({ value: ast.literal, name: undefined })
        return
      case "Enums":
        return ast.enums.forEach(([name, value]) => members.push({ name, value }))
      case "UndefinedKeyword":
        return
      default:
        others.push({ ...reader(ast), is: guard(ast) })
    }
  }
  visit(ast)
  const values = new Set<unknown>(members.map((member) => member.value))
  return members.length === 0
    ? others
    : [{ ...choice(members), is: (value) => values.has(value) }, ...others]
}

/**
 * Whether a value is of the encoded side of a type as it stands.
 */
export const guard = (ast: AST.AST): (value: unknown) => boolean => {
  let known = guards.get(ast)
  if (known === undefined) {
    let is: ((value: unknown) => boolean) | undefined
    known = (value) => (is ??= ParseResult.is(Schema.make(AST.encodedBoundAST(ast))))(value)
    guards.set(ast, known)
  }
  return known
}

const guards = new WeakMap<AST.AST, (value: unknown) => boolean>()

const union = (members: ReadonlyArray<Alternative>): Reader => {
  const [only] = members
  if (only !== undefined && members.length === 1) return only
  const others = members.filter((member) => member.text !== string.text)
  const hasString = others.length < members.length
  const one = (
    read: (member: Alternative, notes: Notes) => Json.Json,
    otherwise: Json.Json
  ): readonly [Json.Json, Notes] => {
    let found: readonly [Json.Json, Notes] | undefined
    for (const member of others) {
      const own = notes()
      const value = read(member, own)
      if (!member.is(value)) continue
      if (found === undefined) found = [value, own]
      else if (Json.canonical(found[0]) !== Json.canonical(value)) return [otherwise, notes()]
    }
    return found === undefined ? [otherwise, notes()] : [found[0], { ...found[1], problems: [] }]
  }
  // What several types around this one have in common is read once, not once for each: that would double at every level.
  const known = new WeakMap<object, readonly [Json.Json, Notes]>()
  const inside = (value: Json.Json): readonly [Json.Json, Notes] => {
    const before = typeof value === "object" && value !== null ? known.get(value) : undefined
    if (before !== undefined) return before
    const found = one((member, notes) => member.json(value, notes), value)
    if (typeof value === "object" && value !== null) known.set(value, found)
    return found
  }
  // A text is a string here unless it is exactly another member. A string that would be misread stands in quotes.
  const mixed = (text: string): Json.Json => {
    const trimmed = text.trim()
    if (trimmed === "None" && others.some((member) => member.is(null))) return null
    const value = jsonText.strict(trimmed)
    if (value === undefined) return text
    if (typeof value === "string") return mixed(value) === value ? text : value
    return others.some((member) => member.is(value)) ? value : text
  }
  const noted = ([value, own]: readonly [Json.Json, Notes], notes: Notes): Json.Json => {
    append(notes, own)
    return value
  }
  return {
    text: (text, notes) => {
      if (hasString) return mixed(text)
      const value = jsonText.strict(text.trim())
      if (value !== undefined && members.some((member) => member.is(value))) return value
      return noted(one((member, notes) => member.text(text, notes), text), notes)
    },
    json: (value, notes) => {
      if (members.some((member) => member.is(value))) return value
      const onlyText = hasString && others.every((member) => member.is === Predicate.isNull)
      return onlyText ? string.json(value, notes) : noted(inside(value), notes)
    }
  }
}

// -----------------------------------------------------------------------------
// Arrays and records
// -----------------------------------------------------------------------------

const structured = (text: string, notes: Notes, json: Reader["json"], is: (value: unknown) => boolean): Json.Json => {
  const trimmed = text.trim()
  const found = jsonText.find(trimmed, (value) => is(json(value, { repairs: [], problems: [] })))
  if (Either.isLeft(found)) {
    if (/^[[{`]/.test(trimmed)) notes.problems.push(found.left)
    return text
  }
  append(notes, found.right)
  return json(found.right.value, notes)
}

const array = (ast: AST.TupleType): Reader => {
  const is = guard(ast)
  const elements = ast.elements.map((element) => reader(element.type))
  const [rest, ...trailing] = ast.rest.map((type) => reader(type.type))
  // Only where all items are alike can one value stand for an array of one, and only where it is known of how many.
  const alike = trailing.length === 0 && elements.every((element) => element === rest)
  const item = () => alike && !ast.rest.some(({ type }) => isEndless(type)) ? rest : undefined
  const single = (value: Json.Json, read: Json.Json | undefined, notes: Notes): Json.Json => {
    if (read === undefined || read === null || !is([read])) return value
    notes.repairs.push("a single value was read as an array of one")
    return [read]
  }
  const json: Reader["json"] = (value, notes) => {
    if (!Array.isArray(value)) return single(value, item()?.json(value, notes), notes)
    const after = value.length - trailing.length
    return value.map((element: Json.Json, index) => {
      const found = elements[index] ?? (index < after ? rest : trailing[index - after])
      return found === undefined ? element : found.json(element, notes)
    })
  }
  return {
    text: (text, notes) => {
      const own: Notes = { repairs: [], problems: [] }
      const read = structured(text, own, json, is)
      // Prose is not an array of one string: it may as well be a list in another notation.
      const one = read === text ? item() : undefined
      const alone = one !== undefined && one !== string ? one.text(text, notes) : text
      if (alone !== text) return single(text, alone, notes)
      append(notes, own)
      return read
    },
    json
  }
}

// Whether a value of a type may be an array in an array, and so on without end.
const isEndless = (ast: AST.AST, suspended = false): boolean => {
  const type = written(ast)
  switch (type._tag) {
    case "Suspend":
      return isEndless(type.f(), true)
    case "Union":
      return type.types.some((member) => isEndless(member, suspended))
    case "TupleType":
      return suspended || type.rest.some((item) => isEndless(item.type))
    case "Refinement":
      return isEndless(type.from, suspended)
    default:
      return false
  }
}

const calls = (ast: AST.TupleType): Reader => {
  const is = guard(ast)
  const list = array(ast)
  const json: Reader["json"] = (value, notes) => {
    const shaped = toolCallShapes.shaped(value)
    if (Json.canonical(shaped) !== Json.canonical(value)) notes.repairs.push("calls were written in another form")
    return list.json(shaped, notes)
  }
  return { text: (text, notes) => structured(text, notes, json, is), json }
}

export const isRecord = (value: Json.Json): value is Json.JsonRecord =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const record = (ast: AST.TypeLiteral): Reader => {
  const is = guard(ast)
  const properties = ast.propertySignatures.flatMap((property) =>
    typeof property.name === "string"
      ? [{
        name: property.name,
        optional: property.isOptional,
        reader: reader(property.type),
        is: guard(property.type)
      }]
      : []
  )
  const declared = new Set(properties.map((property) => property.name))
  const [index] = ast.indexSignatures.map((signature) => reader(signature.type))
  const json: Reader["json"] = (value, notes) => {
    if (!isRecord(value)) return value
    if (Object.hasOwn(value, "__proto__")) {
      notes.problems.push(jsonText.forbiddenKey)
      return value
    }
    if (declared.size === 0 && index === undefined) return value
    const read: { [key: string]: Json.Json } = {}
    for (const { is, name, optional, reader } of properties) {
      if (!Object.hasOwn(value, name)) continue
      const property = value[name]!
      if (property === null && optional && !is(null)) continue
      read[name] = reader.json(property, notes)
    }
    if (index !== undefined) {
      for (const key of Object.keys(value)) if (!declared.has(key)) read[key] = index.json(value[key]!, notes)
    }
    return read
  }
  return { text: (text, notes) => structured(text, notes, json, is), json }
}
