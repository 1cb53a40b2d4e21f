/**
 * What instructions state about the permitted values of a field: which words
 * speak for a value, which against it, and which value is the usual one.
 */
import type { Scalar } from "./shape.ts"
import { isFunctionWord, type Lexicon, nameWords, sentences, stem, type Word } from "./words.ts"

/**
 * A word that speaks for (`weight` above 0) or against one value. Weights are
 * log-odds. `source` is the sentence that says so, empty for the value's name.
 */
export interface Cue {
  readonly value: number
  readonly weight: number
  readonly source: string
}

export interface Rules {
  readonly cues: ReadonlyMap<string, ReadonlyArray<Cue>>
  /** What is said in favour of each value in general, as log-odds. */
  readonly bias: ReadonlyArray<number>
}

/**
 * A field for which rules are looked for, and the words that say nothing about
 * its value because they belong to the form of the task.
 */
export interface Subject {
  readonly name: string
  readonly values: ReadonlyArray<Scalar>
  readonly fieldNames: ReadonlyArray<string>
}

// How much one matching word of a hand-written rule is worth, in log-odds.
const trust = 1.5

// Rules match word by word. The more words belong together, the less each of them proves.
const dilution = 0.7

// How much the words of a value's own name are worth together.
const nameTrust = 1.5

// A sentence that names more values than this lists them and rules nothing.
const manyMentions = 40

// What "otherwise" and "in doubt" are worth.
const fallback = 0.7

// Words that instructions are made of, as opposed to what they are about.
const form = new Set(
  ("after again all also always answer any anything apply assign back before belong case categorize category " +
    "choose class classify consider contain decide describe determine ever every everything example field find " +
    "follow get give given go goes handle include indicate input instruction involve keep kind label like look " +
    "mark mean mention message must name never no not note nothing now off only other out output over pick prefer " +
    "question read refer regard relate respond return right route rule said say says select send set show " +
    "somebody someone something sort sound speak state still suggest tag take talk tell text thing treat type " +
    "until use usual usually value word write").split(" ").map(stem)
)

const otherwise =
  /\b(?:otherwise|else|default|unsure|uncertain|in doubt|nothing (?:else )?(?:fits|matches|applies)|no other|most (?:common|often|examples|of)|usually|everything else|all (?:the )?others|anything else|the rest)\b/i

// What follows does not tell the values apart: it says what must not be minded.
const concession =
  /\b(?:even (?:if|when|though)|although|though|regardless|no matter|whatever|whether or not|unless|except|but not|as opposed to)\b/i

const condition = /^\W*(?:if|when|whenever|where|for|in case|should|any|anything|every|all|a|an|the)\b/i

const negation =
  /\b(?:not|never|no|nor|isn't|aren't|don't|doesn't|without|over|than|instead of|except)(?:\s+(?:a|an|as|the|to|be|in|of|it))*\W*$/i

