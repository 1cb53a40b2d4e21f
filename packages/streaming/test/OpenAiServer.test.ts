import * as BestOfN from "@effect-dspy/core/BestOfN"
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as History from "@effect-dspy/core/History"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as OpenAiServer from "@effect-dspy/streaming/OpenAiServer"
import * as Server from "@effect-dspy/streaming/Server"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import OpenAI, { type APIError, AuthenticationError, BadRequestError, NotFoundError } from "openai"
import { numbered, start, until, writes } from "./serving.ts"

const answer = Predict.make("question -> answer")
const triage = Predict.make("ticket, urgent: boolean -> team, hours: int")
const think = ChainOfThought.make("question -> answer")
const chat = Predict.make(Signature.parse("question -> answer").pipe(History.prepend))

const app = Layer.merge(Server.routes, OpenAiServer.routes)
const token = "a-long-secret-of-the-server"

const serve = <const M extends Server.Modules>(options: Server.Options<M>) =>
  Effect.map(
    start({ auth: Redacted.make(token), ...options }, app),
    ({ url }) => new OpenAI({ apiKey: token, baseURL: `${url}/v1`, maxRetries: 0 })
  )

const user = (content: string) => ({ role: "user" as const, content })

const collected = (stream: AsyncIterable<OpenAI.ChatCompletionChunk>) =>
  Effect.promise(async () => {
    const chunks: Array<OpenAI.ChatCompletionChunk> = []
    for await (const chunk of stream) chunks.push(chunk)
    return chunks
  })

const textOf = (chunks: ReadonlyArray<OpenAI.ChatCompletionChunk>): string =>
  chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")

const failed = (self: Promise<unknown>): Effect.Effect<APIError> =>
  Effect.promise(() => self.then(() => assert.fail("it should have failed"), (error) => error))

