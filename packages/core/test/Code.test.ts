import type * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as Code from "@effect-dspy/core/Code"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as Signature from "@effect-dspy/core/Signature"
import * as XmlAdapter from "@effect-dspy/core/XmlAdapter"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck } from "effect"
import { decode, decodeFields, format, rendered } from "./adapters.ts"

const adapters = [ChatAdapter.adapter, JsonAdapter.adapter, XmlAdapter.adapter]

const signature = Signature.make({ input: {}, output: { code: Code.make("typescript") } })

const read = (raw: Adapter.Raw): Adapter.Decoded => Either.getOrThrow(decodeFields(signature, { code: raw }))

const pieces = [
  "```",
  "```ts",
  "```python",
  "~~~",
  "\n",
  "\"",
  "\\n",
  "const x = `1`",
  "  ",
  "````",
  "Here:",
  "```ts\nx\n```",
  "\"```ts\\nx\\n```\""
]

describe("Code", () => {
  // "fence and prose stripping"
  it("is what stands between the fences", () => {
    const cases: ReadonlyArray<readonly [text: string, code: string]> = [
      ["const x = 1", "const x = 1"],
      ["```ts\nconst x = 1\n```", "const x = 1"],
      ["```typescript\nconst x = 1\n```", "const x = 1"],
      ["```\nconst x = 1\n```", "const x = 1"],
      ["~~~\nconst x = 1\n~~~", "const x = 1"],
      ["````ts\nconst x = \"```\"\n````", "const x = \"```\""],
      ["````md\n```ts\nx\n```\n````", "```ts\nx\n```"],
      ["Here you are:\n\n```ts\nconst x = 1\n\nconst y = 2\n```\n\nEnjoy!", "const x = 1\n\nconst y = 2"],
      ["```ts\nconst x = 1", "const x = 1"],
      ["```ts title=\"a.ts\"\nx\n```", "x"],
      ["  ```ts\n  x\n  ```", "  x"],
      ["```bash\nnpm i\n```\n```ts\nx\n```", "x"],
      ["```ts\r\nx\r\n```", "x"],
      ["```ts\n```", ""]
    ]
    for (const [text, code] of cases) {
      const { encoded, repairs, value } = read({ _tag: "Text", text })
      assert.deepStrictEqual([value["code"], encoded["code"]], [code, code], text)
      assert.deepStrictEqual(repairs, text === code ? [] : ["field \"code\": what is around the code was left out"])
      assert.strictEqual(read({ _tag: "Json", value: text }).value["code"], code, text)
    }
  })

  it("is all of the text where it is not clear which block is meant", () => {
    for (
      const text of [
        "```a\n1\n```\n```b\n2\n```",
        "```ts\n1\n```\nor\n```ts\n2\n```",
        "const s = '```'",
        "a ``` b",
        "\"use strict\""
      ]
    ) {
      assert.strictEqual(read({ _tag: "Text", text }).value["code"], text)
    }
  })

  it.prop("is read back as it was, by every adapter, whatever it looks like", [
    FastCheck.array(FastCheck.constantFrom(...pieces), { maxLength: 6 }).map((parts) => parts.join(""))
  ], ([code]) => {
    const shown = Signature.parse("q -> code: Code[\"typescript\"]")
    for (const adapter of adapters) {
      const found = Either.getOrThrow(decode(adapter, shown, rendered(adapter, shown, { code })))
      assert.strictEqual(found.value["code"], code, adapter.name)
    }
  }, { fastCheck: { seed: 3, numRuns: 200 } })

  // "code output has no schema", "language parameter"
  it("tells the model its language, in the name of its type", () => {
    const system = String(format(ChatAdapter.adapter, signature, {}).messages[0]!.content)
    assert.include(system, "- `code` (Code[\"typescript\"])")
    const { responseFormat } = format(JsonAdapter.adapter, signature, { responseFormat: "jsonSchema" })
    assert.deepInclude(responseFormat, { _tag: "JsonSchema" })
    assert.include(JSON.stringify(responseFormat), "\"code\":{\"type\":\"string\"}")
  })

  it("is written in the text of a signature as in DSPy", () => {
    const text = "draft: Code, parts: Code[] -> code: Code[\"python\"], all: dspy.Code['ts'][]"
    const parsed = Signature.parse(text)
    assert.strictEqual(
      Signature.format(parsed),
      "draft: Code, parts: Code[] -> code: Code[\"python\"], all: Code[\"ts\"][]"
    )
    assert.isTrue(Signature.equals(parsed, Either.getOrThrow(Signature.fromString(Signature.format(parsed)))))
    assert.isFalse(Signature.equals(Signature.parse("q -> a: Code['ts']"), Signature.parse("q -> a: Code['js']")))
    assert.isFalse(Signature.equals(Signature.parse("q -> a: Code"), Signature.parse("q -> a")))
    const wrong = Effect.runSync(Effect.flip(Signature.fromString("q -> code: Code[\"a\", \"b\"]")))
    assert.match(wrong.message, /Code has one language/)
  })
})
