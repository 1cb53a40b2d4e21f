/**
 * Learns from its own ups and downs: runs the program several times on a few
 * examples, looks where the results differ most, and turns what the better runs
 * did into demonstrations, or into rules that a model writes after comparing a
 * better run with a worse one.
 *
 * After DSPy's SIMBA ("stochastic introspective mini-batch ascent"). By default
 * it differs where DSPy's wastes runs: the module as given takes part, programs
 * of which little is known are not taken for good or bad ones, a change that
 * changes nothing is not measured, and finalists are raced instead of all being
 * measured on everything.
 *
 * @since 0.1.0
 */
import type { Example } from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import * as fewShot from "./internal/fewShot.ts"
import * as instructions from "./internal/instructions.ts"
import * as race from "./internal/race.ts"
import * as rng from "./internal/rng.ts"
import * as runs from "./internal/runs.ts"
import * as search from "./internal/search.ts"
import * as simba from "./internal/simba.ts"
import type * as Optimizer from "./Optimizer.ts"

/**
 * What `SIMBA` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never>
  extends Optimizer.Options<In, Labels, Out, E, R>, Optimizer.Prompted<R2>
{
  /** On how many training examples each step works, 32 by default; all of them if there are fewer. */
  readonly bsize?: number | undefined
  /**
   * How often each of them is tried, and how many of the best programs are
   * built on; 6 by default. A step makes one candidate more.
   */
  readonly numCandidates?: number | undefined
  /** How many steps, 8 by default. */
  readonly maxSteps?: number | undefined
  /**
   * About how many demonstrations a predictor has at most, 4 by default: the
   * more there are, the more likely old ones make room. With 0 only rules are
   * written.
   */
  readonly maxDemos?: number | undefined
  /** How many characters of an input a demonstration shows, 100,000 by default. */
  readonly demoInputFieldMaxlen?: number | undefined
  /**
   * How strongly better programs are preferred for runs; 0.2 by default, where a
   * program 20 points better is preferred e times.
   */
  readonly temperatureForSampling?: number | undefined
  /** The same for being built on; 0.2 by default. */
  readonly temperatureForCandidates?: number | undefined
  /** `racing` (the default) or `classical`, which works as DSPy does. */
  readonly schedule?: "racing" | "classical" | undefined
}

// -----------------------------------------------------------------------------
// Rules
// -----------------------------------------------------------------------------

const Written = Schema.Struct({ module_advice: Schema.Record({ key: Schema.String, value: Schema.String }) })

const adviser = Predict.make(Signature.make({
  instructions:
    "A program of one or more modules was run twice on the same input, once with a better and once with a worse result. Compare the two runs step by step and find what made the difference. Then write, for each module that should act differently, advice that leads to the better result on inputs like this one: concrete, naming what to look for in the input and what to do then, and true for more inputs than this one. Leave out modules that need no advice.",
  input: {
    program: Schema.String.annotations({ description: "the modules, what they are told, and their fields" }),
    program_inputs: Schema.String,
    labels: Schema.String.annotations({ description: "what is known of the right result" }),
    better_run: Schema.String,
    better_result: Schema.String,
    worse_run: Schema.String,
    worse_result: Schema.String
  },
  output: {
    discussion: Schema.String.annotations({ description: "what made the difference" }),
    module_advice: Written.fields.module_advice.annotations({ description: "advice by the name of the module" })
  }
}))

const nothing = "(there is no such run)"

const toldOf = (trajectory: simba.Trajectory | undefined): { readonly run: string; readonly result: string } => {
  if (trajectory === undefined) return { run: nothing, result: nothing }
  const { run: { scored }, score } = trajectory
  return {
    run:
      (scored.trace ?? []).map(({ inputs, outputs, path }) =>
        `${nameOf(path)}: ${JSON.stringify(inputs)} -> ${JSON.stringify(outputs)}`
      ).join("\n") || "(no module answered)",
    result: [
      `score ${score}`,
      ...(scored._tag === "Failed" ? [scored.message] : scored.feedback === undefined ? [] : [scored.feedback])
    ].join("\n")
  }
}

// A program that is a single predictor has no name for it.
const nameOf = (path: string): string => path === "" ? "program" : path

// -----------------------------------------------------------------------------
// Running
// -----------------------------------------------------------------------------

