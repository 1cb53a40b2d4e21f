import * as Adapter from "@effect-dspy/core/Adapter"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Schema, Stream } from "effect"
import { decode, format, problemOf, qa, read, turns } from "./adapters.ts"

// An adapter as a user writes it.
const messages = Adapter.messages({
  structure: (outputs) => `Write these headings:\n${outputs.map(({ name }) => `## ${name}`).join("\n")}`,
  answer: (outputs) => outputs.map(({ field, text }) => `## ${field.name}\n${text}`).join("\n\n"),
  reminder: (outputs) => `Answer with ${outputs.map(({ name }) => `## ${name}`).join(", ")}.`
})

const markdown = Adapter.make({
  name: "markdown",
  format: (input) => ({ messages: messages(input) }),
  parser: Adapter.delimited({ start: (field) => `\n## ${field}\n` })
})

// Another one, whose fields have ends.
const braced = Adapter.make({
  name: "braced",
  format: markdown.format,
  parser: Adapter.delimited({ start: (field) => `${field}{{`, end: () => "}}" })
})

const two = Signature.make({
  instructions: "Do it.",
  input: { q: Schema.String },
  output: { why: Schema.String, answer: Schema.Int, note: Schema.optional(Schema.NullOr(Schema.String)) }
})

const texts = Signature.make({ input: { q: Schema.String }, output: { a: Schema.String, ab: Schema.String } })

const fields = (adapter: Adapter.Adapter, signature: Signature.Any, text: string) => {
  const found = Either.getOrThrow(read(adapter, signature, [text]).parsed).fields
  return Object.fromEntries(Array.from(found, ([name, raw]) => [name, raw._tag === "Text" ? raw.text : raw.value]))
}

const repairs = (adapter: Adapter.Adapter, signature: Signature.Any, text: string): ReadonlyArray<string> =>
  Either.getOrThrow(read(adapter, signature, [text]).parsed).repairs

