import * as Signature from "@effect-dspy/core/Signature"
import { Context, Effect, type Either, pipe, Schema } from "effect"
import { describe, expectTypeOf, it } from "vitest"

class Invoice extends Schema.Class<Invoice>("Invoice")({ total: Schema.Finite }) {}
class Database extends Context.Tag("Database")<Database, { readonly has: (id: string) => Effect.Effect<boolean> }>() {}

// A schema whose decoding asks a service.
const Known = Schema.String.pipe(
  Schema.filterEffect((id) => Effect.flatMap(Database, (database) => database.has(id)))
)

const qa = Signature.parse("context: string[], question -> answer, confidence: number, note?: string")
const triage = Signature.make({
  instructions: "Route a support ticket.",
  input: { ticket: Schema.String, sent: Schema.optionalWith(Schema.Date, { as: "Option" }) },
  output: { team: Schema.Literal("billing", "technical"), urgent: Schema.optionalWith(Schema.Boolean, { exact: true }) }
})

type Problem<S extends string> = Signature.Check<S>

describe("Signature.make", () => {
  it("keeps the fields", () => {
    expectTypeOf(triage.output).toEqualTypeOf<
      Schema.Struct<{
        readonly team: Schema.Literal<["billing", "technical"]>
        readonly urgent: Schema.optionalWith<typeof Schema.Boolean, { exact: true }>
      }>
    >()
    expectTypeOf<Signature.Output<typeof triage>>().toEqualTypeOf<
      { readonly team: "billing" | "technical"; readonly urgent?: boolean }
    >()
    expectTypeOf<Signature.Input<typeof triage>["ticket"]>().toEqualTypeOf<string>()
    expectTypeOf(triage).toExtend<Signature.Any>()
  })

  it("takes fields that are known only at run time", () => {
    const fields: { readonly [name: string]: Schema.Schema.AnyNoContext } = {}
    expectTypeOf(Signature.make).toBeCallableWith({ input: fields, output: fields })
  })

  it("rejects what cannot be", () => {
    // @ts-expect-error a name on both sides
    Signature.make({ input: { a: Schema.String }, output: { a: Schema.String, b: Schema.String } })
    // @ts-expect-error a schema that needs a service
    Signature.make({ input: { id: Known }, output: { a: Schema.String } })
    // @ts-expect-error a schema that needs a service
    Signature.make({ input: {}, output: { id: Schema.optional(Known) } })
    // @ts-expect-error not a schema
    Signature.make({ input: { a: "string" }, output: { b: Schema.String } })
    // @ts-expect-error no outputs
    Signature.make({ input: { a: Schema.String } })
  })
})

