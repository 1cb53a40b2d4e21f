import type * as Json from "@effect-dspy/core/Json"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ServingError from "../../ServingError.ts"
import type * as Ticker from "./ticker.ts"

/**
 * An event of a run, as it is sent.
 */
export interface Entry {
  readonly n: number
  readonly json: string
}

/**
 * One who follows a run.
 */
export interface Follower {
  /** The next events, or none when nothing has been sent for a while; `undefined` after the last one. */
  readonly next: Effect.Effect<ReadonlyArray<Entry> | undefined>
  /** Has read the events up to `n`, which need not be kept for it. */
  readonly read: (n: number) => void
  /** Whether there is nothing to read and never will be. */
  readonly isOver: () => boolean
}

/**
 * What may be run, and by whom: one run has one id, and whoever asks for it again
 * must ask for the same.
 */
export interface Task {
  readonly id: string
  readonly module: string
  readonly principal: string
  /** Tells tasks apart that have the same id. */
  readonly digest: string
  readonly program: Effect.Effect<Json.Json, ServingError.ServingError>
}

/**
 * A run that has not been forgotten.
 */
export interface Active {
  readonly id: string
  readonly module: string
  readonly principal: string
  readonly state: "running" | "ended"
  readonly events: number
  readonly followers: number
}

export interface Options {
  readonly concurrency: number
  readonly timeout: Duration.Duration
  /** How long a run goes on when nobody follows it; `undefined`: not at all. */
  readonly grace: Duration.Duration | undefined
  /** How many events, and characters of events, are kept. */
  readonly events: number
  readonly characters: number
  /** How many events a follower is given before it must have read some. */
  readonly window: number
  /** After how many seconds a follower that reads nothing has gone, and one is told that there is nothing. */
  readonly stall: number
  readonly heartbeat: number
  readonly expose: (event: ModuleEvent.Emitted) => boolean
}

export interface Runs {
  /** For an answer without events. */
  readonly run: <A>(program: Effect.Effect<A, ServingError.ServingError>) => Effect.Effect<A, ServingError.ServingError>
  /** Follows the run of this id, which is begun if there is none. */
  readonly open: (
    task: Task,
    from: number,
    onStall: () => void
  ) => Effect.Effect<Follower, ServingError.ServingError, Scope.Scope>
  /** Follows a run that was begun before. */
  readonly join: (
    id: string,
    principal: string,
    from: number,
    onStall: () => void
  ) => Effect.Effect<Follower, ServingError.ServingError, Scope.Scope>
  readonly cancel: (id: string, principal: string) => Effect.Effect<boolean>
  /** Whoever follows the run will not come back: it ends, unless others follow it. */
  readonly leave: (id: string, principal: string) => Effect.Effect<boolean>
  readonly active: Effect.Effect<ReadonlyArray<Active>>
  readonly isDraining: () => boolean
  /** Completes when the time to drain is over, or all runs have ended before. */
  readonly stopped: Effect.Effect<void>
  readonly drain: (limit: Duration.DurationInput) => Effect.Effect<void>
}

/**
 * What is said to whoever asks for something new, or still waits, when the server stops.
 */
export const stopping = ServingError.make("Unavailable", "the server is about to stop; try again later", {
  retryable: true,
  retryAfter: 1000
})

/**
 * What is said to whoever asks for a run that is not there.
 */
export const unknown = ServingError.make(
  "NotFound",
  "there is no such run: it may have ended long ago, or been cancelled"
)

// How many ended runs are kept for those who come back.
const endedRuns = 256

interface Seat {
  /** What was handed out, and what of it was read, by the number of the last event. */
  given: number
  read: number
  idle: number
  stuck: number
  wake: (() => void) | undefined
}

class Run {
  readonly entries: Array<Entry> = []
  readonly seats = new Set<Seat>()
  readonly room = Effect.unsafeMakeLatch(true)
  characters = 0
  last = 0
  ended = false
  fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  expiry: Fiber.RuntimeFiber<unknown, unknown> | undefined
  readonly task: Task
  readonly options: Options

