/** What programs share whose model writes code for the sandbox. */
import * as Effect from "effect/Effect"
import * as Json from "../Json.ts"
import * as Sandbox from "../Sandbox.ts"
import type * as Signature from "../Signature.ts"
import * as Tool from "../Tool.ts"
import * as frame from "./frame.ts"
import * as globalName from "./globalName.ts"
import * as observation from "./observation.ts"

/** Both ends of a text, and how much is missing between them. */
export const clipped = (text: string, limit: number): string => {
  if (text.length <= limit) return text
  const head = Math.ceil(limit / 2)
  return `${text.slice(0, head)}\n… ${text.length - limit} characters are left out here …\n${
    text.slice(text.length - (limit - head))
  }`
}

/** What a run has to show. */
export const shown = ({ logs, value, withheld }: Sandbox.Result): string =>
  [
    ...(logs === "" ? [] : [logs]),
    ...(value === undefined ? [] : [typeof value === "string" ? value : JSON.stringify(value)]),
    ...(withheld === undefined ? [] : [`The last value cannot be shown: ${withheld}.`])
  ].join("\n") || "(The code ran, and has nothing to show.)"

/** What a run that failed has to show. */
const failure = (error: Sandbox.SandboxError): string =>
  error.logs === "" ? error.message : `${error.logs}\n${error.message}`

/** What came of a piece of code, as the model is told; only a sandbox that cannot be had is a failure. */
export const ran = <E, R>(
  session: Sandbox.Session<E, R>,
  code: string
): Effect.Effect<
  { readonly output: string; readonly failed: boolean; readonly result?: Sandbox.Result },
  Sandbox.SandboxError | E,
  R
> =>
  code === ""
    ? Effect.succeed({ output: "There was no code to run.", failed: true })
    : session.run(code).pipe(
      Effect.map((result) => ({ output: shown(result), failed: false, result })),
      Effect.catchIf(
        (error): error is Sandbox.SandboxError => Sandbox.isSandboxError(error) && error.recoverable,
        (error) => Effect.succeed({ output: failure(error), failed: true })
      )
    )

/** A use of a function that code calls, told as the use of a tool is. */
export const heard = <A, E, R>(
  use: number,
  tool: string,
  args: Json.JsonRecord,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  frame.with_(({ call, listener, path }) => {
    if (listener === undefined) return self
    const source = { path, call, use, tool }
    const ended = (observation: string, failed: boolean) =>
      listener.emit([{ _tag: "ToolEnd", ...source, observation, failed }])
    return Effect.zipRight(listener.emit([{ _tag: "ToolStart", ...source, arguments: args }]), self).pipe(
      Effect.tapBoth({
        onSuccess: (result) => ended(observation.of(result).text, false),
        onFailure: (error) => ended(observation.failure(error), true)
      })
    )
  })

/**
 * Tools as functions of a sandbox, which take one object each; what is told to the model is thrown in the code. `next`
 * numbers their uses.
 */
export const functions = (
  tools: ReadonlyArray<Tool.Any>,
  next: () => number
): { readonly [name: string]: Sandbox.HostFunction<unknown, unknown> } =>
  Object.fromEntries(tools.map((tool) => [tool.name, (...given) => {
    const [args = {}] = given
    if (given.length > 1 || !Json.isJsonRecord(args)) {
      return new Sandbox.Exception({
        name: "TypeError",
        message: `${tool.name} takes one object with its arguments: ${signatureOf(tool)}`
      })
    }
    // It takes what itself has read. What it fails with and needs is in the type of the module.
    const used = Tool.prepare(tool as Tool.Tool<string, unknown, unknown>, args)
    return Effect.catchTag(
      heard(next(), tool.name, args, Effect.flatten(used)),
      "ToolError",
      (error) => new Sandbox.Exception({ name: "ToolError", message: error.message })
    )
  }]))

const signatureOf = ({ definition: { parameters }, name }: Tool.Any): string =>
  `await ${name}({ ${Object.keys(parameters["properties"] ?? {}).join(", ")} })`

/** How tools are offered to a model that calls them in code. */
export const offered = (tools: ReadonlyArray<Tool.Any>): ReadonlyArray<string> =>
  tools.map((tool) =>
    `${signatureOf(tool)}: ${tool.definition.description} Its argument: ${JSON.stringify(tool.definition.parameters)}`
  )

/** Throws for tools that code could not call. */
export const callable = (what: string, tools: ReadonlyArray<Tool.Any>, taken: ReadonlyArray<string> = []): void => {
  const names = new Set(taken)
  for (const { name } of tools) {
    const problem = globalName.problem(name)
    if (problem !== undefined) throw new RangeError(`${what}: code cannot call a tool named "${name}": ${problem}`)
    if (names.has(name)) throw new RangeError(`${what}: "${name}" is the name of another function`)
    names.add(name)
  }
}

/** Throws for outputs that would be lost beside what every answer has. */
export const answerable = (what: string, { outputs }: ReturnType<typeof Signature.fields>): void => {
  for (const { name } of outputs) {
    if (name === "trajectory" || name === "termination") {
      throw new RangeError(`${what}: no output can be called "${name}"; that is part of every answer`)
    }
  }
}
