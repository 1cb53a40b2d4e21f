/**
 * `Progress` shows the run of an optimizer in a terminal: one line that is
 * rewritten in place while it goes on, and a table of the candidates in the end.
 *
 * ```
 * ████████······· trial 9/20: 12/40, 58.3 % · best 61.0 % (as given 41.5 %) · 540 calls · cost 0.4120 · 35 s, about 40 s left
 * ```
 *
 * @since 0.1.0
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Terminal from "@effect/platform/Terminal"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import { change, count, duration, interval, money, percent, points, several, spend } from "./internal/figures.ts"
import { follow } from "./internal/follow.ts"
import type * as Optimizer from "./Optimizer.ts"

// =============================================================================
// Showing
// =============================================================================

/**
 * Shows a run while it goes on and passes its events on. In a terminal one line
 * is rewritten, ten times a second at most and every second when nothing
 * happens, and never longer than the terminal is wide; when the run ends, also by
 * interruption, the `table` of what there is by then takes its place.
 *
 * Where the output is no terminal (a file, a pipe, CI) it is left alone, since it
 * may be data. With `log` it gets a line for the plan, one for each new best, and
 * the table.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
 * import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
 * import * as Progress from "@effect-dspy/optimizers/Progress"
 * import { Terminal } from "@effect/platform"
 * import { Effect, Option } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const trainset = ["one", "two", "three"].map((word) =>
 *   Example.make({ inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 * const model = TestLanguageModel.layer((request) =>
 *   TestLanguageModel.fields({ loud: request.messages.length > 2 ? "ONE" : "one" })
 * )
 *
 * // Programs provide NodeTerminal.layer; this one keeps what is displayed.
 * const shown: Array<string> = []
 * const terminal = Terminal.Terminal.of({
 *   columns: Effect.succeed(0),
 *   rows: Effect.succeed(0),
 *   isTTY: Effect.succeed(false),
 *   readInput: Effect.never,
 *   readLine: Effect.never,
 *   display: (text) => Effect.sync(() => void shown.push(text))
 * })
 *
 * const program = LabeledFewShot.events(shout, { trainset, metric: Metric.equals("loud") }).pipe(
 *   Progress.show({ log: true }),
 *   Optimizer.best,
 *   Effect.map(Option.getOrThrow),
 *   Effect.provide(model),
 *   Effect.provideService(Terminal.Terminal, terminal)
 * )
 *
 * Effect.runPromise(program).then(({ score }) => {
 *   assert.strictEqual(score.known, 3)
 *   assert.match(shown.join(""), /best 33.3 % \(as given 0.0 %\)/)
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const show = (options: { readonly log?: boolean | undefined } = {}) =>
<M, E, R>(
  self: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>
): Stream.Stream<Optimizer.OptimizerEvent<M>, E, R | Terminal.Terminal> =>
  follow(self, "100 millis", Effect.map(Terminal.Terminal, (terminal) => watcher(terminal, options.log === true)))

const watcher = (terminal: Terminal.Terminal, log: boolean) => {
  let latest: { readonly event: Optimizer.OptimizerEvent<unknown>; readonly at: number } | undefined
  let shown = ""
  // A terminal that cannot be written to has nobody to tell.
  const display = (text: string) => Effect.ignore(terminal.display(text))
  // Not knowing the width is as good as no terminal: a line that breaks cannot be rewritten.
  const width = Effect.flatMap(terminal.isTTY, (live) => live ? terminal.columns : Effect.succeed(0))
  return {
    see: (event: Optimizer.OptimizerEvent<unknown>) =>
      Effect.gen(function*() {
        latest = { event, at: yield* Clock.currentTimeMillis }
        if (log && isMilestone(event) && (yield* width) === 0) yield* display(`${line(event)}\n`)
      }),
    show: Effect.gen(function*() {
      if (latest === undefined) return
      const columns = yield* width
      if (columns === 0) return
      const { at, event } = latest
      const elapsed = event.elapsed + (yield* Clock.currentTimeMillis) - at
      // The last column stays free: some terminals go to the next line with it.
      const now = line({ ...event, elapsed }, { columns: columns - 1 })
      if (now === shown) return
      shown = now
      yield* display(`${erase}${now}`)
    }),
    end: () =>
      Effect.gen(function*() {
        const columns = yield* width
        if (latest === undefined || (columns === 0 && !log)) return
        const { at, event } = latest
        const elapsed = event._tag === "Done" ? event.elapsed : event.elapsed + (yield* Clock.currentTimeMillis) - at
        const last = table({ ...event, elapsed }, columns === 0 ? {} : { columns: columns - 1 })
        yield* display(`${columns === 0 ? "" : erase}${last}\n`)
      })
  }
}

const erase = "\r\u001b[2K"

const isMilestone = (event: Optimizer.OptimizerEvent<unknown>): boolean =>
  event._tag === "Step" ? isMilestone(event.event) : event._tag === "Plan" || event._tag === "NewBest"

// =============================================================================
// One line
// =============================================================================

/**
 * An event as one line: how far the run is, what it is doing, the best score so
 * far beside that of the module as given, what it has cost, how long it took and
 * about how long it will take. With `columns` there is a bar in front of it, and it
 * is made to fit by leaving out what matters less.
 *
 * @since 0.1.0
 * @category destructors
 */
