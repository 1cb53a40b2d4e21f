import type * as Json from "@effect-dspy/core/Json"
import * as Sandbox from "@effect-dspy/core/Sandbox"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Either, Exit, Fiber, Schema } from "effect"

const failing = (reason: Sandbox.Reason) => new Sandbox.SandboxError({ reason, logs: "" })

/** An engine that does what the code names, and counts those of its kind. */
const make = (
  words: { readonly [code: string]: (call: Sandbox.Call) => Effect.Effect<unknown, Sandbox.SandboxError> }
) => {
  const log: Array<string> = []
  let engines = 0
  const service = Sandbox.make((names, limits) =>
    Effect.gen(function*() {
      const engine = ++engines
      log.push(`start ${engine} ${names.join()} ${Object.values(limits).join()}`)
      yield* Effect.addFinalizer(() => Effect.sync(() => log.push(`stop ${engine}`)))
      return {
        run: (code, call) =>
          Effect.map(words[code]!(call), (value) => ({ value: value as Json.Json, submitted: false, logs: "" })),
        set: (name, json) => Effect.sync(() => log.push(`set ${engine} ${name} ${json}`))
      }
    })
  )
  return { log, service }
}

const threw = failing(new Sandbox.Threw({ name: "Error", description: "no", line: 2 }))
const timedOut = failing(new Sandbox.TimedOut({ limit: 5 }))

