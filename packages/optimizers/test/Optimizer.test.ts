import * as Budget from "@effect-dspy/core/Budget"
import * as Example from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Scoring from "@effect-dspy/core/Scoring"
import * as COPRO from "@effect-dspy/optimizers/COPRO"
import * as InferRules from "@effect-dspy/optimizers/InferRules"
import * as Journal from "@effect-dspy/optimizers/Journal"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as Progress from "@effect-dspy/optimizers/Progress"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import { assert, describe, it } from "@effect/vitest"
import {
  Chunk,
  Context,
  Deferred,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Option,
  Stream,
  Supervisor,
  TestClock
} from "effect"
import {
  boxOf,
  chance,
  exact,
  examples,
  field,
  learner,
  render,
  shown,
  shuffled,
  simulate,
  sort,
  textOf
} from "./utilities.ts"

const trainset = examples(18, 6)
const valset = examples(12, 6, 100)

const search = {
  trainset,
  valset,
  metric: exact,
  numCandidatePrograms: 4,
  maxBootstrappedDemos: 2,
  maxLabeledDemos: 3,
  maxRounds: 2
}

const store = (lines: Array<string>, onAppend: (count: number) => Effect.Effect<void> = () => Effect.void) =>
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

/** What of the events does not depend on time. */
const log = (events: Iterable<Optimizer.OptimizerEvent<unknown>>): string =>
  JSON.stringify(
    Array.from(events).filter(({ _tag }) => _tag !== "Attempt").map((event) => ({
      ...event,
      // What may be in vain is more where more runs at once.
      ...(event._tag === "Plan" ? { calls: 0 } : undefined),
      elapsed: 0,
      runs: 0,
      discarded: 0
    }))
  )

const better = Either.getOrThrow(
  Module.withParameters(sort, { "": { demos: [Parameters.demo({ item: "kind0-0", box: "wrong" })] } })
)

// Many runs, which take their time on a busy machine.
describe("the same result", { timeout: 120_000 }, () => {
  it.effect("at any concurrency, whatever calls overtake each other, for 20 seeds", () =>
    Effect.forEach(Array.from({ length: 20 }, (_, seed) => seed), (seed) =>
      Effect.gen(function*() {
        const runs = yield* Effect.forEach([1, 8, 64], (concurrency) =>
          RandomSearch.events(sort, { ...search, testset: examples(6, 6, 300), seed, concurrency }).pipe(
            Stream.runCollect,
            Effect.provide(simulate({ latency: shuffled(seed * 100 + concurrency) }).layer)
          ))
        const [one, eight, sixtyFour] = runs.map((events) =>
          log(events)
        )
        assert.strictEqual(eight, one)
        assert.strictEqual(sixtyFour, one)
        const last = Chunk.unsafeLast(runs[0]!)
        assert.strictEqual(last._tag, "Done")
      }), { discard: true }))

  it.effect("and another one for another seed", () =>
    Effect.gen(function*() {
      const [a, b] = yield* Effect.forEach([1, 2], (seed) => RandomSearch.compile(sort, { ...search, seed })).pipe(
        Effect.provide(simulate().layer)
      )
      assert.notStrictEqual(Parameters.hash(a!.parameters), Parameters.hash(b!.parameters))
    }))
})

