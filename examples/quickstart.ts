/**
 * The main job, end to end: a program is evaluated, optimized, saved, reloaded
 * and streamed. Without arguments it triages the support tickets in `data/`.
 *
 *     npx -y pnpm@12 demo
 *     npx -y pnpm@12 demo my.csv --text question --label topic --label urgency
 *     npx -y pnpm@12 demo --report report.html
 *
 * On a JSONL, JSON or CSV file of yours it learns each `--label` column from
 * the `--text` column and the labels before it. With `--report` the search is also
 * a page, to be looked at from its beginning. The model is chosen by the
 * environment: see `model.ts`.
 */
import {
  ChainOfThought,
  Evaluate,
  Example,
  LanguageModel,
  Metric,
  Module,
  Predict,
  SavedProgram,
  Signature
} from "@effect-dspy/core"
import { Optimizer, Progress, RandomSearch, Report } from "@effect-dspy/optimizers"
import { Embedded } from "@effect-dspy/providers"
import { ModuleStream } from "@effect-dspy/streaming"
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Cause, Console, Effect, Option, Schema, Stream } from "effect"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as Classifier from "./classifier.ts"
import * as Model from "./model.ts"
import * as Terminal from "./terminal.ts"

// ---- A program of two predictors

const Route = Signature.make({
  instructions: "Route a customer's ticket to the team that can resolve it.",
  input: { ticket: Schema.String },
  output: { team: Schema.Literal("technical", "billing", "account", "security", "sales", "feedback") }
})

const Prioritize = Signature.make({
  instructions: "Say how soon the team has to look at the ticket.",
  input: { ticket: Schema.String, team: Schema.String },
  output: { priority: Schema.Literal("low", "normal", "high") }
})

const triage = Module.make(
  { route: Predict.make(Route), prioritize: ChainOfThought.make(Prioritize) },
  function*(m, input: { readonly ticket: string }) {
    const { team } = yield* m.route(input)
    const { priority } = yield* m.prioritize({ ticket: input.ticket, team })
    return { team, priority }
  }
)

// ---- The tickets: half a point for the team, half for the priority

const tickets = Effect.gen(function*() {
  const Labels = Schema.Struct({
    ...Route.output.fields,
    ...Prioritize.output.fields,
    split: Schema.Literal("train", "validation", "test")
  })
  const examples = yield* Example.load(fileURLToPath(import.meta.resolve("./data/tickets.jsonl")), {
    inputs: Route.input,
    labels: Labels,
    id: "id"
  })
  const part = (name: typeof Labels.Type.split) => examples.filter((example) => example.labels.split === name)
  return {
    program: triage,
    metric: Metric.mean(Metric.equals("team"), Metric.equals("priority")),
    train: part("train"),
    validation: part("validation"),
    test: part("test")
  }
})

// ---- The job, for any program

