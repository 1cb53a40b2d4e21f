/** An engine for the sandbox, good enough to test with: it keeps nothing out. */
import * as Sandbox from "@effect-dspy/core/Sandbox"
import { Effect, Either, Layer, Runtime } from "effect"
import * as vm from "node:vm"

class Submitted {
  readonly value: unknown

  constructor(value: unknown) {
    this.value = value
  }
}

/** `ran` gets every piece of code that was run, `sessions` how many are open. */
export const layer = (ran: Array<string> = [], sessions = { open: 0 }): Layer.Layer<Sandbox.Sandbox> =>
  Layer.succeed(
    Sandbox.Sandbox,
    Sandbox.make((names) =>
      Effect.acquireRelease(Effect.sync(() => sessions.open++), () => Effect.sync(() => sessions.open--)).pipe(
        Effect.map((): Sandbox.Machine => {
          const globals: { [name: string]: unknown } = {}
          const context = vm.createContext(globals)
          return {
            set: (name, json) =>
              Effect.sync(() => {
                globals[name] = JSON.parse(json)
              }),
            run: (code, call) =>
              Effect.flatMap(Effect.runtime<never>(), (runtime) =>
                Effect.tryPromise({
                  try: async (signal): Promise<Sandbox.Result> => {
                    ran.push(code)
                    const logs: Array<string> = []
                    globals["console"] = { log: (...values: ReadonlyArray<unknown>) => logs.push(values.join(" ")) }
                    globals["submit"] = (value: unknown) => {
                      throw new Submitted(value)
                    }
                    for (const name of names) {
                      globals[name] = async (...args: ReadonlyArray<unknown>) => {
                        const answer = await Runtime.runPromise(runtime, call(name, JSON.stringify(args)), { signal })
                        if (Either.isLeft(answer)) {
                          throw Object.assign(new Error(answer.left.message), { name: answer.left.name ?? "Error" })
                        }
                        return JSON.parse(answer.right)
                      }
                    }
                    try {
                      const value: unknown = await vm.runInContext(
                        code.includes("await") ? `(async () => { ${code} })()` : code,
                        context
                      )
                      return {
                        submitted: false,
                        logs: logs.join("\n"),
                        ...(value === undefined ? undefined : { value: JSON.parse(JSON.stringify(value)) })
                      }
                    } catch (error) {
                      if (error instanceof Submitted) {
                        return {
                          submitted: true,
                          value: JSON.parse(JSON.stringify(error.value)),
                          logs: logs.join("\n")
                        }
                      }
                      throw new Sandbox.SandboxError({
                        reason: new Sandbox.Threw({
                          name: Reflect.get(Object(error), "name"),
                          description: Reflect.get(Object(error), "message")
                        }),
                        logs: logs.join("\n")
                      })
                    }
                  },
                  catch: (error) =>
                    Sandbox.isSandboxError(error)
                      ? error
                      : new Sandbox.SandboxError({
                        reason: new Sandbox.Crashed({ description: String(error) }),
                        logs: ""
                      })
                }))
          }
        })
      )
    )
  )

/** A sandbox that cannot be had. */
export const missing: Layer.Layer<Sandbox.Sandbox> = Layer.succeed(
  Sandbox.Sandbox,
  Sandbox.make(() =>
    new Sandbox.SandboxError({ reason: new Sandbox.Unavailable({ description: "no engine here" }), logs: "" })
  )
)
