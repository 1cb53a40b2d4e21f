/**
 * Model calls by the batch API of OpenAI (`/v1/files`, `/v1/batches`), which
 * costs half and takes minutes to a day. It is a model like any other: calls
 * that are made within a short time travel together in one file, and each gets
 * its answer when the batch is done.
 *
 * What was sent is noted in a `KeyValueStore`. A process that ends while it waits
 * may be started again: the calls it repeats find their batch, and nothing is
 * paid twice.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Bounds from "./Bounds.ts"
import * as answer from "./internal/answer.ts"
import * as chat from "./internal/chatCompletions.ts"
import * as document from "./internal/document.ts"
import * as exchange from "./internal/exchange.ts"
import { failure } from "./internal/failure.ts"
import * as fault from "./internal/fault.ts"
import * as upload from "./internal/upload.ts"
import { isObject, isText } from "./internal/wire.ts"
import * as OpenAiCompatible from "./OpenAiCompatible.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * Which model, where, and how calls travel.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends OpenAiCompatible.Options {
  /** How long the first call waits for others; default 1 second. */
  readonly window?: Duration.DurationInput | undefined
  /** The most calls in one batch; default 1000. As many are taken at once, so that batches of a program fill them. */
  readonly maxCalls?: number | undefined
  /**
   * When to ask whether a batch is done, by its status; default is after 5
   * seconds, then half as long again each time, up to a minute. A schedule that
   * ends gives the waiting up, with `Timeout`.
   */
  readonly poll?: Schedule.Schedule<unknown, string> | undefined
}

/**
 * The notes on earlier batches cannot be read, so that it is not known what was
 * paid for.
 *
 * @since 0.1.0
 * @category errors
 */
export class BatchError extends Schema.TaggedError<BatchError>("@effect-dspy/providers/Batch/BatchError")(
  "BatchError",
  { model: Schema.String, description: Schema.String }
) {
  override get message(): string {
    return `Batch ${this.model}: ${this.description}`
  }
}

const everyMinute: Schedule.Schedule<unknown, string> = Schedule.union(
  Schedule.exponential("5 seconds", 1.5),
  Schedule.spaced("1 minute")
)

// The limit of a file is 200 MB.
const maxFile = 100 * 1024 * 1024

// Results are kept for 30 days.
const forgotten = Duration.toMillis("30 days")

// How often asking for the status may fail in a row.
const patience = 10

// =============================================================================
// What is noted
// =============================================================================

// The file that was sent, the batch it became, and the calls in it. A file without a batch was sent by a process
// that ended before it knew whether there is one.
const Note = Schema.Struct({
  file: Schema.String,
  batch: Schema.optional(Schema.String),
  calls: Schema.Array(Schema.String),
  time: Schema.Finite
})

const Notes = Schema.Array(Note)

interface Job {
  readonly file: string
  batch: string | undefined
  /** Whether the server may have made a batch of the file already. */
  asked: boolean
  readonly calls: ReadonlySet<string>
  /** How many of its calls nobody has had the answer of. */
  open: number
  readonly time: number
  answers: Deferred.Deferred<Answers, LanguageModelError.LanguageModelError> | undefined
}

interface Waiting {
  readonly call: string
  readonly line: string
  readonly job: Deferred.Deferred<Job, LanguageModelError.LanguageModelError>
}

// =============================================================================
// The model
// =============================================================================

