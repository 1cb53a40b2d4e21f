/**
 * One process at a time: a file beside what it guards, which its holder touches twice a second. That of a process which was
 * killed is touched no more, and whoever comes next takes it over. It may have been alive, only slow: so it writes nothing
 * once it has not seen its own name there for a moment, and who takes over waits for longer than that.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

/** Another process holds it, or has taken it over. */
export class Held extends Data.TaggedError("Held") {}

const beat = 500
// A process that is busy may miss some beats.
const stale = 10 * beat
// How long its holder trusts what it last saw there.
const lease = beat
// By then who held it has seen that it is lost, and all who found it stale at the same moment have written their name, of
// whom the last one stays.
const settling = 3 * lease

// So many holders in a row may leave at the very moment when they are looked at.
const mostLeft = 100

/** Holds it until the scope closes. What comes of it is to be asked before each write: fails if it was lost. */
export const acquire = (
  path: string
): Effect.Effect<Effect.Effect<void, Held>, Held | PlatformError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    // Two processes may draw the same numbers, but not at the same nanosecond.
    const name = `${yield* Clock.currentTimeNanos}-${yield* Random.nextInt}`
    const mine = Effect.map(fs.readFileString(path), (found) => found === name)

    const take = (
      seen?: { readonly touched: number; readonly since: number },
      left = mostLeft
    ): Effect.Effect<void, Held | PlatformError> =>
      fs.writeFileString(path, name, { flag: "wx" }).pipe(
        Effect.catchIf((error) => is(error, "AlreadyExists"), () =>
          Effect.gen(function*() {
            const info = yield* Effect.either(fs.stat(path))
            if (Either.isLeft(info)) {
              // Its holder has just left; or it is a link to nothing, which is never there and cannot be made either.
              return yield* is(info.left, "NotFound") && left > 0 ? take(undefined, left - 1) : info.left
            }
            const touched = Option.match(info.right.mtime, { onNone: () => 0, onSome: (time) => time.getTime() })
            if (seen !== undefined && seen.touched !== touched) return yield* new Held()
            const now = yield* Clock.currentTimeMillis
            const since = seen?.since ?? now
            // The clock of another machine may be ahead of ours.
            const fresh = Math.min(touched, since) + stale - now
            if (fresh > 0) {
              yield* Effect.sleep(Math.min(fresh, 2 * beat))
              return yield* take({ touched, since })
            }
            yield* fs.writeFileString(path, name)
            yield* Effect.sleep(settling)
            if (!(yield* mine)) return yield* take()
          }))
      )

    // Nothing is lost by a file that could not be removed: it goes stale.
    yield* Effect.addFinalizer(() =>
      Effect.ignore(Effect.flatMap(mine, (mine) => mine ? fs.remove(path) : Effect.void))
    )
    yield* take()

    let seen = yield* Clock.currentTimeMillis
    let lost = false
    const touch = Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      if (yield* mine) {
        yield* fs.utimes(path, now / 1000, now / 1000)
        seen = now
      } else lost = true
    }).pipe(
      Effect.catchAll((error) => {
        // What cannot be read for a moment may be there at the next beat.
        if (is(error, "NotFound")) lost = true
        return Effect.void
      })
    )
    yield* Effect.forkScoped(Effect.repeat(touch, Schedule.spaced(beat)))
    return Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      if (now - seen >= lease) yield* touch
      if (lost || now - seen >= stale) return yield* new Held()
    })
  })

const is = (error: PlatformError, reason: "AlreadyExists" | "NotFound"): boolean =>
  error._tag === "SystemError" && error.reason === reason
