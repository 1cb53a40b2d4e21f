/**
 * A `Budget` limits what a program may spend: calls, tokens, money, time. What
 * is about to be spent is reserved before, all of it or nothing, and settled
 * with what it really was afterwards; so any number of callers at once never
 * go over it together.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { BudgetExceeded } from "./LanguageModelError.ts"

/**
 * What something costs, in numbers of at least 0. `cost` is in the currency of
 * the model's price list.
 *
 * @since 0.1.0
 * @category models
 */
export interface Amount {
  readonly calls?: number | undefined
  readonly tokens?: number | undefined
  readonly cost?: number | undefined
}

/**
 * How much there is of each; what is not named is not limited. Time runs from
 * the making of the budget.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits extends Amount {
  readonly time?: Duration.DurationInput | undefined
}

/**
 * What is left of each limit, never below 0; time in milliseconds. What is not
 * limited is absent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Remaining extends Amount {
  readonly time?: number | undefined
}

/**
 * An amount that has been put aside. `settle` replaces it by what was really
 * spent, more or less, once: whatever comes later changes nothing. What is no
 * number of at least 0, as a price may turn out, counts as what was put aside.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reservation {
  readonly amount: Amount
  readonly settle: (actual: Amount) => Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Puts an amount aside, or fails and takes nothing. A resource that the
   * amount names, be it with 0, must have something left. Unless settled, the
   * reservation is given back when its scope closes. Throws a `RangeError` for
   * what is no number of at least 0.
   */
  readonly reserve: (amount: Amount) => Effect.Effect<Reservation, BudgetExceeded, Scope.Scope>
  readonly remaining: Effect.Effect<Remaining>
  /** A budget inside this one: what it reserves is reserved in both, or in none. */
  readonly within: (limits: Limits) => Effect.Effect<Service>
}

/**
 * The budget of the program.
 *
 * @since 0.1.0
 * @category services
 */
export class Budget extends Context.Tag("@effect-dspy/core/Budget")<Budget, Service>() {}

type Resource = keyof Amount

const resources: ReadonlyArray<Resource> = ["calls", "tokens", "cost"]

const validate = (what: "limit" | "amount", amount: Amount): void => {
  for (const resource of resources) {
    const value = amount[resource]
    if (value !== undefined && !(value >= 0)) {
      throw new RangeError(`Budget: the ${what} of ${resource} must be a number of at least 0, not ${value}`)
    }
  }
}

// One budget's book. Everything in it changes in one step, which no fiber can get between.
class Ledger {
  readonly #left: { [R in Resource]?: number } = {}
  readonly #limits: Limits
  readonly #end: { readonly limit: number; readonly at: number } | undefined

  constructor(limits: Limits, now: number) {
    this.#limits = limits
    for (const resource of resources) {
      const limit = limits[resource]
      if (limit !== undefined && limit < Infinity) this.#left[resource] = limit
    }
    if (limits.time !== undefined) {
      const limit = Duration.toMillis(limits.time)
      this.#end = { limit, at: now + limit }
    }
  }

