/**
 * A `Tool` is something a model may ask a program to do: a name, what it is good
 * for, parameters as schemas, and an Effect.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as JSONSchema from "effect/JSONSchema"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import type * as Json from "./Json.ts"
import * as JsonSchema from "./JsonSchema.ts"
import type * as LanguageModel from "./LanguageModel.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId = "~@effect-dspy/core/Tool"

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * Parameters by name. Their schemas need no services.
 *
 * @since 0.1.0
 * @category models
 */
export type Parameters = { readonly [name: string]: Schema.Schema.AnyNoContext | Schema.PropertySignature.All }

/**
 * A tool that takes `In` and gives `Out`. `E` is what ends the program that uses
 * it; other failures are told to the model.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tool<out Name extends string, in out In, out Out, out E = never, out R = never> {
  readonly [TypeId]: TypeId
  readonly name: Name
  /** How it is offered to a model. */
  readonly definition: LanguageModel.ToolDefinition
  /** Does it, with arguments that fit. */
  readonly run: (input: In) => Effect.Effect<Out, E | ToolError, R>
  /** Reads arguments as a model writes them; nothing is done yet. */
  readonly decode: (args: Json.JsonRecord) => Effect.Effect<In, ToolError>
}

/**
 * Any tool, with its types erased.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any {
  readonly [TypeId]: TypeId
  readonly name: string
  readonly definition: LanguageModel.ToolDefinition
  readonly run: (input: never) => Effect.Effect<unknown, unknown, unknown>
  readonly decode: (args: Json.JsonRecord) => Effect.Effect<unknown, ToolError>
}

/**
 * What ends the program that uses a tool.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Error<T extends Any> = T extends Any ? Exclude<Effect.Effect.Error<ReturnType<T["run"]>>, ToolError> : never

/**
 * What a tool needs.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Requirements<T extends Any> = T extends Any ? Effect.Effect.Context<ReturnType<T["run"]>> : never

/**
 * A call that came to nothing, as the model is told.
 *
 * - `UnknownTool`: there is none of this name; `known` are those there are.
 * - `InvalidArguments`: they do not fit, and nothing was done.
 * - `Denied`: whoever was asked said no, and nothing was done.
 * - `TimedOut`: it took too long, and was interrupted.
 * - `Failed`: the tool's own failure.
 *
 * @since 0.1.0
 * @category errors
 */
