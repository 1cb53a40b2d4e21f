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

const count = Tool.fromFunction("count", {
  description: "Counts.",
  parameters: { upTo: Schema.Int },
  run: async ({ upTo }, signal) => {
    expectTypeOf(upTo).toEqualTypeOf<number>()
    expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
    return [upTo]
  }
})

describe("Tool", () => {
  it("of a function needs nothing, ends nothing, and gives what its promise does", () => {
    expectTypeOf<Tool.Error<typeof count>>().toEqualTypeOf<never>()
    expectTypeOf<Tool.Requirements<typeof count>>().toEqualTypeOf<never>()
    expectTypeOf(count.run({ upTo: 3 })).toEqualTypeOf<Effect.Effect<Array<number>, Tool.ToolError>>()
    // @ts-expect-error there is no such parameter
    Tool.fromFunction("f", { description: "", parameters: { a: Schema.Int }, run: ({ b }) => b })
    // @ts-expect-error what it throws is always told to the model
    Tool.fromFunction("f", { description: "", parameters: {}, run: () => 1, failureMode: "error" })
  })

  it("has parameters that need no services", () => {
    class Clock extends Context.Tag("Clock")<Clock, { readonly now: Effect.Effect<number> }>() {}
    const needy = Schema.transformOrFail(Schema.String, Schema.Number, {
      strict: true,
      decode: () => Effect.flatMap(Clock, ({ now }) => now),
      encode: (n) => Effect.succeed(String(n))
    })
    // @ts-expect-error a schema that needs a service
    Tool.make("t", { description: "", parameters: { at: needy }, run: () => Effect.void })
  })

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
    const piped = read.pipe(Tool.withApproval(({ path }) => Effect.as(Store, path.length > 0)))
    expectTypeOf(piped.name).toEqualTypeOf<"read">()
  })

  it("that asks for approval needs and fails with what that does", () => {
    const asked = Tool.withApproval(count, () => Effect.flatMap(Store, ({ read }) => Effect.as(read, true)))
    expectTypeOf<Tool.Error<typeof asked>>().toEqualTypeOf<Gone>()
    expectTypeOf<Tool.Requirements<typeof asked>>().toEqualTypeOf<Store>()
    const react = ReAct.make("question -> answer", { tools: [asked] })
    expectTypeOf<Module.Error<typeof react>>().toEqualTypeOf<Predict.PredictError | Gone>()
    expectTypeOf<Module.Requirements<typeof react>>().toEqualTypeOf<LanguageModel.LanguageModel | Store>()
  })
})

describe("ReAct", () => {
  it("has the needs of its tools, and what of them ends the program", () => {
    const react = ReAct.make("question -> answer: int", { tools: [read, strict] })
    expectTypeOf<Module.Requirements<typeof react>>().toEqualTypeOf<LanguageModel.LanguageModel | Store>()
    expectTypeOf<Module.Error<typeof react>>().toEqualTypeOf<Predict.PredictError | Gone>()
    expectTypeOf<Module.Input<typeof react>>().toEqualTypeOf<{ readonly question: string }>()
    expectTypeOf<Module.Output<typeof react>["answer"]>().toEqualTypeOf<number>()
  })

  it("needs nothing more than its tools do", () => {
    const bare = ReAct.make("question -> answer", { tools: [] })
    expectTypeOf<Module.Requirements<typeof bare>>().toEqualTypeOf<LanguageModel.LanguageModel>()
    expectTypeOf<Module.Error<typeof bare>>().toEqualTypeOf<Predict.PredictError>()
    // @ts-expect-error a tool is made by Tool.make
    ReAct.make("question -> answer", { tools: [() => Effect.void] })
    // @ts-expect-error there are two ways only
    ReAct.make("question -> answer", { tools: [], toolCalls: "json" })
    // @ts-expect-error unknown type 'strin'
    ReAct.make("question -> answer: strin", { tools: [] })
    // @ts-expect-error the tools are missing
    ReAct.make("question -> answer")
  })
})
