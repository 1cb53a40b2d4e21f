import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as MIPROv2 from "@effect-dspy/optimizers/MIPROv2"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Layer, Option, Stream, TestClock } from "effect"
import { contract } from "./contract.ts"
import { answer, isAsked, section, wanted, writer } from "./sorting.ts"
import { boxOf, chance, exact, examples, field, render, simulate, sort, textOf } from "./utilities.ts"

const trainset = examples(24, 8)
const valset = examples(24, 8, 100)
const options = { trainset, valset, metric: exact }

const run = <M extends Module.Any, E, R>(events: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>) =>
  Effect.map(Stream.runCollect(events), (events) => {
    const all = Chunk.toReadonlyArray(events)
    return { all, done: all.at(-1)!, compiled: Option.getOrThrow(all.at(-1)!.best) }
  })

const tagged = <Tag extends Optimizer.OptimizerEvent<unknown>["_tag"]>(
  events: Iterable<Optimizer.OptimizerEvent<unknown>>,
  tag: Tag
) => Array.from(events).filter((event): event is Extract<typeof event, { _tag: Tag }> => event._tag === tag)

const byIndex = (compiled: Optimizer.Compiled<unknown>) => compiled.candidates.toSorted((a, b) => a.index - b.index)

for (const schedule of ["racing", "classical"] as const) {
  contract(`MIPROv2, ${schedule}`, {
    events: (common) =>
      MIPROv2.events(sort, {
        trainset: examples(8, 4),
        valset: examples(16, 4, 100),
        metric: exact,
        numCandidates: 3,
        numTrials: 4,
        minibatchSize: 8,
        minibatchFullEvalSteps: 2,
        schedule,
        ...common
      }),
    answer,
    budgets: [16, 22, 30, 36],
    seeds: 6
  })
}

const kinds = (parameters: Parameters.Parameters): string =>
  parameters[""]!.demos.map(({ augmented }) => augmented ? "a" : "l").join("")

const problem = (options: MIPROv2.Settings & { readonly valset?: typeof valset | undefined }) =>
  MIPROv2.compile(sort, { trainset, valset, metric: exact, ...options }).pipe(
    Effect.provide(simulate({ answer }).layer),
    Effect.flip,
    Effect.map((error) => error._tag === "InvalidOptions" ? `${error.option} ${error.description}` : error._tag)
  )

