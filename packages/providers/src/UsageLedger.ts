/**
 * A `UsageLedger` counts what was spent on models: every call that was sent,
 * once, however it ended. It adds up by model and predictor, so that it does not
 * grow with the number of calls, and remembers the latest ones in full.
 *
 * It also feeds Effect's metrics, by the names of OpenTelemetry's conventions
 * for generative AI: `gen_ai.client.token.usage`,
 * `gen_ai.client.operation.duration`, and `effect_dspy_cost`, which has no
 * convention yet.
 *
 * @since 0.1.0
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Policy from "@effect-dspy/core/Policy"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import { ofModel } from "./internal/genAi.ts"
import { outcomeOf } from "./internal/outcome.ts"
import * as Prices from "./Prices.ts"

// =============================================================================
// What is counted
// =============================================================================

/**
 * How a call ended: `answered` by the model; `refused` by the provider before
 * the model began, as with a rate limit or a wrong key; `broken` by a fault,
 * when the answer began or may have; `interrupted` by the caller, or left.
 *
 * @since 0.1.0
 * @category models
 */
export const Outcome = Schema.Literal("answered", "refused", "broken", "interrupted")

/**
 * @since 0.1.0
 * @category models
 */
export type Outcome = typeof Outcome.Type

/**
 * One call. `predictor` is the path of the predictor that made it; `spanId` and
 * `traceId` are those of the span it was made in. `start` is milliseconds since
 * the epoch, `duration` milliseconds. `error` is the tag of the reason, `Defect`
 * for a defect. `usage` is what the provider reported, with its cost where that
 * is known. `received` counts the characters that arrived.
 *
 * @since 0.1.0
 * @category models
 */
