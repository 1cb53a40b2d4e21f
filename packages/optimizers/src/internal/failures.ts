/**
 * Tells a model that is gone from one that fails now and then.
 */
import * as Effect from "effect/Effect"
import { TooManyFailures } from "../Optimizer.ts"
import type { Paid } from "./runs.ts"

// Few enough that a dead model is noticed at once, many enough that one which fails every fifth time is not taken for it.
const fewest = 10
const most = 50

// Of so few some more may fail by chance: twice the standard deviation.
const few = 20
const allowed = (rate: number, of: number): number => rate * of + (of < few ? 2 * Math.sqrt(rate * (1 - rate) * of) : 0)

export class Failures {
  #latest: Array<boolean> = []
  #error: TooManyFailures | undefined

  constructor(readonly what: TooManyFailures["what"], readonly maxFailureRate: number) {}

  /** Fails once there were too many, so that nothing more is asked. */
  readonly check: Effect.Effect<void, TooManyFailures> = Effect.suspend(() => this.#error ?? Effect.void)

  /** In the order of time; what is replayed is not held against the model of today. */
  see({ failure, replayed }: Paid): Effect.Effect<void, TooManyFailures> {
    if (replayed) return Effect.void
    this.#latest.push(failure !== undefined)
    if (this.#latest.length > most) this.#latest.shift()
    const of = this.#latest.length
    const count = this.#latest.filter((failed) => failed).length
    if (failure !== undefined && of >= fewest && count > allowed(this.maxFailureRate, of)) {
      this.#error ??= new TooManyFailures({
        what: this.what,
        failed: count,
        of,
        maxFailureRate: this.maxFailureRate,
        latest: failure
      })
    }
    return this.check
  }
}
