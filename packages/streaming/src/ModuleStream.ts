/**
 * A running module as a Stream: everything it does, or one field as it is
 * written. The program itself is not changed, and there is no second way of
 * running it: the stream listens, the module answers.
 *
 * @since 0.1.0
 */
import type * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Signature from "@effect-dspy/core/Signature"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

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
    yield* module(input).pipe(
      ModuleEvent.listen({ deltas: true, emit: (events) => mailbox.offerAll(events) }),
      Effect.flatMap((value) => mailbox.offer({ _tag: "Result", value })),
      Mailbox.into(mailbox),
      Effect.forkScoped
    )
    // Closed before the module is interrupted: its last events must not wait for a reader who has left.
    yield* Effect.addFinalizer(() => mailbox.shutdown)
    return Mailbox.toStream(mailbox)
  }))

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
  const known = module.predictors.flatMap((predictor) =>
    Signature.fields(predictor.signature).outputs.map((output) => ({ path: predictor.path, field: output.name }))
  )
  if (!known.some((one) => one.path === path && one.field === field)) {
    return Stream.fail(new UnknownField({ path, field, known: known.map((one) => `"${one.path}" ${one.field}`) }))
  }
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
