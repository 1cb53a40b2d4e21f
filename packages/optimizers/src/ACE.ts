/**
 * A playbook that grows: the program is run on training examples in batches, a
 * model says what each run teaches and which bullets of the playbook helped or
 * did harm, and a second one turns that into a few changes. The instructions stay
 * what they are; the playbook stands at their end.
 *
 * After Zhang et al., "Agentic Context Engineering" (arXiv 2510.04618). There the
 * last playbook is the result; here those of all steps are compared on the
 * selection examples, and the best is kept.
 *
 * The playbook is read back from the instructions: to go on learning, compile
 * the compiled module.
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
import * as epochs from "./internal/epochs.ts"
import * as fewShot from "./internal/fewShot.ts"
import * as instructions from "./internal/instructions.ts"
import * as race from "./internal/race.ts"
import * as reflection from "./internal/reflection.ts"
import { type Asked, type Run, scoreOf } from "./internal/runs.ts"
import * as search from "./internal/search.ts"
import type * as Optimizer from "./Optimizer.ts"
import * as Playbook from "./Playbook.ts"
import type * as Proposer from "./Proposer.ts"

// =============================================================================
// The modules
// =============================================================================

/**
 * What one run of the program teaches.
 *
 * @since 0.1.0
 * @category signatures
 */
export const Reflect = Signature.make({
  instructions: [
    "A program that has a language model answer works with a playbook of short bullets, each with its name in brackets. You " +
    "see one run of it: what was given, what was answered, and what is known about the result.",
    "Find out what decided about the result. If something went wrong, say what was assumed wrongly and what should have " +
    "been known. If bullets of the playbook bore on it, say of each whether following it was helpful or harmful here.",
    "Then state the lesson: one rule that helps with other inputs of this kind, with the exact names and values to use. " +
    "Leave it out if the run teaches nothing that the playbook does not say."
  ].join("\n"),
  input: {
    task: Schema.String.annotations({ description: "the steps of the program with what each gets and writes" }),
    playbook: Schema.String,
    run: Schema.String
  },
  output: {
    diagnosis: Schema.String.annotations({ description: "what decided about the result" }),
    lesson: Schema.optional(Schema.String.annotations({ description: "the rule to remember, in one sentence" })),
    tags: Schema.Array(Playbook.Tag).annotations({ description: "the bullets that bore on the result" })
  }
})

/**
 * Changes to a playbook, from what several runs have taught.
 *
 * @since 0.1.0
 * @category signatures
 */
export const Curate = Signature.make({
  instructions: [
    "You keep a playbook that a language model reads before it does a task: sections of short bullets, each with its name " +
    "in brackets and with how often it helped (+) and did harm (-). You see what the latest runs have taught.",
    "Work the lessons in with as few changes as it takes. Add what is new, under the heading it belongs to. Update a bullet " +
    "that is nearly right, so that it covers the lesson too. Remove what has turned out to be wrong. Never say the same " +
    "twice, and never change what no lesson bears on.",
    "A bullet is one sentence that can be followed without knowing the runs: a rule, a fact of the task, or how to avoid a " +
    "mistake."
  ].join("\n"),
  input: {
    task: Schema.String.annotations({ description: "the steps of the program with what each gets and writes" }),
    playbook: Schema.String,
    lessons: Schema.Array(Schema.String)
  },
  output: {
    operations: Schema.Array(Playbook.Operation).annotations({
      description: "ADD with section and text, UPDATE with id and text, REMOVE with id"
    })
  }
})

/**
 * What ACE asks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Modules {
  readonly reflect: Proposer.Writer<typeof Reflect>
  readonly curate: Proposer.Writer<typeof Curate>
}

/**
 * One prediction each.
 *
 * @since 0.1.0
 * @category modules
 */
export const modules: Modules = { reflect: Predict.make(Reflect), curate: Predict.make(Curate) }

// =============================================================================
// Running
// =============================================================================

/**
 * What `ACE` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never>
  extends Optimizer.Options<In, Labels, Out, E, R>, Optimizer.Prompted<R2>
{
  /**
   * How often the training set is gone through, 1 by default. From the second
   * time on it goes on from the best playbook so far.
   */
  readonly maxEpochs?: number | undefined
  /**
   * Training examples that are run and reflected on side by side before the
   * playbook is changed, 8 by default. Smaller batches learn in more steps and
   * take longer.
   */
  readonly batchSize?: number | undefined
  /** Bullets that a section may have, 25 by default. */
  readonly maxSectionSize?: number | undefined
  /** What the prompt model is asked, `modules` by default. */
  readonly modules?: Partial<Modules> | undefined
}

