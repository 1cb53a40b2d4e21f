/**
 * The model as it does a step of the task. How likely it answers right depends on what its prompt holds: rules that apply to the
 * input (right, wrong, both), demonstrations of the rule that governs it, how complete these are, and how much there is to read.
 */
import { hash, mix, normal, uniform } from "./chance.ts"
import { type Message, remembered, write } from "./prompt.ts"
import * as rules from "./rules.ts"
import { type Input, truth, type World } from "./World.ts"

/** A turn: a question, with the words of the world that it holds. */
interface Turn {
  readonly number: number
  readonly values: ReadonlyArray<number | undefined>
  readonly answers: ReadonlyArray<{ readonly step: number; readonly answer: number; readonly dialect: number }>
}

interface Demo {
  readonly asked: Turn
  readonly answer: Turn["answers"][number] | undefined
  readonly complete: boolean
}

/** What the prompt makes of the model: right with `probability`, and otherwise `misled` to an answer or guessing. */
export interface Judgement {
  readonly probability: number
  readonly misled: number | undefined
  /** How likely the form of the answer is wrong. */
  readonly drift: number
  /** How likely the answer is in the second dialect. */
  readonly second: number
}

export interface Solver {
  readonly judge: (messages: ReadonlyArray<Message>, step: number) => Judgement | undefined
  readonly answer: (messages: ReadonlyArray<Message>, step: number, sample: number, reasoning: boolean) => string
}

/** How much of a rule one demonstration of it shows. */
const shows = { complete: 0.65, partial: 0.3 }

/** What is left of that where the step before spoke another dialect. */
const understood = 0.15

/**
 * In logits: a demonstration of something else, 1000 tokens beyond those that are read with ease, a wrong answer to the step before,
 * demonstrations in another dialect than that answer.
 */
const costs = { distraction: 0.04, length: 0.2, misunderstanding: 2.5, dialect: 1.5 }

const easilyRead = 1200

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

