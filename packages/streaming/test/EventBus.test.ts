import * as EventBus from "@effect-dspy/streaming/EventBus"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Exit, Fiber, Schema, Scope, Stream } from "effect"

const Asked = Schema.TaggedStruct("Asked", { n: Schema.Int.pipe(Schema.nonNegative()) })
const Answered = Schema.TaggedStruct("Answered", { n: Schema.Int })

const asked = (n: number) => ({ _tag: "Asked", n }) as const
const answered = (n: number) => ({ _tag: "Answered", n }) as const

const numbers = (stream: Stream.Stream<{ readonly n: number }>) =>
  Effect.map(Stream.runCollect(stream), (events) => Chunk.toReadonlyArray(events).map(({ n }) => n))

// A bus that has closed after these effects, so that subscriptions have an end.
const closedAfter = <A, E>(
  use: (
    bus: EventBus.EventBus<typeof Asked.Type | typeof Answered.Type>
  ) => Effect.Effect<A, E, Scope.Scope>
) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const result = yield* Effect.flatMap(Scope.extend(EventBus.make(Asked, Answered), scope), use)
    yield* Scope.close(scope, Exit.void)
    return result
  })

describe("EventBus", () => {
  it.scoped("every subscriber hears what it is subscribed to, from then on, in order", () =>
    Effect.gen(function*() {
      const [all, some, late] = yield* closedAfter((bus) =>
        Effect.gen(function*() {
          const all = yield* bus.subscribe({ policy: "backpressure" })
          const some = yield* bus.subscribe({ policy: "dropping", events: ["Answered"] })
          yield* bus.publish(asked(1))
          yield* bus.publish(answered(2))
          const late = yield* bus.subscribe({ policy: "sliding" })
          yield* bus.publish(asked(3))
          return [all, some, late] as const
        })
      )
      assert.deepStrictEqual(yield* numbers(all.events), [1, 2, 3])
      assert.deepStrictEqual(yield* numbers(some.events), [2])
      assert.deepStrictEqual(yield* numbers(late.events), [3])
    }))

  it.scoped("an event that its schema does not allow is heard by nobody", () =>
    Effect.gen(function*() {
      const subscription = yield* closedAfter((bus) =>
        Effect.gen(function*() {
          const subscription = yield* bus.subscribe({ policy: "dropping" })
          const error = yield* Effect.flip(bus.publish(asked(-1)))
          assert.strictEqual(error._tag, "ParseError")
          yield* bus.publish(answered(-1))
          return subscription
        })
      )
      assert.deepStrictEqual(yield* numbers(subscription.events), [-1])
    }))

  it.scoped("a slow subscriber misses what its policy says, and holds up nobody", () =>
    Effect.gen(function*() {
      const [dropping, sliding, quick] = yield* closedAfter((bus) =>
        Effect.gen(function*() {
          const dropping = yield* bus.subscribe({ policy: "dropping", bufferSize: 2 })
          const sliding = yield* bus.subscribe({ policy: "sliding", bufferSize: 2 })
          const quick = yield* bus.subscribe({ policy: "dropping" })
          yield* Effect.forEach([1, 2, 3, 4, 5], (n) => bus.publish(asked(n)))
          return [dropping, sliding, quick] as const
        })
      )
      assert.deepStrictEqual([yield* dropping.missed, yield* sliding.missed, yield* quick.missed], [3, 3, 0])
      assert.deepStrictEqual(yield* numbers(dropping.events), [1, 2])
      assert.deepStrictEqual(yield* numbers(sliding.events), [4, 5])
      assert.deepStrictEqual(yield* numbers(quick.events), [1, 2, 3, 4, 5])
    }))

  it.scoped("publishers wait for a subscriber that wants to miss nothing, after the others have heard", () =>
    Effect.gen(function*() {
      const bus = yield* EventBus.make(Asked, Answered)
      const slow = yield* bus.subscribe({ policy: "backpressure", bufferSize: 1 })
      const quick = yield* bus.subscribe({ policy: "dropping" })
      const publisher = yield* Effect.fork(Effect.forEach([1, 2, 3], (n) => bus.publish(asked(n))))
      assert.deepStrictEqual(yield* numbers(Stream.take(quick.events, 2)), [1, 2])
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      assert.isNull(publisher.unsafePoll())
      assert.deepStrictEqual(yield* numbers(Stream.take(slow.events, 3)), [1, 2, 3])
      yield* Fiber.join(publisher)
      assert.strictEqual(yield* slow.missed, 0)
    }))

  it.scoped("a subscription that ends releases the publishers that wait for it", () =>
    Effect.gen(function*() {
      const bus = yield* EventBus.make(Asked)
      const scope = yield* Scope.make()
      yield* Scope.extend(bus.subscribe({ policy: "backpressure", bufferSize: 1 }), scope)
      const publisher = yield* Effect.fork(Effect.forEach([1, 2, 3], (n) => bus.publish(asked(n)), { discard: true }))
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      assert.isNull(publisher.unsafePoll())
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(publisher)
    }))

  it.scoped("a subscription to a closed bus has ended", () =>
    Effect.gen(function*() {
      let kept: EventBus.EventBus<typeof Asked.Type | typeof Answered.Type> | undefined
      yield* closedAfter((bus) => Effect.sync(() => void (kept = bus)))
      const subscription = yield* kept!.subscribe({ policy: "dropping" }) // set above
      assert.deepStrictEqual(yield* numbers(subscription.events), [])
    }))
})
