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

// Up to which example a round goes: later ones that the window has room for beside it are not waited for. What is in vain
// of that is the price of the time it saves, and nothing is decided on it before its turn.
const reach = (plan: ReadonlyArray<Racing.Round>, round: number, staying: number, window: number): number => {
  const met = plan[round - 1]?.examples ?? 0
  const later = plan.slice(round + 1).findLast(({ examples }) => staying * (examples - met) <= window)
  return (later ?? plan[round])?.examples ?? met
}

// Positions in the selection; the same ones first in every race of a run, since what was measured is free.
const orderOf = <In, Out, R>(search: Search<In, Out, R>): ReadonlyArray<number> =>
  rng.at(search.seed, "race").shuffle(search.selection.map((_, index) => index))

const cellsOf = <In, Out, R>(
  search: Search<In, Out, R>,
  contenders: ReadonlyArray<Contender>,
  positions: ReadonlyArray<number>
): ReadonlyArray<Cell> =>
  contenders.flatMap((contender) => positions.map((position) => ({ contender, example: search.selection[position]! })) // its positions
  )

/** Starts what a race will begin with, if the window has room for all of it beside so many other runs. */
export const ahead = <In, Out, R>(
  search: Search<In, Out, R>,
  challengers: ReadonlyArray<Contender>,
  beside: number
): Effect.Effect<void> => {
  const racers = Array.from(new Set(challengers))
  const room = search.window - beside
  const first = reach(rounds(racers.length, search.selection.length), 0, racers.length, room)
  return racers.length * first > room
    ? Effect.void
    : search.ahead(cellsOf(search, racers, orderOf(search).slice(0, first)))
}

/** The new leader; who leads must have been settled. */
export const run = <In, Out, R>(
  search: Search<In, Out, R>,
  challengers: ReadonlyArray<Contender>,
  leader: Contender
): Effect.Effect<Contender, Optimizer.OptimizerError | Exhausted> =>
  Effect.gen(function*() {
    const total = search.selection.length
    const order = orderOf(search)
    const inOrder = (contender: Contender) => {
      const scores = search.scores(contender)
      return order.map((index) => scores[index])
    }
    // Two that came out the same are one.
    let racers = Array.from(new Set(challengers)).filter((challenger) => challenger !== leader)
    const plan = rounds(racers.length, total)
    for (const [index, round] of plan.entries()) {
      // The last round, or too few examples for any before it.
      if (round.examples === total) return yield* final(search, racers, round.contenders, leader)
      const staying = racers.slice(0, round.contenders)
      for (const one of racers.slice(round.contenders)) yield* search.retire(one, "behind the others")
      const cells = (from: number, to: number) => cellsOf(search, staying, order.slice(from, to))
      const reached = reach(plan, index, staying.length, search.window)
      if (reached > round.examples) yield* search.ahead(cells(plan[index - 1]?.examples ?? 0, reached))
      yield* search.measure(cells(0, round.examples))
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

/**
 * How many runs a race of up to so many challengers takes at most, in a window of so many runs; with fewer of them rounds
 * may be longer.
 */
export const cost = (challengers: number, total: number, window: number): number =>
  Math.max(
    0,
    ...Array.from({ length: challengers }, (_, index) => {
      const plan = rounds(index + 1, total)
      // Some may leave before their places are gone, and those who stay have more room then.
      const from = (round: number, staying: number, met: number): number => {
        const examples = Math.max(met, reach(plan, round, staying, window))
        const places = Math.min(staying, plan[round + 1]?.contenders ?? 0)
        return staying * (examples - met) +
          Math.max(0, ...Array.from({ length: places }, (_, index) => from(round + 1, index + 1, examples)))
      }
      return from(0, index + 1, 0)
    })
  )
