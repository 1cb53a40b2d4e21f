/** Outputs that a model gives by itself, in the middle of its work: what it may submit, and who hears of it. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Adapter from "../Adapter.ts"
import * as Json from "../Json.ts"
import * as JsonAdapter from "../JsonAdapter.ts"
import type * as LanguageModel from "../LanguageModel.ts"
import type * as ModuleEvent from "../ModuleEvent.ts"
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
  if (!Json.isJsonRecord(value)) return Effect.succeed(Either.left(`it takes one object, with ${list}`))
  const unknown = Object.keys(value).filter((name) => !names.includes(name))
  if (unknown.length > 0) {
    return Effect.succeed(Either.left(`it takes ${list}, and nothing else: ${unknown.join(", ")} is no output`))
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
 * Tells of the outputs of one run as the predictor would that makes them otherwise: whoever follows that one hears of them
 * either way. It is a call of its own, which is not listed, since no instructions of that predictor led to it.
 *
 * - `watched`: the question by which a model may submit; where its answer is a call of `submit`, the outputs are told while
 *   it is written.
 * - `refused`: what was told is void.
 * - `taken`: these are the outputs.
 * - `missed`: nothing that was told was taken.
 */
export interface Telling {
  readonly watched: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly refused: (cause: string) => Effect.Effect<void>
  readonly taken: (outputs: Json.JsonRecord) => Effect.Effect<void>
  readonly missed: Effect.Effect<void>
}

/** Tells of nothing. */
export const silent: Telling = {
  watched: (self) => self,
  refused: () => Effect.void,
  taken: () => Effect.void,
  missed: Effect.void
}

/** Tells of the outputs of `task` at the place of the predictor with the signature `extraction`. */
export const telling = (task: Signature.Any, extraction: Signature.Any, predictor: string): Effect.Effect<Telling> =>
  frame.with_((current) => {
    const { listener } = current
    if (listener === undefined) return Effect.succeed(silent)
    const path = frame.join(current.path, predictor)
    const names = new Set(Signature.fields(extraction).inputs.map(({ name }) => name))
    let source: ModuleEvent.Source | undefined
    let inputs: Json.JsonRecord = {}
    let written = new Set<string>()
    // What is being written, as far as it is a call of `submit`.
    let tool = ""
    let push: ((text: string) => ReadonlyArray<Adapter.FieldEvent>) | undefined

    // The call begins with the first thing there is to tell.
    const placed = (
      events: (source: ModuleEvent.Source) => ReadonlyArray<ModuleEvent.Emitted>
    ): ReadonlyArray<ModuleEvent.Emitted> => {
      if (source !== undefined) return events(source)
      source = { path, call: listener.nextCall() }
      return [{ _tag: "PredictorStart", ...source, parent: current.call, inputs }, ...events(source)]
    }
    const voided = (cause: string): ReadonlyArray<ModuleEvent.Emitted> => {
      tool = ""
      push = undefined
      if (written.size === 0) return []
      written = new Set()
      return placed((source) => [{ _tag: "Reset", ...source, cause }])
    }
    const more = (event: ModuleEvent.Emitted): ReadonlyArray<ModuleEvent.Emitted> => {
      switch (event._tag) {
        case "PredictorStart":
          inputs = Object.fromEntries(Object.entries(event.inputs).filter(([name]) => names.has(name)))
          tool = ""
          push = undefined
          return []
        case "Reset":
        case "PredictorFailed":
          return voided(event.cause)
        case "FieldDelta": {
          if (event.field === "next_tool_name") tool += event.text
          if (event.field !== "next_tool_args" || bare(tool) !== submit) return []
          push ??= reader(task)
          const fields = push(event.text)
          for (const { field } of fields) written.add(field)
          return fields.length === 0 ? [] : placed((source) => fields.map((field) => ({ ...field, ...source })))
        }
        default:
          return []
      }
    }
    const emit = (events: () => ReadonlyArray<ModuleEvent.Emitted>) =>
      Effect.suspend(() => {
        const all = events()
        return all.length === 0 ? Effect.void : listener.emit(all)
      })
    return Effect.succeed<Telling>({
      watched: (self) =>
        frame.provide(self, {
          ...current,
          listener: {
            ...listener,
            emit: (events) => listener.emit(events.flatMap((event) => [event, ...more(event)]))
          }
        }),
      refused: (cause) => emit(() => voided(cause)),
      taken: (outputs) =>
        emit(() =>
          placed((source) => [
            ...(listener.deltas ? Object.entries(outputs) : []).flatMap(([field, value]) =>
              written.has(field) ? [] : whole(source, field, typeof value === "string" ? value : JSON.stringify(value))
            ),
            { _tag: "PredictorEnd", ...source, inputs, outputs, listed: false, repairs: [] }
          ])
        ),
      missed: emit(() => {
        if (source === undefined) return []
        const cause = "nothing that was submitted was taken for the outputs"
        const failed = { _tag: "PredictorFailed", ...source, inputs, listed: false, cause } as const
        source = undefined
        return [failed]
      })
    })
  })

const whole = (source: ModuleEvent.Source, field: string, text: string): ReadonlyArray<ModuleEvent.Emitted> => [
  { _tag: "FieldStart", ...source, field },
  ...(text === "" ? [] : [{ _tag: "FieldDelta" as const, ...source, field, text }]),
  { _tag: "FieldEnd", ...source, field }
]

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
