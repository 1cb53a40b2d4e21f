import * as ReAct from "@effect-dspy/core/ReAct"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import * as AiTool from "@effect/ai/Tool"
import * as Toolkit from "@effect/ai/Toolkit"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Schema } from "effect"
import * as EffectAiTools from "../src/EffectAiTools.ts"

class NoSuchCity extends Schema.TaggedError<NoSuchCity>()("NoSuchCity", { city: Schema.String }) {
  override get message(): string {
    return `there is no ${this.city}`
  }
}

class Station extends Context.Tag("Station")<Station, { readonly degrees: number }>() {}

const Forecast = Schema.Struct({ on: Schema.DateFromString, degrees: Schema.Number })

const toolkit = Toolkit.make(
  AiTool.make("forecast", {
    description: "The weather on a day.",
    parameters: { city: Schema.String, on: Schema.DateFromString },
    success: Forecast,
    failure: NoSuchCity,
    failureMode: "return",
    dependencies: [Station]
  }),
  AiTool.make("close", { failure: NoSuchCity }),
  AiTool.make("lie", { success: Schema.Int }),
  AiTool.providerDefined({ id: "x.search", toolkitName: "search", providerName: "x", args: {} })({})
)

const handlers = toolkit.toLayer({
  forecast: ({ city, on }) =>
    city === "Atlantis"
      ? new NoSuchCity({ city })
      : Effect.map(Station, ({ degrees }) => ({ on, degrees })),
  close: () => new NoSuchCity({ city: "Rome" }),
  lie: () => Effect.succeed(0.5)
})

const tools = Effect.map(
  EffectAiTools.fromToolkit(toolkit),
  (tools) => new Map<string, (typeof tools)[number]>(tools.map((tool) => [tool.name, tool]))
)

const run = (name: "forecast" | "close" | "lie", args: Parameters<typeof Tool.call>[1]) =>
  Effect.gen(function*() {
    const tool = (yield* tools).get(name)
    assert.isDefined(tool)
    // Which of them it is, the name says.
    return yield* Tool.call(tool as Tool.Tool<string, unknown, unknown, NoSuchCity, Station>, args)
  }).pipe(
    Effect.provide(handlers),
    Effect.provideService(Station, { degrees: 21 })
  )

describe("EffectAiTools", () => {
  it.effect("has the tools that are run here, as they are offered there", () =>
    Effect.gen(function*() {
      const all = yield* EffectAiTools.fromToolkit(toolkit)
      assert.deepStrictEqual(all.map(({ name }) => name), ["forecast", "close", "lie"])
      const [forecast] = all
      assert.strictEqual(forecast?.definition.description, "The weather on a day.")
      assert.deepInclude(forecast?.definition.parameters, { required: ["city", "on"] })
    }).pipe(Effect.provide(handlers)))

  it.effect("decodes what a model writes, and encodes what the handler gives", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* run("forecast", { city: "Rome", on: "2024-01-02T00:00:00.000Z" }),
        `{"on":"2024-01-02T00:00:00.000Z","degrees":21}`
      )
    }))

  it.effect("refuses arguments that do not fit before the handler sees them", () =>
    Effect.gen(function*() {
      for (const args of [{}, { city: "Rome", on: 1 }, { city: "Rome", on: "2024-01-02T00:00:00.000Z", more: 1 }]) {
        const error = yield* Effect.flip(run("forecast", args))
        assert.strictEqual(error._tag === "ToolError" ? error.reason : error, "InvalidArguments")
      }
    }))

  it.effect("a failure is told to the model or ends the program, as its tool says", () =>
    Effect.gen(function*() {
      const told = yield* Effect.flip(run("forecast", { city: "Atlantis", on: "2024-01-02T00:00:00.000Z" }))
      assert.strictEqual(told.message, "forecast: there is no Atlantis")
      const ends = yield* Effect.flip(run("close", {}))
      assert.strictEqual(ends._tag, "NoSuchCity")
    }))

  it.effect("a result that does not fit its schema is a failure of the tool", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(run("lie", {}))
      assert.strictEqual(error._tag === "ToolError" ? error.reason : error, "Failed")
    }))

  it.effect("an agent uses them", () =>
    Effect.gen(function*() {
      const agent = ReAct.make("question -> answer", { tools: yield* EffectAiTools.fromToolkit(toolkit) })
      const { trajectory } = yield* agent({ question: "Rome?" })
      assert.include(trajectory[0]?.observation, `"degrees":21`)
    }).pipe(
      Effect.provide([
        handlers,
        TestLanguageModel.layer([
          TestLanguageModel.toolCalls([
            { name: "forecast", arguments: { city: "Rome", on: "2024-01-02T00:00:00.000Z" } }
          ]),
          TestLanguageModel.toolCalls([{ name: "finish", arguments: {} }]),
          TestLanguageModel.fields({ reasoning: "It says so.", answer: "21" })
        ])
      ]),
      Effect.provideService(Station, { degrees: 21 })
    ))
})
