/**
 * `Predict` turns a signature into a module: one question to the model, one
 * typed answer. It is the only leaf of a program.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Adapter from "./Adapter.ts"
import * as ChatAdapter from "./ChatAdapter.ts"
import * as frame from "./internal/frame.ts"
import * as native from "./internal/native.ts"
import { forEachChunk, open, type Opening } from "./internal/pull.ts"
import { resolve } from "./internal/signatureSource.ts"
import type { JsonRecord } from "./Json.ts"
import * as JsonAdapter from "./JsonAdapter.ts"
import * as LanguageModel from "./LanguageModel.ts"
import type { LanguageModelError } from "./LanguageModelError.ts"
import * as Module from "./Module.ts"
import type { Emitted } from "./ModuleEvent.ts"
import type * as Parameters from "./Parameters.ts"
import * as Signature from "./Signature.ts"

// =============================================================================
// Errors
// =============================================================================

/**
 * An input that its schema does not allow; nothing was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidInput extends Schema.TaggedError<InvalidInput>("@effect-dspy/core/Predict/InvalidInput")(
  "InvalidInput",
  { path: Schema.String, problems: Schema.Array(Adapter.Problem) }
) {
  override get message(): string {
    return `The input${this.path === "" ? "" : ` of "${this.path}"`} does not fit its signature: ${
      this.problems.map((problem) => problem.description).join("; ")
    }`
  }
}

/**
 * The answer was cut off by the token limit; raise `settings.maxTokens`, or ask
 * for less. `partial` is the text up to there.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutputTruncated extends Schema.TaggedError<OutputTruncated>("@effect-dspy/core/Predict/OutputTruncated")(
  "OutputTruncated",
  { path: Schema.String, model: Schema.String, partial: Schema.String }
) {
  override get message(): string {
    return `${this.model} reached its token limit${
      this.path === "" ? "" : ` at "${this.path}"`
    } after ${this.partial.length} characters; raise settings.maxTokens`
  }
}

/**
 * The model, or the provider's filter, declined to answer. `text` is what it
 * said instead.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Schema.TaggedError<Refused>("@effect-dspy/core/Predict/Refused")(
  "Refused",
  {
    path: Schema.String,
    model: Schema.String,
    reason: Schema.Literal("refusal", "contentFilter"),
    text: Schema.String
  }
) {
  override get message(): string {
    return `${this.model} declined to answer${this.path === "" ? "" : ` at "${this.path}"`} (${this.reason})`
  }
}

/**
 * Everything that can go wrong in one prediction.
 *
 * @since 0.1.0
 * @category errors
 */
export type PredictError =
  | LanguageModelError
  | Adapter.AdapterParseError
  | InvalidInput
  | OutputTruncated
  | Refused

// =============================================================================
// The module
// =============================================================================

/**
 * The adapter of a predictor for which none was chosen: `ChatAdapter`, and
 * `JsonAdapter` for one more try where the answer to that cannot be read. The
 * second call is made, and paid for, in that case only; whoever listens hears a
 * `Reset` before it, and an `AdapterParseError` keeps both answers. Choose
 * `ChatAdapter.adapter` itself to have no second try.
 *
 * @since 0.1.0
 * @category adapters
 */
export const defaultAdapter: Adapter.Adapter = Adapter.orElse(ChatAdapter.adapter, JsonAdapter.adapter)

