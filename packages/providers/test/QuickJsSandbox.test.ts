import * as ProgramOfThought from "@effect-dspy/core/ProgramOfThought"
import * as Sandbox from "@effect-dspy/core/Sandbox"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Either, Exit, Fiber, Layer, TestClock } from "effect"
import { vi } from "vitest"
import { withMaximum } from "../src/internal/quickjs/memory.ts"
import * as QuickJsSandbox from "../src/QuickJsSandbox.ts"
import * as hostile from "./hostile.ts"

// The same engine for all of them; each session has a thread of its own.
const sandbox = Effect.runSync(Effect.cached(Effect.orDie(QuickJsSandbox.make)))

const open = <const F extends Sandbox.Functions>(options: Sandbox.Options & { readonly functions: F }) =>
  Effect.flatMap(sandbox, (service) => service.open(options))

const plain = (options?: Sandbox.Options) => Effect.flatMap(sandbox, (service) => service.open(options))

/** One piece of code after the other, in one session. */
const all = (codes: ReadonlyArray<string>, options?: Sandbox.Options) =>
  Effect.flatMap(plain(options), (session) => Effect.forEach(codes, (code) => Effect.either(session.run(code))))

const tags = (results: ReadonlyArray<Either.Either<Sandbox.Result, Sandbox.SandboxError>>) =>
  results.map(Either.match({ onLeft: ({ reason }) => reason._tag, onRight: () => "Ran" }))

const values = (results: ReadonlyArray<Either.Either<Sandbox.Result, Sandbox.SandboxError>>) =>
  results.map(Either.match({ onLeft: ({ message }) => message, onRight: ({ value }) => value }))

const threads = () =>
  process.getActiveResourcesInfo().filter((kind) => kind === "MessagePort" || kind === "Worker").length

