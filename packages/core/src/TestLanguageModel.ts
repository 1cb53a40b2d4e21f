/**
 * A model that answers from a script, for tests. It takes no time unless told
 * to, never repeats itself, streams in small pieces and remembers every
 * request.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as frame from "./internal/frame.ts"
import { completed, guarded, marker } from "./internal/markers.ts"
import type { Json, JsonRecord } from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as LanguageModelError from "./LanguageModelError.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId = "~@effect-dspy/core/TestLanguageModel"

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

// =============================================================================
// Steps
// =============================================================================

interface Common extends Pipeable {
  readonly [TypeId]: TypeId
  /** How long the step waits before it begins. */
  readonly delay: Duration.DurationInput | undefined
}

/**
 * A whole answer. `content` is text as it is, or fields still to be rendered in
 * the form the request asks for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer extends Common {
  readonly _tag: "Answer"
  readonly content: string | JsonRecord
  readonly reasoning: string | undefined
  readonly toolCalls: ReadonlyArray<LanguageModel.ToolCall>
  readonly finishReason: LanguageModel.FinishReason
  readonly usage: LanguageModel.Usage
}

/**
 * A call that fails.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure extends Common {
  readonly _tag: "Failure"
  readonly reason: LanguageModelError.Reason
}

/**
 * An answer given delta by delta, well-formed or not.
 *
 * @since 0.1.0
 * @category models
 */
export interface Deltas extends Common {
  readonly _tag: "Deltas"
  readonly deltas: Stream.Stream<LanguageModel.Delta, LanguageModelError.LanguageModelError>
}

/**
 * What the model does with one request.
 *
 * @since 0.1.0
 * @category models
 */
export type Step = Answer | Failure | Deltas

/**
 * @since 0.1.0
 * @category guards
 */
export const isStep = (u: unknown): u is Step => Predicate.hasProperty(u, TypeId)

const Proto = {
  [TypeId]: TypeId,
  delay: undefined,
  pipe() {
    return pipeArguments(this, arguments)
  }
}

// A step is its own fields over the prototype, which holds the common ones.
const makeStep = <S extends Step>(fields: Omit<S, keyof Common> & { readonly delay?: S["delay"] }): S =>
  Object.assign(Object.create(Proto), fields)

const makeAnswer = (fields: Partial<Omit<Answer, keyof Common | "_tag">>): Answer =>
  makeStep<Answer>({
    _tag: "Answer",
    content: "",
    reasoning: undefined,
    toolCalls: [],
    finishReason: "stop",
    usage: {},
    ...fields
  })

/**
 * Answers with a text as it is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const text = (content: string): Answer => makeAnswer({ content })

/**
 * Answers with these output fields, encoded as JSON values, in the form the
 * request asks for: field markers, or a JSON object. Fields that the signature
 * does not have, or too few of them, are rendered all the same.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fields = (values: JsonRecord): Answer => makeAnswer({ content: values })

/**
 * Answers with tool calls, and a text beside them if there is one. `arguments`
 * that are not text are written as JSON; calls without an `id` are named `call_0`,
 * `call_1` and so on.
 *
 * @since 0.1.0
 * @category constructors
 */
export const toolCalls = (
  calls: ReadonlyArray<{
    readonly name: string
    readonly arguments: string | JsonRecord
    readonly id?: string | undefined
  }>,
  content = ""
): Answer =>
  makeAnswer({
    content,
    finishReason: "toolCalls",
    toolCalls: calls.map((call, index) => ({
      id: call.id ?? `call_${index}`,
      name: call.name,
      arguments: typeof call.arguments === "string" ? call.arguments : JSON.stringify(call.arguments)
    }))
  })

