/**
 * The modules of a `Server` for clients that know OpenAI's chat completions: each
 * is a model of its own name, so that any of these clients can call a program as
 * it calls a model.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Signature from "@effect-dspy/core/Signature"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as input from "./internal/serving/input.ts"
import { newId } from "./internal/serving/newId.ts"
import type * as Protocol from "./Protocol.ts"
import * as Server from "./Server.ts"
import * as ServingError from "./ServingError.ts"

// =============================================================================
// What is asked
// =============================================================================

const Message = Schema.Struct({
  role: Schema.String,
  content: Schema.optional(Schema.NullOr(Schema.Union(
    Schema.String,
    Schema.Array(Schema.Struct({ type: Schema.String, text: Schema.optional(Schema.String) }))
  )))
})

type Message = typeof Message.Type

const Request = Schema.Struct({
  model: Schema.String,
  messages: Schema.Array(Message),
  stream: Schema.optional(Schema.NullOr(Schema.Boolean)),
  stream_options: Schema.optional(Schema.NullOr(Schema.Struct({
    include_usage: Schema.optional(Schema.NullOr(Schema.Boolean))
  }))),
  response_format: Schema.optional(Schema.NullOr(Schema.Struct({ type: Schema.String }))),
  n: Schema.optional(Schema.NullOr(Schema.Int)),
  tools: Schema.optional(Schema.NullOr(Schema.Array(Schema.Unknown)))
})

const decodeRequest = Schema.decodeUnknown(Request)

const textOf = ({ content }: Message): Effect.Effect<string, ServingError.ServingError> => {
  if (typeof content === "string") return Effect.succeed(content)
  const parts = content ?? []
  return parts.every((part) => part.type === "text" && part.text !== undefined)
    ? Effect.succeed(parts.map((part) => part.text).join(""))
    : ServingError.make("BadRequest", "messages of text only are understood here")
}

// =============================================================================
// From messages to an input
// =============================================================================

interface Model {
  readonly module: Server.ServedModule
  /** The one input that is a text, if there is no other beside the history. */
  readonly textInput: string | undefined
  readonly hasHistory: boolean
  /** The one output that is the answer; `undefined` where it takes all of them. */
  readonly answer: string | undefined
  /** Where the answer is written. */
  readonly path: string | undefined
}

const fieldsOf = (schema: Schema.Schema.AnyNoContext): ReadonlyArray<AST.PropertySignature> =>
  AST.getPropertySignatures(AST.encodedAST(schema.ast))

const modelOf = (module: Server.ServedModule): Model => {
  const inputs = fieldsOf(module.contract.input)
  const others = inputs.filter(({ name }) => name !== "history")
  const outputs = fieldsOf(module.contract.output).filter(({ name }) => name !== "reasoning")
  const [first] = others
  const answer = outputs.length === 1 ? String(outputs[0]!.name) : undefined // there is one
  const last = module.predictors.at(-1)
  return {
    module,
    textInput: first !== undefined && others.length === 1 && AST.isStringKeyword(first.type)
      ? String(first.name)
      : undefined,
    hasHistory: others.length < inputs.length,
    answer,
    path: last !== undefined && answer !== undefined && outputs[0] !== undefined &&
        AST.isStringKeyword(outputs[0].type) &&
        Signature.fields(last.signature).outputs.some(({ name, type }) => name === answer && type === "string")
      ? last.path
      : undefined
  }
}

const jsonObject = (text: string): Effect.Effect<{ readonly [name: string]: unknown }, ServingError.ServingError> =>
  Effect.flatMap(
    Effect.mapError(input.parse(text), (error) =>
      ServingError.make(
        "InvalidInput",
        `this model has other inputs than one text: the last message has to be them as JSON (${error.description})`
      )),
    (value) =>
      Predicate.isRecord(value)
        ? Effect.succeed(value)
        : ServingError.make("InvalidInput", "the last message has to be a JSON object")
  )