describe("Signature.parse", () => {
  it("infers both sides, flat and readable", () => {
    expectTypeOf(qa).toEqualTypeOf<
      Signature.Signature<
        { readonly context: Schema.Array$<typeof Schema.String>; readonly question: typeof Schema.String },
        {
          readonly answer: typeof Schema.String
          readonly confidence: typeof Schema.Finite
          readonly note: Schema.optional<typeof Schema.String>
        }
      >
    >()
    expectTypeOf<Signature.Input<typeof qa>>().toEqualTypeOf<
      { readonly context: ReadonlyArray<string>; readonly question: string }
    >()
    expectTypeOf<Signature.Output<typeof qa>>().toEqualTypeOf<
      { readonly answer: string; readonly confidence: number; readonly note?: string | undefined }
    >()
  })

  // Which texts give which schemas is in test/Signature.test.ts, where compiler and run time see the same table.
  it("infers values of every kind of type", () => {
    type Value<S extends string> = Signature.Input<Signature.Parse<`x: ${S} -> y`>>["x"]
    expectTypeOf<Value<"str">>().toEqualTypeOf<string>()
    expectTypeOf<Value<"int">>().toEqualTypeOf<number>()
    expectTypeOf<Value<"bool[][]">>().toEqualTypeOf<ReadonlyArray<ReadonlyArray<boolean>>>()
    expectTypeOf<Value<"Any">>().toEqualTypeOf<unknown>()
    expectTypeOf<Value<"None">>().toEqualTypeOf<null>()
    expectTypeOf<Value<"tuple[int, str]">>().toEqualTypeOf<readonly [number, string]>()
    expectTypeOf<Value<"[int, str, 'a']">>().toEqualTypeOf<readonly [number, string, "a"]>()
    expectTypeOf<Value<"dict[str, Optional[int]]">>().toEqualTypeOf<{ readonly [x: string]: number | null }>()
    expectTypeOf<Value<"{ a: string, 'b c'?: int }[]">>().toEqualTypeOf<
      ReadonlyArray<{ readonly a: string; readonly "b c"?: number | undefined }>
    >()
    expectTypeOf<Value<"\"a,\" | 'b->' | 3 | true">>().toEqualTypeOf<"a," | "b->" | 3 | true>()
    expectTypeOf<Value<"Literal['a', 3] | list[str]">>().toEqualTypeOf<"a" | 3 | ReadonlyArray<string>>()
    expectTypeOf<Value<"Union[int, None]">>().toEqualTypeOf<number | null>()
  })

  it("carries the types of custom schemas", () => {
    const audit = Signature.parse("invoices: list[Invoice], day: Day -> total: number", {
      types: { Invoice, Day: Schema.Date },
      instructions: "Add up."
    })
    expectTypeOf<Signature.Input<typeof audit>>().toEqualTypeOf<
      { readonly invoices: ReadonlyArray<Invoice>; readonly day: Date }
    >()
    // @ts-expect-error a schema that needs a service
    Signature.parse("a: Id -> b", { types: { Id: Known } })
  })

  it("manages twenty nested fields, and twelve levels", () => {
    type Nested = "list[dict[str, Optional[{ name: string, tags: ('a' | 'b')[] }]]]"
    type Fields = `a: ${Nested}, b: ${Nested}, c: ${Nested}, d: ${Nested}, e: ${Nested}`
    type More = `f: ${Nested}, g: ${Nested}, h: ${Nested}, i: ${Nested}, j: ${Nested}`
    type Others = `k: ${Nested}, l: ${Nested}, m: ${Nested}, n: ${Nested}, o: ${Nested}`
    type Last = `p: ${Nested}, q: ${Nested}, r: ${Nested}, s: ${Nested}, t: ${Nested}`
    type Large = Signature.Parse<`${Fields}, ${More} -> ${Others}, ${Last}`>
    expectTypeOf<Signature.Output<Large>["t"]>().toEqualTypeOf<
      ReadonlyArray<
        { readonly [x: string]: { readonly name: string; readonly tags: ReadonlyArray<"a" | "b"> } | null }
      >
    >()
    type Deep = Signature.Parse<
      "x: list[list[list[list[{ a: { b: { c: { d: [[[[int]]]] } } } }]]]] -> y"
    >
    expectTypeOf<Signature.Input<Deep>["x"][0][0][0][0]["a"]["b"]["c"]["d"][0][0][0][0]>().toEqualTypeOf<number>()
  })

  it("says what is wrong", () => {
    expectTypeOf<Problem<"a -> b">>().toEqualTypeOf<"a -> b">()
    expectTypeOf<Problem<string>>().toEqualTypeOf<
      "Signature: expected a signature, as Signature.make makes it, or a literal text; Signature.fromString reads other texts"
    >()
    expectTypeOf<Problem<"">>().toEqualTypeOf<"Signature: expected a field name, found the end">()
    expectTypeOf<Problem<"a, b">>().toEqualTypeOf<"Signature: field 'b': expected ',' or '->', found the end">()
    expectTypeOf<Problem<"a -> ">>().toEqualTypeOf<"Signature: expected a field name, found the end">()
    expectTypeOf<Problem<"a, -> b">>().toEqualTypeOf<"Signature: expected a field name, found '->'">()
    expectTypeOf<Problem<"a: -> b">>().toEqualTypeOf<"Signature: field 'a': expected a type, found '->'">()
    expectTypeOf<Problem<"a -> b -> c">>().toEqualTypeOf<
      "Signature: field 'b': expected ',' or the end, found '->'"
    >()
    expectTypeOf<Problem<"a b -> c">>().toEqualTypeOf<"Signature: field 'a': expected ',' or '->', found 'b'">()
    expectTypeOf<Problem<"a -> a">>().toEqualTypeOf<"Signature: field 'a': is declared twice">()
    expectTypeOf<Problem<"1a -> b">>().toEqualTypeOf<
      "Signature: field '1a': a name is letters, digits and _, does not start with a digit, and is not __proto__"
    >()
    expectTypeOf<Problem<"a -> answer: strin">>().toEqualTypeOf<"Signature: field 'answer': unknown type 'strin'">()
    expectTypeOf<Problem<"a -> b: 01">>().toEqualTypeOf<"Signature: field 'b': unknown type '01'">()
    expectTypeOf<Problem<"a -> b: list">>().toEqualTypeOf<
      "Signature: field 'b': 'list' needs its types, as in list[...]"
    >()
    expectTypeOf<Problem<"a -> b: list[int">>().toEqualTypeOf<
      "Signature: field 'b': expected ',' or ']', found the end"
    >()
    expectTypeOf<Problem<"a -> b: list[int, int]">>().toEqualTypeOf<"Signature: field 'b': a list has one type">()
    expectTypeOf<Problem<"a -> b: dict[int, str]">>().toEqualTypeOf<
      "Signature: field 'b': a dictionary has string keys and one type of value"
    >()
    expectTypeOf<Problem<"a -> b: Literal['x', int]">>().toEqualTypeOf<
      "Signature: field 'b': Literal takes constants only"
    >()
    expectTypeOf<Problem<"a -> b: 'x">>().toEqualTypeOf<"Signature: field 'b': a literal lacks its closing quote">()
    expectTypeOf<Problem<"a -> b: 'it\\'s'">>().toEqualTypeOf<
      "Signature: field 'b': a literal has no escapes: use the other quote, and no backslash"
    >()
    expectTypeOf<Problem<"a -> b: { c: int, c: int }">>().toEqualTypeOf<
      "Signature: field 'b': property 'c' is declared twice"
    >()
    expectTypeOf<Problem<"a -> b: { 1: int }">>().toEqualTypeOf<
      "Signature: field 'b': an object cannot keep the property '1' in its place"
    >()
  })

  it("rejects what it cannot read", () => {
    // @ts-expect-error unknown type
    Signature.parse("question -> answer: strin")
    // @ts-expect-error unknown type: there are others
    Signature.parse("a: Invoice -> b", { types: { Bill: Invoice } })
    // @ts-expect-error not a literal
    Signature.parse(String("a -> b"))
  })
})

