/**
 * Time for limits and windows: a clock that is set while a call runs neither
 * shortens nor lengthens it.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Milliseconds since the epoch, by the clock as it was when the program began. */
export const now: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)
