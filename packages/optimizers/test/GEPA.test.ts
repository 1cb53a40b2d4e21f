import * as Example from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as GEPA from "@effect-dspy/optimizers/GEPA"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Fiber, Option, Stream, TestClock } from "effect"
import { contract } from "./contract.ts"
import { boxOf, chance, examples, field, render, simulate, sort, textOf } from "./utilities.ts"

// -----------------------------------------------------------------------------
// A task that has to be learnt from feedback: instructions say which box a kind of items belongs into, one sentence each
// -----------------------------------------------------------------------------

const trainset = examples(24, 6)
const valset = examples(18, 6, 100)

const kindOf = (item: string): string => item.split("-")[0] ?? ""

const rule = (kind: string, field: "box" | "grade" = "box"): string =>
  `${kind}: ${field === "box" ? boxOf(kind) : `grade ${Json.hash(["grade", kind]).slice(0, 4)}`}.`

const told: Metric<{ readonly item: string }, { readonly box: string }, { readonly box: string }> = (example, output) =>
  Effect.succeed(
    output.box === example.labels.box
      ? { value: 1, feedback: "Right." }
      : { value: 0, feedback: `Wrong. ${rule(kindOf(example.inputs.item))}` }
  )

const isAsked = (request: LanguageModel.Request): boolean =>
  textOf(request.messages[0]).includes("`currentInstructions`")

const sectionOf = (request: LanguageModel.Request, name: string): string =>
  textOf(request.messages.at(-1)).split(`[[ ## ${name} ## ]]\n`)[1]?.split("\n[[ ## ")[0] ?? ""

const rulesOf = (text: string): ReadonlyArray<string> => Array.from(new Set(text.match(/kind\d+: \w+ \w+\./g) ?? []))

const writing = (instructions: string): string => render({ reasoning: "It says so.", instructions })

// States what was stated before, and one more of what the feedback says.
const reflect = (request: LanguageModel.Request): string => {
  const before = rulesOf(sectionOf(request, "currentInstructions"))
  const news = rulesOf(sectionOf(request, "attempts")).filter((rule) => !before.includes(rule))
  return writing(["Sort.", ...before, ...news.slice(0, 1)].join(" "))
}

const solve = (request: LanguageModel.Request): string => {
  const rules = rulesOf(textOf(request.messages[0]))
  const kind = kindOf(field(textOf(request.messages.at(-1)), "item") ?? "")
  const wanted = textOf(request.messages[0]).includes("- `grade` (string)\n\nA field") ? "grade" : "box"
  const known = rules.find((rule) => rule.startsWith(`${kind}: ${wanted} `))
  return render({ [wanted]: known === undefined ? "none" : known.slice(kind.length + 2, -1) })
}

const answer = (request: LanguageModel.Request): string => isAsked(request) ? reflect(request) : solve(request)

// Two predictors, each with rules of its own.
const graded = Module.make(
  { grade: Predict.make("item -> grade"), box: Predict.make("item, grade -> box") },
  function*(m, input: { readonly item: string }) {
    const { grade } = yield* m.grade(input)
    const { box } = yield* m.box({ item: input.item, grade })
    return { grade, box }
  }
)

const both: Metric<
  { readonly item: string },
  { readonly box: string },
  { readonly grade: string; readonly box: string }
> = (example, output) => {
  const kind = kindOf(example.inputs.item)
  const wrong = (["grade", "box"] as const).filter((field) => `${kind}: ${output[field]}.` !== rule(kind, field))
  return Effect.succeed({
    value: 1 - wrong.length / 2,
    predictors: Object.fromEntries(wrong.map((field) => [field, rule(kind, field)]))
  })
}

const run = <M, E, R>(events: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>) =>
  Effect.map(Stream.runCollect(events), (events) => {
    const all = Array.from(events)
    const of = <Tag extends Optimizer.OptimizerEvent<M>["_tag"]>(tag: Tag) =>
      all.filter((event): event is Extract<Optimizer.OptimizerEvent<M>, { readonly _tag: Tag }> => event._tag === tag)
    return { all, of, done: of("Done")[0]!, compiled: Option.getOrThrow(all.at(-1)!.best) }
  })

const withModel = (model: { readonly layer: ReturnType<typeof simulate>["layer"] }) => Effect.provide(model.layer)

const programCalls = ({ requests }: ReturnType<typeof simulate>) => requests.filter((request) => !isAsked(request))

const options = { trainset, valset, metric: told, maxMetricCalls: 300 }

const schedules = ["racing", "classical"] as const

