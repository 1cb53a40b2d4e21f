import type * as Json from "@effect-dspy/core/Json"
import * as JsonSchema from "@effect-dspy/core/JsonSchema"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { assert, describe, it } from "@effect/vitest"
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv"
import { Deferred, Effect, Exit, FastCheck, Fiber, Redacted, Schedule, Scope } from "effect"
import { fork } from "node:child_process"
import * as fs from "node:fs"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as McpTools from "../src/McpTools.ts"
import { makeSessions } from "./mcp.ts"

const program = {
  executable: process.execPath,
  arguments: ["--import", "tsx", path.join(import.meta.dirname, "fixtures/mcpStdio.ts")]
}

const named = (tools: ReadonlyArray<McpTools.McpTool>, name: string) =>
  Effect.fromNullable(tools.find((tool) => tool.name === name)).pipe(Effect.orDie)

// A server on loopback, one session in each connection; the second part says what it hears.
const served = (options: { readonly authorization?: string } = {}) =>
  Effect.gen(function*() {
    const slow = { begun: yield* Deferred.make<void>(), cancelled: yield* Deferred.make<void>() }
    const { forget, handle } = makeSessions((what) => Deferred.unsafeDone(slow[what], Effect.void))
    const deleted: Array<string> = []
    const server = http.createServer(async (request, response) => {
      if (options.authorization !== undefined && request.headers.authorization !== options.authorization) {
        response.writeHead(401).end()
        return
      }
      if (request.method === "DELETE") deleted.push(String(request.headers["mcp-session-id"]))
      await handle(request, response)
    })
    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.sync(() => {
          server.close()
          server.closeAllConnections()
        })
    )
    const { port } = server.address() as AddressInfo // of a server on TCP
    return { url: `http://127.0.0.1:${port}/mcp`, slow, deleted, forget, server }
  })

const waitFor = (holds: () => boolean) =>
  Effect.suspend(() => holds() ? Effect.void : Effect.fail("not yet")).pipe(
    Effect.retry(Schedule.spaced("20 millis").pipe(Schedule.upTo("5 seconds")))
  )

