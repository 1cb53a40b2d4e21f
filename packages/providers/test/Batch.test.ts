import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { KeyValueStore } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, Exit, Fiber, Layer, Redacted, Schedule, Scope } from "effect"
import * as Batch from "../src/Batch.ts"
import * as FaultServer from "./FaultServer.ts"

const canary = "sk-canary-0123456789abcdef0123456789abcdef"

const asking = (content: string, settings?: LanguageModel.Settings): LanguageModel.Request => ({
  messages: [{ role: "user", content }],
  ...(settings === undefined ? undefined : { settings })
})

const ask = (model: LanguageModel.Service, content: string) =>
  Effect.map(model.generate(asking(content)), ({ outputs }) => outputs[0]?.text)

// =============================================================================
// A server of batches
// =============================================================================

interface Sent {
  readonly custom_id: string
  readonly method: string
  readonly url: string
  readonly body: { readonly model: string; readonly messages: ReadonlyArray<{ readonly content: string }> }
}

interface Made {
  readonly id: string
  readonly input_file_id: string
  readonly status: string
  readonly output_file_id?: string
  readonly error_file_id?: string
  readonly errors?: unknown
}

// What a line of results says of a call.
type Said = { readonly response?: unknown; readonly error?: unknown } | "nothing" | "no json"

const answered = (text: string): Said => ({
  response: {
    status_code: 200,
    request_id: "req-1",
    body: {
      model: "m-1",
      choices: [{ index: 0, message: { content: text }, finish_reason: "stop" }],
      usage: { prompt_tokens: 7, completion_tokens: 2 }
    }
  }
})

const refused = (status: number, error: unknown): Said => ({ response: { status_code: status, body: { error } } })

// Answers each call with its own words unless told otherwise, the last one first.
const batches = (options: {
  readonly polls?: number
  readonly say?: (call: Sent) => Said
  readonly end?: Partial<Made>
  readonly intercept?: (request: FaultServer.Recorded, n: number) => FaultServer.Script | undefined
} = {}) =>
  Effect.gen(function*() {
    const files = new Map<string, ReadonlyArray<Sent>>()
    const made: Array<Made> = []
    const state = { done: options.polls === undefined, polls: 0 }
    const server = yield* FaultServer.make((request, n) => {
      const intercepted = options.intercept?.(request, n)
      if (intercepted !== undefined) return intercepted
      const { method, path } = request
      if (path === "/v1/files") {
        assert.include(String(request.headers["content-type"]), "multipart/form-data")
        assert.match(request.body, /name="purpose"\r\n\r\nbatch\r\n/)
        const id = `file-${files.size}`
        files.set(
          id,
          request.body.split(/\r?\n/).filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
        )
        return FaultServer.json(200, { id, object: "file" })
      }
      if (path === "/v1/batches" && method === "POST") {
        const { completion_window, endpoint, input_file_id } = request.json
        assert.deepStrictEqual([completion_window, endpoint], ["24h", "/v1/chat/completions"])
        const batch = { id: `batch-${made.length}`, input_file_id, status: "validating" }
        made.push(batch)
        return FaultServer.json(200, batch)
      }
      if (path.startsWith("/v1/batches?")) return FaultServer.json(200, { data: made })
      if (path.startsWith("/v1/batches/")) {
        const batch = made.find(({ id }) => path.endsWith(`/${id}`))
        if (batch === undefined) return FaultServer.json(404, { error: { message: "no such batch" } })
        if (!state.done && ++state.polls === options.polls) state.done = true
        return FaultServer.json(200, {
          ...batch,
          ...(state.done
            ? { status: "completed", output_file_id: `out-${batch.input_file_id}`, ...options.end }
            : { status: "in_progress" })
        })
      }
      const file = /^\/v1\/files\/(?:out|err)-(.*)\/content$/.exec(path)?.[1]
      const sent = files.get(file ?? "")
      if (sent === undefined) return FaultServer.json(404, { error: { message: "no such file" } })
      const say = options.say ?? ((call) => answered(`re: ${call.body.messages[0]?.content}`))
      return FaultServer.answer(
        200,
        "application/jsonl",
        sent.toReversed().flatMap((call) => {
          const said = say(call)
          return said === "nothing"
            ? []
            : [said === "no json" ? "{\"custom_id\":" : JSON.stringify({ custom_id: call.custom_id, ...said })]
        }).join("\n")
      )
    })
    return {
      url: server.url,
      state,
      made,
      /** The contents of the calls in each file. */
      sent: () => Array.from(files.values(), (calls) => calls.map(({ body }) => body.messages[0]?.content)),
      files,
      requests: server.requests
    }
  })

