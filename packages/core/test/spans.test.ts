import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as Module from "@effect-dspy/core/Module"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Option, Tracer } from "effect"

describe("spans", () => {
  it.effect("one for each module and predictor, by path, inside the span around it, without content", () =>
    Effect.gen(function*() {
      const spans: Array<{ readonly name: string; readonly parent: string | undefined }> = []
      const attributes: Array<unknown> = []
      const tracer = Tracer.make({
        span: (name, parent, context, links, startTime, kind) => {
          spans.push({
            name,
            parent: Option.getOrUndefined(Option.map(parent, (span) => span._tag === "Span" ? span.name : span.spanId))
          })
          const set = new Map<string, unknown>()
          return {
            _tag: "Span",
            name,
            spanId: name,
            traceId: "trace",
            parent,
            context: Context.isContext(context) ? context : Context.empty(),
            status: { _tag: "Started", startTime },
            attributes: set,
            links,
            sampled: true,
            kind,
            end() {},
            attribute: (key, value) => void attributes.push([key, value]),
            event() {},
            addLinks() {}
          }
        },
        context: (f) => f()
      })
      const module = Module.make(
        { answer: ChainOfThought.make("question -> answer") },
        function*(m, input: { readonly question: string }) {
          return yield* m.answer(input)
        }
      )
      yield* module({ question: "a secret" }).pipe(Effect.withSpan("request"), Effect.withTracer(tracer))
      assert.deepStrictEqual(spans, [
        { name: "request", parent: undefined },
        { name: "Module", parent: "request" },
        { name: "Module answer", parent: "Module" },
        { name: "Predict answer.predict", parent: "Module answer" }
      ])
      assert.notInclude(JSON.stringify(attributes), "secret")
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ reasoning: "r", answer: "a" })]))))
})
