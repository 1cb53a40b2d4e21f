/**
 * A running module as a Stream: everything it does, its fields as they are
 * written, or values that grow. The program itself is not changed, and there is
 * no second way of running it: the stream listens, the module answers. Any
 * adapter streams, and so does an answer from a cache.
 *
 * @since 0.1.0
 */
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Signature from "@effect-dspy/core/Signature"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Mailbox from "effect/Mailbox"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { continues, Growing } from "./internal/growing.ts"

/**
 * How many events may wait for the reader; 256 by default. When they do, the
 * module waits, and with it the connection to the model.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly bufferSize?: number | undefined
}

/**
 * `effect_dspy_time_to_first_field`: seconds from the start of a streamed run to
 * the first text of a field, by the path of its predictor (`predictor`).
 *
 * @since 0.1.0
 * @category metrics
 */
export const timeToFirstField: Metric.Metric.Histogram<number> = Metric.histogram(
  "effect_dspy_time_to_first_field",
  MetricBoundaries.exponential({ start: 0.001, factor: 2, count: 17 }),
  "Seconds until the first text of a field"
).pipe(Metric.tagged("unit", "s"))

// Asks the clock twice in a run, and looks at no event after the first text.
const timed = Effect.map(Clock.currentTimeNanos, (start) => {
  let waiting = true
  return (events: ReadonlyArray<ModuleEvent.Emitted>): Effect.Effect<void> => {
    if (!waiting) return Effect.void
    const first = events.find((event) => event._tag === "FieldDelta")
    if (first === undefined) return Effect.void
    waiting = false
    return Effect.flatMap(
      Clock.currentTimeNanos,
      (now) => Metric.update(Metric.tagged(timeToFirstField, "predictor", first.path), Number(now - start) / 1e9)
    )
  }
})

/**
 * Runs a module and gives every event of the run, each with its path and call;
 * the `Result` comes last. The module fails the stream with its own error.
 * Ending the stream early interrupts the module and closes its connections.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
 * import { Chunk, Effect, Stream } from "effect"
 *
 * const answer = Predict.make("question -> answer")
 *
 * const program = ModuleStream.events(answer, { question: "2 + 2?" }).pipe(
 *   Stream.filter((event) => event._tag === "Result"),
 *   Stream.runCollect,
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "4" })]))
 * )
 *
 * Effect.runPromise(program).then((events) =>
 *   assert.deepStrictEqual(Chunk.toReadonlyArray(events), [{ _tag: "Result", value: { answer: "4" } }])
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const events = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  input: In,
  options?: Options
): Stream.Stream<ModuleEvent.ModuleEvent<Out>, E, R> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const mailbox = yield* Mailbox.make<ModuleEvent.ModuleEvent<Out>, E>({ capacity: options?.bufferSize ?? 256 })
    const time = yield* timed
    yield* module(input).pipe(
      ModuleEvent.listen({
        deltas: true,
        emit: (events) => Effect.zipRight(time(events), mailbox.offerAll(events))
      }),
      Effect.flatMap((value) => mailbox.offer({ _tag: "Result", value })),
      Mailbox.into(mailbox),
      Effect.forkScoped
    )
    // Closed before the module is interrupted: its last events must not wait for a reader who has left.
    yield* Effect.addFinalizer(() => mailbox.shutdown)
    return Mailbox.toStream(mailbox)
  }))

/**
 * An output field of a predictor that a module lists; the path is `""` for a
 * module that is a predictor itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface FieldName {
  readonly path: string
  readonly field: string
}

/**
 * The field that was asked for does not exist in the module.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownField extends Schema.TaggedError<UnknownField>("@effect-dspy/streaming/ModuleStream/UnknownField")(
  "UnknownField",
  { path: Schema.String, field: Schema.String, known: Schema.Array(Schema.String) }
) {
  override get message(): string {
    return `The module has no output field "${this.field}" at "${this.path}". It has: ${this.known.join(", ")}`
  }
}

const outputsOf = (module: Module.Any): ReadonlyArray<FieldName & { readonly type: string }> =>
  module.predictors.flatMap(({ path, signature }) =>
    Signature.fields(signature).outputs.map(({ name, type }) => ({ path, field: name, type }))
  )

const findUnknown = (module: Module.Any, names: ReadonlyArray<FieldName>): UnknownField | undefined => {
  const known = outputsOf(module)
  const missing = names.find(({ field, path }) => !known.some((one) => one.path === path && one.field === field))
  return missing === undefined ? undefined : new UnknownField({
    path: missing.path,
    field: missing.field,
    known: known.map(({ field, path }) => `"${path}" ${field}`)
  })
}

/**
 * The text given out so far is void: the model was asked again, or a policy
 * restarted the stream. Use `events` to follow a field through restarts.
 *
 * @since 0.1.0
 * @category errors
 */