describe("GEPA", () => {
  for (const schedule of schedules) {
    it.effect(`learns what the feedback says, rule by rule (${schedule})`, () =>
      Effect.gen(function*() {
        const model = simulate({ answer })
        const { compiled, of } = yield* run(GEPA.events(sort, { ...options, schedule })).pipe(withModel(model))
        assert.strictEqual(compiled.baseline.mean, 0)
        assert.isAtLeast(compiled.score.mean, 5 / 6)
        // Every child comes from one that was there before it, and says more.
        const proposals = of("Proposal")
        for (const { parameters, parents, trial } of proposals.slice(1)) {
          assert.strictEqual(parents.length, 1)
          const parent = proposals.find(({ trial }) => trial.index === parents[0])!
          assert.isBelow(parent.trial.index, trial.index)
          assert.isAbove(
            rulesOf(parameters[""]?.instructions ?? "").length,
            rulesOf(parent.parameters[""]?.instructions ?? "").length
          )
        }
        // The front is made of candidates there are.
        for (const { candidates } of of("Front")) {
          assert.isAbove(candidates.length, 0)
          assert.isTrue(candidates.every((index) => proposals.some(({ trial }) => trial.index === index)))
        }
      }))

    it.effect(`never runs the program more often than it may, nor twice on an example (${schedule})`, () =>
      Effect.forEach([18, 19, 30, 60, 100, 150], (maxMetricCalls) =>
        Effect.gen(function*() {
          const model = simulate({ answer })
          let judged = 0
          const metric: typeof told = (...judgement) => Effect.zipRight(Effect.sync(() => judged++), told(...judgement))
          const { compiled, done } = yield* run(
            GEPA.events(sort, { ...options, metric, maxMetricCalls, schedule })
          ).pipe(withModel(model))
          const calls = programCalls(model)
          assert.isAtMost(calls.length, maxMetricCalls)
          assert.strictEqual(done.reason, "completed")
          assert.strictEqual(compiled.spend.calls + done.discarded.calls, model.requests.length)
          // Feedback comes with the score: the metric is not asked again.
          assert.strictEqual(judged, calls.length)
          assert.strictEqual(new Set(calls.map((request) => Json.hash(request))).size, calls.length)
        }), { discard: true }))

    it.effect(`without a validation set runs no example of the training set twice (${schedule})`, () =>
      Effect.gen(function*() {
        const model = simulate({ answer })
        const compiled = yield* GEPA.compile(sort, { trainset, metric: told, maxMetricCalls: 200, schedule }).pipe(
          withModel(model)
        )
        const calls = programCalls(model)
        assert.isAtLeast(compiled.score.mean, 0.5)
        assert.isAtMost(calls.length, 200)
        assert.strictEqual(new Set(calls.map((request) => Json.hash(request))).size, calls.length)
      }))

    it.effect(`asks for nothing when there is nothing to learn (${schedule})`, () =>
      Effect.gen(function*() {
        const model = simulate({
          answer: (request) => render({ box: boxOf(kindOf(field(textOf(request.messages.at(-1)), "item")!)) })
        })
        const { compiled, done } = yield* run(GEPA.events(sort, { ...options, schedule })).pipe(withModel(model))
        assert.strictEqual(model.requests.filter(isAsked).length, 0)
        assert.deepStrictEqual([compiled.score.mean, done.reason], [1, "completed"])
        // Each example once.
        assert.strictEqual(model.requests.length, valset.length + trainset.length)
      }))

    it.effect(`ends when what is written is of no use (${schedule})`, () =>
      Effect.gen(function*() {
        for (const useless of ["", "no field", writing("   "), writing("From `item`, work out `box`.")]) {
          const model = simulate({ answer: (request) => isAsked(request) ? useless : solve(request) })
          const { compiled, of } = yield* run(GEPA.events(sort, { ...options, schedule })).pipe(withModel(model))
          assert.deepStrictEqual(compiled.parameters, { "": { demos: [] } })
          assert.strictEqual(programCalls(model).length, valset.length + trainset.length)
          assert.strictEqual(compiled.spend.calls, model.requests.length)
          assert.isAbove(of("Asked").length, 0)
        }
      }))
  }

  it.effect("keeps the demonstrations that the module has", () =>
    Effect.gen(function*() {
      const demos = [Parameters.demo({ item: "kind9-9", box: "box zzzz" })]
      const taught = Either.getOrThrow(Module.withParameters(sort, { "": { demos } }))
      const { of } = yield* run(GEPA.events(taught, options)).pipe(withModel(simulate({ answer })))
      assert.isAbove(of("Proposal").length, 1)
      for (const { parameters } of of("Proposal")) assert.deepStrictEqual(parameters[""]?.demos, demos)
    }))
})

