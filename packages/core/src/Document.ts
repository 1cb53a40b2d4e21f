/**
 * Documents as values of a program: texts and PDFs that a model reads, and cites
 * where the provider can.
 *
 * A document is its text, or the address of a PDF or its bytes in a `data:` URI:
 * plain JSON, as images are. Nothing here reads a file or the network but
 * `fromFile` and `fetch`.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Downloader from "./Downloader.ts"
import * as media from "./internal/media.ts"
import * as mediaBytes from "./internal/mediaBytes.ts"
import * as values from "./internal/mediaValues.ts"
import * as Media from "./Media.ts"

/**
 * The schema of a document: a `text`, or the `url` of a PDF, with a `title` if it
 * has one. Written `Document` or `dspy.Document` (or `File`, `dspy.File`) in the
 * text of a signature.
 *
 * @example
 * ```ts
 * import * as Document from "@effect-dspy/core/Document"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const answer = Predict.make("sources: Document[], question -> answer")
 *
 * const program = Effect.gen(function*() {
 *   const sources = [Document.fromText("The kettle is blue.", { title: "Inventory" })]
 *   yield* answer({ sources, question: "Which colour is the kettle?" })
 *   const [request] = yield* TestLanguageModel.requests
 *   return request!.messages[1]!.content[1]
 * }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "blue" })])))
 *
 * Effect.runPromise(program).then((part) =>
 *   assert.deepStrictEqual(part, { _tag: "Text", text: "The kettle is blue.", document: { title: "Inventory" } })
 * )
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const Document = values.Document

/**
 * @since 0.1.0
 * @category models
 */
export type Document = typeof Document.Type

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly title?: string | undefined
}

const file = (options: Options | undefined) => (url: string): Document => ({ url, ...values.titled(options) })

/**
 * A text.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromText = (text: string, options?: Options): Document => ({ text, ...values.titled(options) })

/**
 * A PDF at an `https:` address, which is not fetched here but by the provider, or
 * one in a `data:` URI.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromUrl = (url: string | URL, options?: Options): Either.Either<Document, Media.MediaError> =>
  Either.map(media.fromUrl(media.pdf, url), file(options))

/**
 * A document of its bytes: a PDF, told by what they begin with, or else text in
 * UTF-8.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBytes = (bytes: Uint8Array, options?: Options): Either.Either<Document, Media.MediaError> =>
  Either.orElse(
    Either.map(media.fromBytes(media.pdf, bytes), file(options)),
    () =>
      Either.try({
        try: () => fromText(new TextDecoder("utf-8", { fatal: true }).decode(bytes), options),
        catch: () =>
          new Media.MediaError({
            reason: "UnknownType",
            description: "the bytes are neither a PDF nor text in UTF-8; convert them to one of these"
          })
      })
  )

/**
 * A PDF in base64, as it is or in a `data:` URI.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBase64 = (text: string, options?: Options): Either.Either<Document, Media.MediaError> =>
  Either.map(media.fromBase64(media.pdf, text), file(options))

/**
 * A PDF, or text in UTF-8, in a file, which must be inside of one of `roots`. Its
 * title is the name of the file, unless another is given.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromFile = (
  path: string,
  options: Media.FileOptions & Options
): Effect.Effect<Document, Media.MediaError | PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(Path.Path, ({ basename }) =>
    Effect.flatMap(
      mediaBytes.read(path, options),
      (bytes) => fromBytes(bytes, { title: options.title ?? basename(path) })
    ))

/**
 * A PDF, or text in UTF-8, at an address, fetched here and sent in the request.
 * What may be fetched is the business of the `Downloader`; at most `maxBytes`
 * (20 MiB).
 *
 * @since 0.1.0
 * @category constructors
 */
export const fetch = (
  url: string | URL,
  options: { readonly maxBytes?: number | undefined } & Options = {}
): Effect.Effect<Document, Media.MediaError | Downloader.DownloadError, Downloader.Downloader> =>
  Effect.flatMap(mediaBytes.download(url, options.maxBytes), (bytes) => fromBytes(bytes, options))
