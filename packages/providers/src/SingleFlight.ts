/**
 * Sends equal requests once when they come at the same time: a policy.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { spanEvent } from "./internal/spanEvent.ts"
import { unpaid, unsent } from "./internal/unpaid.ts"

/**
 * Counts calls that were answered by another one that was under way, tagged by
 * `model`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const joined = Metric.counter("effect_dspy_single_flight_joined", {
  description: "Calls that joined an equal one that was under way",
  incremental: true
})

/**
 * Lets a request that equals one under way share its answer, and its failure.
 * Everything counts, also `settings.rollout`: samples that are to differ need
 * different ones. Whole and streamed answers are shared apart.
 *
 * Nobody depends on who came first: the call goes on as long as anyone waits
 * for it, and is interrupted when the last one leaves. Each reader of a shared
 * stream gets all of it from the beginning, at its own pace; the model is asked
 * for more when the fastest wants it. What was read is kept until all have left.
 *
 * The call is paid for once: the first one to get the answer gets it with its
 * usage, for all others it is `cached`; of a failure all others get one with no
 * `attempts`. So budgets, ledgers and circuit breakers further out count what
 * happened once.
 *
 * The call runs in the context of the one who came first, whose spans it
 * belongs to.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as SingleFlight from "@effect-dspy/providers/SingleFlight"
 * import { Effect } from "effect"
 *
 * const Model = TestLanguageModel.layer([TestLanguageModel.text("hello")]).pipe(Policy.apply(SingleFlight.make()))
 *
 * const ask = LanguageModel.generate({ messages: [{ role: "user", content: "hi" }] })
 *
 * const program = Effect.gen(function*() {
 *   const responses = yield* Effect.all([ask, ask, ask], { concurrency: "unbounded" })
 *   return { answers: responses.length, calls: (yield* TestLanguageModel.calls).length }
 * }).pipe(Effect.provide(Model))
 *
 * Effect.runPromise(program).then((result) => assert.deepStrictEqual(result, { answers: 3, calls: 1 }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): Policy.Policy<never, Scope.Scope> => (inner) =>
  Effect.map(FiberSet.make(), (fibers) => {
    const open = Policy.open(inner)
    const wholes = new Flights<Whole>(inner.id, fibers)
    const streams = new Flights<Tape>(inner.id, fibers)
    return {
      ...inner,
      generate: (request) =>
        Effect.acquireUseRelease(
          wholes.board(request, () => {
            const whole = new Whole()
            return { shared: whole, call: inner.generate(request), landed: (exit) => whole.end(exit) }
          }),
          ({ shared }) => shared.answer,
          ({ leave }) => leave
        ),
      stream: Policy.pulled((request) =>
        Effect.map(
          Effect.acquireRelease(
            streams.board(request, () => {
              const tape = new Tape()
              return { shared: tape, call: tape.record(open(request)), landed: (exit) => tape.end(exit) }
            }),
            ({ leave }) => leave
          ),
          ({ shared }) => shared.reader()
        )
      )
    }
  })

// =============================================================================
// Calls under way
// =============================================================================

interface Flight<A> {
  /** What the readers have in common. */
  readonly shared: A
  readers: number
  stop: Effect.Effect<unknown>
}

class Flights<A> {
  // One scope would close its calls one after the other.
  readonly #fibers: FiberSet.FiberSet<unknown, unknown>
  readonly #told: Effect.Effect<void>
  readonly #underWay = new Map<string, Flight<A>>()

  constructor(model: string, fibers: FiberSet.FiberSet<unknown, unknown>) {
    this.#fibers = fibers
    this.#told = Effect.zipRight(
      Metric.increment(Metric.tagged(joined, "model", model)),
      spanEvent("singleFlight.joined", { model })
    )
  }

  /**
   * What is shared by the readers of a request, until they leave. The first one begins the call, which
   * runs in a fiber of its own.
   */
  board<B, E>(
    request: LanguageModel.Request,
    begin: () => {
      readonly shared: A
      readonly call: Effect.Effect<B, E>
      readonly landed: (exit: Exit.Exit<B, E>) => void
    }
  ): Effect.Effect<{ readonly shared: A; readonly leave: Effect.Effect<unknown> }> {
    return Effect.suspend(() => {
      const key = Json.canonical(request)
      const known = this.#underWay.get(key)
      if (known !== undefined) {
        known.readers++
        return Effect.as(this.#told, { shared: known.shared, leave: this.#leave(key, known) })
      }
      const { call, landed, shared } = begin()
      const flight: Flight<A> = { shared, readers: 1, stop: Effect.void }
      this.#underWay.set(key, flight)
      return Effect.map(FiberSet.run(this.#fibers, Effect.interruptible(call)), (fiber) => {
        flight.stop = Fiber.interrupt(fiber)
        fiber.addObserver((exit) => {
          this.#forget(key, flight)
          flight.stop = Effect.void
          landed(exit)
        })
        return { shared, leave: this.#leave(key, flight) }
      })
    })
  }

  #leave(key: string, flight: Flight<A>): Effect.Effect<unknown> {
    return Effect.suspend(() => {
      if (--flight.readers > 0) return Effect.void
      this.#forget(key, flight)
      return flight.stop
    })
  }

  // Whoever comes from now on begins a call of its own.
  #forget(key: string, flight: Flight<A>): void {
    if (this.#underWay.get(key) === flight) this.#underWay.delete(key)
  }
}