/**
 * The run as a stream of events.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Stream.Stream<
  Optimizer.OptimizerEvent<M>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | LanguageModel.LanguageModel | R | R2
> => {
  const settings = {
    bsize: options.bsize ?? 32,
    numCandidates: options.numCandidates ?? 6,
    maxSteps: options.maxSteps ?? 8,
    maxDemos: options.maxDemos ?? 4,
    demoInputFieldMaxlen: options.demoInputFieldMaxlen ?? 100_000,
    temperatureForSampling: options.temperatureForSampling ?? 0.2,
    temperatureForCandidates: options.temperatureForCandidates ?? 0.2,
    schedule: options.schedule ?? "racing"
  }
  const { maxDemos, maxSteps, numCandidates } = settings
  const classical = settings.schedule === "classical"
  const size = Math.min(settings.bsize, options.trainset.length)
  const total = (options.valset ?? options.trainset).length
  const made = numCandidates + 1
  const finalists = Math.min(made, maxSteps + 1)
  return search.events({
    optimizer: "SIMBA",
    module,
    options,
    settings,
    check: Effect.all([
      fewShot.count("bsize", settings.bsize, 1),
      fewShot.count("numCandidates", numCandidates, 1),
      fewShot.count("maxSteps", maxSteps, 1),
      fewShot.count("maxDemos", maxDemos, 0)
    ], { discard: true }),
    trials: 1 + maxSteps * made,
    attempts: 0,
    runs: (window) =>
      maxSteps * size * (numCandidates + made) + total +
      (classical ? finalists * total : race.cost(finalists, total, window)),
    prompts: maxSteps * made,
    promptModel: search.promptModel(options),
    body: (run) =>
      Effect.gen(function*() {
        const random = (...place: ReadonlyArray<string | number>) => rng.at(run.seed, ...place)
        const given = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
        if (run.side === 1) yield* run.settle([given])
        yield* run.ahead(run.selection.map((example) => ({ contender: given, example })))

        const pool: Array<simba.Member> = [{ contender: given, scores: [] }]
        const winners: Array<search.Contender> = [given]
        const member = (contender: search.Contender): simba.Member => {
          const known = pool.find((one) => one.contender === contender)
          if (known !== undefined) return known
          const fresh: simba.Member = { contender, scores: [] }
          pool.push(fresh)
          return fresh
        }
        const program = (contender: search.Contender): string =>
          module.predictors.map((predictor) =>
            `Module ${nameOf(predictor.path)}, told: ${instructions.of(contender.parameters, predictor)}\n${
              instructions.fieldsOf(predictor)
            }`
          ).join("\n\n")

        let order: ReadonlyArray<Example<unknown, unknown>> = []
        let position = Number.POSITIVE_INFINITY
        for (let step = 0; step < maxSteps; step++) {
          if (position + size > order.length) {
            order = random("order", step).shuffle(run.trainset)
            position = 0
          }
          const batch = order.slice(position, position + size)
          position += size

          // Runs of good programs on every example of the batch, each a sample of its own.
          const before = simba.averages(pool, classical)
          const top = simba.best(before, numCandidates)
          const samples = Array.from({ length: numCandidates }, (_, slot) =>
            batch.map((example, index) => ({
              member: pool[
                simba.pick(top, before, settings.temperatureForSampling, random("sample", step, slot, index))
              ]!, // a place in the pool
              example,
              rollout: `${run.seed}, step ${step}, sample ${slot}`
            }))).flat()
          const met = yield* run.measure(
            samples.map(({ example, member: { contender }, rollout }) => ({ contender, example, rollout, trace: true }))
          )
          // It was measured meanwhile, so that there is a best program from now on.
          yield* run.settle([given])
          const scores = met.map(runs.scoreOf)
          const known = scores.filter((score) => score !== undefined)
          if (known.length === 0) continue
          if (!classical) {
            for (const [index, { member }] of samples.entries()) {
              const score = scores[index]
              if (score !== undefined) member.scores.push(score)
            }
          }
          const [low, high] = [simba.percentile(known, 0.1), simba.percentile(known, 0.9)]
          const buckets = batch.flatMap((example, index) =>
            simba.bucketOf(example, met.filter((_, place) => place % size === index))
          ).sort(simba.inOrder)

          // What is made of each bucket is decided first; rules are then written side by side.
          const now = simba.averages(pool, classical)
          const among = simba.best(now, numCandidates)
          const plans: Array<Plan> = []
          for (const [index, bucket] of buckets.entries()) {
            if (plans.length >= made) break
            const chance = random("candidate", step, index)
            const source = pool[simba.pick(among, now, settings.temperatureForCandidates, chance)]!.contender // a place in it
            const parameters = simba.thinned(source.parameters, maxDemos, chance)
            const canShow = bucket.better.score > low && maxDemos > 0
            const canAdvise = bucket.better.score > low && bucket.worse.score < high
            const first = maxDemos === 0 || chance.below(2) === 1 ? "rule" : "demo"
            const [preferred, other] = first === "rule" ? [canAdvise, canShow] : [canShow, canAdvise]
            if (preferred) plans.push({ bucket, source, parameters, strategy: first })
            else if (!classical && other) {
              plans.push({ bucket, source, parameters, strategy: first === "rule" ? "demo" : "rule" })
            } else if (classical) plans.push({ bucket, source, parameters, strategy: "declined" })
          }
          const candidates = yield* Effect.forEach(
            plans,
            (plan, index) => {
              const { bucket, parameters, strategy } = plan
              if (strategy === "declined") return Effect.succeed({ plan, parameters, paid: [] })
              if (strategy === "demo") {
                const demos = simba.demosOf(bucket.better, settings.demoInputFieldMaxlen)
                for (const demo of demos.values()) run.sources.add(demo, bucket.example.id)
                return Effect.succeed({ plan, parameters: withDemos(parameters, demos), paid: [] })
              }
              const contrast = bucket.better.score > bucket.worse.score
              // Of two equal runs only the one that says something is shown.
              const better = toldOf(contrast || bucket.better.score > high ? bucket.better : undefined)
              const worse = toldOf(contrast || bucket.better.score <= high ? bucket.worse : undefined)
              return Effect.map(
                run.ask({
                  place: `step ${step}, rule ${index}`,
                  purpose: "rules",
                  module: adviser.pipe(Module.withRollout(`${run.seed}, step ${step}, rule ${index}`)),
                  input: {
                    program: program({ ...plan.source, parameters }),
                    program_inputs: JSON.stringify(bucket.example.inputs),
                    labels: JSON.stringify(bucket.example.labels),
                    better_run: better.run,
                    better_result: better.result,
                    worse_run: worse.run,
                    worse_result: worse.result
                  },
                  schema: Written
                }),
                (asked) => ({
                  plan,
                  parameters: Option.match(asked.output, {
                    onNone: () => undefined,
                    onSome: ({ module_advice }) => advised(module, parameters, module_advice)
                  }),
                  paid: [asked]
                })
              )
            },
            { concurrency: run.side }
          )
          const fresh: Array<search.Contender> = []
          for (const { paid, parameters, plan } of candidates) {
            // A change that changes nothing has been measured.
            if (parameters === undefined || (!classical && Parameters.hash(parameters) === plan.source.hash)) {
              yield* run.spend(paid)
              continue
            }
            fresh.push(
              yield* run.enroll({
                origin: plan.strategy,
                parameters,
                runs: paid,
                parents: [plan.source.index]
              })
            )
          }
          if (fresh.length === 0) continue

          const cells = fresh.flatMap((contender) => batch.map((example) => ({ contender, example })))
          const measured = yield* run.measure(cells)
          const means = fresh.map((contender, index) => {
            const own = measured.slice(index * size, (index + 1) * size).map(runs.scoreOf)
              .filter((score) => score !== undefined)
            member(contender).scores.push(...own)
            return own.length === 0 ? 0 : own.reduce((sum, score) => sum + score, 0) / own.length
          })
          winners.push(fresh[means.indexOf(Math.max(...means))]!) // not empty
        }

        const chosen = simba.finalists(winners, made).filter((contender) => contender !== given)
        yield* (classical ? race.all : race.run)(run, chosen, given)
      })
  })
}

interface Plan {
  readonly bucket: simba.Bucket
  readonly source: search.Contender
  readonly parameters: Parameters.Parameters
  readonly strategy: "demo" | "rule" | "declined"
}

const withDemos = (
  parameters: Parameters.Parameters,
  demos: ReadonlyMap<string, Parameters.Demo>
): Parameters.Parameters =>
  Object.fromEntries(
    Object.entries(parameters).map(([path, entry]) => {
      const demo = demos.get(path)
      return [path, demo === undefined ? entry : { ...entry, demos: [...entry.demos, demo] }]
    })
  )

const advised = (
  module: Module.Any,
  parameters: Parameters.Parameters,
  advice: { readonly [name: string]: string }
): Parameters.Parameters =>
  module.predictors.reduce((parameters, predictor) => {
    const name = nameOf(predictor.path)
    const text = Object.hasOwn(advice, name) ? advice[name]?.trim() : undefined
    const told = instructions.of(parameters, predictor)
    // What it is told already it need not be told again.
    return text === undefined || text === "" || told.includes(text)
      ? parameters
      : instructions.replaced(parameters, predictor, `${told}\n\n${text}`)
  }, parameters)

/**
 * The best program found, or the module as given.
 *
 * With the defaults it runs the program at most `maxSteps * bsize *
 * (2 * numCandidates + 1)` times on training examples, beside measuring the
 * finalists, and asks the prompt model for about half of `maxSteps *
 * (numCandidates + 1)` rules.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as SIMBA from "@effect-dspy/optimizers/SIMBA"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three", "four"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // A model that understands once it has been shown, and sometimes by itself.
 * const model = TestLanguageModel.layer((request) => {
 *   if (String(request.messages[0]?.content).includes("module_advice")) {
 *     return TestLanguageModel.fields({ discussion: "One shouted.", module_advice: { program: "Shout." } })
 *   }
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three|four/)?.[0] ?? ""
 *   const inspired = request.settings?.rollout?.endsWith("sample 1") === true
 *   return TestLanguageModel.fields({ loud: inspired || request.messages.length > 2 ? word.toUpperCase() : word })
 * })
 *
 * const program = SIMBA.compile(shout, {
 *   trainset: words,
 *   metric: (example, output) => Effect.succeed({ value: output.loud === example.labels.loud ? 1 : 0 }),
 *   bsize: 4,
 *   maxSteps: 2
 * })
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ baseline, score }) =>
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 * )
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const compile = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Effect.Effect<
  Optimizer.Compiled<M>,
  Optimizer.OptimizerError,
  Module.Requirements<M> | LanguageModel.LanguageModel | R | R2
> => search.compile(events(module, options))
