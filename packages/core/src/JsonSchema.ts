/**
 * Whether a value fits a JSON Schema that is known at run time only: that of a
 * tool which somebody else offers.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Json from "./Json.ts"

/**
 * Why a value does not fit: where in the value, such as `filters[0].year` (an
 * empty text is the value itself), and what is wrong there.
 *
 * @since 0.1.0
 * @category models
 */
export interface Problem {
  readonly path: string
  readonly message: string
}

/**
 * What does not fit, at most 20 problems; none if all does.
 *
 * Reads JSON Schema from draft 7 to 2020-12 without compiling it, in bounded
 * time, so that the schema may come from anywhere. What would run a regular
 * expression of somebody else (`pattern`, `patternProperties`), what `format`
 * means, `unevaluated*`, and references to other documents are left for the
 * other side to check: they refuse nothing here. Missing values get no defaults.
 *
 * @see JSON Schema (https://json-schema.org/draft/2020-12/json-schema-validation)
 *
 * @example
 * ```ts
 * import * as JsonSchema from "@effect-dspy/core/JsonSchema"
 *
 * const schema = {
 *   type: "object",
 *   properties: { city: { type: "string" }, days: { type: "integer", minimum: 1 } },
 *   required: ["city"]
 * }
 *
 * assert.deepStrictEqual(JsonSchema.check(schema, { city: "Rome", days: 3 }), [])
 * assert.deepStrictEqual(JsonSchema.check(schema, { days: 0 }), [
 *   { path: "city", message: "is missing" },
 *   { path: "days", message: "must be at least 1, not 0" }
 * ])
 * ```
 *
 * @since 0.1.0
 * @category checking
 */
export const check = (schema: Json.Json, value: Json.Json): ReadonlyArray<Problem> => {
  const run: Run = { root: schema, steps: maxSteps, texts: new Map(), choices: new Map(), references: new Map() }
  const { problems } = fit(run, schema, value, "", 0)
  return run.steps > 0
    ? problems.slice(0, maxProblems)
    : [{ path: "", message: "its schema is too involved to check it" }]
}

const maxProblems = 20
const maxSteps = 500_000
// Of schemas within schemas; every level of a value takes two or three of them.
const maxDepth = 200

// A step is about what one item, member or name of a list takes. What is asked for again and again is kept: a schema
// can meet the same value at every turn.
interface Run {
  readonly root: Json.Json
  steps: number
  readonly texts: Map<object, string>
  readonly choices: Map<ReadonlyArray<Json.Json>, ReadonlySet<string>>
  readonly references: Map<string, { readonly target: Json.Json | undefined }>
}

const textOf = (run: Run, value: Json.Json): string =>
  typeof value === "object" && value !== null ? kept(run.texts, value, Json.canonical) : Json.canonical(value)

const kept = <K, V extends {}>(known: Map<K, V>, key: K, make: (key: K) => V): V => {
  let value = known.get(key)
  if (value === undefined) known.set(key, value = make(key))
  return value
}

const sizeOf = (value: Json.Json): number =>
  typeof value === "string"
    ? value.length / 64
    : Array.isArray(value)
    ? value.length
    : typeof value === "object" && value !== null
    ? Object.keys(value).length
    : 0

// `sure` is whether nothing was left for others to check.
interface Verdict {
  readonly problems: ReadonlyArray<Problem>
  readonly sure: boolean
}

const fits: Verdict = { problems: [], sure: true }
const unknown: Verdict = { problems: [], sure: false }

const fit = (run: Run, schema: Json.Json, value: Json.Json, path: string, depth: number): Verdict => {
  if (schema === true) return fits
  if (schema === false) return { problems: [{ path, message: "is not allowed" }], sure: true }
  if (!isRecord(schema)) return unknown
  if (run.steps <= 0 || depth > maxDepth) {
    run.steps = 0
    return unknown
  }
  run.steps -= 1 + sizeOf(value)
  const problems: Array<Problem> = []
  const fail = (problem: Problem) => {
    if (problems.length < maxProblems) problems.push(problem)
  }
  let sure = !unchecked.some((keyword) => Object.hasOwn(schema, keyword))
  const add = (verdict: Verdict) => {
    verdict.problems.forEach(fail)
    sure = sure && verdict.sure
  }
  const at: At = {
    run,
    schema,
    value,
    path,
    keyword: (name) => Object.hasOwn(schema, name) ? schema[name] : undefined,
    fail: (message, name) => {
      fail({ path: name === undefined ? path : member(path, name), message })
    },
    sub: (schema, value, name) => fit(run, schema, value, name === undefined ? path : member(path, name), depth + 1),
    add
  }
  const reference = at.keyword("$ref")
  if (typeof reference === "string") {
    const { target } = kept(run.references, reference, (reference) => ({ target: resolve(run.root, reference) }))
    add(target === undefined ? unknown : at.sub(target, value))
  }
  kind(at)
  if (typeof value === "number") numbers(at, value)
  else if (typeof value === "string") texts(at, value)
  else if (Array.isArray(value)) arrays(at, value)
  else if (isRecord(value)) objects(at, value)
  combinations(at)
  return { problems, sure }
}

