/**
 * A `Policy` changes how a model is called (retry, cache, budget, rate limit)
 * without the model or the program knowing. It is a value, applied to a Layer.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as pull from "./internal/pull.ts"
import * as LanguageModel from "./LanguageModel.ts"
import type { LanguageModelError } from "./LanguageModelError.ts"

/**
 * From a model to a model. State (a limiter, a store) is made once, when the
 * policy is applied.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy<out E = never, out R = never> {
  (inner: LanguageModel.Service): Effect.Effect<LanguageModel.Service, E, R>
}

/**
 * An open stream that is pulled by hand: the next chunk each time, an empty one
 * for a sign of life, and `None` once there is no more.
 *
 * @since 0.1.0
 * @category models
 */
export type Pull = Effect.Effect<Chunk.Chunk<LanguageModel.Delta>, Option.Option<LanguageModelError>>

/**
 * Opens the stream that answers a request; it is closed with the scope.
 *
 * @since 0.1.0
 * @category models
 */
export type Opening = (request: LanguageModel.Request) => Effect.Effect<Pull, LanguageModelError, Scope.Scope>

/**
 * How the streams of a model are opened. Nothing runs between whoever pulls and
 * the model if its `stream` was made by `pulled`, as those of all policies of
 * this module and of all providers that speak HTTP are; of others it is a
 * `Stream`, which costs twice as much.
 *
 * @since 0.1.0
 * @category accessors
 */
export const open: (model: LanguageModel.Service) => Opening = pull.open

/**
 * The `stream` of a model from how its streams are opened, for policies and
 * providers that see each pull.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Chunk, Effect, Stream } from "effect"
 *
 * let seen = 0
 * const counted: Policy.Policy = (inner) => {
 *   const open = Policy.open(inner)
 *   const count = (pull: Policy.Pull) =>
 *     Effect.tap(pull, (chunk) =>
 *       Effect.sync(() => {
 *         seen += Chunk.size(chunk)
 *       }))
 *   return Effect.succeed({ ...inner, stream: Policy.pulled((request) => Effect.map(open(request), count)) })
 * }
 *
 * const Model = TestLanguageModel.layer([TestLanguageModel.text("hello")]).pipe(Policy.apply(counted))
 *
 * const program = LanguageModel.stream({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   Stream.runCount,
 *   Effect.provide(Model)
 * )
 *
 * Effect.runPromise(program).then((deltas) => assert.strictEqual(seen, deltas))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const pulled: (opening: Opening) => LanguageModel.Service["stream"] = pull.pulled

/**
 * What `around` wraps: one attempt at a call, or at opening a stream up to its
 * first chunk, whose resources live in the scope, which a stream keeps until it
 * ends. An attempt that fails or is interrupted has released everything of its
 * own at once; what the policy acquires around it is for the policy to release.
 *
 * @since 0.1.0
 * @category models
 */
export interface Around {
  <A>(
    attempt: Effect.Effect<A, LanguageModelError, Scope.Scope>,
    request: LanguageModel.Request
  ): Effect.Effect<A, LanguageModelError, Scope.Scope>
}

