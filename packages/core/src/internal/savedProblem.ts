/**
 * How saved programs speak of what is wrong with them.
 */
import * as ParseResult from "effect/ParseResult"
import type { Problem } from "../SavedProgram.ts"
import { cut } from "./listed.ts"

/** A predictor in a sentence. */
export const named = (path: string): string => path === "" ? "bare predictor" : `predictor "${path}"`

/** One problem for each place at which a value, or the state of a predictor, does not fit its schema. */
export const schemaProblems = (error: ParseResult.ParseError, path?: string): ReadonlyArray<Problem> =>
  ParseResult.ArrayFormatter.formatErrorSync(error)
    .filter(({ message }) => !message.startsWith("Expected undefined")) // an absent key would do, which is no news
    .map((issue): Problem => ({
      kind: "schema",
      ...(path === undefined ? {} : { path }),
      description: [...(path === undefined ? [] : [named(path)]), ...place(issue.path), cut(issue.message)].join(": ")
    }))

// `predictors[0].path`; nothing for the whole
const place = (path: ReadonlyArray<PropertyKey>): ReadonlyArray<string> => {
  const text = path.map((key) => typeof key === "number" ? `[${key}]` : `.${String(key)}`).join("")
  return text === "" ? [] : [text.replace(/^\./, "")]
}
