import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric, Stream } from "effect"
import * as LoopGuard from "../src/LoopGuard.ts"
import { spanEvents } from "./policing.ts"

const request: LanguageModel.Request = { messages: [{ role: "user", content: "hi" }] }

const finish: ReadonlyArray<LanguageModel.Delta> = [
  { _tag: "Finish", index: 0, reason: "stop" },
  { _tag: "Completed", usage: {}, model: "test/m" }
]

const model = (deltas: Iterable<LanguageModel.Delta>) => {
  let closed = 0
  return {
    closed: () => closed,
    service: LanguageModel.make({
      id: "test/m",
      stream: () => Stream.ensuring(Stream.fromIterable(deltas), Effect.sync(() => closed++))
    })
  }
}

const pieces = (texts: Iterable<string>) =>
  Array.from(texts, (text): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text }))

const times = <A>(n: number, make: (i: number) => A) => Array.from({ length: n }, (_, i) => make(i))

const run = (deltas: Iterable<LanguageModel.Delta>, options?: LoopGuard.Options) => {
  const { closed, service } = model(deltas)
  return Effect.flatMap(
    LoopGuard.make(options)(service),
    (model) => Effect.either(LanguageModel.fold(model.stream(request), model.id))
  ).pipe(Effect.map((result) => ({ result, closed: closed() })))
}

describe("LoopGuard", () => {
  it.effect("ends a stream that says the same too often, with what it had said, and closes it", () =>
    Effect.gen(function*() {
      const forever: Iterable<LanguageModel.Delta> = {
        *[Symbol.iterator]() {
          yield* pieces(["Well", ", "])
          for (;;) yield* pieces([" again"])
        }
      }
      const { closed, service } = model(forever)
      const guarded = yield* LoopGuard.make()(service)
      const { reason, retryable } = yield* Effect.flip(Stream.runDrain(guarded.stream(request)))
      assert.isTrue(reason._tag === "StreamFailed" && reason.kind === "loop")
      assert.isTrue(reason._tag === "StreamFailed" && reason.partial === `Well, ${" again".repeat(101)}`)
      // Another sample may go better.
      assert.isTrue(retryable)
      assert.strictEqual(closed(), 1)
      const events = yield* spanEvents(Effect.exit(Stream.runDrain(guarded.stream(request))))
      assert.deepStrictEqual(events.map(({ name }) => name), ["loop"])
      assert.strictEqual((yield* Metric.value(Metric.tagged(LoopGuard.loops, "model", "test/m"))).count, 2)
    }))

  it.effect("counts what comes in a row: of text, reasoning and arguments, of each output and call", () =>
    Effect.gen(function*() {
      const kinds: ReadonlyArray<(text: string, index: number) => LanguageModel.Delta> = [
        (text, index) => ({ _tag: "TextDelta", index, text }),
        (text, index) => ({ _tag: "ReasoningDelta", index, text }),
        (text, index) => ({ _tag: "ToolCallDelta", index: 0, call: index, arguments: text })
      ]
      for (const kind of kinds) {
        const looping = yield* run(times(8, (i) => kind("same", i % 2)), { repeats: 3 })
        assert.strictEqual(looping.result._tag, "Left")
        assert.strictEqual(looping.closed, 1)
        for (
          const good of [
            times(6, (i) => kind("same", i % 2)),
            times(100, (i) => kind(i % 2 === 0 ? "this" : "that", 0)),
            times(100, (i) => kind(["--", "  ", "\n\n\n\n"][Math.floor(i / 34)] ?? "", 0))
          ]
        ) {
          const { result } = yield* run([...good, ...finish], { repeats: 3 })
          assert.strictEqual(result._tag, "Right")
        }
      }
      const restarted: LanguageModel.Delta = { _tag: "Restarted", cause: "test" }
      const { result } = yield* run([...pieces(["one", "one"]), restarted, ...pieces(["one", "one"]), ...finish], {
        repeats: 2
      })
      assert.strictEqual(result._tag, "Right")
    }))

  it("refuses a number that is none", () => {
    assert.throws(
      () => LoopGuard.make({ repeats: Number.NaN }),
      /repeats must be a whole number of at least 1, not NaN/
    )
    assert.throws(() => LoopGuard.make({ repeats: 0 }), /not 0/)
  })
})
