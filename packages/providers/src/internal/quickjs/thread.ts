/**
 * The threads that QuickJS runs in.
 *
 * @since 0.1.0
 */
import * as Sandbox from "@effect-dspy/core/Sandbox"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as NodeFs from "node:fs/promises"
import type * as NodeModule from "node:module"
import type * as NodeUrl from "node:url"
import type * as NodeWorker from "node:worker_threads"
import { load } from "../load.ts"
import { withVars } from "./declarations.ts"
import { guest } from "./guest.ts"
import { withMaximum } from "./memory.ts"
import { type Command, type Report, type Seed, worker } from "./worker.ts"

// A thread gets its functions as text: where they are in a file depends on who has compiled it to what. Some compilers
// mark functions with their names through a helper of theirs.
const textOf = (f: (...args: never) => unknown): string => `((__name) => (${String(f)}))((f) => f)`

const main = `
const { parentPort, workerData } = require("node:worker_threads")
import(workerData.engine).then((quickjs) =>
  ${textOf(worker)}(quickjs, parentPort, workerData.seed, ${textOf(withVars)})
)
`

// With more of the engine's stack that of the thread overflows first, which is no error but the end of the engine.
const stack = 2 ** 18

// What the engine needs beside what code may hold: itself, and room between.
const overhead = 2 ** 24

// WebAssembly has addresses of 32 bits.
const mostMemory = 2 ** 32 - overhead

// Characters of arguments that may be on their way out of one thread.
const flood = 2 ** 24

/** What went wrong, in words: without what Node.js adds about where it has looked. */
export const said = (cause: unknown): string =>
  (cause instanceof Error ? cause.message : String(cause)).split("\n", 1)[0]! // a split has a first piece

const unavailable = (description: string): Sandbox.SandboxError =>
  new Sandbox.SandboxError({ reason: new Sandbox.Unavailable({ description }), logs: "" })

/** What all threads share: the engine compiled, and where the program finds the rest of it. */
export const engine = Effect.tryPromise({
  try: async () => {
    const { createRequire } = await load<typeof NodeModule>("node:module")
    const { readFile } = await load<typeof NodeFs>("node:fs/promises")
    const { pathToFileURL } = await load<typeof NodeUrl>("node:url")
    const { Worker } = await load<typeof NodeWorker>("node:worker_threads")
    const { resolve } = createRequire(import.meta.url)
    const url = pathToFileURL(resolve("quickjs-wasi")).href
    const bytes = await readFile(resolve("quickjs-wasi/quickjs.wasm"))
    const compiled = new Map<number, Promise<WebAssembly.Module>>()
    return {
      Worker,
      url,
      /** The engine with so much memory at most, in bytes: as good as all programs have one limit. */
      compiled: (most: number): Promise<WebAssembly.Module> => {
        const known = compiled.get(most)
        if (known !== undefined) return known
        const made = WebAssembly.compile(withMaximum(bytes, most))
        compiled.set(most, made)
        // What fails once, for want of memory, need not fail again.
        made.catch(() => compiled.delete(most))
        return made
      }
    }
  },
  catch: (cause) => unavailable(`quickjs-wasi cannot be loaded; install it: npm install quickjs-wasi (${said(cause)})`)
})

/** A thread said something, or is dead. */
export type Heard =
  | { readonly _tag: "Reported"; readonly report: Report }
  | { readonly _tag: "Died"; readonly error: unknown }

/** A thread that is stopped at once when the scope closes. `send` is there as soon as it is ready. */
export const start = (
  { Worker, compiled, url }: Effect.Effect.Success<typeof engine>,
  names: ReadonlyArray<string>,
  limits: Sandbox.Limits,
  hear: (heard: Heard) => void
): Effect.Effect<(command: Command) => void, Sandbox.SandboxError, Scope.Scope> =>
  Effect.gen(function*() {
    if (limits.memory > mostMemory) {
      return yield* unavailable(
        `QuickJS can be given at most ${mostMemory / 2 ** 20} MiB of memory, not ${limits.memory} bytes; ask for less`
      )
    }
    const seed: Seed = {
      wasm: yield* Effect.tryPromise({
        try: () => compiled(limits.memory + overhead),
        catch: (cause) => unavailable(`QuickJS cannot be compiled: ${said(cause)}`)
      }),
      guest: textOf(guest),
      names,
      limits: { ...Sandbox.bounds, ...limits, flood, stack }
    }
    const thread = yield* Effect.acquireRelease(
      Effect.try({
        try: () =>
          new Worker(main, {
            eval: true,
            workerData: { engine: url, seed },
            // It knows nothing of the program, and what it prints nobody sees.
            argv: [],
            env: {},
            execArgv: [],
            stdout: true,
            stderr: true,
            // The memory of WebAssembly is no part of this; the engine limits it.
            resourceLimits: { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 }
          }),
        catch: (cause) => unavailable(`no thread can be started: ${said(cause)}`)
      }),
      (thread) => Effect.promise(() => thread.terminate())
    )
    return yield* Effect.async<(command: Command) => void, Sandbox.SandboxError>((resume) => {
      const died = (error: unknown): void => {
        hear({ _tag: "Died", error })
        resume(unavailable(`QuickJS cannot be started: ${said(error)}`))
      }
      thread.on("message", (report: Report | "ready") => {
        if (report !== "ready") hear({ _tag: "Reported", report })
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread is no window
        else resume(Effect.succeed((command) => thread.postMessage(command)))
      })
      thread.on("error", died)
      thread.on("messageerror", died)
      thread.on("exit", (code) => died(new Error(`its thread ended with code ${code}`)))
    })
  })
