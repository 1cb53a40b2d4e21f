/**
 * What MIPROv2 searches: for each predictor a choice of instructions and a
 * choice of demonstrations. The first choice everywhere is the module as given.
 */
import * as Json from "@effect-dspy/core/Json"
import type * as Parameters from "@effect-dspy/core/Parameters"
import type { Combination } from "./surrogate.ts"

/** Something to choose from. */
interface Dimension {
  readonly name: string
  readonly path: string
  readonly what: string
  readonly choices: ReadonlyArray<(entry: Parameters.Entry) => Parameters.Entry>
}

export interface Combinations {
  /** Dimensions with a choice, by name: those of DSPy. */
  readonly names: ReadonlyArray<string>
  /** How many choices each of them has. */
  readonly space: ReadonlyArray<number>
  /** How many combinations there are. */
  readonly size: number
  readonly asGiven: Combination
  readonly parameters: (combination: Combination) => Parameters.Parameters
  readonly origin: (combination: Combination) => string
}

/** `instructions` start with those of the module. Demonstrations that are equal are one choice. */
export const make = (
  given: Parameters.Parameters,
  instructions: { readonly [path: string]: ReadonlyArray<string> },
  demos: { readonly [path: string]: ReadonlyArray<ReadonlyArray<Parameters.Demo>> }
): Combinations => {
  const dimensions = Object.entries(given).flatMap(([path, entry], predictor): ReadonlyArray<Dimension> => {
    const texts = (instructions[path] ?? []).slice(1)
    const sets = new Map([entry.demos, ...demos[path] ?? []].map((set) => [Json.hash(set), set]))
    sets.delete(Json.hash(entry.demos))
    const kept = (entry: Parameters.Entry) => entry
    return [
      {
        name: `${predictor}_predictor_instruction`,
        path,
        what: "instruction",
        choices: [kept, ...texts.map((instructions) => (entry: Parameters.Entry) => ({ ...entry, instructions }))]
      },
      {
        name: `${predictor}_predictor_demos`,
        path,
        what: "demos",
        choices: [
          kept,
          ...Array.from(sets.values(), (demos) => (entry: Parameters.Entry) => ({ ...entry, demos }))
        ]
      }
    ].filter(({ choices }) => choices.length > 1)
  })
  const space = dimensions.map(({ choices }) => choices.length)
  return {
    names: dimensions.map(({ name }) => name),
    space,
    size: space.reduce((product, choices) => product * choices, 1),
    asGiven: space.map(() => 0),
    parameters: (combination) => {
      const parameters: { [path: string]: Parameters.Entry } = { ...given }
      for (const [dimension, { choices, path }] of dimensions.entries()) {
        // a choice of each dimension, whose path is given
        parameters[path] = choices[combination[dimension]!]!(parameters[path]!)
      }
      return parameters
    },
    origin: (combination) =>
      dimensions.flatMap(({ path, what }, dimension) =>
        combination[dimension] === 0 ? [] : [`${path} ${what} ${combination[dimension]}`.trimStart()]
      ).join(", ") || "as given"
  }
}