type Batches = Effect.Effect.Success<ReturnType<typeof batches>>

const fast = Schedule.spaced("5 millis")

const options = (server: Batches, more: Partial<Batch.Options> = {}): Batch.Options => ({
  model: "m",
  id: "test/m",
  baseUrl: server.url,
  apiKey: Redacted.make(canary),
  window: "50 millis",
  poll: fast,
  ...more
})

// A store that outlives the models.
const store = Effect.map(
  Layer.build(KeyValueStore.layerMemory),
  (context) => Context.get(context, KeyValueStore.KeyValueStore)
)

// A model for as long as it is used, as one process has it.
const using = <A, E>(
  options: Batch.Options,
  store: KeyValueStore.KeyValueStore,
  use: (model: LanguageModel.Service) => Effect.Effect<A, E>
) =>
  Effect.scoped(Effect.flatMap(Batch.make(options), use)).pipe(
    Effect.provideService(KeyValueStore.KeyValueStore, store),
    Effect.provide(NodeHttpClient.layerUndici)
  )

const all = (model: LanguageModel.Service, contents: ReadonlyArray<string>) =>
  Effect.forEach(contents, (content) => ask(model, content), { concurrency: "unbounded" })

const until = (condition: () => boolean) =>
  Effect.repeat(Effect.sleep("5 millis"), { until: () => condition() }).pipe(Effect.timeout("10 seconds"))