describe("a run that was cut off", { timeout: 120_000 }, () => {
  const short = { ...search, valset: examples(6, 6, 100), numCandidatePrograms: 2 }

  const whole = Effect.gen(function*() {
    const model = simulate()
    const lines: Array<string> = []
    const compiled = yield* RandomSearch.compile(sort, { ...short, concurrency: 1 }).pipe(
      Effect.provide([model.layer, store(lines)])
    )
    return { artifact: artifact(compiled), requests: model.requests.map((request) => Json.hash(request)).sort(), lines }
  })

  it.effect("continues from any entry of its journal to the same result, and asks for nothing twice", () =>
    Effect.gen(function*() {
      const expected = yield* whole
      for (let entries = 1; entries < expected.lines.length; entries++) {
        const lines: Array<string> = []
        const reached = yield* Deferred.make<void>()
        const first = simulate()
        const cut = yield* Effect.fork(
          RandomSearch.compile(sort, { ...short, concurrency: 1 }).pipe(
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

        const second = simulate()
        const resumed = yield* RandomSearch.compile(sort, { ...short, concurrency: 1 }).pipe(
          Effect.provide([second.layer, store(lines)])
        )
        assert.strictEqual(artifact(resumed), expected.artifact)
        assert.deepStrictEqual(
          [...first.requests, ...second.requests].map((request) => Json.hash(request)).sort(),
          expected.requests,
          `cut off after ${entries} entries`
        )
      }
    }))

  it.effect("at any moment of a concurrent run", () =>
    Effect.gen(function*() {
      const { artifact: expected } = yield* whole
      for (let moment = 0; moment < 25; moment++) {
        const lines: Array<string> = []
        const compile = (latency: number) =>
          RandomSearch.compile(sort, { ...short, concurrency: 5 }).pipe(
            Effect.provide([simulate({ latency: shuffled(latency) }).layer, store(lines)])
          )
        const cut = yield* Effect.fork(compile(moment))
        yield* Effect.repeatN(Effect.yieldNow(), moment * 25)
        yield* Fiber.interrupt(cut)
        assert.doesNotThrow(() => lines.forEach((line) => JSON.parse(line)))
        assert.strictEqual(artifact(yield* compile(moment + 1000)), expected)
      }
    }))

  it.effect("whose journal is of another program, other data or other options is refused", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const compile = (options: Partial<typeof search>) =>
        RandomSearch.compile(sort, { ...search, ...options }).pipe(
          Effect.provide([simulate().layer, store(lines)])
        )
      yield* compile({})
      const problem = (options: Partial<typeof search>) =>
        Effect.map(Effect.flip(compile(options)), ({ message }) => message)
      assert.include(yield* problem({ maxRounds: 3 }), "options.maxRounds was 2 and is now 3")
      assert.include(yield* problem({ trainset: trainset.slice(1) }), "data.trainset")
      const other = RandomSearch.compile(Predict.make("item -> box", { settings: {} }), search)
      const renamed = RandomSearch.compile(
        Module.map(Predict.make("item -> label"), ({ label }) => ({ box: label })),
        search
      )
      yield* Effect.provide(other, [simulate().layer, store(lines)])
      const error = yield* Effect.flip(Effect.provide(renamed, [simulate().layer, store(lines)]))
      assert.include(error.message, "program.predictors")
    }))

  it.effect("and whose metric has changed is noticed", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const options = { trainset, valset, metric: exact }
      yield* LabeledFewShot.compile(sort, options).pipe(Effect.provide([simulate().layer, store(lines)]))
      // Half of what was paid for is lost, so half is scored anew.
      const kept = lines.filter((line, index) => !line.startsWith(`{"key"`) || index % 2 === 0)
      const error = yield* Effect.flip(
        LabeledFewShot.compile(sort, { ...options, metric: () => Effect.succeed({ value: 0.25 }) }).pipe(
          Effect.provide([simulate().layer, store(kept)])
        )
      )
      assert.strictEqual(error._tag, "JournalError")
      assert.include(error.message, `"trial 0" comes out differently`)
    }))
})

it.effect("no more is paid for than may be under way before the journal has it", () =>
  Effect.gen(function*() {
    const model = simulate()
    // A disk that is busy whenever something was paid for.
    const free = yield* Deferred.make<void>()
    const busy = Layer.effect(
      Journal.Journal,
      Journal.make({ lines: [], append: (_, durable) => durable ? Effect.void : Deferred.await(free) })
    )
    const fiber = yield* Effect.fork(
      InferRules.compile(sort, { trainset, valset, metric: exact, concurrency: 3 }).pipe(
        Effect.provide([model.layer, busy])
      )
    )
    yield* Effect.repeatN(Effect.yieldNow(), 2000)
    const paid = model.requests.length
    yield* Deferred.succeed(free, undefined)
    yield* Fiber.interrupt(fiber)
    assert.strictEqual(paid, 3)
  }))

