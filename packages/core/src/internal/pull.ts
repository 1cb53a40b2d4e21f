/**
 * Streams pulled by hand. Running a `Stream` costs more than twice as much for
 * each stream and a third more for each chunk.
 */
import type * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

export const forEachChunk = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  f: (chunk: Chunk.Chunk<A>) => Effect.Effect<void>
): Effect.Effect<void, E, R> =>
  Effect.scoped(Effect.flatMap(Stream.toPull(stream), (pull) => {
    const loop: Effect.Effect<void, Option.Option<E>, R> = Effect.flatMap(
      pull,
      (chunk) => Effect.flatMap(f(chunk), () => loop)
    )
    return Effect.catchAll(loop, Option.match({ onNone: () => Effect.void, onSome: Effect.fail }))
  }))
