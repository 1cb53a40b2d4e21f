/**
 * What policies cost a call in CPU time, side by side with none, against a server on loopback that answers at once. The
 * variants take turns in one process. `--calls` and `--rounds` change how much is done.
 */
import * as Budget from "@effect-dspy/core/Budget"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as BudgetPolicy from "@effect-dspy/providers/BudgetPolicy"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import * as Policies from "@effect-dspy/providers/Policies"
import * as ResponseCache from "@effect-dspy/providers/ResponseCache"
import * as UsageLedger from "@effect-dspy/providers/UsageLedger"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Console, Effect, Layer } from "effect"
import assert from "node:assert"
import { parseArgs } from "node:util"
import { cost, median, serve, table } from "./fixture/measure.ts"

const { values } = parseArgs({
  allowPositionals: true,
  options: { calls: { type: "string", default: "1000" }, rounds: { type: "string", default: "5" } }
})
const calls = Number(values.calls)
const rounds = Number(values.rounds)
const concurrency = 64

let asked = 0
let repeated = 0
const request = (n: number): LanguageModel.Request => ({
  messages: [{ role: "user", content: `${n}: What is the capital of France?` }]
})
const fresh = () => request(1_000_000 + asked++)
// The first of two runs fills the cache.
const known = () => request(repeated++ % 25)

const all = Effect.gen(function*() {
  const budget = yield* Budget.make({ calls: 1e12, tokens: 1e12 })
  return Policies.standard({
    rateLimit: { requestsPerMinute: 1e9, tokensPerMinute: 1e12, concurrency: 1e6 },
    budget: BudgetPolicy.fromBudget(budget),
    cache: ResponseCache.memory({ maxBytes: 64 * 1024 * 1024 })
  })
})

const program = (url: string) =>
  Effect.gen(function*() {
    const plain = yield* OpenAiCompatible.make({ model: "plain", baseUrl: url, id: "bench/plain" })
    const counted = yield* UsageLedger.policy(plain)
    const standard = yield* Policies.standard()(plain)
    const every = yield* (yield* all)(counted)
    const variants: ReadonlyArray<
      readonly [name: string, model: LanguageModel.Service, request: () => LanguageModel.Request]
    > = [
      ["none", plain, fresh],
      ["Policies.standard()", standard, fresh],
      ["all, and a ledger; not in the cache", every, fresh],
      ["all, and a ledger; in the cache", every, known]
    ]
    const ways = {
      whole: (model: LanguageModel.Service, request: LanguageModel.Request) => model.generate(request),
      streamed: (model: LanguageModel.Service, request: LanguageModel.Request) =>
        LanguageModel.fold(model.stream(request), model.id)
    }
    for (const [way, ask] of Object.entries(ways)) {
      const total = way === "whole" ? calls : Math.ceil(calls / 20)
      const figures = variants.map(() => [] as Array<{ readonly cpu: number; readonly wall: number }>)
      for (let round = 0; round < rounds; round++) {
        for (const [n, [, model, next]] of variants.entries()) {
          const run = Effect.forEach(
            Array.from({ length: total }),
            () => Effect.suspend(() => ask(model, next())),
            { concurrency, discard: true }
          )
          // @effect-diagnostics-next-line runEffectInsideEffect:off
          figures[n]!.push(yield* Effect.promise(() => cost(() => Effect.runPromise(run))))
        }
      }
      const first = yield* ask(plain, fresh())
      assert.ok(first.outputs[0]?.text.length)
      const cpu = (n: number) => median(figures[n]!.map(({ cpu }) => cpu)) / total
      yield* Console.log(`${way}, ${total} calls a round, ${concurrency} at a time, median of ${rounds} rounds in turn`)
      table(
        ["policies", "CPU per call", "against none", "calls/s"],
        variants.map(([name], n) => [
          name,
          `${cpu(n).toFixed(0)} µs`,
          `${(cpu(n) / cpu(0)).toFixed(2)}x`,
          (total / median(figures[n]!.map(({ wall }) => wall)) * 1000).toFixed(0)
        ])
      )
    }
  }).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeHttpClient.layerUndici, UsageLedger.layer())))

const server = await serve()
await Effect.runPromise(program(server.url))
server.stop()
