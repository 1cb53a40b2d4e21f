import type * as Adapter from "@effect-dspy/core/Adapter"
import type { Json } from "@effect-dspy/core/Json"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as Signature from "@effect-dspy/core/Signature"
import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck, Schema } from "effect"
import { cases, decode, format, nasty, problemOf, qa, read, rendered, split, turns } from "./adapters.ts"

const adapter = JsonAdapter.adapter

const rate = Signature.make({
  instructions: "Rate it.",
  input: { review: Schema.String },
  output: { stars: Schema.Int, summary: Schema.String }
})

const value = (signature: Signature.Any, text: string): unknown => {
  const decoded = decode(adapter, signature, text)
  return Either.isRight(decoded) ? decoded.right.value : decoded.left.map(({ kind }) => kind)
}

const repairs = (signature: Signature.Any, text: string): ReadonlyArray<string> =>
  Either.getOrThrow(decode(adapter, signature, text)).repairs

const problem = problemOf(adapter)

describe("JsonAdapter", () => {
  describe("format", () => {
    it("one field in, one field out", () => {
      const request = format(adapter, qa, { inputs: { question: "Why?" } })
      assert.deepStrictEqual(turns(request), [
        `system: Input fields:
- \`question\` (string)

Output fields:
- \`answer\` (string)

Answer with one JSON object and nothing else, with these keys in this order:
{
  "answer": string
}

Task:
Answer the question.`,
        `user: [[ ## question ## ]]
Why?

Answer with one JSON object with the key "answer".`
      ])
      assert.isUndefined(request.responseFormat)
    })

    const typed = Signature.make({
      instructions: "Do it.",
      input: { text: Schema.String },
      output: {
        team: Schema.Literal("a", "b"),
        urgent: Schema.Boolean.annotations({ description: "whether it can wait" }),
        person: Schema.Struct({ name: Schema.String, age: Schema.optional(Schema.Int) }),
        counts: Schema.Record({ key: Schema.String, value: Schema.Int }),
        note: Schema.optional(Schema.String)
      }
    })

    it("types of all kinds, and demonstrations", () => {
      const person = { name: "Ann" }
      const request = format(adapter, typed, {
        demos: [
          { text: "one", team: "a", urgent: true, person, counts: { x: 1 }, note: "n" },
          { text: "two", urgent: false }
        ],
        inputs: { text: "three" }
      })
      assert.deepStrictEqual(turns(request), [
        `system: Input fields:
- \`text\` (string)

Output fields:
- \`team\` (one of: a; b)
- \`urgent\` (boolean): whether it can wait
- \`person\` ({ name: string, age?: integer })
- \`counts\` (Record<string, integer>)
- \`note\` (string, may be left out)

Answer with one JSON object and nothing else, with these keys in this order:
{
  "team": "a" | "b",
  "urgent": boolean,
  "person": { name: string, age?: integer },
  "counts": Record<string, integer>,
  "note": string | null
}

Task:
Do it.`,
        "user: This example does not give all fields.\n\n[[ ## text ## ]]\ntwo",
        "assistant: {\"team\":null,\"urgent\":false,\"person\":null,\"counts\":null}",
        "user: [[ ## text ## ]]\none",
        "assistant: {\"team\":\"a\",\"urgent\":true,\"person\":{\"name\":\"Ann\"},\"counts\":{\"x\":1},\"note\":\"n\"}",
        "user: [[ ## text ## ]]\nthree\n\nAnswer with one JSON object with the keys \"team\" (one of the values listed), then \"urgent\" (boolean), then \"person\" ({ name: string, age?: integer }), then \"counts\" (Record<string, integer>), then \"note\" (string, may be left out)."
      ])
    })

    it("asks for as much structure as the model can be held to", () => {
      assert.isUndefined(format(adapter, rate, { responseFormat: "none" }).responseFormat)
      assert.deepStrictEqual(format(adapter, rate, { responseFormat: "jsonObject" }).responseFormat, {
        _tag: "JsonObject"
      })
      assert.deepStrictEqual(format(adapter, rate, { responseFormat: "jsonSchema" }).responseFormat, {
        _tag: "JsonSchema",
        name: "answer",
        strict: true,
        schema: {
          type: "object",
          properties: { stars: { type: "integer", description: "an integer" }, summary: { type: "string" } },
          required: ["stars", "summary"],
          additionalProperties: false
        }
      })
    })

    const strict = (output: Parameters<typeof Signature.make>[0]["output"]): Json | undefined => {
      const request = format(adapter, Signature.make({ input: {}, output }), { responseFormat: "jsonSchema" })
      return request.responseFormat?._tag === "JsonSchema" ? request.responseFormat.schema["properties"] : undefined
    }

    it("strict schemas require every key and allow no other, at every level", () => {
      assert.deepStrictEqual(
        strict({
          who: Schema.Struct({ name: Schema.NonEmptyString, age: Schema.optional(Schema.Number) }),
          tags: Schema.NonEmptyArray(Schema.Literal("x", "y")),
          score: Schema.optional(Schema.NullOr(Schema.Number.pipe(Schema.between(0, 1)))),
          when: Schema.Date
        }),
        {
          who: {
            type: "object",
            properties: {
              name: { type: "string", description: "a non empty string" },
              age: { anyOf: [{ type: "number" }, { type: "null" }] }
            },
            required: ["name", "age"],
            additionalProperties: false
          },
          tags: { type: "array", items: { type: "string", enum: ["x", "y"] } },
          score: {
            anyOf: [{ type: "number", description: "a number between 0 and 1" }, { type: "null" }]
          },
          when: { type: "string", description: "a string to be decoded into a Date" }
        }
      )
    })

    it("strict schemas may be recursive", () => {
      interface Tree {
        readonly label: string
        readonly branches: ReadonlyArray<Tree>
      }
      const Tree: Schema.Schema<Tree> = Schema.Struct({
        label: Schema.String,
        branches: Schema.Array(Schema.suspend(() => Tree))
      }).annotations({ identifier: "Tree" })
      const signature = Signature.make({ input: {}, output: { tree: Tree } })
      const request = format(adapter, signature, { responseFormat: "jsonSchema" })
      assert.deepStrictEqual(
        request.responseFormat?._tag === "JsonSchema" ? request.responseFormat.schema : undefined,
        {
          type: "object",
          properties: { tree: { $ref: "#/$defs/Tree" } },
          required: ["tree"],
          additionalProperties: false,
          $defs: {
            Tree: {
              type: "object",
              properties: {
                label: { type: "string" },
                branches: { type: "array", items: { $ref: "#/$defs/Tree" } }
              },
              required: ["label", "branches"],
              additionalProperties: false
            }
          }
        }
      )
    })

    it("where no strict schema says it, any JSON object is asked for", () => {
      for (
        const field of [
          Schema.Record({ key: Schema.String, value: Schema.Int }),
          Schema.Unknown,
          Schema.Tuple(Schema.String, Schema.Int),
          Schema.Struct({ free: Schema.Array(Schema.Record({ key: Schema.String, value: Schema.String })) })
        ]
      ) {
        const signature = Signature.make({ input: {}, output: { x: field } })
        assert.deepStrictEqual(format(adapter, signature, { responseFormat: "jsonSchema" }).responseFormat, {
          _tag: "JsonObject"
        })
      }
    })
  })

  describe("parse", () => {
    it("a clean answer, without remarks", () => {
      assert.deepStrictEqual(value(rate, "{\"stars\": 4, \"summary\": \"Good.\"}"), { stars: 4, summary: "Good." })
      assert.deepStrictEqual(repairs(rate, "```json\n{\"stars\": 4, \"summary\": \"Good.\"}\n```\n"), [])
    })

    const same: ReadonlyArray<readonly [name: string, text: string]> = [
      ["prose around", "Sure, here it is: {\"answer\": \"x\"} Anything else?"],
      ["prose with braces before", "I use {curly} ones, {\"like\": \"this\"}, {} and {: {\"answer\": \"x\"}"],
      ["an array around", "[{\"answer\": \"x\"}]"],
      ["a fence within a sentence", "Result: ```{\"answer\": \"x\"}```"],
      ["a fence that is not closed", "```json\n{\"answer\": \"x\"}"],
      ["two objects", "{\"answer\": \"x\"} {\"answer\": \"y\"}"],
      [
        "our schema, echoed",
        "{\"type\":\"object\",\"properties\":{\"answer\":{\"type\":\"string\"}}}\n{\"answer\":\"x\"}"
      ],
      ["thoughts", "<think>{\"answer\": \"y\"}</think>{\"answer\": \"x\"}"],
      ["other keys", "{\"question\": \"?\", \"answer\": \"x\", \"more\": [{\"answer\": \"y\"}]}"],
      ["another case", "{\"Answer\": \"x\"}"],
      ["the same twice", "{\"answer\": \"x\", \"answer\": \"x\"}"],
      ["the same twice in another case", "{\"answer\": \"x\", \"Answer\": \"x\"}"],
      ["a trailing comma", "{\"answer\": \"x\",}"],
      ["single quotes", "{'answer': 'x'}"],
      ["unquoted keys", "{answer: \"x\"}"],
      ["comments", "{ // one\n \"answer\": /* two **/ \"x\" # three\n }"],
      ["no end", "{\"answer\": \"x\""],
      ["no end after a comma", "{\"answer\": \"x\", "],
      ["a byte order mark", "\uFEFF{\"answer\": \"x\"}"]
    ]
    for (const [name, text] of same) {
      it(`${name}: the same value`, () => {
        assert.deepStrictEqual(value(qa, text), { answer: "x" })
      })
    }

    const strings: ReadonlyArray<readonly [name: string, written: string, meant: string]> = [
      ["escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"", "\"\\/\b\f\n\r\té😀"],
      ["raw line breaks and tabs", "\"a\nb\tc\u0000\"", "a\nb\tc\u0000"],
      ["escapes that are none", "\"\\alpha \\_ \\u12 \\'\"", "\\alpha \\_ \\u12 '"],
      ["an apostrophe in double quotes", "\"it's\"", "it's"],
      ["a double quote in single quotes", "'say \"hi\"'", "say \"hi\""],
      ["a fence in a string", "\"```json\\n{}\\n```\"", "```json\n{}\n```"],
      ["half a character", "\"\\ud83d x\\ude00\\ud83d\"", "\uFFFD x\uFFFD\uFFFD"],
      [
        "markers in a string",
        "\"[[ ## answer ## ]]\\n\\\\[[ ## completed ## ]]\"",
        "[[ ## answer ## ]]\n\\[[ ## completed ## ]]"
      ],
      ["a number", "3.50", "3.50"],
      ["a number out of range", "-1e400", "-1e400"],
      ["an integer without loss", "9007199254740993", "9007199254740993"],
      ["a word", "true", "true"],
      ["an object, as it is written", "{ \"a\": [1, 2] }", "{ \"a\": [1, 2] }"]
    ]
    for (const [name, written, meant] of strings) {
      it(`for text: ${name}`, () => {
        assert.deepStrictEqual(value(qa, `{"answer": ${written}}`), { answer: meant })
      })
    }

    const refused: ReadonlyArray<readonly [name: string, text: string, kind: string]> = [
      ["nothing", "", "empty"],
      ["an empty fence", "```json\n```", "empty"],
      ["prose", "Paris", "syntax"],
      ["no object", "[\"x\"]", "syntax"],
      ["an object without the fields", "{\"reply\": \"x\"}", "syntax"],
      ["the fields one level down", "{\"result\": {\"answer\": \"x\"}}", "syntax"],
      ["null", "{\"answer\": null}", "type"],
      ["a string that does not end", "{\"answer\": \"x", "syntax"],
      ["a value that does not end", "{\"answer\": [1, 2", "syntax"],
      ["a number that may go on", "{\"answer\": 12", "syntax"],
      ["an unescaped quote", "{\"answer\": \"he said \"hi\" to me\"}", "syntax"],
      ["an unescaped apostrophe", "{'answer': 'it's'}", "syntax"],
      ["a missing comma", "{\"answer\": \"x\" \"more\": 1}", "syntax"],
      ["text without quotes", "{\"answer\": hello world}", "syntax"],
      ["two values", "{\"answer\": \"x\", \"answer\": \"y\"}", "syntax"],
      ["two values in another case", "{\"answer\": \"x\", \"Answer\": \"y\"}", "syntax"],
      ["two values further down", "{\"answer\": \"x\", \"more\": {\"a\": 1, \"a\": 2}}", "syntax"],
      ["the key __proto__", "{\"answer\": \"x\", \"__proto__\": {}}", "forbiddenKey"],
      ["__proto__ in disguise", "{\"\\u005f_proto__\": {\"answer\": \"y\"}, \"answer\": \"x\"}", "forbiddenKey"],
      ["__proto__ further down", "{\"answer\": \"x\", \"more\": [{'__proto__': 1}]}", "forbiddenKey"],
      ["too deep", `{"answer": ${"[".repeat(128)}${"]".repeat(128)}}`, "depth"],
      ["too long", `{"answer": "${"a".repeat(10 * 1024 * 1024)}"}`, "size"]
    ]
    for (const [name, text, kind] of refused) {
      it(`refused: ${name}`, () => {
        assert.deepStrictEqual(value(qa, text), [kind])
      })
    }

    const One = Signature.make({ input: { q: Schema.String }, output: { n: Schema.Number } })
    const numbers: ReadonlyArray<readonly [written: string, value: unknown]> = [
      ["-0", { n: 0 }],
      ["01", { n: 1 }],
      ["+1", { n: 1 }],
      [".5", { n: 0.5 }],
      ["1.", { n: 1 }],
      ["1_000", { n: 1000 }],
      ["\"3\"", { n: 3 }],
      ["1e400", ["type"]],
      ["NaN", ["type"]],
      ["-Infinity", ["type"]],
      ["9007199254740993", ["type"]],
      ["100000000000000000000", { n: 1e20 }],
      ["0x10", ["syntax"]],
      ["1.2.3", ["syntax"]],
      ["1-2", ["syntax"]]
    ]
    for (const [written, expected] of numbers) {
      it(`the number ${written}`, () => {
        assert.deepStrictEqual(value(One, `{"n": ${written}}`), expected)
      })
    }

    it("fields named like the keys of a schema or of every object", () => {
      const text = "{\"type\":\"object\",\"constructor\":\"c\",\"then\":\"t\"}"
      const answer: unknown = JSON.parse(text)
      const signature = Signature.make({
        input: { q: Schema.String },
        output: {
          ...Object.fromEntries(["type", "constructor", "then"].map((name) => [name, Schema.String])),
          properties: Schema.optional(Schema.Unknown)
        }
      })
      assert.deepStrictEqual(value(signature, text), answer)
      const echo = { type: "object", properties: { type: { type: "string" } }, required: [] }
      assert.deepStrictEqual(value(signature, `${JSON.stringify(echo)}\n${text}`), answer)
      assert.deepStrictEqual(value(signature, "{\"type\": \"x\"}"), ["missing", "missing"])
    })

    it("says what was mended", () => {
      assert.deepStrictEqual(
        repairs(rate, "Well: {'stars': +4, summary: True, \"why\": None, // so\n}"),
        [
          "the JSON was mended: single quotes",
          "the JSON was mended: the spelling of a number",
          "the JSON was mended: unquoted keys",
          "the JSON was mended: Python words",
          "the JSON was mended: comments",
          "the JSON was mended: a trailing comma",
          "the value of \"summary\" is not a string and was read as text",
          "the key \"why\" was left out",
          "text around the JSON object was left out"
        ]
      )
    })

    it("says what is wrong", () => {
      assert.deepStrictEqual(problem(qa, "{\"answer\" \"x\"}"), {
        kind: "syntax",
        description:
          "the answer has no complete JSON object with \"answer\": the JSON is not valid: something unexpected",
        got: "\"\\\"\""
      })
      assert.deepStrictEqual(problem(qa, "{\"answer\": \"x"), {
        kind: "syntax",
        description: "the answer ends inside the value of \"answer\""
      })
      assert.deepStrictEqual(problem(qa, "{a} ".repeat(100)), {
        kind: "syntax",
        description: "none of the first 32 JSON objects in the answer has \"answer\""
      })
    })

    it("a missing field is a problem, an absent optional one is not", () => {
      const signature = Signature.make({
        input: { q: Schema.String },
        output: { a: Schema.String, b: Schema.optional(Schema.Number), c: Schema.Boolean }
      })
      assert.deepStrictEqual(value(signature, "{\"a\": \"x\", \"c\": true}"), { a: "x", c: true })
      assert.deepStrictEqual(value(signature, "{\"a\": \"x\", \"b\": null, \"c\": true}"), { a: "x", c: true })
      assert.deepStrictEqual(value(signature, "{\"a\": \"x\"}"), ["missing"])
      // It may be that the optional field was about to come.
      assert.deepStrictEqual(value(signature, "{\"a\": \"x\", \"c\": true"), ["syntax"])
    })

    it("never changes a prototype", () => {
      const names = Reflect.ownKeys(Object.prototype)
      const Free = Signature.make({
        input: { q: Schema.String },
        output: { x: Schema.Record({ key: Schema.String, value: Schema.Unknown }) }
      })
      for (const key of ["__proto__", "\\u005f\\u005fproto__", "constructor", "prototype", "toString"]) {
        value(Free, `{"x": {"${key}": {"polluted": true}}, "${key}": {"polluted": true}}`)
      }
      assert.deepStrictEqual(Reflect.ownKeys(Object.prototype), names)
      assert.notProperty({}, "polluted")
    })
  })

  describe("stream", () => {
    it("strings come unescaped, other values as they are written", () => {
      const pieces = [
        "Well: {\"st",
        "ars\": [1",
        ", {\"a\": ",
        "2}], \"sum",
        "mary\" : \"a\\",
        "n\\ud83",
        "d\\ude00",
        "b\", "
      ]
      const seen: Array<ReadonlyArray<string>> = []
      adapter.parser(rate, (parser) => {
        let state = parser.initial
        for (const piece of [...pieces, "\"x\": \"y\"", "}"]) {
          const [next, events] = parser.step(state, piece)
          state = next
          seen.push(events.map((event) => event._tag === "FieldDelta" ? event.text : `${event._tag} ${event.field}`))
        }
      })
      assert.deepStrictEqual(seen, [
        [],
        ["FieldStart stars", "[1"],
        [", {\"a\": "],
        ["2}]", "FieldEnd stars"],
        ["FieldStart summary", "a"],
        ["\n"],
        ["😀"],
        ["b", "FieldEnd summary"],
        [],
        []
      ])
    })

    it("as many pieces as come before the object turns out to be the answer", () => {
      const signature = Signature.make({ input: { q: Schema.String }, output: { type: Schema.String } })
      const pieces = Array.from(JSON.stringify({ type: "x".repeat(300_000) }))
      const { events, parsed } = read(adapter, signature, pieces)
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), ["FieldStart", "FieldDelta", "FieldEnd"])
      assert.isTrue(Either.isRight(parsed))
    })

    it("any split gives the same events, whose deltas are the fields", () => {
      const answers = FastCheck.array(
        FastCheck.oneof(
          nasty,
          nasty.map((text) => JSON.stringify(text)),
          FastCheck.json(),
          FastCheck.constantFrom(
            "{\"stars\": ",
            ", \"summary\": ",
            "{",
            "}",
            "\"type\": \"object\", ",
            "'",
            "\\ud83d",
            "\\u",
            "1.5,"
          )
        ),
        { maxLength: 10 }
      ).map((parts) => parts.join(""))
      FastCheck.assert(
        FastCheck.property(answers, FastCheck.array(FastCheck.nat(), { maxLength: 20 }), (text, places) => {
          const whole = read(adapter, rate, [text])
          assert.deepStrictEqual(read(adapter, rate, split(text, places)), whole)
          assert.deepStrictEqual(read(adapter, rate, Array.from(text)), whole)
        }),
        { seed: 21, numRuns: 2000 }
      )
      FastCheck.assert(
        FastCheck.property(
          cases,
          FastCheck.array(FastCheck.nat(), { maxLength: 20 }),
          ({ encoded, signature }, places) => {
            const text = rendered(adapter, signature, encoded)
            const whole = read(adapter, signature, [text])
            assert.deepStrictEqual(read(adapter, signature, split(text, places)), whole)
            for (const [field, value] of Object.entries(encoded)) {
              const deltas = whole.events.flatMap((event) =>
                event._tag === "FieldDelta" && event.field === field ? [event.text] : []
              ).join("")
              assert.strictEqual(deltas, typeof value === "string" ? value : JSON.stringify(value))
            }
          }
        ),
        { seed: 22, numRuns: 300 }
      )
    })
  })

  describe("an answer that is not quite right gives the same value", () => {
    interface Style {
      readonly string?: (text: string) => string
      readonly key?: (text: string) => string
      readonly number?: (value: number) => string
      readonly word?: (value: boolean | null) => string
      readonly space?: string
      readonly last?: string
    }
    const written = (value: Json, style: Style): string => {
      const space = style.space ?? ""
      const list = (items: ReadonlyArray<string>) =>
        items.length === 0 ? space : space + items.join(`${space},${space}`) + (style.last ?? "") + space
      const string = style.string ?? JSON.stringify
      if (typeof value === "string") return string(value)
      if (typeof value === "number") return (style.number ?? String)(value)
      if (typeof value !== "object" || value === null) return (style.word ?? String)(value)
      return Array.isArray(value)
        ? `[${list(value.map((item: Json) => written(item, style)))}]`
        : `{${
          list(Object.entries(value).map(([key, item]) => `${(style.key ?? string)(key)}:${written(item, style)}`))
        }}`
    }
    const escaped = (text: string) =>
      Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")
    const styles: ReadonlyArray<readonly [name: string, style: Style]> = [
      ["white space and comments", { space: " \r\n// it's \"so\"\n/* {} */\t# [\n\u2028" }],
      ["trailing commas", { last: "," }],
      ["single quotes", {
        string: (text) => `'${JSON.stringify(text).slice(1, -1).replaceAll("\\\"", "\"").replaceAll("'", "\\'")}'`
      }],
      ["everything escaped", { string: (text) => `"${escaped(text)}"` }],
      ["nothing escaped that need not be", {
        string: (text) => `"${text.replaceAll("\\", "\\\\").replaceAll("\"", "\\\"")}"`
      }],
      ["unquoted keys", { key: (text) => /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(text) ? text : JSON.stringify(text) }],
      ["Python words", { word: (value) => value === null ? "None" : value ? "True" : "False" }],
      ["other spellings of numbers", {
        number: (value) => value < 0 ? String(value).replace("-0.", "-.") : `+0${value}`.replace(/^\+00?\./, ".")
      }]
    ]
    const check = (name: string, seed: number, change: (encoded: Json, junk: string) => string) => {
      it(name, () => {
        FastCheck.assert(
          FastCheck.property(cases, nasty, ({ encoded, signature, value }, junk) => {
            const text = change(encoded, junk)
            const decoded = Either.getOrThrowWith(
              decode(adapter, signature, text),
              (all) => new Error(`${text}\n${all.map(({ description }) => description).join("\n")}`)
            )
            assert.deepStrictEqual(decoded.value, value, text)
          }),
          { seed, numRuns: 200 }
        )
      })
    }
    for (const [name, style] of styles) check(name, 24, (encoded) => written(encoded, style))
    check(
      "prose and fences around",
      25,
      (encoded, junk) =>
        `${junk.replaceAll("{", "").replaceAll("<think", "")}\n\`\`\`json\n${JSON.stringify(encoded)}\n\`\`\`\n${junk}`
    )
    check(
      "thoughts first",
      26,
      (encoded, junk) => `<think>{"a": 1}${junk.replaceAll("</think>", "")}</think>${JSON.stringify(encoded)}`
    )
    check("all fields twice", 27, (encoded) => {
      const text = JSON.stringify(encoded)
      return text === "{}" ? text : `${text.slice(0, -1)},${text.slice(1)}`
    })
    check("more fields", 28, (encoded, junk) => {
      const text = JSON.stringify(encoded)
      return text === "{}" ? text : JSON.stringify({ zz: junk, ...Object(encoded), zzz: [{ a: junk }] })
    })

    it("cut off anywhere, it is refused unless all fields are there", () => {
      FastCheck.assert(
        FastCheck.property(cases, FastCheck.nat(), ({ encoded, signature, value }, place) => {
          const text = JSON.stringify(encoded)
          const decoded = decode(adapter, signature, text.slice(0, place % text.length))
          if (Either.isRight(decoded)) assert.deepStrictEqual(decoded.right.value, value)
          else assert.isNotEmpty(decoded.left)
        }),
        { seed: 29, numRuns: 500 }
      )
    })
  })

  it("hostile texts are read in one pass, or refused", () => {
    const shapes: ReadonlyArray<readonly [shape: string, kind: Adapter.Problem["kind"]]> = [
      ["{\"".repeat(500_000), "syntax"],
      ["{\"answer\": ".repeat(100_000), "depth"],
      [`{"answer": ${"[".repeat(1_000_000)}`, "depth"],
      [`{"answer": "${"\\".repeat(1_000_001)}`, "syntax"],
      [`{"answer": "${"\\u".repeat(300_000)}`, "syntax"],
      [`{"answer": ${" ".repeat(1_000_000)}`, "syntax"],
      [`{"answer": ${"9".repeat(1_000_000)}`, "syntax"],
      [`{"answer": ${"/*".repeat(500_000)}`, "syntax"],
      [`{"answer": ${"\"x\" ".repeat(300_000)}`, "syntax"],
      ["{a:".repeat(300_000), "depth"],
      [`${"a".repeat(1_000_000)}!`, "syntax"],
      [`{${"a".repeat(1_000_000)}!`, "syntax"],
      ["```".repeat(300_000), "empty"],
      ["{}".repeat(500_000), "syntax"]
    ]
    for (const [shape, kind] of shapes) {
      const pieces = Array.from({ length: Math.ceil(shape.length / 7) }, (_, i) => shape.slice(7 * i, 7 * i + 7))
      for (const { parsed } of [read(adapter, qa, pieces), read(adapter, qa, [shape])]) {
        assert.strictEqual(Either.isLeft(parsed) ? parsed.left.kind : "", kind, shape.slice(0, 20))
      }
    }
  })
})
