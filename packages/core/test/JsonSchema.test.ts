import type * as Json from "@effect-dspy/core/Json"
import * as JsonSchema from "@effect-dspy/core/JsonSchema"
import * as Tool from "@effect-dspy/core/Tool"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"

const told = (schema: Json.Json, value: Json.Json): ReadonlyArray<string> =>
  JsonSchema.check(schema, value).map(({ message, path }) => `${path}: ${message}`)

const fits = (schema: Json.Json, ...values: ReadonlyArray<Json.Json>) => {
  for (const value of values) assert.deepStrictEqual(told(schema, value), [], JSON.stringify(value))
}

const refuses = (schema: Json.Json, ...values: ReadonlyArray<Json.Json>) => {
  for (const value of values) assert.isNotEmpty(told(schema, value), JSON.stringify(value))
}

describe("JsonSchema.check", () => {
  it("reads types, constants and enumerations", () => {
    fits({ type: "integer" }, 1, 2.0, -3)
    refuses({ type: "integer" }, 1.5, "1", null, true)
    fits({ type: ["string", "null"] }, "", null)
    assert.deepStrictEqual(told({ type: ["string", "null"] }, [1]), [": must be of type string or null, not [1]"])
    refuses({ type: "object" }, [], null)
    refuses({ type: "array" }, {})
    fits({ const: { a: 1, b: 2 } }, { b: 2, a: 1 })
    assert.deepStrictEqual(told({ enum: ["up", 1] }, "down"), [`: must be one of "up", 1, not "down"`])
    fits(true, 1)
    refuses(false, 1)
  })

  it("reads the limits of numbers, texts, lists and objects", () => {
    fits({ minimum: 1, maximum: 2 }, 1, 2, "3")
    refuses({ minimum: 1 }, 0)
    refuses({ maximum: 1 }, 2)
    refuses({ exclusiveMinimum: 1 }, 1)
    refuses({ exclusiveMaximum: 1 }, 1)
    fits({ multipleOf: 0.1 }, 0.3, 1.1)
    refuses({ multipleOf: 2 }, 3)
    fits({ minLength: 2, maxLength: 2 }, "👍🏽".slice(0, 4), "ab")
    refuses({ maxLength: 1 }, "ab")
    refuses({ minLength: 1 }, "")
    fits({ minItems: 1, maxItems: 1, uniqueItems: true }, [1])
    refuses({ minItems: 1 }, [])
    refuses({ maxItems: 1 }, [1, 2])
    refuses({ uniqueItems: true }, [{ a: 1, b: 2 }, { b: 2, a: 1 }])
    refuses({ minProperties: 1 }, {})
    refuses({ maxProperties: 0 }, { a: 1 })
  })

  it("says where in the value a problem is", () => {
    const schema = {
      type: "object",
      properties: {
        filters: {
          type: "array",
          items: { type: "object", properties: { year: { type: "integer" } }, required: ["of"] }
        }
      },
      additionalProperties: false
    }
    assert.deepStrictEqual(told(schema, { filters: [{ of: 1 }, { year: "x" }], more: 1 }), [
      "filters[1].of: is missing",
      `filters[1].year: must be of type integer, not "x"`,
      "more: is not allowed"
    ])
  })

  it("reads lists whose first items are of kinds of their own, as either draft writes them", () => {
    for (
      const schema of [{ prefixItems: [{ type: "string" }], items: false }, {
        items: [{ type: "string" }],
        additionalItems: false
      }]
    ) {
      fits(schema, ["a"], [])
      refuses(schema, [1], ["a", "b"])
    }
    fits({ contains: { const: 1 }, maxContains: 1 }, [0, 1])
    refuses({ contains: { const: 1 }, maxContains: 1 }, [1, 1], [])
    fits({ contains: { const: 1 }, minContains: 0 }, [])
  })

  it("reads combinations of schemas", () => {
    fits({ allOf: [{ minimum: 1 }, { maximum: 2 }] }, 1)
    refuses({ allOf: [{ minimum: 1 }, { maximum: 2 }] }, 3)
    fits({ anyOf: [{ type: "string" }, { type: "null" }] }, null)
    refuses({ anyOf: [{ type: "string" }, { type: "null" }] }, 1)
    fits({ oneOf: [{ minimum: 5 }, { maximum: 1 }] }, 5)
    refuses({ oneOf: [{ minimum: 1 }, { maximum: 5 }] }, 3)
    refuses({ not: { type: "string" } }, "a")
    const branch = { if: { const: 1 }, then: false, else: { const: 2 } }
    fits(branch, 2)
    refuses(branch, 1, 3)
    refuses({ dependentRequired: { a: ["b"] } }, { a: 1 })
    refuses({ dependencies: { a: { required: ["b"] } } }, { a: 1 })
    refuses({ propertyNames: { maxLength: 1 } }, { ab: 1 })
  })

  it("follows references within the document, also of a tree into itself", () => {
    const tree = {
      $defs: { "a/b": { type: "object", properties: { of: { type: "array", items: { $ref: "#/$defs/a~1b" } } } } },
      $ref: "#/$defs/a~1b"
    }
    fits(tree, { of: [{ of: [] }] })
    assert.deepStrictEqual(told(tree, { of: [{ of: 1 }] }), ["of[0].of: must be of type array, not 1"])
    fits({ $ref: "https://example.com/other.json" }, 1)
    fits({ $ref: "#/__proto__/x" }, 1)
    fits({ $ref: "#/%" }, 1)
  })

  it("refuses nothing for what it does not check, wherever that stands", () => {
    fits({ pattern: "^(a+)+$" }, "b")
    fits({ not: { pattern: "a" } }, "a")
    fits({ oneOf: [{ pattern: "a" }, { pattern: "b" }] }, "a")
    fits({ if: { format: "date" }, then: false }, "x")
    fits({ patternProperties: { "^x": {} }, additionalProperties: false }, { x1: 1 })
  })

  it("ends on a schema that does not, and says so", () => {
    for (
      const schema of [
        { $ref: "#" },
        { anyOf: [{ $ref: "#" }, { $ref: "#" }] },
        { allOf: [{ allOf: [{ $ref: "#" }, { $ref: "#" }] }, { $ref: "#" }] }
      ]
    ) assert.deepStrictEqual(told(schema, 1), [": its schema is too involved to check it"])
  })

  it("ends soon on schemas and values of any size", () => {
    const many = <A>(length: number, of: (index: number) => A) => Array.from({ length }, (_, index) => of(index))
    const names = many(50_000, (index) => `x${index}`)
    const items = many(20_000, (index) => index)
    const cases: ReadonlyArray<readonly [schema: Json.Json, value: Json.Json]> = [
      [{ items: { enum: names } }, items.map(() => "x")],
      [{ anyOf: names.map(() => ({ const: 1 })) }, items],
      [{ items: { $ref: "#/$defs/a" }, $defs: { a: { required: names } } }, items.map(() => ({}))],
      [{ items: { dependentRequired: Object.fromEntries(names.map((name) => [name, []])) } }, items.map(() => ({}))],
      [{ items: { $ref: `#${"/a".repeat(20_000)}` } }, items],
      [{ anyOf: names.map(() => ({ minLength: 1, const: "" })) }, "x".repeat(200_000)]
    ]
    for (const [schema, value] of cases) JsonSchema.check(schema, value)
    // As long as the schema, and no longer.
    assert.strictEqual(
      JsonSchema.check({ properties: { a: { required: many(200_000, String) } } }, { a: {} }).length,
      20
    )
    // What is large, and no more than that, is checked.
    assert.deepStrictEqual(
      JsonSchema.check({ items: { type: "object", required: ["a"] } }, items.map(() => ({ a: 1 }))),
      []
    )
  }, 10_000)

  it("takes any schema for any value without throwing, and reads own members only", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.jsonValue(), FastCheck.jsonValue(), (schema, value) => {
        const json = (u: unknown): Json.Json => JSON.parse(JSON.stringify(u))
        JsonSchema.check(json(schema), json(value))
      }),
      { seed: 1 }
    )
    refuses({ required: ["toString", "__proto__"] }, {})
    fits({ properties: { a: {} }, additionalProperties: { type: "string" } }, JSON.parse(`{"constructor":"x"}`))
    refuses({ properties: {}, additionalProperties: false }, JSON.parse(`{"__proto__":1}`))
  })
})

