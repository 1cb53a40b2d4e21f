/**
 * How fast the deltas of one typed field pass, side by side with other
 * libraries: 2,000 deltas in one answer, on loopback.
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

await runtime.dispose()
stop()
