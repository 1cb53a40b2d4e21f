/**
 * The schemas of images, audio and documents, apart from what reads them: a
 * signature names them and reads nothing.
 */
import * as Schema from "effect/Schema"
import * as Content from "../Content.ts"
import * as media from "./media.ts"

export const Image = Content.make(
  Schema.Struct({
    url: media.Url(media.image),
    detail: Schema.optional(Schema.Literal("auto", "low", "high"))
  }),
  { name: "Image", parts: (image) => [{ _tag: "Image", ...image }] }
)

export const Audio = Content.make(
  Schema.Struct({ url: media.Url(media.audio) }),
  { name: "Audio", parts: ({ url }) => [{ _tag: "Audio", url }] }
)

const title = Schema.optional(Schema.String)

/** The title of a document, if it has one. */
export const titled = ({ title }: { readonly title?: string | undefined } = {}): { readonly title?: string } =>
  title === undefined ? {} : { title }

export const Document = Content.make(
  Schema.Union(
    Schema.Struct({ text: Schema.String, title }),
    Schema.Struct({ url: media.Url(media.pdf), title })
  ),
  {
    name: "Document",
    parts: (document) =>
      "text" in document
        ? [{ _tag: "Text", text: document.text, document: titled(document) }]
        : [{ _tag: "File", url: document.url, ...titled(document) }]
  }
)
