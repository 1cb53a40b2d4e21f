/**
 * Randomness without a generator: numbers that depend on nothing but names.
 */

/**
 * A number from 0 up to, but not including, 1.
 */
export type Draw = (name: string) => number

/**
 * 32 bits of a text: FNV-1a with the finalizer of MurmurHash3, so that every
 * bit of the text reaches every bit of the result.
 */
export const hash = (text: string, seed: number): number => {
  let h = seed ^ 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

export const draws = (key: string): Draw => {
  const seed = hash(key, 0)
  return (name) => hash(name, seed) / 0x100000000
}

/**
 * Noise of the Gumbel distribution: the largest of scores with such noise is a
 * sample from their softmax.
 */
export const gumbel = (uniform: number): number => -Math.log(-Math.log(Math.max(uniform, 1e-12)))