describe("how long to search", () => {
  it.effect("searches lightly unless told otherwise", () =>
    Effect.gen(function*() {
      const planned = ({ auto }: { readonly auto?: "light" | "medium" }) =>
        GEPA.events(sort, { trainset, valset, metric: told, auto }).pipe(
          Stream.runHead,
          Effect.map(Option.map((event) => event._tag === "Plan" ? event.calls : undefined)),
          withModel(simulate({ answer }))
        )
      const [none, light, medium] = yield* Effect.forEach([{}, { auto: "light" }, { auto: "medium" }] as const, planned)
      assert.isTrue(Option.isSome(none!))
      assert.deepStrictEqual(none, light)
      assert.notDeepEqual(none, medium)
    }))

  it("is DSPy's number of runs for auto", () => {
    const calls = (predictors: number, examples: number) =>
      (["light", "medium", "heavy"] as const).map((auto) => GEPA.autoMetricCalls(auto, { predictors, examples }))
    assert.deepStrictEqual(calls(1, 30), [500, 840, 1245])
    assert.deepStrictEqual(calls(1, 50), [580, 940, 1385])
    assert.deepStrictEqual(calls(1, 100), [780, 1190, 1735])
    assert.deepStrictEqual(calls(1, 200), [1180, 1690, 2435])
    assert.deepStrictEqual(calls(1, 300), [1580, 2190, 3135])
    assert.deepStrictEqual(calls(2, 50), [1030, 1390, 1645])
    assert.deepStrictEqual(calls(2, 100), [1330, 1740, 2045])
    assert.deepStrictEqual(calls(2, 200), [1930, 2440, 2845])
    assert.deepStrictEqual(calls(3, 50), [1515, 2065, 2440])
    assert.deepStrictEqual(calls(3, 100), [1915, 2565, 3040])
    assert.deepStrictEqual(calls(3, 200), [2715, 3565, 4240])
  })

  it.effect("is said in one way", () =>
    Effect.gen(function*() {
      const refused = (
        given: Partial<
          GEPA.Options<{ readonly item: string }, { readonly box: string }, { readonly box: string }, never, never>
        >
      ) =>
        GEPA.compile(sort, { trainset, valset, metric: told, ...given }).pipe(
          withModel(simulate({ answer })),
          Effect.flip
        )
      for (
        const given of [{ auto: "light", maxMetricCalls: 100 }, { maxFullEvals: 1, maxMetricCalls: 100 }] as const
      ) {
        const error = yield* refused(given)
        assert.deepInclude(error, { _tag: "InvalidOptions", option: "auto, maxFullEvals, maxMetricCalls" })
      }
      assert.deepInclude(yield* refused({ maxMetricCalls: 17 }), { _tag: "InvalidOptions", option: "maxMetricCalls" })
      assert.deepInclude(yield* refused({ maxFullEvals: 0 }), { _tag: "InvalidOptions", option: "maxFullEvals" })
      assert.deepInclude(yield* refused({ auto: "light", reflectionMinibatchSize: 0 }), {
        _tag: "InvalidOptions",
        option: "reflectionMinibatchSize"
      })
      assert.deepInclude(yield* refused({ auto: "light", proposals: 0 }), { option: "proposals" })
      assert.deepInclude(yield* refused({ auto: "light", maxMergeInvocations: -1 }), { option: "maxMergeInvocations" })
      assert.deepInclude(yield* refused({ auto: "light", patience: 0 }), { option: "patience" })
    }))

  it.effect("in full evaluations counts training and selection examples", () =>
    Effect.gen(function*() {
      const plan = (given: object) =>
        GEPA.events(sort, { trainset, valset, metric: told, maxFullEvals: 3, ...given }).pipe(
          Stream.runHead,
          Effect.map(Option.getOrThrow),
          withModel(simulate({ answer }))
        )
      assert.strictEqual((yield* plan({})).runs.planned, 3 * (24 + 18))
      assert.strictEqual((yield* plan({ valset: undefined })).runs.planned, 3 * (24 + 24))
      assert.strictEqual((yield* plan({ testset: examples(5, 6, 500) })).runs.planned, 3 * (24 + 18) + 2 * 5)
    }))

  for (const schedule of schedules) {
    it.effect(`ends with a score that was asked for (${schedule})`, () =>
      Effect.gen(function*() {
        const model = simulate({ answer })
        const { compiled, done } = yield* run(GEPA.events(sort, { ...options, schedule, stopAtScore: 0.5 })).pipe(
          withModel(model)
        )
        assert.strictEqual(done.reason, "stopAtScore")
        assert.isAtLeast(compiled.score.mean, 0.5)
        assert.isBelow(programCalls(model).length, 280)
      }))

    it.effect(`ends after some iterations without a new best (${schedule})`, () =>
      Effect.gen(function*() {
        // Always another text, never a better one.
        const useless = (request: LanguageModel.Request) => writing(`Sort ${Json.hash(request).slice(0, 6)}.`)
        const model = simulate({ answer: (request) => isAsked(request) ? useless(request) : solve(request) })
        const { done, of } = yield* run(GEPA.events(sort, { ...options, schedule, patience: 2 })).pipe(withModel(model))
        assert.strictEqual(of("Front").length, 2)
        assert.strictEqual(done.reason, "completed")
      }))
  }
})

