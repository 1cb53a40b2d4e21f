/**
 * `Proposer` writes instructions for the predictors of a program from what can
 * be known about it: what the data is like, what the program is for, worked
 * examples, and the instructions it has. Every part can be left out.
 *
 * It asks four modules, which are programs like any other: they can be tuned,
 * replaced, or given a model of their own.
 *
 * @see Opsahl-Ong et al., "Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs" (arXiv 2406.11695), section 3, on grounding
 *
 * @since 0.1.0
 */
import type { Example } from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as rng from "./internal/rng.ts"

// =============================================================================
// The modules
// =============================================================================

/**
 * Notes on a sample of the data.
 *
 * @since 0.1.0
 * @category signatures
 */
export const Observe = Signature.make({
  instructions: [
    "You see examples of a task: what is given, and what is expected for it.",
    "Note what somebody should know who has to do this task: what the examples are about, which of the given things " +
    "decide about what is expected and by which rules, the form the expected values have, and what is easily done wrong.",
    "Write short notes, one point each. A note must be borne out by the examples; do not guess."
  ].join("\n"),
  input: { examples: Schema.String.annotations({ description: "the examples, one after the other" }) },
  output: { notes: Schema.Array(Schema.String).annotations({ description: "one point each, the most useful first" }) }
})

/**
 * Notes on several samples, made one text.
 *
 * @since 0.1.0
 * @category signatures
 */
export const Summarize = Signature.make({
  instructions: [
    "Several people have taken notes on different samples of the same data. Make one summary of them.",
    "Keep every specific rule that decides about what is expected, and what several of them say. Leave out what others " +
    "contradict, and what would be true of any data.",
    "Write a few plain sentences."
  ].join("\n"),
  input: { notes: Schema.Array(Schema.String).annotations({ description: "the notes of all of them" }) },
  output: { summary: Schema.String }
})

/**
 * What a program is for.
 *
 * @since 0.1.0
 * @category signatures
 */
export const Describe = Signature.make({
  instructions: [
    "You see how a program is built that has a language model answer in one step or several. A step is given some " +
    "fields and works out others.",
    "Say in a few sentences what the program as a whole is for, and what each step contributes to it."
  ].join("\n"),
  input: {
    structure: Schema.String.annotations({ description: "the steps of the program in their order" }),
    examples: Schema.optional(
      Schema.String.annotations({ description: "what the program is given, and what is expected of it" })
    )
  },
  output: { description: Schema.String }
})

/**
 * Instructions for one step.
 *
 * @since 0.1.0
 * @category signatures
 */
export const Write = Signature.make({
  instructions: [
    "Write better instructions for one step of a program that has a language model answer.",
    "At that step the model will see your instructions, the names and types of its fields, and the values of those it is " +
    "given. It will see nothing of what you see here. So put into the instructions what it has to know: the task, the " +
    "rules by which the answer follows from what is given, and the form of the answer.",
    "Call the fields by their names. Do not repeat single examples. Give the instructions alone, without a heading and " +
    "without quotation marks."
  ].join("\n"),
  input: {
    step: Schema.String.annotations({ description: "the step to write for: its fields, `given -> worked out`" }),
    current: Schema.String.annotations({ description: "the instructions that the step has now" }),
    structure: Schema.optional(Schema.String.annotations({ description: "all steps of the program" })),
    purpose: Schema.optional(Schema.String.annotations({ description: "what the program is for" })),
    data: Schema.optional(Schema.String.annotations({ description: "what is known about the data" })),
    examples: Schema.optional(Schema.String.annotations({ description: "the step done right" })),
    tip: Schema.optional(Schema.String.annotations({ description: "a wish for the way you write" }))
  },
  output: { instructions: Schema.String.annotations({ description: "the instructions for the step" }) }
})

/**
 * @since 0.1.0
 * @category models
 */
export type Writer<S extends Signature.Any> = Module.Module<
  Signature.Input<S>,
  Signature.Output<S>,
  unknown,
  LanguageModel.LanguageModel
>

/**
 * What the proposer asks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Modules {
  readonly observe: Writer<typeof Observe>
  readonly summarize: Writer<typeof Summarize>
  readonly describe: Writer<typeof Describe>
  readonly write: Writer<typeof Write>
}

/**
 * One prediction each.
 *
 * @since 0.1.0
 * @category modules
 */
export const modules: Modules = {
  observe: Predict.make(Observe),
  summarize: Predict.make(Summarize),
  describe: Predict.make(Describe),
  write: Predict.make(Write)
}

/**
 * What a proposal may be asked to be like. One of them, or none, is drawn for
 * each.
 *
 * @since 0.1.0
 * @category modules
 */
