/**
 * What models cost. `Prices` is a table that the context holds, so that one
 * Layer replaces or extends it for every policy; a model that is not in it has
 * an unknown cost, which is never taken for 0.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Policy from "@effect-dspy/core/Policy"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

/**
 * The price of a million tokens. `cachedInput` is what is read from the
 * provider's cache, `cacheWrite` what is written to it; either costs what input
 * costs unless it has a price of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Price {
  readonly input: number
  readonly cachedInput?: number | undefined
  readonly cacheWrite?: number | undefined
  readonly output: number
}

/**
 * Prices by the name of the model, all in one currency.
 *
 * A name covers its dated snapshots too: `gpt-4o` is also
 * `gpt-4o-2024-08-06`, but not `gpt-4o-mini`. A name that ends in `*` covers
 * everything that begins with what is before it; a longer one wins. Whatever
 * stands before a `/` may be left out: `gpt-4o` prices `openai/gpt-4o`, and
 * `groq/llama-3.3-70b-versatile` only Groq's.
 *
 * @since 0.1.0
 * @category models
 */
export interface Table {
  readonly [model: string]: Price
}

/**
 * The list prices of some well-known models, in US dollars, as the pages of
 * OpenAI, Anthropic and Google had them in October and November 2026. Prices
 * change, and lists for large customers, batches, regions and fast lanes are
 * others: state your own where money matters. Models whose price depends on the
 * length of the prompt are left out; Anthropic's cache is that of five minutes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const builtIn: Table = {
  "gpt-4o": { input: 2.5, cachedInput: 1.25, output: 10 },
  "gpt-4o-mini": { input: 0.15, cachedInput: 0.075, output: 0.6 },
  "gpt-4.1": { input: 2, cachedInput: 0.5, output: 8 },
  "gpt-4.1-mini": { input: 0.4, cachedInput: 0.1, output: 1.6 },
  "gpt-4.1-nano": { input: 0.1, cachedInput: 0.025, output: 0.4 },
  "gpt-5": { input: 1.25, cachedInput: 0.125, output: 10 },
  "gpt-5-mini": { input: 0.25, cachedInput: 0.025, output: 2 },
  "gpt-5-nano": { input: 0.05, cachedInput: 0.005, output: 0.4 },
  "gpt-5.1": { input: 1.25, cachedInput: 0.125, output: 10 },
  "gpt-5.4-mini": { input: 0.75, cachedInput: 0.075, output: 4.5 },
  "gpt-5.4-nano": { input: 0.2, cachedInput: 0.02, output: 1.25 },
  "claude-fable-5-1": { input: 10, cachedInput: 0.25, cacheWrite: 12.5, output: 50 },
  "claude-opus-5-5": { input: 4, cachedInput: 0.2, cacheWrite: 5, output: 20 },
  "claude-opus-5": { input: 5, cachedInput: 0.5, cacheWrite: 6.25, output: 25 },
  "claude-sonnet-5-5": { input: 2, cachedInput: 0.1, cacheWrite: 2.5, output: 10 },
  "claude-sonnet-5": { input: 2, cachedInput: 0.2, cacheWrite: 2.5, output: 10 },
  "claude-haiku-4-5": { input: 1, cachedInput: 0.1, cacheWrite: 1.25, output: 5 },
  "gemini-2.5-flash": { input: 0.3, cachedInput: 0.03, output: 2.5 },
  "gemini-2.5-flash-lite": { input: 0.1, cachedInput: 0.01, output: 0.4 },
  "gemini-3.5-flash-lite": { input: 0.3, cachedInput: 0.03, output: 2.5 }
}

/**
 * The price of a model that runs on a machine of one's own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const free: Price = { input: 0, output: 0 }

/**
 * The prices that hold; the built-in ones unless others are provided. Policies
 * read them once, when they are applied.
 *
 * @since 0.1.0
 * @category services
 */
export class Prices extends Context.Reference<Prices>()("@effect-dspy/providers/Prices", {
  defaultValue: (): Table => builtIn
}) {}

