import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import { FetchHttpClient, type HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { Agent, EnvHttpProxyAgent } from "@effect/platform-node/Undici"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Either, Fiber, Layer, Option, Schedule, Stream } from "effect"
import { spawn } from "node:child_process"
import * as http2 from "node:http2"
import * as https from "node:https"
import * as net from "node:net"
import type * as tls from "node:tls"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as Retry from "../src/Retry.ts"
import * as Timeouts from "../src/Timeouts.ts"
import * as UndiciClient from "../src/UndiciClient.ts"
import * as certificate from "./certificate.ts"
import * as FaultServer from "./FaultServer.ts"

const question: LanguageModel.Request = { messages: [{ role: "user", content: "hi" }] }

const whole = { choices: [{ message: { content: "Paris" }, finish_reason: "stop" }] }

const answer = FaultServer.json(200, whole)

// Options of `node:tls`, which undici hands on and types in another way.
const secure = (options: tls.ConnectionOptions): object => options

const at = (baseUrl: string) => OpenAiCompatible.make({ model: "m", baseUrl })

const ask = (baseUrl: string, client: Layer.Layer<HttpClient.HttpClient>) =>
  Effect.flatMap(at(baseUrl), (model) => model.generate(question)).pipe(Effect.either, Effect.provide(client))

const said = (result: Either.Either<LanguageModel.Response, LanguageModelError>): string =>
  Either.match(result, {
    onLeft: ({ reason, retryable }) =>
      `${reason._tag}${"phase" in reason ? ` ${reason.phase}` : ""}${retryable ? "" : ", final"}`,
    onRight: ({ outputs }) => outputs[0]?.text ?? ""
  })

const messageOf = (result: Either.Either<LanguageModel.Response, LanguageModelError>): string =>
  Either.match(result, { onLeft: ({ message }) => message, onRight: () => "" })

