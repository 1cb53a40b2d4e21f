/**
 * Texts analysed as they come in: support tickets arrive at their own pace, are
 * sorted in small batches, and what is going on is counted while they do. A
 * ticket that cannot be sorted is told and stops no other; those that are not
 * done when somebody presses Ctrl-C are told as well.
 */
import { Example, Module, Predict, Signature } from "@effect-dspy/core"
import { StreamProcessor } from "@effect-dspy/streaming"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Either, identity, Random, Schema, Stream } from "effect"
import { fileURLToPath } from "node:url"
import * as Model from "./model.ts"

const Route = Signature.make({
  instructions: "Route a customer's ticket to the team that can resolve it.",
  input: { ticket: Schema.String },
  output: { team: Schema.Literal("technical", "billing", "account", "security", "sales", "feedback") }
})

const file = fileURLToPath(new URL("data/tickets.jsonl", import.meta.url))

/** One after the other, some soon after the one before and some later. */
const arriving = (tickets: ReadonlyArray<string>) =>
  Stream.fromIterable(tickets).pipe(
    Stream.rechunk(1),
    Stream.tap(() => Effect.flatMap(Random.nextIntBetween(1, 120), (millis) => Effect.sleep(millis)))
  )

const program = Effect.gen(function*() {
  const [demos, tickets] = yield* Example.load(file, {
    inputs: Schema.Struct(Route.input.fields),
    labels: Schema.Struct(Route.output.fields)
  }).pipe(Effect.map((examples) => [examples.slice(0, 24), examples.slice(200, 240)] as const))

  const route = yield* Module.withParameters(Predict.make(Route), {
    "": { demos: demos.map(({ inputs, labels }) => ({ augmented: false, values: { ...inputs, ...labels } })) }
  })
  // Whoever runs it knows of each ticket what became of it.
  const batch = Module.batch(Module.either(route))

  const counts = new Map<string, number>()
  const arrived = Stream.map(arriving(tickets.map(({ inputs }) => inputs.ticket)), (ticket) => ({ ticket }))
  yield* StreamProcessor.items(arrived, batch, {
    size: 8,
    within: "250 millis",
    concurrency: 2,
    onUnprocessed: (items) => Console.log(`${items.length} tickets were not sorted`)
  }).pipe(
    Stream.runForEach(({ index, item, result }) =>
      Either.match(Either.flatMap(result, identity), {
        onLeft: (error) => Console.log(`${index + 1}: not sorted, ${error.message}`),
        onRight: ({ team }) => {
          counts.set(team, (counts.get(team) ?? 0) + 1)
          const sums = Array.from(counts, ([team, count]) => `${team} ${count}`).join(", ")
          return Console.log(`${index + 1}: ${team.padEnd(9)} ${item.ticket.slice(0, 40).padEnd(40)} | ${sums}`)
        }
      })
    )
  )
})

program.pipe(Effect.provide([Model.layer, NodeContext.layer]), NodeRuntime.runMain)
