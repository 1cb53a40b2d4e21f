/**
 * A stream of items, such as messages as they come in, run through a module in
 * batches: by size, and by the time an item may wait. The module takes a list
 * of items; `Module.batch` makes one of a module that takes a single item.
 *
 * @since 0.1.0
 */
import type * as Module from "@effect-dspy/core/Module"
import type * as Arr from "effect/Array"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/**
 * Items are taken ahead of the reader: those of the batches that run, of one
 * that waits to, of the one that fills, and what the source hands over with them
 * in one chunk.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in A, out R = never> {
  /** How many items a batch has at most, at least 1. */
  readonly size: number
  /**
   * How long the first item of a batch waits for others. What is left when the
   * source ends, or fails, is a batch at once.
   */
  readonly within: Duration.DurationInput
  /** How many batches run at once; 1 by default. */
  readonly concurrency?: number | undefined
  /**
   * Whether results come in the order of the items, which is the default.
   * Otherwise whichever batch is ready first comes first.
   */
  readonly ordered?: boolean | undefined
  /**
   * Told of every item that was taken from the source and whose result was not
   * given out, in their order, when the stream ends before they are: it is
   * interrupted, its reader has enough, or a module dies. Their calls have been
   * interrupted by then. Nothing else is ever lost: each item is in one result
   * or here.
   */
  readonly onUnprocessed?: ((items: Arr.NonEmptyReadonlyArray<A>) => Effect.Effect<void, never, R>) | undefined
}

/**
 * What came of one batch; `index` counts the batches from 0.
 *
 * @since 0.1.0
 * @category models
 */
export interface Batch<out A, out Out, out E> {
  readonly index: number
  readonly items: Arr.NonEmptyReadonlyArray<A>
  readonly result: Either.Either<Out, E>
}

/**
 * What came of one item; `index` counts the items of the source from 0.
 *
 * @since 0.1.0
 * @category models
 */
export interface Item<out A, out Out, out E> {
  readonly index: number
  readonly item: A
  readonly result: Either.Either<Out, E>
}

/**
 * A module did not answer with one output for each item, so nobody can tell
 * which belongs to which.
 *
 * @since 0.1.0
 * @category errors
 */
export class WrongCount extends Schema.TaggedError<WrongCount>("@effect-dspy/streaming/StreamProcessor/WrongCount")(
  "WrongCount",
  { expected: Schema.Int, found: Schema.Int }
) {
  override get message(): string {
    return `The module answered with ${this.found} outputs for a batch of ${this.expected} items; it must give one for each, in their order`
  }
}

interface Taken<A> {
  readonly index: number
  readonly item: A
}

type Filled<A> = Arr.NonEmptyReadonlyArray<Taken<A>>

// The batches of a source. Items are `pending` from the moment they are taken.
const filled = <A, E, R>(
  source: Stream.Stream<A, E, R>,
  pending: Map<number, A>,
  options: Options<A, unknown>
): Effect.Effect<Mailbox.ReadonlyMailbox<Filled<A>, E>, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const within = Duration.toMillis(options.within)
    const batches = yield* Mailbox.make<Filled<A>, E>({ capacity: 1 })
    const isOpen = yield* Effect.makeLatch(false)
    const pull = yield* Stream.toPull(source)
    let open: Array<Taken<A>> = []
    let openedAt = 0
    let taken = 0

    const close = Effect.suspend(() => {
      const [first, ...rest] = open
      if (first === undefined) return Effect.void
      open = []
      isOpen.unsafeClose()
      return batches.offer([first, ...rest])
    })
    const add = (one: Taken<A>) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        if (open.push(one) === 1) {
          openedAt = now
          isOpen.unsafeOpen()
        }
        return open.length < options.size ? Effect.void : close
      })
    // What has been pulled is noted before anything can interrupt it.
    const take = Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(pull), (chunk) => {
        const ones = Chunk.toReadonlyArray(chunk).map((item) => ({ index: taken++, item }))
        for (const { index, item } of ones) pending.set(index, item)
        return restore(Effect.forEach(ones, add, { discard: true }))
      })
    )
    yield* Effect.forever(take).pipe(
      Effect.catchAll((end) =>
        Effect.zipRight(close, Option.match(end, { onNone: () => Effect.void, onSome: Effect.fail }))
      ),
      Mailbox.into(batches),
      Effect.forkScoped
    )
    yield* isOpen.await.pipe(
      Effect.zipRight(Clock.currentTimeMillis),
      Effect.flatMap((now) => now >= openedAt + within ? close : Effect.sleep(openedAt + within - now)),
      Effect.forever,
      Effect.forkScoped
    )
    return batches
  })