describe("interruption", () => {
  it.effect("stops every call", () =>
    Effect.gen(function*() {
      const model = simulate({ latency: () => Effect.sleep("1 minute") })
      const fiber = yield* Effect.fork(
        RandomSearch.compile(sort, { ...search, schedule: "classical", concurrency: 16 }).pipe(
          Effect.provide(model.layer)
        )
      )
      yield* TestClock.adjust("90 seconds")
      assert.strictEqual(model.load.now, 16)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(model.load.now, 0)
    }))

  it.effect("leaves no fiber behind", () =>
    Effect.gen(function*() {
      const supervisor = yield* Supervisor.track
      for (const milliseconds of [0, 500, 1500, 2500]) {
        const model = simulate({ latency: () => Effect.sleep("1 second") })
        const fiber = yield* RandomSearch.compile(sort, { ...search, concurrency: 16 }).pipe(
          Effect.provide(model.layer),
          Effect.supervised(supervisor),
          Effect.fork
        )
        yield* TestClock.adjust(milliseconds)
        assert.isAbove((yield* supervisor.value).length, 1)
        yield* Fiber.interrupt(fiber)
        const left = (yield* supervisor.value).filter((fiber) => fiber.unsafePoll() === null)
        assert.strictEqual(left.length, 0)
      }
    }))

  it.effect("of the stream leaves the best so far", () =>
    Effect.gen(function*() {
      const model = simulate({ latency: () => Effect.sleep("1 second") })
      const events = RandomSearch.events(sort, { ...search, concurrency: valset.length })
      const best = yield* events.pipe(Stream.interruptAfter("5 seconds"), Optimizer.best, Effect.fork)
      yield* Effect.repeatN(TestClock.adjust("1 second"), 6)
      const compiled = Option.getOrThrow(yield* Effect.provide(Fiber.join(best), model.layer))
      assert.isAtLeast(compiled.candidates.length, 1)
      assert.isBelow(compiled.candidates.length, 8)
      assert.strictEqual(model.load.now, 0)
    }).pipe(Effect.provide(simulate({ latency: () => Effect.sleep("1 second") }).layer)))

  it.effect("before anything is measured leaves nothing", () =>
    Effect.gen(function*() {
      const model = simulate()
      const best = yield* RandomSearch.events(sort, search).pipe(
        Stream.take(1),
        Optimizer.best,
        Effect.provide(model.layer)
      )
      assert.isTrue(Option.isNone(best))
    }))

  it.effect("a consumer that stops holds the run back", () =>
    Effect.gen(function*() {
      const model = simulate()
      yield* RandomSearch.events(sort, { ...search, concurrency: 1 }).pipe(
        Stream.mapEffect(() => Effect.never),
        Stream.runDrain,
        Effect.provide(model.layer),
        Effect.fork
      )
      yield* Effect.repeatN(Effect.yieldNow(), 5000)
      assert.isBelow(model.requests.length, 50)
    }))
})

