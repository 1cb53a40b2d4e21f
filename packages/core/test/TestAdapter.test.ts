import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestAdapter from "@effect-dspy/core/TestAdapter"
import * as XmlAdapter from "@effect-dspy/core/XmlAdapter"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Schema } from "effect"
import { decode, rendered } from "./adapters.ts"

const messages = (answer: (fields: ReadonlyArray<Adapter.Written>) => string) =>
  Adapter.messages({ structure: () => "Answer.", answer, reminder: () => "Answer." })

const headed = messages((fields) => fields.map(({ field, text }) => `## ${field.name}\n${text}`).join("\n\n"))

const markdown = Adapter.make({
  name: "markdown",
  format: (input) => ({ messages: headed(input) }),
  parser: Adapter.delimited({ start: (field) => `\n## ${field}\n` })
})

const closed = messages((fields) => fields.map(({ field, text }) => `<<${field.name}>>${text}<</>>`).join("\n"))

// Another one, whose fields have ends.
const bracketed = Adapter.make({
  name: "bracketed",
  format: (input) => ({ messages: closed(input) }),
  parser: Adapter.delimited({ start: (field) => `<<${field}>>`, end: () => "<</>>" })
})

describe("every adapter keeps the laws", () => {
  for (const adapter of [ChatAdapter.adapter, JsonAdapter.adapter, XmlAdapter.adapter]) {
    it.effect(adapter.name, () => TestAdapter.check(adapter, { seed: 2 }))

    it(`${adapter.name}, where there is nothing to say`, () => {
      const signature = Signature.make({
        input: { q: Schema.String },
        output: { note: Schema.optional(Schema.String), count: Schema.optional(Schema.Int) }
      })
      const decoded = decode(adapter, signature, rendered(adapter, signature, {}))
      assert.deepStrictEqual(decoded, Either.right({ value: {}, encoded: {}, repairs: [] }))
    })
  }

  it.effect("one that is made of delimiters, for values that do not hold them", () =>
    Effect.all([
      TestAdapter.check(markdown, { holds: (text) => text === text.trim() && !text.includes("## ") }),
      TestAdapter.check(bracketed, { holds: (text) => text === text.trim() && !text.includes("<<") })
    ]))
})

describe("an adapter is found out that", () => {
  type Step = (
    state: ReadonlyArray<string>,
    text: string
  ) => readonly [ReadonlyArray<string>, ReadonlyArray<Adapter.FieldEvent>]

  // The chat adapter, read all at once in the end by `parse`.
  const late = (
    name: string,
    parse: (text: string) => string,
    step: Step = (state, text) => [[...state, text], []],
    tell: (events: ReadonlyArray<Adapter.FieldEvent>) => ReadonlyArray<Adapter.FieldEvent> = (events) => events
  ) =>
    Adapter.make({
      name,
      format: ChatAdapter.adapter.format,
      parser: (signature, use) =>
        ChatAdapter.adapter.parser(signature, (chat) =>
          use<ReadonlyArray<string>>({
            initial: [],
            step,
            end: (state) => {
              const [next, first] = chat.step(chat.initial, parse(state.join("")))
              const [rest, parsed] = chat.end(next)
              return [tell([...first, ...rest]), parsed]
            }
          }))
    })

  const law = (adapter: Adapter.Adapter) =>
    Effect.map(
      Effect.either(TestAdapter.check(adapter)),
      (checked) => Either.match(checked, { onLeft: ({ law }) => law, onRight: () => "none" })
    )

  it.effect("is the same in another way: nothing", () =>
    Effect.map(law(late("late", (text) => text)), (law) => assert.strictEqual(law, "none")))

  it.effect("loses something", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* law(late("trimmed", (text) => text.replaceAll("\u2028", ""))), "values")
      const broken = yield* Effect.flip(TestAdapter.check(late("short", (text) => text.slice(0, 30))))
      assert.strictEqual(broken.law, "values")
      assert.include(broken.description, "shown as \"[[ ## ")
    }))

  it.effect("shows no demonstration", () =>
    Effect.gen(function*() {
      const silent = Adapter.make({ ...ChatAdapter.adapter, format: () => ({ messages: [] }) })
      const broken = yield* Effect.flip(TestAdapter.check(silent))
      assert.strictEqual(broken.description, "it throws format shows no demonstration as a turn of the assistant")
    }))

  it.effect("does not tell what it finds", () =>
    Effect.map(
      law(late("silent", (text) => text, undefined, (events) => events.filter(({ _tag }) => _tag !== "FieldEnd"))),
      (law) => assert.strictEqual(law, "events")
    ))

  it.effect("reads pieces one by one", () =>
    Effect.map(
      law(
        late("deaf", (text) => text, (state, text) => [text === "[" && state.length > 3 ? state : [...state, text], []])
      ),
      (law) => assert.strictEqual(law, "splits")
    ))

  it.effect("changes a state", () =>
    Effect.gen(function*() {
      const changing = Adapter.make({
        name: "changing",
        format: ChatAdapter.adapter.format,
        parser: (signature, use) =>
          ChatAdapter.adapter.parser(signature, (chat) => {
            return use<{ text: string }>({
              get initial() {
                return { text: "" }
              },
              step: (state, text) => {
                state.text += text
                return [state, []]
              },
              end: ({ text }) => {
                const [next, first] = chat.step(chat.initial, text)
                const [rest, parsed] = chat.end(next)
                return [[...first, ...rest], parsed]
              }
            })
          })
      })
      assert.strictEqual(yield* law(changing), "states")
    }))

  it.effect("throws", () =>
    Effect.gen(function*() {
      const strict = late("strict", (text) => {
        if (!text.includes("completed")) throw new Error("no end")
        return text
      })
      const broken = yield* Effect.flip(TestAdapter.check(strict))
      assert.strictEqual(broken.message, "The strict adapter breaks the law of events: it throws no end")
    }))
})