describe("what children are made of", () => {
  // Each child knows one kind, and some kinds are more frequent than others.
  const uneven = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3].map((kind, index) =>
    Example.make({ inputs: { item: `kind${kind}-${100 + index}` }, labels: { box: boxOf(`kind${kind}`) } })
  )
  const specialist = (request: LanguageModel.Request) =>
    writing(`Sort ${Json.hash(request).slice(0, 6)}. ${rulesOf(sectionOf(request, "attempts"))[0] ?? ""}`)

  // For each child whether its parent was the best of those there were at the time.
  const choices = (candidateSelectionStrategy: "pareto" | "currentBest" | "epsilonGreedy", seed: number) =>
    run(GEPA.events(sort, {
      trainset: examples(32, 4),
      valset: uneven,
      metric: told,
      schedule: "classical",
      candidateSelectionStrategy,
      maxMetricCalls: 400,
      seed
    })).pipe(
      Effect.map(({ all }) => {
        const means = new Map<number, number>()
        return all.flatMap((event) => {
          if (event._tag === "TrialEnd") means.set(event.trial.index, event.score.mean)
          if (event._tag !== "Proposal" || event.parents.length === 0) return []
          return [means.get(event.parents[0]!) === Math.max(...means.values())]
        })
      }),
      withModel(simulate({ answer: (request) => isAsked(request) ? specialist(request) : solve(request) }))
    )

  const missing = (best: ReadonlyArray<boolean>) => best.filter((is) => !is).length / best.length

  it.effect("is the best on average, if that is asked for", () =>
    Effect.gen(function*() {
      const best = yield* choices("currentBest", 0)
      assert.isAbove(best.length, 10)
      assert.strictEqual(missing(best), 0)
    }))

  it.effect("is now and then another one, if that is asked for", () =>
    Effect.gen(function*() {
      const best = (yield* Effect.forEach([0, 1, 2], (seed) => choices("epsilonGreedy", seed))).flat()
      assert.isAbove(missing(best), 0)
      assert.isBelow(missing(best), 0.25)
    }))

  it.effect("are by default all that are best at something", () =>
    Effect.gen(function*() {
      const best = (yield* Effect.forEach([0, 1, 2], (seed) => choices("pareto", seed))).flat()
      assert.isAbove(missing(best), 0.25)
    }))

  it.effect("are examples that went well too, if they are not to be skipped", () =>
    Effect.gen(function*() {
      const perfect = (request: LanguageModel.Request) =>
        isAsked(request)
          ? writing(`Sort ${Json.hash(request).slice(0, 6)}.`)
          : render({ box: boxOf(kindOf(field(textOf(request.messages.at(-1)), "item") ?? "")) })
      for (const schedule of schedules) {
        const model = simulate({ answer: perfect })
        const compiled = yield* GEPA.compile(sort, {
          ...options,
          schedule,
          skipPerfectScore: false,
          maxMetricCalls: 60
        }).pipe(withModel(model))
        assert.isAbove(model.requests.filter(isAsked).length, 0)
        assert.strictEqual(compiled.difference.mean, 0)
      }
    }))
})