/**
 * One result for each batch, for a module that sees many items at once: the mood
 * of the last ten messages, the summary of a minute. A batch that fails does not
 * stop the others; a source that fails does, after what it gave before.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as StreamProcessor from "@effect-dspy/streaming/StreamProcessor"
 * import { Chunk, Effect, Either, Stream } from "effect"
 *
 * const mood = Predict.make("messages: string[] -> mood").pipe(
 *   Module.mapInput((messages: ReadonlyArray<string>) => ({ messages }))
 * )
 *
 * const program = Stream.make("hello", "hi there", "go away").pipe(
 *   StreamProcessor.batches(mood, { size: 2, within: "1 second" }),
 *   Stream.map(({ items, result }) => [items.length, Either.getOrThrow(result).mood]),
 *   Stream.runCollect,
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ mood: "friendly" }),
 *     TestLanguageModel.fields({ mood: "angry" })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then((moods) =>
 *   assert.deepStrictEqual(Chunk.toReadonlyArray(moods), [[2, "friendly"], [1, "angry"]])
 * )
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const batches: {
  <A, Out, E2, R2, R3 = never>(
    module: Module.Module<ReadonlyArray<A>, Out, E2, R2>,
    options: Options<A, R3>
  ): <E, R>(source: Stream.Stream<A, E, R>) => Stream.Stream<Batch<A, Out, E2>, E, R | R2 | R3>
  <A, E, R, Out, E2, R2, R3 = never>(
    source: Stream.Stream<A, E, R>,
    module: Module.Module<ReadonlyArray<A>, Out, E2, R2>,
    options: Options<A, R3>
  ): Stream.Stream<Batch<A, Out, E2>, E, R | R2 | R3>
} = dual(3, <A, E, R, Out, E2, R2, R3>(
  source: Stream.Stream<A, E, R>,
  module: Module.Module<ReadonlyArray<A>, Out, E2, R2>,
  options: Options<A, R3>
): Stream.Stream<Batch<A, Out, E2>, E, R | R2 | R3> =>
  Stream.map(processed(source, module, options), ({ index, result, taken: [first, ...rest] }) => ({
    index,
    items: [first.item, ...rest.map(({ item }) => item)],
    result
  })))

/**
 * One result for each item, for a module that answers with one output for each,
 * in their order. When a batch fails, each of its items has the error; to have
 * each item fail by itself, use `Module.batch` of `Module.either`.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as StreamProcessor from "@effect-dspy/streaming/StreamProcessor"
 * import { Chunk, Effect, Either, Stream } from "effect"
 *
 * // One call for all texts of a batch.
 * const topics = Predict.make("texts: string[] -> topics: string[]").pipe(
 *   Module.mapInput((texts: ReadonlyArray<string>) => ({ texts })),
 *   Module.map(({ topics }) => topics)
 * )
 *
 * const program = Stream.make("The cup is lost", "It rains").pipe(
 *   StreamProcessor.items(topics, { size: 10, within: "1 second" }),
 *   Stream.map(({ item, result }) => `${item}: ${Either.getOrThrow(result)}`),
 *   Stream.runCollect,
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ topics: ["sports", "weather"] })]))
 * )
 *
 * Effect.runPromise(program).then((lines) =>
 *   assert.deepStrictEqual(Chunk.toReadonlyArray(lines), ["The cup is lost: sports", "It rains: weather"])
 * )
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const items: {
  <A, Out, E2, R2, R3 = never>(
    module: Module.Module<ReadonlyArray<A>, ReadonlyArray<Out>, E2, R2>,
    options: Options<A, R3>
  ): <E, R>(source: Stream.Stream<A, E, R>) => Stream.Stream<Item<A, Out, E2 | WrongCount>, E, R | R2 | R3>
  <A, E, R, Out, E2, R2, R3 = never>(
    source: Stream.Stream<A, E, R>,
    module: Module.Module<ReadonlyArray<A>, ReadonlyArray<Out>, E2, R2>,
    options: Options<A, R3>
  ): Stream.Stream<Item<A, Out, E2 | WrongCount>, E, R | R2 | R3>
} = dual(3, <A, E, R, Out, E2, R2, R3>(
  source: Stream.Stream<A, E, R>,
  module: Module.Module<ReadonlyArray<A>, ReadonlyArray<Out>, E2, R2>,
  options: Options<A, R3>
): Stream.Stream<Item<A, Out, E2 | WrongCount>, E, R | R2 | R3> =>
  Stream.mapConcat(processed(source, module, options), ({ result, taken }) => {
    const outputs: Either.Either<ReadonlyArray<Out>, E2 | WrongCount> = Either.filterOrLeft(
      result,
      (outputs) => outputs.length === taken.length,
      (outputs) => new WrongCount({ expected: taken.length, found: outputs.length })
    )
    return taken.map(({ index, item }, n) => ({
      index,
      item,
      result: Either.map(outputs, (outputs) => outputs[n]!) // as many as there are items
    }))
  }))

const processed = <A, E, R, Out, E2, R2, R3>(
  source: Stream.Stream<A, E, R>,
  module: Module.Module<ReadonlyArray<A>, Out, E2, R2>,
  options: Options<A, R3>
): Stream.Stream<
  { readonly index: number; readonly taken: Filled<A>; readonly result: Either.Either<Out, E2> },
  E,
  R | R2 | R3
> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const pending = new Map<number, A>()
    const { concurrency = 1, onUnprocessed, ordered = true } = options
    if (onUnprocessed !== undefined) {
      // Added first, so run last: after the calls have been interrupted.
      yield* Effect.addFinalizer(() => {
        const [first, ...rest] = pending.values()
        return pending.size === 0 ? Effect.void : onUnprocessed([first!, ...rest]) // there is a first one
      })
    }
    return Mailbox.toStream(yield* filled(source, pending, options)).pipe(
      Stream.zipWithIndex,
      Stream.mapEffect(
        ([taken, index]) =>
          Effect.map(Effect.either(module(taken.map(({ item }) => item))), (result) => ({ index, taken, result })),
        { concurrency, unordered: !ordered }
      ),
      Stream.map((batch) => {
        for (const { index } of batch.taken) pending.delete(index)
        return batch
      })
    )
  }))