/**
 * What a predictor has of its own. `settings` are the weakest: parameters, then
 * `Module.withSettings`, are laid over them. `adapter` is the strongest.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly settings?: LanguageModel.Settings | undefined
  readonly adapter?: Adapter.Adapter | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export type Predict<S extends Signature.Any> = Module.Module<
  Signature.Input<S>,
  Signature.Output<S>,
  PredictError,
  LanguageModel.LanguageModel
>

/**
 * A module that asks the model once, as the signature says.
 *
 * Inputs are checked and encoded by the signature's schemas before anything is
 * sent. An answer that was cut off, refused or does not decode is a typed
 * error, never a guess. The model is asked to stream if somebody listens for
 * deltas and it can, otherwise for the whole answer; the value is the same.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const add = Predict.make("question -> answer: int")
 *
 * const program = add({ question: "What is 2 + 2?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: 4 })]))
 * )
 *
 * Effect.runPromise(program).then((output) => assert.deepStrictEqual(output, { answer: 4 }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <S extends Signature.Any>(
    signature: S,
    options?: Options
  ): Module.Module<Signature.Input<S>, Signature.Output<S>, PredictError, LanguageModel.LanguageModel>
  <const S extends string>(
    signature: Signature.Check<S>,
    options?: Options
  ): Module.Module<
    Signature.Input<Signature.Parse<S>>,
    Signature.Output<Signature.Parse<S>>,
    PredictError,
    LanguageModel.LanguageModel
  >
} = (
  source: Signature.Any | string,
  options: Options = {}
): Module.Module<unknown, never, PredictError, LanguageModel.LanguageModel> => {
  const signature = resolve(source)
  return Module.leaf(signature, (input, leaf, current) =>
    Effect.map(
      predict(signature, options, chosen(options, current), input, leaf, current),
      ({ value }) => value as never // decoded by the signature's own output schemas, as the overloads say
    ))
}

/**
 * What a predictor is asked where that is more than its inputs. The answer is
 * read by the fields of `signature`, which are those of the predictor, perhaps
 * of wider types; `adapter` makes the adapter of the one that was chosen.
 *
 * @internal
 */
export interface Turn {
  readonly signature: Signature.Any
  readonly input: unknown
  readonly adapter: (chosen: Adapter.Adapter) => Adapter.Adapter
}

/**
 * An answer, read, with the output it was read from.
 *
 * @internal
 */
export interface Answered extends Adapter.Decoded {
  readonly output: LanguageModel.Output
}

/**
 * The leaf of a module that holds a conversation with the model itself.
 *
 * @internal
 */
export const conversing = (
  signature: Signature.Any,
  options: Options = {}
): Module.Module<Turn, Answered, PredictError, LanguageModel.LanguageModel> =>
  Module.leaf(
    signature,
    (turn: Turn, leaf, current) =>
      predict(turn.signature, options, turn.adapter(chosen(options, current)), turn.input, leaf, current)
  )

const chosen = (options: Options, current: frame.Frame): Adapter.Adapter =>
  options.adapter ?? current.adapter ?? defaultAdapter

// One call of a predictor, with everything it needs looked up.
interface Call {
  readonly signature: Signature.Any
  readonly model: LanguageModel.Service
  readonly path: string
  readonly instructions: string
  readonly demos: ReadonlyArray<Parameters.Demo>
  readonly settings: LanguageModel.Settings
  readonly inputs: JsonRecord
}

// One answer of the model, parsed but not yet judged.
interface Exchange {
  readonly response: LanguageModel.Response
  readonly parsed: Either.Either<Adapter.Parsed, Adapter.Problem>
}

type Ask = (
  call: Call,
  adapter: Adapter.Adapter,
  request: LanguageModel.Request
) => Effect.Effect<Exchange, LanguageModelError>

const predict = (
  signature: Signature.Any,
  options: Options,
  adapter: Adapter.Adapter,
  input: unknown,
  leaf: object,
  current: frame.Frame
): Effect.Effect<Answered, PredictError, LanguageModel.LanguageModel> =>
  Effect.flatMap(LanguageModel.LanguageModel, (given) => {
    const { listener: ear, path } = current
    const model = current.standIn === undefined ? given : current.standIn(given)
    const standing = frame.standing(current, leaf)
    const entry = frame.lookup(current, leaf)
    const run = Effect.flatMap(
      Effect.mapError(Adapter.encodeInputs(signature, input), (problems) => new InvalidInput({ path, problems })),
      (inputs) =>
        Effect.flatMap(shown(entry?.demos ?? [], inputs, current), (demos) => {
          const call: Call = {
            signature,
            model,
            path,
            instructions: told(entry?.instructions ?? signature.instructions, current),
            demos,
            settings: settings(options.settings, entry?.settings, current),
            inputs
          }
          const asked = native.over(adapter, signature, model.capabilities, call.settings)
          return ear === undefined
            ? answer(call, asked, whole, () => Effect.void)
            : heard(call, asked, ear, current, standing)
        })
    )
    return standing === "unlisted" ? Effect.zipRight(warnUntuned(current), run) : run
  })