describe("the classical schedule", () => {
  const classical = { ...options, schedule: "classical" as const }

  it.effect("measures a child on all selection examples if its minibatch adds up to more, and only then", () =>
    Effect.gen(function*() {
      let asked = 0
      // Every other child knows a rule, the others know nothing.
      const model = simulate({
        answer: (request) =>
          isAsked(request) ? ++asked % 2 === 0 ? reflect(request) : writing(`Sort, try ${asked}.`) : solve(request)
      })
      const { all, of } = yield* run(GEPA.events(sort, { ...classical, maxMetricCalls: 120 })).pipe(withModel(model))
      for (const { trial } of of("Proposal").slice(1)) {
        const own = all.filter((event) => "trial" in event && event.trial.index === trial.index)
        const trained = own.filter((event) => event._tag === "Scored" && event.trial.on === "training")
        const selected = own.filter((event) => event._tag === "Scored" && event.trial.on === "selection")
        if (own.some(({ _tag }) => _tag === "Retired")) {
          assert.deepStrictEqual([trained.length, selected.length], [3, 0])
        } else {
          assert.strictEqual(selected.length, valset.length)
          assert.isTrue(own.some(({ _tag }) => _tag === "TrialEnd"))
        }
      }
      assert.isAbove(of("Retired").length, 1)
      assert.isAbove(of("TrialEnd").length, 1)
    }))

  it.effect("makes one child at a time unless told otherwise", () =>
    Effect.gen(function*() {
      const perIteration = (proposals: number | undefined) =>
        run(GEPA.events(sort, { ...classical, maxMetricCalls: 80, proposals })).pipe(
          Effect.map(({ all }) => {
            const first = all.findIndex(({ _tag }) => _tag === "Front")
            return all.slice(0, first).filter(({ _tag }) => _tag === "Proposal").length - 1
          }),
          withModel(simulate({ answer }))
        )
      assert.strictEqual(yield* perIteration(undefined), 1)
      assert.strictEqual(yield* perIteration(4), 4)
    }))
})

describe("the racing schedule", () => {
  it.effect("measures at most one that is no better on all selection examples, in the end", () =>
    Effect.gen(function*() {
      // On training examples children seem to know more than the module as given; elsewhere they do not.
      const unseen = examples(60, 6, 100)
      const known = Either.getOrThrow(
        Module.withParameters(sort, { "": { demos: [], instructions: `Sort. ${rule("kind0")}` } })
      )
      const child = (request: LanguageModel.Request) =>
        writing(`Sort ${Json.hash(request).slice(0, 6)}. ${rule("kind0")} ${rule("kind1")}`)
      const model = simulate({
        answer: (request) => {
          if (isAsked(request)) return child(request)
          const item = field(textOf(request.messages.at(-1)), "item") ?? ""
          return Number(item.split("-")[1]) >= 100 && kindOf(item) === "kind1"
            ? render({ box: "none" })
            : solve(request)
        }
      })
      const { all, compiled, of } = yield* run(
        GEPA.events(known, { trainset, valset: unseen, metric: told, maxMetricCalls: 400 })
      ).pipe(withModel(model))
      const children = of("Proposal").slice(1).map(({ trial }) => trial.index)
      const full = children.filter((index) => {
        const selected = all.filter((event) =>
          event._tag === "Scored" && event.trial.index === index && event.trial.on === "selection"
        )
        return selected.length > 12
      })
      assert.isAbove(children.length, 3)
      assert.isAtMost(full.length, 1)
      assert.strictEqual(compiled.difference.mean, 0)
      assert.deepStrictEqual(compiled.parameters, Module.parameters(known))
    }))

  it.effect("measures in the end what leads, and tells what it left behind", () =>
    Effect.gen(function*() {
      const { compiled, of } = yield* run(
        GEPA.events(sort, { trainset, valset: examples(60, 6, 100), metric: told, maxMetricCalls: 300 })
      ).pipe(withModel(simulate({ answer })))
      const full = of("TrialEnd").map(({ trial }) => trial.index)
      assert.isTrue(full.includes(compiled.candidates[0]!.index))
      assert.isBelow(full.length, of("Proposal").length)
      assert.isTrue(compiled.candidates.some(({ complete }) => !complete))
      // Everybody is accounted for.
      const settled = new Set([...full, ...of("Retired").map(({ trial }) => trial.index)])
      assert.strictEqual(settled.size, of("Proposal").length)
    }))

  it.effect("keeps of a budget what measuring the best takes", () =>
    Effect.gen(function*() {
      for (const budget of [{ calls: 140 }, { tokens: 140 * 110 }, { cost: 14 }]) {
        const model = simulate({ answer })
        const { compiled, done } = yield* run(
          GEPA.events(sort, { ...options, valset: examples(40, 6, 100), maxMetricCalls: 1000, budget })
        ).pipe(withModel(model))
        assert.strictEqual(done.reason, "budget")
        assert.isAtMost(model.requests.length, 140)
        assert.isAtLeast(compiled.score.mean, 0.3)
        // It was not spent on measuring all the others.
        assert.isAtMost(compiled.candidates.filter(({ complete }) => complete).length, 3)
      }
    }))

  it.effect("measures at once who leads where the time is limited", () =>
    Effect.gen(function*() {
      const model = simulate({ answer, latency: () => Effect.sleep("1 second") })
      const searching = yield* run(
        GEPA.events(sort, { ...options, concurrency: 1000, budget: { time: "40 seconds" } })
      ).pipe(withModel(model), Effect.fork)
      yield* Effect.repeat(TestClock.adjust("1 second"), { until: () => searching.unsafePoll() !== null, times: 100 })
      const { compiled, done, of } = yield* Fiber.join(searching)
      assert.strictEqual(done.reason, "budget")
      assert.isAbove(of("NewBest").length, 2)
      assert.isAtLeast(compiled.score.mean, 0.3)
    }))

  it.effect("finds at least as much as the classical one with fewer runs", () =>
    Effect.gen(function*() {
      const data = { trainset: examples(60, 12), valset: examples(60, 12, 200), metric: told }
      const totals = yield* Effect.forEach(schedules, (schedule) =>
        Effect.reduce([0, 1, 2, 3], { score: 0, calls: 0 }, (total, seed) =>
          Effect.gen(function*() {
            const model = simulate({ answer })
            const compiled = yield* GEPA.compile(sort, { ...data, auto: "light", schedule, seed }).pipe(
              withModel(model)
            )
            return { score: total.score + compiled.score.mean, calls: total.calls + model.requests.length }
          })))
      const [racing, classical] = totals
      assert.isAtLeast(racing!.score, classical!.score)
      assert.isAtMost(racing!.calls, 0.85 * classical!.calls)
    }))
})

