/**
 * Our tools and modules as an MCP server (Model Context Protocol), which editors,
 * assistants and other agents can connect to, over stdio and HTTP. Needs the
 * package `@modelcontextprotocol/sdk`.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import type * as Signature from "@effect-dspy/core/Signature"
import * as Tool from "@effect-dspy/core/Tool"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Server } from "@modelcontextprotocol/sdk/server/index.js"
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js"
import { WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js"
import type { RequestHandlerExtra } from "@modelcontextprotocol/sdk/shared/protocol.js"
import * as Mcp from "@modelcontextprotocol/sdk/types.js"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import * as spawn from "./internal/spawn.ts"

/**
 * What a server says it is, by `name` and `version`, and what it offers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any>> {
  readonly name: string
  readonly version: string
  /** How its tools are to be used together, for the model of who connects. */
  readonly instructions?: string | undefined
  /** What it offers. Give those that must not be used unasked `Tool.withApproval`. */
  readonly tools: Tools
}

/**
 * A module as a tool: its parameters are the inputs of the signature, and its
 * result is the outputs, encoded. Its description is the instructions of the
 * signature unless it is given. What the module fails with is not told to whoever
 * connects, but logged.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Tool from "@effect-dspy/core/Tool"
 * import * as McpServer from "@effect-dspy/providers/McpServer"
 * import { Effect } from "effect"
 *
 * const signature = Signature.parse("text -> summary, words: number")
 * const summarize = McpServer.fromModule("summarize", Predict.make(signature), signature)
 *
 * const program = Tool.call(summarize, { text: "A long story." }).pipe(
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ summary: "Short.", words: 1 })]))
 * )
 *
 * Effect.runPromise(program).then((observation) =>
 *   assert.strictEqual(observation, `{"summary":"Short.","words":1}`)
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromModule = <
  const Name extends string,
  I extends Signature.Fields,
  O extends Signature.Fields,
  E,
  R
>(
  name: Name,
  module: Module.Module<Types.Simplify<Schema.Struct.Type<I>>, Types.Simplify<Schema.Struct.Type<O>>, E, R>,
  signature: Signature.Signature<I, O>,
  options: { readonly description?: string | undefined } = {}
): Tool.Tool<Name, Types.Simplify<Schema.Struct.Type<I>>, Types.Simplify<Schema.Struct.Encoded<O>>, E, R> => {
  type In = Types.Simplify<Schema.Struct.Type<I>>
  // That these are schemas that need no services, the compiler does not see through the generics.
  const parameters = signature.input.fields as unknown as Tool.Parameters
  const output = signature.output as unknown as Schema.Schema<unknown, Schema.Struct.Encoded<O>>
  const encode = Schema.encode(output)
  const tool = Tool.make(name, {
    description: options.description ?? signature.instructions,
    parameters,
    failureMode: "error",
    // What fits the inputs is an input, and what a module answers is of its signature.
    run: (input) => Effect.flatMap(module(input as unknown as In), (answer) => Effect.orDie(encode(answer)))
  })
  return tool as unknown as Tool.Tool<Name, In, Types.Simplify<Schema.Struct.Encoded<O>>, E, R> // of the same parameters
}

// =============================================================================
// Serving
// =============================================================================

/**
 * Serves whoever has started this process, over its standard input and output,
 * until the input ends. What is logged goes to the standard error: nothing else
 * may write to the output.
 *
 * @since 0.1.0
 * @category running
 */
export const stdio = <const Tools extends ReadonlyArray<Tool.Any>>(
  options: Options<Tools>
): Effect.Effect<void, never, Requirements<Tools>> =>
  Effect.scoped(Effect.gen(function*() {
    const { stdin, stdout } = (yield* Effect.orDie(spawn.node)).process
    const make = yield* servers(options)
    const { close, server } = make()
    yield* Effect.acquireRelease(
      Effect.promise(() => server.connect(new StdioServerTransport(stdin, stdout))),
      () => close
    )
    yield* Effect.async<void>((resume) => {
      const end = () => resume(Effect.void)
      stdin.once("end", end).once("close", end)
      return Effect.sync(() => stdin.off("end", end).off("close", end))
    })
  })).pipe(
    Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
  )