describe("the official client", () => {
  it.scopedLive("gets the answer of a module, and what it cost", () => {
    const model = writes(["Ada ", "Lovelace"])
    return Effect.gen(function*() {
      const client = yield* serve({ modules: { answer } })
      const completion = yield* Effect.promise(() =>
        client.chat.completions.create({ model: "answer", messages: [user("Who?")] })
      )
      assert.deepStrictEqual(completion.choices, [{
        index: 0,
        message: { role: "assistant", content: "Ada Lovelace", refusal: null },
        logprobs: null,
        finish_reason: "stop"
      }])
      assert.deepStrictEqual(completion.usage, { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 })
      assert.deepStrictEqual([completion.object, completion.model], ["chat.completion", "answer"])
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("gets it word by word, as it is written", () => {
    const words = numbered(20)
    let isRead = false
    const model = writes(words, (n) => n === 10 ? Effect.suspend(() => until(() => isRead)) : Effect.void)
    return Effect.gen(function*() {
      const client = yield* serve({ modules: { answer } })
      const stream = yield* Effect.promise(() =>
        client.chat.completions.create({
          model: "answer",
          messages: [user("Who?")],
          stream: true,
          stream_options: { include_usage: true }
        })
      )
      const chunks: Array<OpenAI.ChatCompletionChunk> = []
      yield* Effect.promise(async () => {
        for await (const chunk of stream) {
          chunks.push(chunk)
          // The model goes on only when some of it has arrived.
          if (textOf(chunks).includes("w5")) isRead = true
        }
      })
      assert.strictEqual(textOf(chunks), words.join("").trim())
      assert.isAbove(chunks.length, 10)
      assert.deepStrictEqual(chunks[0]?.choices[0]?.delta, { role: "assistant", content: "" })
      assert.deepStrictEqual(
        chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter((reason) => reason !== null),
        [
          "stop",
          undefined
        ]
      )
      assert.deepStrictEqual(chunks.at(-1)?.usage, { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 })
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("sends what a module takes, and gets all it returns", () =>
    Effect.gen(function*() {
      const client = yield* serve({ modules: { triage, think } })
      const create = (model: string, content: string, format: "text" | "json_object" = "text") =>
        Effect.promise(() =>
          client.chat.completions.create({ model, messages: [user(content)], response_format: { type: format } })
        ).pipe(Effect.map((completion) => completion.choices[0]!.message))
      const ticket = JSON.stringify({ ticket: "No heating", urgent: true })
      assert.strictEqual((yield* create("triage", ticket)).content, `{"team":"care","hours":2}`)
      assert.deepStrictEqual(yield* create("think", "Who?"), {
        role: "assistant",
        content: "Ada",
        refusal: null,
        reasoning_content: "The first one."
      } as OpenAI.ChatCompletionMessage)
      assert.strictEqual(
        (yield* create("think", "Who?", "json_object")).content,
        `{"reasoning":"The first one.","answer":"Ada"}`
      )
      const chunks = yield* Effect.flatMap(
        Effect.promise(() =>
          client.chat.completions.create({ model: "think", messages: [user("Who?")], stream: true })
        ),
        collected
      )
      assert.strictEqual(textOf(chunks), "Ada")
      const error = yield* failed(client.chat.completions.create({ model: "triage", messages: [user("No heating")] }))
      assert.instanceOf(error, BadRequestError)
      assert.match(error.message, /has to be them as JSON/)
    }).pipe(Effect.provide(TestLanguageModel.layer((request: LanguageModel.Request) =>
      JSON.stringify(request.messages).includes("team")
        ? TestLanguageModel.fields({ team: "care", hours: 2 })
        : TestLanguageModel.fields({ reasoning: "The first one.", answer: "Ada" })
    ))))

  it.scopedLive("has a conversation with a module that takes a history", () =>
    Effect.gen(function*() {
      const client = yield* serve({ modules: { chat } })
      yield* Effect.promise(() =>
        client.chat.completions.create({
          model: "chat",
          messages: [
            { role: "system", content: "Be brief." },
            user("Who was first?"),
            { role: "assistant", content: "Lovelace" },
            { role: "user", content: [{ type: "text", text: "When?" }] }
          ]
        })
      )
      const [request] = yield* TestLanguageModel.requests
      const said = request!.messages.map(({ content, role }) => [role, JSON.stringify(content)] as const)
      assert.deepStrictEqual(said.map(([role]) => role), ["system", "user", "assistant", "user"])
      assert.include(said[1]![1], "Who was first?")
      assert.include(said[2]![1], "Lovelace")
      assert.include(said[3]![1], "When?")
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "In 1843" })]))))

  it.scopedLive("lists the modules as models", () =>
    Effect.gen(function*() {
      const client = yield* serve({ modules: { answer, triage } })
      const models = yield* Effect.promise(() => client.models.list())
      assert.deepStrictEqual(models.data.map(({ id }) => id), ["answer", "triage"])
      assert.strictEqual((yield* Effect.promise(() => client.models.retrieve("triage"))).id, "triage")
      assert.instanceOf(yield* failed(client.models.retrieve("none")), NotFoundError)
    }).pipe(Effect.provide(TestLanguageModel.layer([]))))

  it.scopedLive("is told of errors in its own words", () => {
    const script = [
      TestLanguageModel.fail("Overloaded"),
      TestLanguageModel.fail("Overloaded"),
      TestLanguageModel.text("nonsense"),
      TestLanguageModel.text("nonsense")
    ]
    return Effect.gen(function*() {
      const client = yield* serve({ modules: { answer }, limits: { body: 2000 } })
      const create = (model: string, content = "Who?", more: object = {}) =>
        failed(client.chat.completions.create({ model, messages: [user(content)], ...more }))
      const overloaded = yield* create("answer")
      assert.deepStrictEqual([overloaded.status, overloaded.type, overloaded.code], [
        502,
        "server_error",
        "model_failed"
      ])
      // Before anything was said, also a stream has a status.
      assert.strictEqual((yield* create("answer", "Who?", { stream: true })).status, 502)
      assert.deepStrictEqual((yield* create("answer")).code, "no_answer")
      assert.instanceOf(yield* create("none"), NotFoundError)
      assert.instanceOf(yield* create("answer", "Who?", { n: 2 }), BadRequestError)
      assert.instanceOf(
        yield* create("answer", "Who?", { tools: [{ type: "function", function: { name: "f" } }] }),
        BadRequestError
      )
      assert.instanceOf(yield* create("answer", "Who?", { messages: [] }), BadRequestError)
      assert.strictEqual((yield* create("answer", "a".repeat(3000))).status, 413)
      const stranger = new OpenAI({ apiKey: "wrong", baseURL: client.baseURL, maxRetries: 0 })
      assert.instanceOf(yield* failed(stranger.models.list()), AuthenticationError)
    }).pipe(Effect.provide(TestLanguageModel.layer(script)))
  })

  it.scopedLive("sees answers that are cut off, and those that are declined", () =>
    Effect.gen(function*() {
      const client = yield* serve({ modules: { answer } })
      const create = Effect.promise(() => client.chat.completions.create({ model: "answer", messages: [user("Who?")] }))
        .pipe(Effect.map((completion) => completion.choices[0]!))
      const cut = yield* create
      assert.strictEqual(cut.finish_reason, "length")
      assert.strictEqual(cut.message.content?.startsWith("Ada Love"), true)
      const declined = yield* create
      assert.deepStrictEqual(
        [declined.finish_reason, declined.message.content, declined.message.refusal],
        ["content_filter", null, "the model declined to answer"]
      )
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.text("[[ ## answer ## ]]\nAda Love").pipe(TestLanguageModel.finish("length")),
      TestLanguageModel.text("I cannot help with that.").pipe(TestLanguageModel.finish("refusal"))
    ]))))

  it.scopedLive("stops the model when it aborts", () => {
    const model = writes(numbered(100), (n) => n < 10 ? Effect.void : Effect.never)
    return Effect.gen(function*() {
      const client = yield* serve({ modules: { answer } })
      const fiber = yield* Effect.fork(Effect.promise(async (signal) => {
        const stream = await client.chat.completions.create(
          { model: "answer", messages: [user("Who?")], stream: true },
          { signal }
        )
        for await (const chunk of stream) assert.isString(chunk.id)
      }))
      yield* until(() => model.counts.words > 10)
      yield* Fiber.interrupt(fiber)
      yield* until(() => model.counts.open === 0)
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("gets the best of several attempts, and hears when what it was told is void", () => {
    const best = BestOfN.make(answer, {
      n: 2,
      threshold: 1,
      reward: (_, { answer }) => Effect.succeed(answer === "good" ? 1 : 0)
    })
    const modules = { best: Server.endpoint(Signature.parse("question -> answer"), best) }
    const script = ["bad", "good", "bad", "good"].map((answer) => TestLanguageModel.fields({ answer }))
    return Effect.gen(function*() {
      const client = yield* serve({ modules })
      const completion = yield* Effect.promise(() =>
        client.chat.completions.create({ model: "best", messages: [user("Who?")] })
      )
      assert.strictEqual(completion.choices[0]?.message.content, "good")
      const stream = yield* Effect.promise(() =>
        client.chat.completions.create({ model: "best", messages: [user("Who?")], stream: true })
      )
      const error = yield* failed((async () => {
        for await (const chunk of stream) assert.isString(chunk.id)
      })())
      assert.match(error.message, /began anew/)
    }).pipe(Effect.provide(TestLanguageModel.layer(script)))
  })
})
