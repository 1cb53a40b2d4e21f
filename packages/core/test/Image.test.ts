import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as Content from "@effect-dspy/core/Content"
import * as Downloader from "@effect-dspy/core/Downloader"
import * as Image from "@effect-dspy/core/Image"
import * as Json from "@effect-dspy/core/Json"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as SavedProgram from "@effect-dspy/core/SavedProgram"
import * as Signature from "@effect-dspy/core/Signature"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import * as XmlAdapter from "@effect-dspy/core/XmlAdapter"
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Encoding, FastCheck, Layer, Schema } from "effect"
import { format, partsOf } from "./adapters.ts"

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

const png = "\x89PNG\r\n\x1a\n"
const pixel = Either.getOrThrow(Image.fromBytes(bytesOf(`${png}pixel`)))
const distant: Image.Image = { url: "https://example.org/cat.png" }

/** An image as JSON has it. */
const json = ({ url }: Image.Image) => ({ url })

const adapters = [ChatAdapter.adapter, JsonAdapter.adapter, XmlAdapter.adapter]

/** What is between the text of the turns, in order. */
const media = (request: LanguageModel.Request): ReadonlyArray<LanguageModel.Part> =>
  request.messages.flatMap(({ content }) =>
    typeof content === "string" ? [] : content.filter(({ _tag }) => _tag !== "Text")
  )

const look = Signature.parse("photo: Image, question -> answer")

const answering = (answer: string, options?: TestLanguageModel.Options) =>
  TestLanguageModel.layer(() => TestLanguageModel.fields({ answer }), options)

