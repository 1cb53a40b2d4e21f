/**
 * Event streams in pieces, floods and bombs: S and M.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import { FetchHttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, Either, FastCheck, Option, Stream } from "effect"
import { createHash } from "node:crypto"
import { gzipSync } from "node:zlib"
import * as Sse from "../src/internal/sse.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "../test/FaultServer.ts"
import { dialects } from "./dialects.ts"
import { growth, mebibytes, now, numbered, numberOf, outcome, quantile, type Scenario } from "./Scenario.ts"

const MiB = 1024 * 1024

// =============================================================================
// S1
// =============================================================================

const lineEnds: ReadonlyArray<readonly [name: string, ends: ReadonlyArray<string>]> = [
  ["LF", ["\n"]],
  ["CR", ["\r"]],
  ["CRLF", ["\r\n"]],
  ["mixed", ["\n", "\r\n", "\r"]]
]

const line = FastCheck.oneof(
  FastCheck.constantFrom(
    "",
    "",
    "",
    ": ping",
    "data",
    "data:",
    "event: error",
    "id: 1",
    "retry: 5",
    "data: [DONE]",
    "database: 1"
  ),
  FastCheck.json().map((json) => `data: ${json}`),
  FastCheck.string({ unit: "binary" }).map((text) => `data:${text.replace(/[\r\n]/g, "")}`)
)

const decode = (pieces: ReadonlyArray<Uint8Array>) => {
  const decoder = Sse.make()
  return JSON.stringify([...pieces.flatMap((piece) => decoder.push(piece)), ...decoder.end()])
}

const cut = (bytes: Uint8Array, at: ReadonlyArray<number>): ReadonlyArray<Uint8Array> =>
  [...at, bytes.length].map((end, i) => bytes.subarray(i === 0 ? 0 : at[i - 1], end))

// =============================================================================
// S3
// =============================================================================

const floods: Readonly<Record<string, string>> = {
  newlines: "\n",
  colons: ":",
  comments: ": x\n",
  "carriage returns": "\r",
  "no line end": "x",
  "empty data": "data:\n",
  events: "data: {}\n\n"
}

// The CPU time, in milliseconds per 64 KiB: on a busy machine the time on the wall says nothing.
const decodeCost = (bytes: Uint8Array): number => {
  const before = process.cpuUsage()
  const decoder = Sse.make()
  decoder.push(bytes)
  const { system, user } = process.cpuUsage(before)
  return (user + system) / 1000 / (bytes.length / (64 * 1024))
}

// =============================================================================
// S6, S7, M2
// =============================================================================

const piece = FaultServer.event({ choices: [{ index: 0, delta: { content: "x".repeat(16 * 1024) } }] })
const pieces = (bytes: number) => Math.floor(bytes / piece.length)

const image = "x".repeat(28 * MiB)

const zippedMiB = gzipSync(Buffer.alloc(MiB, " "))

const bomb = (): FaultServer.Script => [
  FaultServer.head(200, { "content-encoding": "gzip", "content-type": "application/json" }),
  FaultServer.write(gzipSync("{\"choices\":")),
  FaultServer.repeat(zippedMiB, 512)
]

const layered = (layers: number): FaultServer.Script => [
  FaultServer.head(200, { "content-encoding": Array.from({ length: layers }, () => "gzip").join(", ") }),
  FaultServer.write(zippedMiB)
]

const mislabelled: FaultServer.Script = [
  FaultServer.head(200, { "content-encoding": "gzip", "content-type": "application/json" }),
  FaultServer.write(JSON.stringify(dialects.openai.whole))
]

// The `fetch` of Node 20 never ends with a body that is not what its encoding says, and ends the process when it refuses
// more than five encodings: only undici gets these.
const encoded: ReadonlyArray<readonly [name: string, script: () => FaultServer.Script]> = [
  ["a bomb of 512 MiB", bomb],
  ["3 layers", () => layered(3)],
  ["100 layers", () => layered(100)],
  ["5,000 layers", () => layered(5000)],
  ["no gzip at all", () => mislabelled]
]

const tagOf = (end: Either.Either<unknown, LanguageModelError>): string =>
  Either.match(end, { onLeft: ({ reason }) => reason._tag, onRight: () => "success" })

export const streams: ReadonlyArray<Scenario> = [
  {
    id: "S1",
    title: "30 streams x 4 line ends, in two at every byte and in 10,000 random ways",
    bar: "the same events",
    run: ({ seed, times }) =>
      Effect.sync(() => {
        const fixtures = FastCheck.sample(FastCheck.array(line, { minLength: 5, maxLength: 40 }), { seed, numRuns: 30 })
        let splits = 0
        let differ = 0
        for (const [name, ends] of lineEnds) {
          const all = fixtures.map((lines) =>
            FaultServer.bytes(lines.map((line, n) => line + ends[n % ends.length]!).join(""))
          )
          const whole = all.map((bytes) => decode([bytes]))
          const same = (n: number, at: ReadonlyArray<number>) => {
            splits++
            if (decode(cut(all[n]!, at)) !== whole[n]) differ++
          }
          for (const [n, bytes] of all.entries()) {
            for (let at = 1; at < bytes.length; at += Math.ceil(1 / times(100) * 100)) same(n, [at])
          }
          const random = FastCheck.sample(
            FastCheck.tuple(FastCheck.nat(all.length - 1), FastCheck.array(FastCheck.nat(9999), { maxLength: 12 })),
            { seed: seed + name.length, numRuns: times(10_000) }
          )
          for (const [n, at] of random) {
            same(n, at.map((offset) => offset * all[n]!.length / 10_000 | 0).sort((a, b) => a - b))
          }
        }
        return outcome(`${splits} splits, ${differ} differ`, [[differ === 0, "events differ"]])
      })
  },
  {
    id: "S3",
    title: "64 KiB to 16 MiB of one thing in one chunk",
    bar: "at most 5 ms per 64 KiB, and no more for larger ones",
    run: () =>
      Effect.sync(() => {
        const sizes = [64 * 1024, MiB, 4 * MiB, 16 * MiB]
        const rows = Object.entries(floods).map(([name, unit]) => ({
          name,
          costs: sizes.map((size) => {
            const bytes = FaultServer.bytes(unit.repeat(Math.ceil(size / unit.length)))
            return quantile(Array.from({ length: 5 }, () => decodeCost(bytes)), 0.5)
          })
        }))
        const worst = rows.flatMap(({ costs, name }) => costs.map((cost) => ({ cost, name })))
          .reduce((worst, row) => row.cost > worst.cost ? row : worst)
        return outcome(
          `at most ${worst.cost.toFixed(2)} ms per 64 KiB (${worst.name}); newlines ${
            rows[0]!.costs.map((cost) => cost.toFixed(2)).join(" ")
          }`,
          rows.flatMap(({ costs, name }) => [
            [Math.max(...costs) <= 5, `${name}: ${costs.map((cost) => cost.toFixed(2)).join(" ")} ms`],
            // A quadratic decoder would take 16 times as long for each byte.
            [costs[3]! <= 4 * Math.max(costs[1]!, 0.05), `${name} is not linear: ${costs.join(" ")}`]
          ])
        )
      })
  },
  {
    id: "S6",
    title: "a stream of 240 MiB that is read at 8 MiB/s for 10 s, and then at once",
    bar:
      "beside the text so far, which an error would name, the heap grows by at most 32 MiB; the server is held back; 1 GiB is refused at 256 MiB",
    serve: (request) => FaultServer.sse(FaultServer.repeat(piece, pieces(numberOf(request) * MiB))),
    run: ({ server, times }) =>
      Effect.gen(function*() {
        const model = yield* dialects.openai.make(server.url)
        let read = 0
        const slow = yield* growth(
          Stream.runForEachChunk(model.stream(numbered(240)), (chunk) => {
            let size = 0
            for (const delta of chunk) if (delta._tag === "TextDelta") size += delta.text.length
            read += size
            return Effect.sleep(size / (8 * MiB) * 1000)
          }).pipe(Effect.timeout(times(10_000)), Effect.either)
        )
        const ahead = (yield* server.report).requests[0]!.sent - read
        const fast = yield* growth(Effect.either(Stream.runDrain(model.stream(numbered(240)))))
        const refused = yield* growth(Effect.either(Stream.runDrain(model.stream(numbered(1024)))))
        const { requests } = yield* server.report
        const tag = tagOf(refused.value)
        const [slowBeside, fastBeside, refusedBeside] = [
          slow.peak.heap - read,
          fast.peak.heap - 240 * MiB,
          refused.peak.heap - 256 * MiB
        ].map((beside) => Math.max(0, beside)) as [number, number, number]
        return outcome(
          `heap +${mebibytes(slowBeside)} beside ${mebibytes(read)}, the server is ${
            mebibytes(ahead)
          } ahead; at once +${mebibytes(fastBeside)}; 1 GiB is ${tag} after ${mebibytes(requests[2]!.sent)}, +${
            mebibytes(refusedBeside)
          }`,
          [
            [read > MiB && ahead <= 16 * MiB, "the server is not held back"],
            [Math.max(slowBeside, fastBeside, refusedBeside) <= 32 * MiB, "the heap grows"],
            [Either.isLeft(fast.value) && fast.value.left.reason._tag === "StreamTruncated", "the end of the stream"],
            [tag === "ResponseTooLarge" && requests[2]!.sent < 300 * MiB, "the bound on a stream"]
          ]
        )
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "S7",
    title: "events of 15 and 28 MiB",
    bar: "refused beyond the bound, 16 Mi characters, and intact within it, also when it is raised",
    serve: (request) => {
      const content = image.slice(0, numberOf(request) * MiB)
      return FaultServer.sse(
        FaultServer.event({ choices: [{ index: 0, delta: { content }, finish_reason: "stop" }] }),
        FaultServer.event("[DONE]")
      )
    },
    run: ({ server }) =>
      Effect.gen(function*() {
        const model = yield* dialects.openai.make(server.url)
        const started = now()
        const texts = yield* Stream.runFold(
          model.stream(numbered(15)),
          "",
          (all, delta) => delta._tag === "TextDelta" ? all + delta.text : all
        )
        const took = now() - started
        const refused = yield* Effect.flip(Stream.runDrain(model.stream(numbered(28))))
        const raised = yield* OpenAiCompatible.make({
          model: "m",
          baseUrl: server.url,
          bounds: { event: 32 * MiB }
        })
        const large = yield* LanguageModel.fold(raised.stream(numbered(28)), raised.id)
        const hash = (text: string) => createHash("sha256").update(text).digest("hex")
        return outcome(`15 MiB in ${took.toFixed(0)} ms; 28 MiB is ${refused.reason._tag}`, [
          [hash(texts) === hash(image.slice(0, 15 * MiB)), "the event is not intact"],
          [hash(large.outputs[0]?.text ?? "") === hash(image), "the event of 28 MiB is not intact"],
          [refused.reason._tag === "ResponseTooLarge", refused.message]
        ])
      }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  },
  {
    id: "M2",
    title: "0.5 MiB that unpack to 512 MiB, encodings in layers, and one that is none",
    bar: "a typed refusal after at most 1 s of CPU time, RSS at most +96 MiB; what is JSON is read",
    serve: (request) => encoded[numberOf(request)]![1](),
    run: ({ server }) =>
      Effect.gen(function*() {
        const rows = yield* Effect.forEach(
          [["fetch", FetchHttpClient.layer], ["undici", NodeHttpClient.layerUndici]] as const,
          ([client, layer]) =>
            Effect.flatMap(dialects.openai.make(server.url), (model) =>
              Effect.forEach(client === "undici" ? encoded : encoded.slice(0, 2), ([name], n) =>
                Effect.gen(function*() {
                  const before = process.cpuUsage()
                  const { peak, value } = yield* growth(
                    Effect.either(model.generate(numbered(n))).pipe(Effect.timeoutOption("10 seconds"))
                  )
                  const tag = Option.match(value, {
                    onNone: () =>
                      "nothing",
                    onSome: tagOf
                  })
                  const { system, user } = process.cpuUsage(before)
                  return { name: `${client}, ${name}`, tag, peak, took: (user + system) / 1000 }
                }))).pipe(Effect.provide(layer))
        )
        const all = rows.flat()
        const first = all[0]!
        return outcome(
          `the bomb is ${first.tag} after ${first.took.toFixed(0)} ms of CPU time, RSS +${
            mebibytes(first.peak.rss)
          }; at most ${
            mebibytes(Math.max(...all.map(({ peak }) => peak.rss)))
          }`,
          all.flatMap(({ name, peak, tag, took }, n) => [
            [n > 0 || tag === "ResponseTooLarge", `${name}: ${tag}`],
            [
              ["ResponseTooLarge", "MalformedResponse", "Transport"].includes(tag) || name === "undici, no gzip at all",
              `${name}: ${tag}`
            ],
            [took <= 1000, `${name}: ${took.toFixed(0)} ms`],
            [peak.rss <= 96 * MiB, `${name}: RSS +${mebibytes(peak.rss)}`]
          ])
        )
      })
  }
]