/**
 * Other hosts and origins are refused with 403, so that no page of another site reaches a
 * server on this machine.
 *
 * @since 0.1.0
 * @category models
 */
export interface HttpOptions<Tools extends ReadonlyArray<Tool.Any>> extends Options<Tools> {
  /**
   * A token that clients must bring with every request, as `Authorization:
   * Bearer …`; without it, or with another, they get 401. Whoever connects may
   * use all tools, so give one unless something in front asks who they are.
   */
  readonly auth?: Redacted.Redacted | undefined
  /**
   * The names by which the server is reached, without port; those of this
   * machine (`localhost`, `127.0.0.1`, `[::1]`) by default.
   */
  readonly hosts?: ReadonlyArray<string> | undefined
  /**
   * The web pages that may connect, such as `https://example.com`; none by
   * default. A client that is no web page sends no origin.
   */
  readonly origins?: ReadonlyArray<string> | undefined
}

const maxSessions = 1000
const maxBody = 1024 * 1024
const idle = "30 minutes"

/**
 * What answers the requests of Streamable HTTP, to be put under a path of a
 * server of `@effect/platform`. Each client has a session, which ends with its `DELETE`, after half an hour without a
 * request, or with the scope; at most 1000 of them, and 1 MiB in a request.
 *
 * @example
 * ```ts
 * import * as Tool from "@effect-dspy/core/Tool"
 * import * as McpServer from "@effect-dspy/providers/McpServer"
 * import { HttpApp } from "@effect/platform"
 * import { Effect, Schema } from "effect"
 *
 * const add = Tool.make("add", {
 *   description: "Adds two numbers.",
 *   parameters: { a: Schema.Number, b: Schema.Number },
 *   run: ({ a, b }) => Effect.succeed(a + b)
 * })
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const app = yield* McpServer.http({ name: "calculator", version: "1.0.0", tools: [add] })
 *   const handle = HttpApp.toWebHandler(app)
 *   // A page of another site finds nothing here.
 *   return yield* Effect.promise(() =>
 *     handle(new Request("http://localhost/mcp", { method: "POST", headers: { origin: "https://evil.example" } }))
 *   )
 * }))
 *
 * Effect.runPromise(program).then((response) => assert.strictEqual(response.status, 403))
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const http = <const Tools extends ReadonlyArray<Tool.Any>>(
  options: HttpOptions<Tools>
): Effect.Effect<HttpApp.Default, never, Scope.Scope | Requirements<Tools>> =>
  Effect.gen(function*() {
    const make = yield* servers(options)
    const hosts = new Set(options.hosts ?? ["localhost", "127.0.0.1", "[::1]"])
    const origins = new Set(options.origins ?? [])
    const sessions = new Map<string, Session>()
    const age = Duration.toMillis(idle)

    const open = Effect.gen(function*() {
      const { close, running, server } = make()
      const used = yield* Clock.currentTimeMillis
      const transport = new WebStandardStreamableHTTPServerTransport({
        sessionIdGenerator: () => crypto.randomUUID(),
        maxRequestBodySize: maxBody,
        onsessioninitialized: (id) => {
          sessions.set(id, session)
        },
        onsessionclosed: (id) => {
          sessions.delete(id)
        }
      })
      const session: Session = { close, running, transport, used }
      yield* Effect.promise(() => server.connect(transport))
      return session
    })

    const sweep = Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.forEach(sessions, ([id, { close, running, used }]) => {
        if (running() > 0 || now - used < age) {
          return Effect.void
        }
        sessions.delete(id)
        return close
      }, { discard: true }))

    yield* Effect.addFinalizer(() =>
      Effect.forEach(sessions.values(), ({ close }) =>
        close, { discard: true })
    )
    yield* Effect.forkScoped(Effect.repeat(sweep, Schedule.spaced("1 minute")))

    return Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const { authorization = "", host, "mcp-session-id": id, origin } = request.headers
      if (!hosts.has(hostname(host))) return refused(403, "this host is not served here")
      if (origin !== undefined && !origins.has(origin)) return refused(403, "pages of this origin may not connect")
      const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1]
      if (options.auth !== undefined && (token === undefined || !isSame(token, Redacted.value(options.auth)))) {
        return HttpServerResponse.setHeader(
          refused(401, "a token is needed: `Authorization: Bearer …`"),
          "www-authenticate",
          "Bearer"
        )
      }
      const known = id === undefined ? undefined : sessions.get(id)
      if (id !== undefined && known === undefined) return refused(404, "there is no such session; begin a new one")
      if (known === undefined && request.method !== "POST") return refused(400, "a session begins with POST")
      if (known === undefined && sessions.size >= maxSessions) return refused(503, "too many sessions; try again later")
      const session = known ?? (yield* open)
      session.used = yield* Clock.currentTimeMillis
      const response = yield* Effect.flatMap(
        HttpServerRequest.toWeb(request),
        (request) => Effect.promise(() => session.transport.handleRequest(request))
      )
      // What was no initialization has begun no session.
      if (known === undefined && session.transport.sessionId === undefined) yield* session.close
      return HttpServerResponse.fromWeb(response)
    }).pipe(
      Effect.catchTag("RequestError", () => Effect.succeed(refused(400, "this request cannot be read")))
    )
  })

interface Session {
  readonly transport: WebStandardStreamableHTTPServerTransport
  readonly close: Effect.Effect<void>
  readonly running: () => number
  used: number
}

const hostname = (host: string | undefined): string =>
  host !== undefined && URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : ""

// What is compared are hashes, to their end: the time it takes does not tell how much of a token is right.
const isSame = (left: string, right: string): boolean => {
  const [one, other] = [Json.hash(left), Json.hash(right)]
  let difference = 0
  for (let at = 0; at < one.length; at++) difference |= one.charCodeAt(at) ^ other.charCodeAt(at)
  return difference === 0
}

const refused = (status: number, message: string) =>
  HttpServerResponse.unsafeJson({ jsonrpc: "2.0", id: null, error: { code: -32000, message } }, { status })

// =============================================================================
// What is served
// =============================================================================

/**
 * What these tools need.
 *
 * @since 0.1.0
 * @category utility types
 */
