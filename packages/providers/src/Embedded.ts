/**
 * A stand-in for a language model, so that programs run where there is none:
 * in documentation, in demos, without a key or a network. **It is not a
 * language model.** It has no weights and knows nothing of the world; it learns
 * from the prompt of each call, and from nothing else.
 *
 * What it does with a prompt:
 *
 * - Permitted values (literals, booleans) are ranked by the likeness of the
 *   input to the demonstrations, by what the instructions state about each
 *   value (`citrus: sour, peel`; `if it freezes, risk is high`), and by the
 *   words of the value's own name. Better demonstrations and instructions give
 *   better answers, wrong ones mislead it.
 * - Texts and numbers are taken from the input: the span that answers a
 *   question, the sentence that says most, the number that fits; `a + b` is
 *   calculated. Reasoning names the evidence that decided.
 * - Asked to write instructions, it states the rules that the examples in its
 *   prompt bear out, with counts.
 *
 * It reads the prompts of `ChatAdapter` and `JsonAdapter`, and conversations
 * with a JSON Schema as response format. To anything else it answers with
 * {@link notice}. The same request always gets the same answer.
 *
 * @since 0.1.0
 */
import * as Embedder from "@effect-dspy/core/Embedder"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Chunk from "effect/Chunk"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { makeAnswerer } from "./internal/embedded/answer.ts"
import { draws } from "./internal/embedded/noise.ts"
import * as prompt from "./internal/embedded/prompt.ts"
import { dimensions, vector } from "./internal/embedded/vector.ts"
import { makeLexicon } from "./internal/embedded/words.ts"

/**
 * The name that responses and errors carry.
 *
 * @since 0.1.0
 * @category constants
 */
export const id = "embedded/in-context-learner"

/**
 * What every program that answers with it should show.
 *
 * @since 0.1.0
 * @category constants
 */
export const notice =
  "This answer comes from effect-dspy's embedded stand-in, not from a language model: it only learns from the instructions and examples in its prompt."

