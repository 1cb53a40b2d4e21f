import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as RequestManager from "@effect-dspy/streaming/RequestManager"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Metric, Random, Ref, Scope, TestClock } from "effect"

// A module that counts what goes on in it, and takes as long as it is told.
const counting = Effect.gen(function*() {
  const begun = yield* Ref.make(0)
  const open = yield* Ref.make(0)
  const most = yield* Ref.make(0)
  const module = Module.make({}, function*(_, input: { readonly id: number; readonly seconds: number }) {
    return yield* Effect.acquireUseRelease(
      Effect.gen(function*() {
        yield* Ref.update(begun, (n) => n + 1)
        const now = yield* Ref.updateAndGet(open, (n) => n + 1)
        yield* Ref.update(most, (n) => Math.max(n, now))
      }),
      () =>
        Effect.sleep(`${input.seconds} seconds`).pipe(
          Effect.zipRight(input.id < 0 ? Effect.fail("negative" as const) : Effect.succeed(input.id))
        ),
      () => Ref.update(open, (n) => n - 1)
    )
  })
  return { module, begun: Ref.get(begun), open: Ref.get(open), most: Ref.get(most) }
})

const gauges = (manager: string) =>
  Effect.all([
    Metric.value(Metric.tagged(RequestManager.running, "manager", manager)),
    Metric.value(Metric.tagged(RequestManager.queued, "manager", manager))
  ]).pipe(Effect.map(([running, queued]) => [running.value, queued.value]))

const settle = Effect.repeatN(Effect.yieldNow(), 20)