/**
 * Gives other prices to the policies of the model it is provided to. Spread
 * `builtIn` into the table to keep those.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (table: Table): Layer.Layer<never> => Layer.succeedContext(Context.make(Prices, table))

// A date, a build number or `latest`, after the name of the model.
const snapshot = /[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{3,4}|latest)$/

/**
 * The price of a model, if the table has it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const priceOf: {
  (model: string): (table: Table) => Option.Option<Price>
  (table: Table, model: string): Option.Option<Price>
} = dual(2, (table: Table, model: string): Option.Option<Price> => {
  for (let name = model;; name = name.slice(name.indexOf("/") + 1)) {
    const price = own(table, name) ?? own(table, name.replace(snapshot, "")) ?? beginning(table, name)
    if (price !== undefined) return Option.some(price)
    if (!name.includes("/")) return Option.none()
  }
})

const own = (table: Table, name: string): Price | undefined => Object.hasOwn(table, name) ? table[name] : undefined

const beginning = (table: Table, name: string): Price | undefined => {
  let longest: string | undefined
  for (const key of Object.keys(table)) {
    if (key.endsWith("*") && name.startsWith(key.slice(0, -1)) && key.length > (longest?.length ?? 0)) longest = key
  }
  return longest === undefined ? undefined : table[longest]
}

/**
 * What a call cost: what the provider says it did, else by the table. It is
 * unknown where the table does not have the model, or the provider did not
 * report the tokens of the prompt or of the answer.
 *
 * @example
 * ```ts
 * import * as Prices from "@effect-dspy/providers/Prices"
 * import { Option } from "effect"
 *
 * const table: Prices.Table = { ...Prices.builtIn, "ollama/*": Prices.free, "acme/large": { input: 2, output: 6 } }
 * const usage = { inputTokens: 1_000_000, outputTokens: 500_000 }
 *
 * assert.deepStrictEqual(Prices.cost(table, "acme/large", usage), Option.some(5))
 * assert.deepStrictEqual(Prices.cost(table, "ollama/qwen2.5:3b", usage), Option.some(0))
 * assert.deepStrictEqual(Prices.cost(table, "acme/small", usage), Option.none())
 * assert.deepStrictEqual(Prices.cost(table, "acme/large", { inputTokens: 10 }), Option.none())
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const cost: {
  (model: string, usage: LanguageModel.Usage): (table: Table) => Option.Option<number>
  (table: Table, model: string, usage: LanguageModel.Usage): Option.Option<number>
} = dual(3, (table: Table, model: string, usage: LanguageModel.Usage): Option.Option<number> => {
  const { inputTokens, outputTokens } = usage
  if (usage.cost !== undefined) return Option.some(usage.cost)
  if (inputTokens === undefined || outputTokens === undefined) return Option.none()
  return Option.map(priceOf(table, model), (price) => {
    const read = Math.min(usage.cachedInputTokens ?? 0, inputTokens)
    const written = Math.min(usage.cacheWriteInputTokens ?? 0, inputTokens - read)
    return (
      (inputTokens - read - written) * price.input +
      read * (price.cachedInput ?? price.input) +
      written * (price.cacheWrite ?? price.input) +
      outputTokens * price.output
    ) / 1_000_000
  })
})

/**
 * What an answer cost. The model is looked up by the name it was asked by, then
 * by the one it answers with.
 *
 * @since 0.1.0
 * @category accessors
 */
export const costOf = (
  table: Table,
  model: string,
  answer: Pick<LanguageModel.Response, "usage" | "model">
): Option.Option<number> =>
  Option.orElse(cost(table, model, answer.usage), () => cost(table, answer.model, answer.usage))

/**
 * Writes the cost of every answer into its `usage`, where the provider did not
 * state it and the prices know it. Apply it first, nearest to the model, so that
 * optimizers and reports count money; budgets and ledgers look prices up
 * themselves.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Prices from "@effect-dspy/providers/Prices"
 * import { Effect, Layer } from "effect"
 *
 * const answer = TestLanguageModel.text("hello").pipe(
 *   TestLanguageModel.withUsage({ inputTokens: 1000, outputTokens: 100 })
 * )
 * const model = TestLanguageModel.layer([answer], { id: "acme/large" }).pipe(
 *   Policy.apply(Prices.policy),
 *   Layer.provide(Prices.layer({ "acme/*": { input: 2, output: 10 } }))
 * )
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   Effect.provide(model)
 * )
 *
 * Effect.runPromise(program).then(({ usage }) => assert.strictEqual(usage.cost, 0.003))
 * ```
 *
 * @since 0.1.0
 * @category policies
 */
export const policy: Policy.Policy = (inner) =>
  Effect.map(Prices, (table): LanguageModel.Service => {
    const priced = <A extends Pick<LanguageModel.Response, "usage" | "model">>(answer: A): A =>
      Option.match(costOf(table, inner.id, answer), {
        onNone: () => answer,
        onSome: (cost) => ({ ...answer, usage: { ...answer.usage, cost } })
      })
    return {
      ...inner,
      generate: (request) => Effect.map(inner.generate(request), priced),
      stream: (request) =>
        Stream.mapChunks(inner.stream(request), (chunk) =>
          Chunk.some(chunk, (delta) => delta._tag === "Completed")
            ? Chunk.map(chunk, (delta) => delta._tag === "Completed" ? priced(delta) : delta)
            : chunk)
    }
  })