/**
 * `delay` is the pause before each word of a streamed answer, so that it looks
 * alive; none by default. Whole answers never wait.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly delay?: Duration.DurationInput | undefined
}

/**
 * The stand-in as a model service.
 *
 * At temperature 0, or without one, the best value is taken. Above 0 choices
 * are sampled: which sample is drawn depends on the prompt, `rollout`, `seed`
 * and the number of the output alone. Tokens are counted as characters / 4,
 * rounded up, for usage and for `maxTokens`. Tool calls that are required and
 * images fail with `InvalidRequest`.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Parameters from "@effect-dspy/core/Parameters"
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Embedded from "@effect-dspy/providers/Embedded"
 * import { Effect } from "effect"
 *
 * const sort = Predict.make("fruit -> kind: 'citrus' | 'berry'")
 * const taught = Module.withParameters(sort, {
 *   "": {
 *     demos: [
 *       Parameters.demo({ fruit: "sour with a thick peel", kind: "citrus" }),
 *       Parameters.demo({ fruit: "small, sweet and red", kind: "berry" })
 *     ]
 *   }
 * })
 *
 * const program = Effect.flatMap(taught, (sort) => sort({ fruit: "very sour, hard to peel" })).pipe(
 *   Effect.provideService(LanguageModel.LanguageModel, Embedded.make())
 * )
 *
 * Effect.runPromise(program).then((output) => assert.deepStrictEqual(output, { kind: "citrus" }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): LanguageModel.Service => {
  const lexicon = makeLexicon()
  const read = prompt.makeReader()
  const answer = makeAnswerer(lexicon)

  const respond = (request: LanguageModel.Request): LanguageModel.Response => {
    const { maxTokens, n = 1, rollout, seed, stop = [], temperature = 0 } = request.settings ?? {}
    const task = read(request)
    const text = request.messages.map(textOf).join("\n")
    const one = (index: number): LanguageModel.Output => {
      const whole = task === undefined ? notice : prompt.write(
        task.lesson,
        answer(
          task,
          temperature > 0
            ? { temperature, draw: draws(JSON.stringify([text, rollout, seed, index])) }
            : undefined
        )
      )
      return ended(whole, stop, maxTokens)
    }
    const outputs = Array.from({ length: n }, (_, index) => one(index))
    return {
      outputs,
      usage: {
        inputTokens: tokens(text),
        outputTokens: outputs.reduce((sum, output) => sum + tokens(output.text), 0)
      },
      model: id
    }
  }

  const generate: LanguageModel.Service["generate"] = (request) =>
    Effect.suspend(() => {
      const problem = unable(request)
      return problem === undefined ? Effect.sync(() => respond(request)) : Effect.fail(problem)
    })

  const pause = options.delay === undefined ? undefined : Effect.sleep(options.delay)

  return LanguageModel.make({
    id,
    capabilities: { streaming: true, responseFormat: "jsonSchema", multipleOutputs: true },
    generate,
    stream: (request) =>
      Stream.unwrap(Effect.map(generate(request), (response): Stream.Stream<LanguageModel.Delta> => {
        const deltas = Stream.fromChunk(Chunk.unsafeFromArray(words(response)))
        return pause === undefined
          ? deltas
          : Stream.tap(deltas, (delta) => delta._tag === "TextDelta" ? pause : Effect.void)
      }))
  })
}

/**
 * The stand-in as the model of a program.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<LanguageModel.LanguageModel> =>
  Layer.sync(LanguageModel.LanguageModel, () => make(options))

/**
 * A stand-in for an embedding model: texts are alike as far as they share
 * words, forms of words and spellings. It knows nothing of meaning: `car` is no
 * nearer to `automobile` than to `apple`.
 *
 * Vectors have 512 dimensions and length one, so that the dot product is the
 * cosine; a text with neither letters nor digits is the zero vector. The same
 * text always gives the same vector.
 *
 * @example
 * ```ts
 * import * as Embedder from "@effect-dspy/core/Embedder"
 * import * as Embedded from "@effect-dspy/providers/Embedded"
 * import { Effect } from "effect"
 *
 * const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
 *
 * const program = Effect.gen(function*() {
 *   const [question, near, far] = yield* Embedder.embed([
 *     "When did my new card arrive?",
 *     "The card has not arrived yet",
 *     "Exchange rates are bad today"
 *   ])
 *   assert.ok(dot(question!, near!) > dot(question!, far!))
 * })
 *
 * Effect.runPromise(program.pipe(Effect.provideService(Embedder.Embedder, Embedded.embedder)))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const embedder: Embedder.Service = Embedder.make({
  id: "embedded/hashed-words",
  dimensions,
  // One effect a text, so that many of them leave room for other fibers.
  embed: Effect.forEach((text) => Effect.sync(() => vector(text)))
})

/**
 * The stand-in as the embedder of a program.
 *
 * @since 0.1.0
 * @category layers
 */
export const embedderLayer: Layer.Layer<Embedder.Embedder> = Layer.succeed(Embedder.Embedder, embedder)

const textOf = ({ content }: LanguageModel.Message): string =>
  typeof content === "string"
    ? content
    : content.flatMap((part) => part._tag === "Text" ? [part.text] : []).join("\n")

const charactersPerToken = 4

const tokens = (text: string): number => Math.ceil(text.length / charactersPerToken)

const unable = (request: LanguageModel.Request): LanguageModelError.LanguageModelError | undefined => {
  const refuse = (description: string) =>
    LanguageModelError.make({
      reason: new LanguageModelError.InvalidRequest({ description }),
      provider: "embedded",
      model: id
    })
  if (request.toolChoice === "required" || typeof request.toolChoice === "object") {
    return refuse("the embedded stand-in cannot call tools; use a language model, or leave the choice to it")
  }
  return undefined
}

const ended = (
  text: string,
  stop: ReadonlyArray<string>,
  maxTokens: number | undefined
): LanguageModel.Output => {
  const stops = stop.map((sequence) => sequence === "" ? -1 : text.indexOf(sequence)).filter((at) => at !== -1)
  const stopped = text.slice(0, Math.min(text.length, ...stops))
  const cut = maxTokens === undefined ? stopped : stopped.slice(0, maxTokens * charactersPerToken)
  return { text: cut, toolCalls: [], finishReason: cut.length < stopped.length ? "length" : "stop" }
}

const words = (response: LanguageModel.Response): Array<LanguageModel.Delta> => [
  ...response.outputs.flatMap(({ finishReason, text }, index): Array<LanguageModel.Delta> => [
    ...(text.match(/\s*\S+|\s+/g) ?? []).map((text): LanguageModel.Delta => ({ _tag: "TextDelta", index, text })),
    { _tag: "Finish", index, reason: finishReason }
  ]),
  { _tag: "Completed", usage: response.usage, model: response.model }
]
