/**
 * A `Journal` keeps what an optimizer paid for and what it decided, so that a
 * run cannot be lost: run the same program over a journal that is not empty,
 * and it continues where it stopped. Recorded answers are not asked for again;
 * recorded decisions are made again and compared.
 *
 * Without a layer nothing is kept. On disk a journal is JSON lines, only ever
 * appended to:
 *
 * ```
 * {"run":{"optimizer":"RandomSearch",...}}
 * {"key":"score ...","value":{"_tag":"Scored",...}}
 * {"decision":"trial 0","value":{...}}
 * ```
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as lock from "./internal/lock.ts"

// =============================================================================
// Errors
// =============================================================================

/**
 * A journal that cannot be used.
 *
 * - `Storage`: it could not be read or written.
 * - `Locked`: another process is writing it, or has gone on with it while this
 *   one was suspended.
 * - `Corrupt`: a line, other than an unfinished last one, is not a record.
 * - `Unrecordable`: a value does not fit its schema, such as a cost that is no
 *   number, which a model told.
 * - `OtherRun`: it belongs to another program, other data or other options.
 * - `Diverged`: a decision came out differently than recorded, so metric, model
 *   or code have changed since.
 *
 * @since 0.1.0
 * @category errors
 */
export class JournalError extends Schema.TaggedError<JournalError>("@effect-dspy/optimizers/Journal/JournalError")(
  "JournalError",
  {
    reason: Schema.Literal("Storage", "Locked", "Corrupt", "Unrecordable", "OtherRun", "Diverged"),
    description: Schema.String
  }
) {
  override get message(): string {
    return `Journal: ${this.description}`
  }
}

// =============================================================================
// Records
// =============================================================================

/**
 * The first line: what the journal is the journal of.
 *
 * @since 0.1.0
 * @category records
 */
export const Run = Schema.Struct({ run: Json.JsonRecord })

/**
 * Something that was paid for. A `provisional` one, such as a failed call, is
 * forgotten on resuming unless a decision was made on it.
 *
 * @since 0.1.0
 * @category records
 */
export const Entry = Schema.Struct({
  key: Schema.String,
  value: Json.Json,
  provisional: Schema.optional(Schema.Literal(true))
})

/**
 * Something that was decided. `on` are the keys of the provisional entries that
 * it was decided on.
 *
 * @since 0.1.0
 * @category records
 */
export const Decision = Schema.Struct({
  decision: Schema.String,
  value: Json.Json,
  on: Schema.optional(Schema.Array(Schema.String))
})

/**
 * One line of a journal.
 *
 * @since 0.1.0
 * @category records
 */
export const Record = Schema.Union(Run, Entry, Decision)

/**
 * @since 0.1.0
 * @category records
 */
export type Record = typeof Record.Type

// =============================================================================
// Service
// =============================================================================

/**
 * Where the lines are kept. `lines` are the complete ones at the start, without
 * their line ends; `append` adds one and returns when it would survive the end
 * of the process, with `durable` that of the machine.
 *
 * @since 0.1.0
 * @category models
 */
export interface Store {
  readonly lines: ReadonlyArray<string>
  readonly append: (line: string, durable: boolean) => Effect.Effect<void, JournalError>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Compares with the recorded run, or records it as the first line. */
  readonly begin: (run: Json.JsonRecord) => Effect.Effect<void, JournalError>
  /** What is recorded under a key. */
  readonly recorded: (key: string) => Option.Option<Json.Json>
  readonly record: (key: string, value: Json.Json, provisional: boolean) => Effect.Effect<void, JournalError>
  /** Compares with the recorded decision, or records it; on disk when this returns. `on` as in `Decision`. */
  readonly decide: (
    decision: string,
    value: Json.Json,
    on?: ReadonlyArray<string>
  ) => Effect.Effect<void, JournalError>
}

const none: Service = {
  begin: () => Effect.void,
  recorded: () => Option.none(),
  record: () => Effect.void,
  decide: () => Effect.void
}

/**
 * The journal of the run; without a layer one that keeps nothing.
 *
 * @since 0.1.0
 * @category services
 */
export class Journal extends Context.Reference<Journal>()("@effect-dspy/optimizers/Journal", {
  defaultValue: (): Service => none
}) {}

// =============================================================================
// Constructors
// =============================================================================

const decodeRecord = Schema.decodeUnknownEither(Schema.parseJson(Record), { onExcessProperty: "ignore" })

interface State {
  readonly run: Json.JsonRecord | undefined
  readonly entries: Map<string, Json.Json>
  readonly decisions: Map<string, Json.Json>
}

