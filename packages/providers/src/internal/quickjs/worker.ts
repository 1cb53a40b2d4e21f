/**
 * What a worker does: it has one QuickJS, runs the code it is sent, and sends what comes of it. The function is handed
 * to the worker as text, so that it may use nothing but its parameters and what Node.js itself has.
 *
 * @since 0.1.0
 */
import type * as QuickJs from "quickjs-wasi"
import type { Bounds, Inside } from "./guest.ts"

/** What the worker is born with. */
export interface Seed {
  readonly wasm: WebAssembly.Module
  /** The text of the function `guest`. */
  readonly guest: string
  readonly names: ReadonlyArray<string>
  readonly limits: Bounds & {
    readonly timeout: number
    readonly memory: number
    readonly stack: number
  }
}

/** What the worker is sent. It answers each message with one, but those to code that is over. */
export type Command =
  | { readonly _tag: "Run"; readonly code: string; readonly now: number }
  | { readonly _tag: "Returned"; readonly call: number; readonly json: string }
  | { readonly _tag: "Thrown"; readonly call: number; readonly name: string; readonly message: string }
  | { readonly _tag: "Set"; readonly name: string; readonly json: string }

/** How a run ended. */
export type Ended =
  | {
    readonly _tag: "Done"
    readonly json: string | undefined
    readonly submitted: boolean
    readonly withheld: string | undefined
  }
  | { readonly _tag: "Syntax"; readonly description: string; readonly line: number | undefined }
  | {
    readonly _tag: "Threw"
    readonly name: string
    readonly description: string
    readonly line: number | undefined
  }
  | { readonly _tag: "TooLarge" | "TimedOut" | "OutOfMemory" | "Stuck" }
  | { readonly _tag: "Crashed"; readonly description: string }

/** A call that the code has made. */
export interface Called {
  readonly call: number
  readonly name: string
  readonly args: string
}

/** What the worker sends: the calls since its last message, and `ended` once the run is over. `spent`: milliseconds. */
export interface Report {
  readonly calls: ReadonlyArray<Called>
  readonly spent: number
  readonly ended: Ended | undefined
  readonly logs: string
}

/** The thread's end of the line. */
export interface Port {
  readonly on: (event: "message", listener: (command: Command) => void) => void
  readonly postMessage: (message: Report | "ready") => void
}

