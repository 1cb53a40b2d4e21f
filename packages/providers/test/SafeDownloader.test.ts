import * as Image from "@effect-dspy/core/Image"
import * as SafeDownloader from "@effect-dspy/providers/SafeDownloader"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import * as download from "../src/internal/download.ts"
import { isPublic } from "../src/internal/publicAddress.ts"

const options = { maxBytes: 1024 }

const reasonOf = (url: string, settings?: SafeDownloader.Options) =>
  Effect.map(Effect.flip(SafeDownloader.make(settings).get(url, options)), (error) => error.reason)

/** A server on loopback, and what it was asked. */
const serve = (handler: http.RequestListener) =>
  Effect.acquireRelease(
    Effect.async<{ readonly port: number; readonly asked: Array<string>; readonly server: http.Server }>((resume) => {
      const asked: Array<string> = []
      const server = http.createServer((request, response) => {
        asked.push(`${request.headers.host?.split(":")[0]}${request.url}`)
        handler(request, response)
      })
      server.listen(0, "127.0.0.1", () =>
        resume(Effect.succeed({ server, asked, port: (server.address() as AddressInfo).port }))) // it listens on a port
    }),
    ({ server }) =>
      Effect.async<void>((resume) => {
        server.closeAllConnections()
        server.close(() =>
          resume(Effect.void)
        )
      })
  )

/** An internet of which loopback is a part, but nothing else that is not. */
const world = (addresses: ReadonlyArray<ReadonlyArray<string>> = [["127.0.0.1"]]) => {
  const resolved: Array<string> = []
  const made: download.World = {
    resolve: (host) => {
      const found = addresses[Math.min(resolved.length, addresses.length - 1)]!
      resolved.push(host)
      return Promise.resolve(found.map((address) => ({ address, family: 4 })))
    },
    isPublic: (address) => address === "127.0.0.1" || isPublic(address),
    isPort: () => true
  }
  return { resolved, world: made }
}

const limits: download.Limits = { schemes: ["http:"], redirects: 3, timeout: 5000 }

