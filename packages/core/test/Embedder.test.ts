import * as Embedder from "@effect-dspy/core/Embedder"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, FastCheck, Fiber, FiberRef, Ref, Scope, TestClock } from "effect"

const overloaded = LanguageModelError.make({
  reason: new LanguageModelError.Overloaded({ description: "busy" }),
  provider: "test",
  model: "test/numbers"
})

/** Embeds a number as itself, the later in a call the sooner. */
const numbers = (log: Array<ReadonlyArray<string>>) => (texts: ReadonlyArray<string>) =>
  Effect.sync(() => {
    log.push(texts)
    return texts.map((text) => Float32Array.of(Number(text), 1))
  }).pipe(Effect.delay(1000 - Number(texts[0])))

const embedder = (options: Partial<Parameters<typeof Embedder.make>[0]>) =>
  Embedder.make({ id: "test/numbers", embed: numbers([]), ...options })

const embed = (self: Embedder.Service, texts: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(self.embed(texts))
    // Each window takes less than a second.
    yield* TestClock.adjust("1 hour")
    return yield* Fiber.join(fiber)
  })

describe("Embedder", () => {
  it.effect.prop(
    "any texts in any batches: every text once, its vector in its place, whatever batch is done first",
    {
      count: FastCheck.integer({ min: 0, max: 200 }),
      maxBatchSize: FastCheck.option(FastCheck.integer({ min: 1, max: 50 }), { nil: undefined }),
      concurrency: FastCheck.option(FastCheck.integer({ min: 1, max: 8 }), { nil: undefined })
    },
    ({ concurrency, count, maxBatchSize }) =>
      Effect.gen(function*() {
        const log: Array<ReadonlyArray<string>> = []
        const texts = Array.from({ length: count }, (_, i) => String(i))
        const vectors = yield* embed(embedder({ embed: numbers(log), maxBatchSize, concurrency }), texts)
        assert.deepStrictEqual(vectors.map((vector) => vector[0]), texts.map(Number))
        assert.isTrue(log.every((batch) => batch.length > 0 && batch.length <= (maxBatchSize ?? Infinity)))
        assert.strictEqual(log.length, Math.ceil(count / (maxBatchSize ?? Math.max(count, 1))))
        assert.sameMembers(log.flat(), texts)
      }),
    { fastCheck: { seed: 7, numRuns: 60 } }
  )

  it.effect("has no more batches under way at once than it may", () =>
    Effect.gen(function*() {
      const running = yield* Ref.make(0)
      const most = yield* Ref.make(0)
      const self = embedder({
        maxBatchSize: 1,
        concurrency: 3,
        embed: (texts) =>
          Ref.updateAndGet(running, (n) => n + 1).pipe(
            Effect.flatMap((n) => Ref.update(most, (m) => Math.max(n, m))),
            Effect.zipRight(Effect.sleep(100)),
            Effect.zipRight(Ref.update(running, (n) => n - 1)),
            Effect.as(texts.map(() => Float32Array.of(0)))
          )
      })
      yield* embed(self, Array.from({ length: 20 }, String))
      assert.strictEqual(yield* Ref.get(most), 3)
    }))

  it.effect("one batch that fails ends the call and interrupts the others", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const self = embedder({
        maxBatchSize: 1,
        embed: (texts) =>
          texts[0] === "1"
            ? Effect.fail(overloaded)
            : Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      })
      assert.strictEqual(yield* Effect.flip(self.embed(["0", "1"])), overloaded)
      assert.isTrue(yield* Deferred.isDone(interrupted))
    }))

  it.effect("a vector is never taken for that of another text", () =>
    Effect.gen(function*() {
      const fewer = yield* Effect.flip(
        embedder({ maxBatchSize: 2, embed: (texts) => Effect.succeed([Float32Array.of(texts.length)]) })
          .embed(["a", "b", "c"])
      )
      assert.deepInclude(fewer, { provider: "test", model: "test/numbers", retryable: false })
      assert.deepInclude(fewer.reason, { _tag: "MalformedResponse", kind: "shape" })
      assert.include(fewer.message, "2 texts were embedded, 1 vectors came back")

      const uneven = yield* Effect.flip(
        embedder({ embed: (texts) => Effect.succeed(texts.map((_, i) => new Float32Array(i + 1))) }).embed(["a", "b"])
      )
      assert.include(uneven.message, "a vector has 2 dimensions where 1 are expected")

      const announced = yield* Effect.flip(
        embedder({ dimensions: 3, embed: (texts) => Effect.succeed(texts.map(() => new Float32Array(2))) }).embed(["a"])
      )
      assert.include(announced.message, "a vector has 2 dimensions where 3 are expected")
    }))

  it.effect("is found in the context, its errors in those of the effect", () =>
    Effect.gen(function*() {
      const answers = [Effect.fail(overloaded), Effect.succeed([Float32Array.of(1)])]
      const vectors = yield* Embedder.embed(["a"]).pipe(
        LanguageModelError.catchReason("Overloaded", () => Embedder.embed(["a"])),
        Effect.provideService(Embedder.Embedder, embedder({ embed: () => answers.shift()! }))
      )
      assert.deepStrictEqual(vectors, [Float32Array.of(1)])
      assert.strictEqual(answers.length, 0)
    }))
})

