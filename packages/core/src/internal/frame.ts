/**
 * Everything ambient, in one reference: where we are in the program, which
 * parameters hold, who listens. It never shows in a requirement.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Adapter } from "../Adapter.ts"
import * as Json from "../Json.ts"
import type * as LanguageModel from "../LanguageModel.ts"
import type { LanguageModelError } from "../LanguageModelError.ts"
import type { Emitted, Listener } from "../ModuleEvent.ts"
import type { Demo, Entry } from "../Parameters.ts"

/** Parameters bound to a part of the program. */
export interface Binding {
  /** Path of the module they were given to. */
  readonly base: string
  readonly entries: ReadonlyMap<string, { readonly leaf: object; readonly entry: Entry }>
  /** Given further out; wins over this one. */
  readonly outer: Binding | undefined
}

/** What the outermost module lists, by path below its own. */
export interface Members {
  readonly base: string
  readonly leaves: ReadonlyMap<string, object>
  /** Listed for itself only; the program around it lists none of it. */
  readonly frozen: boolean
}

/** A listener with the numbering of its calls. */
export interface Ear extends Listener {
  readonly nextCall: () => number
}

/** Which of its demonstrations a predictor is shown, in view of what it is asked. */
export type Choice = (
  demos: ReadonlyArray<Demo>,
  inputs: Json.JsonRecord
) => Effect.Effect<ReadonlyArray<Demo>, LanguageModelError>

export interface Frame {
  readonly path: string
  readonly call: number
  readonly members: Members | undefined
  readonly binding: Binding | undefined
  readonly listener: Ear | undefined
  readonly settings: LanguageModel.Settings | undefined
  readonly adapter: Adapter | undefined
  readonly rollout: string | undefined
  readonly choice: Choice | undefined
  /** What a predictor is told beside its instructions, by path. */
  readonly notes: ReadonlyMap<string, string> | undefined
  /** What answers in the place of any model. */
  readonly standIn: ((model: LanguageModel.Service) => LanguageModel.Service) | undefined
}

const top: Frame = {
  path: "",
  call: 0,
  members: undefined,
  binding: undefined,
  listener: undefined,
  settings: undefined,
  adapter: undefined,
  rollout: undefined,
  choice: undefined,
  notes: undefined,
  standIn: undefined
}

export class Current extends Context.Reference<Current>()("@effect-dspy/core/internal/frame", {
  defaultValue: (): Frame => top
}) {}

export const with_ = <A, E, R>(f: (frame: Frame) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Current, f)

export const provide = <A, E, R>(self: Effect.Effect<A, E, R>, frame: Frame): Effect.Effect<A, E, R> =>
  Effect.provideService(self, Current, frame)

/** A note to the predictor at a path, behind those it has. */
export const noted = (frame: Frame, path: string, note: string): Frame => {
  const before = frame.notes?.get(path)
  return {
    ...frame,
    notes: new Map([...frame.notes ?? [], [path, before === undefined ? note : `${before}\n\n${note}`]])
  }
}

/** Like `provide`, for a frame that may well be the current one. */
export const enter = <A, E, R>(self: Effect.Effect<A, E, R>, frame: Frame): Effect.Effect<A, E, R> =>
  with_((current) => current === frame ? self : provide(self, frame))

/** `""` is the top; map and list steps (`[0]`, `['x']`) take no dot. */
export const join = (base: string, path: string): string =>
  base === "" ? path : path === "" ? base : path.startsWith("[") ? base + path : `${base}.${path}`

/** The path below `base`. */
const relative = (base: string, path: string): string =>
  base === "" ? path : path.length === base.length ? "" : path.slice(base.length + (path[base.length] === "." ? 1 : 0))

/** The outermost parameters for a leaf at the frame's path. */
export const lookup = (frame: Frame, leaf: object): Entry | undefined => {
  let found: Entry | undefined
  for (let binding = frame.binding; binding !== undefined; binding = binding.outer) {
    const bound = binding.entries.get(relative(binding.base, frame.path))
    if (bound !== undefined && bound.leaf === leaf) found = bound.entry
  }
  return found
}

export type Standing = "listed" | "frozen" | "unlisted"

/** How the program knows this leaf at the frame's path. */
export const standing = (frame: Frame, leaf: object): Standing => {
  const members = frame.members
  if (members === undefined) return "listed"
  if (members.leaves.get(relative(members.base, frame.path)) !== leaf) return "unlisted"
  return members.frozen ? "frozen" : "listed"
}

/** Settings laid over others; what they leave undefined stays as it is. */
export const overlaid = (
  inner: LanguageModel.Settings | undefined,
  outer: LanguageModel.Settings | undefined
): LanguageModel.Settings | undefined => {
  if (inner === undefined || outer === undefined) return outer ?? inner
  const settings: { [name: string]: unknown } = { ...inner }
  for (const [name, value] of Object.entries(outer)) {
    if (value !== undefined) settings[name] = value
  }
  return settings // of `inner` and `outer` only
}

/** A rollout inside another one. */
export const nested = (outer: string | undefined, inner: string): string =>
  outer === undefined ? inner : Json.hash([outer, inner])

/** A listener inside another one: both hear what each asked for, calls are numbered once. */
export const attach = (listener: Listener, outer: Ear | undefined): Ear => {
  if (outer === undefined) {
    let calls = 0
    return { deltas: listener.deltas, emit: listener.emit, nextCall: () => ++calls }
  }
  const deltas = listener.deltas || outer.deltas
  const near = listener.deltas === deltas ? listener.emit : withoutDeltas(listener.emit)
  const far = outer.deltas === deltas ? outer.emit : withoutDeltas(outer.emit)
  return { deltas, emit: (events) => Effect.zipRight(near(events), far(events)), nextCall: outer.nextCall }
}

const withoutDeltas = (emit: Listener["emit"]): Listener["emit"] => (events) => {
  const rest = events.filter((event) => !deltaTags.has(event._tag))
  return rest.length === 0 ? Effect.void : emit(rest)
}

const deltaTags = new Set<Emitted["_tag"]>(["FieldStart", "FieldDelta", "FieldEnd", "ReasoningDelta"])
