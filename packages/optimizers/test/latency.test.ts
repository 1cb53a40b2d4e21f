/**
 * How long optimizers take when nothing limits what runs at once, in latencies
 * of the model, beside the least that what they do can take.
 */
import * as Embedder from "@effect-dspy/core/Embedder"
import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as BootstrapFewShot from "@effect-dspy/optimizers/BootstrapFewShot"
import * as BootstrapFinetune from "@effect-dspy/optimizers/BootstrapFinetune"
import * as COPRO from "@effect-dspy/optimizers/COPRO"
import * as Ensemble from "@effect-dspy/optimizers/Ensemble"
import * as InferRules from "@effect-dspy/optimizers/InferRules"
import * as KNNFewShot from "@effect-dspy/optimizers/KNNFewShot"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import * as SIMBA from "@effect-dspy/optimizers/SIMBA"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Option, Stream, TestClock } from "effect"
import { boxOf, exact, examples, field, learner, render, simulate, sort, textOf } from "./utilities.ts"

const latency = 1000

// Learns boxes from demonstrations and from what it is told; writes what it finds in its prompt, and something new.
const answer = (request: LanguageModel.Request): string => {
  const told = textOf(request.messages[0])
  const asked = textOf(request.messages.at(-1))
  const kind = `kind${parseInt(Json.hash(request).slice(0, 2), 16) % 8}`
  const rule = `${kind} goes to ${boxOf(kind)}.`
  if (told.includes("proposed_instruction")) {
    const before = asked.match(/kind\d goes to [^.\n]+\./g)?.slice(-3) ?? []
    return render({ proposed_instruction: [...before, rule].join(" ") })
  }
  if (told.includes("module_advice")) {
    return render({ discussion: "", module_advice: JSON.stringify({ program: rule }) })
  }
  if (told.includes("`rules`")) return render({ reasoning: "", rules: rule })
  if (told.includes("`shelf`") && !told.includes("`box`")) return render({ shelf: "any" })
  const known = new RegExp(`${field(asked, "item")?.split("-")[0]} goes to ([^.\\n]+)`).exec(told)?.[1]
  return known === undefined ? learner(request) : render({ box: known })
}

const latencies = <A, E>(run: Effect.Effect<A, E, LanguageModel.LanguageModel>) =>
  Effect.gen(function*() {
    const model = simulate({ answer, latency: () => Effect.sleep(latency) })
    const fiber = yield* Effect.fork(Effect.zipRight(run, Clock.currentTimeMillis).pipe(Effect.provide(model.layer)))
    while (Option.isNone(yield* Fiber.poll(fiber))) yield* TestClock.adjust(latency)
    return (yield* Fiber.join(fiber)) / latency
  })

const shared = {
  trainset: examples(32, 8),
  valset: examples(24, 8, 100),
  metric: exact,
  concurrency: Number.POSITIVE_INFINITY
}

const two = Module.make(
  { first: Predict.make("item -> shelf"), second: Predict.make("item, shelf -> box") },
  function*(m, input: { readonly item: string }) {
    const { shelf } = yield* m.first(input)
    return yield* m.second({ item: input.item, shelf })
  }
)

const embedder = Layer.succeed(
  Embedder.Embedder,
  Embedder.make({
    id: "test/length",
    embed: (texts) => Effect.succeed(texts.map(({ length }) => Float32Array.of(length)))
  })
)

describe("in latencies of the model", { timeout: 120_000 }, () => {
  const takes = (
    name: string,
    run: Effect.Effect<unknown, unknown, LanguageModel.LanguageModel>,
    { bound, within = 1.3 }: { readonly bound: number; readonly within?: number }
  ) =>
    it.effect(`${name} takes ${bound} to ${Math.floor(bound * within)}`, () =>
      Effect.gen(function*() {
        const taken = yield* latencies(run)
        assert.isAtLeast(taken, bound)
        assert.isAtMost(taken, bound * within)
      }))

  // To try and to measure.
  takes("BootstrapFewShot", Stream.runDrain(BootstrapFewShot.events(sort, shared)), { bound: 2 })
  takes("RandomSearch", Stream.runDrain(RandomSearch.events(sort, shared)), { bound: 2 })
  takes("KNNFewShot", Effect.provide(Stream.runDrain(KNNFewShot.events(sort, shared)), embedder), { bound: 2 })
  takes("BootstrapFinetune", Stream.runDrain(BootstrapFinetune.events(sort, shared)), { bound: 1 })
  takes("Ensemble", Ensemble.make([sort, sort, sort])({ item: "kind1-1" }), { bound: 1 })

  // Three rounds of writing and measuring.
  takes("COPRO", Stream.runDrain(COPRO.events(sort, { ...shared, schedule: "classical" })), { bound: 6 })
  // Two rounds of writing, and of measuring two predictors in programs of two calls.
  takes(
    "COPRO of two predictors",
    Stream.runDrain(COPRO.events(two, { ...shared, breadth: 3, depth: 2, schedule: "classical" })),
    { bound: 10 }
  )
  // Races have one turn where there is room for all of it; the first comes after the module as given was measured.
  takes("COPRO, racing", Stream.runDrain(COPRO.events(sort, shared)), { bound: 6 })

  // To bootstrap; to write, beside measuring that; to measure.
  takes(
    "InferRules",
    Stream.runDrain(
      InferRules.events(sort, { ...shared, maxBootstrappedDemos: 1, maxLabeledDemos: 1, schedule: "classical" })
    ),
    { bound: 3 }
  )
  takes(
    "InferRules, racing",
    Stream.runDrain(InferRules.events(sort, { ...shared, maxBootstrappedDemos: 1, maxLabeledDemos: 1 })),
    { bound: 3 }
  )

  // Each step runs, writes and measures; what is best in the end is raced.
  takes("SIMBA", Stream.runDrain(SIMBA.events(sort, { ...shared, bsize: 8, numCandidates: 3 })), { bound: 25 })
})
