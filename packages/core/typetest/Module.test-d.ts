import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import { Context, Data, Effect, type Either, Schema } from "effect"
import { describe, expectTypeOf, it } from "vitest"

class NotFound extends Data.TaggedError("NotFound")<{ readonly query: string }> {}
class Search extends Context.Tag("Search")<
  Search,
  { readonly search: (query: string) => Effect.Effect<ReadonlyArray<string>, NotFound> }
>() {}

const answer = Predict.make("question -> answer")
const rag = Module.make(
  {
    query: ChainOfThought.make("question -> query"),
    answer: Predict.make("context: string[], question -> answer, sure: bool")
  },
  function*(m, input: { readonly question: string }) {
    const { query } = yield* m.query(input)
    const { search } = yield* Search
    return yield* m.answer({ context: yield* search(query), question: input.question })
  }
)

describe("Predict", () => {
  it("infers from a text", () => {
    expectTypeOf(answer).toEqualTypeOf<
      Module.Module<
        { readonly question: string },
        { readonly answer: string },
        Predict.PredictError,
        LanguageModel.LanguageModel
      >
    >()
  })

  it("infers from a signature", () => {
    const triage = Predict.make(Signature.make({
      input: { ticket: Schema.String },
      output: { team: Schema.Literal("billing", "technical"), urgent: Schema.Boolean }
    }))
    expectTypeOf<Module.Output<typeof triage>>().toEqualTypeOf<
      { readonly team: "billing" | "technical"; readonly urgent: boolean }
    >()
  })

  it("takes a signature that is known only by a variable", () => {
    const polite = <S extends Signature.Any>(signature: S) =>
      Module.make(
        { predict: Predict.make(signature), think: ChainOfThought.make(signature) },
        function*(m, input: Signature.Input<S>) {
          yield* m.think(input)
          return yield* m.predict(input)
        }
      )
    const asked = polite(Signature.parse("question -> answer: int"))
    expectTypeOf<Module.Input<typeof asked>>().toEqualTypeOf<{ readonly question: string }>()
    expectTypeOf<Module.Output<typeof asked>>().toEqualTypeOf<{ readonly answer: number }>()
  })

  it("refuses a bad text and wrong inputs", () => {
    // @ts-expect-error unknown type
    Predict.make("question -> answer: strin")
    // @ts-expect-error no arrow
    Predict.make("question")
    // @ts-expect-error wrong field
    answer({ query: "?" })
    // @ts-expect-error wrong type
    answer({ question: 1 })
  })
})

describe("ChainOfThought", () => {
  it("adds reasoning to the output", () => {
    const think = ChainOfThought.make("question -> answer: int")
    expectTypeOf(think).toEqualTypeOf<
      Module.Module<
        { readonly question: string },
        { readonly reasoning: string; readonly answer: number },
        Predict.PredictError,
        LanguageModel.LanguageModel
      >
    >()
  })
})

describe("Module.make", () => {
  it("shows the errors and requirements of every part", () => {
    expectTypeOf<Module.Input<typeof rag>>().toEqualTypeOf<{ readonly question: string }>()
    expectTypeOf<Module.Output<typeof rag>>().toEqualTypeOf<{ readonly answer: string; readonly sure: boolean }>()
    expectTypeOf<Module.Error<typeof rag>>().toEqualTypeOf<Predict.PredictError | NotFound>()
    expectTypeOf<Module.Requirements<typeof rag>>().toEqualTypeOf<LanguageModel.LanguageModel | Search>()
  })

  it("a body that yields nothing fails with nothing and needs nothing", () => {
    const pure = Module.make({ answer }, function*(_, input: { readonly n: number }) {
      return input.n
    })
    expectTypeOf(pure).toEqualTypeOf<Module.Module<{ readonly n: number }, number>>()
  })

  it("a module may be made of any module", () => {
    const retried = <In, Out, E, R>(self: Module.Module<In, Out, E, R>) =>
      Module.make({ self }, function*(m, input: In) {
        return yield* Effect.retry(m.self(input), { times: 2 })
      })
    expectTypeOf(retried(rag)).toEqualTypeOf<typeof rag>()
    const voters = (n: number) =>
      Module.make(
        { voters: Array.from({ length: n }, () => answer) },
        function*(m, input: { readonly question: string }) {
          return yield* Effect.forEach(m.voters, (voter) => voter(input))
        }
      )
    expectTypeOf<Module.Output<ReturnType<typeof voters>>>().toEqualTypeOf<Array<{ readonly answer: string }>>()
    const both = <In, A, B, E, R>(a: Module.Module<In, A, E, R>, b: Module.Module<In, B, E, R>) => Module.all({ a, b })
    expectTypeOf<Module.Output<ReturnType<typeof both<string, 1, 2, never, never>>>>().toEqualTypeOf<
      { readonly a: 1; readonly b: 2 }
    >()
    const either = <In, A, B, E, R>(
      a: Module.Module<In, A, E, R>,
      b: Module.Module<In, B, E, R>,
      first: (input: In) => boolean
    ) => Module.branch({ a, b }, (input) => first(input) ? "a" : "b")
    expectTypeOf<ReturnType<typeof either<string, 1, 2, never, never>>>().toEqualTypeOf<Module.Module<string, 1 | 2>>()
  })

  it("a module that takes less, returns more or fails less may stand in", () => {
    type Wide = Module.Module<
      { readonly question: string; readonly more: number },
      { readonly answer: string | number },
      Predict.PredictError | NotFound,
      LanguageModel.LanguageModel | Search
    >
    expectTypeOf(answer).toExtend<Wide>()
    expectTypeOf<Wide>().not.toExtend<typeof answer>()
    expectTypeOf(rag).toExtend<Module.Any>()
  })

  it("knows its parts", () => {
    Module.make({ answer }, function*(m, input: { readonly question: string }) {
      // @ts-expect-error there is no such part
      yield* m.reply(input)
      // @ts-expect-error the part takes a question
      yield* m.answer({ query: "?" })
      return 1
    })
    Module.make({ list: [answer, answer], map: { x: answer } }, function*(m, input: { readonly question: string }) {
      yield* m.list[0](input)
      return yield* m.map.x(input)
    })
    // @ts-expect-error a part must be a module
    Module.make({ answer: (input: string) => Effect.succeed(input) }, function*() {
      return 1
    })
  })
})

