import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as BootstrapFewShot from "@effect-dspy/optimizers/BootstrapFewShot"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Either, Layer, Option, Stream, TestClock } from "effect"
import { boxOf, exact, examples, field, render, shown, simulate, sort, textOf } from "./utilities.ts"

const trainset = examples(20, 20)
const valset = examples(4, 4, 100)

const numberOf = (request: LanguageModel.Request): number =>
  Number(field(textOf(request.messages.at(-1)), "item")?.split("-")[1])

const right = (request: LanguageModel.Request): string => render({ box: boxOf(`kind${numberOf(request) % 20}`) })
const wrong = render({ box: "wrong" })

/** Knows what it is to put where for these items, demonstrations or not. */
const knows = (known: (item: number) => boolean) => (request: LanguageModel.Request): string =>
  known(numberOf(request)) ? right(request) : wrong

const run = <M extends Module.Any, E, R>(
  events: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>
) =>
  Effect.map(Stream.runCollect(events), (events) => {
    const all = Chunk.toReadonlyArray(events)
    const compiled = Option.getOrThrow(all.at(-1)!.best)
    return {
      compiled,
      attempts: all.flatMap((event) => event._tag === "Attempt" ? [event] : []),
      demos: (path = "") =>
        compiled.candidates.find(({ origin }) => origin === "bootstrapped")?.parameters[path]?.demos ?? []
    }
  })

const options = { trainset, valset, metric: exact, maxLabeledDemos: 0, concurrency: 1 }
const itemsOf = (demos: ReadonlyArray<Parameters.Demo>) => demos.map(({ values }) => values["item"])

