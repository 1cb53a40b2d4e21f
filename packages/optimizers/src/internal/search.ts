/**
 * The engine under all optimizers: scores through `Scoring`, each paid for once
 * and journaled, trials side by side and decided in order, events with the best
 * so far.
 */
import type { Example } from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Scoring from "@effect-dspy/core/Scoring"
import * as Signature from "@effect-dspy/core/Signature"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Journal, memoized } from "../Journal.ts"
import * as Optimizer from "../Optimizer.ts"
import { Failures } from "./failures.ts"
import * as flights from "./flights.ts"
import * as ordered from "./ordered.ts"
import { Sources } from "./sources.ts"
import * as statistics from "./statistics.ts"

/** One run of a program that was scored, or failed. */
export interface Run {
  readonly key: string
  readonly scored: Scoring.Scored
  readonly replayed: boolean
}

/** A candidate, and the runs it was made from. */
export interface Proposed {
  readonly parameters: Parameters.Parameters
  readonly runs: ReadonlyArray<Run>
}

export interface Plan {
  readonly origin: string
  readonly seed?: number | undefined
  readonly propose: Effect.Effect<Proposed, Optimizer.OptimizerError>
}

/** Any module that takes and returns what `M` does. */
export type Alike<M extends Module.Any, R> = Module.Module<Module.Input<M>, Module.Output<M>, unknown, R>

type Body<Event> = Event extends unknown ? Omit<Event, keyof Optimizer.Progress<unknown>> : never

/** What an optimizer does its work with. */
export interface Search<M extends Module.Any, R> {
  readonly module: Alike<M, R>
  readonly seed: number
  readonly window: number
  readonly sources: Sources
  /** The parameters of every predictor, with what is baked in where nothing is given. */
  readonly complete: (parameters: Parameters.Parameters) => Parameters.Parameters
  readonly evaluator: (name: string, module: Alike<M, R>) => Scoring.Evaluator
  readonly run: (
    evaluator: Scoring.Evaluator,
    task: Scoring.Task,
    candidate: string
  ) => Effect.Effect<Run, Optimizer.OptimizerError>
  readonly emit: (event: Body<Optimizer.OptimizerEvent<M>>) => Effect.Effect<void>
  /** The module as given. */
  readonly baseline: Plan
  /** Measures candidates on the selection examples; ends early when one reaches `stopAtScore`. */
  readonly trials: (
    plans: ReadonlyArray<Plan>,
    stopAtScore?: number
  ) => Effect.Effect<void, Optimizer.OptimizerError>
}

export interface Definition<M extends Module.Any, Labels, E, R, R2> {
  readonly optimizer: string
  readonly module: M
  readonly options: Optimizer.Options<M, Labels, E, R>
  readonly teacher?: Alike<M, R2> | undefined
  /** The optimizer's own options, which the journal is bound to. */
  readonly settings: Json.JsonRecord
  readonly check: Effect.Effect<void, Optimizer.InvalidOptions>
  readonly trials: number
  /** How many runs of the program the making of candidates takes at most. */
  readonly attempts: number
  readonly body: (
    search: Search<M, Module.Requirements<M> | R2>
  ) => Effect.Effect<void, Optimizer.OptimizerError>
}

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

export const events = <M extends Module.Any, Labels, E, R, R2 = never>(
  definition: Definition<M, Labels, E, R, R2>
): Stream.Stream<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError, Module.Requirements<M> | R | R2> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const mailbox = yield* Mailbox.make<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError>(capacity)
    yield* search(definition, mailbox).pipe(Effect.scoped, Mailbox.into(mailbox), Effect.forkScoped)
    return Mailbox.toStream(mailbox)
  }))

// A candidate that has been measured, by position of the selection examples.
interface Measured {
  readonly candidate: Optimizer.Candidate
  readonly hash: string
  readonly scores: ReadonlyArray<number | undefined>
}

