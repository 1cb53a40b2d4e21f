import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Server from "@effect-dspy/streaming/Server"
import * as ServingError from "@effect-dspy/streaming/ServingError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Deferred, Effect, Exit, Fiber, Redacted, Schema, Scope, TestClock } from "effect"
import { bytesHeld, held } from "./held.ts"
import { connect, endless, frame, head, numbered, type Raw, start, until, upgrade, writes } from "./serving.ts"

const answer = Predict.make("question -> answer")
const question = JSON.stringify({ question: "Who?" })

const answered = (url: string, init: RequestInit) =>
  fetch(url, init).then(async (response) => ({
    status: response.status,
    headers: response.headers,
    text: await response.text()
  }))

const ask = (url: string, path: string, init?: RequestInit) =>
  Effect.promise((signal) => answered(url + path, { signal, ...init }))

const post = (url: string, path: string, body: string, headers: Record<string, string> = {}) =>
  ask(url, path, { method: "POST", body, headers })

const reasonOf = ({ text }: { readonly text: string }): string => JSON.parse(text).reason

// As a library may throw it.
class Broken extends Data.Error<{ readonly message: string }> {}

describe("POST /run", () => {
  it.scopedLive("takes the input and gives the answer, as JSON", () => {
    const model = writes(["Ada ", "Lovelace"])
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer } })
      const response = yield* post(url, "/run/answer", question)
      assert.deepStrictEqual([response.status, response.text], [200, `{"answer":"Ada Lovelace"}`])
      assert.strictEqual(response.headers.get("cache-control"), "no-store")
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("refuses what is no input, before any model is called", () => {
    const model = writes(["Ada"])
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer }, limits: { body: 300_000 } })
      const refused = yield* Effect.forEach([
        ["/run/answer", "{"],
        ["/run/answer", `{"question":"a","__proto__":{"polluted":true}}`],
        ["/run/answer", `{"question":${deep}}`],
        ["/run/answer", `{"question":"a","extra":1}`],
        ["/run/answer", `{}`],
        ["/run/answer", `{"question":"${"a".repeat(300_000)}"}`],
        ["/run/constructor", question],
        ["/stream/answer", `{"question":1}`]
      ], ([path, body]) => post(url, path!, body!))
      assert.deepStrictEqual(refused.map((response) => [response.status, reasonOf(response)]), [
        [400, "BadRequest"],
        [400, "BadRequest"],
        [400, "BadRequest"],
        [422, "InvalidInput"],
        [422, "InvalidInput"],
        [413, "TooLarge"],
        [404, "NotFound"],
        [422, "InvalidInput"]
      ])
      assert.strictEqual(model.counts.calls, 0)
      assert.isFalse("polluted" in {})
      const bytes = yield* ask(url, "/run/answer", { method: "POST", body: new Uint8Array([0x22, 0xff, 0x22]) })
      assert.strictEqual(bytes.status, 400)
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("holds no more of a body than has come, also when it comes byte by byte", () =>
    Effect.gen(function*() {
      const server = yield* Server.make({ modules: { answer } })
      const text = JSON.stringify({ question: "x".repeat(100_000) })
      const before = yield* held
      let more = 0
      const body = new ReadableStream({
        async pull(controller) {
          if (more < text.length) controller.enqueue(new Uint8Array([text.charCodeAt(more)]))
          else {
            more = (await bytesHeld()) - before
            controller.close()
          }
          more++
        }
      })
      // Node wants to be told, and the types do not know of it.
      const init: RequestInit & { readonly duplex: "half" } = { method: "POST", body, duplex: "half" }
      const request = HttpServerRequest.fromWeb(new Request("http://localhost/run/answer", init))
      assert.deepStrictEqual(yield* server.body(request), JSON.parse(text))
      assert.isBelow(more, 20 * text.length)
    }).pipe(Effect.provide(TestLanguageModel.layer([]))), 20_000)

  it.scopedLive("says of a failure only what it is", () => {
    const canary = "sk-canary-0123456789"
    class NoSuchCustomer extends Data.TaggedError("NoSuchCustomer")<{ readonly message: string }> {}
    const run = <E>(effect: Effect.Effect<never, E>) =>
      Server.endpoint(
        { input: Schema.Struct({}), output: Schema.Struct({ ok: Schema.Boolean }) },
        Module.make({}, function*(_, _input: {}) {
          return yield* effect
        })
      )
    const modules = {
      tagged: run(new NoSuchCustomer({ message: canary })),
      text: run(Effect.fail(canary)),
      error: run(Effect.fail(new Broken({ message: canary }))),
      defect: run(Effect.die(new Error(canary))),
      told: run(ServingError.make("NotFound", "no customer of this name")),
      wrong: Server.endpoint(
        { input: Schema.Struct({}), output: Schema.Struct({ ok: Schema.String.pipe(Schema.maxLength(3)) }) },
        Module.make({}, function*(_, _input: {}) {
          return yield* Effect.succeed({ ok: canary })
        })
      )
    }
    return Effect.gen(function*() {
      const { url } = yield* start({ modules })
      for (const path of ["run", "stream"]) {
        const responses = yield* Effect.forEach(
          Object.keys(modules),
          (name) => Effect.map(post(url, `/${path}/${name}`, "{}"), (response) => [name, response] as const)
        )
        for (const [name, { text }] of responses) {
          assert.notInclude(text, canary)
          assert.notInclude(text, ".ts")
          assert.include(
            text,
            name === "told" ? `"reason":"NotFound","description":"no customer of this name"` : `"Failed"`
          )
          if (name === "tagged") assert.include(text, `"cause":"NoSuchCustomer"`)
        }
      }
    }).pipe(Effect.provide(TestLanguageModel.layer([])))
  })

  it.scopedLive("interrupts the module when the client leaves, or the time is over", () => {
    const model = writes(["Ada"], () => Effect.never)
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer }, limits: { timeout: "50 millis" } })
      const late = yield* post(url, "/run/answer", question)
      assert.deepStrictEqual([late.status, reasonOf(late)], [504, "TimedOut"])
      assert.deepStrictEqual(model.counts, { calls: 1, open: 0, words: 1 })
      const patient = yield* start({ modules: { answer } })
      const client = yield* connect(patient.port)
      client.write(
        head("POST /run/answer", { host: "localhost", "content-length": String(question.length) }) + question
      )
      yield* until(() => model.counts.open === 1)
      client.socket.resetAndDestroy()
      yield* until(() => model.counts.open === 0)
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("refuses more runs than are allowed, and says when to ask again", () => {
    const model = writes(["Ada"], () => Effect.never)
    return Effect.gen(function*() {
      const { server, url } = yield* start({ modules: { answer }, limits: { concurrency: 2 } })
      const running = yield* Effect.fork(Effect.all([
        post(url, "/run/answer", question),
        post(url, "/stream/answer", question)
      ], { concurrency: 2 }))
      yield* until(() => model.counts.open === 2)
      for (const path of ["/run/answer", "/stream/answer"]) {
        const busy = yield* post(url, path, question)
        assert.deepStrictEqual([busy.status, reasonOf(busy), busy.headers.get("retry-after")], [429, "Busy", "1"])
      }
      yield* Fiber.interrupt(running)
      yield* until(() => model.counts.open === 0)
      assert.deepStrictEqual(yield* server.active, [])
    }).pipe(Effect.provide(model.layer))
  })
})

