/** Any value as JSON, for somebody to read. */
import * as Inspectable from "effect/Inspectable"

/** A bigint is its digits, a set or a map a list; what contains itself is left out there. */
export const json = (value: unknown, space = 0): string => {
  try {
    return JSON.stringify(value, plain, space) ?? String(value)
  } catch {
    return Inspectable.toStringUnknown(value, space)
  }
}

const plain = (_: string, value: unknown): unknown =>
  typeof value === "bigint"
    ? String(value)
    : value instanceof Map || value instanceof Set
    ? Array.from(value)
    : value