describe("predictors", () => {
  const two = { trainset, valset, metric: both, maxMetricCalls: 400 }

  const changes = (events: ReadonlyArray<Optimizer.Proposal<unknown>>) =>
    events.slice(1).filter(({ parents }) => parents.length === 1).map(({ parameters, parents, trial }) => {
      const parent = events.find(({ trial }) => trial.index === parents[0])!
      return {
        index: trial.index,
        parent: parents[0]!,
        paths: Object.keys(parameters).filter((path) =>
          parameters[path]?.instructions !== parent.parameters[path]?.instructions
        )
      }
    })

  it.effect("take turns, and a child goes on where its parent was", () =>
    Effect.gen(function*() {
      const { of } = yield* run(
        GEPA.events(graded, {
          ...two,
          schedule: "classical",
          candidateSelectionStrategy: "currentBest",
          useMerge: false
        })
      ).pipe(withModel(simulate({ answer })))
      const all = changes(of("Proposal"))
      assert.isAbove(all.length, 4)
      const turn = new Map<number, number>([[0, 0]])
      for (const { index, parent, paths } of all) {
        const now = turn.get(parent)!
        assert.deepStrictEqual(paths, [["grade", "box"][now % 2]])
        turn.set(parent, now + 1)
        turn.set(index, now + 1)
      }
    }))

  it.effect("change all at once if asked to", () =>
    Effect.gen(function*() {
      const { compiled, of } = yield* run(GEPA.events(graded, { ...two, componentSelector: "all" })).pipe(
        withModel(simulate({ answer }))
      )
      assert.isTrue(changes(of("Proposal")).slice(0, 3).every(({ paths }) => paths.length === 2))
      assert.isAbove(compiled.score.mean, 0.5)
    }))

  it.effect("get the feedback that is theirs", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      yield* GEPA.compile(graded, { ...two, maxMetricCalls: 80 }).pipe(withModel(model))
      const asked = model.requests.filter(isAsked)
      const attempts = (name: string) =>
        asked.filter((request) => sectionOf(request, "fields").includes(`output ${name} `)).map((request) =>
          sectionOf(request, "attempts")
        )
      assert.isAbove(attempts("grade").length, 0)
      assert.isAbove(attempts("box").length, 0)
      assert.isTrue(attempts("grade").every((text) => /: grade \w{4}\./.test(text) && !/: box \w{4}\./.test(text)))
      assert.isTrue(attempts("box").every((text) => /: box \w{4}\./.test(text) && !/kind\d: grade \w{4}\./.test(text)))
    }))

  it.effect("learnt apart are merged", () =>
    Effect.gen(function*() {
      // One predictor is what counts for a half of the examples, the other one for the other half.
      const either: typeof both = (example, output) => {
        const kind = kindOf(example.inputs.item)
        const name = Number(kind.slice(4)) % 2 === 0 ? "grade" : "box"
        return Effect.succeed({ value: `${kind}: ${output[name]}.` === rule(kind, name) ? 1 : 0 })
      }
      const everything = (request: LanguageModel.Request) => {
        const name = sectionOf(request, "fields").includes("output grade") ? "grade" : "box"
        return writing(["Sort.", ...[0, 1, 2, 3, 4, 5].map((kind) => rule(`kind${kind}`, name))].join(" "))
      }
      const compile = (given: object) => {
        const model = simulate({ answer: (request) => isAsked(request) ? everything(request) : solve(request) })
        return run(GEPA.events(graded, { ...two, metric: either, proposals: 2, ...given })).pipe(withModel(model))
      }
      for (const schedule of schedules) {
        const { compiled, of } = yield* compile({ schedule })
        const merged = of("Proposal").filter(({ trial }) => trial.origin === "merge")
        assert.deepStrictEqual(merged.map(({ parents }) => parents), [[1, 2]], schedule)
        assert.strictEqual(compiled.score.mean, 1)
        assert.deepStrictEqual(compiled.candidates[0]?.parents, [1, 2])

        for (const given of [{ useMerge: false }, { maxMergeInvocations: 0 }]) {
          const apart = yield* compile({ schedule, ...given })
          assert.isTrue(apart.of("Proposal").every(({ parents }) => parents.length < 2))
        }
      }
    }))

  it.effect("that did not run have nothing to learn, and the next one has its turn", () =>
    Effect.gen(function*() {
      const skipping = Module.make(
        { grade: Predict.make("item -> grade"), box: Predict.make("item -> box") },
        function*(m, input: { readonly item: string }) {
          return yield* m.box(input)
        }
      )
      const { compiled, of } = yield* run(GEPA.events(skipping, { ...options, maxMetricCalls: 150 })).pipe(
        withModel(simulate({ answer }))
      )
      assert.isTrue(changes(of("Proposal")).every(({ paths }) => paths.join() === "box"))
      assert.isAbove(compiled.score.mean, 0.3)
    }))
})

