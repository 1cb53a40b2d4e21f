import type * as Json from "@effect-dspy/core/Json"
import * as Tool from "@effect-dspy/core/Tool"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Deferred, Effect, Exit, Fiber, Logger, Option, Ref, Schema, TestClock } from "effect"

const add = Tool.make("add", {
  description: "Adds two numbers.",
  parameters: { a: Schema.Number, b: Schema.Number.annotations({ description: "the other one" }) },
  run: ({ a, b }) => Effect.succeed(a + b)
})

interface Tree {
  readonly value: number
  readonly children: ReadonlyArray<Tree>
}

const Tree: Schema.Schema<Tree> = Schema.Struct({
  value: Schema.Number,
  children: Schema.Array(Schema.suspend(() => Tree))
}).annotations({ identifier: "Tree" })

class Address
  extends Schema.Class<Address>("Address")({ street: Schema.String, zip: Schema.optional(Schema.String) })
{}

const parametersOf = <P extends Tool.Parameters>(parameters: P): Json.JsonRecord =>
  Tool.make("t", { description: "", parameters, run: () => Effect.void }).definition.parameters

const propertiesOf = <P extends Tool.Parameters>(parameters: P) => parametersOf(parameters)["properties"]

/** What is decoded from these arguments, or why they are refused. */
const read = <P extends Tool.Parameters>(parameters: P, args: Json.JsonRecord) =>
  Tool.make("t", { description: "", parameters, run: () => Effect.void }).decode(args).pipe(
    Effect.match({
      onFailure: (error) => error.description.replace("these arguments do not fit: ", ""),
      onSuccess: (input): unknown => input
    })
  )

describe("what a model is told of a tool", () => {
  it("is its name, description and a JSON Schema of its parameters", () => {
    assert.deepStrictEqual(add.definition, {
      name: "add",
      description: "Adds two numbers.",
      parameters: {
        type: "object",
        required: ["a", "b"],
        properties: { a: { type: "number" }, b: { type: "number", description: "the other one" } },
        additionalProperties: false
      }
    })
  })

  it("is an object of nothing for a tool without parameters", () => {
    assert.deepStrictEqual(parametersOf({}), { type: "object", properties: {}, additionalProperties: false })
  })

  it("requires what is neither optional nor has a default", () => {
    assert.deepStrictEqual(
      parametersOf({
        query: Schema.String,
        limit: Schema.optional(Schema.Int),
        page: Schema.optionalWith(Schema.Int, { default: () => 1 })
      })["required"],
      ["query"]
    )
    assert.notProperty(parametersOf({ limit: Schema.optional(Schema.Int) }), "required")
  })

  it("has definitions in their places, each with its own description, and no references", () => {
    assert.deepStrictEqual(
      propertiesOf({
        home: Address,
        others: Schema.Array(Address),
        rows: Schema.Int.annotations({ description: "how many" }),
        columns: Schema.optional(Schema.Int).annotations({ description: "how wide" })
      }),
      {
        home: address,
        others: { type: "array", items: address },
        rows: { type: "integer", description: "how many" },
        columns: { type: "integer", description: "how wide" }
      }
    )
  })

  it("has references only to what contains itself", () => {
    const parameters = parametersOf({ tree: Tree, other: Schema.optional(Tree) })
    assert.deepStrictEqual(parameters["properties"], {
      tree: { $ref: "#/$defs/Tree" },
      other: { $ref: "#/$defs/Tree" }
    })
    assert.deepStrictEqual(parameters["$defs"], {
      Tree: {
        type: "object",
        required: ["value", "children"],
        properties: { value: { type: "number" }, children: { type: "array", items: { $ref: "#/$defs/Tree" } } },
        additionalProperties: false
      }
    })
  })

  it("has literals and enums as the values there are", () => {
    assert.deepStrictEqual(
      propertiesOf({
        color: Schema.Literal("red", "green"),
        level: Schema.Enums({ Low: "low", High: "high" }),
        mixed: Schema.Literal(1, "a", null)
      }),
      {
        color: { type: "string", enum: ["red", "green"] },
        level: { type: "string", enum: ["low", "high"] },
        mixed: { anyOf: [{ type: "number", enum: [1] }, { type: "string", enum: ["a"] }, { type: "null" }] }
      }
    )
  })

  it("has records, tuples, unions, nested structs and anything", () => {
    assert.deepStrictEqual(
      propertiesOf({
        counts: Schema.Record({ key: Schema.String, value: Schema.Number }),
        pair: Schema.Tuple(Schema.String, Schema.Number),
        either: Schema.Union(Schema.String, Schema.Number),
        nullable: Schema.NullOr(Schema.String),
        nested: Schema.Struct({ title: Schema.String, share: Schema.Number.pipe(Schema.between(0, 1)) }),
        anything: Schema.Unknown
      }),
      {
        counts: { type: "object", additionalProperties: { type: "number" } },
        pair: {
          type: "array",
          minItems: 2,
          items: [{ type: "string" }, { type: "number" }],
          additionalItems: false
        },
        either: { anyOf: [{ type: "string" }, { type: "number" }] },
        nullable: { anyOf: [{ type: "string" }, { type: "null" }] },
        nested: {
          type: "object",
          required: ["title", "share"],
          properties: {
            title: { type: "string" },
            share: { type: "number", description: "a number between 0 and 1", minimum: 0, maximum: 1 }
          },
          additionalProperties: false
        },
        anything: {}
      }
    )
  })

  it("is what is written, where a schema converts", () => {
    assert.deepInclude(propertiesOf({ day: Schema.Date, n: Schema.NumberFromString }), {
      day: { type: "string", description: "a string to be decoded into a Date" },
      n: { type: "string", description: "a string to be decoded into a number" }
    })
  })

  it("cannot be made of what has no JSON", () => {
    assert.throws(() => parametersOf({ day: Schema.DateFromSelf }), /Tool "t": a parameter has no JSON Schema/)
  })

  it("has a name that every service takes", () => {
    for (const name of ["", "a b", "1a", "x".repeat(65), "ä"]) {
      assert.throws(
        () => Tool.make(name, { description: "", parameters: {}, run: () => Effect.void }),
        /is no name for a tool/
      )
    }
  })
})

