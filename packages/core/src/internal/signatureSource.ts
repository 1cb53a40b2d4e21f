/**
 * Modules are made from a signature or from its text; both end here.
 */
import * as Signature from "../Signature.ts"

/** A signature, or a text that the compiler can read as one. */
export type Source<S extends string | Signature.Any> = S extends string ? Signature.Check<S> : S

/** The signature a source stands for. */
export type Of<S extends string | Signature.Any> = S extends string ? Signature.Parse<S>
  : S extends Signature.Any ? S
  : never

export const resolve = <S extends string | Signature.Any>(source: Source<S>): Of<S> =>
  // `Source` has checked a text, and leaves a signature as it is.
  (typeof source === "string" ? Signature.parse(source as never) : source) as Of<S>