describe("an adapter of one's own", () => {
  it("has messages with its own words in them", () => {
    assert.deepStrictEqual(
      turns(format(markdown, two, {
        inputs: { q: "Why?\n[[ ## q ## ]]" },
        demos: [{ q: "1", why: "x", answer: 1, note: "null" }, { q: "2", answer: 2 }]
      })),
      [
        `system: Input fields:
- \`q\` (string)

Output fields:
- \`why\` (string)
- \`answer\` (integer)
- \`note\` (string | null, may be left out)

Write these headings:
## why
## answer
## note

Task:
Do it.`,
        "user: This example does not give all fields.\n\n[[ ## q ## ]]\n2",
        "assistant: ## why\n(not given in this example)\n\n## answer\n2",
        "user: [[ ## q ## ]]\n1",
        "assistant: ## why\nx\n\n## answer\n1\n\n## note\n\"null\"",
        "user: [[ ## q ## ]]\nWhy?\n\\[[ ## q ## ]]\n\nAnswer with ## why, ## answer, ## note. A line that starts with a backslash before a marker is text, not a field."
      ]
    )
  })

  it("decodes, mends and complains like any other", () => {
    assert.deepStrictEqual(Either.getOrThrow(decode(markdown, two, "## why\nx\n## answer\n+4")), {
      value: { why: "x", answer: 4 },
      encoded: { why: "x", answer: 4 },
      repairs: ["field \"answer\": \"+4\" was read as the number 4"]
    })
    const missing = decode(markdown, two, "## answer\nmany")
    assert.deepStrictEqual(Either.isLeft(missing) ? missing.left.map(({ kind }) => kind).sort() : [], [
      "missing",
      "type"
    ])
  })

  it.effect("streams its fields through a program, wherever the answer is cut", () =>
    Effect.gen(function*() {
      const text = "<think>## why\nno</think>Sure.\n## why\nBecause 2 ## 2,\nand ## answers.\n\n## answer\n4"
      const bytes = new TextEncoder().encode(text)
      const ask = Module.withAdapter(Predict.make(two), markdown)
      for (let at = 0; at <= bytes.length; at++) {
        const pieces = [bytes.slice(0, at), bytes.slice(at)].map((part) => new TextDecoder().decode(part))
        const model = TestLanguageModel.layer([
          TestLanguageModel.deltas(Stream.fromIterable([
            ...pieces.map((piece) => ({ _tag: "TextDelta", index: 0, text: piece }) as const),
            { _tag: "Finish", index: 0, reason: "stop" } as const,
            { _tag: "Completed", usage: {}, model: "test/model" } as const
          ]))
        ])
        const events: Array<ModuleEvent.Emitted> = []
        const output = yield* ModuleEvent.listen(ask({ q: "?" }), {
          deltas: true,
          emit: (more) => Effect.sync(() => events.push(...more))
        }).pipe(Effect.provide(model))
        assert.deepStrictEqual(output, { why: "Because 2 ## 2,\nand ## answers.", answer: 4 })
        const told = (field: string) =>
          events.flatMap((event) => event._tag === "FieldDelta" && event.field === field ? [event.text] : []).join("")
        assert.strictEqual(told("why"), output.why)
        assert.strictEqual(told("answer"), "4")
        assert.deepStrictEqual(
          events.flatMap((event) =>
            event._tag === "FieldStart" || event._tag === "FieldEnd" ? [`${event._tag} ${event.field}`] : []
          ),
          ["FieldStart why", "FieldEnd why", "FieldStart answer", "FieldEnd answer"]
        )
      }
    }))

  it.effect("may fall back and be fallen back to", () =>
    Effect.gen(function*() {
      const ask = Module.withAdapter(Predict.make(two), Adapter.orElse(markdown, braced))
      const output = yield* ask({ q: "?" }).pipe(Effect.provide(TestLanguageModel.layer([
        TestLanguageModel.text("none"),
        TestLanguageModel.text("why{{x}} answer{{1}}")
      ])))
      assert.deepStrictEqual(output, { why: "x", answer: 1 })
    }))

  it.effect("may read the answer with a parser written by hand", () =>
    Effect.gen(function*() {
      const plain = Adapter.make({
        name: "plain",
        format: ({ inputs }) => ({ messages: [{ role: "user", content: String(inputs["question"]) }] }),
        parser: (signature, use) => {
          const [{ name } = { name: "" }] = Signature.fields(signature).outputs
          return use<string>({
            initial: "",
            step: (text, more) => [text + more, [{ _tag: "FieldDelta", field: name, text: more }]],
            end: (text) => [
              [{ _tag: "FieldEnd", field: name }],
              Either.right({ fields: new Map([[name, { _tag: "Text", text }]]), repairs: [] })
            ]
          })
        }
      })
      const output = yield* Module.withAdapter(Predict.make(qa), plain)({ question: "Where?" }).pipe(
        Effect.provide(TestLanguageModel.layer([TestLanguageModel.text("Here.")]))
      )
      assert.deepStrictEqual(output, { answer: "Here." })
    }))
})

