/**
 * A run in which everything that can be named is named to break out of a page:
 * prompts, answers, ids, inputs, settings, the model.
 */
import * as Example from "@effect-dspy/core/Example"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as GEPA from "@effect-dspy/optimizers/GEPA"
import { Effect, Schema, Stream } from "effect"
import { boxOf, examples, field, render, simulate, textOf } from "./utilities.ts"

const attack =
  `</script><script>alert(2)</script><img src=x onerror=alert(1)>"'\`--><svg onload=alert(3)><iframe src="//example.com">`

const sort = Predict.make(Signature.make({
  instructions: `Put it into a box. ${attack}</style>`,
  input: { item: Schema.String },
  output: { box: Schema.String }
}))

const kindOf = (item: string): string => item.split("-")[0] ?? ""

const rulesOf = (text: string): ReadonlyArray<string> => Array.from(new Set(text.match(/kind\d+: \w+ \w+\./g) ?? []))

const sectionOf = (request: LanguageModel.Request, name: string): string =>
  textOf(request.messages.at(-1)).split(`[[ ## ${name} ## ]]\n`)[1]?.split("\n[[ ## ")[0] ?? ""

// States what was stated before, and one more of what the feedback says.
const answer = (request: LanguageModel.Request): string => {
  if (textOf(request.messages[0]).includes("`currentInstructions`")) {
    const before = rulesOf(sectionOf(request, "currentInstructions"))
    const news = rulesOf(sectionOf(request, "attempts")).filter((rule) => !before.includes(rule))
    return render({ reasoning: attack, instructions: [`Sort. ${attack}`, ...before, ...news.slice(0, 1)].join(" ") })
  }
  const kind = kindOf(field(textOf(request.messages.at(-1)), "item") ?? "")
  const known = rulesOf(textOf(request.messages[0])).find((rule) => rule.startsWith(`${kind}: `))
  return render({ box: known?.slice(kind.length + 2, -1) ?? "none" })
}

const named = (count: number, from: number) =>
  examples(count, 6, from).map(({ inputs, labels }) =>
    Example.make({ id: `${inputs.item} ${attack}`, inputs: { item: `${inputs.item} ${attack}` }, labels })
  )

const data = { trainset: named(18, 0), valset: named(18, 100), testset: named(18, 200) }

/** A run of GEPA, which has a front and ancestors, and the examples it was on. */
export const hostile = GEPA.events(sort, {
  ...data,
  maxMetricCalls: 300,
  metric: (example, output) => {
    const kind = kindOf(example.inputs.item)
    return Effect.succeed(
      output.box === example.labels.box
        ? { value: 1, feedback: "Right." }
        : { value: 0, feedback: `Wrong. ${kind}: ${boxOf(kind)}.` }
    )
  }
}).pipe(
  Stream.runCollect,
  Effect.map((events) => ({
    events: Array.from(events),
    examples: [...data.trainset, ...data.valset, ...data.testset]
  })),
  Effect.provide(simulate({ answer, id: `test/${attack}` }).layer)
)
