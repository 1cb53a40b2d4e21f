/**
 * Tools of MCP servers (Model Context Protocol): programs that run beside this
 * one, or services that are reached over HTTP. Needs the package
 * `@modelcontextprotocol/sdk`.
 *
 * @since 0.1.0
 */
import * as Audio from "@effect-dspy/core/Audio"
import * as Image from "@effect-dspy/core/Image"
import type * as Json from "@effect-dspy/core/Json"
import * as JsonSchema from "@effect-dspy/core/JsonSchema"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StreamableHTTPClientTransport, StreamableHTTPError } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import { ReadBuffer, serializeMessage } from "@modelcontextprotocol/sdk/shared/stdio.js"
import type { FetchLike, Transport } from "@modelcontextprotocol/sdk/shared/transport.js"
import * as Mcp from "@modelcontextprotocol/sdk/types.js"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Subprocess from "./Subprocess.ts"

// =============================================================================
// Errors
// =============================================================================

/**
 * - `Unreachable`: there is no server, or it is not one of MCP.
 * - `Unauthorized`: it wants to know who asks.
 * - `Closed`: the connection has ended. What was under way may have been done, or
 *   not.
 * - `TimedOut`: it did not answer in time.
 * - `Protocol`: it answered by an error, or by what it should not.
 *
 * @since 0.1.0
 * @category errors
 */
export class McpError extends Schema.TaggedError<McpError>("@effect-dspy/providers/McpTools/McpError")("McpError", {
  server: Schema.String,
  reason: Schema.Literal("Unreachable", "Unauthorized", "Closed", "TimedOut", "Protocol"),
  description: Schema.String
}) {
  override get message(): string {
    return `MCP server ${this.server}: ${this.description}`
  }
}

// =============================================================================
// Answers
// =============================================================================

/**
 * What a tool answers: its structured content where it has some; else its one
 * part, or the list of its parts if there is not just one, where a text is a
 * string and a resource an object. With images or sounds among them it is the
 * parts of a message, which a model can see and hear.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer = Json.Json | ReadonlyArray<LanguageModel.Part>

/**
 * A tool of a server. Whatever goes wrong with it is a `ToolError`, and so an
 * observation.
 *
 * @since 0.1.0
 * @category models
 */
export type McpTool = Tool.Tool<string, Json.JsonRecord, Answer>

/**
 * A connection to a server, which is made again when it is lost.
 *
 * A call that was under way then fails, as nobody knows what has become of it. One
 * that comes meanwhile waits for the new connection, up to the `patience`, and so
 * does one that certainly has not arrived: it is sent again. Tools stay what they
 * are over all connections.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connection {
  readonly server: { readonly name: string; readonly version: string }
  /** How the server wants to be used, in its words. */
  readonly instructions: string | undefined
  /**
   * All its tools. They are asked for again only once the server has said that they have changed, and when the connection
   * was made again.
   */
  readonly tools: Effect.Effect<ReadonlyArray<McpTool>, McpError>
  /** Waits until the connection is given up before its scope ends, and says why. */
  readonly closed: Effect.Effect<McpError>
}

// =============================================================================
// Connecting
// =============================================================================

/**
 * What `McpTools` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What the names of the tools begin with, for two servers whose tools have the same names. */
  readonly prefix?: string | undefined
  /** How long a call of a tool may take; a minute by default. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How long the server may take to answer to anything else, its start included; 30 seconds by default. */
  readonly patience?: Duration.DurationInput | undefined
  /**
   * When a connection that is lost is made again, and when it is given up;
   * `Schedule.stop` never makes it again. By default {@link reconnect}.
   */
  readonly reconnect?: Schedule.Schedule<unknown, McpError> | undefined
}

/**
 * After 0.2 seconds, then twice as long each time, up to half a minute, for as long
 * as it takes, unless the server wants to know who asks. After two minutes it begins
 * anew.
 *
 * @since 0.1.0
 * @category constants
 */
