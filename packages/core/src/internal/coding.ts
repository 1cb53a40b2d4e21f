/** What modules share whose model writes code for the sandbox. */
import * as Effect from "effect/Effect"
import type * as Adapter from "../Adapter.ts"
import type * as Agent from "../Agent.ts"
import * as Json from "../Json.ts"
import type * as LanguageModel from "../LanguageModel.ts"
import * as Module from "../Module.ts"
import * as Predict from "../Predict.ts"
import * as Sandbox from "../Sandbox.ts"
import type * as Signature from "../Signature.ts"
import type * as Tool from "../Tool.ts"
import * as agent from "./agent.ts"
import * as asking from "./asking.ts"
import * as frame from "./frame.ts"
import * as globalName from "./globalName.ts"
import * as observation from "./observation.ts"
import * as sandboxLimits from "./sandboxLimits.ts"
import * as toolUse from "./toolUse.ts"

// -----------------------------------------------------------------------------
// Rounds of code
// -----------------------------------------------------------------------------

export type Round = agent.Round<Agent.CodeStep>

/** A module of a signature in a variable: the overloads say what goes in and comes out, and what tools need and fail with. */
export type Erased = Module.Module<
  unknown,
  never,
  Predict.PredictError | Sandbox.SandboxError,
  LanguageModel.LanguageModel | Sandbox.Sandbox
>

export const round = (step: Agent.CodeStep): Round => ({ steps: [step] })

/** A round without code, since the answer could not be read. */
export const unread = (step: Agent.Step): Round => round({ ...step, code: "" })

/** A predictor that is told these rules beside its instructions, so that new instructions cannot lose them. */
export const ruled = <In, Out, E, R>(
  self: Module.Module<In, Out, E, R>,
  rules: ReadonlyArray<string>,
  path = ""
): Module.Module<In, Out, E, R> =>
  Module.surrounded(
    self,
    (current) => Effect.succeed(frame.noted(current, frame.join(current.path, path), rules.join("\n")))
  )

/**
 * A predictor of code, of which the `task` is to find out its outputs. Where an input is a conversation, it is shown the
 * turns of it as code that gave what was answered then.
 */
export const remembering = <In, Out, E, R>(
  task: Signature.Any,
  options: Predict.Options,
  answered: (outputs: string) => Json.JsonRecord,
  make: (options: Predict.Options) => Module.Module<In, Out, E, R>
): Module.Module<In, Out, E, R> => {
  if (!asking.hasPast(task)) return make(options)
  const past = (adapter: Adapter.Adapter): Adapter.Adapter =>
    asking.changed(adapter, (format, input) =>
      format({
        ...input,
        inputs: asking.withPast(task, input.inputs, (outputs) => answered(JSON.stringify(outputs)))
      }))
  return Module.surrounded(
    make({ ...options, adapter: options.adapter === undefined ? undefined : past(options.adapter) }),
    (current) => Effect.succeed({ ...current, adapter: past(current.adapter ?? Predict.defaultAdapter) })
  )
}

/** Where code runs, in a rule. */
export const where = "It runs in a sandbox without network, files or modules, and its top level may use `await`."

/** Throws for what no module whose model writes code can have; `taken` are names that mean something in its code. */
export const validate = (
  module: string,
  { maxIters, maxOutput, sandbox, tools }: {
    readonly maxIters: number
    readonly maxOutput: number
    readonly sandbox: Sandbox.Options
    readonly tools: ReadonlyArray<Tool.Any>
  },
  taken: ReadonlyArray<string> = []
): void => {
  agent.limits(module, { maxIters, maxOutput })
  sandboxLimits.of(sandbox)
  const names = new Set(taken)
  for (const { name } of tools) {
    const problem = globalName.problem(name)
    if (problem !== undefined) throw new RangeError(`${module}: code cannot call a tool named "${name}": ${problem}`)
    if (names.has(name)) throw new RangeError(`${module}: "${name}" is the name of another function`)
    names.add(name)
  }
}

// -----------------------------------------------------------------------------
// What comes of code
// -----------------------------------------------------------------------------

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
export const ran = (
  session: Sandbox.Session,
  code: string
): Effect.Effect<
  { readonly observation: string; readonly failed: boolean; readonly result?: Sandbox.Result },
  Sandbox.SandboxError
> =>
  code === ""
    ? Effect.succeed({ observation: "There was no code to run.", failed: true })
    : session.run(code).pipe(
      Effect.map((result) => ({ observation: shown(result), failed: false, result })),
      Effect.catchIf(
        // A tool may end the program with anything, of which the type here says nothing.
        (error) => Sandbox.isSandboxError(error) && error.recoverable,
        (error) => Effect.succeed({ observation: failure(error), failed: true })
      )
    )

// -----------------------------------------------------------------------------
// Tools as functions
// -----------------------------------------------------------------------------

/** A use of a function that code calls, told as the use of a tool is. */
export const heard = <A, E, R>(
  use: number,
  tool: string,
  args: Json.JsonRecord,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  toolUse.heard({ use, tool, arguments: args }, self, (result) => ({
    text: observation.of(result).text,
    failed: false
  }))

/**
 * Tools as functions of a sandbox, which take one object each; what is told to the model is thrown in the code. `next`
 * numbers their uses.
 */
export const functions = (
  tools: ReadonlyArray<Tool.Any>,
  next: () => number
): { readonly [name: string]: Sandbox.HostFunction } =>
  Object.fromEntries(tools.map((tool) => [tool.name, (...given) => {
    const [args = {}] = given
    if (given.length > 1 || !Json.isJsonRecord(args)) {
      return new Sandbox.Exception({
        name: "TypeError",
        message: `${tool.name} takes one object with its arguments: ${signatureOf(tool)}`
      })
    }
    return Effect.catchTag(
      heard(next(), tool.name, args, Effect.flatten(toolUse.prepared(tool, args))),
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

/** Numbers, from 1. */
export const numbering = (): () => number => {
  let last = 0
  return () => ++last
}
