import * as BetterTogether from "@effect-dspy/optimizers/BetterTogether"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as Progress from "@effect-dspy/optimizers/Progress"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import { Terminal } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Exit, Fiber, Option, Stream, TestClock } from "effect"
import { exact, examples, simulate, sort } from "./utilities.ts"

const search = {
  trainset: examples(18, 6),
  valset: examples(12, 6, 100),
  metric: exact,
  numCandidatePrograms: 4,
  maxBootstrappedDemos: 2,
  maxLabeledDemos: 3
}

const erase = "\r\u001b[2K"

/** A terminal that keeps what it is given, and the lines that were to be seen at some time. */
const fake = (columns: number | undefined) => {
  const written: Array<string> = []
  const terminal = Terminal.Terminal.of({
    columns: Effect.succeed(columns ?? 0),
    rows: Effect.succeed(0),
    isTTY: Effect.succeed(columns !== undefined),
    readInput: Effect.never,
    readLine: Effect.never,
    display: (text) => Effect.sync(() => void written.push(text))
  })
  return {
    written,
    provide: Effect.provideService(Terminal.Terminal, terminal),
    seen: () => written.flatMap((text) => text.replaceAll(erase, "").replace(/\n$/, "").split("\n")),
    /** What is left to be seen in the end. */
    last: () => written.join("").split("\n").map((line) => line.split(erase).at(-1)!).join("\n")
  }
}

const slow = simulate({ latency: () => Effect.sleep("1 second") }).layer

describe("a line", () => {
  it.effect("is what one event says", () =>
    Effect.gen(function*() {
      const events = Array.from(
        yield* RandomSearch.events(sort, { ...search, schedule: "classical" }).pipe(
          Stream.runCollect,
          Effect.provide(simulate().layer)
        )
      )
      const lines = events.map((event) => Progress.line(event))
      assert.isTrue(lines.every((line) => !line.includes("\n")))
      assert.match(lines[0]!, /^8 trials, at most about \d+ calls · 0 calls · 0 s$/)
      const score = events.findLast(({ _tag }) => _tag === "Scored")!
      const later = { ...score, elapsed: 125_000, runs: { done: 110, replayed: 10, thrown: 0, planned: 150 } }
      assert.match(
        Progress.line(later),
        /^trial 8\/8: 12\/12, \d+\.\d % · best \d+\.\d % \(as given \d+\.\d %\) · \d+ calls · cost \d+\.\d\d · 2 min 5 s, about 50 s left$/
      )
      assert.match(Progress.line(later, { columns: 200 }), /^█{15}·{5} trial/)
      assert.match(lines.at(-1)!, /^done · best/)
    }))

  it.effect("fits any terminal, whatever a candidate is called", () =>
    Effect.gen(function*() {
      const events = yield* LabeledFewShot.events(sort, search).pipe(
        Stream.runCollect,
        Effect.provide(simulate().layer)
      )
      const trial = { index: 0, total: 1, origin: "工具\u001b[2J\n説明 🎉 e\u0301", seed: 1, on: "selection" } as const
      const named = Array.from(events, (event) => event._tag === "TrialStart" ? { ...event, trial } : event)
      for (const event of named) {
        for (let columns = 1; columns < 130; columns++) {
          const line = Progress.line(event, { columns })
          // Of these names, what is wide is outside of the first planes of letters.
          const width = Array.from(line).reduce(
            (sum, character) =>
              sum + (/[\u3000-\u9FFF]|\p{Emoji_Presentation}/u.test(character) ? 2 : /\p{M}/u.test(character) ? 0 : 1),
            0
          )
          assert.isAtMost(width, columns)
          assert.notMatch(line, /\p{Cc}/u)
        }
      }
      const start = named.find(({ _tag }) => _tag === "TrialStart")!
      assert.strictEqual(Progress.line(start, { columns: 23 }), "trial 1/1: 工具 [2J 説…")
    }))
})

