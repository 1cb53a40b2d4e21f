import * as Effect from "effect/Effect"
import * as ServingError from "../../ServingError.ts"

// As deep as any input of a program will be, and far from what a recursive reader can bear.
const maxDepth = 64

const problemOf = (value: unknown, depth: number): string | undefined => {
  if (typeof value !== "object" || value === null) return undefined
  if (depth > maxDepth) return `is nested more than ${maxDepth} deep`
  if (Object.hasOwn(value, "__proto__")) return "has a key __proto__"
  for (const part of Object.values(value)) {
    const problem = problemOf(part, depth + 1)
    if (problem !== undefined) return problem
  }
  return undefined
}

/**
 * Reads JSON that somebody outside has written: not nested too deep for what
 * reads it next, and without keys that mean something to JavaScript. `within` is
 * how deep in it the input stands.
 */
export const parse = (text: string, within = 0): Effect.Effect<unknown, ServingError.ServingError> =>
  Effect.suspend(() => {
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return ServingError.make("BadRequest", "what was sent is not JSON")
    }
    const problem = problemOf(value, 1 - within)
    return problem === undefined
      ? Effect.succeed(value)
      : ServingError.make("BadRequest", `what was sent ${problem}`)
  })
