import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Chunk, Effect, Exit, Fiber, Layer, Option, Ref, Stream, TestClock } from "effect"

const request: LanguageModel.Request = { messages: [{ role: "user", content: "hi" }] }

const overloaded = LanguageModelError.make({
  reason: new LanguageModelError.Overloaded({ description: "busy" }),
  provider: "test",
  model: "test/m"
})

const text = (text: string): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text })
const finish: LanguageModel.Delta = { _tag: "Finish", index: 0, reason: "stop" }
const completed: LanguageModel.Delta = { _tag: "Completed", usage: {}, model: "test/m" }

const retryTwice = Policy.around(Effect.succeed((attempt) => Effect.retry(attempt, { times: 2 })))

// A model that counts how many streams were opened and how many are open now.
const counted = (
  deltas: (opened: number) => Stream.Stream<LanguageModel.Delta, LanguageModelError.LanguageModelError>
) => {
  const state = { opened: 0, open: 0 }
  const model = LanguageModel.make({
    id: "test/m",
    stream: () =>
      Stream.unwrapScoped(Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            state.opened++
            state.open++
            return state.opened
          }),
          () => Effect.sync(() => state.open--)
        ),
        deltas
      ))
  })
  return { model, state }
}

describe("Policy.around", () => {
  it.effect("retries a stream that fails before its first chunk, and releases every attempt", () =>
    Effect.gen(function*() {
      const { model, state } = counted((opened) =>
        opened < 3 ? Stream.fail(overloaded) : Stream.make(text("a"), text("b"), finish, completed)
      )
      const policed = yield* retryTwice(model)
      const response = yield* LanguageModel.fold(policed.stream(request), "test/m")
      assert.strictEqual(response.outputs[0]?.text, "ab")
      assert.deepStrictEqual(state, { opened: 3, open: 0 })
    }))

  it.effect("never repeats what a reader has seen", () =>
    Effect.gen(function*() {
      const { model, state } = counted(() => Stream.concat(Stream.make(text("a")), Stream.fail(overloaded)))
      const policed = yield* retryTwice(model)
      const seen: Array<LanguageModel.Delta> = []
      const error = yield* policed.stream(request).pipe(
        Stream.runForEach((delta) => Effect.sync(() => seen.push(delta))),
        Effect.flip
      )
      assert.strictEqual(error, overloaded)
      assert.deepStrictEqual(seen, [text("a")])
      assert.deepStrictEqual(state, { opened: 1, open: 0 })
    }))

  it.effect("an attempt that is interrupted by a policy is released at once", () =>
    Effect.gen(function*() {
      const { model, state } = counted(() => Stream.never)
      const policed = yield* Policy.around(
        Effect.succeed((attempt) => Effect.timeoutFail(attempt, { duration: "1 second", onTimeout: () => overloaded }))
      )(model)
      const fiber = yield* Effect.fork(Effect.flip(Stream.runDrain(policed.stream(request))))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), overloaded)
      assert.deepStrictEqual(state, { opened: 1, open: 0 })
    }))

  it.effect("leaving a stream early closes it", () =>
    Effect.gen(function*() {
      const { model, state } = counted(() => Stream.concat(Stream.make(text("a")), Stream.never))
      const policed = yield* retryTwice(model)
      const first = yield* Stream.runHead(policed.stream(request))
      assert.deepStrictEqual(first, Option.some(text("a")))
      assert.deepStrictEqual(state, { opened: 1, open: 0 })
    }))

  it.effect("policies nest: each has its own attempts, and all of them are released", () =>
    Effect.gen(function*() {
      const { model, state } = counted((opened) =>
        opened < 8 ? Stream.fail(overloaded) : Stream.concat(Stream.make(text("a")), Stream.never)
      )
      const attempts = { inner: 0, outer: 0 }
      const retrying = (name: keyof typeof attempts) =>
        Policy.around(Effect.succeed((attempt) =>
          Effect.retry(Effect.zipRight(Effect.sync(() => attempts[name]++), attempt), { times: 2 })
        ))
      const policed = yield* Effect.flatMap(retrying("inner")(model), retrying("outer"))
      const first = yield* Stream.runHead(policed.stream(request))
      assert.deepStrictEqual(first, Option.some(text("a")))
      assert.deepStrictEqual(attempts, { inner: 8, outer: 3 })
      assert.deepStrictEqual(state, { opened: 8, open: 0 })
    }))

  it.effect("a policy goes around the stream that a model has, also when the model was copied", () =>
    Effect.gen(function*() {
      const policed = yield* retryTwice(counted(() => Stream.make(text("a"), finish, completed)).model)
      const copied = { ...policed, stream: () => Stream.make(text("b"), finish, completed) }
      const response = yield* LanguageModel.fold((yield* retryTwice(copied)).stream(request), "test/m")
      assert.strictEqual(response.outputs[0]?.text, "b")
    }))

  it.effect("keeps the chunks of the stream as they come", () =>
    Effect.gen(function*() {
      const chunks = [[text("a"), text("b")], [text("c")], [finish, completed]].map(Chunk.fromIterable)
      const { model } = counted(() => Stream.fromChunks(...chunks))
      const policed = yield* retryTwice(model)
      const seen = yield* Stream.runCollect(Stream.chunks(policed.stream(request)))
      assert.deepStrictEqual(Chunk.toReadonlyArray(seen).map(Chunk.size), [2, 1, 2])
    }))
})