describe("Batch", () => {
  it.live("calls that are made together travel together, and each gets its own answer", () =>
    Effect.gen(function*() {
      const server = yield* batches({ polls: 3 })
      const contents = Array.from({ length: 20 }, (_, n) => `question ${n}`)
      const texts = yield* using(options(server), yield* store, (model) => {
        assert.deepInclude(model, { id: "test/m" })
        assert.deepInclude(model.capabilities, { streaming: false, concurrency: 1000 })
        return all(model, contents)
      })
      assert.deepStrictEqual(texts, contents.map((content) => `re: ${content}`))
      assert.deepStrictEqual(server.sent(), [contents])
      assert.strictEqual(server.made.length, 1)
      assert.strictEqual(server.state.polls, 3)
      const [first] = Array.from(server.files.values(), ([call]) => call)
      assert.deepInclude(first, { method: "POST", url: "/v1/chat/completions" })
      assert.strictEqual(first?.body.model, "m")
    }).pipe(Effect.scoped))

  it.live("a response is that of a single call", () =>
    Effect.gen(function*() {
      const server = yield* batches()
      const response = yield* using(options(server), yield* store, (model) => model.generate(asking("hi")))
      assert.deepStrictEqual(response, {
        outputs: [{ text: "re: hi", toolCalls: [], finishReason: "stop" }],
        usage: { inputTokens: 7, outputTokens: 2 },
        model: "m-1",
        requestId: "req-1"
      })
    }).pipe(Effect.scoped))

  it.live("a batch is sent as soon as it is full", () =>
    Effect.gen(function*() {
      const server = yield* batches()
      const contents = ["1", "2", "3", "4", "5"]
      yield* using(options(server, { maxCalls: 2 }), yield* store, (model) => all(model, contents))
      assert.sameDeepMembers(server.sent(), [["1", "2"], ["3", "4"], ["5"]])
    }).pipe(Effect.scoped))

  it.live("equal calls are calls of their own; a call that left before the batch was sent is not in it", () =>
    Effect.gen(function*() {
      let n = 0
      const server = yield* batches({ say: () => answered(`answer ${n++}`) })
      yield* using(options(server), yield* store, (model) =>
        Effect.gen(function*() {
          const left = yield* Effect.fork(ask(model, "left"))
          yield* Effect.yieldNow()
          yield* Fiber.interrupt(left)
          assert.sameMembers(yield* all(model, ["same", "same"]), ["answer 0", "answer 1"])
        }))
      assert.deepStrictEqual(server.sent(), [["same", "same"]])
    }).pipe(Effect.scoped))

  it.live("each call fails for its own reason", () =>
    Effect.gen(function*() {
      const said: { readonly [content: string]: Said } = {
        good: answered("ok"),
        long: refused(400, { code: "context_length_exceeded", message: `no: ${canary}` }),
        limited: refused(429, { message: "slow down" }),
        empty: { response: { status_code: 200, body: { choices: [] } } },
        late: { error: { code: "batch_expired", message: "too late" } },
        lost: "nothing",
        garbled: "no json"
      }
      const server = yield* batches({ say: (call) => said[call.body.messages[0]?.content ?? ""] ?? "nothing" })
      const results = yield* using(options(server), yield* store, (model) =>
        Effect.forEach(Object.keys(said), (content) =>
          Effect.either(ask(model, content)), {
          concurrency: "unbounded"
        }))
      assert.deepStrictEqual(
        results.map(Either.match({
          onLeft: ({ reason }) =>
            reason._tag,
          onRight: (text) =>
            text
        })),
        [
          "ok",
          "ContextWindowExceeded",
          "RateLimited",
          "MalformedResponse",
          "Timeout",
          "MalformedResponse",
          "MalformedResponse"
        ]
      )
      for (const result of results) {
        if (Either.isLeft(result)) assert.notInclude(JSON.stringify(result.left), canary)
      }
    }).pipe(Effect.scoped))

  it.live("a batch that fails, expires or is cancelled fails its calls, and the next call is sent anew", () =>
    Effect.gen(function*() {
      const end = (end: Partial<Made>) =>
        Effect.gen(function*() {
          const server = yield* batches({ end, say: () => "nothing" })
          return yield* using(options(server), yield* store, (model) =>
            Effect.gen(function*() {
              const error = yield* Effect.flip(ask(model, "hi"))
              yield* Effect.flip(ask(model, "hi"))
              assert.strictEqual(server.made.length, 2)
              return error.reason._tag
            }))
        })
      const failed = (code: string) => ({ status: "failed", errors: { data: [{ code, message: "no", line: 1 }] } })
      assert.strictEqual(yield* end(failed("invalid_json_line")), "InvalidRequest")
      assert.strictEqual(yield* end(failed("token_limit_exceeded")), "RateLimited")
      assert.strictEqual(yield* end({ status: "expired" }), "Timeout")
      assert.strictEqual(yield* end({ status: "cancelled" }), "InvalidRequest")
    }).pipe(Effect.scoped))

  it.live("an expired batch still gives the answers that it has, from both of its files", () =>
    Effect.gen(function*() {
      const server = yield* batches({
        end: { status: "expired", output_file_id: "out-file-0", error_file_id: "err-file-0" },
        say: (call) => call.body.messages[0]?.content === "done" ? answered("ok") : "nothing"
      })
      const results = yield* using(options(server), yield* store, (model) =>
        Effect.forEach(["done", "open"], (content) =>
          Effect.either(ask(model, content)), {
          concurrency: "unbounded"
        }))
      assert.deepStrictEqual(Either.getOrUndefined(results[0]!), "ok")
      assert.strictEqual(Either.getOrThrow(Either.flip(results[1]!)).reason._tag, "Timeout")
      const read = server.requests.map(({ path }) =>
        path
      ).filter((path) => path.endsWith("/content"))
      assert.deepStrictEqual(read, ["/v1/files/out-file-0/content", "/v1/files/err-file-0/content"])
    }).pipe(Effect.scoped))

  it.live("a process that is started again finds its batches, and pays for nothing twice", () =>
    Effect.gen(function*() {
      const server = yield* batches({ polls: Infinity })
      const kept = yield* store
      const contents = ["a", "b", "same", "same"]
      // The first process is ended while it waits.
      const first = yield* Effect.fork(using(options(server), kept, (model) => all(model, contents)))
      yield* until(() => server.state.polls > 2)
      yield* Fiber.interrupt(first)
      server.state.done = true
      const texts = yield* using(options(server), kept, (model) => all(model, contents))
      assert.deepStrictEqual(texts, contents.map((content) => `re: ${content}`))
      assert.deepStrictEqual(server.sent(), [contents])
      assert.strictEqual(server.made.length, 1)
      // With the last answer the batch is over: the same call is a new one now.
      yield* using(options(server), kept, (model) => ask(model, "a"))
      assert.strictEqual(server.made.length, 2)
    }).pipe(Effect.scoped))

  it.live("takes up what was left between any two steps, and notes neither prompts nor keys", () =>
    Effect.gen(function*() {
      // A process that ends at the n-th request it makes to the server, wherever that is.
      for (const fatal of [1, 2, 3]) {
        const server = yield* batches({
          intercept: (_request, n) => n === fatal ? [FaultServer.stall] : undefined
        })
        const kept = yield* store
        const first = yield* Effect.fork(using(options(server), kept, (model) => ask(model, "a secret of mine")))
        yield* until(() => server.requests.length > fatal)
        yield* Fiber.interrupt(first)
        const text = yield* using(options(server), kept, (model) => ask(model, "a secret of mine"))
        assert.strictEqual(text, "re: a secret of mine")
        assert.strictEqual(server.files.size, 1, `ended at request ${fatal}`)
        assert.strictEqual(server.made.length, 1, `ended at request ${fatal}`)
      }
      const written: Array<string> = []
      const kept = yield* store
      const watching = KeyValueStore.make({
        ...kept,
        set: (key, value) => Effect.zipRight(Effect.sync(() => written.push(key, String(value))), kept.set(key, value))
      })
      const server = yield* batches()
      yield* using(options(server), watching, (model) => ask(model, "a secret of mine"))
      assert.isAbove(written.length, 0)
      for (const text of written) {
        assert.notInclude(text, "secret")
        assert.notInclude(text, canary)
      }
    }).pipe(Effect.scoped))

  it.live("a batch that was made though nobody heard of it is found by its file", () =>
    Effect.gen(function*() {
      const server: Batches = yield* batches({
        // The batch is made, and the answer lost.
        intercept: (request) => {
          if (request.method !== "POST" || request.path !== "/v1/batches" || server.made.length > 0) return undefined
          server.made.push({ id: "batch-x", input_file_id: request.json.input_file_id, status: "validating" })
          return [FaultServer.rst]
        }
      })
      yield* using(options(server), yield* store, (model) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(ask(model, "hi"))
          assert.isTrue(error.retryable)
          assert.strictEqual(yield* ask(model, "hi"), "re: hi")
        }))
      assert.strictEqual(server.made.length, 1)
      assert.strictEqual(server.files.size, 1)
    }).pipe(Effect.scoped))

  it.live("a caller that leaves while the batch is under way finds its answer when it comes back", () =>
    Effect.gen(function*() {
      const server = yield* batches({ polls: Infinity })
      yield* using(options(server), yield* store, (model) =>
        Effect.gen(function*() {
          const caller = yield* Effect.fork(ask(model, "hi"))
          yield* until(() => server.state.polls > 0)
          yield* Fiber.interrupt(caller)
          server.state.done = true
          assert.strictEqual(yield* ask(model, "hi"), "re: hi")
        }))
      assert.strictEqual(server.made.length, 1)
    }).pipe(Effect.scoped))

  it.live("goes on asking through failures that pass, and gives up when they do not, or when the schedule ends", () =>
    Effect.gen(function*() {
      const isState = (request: FaultServer.Recorded) => request.path.startsWith("/v1/batches/")
      const busy = FaultServer.json(503, { error: { message: "busy" } })
      let failures = 0
      const shaky = yield* batches({ intercept: (request) => isState(request) && failures++ < 5 ? busy : undefined })
      assert.strictEqual(yield* using(options(shaky), yield* store, (model) => ask(model, "hi")), "re: hi")

      const down = yield* batches({ intercept: (request) => isState(request) ? busy : undefined })
      const error = yield* Effect.flip(using(options(down), yield* store, (model) => ask(model, "hi")))
      assert.deepInclude(error, { retryable: true })
      assert.strictEqual(down.requests.filter(isState).length, 10)

      const slow = yield* batches({ polls: Infinity })
      const kept = yield* store
      const hurried = options(slow, { poll: Schedule.intersect(fast, Schedule.recurs(2)) })
      const timeout = yield* Effect.flip(using(hurried, kept, (model) => ask(model, "hi")))
      assert.strictEqual(timeout._tag === "LanguageModelError" ? timeout.reason._tag : timeout._tag, "Timeout")
      assert.strictEqual(slow.state.polls, 3)
      slow.state.done = true
      assert.strictEqual(yield* using(options(slow), kept, (model) => ask(model, "hi")), "re: hi")
      assert.strictEqual(slow.made.length, 1)
    }).pipe(Effect.scoped))

  it.live("a batch that the server has forgotten is sent anew by the next call", () =>
    Effect.gen(function*() {
      const server = yield* batches({ polls: Infinity })
      const kept = yield* store
      const first = yield* Effect.fork(using(options(server), kept, (model) => ask(model, "hi")))
      yield* until(() => server.state.polls > 0)
      yield* Fiber.interrupt(first)
      server.made.splice(0)
      server.state.done = true
      yield* using(options(server), kept, (model) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(ask(model, "hi"))
          assert.strictEqual(error.reason._tag, "NotFound")
          assert.strictEqual(yield* ask(model, "hi"), "re: hi")
        }))
    }).pipe(Effect.scoped))

  it.live("nothing is sent that the server would refuse, and an upload that fails fails its calls", () =>
    Effect.gen(function*() {
      const server = yield* batches({
        intercept: (request) => request.path === "/v1/files" ? FaultServer.json(401, { error: {} }) : undefined
      })
      yield* using(options(server, { dialect: "groq" }), yield* store, (model) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(model.generate(asking("hi", { n: 2 })))
          assert.deepInclude(error, { attempts: 0 })
          assert.strictEqual(error.reason._tag, "InvalidRequest")
          assert.strictEqual(server.requests.length, 0)
          const errors = yield* Effect.forEach(["a", "b"], (content) => Effect.flip(ask(model, content)), {
            concurrency: "unbounded"
          })
          assert.deepStrictEqual(errors.map(({ reason }) => reason._tag), ["Authentication", "Authentication"])
          assert.strictEqual(server.requests.length, 1)
        }))
    }).pipe(Effect.scoped))

  it.live("notes that cannot be read are an error, since nobody knows what was paid for", () =>
    Effect.gen(function*() {
      const server = yield* batches()
      const kept = yield* store
      const broken = KeyValueStore.make({ ...kept, get: () => Effect.succeedSome("[{\"file\":1}]") })
      const error = yield* Effect.flip(using(options(server), broken, () => Effect.void))
      assert.strictEqual(error._tag, "BatchError")
    }).pipe(Effect.scoped))

  it.live("closing the model ends everything that it does", () =>
    Effect.gen(function*() {
      const server = yield* batches({ polls: Infinity })
      const kept = yield* store
      const scope = yield* Scope.make()
      const model = yield* Batch.make(options(server)).pipe(
        Scope.extend(scope),
        Effect.provideService(KeyValueStore.KeyValueStore, kept)
      )
      const caller = yield* Effect.fork(ask(model, "hi"))
      yield* until(() => server.state.polls > 0)
      yield* Scope.close(scope, Exit.void)
      const polls = server.state.polls
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(caller)))
      yield* Effect.sleep("50 millis")
      assert.isAtMost(server.state.polls, polls + 1)
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))
})
