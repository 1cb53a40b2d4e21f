/**
 * What a response cache costs: a hit and a write of an answer of 1 and of 20 KB, in memory and in a file; and how long a
 * single operation of the store holds up the event loop, which the driver of the file does not leave meanwhile.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as ResponseCache from "@effect-dspy/providers/ResponseCache"
import { Effect } from "effect"
import assert from "node:assert"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { median, table } from "./fixture/measure.ts"

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-bench-"))
const hits = 2000
const writes = 1000
const rounds = 5

const modelOf = (bytes: number) => {
  const answer = "word ".repeat(bytes / 5)
  return LanguageModel.make({
    id: "bench/m",
    generate: () => Effect.succeed(LanguageModel.text(answer, "bench/m", { inputTokens: 9, outputTokens: 9 }))
  })
}

// A prompt of 1 KB, which has to be hashed for every call.
const prompt = "prompt ".repeat(146)
const requestOf = (n: number): LanguageModel.Request => ({ messages: [{ role: "user", content: `${n} ${prompt}` }] })

const stores = {
  memory: () => ResponseCache.memoryStore(),
  sqlite: (n: number) => ResponseCache.sqliteStore({ path: path.join(folder, `${n}.db`) })
}

let opened = 0

interface Figures {
  readonly hit: number
  readonly write: number
  readonly get: readonly [number, number]
  readonly set: readonly [number, number]
}

const percentile = (times: ReadonlyArray<number>, share: number): number =>
  [...times].sort((a, b) => a - b)[Math.floor(times.length * share)] ?? Number.NaN

// The time that each of many calls takes, in microseconds.
const timed = <E>(total: number, call: (n: number) => Effect.Effect<unknown, E>) =>
  Effect.gen(function*() {
    const times: Array<number> = []
    for (let n = 0; n < total; n++) {
      const start = performance.now()
      yield* call(n)
      times.push((performance.now() - start) * 1000)
    }
    return times
  })

const measure = (name: keyof typeof stores, bytes: number) =>
  Effect.scoped(Effect.gen(function*() {
    const store = yield* stores[name](opened++)
    const blocked = { get: [] as Array<number>, set: [] as Array<number> }
    const watched = <A, E>(kind: keyof typeof blocked, use: Effect.Effect<A, E>) =>
      Effect.sync(() => {
        const start = performance.now()
        const exit = Effect.runSyncExit(use)
        blocked[kind].push((performance.now() - start) * 1000)
        return exit
      }).pipe(Effect.flatten)
    const cache = yield* ResponseCache.make({
      ...store,
      get: (key) => watched("get", store.get(key)),
      set: (key, value, expires) => watched("set", store.set(key, value, expires))
    })
    const model = yield* cache(modelOf(bytes))
    const ask = (n: number) => model.generate(requestOf(n % writes))
    const writing = yield* timed(writes, ask)
    blocked.get.length = 0
    const hitting = yield* timed(hits, ask)
    assert.strictEqual((yield* cache.statistics).hits, hits)
    return {
      hit: percentile(hitting, 0.5),
      write: percentile(writing, 0.5),
      get: [percentile(blocked.get, 0.5), percentile(blocked.get, 0.99)],
      set: [percentile(blocked.set, 0.5), percentile(blocked.set, 0.99)]
    } satisfies Figures
  }))

try {
  const names = Object.keys(stores) as Array<keyof typeof stores> // keys of that record
  for (const bytes of [1000, 20_000]) {
    const measured = new Map(names.map((name) => [name, [] as Array<Figures>]))
    for (let round = -1; round < rounds; round++) {
      for (const [name, figures] of measured) {
        const one = await Effect.runPromise(measure(name, bytes))
        if (round >= 0) figures.push(one) // the first one is for warming up
      }
    }
    const middle = (name: keyof typeof stores, figure: (figures: Figures) => number) =>
      median(measured.get(name)!.map(figure))
    const blocking = (name: keyof typeof stores, operation: "get" | "set") =>
      `${middle(name, (figures) => figures[operation][0]).toFixed(0)} / ${
        middle(name, (figures) => figures[operation][1]).toFixed(0)
      } µs`
    const row = (name: keyof typeof stores) =>
      (["hit", "write"] as const).flatMap((figure) => {
        const mine = middle(name, (figures) => figures[figure])
        return [`${mine.toFixed(0)} µs`, `${(mine / middle("memory", (figures) => figures[figure])).toFixed(2)}x`]
      })
    console.log(`answers of ${bytes / 1000} KB, prompts of 1 KB, median of ${rounds} rounds in turn`)
    table(
      ["", "hit", "against memory", "miss and write", "against memory", "one get, p50 / p99", "one set, p50 / p99"],
      names.map((name) => [name, ...row(name), blocking(name, "get"), blocking(name, "set")])
    )
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
