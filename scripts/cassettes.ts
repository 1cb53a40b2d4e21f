/**
 * `npx tsx scripts/cassettes.ts`: records the cassettes of examples and guides anew, without a key. A server on this
 * machine plays the four APIs, in the form of each, with answers that stand below; whoever has keys records what the
 * models themselves say with `CASSETTE=record npx tsx examples/providers.ts`.
 */
import { LanguageModel, Policy } from "@effect-dspy/core"
import { Cassette, ModelString } from "@effect-dspy/providers"
import { NodeContext, NodeHttpClient } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { spawn } from "node:child_process"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import * as path from "node:path"

const root = path.dirname(import.meta.dirname)

const answerTo = (body: string): string =>
  body.includes("[[ ## ticket ## ]]")
    ? "[[ ## team ## ]]\nbilling\n\n[[ ## urgent ## ]]\nfalse\n\n[[ ## completed ## ]]"
    : "Hello!"

// Tokens as a rule of thumb has them: four characters each.
const tokens = (text: string): number => Math.ceil(text.length / 4)

const played = (url: string, body: string): object => {
  const text = answerTo(body)
  const [input, output] = [tokens(body), tokens(text)]
  if (url.includes("/messages")) {
    return {
      type: "message",
      role: "assistant",
      model: "claude-haiku-4-5",
      content: [{ type: "text", text }],
      stop_reason: "end_turn",
      usage: { input_tokens: input, output_tokens: output }
    }
  }
  if (url.includes(":generateContent")) {
    return {
      candidates: [{ content: { role: "model", parts: [{ text }] }, finishReason: "STOP" }],
      usageMetadata: { promptTokenCount: input, candidatesTokenCount: output },
      modelVersion: "gemini-2.5-flash"
    }
  }
  return {
    model: /"model":"([^"]+)"/.exec(body)?.[1],
    choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
    usage: { prompt_tokens: input, completion_tokens: output }
  }
}

const server = http.createServer((request, response) => {
  let body = ""
  request.setEncoding("utf8").on("data", (text: string) => body += text)
  request.on("end", () => {
    response.setHeader("content-type", "application/json")
    response.end(JSON.stringify(played(request.url ?? "", body)))
  })
})
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}` // it listens on a port

const environment: Record<string, string> = Object.fromEntries(
  ["OPENAI", "ANTHROPIC", "GEMINI", "OLLAMA"].flatMap((name) => [
    [`${name}_BASE_URL`, address],
    [`${name}_API_KEY`, "none"]
  ])
)

const run = (file: string): Promise<number | null> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, ["--import", "tsx", path.join(root, file)], {
      env: { ...process.env, ...environment, CASSETTE: "record" },
      stdio: "inherit"
    })
    child.on("close", resolve)
  })

// What docs/providers.md builds is asked this, in packages/providers/test/docs.test.ts.
const docs = LanguageModel.generate({ messages: [{ role: "user", content: "Say hello." }] }).pipe(
  Effect.provide(
    ModelString.layer("openai/gpt-4o-mini", { baseUrl: address }).pipe(
      Layer.provide(NodeHttpClient.layerUndici),
      Policy.apply(
        Cassette.make({ path: path.join(root, "packages/providers/test/fixtures/docs.cassette.jsonl"), mode: "record" })
      ),
      Layer.provide(NodeContext.layer)
    )
  )
)

const code = await run("examples/providers.ts")
await Effect.runPromise(docs)
server.close()
process.exitCode = code ?? 1
