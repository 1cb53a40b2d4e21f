/**
 * Answers from documents, in parts that know nothing of each other: one looks
 * passages up, one answers, one counts. They hear of their work over a bus and
 * publish what came of it; a question that was asked before is answered by the
 * cache.
 */
import { ModuleEvent, Policy, Predict, Retriever } from "@effect-dspy/core"
import { ResponseCache } from "@effect-dspy/providers"
import { EventBus } from "@effect-dspy/streaming"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Schema, Stream } from "effect"
import * as Model from "./model.ts"

const Asked = Schema.TaggedStruct("Asked", { question: Schema.NonEmptyString })
const Found = Schema.TaggedStruct("Found", { question: Schema.String, passages: Schema.Array(Schema.String) })
const Answered = Schema.TaggedStruct("Answered", {
  question: Schema.String,
  answer: Schema.String,
  calls: Schema.Int
})

const answer = Predict.make("context: string[], question -> answer")

const questions = [
  "When are refunds paid?",
  "Who may return a parcel?",
  "When are refunds paid?" // again
]

const program = Effect.gen(function*() {
  const bus = yield* EventBus.make(Asked, Found, Answered)
  const asked = yield* bus.subscribe({ events: ["Asked"], policy: "backpressure" })
  const found = yield* bus.subscribe({ events: ["Found"], policy: "backpressure" })
  const answered = yield* bus.subscribe({ events: ["Answered"], policy: "backpressure" })

  const find = Stream.runForEach(
    asked.events,
    ({ question }) =>
      Effect.flatMap(
        Retriever.search(question, { k: 2 }),
        (passages) => bus.publish(Found.make({ question, passages: passages.map(({ text }) => text) }))
      )
  )

  const reply = Stream.runForEach(
    found.events,
    ({ passages, question }) =>
      Effect.flatMap(
        ModuleEvent.metered(answer({ context: passages, question })),
        ({ calls, value }) => bus.publish(Answered.make({ question, answer: value.answer, calls }))
      )
  )

  const show = answered.events.pipe(
    Stream.take(questions.length),
    Stream.runForEach(({ answer, calls, question }) =>
      Console.log(`${question} ${answer} (${calls === 0 ? "cached" : "asked"})`)
    )
  )

  yield* Effect.forEach(questions, (question) => bus.publish(Asked.make({ question })), { discard: true })
  // The two work as long as somebody waits for answers; if one of them fails, so does the whole.
  yield* Effect.raceFirst(show, Effect.all([find, reply], { concurrency: "unbounded" }))
}).pipe(Effect.scoped)

const Documents = Retriever.layerBm25([
  { id: "refunds", text: "Refunds are paid within ten days." },
  { id: "returns", text: "Whoever has ordered may return a parcel within thirty days." },
  { id: "hours", text: "The shop is open from nine to six." }
])

program.pipe(
  Effect.provide([Documents, Model.layer.pipe(Policy.apply(ResponseCache.memory()))]),
  NodeRuntime.runMain
)
