/**
 * Requests to one module, under control: each has an id, can be listed and
 * cancelled, and has a limit of time; so many run at once, so many wait, and
 * more are refused. Equal ones can share a run. For a server, or anything else
 * whose requests come from outside and whose end must be orderly.
 *
 * @since 0.1.0
 */
import * as Module from "@effect-dspy/core/Module"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"

// =============================================================================
// Errors
// =============================================================================

/**
 * As many requests run and wait as may; try again later.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueueFull extends Schema.TaggedError<QueueFull>("@effect-dspy/streaming/RequestManager/QueueFull")(
  "QueueFull",
  { running: Schema.Int, queued: Schema.Int }
) {
  override get message(): string {
    return `${this.running} requests are running and ${this.queued} are waiting, which is the limit; try again later, or raise \`concurrency\` or \`queueSize\``
  }
}

/**
 * The manager takes no more requests: it drains, or has been shut down.
 *
 * @since 0.1.0
 * @category errors
 */
export class Closed extends Schema.TaggedError<Closed>("@effect-dspy/streaming/RequestManager/Closed")("Closed", {}) {
  override get message(): string {
    return "the manager takes no more requests: it drains, or has been shut down"
  }
}

/**
 * There is a request with this id already, and it has not ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class DuplicateId extends Schema.TaggedError<DuplicateId>("@effect-dspy/streaming/RequestManager/DuplicateId")(
  "DuplicateId",
  { id: Schema.String }
) {
  override get message(): string {
    return `request "${this.id}" has not ended; give the new one another id, or none`
  }
}

/**
 * A request ran for longer than it may, and was interrupted.
 *
 * @since 0.1.0
 * @category errors
 */
export class TimedOut extends Schema.TaggedError<TimedOut>("@effect-dspy/streaming/RequestManager/TimedOut")(
  "TimedOut",
  { id: Schema.String, limit: Schema.DurationFromMillis }
) {
  override get message(): string {
    return `request "${this.id}" ran for longer than ${Duration.format(this.limit)}`
  }
}

/**
 * A request was cancelled before it ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class Cancelled extends Schema.TaggedError<Cancelled>("@effect-dspy/streaming/RequestManager/Cancelled")(
  "Cancelled",
  { id: Schema.String }
) {
  override get message(): string {
    return `request "${this.id}" was cancelled`
  }
}

// =============================================================================
// The manager
// =============================================================================

/**
 * What `RequestManager` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in In> {
  /** How many run at once; `Module.window` by default. */
  readonly concurrency?: number | undefined
  /** How many more may wait, in the order they came; 256 by default. */
  readonly queueSize?: number | undefined
  /**
   * How long a request may run, unless it says so itself; no limit by default.
   * The time in the queue does not count.
   */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * Requests with the same key that come within `window` of the first of them
   * share its run, or its result if it has ended well by then. Each is still a
   * request of its own, with an id and a limit; the run is interrupted when the
   * last of them has left. A failure is shared by those who wait for it, not by
   * those who come later. What happens in the run is heard by whoever listens to
   * the first of them.
   */
  readonly coalesce?: {
    readonly key: (input: In) => string
    readonly window: Duration.DurationInput
  } | undefined
  /** Tells this manager's metrics from those of others; `"requests"` by default. */
  readonly name?: string | undefined
}

/**
 * What one request may have of its own; without an `id` it is given a number.
 *
 * @since 0.1.0
 * @category models
 */
