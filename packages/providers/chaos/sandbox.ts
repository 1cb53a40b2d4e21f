/**
 * Code that means harm, and a lot of code: J.
 */
import type * as Sandbox from "@effect-dspy/core/Sandbox"
import { Effect, Either } from "effect"
import { Worker } from "node:worker_threads"
import * as QuickJsSandbox from "../src/QuickJsSandbox.ts"
import * as hostile from "../test/hostile.ts"
import { growth, lateness, mebibytes, now, outcome, quantile, type Scenario, spread, withLateness } from "./Scenario.ts"

const MiB = 2 ** 20

const range = (length: number) => Array.from({ length }, (_, n) => n)

const threads = () =>
  process.getActiveResourcesInfo().filter((kind) => kind === "MessagePort" || kind === "Worker").length

const tagOf = Either.match({
  onLeft: ({ reason }: Sandbox.SandboxError) => reason._tag,
  onRight: () => "Ran"
})

interface Attack {
  readonly code: string
  readonly expected: ReadonlyArray<string>
}

const attacks = (codes: ReadonlyArray<string>, ...expected: ReadonlyArray<string>): ReadonlyArray<Attack> =>
  codes.map((code) => ({ code, expected }))

const memory = 64 * MiB

// A gigabyte is written, said and handed over in pieces as large as they may be.
const floods: ReadonlyArray<Attack> = [
  { code: "for (let i = 0; i < 1024; i++) console.log('z'.repeat(2 ** 20))", expected: ["Ran"] },
  { code: "'y'.repeat(2 ** 24)", expected: ["TooLarge"] },
  { code: "submit('y'.repeat(2 ** 24))", expected: ["Threw"] },
  { code: "for (let i = 0; i < 1e4; i++) await touch(i)", expected: ["Threw"] },
  { code: "await Promise.all(Array.from({ length: 1e4 }, (_, i) => touch(i)))", expected: ["Threw"] },
  { code: "await Promise.all(Array.from({ length: 255 }, () => touch('x'.repeat(1e6))))", expected: ["Threw"] },
  { code: `${"1;".repeat(2 ** 19 - 2)}42`, expected: ["Ran"] },
  { code: "1".repeat(2 ** 20 + 1), expected: ["TooLarge"] }
]

/** How the attacks of one session ended that should have ended otherwise, and how often they reached a function. */
const committed = (sandbox: Sandbox.Service, list: ReadonlyArray<Attack>) =>
  Effect.scoped(Effect.gen(function*() {
    let touched = 0
    const session = yield* sandbox.open({
      memory,
      timeout: "2 minutes",
      functions: { touch: () => Effect.sync(() => ++touched) }
    })
    const surprises: Array<string> = []
    for (const { code, expected } of list) {
      const tag = tagOf(yield* Effect.either(session.run(code)))
      if (!expected.includes(tag)) surprises.push(`${tag}: ${code.slice(0, 80)}`)
    }
    return { surprises, touched }
  }))

const untouched = (): boolean =>
  !("polluted" in Object.prototype || "toJSON" in Object.prototype || "then" in Object.prototype) &&
  JSON.stringify({ a: [1] }) === "{\"a\":[1]}"

const limit = 100

/** How much later than a limit a thread that does nothing but loop is gone, with nothing of ours about it. */
const bareOverrun = Effect.async<number>((resume) => {
  const thread = new Worker("while (true) {}", { eval: true })
  thread.once("online", () => {
    const started = now()
    setTimeout(() => {
      void thread.terminate().then(() => resume(Effect.succeed(now() - started - limit)))
    }, limit)
  })
})

/** How long code that does not end ran beyond its limit, in milliseconds. */
const overruns = (sandbox: Sandbox.Service, rounds: number) =>
  Effect.scoped(Effect.gen(function*() {
    const session = yield* sandbox.open({ timeout: limit })
    const bare: Array<number> = []
    const asked: Array<number> = []
    const stopped: Array<number> = []
    const surprises: Array<string> = []
    for (const [name, code] of range(rounds).flatMap(() => Object.entries(hostile.loops))) {
      // An engine that was stopped is replaced first: that takes its time, but is no part of the limit.
      yield* session.set("round", 0)
      const started = now()
      const tag = tagOf(yield* Effect.either(session.run(code)))
      const over = now() - started - limit
      // It is the next code that finds out.
      if (name === "name") {
        bare.push(yield* bareOverrun)
        continue
      }
      if (tag !== "TimedOut") surprises.push(`${tag}: ${name}`)
      ;(name === "silent" ? stopped : asked).push(over)
    }
    return { asked, bare, stopped, surprises }
  }))

