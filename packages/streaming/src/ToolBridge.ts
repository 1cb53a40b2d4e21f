/**
 * Tools that whoever is connected brings along: a browser, another service, or a
 * program in another language. They are called over the connection, and are
 * there for its session alone.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Tool from "@effect-dspy/core/Tool"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberMap from "effect/FiberMap"
import * as FiberRef from "effect/FiberRef"
import { dual } from "effect/Function"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Gathered } from "./internal/gathered.ts"

// =============================================================================
// Messages
// =============================================================================

/**
 * A tool as it is offered: its name, what it is good for, and a JSON Schema of
 * its arguments.
 *
 * @since 0.1.0
 * @category messages
 */
export const Offer = Schema.Struct({
  name: Schema.String,
  description: Schema.String,
  parameters: Json.JsonRecord
})

/**
 * Says which tools there are, from now on: those that were offered before and
 * are not among them are gone. Answered by `ToolsRegistered` or `BridgeError`.
 *
 * @since 0.1.0
 * @category messages
 */
export const RegisterTools = Schema.Struct({
  type: Schema.Literal("register_tools"),
  tools: Schema.Array(Offer)
})

/**
 * The next piece of text of what a tool answers, while it is not done.
 *
 * @since 0.1.0
 * @category messages
 */
export const ToolPartial = Schema.Struct({
  type: Schema.Literal("tool_partial"),
  call: Schema.String,
  text: Schema.String
})

/**
 * A tool is done. Without a `value` its answer is the text of its pieces.
 *
 * @since 0.1.0
 * @category messages
 */
export const ToolResult = Schema.Struct({
  type: Schema.Literal("tool_result"),
  call: Schema.String,
  value: Schema.optional(Json.Json)
})

/**
 * A tool has failed; the message is told to the model.
 *
 * @since 0.1.0
 * @category messages
 */
export const ToolFailed = Schema.Struct({
  type: Schema.Literal("tool_failed"),
  call: Schema.String,
  message: Schema.String
})

/**
 * What comes from whoever has the tools.
 *
 * @since 0.1.0
 * @category messages
 */
export const FromClient = Schema.Union(RegisterTools, ToolPartial, ToolResult, ToolFailed)

/**
 * @since 0.1.0
 * @category messages
 */
export type FromClient = typeof FromClient.Type

/**
 * These tools can be called now.
 *
 * @since 0.1.0
 * @category messages
 */
export const ToolsRegistered = Schema.Struct({
  type: Schema.Literal("tools_registered"),
  tools: Schema.Array(Schema.String)
})

/**
 * Asks for a tool to be used. The arguments fit its schema; `call` names the
 * call in all that is said about it.
 *
 * @since 0.1.0
 * @category messages
 */
export const ToolCall = Schema.Struct({
  type: Schema.Literal("tool_call"),
  call: Schema.String,
  tool: Schema.String,
  arguments: Json.JsonRecord
})

/**
 * Nobody waits for this call any more: it took too long, or who asked has left.
 *
 * @since 0.1.0
 * @category messages
 */
export const ToolCancel = Schema.Struct({
  type: Schema.Literal("tool_cancel"),
  call: Schema.String
})

/**
 * A message that could not be used, and why. It had no effect; the session goes
 * on.
 *
 * - `Malformed`: it is not one of the messages there are.
 * - `InvalidTool`: one of the tools cannot be registered, so none was.
 *
 * @since 0.1.0
 * @category messages
 */
export const BridgeError = Schema.Struct({
  type: Schema.Literal("bridge_error"),
  reason: Schema.Literal("Malformed", "InvalidTool"),
  message: Schema.String
})

/**
 * What whoever has the tools is told.
 *
 * @since 0.1.0
 * @category messages
 */
export const FromServer = Schema.Union(ToolsRegistered, ToolCall, ToolCancel, BridgeError)

/**
 * @since 0.1.0
 * @category messages
 */
export type FromServer = typeof FromServer.Type

// =============================================================================
// Sessions
// =============================================================================

/**
 * The connection ended before any tool was registered.
 *
 * @since 0.1.0
 * @category errors
 */
export class Disconnected
  extends Schema.TaggedError<Disconnected>("@effect-dspy/streaming/ToolBridge/Disconnected")("Disconnected", {
    description: Schema.String
  })
{
  override get message(): string {
    return `the connection ended before any tool was registered (${this.description}); see that the other side sends \`register_tools\` first, and what it says of its end`
  }
}