describe("how much is tried", () => {
  it("is what DSPy tries", () => {
    const of = (mode: MIPROv2.Mode, predictors: number, schedule: MIPROv2.Schedule = "classical") =>
      (["light", "medium", "heavy"] as const).map((auto) => MIPROv2.numbers({ auto, mode, predictors, schedule }))
    const trials = (mode: MIPROv2.Mode) =>
      [1, 2, 3, 5].map((predictors) => of(mode, predictors).map(({ trials }) => trials))
    assert.deepStrictEqual(trials("joint"), [[10, 18, 27], [20, 28, 33], [31, 43, 50], [51, 71, 83]])
    assert.deepStrictEqual(trials("instructions"), [[9, 18, 27], [10, 18, 27], [15, 21, 27], [25, 35, 41]])
    // One choice for each predictor, as there.
    assert.deepStrictEqual(trials("demonstrations"), trials("instructions"))
    assert.deepStrictEqual(of("joint", 1).map(({ instructions }) => instructions), [3, 6, 9])
    assert.deepStrictEqual(of("joint", 1, "racing").map(({ instructions }) => instructions), [6, 12, 18])
    assert.deepStrictEqual(of("joint", 1).map(({ demoSets }) => demoSets), [6, 12, 18])
    assert.deepStrictEqual(of("instructions", 1).map(({ instructions }) => instructions), [6, 12, 18])
    assert.deepStrictEqual(of("instructions", 1).map(({ demoSets }) => demoSets), [0, 0, 0])
    assert.deepStrictEqual(of("labels", 1).map(({ instructions }) => instructions), [1, 1, 1])
    assert.deepStrictEqual(of("joint", 1).map(({ valset }) => valset), [100, 300, 1000])
  })

  it.effect("is said by `auto` or by both numbers", () =>
    Effect.gen(function*() {
      assert.include(yield* problem({ auto: "light", numTrials: 3 }), "auto already says")
      assert.include(yield* problem({ auto: "light", numCandidates: 3, numTrials: 3 }), "auto already says")
      assert.include(yield* problem({ numTrials: 3 }), "numTrials needs numCandidates")
      assert.include(yield* problem({ numCandidates: 3 }), "numCandidates needs numTrials")
      const both = { numCandidates: 2, numTrials: 3 }
      assert.include(yield* problem({ ...both, minibatchSize: 25 }), "minibatchSize must be at most")
      assert.include(yield* problem(both), "which is 24, not 35")
      // Of 24 there are no minibatches by default.
      assert.include(yield* problem({ minibatch: true }), "minibatchSize must be at most")
      for (
        const [option, value] of [
          ["numCandidates", 0],
          ["numTrials", 0.5],
          ["minibatchSize", 0],
          ["minibatchFullEvalSteps", 0],
          ["maxBootstrappedDemos", -1],
          ["maxLabeledDemos", -1],
          ["viewDataBatchSize", 0],
          ["initTemperature", -1]
        ] as const
      ) {
        assert.match(yield* problem({ ...both, [option]: value }), new RegExp(`^${option} must be`))
      }
      assert.include(yield* problem({ mode: "labels", maxLabeledDemos: 0 }), "maxLabeledDemos must not be 0")
      assert.include(
        yield* problem({ mode: "demonstrations", maxLabeledDemos: 0, maxBootstrappedDemos: 0 }),
        "maxBootstrappedDemos must not be 0"
      )
      assert.strictEqual(yield* problem({ ...both, valset: [] }), "EmptyDataset")
    }))

  it.effect("on a sample of many selection examples, the same for the same seed", () =>
    Effect.gen(function*() {
      const many = examples(130, 8, 1000)
      const sampled = (seed: number | undefined, auto: MIPROv2.Auto | undefined) =>
        MIPROv2.events(sort, {
          trainset,
          valset: many,
          metric: exact,
          seed,
          ...(auto === undefined ? { numCandidates: 2, numTrials: 2 } : { auto })
        }).pipe(
          Stream.runHead,
          Effect.map(Option.getOrThrow),
          Effect.map((event) => event._tag === "Plan" ? event.examples : []),
          Effect.provide(simulate({ answer }).layer)
        )
      const nine = yield* sampled(undefined, "light")
      assert.strictEqual(new Set(nine).size, 100)
      assert.deepStrictEqual(yield* sampled(9, "light"), nine)
      assert.notDeepEqual(yield* sampled(0, "light"), nine)
      assert.strictEqual((yield* sampled(9, "medium")).length, 130)
      assert.strictEqual((yield* sampled(9, undefined)).length, 130)
    }))
})

