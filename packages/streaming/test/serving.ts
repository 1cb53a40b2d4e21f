/**
 * Servers on loopback, models whose answers are watched while they are written, and
 * connections that are lost at a chosen byte.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Server from "@effect-dspy/streaming/Server"
import { NodeHttpServer } from "@effect/platform-node"
import type * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import { Context, Effect, Layer, type Scope, Stream } from "effect"
import * as Http from "node:http"
import * as Net from "node:net"

export interface Model {
  readonly layer: Layer.Layer<LanguageModel.LanguageModel>
  /** How often it was called, how many of these calls are open, and how many words were asked of it. */
  readonly counts: { calls: number; open: number; words: number }
}

/**
 * A model that writes the field `answer` word by word, as fast as it is read,
 * unless `pace` makes it wait before its `n`th word, counted from 0.
 */
export const writes = (
  words: Iterable<string>,
  pace: (n: number) => Effect.Effect<void> = () => Effect.void
): Model => {
  const counts = { calls: 0, open: 0, words: 0 }
  const text = (text: string): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text })
  const service = LanguageModel.make({
    id: "test/writer",
    stream: () =>
      Stream.unwrapScoped(
        Effect.as(
          Effect.acquireRelease(
            Effect.sync(() => {
              counts.calls++
              counts.open++
            }),
            () => Effect.sync(() => counts.open--)
          ),
          Stream.make(text("[[ ## answer ## ]]\n")).pipe(
            Stream.concat(
              Stream.fromIterable(words).pipe(
                Stream.rechunk(1),
                Stream.mapEffect((word) => Effect.as(Effect.suspend(() => pace(counts.words++)), text(word)))
              )
            ),
            Stream.concat(Stream.fromIterable<LanguageModel.Delta>([
              text("\n\n[[ ## completed ## ]]\n"),
              { _tag: "Finish", index: 0, reason: "stop" },
              { _tag: "Completed", usage: { inputTokens: 3, outputTokens: 5 }, model: "test/writer" }
            ]))
          )
        )
      )
  })
  return { layer: Layer.succeed(LanguageModel.LanguageModel, service), counts }
}

/** Words without end. */
export function* endless(word: string): Iterable<string> {
  for (;;) yield word
}

/** The words that `writes` makes `n` different ones of. */
export const numbered = (n: number): ReadonlyArray<string> => Array.from({ length: n }, (_, i) => `w${i} `)

/**
 * A server on a free port of loopback; it stops with the scope.
 */
export const start = <const M extends Server.Modules, R = never>(
  options: Server.Options<M, R>,
  app: Layer.Layer<never, never, Server.Server | HttpLayerRouter.HttpRouter> = Server.routes
): Effect.Effect<
  { readonly port: number; readonly url: string; readonly server: Server.Service; readonly http: Http.Server },
  never,
  Exclude<Server.Requirements<M> | R, Scope.Scope> | Scope.Scope
> =>
  Effect.gen(function*() {
    const http = Http.createServer()
    const context = yield* Layer.build(
      Server.serve(app, { http }).pipe(
        Layer.provideMerge(Server.layer(options)),
        Layer.provideMerge(NodeHttpServer.layer(() => http, { port: 0, host: "127.0.0.1" }))
      )
    ).pipe(Effect.orDie)
    const { address } = Context.get(context, HttpServer.HttpServer)
    const port = address._tag === "TcpAddress" ? address.port : 0
    return { port, url: `http://127.0.0.1:${port}`, server: Context.get(context, Server.Server), http }
  })

/** Waits until something holds. */
export const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => holds() ? Effect.void : Effect.zipRight(Effect.sleep("2 millis"), until(holds)))

// =============================================================================
// Raw connections
// =============================================================================

export interface Raw {
  readonly socket: Net.Socket
  /** What has come so far, one byte for a character. */
  readonly received: () => string
  readonly write: (bytes: string | Uint8Array) => void
  readonly closed: () => boolean
}