export const make = (world: World): Solver => {
  const { dialects, weights } = world.kind

  const read = remembered((text): Turn => {
    const values: Array<number | undefined> = world.attributes.map(() => undefined)
    const answers: Array<Turn["answers"][number]> = []
    for (const [found] of text.matchAll(/[a-z]+/g)) {
      const word = world.words.get(found)
      if (word?._tag === "Value") values[word.attribute] ??= word.value
      else if (word !== undefined) answers.push(word)
    }
    return { number: Number(/\bship (\d+)/i.exec(text)?.[1] ?? 0), values, answers }
  })

  const stated = remembered((text) => rules.read(world, text).rules)
  const digest = remembered((text) => hash(text))
  const partial = remembered((text) => /not (?:given|supplied)/i.test(text))

  const demosOf = (messages: ReadonlyArray<Message>, step: number): ReadonlyArray<Demo> => {
    const demos: Array<Demo> = []
    for (let at = 0; at + 1 < messages.length - 1; at++) {
      const [asked, answered] = [messages[at]!, messages[at + 1]!] // within, by the bound
      if (asked.role !== "user" || answered.role !== "assistant") continue
      demos.push({
        asked: read(asked.content),
        answer: read(answered.content).answers.findLast((answer) => answer.step === step),
        complete: !partial(asked.content) && !partial(answered.content)
      })
    }
    return demos
  }

  const judge: Solver["judge"] = (messages, index) => {
    const asked = read(messages.at(-1)?.content ?? "")
    const step = world.steps[index]!
    const governing = asked.values[step.governs]
    if (governing === undefined) return undefined
    const right = step.truth[governing]!
    const input = asked.values
    const instructions = messages.filter(({ role }) => role === "system").map(({ content }) => content).join("\n")
    const known = stated(instructions)
    const demos = demosOf(messages, index)
    const before = index === 0 ? undefined : asked.answers.find((answer) => answer.step === index - 1)

    // Rules. The more of them there are, the more easily one is overlooked.
    const applicable = known.filter((rule) => rule.step === index && input[rule.attribute] === rule.value)
    const helping = applicable.filter(({ answer }) => answer === right).length
    const against = applicable.length - helping
    const attention = 1 / (1 + 0.015 * Math.max(0, known.length - 8))
    const byRules = applicable.length === 0 ? 0 : attention * (helping - against) / applicable.length

    // Demonstrations of the governing value. One is most of it, a second one adds less.
    let missing = 1
    let misleading = 1
    let complete = 0
    let foreign = 0
    let distracting = 0
    let wrongAnswer: number | undefined
    for (const demo of demos) {
      if (demo.complete) complete++
      const dialect = index === 0 ? undefined : demo.asked.answers.find((answer) => answer.step === index - 1)?.dialect
      const alike = before === undefined || dialect === undefined || dialect === before.dialect
      if (!alike && demo.complete) foreign++
      if (demo.answer === undefined || demo.asked.values[step.governs] !== governing) {
        distracting++
        continue
      }
      const strength = (demo.complete ? shows.complete : shows.partial) * (alike ? 1 : understood)
      if (demo.answer.answer === right) missing *= 1 - strength
      else {
        misleading *= 1 - strength
        wrongAnswer = demo.answer.answer
      }
    }
    const byDemos = misleading - missing

    const length = messages.reduce((sum, { content }) => sum + content.length, 0) / 4
    const misunderstood = before !== undefined && before.answer !== truth(world.steps[index - 1]!, asInput(asked))
    const logit = weights.base + step.known[governing]! +
      weights.rule * byRules +
      weights.demo * byDemos +
      weights.procedure * (1 - 0.5 ** complete) -
      costs.distraction * distracting -
      costs.length * Math.max(0, length - easilyRead) / 1000 -
      (misunderstood || (index > 0 && before === undefined) ? costs.misunderstanding : 0) -
      (dialects === 2 && complete > 0 ? costs.dialect * foreign / complete : 0) +
      // Wording matters a little, whatever it says, and inputs differ in difficulty.
      0.15 * normal(world.seed, digest(instructions), 11) +
      normal(world.seed, index, asked.number, 12)

    const wrongRule = applicable.find(({ answer }) => answer !== right)?.answer
    const spoken = [
      ...demos.flatMap(({ answer, complete }) => answer !== undefined && complete ? [answer.dialect] : []),
      ...known.filter((rule) => rule.step === index).map(({ dialect }) => dialect)
    ]
    const share = (spoken.filter((dialect) => dialect === 1).length + 0.25) / (spoken.length + 0.5)
    return {
      probability: sigmoid(logit),
      misled: byRules < 0 ? wrongRule : byDemos < 0 ? wrongAnswer : undefined,
      drift: 0.06 * 0.5 ** complete + 0.004 * Math.min(10, demos.length - complete),
      second: step.answers[0]!.length === 1 ? 0 : share ** 3 / (share ** 3 + (1 - share) ** 3)
    }
  }

  const asInput = (turn: Turn): Input => ({ number: turn.number, values: turn.values.map((value) => value ?? -1) })

  const answer: Solver["answer"] = (messages, index, sample, reasoning) => {
    const judgement = judge(messages, index)
    const step = world.steps[index]!
    const luck = mix(world.seed, sample, ...messages.map(({ content }) => digest(content)))
    if (judgement === undefined) return write(messages, [[step.field, "unknown"]])
    if (uniform(luck, 1) < judgement.drift) return `The ${step.field} cannot be told.`
    const right = truth(step, asInput(read(messages.at(-1)!.content)))
    const wrong = judgement.misled ??
      (right + 1 + Math.floor(uniform(luck, 3) * (step.answers.length - 1))) % step.answers.length
    const chosen = uniform(luck, 2) < judgement.probability ? right : wrong
    const dialect = uniform(luck, 4) < judgement.second ? 1 : 0
    return write(messages, [
      ...(reasoning ? [["reasoning", `Compared line by line (note ${luck.toString(36)}).`] as const] : []),
      [step.field, step.answers[chosen]![dialect]!]
    ])
  }

  return { judge, answer }
}
