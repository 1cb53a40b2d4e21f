import * as Embedder from "@effect-dspy/core/Embedder"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Retriever from "@effect-dspy/core/Retriever"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FastCheck, Fiber, Layer, Tracer } from "effect"
import { vi } from "vitest"

// Texts that are vectors: "1 0 -2.5".
const numbers = (log: Array<ReadonlyArray<string>> = []): Embedder.Service =>
  Embedder.make({
    id: "test/numbers",
    embed: (texts) =>
      Effect.sync(() => {
        log.push(texts)
        return texts.map((text) => Float32Array.from(text.split(" "), Number))
      })
  })

const documentsOf = (texts: ReadonlyArray<string>): ReadonlyArray<Retriever.Document> =>
  texts.map((text, index) => ({ id: `d${index}`, text }))

const ids = (passages: ReadonlyArray<Retriever.Passage>) => passages.map(({ id }) => id)

const cosine = (texts: ReadonlyArray<string>, embedder = numbers()) =>
  Effect.provideService(Retriever.cosine(documentsOf(texts)), Embedder.Embedder, embedder)

const norm = (vector: ReadonlyArray<number>) => Math.hypot(...vector)

const closeness = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) =>
  norm(a) === 0 || norm(b) === 0 ? 0 : a.reduce((sum, value, i) => sum + value * b[i]!, 0) / norm(a) / norm(b)

describe("Retriever.make", () => {
  it.effect("refuses to search for no passage, and for parts of one", () =>
    Effect.gen(function*() {
      const retriever = Retriever.make(() => Effect.dieMessage("asked"))
      for (const k of [0, -1, 1.5, Number.NaN, Infinity]) {
        const error = yield* Effect.flip(retriever.search("q", { k }))
        assert.propertyVal(error, "reason", "InvalidQuery")
        assert.match(error.message, /at least 1/)
      }
    }))

  it.effect("takes no more than was asked for, and tells a tracer how much that was, but not what", () =>
    Effect.gen(function*() {
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        context: (f) => f(),
        span: (name, parent, context, links, startTime, kind) => {
          const attributes = new Map<string, unknown>()
          const span: Tracer.Span = {
            _tag: "Span",
            name,
            spanId: "1",
            traceId: "1",
            parent,
            context,
            status: { _tag: "Started", startTime },
            attributes,
            links,
            sampled: true,
            kind,
            end: () => {},
            attribute: (key, value) => {
              attributes.set(key, value)
            },
            event: () => {},
            addLinks: () => {}
          }
          spans.push(span)
          return span
        }
      })
      const retriever = Retriever.make(() => Effect.succeed([1, 2, 3].map((n) => ({ id: `${n}`, text: "", score: n }))))
      const found = yield* Effect.withTracer(retriever.search("secret", { k: 2 }), tracer)
      assert.deepStrictEqual(ids(found), ["1", "2"])
      assert.deepStrictEqual(spans.map(({ attributes, name }) => [name, Object.fromEntries(attributes)]), [
        ["Retriever.search", { k: 2 }]
      ])
    }))
})

