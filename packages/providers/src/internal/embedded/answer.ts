/**
 * From a task to the values of its output fields.
 */
import type { Json, JsonRecord } from "@effect-dspy/core/Json"
import * as Predicate from "effect/Predicate"
import * as choose from "./choose.ts"
import * as extract from "./extract.ts"
import * as induce from "./induce.ts"
import { type Draw, gumbel } from "./noise.ts"
import type { Demonstration, Lesson, Task } from "./prompt.ts"
import * as rules from "./rules.ts"
import type { Member, Scalar, Shape } from "./shape.ts"
import { parsed } from "./shape.ts"
import { type Lexicon, nameWords, stem } from "./words.ts"

/**
 * How freely to answer: `undefined` takes the best of everything, otherwise
 * choices are sampled at a temperature above 0.
 */
export interface Sampling {
  readonly temperature: number
  readonly draw: Draw
}

export type Answerer = (task: Task, sampling: Sampling | undefined) => ReadonlyMap<string, Json>

/**
 * A choice as it was made, for explaining it.
 */
interface Decision {
  readonly name: string
  readonly values: ReadonlyArray<Scalar>
  readonly ranking: choose.Ranking
  readonly cases: ReadonlyArray<Case>
}

// A demonstration as seen from one field: what came before it, and its value.
interface Case {
  readonly facts: choose.Facts
  readonly evidence: choose.Evidence
  readonly value: Json
}

interface Prepared {
  readonly values: ReadonlyArray<Scalar>
  readonly cases: ReadonlyArray<Case>
  readonly memory: choose.Memory
  readonly rules: rules.Rules
}

/**
 * A place for a value: a field, or something inside one. `of` finds the value
 * of a demonstration at that place.
 */
interface Slot extends Member {
  readonly path: string
  readonly field: string
  readonly of: (demonstration: Demonstration) => Json | undefined
}

const isText = (value: Json | undefined): value is string => typeof value === "string" && value !== ""

const asText = (value: Json): string => typeof value === "string" ? value : JSON.stringify(value)

const isExplanation = ({ name, shape }: Member): boolean =>
  shape._tag === "Text" &&
  nameWords(name).some((word) =>
    /^(?:reason(?:ing|s)?|rationale|explanations?|thoughts?|justification|why)$/.test(word)
  )

