/**
 * A world is a task with hidden rules, made from a kind and a seed.
 *
 * Its inputs are manifests of ships: every manifest has one value for each of five attributes. A step of the program asks for
 * one word, the answer. Which answer is right follows from the value of one attribute, the governing one, which nobody names:
 * it has to be found out from examples, or from feedback.
 *
 * All words of a world are coined, so that a text can be searched for them without understanding the language around them.
 *
 * Frozen on 2026-11-21, when our LabeledFewShot, BootstrapFewShot and RandomSearch and the optimizers of DSPy had been run in it, and
 * none of our others: neither the kinds nor the numbers of this folder may follow what an optimizer does with them. A new kind may
 * be added.
 */
import { type Dice, dice } from "./chance.ts"

// =============================================================================
// Kinds
// =============================================================================

/** What makes the model of a world answer better or worse, in logits. */
export interface Weights {
  /** Without any help, mean and deviation over the governing values. */
  readonly base: number
  readonly spread: number
  /** A rule that is stated. */
  readonly rule: number
  /** A demonstration of the rule. */
  readonly demo: number
  /** Complete demonstrations, of whatever. */
  readonly procedure: number
}

export interface Kind {
  readonly name: string
  readonly steps: 1 | 2
  readonly weights: Weights
  /** With two, the steps understand each other only if their demonstrations use the same words for the same things. */
  readonly dialects: 1 | 2
  readonly sizes: { readonly train: number; readonly validation: number; readonly test: number }
  /** The share of the validation set that is drawn from two governing values only. */
  readonly skew: number
  /** How often the metric that an optimizer sees says the opposite. */
  readonly noise: number
}

const sizes = { train: 100, validation: 100, test: 300 }
const mixed: Weights = { base: -2.1, spread: 0.8, rule: 2.4, demo: 3, procedure: 0.5 }
const plain = { steps: 1, dialects: 1, sizes, skew: 0, noise: 0 } as const

export const kinds: ReadonlyArray<Kind> = [
  { ...plain, name: "demo", weights: { base: -1.8, spread: 0.8, rule: 0, demo: 3.6, procedure: 0.8 } },
  { ...plain, name: "rule", weights: { base: -1.8, spread: 0.8, rule: 4, demo: 0.4, procedure: 0.2 } },
  { ...plain, name: "mixed", weights: mixed },
  { ...plain, name: "deceptive", weights: mixed, skew: 0.7, sizes: { ...sizes, validation: 20 } },
  { ...plain, name: "noisy", weights: mixed, noise: 0.15 },
  { ...plain, name: "demo-2", steps: 2, weights: { base: -0.6, spread: 0.8, rule: 0, demo: 3.2, procedure: 0.6 } },
  { ...plain, name: "rule-2", steps: 2, weights: { base: -0.6, spread: 0.8, rule: 3.4, demo: 0.4, procedure: 0.2 } },
  { ...plain, name: "mixed-2", steps: 2, weights: { base: -0.9, spread: 0.8, rule: 2, demo: 2.6, procedure: 0.4 } },
  {
    ...plain,
    name: "interacting",
    steps: 2,
    dialects: 2,
    weights: { base: -0.6, spread: 0.8, rule: 1, demo: 3.2, procedure: 0.4 }
  }
]

// =============================================================================
// Worlds
// =============================================================================

export interface Attribute {
  readonly name: string
  readonly values: ReadonlyArray<string>
}

export interface Step {
  /** The output field that asks for the answer. */
  readonly field: string
  /** The governing attribute. */
  readonly governs: number
  /** The right answer by governing value. */
  readonly truth: ReadonlyArray<number>
  /** The words for each answer, one in each dialect. */
  readonly answers: ReadonlyArray<ReadonlyArray<string>>
  /** How much better than usual the model does with a governing value on its own, in logits. */
  readonly known: ReadonlyArray<number>
}

/** What a coined word means. */
export type Word =
  | { readonly _tag: "Value"; readonly attribute: number; readonly value: number }
  | { readonly _tag: "Answer"; readonly step: number; readonly answer: number; readonly dialect: number }

export interface World {
  readonly kind: Kind
  readonly seed: number
  readonly attributes: ReadonlyArray<Attribute>
  readonly steps: ReadonlyArray<Step>
  readonly words: ReadonlyMap<string, Word>
}

/** One value for each attribute, and a number that no other input of the world has. */
export interface Input {
  readonly number: number
  readonly values: ReadonlyArray<number>
}

