/**
 * From a task to the values of its output fields.
 */
import type { Json } from "@effect-dspy/core/Json"
import * as choose from "./choose.ts"
import { choice, type Desk, makeDesks, type Sampling } from "./desk.ts"
import { explain } from "./explain.ts"
import * as extract from "./extract.ts"
import { number, share } from "./numbers.ts"
import type { Task } from "./prompt.ts"
import type { Member, Shape } from "./shape.ts"
import * as slots from "./slot.ts"
import { text, texts } from "./texts.ts"
import type { Lexicon } from "./words.ts"

/**
 * What is written where a text is wanted and the prompt has none to take it from.
 */
const unknown = "The prompt does not say, and this stand-in knows nothing else."

export const makeAnswerer = (
  lexicon: Lexicon
): (task: Task, sampling: Sampling | undefined) => ReadonlyMap<string, Json> => {
  const desks = makeDesks(lexicon)
  return (task, sampling) => {
    const desk = desks(task, sampling)
    const { outputs } = task.lesson
    const values = new Map<string, Json>()
    // Explanations often come first, but there has to be something to explain.
    const isReason = (field: Member) => outputs.length > 1 && slots.isExplanation(field)
    for (const field of outputs) {
      if (isReason(field)) continue
      const slot = slots.root(field)
      const value = field.optional ? fill(desk, slot) : filled(desk, slot)
      if (value === undefined) continue
      values.set(field.name, value)
      if (value !== null) desk.known.push([field.name, slots.asText(value)])
    }
    const reasons = explain(desk)
    return new Map(outputs.flatMap((field) => {
      const value = isReason(field) ? reasons : values.get(field.name)
      return value === undefined ? [] : [[field.name, value] as const]
    }))
  }
}

// The value for a place; undefined if nothing in the prompt gives one.
const fill = (desk: Desk, slot: slots.Slot): Json | undefined => {
  const { shape } = slot
  switch (shape._tag) {
    case "Choice":
      return choice(desk, slot, shape.values)
    case "Text":
      return text(desk, slot, shape.max ?? Infinity)
    case "Number":
      return number(desk, slot, shape)
    case "List":
      return list(desk, slot, shape)
    case "Tuple":
      return shape.items.map((item, i) => filled(desk, slots.inside(slot, member(String(i), item))))
    case "Record":
      return record(desk, slot, shape.members)
    case "Nullable":
      return nullable(desk, slot, shape.value)
  }
}

const filled = (desk: Desk, slot: slots.Slot): Json => fill(desk, slot) ?? blank(slot.shape)

const member = (name: string, shape: Shape): Member => ({ name, shape, optional: false, description: "" })

const record = (desk: Desk, slot: slots.Slot, members: ReadonlyArray<Member>): Json => {
  const found: { [key: string]: Json } = {}
  for (const member of members) {
    const place = slots.inside(slot, member)
    const value = member.optional ? fill(desk, place) : filled(desk, place)
    if (value !== undefined) found[member.name] = value
  }
  return found
}

const nullable = (desk: Desk, slot: slots.Slot, value: Shape): Json => {
  if (desk.cases(slot).some((one) => one.value === null)) {
    const given: slots.Slot = {
      ...slot,
      path: `${slot.path}?`,
      of: (demonstration) => {
        const value = slot.of(demonstration)
        return value === undefined ? undefined : value !== null
      }
    }
    if (desk.rank(given, [true, false]).best === 1) return null
  }
  return fill(desk, {
    ...slot,
    shape: value,
    path: `${slot.path}!`,
    of: (demonstration) => slot.of(demonstration) ?? undefined
  }) ?? null
}

const list = (desk: Desk, slot: slots.Slot, shape: Extract<Shape, { readonly _tag: "List" }>): Json => {
  const lengths = desk.cases(slot).flatMap(({ value }) => Array.isArray(value) ? [value.length] : [])
  const usual = lengths.length === 0 ? 3 : Math.round(lengths.reduce((sum, n) => sum + n, 0) / lengths.length)
  const least = shape.min ?? 0
  const count = Math.min(Math.max(usual, least), shape.max ?? Infinity)
  const item = shape.item
  switch (item._tag) {
    case "Choice": {
      const { best, scores } = desk.rank(slot, item.values)
      const likely = choose.probabilities(scores)
      const order = Array.from(likely.keys()).sort((a, b) => likely[b]! - likely[a]!) // keys of itself
      const close = order.filter((value, i) =>
        i < Math.max(1, least) || (i < count && likely[value]! > likely[order[0]!]! / 2) // keys of itself
      )
      return (close.includes(best) ? close : [best, ...close.slice(1)]).map((value) => item.values[value] ?? null)
    }
    case "Number":
      return padded(desk.texts.flatMap(extract.numbers).slice(0, count).map(({ value }) => value), least, item)
    case "Text":
      return padded(texts(desk, slot, count), least, item)
    default:
      return Array.from(
        { length: Math.max(1, least) },
        (_, i) => filled(desk, slots.inside(slot, member(String(i), item)))
      )
  }
}

const padded = (items: ReadonlyArray<Json>, least: number, item: Shape): Json => [
  ...items,
  ...Array.from({ length: Math.max(0, least - items.length) }, () => blank(item))
]

// What a value must at least be, where nothing is known.
const blank = (shape: Shape): Json => {
  switch (shape._tag) {
    case "Number":
      return share(0, shape)
    case "Text":
      return unknown.slice(0, shape.max)
    case "Choice":
      return shape.values[0] ?? null
    case "List":
      return padded([], shape.min ?? 0, shape.item)
    case "Tuple":
      return shape.items.map(blank)
    case "Record":
      return Object.fromEntries(
        shape.members.flatMap((member) => member.optional ? [] : [[member.name, blank(member.shape)]])
      )
    case "Nullable":
      return null
  }
}