describe("Retriever.cosine", () => {
  const findsTheNearest = () =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(
          FastCheck.integer({ min: 1, max: 18 }).chain((dimensions) => {
            const vector = FastCheck.array(FastCheck.integer({ min: -4, max: 4 }), {
              minLength: dimensions,
              maxLength: dimensions
            })
            return FastCheck.record({
              query: vector,
              rows: FastCheck.array(vector, { maxLength: 40 }),
              k: FastCheck.integer({ min: 1, max: 45 })
            })
          }),
          ({ k, query, rows }) =>
            Effect.runPromise(Effect.gen(function*() {
              const retriever = yield* cosine(rows.map((row) => row.join(" ")))
              const found = yield* retriever.search(query.join(" "), { k })
              const expected = rows.map((row) => closeness(row, query)).sort((a, b) => b - a).slice(0, k)
              assert.strictEqual(found.length, expected.length)
              assert.strictEqual(new Set(ids(found)).size, found.length)
              for (const [rank, { id, score, text }] of found.entries()) {
                assert.closeTo(score, expected[rank]!, 1e-6)
                assert.closeTo(score, closeness(text.split(" ").map(Number), query), 1e-6)
                const next = found[rank + 1]
                if (next?.score === score) assert.isBelow(Number(id.slice(1)), Number(next.id.slice(1)))
              }
            }))
        ),
        { seed: 4, numRuns: 200 }
      )
    )

  it.effect("finds what comparing with every document and sorting finds", findsTheNearest)

  it.effect("finds the same where there is no WebAssembly, or where it may not be used", () =>
    Effect.gen(function*() {
      const restore = Effect.sync(() => vi.unstubAllGlobals())
      vi.stubGlobal("WebAssembly", undefined)
      yield* Effect.ensuring(findsTheNearest(), restore)
      const refused = function() {
        throw new Error("refused by a content security policy")
      }
      vi.stubGlobal("WebAssembly", { Module: refused })
      yield* Effect.ensuring(findsTheNearest(), restore)
    }))

  it.effect("of equal ones finds the first ones, in their order, wherever they are", () =>
    Effect.gen(function*() {
      const texts = Array.from({ length: 3000 }, (_, index) => index % 3 === 0 ? `${index + 1} 0 0 0 0` : "0 1 1 1 1")
      const retriever = yield* cosine(texts)
      assert.deepStrictEqual(ids(yield* retriever.search("2 0 0 0 0", { k: 4 })), ["d0", "d3", "d6", "d9"])
      const all = yield* retriever.search("2 0 0 0 0", { k: 3000 })
      assert.deepStrictEqual(ids(all).slice(998, 1003), ["d2994", "d2997", "d1", "d2", "d4"])
    }))

  it.effect("keeps what belongs to a document, and embeds documents in windows and only queries later", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const documents = Array.from({ length: 1025 }, (_, index) => ({
        id: `d${index}`,
        text: index === 1024 ? "0 1" : "1 0",
        metadata: { page: index }
      }))
      const Documents = Retriever.layerCosine(documents).pipe(
        Layer.provide(Layer.succeed(Embedder.Embedder, numbers(log)))
      )
      const found = yield* Effect.provide(Retriever.search("0 2", { k: 1 }), Documents)
      assert.deepStrictEqual(found, [{ id: "d1024", text: "0 1", metadata: { page: 1024 }, score: 1 }])
      assert.deepStrictEqual(log.map(({ length }) => length), [1024, 1, 1])
    }))

  it.effect("finds nothing in nothing, and asks nobody", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const retriever = yield* cosine([], numbers(log))
      assert.deepStrictEqual(yield* retriever.search("1", { k: 3 }), [])
      assert.deepStrictEqual(log, [])
    }))

  it.effect("refuses what cannot be compared", () =>
    Effect.gen(function*() {
      const log: Array<ReadonlyArray<string>> = []
      const twice = yield* Effect.flip(Effect.provideService(
        Retriever.cosine([{ id: "a", text: "1" }, { id: "a", text: "2" }]),
        Embedder.Embedder,
        numbers(log)
      ))
      assert.propertyVal(twice, "reason", "InvalidDocuments")
      assert.include(twice.message, `"a"`)
      assert.deepStrictEqual(log, [])

      const infinite = yield* Effect.flip(cosine(["1 2", "1 Infinity"]))
      assert.propertyVal(infinite, "reason", "WrongVectors")
      assert.include(infinite.message, `"d1"`)

      const longer = yield* Effect.flip(cosine([...Array.from({ length: 1024 }, () => "1 2"), "1 2 3"]))
      assert.propertyVal(longer, "reason", "WrongVectors")

      const retriever = yield* cosine(["1 2"])
      for (const query of ["1", "1 2 3", "1 NaN"]) {
        assert.propertyVal(yield* Effect.flip(retriever.search(query, { k: 1 })), "reason", "WrongVectors")
      }
    }))

  it.effect("fails as the embedder does", () =>
    Effect.gen(function*() {
      const error = LanguageModelError.make({
        reason: new LanguageModelError.InvalidRequest({ description: "no" }),
        provider: "test",
        model: "m"
      })
      const failing = Embedder.make({ id: "test/failing", embed: () => Effect.fail(error) })
      assert.strictEqual(yield* Effect.flip(cosine(["1"], failing)), error)
    }))

  it.effect("a search can be interrupted, and lets others run", () =>
    Effect.gen(function*() {
      const wide = Array.from({ length: 1024 }, () => 1).join(" ")
      // 3 blocks of 1024 rows.
      const retriever = yield* cosine(Array.from({ length: 3000 }, () => wide))
      const order: Array<string> = []
      const searching = yield* Effect.fork(
        Effect.tap(retriever.search(wide, { k: 1 }), () => Effect.sync(() => order.push("found")))
      )
      const other = yield* Effect.fork(
        Effect.zipRight(Effect.yieldNow(), Effect.sync(() => order.push("other")))
      )
      yield* Fiber.join(other)
      assert.deepStrictEqual(order, ["other"])
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(searching)))
    }))
})

