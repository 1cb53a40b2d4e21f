/**
 * The engine under all optimizers: candidates measured side by side and judged
 * in order, the journal, the budget, and events with the best so far.
 *
 * An optimizer whose candidates do not depend on each other's scores gives them
 * to `trials`. One that decides as it goes enrolls contenders, measures them on
 * whichever examples it likes, and settles or retires them.
 */
import * as Evaluate from "@effect-dspy/core/Evaluate"
import type { Example } from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Scoring from "@effect-dspy/core/Scoring"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Journal } from "../Journal.ts"
import * as Optimizer from "../Optimizer.ts"
import * as identity from "./identity.ts"
import * as ordered from "./ordered.ts"
import * as purse from "./purse.ts"
import * as runs from "./runs.ts"
import { beats, differences, mean, running, type Scores } from "./scores.ts"
import { Sources } from "./sources.ts"

// -----------------------------------------------------------------------------
// What an optimizer gives, and what it gets to work with
// -----------------------------------------------------------------------------

/** A candidate, and what was paid for to make it. */
export interface Proposed {
  readonly parameters: Parameters.Parameters
  readonly runs: ReadonlyArray<runs.Paid>
}

export interface Plan {
  readonly origin: string
  readonly seed?: number | undefined
  readonly propose: Effect.Effect<Proposed, Optimizer.OptimizerError | runs.Exhausted>
}

/** A candidate in the race; the module as given is number 0. */
export interface Contender {
  readonly index: number
  readonly origin: string
  readonly seed: number | undefined
  readonly parents: ReadonlyArray<number>
  readonly parameters: Parameters.Parameters
  readonly hash: string
}

/** A candidate on an example. */
export interface Cell {
  readonly contender: Contender
  readonly example: Example<unknown, unknown>
  /** One sample of several; the model may choose then. */
  readonly rollout?: string | undefined
  /** Whether the output and the calls of the predictors are wanted too. */
  readonly trace?: boolean | undefined
}

type Work<A> = Effect.Effect<A, Optimizer.OptimizerError | runs.Exhausted>

type Body<Event> = Event extends unknown ? Omit<Event, keyof Optimizer.Progress<unknown>> : never

export interface Search<In, Out, R> {
  readonly module: Module.Module<In, Out, unknown, R>
  /** The parameters of every predictor of the module as given. */
  readonly given: Parameters.Parameters
  readonly seed: number
  readonly trainset: ReadonlyArray<Example<unknown, unknown>>
  /** What candidates are selected on, in the order of all scores. */
  readonly selection: ReadonlyArray<Example<unknown, unknown>>
  readonly window: number
  /** How much of the window measuring the module as given leaves unused, for work that may turn out to be in vain. */
  readonly idle: number
  readonly sources: Sources
  readonly purse: purse.Purse
  readonly evaluator: (name: string, module: Module.Module<In, Out, unknown, R>) => Scoring.Evaluator
  readonly run: runs.Runs["run"]
  readonly emit: (event: Body<Optimizer.OptimizerEvent<unknown>>) => Effect.Effect<void>
  /**
   * Measures the module as given, then candidates, on the selection examples. Ends early when one reaches
   * `stopAtScore`.
   */
  readonly trials: (plans: ReadonlyArray<Plan>, stopAtScore?: number) => Effect.Effect<void, Optimizer.OptimizerError>

