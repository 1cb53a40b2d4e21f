/**
 * Models by the names that users of LiteLLM and DSPy write: `openai/gpt-4o-mini`,
 * `ollama_chat/llama3.2`, `anthropic/claude-haiku-4-5`. What is before the first
 * `/` is the provider, the rest is the name that it knows the model by. Keys and
 * addresses come from the configuration of the program.
 *
 * @since 0.1.0
 */
import * as Embedder from "@effect-dspy/core/Embedder"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Anthropic from "./Anthropic.ts"
import type * as Bounds from "./Bounds.ts"
import * as ClaudeCli from "./ClaudeCli.ts"
import * as Gemini from "./Gemini.ts"
import * as dialects from "./internal/dialects.ts"
import { nearest } from "./internal/nearest.ts"
import * as OpenAiCompatible from "./OpenAiCompatible.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * What is not to be taken from the configuration. `headers`, `bounds` and
 * `capabilities` are those of the provider; `directory` is that of `claude-cli`,
 * which takes nothing else.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly baseUrl?: string | undefined
  readonly apiKey?: Redacted.Redacted | undefined
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  readonly bounds?: Bounds.Bounds | undefined
  readonly capabilities?: Partial<LanguageModel.Capabilities> | undefined
  readonly directory?: string | undefined
}

// =============================================================================
// Providers
// =============================================================================

interface Found extends Options {
  readonly id: string
  readonly model: string
}

interface Provider {
  /** Names in the configuration, the first one ours to recommend. */
  readonly keys: ReadonlyArray<string>
  readonly urls: ReadonlyArray<string>
  readonly versions: ReadonlyArray<string>
  /** It answers nobody without a key. */
  readonly hosted: boolean
  /** It has one address for all users. */
  readonly addressed: boolean
  /** Names in the configuration for the folder that it works in, if it is a program. */
  readonly directories?: ReadonlyArray<string> | undefined
  readonly make: (options: Found) => Effect.Effect<LanguageModel.Service, ModelStringError, HttpClient.HttpClient>
  readonly makeEmbedder?:
    | ((options: Found) => Effect.Effect<Embedder.Service, never, HttpClient.HttpClient>)
    | undefined
}

const compatible = (name: dialects.Name, dialect: OpenAiCompatible.Dialect | undefined): Provider => {
  const known: dialects.Dialect = dialects.known[name]
  const upper = name.toUpperCase()
  return {
    keys: [`${upper}_API_KEY`, ...known.keys],
    urls: [`${upper}_BASE_URL`, `${upper}_API_BASE`, ...known.urls],
    versions: known.versions,
    hosted: !known.local,
    addressed: known.baseUrl !== undefined,
    make: (options) => OpenAiCompatible.make({ dialect, ...options }),
    makeEmbedder: (options) => OpenAiCompatible.makeEmbedder({ dialect, ...options })
  }
}

const { openai: _, ...others } = dialects.known

