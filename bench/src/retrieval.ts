/**
 * Searching 100,000 documents, in memory by vectors of 384 dimensions and by words, and in an SQLite file. Embedding takes no
 * time here. The bound of an exact search is the time in which the machine can read all vectors once, measured in the same run
 * with the same array; beside it stands the plainest loop that multiplies and adds them. Recall is against sorting all products
 * in double precision.
 */
import * as Embedder from "@effect-dspy/core/Embedder"
import * as Retriever from "@effect-dspy/core/Retriever"
import * as SqliteRetriever from "@effect-dspy/providers/SqliteRetriever"
import { Console, Effect } from "effect"
import assert from "node:assert"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { median, table } from "./fixture/measure.ts"

const count = 100_000
const dimensions = 384
const k = 10
const rounds = 14
const atATime = 7

// Runs before times are taken: engines make what they run often faster, WebAssembly too.
const warmingUp = 2 * rounds

// A small generator of numbers from 0 to 1: the same ones in every run.
let state = 1
const random = (): number => {
  state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
  return state / 2 ** 32
}

const vector = (): Float32Array => {
  const values = Float32Array.from({ length: dimensions }, () => random() + random() + random() - 1.5)
  const length = Math.hypot(...values)
  return values.map((value) => value / length)
}

const rows = new Float32Array(count * dimensions)
for (let row = 0; row < count; row++) rows.set(vector(), row * dimensions)

const queries = Array.from({ length: rounds }, vector)

// A text is the place of its vector.
const embedder = Embedder.make({
  id: "bench/vectors",
  embed: (texts) =>
    Effect.sync(() =>
      texts.map((text) => {
        const at = Number(text)
        return at < 0 ? queries[-at - 1]! : rows.subarray(at * dimensions, (at + 1) * dimensions)
      })
    )
})

const documents = Array.from({ length: count }, (_, n) => ({ id: `${n}`, text: `${n}` }))

// CPU time in milliseconds, for which it does not matter what else the machine does; all of this runs in one thread.
const cpu = (): number => {
  const { system, user } = process.cpuUsage()
  return (user + system) / 1000
}

const timed = async (run: () => unknown): Promise<number> => {
  const start = cpu()
  await run()
  return cpu() - start
}

// The times of one after the other.
const times = (run: (round: number) => unknown) =>
  Effect.promise(async () => {
    const all: Array<number> = []
    for (let round = 0; round < warmingUp + rounds; round++) all.push(await timed(() => run(round % rounds)))
    return all.slice(warmingUp)
  })

// What the machine can do is what it did best; what we do is what is usual.
const best = (run: (round: number) => unknown) => Effect.map(times(run), (all) => Math.min(...all))
const usual = (run: (round: number) => unknown) => Effect.map(times(run), median)

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-bench-"))

const program = Effect.gen(function*() {
  // ---- What the machine can do
  const copy = rows.slice()
  const [bytes, same] = [rows, copy].map(({ buffer }) => Buffer.from(buffer))
  // Two arrays are read to the end.
  const reading = (yield* best(() => assert.strictEqual(Buffer.compare(bytes!, same!), 0))) / 2
  let sink = 0
  const plain = yield* best((round) => {
    const query = queries[round]!
    for (let row = 0; row < count; row++) {
      const start = row * dimensions
      let sum = 0
      for (let i = 0; i < dimensions; i++) sum += query[i]! * rows[start + i]!
      sink += sum
    }
  })
  assert.ok(Number.isFinite(sink))

  // ---- By vectors, in memory and in a file
  const search = (retriever: Retriever.Service) =>
    // @effect-diagnostics-next-line runEffectInsideEffect:off
    usual((round) => Effect.runPromise(retriever.search(`${-round - 1}`, { k })))
  const started = cpu()
  const memory = yield* Retriever.cosine(documents)
  const building = cpu() - started
  const searching = yield* search(memory)
  // They take turns, and what one has read is still at hand for the next one.
  const together = yield* usual((round) =>
    // @effect-diagnostics-next-line runEffectInsideEffect:off
    Effect.runPromise(Effect.forEach(
      queries.slice(round % 2 * atATime).slice(0, atATime),
      (_, n) => memory.search(`${-(round % 2 * atATime + n) - 1}`, { k }),
      { concurrency: "unbounded" }
    ))
  )

  const file = yield* SqliteRetriever.make({ path: path.join(folder, "documents.db") })
  const writing = cpu()
  yield* file.upsert(documents)
  const written = cpu() - writing
  const scanning = yield* search(file)

  let right = 0
  for (const [round, query] of queries.entries()) {
    const products = documents.map(({ id }, row) => {
      let sum = 0
      for (let i = 0; i < dimensions; i++) sum += query[i]! * rows[row * dimensions + i]!
      return { id, sum }
    })
    const nearest = new Set(products.sort((a, b) => b.sum - a.sum).slice(0, k).map(({ id }) => id))
    for (const retriever of [memory, file]) {
      right += (yield* retriever.search(`${-round - 1}`, { k })).filter(({ id }) => nearest.has(id)).length
    }
  }

  // ---- By words: 50 a document, of 50,000, the n-th as frequent as 1 / n
  const word = () => `w${Math.floor(50_000 ** random())}`
  const texts = documents.map(({ id }) => ({ id, text: Array.from({ length: 50 }, word).join(" ") }))
  const questions = queries.map(() => Array.from({ length: 8 }, word).join(" "))
  const indexing = cpu()
  const byWords = yield* Retriever.bm25(texts)
  const indexed = cpu() - indexing
  // @effect-diagnostics-next-line runEffectInsideEffect:off
  const ranking = yield* usual((n) => Effect.runPromise(byWords.search(questions[n]!, { k })))

  const gigabytes = rows.byteLength / 1e6
  const line = (name: string, time: number, built?: number) => [
    name,
    `${time.toFixed(1)} ms`,
    (1000 / time).toFixed(1),
    (count * dimensions / time / 1e6).toFixed(2),
    (gigabytes / time).toFixed(1),
    `${(100 * reading / time).toFixed(0)} %`,
    built === undefined ? "" : `${(built / 1000).toFixed(2)} s`
  ]
  yield* Console.log(
    `${count} vectors of ${dimensions} dimensions, ${k} passages, one query at a time, CPU time, median of ${rounds}`
  )
  table(["", "a query", "queries/s", "10^9 products/s", "GB/s", "of the bound", "build"], [
    line("machine: read all vectors once", reading),
    line("machine: multiply and add, plain loop", plain),
    line("Retriever.cosine", searching, building),
    line(`Retriever.cosine, ${atATime} queries at a time`, together / atATime),
    line("SqliteRetriever", scanning, written)
  ])
  yield* Console.log(`recall at ${k} of both: ${right / (2 * rounds * k)}\n`)
  yield* Console.log(`${count} documents of 50 words, queries of 8 words, ${k} passages`)
  table(["", "a query", "queries/s", "build"], [
    ["Retriever.bm25", `${ranking.toFixed(1)} ms`, (1000 / ranking).toFixed(1), `${(indexed / 1000).toFixed(2)} s`]
  ])
})

try {
  await Effect.runPromise(program.pipe(Effect.scoped, Effect.provideService(Embedder.Embedder, embedder)))
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
