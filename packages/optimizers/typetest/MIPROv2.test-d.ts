import type * as Example from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as MIPROv2 from "@effect-dspy/optimizers/MIPROv2"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as Proposer from "@effect-dspy/optimizers/Proposer"
import * as Racing from "@effect-dspy/optimizers/Racing"
import * as Tpe from "@effect-dspy/optimizers/Tpe"
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, type Layer, type Option, type Stream } from "effect"

class Retriever extends Context.Tag("Retriever")<Retriever, (query: string) => Effect.Effect<string>>() {}
class Judge extends Context.Tag("Judge")<Judge, { readonly value: number }>() {}
class Gateway extends Context.Tag("Gateway")<Gateway, string>() {}

interface Input {
  readonly question: string
}
interface Labels {
  readonly answer: string
}

const rag = Module.make(
  { answer: Predict.make("context, question -> answer") },
  function*(m, input: Input) {
    const search = yield* Retriever
    return yield* m.answer({ context: yield* search(input.question), question: input.question })
  }
)

declare const trainset: ReadonlyArray<Example.Example<Input, Labels>>
declare const exact: Metric<unknown, Labels, Labels>
declare const model: Context.Context<LanguageModel.LanguageModel>
declare const failing: Layer.Layer<LanguageModel.LanguageModel, string>
declare const promptModel: Layer.Layer<LanguageModel.LanguageModel, never, Gateway>

describe("MIPROv2", () => {
  it("keeps the type of the module", () => {
    const compiled = MIPROv2.compile(rag, { trainset, metric: exact })
    expectTypeOf<Effect.Effect.Success<typeof compiled>["module"]>().toEqualTypeOf<typeof rag>()
    expectTypeOf<Effect.Effect.Error<typeof compiled>>().toEqualTypeOf<Optimizer.OptimizerError>()
    const events = MIPROv2.events(rag, { trainset, metric: exact })
    expectTypeOf<Stream.Stream.Success<typeof events>>().toEqualTypeOf<Optimizer.OptimizerEvent<typeof rag>>()
  })

  it("needs what module, metric, teacher and prompt model need", () => {
    const plain = MIPROv2.compile(rag, { trainset, metric: exact })
    expectTypeOf<Effect.Effect.Context<typeof plain>>().toEqualTypeOf<Retriever | LanguageModel.LanguageModel>()
    const judged = MIPROv2.compile(rag, { trainset, metric: () => Judge, promptModel })
    expectTypeOf<Effect.Effect.Context<typeof judged>>().toEqualTypeOf<
      Retriever | LanguageModel.LanguageModel | Judge | Gateway
    >()
    // A module with a model of its own still needs one that writes.
    const own = Module.provideModel(Predict.make("question -> answer"), model)
    const taught = MIPROv2.compile(own, { trainset, metric: exact, teacher: rag })
    expectTypeOf<Effect.Effect.Context<typeof taught>>().toEqualTypeOf<Retriever | LanguageModel.LanguageModel>()
  })

  it("types a metric where it is written", () => {
    MIPROv2.compile(Predict.make("question -> answer, confidence: number"), {
      trainset,
      metric: (example, output) => {
        expectTypeOf(example.labels).toEqualTypeOf<Labels>()
        expectTypeOf(output).toEqualTypeOf<{ readonly answer: string; readonly confidence: number }>()
        return Effect.succeed({ value: output.confidence })
      }
    })
  })

  it("refuses what it does not know", () => {
    // @ts-expect-error no such size
    MIPROv2.compile(rag, { trainset, metric: exact, auto: "huge" })
    // @ts-expect-error no such mode
    MIPROv2.compile(rag, { trainset, metric: exact, mode: "everything" })
    // @ts-expect-error no such option
    MIPROv2.compile(rag, { trainset, metric: exact, breadth: 3 })
    MIPROv2.compile(rag, {
      trainset,
      metric: exact,
      // @ts-expect-error a prompt model is a layer that cannot fail
      promptModel: failing
    })
    MIPROv2.compile(rag, {
      trainset,
      metric: exact,
      // @ts-expect-error takes other fields
      teacher: Predict.make("ticket -> answer")
    })
    // @ts-expect-error writes no instructions
    MIPROv2.compile(rag, { trainset, metric: exact, proposer: { write: Predict.make("step, current -> advice") } })
  })

  it("takes writers that need less and say more", () => {
    MIPROv2.compile(rag, {
      trainset,
      metric: exact,
      proposer: { write: Predict.make("step, current -> thoughts, instructions") }
    })
  })
})

describe("Proposer", () => {
  it("fails and needs as the way of asking does", () => {
    const direct = Proposer.ground(rag, trainset, Proposer.direct)
    expectTypeOf(direct).toEqualTypeOf<Effect.Effect<Proposer.Grounds, never, LanguageModel.LanguageModel>>()
    const ask = null as unknown as Proposer.Ask<"busy", Gateway>
    expectTypeOf(Proposer.ground(rag, trainset, ask)).toEqualTypeOf<
      Effect.Effect<Proposer.Grounds, "busy", Gateway>
    >()
  })
})

describe("decisions", () => {
  it("are plain", () => {
    expectTypeOf(Racing.verdict([1, undefined], [0], { total: 4 })).toEqualTypeOf<"wins" | "loses" | "open">()
    expectTypeOf(Tpe.suggest({ a: 2 }, [], { path: [1] })).toEqualTypeOf<Option.Option<Tpe.Choices>>()
    // @ts-expect-error without a path every proposal would be the same
    Tpe.suggest({ a: 2 }, [], {})
  })
})
