import * as Signature from "@effect-dspy/core/Signature"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck, JSONSchema, Option, Schema } from "effect"
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
  same(Signature.parse("x: number -> y", { types: { number: Schema.NonNegative } }), x(Schema.NonNegative))
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
      assert.deepStrictEqual(JSONSchema.make(output).required, ["a", "b", "c", "d", "f"])
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

    it("reads ten thousand fields and a long union in linear time", () => {
      const names = Array.from({ length: 10_000 }, (_, i) => `field${i}: "a" | int`)
      const signature = Either.getOrThrow(Signature.fromString(`${names.join(", ")} -> z`))
      assert.strictEqual(Object.keys(signature.input.fields).length, 10_000)
    })
  })

  describe("format", () => {
    it("is read back as the same signature", () => {
      // custom types have no name in a text: they are written as their encoded structure
      const builtIn = table.filter(([_, { input }]) => !JSON.stringify(input.ast).includes("Transformation"))
      assert.isAbove(builtIn.length, 40)
      for (const [text, parsed] of builtIn) {
        if (text === "x: number -> y" && parsed.input !== undefined) continue
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
})