// What stands before the name of a value when a rule assigns it.
const assigning =
  /(?:\b(?:is|are|be|being|to|as|choose|pick|prefer|use|answer|assign|say|return|output|label|select|mark|means|becomes|but)(?:\s+(?:a|an|the))?|[=:→>])\s*["'“‘`*]*$/i

const counted = /^["'”’`*]*\s*\((\d+) of (\d+)\)/

interface Mention {
  readonly value: number
  readonly first: number
  readonly last: number
  readonly strong: boolean
  readonly negated: boolean
}

export const readRules = (text: string, subject: Subject, lexicon: Lexicon): Rules => {
  const cues = new Map<string, Array<Cue>>()
  const bias = subject.values.map(() => 0)
  const silent = new Set(subject.fieldNames.flatMap(nameWords).map(stem))
  const names = subject.values.map((value) => nameWords(String(value)))

  const add = (stem: string, cue: Cue): void => {
    const known = cues.get(stem)
    const same = known?.findIndex(({ value }) => value === cue.value) ?? -1
    if (known === undefined) cues.set(stem, [cue])
    else if (same === -1) known.push(cue)
    else if (Math.abs(cue.weight) > Math.abs(known[same]!.weight)) known[same] = cue // found above
  }

  const state = (words: ReadonlyArray<Word>, value: number, sign: number, clause: string, source: string): void => {
    for (const item of items(words, clause)) {
      const content = item.filter((word) =>
        word.content && !silent.has(word.stem) &&
        (!form.has(word.stem) || counted.test(clause.slice(word.end, word.end + 40)))
      )
      for (const word of content) {
        const count = counted.exec(clause.slice(word.end, word.end + 40))
        const weight = count === null
          ? trust / content.length ** dilution
          : logOdds(Number(count[1]), Number(count[2]), subject.values.length)
        add(word.stem, { value, weight: sign * weight, source })
      }
    }
  }

  const clause = (whole: string, heading: number | undefined): number | undefined => {
    const cut = concession.exec(whole)
    const clause = cut === null || cut.index === 0 ? whole : whole.slice(0, cut.index)
    const { words } = lexicon(clause)
    const mentions = find(clause, words, names, subject)
    if (mentions.length > manyMentions) return undefined
    const positive = mentions.filter((mention) => !mention.negated)
    if (mentions.length === 0) {
      if (heading !== undefined) state(words, heading, 1, clause, whole)
      return undefined
    }
    const outside = words.filter((_, i) => !mentions.some(({ first, last }) => i >= first && i <= last))
    if (otherwise.test(clause)) {
      for (const mention of positive) bias[mention.value]! += fallback // a mention is of a listed value
      return undefined
    }
    for (const mention of mentions) if (mention.negated) state(outside, mention.value, -0.5, clause, whole)
    const only = positive[0]
    if (only === undefined) return undefined
    if (positive.every((mention) => mention.value === only.value)) {
      state(outside, only.value, 1, clause, whole)
      return only.first === 0 ? only.value : undefined
    }
    // Several values in one sentence: each has the words on its own side.
    const before = condition.test(clause) && only.first > 0
    positive.forEach((mention, i) => {
      const from = before ? (positive[i - 1]?.last ?? -1) + 1 : mention.last + 1
      const to = before ? mention.first : positive[i + 1]?.first ?? words.length
      state(words.slice(from, to), mention.value, 1, clause, whole)
    })
    return undefined
  }

  let heading: number | undefined
  for (const line of text.split("\n")) {
    const bare = line.replace(/^\s*(?:[-*+•#>]+|\d+[.)])?\s*/, "")
    if (bare === "") {
      heading = undefined
      continue
    }
    const listed = bare !== line
    let carried = listed ? heading : undefined
    for (const { end, start } of sentences(bare)) {
      const sentence = bare.slice(start, end)
      for (const part of sentence.split(/;\s+/)) carried = clause(part, carried) ?? carried
    }
    const alone = /^[^:]{1,60}:?\W*$/.test(bare) && lexicon(bare).words.length <= 4
    if (!listed || alone) heading = alone ? carried : undefined
  }
  names.forEach((name, value) => {
    for (const word of name) {
      if (!isFunctionWord(word)) add(stem(word), { value, weight: nameTrust / Math.sqrt(name.length), source: "" })
    }
  })
  for (const [word, list] of cues) {
    // A word that speaks for several values tells less about each.
    const positive = list.filter((cue) => cue.weight > 0).length
    if (positive > 1) cues.set(word, list.map((cue) => ({ ...cue, weight: cue.weight / Math.sqrt(positive) })))
  }
  return { cues, bias }
}

// The items of an enumeration, each of which is a reason by itself.
const items = (words: ReadonlyArray<Word>, clause: string): ReadonlyArray<ReadonlyArray<Word>> => {
  const found: Array<Array<Word>> = [[]]
  words.forEach((word, i) => {
    const before = words[i - 1]
    const apart = before !== undefined && /[,;/()]/.test(clause.slice(before.end, word.start))
    if (apart || /^(?:or|and)$/i.test(word.text)) found.push([])
    found.at(-1)!.push(word) // there is at least one
  })
  return found
}

// How much more often than by chance a word goes with a value, from counts the prompt reports.
const logOdds = (hits: number, total: number, values: number): number => {
  const chance = 1 / Math.max(2, values)
  const rate = (hits + 2 * chance) / (total + 2)
  return Math.max(0, Math.log(rate / (1 - rate)) - Math.log(chance / (1 - chance)))
}

const find = (
  clause: string,
  words: ReadonlyArray<Word>,
  names: ReadonlyArray<ReadonlyArray<string>>,
  subject: Subject
): ReadonlyArray<Mention> => {
  const found = isYesNo(subject.values)
    ? findYesNo(clause, words, subject)
    : names.flatMap((name, value) => occurrences(clause, words, name, value))
  found.sort((a, b) => a.first - b.first)
  // A name may also be an ordinary word: where one is clearly meant as a value, the others are not.
  return found.some((mention) => mention.strong) ? found.filter((mention) => mention.strong) : found
}

const occurrences = (
  clause: string,
  words: ReadonlyArray<Word>,
  name: ReadonlyArray<string>,
  value: number
): ReadonlyArray<Mention> => {
  const found: Array<Mention> = []
  if (name.length === 0) return found
  for (let first = 0; first + name.length <= words.length; first++) {
    if (!name.every((part, i) => words[first + i]?.text.toLowerCase() === part)) continue
    found.push(mention(clause, words, value, first, first + name.length - 1))
  }
  return found
}

const mention = (
  clause: string,
  words: ReadonlyArray<Word>,
  value: number,
  first: number,
  last: number
): Mention => {
  const { start } = words[first]! // both are indices of words
  const { end } = words[last]!
  const before = clause.slice(Math.max(0, start - 60), start)
  const after = clause.slice(end, end + 10)
  return {
    value,
    first,
    last,
    strong: assigning.test(before) || /["'“‘`*]$/.test(before) || /^["'”’`*]*\s*(?:[:=–—→]|->|- )/.test(after) ||
      negation.test(before),
    negated: negation.test(before)
  }
}

const isYesNo = (values: ReadonlyArray<Scalar>): boolean =>
  values.length === 2 && values.includes(true) && values.includes(false)

// Yes-or-no fields are rarely spoken of as `true`: the name of the field is what a rule asserts or denies.
const findYesNo = (clause: string, words: ReadonlyArray<Word>, subject: Subject): Array<Mention> => {
  const yes = subject.values.indexOf(true)
  const no = subject.values.indexOf(false)
  const name = nameWords(subject.name).filter((word) => word !== "is" && !isFunctionWord(word))
  const named = occurrences(clause, words, name, yes)
  const spelled = words.flatMap((word, i) => {
    const lower = word.text.toLowerCase()
    const value = lower === "true" || lower === "yes" ? yes : lower === "false" || lower === "no" ? no : -1
    return value === -1 || (lower === "no" && !assigning.test(clause.slice(Math.max(0, word.start - 60), word.start)))
      ? []
      : [mention(clause, words, value, i, i)]
  })
  if (spelled.length > 0) return spelled
  return named.flatMap((found) => found.negated ? [{ ...found, value: no, negated: false }] : [found])
}
