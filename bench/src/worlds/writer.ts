/**
 * The model as it writes: instructions, rules, observations, summaries, advice. It states what its own prompt bears out and nothing
 * else: rules that it reads there, in feedback or in earlier instructions, and rules that it induces from the examples it is
 * shown. It never looks at the hidden rules of the world.
 *
 * Like a real one it overlooks some, gets a few wrong, and takes coincidences for rules where examples are few.
 */
import { dice, hash, mix, uniform } from "./chance.ts"
import { type Field, type Message, write } from "./prompt.ts"
import * as rules from "./rules.ts"
import type { World } from "./World.ts"

/** What the prompt says about one input. */
interface Observed {
  readonly values: ReadonlyArray<number>
  readonly answers: ReadonlyArray<
    { readonly step: number; readonly answer: number; readonly dialect: number; readonly is: "right" | "wrong" }
  >
}

const overlooked = 0.07
const mistaken = 0.04
const capacity = 8
const capacityWhenBrief = 6

// -----------------------------------------------------------------------------
// Reading examples and feedback
// -----------------------------------------------------------------------------

const saysTruth =
  /(?:expected|should (?:be|have been)|(?:correct|right|true|gold) (?:answer|label|value|output|berth|grade)\w*|metadata|labels?)[^a-z]*(?:(?:is|was|berth|grade)[^a-z]*)*$/i
const saysOther = /(?:\bgot|\bnot|instead of|rather than|\bactual)[^a-z]*(?:(?:berth|grade)[^a-z]*)?$/i
const saysWrong = /\b(?:wrong|incorrect|fail(?:ed|s|ure)?|mistake)\b/i
const saysRight = /\b(?:right|correct|passed|success(?:ful)?)\b(?! answer| label| value)/i
const saysScore = /\b(?:score|reward)(?:[_ ]value)?\b[^0-9]{0,40}?([01](?:\.\d+)?)\b/i

// Beyond this an answer no longer belongs to the input above it.
const reach = 600

const verdict = (text: string): "right" | "wrong" | undefined => {
  if (saysWrong.test(text)) return "wrong"
  if (saysRight.test(text)) return "right"
  const score = saysScore.exec(text)?.[1]
  return score === undefined ? undefined : Number(score) >= 0.5 ? "right" : "wrong"
}

const observe = (world: World, text: string): ReadonlyArray<Observed> => {
  // Where an input stands: one value for each attribute, in their order.
  const found: Array<{ readonly values: ReadonlyArray<number>; readonly start: number; readonly end: number }> = []
  let values: Array<number> = []
  let start = 0
  for (const match of text.matchAll(/[a-z]+/g)) {
    const word = world.words.get(match[0])
    if (word?._tag !== "Value") continue
    if (word.attribute !== values.length) values = []
    if (word.attribute !== values.length) continue
    if (values.length === 0) start = match.index
    values.push(word.value)
    if (values.length < world.attributes.length) continue
    found.push({ values, start, end: match.index + match[0].length })
    values = []
  }
  const parts = found.map(({ end, values }, index) => {
    const after = text.slice(end, Math.min(found[index + 1]?.start ?? text.length, end + reach))
    return { values, after, verdict: verdict(after) }
  })
  // Where anything is judged, an answer that is not is no evidence.
  const judged = parts.some(({ verdict }) => verdict !== undefined)
  return parts.map(({ after, values, verdict }) => ({
    values,
    answers: Array.from(after.matchAll(/[a-z]+/g)).flatMap(({ 0: name, index }): Observed["answers"] => {
      const word = world.words.get(name)
      if (word?._tag !== "Answer") return []
      const { answer, dialect, step } = word
      const before = after.slice(Math.max(0, index - 60), index)
      if (saysTruth.test(before)) return [{ answer, dialect, step, is: "right" }]
      if (saysOther.test(before)) return [{ answer, dialect, step, is: "wrong" }]
      const is = verdict ?? (judged ? undefined : "right")
      // That the whole is wrong says nothing about a step before the last.
      return is === undefined || (is === "wrong" && step < world.steps.length - 1)
        ? []
        : [{ answer, dialect, step, is }]
    })
  }))
}

// -----------------------------------------------------------------------------
// Inducing
// -----------------------------------------------------------------------------

interface Claim {
  readonly rule: rules.Rule
  support: number
  against: number
}