const search = <M extends Module.Any, Labels, E, R, R2>(
  definition: Definition<M, Labels, E, R, R2>,
  mailbox: Mailbox.Mailbox<Optimizer.OptimizerEvent<M>, Optimizer.OptimizerError>
): Effect.Effect<void, Optimizer.OptimizerError, Module.Requirements<M> | R | R2 | Scope.Scope> =>
  Effect.gen(function*() {
    const { module, optimizer, options } = definition
    const begun = yield* Clock.currentTimeMillis
    const context = yield* Effect.context<Module.Requirements<M> | R | R2>()
    const seed = options.seed ?? 0
    const predictors = module.predictors
    if (predictors.length === 0) return yield* new Optimizer.NothingToTune()

    const trainset = yield* dataset("trainset", options.trainset)
    const selection = options.valset === undefined ? trainset : yield* dataset("valset", options.valset)
    const testset = options.testset === undefined ? [] : yield* dataset("testset", options.testset)
    const examples = yield* distinct([...trainset, ...selection, ...testset])

    yield* definition.check
    const window = yield* limit(options.concurrency)
    const model = Option.getOrUndefined(
      Option.map(yield* Effect.serviceOption(LanguageModel.LanguageModel), ({ id }) => id)
    )
    const complete = (parameters: Parameters.Parameters): Parameters.Parameters =>
      Object.fromEntries(
        predictors.map((
          predictor
        ) => [predictor.path, parameters[predictor.path] ?? predictor.parameters ?? { demos: [] }])
      )
    const baseline = complete({})
    const sources = yield* Sources.make(predictors, examples)

    // -------------------------------------------------------------------------
    // What this is a run of
    // -------------------------------------------------------------------------

    const program = {
      predictors: Object.fromEntries(predictors.map(({ path, signature }) => [path, signatureHash(signature)])),
      parameters: Parameters.hash(baseline),
      ...(definition.teacher === undefined
        ? undefined
        : { teacher: Parameters.hash(Module.parameters(definition.teacher)) })
    }
    const data = {
      trainset: fingerprint(trainset),
      ...(options.valset === undefined ? undefined : { valset: fingerprint(selection) }),
      ...(options.testset === undefined ? undefined : { testset: fingerprint(testset) })
    }
    const journal = yield* Journal
    yield* journal.begin({
      format: 1,
      optimizer,
      seed,
      model: model ?? null,
      program,
      data,
      options: definition.settings
    })
    const provenance: Optimizer.Provenance = {
      optimizer,
      seed,
      model,
      program: Json.hash(program),
      data: Json.hash(data),
      options: Json.hash(definition.settings)
    }

    // -------------------------------------------------------------------------
    // Scores
    // -------------------------------------------------------------------------

    const permits = yield* Effect.makeSemaphore(window)
    const runs = yield* flights.make<Run, Optimizer.OptimizerError>()
    const failures = new Failures(options.maxFailureRate ?? 0.5)
    let done = 0
    let replayed = 0

    const evaluator: Search<M, Module.Requirements<M> | R2>["evaluator"] = (name, module) => {
      const open = Scoring.evaluator({ id: `${optimizer}/${name}`, module, examples, metric: options.metric })
      return { id: open.id, run: (task) => Effect.provide(open.run(task), context) }
    }

    const run = (
      evaluator: Scoring.Evaluator,
      task: Scoring.Task,
      candidate: string
    ): Effect.Effect<Run, Optimizer.OptimizerError> => {
      const key = `${evaluator.id} ${candidate} ${task.example}${task.rollout === undefined ? "" : ` ${task.rollout}`}`
      return runs.join(
        key,
        memoized({
          key,
          schema: Scoring.Scored,
          effect: permits.withPermits(1)(Effect.zipRight(failures.check, Scoring.score(evaluator, task))),
          provisional: isUnknown
        }).pipe(Effect.flatMap(({ replayed: old, value }) => {
          done++
          if (old) replayed++
          const run = { key, scored: value, replayed: old }
          return Effect.as(failures.see(run), run)
        }))
      )
    }

    // An M is the module of its own parts, which the compiler does not see through the generic.
    const alike = module as unknown as Alike<M, Module.Requirements<M>>
    const programEvaluator = evaluator("program", alike)

    // -------------------------------------------------------------------------
    // What was spent, and the best so far
    // -------------------------------------------------------------------------

    const counted = new Set<string>()
    let spend: Optimizer.Spend = { calls: 0, usage: {} }
    const count = (runs: Iterable<Run>): void => {
      for (const { key, scored } of runs) {
        if (counted.has(key)) continue
        counted.add(key)
        spend = plus(spend, scored)
      }
    }

    const measured: Array<Measured> = []
    let champion: Measured | undefined
    let standing: Result | undefined
    let best: Option.Option<Optimizer.Compiled<M>> = Option.none()

    type Result = Pick<Optimizer.Compiled<M>, "measuredOn" | "score" | "baseline" | "difference">

    const compiled = (winner: Measured, result: Result): Optimizer.Compiled<M> => ({
      // The paths are those of the module itself.
      module: Either.getOrThrow(Module.withParameters(module, winner.candidate.parameters)),
      parameters: winner.candidate.parameters,
      ...result,
      candidates: measured.map(({ candidate }) => candidate).sort((a, b) =>
        b.score.mean - a.score.mean || a.index - b.index
      ),
      provenance,
      spend
    })

    const compared = (
      measuredOn: Result["measuredOn"],
      winner: ReadonlyArray<number | undefined>,
      baseline: ReadonlyArray<number | undefined>
    ): Result => ({
      measuredOn,
      score: statistics.estimate(winner),
      baseline: statistics.estimate(baseline),
      difference: statistics.estimate(statistics.differences(winner, baseline))
    })

    const attempts = definition.attempts
    const planned = definition.trials * selection.length + attempts + 2 * testset.length
    const emit: Search<M, never>["emit"] = (event) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        mailbox.offer({
          ...event,
          best,
          spend,
          runs: { done, replayed, planned },
          elapsed: now - begun
        } as Optimizer.OptimizerEvent<M>)) // `Body` is an event without just these fields

    // -------------------------------------------------------------------------
    // Trials
    // -------------------------------------------------------------------------

    interface Candidate extends Proposed {
      readonly hash: string
    }

    const measure = (
      plans: ReadonlyArray<Plan>,
      on: ReadonlyArray<Example<Module.Input<M>, Labels>>,
      trial: (index: number) => Optimizer.Trial,
      ended: (
        trial: Optimizer.Trial,
        candidate: Candidate,
        scores: ReadonlyArray<number | undefined>
      ) => Effect.Effect<boolean, Optimizer.OptimizerError>
    ): Effect.Effect<ordered.End, Optimizer.OptimizerError> =>
      Effect.scoped(Effect.gen(function*() {
        const failed = yield* Deferred.make<never, Optimizer.OptimizerError>()
        const candidates = yield* Effect.forEach(plans, ({ propose }) =>
          propose.pipe(
            Effect.map(({ parameters, runs }): Candidate => ({ parameters, runs, hash: Parameters.hash(parameters) })),
            Effect.tapErrorCause((cause) => Deferred.failCause(failed, cause)),
            Effect.forkScoped
          ))
        let scores: Array<number | undefined> = []
        let total = 0
        let known = 0
        const place = (index: number) => ({ plan: Math.floor(index / on.length), position: index % on.length })
        const measuring = ordered.run({
          count: plans.length * on.length,
          window,
          afford: Effect.succeed(true),
          task: (index) => {
            const { plan, position } = place(index)
            const example = on[position]! // within, by the count
            return Effect.flatMap(Fiber.join(candidates[plan]!), (candidate) =>
              Effect.map(
                run(programEvaluator, {
                  candidate: sources.without(candidate.parameters, example.id),
                  example: example.id,
                  trace: false
                }, candidate.hash),
                (run) => ({ candidate, run })
              ))
          },
          commit: ({ candidate, run }, index) =>
            Effect.gen(function*() {
              const { plan, position } = place(index)
              const current = trial(plan)
              if (position === 0) {
                scores = []
                total = 0
                known = 0
                count(candidate.runs)
                if (current.on === "selection") {
                  yield* journal.decide(`proposal ${current.index}`, {
                    origin: current.origin,
                    candidate: candidate.hash
                  })
                  yield* emit({ _tag: "Proposal", trial: current, parameters: candidate.parameters })
                }
                yield* emit({ _tag: "TrialStart", trial: current })
              }
              count([run])
              const score = scoreOf(run.scored)
              scores.push(score)
              if (score !== undefined) {
                total += score
                known++
              }
              yield* emit({
                _tag: "Scored",
                trial: current,
                done: position + 1,
                total: on.length,
                mean: known === 0 ? 0 : total / known
              })
              return position < on.length - 1 || (yield* ended(current, candidate, scores))
            })
        })
        // A candidate that cannot be made ends the run now, not when its turn comes.
        return yield* Effect.raceFirst(measuring, Deferred.await(failed))
      }))

    let reason: Optimizer.Done<M>["reason"] = "completed"
    const trials: Search<M, never>["trials"] = (plans, stopAtScore) => {
      const first = measured.length
      const trial = (index: number): Optimizer.Trial => ({
        index: first + index,
        total: definition.trials,
        origin: plans[index]!.origin, // within, by the count
        seed: plans[index]!.seed,
        on: "selection"
      })
      return Effect.map(
        measure(plans, selection, trial, (trial, { hash, parameters }, scores) =>
          Effect.gen(function*() {
            const score = statistics.estimate(scores)
            const candidate = { index: trial.index, origin: trial.origin, seed: trial.seed, parameters, score }
            const latest = { candidate, hash, scores }
            measured.push(latest)
            const better = champion === undefined || statistics.beats(scores, champion.scores)
            const winner = better || champion === undefined ? latest : champion
            if (better || standing === undefined) {
              champion = winner
              standing = compared("selection", scores, measured[0]!.scores) // the latest is there
            }
            yield* journal.decide(`trial ${trial.index}`, { mean: score.mean, n: score.n, best: winner.hash })
            best = Option.some(compiled(winner, standing))
            yield* emit({ _tag: "TrialEnd", trial, score })
            if (better) yield* emit({ _tag: "NewBest", trial, score })
            if (stopAtScore === undefined || score.n === 0 || score.mean < stopAtScore) return true
            reason = "stopAtScore"
            return false
          })),
        (end) => {
          if (end === "refused") reason = "budget"
        }
      )
    }

    yield* emit({ _tag: "Plan", trials: definition.trials, calls: planned * predictors.length })
    yield* definition.body({
      module: alike,
      seed,
      window,
      sources,
      complete,
      evaluator,
      run,
      emit,
      baseline: { origin: "as given", propose: Effect.succeed({ parameters: baseline, runs: [] }) },
      trials
    })

    // -------------------------------------------------------------------------
    // The end
    // -------------------------------------------------------------------------

    const winner = champion as Measured | undefined // assigned in `trials`, which the compiler does not follow
    if (winner === undefined) {
      return yield* new Optimizer.BudgetTooSmall({
        runs: selection.length,
        calls: selection.length * predictors.length
      })
    }
    if (testset.length > 0) {
      const finalists = winner === measured[0] ? [winner] : [measured[0]!, winner]
      const results: Array<ReadonlyArray<number | undefined>> = []
      yield* measure(
        finalists.map(({ candidate }) => ({
          origin: candidate.origin,
          seed: candidate.seed,
          propose: Effect.succeed({ parameters: candidate.parameters, runs: [] })
        })),
        testset,
        (index) => ({
          index,
          total: finalists.length,
          origin: finalists[index]!.candidate.origin,
          seed: finalists[index]!.candidate.seed,
          on: "test"
        }),
        (trial, _, scores) => {
          results.push(scores)
          return Effect.as(emit({ _tag: "TrialEnd", trial, score: statistics.estimate(scores) }), true)
        }
      )
      best = Option.some(compiled(winner, compared("test", results.at(-1)!, results[0]!))) // of all finalists
    } else {
      best = Option.map(best, (compiled) => ({ ...compiled, spend }))
    }
    const unneeded = Array.from(runs.landed.values()).filter(({ key }) => !counted.has(key)).sort((a, b) =>
      a.key < b.key ? -1 : 1
    )
    yield* emit({
      _tag: "Done",
      reason,
      discarded: unneeded.reduce((sum, { scored }) => plus(sum, scored), { calls: 0, usage: {} } as Optimizer.Spend)
    })
  })