describe("accepted runs", () => {
  it.effect("are those of the first examples in order that succeed, and no more are tried", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: knows((item) => item % 3 === 1) })
      const { attempts, demos } = yield* run(
        BootstrapFewShot.events(sort, { ...options, maxBootstrappedDemos: 3 })
      ).pipe(Effect.provide(model.layer))
      assert.deepStrictEqual(itemsOf(demos()), ["kind1-1", "kind4-4", "kind7-7"])
      assert.isTrue(demos().every(({ augmented }) => augmented))
      assert.deepStrictEqual(attempts.map(({ outcome }) => outcome), [
        "rejected",
        "passed",
        "rejected",
        "rejected",
        "passed",
        "rejected",
        "rejected",
        "passed"
      ])
    }))

  it.effect("are the same when later examples answer first", () =>
    Effect.gen(function*() {
      let late = 0
      const model = simulate({
        answer: knows((item) => item % 2 === 1),
        latency: () => Effect.sleep(`${100 - late++} millis`)
      })
      const fiber = yield* run(
        BootstrapFewShot.events(sort, { ...options, concurrency: 50, maxBootstrappedDemos: 2 })
      ).pipe(Effect.provide(model.layer), Effect.fork)
      yield* Effect.repeatN(TestClock.adjust("100 millis"), 3)
      const { demos } = yield* fiber
      assert.deepStrictEqual(itemsOf(demos()), ["kind1-1", "kind3-3"])
      assert.strictEqual(model.load.now, 0)
    }))

  it.effect("are the same one after the other, classically, and no run is in vain", () =>
    Effect.gen(function*() {
      const of = (schedule: "parallel" | "classical") =>
        Effect.gen(function*() {
          const model = simulate({ answer: knows((item) => item % 3 === 1) })
          const { compiled, demos } = yield* run(
            BootstrapFewShot.events(sort, { ...options, concurrency: 50, maxBootstrappedDemos: 3, schedule })
          ).pipe(Effect.provide(model.layer))
          return { compiled, items: itemsOf(demos()), tried: model.requests.length - 2 * valset.length }
        })
      const [parallel, classical] = [yield* of("parallel"), yield* of("classical")]
      assert.deepStrictEqual(classical.items, parallel.items)
      assert.strictEqual(classical.compiled.score.mean, parallel.compiled.score.mean)
      assert.strictEqual(classical.tried, 8)
      assert.isAbove(parallel.tried, 8)
    }))

  it.effect("may be fewer than asked for", () =>
    Effect.gen(function*() {
      const { attempts, demos } = yield* run(BootstrapFewShot.events(sort, options)).pipe(
        Effect.provide(simulate({ answer: knows((item) => item === 5) }).layer)
      )
      assert.deepStrictEqual(itemsOf(demos()), ["kind5-5"])
      assert.strictEqual(attempts.length, trainset.length)
    }))

  it.effect("need a score above 0, or the threshold, which may be 0", () =>
    Effect.gen(function*() {
      const scores = [0, 0.4, 0.6, 1]
      const accepted = (metricThreshold: number | undefined) =>
        run(BootstrapFewShot.events(sort, {
          ...options,
          trainset: trainset.slice(0, scores.length),
          metric: (example) => Effect.succeed({ value: scores[Number(example.inputs.item.split("-")[1])] ?? 0 }),
          metricThreshold
        })).pipe(
          Effect.provide(simulate().layer),
          Effect.map(({ demos }) => demos().length)
        )
      assert.deepStrictEqual(yield* Effect.forEach([undefined, 0, 0.5, 1], accepted), [3, 4, 2, 1])
    }))

  it.effect("may come from later rounds, asked with a rollout and temperature 1", () =>
    Effect.gen(function*() {
      const model = simulate({
        answer: (request) => request.settings?.rollout === "round 2" ? right(request) : wrong
      })
      const { attempts, demos } = yield* run(BootstrapFewShot.events(sort, {
        ...options,
        maxBootstrappedDemos: 1,
        maxRounds: 3
      })).pipe(Effect.provide(model.layer))
      assert.deepStrictEqual(itemsOf(demos()), ["kind0-0"])
      assert.deepStrictEqual(attempts.map(({ outcome, round }) => [round, outcome]), [
        [0, "rejected"],
        [1, "rejected"],
        [2, "passed"]
      ])
      const asked = model.requests.filter((request) => numberOf(request) === 0).map(({ settings }) => [
        settings?.rollout,
        settings?.temperature
      ])
      assert.sameDeepMembers(asked, [[undefined, undefined], ["round 1", 1], ["round 2", 1]])
    }))

  it.effect("of failed calls are told from rejected ones", () =>
    Effect.gen(function*() {
      const model = simulate({
        answer: knows((item) => item > 1),
        fails: (_, request) => numberOf(request) === 0
      })
      const { attempts } = yield* run(
        BootstrapFewShot.events(sort, { ...options, maxBootstrappedDemos: 1 })
      ).pipe(Effect.provide(model.layer))
      assert.deepStrictEqual(attempts.map(({ outcome }) => outcome), ["failed", "rejected", "passed"])
    }))
})

