/** The names of the OpenTelemetry conventions for generative AI, where several modules need them. */
import * as Metric from "effect/Metric"

/** A metric of the calls to one model, given by its id. */
export const ofModel = (id: string) => <Type, In, Out>(metric: Metric.Metric<Type, In, Out>) => {
  const slash = id.indexOf("/")
  return metric.pipe(
    Metric.tagged("gen_ai.operation.name", "chat"),
    Metric.tagged("gen_ai.provider.name", slash < 0 ? id : id.slice(0, slash)),
    Metric.tagged("gen_ai.request.model", id.slice(slash + 1))
  )
}