export const reconnect: Schedule.Schedule<unknown, McpError> = Schedule.exponential("200 millis").pipe(
  Schedule.union(Schedule.spaced("30 seconds")),
  Schedule.resetAfter("2 minutes"),
  Schedule.whileInput((error: McpError) => error.reason !== "Unauthorized")
)

/**
 * Runs a server as a child process, and talks to it over its standard input and
 * output until the scope closes; see `Subprocess` for what it gets to see and
 * how it ends. What is run must not come from a model or a user.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stdio = (
  options: Subprocess.Options & Options
): Effect.Effect<Connection, McpError, Scope.Scope> =>
  connect(
    options.executable,
    Effect.gen(function*() {
      const child = yield* Effect.mapError(
        Subprocess.start(options),
        ({ description }) => new McpError({ server: options.executable, reason: "Unreachable", description })
      )
      const ending = Effect.zipWith(child.ended, child.complaints, ({ code, signal }, complaints) => {
        const last = complaints.trim().slice(-500)
        return `it ended ${signal === null ? `with code ${code}` : `by ${signal}`}${
          last === "" ? "" : `, saying: ${last}`
        }`
      })
      return { transport: yield* overStdio(child), goodbye: Effect.void, ending }
    }),
    options
  )

/**
 * Talks to a server over Streamable HTTP until the scope closes. Redirects are
 * followed within the server's origin only, and a message of more than 16 MiB ends
 * the connection, as it does over stdio. Headers such as `Authorization` are best
 * `Redacted`; a user or a password in the URL is refused.
 *
 * @since 0.1.0
 * @category constructors
 */
export const http = (
  options: Options & {
    readonly url: string
    readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  }
): Effect.Effect<Connection, McpError, Scope.Scope> =>
  Effect.gen(function*() {
    const refused = (server: string, description: string) =>
      new McpError({ server, reason: "Unreachable", description })
    const url = yield* Effect.try({
      try: () => new URL(options.url),
      catch: () => refused(options.url, "this is no URL")
    })
    // A URL may hold a secret in what comes after its path, or before its host.
    const server = `${url.origin}${url.pathname}`
    // What refuses these later on would quote them.
    if (url.username !== "" || url.password !== "") {
      return yield* refused(server, "a URL with a user or a password is not asked; put them into a header")
    }
    const headers = new Headers()
    for (const [name, value] of Object.entries(options.headers ?? {})) {
      yield* Effect.try({
        try: () => headers.append(name, Redacted.isRedacted(value) ? Redacted.value(value) : value),
        catch: () => refused(server, `the header ${JSON.stringify(name)} has a name or a value that no header can have`)
      })
    }
    const dial = Effect.sync((): Line => {
      let ending: string | undefined
      const leave = (why: string) => {
        ending ??= why
        transport.close().catch(() => {})
      }
      const transport = new StreamableHTTPClientTransport(url, {
        requestInit: { headers },
        fetch: watched(leave),
        // The stream of notifications tells that a server which was away has come back and knows nothing of us.
        reconnectionOptions: {
          initialReconnectionDelay: 1000,
          reconnectionDelayGrowFactor: 1.5,
          maxReconnectionDelay: 30_000,
          maxRetries: Number.POSITIVE_INFINITY
        }
      })
      const goodbye = Effect.tryPromise(() => transport.terminateSession()).pipe(
        Effect.timeout("1 second"),
        Effect.ignore
      )
      return { transport, goodbye, ending: Effect.sync(() => ending ?? "it was closed") }
    })
    return yield* connect(server, dial, options)
  })

// Of one message, which is held as a whole. In bytes, after decompression.
const maxMessage = 16 * 1024 * 1024

const [lineFeed, carriageReturn] = [10, 13]