const told = (instructions: string, { notes, path }: frame.Frame): string => {
  const note = notes?.get(path)
  return note === undefined ? instructions : `${instructions}\n\n${note}`
}

const shown = (
  demos: ReadonlyArray<Parameters.Demo>,
  inputs: JsonRecord,
  { choice }: frame.Frame
): Effect.Effect<ReadonlyArray<Parameters.Demo>, LanguageModelError> =>
  choice === undefined || demos.length === 0 ? Effect.succeed(demos) : choice(demos, inputs)

const heard = (
  call: Call,
  adapter: Adapter.Adapter,
  ear: frame.Ear,
  current: frame.Frame,
  standing: frame.Standing
): Effect.Effect<Answered, PredictError> =>
  Effect.gen(function*() {
    const { inputs, path } = call
    const source = { path, call: ear.nextCall() }
    const listed = standing === "listed"
    yield* ear.emit([
      ...(standing === "unlisted" ? [{ _tag: "Untuned", ...source } as const] : []),
      { _tag: "PredictorStart", ...source, parent: current.call, inputs }
    ])
    const ask = ear.deltas ? streamed(ear, source) : whole
    const decoded = yield* answer(
      call,
      adapter,
      (call, adapter, request) =>
        Effect.tap(ask(call, adapter, request), ({ response }) =>
          ear.emit([{
            _tag: "UsageReported",
            ...source,
            model: response.model,
            usage: response.usage,
            cached: response.cached === true
          }])),
      (cause) => ear.emit([{ _tag: "Reset", ...source, cause }])
    ).pipe(
      Effect.tapError((error) =>
        ear.emit([{ _tag: "PredictorFailed", ...source, inputs, listed, cause: error.message }])
      )
    )
    yield* ear.emit([{
      _tag: "PredictorEnd",
      ...source,
      inputs,
      outputs: decoded.encoded,
      listed,
      repairs: decoded.repairs
    }])
    return decoded
  })

const settings = (
  own: LanguageModel.Settings | undefined,
  tuned: LanguageModel.Settings | undefined,
  current: frame.Frame
): LanguageModel.Settings => {
  const settings = frame.overlaid(frame.overlaid(own, tuned), current.settings) ?? {}
  const { rollout } = current
  return rollout === undefined
    ? settings
    : { ...settings, rollout: settings.rollout === undefined ? rollout : frame.nested(rollout, settings.rollout) }
}

// By program, the places that have been warned of.
const warned = new WeakMap<object, Set<string>>()

const warnUntuned = ({ members, path }: frame.Frame): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (members === undefined) return Effect.void
    const places = warned.get(members.leaves) ?? new Set()
    if (places.has(path)) return Effect.void
    warned.set(members.leaves, places.add(path))
    return Effect.logWarning(
      `A predictor ran at "${path}" that the program does not list, so no optimizer can tune it. Pass it to Module.make and call it through the first argument of the body, or pass it through Module.freeze if it is not to be tuned.`
    )
  })

// =============================================================================
// Asking
// =============================================================================

const whole: Ask = (call, adapter, request) =>
  Effect.map(call.model.generate(request), (response) => ({
    response,
    parsed: adapter.extraction === undefined
      ? adapter.parser(call.signature, (parser) => parser.end(read(parser, response.outputs[0]))[1])
      : draft
  }))

// What a free answer gives by itself.
const draft: Exchange["parsed"] = Either.right({ fields: new Map(), repairs: [] })