describe("server-sent events", () => {
  const idsOf = (text: string) => Array.from(text.matchAll(/^id: (.*)$/gm), ([, id]) => id!)

  it.scopedLive("are numbered, and go on after the one a browser has seen last", () => {
    const model = writes(["Ada ", "Love", "lace"])
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer }, resume: {} })
      const first = yield* ask(url, `/stream/answer?input=${encodeURIComponent(question)}`)
      assert.strictEqual(first.headers.get("content-type"), "text/event-stream")
      const run = first.headers.get("x-run-id")
      const ids = idsOf(first.text)
      assert.deepStrictEqual(ids, ids.map((_, i) => `${run}/${i + 1}`))
      const again = yield* ask(url, `/stream/answer?input=${encodeURIComponent(question)}`, {
        headers: { "last-event-id": ids[3]! }
      })
      assert.strictEqual(again.text, first.text.slice(first.text.indexOf(`id: ${ids[4]}`)))
      const over = yield* ask(url, `/stream/answer?input=${encodeURIComponent(question)}`, {
        headers: { "last-event-id": ids.at(-1)! }
      })
      assert.deepStrictEqual([over.status, over.text], [204, ""])
      assert.strictEqual(
        (yield* ask(url, `/runs/${run}?from=2`)).text,
        first.text.slice(first.text.indexOf(`id: ${ids[2]}`))
      )
      assert.strictEqual(model.counts.calls, 1)
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("of a run that is asked for twice come from one run, if it is the same", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer }, resume: {} })
      const key = { "idempotency-key": "mine" }
      const one = yield* post(url, "/stream/answer", question, key)
      const other = yield* post(url, "/stream/answer", question, key)
      assert.strictEqual(other.text, one.text)
      assert.strictEqual(model.counts.calls, 1)
      const different = yield* post(url, "/stream/answer", `{"question":"When?"}`, key)
      assert.deepStrictEqual([different.status, reasonOf(different)], [409, "Conflict"])
      const bad = yield* Effect.forEach([
        { "idempotency-key": "no spaces" },
        { "last-event-id": "mine/x" },
        { "last-event-id": "mine/999" },
        { "last-event-id": "yours/3" }
      ], (headers) => post(url, "/stream/answer", question, headers as Record<string, string>))
      assert.deepStrictEqual(bad.map(({ status }) => status), [400, 400, 400, 404])
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("that are no longer kept are gone", () => {
    const model = writes(numbered(100))
    return Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer }, resume: { events: 10 } })
      const whole = yield* post(url, "/stream/answer", question, { "idempotency-key": "long" })
      const ids = idsOf(whole.text)
      const gone = yield* ask(url, "/runs/long?from=5")
      assert.deepStrictEqual([gone.status, reasonOf(gone)], [410, "Gone"])
      const kept = yield* ask(url, `/runs/long?from=${ids.length - 5}`)
      assert.deepStrictEqual(idsOf(kept.text), ids.slice(-5))
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("stop the model when the client leaves, at once or when nobody has come back", () => {
    const model = writes(endless("on and "), (n) => n % 10 === 9 ? Effect.sleep("1 millis") : Effect.void)
    return Effect.gen(function*() {
      for (const resume of [undefined, { grace: "100 millis" } as const]) {
        const { port, server } = yield* start({ modules: { answer }, resume })
        const client = yield* connect(port)
        client.write(
          head("POST /stream/answer", { host: "localhost", "content-length": String(question.length) }) + question
        )
        yield* until(() => model.counts.open === 1 && client.received().includes("FieldDelta"))
        client.socket.resetAndDestroy()
        if (resume !== undefined) {
          yield* Effect.repeat(Effect.delay(server.active, "1 millis"), { until: ([run]) => run?.followers === 0 })
          assert.strictEqual(model.counts.open, 1)
        }
        yield* until(() => model.counts.open === 0)
        assert.deepStrictEqual(yield* server.active, [])
      }
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("wait for a client that does not read, and the model with them; then it is left", () => {
    const model = writes(endless("on and on and on and on ".repeat(40)))
    return Effect.gen(function*() {
      const { port, server } = yield* start({ modules: { answer }, limits: { stall: "2 seconds" } })
      const client = yield* connect(port)
      client.socket.pause()
      client.write(
        head("POST /stream/answer", { host: "localhost", "content-length": String(question.length) }) + question
      )
      yield* until(() => model.counts.open === 1)
      // The model is not asked for more once all buffers are full.
      let before = -1
      yield* Effect.repeat(
        Effect.delay(
          Effect.sync(() => {
            const isQuiet = model.counts.words === before
            before = model.counts.words
            return isQuiet
          }),
          "100 millis"
        ),
        { until: (isQuiet) => isQuiet }
      )
      assert.isBelow(model.counts.words * 1000, 16 * 1024 * 1024)
      const [run] = yield* server.active
      assert.strictEqual(run?.followers, 1)
      yield* until(() => model.counts.open === 0)
      yield* Effect.repeat(Effect.delay(server.active, "1 millis"), { until: (runs) => runs.length === 0 })
    }).pipe(Effect.provide(model.layer))
  }, 20_000)
})

describe("who is served", () => {
  const token = "a-long-secret-of-the-server"

  const status = (port: number, method: string, path: string, headers: Record<string, string>) =>
    Effect.scoped(Effect.gen(function*() {
      const client = yield* connect(port)
      const body = method === "POST" ? question : ""
      client.write(
        head(`${method} ${path}`, { ...headers, ...(body === "" ? {} : { "content-length": String(body.length) }) }) +
          body
      )
      yield* until(() => client.received().includes("\r\n\r\n"))
      return Number(client.received().slice(9, 12))
    }))

  const refusals: ReadonlyArray<readonly [what: string, headers: Record<string, string>, status: number]> = [
    ["a foreign page", { host: "localhost", origin: "https://evil.example", authorization: `Bearer ${token}` }, 403],
    ["a page without a name", { host: "localhost", origin: "null", authorization: `Bearer ${token}` }, 403],
    ["a name that is bound anew", { host: "evil.example", authorization: `Bearer ${token}` }, 403],
    ["a foreign page that does not say so", { host: "localhost", "sec-fetch-site": "cross-site" }, 403],
    ["no token", { host: "localhost" }, 401],
    ["a wrong token", { host: "localhost", authorization: "Bearer wrong" }, 401],
    ["another scheme", { host: "localhost", authorization: `Basic ${token}` }, 401],
    ["a token of another server", { host: "localhost", "sec-websocket-protocol": "effect-dspy, bearer.d3Jvbmc" }, 401]
  ]

  it.scopedLive("is decided before anything else, on every route and before a WebSocket is opened", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { port } = yield* start({ modules: { answer }, auth: Redacted.make(token) })
      const routes = [
        ["POST", "/run/answer", {}],
        ["POST", "/stream/answer", {}],
        ["GET", "/stream/answer?input={}", {}],
        ["GET", "/runs/x", {}],
        ["DELETE", "/runs/x", {}],
        ["GET", "/modules", {}],
        ["GET", "/openapi.json", {}],
        ["GET", "/ws", upgrade]
      ] as const
      for (const [method, path, own] of routes) {
        for (const [what, headers, expected] of refusals) {
          assert.strictEqual(yield* status(port, method, path, { ...own, ...headers }), expected, `${path}: ${what}`)
        }
      }
      assert.strictEqual(model.counts.calls, 0)
      const mine = { host: `127.0.0.1:${port}`, authorization: `Bearer ${token}` }
      assert.strictEqual(yield* status(port, "POST", "/run/answer", mine), 200)
      assert.strictEqual(yield* status(port, "GET", "/modules", { ...mine, origin: `http://127.0.0.1:${port}` }), 200)
      assert.strictEqual(yield* status(port, "GET", "/ws", { ...upgrade, ...mine }), 101)
    }).pipe(Effect.provide(model.layer))
  }, 20_000)

  it.scopedLive("can be said by an effect, and runs belong to who began them", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const { port, url } = yield* start({
        modules: { answer },
        resume: {},
        auth: (request) =>
          request.headers["x-user"] === undefined
            ? ServingError.make("Unauthorized", "say who you are")
            : Effect.succeed(request.headers["x-user"])
      })
      assert.strictEqual((yield* post(url, "/run/answer", question)).status, 401)
      const ada = yield* post(url, "/stream/answer", question, { "x-user": "ada", "idempotency-key": "hers" })
      assert.strictEqual(ada.status, 200)
      for (const method of ["GET", "DELETE"]) {
        assert.strictEqual((yield* ask(url, "/runs/hers", { method, headers: { "x-user": "bob" } })).status, 404)
      }
      assert.strictEqual(yield* status(port, "GET", "/runs/hers", { host: "localhost", "x-user": "ada" }), 200)
    }).pipe(Effect.provide(model.layer))
  })

  it.scopedLive("are pages of other origins when they are named, and only these", () =>
    Effect.gen(function*() {
      const { url } = yield* start({ modules: { answer }, origins: ["https://app.example"] })
      const preflight = (origin: string) => ask(url, "/run/answer", { method: "OPTIONS", headers: { origin } })
      const allowed = yield* preflight("https://app.example")
      assert.deepStrictEqual(
        [allowed.status, allowed.headers.get("access-control-allow-origin")],
        [204, "https://app.example"]
      )
      const other = yield* preflight("https://other.example")
      assert.deepStrictEqual([other.status, other.headers.get("access-control-allow-origin")], [403, null])
      const closed = yield* start({ modules: { answer } })
      const none = yield* ask(closed.url, "/run/answer", {
        method: "OPTIONS",
        headers: { origin: "https://app.example" }
      })
      assert.deepStrictEqual([none.status, none.headers.get("access-control-allow-origin")], [404, null])
    }).pipe(Effect.provide(TestLanguageModel.layer([]))))
})