export type Requirements<Tools extends ReadonlyArray<Tool.Any>> = Tool.Requirements<Tools[number]>

const maxRunning = 64

interface Served {
  readonly server: Server
  readonly running: () => number
  readonly close: Effect.Effect<void>
}

// A server speaks to one client; its calls end with the scope.
const servers = <const Tools extends ReadonlyArray<Tool.Any>>(
  { instructions, name, tools, version }: Options<Tools>
): Effect.Effect<() => Served, never, Scope.Scope | Requirements<Tools>> =>
  Effect.map(FiberSet.makeRuntime<Requirements<Tools>>(), (fork) => {
    type R = Requirements<Tools>
    // What the tools need their types have forgotten one by one, but not all together.
    const known = new Map(tools.map((tool) => [tool.name, tool as Tool.Tool<string, unknown, unknown, unknown, R>]))
    if (known.size < tools.length) throw new RangeError("McpServer: two tools have the same name")

    const run = <A>(effect: Effect.Effect<A, never, R>, signal: AbortSignal): Promise<A> =>
      new Promise((resolve, reject) => {
        const fiber = fork(effect)
        const stop = () => fiber.unsafeInterruptAsFork(FiberId.none)
        signal.addEventListener("abort", stop)
        if (signal.aborted) stop()
        fiber.addObserver((exit) => {
          signal.removeEventListener("abort", stop)
          if (Exit.isSuccess(exit)) resolve(exit.value)
          // What was inside is not for whoever connects.
          else reject(new Mcp.McpError(Mcp.ErrorCode.InternalError, "the call was interrupted"))
        })
      })

    return () => {
      const server = new Server({ name, version }, {
        capabilities: { tools: {} },
        ...instructions === undefined ? {} : { instructions }
      })
      let running = 0

      server.setRequestHandler(Mcp.ListToolsRequestSchema, () => ({
        tools: tools.map(({ definition: { description = "", name, parameters } }) => ({
          name,
          description,
          inputSchema: { ...parameters, type: "object" as const }
        }))
      }))

      server.setRequestHandler(Mcp.CallToolRequestSchema, async ({ params }, extra) => {
        const tool = known.get(params.name)
        if (tool === undefined) {
          throw new Mcp.McpError(
            Mcp.ErrorCode.InvalidParams,
            `there is no tool "${params.name}"; there are ${[...known.keys()].join(", ")}`
          )
        }
        if (running >= maxRunning) return problem(`${maxRunning} calls are under way; wait for one of them`)
        running += 1
        try {
          return await run(Effect.scoped(reporting(use(tool, params.arguments ?? {}), extra)), extra.signal)
        } finally {
          running -= 1
        }
      })

      return { server, running: () => running, close: Effect.promise(() => server.close()) }
    }
  })

