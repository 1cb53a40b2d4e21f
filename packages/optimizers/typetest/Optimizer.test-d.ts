import type * as Example from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as BootstrapFewShot from "@effect-dspy/optimizers/BootstrapFewShot"
import * as Journal from "@effect-dspy/optimizers/Journal"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Schema, Stream } from "effect"
import type { Option } from "effect"

class Retriever extends Context.Tag("Retriever")<Retriever, (query: string) => Effect.Effect<string>>() {}
class Judge extends Context.Tag("Judge")<Judge, { readonly value: number }>() {}

interface Input {
  readonly question: string
}
interface Labels {
  readonly answer: string
}

const rag = Module.make(
  { answer: Predict.make("context, question -> answer, confidence: number") },
  function*(m, input: Input) {
    const search = yield* Retriever
    return yield* m.answer({ context: yield* search(input.question), question: input.question })
  }
)

declare const trainset: ReadonlyArray<Example.Example<Input, Labels>>
declare const exact: Metric<unknown, Labels, Labels>

describe("compile", () => {
  it("keeps the type of the module", () => {
    const compiled = RandomSearch.compile(rag, { trainset, metric: exact })
    expectTypeOf<Effect.Effect.Success<typeof compiled>["module"]>().toEqualTypeOf<typeof rag>()
    expectTypeOf<Effect.Effect.Error<typeof compiled>>().toEqualTypeOf<Optimizer.OptimizerError>()
  })

  it("needs what module, metric and teacher need", () => {
    const plain = LabeledFewShot.compile(rag, { trainset, metric: exact })
    expectTypeOf<Effect.Effect.Context<typeof plain>>().toEqualTypeOf<Retriever | LanguageModel.LanguageModel>()

    const judged = RandomSearch.compile(rag, { trainset, metric: () => Judge })
    expectTypeOf<Effect.Effect.Context<typeof judged>>().toEqualTypeOf<
      Retriever | LanguageModel.LanguageModel | Judge
    >()

    const context = null as unknown as Context.Context<LanguageModel.LanguageModel>
    const strong = Module.provideModel(rag, context)
    const taught = BootstrapFewShot.compile(strong, { trainset, metric: exact, teacher: rag })
    expectTypeOf<Effect.Effect.Context<typeof taught>>().toEqualTypeOf<Retriever | LanguageModel.LanguageModel>()
    const alone = BootstrapFewShot.compile(strong, { trainset, metric: exact, teacher: strong })
    expectTypeOf<Effect.Effect.Context<typeof alone>>().toEqualTypeOf<Retriever>()
  })

  it("types a metric where it is written", () => {
    RandomSearch.compile(Predict.make("question -> answer, confidence: number"), {
      trainset,
      metric: (example, output) => {
        expectTypeOf(example.labels).toEqualTypeOf<Labels>()
        expectTypeOf(output).toEqualTypeOf<{ readonly answer: string; readonly confidence: number }>()
        return Effect.succeed({ value: output.answer === example.labels.answer ? output.confidence : 0 })
      }
    })
  })

  it("works for any module in generic code", () => {
    const tuned = <In, Out, E, R, L>(
      module: Module.Module<In, Out, E, R>,
      examples: ReadonlyArray<Example.Example<In, L>>,
      metric: Metric<In, L, Out>
    ) => RandomSearch.compile(module, { trainset: examples, metric })
    expectTypeOf(tuned(rag, trainset, exact)).toExtend<
      Effect.Effect<
        Optimizer.Compiled<
          Module.Module<Input, { readonly answer: string; readonly confidence: number }, unknown, unknown>
        >,
        Optimizer.OptimizerError,
        Retriever | LanguageModel.LanguageModel
      >
    >()
  })

  it("takes examples that have more than the module needs", () => {
    const rich = null as unknown as ReadonlyArray<Example.Example<Input & { readonly hint: string }, Labels>>
    RandomSearch.compile(rag, { trainset: rich, metric: exact })
  })

  it("refuses examples and metrics of another program", () => {
    const foreign = null as unknown as ReadonlyArray<Example.Example<{ readonly ticket: string }, Labels>>
    // @ts-expect-error the module takes a question
    RandomSearch.compile(rag, { trainset: foreign, metric: exact })
    const rating = null as unknown as Metric<unknown, Labels, { readonly stars: number }>
    // @ts-expect-error the module has no stars
    RandomSearch.compile(rag, { trainset, metric: rating })
    const labels = null as unknown as Metric<unknown, { readonly team: string }, Labels>
    // @ts-expect-error the examples have no team
    RandomSearch.compile(rag, { trainset, metric: labels })
    // @ts-expect-error no such option
    RandomSearch.compile(rag, { trainset, metric: exact, k: 3 })
  })

  it("refuses a teacher of another program", () => {
    RandomSearch.compile(rag, {
      trainset,
      metric: exact,
      // @ts-expect-error takes a ticket
      teacher: Predict.make("ticket -> answer, confidence: number")
    })
  })
})

describe("events", () => {
  it("carry the best module so far", () => {
    const events = RandomSearch.events(rag, { trainset, metric: exact })
    expectTypeOf<Stream.Stream.Success<typeof events>>().toEqualTypeOf<Optimizer.OptimizerEvent<typeof rag>>()
    const best = events.pipe(Stream.interruptAfter("1 minute"), Optimizer.best)
    expectTypeOf<Effect.Effect.Success<typeof best>>().toEqualTypeOf<Option.Option<Optimizer.Compiled<typeof rag>>>()
  })
})

describe("Journal", () => {
  it("is no requirement", () => {
    const once = Journal.memo("a", Schema.Number, Effect.succeed(1))
    expectTypeOf(once).toEqualTypeOf<Effect.Effect<number, Journal.JournalError>>()
    const piped = Effect.succeed(1).pipe(Journal.memo("a", Schema.Number))
    expectTypeOf(piped).toEqualTypeOf<Effect.Effect<number, Journal.JournalError>>()
  })
})
