/**
 * A `Retriever` over documents in one SQLite file, which lasts, grows and may
 * be shared by processes. It needs the package `libsql`, whose vector functions
 * do the comparing.
 *
 * The search is exact: it reads every vector, in the order of 3 milliseconds
 * for a thousand of 384 dimensions, and lets other fibers run meanwhile. For
 * some hundred thousand documents that is fine; for millions take a database
 * with an approximate index, and `Retriever.make`.
 *
 * @since 0.1.0
 */
import * as Embedder from "@effect-dspy/core/Embedder"
import * as Json from "@effect-dspy/core/Json"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import * as Retriever from "@effect-dspy/core/Retriever"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type Libsql from "libsql"
import * as sqlite from "./internal/sqlite.ts"

/**
 * A retriever whose documents can be changed. What it is told is in the file
 * when the effect succeeds.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqliteRetriever extends Retriever.Service {
  /**
   * Adds documents, each in place of the one with its id, if there is one.
   * Documents whose text is known already are not embedded again. Of two with
   * one id the later one holds. Documents are written 256 at a time: what was
   * written before a failure or an interruption stays, and costs nothing when it
   * is tried again.
   */
  readonly upsert: (
    documents: ReadonlyArray<Retriever.Document>
  ) => Effect.Effect<void, Retriever.RetrieverError | LanguageModelError>
  /** Forgets documents; ids that are not there do not matter. */
  readonly remove: (ids: ReadonlyArray<string>) => Effect.Effect<void, Retriever.RetrieverError>
  /** How many documents there are. */
  readonly size: Effect.Effect<number, Retriever.RetrieverError>
}