describe("requests a second", () => {
  const request = HttpServerRequest.fromWeb(new Request("http://localhost/modules", { headers: { host: "localhost" } }))

  it.scoped("are as many as are allowed, and the others are told when there will be room", () =>
    Effect.gen(function*() {
      const server = yield* Server.make({ modules: { answer }, limits: { requestsPerSecond: 10 } })
      const asked = (n: number) =>
        Effect.map(
          Effect.replicateEffect(Effect.either(server.admit(request)), n),
          (answers) => answers.map((answer) => answer._tag === "Right" ? 0 : answer.left.retryAfter)
        )
      assert.deepStrictEqual(yield* asked(12), [...Array.from({ length: 10 }, () => 0), 100, 100])
      yield* TestClock.adjust("99 millis")
      assert.deepStrictEqual(yield* asked(1), [1])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* asked(2), [0, 100])
      yield* TestClock.adjust("5 seconds")
      const [error] = (yield* Effect.replicateEffect(Effect.either(server.admit(request)), 11)).slice(10)
      assert.isTrue(
        error?._tag === "Left" && error.left.reason === "Busy" && error.left.status === 429 && error.left.retryable
      )
      const unlimited = yield* Server.make({ modules: { answer }, limits: { requestsPerSecond: Infinity } })
      yield* Effect.replicateEffect(unlimited.admit(request), 5000, { discard: true })
    }).pipe(Effect.provide(TestLanguageModel.layer([]))))

  it.scopedLive("count on every way, before the token is looked at; foreign pages take nothing of them", () => {
    const model = writes(["Ada"])
    return Effect.gen(function*() {
      const limits = { requestsPerSecond: 3 }
      const { port, url } = yield* start({ modules: { answer }, auth: Redacted.make("secret"), limits })
      for (let n = 0; n < 5; n++) {
        assert.strictEqual((yield* ask(url, "/modules", { headers: { origin: "https://evil.example" } })).status, 403)
      }
      // So many that a slow machine does not answer them at the pace that is allowed.
      const many = <A, E, R>(one: Effect.Effect<A, E, R>) =>
        Effect.all(Array.from({ length: 60 }, () => one), { concurrency: "unbounded" })
      const guesses = yield* many(ask(url, "/modules"))
      assert.includeMembers(guesses.map(({ status }) => status), [401, 429])
      assert.strictEqual(guesses.find(({ status }) => status === 429)?.headers.get("retry-after"), "1")
      const handshakes = yield* many(Effect.gen(function*() {
        const socket = yield* connect(port)
        socket.write(head("GET /ws", { ...upgrade, authorization: "Bearer secret" }))
        yield* until(() => socket.received().includes("\r\n\r\n"))
        return socket.received()
      }))
      assert.match(
        handshakes.find((answer) => !answer.startsWith("HTTP/1.1 101 ")) ?? "",
        /^HTTP\/1.1 429 [^]*retry-after: 1/
      )
    }).pipe(Effect.provide(model.layer))
  })

  it("and other limits are numbers of 1 or more", () => {
    for (const limits of [{ requestsPerSecond: 0 }, { body: NaN }, { concurrency: -1 }]) {
      const exit = Effect.runSyncExit(
        Effect.scoped(Server.make({ modules: { answer }, limits })).pipe(Effect.provide(TestLanguageModel.layer([])))
      )
      assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", /has to be a number of 1 or more/)
    }
  })
})

