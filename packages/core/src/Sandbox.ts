/**
 * The service that runs code a model has written: JavaScript that reaches
 * nothing but the values and functions it is given. What runs it is a Layer,
 * such as `QuickJsSandbox` of the providers.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as globalName from "./internal/globalName.ts"
import * as sandboxLimits from "./internal/sandboxLimits.ts"
import type * as Json from "./Json.ts"

// =============================================================================
// Errors
// =============================================================================

/**
 * The code is no JavaScript; nothing of it has run. `line` counts from 1.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Syntax extends Schema.TaggedClass<Syntax>("@effect-dspy/core/Sandbox/Syntax")("Syntax", {
  description: Schema.String,
  line: Schema.optional(Schema.Int)
}) {}

/**
 * The code threw, or a promise that it waited for was rejected. `line` is where
 * in the code, counted from 1.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Threw extends Schema.TaggedClass<Threw>("@effect-dspy/core/Sandbox/Threw")("Threw", {
  name: Schema.String,
  description: Schema.String,
  line: Schema.optional(Schema.Int)
}) {}

/**
 * The code computed for longer than `limit` milliseconds. Waiting for functions
 * does not count.
 *
 * @since 0.1.0
 * @category reasons
 */
export class TimedOut extends Schema.TaggedClass<TimedOut>("@effect-dspy/core/Sandbox/TimedOut")("TimedOut", {
  limit: Schema.Finite
}) {}

/**
 * The code waits for a promise that nothing is left to settle.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Stuck extends Schema.TaggedClass<Stuck>("@effect-dspy/core/Sandbox/Stuck")("Stuck", {}) {}

/**
 * The code needs more memory than `limit` bytes.
 *
 * @since 0.1.0
 * @category reasons
 */
export class OutOfMemory extends Schema.TaggedClass<OutOfMemory>("@effect-dspy/core/Sandbox/OutOfMemory")(
  "OutOfMemory",
  { limit: Schema.Finite }
) {}

/**
 * Something is larger than may cross the border of the sandbox: the code itself,
 * or its value. `limit` in characters of the code, or of the JSON of the value.
 *
 * @since 0.1.0
 * @category reasons
 */
export class TooLarge extends Schema.TaggedClass<TooLarge>("@effect-dspy/core/Sandbox/TooLarge")("TooLarge", {
  what: Schema.Literal("code", "value"),
  limit: Schema.Finite
}) {}

/**
 * The engine broke while the code ran.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Crashed extends Schema.TaggedClass<Crashed>("@effect-dspy/core/Sandbox/Crashed")("Crashed", {
  description: Schema.String
}) {}

/**
 * There is no engine: it is not installed or cannot be started. No other code
 * will fare better.
 *
 * @since 0.1.0
 * @category reasons
 */
export class Unavailable extends Schema.TaggedClass<Unavailable>("@effect-dspy/core/Sandbox/Unavailable")(
  "Unavailable",
  { description: Schema.String }
) {}

/**
 * Why code did not run to its end.
 *
 * @since 0.1.0
 * @category reasons
 */
export const Reason = Schema.Union(Syntax, Threw, TimedOut, Stuck, OutOfMemory, TooLarge, Crashed, Unavailable)

/**
 * @since 0.1.0
 * @category reasons
 */
export type Reason = typeof Reason.Type

const at = (line: number | undefined): string => line === undefined ? "" : ` (line ${line})`

const size = (bytes: number): string => bytes % 2 ** 20 === 0 ? `${bytes / 2 ** 20} MiB` : `${bytes} bytes`

/**
 * One or two sentences about a reason, as a model can be told.
 *
 * @since 0.1.0
 * @category destructors
 */
