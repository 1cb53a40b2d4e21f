/**
 * JSON in model text.
 */
import * as Either from "effect/Either"
import type { Problem } from "../Adapter.ts"
import type { Json } from "../Json.ts"

export const strict = (text: string): Json | undefined => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export interface Found {
  readonly value: Json
  readonly repairs: ReadonlyArray<string>
}

export const find = (text: string, _accept: (value: Json) => boolean): Either.Either<Found, Problem> => {
  const value = strict(text)
  return value === undefined
    ? Either.left({ kind: "syntax", description: "the text is not JSON" })
    : Either.right({ value, repairs: [] })
}
