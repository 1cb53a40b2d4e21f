/**
 * Writes instructions, measures them, and writes better ones in view of the
 * scores: coordinate ascent over the predictors of a program.
 *
 * After DSPy's COPRO ("collaborative prompt optimization"), whose ancestor is
 * Zhou et al., "Large Language Models Are Human-Level Prompt Engineers" (arXiv
 * 2211.01910) with the history of scores of Yang et al., "Large Language Models
 * as Optimizers" (arXiv 2309.03409). Demonstrations stay what they are.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import * as fewShot from "./internal/fewShot.ts"
import * as instructions from "./internal/instructions.ts"
import * as race from "./internal/race.ts"
import { mean } from "./internal/scores.ts"
import * as search from "./internal/search.ts"
import type * as Optimizer from "./Optimizer.ts"
import * as Proposer from "./Proposer.ts"

/**
 * What `COPRO` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never>
  extends Optimizer.Options<In, Labels, Out, E, R>, Optimizer.Prompted<R2>
{
  /**
   * How many instructions are tried for each predictor in each round, at least
   * 2; 10 by default. In the first round one of them is the original.
   */
  readonly breadth?: number | undefined
  /** How many rounds; 3 by default. */
  readonly depth?: number | undefined
  /** How freely the prompt model writes; 1 by default, the most that all providers take. */
  readonly initTemperature?: number | undefined
  /**
   * `racing` (the default) measures instructions on a growing part of the
   * selection examples and lets go of those that will not win: two thirds of the
   * runs, in up to three turns. With a `concurrency` that has room for all of
   * them at once it takes all of them in one. `classical` measures all of them
   * on all examples, and with several predictors measures earlier ones again
   * beside what the others have become, as DSPy does.
   */
  readonly schedule?: "racing" | "classical" | undefined
}

const Written = Schema.Struct({ proposed_instruction: Schema.String })

const writer = Predict.make(Signature.make({
  instructions:
    "A language model does the task below, told by an instruction. Several instructions were tried; each is listed with the share of examples it got right, the best one last. Find out what the better ones say that the others do not, and write a new instruction that will score higher than all of them. Say everything the model has to know to do the task: it sees the instruction and the fields, and nothing else.",
  input: {
    task: Schema.String.annotations({ description: "the fields the model gets and those it has to write" }),
    attempts: Schema.String.annotations({ description: "instructions that were tried, in increasing order of score" })
  },
  output: {
    proposed_instruction: Schema.String.annotations({ description: "the new instruction alone, ready to be used" })
  }
}))

