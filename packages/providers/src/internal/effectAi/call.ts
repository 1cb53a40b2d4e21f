/**
 * A request of ours as a call of a language model of `@effect/ai`.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Prompt from "@effect/ai/Prompt"
import * as Tool from "@effect/ai/Tool"
import type * as Toolkit from "@effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Schema from "effect/Schema"
import * as continuation from "../continuation.ts"
import { inline, input, record } from "../wire.ts"

/** Tools by name. */
export type Tools = Record<string, Tool.Any>

/** A schema that lets every value pass and is written as the given JSON Schema. */
export const schemaOf = (schema: Json.JsonRecord): Schema.Schema<{ readonly [key: string]: unknown }> =>
  Schema.Record({ key: Schema.String, value: Schema.Unknown }).annotations({ jsonSchema: schema })

const toolOf = (definition: LanguageModel.ToolDefinition): Tool.Any =>
  Tool.make(definition.name, { description: definition.description }).setParameters(
    // Of the parameters only the schema's tree is read, which this one has too.
    schemaOf(definition.parameters) as unknown as Tool.AnyStructSchema
  )

// Never run: the calls are for the program to answer.
const handle = (name: string) => Effect.dieMessage(`the tool "${name}" is not run by the model`)

// A rollout is for policies only, and one output is what there is.
const refusal = ({ settings = {} }: LanguageModel.Request, configurable: boolean): string | undefined => {
  const { n, rollout: _, ...others } = settings
  const names = Object.keys(others).join(", ")
  return (n ?? 1) > 1
    ? `a model of @effect/ai gives one output for each call, \`n\` is ${n}`
    : !configurable && names !== ""
    ? `the model is not told settings (${names}); give EffectAi the option \`settings\`, which makes its configuration`
    : undefined
}

/**
 * What to call the model with. `configurable` is whether it can be told settings.
 */
export const callOf = (request: LanguageModel.Request, configurable: boolean) => {
  const description = refusal(request, configurable)
  const prompt: Either.Either<Prompt.Prompt, Invalid> = description === undefined
    ? promptOf(request.messages)
    : Either.left(new LanguageModelError.InvalidRequest({ description }))
  return Either.map(prompt, (prompt) => {
    const { toolChoice } = request
    const toolkit: Toolkit.WithHandler<Tools> = {
      tools: Object.fromEntries((request.tools ?? []).map((tool) => [tool.name, toolOf(tool)])),
      handle
    }
    return {
      prompt,
      toolkit,
      toolChoice: typeof toolChoice === "object" ? { tool: toolChoice.name } : toolChoice ?? "auto",
      disableToolCallResolution: true
    } as const
  })
}

type Invalid = LanguageModelError.InvalidRequest

const promptOf = (messages: LanguageModel.Request["messages"]): Either.Either<Prompt.Prompt, Invalid> =>
  Either.gen(function*() {
    const names = new Map<string, string>()
    const out: Array<Prompt.Message> = []
    for (const message of messages) {
      for (const call of message.toolCalls ?? []) names.set(call.id, call.name)
      const text = textOf(message.content)
      switch (message.role) {
        case "system":
          out.push(Prompt.makeMessage("system", { content: text }))
          break
        case "user":
          out.push(Prompt.makeMessage("user", { content: yield* userParts(message.content) }))
          break
        case "assistant":
          out.push(Prompt.makeMessage("assistant", { content: assistantParts(message, text) }))
          break
        case "tool": {
          const id = message.toolCallId ?? ""
          const result = Prompt.makePart("tool-result", {
            id,
            name: names.get(id) ?? id,
            isFailure: false,
            result: text,
            providerExecuted: false
          })
          const last = out.at(-1)
          if (last?.role === "tool") {
            out[out.length - 1] = Prompt.makeMessage("tool", { content: [...last.content, result] })
          } else out.push(Prompt.makeMessage("tool", { content: [result] }))
        }
      }
    }
    return Prompt.fromMessages(out)
  })

/** The text of a message, without its images. */
export const textOf = (content: LanguageModel.Message["content"]): string =>
  typeof content === "string" ? content : content.map((part) => part._tag === "Text" ? part.text : "").join("")

const userParts = (
  content: LanguageModel.Message["content"]
): Either.Either<ReadonlyArray<Prompt.UserMessagePart>, Invalid> =>
  Either.all(
    (typeof content === "string" ? [{ _tag: "Text", text: content } as const] : content).map((part) =>
      part._tag === "Text" ? Either.right(Prompt.makePart("text", { text: part.text })) : filePart(part)
    )
  )

const filePart = (
  part: Exclude<LanguageModel.Part, { readonly _tag: "Text" }>
): Either.Either<Prompt.FilePart, Invalid> => {
  const found = inline(part.url)
  const data: Either.Either<Uint8Array | URL, unknown> = found === undefined
    ? Either.try(() => new URL(part.url))
    : Encoding.decodeBase64(found.data)
  return Either.mapBoth(data, {
    onLeft: () =>
      new LanguageModelError.InvalidRequest({
        description: `the url of a part (${part._tag}) is neither an address nor a data URI in base64`
      }),
    onRight: (data) =>
      Prompt.makePart("file", {
        mediaType: found?.mediaType ?? (part._tag === "File" ? "application/pdf" : "image/*"),
        data,
        ...(part._tag === "File" && part.title !== undefined ? { fileName: part.title } : undefined)
      })
  })
}

// What a provider attached to its parts is kept by provider.
const optionsOf = (options: Json.Json | undefined): { readonly [provider: string]: Json.JsonRecord } =>
  Object.fromEntries(
    Object.entries(record(options) ?? {}).flatMap(([provider, value]) => {
      const known = record(value)
      return known === undefined ? [] : [[provider, known] as const]
    })
  )

const assistantParts = (message: LanguageModel.Message, text: string): ReadonlyArray<Prompt.AssistantMessagePart> => {
  const calls = message.toolCalls ?? []
  const toolCall = (call: LanguageModel.ToolCall, options: Json.Json | undefined) =>
    Prompt.makePart("tool-call", {
      id: call.id,
      name: call.name,
      params: input(call.arguments),
      providerExecuted: false,
      options: optionsOf(options)
    })
  const out: Array<Prompt.AssistantMessagePart> = []
  let at = 0
  let used = 0
  for (const part of continuation.parts(message.continuation, "effect-ai")) {
    const options = optionsOf(part["options"])
    if (part["type"] === "text" && typeof part["length"] === "number") {
      out.push(Prompt.makePart("text", { text: text.slice(at, at + part["length"]), options }))
      at += part["length"]
    } else if (part["type"] === "reasoning" && typeof part["text"] === "string") {
      out.push(Prompt.makePart("reasoning", { text: part["text"], options }))
    } else if (typeof part["call"] === "number") {
      const call = calls[part["call"]]
      if (call !== undefined) out.push(toolCall(call, part["options"]))
      used++
    }
  }
  return out.length > 0 && at === text.length && used === calls.length ? out : [
    ...(text === "" ? [] : [Prompt.makePart("text", { text })]),
    ...calls.map((call) => toolCall(call, undefined))
  ]
}
