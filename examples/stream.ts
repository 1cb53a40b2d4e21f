/**
 * An answer that is watched while it is written: what is there of it, from the
 * first word on, with the type of the whole. In a terminal it grows in place.
 */
import { Predict, Signature } from "@effect-dspy/core"
import { ModuleStream } from "@effect-dspy/streaming"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import * as Model from "./model.ts"
import * as Terminal from "./terminal.ts"

const signature = Signature.parse("ticket -> summary, steps: string[], urgent: boolean", {
  instructions: "Say what the customer wants and how to go about it."
})

const plan = Predict.make(signature)

const input = { ticket: "I was charged twice for March. Please refund one of the payments." }

ModuleStream.partial(plan, input, { path: "", signature }).pipe(
  Stream.runForEach((snapshot) =>
    snapshot._tag === "Written"
      ? Effect.zipRight(Terminal.show(""), Console.log(snapshot.value))
      : Terminal.show(
        `${snapshot.value.summary ?? ""} ${snapshot.value.steps?.map((step) => `· ${step}`).join(" ") ?? ""}`
      )
  ),
  Effect.provide([Model.layer, NodeContext.layer]),
  NodeRuntime.runMain
)