// =============================================================================
// Answers
// =============================================================================

// Who gets an answer, or a failure, first has paid for it. That is not always the one who asked first, who may have left.
class Bill {
  #paid = false

  share<A extends LanguageModel.Response | LanguageModel.Completed>(answer: A): A {
    return this.#isPaid() ? unpaid(answer) : answer
  }

  fail(error: LanguageModelError): LanguageModelError {
    return this.#isPaid() ? unsent(error) : error
  }

  #isPaid(): boolean {
    const paid = this.#paid
    this.#paid = true
    return paid
  }
}

// An answer that comes at once.
class Whole {
  readonly #bill = new Bill()
  readonly #answer = Deferred.unsafeMake<LanguageModel.Response, LanguageModelError>(FiberId.none)
  readonly answer = Effect.mapBoth(Deferred.await(this.#answer), {
    onSuccess: (response) => this.#bill.share(response),
    onFailure: (error) => this.#bill.fail(error)
  })

  end(exit: Exit.Exit<LanguageModel.Response, LanguageModelError>): void {
    Deferred.unsafeDone(this.#answer, exit)
  }
}

// What has been read of a stream, for all its readers.
class Tape {
  readonly #bill = new Bill()
  readonly #chunks: Array<Chunk.Chunk<LanguageModel.Delta>> = []
  readonly #wanted = Effect.unsafeMakeLatch(false)
  readonly #waiting = new Set<() => void>()
  #end: Exit.Exit<never, Option.Option<LanguageModelError>> | undefined

  /** Reads on each time somebody has read everything there is. */
  record(
    opened: Effect.Effect<Policy.Pull, LanguageModelError, Scope.Scope>
  ): Effect.Effect<never, Option.Option<LanguageModelError>> {
    const begun = Effect.zipRight(this.#wanted.await, Effect.mapError(opened, Option.some))
    return Effect.scoped(Effect.flatMap(begun, (pull) => {
      const read: Effect.Effect<never, Option.Option<LanguageModelError>> = Effect.flatMap(pull, (chunk) => {
        if (Chunk.isEmpty(chunk)) return read
        this.#wanted.unsafeClose()
        this.#chunks.push(chunk)
        this.#wake()
        return Effect.zipRight(this.#wanted.await, read)
      })
      return read
    }))
  }

  end(exit: Exit.Exit<never, Option.Option<LanguageModelError>>): void {
    this.#end = exit
    this.#wake()
  }

  reader(): Policy.Pull {
    let at = 0
    const read: Policy.Pull = Effect.suspend(() => {
      const chunk = this.#chunks[at]
      if (chunk === undefined) {
        return this.#end === undefined
          ? Effect.zipRight(this.#news, read)
          : Effect.mapError(this.#end, Option.map((error) => this.#bill.fail(error)))
      }
      at++
      return Effect.succeed(this.#shared(chunk))
    })
    return read
  }

  #shared(chunk: Chunk.Chunk<LanguageModel.Delta>): Chunk.Chunk<LanguageModel.Delta> {
    return Chunk.some(chunk, ({ _tag }) => _tag === "Completed")
      ? Chunk.map(chunk, (delta) => delta._tag === "Completed" ? this.#bill.share(delta) : delta)
      : chunk
  }

  readonly #news = Effect.async<void>((resume) => {
    const wake = () => resume(Effect.void)
    this.#waiting.add(wake)
    this.#wanted.unsafeOpen()
    return Effect.sync(() => this.#waiting.delete(wake))
  })

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }
}
