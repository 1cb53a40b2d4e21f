/** The names of the OpenTelemetry conventions for generative AI, where several modules need them. */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Metric from "effect/Metric"
import type * as Tracer from "effect/Tracer"

/** A metric of the calls to one model, given by its id. */
export const ofModel = (id: string) => <Type, In, Out>(metric: Metric.Metric<Type, In, Out>) => {
  const slash = id.indexOf("/")
  return metric.pipe(
    Metric.tagged("gen_ai.operation.name", "chat"),
    Metric.tagged("gen_ai.provider.name", slash < 0 ? id : id.slice(0, slash)),
    Metric.tagged("gen_ai.request.model", id.slice(slash + 1))
  )
}

/** Where requests go, as attributes of a span. */
export const server = (url: string): { readonly [name: string]: unknown } => {
  if (!URL.canParse(url)) return {}
  const { hostname, port, protocol } = new URL(url)
  return {
    "server.address": hostname,
    "server.port": port === "" ? protocol === "http:" ? 80 : 443 : Number(port)
  }
}

const settings = [
  ["maxTokens", "gen_ai.request.max_tokens"],
  ["n", "gen_ai.request.choice.count"],
  ["seed", "gen_ai.request.seed"],
  ["stop", "gen_ai.request.stop_sequences"],
  ["temperature", "gen_ai.request.temperature"],
  ["topP", "gen_ai.request.top_p"]
] as const

/** What was asked for, as attributes of the span of a call. */
export const request = (span: Tracer.Span, given: LanguageModel.Settings = {}): void => {
  if (!span.sampled) return
  for (const [name, attribute] of settings) {
    if (given[name] !== undefined) span.attribute(attribute, given[name])
  }
}

/** What came of a call, as attributes of its span; `deltas` hold why the outputs ended. */
export const response = (
  span: Tracer.Span,
  { model, usage: { cachedInputTokens, cacheWriteInputTokens, inputTokens, outputTokens } }: LanguageModel.Completed,
  deltas: ReadonlyArray<LanguageModel.Delta>
): void => {
  if (!span.sampled) return
  const reasons = deltas.flatMap((delta) => delta._tag === "Finish" ? [delta.reason] : [])
  for (
    const [attribute, value] of [
      ["gen_ai.response.model", model],
      ["gen_ai.response.finish_reasons", reasons.length === 0 ? undefined : reasons],
      ["gen_ai.usage.input_tokens", inputTokens],
      ["gen_ai.usage.output_tokens", outputTokens],
      ["gen_ai.usage.cache_read.input_tokens", cachedInputTokens],
      ["gen_ai.usage.cache_creation.input_tokens", cacheWriteInputTokens]
    ] as const
  ) if (value !== undefined) span.attribute(attribute, value)
}
