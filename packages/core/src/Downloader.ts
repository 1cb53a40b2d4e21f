/**
 * The service that fetches what is at an address somebody else has named. It is
 * asked by `fetch` of `Image`, `Audio` and `Document`, and by nothing else: a
 * program without one fetches nothing.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * Why nothing was fetched. `host` is where it was to come from; the path and the
 * query, which may hold secrets, are not told.
 *
 * - `NotAllowed`: the address, one it resolves to, or one it redirects to must not
 *   be asked.
 * - `TooLarge`, `TimedOut`: it was given up.
 * - `Status`: the server has answered with another status than 200.
 * - `Connection`: there was no answer, or it broke off.
 *
 * @since 0.1.0
 * @category errors
 */
export class DownloadError
  extends Schema.TaggedError<DownloadError>("@effect-dspy/core/Downloader/DownloadError")("DownloadError", {
    reason: Schema.Literal("NotAllowed", "TooLarge", "TimedOut", "Status", "Connection"),
    host: Schema.String,
    description: Schema.String
  })
{
  override get message(): string {
    return `${this.host === "" ? "the address" : this.host}: ${this.description}`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** All bytes at an address, at most so many. */
  readonly get: (
    url: string,
    options: { readonly maxBytes: number }
  ) => Effect.Effect<Uint8Array, DownloadError>
}

/**
 * @since 0.1.0
 * @category services
 */
export class Downloader extends Context.Tag("@effect-dspy/core/Downloader")<Downloader, Service>() {}
