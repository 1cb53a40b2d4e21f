/**
 * Demonstrations: taken from labels, or recorded from runs of a teacher that
 * the metric accepts.
 */
import type { Example } from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import type * as Scoring from "@effect-dspy/core/Scoring"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Optimizer from "../Optimizer.ts"
import * as ordered from "./ordered.ts"
import * as rng from "./rng.ts"
import { Exhausted, type Run, unlessExhausted } from "./runs.ts"
import type { Plan, Proposed, Search } from "./search.ts"

type AnyExample = Example<unknown, unknown>

/** What the optimizers that bootstrap take. */
export interface BootstrapOptions<In, Out, R> {
  readonly teacher?: Module.Module<In, Out, unknown, R> | undefined
  readonly maxBootstrappedDemos?: number | undefined
  readonly maxLabeledDemos?: number | undefined
  readonly maxRounds?: number | undefined
  readonly metricThreshold?: number | undefined
}

export interface Bootstrapping<In, Out, R> {
  readonly teacher: Module.Module<In, Out, unknown, R> | undefined
  readonly maxBootstrappedDemos: number
  readonly maxLabeledDemos: number
  readonly maxRounds: number
  readonly metricThreshold: number | undefined
}

export const defaults = <In, Out, R>(options: BootstrapOptions<In, Out, R>): Bootstrapping<In, Out, R> => ({
  teacher: options.teacher,
  maxBootstrappedDemos: options.maxBootstrappedDemos ?? 4,
  maxLabeledDemos: options.maxLabeledDemos ?? 16,
  maxRounds: options.maxRounds ?? 1,
  metricThreshold: options.metricThreshold
})

/** As the journal keeps them. */
export const settings = <In, Out, R>(options: Bootstrapping<In, Out, R>) => ({
  maxBootstrappedDemos: options.maxBootstrappedDemos,
  maxLabeledDemos: options.maxLabeledDemos,
  maxRounds: options.maxRounds,
  metricThreshold: options.metricThreshold ?? null
})

export const count = (option: string, value: number, least: number): Effect.Effect<void, Optimizer.InvalidOptions> =>
  Number.isInteger(value) && value >= least
    ? Effect.void
    : new Optimizer.InvalidOptions({ option, description: `must be a whole number of at least ${least}, not ${value}` })

/** Checks the numbers, and that the teacher is a program of the same parts. */
export const check = <In, Out, R>(
  module: Module.Any,
  options: Bootstrapping<In, Out, R>
): Effect.Effect<void, Optimizer.InvalidOptions> =>
  Effect.gen(function*() {
    yield* count("maxBootstrappedDemos", options.maxBootstrappedDemos, 0)
    yield* count("maxLabeledDemos", options.maxLabeledDemos, 0)
    yield* count("maxRounds", options.maxRounds, 1)
    if (options.teacher === undefined) return
    const taught = new Map(module.predictors.map(({ path, signature }) => [path, signature]))
    const teaching = new Map(options.teacher.predictors.map(({ path, signature }) => [path, signature]))
    const wrong = Array.from(new Set([...taught.keys(), ...teaching.keys()])).filter((path) => {
      const [own, other] = [taught.get(path), teaching.get(path)]
      return own === undefined || other === undefined || !sameFields(own, other)
    })
    if (wrong.length === 0) return
    return yield* new Optimizer.InvalidOptions({
      option: "teacher",
      description: `must have the predictors of the module; these differ: ${
        wrong.map((path) => `"${path}"`).join(", ")
      }`
    })
  })

// Instructions may differ: what is said does not change what is shown.
const sameFields = (a: Signature.Any, b: Signature.Any): boolean => {
  const shape = (signature: Signature.Any) => {
    const { inputs, outputs } = Signature.fields(signature)
    return Json.canonical([...inputs, ...outputs].map(({ kind, name, optional, type }) => [kind, name, optional, type]))
  }
  return shape(a) === shape(b)
}

// -----------------------------------------------------------------------------
// Labels
// -----------------------------------------------------------------------------