describe("the OpenAPI document", () => {
  it.scopedLive("describes every route, with schemas that are there", () =>
    Effect.gen(function*() {
      class Ticket extends Schema.Class<Ticket>("Ticket")({ id: Schema.Int, text: Schema.NonEmptyString }) {}
      const triage = Server.endpoint(
        {
          instructions: "Routes a ticket.",
          input: Schema.Struct({ ticket: Ticket, since: Schema.optional(Schema.Date) }),
          output: Schema.Struct({ team: Schema.Literal("billing", "technical") })
        },
        Module.make({}, function*(_, _input: { readonly ticket: Ticket; readonly since?: Date | undefined }) {
          return yield* Effect.succeed({ team: "billing" } as const)
        })
      )
      const { url } = yield* start({ modules: { answer, triage } })
      const document = JSON.parse((yield* ask(url, "/openapi.json")).text)
      assert.strictEqual(document.openapi, "3.1.0")
      assert.deepStrictEqual(Object.keys(document.paths), [
        "/run/answer",
        "/stream/answer",
        "/run/triage",
        "/stream/triage",
        "/runs/{id}",
        "/modules"
      ])
      const ids: Array<string> = []
      for (const [path, item] of Object.entries<any>(document.paths)) {
        for (const [method, operation] of Object.entries<any>(item)) {
          ids.push(operation.operationId)
          assert.include(["get", "post", "delete"], method)
          assert.isNotEmpty(operation.responses)
          for (const response of Object.values<any>(operation.responses)) assert.isString(response.description)
          const named = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name)
          const declared = (operation.parameters ?? []).filter((one: any) => one.in === "path")
          assert.deepStrictEqual(declared.map((one: any) => one.name), named)
          for (const parameter of operation.parameters ?? []) {
            assert.isTrue("schema" in parameter !== "content" in parameter)
          }
        }
      }
      assert.strictEqual(new Set(ids).size, ids.length)
      const refs = Array.from(JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g), ([, ref]) => ref!)
      assert.isNotEmpty(refs)
      for (const ref of refs) {
        assert.isTrue(ref.startsWith("#/components/schemas/") && ref.slice(21) in document.components.schemas, ref)
      }
      const { schema } = document.paths["/run/triage"].post.requestBody.content["application/json"]
      assert.deepStrictEqual(schema.required, ["ticket"])
      assert.strictEqual(
        schema.properties.since.type ?? schema.properties.since.$ref,
        "#/components/schemas/Date"
      )
      assert.deepStrictEqual(
        document.paths["/run/triage"].post.responses["200"].content["application/json"].schema.properties.team.enum,
        ["billing", "technical"]
      )
      assert.deepStrictEqual(document.components.schemas.Ticket.required, ["id", "text"])
      const modules = JSON.parse((yield* ask(url, "/modules")).text)
      assert.deepStrictEqual(modules.map((module: any) => [module.name, module.description]), [
        ["answer", "From `question`, work out `answer`."],
        ["triage", "Routes a ticket."]
      ])
    }).pipe(Effect.provide(TestLanguageModel.layer([]))))

  it("refuses modules that have no signature of their own", () => {
    const rag = Module.make(
      { answer, query: Predict.make("question -> query") },
      function*(m, input: { readonly question: string }) {
        return yield* m.answer(input)
      }
    )
    const exit = Effect.runSyncExit(
      Effect.scoped(Server.make({ modules: { rag } })).pipe(Effect.provide(TestLanguageModel.layer([])))
    )
    assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", /"rag" has no signature of its own/)
  })
})