describe("SafeDownloader", () => {
  // Each is refused by itself; none of them is looked up or asked.
  const refused: ReadonlyArray<string> = [
    "",
    "cat.png",
    "/etc/passwd",
    "file:///etc/passwd",
    "data:image/png;base64,iVBORw0KGgo=",
    "ftp://example.org/a",
    "gopher://example.org/a",
    "javascript:alert(1)",
    "blob:https://example.org/a",
    "http://example.org/a",
    "https://user@example.org/a",
    "https://user:password@example.org/a",
    "https://example.org:80/a",
    "https://example.org:22/a",
    "https://example.org:8443/a",
    "https://0.0.0.0/a",
    "https://10.0.0.1/a",
    "https://100.64.0.1/a",
    "https://127.0.0.1/a",
    "https://127.1/a",
    "https://127.0.0.1./a",
    "https://2130706433/a",
    "https://0x7f000001/a",
    "https://0x7f.0.0.1/a",
    "https://0177.0.0.1/a",
    "https://017700000001/a",
    "https://169.254.169.254/latest/meta-data",
    "https://172.16.0.1/a",
    "https://172.31.255.255/a",
    "https://192.0.0.1/a",
    "https://192.0.2.1/a",
    "https://192.168.1.1/a",
    "https://198.18.0.1/a",
    "https://198.51.100.1/a",
    "https://203.0.113.1/a",
    "https://224.0.0.1/a",
    "https://255.255.255.255/a",
    "https://[::]/a",
    "https://[::1]/a",
    "https://[0:0:0:0:0:0:0:1]/a",
    "https://[::ffff:127.0.0.1]/a",
    "https://[::ffff:7f00:1]/a",
    "https://[::127.0.0.1]/a",
    "https://[64:ff9b::7f00:1]/a",
    "https://[64:ff9b::10.0.0.1]/a",
    "https://[64:ff9b:1::1]/a",
    "https://[100::1]/a",
    "https://[2001::1]/a",
    "https://[2001:db8::1]/a",
    "https://[2002:7f00:1::]/a",
    "https://[3fff::1]/a",
    "https://[fc00::1]/a",
    "https://[fd12:3456::1]/a",
    "https://[fe80::1]/a",
    "https://[fec0::1]/a",
    "https://[ff02::1]/a"
  ]
  it.effect("refuses what is not the open internet, in any spelling", () =>
    Effect.forEach(
      refused,
      (url) => Effect.map(reasonOf(url), (reason) => assert.strictEqual(reason, "NotAllowed", url))
    ))

  it("knows public addresses, up to the edges of what is not", () => {
    const addresses: ReadonlyArray<string> = [
      "8.8.8.8",
      "9.255.255.255",
      "11.0.0.0",
      "100.63.255.255",
      "100.128.0.0",
      "172.15.255.255",
      "172.32.0.0",
      "223.255.255.255",
      "2606:4700::1111",
      "2a00:1450:4001:80b::200e",
      "2001:4860:4860::8888",
      "::ffff:8.8.8.8",
      "64:ff9b::8.8.8.8"
    ]
    for (const address of addresses) assert.isTrue(isPublic(address), address)
    for (const text of ["", "8.8.8", "8.8.8.8.8", "8.8.8.256", "08.8.8.8", "::1::", "1:2:3", ":::", "g::1", "a.test"]) {
      assert.isFalse(isPublic(text), text)
    }
  })

  it.live("a name of this machine is refused when it is resolved", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* reasonOf("https://localhost/a"), "NotAllowed")
      // Where the name with a dot is none, nothing is asked either.
      assert.include(["NotAllowed", "Connection"], yield* reasonOf("https://localhost./a"))
      assert.strictEqual(yield* reasonOf("http://localhost/a", { http: true }), "NotAllowed")
    }))

  it.scopedLive("a name that stands for a private address, alone or among others, is not asked", () =>
    Effect.gen(function*() {
      const { asked, port } = yield* serve((_, response) => response.end("x"))
      for (const addresses of [["10.0.0.1"], ["127.0.0.1", "169.254.169.254"], ["127.0.0.1", "::1"]]) {
        const error = yield* Effect.flip(
          download.make(limits, world([addresses]).world).get(`http://a.test:${port}/`, options)
        )
        assert.deepInclude(error, { reason: "NotAllowed", host: "a.test" })
      }
      assert.deepStrictEqual(asked, [])
    }))

  it.scopedLive("a name is resolved once for each question, so it cannot be bound anew in between", () =>
    Effect.gen(function*() {
      const { asked, port } = yield* serve((_, response) => response.end("x"))
      const rebinding = world([["127.0.0.1"], ["169.254.169.254"]])
      const downloader = download.make(limits, rebinding.world)
      assert.deepStrictEqual(yield* downloader.get(`http://a.test:${port}/`, options), Uint8Array.of(120))
      assert.deepStrictEqual(rebinding.resolved, ["a.test"])
      const error = yield* Effect.flip(downloader.get(`http://a.test:${port}/`, options))
      assert.strictEqual(error.reason, "NotAllowed")
      assert.deepStrictEqual(asked, ["a.test/"])
    }))

  it.scopedLive("redirects are followed three times, and each is checked", () =>
    Effect.gen(function*() {
      const { asked, port } = yield* serve((request, response) => {
        const [, left, to] = /^\/(\d)(.*)$/.exec(request.url!)!
        if (left !== "0") response.writeHead(302, { location: `/${Number(left) - 1}${to}` }).end()
        else if (to !== "") response.writeHead(307, { location: decodeURIComponent(to!.slice(1)) }).end()
        else response.end("here")
      })
      const get = (path: string) => download.make(limits, world().world).get(`http://a.test:${port}${path}`, options)
      assert.strictEqual(new TextDecoder().decode(yield* get("/3")), "here")
      assert.strictEqual((yield* Effect.flip(get("/4"))).reason, "NotAllowed")
      const before = asked.length
      for (
        const to of [
          "http://169.254.169.254/latest",
          "http://[::1]/",
          "file:///etc/passwd",
          "http://u:p@a.test/",
          "//10.0.0.1/"
        ]
      ) {
        const error = yield* Effect.flip(get(`/0?${encodeURIComponent(to)}`))
        assert.strictEqual(error.reason, "NotAllowed", to)
      }
      assert.strictEqual(asked.length, before + 5)
    }))

  it.scopedLive("what is too large is given up, whether it says so or not", () =>
    Effect.gen(function*() {
      let closed = 0
      const { port } = yield* serve((request, response) => {
        request.socket.on("close", () => closed++)
        if (request.url === "/told") response.writeHead(200, { "content-length": "2000" })
        if (request.url === "/all") return void response.end(Buffer.alloc(1024))
        response.write(Buffer.alloc(1025)) // and never ends
      })
      const get = (path: string) => download.make(limits, world().world).get(`http://a.test:${port}${path}`, options)
      assert.strictEqual((yield* get("/all")).length, 1024)
      assert.strictEqual((yield* Effect.flip(get("/told"))).reason, "TooLarge")
      assert.strictEqual((yield* Effect.flip(get("/silent"))).reason, "TooLarge")
      yield* Effect.repeat(Effect.sleep(5), { until: () => closed >= 3 })
    }))

  it.scopedLive("what takes too long is given up, and an interrupted question closes its connection", () =>
    Effect.gen(function*() {
      let open = 0
      const { asked, port } = yield* serve((request) => {
        open++
        request.socket.on("close", () => open--)
      })
      const slow = { ...limits, timeout: 50 }
      const error = yield* Effect.flip(download.make(slow, world().world).get(`http://a.test:${port}/`, options))
      assert.deepInclude(error, { reason: "TimedOut", host: "a.test" })
      const fiber = yield* Effect.fork(download.make(limits, world().world).get(`http://a.test:${port}/`, options))
      yield* Effect.repeat(Effect.sleep(5), { until: () => asked.length === 2 })
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      yield* Effect.repeat(Effect.sleep(5), { until: () => open === 0 })
    }))

  it.scopedLive("an answer that is none is a typed failure, which keeps the path to itself", () =>
    Effect.gen(function*() {
      const { port } = yield* serve((request, response) => {
        switch (request.url) {
          case "/missing?key=secret":
            return void response.writeHead(404).end()
          case "/compressed":
            return void response.writeHead(200, { "content-encoding": "gzip" }).end("x")
          case "/cut":
            response.writeHead(200, { "content-length": "10" }).write("abc")
            return void setTimeout(() => response.destroy(), 10)
          default:
            request.socket.destroy()
        }
      })
      const reason = (path: string) =>
        Effect.map(
          Effect.flip(download.make(limits, world().world).get(`http://a.test:${port}${path}`, options)),
          (error) => {
            assert.notInclude(error.message, "secret")
            return error.reason
          }
        )
      assert.strictEqual(yield* reason("/missing?key=secret"), "Status")
      for (const path of ["/compressed", "/cut", "/reset"]) assert.strictEqual(yield* reason(path), "Connection", path)
    }))

  it.scopedLive("an image that is fetched is told by its bytes, not by what the server calls it", () =>
    Effect.gen(function*() {
      const { port } = yield* serve((request, response) => {
        response.setHeader("content-type", "image/png")
        response.end(request.url === "/gif" ? "GIF89a" : "<html>")
      })
      const { Downloader } = yield* Effect.promise(() => import("@effect-dspy/core/Downloader"))
      const fetched = (path: string) =>
        Effect.provideService(
          Image.fetch(`http://a.test:${port}${path}`),
          Downloader,
          download.make(limits, world().world)
        )
      assert.deepStrictEqual(yield* fetched("/gif"), { url: "data:image/gif;base64,R0lGODlh" })
      assert.deepInclude(yield* Effect.flip(fetched("/html")), { _tag: "MediaError", reason: "UnknownType" })
    }))
})