describe("failures of the model", () => {
  it.effect("are not scores: of every fifth call they do not change a winner that leads by 10 points", () =>
    Effect.gen(function*() {
      let clear = 0
      for (let seed = 0; clear < 5; seed++) {
        assert.isBelow(seed, 30)
        const compile = (fails: (hash: string) => boolean) =>
          RandomSearch.compile(sort, {
            trainset: examples(20, 4),
            valset: examples(60, 4, 100),
            metric: exact,
            restrict: [-2, -1],
            maxLabeledDemos: 3,
            // Without teachers that may fail candidates are the same.
            maxBootstrappedDemos: 0,
            seed
          }).pipe(Effect.provide(simulate({ fails }).layer))
        const calm = yield* compile(() => false)
        const [first, second] = calm.candidates
        if (first!.score.mean - second!.score.mean < 0.1) continue
        clear++
        const stormy = yield* compile((hash) => chance(seed, hash) < 0.2)
        assert.isAbove(stormy.score.unknown, 0)
        assert.strictEqual(stormy.score.known + stormy.score.unknown, 60)
        assert.deepStrictEqual(stormy.parameters, calm.parameters, `seed ${seed}`)
      }
    }))

  it.effect("are not to the credit of a candidate that was spared the difficult examples", () =>
    Effect.gen(function*() {
      const item = (request: LanguageModel.Request) =>
        Number(field(textOf(request.messages.at(-1)), "item")?.split("-")[1])
      const isDemonstrated = (request: LanguageModel.Request) => shown(request).length > 0
      const model = simulate({
        // As given: all of 100 to 105. With demonstrations: all of these but one, and nothing is known of the rest.
        answer: (request) =>
          render({
            box: item(request) < 106 && !(isDemonstrated(request) && item(request) === 100)
              ? boxOf(`kind${item(request) % 6}`)
              : "wrong"
          }),
        fails: (_, request) => isDemonstrated(request) && item(request) >= 106
      })
      const compiled = yield* LabeledFewShot.compile(sort, { trainset, valset, metric: exact }).pipe(
        Effect.provide(model.layer)
      )
      assert.deepStrictEqual(compiled.candidates.map(({ origin, score }) => [origin, score.known, score.unknown]), [
        ["labeled", 6, 6],
        ["as given", 12, 0]
      ])
      assert.isAbove(compiled.candidates[0]!.score.mean, compiled.candidates[1]!.score.mean)
      assert.deepStrictEqual(compiled.parameters, compiled.candidates[1]!.parameters)
    }))

  it.effect("of all calls end the run at once, with the journal intact", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const dead = simulate({ fails: () => true })
      const options = { ...search, valset: examples(100, 6, 100), concurrency: 8 }
      const error = yield* Effect.flip(
        RandomSearch.compile(sort, options).pipe(Effect.provide([dead.layer, store(lines)]))
      )
      assert.strictEqual(error._tag, "TooManyFailures")
      assert.include(error.message, "10 of the last 10 runs")
      assert.include(error.message, "try later")
      assert.isAtMost(dead.requests.length, 10 + 8)

      const alive = simulate()
      const expected = yield* RandomSearch.compile(sort, options).pipe(Effect.provide(simulate().layer))
      const resumed = yield* RandomSearch.compile(sort, options).pipe(Effect.provide([alive.layer, store(lines)]))
      assert.strictEqual(artifact(resumed), artifact(expected))
    }))

  it.effect("of a few runs are all the same too many when nothing else is known", () =>
    Effect.gen(function*() {
      const few = { ...search, trainset: trainset.slice(0, 1), valset: valset.slice(0, 2), testset: undefined }
      const error = yield* Effect.flip(
        LabeledFewShot.compile(sort, few).pipe(Effect.provide(simulate({ fails: () => true }).layer))
      )
      assert.strictEqual(error._tag, "TooManyFailures")
      assert.match(error.message, /^2 of the last 2 runs of the program failed.*try later$/)
      // A model that dies later leaves the score that is known.
      let calls = 0
      const { measuredOn, score } = yield* LabeledFewShot.compile(sort, {
        ...few,
        concurrency: 1,
        testset: valset.slice(6, 8)
      }).pipe(Effect.provide(simulate({ fails: () => ++calls > 4 }).layer))
      assert.deepStrictEqual([measuredOn, score.known], ["selection", 2])
    }))

  it.effect("that the journal holds are not held against the model of today", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const fails = (hash: string) => chance(1, hash) < 0.7
      const tested = { ...search, testset: examples(12, 6, 500) }
      const patient = RandomSearch.compile(sort, { ...tested, maxFailureRate: 1 })
      const first = yield* patient.pipe(Effect.provide([simulate({ fails }).layer, store(lines)]))
      const again = yield* RandomSearch.compile(sort, tested).pipe(
        Effect.provide([simulate({ fails: () => true }).layer, store(lines)])
      )
      assert.isAbove(first.score.unknown, 0)
      assert.strictEqual(artifact(again), artifact(first))
      const error = yield* Effect.flip(RandomSearch.compile(sort, search)).pipe(
        Effect.provide(simulate({ fails }).layer)
      )
      assert.strictEqual(error._tag, "TooManyFailures")
    }))

  it.effect("and those of the code, which throws, are the same", () =>
    Effect.gen(function*() {
      const careless = (share: number) =>
        RandomSearch.events(sort, {
          ...search,
          metric: (example, output, trace) => {
            if (chance(3, example.id) < share) throw new Error("labels have no such thing")
            return exact(example, output, trace)
          }
        }).pipe(Stream.runCollect, Effect.map((events) => Array.from(events)), Effect.provide(simulate().layer))
      const last = (yield* careless(0.3)).at(-1)!
      const { score } = Option.getOrThrow(last.best)
      assert.isAbove(score.unknown, 0)
      assert.isAbove(last.runs.thrown, score.unknown)
      assert.include(Progress.table(last), `threw       ${last.runs.thrown} runs, see the log`)
      const error = yield* Effect.flip(careless(1))
      assert.strictEqual(error._tag, "TooManyFailures")
      assert.include(error.message, "the metric threw: labels have no such thing")
    }))

  it.effect("from some time on end the run soon", () =>
    Effect.gen(function*() {
      let calls = 0
      const model = simulate({ fails: () => ++calls > 60 })
      const error = yield* Effect.flip(
        RandomSearch.compile(sort, { ...search, valset: examples(100, 6, 100), concurrency: 4 }).pipe(
          Effect.provide(model.layer)
        )
      )
      assert.strictEqual(error._tag, "TooManyFailures")
      assert.isAtMost(calls, 60 + 26 + 4)
    }))

  it.effect("an answer that cannot be read counts as 0", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: () => "no field at all" })
      const compiled = yield* RandomSearch.compile(sort, search).pipe(Effect.provide(model.layer))
      assert.deepInclude(compiled.score, { mean: 0, known: 12, unknown: 0 })
    }))
})

