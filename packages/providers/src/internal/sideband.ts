/**
 * What policies and providers tell each other about one call, beside the
 * request and its answer. A provider that speaks HTTP reads it when it sends.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/**
 * - `attempts`: how many attempts the call may still use, for policies that
 *   repeat it.
 * - `idempotencyKey`: one for each logical call, the same for every attempt at
 *   it; to be sent as the header `idempotency-key`.
 * - `onHeaders`: to be run with the headers of every response, whatever its
 *   status, as soon as they are there and before the body is read.
 * - `onConnecting`: to be called by a client that is going to send a request
 *   and can tell when it has a connection for it, which it does by calling what
 *   it gets.
 */
export interface Sideband {
  readonly attempts?: number | undefined
  readonly idempotencyKey?: string | undefined
  readonly onHeaders?: ((headers: { readonly [name: string]: string | undefined }) => Effect.Effect<void>) | undefined
  readonly onConnecting?: (() => () => void) | undefined
}

const silent: Sideband = {}

/**
 * The sideband of the call that is made in this context; nothing by default.
 */
export class CurrentSideband extends Context.Reference<CurrentSideband>()(
  "@effect-dspy/providers/internal/sideband/CurrentSideband",
  { defaultValue: () => silent }
) {}

/** A context in which more is said. */
export const add = (more: Sideband) => <R>(context: Context.Context<R>): Context.Context<R> =>
  Context.add(context, CurrentSideband, { ...Context.get(context, CurrentSideband), ...more })

/** Makes a call with more said on the side. */
export const saying = <A, E, R>(self: Effect.Effect<A, E, R>, more: Sideband): Effect.Effect<A, E, R> =>
  Effect.mapInputContext<A, E, R, R>(self, add(more))

/** The same for a call that is answered by a stream. */
export const sayingInStream = <A, E, R>(self: Stream.Stream<A, E, R>, more: Sideband): Stream.Stream<A, E, R> =>
  Stream.mapInputContext<A, E, R, R>(self, add(more))
