/**
 * A conversation: what was said before is typed by the signature, shown to the
 * model as earlier turns, and cut where it gets too long.
 */
import { History, Predict, Preview, Signature } from "@effect-dspy/core"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Schema } from "effect"
import * as Model from "./model.ts"

const guide = Signature.make({
  instructions: "Guide a visitor through the city, in one sentence.",
  input: { question: Schema.String },
  output: { answer: Schema.String }
})

const reply = Predict.make(History.prepend(guide))

const Turn = Schema.Struct({ ...guide.input.fields, ...guide.output.fields })

const questions = ["Where is the harbour?", "How do I get there?", "What can I eat there?", "And on Sundays?"]

const program = Effect.gen(function*() {
  const said: Array<History.Turn<typeof guide>> = []
  for (const question of questions) {
    // At most as much as fits: whole turns, the oldest ones go first.
    const history = yield* History.newest(said, Turn, { tokens: 60 })
    const { answer } = yield* reply({ history, question })
    yield* Console.log(`[${history.length} of ${said.length} turns] ${question}\n  ${answer}`)
    said.push({ question, answer })
  }
  const { request } = yield* Preview.make(reply, { history: said.slice(-2), question: "When does it close?" })
  yield* Console.log(`\nWhat the model would see next: ${request.messages.map(({ role }) => role).join(", ")}`)
})

program.pipe(Effect.provide(Model.layer), NodeRuntime.runMain)
