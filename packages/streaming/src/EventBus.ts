/**
 * Typed events between parts of a program that do not know each other: whoever
 * publishes one does not wait for whoever hears it, unless a subscriber is
 * subscribed in that way.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"

/**
 * What events of one kind are: a schema of values with a `_tag`, such as
 * `Schema.TaggedStruct` or a `Schema.TaggedClass`.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventSchema extends Schema.Schema.AnyNoContext {
  readonly Type: { readonly _tag: string }
}

/**
 * How a subscriber gets events; see `policy` for what happens when `bufferSize`
 * of them, 256 by default, wait for it:
 *
 * - `"backpressure"`: publishers wait for it. It misses nothing, and holds them
 *   up; other subscribers have got the event by then.
 * - `"dropping"`: it misses the newest event.
 * - `"sliding"`: it misses the oldest one that waits.
 *
 * `events` are the tags it hears; all of them by default.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubscribeOptions<Tag extends string> {
  readonly policy: "backpressure" | "dropping" | "sliding"
  readonly bufferSize?: number | undefined
  readonly events?: ReadonlyArray<Tag> | undefined
}

/**
 * Hears events from the moment it exists until its scope or the bus closes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription<out Event> {
  /** To be run once. Ends when the bus closes, after what was published before. */
  readonly events: Stream.Stream<Event>
  /** How many events it has missed. */
  readonly missed: Effect.Effect<number>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface EventBus<in out Event extends { readonly _tag: string }> {
  /**
   * Gives an event to all who are subscribed; one that nobody hears is gone. The
   * events of one publisher are heard in its order. Fails on an event that its
   * schema does not allow, before anybody has heard it.
   */
  readonly publish: (event: Event) => Effect.Effect<void, ParseResult.ParseError>
  readonly subscribe: <Tag extends Event["_tag"] = Event["_tag"]>(
    options: SubscribeOptions<Tag>
  ) => Effect.Effect<Subscription<Extract<Event, { readonly _tag: Tag }>>, never, Scope.Scope>
}

interface Subscriber<Event> {
  readonly hears: (event: Event) => boolean
  readonly offer: (event: Event) => Effect.Effect<unknown>
  readonly policy: SubscribeOptions<string>["policy"]
  readonly end: Effect.Effect<unknown>
}

/**
 * A bus for these kinds of events. When its scope closes, all subscriptions end.
 *
 * @example
 * ```ts
 * import * as EventBus from "@effect-dspy/streaming/EventBus"
 * import { Chunk, Effect, Schema, Stream } from "effect"
 *
 * const Asked = Schema.TaggedStruct("Asked", { question: Schema.NonEmptyString })
 * const Answered = Schema.TaggedStruct("Answered", { answer: Schema.String })
 *
 * const program = Effect.gen(function*() {
 *   const bus = yield* EventBus.make(Asked, Answered)
 *   const asked = yield* bus.subscribe({ events: ["Asked"], policy: "sliding" })
 *   yield* bus.publish(Asked.make({ question: "Who?" }))
 *   yield* bus.publish(Answered.make({ answer: "Ada" }))
 *   return yield* asked.events.pipe(Stream.map(({ question }) => question), Stream.take(1), Stream.runCollect)
 * }).pipe(Effect.scoped)
 *
 * Effect.runPromise(program).then((questions) => assert.deepStrictEqual(Chunk.toReadonlyArray(questions), ["Who?"]))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Kinds extends readonly [EventSchema, ...Array<EventSchema>]>(
  ...kinds: Kinds
): Effect.Effect<EventBus<Kinds[number]["Type"]>, never, Scope.Scope> =>
  Effect.gen(function*() {
    type Event = Kinds[number]["Type"]
    // A union of the kinds has the type of any of them, and needs no services as none of them does.
    const validate = Schema.validate(Schema.make<Event, unknown, never>(Schema.Union(...kinds).ast))
    const subscribers = new Set<Subscriber<Event>>()
    let isClosed = false

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        isClosed = true
        return Effect.forEach(subscribers, ({ end }) => end, { discard: true })
      })
    )

    const subscribe: EventBus<Event>["subscribe"] = <Tag extends Event["_tag"]>(options: SubscribeOptions<Tag>) =>
      Effect.gen(function*() {
        const { bufferSize = 256, events, policy } = options
        const tags: ReadonlySet<string> | undefined = events === undefined ? undefined : new Set(events)
        const mailbox = yield* Mailbox.make<Extract<Event, { readonly _tag: Tag }>>({
          capacity: bufferSize,
          strategy: policy === "backpressure" ? "suspend" : policy
        })
        let missed = 0
        const subscriber: Subscriber<Event> = {
          policy,
          hears: (event) => tags === undefined || tags.has(event._tag),
          offer: (event) =>
            Effect.suspend(() => {
              const isFull = mailbox.unsafeSize().pipe(Option.exists((size) => size >= bufferSize))
              if (isFull && policy !== "backpressure") missed++
              return mailbox.offer(event as Extract<Event, { readonly _tag: Tag }>) // `hears` has seen its tag
            }),
          end: mailbox.end
        }
        yield* Effect.acquireRelease(
          Effect.suspend(() => {
            subscribers.add(subscriber)
            return isClosed ? mailbox.end : Effect.void
          }),
          () => {
            subscribers.delete(subscriber)
            return mailbox.shutdown // publishers that wait for it go on
          }
        )
        return { events: Mailbox.toStream(mailbox), missed: Effect.sync(() => missed) }
      })

    return {
      publish: (event) =>
        Effect.flatMap(validate(event), () => {
          const hearing = Array.from(subscribers).filter(({ hears }) => hears(event))
          // Those who wait for nobody come first.
          const [waiting, others] = Arr.partition(hearing, ({ policy }) => policy !== "backpressure")
          return Effect.zipRight(
            Effect.forEach(others, ({ offer }) => offer(event), { discard: true }),
            Effect.forEach(waiting, ({ offer }) => offer(event), { concurrency: "unbounded", discard: true })
          )
        }),
      subscribe
    }
  })
