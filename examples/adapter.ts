/**
 * An adapter of one's own: answers as a Markdown document with a heading for
 * each field. It says how answers are worded and what stands between fields;
 * that fields stream, decode, fall back and can be previewed comes with it.
 *
 * The model is a script here, so that it answers in this form without a key.
 */
import { Adapter, JsonAdapter, Module, Predict, Preview, TestLanguageModel } from "@effect-dspy/core"
import { ModuleStream } from "@effect-dspy/streaming"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"

const heading = (name: string): string => `## ${name}`

const messages = Adapter.messages({
  structure: (outputs) =>
    `Answer in Markdown, under these headings:\n\n${
      outputs.map(({ name, type }) => `${heading(name)}\n(${type})`).join("\n\n")
    }`,
  answer: (outputs) => outputs.map(({ field, text }) => `${heading(field.name)}\n${text}`).join("\n\n"),
  reminder: (outputs) => `Answer under the headings ${outputs.map(({ name }) => heading(name)).join(", ")}.`
})

const markdown = Adapter.make({
  name: "markdown",
  format: (input) => ({ messages: messages(input) }),
  parser: Adapter.delimited({ start: (field) => `\n${heading(field)}\n` })
})

// One more try in another form, should the headings be missing.
const review = Predict.make("code -> verdict, problems: string[]").pipe(
  Module.withAdapter(Adapter.orElse(markdown, JsonAdapter.adapter))
)

const fields = ["verdict", "problems"].map((field) => ({ path: "", field }))

const input = { code: "for (let i = 0; i <= items.length; i++) total += items[i]" }

const Model = TestLanguageModel.layer(() =>
  TestLanguageModel.text("## verdict\nOne index too many.\n\n## problems\n[\"the loop reads past the end\"]")
)

Effect.gen(function*() {
  yield* Console.log(`${Preview.format(yield* Preview.make(review, input))}\n`)
  yield* ModuleStream.fields(review, input, { fields }).pipe(
    Stream.runForEach((event) =>
      event._tag === "FieldDelta" ? Console.log(`${event.field}: ${event.text}`) : Effect.void
    )
  )
  yield* Console.log(yield* review(input))
}).pipe(
  Effect.provide(Model),
  NodeRuntime.runMain
)