describe("McpTools.stdio", () => {
  it.scopedLive("finds all tools, over all pages, under names that services take", () =>
    Effect.gen(function*() {
      const connection = yield* McpTools.stdio({ ...program, prefix: "x_" })
      assert.deepStrictEqual(connection.server, { name: "fixture", version: "1.2.3" })
      assert.strictEqual(connection.instructions, "Use with care.")
      const tools = yield* connection.tools
      assert.deepStrictEqual(tools.map(({ name }) => name).slice(0, 4), [
        "x_echo",
        "x_files_read_all",
        "x_files_read_all_2",
        "x_fail"
      ])
      assert.lengthOf(tools, 14)
      const echo = yield* named(tools, "x_echo")
      assert.strictEqual(echo.definition.description, "Says it again.")
      assert.deepStrictEqual(echo.definition.parameters, {
        type: "object",
        properties: { text: { type: "string" } },
        required: ["text"]
      })
      assert.strictEqual(yield* Tool.call(yield* named(tools, "x_files_read_all_2"), {}), "read too")
    }))

  it.scopedLive("what it answers becomes an observation, whatever it is", () =>
    Effect.gen(function*() {
      const tools = yield* Effect.flatMap(McpTools.stdio(program), ({ tools }) => tools)
      const call = (name: string, args: Json.JsonRecord = {}) =>
        Effect.flatMap(named(tools, name), (tool) => Tool.call(tool, args))
      const failure = (name: string, args?: Json.JsonRecord) =>
        Effect.map(Effect.flip(call(name, args)), ({ description, reason }) => [reason, description])
      assert.strictEqual(yield* call("echo", { text: "hi" }), "hi")
      assert.strictEqual(yield* call("sum", { a: 1, b: 2 }), `{"sum":3}`)
      assert.strictEqual(yield* call("resources"), `[{"uri":"file:///a","text":"A"},{"uri":"file:///b","name":"b"}]`)
      assert.strictEqual(
        yield* call("drawing"),
        `["a circle",{"mimeType":"image/svg+xml","withheld":"no model takes this type"}]`
      )
      assert.deepStrictEqual(yield* failure("fail"), ["Failed", "the disk is full"])
      assert.deepStrictEqual(yield* failure("refuse"), ["Failed", "not today"])
      assert.deepStrictEqual(yield* failure("lie"), [
        "Failed",
        `its answer is not what it promises: sum must be of type number, not "much"`
      ])
      assert.deepStrictEqual(yield* failure("echo", { text: 1 }), [
        "InvalidArguments",
        "these arguments do not fit: text: must be of type string, not 1"
      ])
      assert.deepStrictEqual(yield* failure("echo", { text: "a", more: 1 }), [
        "InvalidArguments",
        "these arguments do not fit: more: is unknown"
      ])

      const picture = yield* Effect.flatMap(named(tools, "picture"), (tool) => tool.run({}))
      assert.deepStrictEqual(picture, [
        { _tag: "Text", text: "a dot" },
        { _tag: "Image", url: "data:image/png;base64,iVBORw0KGgo=" }
      ])
    }))

  it.scopedLive("an agent uses them", () =>
    Effect.gen(function*() {
      const tools = yield* Effect.flatMap(McpTools.stdio(program), ({ tools }) => tools)
      const { trajectory } = yield* ReAct.make("question -> answer", { tools })({ question: "1 + 2?" })
      assert.strictEqual(trajectory[0]?.observation, `{"sum":3}`)
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.toolCalls([{ name: "sum", arguments: { a: 1, b: 2 } }]),
      TestLanguageModel.toolCalls([{ name: "finish", arguments: {} }]),
      TestLanguageModel.fields({ reasoning: "It says so.", answer: "3" })
    ]))))

  it.scopedLive("asks for the tools again once they have changed, and not before", () =>
    Effect.gen(function*() {
      const connection = yield* McpTools.stdio(program)
      const before = yield* connection.tools
      assert.strictEqual(yield* connection.tools, before)
      yield* Tool.call(yield* named(before, "grow"), {})
      const after = yield* connection.tools
      assert.lengthOf(after, before.length + 1)
      assert.strictEqual(yield* Tool.call(yield* named(after, "grown"), {}), "new")
    }))

  it.scopedLive("a call that takes too long or is interrupted is cancelled there", () =>
    Effect.gen(function*() {
      const home = fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-mcp-"))
      const file = path.join(home, "calls")
      const heard = () => fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim().split("\n") : []
      yield* Effect.addFinalizer(() => Effect.sync(() => fs.rmSync(home, { recursive: true })))
      const tools = yield* Effect.flatMap(
        McpTools.stdio({ ...program, environment: { CALLS: file }, timeout: "200 millis" }),
        ({ tools }) => tools
      )
      const slow = yield* named(tools, "slow")
      assert.strictEqual((yield* Effect.flip(Tool.call(slow, {}))).reason, "TimedOut")
      yield* waitFor(() => heard().length === 2)
      const calling = yield* Effect.fork(Tool.call(slow, {}))
      yield* waitFor(() => heard().length === 3)
      yield* Fiber.interrupt(calling)
      yield* waitFor(() => heard().length === 4)
      assert.deepStrictEqual(heard(), ["begun", "cancelled", "begun", "cancelled"])
      assert.strictEqual(yield* Tool.call(yield* named(tools, "echo"), { text: "still there" }), "still there")
    }))

  it.scopedLive("a server that dies says how, to every call and to whoever waits for it", () =>
    Effect.gen(function*() {
      const connection = yield* McpTools.stdio({ ...program, reconnect: Schedule.stop })
      const tools = yield* connection.tools
      const other = yield* Effect.fork(Effect.flip(Effect.flatMap(named(tools, "slow"), (tool) => Tool.call(tool, {}))))
      const told = "it ended with code 7, saying: out of memory; what was asked may be done or not"
      const error = yield* Effect.flip(Tool.call(yield* named(tools, "die"), {}))
      assert.deepStrictEqual([error.reason, error.description], ["Failed", told])
      assert.strictEqual((yield* Fiber.join(other)).description, told)
      const closed = yield* connection.closed
      assert.deepStrictEqual([closed.reason, closed.description], ["Closed", `${told}; connect again`])
      const later = yield* Effect.flip(Tool.call(yield* named(tools, "echo"), { text: "a" }))
      assert.deepStrictEqual([later.reason, later.description], ["Failed", closed.description])
    }))

  it.scopedLive(
    "a server that dies is started again: its tools stay, and are asked for anew",
    () =>
      Effect.gen(function*() {
        const connection = yield* McpTools.stdio(program)
        const tools = yield* connection.tools
        yield* Tool.call(yield* named(tools, "grow"), {})
        assert.lengthOf(yield* connection.tools, 15)
        yield* Effect.flip(Tool.call(yield* named(tools, "die"), {}))
        // At once, when there is no connection yet.
        assert.strictEqual(yield* Tool.call(yield* named(tools, "echo"), { text: "again" }), "again")
        // It is another process, which has not grown.
        assert.lengthOf(yield* connection.tools, 14)
        yield* Effect.flip(Tool.call(yield* named(tools, "die"), {}))
        assert.lengthOf(yield* connection.tools, 14)
      }),
    20_000
  )

  it.scopedLive("a server that does not come back is given up as the schedule says", () =>
    Effect.gen(function*() {
      const home = fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-mcp-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => fs.rmSync(home, { recursive: true, force: true })))
      const starts = path.join(home, "starts")
      const script = `echo x >> ${starts}; [ $(wc -l < ${starts}) -gt 1 ] && exit 3; exec "$@"`
      const connection = yield* McpTools.stdio({
        executable: "/bin/sh",
        arguments: ["-c", script, "sh", program.executable, ...program.arguments],
        reconnect: Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurs(3))
      })
      const tools = yield* connection.tools
      yield* Effect.flip(Tool.call(yield* named(tools, "die"), {}))
      const waiting = yield* Effect.flip(Tool.call(yield* named(tools, "echo"), { text: "a" }))
      const closed = yield* connection.closed
      assert.include(closed.description, "it ended with code 3")
      assert.include(closed.description, "connect again")
      assert.strictEqual(waiting.description, closed.description)
      assert.strictEqual(fs.readFileSync(starts, "utf8"), "x\n".repeat(4))
    }), 20_000)

  it.scopedLive("who calls a tool after its scope is told so at once", () =>
    Effect.gen(function*() {
      const tools = yield* Effect.scoped(Effect.flatMap(McpTools.stdio(program), ({ tools }) => tools))
      const error = yield* Effect.flip(Tool.call(yield* named(tools, "echo"), { text: "a" }))
      assert.strictEqual(error.description, "its scope has ended")
    }))

  it.scopedLive("what is no server is an error in time", () =>
    Effect.gen(function*() {
      const missing = yield* Effect.flip(McpTools.stdio({ executable: "/nowhere" }))
      assert.strictEqual(missing.reason, "Unreachable")
      const silent = yield* Effect.flip(McpTools.stdio({ executable: "cat", patience: "200 millis" }))
      assert.include(["TimedOut", "Protocol"], silent.reason)
      const ends = yield* Effect.flip(
        McpTools.stdio({ executable: "/bin/sh", arguments: ["-c", "echo no such key >&2; exit 2"] })
      )
      assert.deepStrictEqual([ends.reason, ends.description], [
        "Closed",
        "it ended with code 2, saying: no such key; what was asked may be done or not"
      ])
    }))

  it.scopedLive("gets little of our environment", () =>
    Effect.gen(function*() {
      const tools = yield* Effect.flatMap(McpTools.stdio({ ...program, environment: { TOKEN: "x" } }), ({ tools }) =>
        tools)
      const names = (yield* Tool.call(yield* named(tools, "environment"), {})).split(" ")
      assert.include(names, "TOKEN")
      assert.notInclude(names, "VITEST")
    }))
})

