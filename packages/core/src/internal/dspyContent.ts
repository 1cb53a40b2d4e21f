/**
 * Images and the like in DSPy's demonstrations: a text between two marks that
 * holds the parts of a message as JSON. A conversation is an object there.
 */
import * as AST from "effect/SchemaAST"
import * as Json from "../Json.ts"
import type { Part } from "../LanguageModel.ts"
import * as content from "./content.ts"
import * as history from "./history.ts"
import * as jsonText from "./jsonText.ts"

const start = "<<CUSTOM-TYPE-START-IDENTIFIER>>"
const end = "<<CUSTOM-TYPE-END-IDENTIFIER>>"

// -----------------------------------------------------------------------------
// Writing
// -----------------------------------------------------------------------------

const block = (part: Part): Json.JsonRecord | undefined => {
  switch (part._tag) {
    case "Text":
      return part.document === undefined ? { type: "text", text: part.text } : {
        type: "document",
        source: { type: "text", media_type: "text/plain", data: part.text },
        citations: { enabled: true },
        ...(part.document.title === undefined ? undefined : { title: part.document.title })
      }
    case "Image":
      return { type: "image_url", image_url: { url: part.url } }
    case "Audio": {
      const comma = part.url.indexOf(",")
      const format = /^data:audio\/(?:x-)?([^;,]+);base64$/.exec(part.url.slice(0, comma))?.[1]
      return format === undefined
        ? undefined
        : {
          type: "input_audio",
          input_audio: { data: part.url.slice(comma + 1), format: format === "mpeg" ? "mp3" : format }
        }
    }
    case "File":
      return {
        type: "file",
        file: { file_data: part.url, ...(part.title === undefined ? undefined : { filename: part.title }) }
      }
  }
}

// The type of a field that may be absent, or null.
const inner = (ast: AST.AST): AST.AST => (AST.isUnion(ast) ? ast.types.find(content.isOne) : undefined) ?? ast

/** The value of a field as DSPy's demonstrations have it. */
export const written = (ast: AST.AST, value: Json.Json): Json.Json => {
  if (history.isOne(ast) && Array.isArray(value)) return { messages: value }
  const blocks = content.partsOf(inner(ast), value)?.map(block)
  return blocks === undefined || blocks.includes(undefined) ? value : `${start}${JSON.stringify(blocks)}${end}`
}

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

const text = (record: Json.JsonRecord, key: string): string | undefined => {
  const value = record[key]
  return typeof value === "string" ? value : undefined
}

const titled = (value: Json.JsonRecord, title: string | undefined): Json.JsonRecord =>
  title === undefined ? value : { ...value, title }

const record = (value: Json.Json | undefined): Json.JsonRecord => Json.isJsonRecord(value) ? value : {}

const valueOf = (block: Json.JsonRecord): Json.JsonRecord | undefined => {
  switch (block["type"]) {
    case "image_url": {
      const url = text(record(block["image_url"]), "url")
      return url === undefined ? undefined : { url }
    }
    case "input_audio": {
      const sound = record(block["input_audio"])
      const [data, format] = [text(sound, "data"), text(sound, "format")]
      return data === undefined || format === undefined
        ? undefined
        : { url: `data:audio/${format === "mp3" ? "mpeg" : format};base64,${data}` }
    }
    case "file": {
      const file = record(block["file"])
      const url = text(file, "file_data")
      return url === undefined ? undefined : titled({ url }, text(file, "filename"))
    }
    case "document": {
      const source = record(block["source"])
      const data = text(source, "data")
      return data === undefined
        ? undefined
        : titled(
          source["type"] === "text" ? { text: data } : { url: `data:application/pdf;base64,${data}` },
          text(block, "title")
        )
    }
    default:
      return undefined
  }
}

/** The value of a field from one of DSPy's demonstrations; what has no meaning here stays as it is. */
export const read = (ast: AST.AST, value: Json.Json): Json.Json => {
  if (history.isOne(ast) && Json.isJsonRecord(value) && Array.isArray(value["messages"])) return value["messages"]
  if (!content.isOne(inner(ast)) || typeof value !== "string" || !value.startsWith(start) || !value.endsWith(end)) {
    return value
  }
  const blocks = jsonText.strict(value.slice(start.length, -end.length))
  const [only] = Array.isArray(blocks) && blocks.length === 1 ? blocks : []
  return (Json.isJsonRecord(only) ? valueOf(only) : undefined) ?? value
}
