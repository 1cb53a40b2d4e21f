/**
 * Several candidates against the one that leads: on growing parts of the
 * selection examples, in an order common to all, so that only those which may
 * win are measured on every example.
 */
import * as Effect from "effect/Effect"
import type * as Optimizer from "../Optimizer.ts"
import * as Racing from "../Racing.ts"
import * as rng from "./rng.ts"
import type { Exhausted } from "./runs.ts"
import { beats, mean } from "./scores.ts"
import type { Cell, Contender, Search } from "./search.ts"

// Differences of fewer examples are mostly noise.
const block = 8

// A third of the examples for all, two thirds for the better half, and every one for the best quarter. More rounds would
// take longer, a run after the other, and tell apart by fewer examples what is close.
const rounds = (challengers: number, total: number): ReadonlyArray<Racing.Round> =>
  [1, 2, 3].map((round) => ({
    contenders: Math.max(2, Math.ceil(challengers / 2 ** (round - 1))),
    examples: Math.min(total, block * Math.ceil((total * round) / 3 / block))
  }))

/** The new leader; who leads must have been settled. */
export const run = <In, Out, R>(
  search: Search<In, Out, R>,
  challengers: ReadonlyArray<Contender>,
  leader: Contender
): Effect.Effect<Contender, Optimizer.OptimizerError | Exhausted> =>
  Effect.gen(function*() {
    const total = search.selection.length
    // Positions in the selection; the same ones first in every race of a run, since what was measured is free.
    const order = rng.at(search.seed, "race").shuffle(search.selection.map((_, index) => index))
    const inOrder = (contender: Contender) => {
      const scores = search.scores(contender)
      return order.map((index) => scores[index])
    }
    // Two that came out the same are one.
    let racers = Array.from(new Set(challengers)).filter((challenger) => challenger !== leader)
    for (const round of rounds(racers.length, total)) {
      // The last round, or too few examples for any before it.
      if (round.examples === total) return yield* final(search, racers, round.contenders, leader)
      const staying = racers.slice(0, round.contenders)
      for (const one of racers.slice(round.contenders)) yield* search.retire(one, "behind the others")
      const examples = order.slice(0, round.examples).map((index) => search.selection[index]!) // its positions
      yield* search.measure(
        staying.flatMap((contender) => examples.map((example): Cell => ({ contender, example })))
      )
      const best = inOrder(leader)
      const open: Array<Contender> = []
      for (const one of staying) {
        if (Racing.verdict(inOrder(one), best, { total }) === "loses") yield* search.retire(one, "will not win")
        else open.push(one)
      }
      racers = open.toSorted((a, b) => mean(inOrder(b)) - mean(inOrder(a)) || a.index - b.index)
    }
    return leader
  })

const final = <In, Out, R>(
  search: Search<In, Out, R>,
  racers: ReadonlyArray<Contender>,
  places: number,
  leader: Contender
): Effect.Effect<Contender, Optimizer.OptimizerError | Exhausted> =>
  Effect.gen(function*() {
    for (const one of racers.slice(places)) yield* search.retire(one, "behind the others")
    return yield* all(search, racers.slice(0, places), leader)
  })

/** The same with every one of them measured on every example. */
export const all = <In, Out, R>(
  search: Search<In, Out, R>,
  challengers: ReadonlyArray<Contender>,
  leader: Contender
): Effect.Effect<Contender, Optimizer.OptimizerError | Exhausted> =>
  Effect.map(search.settle(challengers), () => {
    let best = leader
    for (const one of challengers) if (beats(search.scores(one), search.scores(best))) best = one
    return best
  })

/** How many runs a race of up to so many challengers takes at most; with fewer of them rounds may be longer. */
export const cost = (challengers: number, total: number): number =>
  Math.max(0, ...Array.from({ length: challengers }, (_, index) => costOf(index + 1, total)))

const costOf = (challengers: number, total: number): number => {
  let met = 0
  let runs = 0
  for (const { contenders, examples } of rounds(challengers, total)) {
    runs += Math.min(challengers, contenders) * (examples - met)
    met = examples
  }
  return runs
}