describe("a server that stops", () => {
  it.scopedLive("takes no more, lets run what can end in time, and tells the rest; nothing is left", () => {
    const gate = Deferred.unsafeMake<void>(Effect.runSync(Effect.fiberId))
    let asked = 0
    const model = writes(["Ada"], () => asked++ === 0 ? Deferred.await(gate) : Effect.never)
    return Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { http, port, url } = yield* Scope.extend(
        start({ modules: { answer }, resume: {}, limits: { drain: "300 millis" } }),
        scope
      )
      const quick = yield* Effect.fork(post(url, "/stream/answer", question))
      yield* until(() => model.counts.open === 1)
      const slow = yield* Effect.fork(post(url, "/stream/answer", question))
      const slowRun = yield* Effect.fork(post(url, "/run/answer", question))
      const socket = yield* connect(port)
      socket.write(head("GET /ws", upgrade))
      yield* until(() => socket.received().includes("ready"))
      socket.write(frame(JSON.stringify({ type: "stream", id: "w", module: "answer", input: { question: "?" } })))
      yield* until(() => model.counts.open === 4)

      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Effect.repeat(
        Effect.delay(post(url, "/run/answer", question), "5 millis"),
        { until: (response) => response.status === 503 }
      )
      yield* Deferred.succeed(gate, undefined)
      assert.include((yield* quick).text, `"Result"`)
      assert.include((yield* slow).text, `"reason":"Unavailable"`)
      assert.strictEqual((yield* slowRun).status, 503)
      yield* until(() => socket.closed())
      assert.include(socket.received(), `"reason":"Unavailable"`)
      assert.include(socket.received(), "\u0003\u00e9") // 1001
      yield* closing
      assert.strictEqual(model.counts.open, 0)
      assert.isFalse(http.listening)
      const connections = yield* Effect.async<number>((resume) => {
        http.getConnections((_, count) => resume(Effect.succeed(count)))
      })
      assert.strictEqual(connections, 0)
    }).pipe(Effect.provide(model.layer))
  }, 20_000)

  it.scopedLive("does not wait for those who say nothing, or only half of it", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port } = yield* Scope.extend(start({ modules: { answer } }), scope)
      const clients: Array<Raw> = []
      for (
        const text of [
          "",
          "POST /run/ans",
          head("POST /run/answer", { host: "localhost", "content-length": "1000" }) + `{"question"`
        ]
      ) {
        const client = yield* connect(port)
        client.write(text)
        clients.push(client)
      }
      yield* Effect.sleep("50 millis")
      yield* Scope.close(scope, Exit.void)
      yield* until(() => clients.every((client) => client.closed()))
    }).pipe(Effect.provide(TestLanguageModel.layer([]))), 20_000)
})