const claims = (observed: ReadonlyArray<Observed>): ReadonlyArray<Claim> => {
  const byKey = new Map<string, Claim>()
  const seen = new Set<string>()
  const facts: Array<{ readonly values: ReadonlyArray<number>; readonly fact: Observed["answers"][number] }> = []
  for (const { answers, values } of observed) {
    for (const fact of answers) {
      const key = [values, fact.step, fact.answer, fact.is].join()
      if (seen.has(key)) continue // the same example once more is no more evidence
      seen.add(key)
      facts.push({ values, fact })
      if (fact.is === "wrong") continue
      values.forEach((value, attribute) => {
        const key = [attribute, value, fact.step, fact.answer].join()
        const claim = byKey.get(key)
        if (claim !== undefined) claim.support++
        else {
          const { answer, dialect, step } = fact
          byKey.set(key, { rule: { attribute, value, step, answer, dialect }, support: 1, against: 0 })
        }
      })
    }
  }
  const all = Array.from(byKey.values())
  for (const { fact, values } of facts) {
    for (const claim of all) {
      const { answer, attribute, step, value } = claim.rule
      if (step !== fact.step || values[attribute] !== value) continue
      if ((fact.is === "right") !== (fact.answer === answer)) claim.against++
    }
  }
  return all
}

// How well an attribute as a whole explains the answers of a step.
const consistency = (all: ReadonlyArray<Claim>, { attribute, step }: rules.Rule): number => {
  const repeated = all.filter(({ rule, support, against }) =>
    rule.attribute === attribute && rule.step === step && support + against > 1
  )
  return repeated.filter(({ against }) => against === 0).length / Math.max(1, repeated.length)
}

/** The rules that a writer takes from a prompt. */
export const induce = (world: World, prompt: string, sample: number): ReadonlyArray<rules.Rule> => {
  const { rest, rules: stated } = rules.read(world, prompt)
  const all = claims(observe(world, rest))
  const luck = mix(world.seed, hash(prompt), sample)
  const chance = (rule: rules.Rule, what: number) =>
    uniform(luck, rule.attribute, rule.value, rule.step, rule.answer, what)
  const about = ({ attribute, step, value }: rules.Rule) => [attribute, value, step].join()

  // What is said about one value most often, or last, unless the examples speak against it.
  const said = new Map<string, Map<string, { rule: rules.Rule; votes: number }>>()
  for (const rule of stated) {
    const options = said.get(about(rule)) ?? new Map<string, { rule: rules.Rule; votes: number }>()
    said.set(about(rule), options)
    const key = `${rule.answer}/${rule.dialect}`
    const votes = (options.get(key)?.votes ?? 0) + 1
    options.delete(key)
    options.set(key, { rule, votes })
  }
  const kept = Array.from(
    said.values(),
    (options) => Array.from(options.values()).reduce((best, option) => option.votes >= best.votes ? option : best).rule
  ).filter((rule) => {
    const evidence = all.filter((claim) => about(claim.rule) === about(rule))
    const support = evidence.find((claim) => claim.rule.answer === rule.answer)?.support ?? 0
    const other = evidence.reduce((sum, claim) => claim.rule.answer === rule.answer ? sum : sum + claim.support, 0)
    return other <= support && chance(rule, 1) >= overlooked
  })

  const asked = Number(/\b(\d+) [\w -]{0,40}rules\b/i.exec(prompt)?.[1] ?? 0)
  const brief = /(?:2|two)\s*(?:-|to)\s*(?:3|three) sentence|\b(?:concise|brief)\b/i.test(prompt)
  const fresh = all
    .filter(({ against, rule, support }) =>
      support >= 2 && against <= 0.2 * support && !said.has(about(rule)) &&
      chance(rule, 2) < 0.3 + 0.7 * consistency(all, rule)
    )
    .sort((a, b) => b.support + chance(b.rule, 3) - a.support - chance(a.rule, 3))
    .slice(0, Math.max(brief ? capacityWhenBrief : capacity, asked))
    .map(({ rule }) => rule)

  // Taken for another one that was seen.
  const seen = [...stated, ...all.map(({ rule }) => rule)]
  return [...kept, ...fresh].map((rule) => {
    if (chance(rule, 4) >= mistaken) return rule
    const others = seen.filter(({ answer, step }) => step === rule.step && answer !== rule.answer)
    return {
      ...rule,
      ...others[Math.floor(chance(rule, 5) * others.length)],
      attribute: rule.attribute,
      value: rule.value
    }
  })
}

// -----------------------------------------------------------------------------
// Writing
// -----------------------------------------------------------------------------

// No two writers word things alike.
const openings = [
  "Read the manifest of the ship line by line.",
  "You are the master of a harbour.",
  "Compare the manifest with what is known before you answer.",
  "Answer with one word and nothing else.",
  "Take care: ships wait for your word.",
  "Go by the manifest alone.",
  "Remarks at the end of a manifest are of no account.",
  "Look at every entry of the manifest.",
  "Be exact.",
  "Think first, then name the word.",
  "Every ship gets an answer.",
  "Do not guess where you can know."
]

