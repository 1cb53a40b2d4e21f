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

const multiply = Tool.fromFunction("multiply", {
  description: "Multiplies two numbers.",
  parameters: { a: Schema.Number, b: Schema.Number },
  run: ({ a, b }) => a * b
})

// Whoever is responsible is asked with what is about to be done, and may say no.
const order = Tool.make("order", {
  description: "Orders items.",
  parameters: { item: Schema.String, count: Schema.Int.pipe(Schema.positive()) },
  run: ({ count, item }) => Effect.succeed(`${count} × ${item} ordered`),
  timeout: "10 seconds"
}).pipe(
  Tool.withApproval(({ count, item }) =>
    Effect.succeed(count <= (stock[item]?.left ?? 0) || { denied: `there are not ${count} of them` })
  )
)

const clerk = ReAct.make("order -> reply, total: number", { tools: [lookUp, multiply, order], maxIters: 6 })

// What a model would answer, one after the other. It looks up two items at once, mistakes a name, and submits a total that is
// no number before it submits one that is.
const use = (thought: string, ...calls: ReadonlyArray<readonly [name: string, args: { [name: string]: unknown }]>) =>
  TestLanguageModel.toolCalls(
    calls.map(([name, args]) => ({ name, arguments: JSON.stringify(args) })),
    thought
  )

const Model = TestLanguageModel.layer([
  use("I need the prices.", ["look_up", { item: "lamps" }], ["look_up", { item: "desk" }]),
  use("It is called lamp.", ["look_up", { item: "lamp" }]),
  use("Two lamps, and the desk.", ["multiply", { a: 2, b: 40 }], ["order", { item: "lamp", count: 2 }], [
    "order",
    { item: "desk", count: 1 }
  ]),
  use("The desk has to wait.", ["submit", {
    reply: "Two lamps are on their way. There is no desk left.",
    total: "a lot"
  }]),
  use("The total is a number.", ["submit", { reply: "Two lamps are on their way. There is no desk left.", total: 80 }])
])

const program = Effect.gen(function*() {
  const { reply, termination, total, trajectory } = yield* clerk({ order: "Two lamps and a desk, please." }).pipe(
    // What happens, as it happens.
    ModuleEvent.listen({
      deltas: false,
      emit: (events) =>
        Effect.forEach(events, (event) => {
          switch (event._tag) {
            case "ToolStart":
              return Console.log(`${event.use}. ${event.tool} ${JSON.stringify(event.arguments)}`)
            case "ToolEnd":
              return Console.log(`${event.use}. ${event.failed ? "failed: " : ""}${event.observation}`)
            default:
              return Effect.void
          }
        }, { discard: true })
    })
  )
  for (const { observation, tool } of trajectory) {
    if (tool === "submit" && observation !== "") yield* Console.log(observation)
  }
  yield* Console.log(`${reply} That makes ${total}. (${termination})`)
})

program.pipe(Effect.provide(Model), NodeRuntime.runMain)
