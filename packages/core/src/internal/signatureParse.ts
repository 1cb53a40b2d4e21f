/**
 * The text form of a signature, read twice: by the compiler (first half) and at run time (second half).
 *
 * ```
 * signature := [field {"," field}] "->" field {"," field}
 * field     := name ["?"] [":" type]                                    no type: string
 * type      := item {"|" item}
 * item      := ( "(" type ")" | object | "[" list "]" | name | name "[" list "]" | name "<" list ">" | literal ) {"[" "]"}
 * list      := type {"," type}
 * object    := "{" key ["?"] ":" type {("," | ";") key ["?"] ":" type} ["," | ";"] "}"
 * literal   := '"' … '"' | "'" … "'" | number                           no escapes: the other quote, or no backslash
 * ```
 *
 * Both halves follow the same steps in the same order and give the same messages, so that they can be read side by side.
 * A `Raw` is what an item may be: a schema, or a list of literals, kept apart until it is known whether the whole union
 * consists of literals (one `Schema.Literal`) or not.
 */
import type * as Arr from "effect/Array"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { Citations } from "../Citations.ts"
import * as Code from "../Code.ts"
import { Reasoning } from "../Reasoning.ts"
import type { Fields } from "../Signature.ts"
import * as ToolCalls from "../ToolCalls.ts"
import { History } from "./history.ts"
import { Audio, Document, Image } from "./mediaValues.ts"
import { isName } from "./signatureName.ts"

// =============================================================================
// The compiler's half. A step gets a text without leading space, and gives `[result, rest of the text]` or a message.
// =============================================================================

type Space = " " | "\n" | "\r" | "\t"
type Delimiter = Space | "," | ";" | ":" | "?" | "|" | "[" | "]" | "<" | ">" | "(" | ")" | "{" | "}" | "\"" | "'" | "-"
type Digit = "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"
type NotInNames = "." | "$" | "!" | "#" | "%" | "&" | "*" | "+" | "/" | "=" | "@" | "^" | "`" | "~" | "\\"

type Named = typeof named
type Generic = typeof generic

type Literals = ReadonlyArray<AST.LiteralValue>

type Close<R> = R extends [null] ? typeof Schema.Null
  : R extends Arr.NonEmptyReadonlyArray<AST.LiteralValue> ? Schema.Literal<R>
  : R

type CloseAll<M extends ReadonlyArray<unknown>> = { [K in keyof M]: Close<M[K]> }

// The compiler makes a new type each time it meets `Schema.Array$<Close<R>>` or `[W, Skip<S>]`, and the same type when the
// arguments are names. These names make it compare a schema once, not at each use.
type Pair<A, B> = [A, B]
type ArrayOf<V> = V extends Schema.Schema.Any ? Schema.Array$<V> : never
type RecordOf<V> = V extends Schema.Schema.Any ? Schema.Record$<typeof Schema.String, V> : never
type NullOrOf<V> = V extends Schema.Schema.Any ? Schema.NullOr<V> : never
type OptionalOf<V> = V extends Schema.Schema.Any ? Schema.optional<V> : never
type UnionOf<M> = M extends ReadonlyArray<Schema.Schema.Any> ? Schema.Union<M> : never
type TupleOf<M> = M extends [infer A extends Schema.Schema.Any, infer B extends Schema.Schema.Any] ? Schema.Tuple2<A, B>
  : M extends ReadonlyArray<Schema.Schema.Any> ? Schema.Tuple<M>
  : never

type Concat<M, Acc extends Literals = []> = M extends [infer H extends Literals, ...infer T] ? Concat<T, [...Acc, ...H]>
  : Acc

type WithoutNull<M, Acc extends ReadonlyArray<unknown> = []> = M extends [infer H, ...infer T]
  ? WithoutNull<T, H extends [null] ? Acc : [...Acc, H]>
  : Acc

type Join<M extends ReadonlyArray<unknown>> = M extends [infer R] ? R
  : M extends ReadonlyArray<Literals> ? Concat<M>
  : WithoutNull<M> extends infer N extends ReadonlyArray<unknown>
    ? N["length"] extends M["length"] ? UnionOf<CloseAll<M>> : NullOrOf<Close<Join<N>>>
  : never

type Skip<S> = S extends `${Space}${infer R}` ? Skip<R> : S

type Word<S, W extends string = ""> = S extends `${infer C}${infer R}`
  ? C extends Delimiter ? Pair<W, Skip<S>> : Word<R, `${W}${C}`>
  : [W, ""]

