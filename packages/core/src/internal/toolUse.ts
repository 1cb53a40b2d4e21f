/** The use of a tool in a module, told to whoever listens. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Json from "../Json.ts"
import * as Tool from "../Tool.ts"
import * as frame from "./frame.ts"
import * as observation from "./observation.ts"

/**
 * A tool with arguments that it has read; nothing is done yet. What it needs, and what ends the program, is in the type of
 * the module, which is where the compiler learns of it.
 */
export const prepared = (
  tool: Tool.Any,
  args: Json.JsonRecord
): Effect.Effect<Effect.Effect<unknown, Tool.ToolError>, Tool.ToolError> =>
  Tool.prepare(tool as Tool.Tool<string, unknown, unknown>, args) // it takes what itself has read

/** Tells of one use: the `use`-th of this run of the module, and what the model is `shown` of its result. */
export const heard = <A, E, R>(
  { arguments: args, tool, use }: { readonly use: number; readonly tool: string; readonly arguments: Json.JsonRecord },
  self: Effect.Effect<A, E, R>,
  shown: (result: A) => { readonly text: string; readonly failed: boolean }
): Effect.Effect<A, E, R> =>
  frame.with_(({ call, listener, path }) => {
    if (listener === undefined) return self
    const source = { path, call, use, tool }
    const ended = (observation: string, failed: boolean) =>
      listener.emit([{ _tag: "ToolEnd", ...source, observation, failed }])
    return Effect.zipRight(listener.emit([{ _tag: "ToolStart", ...source, arguments: args }]), self).pipe(
      Effect.tap((result) => {
        const { failed, text } = shown(result)
        return ended(text, failed)
      }),
      // Also what ends the program, of which the compiler is told elsewhere.
      Effect.tapErrorCause((cause) =>
        Option.match(Cause.failureOption(cause), {
          onNone: () => Effect.void,
          onSome: (error) => ended(observation.failure(error), true)
        })
      )
    )
  })