  /** A new candidate, or the one that has the same parameters; the module as given comes first. */
  readonly enroll: (candidate: {
    readonly origin: string
    readonly parameters: Parameters.Parameters
    readonly runs: ReadonlyArray<runs.Paid>
    readonly seed?: number | undefined
    readonly parents?: ReadonlyArray<number> | undefined
  }) => Work<Contender>
  /** Runs side by side, committed in this order; what was measured before costs nothing. */
  readonly measure: (cells: ReadonlyArray<Cell>) => Work<ReadonlyArray<runs.Run>>
  /** Measures contenders on all selection examples: each may become the best. */
  readonly settle: (contenders: ReadonlyArray<Contender>) => Work<ReadonlyArray<Scores>>
  /** Takes a contender out of the race; what is known of it stays. */
  readonly retire: (contender: Contender, why: string) => Effect.Effect<void>
  /** What is known of a contender, for each selection example. */
  readonly scores: (contender: Contender) => Scores
  /** Starts runs that will be wanted in any case, unless something limits what may be spent. */
  readonly ahead: (cells: ReadonlyArray<Cell>) => Effect.Effect<void>
  /** An answer of the prompt model to a question whose place in the run no other one has. */
  readonly ask: <I, A, AI>(question: {
    readonly place: string
    readonly purpose: string
    readonly module: Module.Module<I, A, unknown, LanguageModel.LanguageModel>
    readonly input: I
    readonly schema: Schema.Schema<A, AI>
  }) => Work<runs.Asked<A>>
  /** Counts what was paid for and came to nothing. */
  readonly spend: (paid: ReadonlyArray<runs.Paid>) => Effect.Effect<void, Optimizer.OptimizerError>
  /** How much may be bought at once: one by one where what is left decides what is bought. */
  readonly side: "unbounded" | 1
}

export interface Definition<M extends Module.Any, In, Out, Labels, E, R, R2> {
  readonly optimizer: string
  readonly module: M & Module.Module<In, Out, unknown, unknown>
  readonly options: Optimizer.Options<In, Labels, Out, E, R>
  readonly teacher?: Module.Module<In, Out, unknown, R2> | undefined
  /** The optimizer's own options, which the journal is bound to. */
  readonly settings: Json.JsonRecord
  readonly check: Effect.Effect<void, Optimizer.InvalidOptions>
  /** How many candidates there are, the module as given among them. */
  readonly trials: number
  /** How many runs of the program the making of candidates takes at most. */
  readonly attempts: number
  /**
   * How many runs measuring them takes at most, where not every candidate meets every example, with so many under way at
   * once that some may be in vain.
   */
  readonly runs?: ((window: number) => number) | undefined
  /** How many answers of the prompt model are needed at most. */
  readonly prompts?: number | undefined
  readonly promptModel?: Layer.Layer<LanguageModel.LanguageModel, never, R2> | undefined
  /** Says why it ended, if it was not because all was done. */
  readonly body: (search: Search<In, Out, Module.Requirements<M> | R2>) => Work<"stopAtScore" | void>
}

/** The model that writes; the one of the program unless another was given. */
export const promptModel = <R>(
  options: Optimizer.Prompted<R>
): Layer.Layer<LanguageModel.LanguageModel, never, R | LanguageModel.LanguageModel> =>
  options.promptModel ?? Layer.service(LanguageModel.LanguageModel)

// -----------------------------------------------------------------------------
// Running
// -----------------------------------------------------------------------------

export const compile = <M, R>(
  events: Stream.Stream<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError, R>
): Effect.Effect<Optimizer.Compiled<M>, Optimizer.OptimizerError, R> =>
  Effect.flatMap(
    Optimizer.best(events),
    Option.match({
      onNone: () => Effect.dieMessage("an optimizer ended without a best program"),
      onSome: Effect.succeed
    })
  )

// A consumer that does not keep up holds the run back instead of filling the memory.
const capacity = 16

export const events = <M extends Module.Any, In, Out, Labels, E, R, R2 = never>(
  definition: Definition<M, In, Out, Labels, E, R, R2>
): Stream.Stream<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError, Module.Requirements<M> | R | R2> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const mailbox = yield* Mailbox.make<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError>(capacity)
    yield* search(definition, mailbox).pipe(Effect.scoped, Mailbox.into(mailbox), Effect.forkScoped)
    return Mailbox.toStream(mailbox)
  }))

// A candidate that has been measured on the selection examples.
interface Measured {
  readonly candidate: Optimizer.Candidate
  readonly hash: string
  readonly scores: Scores
}

