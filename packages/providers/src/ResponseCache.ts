/**
 * A `ResponseCache` remembers what a model answered, so that the same request
 * is paid for once. It is a policy; apply it last, so that it is the outermost:
 * an answer it knows needs no permit, no budget and no connection.
 *
 * - Two requests are the same if they are equal in everything that could change
 *   the answer: messages, settings, tools and response format, asked of the
 *   same model at the same place. What a provider keeps to itself, such as its
 *   key, is no part of it.
 * - The temperature is one of the settings and no more: a request that is
 *   repeated gets the answer it had. Whoever wants another sample names it, by
 *   `settings.rollout` or `Module.withRollout`.
 * - Remembered are answers that the model ended by itself (`stop`,
 *   `toolCalls`). One that was cut off, filtered or refused, that ended for no
 *   known reason, failed or was left is asked for again.
 * - Every entry is checked when it is read. One that was damaged, exchanged or
 *   written by another version is a miss, never an answer.
 * - A store that fails never fails a call: the model is asked, and the first
 *   failure of a row is logged.
 *
 * A hit is counted in the metric `effect_dspy_response_cache_hits`, a miss in
 * `effect_dspy_response_cache_misses`; both are events of the current span.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Policy from "@effect-dspy/core/Policy"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as cacheFile from "./internal/cacheFile.ts"
import { spanEvent } from "./internal/spanEvent.ts"
import type { Fault } from "./internal/sqlite.ts"
import { unpaid } from "./internal/unpaid.ts"

// =============================================================================
// Errors
// =============================================================================

/**
 * A store that cannot be used.
 *
 * - `Missing`: the package that it needs is not installed.
 * - `Unsafe`: somebody else could read or replace what is in it.
 * - `Foreign`: there is a file already, and it is no response cache.
 * - `Storage`: it could not be opened, read or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class ResponseCacheError
  extends Schema.TaggedError<ResponseCacheError>("@effect-dspy/providers/ResponseCache/ResponseCacheError")(
    "ResponseCacheError",
    {
      reason: Schema.Literal("Missing", "Unsafe", "Foreign", "Storage"),
      description: Schema.String
    }
  )
{
  override get message(): string {
    return `ResponseCache: ${this.description}`
  }
}

// =============================================================================
// Stores
// =============================================================================

/**
 * How much a store holds; `bytes` are those of keys and values.
 *
 * @since 0.1.0
 * @category models
 */
export interface Size {
  readonly entries: number
  readonly bytes: number
}

/**
 * Where entries are kept: texts under keys of 64 hexadecimal digits. A store
 * may forget any entry at any time, and should once the clock has reached
 * `expires` (milliseconds since the epoch). It need not check what it returns.
 *
 * @since 0.1.0
 * @category models
 */
export interface Store {
  readonly get: (key: string) => Effect.Effect<Option.Option<string>, ResponseCacheError>
  readonly set: (
    key: string,
    value: string,
    expires: number | undefined
  ) => Effect.Effect<void, ResponseCacheError>
  readonly remove: (key: string) => Effect.Effect<void, ResponseCacheError>
  readonly clear: Effect.Effect<void, ResponseCacheError>
  readonly size: Effect.Effect<Size, ResponseCacheError>
}

// =============================================================================
// The cache
// =============================================================================

/**
 * What a cache has done since it was made, and what its store holds now, which
 * other caches may share.
 *
 * @since 0.1.0
 * @category models
 */
export interface Statistics extends Size {
  readonly hits: number
  readonly misses: number
  readonly writes: number
}

/**
 * A policy that also tells what it has done. It may be applied to any number of
 * models.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResponseCache extends Policy.Policy {
  readonly statistics: Effect.Effect<Statistics, ResponseCacheError>
  /** Forgets every entry of the store. */
  readonly clear: Effect.Effect<void, ResponseCacheError>
}

/**
 * `timeToLive` is how long an answer is remembered, for ever by default.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly timeToLive?: Duration.DurationInput | undefined
}

/**
 * Answers that were replayed.
 *
 * @since 0.1.0
 * @category metrics
 */