/**
 * A tool of the other side. What becomes of a call is an observation in any
 * case: its failures are `ToolError`s.
 *
 * @since 0.1.0
 * @category models
 */
export type BridgedTool = Tool.Tool<string, Json.JsonRecord, Json.Json>

/**
 * What `ToolBridge` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long a call may take; 30 seconds by default. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * Names that cannot be registered, such as those of the tools of the server;
   * `finish` and `submit`, by which agents end, never can.
   */
  readonly reserved?: ReadonlyArray<string> | undefined
}

/**
 * One session of one client. It ends with its scope or its connection: calls
 * that are open then come to nothing, which the model is told.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolBridge {
  /** The tools there are now; none before they are registered and after the end. */
  readonly tools: Effect.Effect<ReadonlyArray<BridgedTool>>
  /** Waits for the first registration. */
  readonly registered: Effect.Effect<ReadonlyArray<BridgedTool>, Disconnected>
  /** Takes what has come from the client, as parsed JSON. What is no message is answered, and changes nothing. */
  readonly receive: (message: unknown) => Effect.Effect<void>
}

const maxTools = 128
const maxOpen = 64
const maxText = 1024 * 1024
// How long a client may take to read that a call is cancelled, until it counts as gone.
const patience = "10 seconds"

const validName = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/

interface Open {
  readonly tool: string
  readonly news: Effect.Latch
  text: string
  told: number
  outcome: Exit.Exit<Json.Json, Tool.ToolError> | undefined
}

