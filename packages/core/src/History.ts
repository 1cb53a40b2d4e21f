/**
 * Conversations as values of a program: the turns before the current one, typed
 * by the signature that they are turns of.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as history from "./internal/history.ts"
import type * as Json from "./Json.ts"
import * as Signature from "./Signature.ts"

/**
 * A history whose turns have any fields, for signatures that are known only at
 * run time. Written `History` or `dspy.History` in the text of a signature.
 *
 * @since 0.1.0
 * @category schemas
 */
export const History: Schema.Schema<ReadonlyArray<Json.JsonRecord>> = history.History

/**
 * What was said in one turn of a module made from `S`: its inputs and its
 * outputs.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Turn<S extends Signature.Any> = Types.Simplify<Signature.Input<S> & Signature.Output<S>>

/**
 * The schema of the turns of a signature: an array, oldest first. As an input
 * field it is not shown as a value: every adapter makes a question and an answer
 * of each turn, between the demonstrations and the current input, in the form of
 * its own.
 *
 * Fields of a turn that the predictor's signature does not have are not shown,
 * and a side of a turn of which there is nothing is left out.
 *
 * @since 0.1.0
 * @category schemas
 */
export const make = <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
  signature: Signature.Signature<I, O>
): Schema.Schema<ReadonlyArray<Turn<Signature.Signature<I, O>>>, ReadonlyArray<unknown>> =>
  history.of(
    // The compiler cannot join fields that it knows only by variables; their names are apart.
    Schema.make<Turn<Signature.Signature<I, O>>, unknown>(
      Schema.Struct({ ...signature.input.fields, ...signature.output.fields }).ast
    )
  )

/**
 * A signature that also takes the turns before, as `history`.
 *
 * @example
 * ```ts
 * import * as History from "@effect-dspy/core/History"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const reply = Predict.make(Signature.parse("question -> answer").pipe(History.prepend))
 *
 * const program = Effect.gen(function*() {
 *   yield* reply({ history: [{ question: "Who was first?", answer: "Lovelace" }], question: "When?" })
 *   const [request] = yield* TestLanguageModel.requests
 *   return request!.messages.map(({ role }) => role)
 * }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "In 1843" })])))
 *
 * Effect.runPromise(program).then((roles) => assert.deepStrictEqual(roles, ["system", "user", "assistant", "user"]))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const prepend = <I extends Signature.Lacks<"history">, O extends Signature.Lacks<"history">>(
  signature: Signature.Signature<I, O>
) => Signature.prependInput(signature, "history", make(signature))

/**
 * How much of a history is to be kept: the newest turns, as many as fit both
 * limits. `tokens` is an estimate, a quarter of the characters of the turns as
 * JSON, and 1,000 for an image, a recording or a PDF inside of one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Window {
  readonly turns?: number | undefined
  readonly tokens?: number | undefined
}

/**
 * The newest turns that fit a window, whole and in a row: what is cut is the
 * oldest, and never the current input, which is not in it. `turn` is the schema
 * of one turn.
 *
 * @example
 * ```ts
 * import * as History from "@effect-dspy/core/History"
 * import { Effect, Schema } from "effect"
 *
 * const Turn = Schema.Struct({ question: Schema.String, answer: Schema.String })
 * const turns = [
 *   { question: "A long question ".repeat(99), answer: "Yes" },
 *   { question: "And that?", answer: "No" },
 *   { question: "Why?", answer: "Because" }
 * ]
 *
 * assert.deepStrictEqual(Effect.runSync(History.newest(turns, Turn, { tokens: 100 })), turns.slice(1))
 * assert.deepStrictEqual(Effect.runSync(History.newest(turns, Turn, { turns: 1 })), turns.slice(2))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const newest = <A, I>(
  history: ReadonlyArray<A>,
  turn: Schema.Schema<A, I>,
  window: Window
): Effect.Effect<ReadonlyArray<A>, ParseResult.ParseError> =>
  Effect.gen(function*() {
    const { tokens, turns = Infinity } = window
    let first = Math.max(0, history.length - turns)
    if (tokens === undefined) return history.slice(first)
    const encode = Schema.encode(turn)
    let left = tokens
    for (let n = history.length - 1; n >= first; n--) {
      left -= estimate(yield* encode(history[n]!)) // within the list
      if (left < 0) first = n + 1
    }
    return history.slice(first)
  })

const charactersPerToken = 4

// What providers make of an image on average, whatever its size in bytes is.
const perMedia = 1000

const estimate = (turn: unknown): number => {
  let media = 0
  const text = JSON.stringify(turn, (_, value: unknown) => {
    if (typeof value !== "string" || !value.startsWith("data:")) return value
    media++
    return ""
  })
  return Math.ceil(text.length / charactersPerToken) + media * perMedia
}
