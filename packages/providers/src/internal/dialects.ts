/**
 * In what the servers of OpenAI's protocol differ, as data: addresses, names of
 * fields, what they do not take. The code that talks to them knows none by name.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { versioned } from "./exchange.ts"
import type { MediaTypes } from "./mediaTypes.ts"

/**
 * A setting that becomes fields of the body.
 */
export type Setting = Exclude<keyof LanguageModel.Settings, "rollout" | "extensions">

type Value<S extends Setting> = NonNullable<LanguageModel.Settings[S]>

/**
 * How each setting is written.
 */
export type Fields = {
  readonly [S in Setting]: (value: Value<S>, model: string) => { readonly [field: string]: unknown }
}

/**
 * - `host`: the servers that are known to speak it, by host and port.
 * - `baseUrl`: where it is unless the user says otherwise; a server that every
 *   user has an address of their own for has none.
 * - `local`: the server runs at the user's; it needs no key.
 * - `root`: from an address to the URL that paths are appended to; `dated`:
 *   whether a version of the API by date was asked for.
 * - `credential`: the header of the key, and what stands before it there.
 * - `keys`, `urls`, `versions`: what other programs call its key, its address
 *   and the version of its API in their configuration, beside `<NAME>_API_KEY`,
 *   `<NAME>_BASE_URL` and `<NAME>_API_BASE`.
 * - `lacks`: what it refuses or, worse, ignores.
 * - `streamUsage`: whether usage has to be asked for when streaming; where it
 *   comes unasked, the question may be refused.
 * - `capabilities`: the response format is the one that all of its models take,
 *   audio and files what some of them take.
 * - `addresses`: the parts of a message that may be at an address, which the
 *   server then fetches, instead of in the request.
 * - `mediaTypes`: of what is in the request.
 * - `anyModel`: it answers to other names of models than those in its list.
 * - `continues`: the field of an answer, by our name for the provider, that has to
 *   be in its turn when the conversation goes on, or reasoning is lost or the
 *   request refused.
 * - `embeddings`: texts in one request, the encoding that is asked for, and the
 *   field for the number of dimensions.
 */
export interface Dialect {
  readonly host: RegExp | undefined
  readonly baseUrl: string | undefined
  readonly local: boolean
  readonly root: (base: string, model: string, dated: boolean) => string
  readonly credential: { readonly header: string; readonly scheme: string }
  readonly keys: ReadonlyArray<string>
  readonly urls: ReadonlyArray<string>
  readonly versions: ReadonlyArray<string>
  readonly fields: Fields
  readonly lacks: ReadonlyArray<Setting | "toolChoice">
  readonly streamUsage: boolean
  readonly capabilities: Pick<
    LanguageModel.Capabilities,
    "responseFormat" | "multipleOutputs" | "audio" | "files" | "reasoning" | "schemaLimits"
  >
  readonly addresses: ReadonlyArray<Exclude<LanguageModel.Part["_tag"], "Text">>
  readonly mediaTypes: MediaTypes
  readonly anyModel: boolean
  readonly continues: { readonly provider: string; readonly field: string } | undefined
  readonly embeddings: {
    readonly maxBatchSize: number
    readonly encoding: "base64" | "float"
    readonly dimensions: string
  }
}

const bearer = { header: "authorization", scheme: "Bearer " }

// OpenAI's reasoning models refuse `max_tokens`; many other servers know nothing else.
const countsReasoning = /(^|\/)(o[1-9]|gpt-[5-9])/

const fields: Fields = {
  temperature: (temperature) => ({ temperature }),
  topP: (topP) => ({ top_p: topP }),
  maxTokens: (maxTokens, model) => ({
    [countsReasoning.test(model) ? "max_completion_tokens" : "max_tokens"]: maxTokens
  }),
  stop: (stop) => ({ stop }),
  seed: (seed) => ({ seed }),
  n: (n) => ({ n }),
  logprobs: (top) => ({ logprobs: true, ...(top === 0 ? undefined : { top_logprobs: top }) }),
  reasoningEffort: (effort) => ({ reasoning_effort: effort })
}

const maxTokens: Fields["maxTokens"] = (maxTokens) => ({ max_tokens: maxTokens })

const maxCompletionTokens: Fields["maxTokens"] = (maxTokens) => ({ max_completion_tokens: maxTokens })

/**
 * A server of which nothing is known. Several outputs are not promised, since
 * most servers silently give one.
 */
