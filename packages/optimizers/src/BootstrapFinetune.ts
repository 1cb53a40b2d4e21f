/**
 * Makes data for fine-tuning: a teacher solves the training examples, and of
 * every run that the metric accepts, each call of a predictor becomes a
 * conversation that ends with its answer.
 *
 * After DSPy's BootstrapFinetune. What a model is shown to be tuned on is exactly
 * what the program will send to one without native tools or reasoning: an agent's
 * rounds are text, as with `toolCalls: "text"`. Calls are told apart by the path
 * of their predictor, so that loops and branches are no problem.
 *
 * @since 0.1.0
 */
import type * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Scoring from "@effect-dspy/core/Scoring"
import type * as Trace from "@effect-dspy/core/Trace"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as fewShot from "./internal/fewShot.ts"
import * as identity from "./internal/identity.ts"
import * as ordered from "./internal/ordered.ts"
import * as purse from "./internal/purse.ts"
import * as rng from "./internal/rng.ts"
import * as runs from "./internal/runs.ts"
import { limit } from "./internal/search.ts"
import { Journal } from "./Journal.ts"
import * as Optimizer from "./Optimizer.ts"

// =============================================================================
// Data
// =============================================================================

const TextPart = Schema.Struct({ type: Schema.Literal("text"), text: Schema.String })

const ImagePart = Schema.Struct({
  type: Schema.Literal("image_url"),
  image_url: Schema.Struct({ url: Schema.String, detail: Schema.optional(Schema.Literal("low", "high", "auto")) })
})

const Said = Schema.Union(Schema.String, Schema.NonEmptyArray(TextPart))

const ToolCall = Schema.Struct({
  id: Schema.String,
  type: Schema.Literal("function"),
  function: Schema.Struct({ name: Schema.String, arguments: Schema.String })
})

const Message = Schema.Union(
  Schema.Struct({ role: Schema.Literal("system"), content: Said }),
  Schema.Struct({
    role: Schema.Literal("user"),
    content: Schema.Union(Schema.String, Schema.NonEmptyArray(Schema.Union(TextPart, ImagePart)))
  }),
  // Before the one without calls, which would read this one, too, and leave them out.
  Schema.Struct({
    role: Schema.Literal("assistant"),
    content: Schema.NullOr(Said),
    tool_calls: Schema.NonEmptyArray(ToolCall)
  }),
  Schema.Struct({ role: Schema.Literal("assistant"), content: Said }),
  Schema.Struct({ role: Schema.Literal("tool"), content: Said, tool_call_id: Schema.String })
)

/**
 * One conversation to learn from, as fine-tuning services read it: the last of
 * `messages` is the answer to be learnt. Texts are texts, and parts where there
 * are images, which only users show; `tools` are those that were offered.
 *
 * @since 0.1.0
 * @category models
 */
