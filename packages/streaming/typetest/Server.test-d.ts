import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import type * as OpenAiServer from "@effect-dspy/streaming/OpenAiServer"
import * as Server from "@effect-dspy/streaming/Server"
import type * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import type * as HttpServer from "@effect/platform/HttpServer"
import { type Effect, type Layer, Schema, type Scope } from "effect"
import { describe, expectTypeOf, it } from "vitest"

declare const module: Module.Module<
  { readonly since: Date },
  { readonly due: Date; readonly note: string },
  "broken",
  "store"
>

const Report = Signature.make({ input: { since: Schema.Date }, output: { due: Schema.Date } })

describe("Server", () => {
  it("knows both sides of what is sent", () => {
    const endpoint = Server.endpoint(Report, module)
    expectTypeOf(endpoint).toEqualTypeOf<
      Server.Endpoint<
        { readonly since: Date },
        { readonly since: string },
        { readonly due: Date },
        { readonly due: string },
        "broken",
        "store"
      >
    >()
  })

  it("refuses contracts that are those of another module", () => {
    // @ts-expect-error the module takes a date
    Server.endpoint({ input: Schema.Struct({ since: Schema.String }), output: Report.output }, module)
    // @ts-expect-error the module returns no `total`
    Server.endpoint({ input: Report.input, output: Schema.Struct({ total: Schema.Number }) }, module)
  })

  it("needs what the modules and the check of who asks need", () => {
    const answer = Predict.make("question -> answer")
    expectTypeOf(Server.make({ modules: { answer } })).toEqualTypeOf<
      Effect.Effect<Server.Service, never, LanguageModel.LanguageModel | Scope.Scope>
    >()
    expectTypeOf(
      Server.layer({
        modules: { answer, report: Server.endpoint(Report, module) },
        auth: (_) => null as unknown as Effect.Effect<string, never, "directory">
      })
    ).toEqualTypeOf<Layer.Layer<Server.Server, never, LanguageModel.LanguageModel | "store" | "directory">>()
    // @ts-expect-error a text is no secret
    Server.layer({ modules: { answer }, auth: "secret" })
  })

  it("serves routes that go with it", () => {
    expectTypeOf<typeof Server.routes>().toEqualTypeOf<typeof OpenAiServer.routes>()
    expectTypeOf(Server.serve(Server.routes)).toEqualTypeOf<
      Layer.Layer<never, never, Server.Server | HttpServer.HttpServer>
    >()
    const other = null as unknown as Layer.Layer<never, "broken", HttpLayerRouter.HttpRouter | "database">
    expectTypeOf(Server.serve(other)).toEqualTypeOf<
      Layer.Layer<never, "broken", Server.Server | HttpServer.HttpServer | "database">
    >()
  })
})
