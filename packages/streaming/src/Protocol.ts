/**
 * What a server and its clients say to each other, as Schemas: the events of a
 * run, and the messages over a WebSocket. For clients in other languages; in
 * TypeScript there is `Client`.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import { Usage } from "@effect-dspy/core/LanguageModel"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Schema from "effect/Schema"
import { ServingError } from "./ServingError.ts"

// =============================================================================
// Events
// =============================================================================

const source = { path: Schema.String, call: Schema.Int }

/**
 * An event from inside a running module.
 *
 * @since 0.1.0
 * @category events
 */
export const Emitted: Schema.Schema<ModuleEvent.Emitted> = Schema.Union(
  Schema.TaggedStruct("FieldDelta", { ...source, field: Schema.String, text: Schema.String }),
  Schema.TaggedStruct("ModuleStart", { ...source, parent: Schema.Int }),
  Schema.TaggedStruct("ModuleEnd", { ...source, exit: Schema.Literal("success", "failure", "interruption") }),
  Schema.TaggedStruct("PredictorStart", { ...source, parent: Schema.Int, inputs: Json.JsonRecord }),
  Schema.TaggedStruct("FieldStart", { ...source, field: Schema.String }),
  Schema.TaggedStruct("FieldEnd", { ...source, field: Schema.String }),
  Schema.TaggedStruct("ReasoningDelta", { ...source, text: Schema.String }),
  Schema.TaggedStruct("Reset", { ...source, cause: Schema.String }),
  Schema.TaggedStruct("UsageReported", { ...source, model: Schema.String, usage: Usage, cached: Schema.Boolean }),
  Schema.TaggedStruct("PredictorEnd", {
    ...source,
    inputs: Json.JsonRecord,
    outputs: Json.JsonRecord,
    listed: Schema.Boolean,
    repairs: Schema.Array(Schema.String)
  }),
  Schema.TaggedStruct("PredictorFailed", {
    ...source,
    inputs: Json.JsonRecord,
    listed: Schema.Boolean,
    cause: Schema.String
  }),
  Schema.TaggedStruct("Untuned", source),
  Schema.TaggedStruct("ToolStart", { ...source, use: Schema.Int, tool: Schema.String, arguments: Json.JsonRecord }),
  Schema.TaggedStruct("ToolEnd", {
    ...source,
    use: Schema.Int,
    tool: Schema.String,
    observation: Schema.String,
    failed: Schema.Boolean
  }),
  Schema.TaggedStruct("Attempt", { ...source, n: Schema.Int }),
  Schema.TaggedStruct("Discarded", { ...source, calls: Schema.Array(Schema.Int) }),
  Schema.TaggedStruct("Status", { ...source, message: Schema.String })
)

/**
 * The last event of a run that came to an answer; `value` is written by the
 * output schema of the module.
 *
 * @since 0.1.0
 * @category events
 */
export const Result = Schema.TaggedStruct("Result", { value: Json.Json })

/**
 * The last event of a run that failed, was cancelled or took too long.
 *
 * @since 0.1.0
 * @category events
 */
export const Failed = Schema.TaggedStruct("Failed", { error: ServingError })

/**
 * An event of a run. The last one is a `Result` or `Failed`; a stream that ends
 * without it has broken off.
 *
 * @since 0.1.0
 * @category events
 */
export const Event = Schema.Union(Emitted, Result, Failed)

/**
 * @since 0.1.0
 * @category events
 */
export type Event = typeof Event.Type

/**
 * An event with its number. The events of a run are counted from 1.
 *
 * @since 0.1.0
 * @category events
 */
export interface Numbered {
  readonly n: number
  readonly event: Event
}

// =============================================================================
// Messages
// =============================================================================

/**
 * The subprotocol of the WebSocket. A client that cannot send headers, as a page,
 * offers a second one beside it, which is `bearer.` and its token in base64url.
 *
 * @since 0.1.0
 * @category messages
 */
export const subprotocol = "effect-dspy"

/**
 * What a client calls a run: 1 to 128 letters, digits, `_` and `-`. Whoever
 * knows it may follow the run, so it should not be possible to guess.
 *
 * @since 0.1.0
 * @category messages
 */
export const RunId = Schema.String.pipe(Schema.pattern(/^[A-Za-z0-9_-]{1,128}$/))

const EventNumber = Schema.Int.pipe(Schema.nonNegative())

/**
 * What a client sends.
 *
 * - `query`: runs a module; a `result` or `failed` comes back.
 * - `stream`: runs a module; its events come back. With `from`, the run of this
 *   id is joined after that event, and only begun if there is none: sent again
 *   after a lost connection it does not run the module twice.
 * - `resume`: joins a run that somebody has begun, after the event `from`.
 * - `ack`: the events of a run up to `n` have been read. So many events are sent
 *   ahead, and no more until some have been read.
 * - `cancel`: ends a run, for all who follow it; `cancelled` comes back.
 * - `leave`: follows a run no longer, which ends it unless others follow it.
 * - `ping`: is answered by `pong`.
 *
 * What a client says of its own tools (`register_tools`, `tool_result` and so on)
 * are the messages of `ToolBridge`.
 *
 * @since 0.1.0
 * @category messages
 */
export const ClientMessage = Schema.Union(
  Schema.Struct({ type: Schema.Literal("ack"), id: RunId, n: EventNumber }),
  Schema.Struct({ type: Schema.Literal("query"), id: RunId, module: Schema.String, input: Json.Json }),
  Schema.Struct({
    type: Schema.Literal("stream"),
    id: RunId,
    module: Schema.String,
    input: Json.Json,
    from: Schema.optional(EventNumber)
  }),
  Schema.Struct({ type: Schema.Literal("resume"), id: RunId, from: EventNumber }),
  Schema.Struct({ type: Schema.Literal("cancel"), id: RunId }),
  Schema.Struct({ type: Schema.Literal("leave"), id: RunId }),
  Schema.Struct({ type: Schema.Literal("ping") })
)

/**
 * @since 0.1.0
 * @category messages
 */
export type ClientMessage = typeof ClientMessage.Type

/**
 * What a server sends.
 *
 * - `ready`: comes first; `window` is how many events of a run are sent ahead, and
 *   `body` how many bytes an input may have. Whoever sends a larger message is
 *   not answered: the connection is closed (1009).
 * - `events`: events of a run, in order; `n` is the number of the first.
 * - `result`: the answer to a `query`.
 * - `failed`: why a `query` has no answer, a run could not be begun or joined, or,
 *   without `id`, what is wrong with a message.
 * - `cancelled`: the answer to `cancel`; with `error`, why nothing was.
 * - `pong`: the answer to `ping`.
 *
 * To a client with tools of its own it sends the messages of `ToolBridge`, too.
 *
 * @since 0.1.0
 * @category messages
 */
export const ServerMessage = Schema.Union(
  Schema.Struct({ type: Schema.Literal("events"), id: RunId, n: EventNumber, events: Schema.Array(Event) }),
  Schema.Struct({ type: Schema.Literal("ready"), window: Schema.Int, body: Schema.Int }),
  Schema.Struct({ type: Schema.Literal("result"), id: RunId, value: Json.Json }),
  Schema.Struct({ type: Schema.Literal("failed"), id: Schema.optional(RunId), error: ServingError }),
  Schema.Struct({ type: Schema.Literal("cancelled"), id: RunId, error: Schema.optional(ServingError) }),
  Schema.Struct({ type: Schema.Literal("pong") })
)

/**
 * @since 0.1.0
 * @category messages
 */
export type ServerMessage = typeof ServerMessage.Type
