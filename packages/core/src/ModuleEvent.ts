/**
 * What a running module tells whoever listens. Nothing is emitted, and nothing
 * allocated, when nobody does.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as frame from "./internal/frame.ts"
import type { JsonRecord } from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"

/**
 * Where an event comes from: the path of the module or predictor in the
 * program, and the number of this call of it, unique within one listener.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source {
  readonly path: string
  readonly call: number
}

/**
 * A composite module was called; `parent` is the call it was made from, 0 at
 * the top.
 *
 * @since 0.1.0
 * @category models
 */
export interface ModuleStart extends Source {
  readonly _tag: "ModuleStart"
  readonly parent: number
}

/**
 * A composite module returned, failed or was interrupted.
 *
 * @since 0.1.0
 * @category models
 */
export interface ModuleEnd extends Source {
  readonly _tag: "ModuleEnd"
  readonly exit: "success" | "failure" | "interruption"
}

/**
 * A predictor is about to ask the model.
 *
 * @since 0.1.0
 * @category models
 */
export interface PredictorStart extends Source {
  readonly _tag: "PredictorStart"
  readonly parent: number
  readonly inputs: JsonRecord
}

/**
 * An output field begins.
 *
 * @since 0.1.0
 * @category models
 */
export interface FieldStart extends Source {
  readonly _tag: "FieldStart"
  readonly field: string
}

/**
 * More text of an output field. Deltas are suffixes.
 *
 * @since 0.1.0
 * @category models
 */
export interface FieldDelta extends Source {
  readonly _tag: "FieldDelta"
  readonly field: string
  readonly text: string
}

/**
 * An output field is complete.
 *
 * @since 0.1.0
 * @category models
 */
export interface FieldEnd extends Source {
  readonly _tag: "FieldEnd"
  readonly field: string
}

/**
 * More of the reasoning text that the model reports apart from its answer, or of
 * the free text from which another model will take the fields of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReasoningDelta extends Source {
  readonly _tag: "ReasoningDelta"
  readonly text: string
}

/**
 * Everything this call has emitted about fields is void: the stream was
 * restarted, or the answer did not parse and the model is asked again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reset extends Source {
  readonly _tag: "Reset"
  readonly cause: string
}

/**
 * One answer of the model was paid for, whether or not it could be used; or
 * none was, since the answer is `cached`.
 *
 * @since 0.1.0
 * @category models
 */
export interface UsageReported extends Source {
  readonly _tag: "UsageReported"
  readonly model: string
  readonly usage: LanguageModel.Usage
  readonly cached: boolean
}

/**
 * A predictor answered. Inputs and outputs are encoded JSON. `listed` is
 * whether the program lists the predictor under this path, so that an
 * optimizer can tune it.
 *
 * @since 0.1.0
 * @category models
 */
export interface PredictorEnd extends Source {
  readonly _tag: "PredictorEnd"
  readonly inputs: JsonRecord
  readonly outputs: JsonRecord
  readonly listed: boolean
  readonly repairs: ReadonlyArray<string>
}

/**
 * A predictor failed; `cause` is its error in words. One that is interrupted
 * says nothing more.
 *
 * @since 0.1.0
 * @category models
 */
export interface PredictorFailed extends Source {
  readonly _tag: "PredictorFailed"
  readonly inputs: JsonRecord
  readonly listed: boolean
  readonly cause: string
}

/**
 * A predictor ran that the program does not list under this path: it was
 * called through a closure or made inside a body, and no optimizer can tune it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Untuned extends Source {
  readonly _tag: "Untuned"
}

/**
 * A tool is about to be used; `arguments` are as the model wrote them, and empty
 * if they were no JSON object. `use` is the number of this use in the call of the
 * module: tools may be used side by side.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolStart extends Source {
  readonly _tag: "ToolStart"
  readonly use: number
  readonly tool: string
  readonly arguments: JsonRecord
}

/**
 * The tool of this `use` has answered; what it says is told to the model, also
 * where it `failed`, unless its failure ends the program.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolEnd extends Source {
  readonly _tag: "ToolEnd"
  readonly use: number
  readonly tool: string
  readonly observation: string
  readonly failed: boolean
}

/**
 * A module that tries several times begins its `n`th attempt, counted from 1.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt extends Source {
  readonly _tag: "Attempt"
  readonly n: number
}

/**
 * What these calls answered has no part in the result: another attempt was
 * better.
 *
 * @since 0.1.0
 * @category models
 */