describe("McpTools.http", () => {
  it.scopedLive("finds and calls tools, and says goodbye", () =>
    Effect.gen(function*() {
      const { deleted, slow, url } = yield* served({ authorization: "Bearer secret" })
      const scope = yield* Scope.make()
      const connection = yield* Scope.extend(
        McpTools.http({ url, headers: { Authorization: Redacted.make("Bearer secret") } }),
        scope
      )
      const tools = yield* connection.tools
      assert.lengthOf(tools, 14)
      assert.strictEqual(yield* Tool.call(yield* named(tools, "sum"), { a: 1, b: 2 }), `{"sum":3}`)
      assert.strictEqual(
        (yield* Effect.flip(Tool.call(yield* named(tools, "fail"), {}))).description,
        "the disk is full"
      )
      const calling = yield* Effect.fork(Tool.call(yield* named(tools, "slow"), {}))
      yield* Deferred.await(slow.begun)
      yield* Fiber.interrupt(calling)
      yield* Deferred.await(slow.cancelled)
      yield* Scope.close(scope, Exit.void)
      assert.lengthOf(deleted, 1)
    }))

  it.scopedLive("who is not let in, not there or forgotten is told what to do", () =>
    Effect.gen(function*() {
      const locked = yield* served({ authorization: "Bearer secret" })
      const refused = yield* Effect.flip(McpTools.http({ url: `${locked.url}?key=hidden` }))
      assert.strictEqual(refused.reason, "Unauthorized")
      assert.notInclude(refused.message, "hidden")
      const nowhere = yield* Effect.flip(McpTools.http({ url: "http://127.0.0.1:1/mcp" }))
      assert.strictEqual(nowhere.reason, "Unreachable")
      assert.strictEqual((yield* Effect.flip(McpTools.http({ url: "not a URL" }))).reason, "Unreachable")

      // What refuses these by itself quotes them.
      const user = yield* Effect.flip(McpTools.http({ url: "http://user:hidden@127.0.0.1:1/mcp" }))
      assert.include(user.message, "put them into a header")
      const authorization = Redacted.make("Bearer hidden\u0000")
      const header = yield* Effect.flip(McpTools.http({ url: "http://127.0.0.1:1/mcp", headers: { authorization } }))
      assert.include(header.message, `the header "authorization" has`)
      for (const error of [user, header]) assert.notInclude(JSON.stringify(error), "hidden")
    }))

  it.scopedLive("a server that has forgotten the session is told what it had missed", () =>
    Effect.gen(function*() {
      const { forget, url } = yield* served()
      const connection = yield* McpTools.http({ url })
      const tools = yield* connection.tools
      yield* Tool.call(yield* named(tools, "grow"), {})
      forget()
      // It was not heard there, and is said again to the session that takes the place of the other.
      assert.strictEqual(yield* Tool.call(yield* named(tools, "echo"), { text: "again" }), "again")
      assert.lengthOf(yield* connection.tools, 14)
      forget()
      const known = yield* Effect.flatMap(McpTools.http({ url, reconnect: Schedule.stop }), ({ tools }) => tools)
      forget()
      const error = yield* Effect.flip(Tool.call(yield* named(known, "echo"), { text: "a" }))
      assert.include(error.description, "connect again")
    }))

  it.scopedLive("a server that is killed is connected to again when it is back", () =>
    Effect.gen(function*() {
      const start = (port: number) =>
        Effect.async<{ readonly port: number; readonly kill: Effect.Effect<void> }>((resume) => {
          const child = fork(path.join(import.meta.dirname, "fixtures/mcpHttp.ts"), [String(port)], {
            execArgv: ["--import", "tsx"]
          })
          const kill = Effect.async<void>((resume) => {
            child.once("exit", () => resume(Effect.void))
            if (!child.kill("SIGKILL")) resume(Effect.void)
          })
          child.once("message", (port) => resume(Effect.succeed({ port: Number(port), kill })))
        })
      const running = (port: number) => Effect.acquireRelease(start(port), ({ kill }) => kill)
      const { kill, port } = yield* running(0)
      const connection = yield* McpTools.http({ url: `http://127.0.0.1:${port}/mcp` })
      const tools = yield* connection.tools
      const echo = yield* named(tools, "echo")
      const under = yield* Effect.fork(Effect.flip(Effect.flatMap(named(tools, "slow"), (tool) => Tool.call(tool, {}))))
      yield* kill
      // Nobody knows whether it was done.
      assert.match(
        (yield* Fiber.join(under)).description,
        /^its answer broke off.*; what was asked may be done or not$/
      )
      // There is no server, and then there is.
      const waiting = yield* Effect.fork(Tool.call(echo, { text: "patient" }))
      yield* Effect.sleep("300 millis")
      const again = yield* running(port)
      assert.strictEqual(yield* Fiber.join(waiting), "patient")
      const known = yield* connection.tools
      assert.notStrictEqual(known, tools, "they were asked for again")
      // Nobody calls, but the stream of notifications finds out.
      yield* again.kill
      yield* running(port)
      yield* Effect.retry(
        Effect.filterOrFail(connection.tools, (tools) => tools !== known),
        Schedule.spaced("50 millis").pipe(Schedule.upTo("15 seconds"))
      )
    }), 30_000)
})

