/**
 * A `Sandbox` that runs JavaScript in QuickJS, which is compiled to WebAssembly
 * and runs in a worker thread of its own. It needs the package `quickjs-wasi`.
 *
 * Code finds the language and nothing else: no files, no network, no modules, no
 * timers, no environment. What it may use of time, stack and memory is limited,
 * and only JSON text crosses the border. Sessions share nothing.
 *
 * **It is not a virtual machine.** It keeps mistakes and mischief of code that a
 * model has written away from the program: an error in the engine would first
 * have to be turned into one of WebAssembly. It runs in the process of the
 * program though, and takes its processor time. For tenants who are out to do
 * harm give each one a process or machine with rights of its own as well.
 *
 * @since 0.1.0
 */
import type * as Json from "@effect-dspy/core/Json"
import * as Sandbox from "@effect-dspy/core/Sandbox"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { engine, type Heard, said, start } from "./internal/quickjs/thread.ts"
import type { Called, Command, Ended } from "./internal/quickjs/worker.ts"

// How much longer than code may compute its thread is waited for, until it is stopped from outside. In milliseconds:
// half of the 100 after which it has to be gone, as a thread takes its time to end, and timers are late.
const grace = 50

const fail = (reason: Sandbox.Reason, logs = ""): Sandbox.SandboxError => new Sandbox.SandboxError({ reason, logs })

// Code can make the engine write something else.
const parsed = (json: string): Effect.Effect<Json.Json, Sandbox.SandboxError> =>
  Effect.try({
    try: () => JSON.parse(json),
    catch: (cause) => fail(new Sandbox.Crashed({ description: `the value is no JSON (${said(cause)})` }))
  })

// An exception without a name of its own is called like its class.
const nameOf = ({ _tag, name }: Sandbox.Exception): string => name === _tag ? "Error" : name ?? "Error"

// What a run waits for: its thread, or the end of a call.
type Happened = Heard | { readonly _tag: "Answered"; readonly run: number; readonly command: Command }

const machine = (shared: Effect.Effect.Success<typeof engine>) =>
(
  names: ReadonlyArray<string>,
  limits: Sandbox.Limits
): Effect.Effect<Sandbox.Machine, Sandbox.SandboxError, Scope.Scope> =>
  Effect.gen(function*() {
    const inbox = yield* Queue.unbounded<Happened>()
    const post = yield* start(shared, names, limits, (heard) => inbox.unsafeOffer(heard))

    const died = (error: unknown): Sandbox.SandboxError =>
      fail(
        error instanceof Error && "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY"
          ? new Sandbox.OutOfMemory({ limit: limits.memory })
          : new Sandbox.Crashed({ description: said(error) })
      )
    const timedOut = new Sandbox.TimedOut({ limit: limits.timeout })

    const reasonOf = (ended: Exclude<Ended, { readonly _tag: "Done" }>): Sandbox.Reason => {
      switch (ended._tag) {
        case "Syntax":
          return new Sandbox.Syntax(ended)
        case "Threw":
          return new Sandbox.Threw(ended)
        case "Crashed":
          return new Sandbox.Crashed(ended)
        case "TooLarge":
          return new Sandbox.TooLarge({ what: "value", limit: Sandbox.bounds.value })
        case "OutOfMemory":
          return new Sandbox.OutOfMemory({ limit: limits.memory })
        case "TimedOut":
          return timedOut
        case "Stuck":
          return new Sandbox.Stuck()
      }
    }

    // Obeys until the command is carried out. The thread answers each one with a report, and computes while it owes one.
    let runs = 0
    const obey = (first: Command, called: (call: Called, run: number) => Effect.Effect<void>) =>
      Effect.gen(function*() {
        const run = ++runs
        let owed = 0
        let left = limits.timeout
        let deadline = 0
        const send = (command: Command) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            if (owed === 0) deadline = now + left + grace
            owed += 1
            post(command)
          })
        yield* send(first)
        while (true) {
          const now = yield* Clock.currentTimeMillis
          const happened = owed === 0
            ? Option.some(yield* inbox.take)
            : yield* Effect.timeoutOption(inbox.take, Math.max(0, deadline - now))
          if (Option.isNone(happened)) return yield* fail(timedOut)
          const event = happened.value
          if (event._tag === "Died") return yield* died(event.error)
          if (event._tag === "Answered") {
            // The code that had called may be over.
            if (event.run === run) yield* send(event.command)
            continue
          }
          const { calls, ended, logs, spent } = event.report
          owed -= 1
          left -= spent
          deadline = (yield* Clock.currentTimeMillis) + left + grace
          if (ended !== undefined) {
            if (ended._tag !== "Done") return yield* fail(reasonOf(ended), logs)
            const { json, submitted, withheld } = ended
            const value = yield* json === undefined ? Effect.succeed(undefined) : parsed(json)
            return { value, submitted, withheld, logs }
          }
          yield* Effect.forEach(calls, (call) => called(call, run), { discard: true })
        }
      })

    return {
      run: (code, call) =>
        Effect.gen(function*() {
          const calls = yield* FiberSet.make<void>()
          const now = yield* Clock.currentTimeMillis
          return yield* obey({ _tag: "Run", code, now }, ({ args, call: id, name }, run) =>
            FiberSet.run(
              calls,
              Effect.map(call(name, args), (answer) => {
                const command: Command = Either.isRight(answer)
                  ? { _tag: "Returned", call: id, json: answer.right }
                  : { _tag: "Thrown", call: id, name: nameOf(answer.left), message: answer.left.message }
                inbox.unsafeOffer({ _tag: "Answered", run, command })
              })
            ))
        }).pipe(Effect.scoped),
      set: (name, json) => Effect.asVoid(obey({ _tag: "Set", name, json }, () => Effect.void))
    }
  })

/**
 * The sandbox as a service: loads the engine, and starts a worker for each
 * session. A session costs some 40 milliseconds and 8 MB, more with what the
 * code keeps.
 *
 * The clock of the code is that of the program, and stands still while code
 * runs; `Math.random` gives the same numbers in every session.
 *
 * Fails with `Unavailable` where the package or worker threads are missing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Sandbox.Service, Sandbox.SandboxError> = Effect.map(
  engine,
  (shared) => Sandbox.make(machine(shared))
)

/**
 * The sandbox of a program.
 *
 * @example
 * ```ts
 * import * as Sandbox from "@effect-dspy/core/Sandbox"
 * import * as QuickJsSandbox from "@effect-dspy/providers/QuickJsSandbox"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const session = yield* Sandbox.open({
 *     functions: { priceOf: (fruit) => Effect.succeed(fruit === "apple" ? 2 : 3) }
 *   })
 *   yield* session.set("basket", { apple: 4, pear: 5 })
 *   const { value } = yield* session.run(`
 *     let total = 0
 *     for (const [fruit, count] of Object.entries(basket)) total += count * await priceOf(fruit)
 *     submit(total)
 *   `)
 *   const error = yield* Effect.flip(session.run("fetch('https://example.com')"))
 *   assert.strictEqual(value, 23)
 *   assert.strictEqual(error.message, "ReferenceError: fetch is not defined (line 1)")
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(QuickJsSandbox.layer)))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Sandbox.Sandbox, Sandbox.SandboxError> = Layer.effect(Sandbox.Sandbox, make)