export const Chat = Schema.Struct({
  messages: Schema.NonEmptyArray(Message),
  tools: Schema.optional(Schema.NonEmptyArray(Schema.Struct({
    type: Schema.Literal("function"),
    function: Schema.Struct({
      name: Schema.String,
      description: Schema.optional(Schema.String),
      parameters: Json.JsonRecord
    })
  })))
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Chat extends Schema.Schema.Type<typeof Chat> {}

/**
 * Conversations in random order. `predictor` is the path of the predictor they
 * are for; absent for all of them together. `name` is of the content: equal data
 * have equal names.
 *
 * @since 0.1.0
 * @category models
 */
export interface Dataset {
  readonly name: string
  readonly predictor?: string | undefined
  readonly chats: ReadonlyArray<Chat>
}

/**
 * A conversation for a line (JSONL), as fine-tuning services take it.
 *
 * @since 0.1.0
 * @category destructors
 */
export const toJsonl = (dataset: Dataset): string => dataset.chats.map((chat) => `${JSON.stringify(chat)}\n`).join("")

/**
 * A call that chat data for fine-tuning have no place for: `what` it is that it
 * shows, such as a sound; `path` its predictor, and `example` the id of the
 * training example.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotInChat extends Schema.TaggedError<NotInChat>("@effect-dspy/optimizers/BootstrapFinetune/NotInChat")(
  "NotInChat",
  { path: Schema.String, example: Schema.String, what: Schema.String }
) {
  override get message(): string {
    return `On the training example ${this.example} the predictor "${this.path}" is shown ${this.what}, which chat data for fine-tuning cannot hold. Leave the predictor out by Module.freeze, or such examples`
  }
}

// =============================================================================
// Options and events
// =============================================================================

/**
 * What `BootstrapFinetune` takes: what every optimizer does, but for `valset` and
 * `testset`, and how the data is made.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, Labels, Out, E, R, R2 = never>
  extends Omit<Optimizer.Options<In, Labels, Out, E, R>, "valset" | "testset" | "metric">
{
  /** Without one every answer is accepted. */
  readonly metric?: Optimizer.Options<In, Labels, Out, E, R>["metric"] | undefined
  /** Programs of the same parts that solve the examples, each all of them; by default the module itself. */
  readonly teachers?: ReadonlyArray<Module.Module<In, Out, unknown, R2>> | undefined
  /** The score from which on a run is accepted; without it, anything above 0. */
  readonly metricThreshold?: number | undefined
  /** One data set for all predictors (the default), or one for each. */
  readonly multitask?: boolean | undefined
  /** Leaves the module's demonstrations out of the conversations; false by default. */
  readonly excludeDemos?: boolean | undefined
  /** The one that the tuned program will use, `ChatAdapter` by default. */
  readonly adapter?: Adapter.Adapter | undefined
}

/**
 * A teacher has solved a training example, or not; `done` of `total` is that.
 *
 * @since 0.1.0
 * @category events
 */
export interface Attempt {
  readonly _tag: "Attempt"
  readonly example: string
  readonly teacher: number
  readonly outcome: "passed" | "rejected" | "failed"
  readonly done: number
  readonly total: number
  readonly spend: Optimizer.Spend
}

/**
 * The end: what there is to learn from. `passed` runs of `done` were accepted;
 * with the reason `budget` not all were made.
 *
 * @since 0.1.0
 * @category events
 */
export interface Collected {
  readonly _tag: "Collected"
  readonly reason: "completed" | "budget"
  readonly datasets: ReadonlyArray<Dataset>
  readonly passed: number
  readonly done: number
  readonly spend: Optimizer.Spend
}

/**
 * Everything that making the data can fail with.
 *
 * @since 0.1.0
 * @category errors
 */
export type FinetuneError = Optimizer.OptimizerError | NotInChat

// =============================================================================
// Running
// =============================================================================

/**
 * The run as a stream of events, the data with the last one. Runs that a journal
 * has are not made again.
 *
 * @since 0.1.0
 * @category running
 */
export const events = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Stream.Stream<Attempt | Collected, FinetuneError, Module.Requirements<M> | R | R2> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const mailbox = yield* Mailbox.make<Attempt | Collected, FinetuneError>(16)
    yield* collect(module, options, mailbox).pipe(Effect.scoped, Mailbox.into(mailbox), Effect.forkScoped)
    return Mailbox.toStream(mailbox)
  }))

const accepted = () => Effect.succeed({ value: 1 })