describe("a hostile server", () => {
  it.scopedLive.each(["application/json", "text/event-stream"])(
    "whose messages are larger than any is left, in %s",
    (type) =>
      Effect.gen(function*() {
        const server = http.createServer((request, response) => {
          let body = ""
          request.on("data", (chunk) => body += chunk).on("end", () => {
            const { id, method, params } = body === "" ? { id: undefined, method: "", params: {} } : JSON.parse(body)
            if (id === undefined) return response.writeHead(request.method === "POST" ? 202 : 405).end()
            response.writeHead(200, { "content-type": method === "initialize" ? "application/json" : type })
            if (method === "initialize") {
              const { protocolVersion } = params
              const result = { protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "a", version: "1" } }
              return response.end(JSON.stringify({ jsonrpc: "2.0", id, result }))
            }
            response.on("error", () => {})
            // Many small ones are no large one.
            if (request.url === "/small") {
              for (let n = 0; n < 20; n++) response.write(`: ${"x".repeat(2 ** 20)}\r\n\r\n`)
              response.end(`data: ${JSON.stringify({ jsonrpc: "2.0", id, result: { tools: [] } })}\r\n\r\n`)
              return
            }
            const piece = type === "text/event-stream" ? `data: ${"x".repeat(2 ** 20)}\r\n` : "x".repeat(2 ** 20)
            for (let n = 0; n < 20; n++) response.write(piece)
          })
        })
        yield* Effect.acquireRelease(
          Effect.async<void>((resume) => {
            server.listen(0, "127.0.0.1", () => resume(Effect.void))
          }),
          () => Effect.sync(() => server.close().closeAllConnections())
        )
        const { port } = server.address() as AddressInfo // of a server on TCP
        const { closed, tools } = yield* McpTools.http({
          url: `http://127.0.0.1:${port}/mcp`,
          reconnect: Schedule.stop
        })
        yield* Effect.flip(tools)
        if (type === "text/event-stream") {
          const small = yield* McpTools.http({ url: `http://127.0.0.1:${port}/small` })
          assert.deepStrictEqual(yield* small.tools, [])
        }
        assert.include((yield* closed).description, "it sent a message of more than 16777216 bytes, and was left")
      }),
    20_000
  )

  it.scopedLive("whose list of tools is larger than any is refused, in one page too", () =>
    Effect.gen(function*() {
      const tool = { name: "a", inputSchema: { type: "object" } }
      const server = http.createServer((request, response) => {
        let body = ""
        request.on("data", (chunk) => body += chunk).on("end", () => {
          const { id, method, params } = body === "" ? { id: undefined, method: "", params: {} } : JSON.parse(body)
          const result = method === "initialize"
            ? {
              protocolVersion: params.protocolVersion,
              capabilities: { tools: {} },
              serverInfo: { name: "a", version: "1" }
            }
            : { tools: Array.from({ length: 200_000 }, () => tool) }
          response.writeHead(id === undefined ? 202 : 200, { "content-type": "application/json" })
          response.end(id === undefined ? "" : JSON.stringify({ jsonrpc: "2.0", id, result }))
        })
      })
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => {
          server.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => server.close().closeAllConnections())
      )
      const { port } = server.address() as AddressInfo // of a server on TCP
      const { tools } = yield* McpTools.http({ url: `http://127.0.0.1:${port}/mcp` })
      const error = yield* Effect.flip(tools)
      assert.deepStrictEqual([error.reason, error.description], [
        "Protocol",
        "its list of tools does not end, after 200000 of them"
      ])
    }), 30_000)
})