/**
 * The run as a stream of events. Each step is a `Proposal`, whose instructions
 * hold the playbook of that step.
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
  const maxEpochs = options.maxEpochs ?? 1
  const maxSectionSize = options.maxSectionSize ?? 25
  const batchSize = options.batchSize ?? 8
  const total = (options.valset ?? options.trainset).length
  const size = Math.max(1, Math.min(batchSize, options.trainset.length))
  const perEpoch = Math.ceil(options.trainset.length / size)
  const { curate, reflect } = { ...modules, ...options.modules }
  const own = (name: keyof Modules) => (options.modules?.[name] ?? modules[name]) === modules[name] ? "own" : "custom"
  return search.events({
    optimizer: "ACE",
    module,
    options,
    settings: { maxEpochs, batchSize, maxSectionSize, reflect: own("reflect"), curate: own("curate") },
    check: Effect.all([
      fewShot.count("maxEpochs", maxEpochs, 1),
      fewShot.count("batchSize", batchSize, 1),
      fewShot.count("maxSectionSize", maxSectionSize, 1)
    ], { discard: true }),
    trials: 1 + maxEpochs * perEpoch,
    attempts: 0,
    runs: (window) => total + maxEpochs * (perEpoch * size + race.cost(perEpoch, total, window)),
    prompts: maxEpochs * perEpoch * (size + 1),
    promptModel: search.promptModel(options),
    body: (run) =>
      Effect.gen(function*() {
        const predictors = module.predictors.map((predictor) => ({
          predictor,
          ...Playbook.detach(instructions.of(run.given, predictor))
        }))
        const task = predictors.map(({ instructions: told, predictor }) =>
          [predictor.path, instructions.fieldsOf(predictor), told].filter((text) => text !== "").join("\n")
        ).join("\n\n")
        const batches = epochs.batches({ count: run.trainset.length, size, seed: run.seed })
        const chosen = new Set(run.selection.map(({ id }) => id))

        const given = yield* run.enroll({ origin: "as given", parameters: run.given, runs: [] })
        // Examples that are learnt from too are run with a trace at once, or they would be paid twice.
        yield* run.measure(
          run.trainset.filter(({ id }) => chosen.has(id)).map((example) => ({ contender: given, example, trace: true }))
        )
        yield* run.settle([given])

        const playbooks = new Map([[given, predictors[0]?.playbook ?? Playbook.empty]])
        let leader = given
        for (let epoch = 0; epoch < maxEpochs; epoch++) {
          let current = leader
          const snapshots = new Set<search.Contender>()
          for (let step = 0; step < perEpoch; step++) {
            const place = `${epoch}.${step}`
            const playbook = playbooks.get(current)! // set when it was enrolled
            const examples = batches(epoch * perEpoch + step).map((index) => run.trainset[index]!) // its places
            const runs = yield* run.measure(examples.map((example) => ({ contender: current, example, trace: true })))
            // What went well teaches only which bullets are any good.
            const telling = runs.flatMap((one, index) => {
              const score = scoreOf(one)
              return score === undefined || score >= 1 && playbook.sections.length === 0
                ? []
                : [{ run: one, score, example: examples[index]! }] // one for each
            })
            const text = Playbook.format(playbook)
            const reflections = yield* Effect.forEach(telling, ({ example, run: one, score }, index) =>
              run.ask({
                place: `reflection ${place}.${index}`,
                purpose: "lesson",
                module: Module.withRollout(reflect, `${run.seed} ${place}.${index}`),
                input: { task, playbook: text, run: story(one, score, example.labels) },
                schema: Reflect.output
              }), { concurrency: run.side })
            const answers = reflections.flatMap(({ output }) => Option.toArray(output))
            const lessons = answers.flatMap(({ lesson = "" }) => lesson.trim() === "" ? [] : [lesson.trim()])
            const paid: Array<Asked<unknown>> = [...reflections]
            let operations: ReadonlyArray<Playbook.Operation> = []
            if (lessons.length > 0) {
              const curated = yield* run.ask({
                place: `curation ${place}`,
                purpose: "changes of the playbook",
                module: Module.withRollout(curate, `${run.seed} ${place}`),
                input: { task, playbook: text, lessons },
                schema: Curate.output
              })
              paid.push(curated)
              operations = Option.match(curated.output, { onNone: () => [], onSome: ({ operations }) => operations })
            }
            const tags = answers.flatMap(({ tags }) => tags)
            const revised = Playbook.revise(playbook, { operations, tags, maxSectionSize })
            // The model is told again only where there is something else to tell.
            if (wordsOf(revised) === wordsOf(playbook)) {
              playbooks.set(current, revised)
              yield* run.spend(paid)
              continue
            }
            current = yield* run.enroll({
              origin: "playbook",
              parameters: predictors.reduce(
                (parameters, { instructions: told, predictor }) =>
                  instructions.replaced(parameters, predictor, Playbook.attach(told, revised)),
                run.given
              ),
              runs: paid,
              parents: [current.index]
            })
            playbooks.set(current, revised)
            snapshots.add(current)
            // Where the end can come at any time, each is measured at once.
            if (run.side === 1) leader = yield* race.all(run, [current], leader)
          }
          if (run.side !== 1 && snapshots.size > 0) leader = yield* race.run(run, Array.from(snapshots), leader)
        }
      })
  })
}

// Without how often bullets helped.
const wordsOf = ({ sections }: Playbook.Playbook): string =>
  JSON.stringify(sections.map(({ bullets, name }) => [name, bullets.map(({ id, text }) => [id, text])]))

// One run in words.
const story = ({ scored }: Run, score: number, labels: unknown): string =>
  [
    ...(scored.trace ?? []).filter(({ listed }) => listed).flatMap(({ inputs, outputs, path }) => [
      path === "" ? "Given:" : `Given to ${path}:`,
      reflection.fieldsText(inputs),
      "Answered:",
      reflection.fieldsText(outputs)
    ]),
    ...(scored._tag === "Failed"
      ? [
        ...(scored.call === undefined ? [] : [
          "Given:",
          reflection.fieldsText(scored.call.inputs),
          ...(scored.call.answer === undefined ? [] : ["Answered:", scored.call.answer])
        ]),
        `Failed: ${scored.message}`
      ]
      : []),
    `Score: ${Number(score.toFixed(2))} of 1`,
    ...(scored._tag === "Scored" && scored.feedback !== undefined ? [`Feedback: ${scored.feedback}`] : []),
    ...(scored._tag === "Scored"
      ? Object.entries(scored.predictors ?? {}).map(([path, text]) => `Feedback on ${path}: ${text}`)
      : []),
    `Expected: ${JSON.stringify(labels) ?? "unknown"}`
  ].join("\n")

/**
 * The best playbook found, in the instructions of every predictor; or the module
 * as given.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ACE from "@effect-dspy/optimizers/ACE"
 * import * as Playbook from "@effect-dspy/optimizers/Playbook"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three", "four"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // One that does what it is told, and one that keeps the playbook.
 * const task = TestLanguageModel.layer((request) => {
 *   const told = String(request.messages[0]?.content).includes("capital")
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three|four/)?.[0] ?? ""
 *   return TestLanguageModel.fields({ loud: told ? word.toUpperCase() : word })
 * })
 * const keeper = TestLanguageModel.layer(TestLanguageModel.rules([
 *   TestLanguageModel.when(
 *     { inputs: { lessons: "capital" } },
 *     TestLanguageModel.fields({ operations: [{ op: "ADD", section: "Form", text: "Write in capital letters." }] })
 *   ),
 *   TestLanguageModel.when(
 *     { inputs: { run: "Score: 0" } },
 *     TestLanguageModel.fields({ diagnosis: "Not loud enough.", lesson: "Use capital letters.", tags: [] })
 *   ),
 *   TestLanguageModel.when(
 *     { inputs: { run: "Score: 1" } },
 *     TestLanguageModel.fields({ diagnosis: "Well done.", tags: [{ id: "b1", tag: "helpful" }] })
 *   )
 * ]))
 *
 * const program = ACE.compile(shout, {
 *   trainset: words,
 *   metric: Metric.equals("loud"),
 *   promptModel: keeper,
 *   batchSize: 2
 * })
 *
 * Effect.runPromise(Effect.provide(program, task)).then(({ baseline, parameters, score }) => {
 *   assert.deepStrictEqual([baseline.mean, score.mean], [0, 1])
 *   const { playbook } = Playbook.detach(parameters[""]?.instructions ?? "")
 *   assert.strictEqual(Playbook.format(playbook), "## Form\n[b1 +0 -0] Write in capital letters.")
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
