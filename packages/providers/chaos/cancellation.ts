/**
 * Calls that nobody wants any more: C.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { NodeHttpClient } from "@effect/platform-node"
import { Deferred, Effect, Exit, Fiber, Random, Scope, Stream } from "effect"
import * as Policies from "../src/Policies.ts"
import * as Timeouts from "../src/Timeouts.ts"
import * as FaultServer from "../test/FaultServer.ts"
import { clients, dialects } from "./dialects.ts"
import {
  lateness,
  now,
  numbered,
  numberOf,
  outcome,
  quantile,
  type Report,
  type Scenario,
  spread,
  withLateness
} from "./Scenario.ts"

const begun = FaultServer.sse(...dialects.openai.stream.slice(0, 2))

// Where a call may stand when it is interrupted.
const stages: ReadonlyArray<FaultServer.Script> = [
  [FaultServer.stall],
  [FaultServer.write("HTTP/1.1 200"), FaultServer.stall],
  [FaultServer.head(200), FaultServer.write("{\"a"), FaultServer.stall],
  [FaultServer.head(500), FaultServer.stall],
  [...begun, FaultServer.stall],
  [...begun, FaultServer.write("data: {\"ch"), FaultServer.stall],
  [...begun, ...Array.from({ length: 50 }, () => [FaultServer.delay(1), ...begun.slice(1)]).flat(), FaultServer.stall],
  FaultServer.json(503, {})
]

const ask = (model: LanguageModel.Service, n: number, streamed: boolean) =>
  streamed ? Stream.runDrain(model.stream(numbered(n))) : Effect.asVoid(model.generate(numbered(n)))

// How long after nobody wanted it any more each connection was closed, and which never was.
const afterwards = ({ requests }: Report, left: ReadonlyMap<number, number>) => {
  const unwanted = requests.filter(({ number }) => left.has(number))
  return {
    missed: unwanted.filter(({ closed }) => closed === undefined).length,
    // Those that the server had closed by then tell nothing.
    waits: unwanted.flatMap(({ arrived, closed, number }) => {
      const wait = (closed ?? Infinity) - Math.max(left.get(number) ?? 0, arrived)
      return wait >= 0 && wait < Infinity ? [wait] : []
    })
  }
}

export const cancellation: ReadonlyArray<Scenario> = [
  {
    id: "C1",
    title: "calls interrupted at random: in line, before, in and after the headers, in a stream, before a retry",
    bar: "the server sees its connection closed, p99 within 20 ms; none is missed",
    serve: (request) => stages[numberOf(request) % stages.length]!,
    run: ({ seed, server, times }) =>
      Effect.gen(function*() {
        const total = times(10_000)
        const left = new Map<number, number>()
        const half = (client: string, from: number) =>
          Effect.gen(function*() {
            const model = yield* Effect.flatMap(
              dialects.openai.make(server.url),
              Policies.standard({ circuitBreaker: false, rateLimit: { concurrency: 3 } })
            )
            yield* Effect.forEach(
              Array.from({ length: total / 2 }, (_, n) => from + 2 * n),
              (n) =>
                Effect.gen(function*() {
                  const fiber = yield* Effect.fork(ask(model, n, yield* Random.nextBoolean))
                  yield* Effect.sleep(yield* Random.nextRange(0, 40))
                  left.set(n, now())
                  const exit = yield* Fiber.interrupt(fiber)
                  return Exit.isInterrupted(exit)
                }),
              { concurrency: 4 }
            )
          }).pipe(Effect.scoped, Effect.provide(clients[client]!))
        const { late } = yield* withLateness(
          Effect.all([half("undici", 0), half("fetch", 1)], { concurrency: 2 })
        )
        yield* Effect.sleep("1 second")
        const report = yield* server.report
        const { missed, waits } = afterwards(report, left)
        return outcome(
          `${left.size} interrupted, ${report.requests.length} had arrived, ${waits.length} closed by us: ${
            spread(waits)
          } ${lateness(late)}; ${missed} missed`,
          [
            [missed === 0, `${missed} connections are open`],
            [waits.length > total / 10, "too few were interrupted in time"],
            [quantile(waits, 0.99) <= 20 + late, "p99"],
            [quantile(waits, 1) <= 100 + late, "max"]
          ]
        )
      }).pipe(Effect.withRandom(Random.make(seed)))
  },
  {
    id: "C2",
    title: "losers of races and time limits, whole and streamed",
    bar: "the loser's connection is closed, p99 within 20 ms; none is missed",
    serve: (request) =>
      numberOf(request) % 2 === 0
        ? numberOf(request) % 4 === 0 ? [FaultServer.stall] : [...begun, FaultServer.stall]
        : [FaultServer.delay(5), ...FaultServer.sse(...dialects.openai.stream)],
    run: ({ server, times }) =>
      Effect.gen(function*() {
        const left = new Map<number, number>()
        const model = yield* dialects.openai.make(server.url)
        const timed = yield* Timeouts.make({ total: 20 })(model)
        const { late } = yield* withLateness(Effect.forEach(
          Array.from({ length: times(1000) }, (_, n) => n),
          (n) => {
            const loser = 2 * n
            const race = n % 2 === 0
              ? Effect.raceFirst(ask(model, loser, true), ask(model, loser + 1, true))
              : ask(timed, loser, n % 4 === 1)
            return Effect.tap(Effect.exit(race), () => Effect.sync(() => left.set(loser, now())))
          },
          { concurrency: 8 }
        ))
        yield* Effect.sleep("1 second")
        const report = yield* server.report
        const { missed } = afterwards(report, left)
        // A race is over when its losers are: the connection may be closed already.
        const waits = report.requests.filter(({ number }) => left.has(number))
          .map(({ closed, number }) => Math.max(0, (closed ?? Infinity) - left.get(number)!))
        return outcome(`${left.size} losers, closed ${spread(waits)} later ${lateness(late)}; ${missed} missed`, [
          [missed === 0, `${missed} connections are open`],
          [quantile(waits, 0.99) <= 20 + late, "p99"]
        ])
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "C3",
    title: "a scope is closed with 1,000 active streams in it",
    bar: "all connections closed within 1 s, and the process ends",
    serve: () => [...begun, ...Array.from({ length: 200 }, () => [FaultServer.delay(500), ...begun.slice(1)]).flat()],
    run: ({ server, times }) =>
      Effect.gen(function*() {
        const total = times(1000)
        const scope = yield* Scope.make()
        const model = yield* Effect.flatMap(dialects.openai.make(server.url), Policies.standard()).pipe(
          Scope.extend(scope)
        )
        const all = yield* Deferred.make<void>()
        let reading = 0
        yield* Effect.forkIn(
          Effect.forEach(
            Array.from({ length: total }, (_, n) => n),
            (n) =>
              Effect.suspend(() => {
                let begun = false
                return Stream.runForEach(model.stream(numbered(n)), () => {
                  if (!begun) reading++
                  begun = true
                  return reading === total ? Deferred.succeed(all, undefined) : Effect.void
                })
              }),
            { concurrency: "unbounded", discard: true }
          ),
          scope
        )
        yield* Deferred.await(all)
        const active = (yield* server.report).open
        const started = now()
        const before = process.cpuUsage()
        yield* Scope.close(scope, Exit.void)
        const closed = now() - started
        const { system, user } = process.cpuUsage(before)
        let open = active
        while (open > 0 && now() - started < 30_000) open = (yield* server.report).open
        const seen = now() - started
        return outcome(
          `${active} streams, the scope closed after ${closed.toFixed(0)} ms (${
            ((system + user) / 1000).toFixed(0)
          } ms of CPU time), all connections after ${seen.toFixed(0)} ms`,
          [[active === total, "streams are missing"], [open === 0 && seen <= 1000, `${open} connections are open`]]
        )
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  }
]