describe("Retriever.bm25", () => {
  // 3 documents of 2, 4 and 3 words, 3 on average.
  const documents = documentsOf(["red fox", "red red dog barks", "blue sky today"])

  it.effect("scores as calculated by hand", () =>
    Effect.gen(function*() {
      const retriever = yield* Retriever.bm25(documents)
      // "red" is in 2 of 3, "fox" in 1 of 3.
      const red = Math.log(1 + 1.5 / 2.5)
      const fox = Math.log(1 + 2.5 / 1.5)
      // 1.2 * (1 - 0.75 + 0.75 * 2 / 3) = 0.9; 1.2 * (1 - 0.75 + 0.75 * 4 / 3) = 1.5
      const first = red * (1 * 2.2) / (1 + 0.9)
      const second = red * (2 * 2.2) / (2 + 1.5)
      const found = yield* retriever.search("Red!", { k: 3 })
      assert.deepStrictEqual(ids(found), ["d1", "d0"])
      assert.closeTo(found[0]!.score, second, 1e-12)
      assert.closeTo(found[0]!.score, 0.590862, 1e-6)
      assert.closeTo(found[1]!.score, first, 1e-12)
      assert.closeTo(found[1]!.score, 0.544215, 1e-6)

      const both = yield* retriever.search("red fox fox", { k: 1 })
      assert.closeTo(both[0]!.score, first + 2 * fox * 2.2 / 1.9, 1e-12)
    }))

  it.effect("finds nothing where no word is shared, and of equal ones the first ones", () =>
    Effect.gen(function*() {
      const retriever = yield* Retriever.bm25(documents)
      assert.deepStrictEqual(yield* retriever.search("green … !", { k: 3 }), [])
      assert.deepStrictEqual(yield* retriever.search("", { k: 3 }), [])
      const same = yield* Retriever.bm25(documentsOf(["x", "a b", "a c", "a d"]))
      assert.deepStrictEqual(ids(yield* same.search("a", { k: 2 })), ["d1", "d2"])
      const none = yield* Retriever.bm25([])
      assert.deepStrictEqual(yield* none.search("a", { k: 2 }), [])
      const empty = yield* Retriever.bm25(documentsOf(["", "?"]))
      assert.deepStrictEqual(yield* empty.search("a", { k: 2 }), [])
    }))

  it.effect("takes texts apart as it is told", () =>
    Effect.gen(function*() {
      const chinese = documentsOf(["北京是首都", "上海很大"])
      const search = (retriever: Retriever.Service) => Effect.map(retriever.search("首都", { k: 2 }), ids)
      assert.deepStrictEqual(yield* Effect.flatMap(Retriever.bm25(chinese), search), [])
      assert.deepStrictEqual(
        yield* Effect.flatMap(Retriever.bm25(chinese, { words: (text) => Array.from(text) }), search),
        ["d0"]
      )
    }))

  it.effect("is a layer, and refuses two documents of one id", () =>
    Effect.gen(function*() {
      const found = yield* Effect.provide(Retriever.search("sky", { k: 2 }), Retriever.layerBm25(documents))
      assert.deepStrictEqual(ids(found), ["d2"])
      const error = yield* Effect.flip(Retriever.bm25([documents[0]!, documents[0]!]))
      assert.strictEqual(error.reason, "InvalidDocuments")
    }))

  it("words are Unicode's, in lower case and composed", () => {
    assert.deepStrictEqual(Retriever.words("Cafe\u0301 CAFÉ ﬁn हिन्दी x² _"), ["café", "café", "fin", "हिन्दी", "x2"])
    assert.deepStrictEqual(Retriever.words("--"), [])
  })
})

