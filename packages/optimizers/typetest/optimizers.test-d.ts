import type { Embedder } from "@effect-dspy/core/Embedder"
import type * as Example from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as BetterTogether from "@effect-dspy/optimizers/BetterTogether"
import * as BootstrapFinetune from "@effect-dspy/optimizers/BootstrapFinetune"
import * as COPRO from "@effect-dspy/optimizers/COPRO"
import * as Ensemble from "@effect-dspy/optimizers/Ensemble"
import * as InferRules from "@effect-dspy/optimizers/InferRules"
import * as KNNFewShot from "@effect-dspy/optimizers/KNNFewShot"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as SIMBA from "@effect-dspy/optimizers/SIMBA"
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context } from "effect"
import type { Effect, Either, Layer, Stream } from "effect"

class Retriever extends Context.Tag("Retriever")<Retriever, (query: string) => Effect.Effect<string>>() {}
class Key extends Context.Tag("Key")<Key, string>() {}

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
declare const writer: Layer.Layer<LanguageModel.LanguageModel, never, Key>
declare const failing: Layer.Layer<LanguageModel.LanguageModel, Error>

type Needs<T> = T extends Effect.Effect<infer _A, infer _E, infer R> ? R : never
type Fails<T> = T extends Effect.Effect<infer _A, infer E, infer _R> ? E : never
type Gives<T> = T extends Effect.Effect<infer A, infer _E, infer _R> ? A : never

describe("optimizers that ask a model to write", () => {
  it("need what module and prompt model need, and keep the type of the module", () => {
    const options = { trainset, metric: exact, promptModel: writer }
    const [copro, rules, simba] = [
      COPRO.compile(rag, { ...options, breadth: 3 }),
      InferRules.compile(rag, { ...options, numRules: 3 }),
      SIMBA.compile(rag, { ...options, bsize: 3 })
    ]
    type All = Retriever | Key | LanguageModel.LanguageModel
    expectTypeOf<Needs<typeof copro>>().toEqualTypeOf<All>()
    expectTypeOf<Needs<typeof rules>>().toEqualTypeOf<All>()
    expectTypeOf<Needs<typeof simba>>().toEqualTypeOf<All>()
    expectTypeOf<Gives<typeof copro>["module"]>().toEqualTypeOf<typeof rag>()
    expectTypeOf<Gives<typeof rules>["module"]>().toEqualTypeOf<typeof rag>()
    expectTypeOf<Gives<typeof simba>["module"]>().toEqualTypeOf<typeof rag>()
    expectTypeOf<Fails<typeof simba>>().toEqualTypeOf<Optimizer.OptimizerError>()
  })

  it("type a metric where it is written", () => {
    SIMBA.compile(rag, {
      trainset,
      metric: (example, output) => {
        expectTypeOf(example.labels).toEqualTypeOf<Labels>()
        expectTypeOf(output).toEqualTypeOf<{ readonly answer: string }>()
        return Key as never
      }
    })
  })

  it("refuse what they do not know, and a layer that may fail", () => {
    // @ts-expect-error no such option
    COPRO.compile(rag, { trainset, metric: exact, breath: 3 })
    // @ts-expect-error no such option
    InferRules.compile(rag, { trainset, metric: exact, rules: 3 })
    // @ts-expect-error no such option
    SIMBA.compile(rag, { trainset, metric: exact, batchSize: 3 })
    // @ts-expect-error no such schedule
    SIMBA.compile(rag, { trainset, metric: exact, schedule: "classic" })
    // @ts-expect-error it may fail
    COPRO.compile(rag, { trainset, metric: exact, promptModel: failing })
  })
})

describe("KNNFewShot", () => {
  it("gives a program that embeds", () => {
    const compiled = KNNFewShot.compile(rag, { trainset, metric: exact, k: 2 })
    expectTypeOf<Needs<typeof compiled>>().toEqualTypeOf<Retriever | LanguageModel.LanguageModel | Embedder>()
    type Near = Gives<typeof compiled>["module"]
    expectTypeOf<Module.Requirements<Near>>().toEqualTypeOf<Retriever | LanguageModel.LanguageModel | Embedder>()
    expectTypeOf<Module.Error<Near>>().toEqualTypeOf<Predict.PredictError | LanguageModelError>()
    // @ts-expect-error the number of neighbours is all there is
    KNNFewShot.compile(rag, { trainset, metric: exact, maxBootstrappedDemos: 2 })
  })
})

describe("BetterTogether", () => {
  it("types module and options for each optimizer", () => {
    const compiled = BetterTogether.compile(rag, {
      trainset,
      metric: exact,
      optimizers: {
        demos: (module, shared) => {
          expectTypeOf(module).toEqualTypeOf<typeof rag>()
          return LabeledFewShot.events(module, shared)
        },
        words: (module, shared) => COPRO.events(module, { ...shared, promptModel: writer })
      }
    })
    expectTypeOf<Gives<typeof compiled>["module"]>().toEqualTypeOf<typeof rag>()
    expectTypeOf<Needs<typeof compiled>>().toEqualTypeOf<Retriever | Key | LanguageModel.LanguageModel>()
  })
})

describe("Ensemble", () => {
  it("takes programs for the same task", () => {
    const jury = Ensemble.make([rag, rag])
    expectTypeOf<Module.Input<typeof jury>>().toEqualTypeOf<Input>()
    expectTypeOf<Module.Requirements<typeof jury>>().toEqualTypeOf<Retriever | LanguageModel.LanguageModel>()
    const compiled = null as unknown as Optimizer.Compiled<typeof rag>
    expectTypeOf(Ensemble.ofBest(rag, compiled)).toExtend<Either.Either<Module.Any, unknown>>()
    // @ts-expect-error the members answer with texts
    Ensemble.make([rag], { reduce: (outputs: readonly [{ readonly stars: number }]) => outputs[0] })
  })
})

describe("BootstrapFinetune", () => {
  it("does without a metric, and has no selection", () => {
    const data = BootstrapFinetune.compile(rag, { trainset })
    expectTypeOf<Gives<typeof data>>().toEqualTypeOf<BootstrapFinetune.Collected>()
    expectTypeOf<Fails<typeof data>>().toEqualTypeOf<BootstrapFinetune.FinetuneError>()
    expectTypeOf<Needs<typeof data>>().toEqualTypeOf<Retriever | LanguageModel.LanguageModel>()
    expectTypeOf(BootstrapFinetune.events(rag, { trainset })).toExtend<
      Stream.Stream<BootstrapFinetune.Attempt | BootstrapFinetune.Collected, unknown, unknown>
    >()
    // @ts-expect-error nothing is selected
    BootstrapFinetune.compile(rag, { trainset, valset: trainset })
  })
})
