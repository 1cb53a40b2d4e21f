/**
 * Everything one answer is written from: the task, what has been written so
 * far, and the means to choose.
 */
import * as choose from "./choose.ts"
import { type Draw, gumbel } from "./noise.ts"
import type { Lesson, Task } from "./prompt.ts"
import * as rules from "./rules.ts"
import type { Scalar } from "./shape.ts"
import { parsed, textsIn } from "./shape.ts"
import { type Case, cases, type Slot } from "./slot.ts"
import type { Lexicon } from "./words.ts"

/**
 * How freely to answer.
 */
export interface Sampling {
  readonly temperature: number
  readonly draw: Draw
}

/**
 * A choice as it was made, for explaining it.
 */
export interface Decision {
  readonly name: string
  readonly values: ReadonlyArray<Scalar>
  readonly ranking: choose.Ranking
  readonly cases: ReadonlyArray<Case>
}

export interface Desk extends Task {
  readonly lexicon: Lexicon
  /** Without it the best is taken. */
  readonly sampling: Sampling | undefined
  /** The texts in the inputs. */
  readonly texts: ReadonlyArray<string>
  /** The inputs, and the outputs written so far. */
  readonly known: Array<readonly [field: string, text: string]>
  readonly decisions: Array<Decision>
  /** Sentences that answers were taken from. */
  readonly quotes: Array<{ readonly name: string; readonly text: string; readonly sentence: string }>
  readonly cases: (slot: Slot) => ReadonlyArray<Case>
  readonly rank: (slot: Slot, values: ReadonlyArray<Scalar>) => choose.Ranking
}

interface Study {
  readonly cases: Map<string, ReadonlyArray<Case>>
  readonly choices: Map<string, { readonly memory: choose.Memory; readonly rules: rules.Rules }>
}

/**
 * Desks share what was learned from a lesson.
 */
export const makeDesks = (lexicon: Lexicon): (task: Task, sampling: Sampling | undefined) => Desk => {
  const studies = new WeakMap<Lesson, Study>()

  const studied = (lesson: Lesson, slot: Slot, { cases: known }: Study): ReadonlyArray<Case> => {
    const found = known.get(slot.path) ?? cases(lesson, slot, lexicon)
    known.set(slot.path, found)
    return found
  }

  const choiceOf = (lesson: Lesson, slot: Slot, values: ReadonlyArray<Scalar>, study: Study) => {
    const known = study.choices.get(slot.path)
    if (known !== undefined) return known
    const shown = studied(lesson, slot, study).flatMap(({ evidence, value }) =>
      (Array.isArray(value) ? value : [value]).flatMap((value) => {
        const index = values.findIndex((permitted) => String(permitted) === String(value))
        return index === -1 ? [] : [{ evidence, value: index }]
      })
    )
    const fresh = {
      memory: choose.memorize(shown, values.length),
      rules: rules.readRules(
        `${lesson.instructions}\n${slot.description}`,
        { name: slot.name, values, fieldNames: [...lesson.inputs, ...lesson.outputs].map(({ name }) => name) },
        lexicon
      )
    }
    study.choices.set(slot.path, fresh)
    return fresh
  }

  return (task, sampling) => {
    const study = studies.get(task.lesson) ?? { cases: new Map(), choices: new Map() }
    studies.set(task.lesson, study)
    const known: Desk["known"] = [...task.question]
    return {
      ...task,
      lexicon,
      sampling,
      texts: task.question.flatMap(([, text]) => plainTexts(text)),
      known,
      decisions: [],
      quotes: [],
      cases: (slot) => studied(task.lesson, slot, study),
      rank: (slot, values) =>
        choose.rank({
          ...choiceOf(task.lesson, slot, values, study),
          values: values.length,
          evidence: choose.evidence(known, lexicon),
          noise: noise(sampling, slot)
        })
    }
  }
}

export const noise = (sampling: Sampling | undefined, slot: Slot) => (value: number): number =>
  sampling === undefined ? 0 : sampling.temperature * gumbel(sampling.draw(`${slot.path} ${value}`))

/**
 * Chooses, and remembers why.
 */
export const choice = (desk: Desk, slot: Slot, values: ReadonlyArray<Scalar>): Scalar => {
  const ranking = desk.rank(slot, values)
  desk.decisions.push({ name: slot.name, values, ranking, cases: desk.cases(slot) })
  return values[ranking.best] ?? null
}

/**
 * A text input as it stands; of lists and objects, the texts inside.
 */
const plainTexts = (written: string): ReadonlyArray<string> => {
  const value = /^[[{]/.test(written) ? parsed(written) : undefined
  return value === undefined ? [written] : textsIn(value)
}

/**
 * How alike each case of a slot is to what is known.
 */
export const likeness = (desk: Desk, cases: ReadonlyArray<Case>): ReadonlyArray<number> =>
  choose.similarities(
    choose.memorize(cases.map(({ evidence }) => ({ evidence, value: 0 })), 1),
    choose.evidence(desk.known, desk.lexicon)
  )

/**
 * The input that asks something, and the texts that may hold the answer.
 */
export const asked = (
  desk: Desk,
  isQuestion: (text: string) => boolean
): { readonly question: string; readonly sources: ReadonlyArray<string> } | undefined => {
  const named = desk.question.findIndex(([name]) => /^(?:question|query)$/i.test(name))
  const at = named === -1 ? desk.question.findIndex(([, text]) => isQuestion(text)) : named
  const found = desk.question[at]
  return found === undefined
    ? undefined
    : { question: found[1], sources: desk.question.flatMap(([, text], i) => i === at ? [] : plainTexts(text)) }
}
