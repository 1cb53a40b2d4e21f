/**
 * Asks another model when one fails: a policy.
 *
 * @since 0.1.0
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as Policy from "@effect-dspy/core/Policy"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { failure } from "./internal/failure.ts"
import * as monotonic from "./internal/monotonic.ts"
import { CurrentSideband, saying, sayingInStream } from "./internal/sideband.ts"
import { spanEvent } from "./internal/spanEvent.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * Another model: a Layer, with the policies that it is to have, or the service
 * itself.
 *
 * @since 0.1.0
 * @category models
 */
export type Model<E = unknown, R = unknown> =
  | LanguageModel.Service
  | Layer.Layer<LanguageModel.LanguageModel, E, R>

/**
 * What building a model can fail with.
 *
 * @since 0.1.0
 * @category utility types
 */
export type ModelError<M> = M extends Layer.Layer<never, infer E, infer _R> ? E : never

/**
 * What building a model needs.
 *
 * @since 0.1.0
 * @category utility types
 */
export type ModelContext<M> = M extends Layer.Layer<never, infer _E, infer R> ? R : never

/**
 * What `Fallback` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<out M extends Model, out Window extends Model = Model, out Filter extends Model = Model> {
  /** Who to ask instead, in this order. */
  readonly models: ReadonlyArray<M>
  /** For which failures; default `helps`. */
  readonly when?: ((error: LanguageModelError.LanguageModelError) => boolean) | undefined
  /**
   * Who to ask when the prompt does not fit a model; default nobody, since other
   * models of the same size do not help.
   */
  readonly contextWindow?: ReadonlyArray<Window> | undefined
  /**
   * Who to ask when a provider's filter refused the prompt, or cut the answer
   * (finish reason `contentFilter`); default nobody.
   */
  readonly contentFilter?: ReadonlyArray<Filter> | undefined
  /**
   * How many attempts all models together may take, the repeated ones of their
   * `Retry` included; default 6. Each of `models` that is still to be asked
   * keeps one of them.
   */
  readonly attempts?: number | undefined
  /**
   * Whether to fall back also when a part of a stream was delivered already; default `false`. The
   * reader is told by a `Restarted` delta that the answer begins anew; texts of
   * two models are never joined.
   */
  readonly restart?: boolean | undefined
}

/**
 * Whether another model may help: with everything that is the fault of the
 * server, the connection, a limit or a spent quota. A fault of the request or
 * the configuration (a wrong key, an unknown model) is to be seen, not hidden.
 *
 * @since 0.1.0
 * @category guards
 */
export const helps = ({ reason }: LanguageModelError.LanguageModelError): boolean => {
  switch (reason._tag) {
    case "InvalidRequest":
    case "Authentication":
    case "Permission":
    case "NotFound":
    case "RequestTooLarge":
    case "ContextWindowExceeded":
    case "ContentFiltered":
    case "BudgetExceeded":
      return false
    default:
      return true
  }
}