describe("what there is to choose from", () => {
  const candidates = (options: MIPROv2.Settings) =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const { all, compiled } = yield* run(
        MIPROv2.events(sort, {
          trainset,
          valset,
          metric: exact,
          minibatch: false,
          schedule: "classical",
          numCandidates: 6,
          numTrials: 60,
          ...options
        })
      ).pipe(Effect.provide(model.layer))
      return { model, all, compiled, parameters: byIndex(compiled).map(({ parameters }) => parameters) }
    })

  it.effect("are sets of demonstrations in DSPy's order, made of one run for each training example", () =>
    Effect.gen(function*() {
      const { all, model, parameters } = yield* candidates({ mode: "demonstrations" })
      // As given there are none, which is the first set.
      assert.strictEqual(parameters.length, 6)
      const sets = parameters.map(kinds).sort()
      assert.strictEqual(sets.filter((set) => set === "").length, 1)
      assert.include(sets, "llll")
      assert.include(sets, "aaaa")
      assert.isTrue(sets.every((set) => /^$|^a{0,4}l{0,4}$/.test(set) && set.length <= 4))
      const attempts = tagged(all, "Attempt").map(({ example }) => example)
      assert.isFalse(model.requests.some(isAsked))
      const items = new Set(trainset.map(({ inputs }) => inputs.item))
      const taught = model.requests.filter((request) => items.has(field(textOf(request.messages.at(-1)), "item") ?? ""))
      // Some were started ahead, and turned out not to be needed.
      assert.isAtLeast(taught.length, new Set(attempts).size)
      assert.strictEqual(new Set(taught.map((request) => Json.hash(request))).size, taught.length)
      assert.isAtMost(taught.length, trainset.length)
    }))

  it.effect("are labelled examples alone, if so desired", () =>
    Effect.gen(function*() {
      const { all, model, parameters } = yield* candidates({ mode: "labels", maxLabeledDemos: 3 })
      assert.deepStrictEqual(tagged(all, "Attempt"), [])
      assert.isFalse(model.requests.some(isAsked))
      assert.include(parameters.map(kinds), "lll")
      assert.isTrue(parameters.every((each) => /^l{0,3}$/.test(kinds(each))))
      assert.isAbove(parameters.length, 3)
      // Beside instructions too, which DSPy cannot do.
      const both = yield* candidates({ maxBootstrappedDemos: 0, maxLabeledDemos: 3, numCandidates: 3 })
      assert.isTrue(both.model.requests.some(isAsked))
      assert.isTrue(both.parameters.some((each) => kinds(each) !== "" && each[""]!.instructions !== undefined))
      assert.isTrue(both.parameters.every((each) => /^l{0,3}$/.test(kinds(each))))
    }))

  it.effect("are instructions alone, written in view of demonstrations that are not kept", () =>
    Effect.gen(function*() {
      for (const zeroShot of [{ mode: "instructions" }, { maxBootstrappedDemos: 0, maxLabeledDemos: 0 }] as const) {
        const { model, parameters } = yield* candidates(zeroShot)
        assert.isTrue(parameters.every((each) => kinds(each) === ""))
        assert.isAbove(new Set(parameters.map((each) => each[""]!.instructions)).size, 3)
        const written = model.requests.filter((request) => wanted(request) === "instructions")
        assert.strictEqual(written.length, 5)
        for (const request of written) {
          const seen = section(textOf(request.messages.at(-1)), "examples")
          assert.match(seen, /item: kind\d/)
          assert.isAtMost(seen.match(/item:/g)!.length, 3)
        }
      }
    }))

  it.effect("start with the program as given, demonstrations and all", () =>
    Effect.gen(function*() {
      const own = [Parameters.demo({ item: "kind0-900", box: boxOf("kind0") })]
      const given = yield* Module.withParameters(sort, { "": { instructions: "Sort it.", demos: own } })
      const { compiled } = yield* run(
        MIPROv2.events(given, { ...options, minibatch: false, numCandidates: 3, numTrials: 30 })
      ).pipe(Effect.provide(simulate({ answer }).layer))
      const [first, ...others] = byIndex(compiled).map(({ parameters }) => parameters[""]!)
      assert.deepStrictEqual(first, { instructions: "Sort it.", demos: own })
      assert.isTrue(
        others.some(({ demos, instructions }) => instructions !== "Sort it." && Json.hash(demos) === Json.hash(own))
      )
      assert.isTrue(others.some(({ demos, instructions }) => instructions === "Sort it." && demos.length === 0))
    }))

  it.effect("are demonstrations alone where the writer says nothing that can be read", () =>
    Effect.gen(function*() {
      const mute = simulate({ answer: () => "I would rather not." })
      const { all, compiled } = yield* run(
        MIPROv2.events(sort, { ...options, promptModel: mute.layer, numCandidates: 4, numTrials: 8, minibatch: false })
      ).pipe(Effect.provide(simulate({ answer }).layer))
      assert.isTrue(tagged(all, "Asked").every(({ outcome }) => outcome === "failed"))
      assert.isAbove(tagged(all, "Asked").length, 4)
      assert.isTrue(compiled.candidates.every(({ parameters }) => parameters[""]!.instructions === undefined))
      assert.isAbove(compiled.score.mean, compiled.baseline.mean)
    }))

  it.effect("are written as the switches say", () =>
    Effect.gen(function*() {
      const asked = (switches: MIPROv2.Settings) =>
        Effect.map(candidates({ numCandidates: 3, numTrials: 1, ...switches }), ({ model }) => {
          const written = model.requests.filter((request) => wanted(request) === "instructions")
          return {
            kinds: Array.from(new Set(model.requests.filter(isAsked).map(wanted))).sort(),
            seen: ["purpose", "data", "examples", "tip"].filter((name) =>
              written.some((request) => textOf(request.messages.at(-1)).includes(`[[ ## ${name} ## ]]`))
            ),
            temperature: written[0]?.settings?.temperature,
            requests: model.requests
          }
        })
      const all = yield* asked({})
      assert.deepStrictEqual(all.kinds, ["description", "instructions", "notes", "summary"])
      assert.includeMembers(all.seen, ["purpose", "data", "examples"])
      assert.strictEqual(all.temperature, 1)
      assert.notInclude((yield* asked({ dataAwareProposer: false })).kinds, "notes")
      assert.notInclude((yield* asked({ programAwareProposer: false })).seen, "purpose")
      assert.notInclude((yield* asked({ programDescription: "It sorts." })).kinds, "description")
      assert.notInclude((yield* asked({ fewshotAwareProposer: false })).seen, "examples")
      assert.notInclude((yield* asked({ tipAwareProposer: false })).seen, "tip")
      const bare = yield* asked({ initTemperature: 0.2, viewDataBatchSize: 12 })
      assert.strictEqual(bare.temperature, 0.2)
      assert.strictEqual(bare.requests.filter((request) => wanted(request) === "notes").length, 2)
    }))
})