const attributes = ["hull", "mast", "cargo", "flag", "crew"]
const values = 8
const answers = 6

/** The fields that are asked for, the last one being the answer that counts. */
export const fields = (kind: Kind): ReadonlyArray<string> => kind.steps === 1 ? ["berth"] : ["grade", "berth"]

const coin = (draw: Dice, taken: Set<string>): string => {
  const pick = (letters: string) => letters[draw.below(letters.length)]
  for (;;) {
    const word = Array.from({ length: 3 }, () => `${pick("bdfgklmnprstvz")}${pick("aeiou")}`).join("") +
      pick("klmnrsx")
    if (taken.has(word)) continue
    taken.add(word)
    return word
  }
}

export const make = (kind: Kind, seed: number): World => {
  const draw = dice(kind.name, seed, "world")
  const taken = new Set<string>()
  const coined = (count: number) => Array.from({ length: count }, () => coin(draw, taken))
  const world = {
    attributes: attributes.map((name) => ({ name, values: coined(values) })),
    steps: draw.shuffle(attributes.map((_, index) => index)).slice(0, kind.steps).map((governs, index): Step => ({
      field: fields(kind)[index]!, // as many fields as steps
      governs,
      truth: draw.shuffle(Array.from({ length: values }, (_, value) => value % answers)),
      // What counts in the end has one name only.
      answers: Array.from({ length: answers }, () => coined(index === kind.steps - 1 ? 1 : kind.dialects)),
      known: Array.from({ length: values }, () => kind.weights.spread * draw.normal())
    }))
  }
  const words = new Map<string, Word>()
  world.attributes.forEach((attribute, index) =>
    attribute.values.forEach((word, value) => words.set(word, { _tag: "Value", attribute: index, value }))
  )
  world.steps.forEach((step, index) =>
    step.answers.forEach((dialects, answer) =>
      dialects.forEach((word, dialect) => words.set(word, { _tag: "Answer", step: index, answer, dialect }))
    )
  )
  return { kind, seed, ...world, words }
}

/** The world of a name such as `mixed/3`: a kind and a seed. */
export const named = (name: string): World => {
  const [kindName, seed] = name.split("/")
  const kind = kinds.find((kind) => kind.name === kindName)
  if (kind === undefined || seed === undefined || !/^\d+$/.test(seed)) {
    throw new RangeError(
      `no world named ${name}: a name is a kind and a seed, as in mixed/3; kinds are ${
        kinds.map(({ name }) => name).join(", ")
      }`
    )
  }
  return make(kind, Number(seed))
}

/** The right answer of a step. */
export const truth = (step: Step, input: Input): number => step.truth[input.values[step.governs]!]! // one value for each attribute

// =============================================================================
// Inputs
// =============================================================================

const remarks = [
  "papers in order",
  "arrived with the tide",
  "pilot on board",
  "customs seen",
  "waiting at the roads",
  "second call this month",
  "paint still wet",
  "captain asks for haste",
  "light ballast",
  "no passengers"
]

/** The text of an input. */
export const manifest = (world: World, input: Input): string => {
  const draw = dice(world.seed, "remarks", input.number)
  const listed = world.attributes.map(({ name, values }, index) => `${name} ${values[input.values[index]!]}`) // one value for each attribute
  return `Ship ${input.number}: ${listed.join(", ")}; ${draw.shuffle(remarks).slice(0, 1 + draw.below(3)).join(", ")}.`
}

/** The inputs of a data set. Numbers tell the sets apart. */
export const inputs = (world: World, set: "train" | "validation" | "test"): ReadonlyArray<Input> => {
  const draw = dice(world.kind.name, world.seed, set)
  const first = { train: 1, validation: 1001, test: 2001 }[set]
  const favoured = dice(world.kind.name, world.seed, "favoured").shuffle(Array.from({ length: values }, (_, v) => v))
  return Array.from({ length: world.kind.sizes[set] }, (_, index) => {
    const skewed = set === "validation" && draw.uniform() < world.kind.skew
    return {
      number: first + index,
      values: world.attributes.map((_, attribute) => {
        const governs = world.steps.some((step) => step.governs === attribute)
        return skewed && governs ? favoured[draw.below(2)]! : frequent(draw) // two of eight
      })
    }
  })
}

// Some values are twice as frequent as others.
const frequent = (draw: Dice): number => {
  const at = draw.uniform() * 12
  return at < 8 ? Math.floor(at / 2) : Math.floor(at - 4)
}
