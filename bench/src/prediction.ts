/**
 * What one typed `question -> answer` costs in CPU time, side by side with a
 * hand-written call and with other libraries, on loopback.
 */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { ai as axAi, ax } from "@ax-llm/ax"
import * as Predict from "@effect-dspy/core/Predict"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { generateObject } from "ai"
import { Layer, ManagedRuntime } from "effect"
import assert from "node:assert"
import OpenAI from "openai"
import { request } from "undici"
import { z } from "zod"
import { cost, median, repeat, serve, table } from "./fixture/measure.ts"

const { stop, url } = await serve()
const question = "What is the capital of France?"
const body = (model: string) => JSON.stringify({ model, messages: [{ role: "user", content: question }] })
const headers = { "content-type": "application/json", authorization: "Bearer none" }
interface Completion {
  readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }>
}

const answer = Predict.make("question -> answer")
const runtime = ManagedRuntime.make(
  OpenAiCompatible.layer({ model: "chat", baseUrl: url }).pipe(Layer.provide(NodeHttpClient.layerUndici))
)
const openai = new OpenAI({ apiKey: "none", baseURL: url })
const sdk = createOpenAICompatible({ name: "bench", baseURL: url, apiKey: "none", supportsStructuredOutputs: true })(
  "json"
)
const schema = z.object({ answer: z.string() })
const axModel = axAi({
  name: "openai",
  apiKey: "none",
  apiURL: url,
  config: { model: "ax" as never, stream: false }
})
const axAnswer = ax("question:string -> answer:string")

const contenders: Readonly<Record<string, () => Promise<string | undefined>>> = {
  "effect-dspy": async () => (await runtime.runPromise(answer({ question }))).answer,
  "raw undici": async () => {
    const response = await request(`${url}/chat/completions`, { method: "POST", headers, body: body("plain") })
    return ((await response.body.json()) as Completion).choices[0]?.message.content
  },
  "raw fetch": async () => {
    const response = await fetch(`${url}/chat/completions`, { method: "POST", headers, body: body("plain") })
    return ((await response.json()) as Completion).choices[0]?.message.content
  },
  openai: async () =>
    (await openai.chat.completions.create({ model: "plain", messages: [{ role: "user", content: question }] }))
      .choices[0]?.message.content ?? undefined,
  ai: async () => (await generateObject({ model: sdk, schema, prompt: question })).object.answer,
  ax: async () => (await axAnswer.forward(axModel, { question })).answer
}

for (const [name, call] of Object.entries(contenders)) {
  assert.strictEqual(await call(), "Paris", name)
}

const rounds = 5
for (const concurrency of [1, 64, 512]) {
  const total = 1200
  const costs = new Map(
    Object.keys(contenders).map((name) => [name, { cpu: [] as Array<number>, wall: [] as Array<number> }])
  )
  for (let round = -1; round < rounds; round++) {
    for (const [name, call] of Object.entries(contenders)) {
      const { cpu, wall } = await cost(() => repeat(total, concurrency, call))
      if (round < 0) continue // the first round warms up
      costs.get(name)!.cpu.push(cpu / total)
      costs.get(name)!.wall.push(total / wall * 1000)
    }
  }
  const fetchCpu = median(costs.get("raw fetch")!.cpu)
  console.log(`concurrency ${concurrency}, ${total} calls a round, median of ${rounds} interleaved rounds`)
  table(
    ["", "CPU per call", "against raw fetch", "calls/s"],
    Array.from(costs, ([name, { cpu, wall }]) => [
      name,
      `${median(cpu).toFixed(0)} µs`,
      `${(median(cpu) / fetchCpu).toFixed(2)}x`,
      median(wall).toFixed(0)
    ])
  )
}

await runtime.dispose()
stop()
