import type * as Module from "@effect-dspy/core/Module"
import * as RequestManager from "@effect-dspy/streaming/RequestManager"
import type { Effect, Scope } from "effect"
import { describe, expectTypeOf, it } from "vitest"

declare const module: Module.Module<{ readonly question: string }, { readonly answer: string }, "broken", "model">

describe("RequestManager", () => {
  it("keeps the types of the module", () => {
    const manager = RequestManager.make(module, { coalesce: { key: ({ question }) => question, window: "1 second" } })
    expectTypeOf(manager).toEqualTypeOf<
      Effect.Effect<
        RequestManager.RequestManager<{ readonly question: string }, { readonly answer: string }, "broken">,
        never,
        "model" | Scope.Scope
      >
    >()
    expectTypeOf<Effect.Effect.Success<typeof manager>["run"]>().returns.toEqualTypeOf<
      Effect.Effect<
        { readonly answer: string },
        | "broken"
        | RequestManager.TimedOut
        | RequestManager.Cancelled
        | RequestManager.QueueFull
        | RequestManager.Closed
        | RequestManager.DuplicateId
      >
    >()
  })
})
