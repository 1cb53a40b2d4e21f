import * as Budget from "@effect-dspy/core/Budget"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { NodeContext, NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Metric, Redacted, Stream, Tracer } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { inspect } from "node:util"
import * as Anthropic from "../src/Anthropic.ts"
import * as BudgetPolicy from "../src/BudgetPolicy.ts"
import * as Cassette from "../src/Cassette.ts"
import * as Gemini from "../src/Gemini.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as Policies from "../src/Policies.ts"
import * as ResponseCache from "../src/ResponseCache.ts"
import * as UsageLedger from "../src/UsageLedger.ts"
import * as FaultServer from "./FaultServer.ts"

// With characters that look different in a URL and in JSON.
const canary = "sk-canary/+0123456789\"abcdef0123456789abcdef"

// What base64 makes of it, wherever it begins within three bytes; the ends depend on the neighbours.
const forms = [
  canary,
  canary.slice(0, 20),
  canary.slice(-20),
  encodeURIComponent(canary),
  JSON.stringify(canary).slice(1, -1),
  Buffer.from(canary).toString("hex"),
  ...["", "x", "xx"].map((before) => Buffer.from(before + canary).toString("base64").slice(4, -4))
]

const providers = {
  openai: OpenAiCompatible.make,
  anthropic: Anthropic.make,
  gemini: Gemini.make
}

const answers: Readonly<Record<string, object>> = {
  openai: { model: "m", choices: [{ message: { content: "ok" }, finish_reason: "stop" }] },
  anthropic: { model: "m", content: [{ type: "text", text: "ok" }], stop_reason: "end_turn" },
  gemini: { candidates: [{ content: { parts: [{ text: "ok" }] }, finishReason: "STOP" }] }
}

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-canary-")))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

const keepingAll = (lines: Array<string>) => {
  const logger = Logger.make((entry) =>
    void lines.push(inspect(entry.message, { depth: 20 }), Cause.pretty(entry.cause), inspect(entry.annotations))
  )
  const written = (tracer: Tracer.Tracer) =>
    Tracer.make({
      context: (f) => f(),
      span: (...args) => {
        const span = tracer.span(...args)
        const { attribute, event } = span
        lines.push(args[0])
        span.attribute = (key, value) => {
          lines.push(`${key} ${inspect(value)}`)
          attribute.call(span, key, value)
        }
        span.event = (name, start, attributes) => {
          lines.push(`${name} ${inspect(attributes)}`)
          event.call(span, name, start, attributes)
        }
        return span
      }
    })
  return <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.flatMap(Effect.tracer, (tracer) =>
      Effect.withTracer(self, written(tracer)).pipe(
        Logger.withMinimumLogLevel(LogLevel.All),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      ))
}

describe("a key", () => {
  it.live(
    "is in no error, log, span, metric, cache, cassette or ledger, in whatever form",
    () =>
      Effect.gen(function*() {
        const directory = yield* folder
        const lines: Array<string> = []
        let sent = 0
        yield* Effect.gen(function*() {
          for (const [name, make] of Object.entries(providers)) {
            const scripts: ReadonlyArray<FaultServer.Script> = [
              FaultServer.json(200, answers[name]),
              FaultServer.json(401, { error: { message: `the key ${canary} is not valid` } }),
              FaultServer.json(400, {
                error: {
                  message: `${encodeURIComponent(canary)} ${Buffer.from(canary).toString("base64")}`,
                  code: canary
                }
              }),
              FaultServer.json(403, {}, {
                "x-request-id": "r",
                "x-echo": `x ${Buffer.from(canary).toString("base64")}`
              }),
              FaultServer.json(404, { detail: [{ loc: ["header", "key"], msg: canary, input: canary }] }),
              FaultServer.json(200, { error: { message: canary, code: 400 } }),
              FaultServer.sse(
                `event: error\ndata: ${JSON.stringify({ type: "error", error: { message: canary } })}\n\n`
              ),
              [FaultServer.head(200), FaultServer.write(`<html>${canary}`)],
              [FaultServer.rst]
            ]
            const server = yield* FaultServer.make((request) => {
              if (JSON.stringify(request.headers).includes("canary")) sent++
              return scripts[Number(/<(\d+)>/.exec(request.body)?.[1])]!
            })
            const plain = yield* make({ model: "m", baseUrl: server.url, apiKey: Redacted.make(canary) })
            const recorded = yield* Cassette.make({ path: path.join(directory, `${name}.jsonl`), mode: "record" })(
              plain
            )
            const counted = yield* UsageLedger.policy(recorded)
            const model = yield* Policies.standard({
              retry: { times: 0 },
              budget: BudgetPolicy.make(),
              cache: ResponseCache.sqlite({ path: path.join(directory, "lm.db") })
            })(counted)
            lines.push(inspect(model, { depth: 8, showHidden: true }), JSON.stringify(model))
            for (const n of scripts.keys()) {
              const request: LanguageModel.Request = { messages: [{ role: "user", content: `<${n}>` }] }
              for (const ask of [Effect.asVoid(model.generate(request)), Stream.runDrain(model.stream(request))]) {
                const exit = yield* Effect.exit(ask)
                lines.push(inspect(exit, { depth: 8, showHidden: true }), JSON.stringify(exit))
                if (Exit.isFailure(exit)) yield* Effect.logError("failed", exit.cause)
              }
            }
          }
          lines.push(JSON.stringify(yield* UsageLedger.snapshot), inspect(yield* Metric.snapshot, { depth: 20 }))
        }).pipe(Effect.scoped, keepingAll(lines))
        assert.isAbove(sent, 20)
        const files = fs.readdirSync(directory, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => path.join(entry.parentPath, entry.name))
        assert.includeMembers(files.map((file) => path.basename(file)), ["openai.jsonl", "gemini.jsonl", "lm.db"])
        const written = [lines.join("\n"), ...files.map((file) => fs.readFileSync(file, "latin1"))]
        assert.include(written[0], "Authentication")
        for (const form of forms) {
          for (const text of written) {
            assert.isFalse(text.includes(form), text.slice(Math.max(0, text.indexOf(form) - 200)).slice(0, 400))
          }
        }
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Layer.mergeAll(
            NodeHttpClient.layerUndici,
            NodeContext.layer,
            UsageLedger.layer(),
            Budget.layer({ calls: 1000 })
          )
        )
      ),
    60_000
  )
})
