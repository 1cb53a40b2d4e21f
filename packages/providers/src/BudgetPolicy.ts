/**
 * Keeps model calls within a `Budget` of calls, tokens, money and time. What a
 * call may take at most is reserved before it is sent, and settled with what it
 * took; so any number of calls at once stay within the budget together.
 *
 * @since 0.1.0
 */
import * as Budget from "@effect-dspy/core/Budget"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import { failure } from "./internal/failure.ts"
import { outcomeOf } from "./internal/outcome.ts"
import { spanEvent } from "./internal/spanEvent.ts"
import { inputBound } from "./internal/tokens.ts"
import * as Prices from "./Prices.ts"

/**
 * `maxTokens` is how long the answer to a request without `settings.maxTokens`
 * is expected to become at most, in tokens; default 4096.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly maxTokens?: number | undefined
}

/**
 * Counts calls that were not sent because they did not fit into a budget,
 * tagged by `model` and `resource`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const refusals = Metric.counter("effect_dspy_budget_refusals", {
  description: "Calls that did not fit into a budget",
  incremental: true
})

/**
 * Reserves each call before it is sent, and settles it when it is over, with the
 * `Budget` that is provided to the caller, or else to the model's Layer.
 *
 * **Reserved** is one call; the largest number of tokens it can take, which is
 * one for each byte of the prompt and `settings.maxTokens` for each output; and
 * what these cost by `Prices`. If that is not there, the call fails with
 * `BudgetExceeded` and nothing is sent. So does a call whose price nobody knows
 * with `InvalidRequest`, if the budget limits money.
 *
 * **Settled** is what the provider reports. What it does not report is charged as
 * reserved. A call that the provider refused (a rate limit, a wrong key, a
 * server error) is one call and no tokens; one that was answered from a cache,
 * or that an inner policy did not send, is nothing. A call that was interrupted,
 * a stream that broke or was left, is charged the reserved prompt and one token
 * for each character that had arrived; the rest is given back at once.
 *
 * The budget is never overdrawn, as long as requests set `maxTokens`, or no
 * answer is longer than expected without, and the model keeps to it.
 *
 * **Budgets inside budgets**: what `Budget.within` makes reserves from all the
 * budgets around it too. Give the Layer the account's, and provide a smaller one
 * around what it is to limit. An optimizer reserves for its
 * runs by itself: give it limits of its own, not this budget, which would pay
 * for everything twice.
 *
 * Apply it inside of `Retry`, so that each attempt is paid for, and of caches,
 * so that what they answer is not.
 *
 * @example
 * ```ts
 * import * as Budget from "@effect-dspy/core/Budget"
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as BudgetPolicy from "@effect-dspy/providers/BudgetPolicy"
 * import { Effect, Layer } from "effect"
 *
 * const answer = TestLanguageModel.text("hello").pipe(
 *   TestLanguageModel.withUsage({ inputTokens: 10, outputTokens: 2 })
 * )
 * const account = Budget.layer({ calls: 10, tokens: 500 })
 * const model = TestLanguageModel.layer([answer, answer]).pipe(
 *   Policy.apply(BudgetPolicy.make()),
 *   Layer.provideMerge(account)
 * )
 *
 * const ask = LanguageModel.generate({
 *   messages: [{ role: "user", content: "hi" }],
 *   settings: { maxTokens: 20 }
 * })
 *
 * const program = Effect.gen(function*() {
 *   yield* ask
 *   const small = yield* (yield* Budget.Budget).within({ calls: 1 })
 *   yield* ask.pipe(Effect.provideService(Budget.Budget, small))
 *   const refused = yield* Effect.flip(ask.pipe(Effect.provideService(Budget.Budget, small)))
 *   return { refused: refused.message, account: yield* Budget.remaining }
 * }).pipe(Effect.provide(model))
 *
 * Effect.runPromise(program).then((result) =>
 *   assert.deepStrictEqual(result, {
 *     refused: "test/model: BudgetExceeded: the budget of 1 calls has 0 left; nothing was sent",
 *     account: { calls: 8, tokens: 476 }
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options?: Options): Policy.Policy<never, Budget.Budget> =>
  policy(
    Effect.map(Budget.Budget, (own) => Effect.map(Effect.serviceOption(Budget.Budget), Option.getOrElse(() => own))),
    options
  )

/**
 * The same, with this budget and no other: for one that belongs to a model.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBudget = (budget: Budget.Service, options?: Options): Policy.Policy =>
  policy(Effect.succeed(Effect.succeed(budget)), options)

// `build` finds what finds, for each call, the budget that pays for it.
const policy = <R>(
  build: Effect.Effect<Effect.Effect<Budget.Service>, never, R>,
  { maxTokens = 4096 }: Options = {}
): Policy.Policy<never, R> =>
  Policy.metered(Effect.gen(function*() {
    const table = yield* Prices.Prices
    const paying = yield* build
    return (request: LanguageModel.Request, model: LanguageModel.Service) =>
      Effect.gen(function*() {
        const most = mostOf(request, maxTokens)
        const cost = Option.getOrUndefined(Prices.cost(table, model.id, dearest(most)))
        const budget = yield* paying
        if (cost === undefined && (yield* budget.remaining).cost !== undefined) {
          return yield* failure(
            model.id,
            new LanguageModelError.InvalidRequest({
              description: `the budget limits money, and no price is known for ${model.id}; add it to the Prices`
            }),
            { attempts: 0 }
          )
        }
        const reservation = yield* budget.reserve({
          calls: 1,
          tokens: most.inputTokens + most.outputTokens,
          cost
        }).pipe(
          Effect.tapError(({ resource }) =>
            Effect.zipRight(
              Metric.update(refusals.pipe(Metric.tagged("model", model.id), Metric.tagged("resource", resource)), 1),
              spanEvent("budget.refused", { model: model.id, resource })
            )
          ),
          Effect.mapError((reason) => failure(model.id, reason, { attempts: 0 }))
        )
        return (ending: Policy.Ending) => reservation.settle(spent(ending, most, table, model.id))
      })
  }))

interface Most {
  readonly inputTokens: number
  readonly outputTokens: number
}

const mostOf = (request: LanguageModel.Request, maxTokens: number): Most => ({
  inputTokens: inputBound(request),
  outputTokens: (request.settings?.maxTokens ?? maxTokens) * (request.settings?.n ?? 1)
})

// Nothing of a prompt costs more than what goes into the provider's cache.
const dearest = (most: Most): LanguageModel.Usage => ({ ...most, cacheWriteInputTokens: most.inputTokens })

const spent = (
  ending: Policy.Ending,
  most: Most,
  table: Prices.Table,
  model: string
): Budget.Amount => {
  const amount = (answer: Pick<LanguageModel.Response, "usage" | "model">): Budget.Amount => {
    // What is not reported is taken to be as much as it can have been.
    const usage = {
      ...answer.usage,
      inputTokens: answer.usage.inputTokens ?? most.inputTokens,
      outputTokens: answer.usage.outputTokens ?? most.outputTokens
    }
    return {
      calls: 1,
      tokens: usage.inputTokens + usage.outputTokens,
      cost: Option.getOrUndefined(Prices.costOf(table, model, { ...answer, usage }))
    }
  }
  const { exit, received } = ending
  const arrived = { outputTokens: Math.min(received, most.outputTokens) }
  switch (outcomeOf(ending)) {
    case "answered":
      return amount(Exit.isSuccess(exit) ? exit.value : { model, usage: {} })
    case "interrupted":
      return amount({ model, usage: arrived })
    case "broken":
      // Of an answer that was not streamed nobody saw how far it had come.
      return amount({ model, usage: received === 0 ? {} : arrived })
    case "refused":
      return { calls: 1 }
    case "unsent":
      return {}
  }
}
