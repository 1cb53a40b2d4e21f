/**
 * What the scenarios take from each provider: its constructor, a recorded stream and a recorded answer, which both say
 * the same.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { FetchHttpClient, type HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { type Effect, type Layer, Redacted } from "effect"
import * as Anthropic from "../src/Anthropic.ts"
import * as Gemini from "../src/Gemini.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import { event } from "../test/FaultServer.ts"

export const text = "Päris 🙂"

export interface Dialect {
  readonly make: (url: string) => Effect.Effect<LanguageModel.Service, never, HttpClient.HttpClient>
  readonly stream: ReadonlyArray<string>
  readonly whole: object
}

const given = (url: string) => ({ model: "m", baseUrl: url, apiKey: Redacted.make("sk-chaos") })

export const dialects: Readonly<Record<"openai" | "anthropic" | "gemini", Dialect>> = {
  openai: {
    make: (url) => OpenAiCompatible.make({ ...given(url), id: "chaos/openai" }),
    stream: [
      event({ model: "m", choices: [{ delta: { role: "assistant", content: "" } }] }),
      event({ choices: [{ index: 0, delta: { content: "Pär" } }] }),
      event({ choices: [{ index: 0, delta: { content: "is 🙂" } }] }),
      event({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] }),
      event({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } }),
      event("[DONE]")
    ],
    whole: {
      model: "m",
      choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
      usage: { prompt_tokens: 1, completion_tokens: 2 }
    }
  },
  anthropic: {
    make: (url) => Anthropic.make(given(url)),
    stream: [
      event({ type: "message_start", message: { model: "m", usage: { input_tokens: 1 } } }),
      event({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }),
      event({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Pär" } }),
      event({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "is 🙂" } }),
      event({ type: "content_block_stop", index: 0 }),
      event({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 2 } }),
      event({ type: "message_stop" })
    ],
    whole: {
      type: "message",
      role: "assistant",
      model: "m",
      content: [{ type: "text", text }],
      stop_reason: "end_turn",
      usage: { input_tokens: 1, output_tokens: 2 }
    }
  },
  gemini: {
    make: (url) => Gemini.make(given(url)),
    stream: [
      event({ candidates: [{ content: { parts: [{ text: "Pär" }] } }] }),
      event({ candidates: [{ content: { parts: [{ text: "is 🙂" }] } }] }),
      event({ candidates: [{ finishReason: "STOP" }], usageMetadata: { promptTokenCount: 1 } })
    ],
    whole: { candidates: [{ content: { parts: [{ text }] }, finishReason: "STOP" }], modelVersion: "m" }
  }
}

export const clients: Readonly<Record<string, Layer.Layer<HttpClient.HttpClient>>> = {
  undici: NodeHttpClient.layerUndici,
  fetch: FetchHttpClient.layer,
  node: NodeHttpClient.layer
}

/** Which dialect a request is in. */
export const dialectOf = (path: string): Dialect =>
  path.includes("/chat/completions")
    ? dialects.openai
    : path.includes("/messages")
    ? dialects.anthropic
    : dialects.gemini

/** Whether a streamed answer is asked for. */
export const isStreamed = (request: { readonly path: string; readonly body: string }): boolean =>
  request.path.includes("streamGenerateContent") || request.body.includes("\"stream\":true")