const use = <R>(
  tool: Tool.Tool<string, unknown, unknown, unknown, R>,
  args: { readonly [name: string]: unknown }
): Effect.Effect<Mcp.CallToolResult, never, R> =>
  // It came as JSON.
  tool.decode(args as Json.JsonRecord).pipe(
    Effect.flatMap(tool.run),
    Effect.map(contentOf),
    Effect.withSpan(`execute_tool ${tool.name}`, {
      captureStackTrace: false,
      attributes: { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool.name }
    }),
    Effect.catchAllCause((cause) => {
      const error = Cause.squash(cause)
      return error instanceof Tool.ToolError
        ? Effect.succeed(problem(error.description))
        : Cause.isInterruptedOnly(cause)
        ? Effect.interrupt
        : Effect.as(
          Effect.logError(`The tool "${tool.name}" of an MCP server has failed`, cause),
          problem("it failed; what happened is in the log of the server")
        )
    })
  )

type Extra = RequestHandlerExtra<Mcp.ServerRequest, Mcp.ServerNotification>

// What a module says while it runs is progress, for a client that asks for it.
const reporting = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  { _meta, sendNotification }: Extra
): Effect.Effect<A, E, R> => {
  const progressToken = _meta?.progressToken
  if (progressToken === undefined) return self
  let progress = 0
  return ModuleEvent.listen(self, {
    deltas: false,
    emit: (events) =>
      Effect.forEach(events, (event) =>
        event._tag === "Status"
          ? Effect.ignore(Effect.tryPromise(() =>
            sendNotification({
              method: "notifications/progress",
              params: { progressToken, progress: ++progress, message: event.message }
            })
          ))
          : Effect.void, { discard: true })
  })
}

const problem = (text: string): Mcp.CallToolResult => ({ content: [{ type: "text", text }], isError: true })

const isParts = Schema.is(Schema.Union(LanguageModel.Part, Schema.NonEmptyArray(LanguageModel.Part)))

const contentOf = (value: unknown): Mcp.CallToolResult => {
  if (isParts(value)) {
    const parts: ReadonlyArray<LanguageModel.Part> = "_tag" in value ? [value] : value
    return { content: parts.map(blockOf) }
  }
  if (typeof value === "string") return { content: [{ type: "text", text: value }] }
  const text = value === undefined ? "done" : JSON.stringify(value) ?? String(value)
  // As others will read it, dates and all.
  const json: unknown = value === undefined ? undefined : JSON.parse(text)
  return { content: [{ type: "text", text }], ...Json.isJsonRecord(json) ? { structuredContent: json } : {} }
}

const blockOf = (part: LanguageModel.Part): Mcp.ContentBlock => {
  if (part._tag === "Text") return { type: "text", text: part.text }
  const [, mimeType, data] = /^data:([^;,]+);base64,(.*)$/s.exec(part.url) ?? []
  if (mimeType === undefined || data === undefined) return { type: "resource_link", uri: part.url, name: part.url }
  switch (part._tag) {
    case "Image":
      return { type: "image", mimeType, data }
    case "Audio":
      return { type: "audio", mimeType, data }
    case "File":
      return { type: "resource", resource: { uri: `file:///${part.title ?? "document"}`, mimeType, blob: data } }
  }
}