export const Call = Schema.Struct({
  model: Schema.String,
  predictor: Schema.String,
  traceId: Schema.optional(Schema.String),
  spanId: Schema.optional(Schema.String),
  start: Schema.Finite,
  duration: Schema.Finite,
  outcome: Outcome,
  error: Schema.optional(Schema.String),
  usage: LanguageModel.Usage,
  received: Schema.Finite
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Call extends Schema.Schema.Type<typeof Call> {}

/**
 * Sums over calls. Tokens and cost are those that are known: `unmetered` is how
 * many calls may have taken tokens that the provider did not report, `unpriced`
 * how many have a cost that is not known. Where both are 0, the sums are exact.
 *
 * @since 0.1.0
 * @category models
 */
export const Tally = Schema.Struct({
  calls: Schema.Finite,
  answered: Schema.Finite,
  refused: Schema.Finite,
  broken: Schema.Finite,
  interrupted: Schema.Finite,
  inputTokens: Schema.Finite,
  outputTokens: Schema.Finite,
  cachedInputTokens: Schema.Finite,
  cacheWriteInputTokens: Schema.Finite,
  reasoningTokens: Schema.Finite,
  cost: Schema.Finite,
  unmetered: Schema.Finite,
  unpriced: Schema.Finite
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Tally extends Schema.Schema.Type<typeof Tally> {}

/**
 * The ledger as plain data, which is its form as JSON: `entries` add up all the
 * calls of one model by one predictor, sorted by these; `latest` are the last
 * calls, the oldest first. New fields may be added to version 1, none are
 * removed.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Snapshot = Schema.Struct({
  version: Schema.Literal(1),
  entries: Schema.Array(Schema.Struct({ model: Schema.String, predictor: Schema.String, ...Tally.fields })),
  latest: Schema.Array(Call)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Snapshot extends Schema.Schema.Type<typeof Snapshot> {}

const empty: Tally = {
  calls: 0,
  answered: 0,
  refused: 0,
  broken: 0,
  interrupted: 0,
  inputTokens: 0,
  outputTokens: 0,
  cachedInputTokens: 0,
  cacheWriteInputTokens: 0,
  reasoningTokens: 0,
  cost: 0,
  unmetered: 0,
  unpriced: 0
}

const plus = (a: Tally, b: Tally): Tally => {
  const sum: { -readonly [K in keyof Tally]: Tally[K] } = { ...empty }
  for (const key of Object.keys(empty) as Array<keyof Tally>) sum[key] = a[key] + b[key] // keys of a Tally
  return sum
}

const tallyOf = ({ outcome, usage }: Call): Tally => {
  // The provider that refuses a call takes nothing for it.
  const open = outcome !== "refused"
  return {
    ...empty,
    calls: 1,
    [outcome]: 1,
    inputTokens: usage.inputTokens ?? 0,
    outputTokens: usage.outputTokens ?? 0,
    cachedInputTokens: usage.cachedInputTokens ?? 0,
    cacheWriteInputTokens: usage.cacheWriteInputTokens ?? 0,
    reasoningTokens: usage.reasoningTokens ?? 0,
    cost: usage.cost ?? 0,
    unmetered: open && (usage.inputTokens === undefined || usage.outputTokens === undefined) ? 1 : 0,
    unpriced: open && usage.cost === undefined ? 1 : 0
  }
}

// =============================================================================
// The service
// =============================================================================

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly record: (call: Call) => Effect.Effect<void>
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * The ledger of the program.
 *
 * @since 0.1.0
 * @category services
 */
export class UsageLedger extends Context.Tag("@effect-dspy/providers/UsageLedger")<UsageLedger, Service>() {}

/**
 * `latest` is how many calls are remembered in full; default 256.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly latest?: number | undefined
}

/**
 * An empty ledger.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service> =>
  Effect.sync(() => {
    const limit = options.latest ?? 256
    const tallies = new Map<string, Map<string, Tally>>()
    let latest: Array<Call> = []
    return {
      record: (call) =>
        Effect.sync(() => {
          let ofModel = tallies.get(call.model)
          if (ofModel === undefined) tallies.set(call.model, ofModel = new Map())
          ofModel.set(call.predictor, plus(ofModel.get(call.predictor) ?? empty, tallyOf(call)))
          latest.push(call)
          // Cut now and then, not at every call.
          if (latest.length > 2 * limit) latest = kept(latest, limit)
        }),
      snapshot: Effect.sync(() => ({
        version: 1,
        entries: Array.from(tallies)
          .flatMap(([model, predictors]) =>
            Array.from(predictors, ([predictor, tally]) => ({ model, predictor, ...tally }))
          )
          .sort((a, b) => order(a.model, b.model) || order(a.predictor, b.predictor)),
        latest: kept(latest, limit)
      }))
    }
  })

const kept = (calls: ReadonlyArray<Call>, limit: number): Array<Call> => calls.slice(Math.max(0, calls.length - limit))

const order = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0

/**
 * Gives a program a ledger.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<UsageLedger> => Layer.effect(UsageLedger, make(options))

/**
 * What has been counted so far.
 *
 * @since 0.1.0
 * @category accessors
 */
export const snapshot: Effect.Effect<Snapshot, never, UsageLedger> = Effect.flatMap(
  UsageLedger,
  (ledger) => ledger.snapshot
)

/**
 * Everything together.
 *
 * @since 0.1.0
 * @category destructors
 */
export const total = (snapshot: Snapshot): Tally => snapshot.entries.reduce(plus, empty)

/**
 * The sums for each model.
 *
 * @since 0.1.0
 * @category destructors
 */
export const byModel = (snapshot: Snapshot): ReadonlyMap<string, Tally> => by(snapshot, "model")

/**
 * The sums for each predictor, by its path; `""` is a predictor on its own, and
 * calls that no predictor made.
 *
 * @since 0.1.0
 * @category destructors
 */
export const byPredictor = (snapshot: Snapshot): ReadonlyMap<string, Tally> => by(snapshot, "predictor")

/**
 * The sums for each span that a call was made in, by the span's id: of the
 * latest calls only, since spans have no end.
 *
 * @since 0.1.0
 * @category destructors
 */
export const bySpan = (snapshot: Snapshot): ReadonlyMap<string, Tally> =>
  sums(snapshot.latest.flatMap((call) => call.spanId === undefined ? [] : [[call.spanId, tallyOf(call)] as const]))

const by = (snapshot: Snapshot, key: "model" | "predictor"): ReadonlyMap<string, Tally> =>
  sums(snapshot.entries.map((entry) => [entry[key], entry] as const))

const sums = (tallies: ReadonlyArray<readonly [name: string, tally: Tally]>): ReadonlyMap<string, Tally> => {
  const sums = new Map<string, Tally>()
  for (const [name, tally] of tallies) sums.set(name, plus(sums.get(name) ?? empty, tally))
  return sums
}

// =============================================================================
// Metrics
// =============================================================================

/**
 * `gen_ai.client.token.usage`: tokens of a call, apart for `input` and `output`
 * (`gen_ai.token.type`), by provider and model.
 *
 * @since 0.1.0
 * @category metrics
 */
export const tokenUsage: Metric.Metric.Histogram<number> = Metric.histogram(
  "gen_ai.client.token.usage",
  MetricBoundaries.exponential({ start: 1, factor: 4, count: 15 }),
  "Number of input and output tokens used"
).pipe(Metric.tagged("unit", "{token}"))

/**
 * `gen_ai.client.operation.duration`: seconds a call took, by provider, model
 * and, of one that did not succeed, the reason (`error.type`). Its count is that
 * of the calls.
 *
 * @since 0.1.0
 * @category metrics
 */
export const operationDuration: Metric.Metric.Histogram<number> = Metric.histogram(
  "gen_ai.client.operation.duration",
  MetricBoundaries.exponential({ start: 0.01, factor: 2, count: 15 }),
  "Duration of calls to models, in seconds"
).pipe(Metric.tagged("unit", "s"))

/**
 * `effect_dspy_cost`: what calls cost in the currency of the prices, by provider
 * and model.
 *
 * @since 0.1.0
 * @category metrics
 */
export const cost = Metric.counter("effect_dspy_cost", {
  description: "Cost of calls to models, where it is known",
  incremental: true
})

const observe = (id: string): (call: Call) => Effect.Effect<void> => {
  const tagged = ofModel(id)
  const tokens = tagged(tokenUsage)
  const input = Metric.tagged(tokens, "gen_ai.token.type", "input")
  const output = Metric.tagged(tokens, "gen_ai.token.type", "output")
  const duration = tagged(operationDuration)
  const paid = tagged(cost)
  return (call) =>
    Effect.all([
      ...(call.usage.inputTokens === undefined ? [] : [Metric.update(input, call.usage.inputTokens)]),
      ...(call.usage.outputTokens === undefined ? [] : [Metric.update(output, call.usage.outputTokens)]),
      ...(call.usage.cost === undefined ? [] : [Metric.update(paid, call.usage.cost)]),
      Metric.update(
        call.error === undefined ? duration : Metric.tagged(duration, "error.type", call.error),
        call.duration / 1000
      )
    ], { discard: true })
}

// =============================================================================
// The policy
// =============================================================================

/**
 * Enters every call into the ledger when it is over. Apply it inside of `Retry`
 * and of caches: an attempt is a call, an answer from a cache is none, nor is
 * what an inner policy refuses to send. The cost is what the provider states,
 * else by the `Prices`.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Prices from "@effect-dspy/providers/Prices"
 * import * as UsageLedger from "@effect-dspy/providers/UsageLedger"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const ask = Module.make(
 *   { draft: Predict.make("question -> draft"), answer: Predict.make("draft -> answer") },
 *   function*(m, input: { readonly question: string }) {
 *     return yield* m.answer(yield* m.draft(input))
 *   }
 * )
 *
 * const model = TestLanguageModel.layer([
 *   TestLanguageModel.withUsage(TestLanguageModel.fields({ draft: "A" }), { inputTokens: 400, outputTokens: 100 }),
 *   TestLanguageModel.withUsage(TestLanguageModel.fields({ answer: "B" }), { inputTokens: 300, outputTokens: 50 })
 * ]).pipe(
 *   Policy.apply(UsageLedger.policy),
 *   Layer.provide(Prices.layer({ "test/*": { input: 1000, output: 4000 } })),
 *   Layer.provideMerge(UsageLedger.layer())
 * )
 *
 * const program = Effect.gen(function*() {
 *   yield* ask({ question: "What is it?" })
 *   const snapshot = yield* UsageLedger.snapshot
 *   const { calls, cost, inputTokens } = UsageLedger.total(snapshot)
 *   const json = yield* Schema.encode(Schema.parseJson(UsageLedger.Snapshot))(snapshot)
 *   return { calls, cost, inputTokens, draft: UsageLedger.byPredictor(snapshot).get("draft")?.outputTokens, json }
 * }).pipe(Effect.provide(model))
 *
 * Effect.runPromise(program).then(({ json, ...sums }) => {
 *   assert.deepStrictEqual(sums, { calls: 2, cost: 1.3, inputTokens: 700, draft: 100 })
 *   assert.ok(json.startsWith('{"version":1,"entries":[{"model":"test/model","predictor":"answer","calls":1,'))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const policy: Policy.Policy<never, UsageLedger> = (inner) =>
  Policy.metered(Effect.gen(function*() {
    const ledger = yield* UsageLedger
    const table = yield* Prices.Prices
    const measure = observe(inner.id)
    return () =>
      Effect.gen(function*() {
        const predictor = yield* Module.path
        const span = yield* Effect.serviceOption(Tracer.ParentSpan)
        const start = yield* Clock.currentTimeMillis
        return (ending: Policy.Ending) =>
          Effect.flatMap(Clock.currentTimeMillis, (end) => {
            const outcome = outcomeOf(ending)
            if (outcome === "unsent") return Effect.void
            const call: Call = {
              model: inner.id,
              predictor,
              ...(Option.isNone(span) ? undefined : { traceId: span.value.traceId, spanId: span.value.spanId }),
              start,
              duration: Math.max(0, end - start),
              outcome,
              ...errorOf(ending, outcome),
              usage: usageOf(ending, inner.id, table),
              received: ending.received
            }
            return Effect.zipRight(ledger.record(call), measure(call))
          })
      })
  }))(inner)

const errorOf = ({ exit }: Policy.Ending, outcome: Outcome): Pick<Call, "error"> => {
  if (Exit.isSuccess(exit)) return {}
  return {
    error: outcome === "interrupted" ? "Interrupted" : Option.match(Cause.failureOption(exit.cause), {
      onNone: () => "Defect",
      onSome: ({ reason }) => reason._tag
    })
  }
}

const usageOf = ({ exit }: Policy.Ending, model: string, table: Prices.Table): LanguageModel.Usage =>
  Exit.isSuccess(exit)
    ? Option.match(Prices.costOf(table, model, exit.value), {
      onNone: () => exit.value.usage,
      onSome: (cost) => ({ ...exit.value.usage, cost })
    })
    : {}