export const tips: { readonly [name: string]: string | undefined } = {
  none: undefined,
  creative: "Take an approach that others would not think of.",
  simple: "Be brief: a few clear sentences that nobody can misread.",
  detailed: "Be thorough: spell out every rule and every case that is known.",
  stakes: "Put the model in a situation in which much depends on a right answer.",
  role: "Give the model a part to play that suits the task, such as that of an expert in its field."
}

// =============================================================================
// Asking
// =============================================================================

/**
 * How a question gets to a model: `place` tells it from all others of the run,
 * `purpose` says it in words. `None` if there was no answer, or one that cannot
 * be read; the proposer does without it then.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ask<out E = never, out R = never> {
  <I, A, AI>(question: {
    readonly place: string
    readonly purpose: string
    readonly module: Module.Module<I, A, unknown, LanguageModel.LanguageModel>
    readonly input: I
    readonly schema: Schema.Schema<A, AI>
  }): Effect.Effect<Option.Option<A>, E, R>
}

/**
 * Asks the model in the context. A question that comes to nothing is a warning
 * in the log.
 *
 * @since 0.1.0
 * @category asking
 */
export const direct: Ask<never, LanguageModel.LanguageModel> = ({ input, module, place, purpose }) =>
  module(input).pipe(
    Effect.map(Option.some),
    Effect.catchAll((error) =>
      Effect.as(
        Effect.logWarning(`${purpose} (${place}): ${error instanceof Error ? error.message : String(error)}`),
        Option.none()
      )
    )
  )

/**
 * What `Proposer` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Whether the data is summarized; on by default. */
  readonly dataAwareProposer?: boolean | undefined
  /** Whether the program is described; on by default. */
  readonly programAwareProposer?: boolean | undefined
  /** Whether worked examples are shown; on by default. */
  readonly fewshotAwareProposer?: boolean | undefined
  /** Whether a tip is drawn for each proposal; on by default. */
  readonly tipAwareProposer?: boolean | undefined
  /** What the program is for, in place of a description by the model. */
  readonly programDescription?: string | undefined
  /** How many examples notes are taken on at once; 10 by default. At most ten such samples are seen. */
  readonly viewDataBatchSize?: number | undefined
  /** Of the writing of instructions; 1 by default. */
  readonly initTemperature?: number | undefined
  /** What is asked, `modules` by default. */
  readonly modules?: Partial<Modules> | undefined
  /** Of samples, tips and rollouts; 0 by default. */
  readonly seed?: number | undefined
  /** How many questions are under way at once; unbounded by default. */
  readonly concurrency?: number | "unbounded" | undefined
}

// =============================================================================
// Grounds
// =============================================================================

/**
 * What is known about data and program.
 *
 * @since 0.1.0
 * @category models
 */
export interface Grounds {
  readonly data: Option.Option<string>
  readonly purpose: Option.Option<string>
}

const samples = 10

const batchesOf = <A>(examples: ReadonlyArray<A>, options: Options): ReadonlyArray<ReadonlyArray<A>> => {
  const size = options.viewDataBatchSize ?? 10
  const seen = rng.at(options.seed ?? 0, "proposer", "data").sample(examples, samples * size)
  return Array.from(
    { length: Math.ceil(seen.length / size) },
    (_, batch) => seen.slice(batch * size, (batch + 1) * size)
  )
}

/**
 * Looks at the data and at the program, both at once: notes are taken on
 * samples side by side, then summarized. A sample whose notes fail is left out.
 *
 * @since 0.1.0
 * @category asking
 */
export const ground = <E, R>(
  module: Module.Any,
  trainset: ReadonlyArray<Example<unknown, unknown>>,
  ask: Ask<E, R>,
  options: Options = {}
): Effect.Effect<Grounds, E, R> =>
  Effect.all({
    data: options.dataAwareProposer === false
      ? Effect.succeedNone
      : summary(batchesOf(trainset, options), ask, options),
    purpose: options.programAwareProposer === false
      ? Effect.succeedNone
      : options.programDescription !== undefined
      ? Effect.succeedSome(options.programDescription)
      : description(module, options.dataAwareProposer === false ? [] : trainset.slice(0, 3), ask, options)
  }, { concurrency: options.concurrency ?? "unbounded" })

