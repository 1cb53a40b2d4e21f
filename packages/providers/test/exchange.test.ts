import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { CurrentSideband, type Sideband } from "../src/internal/sideband.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "./FaultServer.ts"

const question: LanguageModel.Request = { messages: [{ role: "user", content: "Hello?" }] }

const over = <A, E>(
  script: FaultServer.Script,
  use: (model: LanguageModel.Service, server: FaultServer.FaultServer) => Effect.Effect<A, E>
) =>
  Effect.gen(function*() {
    const server = yield* FaultServer.make(() => script)
    return yield* use(yield* OpenAiCompatible.make({ model: "m", baseUrl: server.url }), server)
  }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici))

const answered = FaultServer.json(200, { choices: [{ message: { content: "ok" }, finish_reason: "stop" }] }, {
  "x-ratelimit-remaining-requests": "7"
})

describe("exchange", () => {
  it.live("sends the key of the logical call, and nothing where there is none", () =>
    over(answered, (model, server) =>
      Effect.gen(function*() {
        const said: Sideband = { idempotencyKey: "call-1" }
        yield* Effect.provideService(model.generate(question), CurrentSideband, said)
        yield* Stream.runDrain(Stream.provideService(model.stream(question), CurrentSideband, said))
        yield* model.generate(question)
        assert.deepStrictEqual(
          server.requests.map((request) => request.headers["idempotency-key"]),
          ["call-1", "call-1", undefined]
        )
      })))

  it.live("shows the headers of every answer to whoever asked for them, whatever its status", () =>
    Effect.gen(function*() {
      const seen: Array<string | undefined> = []
      const said: Sideband = {
        onHeaders: (headers) => Effect.sync(() => seen.push(headers["x-ratelimit-remaining-requests"]))
      }
      const limited = FaultServer.json(429, {}, { "x-ratelimit-remaining-requests": "0" })
      yield* over(answered, (model) => Effect.provideService(model.generate(question), CurrentSideband, said))
      yield* over(
        limited,
        (model) => Effect.flip(Effect.provideService(model.generate(question), CurrentSideband, said))
      )
      yield* over(
        [FaultServer.rst],
        (model) => Effect.flip(Effect.provideService(model.generate(question), CurrentSideband, said))
      )
      assert.deepStrictEqual(seen, ["7", "0"])
    }))

  it.live("lets what the server says of trying again win over the status", () =>
    Effect.gen(function*() {
      const retryable = (status: number, headers: Record<string, string>) =>
        over(FaultServer.json(status, {}, headers), (model) =>
          Effect.map(Effect.flip(model.generate(question)), (error) => error.retryable))
      assert.isFalse(yield* retryable(400, {}))
      assert.isTrue(yield* retryable(400, { "x-should-retry": "true" }))
      assert.isTrue(yield* retryable(503, {}))
      assert.isFalse(yield* retryable(503, { "x-should-retry": "false" }))
      assert.isTrue(yield* retryable(503, { "x-should-retry": "perhaps" }))
    }))
})
