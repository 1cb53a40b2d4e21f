/**
 * A server on loopback that answers exactly as scripted, byte by byte: the
 * requests are parsed by `node:http`, the answers are written to the raw socket,
 * so that framing, splits, resets and silences are under the test's control.
 */
import { Deferred, Effect, FiberId, type Scope } from "effect"
import * as Http from "node:http"
import type { AddressInfo, Socket } from "node:net"

/**
 * What the server does next on the socket of a request. A script that runs out
 * closes the connection with FIN.
 */
export type Step =
  | { readonly _tag: "Write"; readonly bytes: Uint8Array }
  | { readonly _tag: "Repeat"; readonly bytes: Uint8Array; readonly times: number }
  | { readonly _tag: "Delay"; readonly millis: number }
  | { readonly _tag: "Fin" }
  | { readonly _tag: "Rst" }
  | { readonly _tag: "Stall" }

export type Script = ReadonlyArray<Step>

export interface Recorded {
  readonly method: string
  readonly path: string
  readonly headers: Http.IncomingHttpHeaders
  readonly body: string
  /** The body as JSON. */
  readonly json: any
  /** How many bytes of the answer the network has taken so far. */
  readonly sent: () => number
  /** Completes when the socket of this request is closed, by whichever side. */
  readonly closed: Effect.Effect<void>
}

export interface FaultServer {
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  /** All requests so far, in order of arrival. */
  readonly requests: ReadonlyArray<Recorded>
  /** How many connections were opened so far. */
  readonly connections: () => number
  /** How many of them are open. */
  readonly open: () => number
  /** The next request, once it has arrived completely. */
  readonly next: Effect.Effect<Recorded>
}

// =============================================================================
// Steps
// =============================================================================

const encoder = new TextEncoder()

export const bytes = (text: string): Uint8Array => encoder.encode(text)

export const write = (content: string | Uint8Array): Step => ({
  _tag: "Write",
  bytes: typeof content === "string" ? bytes(content) : content
})

/** The same content over and over, each time when the last one has been taken. */
export const repeat = (content: string | Uint8Array, times: number): Step => ({
  _tag: "Repeat",
  bytes: typeof content === "string" ? bytes(content) : content,
  times
})

export const delay = (millis: number): Step => ({ _tag: "Delay", millis })
export const fin: Step = { _tag: "Fin" }
export const rst: Step = { _tag: "Rst" }
export const stall: Step = { _tag: "Stall" }

/**
 * Content in pieces that end at the given offsets, with a short pause between
 * them so that they arrive apart.
 */
export const split = (content: string | Uint8Array, at: ReadonlyArray<number>): Script => {
  const all = typeof content === "string" ? bytes(content) : content
  const ends = [...at.filter((offset) => offset > 0 && offset < all.length), all.length]
  return ends.flatMap((end, i) => {
    const piece = write(all.subarray(i === 0 ? 0 : ends[i - 1], end))
    return i === 0 ? [piece] : [delay(1), piece]
  })
}

/**
 * The first `offset` bytes of what a script writes, then `end`.
 */
export const cutAt = (script: Script, offset: number, end: Step): Script => {
  const out: Array<Step> = []
  let left = offset
  for (const step of script) {
    if (step._tag !== "Write") out.push(step)
    else if (step.bytes.length < left) {
      left -= step.bytes.length
      out.push(step)
    } else {
      out.push(write(step.bytes.subarray(0, left)), end)
      return out
    }
  }
  return [...out, end]
}

/**
 * How many bytes a script writes.
 */
export const sizeOf = (script: Script): number =>
  script.reduce((sum, step) => step._tag === "Write" ? sum + step.bytes.length : sum, 0)

// =============================================================================
// Answers
// =============================================================================

export const head = (status: number, headers: Record<string, string> = {}): Step =>
  write(
    `HTTP/1.1 ${status} ${Http.STATUS_CODES[status] ?? "Status"}\r\n${
      Object.entries({ ...headers, connection: "close" }).map(([name, value]) => `${name}: ${value}\r\n`).join("")
    }\r\n`
  )

/**
 * A whole answer with its length announced.
 */