describe("Policy.answered", () => {
  const remembering = Effect.gen(function*() {
    const store = yield* Ref.make(Option.none<LanguageModel.Response>())
    const policy = Policy.answered(Effect.succeed({
      before: () => Ref.get(store),
      after: (_, response) => Ref.set(store, Option.some(response))
    }))
    return { policy, store }
  })

  it.effect("replays a remembered answer as a stream", () =>
    Effect.gen(function*() {
      const { policy } = yield* remembering
      const { model, state } = counted(() => Stream.make(text("a"), finish, completed))
      const policed = yield* policy(model)
      const first = yield* LanguageModel.fold(policed.stream(request), "test/m")
      const second = yield* LanguageModel.fold(policed.stream(request), "test/m")
      const third = yield* policed.generate(request)
      assert.deepStrictEqual(second, first)
      assert.deepStrictEqual(third, first)
      assert.strictEqual(state.opened, 1)
    }))

  it.effect("a truncated or failed answer is not remembered", () =>
    Effect.gen(function*() {
      const { policy, store } = yield* remembering
      const cut = yield* policy(counted(() => Stream.make(text("a"))).model)
      yield* Stream.runDrain(cut.stream(request))
      assert.isTrue(Option.isNone(yield* Ref.get(store)))
      const broken = yield* policy(counted(() => Stream.concat(Stream.make(text("a")), Stream.fail(overloaded))).model)
      yield* Effect.flip(Stream.runDrain(broken.stream(request)))
      assert.isTrue(Option.isNone(yield* Ref.get(store)))
    }))
})

