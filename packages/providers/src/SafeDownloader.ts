/**
 * A `Downloader` for addresses that users or models name. It asks the open
 * internet only, and never for long or for much. Node only.
 *
 * - `https:` at its own port; no user or password in the address, no cookies.
 * - No private, local or reserved address: written as such in any spelling, or
 *   what a name resolves to. A name is resolved when the connection is made, so
 *   that it cannot stand for something else between the check and the question.
 * - Up to three redirects, each checked like the first address.
 * - So many bytes as its caller allows (20 MiB if nothing is said), in 10 seconds.
 *
 * What comes is not believed to be what it is called: `Image`, `Audio` and
 * `Document` look at the bytes.
 *
 * @since 0.1.0
 */
import * as Downloader from "@effect-dspy/core/Downloader"
import * as Duration from "effect/Duration"
import * as Layer from "effect/Layer"
import * as download from "./internal/download.ts"

/**
 * What `SafeDownloader` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Also `http:`, at port 80; not by default, since anybody on the way can change what comes. */
  readonly http?: boolean | undefined
  /** For all of it, redirects included; default 10 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ http = false, timeout = "10 seconds" }: Options = {}): Downloader.Service =>
  download.make({
    schemes: http ? ["https:", "http:"] : ["https:"],
    redirects: 3,
    timeout: Duration.toMillis(timeout)
  })

/**
 * The same as a Layer.
 *
 * @example
 * ```ts
 * import * as Image from "@effect-dspy/core/Image"
 * import * as SafeDownloader from "@effect-dspy/providers/SafeDownloader"
 * import { Effect } from "effect"
 *
 * // Written another way, it is still this machine.
 * const program = Image.fetch("https://2130706433/photo.png").pipe(
 *   Effect.flip,
 *   Effect.provide(SafeDownloader.layer())
 * )
 *
 * Effect.runPromise(program).then((error) =>
 *   assert.strictEqual(error.message, "127.0.0.1: the address is not on the open internet")
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<Downloader.Downloader> =>
  Layer.sync(Downloader.Downloader, () => make(options))
