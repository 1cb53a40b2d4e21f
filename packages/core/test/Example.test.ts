import * as Example from "@effect-dspy/core/Example"
import * as Signature from "@effect-dspy/core/Signature"
import { FileSystem } from "@effect/platform"
import { SystemError } from "@effect/platform/Error"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck, Option, Schema, Struct } from "effect"
import { print, rows } from "../src/internal/csv.ts"

const route = Signature.make({
  input: { ticket: Schema.String },
  output: { team: Schema.Literal("billing", "technical"), urgent: Schema.Boolean, note: Schema.optional(Schema.String) }
})
const fields = { inputs: route.input, labels: route.output }

const problems = <A, R>(self: Effect.Effect<A, Example.DatasetError, R>) =>
  Effect.map(Effect.flip(self), (error) => error.problems.map(({ description, line }) => [line, description] as const))

describe("Example", () => {
  it("gives equal data equal ids", () => {
    const one = Example.make({ inputs: { a: 1, b: 2 }, labels: { c: [3] } })
    const two = Example.make({ inputs: { b: 2, a: 1 }, labels: { c: [3] } })
    const other = Example.make({ inputs: { a: 1, b: 2 }, labels: { c: [4] } })
    assert.strictEqual(one.id, two.id)
    assert.notStrictEqual(one.id, other.id)
    assert.match(one.id, /^[0-9a-f]{16}$/)
    const at = (ms: number) => Example.make({ inputs: { at: new Date(ms), n: 1n }, labels: {} }).id
    assert.strictEqual(at(1), at(1))
    assert.notStrictEqual(at(1), at(2))
    assert.strictEqual(Example.make({ id: "mine", inputs: {}, labels: {} }).id, "mine")
  })
})

describe("fromJsonl", () => {
  it.effect("decodes both sides of each row, and drops what neither names", () =>
    Effect.gen(function*() {
      const text = "\uFEFF{\"ticket\":\"a\",\"team\":\"billing\",\"urgent\":true,\"other\":1}\r\n\r\n" +
        "{\"ticket\":\"b\",\"team\":\"technical\",\"urgent\":false,\"note\":\"\"}"
      const examples = yield* Example.fromJsonl(text, fields)
      assert.deepStrictEqual(examples.map(Struct.pick("inputs", "labels")), [
        { inputs: { ticket: "a" }, labels: { team: "billing", urgent: true } },
        { inputs: { ticket: "b" }, labels: { team: "technical", urgent: false, note: "" } }
      ])
      assert.strictEqual(examples[0]?.id, Example.make(examples[0]!).id)
    }))

  it.effect("reports every bad row with its line, and no example", () =>
    Effect.gen(function*() {
      const text = [
        `{"ticket":"a","team":"billing","urgent":true}`,
        ``,
        `{"ticket":"b","team":"sales"}`,
        `{"ticket":"c",`,
        `[1]`,
        `{"ticket":"d","team":"billing","urgent":1e999}`,
        `{"ticket":"e","team":"billing","urgent":true,"__proto__":{}}`,
        `{"ticket":"a","team":"billing","urgent":true}`
      ].join("\n")
      const found = yield* problems(Example.fromJsonl(text, fields))
      assert.deepStrictEqual(found.map(([line]) => line), [3, 3, 4, 5, 6, 7, 8])
      assert.strictEqual(found[0]?.[1], `field "team": expected "billing" | "technical", got "sales"`)
      assert.strictEqual(found[1]?.[1], `field "urgent": is missing, expected boolean`)
      assert.include(found[2]?.[1], "ends too early at column 15")
      assert.strictEqual(found[3]?.[1], "the row is not an object")
      assert.strictEqual(found[4]?.[1], "a number is too large")
      assert.include(found[5]?.[1], "__proto__")
      assert.include(found[6]?.[1], "the same example as line 1")
    }))

  it.effect("counts as many problems as one row may have", () =>
    Effect.gen(function*() {
      const row = JSON.stringify({ all: Array.from({ length: 200_000 }, () => "x") })
      const inputs = Schema.Struct({ all: Schema.Array(Schema.Int) })
      const error = yield* Effect.flip(Example.fromJsonl(row, { inputs, labels: Schema.Struct({}) }))
      assert.deepStrictEqual([error.count, error.problems.length], [200_000, 50])
    }))

  it.effect("lists 50 problems and counts the rest", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Example.fromJsonl("{}\n".repeat(40), fields))
      assert.strictEqual(error.count, 120)
      assert.lengthOf(error.problems, 50)
      assert.include(
        error.message,
        "the JSONL text has 120 problems:\n  line 1: field \"ticket\": is missing, expected string\n"
      )
      assert.isTrue(error.message.endsWith("and 70 more"))
    }))

  it.effect("takes ids from a field", () =>
    Effect.gen(function*() {
      const row = (id: string) => `{"id":${id},"ticket":"a","team":"billing","urgent":true}\n`
      const named = { ...fields, id: "id" }
      const examples = yield* Example.fromJsonl(row("7") + row("\"x\""), named)
      assert.deepStrictEqual(examples.map((example) => example.id), ["7", "x"])
      assert.deepStrictEqual(yield* problems(Example.fromJsonl(row("7") + row("\"7\"") + row("null"), named)), [
        [2, "the id \"7\" is that of line 1"],
        [3, `field "id": expected a text or a number as id, got null`]
      ])
    }))

  it.effect("values that JSON cannot hold still have ids of their own", () =>
    Effect.gen(function*() {
      const when = { inputs: Schema.Struct({ at: Schema.Date }), labels: Schema.Struct({}) }
      const examples = yield* Example.fromJsonl(`{"at":"2020-01-01"}\n{"at":"2021-01-01"}`, when)
      assert.deepStrictEqual(examples.map((example) => example.inputs.at.getUTCFullYear()), [2020, 2021])
      const ids = [new Map([[1, 2]]), new Map([[1, 3]]), new Set([1]), new Set([2]), 1n, 2n, new Date(0), new Date(1)]
        .map((value) => Example.make({ inputs: { value }, labels: {} }).id)
      assert.strictEqual(new Set(ids).size, ids.length)
    }))

  it.effect("an inherited property is no field", () =>
    Effect.gen(function*() {
      const schema = Schema.Struct({ constructor: Schema.Object })
      const found = yield* problems(Example.fromJsonl("{}", { inputs: schema, labels: Schema.Struct({}) }))
      assert.deepStrictEqual(found, [[1, `field "constructor": is missing, expected object`]])
    }))
})

