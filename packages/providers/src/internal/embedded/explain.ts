/**
 * Reasons: the evidence that really decided, in words.
 */
import * as choose from "./choose.ts"
import type { Decision, Desk } from "./desk.ts"
import { asText } from "./slot.ts"

/**
 * Why the fields written so far are what they are.
 */
export const explain = (desk: Desk): string => {
  const reasons = desk.decisions.map((decision) => because(desk, decision))
  const grounded = reasons.flatMap((reason) => reason ?? [])
  const guessed = desk.decisions.filter((_, i) => reasons[i] === undefined)
  const quoted = desk.quotes.map(({ name, sentence, text }) =>
    oneLine(sentence) === oneLine(text)
      ? `"${oneLine(sentence)}" says most about ${name}.`
      : `"${oneLine(sentence)}" gives ${name}: ${oneLine(text)}.`
  )
  const sentences = [...grounded, ...quoted]
  if (sentences.length > 0) return sentences.join(" ")
  return guessed.length === 0
    ? "Nothing in the prompt had to be weighed up."
    : `Nothing in the prompt decides ${guessed.map(({ name }) => name).join(" and ")}.`
}

const because = (desk: Desk, { cases, name, ranking, values }: Decision): string | undefined => {
  const value = asText(values[ranking.best] ?? null)
  const [cue] = ranking.matched
    .filter(({ cue }) => cue.value === ranking.best && cue.weight > 0)
    .sort((a, b) => b.cue.weight - a.cue.weight)
  if (cue !== undefined && cue.cue.source !== "") {
    return `The instructions say "${oneLine(cue.cue.source)}", and here is "${
      spelled(desk, cue.word)
    }": ${name} is ${value}.`
  }
  const [closest] = cases
    .filter((one) => String(one.value) === value)
    .map((one) => ({ one, shared: shared(desk, one.evidence) }))
    .sort((a, b) => b.shared.length - a.shared.length)
  if (closest !== undefined && closest.shared.length > 0) {
    const words = closest.shared.slice(0, 4).map((word) => `"${spelled(desk, word)}"`)
    return `An example with ${name} ${value} has ${words.join(", ")} in common with this.`
  }
  return cue === undefined ? undefined : `"${spelled(desk, cue.word)}" speaks of ${value}: ${name} is ${value}.`
}

const shared = (desk: Desk, evidence: choose.Evidence): ReadonlyArray<string> =>
  Array.from(choose.evidence(desk.known, desk.lexicon).keys()).filter((word) => evidence.has(word))

// A word as the inputs write it.
const spelled = (desk: Desk, stem: string): string => {
  for (const [, text] of desk.known) {
    const found = desk.lexicon(text).words.find((word) => word.stem === stem)
    if (found !== undefined) return found.text
  }
  return stem
}

const oneLine = (text: string): string => {
  const line = text.replace(/\s+/g, " ").trim()
  return line.length > 160 ? `${line.slice(0, 157)}...` : line
}
