/**
 * `Parallel` runs a program over many inputs and keeps what became of each.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as attempts from "./internal/attempts.ts"
import * as Module from "./Module.ts"

/**
 * When a run that takes much longer than the others is made again beside
 * itself: once no more than `remaining` inputs are left (3 by default) and it
 * has been under way for `after`. The first of the two that succeeds counts, and
 * the other one is interrupted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stragglers {
  readonly after: Duration.DurationInput
  readonly remaining?: number | undefined
}

/**
 * What `Parallel` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many inputs are worked on at once, `Module.window` by default. */
  readonly concurrency?: number | undefined
  /**
   * How many of them may fail, 10 by default. With one more the rest is not
   * begun, and what is under way is interrupted.
   */
  readonly maxFailures?: number | undefined
  /**
   * Not run again by default. Whose answer counts then depends on time, so a
   * result may differ from one run to the next.
   */
  readonly stragglers?: Stragglers | undefined
}

/**
 * More inputs failed than may. `results` has what is known, in the order of the
 * inputs, and `undefined` for those that were not finished.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyFailures<out Out, out E> extends Data.TaggedError("TooManyFailures")<{
  readonly maxFailures: number
  readonly results: ReadonlyArray<Either.Either<Out, E> | undefined>
}> {
  override get message(): string {
    const finished = this.results.filter((result) => result !== undefined)
    const first = finished.find(Either.isLeft)?.left
    return `${
      finished.filter(Either.isLeft).length
    } of ${this.results.length} inputs failed, more than the ${this.maxFailures} that may; ${
      finished.filter(Either.isRight).length
    } had succeeded. The first failure: ${first instanceof Error ? first.message : String(first)}`
  }
}

// The run, and from the moment it lags behind, the same run beside it. The calls of the one that does not count are none
// of the program's.
const again = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  input: In,
  path: string,
  late: Effect.Effect<void>
): Effect.Effect<Either.Either<Out, E>, never, R> =>
  Effect.suspend(() => {
    const first: Array<number> = []
    const second: Array<number> = []
    let lagging = false
    const run = (attempt: Module.Module<In, Out, E, R>, made: Array<number>) =>
      Effect.map(attempts.numbered(Effect.either(attempt(input)), made), ({ exit }) => exit)
    const rerun = late.pipe(
      Effect.zipRight(Effect.sync(() => {
        lagging = true
      })),
      Effect.zipRight(attempts.announce(2)),
      Effect.zipRight(run(attempts.anew(module, 2, path), second))
    )
    type Runs = Fiber.Fiber<Either.Either<Out, E>>
    const settle = (exit: Exit.Exit<Either.Either<Out, E>>, other: Runs, own: Array<number>, others: Array<number>) =>
      Exit.isSuccess(exit) && Either.isLeft(exit.value) && lagging
        ? Effect.zipLeft(Fiber.join(other), attempts.discard(own))
        : Fiber.interrupt(other).pipe(Effect.zipRight(attempts.discard(others)), Effect.zipRight(exit))
    return Effect.raceWith(run(module, first), rerun, {
      onSelfDone: (exit, other) => settle(exit, other, first, second),
      onOtherDone: (exit, self) => settle(exit, self, second, first)
    })
  })

/**
 * The program over many inputs, side by side. What became of each is in the
 * order of the inputs: a failure of one is no failure of the others, as long as
 * there are not too many of them. Different programs side by side are
 * `Module.branch` inside, or `Module.all` when all get the same input;
 * `ModuleStream.batch` of `@effect-dspy/streaming` gives the results as they come,
 * with the progress.
 *
 * Its part is under `module`. Throws a `RangeError` for numbers that are none of these.
 *
 * @example
 * ```ts
 * import * as Parallel from "@effect-dspy/core/Parallel"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect, Either } from "effect"
 *
 * const all = Parallel.make(Predict.make("question -> answer"), { maxFailures: 1 })
 *
 * const model = TestLanguageModel.layer((request) =>
 *   String(request.messages.at(-1)?.content).includes("France")
 *     ? TestLanguageModel.fields({ answer: "Paris" })
 *     : TestLanguageModel.text("I do not know.")
 * )
 *
 * const program = Effect.provide(all([{ question: "The capital of France?" }, { question: "And of Atlantis?" }]), model)
 *
 * Effect.runPromise(program).then(([france, atlantis]) => {
 *   assert.deepStrictEqual(france, Either.right({ answer: "Paris" }))
 *   assert.ok(atlantis !== undefined && Either.isLeft(atlantis))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  options: Options = {}
): Module.Module<Iterable<In>, Array<Either.Either<Out, E>>, TooManyFailures<Out, E>, R> => {
  const { maxFailures = 10, stragglers } = options
  if (!(maxFailures >= 0)) {
    throw new RangeError(`Parallel: maxFailures must be a number of at least 0, not ${maxFailures}`)
  }
  if (options.concurrency !== undefined && (!Number.isInteger(options.concurrency) || options.concurrency < 1)) {
    throw new RangeError(`Parallel: concurrency must be a whole number of at least 1, not ${options.concurrency}`)
  }
  const remaining = stragglers?.remaining ?? 3
  if (!Number.isInteger(remaining) || remaining < 0) {
    throw new RangeError(`Parallel: remaining must be a whole number of at least 0, not ${remaining}`)
  }
  return Module.make({ module }, function*(m, inputs: Iterable<In>) {
    const path = yield* attempts.place
    const concurrency = options.concurrency ?? (yield* Module.window)
    const items = Array.from(inputs)
    const results: Array<Either.Either<Out, E> | undefined> = items.map(() => undefined)
    const few = yield* Deferred.make<void>()
    let open = items.length
    let failures = 0
    if (open <= remaining) yield* Deferred.succeed(few, void 0)
    const one = (input: In) => {
      if (stragglers === undefined) return Effect.either(m.module(input))
      const after = Duration.toMillis(stragglers.after)
      return Effect.flatMap(Clock.currentTimeMillis, (start) => {
        const late = Deferred.await(few).pipe(
          Effect.zipRight(Clock.currentTimeMillis),
          Effect.flatMap((now) => Effect.sleep(Math.max(0, start + after - now)))
        )
        return again(m.module, input, path, late)
      })
    }
    return yield* Effect.forEach(items, (input, index) =>
      Effect.flatMap(one(input), (result) => {
        results[index] = result
        open--
        if (Either.isLeft(result) && ++failures > maxFailures) {
          return Effect.fail(new TooManyFailures<Out, E>({ maxFailures, results: Array.from(results) }))
        }
        return Effect.as(open === remaining ? Deferred.succeed(few, void 0) : Effect.void, result)
      }), { concurrency })
  })
}