/**
 * Fails, for a reason given by its tag or in full.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fail = (reason: LanguageModelError.Reason | LanguageModelError.Reason["_tag"]): Failure =>
  makeStep<Failure>({ _tag: "Failure", reason: typeof reason === "string" ? scripted[reason]() : reason })

const description = "scripted"

const scripted: { readonly [Tag in LanguageModelError.Reason["_tag"]]: () => LanguageModelError.Reason } = {
  InvalidRequest: () => new LanguageModelError.InvalidRequest({ description }),
  Authentication: () => new LanguageModelError.Authentication({ description }),
  Permission: () => new LanguageModelError.Permission({ description }),
  NotFound: () => new LanguageModelError.NotFound({ description }),
  RequestTooLarge: () => new LanguageModelError.RequestTooLarge({ description }),
  ContextWindowExceeded: () => new LanguageModelError.ContextWindowExceeded({ description }),
  RateLimited: () => new LanguageModelError.RateLimited({ description }),
  QuotaExhausted: () => new LanguageModelError.QuotaExhausted({ description }),
  Overloaded: () => new LanguageModelError.Overloaded({ description }),
  ServerError: () => new LanguageModelError.ServerError({ status: 500, description }),
  Conflict: () => new LanguageModelError.Conflict({ description }),
  Timeout: () => new LanguageModelError.Timeout({ phase: "total" }),
  Transport: () => new LanguageModelError.Transport({ phase: "connect", code: "ECONNREFUSED", description }),
  MalformedResponse: () => new LanguageModelError.MalformedResponse({ kind: "shape", description }),
  ResponseTooLarge: () => new LanguageModelError.ResponseTooLarge({ limit: 0 }),
  StreamTruncated: () => new LanguageModelError.StreamTruncated({ partial: "" }),
  StreamFailed: () => new LanguageModelError.StreamFailed({ kind: "connection", partial: "", description }),
  ContentFiltered: () => new LanguageModelError.ContentFiltered({ description }),
  CircuitOpen: () => new LanguageModelError.CircuitOpen({ until: 0 }),
  BudgetExceeded: () => new LanguageModelError.BudgetExceeded({ resource: "calls", limit: 0, remaining: 0 })
}

/**
 * Answers with exactly these deltas. Without a `Completed` at the end the
 * answer is truncated, streamed or not. A Stream may also wait and fail on the
 * way.
 *
 * @since 0.1.0
 * @category constructors
 */
export const deltas = (
  deltas: Iterable<LanguageModel.Delta> | Stream.Stream<LanguageModel.Delta, LanguageModelError.LanguageModelError>
): Deltas => {
  if (Predicate.hasProperty(deltas, Stream.StreamTypeId)) {
    return makeStep<Deltas>({ _tag: "Deltas", deltas })
  }
  const kept = Array.from(deltas)
  return makeStep<Deltas>({ _tag: "Deltas", deltas: oneByOne(kept) })
}

// One delta to a chunk, so that a reader sees them arrive.
const oneByOne = (deltas: ReadonlyArray<LanguageModel.Delta>): Stream.Stream<LanguageModel.Delta> =>
  Stream.suspend(() => Stream.fromIteratorSucceed(deltas[Symbol.iterator](), 1))

/**
 * Waits before the step begins, by the Clock: a test moves it with
 * `TestClock.adjust`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const delayed: {
  (duration: Duration.DurationInput): <S extends Step>(step: S) => S
  <S extends Step>(step: S, duration: Duration.DurationInput): S
} = dual(
  2,
  <S extends Step>(step: S, duration: Duration.DurationInput): S => makeStep<S>({ ...step, delay: duration })
)

/**
 * Ends the answer for another reason than `stop`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const finish: {
  (reason: LanguageModel.FinishReason): (answer: Answer) => Answer
  (answer: Answer, reason: LanguageModel.FinishReason): Answer
} = dual(
  2,
  (answer: Answer, finishReason: LanguageModel.FinishReason): Answer => makeStep<Answer>({ ...answer, finishReason })
)

/**
 * Reports what the answer cost. Without this nothing is reported.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withUsage: {
  (usage: LanguageModel.Usage): (answer: Answer) => Answer
  (answer: Answer, usage: LanguageModel.Usage): Answer
} = dual(
  2,
  (answer: Answer, usage: LanguageModel.Usage): Answer => makeStep<Answer>({ ...answer, usage })
)

/**
 * Puts reasoning text before the answer, as models report it apart from it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withReasoning: {
  (reasoning: string): (answer: Answer) => Answer
  (answer: Answer, reasoning: string): Answer
} = dual(
  2,
  (answer: Answer, reasoning: string): Answer => makeStep<Answer>({ ...answer, reasoning })
)

// =============================================================================
// Scripts
// =============================================================================

/**
 * Decides each answer from the request, the number of calls before it (0 for
 * the first) and the path of the predictor that asks (`""` for a predictor on
 * its own, or none).
 *
 * @since 0.1.0
 * @category models
 */
