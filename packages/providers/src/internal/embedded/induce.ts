/**
 * Writing instructions: rules that the examples in the prompt bear out, in the
 * form that `rules.ts` reads. Nothing is stated that was not counted.
 */
import * as Predicate from "effect/Predicate"
import type { Facts } from "./choose.ts"
import type { Draw } from "./noise.ts"
import { parsed } from "./shape.ts"
import { isFunctionWord, type Lexicon, nameWords } from "./words.ts"

type Example = ReadonlyMap<string, string>

// -----------------------------------------------------------------------------
// Examples, however they are written
// -----------------------------------------------------------------------------

/**
 * The records in a text: JSON, or `name: value` lines, headings and field
 * markers, where a name that comes again begins the next record.
 */
const examples = (text: string): ReadonlyArray<Example> => {
  const whole = parsed(text)
  if (whole !== undefined) return fromJson(whole)
  const lines = text.split("\n")
  const rows = lines.flatMap((line) => {
    const value = line.trim().startsWith("{") ? parsed(line.trim().replace(/,$/, "")) : undefined
    return value === undefined ? [] : fromJson(value)
  })
  return rows.length > 0 ? rows : fromLines(lines)
}

const fromJson = (value: unknown): ReadonlyArray<Example> => {
  if (Array.isArray(value)) return value.flatMap(fromJson)
  if (!Predicate.isRecord(value)) return []
  const lists = Object.values(value).filter((item) => Array.isArray(item) && item.some(Predicate.isRecord))
  if (lists.length > 0) return lists.flatMap(fromJson)
  const example = new Map<string, string>()
  flatten(value, example)
  return example.size > 1 ? [example] : []
}

const flatten = (record: { readonly [key: string]: unknown }, into: Map<string, string>): void => {
  for (const [key, value] of Object.entries(record)) {
    if (Predicate.isRecord(value)) flatten(value, into)
    else into.set(key, typeof value === "string" ? value : JSON.stringify(value))
  }
}

