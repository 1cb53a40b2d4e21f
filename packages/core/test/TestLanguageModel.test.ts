import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Policy from "@effect-dspy/core/Policy"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Layer, Option, Stream, TestClock } from "effect"

const ask = (content: string): LanguageModel.Request => ({ messages: [{ role: "user", content }] })
const say = (content: string) =>
  Effect.map(LanguageModel.generate(ask(content)), (response) => response.outputs[0]?.text)
const collect = (request: LanguageModel.Request) =>
  Effect.map(Stream.runCollect(LanguageModel.stream(request)), Chunk.toReadonlyArray)

const chat: LanguageModel.Request = {
  messages: [
    { role: "system", content: "Write [[ ## answer ## ]] and then [[ ## completed ## ]]" },
    { role: "user", content: "[[ ## question ## ]]\nWhere is my invoice?\n\n[[ ## name ## ]]\nAda" }
  ]
}

describe("TestLanguageModel", () => {
  it.effect("answers a list in order and then says how many calls were expected", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* say("a"), "one")
      assert.strictEqual(yield* say("b"), "two")
      const error = yield* Effect.flip(say("c"))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
      assert.include(error.message, "the script has 2 steps, and this is call 3")
      assert.isFalse(error.retryable)
    }).pipe(
      Effect.provide(TestLanguageModel.layer([TestLanguageModel.text("one"), TestLanguageModel.text("two")]))
    ))

  it.effect("answers by a function of request and number, also an effectful one", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* say("a"), "0 a")
      const error = yield* Effect.flip(say("fail"))
      assert.strictEqual(error.reason._tag, "Conflict")
      assert.strictEqual(yield* say("b"), "2 b")
    }).pipe(
      Effect.provide(TestLanguageModel.layer((request, n) => {
        const content = String(request.messages[0]?.content)
        return Effect.succeed(
          content === "fail" ? TestLanguageModel.fail("Conflict") : TestLanguageModel.text(`${n} ${content}`)
        )
      }))
    ))

  it.effect("answers by rules on text and input fields; what no rule matches fails", () =>
    Effect.gen(function*() {
      const answer = (request: LanguageModel.Request) =>
        Effect.map(LanguageModel.generate(request), (response) => response.outputs[0]?.text)
      assert.strictEqual(yield* answer(chat), "billing")
      assert.strictEqual(yield* answer(chat), "billing")
      assert.strictEqual(yield* answer(ask("it CRASHED")), "technical")
      const error = yield* Effect.flip(answer(ask("hello")))
      assert.include(error.message, `none of 3 rules matches the request: "hello"`)
    }).pipe(
      Effect.provide(TestLanguageModel.layer(TestLanguageModel.rules([
        TestLanguageModel.when({ inputs: { name: "invoice" } }, TestLanguageModel.text("wrong field")),
        TestLanguageModel.when({ inputs: { question: "invoice", name: /^Ada$/ } }, TestLanguageModel.text("billing")),
        TestLanguageModel.when({ text: /crashed/gi }, TestLanguageModel.text("technical"))
      ])))
    ))

  for (const adapter of [ChatAdapter.adapter, JsonAdapter.adapter]) {
    for (const responseFormat of ["none", "jsonObject", "jsonSchema"] as const) {
      it.effect(`renders fields that parse under the ${adapter.name} adapter, model with ${responseFormat}`, () => {
        const values = {
          title: "two\n[[ ## completed ## ]]\nlines ",
          stars: 4,
          tags: ["a", "[[ ## title ## ]]"]
        }
        const review = Predict.make("review -> title, stars: int, tags: string[]", { adapter })
        return Effect.gen(function*() {
          assert.deepStrictEqual(yield* review({ review: "[[ ## completed ## ]]" }), values)
          const streamed = yield* review({ review: "[[ ## completed ## ]]" }).pipe(
            ModuleEvent.listen({ deltas: true, emit: () => Effect.void })
          )
          assert.deepStrictEqual(streamed, values)
        }).pipe(
          Effect.provide(
            TestLanguageModel.layer(() => TestLanguageModel.fields(values), { capabilities: { responseFormat } })
          )
        )
      })
    }

    it.effect(`finds input fields in a prompt of the ${adapter.name} adapter`, () => {
      const rule = (ticket: string | RegExp, team: string) =>
        TestLanguageModel.when({ inputs: { ticket } }, TestLanguageModel.fields({ team }))
      return Effect.gen(function*() {
        const route = Predict.make("customer, ticket -> team", { adapter })
        assert.deepStrictEqual(yield* route({ customer: "Ada", ticket: "broken\n\nAnswer soon" }), { team: "exact" })
        assert.deepStrictEqual(yield* route({ customer: "billing", ticket: "an invoice" }), { team: "billing" })
        const error = yield* Effect.flip(route({ customer: "invoice", ticket: "hello" }))
        assert.include(error.message, "none of 3 rules matches")
      }).pipe(Effect.provide(TestLanguageModel.layer(TestLanguageModel.rules([
        rule(/^broken\n\nAnswer soon$/, "exact"),
        rule("invoice", "billing"),
        rule("Answer with", "never")
      ]))))
    })
  }

  it.effect("answers each predictor from its own script, also in parallel", () =>
    Effect.gen(function*() {
      const program = Module.make(
        { ask: Predict.make("topic -> question"), answers: [Predict.make("question -> answer")] },
        function*(m, input: { readonly topic: string }) {
          const { question } = yield* m.ask(input)
          return yield* m.answers[0].pipe(Module.map(({ answer }) => `${question} ${answer}`))({ question })
        }
      )
      const out = yield* Effect.all([program({ topic: "a" }), program({ topic: "b" })], { concurrency: 2 })
      assert.deepStrictEqual(out.sort(), ["one? 0", "two? 1"])
      const error = yield* Effect.flip(program({ topic: "c" }))
      assert.include(error.message, `the script has 2 steps, and this is call 3, the request of "ask"`)
      const other = yield* Effect.flip(Predict.make("question -> answer")({ question: "?" }))
      assert.include(other.message, `there is no script for "", only for "ask", "answers[0]"`)
      assert.deepStrictEqual(
        (yield* TestLanguageModel.calls).map((call) => call.predictor).sort(),
        ["", "answers[0]", "answers[0]", "ask", "ask", "ask"]
      )
    }).pipe(Effect.provide(TestLanguageModel.layer({
      ask: [TestLanguageModel.fields({ question: "one?" }), TestLanguageModel.fields({ question: "two?" })],
      "answers[0]": (_request, n) => TestLanguageModel.fields({ answer: String(n) })
    }))))

  it.effect("renders fields between markers or as a JSON object, as the request asks", () =>
    Effect.gen(function*() {
      const byMarkers = yield* LanguageModel.generate(chat)
      assert.strictEqual(
        byMarkers.outputs[0]?.text,
        "[[ ## answer ## ]]\n4\n\n[[ ## tags ## ]]\n[\"a\"]\n\n[[ ## completed ## ]]"
      )
      const byFormat = yield* LanguageModel.generate({ ...chat, responseFormat: { _tag: "JsonObject" } })
      assert.deepStrictEqual(JSON.parse(byFormat.outputs[0]?.text ?? ""), { answer: 4, tags: ["a"] })
      const byPrompt = yield* LanguageModel.generate(ask("[[ ## question ## ]]\n…\nWrite a JSON object."))
      assert.deepStrictEqual(JSON.parse(byPrompt.outputs[0]?.text ?? ""), { answer: 4, tags: ["a"] })
    }).pipe(
      Effect.provide(TestLanguageModel.layer(() => TestLanguageModel.fields({ answer: 4, tags: ["a"] })))
    ))

  it.effect("fails with any reason, in full or by its tag", () => {
    const tags = LanguageModelError.Reason.members.map((member) => member._tag)
    return Effect.gen(function*() {
      for (const tag of tags) {
        const error = yield* Effect.flip(say("x"))
        assert.strictEqual(error.reason._tag, tag)
      }
      const error = yield* Effect.flip(collect(ask("x")))
      assert.deepStrictEqual([error.reason._tag, error.provider, error.model], ["RateLimited", "test", "test/model"])
      assert.include(error.message, "retry after 250 ms")
    }).pipe(
      Effect.provide(TestLanguageModel.layer([
        ...tags.map((tag) => TestLanguageModel.fail(tag)),
        TestLanguageModel.fail(new LanguageModelError.RateLimited({ description: "slow down", retryAfter: 250 }))
      ]))
    )
  })

  it.effect("streams small pieces that fold to the same answer", () => {
    const answer = TestLanguageModel.text("Ein 👩‍🚀 fliegt zum Mond, und 🌍 bleibt zurück.").pipe(
      TestLanguageModel.withReasoning("Think about it first."),
      TestLanguageModel.withUsage({ inputTokens: 7, outputTokens: 9 }),
      TestLanguageModel.finish("length")
    )
    const calls = TestLanguageModel.toolCalls([
      { name: "search", arguments: { query: "the moon" } },
      { name: "stop", arguments: "{}", id: "x" }
    ])
    return Effect.gen(function*() {
      const whole = yield* LanguageModel.generate(ask("a"))
      const deltas = yield* collect(ask("b"))
      assert.deepStrictEqual(yield* LanguageModel.fold(Stream.fromIterable(deltas), "test/model"), whole)
      assert.deepStrictEqual(whole.usage, { inputTokens: 7, outputTokens: 9 })
      assert.strictEqual(whole.outputs[0]?.finishReason, "length")
      const texts = deltas.filter((delta) => delta._tag === "TextDelta")
      assert.isAbove(texts.length, 8)
      assert.isTrue(texts.every(({ text }) => !/\p{Surrogate}/u.test(text)))

      const called = yield* LanguageModel.generate(ask("c"))
      assert.deepStrictEqual(called.outputs[0]?.toolCalls, [
        { id: "call_0", name: "search", arguments: `{"query":"the moon"}` },
        { id: "x", name: "stop", arguments: "{}" }
      ])
      assert.strictEqual(called.outputs[0]?.finishReason, "toolCalls")
      assert.deepStrictEqual(yield* LanguageModel.fold(LanguageModel.stream(ask("d")), "test/model"), called)
    }).pipe(Effect.provide(TestLanguageModel.layer([answer, answer, calls, calls])))
  })

  it.effect("lets a reader see the first piece before the rest", () =>
    Effect.gen(function*() {
      const first = yield* Stream.runHead(LanguageModel.stream(ask("a")))
      assert.deepStrictEqual(first, Option.some({ _tag: "TextDelta", index: 0, text: "h" }))
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.text("hello there")]))))

  it.effect("gives explicit deltas; without a terminal marker the answer is truncated", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        (yield* collect(ask("a"))).map((delta) => delta._tag === "TextDelta" ? delta.text : delta._tag),
        ["half"]
      )
      const truncated = yield* Effect.flip(say("b"))
      assert.deepStrictEqual(truncated.reason, new LanguageModelError.StreamTruncated({ partial: "half" }))
      const broken = yield* Effect.flip(collect(ask("c")))
      assert.strictEqual(broken.reason._tag, "Overloaded")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.deltas([{ _tag: "TextDelta", index: 0, text: "half" }]),
      TestLanguageModel.deltas([{ _tag: "TextDelta", index: 0, text: "half" }]),
      TestLanguageModel.deltas(Stream.concat(
        Stream.make<[LanguageModel.Delta]>({ _tag: "TextDelta", index: 0, text: "half" }),
        Stream.fail(LanguageModelError.make({
          reason: new LanguageModelError.Overloaded({ description: "gone" }),
          provider: "test",
          model: "test/model"
        }))
      ))
    ]))))

  it.effect("waits by the Clock before a delayed step", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(say("a"))
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(yield* Fiber.poll(fiber), Option.none())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(fiber), "late")

      const failing = yield* Effect.fork(Effect.flip(collect(ask("b"))))
      yield* TestClock.adjust("59 seconds")
      assert.deepStrictEqual(yield* Fiber.poll(failing), Option.none())
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual((yield* Fiber.join(failing)).reason._tag, "ServerError")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.text("late").pipe(TestLanguageModel.delayed("1 second")),
      TestLanguageModel.delayed(TestLanguageModel.fail("ServerError"), "1 minute")
    ]))))

  it.effect("records what was asked, answered or not", () =>
    Effect.gen(function*() {
      yield* say("a")
      yield* Effect.either(collect(ask("b")))
      yield* Effect.either(say("c"))
      assert.deepStrictEqual(yield* TestLanguageModel.requests, [ask("a"), ask("b"), ask("c")])
      assert.deepStrictEqual((yield* TestLanguageModel.calls).map((call) => call.streamed), [false, true, false])
    }).pipe(
      Effect.provide(TestLanguageModel.layer([TestLanguageModel.text("one"), TestLanguageModel.fail("Timeout")]))
    ))

  it.effect("starts afresh whenever its layer is built", () => {
    const layer = TestLanguageModel.layer([TestLanguageModel.text("one")])
    return Effect.gen(function*() {
      assert.strictEqual(yield* Effect.provide(say("a"), layer), "one")
      assert.strictEqual(yield* Effect.provide(say("b"), layer), "one")
    })
  })

  it.effect("stands under policies and still tells what arrived", () =>
    Effect.gen(function*() {
      const { calls, model } = yield* TestLanguageModel.make(
        [TestLanguageModel.fail("Overloaded"), TestLanguageModel.text("hello")],
        { id: "acme/tiny", capabilities: { streaming: false } }
      )
      const layer = Layer.succeed(LanguageModel.LanguageModel, model).pipe(
        Policy.apply(Policy.around(Effect.succeed((attempt) => Effect.retry(attempt, { times: 1 }))))
      )
      assert.strictEqual(yield* Effect.provide(say("a"), layer), "hello")
      assert.lengthOf(yield* calls, 2)
      assert.deepStrictEqual([model.id, model.capabilities.streaming], ["acme/tiny", false])
    }))
})