// What is known of a contender.
interface Standing {
  readonly contender: Contender
  readonly trial: Optimizer.Trial
  /** On the selection examples. */
  readonly known: Map<string, runs.Run>
  readonly traced: Set<string>
  /** What is known in figures, which take their time; none since something came to be known. */
  soFar: Evaluate.Estimate | undefined
  begun: boolean
  settled: boolean
  retired: boolean
}

type Figures = Pick<Optimizer.Compiled<unknown>, "measuredOn" | "score" | "baseline" | "difference">

const figures = (measuredOn: Figures["measuredOn"], winner: Scores, baseline: Scores): Figures => ({
  measuredOn,
  score: Evaluate.estimate(winner),
  baseline: Evaluate.estimate(baseline),
  difference: Evaluate.estimate(differences(winner, baseline), { range: { lower: -1, upper: 1 } })
})

// What a decision that was made without them must also be made without when it is made again.
const failed = (paid: ReadonlyArray<runs.Paid>): ReadonlyArray<string> =>
  paid.flatMap(({ failure, key }) => failure === undefined ? [] : [key])

const nothing: Optimizer.Spend = { calls: 0, usage: {} }

const plus = (spend: Optimizer.Spend, paid: runs.Paid): Optimizer.Spend => ({
  calls: spend.calls + paid.calls,
  usage: LanguageModel.addUsage(spend.usage, paid.usage)
})

/** How many runs may be under way at once. */
export const limit = (concurrency: number | undefined): Effect.Effect<number, Optimizer.InvalidOptions> =>
  concurrency === undefined
    ? Module.window
    : concurrency >= 1
    ? Effect.succeed(concurrency)
    : new Optimizer.InvalidOptions({ option: "concurrency", description: "must be at least 1" })

