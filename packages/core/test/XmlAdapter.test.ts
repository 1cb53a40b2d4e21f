import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as XmlAdapter from "@effect-dspy/core/XmlAdapter"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Schema } from "effect"
import { decode, format, problemOf, qa, read, turns } from "./adapters.ts"

const adapter = XmlAdapter.adapter

const two = Signature.make({
  input: { question: Schema.String },
  output: { reasoning: Schema.String, answer: Schema.String }
})

const values = (signature: Signature.Any, text: string) => Either.getOrThrow(decode(adapter, signature, text)).value

const repairs = (signature: Signature.Any, text: string): ReadonlyArray<string> =>
  Either.getOrThrow(read(adapter, signature, [text]).parsed).repairs

describe("XmlAdapter", () => {
  it("asks for an element for each field", () => {
    const signature = Signature.make({
      input: { question: Schema.String },
      output: { answer: Schema.String, stars: Schema.Int, note: Schema.optional(Schema.String) },
      instructions: "Rate it."
    })
    const request = format(adapter, signature, {
      inputs: { question: "Why?" },
      demos: [{ question: "Is 1 < 2?", answer: "a < b & c", stars: 3 }]
    })
    assert.deepStrictEqual(turns(request), [
      `system: Input fields:
- \`question\` (string)

Output fields:
- \`answer\` (string)
- \`stars\` (integer)
- \`note\` (string, may be left out)

Answer with these elements in this order, their content being strings as they are, anything else as JSON:

<answer>
{answer}
</answer>

<stars>
{stars}
</stars>

<note>
{note}
</note>

Task:
Rate it.`,
      "user: [[ ## question ## ]]\nIs 1 < 2?",
      "assistant: <answer>\na &lt; b &amp; c\n</answer>\n\n<stars>\n3\n</stars>",
      "user: [[ ## question ## ]]\nWhy?\n\nAnswer with <answer>, then <stars> (integer), then <note> (string, may be left out)."
    ])
  })

  it("reads elements in any order, with whatever is around them left out", () => {
    const text = "Sure!\n<answer>Paris</answer> and <reasoning>\n  It is.\n</reasoning> <b>done</b>"
    assert.deepStrictEqual(values(two, text), { reasoning: "It is.", answer: "Paris" })
    assert.deepStrictEqual(repairs(two, text), ["text outside of the elements was left out"])
    assert.deepStrictEqual(repairs(two, "<reasoning>a</reasoning>\n\n<answer>b</answer>\n"), [])
  })

  it("takes markup of any other name for text", () => {
    const code = "<div class=\"a\">\n  if (a < b && c > d) &nbsp; <reasoning> &#; </div>"
    assert.deepStrictEqual(values(qa, `<answer>${code}</answer>`), { answer: code })
    assert.deepStrictEqual(values(two, `<reasoning><answer>no</answer></reasoning><answer>yes</answer>`), {
      reasoning: "<answer>no</answer>",
      answer: "yes"
    })
  })

  it("reads references, and nothing that is none", () => {
    assert.deepStrictEqual(values(qa, "<answer>&lt;a&gt; &amp;amp; &quot;&apos; &#65;&#x42;</answer>"), {
      answer: "<a> &amp; \"' AB"
    })
    assert.deepStrictEqual(values(qa, "<answer>AT&T &unknown; &#xd800; &#9999999; &</answer>"), {
      answer: "AT&T &unknown; &#xd800; &#9999999; &"
    })
  })

  it("reads tags that are written in another way", () => {
    assert.deepStrictEqual(values(qa, "< Answer lang='en' >x</ANSWER >"), { answer: "x" })
    assert.deepStrictEqual(repairs(qa, "<Answer>x</Answer>"), ["<Answer> was read as <answer>"])
    assert.deepStrictEqual(values(two, "<reasoning/><answer>x</answer>"), { reasoning: "", answer: "x" })
    assert.deepStrictEqual(values(qa, "<answer>first</answer><answer>second</answer>"), { answer: "first" })
    assert.deepStrictEqual(values(qa, "<think><answer>no</answer></think><answer>yes</answer>"), { answer: "yes" })
  })

  describe("the content of an element is the value of its field", () => {
    interface Tree {
      readonly label: string
      readonly branches: ReadonlyArray<Tree>
    }
    const Tree: Schema.Schema<Tree> = Schema.Struct({
      label: Schema.String,
      branches: Schema.Array(Schema.suspend(() => Tree))
    }).annotations({ identifier: "Tree" })
    const Person = Schema.Struct({ name: Schema.String, age: Schema.optional(Schema.Int) })
    const contents: ReadonlyArray<
      readonly [name: string, field: Signature.Fields[string], content: string, value: unknown]
    > = [
      ["a number", Schema.Int, " 4 ", 4],
      ["a boolean", Schema.Boolean, "True", true],
      ["a permitted value in another case", Schema.Literal("billing"), "Billing", "billing"],
      ["a record", Person, "{\"name\": \"Ann\", \"age\": 3}", { name: "Ann", age: 3 }],
      ["a list of records", Schema.Array(Person), "[{\"name\": \"Ann\"}]", [{ name: "Ann" }]],
      ["a record of any keys", Schema.Record({ key: Schema.String, value: Schema.Int }), "{\"a b <c>\": 1}", {
        "a b <c>": 1
      }],
      ["an empty list", Schema.Array(Schema.String), "[]", []],
      [
        "a type that contains itself",
        Tree,
        "{\"label\": \"a\", \"branches\": [{\"label\": \"b\", \"branches\": []}]}",
        {
          label: "a",
          branches: [{ label: "b", branches: [] }]
        }
      ],
      ["null", Schema.NullOr(Schema.Int), "null", null],
      ["nothing where null may be", Schema.NullOr(Schema.Int), "", null],
      ["an integer or text: an integer", Schema.Union(Schema.Int, Schema.String), "7", 7],
      ["an integer or text: text", Schema.Union(Schema.Int, Schema.String), "seven", "seven"],
      ["references in JSON", Schema.Array(Schema.String), "[&quot;a &lt; b&quot;]", ["a < b"]],
      ["JSON between fences", Schema.Array(Schema.Int), "```json\n[1, 2]\n```", [1, 2]]
    ]
    for (const [name, field, content, value] of contents) {
      it(name, () => {
        const signature = Signature.make({ input: { q: Schema.String }, output: { x: field } })
        assert.deepStrictEqual(values(signature, `<x>${content}</x>`), { x: value })
      })
    }

    const refused: ReadonlyArray<readonly [name: string, field: Signature.Fields[string], content: string]> = [
      ["prose for a number", Schema.Int, "about four"],
      ["nothing for a number", Schema.Int, ""],
      ["an unknown value", Schema.Literal("billing"), "sales"],
      ["elements for a list", Schema.Array(Schema.String), "<item>a</item>"]
    ]
    for (const [name, field, content] of refused) {
      it(`refused: ${name}`, () => {
        const signature = Signature.make({ input: { q: Schema.String }, output: { x: field } })
        const found = decode(adapter, signature, `<x>${content}</x>`)
        assert.deepStrictEqual(Either.isLeft(found) ? found.left.map(({ kind }) => kind) : [], ["type"])
      })
    }

    it("what may be left out is absent, what has a default has it", () => {
      const signature = Signature.make({
        input: { q: Schema.String },
        output: {
          answer: Schema.String,
          note: Schema.optional(Schema.String),
          tone: Schema.optionalWith(Schema.String, { default: () => "calm" })
        }
      })
      assert.deepStrictEqual(values(signature, "<answer>x</answer>"), { answer: "x", tone: "calm" })
      assert.deepStrictEqual(values(signature, "<answer>x</answer><tone>sharp</tone><note>n</note>"), {
        answer: "x",
        tone: "sharp",
        note: "n"
      })
    })
  })

  it("says when the last end tag is missing, and takes no part of it for content", () => {
    for (const end of ["", "<", "</", "</ans", "</answer"]) {
      assert.deepStrictEqual(values(qa, `<answer>x${end}`), { answer: "x" })
      assert.deepStrictEqual(repairs(qa, `<answer>x${end}`), ["the end tag </answer> is missing"])
    }
    assert.deepStrictEqual(values(qa, "<answer>x</other"), { answer: "x</other" })
  })

  it("says what is expected where there is nothing", () => {
    const problem = problemOf(adapter)
    assert.strictEqual(problem(two, "Paris")?.description, "the answer has none of the elements <reasoning>, <answer>")
    assert.strictEqual(problem(two, "")?.kind, "empty")
    const found = decode(adapter, two, "<answer>x</answer>")
    assert.strictEqual(Either.isLeft(found) ? found.left[0]?.kind : undefined, "missing")
  })

  it.effect("carries a prediction", () =>
    Effect.gen(function*() {
      const ask = Predict.make("question -> reasoning, answer: int", { adapter })
      const output = yield* ask({ question: "2 + 2?" }).pipe(
        Effect.provide(TestLanguageModel.layer([
          TestLanguageModel.text("<reasoning>2 and 2</reasoning>\n<answer>4</answer>")
        ]))
      )
      assert.deepStrictEqual(output, { reasoning: "2 and 2", answer: 4 })
    }))
})
