/**
 * How fast the deltas of one typed field pass, side by side with other
 * libraries: 2,000 deltas in one answer, on loopback. And how long after the
 * first bytes of a plain `fetch` the first delta of a field is there.
 */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { ai as axAi, ax } from "@ax-llm/ax"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { streamObject } from "ai"
import { Effect, Layer, ManagedRuntime, Stream } from "effect"
import assert from "node:assert"
import * as os from "node:os"
import OpenAI from "openai"
import { z } from "zod"
import { cost, median, serve, table } from "./fixture/measure.ts"

const { stop, url } = await serve()
const load = (): string => os.loadavg()[0]!.toFixed(1) // there are three
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
  // The answer as the model writes it, with what is around its field.
  "effect-dspy, the provider alone": () =>
    runtime.runPromise(
      Stream.runFold(
        LanguageModel.stream({ messages: [{ role: "user", content: question }] }),
        "",
        (text, delta) => delta._tag === "TextDelta" ? text + delta.text : text
      )
    ).then((text) => text.replace(/\[\[ ## \w+ ## \]\]/g, "")),
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
const costs = new Map(Object.keys(contenders).map((name) => [name, [] as Array<number>]))
for (let round = -1; round < rounds; round++) {
  for (const [name, call] of Object.entries(contenders)) {
    const { cpu, wall } = await cost(async () => {
      for (let n = 0; n < repeats; n++) await call()
    })
    if (round < 0) continue
    rates.get(name)!.push(deltas * repeats / wall * 1000)
    costs.get(name)!.push(cpu / deltas / repeats)
  }
}
const rateOf = (name: string): number => median(rates.get(name)!)
const costOf = (name: string): number => median(costs.get(name)!)
console.log(`one field of ${deltas} deltas, median of ${rounds} interleaved rounds (load ${load()})`)
table(
  ["", "deltas/s", "CPU per delta", "in a second of CPU", "against openai", "against ai", "against ax"],
  Object.keys(contenders).map((name) => [
    name,
    rateOf(name).toFixed(0),
    `${costOf(name).toFixed(2)} µs`,
    (1e6 / costOf(name)).toFixed(0),
    ...["openai", "ai", "ax"].map((other) => `${(costOf(other) / costOf(name)).toFixed(2)}x`)
  ])
)

// ---- The first delta, against the first bytes

// Ten frames at first, as a model begins: what comes later must not be waited for, nor be read before.
const slowly = url.replace(/\/v1$/, "/delay/20/v1")
const slow = ManagedRuntime.make(
  OpenAiCompatible.layer({ model: "chat", baseUrl: slowly }).pipe(Layer.provide(NodeHttpClient.layerUndici))
)

// Each calls back when it has what it waits for, and then leaves.
type First = (onFirst: () => void) => Promise<void>

const firstBytes: First = async (onFirst) => {
  const response = await fetch(`${slowly}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "chat", stream: true, messages: [{ role: "user", content: question }] })
  })
  const reader = response.body!.getReader()
  await reader.read()
  onFirst()
  await reader.cancel()
}

const firstDelta: First = (onFirst) =>
  slow.runPromise(
    ModuleStream.text(answer, { question }).pipe(
      Stream.take(1),
      Stream.runForEach(() => Effect.sync(onFirst))
    )
  )

const timed = async (first: First): Promise<number> => {
  const start = performance.now()
  let end = start
  await first(() => {
    end = performance.now()
  })
  return end - start
}

const pairs = 400

// How much later the second of two is there than the first, which take turns in who begins.
const later = async (first: First, second: First): Promise<ReadonlyArray<string>> => {
  const differences: Array<number> = []
  for (let n = -100; n < pairs; n++) {
    const both = n % 2 === 0
      ? [await timed(first), await timed(second)]
      : [await timed(second), await timed(first)].reverse()
    if (n >= 0) differences.push(both[1]! - both[0]!) // a pair
  }
  differences.sort((a, b) => a - b)
  return [0.5, 0.9, 0.99].map((q) => `${differences[Math.floor(q * (pairs - 1))]!.toFixed(2)} ms`) // of all pairs
}

console.log(`the first delta of a field, later than the first bytes of a fetch (${pairs} pairs, load ${load()})`)
table(["", "p50", "p90", "p99"], [
  ["first delta", ...await later(firstBytes, firstDelta)],
  ["another fetch", ...await later(firstBytes, firstBytes)]
])

await runtime.dispose()
await slow.dispose()
stop()
