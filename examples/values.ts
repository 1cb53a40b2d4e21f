/**
 * Values that a model sees as what they are: an image, a document from a file,
 * code. What is sent is shown first; a model that takes images is then asked.
 */
import { Document, Image, LanguageModel, Predict, Preview } from "@effect-dspy/core"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { fileURLToPath } from "node:url"
import * as Model from "./model.ts"

const answer = Predict.make("photo: Image, manual: Document, question -> answer, command: Code['bash']")

// A red square of eight by eight pixels.
const square = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC"

const examples = fileURLToPath(new URL(".", import.meta.url))

const program = Effect.gen(function*() {
  const photo = yield* Image.fromBase64(square)
  const manual = yield* Document.fromFile(`${examples}README.md`, { roots: [examples] })

  // Only what is inside of the roots is read, by whatever way it is named.
  const refused = yield* Effect.flip(Document.fromFile(`${examples}../package.json`, { roots: [examples] }))
  yield* Console.log(`${refused._tag}: ${refused.message.replace(examples, "")}\n`)

  const input = { photo, manual, question: "Which example is about the thing in the photo, and how do I run it?" }
  const { request } = yield* Preview.make(answer, input)
  for (const { content, role } of request.messages) {
    yield* Console.log(`-- ${role}`)
    for (const part of typeof content === "string" ? [{ _tag: "Text", text: content } as const] : content) {
      yield* Console.log("text" in part ? `${part.text.slice(0, 400)}${part.text.length > 400 ? " …" : ""}` : part)
    }
  }

  const model = yield* LanguageModel.LanguageModel
  if (!model.capabilities.images) return yield* Console.log(`\n${model.id} takes no images, so it is not asked.`)
  yield* Effect.flatMap(answer(input), Console.log)
})

program.pipe(Effect.provide([Model.layer, NodeContext.layer]), NodeRuntime.runMain)
