/**
 * The search of DSPy's MIPROv2: a combination at a time, proposed by TPE,
 * measured on a random minibatch; now and then the best so far on everything.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Optimizer from "../../Optimizer.ts"
import * as Tpe from "../../Tpe.ts"
import * as rng from "../rng.ts"
import { type Exhausted, scoreOf } from "../runs.ts"
import { mean } from "../scores.ts"
import type { Cell, Contender, Search } from "../search.ts"
import type { Combinations } from "./combinations.ts"
import type { Combination } from "./surrogate.ts"

export interface Schedule {
  readonly trials: number
  /** How many combinations there are to choose from. */
  readonly combinations: number
  /** None where each trial is of all selection examples. */
  readonly minibatchSize: number | undefined
  readonly fullEvalSteps: number
}

/** How often a combination is measured on everything after minibatches. */
const promotions = ({ fullEvalSteps, trials }: Schedule): number => Math.ceil(trials / fullEvalSteps)

/** How many runs of the program it takes at most. */
export const runs = (schedule: Schedule, selection: number): number =>
  Math.min(
    selection * schedule.combinations,
    schedule.minibatchSize === undefined
      ? selection * (schedule.trials + 1)
      : selection + schedule.minibatchSize * schedule.trials + selection * promotions(schedule)
  )

/**
 * How many it can be expected to take if nothing is run twice: what was measured
 * in one trial is known in the next of the same combination.
 */
export const expected = (schedule: Schedule, selection: number): number => {
  const { combinations } = schedule
  const size = schedule.minibatchSize ?? selection
  const cells = combinations * selection
  // What is left of 1 when so little is taken away so often, in numbers that do not lose it.
  const drawn = -cells * Math.expm1(schedule.trials * Math.log1p(-size / cells))
  const promoted = schedule.minibatchSize === undefined
    ? 0
    : promotions(schedule) * selection * (1 - size / selection) ** Math.max(1, schedule.trials / combinations)
  return Math.min(cells, selection + drawn + promoted)
}

// Of one combination.
interface Tried {
  readonly contender: Contender
  readonly combination: Combination
  readonly means: Array<number>
  promoted: boolean
}

/** `asGiven` has been settled. */
export const run = <In, Out, R>(
  search: Search<In, Out, R>,
  combinations: Combinations,
  asGiven: Contender,
  schedule: Schedule
): Effect.Effect<void, Optimizer.OptimizerError | Exhausted> =>
  Effect.gen(function*() {
    const { names, size, space } = combinations
    if (size === 1) return
    const { fullEvalSteps, minibatchSize, trials: total } = schedule
    const named = (combination: Combination): Tpe.Choices =>
      Object.fromEntries(names.map((name, dimension) => [name, combination[dimension]!])) // a choice of each
    const choices = Object.fromEntries(names.map((name, dimension) => [name, space[dimension]!])) // as well
    const suggest = (trials: ReadonlyArray<Tpe.Trial>, number: number): Combination => {
      const found = Tpe.suggest(choices, trials, { path: [search.seed, "trial", number], constantLiar: false })
      return names.map((name) => Option.getOrThrow(found)[name]!) // nothing is excluded
    }
    const tried = new Map<number, Tried>()
    const enroll = (combination: Combination) =>
      Effect.map(
        search.enroll({
          origin: combinations.origin(combination),
          parameters: combinations.parameters(combination),
          runs: []
        }),
        (contender): Tried => {
          const known = tried.get(contender.index)
          if (known !== undefined) return known
          const fresh = { contender, combination, means: [], promoted: contender.index === asGiven.index }
          tried.set(contender.index, fresh)
          return fresh
        }
      )
    const cells = (contender: Contender, number: number): ReadonlyArray<Cell> =>
      (minibatchSize === undefined
        ? search.selection
        : rng.at(search.seed, "minibatch", number).sample(search.selection, minibatchSize))
        .map((example) => ({ contender, example }))

    const trials: Array<Tpe.Trial> = []
    const record = ({ combination }: Tried, scores: ReadonlyArray<number | undefined>) => {
      // What nothing is known of is no trial.
      if (scores.some((score) => score !== undefined)) {
        trials.push({ choices: named(combination), value: mean(scores) })
      }
    }
    record(yield* enroll(combinations.asGiven), search.scores(asGiven))

    // The first ones do not depend on any score, as long as every trial before them comes to one.
    const startup: Array<Cell> = []
    for (let number = 0; number < total; number++) {
      const finished = 1 + number + (minibatchSize === undefined ? 0 : Math.floor(number / fullEvalSteps))
      if (finished >= 10) break
      const { contender } = yield* enroll(suggest([], number))
      startup.push(...cells(contender, number))
    }
    yield* search.ahead(startup)

    for (let number = 0; number < total; number++) {
      const now = yield* enroll(suggest(trials, number))
      if (minibatchSize === undefined) {
        const [scores] = yield* search.settle([now.contender])
        record(now, scores ?? [])
        continue
      }
      const scores = (yield* search.measure(cells(now.contender, number))).map(scoreOf)
      record(now, scores)
      if (scores.some((score) => score !== undefined)) now.means.push(mean(scores))
      if ((number + 1) % fullEvalSteps !== 0 && number + 1 < total) continue
      const best = Array.from(tried.values())
        .filter(({ means, promoted }) => !promoted && means.length > 0)
        .reduce<Tried | undefined>(
          (best, next) => best === undefined || mean(next.means) > mean(best.means) ? next : best,
          undefined
        )
      // Everything that was tried has been measured in full.
      if (best === undefined) continue
      best.promoted = true
      const [full] = yield* search.settle([best.contender])
      record(best, full ?? [])
    }
  })
