import * as EventBus from "@effect-dspy/streaming/EventBus"
import { type Effect, Schema, type Scope, type Stream } from "effect"
import { describe, expectTypeOf, it } from "vitest"

class Asked extends Schema.TaggedClass<Asked>()("Asked", { question: Schema.String }) {}
const Answered = Schema.TaggedStruct("Answered", { answer: Schema.String })

declare const bus: Effect.Effect.Success<ReturnType<typeof EventBus.make<[typeof Asked, typeof Answered]>>>

describe("EventBus", () => {
  it("takes the events of its kinds, and gives those that were subscribed to", () => {
    expectTypeOf(EventBus.make(Asked, Answered)).toEqualTypeOf<
      Effect.Effect<EventBus.EventBus<Asked | typeof Answered.Type>, never, Scope.Scope>
    >()
    expectTypeOf(bus.publish).parameter(0).toEqualTypeOf<Asked | typeof Answered.Type>()
    const some = bus.subscribe({ policy: "sliding", events: ["Answered"] })
    expectTypeOf<Effect.Effect.Success<typeof some>["events"]>().toEqualTypeOf<Stream.Stream<typeof Answered.Type>>()
    const all = bus.subscribe({ policy: "sliding" })
    expectTypeOf<Effect.Effect.Success<typeof all>["events"]>().toEqualTypeOf<
      Stream.Stream<Asked | typeof Answered.Type>
    >()
  })

  it("refuses other events, and subscriptions without a policy", () => {
    // @ts-expect-error no such event
    bus.publish({ _tag: "Other" })
    // @ts-expect-error no such event
    bus.subscribe({ policy: "sliding", events: ["Other"] })
    // @ts-expect-error what to do for a slow subscriber has to be said
    bus.subscribe({})
    // @ts-expect-error an event has a tag
    EventBus.make(Schema.Struct({ question: Schema.String }))
  })
})
