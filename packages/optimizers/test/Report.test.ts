import * as BetterTogether from "@effect-dspy/optimizers/BetterTogether"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import * as Report from "@effect-dspy/optimizers/Report"
import { Error as PlatformError, FileSystem } from "@effect/platform"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck, Fiber, Logger, Option, Stream, TestClock } from "effect"
import { vi } from "vitest"
import { diff } from "../src/internal/report/diff.ts"
import { hostile } from "./hostile.ts"
import { exact, examples, simulate, sort } from "./utilities.ts"

const loaded = vi.hoisted((): Array<string> => [])
vi.mock("d3-scale", (original) => {
  loaded.push("d3-scale")
  return original()
})

const valset = examples(12, 6, 100)
const testset = examples(10, 6, 500)
const search = {
  trainset: examples(18, 6),
  valset,
  metric: exact,
  numCandidatePrograms: 4,
  maxBootstrappedDemos: 2,
  maxLabeledDemos: 3
}

const collect = <M, E, R>(events: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>) =>
  Effect.map(Stream.runCollect(events), (events): ReadonlyArray<Optimizer.OptimizerEvent<M>> => Array.from(events))

const best = (events: ReadonlyArray<Optimizer.OptimizerEvent<unknown>>) => Option.getOrThrow(events.at(-1)!.best)

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

describe("html", () => {
  it.effect("has the result, the candidates, the prompt, and who won where", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(loaded, [], "the charts are loaded when they are drawn, not with the optimizers")
      const events = yield* collect(RandomSearch.events(sort, { ...search, testset, seed: 7 }))
      const { baseline, candidates, measuredOn, parameters, provenance, score } = best(events)
      const page = yield* Report.html(events)
      assert.deepStrictEqual(loaded, ["d3-scale"])
      assert.strictEqual(measuredOn, "test")
      assert.include(page, "<h1>RandomSearch on test/learner</h1>")
      assert.include(page, `<title>RandomSearch: ${percent(score.mean)}, as given ${percent(baseline.mean)}</title>`)
      assert.include(page, "Measured on 10 examples of the test set")
      assert.include(page, `<code>${provenance.data}</code>`)
      assert.include(page, "<dt>Seed</dt><dd>7</dd>")
      assert.match(page, /p = 0\.\d+/)
      for (const { origin, score } of candidates) {
        assert.include(page, `<td>${origin}`)
        assert.include(page, percent(score.mean))
      }
      assert.strictEqual(page.match(/class="added"/g)?.length, parameters[""]?.demos.length)
      const [given, winner] = events.flatMap((event) =>
        event._tag === "TrialEnd" && event.trial.on === "test" ? [event.scores] : []
      )
      for (const [index, { id, inputs }] of testset.entries()) {
        const changed = given?.[index] !== winner?.[index]
        assert.strictEqual(page.includes(`<code>${id}</code>`), changed)
        assert.notInclude(page, inputs.item)
      }
      const wins = testset.filter((_, index) => winner![index]! > given![index]!).length
      const losses = testset.filter((_, index) => winner![index]! < given![index]!).length
      assert.isAbove(wins, 0)
      assert.include(page, `better on ${wins}, worse on ${losses}, as good on ${10 - wins - losses}`)
      // The data only on demand.
      assert.include(yield* Report.html(events, { examples: testset }), "kind1-50")
    }).pipe(Effect.provide(simulate().layer)))

  it.effect("says that a score on the examples it was selected on flatters, and compares on these", () =>
    Effect.gen(function*() {
      const page = yield* Effect.flatMap(collect(RandomSearch.events(sort, search)), (events) => Report.html(events))
      assert.include(
        page,
        "Measured on 12 examples that the best was also selected on, which flatters it; a test set would"
      )
      assert.include(page, "on 12 examples that were selected on: better on")
    }).pipe(Effect.provide(simulate().layer)))

  it.effect("is there for any part of a run", () =>
    Effect.gen(function*() {
      const events = yield* collect(RandomSearch.events(sort, { ...search, testset }))
      assert.include(yield* Report.html([]), "No candidate has been measured yet")
      for (let length = 1; length < events.length; length += 7) {
        const page = yield* Report.html(events.slice(0, length))
        assert.include(page, "Cut short")
        assert.notInclude(page, "NaN")
        assert.notInclude(page, "undefined")
      }
      assert.include(
        yield* Report.html(events.slice(0, events.findIndex(({ _tag }) => _tag === "NewBest") + 1)),
        "selected on, which flatters it; the test set was not reached yet"
      )
      assert.include(yield* Report.html(events), "Finished")
    }).pipe(Effect.provide(simulate().layer)))

  it.effect("has a part for each step of a run of several", () =>
    Effect.gen(function*() {
      const page = yield* Effect.flatMap(
        collect(BetterTogether.events(sort, {
          ...search,
          optimizers: {
            two: (module, shared) => LabeledFewShot.events(module, { ...shared, k: 2 }),
            six: (module, shared) => LabeledFewShot.events(module, { ...shared, k: 6 })
          }
        })),
        (events) => Report.html(events)
      )
      assert.include(page, "<h2>Step 1 of 2: two</h2>")
      assert.include(page, "<h2>Step 2 of 2: six</h2>")
      assert.include(page, "Which of 3 candidates was made of which")
    }).pipe(Effect.provide(simulate().layer)))

  it.effect("shows what looks like markup as text", () =>
    Effect.gen(function*() {
      const { events, examples } = yield* hostile
      const page = yield* Report.html(events, { examples })
      assert.include(page, "&lt;img src=x onerror=alert(1)&gt;")
      assert.notMatch(page, /<(script|img|iframe|svg onload|b)\b/)
      // Every tag that is there is one of ours.
      const tags = new Set(Array.from(page.matchAll(/<\/?([a-z][a-z0-9]*)/gi), ([, tag]) => tag!.toLowerCase()))
      assert.isFalse(["script", "img", "iframe", "object", "link", "base", "form"].some((tag) => tags.has(tag)))
      assert.include(page, "default-src 'none'; style-src 'unsafe-inline'")
    }))
})

