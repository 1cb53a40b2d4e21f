/**
 * What the tests of policies share.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { FetchHttpClient } from "@effect/platform"
import { Cause, Chunk, Context, Effect, Exit, Fiber, Layer, Option, Stream, TestClock, Tracer } from "effect"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"

export const request: LanguageModel.Request = { messages: [{ role: "user", content: "hi" }] }

export const text = (text: string): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text })
export const finish: LanguageModel.Delta = { _tag: "Finish", index: 0, reason: "stop" }
export const completed = (usage: LanguageModel.Usage = {}): LanguageModel.Delta => ({
  _tag: "Completed",
  usage,
  model: "test/model"
})

export const failure = (
  reason: LanguageModelError.Reason,
  more: { readonly shouldRetry?: boolean } = {}
): LanguageModelError.LanguageModelError =>
  LanguageModelError.make({ reason, provider: "test", model: "test/model", ...more })

export const broken = failure(
  new LanguageModelError.StreamFailed({ kind: "connection", partial: "", description: "reset" })
)

/** Deltas that break off. */
export const breaking = (...deltas: ReadonlyArray<LanguageModel.Delta>): TestLanguageModel.Step =>
  TestLanguageModel.deltas(Stream.concat(Stream.rechunk(Stream.fromIterable(deltas), 1), Stream.fail(broken)))

/** A scripted model under a policy, and the calls it has had. */
export const policed = <E, R>(policy: Policy.Policy<E, R>, script: TestLanguageModel.Script) =>
  Effect.gen(function*() {
    const { calls, model } = yield* TestLanguageModel.make(script)
    return { model: yield* policy(model), sent: Effect.map(calls, (calls) => calls.length) }
  })

export const textOf = (response: LanguageModel.Response): string => response.outputs[0]?.text ?? ""

export const collected = (model: LanguageModel.Service) =>
  Effect.map(Stream.runCollect(model.stream(request)), Chunk.toReadonlyArray)

/**
 * Runs something that waits by the Clock to its end, and tells how long each of
 * its waits was, in milliseconds. Between them it may talk to real sockets.
 */
export const driven = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const waits: Array<number> = []
    const clock = yield* TestClock.testClock()
    const fiber = yield* Effect.fork(self)
    while (fiber.unsafePoll() === null) {
      const next = Math.min(...(yield* TestClock.sleeps()))
      if (next === Infinity) {
        yield* realTick
        continue
      }
      const now = yield* clock.currentTimeMillis
      waits.push(next - now)
      yield* TestClock.setTime(next)
    }
    return { exit: yield* Fiber.await(fiber), waits }
  })

/** Lets real I/O go on. */
export const realTick: Effect.Effect<void> = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1)))

export const failureOf = <A>(exit: Exit.Exit<A, LanguageModelError.LanguageModelError>) =>
  Exit.match(exit, {
    onSuccess: () => undefined,
    onFailure: (cause) => Option.getOrThrowWith(Cause.failureOption(cause), () => Cause.squash(cause))
  })

/** A model behind a server on loopback. */
export const served = (url: string) =>
  Effect.map(
    Layer.build(
      OpenAiCompatible.layer({ model: "m", baseUrl: url, id: "test/m" }).pipe(Layer.provide(FetchHttpClient.layer))
    ),
    Context.get(LanguageModel.LanguageModel)
  )

/** The events that were left in the span around an effect. */
export const spanEvents = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const events: Array<{ readonly name: string; readonly attributes: Record<string, unknown> }> = []
    const { span: make } = yield* Effect.tracer
    const tracer = Tracer.make({
      span: (...args) => {
        const span = make(...args)
        span.event = (name, _start, attributes) => void events.push({ name, attributes: attributes ?? {} })
        return span
      },
      context: (f) => f()
    })
    yield* Effect.exit(Effect.withTracer(Effect.withSpan(self, "test"), tracer))
    return events
  })
