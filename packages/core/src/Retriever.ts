/**
 * The service that finds the passages that a query is about: what programs
 * with retrieval stand on, whatever index or database is behind it.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Embedder from "./Embedder.ts"
import * as topK from "./internal/topK.ts"
import * as vectors from "./internal/vectors.ts"
import * as Json from "./Json.ts"
import type { LanguageModelError } from "./LanguageModelError.ts"

// =============================================================================
// Errors
// =============================================================================

/**
 * Why nothing can be found, or nothing be searched.
 *
 * - `InvalidQuery`: the query asks for what cannot be, such as 0 passages.
 * - `InvalidDocuments`: the documents cannot be told apart.
 * - `WrongVectors`: vectors that cannot be compared: of another embedder, of
 *   different lengths, or with components that are no finite numbers.
 * - `Unavailable`: the index or database cannot be used.
 *
 * @since 0.1.0
 * @category errors
 */
export class RetrieverError extends Schema.TaggedError<RetrieverError>("@effect-dspy/core/Retriever/RetrieverError")(
  "RetrieverError",
  {
    reason: Schema.Literal("InvalidQuery", "InvalidDocuments", "WrongVectors", "Unavailable"),
    description: Schema.String
  }
) {
  override get message(): string {
    return `Retriever: ${this.description}`
  }
}

// =============================================================================
// Documents and passages
// =============================================================================

/**
 * What can be found: a text under an `id` of its own, and what else is to be
 * known of it.
 *
 * @since 0.1.0
 * @category models
 */
