/**
 * Numbers: calculated, estimated from demonstrations, or found in the inputs.
 */
import type { Json } from "@effect-dspy/core/Json"
import * as choose from "./choose.ts"
import { asked, type Desk, likeness } from "./desk.ts"
import * as extract from "./extract.ts"
import type { Shape } from "./shape.ts"
import type { Case, Slot } from "./slot.ts"
import { nameWords, stem } from "./words.ts"

type NumberShape = Extract<Shape, { readonly _tag: "Number" }>

/**
 * The number for a place, if the prompt has one.
 */
export const number = (desk: Desk, slot: Slot, shape: NumberShape): number | undefined => {
  const fits = (value: number): boolean =>
    value >= (shape.min ?? -Infinity) && value <= (shape.max ?? Infinity) &&
    (!shape.integer || Number.isInteger(value))
  const result = desk.texts.map(extract.arithmetic).find((value) => value !== undefined && fits(value))
  if (result !== undefined) return result
  if (/confidence|certainty|probability|likelihood/i.test(slot.name)) {
    const last = desk.decisions.at(-1)?.ranking
    return share(last === undefined ? 0.5 : choose.probabilities(last.scores)[last.best] ?? 0.5, shape)
  }
  const shown = desk.cases(slot).filter(({ value }) => typeof value === "number")
  const stated = shown.filter(({ facts, value }) => isStated(facts, value))
  if (shown.length > 0 && stated.length < shown.length / 2) return estimate(desk, shown, shape)
  const problem = asked(desk, extract.isQuestion)
  if (problem !== undefined) {
    const answer = extract.answer(problem.question, problem.sources, desk.lexicon)
    const found = extract.numbers(answer?.text ?? "").find(({ value }) => fits(value))
    if (answer !== undefined && found !== undefined) {
      desk.quotes.push({ name: slot.name, text: String(found.value), sentence: answer.sentence })
      return found.value
    }
  }
  return closest(desk, slot, fits)
}

/**
 * A share from 0 to 1 of what the bounds of a number allow.
 */
export const share = (part: number, shape: NumberShape): number => {
  const min = shape.min ?? Math.min(0, shape.max ?? 0)
  const max = shape.max ?? min + (shape.integer ? 100 : 1)
  const value = min + part * (max - min)
  return shape.integer ? Math.round(value) : Number(value.toFixed(3))
}

const isStated = (facts: choose.Facts, value: Json): boolean =>
  facts.some(([, text]) => extract.numbers(text).some((found) => found.value === value))

// The mean of the demonstrations' numbers, weighted by likeness.
const estimate = (desk: Desk, cases: ReadonlyArray<Case>, shape: NumberShape): number => {
  // Squared, so that the closest count most; the rest keeps the sum above 0.
  const weights = likeness(desk, cases).map((value) => value ** 2 + 1e-3)
  const sum = weights.reduce((sum, weight) => sum + weight, 0)
  const mean = cases.reduce((total, { value }, i) => total + Number(value) * weights[i]!, 0) / sum // one per case
  const bounded = Math.min(Math.max(mean, shape.min ?? -Infinity), shape.max ?? Infinity)
  return shape.integer ? Math.round(bounded) : Number(bounded.toPrecision(6))
}

// The number next to the words that the field is named and described by; otherwise the first one that fits.
const closest = ({ lexicon, texts }: Desk, slot: Slot, fits: (value: number) => boolean): number | undefined => {
  const about = new Set([...nameWords(slot.name).map(stem), ...lexicon(slot.description).stems.keys()])
  let best: { readonly value: number; readonly distance: number } | undefined
  for (const text of texts) {
    const anchors = lexicon(text).words.filter((word) => about.has(word.stem))
    for (const { index, value } of extract.numbers(text)) {
      const distance = Math.min(...anchors.map((anchor) => Math.abs(anchor.start - index)))
      if (fits(value) && (best === undefined || distance < best.distance)) best = { value, distance }
    }
  }
  return best?.value
}
