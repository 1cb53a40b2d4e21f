import * as Sandbox from "@effect-dspy/core/Sandbox"
import { Context, Effect, type Scope } from "effect"
import { describe, expectTypeOf, it } from "vitest"

class Store extends Context.Tag("Store")<Store, { readonly count: number }>() {}

describe("Sandbox", () => {
  it("a session needs and fails with what its functions do, but for exceptions", () => {
    expectTypeOf(Sandbox.open({
      functions: {
        add: (a, b) => Effect.succeed([a, b]),
        count: () => Effect.map(Store, ({ count }) => count),
        fail: () => Effect.fail("closed" as const),
        refuse: (reason) => new Sandbox.Exception({ message: String(reason) })
      },
      timeout: "2 seconds"
    })).toEqualTypeOf<
      Effect.Effect<
        Sandbox.Session<"closed", Store>,
        Sandbox.SandboxError,
        Sandbox.Sandbox | Scope.Scope
      >
    >()
  })

  it("parameters of functions have their type wherever a session is opened", () => {
    Effect.gen(function*() {
      const session = yield* Sandbox.open({
        functions: {
          look: (name) => Effect.succeed(`${name}`),
          refuse: () => new Sandbox.Exception({ message: "no" })
        },
        timeout: "2 seconds"
      })
      expectTypeOf(session).toEqualTypeOf<Sandbox.Session>()
    })
  })

  it("a session without functions needs nothing", () => {
    expectTypeOf(Sandbox.open()).toEqualTypeOf<
      Effect.Effect<Sandbox.Session, Sandbox.SandboxError, Sandbox.Sandbox | Scope.Scope>
    >()
    expectTypeOf(Sandbox.open({ timeout: "1 second" })).toEqualTypeOf<
      Effect.Effect<Sandbox.Session, Sandbox.SandboxError, Sandbox.Sandbox | Scope.Scope>
    >()
  })

  it("only JSON can be handed over", () => {
    const session = null as unknown as Sandbox.Session // only its type matters here
    session.set("list", [1, { a: null }])
    // @ts-expect-error a date is no JSON
    session.set("date", new Date(0))
  })
})
