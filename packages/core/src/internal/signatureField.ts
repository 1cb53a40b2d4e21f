/**
 * What a prompt can say about one field, read from its schema.
 */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type { Field } from "../Signature.ts"
import * as content from "./content.ts"
import { isName } from "./signatureName.ts"
import { nameOf } from "./typeName.ts"

type PropertyAst = Schema.PropertySignature.AST

const decodedType = (ast: PropertyAst): AST.AST => ast._tag === "PropertySignatureDeclaration" ? ast.type : ast.to.type

const encodedType = (ast: PropertyAst): AST.AST =>
  ast._tag === "PropertySignatureDeclaration" ? ast.type : ast.from.type

const propertyAst = (field: Schema.Struct.Field): PropertyAst =>
  Schema.isPropertySignature(field)
    ? field.ast
    : new Schema.PropertySignatureDeclaration(field.ast, false, true, {}, undefined)

// A property signature that changes its value (a default, an Option) has no schema of its own: the struct applies it.
// `undefined` stands for the absent key on either side.
const valueSchema = (ast: PropertyAst): Schema.Schema.AnyNoContext => {
  if (ast._tag === "PropertySignatureDeclaration") return Schema.make(ast.type)
  const side = (type: AST.AST, optional: boolean): Schema.Schema.AnyNoContext =>
    optional ? Schema.UndefinedOr(Schema.make(type)) : Schema.make(type)
  return Schema.transform(side(ast.from.type, ast.from.isOptional), side(AST.typeAST(ast.to.type), ast.to.isOptional), {
    strict: false,
    decode: (value: unknown) => Option.getOrUndefined(ast.decode(Option.fromNullable(value))),
    encode: (value: unknown) => Option.getOrUndefined(ast.encode(Option.fromNullable(value)))
  })
}

/**
 * The original name of a field that is renamed on the wire, if it is.
 */
export const renamedFrom = (field: Schema.Struct.Field): PropertyKey | undefined => {
  const ast = propertyAst(field)
  return ast._tag === "PropertySignatureTransformation" ? ast.from.fromKey : undefined
}

export const describe = (name: string, kind: Field["kind"], property: Schema.Struct.Field): Field => {
  const ast = propertyAst(property)
  const optional = ast._tag === "PropertySignatureDeclaration" ? ast.isOptional : ast.from.isOptional
  const encoded = optional ? withoutUndefined(encodedType(ast)) : encodedType(ast)
  const decoded = optional ? withoutUndefined(decodedType(ast)) : decodedType(ast)
  const own: ReadonlyArray<AST.Annotated> = ast._tag === "PropertySignatureDeclaration" ? [ast] : [ast.to, ast.from]
  const fragments = constraints(encoded)
  return {
    name,
    kind,
    schema: valueSchema(ast),
    optional,
    type: typeText(encoded, [encoded], kind === "output"),
    description: firstSome(own, AST.getDescriptionAnnotation) ?? description(decoded) ?? description(encoded),
    constraints: fragments.length === 0 ? undefined : fragments.join(", "),
    literals: literals(encoded),
    examples: firstSome(own, AST.getExamplesAnnotation) ?? examples(decoded)
  }
}

const firstSome = <A>(
  items: ReadonlyArray<AST.Annotated>,
  get: (annotated: AST.Annotated) => Option.Option<A>
): A | undefined => Option.getOrUndefined(Option.firstSomeOf(items.map(get)))

const withoutUndefined = (ast: AST.AST): AST.AST => {
  if (!AST.isUnion(ast)) return ast
  const rest = ast.types.filter((type) => !AST.isUndefinedKeyword(type))
  return rest.length === ast.types.length ? ast : AST.Union.make(rest, ast.annotations)
}

// -----------------------------------------------------------------------------
// Type text
// -----------------------------------------------------------------------------

/**
 * The type a value has on the wire, spelled as in TypeScript. `written`: by a
 * model, which has to know what an image is made of.
 */
