import * as Tool from "@effect-dspy/core/Tool"
import { HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js"
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Logger, Redacted, Schema } from "effect"
import * as http from "node:http"
import * as path from "node:path"
import * as McpServer from "../src/McpServer.ts"
import * as McpTools from "../src/McpTools.ts"
import { model, tools } from "./mcpOurs.ts"

type Transport = Parameters<Client["connect"]>[0]

const connected = (transport: Transport) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client({ name: "test", version: "1" })
      await client.connect(transport)
      return client
    }),
    (client) => Effect.promise(() => client.close())
  )

// Our server on loopback, and what becomes of calls of `wait`.
const served = (options: Partial<McpServer.HttpOptions<[]>> = {}) =>
  Effect.gen(function*() {
    const slow = { begun: yield* Deferred.make<void>(), stopped: yield* Deferred.make<void>() }
    const app = yield* McpServer.http({
      name: "ours",
      version: "1.0.0",
      instructions: "Ask first.",
      ...options,
      tools: tools({
        begun: Deferred.succeed(slow.begun, undefined),
        stopped: Deferred.succeed(slow.stopped, undefined)
      })
    })
    const server = yield* Layer.build(NodeHttpServer.layer(() => http.createServer(), { port: 0, host: "127.0.0.1" }))
    yield* HttpServer.serveEffect(app).pipe(Effect.provide(server))
    const url = yield* HttpServer.addressFormattedWith((address) => Effect.succeed(`${address}/mcp`)).pipe(
      Effect.provide(server)
    )
    return { slow, url: url.replace("0.0.0.0", "127.0.0.1") }
  })

const overHttp = (url: string) =>
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it allows `undefined` where the other does not
  connected(new StreamableHTTPClientTransport(new URL(url)) as unknown as Transport)

const call = (
  client: Client,
  name: string,
  args: { readonly [name: string]: unknown } = {},
  options: Parameters<Client["callTool"]>[2] = {}
) => Effect.promise(() => client.callTool({ name, arguments: args }, undefined, options))

const quiet = Logger.remove(Logger.defaultLogger)

const behaves = (client: Client) =>
  Effect.gen(function*() {
    const { tools } = yield* Effect.promise(() => client.listTools())
    assert.deepStrictEqual(tools.map(({ name }) => name), ["divide", "pay", "draw", "break", "wait", "dated"])
    const [divide, , , , , dated] = tools
    assert.deepInclude(divide, { description: "Divides two numbers." })
    assert.deepStrictEqual(divide?.inputSchema.required, ["dividend", "divisor"])
    assert.deepInclude(dated, { description: "Says when something was." })
    assert.deepStrictEqual(dated?.inputSchema.properties, { event: { type: "string" } })

    assert.deepStrictEqual(yield* call(client, "divide", { dividend: 6, divisor: 3 }), {
      content: [{ type: "text", text: `{"quotient":2}` }],
      structuredContent: { quotient: 2 }
    })
    assert.deepStrictEqual(yield* call(client, "divide", { dividend: 6, divisor: 0 }), {
      content: [{ type: "text", text: "nothing can be divided by 0" }],
      isError: true
    })
    const wrong = yield* call(client, "divide", { dividend: 6, divisor: 3, more: 1 })
    assert.isTrue(wrong.isError)
    assert.include(JSON.stringify(wrong.content), "these arguments do not fit: more")
    assert.deepStrictEqual(yield* call(client, "pay", { amount: 20 }), {
      content: [{ type: "text", text: "10 is too much" }],
      isError: true
    })
    assert.deepStrictEqual(yield* call(client, "draw"), {
      content: [{ type: "text", text: "a dot" }, { type: "image", mimeType: "image/png", data: "iVBORw0KGgo=" }]
    })
    // What happened inside is for the log of the server.
    assert.deepStrictEqual(yield* call(client, "break"), {
      content: [{ type: "text", text: "it failed; what happened is in the log of the server" }],
      isError: true
    })
    const unknown = yield* Effect.flip(Effect.tryPromise(() => client.callTool({ name: "constructor" })))
    assert.include(String(unknown.error), `there is no tool "constructor"; there are divide`)

    const progress: Array<string | undefined> = []
    const answer = yield* call(client, "dated", { event: "The first steps on the moon" }, {
      onprogress: ({ message }) => progress.push(message)
    })
    assert.deepStrictEqual(answer.structuredContent, { on: "1969-07-20T00:00:00.000Z", certain: true })
    assert.deepStrictEqual(progress, ["looking it up"])
  })

