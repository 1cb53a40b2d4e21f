/**
 * One program behind four providers, each of which speaks its own protocol.
 *
 * - `tsx examples/providers.ts` plays back what each has answered, and needs no key;
 * - with `CASSETTE=record` it asks them anew. Keys and addresses are those that
 *   `ModelString` reads: `OPENAI_API_KEY`, `ANTHROPIC_API_KEY`, `GEMINI_API_KEY`, and
 *   an Ollama that runs here.
 */
import { Policy, Predict, Signature } from "@effect-dspy/core"
import { Cassette, ModelString, UsageLedger } from "@effect-dspy/providers"
import { NodeContext, NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Redacted, Schema } from "effect"
import { fileURLToPath } from "node:url"

const models = ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash", "ollama/llama3.2"]

const triage = Predict.make(Signature.make({
  instructions: "Route a support ticket.",
  input: { ticket: Schema.String },
  output: { team: Schema.Literal("billing", "technical", "account"), urgent: Schema.Boolean }
}))

// One file serves one model.
const fileOf = (model: string) =>
  fileURLToPath(import.meta.resolve(`./data/${model.replaceAll("/", ".")}.cassette.jsonl`))

const Model = (id: string, mode: Cassette.Mode) =>
  ModelString.layer(id, {
    // Nobody asks for a key when nobody is asked.
    apiKey: mode === "strict" ? Redacted.make("none") : undefined
  }).pipe(
    Layer.provide(NodeHttpClient.layerUndici),
    Policy.apply(Cassette.make({ path: fileOf(id), mode })),
    Policy.apply(UsageLedger.policy)
  )

const program = Effect.gen(function*() {
  const mode = yield* Config.literal("strict", "record")("CASSETTE").pipe(Config.withDefault("strict"))
  for (const id of models) {
    const { team, urgent } = yield* triage({ ticket: "I was charged twice for March." }).pipe(
      Effect.provide(Model(id, mode))
    )
    yield* Console.log(`${id.padEnd(28)} ${team}${urgent ? ", urgent" : ""}`)
  }
  const { inputTokens, outputTokens } = UsageLedger.total(yield* UsageLedger.snapshot)
  yield* Console.log(`${inputTokens} tokens in, ${outputTokens} out`)
})

program.pipe(Effect.provide(Layer.merge(UsageLedger.layer(), NodeContext.layer)), NodeRuntime.runMain)
