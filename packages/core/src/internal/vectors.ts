/**
 * Vectors one behind the other, each of length one, so that the dot product
 * with another one is the cosine.
 */
import * as simd from "./simd.ts"
import type { TopK } from "./topK.ts"

/** `NaN` or `Infinity` where a component is. */
export const lengthOf = (vector: Float32Array): number => {
  let sum = 0
  for (const value of vector) sum += value * value
  return Math.sqrt(sum)
}

/** The vector that points the same way. One without a length points nowhere, and is near to nothing. */
export const unit = (vector: Float32Array): Float32Array => {
  const length = lengthOf(vector)
  return length === 0 ? vector : vector.map((value) => value / length)
}

/** A number of rows, all zero at first. */
export interface Rows {
  readonly set: (row: number, vector: Float32Array) => void
  /** Offers the rows `from` up to `to` with their dot products with a query. */
  readonly scan: (query: Float32Array, from: number, to: number, top: TopK) => void
}

export const make = (count: number, dimensions: number): Rows => fast(count, dimensions) ?? plain(count, dimensions)

// How many products are made at a time.
const some = 1024

const fast = (count: number, dimensions: number): Rows | undefined => {
  // What is missing to a multiple stays zero, and adds nothing.
  const width = Math.ceil(Math.max(1, dimensions) / simd.lanes) * simd.lanes
  const stride = width * Float32Array.BYTES_PER_ELEMENT
  const query = count * stride
  const out = query + stride
  const found = simd.make(out + some * Float32Array.BYTES_PER_ELEMENT)
  if (found === undefined) return undefined
  const { buffer, products } = found
  const rows = new Float32Array(buffer, 0, count * width)
  const asked = new Float32Array(buffer, query, width)
  const scores = new Float32Array(buffer, out, some)
  return {
    set: (row, vector) => rows.set(vector, row * width),
    scan: (vector, from, to, top) => {
      asked.set(vector)
      for (let start = from; start < to; start += some) {
        const end = Math.min(start + some, to)
        products(start * stride, end * stride, query, out, out)
        for (let row = start; row < end; row++) top.offer(row, scores[row - start]!) // at most `some`
      }
    }
  }
}

const plain = (count: number, dimensions: number): Rows => {
  const rows = new Float32Array(count * dimensions)
  const fours = dimensions - dimensions % 4
  return {
    set: (row, vector) => rows.set(vector, row * dimensions),
    scan: (query, from, to, top) => {
      for (let row = from; row < to; row++) {
        const start = row * dimensions
        // Four sums, so that an addition need not wait for the one before it.
        let a = 0
        let b = 0
        let c = 0
        let d = 0
        let i = 0
        // Places of the query, and of the row.
        for (; i < fours; i += 4) {
          a += query[i]! * rows[start + i]!
          b += query[i + 1]! * rows[start + i + 1]!
          c += query[i + 2]! * rows[start + i + 2]!
          d += query[i + 3]! * rows[start + i + 3]!
        }
        for (; i < dimensions; i++) a += query[i]! * rows[start + i]!
        top.offer(row, a + b + c + d)
      }
    }
  }
}