// Turns of a conversation, as what was asked and what was answered.
const historyOf = (
  { answer, textInput }: Model,
  messages: ReadonlyArray<Message>
): Effect.Effect<ReadonlyArray<unknown>, ServingError.ServingError> =>
  Effect.gen(function*() {
    const turns: Array<unknown> = []
    let asked: Record<string, unknown> | undefined
    for (const message of messages) {
      const text = yield* textOf(message)
      if (message.role === "user") {
        asked = textInput === undefined ? { ...yield* jsonObject(text) } : { [textInput]: text }
      } else if (message.role === "assistant" && asked !== undefined) {
        turns.push({ ...asked, ...(answer === undefined ? yield* jsonObject(text) : { [answer]: text }) })
        asked = undefined
      }
    }
    return turns
  })

const inputOf = (
  model: Model,
  messages: ReadonlyArray<Message>
): Effect.Effect<unknown, ServingError.ServingError> =>
  Effect.gen(function*() {
    const at = messages.findLastIndex(({ role }) => role === "user")
    const last = messages[at]
    if (last === undefined) return yield* ServingError.make("BadRequest", "there is no message of a user")
    const text = yield* textOf(last)
    return {
      ...(model.textInput === undefined ? yield* jsonObject(text) : { [model.textInput]: text }),
      ...(model.hasHistory ? { history: yield* historyOf(model, messages.slice(0, at)) } : {})
    }
  })

// =============================================================================
// From events to an answer
// =============================================================================

const asText = (value: Json.Json | undefined): string =>
  typeof value === "string" ? value : JSON.stringify(value ?? null)

// One run, as far as it has come.
class Answer {
  text = ""
  reasoning = ""
  finish: "stop" | "length" | "content_filter" | undefined
  refusal: string | undefined
  usage: LanguageModel.Usage = {}
  #call: number | undefined
  readonly model: Model
  readonly isJson: boolean

  constructor(model: Model, isJson: boolean) {
    this.model = model
    this.isJson = isJson
  }

