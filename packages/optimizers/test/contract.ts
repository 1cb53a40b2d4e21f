/**
 * What every optimizer promises, as tests: one result whatever the timing, runs
 * that can be cut off anywhere, budgets that are kept, failures that are not
 * scores.
 */
import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Journal from "@effect-dspy/optimizers/Journal"
import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as Progress from "@effect-dspy/optimizers/Progress"
import * as Report from "@effect-dspy/optimizers/Report"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Option, Stream } from "effect"
import { chance, shuffled, simulate } from "./utilities.ts"

type Compiling<R> = (options: {
  readonly seed?: number | undefined
  readonly concurrency?: number | undefined
  readonly budget?: { readonly calls: number } | undefined
}) => Stream.Stream<Optimizer.OptimizerEvent<unknown>, Optimizer.OptimizerError, R>

/** A journal in a list of lines, which tells how many there are. */
export const store = (lines: Array<string>, onAppend: (count: number) => Effect.Effect<void> = () => Effect.void) =>
  Layer.effect(
    Journal.Journal,
    Effect.suspend(() =>
      Journal.make({
        lines: Array.from(lines),
        append: (line) => Effect.suspend(() => onAppend(lines.push(line)))
      })
    )
  )

/** Everything but the module itself, which is a function. */
const artifact = (compiled: Optimizer.Compiled<unknown>): string => JSON.stringify(compiled)

/** What of the events does not depend on time; what was bought side by side may come in any order. */
const log = (events: Iterable<Optimizer.OptimizerEvent<unknown>>): string =>
  JSON.stringify(Array.from(events).filter(inOrder).map(timeless))

const inOrder = (event: Optimizer.OptimizerEvent<unknown>): boolean =>
  event._tag === "Step" ? inOrder(event.event) : event._tag !== "Attempt" && event._tag !== "Asked"

const timeless = (event: Optimizer.OptimizerEvent<unknown>): object => ({
  ...event,
  ...(event._tag === "Step" ? { event: timeless(event.event) } : undefined),
  elapsed: 0,
  // What may be in vain is more where more runs at once.
  ...(event._tag === "Plan" ? { calls: 0 } : undefined),
  runs: 0,
  discarded: 0
})

const best = <R>(events: Stream.Stream<Optimizer.OptimizerEvent<unknown>, Optimizer.OptimizerError, R>) =>
  Effect.map(Optimizer.best(events), Option.getOrThrow)

// Lets the test runner in, which hears nothing of a test that never waits for anything and takes it for dead.
const breathe = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