const read = <S>(parser: Adapter.Parser<S>, output: LanguageModel.Output | undefined): S => {
  let [state] = parser.step(parser.initial, output?.text ?? "")
  if (parser.beside === undefined || output === undefined) return state
  for (const delta of LanguageModel.deltasOf(output, 0)) {
    switch (delta._tag) {
      case "ToolCallDelta":
      case "ReasoningDelta":
      case "CitationDelta":
        state = parser.beside(state, delta)[0]
    }
  }
  return state
}

const opened = (
  model: LanguageModel.Service,
  request: LanguageModel.Request
): ReturnType<Opening> =>
  model.capabilities.streaming
    ? open(model)(request)
    : Effect.flatMap(model.generate(request), (response) => Stream.toPull(LanguageModel.unfold(response)))

const streamed =
  (ear: frame.Ear, source: { readonly path: string; readonly call: number }): Ask => (call, adapter, request) =>
    adapter.parser(call.signature, (parser) =>
      Effect.suspend(() => {
        const folder = new LanguageModel.Folder()
        const { call: id, path } = source
        // Free text that fields will be made of is on the way to the answer, not yet a part of it.
        const isDraft = adapter.extraction !== undefined
        let state = parser.initial
        const placed = (events: ReadonlyArray<Adapter.FieldEvent>, out: Array<Emitted>) => {
          // Spelled out: on the way of every token, spreading costs more than the rest of the loop.
          for (const event of events) {
            out.push(
              event._tag === "FieldDelta"
                ? { _tag: "FieldDelta", path, call: id, field: event.field, text: event.text }
                : { _tag: event._tag, path, call: id, field: event.field }
            )
          }
        }
        const beside = (delta: Adapter.Beside, out: Array<Emitted>) => {
          if (parser.beside === undefined || delta.index !== 0) return
          const [next, events] = parser.beside(state, delta)
          state = next
          placed(events, out)
        }
        const take = (delta: LanguageModel.Delta, out: Array<Emitted>) => {
          folder.add(delta)
          switch (delta._tag) {
            case "TextDelta": {
              // Further outputs are folded but not watched: one value is streamed.
              if (delta.index !== 0) return
              if (isDraft) return void out.push({ _tag: "ReasoningDelta", ...source, text: delta.text })
              const [next, events] = parser.step(state, delta.text)
              state = next
              return placed(events, out)
            }
            case "ReasoningDelta":
              if (delta.index === 0) out.push({ _tag: "ReasoningDelta", ...source, text: delta.text })
              return beside(delta, out)
            case "ToolCallDelta":
            case "CitationDelta":
              return beside(delta, out)
            case "Restarted":
              state = parser.initial
              out.push({ _tag: "Reset", ...source, cause: delta.cause })
          }
        }
        return Effect.flatMap(
          forEachChunk(opened(call.model, request), (chunk) => {
            const out: Array<Emitted> = []
            for (const delta of chunk) take(delta, out)
            return out.length === 0 ? Effect.void : ear.emit(out)
          }),
          () => {
            const response = folder.response
            if (response === undefined) return Effect.fail(LanguageModel.truncated(call.model.id, folder.partial))
            if (isDraft) return Effect.succeed({ response, parsed: draft })
            const [events, parsed] = parser.end(state)
            const out: Array<Emitted> = []
            placed(events, out)
            return Effect.as(out.length === 0 ? Effect.void : ear.emit(out), { response, parsed })
          }
        )
      }))

// =============================================================================
// Judging the answer
// =============================================================================

type Rejected = { readonly adapter: string; readonly problems: ReadonlyArray<Adapter.Problem>; readonly text: string }

// What is left to try, each with what is asked then.
interface Retry {
  readonly call: Call
  readonly recovery: Adapter.Recovery
}

const retries = (call: Call, adapter: Adapter.Adapter): ReadonlyArray<Retry> =>
  adapter.recoveries.map((recovery) => ({ call, recovery }))

const formatted = (
  { demos, inputs, instructions, model: { capabilities }, settings, signature }: Call,
  adapter: Adapter.Adapter
): LanguageModel.Request => ({
  ...adapter.format({ signature, instructions, demos, inputs, capabilities }),
  settings
})

