/**
 * How much of an answer is read before it is refused, the same for every
 * provider that speaks HTTP.
 *
 * @since 0.1.0
 */

/**
 * Sizes after decompression, which an honest answer stays below; one that does
 * not fails with `ResponseTooLarge`, and its connection is closed.
 *
 * What has to fit into one string, a body and an event, is never more than
 * 512 MiB.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * // Stands for a server that answers with a megabyte.
 * const server = async () =>
 *   Response.json({ choices: [{ message: { content: "x".repeat(1_000_000) }, finish_reason: "stop" }] })
 *
 * const ask = (body: number) =>
 *   LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *     Effect.provide(OpenAiCompatible.layer({ model: "m", baseUrl: "http://localhost:8000", bounds: { body } })),
 *     Effect.provide(FetchHttpClient.layer),
 *     Effect.provideService(FetchHttpClient.Fetch, server)
 *   )
 *
 * const program = Effect.gen(function*() {
 *   assert.strictEqual((yield* Effect.flip(ask(100_000))).reason._tag, "ResponseTooLarge")
 *   assert.strictEqual((yield* ask(2_000_000)).outputs[0]?.text.length, 1_000_000)
 * })
 *
 * Effect.runPromise(program)
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export interface Bounds {
  /** Bytes of an answer that is not streamed, default 64 MiB. It is held in memory as a whole. */
  readonly body?: number | undefined
  /**
   * Characters of one event of a stream, default 16 Mi. Images come as one
   * event: raise it for models that write them.
   */
  readonly event?: number | undefined
  /** Bytes of a whole stream, default 256 MiB. A stream is not held, beside the text that an error has to name. */
  readonly stream?: number | undefined
}

/**
 * What holds where nothing is said.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = {
  body: 64 * 1024 * 1024,
  event: 16 * 1024 * 1024,
  stream: 256 * 1024 * 1024
} as const satisfies Bounds

// What JavaScript engines hold in one string.
const longest = 2 ** 29 - 24

/**
 * All three, with the defaults for what is not said.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (bounds: Bounds = {}): Required<{ readonly [Key in keyof Bounds]: number }> => ({
  body: Math.min(bounds.body ?? defaults.body, longest),
  event: Math.min(bounds.event ?? defaults.event, longest),
  stream: bounds.stream ?? defaults.stream
})
