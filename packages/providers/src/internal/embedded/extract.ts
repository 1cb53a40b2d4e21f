/**
 * Answers that stand in the text already: the span that answers a question,
 * the sentence that says most, the numbers.
 */
import { isFunctionWord, type Lexicon, sentences, stem, type Word } from "./words.ts"

/**
 * A piece of a source and the sentence it is from.
 */
export interface Extract {
  readonly text: string
  readonly sentence: string
}

export const isQuestion = (text: string): boolean =>
  /\?["'”’)\]]*\s*$/.test(text) || /^\s*(?:who|whom|whose|what|when|where|which|why|how)\b/i.test(text)

/**
 * Sentences by how much they say: those whose words come up most in all
 * sources, or in the topic, first.
 */
export const central = (
  sources: ReadonlyArray<string>,
  topic: ReadonlySet<string>,
  lexicon: Lexicon
): ReadonlyArray<string> => {
  const frequency = new Map<string, number>()
  for (const source of sources) {
    for (const [stem, count] of lexicon(source).stems) frequency.set(stem, (frequency.get(stem) ?? 0) + count)
  }
  return ranked(sources, (sentence, position) => {
    let sum = 0
    let count = 0
    for (const stem of lexicon(sentence).stems.keys()) {
      sum += Math.log(1 + frequency.get(stem)!) + (topic.has(stem) ? 2 : 0) // every stem was counted
      count++
    }
    return count === 0 ? 0 : sum / (3 + count) + 0.2 / (1 + position)
  })
}

const ranked = (
  sources: ReadonlyArray<string>,
  score: (sentence: string, position: number) => number
): ReadonlyArray<string> =>
  sources
    .flatMap((source) =>
      sentences(source).map(({ end, start }, position) => {
        const sentence = source.slice(start, end)
        return { sentence, score: score(sentence, position) }
      })
    )
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score)
    .map(({ sentence }) => sentence)

/**
 * The first words of a text, in whole words, within both bounds.
 */
export const shortened = (text: string, words: number, characters: number, lexicon: Lexicon): string => {
  const found = lexicon(text).words
  if (found.length <= words && text.length <= characters) return text
  let kept = found.slice(0, words)
  while (kept.length > 1 && (kept.at(-1)!.end > characters || isFunctionWord(kept.at(-1)!.text.toLowerCase()))) {
    kept = kept.slice(0, -1) // length > 1: there is a last one
  }
  const last = kept.at(-1)
  return last === undefined ? text.slice(0, characters) : text.slice(0, Math.min(last.end, characters))
}

// -----------------------------------------------------------------------------
// Questions
// -----------------------------------------------------------------------------

const months = "January|February|March|April|May|June|July|August|September|October|November|December"
const date = new RegExp(
  `(?:\\d{1,2}(?:st|nd|rd|th)? (?:of )?(?:${months})|(?:${months}) \\d{1,2}(?:st|nd|rd|th)?|(?:${months}))(?:,? \\d{4})?` +
    "|\\d{4}-\\d{2}-\\d{2}|\\d{1,2}[/.]\\d{1,2}[/.]\\d{2,4}|\\d{1,2}(?::\\d{2})? ?(?:[ap]\\.?m\\b\\.?)|\\d{1,2}:\\d{2}" +
    "|\\b[12]\\d{3}\\b|\\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\\b|\\b(?:today|tomorrow|yesterday|tonight)\\b",
  "g"
)
const amount = /[$€£]?\s?\d[\d,]*(?:\.\d+)?(?:\s?%|\s(?:thousand|million|billion|percent)\b)?/g
const proper = /\p{Lu}[\p{L}\p{N}'’.&-]*(?:\s+(?:(?:of|the|de|van|von|and)\s+)?\p{Lu}[\p{L}\p{N}'’.&-]*)*/gu

interface Kind {
  readonly asked: RegExp
  readonly form: RegExp
}

const kinds: ReadonlyArray<Kind> = [
  { asked: /\b(?:when|(?:what|which) (?:year|date|day|time|month))\b/i, form: date },
  {
    asked:
      /\b(?:how (?:many|much|old|long|far|tall|high|big|large|fast|often)|what (?:number|percentage|price|amount))\b/i,
    form: amount
  },
  { asked: /\b(?:who|whom|whose|where|which|what)\b/i, form: proper }
]

const yesNo = /^\s*(?:is|are|was|were|do|does|did|can|could|will|would|has|have|had|should|may|must)\b/i

/**
 * The shortest span that answers a question, from the sentences that have most
 * in common with it. `undefined` if none has anything in common.
 */