/**
 * A model behind the batch API of a server that speaks OpenAI's protocol.
 *
 * Calls are told apart by what they ask, so that the same program, run again,
 * makes the same calls. A call that is interrupted before its batch is sent is
 * taken out; later the batch goes on, and whoever makes the same call again gets
 * its answer. Batches are never cancelled. Put no `Timeouts` around it: how long
 * to wait is a matter of `poll`.
 *
 * Answers and failures are those of single calls; a call that the batch did not
 * come to in time fails with `Timeout`, and can be retried. What a batch costs is
 * not what `Prices` have for the model: give the `id` a price of its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  LanguageModel.Service,
  BatchError,
  HttpClient.HttpClient | KeyValueStore.KeyValueStore | Scope.Scope
> =>
  Effect.gen(function*() {
    const { maxCalls = 1000, poll = everyMinute, window = "1 second" } = options
    const single = yield* OpenAiCompatible.make(options)
    const server = yield* serverOf(options, single)
    const scope = yield* Effect.scope

    const store = (yield* KeyValueStore.KeyValueStore).forSchema(Notes)
    const key = `effect-dspy-batches-${Json.hash([single.id, single.endpoint])}`
    const notes = yield* store.get(key).pipe(
      Effect.mapError((error) => new BatchError({ model: single.id, description: error.message }))
    )
    const now = yield* Clock.currentTimeMillis

    // The jobs by their calls, for as long as nobody has had the answer.
    const jobs = new Map<string, Job>()
    const enter = (fields: Pick<Job, "file" | "batch" | "asked" | "calls" | "time">): Job => {
      const job: Job = { ...fields, open: fields.calls.size, answers: undefined }
      for (const call of job.calls) jobs.set(call, job)
      return job
    }
    for (const { batch, calls, file, time } of Option.getOrElse(notes, () => [])) {
      if (now - time < forgotten) enter({ file, batch, asked: true, calls: new Set(calls), time })
    }

    const lock = yield* Effect.makeSemaphore(1)
    const save = lock.withPermits(1)(
      Effect.suspend(() =>
        store.set(
          key,
          Array.from(new Set(jobs.values()), ({ batch, calls, file, time }) => ({
            file,
            ...(batch === undefined ? undefined : { batch }),
            calls: Array.from(calls),
            time
          }))
        )
      )
    ).pipe(
      // The answers come all the same, as long as this process lasts.
      Effect.catchAll((error) => Effect.logError(`the batches of ${single.id} could not be noted`, error))
    )
    const forget = (job: Job) =>
      Effect.suspend(() => {
        for (const call of job.calls) jobs.delete(call)
        return save
      })

    const run = (job: Job): Effect.Effect<Answers, LanguageModelError.LanguageModelError> =>
      Effect.gen(function*() {
        if (job.batch === undefined) {
          const known = job.asked ? yield* server.find(job.file) : undefined
          job.asked = true
          job.batch = known ?? (yield* server.create(job.file))
          yield* save
        }
        return yield* server.read(yield* settled(job.batch))
      })

    // Asks until the batch has ended.
    const settled = (batch: string) =>
      Effect.gen(function*() {
        const driver = yield* Schedule.driver(poll)
        let failures = 0
        for (;;) {
          const state = yield* Effect.either(server.state(batch))
          if (Either.isRight(state) && ended.has(state.right.status)) return state.right
          if (Either.isLeft(state) && (!state.left.retryable || ++failures === patience)) return yield* state.left
          if (Either.isRight(state)) failures = 0
          yield* Effect.mapError(
            driver.next(Either.isRight(state) ? state.right.status : "unknown"),
            () => failure(single.id, expired)
          )
        }
      })

    // All calls of a job wait for one and the same run. What failed can be tried again.
    const answersOf = (job: Job): Effect.Effect<Answers, LanguageModelError.LanguageModelError> =>
      Effect.suspend(() => {
        if (job.answers !== undefined) return Deferred.await(job.answers)
        const answers = Deferred.unsafeMake<Answers, LanguageModelError.LanguageModelError>(FiberId.none)
        job.answers = answers
        return run(job).pipe(
          Effect.tapError((error) => {
            job.answers = undefined
            // The server knows nothing of it any more.
            return error.reason._tag === "NotFound" ? forget(job) : Effect.void
          }),
          Effect.intoDeferred(answers),
          Effect.forkIn(scope),
          Effect.zipRight(Deferred.await(answers))
        )
      })

    let queue: Array<Waiting> = []
    let size = 0
    const underWay = new Map<string, Waiting>()
    // Takes what waits, at once, and sends it.
    const flush = () => {
      const sent = queue
      queue = []
      size = 0
      for (const waiting of sent) underWay.set(waiting.call, waiting)
      return server.upload(sent.map(({ line }) => `${line}\n`).join("")).pipe(
        Effect.zip(Clock.currentTimeMillis),
        Effect.flatMap(([file, time]) => {
          const calls = new Set(sent.map(({ call }) => call))
          const job = enter({ file, batch: undefined, asked: false, calls, time })
          // Noted first: should this process end now, the next one asks what has become of the file.
          return Effect.as(save, job)
        }),
        Effect.exit,
        Effect.flatMap((exit) =>
          Effect.forEach(sent, ({ call, job }) => {
            underWay.delete(call)
            return Deferred.done(job, exit)
          }, { discard: true })
        ),
        Effect.forkIn(scope)
      )
    }
    const queued = (call: string, line: string): Effect.Effect<Job, LanguageModelError.LanguageModelError> =>
      Effect.gen(function*() {
        const waiting = { call, line, job: yield* Deferred.make<Job, LanguageModelError.LanguageModelError>() }
        if (queue.length > 0 && size + line.length > maxFile) yield* flush()
        const mine = queue
        mine.push(waiting)
        size += line.length
        if (mine.length === maxCalls) yield* flush()
        else if (mine.length === 1) {
          yield* Effect.suspend(() => queue === mine && mine.length > 0 ? flush() : Effect.void).pipe(
            Effect.delay(window),
            Effect.forkIn(scope)
          )
        }
        return yield* Effect.onInterrupt(Deferred.await(waiting.job), () =>
          Effect.sync(() => {
            const at = mine.indexOf(waiting)
            if (queue !== mine || at < 0) return
            mine.splice(at, 1)
            size -= line.length
          }))
      })

    // Equal calls at the same time are numbered.
    const waited = new Set<string>()
    const claim = (request: LanguageModel.Request): string => {
      const hash = Json.hash(request).slice(0, 40)
      let n = 0
      while (waited.has(`${hash}-${n}`)) n++
      return `${hash}-${n}`
    }
    return LanguageModel.make({
      id: single.id,
      endpoint: single.endpoint,
      capabilities: { ...single.capabilities, streaming: false, concurrency: maxCalls },
      generate: (request) =>
        Effect.suspend(() => {
          const refusal = server.refusal(request)
          if (refusal !== undefined) return Effect.fail(refusal)
          const call = claim(request)
          waited.add(call)
          const known = jobs.get(call)
          const sent = underWay.get(call)
          const job = known !== undefined
            ? Effect.succeed(known)
            : sent !== undefined
            ? Deferred.await(sent.job)
            : queued(call, server.line(call, request))
          return job.pipe(
            Effect.flatMap((job) =>
              Effect.flatMap(answersOf(job), (answers) => {
                jobs.delete(call)
                job.open--
                const answer = server.decode(request, answers, call)
                answers.lines.delete(call)
                // The notes keep all calls of a batch until the last one has its answer.
                return Effect.zipRight(job.open === 0 ? save : Effect.void, answer)
              })
            ),
            Effect.ensuring(Effect.sync(() => waited.delete(call)))
          )
        })
    })
  })

/**
 * The model as a Layer.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Batch from "@effect-dspy/providers/Batch"
 * import { FetchHttpClient, KeyValueStore } from "@effect/platform"
 * import { Effect, Layer, Schedule } from "effect"
 *
 * // Stands for a server, so that this example needs none: it answers what it was asked, in capitals.
 * let results = ""
 * const server = async (url: string | URL | Request, init?: RequestInit) => {
 *   const { pathname } = new URL(String(url))
 *   if (pathname.endsWith("/files")) {
 *     const form = await new Response(init?.body, { headers: new Headers(init?.headers) }).text()
 *     results = form.split("\n").filter((line) => line.startsWith("{")).map((line) => {
 *       const { body, custom_id } = JSON.parse(line)
 *       const message = { content: body.messages[0].content.toUpperCase() }
 *       const answer = { model: body.model, choices: [{ index: 0, message, finish_reason: "stop" }] }
 *       return JSON.stringify({ custom_id, response: { status_code: 200, body: answer } })
 *     }).join("\n")
 *     return Response.json({ id: "file-1" })
 *   }
 *   if (pathname.endsWith("/content")) return new Response(results)
 *   return Response.json({ id: "batch-1", status: "completed", output_file_id: "file-2" })
 * }
 *
 * const Model = Batch.layer({ model: "gpt-4o-mini", window: "10 millis", poll: Schedule.spaced("10 millis") }).pipe(
 *   Layer.provide([FetchHttpClient.layer, KeyValueStore.layerMemory])
 * )
 *
 * const ask = (content: string) =>
 *   Effect.map(LanguageModel.generate({ messages: [{ role: "user", content }] }), ({ outputs }) => outputs[0]?.text)
 *
 * const program = Effect.forEach(["a cat", "a dog"], ask, { concurrency: "unbounded" }).pipe(
 *   Effect.provide(Model),
 *   Effect.provideService(FetchHttpClient.Fetch, server)
 * )
 *
 * Effect.runPromise(program).then((texts) => assert.deepStrictEqual(texts, ["A CAT", "A DOG"]))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  LanguageModel.LanguageModel,
  BatchError,
  HttpClient.HttpClient | KeyValueStore.KeyValueStore
> => Layer.scoped(LanguageModel.LanguageModel, make(options))

// =============================================================================
// The server
// =============================================================================

interface State {
  readonly status: string
  readonly files: ReadonlyArray<string>
  /** Why a call has no answer. */
  readonly otherwise: LanguageModelError.Reason
}

