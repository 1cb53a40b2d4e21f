/**
 * An agent whose tools are in another language: a Python program that runs
 * beside this one and brings them along. Offline: the model is scripted, the
 * tools are real. Needs python3, and says so where there is none.
 *
 *     npx tsx examples/bridge.ts
 */
import { ModuleEvent, ReAct, TestLanguageModel } from "@effect-dspy/core"
import { Subprocess } from "@effect-dspy/providers"
import { ToolBridge } from "@effect-dspy/streaming"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as path from "node:path"

// What a model would write, one answer after the other.
const Model = TestLanguageModel.layer([
  // One number has no deviation; it wants more of them.
  TestLanguageModel.toolCalls([{ name: "describe", arguments: { numbers: [7] } }]),
  TestLanguageModel.toolCalls([{ name: "describe", arguments: { numbers: [2, 3, 5, 7, 11] } }]),
  TestLanguageModel.toolCalls([{ name: "factors", arguments: { number: 2310 } }]),
  TestLanguageModel.toolCalls([{
    name: "submit",
    arguments: { answer: "Their mean is 5.6, and 2310 is their product." }
  }])
])

const program = Effect.gen(function*() {
  const python = yield* Subprocess.start({
    executable: "python3",
    arguments: ["-u", path.join(import.meta.dirname, "bridge", "tool.py")]
  })
  const bridge = yield* ToolBridge.connect(ToolBridge.lines(python))
  const mathematician = ReAct.make("question -> answer", { tools: yield* bridge.registered })
  const { answer } = yield* mathematician({ question: "What have 2, 3, 5, 7 and 11 to do with 2310?" }).pipe(
    // What happens, as it happens; what a tool says before it is done is a status.
    ModuleEvent.listen({
      deltas: false,
      emit: (events) =>
        Effect.forEach(events, (event) => {
          switch (event._tag) {
            case "ToolStart":
              return Console.log(`${event.tool} ${JSON.stringify(event.arguments)}`)
            case "Status":
              return Console.log(`  ${event.message}`)
            case "ToolEnd":
              return Console.log(`  ${event.failed ? "failed: " : "= "}${event.observation}`)
            default:
              return Effect.void
          }
        }, { discard: true })
    })
  )
  yield* Console.log(answer)
})

program.pipe(
  Effect.scoped,
  Effect.provide(Model),
  Effect.catchTag("SubprocessError", (error) => Console.log(`Skipped, this needs Python 3. ${error.message}`)),
  NodeRuntime.runMain
)
