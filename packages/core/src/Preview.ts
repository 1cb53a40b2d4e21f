/**
 * A `Preview` is the request that a module would send first, found without
 * sending it: messages, settings and response format as the model would get
 * them, under the parameters, adapter and settings that hold where it is asked
 * for.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as frame from "./internal/frame.ts"
import * as LanguageModel from "./LanguageModel.ts"
import type * as Module from "./Module.ts"

/**
 * `path` is that of the predictor that asks, `""` for a predictor by itself.
 * `tokens` is an estimate of what the request takes, see `tokensOf`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Preview {
  readonly path: string
  readonly model: string
  readonly request: LanguageModel.Request
  readonly tokens: number
}

/**
 * A module came to its end and had asked no model.
 *
 * @since 0.1.0
 * @category errors
 */
export class NothingAsked
  extends Schema.TaggedError<NothingAsked>("@effect-dspy/core/Preview/NothingAsked")("NothingAsked", {})
{
  override get message(): string {
    return "The module asks no model for this input, so there is no request to show"
  }
}

/**
 * The first request of a module for an input.
 *
 * A predictor, and whatever asks one model once, has no other. Of a module of
 * several parts it is the one that would be sent first: what the later ones say
 * depends on the answers, and is not made up. Everything that comes before the
 * request is really done, such as retrieving, and so is its failure; no model is
 * called, whichever it is and whoever provides it, and nobody who listens hears
 * of it. The model's Layer is needed for what it can do, which decides the form
 * of the request. What policies would do to the request is not shown.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Preview from "@effect-dspy/core/Preview"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const add = Predict.make("question -> answer: int", { settings: { temperature: 0 } })
 *
 * const program = Preview.make(add, { question: "What is 2 + 2?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([]))
 * )
 *
 * Effect.runPromise(program).then(({ request, tokens }) => {
 *   assert.strictEqual(request.settings?.temperature, 0)
 *   assert.match(String(request.messages.at(-1)?.content), /What is 2 \+ 2\?/)
 *   assert.ok(tokens > 100 && tokens < 200)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  input: In
): Effect.Effect<Preview, E | NothingAsked, R> =>
  Effect.flatMap(Deferred.make<Preview>(), (asked) => {
    const capture = (model: string, request: LanguageModel.Request): Effect.Effect<never> =>
      Effect.zipRight(
        frame.with_(({ path }) => Deferred.succeed(asked, { path, model, request, tokens: tokensOf(request) })),
        Effect.never
      )
    const standIn = (model: LanguageModel.Service): LanguageModel.Service => ({
      ...model,
      generate: (request) => capture(model.id, request),
      stream: (request) => Stream.fromEffect(capture(model.id, request))
    })
    const run = frame.with_((current) => frame.provide(module(input), { ...current, listener: undefined, standIn }))
    return Effect.raceFirst(
      Deferred.await(asked),
      Effect.zipRight(
        // A body may as well ask the model itself.
        Effect.mapInputContext(run, (context: Context.Context<R>) => {
          const model = Context.getOption(context as Context.Context<never>, LanguageModel.LanguageModel) // it may be there
          return model._tag === "None"
            ? context
            : Context.add(context, LanguageModel.LanguageModel, standIn(model.value))
        }),
        new NothingAsked()
      )
    )
  })

// =============================================================================
// Tokens
// =============================================================================

// What a chat template writes around a turn, and before the answer.
const perMessage = 4
const perRequest = 3

/**
 * About how many tokens a text is, with no tokenizer at hand: a word of Latin
 * letters one for each ten letters begun, digits one for three, punctuation one
 * for two in a row, a letter of a script without spaces one, of any other script
 * one for two; spaces between words are free, line breaks in a row are one.
 *
 * Against OpenAI's `o200k_base`, between 0.9 and 1.25 of the truth for English
 * prose, Markdown, JSON and TypeScript; other languages may be off by a factor of two.
 *
 * @since 0.1.0
 * @category destructors
 */
export const tokensOfText = (text: string): number => {
  let tokens = 0
  for (const [run] of text.matchAll(runs)) tokens += weigh(run)
  return Math.ceil(tokens)
}