type Found<S> = S extends `->${string}` ? "'->'"
  : Word<S> extends ["", unknown] ? S extends `${infer C}${string}` ? `'${C}'` : "the end"
  : Word<S> extends [infer W extends string, unknown] ? `'${W}'`
  : never

type Expected<E extends string, S> = `expected ${E}, found ${Found<S>}`

type Type<S, T, M extends ReadonlyArray<unknown> = []> = Item<S, T> extends [infer R, infer S1]
  ? S1 extends `|${infer S2}` ? Type<Skip<S2>, T, [...M, R]>
  : M extends [] ? [R, S1]
  : Pair<Join<[...M, R]>, S1>
  : Item<S, T>

type Item<S, T> = S extends `${infer C}${infer R}` ? C extends Delimiter ? Punctuated<C, R, S, T>
  : Word<S> extends [infer W, infer S1] ? Reference<W, S1, T>
  : never
  : Expected<"a type", S>

type Punctuated<C, R, S, T> = C extends "\"" | "'"
  ? R extends `${infer L}${C}${infer S1}` ? Quoted<L, Skip<S1>> : "a literal lacks its closing quote"
  : C extends "{" ? Members<Skip<R>, T>
  : C extends "[" ? Apply<"tuple", List<Skip<R>, T, "]">>
  : C extends "(" ? Closed<Type<Skip<R>, T>>
  : R extends `>${string}` ? Expected<"a type", S>
  : C extends "-" ? Word<R> extends [infer W extends string, infer S1] ? Numeric<`-${W}`, S1> : never
  : Expected<"a type", S>

type Quoted<L, S> = L extends `${string}\\${string}` ? "a literal has no escapes: use the other quote, and no backslash"
  : Suffix<[L], S>

type Closed<P> = P extends [infer R, infer S] ? S extends `)${infer S1}` ? Suffix<R, Skip<S1>> : Expected<"')'", S>
  : P

type Reference<W, S, T> = W extends keyof T ? Suffix<T[W], S>
  : W extends `dspy.${infer N}` ? Reference<N, S, T>
  : W extends "Code" ? S extends `[${infer R}` ? Language<Skip<R>, S, T> : Suffix<Named["Code"], S>
  : W extends keyof Named ? Suffix<Named[W], S>
  : W extends keyof Generic ? S extends `[${infer R}` ? Apply<Generic[W], List<Skip<R>, T, "]">>
    : S extends `<${infer R}` ? Apply<Generic[W], List<Skip<R>, T, ">">>
    : `'${W}' needs its types, as in ${W}[...]`
  : Numeric<W, S>

// `Code["python"]` is a language, `Code[]` a list.
type Language<R, S, T> = R extends `${"\"" | "'"}${string}` ? Coded<List<R, T, "]">> : Suffix<Named["Code"], S>

type Coded<P> = P extends [infer M, infer S]
  ? M extends [[string]] ? Suffix<Named["Code"], S> : "Code has one language, as in Code['python']"
  : P

type Numeric<W, S> = W extends `${infer N extends number}` ? number extends N ? Unknown<W> : Suffix<[N], S> : Unknown<W>

type Unknown<W> = W extends string ? `unknown type '${W}'` : never

type Suffix<R, S> = S extends `[${infer S1}`
  ? Skip<S1> extends `]${infer S2}` ? Suffix<ArrayOf<Close<R>>, Skip<S2>> : Expected<"']'", Skip<S1>>
  : [R, S]

type List<S, T, End extends string, M extends ReadonlyArray<unknown> = []> = Type<S, T> extends [infer R, infer S1]
  ? S1 extends `,${infer S2}` ? List<Skip<S2>, T, End, [...M, R]>
  : S1 extends `${End}${infer S2}` ? Pair<[...M, R], Skip<S2>>
  : Expected<`',' or '${End}'`, S1>
  : Type<S, T>

type Apply<G, P> = P extends [infer M extends ReadonlyArray<unknown>, infer S]
  ? G extends "list" ? M extends [infer R] ? Suffix<ArrayOf<Close<R>>, S> : "a list has one type"
  : G extends "dict" ? M extends [infer K, infer R] ? Dictionary<K, R, S> : Dictionary<null, null, S>
  : G extends "tuple" ? Suffix<TupleOf<CloseAll<M>>, S>
  : G extends "Optional" ? M extends [infer R] ? Suffix<Join<[R, [null]]>, S> : "Optional has one type"
  : G extends "Union" ? Suffix<Join<M>, S>
  : M extends ReadonlyArray<Literals> ? Suffix<Concat<M>, S>
  : "Literal takes constants only"
  : P

type Dictionary<K, R, S> = [K, typeof Schema.String] extends [typeof Schema.String, K] ? Suffix<RecordOf<Close<R>>, S>
  : "a dictionary has string keys and one type of value"

