import * as Module from "@effect-dspy/core/Module"
import * as StreamProcessor from "@effect-dspy/streaming/StreamProcessor"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Deferred, Effect, Either, Fiber, Queue, Ref, Stream, TestClock } from "effect"

const moduleOf = <A, Out, E = never>(run: (items: ReadonlyArray<A>) => Effect.Effect<Out, E>) =>
  Module.make({}, function*(_, items: ReadonlyArray<A>) {
    return yield* run(items)
  })

const double = moduleOf((items: ReadonlyArray<number>) => Effect.succeed(items.map((n) => n * 2)))

const collect = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
  Effect.map(Stream.runCollect(stream), Chunk.toReadonlyArray)

describe("StreamProcessor", () => {
  it.effect("makes batches of a size, and one of what is left in the end", () =>
    Effect.gen(function*() {
      const batches = yield* Stream.range(1, 7).pipe(
        StreamProcessor.batches(double, { size: 3, within: "1 second" }),
        collect
      )
      assert.deepStrictEqual(batches.map(({ index, items }) => [index, items]), [
        [0, [1, 2, 3]],
        [1, [4, 5, 6]],
        [2, [7]]
      ])
      assert.deepStrictEqual(batches.map(({ result }) => Either.getOrThrow(result)), [[2, 4, 6], [8, 10, 12], [14]])
    }))

  it.effect("an item waits for others no longer than it may, counted from its arrival", () =>
    Effect.gen(function*() {
      const source = yield* Queue.unbounded<number>()
      const seen: Array<ReadonlyArray<number>> = []
      const fiber = yield* Stream.fromQueue(source, { shutdown: true }).pipe(
        StreamProcessor.batches(double, { size: 3, within: "1 second" }),
        Stream.runForEach(({ items }) => Effect.sync(() => seen.push(items))),
        Effect.fork
      )
      yield* Effect.yieldNow()
      yield* TestClock.adjust("900 millis")
      yield* Queue.offer(source, 1)
      yield* TestClock.adjust("900 millis")
      yield* Queue.offer(source, 2)
      assert.deepStrictEqual(seen, [])
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(seen, [[1, 2]])
      // A batch that is full does not wait, and the next one has its own time.
      yield* Queue.offerAll(source, [3, 4, 5, 6])
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(seen, [[1, 2], [3, 4, 5]])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(seen, [[1, 2], [3, 4, 5], [6]])
      yield* Queue.shutdown(source)
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("gives one result for each item; of a batch that fails, the error for each", () =>
    Effect.gen(function*() {
      const module = moduleOf((items: ReadonlyArray<number>) =>
        items.includes(3) ? Effect.fail("three" as const) : Effect.succeed(items.slice(items[0] === 5 ? 1 : 0))
      )
      const items = yield* Stream.range(1, 6).pipe(
        StreamProcessor.items(module, { size: 2, within: "1 second" }),
        collect
      )
      assert.deepStrictEqual(
        items.map(({ index, item, result }) => [
          index,
          item,
          Either.merge(Either.mapLeft(result, (error) => typeof error === "string" ? error : error._tag))
        ]),
        [[0, 1, 1], [1, 2, 2], [2, 3, "three"], [3, 4, "three"], [4, 5, "WrongCount"], [5, 6, "WrongCount"]]
      )
    }))

  it.effect("each item fails by itself through Module.batch of Module.either", () =>
    Effect.gen(function*() {
      const one = Module.make({}, function*(_, n: number) {
        return yield* (n === 2 ? Effect.fail("two" as const) : Effect.succeed(n))
      })
      const items = yield* Stream.range(1, 3).pipe(
        StreamProcessor.items(Module.batch(Module.either(one)), { size: 3, within: "1 second" }),
        Stream.map(({ result }) => Either.merge(Either.flatMap(result, (one) => one))),
        collect
      )
      assert.deepStrictEqual(items, [1, "two", 3])
    }))

  it.effect("runs as many batches at once as it may, and keeps the order or not", () =>
    Effect.gen(function*() {
      const running = yield* Ref.make(0)
      const most = yield* Ref.make(0)
      const module = moduleOf((items: ReadonlyArray<number>) =>
        Effect.gen(function*() {
          const now = yield* Ref.updateAndGet(running, (n) => n + 1)
          yield* Ref.update(most, (n) => Math.max(n, now))
          yield* Effect.sleep(`${100 - 10 * items[0]!} millis`) // a batch has a first item
          yield* Ref.update(running, (n) => n - 1)
          return items
        })
      )
      const run = (ordered: boolean) =>
        Effect.gen(function*() {
          const fiber = yield* Stream.range(1, 6).pipe(
            StreamProcessor.batches(module, { size: 1, within: "1 second", concurrency: 3, ordered }),
            Stream.mapConcat(({ items }) => items),
            collect,
            Effect.fork
          )
          yield* Effect.repeatN(TestClock.adjust("10 millis"), 40)
          return yield* Fiber.join(fiber)
        })
      assert.deepStrictEqual(yield* run(true), [1, 2, 3, 4, 5, 6])
      const unordered = yield* run(false)
      assert.strictEqual(unordered[0], 3)
      assert.deepStrictEqual(unordered.toSorted(), [1, 2, 3, 4, 5, 6])
      assert.strictEqual(yield* Ref.get(most), 3)
    }))

  it.effect("a source that fails fails the stream, after the batch of what it gave", () =>
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const error = yield* Stream.concat(Stream.range(1, 4), Stream.fail("lost")).pipe(
        StreamProcessor.batches(double, { size: 3, within: "1 second" }),
        Stream.runForEach(({ items }) => Effect.sync(() => seen.push(items))),
        Effect.flip
      )
      assert.strictEqual(error, "lost")
      assert.deepStrictEqual(seen, [[1, 2, 3], [4]])
    }))

  it.effect("interrupted, it reports what it took and did not give out; nothing is in both or in neither", () =>
    Effect.gen(function*() {
      for (const steps of [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89]) {
        const left = yield* Queue.unbounded<number>()
        yield* Queue.offerAll(left, Array.from({ length: 40 }, (_, n) => n))
        const interrupted = yield* Ref.make(0)
        const given: Array<number> = []
        const unprocessed: Array<number> = []
        let calls = 0
        let whenReported: number | undefined
        const module = moduleOf((items: ReadonlyArray<number>) =>
          // The third batch does not end.
          ++calls === 3
            ? Effect.onInterrupt(Effect.never, () => Ref.update(interrupted, (n) => n + 1))
            : Effect.as(Effect.yieldNow(), items)
        )
        const fiber = yield* Stream.fromQueue(left, { maxChunkSize: 3 }).pipe(
          StreamProcessor.items(module, {
            size: 4,
            within: "1 second",
            concurrency: 2,
            onUnprocessed: (items) =>
              Effect.map(Ref.get(interrupted), (n) => {
                unprocessed.push(...items)
                whenReported = n
              })
          }),
          Stream.runForEach(({ item }) => Effect.sync(() => given.push(item))),
          Effect.fork
        )
        yield* Effect.repeatN(Effect.yieldNow(), steps)
        yield* Fiber.interrupt(fiber)
        const rest = Chunk.toReadonlyArray(yield* Queue.takeAll(left))
        if (whenReported !== undefined) assert.strictEqual(whenReported, yield* Ref.get(interrupted))
        assert.deepStrictEqual(
          [...given, ...unprocessed, ...rest].toSorted((a, b) => a - b),
          Array.from({ length: 40 }, (_, n) => n),
          `after ${steps} steps: ${JSON.stringify({ given, unprocessed, rest })}`
        )
      }
    }))

  it.effect("does not take far ahead of what runs", () =>
    Effect.gen(function*() {
      const taken = yield* Ref.make(0)
      const started = yield* Deferred.make<void>()
      const fiber = yield* Stream.iterate(0, (n) => n + 1).pipe(
        Stream.rechunk(1),
        Stream.tap(() => Ref.update(taken, (n) => n + 1)),
        StreamProcessor.batches(
          moduleOf(() => Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)),
          { size: 5, within: "1 second", concurrency: 2 }
        ),
        Stream.runDrain,
        Effect.fork
      )
      yield* Deferred.await(started)
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      assert.isAtMost(yield* Ref.get(taken), 30)
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("says nothing when everything was given out", () =>
    Effect.gen(function*() {
      let told = 0
      yield* Stream.range(1, 5).pipe(
        StreamProcessor.items(double, {
          size: 2,
          within: "1 second",
          onUnprocessed: () => Effect.sync(() => void told++)
        }),
        Stream.runDrain
      )
      assert.strictEqual(told, 0)
    }))
})