// One line of a file of results.
interface Line {
  readonly status: number
  readonly body: unknown
  readonly requestId: string | undefined
}

interface Answers {
  readonly lines: Map<string, Line>
  readonly otherwise: LanguageModelError.Reason
}

interface Server {
  readonly refusal: (request: LanguageModel.Request) => LanguageModelError.LanguageModelError | undefined
  readonly line: (call: string, request: LanguageModel.Request) => string
  readonly upload: (lines: string) => Effect.Effect<string, LanguageModelError.LanguageModelError>
  readonly create: (file: string) => Effect.Effect<string, LanguageModelError.LanguageModelError>
  /** The batch that was made of a file, if there is one. */
  readonly find: (file: string) => Effect.Effect<string | undefined, LanguageModelError.LanguageModelError>
  readonly state: (batch: string) => Effect.Effect<State, LanguageModelError.LanguageModelError>
  readonly read: (state: State) => Effect.Effect<Answers, LanguageModelError.LanguageModelError>
  readonly decode: (
    request: LanguageModel.Request,
    answers: Answers,
    call: string
  ) => Either.Either<LanguageModel.Response, LanguageModelError.LanguageModelError>
}

const ended = new Set(["completed", "failed", "expired", "cancelled"])

const expired = new LanguageModelError.Timeout({ phase: "total" })

