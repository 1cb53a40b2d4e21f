import { ChainOfThought, Module, Predict, Signature } from "@effect-dspy/core"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Schema } from "effect"
import * as Model from "./model.ts"

const Triage = Signature.make({
  instructions: "Route a support ticket.",
  input: { ticket: Schema.String },
  output: { team: Schema.Literal("billing", "technical", "account"), urgent: Schema.Boolean }
})

const support = Module.make(
  { triage: Predict.make(Triage), reply: ChainOfThought.make("ticket, team -> reply") },
  function*(m, input: { readonly ticket: string }) {
    const { team, urgent } = yield* m.triage(input)
    const { reply } = yield* m.reply({ ticket: input.ticket, team })
    return { team, urgent, reply }
  }
)

support({ ticket: "I was charged twice for March. Please refund one of the payments." }).pipe(
  Effect.flatMap(Console.log),
  Effect.provide(Model.layer),
  NodeRuntime.runMain
)