export class ToolError extends Schema.TaggedError<ToolError>("@effect-dspy/core/Tool/ToolError")("ToolError", {
  tool: Schema.String,
  reason: Schema.Literal("UnknownTool", "InvalidArguments", "Denied", "TimedOut", "Failed"),
  description: Schema.String
}) {
  override get message(): string {
    return `${this.tool}: ${this.description}`
  }
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isTool = (u: unknown): u is Any => Predicate.hasProperty(u, TypeId)

// What every service takes for the name of a function.
const validName = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/

/**
 * A tool of a function that returns an Effect.
 *
 * - `description`: what it is good for, and when to use it; the model decides by
 *   this.
 * - `parameters`: a schema for each; their descriptions are told to the model.
 *   Arguments are decoded strictly before anything is done: unknown ones are
 *   refused.
 * - `run`: what it does. Its result is told to the model, a text as it is and
 *   anything else as JSON.
 * - `failureMode`: whether failures are told to the model, which may try
 *   something else (`return`, the default), or end the program (`error`).
 * - `timeout`: how long it may take; no limit by default.
 *
 * Throws a `RangeError` for a name that no service takes.
 *
 * @example
 * ```ts
 * import * as Tool from "@effect-dspy/core/Tool"
 * import { Effect, Schema } from "effect"
 *
 * const divide = Tool.make("divide", {
 *   description: "Divides two numbers.",
 *   parameters: { dividend: Schema.Number, divisor: Schema.Number },
 *   run: ({ dividend, divisor }) =>
 *     divisor === 0 ? Effect.fail("nothing can be divided by 0") : Effect.succeed(dividend / divisor)
 * })
 *
 * const program = Effect.all([
 *   Tool.call(divide, { dividend: 6, divisor: 3 }),
 *   Effect.flip(Tool.call(divide, { dividend: 6, divisor: "three" }))
 * ])
 *
 * Effect.runPromise(program).then(([observation, error]) => {
 *   assert.strictEqual(observation, "2")
 *   assert.strictEqual(error.reason, "InvalidArguments")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  const P extends Parameters,
  Out,
  E,
  R,
  const Mode extends "return" | "error" = "return"
>(
  name: Name,
  options: {
    readonly description: string
    readonly parameters: P
    readonly run: (input: Types.Simplify<Schema.Struct.Type<P>>) => Effect.Effect<Out, E, R>
    readonly failureMode?: Mode | undefined
    readonly timeout?: Duration.DurationInput | undefined
  }
): Tool<Name, Types.Simplify<Schema.Struct.Type<P>>, Out, Mode extends "error" ? E : never, R> => {
  // What the struct of these fields is, the compiler does not see through the generic.
  const schema = Schema.Struct(options.parameters) as unknown as Schema.Schema<
    Types.Simplify<Schema.Struct.Type<P>>
  >
  const decode = Schema.decodeUnknown(schema, { onExcessProperty: "error", errors: "all" })
  const { $schema: _, ...parameters } = JSONSchema.make(schema)
  return assemble(
    name,
    options,
    parameters as unknown as Json.JsonRecord, // a JSON Schema is JSON
    (args) =>
      Effect.mapError(
        decode(args),
        (error) =>
          ParseResult.ArrayFormatter.formatErrorSync(error).map(({ message, path }) => ({
            path: path.join("."),
            message
          }))
      )
  )
}

/**
 * A tool that is known at run time only: its parameters are a JSON Schema, and
 * its arguments JSON.
 *
 * They are checked as `JsonSchema.check` does before anything is done. Unknown
 * ones are refused as well, unless the schema provides for them.
 *
 * Throws a `RangeError` for a name that no service takes.
 *
 * @example
 * ```ts
 * import * as Tool from "@effect-dspy/core/Tool"
 * import { Effect } from "effect"
 *
 * const weather = Tool.dynamic("weather", {
 *   description: "The weather in a city.",
 *   parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
 *   run: (args) => Effect.succeed({ ...args, sky: "clear" })
 * })
 *
 * const program = Effect.all([
 *   Tool.call(weather, { city: "Rome" }),
 *   Effect.flip(Tool.call(weather, { town: "Rome" }))
 * ])
 *
 * Effect.runPromise(program).then(([observation, error]) => {
 *   assert.strictEqual(observation, `{"city":"Rome","sky":"clear"}`)
 *   assert.strictEqual(error.description, "these arguments do not fit: city: is missing; town: is unknown")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const dynamic = <const Name extends string, Out, E, R, const Mode extends "return" | "error" = "return">(
  name: Name,
  options: {
    readonly description: string
    readonly parameters: Json.JsonRecord
    readonly run: (input: Json.JsonRecord) => Effect.Effect<Out, E, R>
    readonly failureMode?: Mode | undefined
    readonly timeout?: Duration.DurationInput | undefined
  }
): Tool<Name, Json.JsonRecord, Out, Mode extends "error" ? E : never, R> => {
  const { parameters } = options
  const known = closed(parameters)
  return assemble(name, options, parameters, (args) => {
    const problems = [
      ...JsonSchema.check(parameters, args),
      ...Object.keys(args).flatMap((path) =>
        known === undefined || known.has(path) ? [] : [{ path, message: "is unknown" }]
      )
    ]
    return problems.length === 0 ? Effect.succeed(args) : Effect.fail(problems)
  })
}

// All parameters there are, if the schema itself neither allows nor refuses others.
const closed = (schema: Json.JsonRecord): ReadonlySet<string> | undefined =>
  opening.some((keyword) => Object.hasOwn(schema, keyword))
    ? undefined
    : new Set(Object.keys(schema["properties"] ?? {}))

const opening = [
  "additionalProperties",
  "unevaluatedProperties",
  "patternProperties",
  "propertyNames",
  "$ref",
  "$dynamicRef",
  "allOf",
  "anyOf",
  "oneOf",
  "if",
  "dependencies",
  "dependentSchemas"
]

const assemble = <Name extends string, In, Out, E, R, Mode extends "return" | "error">(
  name: Name,
  { description, failureMode, run, timeout }: {
    readonly description: string
    readonly run: (input: In) => Effect.Effect<Out, E, R>
    readonly failureMode?: Mode | undefined
    readonly timeout?: Duration.DurationInput | undefined
  },
  parameters: Json.JsonRecord,
  decode: (args: Json.JsonRecord) => Effect.Effect<In, ReadonlyArray<JsonSchema.Problem>>
): Tool<Name, In, Out, Mode extends "error" ? E : never, R> => {
  if (!validName.test(name)) {
    throw new RangeError(`Tool: "${name}" is no name for a tool; use letters, digits, "_" and "-", at most 64 of them`)
  }
  return {
    [TypeId]: TypeId,
    name,
    definition: { name, description, parameters },
    decode: (args: Json.JsonRecord) =>
      Effect.mapError(decode(args), (problems) =>
        new ToolError({
          tool: name,
          reason: "InvalidArguments",
          description: `these arguments do not fit: ${
            problems.map(({ message, path }) => path === "" ? message : `${path}: ${message}`).join("; ")
          }`
        })),
    run: (input: In) => {
      const made: Effect.Effect<Out, E | ToolError, R> = failureMode === "error"
        ? run(input)
        : Effect.mapError(run(input), failed(name))
      return timeout === undefined ? made : Effect.timeoutFail(made, {
        duration: timeout,
        onTimeout: () => new ToolError({ tool: name, reason: "TimedOut", description: "it took too long" })
      })
    }
    // Without `error` all failures are ToolErrors.
  } as Tool<Name, In, Out, Mode extends "error" ? E : never, R>
}

const failed = (tool: string) => (error: unknown): ToolError =>
  error instanceof ToolError
    ? error
    : new ToolError({ tool, reason: "Failed", description: error instanceof Error ? error.message : text(error) })

/**
 * The same tool, which is used only if somebody agrees: `approve` is asked with
 * the decoded arguments each time, and may say why not.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withApproval = <const Name extends string, In, Out, E, R, E2, R2>(
  self: Tool<Name, In, Out, E, R>,
  approve: (input: In) => Effect.Effect<boolean | { readonly denied: string }, E2, R2>
): Tool<Name, In, Out, E | E2, R | R2> => ({
  ...self,
  run: (input) =>
    Effect.flatMap(approve(input), (answer) =>
      answer === true ? self.run(input) : new ToolError({
        tool: self.name,
        reason: "Denied",
        description: answer === false ? "this was not allowed" : answer.denied
      }))
})

/**
 * Uses a tool with arguments as a model writes them, and says what a model is told
 * about the result.
 *
 * @since 0.1.0
 * @category running
 */
export const call = <In, Out, E, R>(
  tool: Tool<string, In, Out, E, R>,
  args: Json.JsonRecord
): Effect.Effect<string, E | ToolError, R> =>
  tool.decode(args).pipe(
    Effect.flatMap(tool.run),
    Effect.map(text),
    Effect.withSpan(`tool ${tool.name}`, {
      captureStackTrace: false,
      attributes: { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool.name }
    })
  )

const text = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined ? "done" : JSON.stringify(value) ?? String(value)