describe("the classical schedule", () => {
  const large = { trainset, valset: examples(100, 8, 100), metric: exact, schedule: "classical" } as const

  it.effect("runs the program 650 times at most, for one predictor and 100 examples", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const { all, done } = yield* run(MIPROv2.events(sort, large)).pipe(Effect.provide(model.layer))
      assert.strictEqual(done.runs.planned, 650 + trainset.length)
      // 100 of the program as given, ten minibatches of 35, and two combinations in full. What was run is not run again.
      assert.strictEqual(tagged(all, "TrialEnd").length, 3)
      const promoted = tagged(all, "Promotion")
      assert.strictEqual(promoted.length, 2)
      const attempts = new Set(tagged(all, "Attempt").map(({ example }) => example)).size
      const asked = model.requests.filter(isAsked).length
      const known = promoted.reduce((sum, { known }) => sum + known, 0)
      assert.isAtMost(model.requests.length, 650 - known + attempts + asked)
      assert.isAbove(model.requests.length, 0.7 * (650 - known))
      const hashes = model.requests.filter((request) => !isAsked(request)).map((request) => Json.hash(request))
      assert.strictEqual(new Set(hashes).size, hashes.length)
    }))

  it.effect("runs it |val| (T + 1) times without minibatches", () =>
    Effect.gen(function*() {
      const events = yield* Stream.runCollect(MIPROv2.events(sort, { ...options, schedule: "classical" })).pipe(
        Effect.provide(simulate({ answer }).layer)
      )
      // 24 examples, 10 trials.
      const plan = tagged(events, "Plan")[0]!
      assert.strictEqual(plan.runs.planned, 24 * 11 + trainset.length)
      assert.strictEqual(plan.calls, 24 * 11 + trainset.length + 3 + 1 + 1 + 2)
      assert.isAtMost(tagged(events, "TrialEnd").length, 11)
      assert.deepStrictEqual(tagged(events, "Promotion"), [])
    }))

  it.effect("promotes what has the best mean of its minibatches, and was not measured in full", () =>
    Effect.gen(function*() {
      const { all } = yield* run(
        MIPROv2.events(sort, { ...large, auto: "medium", concurrency: 1 })
      ).pipe(Effect.provide(simulate({ answer }).layer))
      const minibatches = new Map<number, Array<number>>()
      const settled = new Set([0])
      let trials = 0
      for (const event of all) {
        if (event._tag === "Scored" && event.total === 35 && event.done === 35) {
          trials++
          minibatches.set(event.trial.index, [...minibatches.get(event.trial.index) ?? [], event.mean])
        }
        if (event._tag === "TrialEnd") settled.add(event.trial.index)
        if (event._tag !== "Promotion") continue
        assert.isTrue(trials % 5 === 0 || trials === 18)
        assert.isFalse(settled.has(event.trial.index))
        const mean = (index: number) => {
          const means = minibatches.get(index)!
          return means.reduce((sum, mean) => sum + mean, 0) / means.length
        }
        for (const index of minibatches.keys()) {
          if (!settled.has(index)) assert.isAtMost(mean(index), mean(event.trial.index) + 1e-12)
        }
      }
      assert.strictEqual(settled.size, 1 + 4)
    }))

  it.effect("does not end in a crash when everything has been measured", () =>
    Effect.gen(function*() {
      const compile = (numCandidates: number, numTrials: number) =>
        MIPROv2.compile(sort, {
          ...options,
          mode: "demonstrations",
          schedule: "classical",
          minibatchSize: 5,
          numCandidates,
          numTrials
        }).pipe(Effect.provide(simulate({ answer }).layer))
      assert.strictEqual((yield* compile(1, 15)).candidates.length, 1)
      const two = yield* compile(2, 40)
      assert.deepStrictEqual(two.candidates.map(({ complete }) => complete), [true, true])
    }))
})