describe("Signature.fromString", () => {
  it("knows the fields of neither side", () => {
    const signature = Signature.fromString("a -> b")
    expectTypeOf(signature).toEqualTypeOf<
      Either.Either<Signature.Signature<Signature.DynamicFields, Signature.DynamicFields>, Signature.SignatureError>
    >()
    expectTypeOf<Signature.Input<Signature.Signature<Signature.DynamicFields, Signature.DynamicFields>>[string]>()
      .toEqualTypeOf<unknown>()
    expectTypeOf(Effect.map(signature, Signature.format)).toEqualTypeOf<
      Effect.Effect<string, Signature.SignatureError>
    >()
  })
})

describe("operations", () => {
  it("add fields", () => {
    const thinking = Signature.prependOutput(qa, "reasoning", Schema.String)
    expectTypeOf<Signature.Output<typeof thinking>>().toEqualTypeOf<
      {
        readonly answer: string
        readonly confidence: number
        readonly note?: string | undefined
        readonly reasoning: string
      }
    >()
    const more = qa.pipe(
      Signature.appendInput("day", Schema.optional(Schema.Date)),
      Signature.insertInput(1, "k", Schema.Int),
      Signature.insertOutput(-1, "sources", Schema.Array(Schema.String))
    )
    expectTypeOf<Signature.Input<typeof more>>().toEqualTypeOf<
      {
        readonly context: ReadonlyArray<string>
        readonly question: string
        readonly day?: Date | undefined
        readonly k: number
      }
    >()
    expectTypeOf<Signature.Output<typeof more>["sources"]>().toEqualTypeOf<ReadonlyArray<string>>()
  })

  it("do not take a name twice", () => {
    // @ts-expect-error is an output
    Signature.prependOutput(qa, "answer", Schema.String)
    // @ts-expect-error is an input
    Signature.appendOutput(qa, "question", Schema.String)
    // @ts-expect-error is an output
    Signature.insertInput(qa, 0, "answer", Schema.String)
    // @ts-expect-error is an output
    pipe(qa, Signature.prependInput("answer", Schema.String))
    // @ts-expect-error a schema that needs a service
    Signature.appendInput(qa, "id", Known)
  })

  it("work for signatures known only by a variable", () => {
    const think = <I extends Signature.Lacks<"reasoning">, O extends Signature.Lacks<"reasoning">>(
      signature: Signature.Signature<I, O>
    ) => Signature.prependOutput(signature, "reasoning", Schema.String)
    const thinking = think(Signature.parse("question -> answer"))
    expectTypeOf<Signature.Output<typeof thinking>>().toEqualTypeOf<
      { readonly answer: string; readonly reasoning: string }
    >()
    // @ts-expect-error has one already
    think(thinking)
  })

  it("change fields", () => {
    const typed = qa.pipe(Signature.withField("answer", Schema.Int), Signature.remove("note"))
    expectTypeOf<Signature.Output<typeof typed>>().toEqualTypeOf<
      { readonly answer: number; readonly confidence: number }
    >()
    expectTypeOf(Signature.remove(qa, "context")).toEqualTypeOf<
      Signature.Signature<{ readonly question: typeof Schema.String }, typeof qa.output.fields>
    >()
    const described = Signature.withDescription(Signature.withDescription(qa, "note", "n"), "answer", "a")
    expectTypeOf<Signature.Output<typeof described>>().toEqualTypeOf<Signature.Output<typeof qa>>()
    expectTypeOf(Signature.withInstructions(qa, "Do.")).toEqualTypeOf(qa)
    expectTypeOf(qa.pipe(Signature.appendInstructions("Do."))).toEqualTypeOf(qa)
  })

  it("do not know unknown names", () => {
    // @ts-expect-error no such field
    Signature.remove(qa, "title")
    // @ts-expect-error no such field
    qa.pipe(Signature.remove("title"))
    // @ts-expect-error no such field
    Signature.withField(qa, "title", Schema.String)
    // @ts-expect-error no such field
    qa.pipe(Signature.withDescription("title", "t"))
  })
})