/**
 * Counts calls that went on to another model, tagged by `model` and `reason`,
 * which are those of the failure, and by `to`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const fallbacks = Metric.counter("effect_dspy_fallbacks", {
  description: "Calls that went on to another model",
  incremental: true
})

// =============================================================================
// The policy
// =============================================================================

/**
 * Asks other models in turn, until one answers. Apply it around the policies of
 * the first model, and give the others policies of their own.
 *
 * What a provider reports as an error inside of a successful response counts as
 * a failure, and so does an error in a stream as long as nothing was delivered.
 * The failed attempt is released before the next one begins. If nobody answers,
 * the last error counts all `attempts`.
 *
 * The model keeps the `id` of the first one; a response says which model gave
 * it. What it can do is what all of them can do, so that a request suits
 * whoever answers it.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Fallback from "@effect-dspy/providers/Fallback"
 * import { Effect } from "effect"
 *
 * const Backup = TestLanguageModel.layer([TestLanguageModel.text("hello")], { id: "test/backup" })
 *
 * const Model = TestLanguageModel.layer([TestLanguageModel.fail("QuotaExhausted")]).pipe(
 *   Policy.apply(Fallback.make({ models: [Backup] }))
 * )
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   Effect.provide(Model)
 * )
 *
 * Effect.runPromise(program).then((response) => {
 *   assert.strictEqual(response.outputs[0]?.text, "hello")
 *   assert.strictEqual(response.model, "test/backup")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: <M extends Model, Window extends Model = never, Filter extends Model = never>(
  options: Options<M, Window, Filter>
) => Policy.Policy<ModelError<M | Window | Filter>, ModelContext<M | Window | Filter> | Scope.Scope> = (options) =>
  // What the models need and fail with is read off the type that is erased inside.
  erased(options) as Policy.Policy<never, never>

const erased = (options: Options<Model>): Policy.Policy<unknown, unknown> => (inner) =>
  Effect.gen(function*() {
    const memo = yield* Layer.makeMemoMap
    const scope = yield* Effect.scope
    const built = (models: ReadonlyArray<Model> = []) =>
      Effect.forEach(models, (model) =>
        "generate" in model
          ? Effect.succeed(model)
          : Effect.map(Layer.buildWithMemoMap(model, memo, scope), Context.get(LanguageModel.LanguageModel)))
    const lists: Lists = {
      models: yield* built(options.models),
      contextWindow: yield* built(options.contextWindow),
      contentFilter: yield* built(options.contentFilter)
    }
    const settings: Settings = {
      lists,
      when: options.when ?? helps,
      attempts: options.attempts ?? 6,
      restart: options.restart ?? false
    }
    const begin = Effect.zipWith(
      monotonic.now,
      CurrentSideband,
      (now, { attempts }) => new Call(inner, settings, now, attempts ?? Infinity)
    )
    return {
      ...inner,
      capabilities: [...lists.models, ...lists.contextWindow, ...lists.contentFilter].reduce(
        (common, { capabilities }) => both(common, capabilities),
        inner.capabilities
      ),
      generate: (request) => Effect.flatMap(begin, (call) => call.generate(inner, request)),
      stream: (request) => Stream.unwrap(Effect.map(begin, (call) => call.stream(inner, request)))
    }
  })

const forms = ["none", "jsonObject", "jsonSchema"] as const

const both = (a: LanguageModel.Capabilities, b: LanguageModel.Capabilities): LanguageModel.Capabilities => ({
  ...a,
  streaming: a.streaming && b.streaming,
  tools: a.tools && b.tools,
  images: a.images && b.images,
  audio: a.audio && b.audio,
  files: a.files && b.files,
  reasoning: a.reasoning && b.reasoning,
  citations: a.citations && b.citations,
  multipleOutputs: a.multipleOutputs && b.multipleOutputs,
  responseFormat: forms.find((form) => form === a.responseFormat || form === b.responseFormat) ?? "none",
  ...(a.schemaLimits === undefined && b.schemaLimits === undefined
    ? undefined
    : { schemaLimits: strictest(a.schemaLimits ?? {}, b.schemaLimits ?? {}) })
})

const strictest = (a: LanguageModel.SchemaLimits, b: LanguageModel.SchemaLimits): LanguageModel.SchemaLimits => ({
  recursive: a.recursive !== false && b.recursive !== false,
  depth: lower(a.depth, b.depth),
  properties: lower(a.properties, b.properties),
  enumValues: lower(a.enumValues, b.enumValues),
  unions: lower(a.unions, b.unions),
  characters: lower(a.characters, b.characters),
  length: lower(a.length, b.length)
})

const lower = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || (b !== undefined && b < a) ? b : a

type Lists = {
  readonly [Name in "models" | "contextWindow" | "contentFilter"]: ReadonlyArray<LanguageModel.Service>
}

interface Settings {
  readonly lists: Lists
  readonly when: (error: LanguageModelError.LanguageModelError) => boolean
  readonly attempts: number
  readonly restart: boolean
}

// What has become of one call so far.
class Call {
  readonly #settings: Settings
  readonly #started: number
  readonly #attempts: number
  readonly #asked: Set<LanguageModel.Service>
  #spent = 0
  #delivered = false

  constructor(first: LanguageModel.Service, settings: Settings, now: number, attempts: number) {
    this.#settings = settings
    this.#started = now
    this.#attempts = Math.min(settings.attempts, attempts)
    this.#asked = new Set([first])
  }

  generate(
    model: LanguageModel.Service,
    request: LanguageModel.Request
  ): Effect.Effect<LanguageModel.Response, LanguageModelError.LanguageModelError> {
    return saying(model.generate(request), { attempts: this.#allowance }).pipe(
      Effect.filterOrElse(
        ({ outputs }) => outputs[0]?.finishReason !== "contentFilter" || this.#choose(cut(model)) === undefined,
        () => Effect.fail(cut(model))
      ),
      Effect.catchAll((error) => Effect.flatMap(this.#next(model, error), (next) => this.generate(next, request)))
    )
  }

  stream(
    model: LanguageModel.Service,
    request: LanguageModel.Request
  ): Stream.Stream<LanguageModel.Delta, LanguageModelError.LanguageModelError> {
    return sayingInStream(model.stream(request), { attempts: this.#allowance }).pipe(
      Stream.mapChunksEffect((chunk) => {
        const filtered = Chunk.some(chunk, (delta) => delta._tag === "Finish" && delta.reason === "contentFilter")
        if (filtered && this.#repeatable && this.#choose(cut(model)) !== undefined) return Effect.fail(cut(model))
        this.#delivered ||= Chunk.isNonEmpty(chunk)
        return Effect.succeed(chunk)
      }),
      Stream.catchAll((error) =>
        Stream.unwrap(Effect.map(this.#next(model, error), (next) => {
          const anew = this.stream(next, request)
          if (!this.#delivered) return anew
          this.#delivered = false
          return Stream.concat(Stream.succeed({ _tag: "Restarted", cause: error.message } as const), anew)
        }))
      )
    )
  }

  get #repeatable(): boolean {
    return !this.#delivered || this.#settings.restart
  }

  /** How many attempts the next model may take. */
  get #allowance(): number {
    const waiting = this.#settings.lists.models.filter((model) => !this.#asked.has(model)).length
    return Math.max(1, this.#attempts - this.#spent - waiting)
  }

  #choose(error: LanguageModelError.LanguageModelError): LanguageModel.Service | undefined {
    const { lists, when } = this.#settings
    const list = error.reason._tag === "ContextWindowExceeded" && lists.contextWindow.length > 0
      ? lists.contextWindow
      : error.reason._tag === "ContentFiltered" && lists.contentFilter.length > 0
      ? lists.contentFilter
      : when(error)
      ? lists.models
      : []
    return list.find((model) => !this.#asked.has(model))
  }

  #next(
    from: LanguageModel.Service,
    error: LanguageModelError.LanguageModelError
  ): Effect.Effect<LanguageModel.Service, LanguageModelError.LanguageModelError> {
    return Effect.gen(this, function*() {
      this.#spent += error.attempts
      const next = this.#repeatable && this.#spent < this.#attempts ? this.#choose(error) : undefined
      if (next === undefined) return yield* Effect.flatMap(monotonic.now, (now) => Effect.fail(this.#whole(error, now)))
      this.#asked.add(next)
      const { reason } = error
      yield* spanEvent("fallback", { from: from.id, to: next.id, "error.type": reason._tag })
      yield* Metric.increment(
        Metric.tagged(Metric.tagged(Metric.tagged(fallbacks, "model", from.id), "to", next.id), "reason", reason._tag)
      )
      return next
    })
  }

  #whole(error: LanguageModelError.LanguageModelError, now: number): LanguageModelError.LanguageModelError {
    const { attempts, model, provider, reason, requestId, shouldRetry } = error
    return this.#spent === attempts ? error : LanguageModelError.make({
      reason,
      provider,
      model,
      requestId,
      shouldRetry,
      attempts: this.#spent,
      elapsed: Math.round(now - this.#started)
    })
  }
}

const cut = ({ id }: LanguageModel.Service): LanguageModelError.LanguageModelError =>
  failure(
    id,
    new LanguageModelError.ContentFiltered({ description: "the provider's filter cut the answer" })
  )