describe("the race", () => {
  it.effect("takes less than the classical schedule, and finds something about as good or better", () =>
    Effect.gen(function*() {
      const measured = (schedule: "racing" | "classical", seed: number) =>
        Effect.gen(function*() {
          const model = simulate({ answer })
          const { all, compiled } = yield* run(MIPROv2.events(sort, {
            trainset,
            valset: examples(100, 8, 100),
            testset: examples(100, 8, 500),
            metric: exact,
            schedule,
            seed
          })).pipe(Effect.provide(model.layer))
          const selected = model.requests.filter((request) =>
            /^kind\d-[1]\d\d$/.test(field(textOf(request.messages.at(-1)), "item") ?? "")
          )
          const hashes = selected.map((request) => Json.hash(request))
          assert.strictEqual(new Set(hashes).size, hashes.length)
          assert.isAtMost(all.at(-1)!.runs.done, all[0]!.runs.planned)
          assert.isAtMost(compiled.spend.calls, (all[0] as Optimizer.Plan<unknown>).calls)
          return { calls: selected.length, score: compiled.score.mean, baseline: compiled.baseline.mean }
        })
      const seeds = [1, 2, 3]
      const [ours, theirs] = yield* Effect.forEach(
        ["racing", "classical"] as const,
        (schedule) => Effect.forEach(seeds, (seed) => measured(schedule, seed))
      )
      const total = (
        results: ReadonlyArray<{ readonly calls: number; readonly score: number }>,
        of: "calls" | "score"
      ) => results.reduce((sum, result) => sum + result[of], 0)
      assert.isAtMost(total(ours!, "calls"), 0.85 * total(theirs!, "calls"))
      assert.isAtLeast(total(ours!, "score"), total(theirs!, "score") - 0.05 * seeds.length)
      assert.isTrue(ours!.every(({ baseline, score }) => score > baseline + 0.2))
    }))

  it.effect("tells who left it, and why", () =>
    Effect.gen(function*() {
      const { all, compiled } = yield* run(MIPROv2.events(sort, {
        trainset,
        valset: examples(60, 8, 100),
        metric: exact
      })).pipe(Effect.provide(simulate({ answer }).layer))
      const retired = tagged(all, "Retired")
      assert.isAbove(retired.length, 0)
      const left = compiled.candidates.filter(({ complete }) => !complete).map(({ index }) => index)
      assert.sameMembers(retired.map(({ trial }) => trial.index), left)
      const complete = tagged(all, "TrialEnd").map(({ trial }) => trial.index)
      assert.isAtMost(complete.length, 3)
      assert.strictEqual(complete.length + left.length, compiled.candidates.length)
    }))

  it.effect("keeps the program as given when nothing is better", () =>
    Effect.gen(function*() {
      const perfect = (request: LanguageModel.Request) =>
        isAsked(request)
          ? writer(request)
          : render({ box: boxOf(field(textOf(request.messages.at(-1)), "item")?.split("-")[0] ?? "") })
      for (const schedule of ["racing", "classical"] as const) {
        const compiled = yield* MIPROv2.compile(sort, { ...options, schedule }).pipe(
          Effect.provide(simulate({ answer: perfect }).layer)
        )
        assert.deepStrictEqual(compiled.parameters, { "": { demos: [] } })
        assert.strictEqual(compiled.score.mean, 1)
      }
    }))

  it.effect("spends nothing on what cannot be better", () =>
    Effect.gen(function*() {
      const perfect = simulate({
        answer: (request) =>
          isAsked(request)
            ? writer(request)
            : render({ box: boxOf(field(textOf(request.messages.at(-1)), "item")?.split("-")[0] ?? "") })
      })
      const { all } = yield* run(
        MIPROv2.events(sort, { trainset, valset: examples(100, 8, 100), metric: exact })
      ).pipe(Effect.provide(perfect.layer))
      assert.strictEqual(tagged(all, "TrialEnd").length, 1)
      assert.strictEqual(tagged(all, "Scored").length, 100)
    }))
})