// All of it is JSON; to look at each part again would take the square of the time.
const isRecord = (u: Json.Json | undefined): u is Json.JsonRecord => Predicate.isRecord(u)

const unchecked = ["pattern", "format", "patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef"]

// One schema met with one value.
interface At {
  readonly run: Run
  readonly schema: Json.JsonRecord
  readonly value: Json.Json
  readonly path: string
  readonly keyword: (name: string) => Json.Json | undefined
  readonly fail: (message: string, name?: string | number) => void
  readonly sub: (schema: Json.Json, value: Json.Json, name?: string | number) => Verdict
  readonly add: (verdict: Verdict) => void
}

const member = (path: string, name: string | number): string =>
  typeof name === "number" ? `${path}[${name}]` : path === "" ? name : `${path}.${name}`

// A pointer into the same document.
const resolve = (root: Json.Json, reference: string): Json.Json | undefined => {
  if (reference !== "#" && !reference.startsWith("#/")) return undefined
  let target: Json.Json | undefined = root
  for (const part of reference.split("/").slice(1)) {
    const key = decodePointer(part)
    if (key === undefined || !Predicate.isObject(target) || !Object.hasOwn(target, key)) return undefined
    target = (target as Json.JsonRecord)[key] // an array can be read by key, too
  }
  return target
}

const decodePointer = (part: string): string | undefined => {
  try {
    return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")
  } catch {
    return undefined
  }
}