describe("Policy.metered", () => {
  // A policy that holds a scoped place for each call, and what it saw.
  const metering = () => {
    const seen: Array<string> = []
    const state = { open: 0 }
    const policy = Policy.metered(Effect.succeed((_request, model) =>
      Effect.as(
        Effect.acquireRelease(
          Effect.sync(() => state.open++),
          () => Effect.sync(() => seen.push(`released at ${--state.open}`))
        ),
        ({ exit, received }) =>
          Effect.sync(() =>
            seen.push(
              `${model.id} ${
                Exit.match(exit, {
                  onSuccess: ({ usage }) => `answered ${usage.outputTokens ?? "?"}`,
                  onFailure: (cause) =>
                    Cause.isInterruptedOnly(cause)
                      ? "left"
                      : Option.match(Cause.failureOption(cause), {
                        onNone: () => "died",
                        onSome: (error) => error.reason._tag
                      })
                })
              } after ${received}`
            )
          )
      )
    ))
    return { policy, seen, state }
  }
  const answer = [text("ab"), text("c"), finish, { ...completed, usage: { outputTokens: 3 } }]

  it.effect("empty chunks, the signs of life of a model, pass from the beginning", () =>
    Effect.gen(function*() {
      const chunks = [Chunk.empty(), Chunk.empty(), Chunk.of(text("a")), Chunk.empty(), Chunk.make(finish, completed)]
      const policed = yield* metering().policy(LanguageModel.make({
        id: "test/m",
        stream: () => {
          let n = 0
          return Stream.repeatEffectChunkOption(
            Effect.suspend(() => n < chunks.length ? Effect.succeed(chunks[n++]!) : Effect.fail(Option.none()))
          )
        }
      }))
      const sizes = yield* Effect.scoped(Effect.gen(function*() {
        const pull = yield* Stream.toPull(policed.stream(request))
        return yield* Effect.replicateEffect(Effect.map(pull, Chunk.size), chunks.length)
      }))
      assert.deepStrictEqual(sizes, [0, 0, 1, 0, 2])
    }))

  it.effect("ends once, with what the provider said, before the reader gets it", () =>
    Effect.gen(function*() {
      const { policy, seen } = metering()
      const policed = yield* policy(counted(() => Stream.fromIterable(answer).pipe(Stream.rechunk(1))).model)
      yield* policed.generate(request)
      yield* Stream.runForEach(
        policed.stream(request),
        (delta) => Effect.sync(() => seen.push(delta._tag))
      )
      assert.deepStrictEqual(seen, [
        "test/m answered 3 after 3",
        "released at 0",
        "TextDelta",
        "TextDelta",
        "Finish",
        "test/m answered 3 after 3",
        "Completed",
        "released at 0"
      ])
    }))

  it.effect("ends with the failure, before the first chunk and in the middle, and when the terminal marker is missing", () =>
    Effect.gen(function*() {
      const { policy, seen } = metering()
      const broken = [
        Stream.fail(overloaded),
        Stream.concat(Stream.make(text("abcd")), Stream.fail(overloaded)),
        Stream.make(text("abc"))
      ]
      for (const deltas of broken) {
        const policed = yield* policy(counted(() => deltas).model)
        yield* Effect.ignore(Stream.runDrain(policed.stream(request)))
      }
      const { model } = yield* TestLanguageModel.make([TestLanguageModel.fail("Overloaded")])
      yield* Effect.ignore((yield* policy(model)).generate(request))
      assert.deepStrictEqual(seen, [
        "test/m Overloaded after 0",
        "released at 0",
        "test/m Overloaded after 4",
        "released at 0",
        "test/m StreamTruncated after 3",
        "released at 0",
        "test/model Overloaded after 0",
        "released at 0"
      ])
    }))

  it.effect("ends when the reader leaves, and when the call is interrupted, asked for or streamed", () =>
    Effect.gen(function*() {
      const { policy, seen } = metering()
      const { model } = counted(() => Stream.concat(Stream.make(text("ab")), Stream.never))
      const policed = yield* policy(model)
      yield* Stream.runHead(policed.stream(request))
      const silent = yield* policy(counted(() => Stream.never).model)
      for (const call of [policed.generate(request), Stream.runDrain(silent.stream(request))]) {
        const fiber = yield* Effect.fork(call)
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(fiber)
      }
      assert.deepStrictEqual(seen, [
        "test/m left after 2",
        "released at 0",
        "test/m left after 0",
        "released at 0",
        "test/m left after 0",
        "released at 0"
      ])
    }))

  it.effect("a call that is refused or interrupted before it is made does not end, and holds nothing", () =>
    Effect.gen(function*() {
      const state = { open: 0, ended: 0 }
      const policy = (then: Effect.Effect<void, LanguageModelError.LanguageModelError>) =>
        Policy.metered(
          Effect.succeed(() =>
            Effect.acquireRelease(Effect.sync(() => state.open++), () => Effect.sync(() => state.open--)).pipe(
              Effect.zipRight(then),
              Effect.as(() => Effect.sync(() => state.ended++))
            )
          )
        )
      const { model, state: asked } = counted(() => Stream.fromIterable(answer))
      const refusing = yield* policy(Effect.fail(overloaded))(model)
      assert.strictEqual(yield* Effect.flip(refusing.generate(request)), overloaded)
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(refusing.stream(request))), overloaded)
      const waiting = yield* policy(Effect.never)(model)
      for (const call of [waiting.generate(request), Stream.runDrain(waiting.stream(request))]) {
        const fiber = yield* Effect.fork(call)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(state.open, 1)
        yield* Fiber.interrupt(fiber)
      }
      assert.deepStrictEqual(state, { open: 0, ended: 0 })
      assert.strictEqual(asked.opened, 0)
    }))

  it.effect("inside a retry every attempt is a call of its own", () =>
    Effect.gen(function*() {
      const { policy, seen } = metering()
      const { model } = counted((opened) => opened < 3 ? Stream.fail(overloaded) : Stream.fromIterable(answer))
      const policed = yield* Effect.flatMap(policy(model), retryTwice)
      const response = yield* LanguageModel.fold(policed.stream(request), "test/m")
      assert.strictEqual(response.outputs[0]?.text, "abc")
      assert.deepStrictEqual(seen, [
        "test/m Overloaded after 0",
        "released at 0",
        "test/m Overloaded after 0",
        "released at 0",
        "test/m answered 3 after 3",
        "released at 0"
      ])
    }))
})