describe("QuickJsSandbox", () => {
  it.scopedLive("the value of code is that of its last expression", () =>
    Effect.gen(function*() {
      const results = yield* all([
        "1 + 1",
        "({ a: [1, 'b', null, true] })",
        "await Promise.resolve(7)",
        "const later = async () => 8\nlater()",
        "for (const i of [1, 2]) i",
        "undefined",
        "function f() {}",
        "new Date(0)",
        "({ a: undefined })"
      ])
      assert.deepStrictEqual(values(results), [
        2,
        { a: [1, "b", null, true] },
        7,
        8,
        2,
        undefined,
        undefined,
        "1970-01-01T00:00:00.000Z",
        {}
      ])
    }))

  it.scopedLive("what is no JSON is withheld, and why is told; it cannot be submitted", () =>
    Effect.gen(function*() {
      const codes = [
        ["new Map()", "a Map"],
        ["[1, NaN]", "NaN at [1]"],
        ["({ a: { b: 10n } })", "a bigint at .a.b"],
        ["() => 1", "a function"],
        ["({ p: [Promise.resolve()] })", "a Promise at .p[0], which was not awaited"],
        ["new Uint8Array(2)", "an Uint8Array"],
        ["new Error('x')", "an Error"],
        ["const self = {}; self.self = self; self", "more than 128 levels"],
        ["JSON.parse('{\"__proto__\": 1}')", "a key \"__proto__\""]
      ] as const
      const session = yield* plain()
      for (const [code, why] of codes) {
        const result = yield* session.run(code)
        assert.deepStrictEqual(result, { value: undefined, submitted: false, withheld: why, logs: "" }, code)
        const given = code.replace(/^(const .*; )?(.*)$/, "$1submit($2)")
        const error = yield* Effect.flip(session.run(given))
        assert.strictEqual(error.message, `TypeError: JSON is asked for, and there is ${why} (line 1)`)
      }
    }))

  it.scopedLive("submit ends the code, the first one counts, and calls under way are over", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const session = yield* open({
        functions: {
          slow: () => Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined)),
          quick: (n) => Effect.succeed(n)
        }
      })
      const first = yield* session.run("slow(); await quick(0); submit({ a: 1 }); console.log('never')")
      assert.deepStrictEqual(first, { value: { a: 1 }, submitted: true, withheld: undefined, logs: "" })
      yield* Deferred.await(interrupted)
      const second = yield* session.run("quick(1).then(submit); quick(2).then(submit); await slow()")
      assert.deepStrictEqual(second.value, 1)
      const third = yield* session.run("try { submit(3) } catch {}\ntry { submit(4) } catch {}")
      assert.deepStrictEqual([third.value, (yield* session.run("5")).value], [3, 5])
    }))

  it.scopedLive("what code declares is there for the next piece, and may be declared again", () =>
    Effect.gen(function*() {
      const results = yield* all([
        "const a = 1; let b = 2; var c = 3; class D { static e = 4 }\nfunction f() { return 5 }",
        "[a, b, c, D.e, f()]",
        "const b = 'let a = const', [c] = [10]; class D { e = `class ${`X { const ${a}`}` }\n;[b, c, new D().e]",
        "let { x, y: [z] } = { x: 1, y: [2] }\nx + z",
        "/* const */ a // let a = 5",
        "a / 2 / 1; const r = /const [/\"]let/g; r.source",
        "if (a) { const a = 7; let inner = a }\ntypeof inner",
        "const C = class Named {}; C.name + typeof Named",
        "broken(",
        "a",
        "if (a) { } /let x/.test('let x')",
        "const o = { const: 1, let: 2, class: 3 }; o.const + o.let + o.class",
        "let\nlate\n=\n5\nlate",
        "'use strict'; const \u00fc = 6; \u00fc"
      ])
      assert.deepStrictEqual(values(results).filter((_, index) => index !== 8), [
        undefined,
        [1, 2, 3, 4, 5],
        ["let a = const", 10, "class X { const 1"],
        3,
        1,
        "const [/\"]let",
        "undefined",
        "Namedundefined",
        1,
        true,
        6,
        5,
        6
      ])
      assert.strictEqual(tags(results)[8], "Syntax")
    }))

  it.scopedLive("errors say what happened and where", () =>
    Effect.gen(function*() {
      const results = yield* all([
        "1 +* 2",
        "\nlet q = ;",
        "return 5",
        "\n\nnull.foo",
        "\nfunction g() {\n  throw new TypeError('bad') }\ng()",
        "await (async () => { throw new RangeError('later') })()",
        "(async () => { throw new RangeError('nobody waits') })(); 1",
        "throw { a: 1 }",
        "throw null",
        "class Own extends Error { name = 'OwnError' }; throw new Own('mine')",
        "await new Promise(() => {})",
        "JSON.parse('{')"
      ])
      assert.deepStrictEqual(
        values(results),
        [
          "SyntaxError: unexpected token in expression: '*' (line 1)",
          "SyntaxError: unexpected token in expression: ';' (line 2)",
          "SyntaxError: return not in a function (line 1)",
          "TypeError: cannot read property 'foo' of null (line 3)",
          "TypeError: bad (line 3)",
          "RangeError: later (line 1)",
          "RangeError: nobody waits (line 1)",
          "Error: {\"a\":1} was thrown",
          "Error: null was thrown",
          "OwnError: mine (line 1)",
          "The code waits for a promise that nothing will ever settle.",
          "SyntaxError: expecting property name"
        ].map((message, index) => index === 11 ? values(results)[11] : message)
      )
      assert.deepStrictEqual(tags(results).slice(-2), ["Stuck", "Threw"])
    }))

  it.scopedLive("what is logged comes with the result and with errors, up to a bound", () =>
    Effect.gen(function*() {
      const session = yield* plain()
      const { logs } = yield* session.run(
        "console.log('a', 1, { b: [NaN, 2n] }, new Map([[1, 2]])); console.error(); console.warn(undefined, new Error('e'))"
      )
      assert.strictEqual(logs, "a 1 {\"b\":[\"NaN\",\"2n\"]} [[1,2]]\n\nundefined Error: e")
      const error = yield* Effect.flip(session.run("console.log('before'); throw new Error('x')"))
      assert.deepStrictEqual([error.logs, error.message], ["before", "Error: x (line 1)"])
      const flood = yield* session.run(
        "for (let i = 0; i < 3000; i++) console.log('x'.repeat(99)); console.log('y'.repeat(1e6))"
      )
      assert.strictEqual(flood.logs, `${`${"x".repeat(99)}\n`.repeat(656).slice(0, 65536)}\n(1234465 more characters)`)
    }))

  it.scopedLive("functions are called with JSON and answer with JSON, side by side", () =>
    Effect.gen(function*() {
      let at = 0
      let most = 0
      const session = yield* open({
        functions: {
          echo: (...args) => Effect.succeed({ args }),
          nothing: () => Effect.void,
          slow: (n = null) =>
            Effect.acquireUseRelease(
              Effect.sync(() => {
                most = Math.max(most, ++at)
              }),
              () => Effect.as(Effect.sleep(20), n),
              () => Effect.sync(() => at--)
            )
        }
      })
      const run = (code: string) => Effect.map(session.run(code), ({ value }) => value)
      assert.deepStrictEqual(yield* run("await echo(1, { a: ['b'] })"), { args: [1, { a: ["b"] }] })
      assert.deepStrictEqual(yield* run("[await nothing()]"), [null])
      assert.deepStrictEqual(yield* run("await Promise.all([1, 2, 3, 4].map(slow))"), [1, 2, 3, 4])
      assert.strictEqual(most, 4)
      assert.deepStrictEqual(
        yield* run("let sum = 0; [1, 2, 3].forEach(async (n) => { const m = await slow(n); sum += m })\n0"),
        0
      )
      assert.deepStrictEqual(yield* run("sum"), 6, "the run lasts until its calls are over")
      assert.deepStrictEqual(yield* run("const echo = () => 5; echo()"), 5)
      assert.deepStrictEqual(yield* run("await echo()"), { args: [] }, "functions are there in every run")
    }))

  it.scopedLive("a failure is an exception in the code; others and defects end the run", () =>
    Effect.gen(function*() {
      const session = yield* open({
        functions: {
          refuse: (name) =>
            new Sandbox.Exception({ message: "no", ...(typeof name === "string" ? { name } : undefined) }),
          fail: () => Effect.fail("closed" as const),
          die: () => Effect.die("bug")
        }
      })
      const { value } = yield* session.run(
        "try { await refuse() } catch (e) { [e instanceof Error, e.name, e.message, String(e.stack).includes('guest')] }"
      )
      assert.deepStrictEqual(value, [true, "Error", "no", true])
      assert.strictEqual(
        Either.merge(yield* Effect.either(session.run("\nawait refuse('KeyError')"))).toString().split("\n")[0],
        "SandboxError: KeyError: no"
      )
      assert.strictEqual(yield* Effect.flip(session.run("try { await fail() } catch { 1 }")), "closed")
      const exit = yield* Effect.exit(session.run("await die()"))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.strictEqual((yield* session.run("1")).value, 1)
    }))

  it.scopedLive("functions have limits: how many calls, and how much goes in and out", () =>
    Effect.gen(function*() {
      let called = 0
      const session = yield* open({
        calls: 10,
        functions: {
          count: () => Effect.sync(() => ++called),
          big: () => Effect.succeed("a".repeat(2 ** 22))
        }
      })
      const message = (code: string) => Effect.map(Effect.flip(session.run(code)), (error) => error.message)
      assert.include(
        yield* message("for (let i = 0; i < 1e4; i++) await count(i)"),
        "no more than 10 calls are allowed"
      )
      assert.strictEqual(called, 10)
      assert.strictEqual((yield* session.run("await count()")).value, 11)
      assert.include(yield* message("await count('a'.repeat(2 ** 20))"), "count takes at most 1048576 characters")
      assert.include(yield* message("await big()"), "big returned more than")
      assert.include(yield* message("count(new Map())"), "JSON is asked for, and there is a Map at [0]")
      assert.strictEqual(called, 11)
    }))

  it.scopedLive("large values can be handed over, and are still there in a new engine", () =>
    Effect.gen(function*() {
      const session = yield* plain({ timeout: 2000 })
      const context = "lorem ipsum ".repeat(300_000)
      yield* session.set("context", context)
      yield* session.set("list", [{ a: "\u2028\"ü" }])
      assert.deepStrictEqual((yield* session.run("var own = 1; [context.length, list]")).value, [
        context.length,
        [{ a: "\u2028\"ü" }]
      ])
      yield* Effect.flip(session.run("while (true) {}"))
      assert.deepStrictEqual((yield* session.run("[typeof own, context.length]")).value, ["undefined", context.length])
      const small = yield* plain({ memory: 2 ** 22 })
      assert.strictEqual((yield* Effect.flip(small.set("context", context))).reason._tag, "OutOfMemory")
    }), 60_000)

  it.scoped("time is that of the program, and chance is the same in every session", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1000)
      const code = "[Date.now(), new Date().getTimezoneOffset(), Math.random()]"
      const first = yield* Effect.flatMap(plain(), (session) => session.run(code))
      yield* TestClock.setTime(5000)
      const second = yield* Effect.flatMap(plain(), (session) => session.run(code))
      const [now, offset, chance] = first.value as ReadonlyArray<number> // what the code returns
      assert.deepStrictEqual([now, offset], [1000, 0])
      assert.deepStrictEqual<unknown>(second.value, [5000, 0, chance])
    }))

  it.scopedLive("sessions share nothing", () =>
    Effect.gen(function*() {
      const [one, two] = yield* Effect.all([plain(), plain()])
      yield* one.run("var secret = 1; Object.prototype.polluted = 1")
      assert.deepStrictEqual((yield* two.run("[typeof secret, typeof {}.polluted]")).value, ["undefined", "undefined"])
      assert.isUndefined(Reflect.get({}, "polluted"))
    }))

  it.scopedLive("more memory than WebAssembly can have is refused, and what is the most", () =>
    Effect.gen(function*() {
      const most = 4080 * 2 ** 20
      assert.strictEqual((yield* Effect.flatMap(plain({ memory: most }), (session) => session.run("1"))).value, 1)
      const error = yield* Effect.flip(plain({ memory: most + 1 }))
      assert.strictEqual(
        error.message,
        "QuickJS can be given at most 4080 MiB of memory, not 4278190081 bytes; ask for less"
      )
    }))

  it.scopedLive("an engine that could not be compiled once is compiled again", () =>
    Effect.gen(function*() {
      const service = yield* QuickJsSandbox.make
      const compile = vi.spyOn(WebAssembly, "compile").mockRejectedValueOnce(new RangeError("no memory"))
      yield* Effect.addFinalizer(() => Effect.sync(() => compile.mockRestore()))
      const error = yield* Effect.flip(service.open())
      assert.strictEqual(error.message, "QuickJS cannot be compiled: no memory")
      assert.strictEqual((yield* Effect.flatMap(service.open(), (session) => session.run("1"))).value, 1)
      yield* service.open()
      assert.strictEqual(compile.mock.calls.length, 2, "what was compiled is kept")
    }))

  it.effect("ProgramOfThought runs in it", () =>
    Effect.gen(function*() {
      const solve = ProgramOfThought.make("numbers: int[] -> sum: int")
      const program = (generated_code: string) => TestLanguageModel.fields({ reasoning: "", generated_code })
      const output = yield* solve({ numbers: [1, 2, 3] }).pipe(Effect.provide(Layer.merge(
        QuickJsSandbox.layer,
        TestLanguageModel.layer([
          program("submit(numbers.reduce((a, b) => a + b))"),
          program("```js\nconst sum = inputs.numbers.reduce((a, b) => a + b)\n```"),
          TestLanguageModel.fields({ reasoning: "", sum: 6 })
        ])
      )))
      assert.deepStrictEqual(output.trajectory.map(({ observation }) => observation), [
        "ReferenceError: numbers is not defined (line 1)",
        "6"
      ])
    }))
})

