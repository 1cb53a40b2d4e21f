/**
 * What images, audio and documents have in common: where their bytes may come
 * from, and what is wrong when they cannot be used.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Why something is no image, sound or document.
 *
 * - `Malformed`: neither an `https:` address nor base64, or not UTF-8.
 * - `UnknownType`: it is of no type that models take, by its first bytes or by what
 *   its `data:` URI says.
 * - `TooLarge`: more bytes than are allowed.
 * - `NotAllowed`: a file outside of the roots, or nothing that is a file.
 *
 * @since 0.1.0
 * @category errors
 */
export class MediaError extends Schema.TaggedError<MediaError>("@effect-dspy/core/Media/MediaError")("MediaError", {
  reason: Schema.Literal("Malformed", "UnknownType", "TooLarge", "NotAllowed"),
  description: Schema.String
}) {
  override get message(): string {
    return this.description
  }
}

/**
 * The most bytes that are read when nothing else is said: 20 MiB, what most
 * providers take in one request.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxBytes = 20 * 1024 * 1024

/**
 * Which files may be read.
 *
 * @since 0.1.0
 * @category models
 */
export interface FileOptions {
  /** Directories. A file is read only if it is inside of one, also after symbolic links were followed. */
  readonly roots: ReadonlyArray<string>
  /** Larger ones are refused; default 20 MiB. */
  readonly maxBytes?: number | undefined
}