export const describe = (reason: Reason): string => {
  switch (reason._tag) {
    case "Syntax":
      return `SyntaxError: ${reason.description}${at(reason.line)}`
    case "Threw":
      return `${reason.name}: ${reason.description}${at(reason.line)}`
    case "TimedOut":
      return `The code computed for more than ${reason.limit} ms and was stopped.`
    case "Stuck":
      return "The code waits for a promise that nothing will ever settle."
    case "OutOfMemory":
      return `The code needs more than ${size(reason.limit)} of memory and was stopped.`
    case "TooLarge":
      return `The ${reason.what} has more than ${reason.limit} characters.`
    case "Crashed":
      return `The sandbox broke down: ${reason.description}`
    case "Unavailable":
      return reason.description
  }
}

/**
 * Code that did not run to its end. The message is fit to be shown to the model
 * that wrote it. `logs` is what the code had logged until then.
 *
 * @since 0.1.0
 * @category errors
 */
export class SandboxError extends Schema.TaggedError<SandboxError>("@effect-dspy/core/Sandbox/SandboxError")(
  "SandboxError",
  { reason: Reason, logs: Schema.String }
) {
  override get message(): string {
    return this.forgets && this.reason._tag !== "Unavailable"
      ? `${describe(this.reason)} Variables of earlier code are gone.`
      : describe(this.reason)
  }

  /** Whether other code may fare better: all but `Unavailable`. */
  get recoverable(): boolean {
    return this.reason._tag !== "Unavailable"
  }

  /**
   * Whether what earlier code of the session had assigned is lost. What was
   * `set` is still there in the next run.
   */
  get forgets(): boolean {
    switch (this.reason._tag) {
      case "Syntax":
      case "Threw":
      case "Stuck":
      case "TooLarge":
        return false
      default:
        return true
    }
  }
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isSandboxError = (u: unknown): u is SandboxError => Predicate.isTagged(u, "SandboxError")

/**
 * What a function fails with in order to throw inside the sandbox: an error with
 * this `name` (`Error` by default) and message, which the code may catch.
 *
 * @since 0.1.0
 * @category errors
 */
export class Exception extends Data.TaggedError("Exception")<{
  readonly message: string
  readonly name?: string | undefined
}> {}

// =============================================================================
// Functions and limits
// =============================================================================

/**
 * What code may call, as `await search("cats")`: an Effect of JSON arguments,
 * whose result returns to the code as JSON. It runs inside the fiber that runs
 * the code: it is interrupted with it, and up to 32 calls run at a time.
 *
 * A failure with an {@link Exception} is thrown inside the sandbox, and so is an
 * error for a result that is no JSON. Any other failure ends the run, and so does a
 * defect.
 *
 * @since 0.1.0
 * @category models
 */
export interface HostFunction<out E = never, out R = never> {
  (...args: ReadonlyArray<Json.Json>): Effect.Effect<unknown, E | Exception, R>
}

/**
 * Functions by the name that the code calls them by.
 *
 * @since 0.1.0
 * @category models
 */
export interface Functions {
  readonly [name: string]: HostFunction<unknown, unknown>
}

/**
 * @since 0.1.0
 */
export declare namespace Functions {
  /**
   * What ends a run.
   *
   * @since 0.1.0
   * @category utility types
   */
  export type Error<F extends Functions> = Exclude<Effect.Effect.Error<ReturnType<F[keyof F]>>, Exception>

  /**
   * What the functions need.
   *
   * @since 0.1.0
   * @category utility types
   */
  export type Requirements<F extends Functions> = Effect.Effect.Context<ReturnType<F[keyof F]>>
}

/**
 * What a session is held to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long one run may compute, 5 seconds by default. Waiting for functions does not count. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Bytes that all code of a session may hold, 64 MiB by default. An engine may overshoot by a single allocation. */
  readonly memory?: number | undefined
  /** How many calls of functions one run may make, 256 by default; one more throws inside the sandbox. */
  readonly calls?: number | undefined
}