export class FieldReset extends Schema.TaggedError<FieldReset>("@effect-dspy/streaming/ModuleStream/FieldReset")(
  "FieldReset",
  { path: Schema.String, field: Schema.String, cause: Schema.String }
) {
  override get message(): string {
    return `Field "${this.field}" at "${this.path}" began anew after text had been given out: ${this.cause}`
  }
}

/**
 * The text of one output field while it is written, suffix by suffix. `path`
 * is that of a predictor the module lists, `""` for a module that is a
 * predictor itself. Follows the first call of that predictor, and gives nothing
 * when there is none; the module runs to its end, so that a failure after the
 * field is not lost. A field that is not text comes as the model writes it.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
 * import { Effect, Stream } from "effect"
 *
 * const answer = Predict.make("question -> answer")
 *
 * const program = ModuleStream.field(answer, { question: "Who?" }, { path: "", field: "answer" }).pipe(
 *   Stream.mkString,
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "Ada Lovelace" })]))
 * )
 *
 * Effect.runPromise(program).then((text) => assert.strictEqual(text, "Ada Lovelace"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const field = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  input: In,
  options: { readonly path: string; readonly field: string } & Options
): Stream.Stream<string, E | UnknownField | FieldReset, R> => {
  const { field, path } = options
  const unknown = findUnknown(module, [options])
  if (unknown !== undefined) return Stream.fail(unknown)
  return Stream.suspend(() => {
    let call: number | undefined
    let begun = false
    return Stream.mapChunksEffect(events(module, input, options), (chunk) => {
      const texts: Array<string> = []
      for (const event of chunk) {
        if (event._tag === "Result" || event.path !== path) continue
        if (event._tag === "PredictorStart") call ??= event.call
        if (event.call !== call) continue
        if (event._tag === "Reset" && begun) return Effect.fail(new FieldReset({ path, field, cause: event.cause }))
        if (event._tag === "FieldDelta" && event.field === field) {
          begun = true
          texts.push(event.text)
        }
      }
      return Effect.succeed(Chunk.unsafeFromArray(texts))
    })
  })
}

/**
 * The text a module answers with, suffix by suffix: that of the last output
 * field of the predictor it lists last, which is where a program writes its
 * answer unless it is built in another order. Otherwise like `field`.
 *
 * @example
 * ```ts
 * import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
 * import { Effect, Stream } from "effect"
 *
 * const answer = ChainOfThought.make("question -> answer")
 *
 * const program = ModuleStream.text(answer, { question: "Who?" }).pipe(
 *   Stream.mkString,
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ reasoning: "The first one.", answer: "Ada" })]))
 * )
 *
 * Effect.runPromise(program).then((text) => assert.strictEqual(text, "Ada"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const text = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  input: In,
  options?: Options
): Stream.Stream<string, E | UnknownField | FieldReset, R> => {
  // A module without predictors has no text: `field` says so.
  const { field: name, path } = outputsOf(module).at(-1) ?? { path: "", field: "" }
  return field(module, input, { ...options, path, field: name })
}

/**
 * More text of one of the chosen fields, or the word that text is void: a
 * `Reset` that of one call, `Discarded` that of several, whose attempt was not
 * the best.
 *
 * @since 0.1.0
 * @category models
 */
export type FieldsEvent<F extends FieldName> = (ModuleEvent.FieldDelta & F) | ModuleEvent.Reset | ModuleEvent.Discarded