describe("labelled demonstrations", () => {
  it.effect("fill up to the total, from the examples that are left", () =>
    Effect.gen(function*() {
      const demosWith = (maxBootstrappedDemos: number, maxLabeledDemos: number) =>
        run(BootstrapFewShot.events(sort, { ...options, maxBootstrappedDemos, maxLabeledDemos })).pipe(
          Effect.provide(simulate({ answer: right }).layer),
          Effect.map(({ demos }) => demos())
        )
      const marks = (demos: ReadonlyArray<Parameters.Demo>) =>
        demos.map(({ augmented }) => augmented ? "a" : "l").join("")
      const filled = yield* demosWith(2, 5)
      assert.strictEqual(marks(filled), "aalll")
      assert.strictEqual(new Set(itemsOf(filled)).size, 5)
      // The limit is on the labelled ones: accepted runs alone may pass it.
      assert.strictEqual(marks(yield* demosWith(4, 2)), "aaaa")
      assert.strictEqual(marks(yield* demosWith(2, 100)), "aa" + "l".repeat(18))
    }))

  it.effect("are all there is when no runs are wanted, and no teacher is asked", () =>
    Effect.gen(function*() {
      const { attempts, demos } = yield* run(
        BootstrapFewShot.events(sort, { ...options, maxBootstrappedDemos: 0, maxLabeledDemos: 3 })
      ).pipe(Effect.provide(simulate({ answer: right }).layer))
      assert.deepStrictEqual([demos().length, attempts.length], [3, 0])
    }))

  it.effect("differ between predictors: one does not narrow the choice of the next", () =>
    Effect.gen(function*() {
      const twice = Module.make(
        { first: Predict.make("item -> box"), second: Predict.make("item -> box") },
        function*(m, input: { readonly item: string }) {
          yield* m.first(input)
          return yield* m.second(input)
        }
      )
      const { demos } = yield* run(
        BootstrapFewShot.events(twice, { ...options, maxBootstrappedDemos: 0, maxLabeledDemos: 5 })
      ).pipe(Effect.provide(simulate({ answer: right }).layer))
      assert.notDeepEqual(itemsOf(demos("first")).toSorted(), itemsOf(demos("second")).toSorted())
    }))

  it.effect("are shown to the teacher, except the one of the example it is run on", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: right })
      yield* run(BootstrapFewShot.events(sort, { ...options, maxBootstrappedDemos: 20, maxLabeledDemos: 20 })).pipe(
        Effect.provide(model.layer)
      )
      const taught = model.requests.filter((request) => numberOf(request) < 20)
      assert.strictEqual(taught.length, 20)
      for (const request of taught) {
        const items = shown(request).map(({ asked }) => Number(field(asked, "item")?.split("-")[1]))
        assert.strictEqual(items.length, 19)
        assert.notInclude(items, numberOf(request))
      }
    }))
})

describe("programs of several predictors", () => {
  const kindOf = Predict.make("item -> kind")
  const answer = (request: LanguageModel.Request): string =>
    textOf(request.messages[0]).includes("`kind`") && !textOf(request.messages[0]).includes("`box`")
      ? render({ kind: `kind${numberOf(request) % 20}` })
      : render({ box: boxOf(field(textOf(request.messages.at(-1)), "kind") ?? "") })

  const pipeline = (kind: typeof kindOf) =>
    Module.make({ kind, box: Predict.make("kind -> box") }, function*(m, input: { readonly item: string }) {
      return yield* m.box(yield* m.kind(input))
    })

  it.effect("get the calls of each predictor", () =>
    Effect.gen(function*() {
      const { demos } = yield* run(
        BootstrapFewShot.events(pipeline(kindOf), { ...options, maxBootstrappedDemos: 2 })
      ).pipe(Effect.provide(simulate({ answer }).layer))
      assert.deepStrictEqual(demos("kind"), [
        Parameters.augmented({ item: "kind0-0", kind: "kind0" }),
        Parameters.augmented({ item: "kind1-1", kind: "kind1" })
      ])
      assert.deepStrictEqual(demos("box").map(({ values }) => values["kind"]), ["kind0", "kind1"])
    }))

  it.effect("keep frozen parts as they are", () =>
    Effect.gen(function*() {
      const { compiled } = yield* run(
        BootstrapFewShot.events(pipeline(Module.freeze(kindOf)), { ...options, maxBootstrappedDemos: 2 })
      ).pipe(Effect.provide(simulate({ answer }).layer))
      assert.deepStrictEqual(Object.keys(compiled.parameters), ["box"])
    }))

  it.effect("get none from a predictor that is called by closure, even at the path of another", () =>
    Effect.gen(function*() {
      const hidden = Predict.make("item -> box")
      const program = Module.make({ "": sort }, function*(m, input: { readonly item: string }) {
        yield* hidden({ item: "hidden-1" })
        return yield* m[""](input)
      })
      const { demos } = yield* run(
        BootstrapFewShot.events(program, { ...options, maxBootstrappedDemos: 10 })
      ).pipe(Effect.provide(simulate({ answer: right }).layer))
      assert.deepStrictEqual(itemsOf(demos()), trainset.slice(0, 10).map(({ inputs }) => inputs.item))
    }))

  it.effect("get one demonstration of a run from a predictor that is called repeatedly", () =>
    Effect.gen(function*() {
      const thrice = Module.make({ box: sort }, function*(m, input: { readonly item: string }) {
        const kind = input.item.split("-")[0]
        yield* m.box({ item: `${kind}-1000` })
        yield* m.box({ item: `${kind}-2000` })
        return yield* m.box(input)
      })
      const compile = run(BootstrapFewShot.events(thrice, { ...options, maxBootstrappedDemos: 12 })).pipe(
        Effect.provide(
          simulate({
            answer: (request) =>
              render({ box: boxOf(field(textOf(request.messages.at(-1)), "item")?.split("-")[0] ?? "") })
          }).layer
        ),
        Effect.map(({ demos }) => demos("box"))
      )
      const demos = yield* compile
      assert.deepStrictEqual(
        demos.map(({ values }) => String(values["item"]).split("-")[0]),
        Array.from({ length: 12 }, (_, index) => `kind${index}`)
      )
      // Not always the same call, and always the same choice.
      assert.isAbove(new Set(demos.map(({ values }) => String(values["item"]).split("-")[1]!.length > 2)).size, 1)
      assert.deepStrictEqual(yield* compile, demos)
    }))

  it.effect("keep instructions that were baked in", () =>
    Effect.gen(function*() {
      const instructed = Either.getOrThrow(Module.withParameters(sort, { "": { instructions: "Sort.", demos: [] } }))
      const { compiled } = yield* run(BootstrapFewShot.events(instructed, options)).pipe(
        Effect.provide(simulate({ answer: right }).layer)
      )
      assert.isTrue(compiled.candidates.every(({ parameters }) => parameters[""]?.instructions === "Sort."))
    }))
})

