/**
 * The engine under all optimizers: candidates measured side by side and judged
 * in order, the journal, the budget, and events with the best so far.
 */
import * as Evaluate from "@effect-dspy/core/Evaluate"
import type { Example } from "@effect-dspy/core/Example"
import type * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Scoring from "@effect-dspy/core/Scoring"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Journal } from "../Journal.ts"
import * as Optimizer from "../Optimizer.ts"
import * as identity from "./identity.ts"
import * as ordered from "./ordered.ts"
import * as purse from "./purse.ts"
import * as runs from "./runs.ts"
import { beats, differences, mean, type Scores } from "./scores.ts"
import { Sources } from "./sources.ts"

// -----------------------------------------------------------------------------
// What an optimizer gives, and what it gets to work with
// -----------------------------------------------------------------------------

/** A candidate, and the runs it was made from. */
export interface Proposed {
  readonly parameters: Parameters.Parameters
  readonly runs: ReadonlyArray<runs.Run>
}

export interface Plan {
  readonly origin: string
  readonly seed?: number | undefined
  readonly propose: Effect.Effect<Proposed, Optimizer.OptimizerError | runs.Exhausted>
}

type Body<Event> = Event extends unknown ? Omit<Event, keyof Optimizer.Progress<unknown>> : never

export interface Search<In, Out, R> {
  readonly module: Module.Module<In, Out, unknown, R>
  /** The parameters of every predictor of the module as given. */
  readonly given: Parameters.Parameters
  readonly seed: number
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
  readonly body: (
    search: Search<In, Out, Module.Requirements<M> | R2>
  ) => Effect.Effect<void, Optimizer.OptimizerError>
}

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

type Figures = Pick<Optimizer.Compiled<unknown>, "measuredOn" | "score" | "baseline" | "difference">

const figures = (measuredOn: Figures["measuredOn"], winner: Scores, baseline: Scores): Figures => ({
  measuredOn,
  score: Evaluate.estimate(winner),
  baseline: Evaluate.estimate(baseline),
  difference: Evaluate.estimate(differences(winner, baseline), { range: { lower: -1, upper: 1 } })
})

// What a decision that was made without them must also be made without when it is made again.
const failed = (measurements: ReadonlyArray<runs.Run>): ReadonlyArray<string> =>
  measurements.flatMap((run) => runs.scoreOf(run) === undefined ? [run.key] : [])

const nothing: Optimizer.Spend = { calls: 0, usage: {} }

const plus = (spend: Optimizer.Spend, { scored }: runs.Run): Optimizer.Spend => ({
  calls: spend.calls + scored.calls,
  usage: LanguageModel.addUsage(spend.usage, scored.usage)
})

const limit = (concurrency: number | undefined): Effect.Effect<number, Optimizer.InvalidOptions> =>
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
      seed,
      settings: definition.settings
    })
    const journal = yield* Journal
    yield* journal.begin(header)

    const { all, count, run } = yield* runs.make({ window, maxFailureRate: options.maxFailureRate ?? 0.5 })
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

    // -------------------------------------------------------------------------
    // What was spent, what is best, and telling it
    // -------------------------------------------------------------------------

    // In the order of commits, so that sums do not depend on timing.
    const counted = new Set<string>()
    let spend = nothing
    const spent = (runs: ReadonlyArray<runs.Run>): void => {
      for (const run of runs) {
        if (counted.has(run.key)) continue
        counted.add(run.key)
        spend = plus(spend, run)
      }
    }

    const measured: Array<Measured> = []
    let leader: { readonly measured: Measured; readonly figures: Figures } | undefined
    let best: Option.Option<Optimizer.Compiled<M>> = Option.none()

    const compiled = (winner: Measured, figures: Figures): Optimizer.Compiled<M> => ({
      // The paths are those of the module itself.
      module: Either.getOrThrow(Module.withParameters<M>(definition.module, winner.candidate.parameters)),
      parameters: winner.candidate.parameters,
      ...figures,
      candidates: measured.map(({ candidate }) => candidate).sort((a, b) =>
        b.score.mean - a.score.mean || a.index - b.index
      ),
      provenance,
      spend
    })

    const planned = definition.trials * data.selection.length + definition.attempts + 2 * data.testset.length
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
                spent(candidate.runs)
                if (current.on === "selection") {
                  yield* journal.decide(
                    `proposal ${current.index}`,
                    { origin: current.origin, candidate: candidate.hash },
                    failed(candidate.runs)
                  )
                  yield* emit({ _tag: "Proposal", trial: current, parameters: candidate.parameters })
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
                mean: mean(measurements.map(runs.scoreOf))
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
      { hash, parameters }: Candidate,
      measurements: ReadonlyArray<runs.Run>,
      stopAtScore: number | undefined
    ): Effect.Effect<ordered.End | undefined, Optimizer.OptimizerError> =>
      Effect.gen(function*() {
        const scores = measurements.map(runs.scoreOf)
        const score = Evaluate.estimate(scores)
        const latest: Measured = {
          candidate: { index: trial.index, origin: trial.origin, seed: trial.seed, parameters, score },
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
        yield* emit({ _tag: "TrialEnd", trial, score })
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
            (trial, candidate, measurements) => select(trial, candidate, measurements, stopAtScore)
          )
          if (end === "finished") continue
          reason = end === "stopped" ? "stopAtScore" : "budget"
          return
        }
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
              yield* emit({ _tag: "TrialEnd", trial, score })
              return undefined
            })
        )
        return end === "finished" ? figures("test", results.at(-1)!, results[0]!) : undefined // one for each finalist
      })

    // -------------------------------------------------------------------------
    // The run
    // -------------------------------------------------------------------------

    yield* emit({ _tag: "Plan", trials: definition.trials, calls: planned * predictors.length })
    if (yield* budget.expect(2 * data.testset.length)) {
      yield* definition.body({
        module,
        given,
        seed,
        window,
        idle: budget.limited ? 0 : Math.max(0, window - data.selection.length),
        sources,
        purse: budget,
        evaluator,
        run,
        emit,
        trials
      })
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