/**
 * A session over a connection that somebody else reads, such as a server that
 * has more to say over it. For a connection of its own, see `connect`.
 *
 * - The arguments of a call are checked before it leaves, strictly, by the
 *   schema that came with the tool.
 * - A call that takes too long or is interrupted is cancelled on the other side.
 * - What a tool says while it is not done is a `Status` event of the module that
 *   uses it.
 * - At most 128 tools and 64 open calls; at most 1 MiB of text in pieces.
 * - A result that nobody waits for, or a second one, is logged at debug level.
 *
 * A `send` that fails ends the session.
 *
 * @example
 * ```ts
 * import * as Tool from "@effect-dspy/core/Tool"
 * import * as ToolBridge from "@effect-dspy/streaming/ToolBridge"
 * import { Effect } from "effect"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   // The other side, which answers at once.
 *   const bridge: ToolBridge.ToolBridge = yield* ToolBridge.make((message) =>
 *     message.type === "tool_call"
 *       ? bridge.receive({ type: "tool_result", call: message.call, value: `sunny in ${message.arguments["city"]}` })
 *       : Effect.void
 *   )
 *   yield* bridge.receive({
 *     type: "register_tools",
 *     tools: [{
 *       name: "weather",
 *       description: "The weather in a city.",
 *       parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
 *     }]
 *   })
 *   const [weather] = yield* bridge.registered
 *   return yield* Tool.call(weather!, { city: "Rome" })
 * }))
 *
 * Effect.runPromise(program).then((observation) => assert.strictEqual(observation, "sunny in Rome"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E>(
  send: (message: FromServer) => Effect.Effect<void, E>,
  options: Options = {}
): Effect.Effect<ToolBridge, never, Scope.Scope> =>
  Effect.map(session(send, options), ({ receive, registered, tools }) => ({ receive, registered, tools }))

interface Session extends ToolBridge {
  readonly refuse: (message: string) => Effect.Effect<void>
  readonly end: (why: string) => Effect.Effect<void>
}

const session = <E>(
  send: (message: FromServer) => Effect.Effect<void, E>,
  options: Options
): Effect.Effect<Session, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const open = new Map<string, Open>()
    const first = yield* Deferred.make<ReadonlyArray<BridgedTool>, Disconnected>()
    const reserved = new Set(["finish", "submit", ...options.reserved ?? []])
    let tools: ReadonlyMap<string, BridgedTool> = new Map()
    let calls = 0
    let ended: string | undefined

    const failed = (tool: string, description: string) => new Tool.ToolError({ tool, reason: "Failed", description })
    const gone = (tool: string) => failed(tool, `who offers it is not connected any more (${ended})`)

    const settle = (call: Open, outcome: Exit.Exit<Json.Json, Tool.ToolError>): void => {
      call.outcome = outcome
      call.news.unsafeOpen()
    }

    const end = (why: string) =>
      Effect.suspend(() => {
        if (ended !== undefined) return Effect.void
        ended = why
        tools = new Map()
        for (const call of open.values()) settle(call, Exit.fail(gone(call.tool)))
        return Effect.asVoid(Deferred.fail(first, new Disconnected({ description: why })))
      })

    const tell = (message: FromServer): Effect.Effect<void> =>
      ended !== undefined
        ? Effect.void
        : Effect.catchAllCause(
          send(message),
          (cause) => Cause.isInterruptedOnly(cause) ? Effect.interrupt : end(`it cannot be written to: ${said(cause)}`)
        )

    const refuse = (message: string, reason: "Malformed" | "InvalidTool" = "Malformed") =>
      tell({ type: "bridge_error", reason, message })

    // ---- Calls

    const call = (tool: string, args: Json.JsonRecord): Effect.Effect<Json.Json, Tool.ToolError> =>
      Effect.suspend(() => {
        if (ended !== undefined) return gone(tool)
        if (!tools.has(tool)) return failed(tool, "who offered it does so no more")
        if (open.size >= maxOpen) return failed(tool, `${maxOpen} calls of this client are open; wait for one of them`)
        const id = String(++calls)
        const entry: Open = { tool, news: Effect.unsafeMakeLatch(), text: "", told: 0, outcome: undefined }
        open.set(id, entry)
        return tell({ type: "tool_call", call: id, tool, arguments: args }).pipe(
          Effect.zipRight(follow(entry)),
          Effect.onInterrupt(() => cancel(id)),
          Effect.ensuring(Effect.sync(() => open.delete(id)))
        )
      })

    // What comes while its listener is busy is told at once: a reader that is slow holds up nobody.
    const follow = (entry: Open): Effect.Effect<Json.Json, Tool.ToolError> =>
      Effect.flatMap(entry.news.await, () => {
        entry.news.unsafeClose()
        const more = entry.text.slice(entry.told)
        entry.told = entry.text.length
        const told = more === "" ? Effect.void : ModuleEvent.status(`${entry.tool}: ${more}`)
        return Effect.zipRight(told, Effect.suspend(() => entry.outcome ?? follow(entry)))
      })

    const cancel = (id: string) =>
      tell({ type: "tool_cancel", call: id }).pipe(
        Effect.interruptible,
        Effect.timeoutTo({
          duration: patience,
          onSuccess: () => Effect.void,
          onTimeout: () => end("it does not read")
        }),
        Effect.flatten,
        Effect.forkIn(scope)
      )

    // ---- What the client says

    const register = (offers: ReadonlyArray<typeof Offer.Type>) => {
      const problem = offers.length > maxTools
        ? `${offers.length} tools are more than ${maxTools}`
        : offers.map(({ name, parameters }, index) =>
          !validName.test(name)
            ? `"${name}" is no name for a tool; use letters, digits, "_" and "-", at most 64 of them`
            : reserved.has(name)
            ? `"${name}" is taken; give the tool another name`
            : offers.findIndex((other) => other.name === name) < index
            ? `there are two tools with the name "${name}"`
            : parameters["type"] !== "object"
            ? `the parameters of "${name}" must be a JSON Schema with "type": "object"`
            : undefined
        ).find((problem) => problem !== undefined)
      if (problem !== undefined) return refuse(problem, "InvalidTool")
      tools = new Map(offers.map(({ description, name, parameters }) => [
        name,
        Tool.dynamic(name, {
          description,
          parameters,
          timeout: options.timeout ?? "30 seconds",
          run: (args) => call(name, args)
        })
      ]))
      return tell({ type: "tools_registered", tools: [...tools.keys()] }).pipe(
        Effect.zipRight(Deferred.succeed(first, [...tools.values()]))
      )
    }

    const heard = (message: Exclude<FromClient, typeof RegisterTools.Type>) => {
      const entry = open.get(message.call)
      if (entry === undefined || entry.outcome !== undefined) {
        return Effect.logDebug(`Nobody waits for this ${message.type} of call "${message.call}"`)
      }
      if (message.type === "tool_failed") settle(entry, Exit.fail(failed(entry.tool, message.message)))
      else if (message.type === "tool_result") {
        settle(entry, Exit.succeed(message.value === undefined ? entry.text : message.value))
      } else if (entry.text.length + message.text.length > maxText) {
        settle(entry, Exit.fail(failed(entry.tool, `it said more than ${maxText} characters`)))
        return cancel(message.call)
      } else {
        entry.text += message.text
        entry.news.unsafeOpen()
      }
      return Effect.void
    }

    yield* Effect.addFinalizer(() => end("the session is over"))

    return {
      tools: Effect.sync(() => [...tools.values()]),
      registered: Deferred.await(first),
      receive: (message) =>
        Effect.suspend((): Effect.Effect<unknown> => {
          if (ended !== undefined) return Effect.void
          const read = readFromClient(message)
          return Either.isLeft(read)
            ? refuse(read.left)
            : read.right.type === "register_tools"
            ? register(read.right.tools)
            : heard(read.right)
        }).pipe(Effect.asVoid),
      refuse,
      end
    }
  })

// Each message by its own schema, so that what is wrong with it can be said shortly.
const reader = <
  Members extends ReadonlyArray<
    Schema.Schema.AnyNoContext & { readonly fields: { readonly type: { readonly literals: readonly [string] } } }
  >
>(
  union: { readonly members: Members }
) => {
  type Message = Schema.Schema.Type<Members[number]>
  const decoders = new Map<unknown, (message: unknown) => Either.Either<Message, ParseResult.ParseError>>(
    union.members.map((member) => [member.fields.type.literals[0], Schema.decodeUnknownEither(member)])
  )
  return (message: unknown): Either.Either<Message, string> => {
    const type = Predicate.hasProperty(message, "type") ? message.type : undefined
    const decode = decoders.get(type)
    if (decode === undefined) return Either.left(`its type must be one of ${[...decoders.keys()].join(", ")}`)
    // What is nested too deeply is more than the stack holds, as a value or in what is said of it.
    return Either.try({
      try: () =>
        Either.mapLeft(
          decode(message),
          (error) =>
            ParseResult.ArrayFormatter.formatErrorSync(error).slice(0, 5).map(({ message, path }) =>
              `${path.join(".")}: ${message}`
            ).join("; ").slice(0, 1000)
        ),
      catch: () => "it is nested too deeply"
    }).pipe(
      Either.flatMap((read) => read),
      Either.mapLeft((problem) => `this is no ${type}: ${problem}`)
    )
  }
}

const readFromClient = reader(FromClient)
const readFromServer = reader(FromServer)

/**
 * Whether parsed JSON is meant for `receive`, well-formed or not; for a connection
 * that carries other messages too.
 *
 * @since 0.1.0
 * @category guards
 */
