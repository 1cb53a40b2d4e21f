/**
 * Tools that whoever is connected brings along: a browser, another service, or a
 * program in another language. They are called over the connection, and are
 * there for its session alone.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import * as Schema from "effect/Schema"

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