export const Document = Schema.Struct({
  id: Schema.String,
  text: Schema.String,
  metadata: Schema.optional(Json.JsonRecord)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Document extends Schema.Schema.Type<typeof Document> {}

/**
 * A document that was found. Of two passages the one with the higher `score`
 * fits better; what else the number means is up to the retriever.
 *
 * @since 0.1.0
 * @category models
 */
export const Passage = Schema.Struct({ ...Document.fields, score: Schema.Number })

/**
 * @since 0.1.0
 * @category models
 */
export interface Passage extends Schema.Schema.Type<typeof Passage> {}

// =============================================================================
// The service
// =============================================================================

/**
 * `search` finds at most `k` passages, the best first. `k` is a whole number of
 * at least 1; another one fails with `InvalidQuery`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly search: (
    query: string,
    options: { readonly k: number }
  ) => Effect.Effect<ReadonlyArray<Passage>, RetrieverError | LanguageModelError>
}

/**
 * The retriever of the program. Indexes and databases are Layers of it.
 *
 * @since 0.1.0
 * @category services
 */
export class Retriever extends Context.Tag("@effect-dspy/core/Retriever")<Retriever, Service>() {}

/**
 * A retriever from a function that returns the passages for a query, the best
 * first: over a search service of your own, for instance. Of what it returns
 * the first `k` are taken. Every search is a span, which tells `k` but not the
 * query.
 *
 * @example
 * ```ts
 * import * as Retriever from "@effect-dspy/core/Retriever"
 * import { Effect } from "effect"
 *
 * const towns = ["Paris", "London", "Rome"].map((text) => ({ id: text, text }))
 *
 * const alphabetical = Retriever.make((query) =>
 *   Effect.succeed(towns.filter(({ text }) => text >= query).map((town) => ({ ...town, score: 1 })))
 * )
 *
 * const program = Retriever.search("P", { k: 1 }).pipe(Effect.provideService(Retriever.Retriever, alphabetical))
 *
 * Effect.runPromise(program).then((passages) => assert.deepStrictEqual(passages.map(({ text }) => text), ["Paris"]))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  search: (query: string, k: number) => Effect.Effect<ReadonlyArray<Passage>, RetrieverError | LanguageModelError>
): Service => ({
  search: (query, { k }) =>
    Effect.withSpan(
      Number.isInteger(k) && k >= 1
        ? Effect.map(search(query, k), (passages) => passages.slice(0, k))
        : Effect.fail(
          new RetrieverError({
            reason: "InvalidQuery",
            description: `${k} passages cannot be searched for; ask for a whole number of at least 1`
          })
        ),
      "Retriever.search",
      { attributes: { k }, captureStackTrace: false }
    )
})

/**
 * The passages that the retriever of the program finds, at most `k`, the best
 * first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const search = (
  query: string,
  options: { readonly k: number }
): Effect.Effect<ReadonlyArray<Passage>, RetrieverError | LanguageModelError, Retriever> =>
  Effect.flatMap(Retriever, (retriever) => retriever.search(query, options))

const distinct = (documents: ReadonlyArray<Document>): Effect.Effect<void, RetrieverError> =>
  Effect.suspend(() => {
    const ids = new Set<string>()
    for (const { id } of documents) {
      if (ids.has(id)) {
        return new RetrieverError({
          reason: "InvalidDocuments",
          description: `two documents have the id ${JSON.stringify(id)}; give each one of its own`
        })
      }
      ids.add(id)
    }
    return Effect.void
  })

const passages = (documents: ReadonlyArray<Document>, top: topK.TopK): ReadonlyArray<Passage> =>
  top.ranked().map(({ index, score }) => ({ ...documents[index]!, score })) // only places of documents were offered

// =============================================================================
// By vectors
// =============================================================================

// How many documents are embedded before their vectors are put where they stay.
const window = 1024

// How many multiplications are done before other fibers have their turn: a millisecond or less.
const block = 2 ** 20

const wrong = (description: string) => new RetrieverError({ reason: "WrongVectors", description })

const unitOf = (
  vector: Float32Array,
  dimensions: number,
  what: string,
  embedder: Embedder.Service
): Effect.Effect<Float32Array, RetrieverError> =>
  vector.length !== dimensions
    ? wrong(
      `${embedder.id} gave ${vector.length} dimensions to ${what} and ${dimensions} to others; use one embedding model for all`
    )
    : Number.isFinite(vectors.lengthOf(vector))
    ? Effect.succeed(vectors.unit(vector))
    : wrong(`${embedder.id} gave ${what} a vector with components that are no finite numbers`)

/**
 * A retriever over documents in memory by what they mean: those whose vectors
 * point most nearly the same way as that of the query. The score is the
 * cosine, from -1 to 1; of equal ones the document that comes first is found
 * first.
 *
 * The documents are embedded at once, 1024 at a time, a query when it is
 * searched for. The search is exact, as far as 32-bit floats are: it compares
 * the query with every document, 4 bytes a dimension, by WebAssembly where there
 * is, and lets other fibers run meanwhile.
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import * as Retriever from "@effect-dspy/core/Retriever"
 * import { Effect } from "effect"
 *
 * // Stands for an embedding model: texts about animals point one way, all others another.
 * const embedder = Embedder.make({
 *   id: "test/animals",
 *   embed: (texts) =>
 *     Effect.succeed(texts.map((text) => /cat|dog/.test(text) ? Float32Array.of(1, 0) : Float32Array.of(0, 1)))
 * })
 *
 * const program = Effect.gen(function*() {
 *   const retriever = yield* Retriever.cosine([
 *     { id: "1", text: "The cat sleeps." },
 *     { id: "2", text: "The train is late.", metadata: { source: "news" } }
 *   ])
 *   return yield* retriever.search("Do dogs dream?", { k: 1 })
 * })
 *
 * Effect.runPromise(program.pipe(Effect.provideService(Embedder.Embedder, embedder))).then((passages) =>
 *   assert.deepStrictEqual(passages, [{ id: "1", text: "The cat sleeps.", score: 1 }])
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const cosine = (
  documents: ReadonlyArray<Document>
): Effect.Effect<Service, RetrieverError | LanguageModelError, Embedder.Embedder> =>
  Effect.gen(function*() {
    yield* distinct(documents)
    const embedder = yield* Embedder.Embedder
    let rows: vectors.Rows | undefined
    let dimensions = 0
    let row = 0
    for (const some of Arr.chunksOf(documents, window)) {
      for (const [index, vector] of (yield* embedder.embed(some.map(({ text }) => text))).entries()) {
        if (rows === undefined) {
          dimensions = vector.length
          rows = vectors.make(documents.length, dimensions)
        }
        const { id } = some[index]! // one vector for each text
        rows.set(row++, yield* unitOf(vector, dimensions, `document ${JSON.stringify(id)}`, embedder))
      }
    }
    const step = Math.max(1, Math.floor(block / dimensions))
    return make((query, k) =>
      Effect.gen(function*() {
        if (rows === undefined) return []
        const [vector] = yield* embedder.embed([query])
        const asked = yield* unitOf(vector!, dimensions, "the query", embedder) // one vector for each text
        const top = topK.make(k)
        for (let from = 0; from < documents.length; from += step) {
          rows.scan(asked, from, Math.min(from + step, documents.length), top)
          yield* Effect.yieldNow()
        }
        return passages(documents, top)
      })
    )
  })

/**
 * The documents as the retriever of a program, by what they mean; see
 * {@link cosine}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCosine = (
  documents: ReadonlyArray<Document>
): Layer.Layer<Retriever, RetrieverError | LanguageModelError, Embedder.Embedder> =>
  Layer.effect(Retriever, cosine(documents))

// =============================================================================
// By words
// =============================================================================

/**
 * The words of a text, in their order: runs of letters, digits and the marks on
 * them, in lower case and compatibility composition (NFKC). An apostrophe or a
 * hyphen parts words. Scripts that are written without spaces come out in
 * runs; give {@link bm25} a function of your own for these.
 *
 * @example
 * ```ts
 * import * as Retriever from "@effect-dspy/core/Retriever"
 *
 * assert.deepStrictEqual(Retriever.words("Größe: 42 km/h, e-mail"), ["größe", "42", "km", "h", "e", "mail"])
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const words = (text: string): ReadonlyArray<string> =>
  text.normalize("NFKC").toLowerCase().match(/[\p{L}\p{N}\p{M}]+/gu) ?? []

/**
 * `words` is how a text falls into words, for documents and queries alike: the
 * place to leave out stop words or to take words back to their stems. By
 * default it is {@link words}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bm25Options {
  readonly words?: ((text: string) => ReadonlyArray<string>) | undefined
}

// How soon more of the same word counts for no more, and how much long documents are held back.
const saturation = 1.2
const normalization = 0.75

/**
 * A retriever over documents in memory by their words: it finds those that
 * have words of the query, the more and the rarer the better, by Okapi BM25
 * with `k1` 1.2 and `b` 0.75. It needs no embedder.
 *
 * Of `N` documents, `n` of which have a word, one of `l` words (`L` on average)
 * that has it `f` times scores `ln(1 + (N - n + 0.5) / (n + 0.5)) * f * (k1 + 1)
 * / (f + k1 * (1 - b + b * l / L))` for each time that the query has it.
 * Documents without a word of the query are not found; of equal scores the
 * document that comes first is found first.
 *
 * @see Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009); the logarithm never
 * gets negative, as in Lucene
 *
 * @example
 * ```ts
 * import * as Retriever from "@effect-dspy/core/Retriever"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const retriever = yield* Retriever.bm25([
 *     { id: "1", text: "The cat sleeps." },
 *     { id: "2", text: "The train to the coast is late." },
 *     { id: "3", text: "Trains run on rails." }
 *   ])
 *   return yield* retriever.search("the late train", { k: 3 })
 * })
 *
 * Effect.runPromise(program).then((passages) => assert.deepStrictEqual(passages.map(({ id }) => id), ["2", "1"]))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const bm25 = (
  documents: ReadonlyArray<Document>,
  options: Bm25Options = {}
): Effect.Effect<Service, RetrieverError> =>
  Effect.gen(function*() {
    yield* distinct(documents)
    const wordsOf = options.words ?? words
    // For each word where it is and how often: index, count, index, count.
    const postings = new Map<string, Array<number>>()
    const lengths = new Float64Array(documents.length)
    let total = 0
    // One effect a document, so that many of them leave room for other fibers.
    yield* Effect.forEach(documents, ({ text }, index) =>
      Effect.sync(() => {
        const found = wordsOf(text)
        lengths[index] = found.length
        total += found.length
        for (const word of found) {
          const posting = postings.get(word)
          if (posting === undefined) postings.set(word, [index, 1])
          else if (posting.at(-2) === index) posting[posting.length - 1]!++ // the count of that document
          else posting.push(index, 1)
        }
      }), { discard: true })
    const average = total / documents.length
    const damped = lengths.map((length) => saturation * (1 - normalization + normalization * length / average))

    return make((query, k) =>
      Effect.sync(() => {
        const scores = new Float64Array(documents.length)
        for (const word of wordsOf(query)) {
          const posting = postings.get(word) ?? []
          const having = posting.length / 2
          const rarity = Math.log(1 + (documents.length - having + 0.5) / (having + 0.5)) * (saturation + 1)
          for (let place = 0; place < posting.length; place += 2) {
            const [index, count] = [posting[place]!, posting[place + 1]!] // they come in pairs
            scores[index]! += rarity * count / (count + damped[index]!) // of a document
          }
        }
        const top = topK.make(k)
        for (const [index, score] of scores.entries()) {
          if (score > 0) top.offer(index, score)
        }
        return passages(documents, top)
      })
    )
  })

/**
 * The documents as the retriever of a program, by their words; see
 * {@link bm25}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerBm25 = (
  documents: ReadonlyArray<Document>,
  options: Bm25Options = {}
): Layer.Layer<Retriever, RetrieverError> => Layer.effect(Retriever, bm25(documents, options))

// =============================================================================
// By several
// =============================================================================

// What keeps the first few ranks from deciding alone.
const damping = 60

// How far down each ranking is read at least.
const depth = 100

/**
 * A retriever that asks several at once and finds what ranks high with them,
 * by reciprocal rank fusion: a passage scores `1 / (60 + rank)` with each
 * retriever that has it among its first 100 (or `k`, if that is more). Scores
 * of different kinds need not be comparable, ids must be the same. A passage
 * is as the first of the retrievers has it; of equal scores the one that an
 * earlier retriever has, or has further up, comes first.
 *
 * Fails when one of them fails.
 *
 * @see Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
 * Methods" (SIGIR 2009)
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import * as Retriever from "@effect-dspy/core/Retriever"
 * import { Effect, Layer } from "effect"
 *
 * const documents = [
 *   { id: "1", text: "The cat sleeps." },
 *   { id: "2", text: "A dog barks at the train." },
 *   { id: "3", text: "The train is late." }
 * ]
 *
 * const embedder = Embedder.make({
 *   id: "test/animals",
 *   embed: (texts) =>
 *     Effect.succeed(texts.map((text) => /cat|dog/.test(text) ? Float32Array.of(1, 0) : Float32Array.of(0, 1)))
 * })
 *
 * const both = Effect.all([Retriever.cosine(documents), Retriever.bm25(documents)])
 * const Both = Layer.effect(Retriever.Retriever, Effect.map(both, Retriever.fuse))
 *
 * const program = Retriever.search("dogs and a train", { k: 1 }).pipe(
 *   Effect.provide(Both),
 *   Effect.provideService(Embedder.Embedder, embedder)
 * )
 *
 * Effect.runPromise(program).then(([passage]) => assert.strictEqual(passage?.id, "2"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fuse = (retrievers: ReadonlyArray<Service>): Service =>
  make((query, k) =>
    Effect.map(
      Effect.forEach(retrievers, (retriever) => retriever.search(query, { k: Math.max(k, depth) }), {
        concurrency: "unbounded"
      }),
      (rankings) => {
        const fused = new Map<string, Passage>()
        for (const ranking of rankings) {
          for (const [index, passage] of ranking.entries()) {
            const known = fused.get(passage.id)
            fused.set(passage.id, { ...known ?? passage, score: (known?.score ?? 0) + 1 / (damping + index + 1) })
          }
        }
        return Array.from(fused.values()).sort((a, b) => b.score - a.score) // stable
      }
    )
  )