const completions = "/v1/chat/completions"

const serverOf = (
  options: Options,
  { id }: LanguageModel.Service
): Effect.Effect<Server, never, HttpClient.HttpClient> => {
  const { apiKey, model, thinkBlock } = options
  const { bounds, dialect, headers, host, name, url } = OpenAiCompatible.placeOf(options)
  const target: chat.Target = { model, dialect, thinkBlock }
  const secrets = apiKey === undefined ? [] : [Redacted.value(apiKey)]
  return Effect.map(exchange.connect({ id, host, headers, bounds }), (connection): Server => {
    const attributes = { "gen_ai.provider.name": name, "gen_ai.request.model": model }
    const prompt = () => []
    const ask = <A>(
      span: string,
      request: HttpClientRequest.HttpClientRequest,
      use: (document: document.Document) => Effect.Effect<A, LanguageModelError.LanguageModelError>
    ) => document.ask(connection, request, { span, attributes, prompt }, use)
    const at = (path: string) => ({ url: url(model, path), headers: connection.headers })
    const get = (path: string) => HttpClientRequest.get(at(path).url, at(path))
    const post = (path: string) => HttpClientRequest.post(at(path).url, at(path))

    // Reads the lines of a file of results into `lines`.
    const readFile = (file: string, lines: Map<string, Line>) =>
      Effect.useSpan(
        "batch results",
        { kind: "client", captureStackTrace: false, attributes },
        (span) =>
          Effect.scopedWith((scope) =>
            Effect.flatMap(
              connection.send(get(`files/${encodeURIComponent(file)}/content`), {
                prompt,
                span,
                scope,
                bound: "stream"
              }),
              (sent) =>
                within(sent).pipe(
                  Stream.decodeText(),
                  Stream.splitLines,
                  Stream.runForEachChunk((chunk) =>
                    Effect.sync(() => {
                      for (const text of chunk) {
                        const line = lineOf(text)
                        if (line !== undefined) lines.set(...line)
                      }
                    })
                  )
                )
            )
          )
      )

    return {
      refusal: (request) => {
        const description = chat.refusal(request, dialect)
        return description === undefined
          ? undefined
          : failure(id, new LanguageModelError.InvalidRequest({ description }), { attempts: 0 })
      },
      line: (call, request) =>
        `{"custom_id":${JSON.stringify(call)},"method":"POST","url":"${completions}","body":${
          chat.encode(request, target, false)
        }}`,
      upload: (lines) =>
        ask(
          "batch upload",
          upload.body(post("files"), "batch", lines),
          idOf
        ),
      create: (file) =>
        ask(
          "batch create",
          HttpClientRequest.bodyText(
            post("batches"),
            JSON.stringify({ input_file_id: file, endpoint: completions, completion_window: "24h" }),
            "application/json"
          ),
          idOf
        ),
      find: (file) =>
        ask("batch list", HttpClientRequest.setUrlParam(get("batches"), "limit", "100"), ({ json, malformed }) => {
          const { data }: { readonly data?: unknown } = isObject(json) ? json : {}
          if (!Array.isArray(data)) return malformed("it has no list of batches")
          const found = data.map(batchOf).find((batch) => batch.input_file_id === file)
          return Effect.succeed(isText(found?.id) ? found.id : undefined)
        }),
      state: (batch) =>
        ask("batch state", get(`batches/${encodeURIComponent(batch)}`), ({ json, malformed }) => {
          const { error_file_id, errors, output_file_id, status } = batchOf(json)
          return isText(status)
            ? Effect.succeed({
              status,
              files: [output_file_id, error_file_id].filter(isText),
              otherwise: otherwise(status, errors, fault.cleaner(secrets, prompt))
            })
            : malformed("it has no `status` of a batch")
        }),
      read: ({ files, otherwise }) =>
        Effect.suspend(() => {
          const lines = new Map<string, Line>()
          return Effect.as(Effect.forEach(files, (file) => readFile(file, lines), { discard: true }), {
            lines,
            otherwise
          })
        }),
      decode: (request, { lines, otherwise }, call) => {
        const line = lines.get(call)
        return Either.mapLeft(
          line === undefined ? Either.left(otherwise) : decode(request, line, target, Bounds.make(bounds), secrets),
          (reason) => failure(id, reason)
        )
      }
    }
  })
}