const plus = (spend: Optimizer.Spend, cost: Optimizer.Spend): Optimizer.Spend => ({
  calls: spend.calls + cost.calls,
  usage: LanguageModel.addUsage(spend.usage, cost.usage)
})

const isUnknown = (scored: Scoring.Scored): boolean => scored._tag === "Failed" && scored.transient

/** The score of a run; nothing where the model failed, 0 where the candidate did. */
export const scoreOf = (scored: Scoring.Scored): number | undefined =>
  scored._tag === "Scored" ? scored.score : scored.transient ? undefined : 0

const limit = (concurrency: number | undefined): Effect.Effect<number, Optimizer.InvalidOptions> =>
  concurrency === undefined
    ? Module.window
    : concurrency >= 1
    ? Effect.succeed(concurrency)
    : Effect.fail(new Optimizer.InvalidOptions({ option: "concurrency", description: "must be at least 1" }))

const dataset = <A>(
  name: Optimizer.EmptyDataset["dataset"],
  examples: ReadonlyArray<A>
): Effect.Effect<ReadonlyArray<A>, Optimizer.EmptyDataset> =>
  examples.length === 0 ? new Optimizer.EmptyDataset({ dataset: name }) : Effect.succeed(examples)

const contentHash = ({ inputs, labels }: Example<unknown, unknown>): string => Json.hash([inputs, labels])

