/**
 * Programs that run beside this one and talk to it over their standard input and
 * output: servers of tools, and tools in other languages.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as spawn from "./internal/spawn.ts"

/**
 * - `NotStarted`: there is no such program, or it may not be run.
 * - `Ended`: it was written to, and does not read any more.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubprocessError
  extends Schema.TaggedError<SubprocessError>("@effect-dspy/providers/Subprocess/SubprocessError")("SubprocessError", {
    executable: Schema.String,
    reason: Schema.Literal("NotStarted", "Ended"),
    description: Schema.String
  })
{
  override get message(): string {
    return `${this.executable}: ${this.description}`
  }
}

/**
 * What is run: an `executable` with `arguments`, which no shell reads.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly executable: string
  readonly arguments?: ReadonlyArray<string> | undefined
  /**
   * What is added to PATH, HOME, USER, LOGNAME, LANG, LC_ALL, LC_CTYPE, TMPDIR
   * and TZ, which is all that it gets of ours.
   */
  readonly environment?: { readonly [name: string]: string } | undefined
  /** Where it runs; where we do by default. */
  readonly directory?: string | undefined
}

/**
 * A program that runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subprocess {
  /** What it writes to its standard output, to be run once; it waits while nobody reads. Ends with it. */
  readonly output: Stream.Stream<Uint8Array>
  /** Writes to its standard input, and waits for it to have room. */
  readonly write: (text: string) => Effect.Effect<void, SubprocessError>
  /** The last 64 KiB of what it wrote to its standard error. */
  readonly complaints: Effect.Effect<string>
  /** Waits for its end: its exit code, or the signal that ended it. */
  readonly ended: Effect.Effect<{ readonly code: number | null; readonly signal: string | null }>
}

/**
 * Runs a program until the scope closes.
 *
 * Its input is closed then, half a second later it and all that it has started
 * are asked to end, and 2 seconds later they are killed. It does not outlive
 * this process either, even one that is killed. Needs Node, and a system with
 * process groups: not Windows.
 *
 * @example
 * ```ts
 * import * as Subprocess from "@effect-dspy/providers/Subprocess"
 * import { Effect, Stream } from "effect"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const echo = yield* Subprocess.start({ executable: "cat" })
 *   yield* echo.write("hello\n")
 *   return yield* echo.output.pipe(Stream.decodeText(), Stream.take(1), Stream.mkString)
 * }))
 *
 * Effect.runPromise(program).then((text) => assert.strictEqual(text, "hello\n"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const start = (options: Options): Effect.Effect<Subprocess, SubprocessError, Scope.Scope> => {
  const { executable } = options
  const command: spawn.Command = {
    executable,
    arguments: options.arguments ?? [],
    environment: options.environment ?? {},
    directory: options.directory ?? ".",
    input: undefined
  }
  return spawn.node.pipe(
    Effect.flatMap((node) => spawn.spawn(node, command)),
    Effect.mapError(({ code }) =>
      new SubprocessError({
        executable,
        reason: "NotStarted",
        description: `could not be started (${code}); see that it is installed, that it may be run, and where`
      })
    ),
    Effect.map(({ complaints, ended, read, write }) => ({
      output: Stream.repeatEffectOption(
        Effect.flatMap(read, Option.match({ onNone: () => Effect.fail(Option.none()), onSome: Effect.succeed }))
      ),
      write: (text) =>
        Effect.filterOrFail(write(text), (written) => written, () =>
          new SubprocessError({
            executable,
            reason: "Ended",
            description: `does not read any more; the last it said: ${complaints().slice(-1000).trim() || "nothing"}`
          })).pipe(Effect.asVoid),
      complaints: Effect.sync(complaints),
      ended
    }))
  )
}