export const unknown: Dialect = {
  host: undefined,
  baseUrl: undefined,
  local: true,
  root: (base) => versioned(base, "v1"),
  credential: bearer,
  keys: [],
  urls: [],
  versions: [],
  fields,
  lacks: [],
  streamUsage: true,
  capabilities: { responseFormat: "jsonSchema", multipleOutputs: false, audio: false, files: false, reasoning: false },
  addresses: ["Image"],
  mediaTypes: {},
  anyModel: false,
  continues: undefined,
  embeddings: { maxBatchSize: 128, encoding: "float", dimensions: "dimensions" }
}

const reasoning = { ...unknown.capabilities, reasoning: true }

const several = { ...reasoning, multipleOutputs: true }

// Its own models keep their reasoning to themselves, in this protocol.
const openai = { ...several, reasoning: false, audio: true }

// platform.openai.com/docs/guides/images-vision, and `input_audio` in its API reference.
const openaiMediaTypes: MediaTypes = {
  Image: ["image/png", "image/jpeg", "image/gif", "image/webp"],
  Audio: ["audio/wav", "audio/mpeg", "audio/mp3"],
  File: ["application/pdf"]
}

const jsonObject = { ...reasoning, responseFormat: "jsonObject" } as const

const base64 = { ...unknown.embeddings, encoding: "base64" } as const

/**
 * The servers that are known, by the name that users of LiteLLM and DSPy write
 * before a model.
 */