export interface Responder {
  (
    request: LanguageModel.Request,
    n: number,
    predictor: string
  ): Step | Effect.Effect<Step, LanguageModelError.LanguageModelError>
}

/**
 * The answers: in order, by a function, or either of these for each predictor
 * by its path, with its calls counted on their own.
 *
 * A list answers in order of arrival, which for concurrent calls is a matter
 * of timing: script a concurrent program by a function of the request.
 *
 * @since 0.1.0
 * @category models
 */
export type Script =
  | ReadonlyArray<Step>
  | Responder
  | { readonly [predictor: string]: ReadonlyArray<Step> | Responder }

/**
 * What a request must be like: asked by this predictor, with this in its last
 * message, with this in the named input fields. A text is to be contained in
 * what is asked; a regular expression is to match it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Match {
  readonly predictor?: string | undefined
  readonly text?: string | RegExp | undefined
  readonly inputs?: { readonly [field: string]: string | RegExp } | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Rule {
  readonly match: Match
  readonly step: Step
}

/**
 * One rule: this step answers every request like this.
 *
 * @since 0.1.0
 * @category constructors
 */
export const when = (match: Match, step: Step): Rule => ({ match, step })

/**
 * A script of rules. The first that matches answers, as often as it does; a
 * request that none matches fails and says so.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const model = TestLanguageModel.layer(TestLanguageModel.rules([
 *   TestLanguageModel.when({ inputs: { ticket: "invoice" } }, TestLanguageModel.fields({ team: "billing" })),
 *   TestLanguageModel.when({ text: /crash|error/ }, TestLanguageModel.fields({ team: "technical" }))
 * ]))
 *
 * const route = Predict.make("ticket -> team")
 * const program = Module.batch(route)([{ ticket: "The app crashes" }, { ticket: "My invoice is wrong" }])
 *
 * Effect.runPromise(Effect.provide(program, model)).then((routed) =>
 *   assert.deepStrictEqual(routed, [{ team: "technical" }, { team: "billing" }])
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const rules = (rules: ReadonlyArray<Rule>): Responder => (request, _n, predictor) =>
  rules.find(({ match }) => matches(match, request, predictor))?.step ??
    fail(unexpected(`none of ${rules.length} rules matches ${where(predictor)}: "${excerpt(lastText(request))}"`))

const matches = (match: Match, request: LanguageModel.Request, predictor: string): boolean => {
  if (match.predictor !== undefined && match.predictor !== predictor) return false
  const message = lastText(request)
  if (match.text !== undefined && !contains(message, match.text)) return false
  return Object.entries(match.inputs ?? {}).every(([field, pattern]) => {
    const value = section(message, field)
    return value !== undefined && contains(value, pattern)
  })
}

// `search` and not `test`, which moves a global expression on.
const contains = (text: string, pattern: string | RegExp): boolean =>
  typeof pattern === "string" ? text.includes(pattern) : text.search(pattern) >= 0

const lastText = (request: LanguageModel.Request): string => {
  const message = request.messages.at(-1)
  return message === undefined ? "" : textOf(message)
}

const textOf = (message: LanguageModel.Message): string =>
  typeof message.content === "string"
    ? message.content
    : message.content.map((part) => part._tag === "Text" ? part.text : "").join("")

// Every adapter of ours writes an input field below its marker, and after the last one what to answer with.
const section = (message: string, field: string): string | undefined => {
  const opening = `${marker(field)}\n`
  const start = message.startsWith(opening) ? 0 : message.indexOf(`\n${opening}`) + 1
  if (!message.startsWith(opening, start)) return undefined
  const rest = message.slice(start + opening.length)
  const next = rest.indexOf("\n\n[[ ## ")
  const end = next === -1 ? rest.lastIndexOf("\n\nAnswer with ") : next
  return end === -1 ? rest : rest.slice(0, end)
}

const excerpt = (text: string): string => text.length <= 200 ? text : `${text.slice(0, 200)}…`

const where = (predictor: string): string => predictor === "" ? "the request" : `the request of "${predictor}"`

const unexpected = (description: string): LanguageModelError.Reason =>
  new LanguageModelError.InvalidRequest({ description: `TestLanguageModel: ${description}` })

const responder = (script: Script): Responder => {
  if (typeof script === "function") return script
  if (isList(script)) {
    return (_request, n, predictor) =>
      script[n] ?? fail(unexpected(
        `the script has ${script.length} step${script.length === 1 ? "" : "s"}, and this is call ${n + 1}, ${
          where(predictor)
        } (an answer that cannot be read is asked for once more, as JSON)`
      ))
  }
  const counted = new Map(
    Object.entries(script).map(([predictor, part]) => [predictor, { responder: responder(part), calls: 0 }])
  )
  return (request, _n, predictor) => {
    const part = counted.get(predictor)
    return part === undefined
      ? fail(unexpected(
        `there is no script for "${predictor}", only for ${Array.from(counted.keys(), (key) => `"${key}"`).join(", ")}`
      ))
      : part.responder(request, part.calls++, predictor)
  }
}

// `Array.isArray` does not narrow a readonly list.
const isList = (script: Exclude<Script, Responder>): script is ReadonlyArray<Step> => Array.isArray(script)

// =============================================================================
// The model
// =============================================================================

/**
 * One request as it came: `streamed` is whether deltas were asked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly request: LanguageModel.Request
  readonly predictor: string
  readonly streamed: boolean
}

/**
 * A scripted model, and the calls it has had in order of arrival.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly model: LanguageModel.Service
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
}

/**
 * @since 0.1.0
 * @category services
 */