describe("reflection", () => {
  it.effect("sees how an answer that could not be read should have been", () =>
    Effect.gen(function*() {
      const model = simulate({
        answer: (request) => isAsked(request) ? writing("Sort.") : "In the third one, I think."
      })
      yield* GEPA.compile(sort, { ...options, maxMetricCalls: 60 }).pipe(withModel(model))
      const attempts = sectionOf(model.requests.find(isAsked)!, "attempts")
      assert.include(attempts, "item: kind")
      assert.include(attempts, "In the third one, I think.")
      assert.include(attempts, "Expected are the fields box (string)")
    }))

  it.effect("sees the calls that were answered before a run failed", () =>
    Effect.gen(function*() {
      const model = simulate({
        answer: (request) =>
          isAsked(request)
            ? writing("Sort.")
            : textOf(request.messages[0]).includes("- `grade` (string)\n\nA field")
            ? render({ grade: "grade good" })
            : "no field"
      })
      yield* GEPA.compile(graded, { trainset, valset, metric: both, maxMetricCalls: 60 }).pipe(withModel(model))
      const grade = model.requests.filter(isAsked).find((request) =>
        sectionOf(request, "fields").includes("output grade")
      )!
      assert.include(sectionOf(grade, "attempts"), "grade: grade good")
      assert.include(sectionOf(grade, "attempts"), "The program failed after this.")
    }))

  it.effect("sees no more than the beginning of what is long", () =>
    Effect.gen(function*() {
      const long = trainset.map(({ inputs, labels }) =>
        Example.make({ inputs: { item: `${inputs.item} ${"x".repeat(5000)}` }, labels })
      )
      const model = simulate({ answer })
      yield* GEPA.compile(sort, { ...options, trainset: long, maxMetricCalls: 60 }).pipe(withModel(model))
      const attempts = sectionOf(model.requests.find(isAsked)!, "attempts")
      assert.match(attempts, /item: kind\d-\d+ x{3000}/)
      assert.notMatch(attempts, /x{4000}/)
      assert.include(attempts, "x …\nAnswered:")
    }))

  it.effect("does not see what the model failed to answer", () =>
    Effect.gen(function*() {
      const fails = (hash: string, request: LanguageModel.Request) => !isAsked(request) && chance(3, hash) < 0.3
      const model = simulate({ answer, fails })
      yield* GEPA.compile(sort, options).pipe(withModel(model))
      for (const request of model.requests.filter(isAsked)) {
        assert.notInclude(sectionOf(request, "attempts"), "try later")
      }
    }))

  it.effect("may be left to a module of one's own, which gets what there is as data", () =>
    Effect.gen(function*() {
      const seen: Array<GEPA.Reflection> = []
      const instructionProposer = Module.map(
        Module.mapInput(Predict.make("path -> note"), (reflection: GEPA.Reflection) => {
          seen.push(reflection)
          return { path: reflection.path }
        }),
        ({ note }) => ({ instructions: note })
      )
      const model = simulate({
        answer: (request) =>
          textOf(request.messages[0]).includes("`note`")
            ? render({ note: `Sort. ${[0, 1, 2, 3, 4, 5].map((kind) => rule(`kind${kind}`)).join(" ")}` })
            : solve(request)
      })
      const compiled = yield* GEPA.compile(sort, { ...options, instructionProposer }).pipe(withModel(model))
      assert.strictEqual(compiled.score.mean, 1)
      assert.deepInclude(seen[0], { path: "", instructions: "From `item`, work out `box`." })
      const [attempt] = seen[0]!.attempts
      assert.deepInclude(attempt, { score: 0, outputs: { box: "none" } })
      assert.strictEqual(attempt?.feedback, `Wrong. ${rule(kindOf(String(attempt?.inputs["item"])))}`)
    }))

  it.effect("asks another model if there is one", () =>
    Effect.gen(function*() {
      const task = simulate({ answer: solve })
      const writer = simulate({ answer: reflect, id: "test/writer" })
      const compiled = yield* GEPA.compile(sort, { ...options, promptModel: writer.layer }).pipe(withModel(task))
      assert.isAbove(compiled.score.mean, 0.5)
      assert.isTrue(writer.requests.every(isAsked))
      assert.isFalse(task.requests.some(isAsked))
      assert.strictEqual(compiled.spend.calls, task.requests.length + writer.requests.length)
    }))

  it.effect("ends the run when its model is dead", () =>
    Effect.gen(function*() {
      const writer = simulate({ fails: () => true, id: "test/dead" })
      const error = yield* GEPA.compile(sort, { ...options, promptModel: writer.layer }).pipe(
        withModel(simulate({ answer: solve })),
        Effect.flip
      )
      assert.strictEqual(error._tag, "TooManyFailures")
      assert.include(error.message, "10 of the last 10 questions to the prompt model failed")
      assert.isAtMost(writer.requests.length, 20)
    }))
})