type Key<S> = S extends `"${infer K}"${infer R}` ? Pair<K, Skip<R>> :
  S extends `'${infer K}'${infer R}` ? Pair<K, Skip<R>>
  : Word<S>

type Members<S, T, F = {}> = Key<S> extends [infer K, infer S1] ? K extends "" ? Expected<"a property name", S>
  : K extends "__proto__" | `${number}` ? `an object cannot keep the property '${K}' in its place`
  : K extends keyof F & string ? `property '${K}' is declared twice`
  : S1 extends `:${infer S2}` ? Member<K, Type<Skip<S2>, T>, false, T, F>
  : S1 extends `?${infer S2}`
    ? Skip<S2> extends `:${infer S3}` ? Member<K, Type<Skip<S3>, T>, true, T, F> : Expected<"':'", Skip<S2>>
  : Expected<"':'", S1>
  : never

type Member<K, P, Optional, T, F> = P extends [infer R, infer S]
  ? F & Property<K, R, Optional> extends infer F1
    ? S extends `${"," | ";"}${infer S1}`
      ? Skip<S1> extends `}${infer S2}` ? Suffix<Struct<F1>, Skip<S2>> : Members<Skip<S1>, T, F1>
    : S extends `}${infer S1}` ? Suffix<Struct<F1>, Skip<S1>>
    : Expected<"',' or '}'", S>
  : never
  : P

type Property<K, R, Optional> = {
  readonly [_ in K & string]: Optional extends true ? OptionalOf<Close<R>> : Close<R>
}

type Struct<F> = F extends Schema.Struct.Fields ? Schema.Struct<{ -readonly [K in keyof F]: F[K] }> : never

type At<N, P> = [N, P] extends [infer Name extends string, infer Problem extends string] ? `field '${Name}': ${Problem}`
  : never

// `O` is null as long as the inputs are read.
type Field<S, T, I, O> = Word<S> extends [infer N, infer S1]
  ? N extends "" ? [keyof I, O, S] extends [never, null, `->${infer S2}`] ? Field<Skip<S2>, T, I, {}>
    : Expected<"a field name", S>
  : N extends `${Digit}${string}` | `${string}${NotInNames}${string}` | "__proto__"
    ? At<N, "a name is letters, digits and _, does not start with a digit, and is not __proto__">
  : N extends keyof I | keyof O ? At<N, "is declared twice">
  : S1 extends `:${infer S2}` ? Next<N, Type<Skip<S2>, T>, false, T, I, O>
  : S1 extends `?${infer S2}` ? Skip<S2> extends `:${infer S3}` ? Next<N, Type<Skip<S3>, T>, true, T, I, O>
    : Next<N, Pair<typeof Schema.String, Skip<S2>>, true, T, I, O>
  : Next<N, [typeof Schema.String, S1], false, T, I, O>
  : never

type Next<N, P, Optional, T, I, O> = P extends [infer R, infer S]
  ? O extends null ? S extends `,${infer S1}` ? Field<Skip<S1>, T, I & Property<N, R, Optional>, O>
    : S extends `->${infer S1}` ? Field<Skip<S1>, T, I & Property<N, R, Optional>, {}>
    : At<N, Expected<"',' or '->'", S>>
  : S extends `,${infer S1}` ? Field<Skip<S1>, T, I, O & Property<N, R, Optional>>
  : S extends "" ? [I, O & Property<N, R, Optional>]
  : At<N, Expected<"',' or the end", S>>
  : At<N, P>

/**
 * `[input fields, output fields]`, or a message.
 */
export type Parsed<S extends string, T> = Field<Skip<S>, T, {}, null>

// =============================================================================
// The run-time half
// =============================================================================

/**
 * Why a text is no signature.
 */
export interface Problem {
  readonly description: string
  readonly field: string | undefined
  readonly position: number
  readonly expected: ReadonlyArray<string> | undefined
}

// Thrown and caught within this file: a parser of results would be twice as long.
class Failure {
  readonly description: string
  readonly position: number
  readonly expected: ReadonlyArray<string> | undefined
  constructor(description: string, position: number, expected?: ReadonlyArray<string>) {
    this.description = description
    this.position = position
    this.expected = expected
  }
}

type RawValue = Schema.Schema.AnyNoContext | ReadonlyArray<AST.LiteralValue>

const literal = <L extends AST.LiteralValue>(value: L): [L] => [value]

