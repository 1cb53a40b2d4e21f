/**
 * Answers that are failures, through all policies: H and R.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, Either, Random } from "effect"
import * as Fallback from "../src/Fallback.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as Policies from "../src/Policies.ts"
import * as FaultServer from "../test/FaultServer.ts"
import { dialects, isStreamed, text } from "./dialects.ts"
import { now, numbered, numberOf, outcome, quantile, type Scenario, spread } from "./Scenario.ts"

const modelAt = (url: string, model = "m") => OpenAiCompatible.make({ model, baseUrl: url, id: `chaos/${model}` })

const answered = (request: FaultServer.Recorded): FaultServer.Script =>
  isStreamed(request)
    ? FaultServer.sse(...dialects.openai.stream)
    : FaultServer.json(200, dialects.openai.whole)

const error = (status: number, code?: string): FaultServer.Script =>
  FaultServer.json(status, { error: { message: "no", ...(code === undefined ? undefined : { code }) } })

const ask = (model: LanguageModel.Service, n: number, streamed: boolean) =>
  streamed ? LanguageModel.fold(model.stream(numbered(n)), model.id) : model.generate(numbered(n))

const tagOf = (end: Either.Either<unknown, LanguageModelError>): string =>
  Either.match(end, { onLeft: ({ reason }) => reason._tag, onRight: () => "answer" })

const statuses: ReadonlyArray<readonly [status: number, code: string | undefined, tag: string, attempts: number]> = [
  [400, undefined, "InvalidRequest", 1],
  [400, "context_length_exceeded", "ContextWindowExceeded", 1],
  [400, "content_filter", "ContentFiltered", 1],
  [401, undefined, "Authentication", 1],
  [402, undefined, "QuotaExhausted", 1],
  [403, undefined, "Permission", 1],
  [404, undefined, "NotFound", 1],
  [408, undefined, "ServerError", 3],
  [409, undefined, "Conflict", 3],
  [413, undefined, "RequestTooLarge", 1],
  [422, undefined, "InvalidRequest", 1],
  [425, undefined, "ServerError", 3],
  [429, undefined, "RateLimited", 3],
  [429, "insufficient_quota", "QuotaExhausted", 1],
  [429, "enforced_spend_limit_reached", "QuotaExhausted", 1],
  [500, undefined, "ServerError", 3],
  [502, undefined, "ServerError", 3],
  [503, undefined, "Overloaded", 3],
  [504, undefined, "ServerError", 3],
  [529, undefined, "Overloaded", 3]
]

const quotas = [
  [429, "insufficient_quota"],
  [429, "enforced_spend_limit_reached"],
  [429, "billing_hard_limit_reached"],
  [402, undefined]
] as const

const callers = 1000

// How long the server of H4 is down, from its first request on.
const downFor = 3000
const probeEvery = 500
let firstArrival: number | undefined

export const http: ReadonlyArray<Scenario> = [
  {
    id: "H1",
    title: "every status, always, whole and streamed, through Policies.standard",
    bar: "tag and attempts as in the table",
    serve: (request) => {
      const [status, code] = statuses[Math.floor(numberOf(request) / 2)]!
      return error(status, code)
    },
    run: ({ server }) =>
      Effect.gen(function*() {
        const ends = yield* Effect.forEach(
          statuses.flatMap(() => [false, true]),
          (streamed, n) =>
            Effect.flatMap(modelAt(server.url), Policies.standard()).pipe(
              Effect.flatMap((model) => Effect.either(ask(model, n, streamed)))
            ),
          { concurrency: "unbounded" }
        )
        const { requests } = yield* server.report
        return outcome(
          `${ends.length} rows`,
          ends.map((end, n) => {
            const [status, code, tag, attempts] = statuses[Math.floor(n / 2)]!
            const got = [tagOf(end), requests.filter(({ number }) => number === n).length]
            return [got[0] === tag && got[1] === attempts, `${status} ${code ?? ""}: ${got.join(", ")}`]
          })
        )
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "H3",
    title: `a server that is down, ${callers} callers at once and ${callers} within 5 s`,
    bar: `at most ${callers * 1.2} requests each; the breaker opens within 1 s of 20 failures`,
    serve: (request) => numberOf(request) % 2 === 0 ? error(503) : [FaultServer.rst],
    run: ({ server }) =>
      Effect.gen(function*() {
        const opened: Array<number> = []
        const all = (from: number, during: number) =>
          Effect.gen(function*() {
            const model = yield* Effect.flatMap(
              modelAt(server.url, from === 0 ? "burst" : "steady"),
              Policies.standard({
                circuitBreaker: {
                  onChange: (state) => Effect.sync(() => void (state._tag === "Open" && opened.push(now())))
                }
              })
            )
            return yield* Effect.forEach(
              Array.from({ length: callers }, (_, n) => n),
              (n) => Effect.either(Effect.delay(ask(model, from + n, n % 4 < 2), during / callers * n)),
              { concurrency: "unbounded" }
            )
          })
        const burst = yield* all(0, 0)
        const steadyOpened = opened.length
        const steady = yield* all(callers, 5000)
        const { requests } = yield* server.report
        const arrivals = (model: string) => requests.filter((seen) => seen.model === model)
        const opening = (opened[steadyOpened] ?? Infinity) - (arrivals("steady")[19]?.arrived ?? 0)
        return outcome(
          `${arrivals("burst").length} and ${arrivals("steady").length} requests, open after ${opening.toFixed(0)} ms`,
          [
            [arrivals("burst").length <= callers * 1.2, "too many requests of the callers who come at once"],
            [arrivals("steady").length <= callers * 1.2, "too many requests of the steady callers"],
            [[...burst, ...steady].every(Either.isLeft), "an answer from a server that is down"],
            [opening <= 1000, "the breaker opens late"]
          ]
        )
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "H4",
    title: `a server that is back after ${downFor / 1000} s, 200 calls/s`,
    bar: "at most one probe in each interval, then all calls answered",
    serve: (request) => {
      firstArrival ??= now()
      return now() - firstArrival < downFor ? error(500) : answered(request)
    },
    run: ({ server }) =>
      Effect.gen(function*() {
        const changes: Array<readonly [state: string, at: number]> = []
        const sent: Array<number> = []
        const plain = yield* modelAt(server.url)
        const counted: LanguageModel.Service = {
          ...plain,
          generate: (request) => Effect.zipRight(Effect.sync(() => sent.push(now())), plain.generate(request))
        }
        const model = yield* Policies.standard({
          retry: false,
          circuitBreaker: {
            open: probeEvery,
            maxOpen: probeEvery,
            onChange: (state) => Effect.sync(() => void changes.push([state._tag, now()]))
          }
        })(counted)
        yield* plain.generate(numbered(9999)).pipe(Effect.ignore)
        const ends = yield* Effect.forEach(
          Array.from({ length: 200 * 6 }, (_, n) => n),
          (n) =>
            Effect.delay(
              Effect.map(Effect.either(ask(model, n, false)), (end) => ({ end, at: now() })),
              5 * n
            ),
          { concurrency: "unbounded" }
        )
        const opened = changes.find(([state]) => state === "Open")?.[1] ?? Infinity
        const closed = changes.find(([state]) => state === "Closed")?.[1] ?? Infinity
        const probes = sent.filter((at) => at > opened && at < closed).length
        const intervals = Math.ceil((closed - opened) / probeEvery)
        const late = ends.filter(({ at, end }) => at > closed + 50 && Either.isLeft(end)).length
        return outcome(`${probes} probes in ${intervals} intervals, ${late} failures after it closed`, [
          [probes > 0 && probes <= intervals, "the number of probes"],
          [Number.isFinite(closed) && late === 0, "failures after the recovery"]
        ])
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "H5",
    title: "a quota that is spent, with another model to go to",
    bar: "1 attempt, then the other model",
    serve: (request) => {
      const [status, code] = quotas[numberOf(request) % quotas.length]!
      return request.body.includes("\"primary\"") ? error(status, code) : answered(request)
    },
    run: ({ server }) =>
      Effect.gen(function*() {
        const backup = yield* modelAt(server.url, "backup")
        const model = yield* Effect.flatMap(
          modelAt(server.url, "primary"),
          Policies.standard({ fallback: Fallback.make({ models: [backup] }) })
        )
        const ends = yield* Effect.forEach(
          Array.from({ length: quotas.length * 2 }, (_, n) => n),
          (n) => Effect.either(ask(model, n, n >= quotas.length)),
          { concurrency: "unbounded" }
        )
        const { requests } = yield* server.report
        const count = (model: string) => requests.filter((seen) => seen.model === model).length
        return outcome(`${count("primary")} attempts and ${count("backup")} answers for ${ends.length} calls`, [
          [count("primary") === ends.length, "attempts at the model without a quota"],
          [ends.every(Either.isRight) && count("backup") === ends.length, "answers of the other model"]
        ])
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "R1",
    title: "half of the first model's calls and a fifth of the other's fail",
    bar: "99.9 % answered, p99 of them within 1.5 s, each text whole",
    serve: (request) => {
      // Which attempts fail follows from the number and how often it was asked.
      const attempt = attemptOf(`${request.body.includes("\"primary\"")} ${numberOf(request)}`)
      const dice = (numberOf(request) * 7919 + attempt * 104_729) % 1000
      const fails = dice < (request.body.includes("\"primary\"") ? 500 : 200)
      if (!fails) return answered(request)
      switch (dice % 6) {
        case 0:
          return error(429)
        case 1:
          return error(529)
        case 2:
          return error(500)
        case 3:
          return [FaultServer.rst]
        case 4:
          return FaultServer.sse()
        default:
          return error(200, "server_error")
      }
    },
    run: ({ seed, server, times }) =>
      Effect.gen(function*() {
        const second = yield* Effect.flatMap(
          modelAt(server.url, "backup"),
          Policies.standard({ retry: { times: 2, budget: { ratio: 1 } }, circuitBreaker: false })
        )
        const model = yield* Effect.flatMap(
          modelAt(server.url, "primary"),
          Policies.standard({
            circuitBreaker: false,
            retry: { times: 0 },
            fallback: Fallback.make({ models: [second] })
          })
        )
        const total = times(5000)
        const ends = yield* Effect.forEach(
          Array.from({ length: total }, (_, n) => n),
          (n) =>
            Effect.gen(function*() {
              const started = now()
              const end = yield* Effect.either(ask(model, n, yield* Random.nextBoolean))
              return { end, took: now() - started }
            }),
          { concurrency: 16 }
        )
        const good = ends.filter(({ end }) => Either.isRight(end))
        const whole = good.every(({ end }) => Either.isRight(end) && end.right.outputs[0]?.text === text)
        return outcome(
          `${good.length} of ${total}, ${spread(good.map(({ took }) => took))}`,
          [
            [good.length >= total * 0.999, "too few answers"],
            [quantile(good.map(({ took }) => took), 0.99) <= 1500, "slow"],
            [whole, "a text that is not whole"]
          ]
        )
      }).pipe(Effect.withRandom(Random.make(seed)), Effect.provide(NodeHttpClient.layerUndici))
  }
]

const attempts = new Map<string, number>()

const attemptOf = (call: string): number => {
  const attempt = attempts.get(call) ?? 0
  attempts.set(call, attempt + 1)
  return attempt
}
