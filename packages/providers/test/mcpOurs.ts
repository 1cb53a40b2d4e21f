/**
 * Tools and a module of ours as an MCP server; as a program, over stdio.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Schema } from "effect"
import * as McpServer from "../src/McpServer.ts"

const signature = Signature.make({
  instructions: "Says when something was.",
  input: { event: Schema.String },
  output: { on: Schema.DateFromString, certain: Schema.Boolean }
})

const dated = Module.make({ predict: Predict.make(signature) }, function*(m, input: { readonly event: string }) {
  yield* ModuleEvent.status("looking it up")
  return yield* m.predict(input)
})

export const tools = (slow: { readonly begun: Effect.Effect<unknown>; readonly stopped: Effect.Effect<unknown> }) =>
  [
    Tool.make("divide", {
      description: "Divides two numbers.",
      parameters: { dividend: Schema.Number, divisor: Schema.Number },
      run: ({ dividend, divisor }) =>
        divisor === 0 ? Effect.fail("nothing can be divided by 0") : Effect.succeed({ quotient: dividend / divisor })
    }),
    Tool.make("pay", {
      description: "Pays.",
      parameters: { amount: Schema.Number },
      run: ({ amount }) => Effect.succeed(`paid ${amount}`)
    }).pipe(Tool.withApproval(({ amount }) => Effect.succeed(amount < 10 ? true : { denied: "10 is too much" }))),
    Tool.make("draw", {
      description: "Draws.",
      parameters: {},
      run: (): Effect.Effect<ReadonlyArray<LanguageModel.Part>> =>
        Effect.succeed([{ _tag: "Text", text: "a dot" }, { _tag: "Image", url: "data:image/png;base64,iVBORw0KGgo=" }])
    }),
    Tool.make("break", {
      description: "Breaks.",
      parameters: {},
      failureMode: "error",
      run: () => Effect.fail("the password is 1234")
    }),
    Tool.make("wait", {
      description: "Waits.",
      parameters: {},
      run: () => Effect.onInterrupt(Effect.zipRight(slow.begun, Effect.never), () => slow.stopped)
    }),
    McpServer.fromModule("dated", dated, signature)
  ] as const

export const model = TestLanguageModel.layer([
  TestLanguageModel.fields({ on: "1969-07-20T00:00:00.000Z", certain: true })
])

if (process.argv[1] === import.meta.filename) {
  Effect.logInfo("on the standard error, or nothing works").pipe(
    Effect.zipRight(
      McpServer.stdio({
        name: "ours",
        version: "1.0.0",
        tools: tools({ begun: Effect.log("begun"), stopped: Effect.void })
      })
    ),
    Effect.zipLeft(Effect.sync(() => process.stderr.write("ended\n"))),
    Effect.provide(model),
    NodeRuntime.runMain
  )
}
