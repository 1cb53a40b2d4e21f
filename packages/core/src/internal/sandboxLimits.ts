/** The limits of a session of the sandbox, from what was chosen of them. */
import * as Duration from "effect/Duration"
import type * as Sandbox from "../Sandbox.ts"

const positive = (name: string, value: number): number => {
  if (!Number.isInteger(value) || value < 1) {
    throw new RangeError(`Sandbox: ${name} must be a whole number of at least 1, not ${value}`)
  }
  return value
}

/** Throws for limits that are none. */
export const of = ({ calls = 256, memory = 2 ** 26, timeout = "5 seconds" }: Sandbox.Options): Sandbox.Limits => {
  const milliseconds = Duration.toMillis(timeout)
  if (!(milliseconds > 0)) throw new RangeError("Sandbox: timeout must be longer than nothing")
  return { timeout: milliseconds, memory: positive("memory", memory), calls: positive("calls", calls) }
}
