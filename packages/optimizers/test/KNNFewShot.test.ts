import * as Embedder from "@effect-dspy/core/Embedder"
import * as KNN from "@effect-dspy/core/KNN"
import * as SavedProgram from "@effect-dspy/core/SavedProgram"
import * as KNNFewShot from "@effect-dspy/optimizers/KNNFewShot"
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { contract } from "./contract.ts"
import { boxOf, exact, examples, learner, shown, simulate, sort } from "./utilities.ts"

const trainset = examples(24, 8)
const valset = examples(24, 8, 100)

// Items of a kind are alike.
const embedder = Layer.succeed(
  Embedder.Embedder,
  Embedder.make({
    id: "test/kinds",
    dimensions: 8,
    embed: (texts) =>
      Effect.succeed(texts.map((text) => {
        const vector = new Float32Array(8)
        vector[Number(/kind(\d)/.exec(text)?.[1])] = 1
        return vector
      }))
  })
)

describe("KNNFewShot", () => {
  it.effect("shows what is like the input, and never more than k", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: learner })
      const { baseline, score } = yield* KNNFewShot.compile(sort, { trainset, valset, metric: exact, k: 2 }).pipe(
        Effect.provide([model.layer, embedder])
      )
      assert.strictEqual(score.mean, 1)
      assert.isBelow(baseline.mean, 0.6)
      assert.isTrue(model.requests.every((request) => shown(request).length <= 2))
    }))

  it.effect("tries every training example once, and keeps what was right beside the labels of the others", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: learner })
      const { candidates } = yield* KNNFewShot.compile(sort, { trainset, valset, metric: exact }).pipe(
        Effect.provide([model.layer, embedder])
      )
      const bootstrapped = candidates.find(({ origin }) => origin === "bootstrapped")
      const demos = bootstrapped?.parameters[""]?.demos ?? []
      assert.strictEqual(demos.length, trainset.length)
      assert.isTrue(demos.some(({ augmented }) => augmented))
      assert.strictEqual(model.requests.length, 3 * valset.length + trainset.length)
    }))

  it.effect("shows no example itself while it is scored on it", () =>
    Effect.gen(function*() {
      const model = simulate({ answer: learner })
      // Each kind is there once, so nothing like an example is left when it is asked about.
      const { score } = yield* KNNFewShot.compile(sort, { trainset: examples(8, 8), metric: exact, k: 8 }).pipe(
        Effect.provide([model.layer, embedder])
      )
      assert.isBelow(score.mean, 1)
    }))

  it.effect("is saved and loaded like every program", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = `${yield* fs.makeTempDirectoryScoped()}/sort.json`
      const model = simulate({ answer: learner })
      const { module, parameters } = yield* KNNFewShot.compile(sort, { trainset, valset, metric: exact, k: 1 }).pipe(
        Effect.provide([model.layer, embedder])
      )
      yield* SavedProgram.save(path, module)
      const again = yield* SavedProgram.load(path, KNN.make(sort, { k: 1 }))
      const { box } = yield* again({ item: "kind5-999" }).pipe(Effect.provide([model.layer, embedder]))
      assert.strictEqual(box, boxOf("kind5"))
      assert.strictEqual(shown(model.requests.at(-1)!).length, 1)
      assert.isAbove(parameters[""]!.demos.length, 20)
    }).pipe(Effect.scoped, Effect.provide(NodeContext.layer)))

  it.effect("refuses what makes no sense", () =>
    Effect.gen(function*() {
      const error = yield* KNNFewShot.compile(sort, { trainset, metric: exact, k: 0 }).pipe(
        Effect.flip,
        Effect.provide([simulate().layer, embedder])
      )
      assert.strictEqual(error.message, "k must be a whole number of at least 1, not 0")
    }))
})

contract("KNNFewShot", {
  events: (more) =>
    KNNFewShot.events(sort, { trainset: examples(6, 3), valset: examples(8, 3, 100), metric: exact, k: 1, ...more })
      .pipe(
        Stream.provideSomeLayer(embedder)
      ),
  answer: learner,
  budgets: [8, 12, 20],
  stride: 2
})
