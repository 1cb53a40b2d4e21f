/**
 * A `Tool` is something a model may ask a program to do: a name, what it is good
 * for, parameters as schemas, and an Effect.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type * as Types from "effect/Types"
import { cut, listed } from "./internal/listed.ts"
import * as observation from "./internal/observation.ts"
import * as toolSchema from "./internal/toolSchema.ts"
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
export interface Tool<out Name extends string, in out In, out Out, out E = never, out R = never> extends Pipeable {
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
 * - `UnknownTool`: there is none of this name.
 * - `InvalidArguments`: they do not fit, and nothing was done.
 * - `Denied`: whoever was asked said no, and nothing was done.
 * - `TimedOut`: it took too long, and was interrupted.
 * - `Failed`: the tool's own failure, which is the `cause`.
 * - `Defect`: the tool is broken, by the `cause`.
 *
 * @since 0.1.0
 * @category errors
 */
export class ToolError extends Schema.TaggedError<ToolError>("@effect-dspy/core/Tool/ToolError")("ToolError", {
  tool: Schema.String,
  reason: Schema.Literal("UnknownTool", "InvalidArguments", "Denied", "TimedOut", "Failed", "Defect"),
  description: Schema.String,
  cause: Schema.optional(Schema.Defect)
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

// =============================================================================
// Constructors
// =============================================================================

/**
 * How a tool is offered and used, whatever its parameters are.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Mode extends "return" | "error" = "return" | "error"> {
  /** What it is good for, and when to use it; the model decides by this. */
  readonly description: string
  /**
   * Whether what goes wrong is told to the model, which may try something else
   * (`return`, the default), or ends the program (`error`). A defect that is
   * told to the model is logged as well, as an error.
   */
  readonly failureMode?: Mode | undefined
  /**
   * How long one use may take; no limit by default. Waiting for approval, or for
   * other uses to end, is not part of it.
   */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * How many uses may be under way at once, in all programs that have this tool;
   * no limit by default. Further ones wait.
   */
  readonly concurrency?: number | undefined
}

/**
 * A tool of a function that returns an Effect.
 *
 * `parameters` has a schema for each; their descriptions are told to the model.
 * Arguments are decoded strictly before anything is done: unknown ones are
 * refused, and nothing is converted that the schemas do not. Only a `null` for an
 * optional parameter, as some models write it, is the same as none.
 *
 * The result is told to the model: a text as it is, parts of a message
 * (`LanguageModel.Part`, one or a list of them) as such, so that it sees images,
 * and anything else as JSON.
 *
 * Throws a `RangeError` for a name that no service takes, and for parameters that
 * have no JSON Schema.
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
  options: Options<Mode> & {
    readonly parameters: P
    readonly run: (input: Types.Simplify<Schema.Struct.Type<P>>) => Effect.Effect<Out, E, R>
  }
): Tool<Name, Types.Simplify<Schema.Struct.Type<P>>, Out, Mode extends "error" ? E : never, R> => {
  // What the struct of these fields is, the compiler does not see through the generic.
  const schema = Schema.Struct(options.parameters) as unknown as Schema.Schema<
    Types.Simplify<Schema.Struct.Type<P>>
  >
  // Exactly the keys that are there, not what every object inherits (`constructor`).
  const decode = Schema.decodeUnknown(schema, { onExcessProperty: "error", errors: "all", exact: true })
  const optional = optionalOf(schema.ast)
  return assemble(
    name,
    options,
    toolSchema.of(name, schema),
    (args) =>
      Effect.mapError(
        decode(withoutNulls(args, optional)),
        (error) => problemsIn(ParseResult.ArrayFormatter.formatErrorSync(error))
      )
  )
}

/**
 * A tool of an ordinary function, which may return a promise. What it throws is
 * told to the model. The signal is aborted when the program is interrupted, or
 * time is up.
 *
 * @example
 * ```ts
 * import * as Tool from "@effect-dspy/core/Tool"
 * import { Effect, Schema } from "effect"
 *
 * const root = Tool.fromFunction("root", {
 *   description: "The square root of a number.",
 *   parameters: { of: Schema.Number },
 *   run: ({ of }) => {
 *     if (of < 0) throw new RangeError("a negative number has none")
 *     return Math.sqrt(of)
 *   }
 * })
 *
 * const program = Effect.all([Tool.call(root, { of: 9 }), Effect.flip(Tool.call(root, { of: -9 }))])
 *
 * Effect.runPromise(program).then(([observation, error]) => {
 *   assert.strictEqual(observation, "3")
 *   assert.strictEqual(error.message, "root: a negative number has none")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromFunction = <const Name extends string, const P extends Parameters, Out>(
  name: Name,
  options: Omit<Options, "failureMode"> & {
    readonly parameters: P
    readonly run: (input: Types.Simplify<Schema.Struct.Type<P>>, signal: AbortSignal) => Out
  }
): Tool<Name, Types.Simplify<Schema.Struct.Type<P>>, Awaited<Out>> =>
  make(name, {
    ...options,
    failureMode: "return",
    run: (input): Effect.Effect<Awaited<Out>, ToolError> =>
      Effect.tryPromise({
        try: async (signal): Promise<Awaited<Out>> => await options.run(input, signal),
        catch: failed(name)
      })
  })

const problemsIn = (issues: ReadonlyArray<ParseResult.ArrayFormatterIssue>): ReadonlyArray<JsonSchema.Problem> => {
  const found = issues.map(({ message, path }) => ({
    path: path.reduce<string>(
      (text, key) => typeof key === "number" ? `${text}[${key}]` : text === "" ? String(key) : `${text}.${String(key)}`,
      ""
    ),
    message
  }))
  const said = new Map<string, number>()
  for (const { path } of found) said.set(path, (said.get(path) ?? 0) + 1)
  // That an optional parameter is not absent either says nothing.
  return found.filter(({ message, path }) => !message.startsWith("Expected undefined,") || said.get(path) === 1)
}

const optionalOf = (ast: AST.AST): ReadonlySet<string> => {
  const encoded = AST.encodedBoundAST(ast)
  return new Set(
    AST.getPropertySignatures(encoded).flatMap(({ isOptional, name, type }) =>
      isOptional && typeof name === "string" && !ParseResult.is(Schema.make(type))(null) ? [name] : []
    )
  )
}

const withoutNulls = (args: Json.JsonRecord, optional: ReadonlySet<string>): Json.JsonRecord =>
  Object.entries(args).some(([name, value]) => value === null && optional.has(name))
    ? Object.fromEntries(Object.entries(args).filter(([name, value]) => value !== null || !optional.has(name)))
    : args

/**
 * A tool that is known at run time only: its parameters are a JSON Schema, and
 * its arguments JSON.
 *
 * They are checked as `JsonSchema.check` does before anything is done. Unknown
 * ones are refused as well, unless the schema provides for them, and a `null` for
 * an optional one is the same as none.
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
  options: Options<Mode> & {
    readonly parameters: Json.JsonRecord
    readonly run: (input: Json.JsonRecord) => Effect.Effect<Out, E, R>
  }
): Tool<Name, Json.JsonRecord, Out, Mode extends "error" ? E : never, R> => {
  const { parameters } = options
  const known = closed(parameters)
  const { properties, required } = parameters
  const optional = new Set(
    Object.entries(properties ?? {}).flatMap(([name, schema]) =>
      (Array.isArray(required) && required.includes(name)) || JsonSchema.check(schema, null).length === 0 ? [] : [name]
    )
  )
  return assemble(name, options, parameters, (given) => {
    const args = withoutNulls(given, optional)
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

const Proto = {
  [TypeId]: TypeId,
  pipe() {
    return pipeArguments(this, arguments)
  }
}

const makeProto = <Name extends string, In, Out, E, R>(
  fields: Pick<Tool<Name, In, Out, E, R>, "name" | "definition" | "run" | "decode">
): Tool<Name, In, Out, E, R> => Object.assign(Object.create(Proto), fields)

// What every service takes for the name of a function.
const validName = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/

const assemble = <Name extends string, In, Out, E, R, Mode extends "return" | "error">(
  name: Name,
  options: Options<Mode> & { readonly run: (input: In) => Effect.Effect<Out, E, R> },
  parameters: Json.JsonRecord,
  decode: (args: Json.JsonRecord) => Effect.Effect<In, ReadonlyArray<JsonSchema.Problem>>
): Tool<Name, In, Out, Mode extends "error" ? E : never, R> => {
  const { concurrency, description, failureMode, timeout } = options
  if (!validName.test(name)) {
    throw new RangeError(`Tool: "${name}" is no name for a tool; use letters, digits, "_" and "-", at most 64 of them`)
  }
  if (concurrency !== undefined && (!Number.isInteger(concurrency) || concurrency < 1)) {
    throw new RangeError(`Tool "${name}": concurrency must be a whole number of at least 1, not ${concurrency}`)
  }
  const permits = concurrency === undefined ? undefined : Effect.unsafeMakeSemaphore(concurrency)
  const run = (input: In): Effect.Effect<Out, E | ToolError, R> => {
    const plain = Effect.suspend(() => options.run(input))
    const told: Effect.Effect<Out, E | ToolError, R> = failureMode === "error" ? plain : toldToModel(name, plain)
    const timed = timeout === undefined ? told : Effect.timeoutFail(told, {
      duration: timeout,
      onTimeout: () =>
        new ToolError({
          tool: name,
          reason: "TimedOut",
          description: `it took longer than ${Duration.format(timeout)}, and was stopped`
        })
    })
    return permits === undefined ? timed : permits.withPermits(1)(timed)
  }
  const read = (args: Json.JsonRecord): Effect.Effect<In, ToolError> =>
    Effect.mapError(
      Effect.suspend(() => {
        const problem = forbidden(args)
        return problem === undefined ? decode(args) : Effect.fail([problem])
      }),
      (problems) =>
        new ToolError({
          tool: name,
          reason: "InvalidArguments",
          description: `these arguments do not fit: ${
            listed(problems, ({ message, path }) => cut(path === "" ? message : `${path}: ${message}`)).join("; ")
          }`
        })
    )
  return makeProto({
    name,
    definition: { name, description, parameters },
    // A schema may be broken as well.
    decode: (args: Json.JsonRecord) => failureMode === "error" ? read(args) : toldToModel(name, read(args)),
    // Without `error` all failures are ToolErrors.
    run: run as (input: In) => Effect.Effect<Out, (Mode extends "error" ? E : never) | ToolError, R>
  })
}

const maxDepth = 128

// What no schema has to see: decoding is recursive, and one key is no data.
const forbidden = (args: Json.JsonRecord): JsonSchema.Problem | undefined => {
  let level: Array<Json.Json> = [args]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) return { path: "", message: `they are nested more than ${maxDepth} levels deep` }
    const next: Array<Json.Json> = []
    for (const value of level) {
      if (typeof value !== "object" || value === null) continue
      if (Object.hasOwn(value, "__proto__")) return { path: "", message: "the key \"__proto__\" is not allowed" }
      for (const item of Object.values(value)) next.push(item)
    }
    level = next
  }
  return undefined
}

const toldToModel = <A, E, R>(tool: string, self: Effect.Effect<A, E, R>): Effect.Effect<A, ToolError, R> =>
  Effect.catchAllCause(self, (cause) =>
    Either.match(Cause.failureOrCause(cause), {
      onLeft: (error) => Effect.fail(failed(tool)(error)),
      onRight: (cause) =>
        Option.match(Cause.dieOption(cause), {
          // An interruption, which is nobody's failure.
          onNone: () => Effect.failCause(cause),
          onSome: (defect) =>
            Effect.zipRight(
              Effect.logError(`The tool "${tool}" is broken, and the model was told so`, cause),
              Effect.fail(
                new ToolError({
                  tool,
                  reason: "Defect",
                  description: `it is broken: ${observation.failure(defect)}`,
                  cause: defect
                })
              )
            )
        })
    }))

const failed = (tool: string) => (error: unknown): ToolError =>
  error instanceof ToolError
    ? error
    : new ToolError({ tool, reason: "Failed", description: observation.failure(error), cause: error })

// =============================================================================
// Combinators
// =============================================================================

/**
 * The same tool, which is used only if somebody agrees: `approve` is asked with
 * the decoded arguments each time, and may say why not. What it fails with ends
 * the program, and nothing is done.
 *
 * @example
 * ```ts
 * import * as Tool from "@effect-dspy/core/Tool"
 * import { Effect, Schema } from "effect"
 *
 * const pay = Tool.make("pay", {
 *   description: "Pays an amount.",
 *   parameters: { amount: Schema.Number },
 *   run: ({ amount }) => Effect.succeed(`paid ${amount}`)
 * }).pipe(
 *   Tool.withApproval(({ amount }) => Effect.succeed(amount <= 100 ? true : { denied: "100 at most" }))
 * )
 *
 * const program = Effect.all([Tool.call(pay, { amount: 20 }), Effect.flip(Tool.call(pay, { amount: 200 }))])
 *
 * Effect.runPromise(program).then(([observation, error]) => {
 *   assert.strictEqual(observation, "paid 20")
 *   assert.deepStrictEqual([error.reason, error.description], ["Denied", "100 at most"])
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const withApproval: {
  <In, E2, R2>(
    approve: (input: In) => Effect.Effect<boolean | { readonly denied: string }, E2, R2>
  ): <const Name extends string, Out, E, R>(self: Tool<Name, In, Out, E, R>) => Tool<Name, In, Out, E | E2, R | R2>
  <const Name extends string, In, Out, E, R, E2, R2>(
    self: Tool<Name, In, Out, E, R>,
    approve: (input: In) => Effect.Effect<boolean | { readonly denied: string }, E2, R2>
  ): Tool<Name, In, Out, E | E2, R | R2>
} = dual(
  2,
  <Name extends string, In, Out, E, R, E2, R2>(
    self: Tool<Name, In, Out, E, R>,
    approve: (input: In) => Effect.Effect<boolean | { readonly denied: string }, E2, R2>
  ): Tool<Name, In, Out, E | E2, R | R2> =>
    makeProto({
      ...self,
      run: (input: In) =>
        Effect.flatMap(
          Effect.suspend(() => approve(input)),
          (answer): Effect.Effect<Out, E | ToolError, R> =>
            answer === true ? self.run(input) : Effect.fail(
              new ToolError({
                tool: self.name,
                reason: "Denied",
                description: answer === false ? "this was not allowed" : answer.denied
              })
            )
        )
    })
)

// =============================================================================
// Running
// =============================================================================

/**
 * Reads the arguments; what is left is to do it.
 *
 * @internal
 */
export const prepare = <In, Out, E, R>(
  tool: Tool<string, In, Out, E, R>,
  args: Json.JsonRecord
): Effect.Effect<Effect.Effect<Out, E | ToolError, R>, ToolError> =>
  Effect.map(tool.decode(args), (input) =>
    Effect.withSpan(tool.run(input), `execute_tool ${tool.name}`, {
      captureStackTrace: false,
      attributes: { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool.name }
    }))

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
  Effect.map(Effect.flatten(prepare(tool, args)), (result) => observation.of(result).text)