describe("the diff", () => {
  const text = FastCheck.array(FastCheck.constantFrom("one", "two", "three", " ", " ", ",", "\n", "é", "数"), {
    maxLength: 30
  })
    .map((words) => words.join(""))

  it("is the text before without what was added, and the one after without what was removed", () => {
    FastCheck.assert(
      FastCheck.property(text, text, (before, after) => {
        const pieces = diff(before, after)
        const without = (kind: string) => pieces.filter((piece) => piece.kind !== kind).map(({ text }) => text).join("")
        assert.strictEqual(without("added"), before)
        assert.strictEqual(without("removed"), after)
        if (before === after) assert.isTrue(pieces.every(({ kind }) => kind === "kept"))
      }),
      { seed: 1, numRuns: 2000 }
    )
  })

  it("is in words, and in phrases where little was kept", () => {
    assert.deepStrictEqual(diff("Route the ticket to a team.", "Route the ticket to the right team."), [
      { kind: "kept", text: "Route the ticket to " },
      { kind: "removed", text: "a" },
      { kind: "added", text: "the right" },
      { kind: "kept", text: " team." }
    ])
    assert.deepStrictEqual(diff("Answer briefly, please", "Think hard, always"), [
      { kind: "removed", text: "Answer briefly, please" },
      { kind: "added", text: "Think hard, always" }
    ])
  })

  it("does not take long over long texts", () => {
    const long = (seed: number) => Array.from({ length: 20_000 }, (_, index) => `w${(index * seed) % 7919}`).join(" ")
    assert.deepStrictEqual(diff(long(3), long(5)).map(({ kind }) => kind), ["kept", "removed", "added"])
  })
})