/**
 * The text of several output fields at once, of every call of their
 * predictors; `call` tells the calls apart. Without `fields`, all fields that
 * are text, of all predictors the module lists. Nothing fails when an answer
 * begins anew: the stream says what is void.
 *
 * @example
 * ```ts
 * import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
 * import { Effect, Stream } from "effect"
 *
 * const answer = ChainOfThought.make("question -> answer")
 *
 * const program = ModuleStream.fields(answer, { question: "Who?" }).pipe(
 *   Stream.runFold({ reasoning: "", answer: "" }, (texts, event) =>
 *     event._tag === "FieldDelta" && (event.field === "reasoning" || event.field === "answer")
 *       ? { ...texts, [event.field]: texts[event.field] + event.text }
 *       : texts),
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ reasoning: "The first one.", answer: "Ada" })]))
 * )
 *
 * Effect.runPromise(program).then((texts) =>
 *   assert.deepStrictEqual(texts, { reasoning: "The first one.", answer: "Ada" })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fields = <In, Out, E, R, const F extends FieldName = FieldName>(
  module: Module.Module<In, Out, E, R>,
  input: In,
  options?: { readonly fields?: ReadonlyArray<F> | undefined } & Options
): Stream.Stream<FieldsEvent<F>, E | UnknownField, R> => {
  const chosen: ReadonlyArray<FieldName> = options?.fields ?? outputsOf(module).filter(({ type }) => type === "string")
  const unknown = findUnknown(module, chosen)
  if (unknown !== undefined) return Stream.fail(unknown)
  const isChosen = (event: ModuleEvent.FieldDelta): event is ModuleEvent.FieldDelta & F =>
    chosen.some(({ field, path }) => field === event.field && path === event.path)
  return Stream.suspend(() => {
    // The calls that text was given of: what is void of others concerns nobody.
    const begun = new Set<number>()
    return Stream.filter(events(module, input, options), (event): event is FieldsEvent<F> => {
      switch (event._tag) {
        case "FieldDelta":
          if (!isChosen(event)) return false
          begun.add(event.call)
          return true
        case "Reset":
          return begun.delete(event.call)
        case "Discarded":
          return event.calls.some((call) => begun.has(call))
        default:
          return false
      }
    })
  })
}

// =============================================================================
// Values that grow
// =============================================================================

/**
 * What may be there of a value while it is written: texts may be shorter, lists
 * shorter, members of records absent. Numbers, booleans and literals are there
 * or not.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Partial<A> = A extends ReadonlyArray<infer Element>
  ? number extends A["length"] ? ReadonlyArray<Partial<Element>> : { readonly [K in keyof A]?: Partial<A[K]> }
  : A extends Date | ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> ? A
  : A extends object ? { readonly [K in keyof A]?: Partial<A[K]> }
  : A

/**
 * An answer while it is written. Within the same `restarts` each value adds to
 * the one before it and takes nothing back. Where the model is asked again, or
 * what it wrote had to be read in another way, `restarts` is one more and the
 * value starts anew. `Written` comes last, with the decoded value.
 *
 * @since 0.1.0
 * @category models
 */
export type Snapshot<S extends Signature.Any> =
  | { readonly _tag: "Writing"; readonly restarts: number; readonly value: Partial<Signature.Output<S>> }
  | { readonly _tag: "Written"; readonly restarts: number; readonly value: Signature.Output<S> }

