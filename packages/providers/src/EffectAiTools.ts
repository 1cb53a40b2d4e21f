/**
 * The tools of an `@effect/ai` Toolkit as tools of ours. Needs the package
 * `@effect/ai`.
 *
 * @since 0.1.0
 */
import * as Tool from "@effect-dspy/core/Tool"
import * as AiError from "@effect/ai/AiError"
import * as AiTool from "@effect/ai/Tool"
import type * as Toolkit from "@effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * A tool of a toolkit, as one of ours: its result is encoded by its schema, and
 * what ends the program is its failure, if its `failureMode` is `error`.
 *
 * @since 0.1.0
 * @category models
 */
export type FromTool<T> = T extends AiTool.Tool<infer Name, infer _Config, infer _R> ? Tool.Tool<
    Name,
    AiTool.Parameters<T>,
    AiTool.SuccessEncoded<T>,
    AiTool.HandlerError<T>,
    AiTool.Requirements<T>
  > :
  never

/**
 * Toolkits whose parameters need no services to be decoded: arguments are read
 * before anything is done.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Plain<Tools extends Record<string, AiTool.Any>> =
  [AiTool.ParametersSchema<Tools[keyof Tools]>["Context"]] extends [never] ? unknown :
    { readonly "these parameters need services": never }

/**
 * All tools of a toolkit that are run here; those that a provider runs are left
 * out. Needs the handlers, which are those of its layer.
 *
 * As `@effect/ai` has it, what a handler fails with ends the program, unless the
 * tool was made with `failureMode: "return"`: then the model is told. Arguments
 * are decoded strictly, and approval, limits and events are those of `Tool`.
 *
 * @example
 * ```ts
 * import * as Tool from "@effect-dspy/core/Tool"
 * import * as EffectAiTools from "@effect-dspy/providers/EffectAiTools"
 * import * as AiTool from "@effect/ai/Tool"
 * import * as Toolkit from "@effect/ai/Toolkit"
 * import { Effect, Schema } from "effect"
 *
 * const toolkit = Toolkit.make(
 *   AiTool.make("weather", {
 *     description: "The weather in a city.",
 *     parameters: { city: Schema.String },
 *     success: Schema.String
 *   })
 * )
 *
 * const program = Effect.gen(function*() {
 *   const [weather] = yield* EffectAiTools.fromToolkit(toolkit)
 *   return yield* Tool.call(weather!, { city: "Rome" })
 * }).pipe(
 *   Effect.provide(toolkit.toLayer({ weather: ({ city }) => Effect.succeed(`sunny in ${city}`) }))
 * )
 *
 * Effect.runPromise(program).then((observation) => assert.strictEqual(observation, "sunny in Rome"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromToolkit = <Tools extends Record<string, AiTool.Any>>(
  toolkit: Toolkit.Toolkit<Tools> & Plain<Tools>
): Effect.Effect<ReadonlyArray<FromTool<Tools[keyof Tools]>>, never, AiTool.HandlersFor<Tools>> =>
  Effect.map(
    toolkit as Toolkit.Toolkit<Tools>,
    ({ handle, tools }) =>
      Object.values(tools).filter(AiTool.isUserDefined).map((tool) => {
        // What a toolkit knows by name only: `Tool.make` and `Toolkit.make` have seen to it that it fits.
        const parameters = tool.parametersSchema as Schema.Struct<Tool.Parameters & Schema.Struct.Fields>
        const encode = Schema.encode(parameters as unknown as Schema.Schema<unknown>)
        const use = (input: unknown) =>
          // It is typed for what it decodes, but decodes what it is given.
          handle(tool.name, input as never) as Effect.Effect<AiTool.HandlerResult<AiTool.Any>, unknown, unknown>
        const made = Tool.make(tool.name, {
          description: tool.description ?? "",
          parameters: parameters.fields,
          failureMode: tool.failureMode,
          run: (input) =>
            Effect.orDie(encode(input)).pipe(
              Effect.flatMap(use),
              Effect.mapError((error) => isMalformed(error) ? broken(tool.name, error) : error),
              Effect.flatMap(({ encodedResult, isFailure, result }) =>
                isFailure ? Effect.fail(result) : Effect.succeed(encodedResult)
              )
            )
        })
        return made as unknown as FromTool<Tools[keyof Tools]> // of this tool
      })
  )

// The result of a handler that does not fit its own schema; another such error may be what the handler fails with.
const isMalformed = (error: unknown): error is AiError.MalformedInput =>
  error instanceof AiError.MalformedInput && error.module === "Toolkit"

const broken = (tool: string, error: AiError.MalformedInput) =>
  new Tool.ToolError({ tool, reason: "Failed", description: error.message, cause: error })
