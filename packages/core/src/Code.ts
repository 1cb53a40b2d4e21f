/**
 * Code as values of a program: text in a language, without the fences and the
 * prose that models put around it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as code from "./internal/code.ts"
import * as typeName from "./internal/typeName.ts"

/**
 * The schema of code in a language, which the model is told. Written
 * `Code["typescript"]` or `dspy.Code["typescript"]` in the text of a signature.
 *
 * A value is a string. Of what a model writes, the only block between fences
 * (or the only one in the language) is the code, and what is around it is left
 * out and noted as a repair; with no such block all of it is code. Code that
 * would be taken for a block itself is written as a JSON string in prompts.
 *
 * @example
 * ```ts
 * import * as Code from "@effect-dspy/core/Code"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect, Schema } from "effect"
 *
 * const write = Predict.make(Signature.make({
 *   input: { task: Schema.String },
 *   output: { program: Code.make("typescript") }
 * }))
 *
 * const program = write({ task: "Say hello." }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ program: "Here you are:\n```ts\nconsole.log(\"hello\")\n```" })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then((output) => assert.deepStrictEqual(output, { program: "console.log(\"hello\")" }))
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const make = (language: string): Schema.Schema<string> =>
  Schema.String.annotations({
    [code.AnnotationId]: language,
    [typeName.AnnotationId]: language === "" ? "Code" : `Code[${JSON.stringify(language)}]`
  })

/**
 * The schema of code in any language. Written `Code` in the text of a signature.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Code: Schema.Schema<string> = make("")
