/**
 * A model that sorts by what it is shown and told, and that writes what it sees when MIPROv2 asks it to.
 */
import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { field, learner, render, textOf } from "./utilities.ts"

export const wanted = (request: LanguageModel.Request): string =>
  /Output fields:\n- `(\w+)`/.exec(textOf(request.messages[0]))?.[1] ?? ""

export const isAsked = (request: LanguageModel.Request): boolean =>
  ["notes", "summary", "description", "instructions"].includes(wanted(request))

export const section = (text: string, name: string): string =>
  text.split(`[[ ## ${name} ## ]]\n`)[1]?.split("\n\n[[ ## ")[0] ?? ""

const rules = (text: string): ReadonlyArray<string> => Array.from(new Set(text.match(/kind\d+ goes into box \w{4}/g)))

export const writer = (request: LanguageModel.Request): string => {
  const asked = textOf(request.messages.at(-1))
  switch (wanted(request)) {
    case "notes":
      return render({
        notes: JSON.stringify(
          Array.from(
            asked.matchAll(/item: (kind\d+)-\d+\nExpected:\nbox: (box \w{4})/g),
            ([, kind, box]) => `${kind} goes into ${box}`
          )
        )
      })
    case "summary":
      return render({ summary: rules(asked).join(". ") })
    case "description":
      return render({ description: "It sorts items into boxes." })
    default: {
      // Three of the rules it has seen, others each time.
      const some = rules(section(asked, "data")).map((rule) => ({ rule, place: Json.hash([rule, request.settings]) }))
        .sort((a, b) => a.place < b.place ? -1 : 1).slice(0, 3)
      return render({ instructions: `Sort. ${some.map(({ rule }) => rule).join(". ")}.` })
    }
  }
}

export const answer = (request: LanguageModel.Request): string => {
  if (isAsked(request)) return writer(request)
  const kind = field(textOf(request.messages.at(-1)), "item")?.split("-")[0]
  const told = rules(textOf(request.messages[0])).find((rule) => rule.startsWith(`${kind} `))
  return told === undefined ? learner(request) : render({ box: told.slice(-8) })
}