export const makeAnswerer = (lexicon: Lexicon): Answerer => {
  const prepared = new WeakMap<Lesson, Map<string, Prepared>>()

  const prepare = (lesson: Lesson, slot: Slot, values: ReadonlyArray<Scalar>): Prepared => {
    let known = prepared.get(lesson)
    if (known === undefined) {
      known = new Map()
      prepared.set(lesson, known)
    }
    let found = known.get(slot.path)
    if (found === undefined) {
      const cases = casesOf(lesson, slot)
      const demos = cases.flatMap(({ evidence, value }) =>
        (Array.isArray(value) ? value : [value]).flatMap((value) => {
          const index = values.findIndex((permitted) => permitted === value || String(permitted) === String(value))
          return index === -1 ? [] : [{ evidence, value: index }]
        })
      )
      found = {
        values,
        cases,
        memory: choose.memorize(demos, values.length),
        rules: rules.readRules(
          `${lesson.instructions}\n${slot.description}`,
          { name: slot.name, values, fieldNames: [...lesson.inputs, ...lesson.outputs].map(({ name }) => name) },
          lexicon
        )
      }
      known.set(slot.path, found)
    }
    return found
  }

  // Only what stands before a field can be a reason for it, and an explanation is no reason.
  const casesOf = (lesson: Lesson, slot: Slot): ReadonlyArray<Case> => {
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

  return ({ lesson, question }, sampling) => {
    const decisions: Array<Decision> = []
    const known: Array<readonly [string, string]> = [...question]
    const texts = question.flatMap(([, text]) => plainTexts(text))

    const noise = (path: string) => (value: number) =>
      sampling === undefined ? 0 : sampling.temperature * gumbel(sampling.draw(`${path} ${value}`))

    const ranking = (slot: Slot, values: ReadonlyArray<Scalar>) => {
      const { cases, memory, rules } = prepare(lesson, slot, values)
      const found = choose.rank({
        values: values.length,
        memory,
        rules,
        evidence: choose.evidence(known, lexicon),
        noise: noise(slot.path)
      })
      return { cases, found, memory }
    }

    const choice = (slot: Slot, values: ReadonlyArray<Scalar>): Scalar => {
      const { cases, found } = ranking(slot, values)
      decisions.push({ name: slot.name, values, ranking: found, cases })
      return values[found.best] ?? null
    }

    // ---------------------------------------------------------------------------
    // Values by shape. `undefined`: nothing in the prompt gives one.
    // ---------------------------------------------------------------------------

    const fill = (slot: Slot): Json | undefined => {
      const { shape } = slot
      switch (shape._tag) {
        case "Choice":
          return choice(slot, shape.values)
        case "Text":
          return text(slot, shape.max ?? Infinity)
        case "Number":
          return number(slot, shape)
        case "List":
          return list(slot, shape)
        case "Tuple":
          return shape.items.map((item, i) => filled(inner(slot, { name: String(i), shape: item })))
        case "Record":
          return record(slot, shape.members)
        case "Nullable": {
          const cases = prepare(lesson, slot, [true, false]).cases
          const nulls = cases.filter(({ value }) => value === null).length
          if (nulls > 0 && nulls === cases.length) return null
          if (nulls > 0) {
            const given: Slot = {
              ...slot,
              path: `${slot.path}?`,
              of: (demonstration) => {
                const value = slot.of(demonstration)
                return value === undefined ? undefined : value !== null
              }
            }
            if (ranking(given, [true, false]).found.best === 1) return null
          }
          return fill({
            ...slot,
            shape: shape.value,
            path: `${slot.path}!`,
            of: (demonstration) => slot.of(demonstration) ?? undefined
          }) ?? null
        }
      }
    }

    const filled = (slot: Slot): Json => fill(slot) ?? blank(slot.shape)

    const inner = (slot: Slot, member: { readonly name: string; readonly shape: Shape } & Partial<Member>): Slot => ({
      optional: false,
      description: slot.description,
      ...member,
      field: slot.field,
      path: `${slot.path}.${member.name}`,
      of: (demonstration) => {
        const value = slot.of(demonstration)
        return typeof value === "object" && value !== null
          ? (value as JsonRecord)[member.name] // arrays can be read by the text of an index
          : undefined
      }
    })

    const record = (slot: Slot, members: ReadonlyArray<Member>): Json => {
      const found: { [key: string]: Json } = {}
      for (const member of members) {
        const place = inner(slot, member)
        const value = member.optional ? fill(place) : filled(place)
        if (value !== undefined) found[member.name] = value
      }
      return found
    }

    const list = (slot: Slot, shape: Extract<Shape, { readonly _tag: "List" }>): Json => {
      const lengths = prepare(lesson, slot, []).cases.flatMap(({ value }) => Array.isArray(value) ? [value.length] : [])
      const usual = lengths.length === 0 ? 3 : Math.round(mean(lengths))
      const count = Math.min(Math.max(usual, shape.min ?? 0), shape.max ?? Infinity)
      const item = shape.item
      if (item._tag === "Choice") {
        const { found } = ranking({ ...slot, path: `${slot.path}[]` }, item.values)
        const likely = choose.probabilities(found.scores)
        const top = Math.max(...likely)
        const order = likely.map((p, value) => ({ p, value })).sort((a, b) => b.p - a.p)
        const kept = order.filter(({ p }, i) => i < Math.max(1, shape.min ?? 1) || (p > top / 2 && i < count))
        return kept.map(({ value }) => item.values[value] ?? null)
      }
      if (item._tag === "Number") return texts.flatMap(extract.numbers).slice(0, count).map(({ value }) => value)
      if (item._tag === "Text") return phrases(slot, count)
      return Array.from(
        { length: Math.max(1, shape.min ?? 1) },
        (_, i) =>
          filled({
            ...inner(slot, { name: String(i), shape: item }),
            of: (demonstration) => {
              const value = slot.of(demonstration)
              return Array.isArray(value) ? value[Math.min(i, value.length - 1)] : undefined
            }
          })
      )
    }

    // ---------------------------------------------------------------------------
    // Texts
    // ---------------------------------------------------------------------------

    const topic = (slot: Slot): ReadonlySet<string> =>
      new Set([
        ...nameWords(slot.name).map(stem),
        ...lexicon(slot.description).stems.keys(),
        ...lexicon(lesson.instructions).stems.keys()
      ])

    const asked = (): readonly [question: string, sources: ReadonlyArray<string>] | undefined => {
      const at = question.findIndex(([name, text]) => /^(?:question|query)$/i.test(name) || extract.isQuestion(text))
      const found = question[at]
      return found === undefined
        ? undefined
        : [found[1], question.flatMap(([, text], i) => i === at ? [] : plainTexts(text))]
    }

    const text = (slot: Slot, characters: number): string | undefined => {
      if (induce.isInstructions(slot.name)) {
        const written = induce.instructions(question, slot.name, lexicon, sampling?.draw)
        if (written !== undefined) return written
      }
      const cases = prepare(lesson, slot, []).cases.filter(({ value }) => isText(value))
      const style = styleOf(cases, lexicon)
      if (style.repeated.length > 0) {
        return String(choice({ ...slot, path: `${slot.path}=` }, style.repeated))
      }
      if (style.own && cases.length > 0) {
        const nearest = nearestCase(slot, cases)
        if (nearest !== undefined) return nearest
      }
      const words = Math.min(style.words ?? wordLimit(`${slot.description} ${lesson.instructions}`) ?? Infinity, 60)
      const problem = asked()
      const shaped = (found: string): string => extract.shortened(found, words, characters, lexicon)
      if (problem === undefined) {
        const [best] = extract.central(texts, topic(slot), lexicon)
        return best === undefined ? undefined : shaped(best)
      }
      const [query, sources] = problem
      const result = extract.arithmetic(query)
      if (result !== undefined) return String(result)
      const found = extract.answer(query, sources.length > 0 ? sources : [lesson.instructions], lexicon)
      if (found !== undefined) return shaped(words > 8 && style.words !== undefined ? found.sentence : found.text)
      if (/answer|response|reply|result|solution/i.test(slot.name)) return undefined
      return shaped(lexicon(query).words.filter((word) => word.content).map((word) => word.text).join(" "))
    }

    // Demonstrations that answer in words of their own can only be followed by repeating the closest one.
    const nearestCase = (slot: Slot, cases: ReadonlyArray<Case>): string | undefined => {
      const memory = choose.memorize(cases.map(({ evidence }) => ({ evidence, value: 0 })), 1)
      const likeness = choose.similarities(memory, choose.evidence(known, lexicon))
      const best = indexOfMax(likeness.map((value, i) => value + 0.1 * noise(slot.path)(i)))
      return (likeness[best] ?? 0) > 0.2 ? asText(cases[best]?.value ?? null) : undefined
    }

    const phrases = (slot: Slot, count: number): ReadonlyArray<string> => {
      const items = prepare(lesson, slot, []).cases
        .flatMap(({ value }) => Array.isArray(value) ? value.filter(isText) : [])
      const words = items.length === 0 ? undefined : mean(items.map((item) => lexicon(item).words.length))
      const single = words === undefined
        ? nameWords(slot.name).some((word) => /^(?:keywords?|tags?|topics?|terms?|words?|names?|entities)$/.test(word))
        : words < 2.5
      if (!single) return extract.central(texts, topic(slot), lexicon).slice(0, count)
      const counts = new Map<string, { readonly text: string; readonly weight: number }>()
      for (const text of texts) {
        for (const word of lexicon(text).words) {
          if (!word.content || /^\d/.test(word.text)) continue
          const known = counts.get(word.stem)
          counts.set(word.stem, {
            text: known?.text ?? word.text.toLowerCase(),
            weight: (known?.weight ?? 0) + 1 + word.stem.length / 20
          })
        }
      }
      return Array.from(counts.values()).sort((a, b) => b.weight - a.weight).slice(0, count).map(({ text }) => text)
    }

    // ---------------------------------------------------------------------------
    // Numbers
    // ---------------------------------------------------------------------------

    const number = (slot: Slot, shape: Extract<Shape, { readonly _tag: "Number" }>): number | undefined => {
      const fits = (value: number): boolean =>
        value >= (shape.min ?? -Infinity) && value <= (shape.max ?? Infinity) &&
        (!shape.integer || Number.isInteger(value))
      const sum = texts.map(extract.arithmetic).find((value) => value !== undefined && fits(value))
      if (sum !== undefined) return sum
      const decision = decisions.at(-1)
      if (decision !== undefined && /confidence|certainty|probability|likelihood/i.test(slot.name)) {
        return scaled(choose.probabilities(decision.ranking.scores)[decision.ranking.best] ?? 0, shape)
      }
      const cases = prepare(lesson, slot, []).cases.filter(({ value }) => typeof value === "number")
      const stated = (facts: choose.Facts, value: Json) =>
        facts.some(([, text]) => extract.numbers(text).some((found) => found.value === value))
      if (cases.length > 0 && cases.filter(({ facts, value }) => stated(facts, value)).length < cases.length / 2) {
        return estimate(cases, shape)
      }
      const problem = asked()
      if (problem !== undefined) {
        const [span] = extract.numbers(extract.answer(problem[0], problem[1], lexicon)?.text ?? "")
        if (span !== undefined && fits(span.value)) return span.value
      }
      return closest(slot, fits)
    }

    // The mean of the demonstrations' numbers, by likeness.
    const estimate = (
      cases: ReadonlyArray<Case>,
      shape: Extract<Shape, { readonly _tag: "Number" }>
    ): number => {
      const memory = choose.memorize(cases.map(({ evidence }) => ({ evidence, value: 0 })), 1)
      const weights = choose.similarities(memory, choose.evidence(known, lexicon)).map((value) => value ** 2 + 1e-3)
      const sum = weights.reduce((sum, weight) => sum + weight, 0)
      const value = cases.reduce((total, { value }, i) => total + Number(value) * (weights[i] ?? 0), 0) / sum
      const bounded = Math.min(Math.max(value, shape.min ?? -Infinity), shape.max ?? Infinity)
      return shape.integer ? Math.round(bounded) : Number(bounded.toPrecision(6))
    }

    // The number beside the words that the field is named and described by.
    const closest = (slot: Slot, fits: (value: number) => boolean): number | undefined => {
      const about = new Set([...nameWords(slot.name).map(stem), ...lexicon(slot.description).stems.keys()])
      let best: { readonly value: number; readonly distance: number } | undefined
      for (const text of texts) {
        const anchors = lexicon(text).words.filter((word) => about.has(word.stem))
        for (const { index, value } of extract.numbers(text)) {
          const distance = Math.min(1e6, ...anchors.map((anchor) => Math.abs(anchor.start - index)))
          if (fits(value) && (best === undefined || distance < best.distance)) best = { value, distance }
        }
      }
      return best?.value
    }

    // ---------------------------------------------------------------------------
    // Explanations
    // ---------------------------------------------------------------------------

    const explain = (of: ReadonlyArray<Decision>): string | undefined =>
      of.length === 0 ? undefined : of.map(because).join(" ")

    const because = ({ cases, name, ranking, values }: Decision): string => {
      const value = asText(values[ranking.best] ?? null)
      const matched = ranking.matched.filter(({ cue }) => cue.value === ranking.best && cue.weight > 0)
      const [strongest] = matched.slice().sort((a, b) => b.cue.weight - a.cue.weight)
      if (strongest !== undefined && strongest.cue.source !== "") {
        return `The instructions say "${
          oneLine(strongest.cue.source)
        }", and "${strongest.word}" fits what is given: ${name} is ${value}.`
      }
      const alike = cases
        .map((one, i) => ({ one, likeness: ranking.likeness[i] ?? 0 }))
        .filter(({ likeness, one }) => likeness > 0 && String(one.value) === value)
        .sort((a, b) => b.likeness - a.likeness)[0]
      if (alike !== undefined) {
        const mine = choose.evidence(known, lexicon)
        const shared = known
          .flatMap(([, text]) => lexicon(text).words)
          .filter((word, i, all) =>
            mine.has(word.stem) && alike.one.evidence.has(word.stem) && word.content &&
            all.findIndex(({ stem }) => stem === word.stem) === i
          )
          .map((word) => `"${word.text}"`)
        return `The closest example shares ${
          shared.slice(0, 4).join(", ") || "little"
        } with this and has ${name} ${value}.`
      }
      return strongest === undefined
        ? `Nothing in the prompt decides ${name}; ${value} is a guess.`
        : `"${strongest.word}" is in the name of ${value}: ${name} is ${value}.`
    }

    const values = new Map<string, Json>()
    const explanations = lesson.outputs.filter((field) => isExplanation(field) && lesson.outputs.length > 1)
    for (const field of lesson.outputs) {
      if (explanations.includes(field)) continue
      const slot: Slot = {
        ...field,
        path: field.name,
        field: field.name,
        of: ({ outputs }) => outputs.get(field.name)
      }
      const value = field.optional ? fill(slot) : filled(slot)
      if (value === undefined) continue
      values.set(field.name, value)
      if (value !== null) known.push([field.name, asText(value)])
    }
    for (const { name } of explanations) {
      values.set(name, explain(decisions) ?? evident(values, name))
    }
    return new Map(lesson.outputs.flatMap(({ name }) => {
      const value = values.get(name)
      return value === undefined ? [] : [[name, value] as const]
    }))
  }
}

/**
 * What is said where a text is wanted and the prompt has none to take it from.
 */
export const unknown = "The prompt does not say, and this stand-in knows nothing else."

const evident = (values: ReadonlyMap<string, Json>, except: string): string => {
  const taken = Array.from(values).filter(([name]) => name !== except)
  return taken.some(([, value]) => value === unknown)
    ? unknown
    : `Taken from what is given: ${taken.map(([name, value]) => `${name} is ${asText(value)}`).join("; ")}.`
}

const blank = (shape: Shape): Json => {
  switch (shape._tag) {
    case "Number":
      return scaled(0, shape)
    case "Text":
      return shape.max === undefined ? unknown : unknown.slice(0, shape.max)
    case "List":
      return Array.from({ length: shape.min ?? 0 }, () => blank(shape.item))
    case "Choice":
      return shape.values[0] ?? null
    case "Tuple":
      return shape.items.map((item) => blank(item))
    case "Record":
      return {}
    case "Nullable":
      return null
  }
}

// A share of what the bounds of a number allow.
const scaled = (share: number, shape: Extract<Shape, { readonly _tag: "Number" }>): number => {
  const min = shape.min ?? 0
  const max = shape.max ?? (shape.integer ? min + 100 : min + 1)
  const value = min + share * (max - min)
  return shape.integer ? Math.round(value) : Number(value.toFixed(3))
}

const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)