export interface RequestOptions {
  readonly id?: string | undefined
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * A request that was accepted. It goes on whether or not somebody awaits it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request<out Out, out E> {
  readonly id: string
  readonly await: Effect.Effect<Out, E | TimedOut | Cancelled>
}

/**
 * A request that has not ended. Times are milliseconds since 1970.
 *
 * @since 0.1.0
 * @category models
 */
export interface Active {
  readonly id: string
  readonly state: "queued" | "running"
  readonly submittedAt: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RequestManager<in In, out Out, out E> {
  /** Accepts a request or refuses it; does not wait for it. */
  readonly submit: (
    input: In,
    options?: RequestOptions
  ) => Effect.Effect<Request<Out, E>, QueueFull | Closed | DuplicateId>
  /** Submits and awaits; whoever stops waiting cancels the request. */
  readonly run: (
    input: In,
    options?: RequestOptions
  ) => Effect.Effect<Out, E | TimedOut | Cancelled | QueueFull | Closed | DuplicateId>
  /** Those that run or wait, oldest first. */
  readonly active: Effect.Effect<ReadonlyArray<Active>>
  /** Says whether there was such a request. When it returns, the request has been interrupted. */
  readonly cancel: (id: string) => Effect.Effect<boolean>
  /** Takes no more requests, and waits for those there are. */
  readonly drain: Effect.Effect<void>
  /** Takes no more requests, and cancels those there are. */
  readonly shutdown: Effect.Effect<void>
}

/**
 * How many runs are under way, tagged with the name of the manager.
 *
 * @since 0.1.0
 * @category metrics
 */
export const running: Metric.Metric.Gauge<number> = Metric.gauge("effect_dspy_requests_running", {
  description: "runs of a module that are under way for a request manager"
})

/**
 * How many runs wait in the queue, tagged with the name of the manager.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queued: Metric.Metric.Gauge<number> = Metric.gauge("effect_dspy_requests_queued", {
  description: "runs of a module that wait in the queue of a request manager"
})

// One run of the module, for one request or several equal ones.
interface Run<Out, E> {
  readonly key: string | undefined
  readonly program: Effect.Effect<Out, E>
  readonly started: Deferred.Deferred<void>
  readonly result: Deferred.Deferred<Out, E>
  /** There soon after it has been accepted. */
  readonly fiber: Deferred.Deferred<Fiber.Fiber<unknown, unknown>>
  state: "queued" | "running" | "ended"
  waiters: number
}

interface Entry<Out, E> {
  readonly id: string
  readonly run: Run<Out, E>
  readonly submittedAt: number
  readonly outcome: Deferred.Deferred<Out, E | TimedOut | Cancelled>
  /** There soon after it has been accepted. */
  readonly fiber: Deferred.Deferred<Fiber.Fiber<unknown, unknown>>
}

/**
 * A manager of the requests to a module. When its scope closes, it is shut down.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as RequestManager from "@effect-dspy/streaming/RequestManager"
 * import { Effect } from "effect"
 *
 * const answer = Predict.make("question -> answer")
 *
 * const program = Effect.gen(function*() {
 *   const requests = yield* RequestManager.make(answer, { concurrency: 1, timeout: "30 seconds" })
 *   const first = yield* requests.submit({ question: "1 + 1?" }, { id: "first" })
 *   const second = yield* requests.submit({ question: "2 + 2?" }, { id: "second" })
 *   yield* requests.cancel("second")
 *   return [yield* first.await, yield* Effect.flip(second.await)] as const
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "2" })]))
 * )
 *
 * Effect.runPromise(program).then(([{ answer }, error]) =>
 *   assert.deepStrictEqual([answer, error._tag], ["2", "Cancelled"])
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, Out, E, R>(
  module: Module.Module<In, Out, E, R>,
  options: Options<In> = {}
): Effect.Effect<RequestManager<In, Out, E>, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const { coalesce, name = "requests", queueSize = 256 } = options
    const concurrency = options.concurrency ?? (yield* Module.window)
    const context = yield* Effect.context<R>()
    const fibers = yield* Scope.make()
    const isIdle = yield* Effect.makeLatch(true)
    const entries = new Map<string, Entry<Out, E>>()
    const shared = new Map<string, Run<Out, E>>()
    const queue = new Set<Run<Out, E>>()
    let underWay = 0
    let isClosed = false
    let lastId = 0

    // What changes the state does so in one go, and has its effects afterwards, uninterruptibly.

    const runningHere = Metric.tagged(running, "manager", name)
    const queuedHere = Metric.tagged(queued, "manager", name)
    const measure = Effect.suspend(() =>
      Effect.zipRight(Metric.set(runningHere, underWay), Metric.set(queuedHere, queue.size))
    )
    const settled = Effect.zipRight(
      measure,
      Effect.sync(() => {
        if (entries.size === 0 && underWay === 0) isIdle.unsafeOpen()
      })
    )

    const fork =
      (fiber: Deferred.Deferred<Fiber.Fiber<unknown, unknown>>) =>
      <A, E2>(self: Effect.Effect<A, E2>): Effect.Effect<void> =>
        Effect.flatMap(Effect.forkIn(self, fibers), (forked) => Effect.asVoid(Deferred.succeed(fiber, forked)))

    const start = (run: Run<Out, E>): Effect.Effect<unknown> => {
      run.state = "running"
      underWay++
      return Deferred.succeed(run.started, undefined)
    }

    const ended = (run: Run<Out, E>, exit: Exit.Exit<Out, E>): Effect.Effect<void> => {
      const wasRunning = run.state === "running"
      run.state = "ended"
      if (Exit.isFailure(exit)) forget(run)
      let further: Effect.Effect<unknown> = Effect.void
      if (wasRunning) {
        underWay--
        const [next] = queue
        if (next !== undefined) {
          queue.delete(next)
          further = start(next)
        }
      }
      return Effect.all([Deferred.done(run.result, exit), further, settled], { discard: true })
    }

    const forget = (run: Run<Out, E>): void => {
      if (run.key !== undefined && shared.get(run.key) === run) shared.delete(run.key)
    }

    const left = ({ id, run }: Entry<Out, E>): Effect.Effect<void> => {
      entries.delete(id)
      if (--run.waiters > 0 || run.state === "ended") return settled
      forget(run)
      queue.delete(run)
      return Effect.flatMap(Deferred.await(run.fiber), Fiber.interrupt)
    }

    const accepted = (
      input: In,
      own: RequestOptions | undefined,
      now: number
    ): Effect.Effect<Request<Out, E>, QueueFull | Closed | DuplicateId> => {
      if (isClosed) return Effect.fail(new Closed())
      if (own?.id !== undefined && entries.has(own.id)) return Effect.fail(new DuplicateId({ id: own.id }))
      const key = coalesce?.key(input)
      const known = key === undefined ? undefined : shared.get(key)
      if (known === undefined && underWay >= concurrency && queue.size >= queueSize) {
        return Effect.fail(new QueueFull({ running: underWay, queued: queue.size }))
      }
      const run = known ?? {
        key,
        program: Effect.provide(module(input), context),
        started: Deferred.unsafeMake<void>(FiberId.none),
        result: Deferred.unsafeMake<Out, E>(FiberId.none),
        fiber: Deferred.unsafeMake<Fiber.Fiber<unknown, unknown>>(FiberId.none),
        state: "queued",
        waiters: 0
      }
      run.waiters++
      const id = own?.id ?? nextId()
      const entry: Entry<Out, E> = {
        id,
        run,
        submittedAt: now,
        outcome: Deferred.unsafeMake(FiberId.none),
        fiber: Deferred.unsafeMake(FiberId.none)
      }
      entries.set(id, entry)
      isIdle.unsafeClose()
      const awaited = Deferred.await(run.started).pipe(
        Effect.zipRight(limited(id, Deferred.await(run.result), own?.timeout ?? options.timeout)),
        Effect.interruptible,
        Effect.onExit((exit) =>
          Effect.zipRight(
            Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)
              ? Deferred.fail(entry.outcome, new Cancelled({ id }))
              : Deferred.done(entry.outcome, exit),
            Effect.suspend(() => left(entry))
          )
        ),
        fork(entry.fiber)
      )
      return Effect.as(known === undefined ? Effect.zipRight(begun(run), awaited) : awaited, {
        id,
        await: Deferred.await(entry.outcome)
      })
    }

    const begun = (run: Run<Out, E>): Effect.Effect<void> => {
      let starting: Effect.Effect<unknown> = Effect.void
      if (underWay < concurrency) starting = start(run)
      else queue.add(run)
      // Begun by whoever asked first, so that it has that one's surroundings: who listens, the span it is in.
      const running = Deferred.await(run.started).pipe(
        Effect.zipRight(run.program),
        Effect.interruptible,
        Effect.onExit((exit) => Effect.suspend(() => ended(run, exit))),
        fork(run.fiber)
      )
      if (coalesce === undefined || run.key === undefined) {
        return Effect.all([starting, running, measure], { discard: true })
      }
      shared.set(run.key, run)
      const expiry = Effect.sleep(coalesce.window).pipe(
        Effect.interruptible,
        Effect.zipRight(Effect.sync(() => forget(run))),
        Effect.forkIn(fibers)
      )
      return Effect.all([starting, running, expiry, measure], { discard: true })
    }

    const nextId = (): string => {
      do lastId++
      while (entries.has(String(lastId)))
      return String(lastId)
    }

    const submit: RequestManager<In, Out, E>["submit"] = (input, own) =>
      Effect.uninterruptible(
        Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.suspend(() => accepted(input, own, now)))
      )

    const cancel = (id: string): Effect.Effect<boolean> =>
      Effect.suspend(() => {
        const entry = entries.get(id)
        return entry === undefined
          ? Effect.succeed(false)
          : Effect.as(Effect.flatMap(Deferred.await(entry.fiber), Fiber.interrupt), true)
      })

    const close = Effect.sync(() => {
      isClosed = true
    })
    const shutdown = Effect.suspend(() => {
      isClosed = true
      queue.clear() // so that no run begins in place of one that is interrupted
      return Effect.forEach(Array.from(entries.keys()), cancel, { concurrency: "unbounded", discard: true })
    })
    yield* Effect.addFinalizer((exit) => Effect.zipRight(shutdown, Scope.close(fibers, exit)))

    return {
      submit,
      run: (input, own) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(submit(input, own), (request) =>
            Effect.onInterrupt(restore(request.await), () => cancel(request.id)))
        ),
      active: Effect.sync(() =>
        Array.from(entries.values(), ({ id, run, submittedAt }) => ({
          id,
          state: run.state === "queued" ? "queued" : "running",
          submittedAt
        }))
      ),
      cancel,
      drain: Effect.zipRight(close, isIdle.await),
      shutdown
    }
  })

const limited = <A, E>(
  id: string,
  self: Effect.Effect<A, E>,
  timeout: Duration.DurationInput | undefined
): Effect.Effect<A, E | TimedOut> =>
  timeout === undefined ? self : Effect.timeoutFail(self, {
    duration: timeout,
    onTimeout: () => new TimedOut({ id, limit: Duration.decode(timeout) })
  })
