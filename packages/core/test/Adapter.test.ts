import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import type { Json } from "@effect-dspy/core/Json"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as Signature from "@effect-dspy/core/Signature"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Either, Option, ParseResult, Schema } from "effect"
import { decodeFields } from "./adapters.ts"

type Field = Parameters<typeof Signature.make>[0]["output"][string]

const one = (field: Field) => Signature.make({ input: { q: Schema.String }, output: { x: field } })

const text = (field: Field, text: string) => decodeFields(one(field), { x: { _tag: "Text", text } })

const json = (field: Field, value: Json) => decodeFields(one(field), { x: { _tag: "Json", value } })

const value = (result: Either.Either<Adapter.Decoded, ReadonlyArray<Adapter.Problem>>): unknown =>
  Either.isRight(result) ? result.right.value["x"] : result.left.map((problem) => problem.kind)

const repairs = (result: Either.Either<Adapter.Decoded, ReadonlyArray<Adapter.Problem>>): number =>
  Either.isRight(result) ? result.right.repairs.length : -1

const problems = (result: Either.Either<Adapter.Decoded, ReadonlyArray<Adapter.Problem>>): ReadonlyArray<string> =>
  Either.isLeft(result) ? result.left.map(Adapter.describe) : []

enum Plan {
  Free = "free plan",
  Paid = "paid",
  free = "f"
}

