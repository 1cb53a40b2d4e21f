/**
 * Modules are made from a signature or from its text; both end here.
 */
import * as Signature from "../Signature.ts"

export const resolve = (source: Signature.Any | string): Signature.Any =>
  // A text has been checked where it was given.
  typeof source === "string" ? Signature.parse(source as never) : source
