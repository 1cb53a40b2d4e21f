/**
 * What an optimizer is given of a world: a program, data, and a metric.
 */
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as Example from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import type * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { hash, uniform } from "./chance.ts"
import * as rules from "./rules.ts"
import { type Input, inputs, manifest, truth, type World } from "./World.ts"

export interface In {
  readonly manifest: string
}

export interface Labels {
  readonly berth: string
}

export interface Out {
  readonly grade: string
  readonly berth: string
  readonly reasoning: string
}

/** Whether the metric says why an answer is wrong, or only that it is. */
export type Feedback = "rich" | "poor"

export interface Problem {
  readonly module: Module.Module<In, Out, Predict.PredictError, LanguageModel.LanguageModel>
  readonly trainset: ReadonlyArray<Example.Example<In, Labels>>
  readonly valset: ReadonlyArray<Example.Example<In, Labels>>
  /** Never shown to an optimizer. */
  readonly population: ReadonlyArray<Example.Example<In, Labels>>
  /** What optimizers see. */
  readonly metric: Metric<In, Labels, Out>
  /** Without noise. */
  readonly exact: Metric<In, Labels, Out>
}

const berth = Signature.make({
  instructions: "Name the berth of the ship.",
  input: { manifest: Schema.String },
  output: { berth: Schema.String }
})

const grade = Signature.make({
  instructions: "Name the grade of the ship.",
  input: { manifest: Schema.String },
  output: { grade: Schema.String }
})

const graded = Signature.make({
  instructions: "Name the berth of the ship.",
  input: { manifest: Schema.String, grade: Schema.String },
  output: { berth: Schema.String }
})

const program = (steps: 1 | 2): Problem["module"] =>
  steps === 1
    ? Module.map(ChainOfThought.make(berth), ({ berth, reasoning }) => ({ grade: "", berth, reasoning }))
    : Module.make(
      { grade: ChainOfThought.make(grade), berth: ChainOfThought.make(graded) },
      function*(m, input: In) {
        const { grade } = yield* m.grade(input)
        const { berth, reasoning } = yield* m.berth({ ...input, grade })
        return { grade, berth, reasoning }
      }
    )

/** In words, what is wrong with an output and, if the feedback is rich, the rules that govern it. */
const explain = (world: World, input: Input, output: Out, feedback: Feedback): string => {
  const wrong = world.steps.flatMap((step, index) => {
    const given = (index === world.steps.length - 1 ? output.berth : output.grade).trim().toLowerCase()
    const right = truth(step, input)
    if (step.answers[right]!.includes(given)) return []
    const word = world.words.get(given)
    const dialect = word?._tag === "Answer" && word.step === index ? word.dialect : 0
    const rule = rules.state(world, {
      attribute: step.governs,
      value: input.values[step.governs]!,
      step: index,
      answer: right,
      dialect
    })
    return [`The ${step.field} should be ${step.answers[right]![dialect]}, not ${given}. ${rule}`]
  })
  return feedback === "poor" ? "Wrong." : ["Wrong.", ...wrong].join(" ")
}

export const make = (world: World, feedback: Feedback = "rich"): Problem => {
  const last = world.steps.at(-1)!
  const known = new Map<string, Input>()
  const examples = (set: "train" | "validation" | "test") =>
    inputs(world, set).map((input) => {
      const id = String(input.number)
      known.set(id, input)
      return Example.make({
        id,
        inputs: { manifest: manifest(world, input) },
        labels: { berth: last.answers[truth(last, input)]![0]! }
      })
    })
  const judged = (noise: number): Problem["metric"] => (example, output) =>
    Effect.sync(() => {
      const right = output.berth.trim().toLowerCase() === example.labels.berth
      // Every answer carries a note of its own: the noise is another for another prompt, and the same when looked at again.
      const told = uniform(hash(`${example.id}/${output.reasoning}`, world.seed)) < noise ? !right : right
      if (told) return { value: 1, feedback: "Right." }
      return {
        value: 0,
        feedback: right ? "Wrong." : explain(world, known.get(example.id)!, output, feedback)
      }
    })
  return {
    module: program(world.kind.steps),
    trainset: examples("train"),
    valset: examples("validation"),
    population: examples("test"),
    metric: judged(world.kind.noise),
    exact: judged(0)
  }
}

/** The scores of a program on inputs that no optimizer has seen, without noise. An answer that cannot be read is wrong. */
export const scores = <E, R>(
  module: Module.Module<In, Out, E, R>,
  { exact, population }: Pick<Problem, "exact" | "population">
): Effect.Effect<ReadonlyArray<number>, never, R> =>
  Effect.forEach(population, (example) =>
    Effect.matchEffect(module(example.inputs), {
      onFailure: () => Effect.succeed(0),
      onSuccess: (output) => Effect.map(exact(example, output, []), ({ value }) => value)
    }))
