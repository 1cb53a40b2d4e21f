/**
 * The service that turns texts into vectors whose closeness says how alike the
 * texts are: what nearest-neighbour demonstrations and retrieval stand on.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import * as LanguageModelError from "./LanguageModelError.ts"

/**
 * What embeds texts.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The name users know, such as `openai/text-embedding-3-small`. Vectors of different ids cannot be compared. */
  readonly id: string
  /** The length of every vector, where it is known beforehand. */
  readonly dimensions?: number | undefined
  /** One vector for each text, in the order of the texts. No text, no vector, and nothing is called. */
  readonly embed: (
    texts: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<Float32Array>, LanguageModelError.LanguageModelError>
}

/**
 * The embedder of the program. Providers are Layers of it.
 *
 * @since 0.1.0
 * @category services
 */
export class Embedder extends Context.Tag("@effect-dspy/core/Embedder")<Embedder, Service>() {}

/**
 * Builds an embedder from a function that embeds one batch.
 *
 * Texts are split into batches of at most `maxBatchSize` (default: one batch
 * for all), of which at most `concurrency` are under way at once (default 4).
 * The first batch that fails interrupts the others. A batch that comes back
 * with another number of vectors, or with vectors of another length than
 * `dimensions` or than each other, fails with `MalformedResponse`: a vector
 * must never be taken for that of another text.
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import { Effect } from "effect"
 *
 * const batches: Array<number> = []
 *
 * const lengths = Embedder.make({
 *   id: "test/length",
 *   dimensions: 1,
 *   maxBatchSize: 2,
 *   embed: (texts) =>
 *     Effect.sync(() => {
 *       batches.push(texts.length)
 *       return texts.map((text) => Float32Array.of(text.length))
 *     })
 * })
 *
 * const program = Embedder.embed(["a", "bb", "ccc"]).pipe(
 *   Effect.provideService(Embedder.Embedder, lengths)
 * )
 *
 * Effect.runPromise(program).then((vectors) => {
 *   assert.deepStrictEqual(vectors.map((vector) => vector[0]), [1, 2, 3])
 *   assert.deepStrictEqual(batches, [2, 1])
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly id: string
  readonly dimensions?: number | undefined
  readonly maxBatchSize?: number | undefined
  readonly concurrency?: number | undefined
  readonly embed: Service["embed"]
}): Service => {
  const { concurrency = 4, dimensions, embed, id, maxBatchSize = Infinity } = options
  const malformed = (description: string) =>
    Effect.fail(LanguageModelError.make({
      reason: new LanguageModelError.MalformedResponse({ kind: "shape", description }),
      provider: id.split("/")[0] ?? id,
      model: id
    }))
  const counted = (texts: ReadonlyArray<string>) =>
    Effect.flatMap(embed(texts), (vectors) =>
      vectors.length === texts.length
        ? Effect.succeed(vectors)
        : malformed(`${texts.length} texts were embedded, ${vectors.length} vectors came back`))
  return {
    id,
    dimensions,
    embed: (texts) =>
      Effect.flatMap(
        Effect.forEach(Arr.chunksOf(texts, maxBatchSize), counted, { concurrency }),
        (batches) => {
          const vectors = batches.flat()
          const length = dimensions ?? vectors[0]?.length
          const odd = vectors.find((vector) => vector.length !== length)
          return odd === undefined
            ? Effect.succeed(vectors)
            : malformed(`a vector has ${odd.length} dimensions where ${length} are expected`)
        }
      )
  }
}

/**
 * The same embedder, which remembers the vectors of the texts that were used
 * last, `maxTexts` of them (10,000 by default), and asks only for those it does
 * not know: for programs that ask the same again, as optimizers let them.
 *
 * A text that occurs twice in one call is embedded once; two calls that come at
 * the same time may both ask. Failures are not remembered. Vectors are handed
 * out as they are kept: do not write to them.
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import { Effect, Layer } from "effect"
 *
 * const asked: Array<string> = []
 *
 * const Lengths = Layer.succeed(
 *   Embedder.Embedder,
 *   Embedder.make({
 *     id: "test/length",
 *     embed: (texts) =>
 *       Effect.sync(() => {
 *         asked.push(...texts)
 *         return texts.map((text) => Float32Array.of(text.length))
 *       })
 *   })
 * )
 *
 * const Remembered = Layer.effect(
 *   Embedder.Embedder,
 *   Effect.flatMap(Embedder.Embedder, (embedder) => Embedder.cached(embedder))
 * ).pipe(Layer.provide(Lengths))
 *
 * const program = Effect.zipRight(Embedder.embed(["a", "bb", "a"]), Embedder.embed(["bb", "ccc"])).pipe(
 *   Effect.provide(Remembered)
 * )
 *
 * Effect.runPromise(program).then((vectors) => {
 *   assert.deepStrictEqual(vectors.map((vector) => vector[0]), [2, 3])
 *   assert.deepStrictEqual(asked, ["a", "bb", "ccc"])
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const cached = (
  self: Service,
  options: { readonly maxTexts?: number | undefined } = {}
): Effect.Effect<Service> =>
  Effect.sync(() => {
    const { maxTexts = 10_000 } = options
    // In the order of their use: a Map lists what was set last at its end.
    const known = new Map<string, Float32Array>()
    const remember = (text: string, vector: Float32Array): void => {
      known.delete(text)
      known.set(text, vector)
      for (const oldest of known.keys()) {
        if (known.size <= maxTexts) break
        known.delete(oldest)
      }
    }
    return {
      id: self.id,
      dimensions: self.dimensions,
      embed: (texts) =>
        Effect.suspend(() => {
          // What is known now may be forgotten by the time the others are there.
          const vectors = new Map(Array.from(new Set(texts), (text) => [text, known.get(text)] as const))
          const fresh = Array.from(vectors.keys()).filter((text) => vectors.get(text) === undefined)
          return Effect.map(fresh.length === 0 ? Effect.succeed([]) : self.embed(fresh), (embedded) => {
            for (const [index, text] of fresh.entries()) vectors.set(text, embedded[index])
            return texts.map((text) => {
              const vector = vectors.get(text)! // one for each text
              remember(text, vector)
              return vector
            })
          })
        })
    }
  })

interface Batch {
  readonly texts: Array<string>
  readonly full: Deferred.Deferred<void>
  readonly vectors: Deferred.Deferred<ReadonlyArray<Float32Array>, LanguageModelError.LanguageModelError>
  sent: Fiber.Fiber<unknown> | undefined
  callers: number
}

/**
 * The same embedder, which waits a little (`wait`, 10 milliseconds by default) for
 * further calls and puts their texts together, or until there are `maxTexts` of
 * them (128 by default): for programs that run side by side and embed a query each.
 *
 * What fails fails for all calls of a batch. A call that is interrupted leaves the
 * others alone; the last one that is takes the batch with it.
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import { Effect } from "effect"
 *
 * const batches: Array<number> = []
 *
 * const lengths = Embedder.make({
 *   id: "test/length",
 *   embed: (texts) =>
 *     Effect.sync(() => {
 *       batches.push(texts.length)
 *       return texts.map((text) => Float32Array.of(text.length))
 *     })
 * })
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const embedder = yield* Embedder.batched(lengths)
 *   return yield* Effect.forEach(["a", "bb", "ccc"], (text) => embedder.embed([text]), { concurrency: "unbounded" })
 * }))
 *
 * Effect.runPromise(program).then((vectors) => {
 *   assert.deepStrictEqual(vectors.map(([vector]) => vector?.[0]), [1, 2, 3])
 *   assert.deepStrictEqual(batches, [3])
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const batched = (
  self: Service,
  options: { readonly wait?: Duration.DurationInput | undefined; readonly maxTexts?: number | undefined } = {}
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const { maxTexts = 128, wait = "10 millis" } = options
    let open: Batch | undefined

    const begin = (): Batch => ({
      texts: [],
      full: Deferred.unsafeMake(FiberId.none),
      vectors: Deferred.unsafeMake(FiberId.none),
      sent: undefined,
      callers: 0
    })
    const send = (batch: Batch) =>
      Deferred.await(batch.full).pipe(
        Effect.timeoutOption(wait),
        Effect.zipRight(Effect.suspend(() => {
          if (open === batch) open = undefined
          return self.embed(batch.texts)
        })),
        Effect.interruptible,
        Effect.intoDeferred(batch.vectors),
        Effect.forkIn(scope)
      )

    const embed = (texts: ReadonlyArray<string>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          // Until the caller is counted nothing is waited for, so that no other one begins a batch beside this one.
          const batch = open ?? begin()
          const from = batch.texts.length
          batch.texts.push(...texts)
          batch.callers += 1
          open = batch.texts.length >= maxTexts ? undefined : batch
          if (batch.callers === 1) batch.sent = yield* send(batch)
          if (open !== batch) yield* Deferred.succeed(batch.full, undefined)
          // Not the fiber is joined, which would hand on what holds for the caller that began the batch.
          return yield* restore(Deferred.await(batch.vectors)).pipe(
            Effect.onInterrupt(() => {
              batch.callers -= 1
              if (batch.callers > 0 || batch.sent === undefined) return Effect.void
              if (open === batch) open = undefined
              return Fiber.interrupt(batch.sent)
            }),
            Effect.map((vectors) => vectors.slice(from, from + texts.length))
          )
        })
      )
    return {
      id: self.id,
      dimensions: self.dimensions,
      embed: (texts) => texts.length === 0 ? Effect.succeed([]) : embed(texts)
    }
  })

/**
 * Embeds texts with the embedder of the program: one vector for each, in their
 * order.
 *
 * @since 0.1.0
 * @category accessors
 */
export const embed = (
  texts: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Float32Array>, LanguageModelError.LanguageModelError, Embedder> =>
  Effect.flatMap(Embedder, (embedder) => embedder.embed(texts))
