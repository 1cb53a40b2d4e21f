import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Redacted } from "effect"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "./FaultServer.ts"

const list = (...names: ReadonlyArray<string>) =>
  FaultServer.json(200, { object: "list", data: names.map((id) => ({ id, object: "model" })) })

/** What `check` says of a server, without the port; nothing if it passes. */
const says = (
  handler: FaultServer.Script | ((request: FaultServer.Recorded) => FaultServer.Script),
  options: Partial<OpenAiCompatible.Options> = {}
) =>
  Effect.gen(function*() {
    const server = yield* FaultServer.make(typeof handler === "function" ? handler : () => handler)
    const checked = yield* Effect.either(
      OpenAiCompatible.check({ model: "llama3.2", dialect: "ollama", baseUrl: server.url, ...options })
    )
    return Either.isRight(checked) ? "" : checked.left.message.replace(server.url.slice("http://".length), "HOST")
  }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici))

describe("OpenAiCompatible.check", () => {
  it.live("passes if the model is there, however its name is written", () =>
    Effect.gen(function*() {
      for (const name of ["llama3.2", "llama3.2:latest", "models/llama3.2", "llama*", "*"]) {
        assert.strictEqual(yield* says(list("other", name)), "", name)
      }
      assert.strictEqual(yield* says(FaultServer.json(200, [{ id: "llama3.2" }]), { dialect: "together_ai" }), "")
      // One model, called by the path of its file.
      assert.strictEqual(yield* says(list("/models/a.gguf"), { dialect: "llamacpp" }), "")
      assert.strictEqual(yield* says(list("gpt-4o"), { dialect: "azure", model: "my-deployment" }), "")
    }))

  it.live("says in one line what is wrong", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [said: string, expected: string]> = [
        [
          yield* says(list("qwen2.5:3b", "llama3.1:latest", "llama3.2-vision:latest", "phi4")),
          "ollama/llama3.2: NotFound: the server has no model llama3.2 among its 4; did you mean llama3.2-vision:latest?"
        ],
        [
          yield* says(list("a", "b", "c", "d", "e")),
          "ollama/llama3.2: NotFound: the server has no model llama3.2; it has a, b, c and 2 more"
        ],
        [yield* says(list()), "ollama/llama3.2: NotFound: the server has no model llama3.2, nor any other"],
        [
          yield* says(FaultServer.json(401, { error: { message: "No auth" } })),
          "ollama/llama3.2: Authentication: the server wants a key; set `apiKey`"
        ],
        [
          yield* says(FaultServer.json(401, { error: { message: "bad key k-1" } }), { apiKey: Redacted.make("k-1") }),
          "ollama/llama3.2: Authentication: bad key <redacted>"
        ],
        [
          yield* says([], { baseUrl: "http://127.0.0.1:1" }),
          "ollama/llama3.2: Transport: connection failed (connect, ECONNREFUSED): " +
          "127.0.0.1:1 refused the connection; is the server running there?"
        ],
        [
          yield* says(FaultServer.json(404, { detail: "Not Found" })),
          "ollama/llama3.2: NotFound: nothing is at /v1/chat/completions of HOST; check `baseUrl` (Not Found)"
        ],
        [
          yield* says(FaultServer.html(200)),
          "ollama/llama3.2: MalformedResponse: the response is no answer (html): " +
          "the body is a page of HTML; check `baseUrl`"
        ],
        [
          yield* says(FaultServer.json(200, { hello: "world" })),
          "ollama/llama3.2: MalformedResponse: the response is no answer (shape): " +
          "it has no list of models; check `baseUrl`"
        ],
        [
          yield* says(FaultServer.json(503, { error: { message: "loading" } })),
          "ollama/llama3.2: Overloaded: loading"
        ]
      ]
      for (const [said, expected] of cases) assert.strictEqual(said, expected)
    }))

  it.live("asks a server without a list whether it has completions, at no cost", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const server = (status: number) => (request: FaultServer.Recorded) => {
        seen.push(`${request.method} ${request.path} ${request.body}`)
        return request.method === "GET"
          ? FaultServer.json(404, {})
          : FaultServer.json(status, { error: { message: "?" } })
      }
      assert.strictEqual(yield* says(server(400)), "")
      assert.strictEqual(yield* says(server(422)), "")
      assert.deepStrictEqual(seen.slice(0, 2), ["GET /v1/models ", "POST /v1/chat/completions {}"])
      assert.strictEqual(
        yield* says(server(401)),
        "ollama/llama3.2: Authentication: the server wants a key; set `apiKey`"
      )
    }))
})

describe("OpenAiCompatible.models", () => {
  it.live("lists names in the order of the server, with the key, and nothing that is no name", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() => list("b", "a"))
      assert.deepStrictEqual(
        yield* OpenAiCompatible.models({ baseUrl: server.url, apiKey: Redacted.make("k") }),
        ["b", "a"]
      )
      assert.strictEqual(server.requests[0]!.headers.authorization, "Bearer k")
      const error = yield* Effect.flip(
        OpenAiCompatible.models({ baseUrl: `${server.url.slice(0, -5)}1`, dialect: "vllm" })
      )
      assert.deepStrictEqual([error.provider, error.reason._tag], ["vllm", "Transport"])
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))
})