const opening = (luck: number): string => dice(luck, "opening").shuffle(openings).slice(0, 3).join(" ")

// The modules of a program, where advice is wanted for each: as a list, or by what each was given.
const names = (prompt: string): ReadonlyArray<string> => {
  const lists = prompt.matchAll(/\bmodule_?names?\b[^\n]*\n([\s\S]{0,400})/gi)
  const last = Array.from(lists).at(-1)?.[1] ?? ""
  const listed = Array.from(last.split("\n\n")[0]!.matchAll(/[«"'`]([\w.[\]']+)[»"'`]/g), ([, name]) => name!)
  const called = Array.from(prompt.matchAll(/^\W*([\w.[\]']+): \{/gm), ([, name]) => name!)
  return Array.from(new Set(listed.length > 0 ? listed : called))
}

/** A record for each text, where the fields leave room for one: `op: "ADD" | "REMOVE", id?: string, text: string`. */
const records = (fields: string, texts: ReadonlyArray<string>): ReadonlyArray<unknown> => {
  const all = Array.from(
    fields.matchAll(/(\w+)(\??): ("[^"]*"|string)/g),
    ([, name, optional, type]) => ({ name: name!, optional: optional === "?", type: type! }) // the groups always match
  )
  const isText = (name: string) => /text|rule|content|advice|lesson/i.test(name)
  const isName = (name: string) => /\bid\b|name/i.test(name)
  if (!all.some(({ name }) => isText(name)) || all.some(({ name, optional }) => isName(name) && !optional)) return []
  return texts.map((text) =>
    Object.fromEntries(
      all.filter(({ name }) => !isName(name)).map(({ name, type }) => [
        name,
        isText(name) ? text : type === "string" ? "Rules" : JSON.parse(type) as unknown // a quoted literal
      ])
    )
  )
}

const same = (a: rules.Rule, b: rules.Rule): boolean =>
  a.attribute === b.attribute && a.value === b.value && a.step === b.step && a.answer === b.answer

const valueOf = (
  world: World,
  field: Field,
  text: string,
  found: ReadonlyArray<rules.Rule>,
  prompt: string
): unknown => {
  const type = field.type.toLowerCase()
  const record = /^\{ (.*) \}\[\]/.exec(field.type)?.[1]
  if (record !== undefined) return records(record, found.map((rule) => rules.state(world, rule)))
  if (/^(?:dict|record|object)|^\{/.test(type)) {
    return Object.fromEntries(
      names(prompt).map((name) => {
        const own = found.filter((rule) => name.includes(world.steps[rule.step]!.field))
        return [name, (own.length > 0 ? own : found).map((rule) => rules.state(world, rule)).join(" ") || text]
      })
    )
  }
  if (/^(?:list|array|tuple)|\[\]$/.test(type)) return found.map((rule) => rules.state(world, rule))
  if (type.startsWith("bool")) return false
  if (/^(?:int|float|number)/.test(type)) return 1
  const literal = /^one of: ([^;]+)/i.exec(field.type)?.[1] ?? /^literal\[['"]?([^'",\]]+)/i.exec(field.type)?.[1]
  if (literal !== undefined) return literal.trim()
  if (/reason|rationale|discussion|thought|critique/i.test(field.name)) return "I compared what I was shown."
  if (/prefix/i.test(field.name)) return "Answer:"
  // One thing that was learnt: what stands last in a prompt is the latest.
  if (/lesson|insight/i.test(field.name)) {
    const last = rules.read(world, prompt).rules.findLast((rule) => found.some((other) => same(rule, other)))
    return last === undefined ? "Nothing new." : rules.state(world, last)
  }
  return text
}

/** Whether the prompt lets the writer say that it has nothing to add. */
const complete = (prompt: string, found: ReadonlyArray<rules.Rule>, world: World): boolean => {
  if (!/\bCOMPLETE\b/.test(prompt)) return false
  const known = rules.read(world, prompt).rules
  return found.every((rule) => known.some((other) => same(rule, other)))
}

export const answer = (
  world: World,
  messages: ReadonlyArray<Message>,
  fields: ReadonlyArray<Field>,
  sample: number
): string => {
  const prompt = messages.map(({ content }) => content).join("\n\n")
  const found = induce(world, prompt, sample)
  const text = [opening(mix(hash(prompt), sample)), ...found.map((rule) => rules.state(world, rule))].join("\n")
  if (fields.length === 0) return `\`\`\`\n${text}\n\`\`\``
  if (complete(prompt, found, world)) return write(messages, fields.map(({ name }) => [name, "COMPLETE"]))
  return write(messages, fields.map((field) => [field.name, valueOf(world, field, text, found, prompt)]))
}
