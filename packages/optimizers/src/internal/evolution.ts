/**
 * The search of GEPA: candidates that are best at something are run on a few
 * training examples, a model reflects on what happened and writes a child, and
 * children that hold their own become candidates too.
 *
 * By the classical schedule that is a child whose minibatch adds up to more than
 * its parent's; it is measured on all selection examples at once. By the racing
 * one it must not fall behind its parent on a few selection examples, the same
 * ones for all. What its score on the others would be is told from what its
 * parents do there, which is enough to choose the next parents by; who leads
 * for longer is measured on more and more, and who leads in the end on all.
 */
import type { Example } from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as GEPA from "../GEPA.ts"
import type * as Optimizer from "../Optimizer.ts"
import * as Pareto from "../Pareto.ts"
import * as Proposer from "../Proposer.ts"
import * as Racing from "../Racing.ts"
import * as crossover from "./crossover.ts"
import * as epochs from "./epochs.ts"
import * as instructions from "./instructions.ts"
import * as reflection from "./reflection.ts"
import * as rng from "./rng.ts"
import { type Asked, Exhausted, type Run, scoreOf } from "./runs.ts"
import { mean, type Scores } from "./scores.ts"
import type { Cell, Contender, Search } from "./search.ts"
import { supposed } from "./supposed.ts"

export interface Settings {
  readonly schedule: "racing" | "classical"
  /** Runs of the program in all. */
  readonly metricCalls: number
  readonly minibatch: number
  readonly strategy: "pareto" | "currentBest" | "epsilonGreedy"
  readonly component: "roundRobin" | "all"
  readonly skipPerfectScore: boolean
  readonly merges: number
  readonly proposals: number
  readonly proposer: Module.Module<
    GEPA.Reflection,
    { readonly instructions: string },
    unknown,
    LanguageModel.LanguageModel
  >
  readonly stopAtScore: number | undefined
  readonly patience: number | undefined
}

type AnyExample = Example<unknown, unknown>

// A candidate that children may be made of.
interface Member {
  readonly contender: Contender
  readonly parents: ReadonlyArray<Member>
  /** The predictor whose turn it is. */
  turn: number
  /** How many selection examples it was measured on, in the common order. */
  reach: number
}

// A candidate that has yet to hold its own. A cross has two parents and was made from no examples.
interface Child {
  readonly contender: Contender
  readonly parents: readonly [Member, ...ReadonlyArray<Member>]
  readonly madeFrom: ReadonlyArray<AnyExample>
  readonly turn: number
}

// A parent at work.
interface Slot {
  readonly parent: Member
  readonly batch: ReadonlyArray<AnyExample>
}

// On how many selection examples a child is compared with its parent. Since it did better on what it was made from it need
// not be ahead on so few others, but must not be behind. To look after half of them would spare few runs, and cost a round.
const probed = 12

// By how much a child is hoped to be better than its parent.
const gain = 0.05

// How many attempts are shown to the model that reflects, in minibatches.
const shown = 4

const epsilon = 0.1

// What sums of fractions may be off.
const slack = 1e-9

const unreachable = Number.POSITIVE_INFINITY

type Work<A> = Effect.Effect<A, Optimizer.OptimizerError | Exhausted>

