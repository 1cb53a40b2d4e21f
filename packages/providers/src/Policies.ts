/**
 * All policies in the order in which they belong.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as Policy from "@effect-dspy/core/Policy"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as RateLimit from "./RateLimit.ts"
import * as Retry from "./Retry.ts"
import * as SingleFlight from "./SingleFlight.ts"
import * as Timeouts from "./Timeouts.ts"

/**
 * The options of each policy; those that are not named have their defaults, and
 * `false` leaves one out. There is no limit of rates, no budget, no other model
 * and no cache unless they are given.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<
  out BudgetE = never,
  out BudgetR = never,
  out FallbackE = never,
  out FallbackR = never,
  out CacheE = never,
  out CacheR = never
> {
  readonly timeouts?: Timeouts.Options | false | undefined
  readonly circuitBreaker?: CircuitBreaker.Options | false | undefined
  readonly rateLimit?: RateLimit.Options | undefined
  readonly budget?: Policy.Policy<BudgetE, BudgetR> | undefined
  readonly retry?: Retry.Options | false | undefined
  readonly fallback?: Policy.Policy<FallbackE, FallbackR> | undefined
  readonly singleFlight?: boolean | undefined
  readonly cache?: Policy.Policy<CacheE, CacheR> | undefined
}

/**
 * From the model outwards:
 *
 * | policy | why it is where it is |
 * | --- | --- |
 * | `Timeouts` | at the model, so that no wait in a queue counts |
 * | `CircuitBreaker` | sees each attempt, and those that took too long |
 * | `RateLimit` | each attempt takes its turn |
 * | `budget` | each attempt is paid for; what waits in line has its money put aside |
 * | `Retry` | repeats all of that |
 * | `fallback` | comes when retries did not help |
 * | `SingleFlight` | shares whatever answer came of it |
 * | `cache` | what it knows costs nothing: no turn, no money |
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Fallback from "@effect-dspy/providers/Fallback"
 * import * as Policies from "@effect-dspy/providers/Policies"
 * import { Effect } from "effect"
 *
 * const Backup = TestLanguageModel.layer([TestLanguageModel.text("hello")]).pipe(
 *   Policy.apply(Policies.standard())
 * )
 *
 * const Model = TestLanguageModel.layer([TestLanguageModel.fail("QuotaExhausted")]).pipe(
 *   Policy.apply(Policies.standard({
 *     rateLimit: { requestsPerMinute: 600, concurrency: 32 },
 *     retry: { times: 4 },
 *     fallback: Fallback.make({ models: [Backup] })
 *   }))
 * )
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] }).pipe(
 *   Effect.provide(Model)
 * )
 *
 * Effect.runPromise(program).then((response) => assert.strictEqual(response.outputs[0]?.text, "hello"))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const standard = <
  BudgetE = never,
  BudgetR = never,
  FallbackE = never,
  FallbackR = never,
  CacheE = never,
  CacheR = never
>(
  options: Options<BudgetE, BudgetR, FallbackE, FallbackR, CacheE, CacheR> = {}
): Policy.Policy<BudgetE | FallbackE | CacheE, BudgetR | FallbackR | CacheR | Scope.Scope> => {
  const { budget, cache, circuitBreaker, fallback, rateLimit, retry, singleFlight, timeouts } = options
  const policies = [
    timeouts === false ? undefined : Timeouts.make(timeouts),
    circuitBreaker === false ? undefined : CircuitBreaker.make(circuitBreaker),
    rateLimit === undefined ? undefined : RateLimit.make(rateLimit),
    budget,
    retry === false ? undefined : Retry.make(retry),
    fallback,
    singleFlight === false ? undefined : SingleFlight.make(),
    cache
  ]
  return (inner) =>
    Effect.reduce(
      policies,
      inner,
      (model, policy): Effect.Effect<
        LanguageModel.Service,
        BudgetE | FallbackE | CacheE,
        BudgetR | FallbackR | CacheR | Scope.Scope
      > => policy === undefined ? Effect.succeed(model) : policy(model)
    )
}
