/**
 * What one typed `question -> answer` costs in CPU time, side by side with a
 * hand-written call and with other libraries, on loopback. Each contender runs
 * in a process of its own, as it would in a program; the processes take turns.
 */
import assert from "node:assert"
import { spawnSync } from "node:child_process"
import { cost, median, repeat, serve, table } from "./fixture/measure.ts"

const question = "What is the capital of France?"
const prompt = (model: string) => ({ model, messages: [{ role: "user" as const, content: question }] })
const headers = { "content-type": "application/json", authorization: "Bearer none" }

type Call = () => Promise<string | null | undefined>
interface Completion {
  readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }>
}

const contenders: Readonly<Record<string, (url: string) => Promise<Call>>> = {
  "effect-dspy": async (url) => {
    const Predict = await import("@effect-dspy/core/Predict")
    const OpenAiCompatible = await import("@effect-dspy/providers/OpenAiCompatible")
    const NodeHttpClient = await import("@effect/platform-node/NodeHttpClient")
    const { Layer, ManagedRuntime } = await import("effect")
    const answer = Predict.make("question -> answer")
    const runtime = ManagedRuntime.make(
      OpenAiCompatible.layer({ model: "chat", baseUrl: url }).pipe(Layer.provide(NodeHttpClient.layerUndici))
    )
    return async () => (await runtime.runPromise(answer({ question }))).answer
  },
  "raw undici": async (url) => {
    const { request } = await import("undici")
    return async () => {
      const body = JSON.stringify(prompt("plain"))
      const response = await request(`${url}/chat/completions`, { method: "POST", headers, body })
      return ((await response.body.json()) as Completion).choices[0]?.message.content
    }
  },
  "raw fetch": async (url) => async () => {
    const body = JSON.stringify(prompt("plain"))
    const response = await fetch(`${url}/chat/completions`, { method: "POST", headers, body })
    return ((await response.json()) as Completion).choices[0]?.message.content
  },
  openai: async (url) => {
    const { default: OpenAI } = await import("openai")
    const client = new OpenAI({ apiKey: "none", baseURL: url })
    return async () => (await client.chat.completions.create(prompt("plain"))).choices[0]?.message.content
  },
  ai: async (url) => {
    const { generateObject } = await import("ai")
    const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible")
    const { z } = await import("zod")
    const provider = createOpenAICompatible({
      name: "bench",
      baseURL: url,
      apiKey: "none",
      supportsStructuredOutputs: true
    })
    const schema = z.object({ answer: z.string() })
    return async () => (await generateObject({ model: provider("json"), schema, prompt: question })).object.answer
  },
  ax: async (url) => {
    const { ai, ax } = await import("@ax-llm/ax")
    const model = ai({
      name: "openai",
      apiKey: "none",
      apiURL: url,
      config: { model: "ax" as never, stream: false } // the server takes any name
    })
    const answer = ax("question:string -> answer:string")
    return async () => (await answer.forward(model, { question })).answer
  }
}

const levels = [1, 64, 512]
const total = 1200
type Figures = ReadonlyArray<{ readonly cpu: number; readonly rate: number }>

const measureOne = async (name: string, url: string): Promise<Figures> => {
  const call = await contenders[name]!(url)
  assert.strictEqual(await call(), "Paris", name)
  const figures: Array<Figures[number]> = []
  for (const concurrency of levels) {
    const { cpu, wall } = await cost(() => repeat(total, concurrency, call))
    figures.push({ cpu: cpu / total, rate: total / wall * 1000 })
  }
  return figures
}

const [name, url] = process.argv.slice(2)

if (name !== undefined && url !== undefined) {
  console.log(JSON.stringify(await measureOne(name, url)))
  process.exit()
}

const server = await serve()
const rounds = 5
const measured = new Map(Object.keys(contenders).map((name) => [name, [] as Array<Figures>]))
for (let round = 0; round < rounds; round++) {
  for (const [name, figures] of measured) {
    const child = spawnSync(process.execPath, [...process.execArgv, import.meta.filename, name, server.url], {
      encoding: "utf8"
    })
    if (child.status !== 0) throw new Error(`${name}: ${child.stderr.slice(-1000)}`)
    figures.push(JSON.parse(child.stdout.trim().split("\n").at(-1)!)) // it prints its figures last
  }
}
levels.forEach((concurrency, level) => {
  const cpu = (name: string) => median(measured.get(name)!.map((figures) => figures[level]!.cpu))
  console.log(`concurrency ${concurrency}, ${total} calls a round, median of ${rounds} rounds in turn`)
  table(
    ["", "CPU per call", "against raw fetch", "calls/s"],
    Array.from(measured, ([name, figures]) => [
      name,
      `${cpu(name).toFixed(0)} µs`,
      `${(cpu(name) / cpu("raw fetch")).toFixed(2)}x`,
      median(figures.map((figures) => figures[level]!.rate)).toFixed(0)
    ])
  )
})
server.stop()