interface WireBatch {
  readonly id?: unknown
  readonly status?: unknown
  readonly input_file_id?: unknown
  readonly output_file_id?: unknown
  readonly error_file_id?: unknown
  readonly errors?: unknown
}

const batchOf = (u: unknown): WireBatch => isObject(u) ? u : {}

const idOf = ({ json, malformed }: document.Document): Effect.Effect<string, LanguageModelError.LanguageModelError> => {
  const { id } = batchOf(json)
  return isText(id) ? Effect.succeed(id) : malformed("it has no `id`")
}

const otherwise = (status: string, errors: unknown, clean: (words: string) => string): LanguageModelError.Reason => {
  switch (status) {
    case "expired":
      return expired
    case "cancelled":
      return new LanguageModelError.InvalidRequest({ description: "the batch was cancelled at the server" })
    case "failed": {
      const { data }: { readonly data?: unknown } = isObject(errors) ? errors : {}
      const said = fault.explainedError({ error: Array.isArray(data) ? data[0] : undefined })
      // Too much is waiting in the queue of the account.
      return said.code === "token_limit_exceeded"
        ? new LanguageModelError.RateLimited({ description: clean(said.message ?? "the queue for batches is full") })
        : fault.reasonOf({ status: 400, said, clean })
    }
    default:
      return new LanguageModelError.MalformedResponse({
        kind: "empty",
        description: "the batch holds no answer to this call"
      })
  }
}