const collect = <M extends Module.Any, In, Out, Labels, E, R, R2>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>,
  mailbox: Mailbox.Mailbox<Attempt | Collected, FinetuneError>
) =>
  Effect.gen(function*() {
    const { adapter = ChatAdapter.adapter, excludeDemos = false, metricThreshold, multitask = true, seed = 0 } = options
    if (module.predictors.length === 0) return yield* new Optimizer.NothingToTune()
    // What an M requires are its requirements, which the compiler does not see through the generic.
    const own = module as Module.Module<In, Out, unknown, Module.Requirements<M>>
    const teachers: ReadonlyArray<Module.Module<In, Out, unknown, Module.Requirements<M> | R2>> = options.teachers ??
      [own]
    for (const teacher of teachers) yield* fewShot.check(module, { ...fewShot.defaults({}), teacher })
    const data = yield* identity.data({ trainset: options.trainset })
    const { header, provenance } = identity.make({
      optimizer: "BootstrapFinetune",
      module,
      baseline: Module.parameters(module),
      teacher: Module.make({ teachers }, function*() {}), // stands for all of them
      data,
      model: Option.getOrUndefined(yield* Effect.serviceOption(LanguageModel.LanguageModel))?.id,
      promptModel: undefined,
      seed,
      settings: { metricThreshold: metricThreshold ?? null }
    })
    const journal = yield* Journal
    yield* journal.begin(header)
    const window = yield* limit(options.concurrency)
    const { run } = yield* runs.make({ window, maxFailureRate: options.maxFailureRate ?? 0.5 })
    const budget = yield* purse.make(options.budget, module.predictors.length)
    const context = yield* Effect.context<Module.Requirements<M> | R | R2>()
    const evaluators = teachers.map((teacher, index) => {
      const open = Scoring.evaluator({
        id: `BootstrapFinetune/${index}/${provenance.program}/${provenance.data}`,
        module: teacher,
        examples: data.trainset,
        metric: options.metric ?? accepted
      })
      const parameters = Module.parameters(teacher)
      return {
        evaluator: { id: open.id, run: (task: Scoring.Task) => Effect.provide(open.run(task), context) },
        parameters,
        hash: Parameters.hash(parameters)
      }
    })

    const total = teachers.length * data.trainset.length
    const place = (index: number) => ({
      teacher: Math.floor(index / data.trainset.length),
      example: data.trainset[index % data.trainset.length]! // within, by the remainder
    })
    const passed: Array<{ readonly example: string; readonly trace: Trace.Trace }> = []
    let done = 0
    let spend: Optimizer.Spend = { calls: 0, usage: {} }
    const end = yield* ordered.run({
      count: total,
      window,
      task: (index) => {
        const { example, teacher } = place(index)
        const { evaluator, hash, parameters } = evaluators[teacher]! // one for each teacher
        return budget.admit(
          runs.unlessExhausted(run(evaluator, { candidate: parameters, example: example.id, trace: true }, hash)),
          1,
          Option.match({ onNone: () => [], onSome: (run) => [run] })
        )
      },
      commit: (made, index) =>
        Effect.gen(function*() {
          if (Option.isNone(made) || !(yield* budget.commit([made.value]))) return "refused"
          const { calls, scored, usage } = made.value
          const passes = scored._tag === "Scored" &&
            (metricThreshold === undefined ? scored.score > 0 : scored.score >= metricThreshold)
          done++
          spend = { calls: spend.calls + calls, usage: LanguageModel.addUsage(spend.usage, usage) }
          const { example, teacher } = place(index)
          if (passes) passed.push({ example: example.id, trace: scored.trace ?? [] })
          yield* mailbox.offer({
            _tag: "Attempt",
            example: example.id,
            teacher,
            outcome: passes ? "passed" : scored._tag === "Failed" ? "failed" : "rejected",
            done,
            total,
            spend
          })
          return undefined
        })
    })

    const chats = new Map<string | undefined, Array<Chat>>()
    for (const { call, example } of passed.flatMap(({ example, trace }) => trace.map((call) => ({ call, example })))) {
      const predictor = call.listed ? module.predictors.find(({ path }) => path === call.path) : undefined
      if (predictor === undefined) continue
      const chat = yield* conversation(adapter, predictor, excludeDemos, call, example)
      const file = multitask ? undefined : call.path
      chats.set(file, [...chats.get(file) ?? [], chat])
    }
    const datasets = Array.from(chats, ([predictor, chats]): Dataset => {
      const shuffled = rng.at(seed, "finetune", predictor ?? "").shuffle(chats)
      return { name: Json.hash(shuffled).slice(0, 16), predictor, chats: shuffled }
    })
    yield* mailbox.offer({
      _tag: "Collected",
      reason: end === "refused" ? "budget" : "completed",
      datasets,
      passed: passed.length,
      done,
      spend
    })
  })