describe("fromJson", () => {
  it.effect("reads an array and knows the line of each element", () =>
    Effect.gen(function*() {
      const good = `{"ticket":"a, [\\"{","team":"billing","urgent":true}`
      const [example] = yield* Example.fromJson(`\uFEFF[${good}]`, fields)
      assert.strictEqual(example?.inputs.ticket, "a, [\"{")
      assert.deepStrictEqual(yield* Example.fromJson("[]", fields), [])
      const text = `[\n  ${good},\n  {\n    "ticket": "b", "urgent": true\n  }, [1,\n2],\n\n  7]`
      assert.deepStrictEqual(yield* problems(Example.fromJson(text, fields)), [
        [3, `field "team": is missing, expected "billing" | "technical"`],
        [5, "the row is not an object"],
        [8, "the row is not an object"]
      ])
    }))

  it.effect("says where the text stops being JSON", () =>
    Effect.gen(function*() {
      const [[line, description] = []] = yield* problems(Example.fromJson("[\n{},\n{]", fields))
      assert.isUndefined(line)
      assert.include(description, "at line 3, column 2")
      assert.deepStrictEqual(yield* problems(Example.fromJson("{}", fields)), [
        [undefined, "the JSON is not an array of objects"]
      ])
    }))
})

describe("fromCsv", () => {
  it.effect("reads quotes, line breaks in cells, and types", () =>
    Effect.gen(function*() {
      const text = "\uFEFFticket, team,urgent,note\r\n" +
        "\"It \"\"crashes\"\",\r\nagain\",technical,True,\r\n" +
        "\r\n" +
        "plain,billing, false ,\"\"\r\n"
      const examples = yield* Example.fromCsv(text, fields)
      assert.deepStrictEqual(examples.map(Struct.pick("inputs", "labels")), [
        { inputs: { ticket: "It \"crashes\",\r\nagain" }, labels: { team: "technical", urgent: true } },
        { inputs: { ticket: "plain" }, labels: { team: "billing", urgent: false } }
      ])
    }))

  it.effect("a cell is text where text is taken, and JSON elsewhere", () =>
    Effect.gen(function*() {
      const schema = Schema.Struct({
        text: Schema.String,
        code: Schema.NumberFromString,
        many: Schema.Array(Schema.String),
        count: Schema.Int,
        none: Schema.NullOr(Schema.Number)
      })
      const text = `text,code,many,count,none\n007,7,"[""a"",""b""]",3,\n,8,[],1e2,2.5\n`
      const examples = yield* Example.fromCsv(text, { inputs: schema, labels: Schema.Struct({}) })
      assert.deepStrictEqual(examples.map((example) => example.inputs), [
        { text: "007", code: 7, many: ["a", "b"], count: 3, none: null },
        { text: "", code: 8, many: [], count: 100, none: 2.5 }
      ])
      const [problem] = yield* problems(
        Example.fromCsv("text,code,many,count,none\na,1,[],three,", { inputs: schema, labels: Schema.Struct({}) })
      )
      assert.deepStrictEqual(problem, [2, `field "count": expected number, got "three"`])
    }))

  it.effect("names the line on which a bad record starts", () =>
    Effect.gen(function*() {
      const text = [
        "ticket,team,urgent",
        "\"two\nlines\",billing,true",
        "short,billing",
        "a\"b,billing,true",
        "\"a\"b,billing,true",
        "x,sales,maybe",
        "\"open,billing,true"
      ].join("\n")
      const found = yield* problems(Example.fromCsv(text, fields))
      assert.deepStrictEqual(found.map(([line]) => line), [4, 5, 6, 7, 7, 8])
      assert.strictEqual(found[0]?.[1], "the row has 2 cells, the header 3")
      assert.include(found[1]?.[1], "a quote stands inside a cell")
      assert.include(found[2]?.[1], "between a closing quote and the next comma")
      assert.include(found[5]?.[1], "never closed")
    }))

  it.effect("says what is wrong with the header, once", () =>
    Effect.gen(function*() {
      const named = { ...fields, id: "key" }
      assert.deepStrictEqual(yield* problems(Example.fromCsv("ticket,ticket,Team\na,b,c\n", named)), [
        [1, `no column "team", "urgent", "key"; the header has "ticket", "ticket", "Team"`],
        [1, `more than one column "ticket"; the header has "ticket", "ticket", "Team"`]
      ])
      assert.deepStrictEqual(yield* problems(Example.fromCsv("\n\n", fields)), [[1, "there is no header line"]])
      // Of a file that is no dataset, a header may be anything.
      const [[, wide] = []] = yield* problems(
        Example.fromCsv(Array.from({ length: 50_000 }, (_, n) => `c${n}`).join(","), fields)
      )
      assert.match(wide ?? "", /; the header has "c0", .*"c19", and 49980 more$/)
    }))

  it("print and rows are each other's inverse", () => {
    const cell = FastCheck.oneof(
      FastCheck.string({ unit: "binary" }),
      FastCheck.stringOf(FastCheck.constantFrom("\"", ",", "\n", "\r", "\r\n", "a", " "))
    )
    const table = FastCheck.integer({ min: 1, max: 4 }).chain((width) =>
      FastCheck.array(FastCheck.array(cell, { minLength: width, maxLength: width }))
    )
    FastCheck.assert(
      FastCheck.property(table, (table) => {
        const read = rows(print(table))
        assert.deepStrictEqual(read.map((row) => row._tag === "Cells" ? row.cells : row), table)
        let line = 1
        read.forEach((row, index) => {
          assert.strictEqual(row.line, line)
          line += print([table[index]!]).split(/\r\n|\r|\n/).length - 1
        })
      }),
      { seed: 4, numRuns: 150 }
    )
  })
})

