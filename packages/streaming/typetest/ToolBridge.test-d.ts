import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Predict from "@effect-dspy/core/Predict"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as Tool from "@effect-dspy/core/Tool"
import * as Client from "@effect-dspy/streaming/Client"
import * as ToolBridge from "@effect-dspy/streaming/ToolBridge"
import { Context, Effect, type Scope } from "effect"
import { expectTypeOf, it } from "vitest"

class Service extends Context.Tag("Service")<Service, { readonly now: number }>() {}

const needy = Tool.make("needy", {
  description: "Needs a service.",
  parameters: {},
  run: () => Effect.map(Service, ({ now }) => now)
})
const plain = Tool.make("plain", { description: "Needs nothing.", parameters: {}, run: () => Effect.succeed(1) })

declare const channel: ToolBridge.Channel<"lost">

it("an agent with tools of a client fails and needs as one without", () => {
  const program = Effect.flatMap(ToolBridge.tools, (tools) => ReAct.make("a -> b", { tools })({ a: "" }))
  expectTypeOf<Effect.Effect.Error<typeof program>>().toEqualTypeOf<Predict.PredictError>()
  expectTypeOf<Effect.Effect.Context<typeof program>>().toEqualTypeOf<LanguageModel.LanguageModel>()
})

it("who offers tools needs what they need, and fails as the connection does or when they are refused", () => {
  expectTypeOf(ToolBridge.offer(channel, [needy, plain])).toEqualTypeOf<
    Effect.Effect<void, "lost" | ToolBridge.Refused, Service>
  >()
  expectTypeOf(ToolBridge.offer(channel, [plain])).toEqualTypeOf<Effect.Effect<void, "lost" | ToolBridge.Refused>>()
  expectTypeOf(ToolBridge.connect(channel)).toEqualTypeOf<Effect.Effect<ToolBridge.ToolBridge, never, Scope.Scope>>()
})

it("a Client takes tools whose needs are met", () => {
  Client.makeWebSocket({ url: "http://localhost", contracts: {}, tools: [plain] })
  // @ts-expect-error nobody would meet them
  Client.makeWebSocket({ url: "http://localhost", contracts: {}, tools: [needy] })
})