export const contract = (
  name: string,
  options: {
    /** The run, as small as it can be and still do everything that is peculiar to it. */
    readonly events: Compiling<LanguageModel.LanguageModel>
    /** The model's answer, to the program and to whoever asks it to write. */
    readonly answer: (request: LanguageModel.Request) => string
    /** Budgets in calls that measure the program as given, and end before the run does. */
    readonly budgets: ReadonlyArray<number>
    readonly seeds?: number | undefined
    /** Every how manieth entry of the journal a run is cut off at. */
    readonly stride?: number | undefined
  }
) => {
  const { answer, budgets, events, stride = 1 } = options
  // More of it than there is time for after each change: ROUNDS=100 npx vitest run packages/optimizers/test/GEPA.test.ts
  const rounds = Number(process.env["ROUNDS"] ?? 0)
  const seeds = Math.max(options.seeds ?? 10, rounds)

  // A run for each entry of a journal takes its time on a busy machine.
  describe(`${name} keeps what all optimizers promise`, {
    timeout: 120_000 + Number(process.env["ROUNDS"] ?? 0) * 10_000
  }, () => {
    it.effect("the same result at any concurrency, whatever calls overtake each other", () =>
      Effect.forEach(Array.from({ length: seeds }, (_, seed) => seed), (seed) =>
        Effect.gen(function*() {
          yield* breathe
          const [one, eight, sixtyFour] = yield* Effect.forEach([1, 8, 64], (concurrency) =>
            events({ seed, concurrency }).pipe(
              Stream.runCollect,
              Effect.map(log),
              Effect.provide(simulate({ answer, latency: shuffled(seed * 100 + concurrency) }).layer)
            ))
          assert.strictEqual(eight, one)
          assert.strictEqual(sixtyFour, one)
        }), { discard: true }))

    it.effect("continues from any entry of its journal to the same result, and asks for nothing twice", () =>
      Effect.gen(function*() {
        const model = simulate({ answer })
        const all: Array<string> = []
        const whole = yield* best(events({ concurrency: 1 })).pipe(Effect.provide([model.layer, store(all)]))
        const requests = model.requests.map((request) => Json.hash(request)).sort()
        for (let entries = 1; entries < all.length; entries += stride) {
          yield* breathe
          const lines: Array<string> = []
          const reached = yield* Deferred.make<void>()
          const first = simulate({ answer })
          const cut = yield* Effect.fork(
            best(events({ concurrency: 1 })).pipe(
              Effect.provide([
                first.layer,
                store(lines, (count) =>
                  count < entries ? Effect.void : Deferred.succeed(reached, undefined).pipe(
                    Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 20))
                  ))
              ])
            )
          )
          yield* Deferred.await(reached)
          assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(cut)))
          const second = simulate({ answer })
          const resumed = yield* best(events({ concurrency: 1 })).pipe(Effect.provide([second.layer, store(lines)]))
          assert.strictEqual(artifact(resumed), artifact(whole), `cut off after ${entries} entries`)
          assert.deepStrictEqual(
            [...first.requests, ...second.requests].map((request) => Json.hash(request)).sort(),
            requests,
            `cut off after ${entries} entries`
          )
        }
      }))

    it.effect("and at any moment of a concurrent run", () =>
      Effect.gen(function*() {
        const whole = yield* best(events({})).pipe(Effect.provide(simulate({ answer }).layer))
        for (let moment = 0; moment < Math.max(15, rounds); moment++) {
          yield* breathe
          const lines: Array<string> = []
          const run = (latency: number) =>
            best(events({ concurrency: 5 })).pipe(
              Effect.provide([simulate({ answer, latency: shuffled(latency) }).layer, store(lines)])
            )
          const cut = yield* Effect.fork(run(moment))
          yield* Effect.repeatN(Effect.yieldNow(), (moment * 60) % 1500)
          yield* Fiber.interrupt(cut)
          assert.strictEqual(artifact(yield* run(moment + 1000)), artifact(whole))
        }
      }))

    it.effect("ends with the best so far when the budget does, at the same place at any concurrency", () =>
      Effect.forEach(budgets, (calls) =>
        Effect.gen(function*() {
          const artifacts = yield* Effect.forEach([1, 8], (concurrency) =>
            Effect.gen(function*() {
              const model = simulate({ answer, latency: shuffled(calls + concurrency) })
              const heard = yield* Stream.runCollect(events({ budget: { calls }, concurrency })).pipe(
                Effect.provide(model.layer)
              )
              const last = Array.from(heard).at(-1)
              assert.strictEqual(last?._tag === "Done" ? last.reason : undefined, "budget")
              assert.isAtMost(model.requests.length, calls)
              return artifact(yield* best(Stream.fromIterable(heard)))
            }))
          assert.strictEqual(artifacts[1], artifacts[0])
        }), { discard: true }))

    it.effect("survives a model that fails every tenth time, the same at any concurrency", () =>
      Effect.gen(function*() {
        const fails = (hash: string) => chance(7, hash) < 0.1
        const [one, eight] = yield* Effect.forEach([1, 8], (concurrency) =>
          best(events({ concurrency })).pipe(
            Effect.provide(simulate({ answer, fails, latency: shuffled(concurrency) }).layer)
          ))
        assert.strictEqual(artifact(eight!), artifact(one!))
      }))

    it.effect("can be watched: every event is a line, and all of them a page", () =>
      Effect.gen(function*() {
        const all = Array.from(yield* Stream.runCollect(events({})).pipe(Effect.provide(simulate({ answer }).layer)))
        for (const event of all) assert.match(Progress.line(event), /^[^\n]+ · \d+ s/)
        const page = yield* Report.html(all)
        assert.include(page, "Finished")
        for (const { index } of Option.getOrThrow(all.at(-1)!.best).candidates) {
          assert.include(page, `<td class="number">${index}</td>`)
        }
        assert.notMatch(page, /NaN|Infinity|undefined|\[object/)
      }))

    it.effect("gives up at once when the model is dead", () =>
      Effect.gen(function*() {
        const model = simulate({ answer, fails: () => true })
        const error = yield* Effect.flip(best(events({ concurrency: 4 }))).pipe(Effect.provide(model.layer))
        assert.strictEqual(error._tag, "TooManyFailures")
        assert.isAtMost(model.requests.length, 20)
      }))
  })
}