describe("a budget", () => {
  // 12 validation examples for each of 8 candidates, and up to 2 rounds on 18 training examples.
  const spendAtMost = (limits: Budget.Limits, concurrency: number, latency = 0) => {
    const model = simulate({ latency: shuffled(latency) })
    return RandomSearch.events(sort, { ...search, budget: limits, concurrency }).pipe(
      Stream.runCollect,
      Effect.provide(model.layer),
      Effect.map((events) => {
        const done = Chunk.unsafeLast(events)
        return { model, done, compiled: Option.getOrThrow(done.best) }
      })
    )
  }

  it.effect("that is enough changes nothing", () =>
    Effect.gen(function*() {
      const { compiled, done } = yield* spendAtMost({ calls: 1000 }, 8)
      const unlimited = yield* RandomSearch.compile(sort, search).pipe(Effect.provide(simulate().layer))
      assert.strictEqual(artifact(compiled), artifact(unlimited))
      assert.deepInclude(done, { _tag: "Done", reason: "completed" })
    }))

  it.effect("of calls is kept, and leaves the best so far, the same at any concurrency", () =>
    Effect.forEach([12, 24, 40, 55, 70], (calls) =>
      Effect.gen(function*() {
        const [one, eight, sixtyFour] = yield* Effect.forEach([1, 8, 64], (concurrency) =>
          spendAtMost({ calls }, concurrency, concurrency))
        assert.strictEqual(artifact(eight!.compiled), artifact(one!.compiled))
        assert.strictEqual(artifact(sixtyFour!.compiled), artifact(one!.compiled))
        for (const { compiled, done, model } of [one!, eight!, sixtyFour!]) {
          assert.deepInclude(done, { _tag: "Done", reason: "budget" })
          assert.isAtMost(model.requests.length, calls)
          // A candidate that was not measured to its end is not the best, and is told from others.
          assert.strictEqual(compiled.score.known, valset.length)
          for (const { complete, score } of compiled.candidates) {
            assert.strictEqual(complete, score.known === valset.length)
          }
        }
        assert.isAtLeast(one!.model.requests.length, calls - valset.length)
      }), { discard: true }))

  it.effect("ends the run at the same place when runs cost more than was expected", () =>
    Effect.gen(function*() {
      // Three calls where there is an answer, which there never is for the module as given.
      const thorough = Module.make({ box: sort }, function*(m, input: { readonly item: string }) {
        const { box } = yield* m.box(input)
        if (box === "a box") return { box }
        yield* m.box({ item: `${input.item}0` })
        return yield* m.box({ item: `${input.item}00` })
      })
      const answer = (request: LanguageModel.Request) =>
        shown(request).length === 0 ? render({ box: "a box" }) : learner(request)
      for (const calls of [20, 35, 50, 65]) {
        const [one, eight, sixtyFour] = yield* Effect.forEach([1, 8, 64], (concurrency) =>
          RandomSearch.compile(thorough, { ...search, budget: { calls }, concurrency }).pipe(
            Effect.provide(simulate({ answer, latency: shuffled(concurrency) }).layer)
          ))
        assert.strictEqual(artifact(eight!), artifact(one!))
        assert.strictEqual(artifact(sixtyFour!), artifact(one!))
      }
    }))

  it.effect("of tokens or money ends the run too", () =>
    Effect.gen(function*() {
      for (const limits of [{ tokens: 110 * 30 }, { cost: 3 }]) {
        const { compiled, done, model } = yield* spendAtMost(limits, 4)
        assert.deepInclude(done, { _tag: "Done", reason: "budget" })
        assert.isAtMost(model.requests.length, 30)
        assert.isAtLeast(compiled.candidates.length, 2)
      }
    }))

  it.effect("of calls is kept by a program that takes more of them than it has predictors to tune", () =>
    Effect.gen(function*() {
      const helped = Module.make(
        { hint: Module.freeze(Predict.make("item -> hint")), box: sort },
        function*(m, input: { readonly item: string }) {
          yield* m.hint(input)
          return yield* m.box(input)
        }
      )
      const answer = (request: LanguageModel.Request) =>
        textOf(request.messages[0]).includes("`hint`") ? render({ hint: "look" }) : learner(request)
      for (const calls of [24, 30, 61]) {
        const model = simulate({ answer })
        yield* RandomSearch.compile(helped, { ...search, budget: { calls }, concurrency: 64 }).pipe(
          Effect.provide(model.layer)
        )
        assert.isAtMost(model.requests.length, calls)
      }
    }))

  it.effect("of tokens is not overdrawn by runs that start before it is known what one takes", () =>
    Effect.gen(function*() {
      for (const limits of [{ tokens: 110 * 5 }, { cost: 0.5 }]) {
        const model = simulate()
        const error = yield* Effect.flip(
          RandomSearch.compile(sort, { ...search, budget: limits, concurrency: 64 })
        ).pipe(Effect.provide(model.layer))
        assert.strictEqual(error._tag, "BudgetTooSmall")
        assert.isAtMost(model.requests.length, 5)
      }
    }))

  it.effect("of tokens is not kept for runs as dear as an answer of the prompt model", () =>
    Effect.gen(function*() {
      const writer = LanguageModel.make({
        id: "test/writer",
        generate: () =>
          Effect.succeed(
            LanguageModel.text(render({ proposed_instruction: "Sort." }), "test/writer", {
              inputTokens: 2000,
              outputTokens: 0
            })
          )
      })
      // As given on 12 examples, two instructions of which one is new, and both programs on 10 more.
      const tokens = 12 * 110 + 2 * 2000 + 12 * 110 + 2 * 10 * 110
      const { measuredOn, spend } = yield* COPRO.compile(sort, {
        trainset,
        valset,
        testset: examples(10, 6, 500),
        metric: exact,
        breadth: 3,
        depth: 1,
        promptModel: Layer.succeed(LanguageModel.LanguageModel, writer),
        budget: { tokens }
      }).pipe(Effect.provide(simulate().layer))
      assert.strictEqual(measuredOn, "test")
      assert.isAtMost((spend.usage.inputTokens ?? 0) + (spend.usage.outputTokens ?? 0), tokens)
      assert.strictEqual(spend.calls, 12 + 2 + 12 + 10)
    }))

  it.effect("of time lets what is under way end", () =>
    Effect.gen(function*() {
      const model = simulate({ latency: () => Effect.sleep("1 second") })
      const fiber = yield* RandomSearch.compile(sort, {
        ...search,
        concurrency: valset.length,
        budget: { time: "2500 millis" }
      }).pipe(Effect.provide(model.layer), Effect.fork)
      yield* Effect.repeatN(TestClock.adjust("1 second"), 4)
      const compiled = yield* Fiber.join(fiber)
      assert.isAtLeast(compiled.candidates.length, 2)
      assert.isBelow(compiled.candidates.length, 8)
    }))

  it.effect("keeps what measuring on the test set takes", () =>
    Effect.gen(function*() {
      const model = simulate()
      const compiled = yield* RandomSearch.compile(sort, {
        ...search,
        testset: examples(10, 6, 500),
        budget: { calls: 60, tokens: 110 * 60 }
      }).pipe(Effect.provide(model.layer))
      assert.strictEqual(compiled.measuredOn, "test")
      assert.strictEqual(compiled.score.known, 10)
      assert.isAtMost(model.requests.length, 60)
    }))

  it.effect("may be shared", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ calls: 50 })
      const compiled = yield* RandomSearch.compile(sort, { ...search, budget }).pipe(Effect.provide(simulate().layer))
      assert.deepStrictEqual(yield* budget.remaining, { calls: 50 - compiled.spend.calls })
    }))

  it.effect("gets back what an interrupted run had put aside", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.make({ calls: 50 })
      const model = simulate({ latency: () => Effect.sleep("1 second") })
      const fiber = yield* RandomSearch.compile(sort, {
        ...search,
        testset: examples(10, 6, 500),
        budget,
        concurrency: 8
      }).pipe(Effect.provide(model.layer), Effect.fork)
      yield* TestClock.adjust("1500 millis")
      // One to see what it takes, and then as many as may be under way.
      assert.deepStrictEqual(yield* budget.remaining, { calls: 50 - 20 - 1 - 8 })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* budget.remaining, { calls: 50 - 1 })
    }))

  it.effect("counts what was spent before the run was resumed", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const compile = RandomSearch.compile(sort, { ...search, budget: { calls: 40 }, concurrency: 4 })
      const model = simulate()
      const first = yield* compile.pipe(Effect.provide([model.layer, store(lines)]))
      const asked = model.requests.length
      const again = yield* compile.pipe(Effect.provide([model.layer, store(lines)]))
      assert.strictEqual(artifact(again), artifact(first))
      assert.strictEqual(model.requests.length, asked)
    }))

  it.effect("too small to measure the module as given is an error", () =>
    Effect.gen(function*() {
      const compile = (testset: typeof valset | undefined) =>
        RandomSearch.compile(sort, { ...search, testset, budget: { calls: 11 } }).pipe(
          Effect.provide(simulate().layer),
          Effect.flip
        )
      assert.deepInclude(yield* compile(undefined), { _tag: "BudgetTooSmall", calls: 12 })
      assert.deepInclude(yield* compile(examples(10, 6, 500)), { _tag: "BudgetTooSmall", calls: 32 })
    }))

  it.effect("that a policy of the model keeps ends the run in the same way", () =>
    Effect.gen(function*() {
      let calls = 0
      const model = simulate()
      const limited = Layer.map(model.layer, (context) =>
        Context.make(LanguageModel.LanguageModel, {
          ...Context.get(context, LanguageModel.LanguageModel),
          generate: (request) =>
            ++calls <= 30 ? Context.get(context, LanguageModel.LanguageModel).generate(request) : Effect.fail(
              LanguageModelError.make({
                reason: new LanguageModelError.BudgetExceeded({ resource: "calls", limit: 30, remaining: 0 }),
                provider: "test",
                model: "test/learner"
              })
            )
        }))
      const lines: Array<string> = []
      const events = yield* RandomSearch.events(sort, { ...search, concurrency: 1 }).pipe(
        Stream.runCollect,
        Effect.provide([limited, store(lines)])
      )
      const done = Chunk.unsafeLast(events)
      assert.deepInclude(done, { _tag: "Done", reason: "budget" })
      assert.isAtLeast(Option.getOrThrow(done.best).candidates.length, 1)

      // With more of it the run goes on where it ended.
      const resumed = yield* RandomSearch.compile(sort, search).pipe(Effect.provide([simulate().layer, store(lines)]))
      const whole = yield* RandomSearch.compile(sort, search).pipe(Effect.provide(simulate().layer))
      assert.strictEqual(artifact(resumed), artifact(whole))
    }))
})