const shown = (run: Run, value: Json.Json): string => {
  const text = typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : textOf(run, value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

const kindOf = (value: Json.Json): string => value === null ? "null" : Array.isArray(value) ? "array" : typeof value

const isOf = (value: Json.Json, type: Json.Json): boolean =>
  type === "integer" ? Number.isInteger(value) : kindOf(value) === type

const kind = ({ fail, keyword, run, value }: At): void => {
  const type = keyword("type")
  const types = type === undefined ? [] : Array.isArray(type) ? type : [type]
  run.steps -= types.length
  if (types.length > 0 && !types.some((type) => isOf(value, type))) {
    fail(`must be of type ${types.slice(0, maxShown).join(" or ")}, not ${shown(run, value)}`)
  }
  const one = keyword("const")
  if (one !== undefined && textOf(run, one) !== textOf(run, value)) {
    fail(`must be ${shown(run, one)}, not ${shown(run, value)}`)
  }
  const options = keyword("enum")
  if (!Array.isArray(options)) return
  const texts = kept(run.choices, options, (options) => new Set(options.map(Json.canonical)))
  if (!texts.has(textOf(run, value))) {
    const named = options.slice(0, maxShown).map((option) => shown(run, option))
    fail(`must be one of ${named.join(", ")}, not ${shown(run, value)}`)
  }
}

const maxShown = 50

const bound = (
  { fail, keyword }: At,
  name: string,
  value: number,
  holds: (value: number, limit: number) => boolean,
  what: (limit: number) => string
): void => {
  const limit = keyword(name)
  if (typeof limit === "number" && !holds(value, limit)) fail(`${what(limit)}, not ${value}`)
}

const atLeast = (value: number, limit: number): boolean => value >= limit
const atMost = (value: number, limit: number): boolean => value <= limit

const numbers = (at: At, value: number): void => {
  bound(at, "minimum", value, atLeast, (limit) => `must be at least ${limit}`)
  bound(at, "maximum", value, atMost, (limit) => `must be at most ${limit}`)
  bound(at, "exclusiveMinimum", value, (value, limit) => value > limit, (limit) => `must be more than ${limit}`)
  bound(at, "exclusiveMaximum", value, (value, limit) => value < limit, (limit) => `must be less than ${limit}`)
  bound(at, "multipleOf", value, isMultiple, (limit) => `must be a multiple of ${limit}`)
}

// 0.3 is a multiple of 0.1, which the remainder does not know.
const isMultiple = (value: number, of: number): boolean => {
  const times = value / of
  return Math.abs(times - Math.round(times)) <= Number.EPSILON * Math.max(1, Math.abs(times))
}

const texts = (at: At, value: string): void => {
  const { keyword } = at
  if (keyword("minLength") === undefined && keyword("maxLength") === undefined) return
  let length = 0
  for (const _ of value) length++
  bound(at, "minLength", length, atLeast, (limit) => `must have at least ${limit} characters`)
  bound(at, "maxLength", length, atMost, (limit) => `must have at most ${limit} characters`)
}

const objects = (at: At, value: Json.JsonRecord): void => {
  const { add, fail, keyword, run, sub } = at
  const names = Object.keys(value)
  const record = (name: string): Json.JsonRecord => {
    const given = keyword(name)
    return isRecord(given) ? given : {}
  }
  const demand = (required: Json.Json | undefined, message: string) => {
    if (!Array.isArray(required) || (run.steps -= required.length) <= 0) return
    for (const name of required) if (typeof name === "string" && !Object.hasOwn(value, name)) fail(message, name)
  }
  demand(keyword("required"), "is missing")
  const properties = record("properties")
  for (const name of names) if (Object.hasOwn(properties, name)) add(sub(properties[name]!, value[name]!, name))
  const others = keyword("additionalProperties")
  // Which names a pattern takes is not known here.
  if (others !== undefined && keyword("patternProperties") === undefined) {
    for (const name of names) if (!Object.hasOwn(properties, name)) add(sub(others, value[name]!, name))
  }
  const rule = keyword("propertyNames")
  if (rule !== undefined) { for (const name of names) add(sub(rule, name, name)) }
  for (const dependent of [record("dependencies"), record("dependentRequired"), record("dependentSchemas")]) {
    for (const name of names) {
      if (!Object.hasOwn(dependent, name)) continue
      const needs = dependent[name]!
      if (Array.isArray(needs)) demand(needs, `is missing, which ${name} needs`)
      else add(sub(needs, value))
    }
  }
  bound(at, "minProperties", names.length, atLeast, (limit) => `must have at least ${limit} members`)
  bound(at, "maxProperties", names.length, atMost, (limit) => `must have at most ${limit} members`)
}

const arrays = (at: At, value: ReadonlyArray<Json.Json>): void => {
  const { add, fail, keyword, run, sub } = at
  const items = keyword("items")
  // Before 2020-12 a list of `items` was what `prefixItems` is now.
  const listed = Array.isArray(items)
  const prefix = listed ? items : keyword("prefixItems")
  const rest = listed ? keyword("additionalItems") : items
  const first = Array.isArray(prefix) ? prefix : []
  value.forEach((item, index) => {
    const schema = index < first.length ? first[index] : rest
    if (schema !== undefined) add(sub(schema, item, index))
  })
  const contained = keyword("contains")
  if (contained !== undefined) {
    const verdicts = value.map((item, index) => sub(contained, item, index))
    const possible = verdicts.filter(({ problems }) => problems.length === 0)
    const least = keyword("minContains") ?? 1
    const most = keyword("maxContains")
    if (typeof least === "number" && possible.length < least) fail(`must contain at least ${least} item of its kind`)
    if (typeof most === "number" && possible.filter(({ sure }) => sure).length > most) {
      fail(`must contain at most ${most} item of its kind`)
    }
    if (possible.some(({ sure }) => !sure)) add(unknown)
  }
  if (keyword("uniqueItems") === true && new Set(value.map((item) => textOf(run, item))).size < value.length) {
    fail("must not contain an item twice")
  }
  bound(at, "minItems", value.length, atLeast, (limit) => `must have at least ${limit} items`)
  bound(at, "maxItems", value.length, atMost, (limit) => `must have at most ${limit} items`)
}

const combinations = ({ add, fail, keyword, sub, value }: At): void => {
  const list = (name: string): ReadonlyArray<Json.Json> => {
    const given = keyword(name)
    return Array.isArray(given) ? given : []
  }
  for (const schema of list("allOf")) add(sub(schema, value))
  const any = list("anyOf").map((schema) => sub(schema, value))
  if (any.length > 0) add(choice(any))
  const one = list("oneOf").map((schema) => sub(schema, value))
  if (one.length > 0) {
    add(choice(one))
    if (one.filter(({ problems, sure }) => sure && problems.length === 0).length > 1) {
      fail("must be of one of several kinds, and is of more than one")
    } else if (one.some(({ problems, sure }) => !sure && problems.length === 0)) add(unknown)
  }
  const not = keyword("not")
  if (not !== undefined) {
    const { problems, sure } = sub(not, value)
    if (!sure) add(unknown)
    else if (problems.length === 0) fail("is of a kind that is not allowed")
  }
  const condition = keyword("if")
  if (condition !== undefined) {
    const { problems, sure } = sub(condition, value)
    const branch = problems.length > 0 ? keyword("else") : sure ? keyword("then") : undefined
    if (branch !== undefined) add(sub(branch, value))
    if (!sure && problems.length === 0) add(unknown)
  }
}

// The alternative that comes closest says why none fits.
const choice = (verdicts: ReadonlyArray<Verdict>): Verdict =>
  verdicts.find(({ problems, sure }) => sure && problems.length === 0)
    ?? verdicts.reduce((a, b) => (b.problems.length < a.problems.length ? b : a))