const named = {
  string: Schema.String,
  str: Schema.String,
  number: Schema.Finite,
  float: Schema.Finite,
  int: Schema.Int,
  integer: Schema.Int,
  boolean: Schema.Boolean,
  bool: Schema.Boolean,
  unknown: Schema.Unknown,
  any: Schema.Unknown,
  Any: Schema.Unknown,
  Image,
  Audio,
  Document,
  File: Document,
  History,
  Code: Code.Code,
  Reasoning,
  Citations,
  Tool: ToolCalls.Offered,
  ToolCalls: ToolCalls.ToolCalls,
  null: literal(null),
  None: literal(null),
  true: literal(true),
  True: literal(true),
  false: literal(false),
  False: literal(false)
}

const generic = {
  list: "list",
  List: "list",
  Array: "list",
  dict: "dict",
  Dict: "dict",
  Record: "dict",
  tuple: "tuple",
  Tuple: "tuple",
  Optional: "Optional",
  Union: "Union",
  Literal: "Literal"
} as const

const own = <A>(record: { readonly [key: string]: A }, key: string): A | undefined =>
  Object.hasOwn(record, key) ? record[key] : undefined

const isLiterals = (raw: RawValue): raw is ReadonlyArray<AST.LiteralValue> => Array.isArray(raw)

const isString = (raw: RawValue): boolean => !isLiterals(raw) && AST.isStringKeyword(raw.ast)

const isNull = (raw: RawValue): boolean => isLiterals(raw) && raw.length === 1 && raw[0] === null

const close = (raw: RawValue): Schema.Schema.AnyNoContext =>
  isNull(raw) ? Schema.Null : isLiterals(raw) ? Schema.Literal(...raw) : raw

const join = (members: ReadonlyArray<RawValue>): RawValue => {
  if (members.length === 1) return members[0]! // the length was checked
  if (members.every(isLiterals)) return members.flat()
  const rest = members.filter((raw) => !isNull(raw))
  return rest.length === members.length ? Schema.Union(...members.map(close)) : Schema.NullOr(close(join(rest)))
}

/**
 * The fields of both sides in the order of the text.
 */