const withDemos = (
  parameters: Parameters.Parameters,
  demos: (path: string) => ReadonlyArray<Parameters.Demo>
): Parameters.Parameters =>
  Object.fromEntries(Object.entries(parameters).map(([path, entry]) => [path, { ...entry, demos: demos(path) }]))

const labeledDemos = <In, Out, R>(
  search: Search<In, Out, R>,
  examples: ReadonlyArray<AnyExample>,
  path: string
): ReadonlyArray<Parameters.Demo> => examples.flatMap((example) => search.sources.labeled(example, path) ?? [])

/** The parameters with up to `k` labelled demonstrations for each predictor, each with a sample of its own. */
export const labeled = <In, Out, R>(
  search: Search<In, Out, R>,
  options: {
    readonly parameters: Parameters.Parameters
    readonly trainset: ReadonlyArray<AnyExample>
    readonly k: number
    readonly sample: boolean
    readonly place: string
  }
): Parameters.Parameters =>
  withDemos(options.parameters, (path) => {
    const demos = labeledDemos(search, options.trainset, path)
    return options.sample
      ? rng.at(search.seed, options.place, path).sample(demos, options.k)
      : demos.slice(0, options.k)
  })

/** The candidate with labelled demonstrations. */
export const labeledPlan = <In, Out, R>(
  search: Search<In, Out, R>,
  options: {
    readonly trainset: ReadonlyArray<AnyExample>
    readonly k: number
    readonly sample: boolean
  }
): Plan => ({
  origin: "labeled",
  propose: Effect.sync(() => ({
    runs: [],
    parameters: labeled(search, { ...options, parameters: search.given, place: "labeled" })
  }))
})

/** The parameters without demonstrations. */
export const bare = (parameters: Parameters.Parameters): Parameters.Parameters => withDemos(parameters, () => [])

// -----------------------------------------------------------------------------
// Bootstrapping
// -----------------------------------------------------------------------------

/** What the teacher is shown. */
interface Shown {
  readonly parameters: Parameters.Parameters
  readonly hash: string
}

interface Attempted {
  readonly runs: ReadonlyArray<Run>
  readonly demos: ReadonlyMap<string, Parameters.Demo> | undefined
}

/**
 * Makes candidates. An example that several of them need is run once, unless the teacher is shown labels drawn at a
 * place of its own.
 */
export interface Bootstrapper {
  readonly propose: (options: {
    readonly order: ReadonlyArray<AnyExample>
    readonly size: number
    readonly place: string
    readonly teacher?: string | undefined
  }) => Effect.Effect<Proposed, Optimizer.OptimizerError | Exhausted>
}