// What is asked to find the fields in a free answer. Its settings are its model's own, but another sample stays one.
const extracting = (call: Call, { model, question }: Adapter.Extraction, text: string): Call => {
  const { inputs, signature } = question(call.signature, text)
  const { rollout } = call.settings
  const settings = rollout === undefined ? {} : { rollout }
  return { signature, model, path: call.path, instructions: signature.instructions, demos: [], settings, inputs }
}

const answer = (
  call: Call,
  adapter: Adapter.Adapter,
  ask: Ask,
  reset: (cause: string) => Effect.Effect<void>
): Effect.Effect<Answered, PredictError> => {
  const attempt = (
    call: Call,
    adapter: Adapter.Adapter,
    request: LanguageModel.Request,
    left: ReadonlyArray<Retry>,
    previous: ReadonlyArray<Rejected>
  ): Effect.Effect<Answered, PredictError> =>
    Effect.flatMap(ask(call, adapter, request), (exchange) => {
      const output = exchange.response.outputs[0] ?? nothing
      const { text } = output
      switch (output.finishReason) {
        case "length":
          return Effect.fail(new OutputTruncated({ path: call.path, model: call.model.id, partial: text }))
        case "refusal":
        case "contentFilter":
          return Effect.fail(
            new Refused({ path: call.path, model: call.model.id, reason: output.finishReason, text })
          )
      }
      const reject = (problems: ReadonlyArray<Adapter.Problem>): Effect.Effect<Answered, PredictError> => {
        const [retry, ...later] = left
        if (retry === undefined) return Effect.fail(parseError(call, adapter, problems, exchange, previous))
        const before = [...previous, { adapter: adapter.name, problems, text }]
        return Effect.zipRight(
          reset(problems.map((problem) => problem.description).join("; ")),
          retry.recovery._tag === "Fallback"
            ? first(retry.call, retry.recovery.adapter, later, before)
            : attempt(call, adapter, asAgain(request, text, Adapter.feedback(call.signature, problems)), later, before)
        )
      }
      const { extraction } = adapter
      if (extraction !== undefined) {
        if (text.trim() === "") return reject([{ kind: "empty", description: "the answer is empty" }])
        const second = extracting(call, extraction, text)
        return first(second, extraction.adapter, [...retries(second, extraction.adapter), ...left], [
          ...previous,
          { adapter: adapter.name, problems: [], text }
        ])
      }
      return Either.isLeft(exchange.parsed)
        ? reject([exchange.parsed.left])
        : Effect.matchEffect(Adapter.decode(call.signature, exchange.parsed.right), {
          onFailure: reject,
          onSuccess: ({ encoded, repairs, value }) => Effect.succeed({ value, encoded, repairs, output })
        })
    })
  const first = (
    call: Call,
    adapter: Adapter.Adapter,
    left: ReadonlyArray<Retry>,
    previous: ReadonlyArray<Rejected>
  ): Effect.Effect<Answered, PredictError> => attempt(call, adapter, formatted(call, adapter), left, previous)
  return first(call, adapter, retries(call, adapter), [])
}

const asAgain = (request: LanguageModel.Request, text: string, feedback: string): LanguageModel.Request => ({
  ...request,
  messages: [...request.messages, { role: "assistant", content: text }, { role: "user", content: feedback }]
})

const nothing: LanguageModel.Output = { text: "", toolCalls: [], finishReason: "unknown" }

const parseError = (
  call: Call,
  adapter: Adapter.Adapter,
  problems: ReadonlyArray<Adapter.Problem>,
  exchange: Exchange,
  previous: ReadonlyArray<Rejected>
): Adapter.AdapterParseError =>
  new Adapter.AdapterParseError({
    adapter: adapter.name,
    path: call.path,
    problems,
    expected: Signature.fields(call.signature).outputs.map((field) => field.name),
    found: Either.isRight(exchange.parsed) ? Array.from(exchange.parsed.right.fields.keys()) : [],
    text: exchange.response.outputs[0]?.text ?? "",
    previous
  })