// What was tried for one predictor.
interface Attempt {
  readonly text: string
  score: number
}

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
  const breadth = options.breadth ?? 10
  const depth = options.depth ?? 3
  const initTemperature = options.initTemperature ?? 1
  const schedule = options.schedule ?? "racing"
  const parts = module.predictors.length
  const total = (options.valset ?? options.trainset).length
  const again = schedule === "classical" && parts > 1
  // In round d there are `breadth` new ones for each predictor, but for the original in the first, and maybe the old.
  const rounds = Array.from({ length: depth }, (_, round) => again ? breadth * (round + 1) : breadth)
  const tried = Math.max(0, rounds.reduce((sum, count) => sum + count, 0) - 1)
  return search.events({
    optimizer: "COPRO",
    module,
    options,
    settings: { breadth, depth, initTemperature, schedule },
    check: Effect.all([fewShot.count("breadth", breadth, 2), fewShot.count("depth", depth, 1)], { discard: true }),
    trials: 1 + parts * tried,
    attempts: 0,
    runs: (window) =>
      total +
      parts * (schedule === "classical"
          ? tried * total
          : rounds.reduce((sum, count) => sum + race.cost(count, total, window), 0)),
    prompts: parts * (breadth * depth - 1),
    promptModel: search.promptModel(options),
    body: (run) =>
      Effect.gen(function*() {
        let leader = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
        yield* run.settle([leader])
        const attempts = new Map(module.predictors.map((predictor): [string, Array<Attempt>] => [
          predictor.path,
          [{ text: instructions.of(run.given, predictor), score: mean(run.scores(leader)) }]
        ]))
        const tell = ({ path }: Module.Predictor): string =>
          attempts.get(path)!.toSorted((a, b) => a.score - b.score).slice(-breadth).map(({ score, text }) =>
            // each has a list
            `Instruction:\n${text}\nScore: ${(100 * score).toFixed(1)} of 100`
          ).join("\n\n")
        for (let round = 0; round < depth; round++) {
          const written = yield* Effect.forEach(
            module.predictors.flatMap((predictor) =>
              Array.from({ length: round === 0 ? breadth - 1 : breadth }, (_, slot) => ({ predictor, slot }))
            ),
            ({ predictor, slot }) => {
              const place = `round ${round}, ${predictor.path} ${slot}`
              return run.ask({
                place,
                purpose: `instructions for ${predictor.path}`,
                module: writer.pipe(
                  Module.withSettings({ temperature: initTemperature }),
                  Module.withRollout(`${run.seed}, ${place}`)
                ),
                input: { task: instructions.fieldsOf(predictor), attempts: tell(predictor) },
                schema: Written
              }).pipe(Effect.map((asked) => ({ predictor, asked })))
            },
            { concurrency: run.side }
          )
          for (const predictor of module.predictors) {
            const own = written.filter((one) => one.predictor === predictor).map(({ asked }) => asked)
            const base = leader
            const known = attempts.get(predictor.path)! // each has a list
            const candidates = [
              ...(again ? known.map(({ text }) => ({ text, runs: [] })) : []),
              ...own.map((asked) => ({
                text: Option.match(asked.output, {
                  onNone: () => "",
                  onSome: ({ proposed_instruction }) => Proposer.clean(proposed_instruction)
                }),
                runs: [asked]
              }))
            ]
            const field = new Map<search.Contender, string>()
            for (const { runs, text } of candidates) {
              // Nothing was written, or nothing new.
              if (text === "") {
                yield* run.spend(runs)
                continue
              }
              const contender = yield* run.enroll({
                origin: `instructions of ${predictor.path}`,
                parameters: instructions.replaced(base.parameters, predictor, text),
                runs,
                parents: [base.index]
              })
              field.set(contender, text)
            }
            leader = yield* (schedule === "racing" ? race.run : race.all)(run, Array.from(field.keys()), leader)
            for (const [contender, text] of field) {
              const scores = run.scores(contender)
              // Of which nothing is known there is nothing to tell.
              if (scores.every((score) => score === undefined)) continue
              const score = mean(scores)
              const before = known.find((attempt) => attempt.text === text)
              if (before === undefined) known.push({ text, score })
              else before.score = Math.max(before.score, score)
            }
          }
        }
      })
  })
}

/**
 * The best instructions found, or the module as given.
 *
 * It costs at most `breadth * depth` answers of the prompt model for each
 * predictor. With the classical schedule and one predictor the program is run
 * `breadth * depth` times on each selection example.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as COPRO from "@effect-dspy/optimizers/COPRO"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three", "four"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // A model that does what it is told, and can be asked how to tell it.
 * const model = TestLanguageModel.layer((request) => {
 *   const [system, ...turns] = request.messages.map(({ content }) => String(content))
 *   if (system?.includes("proposed_instruction")) {
 *     return TestLanguageModel.fields({ proposed_instruction: "Write the word in capital letters." })
 *   }
 *   const word = turns.at(-1)?.match(/one|two|three|four/)?.[0] ?? ""
 *   return TestLanguageModel.fields({ loud: system?.includes("capital") ? word.toUpperCase() : word })
 * })
 *
 * const program = COPRO.compile(shout, {
 *   trainset: words,
 *   metric: (example, output) => Effect.succeed({ value: output.loud === example.labels.loud ? 1 : 0 }),
 *   breadth: 3,
 *   depth: 1
 * })
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ baseline, parameters, score }) => {
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 *   assert.strictEqual(Object.values(parameters)[0]?.instructions, "Write the word in capital letters.")
 * })
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