// What the client of the SDK lets pass: messages without a bound, the end of a session that nothing but its stream of
// notifications tells of, and answers that break off, for which it would wait on.
const watched = (leave: (why: string) => void): FetchLike => async (url, init) => {
  // oxlint-disable-next-line no-restricted-globals -- what the SDK uses by itself
  const response = await fetch(url, init)
  const { body, headers, status, statusText } = response
  const isAnswer = init?.method === "POST"
  if (status === 404 && init?.method === "GET" && new Headers(init.headers).has("mcp-session-id")) {
    leave("it does not know the session any more")
  }
  if (body === null) return response
  // A body of JSON is one message; in a stream of events each one ends with an empty line.
  const isStream = headers.get("content-type")?.startsWith("text/event-stream") === true
  const reader = body.getReader()
  let size = 0
  let line = ""
  // Where events have an id the SDK asks for the rest of a stream that broke off.
  let hasIds = false
  const measure = (bytes: Uint8Array): boolean => {
    size += bytes.length
    const end = isStream ? bytes.length : 0
    for (let at = 0; at < end; at++) {
      const byte = bytes[at]! // it is within
      if (byte === lineFeed) {
        if (line === "") size = bytes.length - at
        line = ""
      } else if (byte !== carriageReturn && line.length < 3) {
        line += String.fromCharCode(byte)
        if (line === "id:") hasIds = true
      }
    }
    return size <= maxMessage
  }
  const counted = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      try {
        const { done, value } = await reader.read()
        if (done) return controller.close()
        if (measure(value)) return controller.enqueue(value)
      } catch (cause) {
        controller.error(cause)
        if (isAnswer && isStream && !hasIds) leave("its answer broke off")
        return
      }
      controller.error(new RangeError(`a message has more than ${maxMessage} bytes`))
      leave(`it sent a message of more than ${maxMessage} bytes, and was left`)
      await reader.cancel()
    },
    cancel: (reason) => reader.cancel(reason)
  })
  return new Response(counted, { headers, status, statusText })
}