export const answer = (
  status: number,
  contentType: string,
  body: string,
  headers: Record<string, string> = {}
): Script => [
  head(status, { "content-type": contentType, "content-length": String(bytes(body).length), ...headers }),
  write(body)
]

export const json = (status: number, body: unknown, headers: Record<string, string> = {}): Script =>
  answer(status, "application/json", JSON.stringify(body), headers)

export const html = (status: number): Script =>
  answer(status, "text/html", "<!doctype html><html><body><h1>Bad gateway</h1></body></html>")

/**
 * One `data:` event.
 */
export const event = (data: unknown): string => `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`

/**
 * An event stream whose end is the end of the connection, so that nothing but
 * its content tells a whole stream from a cut one.
 */
export const sse = (...content: ReadonlyArray<string | Step>): Script => [
  head(200, { "content-type": "text/event-stream", "x-request-id": "req-1" }),
  ...content.map((part) => typeof part === "string" ? write(part) : part)
]

/**
 * The same in chunked encoding, where a cut is an error of the transport unless
 * the last chunk was sent. The connection stays open for the next request.
 */
export const sseChunked = (...content: ReadonlyArray<string>): Script => [
  write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"),
  ...content.map((part) => write(`${bytes(part).length.toString(16)}\r\n${part}\r\n`)),
  write("0\r\n\r\n")
]

// =============================================================================
// The server
// =============================================================================

/**
 * Answers the n-th request (from 0) with the script that `handler` returns.
 */
export const make = (
  handler: (request: Recorded, n: number) => Script
): Effect.Effect<FaultServer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const requests: Array<Recorded> = []
    const sockets = new Set<Socket>()
    let connections = 0
    let taken = 0
    let waiting: Array<(recorded: Recorded) => void> = []

    const server = Http.createServer((incoming) => {
      const socket = incoming.socket
      const closed = Deferred.unsafeMake<void>(FiberId.none)
      const chunks: Array<Buffer> = []
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk))
      incoming.on("end", () => {
        const body = Buffer.concat(chunks).toString("utf8")
        let sent = 0
        const recorded: Recorded = {
          method: incoming.method ?? "",
          path: incoming.url ?? "",
          headers: incoming.headers,
          body,
          get json() {
            return JSON.parse(body)
          },
          sent: () => sent,
          closed: Deferred.await(closed)
        }
        requests.push(recorded)
        for (const resume of waiting) resume(recorded)
        waiting = []
        // The default runtime: a script waits in real time also under `TestClock`.
        // @effect-diagnostics-next-line runEffectInsideEffect:off
        Effect.runFork(play(socket, handler(recorded, requests.length - 1), (size) => void (sent += size)))
      })
      socket.once("close", () => Deferred.unsafeDone(closed, Effect.void))
    })
    server.keepAliveTimeout = 0
    server.on("connection", (socket) => {
      connections++
      sockets.add(socket)
      socket.setNoDelay(true)
      // One for each request that it carries.
      socket.setMaxListeners(0)
      socket.on("error", () => {})
      socket.once("close", () => sockets.delete(socket))
    })

    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    )

    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      requests,
      connections: () => connections,
      open: () => sockets.size,
      next: Effect.async<Recorded>((resume) => {
        const known = requests[taken++]
        if (known === undefined) waiting.push((recorded) => resume(Effect.succeed(recorded)))
        else resume(Effect.succeed(known))
      })
    }
  })

const play = (socket: Socket, script: Script, onSent: (size: number) => void): Effect.Effect<void> =>
  Effect.gen(function*() {
    const send = (bytes: Uint8Array) =>
      Effect.async<void>((resume) => {
        socket.write(bytes, (error) => {
          if (error == null) onSent(bytes.length)
          resume(Effect.void)
        })
      })
    for (const step of script) {
      if (socket.destroyed) return
      switch (step._tag) {
        case "Write":
          yield* send(step.bytes)
          break
        case "Repeat":
          for (let n = 0; n < step.times && !socket.destroyed; n++) yield* send(step.bytes)
          break
        case "Delay":
          yield* Effect.sleep(step.millis)
          break
        case "Fin":
          socket.end()
          return
        case "Rst":
          socket.resetAndDestroy()
          return
        case "Stall":
          return
      }
    }
    socket.end()
  })