const read = (lines: ReadonlyArray<string>): Either.Either<State, JournalError> => {
  let run: Json.JsonRecord | undefined
  const entries = new Map<string, Json.Json>()
  const decisions = new Map<string, Json.Json>()
  const provisional = new Set<string>()
  const kept = new Set<string>()
  for (const [index, line] of lines.entries()) {
    const decoded = decodeRecord(line)
    if (Either.isLeft(decoded)) {
      return Either.left(
        new JournalError({ reason: "Corrupt", description: `line ${index + 1} is not a record; repair or delete it` })
      )
    }
    const record = decoded.right
    if ("run" in record) run = record.run
    else if ("decision" in record) {
      decisions.set(record.decision, record.value)
      for (const key of record.on ?? []) kept.add(key)
    } else {
      entries.set(record.key, record.value)
      if (record.provisional === true) provisional.add(record.key)
      else provisional.delete(record.key)
    }
  }
  for (const key of provisional) if (!kept.has(key)) entries.delete(key)
  return Either.right({ run, entries, decisions })
}

/**
 * A journal over any store of lines, such as a table of a database.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (store: Store): Effect.Effect<Service, JournalError> =>
  // Read when the journal is made: two journals made by one effect have nothing in common.
  Effect.map(Effect.suspend(() => read(store.lines)), ({ decisions, entries, run }) => {
    let known = run
    const append = (record: Record, durable: boolean) =>
      Effect.uninterruptible(store.append(JSON.stringify(record), durable))
    return {
      begin: (run) =>
        Effect.suspend(() => {
          if (known !== undefined) {
            const found = differences("", known, run)
            return found.length === 0 ? Effect.void : Effect.fail(
              new JournalError({
                reason: "OtherRun",
                description: `it was written by another run: ${
                  found.join("; ")
                }. Use a new journal, or run the program it was written by`
              })
            )
          }
          known = run
          return append({ run }, true)
        }),
      // `null` is a value too.
      recorded: (key) => entries.has(key) ? Option.some(entries.get(key)!) : Option.none(),
      record: (key, value, provisional) =>
        Effect.suspend(() => {
          entries.set(key, value)
          return append({ key, value, ...(provisional ? { provisional } : undefined) }, false)
        }),
      decide: (decision, value, on = []) =>
        Effect.suspend(() => {
          const before = decisions.get(decision)
          if (before !== undefined) {
            const found = differences("", before, value)
            return found.length === 0 ? Effect.void : Effect.fail(
              new JournalError({
                reason: "Diverged",
                description: `"${decision}" comes out differently than recorded: ${
                  found.join("; ")
                }. The metric, the model or the code has changed; start with a new journal`
              })
            )
          }
          decisions.set(decision, value)
          return append({ decision, value, ...(on.length === 0 ? undefined : { on }) }, true)
        })
    }
  })

/**
 * A part of a journal, for a run within a run: what it records and decides is
 * kept under its name, and what it is the journal of is a decision of the whole.
 *
 * @since 0.1.0
 * @category combinators
 */
export const within = (self: Service, name: string): Service => ({
  begin: (run) => self.decide(`${name}: run`, run),
  recorded: (key) => self.recorded(`${name}: ${key}`),
  record: (key, value, provisional) => self.record(`${name}: ${key}`, value, provisional),
  decide: (decision, value, on) => self.decide(`${name}: ${decision}`, value, on?.map((key) => `${name}: ${key}`))
})

const differences = (
  path: string,
  before: Json.Json | undefined,
  now: Json.Json | undefined
): ReadonlyArray<string> => {
  if (Json.isJsonRecord(before) && Json.isJsonRecord(now)) {
    return Array.from(new Set([...Object.keys(before), ...Object.keys(now)])).sort().flatMap((key) =>
      differences(path === "" ? key : `${path}.${key}`, before[key], now[key])
    )
  }
  const [old, fresh] = [before, now].map((value) => value === undefined ? "absent" : Json.canonical(value))
  return old === fresh ? [] : [`${path} was ${old} and is now ${fresh}`]
}

// =============================================================================
// Layers
// =============================================================================

