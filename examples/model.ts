/**
 * The model of the examples, chosen by the environment:
 *
 * - `EFFECT_DSPY_MODEL=ollama/llama3.2` (a local Ollama), `openai/gpt-4o-mini`,
 *   `anthropic/claude-haiku-4-5` or any other name that `ModelString` knows,
 *   with the key and the address where that says;
 * - with `OPENAI_API_KEY` alone: `openai/gpt-4o-mini`;
 * - with neither: the embedded stand-in, which is not a language model.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Embedded from "@effect-dspy/providers/Embedded"
import * as ModelString from "@effect-dspy/providers/ModelString"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Config, type ConfigError, Effect, Layer, Option } from "effect"

const environment = Config.all({
  model: Config.option(Config.nonEmptyString("EFFECT_DSPY_MODEL")),
  apiKey: Config.option(Config.nonEmptyString("OPENAI_API_KEY"))
})

export const layer: Layer.Layer<
  LanguageModel.LanguageModel,
  ConfigError.ConfigError | ModelString.ModelStringError
> = environment.pipe(
  Effect.map(({ apiKey, model }) => {
    const id = Option.getOrElse(model, () => Option.isSome(apiKey) ? "openai/gpt-4o-mini" : Embedded.id)
    return id === Embedded.id
      ? Embedded.layer({ delay: "20 millis" })
      : ModelString.layer(id).pipe(Layer.provide(NodeHttpClient.layerUndici))
  }),
  Layer.unwrapEffect
)