const summary = <E, R>(
  batches: ReadonlyArray<ReadonlyArray<Example<unknown, unknown>>>,
  ask: Ask<E, R>,
  options: Options
): Effect.Effect<Option.Option<string>, E, R> =>
  Effect.gen(function*() {
    const { observe, summarize } = { ...modules, ...options.modules }
    const found = yield* Effect.forEach(batches, (examples, batch) =>
      ask({
        place: `observe ${batch}`,
        purpose: "notes on the data",
        module: observe,
        input: { examples: examplesText(examples) },
        schema: Observe.output
      }), { concurrency: options.concurrency ?? "unbounded" })
    const lists = found.flatMap(Option.toArray).map(({ notes }) => notes)
    const notes = lists.flat()
    // What one has noted needs no reconciling.
    if (lists.length < 2) return notes.length === 0 ? Option.none() : Option.some(listed(notes))
    const summary = yield* ask({
      place: "summarize",
      purpose: "summary of the data",
      module: summarize,
      input: { notes },
      schema: Summarize.output
    })
    return Option.map(summary, ({ summary }) => clean(summary))
  })

const description = <E, R>(
  module: Module.Any,
  examples: ReadonlyArray<Example<unknown, unknown>>,
  ask: Ask<E, R>,
  options: Options
): Effect.Effect<Option.Option<string>, E, R> => {
  const { describe } = { ...modules, ...options.modules }
  return Effect.map(
    ask({
      place: "describe",
      purpose: "description of the program",
      module: describe,
      input: {
        structure: structure(module),
        ...(examples.length === 0 ? undefined : { examples: examplesText(examples) })
      },
      schema: Describe.output
    }),
    Option.map(({ description }) => clean(description))
  )
}

// =============================================================================
// Instructions
// =============================================================================

/**
 * `candidates` instructions for each predictor, by its path. The first are those
 * it has, which cost nothing; the others are written side by side. What comes to
 * nothing, or repeats what is there, is left out, so that there may be fewer.
 *
 * `demos` are the demonstrations to show for a predictor and the number of the
 * candidate, which starts with 1.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Proposer from "@effect-dspy/optimizers/Proposer"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const trainset = ["one", "two"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * const model = TestLanguageModel.layer(TestLanguageModel.rules([
 *   TestLanguageModel.when(
 *     { inputs: { data: "All capital letters." } },
 *     TestLanguageModel.fields({ instructions: "Instructions: \"Write `word` in capital letters.\"" })
 *   ),
 *   TestLanguageModel.when({ inputs: { structure: "loud" } }, TestLanguageModel.fields({ description: "It shouts." })),
 *   TestLanguageModel.when({ inputs: { examples: "TWO" } }, TestLanguageModel.fields({ notes: ["All capital letters."] }))
 * ]))
 *
 * const program = Effect.gen(function*() {
 *   const grounds = yield* Proposer.ground(shout, trainset, Proposer.direct)
 *   return yield* Proposer.instructions(shout, { grounds, candidates: 2, demos: () => [] }, Proposer.direct)
 * })
 *
 * Effect.runPromise(Effect.provide(program, model)).then((proposals) =>
 *   assert.deepStrictEqual(proposals, {
 *     "": ["From `word`, work out `loud`.", "Write `word` in capital letters."]
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category asking
 */
export const instructions = <E, R>(
  module: Module.Any,
  proposal: {
    readonly grounds: Grounds
    readonly candidates: number
    readonly demos: (path: string, candidate: number) => ReadonlyArray<Parameters.Demo>
  },
  ask: Ask<E, R>,
  options: Options = {}
): Effect.Effect<{ readonly [path: string]: ReadonlyArray<string> }, E, R> => {
  const { concurrency = "unbounded", seed = 0 } = options
  const { write } = { ...modules, ...options.modules }
  const warm = Module.withSettings(write, { temperature: options.initTemperature ?? 1 })
  const steps = options.programAwareProposer === false ? undefined : structure(module)
  const data = Option.getOrUndefined(proposal.grounds.data)
  const purpose = Option.getOrUndefined(proposal.grounds.purpose)
  const one = ({ parameters, path, signature }: Module.Predictor, candidate: number) => {
    const place = `write ${path} ${candidate}`
    const demos = options.fewshotAwareProposer === false ? [] : proposal.demos(path, candidate)
    const names = Object.keys(tips)
    const tip = options.tipAwareProposer === false
      ? undefined
      : tips[names[rng.at(seed, "proposer", "tip", path, candidate).below(names.length)]!] // below their number
    return ask({
      place,
      purpose: path === "" ? "instructions" : `instructions for ${path}`,
      // Another rollout, or a cache might give the same text twice.
      module: Module.withRollout(warm, `${seed} ${place}`),
      input: {
        step: step(path, signature),
        current: parameters?.instructions ?? signature.instructions,
        ...(steps === undefined || module.predictors.length === 1 ? undefined : { structure: steps }),
        ...(purpose === undefined ? undefined : { purpose }),
        ...(data === undefined ? undefined : { data }),
        ...(demos.length === 0 ? undefined : { examples: demos.map(({ values }) => fieldsText(values)).join("\n\n") }),
        ...(tip === undefined ? undefined : { tip })
      },
      schema: Write.output
    })
  }
  const wanted = module.predictors.flatMap((predictor) =>
    Array.from({ length: Math.max(0, proposal.candidates - 1) }, (_, index) => ({ predictor, candidate: index + 1 }))
  )
  return Effect.map(
    Effect.forEach(wanted, ({ candidate, predictor }) => one(predictor, candidate), { concurrency }),
    (written) =>
      Object.fromEntries(module.predictors.map((predictor) => {
        const { parameters, path, signature } = predictor
        const texts = new Set([parameters?.instructions ?? signature.instructions])
        for (const [index, answer] of written.entries()) {
          if (wanted[index]!.predictor !== predictor || Option.isNone(answer)) continue // one for each that was wanted
          const text = clean(answer.value.instructions)
          if (text !== "") texts.add(text)
        }
        return [path, Array.from(texts)]
      }))
  )
}