/** `prepared`: the code as it is run. */
export const worker = async (
  { EvalFlags, JSException, QuickJS }: typeof QuickJs,
  port: Port,
  { guest, limits, names, wasm }: Seed,
  prepared: (code: string) => string
): Promise<void> => {
  // What the engine calls it, also in the midst of a regular expression.
  const outOfMemory = "out of memory"
  let over = true
  let deadline = Infinity
  let timedOut = false
  // The same clock and the same random numbers in every session, until a run says what time it is.
  let now = 0
  let run = 0
  let remaining = 0
  let calls = 0
  let open = new Set<number>()
  let fresh: Array<Called> = []
  let flood = 0
  let logs = ""
  let left = 0
  let submitted: string | undefined
  // What the code waits for, and whether its value is wrapped by the engine.
  let awaited: QuickJs.JSValueHandle | undefined
  let wrapped = true
  const rejections = new Map<number, QuickJs.JSValueHandle>()

  const vm = await QuickJS.create({
    wasm,
    memoryLimit: limits.memory,
    maxStackSize: limits.stack,
    timezoneOffset: 0,
    interruptHandler: () => {
      timedOut ||= performance.now() > deadline
      return timedOut
    },
    moduleLoader: {
      load: () => {
        throw new Error("nothing can be imported")
      }
    },
    onUnhandledRejection: (promise, reason, isHandled) => {
      rejections.get(promise.identity)?.dispose()
      if (isHandled) rejections.delete(promise.identity)
      else rejections.set(promise.identity, reason.dup())
    },
    wasi: (memory) => ({
      clock_time_get: (_clock: number, _precision: bigint, result: number) => {
        new DataView(memory.buffer).setBigUint64(result, BigInt(now) * 1_000_000n, true)
        return 0
      },
      // The engine prints only what it has to say to its developers.
      fd_write: () => 8
    })
  })

  const outside = {
    log: vm.newFunction("log", (line, omitted) => {
      const text = `${line!.toString()}\n`
      const kept = text.slice(0, Math.max(0, limits.logs - logs.length))
      logs += kept
      left += text.length - kept.length + omitted!.toNumber()
      return vm.undefined
    }),
    submit: vm.newFunction("submit", (json) => {
      submitted ??= json!.toString()
      return vm.undefined
    }),
    call: vm.newFunction("call", (name, args) => {
      const text = args!.toString()
      if (calls === limits.calls || flood + text.length > limits.flood) return vm.newNumber(0)
      calls += 1
      flood += text.length
      const call = run * (limits.calls + 1) + calls
      open.add(call)
      fresh.push({ call, name: name!.toString(), args: text })
      return vm.newNumber(call)
    })
  }
  const inside = vm.evalCode(guest, "guest.js").consume((make) =>
    vm.callFunction(
      make,
      vm.undefined,
      outside.log,
      outside.submit,
      outside.call,
      vm.newString(JSON.stringify(names)),
      vm.newString(JSON.stringify(limits))
    )
  )
  const ask = (name: keyof Inside, ...args: ReadonlyArray<QuickJs.JSValueHandle>): string => {
    const method = inside.getProp(name)
    try {
      return vm.callFunction(method, vm.undefined, ...args).consume((result) =>
        result.isString ? result.toString() : ""
      )
    } finally {
      method.dispose()
      for (const arg of args) arg.dispose()
    }
  }

  const lineOf = (stack: string): number | undefined => {
    const found = new RegExp(`\\bcode${run}\\.js:(\\d+)`).exec(stack)
    return found === null ? undefined : Number(found[1])
  }

  const thrown = (error: QuickJs.JSValueHandle): Ended => {
    const [name, description, stack]: [string, string, string] = JSON.parse(ask("explain", error))
    return description === outOfMemory
      ? { _tag: "OutOfMemory" }
      : { _tag: "Threw", name, description, line: lineOf(stack) }
  }

  const done = (text: string): Ended => {
    if (text === "!") return { _tag: "TooLarge" }
    const json = text.startsWith("=") ? text.slice(1) : undefined
    const withheld = text.startsWith("?") ? text.slice(1) : undefined
    return { _tag: "Done", json, submitted: false, withheld }
  }

  // What became of the run, if it is over.
  const ended = async (): Promise<Ended | undefined> => {
    for (;;) {
      vm.executePendingJobs()
      if (submitted !== undefined) return { _tag: "Done", json: submitted, submitted: true, withheld: undefined }
      const promise = awaited!
      if (promise.promiseState === 0) return open.size > 0 ? undefined : { _tag: "Stuck" }
      // oxlint-disable-next-line no-await-in-loop -- one promise is the value of another
      const settled = await vm.resolvePromise(promise)
      if ("error" in settled) return settled.error.consume(thrown)
      const value = wrapped ? settled.value.consume((wrapper) => wrapper.getProp("value")) : settled.value
      if (value.isPromise) {
        wrapped = false
        awaited = value
        promise.dispose()
        continue
      }
      if (open.size > 0) {
        value.dispose()
        return undefined
      }
      const [rejected] = rejections.values()
      if (rejected !== undefined) return thrown(rejected)
      return done(ask("encode", value))
    }
  }

  const obey = async (command: Command): Promise<Ended | undefined> => {
    switch (command._tag) {
      case "Run": {
        run += 1
        remaining = limits.timeout
        now = command.now
        calls = 0
        open = new Set()
        logs = ""
        left = 0
        submitted = undefined
        wrapped = true
        awaited?.dispose()
        awaited = undefined
        for (const reason of rejections.values()) reason.dispose()
        rejections.clear()
        deadline = performance.now() + remaining
        ask("prepare")
        try {
          awaited = vm.evalCode(prepared(command.code), `code${run}.js`, EvalFlags.ASYNC)
        } catch (error) {
          if (!(error instanceof JSException) || error.name !== "SyntaxError") throw error
          const line = lineOf(error.stack ?? "")
          error.dispose()
          return { _tag: "Syntax", description: error.message.slice(0, 4000), line }
        }
        vm.markPromiseHandled(awaited)
        return await ended()
      }
      case "Returned":
        open.delete(command.call)
        ask("resolve", vm.newNumber(command.call), vm.newString(command.json))
        return await ended()
      case "Thrown":
        open.delete(command.call)
        ask("reject", vm.newNumber(command.call), vm.newString(command.name), vm.newString(command.message))
        return await ended()
      case "Set":
        remaining = limits.timeout
        deadline = performance.now() + remaining
        ask("define", vm.newString(command.name), vm.newString(command.json))
        return { _tag: "Done", json: undefined, submitted: false, withheld: undefined }
    }
  }

  const failed = (error: unknown): Ended => {
    const description = error instanceof Error ? error.message : String(error)
    // A job of the engine fails with an error of the host. Without any memory left the engine cannot say so either.
    const ofCode = error instanceof JSException || description.startsWith("Job execution error")
    return ofCode && (description.endsWith(outOfMemory) || vm.getMemoryUsage().mallocSize > limits.memory * 0.9)
      ? { _tag: "OutOfMemory" }
      : { _tag: "Crashed", description: description.slice(0, 4000) }
  }

  port.on("message", async (command: Command) => {
    if (over && (command._tag === "Returned" || command._tag === "Thrown")) return
    over = false
    const started = performance.now()
    deadline = started + remaining
    let end: Ended | undefined
    try {
      end = await obey(command)
    } catch (error) {
      // To ask what memory was used for takes its time, and time is over.
      if (!timedOut) end = failed(error)
    }
    const spent = performance.now() - started
    remaining -= spent
    if (timedOut) end = { _tag: "TimedOut" }
    over = end !== undefined
    deadline = Infinity
    const report: Report = {
      calls: fresh,
      spent,
      ended: end,
      logs: left === 0 ? logs.replace(/\n$/, "") : `${logs}\n(${left} more characters)`
    }
    fresh = []
    flood = 0
    port.postMessage(report)
  })
  port.postMessage("ready")
}
