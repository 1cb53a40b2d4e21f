/**
 * An agent: a program that uses tools until it knows enough. Offline: the model
 * is scripted, the tools are real.
 *
 *     npx tsx examples/agent.ts
 */
import { ModuleEvent, ReAct, TestLanguageModel, Tool } from "@effect-dspy/core"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Data, Effect, Schema } from "effect"

class NoSuchItem extends Data.TaggedError("NoSuchItem")<{ readonly item: string }> {
  override get message(): string {
    return `there is no "${this.item}"; there are ${Object.keys(stock).join(", ")}`
  }
}

const stock: { readonly [item: string]: { readonly price: number; readonly left: number } } = {
  lamp: { price: 40, left: 3 },
  desk: { price: 210, left: 0 }
}

const lookUp = Tool.make("look_up", {
  description: "The price of an item, and how many are left.",
  parameters: { item: Schema.String.annotations({ description: "one word, in the singular" }) },
  run: ({ item }) => Object.hasOwn(stock, item) ? Effect.succeed(stock[item]) : Effect.fail(new NoSuchItem({ item }))
})

const multiply = Tool.make("multiply", {
  description: "Multiplies two numbers.",
  parameters: { a: Schema.Number, b: Schema.Number },
  run: ({ a, b }) => Effect.succeed(a * b)
})

const clerk = ReAct.make("order -> reply, total: number", { tools: [lookUp, multiply], maxIters: 6 })

// What a model would write, one answer after the other: it mistakes a name first, and finds the right one.
const use = (thought: string, tool: string, args: { readonly [name: string]: string | number }) =>
  TestLanguageModel.fields({ next_thought: thought, next_tool_name: tool, next_tool_args: args })

const Model = TestLanguageModel.layer([
  use("I need the price.", "look_up", { item: "lamps" }),
  use("It is called lamp.", "look_up", { item: "lamp" }),
  use("Two of them.", "multiply", { a: 2, b: 40 }),
  use("That is all.", "finish", {}),
  TestLanguageModel.fields({
    reasoning: "There are 3 lamps left at 40 each.",
    reply: "Two lamps are on their way.",
    total: 80
  })
])

const program = Effect.gen(function*() {
  const { reply, termination, total } = yield* clerk({ order: "Two lamps, please." }).pipe(
    // What happens, as it happens.
    ModuleEvent.listen({
      deltas: false,
      emit: (events) =>
        Effect.forEach(events, (event) => {
          switch (event._tag) {
            case "ToolStart":
              return Console.log(`${event.tool} ${JSON.stringify(event.arguments)}`)
            case "ToolEnd":
              return Console.log(`  ${event.failed ? "failed: " : ""}${event.observation}`)
            default:
              return Effect.void
          }
        }, { discard: true })
    })
  )
  yield* Console.log(`${reply} That makes ${total}. (${termination})`)
})

program.pipe(Effect.provide(Model), NodeRuntime.runMain)