  constructor(task: Task, options: Options) {
    this.task = task
    this.options = options
  }

  get isFull(): boolean {
    return this.entries.length > this.options.events || this.characters > this.options.characters
  }

  add(json: string): void {
    this.last++
    this.entries.push({ n: this.last, json })
    this.characters += json.length
  }

  // Forgets what nobody needs any more, and says whether there is room again. Kept is what the slowest has not read, and
  // where a connection may be lost and taken up again, as much as fits.
  trim(): void {
    if (this.seats.size > 0 || this.ended) {
      let read = this.last
      for (const seat of this.seats) read = Math.min(read, seat.read)
      let first = 0
      while (this.isSpare(first, read)) {
        this.characters -= this.entries[first]!.json.length // a spare one is within the list
        first++
      }
      if (first > 0) this.entries.splice(0, first)
    }
    if (this.isFull && !this.ended) this.room.unsafeClose()
    else this.room.unsafeOpen()
  }

  isSpare(index: number, read: number): boolean {
    const { entries, options } = this
    const entry = entries[index]
    return entry !== undefined && entry.n <= read &&
      (options.grace === undefined || entries.length - index > options.events ||
        this.characters > options.characters)
  }

  wake(): void {
    for (const seat of this.seats) seat.wake?.()
  }

  take(seat: Seat): ReadonlyArray<Entry> | "ended" | "nothing" {
    const { entries, options } = this
    const until = Math.min(this.last, seat.read + options.window)
    if (until > seat.given) {
      const first = entries[0]!.n // what was not given is kept
      const taken = entries.slice(seat.given + 1 - first, until + 1 - first)
      seat.given = until
      seat.idle = 0
      return taken
    }
    return this.ended && seat.given === this.last ? "ended" : "nothing"
  }
}