describe("RequestManager", () => {
  it.scoped("runs so many at once, lets so many wait in their order, refuses more", () =>
    Effect.gen(function*() {
      const { module, most } = yield* counting
      const requests = yield* RequestManager.make(module, { concurrency: 2, queueSize: 1, name: "limits" })
      const first = yield* requests.submit({ id: 1, seconds: 2 })
      yield* requests.submit({ id: 2, seconds: 4 })
      const third = yield* requests.submit({ id: 3, seconds: 1 }, { id: "third" })
      const error = yield* Effect.flip(requests.submit({ id: 4, seconds: 1 }))
      assert.deepInclude(error, { _tag: "QueueFull", running: 2, queued: 1 })
      assert.deepStrictEqual(yield* requests.active, [
        { id: "1", state: "running", submittedAt: 0 },
        { id: "2", state: "running", submittedAt: 0 },
        { id: "third", state: "queued", submittedAt: 0 }
      ])
      assert.deepStrictEqual(yield* gauges("limits"), [2, 1])
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* first.await, 1)
      assert.deepStrictEqual((yield* requests.active).map(({ id, state }) => `${id} ${state}`), [
        "2 running",
        "third running"
      ])
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(yield* third.await, 3)
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(yield* requests.active, [])
      assert.deepStrictEqual(yield* gauges("limits"), [0, 0])
      assert.strictEqual(yield* most, 2)
    }))

  it.scoped("a failure of the module is the failure of its request", () =>
    Effect.gen(function*() {
      const { module } = yield* counting
      const requests = yield* RequestManager.make(module)
      const request = yield* requests.submit({ id: -1, seconds: 0 })
      yield* TestClock.adjust("0 seconds")
      assert.strictEqual(yield* Effect.flip(request.await), "negative")
    }))

  it.scoped("ids are told apart, and can be used again", () =>
    Effect.gen(function*() {
      const { module } = yield* counting
      const requests = yield* RequestManager.make(module, { concurrency: 5 })
      yield* requests.submit({ id: 1, seconds: 1 }, { id: "1" })
      const error = yield* Effect.flip(requests.submit({ id: 2, seconds: 1 }, { id: "1" }))
      assert.deepInclude(error, { _tag: "DuplicateId", id: "1" })
      assert.strictEqual((yield* requests.submit({ id: 2, seconds: 1 })).id, "2")
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual((yield* requests.submit({ id: 3, seconds: 0 }, { id: "1" })).id, "1")
    }))

  it.scoped("the limit of time counts from the start, and interrupts the run", () =>
    Effect.gen(function*() {
      const { module, open } = yield* counting
      const requests = yield* RequestManager.make(module, { concurrency: 1, timeout: "3 seconds" })
      const slow = yield* requests.submit({ id: 1, seconds: 10 })
      const own = yield* requests.submit({ id: 2, seconds: 10 }, { timeout: "1 seconds" })
      const fast = yield* requests.submit({ id: 3, seconds: 2 })
      yield* TestClock.adjust("3 seconds")
      const error = yield* Effect.flip(slow.await)
      assert.deepInclude(error, { _tag: "TimedOut", id: "1" })
      assert.strictEqual(String(error), `TimedOut: request "1" ran for longer than 3s`)
      assert.strictEqual((yield* requests.active).length, 2)
      yield* TestClock.adjust("1 seconds")
      assert.deepInclude(yield* Effect.flip(own.await), { _tag: "TimedOut", id: "2" })
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* fast.await, 3)
      assert.strictEqual(yield* open, 0)
    }))

  it.scoped("one is cancelled, whether it runs or waits; the others go on", () =>
    Effect.gen(function*() {
      const { begun, module, open } = yield* counting
      const requests = yield* RequestManager.make(module, { concurrency: 1 })
      const running = yield* requests.submit({ id: 1, seconds: 9 }, { id: "running" })
      const waiting = yield* requests.submit({ id: 2, seconds: 1 }, { id: "waiting" })
      const other = yield* requests.submit({ id: 3, seconds: 1 })
      yield* settle
      assert.isTrue(yield* requests.cancel("waiting"))
      assert.isTrue(yield* requests.cancel("running"))
      assert.isFalse(yield* requests.cancel("running"))
      assert.deepInclude(yield* Effect.flip(running.await), { _tag: "Cancelled", id: "running" })
      assert.deepInclude(yield* Effect.flip(waiting.await), { _tag: "Cancelled", id: "waiting" })
      yield* settle
      assert.strictEqual(yield* open, 1)
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(yield* other.await, 3)
      assert.strictEqual(yield* begun, 2)
    }))

  it.scoped("run cancels its request when nobody waits for it any more", () =>
    Effect.gen(function*() {
      const { module, open } = yield* counting
      const requests = yield* RequestManager.make(module)
      const fiber = yield* Effect.fork(requests.run({ id: 1, seconds: 9 }))
      yield* settle
      assert.strictEqual(yield* open, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* open, 0)
      assert.deepStrictEqual(yield* requests.active, [])
    }))

  it.scoped("a request is heard by those who listen to it, and by nobody else, however long it has waited", () =>
    Effect.gen(function*() {
      const { module } = yield* counting
      const requests = yield* RequestManager.make(module, { concurrency: 1 })
      const heard: Array<string> = []
      const ask = (name: string) =>
        requests.submit({ id: 1, seconds: 1 }).pipe(
          ModuleEvent.listen({
            deltas: false,
            emit: (events) => Effect.sync(() => heard.push(...events.map(({ _tag }) => `${name} ${_tag}`)))
          })
        )
      yield* ask("first")
      yield* ask("second")
      yield* requests.submit({ id: 1, seconds: 1 })
      yield* TestClock.adjust("3 seconds")
      yield* requests.drain
      assert.deepStrictEqual(heard, [
        "first ModuleStart",
        "first ModuleEnd",
        "second ModuleStart",
        "second ModuleEnd"
      ])
    }))

  it.scoped("drains: takes no more, and waits for what there is", () =>
    Effect.gen(function*() {
      const { module } = yield* counting
      const requests = yield* RequestManager.make(module, { concurrency: 1 })
      const both = yield* Effect.all([
        requests.submit({ id: 1, seconds: 1 }),
        requests.submit({ id: 2, seconds: 1 })
      ])
      const drained = yield* Effect.fork(requests.drain)
      yield* settle
      assert.strictEqual((yield* Effect.flip(requests.submit({ id: 3, seconds: 1 })))._tag, "Closed")
      yield* TestClock.adjust("1 seconds")
      assert.isNull(drained.unsafePoll())
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(drained)
      assert.deepStrictEqual(yield* Effect.forEach(both, (request) => request.await), [1, 2])
    }))

  it.effect("its scope closes: everything is cancelled, and what waits does not begin", () =>
    Effect.gen(function*() {
      const { begun, module, open } = yield* counting
      const scope = yield* Scope.make()
      const requests = yield* Scope.extend(RequestManager.make(module, { concurrency: 1 }), scope)
      const both = yield* Effect.all([
        requests.submit({ id: 1, seconds: 1 }),
        requests.submit({ id: 2, seconds: 1 })
      ])
      yield* settle
      yield* Scope.close(scope, Exit.void)
      const errors = yield* Effect.forEach(both, (request) => Effect.flip(request.await))
      assert.deepStrictEqual(
        errors.map((error) => typeof error === "string" ? error : error._tag),
        ["Cancelled", "Cancelled"]
      )
      assert.deepStrictEqual([yield* begun, yield* open], [1, 0])
      assert.strictEqual((yield* Effect.flip(requests.submit({ id: 3, seconds: 1 })))._tag, "Closed")
    }))

  describe("coalescing", () => {
    const coalesce = { key: ({ id }: { readonly id: number }) => String(id), window: "10 seconds" } as const

    it.scoped("equal requests within the window share a run, and its result afterwards", () =>
      Effect.gen(function*() {
        const { begun, module } = yield* counting
        const requests = yield* RequestManager.make(module, { coalesce })
        const ask = requests.submit({ id: 1, seconds: 2 })
        const together = yield* Effect.all([ask, ask, ask, requests.submit({ id: 2, seconds: 2 })])
        assert.strictEqual((yield* requests.active).length, 4)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Effect.forEach(together, (request) => request.await), [1, 1, 1, 2])
        yield* TestClock.adjust("7 seconds")
        assert.strictEqual(yield* Effect.flatMap(ask, (request) => request.await), 1)
        assert.strictEqual(yield* begun, 2)
        yield* TestClock.adjust("1 seconds")
        const late = yield* ask
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(yield* late.await, 1)
        assert.strictEqual(yield* begun, 3)
      }))

    it.scoped("the run goes on as long as one of them wants it", () =>
      Effect.gen(function*() {
        const { module, open } = yield* counting
        const requests = yield* RequestManager.make(module, { coalesce })
        const [first, second] = yield* Effect.all([
          requests.submit({ id: 1, seconds: 4 }),
          requests.submit({ id: 1, seconds: 4 }, { timeout: "2 seconds" })
        ])
        yield* settle
        yield* requests.cancel(first.id)
        assert.strictEqual(yield* open, 1)
        yield* TestClock.adjust("2 seconds")
        assert.deepInclude(yield* Effect.flip(second.await), { _tag: "TimedOut" })
        yield* settle
        assert.strictEqual(yield* open, 0)
        // Nobody gets the interrupted run.
        const again = yield* requests.submit({ id: 1, seconds: 1 })
        yield* TestClock.adjust("1 seconds")
        assert.strictEqual(yield* again.await, 1)
      }))

    it.scoped("a failure is not kept for those who come later", () =>
      Effect.gen(function*() {
        const { begun, module } = yield* counting
        const requests = yield* RequestManager.make(module, { coalesce })
        const ask = requests.submit({ id: -1, seconds: 1 })
        const both = yield* Effect.all([ask, ask])
        yield* TestClock.adjust("1 seconds")
        assert.deepStrictEqual(yield* Effect.forEach(both, (request) => Effect.flip(request.await)), [
          "negative",
          "negative"
        ])
        yield* ask
        yield* settle
        assert.strictEqual(yield* begun, 2)
      }))
  })

  for (const shared of [false, true]) {
    // On the real clock, which the thousand need not wait for one by one.
    it.scopedLive(`1,000 requests cancelled at random leave nothing behind (${shared ? "coalesced" : "each its own"})`, () =>
      Effect.gen(function*() {
        const { module, most, open } = yield* counting
        const name = `random ${shared}`
        const requests = yield* RequestManager.make(module, {
          concurrency: 16,
          queueSize: 200,
          timeout: "20 millis",
          coalesce: shared ? { key: ({ id }) => String(id % 50), window: "5 millis" } : undefined,
          name
        })
        const random = Random.make("requests")
        const ended: Array<string> = []
        const done = yield* Deferred.make<void>()
        const note = (tag: string) =>
          Effect.suspend(() => ended.push(tag) === 1000 ? Deferred.succeed(done, undefined) : Effect.void)
        for (let n = 0; n < 1000; n++) {
          const seconds = (yield* random.next) < 0.1 ? 3600 : (yield* random.nextIntBetween(0, 4)) / 1000
          yield* requests.submit({ id: n % 7 === 0 ? -n : n, seconds }).pipe(
            Effect.flatMap((request) => request.await),
            Effect.matchEffect({
              onFailure: (error) => note(typeof error === "string" ? error : error._tag),
              onSuccess: () => note("answered")
            }),
            Effect.fork
          )
          if ((yield* random.next) < 0.4) {
            const active = yield* requests.active
            if (active.length > 0) {
              yield* requests.cancel(active[yield* random.nextIntBetween(0, active.length)]!.id) // within the list
            }
          }
          if (n % 4 === 0) yield* Effect.yieldNow()
          if (n % 100 === 0) yield* Effect.sleep("10 millis")
        }
        yield* Deferred.await(done)
        yield* requests.drain
        const counts = new Map<string, number>()
        for (const tag of ended) counts.set(tag, (counts.get(tag) ?? 0) + 1)
        for (const tag of ["answered", "Cancelled", "TimedOut", "negative"]) {
          assert.isAbove(counts.get(tag) ?? 0, 0, JSON.stringify(Array.from(counts)))
        }
        assert.deepStrictEqual(yield* requests.active, [])
        assert.strictEqual(yield* open, 0)
        assert.isAtMost(yield* most, 16)
        assert.deepStrictEqual(yield* gauges(name), [0, 0])
      }))
  }
})