describe("composition", () => {
  it("andThen fits outputs to inputs", () => {
    const ends = answer.pipe(Module.andThen(Predict.make("answer -> score: number")))
    expectTypeOf<Module.Input<typeof ends>>().toEqualTypeOf<{ readonly question: string }>()
    expectTypeOf<Module.Output<typeof ends>>().toEqualTypeOf<{ readonly score: number }>()
    // @ts-expect-error `answer` does not give a `query`
    answer.pipe(Module.andThen(Predict.make("query -> score: number")))
  })

  it("all, branch, batch, either", () => {
    const all = Module.all({ a: answer, n: Predict.make("question -> n: int") })
    expectTypeOf<Module.Input<typeof all>>().toEqualTypeOf<{ readonly question: string }>()
    expectTypeOf<Module.Output<typeof all>>().toEqualTypeOf<
      { readonly a: { readonly answer: string }; readonly n: { readonly n: number } }
    >()
    const mixed = Module.all({
      a: answer,
      q: Predict.make("query -> n: int"),
      t: answer.pipe(Module.mapInput((_: Date) => ({ question: "" })))
    })
    expectTypeOf<{ readonly question: string; readonly query: string } & Date>().toExtend<Module.Input<typeof mixed>>()
    const eitherOr = answer.pipe(Module.mapInput((input: string | number) => ({ question: String(input) })))
    expectTypeOf<Module.Input<ReturnType<typeof Module.all<{ readonly eitherOr: typeof eitherOr }>>>>().toEqualTypeOf<
      string | number
    >()
    const chosen = Module.branch({ eitherOr }, () => "eitherOr")
    expectTypeOf<Module.Input<typeof chosen>>().toEqualTypeOf<string | number>()
    const texts = Module.all(
      [answer, answer].map((module) => Module.mapInput(module, (question: string) => ({ question })))
    )
    expectTypeOf<Module.Input<typeof texts>>().toEqualTypeOf<string>()
    expectTypeOf<Module.Output<typeof texts>>().toEqualTypeOf<ReadonlyArray<{ readonly answer: string }>>()
    const many = Module.all({ a: Module.batch(answer), b: Module.batch(answer) })
    expectTypeOf<Array<{ readonly question: string }>>().toExtend<Module.Input<typeof many>>()
    const sum = Module.all([answer, answer], ([one, two]) => one.answer.length + two.answer.length)
    expectTypeOf<Module.Output<typeof sum>>().toEqualTypeOf<number>()
    expectTypeOf<Module.Error<typeof sum>>().toEqualTypeOf<Predict.PredictError>()
    const branch = Module.branch({ a: answer, r: rag }, (input) => input.question === "" ? "a" : "r")
    expectTypeOf<Module.Input<typeof branch>>().toEqualTypeOf<{ readonly question: string }>()
    expectTypeOf<Module.Error<typeof branch>>().toEqualTypeOf<Predict.PredictError | NotFound>()
    // @ts-expect-error not a branch
    Module.branch({ a: answer }, () => "b")
    const batch = Module.batch(Module.either(rag))
    expectTypeOf<Module.Output<typeof batch>>().toEqualTypeOf<
      Array<Either.Either<{ readonly answer: string; readonly sure: boolean }, Predict.PredictError | NotFound>>
    >()
    expectTypeOf<Module.Error<typeof batch>>().toEqualTypeOf<never>()
  })
})

describe("combinators", () => {
  it("keep the module's own type", () => {
    expectTypeOf(Module.withSettings(rag, { temperature: 1 })).toEqualTypeOf<typeof rag>()
    expectTypeOf(rag.pipe(Module.freeze)).toEqualTypeOf<typeof rag>()
    expectTypeOf(Module.withParameters(rag, {})).toMatchTypeOf<Either.Either<typeof rag, unknown>>()
  })

  it("provideModel takes the requirement away", () => {
    const provided = rag.pipe(Module.provideModel({} as Context.Context<LanguageModel.LanguageModel>))
    expectTypeOf<Module.Requirements<typeof provided>>().toEqualTypeOf<Search>()
  })

  it("running without a model does not compile", () => {
    // @ts-expect-error LanguageModel is missing
    Effect.runPromise(answer({ question: "?" }))
  })
})