export const answer = (
  question: string,
  sources: ReadonlyArray<string>,
  lexicon: Lexicon
): Extract | undefined => {
  const asked = lexicon(question).stems
  const all = sources.flatMap((source) => sentences(source).map(({ end, start }) => source.slice(start, end)))
  const frequency = new Map<string, number>()
  for (const sentence of all) {
    for (const stem of lexicon(sentence).stems.keys()) frequency.set(stem, (frequency.get(stem) ?? 0) + 1)
  }
  // What a question asks for comes right after "how" or "which".
  const focus = stem(/\b(?:how|which|what)\s+(\p{L}+)/iu.exec(question)?.[1]?.toLowerCase() ?? "")
  const best = ranked(sources, (sentence) => {
    let sum = 0
    for (const stem of lexicon(sentence).stems.keys()) {
      const rarity = Math.log(1 + all.length / frequency.get(stem)!) // every stem was counted
      if (asked.has(stem)) sum += stem === focus ? 2 * rarity : rarity
    }
    return sum
  })
  const [first] = best
  if (first === undefined) return undefined
  if (yesNo.test(question)) return { text: agrees(asked, first, lexicon) ? "yes" : "no", sentence: first }
  const kind = kinds.find((kind) => kind.asked.test(question))
  if (kind !== undefined) {
    for (const sentence of best.slice(0, 3)) {
      const span = nearest(sentence, kind, asked, lexicon)
      if (span !== undefined) return { text: span, sentence }
    }
  }
  return { text: rest(first, asked, lexicon) ?? first, sentence: first }
}

const agrees = (asked: ReadonlyMap<string, number>, sentence: string, lexicon: Lexicon): boolean => {
  const said = lexicon(sentence)
  const shared = Array.from(asked.keys()).filter((stem) => said.stems.has(stem)).length
  return shared >= 0.6 * asked.size && !/\b(?:not|never|no|cannot)\b|n't\b/i.test(sentence)
}

// The span of the right kind that stands closest to what was asked about, and is not itself part of the question.
const nearest = (
  sentence: string,
  kind: Kind,
  asked: ReadonlyMap<string, number>,
  lexicon: Lexicon
): string | undefined => {
  const { words } = lexicon(sentence)
  const anchors = words.filter((word) => asked.has(word.stem))
  let found: string | undefined
  let closest = Infinity
  for (const match of sentence.matchAll(kind.form)) {
    const text = match[0].trim().replace(/[.,;:]+$/, "")
    const start = match.index
    const end = start + match[0].length
    const inside = words.filter((word) => word.start >= start && word.end <= end)
    if (inside.every((word) => asked.has(word.stem) || !isTelling(word, kind))) continue
    const distance = anchors.reduce((sum, anchor) => {
      const between = anchor.start >= end ? sentence.slice(end, anchor.start) : sentence.slice(anchor.end, start)
      return sum + between.length + (/[,;]|\b(?:and|but)\b/.test(between) ? 20 : 0)
    }, inside.some((word) => asked.has(word.stem)) ? sentence.length : 0)
    if (distance < closest) {
      closest = distance
      found = text
    }
  }
  return found
}

// A capital at the start of a sentence makes no name of a function word.
const isTelling = (word: Word, kind: Kind): boolean => kind.form !== proper || word.content

// The longest run of words that the question does not have.
const rest = (sentence: string, asked: ReadonlyMap<string, number>, lexicon: Lexicon): string | undefined => {
  const { words } = lexicon(sentence)
  let run: Array<Word> = []
  let longest: Array<Word> = []
  for (const word of words) {
    if (asked.has(word.stem)) run = []
    else if (word.content || run.length > 0) run = [...run, word]
    const telling = run.slice(0, run.findLastIndex(({ content }) => content) + 1)
    if (telling.length > longest.length) longest = telling
  }
  const [first] = longest
  return first === undefined ? undefined : sentence.slice(first.start, longest.at(-1)?.end)
}

// -----------------------------------------------------------------------------
// Numbers
// -----------------------------------------------------------------------------

export interface Found {
  readonly value: number
  readonly index: number
}

export const numbers = (text: string): ReadonlyArray<Found> =>
  Array.from(text.matchAll(/(?<![\p{L}\p{N}_.])[-−]?\d[\d,]*(?:\.\d+)?/gu), (match) => ({
    value: Number(match[0].replaceAll(",", "").replace("−", "-")),
    index: match.index
  })).filter(({ value }) => Number.isFinite(value))

const operators: { readonly [symbol: string]: (a: number, b: number) => number } = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "−": (a, b) => a - b,
  "*": (a, b) => a * b,
  "×": (a, b) => a * b,
  "/": (a, b) => a / b,
  "÷": (a, b) => a / b,
  plus: (a, b) => a + b,
  minus: (a, b) => a - b,
  times: (a, b) => a * b
}

const term = "(-?\\d+(?:\\.\\d+)?)"
const sum = new RegExp(`(?<![\\d.])${term}\\s*(?:([+*×÷])|\\s([-−/])\\s|\\s(plus|minus|times)\\s)\\s*${term}`, "i")

/**
 * The value of a plain `a + b` in a text.
 */
export const arithmetic = (text: string): number | undefined => {
  const match = sum.exec(text)
  if (match === null) return undefined
  const operator = operators[(match[2] ?? match[3] ?? match[4] ?? "").toLowerCase()]
  const value = operator?.(Number(match[1]), Number(match[5]))
  return value === undefined || !Number.isFinite(value) ? undefined : Number(value.toPrecision(12))
}