// Messages in lines; what is no message of the protocol is passed over, as servers do print other things.
const overStdio = (child: Subprocess.Subprocess): Effect.Effect<Transport, never, Scope.Scope> =>
  Effect.map(FiberSet.makeRuntimePromise<never>(), (run) => {
    const buffer = new ReadBuffer({ maxBufferSize: maxMessage })
    const next = () => {
      try {
        return buffer.readMessage()
      } catch {
        return undefined
      }
    }
    const transport: Transport = {
      start: () => {
        const reading = Stream.runForEach(child.output, (bytes) =>
          Effect.try(() => {
            buffer.append(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
            for (let message = next(); message !== null; message = next()) {
              if (message !== undefined) transport.onmessage?.(message)
            }
          }))
        run(Effect.ensuring(Effect.ignore(reading), Effect.sync(() => transport.onclose?.()))).catch(() => {})
        return Promise.resolve()
      },
      send: async (message) => {
        const written = await run(Effect.either(child.write(serializeMessage(message))))
        if (Either.isLeft(written)) throw written.left
      },
      close: () => Promise.resolve(transport.onclose?.())
    }
    return transport
  })

const maxTools = 1000

// What a connection is made of: how messages go, how it is ended, and how it has ended.
interface Line {
  readonly transport: Transport
  readonly goodbye: Effect.Effect<void>
  readonly ending: Effect.Effect<string>
}

// A connection as long as there is one. `lost` fails when there is none any more.
interface Live {
  readonly client: Client
  readonly lost: Deferred.Deferred<never, McpError>
  readonly failure: (cause: unknown) => Effect.Effect<McpError>
}

const connect = (
  server: string,
  dial: Effect.Effect<Line, McpError, Scope.Scope>,
  options: Options
): Effect.Effect<Connection, McpError, Scope.Scope> =>
  Effect.gen(function*() {
    const patience = Duration.toMillis(options.patience ?? "30 seconds")
    const closed = yield* Deferred.make<McpError>()
    let changes = 0
    let known: { readonly after: number; readonly tools: ReadonlyArray<McpTool> } | undefined

    // The connection, or what to wait for where there is none.
    let current = Deferred.unsafeMake<Live, McpError>(FiberId.none)
    let published: Client | undefined
    let last: McpError | undefined
    // The first connection is not tried again: whoever asks for it is told.
    let begun = false
    const withdraw = (client: Client): void => {
      if (published !== client) return
      published = undefined
      current = Deferred.unsafeMake(FiberId.none)
    }

    const open = Effect.gen(function*() {
      const { ending, goodbye, transport } = yield* dial
      const failure = failureOf(server, ending)
      const client = new Client({ name: "effect-dspy", version: "0.1.0" })
      const lost = yield* Deferred.make<never, McpError>()
      client.setNotificationHandler(Mcp.ToolListChangedNotificationSchema, () => {
        changes += 1
      })
      // oxlint-disable-next-line unicorn/prefer-add-event-listener -- it has no events
      client.onclose = () => {
        withdraw(client)
        Deferred.unsafeDone(lost, Effect.flatMap(failure(connectionClosed), Effect.fail))
      }
      yield* Effect.acquireRelease(
        // Not to be interrupted, it would go on; it ends in time.
        Effect.interruptible(asked(failure, (signal) => client.connect(transport, { signal, timeout: patience }))),
        () => Effect.zipRight(goodbye, Effect.promise(() => client.close()))
      )
      changes += 1
      return { client, lost, failure }
    })

    const session = Effect.scoped(Effect.gen(function*() {
      const live = yield* open
      yield* Effect.addFinalizer(() => Effect.sync(() => withdraw(live.client)))
      published = live.client
      begun = true
      Deferred.unsafeDone(current, Effect.succeed(live))
      return yield* Deferred.await(live.lost)
    }))

    const giveUp = (error: McpError) => Effect.zipRight(Deferred.fail(current, error), Deferred.succeed(closed, error))
    yield* session.pipe(
      Effect.tapError((error) => Effect.sync(() => last = error)),
      Effect.retry({ schedule: options.reconnect ?? reconnect, while: () => begun }),
      Effect.catchAll((error) =>
        giveUp(
          begun
            ? new McpError({ server, reason: error.reason, description: `${error.description}; connect again` })
            : error
        )
      ),
      Effect.onInterrupt(() =>
        Deferred.fail(current, new McpError({ server, reason: "Closed", description: "its scope has ended" }))
      ),
      Effect.forkScoped
    )
    const { client: first } = yield* Deferred.await(current)

    const available = Effect.suspend(() => Deferred.await(current)).pipe(
      Effect.timeoutFail({
        duration: patience,
        onTimeout: () => last ?? new McpError({ server, reason: "TimedOut", description: "it is not connected yet" })
      })
    )

    const ask = <A>(
      timeout: number,
      request: (client: Client, options: { readonly signal: AbortSignal; readonly timeout: number }) => Promise<A>,
      isRepeated = false
    ): Effect.Effect<A, McpError> =>
      Effect.flatMap(available, ({ client, failure, lost }) =>
        Effect.tryPromise({
          try: (signal) => request(client, { signal, timeout }),
          catch: (cause) => cause
        }).pipe(
          Effect.catchAll((cause) =>
            Effect.flatMap(failure(cause), (error) => {
              if (!hasNotArrived(cause)) return error
              withdraw(client)
              Deferred.unsafeDone(lost, error)
              return isRepeated ? error : ask(timeout, request, true)
            })
          )
        ))

    const list = Effect.gen(function*() {
      const after = changes
      const found: Array<Mcp.Tool> = []
      const seen = new Set<string>()
      let cursor: string | undefined
      do {
        const page = yield* ask(patience, (client, options) =>
          client.request(
            { method: "tools/list", params: cursor === undefined ? {} : { cursor } },
            Mcp.ListToolsResultSchema,
            options
          ))
        const count = found.length + page.tools.length
        cursor = page.nextCursor
        if (count > maxTools || (cursor !== undefined && seen.has(cursor))) {
          return yield* new McpError({
            server,
            reason: "Protocol",
            description: `its list of tools does not end, after ${count} of them`
          })
        }
        found.push(...page.tools)
        if (cursor !== undefined) seen.add(cursor)
      } while (cursor !== undefined)
      const names = namesOf(found, options.prefix ?? "")
      const tools = found.map((tool, index) => toolOf(tool, names[index]!)) // a name for each
      known = { after, tools }
      return tools
    })

    const toolOf = ({ description = "", inputSchema, name, outputSchema }: Mcp.Tool, ours: string): McpTool =>
      Tool.dynamic(ours, {
        description,
        parameters: jsonOf(inputSchema),
        timeout: options.timeout ?? "1 minute",
        run: (args) =>
          ask(forever, (client, options) =>
            client.request(
              { method: "tools/call", params: { name, arguments: args } },
              Mcp.CallToolResultSchema,
              options
            ))
            .pipe(
              Effect.mapError(({ description }) => failed(ours, description)),
              Effect.flatMap((result) => answerOf(ours, result, outputSchema))
            )
      })

    const { name = server, version = "" } = first.getServerVersion() ?? {}
    return {
      server: { name, version },
      instructions: first.getInstructions(),
      tools: Effect.zipRight(
        // What is known is of a connection that there is.
        available,
        Effect.suspend(() => known?.after === changes ? Effect.succeed(known.tools) : list)
      ),
      closed: Deferred.await(closed)
    }
  })

const connectionClosed = new Mcp.McpError(Mcp.ErrorCode.ConnectionClosed, "")

const asked = <A>(
  failure: Live["failure"],
  request: (signal: AbortSignal) => Promise<A>
): Effect.Effect<A, McpError> =>
  Effect.tryPromise({ try: request, catch: (cause) => cause }).pipe(
    Effect.catchAll((cause) => Effect.flatMap(failure(cause), Effect.fail))
  )

// What the network says of a request that failed.
const codeOf = ({ cause }: TypeError): string | undefined =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined

const brokenOff = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"])

// Whether a request was certainly not heard: by a server that has forgotten the session, or is not there.
const hasNotArrived = (cause: unknown): boolean =>
  (cause instanceof StreamableHTTPError && cause.code === 404) ||
  (cause instanceof TypeError && codeOf(cause) === "ECONNREFUSED")

// The SDK has its own limit, which cannot be taken away; ours is that of the tool.
const forever = 2 ** 31 - 1

// =============================================================================
// What servers say
// =============================================================================

const failureOf = (server: string, ending: Effect.Effect<string>) => (cause: unknown): Effect.Effect<McpError> => {
  const error = (reason: McpError["reason"], description: string) =>
    Effect.succeed(new McpError({ server, reason, description }))
  const closed = ending.pipe(
    // What has closed its output may run on.
    Effect.timeoutTo({ duration: "1 second", onSuccess: (how) => how, onTimeout: () => "it closed the connection" }),
    Effect.map((how) =>
      new McpError({ server, reason: "Closed", description: `${how}; what was asked may be done or not` })
    )
  )
  if (cause instanceof Subprocess.SubprocessError) return closed
  if (cause instanceof Mcp.McpError) {
    const said = cause.message.replace(/^MCP error -?\d+: /, "")
    switch (cause.code) {
      case Mcp.ErrorCode.ConnectionClosed:
        return closed
      case Mcp.ErrorCode.RequestTimeout:
        return error("TimedOut", "it did not answer in time; give it more, or see what it does")
      default:
        return error("Protocol", said === "" ? `it answered with error ${cause.code}` : said)
    }
  }
  if (cause instanceof StreamableHTTPError) {
    switch (cause.code) {
      case 401:
      case 403:
        return error("Unauthorized", `it answered ${cause.code}; give it the headers that it wants`)
      case 404:
        return error("Closed", "it knows no such address or session (404); see the URL")
      default:
        return error(
          "Unreachable",
          `it answered ${cause.code ?? "nothing that can be read"}; see that it speaks Streamable HTTP`
        )
    }
  }
  if (cause instanceof TypeError) {
    const why = cause.cause instanceof Error ? cause.cause.message : cause.message
    return brokenOff.has(codeOf(cause) ?? "")
      ? error("Closed", `its answer broke off (${why}); what was asked may be done or not`)
      : error("Unreachable", `it cannot be reached (${why}); see the URL, and that it runs`)
  }
  return error("Protocol", `it answered what is not of the protocol: ${String(cause).slice(0, 500)}`)
}

const failed = (tool: string, description: string) => new Tool.ToolError({ tool, reason: "Failed", description })

const answerOf = (
  tool: string,
  { content, isError, structuredContent }: Mcp.CallToolResult,
  promised: Mcp.Tool["outputSchema"]
): Effect.Effect<Answer, Tool.ToolError> => {
  const parts = content.flatMap(partOf)
  const media = content.flatMap(mediaOf)
  if (isError === true) {
    const said = parts.map((part) => typeof part === "string" ? part : JSON.stringify(part)).join("\n")
    return failed(tool, said === "" ? "it failed, and said no more" : said)
  }
  if (structuredContent === undefined) {
    if (promised !== undefined) return failed(tool, "it answered without the structured content that it promises")
    return Effect.succeed(
      media.length > 0
        ? content.flatMap((part) => [...partOf(part).map(textOf), ...mediaOf(part)])
        : parts.length === 1
        ? parts[0]! // there is one
        : parts
    )
  }
  const structured = jsonOf(structuredContent)
  const [problem] = promised === undefined ? [] : JsonSchema.check(jsonOf(promised), structured)
  if (problem !== undefined) {
    return failed(tool, `its answer is not what it promises: ${problem.path} ${problem.message}`)
  }
  return Effect.succeed(media.length === 0 ? structured : [textOf(structured), ...media])
}

const partOf = (part: Mcp.ContentBlock): ReadonlyArray<Json.Json> => {
  switch (part.type) {
    case "text":
      return [part.text]
    case "resource_link": {
      const { description, name, uri } = part
      return [{ uri, name, ...description === undefined ? {} : { description } }]
    }
    case "resource": {
      const { mimeType = "", uri } = part.resource
      return ["text" in part.resource ? { uri, text: part.resource.text } : { uri, mimeType }]
    }
    case "image":
    case "audio":
      // What no model takes, such as SVG, is told of rather than refused with all the rest of the request.
      return mediaOf(part).length > 0 ? [] : [{ mimeType: part.mimeType, withheld: "no model takes this type" }]
  }
}

const isImage = Schema.is(Image.Image)
const isAudio = Schema.is(Audio.Audio)

const mediaOf = (part: Mcp.ContentBlock): ReadonlyArray<LanguageModel.Part> => {
  if (part.type !== "image" && part.type !== "audio") return []
  const url = `data:${part.mimeType};base64,${part.data}`
  return part.type === "image"
    ? isImage({ url }) ? [{ _tag: "Image", url }] : []
    : isAudio({ url })
    ? [{ _tag: "Audio", url }]
    : []
}

const textOf = (value: Json.Json): LanguageModel.Part => ({
  _tag: "Text",
  text: typeof value === "string" ? value : JSON.stringify(value)
})

// It came as JSON.
const jsonOf = (value: object): Json.JsonRecord => value as Json.JsonRecord

// Services take fewer characters for the name of a function than MCP does for that of a tool.
const namesOf = (tools: ReadonlyArray<Mcp.Tool>, prefix: string): ReadonlyArray<string> => {
  const taken = new Set<string>()
  return tools.map(({ name }) => {
    const plain = `${prefix}${name}`.replace(/[^A-Za-z0-9_-]/g, "_").replace(/^(?![A-Za-z_])/, "_").slice(0, 64)
    let free = plain
    for (let n = 2; taken.has(free); n++) free = `${plain.slice(0, 60)}_${n}`
    taken.add(free)
    return free
  })
}