describe("McpServer.http", () => {
  it.scopedLive("serves the SDK's client", () =>
    Effect.gen(function*() {
      const { slow, url } = yield* served()
      const client = yield* overHttp(url)
      assert.strictEqual(client.getInstructions(), "Ask first.")
      yield* behaves(client)

      const waiting = yield* Effect.fork(
        Effect.promise((signal) => client.callTool({ name: "wait" }, undefined, { signal }))
      )
      yield* Deferred.await(slow.begun)
      yield* Fiber.interrupt(waiting)
      yield* Deferred.await(slow.stopped)
    }).pipe(Effect.provide([model, quiet])))

  it.scopedLive("serves our own client", () =>
    Effect.gen(function*() {
      const { url } = yield* served()
      const [divide] = yield* Effect.flatMap(McpTools.http({ url }), ({ tools }) => tools)
      assert.strictEqual(yield* Tool.call(divide!, { dividend: 6, divisor: 3 }), `{"quotient":2}`)
    }).pipe(Effect.provide(model)))

  it.scopedLive("a session ends when its client says so, and nobody else has it", () =>
    Effect.gen(function*() {
      const { slow, url } = yield* served()
      const transport = new StreamableHTTPClientTransport(new URL(url))
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it allows `undefined` where the other does not
      const client = yield* connected(transport as unknown as Transport)
      const waiting = yield* Effect.fork(Effect.flip(Effect.tryPromise(() => client.callTool({ name: "wait" }))))
      yield* Deferred.await(slow.begun)
      const session = { "mcp-session-id": transport.sessionId ?? "" }
      const ping = { jsonrpc: "2.0", id: 9, method: "ping" }
      assert.strictEqual(yield* post(url, session, ping), 200)
      assert.strictEqual(yield* post(url, { "mcp-session-id": "a guess" }, ping), 404)
      yield* Effect.promise(() => transport.terminateSession())
      // What was under way is for nobody any more.
      yield* Deferred.await(slow.stopped)
      assert.strictEqual(yield* post(url, session, ping), 404)
      yield* Effect.promise(() => client.close())
      yield* waiting
    }).pipe(Effect.provide([model, quiet])))

  const post = (url: string, headers: { readonly [name: string]: string }, body: unknown = initialize) =>
    Effect.map(answered(url, headers, body), ({ status }) => status)

  const answered = (url: string, headers: { readonly [name: string]: string }, body: unknown) =>
    // `fetch` sets some headers itself.
    Effect.async<{ readonly status: number; readonly headers: http.IncomingHttpHeaders }>((resume) => {
      const request = http.request(url, {
        method: "POST",
        // Of its own, as one that was cut off is of no use.
        agent: false,
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          ...headers
        }
      }, (response) => {
        response.resume()
        resume(Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers }))
      })
      // Who is refused in the middle of a body may be cut off before it has read the answer.
      request.on("error", () => resume(Effect.succeed({ status: 0, headers: {} })))
      request.end(JSON.stringify(body))
    })

  const initialize = {
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "raw", version: "1" } }
  }

  it.scopedLive("refuses pages of other sites and other hosts, and takes those it is told", () =>
    Effect.gen(function*() {
      const { url } = yield* served()
      assert.strictEqual(yield* post(url, {}), 200)
      assert.strictEqual(yield* post(url, { origin: "https://evil.example" }), 403)
      assert.strictEqual(yield* post(url, { origin: "null" }), 403)
      assert.strictEqual(yield* post(url, { host: "evil.example" }), 403)
      assert.strictEqual(yield* post(url, { host: "localhost:1234" }), 200)

      const open = yield* served({ hosts: ["mcp.example"], origins: ["https://app.example"] })
      assert.strictEqual(yield* post(open.url, { host: "mcp.example", origin: "https://app.example" }), 200)
      assert.strictEqual(yield* post(open.url, { host: "mcp.example", origin: "https://app.example.evil" }), 403)
      assert.strictEqual(yield* post(open.url, {}), 403)
    }).pipe(Effect.provide(model)))

  it.scopedLive("who has no token finds nothing, with or without a session", () =>
    Effect.gen(function*() {
      const { url } = yield* served({ auth: Redacted.make("s3cret") })
      const authorization = "Bearer s3cret"
      for (const wrong of [{}, { authorization: "Bearer s3cre" }, { authorization: "Basic s3cret" }]) {
        assert.strictEqual(yield* post(url, wrong), 401)
      }
      assert.strictEqual(yield* post(url, { authorization }), 200)
      assert.strictEqual(yield* post(url, { authorization: "bearer  s3cret" }), 200)
      assert.strictEqual(yield* post(url, { authorization, origin: "https://evil.example" }), 403)
      assert.strictEqual((yield* answered(url, {}, initialize)).headers["www-authenticate"], "Bearer")

      const refused = yield* Effect.flip(McpTools.http({ url }))
      assert.strictEqual(refused.reason, "Unauthorized")
      const [divide] = yield* Effect.flatMap(
        McpTools.http({ url, headers: { authorization: Redacted.make(authorization) } }),
        ({ tools }) => tools
      )
      assert.strictEqual(yield* Tool.call(divide!, { dividend: 6, divisor: 3 }), `{"quotient":2}`)
      const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization } } })
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it allows `undefined` where the other does not
      yield* connected(transport as unknown as Transport)
      const ping = { jsonrpc: "2.0", id: 9, method: "ping" }
      const session = { "mcp-session-id": transport.sessionId ?? "" }
      assert.strictEqual(yield* post(url, session, ping), 401)
      assert.strictEqual(yield* post(url, { ...session, authorization }, ping), 200)

      const empty = yield* served({ auth: Redacted.make("") })
      assert.strictEqual(yield* post(empty.url, { authorization: "Bearer " }), 401)
    }).pipe(Effect.provide(model)))

  it.scopedLive("refuses what is no request, or too large", () =>
    Effect.gen(function*() {
      const { url } = yield* served()
      assert.strictEqual(yield* post(url, {}, { jsonrpc: "2.0" }), 400)
      assert.strictEqual(yield* post(url, {}, { jsonrpc: "2.0", id: 1, method: "tools/list" }), 400)
      assert.include([413, 0], yield* post(url, {}, { ...initialize, more: "x".repeat(2 * 1024 * 1024) }))
      assert.strictEqual(yield* post(url, {}), 200)
    }).pipe(Effect.provide(model)))

  it.scoped("two tools of one name are a mistake", () =>
    Effect.gen(function*() {
      const tool = Tool.make("a", { description: "", parameters: { x: Schema.Number }, run: () => Effect.void })
      const exit = yield* Effect.exit(McpServer.http({ name: "n", version: "1", tools: [tool, tool] }))
      assert.include(Exit.match(exit, { onSuccess: () => "", onFailure: Cause.pretty }), "two tools have the same name")
    }))
})

describe("McpServer.stdio", () => {
  it.scopedLive("serves the SDK's client, and ends with its input", () =>
    Effect.gen(function*() {
      const transport = new StdioClientTransport({
        command: process.execPath,
        args: ["--import", "tsx", path.join(import.meta.dirname, "mcpOurs.ts")],
        stderr: "pipe"
      })
      let said = ""
      transport.stderr?.on("data", (data: Buffer) => {
        said += data.toString()
      })
      yield* Effect.scoped(Effect.flatMap(connected(transport), behaves))
      assert.include(said, "has failed")
      assert.include(said, "ended")
    }), 20_000)
})
