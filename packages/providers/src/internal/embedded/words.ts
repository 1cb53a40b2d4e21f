/**
 * Texts as words: where they stand, what they have in common with other forms
 * of the same word, and which of them carry meaning at all.
 */

/**
 * One word. `start` and `end` are offsets into the text, `stem` is the form by
 * which words are compared.
 */
export interface Word {
  readonly text: string
  readonly start: number
  readonly end: number
  readonly stem: string
  /** Whether it says something by itself, unlike `the` or `with`. */
  readonly content: boolean
}

/**
 * A text and its words. `stems` counts the content words.
 */
export interface Words {
  readonly text: string
  readonly words: ReadonlyArray<Word>
  readonly stems: ReadonlyMap<string, number>
}

/**
 * Splits texts into words, remembering the texts seen last: the same
 * demonstrations come back with every call.
 */
export type Lexicon = (text: string) => Words

const functionWords = new Set(
  ("a about am an and any are aren't as at be because been being both but by can can't cannot could couldn't did " +
    "didn't do does doesn't doing don't down each either else etc few for from further had hadn't has hasn't have " +
    "haven't having he her here hers herself him himself his how i i'd i'll i'm i've if in into is isn't it it's its " +
    "itself just let let's may me might more most much must my myself of on only onto or other our ours ourselves own " +
    "per please quite rather same shall she should shouldn't so some such than that that's the their theirs them " +
    "themselves then there there's these they they're they've this those though through thus to too unto up upon us very " +
    "via was wasn't we we'd we'll we're we've were weren't what what's when where whether which while who whom whose " +
    "why will with won't would wouldn't yet you you'd you'll you're you've your yours yourself yourselves").split(" ")
)

const word = /[\p{L}\p{N}]+(?:['’][\p{L}]+)*/gu

// Longest first. What must stay in front is at least three letters long.
const suffixes: ReadonlyArray<readonly [suffix: string, replacement: string]> = [
  ["ations", ""],
  ["ation", ""],
  ["ments", ""],
  ["edly", ""],
  ["ment", ""],
  ["ings", ""],
  ["ies", "y"],
  ["ied", "y"],
  ["ing", ""],
  ["ed", ""],
  ["es", ""],
  ["ly", ""],
  ["s", ""]
]

/**
 * The part that inflected forms of a word share: `plants`, `planted` and
 * `plantation` all give `plant`. For comparing only: many stems are no words.
 */
export const stem = (lower: string): string => {
  const bare = lower.endsWith("'s") ? lower.slice(0, -2) : lower
  if (bare.length <= 3) return bare
  let stem = bare
  for (const [suffix, replacement] of suffixes) {
    if (!bare.endsWith(suffix) || bare.length - suffix.length + replacement.length < 3) continue
    if (suffix === "s" && bare.endsWith("ss")) break
    stem = bare.slice(0, bare.length - suffix.length) + replacement
    break
  }
  if (stem.length <= 3) return stem
  const last = stem.at(-1)
  if (last === stem.at(-2) && last !== "s") return stem.slice(0, -1)
  if (last === "e") return stem.slice(0, -1)
  return last === "y" ? `${stem.slice(0, -1)}i` : stem
}

export const isFunctionWord = (lower: string): boolean => functionWords.has(lower)

/**
 * A text and its words.
 */
export const split = (text: string): Words => {
  const words: Array<Word> = []
  const stems = new Map<string, number>()
  for (const match of text.matchAll(word)) {
    const lower = match[0].toLowerCase().replaceAll("’", "'")
    const stemmed = stem(lower)
    const content = !functionWords.has(lower) && (stemmed.length > 1 || isNumber(stemmed))
    words.push({ text: match[0], start: match.index, end: match.index + match[0].length, stem: stemmed, content })
    if (content) stems.set(stemmed, (stems.get(stemmed) ?? 0) + 1)
  }
  return { text, words, stems }
}

const isNumber = (text: string): boolean => text >= "0" && text <= "9"

/**
 * Values by key, computed when missing, for the `capacity` keys used last.
 */
export const remember = <A>(capacity: number): (key: string, compute: () => A) => A => {
  const known = new Map<string, A>()
  return (key, compute) => {
    const found = known.get(key)
    const value = found ?? compute()
    // Maps list their keys in the order of insertion: the first one was not used for the longest time.
    if (found !== undefined) known.delete(key)
    else if (known.size >= capacity) known.delete(known.keys().next().value ?? key)
    known.set(key, value)
    return value
  }
}

export const makeLexicon = (): Lexicon => {
  const known = remember<Words>(4096)
  return (text) => known(text, () => split(text))
}

/**
 * A stretch of a text.
 */
export interface Span {
  readonly start: number
  readonly end: number
}

/**
 * The sentences of a text. A line break ends one too.
 */
export const sentences = (text: string): ReadonlyArray<Span> => {
  const spans: Array<Span> = []
  let start = 0
  const add = (end: number) => {
    const piece = text.slice(start, end)
    const trimmed = piece.trim()
    if (trimmed !== "") {
      const from = start + piece.indexOf(trimmed)
      spans.push({ start: from, end: from + trimmed.length })
    }
    start = end
  }
  for (const match of text.matchAll(/(?<![.!?…])[.!?…]+["'”’)\]]*(?=\s+|$)|\n+/g)) {
    const end = match.index + match[0].length
    if (match[0].startsWith(".") && isAbbreviation(text.slice(Math.max(start, match.index - 8), match.index))) continue
    add(end)
  }
  add(text.length)
  return spans
}

const isAbbreviation = (before: string): boolean =>
  /(?:^|[\s(])(?:[A-Za-z]|e\.g|i\.e|Mr|Mrs|Ms|Dr|Prof|St|vs|No|approx|etc)$/.test(before)

/**
 * The words of a name such as `card_arrival` or `replyText`, in lower case.
 */
export const nameWords = (name: string): ReadonlyArray<string> =>
  name.replace(/(\p{Ll}|\p{N})(\p{Lu})/gu, "$1 $2").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
