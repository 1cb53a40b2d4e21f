/**
 * A program that runs from a recording: no key, no network, the same every time.
 *
 * - `tsx examples/cassette.ts` plays the cassette back and asks nothing;
 * - with `CASSETTE=record` it asks the model (see `model.ts` for which) and
 *   records its answers anew, with `CASSETTE=replay` only what is not recorded.
 *
 * The cassette beside it was recorded from the embedded stand-in, which is not a
 * language model.
 */
import { Policy, Predict, Signature } from "@effect-dspy/core"
import { Cassette, UsageLedger } from "@effect-dspy/providers"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Schema } from "effect"
import { fileURLToPath } from "node:url"
import * as Model from "./model.ts"

const Triage = Signature.make({
  instructions:
    "Route a support ticket. billing: charged, invoice, refund. technical: freezes, error, sync. account: password, member.",
  input: { ticket: Schema.String },
  output: { team: Schema.Literal("billing", "technical", "account") }
})

const triage = Predict.make(Triage)

const tickets = [
  "I was charged twice for March.",
  "The app freezes when I open a board.",
  "How do I add a member to my team?"
]

const cassette = Effect.map(
  Config.literal("strict", "replay", "record")("CASSETTE").pipe(Config.withDefault("strict")),
  (mode) => Cassette.make({ path: fileURLToPath(import.meta.resolve("./data/triage.cassette.jsonl")), mode })
)

const model = Layer.unwrapEffect(
  Effect.map(cassette, (cassette) => Model.layer.pipe(Policy.apply(cassette), Policy.apply(UsageLedger.policy)))
).pipe(Layer.provideMerge(Layer.merge(UsageLedger.layer(), NodeContext.layer)))

const program = Effect.gen(function*() {
  for (const ticket of tickets) {
    const { team } = yield* triage({ ticket })
    yield* Console.log(`${team.padEnd(9)} ${ticket}`)
  }
  const { calls, inputTokens, outputTokens } = UsageLedger.total(yield* UsageLedger.snapshot)
  yield* Console.log(`${calls} calls, ${inputTokens} tokens in, ${outputTokens} out`)
})

program.pipe(Effect.provide(model), NodeRuntime.runMain)