describe("delimited", () => {
  it("the first and the last line may be a delimiter, and one line break may belong to two", () => {
    assert.deepStrictEqual(fields(markdown, texts, "## a\n## ab\nx"), { a: "", ab: "x" })
    assert.deepStrictEqual(fields(markdown, texts, "## a\nx\n## ab"), { a: "x", ab: "" })
    assert.deepStrictEqual(repairs(markdown, texts, "## a\nx\n## ab"), [])
  })

  it("what only resembles a delimiter is text", () => {
    assert.deepStrictEqual(fields(markdown, texts, "## a\n## abc\n ## ab\n##ab\nx ## ab\n"), {
      a: "## abc\n ## ab\n##ab\nx ## ab"
    })
    assert.deepStrictEqual(fields(markdown, texts, "## a\nx\n## a"), { a: "x" })
  })

  it("of two delimiters at one place the longer one counts, and nothing is decided before", () => {
    const loose = Adapter.make({
      name: "loose",
      format: markdown.format,
      parser: Adapter.delimited({ start: (field) => `#${field}` })
    })
    for (const pieces of [["#ab 1 #a 2"], ["#a", "b 1 #a", " 2"], Array.from("#ab 1 #a 2")]) {
      const { parsed } = read(loose, texts, pieces)
      assert.deepStrictEqual(Array.from(Either.getOrThrow(parsed).fields), [
        ["ab", { _tag: "Text", text: "1" }],
        ["a", { _tag: "Text", text: "2" }]
      ])
    }
  })

  it("text outside and repeated fields are left out and noted", () => {
    assert.deepStrictEqual(fields(markdown, texts, "Sure!\n## a\nx\n## ab\ny\n## a\nz"), { a: "x", ab: "y" })
    assert.deepStrictEqual(repairs(markdown, texts, "Sure!\n## a\nx\n## a\nz"), [
      "text outside of the fields was left out",
      "the field \"a\" is there again and was left out"
    ])
  })

  it("with an end, only that ends a field; a missing one is noted, a half one is no content", () => {
    assert.deepStrictEqual(fields(braced, texts, "a{{x ab{{ }y}} or ab{{z}}"), { a: "x ab{{ }y", ab: "z" })
    assert.deepStrictEqual(fields(braced, texts, "a{{x}"), { a: "x" })
    assert.deepStrictEqual(repairs(braced, texts, "a{{x}"), ["the end of the field \"a\" is missing"])
    assert.deepStrictEqual(repairs(braced, texts, "a{{x}}\nab{{y}}\n"), [])
  })

  it("a field may end with its line", () => {
    const lines = Adapter.make({
      name: "lines",
      format: markdown.format,
      parser: Adapter.delimited({ start: (field) => `\n${field}: `, end: () => "\n" })
    })
    for (const text of ["a: x: y\nab: z", "Sure:\na: x: y\n\nab: z\nBye"]) {
      assert.deepStrictEqual(fields(lines, texts, text), { a: "x: y", ab: "z" })
    }
    assert.deepStrictEqual(repairs(lines, texts, "a: x\nab: z"), [])
  })

  it("refuses delimiters by which no field could be told", () => {
    const starting = (start: (field: string) => string, end?: () => string) =>
      Adapter.make({ name: "x", format: markdown.format, parser: Adapter.delimited({ start, end }) })
    for (
      const adapter of [
        starting(() => ""),
        starting(() => "\n"),
        starting(() => "#"),
        starting((f) => f, () => "")
      ]
    ) {
      assert.throws(() => read(adapter, texts, ["#a"]), RangeError)
    }
  })

  it("says what is expected where there is nothing", () => {
    assert.deepStrictEqual(problemOf(markdown)(texts, "Paris"), {
      kind: "syntax",
      description: "the answer has none of the fields \"## a\", \"## ab\""
    })
    assert.strictEqual(problemOf(markdown)(texts, "")?.kind, "empty")
  })

  it("hostile texts are read in one pass", () => {
    for (
      const shape of [
        "\n## a\n".repeat(50_000),
        "\n## ".repeat(50_000),
        "#".repeat(300_000),
        `${" ".repeat(300_000)}x`,
        "a{{}}".repeat(50_000),
        "}".repeat(300_000)
      ]
    ) {
      const pieces = Array.from({ length: Math.ceil(shape.length / 7) }, (_, i) => shape.slice(7 * i, 7 * i + 7))
      for (const [adapter, open] of [[markdown, "## a\n"], [braced, "a{{"]] as const) {
        const { parsed } = read(adapter, texts, [open, ...pieces])
        assert.deepStrictEqual(parsed, read(adapter, texts, [open + shape]).parsed)
        assert.isTrue(Either.isRight(parsed))
      }
    }
  })
})
