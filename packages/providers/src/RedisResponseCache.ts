/**
 * A `ResponseCache` in Redis, which machines can share. It needs the package
 * `redis` and a server of version 6.2 or later.
 *
 * How much is kept is for the server to say: give it `maxmemory` and the policy
 * `allkeys-lru`, or set a time to live.
 *
 * @since 0.1.0
 */
import type * as Policy from "@effect-dspy/core/Policy"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Redis from "redis"
import { load } from "./internal/load.ts"
import * as ResponseCache from "./ResponseCache.ts"

/**
 * What `RedisResponseCache` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Where the server is, such as `redis://localhost:6379`; with a password in it, let it be `Redacted`. */
  readonly url: string | Redacted.Redacted
  /**
   * What the keys of this cache begin with, `effect-dspy:response:` by default.
   * Caches of one prefix share their entries.
   */
  readonly prefix?: string | undefined
}

const failed = (what: string) => (cause: unknown): ResponseCache.ResponseCacheError =>
  cause instanceof ResponseCache.ResponseCacheError ? cause : new ResponseCache.ResponseCacheError({
    reason: "Storage",
    description: `${what}: ${cause instanceof Error && cause.message !== "" ? cause.message : String(cause)}`
  })

const loadRedis = Effect.tryPromise({
  try: () => load<typeof Redis>("redis"),
  catch: () =>
    new ResponseCache.ResponseCacheError({
      reason: "Missing",
      description: "redis cannot be loaded; install it: npm install redis"
    })
})

// A cache that is slower than this is no help.
const patience = "2 seconds"

/**
 * A store in Redis. It must be reachable when the store is made; should it
 * vanish later, models are asked without a cache until it is back.
 *
 * `size` and `clear` look at every key of the server.
 *
 * @since 0.1.0
 * @category stores
 */
export const store = (
  options: Options
): Effect.Effect<ResponseCache.Store, ResponseCache.ResponseCacheError, Scope.Scope> =>
  Effect.gen(function*() {
    const { createClient } = yield* loadRedis
    const prefix = options.prefix ?? "effect-dspy:response:"
    const unreachable = failed("Redis cannot be reached")
    let connected = false

    const client = yield* Effect.acquireRelease(
      Effect.try({
        try: () =>
          createClient({
            url: Redacted.isRedacted(options.url) ? Redacted.value(options.url) : options.url,
            // A call must not wait for a server that is away.
            disableOfflineQueue: true,
            socket: {
              connectTimeout: 2000,
              reconnectStrategy: (retries, cause) => connected ? Math.min(100 * 2 ** retries, 5000) : cause
            }
          })
            // What is wrong is told by the operations; without a listener it would end the process.
            .on("error", () => {}),
        catch: unreachable
      }),
      (client) =>
        Effect.sync(() => {
          if (client.isOpen) client.destroy()
        })
    )
    yield* Effect.tryPromise({ try: () => client.connect(), catch: unreachable })
    connected = true

    const run = <A>(use: () => Promise<A>): Effect.Effect<A, ResponseCache.ResponseCacheError> =>
      Effect.tryPromise({ try: use, catch: failed("Redis does not answer") })
    const quickly = <A>(use: () => Promise<A>): Effect.Effect<A, ResponseCache.ResponseCacheError> =>
      Effect.timeoutFail(run(use), {
        duration: patience,
        onTimeout: () => failed("Redis does not answer")(`nothing came within ${patience}`)
      })
    // Characters that stand for others in a pattern stand for themselves.
    const keys = () => client.scanIterator({ MATCH: `${prefix.replace(/[*?[\]\\]/g, "\\$&")}*`, COUNT: 1000 })

    return {
      get: (key) => quickly(async () => Option.fromNullable(await client.get(prefix + key))),
      set: (key, value, expires) =>
        quickly(async () => {
          await client.set(
            prefix + key,
            value,
            expires === undefined ? {} : { expiration: { type: "PXAT", value: Math.ceil(expires) } }
          )
        }),
      remove: (key) =>
        quickly(async () => {
          await client.unlink(prefix + key)
        }),
      clear: run(async () => {
        for await (const page of keys()) if (page.length > 0) await client.unlink(page)
      }),
      size: run(async () => {
        let entries = 0
        let bytes = 0
        for await (const page of keys()) {
          const lengths = await Promise.all(page.map((key) => client.strLen(key)))
          entries += page.length
          bytes += lengths.reduce((sum, length) => sum + length, 0) +
            page.reduce((sum, key) => sum + key.length - prefix.length, 0)
        }
        return { entries, bytes }
      })
    }
  })

/**
 * A cache in Redis, connected for as long as the Layer of the model lives.
 *
 * @example
 * ```ts
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as RedisResponseCache from "@effect-dspy/providers/RedisResponseCache"
 * import { Effect, Layer } from "effect"
 *
 * // Port 1 has no Redis: that is told at once, and not call by call.
 * const Model = TestLanguageModel.layer([]).pipe(
 *   Policy.apply(RedisResponseCache.make({ url: "redis://localhost:1", timeToLive: "30 days" }))
 * )
 *
 * Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(Model)))).then((error) =>
 *   assert.strictEqual(error.reason, "Storage")
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options & ResponseCache.Options
): Policy.Policy<ResponseCache.ResponseCacheError, Scope.Scope> =>
(inner) =>
  Effect.flatMap(
    store(options),
    (store) => Effect.flatMap(ResponseCache.make(store, options), (cache) => cache(inner))
  )
