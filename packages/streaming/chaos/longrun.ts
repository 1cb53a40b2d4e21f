/**
 * What long runs leave behind, and how they hold up the event loop: L2 and L3.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import * as ModuleStream from "@effect-dspy/streaming/ModuleStream"
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, Either, Layer, Stream } from "effect"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { dialects } from "../../providers/chaos/dialects.ts"
import { growth, mebibytes, numberOf, outcome, type Scenario } from "../../providers/chaos/Scenario.ts"
import * as Policies from "../../providers/src/Policies.ts"
import * as FaultServer from "../../providers/test/FaultServer.ts"

const MiB = 1024 * 1024

const answer = Predict.make("question -> answer")

// =============================================================================
// What is watched
// =============================================================================

interface Loop {
  readonly p99: number
  readonly max: number
}

/** Runs an effect, and tells by how many milliseconds the event loop was held up meanwhile. */
const withLoop = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const histogram = monitorEventLoopDelay({ resolution: 5 })
      histogram.enable()
      return histogram
    }),
    (histogram) =>
      Effect.map(self, (value) => ({
        value,
        loop: { p99: histogram.percentile(99) / 1e6, max: histogram.max / 1e6 }
      })),
    (histogram) => Effect.sync(() => histogram.disable())
  )

const heldUp = ({ max, p99 }: Loop): string => `event loop held up by p99 ${p99.toFixed(0)}, max ${max.toFixed(0)} ms`

/** What is in use once nothing can be collected. */
const heap = Effect.sync(() => {
  for (let n = 0; n < 3; n++) globalThis.gc?.()
  return process.memoryUsage().heapUsed
})

/** Runs `half` twice, and tells how much more there is in use after the second time than after the first. */
const slope = <E, R>(half: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function*() {
    yield* half
    const between = yield* heap
    yield* half
    return (yield* heap) - between
  })

// =============================================================================
// What is run
// =============================================================================

const burst = 100

// A chunk for each word, a hundred of them in each write.
const long = (chunks: number): FaultServer.Script => [
  ...FaultServer.sse(FaultServer.event({ choices: [{ index: 0, delta: { content: "[[ ## answer ## ]]\n" } }] })),
  FaultServer.repeat(
    FaultServer.event({ choices: [{ index: 0, delta: { content: "word " } }] }).repeat(burst),
    chunks / burst
  ),
  FaultServer.write(
    FaultServer.event({ choices: [{ index: 0, delta: { content: "\n\n[[ ## completed ## ]]" } }] }) +
      FaultServer.event({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] }) + FaultServer.event("[DONE]")
  )
]

const whole = FaultServer.json(200, {
  choices: [{ index: 0, message: { content: "[[ ## answer ## ]]\nParis" }, finish_reason: "stop" }]
})

// Of 200 calls 10 go wrong, in five ways.
const faulty = (n: number): FaultServer.Script => {
  const place = n % 200
  if (place < 4) return [FaultServer.head(200), FaultServer.write("{\"choices\""), FaultServer.rst]
  if (place < 6) return [FaultServer.head(200), FaultServer.stall]
  if (place < 8) return FaultServer.json(429, { error: { message: "slow down" } }, { "retry-after": "0" })
  if (place === 8) return FaultServer.answer(200, "application/json", "{\"choices\":")
  if (place === 9) return [FaultServer.head(200, { "content-length": "500" }), FaultServer.write("{\"choices\":[")]
  return whole
}

// In the next turn of the event loop: fibers that wait for nothing do not let go of it for a long time.
const immediate = LanguageModel.make({
  id: "chaos/immediate",
  generate: () =>
    Effect.async<LanguageModel.Response>((resume) => {
      setImmediate(() => resume(Effect.succeed(LanguageModel.text("[[ ## answer ## ]]\nParis", "chaos/immediate"))))
    })
})

