/**
 * Attempts at the same task, of which one counts: what the others did is told
 * as it happens, and then to be no part of the result.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Reward } from "../BestOfN.ts"
import type * as Metric from "../Metric.ts"
import * as Module from "../Module.ts"
import * as ModuleEvent from "../ModuleEvent.ts"
import * as frame from "./frame.ts"

export interface Attempt<Out, E> {
  readonly exit: Either.Either<{ readonly output: Out; readonly score: Metric.Score }, E>
  /** The predictor calls of this attempt that were answered. */
  readonly calls: ReadonlyArray<number>
}

/** Throws for numbers of attempts and failures that are none. */
export const validate = (what: string, n: number, failCount: number): void => {
  if (!Number.isInteger(n) || n < 1) throw new RangeError(`${what}: n must be a whole number of at least 1, not ${n}`)
  if (!(failCount >= 0)) throw new RangeError(`${what}: failCount must be a number of at least 0, not ${failCount}`)
}

/** The `n`th attempt, and how good it is. `made` gets its calls as they are answered, also if it is then stopped. */
export const run = <In, Out, E, R, E2, R2>(
  n: number,
  input: In,
  attempt: Effect.Effect<Out, E, R>,
  reward: Reward<In, Out, E2, R2>,
  made: Array<number>
): Effect.Effect<Attempt<Out, E | E2>, never, R | R2> => {
  const judged = attempt.pipe(
    Effect.flatMap((output) =>
      Effect.map(settled(reward(input, output)), (score) => ({
        output,
        score: typeof score === "object" ? score : { value: Number(score) }
      }))
    ),
    Effect.either
  )
  return Effect.zipRight(announce(n), numbered(judged, made))
}

/** What is said at once or as an Effect, as an Effect. */
export const settled = <A, E, R>(said: A | Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.isEffect(said) ? said : Effect.succeed(said)

/** Says that the `n`th attempt begins. */
export const announce = (n: number): Effect.Effect<void> =>
  frame.with_(({ call, listener, path }) =>
    listener === undefined ? Effect.void : listener.emit([{ _tag: "Attempt", path, call, n }])
  )

/** What an attempt came to, and its calls, as far as somebody listens. */
export const numbered = <A, R>(attempt: Effect.Effect<A, never, R>, made: Array<number> = []) =>
  frame.with_(({ listener }) => {
    const calls: Array<number> = []
    return Effect.map(
      listener === undefined ? attempt : ModuleEvent.listen(attempt, {
        deltas: false,
        emit: (events) =>
          Effect.sync(() => {
            for (const event of events) {
              if (event._tag !== "PredictorEnd") continue
              calls.push(event.call)
              made.push(event.call)
            }
          })
      }),
      (exit): { readonly exit: A; readonly calls: ReadonlyArray<number> } => ({ exit, calls })
    )
  })

/** Says that these calls have no part in the result. */
export const discard = (calls: ReadonlyArray<number>): Effect.Effect<void> =>
  frame.with_(({ call, listener, path }) =>
    listener === undefined || calls.length === 0
      ? Effect.void
      : listener.emit([{ _tag: "Discarded", path, call, calls }])
  )

/** The best of attempts so far, and what all of them have cost in failures. */
export interface Standing<Out, E> {
  readonly best:
    | { readonly output: Out; readonly score: Metric.Score; readonly calls: ReadonlyArray<number> }
    | undefined
  readonly error: E | undefined
  readonly failures: number
}

export const none: Standing<never, never> = { best: undefined, error: undefined, failures: 0 }

// A reward that is no number is worth less than any other.
const worth = ({ value }: Metric.Score): number => Number.isNaN(value) ? -Infinity : value

/** Of equally good attempts the first stays. */
export const judge = <Out, E>(standing: Standing<Out, E>, { calls, exit }: Attempt<Out, E>): Standing<Out, E> => {
  if (Either.isLeft(exit)) return { ...standing, error: exit.left, failures: standing.failures + 1 }
  const { best } = standing
  return best !== undefined && worth(best.score) >= worth(exit.right.score)
    ? standing
    : { ...standing, best: { ...exit.right, calls } }
}

/** Whether there is nothing more to try. */
export const over = <Out, E>(
  { best, failures }: Standing<Out, E>,
  options: { readonly threshold?: number | undefined; readonly failCount: number }
): boolean =>
  failures > options.failCount ||
  (best !== undefined && options.threshold !== undefined && best.score.value >= options.threshold)

/** The same program, asked anew and at no other place the same way. */
export const anew = <M extends Module.Any>(module: M, n: number, path: string): M =>
  Module.withRollout(module, path === "" ? `attempt ${n}` : `attempt ${n} of ${path}`)

/** The same program, asked for another answer than at any other place. */
export const sample = <M extends Module.Any>(module: M, n: number, path: string): M =>
  anew(Module.withSettings(module, { temperature: 1 }), n, path)

/** The first attempt is the program as it is. */
export const again = <M extends Module.Any>(module: M, n: number, path: string): M =>
  n === 1 ? module : sample(module, n, path)

/** Where this is in the program. */
export const place: Effect.Effect<string> = frame.with_(({ path }) => Effect.succeed(path))

/** The best output, and nothing else of what all attempts `made`; the latest failure if there is none, or were too many. */
export const conclude = <Out, E>(
  { best, error, failures }: Standing<Out, E>,
  failCount: number,
  made: ReadonlyArray<number>
): Effect.Effect<Out, E> => {
  if (best === undefined || failures > failCount) return Effect.fail(error as E) // without a best one all have failed
  const own = new Set(best.calls)
  return Effect.as(discard(made.filter((call) => !own.has(call))), best.output)
}