const job = <In, Out, E, Labels, E2>(options: {
  readonly program: Module.Module<In, Out, E, LanguageModel.LanguageModel>
  readonly metric: Metric.Metric<In, Labels, Out, E2>
  readonly train: ReadonlyArray<Example.Example<In, Labels>>
  readonly validation: ReadonlyArray<Example.Example<In, Labels>>
  readonly test: ReadonlyArray<Example.Example<In, Labels>>
  readonly report: string | undefined
}) =>
  Effect.gen(function*() {
    const { metric, program, report, test, train, validation } = options
    const model = yield* LanguageModel.LanguageModel
    yield* Console.log(`model: ${model.id}`)
    if (model.id === Embedded.id) yield* Console.log(`       ${Embedded.notice}`)
    yield* Console.log(
      `data:  ${train.length} to learn from, ${validation.length} to choose by, ${test.length} to test on`
    )

    yield* Console.log("\nThe program as written, on the test set")
    const before = yield* measure(program, { examples: test, metric })
    yield* Console.log(Evaluate.format(before, { rows: 3 }))

    yield* Console.log("\nLooking for better demonstrations")
    const search = RandomSearch.events(program, { trainset: train, valset: validation, metric, seed: 1 })
    const last = yield* (report === undefined ? search : Report.write(report, { examples: validation })(search)).pipe(
      Progress.show({ log: true }),
      Optimizer.best
    )
    const compiled = yield* last
    if (report !== undefined) yield* Console.log(`\nThe search as a page: ${report}`)

    yield* Console.log("\nThe optimized program, on the same test set")
    const after = yield* measure(compiled.module, { examples: test, metric })
    yield* Console.log(Evaluate.format(after, { rows: 3 }))
    const { better, difference, interval, pValue, worse } = Evaluate.compare(before, after)
    yield* Console.log(
      `\ndifference ${signed(difference)} [${signed(interval.lower)}, ${signed(interval.upper)}], p = ${
        pValue.toFixed(4)
      }: better on ${better} examples, worse on ${worse}`
    )

    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped({ prefix: "effect-dspy-" })}/program.json`
    yield* SavedProgram.save(file, compiled.module, { optimizer: "RandomSearch", model: model.id, seed: 1 })
    const again = yield* SavedProgram.load(file, program)
    yield* Console.log(
      `\nSaved as JSON (${(yield* fs.stat(file)).size} bytes) and loaded again. One example, as it is answered:`
    )
    const example = test[0]!
    yield* Console.log(`  ${JSON.stringify(example.inputs)}`)
    yield* ModuleStream.events(again, example.inputs).pipe(
      Stream.runForEach((event) => {
        switch (event._tag) {
          case "FieldStart":
            return Terminal.write(`  ${event.path}.${event.field}: `)
          case "FieldDelta":
            return Terminal.write(event.text)
          case "FieldEnd":
            return Terminal.write("\n")
          case "Result":
            return Console.log(`  = ${JSON.stringify(event.value)}`)
          default:
            return Effect.void
        }
      })
    )
  })

const measure = <In, Out, E, R, Labels, E2, R2>(
  program: Module.Module<In, Out, E, R>,
  options: Evaluate.Options<In, Labels, Out, E2, R2>
) =>
  Evaluate.events(program, options).pipe(
    Stream.tap((event) =>
      event._tag === "Scored"
        ? Terminal.show(
          `  ${Terminal.bar(event.done / event.total)} ${event.done}/${event.total}, ${event.mean.toFixed(3)}`
        )
        : Terminal.show("")
    ),
    Stream.runLast,
    Effect.flatMap(Option.flatMap((event) => event._tag === "Done" ? Option.some(event.report) : Option.none()))
  )

const signed = (value: number) => `${value < 0 ? "" : "+"}${value.toFixed(3)}`

// ---- Which data

const main = Effect.gen(function*() {
  const { positionals: [file], values } = yield* Effect.try({
    try: () =>
      parseArgs({
        allowPositionals: true,
        options: {
          text: { type: "string", default: "text" },
          label: { type: "string", multiple: true, default: ["label"] },
          report: { type: "string" }
        }
      }),
    catch: (error) => new Cause.IllegalArgumentException(error instanceof Error ? error.message : String(error))
  })
  if (file === undefined) return yield* job({ ...yield* tickets, report: values.report })
  return yield* job({
    ...yield* Classifier.load(file, { text: values.text, labels: values.label }),
    report: values.report
  })
})

main.pipe(
  Effect.scoped,
  Effect.provide([Model.layer, NodeContext.layer]),
  // An error is told in its own words; where it was made helps nobody here.
  Effect.tapErrorCause((cause) =>
    Console.error(Option.match(Cause.failureOption(cause), {
      onNone: () => Cause.pretty(cause),
      onSome: (error) => `\n${error instanceof Error ? error.message : String(error)}`
    }))
  ),
  NodeRuntime.runMain({ disableErrorReporting: true })
)