export const line = (
  event: Optimizer.OptimizerEvent<unknown>,
  options: { readonly columns?: number | undefined } = {}
): string => {
  const { calls, usage } = spendOf(event)
  const said = {
    doing: clean(doing(event)),
    best: best(event),
    calls: several(calls, "call"),
    cost: usage.cost === undefined ? "" : `cost ${money(usage.cost)}`,
    time: time(event)
  }
  const { columns } = options
  const print = (length: number, left: Partial<typeof said>): string =>
    [
      ...(length === 0 ? [] : [bar(share(event), length)]),
      Object.values(left).filter((part) => part !== "").join(" · ")
    ].join(" ")
  if (columns === undefined) return print(0, said)
  const { cost: _, ...cheaper } = said
  const { calls: __, ...shorter } = cheaper
  const { time: ___, ...shortest } = shorter
  const fitting = [print(20, said), print(10, said), print(10, cheaper), print(10, shorter), print(0, shorter)]
    .find((text) => widthOf(text) <= columns)
  return fitting ?? cut(print(0, shortest), columns)
}

const doing = (event: Optimizer.OptimizerEvent<unknown>): string => {
  switch (event._tag) {
    case "Plan":
      return `${several(event.trials, "trial")}, at most about ${several(event.calls, "call")}`
    case "Attempt":
      return `collecting demonstrations: ${event.outcome}`
    case "Asked":
      return `${event.purpose}: ${event.outcome}`
    case "Proposal":
    case "TrialStart":
      return `${place(event.trial)}: ${event.trial.origin}`
    case "Scored":
      return `${place(event.trial)}: ${event.done}/${event.total}, ${percent(event.mean)}`
    case "Promotion":
      return `${place(event.trial)}: promoted with ${percent(event.mean)} of ${event.known}`
    case "Retired":
      return `${place(event.trial)}: ${percent(event.score.mean)}, ${event.why}`
    case "TrialEnd":
      return `${place(event.trial)}: ${percent(event.score.mean)}`
    case "Front":
      return `iteration ${event.iteration + 1}: ${event.candidates.length} on the front`
    case "NewBest":
      return `${place(event.trial)}: ${percent(event.score.mean)}, the best so far`
    case "Step":
      return `step ${event.index + 1}/${event.total}, ${event.name}: ${doing(event.event)}`
    case "Done":
      return event.reason === "budget" ? "done, the budget is spent" : "done"
  }
}

const place = (trial: Optimizer.Trial): string =>
  trial.on === "test" ? "test set" : `trial ${trial.index + 1}/${Math.max(trial.total, trial.index + 1)}`

// What the steps before have found is the module as given of a step, but not of the run.
const best = (event: Optimizer.OptimizerEvent<unknown>): string =>
  Option.match(bestOf(event), {
    onNone: () => "",
    onSome: (found) => {
      const { baseline } = Option.getOrElse(event.best, () => found)
      return `best ${percent(found.score.mean)} (as given ${percent(baseline.mean)})`
    }
  })

const bestOf = (event: Optimizer.OptimizerEvent<unknown>): Option.Option<Optimizer.Compiled<unknown>> =>
  event._tag === "Step" ? Option.orElse(bestOf(event.event), () => event.best) : event.best

// A step's own counts for the run when the step is over.
const spendOf = (event: Optimizer.OptimizerEvent<unknown>): Optimizer.Spend => {
  if (event._tag !== "Step") return event.spend
  const step = spendOf(event.event)
  return {
    calls: event.spend.calls + step.calls,
    usage: LanguageModel.addUsage(event.spend.usage, step.usage)
  }
}

const share = (event: Optimizer.OptimizerEvent<unknown>): number =>
  event._tag === "Done"
    ? 1
    : event._tag === "Step"
    ? (event.index + share(event.event)) / event.total
    : Math.min(1, event.runs.done / Math.max(1, event.runs.planned))