/**
 * `path` is where the file is, or will be; missing folders are made.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly path: string
}

const kind: sqlite.Kind = {
  name: "index of documents",
  applicationId: 0x65647278,
  // Vectors stand before texts, so that no text has to be read past when they are compared.
  tables: `
    CREATE TABLE embedder (id TEXT NOT NULL, dimensions INTEGER NOT NULL);
    CREATE TABLE documents (
      n INTEGER PRIMARY KEY, vector BLOB NOT NULL, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, metadata TEXT
    );
  `
}

// How many documents are embedded and written at a time.
const window = 256

// How many multiplications are done before other fibers have their turn: some milliseconds.
const block = 2 ** 20

/**
 * Opens a file of documents, or makes one; it is closed with the scope.
 *
 * The vectors in a file are of one embedder: the one it was first written with.
 * With another one everything fails with `WrongVectors`. What is wrong with the
 * file itself is `Unavailable`.
 *
 * The file is readable by its owner only. Links, files of other users and
 * folders that anyone can write to are refused; so is a file that is no index
 * of documents. A file on a network share is not safe: SQLite's locks do not
 * hold there. A lock that another process holds is waited for without
 * blocking, for up to 2 seconds. A search that runs while documents are written
 * finds some as they were and some as they are.
 *
 * The score is the cosine, from -1 to 1; of equal ones the document that was
 * added first is found first.
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import * as Embedded from "@effect-dspy/providers/Embedded"
 * import * as SqliteRetriever from "@effect-dspy/providers/SqliteRetriever"
 * import { Effect } from "effect"
 * import { mkdtempSync } from "node:fs"
 * import { tmpdir } from "node:os"
 * import { join } from "node:path"
 *
 * const path = join(mkdtempSync(join(tmpdir(), "example-")), "documents.db")
 *
 * const fill = Effect.gen(function*() {
 *   const documents = yield* SqliteRetriever.make({ path })
 *   yield* documents.upsert([
 *     { id: "card", text: "A new card takes five days to arrive." },
 *     { id: "pin", text: "The PIN can be changed in the app.", metadata: { page: 2 } }
 *   ])
 * })
 *
 * // As another run of a program would: it opens the file anew.
 * const ask = Effect.flatMap(SqliteRetriever.make({ path }), (documents) => documents.search("change my PIN", { k: 1 }))
 *
 * const program = Effect.zipRight(Effect.scoped(fill), Effect.scoped(ask)).pipe(
 *   Effect.provideService(Embedder.Embedder, Embedded.embedder)
 * )
 *
 * Effect.runPromise(program).then(([passage]) => {
 *   assert.strictEqual(passage?.id, "pin")
 *   assert.deepStrictEqual(passage.metadata, { page: 2 })
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<SqliteRetriever, Retriever.RetrieverError, Embedder.Embedder | Scope.Scope> =>
  Effect.gen(function*() {
    const embedder = yield* Embedder.Embedder
    const { connection, file } = yield* Effect.mapError(open(options.path), unavailable)
    const use = <A>(f: () => A): Effect.Effect<A, Retriever.RetrieverError> =>
      Effect.mapError(
        sqlite.patiently(Effect.try({ try: f, catch: (cause) => sqlite.toFault(file, cause) })),
        unavailable
      )

    // How long the vectors are, if there are any yet.
    const known = Effect.flatMap(
      use(connection.embedder),
      (found): Effect.Effect<number | undefined, Retriever.RetrieverError> =>
        found === undefined || found.id === embedder.id
          ? Effect.succeed(found?.dimensions)
          : otherEmbedder(file, found.id, embedder.id)
    )
    yield* known

    const write = (documents: ReadonlyArray<Retriever.Document>) =>
      Effect.gen(function*() {
        yield* known
        const before = yield* use(() => documents.map(({ id, text }) => connection.vector(id, text)))
        const fresh = documents.filter((_, index) => before[index] === undefined)
        const vectors = yield* embedder.embed(fresh.map(({ text }) => text))
        const embedded = new Map(fresh.map((document, index) => [document, vectors[index]!])) // one vector for each text
        const rows = documents.map((document, index) => ({
          document,
          vector: before[index] ?? embedded.get(document)! // those that were not known have been embedded
        }))
        const dimensions = rows[0]!.vector.length // a window is never empty
        for (const { document, vector } of rows) {
          yield* checked(vector, dimensions, `document ${JSON.stringify(document.id)}`, embedder)
        }
        const found = yield* use(() => connection.write(embedder.id, dimensions, rows))
        // Another process may have been first.
        if (found.id !== embedder.id) return yield* otherEmbedder(file, found.id, embedder.id)
        yield* checked(rows[0]!.vector, found.dimensions, "these documents", embedder)
      })

    return {
      ...Retriever.make((query, k) =>
        Effect.gen(function*() {
          const dimensions = yield* known
          if (dimensions === undefined) return []
          const [vector] = yield* embedder.embed([query])
          yield* checked(vector!, dimensions, "the query", embedder) // one vector for each text
          const asked = bytesOf(vector!)
          const last = yield* use(connection.last)
          const step = Math.max(1, Math.floor(block / dimensions))
          let best: ReadonlyArray<Found> = []
          for (let from = 0; from < last; from += step) {
            const some = yield* use(() => connection.nearest(asked, from, from + step, k))
            // Rows of one score come in their order, and sorting keeps it.
            best = [...best, ...some].sort((a, b) => b.score - a.score).slice(0, k)
            yield* Effect.yieldNow()
          }
          return yield* Effect.mapError(decodePassages(best), () => damaged(file))
        })
      ),
      upsert: (documents) => Effect.forEach(Arr.chunksOf(documents, window), write, { discard: true }),
      remove: (ids) => use(() => connection.remove(ids)),
      size: use(connection.size)
    }
  })

/**
 * A file of documents as the retriever of a program; see {@link make}, which
 * also fills it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<Retriever.Retriever, Retriever.RetrieverError, Embedder.Embedder> =>
  Layer.scoped(Retriever.Retriever, make(options))

// =============================================================================
// What goes wrong
// =============================================================================

const unavailable = ({ description }: sqlite.Fault) =>
  new Retriever.RetrieverError({ reason: "Unavailable", description })

const damaged = (file: string) =>
  new Retriever.RetrieverError({
    reason: "Unavailable",
    description: `${file} is damaged; delete it, and upsert the documents again`
  })

const wrong = (description: string) => new Retriever.RetrieverError({ reason: "WrongVectors", description })

const otherEmbedder = (file: string, made: string, given: string) =>
  wrong(
    `${file} was made with ${made}, which ${given} cannot be compared with; provide that embedder, or use another path`
  )

const checked = (
  vector: Float32Array,
  dimensions: number,
  what: string,
  embedder: Embedder.Service
): Effect.Effect<void, Retriever.RetrieverError> =>
  vector.length !== dimensions
    ? wrong(`${embedder.id} gave ${vector.length} dimensions to ${what} and ${dimensions} to others`)
    : vector.every(Number.isFinite)
    ? Effect.void
    : wrong(`${embedder.id} gave ${what} a vector with components that are no finite numbers`)

// =============================================================================
// The database
// =============================================================================

interface Row {
  readonly document: Retriever.Document
  readonly vector: Float32Array
}

interface About {
  readonly id: string
  readonly dimensions: number
}

interface Found {
  readonly id: string
  readonly text: string
  readonly metadata?: string
  readonly score: number
}

const decodePassages = Schema.decodeUnknown(
  Schema.Array(Schema.Struct({
    ...Retriever.Passage.fields,
    metadata: Schema.optional(Schema.parseJson(Json.JsonRecord))
  }))
)

const bytesOf = ({ buffer, byteLength, byteOffset }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

const utf8 = new TextDecoder()

// One row has its blobs in buffers, of several they come without.
type Bytes = ArrayBuffer | Uint8Array

// The driver ends the process on a text that is not UTF-8, as in a damaged file; so it is never given one.
const asBytes = (column: string) => `CAST(${column} AS BLOB) AS ${column}`

const open = (path: string) =>
  Effect.gen(function*() {
    const node = yield* sqlite.loadNode
    const file = node.path.resolve(path)
    const catch_ = (cause: unknown) => sqlite.toFault(file, cause)
    yield* Effect.tryPromise({ try: () => sqlite.secure(node, file, kind), catch: catch_ })
    const connection = yield* Effect.acquireRelease(
      sqlite.patiently(
        Effect.try({ try: () => sqlite.prepared(new node.Database(file), file, kind, connect), catch: catch_ })
      ),
      (connection) => Effect.sync(() => connection.close())
    )
    yield* Effect.tryPromise({ try: () => sqlite.restrict(node, file), catch: catch_ })
    return { connection, file }
  })

const connect = (db: Libsql.Database) => {
  const selectEmbedder = db.prepare(`SELECT ${asBytes("id")}, CAST(dimensions AS INTEGER) AS dimensions FROM embedder`)
  const insertEmbedder = db.prepare("INSERT INTO embedder SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM embedder)")
  const selectVector = db.prepare("SELECT CAST(vector AS BLOB) AS vector FROM documents WHERE id = ? AND text = ?")
  const upsert = db.prepare(`
    INSERT INTO documents (vector, id, text, metadata) VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE
    SET vector = excluded.vector, text = excluded.text, metadata = excluded.metadata
  `)
  const remove = db.prepare("DELETE FROM documents WHERE id = ?")
  const selectSize = db.prepare("SELECT count(*) AS size, coalesce(max(n), 0) AS last FROM documents")
  // A vector of length zero has no cosine, and is near to nothing.
  const nearest = db.prepare(`
    SELECT ${asBytes("id")}, ${asBytes("text")}, ${asBytes("metadata")}, score FROM documents JOIN (
      SELECT n, 1 - coalesce(vector_distance_cos(vector, ?), 1) AS score FROM documents
      WHERE n > ? AND n <= ? ORDER BY score DESC, n LIMIT ?
    ) USING (n) ORDER BY score DESC, n
  `)

  // Rows have the columns that their statements name.
  const embedder = (): About | undefined => {
    const row = selectEmbedder.get() as { readonly id: Bytes; readonly dimensions: number } | undefined
    return row === undefined ? undefined : { id: utf8.decode(row.id), dimensions: row.dimensions }
  }
  const sizes = () => selectSize.get() as { readonly size: number; readonly last: number }

  return {
    embedder,
    vector: (id: string, text: string): Float32Array | undefined => {
      const row = selectVector.get(id, text) as { readonly vector: Bytes } | undefined
      return row === undefined ? undefined : new Float32Array(new Uint8Array(row.vector).buffer)
    },
    // Nothing is written if the embedder that it returns is another one.
    write: (id: string, dimensions: number, rows: ReadonlyArray<Row>): About => {
      let found: About = { id, dimensions }
      sqlite.transaction(db, () => {
        insertEmbedder.run(id, dimensions)
        found = embedder() ?? found
        if (found.id !== id || found.dimensions !== dimensions) return
        for (const { document, vector } of rows) {
          const metadata = document.metadata === undefined ? null : JSON.stringify(document.metadata)
          upsert.run(bytesOf(vector), document.id, document.text, metadata)
        }
      })
      return found
    },
    remove: (ids: ReadonlyArray<string>): void => {
      sqlite.transaction(db, () => {
        for (const id of ids) remove.run(id)
      })
    },
    size: () => sizes().size,
    last: () => sizes().last,
    nearest: (vector: Uint8Array, from: number, to: number, k: number): ReadonlyArray<Found> => {
      const rows = nearest.all(vector, from, to, k) as ReadonlyArray<
        {
          readonly id: Bytes
          readonly text: Bytes
          readonly metadata: Bytes | null
          readonly score: number
        }
      >
      return rows.map(({ id, metadata, score, text }) => ({
        id: utf8.decode(id),
        text: utf8.decode(text),
        ...(metadata === null ? undefined : { metadata: utf8.decode(metadata) }),
        score
      }))
    },
    close: () => {
      db.close()
    }
  }
}