describe("JsonSchema.check", () => {
  // Schemas of the keywords that are checked, and values that are likely to meet them.
  const { schema } = FastCheck.letrec<{ readonly schema: object }>((tie) => {
    const name = FastCheck.constantFrom("a", "b")
    const small = FastCheck.integer({ min: 0, max: 3 })
    const schemas = FastCheck.array(tie("schema"), { minLength: 1, maxLength: 3 })
    return {
      schema: FastCheck.oneof(
        { maxDepth: 3 },
        FastCheck.record({
          type: FastCheck.constantFrom("string", "integer", "number", "null", "boolean", "array", "object")
        }),
        FastCheck.record({ minimum: small, exclusiveMaximum: small, minLength: small, maxItems: small }, {
          requiredKeys: []
        }),
        FastCheck.record({ enum: FastCheck.uniqueArray(small, { minLength: 1 }) }),
        FastCheck.record({ const: small }),
        FastCheck.record({ type: FastCheck.constant("object"), properties: FastCheck.dictionary(name, tie("schema")) }),
        FastCheck.record({
          properties: FastCheck.dictionary(name, tie("schema")),
          required: FastCheck.uniqueArray(name),
          additionalProperties: FastCheck.oneof(FastCheck.boolean(), tie("schema"))
        }),
        FastCheck.record({ items: tie("schema"), uniqueItems: FastCheck.boolean() }),
        FastCheck.record({ type: FastCheck.constant("array"), contains: tie("schema") }),
        FastCheck.record({ allOf: schemas }),
        FastCheck.record({ anyOf: schemas }),
        FastCheck.record({ oneOf: schemas }),
        FastCheck.record({ not: tie("schema") }),
        FastCheck.record({ if: tie("schema"), then: tie("schema"), else: tie("schema") })
      )
    }
  })
  const { value } = FastCheck.letrec<{ readonly value: unknown }>((tie) => ({
    value: FastCheck.oneof(
      { maxDepth: 3 },
      FastCheck.integer({ min: -1, max: 4 }),
      FastCheck.constantFrom("", "a", "abcd", null, true, 1.5),
      FastCheck.array(tie("value"), { maxLength: 4 }),
      FastCheck.dictionary(FastCheck.constantFrom("a", "b", "c"), tie("value"))
    )
  }))

  it("agrees with the validator of the SDK on what both of them check", () => {
    const ajv = new AjvJsonSchemaValidator()
    let refused = 0
    FastCheck.assert(
      FastCheck.property(schema, value, (schema, value) => {
        const json = (u: unknown): Json.Json => JSON.parse(JSON.stringify(u))
        const { valid } = ajv.getValidator(schema)(value)
        if (!valid) refused += 1
        assert.strictEqual(JsonSchema.check(json(schema), json(value)).length === 0, valid)
      }),
      { seed: 20, numRuns: 1000 }
    )
    assert.isAtLeast(refused, 250)
  })
})
