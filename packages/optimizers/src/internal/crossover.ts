/**
 * Candidates made of two others that come from the same one: each predictor is
 * taken from the one that has changed it.
 */
import type * as Parameters from "@effect-dspy/core/Parameters"
import type { Rng } from "./rng.ts"
import { mean, type Scores } from "./scores.ts"

/** A candidate that has been accepted, by its index. */
export interface Relative {
  readonly index: number
  readonly parents: ReadonlyArray<number>
  readonly parameters: Parameters.Parameters
  readonly scores: Scores
}

export interface Cross {
  /** Indexes, the lower one first. */
  readonly parents: readonly [number, number]
  readonly ancestor: number
  readonly parameters: Parameters.Parameters
}

/** What has been tried before, and is not tried again. */
export class Tried {
  readonly #tried = new Set<string>()

  /** Whether this is the first time. */
  first(...what: ReadonlyArray<number | string>): boolean {
    const key = what.join(" ")
    if (this.#tried.has(key)) return false
    this.#tried.add(key)
    return true
  }
}

// Fewer examples would say nothing about who is better at what.
const overlap = 5

const textOf = ({ parameters }: Relative, path: string): string | undefined => parameters[path]?.instructions

/**
 * A cross of two of the `best` that has not been tried; undefined if there is
 * none. `all` are the accepted candidates, the best ones and their ancestors among
 * them.
 */
export const propose = (
  all: ReadonlyArray<Relative>,
  best: ReadonlyArray<number>,
  tried: Tried,
  rng: Rng
): Cross | undefined => {
  const byIndex = new Map(all.map((one) => [one.index, one]))
  const ancestry = new Map<number, ReadonlySet<number>>()
  const ancestors = (index: number): ReadonlySet<number> => {
    let known = ancestry.get(index)
    if (known === undefined) {
      const parents = byIndex.get(index)?.parents ?? []
      known = new Set(parents.flatMap((parent) => [parent, ...ancestors(parent)]))
      ancestry.set(index, known)
    }
    return known
  }
  const couples: Array<{ readonly a: Relative; readonly b: Relative; readonly common: ReadonlyArray<Relative> }> = []
  const ascending = best.toSorted((a, b) => a - b).flatMap((index) => byIndex.get(index) ?? [])
  for (const [place, a] of ascending.entries()) {
    for (const b of ascending.slice(place + 1)) {
      if (ancestors(a.index).has(b.index) || ancestors(b.index).has(a.index)) continue
      if (a.scores.filter((score, at) => score !== undefined && b.scores[at] !== undefined).length < least(a)) continue
      const common = Array.from(ancestors(a.index)).sort((x, y) => x - y).flatMap((index) =>
        ancestors(b.index).has(index) ? byIndex.get(index) ?? [] : []
      )
      couples.push({ a, b, common })
    }
  }
  for (const { a, b, common } of rng.shuffle(couples)) {
    const open = common.filter((ancestor) =>
      mean(ancestor.scores) <= Math.min(mean(a.scores), mean(b.scores)) && complement(a, b, ancestor)
    )
    while (open.length > 0) {
      const weights = open.map(({ scores }) => mean(scores))
      // An ancestor that never scored is as good a base as any other that did not.
      const pick = weights.some((weight) => weight > 0) ? rng.weighted(weights) : rng.below(open.length)
      const [ancestor] = open.splice(pick, 1)
      if (ancestor === undefined || !tried.first("triplet", a.index, b.index, ancestor.index)) continue
      const taken = cross(a, b, ancestor, rng)
      if (!tried.first("choice", a.index, b.index, ...taken.map(([, from]) => from))) continue
      return {
        parents: [a.index, b.index],
        ancestor: ancestor.index,
        parameters: Object.fromEntries(
          taken.map(([path, from]) => [path, (from === a.index ? a : b).parameters[path] ?? { demos: [] }])
        )
      }
    }
  }
  return undefined
}

const least = ({ scores }: Relative): number => Math.min(overlap, scores.length)

const paths = ({ parameters }: Relative): ReadonlyArray<string> => Object.keys(parameters)

// Whether one has changed what the other has left alone.
const complement = (a: Relative, b: Relative, ancestor: Relative): boolean =>
  paths(a).some((path) => {
    const text = textOf(ancestor, path)
    return (textOf(a, path) === text) !== (textOf(b, path) === text)
  })

// For each predictor, whose it becomes.
const cross = (
  a: Relative,
  b: Relative,
  ancestor: Relative,
  rng: Rng
): ReadonlyArray<readonly [path: string, from: number]> =>
  paths(a).map((path) => {
    const [own, other, before] = [textOf(a, path), textOf(b, path), textOf(ancestor, path)]
    if (own === other || other === before) return [path, a.index]
    if (own === before) return [path, b.index]
    const lead = mean(a.scores) - mean(b.scores)
    return [path, lead > 0 ? a.index : lead < 0 ? b.index : rng.below(2) === 0 ? a.index : b.index]
  })

/**
 * Up to five examples, as places in the scores, to test a cross on: as far as
 * there are any two on which one parent is better, two on which the other is,
 * and the rest on which neither is.
 */
export const sample = (a: Scores, b: Scores, rng: Rng): ReadonlyArray<number> => {
  const places = a.flatMap((score, place) => score !== undefined && b[place] !== undefined ? [place] : [])
  const lead = (place: number) => a[place]! - b[place]! // both are known there
  const ahead = rng.sample(places.filter((place) => lead(place) > 0), 2)
  const behind = rng.sample(places.filter((place) => lead(place) < 0), 2)
  const even = rng.sample(places.filter((place) => lead(place) === 0), overlap - ahead.length - behind.length)
  const chosen = [...ahead, ...behind, ...even]
  const rest = places.filter((place) => !chosen.includes(place))
  return [...chosen, ...rng.sample(rest, overlap - chosen.length)]
}
