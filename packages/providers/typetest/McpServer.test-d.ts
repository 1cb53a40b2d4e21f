import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as Tool from "@effect-dspy/core/Tool"
import * as McpServer from "@effect-dspy/providers/McpServer"
import * as McpTools from "@effect-dspy/providers/McpTools"
import type { HttpApp } from "@effect/platform"
import { Context, Effect, Schema, type Scope } from "effect"
import { expectTypeOf, it } from "vitest"

class Service extends Context.Tag("Service")<Service, { readonly now: number }>() {}

const needy = Tool.make("needy", {
  description: "Needs a service.",
  parameters: {},
  run: () => Effect.map(Service, ({ now }) => now)
})

const signature = Signature.make({
  instructions: "Says when something was.",
  input: { event: Schema.String },
  output: { on: Schema.DateFromString }
})
const dated = McpServer.fromModule("dated", Predict.make(signature), signature)

it("a module becomes a tool with its inputs, encoded outputs, failures and needs", () => {
  expectTypeOf(dated).toEqualTypeOf<
    Tool.Tool<
      "dated",
      { readonly event: string },
      { readonly on: string },
      Predict.PredictError,
      LanguageModel.LanguageModel
    >
  >()
  // @ts-expect-error it takes something else
  McpServer.fromModule("other", Predict.make("question -> answer"), signature)
})

it("a server needs what its tools need", () => {
  const options = { name: "ours", version: "1.0.0", tools: [needy, dated] } as const
  expectTypeOf(McpServer.stdio(options)).toEqualTypeOf<
    Effect.Effect<void, never, Service | LanguageModel.LanguageModel>
  >()
  expectTypeOf(McpServer.http(options)).toEqualTypeOf<
    Effect.Effect<HttpApp.Default, never, Scope.Scope | Service | LanguageModel.LanguageModel>
  >()
})

it("tools of a server need nothing and end no program", () => {
  expectTypeOf<Tool.Error<McpTools.McpTool>>().toBeNever()
  expectTypeOf<Tool.Requirements<McpTools.McpTool>>().toBeNever()
  expectTypeOf(McpTools.http({ url: "" })).toEqualTypeOf<
    Effect.Effect<McpTools.Connection, McpTools.McpError, Scope.Scope>
  >()
})
