import * as Evaluate from "@effect-dspy/core/Evaluate"
import * as Example from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Metric from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import { Context, Data, Effect, type Stream } from "effect"
import { describe, expectTypeOf, it } from "vitest"

const route = Signature.parse("ticket -> team: 'billing' | 'technical', urgent: boolean")
const classify = Predict.make(route)

const examples = [
  Example.make({ inputs: { ticket: "My invoice is wrong" }, labels: { team: "billing", urgent: false } }),
  Example.make({ inputs: { ticket: "It crashes" }, labels: { team: "technical", urgent: true } })
]

class Unrateable extends Data.TaggedError("Unrateable") {}
class Rater extends Context.Tag("Rater")<
  Rater,
  { readonly rate: (text: string) => Effect.Effect<number, Unrateable> }
>() {}

describe("Evaluate", () => {
  it("knows inputs, labels and output of the metric without annotations", () => {
    const report = Evaluate.run(classify, {
      examples,
      metric: Metric.make((example, output, trace) => {
        expectTypeOf(example).toEqualTypeOf<Example.Example<{ ticket: string }, { team: string; urgent: boolean }>>()
        expectTypeOf(output).toEqualTypeOf<{ readonly team: "billing" | "technical"; readonly urgent: boolean }>()
        expectTypeOf(trace[0]!.path).toEqualTypeOf<string>()
        return example.labels.team === output.team
      })
    })
    expectTypeOf(report).toEqualTypeOf<
      Effect.Effect<
        Evaluate.Report<{ ticket: string }, { team: string; urgent: boolean }>,
        Evaluate.EvaluateError,
        LanguageModel.LanguageModel
      >
    >()
  })

  it("what module and metric need shows, what they fail with is in the report", () => {
    const events = Evaluate.events(classify, {
      examples,
      metric: Metric.make((example, output) =>
        Effect.gen(function*() {
          const { rate } = yield* Rater
          return yield* rate(example.labels.team + output.team)
        })
      )
    })
    expectTypeOf(events).toEqualTypeOf<
      Stream.Stream<
        Evaluate.Event<{ ticket: string }, { team: string; urgent: boolean }>,
        Evaluate.EvaluateError,
        LanguageModel.LanguageModel | Rater
      >
    >()
  })

  it("takes ready metrics on fields that labels and output have", () => {
    void Evaluate.run(classify, { examples, metric: Metric.equals("team", "urgent") })
    void Evaluate.run(classify, { examples, metric: Metric.exactMatch("team") })
    void Evaluate.run(classify, { examples, metric: Metric.mean(Metric.equals("urgent"), Metric.f1("team")) })
    void Evaluate.run(classify, { examples, metric: Metric.judged(Metric.judge("…")) })
    void Evaluate.run(classify, {
      examples,
      metric: Metric.exactMatch({ expected: (example) => example.labels.team, actual: (output) => output.team })
    })
  })

  it("takes fields that may be absent, when told so", () => {
    const noting = Predict.make("ticket -> team, note?: string")
    const noted: ReadonlyArray<Example.Example<{ ticket: string }, { team: string; note?: string }>> = []
    void Evaluate.run(noting, { examples: noted, metric: Metric.equals("note?") })
    void Evaluate.run(noting, { examples: noted, metric: Metric.equals("team", "note?") })
    void Evaluate.run(noting, { examples: noted, metric: Metric.mean(Metric.equals("team"), Metric.equals("note?")) })
    // @ts-expect-error it may be absent
    void Evaluate.run(noting, { examples: noted, metric: Metric.equals("note") })
    // @ts-expect-error no such field
    void Evaluate.run(noting, { examples: noted, metric: Metric.equals("noet?") })
    expectTypeOf(Metric.equals("team", "note?")).toEqualTypeOf<
      Metric.Metric<
        unknown,
        { readonly team: unknown; readonly note?: unknown },
        { readonly team: unknown; readonly note?: unknown }
      >
    >()
  })

  it("refuses fields that labels or output do not have, or that are no text", () => {
    // @ts-expect-error no such field
    void Evaluate.run(classify, { examples, metric: Metric.equals("teem") })
    // @ts-expect-error no such field
    void Evaluate.run(classify, { examples, metric: Metric.exactMatch("answer") })
    // @ts-expect-error a boolean is no text
    void Evaluate.run(classify, { examples, metric: Metric.f1("urgent") })
    // @ts-expect-error one of the two has no such field
    void Evaluate.run(classify, { examples, metric: Metric.all(Metric.equals("team"), Metric.equals("teem")) })
    const metric = Metric.make((
      example: Example.Example<unknown, { readonly team: string }>,
      output: { readonly teem: string }
    ) => example.labels.team === output.teem)
    // @ts-expect-error the output has no such field
    void Evaluate.run(classify, { examples, metric })
  })

  it("refuses examples of another program", () => {
    const others = [Example.make({ inputs: { question: "?" }, labels: { team: "billing" } })]
    // @ts-expect-error the module takes a ticket
    void Evaluate.run(classify, { examples: others, metric: Metric.equals("team") })
    const short = [Example.make({ inputs: { ticket: "?" }, labels: { tam: "billing" } })]
    // @ts-expect-error the labels have no team
    void Evaluate.run(classify, { examples: short, metric: Metric.equals("team") })
  })

  it("takes examples decoded by the signature", () => {
    const program = Effect.gen(function*() {
      const examples = yield* Example.load("tickets.csv", { inputs: route.input, labels: route.output.pick("team") })
      return yield* Evaluate.run(classify, { examples, metric: Metric.equals("team") })
    })
    expectTypeOf<Effect.Effect.Success<typeof program>>().toEqualTypeOf<
      Evaluate.Report<{ readonly ticket: string }, { readonly team: "billing" | "technical" }>
    >()
  })

  it("a merged metric asks for what its parts ask for", () => {
    const metric = Metric.mean(
      Metric.equals("team"),
      Metric.judged(Metric.judge("…")),
      Metric.make((_: Example.Example<{ readonly ticket: string }, unknown>, output: { readonly urgent: boolean }) =>
        Effect.flatMap(Rater, ({ rate }) => rate(String(output.urgent)))
      )
    )
    expectTypeOf(metric).toEqualTypeOf<
      Metric.Metric<
        { readonly ticket: string },
        { readonly team: unknown },
        { readonly team: unknown } & { readonly urgent: boolean },
        Predict.PredictError | Metric.InvalidScore | Unrateable,
        LanguageModel.LanguageModel | Rater
      >
    >()
  })

  it("a judge may be any module that gives a score", () => {
    const grade = Module.map(Predict.make("essay, reference -> grade: number"), ({ grade }) => ({ score: grade / 6 }))
    const metric = Metric.judged(
      grade,
      (example: Example.Example<unknown, { readonly essay: string }>, output: { readonly essay: string }) => ({
        essay: output.essay,
        reference: example.labels.essay
      })
    )
    expectTypeOf(metric).toEqualTypeOf<
      Metric.Metric<
        unknown,
        { readonly essay: string },
        { readonly essay: string },
        Predict.PredictError | Metric.InvalidScore,
        LanguageModel.LanguageModel
      >
    >()
    // @ts-expect-error it gives no score
    Metric.judged(Predict.make("inputs, expected, actual -> verdict"))
  })
})