describe("Embedder.cached", () => {
  const counting = (log: Array<ReadonlyArray<string>>) =>
    Embedder.make({
      id: "test/numbers",
      dimensions: 1,
      embed: (texts) =>
        Effect.sync(() => {
          log.push(texts)
          return texts.map((text) => Float32Array.of(Number(text)))
        })
    })

  const numbersOf = (vectors: ReadonlyArray<Float32Array>) => vectors.map(([value]) => value)

  it.effect("gives what the embedder gives, whatever is asked in whatever order and however little is remembered", () =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(
          FastCheck.array(FastCheck.array(FastCheck.integer({ min: 0, max: 9 }))),
          FastCheck.integer({ min: 0, max: 12 }),
          (calls, maxTexts) =>
            Effect.runPromise(Effect.gen(function*() {
              const cached = yield* Embedder.cached(counting([]), { maxTexts })
              assert.deepStrictEqual([cached.id, cached.dimensions], ["test/numbers", 1])
              for (const call of calls) assert.deepStrictEqual(numbersOf(yield* cached.embed(call.map(String))), call)
            }))
        ),
        { seed: 4 }
      )
    ))

  it.effect("asks once for a text, until others were used later", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const cached = yield* Embedder.cached(counting(log), { maxTexts: 2 })
      yield* cached.embed(["1", "2", "1"])
      yield* cached.embed(["1"])
      yield* cached.embed(["3"])
      yield* cached.embed(["1", "3"])
      yield* cached.embed([])
      assert.deepStrictEqual(log, [["1", "2"], ["3"]])
      yield* cached.embed(["2", "1"])
      assert.deepStrictEqual(log.at(-1), ["2"])
    }))

  it.effect("does not remember failures", () =>
    Effect.gen(function*() {
      const answers = [Effect.fail(overloaded), Effect.succeed([Float32Array.of(1)])]
      const cached = yield* Embedder.cached(embedder({ embed: () => answers.shift()! }))
      assert.strictEqual((yield* Effect.flip(cached.embed(["a"]))).reason._tag, "Overloaded")
      assert.deepStrictEqual(numbersOf(yield* cached.embed(["a"])), [1])
    }))
})

