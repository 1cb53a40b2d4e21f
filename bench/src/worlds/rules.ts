/**
 * How rules are stated in a world, and how they are found in a text.
 */
import type { World } from "./World.ts"

/** That a value has an answer, whether it is so or not. */
export interface Rule {
  readonly attribute: number
  readonly value: number
  readonly step: number
  readonly answer: number
  readonly dialect: number
}

export const state = (world: World, rule: Rule): string => {
  const { name, values } = world.attributes[rule.attribute]! // rules are made from the world
  const { answers, field } = world.steps[rule.step]!
  return `If ${name} is ${values[rule.value]}, then ${field} is ${answers[rule.answer]![rule.dialect]}.`
}

/** The rules that hold, in one of the dialects. */
export const trueRules = (world: World, dialect = 0): ReadonlyArray<Rule> =>
  world.steps.flatMap((step, index) =>
    step.truth.map((answer, value) => ({ attribute: step.governs, value, step: index, answer, dialect }))
  )

const sentence =
  /\b(?:if|when|where|whenever)\s+(?:the\s+)?[\w-]+\s+(?:is|=|equals)\s+["'`*]*(\w+)["'`*]*\s*,?\s*(?:then\s+)?(?:the\s+)?[\w-]+\s+(?:is|=|equals|must be|should be)\s+["'`*]*(\w+)["'`*]*\.?/gi

/** The rules of a text, in their order, and the text without them. */
export const read = (world: World, text: string): { readonly rules: ReadonlyArray<Rule>; readonly rest: string } => {
  const rules: Array<Rule> = []
  const rest = text.replace(sentence, (found: string, condition: string, consequence: string) => {
    const value = world.words.get(condition.toLowerCase())
    const answer = world.words.get(consequence.toLowerCase())
    if (value?._tag !== "Value" || answer?._tag !== "Answer") return found
    rules.push({
      attribute: value.attribute,
      value: value.value,
      step: answer.step,
      answer: answer.answer,
      dialect: answer.dialect
    })
    return " "
  })
  return { rules, rest }
}