export const make = (options: Options, ticker: Ticker.Ticker): Effect.Effect<Runs, never, Scope.Scope> =>
  Effect.gen(function*() {
    const fibers = yield* Effect.acquireRelease(Scope.make(), (scope, exit) => Scope.close(scope, exit))
    const runs = new Map<string, Run>()
    const isIdle = yield* Effect.makeLatch(true)
    const isStopped = yield* Effect.makeLatch(false)
    let running = 0
    let isDraining = false

    const admitted: Effect.Effect<void, ServingError.ServingError> = Effect.suspend(() => {
      if (isDraining) return stopping
      if (running >= options.concurrency) {
        return ServingError.make("Busy", `${running} runs are under way, which is the limit; try again later`, {
          retryable: true,
          retryAfter: 1000
        })
      }
      running++
      isIdle.unsafeClose()
      return Effect.void
    })

    const released = Effect.sync(() => {
      running--
      if (running === 0) isIdle.unsafeOpen()
    })

    const limited = <A>(program: Effect.Effect<A, ServingError.ServingError>) =>
      program.pipe(
        Effect.timeoutFail({
          duration: options.timeout,
          onTimeout: () =>
            ServingError.make("TimedOut", `the run took longer than ${Duration.format(options.timeout)}`, {
              retryable: true
            })
        }),
        // When the time to drain is over, whoever waits is told so.
        Effect.raceFirst(Effect.zipRight(isStopped.await, stopping)),
        Effect.catchAllDefect((defect) =>
          Effect.zipRight(
            Effect.logError("A served module died", Cause.die(defect)),
            ServingError.make("Failed", "the module failed")
          )
        )
      )

    // The last event of a run; there is always room for it.
    const ended = (run: Run, exit: Exit.Exit<Json.Json, ServingError.ServingError>): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (Exit.isSuccess(exit)) {
          run.add(`{"_tag":"Result","value":${JSON.stringify(exit.value)}}`)
        } else {
          const error = Cause.failureOrCause(exit.cause)
          const told = error._tag === "Left" ? error.left : ServingError.make("Cancelled", "the run was cancelled")
          run.add(`{"_tag":"Failed","error":${JSON.stringify(ServingError.toJson(told))}}`)
        }
        run.ended = true
        run.trim()
        run.wake()
        return run.seats.size === 0 ? Effect.zipRight(released, left(run)) : released
      })

    const emit = (run: Run) => (events: ReadonlyArray<ModuleEvent.Emitted>): Effect.Effect<void> =>
      Effect.suspend(() => {
        for (const event of events) {
          if (options.expose(event)) run.add(JSON.stringify(plain(event)))
        }
        run.trim()
        run.wake()
        // Even an open latch suspends the fiber that asks, and nearly every event finds room.
        if (!run.isFull) return Effect.void
        // What is said while the module is being interrupted must not wait for a reader who may have left.
        return Effect.checkInterruptible((isInterruptible) => isInterruptible ? run.room.await : Effect.void)
      })

    const begin = (task: Task, seat: Seat): Effect.Effect<Run, ServingError.ServingError> =>
      Effect.flatMap(admitted, () => {
        const run = new Run(task, options)
        runs.set(task.id, run)
        run.seats.add(seat)
        return limited(ModuleEvent.listen(task.program, { deltas: true, emit: emit(run) })).pipe(
          Effect.interruptible,
          Effect.onExit((exit) => ended(run, exit)),
          Effect.forkIn(fibers),
          Effect.map((fiber) => {
            run.fiber = fiber
            return run
          })
        )
      })

    const forget = (run: Run): void => {
      if (runs.get(run.task.id) === run) runs.delete(run.task.id)
    }

    // Ended runs are kept for a while, and not too many of them.
    const crowdedOut = (): void => {
      let count = 0
      for (const run of runs.values()) if (run.ended && run.seats.size === 0) count++
      for (const run of runs.values()) {
        if (count <= endedRuns) return
        if (run.ended && run.seats.size === 0) {
          runs.delete(run.task.id)
          count--
        }
      }
    }

    // Nobody follows the run.
    const left = (run: Run): Effect.Effect<void> => {
      if (runs.get(run.task.id) !== run) return Effect.void
      const stop = Effect.suspend(() => {
        forget(run)
        return run.fiber === undefined ? Effect.void : Fiber.interrupt(run.fiber)
      })
      if (options.grace === undefined || isDraining) {
        return run.ended ? Effect.sync(() => forget(run)) : stop
      }
      if (run.ended) crowdedOut()
      return Effect.sleep(options.grace).pipe(
        Effect.interruptible,
        // What interrupts the run must not wait for itself.
        Effect.zipRight(Effect.suspend(() => run.seats.size > 0 ? Effect.void : stop)),
        Effect.forkIn(fibers),
        Effect.map((fiber) => {
          run.expiry = fiber
        })
      )
    }

    const seated = (
      find: (seat: Seat) => Effect.Effect<Run, ServingError.ServingError>,
      from: number,
      onStall: () => void
    ): Effect.Effect<Follower, ServingError.ServingError, Scope.Scope> =>
      Effect.gen(function*() {
        const seat: Seat = { given: from, read: from, idle: 0, stuck: 0, wake: undefined }
        const run = yield* Effect.acquireRelease(
          Effect.flatMap(find(seat), (run) => {
            const first = run.entries[0]?.n ?? run.last + 1
            if (from > run.last) {
              return ServingError.make("BadRequest", `the run has ${run.last} events so far, not ${from}`)
            }
            if (from < first - 1) {
              return ServingError.make("Gone", `the events of the run are kept from number ${first} on`)
            }
            run.seats.add(seat)
            const { expiry } = run
            run.expiry = undefined
            return Effect.as(expiry === undefined ? Effect.void : Fiber.interrupt(expiry), run)
          }),
          (run) =>
            Effect.suspend(() => {
              run.seats.delete(seat)
              run.trim()
              return run.seats.size === 0 ? left(run) : Effect.void
            })
        )
        yield* ticker.join(() => {
          if (seat.given > seat.read) {
            if (++seat.stuck === options.stall) onStall()
          } else if (++seat.idle >= options.heartbeat) {
            seat.wake?.()
          }
        })
        return {
          next: Effect.async<ReadonlyArray<Entry> | undefined>((resume) => {
            const attempt = (): boolean => {
              const taken = run.take(seat)
              if (taken === "ended") resume(Effect.succeed(undefined))
              else if (taken !== "nothing") resume(Effect.succeed(taken))
              else if (seat.idle >= options.heartbeat) {
                seat.idle = 0
                resume(Effect.succeed([]))
              } else return false
              seat.wake = undefined
              return true
            }
            if (attempt()) return
            seat.wake = attempt
            return Effect.sync(() => {
              seat.wake = undefined
            })
          }),
          isOver: () => run.ended && seat.given === run.last,
          read: (n) => {
            if (n <= seat.read || n > seat.given) return
            seat.read = n
            seat.stuck = 0
            run.trim()
            seat.wake?.()
          }
        }
      })

    const known = (id: string, principal: string): Effect.Effect<Run, ServingError.ServingError> =>
      Effect.suspend(() => {
        const run = runs.get(id)
        return run !== undefined && run.task.principal === principal
          ? Effect.succeed(run)
          : unknown
      })

    const interrupted = (run: Run): Effect.Effect<unknown> =>
      run.fiber === undefined ? Effect.void : Fiber.interrupt(run.fiber)

    return {
      run: (program) => Effect.acquireUseRelease(admitted, () => limited(program), () => released),
      open: (task, from, onStall) =>
        seated(
          (seat) => {
            const run = runs.get(task.id)
            if (run === undefined) return from === 0 ? begin(task, seat) : Effect.fail(unknown)
            return run.task.principal === task.principal && run.task.digest === task.digest
              ? Effect.succeed(run)
              : ServingError.make("Conflict", "there is another run of this id; choose one that is not used yet")
          },
          from,
          onStall
        ),
      join: (id, principal, from, onStall) => seated(() => known(id, principal), from, onStall),
      cancel: (id, principal) => Effect.isSuccess(Effect.flatMap(known(id, principal), interrupted)),
      leave: (id, principal) =>
        Effect.isSuccess(Effect.flatMap(
          known(id, principal),
          (run) => run.seats.size > 1 ? Effect.void : interrupted(run)
        )),
      active: Effect.sync(() =>
        Array.from(runs.values(), ({ ended, last, seats, task }) => ({
          id: task.id,
          module: task.module,
          principal: task.principal,
          state: ended ? "ended" : "running",
          events: last,
          followers: seats.size
        }))
      ),
      isDraining: () => isDraining,
      stopped: isStopped.await,
      drain: (limit) =>
        Effect.suspend(() => {
          isDraining = true
          // Nobody who has gone will be let in again.
          const abandoned = Array.from(runs.values()).filter((run) => run.seats.size === 0)
          return Effect.forEach(abandoned, left, { discard: true }).pipe(
            Effect.zipRight(Effect.timeoutOption(Effect.interruptible(isIdle.await), limit)),
            Effect.zipRight(isStopped.open),
            // Whatever still ran has now been told to end, and does so unless it cannot be interrupted.
            Effect.zipRight(isIdle.await)
          )
        })
    }
  })

/**
 * What a follower is given. Each pull says that what came before it has been read.
 */
export const entries = (follower: Follower): Stream.Stream<ReadonlyArray<Entry>> => {
  let given = 0
  return Stream.repeatEffectOption(
    Effect.flatMap(
      Effect.suspend(() => {
        follower.read(given)
        return follower.next
      }),
      (entries) => {
        if (entries === undefined) return Effect.fail(Option.none())
        given = entries.at(-1)?.n ?? given
        return Effect.succeed(entries)
      }
    )
  )
}

// What a provider or a parser has said stays inside.
const plain = (event: ModuleEvent.Emitted): ModuleEvent.Emitted => {
  switch (event._tag) {
    case "PredictorFailed":
      return { ...event, cause: "the model gave no answer that could be used" }
    case "Reset":
      return { ...event, cause: "the answer began anew" }
    default:
      return event
  }
}
