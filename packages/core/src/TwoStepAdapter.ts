/**
 * An answer in the model's own words, and another model that finds the fields
 * in it, for models that think best when no format is asked of them.
 *
 * The first model sees the fields and the task, no markers and no braces; what
 * it says is streamed as `ReasoningDelta`. The second one is asked for the same
 * outputs with that text as its only input, by an adapter of its own, and what
 * it writes are the fields. Both calls are reported to whoever listens, and both
 * belong to one call of the predictor: a trace holds its inputs and outputs,
 * demonstrations are shown to the first model only.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import * as Adapter from "./Adapter.ts"
import * as prompt from "./internal/prompt.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Predict from "./Predict.ts"
import * as Signature from "./Signature.ts"

/**
 * Asks for a free answer, and the model in `extraction`, built before, for the
 * fields in it.
 *
 * - `adapter`: how that model is asked, with its recoveries,
 *   `Predict.defaultAdapter` by default.
 *
 * The settings of the call go to the first model; the second one is asked with
 * its own defaults, for its own sample where there is a `rollout`. An answer
 * that is cut off or refused is the same typed error in both. When no fields are
 * found, the free answer is in `previous` of the `AdapterParseError`. With
 * `Adapter.reask`, the second model is asked again; with `Adapter.orElse`, the
 * first one is, by the other adapter.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as TwoStepAdapter from "@effect-dspy/core/TwoStepAdapter"
 * import { Effect, Layer } from "effect"
 *
 * const Thinker = TestLanguageModel.layer([TestLanguageModel.text("Two and two, that makes four.")])
 * const Small = TestLanguageModel.layer([TestLanguageModel.fields({ answer: 4 })])
 *
 * const program = Effect.gen(function*() {
 *   const small = yield* Layer.build(Small)
 *   const add = Module.withAdapter(Predict.make("question -> answer: int"), TwoStepAdapter.make({ extraction: small }))
 *   return yield* add({ question: "What is 2 + 2?" })
 * })
 *
 * Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(Thinker))).then((output) =>
 *   assert.deepStrictEqual(output, { answer: 4 })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly extraction: Context.Context<LanguageModel.LanguageModel>
  readonly adapter?: Adapter.Adapter | undefined
}): Adapter.Adapter => {
  const { adapter = Predict.defaultAdapter, extraction } = options
  return Adapter.make({
    name: "two-step",
    format: (input) => ({ messages: messages(input) }),
    parser: (signature, use) => adapter.parser(questionOf(signature).signature, use),
    extraction: {
      model: Context.get(extraction, LanguageModel.LanguageModel),
      adapter,
      question: (signature, answer) => {
        const { input, signature: question } = questionOf(signature)
        return { signature: question, inputs: { [input]: answer } }
      }
    }
  })
}

// Nothing is read back by these names, so nothing can be taken for them.
const plain: prompt.Label = { before: (name) => `${name}: `, text: (text) => text }

const messages = prompt.messages({
  structure: () => "Answer in your own words, in any form. Say everything that the output fields ask for.",
  answer: ({ outputs }, values) =>
    prompt.sections(outputs.filter((wire) => prompt.isGiven(wire, values)), values, plain),
  reminder: ({ outputs }) =>
    `Say what is asked for: ${outputs.map((wire) => wire.name + prompt.typeHint(wire)).join(", ")}.`,
  input: plain
})

// -----------------------------------------------------------------------------
// The second question
// -----------------------------------------------------------------------------

interface Question {
  readonly input: string
  readonly signature: Signature.Any
}

const questions = new WeakMap<Signature.Any, Question>()

const questionOf = (signature: Signature.Any): Question => {
  let question = questions.get(signature)
  if (question === undefined) {
    let input = "text"
    while (Object.hasOwn(signature.output.fields, input)) input += "_"
    question = {
      input,
      signature: Signature.make({
        instructions:
          "The text answers a question. Find the output fields in it: what it says of each, nothing that it does not say.",
        input: { [input]: Schema.String },
        output: signature.output.fields as Signature.Fields // of a signature, so they need no services
      })
    }
    questions.set(signature, question)
  }
  return question
}
