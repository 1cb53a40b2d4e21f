/**
 * A `Trace` is what the predictors of one run were asked and what they
 * answered. Metrics may look at it; optimizers make demonstrations of it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Json from "./Json.ts"
import type * as Module from "./Module.ts"
import * as ModuleEvent from "./ModuleEvent.ts"

/**
 * One answered call of a predictor: encoded JSON in and out. `listed` is
 * whether the program lists the predictor, so that the call may become a
 * demonstration.
 *
 * @since 0.1.0
 * @category models
 */
export const Call = Schema.Struct({
  path: Schema.String,
  listed: Schema.Boolean,
  inputs: Json.JsonRecord,
  outputs: Json.JsonRecord
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Call extends Schema.Schema.Type<typeof Call> {}

/**
 * The calls of one run in the order of completion.
 *
 * @since 0.1.0
 * @category models
 */
export const Trace = Schema.Array(Call)

/**
 * @since 0.1.0
 * @category models
 */
export type Trace = typeof Trace.Type

/**
 * Runs an effect and returns its value with the calls made inside it, but for
 * those of attempts that another one was better than.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Trace from "@effect-dspy/core/Trace"
 * import { Effect } from "effect"
 *
 * const answer = Predict.make("question -> answer")
 *
 * const program = Trace.capture(answer({ question: "2 + 2?" })).pipe(
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "4" })]))
 * )
 *
 * Effect.runPromise(program).then(([, trace]) => assert.deepStrictEqual(trace[0]?.outputs, { answer: "4" }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const capture = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, Trace], E, R> =>
  Effect.suspend(() => {
    const recorder = new Recorder()
    return Effect.map(
      ModuleEvent.listen(self, { deltas: false, emit: (events) => Effect.sync(() => recorder.add(events)) }),
      (value) => [value, recorder.trace] as const
    )
  })

/**
 * The trace of events that somebody else listens to.
 *
 * @internal
 */
export class Recorder {
  readonly #calls = new Map<number, Call>()

  get trace(): Trace {
    return Array.from(this.#calls.values())
  }

  add(events: ReadonlyArray<ModuleEvent.Emitted>): void {
    for (const event of events) {
      if (event._tag === "PredictorEnd") {
        const { call, inputs, listed, outputs, path } = event
        this.#calls.set(call, { path, listed, inputs, outputs })
      } else if (event._tag === "Discarded") {
        for (const call of event.calls) this.#calls.delete(call)
      }
    }
  }
}

/**
 * The calls in an order that does not depend on timing: by the predictor's
 * place in the module, then by the hash of the inputs, then of the outputs.
 * Calls of predictors the module does not list come last, by path.
 *
 * @since 0.1.0
 * @category combinators
 */
export const canonical: {
  (module: Module.Any): (self: Trace) => Trace
  (self: Trace, module: Module.Any): Trace
} = dual(2, (self: Trace, module: Module.Any): Trace => {
  const places = new Map(module.predictors.map((predictor, index) => [predictor.path, index]))
  const keyed = self.map((call) => {
    // Hashes are for calls of the same predictor only, and most are called once.
    let key: string | undefined
    return {
      call,
      place: (call.listed ? places.get(call.path) : undefined) ?? places.size,
      key: () => key ??= `${call.path}\n${Json.hash(call.inputs)}${Json.hash(call.outputs)}`
    }
  })
  keyed.sort((a, b) => a.place - b.place || (a.key() < b.key() ? -1 : a.key() > b.key() ? 1 : 0))
  return keyed.map(({ call }) => call)
})