interface WireLine {
  readonly custom_id?: unknown
  readonly response?: unknown
  readonly error?: unknown
}
interface WireResponse {
  readonly status_code?: unknown
  readonly request_id?: unknown
  readonly body?: unknown
}

// A line that cannot be read is no answer, and its call fails for that.
const lineOf = (text: string): readonly [call: string, line: Line] | undefined => {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return undefined
  }
  const { custom_id, error, response }: WireLine = isObject(json) ? json : {}
  if (!isText(custom_id)) return undefined
  const { body, request_id, status_code }: WireResponse = isObject(response) ? response : {}
  return [
    custom_id,
    isObject(error)
      ? { status: 500, body: { error }, requestId: undefined }
      : {
        status: typeof status_code === "number" ? status_code : 200,
        body,
        requestId: isText(request_id) ? request_id : undefined
      }
  ]
}

// The bytes of a file, which is never held as a whole.
const within = (sent: exchange.Sent): Stream.Stream<Uint8Array, LanguageModelError.LanguageModelError> =>
  Stream.suspend(() => {
    const limit = sent.bounds.stream
    let size = 0
    return sent.response.stream.pipe(
      Stream.catchAll((error) =>
        error.reason === "EmptyBody" ? Stream.empty : Stream.fromEffect(sent.fail(sent.broken(error)))
      ),
      Stream.tap((bytes) => {
        size += bytes.length
        return size > limit ? sent.fail(new LanguageModelError.ResponseTooLarge({ limit })) : Effect.void
      })
    )
  })

const decode = (
  request: LanguageModel.Request,
  { body, requestId, status }: Line,
  target: chat.Target,
  bounds: exchange.Limits,
  secrets: ReadonlyArray<string>
): Either.Either<LanguageModel.Response, LanguageModelError.Reason> => {
  const clean = fault.cleaner(secrets, () => exchange.textsOf(request))
  if (status < 200 || status >= 300) {
    const said = fault.explainedError(body)
    return Either.left(said.code === "batch_expired" ? expired : fault.reasonOf({ status, said, clean }))
  }
  const deltas: Array<LanguageModel.Delta> = []
  const read = new answer.Answer({
    reader: new chat.Reader(target, request.settings?.n ?? 1),
    requestId,
    announced: false,
    bounds,
    clean
  })
  const reason = read.whole(JSON.stringify(body ?? null), deltas)
  if (reason !== undefined) return Either.left(reason)
  const folder = new LanguageModel.Folder()
  for (const delta of deltas) folder.add(delta)
  return folder.response === undefined
    ? Either.left(new LanguageModelError.StreamTruncated({ partial: folder.partial }))
    : Either.right(folder.response)
}
