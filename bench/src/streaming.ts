/**
 * How fast the deltas of one typed field pass, side by side with other
 * libraries: 2,000 deltas in one answer, on loopback. And how long after the
 * first bytes of a plain `fetch` the first delta of a field is there.
 */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { ai as axAi, ax } from "@ax-llm/ax"
import * as Predict from "@effect-dspy/core/Predict"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { streamObject } from "ai"
import { Layer, ManagedRuntime, Stream } from "effect"
import assert from "node:assert"
import OpenAI from "openai"
import { z } from "zod"
import { cost, median, serve, table } from "./fixture/measure.ts"

const { stop, url } = await serve()
const question = "Tell me a long story."
const deltas = 2000
const story = Array.from({ length: deltas }, (_, n) => `word${n % 10} `).join("")

const answer = Predict.make("question -> answer")
const runtime = ManagedRuntime.make(
  OpenAiCompatible.layer({ model: "chat", baseUrl: url }).pipe(Layer.provide(NodeHttpClient.layerUndici))
)
const openai = new OpenAI({ apiKey: "none", baseURL: url })
const sdk = createOpenAICompatible({ name: "bench", baseURL: url, apiKey: "none", supportsStructuredOutputs: true })(
  "json"
)
const schema = z.object({ answer: z.string() })
const axModel = axAi({ name: "openai", apiKey: "none", apiURL: url, config: { model: "ax" as never } })
const axAnswer = ax("question:string -> answer:string")

const contenders: Readonly<Record<string, () => Promise<string>>> = {
  "effect-dspy": () =>
    runtime.runPromise(Stream.mkString(ModuleStream.field(answer, { question }, { path: "", field: "answer" }))),
  "effect-dspy, every event": () =>
    runtime.runPromise(
      Stream.runFold(ModuleStream.events(answer, { question }), "", (text, event) =>
        event._tag === "FieldDelta" ? text + event.text : text)
    ),
  openai: async () => {
    let text = ""
    const stream = await openai.chat.completions.create({
      model: "plain",
      stream: true,
      messages: [{ role: "user", content: question }]
    })
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ""
    return text
  },
  ai: async () => {
    let text = ""
    for await (const partial of streamObject({ model: sdk, schema, prompt: question }).partialObjectStream) {
      text = partial.answer ?? text
    }
    return text
  },
  ax: async () => {
    let text = ""
    for await (const { delta } of axAnswer.streamingForward(axModel, { question })) text += delta.answer ?? ""
    return text
  }
}

for (const [name, call] of Object.entries(contenders)) {
  assert.strictEqual((await call()).trim(), story.trim(), name)
}

const rounds = 9
const repeats = 5
const rates = new Map(Object.keys(contenders).map((name) => [name, [] as Array<number>]))
for (let round = -1; round < rounds; round++) {
  for (const [name, call] of Object.entries(contenders)) {
    const { wall } = await cost(async () => {
      for (let n = 0; n < repeats; n++) await call()
    })
    if (round >= 0) rates.get(name)!.push(deltas * repeats / wall * 1000)
  }
}
const reference = median(rates.get("openai")!)
console.log(`one field of ${deltas} deltas, median of ${rounds} interleaved rounds`)
table(
  ["", "deltas/s", "against openai"],
  Array.from(rates, ([name, values]) => [
    name,
    median(values).toFixed(0),
    `${(median(values) / reference).toFixed(2)}x`
  ])
)

// ---- The first delta, against the first bytes

const firstBytes = async (): Promise<void> => {
  const response = await fetch(`${url}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "chat", stream: true, messages: [{ role: "user", content: question }] })
  })
  const reader = response.body!.getReader()
  await reader.read()
  await reader.cancel()
}

const firstDelta = (): Promise<void> =>
  runtime.runPromise(Stream.runDrain(Stream.take(ModuleStream.text(answer, { question }), 1)))

const timed = async (call: () => Promise<void>): Promise<number> => {
  const start = performance.now()
  await call()
  return performance.now() - start
}

const pairs = 400
const later: Array<number> = []
for (let n = -100; n < pairs; n++) {
  const both = n % 2 === 0
    ? [await timed(firstBytes), await timed(firstDelta)]
    : [await timed(firstDelta), await timed(firstBytes)].reverse()
  if (n >= 0) later.push(both[1]! - both[0]!) // a pair
}
later.sort((a, b) => a - b)
const quantile = (q: number): string => `${later[Math.floor(q * (pairs - 1))]!.toFixed(2)} ms` // of all pairs
console.log(`the first delta of a field, later than the first bytes of a fetch by (${pairs} pairs)`)
table(["p50", "p90", "p99"], [[quantile(0.5), quantile(0.9), quantile(0.99)]])

await runtime.dispose()
stop()
