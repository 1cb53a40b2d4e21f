/**
 * One line that is written over and over: progress for people. Where nobody
 * looks (a pipe, CI) only the lines worth keeping are printed.
 */
import { Terminal } from "@effect/platform"
import { Effect } from "effect"

const width = 24

/** `████████····` */
export const bar = (share: number): string => {
  const full = Math.round(width * Math.min(1, Math.max(0, share)))
  return "█".repeat(full) + "·".repeat(width - full)
}

const clear = "\r\u001b[2K"

/** Shows a passing line; a line to `keep` stays above it. */
export const show = (line: string, keep = false): Effect.Effect<void, never, Terminal.Terminal> =>
  Effect.gen(function*() {
    const terminal = yield* Terminal.Terminal
    const live = yield* terminal.isTTY
    if (!live && !keep) return
    const columns = (yield* terminal.columns) || 80 // some terminals do not say
    const fitted = live && !keep ? line.slice(0, columns - 1) : line
    yield* terminal.display(`${live ? clear : ""}${fitted}${keep ? "\n" : ""}`)
  }).pipe(Effect.orDie) // a terminal that cannot be written to has nobody to tell

/** Writes text as it comes, within a line. */
export const write = (text: string): Effect.Effect<void, never, Terminal.Terminal> =>
  Effect.flatMap(Terminal.Terminal, (terminal) => terminal.display(text)).pipe(Effect.orDie)
