/**
 * A run as one page of HTML, which asks nobody for anything: no script, no
 * picture, no font.
 */
import * as Evaluate from "@effect-dspy/core/Evaluate"
import type { Example } from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Predicate from "effect/Predicate"
import type * as Optimizer from "../../Optimizer.ts"
import * as Pareto from "../../Pareto.ts"
import { change, count, duration, interval, money, percent, points, several, spend } from "../figures.ts"
import * as charts from "./charts.ts"
import { diff } from "./diff.ts"
import { type Content, Markup, markup } from "./markup.ts"
import { bestOf, type Pair, pairs, type Run, winnerOf } from "./run.ts"
import { style } from "./style.ts"

type Compiled = Optimizer.Compiled<unknown>

export interface Options {
  /** Whose inputs and labels may be shown. */
  readonly examples: ReadonlyArray<Example<unknown, unknown>>
  /** What became of the run, if it did not end by itself. */
  readonly end: "running" | { readonly message: string } | undefined
}

const sheet = new Markup(style)

// A page of a run that goes on is looked at again by itself.
const refresh = 5

export const page = (run: Run, options: Options): string => {
  const best = bestOf(run)
  const name = best?.provenance.optimizer ?? "An optimizer"
  const sections = best === undefined ? [] : sectionsOf(run, best, options)
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
${options.end === "running" ? markup`<meta http-equiv="refresh" content="${refresh}">` : undefined}
<title>${
    best === undefined ? name : `${name}: ${percent(best.score.mean)}, as given ${percent(best.baseline.mean)}`
  }</title>
<style>${sheet}</style>
</head>
<body>
<header>
<span class="state" role="status">${stateOf(run, options)}</span>
<h1>${name}${best?.provenance.model === undefined ? undefined : ` on ${best.provenance.model}`}</h1>
${best === undefined ? markup`<p>No candidate has been measured yet.</p>` : undefined}
${cards(run, best)}
${best === undefined ? undefined : facts(run, best)}
</header>
<nav aria-label="Parts of this page"><ul>${
    sections.map(({ id, title }) => markup`<li><a href="#${id}">${title}</a></li>`)
  }</ul></nav>
<main>
${sections.map(({ content, id, title }) => markup`<section id="${id}"><h2>${title}</h2>${content}</section>\n`)}
</main>
<footer>Intervals are of ${
    best === undefined ? 95 : Number((100 * best.score.interval.confidence).toFixed(1))
  } %. Scores are means over examples; an example for which the model or the metric failed is left out.</footer>
</body>
</html>
`.text
}

// -----------------------------------------------------------------------------
// The head
// -----------------------------------------------------------------------------

const stateOf = ({ done, latest, plan }: Run, { end }: Options): string => {
  if (done !== undefined) {
    switch (done.reason) {
      case "completed":
        return "Finished"
      case "stopAtScore":
        return "Finished: the score asked for was reached"
      case "budget":
        return "Finished: the budget is spent"
    }
  }
  if (end === "running") {
    return latest === undefined || plan === undefined
      ? "Starting"
      : `Running: ${count(latest.runs.done)} of at most ${count(latest.runs.planned)} runs of the program`
  }
  return end === undefined ? "Cut short" : `Cut short: ${end.message}`
}

const cards = (run: Run, best: Compiled | undefined): Content => {
  const { done, latest } = run
  if (latest === undefined) return undefined
  const [calls, ...others] = spend(latest.spend)
  return markup`<div class="cards">${
    best === undefined ? undefined : [
      card("As given", percent(best.baseline.mean), [interval(best.baseline.interval)]),
      card("Best", percent(best.score.mean), [interval(best.score.interval)]),
      card("Difference", points(best.difference.mean), [
        change(best.difference.interval),
        `p = ${probability(pairs(run, best).map((pair) => pair.best - pair.given))}`
      ])
    ]
  }${
    card("Spent", calls ?? "", [
      ...others,
      duration(latest.elapsed),
      ...(done === undefined || done.discarded.calls === 0
        ? []
        : [`and ${several(done.discarded.calls, "call")} started ahead and not needed`]),
      ...(latest.runs.thrown === 0 ? [] : [`${several(latest.runs.thrown, "run")} threw, see the log`])
    ])
  }</div>${best === undefined ? undefined : markup`<p>${measured(run, best)}</p>`}`
}

const card = (title: string, figure: string, notes: ReadonlyArray<string>): Markup =>
  markup`<div class="card"><h2>${title}</h2><strong>${figure}</strong>${
    notes.map((note) => markup`<small>${note}</small>`)
  }</div>`

const probability = (differences: ReadonlyArray<number>): string =>
  String(Number(Evaluate.pValue(differences).toPrecision(2)))

const measured = ({ plan }: Pick<Run, "plan">, { difference, measuredOn, score }: Compiled): string =>
  `Measured on ${several(score.known, "example")} ${
    measuredOn === "test"
      ? "of the test set, which had no part in choosing the best."
      : `that the best was also selected on, which flatters it; ${
        plan === undefined || plan.tests.length === 0
          ? "a test set would tell how much"
          : "the test set was not reached yet"
      }.`
  } ${
    difference.interval.lower > 0
      ? "The interval of the difference lies above 0."
      : difference.interval.upper < 0
      ? "The interval of the difference lies below 0."
      : "The interval of the difference holds 0: whether it is better is not certain."
  }`

const facts = ({ asked, attempts, plan }: Run, { candidates, provenance }: Compiled): Markup => {
  const { data, model, optimizer, options, program, seed } = provenance
  const tried = attempts.passed + attempts.rejected + attempts.failed
  const entries: ReadonlyArray<readonly [string, Content]> = [
    ["Optimizer", optimizer],
    ["Model", model ?? "not named"],
    ["Seed", seed],
    [
      "Candidates",
      `${candidates.length}, ${candidates.filter(({ complete }) => complete).length} measured on all examples`
    ],
    [
      "Examples",
      plan === undefined
        ? ""
        : `${plan.examples.length} to select on${plan.tests.length === 0 ? "" : `, ${plan.tests.length} to test on`}`
    ],
    ...(tried === 0
      ? []
      : [
        [
          "Demonstrations",
          `${
            several(tried, "run")
          }: ${attempts.passed} passed, ${attempts.rejected} rejected, ${attempts.failed} failed`
        ] as const
      ]),
    ...(asked.answered + asked.failed === 0
      ? []
      : [
        [
          "Prompt model",
          `${several(asked.answered, "answer")}${asked.failed === 0 ? "" : `, ${several(asked.failed, "failure")}`}`
        ] as const
      ]),
    ["Hashes", markup`data <code>${data}</code>, program <code>${program}</code>, options <code>${options}</code>`]
  ]
  return markup`<dl class="facts">${entries.map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`
}

// -----------------------------------------------------------------------------
// The parts
// -----------------------------------------------------------------------------

interface Section {
  readonly id: string
  readonly title: string
  readonly content: Content
}

const sectionsOf = (run: Run, best: Compiled, options: Options): ReadonlyArray<Section> => [
  { id: "scores", title: "Scores", content: [trials(best), spending(run)] },
  { id: "candidates", title: "Candidates", content: table(run, best) },
  ...part("front", "Front", front(run, best)),
  ...part("ancestry", "Ancestry", ancestry(run, best)),
  { id: "prompt", title: "Prompt", content: prompts(run, best) },
  { id: "examples", title: "Wins and losses", content: winsAndLosses(run, best, options) },
  ...run.steps.flatMap(({ name, run: step, total }, index) => {
    const found = bestOf(step)
    return part(
      `step-${index + 1}`,
      `Step ${index + 1} of ${total}: ${name}`,
      found === undefined
        ? undefined
        : [
          trials(found),
          spending(step),
          markup`<h3>Candidates</h3>`,
          table(step, found),
          headed("Front", front(step, found)),
          headed("Ancestry", ancestry(step, found))
        ]
    )
  })
]

const part = (id: string, title: string, content: Content): ReadonlyArray<Section> =>
  content === undefined ? [] : [{ id, title, content }]

const headed = (title: string, content: Content): Content =>
  content === undefined ? undefined : [markup`<h3>${title}</h3>`, content]

// A part that may be wider than the page, which the keyboard can move too.
const scroll = (label: string, content: Content): Markup =>
  markup`<div class="scroll" role="region" tabindex="0" aria-label="${label}">${content}</div>`

const key = (entries: ReadonlyArray<readonly [sign: Markup, meaning: string]>): Markup =>
  markup`<ul class="key">${
    entries.map(([sign, meaning]) =>
      markup`<li><svg viewBox="0 0 22 12" aria-hidden="true">${sign}</svg>${meaning}</li>`
    )
  }</ul>`

const signs = {
  complete: markup`<g class="dot"><line x1="11" x2="11" y1="0" y2="12"/><circle cx="11" cy="6" r="4"/></g>`,
  incomplete:
    markup`<g class="dot incomplete"><line x1="11" x2="11" y1="0" y2="12"/><circle cx="11" cy="6" r="4"/></g>`,
  best: markup`<path class="best" d="M0 9h11v-6h11"/>`,
  given: markup`<line class="given" x1="0" x2="22" y1="6" y2="6"/>`
}

const nameOf = ({ index, origin, seed }: Optimizer.Candidate): string =>
  `#${index} ${origin}${seed === undefined ? "" : `, seed ${seed}`}`

// --- Scores

const trials = (best: Compiled): Content => {
  const { candidates } = best
  const given = candidates.find(({ index }) => index === 0)
  const winner = winnerOf(best)
  return markup`<p>Every candidate in the order in which they were made, on the selection examples.</p><div class="figure">${
    charts.trials({
      points: candidates.filter(({ score }) => score.known > 0).map(pointOf),
      given: given?.score.mean ?? 0,
      winner
    })
  }${
    key([
      [signs.complete, "measured on all, with interval"],
      ...(candidates.some(({ complete }) => !complete) ? [[signs.incomplete, "out of the race before"] as const] : []),
      [signs.best, "best so far"],
      [signs.given, "as given"]
    ])
  }</div>`
}

const pointOf = (candidate: Optimizer.Candidate): charts.Point => ({
  index: candidate.index,
  mean: candidate.score.mean,
  lower: candidate.score.interval.lower,
  upper: candidate.score.interval.upper,
  complete: candidate.complete,
  title: `${nameOf(candidate)}: ${percent(candidate.score.mean)} ${interval(candidate.score.interval)} on ${
    several(candidate.score.known, "example")
  }`
})

const spending = ({ bests, reached }: Run): Content => {
  const cost = reached.cost === undefined ? undefined : charts.against({
    what: "cost",
    bests: bests.map(({ cost = 0, index, mean }) => ({
      spent: cost,
      mean,
      title: `${percent(mean)} after ${money(cost)}: #${index}`
    })),
    reached: reached.cost
  })
  return markup`<h3>The best so far against what it had cost</h3><div class="pair"><div>${
    charts.against({
      what: "calls",
      bests: bests.map(({ calls, index, mean }) => ({
        spent: calls,
        mean,
        title: `${percent(mean)} after ${several(calls, "call")}: #${index}`
      })),
      reached: reached.calls
    })
  }</div>${cost === undefined ? undefined : markup`<div>${cost}</div>`}</div>`
}

// --- Candidates

const mostRows = 50

const table = (run: Run, best: Compiled): Content => {
  const { candidates } = best
  const winner = winnerOf(best)
  const shown = candidates.filter(({ index }, place) => place < mostRows || index === 0)
  const bounds = shown.flatMap(({ score: { interval } }) => [interval.lower, interval.upper])
  const [from, to] = [Math.min(...bounds), Math.max(...bounds)]
  const withParents = candidates.some(({ parents }) => parents.length > 0)
  return [
    scroll(
      "Candidates",
      markup`<table><thead><tr><th class="number">#</th><th>made by</th><th class="number">score</th><th>interval</th><th class="number">examples</th>${
        withParents ? markup`<th>of</th>` : undefined
      }<th>note</th></tr></thead><tbody>${
        shown.map((candidate) => {
          const { complete, index, origin, parents, score, seed } = candidate
          const notes = [
            ...(index === winner ? ["the best"] : []),
            ...(run.front?.includes(index) === true ? ["on the front"] : []),
            ...(complete ? [] : [run.retired.get(index) ?? "not measured on all"])
          ]
          return markup`<tr${
            index === winner ? markup` class="winner"` : undefined
          }><td class="number">${index}</td><td>${origin}${
            seed === undefined ? undefined : markup` <span class="quiet">seed ${seed}</span>`
          }</td><td class="number">${percent(score.mean)}</td><td><div class="interval">${
            charts.whisker(pointOf(candidate), from, to)
          }<span class="quiet">${interval(score.interval)}</span></div></td><td class="number">${
            count(score.known)
          }</td>${
            withParents ? markup`<td>${parents.map((parent) => `#${parent}`).join(" + ")}</td>` : undefined
          }<td class="note">${notes.join(", ")}</td></tr>`
        })
      }</tbody></table>`
    ),
    shown.length === candidates.length
      ? undefined
      : markup`<p class="quiet">And ${several(candidates.length - shown.length, "other")}, which did worse.</p>`
  ]
}

// --- The front

const mostCells = 400

const front = (run: Run, best: Compiled): Content => {
  const complete = best.candidates.flatMap((candidate) => {
    const scores = run.scores.get(candidate.index)
    return scores === undefined ? [] : [{ candidate, scores }]
  })
  if (complete.length < 2) return undefined
  const members = Pareto.members(complete.map(({ scores }) => scores))
  const computed = members.map(({ candidate }) => complete[candidate]!.candidate.index) // a place of one
  const on = new Set(run.front ?? computed)
  // What most get right is on the left.
  const total = (example: number): number => complete.reduce((sum, { scores }) => sum + (scores[example] ?? 0), 0)
  const order = Array.from(complete[0]!.scores.keys()) // there are two
    .map((example) => ({ example, total: total(example) }))
    .toSorted((a, b) => b.total - a.total || a.example - b.example)
    .slice(0, mostCells)
  const ranked = complete.toSorted((a, b) => Number(on.has(b.candidate.index)) - Number(on.has(a.candidate.index)))
  const shown = ranked.slice(0, 30)
  const others = Array.from(on).filter((index) => !run.scores.has(index))
  return markup`<p>Each row is a candidate, each column an example of those that were selected on, the easiest to the left; the fuller a square, the better. ◆ marks the front: ${
    run.front === undefined
      ? "candidates without which there would be an example on which nobody is as good."
      : "what the optimizer built on last, being best at something."
  }${
    others.length === 0
      ? undefined
      : ` On it, but not measured on all examples: ${others.map((index) => `#${index}`).join(", ")}.`
  }</p>${
    charts.matrix(shown.map(({ candidate, scores }) => ({
      name: `#${candidate.index} ${percent(candidate.score.mean)}`,
      marked: on.has(candidate.index),
      scores: order.map(({ example }) => scores[example])
    })))
  }${
    shown.length === ranked.length && order.length === complete[0]!.scores.length ?
      undefined :
      markup`<p class="quiet">${`${shown.length} of ${several(ranked.length, "candidate")} and ${order.length} of ${
        several(complete[0]!.scores.length, "example")
      } are shown.`}</p>`
  }`
}

// --- Ancestry

const ancestry = (run: Run, best: Compiled): Content => {
  const { candidates } = best
  if (!candidates.some(({ parents }) => parents.length > 0)) return undefined
  return markup`<p>Right of each candidate are those that were made of it. The line of the best is drawn out; ◆ marks the front.</p>${
    scroll(
      "Ancestry of the candidates",
      charts.ancestry(
        candidates.map((candidate) => ({
          index: candidate.index,
          parents: candidate.parents,
          name: `#${candidate.index} ${percent(candidate.score.mean)}`,
          title: `${pointOf(candidate).title}${
            run.retired.has(candidate.index) ? `, ${run.retired.get(candidate.index)}` : ""
          }`,
          marked: run.front?.includes(candidate.index) === true,
          complete: candidate.complete
        })),
        winnerOf(best)
      )
    )
  }`
}

// --- The prompt before and after

const prompts = (run: Run, best: Compiled): Content => {
  const signatures = new Map(
    Module.isModule(best.module)
      ? best.module.predictors.map(({ path, signature }) => [path, signature.instructions])
      : []
  )
  const changes = Object.entries(best.parameters).map(([path, after]) =>
    predictor(path, run.given?.[path] ?? { demos: [] }, after, signatures.get(path) ?? "")
  )
  return [
    markup`<p>What the best candidate tells the model, compared with the module as given: <del>removed</del>, <ins>added</ins>.</p>`,
    changes
  ]
}

const predictor = (
  path: string,
  before: Parameters.Entry,
  after: Parameters.Entry,
  signature: string
): Markup => {
  const was = new Set(before.demos.map(Json.hash))
  const is = new Set(after.demos.map(Json.hash))
  const removed = before.demos.filter((demo) => !is.has(Json.hash(demo)))
  const added = after.demos.filter((demo) => !was.has(Json.hash(demo)))
  const kept = after.demos.filter((demo) => was.has(Json.hash(demo)))
  const same = Json.hash(before.settings ?? {}) === Json.hash(after.settings ?? {})
  return markup`<h3>${path === "" ? "The program" : markup`<code>${path}</code>`}</h3><div class="prompt" dir="auto">${
    changed(before.instructions ?? signature, after.instructions ?? signature)
  }</div>${
    same ?
      undefined :
      markup`<p>Settings: <del>${JSON.stringify(before.settings ?? {})}</del> <ins>${
        JSON.stringify(after.settings ?? {})
      }</ins></p>`
  }<p>${
    before.demos.length + after.demos.length === 0
      ? "No demonstrations."
      : `${several(after.demos.length, "demonstration")}${
        added.length + removed.length === 0
          ? ", the same as given."
          : `: ${added.length} added, ${removed.length} removed, ${kept.length} kept.`
      }`
  }</p>${removed.map(demonstration("removed"))}${added.map(demonstration("added"))}${kept.map(demonstration("kept"))}`
}

const changed = (before: string, after: string): Content =>
  diff(before, after).map(({ kind, text }) =>
    kind === "kept" ? text : kind === "removed" ? markup`<del>${text}</del>` : markup`<ins>${text}</ins>`
  )

const demonstration = (kind: "removed" | "added" | "kept") => (demo: Parameters.Demo): Markup =>
  markup`<details class="${kind}"><summary><span class="sign">${
    kind === "removed" ? "−" : kind === "added" ? "+" : "="
  }</span> ${brief(Object.values(demo.values)[0], 90)} <span class="quiet">${
    demo.augmented ? "recorded from a run" : "from labelled data"
  }</span></summary>${fields(demo.values)}</details>`

const fields = (values: object, most = 4000): Markup =>
  markup`<dl class="fields">${
    Object.entries(values).map(([name, value]) => markup`<dt>${name}</dt><dd dir="auto">${brief(value, most)}</dd>`)
  }</dl>`

const brief = (value: unknown, most: number): string => {
  const characters = Array.from(typeof value === "string" ? value : JSON.stringify(value) ?? "")
  return characters.length <= most ? characters.join("") : `${characters.slice(0, most - 1).join("")}…`
}

// --- Wins and losses

const firstExamples = 10
const mostExamples = 200

const winsAndLosses = (run: Run, best: Compiled, { examples }: Options): Content => {
  const all = pairs(run, best)
  if (all.length === 0) return markup`<p>No example has been measured for both yet.</p>`
  const byId = new Map(examples.map((example) => [example.id, example]))
  const won = all.filter(({ best, given }) => best > given).toSorted((a, b) => b.best - b.given - (a.best - a.given))
  const lost = all.filter(({ best, given }) => best < given).toSorted((a, b) => a.best - a.given - (b.best - b.given))
  return [
    markup`<p>The best against the module as given, on ${several(all.length, "example")} ${
      best.measuredOn === "test" ? "of the test set" : "that were selected on"
    }: better on ${won.length}, worse on ${lost.length}, as good on ${all.length - won.length - lost.length}.</p>`,
    won.length + lost.length === 0 ? undefined : charts.differences(all.map(({ best, given }) => best - given)),
    listing("Better", won, byId),
    listing("Worse", lost, byId)
  ]
}

const listing = (
  title: string,
  all: ReadonlyArray<Pair>,
  byId: ReadonlyMap<string, Example<unknown, unknown>>
): Content => {
  if (all.length === 0) return undefined
  const rest = all.slice(firstExamples, mostExamples)
  const unseen = all.length - firstExamples - rest.length
  return [
    markup`<h3>${title}</h3>`,
    compared(title, all.slice(0, firstExamples), byId),
    rest.length === 0 ?
      undefined :
      markup`<details><summary>${several(rest.length, "other")}</summary>${
        compared(`${title}, the others`, rest, byId)
      }</details>`,
    unseen <= 0 ? undefined : markup`<p class="quiet">And ${several(unseen, "other")}.</p>`
  ]
}

const compared = (
  label: string,
  pairs: ReadonlyArray<Pair>,
  byId: ReadonlyMap<string, Example<unknown, unknown>>
): Markup =>
  scroll(
    label,
    markup`<table><thead><tr><th>example</th><th class="number">as given</th><th class="number">best</th></tr></thead><tbody>${
      pairs.map(({ best, example, given }) => {
        const known = byId.get(example)
        return markup`<tr><td class="words"><code>${example}</code>${
          known === undefined ? undefined : [asFields("input", known.inputs), asFields("label", known.labels)]
        }</td><td class="number">${percent(given)}</td><td class="number">${percent(best)}</td></tr>`
      })
    }</tbody></table>`
  )

const asFields = (name: string, value: unknown): Markup =>
  fields(Predicate.isRecord(value) ? value : { [name]: value }, 400)