/**
 * How many answers of the model it takes at most to look at the data and the
 * program and to write so many candidates for each predictor.
 *
 * @since 0.1.0
 * @category accessors
 */
export const calls = (
  module: Module.Any,
  trainset: ReadonlyArray<Example<unknown, unknown>>,
  candidates: number,
  options: Options = {}
): number => {
  const batches = options.dataAwareProposer === false ? 0 : batchesOf(trainset, options).length
  const described = options.programAwareProposer !== false && options.programDescription === undefined
  return batches + (batches > 1 ? 1 : 0) + (described ? 1 : 0) + Math.max(0, candidates - 1) * module.predictors.length
}

// =============================================================================
// Texts
// =============================================================================

/**
 * The steps of a program as a text: for each predictor its path, its fields,
 * and its instructions.
 *
 * @since 0.1.0
 * @category texts
 */
export const structure = (module: Module.Any): string =>
  module.predictors.map(({ parameters, path, signature }, index) =>
    [
      `${index + 1}. ${step(path, signature)}`,
      `   Instructions: ${(parameters?.instructions ?? signature.instructions).replaceAll("\n", "\n   ")}`
    ].join("\n")
  ).join("\n")

const step = (path: string, signature: Signature.Any): string => {
  const { inputs, outputs } = Signature.fields(signature)
  const details = [...inputs, ...outputs].flatMap(({ constraints, description, name }) => {
    const said = [description, constraints].filter((text) => text !== undefined).join("; ")
    return said === "" ? [] : [`   ${name}: ${said}`]
  })
  return [`${path === "" ? "" : `${path}: `}${Signature.format(signature)}`, ...details].join("\n")
}

const examplesText = (examples: ReadonlyArray<Example<unknown, unknown>>): string =>
  examples.map(({ inputs, labels }, index) => {
    const expected = fieldsText(labels)
    return `Example ${index + 1}\n${fieldsText(inputs)}${expected === "" ? "" : `\nExpected:\n${expected}`}`
  }).join("\n\n")

const fieldsText = (record: unknown): string =>
  typeof record === "object" && record !== null
    ? Object.entries(record).map(([name, value]) => `${name}: ${valueText(value)}`).join("\n")
    : valueText(record)

// A long document says what it is like by its beginning.
const longest = 2000

const valueText = (value: unknown): string => {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? String(value)
  return text.length > longest ? `${text.slice(0, longest)} …` : text
}

const listed = (notes: ReadonlyArray<string>): string => notes.map((note) => `- ${note}`).join("\n")

const fence = /^(?:[^\n`]{0,80}:\s*\n+)?```[^\n`]*\n([\s\S]*?)\n?```$/
const label =
  /^[*_#\s]*(?:(?:here (?:are|is)|the|my|your|a|an|proposed|new|improved|revised|better|final|updated)\s+)*(?:instructions?|prompt)(?:\s+for [^\n:]{1,60})?[*_]*\s*:[*_]*\s+/i
const quotes: ReadonlyArray<readonly [open: string, close: string]> = [["\"", "\""], ["'", "'"], ["“", "”"], ["«", "»"]]

/**
 * A text that a model gave, without what it tends to put around: a code fence,
 * a label such as `Instructions:`, quotation marks.
 *
 * @since 0.1.0
 * @category texts
 */
export const clean = (text: string): string => {
  const trimmed = text.trim()
  const bare = unquoted((fence.exec(trimmed)?.[1] ?? trimmed).replace(label, "").trim())
  return bare === trimmed ? bare : clean(bare)
}

const unquoted = (text: string): string => {
  for (const [open, close] of quotes) {
    const inner = text.slice(open.length, -close.length)
    // Quotation marks inside may be the partners of those outside.
    if (text.length > 1 && text.startsWith(open) && text.endsWith(close) && !inner.includes(close)) return inner
  }
  return text
}