export const sandbox: ReadonlyArray<Scenario> = [
  {
    id: "J1",
    title: "code that does not end, needs all memory, floods, or reaches for what is outside",
    bar: "each a typed error, stopped within 100 ms after its limit; RSS at most 32 MiB above its limit; no effect",
    run: ({ times }) =>
      Effect.gen(function*() {
        const service = yield* QuickJsSandbox.make
        const before = threads()
        const { late, value: over } = yield* withLateness(overruns(service, times(20)))
        const bombs = yield* growth(committed(service, attacks(Object.values(hostile.bombs), "OutOfMemory")))
        const rest = yield* growth(Effect.forEach(
          [
            attacks(hostile.refused, "Threw"),
            attacks(hostile.reach, "Threw"),
            attacks(hostile.forged, "Threw"),
            ...hostile.attacks.map((code) => [
              ...attacks([`try { ${code} } catch {}`], "Ran", "Threw", "Crashed"),
              ...attacks(["await touch({ a: 1 })", "throw new Error('x')"], "Ran", "Threw", "Stuck", "Crashed")
            ]),
            floods
          ],
          (list) => committed(service, list)
        ))
        const floor = Math.max(late, quantile(over.bare, 0.99))
        const surprises = [...over.surprises, ...bombs.value.surprises, ...rest.value.flatMap((one) => one.surprises)]
        const touched = rest.value.reduce((sum, one) => sum + one.touched, 0)
        const peak = Math.max(bombs.peak.rss, rest.peak.rss)
        return outcome(
          `${over.asked.length} loops stopped inside: ${
            spread(over.asked)
          } late, ${over.stopped.length} from outside: ${spread(over.stopped)}; a bare thread that loops ${
            spread(over.bare)
          } ${lateness(late)}; ${Object.keys(hostile.bombs).length} bombs of ${mebibytes(memory)}: RSS +${
            mebibytes(bombs.peak.rss)
          }, floods and the rest +${mebibytes(rest.peak.rss)}; ${touched} calls of functions; ${
            threads() - before
          } threads left`,
          [
            [surprises.length === 0, surprises.join("\n      ")],
            [quantile(over.asked, 0.99) <= 100 + floor, "p99, stopped inside"],
            [quantile(over.stopped, 0.99) <= 100 + floor, "p99, stopped from outside"],
            [peak <= memory + 32 * MiB, "RSS"],
            // The two floods of calls, each up to what is allowed, the large ones, and one of each attack on the bridge.
            [touched <= 3 * 256 + hostile.attacks.length, "functions were called too often"],
            [untouched(), "something outside was changed"],
            [threads() === before, "threads are left"]
          ]
        )
      })
  },
  {
    id: "J2",
    title: "10,000 pieces of code in 200 sessions, 4 at a time",
    bar: "each comes to what it should; afterwards RSS is at most 64 MiB higher, and no thread is left",
    run: ({ times }) =>
      Effect.gen(function*() {
        const service = yield* QuickJsSandbox.make
        const pieces: ReadonlyArray<readonly [code: string, expected: string]> = [
          ["1 + 1", "Ran"],
          ["throw new Error('x')", "Threw"],
          ["1 +* 2", "Syntax"],
          ["await add(1, 2)", "Ran"],
          ["submit(Array.from({ length: 1000 }, (_, i) => ({ i })))", "Ran"],
          ["await new Promise(() => {})", "Stuck"],
          ["console.log('x'.repeat(1e4)); const kept = 'y'.repeat(1e5)", "Ran"],
          ["await Promise.all([1, 2, 3].map((n) => add(n, n)))", "Ran"]
        ]
        const last: ReadonlyArray<readonly [code: string, expected: string]> = [
          ["while (true) {}", "TimedOut"],
          ["const list = []; while (true) list.push(new Array(1e5).fill(0))", "OutOfMemory"]
        ]
        const session = (n: number) =>
          Effect.scoped(Effect.gen(function*() {
            const session = yield* service.open({
              memory: 16 * MiB,
              timeout: n % 2 === 0 ? limit : "20 seconds",
              functions: { add: (a, b) => Effect.succeed(Number(a) + Number(b)) }
            })
            const surprises: Array<string> = []
            for (const k of range(50)) {
              // In the middle, so that the engine which takes over is used as well.
              const [code, expected] = k === 25 ? last[n % 2]! : pieces[(n + k) % pieces.length]!
              const tag = tagOf(yield* Effect.either(session.run(code)))
              if (tag !== expected && !(tag === "TimedOut" && n % 2 === 0)) surprises.push(`${tag}: ${code}`)
            }
            return surprises
          }))
        // What the first engines bring with them stays.
        yield* session(0)
        const before = threads()
        globalThis.gc?.()
        const rss = process.memoryUsage().rss
        const started = now()
        const { peak, value } = yield* growth(
          Effect.forEach(range(times(200)), session, { concurrency: 4 })
        )
        const took = now() - started
        // What is free is given back to the system after a while.
        const left = Effect.sync(() => {
          globalThis.gc?.()
          return process.memoryUsage().rss - rss
        })
        const after = Math.min(...yield* Effect.forEach(range(10), () => Effect.delay(left, "500 millis")))
        const surprises = value.flat()
        return outcome(
          `${value.length * 50} runs in ${value.length} sessions, ${
            (value.length * 50 / took * 1000).toFixed(0)
          }/s: RSS ${after < 0 ? "−" : "+"}${mebibytes(Math.abs(after))} afterwards, +${mebibytes(peak.rss)} at most; ${
            threads() - before
          } threads left`,
          [
            [surprises.length === 0, surprises.slice(0, 5).join("\n      ")],
            [after <= 64 * MiB, "RSS"],
            [threads() === before, "threads are left"]
          ]
        )
      })
  }
]