export class TestLanguageModel
  extends Context.Tag("@effect-dspy/core/TestLanguageModel")<TestLanguageModel, Service>()
{}

/**
 * How the model presents itself: `test/model`, and able to do everything that
 * a request can ask for but several outputs, unless said otherwise. It does not
 * cite by itself: `Citations` are a field of its answers like any other.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly id?: string | undefined
  readonly capabilities?: Partial<LanguageModel.Capabilities> | undefined
}

/**
 * A scripted model on its own, for tests that put policies around it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (script: Script, options: Options = {}): Effect.Effect<Service> =>
  Effect.sync(() => {
    const id = options.id ?? "test/model"
    const respond = responder(script)
    const calls: Array<Call> = []
    const next = (request: LanguageModel.Request, streamed: boolean) =>
      frame.with_(({ path }) => {
        const n = calls.push({ request, predictor: path, streamed }) - 1
        const step = respond(request, n, path)
        return Effect.tap(
          isStep(step) ? Effect.succeed(step) : step,
          ({ delay }) => delay === undefined ? Effect.void : Effect.sleep(delay)
        )
      })
    return {
      calls: Effect.sync(() => [...calls]),
      model: LanguageModel.make({
        id,
        capabilities: {
          tools: true,
          responseFormat: "jsonSchema",
          images: true,
          audio: true,
          files: true,
          reasoning: true,
          ...options.capabilities
        },
        generate: (request) =>
          Effect.flatMap(next(request, false), (step) => {
            switch (step._tag) {
              case "Answer":
                return Effect.succeed(response(step, request, id))
              case "Deltas":
                return LanguageModel.fold(step.deltas, id)
              case "Failure":
                return Effect.fail(failure(step.reason, id))
            }
          }),
        stream: (request) =>
          Stream.unwrap(Effect.map(next(request, true), (step) => {
            switch (step._tag) {
              case "Answer":
                return inPieces(response(step, request, id))
              case "Deltas":
                return step.deltas
              case "Failure":
                return Stream.fail(failure(step.reason, id))
            }
          }))
      })
    }
  })

const failure = (reason: LanguageModelError.Reason, id: string): LanguageModelError.LanguageModelError =>
  LanguageModelError.make({ reason, provider: id.split("/")[0] ?? id, model: id })

/**
 * Provides a scripted model.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const add = Predict.make("question -> answer: int")
 *
 * const test = Effect.gen(function*() {
 *   const { answer } = yield* add({ question: "What is 2 + 2?" })
 *   const error = yield* Effect.flip(add({ question: "What is 3 + 3?" }))
 *   const requests = yield* TestLanguageModel.requests
 *   return { answer, error: error._tag, asked: requests.length }
 * }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ answer: 4 }),
 *     TestLanguageModel.fail("Overloaded")
 *   ]))
 * )
 *
 * Effect.runPromise(test).then((result) =>
 *   assert.deepStrictEqual(result, { answer: 4, error: "LanguageModelError", asked: 2 })
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  script: Script,
  options?: Options
): Layer.Layer<LanguageModel.LanguageModel | TestLanguageModel> =>
  Layer.effectContext(Effect.map(make(script, options), (service) =>
    Context.make(TestLanguageModel, service).pipe(
      Context.add(LanguageModel.LanguageModel, service.model)
    )))

/**
 * The calls so far, in order of arrival.
 *
 * @since 0.1.0
 * @category accessors
 */