/**
 * What may cross the border of a sandbox, in characters of JSON: `arguments` of
 * one call, what it has `returned`, the `value` of a run; in characters of text:
 * its `code` and `logs`. `depth`: how many levels of arrays and objects a value
 * may have.
 *
 * @since 0.1.0
 * @category constants
 */
export const bounds = {
  arguments: 2 ** 20,
  returned: 2 ** 22,
  value: 2 ** 22,
  code: 2 ** 20,
  logs: 2 ** 16,
  depth: 128
} as const

/**
 * The limits of one session, in milliseconds, bytes and calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  readonly timeout: number
  readonly memory: number
  readonly calls: number
}

// =============================================================================
// Sessions
// =============================================================================

/**
 * What came of a run.
 *
 * @since 0.1.0
 * @category models
 */
export interface Result {
  /**
   * What the code gave to `submit(value)`, which ends it, or else the value of
   * its last expression. Absent if that is `undefined`, or no JSON.
   */
  readonly value?: Json.Json | undefined
  /** Whether it was submitted. */
  readonly submitted: boolean
  /**
   * What the value of the last expression has that is no JSON, if it is not
   * there for that; such as `a Map at .found[0]`.
   */
  readonly withheld?: string | undefined
  /** The lines of `console.log`, at most 64 KiB of them; the last line says how much is left out. */
  readonly logs: string
}

/**
 * A place where code runs, one piece after the other; what one piece declares at
 * its top level the next one finds, also if it threw.
 *
 * After an error that `forgets`, and after an interruption, code finds only what
 * was `set`: it runs in a new engine. `E` and `R` are those of the functions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Session<out E = never, out R = never> {
  /** Runs code. The top level may `await`. It may declare again what earlier code has declared. */
  readonly run: (code: string) => Effect.Effect<Result, SandboxError | E, R>
  /** Hands over a value as a global variable. It may be large: it is not bounded but by the memory of the session. */
  readonly set: (name: string, value: Json.Json) => Effect.Effect<void, SandboxError>
}

/**
 * `open` makes a session, which lasts as long as its scope. Code in it may call
 * the `functions`. A name that code cannot call a function by, or that is taken
 * (`submit`, `console`), is a defect.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly open: {
    <const F extends Functions>(
      options: Options & { readonly functions: F }
    ): Effect.Effect<Session<Functions.Error<F>, Functions.Requirements<F>>, SandboxError, Scope.Scope>
    // Said so, or functions would be tried as options without a type for their parameters.
    (options?: Options & { readonly functions?: never }): Effect.Effect<Session, SandboxError, Scope.Scope>
  }
}

/**
 * The sandbox of the program.
 *
 * @since 0.1.0
 * @category services
 */
export class Sandbox extends Context.Tag("@effect-dspy/core/Sandbox")<Sandbox, Service>() {}

/**
 * A session of the sandbox of the program, which lasts as long as the scope.
 *
 * @since 0.1.0
 * @category accessors
 */
export const open: {
  <const F extends Functions>(
    options: Options & { readonly functions: F }
  ): Effect.Effect<
    Session<Functions.Error<F>, Functions.Requirements<F>>,
    SandboxError,
    Sandbox | Scope.Scope
  >
  (
    options?: Options & { readonly functions?: never }
  ): Effect.Effect<Session, SandboxError, Sandbox | Scope.Scope>
} = (options?: Options) => Effect.flatMap(Sandbox, (sandbox) => sandbox.open(options))

// =============================================================================
// Making one
// =============================================================================

/**
 * How an engine calls a function, with the JSON text of the list of its
 * arguments; `Right` is the JSON text of the result, `Left` is to be thrown. It
 * must run in the fiber of `run` or in children of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  (name: string, args: string): Effect.Effect<Either.Either<string, Exception>>
}

/**
 * An engine at work: what {@link make} asks of it. Never used by two at a time, and not
 * again after an error that `forgets`, a defect or an interruption, which has to stop it at
 * once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Machine {
  /** Runs code and keeps what it declares. */
  readonly run: (code: string, call: Call) => Effect.Effect<Result, SandboxError>
  /** Makes a global variable of JSON text. */
  readonly set: (name: string, json: string) => Effect.Effect<void, SandboxError>
}

