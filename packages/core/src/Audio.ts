/**
 * Sound as values of a program: fields of a signature that a model hears.
 *
 * A recording is its bytes in a `data:` URI, or an address for the few providers
 * that fetch one: plain JSON, as images are. Nothing here reads a file or the
 * network but `fromFile` and `fetch`.
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
 * The schema of a recording. Written `Audio` or `dspy.Audio` in the text of a
 * signature.
 *
 * @example
 * ```ts
 * import * as Audio from "@effect-dspy/core/Audio"
 * import { Either } from "effect"
 *
 * const wav = new TextEncoder().encode("RIFF....WAVEfmt ")
 *
 * assert.match(Either.getOrThrow(Audio.fromBytes(wav)).url, /^data:audio\/wav;base64,/)
 * assert.strictEqual(Either.getOrThrow(Either.flip(Audio.fromUrl("file:///etc/passwd"))).reason, "Malformed")
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const Audio = values.Audio

/**
 * @since 0.1.0
 * @category models
 */
export interface Audio extends Schema.Schema.Type<typeof Audio> {}

const audio = (url: string): Audio => ({ url })

/**
 * Sound at an `https:` address, for providers that fetch it themselves, or in a
 * `data:` URI.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromUrl = (url: string | URL): Either.Either<Audio, Media.MediaError> =>
  Either.map(media.fromUrl(media.audio, url), audio)

/**
 * Sound of its bytes: WAV, MP3, FLAC, Ogg, M4A, AAC, AIFF or WebM, told by what
 * they begin with. WAV and MP3 are what all providers take.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBytes = (bytes: Uint8Array): Either.Either<Audio, Media.MediaError> =>
  Either.map(media.fromBytes(media.audio, bytes), audio)

/**
 * Sound in base64, as it is or in a `data:` URI. Its type is told by its bytes,
 * whatever the URI says.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBase64 = (text: string): Either.Either<Audio, Media.MediaError> =>
  Either.map(media.fromBase64(media.audio, text), audio)

/**
 * Sound in a file, which must be inside of one of `roots`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromFile = (
  file: string,
  options: Media.FileOptions
): Effect.Effect<Audio, Media.MediaError | PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(mediaBytes.read(file, options), fromBytes)

/**
 * Sound at an address, fetched here and sent in the request. What may be fetched
 * is the business of the `Downloader`; at most `maxBytes` (20 MiB).
 *
 * @since 0.1.0
 * @category constructors
 */
export const fetch = (
  url: string | URL,
  options: { readonly maxBytes?: number | undefined } = {}
): Effect.Effect<Audio, Media.MediaError | Downloader.DownloadError, Downloader.Downloader> =>
  Effect.flatMap(mediaBytes.download(url, options.maxBytes), fromBytes)