/** With the `classical` schedule the teacher makes one run after the other, as in DSPy. */
export const bootstrapper = <In, Out, R>(
  search: Search<In, Out, R>,
  trainset: ReadonlyArray<AnyExample>,
  options: Bootstrapping<In, Out, R>,
  schedule: "parallel" | "classical" = "parallel"
): Bootstrapper => {
  const teacher = options.teacher ?? search.module
  const own: Parameters.Parameters = Object.fromEntries(
    teacher.predictors.map(({ parameters, path }) => [path, parameters ?? { demos: [] }])
  )
  // A teacher that has demonstrations already was compiled before and knows better.
  const compiled = Object.values(own).some(({ demos }) => demos.length > 0)
  const shownAt = (place: string): Shown => {
    const parameters = compiled
      ? own
      : labeled(search, { parameters: own, trainset, k: options.maxLabeledDemos, sample: true, place })
    return { parameters, hash: Parameters.hash(parameters) }
  }
  const shared = shownAt("teacher")
  const sober = search.evaluator("teacher", teacher)
  // Asked again, a model gives another answer only if it may choose.
  const warm = search.evaluator("teacher, warm", Module.withSettings(teacher, { temperature: 1 }))

  const passes = (score: number) => options.metricThreshold === undefined ? score > 0 : score >= options.metricThreshold

  const demosOf = (scored: Scoring.Scored, example: string): ReadonlyMap<string, Parameters.Demo> | undefined => {
    if (scored._tag === "Failed" || !passes(scored.score)) return undefined
    const calls = new Map<string, Array<Parameters.Demo>>()
    for (const call of scored.trace ?? []) {
      if (!call.listed) continue
      const demo = Parameters.augmented({ ...call.inputs, ...call.outputs })
      const known = calls.get(call.path)
      if (known === undefined) calls.set(call.path, [demo])
      else known.push(demo)
    }
    const chosen = new Map<string, Parameters.Demo>()
    for (const [path, demos] of calls) {
      const demo = demos[rng.at("call", ...demos.map(({ values }) => Json.hash(values))).below(demos.length)]! // below its length
      search.sources.add(demo, example)
      chosen.set(path, demo)
    }
    return chosen
  }

  const attempt = (
    { hash, parameters }: Shown,
    example: AnyExample
  ): Effect.Effect<Attempted, Optimizer.OptimizerError | Exhausted> =>
    Effect.gen(function*() {
      const runs: Array<Run> = []
      for (let round = 0; round < options.maxRounds; round++) {
        const run = yield* search.run(round === 0 ? sober : warm, {
          candidate: search.sources.without(parameters, example.id),
          example: example.id,
          ...(round === 0 ? undefined : { rollout: `round ${round}` }),
          trace: true
        }, hash)
        runs.push(run)
        const demos = demosOf(run.scored, example.id)
        if (demos !== undefined) return { runs, demos }
      }
      return { runs, demos: undefined }
    })

  return {
    propose: ({ order, place, size, teacher: drawn }) =>
      Effect.gen(function*() {
        const shown = drawn === undefined ? shared : shownAt(drawn)
        const runs: Array<Run> = []
        const passed: Array<ReadonlyMap<string, Parameters.Demo>> = []
        const used = new Set<string>()
        let successes = 0
        if (size > 0) {
          const end = yield* ordered.run({
            count: order.length,
            window: search.window,
            // No more than could still be needed if all succeed, so that none is in vain; beyond that only what would
            // otherwise be idle. Later examples may succeed first, but more successes than are wanted are never needed.
            wanted: (running) =>
              schedule === "classical" ? running === 0 : successes < size && successes + running < size + search.idle,
            task: (index) =>
              search.purse.admit(
                attempt(shown, order[index]!).pipe( // within, by the count
                  Effect.tap(({ demos }) => {
                    if (demos !== undefined) successes++
                  }),
                  unlessExhausted
                ),
                options.maxRounds,
                Option.match({ onNone: () => [], onSome: ({ runs }) => runs })
              ),
            commit: (attempted, index) =>
              Effect.gen(function*() {
                if (Option.isNone(attempted) || !(yield* search.purse.commit(attempted.value.runs))) return "refused"
                const example = order[index]!
                const { demos } = attempted.value
                for (const [round, run] of attempted.value.runs.entries()) {
                  runs.push(run)
                  const last = round === attempted.value.runs.length - 1
                  yield* search.emit({
                    _tag: "Attempt",
                    example: example.id,
                    round,
                    outcome: last && demos !== undefined
                      ? "passed"
                      : run.scored._tag === "Failed"
                      ? "failed"
                      : "rejected"
                  })
                }
                if (demos === undefined) return undefined
                passed.push(demos)
                used.add(example.id)
                return passed.length < size ? undefined : "stopped"
              })
          })
          if (end === "refused") return yield* new Exhausted()
        }
        const rest = order.filter((example) => !used.has(example.id))
        return {
          runs,
          parameters: withDemos(search.given, (path) => {
            const augmented = passed.flatMap((demos) => demos.get(path) ?? [])
            const raw = Math.max(0, options.maxLabeledDemos - augmented.length)
            return [
              ...augmented,
              ...rng.at(search.seed, place, path).sample(labeledDemos(search, rest, path), raw)
            ]
          })
        }
      })
  }
}