describe("Image", () => {
  describe("is made", () => {
    it("of bytes, by what they begin with", () => {
      const types: ReadonlyArray<readonly [string, string]> = [
        [png, "image/png"],
        ["\xff\xd8\xff\xe0", "image/jpeg"],
        ["GIF89a", "image/gif"],
        ["RIFF....WEBP", "image/webp"],
        ["\0\0\0\x18ftypheic", "image/heic"],
        ["\0\0\0\x18ftypmif1", "image/heif"]
      ]
      for (const [head, type] of types) {
        const { url } = Either.getOrThrow(Image.fromBytes(bytesOf(`${head}rest`)))
        assert.strictEqual(url, `data:${type};base64,${Encoding.encodeBase64(bytesOf(`${head}rest`))}`)
      }
      for (const head of ["", "%PDF-1.7", "<svg/>", "RIFF....WAVE", "\x89PN"]) {
        assert.strictEqual(Either.getOrThrow(Either.flip(Image.fromBytes(bytesOf(head)))).reason, "UnknownType")
      }
    })

    it("of base64, whatever its data URI says of the type", () => {
      const data = Encoding.encodeBase64(bytesOf(`${png}pixel`))
      assert.deepStrictEqual(Image.fromBase64(data), Either.right(pixel))
      assert.deepStrictEqual(Image.fromBase64(`data:image/gif;base64,${data}`), Either.right(pixel))
      const reasons = ["data:image/png;base64,", "no base64", `${data}\n`, "AA=A", "A===", "QUJDRA=="].map((text) =>
        Either.getOrThrow(Either.flip(Image.fromBase64(text))).reason
      )
      assert.deepStrictEqual(reasons, [...Array(5).fill("Malformed"), "UnknownType"])
    })

    it("of an address, which is passed on and not asked for", () => {
      assert.deepStrictEqual(Image.fromUrl(distant.url, { detail: "low" }), Either.right({ ...distant, detail: "low" }))
      assert.deepStrictEqual(Image.fromUrl(new URL(distant.url)), Either.right(distant))
      assert.deepStrictEqual(Image.fromUrl(pixel.url), Either.right(pixel))
    })

    // "constructors and validators never touch disk or network"
    it("of nothing that would be read from here, by no constructor and no schema", () => {
      for (
        const url of [
          "/etc/passwd",
          "cat.png",
          "file:///etc/passwd",
          "https://user:password@example.org/cat.png",
          "http://example.org/cat.png",
          "ftp://example.org/cat.png",
          "https://",
          "javascript:alert(1)",
          "data:image/png,raw",
          "data:image/png;base64,§",
          ""
        ]
      ) {
        assert.strictEqual(Either.getOrThrow(Either.flip(Image.fromUrl(url))).reason, "Malformed", url)
        assert.isTrue(Either.isLeft(Schema.decodeUnknownEither(Image.Image)({ url })), url)
        assert.isTrue(Either.isLeft(Schema.encodeUnknownEither(Image.Image)({ url })), url)
      }
    })

    it("of no type that no model takes, which says what to do", () => {
      for (const type of ["image/svg+xml", "image/tiff", "image/bmp", "text/html", ""]) {
        const url = `data:${type};base64,AAAA`
        const error = Either.getOrThrow(Either.flip(Image.fromUrl(url)))
        assert.strictEqual(error.reason, "UnknownType")
        assert.strictEqual(
          error.message,
          `a data URI of type "${type}" is not an image (PNG, JPEG, GIF, WebP, HEIC or HEIF); convert what it holds`
        )
        assert.isTrue(Either.isLeft(Schema.encodeUnknownEither(Image.Image)({ url })), url)
      }
      assert.isTrue(Either.isRight(Image.fromUrl("data:image/jpg;base64,AAAA")))
    })

    it.effect("of no such type in a program: it is no input, and nothing is asked", () =>
      Effect.gen(function*() {
        const photo = { url: "data:image/svg+xml;base64,PHN2Zy8+" }
        const error = yield* Effect.flip(Predict.make(look)({ photo, question: "?" }))
        assert.strictEqual(error._tag, "InvalidInput")
        assert.include(error.message, `a data URI of type "image/svg+xml" is not an image`)
        assert.include(error.message, "convert what it holds")
        assert.lengthOf(yield* TestLanguageModel.requests, 0)
      }).pipe(Effect.provide(answering("never"))))

    it("of megabytes, in a moment and with no stack", () => {
      const large = new Uint8Array(8 * 1024 * 1024)
      large.set(bytesOf(png))
      const image = Either.getOrThrow(Image.fromBytes(large))
      assert.deepStrictEqual(Schema.encodeSync(Image.Image)(image), image)
    })

    it.effect.prop("bytes, base64 and data URI are one and the same value, which survives JSON", [
      FastCheck.uint8Array({ maxLength: 200 })
    ], ([rest]) =>
      Effect.gen(function*() {
        const image = yield* Image.fromBytes(Uint8Array.from([...bytesOf(png), ...rest]))
        assert.deepStrictEqual(yield* Image.fromBase64(image.url), image)
        assert.deepStrictEqual(yield* Image.fromBase64(image.url.slice(image.url.indexOf(",") + 1)), image)
        const encoded = yield* Schema.encode(Image.Image)(image)
        assert.deepStrictEqual(yield* Schema.decodeUnknown(Image.Image)(JSON.parse(JSON.stringify(encoded))), image)
        assert.strictEqual(Json.hash(encoded), Json.hash({ ...image }))
      }), { fastCheck: { seed: 1, numRuns: 40 } })
  })

  describe("in a file", () => {
    it.scoped("is read inside of the roots only, by any way", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const root = yield* fs.makeTempDirectoryScoped()
        const elsewhere = yield* fs.makeTempDirectoryScoped()
        yield* fs.writeFile(`${root}/a.bin`, bytesOf(`${png}pixel`))
        yield* fs.writeFile(`${elsewhere}/secret.png`, bytesOf(`${png}secret`))
        yield* fs.symlink(`${elsewhere}/secret.png`, `${root}/link.png`)
        yield* fs.symlink(`${root}/a.bin`, `${root}/inside.png`)
        yield* fs.makeDirectory(`${root}/..png`)
        yield* fs.writeFile(`${root}/..png/b.png`, bytesOf(`${png}pixel`))

        assert.deepStrictEqual(yield* Image.fromFile(`${root}/a.bin`, { roots: [elsewhere, root] }), pixel)
        assert.deepStrictEqual(yield* Image.fromFile(`${root}/inside.png`, { roots: [root] }), pixel)
        assert.deepStrictEqual(yield* Image.fromFile(`${root}/..png/b.png`, { roots: [root] }), pixel)
        for (
          const file of [
            `${root}/link.png`,
            `${root}/../${elsewhere.split("/").at(-1)}/secret.png`,
            `${elsewhere}/secret.png`,
            `${elsewhere}/missing.png`,
            "/etc/passwd",
            root
          ]
        ) {
          const error = yield* Effect.flip(Image.fromFile(file, { roots: [root] }))
          assert.deepInclude(error, { _tag: "MediaError", reason: "NotAllowed" }, file)
        }
        const none = yield* Effect.flip(Image.fromFile(`${root}/a.bin`, { roots: [] }))
        assert.deepInclude(none, { reason: "NotAllowed" })
        const directory = yield* Effect.flip(Image.fromFile(`${root}/..png`, { roots: [root] }))
        assert.deepInclude(directory, { reason: "NotAllowed" })
        const missing = yield* Effect.flip(Image.fromFile(`${root}/missing.png`, { roots: [root] }))
        assert.deepInclude(missing, { _tag: "SystemError", reason: "NotFound" })
      }).pipe(Effect.provide(NodeContext.layer)))

    it.scoped("is refused when it is too large, or no image", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const root = yield* fs.makeTempDirectoryScoped()
        yield* fs.writeFile(`${root}/a.png`, bytesOf(`${png}pixel`))
        yield* fs.writeFileString(`${root}/notes.png`, "not what it is called")
        assert.deepStrictEqual(yield* Image.fromFile(`${root}/a.png`, { roots: [root], maxBytes: 13 }), pixel)
        const large = yield* Effect.flip(Image.fromFile(`${root}/a.png`, { roots: [root], maxBytes: 12 }))
        assert.deepInclude(large, { _tag: "MediaError", reason: "TooLarge" })
        const text = yield* Effect.flip(Image.fromFile(`${root}/notes.png`, { roots: [root] }))
        assert.deepInclude(text, { _tag: "MediaError", reason: "UnknownType" })
      }).pipe(Effect.provide(NodeContext.layer)))
  })

  it.effect("at an address is fetched by the Downloader of the program, and told by its bytes", () => {
    const asked: Array<unknown> = []
    const pages: { readonly [url: string]: string } = {
      "https://a.test/b": `${png}pixel`,
      "https://a.test/c": "<html>"
    }
    const Fake = Layer.succeed(Downloader.Downloader, {
      get: (url, options) => {
        asked.push([url, options])
        return Effect.succeed(bytesOf(pages[url]!))
      }
    })
    return Effect.gen(function*() {
      assert.deepStrictEqual(yield* Image.fetch("https://a.test/b"), pixel)
      const page = yield* Effect.flip(Image.fetch("https://a.test/c", { maxBytes: 10 }))
      assert.deepInclude(page, { _tag: "MediaError", reason: "UnknownType" })
      assert.deepStrictEqual(asked, [
        ["https://a.test/b", { maxBytes: 20 * 1024 * 1024 }],
        ["https://a.test/c", { maxBytes: 10 }]
      ])
    }).pipe(Effect.provide(Fake))
  })

  describe("is shown", () => {
    it("in its place, by every adapter", () => {
      for (const adapter of adapters) {
        const request = format(adapter, look, {
          inputs: { photo: { ...json(pixel), detail: "high" }, question: "Who?" }
        })
        const content = partsOf(request.messages.at(-1))
        assert.deepStrictEqual(
          content.map((part) => part._tag !== "Text" ? part : part.text.split("Answer with")[0]),
          [
            "[[ ## photo ## ]]\n",
            { _tag: "Image", ...pixel, detail: "high" },
            "\n\n[[ ## question ## ]]\nWho?\n\n"
          ],
          adapter.name
        )
        assert.include(String(request.messages[0]!.content), "- `photo` (Image)")
      }
    })

    it("in demonstrations, whole and partial ones", () => {
      for (const adapter of adapters) {
        const request = format(adapter, look, {
          inputs: { photo: json(distant), question: "Who?" },
          demos: [{ photo: json(pixel), question: "What?", answer: "a pixel" }, {
            photo: json(pixel),
            answer: "a dot"
          }]
        })
        assert.deepStrictEqual(media(request).map((part) => "url" in part && part.url), [
          pixel.url,
          pixel.url,
          distant.url
        ])
        const [partial, whole] = request.messages.filter(({ role }) => role === "user")
        assert.deepInclude(partsOf(partial)[0], {
          text: "This example does not give all fields.\n\n[[ ## photo ## ]]\n"
        })
        assert.deepInclude(partsOf(whole)[2], { text: "\n\n[[ ## question ## ]]\nWhat?" })
      }
    })

    it("nested in lists and records, between their JSON", () => {
      const Album = Schema.Struct({ title: Schema.String, cover: Schema.optional(Image.Image) })
      const signature = Signature.make({
        input: { photos: Schema.Array(Image.Image), albums: Schema.Record({ key: Schema.String, value: Album }) },
        output: { answer: Schema.String }
      })
      const request = format(ChatAdapter.adapter, signature, {
        inputs: {
          photos: [json(pixel), json(distant)],
          albums: { "a \"b\"": { title: "[[ ## photos ## ]]", cover: json(distant) }, empty: { title: "none" } }
        }
      })
      const shown = partsOf(request.messages[1]).map((part) =>
        part._tag === "Text" ? part.text : `<${part.url.slice(0, 9)}>`
      )
      assert.strictEqual(
        shown.join("").split("\n\nAnswer with")[0],
        "[[ ## photos ## ]]\n[<data:imag>,<https://e>]\n\n" +
          "[[ ## albums ## ]]\n{\"a \\\"b\\\"\":{\"title\":\"[[ ## photos ## ]]\",\"cover\":<https://e>},\"empty\":{\"title\":\"none\"}}"
      )
      assert.include(String(request.messages[0]!.content), "- `photos` (Image[])")
    })

    it("where it may also be something else", () => {
      const signature = Signature.parse("photo: Image | string, other?: Image, third: Image | null -> answer")
      const text = format(ChatAdapter.adapter, signature, { inputs: { photo: "no photo", third: null } })
      assert.match(
        String(text.messages[1]!.content),
        /^\[\[ ## photo ## \]\]\nno photo\n\n\[\[ ## third ## \]\]\nnull\n\n/
      )
      const request = format(ChatAdapter.adapter, signature, {
        inputs: { photo: json(pixel), other: json(distant), third: json(pixel) }
      })
      assert.strictEqual(media(request).length, 3)
    })

    it("by the name of its type where it is given, and by what it is made of where it is to be written", () => {
      const signature = Signature.parse("photos: dspy.Image[] -> best: Image")
      assert.strictEqual(
        Signature.format(signature),
        "photos: Image[] -> best: { url: string, detail?: \"auto\" | \"low\" | \"high\" }"
      )
      const request = format(JsonAdapter.adapter, signature, { responseFormat: "jsonSchema", inputs: { photos: [] } })
      assert.strictEqual(request.responseFormat?._tag, "JsonSchema")
    })

    it("in no demonstration whose value is none, whatever a file says", () => {
      for (const photo of ["https://example.org/a.png", { url: "file:///etc/passwd" }, { href: "x" }, 7, null]) {
        const request = format(ChatAdapter.adapter, look, {
          inputs: { photo: json(distant), question: "Who?" },
          demos: [{ photo, question: "What?", answer: "nothing" }]
        })
        assert.deepStrictEqual(media(request), [{ _tag: "Image", ...distant }])
      }
    })

    it("a list of values without any is text", () => {
      const request = format(ChatAdapter.adapter, Signature.parse("photos: Image[] -> answer"), {
        inputs: { photos: [] }
      })
      assert.isString(request.messages[1]!.content)
    })
  })

  describe("in a program", () => {
    it.effect("is checked, traced as JSON and part of the request", () =>
      Effect.gen(function*() {
        const describe = Predict.make(look)
        const [output, trace] = yield* Trace.capture(describe({ photo: pixel, question: "Who?" }))
        assert.deepStrictEqual(output, { answer: "a pixel" })
        assert.deepStrictEqual(trace[0]!.inputs, { photo: json(pixel), question: "Who?" })
        assert.deepStrictEqual(media((yield* TestLanguageModel.requests)[0]!), [{ _tag: "Image", ...pixel }])
        const error = yield* Effect.flip(describe({ photo: { url: "/etc/passwd" }, question: "Who?" }))
        assert.strictEqual(error._tag, "InvalidInput")
        assert.match(error.message, /must be an https: address/)
        assert.strictEqual((yield* TestLanguageModel.requests).length, 1)
      }).pipe(Effect.provide(answering("a pixel"))))

    it.effect("as an output is read and checked", () =>
      Effect.gen(function*() {
        const pick = Predict.make("photos: Image[] -> best: Image", { adapter: ChatAdapter.adapter })
        assert.deepStrictEqual(yield* pick({ photos: [pixel, distant] }), { best: distant })
        const error = yield* Effect.flip(pick({ photos: [] }))
        assert.strictEqual(error._tag, "AdapterParseError")
      }).pipe(Effect.provide(TestLanguageModel.layer([
        TestLanguageModel.fields({ best: json(distant) }),
        TestLanguageModel.fields({ best: { url: "file:///etc/passwd" } })
      ]))))

    it.effect("a model that takes none says so before anything is asked", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Predict.make(look)({ photo: pixel, question: "Who?" }))
        assert.strictEqual(error._tag, "LanguageModelError")
        assert.match(error.message, /takes no images/)
        assert.deepStrictEqual(yield* TestLanguageModel.calls, [])
        const heard = yield* Effect.flip(
          LanguageModel.stream({ messages: [{ role: "user", content: [{ _tag: "Image", ...pixel }] }] }).pipe(
            (stream) => LanguageModel.fold(stream, "test/blind")
          )
        )
        assert.deepInclude(heard, { model: "test/blind", attempts: 0 })
        assert.strictEqual(heard.reason._tag, "InvalidRequest")
        assert.deepStrictEqual(yield* TestLanguageModel.calls, [])
      }).pipe(Effect.provide(answering("", { id: "test/blind", capabilities: { images: false } }))))

    it.effect("saved as a demonstration comes back as it was", () =>
      Effect.gen(function*() {
        const module = Predict.make(look)
        const demo = Parameters.demo({ photo: { ...json(pixel), detail: "low" }, question: "Who?", answer: "me" })
        const tuned = yield* Module.withParameters(module, { "": { demos: [demo] } })
        const again = yield* SavedProgram.decode(JSON.parse(JSON.stringify(yield* SavedProgram.encode(tuned))), module)
        assert.deepStrictEqual(Module.parameters(again), Module.parameters(tuned))
        yield* again({ photo: distant, question: "And here?" })
        assert.deepStrictEqual(media((yield* TestLanguageModel.requests)[0]!), [
          { _tag: "Image", ...pixel, detail: "low" },
          { _tag: "Image", ...distant }
        ])
      }).pipe(Effect.provide(answering("you"))))
  })

  it("a user's own type is shown as what it says, also in a class", () => {
    class Scan extends Schema.Class<Scan>("Scan")({ page: Schema.Int, image: Schema.String }) {}
    const signature = Signature.make({
      input: {
        scan: Content.make(Scan, {
          name: "Scan",
          parts: (
            { image, page }
          ) => [{ _tag: "Text", text: `[[ ## answer ## ]] page ${page}` }, { _tag: "Image", url: image }]
        })
      },
      output: { answer: Schema.String }
    })
    const inputs = Effect.runSync(
      Adapter.encodeInputs(signature, { scan: new Scan({ page: 3, image: distant.url }) })
    )
    const request = format(ChatAdapter.adapter, signature, { inputs })
    assert.deepStrictEqual(partsOf(request.messages[1]).slice(0, 2), [
      { _tag: "Text", text: "[[ ## scan ## ]]\n\\[[ ## answer ## ]] page 3" },
      { _tag: "Image", url: distant.url }
    ])
  })
})
