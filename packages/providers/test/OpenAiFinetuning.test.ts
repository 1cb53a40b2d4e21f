import * as Finetuning from "@effect-dspy/core/Finetuning"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Schedule } from "effect"
import * as OpenAiFinetuning from "../src/OpenAiFinetuning.ts"
import * as FaultServer from "./FaultServer.ts"

const canary = "sk-canary-0123456789abcdef0123456789abcdef"
const data = `{"messages":[{"role":"user","content":"secret words"},{"role":"assistant","content":"yes"}]}\n`

// A service whose trainings take so many questions, and end as they are told to.
const service = (options: { readonly polls?: number; readonly end?: object } = {}) =>
  Effect.gen(function*() {
    let polls = 0
    const server = yield* FaultServer.make((request) => {
      const { method, path } = request
      if (path === "/v1/files") {
        assert.match(request.body, /name="purpose"\r\n\r\nfine-tune\r\n/)
        assert.include(request.body, data.trim())
        return FaultServer.json(200, { id: "file-7" })
      }
      if (method === "POST" && path === "/v1/fine_tuning/jobs") {
        return FaultServer.json(200, { id: "ftjob/1", status: "validating_files" })
      }
      if (path === "/v1/fine_tuning/jobs/ftjob%2F1/cancel") {
        return FaultServer.json(200, { id: "ftjob/1", status: "cancelled" })
      }
      if (path === "/v1/fine_tuning/jobs/ftjob%2F1") {
        return FaultServer.json(
          200,
          ++polls > (options.polls ?? 1)
            ? { id: "ftjob/1", status: "succeeded", fine_tuned_model: "ft:small:me", ...options.end }
            : { id: "ftjob/1", status: "running", fine_tuned_model: null, error: {} }
        )
      }
      return FaultServer.json(404, { error: { message: "no such path" } })
    })
    return {
      requests: server.requests,
      layer: OpenAiFinetuning.layer({ baseUrl: server.url, apiKey: Redacted.make(canary) }).pipe(
        Layer.provide(NodeHttpClient.layerUndici)
      )
    }
  })

const fast = Schedule.spaced("1 millis")

describe("OpenAiFinetuning", () => {
  it.scopedLive("sends the data, starts a job and waits for the model", () =>
    Effect.gen(function*() {
      const { layer, requests } = yield* service({ polls: 3 })
      const model = yield* Finetuning.start({
        model: "small",
        data,
        suffix: "me",
        hyperparameters: { n_epochs: 2 }
      }).pipe(
        Effect.flatMap(({ id, status }) => {
          assert.strictEqual(status, "pending")
          return Finetuning.wait(id, { poll: fast })
        }),
        Effect.provide(layer)
      )
      assert.strictEqual(model, "ft:small:me")
      const started = requests.find(({ method, path }) => method === "POST" && path.endsWith("/jobs"))
      assert.deepStrictEqual(started?.json, {
        model: "small",
        training_file: "file-7",
        suffix: "me",
        method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } }
      })
      assert.isTrue(requests.every(({ headers }) => headers["authorization"] === `Bearer ${canary}`))
    }))

  it.scopedLive("sends examples to validate by in a file of their own", () =>
    Effect.gen(function*() {
      const { layer, requests } = yield* service()
      yield* Finetuning.start({ model: "small", data, validation: data }).pipe(Effect.provide(layer))
      assert.strictEqual(requests.filter(({ path }) => path === "/v1/files").length, 2)
      assert.strictEqual(requests.at(-1)?.json.validation_file, "file-7")
    }))

  it.scopedLive("says why there is no model", () =>
    Effect.gen(function*() {
      const { layer } = yield* service({
        end: { status: "failed", fine_tuned_model: null, error: { code: "bad", message: "too few examples" } }
      })
      const error = yield* Effect.flip(Finetuning.wait("ftjob/1", { poll: fast })).pipe(Effect.provide(layer))
      assert.strictEqual(error.message, "The training ftjob/1 was not successful: too few examples")
      const cancelled = yield* Finetuning.cancel("ftjob/1").pipe(Effect.provide(layer))
      assert.strictEqual(cancelled.status, "cancelled")
    }))

  it.scopedLive("gives up waiting when told to, and can be asked again", () =>
    Effect.gen(function*() {
      const { layer } = yield* service({ polls: 6 })
      const [error, model] = yield* Effect.all([
        Effect.flip(Finetuning.wait("ftjob/1", { poll: Schedule.intersect(fast, Schedule.recurs(2)) })),
        Finetuning.wait("ftjob/1", { poll: fast })
      ]).pipe(Effect.provide(layer))
      assert.include(error.message, "goes on; ask for it again")
      assert.strictEqual(model, "ft:small:me")
    }))

  it.scopedLive("fails as model calls do, without the data and the key", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() =>
        FaultServer.json(401, { error: { message: `Incorrect API key provided: ${canary}` } })
      )
      const error = yield* Finetuning.start({ model: "small", data }).pipe(
        Effect.flip,
        Effect.provide(
          OpenAiFinetuning.layer({ baseUrl: server.url, apiKey: Redacted.make(canary) }).pipe(
            Layer.provide(NodeHttpClient.layerUndici)
          )
        )
      )
      assert.strictEqual(error.reason._tag, "Authentication")
      assert.notInclude(JSON.stringify(error) + error.message, canary)
      assert.notInclude(JSON.stringify(error) + error.message, "secret words")
      const nonsense = yield* FaultServer.make(() => FaultServer.json(200, { status: "succeeded" }))
      const malformed = yield* Finetuning.job("x").pipe(
        Effect.flip,
        Effect.provide(
          OpenAiFinetuning.layer({ baseUrl: nonsense.url }).pipe(Layer.provide(NodeHttpClient.layerUndici))
        )
      )
      assert.strictEqual(malformed.reason._tag, "MalformedResponse")
    }))
})
