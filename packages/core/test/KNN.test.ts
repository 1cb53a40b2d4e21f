import * as Embedder from "@effect-dspy/core/Embedder"
import * as KNN from "@effect-dspy/core/KNN"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer } from "effect"

// The place of a number on a half circle: close numbers point the same way.
const onCircle = (log: Array<ReadonlyArray<string>> = []) =>
  Layer.succeed(
    Embedder.Embedder,
    Embedder.make({
      id: "test/circle",
      embed: (texts) =>
        Effect.sync(() => {
          log.push(texts)
          return texts.map((text) => {
            const angle = (Number(/-?\d+/.exec(text)?.[0]) / 100) * Math.PI
            // Of different lengths, which must not count.
            return Float32Array.of(Math.cos(angle), Math.sin(angle)).map((value) => value * (1 + text.length % 3))
          })
        })
    })
  )

const demos = [10, 90, 30, 50, 70].map((n) => Parameters.demo({ n, name: `about ${n}` }))
const numbered = Either.getOrThrow(Module.withParameters(Predict.make("n: int -> name"), { "": { demos } }))

const shown = (request: LanguageModel.Request | undefined): ReadonlyArray<string> =>
  (request?.messages ?? []).flatMap(({ content, role }) =>
    role === "assistant" ? [/about \d+/.exec(String(content))?.[0] ?? ""] : []
  )

const model = (requests: Array<LanguageModel.Request>) =>
  TestLanguageModel.layer((request) => {
    requests.push(request)
    return TestLanguageModel.fields({ name: "x" })
  })

describe("KNN", () => {
  it.effect("shows the nearest demonstrations, the nearest one last", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const near = KNN.make(numbered, { k: 3 })
      yield* near({ n: 62 }).pipe(Effect.provide([model(requests), onCircle()]))
      assert.deepStrictEqual(shown(requests[0]), ["about 90", "about 50", "about 70"])
    }))

  it.effect("leaves the bytes of images out of what is embedded", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const photo = { url: "data:image/png;base64,AAAA" }
      const demos = [10, 90].map((n) => Parameters.demo({ n, photo, name: `about ${n}` }))
      const near = KNN.make(
        Either.getOrThrow(Module.withParameters(Predict.make("n: int, photo: Image -> name"), { "": { demos } })),
        { k: 1 }
      )
      yield* near({ n: 12, photo }).pipe(Effect.provide([model([]), onCircle(log)]))
      assert.deepStrictEqual(log.flat().toSorted(), [10, 12, 90].map((n) => `n: ${n} | photo: {"url":""}`))
    }))

  it("refuses a number of neighbours that is none", () => {
    for (const k of [0, -1, 1.5, Number.NaN]) assert.throws(() => KNN.make(numbered, { k }), /KNN: k must be/)
  })

  it.effect("embeds nothing where all are shown", () =>
    Effect.gen(function*() {
      const requests: Array<LanguageModel.Request> = []
      const log: Array<ReadonlyArray<string>> = []
      yield* KNN.make(numbered, { k: 5 })({ n: 60 }).pipe(Effect.provide([model(requests), onCircle(log)]))
      yield* KNN.make(Predict.make("n: int -> name"), { k: 5 })({ n: 60 }).pipe(
        Effect.provide([model(requests), onCircle(log)])
      )
      assert.strictEqual(log.length, 0)
      assert.deepStrictEqual(requests.map((request) => shown(request).length), [5, 0])
    }))

  it.effect("embeds each demonstration once, however many calls come at the same time", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const near = KNN.make(numbered, { k: 1 })
      yield* Effect.forEach(Array.from({ length: 100 }, (_, n) => n), (n) => near({ n }), { concurrency: 20 }).pipe(
        Effect.provide([model([]), onCircle(log)])
      )
      const texts = log.flat()
      assert.strictEqual(texts.length, 100 + demos.length)
      assert.deepStrictEqual(
        log.find((texts) => texts.length > 1),
        demos.map(({ values }) => `n: ${String(values["n"])}`)
      )
    }))

  it.effect("keeps the paths of the program, so that it can be tuned and saved like it", () =>
    Effect.gen(function*() {
      const program = Module.make(
        { name: Predict.make("n: int -> name") },
        function*(m, input: { readonly n: number }) {
          return yield* m.name(input)
        }
      )
      const near = KNN.make(program, { k: 1 })
      assert.deepStrictEqual(near.predictors, program.predictors)
      const requests: Array<LanguageModel.Request> = []
      yield* Either.getOrThrow(Module.withParameters(near, { name: { demos } }))({ n: 12 }).pipe(
        Effect.provide([model(requests), onCircle()])
      )
      assert.deepStrictEqual(shown(requests[0]), ["about 10"])
    }))

  it.effect("compares by the inputs that the predictor has, also of demonstrations two of them share", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const both = Either.getOrThrow(Module.withParameters(
        Module.all({ a: Predict.make("n: int -> name"), b: Predict.make("m: int -> name") }).pipe(
          Module.mapInput((n: number) => ({ n, m: n }))
        ),
        { a: { demos: shared }, b: { demos: shared } }
      ))
      yield* KNN.make(both, { k: 1 })(1).pipe(Effect.provide([model([]), onCircle(log)]))
      assert.sameMembers(log.flat().map(String), ["n: 1", "n: 2", "n: 1", "m: 5", "m: 6", "m: 1"])
    }))

  it.effect("embeds no empty text, and takes what has none for like no other", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const requests: Array<LanguageModel.Request> = []
      const partial = [Parameters.demo({ name: "about 0" }), ...demos]
      const program = Module.all({ asked: Predict.make("n?: int -> name"), made: Predict.make("-> name") })
      const near = KNN.make(
        Either.getOrThrow(Module.withParameters(program, { asked: { demos: partial }, made: { demos: partial } })),
        { k: 2 }
      )
      yield* near({ n: 12 }).pipe(Effect.provide([model(requests), onCircle(log)]))
      yield* near({}).pipe(Effect.provide([model(requests), onCircle(log)]))
      assert.deepStrictEqual(new Set(log.flat()), new Set([10, 90, 30, 50, 70, 12].map((n) => `n: ${n}`)))
      assert.lengthOf(requests, 4)
    }))

  it.effect("fails as its embedder does", () =>
    Effect.gen(function*() {
      const broken = Layer.succeed(
        Embedder.Embedder,
        Embedder.make({
          id: "test/broken",
          embed: () =>
            Effect.fail(LanguageModelError.make({
              reason: new LanguageModelError.Overloaded({ description: "later" }),
              provider: "test",
              model: "test/broken"
            }))
        })
      )
      const error = yield* Effect.flip(KNN.make(numbered, { k: 1 })({ n: 1 })).pipe(
        Effect.provide([model([]), broken])
      )
      assert.strictEqual(error._tag, "LanguageModelError")
    }))
})

const shared = [Parameters.demo({ n: 1, m: 5, name: "a" }), Parameters.demo({ n: 2, m: 6, name: "b" })]
