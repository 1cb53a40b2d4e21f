/**
 * Programs run as children: with nothing of our environment that is not
 * allowed, within bounds, and never left behind with theirs.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type * as ChildProcess from "node:child_process"
import type * as NodeFs from "node:fs/promises"
import type * as NodeProcess from "node:process"
import { load } from "./load.ts"

/**
 * The program could not be started; `code` is the system's.
 */
export class NotStarted {
  readonly _tag = "NotStarted"
  readonly code: string

  constructor(code: string) {
    this.code = code
  }
}

/**
 * What of Node is needed.
 */
export interface Node {
  readonly childProcess: typeof ChildProcess
  readonly fs: typeof NodeFs
  readonly process: typeof NodeProcess
}

export const node: Effect.Effect<Node, NotStarted> = Effect.tryPromise({
  try: async () => {
    const [childProcess, fs, process] = await Promise.all([
      load<typeof ChildProcess>("node:child_process"),
      load<typeof NodeFs>("node:fs/promises"),
      load<typeof NodeProcess>("node:process")
    ])
    return { childProcess, fs, process }
  },
  catch: () => new NotStarted("UNSUPPORTED")
})

/**
 * A program and its arguments, which no shell reads. `input` is all that it
 * gets to read, or `undefined` for one that is written to while it runs;
 * `environment` all of its environment, but for what any program needs to find
 * its files.
 */
export interface Command {
  readonly executable: string
  readonly arguments: ReadonlyArray<string>
  readonly directory: string
  readonly environment: { readonly [name: string]: string }
  readonly input: string | undefined
}

/** How a program ended: by itself, or by a signal. */
export interface Ending {
  readonly code: number | null
  readonly signal: string | null
}

/**
 * A running program. `read` is what it writes next, as long as it writes, and
 * no more than is read is held; of what it writes to standard error the last
 * part is kept. `write` waits until it has room for the text, and says whether
 * there was somebody to read it.
 */
export interface Child {
  readonly read: Effect.Effect<Option.Option<Uint8Array>>
  readonly write: (text: string) => Effect.Effect<boolean>
  readonly ended: Effect.Effect<Ending>
  readonly complaints: () => string
}

const allowed = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ"]

const maxComplaints = 64 * 1024

// How long a program that was asked to end may take, and its pipes once it has.
const grace = "2 seconds"
// How long one that reads may take to see that there is no more to read.
const farewell = "500 millis"
const drain = "1 second"

/**
 * Runs a program until the scope closes. Then it, and whatever it has started
 * in its process group, is asked to end, and killed 2 seconds later if it does
 * not; one whose input is open is given half a second first, to end with it. When it ends by itself, what it has started is killed. Should this
 * process be killed, another one sees to it.
 */
export const spawn = (node: Node, command: Command): Effect.Effect<Child, NotStarted, Scope.Scope> =>
  Effect.gen(function*() {
    const ended = yield* Deferred.make<Ending>()
    const { child } = yield* Effect.acquireRelease(
      Effect.map(start(node, command, ended), (child) => ({ child, watchdog: watch(node, pidOf(child)) })),
      // The watchdog comes last: it is needed for as long as there is something to watch.
      ({ child, watchdog }) =>
        Effect.zipRight(
          stop(node, child, ended, command.input === undefined),
          Effect.sync(() => watchdog.kill("SIGKILL"))
        )
    )

    let complaints = ""
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaints = (complaints + text).slice(-maxComplaints)
    })
    // A pipe that breaks has no more to tell than the end of the program.
    for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.on("error", () => {})
    // When a program ends, Node lets what nobody listens to flow away; between two reads nobody would.
    child.stdout.on("readable", () => {})
    if (command.input !== undefined) child.stdin.end(command.input)

    const next = Effect.async<Option.Option<Uint8Array>>((resume) => {
      const { stdout } = child
      const signals = ["readable", "end", "close", "error"] as const
      const leave = () => {
        for (const signal of signals) stdout.off(signal, look)
      }
      const look = () => {
        const bytes: Uint8Array | null = stdout.read()
        if (bytes === null && !stdout.readableEnded && !stdout.destroyed) return
        leave()
        resume(Effect.succeed(Option.fromNullable(bytes)))
      }
      for (const signal of signals) stdout.on(signal, look)
      look()
      return Effect.sync(leave)
    })
    // A process that left the group may hold the pipe for ever.
    const drained = Effect.zipRight(Deferred.await(ended), Effect.as(Effect.sleep(drain), Option.none()))

    return {
      read: Effect.raceFirst(next, drained),
      write: (text) =>
        Effect.async<boolean>((resume) => {
          if (child.stdin.writable) {
            child.stdin.write(text, (error) => resume(Effect.succeed(error === null || error === undefined)))
          } else resume(Effect.succeed(false))
        }),
      ended: Deferred.await(ended),
      complaints: () => complaints
    }
  })

type Running = ChildProcess.ChildProcessWithoutNullStreams

const start = (
  { childProcess, process }: Node,
  command: Command,
  ended: Deferred.Deferred<Ending>
): Effect.Effect<Running, NotStarted> =>
  Effect.async((resume) => {
    const failed = (cause: unknown) =>
      resume(Effect.fail(new NotStarted(Predicate.hasProperty(cause, "code") ? String(cause.code) : "unknown")))
    try {
      const child = childProcess.spawn(command.executable, command.arguments, {
        cwd: command.directory,
        env: {
          ...Object.fromEntries(allowed.flatMap((name) => name in process.env ? [[name, process.env[name]]] : [])),
          ...command.environment
        },
        // A group of its own, so that all of it can be ended, and no terminal to wait at.
        detached: true,
        shell: false,
        stdio: "pipe"
      })
      child.on("spawn", () => resume(Effect.succeed(child)))
      child.on("error", failed)
      child.on("exit", (code, signal) => {
        // What it leaves behind has nobody to work for.
        kill(process, pidOf(child), "SIGKILL")
        Deferred.unsafeDone(ended, Effect.succeed({ code, signal }))
      })
    } catch (cause) {
      failed(cause)
    }
  })

const pidOf = (child: Running): number => child.pid! // it has one once it has been started

const kill = (process: Node["process"], pid: number, signal: "SIGTERM" | "SIGKILL"): void => {
  try {
    process.kill(-pid, signal)
  } catch {
    // The group is gone already.
  }
}

const stop = (
  { process }: Node,
  child: Running,
  ended: Deferred.Deferred<Ending>,
  reads: boolean
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const within = (duration: "500 millis" | "2 seconds") =>
      Effect.map(Effect.timeoutOption(Effect.interruptible(Deferred.await(ended)), duration), Option.isSome)
    if (!(yield* Deferred.isDone(ended))) {
      if (reads) child.stdin.end()
      if (!(reads && (yield* within(farewell)))) {
        kill(process, pidOf(child), "SIGTERM")
        if (!(yield* within(grace))) {
          kill(process, pidOf(child), "SIGKILL")
          yield* within(grace)
        }
      }
    }
    child.stdin.destroy()
    child.stdout.destroy()
    child.stderr.destroy()
  })

// Waits for the end of its input, which comes when nobody is left to write it, and then kills the group.
const watch = ({ childProcess }: Node, pid: number): ChildProcess.ChildProcess =>
  childProcess.spawn(
    "/bin/sh",
    ["-c", "while read -r _; do :; done; kill -s KILL -- \"-$1\"", "watchdog", String(pid)],
    {
      env: {},
      detached: true,
      stdio: ["pipe", "ignore", "ignore"]
    }
  )
    // Without it the child still ends with its pipes.
    .on("error", () => {})