const byName = new Map<string, Provider>([
  // The name for any server of OpenAI's protocol: at another address it is another dialect.
  ["openai", compatible("openai", undefined)],
  // A record lists its own keys.
  ...(Object.keys(others) as Array<keyof typeof others>).map((name) => [name, compatible(name, name)] as const),
  ["ollama_chat", compatible("ollama", "ollama")],
  ["hosted_vllm", compatible("vllm", "vllm")],
  ["llama_cpp", compatible("llamacpp", "llamacpp")],
  ["anthropic", {
    keys: ["ANTHROPIC_API_KEY"],
    urls: ["ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"],
    versions: [],
    hosted: true,
    addressed: true,
    make: Anthropic.make
  }],
  ["gemini", {
    keys: ["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    urls: ["GEMINI_BASE_URL", "GEMINI_API_BASE"],
    versions: [],
    hosted: true,
    addressed: true,
    make: Gemini.make
  }],
  ["claude-cli", {
    keys: [],
    urls: [],
    versions: [],
    hosted: false,
    addressed: true,
    directories: ["CLAUDE_CLI_DIRECTORY"],
    make: ({ directory = "", id, model }) =>
      Effect.mapError(
        ClaudeCli.make({ directory, id, model }),
        ({ reason }) => new ModelStringError({ text: id, description: LanguageModelError.describe(reason) })
      )
  }]
])

/**
 * The providers that a model string can begin with.
 *
 * @since 0.1.0
 * @category constants
 */
export const providers: ReadonlyArray<string> = Array.from(byName.keys()).sort()

/**
 * A text that names no model: it has no provider, one that is not known, or one
 * that has no such thing.
 *
 * @since 0.1.0
 * @category errors
 */
export class ModelStringError
  extends Schema.TaggedError<ModelStringError>("@effect-dspy/providers/ModelString/ModelStringError")(
    "ModelStringError",
    { text: Schema.String, description: Schema.String }
  )
{
  override get message(): string {
    return `"${this.text}" names no model: ${this.description}`
  }
}

interface Parsed {
  readonly provider: Provider
  readonly model: string
}

const parse = (text: string): Either.Either<Parsed, ModelStringError> => {
  const fail = (description: string) => Either.left(new ModelStringError({ text, description }))
  const slash = text.indexOf("/")
  const known = `known are ${providers.join(", ")}`
  if (slash === -1) {
    return byName.has(text)
      ? fail(`it has a provider only; write ${text}/<model>`)
      : fail(`it has no provider; write <provider>/${text}, such as openai/${text}; ${known}`)
  }
  const name = text.slice(0, slash)
  const provider = byName.get(name)
  if (provider === undefined) {
    const [near] = nearest(name, providers, 1)
    return fail(`unknown provider ${name}${near === undefined ? "" : `, did you mean ${near}?`}; ${known}`)
  }
  const model = text.slice(slash + 1)
  return model === "" ? fail(`it has a provider only; write ${name}/<model>`) : Either.right({ provider, model })
}

// =============================================================================
// The configuration
// =============================================================================

const first = <A>(
  names: ReadonlyArray<string>,
  read: (name: string) => Config.Config<A>
): Effect.Effect<A | undefined, ConfigError.ConfigError> =>
  Effect.reduce(names, undefined as A | undefined, (found, name) =>
    // nothing found yet
    found === undefined ? Effect.map(Config.option(read(name)), Option.getOrUndefined) : Effect.succeed(found))

const missing = (names: ReadonlyArray<string>, option: string) =>
  ConfigError.MissingData([names[0] ?? ""], `set ${names.join(" or ")}, or pass \`${option}\``)

const find = (
  text: string,
  options: Options
): Effect.Effect<{ readonly provider: Provider; readonly found: Found }, ModelStringError | ConfigError.ConfigError> =>
  Effect.gen(function*() {
    const { model, provider } = yield* parse(text)
    if (provider.directories !== undefined) {
      const [other] = Object.entries(options).find(([name, value]) => name !== "directory" && value !== undefined) ?? []
      if (other !== undefined) {
        return yield* new ModelStringError({ text, description: `it is a program, which takes no \`${other}\`` })
      }
      const directory = options.directory ?? (yield* first(provider.directories, Config.nonEmptyString))
      if (directory === undefined) return yield* Effect.fail(missing(provider.directories, "directory"))
      return { provider, found: { directory, id: text, model } }
    }
    if (options.directory !== undefined) {
      return yield* new ModelStringError({ text, description: "it is a server, which has no `directory`" })
    }
    const configured = options.baseUrl ?? (yield* first(provider.urls, Config.nonEmptyString))
    if (configured === undefined && !provider.addressed) return yield* Effect.fail(missing(provider.urls, "baseUrl"))
    const apiKey = options.apiKey ??
      (yield* first(provider.keys, (name) => Config.redacted(Config.nonEmptyString(name))))
    // What is at an address of the user's own, in place of the provider, may want none.
    const hosted = provider.hosted && (configured === undefined || !provider.addressed)
    if (apiKey === undefined && hosted && options.headers === undefined) {
      return yield* Effect.fail(missing(provider.keys, "apiKey"))
    }
    const version = configured?.includes("?") ? undefined : yield* first(provider.versions, Config.nonEmptyString)
    const baseUrl = configured === undefined || version === undefined
      ? configured
      : `${configured}?api-version=${version}`
    return { provider, found: { ...options, id: text, model, baseUrl, apiKey } }
  })

// =============================================================================
// Models
// =============================================================================

/**
 * The model that a text names.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  text: string,
  options: Options = {}
): Effect.Effect<LanguageModel.Service, ModelStringError | ConfigError.ConfigError, HttpClient.HttpClient> =>
  Effect.flatMap(
    find(text, options),
    ({ found, provider }): Effect.Effect<LanguageModel.Service, ModelStringError, HttpClient.HttpClient> =>
      provider.make(found)
  )

/**
 * The model that a text names, as a Layer.
 *
 * | before the `/` | is |
 * | --- | --- |
 * | `openai` | OpenAI, or whatever is at `OPENAI_BASE_URL` |
 * | `azure` | the deployment of that name at `AZURE_API_BASE`, version `AZURE_API_VERSION` if set |
 * | `ollama`, `ollama_chat` | Ollama, `http://localhost:11434` |
 * | `vllm`, `hosted_vllm` | vLLM, `http://localhost:8000` |
 * | `llamacpp`, `llama_cpp` | llama.cpp's server, `http://localhost:8080` |
 * | `litellm_proxy` | LiteLLM, `http://localhost:4000` |
 * | `anthropic` | Claude |
 * | `gemini` | Gemini |
 * | `claude-cli` | Claude's command line, in the folder `CLAUDE_CLI_DIRECTORY`; see `ClaudeCli` for more options |
 * | `openrouter`, `groq`, `mistral`, `deepseek`, `xai`, `together_ai`, `fireworks_ai`, `cerebras` | those |
 *
 * The key is `<PROVIDER>_API_KEY`, the address `<PROVIDER>_BASE_URL` or
 * `<PROVIDER>_API_BASE`; names that other programs use are known too. Without a
 * key that is needed, and without headers that could stand for it, it fails with
 * a `ConfigError` that names the variable.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as ModelString from "@effect-dspy/providers/ModelString"
 * import { FetchHttpClient } from "@effect/platform"
 * import { ConfigProvider, Effect, Layer } from "effect"
 *
 * const environment = Layer.setConfigProvider(
 *   ConfigProvider.fromMap(new Map([["OPENAI_BASE_URL", "http://localhost:9000/v1"]]))
 * )
 *
 * const idOf = (text: string) =>
 *   LanguageModel.LanguageModel.pipe(
 *     Effect.map((model) => model.id),
 *     Effect.provide(ModelString.layer(text).pipe(Layer.provide([FetchHttpClient.layer, environment])))
 *   )
 *
 * assert.strictEqual(
 *   Effect.runSync(idOf("openai/nvidia/nemotron-3-8b-instruct")),
 *   "openai/nvidia/nemotron-3-8b-instruct"
 * )
 * assert.match(
 *   Effect.runSync(Effect.flip(idOf("opnai/gpt-4o"))).message,
 *   /unknown provider opnai, did you mean openai\?; known are anthropic, azure,/
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  text: string,
  options: Options = {}
): Layer.Layer<LanguageModel.LanguageModel, ModelStringError | ConfigError.ConfigError, HttpClient.HttpClient> =>
  Layer.effect(LanguageModel.LanguageModel, make(text, options))

/**
 * The embedding model that a text such as `openai/text-embedding-3-small`
 * names, as a Layer. Key and address are found as for a language model.
 *
 * @since 0.1.0
 * @category layers
 */
export const embedderLayer = (
  text: string,
  options: Omit<Options, "capabilities" | "directory"> = {}
): Layer.Layer<Embedder.Embedder, ModelStringError | ConfigError.ConfigError, HttpClient.HttpClient> =>
  Layer.effect(
    Embedder.Embedder,
    Effect.flatMap(
      find(text, options),
      ({ found, provider }) =>
        provider.makeEmbedder?.(found) ??
          Effect.fail(new ModelStringError({ text, description: "the provider has no embeddings" }))
    )
  )
