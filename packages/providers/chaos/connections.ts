/**
 * Connections that cannot be made, break off or fall silent: T.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import { FetchHttpClient, type HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { Agent } from "@effect/platform-node/Undici"
import { Effect, Either, type Layer, Random, Stream } from "effect"
import * as net from "node:net"
import type { AddressInfo } from "node:net"
import * as tls from "node:tls"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as Policies from "../src/Policies.ts"
import * as Timeouts from "../src/Timeouts.ts"
import * as UndiciClient from "../src/UndiciClient.ts"
import * as certificate from "../test/certificate.ts"
import * as FaultServer from "../test/FaultServer.ts"
import { clients, dialectOf, dialects, isStreamed, text } from "./dialects.ts"
import {
  lateness,
  now,
  numbered,
  numberOf,
  outcome,
  type Scenario,
  type Seen,
  spread,
  withLateness
} from "./Scenario.ts"

interface Observed {
  readonly text: string
  readonly end: Either.Either<void, LanguageModelError.LanguageModelError>
  readonly took: number
}

const observe = (model: LanguageModel.Service, n: number): Effect.Effect<Observed> =>
  Effect.suspend(() => {
    const started = now()
    let text = ""
    return Effect.map(
      Effect.either(Stream.runForEach(model.stream(numbered(n)), (delta) =>
        Effect.sync(() => {
          if (delta._tag === "TextDelta") text += delta.text
        }))),
      (end) => ({ text, end, took: now() - started })
    )
  })

// =============================================================================
// T1
// =============================================================================

const listening = <S extends net.Server>(server: S) =>
  Effect.acquireRelease(
    Effect.async<number>((resume) => {
      server.on("connection", (socket: net.Socket) => socket.on("error", () => {}))
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port))) // it has a port
    }),
    () => Effect.async<void>((resume) => void server.close(() => resume(Effect.void)))
  )

const connectWithin = 500

// Options of two libraries' types that agree on what is given here.
const undici = (connect: tls.ConnectionOptions = {}): Layer.Layer<HttpClient.HttpClient> =>
  UndiciClient.layer(() => new Agent({ connect: connect as object }))

// An address that is given to nobody.
const noRoute = "http://240.0.0.1:81"

const reachable = (url: string) =>
  Effect.async<boolean>((resume) => {
    const { hostname, port } = new URL(url)
    const socket = net.connect({ host: hostname, port: Number(port), timeout: connectWithin })
    const end = (answered: boolean) => () => {
      socket.destroy()
      resume(Effect.succeed(answered))
    }
    socket.on("connect", end(true)).on("error", end(false)).on("timeout", end(false))
  })

const unmade = Effect.gen(function*() {
  const at = (url: string, client: Layer.Layer<HttpClient.HttpClient>) =>
    Effect.gen(function*() {
      const plain = yield* OpenAiCompatible.make({ model: "m", baseUrl: url })
      const model = yield* Timeouts.make({ connect: connectWithin })(plain)
      const started = now()
      const error = yield* Effect.flip(model.generate(numbered(0)))
      return { error, took: now() - started }
    }).pipe(Effect.provide(client))
  const tlsAt = (given: certificate.Certificate) => listening(tls.createServer(given))
  const good = certificate.selfSigned({ host: "localhost", until: 1 })
  const expired = certificate.selfSigned({ host: "localhost", until: -1 })
  const other = certificate.selfSigned({ host: "other.example", until: 1 })
  const closed = yield* Effect.scoped(listening(net.createServer()))
  const silent = yield* listening(net.createServer((socket) => void socket.resume()))
  const [goodAt, expiredAt, otherAt] = yield* Effect.forEach([good, expired, other], tlsAt)
  const phaseOf = ({ reason }: LanguageModelError.LanguageModelError) =>
    reason._tag === "Transport" || reason._tag === "Timeout" ? `${reason._tag} ${reason.phase}` : reason._tag
  // Behind some firewalls somebody answers for every address.
  const routed = yield* reachable(noRoute)
  const rows: ReadonlyArray<
    readonly [name: string, url: string, client: Layer.Layer<HttpClient.HttpClient>, phase: string, again: boolean]
  > = [
    ["refused", `http://127.0.0.1:${closed}`, undici(), "Transport connect", true],
    ["refused, fetch", `http://127.0.0.1:${closed}`, FetchHttpClient.layer, "Transport connect", true],
    ["refused, node", `http://127.0.0.1:${closed}`, NodeHttpClient.layer, "Transport connect", true],
    ["unknown name", "http://no-such-host.invalid", undici(), "Transport dns", true],
    ["unknown name, fetch", "http://no-such-host.invalid", FetchHttpClient.layer, "Transport dns", true],
    ...(routed ? [] : [["no route", noRoute, undici(), "Timeout connect", true] as const]),
    ["silent TLS", `https://127.0.0.1:${silent}`, undici(), "Timeout connect", true],
    ["self-signed", `https://localhost:${goodAt}`, undici(), "Transport tls", false],
    ["self-signed, fetch", `https://localhost:${goodAt}`, FetchHttpClient.layer, "Transport tls", false],
    ["self-signed, node", `https://localhost:${goodAt}`, NodeHttpClient.layer, "Transport tls", false],
    ["expired", `https://localhost:${expiredAt}`, undici({ ca: expired.cert }), "Transport tls", false],
    [
      "another name",
      `https://localhost:${otherAt}`,
      undici({ ca: other.cert, servername: "localhost" }),
      "Transport tls",
      false
    ],
    ["no TLS", `https://127.0.0.1:${goodAt}`.replace("https", "http"), undici(), "Transport headers", true]
  ]
  const { late, value: results } = yield* withLateness(Effect.forEach(rows, ([, url, client]) => at(url, client)))
  const longest = Math.max(...results.map(({ took }) => took))
  return outcome(
    `${rows.length} rows, the longest took ${longest.toFixed(0)} ms ${lateness(late)}${
      routed ? `; untested: no route, something answers for ${noRoute}` : ""
    }`,
    results.flatMap(({ error, took }, n) => {
      const [name, , , phase, again] = rows[n]!
      // A machine without a network knows at once that there is no route.
      const unreachable = name === "no route" && phaseOf(error) === "Transport connect"
      return [
        [phaseOf(error) === phase || unreachable, `${name}: ${phaseOf(error)} ${error.message}`],
        [error.retryable === again, `${name}: retryable is ${error.retryable}`],
        [took <= connectWithin + tolerance + late, `${name}: took ${took.toFixed(0)} ms`]
      ] as const
    })
  )
})

// =============================================================================
// T2, T3
// =============================================================================

// Where the answer to a request is cut: each has its own framing.
const scriptsOf = (request: FaultServer.Recorded): ReadonlyArray<FaultServer.Script> => {
  const { stream, whole } = dialectOf(request.path)
  return isStreamed(request)
    ? [FaultServer.sse(...stream), FaultServer.sseChunked(...stream)]
    : [FaultServer.json(200, whole)]
}

const cutting = (end: FaultServer.Step) => (request: FaultServer.Recorded): FaultServer.Script => {
  const scripts = scriptsOf(request)
  const n = numberOf(request)
  return FaultServer.cutAt(scripts[n % scripts.length]!, Math.floor(n / scripts.length) + 1, end)
}

// The requests that the server cuts, of one dialect.
const requestsOf = (path: string, streamed: boolean): number => {
  const scripts = scriptsOf({ path, body: streamed ? "\"stream\":true" : "" } as FaultServer.Recorded) // all it looks at
  return Math.max(...scripts.map(FaultServer.sizeOf)) * scripts.length
}

const paths = {
  openai: ["/chat/completions", "/chat/completions"],
  anthropic: ["/messages", "/messages"],
  gemini: ["generateContent", "streamGenerateContent"]
} as const

const cuts = (end: FaultServer.Step, id: string, title: string): Scenario => ({
  id,
  title,
  bar: "0 silent successes; what was delivered is a prefix",
  serve: cutting(end),
  run: ({ server, times }) =>
    Effect.gen(function*() {
      let total = 0
      let successes = 0
      const wrong: Array<readonly [boolean, string]> = []
      for (const [client, layer] of Object.entries(clients)) {
        for (const [name, dialect] of Object.entries(dialects)) {
          yield* Effect.gen(function*() {
            const model = yield* dialect.make(server.url)
            for (const streamed of [false, true]) {
              const all = requestsOf(paths[name as keyof typeof paths][streamed ? 1 : 0], streamed) // the same names
              const count = times(all)
              yield* Effect.forEach(
                Array.from({ length: count }, (_, n) => Math.floor(n * all / count)),
                (n) =>
                  Effect.gen(function*() {
                    const where = `${client} ${name} ${streamed ? "stream" : "whole"} ${n}`
                    total++
                    if (!streamed) {
                      const end = yield* Effect.either(model.generate(numbered(n)))
                      if (Either.isRight(end)) {
                        successes++
                        if (end.right.outputs[0]?.text !== text) {
                          wrong.push([false, `${where}: ${end.right.outputs[0]?.text}`])
                        }
                      } else if (end.left.reason._tag !== "Transport") {
                        wrong.push([false, `${where}: ${end.left.reason._tag}`])
                      }
                      return
                    }
                    const seen = yield* observe(model, n)
                    if (Either.isRight(seen.end)) {
                      successes++
                    }
                    const holds = Either.match(seen.end, {
                      onRight: () => seen.text === text,
                      onLeft: ({ reason }) =>
                        text.startsWith(seen.text) && (seen.text === ""
                          ? ["Transport", "StreamTruncated", "StreamFailed"].includes(reason._tag)
                          : (reason._tag === "StreamTruncated" || reason._tag === "StreamFailed") &&
                            reason.partial === seen.text)
                    })
                    if (!holds) {
                      wrong.push([
                        false,
                        `${where}: "${seen.text}" ${
                          Either.isRight(seen.end) ? "as success" : seen.end.left.reason._tag
                        }`
                      ])
                    }
                  }),
                { concurrency: 8 }
              )
            }
          }).pipe(Effect.provide(layer))
        }
      }
      return outcome(`${total} cuts, ${successes} after the last word, ${wrong.length} wrong`, [
        ...wrong,
        [successes < total / 2, "too many successes"]
      ])
    })
})

// =============================================================================
// T4, T5
// =============================================================================

const idle = 300
const tolerance = 50

const between = (took: number, limit: number, late: number): boolean =>
  took >= limit - 2 && took <= limit + tolerance + late

const warm = (url: string) =>
  Effect.forEach(
    Object.values(dialects),
    (dialect) =>
      Effect.flatMap(dialect.make(url), Timeouts.make({ total: idle, idle })).pipe(
        Effect.flatMap((model) => Effect.all([Effect.exit(model.generate(numbered(99))), observe(model, 99)]))
      ),
    { discard: true }
  )

// How long after an error the server saw its connection closed.
const closings = (requests: ReadonlyArray<Seen>, ends: ReadonlyMap<number, number>) =>
  requests.flatMap(({ closed, number }) => {
    const ended = ends.get(number)
    return ended === undefined ? [] : [(closed ?? Infinity) - ended]
  })

// =============================================================================
// T6
// =============================================================================

const keptAlive = (body: object, more: string): string => {
  const content = JSON.stringify(body)
  const length = FaultServer.bytes(content).length
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n${more}\r\n${content}`
}

export const connections: ReadonlyArray<Scenario> = [
  {
    id: "T1",
    title: "no connection: refused, no such name, no route, TLS silent, expired, self-signed, of another name",
    bar: `reason and phase, within the connect timeout (${connectWithin} ms) + 50 ms`,
    run: () => unmade
  },
  cuts(FaultServer.rst, "T2", "RST at every byte, 3 providers, 3 clients, whole and streamed in 2 framings"),
  cuts(FaultServer.fin, "T3", "FIN at every byte, 3 providers, 3 clients, whole and streamed in 2 framings"),
  {
    id: "T4",
    title: "silence after every event of 3 providers",
    bar: `Timeout{idle} at ${idle} ms + 0...${tolerance} ms with the text so far, connection closed within 50 ms`,
    serve: (request) => [
      ...FaultServer.sse(...dialectOf(request.path).stream.slice(0, numberOf(request) % 100)),
      FaultServer.stall
    ],
    run: ({ server }) =>
      Effect.gen(function*() {
        const rows = Object.values(dialects).flatMap((dialect, d) =>
          // After its last event a stream is complete, with or without `[DONE]`.
          dialect.stream.slice(0, dialect === dialects.openai ? 3 : -1).map((_, events) => ({
            dialect,
            n: d * 100 + events
          }))
        )
        const ended = new Map<number, number>()
        // What is done once in a process is not to be measured.
        yield* warm(server.url)
        const { late, value: seen } = yield* withLateness(Effect.forEach(rows, ({ dialect, n }) =>
          Effect.flatMap(dialect.make(server.url), Timeouts.make({ firstByte: idle, idle })).pipe(
            Effect.flatMap((model) =>
              observe(model, n)
            ),
            Effect.tap(() => Effect.sync(() => ended.set(n, now())))
          ), { concurrency: 4 }))
        yield* Effect.sleep(100)
        const { requests } = yield* server.report
        const closed = closings(requests, ended)
        // The server says all it has to say as soon as it is asked.
        const took = rows.map(({ n }) =>
          (ended.get(n) ?? Infinity) - (requests.find(({ number }) =>
            number === n
          )?.arrived ?? 0)
        )
        return outcome(
          `${rows.length} places, at ${spread(seen.map(({ took }) => took))}, closed ${spread(closed)} after`,
          [
            ...seen.map(({ end, took: whole }, n) =>
              [
                Either.isLeft(end) && end.left.reason._tag === "Timeout" && whole >= idle &&
                took[n]! <= idle + tolerance + late,
                `place ${n}: ${Either.isLeft(end) ? end.left.reason._tag : "success"} after ${took[n]!.toFixed(0)} ms`
              ] as const
            ),
            [closed.every(Number.isFinite), "a connection is left open"],
            [Math.max(...closed) <= 50 + late, "a connection was closed late"]
          ]
        )
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "T5",
    title: "a byte every 10 ms, whole and streamed",
    bar: "the total limit (1 s) ends it, +0...50 ms",
    serve: (request) => {
      const script = isStreamed(request)
        ? FaultServer.sse(`: ${"x".repeat(1000)}`)
        : FaultServer.json(200, dialects.openai.whole)
      return script.flatMap((step) =>
        step._tag === "Write"
          ? Array.from(step.bytes, (byte) => [FaultServer.write(Uint8Array.of(byte)), FaultServer.delay(10)]).flat()
          : [step]
      )
    },
    run: ({ server }) =>
      Effect.gen(function*() {
        const model = yield* Effect.flatMap(dialects.openai.make(server.url), Timeouts.make({ total: "1 second" }))
        yield* warm(server.url)
        const whole = Effect.suspend(() => {
          const started = now()
          return Effect.map(
            Effect.either(Effect.asVoid(model.generate(numbered(0)))),
            (end) => ({ end, took: now() - started })
          )
        })
        const { late, value: ends } = yield* withLateness(
          Effect.all([whole, observe(model, 1), whole, observe(model, 2)], { concurrency: "unbounded" })
        )
        return outcome(
          `${spread(ends.map(({ took }) => took))} ${lateness(late)}`,
          ends.map(({ end, took }) => [
            Either.isLeft(end) && end.left.reason._tag === "Timeout" && between(took, 1000, late),
            `${Either.isLeft(end) ? end.left.message : "success"} after ${took.toFixed(0)} ms`
          ])
        )
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "T6",
    title: "the server closes an idle connection 0-20 ms after it answered, while it is used again",
    bar: "0 failures with 5 retries; it is a broken connection, whatever policies there are",
    serve: (_, n) => [
      FaultServer.write(keptAlive(dialects.openai.whole, "connection: keep-alive\r\n")),
      FaultServer.delay(n % 21),
      FaultServer.fin
    ],
    run: ({ seed, server, times }) =>
      Effect.gen(function*() {
        const total = times(10_000)
        const plain = yield* dialects.openai.make(server.url)
        const guarded = yield* Policies.standard()(plain)
        const patient = yield* Policies.standard({ retry: { times: 5 } })(plain)
        const all = (model: LanguageModel.Service) =>
          Effect.map(
            Effect.forEach(
              Array.from({ length: total }, (_, n) => n),
              (n) =>
                Effect.zipRight(
                  Effect.flatMap(Random.nextIntBetween(0, 11), Effect.sleep),
                  Effect.either(model.generate(numbered(n)))
                ),
              { concurrency: 8 }
            ),
            (ends) => ends.filter(Either.isLeft)
          )
        const before = yield* server.report
        const without = yield* all(plain)
        const between = yield* server.report
        const visible = yield* all(guarded)
        const last = yield* all(patient)
        const reused = total - (between.connections - before.connections)
        return outcome(
          `of ${total} calls with ${reused} reuses ${without.length} fail without retries, ${visible.length} through Policies.standard, ${last.length} with 5 retries`,
          [
            [last.length === 0, `failures: ${last[0]?.left.message}`],
            [visible.length <= total / 200, `failures: ${visible[0]?.left.message}`],
            [
              [...without, ...visible].every(({ left }) => left.reason._tag === "Transport"),
              "a failure of another kind"
            ],
            [reused > total / 20, "connections are not used again"]
          ]
        )
      }).pipe(Effect.withRandom(Random.make(seed)), Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "T7",
    title: "2,000 callers at once with 256 files",
    bar: "typed failures, and none with a limit of concurrency; the process lives",
    files: 256,
    serve: () => [FaultServer.delay(100), ...FaultServer.json(200, dialects.openai.whole)],
    run: ({ server, times }) =>
      Effect.gen(function*() {
        const total = times(2000)
        const rows = yield* Effect.forEach(["undici", "fetch"], (client) =>
          Effect.gen(function*() {
            const plain = yield* dialects.openai.make(server.url)
            const all = (model: LanguageModel.Service) =>
              Effect.forEach(
                Array.from({ length: total }, (_, n) => n),
                (n) => Effect.either(model.generate(numbered(n))),
                { concurrency: "unbounded" }
              )
            const open = yield* all(plain)
            const limited = yield* Effect.flatMap(Policies.standard({ rateLimit: { concurrency: 100 } })(plain), all)
            return { client, open: open.filter(Either.isLeft), limited: limited.filter(Either.isLeft) }
          }).pipe(Effect.provide(clients[client]!)))
        return outcome(
          rows.map(({ client, limited, open }) => `${client}: ${open.length} failures, ${limited.length} with a limit`)
            .join(
              "; "
            ),
          rows.flatMap(({ client, limited, open }) => [
            [open.every(({ left }) => left.reason._tag === "Transport"), `${client}: a failure of another kind`],
            [limited.length === 0, `${client}: ${limited[0]?.left.message}`]
          ])
        )
      })
  }
]