const keyed: ReadonlyArray<RegExp> = [
  /^\s*\[\[ ## (\w+) ## \]\]\s*(.*)$/,
  /^#{1,6}\s+[*`"]*([\p{L}_][\p{L}\p{N}_ ]{0,40}?)[*`"]*\s*:?\s*()$/u,
  /^\s*(?:[-*•]\s+)?[*`"]*([\p{L}_][\p{L}\p{N}_ ]{0,40}?)[*`"]*\s*(?::[*`"]*|=|->|=>|→)\s*(.*)$/u
]

const read = (line: string): readonly [key: string, value: string] | undefined => {
  for (const form of keyed) {
    const match = form.exec(line)
    if (match !== null) return [match[1]!.trim(), match[2]!.trim()] // no group is optional
  }
  return undefined
}

const structural =
  /^(?:examples?|records?|cases?|items?|inputs?|outputs?|generated outputs?|labels?|expected outputs?)(?: \w+)?$/i

const fromLines = (lines: ReadonlyArray<string>): ReadonlyArray<Example> => {
  const times = new Map<string, number>()
  for (const line of lines) {
    const key = read(line)?.[0]
    if (key !== undefined) times.set(key, (times.get(key) ?? 0) + 1)
  }
  const found: Array<Map<string, string>> = []
  let current = new Map<string, string>()
  let open: string | undefined
  const next = () => {
    if (current.size > 1) found.push(current)
    current = new Map()
    open = undefined
  }
  for (const line of lines) {
    const entry = read(line)
    // A name in front of a colon is a field only if several examples have it.
    if (entry !== undefined && (times.get(entry[0]) ?? 0) > 1 && !(structural.test(entry[0]) && entry[1] === "")) {
      if (current.has(entry[0])) next()
      open = entry[0]
      current.set(open, unquoted(entry[1]))
    } else if (/^\s*(?:[-=*_]{3,}|#*\s*\**(?:example|record|case|item)\s*#?\d+\W*)\s*$/i.test(line)) next()
    else if (open !== undefined && entry?.[1] !== "" && line.trim() !== "") {
      current.set(open, `${current.get(open) ?? ""}\n${line.trim()}`.trim())
    }
  }
  next()
  return found
}

const unquoted = (text: string): string => {
  const value = parsed(text)
  return typeof value === "string" ? value : text
}

// -----------------------------------------------------------------------------
// What they have in common
// -----------------------------------------------------------------------------

interface Target {
  readonly name: string
  readonly values: ReadonlyArray<string>
  readonly cases: ReadonlyArray<{ readonly text: string; readonly value: string }>
}

// Few words, and fewer values than examples: what a classification has as its result.
const maxWords = 4

const comment = /^(?:feedback|comments?|errors?|remarks?|score|reasoning|rationale|explanation|reward|metric|id)$/i

const targets = (records: ReadonlyArray<Example>): ReadonlyArray<Target> => {
  const names = new Set(records.flatMap((record) => Array.from(record.keys())))
  const long = new Set(
    Array.from(names).filter((name) =>
      records.some((record) => (record.get(name) ?? "").split(/\s+/).length > maxWords)
    )
  )
  return Array.from(names).flatMap((name) => {
    if (long.has(name) || comment.test(name)) return []
    const having = records.filter((record) => (record.get(name) ?? "") !== "")
    const values = new Set(having.map((record) => record.get(name)!)) // just filtered
    const repeats = values.size < having.length || having.length < 5
    if (values.size < 2 || !repeats || having.length < records.length / 2 || long.size === 0) return []
    const cases = having.flatMap((record) => {
      const value = corrected(record, record.get(name)!, values)
      const text = Array.from(record).flatMap(([key, text]) => long.has(key) && !comment.test(key) ? [text] : [])
      return value === undefined || text.length === 0 ? [] : [{ text: text.join("\n"), value }]
    })
    return [{ name, values: Array.from(values), cases }]
  })
}

// Feedback that names another value says what would have been right.
const corrected = (record: Example, value: string, values: ReadonlySet<string>): string | undefined => {
  const feedback = Array.from(record).flatMap(([key, text]) =>
    /feedback|comment|error|expected/i.test(key) ? [text] : []
  )
    .join(" ").toLowerCase()
  if (feedback === "") return value
  const words = new Set(feedback.match(/[\p{L}\p{N}_-]+/gu))
  const others = Array.from(values).filter((other) => other !== value && words.has(other.toLowerCase()))
  if (others.length === 1) return others[0]
  return /\b(?:wrong|incorrect|not correct|mistake)\b/.test(feedback) ? undefined : value
}

interface Count {
  readonly word: string
  readonly hits: number
  readonly total: number
}

interface Known {
  readonly field: string
  readonly value: string
  readonly counts: ReadonlyArray<Count>
}

const ruleLine = /^- (\S+) is (.+?) when it says: (.+)\.$/
const usualLine = /^- In doubt, \S+ is .+\.$/

const ruleText = ({ counts, field, value }: Known): string =>
  `- ${field} is ${value} when it says: ${
    counts.map(({ hits, total, word }) => `${word} (${hits} of ${total})`).join(", ")
  }.`

const readRule = (line: string): Known | undefined => {
  const match = ruleLine.exec(line.trim())
  if (match === null) return undefined
  const counts = Array.from(match[3]!.matchAll(/([^\s,]+) \((\d+) of (\d+)\)/g), (found) => ({ // no group is optional
    word: found[1]!,
    hits: Number(found[2]),
    total: Number(found[3])
  }))
  return { field: match[1]!, value: match[2]!, counts } // no group is optional
}

const distinctive = (target: Target, lexicon: Lexicon, draw: Draw | undefined): ReadonlyArray<Known> => {
  const counts = new Map<string, Map<string, number>>()
  const spelling = new Map<string, string>()
  // A sample reads some of the examples, so that samples differ; without sampling all of them are read.
  const cases = draw === undefined ? target.cases : target.cases.filter(({ text }) => draw(`case ${text}`) < 0.85)
  const share = new Map<string, number>()
  for (const { text, value } of cases) {
    share.set(value, (share.get(value) ?? 0) + 1)
    const seen = new Set<string>()
    for (const word of lexicon(text).words) {
      if (!word.content || seen.has(word.stem)) continue
      seen.add(word.stem)
      if (!spelling.has(word.stem)) spelling.set(word.stem, word.text.toLowerCase())
      const of = counts.get(word.stem) ?? new Map<string, number>()
      counts.set(word.stem, of.set(value, (of.get(value) ?? 0) + 1))
    }
  }
  const limit = draw === undefined ? 10 : 6 + Math.floor(draw(`limit ${target.name}`) * 9)
  const enough = cases.length < 12 ? 1 : 2
  return target.values.flatMap((value) => {
    const chance = (share.get(value) ?? 0) / cases.length
    const found = Array.from(counts).flatMap(([stem, of]) => {
      const hits = of.get(value) ?? 0
      const total = Array.from(of.values()).reduce((sum, count) => sum + count, 0)
      const word = spelling.get(stem)
      if (word === undefined || hits < enough || hits / total < Math.min(0.9, 1.5 * chance)) return []
      const gain = hits * Math.log((hits + 0.5) / (total + 1) / chance)
      return [{ word, hits, total, gain: draw === undefined ? gain : gain * (0.6 + 0.8 * draw(`word ${word}`)) }]
    })
    found.sort((a, b) => b.gain - a.gain || (a.word < b.word ? -1 : 1))
    return found.length === 0 ? [] : [{ field: target.name, value, counts: found.slice(0, limit) }]
  })
}

/**
 * The instruction that was in force, and the rules that the examples in the
 * prompt add to it. `undefined` if the prompt has neither.
 */
export const instructions = (
  question: Facts,
  field: string,
  lexicon: Lexicon,
  draw: Draw | undefined
): string | undefined => {
  const current = question.find(([name]) => /instruction|prompt/i.test(name) && !/history|attempt|tip/i.test(name))?.[1]
  const records = question.filter(([, text]) => text !== current).flatMap(([, text]) => examples(text))
  const found = records.length < 2 ? [] : targets(records)
  if (current === undefined && found.length === 0) return undefined
  const lines = (current ?? "").split("\n")
  const before = lines.flatMap((line) => readRule(line) ?? [])
  const fresh = found.flatMap((target) => distinctive(target, lexicon, draw))
  const kept = before.flatMap((known) => {
    const update = fresh.find(({ field, value }) => field === known.field && value === known.value)
    const words = new Set(update?.counts.map(({ word }) => word))
    const counts = known.counts.filter(({ word }) => !words.has(word))
    return counts.length === 0 ? [] : [{ ...known, counts }]
  })
  const rules = [...kept, ...fresh]
  const usual = found.flatMap(({ cases, name, values }) => {
    const [most] = values
      .map((value) => ({ value, count: cases.filter((one) => one.value === value).length }))
      .sort((a, b) => b.count - a.count)
    return most === undefined || most.count * values.length < 1.5 * cases.length
      ? []
      : [`- In doubt, ${name} is ${most.value}.`]
  })
  const base = lines.filter((line) => readRule(line) === undefined && !(usual.length > 0 && usualLine.test(line)))
    .join("\n").trim()
  const isRules = nameWords(field).some((word) => /^(?:rules?|observations?|advice|guidelines?)$/.test(word))
  const head = isRules || base === "" ? [] : [base]
  if (head.length === 0 && !isRules) head.push(...found.map(({ name }) => `Decide ${name}.`))
  return [...head, ...rules.map(ruleText), ...usual].join("\n")
}

/**
 * Whether a field asks for a text of this kind.
 */
export const isInstructions = (name: string): boolean =>
  nameWords(name).some((word) => /^(?:instructions?|rules?|observations?|advice|guidelines?|prompt)$/.test(word)) &&
  !isFunctionWord(name)