describe("the result", () => {
  it.effect("says how it was made and what it cost", () =>
    Effect.gen(function*() {
      const model = simulate()
      const events = yield* RandomSearch.events(sort, { ...search, seed: 3, concurrency: 1 }).pipe(
        Stream.runCollect,
        Effect.provide(model.layer)
      )
      const done = Chunk.unsafeLast(events)
      const compiled = Option.getOrThrow(done.best)
      assert.strictEqual(done._tag, "Done")
      assert.deepInclude(compiled.provenance, { optimizer: "RandomSearch", seed: 3, model: "test/learner" })
      assert.strictEqual(compiled.spend.calls, model.requests.length)
      assert.strictEqual(compiled.spend.usage.inputTokens, 100 * model.requests.length)
      assert.deepStrictEqual(Module.parameters(compiled.module), compiled.parameters)
      for (const complete of [true, false]) {
        const means = compiled.candidates.filter((one) => one.complete === complete).map(({ score }) => score.mean)
        assert.deepStrictEqual(means, means.toSorted((a, b) => b - a))
        assert.isAbove(means.length, 0)
      }
      const { interval, mean } = compiled.score
      assert.isTrue(interval.lower <= mean && mean <= interval.upper)
      assert.closeTo(compiled.difference.mean, mean - compiled.baseline.mean, 1e-12)
    }))

  it.effect("is measured on the test set if there is one, and says so", () =>
    Effect.gen(function*() {
      const testset = examples(30, 6, 500)
      const [selected, tested] = yield* Effect.all([
        RandomSearch.compile(sort, search),
        RandomSearch.compile(sort, { ...search, testset })
      ]).pipe(Effect.provide(simulate().layer))
      assert.deepInclude(selected, { measuredOn: "selection" })
      assert.strictEqual(selected.score.known, valset.length)
      assert.deepInclude(tested, { measuredOn: "test" })
      assert.strictEqual(tested.score.known, testset.length)
      assert.strictEqual(tested.baseline.known, testset.length)
      assert.deepStrictEqual(tested.parameters, selected.parameters)
      // What the test set says has no part in the choice.
      assert.deepStrictEqual(tested.candidates, selected.candidates)
    }))

  it.effect("is the module as given unless another is better", () =>
    Effect.gen(function*() {
      const perfect = simulate({ answer: (request) => learner({ ...request, messages: request.messages.slice(-1) }) })
      const compiled = yield* LabeledFewShot.compile(better, { trainset, valset, metric: exact }).pipe(
        Effect.provide(perfect.layer)
      )
      assert.deepStrictEqual(compiled.parameters, Module.parameters(better))
      assert.strictEqual(compiled.difference.mean, 0)
      assert.strictEqual(compiled.candidates.length, 2)
    }))

  it.effect("an example is never scored with its own answer in the prompt", () =>
    Effect.gen(function*() {
      const model = simulate()
      yield* RandomSearch.compile(sort, { trainset, metric: exact, numCandidatePrograms: 3, maxLabeledDemos: 18 }).pipe(
        Effect.provide(model.layer)
      )
      for (const { messages } of model.requests) {
        const [asked, ...before] = messages.map(({ content }) => String(content)).toReversed()
        const item = /kind\d+-\d+$/m.exec(asked!)?.[0]
        assert.isDefined(item)
        assert.isFalse(before.some((turn) => turn.split("\n").includes(item!)))
      }
    }))

  it.effect("every score passes through Scoring", () =>
    Effect.gen(function*() {
      let scored = 0
      const counting = Layer.succeed(Scoring.Scoring, {
        score: (evaluator, task) => Effect.zipRight(Effect.sync(() => ++scored), evaluator.run(task))
      })
      const model = simulate()
      yield* RandomSearch.compile(sort, search).pipe(Effect.provide([model.layer, counting]))
      assert.strictEqual(scored, model.requests.length)
    }))
})

