import * as Signature from "@effect-dspy/core/Signature"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck, JSONSchema, Option, pipe, Schema } from "effect"
import { humanize } from "../src/internal/signatureName.ts"

const Text = Schema.String
const qa = Signature.parse("context: string[], question -> answer, score?: int")

// The compiler compares the two types, the test the two values: the same table serves both parsers.
const same = <I extends Schema.Struct.Fields, O extends Schema.Struct.Fields>(
  parsed: Signature.Signature<I, O>,
  expected: Signature.Signature<I, O>
) => [Signature.format(parsed), parsed, expected] as const

const x = <F extends Signature.Fields[string]>(field: F) => Signature.make({ input: { x: field }, output: { y: Text } })

class Invoice extends Schema.Class<Invoice>("Invoice")({ total: Schema.Finite }) {}

const table = [
  same(
    Signature.parse("context: string[], question -> answer, confidence: number, note?: string"),
    Signature.make({
      input: { context: Schema.Array(Text), question: Text },
      output: { answer: Text, confidence: Schema.Finite, note: Schema.optional(Text) }
    })
  ),
  same(Signature.parse("\n\tx\r\n->y "), x(Text)),
  same(Signature.parse("x?->y"), x(Schema.optional(Text))),
  same(Signature.parse("x ? : int -> y"), x(Schema.optional(Schema.Int))),
  same(Signature.parse("-> y"), Signature.make({ input: {}, output: { y: Text } })),
  same(
    Signature.parse("größe_1: str, 質問 -> _y"),
    Signature.make({ input: { größe_1: Text, 質問: Text }, output: { _y: Text } })
  ),
  // scalars
  same(Signature.parse("x: str -> y: string"), x(Text)),
  same(Signature.parse("x: number -> y"), x(Schema.Finite)),
  same(Signature.parse("x: float -> y"), x(Schema.Finite)),
  same(Signature.parse("x: int -> y"), x(Schema.Int)),
  same(Signature.parse("x: integer -> y"), x(Schema.Int)),
  same(Signature.parse("x: boolean -> y"), x(Schema.Boolean)),
  same(Signature.parse("x: bool -> y"), x(Schema.Boolean)),
  same(Signature.parse("x: any -> y"), x(Schema.Unknown)),
  same(Signature.parse("x: Any -> y"), x(Schema.Unknown)),
  same(Signature.parse("x: unknown -> y"), x(Schema.Unknown)),
  same(Signature.parse("x: null -> y"), x(Schema.Null)),
  same(Signature.parse("x: None -> y"), x(Schema.Null)),
  // lists and tuples
  same(Signature.parse("x: int[] -> y"), x(Schema.Array(Schema.Int))),
  same(Signature.parse("x: int [ ] [] -> y"), x(Schema.Array(Schema.Array(Schema.Int)))),
  same(Signature.parse("x: list[int] -> y"), x(Schema.Array(Schema.Int))),
  same(Signature.parse("x: List[ list [int] ] -> y"), x(Schema.Array(Schema.Array(Schema.Int)))),
  same(Signature.parse("x: Array<int> -> y"), x(Schema.Array(Schema.Int))),
  same(Signature.parse("x: Array<Array<int>>[] -> y"), x(Schema.Array(Schema.Array(Schema.Array(Schema.Int))))),
  same(Signature.parse("x: tuple[int, str] -> y"), x(Schema.Tuple(Schema.Int, Text))),
  same(Signature.parse("x: [int, str, bool] -> y"), x(Schema.Tuple(Schema.Int, Text, Schema.Boolean))),
  same(Signature.parse("x: Tuple[int] -> y"), x(Schema.Tuple(Schema.Int))),
  // records and objects
  same(Signature.parse("x: dict[str, int] -> y"), x(Schema.Record({ key: Text, value: Schema.Int }))),
  same(
    Signature.parse("x: Dict[string, list[int]] -> y"),
    x(Schema.Record({ key: Text, value: Schema.Array(Schema.Int) }))
  ),
  same(Signature.parse("x: Record<string, 'a'> -> y"), x(Schema.Record({ key: Text, value: Schema.Literal("a") }))),
  same(
    Signature.parse("x: { name: string, age?: int } -> y"),
    x(Schema.Struct({ name: Text, age: Schema.optional(Schema.Int) }))
  ),
  same(
    Signature.parse("x: {'the name': str; \"a,b\" ? : { c: int }[];} -> y"),
    x(Schema.Struct({ "the name": Text, "a,b": Schema.optional(Schema.Array(Schema.Struct({ c: Schema.Int }))) }))
  ),
  // unions and literals
  same(Signature.parse("x: int | str -> y"), x(Schema.Union(Schema.Int, Text))),
  same(Signature.parse("x: Union[int, str, None] -> y"), x(Schema.NullOr(Schema.Union(Schema.Int, Text)))),
  same(Signature.parse("x: None | int -> y"), x(Schema.NullOr(Schema.Int))),
  same(Signature.parse("x: Optional[list[int]] -> y"), x(Schema.NullOr(Schema.Array(Schema.Int)))),
  same(Signature.parse("x: (int | str)[] -> y"), x(Schema.Array(Schema.Union(Schema.Int, Text)))),
  same(Signature.parse("x: 'a' -> y"), x(Schema.Literal("a"))),
  same(Signature.parse("x: \"a\" | 'b' | 3 | -4.5 | true -> y"), x(Schema.Literal("a", "b", 3, -4.5, true))),
  same(Signature.parse("x: Literal['a', \"b\", 3, True, None] -> y"), x(Schema.Literal("a", "b", 3, true, null))),
  same(Signature.parse("x: 'a' | (\"b\" | null) -> y"), x(Schema.Literal("a", "b", null))),
  same(Signature.parse("x: Optional[Literal['a']] -> y"), x(Schema.Literal("a", null))),
  same(
    Signature.parse("x: 'a' | int | 'b' -> y"),
    x(Schema.Union(Schema.Literal("a"), Schema.Int, Schema.Literal("b")))
  ),
  same(
    Signature.parse("x: ',' | '->' | ']' | \"it's\" | '\"' | '' | ' # ' -> y"),
    x(Schema.Literal(",", "->", "]", "it's", "\"", "", " # "))
  ),
  same(
    Signature.parse("x: dict[str, Optional[list[tuple[int, Literal['a', 'b'] | None]]]] -> y"),
    x(Schema.Record({
      key: Text,
      value: Schema.NullOr(Schema.Array(Schema.Tuple(Schema.Int, Schema.Literal("a", "b", null))))
    }))
  ),
  // other names
  same(Signature.parse("x: Invoice -> y", { types: { Invoice } }), x(Invoice)),
  same(
    Signature.parse("x: list[Invoice | my.Date] -> y", { types: { Invoice, "my.Date": Schema.Date } }),
    x(Schema.Array(Schema.Union(Invoice, Schema.Date)))
  ),
  same(Signature.parse("x: str -> y", { types: { str: Schema.NonEmptyString } }), x(Schema.NonEmptyString))
]

