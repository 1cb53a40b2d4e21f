/**
 * Means with their intervals, by resampling. The same values and seed always
 * give the same result.
 */
export interface Interval {
  readonly lower: number
  readonly upper: number
}

export interface Options {
  /** What a value can be at most and at least. */
  readonly range: Interval
  /** How much of the time the interval is to hold the true mean. */
  readonly confidence: number
  readonly seed: number
}

/** In index order, since sums of floating point numbers depend on it; 0 of nothing. */
export const mean = (values: ReadonlyArray<number>): number =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length

// Enough that the third digit stands still; fewer of long lists, where a resample varies less and takes longer.
const resamples = (n: number): number => Math.max(500, Math.min(2000, Math.floor(2e6 / n)))

// Marsaglia, "Xorshift RNGs" (2003). An optimizer makes dozens of intervals of some hundred thousand draws each, while calls
// of the model wait: at the price of a better generator they would take most of its time.
const integers = (seed: number): (bound: number) => number => {
  // Seeds that are near must not begin alike, and 0 would stay 0.
  let state = Math.imul(seed + 1, 0x9e3779b1) || 1
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
  for (let turn = 0; turn < 8; turn++) next()
  return (bound) => Math.floor((next() / 2 ** 32) * bound)
}

const allEqual = (values: ReadonlyArray<number>): boolean => values.every((value) => value === values[0])

/**
 * The percentile bootstrap of the mean (Efron and Tibshirani 1993, chapter
 * 13).
 *
 * Values that are all the same have no spread to resample, yet a share q of
 * cases unlike any of them goes unseen in n draws with probability (1 - q)^n.
 * Their interval is that of the largest such q, with the unseen cases as bad,
 * or as good, as can be. For no values that is the whole range.
 */
export const interval = (values: ReadonlyArray<number>, options: Options): Interval => {
  const n = values.length
  const tail = (1 - options.confidence) / 2
  if (allEqual(values)) {
    const seen = n === 0 ? 0 : tail ** (1 / n)
    const at = (bound: number) => seen * (values[0] ?? 0) + (1 - seen) * bound
    return { lower: at(options.range.lower), upper: at(options.range.upper) }
  }
  const integer = integers(options.seed)
  const means = new Float64Array(resamples(n))
  for (let sample = 0; sample < means.length; sample++) {
    let sum = 0
    for (let draw = 0; draw < n; draw++) sum += values[integer(n)]! // below n
    means[sample] = sum / n
  }
  means.sort()
  const rank = Math.floor(tail * means.length)
  return { lower: means[rank]!, upper: means[means.length - 1 - rank]! } // rank is below half the length
}

/**
 * How often differences whose signs were tossed would have a mean as far from
 * 0 as these: the two-sided paired randomization test (Noreen 1989; Yeh 2000).
 * Never 0, since what was observed counts as one toss.
 */
export const pValue = (differences: ReadonlyArray<number>, seed: number): number => {
  const moved = differences.filter((difference) => difference !== 0)
  if (moved.length === 0) return 1
  const integer = integers(seed)
  // Sums of the same numbers in another order of signs may differ in the last digits.
  const observed = Math.abs(moved.reduce((sum, difference) => sum + difference, 0)) - 1e-9
  const tosses = resamples(moved.length)
  let asFar = 1
  for (let toss = 0; toss < tosses; toss++) {
    let sum = 0
    for (const difference of moved) sum += integer(2) === 0 ? difference : -difference
    if (Math.abs(sum) >= observed) asFar++
  }
  return asFar / (tosses + 1)
}