// What the tuned program will send, and the answer that was right.
const conversation = (
  adapter: Adapter.Adapter,
  { parameters, path, signature }: Module.Predictor,
  excludeDemos: boolean,
  { inputs, outputs }: Trace.Call,
  example: string
): Effect.Effect<Chat, NotInChat> => {
  const format = (demos: ReadonlyArray<Parameters.Demo>) =>
    adapter.format({
      signature,
      instructions: parameters?.instructions ?? signature.instructions,
      demos,
      inputs,
      capabilities: LanguageModel.defaultCapabilities
    })
  // An adapter writes answers where it shows them.
  const answer = format([Parameters.augmented({ ...inputs, ...outputs })]).messages.findLast(({ role }) =>
    role === "assistant"
  )
  const { messages, tools = [] } = format(excludeDemos ? [] : parameters?.demos ?? [])
  const all = [...messages, ...answer === undefined ? [] : [answer]]
  const refused = (what: string) => new NotInChat({ path, example, what })
  const foreign = all.map(foreignTo).find((what) => what !== undefined)
  return foreign !== undefined ? refused(foreign) : Effect.mapError(
    Schema.decodeUnknown(Chat)({
      messages: all.map(written),
      ...(tools.length === 0 ? undefined : {
        tools: tools.map((tool) => ({ type: "function", function: tool }))
      })
    }),
    // An adapter of one's own may write anything.
    () => refused("turns of no known form")
  )
}

const foreignTo = ({ content, role }: LanguageModel.Message): string | undefined => {
  if (typeof content === "string") return undefined
  for (const { _tag } of content) {
    if (_tag === "Audio") return "a sound"
    if (_tag === "File") return "a document"
    if (_tag === "Image" && role !== "user") return `an image in a turn of the ${role}`
  }
  return undefined
}

const written = ({ content, role, toolCallId, toolCalls }: LanguageModel.Message): unknown => ({
  role,
  content: content === "" && toolCalls !== undefined ? null : typeof content === "string" ? content : content.map(part),
  ...(toolCalls === undefined ? undefined : {
    tool_calls: toolCalls.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments }
    }))
  }),
  ...(toolCallId === undefined ? undefined : { tool_call_id: toolCallId })
})

const part = (part: LanguageModel.Part): unknown =>
  part._tag === "Text"
    ? { type: "text", text: part.text }
    : part._tag === "Image"
    ? {
      type: "image_url",
      image_url: { url: part.url, ...(part.detail === undefined ? undefined : { detail: part.detail }) }
    }
    : part

/**
 * The data that the teachers' accepted runs make. Nothing is tuned here: a
 * fine-tuning service takes `toJsonl` of each data set, and the model that comes
 * out of it is provided to the program as any other.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as BootstrapFinetune from "@effect-dspy/optimizers/BootstrapFinetune"
 * import { Effect } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const words = ["one", "two", "three"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 *
 * // A teacher that knows two of them.
 * const model = TestLanguageModel.layer((request) => {
 *   const word = String(request.messages.at(-1)?.content).match(/one|two|three/)?.[0] ?? ""
 *   return TestLanguageModel.fields({ loud: word === "three" ? word : word.toUpperCase() })
 * })
 *
 * const program = BootstrapFinetune.compile(shout, {
 *   trainset: words,
 *   metric: (example, output) => Effect.succeed({ value: output.loud === example.labels.loud ? 1 : 0 })
 * })
 *
 * Effect.runPromise(Effect.provide(program, model)).then(({ datasets, done, passed }) => {
 *   assert.deepStrictEqual([passed, done], [2, 3])
 *   const [line] = BootstrapFinetune.toJsonl(datasets[0]!).split("\n")
 *   assert.match(line!, /^{"messages":\[{"role":"system",/)
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const compile = <M extends Module.Any, In, Out, Labels, E = never, R = never, R2 = never>(
  module: M & Module.Module<In, Out, unknown, unknown>,
  options: Options<In, Labels, Out, E, R, R2>
): Effect.Effect<Collected, FinetuneError, Module.Requirements<M> | R | R2> =>
  Effect.flatMap(
    Stream.runLast(events(module, options)),
    Option.match({
      onSome: (last) => last._tag === "Collected" ? Effect.succeed(last) : endless,
      onNone: () => endless
    })
  )

const endless = Effect.dieMessage("making data for fine-tuning ended without data")