describe("Retriever.fuse", () => {
  const ranking = (...found: ReadonlyArray<string>) => (asked: Array<number>) =>
    Retriever.make((_, k) => {
      asked.push(k)
      return Effect.succeed(found.map((id, index) => ({ id, text: `${id}${found.length}`, score: 100 - index })))
    })

  it.effect("adds up what the ranks are worth", () =>
    Effect.gen(function*() {
      const asked: Array<number> = []
      const fused = Retriever.fuse([ranking("a", "b", "c")(asked), ranking("c", "a")(asked)])
      const found = yield* fused.search("q", { k: 3 })
      assert.deepStrictEqual(found, [
        { id: "a", text: "a3", score: 1 / 61 + 1 / 62 },
        { id: "c", text: "c3", score: 1 / 63 + 1 / 61 },
        { id: "b", text: "b3", score: 1 / 62 }
      ])
      assert.deepStrictEqual(ids(yield* fused.search("q", { k: 1 })), ["a"])
      yield* fused.search("q", { k: 101 })
      assert.deepStrictEqual(asked, [100, 100, 100, 100, 101, 101])
    }))

  it.effect("of equal ones prefers the earlier retriever, and fails with any", () =>
    Effect.gen(function*() {
      const fused = Retriever.fuse([ranking("x", "a")([]), ranking("b", "y")([])])
      assert.deepStrictEqual(ids(yield* fused.search("q", { k: 4 })), ["x", "b", "a", "y"])
      const error = new Retriever.RetrieverError({ reason: "Unavailable", description: "down" })
      const broken = Retriever.fuse([ranking("a")([]), Retriever.make(() => Effect.fail(error))])
      assert.strictEqual((yield* Effect.flip(broken.search("q", { k: 1 }))).message, "Retriever: down")
    }))
})

describe("a program that searches", () => {
  const rag = Module.make(
    { query: Predict.make("question -> query"), answer: Predict.make("context: string[], question -> answer") },
    function*(m, { question }: { readonly question: string }) {
      const { query } = yield* m.query({ question })
      const passages = yield* Retriever.search(query, { k: 2 })
      return yield* m.answer({ context: passages.map(({ text }) => text), question })
    }
  )
  const towns = ["Rome is in Italy", "Paris is in France", "Lyon is in France", "Nice is in France"]
  const model = TestLanguageModel.layer({
    query: [TestLanguageModel.fields({ query: "france paris" })],
    answer: [TestLanguageModel.fields({ answer: "Paris" })]
  })

  it.effect("shows its predictor what is found, the best first, and no more", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* rag({ question: "What is the capital of France?" }), { answer: "Paris" })
      const [, request] = yield* TestLanguageModel.requests
      const asked = String(request?.messages.at(-1)?.content)
      assert.isBelow(asked.indexOf("Paris is in France"), asked.indexOf("Lyon is in France"))
      for (const absent of ["Rome", "Nice"]) assert.notInclude(asked, absent)
    }).pipe(Effect.provide([model, Retriever.layerBm25(documentsOf(towns))])))

  it.effect("fails as its retriever does, and asks no further", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(rag({ question: "?" }))
      assert.strictEqual(error._tag, "RetrieverError")
      assert.lengthOf(yield* TestLanguageModel.requests, 1)
    }).pipe(Effect.provide([
      model,
      Layer.succeed(
        Retriever.Retriever,
        Retriever.make(() =>
          Effect.fail(new Retriever.RetrieverError({ reason: "InvalidQuery", description: "no index" }))
        )
      )
    ])))
})
