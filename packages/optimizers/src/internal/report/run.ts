/**
 * What a page needs to know of a run, gathered from its events one by one.
 */
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Option from "effect/Option"
import type * as Optimizer from "../../Optimizer.ts"
import type { Scores } from "../scores.ts"

type Event = Optimizer.OptimizerEvent<unknown>

/** How far a run had got, by what it had cost. */
export interface Reached {
  readonly calls: number
  readonly cost: number | undefined
}

export interface Best extends Reached {
  readonly index: number
  readonly mean: number
}

export interface Step {
  readonly name: string
  readonly total: number
  readonly run: Run
}

export interface Run {
  latest: Event | undefined
  plan: Optimizer.Plan<unknown> | undefined
  done: Optimizer.Done<unknown> | undefined
  /** The parameters of the module as given. */
  given: Parameters.Parameters | undefined
  /** By candidate, on the selection examples. */
  readonly scores: Map<number, Scores>
  /** Why candidates are out of the race. */
  readonly retired: Map<number, string>
  readonly bests: Array<Best>
  /** When the search ended, or how far it is. */
  reached: Reached
  /** On the test examples: the module as given, then the winner if it is another one. */
  readonly tested: Array<Scores>
  /** The last one told. */
  front: ReadonlyArray<number> | undefined
  readonly attempts: Record<Optimizer.Attempt<unknown>["outcome"], number>
  readonly asked: Record<Optimizer.Asked<unknown>["outcome"], number>
  readonly steps: Array<Step>
}

export const make = (): Run => ({
  latest: undefined,
  plan: undefined,
  done: undefined,
  given: undefined,
  scores: new Map(),
  retired: new Map(),
  bests: [],
  reached: { calls: 0, cost: undefined },
  tested: [],
  front: undefined,
  attempts: { passed: 0, rejected: 0, failed: 0 },
  asked: { answered: 0, failed: 0 },
  steps: []
})

export const add = (run: Run, event: Event): void => {
  run.latest = event
  const isTest = "trial" in event && event.trial.on === "test"
  if (!isTest && event._tag !== "Done") run.reached = reachedBy(event)
  switch (event._tag) {
    case "Plan":
      run.plan = event
      return
    case "Attempt":
      run.attempts[event.outcome]++
      return
    case "Asked":
      run.asked[event.outcome]++
      return
    case "Proposal":
      if (event.trial.index === 0) run.given = event.parameters
      return
    case "Retired":
      run.retired.set(event.trial.index, event.why)
      return
    case "TrialEnd":
      if (isTest) run.tested.push(event.scores)
      else run.scores.set(event.trial.index, event.scores)
      return
    case "NewBest":
      run.bests.push({ index: event.trial.index, mean: event.score.mean, ...reachedBy(event) })
      return
    case "Front":
      run.front = event.candidates
      return
    case "Step": {
      const step = run.steps[event.index] ?? { name: event.name, total: event.total, run: make() }
      run.steps[event.index] = step
      add(step.run, event.event)
      return
    }
    case "Done":
      run.done = event
      return
    case "TrialStart":
    case "Scored":
    case "Promotion":
      return
  }
}

const reachedBy = ({ spend }: Event): Reached => ({ calls: spend.calls, cost: spend.usage.cost })

export const bestOf = (run: Run): Optimizer.Compiled<unknown> | undefined =>
  run.latest === undefined ? undefined : Option.getOrUndefined(run.latest.best)

/** The best candidate, by its index; on the test set too it is the one that was selected. */
export const winnerOf = ({ candidates, parameters }: Optimizer.Compiled<unknown>): number =>
  candidates.find((candidate) => candidate.parameters === parameters)?.index ?? 0

/** An example on which two programs were compared. */
export interface Pair {
  readonly example: string
  readonly given: number
  readonly best: number
}

/** The best candidate against the module as given, on the examples both have a score for. */
export const pairs = (run: Run, best: Optimizer.Compiled<unknown>): ReadonlyArray<Pair> => {
  const [ids, given, winner] = best.measuredOn === "test"
    ? [run.plan?.tests, run.tested[0], run.tested.at(-1)]
    : [run.plan?.examples, run.scores.get(0), run.scores.get(winnerOf(best))]
  return (ids ?? []).flatMap((example, index) => {
    const before = given?.[index]
    const after = winner?.[index]
    return before === undefined || after === undefined ? [] : [{ example, given: before, best: after }]
  })
}
