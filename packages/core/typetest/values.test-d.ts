import type * as Audio from "@effect-dspy/core/Audio"
import type * as Citations from "@effect-dspy/core/Citations"
import * as Code from "@effect-dspy/core/Code"
import * as Content from "@effect-dspy/core/Content"
import type * as Document from "@effect-dspy/core/Document"
import type * as Downloader from "@effect-dspy/core/Downloader"
import * as History from "@effect-dspy/core/History"
import * as Image from "@effect-dspy/core/Image"
import type { JsonRecord } from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Media from "@effect-dspy/core/Media"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import type * as ToolCalls from "@effect-dspy/core/ToolCalls"
import type { Error as PlatformError, FileSystem, Path } from "@effect/platform"
import { type Effect, type Either, Schema } from "effect"
import { describe, expectTypeOf, it } from "vitest"

describe("values", () => {
  it("are named in the text of a signature, as here or as in DSPy", () => {
    const look = Signature.parse(
      "photo: Image, more?: dspy.Image[], sound: Audio, source: dspy.Document, scan: File -> answer, code: Code['ts'], parts: Code[]"
    )
    expectTypeOf<Signature.Input<typeof look>>().toEqualTypeOf<{
      readonly photo: Image.Image
      readonly more?: ReadonlyArray<Image.Image> | undefined
      readonly sound: Audio.Audio
      readonly source: Document.Document
      readonly scan: Document.Document
    }>()
    expectTypeOf<Signature.Output<typeof look>>().toEqualTypeOf<
      { readonly answer: string; readonly code: string; readonly parts: ReadonlyArray<string> }
    >()
    const act = Signature.parse(
      "history: History, tools: Tool[] -> reasoning: Reasoning, citations: Citations, calls: ToolCalls"
    )
    expectTypeOf<Signature.Input<typeof act>>().toEqualTypeOf<{
      readonly history: ReadonlyArray<JsonRecord>
      readonly tools: ReadonlyArray<LanguageModel.ToolDefinition>
    }>()
    expectTypeOf<Signature.Output<typeof act>>().toEqualTypeOf<{
      readonly reasoning: string
      readonly citations: ReadonlyArray<Citations.Citation>
      readonly calls: ReadonlyArray<ToolCalls.ToolCall>
    }>()
    expectTypeOf<Signature.Check<"q -> a: Code['a', 'b']">>().toEqualTypeOf<
      "Signature: field 'a': Code has one language, as in Code['python']"
    >()
    expectTypeOf<Signature.Check<"q -> a: dspy.Video">>().toEqualTypeOf<"Signature: field 'a': unknown type 'Video'">()
  })

  it("say where they come from and what can go wrong", () => {
    expectTypeOf(Image.fromUrl("https://a.test")).toEqualTypeOf<Either.Either<Image.Image, Media.MediaError>>()
    expectTypeOf(Image.fromFile("a.png", { roots: ["."] })).toEqualTypeOf<
      Effect.Effect<
        Image.Image,
        Media.MediaError | PlatformError.PlatformError,
        FileSystem.FileSystem | Path.Path
      >
    >()
    expectTypeOf(Image.fetch("https://a.test")).toEqualTypeOf<
      Effect.Effect<Image.Image, Media.MediaError | Downloader.DownloadError, Downloader.Downloader>
    >()
    // @ts-expect-error which files may be read has to be said
    Image.fromFile("a.png", {})
    // @ts-expect-error a path is no image
    Predict.make("photo: Image -> answer")({ photo: "cat.png" })
  })

  it("one's own keep their types", () => {
    const Chart = Content.make(Schema.Struct({ url: Schema.String, at: Schema.Date }), {
      name: "Chart",
      parts: ({ at, url }) => {
        expectTypeOf(at).toEqualTypeOf<string>()
        return [{ _tag: "Image", url }]
      }
    })
    expectTypeOf(Chart.Type).toEqualTypeOf<{ readonly url: string; readonly at: Date }>()
    expectTypeOf(Code.make("sql").Type).toEqualTypeOf<string>()
  })
})

describe("History", () => {
  const plan = Signature.make({
    input: { day: Schema.Date, wish: Schema.optional(Schema.String) },
    output: { plan: Schema.String }
  })

  it("has turns of what the signature takes and gives", () => {
    type Turn = { readonly day: Date; readonly wish?: string | undefined; readonly plan: string }
    expectTypeOf<History.Turn<typeof plan>>().toEqualTypeOf<Turn>()
    const talk = History.prepend(plan)
    expectTypeOf<Signature.Input<typeof talk>["history"]>().toEqualTypeOf<ReadonlyArray<Turn>>()
    expectTypeOf<Signature.Output<typeof talk>>().toEqualTypeOf<{ readonly plan: string }>()
    const module = Predict.make(talk)
    // @ts-expect-error a turn has a plan
    module({ history: [{ day: new Date(0) }], day: new Date(0) })
  })

  it("comes once", () => {
    const talk = History.prepend(plan)
    // @ts-expect-error there is one already
    History.prepend(talk)
  })
})
