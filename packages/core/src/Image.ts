/**
 * Images as values of a program: fields of a signature that a model sees.
 *
 * An image is the address of one, or its bytes in a `data:` URI: plain JSON, so
 * that demonstrations, traces, caches and saved programs hold it as it is.
 * Nothing here reads a file or the network but `fromFile` and `fetch`.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Schema from "effect/Schema"
import type * as Downloader from "./Downloader.ts"
import * as media from "./internal/media.ts"
import * as mediaBytes from "./internal/mediaBytes.ts"
import * as values from "./internal/mediaValues.ts"
import type * as Media from "./Media.ts"

/**
 * The schema of an image. Written `Image` or `dspy.Image` in the text of a
 * signature.
 *
 * - `url`: an `https:` address, which the provider fetches, or a `data:` URI.
 * - `detail`: how closely the model looks, at the providers that ask for it.
 *
 * @example
 * ```ts
 * import * as Image from "@effect-dspy/core/Image"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const describe = Predict.make("photo: Image, question -> answer")
 *
 * const program = Effect.gen(function*() {
 *   const photo = yield* Image.fromUrl("https://example.org/cat.png")
 *   const { answer } = yield* describe({ photo, question: "Which animal is it?" })
 *   const [request] = yield* TestLanguageModel.requests
 *   return { answer, shown: request!.messages[1]!.content[1] }
 * }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "a cat" })])))
 *
 * Effect.runPromise(program).then((result) =>
 *   assert.deepStrictEqual(result, { answer: "a cat", shown: { _tag: "Image", url: "https://example.org/cat.png" } })
 * )
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const Image = values.Image

/**
 * @since 0.1.0
 * @category models
 */
export interface Image extends Schema.Schema.Type<typeof Image> {}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly detail?: "auto" | "low" | "high" | undefined
}

const image = ({ detail }: Options = {}) => (url: string): Image => detail === undefined ? { url } : { url, detail }

/**
 * An image at an `https:` address, which is not fetched here but by the provider,
 * or one in a `data:` URI.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromUrl = (url: string | URL, options?: Options): Either.Either<Image, Media.MediaError> =>
  Either.map(media.fromUrl(media.image, url), image(options))

/**
 * An image of its bytes: PNG, JPEG, GIF, WebP, HEIC or HEIF, told by what they begin
 * with. No provider takes all of these, and none takes SVG: have it drawn as PNG.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBytes = (bytes: Uint8Array, options?: Options): Either.Either<Image, Media.MediaError> =>
  Either.map(media.fromBytes(media.image, bytes), image(options))

/**
 * An image in base64, as it is or in a `data:` URI. Its type is told by its
 * bytes, whatever the URI says.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBase64 = (text: string, options?: Options): Either.Either<Image, Media.MediaError> =>
  Either.map(media.fromBase64(media.image, text), image(options))

/**
 * An image in a file, which must be inside of one of `roots`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromFile = (
  file: string,
  options: Media.FileOptions & Options
): Effect.Effect<Image, Media.MediaError | PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(mediaBytes.read(file, options), (bytes) => fromBytes(bytes, options))

/**
 * An image at an address, fetched here and sent in the request. What may be
 * fetched is the business of the `Downloader`; at most `maxBytes` (20 MiB).
 *
 * @since 0.1.0
 * @category constructors
 */
export const fetch = (
  url: string | URL,
  options: { readonly maxBytes?: number | undefined } & Options = {}
): Effect.Effect<Image, Media.MediaError | Downloader.DownloadError, Downloader.Downloader> =>
  Effect.flatMap(mediaBytes.download(url, options.maxBytes), (bytes) => fromBytes(bytes, options))