const indexOfMax = (values: ReadonlyArray<number>): number =>
  values.reduce((best, value, i) => value > (values[best] ?? -Infinity) ? i : best, 0)

const oneLine = (text: string): string => {
  const line = text.replace(/\s+/g, " ").trim()
  return line.length > 160 ? `${line.slice(0, 157)}...` : line
}

// A text input as it stands; of lists and objects, the texts inside.
const plainTexts = (written: string): ReadonlyArray<string> => {
  const value = /^[[{]/.test(written) ? parsed(written) : undefined
  return value === undefined ? [written] : textsIn(value)
}

const textsIn = (value: Json): ReadonlyArray<string> =>
  Array.isArray(value)
    ? value.flatMap(textsIn)
    : Predicate.isRecord(value)
    ? Object.values(value as JsonRecord).flatMap(textsIn) // a JSON object holds JSON
    : value === null
    ? []
    : [String(value)]

const wordLimit = (text: string): number | undefined => {
  const found = /(?:at most|under|up to|no more than|within|maximum(?: of)?|fewer than|less than|in)\s+(\d+)\s+words/i
    .exec(text)
  return found === null ? undefined : Number(found[1])
}

// How demonstrations write a text: from a closed set, in words of their own, or in a span of so many words.
const styleOf = (
  cases: ReadonlyArray<Case>,
  lexicon: Lexicon
): { readonly repeated: ReadonlyArray<string>; readonly own: boolean; readonly words: number | undefined } => {
  if (cases.length === 0) return { repeated: [], own: false, words: undefined }
  const outputs = cases.map(({ value }) => asText(value))
  const distinct = Array.from(new Set(outputs))
  const taken =
    cases.filter(({ facts, value }) =>
      facts.some(([, text]) => text.toLowerCase().includes(asText(value).toLowerCase()))
    ).length
  const words = Math.ceil(mean(outputs.map((output) => lexicon(output).words.length)))
  const closed = distinct.length < outputs.length && distinct.length <= Math.max(2, outputs.length * 0.7) && words <= 8
  return { repeated: closed ? distinct : [], own: taken < cases.length / 2, words: Math.max(1, words) }
}
