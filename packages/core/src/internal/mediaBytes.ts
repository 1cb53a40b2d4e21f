/**
 * Where the bytes of images, audio and documents come from.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Downloader from "../Downloader.ts"
import { defaultMaxBytes, type FileOptions, MediaError } from "../Media.ts"

const failed = (reason: MediaError["reason"], description: string) => new MediaError({ reason, description })

const tooLarge = (maxBytes: number) => failed("TooLarge", `it has more than ${maxBytes} bytes; raise \`maxBytes\``)

/** The bytes of a file inside of the roots. */
export const read = (
  file: string,
  { maxBytes = defaultMaxBytes, roots }: FileOptions
): Effect.Effect<Uint8Array, MediaError | PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const isIn = (root: string, file: string) => {
      const way = path.relative(root, file)
      return way !== "" && way !== ".." && !way.startsWith(`..${path.sep}`) && !path.isAbsolute(way)
    }
    const outside = failed("NotAllowed", `${file} is in none of the \`roots\``)
    // First by name, so that nothing outside is even looked at.
    const named = path.resolve(file)
    if (!roots.some((root) => isIn(path.resolve(root), named))) return yield* outside
    const real = yield* fs.realPath(named)
    const realRoots = yield* Effect.forEach(roots, (root) => fs.realPath(path.resolve(root)))
    if (!realRoots.some((root) => isIn(root, real))) return yield* outside
    const { type } = yield* fs.stat(real)
    if (type !== "File") return yield* failed("NotAllowed", `${file} is no file`)
    // One byte more than allowed is asked for: what a file says of its size may change while it is read.
    const chunks = yield* Stream.runCollect(fs.stream(real, { bytesToRead: maxBytes + 1 }))
    const bytes = joined(Chunk.toReadonlyArray(chunks))
    return bytes.length > maxBytes ? yield* tooLarge(maxBytes) : bytes
  })

const joined = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const [only] = chunks
  if (only !== undefined && chunks.length === 1) return only
  const bytes = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

/** The bytes at an address, by the downloader of the program. */
export const download = (
  url: string | URL,
  maxBytes: number | undefined
): Effect.Effect<Uint8Array, Downloader.DownloadError, Downloader.Downloader> =>
  Effect.flatMap(
    Downloader.Downloader,
    (downloader) => downloader.get(String(url), { maxBytes: maxBytes ?? defaultMaxBytes })
  )