const time = (event: Optimizer.OptimizerEvent<unknown>): string => {
  const passed = duration(event.elapsed)
  // What is left of the other steps is not known.
  if (event._tag === "Done" || event._tag === "Step") return passed
  const { done, planned, replayed } = event.runs
  const live = done - replayed
  if (live === 0 || planned <= done) return passed
  return `${passed}, about ${duration((event.elapsed / live) * (planned - done))} left`
}

const bar = (share: number, length: number): string => {
  const full = Math.round(length * share)
  return "█".repeat(full) + "·".repeat(length - full)
}

// =============================================================================
// The table
// =============================================================================

const rows = 10

/**
 * What a run has come to, as text: the ten best candidates and the module as
 * given, the result with its interval, and what it has cost. Lines are cut at
 * `columns`.
 *
 * @since 0.1.0
 * @category destructors
 */
export const table = (
  event: Optimizer.OptimizerEvent<unknown>,
  options: { readonly columns?: number | undefined } = {}
): string => {
  const costs = [...spend(spendOf(event)), duration(event.elapsed)].join(" · ")
  const { thrown } = event.runs
  const lines = [
    ...Option.match(bestOf(event), {
      onNone: () => ["no candidate has been measured"],
      onSome: (best) => [...candidates(best), "", ...result(best)]
    }),
    `spent       ${costs}`,
    ...ended(event),
    ...(thrown === 0 ? [] : [`threw       ${several(thrown, "run")}, see the log`])
  ]
  const { columns } = options
  return (columns === undefined ? lines : lines.map((line) => cut(line, columns))).join("\n")
}

const ended = (event: Optimizer.OptimizerEvent<unknown>): ReadonlyArray<string> => {
  if (event._tag !== "Done" || event.reason === "completed") return []
  return [`ended       ${event.reason === "budget" ? "the budget is spent" : "the score asked for was reached"}`]
}

const candidates = ({ candidates }: Optimizer.Compiled<unknown>): ReadonlyArray<string> => {
  const listed = candidates.map((candidate, place) => ({ candidate, place }))
    .filter(({ candidate, place }) => place < rows || candidate.index === 0)
  const cells = [
    ["", "score", "interval", "examples", "candidate"],
    ...listed.map(({ candidate: { complete, index, origin, score, seed }, place }) => [
      String(place + 1),
      percent(score.mean),
      interval(score.interval),
      `${count(score.known)}${complete ? "" : ", not all"}`,
      `#${index} ${clean(origin)}${seed === undefined ? "" : `, seed ${seed}`}`
    ])
  ]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...cells.map((row) => row[column]!.length))) // all rows have five
  const left = candidates.length - listed.length
  return [
    ...cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")),
    ...(left === 0 ? [] : [`and ${several(left, "other")}`])
  ]
}

const result = (best: Optimizer.Compiled<unknown>): ReadonlyArray<string> => {
  const { baseline, difference, measuredOn, score } = best
  const asGiven = `as given    ${percent(baseline.mean)} ${interval(baseline.interval)}`
  // A difference of something to itself is none, and has no interval worth showing.
  if (isAsGiven(best)) return [`${asGiven} on ${several(baseline.known, "example")}`, "nothing better was found"]
  return [
    `best        ${percent(score.mean)} ${interval(score.interval)} on ${several(score.known, "example")} ${
      measuredOn === "test" ? "of the test set" : "it was selected on, which flatters it"
    }`,
    asGiven,
    `difference  ${points(difference.mean)} ${change(difference.interval)}`
  ]
}

const isAsGiven = ({ candidates, parameters }: Optimizer.Compiled<unknown>): boolean =>
  candidates.some((candidate) =>
    candidate.index === 0 && Parameters.hash(candidate.parameters) === Parameters.hash(parameters)
  )

// =============================================================================
// Text in a terminal
// =============================================================================

// Names come from wherever they like; what moves the cursor stays out of the line.
const clean = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ")

const wide =
  /[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6]|\p{Emoji_Presentation}|[\u{20000}-\u{3FFFD}]/u

const widthOf = (text: string): number => Array.from(text).reduce((sum, character) => sum + columnsOf(character), 0)

const columnsOf = (character: string): number => wide.test(character) ? 2 : /\p{M}/u.test(character) ? 0 : 1

const cut = (text: string, columns: number): string => {
  if (widthOf(text) <= columns) return text
  let kept = ""
  let left = columns - 1
  for (const character of text) {
    left -= columnsOf(character)
    if (left < 0) break
    kept += character
  }
  return `${kept}…`
}
