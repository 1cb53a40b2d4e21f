/**
 * What candidates would score on examples that they have not been measured on,
 * as far as can be told from where they come from.
 */
import * as Racing from "../Racing.ts"
import { mean, type Scores } from "./scores.ts"

// As how many examples it counts that a candidate is what its parent is, but for the hope.
const prior = 8

/**
 * One score for each example and candidate: the known one, elsewhere that of the
 * parent, moved by how the two differ on what is known of the candidate. The less
 * that is, the less it is moved, and the more it counts by how much it is hoped to
 * be better. Of several parents it is the best. Parents come before their
 * children; who has none has been measured on all examples.
 */
export const supposed = <A>(
  candidates: ReadonlyArray<A>,
  of: (candidate: A) => { readonly parents: ReadonlyArray<A>; readonly known: Scores },
  hope: number
): ReadonlyMap<A, ReadonlyArray<number>> => {
  const all = new Map<A, ReadonlyArray<number>>()
  for (const candidate of candidates) {
    const { known, parents } = of(candidate)
    const base = parents.flatMap((parent) => {
      const scores = all.get(parent)
      return scores === undefined ? [] : [scores]
    }).toSorted((a, b) => mean(b) - mean(a))[0]
    if (base === undefined) {
      // A few the model failed on.
      const average = mean(known)
      all.set(candidate, known.map((score) => score ?? average))
    } else {
      const { compared, mean: lead } = Racing.difference(known, base)
      const shift = (lead * compared + hope * prior) / (compared + prior)
      all.set(candidate, base.map((score, place) => known[place] ?? score + shift))
    }
  }
  return all
}