const listening = <S extends net.Server>(make: () => S) =>
  Effect.acquireRelease(
    Effect.async<{ readonly server: S; readonly port: number; readonly close: () => void }>((resume) => {
      const server = make()
      const sockets = new Set<net.Socket>()
      server.on("connection", (socket: net.Socket) => {
        sockets.add(socket)
        socket.on("error", () => {}).on("close", () => sockets.delete(socket))
      })
      server.listen(0, "127.0.0.1", () => {
        const close = () => {
          server.close()
          for (const socket of sockets) socket.destroy()
        }
        // It listens on a port.
        resume(Effect.succeed({ server, port: (server.address() as net.AddressInfo).port, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

const text = (model: LanguageModel.Service) =>
  Effect.map(LanguageModel.fold(model.stream(question), model.id), ({ outputs }) => outputs[0]?.text)

// =============================================================================
// Nobody answers
// =============================================================================

// A process that listens and never accepts: once the few places in its line are taken, nobody answers.
const never = `
  const server = require("node:net").createServer()
  server.listen(0, "127.0.0.1", 1, () => {
    require("node:fs").writeSync(1, String(server.address().port))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })`

const blackHole = Effect.gen(function*() {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, ["-e", never])),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  const port = yield* Effect.async<number>((resume) => {
    child.stdout.once("data", (data: Buffer) => resume(Effect.succeed(Number(data.toString()))))
  })
  const connect = Effect.acquireRelease(
    Effect.sync(() => net.connect(port, "127.0.0.1").on("error", () => {})),
    (socket) => Effect.sync(() => socket.destroy())
  ).pipe(
    Effect.flatMap((socket) => Effect.async<void>((resume) => void socket.once("connect", () => resume(Effect.void)))),
    Effect.timeoutOption("200 millis")
  )
  for (let n = 0; n < 16; n++) {
    if (Option.isNone(yield* connect)) return `http://127.0.0.1:${port}`
  }
  return yield* Effect.dieMessage("the line is never full")
})

describe("a connection that is not made", () => {
  const limited = (url: string, client: Layer.Layer<HttpClient.HttpClient>, options: Timeouts.Options) =>
    Effect.flatMap(at(url), Timeouts.make(options)).pipe(
      Effect.flatMap((model) => Effect.all([Effect.flip(text(model)), Effect.flip(model.generate(question))])),
      Effect.provide(client)
    )

  it.scopedLive(
    "ends with the limit for that, whole and streamed, before and in the handshake",
    () =>
      Effect.gen(function*() {
        const { port } = yield* listening(() => net.createServer((socket) => void socket.resume()))
        for (const url of [yield* blackHole, `https://127.0.0.1:${port}`]) {
          for (const { elapsed, reason, retryable } of yield* limited(url, UndiciClient.layer(), { connect: 150 })) {
            assert.deepInclude(reason, { _tag: "Timeout", phase: "connect", limit: 150 })
            assert.isTrue(retryable)
            assert.isAtLeast(elapsed ?? 0, 150)
          }
        }
      }),
    20_000
  )

  it.scopedLive("what is connected has all the time that its answer may take", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() => [FaultServer.delay(200), ...answer])
      const model = yield* Effect.flatMap(at(server.url), Timeouts.make({ connect: 150 })).pipe(
        Effect.provide(yield* Layer.build(UndiciClient.layer()))
      )
      for (let n = 0; n < 2; n++) assert.strictEqual((yield* model.generate(question)).outputs[0]?.text, "Paris")
      assert.strictEqual(yield* text(model), "Paris")
    }))

  it.scopedLive("does not go on for what has no connection any more, while another attempt is waited for", () =>
    Effect.gen(function*() {
      const server = yield* listening(() => net.createServer())
      server.close()
      const model = yield* at(`http://127.0.0.1:${server.port}`).pipe(
        Effect.flatMap(Retry.make({ schedules: { Transport: Schedule.once.pipe(Schedule.addDelay(() => 300)) } })),
        Effect.flatMap(Timeouts.make({ connect: 100 })),
        Effect.provide(yield* Layer.build(UndiciClient.layer()))
      )
      const { attempts, reason } = yield* Effect.flip(model.generate(question))
      assert.deepInclude(reason, { _tag: "Transport", code: "ECONNREFUSED" })
      assert.strictEqual(attempts, 2)
    }))

  it.scopedLive(
    "ends with the dispatcher's own limit, or with those of the first byte and the whole answer",
    () =>
      Effect.gen(function*() {
        const url = yield* blackHole
        const impatient = UndiciClient.layer(() => new Agent({ connect: { timeout: 100 } }))
        assert.strictEqual(said(yield* ask(url, impatient)), "Timeout connect")
        const options = { connect: 10, firstByte: 50, total: 100 }
        for (const client of [NodeHttpClient.layerUndici, FetchHttpClient.layer, NodeHttpClient.layer]) {
          const phases = (yield* limited(url, client, options)).map((error) => said(Either.left(error)))
          assert.deepStrictEqual(phases, ["Timeout firstByte", "Timeout total"])
        }
      }),
    20_000
  )
})

// =============================================================================
// Proxies
// =============================================================================

// A proxy that answers what it is asked first, and keeps that.
const proxy = (answer: (socket: net.Socket, head: string) => void) =>
  Effect.map(
    listening(() =>
      net.createServer((socket) => void socket.once("data", (data: Buffer) => answer(socket, data.toString())))
    ),
    ({ port }) => port
  )

const through = (port: number, options: Partial<EnvHttpProxyAgent.Options> = {}) =>
  UndiciClient.layer(() => {
    const proxy = `http://user:s3cret@127.0.0.1:${port}`
    return new EnvHttpProxyAgent({ httpProxy: proxy, httpsProxy: proxy, noProxy: "", ...options })
  })

const opening = (socket: net.Socket, head: string): void => {
  const [, host, port] = /^CONNECT ([^:]+):(\d+)/.exec(head) ?? []
  const target = net.connect(Number(port), host === "localhost" ? "127.0.0.1" : host, () => {
    socket.write("HTTP/1.1 200 OK\r\n\r\n")
    socket.pipe(target)
    target.pipe(socket)
  }).on("error", () => socket.destroy())
}

const saying = (head: string) => (socket: net.Socket): void => void socket.end(`${head}\r\n\r\n`)

describe("a proxy", () => {
  const good = certificate.selfSigned({ host: "localhost", until: 1 })

  // The same model behind HTTP and behind TLS.
  const targets = Effect.gen(function*() {
    const plain = yield* FaultServer.make(() => answer)
    const { port } = yield* listening(() =>
      https.createServer(good, (request, response) => {
        request.resume()
        response.end(JSON.stringify(whole))
      })
    )
    return [plain.url, `https://localhost:${port}`]
  })

  it.scopedLive("is used when the dispatcher says so, with its credentials, and not for what it is told to leave", () =>
    Effect.gen(function*() {
      const heads: Array<string> = []
      const port = yield* proxy((socket, head) => {
        heads.push(head)
        opening(socket, head)
      })
      const trusting = { requestTls: secure({ ca: good.cert }) }
      for (const url of yield* targets) {
        assert.strictEqual(said(yield* ask(url, through(port, trusting))), "Paris")
        assert.include(heads.pop(), `proxy-authorization: Basic ${btoa("user:s3cret")}`)
      }
      const [plain = ""] = yield* targets
      assert.strictEqual(said(yield* ask(plain, through(1, { noProxy: "127.0.0.1" }))), "Paris")
      assert.lengthOf(heads, 0)
    }))

  it.scopedLive("that does not open the way is named, and its credentials are not", () =>
    Effect.gen(function*() {
      const rows: ReadonlyArray<readonly [(socket: net.Socket) => void, expected: string, message: RegExp]> = [
        [
          saying("HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic"),
          "Authentication, final",
          /the proxy before (127\.0\.0\.1|localhost):\d+ asks for credentials/
        ],
        [
          saying("HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\n\r\n<html>user:s3cret</html>"),
          "Transport connect",
          /the proxy before .* answered 502/
        ],
        [(socket) => void socket.resetAndDestroy(), "Transport headers", /before it answered/],
        [saying("<html>user:s3cret</html>"), "Transport headers", /before it answered/]
      ]
      for (const url of yield* targets) {
        for (const [answer, expected, message] of rows) {
          const port = yield* proxy(answer)
          const result = yield* ask(url, through(port))
          assert.strictEqual(said(result), expected)
          assert.match(messageOf(result), message)
          assert.notInclude(JSON.stringify(result), "s3cret")
          assert.notInclude(messageOf(result), "s3cret")
        }
        const { close, port } = yield* listening(() => net.createServer())
        close()
        const down = yield* ask(url, through(port))
        assert.strictEqual(said(down), "Transport connect")
        assert.include(messageOf(down), `the proxy at 127.0.0.1:${port} refused the connection`)
      }
    }))

  it.scopedLive("that answers with a page is found out, by TLS or by the time that passes", () =>
    Effect.gen(function*() {
      const port = yield* proxy(saying("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html></html>"))
      const [plain = "", encrypted = ""] = yield* targets
      assert.strictEqual(said(yield* ask(encrypted, through(port))), "Transport tls, final")
      // undici waits for ever here.
      const error = yield* Effect.flatMap(at(plain), Timeouts.make({ total: "100 millis" })).pipe(
        Effect.flatMap((model) => Effect.flip(model.generate(question))),
        Effect.provide(through(port))
      )
      assert.strictEqual(error.reason._tag, "Timeout")
    }))
})

// =============================================================================
// TLS
// =============================================================================

describe("TLS", () => {
  const good = certificate.selfSigned({ host: "localhost", until: 1 })
  const expired = certificate.selfSigned({ host: "localhost", until: -1 })
  const other = certificate.selfSigned({ host: "other.example", until: 1 })
  const trusting = ({ cert }: certificate.Certificate) =>
    UndiciClient.layer(() => new Agent({ connect: secure({ ca: cert, servername: "localhost" }) }))

  const serving = (given: certificate.Certificate) =>
    Effect.map(
      listening(() =>
        https.createServer(given, (request, response) => {
          request.resume()
          response.end(JSON.stringify(whole))
        })
      ),
      ({ port }) => `https://localhost:${port}`
    )

  it.scopedLive("a certificate that nobody vouches for, that has expired or is another's is refused for good", () =>
    Effect.gen(function*() {
      const rows: ReadonlyArray<readonly [certificate.Certificate, Layer.Layer<HttpClient.HttpClient>, string]> = [
        [good, trusting(good), "Paris"],
        [good, NodeHttpClient.layerUndici, "Transport tls, final"],
        [good, FetchHttpClient.layer, "Transport tls, final"],
        [good, NodeHttpClient.layer, "Transport tls, final"],
        [expired, trusting(expired), "Transport tls, final"],
        [other, trusting(other), "Transport tls, final"]
      ]
      for (const [given, client, expected] of rows) {
        const result = yield* ask(yield* serving(given), client)
        assert.strictEqual(said(result), expected)
        // Nobody is talked into trusting everything.
        assert.notMatch(messageOf(result), /reject|insecure|disable/i)
      }
    }))

  it.scopedLive(
    "a handshake that nobody answers is a connection that takes too long, one that breaks off may pass later",
    () =>
      Effect.gen(function*() {
        const silent = yield* listening(() => net.createServer((socket) => void socket.resume()))
        const waiting = UndiciClient.layer(() => new Agent({ connect: { timeout: 100 } }))
        assert.strictEqual(said(yield* ask(`https://127.0.0.1:${silent.port}`, waiting)), "Timeout connect")
        const broken = yield* listening(() =>
          net.createServer((socket) => void socket.once("data", () => socket.resetAndDestroy()))
        )
        const result = yield* ask(`https://127.0.0.1:${broken.port}`, NodeHttpClient.layerUndici)
        assert.match(said(result), /^Transport \w+$/)
      }),
    20_000
  )

  it.scopedLive("a call that is interrupted in its handshake ends at once, its connection with the time to connect", () =>
    Effect.gen(function*() {
      // undici makes connections for whoever comes next, and does not stop when its caller leaves.
      for (const client of [NodeHttpClient.layer, UndiciClient.layer(() => new Agent({ connect: { timeout: 100 } }))]) {
        const arrived = yield* Deferred.make<Effect.Effect<void>>()
        const { port } = yield* listening(() =>
          net.createServer((socket) => {
            const closed = Effect.async<void>((resume) => void socket.once("close", () => resume(Effect.void)))
            socket.once("data", () => Deferred.unsafeDone(arrived, Effect.succeed(closed)))
          })
        )
        const model = yield* Effect.provide(at(`https://127.0.0.1:${port}`), yield* Layer.build(client))
        const call = yield* Effect.fork(model.generate(question))
        const closed = yield* Effect.fork(yield* Deferred.await(arrived))
        const left = yield* Effect.timeoutOption(Fiber.interrupt(call), "500 millis")
        assert.isTrue(Option.isSome(left))
        assert.isTrue(Option.isSome(yield* Effect.timeoutOption(Fiber.join(closed), "3 seconds")))
      }
    }))
})

// =============================================================================
// HTTP/2
// =============================================================================

describe("HTTP/2", () => {
  const good = certificate.selfSigned({ host: "localhost", until: 1 })
  const events = [
    FaultServer.event({ choices: [{ delta: { content: "Paris" } }] }),
    FaultServer.event({ choices: [{ delta: {}, finish_reason: "stop" }] }),
    FaultServer.event("[DONE]")
  ]

  // Answers the n-th stream, from 0.
  const serving = (handler: (stream: http2.ServerHttp2Stream, n: number) => void) =>
    Effect.map(
      listening(() => {
        let n = 0
        return http2.createSecureServer(good).on("stream", (stream) => {
          stream.on("error", () => {})
          handler(stream, n++)
        }).on("session", (session) => session.on("error", () => {}))
      }),
      ({ port }) => `https://localhost:${port}`
    )

  const client = UndiciClient.layer(() => new Agent({ allowH2: true, connect: secure({ ca: good.cert }) }))

  const respond = (stream: http2.ServerHttp2Stream, type: string) =>
    stream.respond({ ":status": 200, "content-type": type })

  it.scopedLive("carries answers and streams, where the dispatcher allows it", () =>
    Effect.gen(function*() {
      const url = yield* serving((stream, n) => {
        respond(stream, n === 0 ? "application/json" : "text/event-stream")
        if (n === 0) stream.end(JSON.stringify(whole))
        else stream.end(events.join(""))
      })
      const answers = yield* Effect.flatMap(at(url), (model) =>
        Effect.all([
          Effect.map(model.generate(question), ({ outputs }) => outputs[0]?.text),
          text(model)
        ])).pipe(Effect.provide(client))
      assert.deepStrictEqual(answers, ["Paris", "Paris"])
    }))

  it.scopedLive("a session that ends before the answer is a connection that broke, and the next call has a new one", () =>
    Effect.gen(function*() {
      const url = yield* serving((stream, n) => {
        if (n === 0) {
          stream.session?.goaway(http2.constants.NGHTTP2_NO_ERROR, 0)
          stream.session?.destroy()
        } else if (n === 1) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)
        else {
          respond(stream, "application/json")
          stream.end(JSON.stringify(whole))
        }
      })
      const ends = yield* Effect.flatMap(
        at(url),
        (model) => Effect.replicateEffect(Effect.either(model.generate(question)), 3)
      ).pipe(
        Effect.provide(client)
      )
      assert.deepStrictEqual(ends.map(said), ["Transport headers", "Transport headers", "Paris"])
    }))

  it.scopedLive("a stream that breaks off is never an answer", () =>
    Effect.gen(function*() {
      const url = yield* serving((stream, n) => {
        respond(stream, "text/event-stream")
        stream.write(events.slice(0, n).join(""), () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR))
      })
      const ends = yield* Effect.flatMap(at(url), (model) =>
        Effect.all([Effect.flip(text(model)), Effect.flip(Stream.runDrain(model.stream(question)))])).pipe(
          Effect.provide(client)
        )
      for (const { reason } of ends) {
        assert.include(["Transport", "StreamTruncated", "StreamFailed"], reason._tag)
      }
    }))

  it.scopedLive("an interrupted call ends its stream, and not the connection", () =>
    Effect.gen(function*() {
      const closed = yield* Deferred.make<void>()
      const sessions = new Set<unknown>()
      const url = yield* serving((stream, n) => {
        sessions.add(stream.session)
        respond(stream, "text/event-stream")
        stream.write(events[0])
        if (n === 0) stream.once("close", () => Deferred.unsafeDone(closed, Effect.void))
        else stream.end(events.slice(1).join(""))
      })
      yield* Effect.gen(function*() {
        const model = yield* at(url)
        assert.isTrue(Option.isSome(yield* Stream.runHead(model.stream(question))))
        assert.isTrue(Option.isSome(yield* Effect.timeoutOption(Deferred.await(closed), "2 seconds")))
        assert.strictEqual(yield* text(model), "Paris")
      }).pipe(Effect.provide(client))
      assert.strictEqual(sessions.size, 1)
    }))
})