// What the compiler says of each is in typetest/Signature.test-d.ts.
const mistakes: ReadonlyArray<readonly [text: string, message: string, position: number]> = [
  ["", "expected a field name, found the end", 0],
  ["a, b", "field 'b': expected ',' or '->', found the end", 4],
  ["a -> ", "expected a field name, found the end", 5],
  ["a, -> b", "expected a field name, found '->'", 3],
  ["a -> b,", "expected a field name, found the end", 7],
  ["a -> b -> c", "field 'b': expected ',' or the end, found '->'", 7],
  ["a b -> c", "field 'a': expected ',' or '->', found 'b'", 2],
  ["a -> a", "field 'a': is declared twice", 5],
  ["a, a -> b", "field 'a': is declared twice", 3],
  ["1a -> b", "field '1a': a name is letters, digits and _, does not start with a digit, and is not __proto__", 0],
  ["a.b -> c", "field 'a.b': a name is letters, digits and _, does not start with a digit, and is not __proto__", 0],
  [
    "a -> __proto__",
    "field '__proto__': a name is letters, digits and _, does not start with a digit, and is not __proto__",
    5
  ],
  ["a -> b: strin", "field 'b': unknown type 'strin'", 8],
  ["a -> b: list[strin]", "field 'b': unknown type 'strin'", 13],
  ["a -> b: 01", "field 'b': unknown type '01'", 8],
  ["a -> b:", "field 'b': expected a type, found the end", 7],
  ["a: -> b", "field 'a': expected a type, found '->'", 3],
  ["a -> b: list", "field 'b': 'list' needs its types, as in list[...]", 8],
  ["a -> b: list[int", "field 'b': expected ',' or ']', found the end", 16],
  ["a -> b: list[int>", "field 'b': expected ',' or ']', found '>'", 16],
  ["a -> b: list[]", "field 'b': expected a type, found ']'", 13],
  ["a -> b: list[int, int]", "field 'b': a list has one type", 8],
  ["a -> b: dict[int, str]", "field 'b': a dictionary has string keys and one type of value", 8],
  ["a -> b: dict[str]", "field 'b': a dictionary has string keys and one type of value", 8],
  ["a -> b: Optional[int, str]", "field 'b': Optional has one type", 8],
  ["a -> b: Literal['x', int]", "field 'b': Literal takes constants only", 8],
  ["a -> b: 'x", "field 'b': a literal lacks its closing quote", 8],
  ["a -> b: 'it\\'s'", "field 'b': a literal has no escapes: use the other quote, and no backslash", 8],
  ["a -> b: (int", "field 'b': expected ')', found the end", 12],
  ["a -> b: int[3]", "field 'b': expected ']', found '3'", 12],
  ["a -> b: {}", "field 'b': expected a property name, found '}'", 9],
  ["a -> b: { c }", "field 'b': expected ':', found '}'", 12],
  ["a -> b: { c: int d: int }", "field 'b': expected ',' or '}', found 'd'", 17],
  ["a -> b: { c: int, c: int }", "field 'b': property 'c' is declared twice", 18],
  ["a -> b: { 1: int }", "field 'b': an object cannot keep the property '1' in its place", 10]
]

// Type expressions with the schema they stand for, in either spelling.
interface Expression {
  readonly text: string
  readonly schema: Schema.Schema.AnyNoContext
  readonly isUnion: boolean
}

