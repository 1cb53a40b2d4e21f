/**
 * The `HttpClient` of Node that also says when it has connected, so that
 * `Timeouts.connect` holds. It is undici, by `@effect/platform-node`, which has
 * to be installed beside this package.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Agent, type Dispatcher as UndiciDispatcher } from "@effect/platform-node/Undici"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { CurrentSideband } from "./internal/sideband.ts"

/**
 * What undici calls a `Dispatcher`, such as its `Agent` and `ProxyAgent`. Its own
 * type would ask for the types of Node where this package is compiled against.
 *
 * @since 0.1.0
 * @category models
 */
export interface Dispatcher {
  readonly dispatch: (options: never, handler: never) => boolean
  readonly destroy: () => Promise<void>
}

// A request begins when there is a connection for it, or fails without one. undici is asked while the fiber of the call
// runs.
const telling: UndiciDispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) => {
  const connected = Option.flatMapNullable(
    Fiber.getCurrentFiber(),
    (fiber) => Context.get(fiber.currentContext, CurrentSideband).onConnecting?.()
  )
  if (Option.isSome(connected)) {
    const start = handler.onRequestStart
    handler.onRequestStart = (controller, context) => {
      connected.value()
      start?.call(handler, controller, context)
    }
    const fail = handler.onResponseError
    handler.onResponseError = (controller, error) => {
      connected.value()
      fail?.call(handler, controller, error)
    }
  }
  return dispatch(options, handler)
}

/**
 * The client as a Layer, in place of `NodeHttpClient.layerUndici`. Proxies,
 * HTTP/2, certificates and numbers of connections are said by the dispatcher;
 * by default it is `new Agent()`.
 *
 * How long a call waits for its connection is said by `Timeouts`, to the
 * millisecond. A wait for one of a limited number of connections counts. What
 * undici has begun to open it gives up by itself, after 10 seconds.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
 * import * as Timeouts from "@effect-dspy/providers/Timeouts"
 * import * as UndiciClient from "@effect-dspy/providers/UndiciClient"
 * import { Effect, Layer } from "effect"
 * import * as Net from "node:net"
 *
 * const ask = (port: number) => {
 *   const Model = OpenAiCompatible.layer({ model: "m", baseUrl: `https://127.0.0.1:${port}` }).pipe(
 *     Layer.provide(UndiciClient.layer()),
 *     Policy.apply(Timeouts.make({ connect: "50 millis" }))
 *   )
 *   return LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *     LanguageModelError.catchReason("Timeout", ({ limit, phase }) => Effect.succeed(`${phase}: ${limit} ms`)),
 *     Effect.provide(Model)
 *   )
 * }
 *
 * // A server that never gets to the handshake.
 * const silent = Net.createServer((socket) => socket.resume())
 *
 * silent.listen(0, "127.0.0.1", () => {
 *   const address = silent.address()
 *   const port = typeof address === "object" ? address?.port ?? 0 : 0
 *   Effect.runPromise(ask(port)).then((result) => {
 *     assert.strictEqual(result, "connect: 50 ms")
 *     silent.close()
 *   })
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  dispatcher: () => Dispatcher = () => new Agent()
): Layer.Layer<HttpClient.HttpClient> =>
  NodeHttpClient.layerUndiciWithoutDispatcher.pipe(
    Layer.provide(Layer.scoped(
      NodeHttpClient.Dispatcher,
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => dispatcher() as UndiciDispatcher), // nothing else is one
          (dispatcher) => Effect.promise(() => dispatcher.destroy())
        ),
        (dispatcher) => dispatcher.compose(telling)
      )
    ))
  )