export const isMessage = (u: unknown): boolean => Predicate.hasProperty(u, "type") && types.has(u.type)

const types: ReadonlySet<unknown> = new Set(FromClient.members.map(({ fields }) => fields.type.literals[0]))

// The session that a program runs for.
const current = globalValue(
  "@effect-dspy/streaming/ToolBridge/current",
  () => FiberRef.unsafeMake<ToolBridge | undefined>(undefined)
)

/**
 * Runs a program for a client, whose tools it finds as `tools`. A `Server` does so
 * for what is asked over a WebSocket.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withBridge: {
  (bridge: ToolBridge): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, bridge: ToolBridge): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, bridge: ToolBridge): Effect.Effect<A, E, R> =>
    Effect.locally(self, current, bridge)
)

/**
 * The tools of the client that this runs for; none where there is no such client,
 * or it has brought none.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as ReAct from "@effect-dspy/core/ReAct"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as ToolBridge from "@effect-dspy/streaming/ToolBridge"
 * import { Effect } from "effect"
 *
 * // An agent with the tools of whoever asks.
 * const assistant = Module.make({}, function*(_, input: { readonly question: string }) {
 *   const tools = yield* ToolBridge.tools
 *   return yield* ReAct.make("question -> answer", { tools })(input)
 * })
 *
 * const program = assistant({ question: "What time is it?" }).pipe(
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.toolCalls([{ name: "finish", arguments: {} }]),
 *     TestLanguageModel.fields({ reasoning: "There is no tool for it.", answer: "I cannot know." })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then(({ answer }) => assert.strictEqual(answer, "I cannot know."))
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const tools: Effect.Effect<ReadonlyArray<BridgedTool>> = Effect.flatMap(
  FiberRef.get(current),
  (bridge) => bridge?.tools ?? Effect.succeed([])
)

// =============================================================================
// Connections
// =============================================================================

/**
 * What has come is no text that could be a message: a line that is too long, or
 * not UTF-8.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unreadable {
  readonly unreadable: string
}

/**
 * A connection that carries one JSON text at a time, in both directions.
 * `incoming` is run once and ends with the connection; `send` waits for room.
 *
 * @since 0.1.0
 * @category models
 */
