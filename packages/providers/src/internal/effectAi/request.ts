/**
 * A call of `@effect/ai` as a request of ours.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as AiError from "@effect/ai/AiError"
import type * as AiLanguageModel from "@effect/ai/LanguageModel"
import type * as Prompt from "@effect/ai/Prompt"
import * as Tool from "@effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import { record } from "../wire.ts"
import { refused } from "./failures.ts"

/** What to ask of `model`; `settings` are those of every call. */
export const requestOf = (
  options: AiLanguageModel.ProviderOptions,
  model: LanguageModel.Service,
  settings: LanguageModel.Settings | undefined,
  method: string
): Effect.Effect<LanguageModel.Request, AiError.AiError> =>
  Effect.gen(function*() {
    const tools: Array<LanguageModel.ToolDefinition> = []
    for (const tool of options.tools) {
      const parameters = Tool.isProviderDefined(tool)
        ? undefined
        : record(Tool.getJsonSchemaFromSchemaAst(tool.parametersSchema.ast))
      if (parameters === undefined) {
        return yield* refused(
          method,
          `the tool "${tool.name}" is run by another provider; use that provider, or a tool of your own`
        )
      }
      tools.push({
        name: tool.name,
        parameters,
        ...(tool.description === undefined ? undefined : { description: tool.description })
      })
    }
    const { responseFormat, toolChoice } = options
    const schema = responseFormat.type === "json"
      ? record(Tool.getJsonSchemaFromSchemaAst(responseFormat.schema.ast))
      : undefined
    const messages: Array<LanguageModel.Message> = []
    for (const message of options.prompt.content) messages.push(...(yield* messagesOf(message, method)))
    const known = model.capabilities.responseFormat
    if (schema !== undefined && known !== "jsonSchema") {
      messages.unshift({ role: "system", content: instructed(schema) })
    }
    return {
      messages,
      ...(settings === undefined ? undefined : { settings }),
      ...(tools.length === 0 ? undefined : {
        tools,
        toolChoice: typeof toolChoice === "string"
          ? toolChoice
          : "tool" in toolChoice
          ? { name: toolChoice.tool }
          // The tools are only those of `oneOf` by now.
          : toolChoice.mode ?? "auto"
      }),
      ...(schema === undefined || responseFormat.type !== "json" || known === "none" ? undefined : {
        responseFormat: known === "jsonSchema"
          ? { _tag: "JsonSchema" as const, name: responseFormat.objectName, schema, strict: false }
          : { _tag: "JsonObject" as const }
      })
    }
  })

const instructed = (schema: Json.JsonRecord): string =>
  `Answer with one JSON object and nothing around it. It must fit this JSON Schema:\n${JSON.stringify(schema)}`

const messagesOf = (
  message: Prompt.Message,
  method: string
): Effect.Effect<ReadonlyArray<LanguageModel.Message>, AiError.AiError> => {
  switch (message.role) {
    case "system":
      return Effect.succeed([{ role: "system", content: message.content }])
    case "user":
      return Effect.map(
        Effect.forEach(
          message.content,
          (part) =>
            part.type === "text"
              ? Effect.succeed<LanguageModel.Part>({ _tag: "Text", text: part.text })
              : mediaOf(part, method)
        ),
        (parts) => {
          const [first] = parts
          return [{ role: "user", content: parts.length === 1 && first?._tag === "Text" ? first.text : parts }]
        }
      )
    case "assistant": {
      const toolCalls = message.content.flatMap((part) =>
        part.type === "tool-call" && !part.providerExecuted
          ? [{ id: part.id, name: part.name, arguments: JSON.stringify(part.params ?? {}) }]
          : []
      )
      const content = message.content.map((part) => part.type === "text" ? part.text : "").join("")
      return Effect.succeed([
        { role: "assistant", content, ...(toolCalls.length === 0 ? undefined : { toolCalls }) }
      ])
    }
    case "tool":
      return Effect.succeed(message.content.map((part) => ({
        role: "tool",
        toolCallId: part.id,
        content: typeof part.result === "string" ? part.result : JSON.stringify(part.result ?? null)
      })))
  }
}

const mediaOf = (part: Prompt.FilePart, method: string): Effect.Effect<LanguageModel.Part, AiError.AiError> => {
  const { data, fileName, mediaType } = part
  const type = mediaType === "image/*" ? "image/jpeg" : mediaType
  const _tag = type.startsWith("image/")
    ? "Image"
    : type.startsWith("audio/")
    ? "Audio"
    : type === "application/pdf"
    ? "File"
    : undefined
  if (_tag === undefined) {
    return refused(method, `a file of type ${mediaType} cannot be sent; images, audio and PDF can`)
  }
  if (typeof data === "string") {
    return refused(method, "a file is named by its id, which only its own provider knows; send its bytes or a URL")
  }
  const url = data instanceof URL ? data.href : `data:${type};base64,${Encoding.encodeBase64(data)}`
  return Effect.succeed(_tag === "File" && fileName !== undefined ? { _tag, url, title: fileName } : { _tag, url })
}