export interface Discarded extends Source {
  readonly _tag: "Discarded"
  readonly calls: ReadonlyArray<number>
}

/**
 * A message for people, sent by the program itself with `status`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status extends Source {
  readonly _tag: "Status"
  readonly message: string
}

/**
 * The value of the module. It comes last, once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Result<out Out> {
  readonly _tag: "Result"
  readonly value: Out
}

/**
 * An event from inside a running module.
 *
 * @since 0.1.0
 * @category models
 */
export type Emitted =
  | ModuleStart
  | ModuleEnd
  | PredictorStart
  | FieldStart
  | FieldDelta
  | FieldEnd
  | ReasoningDelta
  | Reset
  | UsageReported
  | PredictorEnd
  | PredictorFailed
  | Untuned
  | ToolStart
  | ToolEnd
  | Attempt
  | Discarded
  | Status

/**
 * An event of a running module that returns `Out`.
 *
 * @since 0.1.0
 * @category models
 */
export type ModuleEvent<Out> = Emitted | Result<Out>

/**
 * Takes events as they happen. With `deltas` predictors stream their answers,
 * field by field; without, the listener hears of whole answers only. `emit`
 * gets at least one event and may wait: the program waits with it. Events of
 * parts that run at the same time come as they happen, told apart by `call`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Listener {
  readonly deltas: boolean
  readonly emit: (events: ReadonlyArray<Emitted>) => Effect.Effect<void>
}

/**
 * Runs an effect with a listener to every module inside it. A listener that is
 * already there keeps hearing everything too.
 *
 * @example
 * ```ts
 * import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
 * import { Effect } from "effect"
 *
 * const heard: Array<string> = []
 * const program = ModuleEvent.status("looking").pipe(
 *   ModuleEvent.listen({
 *     deltas: false,
 *     emit: (events) => Effect.sync(() => events.forEach((event) => heard.push(event._tag)))
 *   })
 * )
 *
 * Effect.runSync(program)
 * assert.deepStrictEqual(heard, ["Status"])
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const listen: {
  (listener: Listener): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, listener: Listener): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, listener: Listener): Effect.Effect<A, E, R> =>
    frame.with_((current) => frame.provide(self, { ...current, listener: frame.attach(listener, current.listener) }))
)

/**
 * Runs an effect and says what it has cost: the answers of models that were
 * paid for inside it, and their usage. To know what a failure has cost, meter
 * `Effect.either` of it.
 *
 * @example
 * ```ts
 * import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const answer = Predict.make("question -> answer")
 *
 * const program = ModuleEvent.metered(answer({ question: "2 + 2?" })).pipe(
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "4" })]))
 * )
 *
 * Effect.runPromise(program).then(({ calls, value }) => {
 *   assert.deepStrictEqual([calls, value.answer], [1, "4"])
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const metered = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<{ readonly value: A; readonly calls: number; readonly usage: LanguageModel.Usage }, E, R> =>
  Effect.suspend(() => {
    const meter = new Meter()
    return Effect.map(
      listen(self, { deltas: false, emit: (events) => Effect.sync(() => meter.add(events)) }),
      (value) => ({ value, ...meter.spent })
    )
  })

/**
 * What events say was spent, where somebody else listens to them.
 *
 * @internal
 */
export class Meter {
  #calls = 0
  #usage: LanguageModel.Usage = {}

  get spent(): { readonly calls: number; readonly usage: LanguageModel.Usage } {
    return { calls: this.#calls, usage: this.#usage }
  }

  add(events: ReadonlyArray<Emitted>): void {
    for (const event of events) {
      if (event._tag !== "UsageReported" || event.cached) continue
      this.#calls++
      this.#usage = LanguageModel.addUsage(this.#usage, event.usage)
    }
  }
}

/**
 * Tells whoever listens what the program is doing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const status = (message: string): Effect.Effect<void> =>
  frame.with_((current) =>
    current.listener === undefined
      ? Effect.void
      : current.listener.emit([{ _tag: "Status", path: current.path, call: current.call, message }])
  )