export const typeText = (ast: AST.AST, enclosing: ReadonlyArray<AST.AST> = [], written = false): string => {
  const nested = (type: AST.AST) => typeText(type, enclosing, written)
  const name = written && content.isOne(ast) ? undefined : nameOf(ast)
  if (name !== undefined) return name
  switch (ast._tag) {
    case "Refinement":
      return isInteger(ast) ? "integer" : nested(ast.from)
    case "Transformation":
      return nested(ast.from)
    case "Suspend": {
      const type = ast.f()
      return enclosing.includes(type)
        ? identifier(ast) ?? identifier(type) ?? "unknown"
        : typeText(type, [...enclosing, type], written)
    }
    case "Literal":
      return literalText(ast.literal)
    case "Enums":
      return ast.enums.map(([_, value]) => literalText(value)).join(" | ")
    case "Union":
      return ast.types.map(nested).join(" | ")
    case "TupleType":
      return tupleText(ast, nested)
    case "TypeLiteral":
      return recordText(ast, nested)
    case "TemplateLiteral":
      return String(ast)
    case "Declaration":
      return identifier(ast) ?? "unknown"
    case "StringKeyword":
      return "string"
    case "NumberKeyword":
      return "number"
    case "BooleanKeyword":
      return "boolean"
    case "BigIntKeyword":
      return "bigint"
    case "ObjectKeyword":
      return "object"
    case "UndefinedKeyword":
      return "undefined"
    case "NeverKeyword":
      return "never"
    case "VoidKeyword":
      return "void"
    case "SymbolKeyword":
    case "UniqueSymbol":
      return "symbol"
    case "UnknownKeyword":
    case "AnyKeyword":
      return "unknown"
  }
}

const tupleText = (ast: AST.TupleType, nested: (type: AST.AST) => string): string => {
  const array = (item: AST.AST) => {
    const text = nested(item)
    return isUnion(item) && text !== nameOf(item) ? `(${text})[]` : `${text}[]`
  }
  const [rest, ...trailing] = ast.rest.map((element) => element.type)
  if (rest !== undefined && ast.elements.length === 0 && trailing.length === 0) return array(rest)
  const elements = ast.elements.map((element) => `${nested(element.type)}${element.isOptional ? "?" : ""}`)
  if (rest !== undefined) elements.push(`...${array(rest)}`)
  return `[${[...elements, ...trailing.map(nested)].join(", ")}]`
}

const isUnion = (ast: AST.AST): boolean =>
  AST.isUnion(ast) || AST.isEnums(ast) || ((AST.isRefinement(ast) || AST.isTransformation(ast)) && isUnion(ast.from))

const recordText = (ast: AST.TypeLiteral, nested: (type: AST.AST) => string): string => {
  const members = ast.propertySignatures.map((property) => {
    const type = property.isOptional ? withoutUndefined(property.type) : property.type
    return `${keyText(String(property.name))}${property.isOptional ? "?" : ""}: ${nested(type)}`
  })
  const records = ast.indexSignatures.map((index) => `Record<${nested(index.parameter)}, ${nested(index.type)}>`)
  return members.length === 0 && records.length > 0
    ? records.join(" & ")
    : [members.length === 0 ? "{}" : `{ ${members.join(", ")} }`, ...records].join(" & ")
}

const keyText = (key: string): string => isName(key) ? key : quotedText(key)

// The quote is chosen so that nothing needs to be escaped, as the text form of signatures has no escapes.
const quotedText = (text: string): string =>
  text.includes("\\") || (text.includes("\"") && text.includes("'"))
    ? JSON.stringify(text)
    : text.includes("\"")
    ? `'${text}'`
    : `"${text}"`

const literalText = (literal: AST.LiteralValue): string =>
  typeof literal === "string" ? quotedText(literal) : typeof literal === "bigint" ? `${literal}n` : String(literal)

const identifier = (ast: AST.Annotated): string | undefined =>
  Option.getOrUndefined(Option.orElse(AST.getIdentifierAnnotation(ast), () => AST.getTitleAnnotation(ast)))

// -----------------------------------------------------------------------------
// Description, constraints, literals, examples
// -----------------------------------------------------------------------------