const address = {
  type: "object",
  required: ["street"],
  properties: { street: { type: "string" }, zip: { type: "string" } },
  additionalProperties: false
}

describe("arguments", () => {
  it.effect("that do not fit run nothing", () =>
    Effect.gen(function*() {
      let runs = 0
      const tool = Tool.make("t", {
        description: "",
        parameters: { n: Schema.Int.pipe(Schema.positive()) },
        run: () => Effect.sync(() => ++runs)
      })
      for (const args of [{}, { n: "1" }, { n: -1 }, { n: 1.5 }, { n: 1, m: 2 }, { ["__proto__"]: 1 }]) {
        const error = yield* Effect.flip(Tool.call(tool, args))
        assert.strictEqual(error.reason, "InvalidArguments")
      }
      assert.strictEqual(runs, 0)
      assert.strictEqual(yield* Tool.call(tool, { n: 1 }), "1")
    }))

  it.effect("are refused with everything that is wrong, and where", () =>
    Effect.gen(function*() {
      const parameters = {
        city: Schema.String,
        filters: Schema.Array(Schema.Struct({ year: Schema.Int })),
        unit: Schema.Literal("C", "F")
      }
      const wrong = yield* read(parameters, { filters: [{ year: "1999" }], unit: "K", extra: 1 })
      assert.include(wrong, "city: is missing")
      assert.include(wrong, "filters[0].year: Expected")
      assert.include(wrong, "unit: Expected")
      assert.include(wrong, "extra: is unexpected")
      assert.strictEqual(
        yield* read({ limit: Schema.optional(Schema.Int) }, { limit: "five" }),
        "limit: Expected number, actual \"five\""
      )
    }))

  it.effect("are refused in few words, however much is wrong", () =>
    Effect.gen(function*() {
      const all = Array.from({ length: 1000 }, () => "word ".repeat(1000))
      const wrong = String(yield* read({ all: Schema.Array(Schema.Int) }, { all }))
      assert.isBelow(wrong.length, 5_000)
      assert.match(wrong, /^all\[0\]: Expected number, actual "word .*; and 980 more$/)
    }))

  it.effect("become what the schemas say: dates, defaults, classes, lists of them", () =>
    Effect.gen(function*() {
      const day = "2024-02-29T00:00:00.000Z"
      assert.deepStrictEqual(
        yield* read(
          {
            day: Schema.Date,
            page: Schema.optionalWith(Schema.Int, { default: () => 1 }),
            places: Schema.Array(Address),
            tree: Tree
          },
          { day, places: [{ street: "Elm" }], tree: { value: 1, children: [{ value: 2, children: [] }] } }
        ),
        {
          day: new Date(day),
          page: 1,
          places: [new Address({ street: "Elm" })],
          tree: { value: 1, children: [{ value: 2, children: [] }] }
        }
      )
    }))

  it.effect("may be null for none, where a parameter is optional and never null", () =>
    Effect.gen(function*() {
      const parameters = {
        a: Schema.optional(Schema.Int),
        b: Schema.optional(Schema.NullOr(Schema.Int)),
        c: Schema.NullOr(Schema.Int)
      }
      assert.deepStrictEqual(yield* read(parameters, { a: null, b: null, c: null }), { b: null, c: null })
      assert.include(yield* read({ a: Schema.Int }, { a: null }), "a: Expected")
      const dynamic = Tool.dynamic("t", {
        description: "",
        parameters: {
          type: "object",
          properties: { a: { type: "string" }, b: { type: ["string", "null"] }, c: { type: "string" } },
          required: ["c"]
        },
        run: (args) => Effect.succeed(args)
      })
      assert.strictEqual(yield* Tool.call(dynamic, { a: null, b: null, c: "x" }), `{"b":null,"c":"x"}`)
      assert.strictEqual((yield* Effect.flip(Tool.call(dynamic, { c: null }))).reason, "InvalidArguments")
    }))

  it.effect("that nobody knows beforehand are taken where a JSON Schema provides for them", () =>
    Effect.gen(function*() {
      const dynamic = (additionalProperties?: Json.Json) =>
        Tool.dynamic("t", {
          description: "",
          parameters: {
            type: "object",
            properties: { a: { type: "integer" } },
            ...(additionalProperties === undefined ? undefined : { additionalProperties })
          },
          run: (args) => Effect.succeed(args)
        })
      assert.strictEqual(yield* Tool.call(dynamic(true), { a: 1, b: "x" }), `{"a":1,"b":"x"}`)
      assert.strictEqual(yield* Tool.call(dynamic({ type: "string" }), { b: "x" }), `{"b":"x"}`)
      for (const tool of [dynamic(), dynamic(false), dynamic({ type: "number" })]) {
        assert.strictEqual((yield* Effect.flip(Tool.call(tool, { b: "x" }))).reason, "InvalidArguments")
      }
    }))

  it.effect("cannot reach a prototype, nor be missing where an object inherits one", () =>
    Effect.gen(function*() {
      const forbidden = "the key \"__proto__\" is not allowed"
      const nested: Json.JsonRecord = JSON.parse(`{"counts":{"__proto__":{"polluted":1}}}`)
      const counts = { counts: Schema.Record({ key: Schema.String, value: Schema.Unknown }) }
      assert.strictEqual(yield* read(counts, nested), forbidden)
      assert.strictEqual(yield* read({ constructor: Schema.Unknown }, {}), "constructor: is missing")
      assert.notProperty({}, "polluted")
    }))

  it.effect("that are nested too deeply are refused, not a defect", () =>
    Effect.gen(function*() {
      const deep = (levels: number): Json.JsonRecord => {
        let tree: Json.JsonRecord = { value: 0, children: [] }
        for (let level = 1; level < levels; level++) tree = { value: 0, children: [tree] }
        return { tree }
      }
      assert.strictEqual(
        yield* read({ tree: Tree }, deep(50_000)),
        "they are nested more than 128 levels deep"
      )
      assert.isObject(yield* read({ tree: Tree }, deep(60)))
    }))
})

describe("what a tool gives", () => {
  const given = (value: unknown) =>
    Tool.call(Tool.make("t", { description: "", parameters: {}, run: () => Effect.succeed(value) }), {})

  it.effect("is told as it is if it is text, and as JSON otherwise", () =>
    Effect.gen(function*() {
      const cyclic: { self?: unknown } = {}
      cyclic.self = cyclic
      assert.strictEqual(yield* given("plain \"text\""), "plain \"text\"")
      assert.strictEqual(yield* given({ a: [1, null] }), `{"a":[1,null]}`)
      assert.strictEqual(yield* given(undefined), "done")
      assert.strictEqual(yield* given(null), "null")
      assert.strictEqual(yield* given({ n: 10n ** 20n }), `{"n":"100000000000000000000"}`)
      assert.strictEqual(yield* given(cyclic), "{}")
      assert.strictEqual(yield* given(Option.some(1)), `{"_id":"Option","_tag":"Some","value":1}`)
    }))

  it.effect("names in words what is no text", () =>
    Effect.gen(function*() {
      const image = { _tag: "Image", url: "data:image/png;base64,AA==" }
      assert.strictEqual(yield* given(image), "(an image)")
      assert.strictEqual(yield* given([{ _tag: "Text", text: "the plot:" }, image]), "the plot:\n(an image)")
      assert.strictEqual(yield* given([]), "[]")
    }))
})

describe("a tool that fails", () => {
  class Gone extends Data.TaggedError("Gone")<{ readonly key: string }> {}

  const failing = <E>(error: E) => Tool.make("t", { description: "", parameters: {}, run: () => Effect.fail(error) })

  it.effect("says why in the words of its failure, and keeps it", () =>
    Effect.gen(function*() {
      const told = <E>(error: E) => Effect.flip(Tool.call(failing(error), {}))
      assert.strictEqual((yield* told("out of order")).message, "t: out of order")
      assert.strictEqual((yield* told(new Error("no such row"))).message, "t: no such row")
      assert.strictEqual((yield* told({ code: 7 })).message, `t: {"code":7}`)
      // An error without a message of its own says what it holds.
      const error = yield* told(new Gone({ key: "k" }))
      assert.strictEqual(error.message, `t: {"key":"k","_tag":"Gone"}`)
      assert.strictEqual(error.reason, "Failed")
      assert.isTrue(error.cause instanceof Gone && error.cause.key === "k")
    }))

  it.effect("ends the program with its own failure if it was made to", () =>
    Effect.gen(function*() {
      const tool = Tool.make("t", {
        description: "",
        parameters: {},
        run: () => Effect.fail(new Gone({ key: "k" })),
        failureMode: "error"
      })
      const error = yield* Effect.flip(Tool.call(tool, {}))
      assert.strictEqual(error._tag, "Gone")
    }))

  it.effect("by a defect says that it is broken, and is logged with its cause", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const log = Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ cause, logLevel, message }) =>
          void logged.push(`${logLevel.label} ${String(message)} ${Cause.pretty(cause).split("\n")[0]}`)
        )
      )
      for (
        const run of [
          () => Effect.die(new TypeError("x is undefined")),
          (): Effect.Effect<void> => {
            throw new TypeError("x is undefined")
          }
        ]
      ) {
        const tool = Tool.make("t", { description: "", parameters: {}, run })
        const error = yield* Effect.flip(Effect.provide(Tool.call(tool, {}), log))
        assert.deepStrictEqual([error.reason, error.message], ["Defect", "t: it is broken: x is undefined"])
      }
      // So is a schema that throws.
      const address = Schema.transform(Schema.String, Schema.instanceOf(URL), {
        strict: true,
        decode: (text) => new URL(text),
        encode: (url) => url.href
      }).annotations({ jsonSchema: { type: "string" } })
      const fetch = Tool.make("t", { description: "", parameters: { address }, run: () => Effect.void })
      const error = yield* Effect.flip(Effect.provide(Tool.call(fetch, { address: "nowhere" }), log))
      assert.deepStrictEqual([error.reason, logged.length], ["Defect", 3])
      logged.pop()
      const line = "ERROR The tool \"t\" is broken, and the model was told so TypeError: x is undefined"
      assert.deepStrictEqual(logged, [line, line])
    }))

  it.effect("by a defect ends the program if its failures do", () =>
    Effect.gen(function*() {
      const tool = Tool.make("t", {
        description: "",
        parameters: {},
        run: () => Effect.die("broken"),
        failureMode: "error"
      })
      const exit = yield* Effect.exit(Tool.call(tool, {}))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
    }))

  it.effect("is not one that is interrupted, and closes what it has opened", () =>
    Effect.gen(function*() {
      const opened = yield* Deferred.make<void>()
      const closed = yield* Ref.make(false)
      const tool = Tool.make("t", {
        description: "",
        parameters: {},
        run: () =>
          Effect.scoped(Effect.zipRight(
            Effect.acquireRelease(Deferred.succeed(opened, undefined), () => Ref.set(closed, true)),
            Effect.never
          ))
      })
      const fiber = yield* Effect.fork(Tool.call(tool, {}))
      yield* Deferred.await(opened)
      const exit = yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.isInterrupted(exit))
      assert.isTrue(yield* Ref.get(closed))
    }))
})