const { expression } = FastCheck.letrec<{ expression: Expression; operand: Expression }>((tie) => {
  const simple = (text: string, schema: Schema.Schema.AnyNoContext): Expression => ({ text, schema, isUnion: false })
  const spaced = FastCheck.constantFrom("", " ", "\n  ")
  const scalar = FastCheck.constantFrom(
    simple("string", Text),
    simple("str", Text),
    simple("number", Schema.Finite),
    simple("float", Schema.Finite),
    simple("int", Schema.Int),
    simple("bool", Schema.Boolean),
    simple("unknown", Schema.Unknown),
    simple("Invoice", Invoice)
  )
  const quoted = FastCheck.tuple(
    FastCheck.string({ unit: FastCheck.constantFrom(..."ab ,|[]{}<>()?:;->#é質") }),
    FastCheck.constantFrom("'", "\"")
  ).map(([text, quote]) => ({ text: `${quote}${text}${quote}`, value: text }))
  const constant = FastCheck.oneof(
    quoted,
    FastCheck.integer().map((value) => ({ text: String(value), value })),
    FastCheck.constantFrom({ text: "True", value: true }, { text: "false", value: false })
  )
  const literals = FastCheck.tuple(
    FastCheck.uniqueArray(constant, { minLength: 1, maxLength: 4, selector: ({ value }) => value }),
    FastCheck.boolean()
  ).map(([members, python]): Expression => ({
    text: python ? `Literal[${members.map(({ text }) => text)}]` : members.map(({ text }) => text).join(" | "),
    schema: Schema.Literal(...members.map(({ value }) => value)),
    isUnion: !python && members.length > 1
  }))
  const operand = tie("operand")
  const nested = tie("expression")
  const list = FastCheck.tuple(nested, operand, FastCheck.constantFrom("list", "Array", "[]"), spaced).map((
    [inner, item, form, space]
  ) =>
    form === "[]"
      ? simple(`${item.text}${space}[${space}]`, Schema.Array(item.schema))
      : simple(
        form === "list" ? `list${space}[${inner.text}]` : `Array<${space}${inner.text}${space}>`,
        Schema.Array(inner.schema)
      )
  )
  const dict = FastCheck.tuple(nested, FastCheck.boolean(), spaced).map(([inner, python, space]) =>
    simple(
      python ? `dict[str,${space}${inner.text}]` : `Record<${space}string, ${inner.text}>`,
      Schema.Record({ key: Text, value: inner.schema })
    )
  )
  const tuple = FastCheck.tuple(FastCheck.array(nested, { minLength: 1, maxLength: 3 }), FastCheck.boolean()).map((
    [items, python]
  ) =>
    simple(
      `${python ? "tuple" : ""}[${items.map(({ text }) => text).join(" ,")}]`,
      Schema.Tuple(...items.map(({ schema }) => schema))
    )
  )
  const object = FastCheck.tuple(
    FastCheck.uniqueArray(
      FastCheck.tuple(FastCheck.constantFrom("name", "'a key'", "\"c, d\"", "_e"), nested, FastCheck.boolean()),
      { minLength: 1, maxLength: 3, selector: ([key]) => key }
    ),
    FastCheck.constantFrom(",", ";"),
    spaced
  ).map(([members, separator, space]) =>
    simple(
      `{${
        members.map(([key, type, optional]) => `${space}${key}${optional ? "?" : ""}:${type.text}`).join(separator)
      }}`,
      Schema.Struct(Object.fromEntries(members.map(([key, { schema }, optional]) => [
        key.replaceAll(/['"]/g, ""),
        optional ? Schema.optional(schema) : schema
      ])))
    )
  )
  // literals are left out of unions and of Optional, where they join other literals: the table has those
  const plain = FastCheck.oneof(scalar, list, dict, tuple, object)
  const optional = plain.map((inner) => simple(`Optional[${inner.text}]`, Schema.NullOr(inner.schema)))
  const union = FastCheck.tuple(FastCheck.array(plain, { minLength: 2, maxLength: 3 }), FastCheck.boolean()).map((
    [members, python]
  ): Expression => ({
    text: python
      ? `Union[${members.map(({ text }) => text)}]`
      : members.map(({ text }) => text).join("|"),
    schema: Schema.Union(...members.map(({ schema }) => schema)),
    isUnion: !python
  }))
  return {
    expression: FastCheck.oneof(
      { maxDepth: 3, depthIdentifier: "type" },
      scalar,
      literals,
      list,
      dict,
      tuple,
      object,
      optional,
      union
    ),
    operand: nested.map((inner) => inner.isUnion ? simple(`(${inner.text})`, inner.schema) : inner)
  }
})

describe("Signature", () => {
  describe("parse", () => {
    for (const [text, parsed, expected] of table) {
      it(text, () => {
        assert.isTrue(Signature.equals(parsed, expected))
        assert.deepStrictEqual(Object.keys(parsed.input.fields), Object.keys(expected.input.fields))
      })
    }

    it("reads any nesting of type expressions, in either spelling", () => {
      FastCheck.assert(
        FastCheck.property(expression, expression, (one, two) => {
          const parsed = Signature.fromString(`a: ${one.text}, b?: ${two.text} -> c`, { types: { Invoice } })
          const expected = Signature.make({
            input: { a: one.schema, b: Schema.optional(two.schema) },
            output: { c: Text }
          })
          assert.isTrue(Signature.equals(Either.getOrThrow(parsed), expected))
        }),
        { seed: 11, numRuns: 300 }
      )
    })

    it("knows no infinite and no fractional integers", () => {
      const { output } = Signature.parse("x -> n: number, i: int")
      const decode = Schema.decodeUnknownEither(output)
      assert.isTrue(Either.isRight(decode({ n: 1.5, i: 1 })))
      for (const bad of [{ n: NaN, i: 1 }, { n: Infinity, i: 1 }, { n: 1, i: 1.5 }]) {
        assert.isTrue(Either.isLeft(decode(bad)))
      }
    })

    it("yields schemas that have a JSON schema", () => {
      const { output } = Signature.parse(
        "x -> a: int[], b: dict[str, number | None], c: 'x' | 3, d: { e?: [bool, Any] }, f"
      )
      assert.deepInclude(JSONSchema.make(output), { type: "object", required: ["a", "b", "c", "d", "f"] })
    })

    it("takes instructions, also empty and of several lines", () => {
      const of = (instructions: string) => Signature.parse("a -> b", { instructions }).instructions
      assert.strictEqual(of(""), "")
      assert.strictEqual(of("One.\n\n  Two."), "One.\n\n  Two.")
    })
  })

  describe("fromString", () => {
    for (const [text, message, position] of mistakes) {
      it(`tells what is wrong with "${text}"`, () => {
        const error = Either.getOrThrow(Either.flip(Signature.fromString(text)))
        assert.strictEqual(error._tag, "SignatureError")
        const { description, field } = error
        assert.strictEqual(field === undefined ? description : `field '${field}': ${description}`, message)
        assert.strictEqual(error.position, position)
        // parse throws the very same
        assert.throws(() => (Signature.parse as (text: string) => unknown)(text), error.message)
      })
    }

    it("lists the known types, the given ones first", () => {
      const error = Either.getOrThrow(Either.flip(Signature.fromString("a: Bill -> b", { types: { Invoice } })))
      assert.deepStrictEqual(error.expected?.slice(0, 3), ["Invoice", "string", "str"])
      assert.include(error.message, "field 'a': unknown type 'Bill' at position 3; expected Invoice, string, str, ")
    })

    it("does not take inherited names for types or fields", () => {
      assert.isTrue(Either.isLeft(Signature.fromString("a: constructor -> b")))
      assert.isTrue(Either.isLeft(Signature.fromString("a: toString -> b", { types: { Invoice } })))
      assert.isTrue(Either.isRight(Signature.fromString("constructor: { toString: int } -> hasOwnProperty")))
    })

    it.effect("is an effect", () =>
      Effect.gen(function*() {
        const signature = yield* Signature.fromString("question -> answer")
        assert.strictEqual(Signature.format(signature), "question -> answer")
        const error = yield* Effect.flip(Effect.asVoid(Signature.fromString("question")))
        assert.strictEqual(error.field, "question")
      }))

    it("refuses types too deep for the stack", () => {
      for (
        const text of [
          "(".repeat(100_000),
          "list[".repeat(100_000),
          "{a:".repeat(100_000),
          `int${"[]".repeat(100_000)}`
        ]
      ) {
        const error = Either.getOrThrow(Either.flip(Signature.fromString(`a: ${text} -> b`)))
        assert.strictEqual(error.description, "types are nested over 64 levels deep")
      }
      const deep = `${"list[".repeat(60)}int${"]".repeat(60)}`
      assert.isTrue(Either.isRight(Signature.fromString(`a: ${deep} -> b`)))
    })

    it("reads ten thousand fields and a long union in linear time", () => {
      const names = Array.from({ length: 10_000 }, (_, i) => `field${i}: "a" | int`)
      const signature = Either.getOrThrow(Signature.fromString(`${names.join(", ")} -> z`))
      assert.strictEqual(Object.keys(signature.input.fields).length, 10_000)
    })
  })

  describe("format", () => {
    it("is read back as the same signature", () => {
      // custom types have no name in a text: they are written as their encoded structure
      const builtIn = table.filter(([_, { input }]) => !/Invoice|NonEmpty/.test(String(input.ast)))
      assert.isAbove(builtIn.length, 40)
      for (const [text, parsed] of builtIn) {
        assert.isTrue(Signature.equals(Either.getOrThrow(Signature.fromString(text)), parsed), text)
      }
      FastCheck.assert(
        FastCheck.property(expression, expression, (one, two) => {
          // a class is written as its encoded structure, hence no longer the same schema
          FastCheck.pre(!one.text.includes("Invoice") && !two.text.includes("Invoice"))
          const signature = Either.getOrThrow(Signature.fromString(`a: ${one.text} -> b?: ${two.text}, c`))
          const again = Either.getOrThrow(Signature.fromString(Signature.format(signature)))
          assert.isTrue(Signature.equals(again, signature), Signature.format(signature))
        }),
        { seed: 12, numRuns: 300 }
      )
    })

    it("is what a signature prints as", () => {
      assert.strictEqual(`${qa}`, "context: string[], question -> answer, score?: integer")
      assert.strictEqual(String(Signature.parse("->y")), "-> y")
    })
  })

  describe("make", () => {
    const rejected = (input: Signature.Fields, output: Signature.Fields): string => {
      try {
        Signature.make({ input, output })
      } catch (error) {
        assert.instanceOf(error, Signature.SignatureError)
        return error.message
      }
      return "accepted"
    }

    it("rejects names that an object would move or lose, and other non-names", () => {
      const rule = "a name is letters, digits and _, does not start with a digit, and is not __proto__"
      for (const name of ["0", "42", "a b", "a-b", "", "a.b", "1st", "__proto__"]) {
        assert.strictEqual(rejected({ [name]: Text }, { y: Text }), `Signature: field '${name}': ${rule}`)
        assert.strictEqual(rejected({}, { y: Text, [name]: Text }), `Signature: field '${name}': ${rule}`)
      }
      assert.include(rejected({ [Symbol("s")]: Text }, { y: Text }), "field 'Symbol(s)'")
      for (const name of ["_", "größe", "問", "a1", "constructor", "toString"]) {
        assert.strictEqual(rejected({ [name]: Text }, { y: Text }), "accepted")
      }
    })

    it("rejects a name on both sides, and a signature without outputs", () => {
      assert.strictEqual(
        rejected({ a: Text }, { b: Text, a: Text }),
        "Signature: field 'a': is both an input and an output"
      )
      assert.strictEqual(rejected({ a: Text }, {}), "Signature: at least one output field is needed")
    })

    it("rejects a field that has another name on the wire", () => {
      const renamed = Schema.propertySignature(Text).pipe(Schema.fromKey("other"))
      assert.strictEqual(
        rejected({}, { a: renamed }),
        "Signature: field 'a': is read from 'other': use that name in the signature"
      )
    })

    it("generates instructions that name the fields, unless some are given", () => {
      const output = { c: Text }
      assert.strictEqual(Signature.make({ input: {}, output }).instructions, "Work out `c`.")
      assert.strictEqual(Signature.make({ input: { a: Text }, output }).instructions, "From `a`, work out `c`.")
      assert.strictEqual(
        Signature.make({ input: { a: Text, b: Text }, output: { c: Text, d: Text, e: Text } }).instructions,
        "From `a` and `b`, work out `c`, `d` and `e`."
      )
      assert.strictEqual(Signature.make({ instructions: "", input: {}, output }).instructions, "")
      assert.strictEqual(Signature.make({ instructions: "Do.\nSo.", input: {}, output }).instructions, "Do.\nSo.")
    })

    it("decodes and encodes each side", () => {
      const signature = Signature.make({
        input: { day: Schema.Date },
        output: { count: Schema.optionalWith(Schema.Int, { default: () => 1 }) }
      })
      assert.deepStrictEqual(Schema.encodeSync(signature.input)({ day: new Date(0) }), {
        day: "1970-01-01T00:00:00.000Z"
      })
      assert.deepStrictEqual(Schema.decodeUnknownSync(signature.output)({}), { count: 1 })
    })
  })

  describe("fields", () => {
    const only = <F extends Signature.Fields[string]>(field: F): Signature.Field =>
      Signature.fields(Signature.make({ input: {}, output: { f: field } })).outputs[0]!
    const type = <F extends Signature.Fields[string]>(field: F) => only(field).type
    const constraints = <F extends Signature.Fields[string]>(field: F) => {
      const { constraints, description } = only(field)
      assert.isUndefined(description) // Effect's own descriptions of its filters say the same again
      return constraints
    }

    it("lists both sides in order", () => {
      const { inputs, outputs } = Signature.fields(qa)
      assert.deepStrictEqual(inputs.map(({ kind, name }) => [name, kind]), [["context", "input"], [
        "question",
        "input"
      ]])
      assert.deepStrictEqual(outputs.map(({ kind, name, optional }) => [name, kind, optional]), [
        ["answer", "output", false],
        ["score", "output", true]
      ])
    })

    it("is computed once, whatever the instructions", () => {
      const other = Signature.withInstructions(qa, "Other.")
      assert.strictEqual(Signature.fields(qa).inputs, Signature.fields(other).inputs)
      assert.strictEqual(Signature.fields(qa).outputs, Signature.fields(other).outputs)
    })

    it("spells types as TypeScript does", () => {
      enum Size {
        Small,
        Large
      }
      interface Category {
        readonly name: string
        readonly children: ReadonlyArray<Category>
      }
      const Category = Schema.Struct({
        name: Text,
        children: Schema.Array(Schema.suspend((): Schema.Schema<Category> => Category))
      }).annotations({ identifier: "Category" })

      assert.strictEqual(type(Text), "string")
      assert.strictEqual(type(Schema.Number), "number")
      assert.strictEqual(type(Schema.JsonNumber), "number")
      assert.strictEqual(type(Schema.Int.pipe(Schema.between(0, 5))), "integer")
      assert.strictEqual(type(Schema.Boolean), "boolean")
      assert.strictEqual(type(Schema.Unknown), "unknown")
      assert.strictEqual(type(Schema.Literal("a", 1, true, null)), `"a" | 1 | true | null`)
      assert.strictEqual(type(Schema.Literal(`say "a"`)), `'say "a"'`)
      assert.strictEqual(type(Schema.Enums(Size)), "0 | 1")
      assert.strictEqual(type(Schema.NullOr(Text)), "string | null")
      assert.strictEqual(type(Schema.Array(Schema.Union(Text, Schema.Int))), "(string | integer)[]")
      assert.strictEqual(type(Schema.Array(Schema.Struct({ a: Schema.NullOr(Text) }))), "{ a: string | null }[]")
      assert.strictEqual(type(Schema.Tuple(Text, Schema.optionalElement(Schema.Int))), "[string, integer?]")
      assert.strictEqual(type(Schema.Tuple([Text], Schema.Int)), "[string, ...integer[]]")
      assert.strictEqual(type(Schema.Record({ key: Text, value: Schema.Int })), "Record<string, integer>")
      assert.strictEqual(
        type(Schema.Struct({ name: Text, "zip code": Schema.optional(Schema.Int) })),
        `{ name: string, "zip code"?: integer }`
      )
      assert.strictEqual(
        type(Schema.Struct({ a: Text }, { key: Text, value: Schema.Unknown })),
        "{ a: string } & Record<string, unknown>"
      )
      assert.strictEqual(type(Category), "{ name: string, children: Category[] }")
    })

    it("shows the encoded type", () => {
      assert.strictEqual(type(Schema.Date), "string")
      assert.strictEqual(type(Schema.NumberFromString), "string")
      assert.strictEqual(type(Invoice), "{ total: number }")
      assert.strictEqual(type(Schema.optionalWith(Schema.NumberFromString, { default: () => 1 })), "string")
    })

    it("knows which keys may be absent, and decodes a value alone", () => {
      const option = only(Schema.optionalWith(Schema.NumberFromString, { as: "Option" }))
      assert.isTrue(option.optional)
      assert.deepStrictEqual(Schema.decodeUnknownSync(option.schema)("1"), Option.some(1))
      assert.deepStrictEqual(Schema.decodeUnknownSync(option.schema)(undefined), Option.none())
      assert.strictEqual(Schema.encodeSync(option.schema)(Option.some(1)), "1")
      assert.isUndefined(Schema.encodeSync(option.schema)(Option.none()))

      const defaulted = only(Schema.optionalWith(Schema.Int, { default: () => 7 }))
      assert.isTrue(defaulted.optional)
      assert.strictEqual(Schema.decodeUnknownSync(defaulted.schema)(undefined), 7)
      assert.strictEqual(Schema.encodeSync(defaulted.schema)(8), 8)

      const nullable = only(Schema.NullOr(Schema.Int))
      assert.isFalse(nullable.optional)
      assert.isNull(Schema.decodeUnknownSync(nullable.schema)(null))
      assert.isTrue(Either.isLeft(Schema.decodeUnknownEither(only(Text).schema)(undefined)))
    })

    it("puts filters into words", () => {
      assert.isUndefined(constraints(Text))
      assert.isUndefined(constraints(Schema.Int))
      assert.isUndefined(constraints(Schema.Finite))
      assert.strictEqual(constraints(Schema.NonEmptyString), "at least 1 character")
      assert.strictEqual(constraints(Text.pipe(Schema.maxLength(20))), "at most 20 characters")
      assert.strictEqual(constraints(Text.pipe(Schema.length({ min: 2, max: 4 }))), "2 to 4 characters")
      assert.strictEqual(constraints(Text.pipe(Schema.length(5))), "exactly 5 characters")
      assert.strictEqual(constraints(Text.pipe(Schema.pattern(/^a+$/))), "matching the pattern ^a+$")
      assert.strictEqual(constraints(Text.pipe(Schema.startsWith("x"))), "matching the pattern ^x")
      assert.strictEqual(constraints(Text.pipe(Schema.lowercased())), "matching the pattern ^[^A-Z]*$")
      assert.strictEqual(constraints(Schema.Number.pipe(Schema.greaterThan(1))), "greater than 1")
      assert.strictEqual(constraints(Schema.Number.pipe(Schema.lessThan(1))), "less than 1")
      assert.strictEqual(constraints(Schema.Number.pipe(Schema.positive())), "greater than 0")
      assert.strictEqual(constraints(Schema.Number.pipe(Schema.nonNegative())), "at least 0")
      assert.strictEqual(constraints(Schema.Number.pipe(Schema.lessThanOrEqualTo(3))), "at most 3")
      assert.strictEqual(constraints(Schema.Int.pipe(Schema.between(1, 5))), "between 1 and 5")
      assert.strictEqual(constraints(Schema.Number.pipe(Schema.multipleOf(5))), "a multiple of 5")
      assert.strictEqual(constraints(Schema.Array(Text).pipe(Schema.minItems(2))), "at least 2 items")
      assert.strictEqual(constraints(Schema.Array(Text).pipe(Schema.itemsCount(1))), "exactly 1 item")
      assert.strictEqual(
        constraints(Text.pipe(Schema.minLength(2), Schema.pattern(/x/), Schema.maxLength(9))),
        "at least 2 characters, matching the pattern x, at most 9 characters"
      )
      assert.strictEqual(constraints(Schema.optional(Schema.NonEmptyString)), "at least 1 character")
    })

    it("takes descriptions and examples from annotations, the field's before the type's", () => {
      const Age = Schema.Int.annotations({ description: "in years", examples: [7] })
      const { constraints, description, examples } = only(Age.pipe(Schema.between(0, 130)))
      assert.deepStrictEqual([description, constraints, examples], ["in years", "between 0 and 130", [7]])
      assert.strictEqual(only(Schema.optional(Age)).description, "in years")
      assert.strictEqual(
        only(Schema.propertySignature(Age).annotations({ description: "of the dog" })).description,
        "of the dog"
      )
      assert.strictEqual(
        only(Text.pipe(Schema.filter((text) => text !== "", { description: "not empty" }))).description,
        "not empty"
      )
      assert.isUndefined(only(Text).description)
      assert.deepStrictEqual(only(Text).examples, [])
    })

    it("lists the permitted values", () => {
      enum Size {
        Small = "S",
        Large = "L"
      }
      assert.deepStrictEqual(only(Schema.Literal("a", 2)).literals, ["a", 2])
      assert.deepStrictEqual(only(Schema.NullOr(Schema.Literal("a"))).literals, ["a", null])
      assert.deepStrictEqual(only(Schema.Enums(Size)).literals, ["S", "L"])
      assert.deepStrictEqual(only(Schema.optional(Schema.Literal("a"))).literals, ["a"])
      assert.isUndefined(only(Schema.Union(Schema.Literal("a"), Schema.Int)).literals)
    })
  })

  describe("operations", () => {
    const names = ({ input, output }: Signature.Any) =>
      [input, output].map(({ fields }) => Object.keys(fields).join(", ")).join(" -> ")

    it("adds fields at either end", () => {
      assert.strictEqual(names(Signature.prependInput(qa, "x", Schema.Int)), "x, context, question -> answer, score")
      assert.strictEqual(names(Signature.appendInput(qa, "x", Schema.Int)), "context, question, x -> answer, score")
      assert.strictEqual(names(Signature.prependOutput(qa, "x", Schema.Int)), "context, question -> x, answer, score")
      assert.strictEqual(names(Signature.appendOutput(qa, "x", Schema.Int)), "context, question -> answer, score, x")
      assert.strictEqual(names(qa), "context, question -> answer, score")
    })

    it("inserts at a place, counted from either end", () => {
      const places: ReadonlyArray<readonly [number, string]> = [
        [0, "x, a, b, c"],
        [1, "a, x, b, c"],
        [3, "a, b, c, x"],
        [-1, "a, b, c, x"],
        [-2, "a, b, x, c"],
        [-4, "x, a, b, c"]
      ]
      const inputs = Signature.parse("a, b, c -> d")
      const outputs = Signature.parse("d -> a, b, c")
      for (const [index, expected] of places) {
        assert.strictEqual(names(Signature.insertInput(inputs, index, "x", Text)), `${expected} -> d`)
        assert.strictEqual(names(outputs.pipe(Signature.insertOutput(index, "x", Text))), `d -> ${expected}`)
      }
      for (const index of [4, -5, 0.5, NaN]) {
        assert.throws(() => Signature.insertInput(inputs, index, "x", Text), /field 'x': cannot be inserted at/)
        assert.throws(() => Signature.insertOutput(outputs, index, "x", Text), /there are 3 fields/)
      }
    })

    it("refuses a name that is taken, or is none", () => {
      const add = Signature.appendOutput as (self: Signature.Any, name: string, schema: typeof Text) => unknown
      assert.throws(() => add(qa, "answer", Text), "Signature: field 'answer': is declared twice")
      assert.throws(() => add(qa, "question", Text), "Signature: field 'question': is both an input and an output")
      assert.throws(() => add(qa, "a b", Text), "Signature: field 'a b': a name is")
    })

    it("replaces the schema of a field in its place", () => {
      const typed = Signature.withField(qa, "answer", Schema.Literal("yes", "no"))
      assert.strictEqual(
        Signature.format(typed),
        `context: string[], question -> answer: "yes" | "no", score?: integer`
      )
      assert.strictEqual(
        Signature.format(pipe(qa, Signature.withField("question", Schema.Int))),
        "context: string[], question: integer -> answer, score?: integer"
      )
    })

    it("describes a field without touching its type", () => {
      const described = qa.pipe(
        Signature.withDescription("score", "from 0 to 9"),
        Signature.withDescription("context", "facts")
      )
      const { inputs, outputs } = Signature.fields(described)
      assert.strictEqual(inputs[0]?.description, "facts")
      assert.strictEqual(outputs[1]?.description, "from 0 to 9")
      assert.isTrue(outputs[1]?.optional)
      assert.strictEqual(Signature.format(described), Signature.format(qa))
      assert.strictEqual(
        Signature.fields(Signature.withDescription(described, "score", "other")).outputs[1]?.description,
        "other"
      )
    })

    it("removes a field, but not the last output", () => {
      assert.strictEqual(names(Signature.remove(qa, "context")), "question -> answer, score")
      assert.strictEqual(names(qa.pipe(Signature.remove("answer"))), "context, question -> score")
      assert.throws(() => Signature.remove(Signature.parse("a -> b"), "b"), "at least one output field is needed")
    })

    it("refuses an unknown name", () => {
      const message = /field 'x': does not exist in context: string\[\], question -> answer/
      assert.throws(() => (Signature.remove as (self: Signature.Any, name: string) => unknown)(qa, "x"), message)
      assert.throws(
        () =>
          (Signature.withField as (self: Signature.Any, name: string, schema: typeof Text) => unknown)(qa, "x", Text),
        message
      )
    })

    it("changes instructions", () => {
      const a = Signature.parse("a -> b")
      assert.strictEqual(Signature.withInstructions(a, "Do it.").instructions, "Do it.")
      assert.strictEqual(a.pipe(Signature.withInstructions("")).instructions, "")
      assert.strictEqual(
        Signature.appendInstructions(a, "Be short.").instructions,
        "From `a`, work out `b`.\n\nBe short."
      )
      const empty = Signature.withInstructions(a, "")
      assert.strictEqual(empty.pipe(Signature.appendInstructions("Be short.")).instructions, "Be short.")
      assert.strictEqual(Signature.format(Signature.withInstructions(a, "Do it.")), "a -> b")
    })

    it("keeps given instructions, and lets generated ones follow the fields", () => {
      const generated = Signature.parse("a -> b")
      assert.strictEqual(Signature.appendOutput(generated, "c", Text).instructions, "From `a`, work out `b` and `c`.")
      assert.strictEqual(Signature.remove(generated, "a").instructions, "Work out `b`.")
      for (const instructions of ["", "Given."]) {
        const given = Signature.withInstructions(generated, instructions)
        assert.strictEqual(Signature.appendOutput(given, "c", Text).instructions, instructions)
      }
    })
  })

  describe("equals", () => {
    const text = "a: { x: int[], y?: 'p' | 'q' }, b -> c: dict[str, number | None]"
    const one = Signature.parse(text)

    it("compares instructions, names, order, types and annotations", () => {
      assert.isTrue(Signature.equals(one, Signature.parse(text)))
      const others: ReadonlyArray<Signature.Any> = [
        Signature.withInstructions(one, "Other."),
        Signature.parse("b, a: { x: int[], y?: 'p' | 'q' } -> c: dict[str, number | None]"),
        Signature.parse("a: { x: int[], y: 'p' | 'q' }, b -> c: dict[str, number | None]"),
        Signature.parse("a: { x: int[], y?: 'p' | 'r' }, b -> c: dict[str, number | None]"),
        Signature.parse("a: { x: number[], y?: 'p' | 'q' }, b -> c: dict[str, number | None]"),
        Signature.parse("a: { x: int[], y?: 'p' | 'q' }, b? -> c: dict[str, number | None]"),
        Signature.parse("a: { x: int[], y?: 'p' | 'q' }, b -> d: dict[str, number | None]"),
        Signature.withDescription(one, "b", "described"),
        Signature.withField(one, "b", Text.annotations({ examples: ["x"] })),
        Signature.remove(one, "b")
      ]
      for (const other of others) {
        const sameInstructions = Signature.withInstructions(other as typeof one, one.instructions)
        const compared = other === others[0] ? other : sameInstructions
        assert.isFalse(Signature.equals(one, compared), Signature.format(other))
        assert.isFalse(pipe(compared, Signature.equals(one)))
      }
    })

    it("knows Effect's filters by what they check, others by identity", () => {
      const bounded = (max: number) => x(Text.pipe(Schema.minLength(1), Schema.maxLength(max)))
      assert.isTrue(Signature.equals(bounded(3), bounded(3)))
      assert.isFalse(Signature.equals(bounded(3), bounded(4)))
      assert.isFalse(Signature.equals(bounded(3), x(Text)))
      const even = (n: number) => n % 2 === 0
      const filtered = (predicate: (n: number) => boolean) => x(Schema.Number.pipe(Schema.filter(predicate)))
      const shared = Schema.Number.pipe(Schema.filter(even))
      assert.isTrue(Signature.equals(x(shared), x(shared)))
      assert.isFalse(Signature.equals(filtered(even), filtered((n) => n % 3 === 0)))
    })

    it("ends on recursive schemas", () => {
      interface Tree {
        readonly label: string
        readonly nodes: ReadonlyArray<Tree>
      }
      const tree = (label: Schema.Schema<string>) => {
        const Tree = Schema.Struct({
          label,
          nodes: Schema.Array(Schema.suspend((): Schema.Schema<Tree> => Tree))
        })
        return x(Tree)
      }
      assert.isTrue(Signature.equals(tree(Text), tree(Text)))
      assert.isFalse(Signature.equals(tree(Text), tree(Schema.NonEmptyString)))
    })
  })

  it("isSignature", () => {
    assert.isTrue(Signature.isSignature(qa))
    assert.isFalse(Signature.isSignature({ input: qa.input, output: qa.output }))
    assert.isFalse(Signature.isSignature("a -> b"))
    assert.isFalse(Signature.isSignature(null))
  })

  it("humanize", () => {
    const titles = {
      question: "Question",
      some_attribute_name: "Some Attribute Name",
      someAttributeName: "Some Attribute Name",
      SomeAttribute: "Some Attribute",
      isHTTPSSecure123: "Is HTTPS Secure 123",
      URL: "URL",
      text2number: "Text 2 Number",
      HTMLParser: "HTML Parser",
      step1a: "Step 1 A",
      _private__name_: "Private Name",
      größeÄnderung: "Größe Änderung",
      質問: "質問",
      _: "_"
    }
    for (const [name, title] of Object.entries(titles)) assert.strictEqual(humanize(name), title)
  })
})