describe("a program of two predictors", () => {
  const pipeline = Module.make(
    { kind: Predict.make("item -> kind"), box: Predict.make("kind -> box") },
    function*(m, input: { readonly item: string }) {
      return yield* m.box(yield* m.kind(input))
    }
  )
  const both = (request: LanguageModel.Request): string =>
    isAsked(request)
      ? writer(request)
      : wanted(request) === "kind"
      ? render({ kind: field(textOf(request.messages.at(-1)), "item")?.split("-")[0] ?? "" })
      : answer({
        ...request,
        messages: [
          ...request.messages.slice(0, -1).map((message) => ({
            ...message,
            content: textOf(message).replace("## kind ##", "## item ##").replaceAll(/^(kind\d+)$/gm, "$1-0")
          })),
          {
            role: "user" as const,
            content: textOf(request.messages.at(-1)).replace("## kind ##", "## item ##").replaceAll(
              /^(kind\d+)$/gm,
              "$1-0"
            )
          }
        ]
      })

  it.effect("has instructions and demonstrations chosen for each", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: both })
      const { compiled, done } = yield* run(
        MIPROv2.events(pipeline, { trainset, valset: examples(60, 8, 100), metric: exact })
      ).pipe(Effect.provide(model.layer))
      const paths = new Set(compiled.candidates.flatMap(({ parameters }) => Object.keys(parameters)))
      assert.deepStrictEqual(paths, new Set(["kind", "box"]))
      const distinct = (path: string, of: (entry: Parameters.Entry) => unknown) =>
        new Set(compiled.candidates.map(({ parameters }) => Json.hash(of(parameters[path]!) ?? null))).size
      for (const path of paths) {
        assert.isAbove(distinct(path, ({ instructions }) => instructions), 1)
        assert.isAbove(distinct(path, ({ demos }) => demos), 2)
      }
      assert.isAbove(compiled.score.mean, compiled.baseline.mean)
      assert.isAtMost(done.runs.done, done.runs.planned)
      // Instructions are written for each: the original costs nothing.
      assert.strictEqual(model.requests.filter((request) => wanted(request) === "instructions").length, 2 * 5)
    }))
})