export const parse = (
  text: string,
  types: { readonly [name: string]: Schema.Schema.AnyNoContext }
): Either.Either<{ readonly input: Fields; readonly output: Fields }, Problem> => {
  let at = 0
  let depth = 0
  let field: string | undefined

  const skip = (): void => {
    while (at < text.length && " \n\r\t".includes(text[at]!)) at++ // within the text
  }
  const word = (): string => {
    const start = at
    while (at < text.length && !" \n\r\t,;:?|[]<>(){}\"'-".includes(text[at]!)) at++ // within the text
    return text.slice(start, at)
  }
  // After any white space. Nothing is consumed when the token is not there.
  const take = (token: string): boolean => {
    const start = at
    skip()
    if (text.startsWith(token, at)) {
      at += token.length
      return true
    }
    at = start
    return false
  }
  const fail = (description: string, position: number, expected?: ReadonlyArray<string>): never => {
    throw new Failure(description, position, expected)
  }
  const expected = (what: string): never => {
    skip()
    const start = at
    const found = at === text.length ? "the end" : text.startsWith("->", at) ? "'->'" : `'${word() || text[at]}'`
    return fail(`expected ${what}, found ${found}`, start)
  }

  // A text from anywhere must not exhaust the stack, here or where the schema is used.
  const limited = (levels: number): number => levels <= 64 ? levels : fail("types are nested over 64 levels deep", at)
  const type = (): RawValue => {
    depth = limited(depth + 1)
    const members = [item()]
    while (take("|")) members.push(item())
    depth--
    return join(members)
  }
  const item = (): RawValue => {
    skip()
    const start = at
    const quote = text[at]
    if (quote === "\"" || quote === "'") return suffix([quoted(quote)])
    if (take("(")) {
      const inner = type()
      return take(")") ? suffix(inner) : expected("')'")
    }
    if (take("{")) return suffix(members())
    if (take("[")) return suffix(apply("tuple", list("]"), start))
    if (!text.startsWith("->", at) && take("-")) return suffix(numeric(`-${word()}`, start))
    const name = word()
    return name === "" ? expected("a type") : suffix(reference(name, start))
  }
  const quoted = (quote: string): string => {
    const start = at
    const end = text.indexOf(quote, at + 1)
    if (end < 0) return fail("a literal lacks its closing quote", start)
    at = end + 1
    const literal = text.slice(start + 1, end)
    return literal.includes("\\")
      ? fail("a literal has no escapes: use the other quote, and no backslash", start)
      : literal
  }
  const reference = (name: string, start: number): RawValue => {
    const custom = own(types, name)
    if (custom !== undefined) return custom
    if (name.startsWith("dspy.")) return reference(name.slice("dspy.".length), start)
    if (name === "Code" && /^\s*\[\s*["']/.test(text.slice(at))) return coded(start)
    const simple = own<RawValue>(named, name)
    if (simple !== undefined) return simple
    const kind = own<Generic[keyof Generic]>(generic, name)
    if (kind === undefined) return numeric(name, start)
    if (take("[")) return apply(kind, list("]"), start)
    if (take("<")) return apply(kind, list(">"), start)
    return fail(`'${name}' needs its types, as in ${name}[...]`, start)
  }
  const coded = (start: number): RawValue => {
    take("[")
    const [language, ...more] = list("]")
    return language !== undefined && more.length === 0 && isLiterals(language) && typeof language[0] === "string" &&
        language.length === 1
      ? Code.make(language[0])
      : fail("Code has one language, as in Code['python']", start)
  }
  const numeric = (name: string, start: number): RawValue => {
    const value = Number(name)
    return Number.isFinite(value) && String(value) === name
      ? [value]
      : fail(`unknown type '${name}'`, start, [...Object.keys(types), ...Object.keys(named), ...Object.keys(generic)])
  }
  const suffix = (raw: RawValue): RawValue => {
    let result = raw
    for (let levels = 1; take("["); levels = limited(levels + 1)) {
      result = take("]") ? Schema.Array(close(result)) : expected("']'")
    }
    return result
  }
  const list = (end: string): ReadonlyArray<RawValue> => {
    const members = [type()]
    while (take(",")) members.push(type())
    return take(end) ? members : expected(`',' or '${end}'`)
  }
  const apply = (kind: Generic[keyof Generic], members: ReadonlyArray<RawValue>, start: number): RawValue => {
    const [first, second] = members
    const single = members.length === 1 ? first : undefined
    switch (kind) {
      case "list":
        return single === undefined ? fail("a list has one type", start) : Schema.Array(close(single))
      case "dict":
        return members.length !== 2 || first === undefined || !isString(first) || second === undefined
          ? fail("a dictionary has string keys and one type of value", start)
          : Schema.Record({ key: Schema.String, value: close(second) })
      case "tuple":
        return Schema.Tuple(...members.map(close))
      case "Optional":
        return single === undefined ? fail("Optional has one type", start) : join([single, [null]])
      case "Union":
        return join(members)
      case "Literal":
        return members.every(isLiterals) ? members.flat() : fail("Literal takes constants only", start)
    }
  }
  const members = (): RawValue => {
    const fields: { [key: string]: Fields[string] } = {}
    do {
      skip()
      const start = at
      const quote = text[at]
      const key = quote === "\"" || quote === "'" ? quotedKey(quote) : word()
      if (key === "") return expected("a property name")
      if (key === "__proto__" || Number.isFinite(Number(key))) {
        return fail(`an object cannot keep the property '${key}' in its place`, start)
      }
      if (Object.hasOwn(fields, key)) return fail(`property '${key}' is declared twice`, start)
      const optional = take("?")
      if (!take(":")) return expected("':'")
      const schema = close(type())
      fields[key] = optional ? Schema.optional(schema) : schema
      const more = take(",") || take(";")
      if (take("}")) return Schema.Struct<Fields>(fields)
      if (!more) return expected("',' or '}'")
    } while (true)
  }
  const quotedKey = (quote: string): string => {
    const end = text.indexOf(quote, at + 1)
    if (end <= at + 1) return "" // reported as no name at all
    const key = text.slice(at + 1, end)
    at = end + 1
    return key
  }

  const side = (known: Fields): Fields => {
    const fields: { [key: string]: Fields[string] } = {}
    do {
      field = undefined
      skip()
      const start = at
      const name = word()
      if (name === "") return expected("a field name")
      field = name
      if (!isName(name)) {
        return fail("a name is letters, digits and _, does not start with a digit, and is not __proto__", start)
      }
      if (Object.hasOwn(fields, name) || Object.hasOwn(known, name)) return fail("is declared twice", start)
      const optional = take("?")
      const schema = take(":") ? close(type()) : Schema.String
      fields[name] = optional ? Schema.optional(schema) : schema
    } while (take(","))
    return fields
  }

  try {
    const input = take("->") ? {} : side({})
    if (field !== undefined && !take("->")) return expected("',' or '->'")
    const output = side(input)
    skip()
    return at === text.length ? Either.right({ input, output }) : expected("',' or the end")
  } catch (failure) {
    if (failure instanceof Failure) {
      const { description, expected, position } = failure
      return Either.left({ description, expected, field, position })
    }
    throw failure
  }
}