describe("what cannot be", () => {
  const failure = (
    options: Partial<
      RandomSearch.Options<{ readonly item: string }, { readonly box: string }, { readonly box: string }, never, never>
    >
  ) => Effect.flip(Effect.provide(RandomSearch.compile(sort, { ...search, ...options }), simulate().layer))

  it.effect("is said before anything is paid for", () =>
    Effect.gen(function*() {
      const empty = yield* failure({ trainset: [] })
      assert.deepInclude(empty, { _tag: "EmptyDataset", dataset: "trainset" })
      assert.deepInclude(yield* failure({ valset: [] }), { _tag: "EmptyDataset", dataset: "valset" })
      assert.deepInclude(yield* failure({ testset: [] }), { _tag: "EmptyDataset", dataset: "testset" })
      assert.deepInclude(yield* failure({ concurrency: 0 }), { _tag: "InvalidOptions", option: "concurrency" })
      assert.deepInclude(yield* failure({ maxRounds: 0 }), { _tag: "InvalidOptions", option: "maxRounds" })
      assert.deepInclude(yield* failure({ restrict: [99] }), { _tag: "InvalidOptions", option: "restrict" })
      const twice = ["a", "b"].map((item) => Example.make({ id: "same", inputs: { item }, labels: { box: "x" } }))
      assert.deepInclude(yield* failure({ trainset: twice }), { _tag: "AmbiguousExample", id: "same" })
    }))

  it.effect("a module without predictors", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        Effect.provide(RandomSearch.compile(Module.freeze(sort), search), simulate().layer)
      )
      assert.strictEqual(error._tag, "NothingToTune")
    }))
})
