import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Predict from "@effect-dspy/core/Predict"
import * as ReAct from "@effect-dspy/core/ReAct"
import type * as Tool from "@effect-dspy/core/Tool"
import * as EffectAiTools from "@effect-dspy/providers/EffectAiTools"
import * as AiTool from "@effect/ai/Tool"
import * as Toolkit from "@effect/ai/Toolkit"
import { Context, Effect, Schema } from "effect"
import { expectTypeOf, it } from "vitest"

class Ended extends Schema.TaggedError<Ended>()("Ended", {}) {}
class Told extends Schema.TaggedError<Told>()("Told", {}) {}
class Service extends Context.Tag("Service")<Service, {}>() {}

const ends = AiTool.make("ends", {
  parameters: { on: Schema.DateFromString },
  success: Schema.Struct({ at: Schema.DateFromString }),
  failure: Ended,
  dependencies: [Service]
})
const tells = AiTool.make("tells", { failure: Told, failureMode: "return" })
const toolkit = Toolkit.make(ends, tells)

it("a tool keeps its name, parameters, failure and needs; its result is encoded", () => {
  expectTypeOf<EffectAiTools.FromTool<typeof ends>>().toEqualTypeOf<
    Tool.Tool<"ends", { readonly on: Date }, { readonly at: string }, Ended, Service>
  >()
  expectTypeOf<EffectAiTools.FromTool<typeof tells>>().toExtend<Tool.Tool<"tells", {}, void, never, never>>()
})

it("what an agent fails with and needs is what its tools do", () => {
  const program = Effect.flatMap(
    EffectAiTools.fromToolkit(toolkit),
    (tools) => ReAct.make("question -> answer", { tools })({ question: "?" })
  )
  expectTypeOf<Effect.Effect.Error<typeof program>>().toEqualTypeOf<Predict.PredictError | Ended>()
  expectTypeOf<Effect.Effect.Context<typeof program>>().toEqualTypeOf<
    LanguageModel.LanguageModel | Service | AiTool.Handler<"ends"> | AiTool.Handler<"tells">
  >()
})

it("parameters that need services are refused", () => {
  const Needy = Schema.transformOrFail(Schema.String, Schema.String, {
    strict: true,
    decode: (text: string) => Effect.as(Service, text),
    encode: (text: string) => Effect.succeed(text)
  })
  const needy = Toolkit.make(AiTool.make("needy", { parameters: { a: Needy } }))
  // @ts-expect-error they are read before anything is done
  EffectAiTools.fromToolkit(needy)
})