describe("Embedder.batched", () => {
  class Name extends Context.Tag("Name")<Name, string>() {}

  const doubling = (log: Array<ReadonlyArray<string>>) =>
    Embedder.make({
      id: "test/numbers",
      embed: (texts) =>
        Effect.sync(() => {
          log.push(texts)
          return texts.map((text) => Float32Array.of(2 * Number(text)))
        })
    })

  const one = (self: Embedder.Service, n: number) => Effect.map(self.embed([String(n)]), ([vector]) => vector?.[0])

  it.scoped("puts calls together until it has waited, each with its own vectors", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const batched = yield* Embedder.batched(doubling(log), { wait: "1 second" })
      const calls = yield* Effect.fork(Effect.forEach([1, 2, 3], (n) => one(batched, n), { concurrency: "unbounded" }))
      yield* TestClock.adjust("900 millis")
      const late = yield* Effect.fork(batched.embed(["4", "5"]))
      yield* Effect.yieldNow()
      assert.lengthOf(log, 0)
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(yield* Fiber.join(calls), [2, 4, 6])
      assert.deepStrictEqual(yield* Fiber.join(late), [Float32Array.of(8), Float32Array.of(10)])
      assert.deepStrictEqual(log, [["1", "2", "3", "4", "5"]])
      assert.deepStrictEqual(yield* batched.embed([]), [])
      assert.deepStrictEqual(yield* embed(batched, ["6"]), [Float32Array.of(12)])
      assert.deepStrictEqual(log.slice(1), [["6"]])
    }))

  it.scoped("waits no longer once there are enough texts", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const batched = yield* Embedder.batched(doubling(log), { maxTexts: 2 })
      const calls = Array.from({ length: 4 }, (_, n) => n)
      assert.deepStrictEqual(yield* Effect.forEach(calls, (n) => one(batched, n), { concurrency: 4 }), [0, 2, 4, 6])
      assert.sameDeepMembers(log, [["0", "1"], ["2", "3"]])
    }))

  it.scoped("fails for all of a batch, and for no other", () =>
    Effect.gen(function*() {
      const answers = [Effect.fail(overloaded), Effect.succeed([Float32Array.of(1)])]
      const batched = yield* Embedder.batched(embedder({ embed: () => answers.shift()! }), { maxTexts: 2 })
      const failed = yield* Effect.forEach([1, 2], (n) => Effect.flip(one(batched, n)), { concurrency: 2 })
      assert.deepStrictEqual(failed.map(({ reason }) => reason._tag), ["Overloaded", "Overloaded"])
      assert.deepStrictEqual(yield* embed(batched, ["3"]), [Float32Array.of(1)])
    }))

  it.scoped("an interrupted call leaves the others alone; the last one takes the batch with it", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const batched = yield* Embedder.batched(doubling(log))
      const [first, second] = yield* Effect.all([Effect.fork(one(batched, 1)), Effect.fork(one(batched, 2))])
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(second), 4)

      const stopped = yield* Deferred.make<void>()
      const slow = yield* Embedder.batched(
        embedder({ embed: () => Effect.onInterrupt(Effect.never, () => Deferred.succeed(stopped, undefined)) }),
        { maxTexts: 1 }
      )
      const only = yield* Effect.fork(one(slow, 1))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(only)
      assert.isTrue(yield* Deferred.isDone(stopped))

      const waiting = yield* Effect.fork(one(batched, 3))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(waiting)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(log, [["1", "2"]])
    }))

  it.scoped("leaves each call what holds for it, whoever began the batch", () =>
    Effect.gen(function*() {
      const name = FiberRef.unsafeMake("nobody")
      const batched = yield* Embedder.batched(doubling([]), { maxTexts: 3 })
      const call = (n: number) =>
        Effect.zipRight(one(batched, n), Effect.all([FiberRef.get(name), Effect.serviceOptional(Name)])).pipe(
          Effect.locally(name, `caller ${n}`),
          Effect.provideService(Name, `caller ${n}`)
        )
      assert.deepStrictEqual(
        yield* Effect.forEach([1, 2, 3], call, { concurrency: 3 }),
        [1, 2, 3].map((n) => [`caller ${n}`, `caller ${n}`])
      )
    }))

  it.scoped("begins one batch, however many calls there are and whenever they have to wait", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const batched = yield* Embedder.batched(doubling(log), { maxTexts: 500 })
      const calls = Array.from({ length: 500 }, (_, n) => n)
      // A scheduler may let others go on after any step.
      const all = yield* Effect.forEach(calls, (n) => one(batched, n), { concurrency: "unbounded" }).pipe(
        Effect.withMaxOpsBeforeYield(20),
        Effect.fork
      )
      yield* TestClock.adjust("1 second")
      assert.lengthOf(yield* Fiber.join(all), 500)
      assert.lengthOf(log, 1)
    }))

  it.effect("is interrupted with its scope, and later", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const batched = yield* Scope.extend(Embedder.batched(doubling([])), scope)
      const waiting = yield* Effect.fork(one(batched, 1))
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(waiting)))
      assert.isTrue(Exit.isInterrupted(yield* Effect.exit(one(batched, 2))))
    }))
})
