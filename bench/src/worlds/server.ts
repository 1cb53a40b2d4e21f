/**
 * The worlds as an OpenAI-compatible server on loopback, for optimizers that are not ours. Started as
 *
 *     node --import tsx bench/src/worlds/server.ts [--port 0] [--latency 0]
 *
 * it prints its address. The name of the model is the name of a world, such as `mixed/3`. Besides `/v1/chat/completions` it has
 *
 * - `/worlds/mixed/3`: the data, with what the metric needs,
 * - `/meter`: what was asked since the last time this was read, in calls, tokens, and calls in flight on average and at most.
 *
 * A request with a temperature above 0 is another sample each time it comes, as with a real model; any other has one answer.
 */
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { parseArgs } from "node:util"
import { type Answer, answerer, tokens } from "./model.ts"
import type { Message } from "./prompt.ts"
import * as rules from "./rules.ts"
import * as World from "./World.ts"

const { values: options } = parseArgs({
  options: { port: { type: "string", default: "0" }, latency: { type: "string", default: "0" } }
})
const latency = Number(options.latency)

// -----------------------------------------------------------------------------
// Metering
// -----------------------------------------------------------------------------

const none = { calls: 0, inputTokens: 0, outputTokens: 0, mostInFlight: 0, busy: 0, since: 0, until: 0 }
let meter = { ...none }
let inFlight = 0

const read = () => {
  const { busy, since, until, ...counts } = meter
  meter = { ...none }
  return { ...counts, milliseconds: until - since, meanInFlight: until > since ? busy / (until - since) : 0 }
}

// -----------------------------------------------------------------------------
// Answers
// -----------------------------------------------------------------------------

interface Body {
  readonly model: string
  readonly messages: ReadonlyArray<
    { readonly role: string; readonly content: string | ReadonlyArray<{ text?: string }> }
  >
  readonly temperature?: number
  readonly n?: number
}

const models = new Map<string, { readonly answer: Answer; readonly asked: Map<string, number> }>()

const modelOf = (name: string) => {
  let model = models.get(name)
  if (model === undefined) {
    model = { answer: answerer(World.named(name)), asked: new Map() }
    models.set(name, model)
  }
  return model
}

const complete = ({ messages, model: name, n = 1, temperature = 0 }: Body) => {
  const model = modelOf(name)
  const texts: ReadonlyArray<Message> = messages.map(({ content, role }) => ({
    role,
    content: typeof content === "string" ? content : content.map(({ text = "" }) => text).join("")
  }))
  const answers = Array.from({ length: n }, (_, index) => {
    if (temperature === 0 && index === 0) return model.answer(texts)
    const key = JSON.stringify(texts)
    const times = model.asked.get(key) ?? 0
    model.asked.set(key, times + 1)
    return model.answer(texts, times === 0 ? undefined : `${times}`)
  })
  const prompt_tokens = texts.reduce((sum, { content }) => sum + tokens(content), 0)
  const completion_tokens = answers.reduce((sum, text) => sum + tokens(text), 0)
  meter.calls++
  meter.inputTokens += prompt_tokens
  meter.outputTokens += completion_tokens
  return {
    id: `world-${meter.calls}`,
    object: "chat.completion",
    created: 1,
    model: name,
    choices: answers.map((content, index) => ({
      index,
      message: { role: "assistant", content },
      finish_reason: "stop",
      logprobs: null
    })),
    usage: { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
  }
}

const data = (name: string) => {
  const world = World.named(name)
  const { kind, seed, steps } = world
  return {
    name,
    seed,
    fields: World.fields(kind),
    noise: kind.noise,
    ...Object.fromEntries((["train", "validation", "test"] as const).map((set) => [
      set,
      World.inputs(world, set).map((input) => ({
        manifest: World.manifest(world, input),
        // By step: what is right, in each dialect, and the rule that says so.
        right: steps.map((step, index) => {
          const answer = World.truth(step, input)
          const value = input.values[step.governs]! // one value for each attribute
          return {
            words: step.answers[answer],
            rules: step.answers[answer]!.map((_, dialect) =>
              rules.state(world, { attribute: step.governs, value, step: index, answer, dialect })
            )
          }
        })
      }))
    ])),
    // By step: the words of the second dialect.
    second: steps.map((step) => step.answers.flatMap((words) => words.slice(1)))
  }
}

// -----------------------------------------------------------------------------
// HTTP
// -----------------------------------------------------------------------------

const server = http.createServer((request, response) => {
  const send = (status: number, body: unknown) => {
    const text = JSON.stringify(body)
    response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) })
    response.end(text)
  }
  const attempt = (make: () => unknown): [status: number, body: unknown] => {
    try {
      return [200, make()]
    } catch (error) {
      return [400, { error: { message: String(error), type: "invalid_request_error" } }]
    }
  }
  const path = request.url ?? "/"
  if (request.method === "GET") {
    if (path === "/meter") return send(200, read())
    if (path.startsWith("/worlds/")) return send(...attempt(() => data(path.slice("/worlds/".length))))
    return send(404, { error: { message: `there is no ${path}` } })
  }
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => {
    const start = performance.now()
    if (meter.since === 0) meter.since = start
    meter.mostInFlight = Math.max(meter.mostInFlight, ++inFlight)
    const [status, body] = attempt(() => complete(JSON.parse(Buffer.concat(chunks).toString()) as Body))
    setTimeout(() => {
      inFlight--
      meter.until = performance.now()
      meter.busy += meter.until - start
      send(status, body)
    }, latency)
  })
})

server.keepAliveTimeout = 60_000
server.listen(Number(options.port), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`) // it listens on a port, not a pipe
})
