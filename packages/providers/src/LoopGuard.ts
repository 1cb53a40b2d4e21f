/**
 * Ends streams in which a model says the same over and over: a policy.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as Policy from "@effect-dspy/core/Policy"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import { failure } from "./internal/failure.ts"
import { spanEvent } from "./internal/spanEvent.ts"

/**
 * What `LoopGuard` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How often in a row a model may write the same piece; default 100. */
  readonly repeats?: number | undefined
}

/**
 * Counts streams that were ended, tagged by `model`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const loops = Metric.counter("effect_dspy_loops", {
  description: "Streams that were ended because the model repeated itself",
  incremental: true
})

/**
 * Fails a stream with `StreamFailed` of the kind `loop`, and closes its
 * connection, when the model writes the same piece of text, reasoning or
 * arguments more than `repeats` times in a row: some never stop by themselves,
 * and every piece is paid for. Pieces of one or two characters do not count, as
 * they may be a line or a gap that is drawn.
 *
 * An answer that is not streamed cannot be ended before it is there.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
 * import * as LoopGuard from "@effect-dspy/providers/LoopGuard"
 * import { Effect, Stream } from "effect"
 *
 * // A model that goes on for ever.
 * const parrot = LanguageModel.make({
 *   id: "test/parrot",
 *   stream: () => Stream.forever(Stream.succeed({ _tag: "TextDelta", index: 0, text: " again" }))
 * })
 *
 * const program = Effect.flatMap(LoopGuard.make()(parrot), (model) =>
 *   Stream.runDrain(model.stream({ messages: [{ role: "user", content: "hi" }] }))
 * ).pipe(
 *   LanguageModelError.catchReason("StreamFailed", ({ description }) => Effect.succeed(description))
 * )
 *
 * Effect.runPromise(program).then((said) => assert.strictEqual(said, "the model wrote the same 101 times in a row"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ repeats: limit = 100 }: Options = {}): Policy.Policy => {
  if (!Number.isInteger(limit) || limit < 1) {
    throw new RangeError(`LoopGuard: repeats must be a whole number of at least 1, not ${limit}`)
  }
  return (inner) => {
    const counted = Metric.increment(Metric.tagged(loops, "model", inner.id))
    return Effect.succeed({
      ...inner,
      stream: (request) =>
        Stream.suspend(() => {
          const watch = new Watch()
          return Stream.mapChunksEffect(inner.stream(request), (chunk) => {
            for (const delta of chunk) {
              const times = watch.take(delta)
              if (times <= limit) continue
              const reason = new LanguageModelError.StreamFailed({
                kind: "loop",
                partial: watch.partial,
                description: `the model wrote the same ${times} times in a row`
              })
              return Effect.zipRight(
                Effect.zipRight(counted, spanEvent("loop", { model: inner.id, times })),
                Effect.fail(failure(inner.id, reason))
              )
            }
            return Effect.succeed(chunk)
          })
        })
    })
  }
}

// Several outputs may be written in turn: each has a last piece of its own.
class Watch {
  partial = ""
  readonly #last = new Map<string, { readonly piece: string; times: number }>()

  /** How often the piece has now been written in a row. */
  take(delta: LanguageModel.Delta): number {
    if (delta._tag === "Restarted") {
      this.partial = ""
      this.#last.clear()
    }
    if (delta._tag === "TextDelta" && delta.index === 0) this.partial += delta.text
    const [key, piece] = pieceOf(delta)
    if (piece.trim().length <= 2) return 0
    const last = this.#last.get(key)
    if (last?.piece === piece) return ++last.times
    this.#last.set(key, { piece, times: 1 })
    return 1
  }
}

const pieceOf = (delta: LanguageModel.Delta): readonly [key: string, piece: string] => {
  switch (delta._tag) {
    case "TextDelta":
    case "ReasoningDelta":
      return [`${delta._tag} ${delta.index}`, delta.text]
    case "ToolCallDelta":
      return [`${delta._tag} ${delta.index} ${delta.call}`, delta.arguments]
    default:
      return ["", ""]
  }
}
