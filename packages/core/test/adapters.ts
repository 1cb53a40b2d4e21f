/**
 * What the tests of the adapters share.
 */
import * as Adapter from "@effect-dspy/core/Adapter"
import type { Json } from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Signature from "@effect-dspy/core/Signature"
import { Effect, Either, Schema } from "effect"
import { cases as casesOf, read, texts } from "../src/internal/adapterCases.ts"

export { split } from "../src/internal/adapterCases.ts"
export { read }

/** What is wrong with a text, if it cannot be parsed. */
export const problemOf =
  (adapter: Adapter.Adapter) => (signature: Signature.Any, text: string): Adapter.Problem | undefined => {
    const { parsed } = read(adapter, signature, [text])
    return Either.isLeft(parsed) ? parsed.left : undefined
  }

/** The smallest signature there is. */
export const qa = Signature.make({
  instructions: "Answer the question.",
  input: { question: Schema.String },
  output: { answer: Schema.String }
})

/** An answer all the way to its values. */
export const decode = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  text: string
): Either.Either<Adapter.Decoded, ReadonlyArray<Adapter.Problem>> =>
  Either.flatMap(
    Either.mapLeft(read(adapter, signature, [text]).parsed, (problem) => [problem]),
    (parsed) => Effect.runSync(Effect.either(Adapter.decode(signature, parsed)))
  )

/** Decodes fields as a parser would hand them over. */
export const decodeFields = (
  signature: Signature.Any,
  fields: { readonly [field: string]: Adapter.Raw }
): Either.Either<Adapter.Decoded, ReadonlyArray<Adapter.Problem>> =>
  Effect.runSync(Effect.either(Adapter.decode(signature, { fields: new Map(Object.entries(fields)), repairs: [] })))

export const format = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  options: {
    readonly inputs?: { readonly [field: string]: Json }
    readonly demos?: ReadonlyArray<{ readonly [field: string]: Json }>
    readonly instructions?: string
    readonly responseFormat?: LanguageModel.Capabilities["responseFormat"]
  }
): LanguageModel.Request =>
  adapter.format({
    signature,
    instructions: options.instructions ?? signature.instructions,
    demos: (options.demos ?? []).map(Parameters.demo),
    inputs: options.inputs ?? {},
    capabilities: { ...LanguageModel.defaultCapabilities, responseFormat: options.responseFormat ?? "none" }
  })

/** The turns as `role: content`. */
export const turns = (request: LanguageModel.Request): ReadonlyArray<string> =>
  request.messages.map(({ content, role }) => `${role}: ${String(content)}`)

/** What a message consists of; a text alone is one part. */
export const partsOf = (message: LanguageModel.Message | undefined): ReadonlyArray<LanguageModel.Part> =>
  message === undefined
    ? []
    : typeof message.content === "string"
    ? [{ _tag: "Text", text: message.content }]
    : message.content

/** The answer an adapter shows for these outputs in a demonstration. */
export const rendered = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  outputs: { readonly [field: string]: Json }
): string => String(format(adapter, signature, { demos: [{ q: "?", ...outputs }] }).messages[2]!.content)

/** Text made of what could be mistaken for structure. */
export const nasty = texts()

/** Signatures with values for their outputs. */
export const cases = casesOf()