describe("Tool.dynamic", () => {
  const make = (parameters: Json.JsonRecord) =>
    Tool.dynamic("search", { description: "Searches.", parameters, run: (args) => Effect.succeed(args) })

  it.effect("refuses arguments that its schema does not know, unless it provides for them", () =>
    Effect.gen(function*() {
      const strict = make({ type: "object", properties: { query: { type: "string" } } })
      const { description, reason } = yield* Effect.flip(Tool.call(strict, { query: "a", constructor: 1 }))
      assert.deepStrictEqual([reason, description], [
        "InvalidArguments",
        "these arguments do not fit: constructor: is unknown"
      ])
      const open = make({ type: "object", properties: {}, additionalProperties: true })
      assert.strictEqual(yield* Tool.call(open, { a: 1 }), `{"a":1}`)
      const sum = make({ anyOf: [{ properties: { a: {} }, required: ["a"] }, { required: ["b"] }] })
      assert.strictEqual(yield* Tool.call(sum, { a: 1 }), `{"a":1}`)
    }))

  it.effect("runs nothing unless the arguments fit", () =>
    Effect.gen(function*() {
      let runs = 0
      const tool = Tool.dynamic("count", {
        description: "Counts.",
        parameters: { type: "object", properties: { to: { type: "integer" } }, required: ["to"] },
        run: () => Effect.sync(() => ++runs)
      })
      yield* Effect.flip(Tool.call(tool, { to: "x" }))
      yield* Effect.flip(Tool.call(tool, {}))
      assert.strictEqual(runs, 0)
      assert.strictEqual(yield* Tool.call(tool, { to: 1 }), "1")
    }))

  it("offers its schema as it is, and refuses a name that no service takes", () => {
    const parameters = { type: "object", properties: {}, "x-more": [1] }
    assert.deepStrictEqual(make(parameters).definition.parameters, parameters)
    assert.throws(() => Tool.dynamic("a b", { description: "", parameters, run: () => Effect.void }), RangeError)
  })
})