export interface Channel<out E = never> {
  readonly incoming: Stream.Stream<string | Unreadable, E>
  readonly send: (text: string) => Effect.Effect<void, E>
}

/**
 * A connection of bytes, such as the standard input and output of a program
 * (`Subprocess` of the providers), as one of newline-delimited JSON. A line of
 * more than `maxLine` bytes, 1 MiB by default, is skipped and answered by a
 * `BridgeError`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const lines = <E, E2>(
  bytes: {
    readonly output: Stream.Stream<Uint8Array, E>
    readonly write: (text: string) => Effect.Effect<void, E2>
  },
  options: { readonly maxLine?: number | undefined } = {}
): Channel<E | E2> => ({
  incoming: splitLines(bytes.output, options.maxLine ?? 1024 * 1024),
  send: (text) => bytes.write(`${text}\n`)
})

const newline = 0x0a

const splitLines = <E>(bytes: Stream.Stream<Uint8Array, E>, maxLine: number): Stream.Stream<string | Unreadable, E> =>
  Stream.suspend(() => {
    const begun = new Gathered(maxLine)
    const decoder = new TextDecoder("utf-8", { fatal: true })
    const line = (last: Uint8Array): ReadonlyArray<string | Unreadable> => {
      const isWhole = begun.size === 0
      if (!isWhole) begun.add(last)
      const length = isWhole ? last.length : begun.size
      const content = isWhole ? last : begun.take()
      // What is too long is skipped, not held.
      if (length > maxLine) return [{ unreadable: `a line of ${length} bytes is longer than ${maxLine}` }]
      try {
        const text = decoder.decode(content).trim()
        return text === "" ? [] : [text]
      } catch {
        return [{ unreadable: "a line is not UTF-8" }]
      }
    }
    return Stream.mapConcat(bytes, (chunk) => {
      const found: Array<string | Unreadable> = []
      let start = 0
      for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
        found.push(...line(chunk.subarray(start, end)))
        start = end + 1
      }
      if (start < chunk.length) begun.add(chunk.subarray(start))
      return found
    })
  })

/**
 * A session over a connection of its own, which it reads until the scope closes
 * or the connection ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const connect = <E>(
  channel: Channel<E>,
  options: Options = {}
): Effect.Effect<ToolBridge, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { end, receive, refuse, registered, tools } = yield* session(
      (message) => channel.send(JSON.stringify(message)),
      options
    )
    yield* channel.incoming.pipe(
      Stream.runForEach((frame) => Either.match(parse(frame), { onLeft: (why) => refuse(why), onRight: receive })),
      Effect.onExit((exit) =>
        end(
          Exit.isSuccess(exit)
            ? "it was closed"
            : Cause.isInterruptedOnly(exit.cause)
            ? "the session is over"
            : said(exit.cause)
        )
      ),
      Effect.catchAllCause(() => Effect.void), // told to all calls, and to whoever waits for tools
      Effect.forkScoped
    )
    return { receive, registered, tools }
  })

const parse = (frame: string | Unreadable): Either.Either<unknown, string> =>
  typeof frame === "string"
    ? Either.try({ try: (): unknown => JSON.parse(frame), catch: () => "this is no JSON" })
    : Either.left(frame.unreadable)

// =============================================================================
// The other side
// =============================================================================

/**
 * The server has refused the tools, and says why.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Schema.TaggedError<Refused>("@effect-dspy/streaming/ToolBridge/Refused")("Refused", {
  description: Schema.String
}) {
  override get message(): string {
    return `the server has refused these tools: ${this.description}`
  }
}

// Who hears what a tool says before it is done.
const partials = globalValue(
  "@effect-dspy/streaming/ToolBridge/partials",
  () => FiberRef.unsafeMake((_: string): Effect.Effect<void> => Effect.void)
)

/**
 * Tells the server more of the answer while a tool that is offered by `offer`
 * runs; nothing anywhere else.
 *
 * @since 0.1.0
 * @category running
 */