describe("show", () => {
  it.effect("rewrites one line of a terminal and ends with a table", () =>
    Effect.gen(function*() {
      const terminal = fake(80)
      const run = yield* RandomSearch.events(sort, { ...search, concurrency: 4 }).pipe(
        Progress.show(),
        Stream.runCollect,
        terminal.provide,
        Effect.provide(slow),
        Effect.fork
      )
      yield* TestClock.adjust("2 minutes")
      const events = Chunk.toReadonlyArray(yield* Fiber.join(run))
      assert.strictEqual(events.at(-1)?._tag, "Done")
      assert.isTrue(terminal.written.every((text) => text.startsWith(erase)))
      assert.isTrue(terminal.written.slice(0, -1).every((text) => !text.includes("\n")))
      assert.isTrue(terminal.seen().every((line) => line.length <= 80))
      assert.match(terminal.last(), /^ +score +interval +examples +candidate/)
      assert.match(terminal.last(), /\n1 .*%.*\[.*\].*12 .*#\d/)
      assert.match(terminal.last(), /#0 as given/)
      const { best } = events.at(-1)!
      assert.isTrue(Option.isSome(best))
      assert.include(Progress.table(events.at(-1)!), "on 12 examples it was selected on, which flatters it\nas given  ")
    }))

  it.effect("also moves while nothing happens, once a second, and ten times a second at most", () =>
    Effect.gen(function*() {
      const terminal = fake(120)
      const run = yield* LabeledFewShot.events(sort, search).pipe(
        Progress.show(),
        Stream.runDrain,
        terminal.provide,
        Effect.provide(simulate({ latency: () => Effect.sleep("1 minute") }).layer),
        Effect.fork
      )
      yield* TestClock.adjust("300 millis")
      assert.isAtMost(terminal.written.length, 3)
      yield* TestClock.adjust("6 seconds")
      const times = terminal.written.map((text) => text.split(" · ").at(-1)!)
      assert.deepStrictEqual(times.slice(-4), ["3 s", "4 s", "5 s", "6 s"])
      yield* Fiber.interrupt(run)
    }))

  it.effect("leaves what is no terminal alone", () =>
    Effect.gen(function*() {
      const terminal = fake(undefined)
      yield* LabeledFewShot.events(sort, search).pipe(
        Progress.show(),
        Stream.runDrain,
        terminal.provide,
        Effect.provide(simulate().layer)
      )
      assert.deepStrictEqual(terminal.written, [])
    }))

  it.effect("or writes the few lines that are worth keeping", () =>
    Effect.gen(function*() {
      const terminal = fake(undefined)
      const events = yield* RandomSearch.events(sort, search).pipe(
        Progress.show({ log: true }),
        Stream.runCollect,
        terminal.provide,
        Effect.provide(simulate().layer)
      )
      const bests = Array.from(events).filter(({ _tag }) => _tag === "NewBest").length
      assert.strictEqual(terminal.written.length, 1 + bests + 1)
      assert.match(terminal.written[0]!, /^8 trials, at most/)
      assert.match(terminal.written[1]!, /^trial 1\/8: .*the best so far/)
      assert.notInclude(terminal.written.join(""), "\u001b")
      assert.include(terminal.last(), "\ndifference  ")
    }))

  it.effect("ends with what there is when the run is cut short or fails", () =>
    Effect.gen(function*() {
      const terminal = fake(100)
      const run = yield* RandomSearch.events(sort, { ...search, concurrency: 2 }).pipe(
        Progress.show(),
        Stream.interruptAfter("20 seconds"),
        Optimizer.best,
        terminal.provide,
        Effect.provide(simulate({ latency: () => Effect.sleep("1 second") }).layer),
        Effect.fork
      )
      yield* TestClock.adjust("30 seconds")
      const best = yield* Fiber.join(run)
      assert.isTrue(Option.isSome(best))
      assert.match(terminal.last(), /#0 as given(.|\n)*calls(.|\n)*20 s\n$/)

      const failing = fake(100)
      const exit = yield* RandomSearch.events(sort, search).pipe(
        Progress.show(),
        Stream.runDrain,
        failing.provide,
        Effect.provide(simulate({ fails: () => true }).layer),
        Effect.exit
      )
      assert.isTrue(Exit.isFailure(exit))
      assert.match(failing.last(), /^no candidate has been measured\nspent +0 calls · 0 s\n$/)
    }))

  it.effect("tells which step of several a run is in", () =>
    Effect.gen(function*() {
      const events = Array.from(
        yield* BetterTogether.events(sort, {
          ...search,
          optimizers: {
            two: (module, shared) => LabeledFewShot.events(module, { ...shared, k: 2 }),
            six: (module, shared) => LabeledFewShot.events(module, { ...shared, k: 6 })
          }
        }).pipe(Stream.runCollect, Effect.provide(simulate().layer))
      )
      const scored = events.findLast((event) => event._tag === "Step" && event.event._tag === "Scored")!
      const given = events.find(({ _tag }) => _tag === "TrialEnd")
      const line = Progress.line(scored, { columns: 150 })
      assert.match(line, /^█{20} step 2\/2, six: trial \d\/\d: 12\/12/)
      const asGiven = given?._tag === "TrialEnd" ? (100 * given.score.mean).toFixed(1) : ""
      assert.include(line, `(as given ${asGiven} %)`)
      const inner = scored._tag === "Step" ? scored.event.spend.calls : 0
      assert.isAbove(inner, 0)
      assert.include(line, `· ${scored.spend.calls + inner} calls`)
    }))
})

describe("a table", () => {
  const tableOf = (
    options: { readonly restrict?: ReadonlyArray<number>; readonly stopAtScore?: number },
    calls = 1e6
  ) =>
    RandomSearch.events(sort, { ...search, ...options, budget: { calls } }).pipe(
      Stream.runLast,
      Effect.map(Option.getOrThrow),
      Effect.map((event) => Progress.table(event)),
      Effect.provide(simulate().layer)
    )

  it.effect("does not compare the module as given with itself", () =>
    Effect.gen(function*() {
      const same = yield* tableOf({ restrict: [-3] })
      assert.match(same, /\nas given +\d+\.\d % .* on 12 examples\nnothing better was found\n/)
      assert.notInclude(same, "difference")
    }))

  it.effect("says what ended the run, unless it was its own end", () =>
    Effect.gen(function*() {
      assert.notInclude(yield* tableOf({}), "ended")
      assert.include(yield* tableOf({}, 60), "\nended       the budget is spent")
      assert.include(yield* tableOf({ stopAtScore: 0.1 }), "\nended       the score asked for was reached")
    }))
})
