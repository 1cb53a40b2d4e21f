import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as ServingError from "../../ServingError.ts"

/**
 * Lets so many through in a second, at once or one after the other, and says to
 * the others when there will be room.
 */
export const make = (perSecond: number): Effect.Effect<void, ServingError.ServingError> => {
  // Each takes its part of a second, of which there is one at most.
  const part = 1000 / perSecond
  let room = 1000
  let since: number | undefined
  return Effect.flatMap(Clock.currentTimeMillis, (now) => {
    // A clock that is set back gives nothing, and takes nothing.
    room = Math.min(1000, room + Math.max(0, now - (since ?? now)))
    since = now
    const missing = part - room
    if (missing > tolerance) {
      return ServingError.make("Busy", `more than ${perSecond} requests came within a second; try again later`, {
        retryable: true,
        retryAfter: Math.ceil(missing)
      })
    }
    room -= part
    return Effect.void
  })
}

// Of a millisecond: what sums of parts may be wrong by.
const tolerance = 1e-6