describe("Policy.pulled", () => {
  // A model that is pulled by hand, and counts.
  const pulling = () => {
    const state = { opened: 0, pulls: 0 }
    const chunks = [[], [text("a")], [text("b"), finish, completed]].map((deltas) => Chunk.unsafeFromArray(deltas))
    const model = LanguageModel.make({
      id: "test/m",
      stream: Policy.pulled(() =>
        Effect.sync((): Policy.Pull => {
          state.opened++
          let at = 0
          return Effect.suspend(() => {
            state.pulls++
            const chunk = chunks[at++]
            return chunk === undefined ? Effect.fail(Option.none()) : Effect.succeed(chunk)
          })
        })
      )
    })
    return { model, state }
  }

  it.effect("is a stream as any other, through policies too", () =>
    Effect.gen(function*() {
      const { model, state } = pulling()
      const policied = yield* retryTwice(model)
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Stream.runCollect(policied.stream(request))), [
        text("a"),
        text("b"),
        finish,
        completed
      ])
      assert.deepStrictEqual(state, { opened: 1, pulls: 4 })
    }))

  it.scoped("is asked for what its reader wants, each pull for one", () =>
    Effect.gen(function*() {
      const { model, state } = pulling()
      const pull = yield* Policy.open({ ...model, id: "test/other" })(request)
      assert.deepStrictEqual(state, { opened: 1, pulls: 0 })
      assert.isTrue(Chunk.isEmpty(yield* pull))
      assert.strictEqual(Chunk.size(yield* pull), 1)
      assert.deepStrictEqual(state, { opened: 1, pulls: 2 })
    }))

  it.scoped("is not opened for a request that the model cannot take", () =>
    Effect.gen(function*() {
      const { model, state } = pulling()
      const image: LanguageModel.Request = {
        messages: [{ role: "user", content: [{ _tag: "Image", url: "https://example.com/a.png" }] }]
      }
      const error = yield* Effect.flip(Effect.asVoid(Policy.open(model)(image)))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
      assert.strictEqual(state.opened, 0)
    }))
})

describe("Policy.apply", () => {
  it.effect("builds the policy once and puts the last one outermost", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const log = (name: string) =>
        Policy.around(Effect.sync(() => {
          order.push(`build ${name}`)
          return (attempt) => Effect.zipRight(Effect.sync(() => order.push(name)), attempt)
        }))
      const model = LanguageModel.make({
        id: "test/m",
        generate: () => Effect.succeed(LanguageModel.text("hello", "test/m"))
      })
      const layer = Layer.succeed(LanguageModel.LanguageModel, model).pipe(
        Policy.apply(log("inner")),
        Policy.apply(log("outer"))
      )
      yield* Effect.zipRight(LanguageModel.generate(request), LanguageModel.generate(request)).pipe(
        Effect.provide(layer)
      )
      assert.deepStrictEqual(order, ["build inner", "build outer", "outer", "inner", "outer", "inner"])
    }))

  it.effect("a policy does not hide where the model is", () =>
    Effect.gen(function*() {
      const inner = LanguageModel.make({
        id: "test/m",
        endpoint: "http://localhost/v1#m",
        generate: () => Effect.succeed(LanguageModel.text("hello", "test/m"))
      })
      const policies: ReadonlyArray<Policy.Policy> = [
        retryTwice,
        Policy.answered(Effect.succeed({ before: () => Effect.succeedNone, after: () => Effect.void })),
        Policy.metered(Effect.succeed(() => Effect.succeed(() => Effect.void)))
      ]
      for (const policy of policies) assert.strictEqual((yield* policy(inner)).endpoint, inner.endpoint)
    }))

  it.effect("leaves the other services of the Layer", () =>
    Effect.gen(function*() {
      yield* LanguageModel.generate(request)
      assert.strictEqual((yield* TestLanguageModel.requests).length, 2)
    }).pipe(Effect.provide(
      TestLanguageModel.layer([TestLanguageModel.fail("Overloaded"), TestLanguageModel.text("hello")]).pipe(
        Policy.apply(retryTwice)
      )
    )))
})