  refusal(amount: Amount, now: number): BudgetExceeded | undefined {
    if (this.#end !== undefined && now >= this.#end.at) {
      return new BudgetExceeded({ resource: "time", limit: this.#end.limit, remaining: 0 })
    }
    for (const resource of resources) {
      const asked = amount[resource]
      const left = this.#left[resource]
      if (asked === undefined || left === undefined || (left > 0 && asked <= left)) continue
      return new BudgetExceeded({ resource, limit: this.#limits[resource] ?? 0, remaining: Math.max(0, left) })
    }
    return undefined
  }

  take(amount: Amount, sign: 1 | -1): void {
    for (const resource of resources) {
      const left = this.#left[resource]
      if (left !== undefined) this.#left[resource] = left - sign * (amount[resource] ?? 0)
    }
  }

  remaining(now: number): Remaining {
    const remaining: { -readonly [R in keyof Remaining]: Remaining[R] } = {}
    for (const resource of resources) {
      const left = this.#left[resource]
      if (left !== undefined) remaining[resource] = Math.max(0, left)
    }
    if (this.#end !== undefined) remaining.time = Math.max(0, this.#end.at - now)
    return remaining
  }
}

const spent = (actual: Amount, reserved: Amount): Amount => {
  const amount: { [R in Resource]?: number | undefined } = {}
  for (const resource of resources) {
    const value = actual[resource]
    amount[resource] = value === undefined || value >= 0 ? value : reserved[resource]
  }
  return amount
}

const smallest = (a: Remaining, b: Remaining): Remaining => {
  const all: { -readonly [R in keyof Remaining]: Remaining[R] } = { ...a }
  for (const resource of [...resources, "time"] as const) {
    const other = b[resource]
    if (other !== undefined) all[resource] = Math.min(other, all[resource] ?? Infinity)
  }
  return all
}

const open = (limits: Limits, outer: ReadonlyArray<Ledger>): Effect.Effect<Service> => {
  validate("limit", limits)
  return Effect.map(Clock.currentTimeMillis, (now) => {
    const ledgers = [...outer, new Ledger(limits, now)]
    const take = (amount: Amount, sign: 1 | -1) => {
      for (const ledger of ledgers) ledger.take(amount, sign)
    }
    const acquire = (amount: Amount) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.suspend(() => {
          for (const ledger of ledgers) {
            const refusal = ledger.refusal(amount, now)
            if (refusal !== undefined) return Effect.fail(refusal)
          }
          take(amount, 1)
          let settled = false
          const settle = (actual: Amount) =>
            Effect.sync(() => {
              if (settled) return
              settled = true
              take(amount, -1)
              take(spent(actual, amount), 1)
            })
          return Effect.succeed<Reservation>({ amount, settle })
        }))
    return {
      reserve: (amount) => {
        validate("amount", amount)
        return Effect.acquireRelease(acquire(amount), (reservation) => reservation.settle({}))
      },
      remaining: Effect.map(
        Clock.currentTimeMillis,
        (now) => ledgers.map((ledger) => ledger.remaining(now)).reduce(smallest)
      ),
      within: (limits) => open(limits, ledgers)
    }
  })
}

/**
 * A budget of its own. Throws a `RangeError` for limits that are no numbers of at
 * least 0.
 *
 * @example
 * ```ts
 * import * as Budget from "@effect-dspy/core/Budget"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const budget = yield* Budget.make({ calls: 10, tokens: 1000 })
 *   // Put aside what the call may take at most, then say what it took.
 *   yield* Effect.scoped(Effect.gen(function*() {
 *     const reservation = yield* budget.reserve({ calls: 1, tokens: 400 })
 *     yield* reservation.settle({ calls: 1, tokens: 150 })
 *   }))
 *   const refused = yield* Effect.flip(Effect.scoped(budget.reserve({ calls: 1, tokens: 900 })))
 *   return { remaining: yield* budget.remaining, refused: refused.resource }
 * })
 *
 * assert.deepStrictEqual(Effect.runSync(program), { remaining: { calls: 9, tokens: 850 }, refused: "tokens" })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (limits: Limits): Effect.Effect<Service> => open(limits, [])

/**
 * Gives a program a budget; time runs from when the layer is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (limits: Limits): Layer.Layer<Budget> => Layer.effect(Budget, make(limits))

/**
 * Puts an amount aside until it is settled or the scope closes.
 *
 * @since 0.1.0
 * @category accessors
 */
export const reserve = (amount: Amount): Effect.Effect<Reservation, BudgetExceeded, Budget | Scope.Scope> =>
  Effect.flatMap(Budget, (budget) => budget.reserve(amount))

/**
 * What is left.
 *
 * @since 0.1.0
 * @category accessors
 */
export const remaining: Effect.Effect<Remaining, never, Budget> = Effect.flatMap(
  Budget,
  (budget) => budget.remaining
)