export const known = {
  openai: {
    ...unknown,
    host: /(^|\.)api\.openai\.com$/,
    baseUrl: "https://api.openai.com/v1",
    local: false,
    fields: { ...fields, maxTokens: maxCompletionTokens },
    capabilities: {
      ...openai,
      files: true,
      // platform.openai.com/docs/guides/structured-outputs, "Supported schemas".
      schemaLimits: { depth: 10, properties: 5000, enumValues: 1000, characters: 120_000 }
    },
    mediaTypes: openaiMediaTypes,
    embeddings: base64
  },
  azure: {
    ...unknown,
    host: /\.(openai|cognitiveservices|services\.ai)\.azure\.com$/,
    local: false,
    // Versions by date are of the older form, where the deployment is a part of the path.
    root: (base, model, dated) => {
      if (/\/(deployments\/|v1$)/.test(base)) return base
      const root = base.endsWith("/openai") ? base : `${base}/openai`
      return dated ? `${root}/deployments/${encodeURIComponent(model)}` : `${root}/v1`
    },
    credential: { header: "api-key", scheme: "" },
    keys: ["AZURE_OPENAI_API_KEY"],
    urls: ["AZURE_OPENAI_ENDPOINT"],
    versions: ["AZURE_API_VERSION", "OPENAI_API_VERSION"],
    // Deployments have names of their own, which do not tell what the model is and are in no list.
    fields: { ...fields, maxTokens: maxCompletionTokens },
    // learn.microsoft.com/azure/ai-services/openai/how-to/structured-outputs has the first two, which were OpenAI's when that
    // began; the others are those that went with them.
    capabilities: { ...openai, schemaLimits: { depth: 5, properties: 100, enumValues: 500, characters: 15_000 } },
    mediaTypes: openaiMediaTypes,
    anyModel: true,
    embeddings: base64
  },
  ollama: {
    ...unknown,
    host: /(:11434|(^|\.)ollama\.com)$/,
    baseUrl: "http://localhost:11434/v1",
    fields: { ...fields, maxTokens },
    lacks: ["n", "toolChoice"],
    capabilities: reasoning,
    addresses: [],
    embeddings: base64
  },
  vllm: {
    ...unknown,
    baseUrl: "http://localhost:8000/v1",
    keys: ["HOSTED_VLLM_API_KEY"],
    urls: ["HOSTED_VLLM_API_BASE"],
    capabilities: { ...several, audio: true },
    embeddings: base64
  },
  llamacpp: {
    ...unknown,
    baseUrl: "http://localhost:8080/v1",
    keys: ["LLAMA_CPP_API_KEY"],
    urls: ["LLAMA_CPP_BASE_URL", "LLAMA_CPP_API_BASE"],
    fields: { ...fields, maxTokens },
    capabilities: { ...reasoning, audio: true },
    anyModel: true,
    embeddings: base64
  },
  litellm_proxy: {
    ...unknown,
    baseUrl: "http://localhost:4000/v1",
    capabilities: { ...unknown.capabilities, audio: true, files: true }
  },
  openrouter: {
    ...unknown,
    host: /(^|\.)openrouter\.ai$/,
    baseUrl: "https://openrouter.ai/api/v1",
    local: false,
    fields: { ...fields, maxTokens, reasoningEffort: (effort) => ({ reasoning: { effort } }) },
    lacks: ["n"],
    capabilities: { ...jsonObject, audio: true, files: true },
    addresses: ["Image", "File"],
    continues: { provider: "openrouter", field: "reasoning_details" }
  },
  groq: {
    ...unknown,
    host: /(^|\.)api\.groq\.com$/,
    baseUrl: "https://api.groq.com/openai/v1",
    local: false,
    fields: { ...fields, maxTokens: maxCompletionTokens },
    lacks: ["n", "logprobs"],
    streamUsage: false,
    capabilities: jsonObject
  },
  mistral: {
    ...unknown,
    host: /(^|\.)mistral\.ai$/,
    baseUrl: "https://api.mistral.ai/v1",
    local: false,
    fields: { ...fields, maxTokens, seed: (seed) => ({ random_seed: seed }) },
    lacks: ["logprobs"],
    streamUsage: false,
    capabilities: several,
    embeddings: { maxBatchSize: 32, encoding: "float", dimensions: "output_dimension" }
  },
  deepseek: {
    ...unknown,
    host: /(^|\.)api\.deepseek\.com$/,
    baseUrl: "https://api.deepseek.com/v1",
    local: false,
    fields: {
      ...fields,
      maxTokens,
      reasoningEffort: (effort) =>
        effort === "none"
          ? { thinking: { type: "disabled" } }
          : { thinking: { type: "enabled" }, reasoning_effort: effort }
    },
    lacks: ["n", "seed"],
    capabilities: jsonObject,
    continues: { provider: "deepseek", field: "reasoning_content" }
  },
  xai: {
    ...unknown,
    host: /(^|\.)api\.x\.ai$/,
    baseUrl: "https://api.x.ai/v1",
    local: false,
    fields: { ...fields, maxTokens: maxCompletionTokens },
    capabilities: reasoning
  },
  together_ai: {
    ...unknown,
    host: /(^|\.)together\.(xyz|ai)$/,
    baseUrl: "https://api.together.xyz/v1",
    local: false,
    keys: ["TOGETHERAI_API_KEY", "TOGETHER_API_KEY"],
    fields: {
      ...fields,
      maxTokens,
      logprobs: (top) => ({ logprobs: Math.max(top, 1) }),
      reasoningEffort: (effort) => effort === "none" ? { reasoning: { enabled: false } } : { reasoning_effort: effort }
    },
    capabilities: { ...jsonObject, multipleOutputs: true }
  },
  fireworks_ai: {
    ...unknown,
    host: /(^|\.)fireworks\.ai$/,
    baseUrl: "https://api.fireworks.ai/inference/v1",
    local: false,
    keys: ["FIREWORKS_API_KEY"],
    fields: { ...fields, maxTokens },
    capabilities: several
  },
  cerebras: {
    ...unknown,
    host: /(^|\.)cerebras\.ai$/,
    baseUrl: "https://api.cerebras.ai/v1",
    local: false,
    fields: { ...fields, maxTokens: maxCompletionTokens },
    capabilities: {
      ...several,
      // inference-docs.cerebras.ai/capabilities/structured-outputs, "Limitations in strict mode".
      schemaLimits: { recursive: false, depth: 10, properties: 500, enumValues: 500, length: 5000 }
    }
  }
} as const satisfies { readonly [name: string]: Dialect }

/**
 * The names of the servers that are known.
 */
export type Name = keyof typeof known

/**
 * The server that is known to be at a host.
 */
export const at = (host: string): Name | undefined => {
  for (const name in known) {
    // `for in` forgets that the keys of a constant are known.
    if (known[name as Name].host?.test(host) === true) return name as Name
  }
  return undefined
}

/**
 * The URL of an endpoint such as `chat/completions`. A query of the base URL,
 * such as Azure's `?api-version=`, is kept.
 */
export const urlOf = (dialect: Dialect, baseUrl: string, model: string, path: string): string => {
  const [address = "", query] = baseUrl.split("?", 2)
  const base = address.replace(/\/+$/, "").replace(/\/chat\/completions$/, "")
  const url = `${dialect.root(base, model, /(^|&)api-version=\d/.test(query ?? ""))}/${path}`
  return query === undefined ? url : `${url}?${query}`
}