describe("a tool of an ordinary function", () => {
  it.effect("may return a value or a promise, and throw", () =>
    Effect.gen(function*() {
      const half = (later: boolean) =>
        Tool.fromFunction("half", {
          description: "",
          parameters: { of: Schema.Int },
          run: ({ of }) => {
            if (of % 2 === 1) throw new RangeError("it is odd")
            return later ? Promise.resolve(of / 2) : of / 2
          }
        })
      for (const tool of [half(false), half(true)]) {
        assert.strictEqual(yield* Tool.call(tool, { of: 4 }), "2")
        const error = yield* Effect.flip(Tool.call(tool, { of: 5 }))
        assert.deepStrictEqual([error.reason, error.message], ["Failed", "half: it is odd"])
      }
    }))

  it.effect("is told when nobody waits any more", () =>
    Effect.gen(function*() {
      let aborted = false
      const slow = Tool.fromFunction("slow", {
        description: "",
        parameters: {},
        run: (_, signal) => new Promise<void>(() => signal.addEventListener("abort", () => void (aborted = true))),
        timeout: "1 second"
      })
      const fiber = yield* Effect.fork(Effect.flip(Tool.call(slow, {})))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([(yield* Fiber.join(fiber)).reason, aborted], ["TimedOut", true])
    }))
})