/** A connection that says what the test says; it is destroyed with the scope. */
export const connect = (port: number): Effect.Effect<Raw, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<Raw>((resume) => {
      let received = ""
      let isClosed = false
      const socket = Net.connect(port, "127.0.0.1")
      socket.on("error", () => {})
      socket.on("close", () => {
        isClosed = true
      })
      socket.on("data", (bytes) => {
        received += bytes.toString("latin1")
      })
      socket.on("connect", () =>
        resume(Effect.succeed({
          socket,
          received: () => received,
          write: (bytes) => void socket.write(bytes),
          closed: () => isClosed
        })))
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

/** The head of a request, with an empty line after it. */
export const head = (line: string, headers: { readonly [name: string]: string } = {}): string =>
  [`${line} HTTP/1.1`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n")

export const upgrade = {
  "host": "localhost",
  "upgrade": "websocket",
  "connection": "Upgrade",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="
}

/** A frame as a client sends it, masked unless it is said otherwise. */
export const frame = (
  payload: string | Uint8Array,
  options: {
    readonly opcode?: number
    readonly fin?: boolean
    readonly masked?: boolean
    readonly rsv?: number
    readonly length?: number
  } = {}
): Uint8Array => {
  const { fin = true, masked = true, opcode = 1, rsv = 0 } = options
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload
  const length = options.length ?? bytes.length
  const size = length < 126 ? 2 : length < 65536 ? 4 : 10
  const out = Buffer.alloc(size + (masked ? 4 : 0) + bytes.length)
  out[0] = (fin ? 128 : 0) | rsv | opcode
  out[1] = (masked ? 128 : 0) | (length < 126 ? length : length < 65536 ? 126 : 127)
  if (size === 4) out.writeUInt16BE(length, 2)
  if (size === 10) out.writeBigUInt64BE(BigInt(length), 2)
  const mask = [0x1f, 0x2e, 0x3d, 0x4c]
  if (masked) out.set(mask, size)
  const start = size + (masked ? 4 : 0)
  for (let i = 0; i < bytes.length; i++) out[start + i] = bytes[i]! ^ (masked ? mask[i & 3]! : 0)
  return out
}

// =============================================================================
// Connections that are lost
// =============================================================================

export interface Proxy {
  readonly url: string
  /** After how many bytes from the server the next connections are cut; the one after the last is not. */
  cuts: Array<number>
  readonly connections: () => number
  /** Cuts all connections there are. */
  readonly cut: () => void
}

// Each request of these tests comes in one piece, or its head does.
const withHeaders = (bytes: Buffer, headers: { readonly [name: string]: string }): Buffer | string => {
  const names = Object.keys(headers)
  if (names.length === 0 || !/^[A-Z]+ \//.test(bytes.subarray(0, 8).toString("latin1"))) return bytes
  const [line, ...rest] = bytes.toString("latin1").split("\r\n")
  const own = rest.filter((one) => !names.some((name) => one.toLowerCase().startsWith(`${name}:`)))
  return Buffer.from([line, ...names.map((name) => `${name}: ${headers[name]}`), ...own].join("\r\n"), "latin1")
}

/**
 * Passes connections on to a server, and cuts them where the test says; `headers` are said instead of those of the client.
 */
export const proxy = (
  port: number,
  headers: { readonly [name: string]: string } = {}
): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    let connections = 0
    const state = { cuts: [] as Array<number> }
    const sockets = new Set<Net.Socket>()
    const server = Net.createServer((client) => {
      connections++
      let left = state.cuts.shift() ?? Infinity
      const upstream = Net.connect(port, "127.0.0.1")
      for (const socket of [client, upstream]) {
        sockets.add(socket)
        socket.on("error", () => {})
        socket.on("close", () => {
          sockets.delete(socket)
          client.destroy()
          upstream.destroy()
        })
      }
      client.on("data", (bytes) => upstream.write(withHeaders(bytes, headers)))
      upstream.on("data", (bytes) => {
        const part = bytes.subarray(0, left)
        left -= part.length
        if (left > 0) client.write(part)
        // What was written before arrives, and nothing after.
        else client.end(part, () => upstream.destroy())
      })
    })
    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.async<void>((resume) => {
          sockets.forEach((socket) => socket.destroy())
          server.close(() => resume(Effect.void))
        })
    )
    const address = server.address() as Net.AddressInfo // it listens on a port
    return Object.assign(state, {
      url: `http://127.0.0.1:${address.port}`,
      connections: () => connections,
      cut: () => sockets.forEach((socket) => socket.destroy())
    })
  })
