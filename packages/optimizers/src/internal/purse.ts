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

/** What is bought: runs of the program, or answers of the prompt model, which cost something else. */
export type Kind = "run" | "answer"

export interface Purse {
  readonly limited: boolean
  /** Work that holds what so many may cost until it is done, and gives back what they did not; none if that is not there. */
  readonly admit: <A, E, R>(
    work: Effect.Effect<A, E, R>,
    count: number,
    made: (value: A) => ReadonlyArray<Paid>,
    kind?: Kind
  ) => Effect.Effect<Option.Option<Effect.Effect<A, E, R>>>
  /** Whether these, the next ones to be committed, are within the budget. */
  readonly commit: (paid: ReadonlyArray<Paid>, kind?: Kind) => Effect.Effect<boolean>
  /** Puts aside what the last runs will cost, as dear as the dearest so far; false if that is not there. */
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
    // A resource that is named must not be used up, even where nobody knows yet how much of it is taken.
    const start = { run: { calls: callsPerRun, tokens: 0, cost: 0 }, answer: { calls: 1, tokens: 0, cost: 0 } }
    // The dearest so far: as they came, and in the order of commits.
    const seen: { [K in Kind]: Budget.Amount } = { ...start }
    const booked: { [K in Kind]: Budget.Amount } = { ...start }
    // What a run takes only a run can tell, also in calls; until then there is one at a time.
    let unknown = calls !== undefined || tokens !== undefined || cost !== undefined
    let probing = false
    const aside: Array<Budget.Reservation> = []
    const settled = new Set<string>()
    const committed = new Set<string>()

    const release = Effect.suspend(() =>
      Effect.forEach(aside.splice(0), (reservation) => reservation.settle({}), { discard: true })
    )
    return {
      limited: true,
      release,
      affordable: Effect.map(book.remaining, (left) => runsFor(left, booked.run)),
      admit: (work, count, made, kind = "run") =>
        Effect.gen(function*() {
          const probe = unknown && kind === "run"
          if (probe && probing) return Option.none()
          const scope = yield* Scope.make()
          const reservation = yield* Effect.option(Scope.extend(live.reserve(times(count, seen[kind])), scope))
          if (Option.isNone(reservation)) return Option.none()
          if (probe) probing = true
          return Option.some(
            Effect.interruptible(work).pipe(
              Effect.tap((value) => {
                const paid = unseen(settled, made(value))
                seen[kind] = dearest(seen[kind], paid)
                if (paid.some(({ calls }) => calls > 0)) unknown = false
                return reservation.value.settle(costOf(paid))
              }),
              Effect.ensuring(Effect.suspend(() => {
                if (probe) probing = false
                return Scope.close(scope, Exit.void)
              }))
            )
          )
        }),
      commit: (paid, kind = "run") =>
        Effect.suspend(() => {
          const fresh = unseen(committed, paid)
          const amount = times(fresh.length, booked[kind])
          booked[kind] = dearest(booked[kind], fresh)
          return fresh.length === 0 ? Effect.succeed(true) : book.reserve(amount).pipe(
            Effect.flatMap((reservation) => reservation.settle(costOf(fresh))),
            Effect.scoped,
            Effect.isSuccess
          )
        }),
      expect: (last) =>
        Effect.gen(function*() {
          yield* release
          if (last === 0) return true
          const amount = times(last, booked.run)
          const reserved = yield* Effect.option(
            Scope.extend(Effect.all([live.reserve(amount), book.reserve(amount)]), scope)
          )
          if (Option.isNone(reserved)) return false
          aside.push(...reserved.value)
          return true
        })
    }
  })

const dearest = (known: Budget.Amount, paid: ReadonlyArray<Paid>): Budget.Amount =>
  paid.map((one) => costOf([one])).reduce(most, known)

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
