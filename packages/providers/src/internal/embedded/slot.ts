/**
 * Places for values, and what the demonstrations have there.
 */
import type { Json, JsonRecord } from "@effect-dspy/core/Json"
import * as choose from "./choose.ts"
import type { Demonstration, Field, Lesson } from "./prompt.ts"
import type { Member } from "./shape.ts"
import { type Lexicon, nameWords } from "./words.ts"

/**
 * An output field, or something inside one. `of` is the value that a
 * demonstration has there.
 */
export interface Slot extends Member {
  /** Unlike that of any other slot of the task. */
  readonly path: string
  readonly field: string
  readonly of: (demonstration: Demonstration) => Json | undefined
}

export const root = (field: Field): Slot => ({
  ...field,
  path: field.name,
  field: field.name,
  of: ({ outputs }) => outputs.get(field.name)
})

export const inside = (slot: Slot, member: Member): Slot => ({
  ...member,
  description: member.description === "" ? slot.description : member.description,
  field: slot.field,
  path: `${slot.path}.${member.name}`,
  of: (demonstration) => {
    const value = slot.of(demonstration)
    return typeof value === "object" && value !== null
      ? (value as JsonRecord)[member.name] // the items of an array can be read by the text of their index
      : undefined
  }
})

/**
 * A demonstration as seen from one slot: what came before it, and its value.
 */
export interface Case {
  readonly facts: choose.Facts
  readonly evidence: choose.Evidence
  readonly value: Json
}

/**
 * Only what stands before a field can be a reason for it, and an explanation
 * is no reason.
 */
export const cases = (lesson: Lesson, slot: Slot, lexicon: Lexicon): ReadonlyArray<Case> => {
  const at = lesson.outputs.findIndex(({ name }) => name === slot.field)
  const before = lesson.outputs.slice(0, at).filter((field) => !isExplanation(field))
  return lesson.demonstrations.flatMap((demonstration) => {
    const value = slot.of(demonstration)
    if (value === undefined) return []
    const facts: choose.Facts = [
      ...demonstration.inputs,
      ...before.flatMap(({ name }) => {
        const value = demonstration.outputs.get(name)
        return value === undefined || value === null ? [] : [[name, asText(value)] as const]
      })
    ]
    return [{ facts, evidence: choose.evidence(facts, lexicon), value }]
  })
}

export const isExplanation = ({ name, shape }: Member): boolean =>
  shape._tag === "Text" &&
  nameWords(name).some((word) =>
    /^(?:reason(?:ing|s)?|rationale|explanations?|thoughts?|justification|why)$/.test(word)
  )

export const asText = (value: Json): string => typeof value === "string" ? value : JSON.stringify(value)