describe("a teacher", () => {
  it.effect("may be the module with a stronger model", () =>
    Effect.gen(function*() {
      const weak = simulate({ answer: () => wrong })
      const strong = simulate({ answer: right, id: "test/strong" })
      const context = yield* Layer.build(strong.layer)
      const { demos } = yield* run(
        BootstrapFewShot.events(sort, {
          ...options,
          teacher: Module.provideModel(sort, context),
          maxBootstrappedDemos: 3
        })
      ).pipe(Effect.provide(weak.layer))
      assert.deepStrictEqual(itemsOf(demos()), ["kind0-0", "kind1-1", "kind2-2"])
      assert.strictEqual(strong.requests.length, 3)
      assert.strictEqual(weak.requests.length, 2 * valset.length)
    }).pipe(Effect.scoped))

  it.effect("that was compiled keeps its demonstrations", () =>
    Effect.gen(function*() {
      const own = Parameters.demo({ item: "own-1", box: "own" })
      const teacher = Either.getOrThrow(Module.withParameters(sort, { "": { demos: [own] } }))
      const model = simulate({ answer: right })
      yield* run(BootstrapFewShot.events(sort, { ...options, teacher, maxLabeledDemos: 5 })).pipe(
        Effect.provide(model.layer)
      )
      const taught = model.requests.filter((request) => numberOf(request) < 20)
      assert.isAbove(taught.length, 0)
      for (const request of taught) {
        assert.deepStrictEqual(shown(request).map(({ asked }) => field(asked, "item")), ["own-1"])
      }
    }))

  it.effect("must have the predictors of the module", () =>
    Effect.gen(function*() {
      const nested = Module.make({ inner: sort }, function*(m, input: { readonly item: string }) {
        return yield* m.inner(input)
      })
      const error = yield* Effect.flip(
        BootstrapFewShot.compile(sort, { ...options, teacher: nested }).pipe(Effect.provide(simulate().layer))
      )
      assert.strictEqual(error._tag, "InvalidOptions")
      assert.include(error.message, `these differ: "", "inner"`)
    }))
})
