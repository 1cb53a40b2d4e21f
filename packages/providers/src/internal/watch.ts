/**
 * One timer for any number of deadlines.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberHandle from "effect/FiberHandle"
import type * as Scope from "effect/Scope"

/** `expire` is called once it is `until`, a time of the watch. */
export interface Deadline {
  readonly until: number
  readonly expire: () => void
}

/**
 * Keeps an eye on deadlines while its scope is open. A deadline may be moved:
 * it is to be added again then.
 */
export class Watch {
  readonly #clock: Clock.Clock
  readonly #run: (effect: Effect.Effect<void>) => Fiber.RuntimeFiber<void>
  readonly #deadlines = new Set<Deadline>()
  // When the timer will look at them next.
  #next = Infinity

  private constructor(clock: Clock.Clock, run: (effect: Effect.Effect<void>) => Fiber.RuntimeFiber<void>) {
    this.#clock = clock
    this.#run = run
  }

  static readonly make: Effect.Effect<Watch, never, Scope.Scope> = Effect.zipWith(
    Effect.clock,
    Effect.flatMap(FiberHandle.make<void>(), (handle) => FiberHandle.runtime(handle)()),
    (clock, run) => new Watch(clock, run)
  )

  /** Milliseconds by a clock that nobody sets. */
  now(): number {
    return Number(this.#clock.unsafeCurrentTimeNanos()) / 1e6
  }

  add(deadline: Deadline): void {
    this.#deadlines.add(deadline)
    if (deadline.until < this.#next) this.#look(deadline.until)
  }

  delete(deadline: Deadline): void {
    // A timer that nobody needs would keep the process from ending.
    if (this.#deadlines.delete(deadline) && this.#deadlines.size === 0 && this.#next < Infinity) this.#look(Infinity)
  }

  // The timer is set anew when one deadline is sooner than all others, not when one is over.
  #look(next: number): void {
    this.#next = next
    this.#run(
      next === Infinity
        ? Effect.void
        : Effect.andThen(Effect.sleep(Math.ceil(Math.max(0, next - this.now()))), () => this.#expire())
    )
  }

  #expire(): void {
    const now = this.now()
    const passed: Array<Deadline> = []
    let next = Infinity
    for (const deadline of this.#deadlines) {
      if (deadline.until <= now) passed.push(deadline)
      else next = Math.min(next, deadline.until)
    }
    for (const deadline of passed) {
      this.#deadlines.delete(deadline)
      deadline.expire()
    }
    this.#look(next)
  }
}
