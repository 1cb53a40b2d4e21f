/**
 * Randomness that is a pure function of texts and numbers: nothing here has state that outlives a value.
 */

const finish = (h: number): number => {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** 32 bits of a text. */
export const hash = (text: string, seed = 0): number => {
  let h = seed ^ 0x811c9dc5
  for (let at = 0; at < text.length; at++) h = Math.imul(h ^ text.charCodeAt(at), 0x01000193)
  return finish(h)
}

/** 32 bits of numbers of 32 bits. */
export const mix = (...parts: ReadonlyArray<number>): number => {
  let h = 0x9e3779b9
  for (const part of parts) h = finish(Math.imul(h ^ part, 0x01000193) + 0x6d2b79f5)
  return h
}

/** In [0, 1). */
export const uniform = (...parts: ReadonlyArray<number>): number => mix(...parts) / 2 ** 32

/** Normally distributed, with mean 0 and deviation 1. */
export const normal = (...parts: ReadonlyArray<number>): number =>
  Math.sqrt(-2 * Math.log(1 - uniform(...parts, 1))) * Math.cos(2 * Math.PI * uniform(...parts, 2))

export interface Dice {
  readonly uniform: () => number
  readonly normal: () => number
  /** An integer in [0, bound). */
  readonly below: (bound: number) => number
  readonly shuffle: <A>(items: ReadonlyArray<A>) => Array<A>
}

/** A sequence of draws; the same place gives the same sequence. */
export const dice = (...place: ReadonlyArray<number | string>): Dice => {
  const seed = mix(...place.map((part) => typeof part === "string" ? hash(part) : part))
  let draws = 0
  const next = () => uniform(seed, draws++)
  const below = (bound: number) => Math.floor(next() * bound)
  return {
    uniform: next,
    normal: () => normal(seed, draws++),
    below,
    shuffle: (items) => {
      const left = [...items]
      return items.map(() => left.splice(below(left.length), 1)[0]!) // as many are taken as there are
    }
  }
}