/**
 * A journal in memory: a second run in the same process resumes the first.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Journal> = Layer.effect(
  Journal,
  // Only what is read or written can fail, and here there is nothing to read and nowhere to write.
  Effect.orDie(make({ lines: [], append: () => Effect.void }))
)

/**
 * A journal in a file, made when it does not exist; its directory must. Lines
 * are written as results arrive, and flushed to the disk before a decision is
 * acted on. An unfinished last line, from a process that was killed, is cut
 * off.
 *
 * One process at a time writes it: whoever comes second fails with `Locked`. The
 * file `<path>.lock` says so, which its holder touches twice a second; that of a
 * process which was killed is taken over when it is five seconds old. One that
 * was only slow, or suspended, looks before it writes again, and fails with
 * `Locked` then; what it was writing at that very moment may still follow.
 *
 * @example
 * ```ts
 * import * as Journal from "@effect-dspy/optimizers/Journal"
 * import { FileSystem } from "@effect/platform"
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect, Schema } from "effect"
 *
 * let paid = 0
 * const answer = Journal.memo("answer", Schema.String, Effect.sync(() => `answer ${++paid}`))
 *
 * const program = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const path = `${yield* fs.makeTempDirectoryScoped()}/run.jsonl`
 *   const first = yield* Effect.provide(answer, Journal.layerFile(path))
 *   const again = yield* Effect.provide(answer, Journal.layerFile(path))
 *   assert.deepStrictEqual([first, again, paid], ["answer 1", "answer 1", 1])
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFile = (path: string): Layer.Layer<Journal, JournalError, FileSystem.FileSystem> =>
  Layer.scoped(Journal, Effect.flatMap(openFile(path), make))

const openFile = (path: string): Effect.Effect<Store, JournalError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const locked = new JournalError({
      reason: "Locked",
      description:
        `another process is writing ${path}, and keeps ${path}.lock fresh. Let it end, or use a journal of its own for each run`
    })
    const held = Effect.mapError(
      yield* Effect.catchTag(lock.acquire(`${path}.lock`), "Held", () => locked),
      () => locked
    )
    const file = yield* fs.open(path, { flag: "a+" })
    const bytes = yield* fs.readFile(path)
    const complete = bytes.lastIndexOf(lineEnd) + 1
    if (complete < bytes.length) yield* file.truncate(complete)
    const text = new TextDecoder().decode(bytes.subarray(0, complete))
    const turns = yield* Effect.makeSemaphore(1)
    let batch = emptyBatch()
    // What is written after half a line is no record, so that nothing is.
    let broken: Exit.Exit<void, JournalError> | undefined
    const write = (full: Batch): Effect.Effect<void, JournalError> =>
      broken ?? Effect.zipRight(
        held,
        file.writeAll(new TextEncoder().encode(full.text)).pipe(
          Effect.zipRight(full.durable ? file.sync : Effect.void),
          Effect.mapError(storage)
        )
      )
    return {
      lines: text.split("\n").slice(0, -1),
      append: (line, durable) =>
        Effect.suspend(() => {
          const mine = batch
          mine.text += `${line}\n`
          mine.durable ||= durable
          return turns.withPermits(1)(Effect.suspend(() => {
            if (mine.written !== undefined) return mine.written
            batch = emptyBatch()
            return Effect.flatMap(Effect.exit(write(mine)), (exit) => {
              if (Exit.isFailure(exit)) broken = exit
              return mine.written = exit
            })
          }))
        })
    } satisfies Store
  }).pipe(Effect.catchTags({
    BadArgument: (error) => Effect.fail(storage(error)),
    SystemError: (error) => Effect.fail(storage(error))
  }))

// Lines that arrive while others are written are written together.
interface Batch {
  text: string
  durable: boolean
  written: Exit.Exit<void, JournalError> | undefined
}

const emptyBatch = (): Batch => ({ text: "", durable: false, written: undefined })

const lineEnd = 10

const storage = (error: { readonly message: string }): JournalError =>
  new JournalError({ reason: "Storage", description: error.message })

// =============================================================================
// Accessors
// =============================================================================

/**
 * Runs an effect once per journal: what is recorded under the key is returned
 * as it was, and a new value is written before it is. An interruption cannot
 * come between.
 *
 * @since 0.1.0
 * @category accessors
 */
export const memo: {
  <A, I>(
    key: string,
    schema: Schema.Schema<A, I>
  ): <E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | JournalError, R>
  <A, I, E, R>(
    key: string,
    schema: Schema.Schema<A, I>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | JournalError, R>
} = dual(
  3,
  <A, I, E, R>(
    key: string,
    schema: Schema.Schema<A, I>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | JournalError, R> =>
    Effect.map(
      memoized({ key, schema, effect, provisional: () => false }),
      ({ value }) => value
    )
)

interface Memoized<A> {
  readonly value: A
  readonly replayed: boolean
}

/**
 * `memo` that tells a recorded value from a new one, and may let go of some
 * values on resuming.
 *
 * @internal
 */
export const memoized = <A, I, E, R>(options: {
  readonly key: string
  readonly schema: Schema.Schema<A, I>
  readonly effect: Effect.Effect<A, E, R>
  readonly provisional: (value: A) => boolean
}): Effect.Effect<Memoized<A>, E | JournalError, R> =>
  Effect.flatMap(Journal, (journal): Effect.Effect<Memoized<A>, E | JournalError, R> => {
    const recorded = journal.recorded(options.key)
    if (Option.isSome(recorded)) {
      return Schema.decodeUnknown(options.schema)(recorded.value).pipe(
        Effect.mapBoth({
          onSuccess: (value) => ({ value, replayed: true }),
          onFailure: (error) =>
            new JournalError({
              reason: "Corrupt",
              description: `the record "${options.key}" is not of the expected form: ${error.message}`
            })
        })
      )
    }
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(options.effect), (value) =>
        Schema.encode(options.schema)(value).pipe(
          Effect.mapError((error) =>
            new JournalError({
              reason: "Unrecordable",
              description: `what came of "${options.key}" cannot be recorded: ${error.message}`
            })
          ),
          Effect.flatMap((encoded) =>
            Json.isJson(encoded)
              ? journal.record(options.key, encoded, options.provisional(value))
              : Effect.dieMessage(`the schema of "${options.key}" does not encode to JSON`)
          ),
          Effect.as({ value, replayed: false })
        ))
    )
  })
