/**
 * Texts as vectors, without a model: words and pieces of words, each hashed to
 * a place and a sign (feature hashing, Weinberger et al. 2009).
 */
import { hash } from "./noise.ts"
import { split } from "./words.ts"

/**
 * The length of the vectors, a power of two.
 */
export const dimensions = 512

// A function word says little, a shared piece only that two words may be forms of one.
const wordWeight = 1
const functionWordWeight = 0.1
const pieceWeight = 0.35

// The pieces of a word: three letters at a time, its start and end marked.
const pieceLength = 3

/**
 * The vector of a text, of length one; all zeros for a text with neither
 * letters nor digits.
 */
export const vector = (text: string): Float32Array => {
  const counts = new Map<string, { times: number; readonly weight: number }>()
  const count = (feature: string, weight: number) => {
    const known = counts.get(feature)
    if (known === undefined) counts.set(feature, { times: 1, weight })
    else known.times++
  }
  for (const word of split(text).words) {
    count(`word ${word.stem}`, word.content ? wordWeight : functionWordWeight)
    if (!word.content) continue
    const marked = `^${word.text.toLowerCase()}$`
    for (let i = 0; i + pieceLength <= marked.length; i++) count(marked.slice(i, i + pieceLength), pieceWeight)
  }
  const vector = new Float32Array(dimensions)
  for (const [feature, { times, weight }] of counts) {
    const hashed = hash(feature, 0)
    const place = hashed & (dimensions - 1)
    // Two features at one place then cancel as often as they add up.
    const sign = hashed >>> 31 === 0 ? 1 : -1
    vector[place] = vector[place]! + sign * weight * (1 + Math.log(times))
  }
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
  return length === 0 ? vector : vector.map((value) => value / length)
}
