/**
 * What each provider makes of the parts of a message, and which of them it
 * refuses. `docs/values.md` has the same as a table.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Anthropic from "@effect-dspy/providers/Anthropic"
import * as Gemini from "@effect-dspy/providers/Gemini"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import { FetchHttpClient } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as anthropic from "../src/internal/anthropic.ts"
import * as chat from "../src/internal/chatCompletions.ts"
import * as dialects from "../src/internal/dialects.ts"
import * as gemini from "../src/internal/gemini.ts"
import { inputBound } from "../src/internal/tokens.ts"
import { inline } from "../src/internal/wire.ts"

const png = "data:image/png;base64,AA=="
const mp3 = "data:audio/mpeg;base64,AA=="
const wav = "data:audio/x-wav;base64,AA=="
const pdf = "data:application/pdf;base64,AA=="
const at = (name: string) => `https://example.org/${name}`

const asking = (...content: ReadonlyArray<LanguageModel.Part>): LanguageModel.Request => ({
  messages: [{ role: "user", content }]
})

const everything = asking(
  { _tag: "Text", text: "notes", document: { title: "Notes" } },
  { _tag: "Image", url: png, detail: "low" },
  { _tag: "Image", url: at("a.png") },
  { _tag: "Audio", url: mp3 },
  { _tag: "Audio", url: wav },
  { _tag: "File", url: pdf, title: "Report" },
  { _tag: "File", url: pdf },
  { _tag: "File", url: at("b.pdf") }
)

const target = { model: "m", dialect: dialects.known.openai, thinkBlock: undefined }

describe("parts of a message", () => {
  it("as OpenAI's protocol has them", () => {
    assert.deepStrictEqual(JSON.parse(chat.encode(everything, target, false)).messages[0].content, [
      { type: "text", text: "notes" },
      { type: "image_url", image_url: { url: png, detail: "low" } },
      { type: "image_url", image_url: { url: at("a.png") } },
      { type: "input_audio", input_audio: { data: "AA==", format: "mp3" } },
      { type: "input_audio", input_audio: { data: "AA==", format: "wav" } },
      { type: "file", file: { filename: "Report", file_data: pdf } },
      { type: "file", file: { filename: "document.pdf", file_data: pdf } },
      { type: "file", file: { filename: "document.pdf", file_data: at("b.pdf") } }
    ])
  })

  it("as Anthropic has them: documents are sources, unless the answer is held to a schema", () => {
    const sent = (request: LanguageModel.Request) =>
      JSON.parse(anthropic.encode(request, { model: "claude-haiku-4-5", stream: false, cache: "off" })).messages[0]
        .content
    const citations = { enabled: true }
    const source = { type: "base64", media_type: "application/pdf", data: "AA==" }
    assert.deepStrictEqual(sent(everything), [
      {
        type: "document",
        source: { type: "text", media_type: "text/plain", data: "notes" },
        title: "Notes",
        citations
      },
      { type: "image", source: { type: "base64", media_type: "image/png", data: "AA==" } },
      { type: "image", source: { type: "url", url: at("a.png") } },
      { type: "document", source, title: "Report", citations },
      { type: "document", source, citations },
      { type: "document", source: { type: "url", url: at("b.pdf") }, citations }
    ])
    const held = { ...asking({ _tag: "File", url: pdf }), responseFormat: { _tag: "JsonObject" } as const }
    assert.deepStrictEqual(sent(held), [{ type: "document", source }])
  })

  it("as Google has them", () => {
    const { contents } = JSON.parse(gemini.encode(everything, { model: "gemini-3-flash" }))
    assert.deepStrictEqual(contents[0].parts, [
      { text: "notes" },
      { inlineData: { mimeType: "image/png", data: "AA==" } },
      { fileData: { fileUri: at("a.png") } },
      { inlineData: { mimeType: "audio/mpeg", data: "AA==" } },
      { inlineData: { mimeType: "audio/wav", data: "AA==" } },
      { inlineData: { mimeType: "application/pdf", data: "AA==" } },
      { inlineData: { mimeType: "application/pdf", data: "AA==" } },
      { fileData: { mimeType: "application/pdf", fileUri: at("b.pdf") } }
    ])
  })

  it("of tens of megabytes are read without an expression, which would exhaust its stack", () => {
    const data = "A".repeat(28 * 1024 * 1024)
    assert.strictEqual(inline(`data:image/png;base64,${data}`)?.data.length, data.length)
    for (const url of ["https://a.test/b,c", "data:image/png,raw", "data:", "data:image/png;base64"]) {
      assert.isUndefined(inline(url), url)
    }
  })

  describe("are refused before anything is sent", () => {
    // No connection could be made: whoever refuses does so first.
    const refusal = (model: LanguageModel.Service, part: LanguageModel.Part) =>
      Effect.map(Effect.flip(model.generate(asking(part))), ({ attempts, reason }) => {
        assert.strictEqual(attempts, 0)
        return reason._tag === "InvalidRequest" ? reason.description : reason._tag
      })

    it.effect("where the model does not take them", () =>
      Effect.gen(function*() {
        const claude = yield* Anthropic.make({ model: "claude-haiku-4-5", baseUrl: "http://127.0.0.1:1" })
        assert.match(yield* refusal(claude, { _tag: "Audio", url: mp3 }), /takes no audio/)
        const blind = yield* Gemini.make({ model: "m", baseUrl: "http://127.0.0.1:1", capabilities: { images: false } })
        assert.match(yield* refusal(blind, { _tag: "Image", url: png }), /takes no images/)
        for (const dialect of ["ollama", "groq", "deepseek", "mistral"] as const) {
          const model = yield* OpenAiCompatible.make({ dialect, model: "m", baseUrl: "http://127.0.0.1:1" })
          assert.match(yield* refusal(model, { _tag: "Audio", url: mp3 }), /takes no audio/)
          assert.match(yield* refusal(model, { _tag: "File", url: pdf }), /takes no files/)
        }
      }).pipe(Effect.provide(FetchHttpClient.layer)))

    it.effect("where the API takes other types of them only", () =>
      Effect.gen(function*() {
        const baseUrl = "http://127.0.0.1:1"
        const claude = yield* Anthropic.make({ model: "claude-haiku-4-5", baseUrl })
        const google = yield* Gemini.make({ model: "gemini-3-flash", baseUrl })
        const openai = yield* OpenAiCompatible.make({ dialect: "openai", model: "m", baseUrl })
        const azure = yield* OpenAiCompatible.make({ dialect: "azure", model: "m", baseUrl })
        const image = (type: string): LanguageModel.Part => ({ _tag: "Image", url: `data:image/${type};base64,AA==` })
        const sound = (type: string): LanguageModel.Part => ({ _tag: "Audio", url: `data:audio/${type};base64,AA==` })
        for (const model of [claude, google, openai, azure]) {
          assert.match(
            yield* refusal(model, image("svg+xml")),
            /^the API takes no image\/svg\+xml as an image; convert it/
          )
          assert.match(
            yield* refusal(model, { _tag: "File", url: "data:text/rtf;base64,AA==" }),
            /(takes no text\/rtf as a document; convert it to application\/pdf|takes no files)/
          )
        }
        assert.match(
          yield* refusal(claude, image("heic")),
          /takes no image\/heic as an image; convert it to image\/png/
        )
        assert.match(yield* refusal(google, image("gif")), /takes no image\/gif/)
        assert.match(yield* refusal(google, sound("midi")), /takes no audio\/midi as sound/)
        for (const model of [openai, azure]) assert.match(yield* refusal(model, sound("ogg")), /takes no audio\/ogg/)
        // What is taken gets as far as the connection, and so does what a server of its own may take.
        const vllm = yield* OpenAiCompatible.make({ dialect: "vllm", model: "m", baseUrl })
        for (
          const [model, part] of [
            [claude, image("jpg")],
            [google, image("heic")],
            [google, sound("x-wav")],
            [openai, sound("x-wav")],
            [vllm, sound("ogg")]
          ] as const
        ) {
          assert.notInclude(["InvalidRequest"], (yield* Effect.flip(model.generate(asking(part)))).reason._tag)
        }
        const [{ source }] = JSON.parse(
          anthropic.encode(asking(image("jpg")), { model: "claude-haiku-4-5", stream: false, cache: "off" })
        ).messages[0].content
        assert.strictEqual(source.media_type, "image/jpeg")
      }).pipe(Effect.provide(FetchHttpClient.layer)))

    it.effect("where the server takes no address in their place", () =>
      Effect.gen(function*() {
        const openai = yield* OpenAiCompatible.make({ dialect: "openai", model: "m", baseUrl: "http://127.0.0.1:1" })
        assert.match(
          yield* refusal(openai, { _tag: "Audio", url: at("a.mp3") }),
          /no address in place of sound; fetch it/
        )
        assert.match(yield* refusal(openai, { _tag: "File", url: at("a.pdf") }), /no address in place of a document/)
        const ollama = yield* OpenAiCompatible.make({ dialect: "ollama", model: "m", baseUrl: "http://127.0.0.1:1" })
        assert.match(yield* refusal(ollama, { _tag: "Image", url: at("a.png") }), /no address in place of an image/)
        assert.deepStrictEqual(dialects.known.openrouter.addresses, ["Image", "File"])
      }).pipe(Effect.provide(FetchHttpClient.layer)))
  })

  it("take no more tokens than is reserved for them", () => {
    const bound = (part: LanguageModel.Part) => inputBound(asking(part)) - inputBound(asking())
    assert.isAtLeast(bound({ _tag: "Image", url: png }), 1600)
    assert.isAtMost(bound({ _tag: "Image", url: `${png}${"A".repeat(1e6)}` }), 10_000)
    assert.strictEqual(bound({ _tag: "File", url: `${pdf}${"A".repeat(1e6)}` }), 500_000)
    assert.strictEqual(bound({ _tag: "File", url: at("a.pdf") }), 500_000)
    assert.isAtLeast(bound({ _tag: "Audio", url: `${mp3}${"A".repeat(90_000)}` }), 90_000)
  })
})