describe("load", () => {
  const files: { readonly [path: string]: string | Uint8Array } = {
    "a.jsonl": `{"ticket":"a","team":"billing","urgent":true}`,
    "b.NDJSON": `{"ticket":"a","team":"billing","urgent":true}`,
    "dir.d/c.json": `[{"ticket":"a","team":"billing","urgent":true}]`,
    "d.csv": "ticket,team,urgent\na,billing,true",
    "bad.csv": "ticket,team\na,billing",
    "utf16.csv": Uint8Array.from([0xff, 0xfe, 0x61, 0])
  }
  const layer = FileSystem.layerNoop({
    readFile: (path) => {
      const content = files[path]
      return content === undefined
        ? Effect.fail(
          new SystemError({
            reason: "NotFound",
            module: "FileSystem",
            method: "readFile",
            description: path
          })
        )
        : Effect.succeed(typeof content === "string" ? new TextEncoder().encode(content) : content)
    }
  })

  it.effect("reads each kind by its extension, to the same examples", () =>
    Effect.gen(function*() {
      const loaded = yield* Effect.forEach(
        ["a.jsonl", "b.NDJSON", "dir.d/c.json", "d.csv"],
        (path) => Example.load(path, fields)
      )
      for (const examples of loaded) assert.deepStrictEqual(examples, loaded[0])
      assert.deepStrictEqual(loaded[0]?.[0]?.labels, { team: "billing", urgent: true })
    }).pipe(Effect.provide(layer)))

  it.effect("names the file in every failure", () =>
    Effect.gen(function*() {
      const messageOf = (path: string) => Effect.map(Effect.flip(Example.load(path, fields)), (error) => error.message)
      assert.include(yield* messageOf("bad.csv"), `bad.csv has 1 problem:\n  line 1: no column "urgent"`)
      assert.include(yield* messageOf("utf16.csv"), "utf16.csv has 1 problem:\n  the text is not UTF-8")
      assert.include(yield* messageOf("data.parquet"), "the name must end in .jsonl, .ndjson, .json, .csv")
      assert.include(yield* messageOf("missing.csv"), "missing.csv")
    }).pipe(Effect.provide(layer)))
})

