import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as MIPROv2 from "@effect-dspy/optimizers/MIPROv2"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Layer, Option, Stream, TestClock } from "effect"
import { contract } from "./contract.ts"
import { boxOf, chance, exact, examples, field, learner, render, shown, simulate, sort, textOf } from "./utilities.ts"

// -----------------------------------------------------------------------------
// A model that sorts by what it is shown and told, and that writes what it sees
// -----------------------------------------------------------------------------

const wanted = (request: LanguageModel.Request): string =>
  /Output fields:\n- `(\w+)`/.exec(textOf(request.messages[0]))?.[1] ?? ""

const isAsked = (request: LanguageModel.Request): boolean =>
  ["notes", "summary", "description", "instructions"].includes(wanted(request))

const section = (text: string, name: string): string =>
  text.split(`[[ ## ${name} ## ]]\n`)[1]?.split("\n\n[[ ## ")[0] ?? ""

const rules = (text: string): ReadonlyArray<string> => Array.from(new Set(text.match(/kind\d+ goes into box \w{4}/g)))

const writer = (request: LanguageModel.Request): string => {
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

const answer = (request: LanguageModel.Request): string => {
  if (isAsked(request)) return writer(request)
  const kind = field(textOf(request.messages.at(-1)), "item")?.split("-")[0]
  const told = rules(textOf(request.messages[0])).find((rule) => rule.startsWith(`${kind} `))
  return told === undefined ? learner(request) : render({ box: told.slice(-8) })
}

const trainset = examples(24, 8)
const valset = examples(24, 8, 100)
const options = { trainset, valset, metric: exact }

const run = <M extends Module.Any, E, R>(events: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>) =>
  Effect.map(Stream.runCollect(events), (events) => {
    const all = Chunk.toReadonlyArray(events)
    return { all, done: all.at(-1)!, compiled: Option.getOrThrow(all.at(-1)!.best) }
  })

const tagged = <Tag extends Optimizer.OptimizerEvent<unknown>["_tag"]>(
  events: Iterable<Optimizer.OptimizerEvent<unknown>>,
  tag: Tag
) => Array.from(events).filter((event): event is Extract<typeof event, { _tag: Tag }> => event._tag === tag)


const byIndex = (compiled: Optimizer.Compiled<unknown>) => compiled.candidates.toSorted((a, b) => a.index - b.index)

for (const schedule of ["racing", "classical"] as const) {
  contract(`MIPROv2, ${schedule}`, {
    events: (common) =>
      MIPROv2.events(sort, {
        trainset: examples(8, 4),
        valset: examples(10, 4, 100),
        metric: exact,
        numCandidates: 3,
        numTrials: 4,
        minibatchSize: 4,
        minibatchFullEvalSteps: 2,
        schedule,
        ...common
      }),
    answer,
    budgets: [10, 14, 20, 24],
    seeds: 20
  })
}