describe("Adapter", () => {
  describe("values read without a repair", () => {
    const Person = Schema.Struct({ name: Schema.String, age: Schema.optional(Schema.Number) })
    const cases: ReadonlyArray<readonly [name: string, field: Field, written: string, value: unknown]> = [
      ["text as it is", Schema.String, "\"quoted\" 3 null", "\"quoted\" 3 null"],
      ["an integer", Schema.Int, "42", 42],
      ["a number with an exponent", Schema.Number, "-1.5e3", -1500],
      ["a number around blanks", Schema.Number, " 2 ", 2],
      ["no negative zero", Schema.Number, "-0", 0],
      ["true", Schema.Boolean, "true", true],
      ["Python's False", Schema.Boolean, "False", false],
      ["a literal", Schema.Literal("a", "b"), "b", "b"],
      ["a literal with quotes in it", Schema.Literal("it's", "\"x\""), "\"x\"", "\"x\""],
      ["an integer literal", Schema.Literal(1, 2), "2", 2],
      ["a string literal that looks like a number", Schema.Literal("1", "2"), "2", "2"],
      ["a literal that is also a text: as it is", Schema.Literal("1", 1), "1", 1],
      ["a literal that is also a text: quoted", Schema.Literal("1", 1), "\"1\"", "1"],
      ["an enum by its value", Schema.Enums(Plan), "free plan", Plan.Free],
      ["an array", Schema.Array(Schema.String), "[\"a\", \"b\"]", ["a", "b"]],
      ["an array in a fence", Schema.Array(Schema.Int), "```json\n[1, 2]\n```", [1, 2]],
      ["an object", Person, "{\"name\": \"Ann\", \"age\": 3}", { name: "Ann", age: 3 }],
      ["an object without its optional key", Person, "{\"name\": \"Ann\"}", { name: "Ann" }],
      ["an object with null for its optional key", Person, "{\"name\": \"Ann\", \"age\": null}", { name: "Ann" }],
      ["an object with more keys", Person, "{\"name\": \"Ann\", \"z\": 1}", { name: "Ann" }],
      ["a record", Schema.Record({ key: Schema.String, value: Schema.Int }), "{\"a\": 1}", { a: 1 }],
      ["null or text: null", Schema.NullOr(Schema.String), "null", null],
      ["null or text: None", Schema.NullOr(Schema.String), "None", null],
      ["null or text: quoted null", Schema.NullOr(Schema.String), "\"null\"", "null"],
      ["null or text: quoted text keeps its quotes", Schema.NullOr(Schema.String), "\"hi\"", "\"hi\""],
      ["null or text: brackets are text", Schema.NullOr(Schema.String), "[see note]", "[see note]"],
      ["null or text: JSON is text", Schema.NullOr(Schema.String), "[1, 2]", "[1, 2]"],
      ["null or text: nothing is text", Schema.NullOr(Schema.String), "", ""],
      ["null or integer: an integer", Schema.NullOr(Schema.Int), "7", 7],
      ["null or integer: null", Schema.NullOr(Schema.Int), "null", null],
      ["integer or text: an integer", Schema.Union(Schema.Int, Schema.String, Schema.Null), "7", 7],
      ["integer or text: text", Schema.Union(Schema.Int, Schema.String, Schema.Null), "seven", "seven"],
      ["text or array: an array", Schema.Union(Schema.String, Schema.Array(Schema.String)), "[\"a\"]", ["a"]],
      ["text or array: text", Schema.Union(Schema.String, Schema.Array(Schema.String)), "[a]", "[a]"],
      ["unknown: JSON", Schema.Unknown, "{\"a\": [1]}", { a: [1] }],
      ["unknown: text", Schema.Unknown, "hello", "hello"],
      ["a big integer kept as text", Schema.BigInt, "9007199254740993", 9007199254740993n],
      ["a date", Schema.DateFromString, "2024-05-01T00:00:00.000Z", new Date("2024-05-01T00:00:00.000Z")],
      ["JSON inside a text", Schema.parseJson(Schema.Struct({ a: Schema.Int })), "{\"a\": 1}", { a: 1 }],
      ["none of an optional text", Schema.optional(Schema.String), "None", undefined]
    ]
    for (const [name, field, written, expected] of cases) {
      it(name, () => {
        const result = text(field, written)
        assert.deepStrictEqual(value(result), expected)
        assert.strictEqual(repairs(result), 0)
      })
    }
  })

  describe("values that are mended and noted", () => {
    const Team = Schema.Literal("billing", "technical")
    const cases: ReadonlyArray<readonly [name: string, field: Field, written: string, value: unknown]> = [
      ["a number with underscores", Schema.Int, "1_000", 1000],
      ["a quoted number", Schema.Int, "\"42\"", 42],
      ["a number with a plus", Schema.Number, "+1", 1],
      ["a number with zeros before it", Schema.Number, "007", 7],
      ["a number without a zero before the point", Schema.Number, ".5", 0.5],
      ["a number with a point at its end", Schema.Number, "3.", 3],
      ["yes", Schema.Boolean, "Yes.", true],
      ["no", Schema.Boolean, "no", false],
      ["a literal in another case", Team, "BILLING", "billing"],
      ["a literal with a full stop", Team, "Technical.", "technical"],
      ["a quoted literal", Team, "'billing'", "billing"],
      ["a bold literal", Team, "**billing**", "billing"],
      ["a wrapped literal", Team, "Literal[billing]", "billing"],
      ["a wrapped and quoted literal", Team, "str['billing']", "billing"],
      ["an enum by its name", Schema.Enums(Plan), "Paid", Plan.Paid],
      ["an enum's value in another case", Schema.Enums(Plan), "Free Plan", Plan.Free],
      ["a map with single quotes", Schema.Record({ key: Schema.String, value: Schema.Int }), "{'a': 1}", { a: 1 }],
      ["Python words", Schema.Array(Schema.NullOr(Schema.Boolean)), "[True, None]", [true, null]],
      ["a trailing comma", Schema.Array(Schema.Int), "[1, 2,]", [1, 2]],
      ["an array in prose", Schema.Array(Schema.Int), "The numbers are [1, 2].", [1, 2]],
      ["one number for an array", Schema.Array(Schema.Int), "5", [5]],
      ["one literal for an array", Schema.Array(Team), "Billing", ["billing"]],
      ["one object for an array", Schema.Array(Schema.Struct({ a: Schema.Int })), "{\"a\": 1}", [{ a: 1 }]],
      ["one quoted text for an array", Schema.Array(Schema.String), "\"a\"", ["a"]],
      ["values inside of objects", Schema.Struct({ n: Schema.Int, t: Team }), "{\"n\": \"3\", \"t\": \"Billing\"}", {
        n: 3,
        t: "billing"
      }],
      ["nothing where null is possible", Schema.NullOr(Schema.Int), "", null],
      ["nothing for an optional number", Schema.optional(Schema.Int), "", undefined]
    ]
    for (const [name, field, written, expected] of cases) {
      it(name, () => {
        const result = text(field, written)
        assert.deepStrictEqual(value(result), expected)
        assert.isAbove(repairs(result), 0)
      })
    }

    const jsonCases: ReadonlyArray<readonly [name: string, field: Field, written: Json, value: unknown]> = [
      ["a number for text", Schema.String, 3, "3"],
      ["a boolean for text", Schema.String, true, "true"],
      ["text for a number", Schema.Int, "3", 3],
      ["text for a boolean", Schema.Boolean, "yes", true],
      ["a number for a string literal", Schema.Literal("1", "2"), 2, "2"],
      ["text for an integer literal", Schema.Literal(1, 2), "2", 2],
      ["text for null", Schema.NullOr(Schema.Int), "None", null],
      ["one text for an array", Schema.Array(Schema.String), "a", ["a"]]
    ]
    for (const [name, field, written, expected] of jsonCases) {
      it(`from JSON: ${name}`, () => {
        const result = json(field, written)
        assert.deepStrictEqual(value(result), expected)
        assert.isAbove(repairs(result), 0)
      })
    }
  })

  describe("values that are refused", () => {
    const cases: ReadonlyArray<readonly [name: string, field: Field, written: string, kind: string]> = [
      ["prose for a number", Schema.Number, "about 3", "type"],
      ["digits in groups, which could be a fraction", Schema.Number, "1,000", "type"],
      ["a number out of range", Schema.Number, "1e400", "type"],
      ["NaN", Schema.Number, "NaN", "type"],
      ["an integer JavaScript does not have", Schema.Int, "9007199254740993", "type"],
      ["a fraction for an integer", Schema.Int, "1.5", "type"],
      ["perhaps", Schema.Boolean, "perhaps", "type"],
      ["an unknown literal", Schema.Literal("a", "b"), "c", "type"],
      ["a literal in a sentence", Schema.Literal("a", "b"), "I choose a", "type"],
      ["a literal that two could mean", Schema.Literal("Us", "uS"), "us", "type"],
      ["an enum that value and name give differently", Schema.Enums(Plan), "FREE", "type"],
      ["nonsense for a map", Schema.Record({ key: Schema.String, value: Schema.Int }), "nonsense", "type"],
      ["a list in prose for an array of text", Schema.Array(Schema.String), "a, b and c", "type"],
      ["two arrays", Schema.Array(Schema.Int), "First [1], then [2].", "type"],
      ["JSON that is cut off", Schema.Array(Schema.Int), "[1, 2", "syntax"],
      [
        "JSON with an unescaped quote",
        Schema.Struct({ a: Schema.String }),
        "{\"a\": \"he said \"hi\" to me\"}",
        "syntax"
      ],
      ["a missing key", Schema.Struct({ a: Schema.Int, b: Schema.Int }), "{\"a\": 1}", "missing"],
      ["a key that every object inherits", Schema.Struct({ constructor: Schema.Unknown }), "{}", "missing"],
      ["the key __proto__", Schema.Struct({ a: Schema.Int }), "{\"a\": 1, \"__proto__\": {\"b\": 1}}", "forbiddenKey"],
      [
        "__proto__ in disguise",
        Schema.Struct({ a: Schema.Int }),
        "{\"a\": 1, \"\\u005f_proto__\": {}}",
        "forbiddenKey"
      ],
      ["one key with two values", Schema.Struct({ a: Schema.Int }), "{\"a\": 1, \"a\": 2}", "syntax"],
      ["too deep", Schema.Array(Schema.Unknown), "[".repeat(129) + "]".repeat(129), "depth"]
    ]
    for (const [name, field, written, kind] of cases) {
      it(name, () => {
        assert.deepStrictEqual(value(text(field, written)), [kind])
      })
    }

    it("from JSON: what is no scalar for text, null, and numbers for booleans", () => {
      assert.deepStrictEqual(value(json(Schema.String, ["a"])), ["type"])
      assert.deepStrictEqual(value(json(Schema.String, null)), ["type"])
      assert.deepStrictEqual(value(json(Schema.Boolean, 1)), ["type"])
      assert.deepStrictEqual(value(json(Schema.Int, true)), ["type"])
    })
  })

  it("reads JSON as deep as the limit", () => {
    const deep = "[".repeat(128) + "]".repeat(128)
    assert.strictEqual(JSON.stringify(value(text(Schema.Array(Schema.Unknown), deep))), deep)
  })

  it("never changes a prototype", () => {
    const names = Reflect.ownKeys(Object.prototype)
    const Free = Schema.Record({ key: Schema.String, value: Schema.Unknown })
    for (const key of ["__proto__", "\\u005f_proto__", "constructor", "prototype", "toString", "then"]) {
      const result = value(text(Free, `{"${key}": {"polluted": true}}`))
      if (Array.isArray(result)) continue
      assert.strictEqual(Object.getPrototypeOf(result), Object.prototype)
      assert.deepStrictEqual(Object.keys(Object(result)), [key])
    }
    const parsed: Json = JSON.parse("{\"a\": {\"__proto__\": {\"polluted\": true}}}")
    assert.deepStrictEqual(value(json(Schema.Record({ key: Schema.String, value: Free }), parsed)), ["forbiddenKey"])
    assert.deepStrictEqual(Reflect.ownKeys(Object.prototype), names)
    assert.notProperty({}, "polluted")
  })

  describe("missing outputs", () => {
    const signature = Signature.make({
      input: { q: Schema.String },
      output: {
        text: Schema.String,
        tone: Schema.optionalWith(Schema.String, { default: () => "calm" }),
        note: Schema.optionalWith(Schema.String, { exact: true }),
        score: Schema.NullOr(Schema.Number),
        count: Schema.Int
      }
    })

    it("take a default, stay absent, become null, or are a problem", () => {
      const full = decodeFields(signature, { text: { _tag: "Text", text: "x" }, count: { _tag: "Text", text: "1" } })
      const decoded = Either.getOrThrow(full)
      assert.deepStrictEqual(decoded.value, { text: "x", tone: "calm", score: null, count: 1 })
      assert.deepStrictEqual(decoded.encoded, { text: "x", tone: "calm", score: null, count: 1 })
      assert.deepStrictEqual(decoded.repairs, ["field \"score\": is missing and was read as null"])

      assert.deepStrictEqual(
        Either.getLeft(decodeFields(signature, {})).pipe((left) => left._tag === "Some" ? left.value : []),
        [
          { kind: "missing", field: "text", description: "field \"text\": is missing, expected string" },
          { kind: "missing", field: "count", description: "field \"count\": is missing, expected integer" }
        ]
      )
    })

    it("do not override what the answer says", () => {
      const decoded = Either.getOrThrow(decodeFields(signature, {
        text: { _tag: "Json", value: "x" },
        count: { _tag: "Json", value: 1 },
        tone: { _tag: "Json", value: "sharp" },
        note: { _tag: "Json", value: null },
        score: { _tag: "Json", value: 2 }
      }))
      assert.deepStrictEqual(decoded.value, { text: "x", tone: "sharp", score: 2, count: 1 })
    })
  })

  it("reports all problems, each with its place, what was expected and what came", () => {
    const signature = Signature.make({
      input: { q: Schema.String },
      output: {
        stars: Schema.Int.pipe(Schema.between(1, 5)),
        team: Schema.Literal("billing", "technical"),
        items: Schema.Array(Schema.Struct({ name: Schema.NonEmptyString, price: Schema.Number })),
        email: Schema.String.pipe(Schema.filter((s) => s.includes("@"), { message: () => "an address needs an @" }))
      }
    })
    const found = decodeFields(signature, {
      stars: { _tag: "Text", text: "7" },
      team: { _tag: "Text", text: "x".repeat(200) },
      items: { _tag: "Json", value: [{ name: "", price: 1 }, { name: "b", price: "free" }] },
      email: { _tag: "Text", text: "nobody" }
    })
    assert.deepStrictEqual(problems(found), [
      "field \"stars\": expected integer (between 1 and 5), got 7",
      `field "team": expected "billing" | "technical", got "${"x".repeat(78)}…`,
      "field \"items[0].name\": expected string (a non empty string), got \"\"",
      "field \"items[1].price\": expected number, got \"free\"",
      "field \"email\": an address needs an @, got \"nobody\""
    ])
  })

  it.effect("waits for a schema that has to", () =>
    Effect.gen(function*() {
      const Slow = Schema.transformOrFail(Schema.String, Schema.String, {
        strict: true,
        decode: (text, _, ast) =>
          text === ""
            ? ParseResult.fail(new ParseResult.Type(ast, text, "nothing to look up"))
            : Effect.as(Effect.promise(() => Promise.resolve()), text.toUpperCase()),
        encode: ParseResult.succeed
      })
      const fields = (text: string): Adapter.Parsed => ({
        fields: new Map([["x", { _tag: "Text", text }]]),
        repairs: []
      })
      assert.deepStrictEqual((yield* Adapter.decode(one(Slow), fields("a"))).value, { x: "A" })
      const [problem] = yield* Effect.flip(Adapter.decode(one(Slow), fields("")))
      assert.deepStrictEqual(problem, {
        kind: "type",
        field: "x",
        description: "field \"x\": expected string that can be decoded",
        got: "\"\" (nothing to look up)"
      })
    }))

  it("keeps what was said out of descriptions, also where a schema quotes it, and passes on what the schema says", () => {
    const Span = Schema.Struct({ from: Schema.Int, to: Schema.Int })
    const cases: ReadonlyArray<readonly [field: Field, written: string, description: string, got: string]> = [
      [
        Schema.NumberFromString,
        "s3cret",
        "field \"x\": expected string that can be decoded as NumberFromString",
        "\"s3cret\" (Unable to decode \"s3cret\" into a number)"
      ],
      [
        Schema.String.pipe(Schema.filter((text) => text === "" ? undefined : `${text} is not empty`)),
        "s3cret",
        "field \"x\": expected string",
        "\"s3cret\" (s3cret is not empty)"
      ],
      [
        Span.pipe(Schema.filter(({ from, to }) => from <= to || { path: ["to"], message: "ends before it begins" })),
        "{\"from\":2,\"to\":1}",
        "field \"x.to\": is refused by a check of its schema",
        "{\"from\":2,\"to\":1} (ends before it begins)"
      ]
    ]
    for (const [field, written, description, got] of cases) {
      assert.deepStrictEqual(text(field, written), Either.left([{ kind: "type", field: "x", description, got }]))
    }
  })

  describe("recursive types", () => {
    type List = number | ReadonlyArray<List>
    const List: Schema.Schema<List> = Schema.Union(Schema.Number, Schema.Array(Schema.suspend(() => List)))
    type Sum = { readonly op: "add" | "subtract"; readonly left: Sum | number; readonly right: number }
    const side = Schema.suspend((): Schema.Schema<Sum | number> => Schema.Union(Schema.Number, Sum))
    const operation = <const Op extends string>(op: Op) =>
      Schema.Struct({ op: Schema.Literal(op), left: side, right: Schema.Number })
    const Sum: Schema.Schema<Sum> = Schema.Union(operation("add"), operation("subtract"))

    it("of lists are mended inside, and nothing is wrapped in lists without end", () => {
      assert.deepStrictEqual(value(json(List, [["1"], "2"])), [[1], 2])
      assert.deepStrictEqual(value(text(List, "three")), ["type"])
      assert.deepStrictEqual(value(json(List, ["three"])), ["type"])
    })

    it("of several alternatives are mended at every depth, with time for each level once", () => {
      let written: Json = "1"
      let expected: Sum | number = 1
      for (let depth = 0; depth < 100; depth++) {
        const op = depth % 3 === 0 ? "add" : "subtract"
        written = { op, left: written, right: depth }
        expected = { op, left: expected, right: depth }
      }
      const decoded = json(Sum, written)
      assert.deepStrictEqual(value(decoded), expected)
      assert.strictEqual(repairs(decoded), 1)
    })
  })

  it("notes as many repairs and problems as there are, and tells a model of the first ones", () => {
    const signature = one(Schema.Array(Schema.Int))
    const many = (count: number, item: string) => Array.from({ length: count }, () => item)
    const numbers = many(300_000, "1")
    assert.strictEqual(repairs(text(Schema.Array(Schema.Int), JSON.stringify(numbers))), 300_000)
    assert.strictEqual(repairs(json(Schema.NullOr(Schema.Array(Schema.Int)), numbers)), 300_000)

    const found = Either.getLeft(json(Schema.Array(Schema.Int), many(1000, "one"))).pipe(Option.getOrThrow)
    assert.strictEqual(found.length, 1000)
    const lines = Adapter.feedback(signature, found).split("\n")
    assert.strictEqual(lines.length, 24)
    assert.deepStrictEqual(lines.slice(20, 22), [
      "- field \"x[19]\": expected number, got \"one\"",
      "- and 980 more"
    ])
    const error = new Adapter.AdapterParseError({
      adapter: "chat",
      path: "",
      problems: found,
      expected: ["x"],
      found: [],
      text: "",
      previous: []
    })
    assert.include(error.message, "field \"x[19]\": expected number; and 980 more. Expected fields: x; found: none")
  })

  it("keeps the remarks of the parser before its own", () => {
    const decoded = Effect.runSync(
      Adapter.decode(one(Schema.Int), { fields: new Map([["x", { _tag: "Text", text: "+1" }]]), repairs: ["earlier"] })
    )
    assert.deepStrictEqual(decoded.repairs, ["earlier", "field \"x\": \"+1\" was read as the number 1"])
  })

  it("keeps demonstrations encoded", () => {
    const decoded = Either.getOrThrow(text(Schema.NumberFromString, "12"))
    assert.deepStrictEqual(decoded.value, { x: 12 })
    assert.deepStrictEqual(decoded.encoded, { x: "12" })
  })

  describe("encodeInputs", () => {
    const signature = Signature.make({
      input: {
        question: Schema.String,
        when: Schema.optional(Schema.Date),
        passages: Schema.Array(Schema.String)
      },
      output: { answer: Schema.String }
    })
    const encode = (signature: Signature.Any, input: unknown) =>
      Effect.runSync(Effect.either(Adapter.encodeInputs(signature, input)))

    it("writes values as JSON and leaves out what is no field", () => {
      assert.deepStrictEqual(
        encode(signature, { question: "?", when: new Date(0), passages: ["a"], other: 1 }),
        Either.right({ question: "?", when: "1970-01-01T00:00:00.000Z", passages: ["a"] })
      )
      assert.deepStrictEqual(
        encode(signature, { question: "?", passages: [], when: undefined }),
        Either.right({ question: "?", passages: [] })
      )
      assert.deepStrictEqual(encode(one(Schema.String), { q: "?" }), Either.right({ q: "?" }))
    })

    it("reports everything that does not fit", () => {
      assert.deepStrictEqual(
        Either.mapLeft(encode(signature, { question: 3, passages: ["a", 1] }), (all) => all.map(({ field }) => field)),
        Either.left(["question", "passages"])
      )
      assert.deepStrictEqual(
        encode(one(Schema.String), {}),
        Either.left([{ kind: "missing", field: "q", description: "field \"q\": is missing, expected string" }])
      )
      assert.isTrue(Either.isLeft(encode(signature, "question")))
    })

    it("refuses what contains itself, is too deep for JSON, or has no text", () => {
      const anything = Signature.make({ input: { x: Schema.Unknown }, output: { answer: Schema.String } })
      const loop: { self?: unknown } = {}
      loop.self = loop
      let deep: unknown = []
      for (let depth = 0; depth < 100_000; depth++) deep = [deep]
      const bare: { [key: string]: unknown } = Object.create(null)
      bare["n"] = 1n
      for (const x of [loop, deep, bare, Symbol("x")]) {
        assert.deepStrictEqual(
          Either.mapLeft(encode(anything, { x }), (all) => all.map(({ field, kind }) => [field, kind])),
          Either.left([["x", "type"]])
        )
      }
    })

    it("refuses what JSON does not have", () => {
      const odd = Signature.make({
        input: { wait: Schema.DurationFromSelf, ratio: Schema.Number },
        output: { answer: Schema.String }
      })
      assert.deepStrictEqual(
        Either.mapLeft(
          encode(odd, { wait: Duration.seconds(1), ratio: Number.NaN }),
          (all) => all.map(({ field, kind }) => [field, kind])
        ),
        Either.left([["wait", "type"], ["ratio", "type"]])
      )
    })
  })

  it("says to a model what was wrong and what is wanted", () => {
    const signature = Signature.make({
      input: { q: Schema.String },
      output: { stars: Schema.Int, why: Schema.String }
    })
    assert.strictEqual(
      Adapter.feedback(signature, [
        { kind: "type", field: "stars", description: "field \"stars\": expected integer", got: "\"many\"" },
        { kind: "missing", field: "why", description: "field \"why\": is missing, expected string" }
      ]),
      [
        "Your answer could not be used:",
        "- field \"stars\": expected integer, got \"many\"",
        "- field \"why\": is missing, expected string",
        "",
        "Answer again in the same format, with `stars` (integer), `why` (string)."
      ].join("\n")
    )
  })

  it("lists recoveries in the order in which they are tried", () => {
    const adapter = ChatAdapter.adapter.pipe(Adapter.reask(2), Adapter.orElse(Adapter.reask(JsonAdapter.adapter)))
    assert.deepStrictEqual(
      adapter.recoveries.map((recovery) => recovery._tag === "Fallback" ? recovery.adapter.name : "again"),
      ["again", "again", "json", "again"]
    )
    assert.deepStrictEqual(ChatAdapter.adapter.recoveries, [])
  })
})
