/**
 * `KNN` shows a predictor those of its demonstrations that are nearest to what
 * it is asked, instead of all of them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Embedder from "./Embedder.ts"
import type * as frame from "./internal/frame.ts"
import { unit } from "./internal/vectors.ts"
import type * as Json from "./Json.ts"
import type { LanguageModelError } from "./LanguageModelError.ts"
import * as Module from "./Module.ts"
import type * as Parameters from "./Parameters.ts"

/**
 * The same program, whose predictors are shown the `k` demonstrations with the
 * inputs most like theirs, the nearest one last. It may be given any number of
 * demonstrations: they are embedded when they are first needed, and kept.
 *
 * Inputs are compared as texts, `name: value | name: value`, by the cosine of
 * their vectors. Predictors without demonstrations are not embedded for. Throws
 * a `RangeError` for a `k` that is no whole number of at least 1.
 *
 * @see Liu et al., "What Makes Good In-Context Examples for GPT-3?" (arXiv 2101.06804)
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import * as KNN from "@effect-dspy/core/KNN"
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Parameters from "@effect-dspy/core/Parameters"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect, Either, Layer } from "effect"
 *
 * const reply = Either.getOrThrow(Module.withParameters(Predict.make("mail -> answer"), {
 *   "": {
 *     demos: [
 *       Parameters.demo({ mail: "Where is my parcel?", answer: "On its way." }),
 *       Parameters.demo({ mail: "Please cancel.", answer: "Done." })
 *     ]
 *   }
 * }))
 *
 * // Stands for a model: texts about parcels point one way, all others another.
 * const embedder = Embedder.make({
 *   id: "test/parcel",
 *   embed: (texts) =>
 *     Effect.succeed(texts.map((text) => text.includes("parcel") ? Float32Array.of(1, 0) : Float32Array.of(0, 1)))
 * })
 *
 * const model = TestLanguageModel.layer((request) =>
 *   TestLanguageModel.fields({ answer: String(request.messages[1]?.content).includes("Where") ? "by parcel" : "other" })
 * )
 *
 * const program = KNN.make(reply, { k: 1 })({ mail: "My parcel is late." }).pipe(
 *   Effect.provide([model, Layer.succeed(Embedder.Embedder, embedder)])
 * )
 *
 * Effect.runPromise(program).then(({ answer }) => assert.strictEqual(answer, "by parcel"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  options: { readonly k: number }
): Module.Module<In, Out, E | LanguageModelError, R | Embedder.Embedder> => {
  const { k } = options
  if (!Number.isInteger(k) || k < 1) throw new RangeError(`KNN: k must be a whole number of at least 1, not ${k}`)
  const chosen = new WeakMap<Embedder.Service, frame.Choice>()
  return Module.surrounded(module, (current) =>
    Effect.map(Embedder.Embedder, (embedder) => {
      const choice = chosen.get(embedder) ?? nearest(embedder, k)
      chosen.set(embedder, choice)
      return { ...current, choice }
    }))
}

const nearest = (embedder: Embedder.Service, k: number): frame.Choice => {
  // By the names of the inputs: two predictors may be shown the same and asked something else.
  const all = new Map<string, WeakMap<Parameters.Demo, Float32Array>>()
  const lock = Effect.unsafeMakeSemaphore(1)
  const learn = (
    demos: ReadonlyArray<Parameters.Demo>,
    names: ReadonlyArray<string>,
    known: WeakMap<Parameters.Demo, Float32Array>
  ) =>
    Effect.suspend(() => {
      const fresh = demos.filter((demo) => !known.has(demo))
      if (fresh.length === 0) return Effect.void
      return Effect.map(embedded(embedder, fresh.map(({ values }) => text(values, names))), (vectors) => {
        for (const [index, demo] of fresh.entries()) known.set(demo, vectors[index]!) // one for each text
      })
    })
  return (demos, inputs) =>
    Effect.gen(function*() {
      if (demos.length <= k) return demos
      const names = Object.keys(inputs)
      const place = names.join(" ")
      const known = all.get(place) ?? new WeakMap<Parameters.Demo, Float32Array>()
      all.set(place, known)
      // Calls that come at once wait for the first instead of embedding the same.
      if (demos.some((demo) => !known.has(demo))) yield* lock.withPermits(1)(learn(demos, names, known))
      const [asked] = yield* embedded(embedder, [text(inputs, names)])
      const closeness = demos.map((demo) => dot(known.get(demo)!, asked!)) // all are known by now, and so is the text
      return demos.map((_, index) => index)
        .sort((a, b) => closeness[b]! - closeness[a]! || a - b) // both are places
        .slice(0, k)
        .reverse()
        .map((index) => demos[index]!) // a place
    })
}

// What says nothing is like no other, and some embedders refuse it.
const embedded = (
  embedder: Embedder.Service,
  texts: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Float32Array>, LanguageModelError> => {
  const telling = texts.filter((text) => text !== "")
  if (telling.length === 0) return Effect.succeed(texts.map(() => Float32Array.of()))
  return Effect.map(embedder.embed(telling), (vectors) => {
    let next = 0
    return texts.map((text) => text === "" ? Float32Array.of() : unit(vectors[next++]!)) // one for each that tells
  })
}

// Bytes of an image say nothing to an embedder of texts, in millions of characters.
const worded = (_: string, value: unknown): unknown =>
  typeof value === "string" && value.startsWith("data:") ? "" : value

const text = (values: Json.JsonRecord, names: ReadonlyArray<string>): string =>
  names.flatMap((name) => {
    const value = values[name]
    return value === undefined ? [] : [`${name}: ${typeof value === "string" ? value : JSON.stringify(value, worded)}`]
  }).join(" | ")

const dot = (a: Float32Array, b: Float32Array): number => {
  let sum = 0
  for (let index = 0; index < a.length; index++) sum += a[index]! * (b[index] ?? 0) // within its length
  return sum
}