describe("write", () => {
  /** A disk that remembers every page there was. */
  const disk = (fails: (write: number) => boolean = () => false) => {
    const pages: Array<string> = []
    const files = new Map<string, string>()
    let writes = 0
    const layer = FileSystem.layerNoop({
      writeFileString: (path, text) =>
        Effect.suspend(() => {
          if (fails(++writes)) {
            return new PlatformError.SystemError({
              module: "FileSystem",
              method: "writeFileString",
              reason: "PermissionDenied"
            })
          }
          files.set(path, text)
          return Effect.void
        }),
      rename: (from, to) =>
        Effect.sync(() => {
          pages.push(files.get(from)!)
          files.set(to, files.get(from)!)
          files.delete(from)
        }),
      remove: (path) => Effect.sync(() => void files.delete(path))
    })
    return { files, layer, pages }
  }

  const slow = simulate({ latency: () => Effect.sleep("1 second") }).layer

  // What is drawn is loaded in its own time, which the test clock does not wait for.
  const pass = (seconds: number) =>
    Effect.forEach(
      Array.from({ length: seconds }),
      () => TestClock.adjust("1 second").pipe(Effect.zipRight(Effect.promise(() => new Promise(setImmediate)))),
      { discard: true }
    )

  it.effect("keeps the page up to date, every three seconds at most, and replaces it as a whole", () =>
    Effect.gen(function*() {
      const { files, layer, pages } = disk()
      yield* Report.html([])
      const run = yield* collect(
        RandomSearch.events(sort, { ...search, concurrency: 4 }).pipe(Report.write("report.html"))
      ).pipe(Effect.provide([slow, layer]), Effect.fork)
      yield* pass(10)
      assert.isAtLeast(pages.length, 3)
      assert.isAtMost(pages.length, 5)
      assert.isTrue(pages.every((page) => page.includes("http-equiv=\"refresh\"")))
      assert.include(pages[0]!, "Starting")
      assert.match(pages.at(-1)!, /Running: \d+ of at most \d+ runs/)
      yield* pass(60)
      const events = yield* Fiber.join(run)
      assert.strictEqual(pages.at(-1), yield* Report.html(events))
      assert.include(pages.at(-1)!, "Finished")
      assert.deepStrictEqual(Array.from(files.keys()), ["report.html"])
    }))

  it.effect("says how a run ended that did not end by itself", () =>
    Effect.gen(function*() {
      const { layer, pages } = disk()
      const run = yield* collect(RandomSearch.events(sort, search).pipe(Report.write("report.html"))).pipe(
        Effect.provide([slow, layer]),
        Effect.fork
      )
      yield* pass(2)
      yield* Fiber.interrupt(run)
      assert.match(pages.at(-1)!, /Cut short</)
      assert.notInclude(pages.at(-1)!, "refresh")
      yield* RandomSearch.events(sort, search).pipe(
        Report.write("report.html"),
        Stream.runDrain,
        Effect.provide([simulate({ fails: () => true }).layer, layer]),
        Effect.flip
      )
      assert.match(pages.at(-1)!, /Cut short: \d+ of the last \d+ runs of the program failed/)
    }))

  it.effect("fails before anything is paid for if the file cannot be written", () =>
    Effect.gen(function*() {
      const model = simulate()
      const error = yield* RandomSearch.events(sort, search).pipe(
        Report.write("report.html"),
        Stream.runDrain,
        Effect.provide([model.layer, disk(() => true).layer]),
        Effect.flip
      )
      assert.strictEqual(error._tag, "SystemError")
      assert.strictEqual(model.requests.length, 0)
    }))

  it.effect("does not lose a run to a disk that fills up later", () =>
    Effect.gen(function*() {
      const warnings: Array<unknown> = []
      const logger = Logger.make(({ message }) => void warnings.push(message))
      const { files, layer } = disk((write) => write > 1)
      const events = yield* collect(RandomSearch.events(sort, search).pipe(Report.write("report.html"))).pipe(
        Effect.provide([simulate().layer, layer, Logger.replace(Logger.defaultLogger, logger)])
      )
      assert.strictEqual(events.at(-1)?._tag, "Done")
      assert.isAbove(warnings.length, 0)
      assert.match(String(warnings[0]), /The report cannot be written/)
      assert.deepStrictEqual(Array.from(files.keys()), ["report.html"])
    }))

  it.scopedLive("writes a file, as `save` does when the run is over", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const events = yield* collect(
        LabeledFewShot.events(sort, search).pipe(Report.write(`${folder}/report.html`, { examples: valset }))
      )
      yield* Report.save(events, `${folder}/again.html`, { examples: valset })
      assert.deepStrictEqual((yield* fs.readDirectory(folder)).toSorted(), ["again.html", "report.html"])
      const page = yield* fs.readFileString(`${folder}/report.html`)
      assert.include(page, "Finished")
      assert.strictEqual(yield* fs.readFileString(`${folder}/again.html`), page)
    }).pipe(Effect.provide([NodeFileSystem.layer, simulate().layer])))
})
