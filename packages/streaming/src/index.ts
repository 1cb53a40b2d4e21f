/**
 * Conversations with a module: each session has a typed history, which is kept
 * in a `KeyValueStore` and shown to the module as far as it fits. Sessions run
 * side by side; the turns of one session follow each other.
 *
 * @since 0.1.0
 */
export * as Chat from "./Chat.ts"

/**
 * Typed events between parts of a program that do not know each other: whoever
 * publishes one does not wait for whoever hears it, unless a subscriber is
 * subscribed in that way.
 *
 * @since 0.1.0
 */
export * as EventBus from "./EventBus.ts"

/**
 * A running module as a Stream: everything it does, its fields as they are
 * written, or values that grow. The program itself is not changed, and there is
 * no second way of running it: the stream listens, the module answers. Any
 * adapter streams, and so does an answer from a cache.
 *
 * @since 0.1.0
 */
export * as ModuleStream from "./ModuleStream.ts"

/**
 * Requests to one module, under control: each has an id, can be listed and
 * cancelled, and has a limit of time; so many run at once, so many wait, and
 * more are refused. Equal ones can share a run. For a server, or anything else
 * whose requests come from outside and whose end must be orderly.
 *
 * @since 0.1.0
 */
export * as RequestManager from "./RequestManager.ts"

/**
 * A stream of items, such as messages as they come in, run through a module in
 * batches: by size, and by the time an item may wait. The module takes a list
 * of items; `Module.batch` makes one of a module that takes a single item.
 *
 * @since 0.1.0
 */
export * as StreamProcessor from "./StreamProcessor.ts"

/**
 * Tools that whoever is connected brings along: a browser, another service, or a
 * program in another language. They are called over the connection, and are
 * there for its session alone.
 *
 * @since 0.1.0
 */
export * as ToolBridge from "./ToolBridge.ts"