const fingerprint = (examples: ReadonlyArray<Example<unknown, unknown>>): string =>
  `${examples.length} examples, ${
    Json.hash(examples.map((example) => [example.id, contentHash(example)])).slice(0, 16)
  }`

const distinct = <In, Labels>(
  examples: ReadonlyArray<Example<In, Labels>>
): Effect.Effect<ReadonlyArray<Example<In, Labels>>, Optimizer.AmbiguousExample> =>
  Effect.suspend(() => {
    const byId = new Map<string, { readonly example: Example<In, Labels>; readonly hash: string }>()
    for (const example of examples) {
      const known = byId.get(example.id)
      if (known?.example === example) continue
      const hash = contentHash(example)
      if (known !== undefined && known.hash !== hash) return new Optimizer.AmbiguousExample({ id: example.id })
      byId.set(example.id, { example, hash })
    }
    return Effect.succeed(Array.from(byId.values(), ({ example }) => example))
  })

const signatureHash = (signature: Signature.Any): string => {
  const { inputs, outputs } = Signature.fields(signature)
  return Json.hash({
    instructions: signature.instructions,
    fields: [...inputs, ...outputs].map(({ constraints, description, kind, name, optional, type }) => ({
      constraints,
      description,
      kind,
      name,
      optional,
      type
    }))
  }).slice(0, 16)
}
