/**
 * Values that a model sees as they are instead of as text: a schema that says
 * which parts of a message its values become. `Image`, `Audio` and `Document`
 * are made with it, and so is any type of one's own.
 *
 * @since 0.1.0
 */
import type * as Schema from "effect/Schema"
import { AnnotationId } from "./internal/content.ts"
import * as typeName from "./internal/typeName.ts"
import type * as LanguageModel from "./LanguageModel.ts"

/**
 * What `Content.make` takes beside a schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in I> {
  /** What prompts and the texts of signatures call the type. */
  readonly name: string
  /** What a value is shown as, from its encoded form. Text among them is escaped like that of any field. */
  readonly parts: (encoded: I) => ReadonlyArray<LanguageModel.Part>
}

/**
 * A schema whose values every adapter puts as parts where they belong: as a
 * field, in demonstrations and in a history, inside of lists and records. The
 * encoded form, which demonstrations, traces and files hold, stays JSON. A model
 * that is to write one writes that JSON.
 *
 * @example
 * ```ts
 * import * as Content from "@effect-dspy/core/Content"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect, Schema } from "effect"
 *
 * // A map is a picture, and where its corners are.
 * const Chart = Content.make(Schema.Struct({ url: Schema.String, corners: Schema.String }), {
 *   name: "Chart",
 *   parts: ({ url, corners }) => [{ _tag: "Image", url }, { _tag: "Text", text: `Corners: ${corners}` }]
 * })
 *
 * const locate = Predict.make(Signature.make({ input: { chart: Chart }, output: { harbour: Schema.String } }))
 *
 * const program = Effect.gen(function*() {
 *   yield* locate({ chart: { url: "https://example.org/bay.png", corners: "59N 10E, 60N 11E" } })
 *   return (yield* TestLanguageModel.requests)[0]!.messages[1]!.content[1]
 * }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ harbour: "Oslo" })])))
 *
 * Effect.runPromise(program).then((part) =>
 *   assert.deepStrictEqual(part, { _tag: "Image", url: "https://example.org/bay.png" })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, I>(schema: Schema.Schema<A, I>, { name, parts }: Options<I>): Schema.Schema<A, I> =>
  schema.annotations({ identifier: name, [typeName.AnnotationId]: name, [AnnotationId]: parts })