export const hits: Metric.Metric.Counter<number> = Metric.counter("effect_dspy_response_cache_hits", {
  description: "Answers that were replayed from a response cache",
  incremental: true
})

/**
 * Requests that the model had to be asked.
 *
 * @since 0.1.0
 * @category metrics
 */
export const misses: Metric.Metric.Counter<number> = Metric.counter("effect_dspy_response_cache_misses", {
  description: "Requests that a response cache had no answer to",
  incremental: true
})

// Part of every key: what was written in another format is not found.
const format = 1

/**
 * The key of a request to a model: a SHA-256 of everything that could change
 * the answer.
 *
 * @example
 * ```ts
 * import * as ResponseCache from "@effect-dspy/providers/ResponseCache"
 *
 * const model = { id: "openai/gpt-4o-mini" }
 * const messages = [{ role: "user", content: "hi" }] as const
 *
 * assert.strictEqual(
 *   ResponseCache.key(model, { messages, settings: { temperature: 0, maxTokens: 9 } }),
 *   ResponseCache.key(model, { settings: { maxTokens: 9, temperature: 0 }, messages })
 * )
 * assert.notStrictEqual(
 *   ResponseCache.key(model, { messages }),
 *   ResponseCache.key(model, { messages, settings: { rollout: "2" } })
 * )
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const key = (
  model: Pick<LanguageModel.Service, "id" | "endpoint">,
  request: LanguageModel.Request
): string => Json.hash({ format, model: model.id, endpoint: model.endpoint, request })

const Entry = Schema.parseJson(Schema.Struct({
  expires: Schema.optional(Schema.Finite),
  response: LanguageModel.Response
}))

type Entry = typeof Entry.Type

const encodeEntry = Schema.encodeEither(Entry)
const decodeEntry = Schema.decodeUnknownEither(Entry)

const checksumLength = 64

// The key is under the checksum too, so that entries cannot take each other's place.
const checksum = (key: string, text: string): string => Json.hash([key, text])

const unseal = (key: string, value: string): Option.Option<Entry> => {
  const text = value.slice(checksumLength)
  return value.slice(0, checksumLength) === checksum(key, text)
    ? Option.getRight(decodeEntry(text))
    : Option.none()
}

const endedByItself = (response: LanguageModel.Response): boolean =>
  response.outputs.every(({ finishReason }) => finishReason === "stop" || finishReason === "toolCalls")

/**
 * A cache over a store. Answers are replayed whole or as a stream, whichever is
 * asked for, with `cached` set and a usage of 0.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ResponseCache from "@effect-dspy/providers/ResponseCache"
 * import { Effect } from "effect"
 *
 * const request = { messages: [{ role: "user", content: "hi" }] } as const
 *
 * const program = Effect.gen(function*() {
 *   const cache = yield* Effect.flatMap(ResponseCache.memoryStore(), ResponseCache.make)
 *   const model = TestLanguageModel.layer([TestLanguageModel.text("hello")]).pipe(Policy.apply(cache))
 *   const answers = yield* Effect.all([LanguageModel.generate(request), LanguageModel.generate(request)]).pipe(
 *     Effect.provide(model)
 *   )
 *   return { cached: answers.map((answer) => answer.cached === true), statistics: yield* cache.statistics }
 * })
 *
 * Effect.runPromise(program).then(({ cached, statistics }) => {
 *   assert.deepStrictEqual(cached, [false, true])
 *   assert.deepStrictEqual([statistics.hits, statistics.misses, statistics.entries], [1, 1, 1])
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (store: Store, options: Options = {}): Effect.Effect<ResponseCache> =>
  Effect.sync(() => {
    const timeToLive = options.timeToLive === undefined ? Infinity : Duration.toMillis(options.timeToLive)
    const counts = { hits: 0, misses: 0, writes: 0 }
    let failing = false

    // What the store cannot do the model does; one warning tells of any number of failures in a row.
    const guarded = <A>(use: Effect.Effect<A, ResponseCacheError>, otherwise: A): Effect.Effect<A> =>
      Effect.matchEffect(use, {
        onSuccess: (value) => {
          failing = false
          return Effect.succeed(value)
        },
        onFailure: (error) => {
          const first = !failing
          failing = true
          return Effect.as(
            first
              ? Effect.logWarning(`${error.message}; models are asked without a cache until it works`)
              : Effect.void,
            otherwise
          )
        }
      })

    const hit = Effect.suspend(() => {
      counts.hits++
      return Effect.zipRight(Metric.increment(hits), spanEvent("response_cache.hit", {}))
    })
    const miss = Effect.suspend(() => {
      counts.misses++
      return Effect.as(Effect.zipRight(Metric.increment(misses), spanEvent("response_cache.miss", {})), Option.none())
    })

    const find = (key: string): Effect.Effect<Option.Option<LanguageModel.Response>> =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.flatMap(guarded(store.get(key), Option.none()), (value) => {
          if (value._tag === "None") return miss
          const entry = unseal(key, value.value)
          return entry._tag === "None" || (entry.value.expires ?? Infinity) <= now
            ? Effect.zipRight(guarded(store.remove(key), undefined), miss)
            : Effect.as(hit, Option.some(unpaid(entry.value.response)))
        }))

    const remember = (key: string, response: LanguageModel.Response): Effect.Effect<void> =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const expires = timeToLive === Infinity ? undefined : now + timeToLive
        const text = encodeEntry({ ...(expires === undefined ? undefined : { expires }), response })
        // An answer that would not be understood again is not worth remembering.
        if (text._tag === "Left") return Effect.void
        return guarded(
          Effect.map(store.set(key, checksum(key, text.right) + text.right, expires), () => {
            counts.writes++
          }),
          undefined
        )
      })

    const policy: Policy.Policy = (inner) => {
      // A long prompt is hashed once, not before and after the call.
      const keys = new WeakMap<LanguageModel.Request, string>()
      const keyOf = (request: LanguageModel.Request): string => {
        const known = keys.get(request) ?? key(inner, request)
        keys.set(request, known)
        return known
      }
      return Policy.answered(Effect.succeed({
        before: (request) => Effect.suspend(() => find(keyOf(request))),
        after: (request, response) =>
          response.cached === true || !endedByItself(response)
            ? Effect.void
            : Effect.suspend(() => remember(keyOf(request), response))
      }))(inner)
    }

    return Object.assign(policy, {
      statistics: Effect.map(store.size, (size): Statistics => ({ ...size, ...counts })),
      clear: store.clear
    })
  })

// =============================================================================
// In memory
// =============================================================================

/**
 * The most that entries may take, in bytes of keys and values. When there are
 * more, those that were used least recently are forgotten.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bound {
  readonly maxBytes?: number | undefined
}

const utf8 = new TextEncoder()

/**
 * A store that ends with the process; at most 256 MiB by default.
 *
 * @since 0.1.0
 * @category stores
 */