describe("failures of the model", () => {
  it.effect("of every fifth call do not change the winner", () =>
    Effect.gen(function*() {
      // Whoever reflects states all that the task knows.
      const everything = (request: LanguageModel.Request) =>
        isAsked(request)
          ? writing(`Sort. ${[0, 1, 2, 3, 4, 5].map((kind) => rule(`kind${kind}`)).join(" ")}`)
          : solve(request)
      for (const schedule of schedules) {
        for (let seed = 0; seed < 5; seed++) {
          const compile = (fails: (hash: string) => boolean) =>
            GEPA.compile(sort, { ...options, maxMetricCalls: 150, schedule, seed }).pipe(
              withModel(simulate({ answer: everything, fails }))
            )
          const sound = yield* compile(() => false)
          const shaky = yield* compile((hash) => chance(seed, hash) < 0.2)
          assert.strictEqual(sound.score.mean, 1)
          assert.deepStrictEqual(shaky.parameters, sound.parameters)
          assert.strictEqual(shaky.score.mean, 1)
          assert.isAbove(shaky.score.unknown, 0)
        }
      }
    }))
})

describe("time", () => {
  it.effect("is that of what must wait for each other", () =>
    Effect.gen(function*() {
      const searching = { ...options, concurrency: 1000, maxMetricCalls: 200 }
      const model = simulate({ answer, latency: () => Effect.sleep("1 second") })
      const compiling = yield* Effect.fork(GEPA.compile(sort, searching).pipe(withModel(model)))
      const begun = yield* Clock.currentTimeMillis
      yield* Effect.repeat(TestClock.adjust("1 second"), {
        until: () => compiling.unsafePoll() !== null,
        times: 200
      })
      const seconds = ((yield* Clock.currentTimeMillis) - begun) / 1000
      const { of } = yield* run(GEPA.events(sort, searching)).pipe(withModel(simulate({ answer })))
      const iterations = of("Front").length
      assert.isAbove(iterations, 3)
      // The program as given beside the first examples; then for each iteration the parents, what is written, what it was
      // written from, and a part of the selection; in the end the rest of that.
      assert.isAtMost(seconds, 1 + 4 * iterations + 1)
    }))
})

for (const schedule of schedules) {
  contract(`GEPA, ${schedule}`, {
    events: (options) =>
      GEPA.events(graded, {
        trainset: examples(9, 3),
        valset: examples(8, 3, 100),
        metric: both,
        maxMetricCalls: 45,
        proposals: 2,
        schedule,
        ...options
      }),
    answer,
    budgets: [18, 24, 40, 70],
    seeds: 4,
    stride: schedule === "racing" ? 1 : 5
  })
}
