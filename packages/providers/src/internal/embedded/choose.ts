/**
 * Which of the permitted values fits: by the demonstrations that are most
 * alike, and by what the instructions and its own name say about each value.
 * All scores are log-odds.
 */
import type { Cue, Rules } from "./rules.ts"
import type { Lexicon } from "./words.ts"

/**
 * What is known of one case: how often each word occurs, and `field=value` for
 * every field that holds just a word or two.
 */
export type Evidence = ReadonlyMap<string, number>

/**
 * A field and what it holds, as text.
 */
export type Facts = ReadonlyArray<readonly [field: string, text: string]>

export const evidence = (facts: Facts, lexicon: Lexicon): Evidence => {
  const seen = new Map<string, number>()
  for (const [field, text] of facts) {
    const { stems, words } = lexicon(text)
    for (const [stem, count] of stems) seen.set(stem, (seen.get(stem) ?? 0) + count)
    if (words.length > 0 && words.length <= 2) seen.set(`${field}=${text.trim().toLowerCase()}`, 1)
  }
  return seen
}

/**
 * Demonstrations ready to be compared with. `postings` holds for each word the
 * demonstrations it occurs in, with its share in their length.
 */
export interface Memory {
  readonly size: number
  readonly values: ReadonlyArray<number>
  readonly counts: ReadonlyArray<number>
  readonly postings: ReadonlyMap<string, ReadonlyArray<readonly [demo: number, weight: number]>>
  readonly rarity: (word: string) => number
}

export const memorize = (
  demos: ReadonlyArray<{ readonly evidence: Evidence; readonly value: number }>,
  values: number
): Memory => {
  const frequency = new Map<string, number>()
  for (const { evidence } of demos) {
    for (const word of evidence.keys()) frequency.set(word, (frequency.get(word) ?? 0) + 1)
  }
  const rarity = (word: string) => Math.log(1 + (demos.length + 1) / ((frequency.get(word) ?? 0) + 0.5))
  const postings = new Map<string, Array<readonly [number, number]>>()
  const counts = Array.from({ length: values }, () => 0)
  demos.forEach(({ evidence, value }, demo) => {
    counts[value]!++ // a value is an index into the permitted ones
    const length = norm(evidence, rarity)
    for (const [word, count] of evidence) {
      const posting: readonly [number, number] = [demo, weight(count, rarity(word)) / length]
      const list = postings.get(word)
      if (list === undefined) postings.set(word, [posting])
      else list.push(posting)
    }
  })
  return { size: demos.length, values: demos.map(({ value }) => value), counts, postings, rarity }
}

const weight = (count: number, rarity: number): number => (1 + Math.log(count)) * rarity

const norm = (evidence: Evidence, rarity: (word: string) => number): number => {
  let sum = 0
  for (const [word, count] of evidence) sum += weight(count, rarity(word)) ** 2
  return Math.sqrt(sum) || 1
}

/**
 * The cosine of the weighted words of the case with those of each demonstration.
 */
export const similarities = (memory: Memory, evidence: Evidence): ReadonlyArray<number> => {
  const found = Array.from({ length: memory.size }, () => 0)
  for (const [word, count] of evidence) {
    const postings = memory.postings.get(word)
    if (postings === undefined) continue
    const own = weight(count, memory.rarity(word))
    for (const [demo, weight] of postings) found[demo]! += own * weight // postings name demonstrations
  }
  const length = norm(evidence, memory.rarity)
  return found.map((sum) => sum / length)
}

export interface Match {
  readonly word: string
  readonly cue: Cue
}

/**
 * The values by score, and what decided: the cues that matched and how alike
 * each demonstration is.
 */
export interface Ranking {
  readonly scores: ReadonlyArray<number>
  readonly best: number
  readonly matched: ReadonlyArray<Match>
  readonly likeness: ReadonlyArray<number>
}

// Scores count twice as log-odds: on validation data the probabilities then match how often they are right
// (with 8, 20 and 40 demonstrations of six values: right .38, .52, .64 of the time, mean probability .46, .51, .55).
const decisiveness = 2

// How alike two cases without a common word are taken to be: it keeps the odds of a value finite.
const floor = 0.1
const sharpness = 2
const priorTrust = 0.3

export const rank = (options: {
  readonly values: number
  readonly memory: Memory
  readonly rules: Rules
  readonly evidence: Evidence
  /** Added to the log-probability of a value when one is chosen. */
  readonly noise: (value: number) => number
}): Ranking => {
  const { evidence, memory, rules, values } = options
  const likeness = similarities(memory, evidence)
  const support = Array.from({ length: values }, () => 0)
  likeness.forEach((similarity, demo) => {
    support[memory.values[demo]!]! += similarity // both are indices
  })
  // A handful of demonstrations for many values proves little.
  const reliability = memory.size / (memory.size + values)
  const scores = support.map((sum, value) => {
    const count = memory.counts[value]! // one per value
    // Between the sum and the mean: frequent values have more evidence, but also more chances to find some.
    const mean = count === 0 ? 0 : sum / Math.sqrt(count)
    const prior = memory.size === 0 ? 0 : Math.log((count + 0.5) / (memory.size + 0.5 * values))
    return reliability * sharpness * Math.log(1 + mean / floor) + priorTrust * prior + rules.bias[value]!
  })
  const matched: Array<Match> = []
  for (const word of evidence.keys()) {
    for (const cue of rules.cues.get(word) ?? []) {
      scores[cue.value]! += cue.weight
      matched.push({ word, cue })
    }
  }
  let best = 0
  const noisy = scores.map((score, value) => decisiveness * score + options.noise(value))
  noisy.forEach((score, value) => {
    if (score > noisy[best]!) best = value
  })
  return { scores, best, matched, likeness }
}

/**
 * The probability of each value that its score stands for.
 */
export const probabilities = (scores: ReadonlyArray<number>): ReadonlyArray<number> => {
  const top = Math.max(...scores)
  const weights = scores.map((score) => Math.exp(decisiveness * (score - top)))
  const sum = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => weight / sum)
}
