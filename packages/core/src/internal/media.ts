/**
 * Bytes of a kind as the address of a part: checked, and told by what they begin
 * with rather than by what they are called.
 */
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Schema from "effect/Schema"
import { MediaError } from "../Media.ts"

/**
 * What a value may hold. `types`: media types, each with what its bytes begin
 * with, by offset.
 */
export interface Kind {
  readonly name: string
  readonly types: ReadonlyArray<readonly [mediaType: string, ...signature: ReadonlyArray<readonly [number, string]>]>
}

export const image: Kind = {
  name: "an image (PNG, JPEG, GIF, WebP, HEIC or HEIF)",
  types: [
    ["image/png", [0, "\x89PNG\r\n\x1a\n"]],
    ["image/jpeg", [0, "\xff\xd8\xff"]],
    ["image/gif", [0, "GIF8"]],
    ["image/webp", [0, "RIFF"], [8, "WEBP"]],
    ["image/heic", [4, "ftypheic"]],
    ["image/heic", [4, "ftypheix"]],
    ["image/heif", [4, "ftypmif1"]]
  ]
}

export const audio: Kind = {
  name: "sound (WAV, MP3, FLAC, Ogg, M4A, AAC, AIFF or WebM)",
  types: [
    ["audio/wav", [0, "RIFF"], [8, "WAVE"]],
    ["audio/mpeg", [0, "ID3"]],
    ["audio/mpeg", [0, "\xff\xfb"]],
    ["audio/mpeg", [0, "\xff\xf3"]],
    ["audio/mpeg", [0, "\xff\xf2"]],
    ["audio/flac", [0, "fLaC"]],
    ["audio/ogg", [0, "OggS"]],
    ["audio/mp4", [4, "ftypM4A"]],
    ["audio/aac", [0, "\xff\xf1"]],
    ["audio/aac", [0, "\xff\xf9"]],
    ["audio/aiff", [0, "FORM"], [8, "AIF"]],
    ["audio/webm", [0, "\x1a\x45\xdf\xa3"]]
  ]
}

export const pdf: Kind = { name: "a PDF", types: [["application/pdf", [0, "%PDF-"]]] }

const failed = (reason: MediaError["reason"], description: string) => new MediaError({ reason, description })

// -----------------------------------------------------------------------------
// Addresses
// -----------------------------------------------------------------------------

// What is wrong with a `data:` URI or an address.
const problem = (kind: Kind, url: string): MediaError | undefined => {
  if (/^data:/i.test(url)) {
    const comma = url.indexOf(",")
    const [mediaType = "", ...parameters] = url.slice("data:".length, comma).split(";")
    return comma === -1 || parameters.at(-1) !== "base64"
      ? failed("Malformed", "a data URI must be in base64")
      : !isOf(kind, mediaType)
      ? failed(
        "UnknownType",
        `a data URI of type ${JSON.stringify(mediaType.slice(0, 40))} is not ${kind.name}; convert what it holds`
      )
      : isBase64(url.slice(comma + 1))
      ? undefined
      : failed("Malformed", "a data URI holds something that is not base64")
  }
  if (/^https:\/\/[^\s/]/i.test(url) && URL.canParse(url)) {
    const { password, username } = new URL(url)
    return username === "" && password === ""
      ? undefined
      : failed(
        "Malformed",
        "an address must have no user name and password: the provider of the model, logs and saved programs would see them"
      )
  }
  // What else is in it may be a secret.
  return failed(
    "Malformed",
    `an address must begin with https:// (or data:), this one does with ${
      /^[a-z][a-z\d+.-]{0,20}:/i.exec(url)?.[0] ?? "no scheme"
    }`
  )
}

// `image/jpg` is no type, but often written. Sound has many names, such as `audio/x-wav`, and some servers take more of it
// than is known here.
const isOf = ({ types }: Kind, mediaType: string): boolean =>
  types === audio.types
    ? mediaType.startsWith("audio/")
    : mediaType === "image/jpg"
    ? types === image.types
    : types.some(([type]) => type === mediaType)

// A search for what must not be there needs no stack, however long the text is.
const isBase64 = (text: string): boolean =>
  text !== "" && text.length % 4 === 0 && !/[^A-Za-z0-9+/=]/.test(text) && !/=[^=]/.test(text.slice(-3)) &&
  !text.slice(0, -2).includes("=")

/** The schema of an address; nothing is read or asked for to check it. */
export const Url = (kind: Kind): Schema.Schema<string> =>
  Schema.String.pipe(
    Schema.filter((url) => problem(kind, url) === undefined, {
      description: "an https: address, or a data: URI in base64",
      jsonSchema: { type: "string" },
      message: ({ actual }) => {
        const wrong = problem(kind, String(actual))?.description ?? ""
        return `must be an https: address, or a data: URI in base64 of ${kind.name}: ${wrong}`
      }
    })
  )

export const fromUrl = (kind: Kind, url: string | URL): Either.Either<string, MediaError> => {
  const text = String(url)
  const wrong = problem(kind, text)
  return wrong === undefined ? Either.right(text) : Either.left(wrong)
}

// -----------------------------------------------------------------------------
// Bytes
// -----------------------------------------------------------------------------

const longest = 16

const typeOf = ({ types }: Kind, bytes: Uint8Array): string | undefined => {
  const head = String.fromCharCode(...bytes.subarray(0, longest))
  return types.find(([, ...signature]) => signature.every(([at, text]) => head.startsWith(text, at)))?.[0]
}

const unknownType = (kind: Kind) => failed("UnknownType", `the bytes do not begin like ${kind.name}`)

export const fromBytes = (kind: Kind, bytes: Uint8Array): Either.Either<string, MediaError> => {
  const type = typeOf(kind, bytes)
  return type === undefined
    ? Either.left(unknownType(kind))
    : Either.right(`data:${type};base64,${base64(bytes)}`)
}

// A multiple of three, so that pieces need no padding, and few enough to be arguments.
const piece = 24 * 1024

// The platform's own: for megabytes an encoder in JavaScript takes seconds.
const base64 = (bytes: Uint8Array): string => {
  let text = ""
  for (let at = 0; at < bytes.length; at += piece) {
    text += btoa(String.fromCharCode(...bytes.subarray(at, at + piece)))
  }
  return text
}

/** Base64, as it is or in a `data:` URI, whose type is then not believed. */
export const fromBase64 = (kind: Kind, text: string): Either.Either<string, MediaError> => {
  const data = text.startsWith("data:") ? text.slice(text.indexOf(",") + 1) : text
  if (!isBase64(data)) {
    return Either.left(failed("Malformed", "the text is not base64 (with padding, without line breaks)"))
  }
  return Either.flatMap(
    Either.mapLeft(Encoding.decodeBase64(data.slice(0, 2 * longest)), () => unknownType(kind)),
    (head) => {
      const type = typeOf(kind, head)
      return type === undefined ? Either.left(unknownType(kind)) : Either.right(`data:${type};base64,${data}`)
    }
  )
}
