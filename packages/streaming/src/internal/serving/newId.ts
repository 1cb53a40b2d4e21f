import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"

/**
 * The name of a run, which nobody can guess: whoever knows it may follow the run.
 */
export const newId: Effect.Effect<string> = Effect.sync(() =>
  Encoding.encodeBase64Url(crypto.getRandomValues(new Uint8Array(16)))
)