const runs =
  /[A-Za-z]+|[0-9]+|[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}]+|[\p{L}\p{M}]+|\n+|[^\S\n]{2,}|[^\s\p{L}\p{M}0-9]+/gu

const weigh = (run: string): number => {
  const [first] = run
  if (first === undefined) return 0
  if (/[A-Za-z]/.test(first)) return Math.ceil(run.length / 10)
  if (/[0-9]/.test(first)) return Math.ceil(run.length / 3)
  if (/\s/.test(first)) return 1
  if (/[\p{L}\p{M}]/u.test(first)) {
    return /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Hangul}|\p{Script=Thai}/u.test(first)
      ? run.length
      : run.length / 2
  }
  return Math.ceil(run.length / 2)
}

/**
 * About how many tokens a request takes of a model's context, for budgets and
 * for the eye, not for invoices: the texts as `tokensOfText` has them, tools and
 * response format as JSON, four for each turn. Images, sound and files count
 * nothing, since every provider counts them in another way.
 *
 * @since 0.1.0
 * @category destructors
 */
export const tokensOf = ({ messages, responseFormat, tools }: LanguageModel.Request): number => {
  let tokens = perRequest + json(tools) + json(responseFormat)
  for (const { content, toolCalls } of messages) {
    tokens += perMessage + json(toolCalls)
    if (typeof content === "string") tokens += tokensOfText(content)
    else for (const part of content) tokens += part._tag === "Text" ? tokensOfText(part.text) : 0
  }
  return tokens
}

const json = (value: unknown): number => value === undefined ? 0 : tokensOfText(JSON.stringify(value))

// =============================================================================
// For people
// =============================================================================

/**
 * A preview as text for a terminal: one line of what it is, the settings and
 * what form the answer must have, then the turns.
 *
 * @example
 * ```ts
 * import * as Preview from "@effect-dspy/core/Preview"
 *
 * const text = Preview.format({
 *   path: "answer.predict",
 *   model: "test/model",
 *   request: { messages: [{ role: "user", content: "Why?" }], settings: { temperature: 0 } },
 *   tokens: 9
 * })
 *
 * assert.strictEqual(text, [
 *   "answer.predict → test/model, about 9 tokens",
 *   "temperature 0",
 *   "",
 *   "── user ──",
 *   "Why?"
 * ].join("\n"))
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const format = ({ model, path, request, tokens }: Preview): string => {
  const { messages, responseFormat, settings = {}, toolChoice, tools } = request
  const set = Object.entries(settings).filter(([, value]) => value !== undefined)
  return [
    `${path === "" ? "" : `${path} → `}${model}, about ${tokens} tokens`,
    ...(set.length === 0 ? [] : [set.map(([name, value]) => `${name} ${shown(value)}`).join(", ")]),
    ...(responseFormat === undefined ? [] : [
      responseFormat._tag === "JsonObject"
        ? "answer: any JSON object"
        : `answer: JSON${responseFormat.strict ? ", strictly" : ""} by the schema ${
          JSON.stringify(responseFormat.schema)
        }`
    ]),
    ...(tools ?? []).map(({ description, name, parameters }) =>
      `tool ${name}${description === undefined ? "" : `: ${description}`} ${JSON.stringify(parameters)}`
    ),
    ...(toolChoice === undefined ? [] : [`tool choice: ${shown(toolChoice)}`]),
    ...messages.flatMap(({ content, role, toolCallId, toolCalls }) => [
      "",
      `── ${role}${toolCallId === undefined ? "" : ` (${toolCallId})`} ──`,
      ...(typeof content === "string" ? [content] : content.map(part)),
      ...(toolCalls ?? []).map((call) => `[calls ${call.name}(${call.arguments})]`)
    ])
  ].join("\n")
}

const shown = (value: unknown): string => typeof value === "string" ? value : JSON.stringify(value)

const part = (part: LanguageModel.Part): string =>
  part._tag === "Text" ? part.text : `[${part._tag.toLowerCase()} ${shortened(part.url)}]`

const shortened = (url: string): string => url.length <= 80 ? url : `${url.slice(0, 60)}… of ${url.length} characters`