describe("approval", () => {
  it.effect("is asked for with what is about to be done", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const careful = Tool.withApproval(add, ({ a }) => {
        seen.push(a)
        return Effect.succeed(a < 10 ? true : a < 100 ? false : { denied: "that is too much" })
      })
      assert.strictEqual(yield* Tool.call(careful, { a: 1, b: 1 }), "2")
      const [refused, denied] = yield* Effect.all([
        Effect.flip(Tool.call(careful, { a: 10, b: 1 })),
        Effect.flip(Tool.call(careful, { a: 100, b: 1 }))
      ])
      assert.deepStrictEqual([refused.reason, refused.description], ["Denied", "this was not allowed"])
      assert.strictEqual(denied.description, "that is too much")
      // What does not fit is not even asked about.
      yield* Effect.flip(Tool.call(careful, { a: "x", b: 1 }))
      assert.deepStrictEqual(seen, [1, 10, 100])
    }))

  it.effect("that fails lets nothing be done", () =>
    Effect.gen(function*() {
      let runs = 0
      const tool = Tool.make("t", { description: "", parameters: {}, run: () => Effect.sync(() => ++runs) })
      const failed = yield* Effect.exit(Tool.call(Tool.withApproval(tool, () => Effect.fail("nobody there")), {}))
      const died = yield* Effect.exit(Tool.call(Tool.withApproval(tool, () => Effect.die("broken")), {}))
      assert.deepStrictEqual(failed, Exit.fail("nobody there"))
      assert.deepStrictEqual(died, Exit.die("broken"))
      assert.strictEqual(runs, 0)
    }))

  it.effect("takes no time of the tool, and no place of another use", () =>
    Effect.gen(function*() {
      const tool = Tool.make("t", {
        description: "",
        parameters: { slowly: Schema.Boolean },
        run: () => Effect.succeed("ran"),
        timeout: "1 second",
        concurrency: 1
      }).pipe(
        Tool.withApproval(({ slowly }) => slowly ? Effect.as(Effect.sleep("1 hour"), true) : Effect.succeed(true))
      )
      const waiting = yield* Effect.fork(Tool.call(tool, { slowly: true }))
      yield* TestClock.adjust("30 minutes")
      assert.strictEqual(yield* Tool.call(tool, { slowly: false }), "ran")
      yield* TestClock.adjust("30 minutes")
      assert.strictEqual(yield* Fiber.join(waiting), "ran")
    }))
})