describe("Sandbox", () => {
  it.scoped("a session keeps its engine over errors of the code, and gets another one when that is lost", () =>
    Effect.gen(function*() {
      const { log, service } = make({
        one: () => Effect.succeed(1),
        throw: () => threw,
        loop: () => timedOut,
        die: () => Effect.die("bug")
      })
      const session = yield* service.open({ timeout: "1 second", memory: 1024, calls: 3 })
      yield* session.set("kept", [1])
      yield* session.set("kept", [2])
      assert.strictEqual((yield* session.run("one")).value, 1)
      assert.strictEqual(yield* Effect.flip(session.run("throw")), threw)
      assert.deepStrictEqual(log, ["start 1  1000,1024,3", "set 1 kept [1]", "set 1 kept [2]"])
      assert.strictEqual(yield* Effect.flip(session.run("loop")), timedOut)
      assert.deepStrictEqual(log.slice(3), ["stop 1"])
      assert.strictEqual((yield* session.run("one")).value, 1)
      yield* Effect.exit(session.run("die"))
      yield* session.set("more", null)
      assert.deepStrictEqual(log.slice(4), [
        "start 2  1000,1024,3",
        "set 2 kept [2]",
        "stop 2",
        "start 3  1000,1024,3",
        "set 3 kept [2]",
        "set 3 more null"
      ])
    }))

  it.effect("an interrupted run stops its engine, and so does the end of the scope", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const { log, service } = make({
        wait: () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never),
        one: () => Effect.succeed(1)
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const session = yield* service.open()
        const fiber = yield* Effect.fork(session.run("wait"))
        yield* Deferred.await(begun)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(log.slice(1), ["stop 1"])
        yield* session.run("one")
      }))
      assert.deepStrictEqual(log.slice(2), ["start 2  5000,67108864,256", "stop 2"])
    }))

  it.scoped("pieces of code of one session wait for each other", () =>
    Effect.gen(function*() {
      let at = 0
      let most = 0
      const { service } = make({
        wait: () =>
          Effect.yieldNow().pipe(
            Effect.zipLeft(Effect.sync(() => {
              most = Math.max(most, ++at)
            })),
            Effect.zipLeft(Effect.yieldNow()),
            Effect.zipRight(Effect.sync(() => at--))
          )
      })
      const session = yield* service.open()
      yield* Effect.all([session.run("wait"), session.run("wait"), session.run("wait")], { concurrency: "unbounded" })
      assert.strictEqual(most, 1)
    }))

  it.scoped("functions get the arguments, and what they return or throw goes back", () =>
    Effect.gen(function*() {
      const answers: Array<unknown> = []
      const { service } = make({
        all: (call) =>
          Effect.gen(function*() {
            for (
              const [name, args] of [["add", "[1,2]"], ["nothing", "[]"], ["refuse", "[]"], ["named", "[]"]] as const
            ) {
              answers.push(Either.merge(yield* call(name, args)))
            }
          })
      })
      const session = yield* service.open({
        functions: {
          add: (a, b) => Effect.succeed([Number(a) + Number(b)]),
          nothing: () => Effect.void,
          refuse: () => new Sandbox.Exception({ message: "no" }),
          named: () => new Sandbox.Exception({ message: "no", name: "KeyError" })
        }
      })
      yield* session.run("all")
      assert.deepStrictEqual(answers.slice(0, 2), ["[3]", "null"])
      const names = answers.slice(2).map((answer) => answer instanceof Sandbox.Exception && answer.name)
      assert.deepStrictEqual(names, ["Exception", "KeyError"])
    }))

  it.scoped("functions need and fail with what their types say; a failure ends the run and its engine", () =>
    Effect.gen(function*() {
      class Store extends Context.Tag("Store")<Store, { readonly open: boolean }>() {}
      const { log, service } = make({ store: (call) => call("store", "[]") })
      const session = yield* service.open({
        functions: {
          store: () => Effect.flatMap(Store, ({ open }) => open ? Effect.succeed(1) : Effect.fail("closed" as const))
        }
      })
      const open = yield* Effect.provideService(session.run("store"), Store, { open: true })
      assert.deepStrictEqual<unknown>(open.value, Either.right("1"))
      const error = yield* Effect.flip(Effect.provideService(session.run("store"), Store, { open: false }))
      assert.strictEqual(error, "closed")
      assert.deepStrictEqual(log.slice(1), ["stop 1"])
    }))

  it.scoped("an error of a sandbox that a function fails with is not one of this sandbox", () =>
    Effect.gen(function*() {
      const { log, service } = make({ nested: (call) => call("nested", "[]") })
      const session = yield* service.open({ functions: { nested: () => threw } })
      assert.strictEqual(yield* Effect.flip(session.run("nested")), threw)
      assert.deepStrictEqual(log.slice(1), ["stop 1"])
    }))

  it.scoped("a result that is no JSON is thrown in the code that called", () =>
    Effect.gen(function*() {
      const { log, service } = make({ count: (call) => call("count", "[]"), self: (call) => call("self", "[]") })
      const self: { self?: unknown } = {}
      self.self = self
      const session = yield* service.open({
        functions: { count: () => Effect.succeed(1n), self: () => Effect.succeed(self) }
      })
      for (const code of ["count", "self"]) {
        const { value } = yield* session.run(code)
        const thrown = Either.isEither(value) && Either.isLeft(value) ? value.left : undefined
        assert.instanceOf(thrown, Sandbox.Exception)
        assert.strictEqual(thrown.name, "TypeError")
        assert.include(thrown.message, `${code} returned what is no JSON`)
      }
      assert.strictEqual(log.length, 1) // the engine that was started goes on
    }))

  it.scoped("a defect of a function is a defect of the run", () =>
    Effect.gen(function*() {
      const { service } = make({ bug: (call) => call("bug", "[]") })
      const session = yield* service.open({ functions: { bug: () => Effect.die("bug") } })
      const exit = yield* Effect.exit(session.run("bug"))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
    }))

  it.scoped("no more than 32 calls run at a time", () =>
    Effect.gen(function*() {
      let at = 0
      let most = 0
      const { service } = make({
        many: (call) =>
          Effect.forEach(Array.from({ length: 100 }), () => call("slow", "[]"), {
            concurrency: "unbounded",
            discard: true
          })
      })
      const session = yield* service.open({
        functions: {
          slow: () =>
            Effect.acquireUseRelease(
              Effect.sync(() => {
                most = Math.max(most, ++at)
              }),
              () => Effect.yieldNow(),
              () => Effect.sync(() => at--)
            )
        }
      })
      yield* session.run("many")
      assert.strictEqual(most, 32)
    }))

  it.scoped("what an engine may not hand out is refused, whatever it says", () =>
    Effect.gen(function*() {
      let called = 0
      const deep = (levels: number): Json.Json => JSON.parse("[".repeat(levels) + "]".repeat(levels))
      const { service } = make({
        deep: () => Effect.succeed(deep(129)),
        proto: () => Effect.succeed(JSON.parse(`[{ "__proto__": { "polluted": true } }]`)),
        arguments: (call) => call("count", `{"length": 1}`),
        text: (call) => call("count", "not JSON"),
        proto2: (call) => call("count", `[{ "\\u005f_proto__": 1 }]`),
        fine: (call) => Effect.as(call("count", "[]"), deep(128))
      })
      const session = yield* service.open({ functions: { count: () => Effect.sync(() => ++called) } })
      for (const code of ["deep", "proto", "arguments", "text", "proto2"]) {
        const error = yield* Effect.flip(session.run(code))
        assert.strictEqual(error.reason._tag, "Crashed", code)
      }
      assert.strictEqual(called, 0)
      yield* session.run("fine")
      assert.strictEqual(called, 1)
    }))

  it.scoped("what is too large stays where it is", () =>
    Effect.gen(function*() {
      const { service } = make({ big: (call) => call("big", "[]") })
      const session = yield* service.open({ functions: { big: () => Effect.succeed("a".repeat(2 ** 22)) } })
      const { value } = yield* session.run("big")
      const answer = value as unknown as Either.Either<string, Sandbox.Exception> // what the engine was answered
      assert.include(Either.isLeft(answer) ? answer.left.message : "", "big returned more than 4194304 characters")
      const error = yield* Effect.flip(session.run("a".repeat(2 ** 20 + 1)))
      assert.strictEqual(error.message, "The code has more than 1048576 characters.")
    }))

  it.scoped("refuses names that code could not use, and limits that are none", () =>
    Effect.gen(function*() {
      const { service } = make({})
      const functions = (name: string) => ({ functions: { [name]: () => Effect.void } })
      for (const name of ["submit", "console", "a-b", "1a", "", "class", "await", "__proto__ "]) {
        const exit = yield* Effect.exit(service.open(functions(name)))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause), name)
      }
      const session = yield* service.open(functions("look"))
      for (const name of ["submit", "look", "a b"]) {
        const exit = yield* Effect.exit(session.set(name, 1))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause), name)
      }
      for (const options of [{ memory: 0 }, { calls: 1.5 }]) {
        const exit = yield* Effect.exit(service.open(options))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      }
    }))

  it("errors say what a model has to know, and survive a wire", () => {
    const said = (reason: Sandbox.Reason) => failing(reason).message
    assert.strictEqual(
      said(new Sandbox.Syntax({ description: "unexpected token", line: 3 })),
      "SyntaxError: unexpected token (line 3)"
    )
    assert.strictEqual(said(new Sandbox.Threw({ name: "TypeError", description: "no" })), "TypeError: no")
    assert.strictEqual(
      said(new Sandbox.TimedOut({ limit: 5000 })),
      "The code computed for more than 5000 ms and was stopped. Variables of earlier code are gone."
    )
    assert.strictEqual(
      said(new Sandbox.OutOfMemory({ limit: 2 ** 26 })),
      "The code needs more than 64 MiB of memory and was stopped. Variables of earlier code are gone."
    )
    assert.strictEqual(said(new Sandbox.Unavailable({ description: "npm install it" })), "npm install it")
    assert.isFalse(failing(new Sandbox.Unavailable({ description: "" })).recoverable)
    assert.isTrue(timedOut.recoverable)
    const wire = Schema.encodeSync(Sandbox.SandboxError)(threw)
    assert.deepStrictEqual(Schema.decodeUnknownSync(Sandbox.SandboxError)(JSON.parse(JSON.stringify(wire))), threw)
  })
})
