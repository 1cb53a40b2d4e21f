/**
 * Calls of tools as values: which tools a model may call is an input of a
 * signature, which ones it wants to call an output. Nothing is called here; a
 * loop that does is `ReAct`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as native from "./internal/nativeName.ts"
import * as shapes from "./internal/toolCallShapes.ts"
import * as typeName from "./internal/typeName.ts"
import * as Json from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"
import type * as Tool from "./Tool.ts"

/**
 * One call. `id` is the provider's, where it has given one; `arguments` are not
 * decoded yet, which `Tool.decode` of the tool does.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCall = Schema.Struct({
  id: Schema.optional(Schema.String),
  name: Schema.String,
  arguments: Json.JsonRecord
})

/**
 * @since 0.1.0
 * @category models
 */
export interface ToolCall extends Schema.Schema.Type<typeof ToolCall> {}

/**
 * The schema of an output field for calls. Written `ToolCalls` or
 * `dspy.ToolCalls` in the text of a signature.
 *
 * With a model that calls tools (`capabilities.tools`), and an input of tools, the
 * field is not asked for: the tools are offered beside the messages, and the
 * calls read beside the text. Other outputs may then be missing, so make them
 * optional. Otherwise calls are JSON in the text, which is also understood as
 * providers and DSPy write it: a single call, `args`, a `function` around it,
 * arguments as JSON text.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Tool from "@effect-dspy/core/Tool"
 * import * as ToolCalls from "@effect-dspy/core/ToolCalls"
 * import { Effect, Schema } from "effect"
 *
 * const weather = Tool.make("weather", {
 *   description: "Tells the weather of a city.",
 *   parameters: { city: Schema.String },
 *   run: ({ city }) => Effect.succeed(`rain in ${city}`)
 * })
 *
 * const choose = Predict.make("question, tools: Tool[] -> calls: ToolCalls")
 *
 * const program = choose({ question: "Do I need a coat in Oslo?", tools: ToolCalls.offer([weather]) }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.toolCalls([{ name: "weather", arguments: { city: "Oslo" } }])
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ calls }) =>
 *   assert.deepStrictEqual(calls, [{ id: "call_0", name: "weather", arguments: { city: "Oslo" } }])
 * )
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const ToolCalls: Schema.Schema<ReadonlyArray<ToolCall>> = Schema.Array(ToolCall).annotations({
  description: "the tools to call, each with its arguments",
  [native.AnnotationId]: "toolCalls",
  [shapes.AnnotationId]: true,
  [typeName.AnnotationId]: "ToolCalls"
})

/**
 * The schema of one tool that a model may call. Written `Tool` or `dspy.Tool` in
 * the text of a signature, mostly as a list.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Offered: Schema.Schema<LanguageModel.ToolDefinition> = LanguageModel.ToolDefinition.annotations({
  [native.AnnotationId]: "tools",
  [typeName.AnnotationId]: "Tool"
})

/**
 * Tools as the value of an input field.
 *
 * @since 0.1.0
 * @category constructors
 */
export const offer = (tools: ReadonlyArray<Tool.Any>): ReadonlyArray<LanguageModel.ToolDefinition> =>
  tools.map(({ definition }) => definition)
