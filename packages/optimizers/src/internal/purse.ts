/**
 * What a run of an optimizer may spend, kept twice: in the budget itself, from
 * which is reserved before anything is asked, and in a book of what was
 * committed, in that order, so that the end of the budget does not depend on
 * what else was under way.
 */
import * as Budget from "@effect-dspy/core/Budget"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import type { Paid } from "./runs.ts"

export interface Purse {
  readonly limited: boolean
  /** Work that holds what so many runs may cost until it is done, and gives back what they did not; none if that is not there. */
  readonly admit: <A, E, R>(
    work: Effect.Effect<A, E, R>,
    runs: number,
    made: (value: A) => ReadonlyArray<Paid>
  ) => Effect.Effect<Option.Option<Effect.Effect<A, E, R>>>
  /** Whether these runs, the next ones to be committed, are within the budget. */
  readonly commit: (runs: ReadonlyArray<Paid>) => Effect.Effect<boolean>
  /** Expects of coming runs what those so far have cost, and puts aside what the last ones will; false if that is not there. */
  readonly expect: (last: number) => Effect.Effect<boolean>
  /** How many runs there is enough for, at what the dearest so far has cost. */
  readonly affordable: Effect.Effect<number>
  /** Gives free what was put aside. */
  readonly release: Effect.Effect<void>
}

const unlimited: Purse = {
  limited: false,
  admit: (work) => Effect.succeedSome(Effect.interruptible(work)),
  commit: () => Effect.succeed(true),
  expect: () => Effect.succeed(true),
  affordable: Effect.succeed(Number.POSITIVE_INFINITY),
  release: Effect.void
}

export const make = (
  budget: Budget.Service | Budget.Limits | undefined,
  callsPerRun: number
): Effect.Effect<Purse, never, Scope.Scope> =>
  Effect.gen(function*() {
    if (budget === undefined) return unlimited
    const scope = yield* Effect.scope
    const live = isService(budget) ? budget : yield* Budget.make(budget)
    const { calls, cost, tokens } = yield* live.remaining
    const book = yield* Budget.make({ calls, cost, tokens })
    // A resource that is named must not be used up, even where nobody knows yet how much of it a run takes.
    let expected: Budget.Amount = { calls: callsPerRun, tokens: 0, cost: 0 }
    const aside: Array<Budget.Reservation> = []
    const paid = new Set<string>()
    const booked = new Set<string>()
    let dearest: Budget.Amount = {}

    const release = Effect.suspend(() =>
      Effect.forEach(aside.splice(0), (reservation) => reservation.settle({}), { discard: true })
    )
    return {
      limited: true,
      release,
      affordable: Effect.map(book.remaining, (left) => runsFor(left, expected)),
      admit: (work, runs, made) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const reservation = yield* Effect.option(Scope.extend(live.reserve(times(runs, expected)), scope))
          if (Option.isNone(reservation)) return Option.none()
          return Option.some(
            Effect.interruptible(work).pipe(
              Effect.tap((value) => reservation.value.settle(costOf(unseen(paid, made(value))))),
              Effect.ensuring(Scope.close(scope, Exit.void))
            )
          )
        }),
      commit: (runs) =>
        Effect.suspend(() => {
          const fresh = unseen(booked, runs)
          dearest = fresh.map((run) => costOf([run])).reduce(most, dearest)
          return fresh.length === 0 ? Effect.succeed(true) : book.reserve(times(fresh.length, expected)).pipe(
            Effect.flatMap((reservation) => reservation.settle(costOf(fresh))),
            Effect.scoped,
            Effect.isSuccess
          )
        }),
      expect: (last) =>
        Effect.gen(function*() {
          yield* release
          expected = most(expected, dearest)
          if (last === 0) return true
          const amount = times(last, expected)
          const reserved = yield* Effect.option(
            Scope.extend(Effect.all([live.reserve(amount), book.reserve(amount)]), scope)
          )
          if (Option.isNone(reserved)) return false
          aside.push(...reserved.value)
          return true
        })
    }
  })

const runsFor = (left: Budget.Amount, each: Budget.Amount): number =>
  Math.min(
    ...(["calls", "tokens", "cost"] as const).flatMap((resource) => {
      const [available, needed] = [left[resource], each[resource] ?? 0]
      return available === undefined || needed === 0 ? [] : [Math.floor(available / needed)]
    })
  )

const isService = (budget: Budget.Service | Budget.Limits): budget is Budget.Service =>
  Predicate.hasProperty(budget, "reserve")

const unseen = (seen: Set<string>, runs: ReadonlyArray<Paid>): ReadonlyArray<Paid> => {
  const fresh = runs.filter(({ key }) => !seen.has(key))
  for (const { key } of fresh) seen.add(key)
  return fresh
}

const costOf = (runs: ReadonlyArray<Paid>): Budget.Amount => {
  const sum = { calls: 0, tokens: 0, cost: 0 }
  for (const { calls, usage } of runs) {
    sum.calls += calls
    sum.tokens += (usage.inputTokens ?? 0) + (usage.outputTokens ?? 0)
    sum.cost += usage.cost ?? 0
  }
  return sum
}

const times = (n: number, { calls = 0, cost = 0, tokens = 0 }: Budget.Amount): Budget.Amount => ({
  calls: n * calls,
  tokens: n * tokens,
  cost: n * cost
})

const most = (a: Budget.Amount, b: Budget.Amount): Budget.Amount => ({
  calls: Math.max(a.calls ?? 0, b.calls ?? 0),
  tokens: Math.max(a.tokens ?? 0, b.tokens ?? 0),
  cost: Math.max(a.cost ?? 0, b.cost ?? 0)
})