describe("limits", () => {
  it.effect("of time stop a tool", () =>
    Effect.gen(function*() {
      let interrupted = false
      const slow = Tool.make("slow", {
        description: "",
        parameters: {},
        run: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted = true))),
        timeout: "5 seconds"
      })
      const fiber = yield* Effect.fork(Effect.flip(Tool.call(slow, {})))
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual([error.reason, interrupted], ["TimedOut", true])
      assert.strictEqual(error.message, "slow: it took longer than 5s, and was stopped")
    }))

  it.effect("of concurrency let further uses wait, whose time has not begun", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const tool = Tool.make("t", {
        description: "",
        parameters: {},
        run: () =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++running)
            }),
            () => Effect.sleep("4 seconds"),
            () => Effect.sync(() => void running--)
          ),
        concurrency: 2,
        timeout: "5 seconds"
      })
      const fiber = yield* Effect.fork(
        Effect.forEach(Array.from({ length: 6 }), () => Tool.call(tool, {}), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("12 seconds")
      assert.lengthOf(yield* Fiber.join(fiber), 6)
      assert.strictEqual(most, 2)
    }))

  it("of concurrency are whole numbers", () => {
    for (const concurrency of [0, 1.5, -1, Number.NaN]) {
      assert.throws(
        () => Tool.make("t", { description: "", parameters: {}, run: () => Effect.void, concurrency }),
        /concurrency must be a whole number/
      )
    }
  })
})
