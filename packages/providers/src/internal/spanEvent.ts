/**
 * What policies leave in the span around a call.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Adds an event to the current span, if there is one. */
export const spanEvent = (name: string, attributes: Record<string, unknown>): Effect.Effect<void> =>
  Effect.ignore(
    Effect.zipWith(Effect.currentSpan, Clock.currentTimeNanos, (span, now) => span.event(name, now, attributes))
  )
