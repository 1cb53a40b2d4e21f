/** Outputs that a model gives by itself, in the middle of its work: what it may submit, and who hears of it. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Adapter from "../Adapter.ts"
import * as Json from "../Json.ts"
import * as JsonAdapter from "../JsonAdapter.ts"
import type * as LanguageModel from "../LanguageModel.ts"
import type { Emitted } from "../ModuleEvent.ts"
import * as Signature from "../Signature.ts"
import { submit } from "./agent.ts"
import * as frame from "./frame.ts"
import * as toolSchema from "./toolSchema.ts"

// -----------------------------------------------------------------------------
// What may be submitted
// -----------------------------------------------------------------------------

/** A tool whose arguments are the outputs. */
export const definition = (signature: Signature.Any): LanguageModel.ToolDefinition => ({
  name: submit,
  description: "Gives the outputs, once all that is needed is known. That is the end of the rounds.",
  parameters: parametersOf(signature)
})

const parametersOf = (signature: Signature.Any): Json.JsonRecord => {
  try {
    return toolSchema.of(submit, Schema.make(signature.output.ast))
  } catch {
    // Not every type has a JSON Schema; then words must do, as they do in prompts.
    const { outputs } = Signature.fields(signature)
    return {
      type: "object",
      properties: Object.fromEntries(
        outputs.map(({ description, name, type }) => [name, {
          description: description === undefined ? type : `${type}: ${description}`
        }])
      ),
      required: outputs.flatMap(({ name, optional }) => optional ? [] : [name]),
      additionalProperties: false
    }
  }
}

/** The outputs, or what is wrong with what was submitted: read as an answer is, and there must be nothing else. */
export const read = (
  signature: Signature.Any,
  value: Json.Json | undefined
): Effect.Effect<Either.Either<Adapter.Decoded, string>> => {
  const names = Signature.fields(signature).outputs.map(({ name }) => name)
  const list = names.map((name) => `"${name}"`).join(", ")
  if (!Json.isJsonRecord(value)) return Effect.succeed(Either.left(`submit takes one object, with ${list}`))
  const unknown = Object.keys(value).filter((name) => !names.includes(name))
  if (unknown.length > 0) {
    return Effect.succeed(Either.left(`submit takes ${list}, and nothing else: ${unknown.join(", ")} is no output`))
  }
  const fields = new Map(Object.entries(value).map(([name, value]) => [name, { _tag: "Json" as const, value }]))
  return Effect.either(Effect.mapError(
    Adapter.decode(signature, { fields, repairs: [] }),
    (problems) => `what was submitted are not the outputs: ${problems.map(Adapter.describe).join("; ")}`
  ))
}

// -----------------------------------------------------------------------------
// Who hears of it
// -----------------------------------------------------------------------------

/**
 * Tells of the outputs of one run, field by field, as the predictor does that makes them otherwise.
 *
 * - `watched`: an effect by which a predictor writes calls; where one is a submission, its fields are told while it does.
 * - `refused`: what was told is void.
 * - `taken`: these are the outputs; tells what was not told yet.
 */
export interface Telling {
  readonly watched: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly refused: (cause: string) => Effect.Effect<void>
  readonly taken: (outputs: Json.JsonRecord) => Effect.Effect<void>
}

/** Tells of nothing. */
export const silent: Telling = { watched: (self) => self, refused: () => Effect.void, taken: () => Effect.void }

/** Tells of them at the place of the predictor that is called so. */
export const telling = (signature: Signature.Any, predictor: string): Effect.Effect<Telling> =>
  frame.with_((current) => {
    const { listener } = current
    if (listener === undefined || !listener.deltas) return Effect.succeed(silent)
    const source = { path: frame.join(current.path, predictor), call: listener.nextCall() }
    let written = new Set<string>()
    let name = ""
    let push: ((text: string) => ReadonlyArray<Adapter.FieldEvent>) | undefined

    const placed = (event: Adapter.FieldEvent): Emitted => ({ ...event, ...source })
    const voided = (cause: string): ReadonlyArray<Emitted> => {
      const events: ReadonlyArray<Emitted> = written.size === 0 ? [] : [{ _tag: "Reset", ...source, cause }]
      written = new Set()
      name = ""
      push = undefined
      return events
    }
    const more = (event: Emitted): ReadonlyArray<Emitted> => {
      if (event._tag === "Reset" || event._tag === "PredictorFailed") return [event, ...voided(event.cause)]
      if (event._tag !== "FieldDelta") return [event]
      if (event.field === "next_tool_name") name += event.text
      if (event.field !== "next_tool_args" || bare(name) !== submit) return [event]
      push ??= reader(signature)
      const events = push(event.text)
      for (const { field } of events) written.add(field)
      return [event, ...events.map(placed)]
    }
    const telling: Telling = {
      watched: (self) => {
        name = ""
        push = undefined
        return frame.provide(self, {
          ...current,
          listener: { ...listener, emit: (events) => listener.emit(events.flatMap(more)) }
        })
      },
      refused: (cause) =>
        Effect.suspend(() => {
          const events = voided(cause)
          return events.length === 0 ? Effect.void : listener.emit(events)
        }),
      taken: (outputs) =>
        Effect.suspend(() => {
          const events = Object.entries(outputs).flatMap(([field, value]): ReadonlyArray<Emitted> =>
            written.has(field) ? [] : [
              { _tag: "FieldStart", ...source, field },
              { _tag: "FieldDelta", ...source, field, text: typeof value === "string" ? value : JSON.stringify(value) },
              { _tag: "FieldEnd", ...source, field }
            ]
          )
          return events.length === 0 ? Effect.void : listener.emit(events)
        })
    }
    return Effect.succeed(telling)
  })

// Models like to quote a name, and to write it with a capital.
const bare = (name: string): string => name.replaceAll(/[^A-Za-z_]/g, "").toLowerCase()

const reader = (signature: Signature.Any) =>
  JsonAdapter.adapter.parser(signature, (parser) => {
    let state = parser.initial
    return (text: string) => {
      const [next, events] = parser.step(state, text)
      state = next
      return events
    }
  })
