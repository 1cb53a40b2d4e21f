/**
 * Whether two schemas say the same.
 */
import * as Equal from "effect/Equal"
import * as Option from "effect/Option"
import * as AST from "effect/SchemaAST"
import { structuralRegion } from "effect/Utils"
import * as typeName from "./typeName.ts"

const compared = [
  AST.IdentifierAnnotationId,
  AST.TitleAnnotationId,
  AST.DescriptionAnnotationId,
  AST.ExamplesAnnotationId,
  AST.JSONSchemaAnnotationId,
  AST.SchemaIdAnnotationId,
  // Code in one language is not code in another.
  typeName.AnnotationId
]

type Same = (a: AST.AST, b: AST.AST) => boolean

/**
 * Compares two schemas by structure and by the annotations a prompt can show. Filters, transformations and declarations
 * are functions: they are equal when they are the same function, filters also when both carry the same schema id.
 */
export const equals: Same = (a, b) => same(a, b, [])

// `seen` ends the comparison of recursive schemas: pairs that are being compared count as equal.
const same = (a: AST.AST, b: AST.AST, seen: ReadonlyArray<readonly [AST.AST, AST.AST]>): boolean => {
  if (a === b || seen.some(([left, right]) => left === a && right === b)) return true
  if (!sameAnnotations(a, b)) return false
  const nested: Same = (left, right) => same(left, right, seen)
  switch (a._tag) {
    case "Literal":
      return AST.isLiteral(b) && a.literal === b.literal
    case "UniqueSymbol":
      return AST.isUniqueSymbol(b) && a.symbol === b.symbol
    case "Enums":
      return AST.isEnums(b) && structuralRegion(() => Equal.equals(a.enums, b.enums))
    case "TemplateLiteral":
      return AST.isTemplateLiteral(b) && String(a) === String(b)
    case "Union":
      return AST.isUnion(b) && all(a.types, b.types, nested)
    case "TupleType":
      return AST.isTupleType(b) && all(a.rest, b.rest, sameElement(nested)) &&
        all(
          a.elements,
          b.elements,
          (left, right) => left.isOptional === right.isOptional && sameElement(nested)(left, right)
        )
    case "TypeLiteral":
      return AST.isTypeLiteral(b) &&
        all(
          a.propertySignatures,
          b.propertySignatures,
          (left, right) =>
            left.name === right.name && left.isOptional === right.isOptional && sameElement(nested)(left, right)
        ) &&
        all(
          a.indexSignatures,
          b.indexSignatures,
          (left, right) => nested(left.parameter, right.parameter) && nested(left.type, right.type)
        )
    case "Refinement":
      return AST.isRefinement(b) && nested(a.from, b.from) && (a.filter === b.filter || sameFilter(a, b))
    case "Transformation":
      return AST.isTransformation(b) && nested(a.from, b.from) && nested(a.to, b.to) &&
        sameFunctions(a.transformation, b.transformation)
    case "Declaration":
      return AST.isDeclaration(b) && a.decodeUnknown === b.decodeUnknown &&
        all(a.typeParameters, b.typeParameters, nested)
    case "Suspend":
      return AST.isSuspend(b) && same(a.f(), b.f(), [...seen, [a, b]])
    default:
      return a._tag === b._tag
  }
}

const all = <A>(
  left: ReadonlyArray<A>,
  right: ReadonlyArray<A>,
  equal: (left: A, right: A) => boolean
): boolean => left.length === right.length && left.every((item, i) => equal(item, right[i]!)) // lengths are equal

const sameElement = (nested: Same) => (a: AST.Type, b: AST.Type): boolean =>
  sameAnnotations(a, b) && nested(a.type, b.type)

const sameAnnotations = (a: AST.Annotated, b: AST.Annotated): boolean => sameUnder(a, b, compared)

const sameUnder = (a: AST.Annotated, b: AST.Annotated, keys: ReadonlyArray<symbol>): boolean =>
  structuralRegion(() => keys.every((key) => Equal.equals(a.annotations[key], b.annotations[key])))

// Effect's own filters are built anew at each use: their id, with its parameters and JSON schema, stands for them.
const sameFilter = (a: AST.Refinement, b: AST.Refinement): boolean =>
  Option.match(AST.getSchemaIdAnnotation(a), {
    onNone: () => false,
    onSome: (id) => typeof id === "string" || sameUnder(a, b, [id])
  })

const sameFunctions = (a: AST.TransformationKind, b: AST.TransformationKind): boolean => {
  switch (a._tag) {
    case "ComposeTransformation":
      return AST.isComposeTransformation(b)
    case "FinalTransformation":
      return AST.isFinalTransformation(b) && a.decode === b.decode && a.encode === b.encode
    case "TypeLiteralTransformation":
      return AST.isTypeLiteralTransformation(b) && all(
        a.propertySignatureTransformations,
        b.propertySignatureTransformations,
        (left, right) =>
          left.from === right.from && left.to === right.to && left.decode === right.decode &&
          left.encode === right.encode
      )
  }
}
