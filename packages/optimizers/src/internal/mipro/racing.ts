/**
 * The search that MIPROv2 makes by default: a model of the effects of choices
 * says what to measure next on blocks of examples, for half of what may be
 * spent; then the most promising combinations race.
 */
import * as Effect from "effect/Effect"
import type * as Optimizer from "../../Optimizer.ts"
import * as Racing from "../../Racing.ts"
import * as rng from "../rng.ts"
import type { Exhausted } from "../runs.ts"
import type { Cell, Contender, Search } from "../search.ts"
import * as classical from "./classical.ts"
import type { Combinations } from "./combinations.ts"
import * as surrogate from "./surrogate.ts"

// Differences of fewer examples are mostly noise.
const block = 8

// Of what the classical schedule can be expected to take.
const share = 0.8

// Further back nobody wins.
const field = 16

/** How many runs of the program it takes at most, that of the module as given among them. */
export const runs = (schedule: classical.Schedule, selection: number): number =>
  Math.max(
    // The module as given and one other.
    Math.min(2, schedule.combinations) * selection,
    Math.floor(share * classical.expected(schedule, selection))
  )

// How many blocks are for finding out, half of what there is: one combination in full must be left.
const exploring = (limit: number, selection: number): number =>
  Math.max(0, Math.floor(Math.min((limit - selection) / 2, limit - 2 * selection) / block))

// Rounds of exploring, each in view of all those before. They follow each other, and half as many as there are classical
// trials take less time than these.
const roundsOf = ({ trials }: classical.Schedule): number => Math.ceil(trials / 2)

/** How many of so many combinations are candidates at most. */
export const candidates = (schedule: classical.Schedule, selection: number, combinations: number): number => {
  const explored = exploring(runs(schedule, selection), selection)
  return Math.min(combinations, 1 + explored + field)
}

// A combination with what of it was asked for, whether it is known or not.
interface Racer {
  readonly combination: surrogate.Combination
  readonly contender: Contender
  readonly asked: Set<number>
}

