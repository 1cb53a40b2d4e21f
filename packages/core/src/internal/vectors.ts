/**
 * Vectors one behind the other in one array, each of length one, so that the
 * dot product with another one is the cosine.
 */
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

/** Offers the rows `from` up to `to` with their dot products with a query, whose length is that of a row. */
export const scan = (rows: Float32Array, query: Float32Array, from: number, to: number, top: TopK): void => {
  const dimensions = query.length
  const fours = dimensions - dimensions % 4
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
