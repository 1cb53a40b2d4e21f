import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { subprotocol } from "../../Protocol.ts"
import * as ServingError from "../../ServingError.ts"
import * as admission from "./admission.ts"
import * as frames from "./frames.ts"
import type * as Ticker from "./ticker.ts"

/**
 * A WebSocket on the side of the server. That of the platform takes messages of
 * any size and as many as come, and keeps what a client does not read: this one
 * is written on the socket itself, which says when it has taken what was written.
 */
export interface Connection {
  /** The next message; `undefined` when there will be no more. Nothing is read ahead of it, beyond what has arrived. */
  readonly receive: Effect.Effect<string | undefined>
  /** Waits as long as the client does not take what was sent. */
  readonly send: (text: string) => Effect.Effect<void>
  /** Says goodbye, and waits for a moment that the client does too. */
  readonly close: (code: number, reason: string) => Effect.Effect<void>
  /** Closes at once. */
  readonly destroy: () => void
}

export interface Options {
  /** In bytes. */
  readonly message: number
  /** After how many seconds a client that takes nothing is left. */
  readonly stall: number
  readonly ticker: Ticker.Ticker
}

/**
 * What is needed of the socket of a request; that of Node's HTTP server is one.
 */
export interface Duplex {
  readonly destroyed: boolean
  readonly writableEnded: boolean
  readonly writableNeedDrain: boolean
  readonly write: (bytes: Uint8Array | string) => boolean
  readonly cork: () => void
  readonly uncork: () => void
  readonly end: () => void
  readonly destroy: () => void
  readonly pause: () => void
  readonly resume: () => void
  readonly isPaused: () => boolean
  readonly setKeepAlive: (enable: boolean, initialDelay: number) => unknown
  readonly on: Listening
  readonly off: Listening
}

interface Listening {
  (event: "data", listener: (bytes: Uint8Array) => void): Duplex
  (event: "drain" | "close" | "end" | "error", listener: () => void): Duplex
}

const seconds = { ping: 20, dead: 45 }
const inboxSize = 32
const handshakeKey = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/**
 * The socket a request has come in by, where the server is Node's.
 */
export const socketOf = ({ source }: HttpServerRequest.HttpServerRequest): Duplex | undefined =>
  Predicate.hasProperty(source, "socket") && Predicate.hasProperty(source.socket, "destroy") &&
    Predicate.hasProperty(source.socket, "write")
    ? source.socket as Duplex // what can be written and destroyed is the socket of Node's request
    : undefined

const isHandshake = ({ headers, method }: HttpServerRequest.HttpServerRequest): boolean =>
  method === "GET" && headers["upgrade"]?.toLowerCase() === "websocket" && headers["sec-websocket-version"] === "13" &&
  /^[A-Za-z0-9+/]{22}==$/.test(headers["sec-websocket-key"] ?? "")

const proofOf = (key: string): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.digest("SHA-1", new TextEncoder().encode(key + handshakeKey))),
    (digest) => Encoding.encodeBase64(new Uint8Array(digest))
  )

export const accept = (
  request: HttpServerRequest.HttpServerRequest,
  options: Options
): Effect.Effect<Connection, ServingError.ServingError, Scope.Scope> =>
  Effect.gen(function*() {
    const socket = socketOf(request)
    if (socket === undefined) {
      return yield* ServingError.make("BadRequest", "WebSockets are served by Node's HTTP server only; use /stream")
    }
    if (!isHandshake(request)) {
      return yield* ServingError.make("BadRequest", "this address is for WebSockets, version 13")
    }
    const proof = yield* proofOf(request.headers["sec-websocket-key"]!) // checked above
    const reader = new frames.Reader(options.message)
    const inbox: Array<string> = []
    const hasRoom = yield* Effect.makeLatch(true)
    const isGone = yield* Effect.makeLatch(false)
    let wake: (() => void) | undefined
    let isEnded = false
    let isClosing = false
    let silent = 0
    let stuck = 0

    const ended = (): void => {
      isEnded = true
      hasRoom.unsafeOpen()
      wake?.()
    }
    let isGathering = false
    // What is written in one turn of the event loop goes out at once: to hand it to the system costs more than to make it.
    const gather = (): void => {
      if (isGathering) return
      isGathering = true
      socket.cork()
      setImmediate(() => {
        isGathering = false
        socket.uncork()
      })
    }
    const write = (bytes: Uint8Array): void => {
      if (socket.destroyed || socket.writableEnded) return
      gather()
      if (!socket.write(bytes)) hasRoom.unsafeClose()
    }
    const goodbye = (code: number, reason: string): void => {
      if (isClosing) return
      isClosing = true
      write(frames.close(code, reason))
      socket.end()
    }
    const take = (frame: frames.Frame): void => {
      switch (frame._tag) {
        case "Text":
          inbox.push(frame.text)
          break
        case "Ping":
          // A client that asks and does not read the answers gets no more of them.
          if (!socket.writableNeedDrain) write(frames.pong(frame.payload))
          break
        case "Pong":
          break
        case "Close":
          goodbye(1000, "")
          ended()
          break
        case "Violation":
          goodbye(frame.code, frame.reason)
          ended()
      }
    }
    const onData = (bytes: Uint8Array): void => {
      silent = 0
      if (isEnded) return
      reader.push(bytes).forEach(take)
      if (inbox.length >= inboxSize) socket.pause()
      wake?.()
    }
    const onDrain = (): void => {
      stuck = 0
      hasRoom.unsafeOpen()
    }
    const onClose = (): void => {
      ended()
      isGone.unsafeOpen()
    }
    // An error of a socket is followed by its end.
    const onError = (): void => {}

    const close = (code: number, reason: string): Effect.Effect<void> =>
      Effect.suspend(() => {
        goodbye(code, reason)
        socket.resume()
        return Effect.asVoid(Effect.timeoutOption(Effect.interruptible(isGone.await), "2 seconds"))
      })

    yield* Effect.acquireRelease(
      Effect.sync(() => {
        socket.on("data", onData).on("drain", onDrain).on("close", onClose).on("end", ended).on("error", onError)
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${proof}\r\n${
            admission.subprotocolsOf(request).includes(subprotocol) ? `Sec-WebSocket-Protocol: ${subprotocol}\r\n` : ""
          }\r\n`
        )
      }),
      () =>
        Effect.zipRight(
          socket.destroyed ? Effect.void : close(1001, "the session is over"),
          Effect.sync(() => {
            socket.destroy()
            socket.off("data", onData).off("drain", onDrain).off("close", onClose).off("end", ended)
          })
        )
    )
    yield* options.ticker.join(() => {
      if (socket.writableNeedDrain && ++stuck >= options.stall) socket.destroy()
      // Who is not listened to cannot be heard.
      if (socket.isPaused()) silent = 0
      else if (++silent >= seconds.dead) socket.destroy()
      else if (silent % seconds.ping === 0) write(frames.ping)
    })

    return {
      receive: Effect.async<string | undefined>((resume) => {
        const attempt = (): void => {
          const text = inbox.shift()
          if (text === undefined && !isEnded) return
          wake = undefined
          if (inbox.length === 0) socket.resume()
          resume(Effect.succeed(text))
        }
        wake = attempt
        attempt()
        return Effect.sync(() => {
          wake = undefined
        })
      }),
      send: (text) =>
        Effect.suspend(() => {
          write(frames.text(text))
          return socket.writableNeedDrain ? hasRoom.await : Effect.void
        }),
      close,
      destroy: () => socket.destroy()
    }
  })
