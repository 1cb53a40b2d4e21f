/**
 * OpenAI's embeddings: from the documents of an answer to vectors.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import { isObject } from "./wire.ts"

interface Answer {
  readonly data?: unknown
}
interface Entry {
  readonly index?: unknown
  readonly embedding?: unknown
}

const bytesPerNumber = 4

// Little-endian floats of four bytes.
const fromBase64 = (text: string): Float32Array | undefined =>
  Either.getOrUndefined(Either.map(Encoding.decodeBase64(text), (bytes) => {
    if (bytes.length % bytesPerNumber !== 0) return undefined
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    return Float32Array.from(
      { length: bytes.length / bytesPerNumber },
      (_, i) => view.getFloat32(i * bytesPerNumber, true)
    )
  }))

const vector = (u: unknown): Float32Array | undefined => {
  const vector = typeof u === "string"
    ? fromBase64(u)
    : Array.isArray(u) && u.every((value: unknown) => typeof value === "number")
    ? Float32Array.from(u)
    : undefined
  return vector !== undefined && vector.length > 0 && vector.every(Number.isFinite) ? vector : undefined
}

/**
 * The vectors of an answer, in the order of the texts, or what is wrong with
 * it. Servers that ignore the encoding that was asked for are understood.
 */
export const read = (answer: unknown): Either.Either<ReadonlyArray<Float32Array>, string> => {
  const { data }: Answer = isObject(answer) ? answer : {}
  if (!Array.isArray(data)) return Either.left("it has no list `data`")
  const vectors: Array<Float32Array> = []
  for (const [position, entry] of data.entries()) {
    const { embedding, index }: Entry = isObject(entry) ? entry : {}
    const read = vector(embedding)
    if (read === undefined) return Either.left(`embedding ${position} is no list of finite numbers`)
    const place = index === undefined || index === null ? position : index
    if (typeof place !== "number" || !Number.isInteger(place) || place < 0 || place >= data.length || vectors[place]) {
      return Either.left(`embedding ${position} has an index that is taken or out of range`)
    }
    vectors[place] = read
  }
  return Either.right(vectors)
}