  /** What is to be said now; what was said before cannot be taken back. */
  take(event: Protocol.Event): { readonly text: string } | ServingError.ServingError {
    const { path } = this.model
    const said = this.text
    switch (event._tag) {
      case "UsageReported":
        if (!event.cached) this.usage = LanguageModel.addUsage(this.usage, event.usage)
        break
      case "FieldDelta":
        if (this.isJson || event.path !== path || event.field !== this.model.answer) break
        this.#call ??= event.call
        if (event.call === this.#call) this.text += event.text
        break
      case "Reset":
        if (event.call === this.#call && this.text !== "") return began
        break
      case "Discarded":
        if (this.#call !== undefined && event.calls.includes(this.#call) && this.text !== "") return began
        break
      case "Result":
        return this.#end(event.value)
      case "Failed":
        if (event.error.cause === "OutputTruncated") this.finish = "length"
        else if (event.error.reason === "Refused") {
          this.finish = "content_filter"
          this.refusal = event.error.description
        } else return event.error
    }
    return { text: this.text.slice(said.length) }
  }

  /** What nobody has seen can be taken back. */
  forget(): void {
    this.text = ""
  }

  #end(value: Json.Json): { readonly text: string } | ServingError.ServingError {
    const { answer } = this.model
    const outputs = value as Json.JsonRecord // what a record is encoded to
    const whole = this.isJson || answer === undefined ? JSON.stringify(outputs) : asText(outputs[answer])
    if (!this.isJson && outputs["reasoning"] !== undefined) this.reasoning = asText(outputs["reasoning"])
    if (!whole.startsWith(this.text)) return began
    const rest = whole.slice(this.text.length)
    this.text = whole
    this.finish = "stop"
    return { text: rest }
  }

  get usageJson(): Json.JsonRecord {
    const { inputTokens = 0, outputTokens = 0 } = this.usage
    return { prompt_tokens: inputTokens, completion_tokens: outputTokens, total_tokens: inputTokens + outputTokens }
  }
}

const began = ServingError.make("NoAnswer", "the answer began anew after some of it had been given; ask again", {
  retryable: true
})

// =============================================================================
// Routes
// =============================================================================

const kinds: { readonly [R in ServingError.Reason]?: { readonly status?: number; readonly type: string } } = {
  Unauthorized: { type: "authentication_error" },
  Forbidden: { type: "permission_error" },
  InvalidInput: { status: 400, type: "invalid_request_error" },
  Refused: { status: 400, type: "invalid_request_error" },
  Busy: { type: "rate_limit_error" }
}

const errorOf = (error: ServingError.ServingError): Json.JsonRecord => ({
  error: {
    message: error.message,
    type: kinds[error.reason]?.type ?? (error.status < 500 ? "invalid_request_error" : "server_error"),
    param: null,
    code: error.reason.replace(/(?<=[a-z])[A-Z]/g, "_$&").toLowerCase()
  }
})

const failure = (error: ServingError.ServingError): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(errorOf(error), {
    status: kinds[error.reason]?.status ?? error.status,
    ...(error.retryAfter === undefined
      ? {}
      : { headers: { "retry-after": String(Math.ceil(error.retryAfter / 1000)) } })
  })

const encoder = new TextEncoder()
const line = (json: Json.JsonRecord): string => `data: ${JSON.stringify(json)}\n\n`

interface Head {
  readonly id: string
  readonly created: number
  readonly model: string
}

const whole = (
  head: Head,
  answer: Answer,
  events: Stream.Stream<Protocol.Numbered, ServingError.ServingError>
): Effect.Effect<HttpServerResponse.HttpServerResponse, ServingError.ServingError> =>
  Effect.map(
    Stream.runForEach(events, ({ event }) => {
      if (event._tag === "Reset" || event._tag === "Discarded") answer.forget()
      const taken = answer.take(event)
      return "text" in taken ? Effect.void : taken
    }),
    () =>
      HttpServerResponse.unsafeJson({
        ...head,
        object: "chat.completion",
        choices: [{
          index: 0,
          message: {
            role: "assistant",
            content: answer.refusal === undefined ? answer.text : null,
            refusal: answer.refusal ?? null,
            ...(answer.reasoning === "" ? {} : { reasoning_content: answer.reasoning })
          },
          logprobs: null,
          finish_reason: answer.finish
        }],
        usage: answer.usageJson
      })
  )

const inChunks = (
  head: Head,
  answer: Answer,
  events: Stream.Stream<Protocol.Numbered, ServingError.ServingError>,
  withUsage: boolean
): Effect.Effect<HttpServerResponse.HttpServerResponse, ServingError.ServingError, Scope.Scope> => {
  const chunk = (delta: Json.JsonRecord, finish: string | null = null): string =>
    line({
      ...head,
      object: "chat.completion.chunk",
      choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
      ...(withUsage ? { usage: null } : {})
    })
  const texts = Stream.mapEffect(events, ({ event }) => {
    const taken = answer.take(event)
    if (!("text" in taken)) return taken
    let text = taken.text === "" ? "" : chunk({ content: taken.text })
    if (answer.finish !== undefined) {
      if (answer.reasoning !== "") text = chunk({ reasoning_content: answer.reasoning }) + text
      if (answer.refusal !== undefined) text += chunk({ refusal: answer.refusal })
      text += chunk({}, answer.finish)
      if (withUsage) text += line({ ...head, object: "chat.completion.chunk", choices: [], usage: answer.usageJson })
      text += "data: [DONE]\n\n"
    }
    return Effect.succeed(text)
  })
  return Effect.gen(function*() {
    const pull = yield* Stream.toPull(Stream.filter(texts, (text) => text !== ""))
    // What fails before anything was said is answered with its status.
    const first = yield* Effect.catchAll(
      Effect.repeat(pull, { until: Chunk.isNonEmpty }),
      (end) => Option.isNone(end) ? Effect.succeed(Chunk.empty()) : end.value
    )
    return HttpServerResponse.stream(
      Stream.fromChunk(Chunk.prepend(first, chunk({ role: "assistant", content: "" }))).pipe(
        Stream.concat(Stream.repeatEffectChunkOption(pull)),
        Stream.catchAll((error) => Stream.succeed(line(errorOf(error)))),
        Stream.map((text) => encoder.encode(text))
      ),
      { contentType: "text/event-stream" }
    )
  })
}

const modelJson = (name: string): Json.JsonRecord => ({
  id: name,
  object: "model",
  created: 0,
  owned_by: "effect-dspy"
})

/**
 * `POST /v1/chat/completions`, streamed or not, `GET /v1/models` and
 * `GET /v1/models/:model`, under the rules of the server.
 *
 * - `model` is the name of a module.
 * - A module with one input, a text, gets the last message of the user. One with
 *   other inputs gets that message as JSON of them.
 * - An input `history` gets what was said before: a record of inputs and outputs
 *   for each turn.
 * - Messages of the system are not passed on, nor are settings such as the
 *   temperature: a program has its own. `tools` and more than one choice are
 *   refused.
 * - A module with one output answers with it, as it is written where it is a text;
 *   `reasoning` comes as `reasoning_content`. With several, or with a
 *   `response_format` of JSON, the answer is JSON of all of them, all at once.
 * - An answer that is cut off by its token limit has the `finish_reason` `length`,
 *   one that is declined `content_filter`. Errors have OpenAI's shape.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as OpenAiServer from "@effect-dspy/streaming/OpenAiServer"
 * import * as Server from "@effect-dspy/streaming/Server"
 * import { HttpLayerRouter, HttpServer } from "@effect/platform"
 * import { Layer } from "effect"
 *
 * const app = OpenAiServer.routes.pipe(
 *   Layer.provide(Server.layer({ modules: { qa: Predict.make("question -> answer") } })),
 *   Layer.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "Ada" })])),
 *   Layer.provide(HttpServer.layerContext)
 * )
 *
 * const { dispose, handler } = HttpLayerRouter.toWebHandler(app, { disableLogger: true })
 * const request = new Request("http://localhost/v1/chat/completions", {
 *   method: "POST",
 *   headers: { host: "localhost" },
 *   body: JSON.stringify({ model: "qa", messages: [{ role: "user", content: "Who was first?" }] })
 * })
 *
 * handler(request).then((response) => response.json()).then((completion) => {
 *   assert.strictEqual(completion.choices[0].message.content, "Ada")
 *   return dispose()
 * })
 * ```
 *
 * @since 0.1.0
 * @category routes
 */
export const routes: Layer.Layer<never, never, Server.Server | HttpLayerRouter.HttpRouter> = HttpLayerRouter.use((
  router
) =>
  Effect.gen(function*() {
    const server = yield* Server.Server
    const models = new Map(server.modules.map((module) => [module.name, modelOf(module)]))
    const modelNamed = (name: string): Effect.Effect<Model, ServingError.ServingError> => {
      const model = models.get(name)
      return model === undefined
        ? ServingError.make("NotFound", `there is no such model; there are: ${Array.from(models.keys()).join(", ")}`)
        : Effect.succeed(model)
    }
    const route = (
      method: "GET" | "POST",
      path: HttpLayerRouter.PathInput,
      handler: Parameters<typeof Server.guarded<HttpLayerRouter.Provided>>[0]
    ) => router.add(method, path, Effect.provideService(Server.guarded(handler, failure), Server.Server, server))

    yield* route("POST", "/v1/chat/completions", (principal, request) =>
      Effect.gen(function*() {
        const asked = yield* Effect.flatMap(
          server.body(request),
          (body) => Effect.mapError(decodeRequest(body), ServingError.invalidInput)
        )
        if ((asked.n ?? 1) !== 1 || (asked.tools ?? []).length > 0) {
          return yield* ServingError.make(
            "BadRequest",
            "a program answers once, and has its own tools: leave out `n` and `tools`"
          )
        }
        const model = yield* modelNamed(asked.model)
        const given = yield* inputOf(model, asked.messages)
        const head = {
          id: `chatcmpl-${yield* newId}`,
          created: Math.floor((yield* Clock.currentTimeMillis) / 1000),
          model: asked.model
        }
        const format = asked.response_format?.type ?? "text"
        const answer = new Answer(model, format !== "text")
        const events = server.stream({ module: asked.model, input: given, id: head.id }, principal)
        return asked.stream === true
          ? yield* inChunks(head, answer, events, asked.stream_options?.include_usage === true)
          : yield* whole(head, answer, events)
      }))
    yield* route("GET", "/v1/models", () =>
      Effect.succeed(HttpServerResponse.unsafeJson({
        object: "list",
        data: Array.from(models.keys(), modelJson)
      })))
    yield* route("GET", "/v1/models/:model", () =>
      Effect.gen(function*() {
        const { model = "" } = yield* HttpLayerRouter.params
        yield* modelNamed(model)
        return HttpServerResponse.unsafeJson(modelJson(model))
      }))
  })
)
