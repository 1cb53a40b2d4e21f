import * as Audio from "@effect-dspy/core/Audio"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Encoding, Schema } from "effect"
import { partsOf } from "./adapters.ts"

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

describe("Audio", () => {
  it("is told by what its bytes begin with", () => {
    const types: ReadonlyArray<readonly [string, string]> = [
      ["RIFF....WAVEfmt ", "wav"],
      ["ID3\x04", "mpeg"],
      ["\xff\xfb\x90", "mpeg"],
      ["fLaC", "flac"],
      ["OggS", "ogg"],
      ["\0\0\0\x20ftypM4A ", "mp4"],
      ["\xff\xf1\x50", "aac"],
      ["FORM....AIFF", "aiff"],
      ["\x1a\x45\xdf\xa3", "webm"]
    ]
    for (const [head, type] of types) {
      const bytes = bytesOf(`${head}sound`)
      const url = `data:audio/${type};base64,${Encoding.encodeBase64(bytes)}`
      assert.deepStrictEqual(Audio.fromBytes(bytes), Either.right({ url }))
      // "format `x-` prefix dropped"
      assert.deepStrictEqual(Audio.fromBase64(url.replace("audio/", "audio/x-")), Either.right({ url }))
    }
    for (const head of ["RIFF....WEBP", "GIF89a", "", "MThd"]) {
      assert.strictEqual(Either.getOrThrow(Either.flip(Audio.fromBytes(bytesOf(head)))).reason, "UnknownType")
    }
  })

  it("touches no disk and no network", () => {
    for (const url of ["/tmp/a.wav", "a.wav", "file:///a.wav", "http://a.test/a.wav", "data:image/png;base64,AAAA"]) {
      assert.strictEqual(
        Either.getOrThrow(Either.flip(Audio.fromUrl(url))).reason,
        url.startsWith("data:") ? "UnknownType" : "Malformed",
        url
      )
      assert.isTrue(Either.isLeft(Schema.decodeUnknownEither(Audio.Audio)({ url })), url)
    }
  })

  it.scoped("in a file is read inside of the roots", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const root = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFile(`${root}/a`, bytesOf("OggS"))
      assert.deepStrictEqual(yield* Audio.fromFile(`${root}/a`, { roots: [root] }), {
        url: "data:audio/ogg;base64,T2dnUw=="
      })
      assert.deepInclude(yield* Effect.flip(Audio.fromFile(`${root}/../a`, { roots: [root] })), {
        reason: "NotAllowed"
      })
    }).pipe(Effect.provide(NodeContext.layer)))

  it.effect("is heard in its place, by models that do", () =>
    Effect.gen(function*() {
      const transcribe = Predict.make("recording: dspy.Audio, language -> text")
      const recording = { url: "data:audio/ogg;base64,T2dnUw==" }
      assert.deepStrictEqual(yield* transcribe({ recording, language: "en" }), { text: "hello" })
      const [request] = yield* TestLanguageModel.requests
      assert.deepStrictEqual(partsOf(request!.messages[1]).slice(0, 2), [
        { _tag: "Text", text: "[[ ## recording ## ]]\n" },
        { _tag: "Audio", ...recording }
      ])
      const error = yield* Effect.flip(
        Effect.provide(
          transcribe({ recording, language: "en" }),
          TestLanguageModel.layer([], { capabilities: { audio: false } })
        )
      )
      assert.match(error.message, /takes no audio/)
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ text: "hello" })]))))
})