export const calls: Effect.Effect<ReadonlyArray<Call>, never, TestLanguageModel> = Effect.flatMap(
  TestLanguageModel,
  (service) => service.calls
)

/**
 * The requests so far, in order of arrival.
 *
 * @since 0.1.0
 * @category accessors
 */
export const requests: Effect.Effect<ReadonlyArray<LanguageModel.Request>, never, TestLanguageModel> = Effect.map(
  calls,
  (calls) => calls.map((call) => call.request)
)

// =============================================================================
// Rendering
// =============================================================================

const response = (step: Answer, request: LanguageModel.Request, id: string): LanguageModel.Response => ({
  outputs: [{
    text: typeof step.content === "string" ? step.content : render(step.content, request),
    ...(step.reasoning === undefined ? undefined : { reasoning: step.reasoning }),
    toolCalls: step.toolCalls,
    finishReason: step.finishReason
  }],
  usage: step.usage,
  model: id
})

// The end marker is what tells a prompt for fields between markers from one for a JSON object, where only inputs have
// markers.
const render = (values: JsonRecord, request: LanguageModel.Request): string =>
  request.responseFormat === undefined &&
    request.messages.some((message) => message.role === "system" && textOf(message).includes(marker(completed)))
    ? [...Object.entries(values).map(([name, value]) => `${marker(name)}\n${plain(value)}\n`), marker(completed)]
      .join("\n")
    : JSON.stringify(values, undefined, 2)

const plain = (value: Json): string => typeof value === "string" ? guarded(value) : JSON.stringify(value)

const inPieces = (response: LanguageModel.Response): Stream.Stream<LanguageModel.Delta> =>
  LanguageModel.unfold(response).pipe(
    Stream.mapConcat((delta): Array<LanguageModel.Delta> => {
      switch (delta._tag) {
        case "TextDelta":
        case "ReasoningDelta":
          return pieces(delta.text).map((text) => ({ ...delta, text }))
        case "ToolCallDelta": {
          const { call, index } = delta
          return [
            { ...delta, arguments: "" },
            ...pieces(delta.arguments).map((piece) => ({
              _tag: "ToolCallDelta" as const,
              index,
              call,
              arguments: piece
            }))
          ]
        }
        default:
          return [delta]
      }
    }),
    Stream.rechunk(1)
  )

// Lengths that no period of a text keeps step with; never half a surrogate pair.
const pieces = (text: string): Array<string> => {
  const characters = Array.from(text)
  const out: Array<string> = []
  for (let at = 0, turn = 0; at < characters.length; turn++) {
    const length = lengths[turn % lengths.length]! // within bounds by the modulus
    out.push(characters.slice(at, at + length).join(""))
    at += length
  }
  return out
}

const lengths = [1, 4, 2, 7, 3, 5]