/**
 * The answer of one predictor as a value that grows. `path` is that of a
 * predictor the module lists, `signature` has output fields of it, all or some,
 * with the same schemas.
 *
 * Texts, lists and records are there as far as they are written. What is
 * decoded to something else (a `Date`, a class), and a union of more than one
 * type other than `T | null`, comes with the last value. Follows the first call
 * of the predictor, like `field`. One value is given for all that arrives at
 * once: a slow reader gets fewer.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
 * import { Chunk, Effect, Stream } from "effect"
 *
 * const signature = Signature.parse("topic -> title, points: string[]")
 * const outline = Predict.make(signature)
 *
 * const program = ModuleStream.partial(outline, { topic: "tea" }, { path: "", signature }).pipe(
 *   Stream.runCollect,
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ title: "Tea", points: ["leaf", "water"] })]))
 * )
 *
 * Effect.runPromise(program).then((snapshots) => {
 *   assert.strictEqual(Chunk.size(snapshots) > 1, true)
 *   assert.deepStrictEqual(Chunk.unsafeLast(snapshots), {
 *     _tag: "Written",
 *     restarts: 0,
 *     value: { title: "Tea", points: ["leaf", "water"] }
 *   })
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const partial = <In, Out, E, R, S extends Signature.Any>(
  module: Module.Module<In, Out, E, R>,
  input: In,
  options: { readonly path: string; readonly signature: S } & Options
): Stream.Stream<Snapshot<S>, E | UnknownField, R> => {
  const { path, signature } = options
  const outputs = Signature.fields(signature).outputs
  const theirs = module.predictors.find((predictor) => predictor.path === path)?.signature
  const other = outputs.find(({ name }) =>
    theirs === undefined || !Object.hasOwn(theirs.output.fields, name) ||
    !Signature.equals(only(theirs, name), only(signature, name))
  )
  if (other !== undefined) {
    const fields = module.predictors.flatMap((predictor) =>
      Signature.fields(predictor.signature).outputs.map(({ name, type }) => `"${predictor.path}" ${name}: ${type}`)
    )
    return Stream.fail(new UnknownField({ path, field: `${other.name}: ${other.type}`, known: fields }))
  }
  // The AST of a signature's side needs no services, and decodes to what `Output` says.
  const decode = Schema.decodeUnknown(Schema.make<Signature.Output<S>, unknown, never>(signature.output.ast), {
    exact: true
  })
  return Stream.suspend(() => {
    let call: number | undefined
    let restarts = 0
    let growing = new Growing(outputs)
    let shown: Snapshot<S>["value"] | undefined
    return Stream.mapChunksEffect(events(module, input, options), (chunk) => {
      const snapshots: Array<Snapshot<S>> = []
      const show = () => {
        const value = growing.value as Partial<Signature.Output<S>> // read by the shapes of the output schemas
        if (shown !== undefined && continues(shown, value)) return // nothing that can be shown was added
        shown = value
        snapshots.push({ _tag: "Writing", restarts, value })
      }
      let grown = false
      let written: unknown
      for (const event of chunk) {
        if (event._tag === "Result" || event.path !== path) continue
        if (event._tag === "PredictorStart") call ??= event.call
        if (event.call !== call) continue
        switch (event._tag) {
          case "FieldDelta":
            grown = growing.push(event.field, event.text) || grown
            break
          case "FieldEnd":
            grown = growing.end(event.field) || grown
            break
          case "Reset":
            growing = new Growing(outputs)
            grown = false
            if (shown === undefined) break
            shown = undefined
            restarts++
            show()
            break
          case "PredictorEnd":
            written = event.outputs
        }
      }
      if (grown) show()
      if (written === undefined) return Effect.succeed(Chunk.unsafeFromArray(snapshots))
      // The outputs were written by the schemas they are read with: if they cannot be, the schema is broken.
      return Effect.map(Effect.orDie(decode(written)), (value) => {
        if (!continues(value, shown)) restarts++
        return Chunk.unsafeFromArray([...snapshots, { _tag: "Written" as const, restarts, value }])
      })
    })
  })
}

// One output field by itself, to be compared.
const only = ({ output }: Signature.Any, name: string): Signature.Any =>
  Signature.make({
    instructions: "",
    input: {},
    // The fields of a signature need no services.
    output: { [name]: output.fields[name] } as Signature.DynamicFields
  })

// =============================================================================
// Many inputs
// =============================================================================

/**
 * One input of a batch and what came of it. `index` counts the inputs from 0 in
 * their order, `done` how many have been answered or failed, this one included;
 * `total` is how many there are, where that is known.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchItem<out In, out Out, out E> {
  readonly index: number
  readonly input: In
  readonly result: Either.Either<Out, E>
  readonly done: number
  readonly total: number | undefined
}

/**
 * Runs a module on many inputs and gives each result, or its error, as it is
 * there. A failed input does not stop the others; a stream of inputs that fails
 * does.
 *
 * - `concurrency`: how many run at once; `Module.window` by default.
 * - `ordered`: whether results come in the order of the inputs, which is the
 *   default. Otherwise whichever is ready first comes first.
 * - `total`: how many inputs a stream has; that of a list is known.
 *
 * A reader who does not read stops the work: a few more inputs than
 * `concurrency` are begun ahead of the reader.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
 * import { Chunk, Effect, Either, Stream } from "effect"
 *
 * const answer = Predict.make("question -> answer")
 *
 * const program = ModuleStream.batch(answer, [{ question: "1 + 1?" }, { question: "2 + 2?" }], { concurrency: 1 }).pipe(
 *   Stream.map(({ done, result, total }) =>
 *     `${done}/${total} ${Either.match(result, { onLeft: (error) => error._tag, onRight: ({ answer }) => answer })}`
 *   ),
 *   Stream.runCollect,
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ answer: "2" }),
 *     TestLanguageModel.fail("Overloaded")
 *   ]))
 * )
 *
 * Effect.runPromise(program).then((lines) =>
 *   assert.deepStrictEqual(Chunk.toReadonlyArray(lines), ["1/2 2", "2/2 LanguageModelError"])
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const batch = <In, Out, E, R, E2 = never, R2 = never>(
  module: Module.Module<In, Out, E, R>,
  inputs: ReadonlyArray<In> | Stream.Stream<In, E2, R2>,
  options?: {
    readonly concurrency?: number | undefined
    readonly ordered?: boolean | undefined
    readonly total?: number | undefined
  }
): Stream.Stream<BatchItem<In, Out, E>, E2, R | R2> =>
  Stream.unwrap(Effect.gen(function*() {
    const concurrency = options?.concurrency ?? (yield* Module.window)
    const isStream = Predicate.hasProperty(inputs, Stream.StreamTypeId)
    const total = options?.total ?? (isStream ? undefined : inputs.length)
    let done = 0
    return (isStream ? inputs : Stream.fromIterable(inputs)).pipe(
      Stream.zipWithIndex,
      Stream.mapEffect(
        ([input, index]) => Effect.map(Effect.either(module(input)), (result) => ({ index, input, result })),
        { concurrency, unordered: options?.ordered === false }
      ),
      Stream.map((item) => ({ ...item, done: ++done, total }))
    )
  }))