export const memoryStore = (options: Bound = {}): Effect.Effect<Store> =>
  Effect.sync(() => {
    const maxBytes = options.maxBytes ?? 256 * 1024 * 1024
    // In the order of their use: a Map lists what was set last at its end.
    const entries = new Map<string, { readonly value: string; readonly bytes: number }>()
    let bytes = 0
    const remove = (key: string) => {
      bytes -= entries.get(key)?.bytes ?? 0
      entries.delete(key)
    }
    return {
      get: (key) =>
        Effect.sync(() => {
          const entry = entries.get(key)
          if (entry === undefined) return Option.none()
          entries.delete(key)
          entries.set(key, entry)
          return Option.some(entry.value)
        }),
      set: (key, value) =>
        Effect.sync(() => {
          remove(key)
          const size = key.length + utf8.encode(value).length
          if (size > maxBytes) return
          entries.set(key, { value, bytes: size })
          bytes += size
          for (const [oldest] of entries) {
            if (bytes <= maxBytes) break
            remove(oldest)
          }
        }),
      remove: (key) => Effect.sync(() => remove(key)),
      clear: Effect.sync(() => {
        entries.clear()
        bytes = 0
      }),
      size: Effect.sync(() => ({ entries: entries.size, bytes }))
    }
  })

const over = <E, R>(store: Effect.Effect<Store, E, R>, options: Options): Policy.Policy<E, R> => (inner) =>
  Effect.flatMap(store, (store) => Effect.flatMap(make(store, options), (cache) => cache(inner)))