const description = (ast: AST.AST): string | undefined => {
  const own = Option.getOrUndefined(AST.getDescriptionAnnotation(ast))
  if (own !== undefined && !isStandardDescription(ast, own)) return own
  return AST.isRefinement(ast) || AST.isTransformation(ast) ? description(ast.from) : undefined
}

// Effect describes every built-in keyword and filter ("a string", "a number between 0 and 1"): the type and the
// constraints say that already.
const isStandardDescription = (ast: AST.AST, text: string): boolean =>
  AST.isRefinement(ast)
    ? /^an? (?:(?:string|number|bigint|array|Duration|date|BigDecimal) (?:of )?(?:at (?:least|most)|exactly|\d+ character|matching|starting|ending|including|with no leading|greater|less|between|divisible|excluding|before|after)|(?:non.?empty|lowercase|uppercase|u?n?capitalized) string$|single character$|integer$|finite number$|(?:non-)?(?:positive|negative) (?:number|bigint|BigDecimal)$|Universally Unique|valid Date$|8-bit)/
      .test(text)
    : /^an? (?:string|number|boolean|bigint|object|symbol)$/.test(text)

const examples = (ast: AST.AST): ReadonlyArray<unknown> =>
  Option.getOrUndefined(AST.getExamplesAnnotation(ast)) ??
    (AST.isRefinement(ast) ? examples(ast.from) : [])

const isInteger = (ast: AST.Refinement): boolean => jsonSchema(ast)["type"] === "integer"

const jsonSchema = (ast: AST.Refinement): { readonly [key: string]: unknown } => {
  const schema = Option.getOrUndefined(AST.getJSONSchemaAnnotation(ast))
  return Predicate.isRecord(schema) ? schema : {}
}

// Innermost filter first: the order in which they were written.
const constraints = (ast: AST.AST): ReadonlyArray<string> => {
  switch (ast._tag) {
    case "Refinement":
      return [...constraints(ast.from), ...fragments(jsonSchema(ast))]
    case "Transformation":
      return constraints(ast.from)
    default:
      return []
  }
}

const fragments = (schema: { readonly [key: string]: unknown }): ReadonlyArray<string> => [
  ...range(schema["minLength"], schema["maxLength"], "character"),
  ...range(schema["minItems"], schema["maxItems"], "item"),
  ...bounds(schema["minimum"], schema["maximum"]),
  ...Object.entries(phrases).flatMap(([key, phrase]) => schema[key] === undefined ? [] : [phrase(schema[key])])
]

const phrases: { readonly [keyword: string]: (value: unknown) => string } = {
  exclusiveMinimum: (value) => `greater than ${value}`,
  exclusiveMaximum: (value) => `less than ${value}`,
  multipleOf: (value) => `a multiple of ${value}`,
  pattern: (value) => `matching the pattern ${value}`,
  format: (value) => `in ${value} format`,
  uniqueItems: () => "without repeated items"
}

const range = (min: unknown, max: unknown, unit: string): ReadonlyArray<string> => {
  const count = (n: unknown) => `${n} ${unit}${n === 1 ? "" : "s"}`
  if (min === undefined) return max === undefined ? [] : [`at most ${count(max)}`]
  if (max === undefined) return [`at least ${count(min)}`]
  return [min === max ? `exactly ${count(min)}` : `${min} to ${count(max)}`]
}

const bounds = (min: unknown, max: unknown): ReadonlyArray<string> => {
  if (min === undefined) return max === undefined ? [] : [`at most ${max}`]
  return [max === undefined ? `at least ${min}` : `between ${min} and ${max}`]
}

const literals = (ast: AST.AST): Field["literals"] => {
  switch (ast._tag) {
    case "Literal":
      return typeof ast.literal === "bigint" ? undefined : [ast.literal]
    case "Enums":
      return ast.enums.map(([_, value]) => value)
    case "Refinement":
    case "Transformation":
      return literals(ast.from)
    case "Union": {
      const parts = ast.types.map(literals)
      return parts.every(Predicate.isNotUndefined) ? parts.flat() : undefined
    }
    default:
      return undefined
  }
}
