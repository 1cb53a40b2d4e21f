import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import type * as Predict from "@effect-dspy/core/Predict"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as Tool from "@effect-dspy/core/Tool"
import { Context, Effect, Schema } from "effect"
import { describe, expectTypeOf, it } from "vitest"

class Gone extends Schema.TaggedError<Gone>()("Gone", {}) {}
class Store extends Context.Tag("Store")<Store, { readonly read: Effect.Effect<string, Gone> }>() {}

const read = Tool.make("read", {
  description: "Reads.",
  parameters: { path: Schema.String, lines: Schema.optional(Schema.Int) },
  run: ({ lines, path }) => {
    expectTypeOf(path).toEqualTypeOf<string>()
    expectTypeOf(lines).toEqualTypeOf<number | undefined>()
    return Effect.flatMap(Store, ({ read }) => read)
  }
})

const strict = Tool.make("strict", {
  description: "Reads.",
  parameters: {},
  run: () => Effect.flatMap(Store, ({ read }) => read),
  failureMode: "error"
})

describe("Tool", () => {
  it("has its failures in its type only where they end the program", () => {
    expectTypeOf<Tool.Error<typeof read>>().toEqualTypeOf<never>()
    expectTypeOf<Tool.Error<typeof strict>>().toEqualTypeOf<Gone>()
    expectTypeOf<Tool.Requirements<typeof read>>().toEqualTypeOf<Store>()
    expectTypeOf(read.name).toEqualTypeOf<"read">()
  })

  it("is approved with its own input", () => {
    Tool.withApproval(read, ({ path }) => Effect.succeed(path.length > 0))
    // @ts-expect-error there is no such parameter
    Tool.withApproval(read, ({ file }) => Effect.succeed(file))
  })
})

describe("ReAct", () => {
  it("has the needs of its tools, and what of them ends the program", () => {
    const react = ReAct.make("question -> answer: int", { tools: [read, strict] })
    expectTypeOf<Module.Requirements<typeof react>>().toEqualTypeOf<LanguageModel.LanguageModel | Store>()
    expectTypeOf<Module.Error<typeof react>>().toEqualTypeOf<Predict.PredictError | Gone>()
    expectTypeOf<Module.Input<typeof react>>().toEqualTypeOf<{ readonly question: string }>()
    expectTypeOf<Module.Output<typeof react>["answer"]>().toEqualTypeOf<number>()
    expectTypeOf<Module.Output<typeof react>["trajectory"]>().toEqualTypeOf<ReadonlyArray<ReAct.Step>>()
  })

  it("needs nothing more than its tools do", () => {
    const bare = ReAct.make("question -> answer", { tools: [] })
    expectTypeOf<Module.Requirements<typeof bare>>().toEqualTypeOf<LanguageModel.LanguageModel>()
    expectTypeOf<Module.Error<typeof bare>>().toEqualTypeOf<Predict.PredictError>()
    // @ts-expect-error a tool is made by Tool.make
    ReAct.make("question -> answer", { tools: [() => Effect.void] })
    // @ts-expect-error unknown type 'strin'
    ReAct.make("question -> answer: strin", { tools: [] })
  })
})