const search = <M extends Module.Any, In, Out, Labels, E, R, R2>(
  definition: Definition<M, In, Out, Labels, E, R, R2>,
  mailbox: Mailbox.Mailbox<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError>
): Effect.Effect<void, Optimizer.OptimizerError, Module.Requirements<M> | R | R2 | Scope.Scope> =>
  Effect.gen(function*() {
    const { optimizer, options } = definition
    const begun = yield* Clock.currentTimeMillis
    const predictors = definition.module.predictors
    if (predictors.length === 0) return yield* new Optimizer.NothingToTune()
    yield* definition.check
    const data = yield* identity.data(options)
    const window = yield* limit(options.concurrency)
    const seed = options.seed ?? 0
    const scope = yield* Effect.scope
    const prompting = definition.promptModel === undefined ? undefined : yield* Layer.build(definition.promptModel)
    const given: Parameters.Parameters = Object.fromEntries(
      predictors.map(({ parameters, path }) => [path, parameters ?? { demos: [] }])
    )
    const { header, provenance } = identity.make({
      optimizer,
      module: definition.module,
      baseline: given,
      teacher: definition.teacher,
      data,
      model: Option.getOrUndefined(yield* Effect.serviceOption(LanguageModel.LanguageModel))?.id,
      promptModel: prompting === undefined ? undefined : Context.get(prompting, LanguageModel.LanguageModel).id,
      seed,
      settings: definition.settings
    })
    const journal = yield* Journal
    yield* journal.begin(header)

    const maxFailureRate = options.maxFailureRate ?? 0.5
    const { all, ask, count, run } = yield* runs.make({ window, maxFailureRate })
    const budget = yield* purse.make(options.budget, predictors.length)
    const sources = yield* Sources.make(predictors, data.examples)
    const context = yield* Effect.context<Module.Requirements<M> | R | R2>()
    const evaluator = (name: string, module: Module.Module<In, Out, unknown, Module.Requirements<M> | R2>) => {
      const open = Scoring.evaluator({
        id: `${optimizer}/${name}/${provenance.program}/${provenance.data}`,
        module,
        examples: data.examples,
        metric: options.metric
      })
      return { id: open.id, run: (task: Scoring.Task) => Effect.provide(open.run(task), context) }
    }
    // What an M requires are its requirements, which the compiler does not see through the generic.
    const module = definition.module as Module.Module<In, Out, unknown, Module.Requirements<M>>
    const program = evaluator("program", module)
    // Asked again, a model gives another answer only if it may choose.
    const warm = evaluator("program, warm", Module.withSettings(module, { temperature: 1 }))

    // -------------------------------------------------------------------------
    // What was spent, what is best, and telling it
    // -------------------------------------------------------------------------

    // In the order of commits, so that sums do not depend on timing.
    const counted = new Set<string>()
    let spend = nothing
    const spent = (runs: ReadonlyArray<runs.Paid>): void => {
      for (const run of runs) {
        if (counted.has(run.key)) continue
        counted.add(run.key)
        spend = plus(spend, run)
      }
    }

    const measured: Array<Measured> = []
    const standings: Array<Standing> = []
    let leader: { readonly measured: Measured; readonly figures: Figures } | undefined
    let best: Option.Option<Optimizer.Compiled<M>> = Option.none()

    const compiled = (winner: Measured, figures: Figures): Optimizer.Compiled<M> => ({
      // The paths are those of the module itself.
      module: Either.getOrThrow(Module.withParameters<M>(definition.module, winner.candidate.parameters)),
      parameters: winner.candidate.parameters,
      ...figures,
      candidates: [measured.map(({ candidate }) => candidate), standings.flatMap(incomplete)].flatMap((candidates) =>
        candidates.toSorted((a, b) => b.score.mean - a.score.mean || a.index - b.index)
      ),
      provenance,
      spend
    })

    const planned = (definition.runs?.(budget.limited ? 0 : window) ?? definition.trials * data.selection.length) +
      definition.attempts +
      2 * data.testset.length
    const emit: Search<In, Out, never>["emit"] = (event) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        mailbox.offer({
          ...event,
          best,
          spend,
          runs: { ...count(), planned },
          elapsed: now - begun
        } as Optimizer.OptimizerEvent<M>)) // `Body` is an event without just these fields

    // -------------------------------------------------------------------------
    // Measuring
    // -------------------------------------------------------------------------

    interface Candidate extends Proposed {
      readonly hash: string
    }

    // All candidates on all examples, one candidate after the other as far as decisions go.
    const measure = (
      plans: ReadonlyArray<Plan>,
      on: ReadonlyArray<Example<In, Labels>>,
      trial: (plan: number) => Optimizer.Trial,
      ended: (
        trial: Optimizer.Trial,
        candidate: Candidate,
        measurements: ReadonlyArray<runs.Run>
      ) => Effect.Effect<ordered.End | undefined, Optimizer.OptimizerError>
    ): Effect.Effect<ordered.End, Optimizer.OptimizerError> =>
      Effect.gen(function*() {
        const unmade = yield* Deferred.make<never, Optimizer.OptimizerError>()
        const candidates = yield* Effect.forEach(plans, ({ propose }) =>
          propose.pipe(
            Effect.map((proposed): Candidate => ({ ...proposed, hash: Parameters.hash(proposed.parameters) })),
            runs.unlessExhausted,
            Effect.tapErrorCause((cause) => Deferred.failCause(unmade, cause)),
            Effect.forkScoped
          ))
        // What is put aside for measuring must not be what the making of the candidate needs.
        if (budget.limited) yield* Fiber.awaitAll(candidates)
        const place = (index: number) => ({ plan: Math.floor(index / on.length), position: index % on.length })
        const measurement = (index: number) => {
          const { plan, position } = place(index)
          const example = on[position]! // within, by the count
          return Fiber.join(candidates[plan]!).pipe( // as well
            Effect.flatMap(Effect.mapError(() => new runs.Exhausted())),
            Effect.flatMap((candidate) =>
              Effect.map(
                run(program, {
                  candidate: sources.without(candidate.parameters, example.id),
                  example: example.id,
                  trace: false
                }, candidate.hash),
                (run) => ({ candidate, run })
              )
            ),
            runs.unlessExhausted
          )
        }
        let measurements: Array<runs.Run> = []
        let average = running()
        const measuring = ordered.run({
          count: plans.length * on.length,
          window,
          task: (index) =>
            budget.admit(measurement(index), 1, Option.match({ onNone: () => [], onSome: ({ run }) => [run] })),
          commit: (measurement, index) =>
            Effect.gen(function*() {
              if (Option.isNone(measurement)) return "refused"
              const { candidate, run } = measurement.value
              const { plan, position } = place(index)
              const current = trial(plan)
              if (position === 0) {
                measurements = []
                average = running()
                spent(candidate.runs)
                if (current.on === "selection") {
                  yield* journal.decide(
                    `proposal ${current.index}`,
                    { origin: current.origin, candidate: candidate.hash },
                    failed(candidate.runs)
                  )
                  yield* emit({ _tag: "Proposal", trial: current, parameters: candidate.parameters, parents: [] })
                }
                yield* emit({ _tag: "TrialStart", trial: current })
              }
              if (!(yield* budget.commit([run]))) return "refused"
              spent([run])
              measurements.push(run)
              yield* emit({
                _tag: "Scored",
                trial: current,
                done: measurements.length,
                total: on.length,
                mean: average(runs.scoreOf(run))
              })
              return position < on.length - 1 ? undefined : yield* ended(current, candidate, measurements)
            })
        })
        // A candidate that cannot be made ends the run now, not when its turn comes.
        return yield* Effect.raceFirst(measuring, Deferred.await(unmade))
      }).pipe(Effect.scoped)

    // -------------------------------------------------------------------------
    // Selecting
    // -------------------------------------------------------------------------

    const select = (
      trial: Optimizer.Trial,
      { hash, parameters, parents }: Pick<Contender, "hash" | "parameters" | "parents">,
      measurements: ReadonlyArray<runs.Run>,
      stopAtScore: number | undefined
    ): Effect.Effect<ordered.End | undefined, Optimizer.OptimizerError> =>
      Effect.gen(function*() {
        const scores = measurements.map(runs.scoreOf)
        const score = Evaluate.estimate(scores)
        // Nothing is better or worse than a program that nothing is known of.
        if (leader === undefined && score.known === 0) {
          return yield* new Optimizer.TooManyFailures({
            what: "runs of the program",
            failed: scores.length,
            of: scores.length,
            maxFailureRate,
            latest: measurements.at(-1)?.failure ?? ""
          })
        }
        const latest: Measured = {
          candidate: {
            index: trial.index,
            origin: trial.origin,
            seed: trial.seed,
            parents,
            parameters,
            score,
            complete: true
          },
          hash,
          scores
        }
        measured.push(latest)
        const leads = leader === undefined || beats(scores, leader.measured.scores)
        const now = leads || leader === undefined
          ? { measured: latest, figures: figures("selection", scores, measured[0]!.scores) } // the latest is there
          : leader
        yield* journal.decide(
          `trial ${trial.index}`,
          { mean: score.mean, known: score.known, best: now.measured.hash },
          failed(measurements)
        )
        leader = now
        best = Option.some(compiled(now.measured, now.figures))
        yield* emit({ _tag: "TrialEnd", trial, score, scores })
        if (leads) yield* emit({ _tag: "NewBest", trial, score })
        if (stopAtScore !== undefined && score.known > 0 && score.mean >= stopAtScore) return "stopped"
        return (yield* budget.expect(2 * data.testset.length)) ? undefined : "refused"
      })

    let reason: Optimizer.Done<M>["reason"] = "completed"
    const trials: Search<In, Out, never>["trials"] = (plans, stopAtScore) =>
      Effect.gen(function*() {
        const asGiven: Plan = { origin: "as given", propose: Effect.succeed({ parameters: given, runs: [] }) }
        const every = [asGiven, ...plans]
        // Where every call counts candidates are made one by one, so that the budget goes to the first of them.
        const groups = budget.limited ? every.map((plan) => [plan]) : [every]
        for (const group of groups) {
          const first = measured.length
          const end = yield* measure(
            group,
            data.selection,
            (plan) => ({
              index: first + plan,
              total: definition.trials,
              origin: group[plan]!.origin, // within, by the count
              seed: group[plan]!.seed,
              on: "selection"
            }),
            (trial, candidate, measurements) => select(trial, { ...candidate, parents: [] }, measurements, stopAtScore)
          )
          if (end === "finished") continue
          reason = end === "stopped" ? "stopAtScore" : "budget"
          return
        }
      })

    // -------------------------------------------------------------------------
    // Contenders
    // -------------------------------------------------------------------------

    const byHash = new Map<string, Contender>()
    const standing = ({ index }: Contender): Standing => standings[index]! // contenders are made by `enroll`

    const enroll: Search<In, Out, never>["enroll"] = ({ origin, parameters, parents = [], runs, seed }) =>
      Effect.gen(function*() {
        const hash = Parameters.hash(parameters)
        const known = byHash.get(hash)
        const index = known?.index ?? standings.length
        spent(runs)
        yield* journal.decide(`proposal ${proposals++}`, { origin, candidate: hash }, failed(runs))
        if (known !== undefined) return known
        const contender: Contender = { index, origin, seed, parents, parameters, hash }
        const trial: Optimizer.Trial = { index, total: definition.trials, origin, seed, on: "selection" }
        byHash.set(hash, contender)
        standings.push({
          contender,
          trial,
          known: new Map(),
          traced: new Set(),
          soFar: undefined,
          begun: false,
          settled: false,
          retired: false
        })
        yield* emit({ _tag: "Proposal", trial, parameters, parents })
        return contender
      })
    let proposals = 0

    const chosenOn = new Set(data.selection.map(({ id }) => id))
    const sample = ({ example, rollout }: Cell): string =>
      rollout === undefined ? example.id : `${example.id} ${rollout}`

    const meet = (cell: Cell) => {
      const { contender, example, rollout } = cell
      return run(rollout === undefined ? program : warm, {
        candidate: sources.without(contender.parameters, example.id),
        example: example.id,
        ...(rollout === undefined ? undefined : { rollout }),
        // A run that was traced is good for whoever needs no trace.
        trace: cell.trace === true || standing(contender).traced.has(sample(cell))
      }, contender.hash)
    }

    // `met` follows each run, in the order of the cells.
    const meetAll = (
      cells: ReadonlyArray<Cell>,
      met: (run: runs.Run, cell: Cell) => Effect.Effect<ordered.End | undefined, Optimizer.OptimizerError>
    ): Effect.Effect<ordered.End, Optimizer.OptimizerError> => {
      const totals = new Map<Contender, number>()
      for (const { contender } of cells) totals.set(contender, (totals.get(contender) ?? 0) + 1)
      const averages = new Map<Contender, { done: number; readonly see: (score: number | undefined) => number }>()
      return ordered.run({
        count: cells.length,
        window,
        task: (index) =>
          budget.admit(
            runs.unlessExhausted(meet(cells[index]!)), // within, by the count
            1,
            Option.match({ onNone: () => [], onSome: (run) => [run] })
          ),
        commit: (met_, index) =>
          Effect.gen(function*() {
            if (Option.isNone(met_)) return "refused"
            const run = met_.value
            const cell = cells[index]! // as well
            const now = standing(cell.contender)
            const chosen = chosenOn.has(cell.example.id)
            const trial: Optimizer.Trial = chosen ? now.trial : { ...now.trial, on: "training" }
            if (!(yield* budget.commit([run]))) return "refused"
            spent([run])
            if (!now.begun) yield* emit({ _tag: "TrialStart", trial })
            now.begun = true
            if (cell.trace === true) now.traced.add(sample(cell))
            if (chosen && cell.rollout === undefined) {
              now.known.set(cell.example.id, run)
              now.soFar = undefined
            }
            const average = averages.get(cell.contender) ?? { done: 0, see: running() }
            averages.set(cell.contender, average)
            yield* emit({
              _tag: "Scored",
              trial,
              done: ++average.done,
              total: totals.get(cell.contender) ?? average.done,
              mean: average.see(runs.scoreOf(run))
            })
            return yield* met(run, cell)
          })
      })
    }

    let measurements = 0
    const measureCells: Search<In, Out, never>["measure"] = (cells) =>
      Effect.gen(function*() {
        const met: Array<runs.Run> = []
        const end = yield* meetAll(cells, (run) => Effect.sync(() => void met.push(run)))
        yield* journal.decide(
          `measured ${measurements++}`,
          { runs: met.length, scores: Json.hash(met.map((run) => runs.scoreOf(run) ?? null)).slice(0, 16) },
          failed(met)
        )
        return end === "finished" ? met : yield* new runs.Exhausted()
      })

    const incomplete = (now: Standing): ReadonlyArray<Optimizer.Candidate> => {
      const { index, origin, parameters, parents, seed } = now.contender
      return now.settled || now.known.size === 0
        ? []
        : [{ index, origin, seed, parents, parameters, score: scoreSoFar(now), complete: false }]
    }

    const knownRuns = ({ known }: Standing): ReadonlyArray<runs.Run | undefined> =>
      data.selection.map(({ id }) => known.get(id))
    const scoresOf = (now: Standing): Scores => knownRuns(now).map((run) => run && runs.scoreOf(run))

    const settle: Search<In, Out, never>["settle"] = (contenders) =>
      Effect.gen(function*() {
        const waiting = Array.from(new Set(contenders), standing).filter(({ settled }) => !settled)
        for (const now of waiting) {
          if (now.known.size === 0 || now.contender.index === 0) continue
          yield* emit({ _tag: "Promotion", trial: now.trial, known: now.known.size, mean: mean(scoresOf(now)) })
        }
        const cells = waiting.flatMap(({ contender, known }) =>
          data.selection.filter(({ id }) => !known.has(id)).map((example): Cell => ({ contender, example }))
        )
        // Those that nothing is missing of any more, up to the first that is not so.
        const conclude = Effect.gen(function*() {
          while (waiting[0]?.known.size === data.selection.length) {
            const now = waiting.shift()! // is there
            now.settled = true
            const complete = knownRuns(now).filter((run) => run !== undefined)
            const end = yield* select(now.trial, now.contender, complete, undefined)
            if (end !== undefined) return end
          }
          return undefined
        })
        const end = (yield* conclude) ?? (yield* meetAll(cells, () => conclude))
        return end === "finished" ? contenders.map((one) => scoresOf(standing(one))) : yield* new runs.Exhausted()
      })

    const scoreSoFar = (now: Standing): Evaluate.Estimate =>
      now.soFar ??= Evaluate.estimate(scoresOf(now).filter((score) => score !== undefined))

    const retire: Search<In, Out, never>["retire"] = (contender, why) =>
      Effect.suspend(() => {
        const now = standing(contender)
        if (now.settled || now.retired) return Effect.void
        now.retired = true
        return emit({ _tag: "Retired", trial: now.trial, score: scoreSoFar(now), why })
      })

    // -------------------------------------------------------------------------
    // The prompt model
    // -------------------------------------------------------------------------

    const askPromptModel: Search<In, Out, never>["ask"] = ({ input, module, place, purpose, schema }) =>
      Effect.gen(function*() {
        if (prompting === undefined) return yield* Effect.dieMessage(`${optimizer} has no model to ask`)
        const answer = ask(
          `ask ${place} ${Json.hash(input).slice(0, 16)}`,
          schema,
          Effect.provide(Effect.suspend(() => module(input)), prompting)
        )
        const asked = yield* Effect.uninterruptible(
          Effect.flatMap(
            budget.admit(answer, 1, (asked) => [asked], "answer"),
            Option.getOrElse(() => new runs.Exhausted())
          )
        )
        if (!(yield* budget.commit([asked], "answer"))) return yield* new runs.Exhausted()
        yield* emit({ _tag: "Asked", purpose, outcome: Option.isSome(asked.output) ? "answered" : "failed" })
        return asked
      })

    let spendings = 0
    const spendOn: Search<In, Out, never>["spend"] = (paid) =>
      Effect.suspend(() => {
        spent(paid)
        return journal.decide(`spent ${spendings++}`, { on: paid.length }, failed(paid))
      })

    // The winner and the module as given, on examples that had no part in the choice.
    const test = (winner: Measured): Effect.Effect<Figures | undefined, Optimizer.OptimizerError> =>
      Effect.gen(function*() {
        const finalists = winner === measured[0] ? [winner] : [measured[0]!, winner] // the module as given comes first
        const results: Array<Scores> = []
        const end = yield* measure(
          finalists.map(({ candidate: { origin, parameters, seed } }) => ({
            origin,
            seed,
            propose: Effect.succeed({ parameters, runs: [] })
          })),
          data.testset,
          (index) => {
            const { origin, seed } = finalists[index]!.candidate // within, by the count
            return { index, total: finalists.length, origin, seed, on: "test" }
          },
          (trial, _, measurements) =>
            Effect.gen(function*() {
              const scores = measurements.map(runs.scoreOf)
              const score = Evaluate.estimate(scores)
              yield* journal.decide(
                `test ${trial.index}`,
                { mean: score.mean, known: score.known },
                failed(measurements)
              )
              results.push(scores)
              yield* emit({ _tag: "TrialEnd", trial, score, scores })
              return undefined
            })
        )
        const known = results.every((scores) => scores.some((score) => score !== undefined))
        return end === "finished" && known ? figures("test", results.at(-1)!, results[0]!) : undefined // one for each finalist
      })

    // -------------------------------------------------------------------------
    // The run
    // -------------------------------------------------------------------------

    yield* emit({
      _tag: "Plan",
      trials: definition.trials,
      calls: planned * predictors.length + (definition.prompts ?? 0),
      examples: data.selection.map(({ id }) => id),
      tests: data.testset.map(({ id }) => id)
    })
    if (yield* budget.expect(2 * data.testset.length)) {
      yield* definition.body({
        module,
        given,
        seed,
        trainset: data.trainset,
        selection: data.selection,
        window,
        idle: budget.limited ? 0 : Math.max(0, window - data.selection.length),
        sources,
        purse: budget,
        evaluator,
        run,
        emit,
        trials,
        enroll,
        measure: measureCells,
        settle,
        retire,
        scores: (contender) => scoresOf(standing(contender)),
        ahead: (cells) =>
          budget.limited ? Effect.void : Effect.forEach(
            cells,
            // What goes wrong is seen where the run is wanted.
            (cell) => Effect.forkIn(Effect.ignore(meet(cell)), scope),
            { discard: true }
          ),
        ask: askPromptModel,
        spend: spendOn,
        side: budget.limited ? 1 : "unbounded"
      }).pipe(
        Effect.catchTag("Exhausted", () => Effect.succeed("budget" as const)),
        Effect.map((why) => {
          reason = why ?? reason
        })
      )
    }
    yield* budget.release
    const winner = leader as { readonly measured: Measured; readonly figures: Figures } | undefined // set in `select`
    if (winner === undefined) {
      const runs = data.selection.length + 2 * data.testset.length
      return yield* new Optimizer.BudgetTooSmall({ runs, calls: runs * predictors.length })
    }
    const tested = data.testset.length === 0 ? undefined : yield* test(winner.measured)
    best = Option.some(compiled(winner.measured, tested ?? winner.figures))
    const discarded = Array.from(all()).filter(({ key }) => !counted.has(key))
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .reduce(plus, nothing)
    yield* emit({ _tag: "Done", reason, discarded })
  })