describe("split", () => {
  const examples = FastCheck.uniqueArray(FastCheck.nat(100_000), { maxLength: 200 }).map((ns) =>
    ns.map((n) => Example.make({ inputs: { n }, labels: { kind: n % 3 } }))
  )
  const shares = FastCheck.record({
    a: FastCheck.nat(5),
    b: FastCheck.nat(5),
    c: FastCheck.integer({ min: 1, max: 5 })
  })
  const by = (example: Example.Example<{ readonly n: number }, { readonly kind: number }>) =>
    String(example.labels.kind)

  it("covers every example once, in the given proportions, also within each group", () => {
    FastCheck.assert(
      FastCheck.property(examples, shares, FastCheck.nat(), (examples, shares, seed) => {
        const parts = Example.split(examples, shares, { seed, by })
        const all = [...parts.a, ...parts.b, ...parts.c]
        assert.deepStrictEqual(all.map(({ id }) => id).sort(), examples.map(({ id }) => id).sort())
        const total = shares.a + shares.b + shares.c
        for (const name of ["a", "b", "c"] as const) {
          assert.isAtMost(Math.abs(parts[name].length - shares[name] / total * all.length), 2)
          for (const kind of ["0", "1", "2"]) {
            const group = examples.filter((example) => by(example) === kind).length
            const got = parts[name].filter((example) => by(example) === kind).length
            assert.isAtMost(Math.abs(got - shares[name] / total * group), 3)
          }
        }
      }),
      { seed: 11, numRuns: 200 }
    )
  })

  it("depends on seed and ids, not on the order of the examples", () => {
    FastCheck.assert(
      FastCheck.property(examples, shares, FastCheck.nat(), (examples, shares, seed) => {
        const ids = (parts: { readonly [name: string]: ReadonlyArray<{ readonly id: string }> }) =>
          Object.values(parts).map((part) => part.map(({ id }) => id))
        assert.deepStrictEqual(
          ids(Example.split(examples.toReversed(), shares, { seed, by })),
          ids(Example.split(examples, shares, { seed, by }))
        )
      }),
      { seed: 12, numRuns: 100 }
    )
  })

  it("another seed gives another split, and sorted data comes out mixed", () => {
    const sorted = Array.from(
      { length: 100 },
      (_, n) => Example.make({ inputs: { n }, labels: { kind: n < 50 ? 0 : 1 } })
    )
    const one = Example.split(sorted, { train: 0.5, test: 0.5 }, { seed: 1 })
    const two = Example.split(sorted, { train: 0.5, test: 0.5 }, { seed: 2 })
    assert.notDeepEqual(one.train.map(({ id }) => id), two.train.map(({ id }) => id))
    const firsts = one.train.slice(0, 20).filter(({ labels }) => labels.kind === 0).length
    assert.isTrue(firsts > 2 && firsts < 18)
    assert.lengthOf(one.train, 50)
  })

  it("refuses shares that are none", () => {
    for (const share of [-1, Number.NaN, Infinity]) {
      assert.throws(() => Example.split([], { a: 1, b: share }, { seed: 1 }), /shares must be positive/)
    }
    assert.throws(() => Example.split([], { a: 0 }, { seed: 1 }), /shares must be positive/)
  })

  it("is empty for no examples", () => {
    assert.deepStrictEqual(Example.split([], { a: 1, b: 1 }, { seed: 1 }), { a: [], b: [] })
    assert.deepStrictEqual(Option.fromIterable(Example.split([], { a: 1 }, { seed: 1 }).a), Option.none())
  })
})
