/**
 * `Report` is the run of an optimizer as one page of HTML: scores by candidate,
 * the best so far against calls and cost, who is best at what and who was made of
 * whom, the prompt before and after, and the examples won and lost.
 *
 * The page is complete in itself. It has no script and loads nothing; what comes
 * from data and prompts is text in it, whatever it says. It follows light and dark,
 * fits a telephone, and prints. The figures are drawn with D3 when the page is
 * made, which is loaded only then.
 *
 * @since 0.1.0
 */
import type { Example } from "@effect-dspy/core/Example"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Stream from "effect/Stream"
import { follow } from "./internal/follow.ts"
import type * as page from "./internal/report/page.ts"
import * as run from "./internal/report/run.ts"
import type * as Optimizer from "./Optimizer.ts"

/**
 * `examples`: those whose inputs and labels are shown where they were won or lost.
 * Without it there are only their ids, so that no data leaves with the page.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly examples?: ReadonlyArray<Example<unknown, unknown>> | undefined
}

const draw = (of: run.Run, options: Options, end: page.Options["end"]): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => import("./internal/report/page.ts")),
    ({ page }) => page(of, { examples: options.examples ?? [], end })
  )

/**
 * The page of a run that is over, or of as much of it as there is.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
 * import * as Report from "@effect-dspy/optimizers/Report"
 * import { Effect, Stream } from "effect"
 *
 * const shout = Predict.make("word -> loud")
 * const trainset = ["one", "two", "three"].map((word) =>
 *   Example.make({ id: word, inputs: { word }, labels: { loud: word.toUpperCase() } })
 * )
 * const model = TestLanguageModel.layer((request) =>
 *   TestLanguageModel.fields({ loud: request.messages.length > 2 ? "ONE" : "one" })
 * )
 *
 * const program = LabeledFewShot.events(shout, { trainset, metric: Metric.equals("loud") }).pipe(
 *   Stream.runCollect,
 *   Effect.flatMap((events) => Report.html(events, { examples: trainset })),
 *   Effect.provide(model)
 * )
 *
 * Effect.runPromise(program).then((html) => {
 *   assert.ok(html.startsWith("<!doctype html>"))
 *   assert.ok(html.includes("better on 1, worse on 0, as good on 2"))
 * })
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const html = (
  events: Iterable<Optimizer.OptimizerEvent<unknown>>,
  options: Options = {}
): Effect.Effect<string> =>
  Effect.suspend(() => {
    const all = run.make()
    for (const event of events) run.add(all, event)
    return draw(all, options, undefined)
  })

/**
 * Writes the page of a run that is over to a file.
 *
 * @since 0.1.0
 * @category destructors
 */
export const save = (
  events: Iterable<Optimizer.OptimizerEvent<unknown>>,
  path: string,
  options: Options = {}
): Effect.Effect<void, PlatformError, FileSystem.FileSystem> =>
  Effect.flatMap(
    Effect.all([FileSystem.FileSystem, html(events, options)]),
    ([fs, page]) => fs.writeFileString(path, page)
  )

/**
 * Passes the events of a run on and keeps its page in a file, from the beginning:
 * every three seconds at most while it goes on, when the page looks at itself
 * again, and when it ends, also by failure or interruption. The file is replaced
 * as a whole, so that nobody sees half of it.
 *
 * Fails if the file cannot be written before anything was paid for. Later that is
 * a warning in the log: a run is worth more than its page.
 *
 * @example
 * ```ts
 * import * as Example from "@effect-dspy/core/Example"
 * import * as Metric from "@effect-dspy/core/Metric"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
 * import * as Optimizer from "@effect-dspy/optimizers/Optimizer"
 * import * as Report from "@effect-dspy/optimizers/Report"
 * import { FileSystem } from "@effect/platform"
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
 * // Programs provide NodeFileSystem.layer; this one remembers what it is given.
 * const files = new Map<string, string>()
 * const disk = FileSystem.layerNoop({
 *   writeFileString: (path, text) => Effect.sync(() => void files.set(path, text)),
 *   rename: (from, to) => Effect.sync(() => void files.set(to, files.get(from) ?? "").delete(from))
 * })
 *
 * const program = LabeledFewShot.events(shout, { trainset, metric: Metric.equals("loud") }).pipe(
 *   Report.write("report.html"),
 *   Optimizer.best,
 *   Effect.map(Option.getOrThrow),
 *   Effect.provide([model, disk])
 * )
 *
 * Effect.runPromise(program).then(({ score }) => {
 *   assert.strictEqual(score.known, 3)
 *   assert.deepStrictEqual(Array.from(files.keys()), ["report.html"])
 *   assert.match(files.get("report.html") ?? "", /Finished/)
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const write = (path: string, options: Options = {}) =>
<M, E, R>(
  self: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>
): Stream.Stream<Optimizer.OptimizerEvent<M>, E | PlatformError, R | FileSystem.FileSystem> =>
  follow(
    self,
    "3 seconds",
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const all = run.make()
      const partial = `${path}.partial`
      let written: Optimizer.OptimizerEvent<unknown> | undefined
      const store = (end: page.Options["end"]) =>
        Effect.gen(function*() {
          const { latest } = all
          yield* fs.writeFileString(partial, yield* draw(all, options, end))
          yield* fs.rename(partial, path)
          written = latest
        }).pipe(
          // What is to be told is why it could not be written, not that there was nothing to remove after it.
          Effect.onError(() => Effect.ignore(fs.remove(partial)))
        )
      const storeOrWarn = (end: page.Options["end"]) =>
        Effect.catchAll(store(end), (error) => Effect.logWarning(`The report cannot be written: ${error.message}`))
      yield* store("running")
      return {
        see: (event: Optimizer.OptimizerEvent<M>) => Effect.sync(() => run.add(all, event)),
        show: Effect.suspend(() => all.latest === written ? Effect.void : storeOrWarn("running")),
        end: (exit: Exit.Exit<unknown, unknown>) =>
          storeOrWarn(Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause) ? failure(exit.cause) : undefined)
      }
    })
  )

const failure = (cause: Cause.Cause<unknown>): { readonly message: string } => {
  const error = Cause.squash(cause)
  return { message: error instanceof Error ? error.message : String(error) }
}