// -----------------------------------------------------------------------------
// J1: what hostile code comes to
// -----------------------------------------------------------------------------

describe("QuickJsSandbox: J1", () => {
  it.scopedLive("code that does not end is stopped, inside or from outside", () =>
    Effect.gen(function*() {
      const session = yield* plain({ timeout: 150 })
      for (const [name, code] of Object.entries(hostile.loops)) {
        const result = yield* Effect.either(session.run(code))
        // What it has made of the engine is found out by the next code only.
        if (name === "name") assert.isTrue(Either.isRight(result))
        else assert.deepStrictEqual(tags([result]), ["TimedOut"], name)
      }
      assert.strictEqual((yield* session.run("1 + 1")).value, 2)
    }), 60_000)

  it.scopedLive("code that needs too much memory is stopped", () =>
    Effect.gen(function*() {
      const session = yield* plain({ memory: 2 ** 23, timeout: 20_000 })
      for (const [name, code] of Object.entries(hostile.bombs)) {
        assert.deepStrictEqual(tags([yield* Effect.either(session.run(code))]), ["OutOfMemory"], name)
      }
      assert.strictEqual((yield* session.run("1 + 1")).value, 2)
    }), 120_000)

  it("the memory of an engine cannot grow beyond what it is given", () => {
    // One page of memory, exported as `m`; with a section before and one behind it.
    const wasm = (limits: ReadonlyArray<number>) =>
      new Uint8Array([
        0,
        97,
        115,
        109,
        1,
        0,
        0,
        0,
        1,
        4,
        1,
        96,
        0,
        0,
        5,
        limits.length + 1,
        1,
        ...limits,
        7,
        5,
        1,
        1,
        109,
        2,
        0
      ])
    for (const limits of [[0, 1], [1, 1, 128, 2]]) {
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(withMaximum(wasm(limits), 200 * 2 ** 16)))
      const memory = exports["m"] as WebAssembly.Memory // as the bytes say
      memory.grow(199)
      assert.throws(() => memory.grow(1), RangeError)
    }
    assert.throws(() => withMaximum(wasm([0, 1]).subarray(0, 14), 1), /another version/)
    assert.throws(() => withMaximum(wasm([3, 1, 2]), 1), /another version/)
    assert.throws(() => withMaximum(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 5, 128]), 1), /too early/)
  })

  it.scopedLive("what the engine itself refuses is an error of the code", () =>
    Effect.gen(function*() {
      const results = yield* all(hostile.refused)
      assert.deepStrictEqual(new Set(tags(results)), new Set(["Threw"]))
    }), 60_000)

  it.scopedLive(
    "source of a megabyte is read, more is not; what is larger than it may be does not come out",
    () =>
      Effect.gen(function*() {
        const session = yield* plain({ timeout: 20_000 })
        assert.strictEqual((yield* session.run(`${"1;".repeat(2 ** 19 - 2)}42`)).value, 42)
        assert.strictEqual((yield* Effect.flip(session.run("1".repeat(2 ** 20 + 1)))).reason._tag, "TooLarge")
        assert.strictEqual((yield* Effect.flip(session.run("'y'.repeat(2 ** 22)"))).reason._tag, "TooLarge")
        assert.strictEqual((yield* Effect.flip(session.run("submit('y'.repeat(2 ** 22))"))).reason._tag, "Threw")
        const { logs } = yield* session.run("for (let i = 0; i < 100; i++) console.log('z'.repeat(1e6))")
        assert.isBelow(logs.length, 66_000)
      }),
    60_000
  )

  it.scopedLive("there is nothing to reach for", () =>
    Effect.gen(function*() {
      const results = yield* all(hostile.reach)
      results.forEach((result, index) => assert.strictEqual(tags([result])[0], "Threw", hostile.reach[index]))
      const { value } = yield* Effect.flatMap(plain(), (session) =>
        session.run("Object.getOwnPropertyNames(globalThis).filter((name) => /^[a-z]/.test(name)).sort().join(' ')"))
      assert.strictEqual(
        value,
        "atob btoa console decodeURI decodeURIComponent encodeURI encodeURIComponent escape globalThis isFinite isNaN " +
          "parseFloat parseInt performance queueMicrotask submit undefined unescape"
      )
    }))

  it.scopedLive("attacks on the bridge change what the code says, and nothing else", () =>
    Effect.gen(function*() {
      const given: Array<ReadonlyArray<unknown>> = []
      for (const attack of hostile.attacks) {
        yield* Effect.scoped(Effect.gen(function*() {
          const session = yield* open({
            timeout: 1000,
            functions: { look: (...args) => Effect.sync(() => given.push(args)) }
          })
          for (
            const code of [`try { ${attack} } catch {}`, "await look({ a: 1 })", "throw new Error('x')", "({ a: 1 })"]
          ) {
            yield* Effect.ignore(session.run(code))
          }
        }))
      }
      for (const args of given) assert.isTrue(Array.isArray(args) && Object.getPrototypeOf(args) === Array.prototype)
      assert.isUndefined(Reflect.get({}, "polluted"))
      assert.isFalse("toJSON" in Object.prototype || "then" in Object.prototype)
    }), 60_000)

  it.scopedLive("errors that look like those of the sandbox are errors of the code", () =>
    Effect.gen(function*() {
      const results = yield* all(hostile.forged)
      assert.deepStrictEqual(tags(results), ["Threw", "Threw", "Threw"])
      assert.isBelow(String(values(results)[2]).length, 4200)
    }))

  it.scopedLive("interrupted, it stops at once; where the scope ends, no thread is left", () =>
    Effect.gen(function*() {
      const before = threads()
      yield* Effect.scoped(Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const session = yield* open({
          timeout: 60_000,
          functions: { begin: () => Deferred.succeed(begun, undefined) }
        })
        const fiber = yield* Effect.fork(session.run("await begin(); while (true) {}"))
        yield* Deferred.await(begun)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(threads(), before)
        yield* session.run("1")
        assert.isAbove(threads(), before)
      }))
      assert.strictEqual(threads(), before)
    }))
})

// -----------------------------------------------------------------------------
// J2: for long
// -----------------------------------------------------------------------------

describe("QuickJsSandbox: J2", () => {
  it.scopedLive("many runs, good and bad, in sessions and side by side, leave nothing", () =>
    Effect.gen(function*() {
      const before = threads()
      const codes = [
        "1 + 1",
        "throw new Error('x')",
        "1 +* 2",
        "await add(1, 2)",
        "submit([1])",
        "await new Promise(() => {})"
      ]
      const outcomes = yield* Effect.forEach(
        Array.from({ length: 18 }, (_, n) => n),
        (n) =>
          Effect.scoped(Effect.gen(function*() {
            const session = yield* open({ functions: { add: (a, b) => Effect.succeed(Number(a) + Number(b)) } })
            const results = yield* Effect.forEach([0, 1, 2], (k) => Effect.either(session.run(codes[(n + k) % 6]!)))
            return tags(results)
          })),
        { concurrency: 4 }
      )
      assert.strictEqual(outcomes.flat().filter((tag) => tag === "Ran").length, 27)
      assert.strictEqual(threads(), before)
    }), 60_000)
})