const nameable = (name: string): void => {
  const problem = globalName.problem(name)
  if (problem !== undefined) throw new RangeError(`Sandbox: ${problem}`)
}

// Whatever an engine and the code in it have done: plain data, or a sign that something is wrong.
const checked = (value: Json.Json): Json.Json => {
  const check = (value: Json.Json, depth: number): void => {
    if (typeof value !== "object" || value === null) return
    if (depth > bounds.depth) throw new RangeError("it has too many levels")
    if (Object.hasOwn(value, "__proto__")) throw new RangeError("it has the key __proto__")
    for (const item of Object.values(value)) check(item, depth + 1)
  }
  check(value, 1)
  return value
}

const listed = (value: Json.Json): ReadonlyArray<Json.Json> => {
  if (!Array.isArray(value)) throw new TypeError("arguments are no list")
  return value
}

const broken = (cause: unknown): SandboxError =>
  new SandboxError({ reason: new Crashed({ description: `what came out is refused: ${String(cause)}` }), logs: "" })

const callsAtATime = 32

/**
 * A sandbox over an engine. `start` gets the names of the functions and the
 * limits, and stops the engine when its scope closes.
 *
 * What is the same for all engines is done here: pieces of code of one session
 * wait for each other, functions run in the fiber of the run, and an engine
 * that broke or was interrupted is replaced when the next code comes.
 *
 * @example
 * ```ts
 * import * as Sandbox from "@effect-dspy/core/Sandbox"
 * import { Effect } from "effect"
 *
 * // An engine that knows two words.
 * const sandbox = Sandbox.make(() =>
 *   Effect.succeed({
 *     run: (code) =>
 *       code === "ping"
 *         ? Effect.succeed({ value: "pong", submitted: false, logs: "" })
 *         : new Sandbox.SandboxError({ reason: new Sandbox.Syntax({ description: `${code}?`, line: 1 }), logs: "" }),
 *     set: () => Effect.void
 *   })
 * )
 *
 * const program = Effect.gen(function*() {
 *   const session = yield* Sandbox.open()
 *   const { value } = yield* session.run("ping")
 *   const error = yield* Effect.flip(session.run("pong"))
 *   assert.deepStrictEqual([value, error.message], ["pong", "SyntaxError: pong? (line 1)"])
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provideService(Sandbox.Sandbox, sandbox)))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  start: (names: ReadonlyArray<string>, limits: Limits) => Effect.Effect<Machine, SandboxError, Scope.Scope>
): Service => ({
  // The overloads say what functions fail with and need; without any it is nothing.
  open: (options: Options & { readonly functions?: Functions } = {}) => opened(start, options as Infallible)
})

interface Infallible extends Options {
  readonly functions?: { readonly [name: string]: HostFunction }
}

const opened = <E, R>(
  start: Parameters<typeof make>[0],
  { functions = {}, ...options }: Options & { readonly functions?: { readonly [name: string]: HostFunction<E, R> } }
): Effect.Effect<Session<E, R>, SandboxError, Scope.Scope> =>
  Effect.gen(function*() {
    const names = Object.keys(functions)
    names.forEach(nameable)
    const limits = sandboxLimits.of(options)
    const scope = yield* Effect.scope
    const turn = yield* Effect.makeSemaphore(1)
    const handedOver = new Map<string, string>()
    let current: { readonly machine: Machine; readonly scope: Scope.CloseableScope } | undefined

    const stop = (exit: Exit.Exit<unknown, unknown>) =>
      Effect.suspend(() => {
        const stopped = current
        current = undefined
        return stopped === undefined ? Effect.void : Scope.close(stopped.scope, exit)
      })
    const running = Effect.suspend(() =>
      current !== undefined ?
        Effect.succeed(current.machine) :
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function*() {
            const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
            const machine = yield* restore(Scope.extend(start(names, limits), own)).pipe(
              Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
            )
            current = { machine, scope: own }
            yield* restore(Effect.forEach(handedOver, ([name, json]) => machine.set(name, json), { discard: true }))
            return machine
          })
        )
    )
    const use = <A, E2, R2>(
      f: (machine: Machine) => Effect.Effect<A, SandboxError | E2, R2>
    ): Effect.Effect<A, SandboxError | E2, R2> =>
      Effect.flatMap(running, f).pipe(
        Effect.onError((cause) => isHarmless(cause) ? Effect.void : stop(Exit.failCause(cause))),
        turn.withPermits(1)
      )
    yield* use(() => Effect.void)

    const run = (code: string) =>
      use((machine) =>
        Effect.gen(function*() {
          const context = yield* Effect.context<R>()
          const permits = yield* Effect.makeSemaphore(callsAtATime)
          const ended = yield* Deferred.make<never, E | SandboxError>()
          const call: Call = (name, args) =>
            Effect.try({ try: () => listed(checked(JSON.parse(args))), catch: broken }).pipe(
              // The engine calls what it was given the names of.
              Effect.flatMap((args) => functions[name]!(...args)),
              Effect.flatMap((result) => returned(name, result)),
              Effect.catchIf(
                (error): error is Exception => error instanceof Exception,
                (exception) => Effect.succeed(Either.left(exception))
              ),
              Effect.catchAllCause((cause) =>
                // Exceptions are no failures by now, which the compiler cannot tell of a type it does not know.
                Effect.zipRight(Deferred.failCause(ended, cause as Cause.Cause<E | SandboxError>), Effect.never)
              ),
              Effect.provide(context),
              permits.withPermits(1)
            )
          if (code.length > bounds.code) {
            return yield* new SandboxError({
              reason: new TooLarge({ what: "code", limit: bounds.code }),
              logs: ""
            })
          }
          const result = yield* Effect.raceFirst(
            machine.run(code, call),
            // The engine is in the middle of something, even if what ends it is an error of another sandbox.
            Effect.tapErrorCause(Deferred.await(ended), (cause) => stop(Exit.failCause(cause)))
          )
          if (result.value !== undefined) {
            const { value } = result
            yield* Effect.try({ try: () => checked(value), catch: broken })
          }
          return result
        })
      )

    const set = (name: string, value: Json.Json) =>
      Effect.suspend(() => {
        nameable(name)
        if (Object.hasOwn(functions, name)) throw new RangeError(`Sandbox: "${name}" is the name of a function`)
        const json = JSON.stringify(value)
        return Effect.tap(
          use((machine) => machine.set(name, json)),
          () => Effect.sync(() => handedOver.set(name, json))
        )
      })

    return { run, set }
  })

// What functions return may be anything, which the code that called them can be told.
const returned = (name: string, result: unknown): Effect.Effect<Either.Either<string, Exception>, Exception> =>
  Effect.flatMap(
    Effect.try({
      try: () => JSON.stringify(result) ?? "null",
      catch: (cause) =>
        new Exception({
          name: "TypeError",
          message: `${name} returned what is no JSON: ${cause instanceof Error ? cause.message : String(cause)}`
        })
    }),
    (json) =>
      json.length <= bounds.returned ? Effect.succeed(Either.right(json)) : new Exception({
        name: "RangeError",
        message: `${name} returned more than ${bounds.returned} characters of JSON; ask it for less`
      })
  )

const isHarmless = (cause: Cause.Cause<unknown>): boolean =>
  !Cause.isInterrupted(cause) &&
  Option.exists(Cause.failureOption(cause), (error) => isSandboxError(error) && !error.forgets)
