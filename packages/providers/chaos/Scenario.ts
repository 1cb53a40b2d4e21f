/**
 * A fault, what has to come of it, and the server that commits it.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { Effect, type Scope } from "effect"
import type * as FaultServer from "../test/FaultServer.ts"

/**
 * `serve` answers in a process of its own, so that neither side slows the other. `files` is how many files and sockets
 * the process of the scenario may have open.
 */
export interface Scenario {
  readonly id: string
  readonly title: string
  readonly bar: string
  readonly files?: number
  readonly serve?: (request: FaultServer.Recorded, n: number) => FaultServer.Script
  readonly run: (given: Given) => Effect.Effect<Outcome, unknown, Scope.Scope>
}

export interface Given {
  readonly server: Server
  readonly seed: number
  /** A number of repetitions, at the scale that was asked for. */
  readonly times: (full: number) => number
}

/** What was measured, and what did not hold. */
export interface Outcome {
  readonly figure: string
  readonly failed: ReadonlyArray<string>
}

/** The outcome of some expectations, each with what to say if it does not hold. */
export const outcome = (
  figure: string,
  expectations: ReadonlyArray<readonly [holds: boolean, otherwise: string]>
): Outcome => ({ figure, failed: expectations.flatMap(([holds, otherwise]) => holds ? [] : [otherwise]) })

// =============================================================================
// The server
// =============================================================================

/** A request as the server saw it. Times are those of `now`. */
export interface Seen {
  /** The number that its prompt carries. */
  readonly number: number
  readonly model: string
  readonly arrived: number
  readonly closed: number | undefined
  readonly sent: number
}

export interface Report {
  readonly requests: ReadonlyArray<Seen>
  readonly connections: number
  readonly open: number
}

export interface Server {
  readonly url: string
  readonly report: Effect.Effect<Report>
}

/** Milliseconds by a clock that all processes of a machine share. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6

/** The server at a URL, which the process that started this one asks for its report. */
export const at = (url: string): Server => ({
  url,
  report: Effect.async<Report>((resume) => {
    process.once("message", (message) => resume(Effect.succeed(message as Report))) // nothing else is sent to us
    process.send?.("report")
  })
})

// =============================================================================
// Requests that carry a number, so that both sides know which one is meant
// =============================================================================

export const numbered = (n: number): LanguageModel.Request => ({ messages: [{ role: "user", content: `<${n}>` }] })

export const numberOf = (request: FaultServer.Recorded): number => Number(/<(\d+)>/.exec(request.body)?.[1] ?? -1)

// =============================================================================
// Figures
// =============================================================================

export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

export const spread = (values: ReadonlyArray<number>): string =>
  `p50 ${quantile(values, 0.5).toFixed(1)}, p99 ${quantile(values, 0.99).toFixed(1)}, max ${
    quantile(values, 1).toFixed(1)
  } ms`

export const mebibytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`

// Memory is looked at also while no fiber gets a turn: timers are not Effects here.
const watchMemory = () => {
  globalThis.gc?.()
  const before = process.memoryUsage()
  const peak = { heap: 0, rss: 0 }
  const timer = setInterval(() => {
    const { external, heapUsed, rss } = process.memoryUsage()
    peak.heap = Math.max(peak.heap, heapUsed + external - before.heapUsed - before.external)
    peak.rss = Math.max(peak.rss, rss - before.rss)
  }, 5)
  return { peak, stop: () => clearInterval(timer) }
}

/** Runs an effect, and tells by how much memory grew beyond what it was before, at its peak. */
export const growth = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(watchMemory),
    ({ peak }) => Effect.map(self, (value) => ({ value, peak })),
    ({ stop }) => Effect.sync(stop)
  )

/**
 * Runs an effect, and tells how late timers were meanwhile, in milliseconds (the 99th of 100): what a busy machine adds
 * to every time that is measured on it.
 */
export const withLateness = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const late: Array<number> = []
      let timer: NodeJS.Timeout
      const wait = () => {
        const due = now() + 5
        timer = setTimeout(() => {
          late.push(Math.max(0, now() - due))
          wait()
        }, 5)
      }
      wait()
      return { late, stop: () => clearTimeout(timer) }
    }),
    ({ late }) => Effect.map(self, (value) => ({ value, late: quantile(late, 0.99) })),
    ({ stop }) => Effect.sync(stop)
  )

export const lateness = (late: number): string => `(timers are up to ${late.toFixed(1)} ms late)`
