import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { HttpClient, HttpClientRequest } from "@effect/platform"
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

  it.live("credentials that the client adds may change with every request, and are in no error", () =>
    Effect.gen(function*() {
      const tokens = ["token-one-0123456789", "token-two-0123456789"]
      let used = 0
      const server = yield* FaultServer.make(({ headers }) =>
        FaultServer.json(400, { error: { message: `no ${headers.authorization}, nor ${headers["x-api-key"]}` } })
      )
      const client = HttpClient.mapRequestEffect(yield* HttpClient.HttpClient, (request) =>
        Effect.sync(() => {
          const token = tokens[used++] ?? ""
          return HttpClientRequest.bearerToken(
            HttpClientRequest.setHeader(request, "x-api-key", token.toUpperCase()),
            token
          )
        }))
      const model = yield* OpenAiCompatible.make({ model: "m", baseUrl: server.url }).pipe(
        Effect.provideService(HttpClient.HttpClient, client)
      )
      for (const token of tokens) {
        const error = yield* Effect.flip(model.generate(question))
        assert.include(error.message, "no Bearer <redacted>, nor <redacted>")
        assert.notInclude(JSON.stringify(error), token)
      }
      assert.deepStrictEqual(server.requests.map(({ headers }) => headers.authorization), [
        "Bearer token-one-0123456789",
        "Bearer token-two-0123456789"
      ])
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))
})
