/**
 * Streams pulled by hand. Running a `Stream` costs more than twice as much for
 * each stream and a third more for each chunk.
 */
import type * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Delta, Request, Service } from "../LanguageModel.ts"
import type { LanguageModelError } from "../LanguageModelError.ts"

/** The next chunk, until there is none. */
export type Pull<A, E, R = never> = Effect.Effect<Chunk.Chunk<A>, Option.Option<E>, R>

/** Opens the stream that answers a request. */
export type Opening = (
  request: Request
) => Effect.Effect<Pull<Delta, LanguageModelError>, LanguageModelError, Scope.Scope>

// How streams are opened that need not be run as such.
const openings = new WeakMap<Service["stream"], Opening>()

/**
 * How the streams of a model are opened. Whoever knows this has no `Stream`
 * between itself and the model, however many policies there are.
 */
export const open = (model: Service): Opening =>
  openingOf(model.stream) ?? ((request) => Stream.toPull(model.stream(request)))

export const openingOf = (stream: Service["stream"]): Opening | undefined => openings.get(stream)

export const pulled = (opening: Opening): Service["stream"] => {
  const stream: Service["stream"] = (request) =>
    Stream.unwrapScoped(Effect.map(opening(request), Stream.repeatEffectChunkOption))
  openings.set(stream, opening)
  return stream
}

export const forEachChunk = <A, E, E2, R>(
  opened: Effect.Effect<Pull<A, E, R>, E2, R | Scope.Scope>,
  f: (chunk: Chunk.Chunk<A>) => Effect.Effect<void>
): Effect.Effect<void, E | E2, Exclude<R, Scope.Scope>> =>
  Effect.scoped(Effect.flatMap(opened, (pull) => {
    const loop: Effect.Effect<void, Option.Option<E>, R> = Effect.flatMap(
      pull,
      (chunk) => Effect.flatMap(f(chunk), () => loop)
    )
    return Effect.catchAll(loop, Option.match({ onNone: () => Effect.void, onSome: Effect.fail }))
  }))
