import type * as Module from "@effect-dspy/core/Module"
import * as Chat from "@effect-dspy/streaming/Chat"
import type { KeyValueStore } from "@effect/platform"
import { type Effect, Schema, type Scope } from "effect"
import { describe, expectTypeOf, it } from "vitest"

const Turn = Schema.Struct({ question: Schema.String, at: Schema.DateFromString })

declare const reply: Module.Module<
  { readonly history: ReadonlyArray<typeof Turn.Type>; readonly question: string },
  { readonly answer: string },
  "broken",
  "model"
>

describe("Chat", () => {
  it("takes what the module takes beside its history", () => {
    const chat = Chat.make(reply, {
      turn: Turn,
      remember: ({ question }, { answer }) => ({ question: question + answer, at: new Date(0) })
    })
    expectTypeOf<Effect.Effect.Context<typeof chat>>().toEqualTypeOf<KeyValueStore.KeyValueStore | Scope.Scope>()
    type Sender = Effect.Effect.Success<typeof chat>
    expectTypeOf<Sender["send"]>().parameter(1).branded.toEqualTypeOf<{ readonly question: string }>()
    expectTypeOf<Sender["send"]>().returns.toEqualTypeOf<
      Effect.Effect<{ readonly answer: string }, "broken" | Chat.StoreError, "model">
    >()
    expectTypeOf<Sender["history"]>().returns.toEqualTypeOf<
      Effect.Effect<ReadonlyArray<typeof Turn.Type>, Chat.StoreError>
    >()
  })

  it("refuses a turn that is not of the history", () => {
    // @ts-expect-error a turn has a question
    Chat.make(reply, { turn: Turn, remember: () => ({ at: new Date(0) }) })
  })
})