/** `asGiven` has been settled; `schedule` is the classical one that this is in place of. */
export const run = <In, Out, R>(
  search: Search<In, Out, R>,
  combinations: Combinations,
  asGiven: Contender,
  schedule: classical.Schedule
): Effect.Effect<void, Optimizer.OptimizerError | Exhausted> =>
  Effect.gen(function*() {
    const { size, space } = combinations
    if (size === 1) return
    const total = search.selection.length
    // Positions in the selection, the same order for all.
    const order = rng.at(search.seed, "order").shuffle(search.selection.map((_, index) => index))
    const blocks = Array.from(
      { length: Math.ceil(total / block) },
      (_, number) => order.slice(number * block, (number + 1) * block)
    )
    const inOrder = ({ contender }: Racer) => {
      const scores = search.scores(contender)
      return order.map((position) => scores[position])
    }
    const racers = new Map<string, Racer>()
    const enroll = (combination: surrogate.Combination) =>
      Effect.gen(function*() {
        const known = racers.get(surrogate.key(combination))
        if (known !== undefined) return known
        const contender = yield* search.enroll({
          origin: combinations.origin(combination),
          parameters: combinations.parameters(combination),
          runs: []
        })
        const fresh = { combination, contender, asked: new Set(contender === asGiven ? order : []) }
        racers.set(surrogate.key(combination), fresh)
        return fresh
      })
    const first = yield* enroll(combinations.asGiven)
    // Where all is right already.
    if (Racing.cannotWin([], inOrder(first), { total })) return

    let spent = total
    const measure = (tasks: ReadonlyArray<{ readonly racer: Racer; readonly positions: ReadonlyArray<number> }>) => {
      const cells = tasks.flatMap(({ positions, racer }) =>
        positions.filter((position) => !racer.asked.has(position)).map((position): Cell => {
          racer.asked.add(position)
          return { contender: racer.contender, example: search.selection[position]! } // a position in it
        })
      )
      spent += cells.length
      return cells.length === 0 ? Effect.void : search.measure(cells)
    }
    const believe = () =>
      surrogate.fit(
        space,
        Array.from(racers.values()).flatMap((racer) => {
          const scores = search.scores(racer.contender)
          return blocks.map((positions, block) => ({
            combination: racer.combination,
            block,
            scores: positions.flatMap((position) => scores[position] ?? [])
          }))
        })
      )

    // -------------------------------------------------------------------------
    // Exploring
    // -------------------------------------------------------------------------

    const limit = Effect.map(search.purse.affordable, (left) => Math.min(runs(schedule, total), spent + left))
    const explored = exploring(yield* limit, total)
    // With less than one block a round there are fewer rounds.
    const rounds = Math.min(roundsOf(schedule), explored)
    const slots = Math.floor(explored / rounds)
    for (let round = 0; round < rounds; round++) {
      const posterior = believe()
      const tasks: Array<{ readonly racer: Racer; readonly positions: ReadonlyArray<number> }> = []
      const chosen = new Set<string>()
      for (let slot = 0; slot < slots; slot++) {
        const belief = posterior.draw(rng.at(search.seed, "belief", round, slot))
        const best = promising(belief, racers, chosen, total)
        if (best === undefined) break
        chosen.add(surrogate.key(best))
        const racer = yield* enroll(best)
        // The same block for all, unless it is known already.
        const positions = blocks.map((_, ahead) => blocks[(round + ahead) % blocks.length]!) // within, by the remainder
          .find((positions) => !positions.every((position) => racer.asked.has(position)))
        tasks.push({ racer, positions: positions ?? [] })
      }
      yield* measure(tasks)
    }

    // -------------------------------------------------------------------------
    // Racing
    // -------------------------------------------------------------------------

    const ranked = (racers: ReadonlyArray<Racer>) => {
      const { mean } = believe()
      return racers.map((racer) => ({ racer, worth: mean.worth(racer.combination) }))
        .sort((a, b) => b.worth - a.worth || a.racer.contender.index - b.racer.contender.index)
        .map(({ racer }) => racer)
    }
    const { mean } = believe()
    const hopeful = new Map(Array.from(racers, ([key, { combination }]) => [key, combination]))
    for (const combination of surrogate.descending(mean.effects)) {
      if (hopeful.size >= racers.size + field) break
      hopeful.set(surrogate.key(combination), combination)
    }
    hopeful.delete(surrogate.key(combinations.asGiven))
    const start = Array.from(hopeful, ([key, combination]) => ({ key, combination, worth: mean.worth(combination) }))
      .sort((a, b) => b.worth - a.worth || (a.key < b.key ? -1 : 1))
      .slice(0, field)
    // Also of two the worse one is mostly found out before the last example.
    const heats = (contenders: number) => Racing.halving({ contenders: Math.max(4, contenders), total, block })
    // As many as can be afforded, supposing that those stay of whom least is known.
    const missing = (key: string, from: number, to: number) =>
      order.slice(from, to).filter((position) => racers.get(key)?.asked.has(position) !== true).length
    const cost = (contenders: number) =>
      heats(contenders).reduce(({ from, sum }, heat) => ({
        from: heat.examples,
        sum: sum + start.slice(0, contenders).map(({ key }) => missing(key, from, heat.examples))
          .sort((a, b) => b - a)
          .slice(0, heat.contenders)
          .reduce((sum, runs) => sum + runs, 0)
      }), { from: 0, sum: 0 }).sum
    const most = yield* limit
    let contenders = Math.min(1, start.length)
    while (contenders < start.length && spent + cost(contenders + 1) <= most) contenders++
    let running = yield* Effect.forEach(start.slice(0, contenders), ({ combination }) => enroll(combination))
    const leave = (leaving: ReadonlyArray<Racer>, why: string) =>
      Effect.forEach(leaving, ({ contender }) => search.retire(contender, why), { discard: true })
    yield* leave(
      Array.from(racers.values()).filter((racer) => racer !== first && !running.includes(racer)),
      "others promise more"
    )
    for (const heat of heats(contenders)) {
      const beaten = lost(running, first, inOrder, total)
      yield* leave(running.filter((racer) => beaten.has(racer)), "will not win")
      running = running.filter((racer) => !beaten.has(racer))
      yield* leave(running.slice(heat.contenders), "others are ahead")
      running = running.slice(0, heat.contenders)
      if (heat.examples === total) break
      const positions = order.slice(0, heat.examples)
      yield* measure(running.map((racer) => ({ racer, positions })))
      running = ranked(running)
    }
    yield* search.settle(running.map(({ contender }) => contender))
  })

// Who will not be better than the program as given, or than the one in front.
const lost = (
  running: ReadonlyArray<Racer>,
  asGiven: Racer,
  scores: (racer: Racer) => Racing.Scores,
  total: number
): ReadonlySet<Racer> => {
  const [leader] = running
  return new Set(
    running.filter((racer) =>
      [asGiven, ...(leader === undefined || racer === leader ? [] : [leader])].some((rival) =>
        Racing.verdict(scores(racer), scores(rival), { total }) === "loses"
      )
    )
  )
}

// What is worth most by this belief among what is not known in full: something that was tried, or else what has the best effects.
const promising = (
  belief: surrogate.Belief,
  racers: ReadonlyMap<string, Racer>,
  chosen: ReadonlySet<string>,
  total: number
): surrogate.Combination | undefined => {
  const open = Array.from(racers.values()).filter(({ asked, combination }) =>
    asked.size < total && !chosen.has(surrogate.key(combination))
  ).map(({ combination }) => combination)
  for (const combination of surrogate.descending(belief.effects)) {
    const key = surrogate.key(combination)
    if (racers.has(key) || chosen.has(key)) continue
    open.push(combination)
    break
  }
  return open.map((combination) => ({ combination, worth: belief.worth(combination) }))
    .reduce<{ readonly combination: surrogate.Combination; readonly worth: number } | undefined>(
      (best, next) => best === undefined || next.worth > best.worth ? next : best,
      undefined
    )?.combination
}