describe("calls", () => {
  it.effect("of the prompt model go to the prompt model, and no others", () =>
    Effect.gen(function*() {
      const writes = simulate({ answer, id: "test/writer" })
      const works = simulate({ answer })
      yield* MIPROv2.compile(sort, { ...options, promptModel: writes.layer }).pipe(Effect.provide(works.layer))
      assert.isTrue(writes.requests.every(isAsked))
      assert.isFalse(works.requests.some(isAsked))
      // Three samples of notes, a summary, a description, and five texts.
      assert.strictEqual(writes.requests.length, 3 + 1 + 1 + 5)
    }))

  it.effect("of the teacher go to the teacher", () =>
    Effect.gen(function*() {
      const knows = simulate({
        answer: (request) =>
          render({ box: boxOf(field(textOf(request.messages.at(-1)), "item")?.split("-")[0] ?? "") }),
        id: "test/teacher"
      })
      const context = yield* Layer.build(knows.layer)
      const compiled = yield* MIPROv2.compile(sort, {
        ...options,
        mode: "demonstrations",
        teacher: Module.provideModel(sort, context)
      }).pipe(Effect.provide(simulate({ answer }).layer))
      assert.isAtMost(knows.requests.length, trainset.length)
      assert.isAbove(compiled.score.mean, compiled.baseline.mean)
    }).pipe(Effect.scoped))

  it.effect("follow each other as little as they can", () =>
    Effect.gen(function*() {
      const isDoneAfter = (schedule: "racing" | "classical", latencies: number) =>
        Effect.gen(function*() {
          const model = simulate({ answer, latency: () => Effect.sleep("1 second") })
          const fiber = yield* run(MIPROv2.events(sort, {
            trainset: examples(100, 8),
            valset: examples(60, 8, 1000),
            metric: exact,
            schedule,
            concurrency: Number.POSITIVE_INFINITY
          })).pipe(Effect.provide(model.layer), Effect.fork)
          yield* Effect.repeatN(TestClock.adjust("1 second"), latencies - 1)
          const isDone = Option.isSome(yield* fiber.poll)
          yield* Fiber.interrupt(fiber)
          return isDone
        })
      // Notes and demonstrations, a summary, instructions: 3. Then each trial that looks at others, and each promotion,
      // is one. DSPy's chain is 3 calls of the writer longer for each text, and 9 for the summary.
      assert.isTrue(yield* isDoneAfter("classical", 3 + 2 + 2))
      // Five rounds of choices, and a race of three heats.
      assert.isTrue(yield* isDoneAfter("racing", 3 + 5 + 3))
    }))
})

describe("failures of the model", () => {
  it.effect("of every fifth call do not change a winner that is clear", () =>
    Effect.gen(function*() {
      let clear = 0
      for (let seed = 0; clear < 3; seed++) {
        assert.isBelow(seed, 12)
        const compile = (fails: (hash: string) => boolean) =>
          MIPROv2.compile(sort, {
            trainset: examples(20, 4),
            valset: examples(60, 4, 100),
            metric: exact,
            // Without a teacher and a writer that may fail there is the same to choose from.
            mode: "labels",
            maxLabeledDemos: 8,
            seed
          }).pipe(Effect.provide(simulate({ answer, fails }).layer))
        const calm = yield* compile(() => false)
        const [first, second] = calm.candidates
        if (first!.score.mean - second!.score.mean < 0.1) continue
        clear++
        const stormy = yield* compile((hash) => chance(seed, hash) < 0.2)
        assert.isAbove(stormy.score.unknown, 0)
        assert.deepStrictEqual(stormy.parameters, calm.parameters, `seed ${seed}`)
      }
    }))
})

describe("a budget", () => {
  it.effect("that is less than the race would take leaves enough of it for a winner", () =>
    Effect.gen(function*() {
      for (const budget of [{ calls: 300 }, { tokens: 110 * 300 }]) {
        const { compiled, done } = yield* run(
          MIPROv2.events(sort, { trainset, valset: examples(100, 8, 100), metric: exact, budget })
        ).pipe(Effect.provide(simulate({ answer }).layer))
        assert.deepInclude(done, { _tag: "Done", reason: "completed" })
        assert.isAtMost(compiled.spend.calls, 300)
        assert.isAbove(compiled.score.mean, compiled.baseline.mean + 0.1)
      }
    }))

  it.effect("of tokens, money or time ends the run with the best so far", () =>
    Effect.gen(function*() {
      for (const budget of [{ tokens: 110 * 60 }, { cost: 6 }]) {
        const model = simulate({ answer })
        const { compiled, done } = yield* run(MIPROv2.events(sort, { ...options, budget })).pipe(
          Effect.provide(model.layer)
        )
        assert.deepInclude(done, { _tag: "Done", reason: "budget" })
        assert.isAtMost(model.requests.length, 60)
        assert.isTrue(compiled.candidates[0]!.complete)
      }
      const model = simulate({ answer, latency: () => Effect.sleep("1 second") })
      const fiber = yield* run(MIPROv2.events(sort, { ...options, budget: { time: "6500 millis" } })).pipe(
        Effect.provide(model.layer),
        Effect.fork
      )
      yield* Effect.repeatN(TestClock.adjust("1 second"), 20)
      const { compiled, done } = yield* fiber
      assert.deepInclude(done, { _tag: "Done", reason: "budget" })
      assert.strictEqual(compiled.baseline.known, valset.length)
    }))
})