export const run = <In, Out, R>(
  search: Search<In, Out, R>,
  predictors: ReadonlyArray<Module.Predictor>,
  settings: Settings
): Work<"stopAtScore" | undefined> =>
  Effect.gen(function*() {
    const { seed, selection, trainset } = search
    const racing = settings.schedule === "racing"
    const total = selection.length
    const places = rng.at(seed, "selection order").shuffle(selection.map((_, place) => place))
    const order = places.map((place) => selection[place]!) // its places
    const size = Math.min(settings.minibatch, trainset.length)
    const batches = epochs.batches({ count: trainset.length, size, seed })
    const perEpoch = Math.ceil(trainset.length / size)
    const training = new Set(trainset.map(({ id }) => id))

    const probe = Math.min(total, probed)
    // What must remain in the end, so that whoever leads then can be measured on all selection examples.
    const reserve = total - probe

    // -------------------------------------------------------------------------
    // Runs, each paid for once
    // -------------------------------------------------------------------------

    const met = new Set<string>()
    // Runs on training examples, which may be shown to the prompt model.
    const seen = new Map<Contender, Map<string, Run>>()
    const runOf = (contender: Contender, { id }: AnyExample): Run | undefined => seen.get(contender)?.get(id)
    const key = ({ contender, example }: Cell): string => `${contender.index} ${example.id}`
    // What there may be of them, and what the budget was enough for when so many had been met.
    let affordable = { runs: unreachable, met: 0 }
    const inBudget = (): number => affordable.runs - (met.size - affordable.met)
    const left = (): number => Math.min(settings.metricCalls - met.size, inBudget())
    const lookUp = Effect.map(search.purse.affordable, (runs) => {
      affordable = { runs, met: met.size }
    })
    const cost = (cells: ReadonlyArray<Cell>): number => cells.filter((cell) => !met.has(key(cell))).length

    const cells = (contender: Contender, examples: ReadonlyArray<AnyExample>): ReadonlyArray<Cell> =>
      examples.map((example) => ({ contender, example, trace: training.has(example.id) }))

    const measure = (wanted: ReadonlyArray<Cell>): Work<void> =>
      Effect.gen(function*() {
        const fresh = wanted.filter((cell) => {
          if (met.has(key(cell))) return false
          met.add(key(cell))
          return true
        })
        if (fresh.length === 0) return
        const runs = yield* search.measure(fresh)
        for (const [index, { contender, example }] of fresh.entries()) {
          if (!training.has(example.id)) continue
          const own = seen.get(contender) ?? new Map<string, Run>()
          own.set(example.id, runs[index]!) // one for each
          seen.set(contender, own)
        }
      })

    // Traced ones first, where they are training examples too: what was run without a trace would be paid again.
    const settle = (contenders: ReadonlyArray<Contender>): Work<void> =>
      Effect.gen(function*() {
        yield* measure(
          contenders.flatMap((contender) => cells(contender, selection.filter(({ id }) => training.has(id))))
        )
        for (const contender of contenders) for (const cell of cells(contender, selection)) met.add(key(cell))
        yield* search.settle(contenders)
      })

    // -------------------------------------------------------------------------
    // Who is best
    // -------------------------------------------------------------------------

    const members: Array<Member> = []
    const inOrder = (contender: Contender): Scores => {
      const scores = search.scores(contender)
      return places.map((place) => scores[place])
    }

    const expected = (hope = gain): ReadonlyMap<Member, ReadonlyArray<number>> =>
      supposed(members, ({ contender, parents }) => ({ parents, known: inOrder(contender) }), hope)
    // One list of scores for each member.
    const standings = (hope = gain): ReadonlyArray<Scores> =>
      racing ? Array.from(expected(hope).values()) : members.map(({ contender }) => inOrder(contender))
    const leading = (hope = gain): Member => {
      const means = standings(hope).map(mean)
      return members[means.indexOf(Math.max(...means))]! // the module as given is there
    }

    const choose = (iteration: number, slot: number): Member => {
      const draw = rng.at(seed, "parent", iteration, slot)
      switch (settings.strategy) {
        case "currentBest":
          return leading()
        case "epsilonGreedy":
          return draw.float() < epsilon ? members[draw.below(members.length)]! : leading() // below its length
        case "pareto": {
          const place = Pareto.select(standings(), draw.float())
          return place === undefined ? leading() : members[place]! // one of them
        }
      }
    }

    // -------------------------------------------------------------------------
    // Making children
    // -------------------------------------------------------------------------

    const learnt = (run: Run | undefined): boolean => {
      if (run === undefined) return false
      const score = scoreOf(run)
      return score === undefined || settings.skipPerfectScore && score >= 1
    }

    let next = 0
    // Training examples for a parent. What it is known to do well teaches nothing, so the next ones are taken instead.
    const batchFor = (parent: Member, taken: Set<AnyExample>): ReadonlyArray<AnyExample> => {
      const first = next++
      if (!racing) return batches(first).map((place) => trainset[place]!) // its places
      const batch: Array<AnyExample> = []
      for (let step = 0; step < perEpoch && batch.length < size; step++) {
        for (const place of batches(first + step)) {
          const example = trainset[place]! // as well
          if (batch.length === size || taken.has(example) || learnt(runOf(parent.contender, example))) continue
          taken.add(example)
          batch.push(example)
        }
      }
      return batch
    }

    const scoreIn = (contender: Contender, example: AnyExample): number | undefined => {
      const run = runOf(contender, example)
      return run && scoreOf(run)
    }

    // What the model that reflects gets to see: the batch, and what else went wrong and is known anyway.
    const lessons = ({ batch, parent }: Slot, ...path: ReadonlyArray<number>): ReadonlyArray<Run> => {
      const own = batch.flatMap((example) => runOf(parent.contender, example) ?? [])
      if (!racing) return own
      const others = Array.from(seen.get(parent.contender)?.values() ?? []).filter((run) =>
        !own.includes(run) && (scoreOf(run) ?? 1) < 1
      )
      return [...own, ...rng.at(seed, "lessons", ...path).sample(others, shown * size - own.length)]
    }

    // Which predictors are to change, each with what is known of it.
    const subjects = (parent: Member, runs: ReadonlyArray<Run>) => {
      const all = predictors.map((predictor) => ({
        predictor,
        attempts: runs.flatMap((run) => reflection.attempt(run, predictor) ?? [])
      }))
      if (settings.component === "all") return all.filter(({ attempts }) => attempts.length > 0)
      const turn = all.findIndex((_, step) => all[(parent.turn + step) % all.length]!.attempts.length > 0) // within
      if (turn === -1) return []
      const place = (parent.turn + turn) % all.length
      parent.turn = place + 1
      return [all[place]!] // within, by the remainder
    }

    let enrolled = 1
    // None where the same was proposed before.
    const enroll = (
      candidate: Parameters<typeof search.enroll>[0]
    ): Work<Option.Option<Contender>> =>
      Effect.map(search.enroll(candidate), (contender) => {
        if (contender.index < enrolled) return Option.none()
        enrolled = contender.index + 1
        return Option.some(contender)
      })

    const propose = (iteration: number, slots: ReadonlyArray<Slot>): Work<ReadonlyArray<Child>> =>
      Effect.gen(function*() {
        const questions = slots.flatMap((slot, index) => {
          const scores = slot.batch.flatMap((example) => scoreIn(slot.parent.contender, example) ?? [])
          if (scores.length === 0 || settings.skipPerfectScore && scores.every((score) => score >= 1)) return []
          const changing = subjects(slot.parent, lessons(slot, iteration, index))
          return changing.map((subject) => ({ ...subject, slot, index, turn: slot.parent.turn }))
        })
        const answers = yield* Effect.forEach(questions, ({ attempts, index, predictor, slot }) => {
          const place = `reflection ${iteration}.${index} ${predictor.path}`
          return search.ask({
            place,
            purpose: `instructions${predictor.path === "" ? "" : ` for ${predictor.path}`}`,
            module: Module.withRollout(settings.proposer, `${seed} ${place}`),
            input: reflection.question(slot.parent.contender.parameters, predictor, attempts),
            schema: reflection.Written
          })
        }, { concurrency: search.side })
        const children: Array<Child> = []
        for (const [index, { batch, parent }] of slots.entries()) {
          const asked: Array<Asked<unknown>> = []
          let { turn } = parent
          let { parameters } = parent.contender
          for (const [place, { predictor, ...question }] of questions.entries()) {
            if (question.index !== index) continue
            const answer = answers[place]! // one for each question
            asked.push(answer)
            turn = question.turn
            const text = Option.match(answer.output, {
              onNone: () => "",
              onSome: ({ instructions }) => Proposer.clean(instructions)
            })
            if (text !== "" && text !== instructions.of(parameters, predictor)) {
              parameters = instructions.replaced(parameters, predictor, text)
            }
          }
          if (asked.length === 0) continue
          if (parameters === parent.contender.parameters) {
            yield* search.spend(asked)
            continue
          }
          const contender = yield* enroll({
            origin: "reflection",
            parameters,
            runs: asked,
            parents: [parent.contender.index]
          })
          if (Option.isSome(contender)) {
            children.push({ contender: contender.value, parents: [parent], madeFrom: batch, turn })
          }
        }
        return children
      })

    // -------------------------------------------------------------------------
    // Merging
    // -------------------------------------------------------------------------

    const tried = new crossover.Tried()
    let merges = 0
    let due = 0
    let accepted = false

    const cross = (iteration: number): Work<ReadonlyArray<Child>> =>
      Effect.gen(function*() {
        if (due === 0 || !accepted) return []
        const table = standings()
        const found = crossover.propose(
          members.map(({ contender }, place) => ({ ...contender, scores: table[place]! })), // one for each
          Pareto.members(table).map(({ candidate }) => members[candidate]!.contender.index), // its places
          tried,
          rng.at(seed, "merge", iteration)
        )
        if (found === undefined) return []
        const contender = yield* enroll({
          origin: "merge",
          parameters: found.parameters,
          runs: [],
          parents: found.parents
        })
        const [a, b] = found.parents.map((index) => members.find(({ contender }) => contender.index === index))
        return Option.isNone(contender) || a === undefined || b === undefined
          ? []
          : [{ contender: contender.value, parents: [a, b] as const, madeFrom: [], turn: Math.max(a.turn, b.turn) }]
      })

    // -------------------------------------------------------------------------
    // Judging children
    // -------------------------------------------------------------------------

    const accept = ({ contender, madeFrom, parents, turn }: Child, reach: number): void => {
      members.push({ contender, parents, reach, turn })
      if (madeFrom.length === 0) {
        due--
        merges++
        return
      }
      if (merges < settings.merges) due++
      accepted = true
    }

    // Those that are better than the parent on the examples they were made from.
    const improving = (children: ReadonlyArray<Child>): Work<ReadonlyArray<Child>> =>
      Effect.gen(function*() {
        yield* measure(children.flatMap(({ contender, madeFrom }) => cells(contender, madeFrom)))
        return yield* Effect.filter(children, ({ contender, madeFrom, parents: [parent] }) => {
          const gain = madeFrom.reduce((sum, example) => {
            const [own, before] = [scoreIn(contender, example), scoreIn(parent.contender, example)]
            return own === undefined || before === undefined ? sum : sum + own - before
          }, 0)
          return gain > 0 || madeFrom.length === 0
            ? Effect.succeed(true)
            : Effect.as(search.retire(contender, "no better on what it was made from"), false)
        })
      })

    // By the whole selection set; false if there are not enough runs left for all of them.
    const validate = (children: ReadonlyArray<Child>): Work<boolean> =>
      Effect.gen(function*() {
        let room = left()
        const tested = yield* Effect.filter(children, ({ contender }) => {
          room -= cost(cells(contender, selection))
          return room >= 0
            ? Effect.succeed(true)
            : Effect.as(search.retire(contender, "the end"), false)
        })
        yield* settle(tested.map(({ contender }) => contender))
        for (const child of tested) accept(child, total)
        return tested.length === children.length
      })

    // A cross by a few examples on which its parents are good at different things, then by all.
    const compete = (child: Child, iteration: number): Work<boolean> =>
      Effect.gen(function*() {
        const { contender, parents } = child
        const scores = parents.map((parent) => search.scores(parent.contender))
        const sample = crossover.sample(scores[0]!, scores.at(-1)!, rng.at(seed, "sample", iteration)) // two of them
        if (sample.length > left()) {
          yield* search.retire(contender, "the end")
          return false
        }
        yield* measure(cells(contender, sample.map((place) => selection[place]!))) // its places
        const own = search.scores(contender)
        const known = sample.filter((place) => own[place] !== undefined)
        const sum = (scores: Scores) => known.reduce((sum, place) => sum + (scores[place] ?? 0), 0)
        if (sum(own) >= Math.max(...scores.map(sum))) return yield* validate([child])
        yield* search.retire(contender, "no better than its parents")
        return true
      })

    // By a growing part of it, in comparison with the parents.
    const race = (children: ReadonlyArray<Child>): Work<boolean> =>
      Effect.gen(function*() {
        yield* measure(children.flatMap(({ contender }) => cells(contender, order.slice(0, probe))))
        const bases = expected()
        const racers = yield* Effect.filter(children, ({ contender, parents }) => {
          const own = inOrder(contender)
          const lead = Math.min(...parents.map((parent) => Racing.difference(own, bases.get(parent)!).mean)) // a member
          return lead >= -slack
            ? Effect.succeed(true)
            : Effect.as(search.retire(contender, "behind its parent"), false)
        })
        if (probe === total) yield* settle(racers.map(({ contender }) => contender))
        for (const child of racers) accept(child, probe)
        return true
      })

    // -------------------------------------------------------------------------
    // The leader is measured on more and more examples, as long as it leads
    // -------------------------------------------------------------------------

    const grown = ({ reach }: Member): number => Math.min(total, 2 * reach)
    const grow = (member: Member, reach: number): Work<void> =>
      Effect.gen(function*() {
        yield* measure(cells(member.contender, order.slice(0, reach)))
        member.reach = reach
        if (reach === total) yield* settle([member.contender])
      })

    const finish = Effect.gen(function*() {
      yield* lookUp
      for (let leader = leading(); leader.reach < total; leader = leading()) {
        // By steps as long as another one could still be measured to the end, if this one falls back.
        const step = grown(leader)
        const reach = left() - (step - leader.reach) >= reserve ? step : total
        if (reach - leader.reach > left()) return
        yield* grow(leader, reach)
      }
    })

    const leave = Effect.suspend(() =>
      Effect.forEach(
        members.filter(({ reach }) => reach < total),
        ({ contender }) => search.retire(contender, "not the best by what is known"),
        { discard: true }
      )
    )

    // -------------------------------------------------------------------------
    // The search
    // -------------------------------------------------------------------------

    // Where calls are counted, what is asked counts too.
    const asks = search.purse.limited ? settings.component === "all" ? predictors.length : 1 : 0
    // How many children there can be, so that `kept` runs remain.
    const room = (left: number, kept: number): number =>
      Math.max(0, Math.min(settings.proposals, Math.floor((left - kept) / (2 * size + asks + (racing ? probe : 0)))))

    const tell = (iteration: number): Effect.Effect<void> =>
      Effect.suspend(() =>
        search.emit({
          _tag: "Front",
          iteration,
          candidates: Pareto.members(standings()).map(({ candidate }) => members[candidate]!.contender.index) // its places
        })
      )

    const iterate = (iteration: number, leader: Member, stale: number): Work<boolean> =>
      Effect.gen(function*() {
        yield* lookUp
        const crosses = yield* cross(iteration)
        accepted = false
        if (!racing && crosses[0] !== undefined) {
          return yield* Effect.tap(compete(crosses[0], iteration), tell(iteration))
        }
        const enough = mean(expected(0).get(leader)!) >= (settings.stopAtScore ?? unreachable) // a member
        // Where nobody knows when the end will come, as with a budget of time, who leads is measured now. Elsewhere who has just
        // come to lead may soon be overtaken.
        const sudden = search.purse.limited && affordable.runs === unreachable
        const reach = enough || sudden ? total : stale > 0 ? grown(leader) : leader.reach
        const slots = room(left(), racing ? reserve + (reach - leader.reach) + crosses.length * probe : 0)
        if (slots === 0) {
          for (const { contender } of crosses) yield* search.retire(contender, "the end")
          return false
        }
        const taken = new Map<Member, Set<AnyExample>>()
        const work = Array.from({ length: slots }, (_, slot): Slot => {
          const parent = choose(iteration, slot)
          const own = taken.get(parent) ?? new Set()
          taken.set(parent, own)
          return { parent, batch: batchFor(parent, own) }
        })
        yield* measure([
          ...work.flatMap(({ batch, parent }) => cells(parent.contender, batch)),
          ...(reach > leader.reach ? cells(leader.contender, order.slice(0, reach)) : [])
        ])
        if (reach > leader.reach) yield* grow(leader, reach)
        const children = yield* improving([...yield* propose(iteration, work), ...crosses])
        const goesOn = racing ? yield* race(children) : yield* validate(children)
        yield* tell(iteration)
        return goesOn
      })

    const given = yield* search.enroll({ origin: "as given", parameters: search.given, runs: [] })
    // The first children are those of the module as given, whatever it scores.
    const chosen = new Set(selection.map(({ id }) => id))
    const first = Array.from({ length: room(left() - total, racing ? reserve : 0) }, (_, index) => batches(index))
      .flat()
      .map((place) => trainset[place]!) // its places
    yield* search.ahead(cells(given, first.filter(({ id }) => !chosen.has(id))))
    yield* settle([given])
    members.push({ contender: given, parents: [], reach: total, turn: 0 })
    const evolve = Effect.gen(function*() {
      // What is but hoped of a candidate makes it a parent, not the leader.
      let leader = leading(0)
      let stale = 0
      // Iterations in which nothing had to be run, since nothing new came up.
      let idle = 0
      let spent = false
      for (let iteration = 0; idle < perEpoch; iteration++) {
        if (stale === settings.patience) break
        if (leader.reach === total && mean(search.scores(leader.contender)) >= (settings.stopAtScore ?? unreachable)) {
          return "stopAtScore" as const
        }
        const before = met.size
        if (!(yield* iterate(iteration, leader, stale))) {
          spent = inBudget() <= left()
          break
        }
        idle = met.size > before ? 0 : idle + 1
        const now = leading(0)
        stale = now === leader ? stale + 1 : 0
        leader = now
      }
      yield* finish
      return spent ? yield* new Exhausted() : undefined
    })
    return yield* evolve.pipe(Effect.tap(leave), Effect.tapErrorTag("Exhausted", () => leave))
  })
