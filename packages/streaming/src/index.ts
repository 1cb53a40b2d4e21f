/**
 * Conversations with a module: each session has a typed history, which is kept
 * in a `KeyValueStore` and shown to the module as far as it fits. Sessions run
 * side by side; the turns of one session follow each other.
 *
 * @since 0.1.0
 */
export * as Chat from "./Chat.ts"

/**
 * A typed client of a `Server`: modules in another process, called and watched as
 * if they were here. A stream that loses its connection takes it up again where it
 * was, without a second call of the model.
 *
 * @since 0.1.0
 */
export * as Client from "./Client.ts"

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
 * The modules of a `Server` for clients that know OpenAI's chat completions: each
 * is a model of its own name, so that any of these clients can call a program as
 * it calls a model.
 *
 * @since 0.1.0
 */
export * as OpenAiServer from "./OpenAiServer.ts"

/**
 * A page on which the modules of a `Server` can be tried: pick one, fill in its
 * inputs, watch the fields arrive, see what happened inside, what it cost, and
 * cancel it.
 *
 * @since 0.1.0
 */
export * as Playground from "./Playground.ts"

/**
 * What a server and its clients say to each other, as Schemas: the events of a
 * run, and the messages over a WebSocket. For clients in other languages; in
 * TypeScript there is `Client`.
 *
 * @since 0.1.0
 */
export * as Protocol from "./Protocol.ts"

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
 * Modules served from their signatures: asked for an answer over HTTP, watched
 * while they answer over server-sent events and WebSockets, all on one port. A
 * lost connection can be taken up again without a second call of the model; a
 * client that leaves stops the model, one that reads slowly slows it down.
 *
 * @since 0.1.0
 */
export * as Server from "./Server.ts"

/**
 * What a caller from outside is told when a request cannot be answered: a few
 * reasons with fixed words. What a module fails with stays inside: no prompt, no
 * answer of a model, no key and no stack trace is ever part of it.
 *
 * @since 0.1.0
 */
export * as ServingError from "./ServingError.ts"

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