/**
 * A policy around the attempt. `generate` and `stream` are covered by writing
 * it once: for a stream the attempt ends with its first chunk, so that a retry
 * can never repeat what a reader has already seen.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect } from "effect"
 *
 * const twice = Policy.around(Effect.succeed((attempt) => Effect.retry(attempt, { times: 1 })))
 *
 * const model = TestLanguageModel.layer([TestLanguageModel.fail("Overloaded"), TestLanguageModel.text("hello")]).pipe(
 *   Policy.apply(twice)
 * )
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   Effect.provide(model)
 * )
 *
 * Effect.runPromise(program).then((response) => assert.strictEqual(response.outputs[0]?.text, "hello"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const around = <E = never, R = never>(build: Effect.Effect<Around, E, R>): Policy<E, R> => (inner) =>
  Effect.map(build, (wrap): LanguageModel.Service => {
    const begin = beginning(inner)
    const opening: Opening = (request) => wrap(contained(begin(request)), request)
    const service: LanguageModel.Service = {
      id: inner.id,
      endpoint: inner.endpoint,
      capabilities: inner.capabilities,
      generate: (request) => Effect.scoped(wrap(inner.generate(request), request)),
      stream: pulled(opening)
    }
    beginnings.add(service.stream)
    return service
  })

// Streams whose openings have the first chunk already.
const beginnings = new WeakSet<LanguageModel.Service["stream"]>()

// An attempt in a scope of its own: closed at once when it fails or is
// interrupted, left to the caller's when not.
const contained = <A, E>(attempt: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
      return yield* restore(Scope.extend(attempt, scope)).pipe(
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
    })
  )

// Opens a stream up to its first chunk, which is what policies call an attempt.
const beginning = (inner: LanguageModel.Service): Opening =>
  beginnings.has(inner.stream) ? open(inner) : (request) => Effect.flatMap(open(inner)(request), begun)

// A stream whose first chunk is there.
const begun = (pull: Pull): Effect.Effect<Pull, LanguageModelError> =>
  pull.pipe(
    Effect.repeat({ until: Chunk.isNonEmpty }),
    Effect.matchEffect({
      onFailure: Option.match({ onNone: () => Effect.succeed(Effect.fail(Option.none())), onSome: Effect.fail }),
      onSuccess: (chunk) => {
        let first: Chunk.Chunk<LanguageModel.Delta> | undefined = chunk
        return Effect.succeed(Effect.suspend(() => {
          if (first === undefined) return pull
          const chunk = first
          first = undefined
          return Effect.succeed(chunk)
        }))
      }
    })
  )

/**
 * A policy that may answer in the model's place and sees what the model
 * answers. `before` may return a whole response, which is then replayed as a
 * stream when one is asked for; `after` runs for each complete answer of the
 * model, never for a truncated or failed one. Of a stream that is when
 * `Completed` arrives, just before the reader gets it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const answered = <E = never, R = never>(
  build: Effect.Effect<
    {
      readonly before: (
        request: LanguageModel.Request
      ) => Effect.Effect<Option.Option<LanguageModel.Response>, LanguageModelError>
      readonly after: (request: LanguageModel.Request, response: LanguageModel.Response) => Effect.Effect<void>
    },
    E,
    R
  >
): Policy<E, R> =>
(inner) =>
  Effect.map(build, ({ after, before }): LanguageModel.Service => ({
    id: inner.id,
    endpoint: inner.endpoint,
    capabilities: inner.capabilities,
    generate: (request) =>
      Effect.flatMap(before(request), (known) =>
        known._tag === "Some"
          ? Effect.succeed(known.value)
          : Effect.tap(inner.generate(request), (response) => after(request, response))),
    stream: (request) =>
      Stream.unwrap(Effect.map(before(request), (known) => {
        if (known._tag === "Some") return LanguageModel.unfold(known.value)
        const folder = new LanguageModel.Folder()
        return Stream.mapChunksEffect(inner.stream(request), (chunk) => {
          let completed = false
          for (const delta of chunk) {
            folder.add(delta)
            completed ||= delta._tag === "Completed"
          }
          const response = completed ? folder.response : undefined
          return response === undefined ? Effect.succeed(chunk) : Effect.as(after(request, response), chunk)
        })
      }))
  }))

/**
 * How a call ended. `exit` is what the provider said of the whole answer, or
 * why there is none; a call that was interrupted, or a stream that its reader
 * left, is an interruption. `received` counts the characters of text, reasoning
 * and tool arguments that arrived, also of an answer that did not end well.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ending {
  readonly exit: Exit.Exit<Omit<LanguageModel.Response, "outputs">, LanguageModelError>
  readonly received: number
}

/**
 * A policy that accounts for calls: what runs before one may wait or refuse,
 * and returns what is to run when the call is over. That runs exactly once, and
 * cannot be interrupted: after an answer, a failure or an interruption, of a
 * stream when `Completed` arrives, just before the reader gets it, or when the
 * stream breaks or is left. What is acquired before the call, in its scope, is
 * released after that.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect, Exit } from "effect"
 *
 * const log: Array<string> = []
 * const logged = Policy.metered(Effect.succeed((request) =>
 *   Effect.sync(() => {
 *     log.push(`asked ${request.messages.length}`)
 *     return ({ exit }) => Effect.sync(() => log.push(Exit.isSuccess(exit) ? "answered" : "failed"))
 *   })
 * ))
 *
 * const model = TestLanguageModel.layer([TestLanguageModel.text("hello")]).pipe(Policy.apply(logged))
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   Effect.provide(model)
 * )
 *
 * Effect.runPromise(program).then(() => assert.deepStrictEqual(log, ["asked 1", "answered"]))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const metered = <E = never, R = never>(
  build: Effect.Effect<
    (
      request: LanguageModel.Request,
      model: LanguageModel.Service
    ) => Effect.Effect<(ending: Ending) => Effect.Effect<unknown>, LanguageModelError, Scope.Scope>,
    E,
    R
  >
): Policy<E, R> =>
(inner) =>
  Effect.map(build, (begin): LanguageModel.Service => {
    // Not up to the first chunk: whoever measures time wants to see the empty ones before it.
    const attempt = open(inner)
    const opening: Opening = (request) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(restore(begin(request, inner)), (close) => {
          const meter = new Meter(inner.id, close)
          return Effect.addFinalizer(() => meter.end(left)).pipe(
            Effect.zipRight(
              Effect.tapErrorCause(restore(attempt(request)), (cause) => meter.end(Exit.failCause(cause)))
            ),
            Effect.map((pull) => meter.watch(pull))
          )
        })
      )
    return {
      id: inner.id,
      endpoint: inner.endpoint,
      capabilities: inner.capabilities,
      generate: (request) =>
        Effect.scoped(Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(restore(begin(request, inner)), (close) =>
            Effect.onExit(restore(inner.generate(request)), (exit) =>
              close({ exit, received: Exit.isSuccess(exit) ? sizeOf(exit.value) : 0 })))
        )),
      stream: pulled(opening)
    }
  })

const left = Exit.interrupt(FiberId.none)

const sizeOf = (response: LanguageModel.Response): number =>
  response.outputs.reduce(
    (sum, output) =>
      output.toolCalls.reduce(
        (sum, call) => sum + call.arguments.length,
        sum + output.text.length + (output.reasoning?.length ?? 0)
      ),
    0
  )

// What has come of one stream, until it is over.
class Meter {
  readonly #model: string
  readonly #close: (ending: Ending) => Effect.Effect<unknown>
  #received = 0
  #partial = ""
  #over = false

  constructor(model: string, close: (ending: Ending) => Effect.Effect<unknown>) {
    this.#model = model
    this.#close = close
  }

  end(exit: Ending["exit"]): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#over) return Effect.void
      this.#over = true
      return Effect.asVoid(Effect.uninterruptible(this.#close({ exit, received: this.#received })))
    })
  }

  watch(pull: Pull): Pull {
    return Effect.matchCauseEffect(pull, {
      onSuccess: (chunk) => {
        const completed = this.#take(chunk)
        return completed === undefined ? Effect.succeed(chunk) : Effect.as(this.end(Exit.succeed(completed)), chunk)
      },
      onFailure: (cause) =>
        Effect.zipRight(
          this.end(Option.match(Cause.flipCauseOption(cause), {
            onNone: () => Exit.fail(LanguageModel.truncated(this.#model, this.#partial)),
            onSome: Exit.failCause
          })),
          Effect.failCause(cause)
        )
    })
  }

  #take(chunk: Chunk.Chunk<LanguageModel.Delta>): LanguageModel.Completed | undefined {
    let completed: LanguageModel.Completed | undefined
    for (const delta of chunk) {
      switch (delta._tag) {
        case "TextDelta":
          if (delta.index === 0) this.#partial += delta.text
          this.#received += delta.text.length
          break
        case "ReasoningDelta":
          this.#received += delta.text.length
          break
        case "ToolCallDelta":
          this.#received += delta.arguments.length
          break
        case "Completed":
          completed = delta
          break
        case "Restarted":
          this.#partial = ""
      }
    }
    return completed
  }
}

/**
 * Applies a policy to a model's Layer. The last one applied is the outermost.
 * What else the Layer provides, it provides still.
 *
 * @since 0.1.0
 * @category combinators
 */
export const apply: {
  <E2, R2>(policy: Policy<E2, R2>): <E, R, Others = never>(
    self: Layer.Layer<LanguageModel.LanguageModel | Others, E, R>
  ) => Layer.Layer<LanguageModel.LanguageModel | Others, E | E2, R | Exclude<R2, Scope.Scope>>
  <E, R, E2, R2, Others = never>(
    self: Layer.Layer<LanguageModel.LanguageModel | Others, E, R>,
    policy: Policy<E2, R2>
  ): Layer.Layer<LanguageModel.LanguageModel | Others, E | E2, R | Exclude<R2, Scope.Scope>>
} = dual(
  2,
  <E, R, E2, R2, Others = never>(
    self: Layer.Layer<LanguageModel.LanguageModel | Others, E, R>,
    policy: Policy<E2, R2>
  ): Layer.Layer<LanguageModel.LanguageModel | Others, E | E2, R | Exclude<R2, Scope.Scope>> =>
    Layer.flatMap(self, (context) =>
      Layer.scopedContext(
        Effect.map(
          policy(Context.unsafeGet(context, LanguageModel.LanguageModel)), // by its type the Layer has one
          (model) => Context.add(context, LanguageModel.LanguageModel, model)
        )
      ))
)
