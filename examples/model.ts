/**
 * The model of the examples, chosen by the environment:
 *
 * - `EFFECT_DSPY_MODEL=ollama/llama3.2` (a local Ollama), or
 *   `EFFECT_DSPY_MODEL=openai/gpt-4o-mini`; `OPENAI_BASE_URL` names another
 *   server for `openai/...`, such as vLLM or LiteLLM;
 * - with `OPENAI_API_KEY` alone: `openai/gpt-4o-mini`;
 * - with neither: the embedded stand-in, which is not a language model.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Embedded from "@effect-dspy/providers/Embedded"
import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Config, ConfigError, Effect, Either, Layer, Option } from "effect"

const environment = Config.all({
  model: Config.option(Config.nonEmptyString("EFFECT_DSPY_MODEL")),
  apiKey: Config.option(Config.redacted("OPENAI_API_KEY")),
  baseUrl: Config.option(Config.nonEmptyString("OPENAI_BASE_URL"))
})

const servers = ["ollama", "openai"]

export const layer: Layer.Layer<LanguageModel.LanguageModel, ConfigError.ConfigError> = environment.pipe(
  Effect.flatMap(({ apiKey, baseUrl, model }) => {
    const id = Option.getOrElse(model, () => Option.isSome(apiKey) ? "openai/gpt-4o-mini" : Embedded.id)
    if (id === Embedded.id) return Either.right(Embedded.layer({ delay: "20 millis" }))
    const [server, ...name] = id.split("/")
    if (server === undefined || !servers.includes(server) || name.join("/") === "") {
      const known = servers.map((server) => `${server}/<model>`).join(", ")
      return Either.left(ConfigError.InvalidData(["EFFECT_DSPY_MODEL"], `"${id}" is none of ${known}, ${Embedded.id}`))
    }
    return Either.right(
      OpenAiCompatible.layer({
        id,
        model: name.join("/"),
        baseUrl: server === "ollama" ? "http://localhost:11434/v1" : Option.getOrUndefined(baseUrl),
        apiKey: Option.getOrUndefined(apiKey)
      }).pipe(Layer.provide(NodeHttpClient.layerUndici))
    )
  }),
  Layer.unwrapEffect
)
