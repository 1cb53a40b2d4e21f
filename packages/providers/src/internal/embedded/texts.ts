/**
 * Free texts: taken from the inputs, in the manner of the demonstrations.
 */
import { asked, choice, type Desk, likeness, noise } from "./desk.ts"
import * as extract from "./extract.ts"
import * as induce from "./induce.ts"
import { asText, type Case, type Slot } from "./slot.ts"
import { type Lexicon, nameWords, stem } from "./words.ts"

/**
 * The text for a place of at most `characters`, if the prompt has one.
 */
export const text = (desk: Desk, slot: Slot, characters: number): string | undefined => {
  const { lesson, lexicon, question } = desk
  if (induce.isInstructions(slot.name)) {
    const written = induce.instructions(question, slot.name, lexicon, desk.sampling?.draw)
    if (written !== undefined) return written
  }
  const shown = desk.cases(slot).filter(({ value }) => typeof value === "string" && value !== "")
  const style = styleOf(shown, lexicon)
  if (style.closed !== undefined) return String(choice(desk, { ...slot, path: `${slot.path}=` }, style.closed))
  if (style.own) {
    const nearest = closestCase(desk, slot, shown)
    if (nearest !== undefined) return nearest
  }
  const words = style.words ?? wordLimit(slot, lesson.instructions) ?? Infinity
  const taken = (found: extract.Extract): string => {
    const text = extract.shortened(found.text, words, characters, lexicon)
    desk.quotes.push({ name: slot.name, text, sentence: found.sentence })
    return text
  }
  const problem = asked(desk, extract.isQuestion)
  if (problem === undefined) {
    const [best] = extract.central(desk.texts, topic(desk, slot), lexicon)
    return best === undefined ? undefined : taken({ text: best, sentence: best })
  }
  const result = extract.arithmetic(problem.question)
  if (result !== undefined) return String(result)
  const sources = problem.sources.length > 0 ? problem.sources : [lesson.instructions]
  const found = extract.answer(problem.question, sources, lexicon)
  if (found !== undefined) {
    return taken((style.words ?? 0) > 8 ? { text: found.sentence, sentence: found.sentence } : found)
  }
  if (/answer|response|reply|result|solution/i.test(slot.name)) return undefined
  const telling = lexicon(problem.question).words.filter(({ content }) => content).map(({ text }) => text).join(" ")
  return taken({ text: telling, sentence: problem.question })
}

/**
 * Several texts: words or sentences, as in the demonstrations or as the name
 * of the field suggests.
 */
export const texts = (desk: Desk, slot: Slot, count: number): ReadonlyArray<string> => {
  const { lexicon } = desk
  const items = desk.cases(slot).flatMap(({ value }) => Array.isArray(value) ? value.map(asText) : [])
  const single = items.length > 0
    ? mean(items.map((item) => lexicon(item).words.length)) < 2.5
    : nameWords(slot.name).some((word) => /^(?:keywords?|tags?|topics?|terms?|words?|names?|entities)$/.test(word))
  if (!single) return extract.central(desk.texts, topic(desk, slot), lexicon).slice(0, count)
  const found = new Map<string, { readonly text: string; readonly weight: number }>()
  for (const { content, stem, text } of desk.texts.flatMap((text) => lexicon(text).words)) {
    if (!content || /^\d/.test(text)) continue
    const known = found.get(stem)
    // Frequent words first; among equally frequent ones the longer, which tend to say more.
    found.set(stem, { text: known?.text ?? text.toLowerCase(), weight: (known?.weight ?? 0) + 1 + stem.length / 20 })
  }
  return Array.from(found.values()).sort((a, b) => b.weight - a.weight).slice(0, count).map(({ text }) => text)
}

// The words that the field is named and described by, and those of the instructions.
const topic = ({ lesson, lexicon }: Desk, slot: Slot): ReadonlySet<string> =>
  new Set([
    ...nameWords(slot.name).map(stem),
    ...lexicon(slot.description).stems.keys(),
    ...lexicon(lesson.instructions).stems.keys()
  ])

// Demonstrations that answer in words of their own can only be followed by repeating the closest one.
const closestCase = (desk: Desk, slot: Slot, cases: ReadonlyArray<Case>): string | undefined => {
  const alike = likeness(desk, cases)
  const freedom = noise(desk.sampling, slot)
  let best = 0
  const scores = alike.map((value, i) => value + 0.1 * freedom(i))
  scores.forEach((score, i) => {
    if (score > scores[best]!) best = i // best is an index of scores
  })
  const found = cases[best]
  return found === undefined || alike[best]! < 0.2 ? undefined : asText(found.value)
}

const wordLimit = (slot: Slot, instructions: string): number | undefined => {
  const stated = /(?:at most|under|up to|no more than|within|maximum(?: of)?|fewer than|less than|in)\s+(\d+)\s+words/i
    .exec(
      `${slot.description}\n${instructions}`
    )
  if (stated !== null) return Number(stated[1])
  return nameWords(slot.name).some((word) => /^(?:title|subject|headline|heading)$/.test(word)) ? 8 : undefined
}

const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)

interface Style {
  /** All values there are, when demonstrations repeat themselves. */
  readonly closed: ReadonlyArray<string> | undefined
  /** Whether most of the texts are not taken from the inputs. */
  readonly own: boolean
  readonly words: number | undefined
}

const styleOf = (cases: ReadonlyArray<Case>, lexicon: Lexicon): Style => {
  if (cases.length === 0) return { closed: undefined, own: false, words: undefined }
  const outputs = cases.map(({ value }) => asText(value))
  const distinct = Array.from(new Set(outputs))
  const quoted = cases.filter(({ facts, value }) =>
    facts.some(([, text]) => text.toLowerCase().includes(asText(value).toLowerCase()))
  )
  const words = Math.max(1, Math.ceil(mean(outputs.map((output) => lexicon(output).words.length))))
  const own = quoted.length < cases.length / 2
  const repeats = distinct.length <= 0.7 * outputs.length && words <= 8
  return { closed: own && distinct.length > 1 && (repeats || words <= 3) ? distinct : undefined, own, words }
}
