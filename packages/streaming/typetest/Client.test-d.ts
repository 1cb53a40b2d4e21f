import type * as Module from "@effect-dspy/core/Module"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Signature from "@effect-dspy/core/Signature"
import * as Client from "@effect-dspy/streaming/Client"
import type * as Server from "@effect-dspy/streaming/Server"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as Socket from "@effect/platform/Socket"
import { type Effect, Schema, type Scope, type Stream } from "effect"
import { describe, expectTypeOf, it } from "vitest"

// What a server exports as a type.
interface Modules extends Server.Modules {
  readonly answer: Module.Module<{ readonly question: string }, { readonly answer: string }, "broken", "model">
  readonly report: Server.Endpoint<
    { readonly since: Date },
    { readonly since: string },
    { readonly due: Date },
    { readonly due: string },
    "broken",
    "store"
  >
}

declare const client: Client.Client<Client.FromModules<Pick<Modules, "answer" | "report">>>

describe("Client", () => {
  it("from a type sends and receives JSON", () => {
    expectTypeOf(client.run("answer", { question: "?" })).toEqualTypeOf<
      Effect.Effect<{ readonly answer: string }, Client.ClientError>
    >()
    expectTypeOf(client.run("report", { since: "1970-01-01" })).toEqualTypeOf<
      Effect.Effect<{ readonly due: string }, Client.ClientError>
    >()
    expectTypeOf(client.stream("answer", { question: "?" })).toEqualTypeOf<
      Stream.Stream<ModuleEvent.ModuleEvent<{ readonly answer: string }>, Client.ClientError>
    >()
    // @ts-expect-error a date is sent as a text
    client.run("report", { since: new Date(0) })
    // @ts-expect-error there is no such module
    client.run("other", {})
    // @ts-expect-error an input is missing
    client.stream("answer", {})
  })

  it("with contracts decodes what comes", () => {
    const contracts = {
      report: Signature.make({ input: { since: Schema.Date }, output: { due: Schema.Date } }),
      add: Signature.parse("a: int, b: int -> sum: int")
    }
    const made = Client.make({ url: "http://localhost:3000", contracts })
    expectTypeOf<Effect.Effect.Context<typeof made>>().toEqualTypeOf<HttpClient.HttpClient>()
    const connected = Client.makeWebSocket({ url: "http://localhost:3000", contracts })
    expectTypeOf<Effect.Effect.Context<typeof connected>>().toEqualTypeOf<
      HttpClient.HttpClient | Scope.Scope | Socket.WebSocketConstructor
    >()
    expectTypeOf<Effect.Effect.Success<typeof connected>>().toEqualTypeOf<Effect.Effect.Success<typeof made>>()
    const own = null as unknown as Effect.Effect.Success<typeof made>
    expectTypeOf(own.run("report", { since: new Date(0) })).toEqualTypeOf<
      Effect.Effect<{ readonly due: Date }, Client.ClientError>
    >()
    expectTypeOf(own.run("add", { a: 1, b: 2 })).toEqualTypeOf<
      Effect.Effect<{ readonly sum: number }, Client.ClientError>
    >()
    // @ts-expect-error a number is asked for
    own.run("add", { a: 1, b: "2" })
  })
})