/**
 * A cache in memory, of its own for each model that it is applied to.
 *
 * @example
 * ```ts
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ResponseCache from "@effect-dspy/providers/ResponseCache"
 * import { Effect } from "effect"
 *
 * const answer = Predict.make("question -> answer")
 *
 * // The script has one answer; the second prediction does not get that far.
 * const Model = TestLanguageModel.layer([TestLanguageModel.fields({ answer: "Paris" })]).pipe(
 *   Policy.apply(ResponseCache.memory({ timeToLive: "1 hour" }))
 * )
 *
 * const question = "What is the capital of France?"
 * const program = Effect.all([answer({ question }), answer({ question })]).pipe(Effect.provide(Model))
 *
 * Effect.runPromise(program).then(([first, second]) => assert.deepStrictEqual(second, first))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const memory = (options: Options & Bound = {}): Policy.Policy => over(memoryStore(options), options)

// =============================================================================
// In a file
// =============================================================================

/**
 * `path` is where the file is, or will be; missing folders are made. `maxBytes`
 * is 1 GiB by default; the file is somewhat larger.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqliteOptions extends Bound {
  readonly path: string
}

/**
 * A store in one SQLite file, which any number of processes of one machine may
 * share and none can damage by dying. It needs the package `libsql`.
 *
 * The file is readable by its owner only. Links, files of other users and
 * folders that anyone can write to are refused; so is a file that is no
 * response cache. A cache that is damaged is begun anew, with a warning. A file
 * on a network share is not safe: SQLite's locks do not hold there.
 *
 * Reading and writing block the thread for some microseconds; a lock that
 * another process holds is waited for without blocking, for up to 2 seconds.
 *
 * @since 0.1.0
 * @category stores
 */
export const sqliteStore = (options: SqliteOptions): Effect.Effect<Store, ResponseCacheError, Scope.Scope> =>
  Effect.mapBoth(cacheFile.open(options.path, options.maxBytes ?? 1024 * 1024 * 1024), {
    onFailure: toError,
    onSuccess: (file): Store => ({
      get: (key) => Effect.mapError(file.get(key), toError),
      set: (key, value, expires) => Effect.mapError(file.set(key, value, expires), toError),
      remove: (key) => Effect.mapError(file.remove(key), toError),
      clear: Effect.mapError(file.clear, toError),
      size: Effect.mapError(file.size, toError)
    })
  })

const toError = ({ description, reason }: Fault): ResponseCacheError => new ResponseCacheError({ reason, description })

/**
 * A cache in one SQLite file, which lasts and may be shared by processes; see
 * {@link sqliteStore}.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ResponseCache from "@effect-dspy/providers/ResponseCache"
 * import { Effect } from "effect"
 * import { mkdtempSync } from "node:fs"
 * import { tmpdir } from "node:os"
 * import { join } from "node:path"
 *
 * const path = join(mkdtempSync(join(tmpdir(), "example-")), "cache", "lm.db")
 *
 * // As two runs of a program would: each has a model and opens the file anew.
 * const run = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   Effect.provide(
 *     TestLanguageModel.layer([TestLanguageModel.text("hello")]).pipe(Policy.apply(ResponseCache.sqlite({ path })))
 *   )
 * )
 *
 * Effect.runPromise(Effect.all([run, run])).then(([first, second]) => {
 *   assert.deepStrictEqual([first.cached, second.cached], [undefined, true])
 *   assert.deepStrictEqual(second.outputs, first.outputs)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const sqlite = (options: Options & SqliteOptions): Policy.Policy<ResponseCacheError, Scope.Scope> =>
  over(sqliteStore(options), options)
