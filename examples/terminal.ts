/**
 * One line that is written over and over: progress for people, and nothing where
 * nobody looks (a pipe, CI).
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

/** Shows a passing line, where somebody can see it. */
export const show = (line: string): Effect.Effect<void, never, Terminal.Terminal> =>
  Effect.gen(function*() {
    const terminal = yield* Terminal.Terminal
    if (!(yield* terminal.isTTY)) return
    const columns = (yield* terminal.columns) || 80 // some terminals do not say
    yield* terminal.display(`${clear}${line.slice(0, columns - 1)}`)
  }).pipe(Effect.orDie) // a terminal that cannot be written to has nobody to tell

/** Writes text as it comes, within a line. */
export const write = (text: string): Effect.Effect<void, never, Terminal.Terminal> =>
  Effect.flatMap(Terminal.Terminal, (terminal) => terminal.display(text)).pipe(Effect.orDie)
