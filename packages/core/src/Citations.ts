/**
 * What an answer rests on as a field: told by the provider where it cites the
 * documents it was given, and otherwise written like any field.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as native from "./internal/nativeName.ts"
import * as typeName from "./internal/typeName.ts"
import * as Json from "./Json.ts"

/**
 * One passage that supports a part of an answer.
 *
 * - `text`: that part, in the words of the answer.
 * - `quote`: the passage, in the words of the source.
 * - `title`, `url`: the source.
 * - `location`: the place in the source, in the provider's own form.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Citation = Schema.Struct({
  text: Schema.optional(Schema.String),
  quote: Schema.optional(Schema.String),
  title: Schema.optional(Schema.String),
  url: Schema.optional(Schema.String),
  location: Schema.optional(Json.Json)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Citation extends Schema.Schema.Type<typeof Citation> {}

/**
 * The schema of an output field for citations, in the order of the answer.
 * Written `Citations` or `dspy.Citations` in the text of a signature.
 *
 * With a model that cites (`capabilities.citations`) the field is not asked for,
 * but read from what the provider says of the `Document`s among the inputs;
 * nothing is cited of an answer that is held to a JSON Schema, so it is not held
 * to one.
 *
 * @example
 * ```ts
 * import * as Document from "@effect-dspy/core/Document"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const answer = Predict.make("source: Document, question -> answer, citations: Citations")
 *
 * // A model that does not cite by itself.
 * const model = TestLanguageModel.layer([
 *   TestLanguageModel.fields({ answer: "blue", citations: [{ quote: "The kettle is blue." }] })
 * ])
 *
 * const program = answer({ source: Document.fromText("The kettle is blue."), question: "Which colour?" })
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ citations }) =>
 *   assert.deepStrictEqual(citations, [{ quote: "The kettle is blue." }])
 * )
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const Citations: Schema.Schema<ReadonlyArray<Citation>> = Schema.Array(Citation).annotations({
  description: "the passages of the sources that the answer rests on",
  [typeName.AnnotationId]: "Citations",
  [native.AnnotationId]: "citations"
})