export const partial = (text: string): Effect.Effect<void> => Effect.flatMap(FiberRef.get(partials), (say) => say(text))

/**
 * The side that has the tools: registers them, and uses them as it is asked to,
 * until the connection ends. Calls run side by side, at most 64 at a time; one
 * that is cancelled is interrupted. A tool's own failures are told to the server.
 *
 * @since 0.1.0
 * @category running
 */
export const offer = <const Tools extends ReadonlyArray<Tool.Any>, E>(
  channel: Channel<E>,
  tools: Tools
): Effect.Effect<void, E | Refused, Tool.Requirements<Tools[number]>> =>
  Effect.scoped(Effect.gen(function*() {
    const { failed, hear, register } = yield* answering((message) => channel.send(JSON.stringify(message)), tools)
    yield* register
    const reading = Stream.runForEach(channel.incoming, (frame) =>
      Either.match(Either.flatMap(parse(frame), readFromServer), {
        onLeft: (why) =>
          Effect.logWarning(`What the server says cannot be read: ${why}`),
        onRight: hear
      }))
    // An answer that cannot be sent ends it, too.
    yield* Effect.raceFirst(reading, failed)
  }))

/**
 * The side that has the tools, over a connection that somebody else reads. `failed`
 * waits for an answer that cannot be sent.
 *
 * @internal
 */
export const answering = <const Tools extends ReadonlyArray<Tool.Any>, E>(
  tell: (message: FromClient) => Effect.Effect<void, E>,
  tools: Tools
): Effect.Effect<
  {
    readonly register: Effect.Effect<void, E>
    readonly hear: (message: FromServer) => Effect.Effect<void, E | Refused, Tool.Requirements<Tools[number]>>
    readonly failed: Effect.Effect<void, E>
  },
  never,
  Scope.Scope
> =>
  Effect.map(FiberMap.make<string, void, E>(), (running) => {
    type R = Tool.Requirements<Tools[number]>
    const known = new Map(tools.map((tool) => [tool.name, tool]))

    const use = ({ arguments: args, call, tool: name }: typeof ToolCall.Type): Effect.Effect<void, E, R> => {
      const tool = known.get(name)
      const fail = (message: string) => tell({ type: "tool_failed", call, message })
      if (tool === undefined) return fail(`there is no tool "${name}" here`)
      const say = (text: string) => Effect.ignore(tell({ type: "tool_partial", call, text }))
      // What the tools fail with and need, their types have forgotten one by one, but not all together.
      const answer = Tool.call(tool as Tool.Tool<string, unknown, unknown, unknown, R>, args)
      return answer.pipe(
        Effect.locally(partials, say),
        Effect.matchCauseEffect({
          onSuccess: (value) => tell({ type: "tool_result", call, value }),
          onFailure: (cause) => Cause.isInterruptedOnly(cause) ? Effect.interrupt : fail(said(cause))
        })
      )
    }

    const hear = (message: FromServer): Effect.Effect<unknown, E | Refused, R> => {
      switch (message.type) {
        case "tool_call":
          return Effect.flatMap(FiberMap.size(running), (size) =>
            size < maxOpen
              ? FiberMap.run(running, message.call, use(message), { onlyIfMissing: true })
              : tell({ type: "tool_failed", call: message.call, message: `${maxOpen} calls run already` }))
        case "tool_cancel":
          // Whatever it still has to do, others are not kept waiting.
          return Option.match(FiberMap.unsafeGet(running, message.call), {
            onNone: () => Effect.void,
            onSome: (fiber) => Fiber.interruptAsFork(fiber, FiberId.none)
          })
        case "tools_registered":
          return Effect.void
        case "bridge_error":
          return message.reason === "InvalidTool"
            ? new Refused({ description: message.message })
            : Effect.logWarning(`The server could not use a message: ${message.message}`)
      }
    }

    return {
      register: tell({
        type: "register_tools",
        tools: tools.map(({ definition: { description = "", name, parameters } }) => ({
          name,
          description,
          parameters
        }))
      }),
      hear: (message) => Effect.asVoid(hear(message)),
      failed: FiberMap.join(running)
    }
  })

const said = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}
