/**
 * A server and clients that break its rules, do not read, vanish, or are very many: W. The server is in the process of the
 * scenario, and the clients in another one.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import type * as Server from "@effect-dspy/streaming/Server"
import { Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import {
  growth,
  lateness,
  mebibytes,
  now,
  outcome,
  quantile,
  type Scenario,
  spread,
  withLateness
} from "../../providers/chaos/Scenario.ts"
import { endless, numbered, start, until, writes } from "../test/serving.ts"
import { act } from "./clients.ts"

const MiB = 1024 * 1024

const heapUsed = (): number => {
  globalThis.gc?.()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

const answer = Predict.make("question -> answer")

// As many of everything as the scenario wants: what is limited is looked at elsewhere.
const served = (limits: Server.Limits = {}) =>
  start({
    modules: { answer },
    limits: {
      connections: 10_000,
      connectionsPerCaller: 10_000,
      concurrency: 100_000,
      requestsPerSecond: Infinity,
      ...limits
    }
  })

const slowly = (millis: number) => (n: number) => n % 5 === 0 ? Effect.sleep(millis) : Effect.void

// `writes` has a few hundred kilobytes of words ready for each stream, which are not the server's.
const goesOn = () => {
  const counts = { open: 0, words: 0 }
  const text = (text: string): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text })
  const service = LanguageModel.make({
    id: "chaos/goes-on",
    stream: () =>
      Stream.unwrapScoped(
        Effect.as(
          Effect.acquireRelease(Effect.sync(() => counts.open++), () => Effect.sync(() => counts.open--)),
          Stream.concat(
            Stream.make(text("[[ ## answer ## ]]\n")),
            Stream.repeatEffect(Effect.sync(() => {
              counts.words++
              return text("and so on, and on, ")
            }))
          )
        )
      )
  })
  return { counts, layer: Layer.succeed(LanguageModel.LanguageModel, service) }
}

// The time of a module that is loaded, and of a connection that is opened, is not that of the attack.
const warm = (port: number) => Effect.promise(() => act("attack", port, 5))

export const serving: ReadonlyArray<Scenario> = [
  {
    id: "W2",
    title: "frames that are too large, compressed, malformed; floods of tiny ones; halves of handshakes",
    bar: "closed with the right code; RSS at most +64 MiB",
    run: ({ times }) => {
      const model = writes(["Ada"])
      return Effect.gen(function*() {
        const { port } = yield* served()
        yield* warm(port)
        const attacks = times(1000)
        const wrong = yield* growth(Effect.promise(() => act("attack", port, attacks)))
        const frames = times(1_000_000)
        const tiny = yield* growth(Effect.promise(() => act("tiny", port, frames)))
        const halves = times(5000)
        const half = yield* growth(Effect.promise(() => act("halves", port, halves)))
        return outcome(
          `${attacks} attacks: ${wrong.value} not told why, RSS +${
            mebibytes(wrong.peak.rss)
          }; ${frames} tiny frames: RSS +${mebibytes(tiny.peak.rss)}; ${halves} halves of handshakes: RSS +${
            mebibytes(half.peak.rss)
          }, others are served`,
          [
            [wrong.value === 0, `${wrong.value} were not closed with the right code`],
            [wrong.peak.rss <= 64 * MiB, "memory: attacks"],
            [tiny.peak.rss <= 64 * MiB, "memory: tiny frames"],
            [half.peak.rss <= 64 * MiB, "memory: handshakes"],
            [half.value === 1, "others are not served"]
          ]
        )
      }).pipe(Effect.provide(model.layer))
    }
  },
  {
    id: "W3",
    title: "clients of 8 endless streams each that never read",
    bar: "the model waits; at most 2 MiB for each client; told so after 30 s, and closed within 3 more",
    run: ({ times }) => {
      const model = goesOn()
      return Effect.gen(function*() {
        const { port } = yield* served()
        yield* warm(port)
        const clients = times(100)
        const before = heapUsed()
        const deaf = yield* Effect.fork(Effect.promise(() => act("deaf", port, clients)))
        yield* until(() => model.counts.open === 8 * clients)
        const begun = now()
        yield* Effect.sleep("15 seconds")
        const kept = (heapUsed() - before) / clients
        const words = model.counts.words / clients / 8
        const { late } = yield* withLateness(until(() => model.counts.open === 0))
        const after = (now() - begun) / 1000
        const closed = yield* deaf
        return outcome(
          `${clients} clients, ${words.toFixed(0)} words of each stream asked for, ${
            mebibytes(kept)
          } kept for each; the model's streams are closed after ${after.toFixed(1)} s ${lateness(late)}`,
          [
            [kept <= 2 * MiB, "memory"],
            [after <= 33.5 + late / 30, "they are closed too late"],
            [closed === clients, "connections are open"]
          ]
        )
      }).pipe(Effect.provide(model.layer))
    }
  },
  {
    id: "W4",
    title: "clients that vanish: reset, and silent for ever",
    bar: "the model's streams are closed 100 ms after a reset, and 45 s after the last word",
    run: ({ times }) => {
      const closings: Array<number> = []
      const model = writes(endless("word "), slowly(20))
      return Effect.gen(function*() {
        const { port } = yield* served()
        yield* warm(port)
        const mute = yield* Effect.fork(Effect.promise(() => act("mute", port, 100)))
        yield* until(() => model.counts.open === 100)
        let open = model.counts.open
        const watching = yield* Effect.fork(Effect.forever(
          Effect.zipRight(
            Effect.sync(() => {
              if (open > 100 && model.counts.open === 100) closings.push(now())
              open = model.counts.open
            }),
            Effect.sleep("1 millis")
          )
        ))
        const { late, value: vanished } = yield* withLateness(Effect.promise(() => act("vanish", port, times(50))))
        yield* Effect.sleep("1 second")
        yield* Fiber.interrupt(watching)
        const waits = closings.map((closed, n) => Math.max(0, closed - vanished[n]!))
        const silent = yield* mute
        yield* until(() => model.counts.open === 0)
        return outcome(
          `${vanished.length} resets of 8 streams, closed ${spread(waits)} later ${
            lateness(late)
          }; 100 silent ones closed after ${spread(silent)}`,
          [
            [waits.length === vanished.length, `${vanished.length - waits.length} were missed`],
            [quantile(waits, 0.99) <= 100 + late, "p99"],
            [quantile(silent, 1) <= 46_000 + late * 45, "silent clients are kept"]
          ]
        )
      }).pipe(Effect.provide(model.layer))
    }
  },
  {
    id: "W5",
    title: "1,000 connections of 8 streams each, whose server stops in the middle; those refused ask another one",
    bar: "no stream is lost without a typed error; all are answered in the end",
    files: 20_000,
    run: ({ times }) => {
      const model = writes(numbered(30), (n) => n % 10 === 0 ? Effect.sleep(500 + (n * 7919) % 6000) : Effect.void)
      return Effect.gen(function*() {
        const first = yield* Scope.make()
        const one = yield* Scope.extend(served({ drain: "3 seconds" }), first)
        const other = yield* served()
        yield* warm(one.port)
        const clients = times(1000)
        const asking = yield* Effect.fork(
          growth(Effect.promise(() => act("ask", one.port, clients, other.port)))
        )
        yield* until(() => model.counts.calls >= 8 * clients)
        const most = model.counts.open
        const begun = now()
        yield* Scope.close(first, Exit.void)
        const drained = now() - begun
        const { peak, value: { again, answered, lost, refused } } = yield* asking
        return outcome(
          `${8 * clients} streams, ${most} at once: ${answered} answered, ${refused} refused when it stopped (${
            (drained / 1000).toFixed(1)
          } s), ${again} of them answered by the other one, ${lost} lost; ${
            (peak.rss / 8 / clients / 1024).toFixed(0)
          } KiB of RSS for each stream`,
          [
            [lost === 0, `${lost} streams were lost`],
            [answered + again === 8 * clients, "some were not answered"],
            [refused > 0, "the server stopped when all was over"],
            [model.counts.open === 0, "the model goes on"]
          ]
        )
      }).pipe(Effect.provide(model.layer))
    }
  }
]