export const longrun: ReadonlyArray<Scenario> = [
  {
    id: "L2a",
    title: "1,000,000 chunks through `events`, in streams of 10,000, and in one",
    bar: "heap within 5 MiB of before, at most 40 MiB more in use meanwhile; event loop p99 60 ms, max 250 ms",
    serve: (request) => long(numberOf(request)),
    run: ({ server, times }) =>
      Effect.gen(function*() {
        const read = (chunks: number, look: (n: number) => void = () => {}) =>
          ModuleStream.events(answer, { question: `<${chunks}>` }).pipe(
            Stream.runFold(0, (n, { _tag }) => {
              if (_tag !== "FieldDelta") return n
              look(n)
              return n + 1
            })
          )
        yield* read(10_000)
        const before = yield* heap
        // At its peak the heap holds above all what is not collected yet; what is in use shows when all else is.
        let inUse = 0
        const every = (chunks: number) => (n: number) => {
          if (n % chunks !== chunks - 1) return
          globalThis.gc?.()
          inUse = Math.max(inUse, process.memoryUsage().heapUsed - before)
        }
        const streams = times(100)
        const { loop, value: { peak, value } } = yield* withLoop(
          growth(Effect.reduce(Array.from({ length: streams }), 0, (sum) => Effect.map(read(10_000), (n) => sum + n)))
        )
        const after = (yield* heap) - before
        yield* Effect.repeatN(read(10_000, every(1000)), 9)
        const meanwhile = inUse
        const one = yield* read(10_000 * streams, every(1000 * streams))
        const afterOne = (yield* heap) - before
        return outcome(
          `${value} deltas, heap ${mebibytes(after)} more afterwards, at most ${
            mebibytes(meanwhile)
          } in use meanwhile, with what is not collected yet ${mebibytes(peak.heap)}; ${heldUp(loop)}; ${one} in one: ${
            mebibytes(afterOne)
          } afterwards, at most ${mebibytes(inUse)} in use`,
          [
            [value >= 10_000 * streams && one >= 10_000 * streams, "deltas are missing"],
            [Math.max(after, afterOne) <= 5 * MiB, "heap afterwards"],
            [meanwhile <= 40 * MiB, "heap meanwhile"],
            [loop.p99 <= 60 && loop.max <= 250, "event loop"]
          ]
        )
      }).pipe(
        Effect.provideServiceEffect(LanguageModel.LanguageModel, dialects.openai.make(server.url)),
        Effect.provide(NodeHttpClient.layerUndici)
      )
  },
  {
    id: "L2b",
    title: "1,000,000 predictions of a model that answers at once",
    bar: "less than a byte for each in the second half; RSS at most +100 MiB; event loop p99 60 ms, max 250 ms",
    run: ({ times }) =>
      Effect.gen(function*() {
        const half = Math.ceil(times(1_000_000) / 2)
        const run = Effect.forEach(
          Array.from({ length: 16 }),
          () => Effect.repeatN(answer({ question: "Where?" }), Math.ceil(half / 16)),
          { concurrency: "unbounded", discard: true }
        )
        yield* Effect.repeatN(answer({ question: "Where?" }), 10_000)
        const { loop, value: { peak, value } } = yield* withLoop(growth(slope(run)))
        return outcome(
          `${2 * half} predictions, heap ${(value / half).toFixed(3)} bytes more for each of the second half, RSS +${
            mebibytes(peak.rss)
          }; ${heldUp(loop)}`,
          [
            [value / half < 1, "heap"],
            [peak.rss <= 100 * MiB, "RSS"],
            [loop.p99 <= 60 && loop.max <= 250, "event loop"]
          ]
        )
      }).pipe(Effect.provideService(LanguageModel.LanguageModel, immediate))
  },
  {
    id: "L2c",
    title: "20,000 calls through `Policies.standard`, 5 of 100 of which go wrong",
    bar:
      "as many answers and typed failures as calls; less than 64 bytes for each in the second half; event loop p99 60 ms",
    serve: (_, n) => faulty(n),
    run: ({ server, times }) =>
      Effect.gen(function*() {
        const half = Math.ceil(times(20_000) / 2)
        const counts = { answered: 0, failed: 0 }
        const call = Effect.map(Effect.either(answer({ question: "Where?" })), (end) => {
          if (Either.isRight(end)) counts.answered++
          else counts.failed++
        })
        const run = Effect.forEach(
          Array.from({ length: half }),
          () => call,
          { concurrency: 32, discard: true }
        )
        const { loop, value } = yield* withLoop(slope(run))
        return outcome(
          `${2 * half} calls, ${counts.answered} answered, ${counts.failed} typed failures, heap ${
            (value / half).toFixed(1)
          } bytes more for each of the second half; ${heldUp(loop)}`,
          [
            [counts.answered + counts.failed === 2 * half, "some came to nothing"],
            [value / half < 64, "heap"],
            [loop.p99 <= 60, "event loop"]
          ]
        )
      }).pipe(Effect.provide(
        Layer.scoped(
          LanguageModel.LanguageModel,
          Effect.flatMap(
            dialects.openai.make(server.url),
            Policies.standard({ singleFlight: false, circuitBreaker: false, timeouts: { total: "500 millis" } })
          )
        ).pipe(Layer.provide(NodeHttpClient.layerUndici))
      ))
  }
]
